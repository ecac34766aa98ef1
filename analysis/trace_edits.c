// Edits of a capture; see trace_edits.h. Their specs are canonical, so the grammar that wrote them
// reads them; of the model it needs counts, which the capture has.
#include "analysis/trace_edits.h"

#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "formats/words.h"
#include "kernels/arena.h"
#include "kernels/size.h"
#include "tracer/edit.h"

enum { MAX_LAYERS = 1 << 16, MAX_EDITS = 1 << 16 };

struct hw_trace_edits {
    struct hw_model_desc desc;
    struct hw_edit **edits; // [n]
    size_t n;
    const struct hw_edit **attention; // [n_attention] of them: those that change attention
    size_t n_attention;
    bool *patterns;
    bool *mixed;
    bool *residuals;
    struct hw_verify_edits verify;
    struct hw_arena arena;
    struct hw_changes changes; // of the prompt
    struct hw_prompt_span *spans;
    struct hw_attention_change *of_head;
};

static enum hw_status no_memory(struct hw_error *err) {
    return hw_fail(err, HW_RESOURCE, "not enough memory for the edits of a capture");
}

// The text of edits_json, from malloc; NULL where there are none.
static enum hw_status read_json(struct hw_trace *trace, char **ret_text, struct hw_error *err) {
    const char *vectors = hw_trace_layout(trace)->fixed[HW_DS_ATTENTION_VECTORS_EDITS_JSON];
    *ret_text = NULL;
    if (hw_trace_has(trace, HW_DS_PROVENANCE_EDITS_JSON)) {
        char **texts = NULL;
        enum hw_status status =
            hw_trace_read_text(trace, HW_DS_PROVENANCE_EDITS_JSON, 0, 1, &texts, err);
        if (status == HW_OK) {
            *ret_text = strdup(texts[0]);
            hw_trace_free_text(texts, 1);
        }
        if (status != HW_OK || *ret_text == NULL) {
            return status != HW_OK ? status : no_memory(err);
        }
    } else if (vectors != NULL && (*ret_text = strdup(vectors)) == NULL) {
        return no_memory(err);
    }
    if (*ret_text != NULL && (strcmp(*ret_text, "[]") == 0 || strcmp(*ret_text, "null") == 0 ||
                              (*ret_text)[0] == '\0')) {
        free(*ret_text);
        *ret_text = NULL;
    }
    return HW_OK;
}

// What the grammar asks of a model. That edits fit it was checked when they were made, so the rest
// is what refuses nothing.
static enum hw_status describe(struct hw_trace *trace, struct hw_model_desc *ret,
                               struct hw_error *err) {
    const struct hw_layout *layout = hw_trace_layout(trace);
    char *text = NULL;
    uint64_t n_layers = 0;
    bool is_known =
        hw_trace_attribute(trace, HW_GROUP_PROVENANCE, "model_n_layers", &text, NULL) == HW_OK &&
        hw_parse_count(text, &n_layers) && n_layers > 0 && n_layers <= MAX_LAYERS;
    free(text);
    if (!is_known) {
        return hw_fail(err, HW_INPUT,
                       "%s: its edits cannot be read: it does not say how many layers the "
                       "model has",
                       hw_trace_path(trace));
    }
    *ret = (struct hw_model_desc){.n_layers = n_layers,
                                  .d_model = layout->d_model,
                                  .n_heads = layout->n_heads,
                                  .n_kv_heads = layout->n_kv_heads,
                                  .d_head = layout->d_head,
                                  .d_mlp = layout->d_mlp,
                                  .n_vocab = layout->n_vocab,
                                  .position = HW_POSITION_ROPE,
                                  .n_rot = 2};
    size_t n;
    return ret->n_heads > 0 && ret->n_kv_heads > 0 && hw_size_mul(n_layers, ret->n_heads, &n) &&
                   n < SIZE_MAX / 64
               ? HW_OK
               : hw_fail(err, HW_INPUT,
                         "%s: its edits cannot be read: it does not say how many heads the "
                         "model has",
                         hw_trace_path(trace));
}

