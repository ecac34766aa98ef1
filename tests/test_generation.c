// Generated tokens: their rows are those of a prefill of the same text, bit for bit; statistics per
// key and per prompt stay those of the given text; and generation ends where it should.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "statistics_study.h"

static const char *const models[] = {"llama-gqa", "gpt2-inverse-layer", "gpt-neox-parallel"};
enum { N_MODELS = 3, END_ID = 96 };

static bool is_per_key(enum hw_dataset dataset) {
    return dataset == HW_DS_ATTENTION_RECEIVED || dataset == HW_DS_ATTENTION_RECEIVED_MAX ||
           dataset == HW_DS_ATTENTION_RECEIVED_ENTROPY;
}

// n rows of one slab in two captures.
static size_t compare_rows(const struct run *a, const struct run *b, enum hw_dataset dataset,
                           size_t slab, size_t prompt, size_t n) {
    size_t n_a;
    size_t n_b;
    const void *rows_a = run_rows(a, dataset, slab, prompt, &n_a);
    const void *rows_b = run_rows(b, dataset, slab, prompt, &n_b);
    size_t bytes = hw_layout_row_bytes(&a->recording.layout, dataset);
    if (n > n_a || n > n_b || memcmp(rows_a, rows_b, n * bytes) != 0) {
        ck_abort_msg("%s/%s, slab %zu, prompt %zu: not the same %zu rows",
                     hw_group_name(hw_schema_row(dataset)->group), hw_schema_row(dataset)->name,
                     slab, prompt, n);
    }
    return n;
}

static bool open_study(int i, struct study *study) {
    enum hw_level level = (enum hw_level)(i % HW_N_LEVELS);
    if (level > hw_cpu_level()) {
        return false;
    }
    study_open(study, models[i / HW_N_LEVELS], level, false);
    return true;
}

START_TEST(rows_are_those_of_a_prefill) {
    struct study study;
    if (!open_study(_i, &study)) {
        return;
    }
    size_t n_compared = 0;
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        const struct hw_schema_row *row = hw_schema_row(dataset);
        if (row->axes[0] != HW_AXIS_TOKEN || row->record[0] == '\0' || is_per_key(dataset) ||
            !study.generated.recording.layout.has[dataset]) {
            continue;
        }
        for (size_t slab = 0; slab < run_n_slabs(&study.generated, dataset); slab++) {
            for (size_t p = 0; p < study.prompts.n; p++) {
                n_compared += compare_rows(&study.generated, &study.replayed, dataset, slab, p,
                                           run_n_tokens(&study.generated, p));
            }
        }
    }
    ck_assert_uint_gt(n_compared, 1000);
    study_close(&study);
}
END_TEST

START_TEST(sums_are_over_the_given_text) {
    struct study study;
    if (!open_study(_i, &study)) {
        return;
    }
    size_t n_compared = 0;
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        const struct hw_schema_row *row = hw_schema_row(dataset);
        bool is_map = dataset == HW_DS_ATTENTION_PATTERN || dataset == HW_DS_ATTENTION_SCORES;
        bool is_of_prompt = row->axes[0] == HW_AXIS_PROMPT && row->record[0] != '\0' && !is_map &&
                            dataset != HW_DS_ATTENTION_SPAN;
        if ((!is_of_prompt && !is_per_key(dataset)) || !study.run.recording.layout.has[dataset]) {
            continue;
        }
        for (size_t slab = 0; slab < run_n_slabs(&study.run, dataset); slab++) {
            for (size_t p = 0; p < study.prompts.n; p++) {
                size_t n = is_of_prompt ? 1 : study.prompts.items[p].n_ids;
                n_compared += compare_rows(&study.run, &study.generated, dataset, slab, p, n);
            }
        }
    }
    ck_assert_uint_gt(n_compared, 1000);
    study_close(&study);
}
END_TEST

