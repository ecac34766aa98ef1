// A plan that fails leaves what it was to fill as it was; one that succeeds points into itself.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "probes/plan.h"
#include "run_capture.h"

static const struct hw_plan_options good = {
    .record = {.n_rank = 8, .n_offsets = 64}, .n_threads = 1, .level = HW_LEVEL_PLAIN};

START_TEST(failure_leaves_the_output) {
    static const char *const record[] = {"residual"}, *const no_record[] = {"nonsense"};
    struct hw_plan_options cases[] = {good, good, good, good};
    cases[0].record.records = no_record; // fails in the recording
    cases[0].record.n_records = 1;
    cases[1].positions = "first"; // nothing that it narrows
    cases[1].record.records = NULL;
    cases[2].positions = "nobody"; // no prompt has this span: found when the plan is half made
    cases[2].record.records = record;
    cases[2].record.n_records = 1;
    cases[3].positions = "9"; // no prompt is so long
    cases[3].record.records = record;
    cases[3].record.n_records = 1;
    struct hw_model *model = run_model("llama-gqa-f32.gguf");
    struct hw_prompts prompts = {0};
    run_prompts_add(&prompts, (const uint32_t[]){1, 2, 3}, 3);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct hw_plan plan, before;
        struct hw_error err;
        memset(&plan, 0x5a, sizeof plan);
        memset(&before, 0x5a, sizeof before);
        ck_assert_int_eq(hw_plan_open(model, &prompts, &cases[i], &plan, &err), HW_USAGE);
        ck_assert_msg(memcmp(&plan, &before, sizeof plan) == 0, "case %zu: %s", i, err.message);
    }
    run_prompts_free(&prompts);
    hw_model_close(&model);
}
END_TEST

START_TEST(success_points_into_the_output) {
    struct hw_model *model = run_model("llama-gqa-f32.gguf");
    struct hw_prompts prompts = {0};
    struct hw_plan plan;
    struct hw_error err;
    run_prompts_add(&prompts, (const uint32_t[]){1, 2, 3}, 3);
    ck_assert_msg(hw_plan_open(model, &prompts, &good, &plan, &err) == HW_OK, "%s", err.message);
    ck_assert_ptr_eq(plan.engine.layout, &plan.recording.layout);
    ck_assert_ptr_eq(plan.engine.model, model);
    ck_assert_uint_eq(plan.n_tokens, 3);
    ck_assert_uint_gt(plan.raw_bytes, 0);
    hw_plan_close(&plan);
    run_prompts_free(&prompts);
    hw_model_close(&model);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("plan");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120); // the machine may be busy, or instrumented
    tcase_add_test(tcase, failure_leaves_the_output);
    tcase_add_test(tcase, success_points_into_the_output);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
