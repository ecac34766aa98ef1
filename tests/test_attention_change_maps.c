// Changes of attention: statistics under changes are those of the map that the same call hands out.
#include "check_attention_change.h"

// The statistics of one row from the maps of the same call.
static void check_row_by_maps(const struct call *call, size_t i, size_t head) {
    const struct hw_attention_args *args = &call->args;
    size_t n = attention_keys_seen(args, i), row = i * args->n_heads + head;
    size_t map = (head - args->request.map_head_first) * attention_map_values(args);
    const float *p = (const float *)call->outputs[PATTERN].data + map;
    const float *s = (const float *)call->outputs[SCORES].data + map;
    const float *const *out = (const float *const[]){
        call->outputs[ENTROPY].data,    call->outputs[ROW_SUM].data, call->outputs[DISTANCE].data,
        call->outputs[MAX].data,        call->outputs[FIRST].data,   call->outputs[LOGSUMEXP].data,
        call->outputs[SCORE_MEAN].data, call->outputs[ROW_MAX].data};
    double entropy = 0, entropy_size = 0, sum = 0, distance = 0, max = 0;
    double score_sum = 0, score_size = 0, score_max = -INFINITY, exp_sum = 0;
    size_t n_kept = 0;
    for (size_t j = 0; j < n; j++) {
        size_t at = attention_tile_index(n - 1, j);
        double x = p[at];
        REQUIRE(x >= 0 && isfinite(x));
        entropy -= plogp(p[at]);
        entropy_size += fabs(x > 0 ? x * log(x) : 0) + 20 * x; // ln p has the error of the scores
        sum += x;
        distance += x * (double)(n - 1 - j);
        max = fmax(max, x);
        n_kept += !isnan(s[at]);
        score_sum += isnan(s[at]) ? 0 : s[at];
        score_size += isnan(s[at]) ? 0 : fabs((double)s[at]);
        score_max = isnan(s[at]) ? score_max : fmax(score_max, s[at]);
    }
    for (size_t j = 0; j < n; j++) {
        float x = s[attention_tile_index(n - 1, j)];
        exp_sum += isnan(x) ? 0 : exp(x - score_max);
    }
    check_sum(out[0][row], sum > 0 ? entropy : 0, entropy_size, n);
    check_sum(out[1][row], sum, sum, n);
    check_sum(out[2][row], distance, distance + sum * 20, n);
    REQUIRE(out[3][row] == (float)max);
    REQUIRE(out[4][row] == p[attention_tile_index(n - 1, 0)]);
    check_sum(out[6][row], n_kept > 0 ? score_sum / (double)n_kept : 0,
              n_kept > 0 ? score_size / (double)n_kept : 0, n);
    int32_t argmax = ((int32_t *)call->outputs[ARGMAX].data)[row];
    if (argmax < 0) {
        REQUIRE(sum == 0 && out[5][row] == -INFINITY && out[7][row] == 0);
        REQUIRE(((float *)call->outputs[ROW_INVERSE_SUM].data)[row] == 0 && out[0][row] == 0);
    } else {
        REQUIRE(out[7][row] == (float)score_max);
        check_sum(out[5][row], score_max + log(exp_sum), fabs(score_max) + 2, n);
        // Scores decide; they are as exact as floats below 64.
        REQUIRE(p[attention_tile_index(n - 1, (size_t)argmax)] >= max * (1 - 64 * 0x1p-23));
    }
}

static void check_top_by_maps(const struct call *call, size_t i, size_t head) {
    const struct hw_attention_args *args = &call->args;
    size_t n = attention_keys_seen(args, i), row = i * args->n_heads + head;
    size_t map = (head - args->request.map_head_first) * attention_map_values(args);
    const float *p = (const float *)call->outputs[PATTERN].data + map;
    const int32_t *key = (const int32_t *)call->outputs[TOP_KEY].data + row * N_TOP;
    const float *weight = (const float *)call->outputs[TOP_WEIGHT].data + row * N_TOP;
    REQUIRE(key[0] == ((int32_t *)call->outputs[ARGMAX].data)[row]);
    size_t n_top = 0;
    for (; n_top < N_TOP && key[n_top] >= 0; n_top++) {
        REQUIRE(weight[n_top] == p[attention_tile_index(n - 1, (size_t)key[n_top])]);
    }
    for (size_t rank = n_top; rank < N_TOP; rank++) {
        REQUIRE(key[rank] == -1 && isnan(weight[rank]));
    }
    for (size_t j = 0; j < n; j++) {
        float x = p[attention_tile_index(n - 1, j)];
        bool is_in = false;
        for (size_t rank = 0; rank < n_top; rank++) {
            is_in = is_in || key[rank] == (int32_t)j;
        }
        // Not in: weaker than the last that is, or no weight where there was room.
        REQUIRE(is_in ||
                (n_top < N_TOP ? x == 0 : (double)x * (1 - 64 * 0x1p-23) <= weight[N_TOP - 1]));
    }
}

