// Every dataset that a probe fills is computed again in double from its definition, on several
// models and on every level of kernels; and no probe and no recorded row of the schema goes without
// such a check, nor without exactly one producer. The worked numbers of the definitions come first.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "probes/engine_internal.h"
#include "probes/probe.h"
#include "statistics_study.h"

// What each model adds: shared kv heads; [in, out] weights and a scale a layer; a parallel block,
// layer norm and partial rotation; biases, and massive activations.
static const struct {
    const char *name;
    enum hw_level least; // on this level and every one above it
    bool has_events;
} cases[] = {{"llama-gqa", HW_LEVEL_REF, false},
             {"gpt2-inverse-layer", HW_N_LEVELS, false},
             {"gpt-neox-parallel", HW_N_LEVELS, false},
             {"llama-bias", HW_N_LEVELS, true}};
enum { MAX_STUDIES = 16 };
static struct study studies[MAX_STUDIES];
static size_t n_studies;
static size_t n_asserted[HW_N_DATASETS];

static void open_studies(void) {
    int best = hw_cpu_level();
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        int least = cases[c].least == HW_N_LEVELS ? best : (int)cases[c].least;
        for (int level = least; level <= best; level++) {
            study_open(&studies[n_studies++], cases[c].name, (enum hw_level)level,
                       cases[c].has_events);
        }
    }
}

static void close_studies(void) {
    for (size_t s = 0; s < n_studies; s++) {
        study_close(&studies[s]);
    }
}

static study_check_fn find_check(enum hw_dataset dataset) {
    const struct {
        const struct study_check *items;
        size_t n;
    } tables[] = {{attention_checks, n_attention_checks},     {state_checks, n_state_checks},
                  {activation_checks, n_activation_checks},   {token_checks, n_token_checks},
                  {attribution_checks, n_attribution_checks}, {mean_checks, n_mean_checks}};
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++) {
        for (size_t i = 0; i < tables[t].n; i++) {
            if (tables[t].items[i].dataset == dataset) {
                return tables[t].items[i].check;
            }
        }
    }
    return NULL;
}

// Properties of models that no family of this build has: the format has a place for them, and no
// capture may claim to hold them.
static bool is_of_no_family(enum hw_dataset dataset) {
    switch (dataset) {
    case HW_DS_ATTENTION_VECTORS_SOFT_CAP:
    case HW_DS_ATTENTION_VECTORS_WINDOW:
    case HW_DS_ATTENTION_VECTORS_ALIBI_SLOPE:
    case HW_DS_ATTENTION_VECTORS_SINK_LOGIT:
    case HW_DS_ATTENTION_VECTORS_EDITS_JSON:
        return true;
    default:
        return false;
    }
}

START_TEST(dataset_is_what_its_definition_says) {
    enum hw_dataset dataset = (enum hw_dataset)_i;
    const struct hw_schema_row *row = hw_schema_row(dataset);
    study_check_fn check = find_check(dataset);
    if (is_of_no_family(dataset)) {
        for (size_t s = 0; s < n_studies; s++) {
            ck_assert(!studies[s].run.recording.layout.has[dataset]);
        }
        return;
    }
    ck_assert_msg(check != NULL || row->record[0] == '\0', "nothing checks %s/%s",
                  hw_group_name(row->group), row->name);
    for (size_t s = 0; s < n_studies && check != NULL; s++) {
        size_t before = n_expected();
        check(&studies[s], dataset);
        ck_assert_msg(n_expected() > before, "the check of %s asserted nothing of %s", row->name,
                      studies[s].name);
        n_asserted[dataset] += n_expected() - before;
    }
}
END_TEST

// The datasets that one row of a probe fills, beside its own: those that follow it, or a table.
static bool is_filled_by(enum hw_dataset dataset, const struct hw_probe_row *row) {
    size_t n = 1;
    switch (row->reduce) {
    case HW_REDUCE_STATE_TOP:
    case HW_REDUCE_STATE_STATS:
    case HW_REDUCE_DECODE_TOP:
        n = 3;
        break;
    case HW_REDUCE_MEAN:
    case HW_REDUCE_TOP_KEYS:
    case HW_REDUCE_NEXT_TOP:
        n = 2;
        break;
    case HW_REDUCE_STATE_EVENTS:
        return hw_schema_row(dataset)->group == HW_GROUP_MASSIVE;
    default:
        n = hw_schema_row(row->dataset)->has_mean ? 2 : 1;
    }
    return dataset >= row->dataset && (size_t)dataset < (size_t)row->dataset + n;
}