START_TEST(keys_of_generated_tokens_have_no_sums) {
    struct study study;
    if (!open_study(_i, &study)) {
        return;
    }
    size_t n_heads = study.model->desc.n_heads;
    static const enum hw_dataset keys[] = {HW_DS_ATTENTION_RECEIVED, HW_DS_ATTENTION_RECEIVED_MAX,
                                           HW_DS_ATTENTION_RECEIVED_ENTROPY};
    for (size_t p = 0; p < study.prompts.n; p++) {
        size_t n_prompt = study.prompts.items[p].n_ids;
        size_t n_total = run_n_tokens(&study.generated, p);
        size_t n_flags;
        const uint8_t *flags = run_rows(&study.generated, HW_DS_TOKEN_IS_GENERATED, 0, p, &n_flags);
        ck_assert_uint_eq(study_n_prompt(&study.generated, p), n_prompt);
        ck_assert_uint_eq(n_flags, n_total);
        ck_assert_uint_gt(n_total, n_prompt);
        ck_assert_uint_le(n_total, n_prompt + STUDY_GENERATED);
        for (size_t i = 0; i < n_total; i++) {
            ck_assert_uint_eq(flags[i], i >= n_prompt);
            for (size_t k = 0; k < 3 * n_heads; k++) {
                float value = run_floats(&study.generated, keys[k / n_heads], 1,
                                         p)[i * n_heads + k % n_heads];
                ck_assert(isnan(value) == (i >= n_prompt));
            }
        }
    }
    study_close(&study);
}
END_TEST

static const uint32_t given[] = {95, 40, 41, 42, 40, 41};
enum { N_IDS = sizeof given / sizeof given[0] };

struct progress {
    size_t n_calls;
    size_t n_tokens;
};

// Tokens come one layer after the other: none twice, and generated ones count.
static void take_progress(void *self, size_t n_tokens) {
    struct progress *progress = self;
    size_t n_most = progress->n_tokens < N_IDS ? N_IDS : progress->n_tokens + 1;
    ck_assert_uint_ge(n_tokens, progress->n_tokens);
    ck_assert_uint_le(n_tokens, n_most);
    progress->n_tokens = n_tokens;
    progress->n_calls++;
}

// Tokens generated by a run with these options after a fixed prompt.
static size_t generate(const struct hw_model *model, const struct hw_tokenizer *tokenizer,
                       const char *stop, uint32_t *ret_ids) {
    struct hw_prompts prompts = {0};
    struct progress progress = {0};
    struct run run;
    struct run_options options = {.records = {"decode_top,loss"},
                                  .level = hw_cpu_level(),
                                  .max_generate = STUDY_GENERATED,
                                  .tokenizer = tokenizer,
                                  .stop = stop,
                                  .progress = take_progress,
                                  .progress_self = &progress};
    run_prompts_add(&prompts, given, N_IDS);
    run_capture(model, &prompts, &options, &run);
    size_t n = run_n_tokens(&run, 0) - N_IDS;
    const int32_t *all = run_ints(&run, HW_DS_TOKEN_ID, 0, 0);
    const int32_t *next = run_ints(&run, HW_DS_NEXT_TOP_ID, 0, 0);
    size_t n_rank = run.recording.layout.n_rank;
    size_t n_steps;
    (void)run_rows(&run, HW_DS_DECODE_TOP_KEY, 1, 0, &n_steps);
    ck_assert_uint_eq(n_steps, n); // N tokens, N steps
    ck_assert_uint_eq(progress.n_tokens, N_IDS + n);
    ck_assert_uint_eq(progress.n_calls, model->desc.n_layers * (1 + n));
    for (size_t i = 0; i < n; i++) {
        ret_ids[i] = (uint32_t)all[N_IDS + i];
        ck_assert_int_eq(all[N_IDS + i], next[(N_IDS + i - 1) * n_rank]);
    }
    run_close(&run);
    run_prompts_free(&prompts);
    return n;
}

// The number of tokens whose text is the first to have `stop`.
static size_t n_until(const struct hw_tokenizer *tokenizer, const uint32_t *ids, const char *stop) {
    for (size_t n = 1;; n++) {
        char *text;
        size_t n_bytes;
        ck_assert_uint_le(n, STUDY_GENERATED);
        ck_assert_int_eq(hw_tokenizer_decode(tokenizer, ids, n, &text, &n_bytes, NULL), HW_OK);
        bool is_found = memmem(text, n_bytes, stop, strlen(stop)) != NULL;
        free(text);
        if (is_found) {
            return n;
        }
    }
}

