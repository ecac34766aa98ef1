// Maps of captures of models: rebuilt ones have the bits of the recorded ones, whatever the level
// of the kernels, the number of threads and the length of the prompt; and captures that cannot give
// maps are refused.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/map_source.h"
#include "formats/part.h"
#include "run_capture.h"
#include "synthetic.h"
#include "trace_folder.h"

// One map, row-major [n, n].
struct map {
    float *values;
    size_t n;
    size_t n_rows; // seen so far
    size_t head;
};

static enum hw_status collect(void *self, const struct hw_map_block *block, struct hw_error *err) {
    struct map *map = self;
    (void)err;
    ck_assert_uint_eq(block->n_keys, map->n);
    ck_assert_uint_eq(block->head, map->head);
    ck_assert_uint_eq(block->first_row, map->n_rows);
    ck_assert_uint_eq(block->first_row % HW_MAP_ROWS, 0);
    ck_assert_uint_le(block->n_rows, HW_MAP_ROWS);
    for (size_t r = 0; r < block->n_rows; r++) {
        memcpy(map->values + (block->first_row + r) * map->n, block->rows + r * block->stride,
               map->n * sizeof *map->values);
    }
    map->n_rows += block->n_rows;
    return HW_OK;
}

static struct hw_map_source *open_source(struct hw_trace *trace, const char *record,
                                         enum hw_level level, int n_threads) {
    struct hw_map_source_options options = {"rollout", record, n_threads, level};
    struct hw_map_source *source = NULL;
    struct hw_error err;
    ck_assert_msg(hw_map_source_open_with(trace, &options, &source, &err) == HW_OK, "%s",
                  err.message);
    ck_assert_str_eq(hw_map_source_record(source), record);
    return source;
}

static struct hw_trace *open_trace(const char *path) {
    struct hw_trace *trace = NULL;
    struct hw_error err;
    ck_assert_msg(hw_trace_open(path, &trace, &err) == HW_OK, "%s", err.message);
    return trace;
}

static float *read_map(struct hw_map_source *source, size_t prompt, size_t layer, size_t head,
                       size_t n) {
    bool *is_wanted = calloc(hw_map_source_n_heads(source), sizeof *is_wanted);
    struct map map = {.values = malloc((n * n + 1) * sizeof(float)), .n = n, .head = head};
    struct hw_error err;
    ck_assert(is_wanted != NULL && map.values != NULL);
    is_wanted[head] = true;
    enum hw_status status =
        hw_map_source_walk(source, prompt, layer, is_wanted, collect, &map, &err);
    ck_assert_msg(status == HW_OK, "%s", err.message);
    ck_assert_uint_eq(map.n_rows, n);
    free(is_wanted);
    return map.values;
}

// Compares every map of every prompt of the file from both records; returns the weights compared.
static size_t compare_sources(const char *path, enum hw_level level, int n_threads) {
    struct hw_trace *trace = open_trace(path);
    struct hw_map_source *recorded = open_source(trace, "attention_maps", level, 1);
    struct hw_map_source *rebuilt = open_source(trace, "attention_vectors", level, n_threads);
    size_t n_same = 0;
    ck_assert_double_eq(hw_map_source_error(recorded), 0);
    ck_assert_double_eq(hw_map_source_error(rebuilt), 0);
    for (size_t p = 0; p < hw_trace_n_prompts(trace); p++) {
        size_t n = hw_map_source_n_tokens(recorded, p);
        ck_assert_uint_eq(n, hw_map_source_n_tokens(rebuilt, p));
        for (size_t l = 0; l < hw_map_source_n_layers(recorded); l++) {
            for (size_t h = 0; h < hw_map_source_n_heads(recorded) && n > 0; h++) {
                float *a = read_map(recorded, p, l, h, n);
                float *b = read_map(rebuilt, p, l, h, n);
                for (size_t i = 0; i < n * n; i++) {
                    if (memcmp(&a[i], &b[i], sizeof *a) != 0 || (i % n > i / n && a[i] != 0)) {
                        ck_abort_msg("prompt %zu, layer %zu, head %zu: weight %zu, %zu is %.9g "
                                     "recorded and %.9g rebuilt",
                                     p, l, h, i / n, i % n, (double)a[i], (double)b[i]);
                    }
                }
                n_same += n * n;
                free(a);
                free(b);
            }
        }
    }
    hw_map_source_close(&recorded);
    hw_map_source_close(&rebuilt);
    hw_trace_close(&trace);
    return n_same;
}

