// headwater induction: induction heads of a capture of repeated tokens.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analysis/induction.h"
#include "tools/analysis_command.h"
#include "tools/report.h"
#include "tools/table.h"

struct induction_options {
    uint64_t period;
    uint64_t first;
    int from;
    bool excludes_bos;
    bool excludes_current;
    double induction_share;
    double echo_share;
    int by;
    int select;
    uint64_t top;
    struct hw_analysis_options result;
};

enum { SELECT_ALL, SELECT_RAZOR, MAX_PERIOD = 1 << 28 };

// The words of --by stand in the order of enum hw_repeat_measure.
static const struct hw_option options[] = {
    HW_OPTION_COUNT(struct induction_options, period, "period", "N", NULL, 1, MAX_PERIOD,
                    "Ids repeat every N tokens, where the prompts do not say so themselves."),
    HW_OPTION_COUNT(struct induction_options, first, "first", "0|1", "0", 0, 1,
                    "Tokens in front that are not repeated, with --period."),
    HW_OPTION_CHOICE(struct induction_options, from, "from", "auto|statistics|maps", "auto",
                     "What to read: the statistics of a default capture, or maps (recorded or "
                     "rebuilt). auto: statistics where they tell everything, else maps where "
                     "there are any."),
    HW_OPTION_FLAG(struct induction_options, excludes_bos, "exclude-bos",
                   "Leave attention to token 0 out of the _mul and _abs scores."),
    HW_OPTION_FLAG(struct induction_options, excludes_current, "exclude-current-token",
                   "Leave attention of tokens to themselves out of the _mul and _abs scores."),
    HW_OPTION_REAL(struct induction_options, induction_share, "induction-share", "S", ".14", 0, 1,
                   "Share of the key/value heads that RazorAttention keeps by induction."),
    HW_OPTION_REAL(struct induction_options, echo_share, "echo-share", "S", ".01", 0, 1,
                   "And by echo."),
    HW_OPTION_CHOICE(struct induction_options, by, "by",
                     "induction|echo|induction_pairs|echo_pairs|induction_copies|stripe_induction|"
                     "stripe_duplicate|stripe_previous|induction_mul|duplicate_mul|previous_mul|"
                     "induction_abs|duplicate_abs|previous_abs",
                     "induction", "The measure that heads are sorted by."),
    HW_OPTION_CHOICE(struct induction_options, select, "select", "all|razor", "all",
                     "The heads of the JSON's list, which --heads @FILE reads: all, or those that "
                     "RazorAttention keeps."),
    HW_OPTION_COUNT(struct induction_options, top, "top", "N", "10", 1, 1000000,
                    "Most lines in the table of heads."),
    HW_OPTIONS_ANALYSIS(struct induction_options, result),
};

static const double *scores_of(const struct hw_induction *induction, size_t measure) {
    return induction->scores.mean + measure * induction->n_layers * induction->n_heads;
}

// Scores by --by [n_layers, n_heads] with NaN for the heads that --select leaves out; from malloc.
static double *selected_scores(const struct hw_induction *induction,
                               const struct induction_options *opt) {
    size_t n_cells = induction->n_layers * induction->n_heads;
    double *scores = calloc(n_cells + 1, sizeof *scores);
    for (size_t cell = 0; cell < n_cells && scores != NULL; cell++) {
        size_t kv = induction->head_kv[cell % induction->n_heads];
        bool is_in = opt->select == SELECT_ALL ||
                     hw_induction_is_picked(induction, cell / induction->n_heads, kv);
        scores[cell] = is_in ? scores_of(induction, (size_t)opt->by)[cell] : NAN;
    }
    return scores;
}

static void print_range(const char *text, size_t least, size_t most) {
    if (least == most) {
        (void)printf("%s%zu", text, most);
    } else {
        (void)printf("%s%zu to %zu", text, least, most);
    }
}

static void print_head(const struct hw_trace *trace, const struct hw_induction *induction) {
    hw_print_text(hw_trace_path(trace));
    (void)printf(": %zu prompt%s", induction->n_prompts, induction->n_prompts == 1 ? "" : "s");
    if (induction->n_skipped > 0) {
        (void)printf(" (%zu failed)", induction->n_skipped);
    }
    print_range(", T = ", induction->min_tokens, induction->max_tokens);
    print_range(", ids repeat every ", induction->min_period, induction->max_period);
    (void)printf("; from %s\n", induction->source);
    if (induction->n_first > 0) {
        (void)printf("a token stands in front in %zu of them\n", induction->n_first);
    }
    if (induction->n_recurring > 0 && strcmp(induction->source, "attention_offset") == 0) {
        (void)printf(
            "in %zu an id stands twice in a period: induction and duplicate _mul and _abs\n"
            "are over the others (maps would tell)\n",
            induction->n_recurring);
    }
}

