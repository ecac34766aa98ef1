// Presets against the worked numbers of the definitions: the edit is parsed and compiled, the
// reference op carries its attention changes out, and a few lines here its writes.
//
// q, k and v are made so that scores are the logarithms of a given map and z is the map as used:
// k and v are unit vectors, a query is the row of logarithms.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check_rows.h"
#include "tracer/edit.h"

enum { MAX_T = 8, D = 8 };
// Worked numbers are rounded to six decimals; the op hands out floats.
static const double TOLERANCE = 1e-6;

static const struct hw_model_desc desc = {.n_layers = 1,
                                          .d_model = 3,
                                          .n_heads = 1,
                                          .n_kv_heads = 1,
                                          .d_head = D,
                                          .d_mlp = 4,
                                          .position = HW_POSITION_ROPE};

// The test matrix A of the definitions (section 0), and rows of equal weights.
static const double map_a[3][3] = {{1, 0, 0}, {.6, .4, 0}, {.5, .3, .2}};

struct applied {
    struct hw_edit *edit;
    struct hw_arena arena;
    struct hw_changes changes;
};

static void apply(struct applied *applied, const char *spec, size_t n_prompt, size_t n_positions) {
    struct hw_error err = {0};
    const struct hw_prompt prompt = {.n_ids = n_prompt, .name = "p"};
    const struct hw_edit_context context = {
        .desc = &desc, .prompt = &prompt, .n_positions = n_positions};
    *applied = (struct applied){0};
    ck_assert_msg(hw_edit_parse(spec, &desc, false, &applied->edit, &err) == HW_OK, "%s",
                  err.message);
    ck_assert_int_eq(hw_arena_open(&applied->arena, 1 << 16, NULL), HW_OK);
    const struct hw_edit *const edits[] = {applied->edit};
    ck_assert_msg(hw_edits_compile(edits, 1, &context, &applied->arena, &applied->changes, &err) ==
                      HW_OK,
                  "%s", err.message);
}

static void applied_free(struct applied *applied) {
    hw_edit_close(&applied->edit);
    hw_arena_close(&applied->arena);
}

// The map as used [n, n], from a map (NULL: rows of equal weights).
static void attend(const struct applied *applied, const double *map, size_t n,
                   float used[MAX_T][D]) {
    float q[MAX_T][D] = {{0}}, k[MAX_T][D] = {{0}}, v[MAX_T][D] = {{0}};
    for (size_t i = 0; i < n; i++) {
        k[i][i] = v[i][i] = 1;
        for (size_t j = 0; map != NULL && j <= i; j++) {
            q[i][j] = (float)log(map[i * n + j]);
        }
    }
    const struct hw_layer_changes *at = &applied->changes.layers[0];
    struct hw_attention_args args = {.q = q[0],
                                     .k = k[0],
                                     .v = v[0],
                                     .z = used[0],
                                     .q_stride = D,
                                     .k_stride = D,
                                     .v_stride = D,
                                     .z_stride = D,
                                     .n_queries = n,
                                     .n_keys = n,
                                     .n_heads = 1,
                                     .n_kv_heads = 1,
                                     .d_head = D,
                                     .score_scale = 1,
                                     .changes = at->attention,
                                     .n_changes = at->n_attention};
    struct hw_exec exec = {.n_threads = 1, .scratch_bytes = hw_attention_scratch(1, &args)};
    exec.scratch = malloc(exec.scratch_bytes + 64);
    ck_assert_ptr_nonnull(exec.scratch);
    struct hw_ops ops;
    hw_ops_init(&ops, HW_LEVEL_REF);
    ops.attention(&exec, &args);
    free(exec.scratch);
}

