// Trials of the needle task: grids, insertion, the needle's place, and whole prompts with a real
// tokenizer file. Expected values are worked by hand from definitions H1.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "formats/needle.h"

START_TEST(grids_round_half_to_even) {
    size_t values[20];
    hw_needle_grid(0, 100, 10, values); // numpy.round(numpy.linspace(0, 100, 10))
    static const size_t depths[] = {0, 11, 22, 33, 44, 56, 67, 78, 89, 100};
    ck_assert_mem_eq(values, depths, sizeof depths);
    hw_needle_grid(1000, 50000, 20, values); // numpy.round(numpy.linspace(1000, 50000, 20))
    static const size_t lengths[] = {1000,  3579,  6158,  8737,  11316, 13895, 16474,
                                     19053, 21632, 24211, 26789, 29368, 31947, 34526,
                                     37105, 39684, 42263, 44842, 47421, 50000};
    ck_assert_mem_eq(values, lengths, sizeof lengths);
    hw_needle_grid(0, 5, 3, values); // 2.5 is rounded to 2
    ck_assert_uint_eq(values[1], 2);
    hw_needle_grid(1, 6, 3, values); // 3.5 is rounded to 4
    ck_assert_uint_eq(values[1], 4);
    hw_needle_grid(7, 9, 1, values);
    ck_assert_uint_eq(values[0], 7);
}
END_TEST

START_TEST(the_needle_moves_back_to_a_full_stop) {
    static const uint32_t ids[] = {5, 9, 5, 5, 8, 5, 5, 5, 5, 5}, stops[] = {9, 8};
    ck_assert_uint_eq(hw_needle_insertion(ids, 10, 100, stops, 2), 10);
    ck_assert_uint_eq(hw_needle_insertion(ids, 10, 99, stops, 2), 5);
    ck_assert_uint_eq(hw_needle_insertion(ids, 10, 50, stops, 2), 5);
    ck_assert_uint_eq(hw_needle_insertion(ids, 10, 49, stops, 2), 2);
    ck_assert_uint_eq(hw_needle_insertion(ids, 10, 20, stops, 2), 2);
    ck_assert_uint_eq(hw_needle_insertion(ids, 10, 19, stops, 2), 0); // no stop before it
    ck_assert_uint_eq(hw_needle_insertion(ids, 10, 0, stops, 2), 0);
    ck_assert_uint_eq(hw_needle_insertion(ids, 10, 90, stops, 0), 0);
}
END_TEST

static size_t find(const uint32_t *prompt, size_t n, const uint32_t *answer, size_t m,
                   size_t *ret_end) {
    size_t first = 77;
    struct hw_error err;
    ck_assert_int_eq(hw_needle_find(prompt, n, answer, m, &first, ret_end, &err), HW_OK);
    return first;
}

