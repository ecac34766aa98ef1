// The same bits always, on every level: whatever the number of threads, whichever prompts run
// beside one, in whatever order, and whatever else is recorded.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check_op.h"
#include "same_rows.h"
#include "tracer/session.h"

// Shared kv heads and learned positions; 3 layers.
static const char *const models[] = {"llama-gqa", "gpt2-inverse-layer"};
enum { N_MODELS = 2, N_PROMPTS = 4 };
static const size_t lengths[N_PROMPTS] = {100, 1, 128, 33};

static void add_prompt(struct hw_prompts *prompts, size_t which) {
    uint32_t ids[128];
    uint64_t state = which;
    for (size_t i = 0; i < lengths[which]; i++) {
        ids[i] = (uint32_t)(check_random_bits(&state) % 97);
    }
    run_prompts_add(prompts, ids, lengths[which]);
    run_prompts_add_span(prompts, "needle", 0, (int32_t)lengths[which] / 2 + 1);
}

static struct hw_prompts all_prompts(void) {
    struct hw_prompts prompts = {0};
    for (size_t p = 0; p < N_PROMPTS; p++) {
        add_prompt(&prompts, p);
    }
    return prompts;
}

static struct run_options everything(int level) {
    return (struct run_options){
        .level = (enum hw_level)level,
        .records = {"default", "attention_maps,attention_scores,attention_top,attention_vectors",
                    "residual,residual_mid,attention_output,mlp_output,mlp_post,z,head_result",
                    "value,norm_scale", "logits"}};
}

// Opens model i / levels with everything of all prompts on level i % levels, one thread. Not on the
// reference, which is for tests only.
struct fixture {
    struct hw_model *model;
    struct hw_prompts prompts;
    struct run whole;
    int level;
};

static bool open_fixture(int i, struct fixture *f) {
    *f = (struct fixture){.level = i % HW_N_LEVELS};
    if (f->level == HW_LEVEL_REF || f->level > (int)hw_cpu_level()) {
        return false;
    }
    f->model = run_model(models[i / HW_N_LEVELS]);
    f->prompts = all_prompts();
    struct run_options options = everything(f->level);
    run_capture(f->model, &f->prompts, &options, &f->whole);
    return true;
}

static void close_fixture(struct fixture *f) {
    run_close(&f->whole);
    run_prompts_free(&f->prompts);
    hw_model_close(&f->model);
}

// Captures the fixture's prompts again and compares each; returns the values compared.
static size_t same_again(const struct fixture *f, const struct run_options *options) {
    struct run run;
    size_t n_same = 0;
    run_capture(f->model, &f->prompts, options, &run);
    for (size_t p = 0; p < N_PROMPTS; p++) {
        n_same += same_rows(&f->whole, p, &run, p);
    }
    run_close(&run);
    return n_same;
}

START_TEST(threads_change_nothing) {
    struct fixture f;
    if (!open_fixture(_i, &f)) {
        return;
    }
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        struct run_options options = everything(f.level);
        options.n_threads = n_threads;
        ck_assert_uint_gt(same_again(&f, &options), 1000000);
    }
    close_fixture(&f);
}
END_TEST

START_TEST(neighbours_change_nothing) {
    struct fixture f;
    if (!open_fixture(_i, &f)) {
        return;
    }
    struct run_options options = everything(f.level);
    struct run run;
    for (size_t p = 0; p < N_PROMPTS; p++) { // alone; the plan is then of another size too
        struct hw_prompts alone = {0};
        add_prompt(&alone, p);
        run_capture(f.model, &alone, &options, &run);
        ck_assert_uint_gt(same_rows(&f.whole, p, &run, 0), 1000);
        run_close(&run);
        run_prompts_free(&alone);
    }
    struct hw_prompts reversed = {0};
    for (size_t p = 0; p < N_PROMPTS; p++) {
        add_prompt(&reversed, N_PROMPTS - 1 - p);
    }
    run_capture(f.model, &reversed, &options, &run);
    for (size_t p = 0; p < N_PROMPTS; p++) {
        ck_assert_uint_gt(same_rows(&f.whole, p, &run, N_PROMPTS - 1 - p), 1000);
    }
    run_close(&run);
    run_prompts_free(&reversed);
    close_fixture(&f);
}
END_TEST

