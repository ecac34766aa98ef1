// Writes in the forward pass: exactly the rows and columns asked for, seen by whoever watches,
// nothing before them; what changes nothing leaves every bit; and rows of a decode are those of a
// longer prompt.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "check_op.h"
#include "run_capture.h"
#include "site_log.h"
#include "tracer/cache_window.h"

static const char *const models[] = {"llama-gqa", "gpt2-inverse-layer", "gpt-neox-parallel"};
static const enum hw_site sites[] = {HW_SITE_V,         HW_SITE_Z,         HW_SITE_ATTN_OUT,
                                     HW_SITE_MLP_POST,  HW_SITE_MLP_OUT,   HW_SITE_RESID_PRE,
                                     HW_SITE_RESID_MID, HW_SITE_RESID_POST};
enum { N_MODELS = 3, N_SITES = 8, N_KINDS = 3, MAX_LAYERS = 3, MAX_TOKENS = 1200, LONG = 1100 };

static void make_ids(uint32_t *ids, size_t n) {
    uint64_t state = 7;
    for (size_t i = 0; i < n; i++) {
        ids[i] = (uint32_t)(check_random_bits(&state) % 97);
    }
}

struct plan {
    struct hw_write write;
    struct hw_layer_changes layers[MAX_LAYERS];
    struct hw_changes changes;
    uint8_t rows[MAX_TOKENS];
    float values[MAX_TOKENS * 3];
};

// A write of three columns at every third position, the values of the last two left out.
static void make_plan(struct plan *plan, enum hw_site site, enum hw_write_kind kind, size_t layer,
                      size_t n) {
    *plan = (struct plan){0};
    for (size_t i = 0; i < MAX_TOKENS; i++) {
        plan->rows[i] = i % 3 == 1;
    }
    uint64_t state = 3;
    check_random_normal(&state, 1, MAX_TOKENS * 3, plan->values);
    plan->write = (struct hw_write){.site = site,
                                    .kind = kind,
                                    .first = 2,
                                    .width = 3,
                                    .rows = plan->rows,
                                    .value = 0.75f,
                                    .values = plan->values,
                                    .ld = 3,
                                    .n_positions = n - 2};
    plan->layers[layer] = (struct hw_layer_changes){.writes = &plan->write, .n_writes = 1};
    plan->changes = (struct hw_changes){.layers = plan->layers, .first_layer = layer};
}

static bool is_written(const struct plan *plan, size_t row, size_t column) {
    const struct hw_write *w = &plan->write;
    return plan->rows[row] != 0 && column >= w->first && column < w->first + w->width &&
           (w->kind != HW_WRITE_ROWS || row < w->n_positions);
}

static float value_of(const struct plan *plan, size_t row, size_t column, float before) {
    switch (plan->write.kind) {
    case HW_WRITE_VALUE:
        return plan->write.value;
    case HW_WRITE_SCALE:
        return before * plan->write.value;
    case HW_WRITE_ROWS:
        break;
    }
    return plan->values[row * 3 + column - plan->write.first];
}

// Entries of the site follow the rule, those before are the same, the last differs.
static void compare(const struct plan *plan, size_t layer, const struct site_log *before,
                    const struct site_log *after) {
    ck_assert_uint_eq(before->n, after->n);
    bool is_past = false;
    for (size_t e = 0; e < before->n; e++) {
        const struct site_entry *a = &before->entries[e];
        const struct site_entry *b = &after->entries[e];
        bool is_here = a->site == plan->write.site && a->layer == layer;
        is_past = is_past || is_here;
        if (!is_past) {
            ck_assert(check_same_bits(a->data, b->data, a->n_rows * a->width));
        }
        for (size_t i = 0; is_here && i < a->n_rows * a->width; i++) {
            size_t row = a->row_first + i / a->width;
            size_t column = i % a->width;
            float want = is_written(plan, row, column) ? value_of(plan, row, column, a->data[i])
                                                       : a->data[i];
            ck_assert_msg(check_same_bits(&b->data[i], &want, 1), "site %d row %zu column %zu",
                          (int)a->site, row, column);
        }
    }
    const struct site_entry *a = &before->entries[before->n - 1];
    const struct site_entry *b = &after->entries[after->n - 1];
    ck_assert_int_eq(a->site, HW_SITE_FINAL);
    ck_assert(memcmp(a->data, b->data, a->n_rows * a->width * sizeof(float)) != 0);
}

