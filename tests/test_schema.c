// The schema table: identifiers, axes, the companions of statistics, and the sizes that a layout
// gives.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "formats/schema.h"

START_TEST(names_are_unique_in_their_group) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        const struct hw_schema_row *row = hw_schema_row((enum hw_dataset)i);
        ck_assert_int_eq(hw_schema_find(row->group, row->name), i);
    }
    ck_assert_int_eq(hw_schema_find(HW_GROUP_ROOT, "no_such_name"), HW_N_DATASETS);
}
END_TEST

START_TEST(identifiers_are_group_and_name) {
    ck_assert_str_eq(hw_schema_row(HW_DS_ATTENTION_ENTROPY)->name, "attention_entropy");
    ck_assert_int_eq(hw_schema_row(HW_DS_ATTENTION_ENTROPY)->group, HW_GROUP_ROOT);
    ck_assert_str_eq(hw_schema_row(HW_DS_ATTENTION_PATTERN)->name, "pattern");
    ck_assert_int_eq(hw_schema_row(HW_DS_ATTENTION_PATTERN)->group, HW_GROUP_ATTENTION);
    ck_assert_uint_eq(hw_schema_row(HW_DS_ATTENTION_PATTERN)->n_axes, 5);
    ck_assert_int_eq(hw_schema_row(HW_DS_ATTENTION_PATTERN)->axes[4], HW_AXIS_KEY);
    ck_assert_uint_eq(hw_schema_row(HW_DS_PROVENANCE_CONFIG_JSON)->n_axes, 0);
    ck_assert_uint_eq(hw_schema_row(HW_DS_N_TOKENS)->n_axes, 1);
    ck_assert_int_eq(hw_schema_row(HW_DS_N_TOKENS)->axes[1], HW_AXIS_NONE);
}
END_TEST

START_TEST(statistic_is_followed_by_its_mean) {
    size_t n_statistics = 0;
    for (int i = 0; i < HW_N_DATASETS; i++) {
        const struct hw_schema_row *row = hw_schema_row((enum hw_dataset)i);
        if (!row->has_mean) {
            continue;
        }
        n_statistics++;
        ck_assert_int_eq(row->axes[0], HW_AXIS_TOKEN);
        ck_assert(row->axes[1] == HW_AXIS_LAYER || row->axes[1] == HW_AXIS_DEPTH);
        const struct hw_schema_row *mean = row + 1;
        ck_assert_uint_eq(strlen(mean->name), strlen(row->name) + 5);
        ck_assert_int_eq(strncmp(mean->name, row->name, strlen(row->name)), 0);
        ck_assert_int_eq(mean->axes[0], HW_AXIS_PROMPT);
        ck_assert_int_eq(
            memcmp(mean->axes + 1, row->axes + 1, sizeof row->axes - sizeof *row->axes), 0);
        ck_assert(!mean->has_mean);
    }
    // The list of statistics: 6 rows + distance + 3 received, 3 values, 4 residual, 2 outputs, 1
    // head result.
    ck_assert_uint_eq(n_statistics, 20);
}
END_TEST

START_TEST(every_row_says_what_it_is) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        const struct hw_schema_row *row = hw_schema_row((enum hw_dataset)i);
        ck_assert_uint_gt(strlen(row->long_name), 0);
        ck_assert_uint_gt(strlen(row->units), 0);
        size_t n = strlen(row->description);
        ck_assert_msg(n > 0 && row->description[n - 1] == '.', "%s", row->name);
    }
}
END_TEST

START_TEST(row_bytes_leave_out_lead_and_slab) {
    struct hw_layout layout = {
        .n_offsets = 64, .n_spans = 7, .n_rank = 8, .d_head = 4, .max_tokens = 300};
    layout.groups[HW_GROUP_ROOT] =
        (struct hw_group_axes){.n_layers = 5, .n_depths = 6, .n_heads = 3, .n_kv_heads = 1};
    layout.groups[HW_GROUP_ATTENTION] = (struct hw_group_axes){.n_layers = 2, .n_heads = 2};
    for (int i = 0; i < HW_N_DATASETS; i++) {
        layout.element[i] = hw_schema_row((enum hw_dataset)i)->element;
    }
    ck_assert_uint_eq(hw_layout_row_bytes(&layout, HW_DS_ATTENTION_ENTROPY), 3 * 4);
    ck_assert_uint_eq(hw_layout_row_bytes(&layout, HW_DS_ATTENTION_SPAN), 3 * 7 * 7 * 4);
    ck_assert_uint_eq(hw_layout_row_bytes(&layout, HW_DS_ATTENTION_OFFSET), 3 * 64 * 4);
    ck_assert_uint_eq(hw_layout_row_bytes(&layout, HW_DS_RESIDUAL_NORM), 4);
    ck_assert_uint_eq(hw_layout_row_bytes(&layout, HW_DS_NEXT_TOP_ID), 8 * 4);
    ck_assert_uint_eq(hw_layout_row_bytes(&layout, HW_DS_ATTENTION_PATTERN), 2 * 300 * 300 * 2);
    ck_assert_uint_eq(hw_layout_row_bytes(&layout, HW_DS_TOKEN_TEXT), 0);
    ck_assert_uint_eq(hw_layout_axis(&layout, HW_GROUP_ATTENTION, HW_AXIS_LAYER), 2);
    ck_assert_int_eq(hw_schema_slab_axis(HW_DS_FINAL_NORM), -1);
    ck_assert_int_eq(hw_schema_slab_axis(HW_DS_STATE_MEDIAN), 1);
}
END_TEST

// What the root group of any capture has, by docs/file-format.md; texts come with options, and
// groups with their records.
START_TEST(columns_say_whether_they_are_always_there) {
    ck_assert_str_eq(hw_schema_record(HW_DS_SINK_SCORE), "attention");
    ck_assert_str_eq(hw_schema_record(HW_DS_TOKEN_ID), "(always)");
    ck_assert_str_eq(hw_schema_record(HW_DS_SPAN_FIRST), "(always)");
    ck_assert_str_eq(hw_schema_record(HW_DS_PROMPT_TEXT), "(as needed)");
    ck_assert_str_eq(hw_schema_record(HW_DS_TOKEN_TEXT), "(as needed)");
    ck_assert_str_eq(hw_schema_record(HW_DS_RECORDED), "(as needed)");
    ck_assert_str_eq(hw_schema_record(HW_DS_MASSIVE_TOKEN), "(as needed)");
    ck_assert_str_eq(hw_schema_record(HW_DS_ATTENTION_N_TOKENS), "(as needed)");
    ck_assert_str_eq(hw_schema_record(HW_DS_VOCABULARY_TEXT), "(as needed)");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("schema");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, columns_say_whether_they_are_always_there);
    tcase_add_test(tcase, names_are_unique_in_their_group);
    tcase_add_test(tcase, identifiers_are_group_and_name);
    tcase_add_test(tcase, statistic_is_followed_by_its_mean);
    tcase_add_test(tcase, every_row_says_what_it_is);
    tcase_add_test(tcase, row_bytes_leave_out_lead_and_slab);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
