// headwater compare: two captures, or two results, side by side.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "analysis/compare.h"
#include "tools/command.h"
#include "tools/report.h"
#include "tools/table.h"

struct compare_options {
    double tolerance;
    uint64_t top;
    bool all;
};

static const struct hw_option options[] = {
    HW_OPTION_REAL(struct compare_options, tolerance, "tolerance", "X", "0", 0, 1e300,
                   "The largest absolute difference that is accepted; beyond it the exit code "
                   "is 1."),
    HW_OPTION_COUNT(struct compare_options, top, "top", "K", "10", 1, 1000000,
                    "Heads in the overlap of the strongest."),
    HW_OPTION_FLAG(struct compare_options, all, "all",
                   "Also list the datasets that are equal in both."),
};

static const char *number(char *text, size_t n_bytes, double value) {
    (void)snprintf(text, n_bytes, isnan(value) ? "-" : "%.4g", value);
    return text;
}

static size_t count_beyond(const struct hw_compare *c, double tolerance) {
    size_t n = 0;
    for (size_t i = 0; i < c->n_lines; i++) {
        n += c->lines[i].largest > tolerance || c->lines[i].is_unlike;
    }
    return n;
}

static void print_skipped(const struct hw_compare *c) {
    for (size_t i = 0; i < c->n_lines; i++) {
        if (c->lines[i].skipped != NULL) {
            hw_print_line("  %s: not compared: %s", c->lines[i].name, c->lines[i].skipped);
        }
    }
}

static void print_slabs(const struct hw_compare *c) {
    for (size_t i = 0; i < c->n_lines; i++) {
        const struct hw_compare_line *line = &c->lines[i];
        if (line->skipped == NULL && line->n_slabs_a + line->n_slabs_b > 0) {
            (void)printf("  %s: layers or depths only in the first %zu, in the second %zu\n",
                         line->name, line->n_slabs_a, line->n_slabs_b);
        }
    }
}

static enum hw_status print_differences(const struct hw_compare *c, bool shows_all,
                                        struct hw_error *err) {
    struct hw_table *table = hw_table_open("<dataset|values|differ|largest|<~where");
    size_t n_equal = 0;
    size_t n_shown = 0;
    for (size_t i = 0; i < c->n_lines; i++) {
        const struct hw_compare_line *line = &c->lines[i];
        if (line->skipped != NULL) {
            continue;
        }
        n_equal += line->n_different == 0;
        if (line->n_different == 0 && !shows_all) {
            continue;
        }
        n_shown++;
        char text[32];
        hw_table_cell(table, "%s", line->name);
        hw_table_cell(table, "%zu", line->n_values);
        hw_table_cell(table, "%zu", line->n_different);
        hw_table_cell(table, "%s", number(text, sizeof text, line->largest));
        hw_table_cell(table, "%s", line->n_different > 0 ? line->place : "");
    }
    enum hw_status status = n_shown > 0 ? hw_table_print(table, stdout, 2, err) : HW_OK;
    hw_table_close(&table);
    (void)printf("  %zu dataset%s equal in both\n", n_equal, n_equal == 1 ? " is" : "s are");
    print_slabs(c);
    print_skipped(c);
    return status;
}

static enum hw_status print_ranks(const struct hw_compare *c, bool shows_all,
                                  struct hw_error *err) {
    struct hw_table *table = hw_table_open("<scores of heads|heads|Spearman|<strongest in common");
    size_t n = 0;
    for (size_t i = 0; i < c->n_lines; i++) {
        const struct hw_compare_line *line = &c->lines[i];
        if (!line->has_ranks || (line->n_different == 0 && !shows_all)) {
            continue;
        }
        char text[32];
        n++;
        hw_table_cell(table, "%s", line->name);
        hw_table_cell(table, "%zu", line->n_heads);
        hw_table_cell(table, "%s", number(text, sizeof text, line->spearman));
        hw_table_cell(table, "%zu of %zu", line->n_common, line->top_k);
    }
    if (n > 0) {
        (void)fputs("\nranks of the heads (- : one side is constant)\n", stdout);
    }
    enum hw_status status = n > 0 ? hw_table_print(table, stdout, 2, err) : HW_OK;
    hw_table_close(&table);
    return status;
}

