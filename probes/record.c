// From --record texts to a layout; see record.h. Everything recorded in one group shares that
// group's axes, so a group records the union of what its records ask for.
#include "probes/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/selector.h"
#include "kernels/size.h"
#include "probes/engine.h"
#include "probes/probe.h"
#include "probes/record_internal.h"

// Per group: which layer.head and which depths are wanted.
struct wish {
    bool *heads;  // [n_layers, n_heads]
    bool *depths; // [n_layers + 1]
    bool is_active;
};

struct builder {
    const struct hw_model_desc *desc;
    const struct hw_record_options *options;
    struct wish wishes[HW_N_GROUPS];
    bool is_wanted[HW_MAX_PROBES];
    bool *heads; // of the record being read
    bool *depths;
    void *memory;
};

static bool has_word(const char *words, const char *word, size_t n) {
    for (const char *at = words; *at != '\0';) {
        size_t length = strcspn(at, " ");
        if (length == n && strncmp(at, word, n) == 0) {
            return true;
        }
        at += length;
        at += strspn(at, " ");
    }
    return false;
}

// Names of all records, for messages.
static const char *record_names(char *text, size_t text_bytes) {
    size_t at = 0;
    at += (size_t)snprintf(text, text_bytes, "default");
    for (size_t p = 0; hw_probes[p] != NULL && at < text_bytes; p++) {
        at += (size_t)snprintf(text + at, text_bytes - at, " %s", hw_probes[p]->record);
    }
    return text;
}

// A record's name or a hook's: "blocks.4.attn.hook_pattern", "blocks.{layer}.attn.hook_pattern" or
// its last part. *ret_layer: the layer it names, -1: none.
static bool is_named(const struct hw_probe *probe, const char *name, size_t n, int64_t *ret_layer) {
    *ret_layer = -1;
    if (n == strlen(probe->record) && strncmp(probe->record, name, n) == 0) {
        return true;
    }
    size_t last = n;
    while (last > 0 && name[last - 1] != '.') {
        last--;
    }
    if (!has_word(probe->hooks, name + last, n - last)) {
        return false;
    }
    const char *prefix = "blocks.";
    if (last > strlen(prefix) && strncmp(name, prefix, strlen(prefix)) == 0) {
        const char *digit = name + strlen(prefix);
        int64_t layer = 0;
        size_t n_digits = 0;
        while (digit[n_digits] >= '0' && digit[n_digits] <= '9' && n_digits < 6) {
            layer = layer * 10 + (digit[n_digits] - '0');
            n_digits++;
        }
        *ret_layer = n_digits > 0 && digit[n_digits] == '.' ? layer : -1;
    }
    return true;
}

// Whether all datasets of a probe lie along depths: its selector counts them.
static bool is_on_depth(const struct hw_probe *probe) {
    for (size_t r = 0; r < probe->n_rows; r++) {
        enum hw_dataset dataset = probe->rows[r].dataset;
        bool is_depth =
            hw_schema_slab_axis(dataset) == 1 && hw_schema_row(dataset)->axes[1] == HW_AXIS_DEPTH;
        if (!is_depth && hw_schema_row(dataset)->group != HW_GROUP_MASSIVE) {
            return false;
        }
    }
    return true;
}

static void want(struct builder *b, size_t p) {
    size_t n_layers = b->desc->n_layers;
    size_t n_heads = b->desc->n_heads;
    b->is_wanted[p] = true;
    for (size_t r = 0; r < hw_probes[p]->n_rows; r++) {
        struct wish *wish = &b->wishes[hw_schema_row(hw_probes[p]->rows[r].dataset)->group];
        wish->is_active = true;
        for (size_t i = 0; i < n_layers * n_heads; i++) {
            wish->heads[i] = wish->heads[i] || b->heads[i];
        }
        for (size_t i = 0; i <= n_layers; i++) {
            wish->depths[i] = wish->depths[i] || b->depths[i];
        }
    }
}

static void select_layer(struct builder *b, int64_t layer) {
    size_t n_heads = b->desc->n_heads;
    for (size_t i = 0; i < b->desc->n_layers * n_heads; i++) {
        b->heads[i] = layer < 0 || i / n_heads == (size_t)layer;
    }
    for (size_t i = 0; i <= b->desc->n_layers; i++) {
        b->depths[i] = layer < 0 || i == (size_t)layer + 1;
    }
}