// Every piece of the generated text, from a byte inside a token to a byte inside another: also
// pieces of characters.
START_TEST(generation_ends_at_texts_across_tokens) {
    struct hw_error err;
    struct hw_model *model = run_model("llama-gqa");
    struct hw_tokenizer *tokenizer = NULL;
    ck_assert_int_eq(hw_tokenizer_open(model->checkpoint, &tokenizer, &err), HW_OK);
    uint32_t all[STUDY_GENERATED];
    uint32_t ids[STUDY_GENERATED];
    char *text;
    size_t n_bytes;
    ck_assert_uint_eq(generate(model, tokenizer, NULL, all), STUDY_GENERATED);
    ck_assert_int_eq(hw_tokenizer_decode(tokenizer, all, STUDY_GENERATED, &text, &n_bytes, &err),
                     HW_OK);
    ck_assert_uint_eq(strlen(text), n_bytes);
    size_t n_across = 0;
    for (size_t first = 0; first < n_bytes; first++) {
        for (size_t end = first + 1; end <= n_bytes; end++) {
            char *stop = strndup(text + first, end - first);
            ck_assert_ptr_nonnull(stop);
            size_t want = n_until(tokenizer, all, stop);
            ck_assert_uint_eq(generate(model, tokenizer, stop, ids), want);
            ck_assert_mem_eq(ids, all, want * sizeof *ids);
            size_t n_last;
            (void)hw_tokenizer_bytes(tokenizer, all[want - 1], &n_last);
            n_across += end - first > n_last;
            free(stop);
        }
    }
    ck_assert_uint_gt(n_across, STUDY_GENERATED);
    free(text);
    hw_tokenizer_close(&tokenizer);
    hw_model_close(&model);
}
END_TEST

START_TEST(generation_ends) {
    struct hw_error err;
    struct hw_model *model = run_model("llama-gqa");
    struct hw_tokenizer *tokenizer = NULL;
    ck_assert_int_eq(hw_tokenizer_open(model->checkpoint, &tokenizer, &err), HW_OK);
    uint32_t all[STUDY_GENERATED];
    uint32_t ids[STUDY_GENERATED];
    ck_assert_uint_eq(generate(model, tokenizer, NULL, all), STUDY_GENERATED);
    // At the text of the third token, which may come earlier.
    char *stop;
    size_t n_bytes;
    ck_assert_int_eq(hw_tokenizer_decode(tokenizer, all + 2, 1, &stop, &n_bytes, &err), HW_OK);
    ck_assert_uint_gt(n_bytes, 0);
    size_t want = n_until(tokenizer, all, stop);
    ck_assert_uint_le(want, 3);
    ck_assert_uint_eq(generate(model, tokenizer, stop, ids), want);
    ck_assert_mem_eq(ids, all, want * sizeof *ids);
    free(stop);
    // At an end token, which is kept; without a tokenizer nothing is known to be one.
    float *bias = calloc(model->desc.n_vocab, sizeof *bias);
    ck_assert_ptr_nonnull(bias);
    bias[END_ID] = 1000.0f;
    model->unembed.bias = bias;
    ck_assert_uint_eq(generate(model, tokenizer, NULL, ids), 1);
    ck_assert_uint_eq(ids[0], END_ID);
    ck_assert_uint_eq(generate(model, NULL, NULL, ids), STUDY_GENERATED);
    model->unembed.bias = NULL;
    free(bias);
    hw_tokenizer_close(&tokenizer);
    hw_model_close(&model);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("generation");
    TCase *tcase = tcase_create("rows");
    int n = N_MODELS * HW_N_LEVELS;
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, rows_are_those_of_a_prefill, 0, n);
    tcase_add_loop_test(tcase, sums_are_over_the_given_text, 0, n);
    tcase_add_loop_test(tcase, keys_of_generated_tokens_have_no_sums, 0, n);
    tcase_add_test(tcase, generation_ends);
    tcase_add_test(tcase, generation_ends_at_texts_across_tokens);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