static enum hw_status parse(struct hw_trace_edits *e, const char *path, const char *text,
                            struct hw_error *err) {
    json_t *list = NULL;
    enum hw_status status = hw_json_parse("edits_json", text, strlen(text), &list, err);
    if (status == HW_OK && (!json_is_array(list) || json_array_size(list) > MAX_EDITS)) {
        status = hw_fail(err, HW_INPUT, "edits_json is no list of edits");
    }
    size_t n = status == HW_OK ? json_array_size(list) : 0;
    e->edits = calloc(n + 1, sizeof *e->edits);
    e->attention = calloc(n + 1, sizeof(struct hw_edit *));
    if (status == HW_OK && (e->edits == NULL || e->attention == NULL)) {
        status = no_memory(err);
    }
    for (size_t i = 0; i < n && status == HW_OK; i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_string(item)) {
            status = hw_fail(err, HW_INPUT, "edits_json has an item that is no text");
            break;
        }
        status = hw_edit_parse(json_string_value(item), &e->desc, false, &e->edits[e->n], err);
        if (status == HW_OK) {
            const struct hw_edit *edit = e->edits[e->n++];
            if (edit->point == HW_POINT_PATTERN || edit->point == HW_POINT_SCORES) {
                e->attention[e->n_attention++] = edit;
            }
        }
    }
    json_decref(list);
    return status == HW_OK ? HW_OK
                           : hw_fail_context(err, status == HW_RESOURCE ? status : HW_INPUT,
                                             "%s: its edits cannot be read: ", path);
}

// Which identities each edit breaks. Sites are recorded as they were written, so z written is no
// longer pattern @ value, and a written residual stream no longer the sum; written values,
// attention outputs and MLP outputs are what the identities are about.
static void mark(struct hw_trace_edits *e) {
    size_t n_heads = e->desc.n_heads;
    for (size_t i = 0; i < e->n; i++) {
        const struct hw_edit *edit = e->edits[i];
        bool is_attention = edit->point == HW_POINT_PATTERN || edit->point == HW_POINT_SCORES;
        bool *marks = is_attention ? e->patterns : edit->point == HW_POINT_Z ? e->mixed : NULL;
        for (size_t at = 0; at < e->desc.n_layers * n_heads && marks != NULL; at++) {
            bool is_in = edit->layers[at / n_heads] && (edit->heads == NULL || edit->heads[at]);
            marks[at] = marks[at] || is_in;
        }
        bool is_residual = edit->point == HW_POINT_SITE &&
                           (edit->site == HW_SITE_RESID_PRE || edit->site == HW_SITE_RESID_MID ||
                            edit->site == HW_SITE_RESID_POST);
        for (size_t layer = 0; layer < e->desc.n_layers && is_residual; layer++) {
            e->residuals[layer] = e->residuals[layer] || edit->layers[layer];
        }
    }
    e->verify = (struct hw_verify_edits){.n_layers = e->desc.n_layers,
                                         .n_heads = n_heads,
                                         .patterns = e->patterns,
                                         .mixed = e->mixed,
                                         .residuals = e->residuals};
}

enum hw_status hw_trace_edits_open(struct hw_trace *trace, struct hw_trace_edits **ret_edits,
                                   struct hw_error *err) {
    char *text = NULL;
    struct hw_trace_edits *e = NULL;
    enum hw_status status = read_json(trace, &text, err);
    if (status != HW_OK || text == NULL) {
        *ret_edits = status == HW_OK ? NULL : *ret_edits;
        return status;
    }
    e = calloc(1, sizeof *e);
    status = e == NULL ? no_memory(err) : describe(trace, &e->desc, err);
    if (status == HW_OK) {
        size_t n = e->desc.n_layers * e->desc.n_heads;
        e->patterns = calloc(n, sizeof *e->patterns);
        e->mixed = calloc(n, sizeof *e->mixed);
        e->residuals = calloc(e->desc.n_layers, sizeof *e->residuals);
        e->spans = calloc(hw_trace_n_spans(trace) + 1, sizeof *e->spans);
        if (e->patterns == NULL || e->mixed == NULL || e->residuals == NULL || e->spans == NULL) {
            status = no_memory(err);
        }
    }
    status = status == HW_OK ? parse(e, hw_trace_path(trace), text, err) : status;
    free(text);
    if (status != HW_OK) {
        hw_trace_edits_close(&e);
        return status;
    }
    mark(e);
    *ret_edits = e;
    return HW_OK;
}