static const struct {
    const char *spec;
    double rows[3][3];
} worked[] = {
    // M1, gamma .5 on A: its worked numbers.
    {"zerotuning:head=0.0:by=0.5", {{1, 0, 0}, {.428571, .571429, 0}, {.333333, .4, .266667}}},
    // M1 says a_0 gamma / D, a_j / D, D = 1 + (gamma - 1) a_0: for gamma 2, D = 1.6 and 1.5.
    {"zerotuning:head=0.0:by=2", {{1, 0, 0}, {.75, .25, 0}, {2 / 3.0, .2, .4 / 3}}},
    // M1: gamma 0 would make row 0 0/0; here it is empty.
    {"zerotuning:head=0.0:by=0", {{0, 0, 0}, {0, 1, 0}, {0, .6, .4}}},
    // J1, D6: z is 0 at every position.
    {"michel:head=0.0", {{0, 0, 0}, {0, 0, 0}, {0, 0, 0}}},
    {"guo-zero:head=0.0", {{0, 0, 0}, {0, 0, 0}, {0, 0, 0}}},
    // D6: A = 0, then A[:, 0] = 1.
    {"guo-first:head=0.0", {{1, 0, 0}, {1, 0, 0}, {1, 0, 0}}},
    {"guo-identity:head=0.0", {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}},
    // H2: uniform, in the row of the last prompt token and after it only.
    {"retrieval-head:head=0.0", {{1, 0, 0}, {.5, .5, 0}, {1 / 3.0, 1 / 3.0, 1 / 3.0}}},
    // M3: at all rows.
    {"attention-influence:head=0.0", {{1, 0, 0}, {.5, .5, 0}, {1 / 3.0, 1 / 3.0, 1 / 3.0}}},
    // What is said of the grammar besides: edges are not renormalised, masked keys are.
    {"zero:layer=0:query=last:key=first", {{1, 0, 0}, {.6, .4, 0}, {0, .3, .2}}},
    {"block:layer=0:query=last:key=first", {{1, 0, 0}, {.6, .4, 0}, {0, .6, .4}}},
    {"scale:head=0.0:key=first:by=2:renormalise=no", {{2, 0, 0}, {1.2, .4, 0}, {1, .3, .2}}},
    {"bias:head=0.0:key=0:by=0.6931471805599453",
     {{1, 0, 0}, {.75, .25, 0}, {2 / 3.0, .2, .4 / 3}}},
    {"previous:head=0.0", {{1, 0, 0}, {1, 0, 0}, {0, 1, 0}}},
    {"to:head=0.0:key=1", {{0, 0, 0}, {0, 1, 0}, {0, 1, 0}}},
};

START_TEST(maps_are_those_of_the_definitions) {
    // The prompt of H2's case ends at row 1, so that row 0 alone is prefill.
    struct applied applied;
    float used[MAX_T][D];
    apply(&applied, worked[_i].spec, strncmp(worked[_i].spec, "retrieval", 9) == 0 ? 2 : 3, 3);
    attend(&applied, map_a[0], 3, used);
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 3; j++) {
            ck_assert_msg(fabs((double)used[i][j] - worked[_i].rows[i][j]) <= TOLERANCE,
                          "%s: [%zu, %zu] is %.8g, not %.8g", worked[_i].spec, i, j,
                          (double)used[i][j], worked[_i].rows[i][j]);
        }
    }
    applied_free(&applied);
}
END_TEST

// H2: one row over 4 keys becomes .25 each; the rows before are left alone.
START_TEST(retrieval_heads_are_masked_while_decoding) {
    static const double map[16] = {1, 0, 0, 0, .9, .1, 0, 0, .2, .2, .6, 0, .1, .7, .1, .1};
    struct applied applied;
    float used[MAX_T][D];
    apply(&applied, "retrieval-head:head=0.0", 4, 4);
    attend(&applied, map, 4, used);
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < 4; j++) {
            double want = i == 3 ? .25 : map[4 * i + j];
            ck_assert(fabs((double)used[i][j] - want) <= TOLERANCE);
        }
    }
    applied_free(&applied);
}
END_TEST

// The keys that query i sees, as bits.
static unsigned seen(const float used[MAX_T][D], size_t i) {
    unsigned bits = 0;
    for (size_t j = 0; j < MAX_T; j++) {
        bits |= (unsigned)(used[i][j] != 0) << j;
    }
    return bits;
}