static void cell_number(struct hw_table *table, double value) {
    char text[32];
    (void)snprintf(text, sizeof text, "%.3f", value);
    hw_table_cell(table, "%s", isnan(value) ? "-" : text);
}

static enum hw_status print_heads(const struct hw_induction *induction,
                                  const struct induction_options *opt, struct hw_error *err) {
    static const enum hw_repeat_measure shown[] = {
        HW_REPEAT_INDUCTION,        HW_REPEAT_ECHO,
        HW_REPEAT_STRIPE_INDUCTION, HW_REPEAT_STRIPE_DUPLICATE,
        HW_REPEAT_STRIPE_PREVIOUS,  HW_REPEAT_INDUCTION_MUL,
        HW_REPEAT_PREVIOUS_MUL};
    double *scores = selected_scores(induction, opt);
    json_t *ranked = scores != NULL ? hw_heads_json(scores, induction->layers, induction->n_layers,
                                                    induction->heads, induction->n_heads)
                                    : NULL;
    struct hw_table *table = hw_table_open("head|<kept|induction|echo|stripe ind|dup|prev|"
                                           "ind mul|prev mul");
    (void)printf("\nstrongest heads by %s\n", hw_repeat_measure(opt->by)->name);
    for (size_t i = 0; i < json_array_size(ranked) && i < opt->top; i++) {
        const json_t *item = json_array_get(ranked, i);
        int layer_number = (int)json_integer_value(json_object_get(item, "layer"));
        int head_number = (int)json_integer_value(json_object_get(item, "head"));
        size_t layer = 0;
        size_t head = 0;
        while (induction->layers[layer] != layer_number) {
            layer++;
        }
        while (induction->heads[head] != head_number) {
            head++;
        }
        hw_table_cell(table, "%d.%d", layer_number, head_number);
        hw_table_cell(table, "%s",
                      hw_induction_is_picked(induction, layer, induction->head_kv[head]) ? "razor"
                                                                                         : "");
        for (size_t m = 0; m < HW_LENGTH(shown); m++) {
            cell_number(table, scores_of(induction, shown[m])[layer * induction->n_heads + head]);
        }
    }
    enum hw_status status = ranked != NULL ? hw_table_print(table, stdout, 2, err)
                                           : hw_fail(err, HW_RESOURCE, "not enough memory");
    hw_table_close(&table);
    json_decref(ranked);
    free(scores);
    return status;
}

// One line of picks as "5.1 .81": as many as fit a terminal, then how many more; all in a pipe.
static void print_picks(const struct hw_induction *induction, const char *title,
                        const struct hw_induction_pick *picks, size_t n) {
    int page = hw_terminal_columns(STDOUT_FILENO);
    int at = printf("  by %s (%zu):", title, n);
    size_t i = 0;
    for (; i < n; i++) {
        char text[64];
        int width = snprintf(text, sizeof text, " %" PRId32 ".%" PRId32 " (%.3f)",
                             induction->layers[picks[i].layer],
                             induction->kv_heads[picks[i].kv_head], picks[i].score);
        if (page > 0 && at + width > page - 10) {
            break;
        }
        at += printf("%s", text);
    }
    (void)printf(i < n ? " +%zu\n" : "\n", n - i);
}

static enum hw_status print_text(const struct hw_trace *trace, const struct hw_induction *induction,
                                 const struct induction_options *opt, struct hw_error *err) {
    print_head(trace, induction);
    enum hw_status status = print_heads(induction, opt, err);
    if (status == HW_OK) {
        size_t n = induction->n_layers * induction->n_kv_heads;
        (void)printf("\nkey/value heads that RazorAttention keeps, of %zu\n", n);
        print_picks(induction, "induction", induction->by_induction, induction->n_by_induction);
        print_picks(induction, "echo", induction->by_echo, induction->n_by_echo);
    }
    return status;
}