void hw_trace_edits_close(struct hw_trace_edits **edits) {
    struct hw_trace_edits *e = edits != NULL ? *edits : NULL;
    if (e == NULL) {
        return;
    }
    for (size_t i = 0; i < e->n; i++) {
        hw_edit_close(&e->edits[i]);
    }
    hw_arena_close(&e->arena);
    free(e->edits);
    free(e->attention);
    free(e->patterns);
    free(e->mixed);
    free(e->residuals);
    free(e->spans);
    free(e->of_head);
    free(e);
    *edits = NULL;
}

size_t hw_trace_edits_n(const struct hw_trace_edits *edits) {
    return edits != NULL ? edits->n : 0;
}

const char *hw_trace_edits_spec(const struct hw_trace_edits *edits, size_t i) {
    return edits->edits[i]->spec;
}

const struct hw_verify_edits *hw_trace_edits_verify(const struct hw_trace_edits *edits) {
    return edits != NULL ? &edits->verify : NULL;
}

const char *hw_trace_edits_unbuildable(const struct hw_trace_edits *edits) {
    for (size_t i = 0; edits != NULL && i < edits->n_attention; i++) {
        if (edits->attention[i]->is_cache_form) {
            return edits->attention[i]->spec;
        }
    }
    return NULL;
}

enum hw_status hw_trace_edits_prompt(struct hw_trace_edits *e, struct hw_trace *trace,
                                     size_t prompt, struct hw_error *err) {
    const struct hw_trace_prompt *there = hw_trace_prompt(trace, prompt);
    struct hw_prompt here = {.n_ids = there->n_prompt_tokens, .spans = e->spans};
    static char nothing[] = "";
    here.name = here.text = here.json = here.domain = here.target = here.foil = nothing;
    here.counterpart = here.error = nothing;
    for (size_t i = 0; i < hw_trace_n_spans(trace); i++) {
        const struct hw_trace_span *span = hw_trace_span(trace, i);
        if (span->prompt == there->prompt) {
            e->spans[here.n_spans].first = span->first;
            e->spans[here.n_spans].end = span->end;
            e->spans[here.n_spans++].name = (char *)(uintptr_t)span->name; // not written to
        }
    }
    struct hw_edit_context context = {
        .desc = &e->desc, .prompt = &here, .n_positions = there->n_tokens};
    struct hw_arena arena;
    hw_arena_measure(&arena);
    enum hw_status status =
        hw_edits_compile(e->attention, e->n_attention, &context, &arena, &e->changes, err);
    if (status == HW_OK) {
        size_t bytes = hw_size_max(arena.used_bytes, 1);
        hw_arena_close(&e->arena);
        status = hw_arena_open(&e->arena, bytes, err);
    }
    status = status == HW_OK ? hw_edits_compile(e->attention, e->n_attention, &context, &e->arena,
                                                &e->changes, err)
                             : status;
    size_t most = 0;
    for (size_t layer = 0; layer < e->desc.n_layers && status == HW_OK; layer++) {
        most = hw_size_max(most, e->changes.layers[layer].n_attention);
    }
    free(e->of_head);
    e->of_head = calloc(most + 1, sizeof *e->of_head);
    if (status == HW_OK && e->of_head == NULL) {
        status = no_memory(err);
    }
    return status == HW_OK
               ? HW_OK
               : hw_fail_context(err, status == HW_RESOURCE ? status : HW_INPUT,
                                 "%s: prompt %d: ", hw_trace_path(trace), (int)there->prompt);
}

const struct hw_attention_change *hw_trace_edits_changes(struct hw_trace_edits *e, size_t layer,
                                                         size_t head, size_t *ret_n) {
    static const uint8_t the_one[] = {1};
    *ret_n = 0;
    if (e == NULL || e->n_attention == 0 || layer >= e->desc.n_layers || head >= e->desc.n_heads) {
        return NULL;
    }
    const struct hw_layer_changes *changes = &e->changes.layers[layer];
    for (size_t i = 0; i < changes->n_attention; i++) {
        const struct hw_attention_change *change = &changes->attention[i];
        if (change->heads == NULL || change->heads[head] != 0) {
            e->of_head[*ret_n] = *change;
            e->of_head[(*ret_n)++].heads = the_one;
        }
    }
    return e->of_head;
}