// z and the sums over the query rows from the map of one head.
static void check_head_by_map(const struct call *call, size_t head) {
    const struct hw_attention_args *args = &call->args;
    size_t map = (head - args->request.map_head_first) * attention_map_values(args);
    const float *p = (const float *)call->outputs[PATTERN].data + map;
    size_t kv = head / (args->n_heads / args->n_kv_heads) * args->d_head;
    for (size_t i = 0; i < args->n_queries; i++) {
        size_t n = attention_keys_seen(args, i);
        const float *z =
            (const float *)call->outputs[Z].data + i * args->z_stride + head * args->d_head;
        for (size_t c = 0; c < args->d_head; c++) {
            double want = 0, size = 0;
            for (size_t j = 0; j < n; j++) {
                double term = (double)p[attention_tile_index(n - 1, j)] *
                              args->v[j * args->v_stride + kv + c];
                want += term;
                size += fabs(term);
            }
            check_sum(z[c], want, size, n);
        }
    }
    for (size_t j = 0; j < args->n_keys; j++) {
        double sum = 0, max = 0, entropy = 0;
        size_t first = hw_size_max(j, args->query_first);
        for (size_t query = first; query < args->n_keys; query++) {
            double x = p[attention_tile_index(query, j)];
            sum += x;
            max = fmax(max, x);
        }
        for (size_t query = first; sum > 0 && query < args->n_keys; query++) {
            double r = p[attention_tile_index(query, j)] / sum;
            entropy -= r > 0 ? r * log(r) : 0;
        }
        size_t at = j * args->n_heads + head;
        check_sum(((float *)call->outputs[RECEIVED_SUM].data)[at], sum, sum, args->n_queries);
        REQUIRE(((float *)call->outputs[RECEIVED_MAX].data)[at] == (float)max);
        if (sum > 1e-30) {
            // A difference of two logarithms of up to 70 in size, each as above.
            check_sum(((float *)call->outputs[RECEIVED_ENTROPY].data)[at], entropy, 140 + entropy,
                      args->n_queries);
        }
    }
    for (size_t o = 0; o < N_OFFSETS; o++) {
        double sum = 0;
        for (size_t query = hw_size_max(o, args->query_first); query < args->n_keys; query++) {
            sum += p[attention_tile_index(query, query - o)];
        }
        check_sum(((float *)call->outputs[OFFSET].data)[head * N_OFFSETS + o], sum, sum,
                  args->n_queries);
    }
}

START_TEST(statistics_follow_from_the_maps) {
    static const struct shape some_shapes[] = {
        {70, 0, 3, 1, 20}, {3, 128, 4, 2, 8}, {130, 0, 2, 1, 4}, {40, 128, 2, 2, 16}};
    for (size_t s = 0; s < 4; s++) {
        for (int list = 0; list < 3 * N_CHANGE_KINDS; list++) {
            struct call call;
            open_changed(&call, some_shapes[s], NORMAL, ALL);
            make_list(&call, list, (uint64_t)list * 5 + s);
            take_changes(&call);
            call_run(&call, attention_of(_i), 2, ALL);
            size_t first = call.args.request.map_head_first;
            for (size_t head = first; head < first + call.args.request.map_n_heads; head++) {
                for (size_t i = 0; i < call.args.n_queries; i++) {
                    check_row_by_maps(&call, i, head);
                    check_top_by_maps(&call, i, head);
                }
                check_head_by_map(&call, head);
            }
            call_close(&call);
        }
    }
}
END_TEST

START_TEST(shares_above_one_are_stored_as_one) {
    struct call call;
    open_changed(&call, (struct shape){33, 0, 2, 1, 8}, PEAKED, ALL);
    add_change(HW_CHANGE_SCALE)->amount = 3;
    take_changes(&call);
    call_run(&call, attention_of(_i), 1, 1u << PATTERN);
    float p[33];
    for (size_t j = 0; j < 33; j++) {
        p[j] = ((float *)call.outputs[PATTERN].data)[attention_tile_index(32, j)];
    }
    call.args.request.map_dtype = HW_MAP_U16;
    call_run(&call, attention_of(_i), 1, 1u << PATTERN);
    bool is_any_above = false;
    for (size_t j = 0; j < 33; j++) {
        uint16_t got = ((uint16_t *)call.outputs[PATTERN].data)[attention_tile_index(32, j)];
        ck_assert_uint_eq(got, p[j] > 1 ? 65534 : (unsigned)rintf(p[j] * 65534));
        is_any_above = is_any_above || p[j] > 1;
    }
    ck_assert(is_any_above);
    call_close(&call);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("attention_change_maps");
    TCase *tcase = tcase_create("all");
    int n = (int)hw_cpu_level() + 1;
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, statistics_follow_from_the_maps, 0, n);
    tcase_add_loop_test(tcase, shares_above_one_are_stored_as_one, 0, n);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