// A prompt that failed has no tokens, fill values where the others have a row, and no say in
// theirs.
START_TEST(failed_prompts_change_nothing) {
    struct fixture f;
    if (!open_fixture(_i, &f)) {
        return;
    }
    struct hw_prompts prompts = {0};
    struct run_options options = everything(f.level);
    struct run run;
    add_prompt(&prompts, 0);
    run_prompts_add(&prompts, NULL, 0);
    prompts.items[1].status = HW_PROMPT_FAILED;
    add_prompt(&prompts, 3);
    run_capture(f.model, &prompts, &options, &run);
    ck_assert_uint_gt(same_rows(&f.whole, 0, &run, 0), 1000);
    ck_assert_uint_gt(same_rows(&f.whole, 3, &run, 2), 1000);
    ck_assert_uint_eq(run_n_tokens(&run, 1), 0);
    ck_assert(isnan(run_floats(&run, HW_DS_SINK_SCORE, 1, 1)[0]));
    ck_assert(isnan(run_floats(&run, HW_DS_PROMPT_LOSS, 0, 1)[0]));
    ck_assert_int_eq(run_ints(&run, HW_DS_STATE_TOP_POSITION, 1, 1)[0], -1);
    run_close(&run);
    run_prompts_free(&prompts);
    close_fixture(&f);
}
END_TEST

// No token sees those after it, so the rows of a text are those of its beginnings, also where the
// text is longer than a block of rows: what a sweep that reuses a prefix rests on.
START_TEST(beginnings_have_the_same_rows) {
    enum { LONG = HW_ROW_BLOCK + 77, N_BEGINNINGS = 4 };
    static const size_t n_ids[N_BEGINNINGS] = {LONG, 1, 129, 640};
    if (_i == HW_LEVEL_REF || _i > (int)hw_cpu_level()) {
        return;
    }
    uint32_t ids[LONG];
    uint64_t state = 5;
    for (size_t i = 0; i < LONG; i++) {
        ids[i] = (uint32_t)(check_random_bits(&state) % 97);
    }
    struct hw_model *model = run_model("llama-gqa");
    struct hw_prompts prompts = {0};
    struct run run;
    struct run_options options = {
        .level = (enum hw_level)_i,
        .records = {"default,attention_top,attention_vectors,residual,mlp_post,z,logits"}};
    for (size_t p = 0; p < N_BEGINNINGS; p++) {
        run_prompts_add(&prompts, ids, n_ids[p]);
    }
    run_capture(model, &prompts, &options, &run);
    size_t n_same = 0;
    for (size_t p = 1; p < N_BEGINNINGS; p++) {
        n_same += same_beginnings(&run, 0, &run, p);
    }
    ck_assert_uint_gt(n_same, 500000);
    // This much work is shared out by every op.
    for (options.n_threads = 2; options.n_threads <= 3; options.n_threads++) {
        struct run again;
        run_capture(model, &prompts, &options, &again);
        for (size_t p = 0; p < N_BEGINNINGS; p++) {
            ck_assert_uint_gt(same_rows(&run, p, &again, p), 1000);
        }
        run_close(&again);
    }
    struct run chosen;
    options.positions = "5,1020-1030"; // on both sides of a block's end
    run_capture(model, &prompts, &options, &chosen);
    ck_assert_uint_gt(same_rows(&run, 0, &chosen, 0), 1000);
    run_close(&chosen);
    run_close(&run);
    run_prompts_free(&prompts);
    hw_model_close(&model);
}
END_TEST