// B1 with S=1, R=2: t0 {0}, t1 {0,1}, t2 {0,1,2}, t3 {0,1,2,3}, t4 {0,2,3,4}, t5 {0,3,4,5},
// t6 {0,4,5,6}. The slots are the business of who turns the queries.
START_TEST(the_streaming_cache_shows_sinks_recent_keys_and_the_query) {
    static const unsigned want[] = {0x01, 0x03, 0x07, 0x0f, 0x1d, 0x39, 0x71};
    struct applied applied;
    float used[MAX_T][D];
    apply(&applied, "streaming:head=all:sinks=1:recent=2", 7, 7);
    ck_assert(applied.changes.layers[0].attention[0].is_cache_form);
    attend(&applied, NULL, 7, used);
    for (size_t i = 0; i < 7; i++) {
        ck_assert_uint_eq(seen(used, i), want[i]);
    }
    applied_free(&applied);
}
END_TEST

// B2 with S=1, W=2: j <= i and (j < S or i - j <= W - 1); query 4 sees {0,3,4}.
START_TEST(the_streaming_mask_counts_the_query_as_recent) {
    struct applied applied;
    float used[MAX_T][D];
    apply(&applied, "streaming-mask:head=all:sinks=1:recent=2", 7, 7);
    ck_assert(!applied.changes.layers[0].attention[0].is_cache_form);
    attend(&applied, NULL, 7, used);
    ck_assert_uint_eq(seen(used, 4), 0x19);
    for (size_t i = 0; i < 7; i++) {
        for (size_t j = 0; j < 7; j++) {
            ck_assert((used[i][j] != 0) == (j <= i && (j < 1 || i - j <= 1)));
        }
    }
    applied_free(&applied);
}
END_TEST

// B: with W = R + 1 the two show the same keys; sinks alone and recent keys alone are windows too.
START_TEST(windows_of_both_forms_show_the_same_keys) {
    static const char *const specs[] = {
        "window:head=all:sinks=2:recent=4", "window:head=all:sinks=2:recent=3:positions=cache",
        "window:head=all:sinks=2:recent=0", "window:head=all:sinks=0:recent=3"};
    static const unsigned last[] = {0xf3, 0xf3, 0x03, 0xe0};
    for (size_t s = 0; s < 4; s++) {
        struct applied applied;
        float used[MAX_T][D];
        apply(&applied, specs[s], MAX_T, MAX_T);
        attend(&applied, NULL, MAX_T, used);
        ck_assert_msg(seen(used, MAX_T - 1) == last[s], "%s shows %x", specs[s],
                      seen(used, MAX_T - 1));
        applied_free(&applied);
    }
}
END_TEST

// C2: 2 tokens x 3 channels; set to zero, token 0 has 0 in the first two channels and its third is
// untouched, and so is token 1.
START_TEST(massive_activations_are_set_at_the_first_token_only) {
    static const float want[2][3] = {{0, 0, 3}, {4, 5, 6}};
    float x[2][3] = {{1, 2, 3}, {4, 5, 6}};
    struct applied applied;
    apply(&applied, "massive-zero:channel=0-1:layer=0", 2, 2);
    ck_assert_uint_eq(applied.changes.layers[0].n_writes, 1);
    const struct hw_write *write = applied.changes.layers[0].writes;
    ck_assert_int_eq(write->site, HW_SITE_RESID_POST);
    ck_assert_int_eq(write->kind, HW_WRITE_VALUE);
    for (size_t t = 0; t < 2; t++) {
        for (size_t c = write->first; write->rows[t] && c < write->first + write->width; c++) {
            x[t][c] = write->value;
        }
    }
    ck_assert_mem_eq(x, want, sizeof x);
    applied_free(&applied);
}
END_TEST

int main(void) {
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, maps_are_those_of_the_definitions, 0,
                        (int)(sizeof worked / sizeof worked[0]));
    tcase_add_test(tcase, retrieval_heads_are_masked_while_decoding);
    tcase_add_test(tcase, the_streaming_cache_shows_sinks_recent_keys_and_the_query);
    tcase_add_test(tcase, the_streaming_mask_counts_the_query_as_recent);
    tcase_add_test(tcase, windows_of_both_forms_show_the_same_keys);
    tcase_add_test(tcase, massive_activations_are_set_at_the_first_token_only);
    return run_suite("edit_worked", tcase);
}
