// Branches that pass together: the final-normed rows of each are, bit for bit, those of a prefill
// with the same changes in another session with another number of threads, whatever runs beside
// them, however many, wherever they join and whichever rows are wanted.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "check_op.h"
#include "kernels/size.h"
#include "run_capture.h"
#include "site_log.h"

// Shared kv heads; learned positions with three layers; parallel blocks.
static const char *const models[] = {"llama-gqa", "gpt2-inverse-layer", "gpt-neox-parallel"};
enum { N_MODELS = 3, MAX_LAYERS = 3, MAX_TOKENS = 256, N_WAYS = 12, MAX_BRANCHES = 40 };

// What a branch does in its first layer, and whether in the next one too.
struct way {
    enum hw_site site; // HW_N_SITES: attention
    size_t first;
    size_t width;
    bool is_cache_form;
    bool goes_on;
};

static const struct way ways[N_WAYS] = {
    {HW_SITE_Z, 0, 8, false, false},         {HW_SITE_RESID_POST, 3, 1, false, false},
    {HW_N_SITES, 0, 0, false, false},        {HW_SITE_V, 4, 8, false, false},
    {HW_SITE_Z, 8, 8, false, true},          {HW_SITE_RESID_PRE, 1, 20, false, false},
    {HW_SITE_MLP_POST, 5, 40, false, false}, {HW_N_SITES, 0, 0, true, true},
    {HW_SITE_MLP_OUT, 0, 30, false, false},  {HW_SITE_ATTN_OUT, 2, 9, false, true},
    {HW_N_SITES, 0, 0, true, false},         {HW_SITE_Z, 16, 8, false, false},
};

struct branch {
    struct hw_write write;
    struct hw_attention_change attention[2];
    struct hw_layer_changes layers[MAX_LAYERS];
    struct hw_changes changes;
    float *rows; // [T, d_model] that a prefill gives
};

struct fixture {
    struct hw_model *model;
    enum hw_level level;
    size_t n_tokens;
    uint32_t ids[MAX_TOKENS];
    uint8_t positions[MAX_TOKENS]; // where changes act
    float *resid[MAX_LAYERS + 1];  // of the unchanged run
    struct branch branches[MAX_BRANCHES];
    struct hw_changes *changes[MAX_BRANCHES];
    size_t n_branches;
};

static void make_branch(struct fixture *f, struct branch *b, const struct way *way, size_t layer) {
    size_t n_layers = f->model->desc.n_layers;
    *b = (struct branch){.changes = {.layers = b->layers, .first_layer = layer}};
    b->write = (struct hw_write){.site = way->site,
                                 .first = way->first,
                                 .width = way->width,
                                 .value = 0.5f,
                                 .rows = way->goes_on ? NULL : f->positions};
    b->attention[0] = (struct hw_attention_change){
        .kind = HW_CHANGE_WINDOW,
        .n_sinks = 1 + way->goes_on,
        .n_recent = 4,
        .is_cache_form = way->is_cache_form && f->model->desc.position == HW_POSITION_ROPE};
    b->attention[1] =
        (struct hw_attention_change){.kind = HW_CHANGE_PREVIOUS, .queries = f->positions};
    for (size_t l = layer; l < n_layers && (l == layer || way->goes_on); l++) {
        if (way->site == HW_N_SITES) {
            b->layers[l].attention = b->attention;
            b->layers[l].n_attention = 2;
        } else {
            b->layers[l].writes = &b->write;
            b->layers[l].n_writes = 1;
        }
    }
}

static void reference(struct fixture *f) {
    struct hw_session_options options = {.n_threads = 3,
                                         .level = f->level,
                                         .max_tokens = f->n_tokens + 5,
                                         .has_cache_windows = true};
    struct hw_session *session = site_log_session(f->model, &options);
    size_t n_layers = f->model->desc.n_layers;
    size_t n;
    struct site_log log;
    uint32_t all = 1u << HW_SITE_FINAL | 1u << HW_SITE_RESID_PRE | 1u << HW_SITE_RESID_POST;
    site_log_open(&log, f->model, all);
    site_log_prefill(&log, session, NULL, f->ids, f->n_tokens);
    for (size_t l = 0; l <= n_layers; l++) {
        f->resid[l] = l < n_layers ? site_log_rows(&log, HW_SITE_RESID_PRE, l, &n)
                                   : site_log_rows(&log, HW_SITE_RESID_POST, l - 1, &n);
    }
    site_log_close(&log);
    for (size_t b = 0; b < f->n_branches; b++) {
        site_log_open(&log, f->model, 1u << HW_SITE_FINAL);
        site_log_prefill(&log, session, f->changes[b], f->ids, f->n_tokens);
        f->branches[b].rows = site_log_rows(&log, HW_SITE_FINAL, n_layers, &n);
        ck_assert_uint_eq(n, f->n_tokens);
        site_log_close(&log);
    }
    hw_session_close(&session);
}

