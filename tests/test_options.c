// Option tables: values land in their fields, wrong ones are refused in one sentence, numbers are
// checked to the last digit.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tools/options.h"

struct sample {
    bool is_sorted;
    const char *out;
    struct hw_strings words;
    uint64_t least;
    uint64_t limit;
    double epsilon;
    int order;
};

static const struct hw_option options[] = {
    HW_OPTION_GROUP("Everything"),
    HW_OPTION_FLAG(struct sample, is_sorted, "sorted", "Sort."),
    HW_OPTION_STRING(struct sample, out, "out", "FILE", NULL, "Output."),
    HW_OPTION_LIST(struct sample, words, "word", "WORD", "A word."),
    HW_OPTION_COUNT(struct sample, least, "least", "N", "3", 1, 1000, "Fewest."),
    HW_OPTION_SIZE(struct sample, limit, "limit", "SIZE", NULL, "Most."),
    HW_OPTION_REAL(struct sample, epsilon, "epsilon", "E", ".3", 0, 1, "Threshold."),
    HW_OPTION_CHOICE(struct sample, order, "order", "name|size", "size", "Order."),
};

static struct sample sample;
static bool given[HW_LENGTH(options)];
static const char *arguments[32];
static size_t n_arguments;
static struct hw_error err;

// Parses up to 8 words after the program's name.
static enum hw_status parse(const char *const *words, int n_words) {
    const struct hw_option_set set = {options, HW_LENGTH(options), &sample, given};
    const char *argv[16] = {"program"};
    hw_options_free(&set);
    memset(&sample, 0, sizeof sample);
    memset(given, 0, sizeof given);
    memset(&err, 0, sizeof err);
    memcpy(argv + 1, words, (size_t)n_words * sizeof *words);
    ck_assert_int_eq(hw_options_default(&set, &err), HW_OK);
    return hw_options_parse(&set, 1, n_words + 1, argv, arguments, &n_arguments, &err);
}

#define PARSE(...)                                                                                 \
    parse((const char *const[]){__VA_ARGS__}, (int)HW_LENGTH(((const char *const[]){__VA_ARGS__})))

START_TEST(defaults_are_parsed) {
    ck_assert_int_eq(PARSE("a"), HW_OK);
    ck_assert_uint_eq(sample.least, 3);
    ck_assert_double_eq(sample.epsilon, .3);
    ck_assert_int_eq(sample.order, 1);
    ck_assert_ptr_null(sample.out);
    ck_assert_uint_eq(sample.limit, 0);
    ck_assert(!sample.is_sorted && !given[4]);
}
END_TEST

START_TEST(both_spellings_of_a_value) {
    ck_assert_int_eq(PARSE("--out", "x.h5", "--least=7", "--limit=1.5K", "--epsilon", "1e-2"),
                     HW_OK);
    ck_assert_str_eq(sample.out, "x.h5");
    ck_assert_uint_eq(sample.least, 7);
    ck_assert_uint_eq(sample.limit, 1536);
    ck_assert_double_eq(sample.epsilon, .01);
    ck_assert(given[4]);
    ck_assert_int_eq(PARSE("--out=", "--order=name", "--sorted"), HW_OK);
    ck_assert_str_eq(sample.out, "");
    ck_assert_int_eq(sample.order, 0);
    ck_assert(sample.is_sorted);
}
END_TEST

START_TEST(lists_keep_their_order_and_the_last_single_value_wins) {
    ck_assert_int_eq(PARSE("--word", "b", "--word=a", "--least", "4", "--least", "5"), HW_OK);
    ck_assert_uint_eq(sample.words.n, 2);
    ck_assert_str_eq(sample.words.items[0], "b");
    ck_assert_str_eq(sample.words.items[1], "a");
    ck_assert_uint_eq(sample.least, 5);
}
END_TEST

START_TEST(arguments_stay_in_order_and_dashes_end_options) {
    ck_assert_int_eq(PARSE("a", "--sorted", "-", "--", "--least", "b"), HW_OK);
    ck_assert_uint_eq(n_arguments, 4);
    ck_assert_str_eq(arguments[1], "-");
    ck_assert_str_eq(arguments[2], "--least");
    ck_assert(hw_options_contain(3, (const char *const[]){"x", "a", "--help"}, "--help"));
    ck_assert(!hw_options_contain(3, (const char *const[]){"x", "--", "--help"}, "--help"));
}
END_TEST

