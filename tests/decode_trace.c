// A part with decode rows only; see decode_trace.h.
#include "decode_trace.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/part.h"
#include "trace_folder.h"

static int32_t *numbers(size_t n) {
    int32_t *values = calloc(n + 1, sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (size_t i = 0; i < n; i++) {
        values[i] = (int32_t)i;
    }
    return values;
}

static void append(struct hw_destination *d, enum hw_dataset dataset, size_t slab, size_t n,
                   const void *rows) {
    struct hw_error err;
    enum hw_status status = hw_destination_append(d, dataset, slab, n, rows, &err);
    ck_assert_msg(status == HW_OK, "%s", err.message);
}

static void play_steps(struct hw_destination *d, int32_t index, const struct decode_prompt *p,
                       size_t n_layers, size_t n_heads) {
    size_t n = p->n_steps;
    int32_t *rows = calloc(n * n_heads + 1, sizeof *rows);
    float *weights = calloc(n * n_heads + 1, sizeof *weights);
    for (size_t i = 0; i < n; i++) {
        rows[i] = index;
    }
    append(d, HW_DS_DECODE_PROMPT, 0, n, rows);
    for (size_t i = 0; i < n; i++) {
        rows[i] = (int32_t)(p->n_ids + i) - 1;
    }
    append(d, HW_DS_DECODE_POSITION, 0, n, rows);
    for (size_t i = 0; i < n; i++) {
        rows[i] = i == 0 ? (int32_t)p->ids[p->n_ids - 1] : p->outputs[i - 1];
    }
    append(d, HW_DS_DECODE_INPUT, 0, n, rows);
    append(d, HW_DS_DECODE_OUTPUT, 0, n, p->outputs);
    for (size_t layer = 0; layer < n_layers; layer++) {
        for (size_t i = 0; i < n * n_heads; i++) {
            rows[i] = p->keys[(i / n_heads * n_layers + layer) * n_heads + i % n_heads];
            weights[i] = rows[i] < 0 ? NAN : .5f;
        }
        append(d, HW_DS_DECODE_TOP_KEY, layer, n, rows);
        append(d, HW_DS_DECODE_TOP_WEIGHT, layer, n, weights);
        append(d, HW_DS_DECODE_ATTENTION_FIRST, layer, n, weights);
    }
    free(rows);
    free(weights);
}

static void play_prompt(struct hw_destination *d, int32_t index, const struct decode_prompt *p,
                        size_t n_layers, size_t n_heads) {
    static const char *const span = "needle";
    struct hw_error err;
    size_t n_tokens = p->n_ids + p->n_steps;
    uint32_t *ids = calloc(n_tokens + 1, sizeof *ids);
    uint8_t *special = calloc(n_tokens + 1, 1);
    ck_assert(ids != NULL && special != NULL);
    for (size_t i = 0; i < n_tokens; i++) {
        ids[i] = i < p->n_ids ? p->ids[i] : (uint32_t)p->outputs[i - p->n_ids];
    }
    ck_assert_int_eq(hw_destination_begin_prompt(d, index, &err), HW_OK);
    if (p->n_ids > 0) {
        play_steps(d, index, p, n_layers, n_heads);
    }
    struct hw_prompt_record record = {.prompt = index,
                                      .n_tokens = (int32_t)n_tokens,
                                      .n_prompt_tokens = (int32_t)p->n_ids,
                                      .name = p->name,
                                      .json = p->json,
                                      .domain = "",
                                      .target = "",
                                      .foil = "",
                                      .status = p->n_ids == 0 ? 2 : 0,
                                      .error = p->n_ids == 0 ? "made to fail" : "",
                                      .token_ids = ids,
                                      .token_is_special = special,
                                      .n_spans = p->span_end > 0,
                                      .span_names = &span,
                                      .span_first = &p->span_first,
                                      .span_end = &p->span_end};
    enum hw_status status = hw_destination_end_prompt(d, &record, &err);
    ck_assert_msg(status == HW_OK, "%s", err.message);
    free(ids);
    free(special);
}

struct hw_trace *decode_trace_open(const struct decode_prompt *prompts, size_t n_prompts,
                                   size_t n_layers, size_t n_heads) {
    struct hw_layout layout;
    struct hw_error err;
    struct hw_part *part = NULL;
    struct hw_part_info info;
    struct hw_trace *trace = NULL;
    int32_t *layers = numbers(n_layers), *heads = numbers(n_heads);
    const char *folder = trace_folder_make();
    hw_layout_init(&layout);
    for (int i = 0; i < HW_N_DATASETS; i++) {
        layout.has[i] = strstr(hw_schema_row((enum hw_dataset)i)->record, "decode_top") != NULL;
    }
    for (int g = 0; g < HW_N_GROUPS; g++) {
        layout.groups[g] = (struct hw_group_axes){layers,  n_layers, layers, n_layers, heads,
                                                  n_heads, heads,    1,      NULL};
    }
    layout.n_heads = n_heads;
    layout.n_kv_heads = 1;
    for (size_t i = 0; i < n_prompts; i++) {
        size_t n = prompts[i].n_ids + prompts[i].n_steps;
        layout.max_tokens = layout.max_tokens > n ? layout.max_tokens : n;
    }
    json_t *attributes = json_pack("{s:s}", "run_id", "a run");
    struct hw_provenance provenance = {attributes, attributes, NULL, NULL, NULL, NULL};
    struct hw_part_options options = {.folder = folder,
                                      .layout = &layout,
                                      .provenance = &provenance,
                                      .n_threads = 1,
                                      .planned_bytes = 1000};
    ck_assert_msg(hw_part_open(&options, &part, &err) == HW_OK, "%s", err.message);
    for (size_t i = 0; i < n_prompts; i++) {
        play_prompt(hw_part_base(part), (int32_t)i, &prompts[i], n_layers, n_heads);
    }
    ck_assert_msg(hw_part_commit(&part, &info, &err) == HW_OK, "%s", err.message);
    char *path = hw_part_path(folder, info.first, info.last);
    ck_assert_msg(hw_trace_open(path, &trace, &err) == HW_OK, "%s", err.message);
    free(path);
    free(layers);
    free(heads);
    json_decref(attributes);
    return trace;
}

void decode_trace_close(struct hw_trace **trace) {
    hw_trace_close(trace);
    trace_folder_remove();
}

struct hw_vocabulary decode_vocabulary(const uint32_t *ids, const char *const *texts,
                                       const uint8_t *is_special, size_t n) {
    size_t n_ids = 0, n_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        n_ids = ids[i] >= n_ids ? ids[i] + 1 : n_ids;
        n_bytes += strlen(texts[i]);
    }
    int64_t *start = calloc(n_ids + 1, sizeof *start);
    uint8_t *type = calloc(n_ids + 1, 1), *bytes = calloc(n_bytes + 1, 1);
    ck_assert(start != NULL && type != NULL && bytes != NULL);
    size_t at = 0;
    for (size_t id = 0; id < n_ids; id++) {
        start[id] = (int64_t)at;
        for (size_t i = 0; i < n; i++) {
            if (ids[i] == id) {
                memcpy(bytes + at, texts[i], strlen(texts[i]));
                at += strlen(texts[i]);
                type[id] = is_special != NULL ? is_special[i] : 0;
                break; // the same id twice has one text
            }
        }
    }
    start[n_ids] = (int64_t)at;
    return (struct hw_vocabulary){
        .n_ids = n_ids, .type = type, .bytes = bytes, .byte_start = start};
}

void decode_vocabulary_free(struct hw_vocabulary *vocabulary) {
    free((void *)vocabulary->type);
    free((void *)vocabulary->bytes);
    free((void *)vocabulary->byte_start);
    *vocabulary = (struct hw_vocabulary){0};
}