static enum hw_status print_json(const struct hw_invocation *in, const struct hw_compare *c,
                                 double tolerance, struct hw_error *err) {
    json_t *list = json_array();
    for (size_t i = 0; i < c->n_lines; i++) {
        const struct hw_compare_line *line = &c->lines[i];
        json_t *item = json_pack("{s:o, s:I, s:I, s:o, s:o, s:o, s:o}", "name",
                                 hw_json_text(line->name), "values", (json_int_t)line->n_values,
                                 "different", (json_int_t)line->n_different, "largest",
                                 hw_json_real(line->largest), "where", hw_json_text(line->place),
                                 "a", hw_json_real(line->a), "b", hw_json_real(line->b));
        if (line->has_ranks) {
            (void)json_object_set_new(item, "spearman", hw_json_real(line->spearman));
            (void)json_object_set_new(item, "heads", json_integer((json_int_t)line->n_heads));
            (void)json_object_set_new(item, "top", json_integer((json_int_t)line->top_k));
            (void)json_object_set_new(item, "common", json_integer((json_int_t)line->n_common));
        }
        if (line->n_slabs_a + line->n_slabs_b > 0) {
            (void)json_object_set_new(
                item, "layers_only_in",
                json_pack("[I, I]", (json_int_t)line->n_slabs_a, (json_int_t)line->n_slabs_b));
        }
        if (line->skipped != NULL) {
            (void)json_object_set_new(item, "skipped", json_string(line->skipped));
        }
        (void)json_array_append_new(list, item);
    }
    json_t *notes = json_array();
    for (size_t i = 0; i < c->n_notes; i++) {
        (void)json_array_append_new(notes, hw_json_text(c->notes[i]));
    }
    return hw_json_print(
        json_pack("{s:s, s:[o, o], s:f, s:I, s:I, s:I, s:b, s:I, s:o, s:o}", "command", "compare",
                  "files", hw_json_text(in->arguments[0]), hw_json_text(in->arguments[1]),
                  "tolerance", tolerance, "prompts", (json_int_t)c->n_prompts, "only_in_first",
                  (json_int_t)c->n_only_a, "only_in_second", (json_int_t)c->n_only_b, "same_model",
                  (int)c->is_same_model, "beyond", (json_int_t)count_beyond(c, tolerance),
                  "options", notes, "datasets", list),
        err);
}

static enum hw_status print_text(const struct hw_invocation *in, const struct hw_compare *c,
                                 bool shows_all, struct hw_error *err) {
    if (!c->is_results) {
        hw_print_line("%zu prompt%s in both, %zu only in %s, %zu only in %s", c->n_prompts,
                      c->n_prompts == 1 ? "" : "s", c->n_only_a, in->arguments[0], c->n_only_b,
                      in->arguments[1]);
        if (!c->is_same_model) {
            (void)fputs("the weights are not the same\n", stdout);
        }
    }
    for (size_t i = 0; i < c->n_notes; i++) {
        char shown[400];
        (void)printf("%s\n", hw_escape(shown, sizeof shown, c->notes[i], strlen(c->notes[i])));
    }
    enum hw_status status = print_differences(c, shows_all, err);
    return status == HW_OK ? print_ranks(c, shows_all, err) : status;
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const struct compare_options *opt = in->options;
    struct hw_compare_options how = {.top_k = (size_t)opt->top};
    struct hw_compare compare = {0};
    enum hw_status status =
        hw_compare_files(in->arguments[0], in->arguments[1], &how, &compare, err);
    if (status != HW_OK) {
        return status;
    }
    size_t n_beyond = count_beyond(&compare, opt->tolerance);
    status = in->common.json ? print_json(in, &compare, opt->tolerance, err)
                             : print_text(in, &compare, opt->all, err);
    if (status == HW_OK && !compare.is_results && compare.n_prompts == 0) {
        status = hw_fail(err, HW_WRONG, "%s, %s: no prompt is in both", in->arguments[0],
                         in->arguments[1]);
    } else if (status == HW_OK && n_beyond > 0) {
        status = hw_fail(err, HW_WRONG, "%zu dataset%s differ%s by more than %g", n_beyond,
                         n_beyond == 1 ? "" : "s", n_beyond == 1 ? "s" : "", opt->tolerance);
    }
    hw_compare_free(&compare);
    return status;
}

const struct hw_command hw_command_compare = {
    .name = "compare",
    .summary = "compare two captures or two results",
    .arguments = "A.h5 B.h5",
    .min_arguments = 2,
    .max_arguments = 2,
    .description =
        "Prompts of two captures are matched by the hash of their tokens, whatever their order; "
        "layers, depths and heads by number. For every dataset in both: how many values differ and "
        "where the largest difference is; for scores of heads also Spearman's rank correlation "
        "(means over prompts and tokens) and how many of the strongest heads are the same. Two "
        "results are compared array by array.\n\n"
        "The exit code is 0 where nothing differs by more than the tolerance, 1 where something "
        "does or no prompt is in both. What stands in one file only is listed, not judged.",
    .examples = "headwater compare a.h5 b.h5\n"
                "headwater compare --tolerance 1e-5 --json step1.h5 step2.h5\n",
    .common = HW_COMMON_JSON | HW_COMMON_QUIET,
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct compare_options),
    .run = run,
};