static void add_prompts(struct hw_prompts *prompts, const size_t *lengths, size_t n,
                        uint32_t n_vocab) {
    uint32_t state = 7;
    for (size_t p = 0; p < n; p++) {
        uint32_t *ids = malloc((lengths[p] + 1) * sizeof *ids);
        ck_assert_ptr_nonnull(ids);
        for (size_t i = 0; i < lengths[p]; i++) {
            state = state * 1664525u + 1013904223u;
            ids[i] = (state >> 8) % n_vocab;
        }
        run_prompts_add(prompts, ids, lengths[p]);
        free(ids);
    }
}

static const struct run_options both = {.records = {"attention_maps", "attention_vectors"}};

START_TEST(rebuilt_maps_have_the_recorded_bits) {
    static const char *const models[] = {"llama-gqa", "gpt2", "gpt-neox-parallel"};
    static const size_t lengths[] = {1, 5, 12, 13, 0, 128, 129, 300};
    enum { N = sizeof lengths / sizeof lengths[0] };
    enum hw_level level = (enum hw_level)(_i % HW_N_LEVELS);
    if (level > hw_cpu_level()) {
        return;
    }
    struct hw_model *model = run_model(models[_i / HW_N_LEVELS]);
    struct hw_prompts prompts = {0};
    bool is_short = model->desc.position == HW_POSITION_LEARNED; // 128 of them
    add_prompts(&prompts, lengths, N - (is_short ? 2 : level == HW_LEVEL_REF ? 1 : 0), 97);
    prompts.items[4].status = HW_PROMPT_FAILED;
    struct run_options options = both;
    options.level = level;
    char *path = run_capture_part(model, &prompts, &options, trace_folder_make());
    ck_assert_uint_gt(compare_sources(path, level, 1 + _i % 3), 1000);
    free(path);
    trace_folder_remove();
    run_prompts_free(&prompts);
    hw_model_close(&model);
}
END_TEST

// Longer than one call of the op hands out, so that the buffer is used again.
START_TEST(maps_of_many_calls_are_whole) {
    static const size_t lengths[] = {2301, 700};
    struct hw_model *model = run_model("llama-gqa");
    struct hw_prompts prompts = {0};
    add_prompts(&prompts, lengths, 2, 97);
    struct run_options options = both;
    options.level = hw_cpu_level();
    options.records[0] = "attention_maps:1.0,1.3";
    options.records[1] = "attention_vectors:1.0,1.3";
    char *path = run_capture_part(model, &prompts, &options, trace_folder_make());
    ck_assert_uint_gt(compare_sources(path, options.level, 2), 2 * 2301 * 2301);
    free(path);
    trace_folder_remove();
    run_prompts_free(&prompts);
    hw_model_close(&model);
}
END_TEST

START_TEST(maps_of_a_real_model_are_rebuilt) {
    if (HW_SMOLLM2[0] == '\0') {
        (void)fprintf(stderr, "skipped: SmolLM2 is not at hand (meson option smollm2)\n");
        return;
    }
    static const size_t lengths[] = {301};
    struct hw_model *model = run_model(HW_SMOLLM2);
    struct hw_prompts prompts = {0};
    add_prompts(&prompts, lengths, 1, 40000);
    struct run_options options = both;
    options.level = hw_cpu_level();
    options.n_threads = 2;
    options.records[0] = "attention_maps:0,13,29";
    options.records[1] = "attention_vectors:0,13,29";
    char *path = run_capture_part(model, &prompts, &options, trace_folder_make());
    ck_assert_uint_eq(compare_sources(path, options.level, 2), 3 * 9 * 301 * 301);
    free(path);
    trace_folder_remove();
    run_prompts_free(&prompts);
    hw_model_close(&model);
}
END_TEST