static uint64_t rows_to_write(const struct plan *plan, size_t n) {
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += is_written(plan, i, plan->write.first);
    }
    return count;
}

struct fixture {
    struct hw_model *model;
    struct hw_session *session;
    struct site_log before;
    uint32_t ids[MAX_TOKENS];
    size_t n;
};

static bool fixture_open(struct fixture *f, int i) {
    enum hw_level level = (enum hw_level)(i % HW_N_LEVELS);
    if (level > hw_cpu_level()) {
        return false;
    }
    *f = (struct fixture){.model = run_model(models[i / HW_N_LEVELS])};
    bool is_long = f->model->desc.position == HW_POSITION_ROPE && level != HW_LEVEL_REF;
    f->n = is_long ? LONG : 33;
    make_ids(f->ids, MAX_TOKENS);
    struct hw_session_options options = {
        .n_threads = 2, .level = level, .max_tokens = f->n, .max_generate = 8};
    f->session = site_log_session(f->model, &options);
    site_log_open(&f->before, f->model, UINT32_MAX);
    site_log_prefill(&f->before, f->session, NULL, f->ids, f->n);
    return true;
}

static void fixture_close(struct fixture *f) {
    site_log_close(&f->before);
    hw_session_close(&f->session);
    hw_model_close(&f->model);
}

START_TEST(exactly_what_was_asked) {
    struct fixture f;
    static struct plan plan;
    if (!fixture_open(&f, _i)) {
        return;
    }
    for (size_t s = 0; s < N_SITES; s++) {
        if (sites[s] == HW_SITE_RESID_MID && f.model->desc.is_parallel) {
            continue;
        }
        for (int kind = 0; kind < N_KINDS; kind++) {
            // The last layer's values reach the end only by attention, which is enough here.
            size_t layer = (size_t)kind % f.model->desc.n_layers;
            make_plan(&plan, sites[s], (enum hw_write_kind)kind, layer, f.n);
            struct site_log after;
            site_log_open(&after, f.model, UINT32_MAX);
            site_log_prefill(&after, f.session, &plan.changes, f.ids, f.n);
            compare(&plan, layer, &f.before, &after);
            ck_assert_uint_eq(plan.changes.n_applied, rows_to_write(&plan, f.n));
            site_log_close(&after);
        }
    }
    fixture_close(&f);
}
END_TEST

START_TEST(nothing_changed_is_the_same) {
    struct fixture f;
    static struct plan plan;
    if (!fixture_open(&f, _i)) {
        return;
    }
    for (size_t s = 0; s < N_SITES; s++) {
        make_plan(&plan, sites[s], HW_WRITE_SCALE, f.model->desc.n_layers - 1, f.n);
        plan.write.value = 1;
        struct site_log after;
        site_log_open(&after, f.model, UINT32_MAX);
        site_log_prefill(&after, f.session, &plan.changes, f.ids, f.n);
        for (size_t e = 0; e < after.n; e++) {
            const struct site_entry *entry = &after.entries[e];
            ck_assert(check_same_bits(entry->data, f.before.entries[e].data,
                                      entry->n_rows * entry->width));
        }
        bool is_there = sites[s] != HW_SITE_RESID_MID || !f.model->desc.is_parallel;
        ck_assert_uint_eq(plan.changes.n_applied, is_there ? rows_to_write(&plan, f.n) : 0);
        site_log_close(&after);
    }
    fixture_close(&f);
}
END_TEST

// One row for all positions, all rows, and several writes in their order.
START_TEST(writes_act_in_order) {
    struct fixture f;
    if (!fixture_open(&f, _i)) {
        return;
    }
    const float row[4] = {1, 2, 3, 4};
    struct hw_write writes[] = {
        {.site = HW_SITE_Z, .kind = HW_WRITE_ROWS, .first = 1, .width = 4, .values = row},
        {.site = HW_SITE_ATTN_OUT, .kind = HW_WRITE_VALUE, .first = 0, .width = 1, .value = 9},
        {.site = HW_SITE_Z, .kind = HW_WRITE_SCALE, .first = 2, .width = 1, .value = 10},
    };
    struct hw_layer_changes layers[MAX_LAYERS] = {{.writes = writes, .n_writes = 3}};
    struct hw_changes changes = {.layers = layers};
    struct site_log after;
    site_log_open(&after, f.model, 1u << HW_SITE_Z | 1u << HW_SITE_ATTN_OUT);
    site_log_prefill(&after, f.session, &changes, f.ids, f.n);
    const float want[4] = {1, 20, 3, 4};
    size_t n;
    float *z = site_log_rows(&after, HW_SITE_Z, 0, &n);
    float *out = site_log_rows(&after, HW_SITE_ATTN_OUT, 0, &n);
    size_t width = f.model->desc.n_heads * f.model->desc.d_head;
    for (size_t i = 0; i < f.n; i++) {
        ck_assert(check_same_bits(z + i * width + 1, want, 4));
        float nine = 9;
        ck_assert(check_same_bits(out + i * f.model->desc.d_model, &nine, 1));
    }
    ck_assert_uint_eq(changes.n_applied, 3 * f.n);
    free(z);
    free(out);
    site_log_close(&after);
    fixture_close(&f);
}
END_TEST