// The picks as a table: one row each, those by induction first.
static void add_picks(struct hw_result *result, const struct hw_induction *induction) {
    size_t n = induction->n_by_induction + induction->n_by_echo;
    int64_t *numbers = calloc(2 * n + 1, sizeof *numbers);
    double *scores = calloc(n + 1, sizeof *scores);
    const char **reasons = calloc(n + 1, sizeof *reasons);
    for (size_t i = 0; i < n && numbers != NULL && scores != NULL && reasons != NULL; i++) {
        bool is_echo = i >= induction->n_by_induction;
        const struct hw_induction_pick *pick =
            is_echo ? &induction->by_echo[i - induction->n_by_induction]
                    : &induction->by_induction[i];
        numbers[i] = induction->layers[pick->layer];
        numbers[n + i] = induction->kv_heads[pick->kv_head];
        scores[i] = pick->score;
        reasons[i] = is_echo ? "echo" : "induction";
    }
    if (numbers != NULL && scores != NULL && reasons != NULL) {
        hw_result_axis(result, "pick", n, NULL, NULL, "key/value head that RazorAttention keeps");
        hw_result_add(result,
                      &(struct hw_result_field){"pick_layer",
                                                HW_RESULT_INTEGER,
                                                {"pick"},
                                                "layer",
                                                "1",
                                                "Layer of the kept key/value head."},
                      numbers);
        hw_result_add(result,
                      &(struct hw_result_field){"pick_kv_head",
                                                HW_RESULT_INTEGER,
                                                {"pick"},
                                                "key/value head",
                                                "1",
                                                "The kept head."},
                      numbers + n);
        hw_result_add(result,
                      &(struct hw_result_field){"pick_score",
                                                HW_RESULT_REAL,
                                                {"pick"},
                                                "score",
                                                "1",
                                                "Largest of its query heads' scores."},
                      scores);
        hw_result_add(
            result,
            &(struct hw_result_field){
                "pick_by", HW_RESULT_TEXT, {"pick"}, "measure", "1", "The measure it was kept by."},
            reasons);
    }
    free(numbers);
    free(scores);
    free(reasons);
}

static void fill_result(struct hw_result *result, const struct hw_induction *induction) {
    const char *names[HW_N_REPEAT_MEASURES];
    const char *texts[HW_N_REPEAT_MEASURES];
    for (int m = 0; m < HW_N_REPEAT_MEASURES; m++) {
        names[m] = hw_repeat_measure((enum hw_repeat_measure)m)->name;
        texts[m] = hw_repeat_measure((enum hw_repeat_measure)m)->text;
    }
    hw_result_set_text(result, "source", induction->source);
    hw_result_set_integer(result, "n_prompts", (int64_t)induction->n_prompts);
    hw_result_set_integer(result, "n_skipped", (int64_t)induction->n_skipped);
    hw_result_set_integer(result, "min_tokens", (int64_t)induction->min_tokens);
    hw_result_set_integer(result, "max_tokens", (int64_t)induction->max_tokens);
    hw_result_set_integer(result, "min_period", (int64_t)induction->min_period);
    hw_result_set_integer(result, "max_period", (int64_t)induction->max_period);
    hw_result_set_integer(result, "exclude_bos", induction->options.exclusions.bos);
    hw_result_set_integer(result, "exclude_current_token",
                          induction->options.exclusions.current_token);
    hw_result_set_real(result, "induction_share", induction->options.induction_share);
    hw_result_set_real(result, "echo_share", induction->options.echo_share);
    hw_result_axis(result, "measure", HW_N_REPEAT_MEASURES, NULL, names, "score of a head");
    hw_result_axis(result, "layer", induction->n_layers, induction->layers, NULL, "layer");
    hw_result_axis(result, "head", induction->n_heads, induction->heads, NULL, "query head");
    hw_result_axis(result, "kv_head", induction->n_kv_heads, induction->kv_heads, NULL,
                   "key/value head");
    hw_result_add(result,
                  &(struct hw_result_field){"measure_description",
                                            HW_RESULT_TEXT,
                                            {"measure"},
                                            "what the score is",
                                            "1",
                                            "One sentence for every measure."},
                  texts);
    hw_result_add_mean(
        result,
        &(struct hw_result_field){"head_score",
                                  HW_RESULT_REAL,
                                  {"measure", "layer", "head"},
                                  "score of the head",
                                  "1",
                                  "Mean over prompts of the measure; NaN where the capture cannot "
                                  "tell it."},
        induction->scores.mean, induction->scores.se, induction->scores.n);
    hw_result_add(result,
                  &(struct hw_result_field){"kv_head_score",
                                            HW_RESULT_REAL,
                                            {"measure", "layer", "kv_head"},
                                            "score of the key/value head",
                                            "1",
                                            "Largest head_score among the query heads that read "
                                            "the key/value head."},
                  induction->kv_scores);
    add_picks(result, induction);
}