// Rounding to half moves a weight in [.5, 1] by at most half of 2^-11, to u16 by half of 1/65534.
START_TEST(narrow_maps_are_within_their_error) {
    static const enum hw_element elements[] = {HW_ELEMENT_F2, HW_ELEMENT_U2};
    enum { PROMPT = 1, LAYER = 1 }; // 130 tokens; layer 2 of the model
    struct hw_layout layout;
    synthetic_layout(&layout, elements[_i]);
    (void)trace_folder_make();
    struct hw_trace *trace = open_trace(trace_folder_part(&layout, 0, SYNTHETIC_PROMPTS));
    struct hw_map_source *source = open_source(trace, "attention_maps", hw_cpu_level(), 1);
    size_t n = hw_map_source_n_tokens(source, PROMPT);
    double most = hw_map_source_error(source);
    double error = 0;
    ck_assert_uint_eq(n, 130);
    ck_assert_uint_eq(hw_map_source_n_layers(source), 2);
    for (size_t h = 0; h < hw_map_source_n_heads(source); h++) {
        float *map = read_map(source, PROMPT, LAYER, h, n);
        for (size_t i = 0; i < n * n; i++) {
            float exact = synthetic_pattern(PROMPT, 2, h, i / n, i % n);
            error = fmax(error, fabs((double)map[i] - (double)exact));
        }
        free(map);
    }
    ck_assert_double_le(error, most * (1 + 1e-6)); // the exact weight is rounded to f32 itself
    ck_assert_double_gt(error, most / 8);
    hw_map_source_close(&source);
    hw_trace_close(&trace);
    trace_folder_remove();
}
END_TEST

// Opens a source on a part of the layout; the message of the refusal.
static const char *refusal(const struct hw_layout *layout, const char *record) {
    static struct hw_error err;
    (void)trace_folder_make();
    struct hw_trace *trace = open_trace(trace_folder_part(layout, 0, 2));
    struct hw_map_source_options options = {"rollout", record, 1, hw_cpu_level()};
    struct hw_map_source *source = NULL;
    ck_assert_int_eq(hw_map_source_open_with(trace, &options, &source, &err), HW_INPUT);
    ck_assert_ptr_null(source);
    hw_trace_close(&trace);
    trace_folder_remove();
    return err.message;
}

START_TEST(maps_made_otherwise_are_refused_by_name) {
    static const float half[12] = {.5f, .5f, .5f, .5f};
    static const float none[12] = {0};
    static float no_sinks[12];
    static const int32_t windows[3] = {0, 64, 0};
    static const int32_t no_windows[3] = {0};
    static const struct {
        enum hw_dataset dataset;
        const void *values;
        const char *name;
    } cases[] = {
        {HW_DS_ATTENTION_VECTORS_SOFT_CAP, half, "soft cap of the scores (0.5 in layer 0)"},
        {HW_DS_ATTENTION_VECTORS_WINDOW, windows, "attention window (64 in layer 1)"},
        {HW_DS_ATTENTION_VECTORS_ALIBI_SLOPE, half, "slope of the linear bias"},
        {HW_DS_ATTENTION_VECTORS_SINK_LOGIT, half, "learned sink logit"},
        {HW_DS_ATTENTION_VECTORS_EDITS_JSON, "[{}]", "edits"},
        {HW_DS_ATTENTION_VECTORS_EDITS_JSON, "[]", NULL}};
    struct hw_layout layout;
    for (size_t i = 0; i < 12; i++) {
        no_sinks[i] = -INFINITY;
    }
    synthetic_layout(&layout, HW_ELEMENT_F4);
    layout.fixed[HW_DS_ATTENTION_VECTORS_SOFT_CAP] = none;
    layout.fixed[HW_DS_ATTENTION_VECTORS_WINDOW] = no_windows;
    layout.fixed[HW_DS_ATTENTION_VECTORS_ALIBI_SLOPE] = none;
    layout.fixed[HW_DS_ATTENTION_VECTORS_SINK_LOGIT] = no_sinks;
    layout.fixed[cases[_i].dataset] = cases[_i].values;
    if (cases[_i].name != NULL) {
        ck_assert_ptr_nonnull(strstr(refusal(&layout, "attention_vectors"), cases[_i].name));
        return;
    }
    (void)trace_folder_make(); // nothing of the kind: rebuilt
    struct hw_trace *trace = open_trace(trace_folder_part(&layout, 0, 2));
    struct hw_map_source *source = open_source(trace, "attention_vectors", hw_cpu_level(), 1);
    free(read_map(source, 1, 0, 3, 130));
    hw_map_source_close(&source);
    hw_trace_close(&trace);
    trace_folder_remove();
}
END_TEST

