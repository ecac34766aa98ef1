// headwater bench: ratios of paired timings on this machine.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench_cases.h"
#include "tools/command.h"
#include "tools/places.h"
#include "tools/report.h"
#include "tools/table.h"
#include "tracer/model.h"

enum { MAX_ROWS = 32, MAX_LENGTHS = 8 };

struct bench_options {
    const char *cases;
    const char *tokens;
    uint64_t rounds;
    int level;
    uint64_t d_model;
    uint64_t d_mlp;
    uint64_t heads;
    uint64_t kv_heads;
    uint64_t d_head;
    uint64_t vocabulary;
};

#define SIZE_OPTION(field, name, fallback, most, help)                                             \
    HW_OPTION_COUNT(struct bench_options, field, name, "N", fallback, 1, most, help)

static const struct hw_option options[] = {
    HW_OPTION_STRING(struct bench_options, cases, "cases", "LIST",
                     "linear,attention,unembed,codec,maps,rollout",
                     "What to time, separated by commas."),
    HW_OPTION_STRING(struct bench_options, tokens, "tokens", "LIST", "1024,2048",
                     "Lengths of the prompt for attention, maps and rollout."),
    HW_OPTION_COUNT(struct bench_options, rounds, "rounds", "N", "11", 3, HW_BENCH_MAX_ROUNDS,
                    "Rounds A B B A of each pair."),
    HW_OPTION_CHOICE(struct bench_options, level, "level", "ref|plain|avx2|avx512|best", "best",
                     "Which implementations to time; at most what the processor has."),
    HW_OPTION_GROUP("Shape of the model"),
    SIZE_OPTION(d_model, "d-model", "576", 65536, "Width of the residual stream."),
    SIZE_OPTION(d_mlp, "d-mlp", "1536", 262144, "Width inside the MLP."),
    SIZE_OPTION(heads, "heads", "9", 1024, "Query heads."),
    SIZE_OPTION(kv_heads, "kv-heads", "3", 1024, "Key/value heads, a divisor of the query heads."),
    SIZE_OPTION(d_head, "d-head", "64", 1024, "Width of a head."),
    SIZE_OPTION(vocabulary, "vocabulary", "49152", 1000000, "Tokens of the vocabulary."),
};

struct rows {
    struct hw_bench_row items[MAX_ROWS];
    size_t n;
};

static struct hw_bench_row *next_row(struct rows *rows) {
    return &rows->items[rows->n < MAX_ROWS - 1 ? rows->n++ : rows->n];
}

static enum hw_status parse_lengths(const char *text, size_t *lengths, size_t *ret_n,
                                    struct hw_error *err) {
    if (hw_parse_counts(text, 2, 131072, MAX_LENGTHS, lengths, ret_n)) {
        return HW_OK;
    }
    char shown[100];
    return hw_fail(err, HW_USAGE,
                   "bench: option --tokens: wrong value (expected at most %d numbers from 2 to "
                   "131072, found '%s')",
                   (int)MAX_LENGTHS, hw_escape(shown, sizeof shown, text, strlen(text)));
}

static enum hw_status time_linear(const struct hw_bench_setup *setup, struct rows *rows,
                                  struct hw_error *err) {
    const struct hw_bench_shape *s = &setup->shape;
    const size_t shapes[][2] = {
        {s->d_model, s->n_heads * s->d_head}, {s->d_model, s->d_mlp}, {s->d_mlp, s->d_model}};
    static const enum hw_dtype dtypes[] = {HW_F32, HW_Q4_1};
    enum hw_status status = HW_OK;
    for (size_t d = 0; d < HW_LENGTH(dtypes); d++) {
        for (size_t i = 0; i < HW_LENGTH(shapes) && status == HW_OK; i++) {
            if (shapes[i][0] % hw_dtype_block_values(dtypes[d]) == 0) {
                status = hw_bench_linear(setup, 1024, shapes[i][0], shapes[i][1], dtypes[d],
                                         next_row(rows), err);
            }
        }
    }
    return status;
}

static enum hw_status time_attention(const struct hw_invocation *in,
                                     const struct hw_bench_setup *setup, const size_t *lengths,
                                     size_t n_lengths, struct rows *rows, struct hw_error *err) {
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < n_lengths && status == HW_OK; i++) {
        status = hw_bench_attention_statistics(setup, lengths[i], next_row(rows), err);
    }
    if (!hw_bench_has_library()) {
        hw_note(in, "bench: built without oneDNN: attention is not compared with its products");
        return status;
    }
    for (size_t i = 0; i < n_lengths && status == HW_OK; i++) {
        status = hw_bench_attention_library(setup, lengths[i], next_row(rows), err);
    }
    return status;
}

typedef enum hw_status (*length_case_fn)(const struct hw_bench_setup *setup, size_t n_tokens,
                                         struct hw_bench_row *row, struct hw_error *err);

