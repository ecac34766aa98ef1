// The columns that the writer makes from a prompt's record.
#include <stdlib.h>
#include <string.h>

#include "formats/prompt_rows.h"
#include "formats/sha256.h"
#include "kernels/size.h"

// Room for the values that are made here: one column at a time, of the tokens, spans or events of
// one prompt.
struct scratch {
    int32_t *i4;
    int64_t *i8;
    uint8_t *u1;
    size_t n;
};

static enum hw_status open_scratch(struct scratch *scratch, size_t n, struct hw_error *err) {
    size_t bytes;
    if (!hw_size_mul(n + 1, sizeof(int64_t), &bytes)) {
        return hw_fail(err, HW_RESOURCE, "prompt of %zu rows is too long", n);
    }
    *scratch = (struct scratch){malloc(bytes), malloc(bytes), malloc(bytes), n};
    if (scratch->i4 == NULL || scratch->i8 == NULL || scratch->u1 == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the columns of a prompt");
    }
    return HW_OK;
}

static void close_scratch(struct scratch *scratch) {
    free(scratch->i4);
    free(scratch->i8);
    free(scratch->u1);
}

static const void *repeat_prompt(struct scratch *s, const struct hw_prompt_record *record,
                                 size_t n) {
    for (size_t i = 0; i < n; i++) {
        s->i4[i] = record->prompt;
    }
    return s->i4;
}

static const void *number_positions(struct scratch *s, const struct hw_prompt_record *record,
                                    size_t n, bool is_narrowed) {
    for (size_t i = 0; i < n; i++) {
        s->i4[i] = is_narrowed ? record->recorded_positions[i] : (int32_t)i;
    }
    return s->i4;
}

static void hash_ids(const struct hw_prompt_record *record, char ret_hex[65]) {
    struct hw_sha256 hash;
    hw_sha256_init(&hash);
    for (int32_t i = 0; i < record->n_prompt_tokens && i < record->n_tokens; i++) {
        uint32_t id = record->token_ids[i];
        uint8_t bytes[4] = {(uint8_t)id, (uint8_t)(id >> 8), (uint8_t)(id >> 16),
                            (uint8_t)(id >> 24)};
        hw_sha256_update(&hash, bytes, sizeof bytes);
    }
    hw_sha256_hex(&hash, ret_hex);
}

static const char *or_empty(const char *text) {
    return text != NULL ? text : "";
}

// Columns of one value a prompt; false where the dataset is none.
static bool prompt_value(enum hw_dataset dataset, const struct hw_prompt_record *record,
                         int64_t token_start, const char *sha256, struct scratch *s,
                         const char **text, const void **ret_rows) {
    *ret_rows = s->i4;
    switch (dataset) {
    case HW_DS_N_TOKENS:
    case HW_DS_ATTENTION_N_TOKENS:
        s->i4[0] = record->n_tokens;
        return true;
    case HW_DS_N_PROMPT_TOKENS:
        s->i4[0] = record->status == 2 ? 0 : record->n_prompt_tokens;
        return true;
    case HW_DS_TOKEN_START:
        s->i8[0] = token_start;
        *ret_rows = s->i8;
        return true;
    case HW_DS_PROMPT_STATUS:
        *ret_rows = &record->status;
        return true;
    case HW_DS_PROMPT_NAME:
        *text = or_empty(record->name);
        break;
    case HW_DS_PROMPT_TEXT:
        *text = or_empty(record->text);
        break;
    case HW_DS_PROMPT_JSON:
        *text = or_empty(record->json);
        break;
    case HW_DS_PROMPT_DOMAIN:
        *text = or_empty(record->domain);
        break;
    case HW_DS_PROMPT_TARGET:
        *text = or_empty(record->target);
        break;
    case HW_DS_PROMPT_FOIL:
        *text = or_empty(record->foil);
        break;
    case HW_DS_PROMPT_SHA256:
        *text = sha256;
        break;
    case HW_DS_PROMPT_ERROR:
        *text = or_empty(record->error);
        break;
    default:
        return false;
    }
    *ret_rows = text;
    return true;
}

// Columns of the user's spans; false where the dataset is none.
static bool span_values(enum hw_dataset dataset, const struct hw_prompt_record *record,
                        struct scratch *s, size_t *ret_n, const void **ret_rows) {
    switch (dataset) {
    case HW_DS_SPAN_PROMPT:
        *ret_rows = repeat_prompt(s, record, record->n_spans);
        break;
    case HW_DS_SPAN_NAME:
        *ret_rows = record->span_names;
        break;
    case HW_DS_SPAN_FIRST:
        *ret_rows = record->span_first;
        break;
    case HW_DS_SPAN_END:
        *ret_rows = record->span_end;
        break;
    default:
        return false;
    }
    *ret_n = record->n_spans;
    return true;
}