START_TEST(recorded_dataset_has_one_producer) {
    enum hw_dataset dataset = (enum hw_dataset)_i;
    const struct hw_schema_row *row = hw_schema_row(dataset);
    // Columns of decode steps come with whatever else is recorded of them.
    bool is_step_column = row->group == HW_GROUP_DECODE && row->n_axes == 1;
    size_t n_producers = 0;
    for (size_t p = 0; hw_probes[p] != NULL; p++) {
        for (size_t r = 0; r < hw_probes[p]->n_rows; r++) {
            if (is_filled_by(dataset, &hw_probes[p]->rows[r])) {
                n_producers++;
                ck_assert_msg(row->record[0] == '\0' ||
                                  strstr(row->record, hw_probes[p]->record) != NULL,
                              "%s is filled by %s, and the schema says by \"%s\"", row->name,
                              hw_probes[p]->record, row->record);
            }
        }
    }
    bool is_column = row->record[0] == '\0' || is_step_column || is_of_no_family(dataset);
    size_t want = is_column && row->group != HW_GROUP_MASSIVE ? 0 : 1;
    ck_assert_msg(n_producers == want, "%s/%s has %zu producers (expected %zu)",
                  hw_group_name(row->group), row->name, n_producers, want);
}
END_TEST

// Last: what the checks before have asserted.
START_TEST(every_probe_was_asserted) {
    size_t n_probes = 0;
    for (; hw_probes[n_probes] != NULL; n_probes++) {
        const struct hw_probe *probe = hw_probes[n_probes];
        ck_assert_uint_gt(probe->n_rows, 0);
        for (size_t r = 0; r < probe->n_rows; r++) {
            for (int i = 0; i < HW_N_DATASETS; i++) {
                ck_assert_msg(!is_filled_by((enum hw_dataset)i, &probe->rows[r]) ||
                                  n_asserted[i] > 0,
                              "no assertion was executed on %s of probe %s",
                              hw_schema_row((enum hw_dataset)i)->name, probe->record);
            }
        }
    }
    ck_assert_uint_gt(n_probes, 0);
}
END_TEST

// The example maps of the definitions, as scores: q_i . k_j = ln A[i, j].
static void attend(const struct hw_ops *ops, const float *map, size_t n,
                   const struct hw_attention_request *request) {
    float q[9];
    float k[9] = {0};
    float z[9];
    for (size_t i = 0; i < n * n; i++) {
        q[i] = map[i] > 0 ? logf(map[i]) : 0.0f;
        k[i] = i / n == i % n ? 1.0f : 0.0f;
    }
    struct hw_attention_args args = {.q = q,
                                     .k = k,
                                     .v = k,
                                     .z = z,
                                     .q_stride = n,
                                     .k_stride = n,
                                     .v_stride = n,
                                     .z_stride = n,
                                     .n_queries = n,
                                     .n_keys = n,
                                     .n_heads = 1,
                                     .n_kv_heads = 1,
                                     .d_head = n,
                                     .score_scale = 1.0f,
                                     .request = *request};
    struct hw_exec exec = {.n_threads = 1, .scratch_bytes = hw_attention_scratch(1, &args)};
    exec.scratch = malloc(exec.scratch_bytes + 1);
    ck_assert_ptr_nonnull(exec.scratch);
    ops->attention(&exec, &args);
    for (size_t i = 0; i < n * n; i++) {
        expect((double)z[i], (double)map[i], "A[%zu, %zu]", i / n, i % n); // v is the identity
    }
    free(exec.scratch);
}

START_TEST(worked_numbers_of_sinks_and_entropy) {
    static const float a[9] = {1, 0, 0, .6f, .4f, 0, .5f, .3f, .2f};
    static const float half[4] = {1, 0, .5f, .5f};
    static const double alpha[3] = {.7, .35, .2};
    static const double entropies[3] = {0, .673012, 1.029653};
    struct hw_ops ops;
    float received[3];
    float entropy[3];
    struct hw_attention_request request = {.received_sum = received, .entropy = entropy};
    hw_ops_init(&ops, (enum hw_level)_i);
    attend(&ops, a, 3, &request);
    for (size_t k = 0; k < 3; k++) {
        // The definitions print six decimals.
        ck_assert_double_eq_tol((double)received[k] / (double)(3 - k), alpha[k], 1e-6);
        ck_assert_double_eq_tol((double)entropy[k], entropies[k], 1e-6);
    }
    // A map that is exact in binary has an exact alpha, so that "alpha > eps" at eps = .5 is
    // strict.
    attend(&ops, half, 2, &request);
    ck_assert_float_eq(received[0] / 2, .75f);
    ck_assert_float_eq(received[1], .5f);
}
END_TEST

