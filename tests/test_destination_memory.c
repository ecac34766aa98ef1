// The memory destination hands back what was appended, and every destination refuses rows that are
// out of order.
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/destination_memory.h"
#include "formats/destination_null.h"
#include "synthetic.h"

START_TEST(rows_come_back) {
    struct hw_layout layout;
    struct hw_destination_memory *memory = NULL;
    struct hw_error err;
    synthetic_layout(&layout, HW_ELEMENT_F4);
    ck_assert_int_eq(hw_destination_memory_open(&layout, &memory, &err), HW_OK);
    synthetic_play(hw_destination_memory_base(memory), &layout, 1, 6);
    size_t n;
    const float *entropy = hw_destination_memory_get(memory, HW_DS_ATTENTION_ENTROPY, 2, &n);
    ck_assert_uint_eq(n, 130 + 1 + 17 + 257);
    ck_assert_float_eq(entropy[(130 + 1 + 3) * 4 + 1],
                       synthetic_value(HW_DS_ATTENTION_ENTROPY, 4, 2, 3, 1));
    const float *sink = hw_destination_memory_get(memory, HW_DS_SINK_SCORE, 0, &n);
    ck_assert_uint_eq(n, 5); // the failed prompt has a row too
    ck_assert(isnan(sink[2 * 4]) && !isnan(sink[3 * 4]));
    const char *const *names = hw_destination_memory_get(memory, HW_DS_PROMPT_NAME, 0, &n);
    ck_assert_str_eq(names[4], "prompt 5");
    const int64_t *start = hw_destination_memory_get(memory, HW_DS_TOKEN_START, 0, &n);
    ck_assert_int_eq(start[4], 130 + 1 + 17);
    const int64_t *massive = hw_destination_memory_get(memory, HW_DS_MASSIVE_TOKEN, 0, &n);
    ck_assert_uint_eq(n, 1 + 2 + 1 + 2);
    ck_assert_int_eq(massive[3], 131);
    size_t edge;
    const float *tiles = hw_destination_memory_map(memory, HW_DS_ATTENTION_PATTERN, 4, 1, 3, &edge);
    ck_assert_uint_eq(edge, 3);
    // Layer index 1 of the recorded ones is layer 2; tile (1, 0) is the second.
    ck_assert_float_eq(tiles[128 * 128 + 2 * 128 + 5], synthetic_pattern(5, 2, 3, 130, 5));
    hw_destination_memory_close(&memory);
    ck_assert_ptr_null(memory);
}
END_TEST

START_TEST(bytes_are_counted) {
    struct hw_layout layout;
    struct hw_destination_null null;
    hw_layout_init(&layout);
    layout.max_tokens = 10;
    layout.has[HW_DS_FINAL_NORM] = true;
    ck_assert_int_eq(hw_destination_null_open(&null, &layout, NULL), HW_OK);
    float row[3] = {0};
    ck_assert_int_eq(hw_destination_begin_prompt(&null.base, 0, NULL), HW_OK);
    ck_assert_int_eq(hw_destination_append(&null.base, HW_DS_FINAL_NORM, 0, 3, row, NULL), HW_OK);
    ck_assert_uint_eq(null.n_bytes, 12);
    hw_destination_null_close(&null);
}
END_TEST

static struct hw_destination_null open_one(struct hw_layout *layout) {
    struct hw_destination_null null;
    hw_layout_init(layout);
    layout->max_tokens = 10;
    layout->groups[HW_GROUP_ROOT].n_layers = 2;
    layout->groups[HW_GROUP_ROOT].n_heads = 1;
    layout->has[HW_DS_ATTENTION_ENTROPY] = true;
    ck_assert_int_eq(hw_destination_null_open(&null, layout, NULL), HW_OK);
    return null;
}

START_TEST(missing_rows_are_named) {
    struct hw_layout layout;
    struct hw_error err;
    struct hw_destination_null null = open_one(&layout);
    float rows[3] = {0};
    struct hw_prompt_record record = {.prompt = 4, .n_tokens = 3, .n_prompt_tokens = 3};
    ck_assert_int_eq(hw_destination_begin_prompt(&null.base, 4, &err), HW_OK);
    ck_assert_int_eq(hw_destination_append(&null.base, HW_DS_ATTENTION_ENTROPY, 0, 3, rows, &err),
                     HW_OK);
    ck_assert_int_eq(hw_destination_end_prompt(&null.base, &record, &err), HW_INTERNAL);
    ck_assert_str_eq(err.message, "/attention_entropy, slab 1: prompt 4 owes 3 rows, found 0");
    ck_assert_int_eq(hw_destination_append(&null.base, HW_DS_ATTENTION_ENTROPY, 1, 3, rows, &err),
                     HW_OK);
    ck_assert_int_eq(hw_destination_end_prompt(&null.base, &record, &err), HW_OK);
    hw_destination_null_close(&null);
}
END_TEST

START_TEST(strangers_are_refused) {
    struct hw_layout layout;
    struct hw_destination_null null = open_one(&layout);
    float row = 0;
    struct hw_destination *to = &null.base;
    ck_assert_int_eq(hw_destination_append(to, HW_DS_ATTENTION_ENTROPY, 0, 1, &row, NULL),
                     HW_INTERNAL);
    ck_assert_int_eq(hw_destination_begin_prompt(to, 0, NULL), HW_OK);
    ck_assert_int_eq(hw_destination_begin_prompt(to, 1, NULL), HW_INTERNAL);
    ck_assert_int_eq(hw_destination_append(to, HW_DS_ATTENTION_ENTROPY, 2, 1, &row, NULL),
                     HW_INTERNAL);
    ck_assert_int_eq(hw_destination_append(to, HW_DS_KEY_NORM, 0, 1, &row, NULL), HW_INTERNAL);
    ck_assert_int_eq(hw_destination_append_map(to, HW_DS_ATTENTION_ENTROPY, 0, 0, 1, &row, NULL),
                     HW_INTERNAL);
    hw_destination_null_close(&null);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("destination_memory");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, rows_come_back);
    tcase_add_test(tcase, bytes_are_counted);
    tcase_add_test(tcase, missing_rows_are_named);
    tcase_add_test(tcase, strangers_are_refused);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
