// headwater heads: one row per head of a capture.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/selector.h"
#include "kernels/size.h"
#include "tools/analysis_command.h"
#include "tools/heads_report.h"

enum { MAX_ROWS = 1 << 20, MAX_HEADS = 1 << 24, DISTANCE_MEMORY_BYTES = 256 << 20 };

struct heads_options {
    const char *heads;
    int by;
    int type;
    uint64_t top;
    int maps;
    double top_p;
    bool js;
    uint64_t js_rows;
    struct hw_heads_rules rules;
    struct hw_analysis_options result;
};

// --by and --type have a word in front of those of the enums.
static const struct hw_option options[] = {
    HW_OPTION_STRING(struct heads_options, heads, "heads", "SEL", NULL,
                     "Only these heads: 9.6,9.9 or 10 (a layer) or @FILE."),
    HW_OPTION_CHOICE(struct heads_options, type, "type",
                     "any|other|self|previous|broad|first|special|punctuation", "any",
                     "Only heads of this type."),
    HW_OPTION_CHOICE(
        struct heads_options, by, "by",
        "position|entropy|entropy_normalised|entropy_smoothed|column_entropy|first|previous|"
        "previous_diagonal|previous_mul|previous_abs|self|special|special_from_special|"
        "special_from_others|punctuation|distance|max|top_p|sparsity",
        "position", "Order: by layer and head, or by a measure, the largest first."),
    HW_OPTION_COUNT(struct heads_options, top, "top", "N", "1000000", 1, 1000000,
                    "Most lines in the table."),
    HW_OPTION_CHOICE(struct heads_options, maps, "maps", "auto|no", "auto",
                     "Read maps for the measures that need them, where the capture has maps or "
                     "vectors."),
    HW_OPTION_REAL(struct heads_options, top_p, "top-p", "P", ".9", 0, 1,
                   "Share of the row that top_p counts the keys of."),
    HW_OPTION_FLAG(struct heads_options, js, "js",
                   "Also the Jensen-Shannon distances between all pairs of heads, from maps. The "
                   "work is said before it is done."),
    HW_OPTION_COUNT(struct heads_options, js_rows, "js-rows", "N", "512", 1, MAX_ROWS,
                    "Look at this many rows of longer prompts, evenly spread."),
    HW_OPTION_GROUP("Types (a later one that holds replaces an earlier one)"),
    HW_OPTION_REAL(struct heads_options, rules.self, "self-above", "X", ".5", 0, 1,
                   "self: attention of tokens to themselves."),
    HW_OPTION_REAL(struct heads_options, rules.previous, "previous-above", "X", ".5", 0, 1,
                   "previous: to the token before."),
    HW_OPTION_REAL(struct heads_options, rules.broad, "broad-above", "X", "3.8", 0, 64,
                   "broad: entropy in nats. It grows with T."),
    HW_OPTION_REAL(struct heads_options, rules.first, "first-above", "X", ".6", 0, 1,
                   "first: to the first token."),
    HW_OPTION_REAL(struct heads_options, rules.special, "special-above", "X", ".6", 0, 1,
                   "special: to special tokens."),
    HW_OPTION_REAL(struct heads_options, rules.punctuation, "punctuation-above", "X", ".6", 0, 1,
                   "punctuation: to punctuation."),
    HW_OPTIONS_ANALYSIS(struct heads_options, result),
};

// Which heads are asked for, [layers of the model as far as recorded, heads of the model]; NULL
// where all are. The caller frees it. HW_USAGE where fewer than `least` are selected.
static enum hw_status select_heads(const struct hw_trace *trace, const char *text, size_t least,
                                   bool **ret_selected, struct hw_error *err) {
    const struct hw_layout *layout = hw_trace_layout(trace);
    size_t n_layers = 0;
    size_t last_head = 0;
    size_t n_cells;
    for (int g = 0; g < HW_N_GROUPS; g++) {
        const struct hw_group_axes *axes = &layout->groups[g];
        for (size_t i = 0; i < axes->n_layers; i++) {
            n_layers = hw_size_max(n_layers, (size_t)axes->layers[i] + 1);
        }
        for (size_t i = 0; i < axes->n_heads; i++) {
            last_head = hw_size_max(last_head, (size_t)axes->heads[i]);
        }
    }
    *ret_selected = NULL;
    if (text == NULL) {
        return HW_OK;
    }
    if (!hw_size_mul(n_layers, layout->n_heads, &n_cells) || n_cells > MAX_HEADS ||
        last_head >= layout->n_heads) {
        return hw_fail(err, HW_INPUT,
                       "%s: wrong axes (expected heads below %zu and at most %d in all, found head "
                       "%zu in %zu layers)",
                       hw_trace_path(trace), layout->n_heads, (int)MAX_HEADS, last_head, n_layers);
    }
    bool *selected = calloc(n_cells + 1, sizeof *selected);
    if (selected == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the heads");
    }
    enum hw_status status = hw_selector_heads(text, n_layers, layout->n_heads, selected, err);
    if (status != HW_OK) {
        free(selected);
        return hw_fail_context(err, status, "heads: option --heads: ");
    }
    size_t n = 0;
    for (size_t i = 0; i < n_cells; i++) {
        n += selected[i];
    }
    if (n < least) {
        free(selected);
        return n == 0 ? hw_fail(err, HW_USAGE, "heads: option --heads: selects no head")
                      : hw_fail(err, HW_USAGE,
                                "heads: option --js: distances are between heads (expected at "
                                "least %zu in --heads, found %zu)",
                                least, n);
    }
    *ret_selected = selected;
    return HW_OK;
}