static bool fixture_open(struct fixture *f, int i, size_t n_tokens) {
    enum hw_level level = (enum hw_level)(i % HW_N_LEVELS);
    if (level > hw_cpu_level()) {
        return false;
    }
    *f = (struct fixture){.model = run_model(models[i / HW_N_LEVELS]), .level = level};
    bool is_rope = f->model->desc.position == HW_POSITION_ROPE;
    f->n_tokens = is_rope ? n_tokens : hw_size_min(n_tokens, 121);
    uint64_t state = n_tokens;
    for (size_t p = 0; p < f->n_tokens; p++) {
        f->ids[p] = (uint32_t)(check_random_bits(&state) % 97);
        f->positions[p] = p % 4 != 1;
    }
    for (size_t layer = 0; layer < f->model->desc.n_layers; layer++) {
        for (size_t w = 0; w < N_WAYS; w++) {
            make_branch(f, &f->branches[f->n_branches++], &ways[w], layer);
        }
    }
    struct way none = {.site = HW_SITE_Z};
    make_branch(f, &f->branches[f->n_branches++], &none, f->model->desc.n_layers);
    make_branch(f, &f->branches[f->n_branches++], &none, f->model->desc.n_layers);
    for (size_t b = 0; b < f->n_branches; b++) {
        f->changes[b] = &f->branches[b].changes;
    }
    reference(f);
    return true;
}

static void fixture_close(struct fixture *f) {
    for (size_t l = 0; l <= f->model->desc.n_layers; l++) {
        free(f->resid[l]);
    }
    for (size_t b = 0; b < f->n_branches; b++) {
        free(f->branches[b].rows);
    }
    hw_model_close(&f->model);
}

struct check {
    struct fixture *f;
    size_t first; // branch of the fixture that is the job's first
    size_t row_first;
    size_t n_seen;
};

static enum hw_status check_rows(void *self, size_t first, size_t n, const float *normed,
                                 struct hw_error *err) {
    (void)err;
    struct check *check = self;
    size_t width = check->f->model->desc.d_model;
    size_t n_rows = check->f->n_tokens - check->row_first;
    ck_assert_uint_eq(first, check->n_seen);
    for (size_t b = 0; b < n; b++) {
        const float *want =
            check->f->branches[check->first + first + b].rows + check->row_first * width;
        ck_assert_msg(check_same_bits(normed + b * n_rows * width, want, n_rows * width),
                      "branch %zu, %zu tokens, rows from %zu on", check->first + first + b,
                      check->f->n_tokens, check->row_first);
    }
    check->n_seen += n;
    return HW_OK;
}

// All branches of the fixture in batches of up to `n`. With is_from_start every batch runs from
// layer 0, else from the first layer that one of its branches changes.
static void run_batches(struct fixture *f, struct hw_session *session, size_t n, size_t row_first,
                        bool is_from_start) {
    for (size_t first = 0; first < f->n_branches; first += n) {
        size_t layer = is_from_start ? 0 : f->changes[first]->first_layer;
        struct check check = {.f = f, .first = first, .row_first = row_first};
        struct hw_branch_job job = {.ids = f->ids,
                                    .n_tokens = f->n_tokens,
                                    .resid = f->resid[layer],
                                    .layer_first = layer,
                                    .branches = f->changes + first,
                                    .n_branches = hw_size_min(n, f->n_branches - first),
                                    .row_first = row_first,
                                    .final = check_rows,
                                    .self = &check};
        struct hw_error err = {0};
        ck_assert_msg(hw_session_branch(session, &job, &err) == HW_OK, "%s", err.message);
        ck_assert_uint_eq(check.n_seen, job.n_branches);
    }
}

START_TEST(rows_are_those_of_prefills) {
    static const size_t lengths[] = {7, 33, 70, 130};
    static struct fixture f;
    size_t n_lengths = _i % HW_N_LEVELS == HW_LEVEL_REF ? 2 : 4; // the reference is slow
    for (size_t t = 0; t < n_lengths; t++) {
        if (!fixture_open(&f, _i, lengths[t])) {
            return;
        }
        size_t all = f.n_branches;
        size_t sizes[4][2] = {{1, all}, {2, 5}, {5, 1}, {all, 2}};
        size_t firsts[] = {0, f.n_tokens / 2, f.n_tokens - 1};
        for (size_t s = 0; s < 2; s++) {
            struct hw_session_options options = {.n_threads = 1 + (int)((s + t) % 2),
                                                 .level = f.level,
                                                 .max_tokens = f.n_tokens + s,
                                                 .max_branches = sizes[t][s],
                                                 .has_cache_windows = true};
            struct hw_session *session = site_log_session(f.model, &options);
            for (size_t r = 0; r < 3; r++) {
                run_batches(&f, session, sizes[t][s], firsts[r], (s + r) % 2 == 1);
            }
            hw_session_close(&session);
        }
        fixture_close(&f);
    }
}
END_TEST