// Maps too large for one call of the attention op are handed out some heads at a time: those of the
// text's beginning are the same bits, and every head's last row has its own maximum.
START_TEST(maps_of_many_calls_are_whole) {
    enum { LONG = 16 * HW_MAP_TILE - 9, SHORT = 2 * HW_MAP_TILE, N_TILES = 3 };
    if (_i == HW_LEVEL_REF || _i > (int)hw_cpu_level()) {
        return;
    }
    struct hw_model *model = run_model("llama-gqa");
    size_t n_heads = model->desc.n_heads;
    size_t head_bytes = 2 * (16 * 17 / 2) * HW_MAP_TILE * HW_MAP_TILE * sizeof(float);
    ck_assert_uint_gt(n_heads * head_bytes, HW_MAP_BYTES); // else there is one call
    uint32_t *ids = calloc(LONG, sizeof *ids);
    float *map = malloc((size_t)LONG * LONG * sizeof *map);
    ck_assert(ids != NULL && map != NULL);
    uint64_t state = 6;
    for (size_t i = 0; i < LONG; i++) {
        ids[i] = (uint32_t)(check_random_bits(&state) % 97);
    }
    struct hw_prompts prompts = {0};
    struct run run;
    struct run_options options = {.level = (enum hw_level)_i,
                                  .records = {"attention,attention_maps,attention_scores"}};
    run_prompts_add(&prompts, ids, LONG);
    run_prompts_add(&prompts, ids, SHORT);
    run_capture(model, &prompts, &options, &run);
    for (size_t i = 0; i < model->desc.n_layers * n_heads; i++) {
        size_t layer = i / n_heads;
        size_t head = i % n_heads;
        size_t edge;
        size_t bytes = (size_t)N_TILES * HW_MAP_TILE * HW_MAP_TILE * sizeof(float);
        for (int s = 0; s < 2; s++) {
            enum hw_dataset dataset = s == 0 ? HW_DS_ATTENTION_PATTERN : HW_DS_ATTENTION_SCORES;
            ck_assert_mem_eq(hw_destination_memory_map(run.memory, dataset, 0, layer, head, &edge),
                             hw_destination_memory_map(run.memory, dataset, 1, layer, head, &edge),
                             bytes);
        }
        ck_assert(run_map(&run, HW_DS_ATTENTION_PATTERN, 0, layer, head, map));
        const float *last = map + (size_t)(LONG - 1) * LONG;
        size_t at = (LONG - 1) * n_heads + head;
        int32_t argmax = run_ints(&run, HW_DS_ATTENTION_ARGMAX, layer, 0)[at];
        ck_assert_float_eq(last[argmax], run_floats(&run, HW_DS_ATTENTION_MAX, layer, 0)[at]);
        ck_assert_float_eq(last[0], run_floats(&run, HW_DS_ATTENTION_FIRST, layer, 0)[at]);
    }
    run_close(&run);
    run_prompts_free(&prompts);
    free(map);
    free(ids);
    hw_model_close(&model);
}
END_TEST

START_TEST(other_records_change_nothing) {
    static const char *const sets[] = {"default",
                                       "attention",
                                       "values",
                                       "norms",
                                       "massive",
                                       "loss",
                                       "attention_maps",
                                       "attention_scores",
                                       "attention_top",
                                       "attention_vectors",
                                       "residual",
                                       "residual_mid",
                                       "attention_output",
                                       "mlp_output",
                                       "mlp_post",
                                       "z",
                                       "head_result",
                                       "value",
                                       "norm_scale",
                                       "logits",
                                       "loss,logits",
                                       "attention_maps,attention_scores",
                                       "norms,z,attention_top"};
    struct fixture f;
    if (!open_fixture(_i, &f)) {
        return;
    }
    for (size_t s = 0; s < sizeof sets / sizeof sets[0]; s++) {
        struct run_options options = {.level = (enum hw_level)f.level, .records = {sets[s]}};
        ck_assert_msg(same_again(&f, &options) > 100, "%s", sets[s]);
    }
    close_fixture(&f);
}
END_TEST

START_TEST(selections_are_parts) {
    // Whole layers, single heads, a ragged set that leaves kv heads out, layers by hook name.
    static const struct {
        const char *record[3];
    } sets[] = {{{"default:1"}},
                {{"attention:0.1"}},
                {{"default:0.0,1.1-2"}},
                {{"attention_maps:0.1,1.0-2", "attention:1", "value,z:0.2"}},
                {{"attention_top:0.0,1.2", "attention_vectors:0.2,1.0", "head_result:1.1"}},
                {{"residual:0,2", "mlp_post:0", "blocks.1.attn.hook_z"}},
                {{"attention_scores:0.0-1,1.2", "norms:0", "massive:1-2"}}};
    struct fixture f;
    if (!open_fixture(_i, &f)) {
        return;
    }
    for (size_t s = 0; s < sizeof sets / sizeof sets[0]; s++) {
        struct run_options options = {.level = (enum hw_level)f.level};
        memcpy(options.records, sets[s].record, sizeof sets[s].record);
        ck_assert_msg(same_again(&f, &options) > 100, "%s", sets[s].record[0]);
    }
    close_fixture(&f);
}
END_TEST