// Columns of tokens and events; false where the dataset is none.
static bool table_values(enum hw_dataset dataset, const struct hw_prompt_record *record,
                         int64_t token_start, const int32_t *massive_positions, struct scratch *s,
                         size_t *ret_n, const void **ret_rows) {
    size_t n = (size_t)record->n_tokens;
    switch (dataset) {
    case HW_DS_TOKEN_PROMPT:
        *ret_rows = repeat_prompt(s, record, n);
        break;
    case HW_DS_TOKEN_POSITION:
        *ret_rows = number_positions(s, record, n, false);
        break;
    case HW_DS_TOKEN_ID:
        *ret_rows = record->token_ids;
        break;
    case HW_DS_TOKEN_TEXT:
        *ret_rows = record->token_text;
        break;
    case HW_DS_TOKEN_IS_SPECIAL:
        *ret_rows = record->token_is_special;
        break;
    case HW_DS_TOKEN_IS_GENERATED:
        for (size_t i = 0; i < n; i++) {
            s->u1[i] = i >= (size_t)record->n_prompt_tokens;
        }
        *ret_rows = s->u1;
        break;
    case HW_DS_ACTIVATIONS_TOKEN_PROMPT:
    case HW_DS_LOGITS_TOKEN_PROMPT:
        n = record->recorded_positions != NULL ? record->n_recorded_positions : n;
        *ret_rows = repeat_prompt(s, record, n);
        break;
    case HW_DS_ACTIVATIONS_TOKEN_POSITION:
    case HW_DS_LOGITS_TOKEN_POSITION:
        n = record->recorded_positions != NULL ? record->n_recorded_positions : n;
        *ret_rows = number_positions(s, record, n, record->recorded_positions != NULL);
        break;
    case HW_DS_MASSIVE_TOKEN:
        n = s->n < *ret_n ? s->n : *ret_n;
        for (size_t i = 0; i < n; i++) {
            s->i8[i] = token_start + massive_positions[i];
        }
        *ret_rows = s->i8;
        break;
    default:
        return span_values(dataset, record, s, ret_n, ret_rows);
    }
    *ret_n = n;
    return true;
}

// A failed prompt has a row of fill values wherever the others have one.
static enum hw_status emit_failed(const struct hw_layout *layout, struct hw_column_sink *sink,
                                  struct hw_error *err) {
    enum hw_status status = HW_OK;
    for (int i = 0; i < HW_N_DATASETS && status == HW_OK; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        const struct hw_schema_row *row = hw_schema_row(dataset);
        if (row->record[0] == '\0' || row->n_axes == 0 || row->axes[0] != HW_AXIS_PROMPT ||
            hw_dataset_is_map(dataset) || !hw_layout_has(layout, dataset)) {
            continue;
        }
        size_t row_bytes = hw_layout_row_bytes(layout, dataset);
        void *fill = malloc(row_bytes + 1);
        if (fill == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for a row");
        }
        enum hw_element element = hw_layout_element(layout, dataset);
        hw_element_fill(element, row_bytes / hw_element_bytes(element), fill);
        size_t n_slabs =
            hw_schema_slab_axis(dataset) < 0 ? 1 : hw_layout_axis(layout, row->group, row->axes[1]);
        for (size_t slab = 0; slab < n_slabs && status == HW_OK; slab++) {
            status = sink->emit(sink, dataset, slab, 1, fill, err);
        }
        free(fill);
    }
    return status;
}

enum hw_status hw_prompt_record_emit(const struct hw_prompt_record *record,
                                     const struct hw_layout *layout, int64_t token_start,
                                     const int32_t *massive_positions, size_t n_events,
                                     struct hw_column_sink *sink, struct hw_error *err) {
    struct scratch scratch = {0};
    char sha256[65];
    size_t most = hw_size_max((size_t)record->n_tokens, record->n_spans);
    most = hw_size_max(hw_size_max(most, n_events), record->n_recorded_positions);
    enum hw_status status = open_scratch(&scratch, most, err);
    if (status != HW_OK) {
        goto cleanup;
    }
    hash_ids(record, sha256);
    if (record->status == 2) {
        status = emit_failed(layout, sink, err);
    }
    for (int i = 0; i < HW_N_DATASETS && status == HW_OK; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        const void *rows = NULL;
        const char *text = "";
        size_t n = n_events;
        if (hw_schema_row(dataset)->record[0] != '\0' || !hw_layout_has(layout, dataset)) {
            continue;
        }
        if (prompt_value(dataset, record, token_start, sha256, &scratch, &text, &rows)) {
            status = sink->emit(sink, dataset, 0, 1, rows, err);
        } else if (table_values(dataset, record, token_start, massive_positions, &scratch, &n,
                                &rows)) {
            status = sink->emit(sink, dataset, 0, n, rows, err);
        }
    }
cleanup:
    close_scratch(&scratch);
    return status;
}