START_TEST(worked_numbers_of_massive_activations) {
    static const float four[4] = {3, -1, -4, 2};
    float state[4096];
    float out;
    float median;
    float mean_abs;
    float deviation;
    struct hw_top_value events[4];
    struct hw_ops ops;
    hw_ops_init(&ops, (enum hw_level)_i);
    size_t bytes = hw_state_scratch(1) + hw_row_abs_median_scratch(1, 4096);
    struct hw_exec exec = {1, malloc(bytes + 1), bytes};
    ck_assert_ptr_nonnull(exec.scratch);
    ops.row_abs_median(&exec, four, 1, 4, 4, &out);
    ck_assert_float_eq(out, 2.0f); // the lower one, not 2.5
    for (size_t i = 0; i < 4096; i++) {
        state[i] = i == 7 ? -2000.0f : .5f;
    }
    ops.state_stats(&exec, state, 1, 4096, 4096, &median, &mean_abs, &deviation);
    ck_assert_float_eq(median, .5f);
    ck_assert_uint_eq(
        ops.state_events(&exec, state, 1, 4096, 4096, 100.0f, 1000.0f * median, 4, events), 1);
    ck_assert_uint_eq(events[0].channel, 7);
    ck_assert_float_eq(fabsf(events[0].value) / median, 4000.0f);
    for (size_t i = 0; i < 4096; i++) {
        state[i] = i == 7 ? 90.0f : .01f;
    }
    ops.state_stats(&exec, state, 1, 4096, 4096, &median, &mean_abs, &deviation);
    ck_assert_uint_eq(
        ops.state_events(&exec, state, 1, 4096, 4096, 100.0f, 1000.0f * median, 4, events), 0);
    free(exec.scratch);
}
END_TEST

START_TEST(worked_numbers_of_value_norms) {
    static const float v[2] = {3, 4};
    static const float w[4] = {1, 2, 0, 2}; // W v = (11, 8)
    struct hw_weight o = {
        .data = w, .row_bytes = 2 * sizeof(float), .dtype = HW_F32, .n_out = 2, .n_in = 2};
    struct hw_ops ops;
    struct hw_exec exec = {1, NULL, 0};
    struct hw_error err;
    float r[4];
    float norm;
    hw_ops_init(&ops, (enum hw_level)_i);
    ops.row_norm(&exec, v, 1, 2, 1, 2, &norm);
    ck_assert_float_eq(norm, 5.0f);
    struct hw_layer_weights layer = {.o.w = o};
    struct hw_model model = {.desc = {.n_layers = 1, .n_heads = 1, .d_head = 2, .d_model = 2},
                             .layers = &layer};
    ck_assert_int_eq(hw_projection_factors(&ops, &model, 1, r, &err), HW_OK);
    double first = (double)r[0] * 3 + (double)r[1] * 4;
    double second = (double)r[2] * 3 + (double)r[3] * 4;
    // The factor is stored as float: half a unit in the last place of 13.6 and a little.
    ck_assert_double_eq_tol(sqrt(first * first + second * second), 13.601471, 2e-6);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("statistics");
    TCase *numbers = tcase_create("numbers");
    int n_levels = (int)hw_cpu_level() + 1;
    tcase_add_loop_test(numbers, worked_numbers_of_sinks_and_entropy, 0, n_levels);
    tcase_add_loop_test(numbers, worked_numbers_of_massive_activations, 0, n_levels);
    tcase_add_loop_test(numbers, worked_numbers_of_value_norms, 0, n_levels);
    suite_add_tcase(suite, numbers);
    TCase *datasets = tcase_create("datasets");
    tcase_add_unchecked_fixture(datasets, open_studies, close_studies);
    tcase_add_loop_test(datasets, recorded_dataset_has_one_producer, 0, HW_N_DATASETS);
    tcase_add_loop_test(datasets, dataset_is_what_its_definition_says, 0, HW_N_DATASETS);
    tcase_add_test(datasets, every_probe_was_asserted);
    suite_add_tcase(suite, datasets);
    SRunner *runner = srunner_create(suite);
    // In one process: the last test counts what the others asserted.
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    printf("%zu values compared\n", n_expected());
    return n_failed == 0 ? 0 : 1;
}
