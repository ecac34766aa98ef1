// What is collected is what an observer sees at the site, for every site that can be collected.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "probes/collect.h"
#include "run_capture.h"
#include "tracer/session.h"

static const char *const models[] = {"llama-gqa", "gpt2-inverse-layer", "gpt-neox-parallel"};
enum { N_MODELS = 3, N_TOKENS = 21 };

static struct hw_session *open_session(const struct hw_model *model) {
    struct hw_session_options options = {
        .n_threads = 1, .level = HW_LEVEL_PLAIN, .max_tokens = N_TOKENS};
    struct hw_session *session = NULL;
    struct hw_error err;
    ck_assert_int_eq(hw_session_open(model, &options, &session, &err), HW_OK);
    return session;
}

START_TEST(rows_are_those_of_the_site) {
    struct hw_model *model = run_model(models[_i]);
    const struct hw_model_desc *d = &model->desc;
    uint32_t watch[64] = {0};
    for (size_t layer = 0; layer < d->n_layers; layer++) {
        watch[layer] = 1u << HW_SITE_V | 1u << HW_SITE_Z | 1u << HW_SITE_ATTN_OUT |
                       1u << HW_SITE_MLP_POST | 1u << HW_SITE_MLP_OUT | 1u << HW_SITE_RESID_PRE |
                       1u << HW_SITE_RESID_POST | (d->is_parallel ? 0 : 1u << HW_SITE_RESID_MID);
    }
    watch[0] &= ~(1u << HW_SITE_Z);
    watch[d->n_layers] = 1u << HW_SITE_EMBED | 1u << HW_SITE_FINAL;
    struct hw_collect *collect = NULL;
    struct hw_error err;
    ck_assert_int_eq(hw_collect_open(d, watch, N_TOKENS, &collect, &err), HW_OK);
    struct hw_session *session = open_session(model);
    struct hw_prompt prompt = {.n_ids = N_TOKENS - 4};
    uint32_t ids[N_TOKENS];
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        ids[i] = (7 * i + 3) % 90;
    }
    prompt.ids = ids;
    // A longer one first: every prefill overwrites what the one before left.
    const struct hw_observer *observer = hw_collect_observer(collect);
    ck_assert_int_eq(hw_session_prefill(session, ids, N_TOKENS, observer, NULL, &err), HW_OK);
    ck_assert_uint_eq(hw_collect_n_tokens(collect), N_TOKENS);
    ids[0] = 1;
    ck_assert_int_eq(hw_session_prefill(session, ids, prompt.n_ids, observer, NULL, &err), HW_OK);
    ck_assert_uint_eq(hw_collect_n_tokens(collect), prompt.n_ids);
    size_t n_compared = 0;
    for (size_t layer = 0; layer <= d->n_layers; layer++) {
        for (int site = 0; site < HW_N_SITES; site++) {
            size_t width;
            if ((watch[layer] >> site & 1u) == 0) {
                bool is_last = site == HW_SITE_EMBED || site == HW_SITE_FINAL;
                ck_assert(is_last || hw_collect_rows(collect, (enum hw_site)site, layer) == NULL);
                continue;
            }
            float *seen =
                run_site(model, &prompt, HW_LEVEL_PLAIN, (enum hw_site)site, layer, &width);
            ck_assert_uint_eq(width, hw_site_width(d, (enum hw_site)site));
            ck_assert_mem_eq(hw_collect_rows(collect, (enum hw_site)site, layer), seen,
                             prompt.n_ids * width * sizeof *seen);
            free(seen);
            n_compared++;
        }
    }
    ck_assert_uint_ge(n_compared, d->n_layers * 7 + 1);
    hw_session_close(&session);
    hw_collect_close(&collect);
    hw_model_close(&model);
}
END_TEST

START_TEST(more_rows_than_room_are_refused) {
    struct hw_model *model = run_model(models[0]);
    uint32_t watch[64] = {1u << HW_SITE_Z};
    struct hw_collect *collect = NULL;
    struct hw_error err;
    ck_assert_int_eq(hw_collect_open(&model->desc, watch, 4, &collect, &err), HW_OK);
    struct hw_session *session = open_session(model);
    uint32_t ids[5] = {1, 2, 3, 4, 5};
    ck_assert_int_eq(hw_session_prefill(session, ids, 5, hw_collect_observer(collect), NULL, &err),
                     HW_USAGE);
    ck_assert_int_eq(hw_session_prefill(session, ids, 4, hw_collect_observer(collect), NULL, &err),
                     HW_OK);
    hw_session_close(&session);
    hw_collect_close(&collect);
    watch[0] = 1u << HW_SITE_UNEMBED;
    ck_assert_int_eq(hw_collect_open(&model->desc, watch, 4, &collect, &err), HW_INTERNAL);
    watch[0] = 1u << HW_SITE_Z;
    ck_assert_uint_eq(hw_collect_bytes(&model->desc, watch, SIZE_MAX / 2), SIZE_MAX);
    ck_assert_int_eq(hw_collect_open(&model->desc, watch, SIZE_MAX / 2, &collect, &err),
                     HW_RESOURCE);
    hw_model_close(&model);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("collect");
    TCase *tests = tcase_create("collect");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, rows_are_those_of_the_site, 0, N_MODELS);
    tcase_add_test(tests, more_rows_than_room_are_refused);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