// Changes hold in branches for what they hold in prefills: with all rows wanted the counts agree.
START_TEST(counts_are_those_of_prefills) {
    static struct fixture f;
    if (!fixture_open(&f, _i, 33)) {
        return;
    }
    uint64_t want[MAX_BRANCHES];
    for (size_t b = 0; b < f.n_branches; b++) {
        want[b] = f.changes[b]->n_applied;
        bool is_changed = f.changes[b]->first_layer < f.model->desc.n_layers;
        bool is_write = is_changed && f.branches[b].write.site != HW_N_SITES;
        ck_assert(!is_write || want[b] > 0);
        f.changes[b]->n_applied = 0;
    }
    struct hw_session_options options = {.n_threads = 2,
                                         .level = f.level,
                                         .max_tokens = f.n_tokens,
                                         .max_branches = 7,
                                         .has_cache_windows = true};
    struct hw_session *session = site_log_session(f.model, &options);
    run_batches(&f, session, 7, 0, false);
    for (size_t b = 0; b < f.n_branches; b++) {
        ck_assert_uint_eq(f.changes[b]->n_applied, want[b]);
    }
    hw_session_close(&session);
    fixture_close(&f);
}
END_TEST

static enum hw_status stop_at_one(void *self, size_t layer, struct hw_error *err) {
    (void)self;
    return layer == 1 ? hw_fail(err, HW_RESOURCE, "stopped") : HW_OK;
}

START_TEST(jobs_are_checked_and_can_stop) {
    static struct fixture f;
    ck_assert(fixture_open(&f, HW_LEVEL_PLAIN, 7));
    struct hw_session_options options = {.n_threads = 1,
                                         .level = f.level,
                                         .max_tokens = 7,
                                         .max_branches = 3,
                                         .has_cache_windows = true};
    struct hw_session *session = site_log_session(f.model, &options);
    struct check check = {.f = &f};
    const struct hw_branch_job good = {.ids = f.ids,
                                       .n_tokens = 7,
                                       .resid = f.resid[0],
                                       .branches = f.changes,
                                       .n_branches = 3,
                                       .final = check_rows,
                                       .self = &check};
    struct hw_branch_job bad[] = {good, good, good, good, good, good, good};
    struct hw_changes *falling[] = {f.changes[N_WAYS], f.changes[0], f.changes[1]};
    bad[0].n_branches = 4;
    bad[1].n_branches = 0;
    bad[2].n_tokens = 8;
    bad[3].row_first = 7;
    bad[4].layer_first = 1; // branch 0 is changed in layer 0
    bad[5].layer_first = 3;
    bad[6].branches = falling;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct hw_error err = {0};
        ck_assert_int_eq(hw_session_branch(session, &bad[i], &err), HW_USAGE);
        ck_assert_uint_gt(strlen(err.message), 0);
    }
    ck_assert_uint_eq(check.n_seen, 0);
    struct hw_branch_job stopped = good;
    struct hw_error err = {0};
    stopped.layer_end = stop_at_one;
    ck_assert_int_eq(hw_session_branch(session, &stopped, &err), HW_RESOURCE);
    ck_assert_uint_eq(check.n_seen, 0);
    ck_assert_int_eq(hw_session_branch(session, &good, &err), HW_OK);
    ck_assert_uint_eq(check.n_seen, 3);
    hw_session_close(&session);
    fixture_close(&f);
}
END_TEST

START_TEST(flops_add_up) {
    struct hw_model *model = run_model("gpt2-inverse-layer");
    const struct hw_model_desc *d = &model->desc;
    double whole = hw_session_flops(d, 100, false);
    // Sums of integers far below 2^53.
    ck_assert(hw_branch_flops(d, 100, 0, 100) == whole);
    ck_assert(hw_branch_flops(d, 100, 2, 100) * 3 == whole);
    ck_assert(hw_branch_flops(d, 100, 3, 100) == 0);
    double last = hw_branch_flops(d, 100, 2, 1);
    double q_o_mlp = 2.0 * 36 * (2.0 * 36 + 2.0 * (double)d->d_mlp);
    ck_assert(last == q_o_mlp + 2.0 * 36 * 100 * 2 * 36 + 4.0 * 36 * 100);
    ck_assert(hw_branch_flops(d, 100, 1, 1) == whole / 3 + last);
    hw_model_close(&model);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("branch");
    TCase *tcase = tcase_create("branches");
    tcase_set_timeout(tcase, 240);
    int n = N_MODELS * HW_N_LEVELS;
    tcase_add_loop_test(tcase, rows_are_those_of_prefills, 0, n);
    tcase_add_loop_test(tcase, counts_are_those_of_prefills, 0, n);
    tcase_add_test(tcase, jobs_are_checked_and_can_stop);
    tcase_add_test(tcase, flops_add_up);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