static enum hw_status time_lengths(length_case_fn run_case, const struct hw_bench_setup *setup,
                                   const size_t *lengths, size_t n_lengths, struct rows *rows,
                                   struct hw_error *err) {
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < n_lengths && status == HW_OK; i++) {
        status = run_case(setup, lengths[i], next_row(rows), err);
    }
    return status;
}

static const char *const known_cases[] = {"linear", "attention", "unembed",
                                          "codec",  "maps",      "rollout"};

static size_t find_case(const char *name, size_t n) {
    size_t k = 0;
    while (k < HW_LENGTH(known_cases) &&
           (strlen(known_cases[k]) != n || memcmp(known_cases[k], name, n) != 0)) {
        k++;
    }
    return k;
}

// Before anything is timed.
static enum hw_status check_cases(const char *cases, struct hw_error *err) {
    for (const char *at = cases; *at != '\0';) {
        size_t n = strcspn(at, ",");
        if (find_case(at, n) == HW_LENGTH(known_cases)) {
            char shown[60];
            return hw_fail(err, HW_USAGE,
                           "bench: option --cases: unknown case (expected some of linear, "
                           "attention, unembed, codec, maps, rollout, found '%s')",
                           hw_escape(shown, sizeof shown, at, n));
        }
        at += n + (at[n] == ',');
    }
    return HW_OK;
}

static enum hw_status time_cases(const struct hw_invocation *in, const struct hw_bench_setup *setup,
                                 struct rows *rows, struct hw_error *err) {
    const struct bench_options *opt = in->options;
    size_t lengths[MAX_LENGTHS];
    size_t n_lengths = 0;
    enum hw_status status = check_cases(opt->cases, err);
    if (status == HW_OK) {
        status = parse_lengths(opt->tokens, lengths, &n_lengths, err);
    }
    for (const char *at = opt->cases; *at != '\0' && status == HW_OK;) {
        size_t n = strcspn(at, ",");
        switch (find_case(at, n)) {
        case 0:
            status = time_linear(setup, rows, err);
            break;
        case 1:
            status = time_attention(in, setup, lengths, n_lengths, rows, err);
            break;
        case 2:
            status = hw_bench_unembed(setup, 256, next_row(rows), err);
            break;
        case 3:
            status = hw_bench_codec(setup, next_row(rows), err);
            break;
        case 4:
            status = time_lengths(hw_bench_maps, setup, lengths, n_lengths, rows, err);
            break;
        default:
            status = time_lengths(hw_bench_rollout, setup, lengths, n_lengths, rows, err);
            break;
        }
        at += n + (at[n] == ',');
    }
    return status;
}

static json_t *row_json(const struct hw_bench_row *row) {
    const struct hw_bench_result *r = &row->result;
    return json_pack("{s:s, s:s, s:s, s:s, s:f, s:[f, f], s:f, s:f, s:f, s:I, s:I}", "name",
                     row->name, "detail", row->detail, "a", row->a, "b", row->b, "ratio", r->ratio,
                     "quartiles", r->low, r->high, "a_ms", r->a_ms, "b_ms", r->b_ms, "cpu_share",
                     r->cpu_share, "rounds", (json_int_t)r->n_rounds, "disturbed_rounds",
                     (json_int_t)r->n_disturbed);
}

static enum hw_status print_json(const struct hw_bench_setup *setup, const struct rows *rows,
                                 struct hw_error *err) {
    json_t *document =
        json_pack("{s:s, s:s, s:i, s:{}, s:[]}", "cpu_flags", hw_cpu_flags(), "level",
                  hw_level_name(setup->ops.level), "threads", setup->n_threads, "kernels", "pairs");
    for (int op = 0; op < HW_N_OPS; op++) {
        (void)json_object_set_new(json_object_get(document, "kernels"), hw_op_name((enum hw_op)op),
                                  json_string(setup->ops.implementation[op]));
    }
    for (size_t i = 0; i < rows->n; i++) {
        (void)json_array_append_new(json_object_get(document, "pairs"), row_json(&rows->items[i]));
    }
    return hw_json_print(document, err);
}