static enum hw_status compute_distances(struct hw_invocation *in, struct hw_trace *trace,
                                        const bool *is_wanted, struct hw_distances *ret_distances,
                                        struct hw_error *err) {
    const struct heads_options *opt = in->options;
    struct hw_distances_options how = {.max_rows = opt->js_rows,
                                       .memory_bytes = DISTANCE_MEMORY_BYTES,
                                       .is_wanted = is_wanted,
                                       .n_threads = (int)in->common.threads};
    struct hw_distances_work work;
    enum hw_status status = hw_distances_plan(trace, &how, &work, err);
    if (status != HW_OK) {
        return status;
    }
    char sampled[80] = "";
    if (work.n_sampled > 0) {
        (void)snprintf(sampled, sizeof sampled, " (%zu prompt%s sampled, --js-rows)",
                       work.n_sampled, work.n_sampled == 1 ? "" : "s");
    }
    hw_note(in, "%s: distances of %zu heads: %zu pairs, %zu of %zu rows%s, %.2g logarithms",
            hw_trace_path(trace), work.n_heads, work.n_pairs, work.n_rows, work.n_all_rows, sampled,
            work.n_terms);
    return hw_distances_compute(trace, &how, ret_distances, err);
}

static enum hw_status look(struct hw_invocation *in, struct hw_analysis_report *report,
                           struct hw_error *err) {
    const struct heads_options *opt = in->options;
    struct hw_heads heads = {0};
    struct hw_distances distances = {0};
    bool *selected = NULL;
    enum hw_status status =
        select_heads(report->trace, opt->heads, opt->js ? 2 : 1, &selected, err);
    struct hw_heads_options how = {.rules = opt->rules,
                                   .top_p = opt->top_p,
                                   .reads_maps = opt->maps == 0,
                                   .n_threads = (int)in->common.threads,
                                   .is_wanted = selected};
    status = status == HW_OK ? hw_heads_compute(report->trace, &how, &heads, err) : status;
    if (status == HW_OK && opt->js) {
        status = compute_distances(in, report->trace, selected, &distances, err);
    }
    if (status == HW_OK) {
        struct heads_view view = {.heads = &heads,
                                  .distances = opt->js ? &distances : NULL,
                                  .by = opt->by - 1,
                                  .type = opt->type - 1,
                                  .top = opt->top};
        status = hw_heads_fill(report->result, &view, err);
        if (status != HW_OK) {
            // Nothing is shown.
        } else if (in->common.json) {
            report->json = hw_heads_document(report->result, &view);
        } else {
            (void)fputs(report->index > 0 ? "\n" : "", stdout);
            status = hw_heads_print(report->trace, &view, err);
        }
    }
    free(selected);
    hw_distances_free(&distances);
    hw_heads_free(&heads);
    return status;
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const struct heads_options *opt = in->options;
    return hw_analysis_run(in, &opt->result, look, err);
}

const struct hw_command hw_command_heads = {
    .name = "heads",
    .summary = "describe every head: where it looks, how widely, its type",
    .arguments = "RUN.h5...",
    .min_arguments = 1,
    .max_arguments = HW_ANY_NUMBER,
    .description =
        "One row per head, means over queries and prompts: entropy of the rows in nats; attention "
        "to the previous token, the first one, the token itself, special tokens and punctuation, "
        "each summed over queries and divided by T; mean distance; the offset with the largest "
        "mean. Where the capture has maps or vectors, also how many keys hold the share --top-p of "
        "a row. --json and --out have more, rival definitions side by side, the user's spans, and "
        "standard errors.\n\n"
        "A type is given by the rules of Clark et al. (2019), whose thresholds are options.",
    .examples = "headwater heads run.h5\n"
                "headwater heads --by previous --top 5 run.h5\n"
                "headwater heads --type previous --json run.h5 > previous.json\n"
                "headwater heads --js --heads 12-14 vectors.h5\n",
    .common = HW_COMMON_JSON | HW_COMMON_QUIET | HW_COMMON_THREADS,
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct heads_options),
    .run = run,
};