static json_t *picks_json(const struct hw_induction *induction,
                          const struct hw_induction_pick *picks, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(list, json_pack("{s:i, s:i, s:o}", "layer",
                                                    induction->layers[picks[i].layer], "kv_head",
                                                    induction->kv_heads[picks[i].kv_head], "score",
                                                    hw_json_real(picks[i].score)));
    }
    return list;
}

static json_t *make_json(const struct hw_result *result, const struct hw_induction *induction,
                         const struct induction_options *opt) {
    json_t *document = hw_result_json(result);
    double *scores = selected_scores(induction, opt);
    (void)json_object_set_new(document, "by", json_string(hw_repeat_measure(opt->by)->name));
    (void)json_object_set_new(document, "heads",
                              scores != NULL
                                  ? hw_heads_json(scores, induction->layers, induction->n_layers,
                                                  induction->heads, induction->n_heads)
                                  : NULL);
    (void)json_object_set_new(
        document, "razor",
        json_pack("{s:o, s:o}", "induction",
                  picks_json(induction, induction->by_induction, induction->n_by_induction), "echo",
                  picks_json(induction, induction->by_echo, induction->n_by_echo)));
    free(scores);
    return document;
}

static enum hw_status look(struct hw_invocation *in, struct hw_analysis_report *report,
                           struct hw_error *err) {
    const struct induction_options *opt = in->options;
    static const enum hw_induction_source sources[] = {HW_INDUCTION_AUTO, HW_INDUCTION_STATISTICS,
                                                       HW_INDUCTION_MAPS};
    struct hw_induction_options how = {.period = opt->period,
                                       .first = opt->first,
                                       .source = sources[opt->from],
                                       .exclusions = {opt->excludes_bos, opt->excludes_current},
                                       .induction_share = opt->induction_share,
                                       .echo_share = opt->echo_share,
                                       .n_threads = (int)in->common.threads};
    struct hw_induction induction = {0};
    enum hw_status status = hw_induction_compute(report->trace, &how, &induction, err);
    if (status != HW_OK) {
        return status;
    }
    fill_result(report->result, &induction);
    if (in->common.json) {
        report->json = make_json(report->result, &induction, opt);
    } else {
        if (report->index > 0) {
            (void)fputc('\n', stdout);
        }
        status = print_text(report->trace, &induction, opt, err);
    }
    hw_induction_free(&induction);
    return status;
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const struct induction_options *opt = in->options;
    if (hw_invocation_has(in, "first") && opt->period == 0) {
        return hw_fail(err, HW_USAGE, "induction: --first without --period");
    }
    return hw_analysis_run(in, &opt->result, look, err);
}

const struct hw_command hw_command_induction = {
    .name = "induction",
    .summary = "score induction heads on a capture of repeated tokens",
    .arguments = "RUN.h5...",
    .min_arguments = 1,
    .max_arguments = HW_ANY_NUMBER,
    .description =
        "Reads captures of `headwater prompts repeat`: random ids that repeat. An induction head "
        "looks at the token after an earlier copy of the current one.\n\n"
        "induction and echo are RazorAttention's scores: attention to the tokens after all earlier "
        "copies, and to the copies; the former is also prefix matching. stripe_* are means of "
        "whole "
        "diagonals, *_mul and *_abs the scores of TransformerLens' head detector. The table shows "
        "some of them, --json and --out all.\n\n"
        "\"kept\" marks heads whose key/value head RazorAttention keeps.",
    .examples = "headwater prompts repeat --model m.gguf --out repeat.jsonl\n"
                "headwater capture --model m.gguf --prompts repeat.jsonl --out run.h5\n"
                "headwater induction run.h5\n"
                "headwater induction --json --select razor run.h5 > keep.json\n",
    .common = HW_COMMON_JSON | HW_COMMON_QUIET | HW_COMMON_THREADS,
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct induction_options),
    .run = run,
};