START_TEST(the_needle_is_found_by_its_set_of_ids) {
    static const uint32_t prompt[] = {1, 2, 3, 7, 8, 9, 7, 4, 5};
    static const uint32_t answer[] = {7, 8, 9, 7};
    size_t end;
    // The set {7, 8, 9} is whole in the window 2..5 already: found one token early.
    ck_assert_uint_eq(find(prompt, 9, answer, 4, &end), 2);
    ck_assert_uint_eq(end, 6);
    // 9 of 10 distinct ids are not more than 90 %, 10 of 11 are.
    static const uint32_t ten[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    static const uint32_t nine_there[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 77, 77, 77};
    ck_assert_uint_eq(find(nine_there, 12, ten, 10, &end), 0);
    ck_assert_uint_eq(end, 0);
    static const uint32_t eleven[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    static const uint32_t ten_there[] = {77, 77, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 77};
    ck_assert_uint_eq(find(ten_there, 13, eleven, 11, &end), 1);
    ck_assert_uint_eq(end, 12);
    // A window at the end is shorter, and the end counts on.
    static const uint32_t repeated[] = {6, 6, 6, 6};
    static const uint32_t once[] = {1, 2, 6};
    ck_assert_uint_eq(find(once, 3, repeated, 4, &end), 0);
    ck_assert_uint_eq(end, 4);
    ck_assert_uint_eq(find(once, 3, answer, 4, &end), 0);
    ck_assert_uint_eq(end, 0);
    ck_assert_uint_eq(find(once, 3, answer, 0, &end), 0);
    ck_assert_uint_eq(end, 0);
}
END_TEST

static struct hw_tokenizer *open_tokenizer(void) {
    struct hw_tokenizer *tokenizer = NULL;
    struct hw_error err;
    enum hw_status status =
        hw_tokenizer_open_json(HW_TEST_DATA "/tokenizer/gpt2.json", NULL, &tokenizer, &err);
    ck_assert_msg(status == HW_OK, "%s", err.message);
    return tokenizer;
}

static const char *const text = "One stop. Two words here, and more. Three is the last of it.\n";
static const struct hw_needle fact = {"\nGold is at 7.\n", "Gold is at 7.", "Where?"};

static struct hw_needle_trial make(const struct hw_tokenizer *tokenizer, size_t length,
                                   size_t depth, const char *form) {
    struct hw_needle_options options = {.room = 5, .form = form};
    struct hw_tokens haystack = {0};
    struct hw_needle_trial trial = {0};
    struct hw_error err;
    size_t n_repeats;
    ck_assert_int_eq(hw_needle_haystack(tokenizer, text, length, &haystack, &n_repeats, &err),
                     HW_OK);
    ck_assert_uint_le(haystack.n, length);
    ck_assert_uint_ge(haystack.n + 1, length);
    enum hw_status status =
        hw_needle_trial(tokenizer, &haystack, length, depth, &fact, &options, &trial, &err);
    ck_assert_msg(status == HW_OK, "%s", err.message);
    hw_tokens_free(&haystack);
    return trial;
}

// The text that the tokens of the span cover.
static const char *covered(const struct hw_needle_trial *trial) {
    static char out[200];
    size_t first = trial->tokens.items[trial->first].first;
    size_t n = trial->tokens.items[trial->end - 1].end - first;
    ck_assert_uint_lt(n, sizeof out);
    memcpy(out, trial->text + first, n);
    out[n] = '\0';
    return out;
}

START_TEST(trials_hold_the_needle_at_a_sentence) {
    struct hw_tokenizer *tokenizer = open_tokenizer();
    for (size_t depth = 0; depth <= 100; depth += 10) {
        struct hw_needle_trial trial = make(tokenizer, 60, depth, "{context}Q: {question}\nA:");
        const char *needle = strstr(trial.text, fact.needle);
        ck_assert_ptr_nonnull(needle);
        ck_assert(depth == 100 || needle == trial.text || needle[-1] == '.');
        ck_assert_ptr_nonnull(strstr(trial.text, "Q: Where?\nA:"));
        ck_assert_ptr_nonnull(strstr(covered(&trial), fact.answer));
        ck_assert_uint_lt(strlen(covered(&trial)), strlen(fact.answer) + 3);
        ck_assert(depth > 0 || needle == trial.text);
        hw_needle_trial_free(&trial);
    }
    hw_tokenizer_close(&tokenizer);
}
END_TEST

START_TEST(trials_keep_the_room_free) {
    struct hw_tokenizer *tokenizer = open_tokenizer();
    struct hw_tokens needle = {0};
    struct hw_error err;
    ck_assert_int_eq(
        hw_tokenizer_encode(tokenizer, fact.needle, strlen(fact.needle), HW_BOS_NO, &needle, &err),
        HW_OK);
    struct hw_needle_trial trial = make(tokenizer, 40, 50, "{question}<{context}>");
    ck_assert_uint_eq(trial.n_haystack + needle.n, 40 - 5);
    ck_assert_int_eq(strncmp(trial.text, "Where?<One", 10), 0);
    ck_assert_uint_eq(trial.text[strlen(trial.text) - 1], '>');
    hw_needle_trial_free(&trial);
    hw_tokens_free(&needle);
    hw_tokenizer_close(&tokenizer);
}
END_TEST

START_TEST(what_does_not_fit_is_refused) {
    struct hw_tokenizer *tokenizer = open_tokenizer();
    struct hw_needle_options options = {.room = 200, .form = HW_NEEDLE_TEMPLATE};
    struct hw_tokens haystack = {0};
    struct hw_needle_trial trial = {0};
    struct hw_error err;
    size_t n_repeats;
    ck_assert_int_eq(hw_needle_haystack(tokenizer, text, 210, &haystack, &n_repeats, &err), HW_OK);
    ck_assert_uint_gt(n_repeats, 1);
    ck_assert_int_eq(hw_needle_trial(tokenizer, &haystack, 205, 50, &fact, &options, &trial, &err),
                     HW_USAGE);
    ck_assert_ptr_nonnull(strstr(err.message, "a length of 205 tokens is too short"));
    options = (struct hw_needle_options){.room = 0, .form = "{context} only"};
    ck_assert_int_eq(hw_needle_trial(tokenizer, &haystack, 205, 50, &fact, &options, &trial, &err),
                     HW_USAGE);
    ck_assert_ptr_nonnull(strstr(err.message, "lacks {question}"));
    ck_assert_ptr_null(trial.text);
    hw_tokens_free(&haystack);
    ck_assert_int_eq(hw_needle_haystack(tokenizer, "", 10, &haystack, &n_repeats, &err), HW_INPUT);
    hw_tokenizer_close(&tokenizer);
}
END_TEST

START_TEST(a_character_is_never_cut) {
    struct hw_tokenizer *tokenizer = open_tokenizer();
    static const char *const snow = "\xe2\x98\x83\xf0\x9f\x98\x80 caf\xc3\xa9. ";
    for (size_t length = 1; length < 40; length++) {
        struct hw_tokens haystack = {0};
        struct hw_error err;
        size_t n_repeats;
        enum hw_status status =
            hw_needle_haystack(tokenizer, snow, length, &haystack, &n_repeats, &err);
        ck_assert_msg(status == HW_OK, "%s", err.message); // encoding checks the characters
        ck_assert_uint_le(haystack.n, length);
        hw_tokens_free(&haystack);
    }
    hw_tokenizer_close(&tokenizer);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("needle");
    TCase *tcase = tcase_create("H1");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, grids_round_half_to_even);
    tcase_add_test(tcase, the_needle_moves_back_to_a_full_stop);
    tcase_add_test(tcase, the_needle_is_found_by_its_set_of_ids);
    tcase_add_test(tcase, trials_hold_the_needle_at_a_sentence);
    tcase_add_test(tcase, trials_keep_the_room_free);
    tcase_add_test(tcase, what_does_not_fit_is_refused);
    tcase_add_test(tcase, a_character_is_never_cut);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
