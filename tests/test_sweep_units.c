// Units, sets and random draws of sweeps; distributions from logits.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/logits.h"
#include "analysis/sweep_units.h"

static const struct hw_model_desc desc = {
    .n_layers = 3, .n_heads = 4, .n_kv_heads = 2, .d_model = 8, .d_head = 2};

static size_t count(const struct hw_sweep_unit *unit, size_t n) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        k += unit->selected[i];
    }
    return k;
}

START_TEST(heads_of_a_layer_are_one_record) {
    struct hw_sweep_units units = {0};
    ck_assert_int_eq(hw_sweep_units_add_heads(&units, &desc, "0.1,2", false, NULL), HW_OK);
    ck_assert_uint_eq(units.n, 5);
    ck_assert_uint_eq(units.n_records, 2);
    ck_assert(units.is_heads);
    ck_assert_str_eq(units.items[1].name, "2.0");
    ck_assert_uint_eq(units.items[0].record, 0);
    ck_assert_uint_eq(units.items[4].record, 1);
    ck_assert_uint_eq(count(&units.items[4], 12), 1);
    ck_assert(units.items[4].selected[11]);
    hw_sweep_units_free(&units);
}
END_TEST

START_TEST(only_selects_the_others_of_the_layer) {
    struct hw_sweep_units units = {0};
    ck_assert_int_eq(hw_sweep_units_add_heads(&units, &desc, "1.2", true, NULL), HW_OK);
    const bool expected[12] = {0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0};
    ck_assert_mem_eq(units.items[0].selected, expected, sizeof expected);
    hw_sweep_units_free(&units);
}
END_TEST

START_TEST(key_value_heads_take_their_query_heads) {
    struct hw_sweep_units units = {0};
    ck_assert_int_eq(hw_sweep_units_add_kv_heads(&units, &desc, "2.1", NULL), HW_OK);
    ck_assert_str_eq(units.items[0].name, "kv 2.1");
    ck_assert_int_eq(units.items[0].target, HW_TARGET_KV);
    ck_assert_uint_eq(count(&units.items[0], 12), 2);
    ck_assert(units.items[0].selected[10] && units.items[0].selected[11]);
    struct hw_error err;
    ck_assert_int_eq(hw_sweep_units_add_kv_heads(&units, &desc, "2.2", &err), HW_USAGE);
    hw_sweep_units_free(&units);
}
END_TEST

START_TEST(sets_and_controls) {
    struct hw_sweep_units units = {0};
    const size_t sizes[] = {1, 3};
    struct hw_sweep_sets sets = {
        .selector = "2.3,0.0,1.1,0.2", .sizes = sizes, .n_sizes = 2, .n_controls = 4, .seed = 5};
    ck_assert_int_eq(hw_sweep_units_add_sets(&units, &desc, &sets, NULL), HW_OK);
    ck_assert_uint_eq(units.n, 10);
    ck_assert_str_eq(units.items[0].name, "top1");
    ck_assert_str_eq(units.items[9].name, "random4 of 3");
    ck_assert(units.items[0].selected[11]);
    bool differ = false;
    for (size_t u = 1; u < 10; u++) {
        const struct hw_sweep_unit *unit = &units.items[u];
        ck_assert_uint_eq(count(unit, 12), u < 5 ? 1 : 3);
        // None of the largest set.
        ck_assert(u == 5 || (!unit->selected[11] && !unit->selected[0] && !unit->selected[5]));
        differ = differ || (u > 6 && memcmp(unit->selected, unit[-1].selected, 12) != 0);
    }
    ck_assert(differ);
    hw_sweep_units_free(&units);
    struct hw_error err;
    sets.n_sizes = 0; // all four, of eight others
    ck_assert_int_eq(hw_sweep_units_add_sets(&units, &desc, &sets, &err), HW_OK);
    ck_assert_str_eq(units.items[0].name, "top4");
    hw_sweep_units_free(&units);
    sets.selector = "all";
    ck_assert_int_eq(hw_sweep_units_add_sets(&units, &desc, &sets, &err), HW_USAGE);
    ck_assert_ptr_nonnull(strstr(err.message, "only 0"));
    hw_sweep_units_free(&units);
}
END_TEST

// The first outputs of SplitMix64 from 0 are 16294208416658607535 and 7960286522194355700 (the
// reference of the paper): as numbers below 10 the high halves of their products are 8 and 4, and
// below 9: 3.
START_TEST(draws_are_those_of_the_reference) {
    size_t numbers[10];
    for (size_t i = 0; i < 10; i++) {
        numbers[i] = i;
    }
    hw_random_pick(0, numbers, 10, 2);
    ck_assert_uint_eq(numbers[0], 8);
    ck_assert_uint_eq(numbers[1], 4);
    size_t counts[5] = {0};
    for (uint64_t seed = 0; seed < 5000; seed++) {
        size_t set[5] = {0, 1, 2, 3, 4};
        hw_random_pick(seed, set, 5, 2);
        counts[set[0]]++;
        counts[set[1]]++;
    }
    for (size_t i = 0; i < 5; i++) {
        // 2000 each, 35 standard deviation: 5 of them.
        ck_assert(counts[i] > 1825 && counts[i] < 2175);
    }
}
END_TEST

START_TEST(groups_are_checked) {
    struct hw_sweep_units units = {0};
    struct hw_error err;
    ck_assert_int_eq(hw_sweep_units_add_groups(&units, &desc, "/nonexistent.json", &err), HW_INPUT);
    hw_sweep_units_free(&units);
}
END_TEST

START_TEST(distributions) {
    const float a[3] = {0, logf(2), logf(5)}; // 1/8, 2/8, 5/8
    const float b[3] = {1, 1, 1};
    double p[3], lnp[3];
    hw_logits_softmax(a, 3, p, lnp);
    ck_assert_double_eq_tol(p[2], .625, 1e-7); // logf is off by half a unit of f4
    ck_assert(hw_logits_kl(p, lnp, a, 3) == 0);
    double expected = .125 * log(3. / 8) + .25 * log(6. / 8) + .625 * log(15. / 8);
    ck_assert_double_eq_tol(hw_logits_kl(p, lnp, b, 3), expected, 1e-7);
    ck_assert_uint_eq(hw_logits_rank(a, 3, 0), 2);
    ck_assert_uint_eq(hw_logits_rank(a, 3, 2), 0);
    ck_assert_uint_eq(hw_logits_rank(b, 3, 1), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sweep_units");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, heads_of_a_layer_are_one_record);
    tcase_add_test(tcase, only_selects_the_others_of_the_layer);
    tcase_add_test(tcase, key_value_heads_take_their_query_heads);
    tcase_add_test(tcase, sets_and_controls);
    tcase_add_test(tcase, draws_are_those_of_the_reference);
    tcase_add_test(tcase, groups_are_checked);
    tcase_add_test(tcase, distributions);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