START_TEST(captures_without_maps_are_told_what_to_record) {
    struct hw_layout layout;
    synthetic_layout(&layout, HW_ELEMENT_F4);
    layout.has[HW_DS_ATTENTION_PATTERN] = false;
    for (int i = 0; i < HW_N_DATASETS; i++) {
        bool is_vectors = hw_schema_row((enum hw_dataset)i)->group == HW_GROUP_ATTENTION_VECTORS;
        layout.has[i] =
            layout.has[i] && !(is_vectors && (_i == 0 || i == HW_DS_ATTENTION_VECTORS_QUERY));
    }
    const char *message = refusal(&layout, NULL);
    if (_i == 0) {
        ck_assert_ptr_nonnull(strstr(message, "rollout needs attention_vectors or attention_maps"));
        ck_assert_ptr_nonnull(strstr(message, "--record attention_vectors"));
    } else {
        ck_assert_ptr_nonnull(strstr(message, "attention_vectors is not whole"));
    }
}
END_TEST

// The record with more heads is read; recorded maps where both have as many.
START_TEST(the_fuller_record_is_read) {
    static const char *const maps[] = {"attention_maps", "attention_maps:0"};
    static const size_t lengths[] = {9};
    struct hw_model *model = run_model("llama-gqa");
    struct hw_prompts prompts = {0};
    add_prompts(&prompts, lengths, 1, 97);
    struct run_options options = both;
    options.level = hw_cpu_level();
    options.records[0] = maps[_i];
    char *path = run_capture_part(model, &prompts, &options, trace_folder_make());
    struct hw_trace *trace = open_trace(path);
    struct hw_map_source *source = NULL;
    ck_assert_int_eq(hw_map_source_open(trace, "rollout", 1, &source, NULL), HW_OK);
    ck_assert_str_eq(hw_map_source_record(source),
                     _i == 0 ? "attention_maps" : "attention_vectors");
    hw_map_source_close(&source);
    hw_trace_close(&trace);
    free(path);
    trace_folder_remove();
    run_prompts_free(&prompts);
    hw_model_close(&model);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("map_source");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 200);
    tcase_add_loop_test(tcase, rebuilt_maps_have_the_recorded_bits, 0, 3 * HW_N_LEVELS);
    tcase_add_test(tcase, maps_of_many_calls_are_whole);
    tcase_add_test(tcase, maps_of_a_real_model_are_rebuilt);
    tcase_add_loop_test(tcase, narrow_maps_are_within_their_error, 0, 2);
    tcase_add_loop_test(tcase, maps_made_otherwise_are_refused_by_name, 0, 6);
    tcase_add_loop_test(tcase, captures_without_maps_are_told_what_to_record, 0, 2);
    tcase_add_loop_test(tcase, the_fuller_record_is_read, 0, 2);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