static enum hw_status print_text(const struct hw_bench_setup *setup, const struct rows *rows,
                                 struct hw_error *err) {
    (void)printf(
        "processor: %s (%s), %d threads\nkernels: %s, %s, %s\n\n", hw_level_name(setup->ops.level),
        hw_cpu_flags(), setup->n_threads, setup->ops.implementation[HW_OP_linear],
        setup->ops.implementation[HW_OP_attention], setup->ops.implementation[HW_OP_unembed]);
    struct hw_table *table = hw_table_open("<pair|<~sizes|ratio|quartiles|A ms|B ms|CPU");
    bool is_any_disturbed = false;
    for (size_t i = 0; i < rows->n; i++) {
        const struct hw_bench_row *row = &rows->items[i];
        const struct hw_bench_result *r = &row->result;
        hw_table_cell(table, "%s", row->name);
        hw_table_cell(table, "%s", row->detail);
        hw_table_cell(table, "%.3f%s", r->ratio, r->is_disturbed ? "*" : "");
        hw_table_cell(table, "%.3f-%.3f", r->low, r->high);
        hw_table_cell(table, "%.1f", r->a_ms);
        hw_table_cell(table, "%.1f", r->b_ms);
        hw_table_cell(table, "%.2f", r->cpu_share);
        is_any_disturbed |= r->is_disturbed;
    }
    enum hw_status status = hw_table_print(table, stdout, 0, err);
    hw_table_close(&table);
    (void)fputs("\nratio: time of A / time of B, median of rounds A B B A\n", stdout);
    const char *last = "";
    for (size_t i = 0; i < rows->n; i++) {
        if (strcmp(last, rows->items[i].name) != 0) {
            last = rows->items[i].name;
            (void)printf("%s: A = %s, B = %s\n", last, rows->items[i].a, rows->items[i].b);
        }
    }
    if (is_any_disturbed) {
        (void)fputs("*: other programs had the processor; the ratio is not to be quoted\n", stdout);
    }
    return status;
}

// The shape of a model in place of the options.
static enum hw_status take_shape(const char *name, struct hw_bench_shape *shape,
                                 struct hw_error *err) {
    struct hw_model *model = NULL;
    char *path = NULL;
    enum hw_status status = hw_place_of_model(name, &path, err);
    status = status == HW_OK ? hw_model_open(path, &model, err) : status;
    free(path);
    if (status == HW_OK) {
        const struct hw_model_desc *d = &model->desc;
        *shape = (struct hw_bench_shape){d->d_model,    d->d_mlp,  d->n_heads,
                                         d->n_kv_heads, d->d_head, d->n_vocab};
    }
    hw_model_close(&model);
    return status;
}

static enum hw_status run(struct hw_invocation *in, struct hw_error *err) {
    const struct bench_options *opt = in->options;
    static struct rows rows;
    struct hw_bench_setup setup = {
        .shape = {opt->d_model, opt->d_mlp, opt->heads, opt->kv_heads, opt->d_head,
                  opt->vocabulary},
        .n_threads = (int)in->common.threads,
        .n_rounds = opt->rounds,
    };
    if (opt->heads % opt->kv_heads != 0) {
        return hw_fail(
            err, HW_USAGE,
            "bench: option --kv-heads: wrong value (expected a divisor of %llu, found %llu)",
            (unsigned long long)opt->heads, (unsigned long long)opt->kv_heads);
    }
    enum hw_level best = hw_cpu_level();
    enum hw_level level = (enum hw_level)opt->level;
    hw_ops_init(&setup.ops, level < best ? level : best);
    if (level < HW_N_LEVELS && level > best) {
        hw_note(in, "bench: this processor has no %s; timing %s", hw_level_name(level),
                hw_level_name(best));
    }
    enum hw_status status =
        in->n_arguments > 0 ? take_shape(in->arguments[0], &setup.shape, err) : HW_OK;
    if (status == HW_OK) {
        status = time_cases(in, &setup, &rows, err);
    }
    if (status != HW_OK) {
        return status;
    }
    return in->common.json ? print_json(&setup, &rows, err) : print_text(&setup, &rows, err);
}

const struct hw_command hw_command_bench = {
    .name = "bench",
    .summary = "time the kernels against each other on this machine",
    .arguments = "[MODEL]",
    .max_arguments = 1,
    .description =
        "Times pairs of pieces of work in the order A B B A and prints the ratio of their times: "
        "the median of the rounds and its quartiles. Absolute times depend on what else the "
        "machine is doing, ratios hardly; rounds in which the threads did not get their "
        "processors for 90 % of the time are left out.\n\n"
        "linear: the arithmetic ceiling over the linear layers, so the share of the ceiling that "
        "they reach. attention: with all default statistics over the same without, and over "
        "oneDNN's two products alone where headwater was built with it. unembed: with loss and "
        "ranks over the product alone. codec: maps compressed by headwater over HDF5's own "
        "filters. maps: attention over the rebuilding of its maps from queries and keys. rollout: "
        "the "
        "linear op over the product of two triangles with as many multiplications. "
        "The shape is that of MODEL, of the options, or of SmolLM2-135M.",
    .examples = "headwater bench\nheadwater bench --cases attention --tokens 2048 --threads 2\n",
    .common = HW_COMMON_JSON | HW_COMMON_THREADS | HW_COMMON_QUIET,
    .options = options,
    .n_options = HW_LENGTH(options),
    .options_bytes = sizeof(struct bench_options),
    .run = run,
};