// is_by_depth: the selector counts depths, else layers and heads.
static enum hw_status select_heads(struct builder *b, bool is_by_depth, const char *selector,
                                   int64_t layer, struct hw_error *err) {
    size_t n_layers = b->desc->n_layers;
    size_t n_heads = b->desc->n_heads;
    if (layer >= (int64_t)n_layers) {
        return hw_fail(err, HW_USAGE, "layer %lld (expected 0 to %zu)", (long long)layer,
                       n_layers - 1);
    }
    select_layer(b, layer);
    if (selector == NULL) {
        return HW_OK;
    }
    enum hw_status status =
        is_by_depth ? hw_selector_layers(selector, "depth", n_layers + 1, b->depths, err)
                    : hw_selector_heads(selector, n_layers, n_heads, b->heads, err);
    const bool *chosen = is_by_depth ? b->depths : b->heads;
    size_t n_chosen = is_by_depth ? n_layers + 1 : n_layers * n_heads;
    if (status == HW_OK && memchr(chosen, true, n_chosen) == NULL) {
        return hw_fail(err, HW_USAGE, "%s selects %s", selector,
                       is_by_depth ? "no depth" : "no head");
    }
    for (size_t i = 0; i <= n_layers && status == HW_OK && !is_by_depth; i++) {
        b->depths[i] = false; // the state that a chosen layer reads, and the one it leaves
        for (size_t h = 0; h < n_heads; h++) {
            b->depths[i] = b->depths[i] || (i < n_layers && b->heads[i * n_heads + h]) ||
                           (i > 0 && b->heads[(i - 1) * n_heads + h]);
        }
    }
    return status;
}

static enum hw_status check_probe(const struct builder *b, const struct hw_probe *probe,
                                  struct hw_error *err) {
    if (probe->needs_generation && b->options->max_generate == 0) {
        return hw_fail(err, HW_USAGE, "record %s needs generated tokens: give --generate N",
                       probe->record);
    }
    if (b->desc->is_parallel && strcmp(probe->record, "residual_mid") == 0) {
        return hw_fail(err, HW_USAGE,
                       "record residual_mid does not exist in a model whose attention and MLP read "
                       "the same input (%s)",
                       b->desc->family);
    }
    return HW_OK;
}

// One name of a record, [name, n).
static enum hw_status read_name(struct builder *b, const char *name, size_t n, const char *selector,
                                struct hw_error *err) {
    bool is_default = n == strlen("default") && strncmp(name, "default", n) == 0;
    bool is_found = false;
    for (size_t p = 0; hw_probes[p] != NULL; p++) {
        int64_t layer = -1;
        if (is_default ? !hw_probes[p]->is_default : !is_named(hw_probes[p], name, n, &layer)) {
            continue;
        }
        is_found = true;
        enum hw_status status = check_probe(b, hw_probes[p], err);
        // One selector for all of the default records is of heads.
        bool is_by_depth = !is_default && is_on_depth(hw_probes[p]);
        status = status == HW_OK ? select_heads(b, is_by_depth, selector, layer, err) : status;
        if (status != HW_OK) {
            return status;
        }
        want(b, p);
    }
    if (!is_found) {
        char known[700];
        char shown[80];
        return hw_fail(err, HW_USAGE,
                       "record \"%s\" does not exist (expected one of: %s, or a hook's name)",
                       hw_escape(shown, sizeof shown, name, n), record_names(known, sizeof known));
    }
    return HW_OK;
}

static enum hw_status read_record(struct builder *b, const char *text, struct hw_error *err) {
    size_t names_end = strcspn(text, ":");
    const char *selector = text[names_end] == ':' ? text + names_end + 1 : NULL;
    for (size_t at = 0; at <= names_end;) {
        size_t n = strcspn(text + at, ",:");
        enum hw_status status = read_name(b, text + at, n, selector, err);
        if (status != HW_OK) {
            return hw_fail_context(err, status, "--record %s: ", text);
        }
        at += n + 1;
    }
    return HW_OK;
}

// Memory: one block that holds the wishes while building and every array of the layout.
static enum hw_status take_memory(struct builder *b, struct hw_error *err) {
    size_t layers = b->desc->n_layers;
    size_t heads = layers * b->desc->n_heads;
    size_t n_wish = (heads + layers + 1) * (HW_N_GROUPS + 1);
    b->memory = calloc(n_wish, sizeof(bool));
    if (b->memory == NULL) {
        return hw_fail(err, HW_RESOURCE, "cannot allocate %zu bytes", n_wish);
    }
    bool *at = b->memory;
    for (size_t g = 0; g <= HW_N_GROUPS; g++) {
        bool **h = g < HW_N_GROUPS ? &b->wishes[g].heads : &b->heads;
        bool **d = g < HW_N_GROUPS ? &b->wishes[g].depths : &b->depths;
        *h = at;
        *d = at + heads;
        at += heads + layers + 1;
    }
    return HW_OK;
}

static enum hw_status fill_axes(struct builder *b, struct hw_recording *recording,
                                struct hw_error *err) {
    bool *heads[HW_N_GROUPS];
    bool *depths[HW_N_GROUPS];
    for (size_t g = 0; g < HW_N_GROUPS; g++) {
        heads[g] = b->wishes[g].is_active ? b->wishes[g].heads : NULL;
        depths[g] = b->wishes[g].depths;
    }
    return hw_recording_fill(recording, b->desc, heads, depths, err);
}