// Changes of attention act as well, and hold for what is generated.
START_TEST(decode_is_a_longer_prefill) {
    enum { PROMPT = 20, MORE = 6 };
    struct fixture f;
    static struct plan plan;
    if (!fixture_open(&f, _i)) {
        return;
    }
    struct hw_attention_change attention[] = {
        {.kind = HW_CHANGE_UNIFORM, .queries = plan.rows},
        {.kind = HW_CHANGE_WINDOW, .n_sinks = 2, .n_recent = 3},
    };
    make_plan(&plan, HW_SITE_Z, HW_WRITE_ROWS, 0, MAX_TOKENS);
    plan.layers[1].attention = attention;
    plan.layers[1].n_attention = 2;
    attention[1].is_cache_form = f.model->desc.position == HW_POSITION_ROPE;
    struct hw_session_options options = {.n_threads = 1,
                                         .level = (enum hw_level)(_i % HW_N_LEVELS),
                                         .max_tokens = PROMPT + MORE,
                                         .max_generate = MORE,
                                         .has_cache_windows = true};
    struct hw_session *session = site_log_session(f.model, &options);
    struct site_log whole, parts;
    site_log_open(&whole, f.model, 1u << HW_SITE_FINAL | 1u << HW_SITE_RESID_POST);
    site_log_open(&parts, f.model, 1u << HW_SITE_FINAL | 1u << HW_SITE_RESID_POST);
    site_log_prefill(&whole, session, &plan.changes, f.ids, PROMPT + MORE);
    uint64_t n_applied = plan.changes.n_applied;
    site_log_prefill(&parts, session, &plan.changes, f.ids, PROMPT);
    for (size_t i = PROMPT; i < PROMPT + MORE; i++) {
        struct hw_error err = {0};
        ck_assert_int_eq(hw_session_decode(session, f.ids[i], i, &parts.observer, NULL, &err),
                         HW_OK);
    }
    ck_assert_uint_eq(plan.changes.n_applied, 2 * n_applied);
    for (size_t layer = 0; layer <= f.model->desc.n_layers; layer++) {
        bool is_last = layer == f.model->desc.n_layers;
        enum hw_site site = is_last ? HW_SITE_FINAL : HW_SITE_RESID_POST;
        size_t n;
        float *a = site_log_rows(&whole, site, layer, &n);
        float *b = site_log_rows(&parts, site, layer, &n);
        ck_assert_uint_eq(n, PROMPT + MORE);
        ck_assert(check_same_bits(a, b, n * f.model->desc.d_model));
        free(a);
        free(b);
    }
    site_log_close(&whole);
    site_log_close(&parts);
    hw_session_close(&session);
    fixture_close(&f);
}
END_TEST

