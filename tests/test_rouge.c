// ROUGE-1 recall. Expected values: rouge_score 0.1.2 (scorer.score(answer,
// response)["rouge1"].recall with use_stemmer), and by hand.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/rouge.h"

static double recall(const char *answer, const char *response) {
    double value = -1;
    struct hw_error err;
    ck_assert_int_eq(
        hw_rouge_recall(answer, strlen(answer), response, strlen(response), &value, &err), HW_OK);
    return value;
}

START_TEST(words_are_counted_as_often_as_they_occur) {
    ck_assert_double_eq(recall("the cat saw the dog", "a dog saw the cat"), 4. / 5);
    ck_assert_double_eq(recall("the cat saw the dog", "the the the dog"), 3. / 5);
    ck_assert_double_eq(recall("a b", "a a a a"), .5);
}
END_TEST

START_TEST(case_and_punctuation_do_not_matter) {
    ck_assert_double_eq(recall("Eat a SANDWICH, now!", "eat...a sandwich (now)"), 1);
    ck_assert_double_eq(recall("it's 5.30", "its 5 30"), 2. / 4); // it s 5 30
    ck_assert_double_eq(recall("caf\xc3\xa9 au lait", "caf au lait"), 1);
}
END_TEST

START_TEST(words_of_more_than_three_letters_are_stemmed) {
    ck_assert_double_eq(recall("walking dogs happily", "walked dog happily"), 1);
    ck_assert_double_eq(recall("relational conditions", "relate condition"), 1);
    ck_assert_double_eq(recall("was his", "wa hi"), 0); // three letters stay
    ck_assert_double_eq(recall("ties", "tie"), 0);      // ti and tie; NLTK's has tie for both
}
END_TEST

START_TEST(nothing_shares_nothing) {
    ck_assert_double_eq(recall("", "words"), 0);
    ck_assert_double_eq(recall("...", "..."), 0);
    ck_assert_double_eq(recall("words", ""), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("rouge");
    TCase *tcase = tcase_create("recall");
    tcase_add_test(tcase, words_are_counted_as_often_as_they_occur);
    tcase_add_test(tcase, case_and_punctuation_do_not_matter);
    tcase_add_test(tcase, words_of_more_than_three_letters_are_stemmed);
    tcase_add_test(tcase, nothing_shares_nothing);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