static bool is_column_kept(const struct builder *b, const struct hw_schema_row *row,
                           enum hw_dataset dataset, const struct hw_layout *layout) {
    switch (dataset) {
    case HW_DS_TOKEN_TEXT:
        return layout->has_token_text;
    case HW_DS_PROMPT_TEXT:
        return layout->has_prompt_text;
    default:
        break;
    }
    if (strcmp(row->name, "recorded") == 0) {
        return layout->groups[row->group].recorded != NULL;
    }
    return row->group == HW_GROUP_ROOT || b->wishes[row->group].is_active;
}

static void set_datasets(const struct builder *b, struct hw_layout *layout) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        const struct hw_schema_row *row = hw_schema_row(dataset);
        layout->element[i] = row->element;
        layout->has[i] = row->record[0] == '\0' && is_column_kept(b, row, dataset, layout);
        for (size_t p = 0; hw_probes[p] != NULL; p++) {
            if (b->is_wanted[p] &&
                has_word(row->record, hw_probes[p]->record, strlen(hw_probes[p]->record))) {
                layout->has[i] = !(b->options->is_detail_prompt && row->has_mean);
            }
        }
    }
    if (!b->options->is_means_by_position) {
        for (int i = HW_DS_MEANS_POSITION_COUNT; i <= HW_DS_MEANS_POSITION_RESIDUAL_SUM; i++) {
            layout->has[i] = false;
        }
    }
    // Switches that no family of this build has: a softmax cap, windows, slopes, learned sinks; and
    // no edits.
    layout->has[HW_DS_ATTENTION_VECTORS_SOFT_CAP] = false;
    layout->has[HW_DS_ATTENTION_VECTORS_WINDOW] = false;
    layout->has[HW_DS_ATTENTION_VECTORS_ALIBI_SLOPE] = false;
    layout->has[HW_DS_ATTENTION_VECTORS_SINK_LOGIT] = false;
    layout->has[HW_DS_ATTENTION_VECTORS_EDITS_JSON] = false;
    layout->element[HW_DS_ATTENTION_PATTERN] = b->options->attention_element;
    layout->element[HW_DS_DECODE_PATTERN] = b->options->attention_element;
    layout->element[HW_DS_ATTENTION_SCORES] =
        b->options->attention_element == HW_ELEMENT_F2 ? HW_ELEMENT_F2 : HW_ELEMENT_F4;
    for (int i = 0; i < HW_N_DATASETS; i++) {
        const struct hw_schema_row *row = hw_schema_row((enum hw_dataset)i);
        bool is_activation = row->group == HW_GROUP_ACTIVATIONS || row->group == HW_GROUP_LOGITS ||
                             i == HW_DS_ATTENTION_VECTORS_QUERY || i == HW_DS_ATTENTION_VECTORS_KEY;
        if (is_activation && row->element == HW_ELEMENT_F4) {
            layout->element[i] = b->options->activation_element;
        }
    }
}

static enum hw_status check_options(const struct builder *b, struct hw_error *err) {
    const struct hw_record_options *options = b->options;
    if (options->is_means_by_position && !b->wishes[HW_GROUP_MEANS].is_active) {
        return hw_fail(err, HW_USAGE, "--means-per-position without --record means");
    }
    if (options->n_rank < 1 || options->n_rank > HW_MAX_RANK) {
        return hw_fail(err, HW_USAGE, "--top %zu (expected 1 to %d)", options->n_rank, HW_MAX_RANK);
    }
    return HW_OK;
}

enum hw_status hw_recording_open(const struct hw_model_desc *desc, const struct hw_prompts *prompts,
                                 const struct hw_record_options *options,
                                 struct hw_recording *ret_recording, struct hw_error *err) {
    struct builder b = {.desc = desc, .options = options};
    struct hw_recording recording = {0};
    enum hw_status status = take_memory(&b, err);
    static const char *const only_default[] = {"default"};
    const char *const *records = options->n_records > 0 ? options->records : only_default;
    for (size_t i = 0; i < (options->n_records > 0 ? options->n_records : 1) && status == HW_OK;
         i++) {
        status = read_record(&b, records[i], err);
    }
    status = status == HW_OK ? check_options(&b, err) : status;
    if (status != HW_OK) {
        goto done;
    }
    struct hw_layout *layout = &recording.layout;
    layout->is_detail_prompt = options->is_detail_prompt;
    layout->n_offsets = options->n_offsets;
    layout->n_rank = options->n_rank;
    layout->n_key_rank = options->n_rank;
    layout->has_token_text = options->keeps_token_text;
    layout->has_prompt_text = options->keeps_prompt_text;
    // Columns of every prompt stand in the root group whatever is recorded; its axes are empty
    // where nothing of it is.
    status = fill_axes(&b, &recording, err);
    status = status == HW_OK
                 ? hw_recording_set_prompts(&recording, prompts, options->max_generate, err)
                 : status;
    if (status == HW_OK && b.wishes[HW_GROUP_MEANS].is_active) {
        status = hw_recording_set_groups(&recording, prompts, options->means_by, err);
    }
    if (status == HW_OK) {
        set_datasets(&b, layout);
        *ret_recording = recording;
    } else {
        hw_recording_close(&recording);
    }
done:
    free(b.memory);
    return status;
}