// The plan has memory for changes of attention, however long the prompt and whatever is recorded.
START_TEST(attention_changes_fit_the_plan) {
    struct fixture f;
    static struct plan plan;
    if (!fixture_open(&f, _i)) {
        return;
    }
    make_plan(&plan, HW_SITE_Z, HW_WRITE_VALUE, 0, f.n);
    plan.changes.layers = plan.layers;
    struct hw_attention_change change = {
        .kind = HW_CHANGE_SCALE, .keys = plan.rows, .amount = 0, .is_renormalised = true};
    plan.layers[0] = (struct hw_layer_changes){.attention = &change, .n_attention = 1};
    for (int n_threads = 1; n_threads <= 16; n_threads *= 4) {
        struct hw_session_options options = {
            .n_threads = n_threads, .level = (enum hw_level)(_i % HW_N_LEVELS), .max_tokens = f.n};
        struct hw_session *session = site_log_session(f.model, &options);
        struct hw_attention_args args = {.n_queries = f.n,
                                         .n_keys = f.n,
                                         .n_heads = f.model->desc.n_heads,
                                         .n_kv_heads = f.model->desc.n_kv_heads,
                                         .d_head = f.model->desc.d_head,
                                         .changes = &change,
                                         .n_changes = 1};
        ck_assert_uint_ge(hw_session_exec(session)->scratch_bytes,
                          hw_attention_scratch(n_threads, &args));
        struct site_log after;
        site_log_open(&after, f.model, 1u << HW_SITE_FINAL);
        plan.changes.n_applied = 0;
        site_log_prefill(&after, session, &plan.changes, f.ids, f.n);
        ck_assert_uint_eq(plan.changes.n_applied, f.n * f.model->desc.n_heads);
        site_log_close(&after);
        hw_session_close(&session);
    }
    fixture_close(&f);
}
END_TEST

// Queries of a window in cache form, turned to their place among sinks and recent keys: S + R - 1
// at most, itself counted; heads and rows without a window keep theirs.
START_TEST(queries_are_turned_to_their_place) {
    enum { N = 12, FIRST = 3 };
    struct hw_model *model = run_model("llama-gqa");
    const struct hw_model_desc *d = &model->desc;
    size_t width = d->n_heads * d->d_head;
    struct hw_session_options options = {
        .n_threads = 1, .level = HW_LEVEL_PLAIN, .max_tokens = 16, .has_cache_windows = true};
    struct hw_session *s = site_log_session(model, &options);
    const uint8_t heads[] = {0, 1, 0, 1};
    uint8_t queries[16];
    memset(queries, 1, sizeof queries);
    queries[9] = 0;
    struct hw_attention_change window = {.kind = HW_CHANGE_WINDOW,
                                         .heads = heads,
                                         .queries = queries,
                                         .n_sinks = 2,
                                         .n_recent = 4,
                                         .is_cache_form = true};
    struct hw_layer_changes layers[2] = {{.attention = &window, .n_attention = 1}};
    struct hw_changes changes = {.layers = layers};
    struct hw_sequence sequence = {.first = FIRST, .n = N, .changes = &changes};
    uint64_t state = 5;
    check_random_normal(&state, 1, N * width, s->q_flat);
    memcpy(s->q, s->q_flat, N * width * sizeof(float));
    size_t half = d->n_rot / 2;
    s->ops.rope(&s->exec, s->q, N, width, d->n_heads, d->d_head, d->n_rot, d->is_rope_interleaved,
                s->cosine + FIRST * half, s->sine + FIRST * half);
    hw_cache_windows_turn(s, &sequence, 0);
    ck_assert_ptr_eq(window.q_sinks, s->q_turned);
    for (size_t i = 0; i < N; i++) {
        size_t place = FIRST + i < 5 ? FIRST + i : 5; // slots 0, 1 and 2 .. 5
        float row[64];
        memcpy(row, s->q_flat + i * width, width * sizeof(float));
        s->ops.rope(&s->exec, row, 1, width, d->n_heads, d->d_head, d->n_rot,
                    d->is_rope_interleaved, s->cosine + place * half, s->sine + place * half);
        for (size_t h = 0; h < d->n_heads; h++) {
            bool is_turned = heads[h] != 0 && FIRST + i != 9;
            const float *want = is_turned ? row : s->q + i * width;
            ck_assert(check_same_bits(window.q_sinks + i * width + h * d->d_head,
                                      want + h * d->d_head, d->d_head));
        }
    }
    hw_session_close(&s);
    hw_model_close(&model);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("changes");
    TCase *tcase = tcase_create("writes");
    tcase_set_timeout(tcase, 240);
    int n = N_MODELS * HW_N_LEVELS;
    tcase_add_loop_test(tcase, exactly_what_was_asked, 0, n);
    tcase_add_loop_test(tcase, nothing_changed_is_the_same, 0, n);
    tcase_add_loop_test(tcase, writes_act_in_order, 0, n);
    tcase_add_loop_test(tcase, decode_is_a_longer_prefill, 0, n);
    tcase_add_loop_test(tcase, attention_changes_fit_the_plan, 0, n);
    tcase_add_test(tcase, queries_are_turned_to_their_place);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