static const struct {
    const char *words[2];
    int n;
    const char *message;
} wrong[] = {
    {{"--lest", "3"}, 2, "unknown option --lest (did you mean --least?)"},
    {{"--qqqqqqqq", ""}, 1, "unknown option --qqqqqqqq (see --help)"},
    {{"-x", ""}, 1, "unknown option -x (options have two dashes; see --help)"},
    {{"--Everything", ""}, 1, "unknown option --Everything (see --help)"},
    {{"--least", ""},
     1,
     "option --least needs a value (expected --least N, found the end of the command line)"},
    {{"--out", "--sorted"}, 2, "option --out needs a value (expected --out FILE, found --sorted)"},
    {{"--sorted=yes", ""}, 1, "option --sorted takes no value (expected --sorted alone)"},
    {{"--least", "0"},
     2,
     "option --least: wrong value (expected a whole number from 1 to 1000, found '0')"},
    {{"--least", "1001"},
     2,
     "option --least: wrong value (expected a whole number from 1 to 1000, found '1001')"},
    {{"--least=3x", ""},
     1,
     "option --least: wrong value (expected a whole number from 1 to 1000, found '3x')"},
    {{"--epsilon=1.5", ""},
     1,
     "option --epsilon: wrong value (expected a number from 0 to 1, found '1.5')"},
    {{"--epsilon=nan", ""},
     1,
     "option --epsilon: wrong value (expected a number from 0 to 1, found 'nan')"},
    {{"--limit=12Q", ""},
     1,
     "option --limit: wrong value (expected a size such as 400M or 1.6G, found '12Q')"},
    {{"--order=nam", ""},
     1,
     "option --order: wrong value (expected one of name|size, found 'nam')"},
    {{"--word=\x1b[2J", "--nope"}, 2, "unknown option --nope"},
};

START_TEST(wrong_lines_are_refused_in_one_sentence) {
    ck_assert_int_eq(parse(wrong[_i].words, wrong[_i].n), HW_USAGE);
    ck_assert_msg(strncmp(err.message, wrong[_i].message, strlen(wrong[_i].message)) == 0,
                  "found: %s", err.message);
    ck_assert_ptr_null(strchr(err.message, '\n'));
    ck_assert_ptr_null(strchr(err.message, '\x1b'));
}
END_TEST

static const struct {
    const char *text;
    bool is_valid;
    uint64_t bytes;
} sizes[] = {
    {"0", true, 0},
    {"1", true, 1},
    {"7B", true, 7},
    {"400M", true, 419430400},
    {"1.6G", true, 1717986918}, // 1.6 x 2^30 = 1717986918.4, cut
    {"2k", true, 2048},
    {"2kB", true, 2000},
    {"2KiB", true, 2048},
    {"1T", true, UINT64_C(1) << 40},
    {"0.000001T", true, 1099511}, // 2^40 / 10^6, cut
    {"18446744073709551615", true, UINT64_MAX},
    {"18446744073709551616", false, 0},
    {"16777216T", false, 0}, // 2^64
    {"16777215.999999T", true, UINT64_C(18446744073708452104)},
    {"1.0000000", false, 0}, // seven decimals
    {"", false, 0},
    {"M", false, 0},
    {".5G", false, 0},
    {"1.", false, 0},
    {"1 M", false, 0},
    {"-1", false, 0},
    {"+1", false, 0},
    {"1MBs", false, 0},
    {"0x10", false, 0},
};

START_TEST(sizes_are_exact) {
    uint64_t bytes = 99;
    ck_assert_int_eq(hw_parse_size(sizes[_i].text, &bytes), sizes[_i].is_valid);
    ck_assert_uint_eq(bytes, sizes[_i].is_valid ? sizes[_i].bytes : 99);
}
END_TEST

START_TEST(lists_of_counts_are_whole) {
    size_t values[3] = {9, 9, 9};
    size_t n = 9;
    ck_assert(hw_parse_counts("5,1,1000", 1, 1000, 3, values, &n));
    ck_assert_uint_eq(n, 3);
    ck_assert_uint_eq(values[2], 1000);
    static const char *const bad[] = {"",  ",",    "1,",      ",1",   "1,,2",
                                      "0", "1001", "1,2,3,4", "1 ,2", "x"};
    for (size_t i = 0; i < HW_LENGTH(bad); i++) {
        n = 9;
        ck_assert_msg(!hw_parse_counts(bad[i], 1, 1000, 3, values, &n), "%s", bad[i]);
        ck_assert_uint_eq(n, 9);
    }
}
END_TEST

START_TEST(bytes_for_people) {
    char text[32];
    ck_assert_str_eq(hw_format_bytes(text, sizeof text, 0), "0 B");
    ck_assert_str_eq(hw_format_bytes(text, sizeof text, 999), "999 B");
    ck_assert_str_eq(hw_format_bytes(text, sizeof text, 1000), "1.0 kB");
    ck_assert_str_eq(hw_format_bytes(text, sizeof text, 999999), "1.0 MB");
    ck_assert_str_eq(hw_format_bytes(text, sizeof text, 95300000), "95.3 MB");
    ck_assert_str_eq(hw_format_bytes(text, sizeof text, UINT64_MAX), "18.4 EB");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("options");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, defaults_are_parsed);
    tcase_add_test(tcase, both_spellings_of_a_value);
    tcase_add_test(tcase, lists_keep_their_order_and_the_last_single_value_wins);
    tcase_add_test(tcase, arguments_stay_in_order_and_dashes_end_options);
    tcase_add_loop_test(tcase, wrong_lines_are_refused_in_one_sentence, 0, (int)HW_LENGTH(wrong));
    tcase_add_loop_test(tcase, sizes_are_exact, 0, (int)HW_LENGTH(sizes));
    tcase_add_test(tcase, lists_of_counts_are_whole);
    tcase_add_test(tcase, bytes_for_people);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