START_TEST(positions_are_parts) {
    static const char *const positions[] = {"0-6,8", "last", "all", "first,20-22", "5"};
    struct fixture f;
    if (!open_fixture(_i, &f)) {
        return;
    }
    for (size_t s = 0; s < sizeof positions / sizeof positions[0]; s++) {
        struct run_options options = everything(f.level);
        options.positions = positions[s];
        ck_assert_uint_gt(same_again(&f, &options), 1000);
    }
    struct run_options options = everything(f.level);
    struct run run;
    options.positions = "0-6,8";
    run_capture(f.model, &f.prompts, &options, &run);
    for (size_t p = 0; p < N_PROMPTS; p++) {
        size_t n;
        (void)run_rows(&run, HW_DS_ACTIVATIONS_RESIDUAL, 1, p, &n);
        ck_assert_uint_eq(n, lengths[p] == 1 ? 1 : 8);
        (void)run_rows(&run, HW_DS_LOGITS_LOGITS, 0, p, &n);
        ck_assert_uint_eq(n, lengths[p] == 1 ? 1 : 8);
        (void)run_rows(&run, HW_DS_ATTENTION_ENTROPY, 0, p, &n);
        ck_assert_uint_eq(n, lengths[p]); // statistics are of every row
    }
    run_close(&run);
    close_fixture(&f);
}
END_TEST

// Half precision is the rounding of the same values, u16 their share of 65534; everything else
// stays as it was.
START_TEST(narrow_types_are_roundings) {
    struct fixture f;
    if (!open_fixture(_i, &f)) {
        return;
    }
    struct hw_ops ops;
    struct hw_exec exec = {1, NULL, 0};
    hw_ops_init(&ops, (enum hw_level)f.level);
    static const enum hw_element elements[] = {HW_ELEMENT_F2, HW_ELEMENT_U2};
    for (size_t e = 0; e < 2; e++) {
        struct run_options options = everything(f.level);
        struct run run;
        options.attention_element = elements[e];
        options.activation_element = HW_ELEMENT_F2;
        run_capture(f.model, &f.prompts, &options, &run);
        enum { N = 128 * 128 };
        uint16_t half[N];
        size_t edge;
        const float *map =
            hw_destination_memory_map(f.whole.memory, HW_DS_ATTENTION_PATTERN, 0, 1, 1, &edge);
        const uint16_t *got =
            hw_destination_memory_map(run.memory, HW_DS_ATTENTION_PATTERN, 0, 1, 1, &edge);
        ops.to_half(&exec, map, N, half);
        for (size_t i = 0; i < N; i++) {
            bool is_outside = i / 128 >= lengths[0] || i % 128 >= lengths[0];
            ck_assert(isnan(map[i]) == is_outside);
            if (elements[e] == HW_ELEMENT_F2) {
                ck_assert(got[i] == half[i] || is_outside);
            } else if (is_outside) {
                ck_assert_uint_eq(got[i], UINT16_MAX);
            } else {
                // The nearest integer to a product that was itself rounded to a float.
                ck_assert_double_le(fabs((double)got[i] - (double)map[i] * 65534.0),
                                    .5 + 65534.0 * 0x1p-24);
            }
        }
        size_t n;
        const float *z = run_floats(&f.whole, HW_DS_ACTIVATIONS_Z, 1, 0);
        const uint16_t *z_half = run_rows(&run, HW_DS_ACTIVATIONS_Z, 1, 0, &n);
        size_t width = run_width(&run, HW_DS_ACTIVATIONS_Z);
        ops.to_half(&exec, z, width, half);
        ck_assert_mem_eq(z_half, half, width * sizeof *half);
        const float *entropy = run_floats(&run, HW_DS_ATTENTION_ENTROPY, 1, 0);
        ck_assert_mem_eq(entropy, run_floats(&f.whole, HW_DS_ATTENTION_ENTROPY, 1, 0),
                         lengths[0] * f.model->desc.n_heads * sizeof(float));
        run_close(&run);
    }
    close_fixture(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("same_bits");
    TCase *tcase = tcase_create("captures");
    int n = N_MODELS * HW_N_LEVELS;
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, threads_change_nothing, 0, n);
    tcase_add_loop_test(tcase, neighbours_change_nothing, 0, n);
    tcase_add_loop_test(tcase, failed_prompts_change_nothing, 0, n);
    tcase_add_loop_test(tcase, beginnings_have_the_same_rows, 0, HW_N_LEVELS);
    tcase_add_loop_test(tcase, maps_of_many_calls_are_whole, 0, HW_N_LEVELS);
    tcase_add_loop_test(tcase, other_records_change_nothing, 0, n);
    tcase_add_loop_test(tcase, selections_are_parts, 0, n);
    tcase_add_loop_test(tcase, positions_are_parts, 0, n);
    tcase_add_loop_test(tcase, narrow_types_are_roundings, 0, n);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
