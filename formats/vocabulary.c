// Text, kind and bytes of every token.
#include "formats/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"

static enum hw_status reserve(struct hw_vocabulary_copy *copy, size_t n_ids, size_t n_bytes,
                              struct hw_error *err) {
    copy->text = calloc(n_ids + 1, sizeof *copy->text);
    copy->type = calloc(n_ids + 1, 1);
    copy->bytes = calloc(n_bytes + 1, 1);
    copy->byte_start = calloc(n_ids + 2, sizeof *copy->byte_start);
    if (copy->text == NULL || copy->type == NULL || copy->bytes == NULL ||
        copy->byte_start == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a vocabulary of %zu tokens", n_ids);
    }
    copy->view =
        (struct hw_vocabulary){n_ids, copy->text, copy->type, copy->bytes, copy->byte_start};
    return HW_OK;
}

enum hw_status hw_vocabulary_from_tokenizer(const struct hw_tokenizer *tokenizer,
                                            struct hw_vocabulary_copy *ret_copy,
                                            struct hw_error *err) {
    struct hw_vocabulary_copy copy = {0};
    size_t n_ids = hw_tokenizer_n_vocab(tokenizer), n_bytes = 0, n = 0;
    for (size_t id = 0; id < n_ids; id++) {
        (void)hw_tokenizer_bytes(tokenizer, (uint32_t)id, &n);
        n_bytes += n;
    }
    enum hw_status status = reserve(&copy, n_ids, n_bytes, err);
    for (size_t id = 0, at = 0; id < n_ids && status == HW_OK; id++) {
        const char *bytes = hw_tokenizer_bytes(tokenizer, (uint32_t)id, &n);
        copy.text[id] = hw_tokenizer_text(tokenizer, (uint32_t)id);
        copy.type[id] = hw_tokenizer_is_special(tokenizer, (uint32_t)id);
        if (n > 0) {
            memcpy(copy.bytes + at, bytes, n);
        }
        at += n;
        copy.byte_start[id + 1] = (int64_t)at;
    }
    if (status != HW_OK) {
        hw_vocabulary_free(&copy);
        return status;
    }
    *ret_copy = copy;
    return HW_OK;
}

enum hw_status hw_vocabulary_from_trace(struct hw_trace *trace, struct hw_vocabulary_copy *ret_copy,
                                        struct hw_error *err) {
    struct hw_vocabulary_copy copy = {0};
    size_t n_ids = hw_trace_n_rows(trace, HW_DS_VOCABULARY_TEXT);
    size_t n_bytes = hw_trace_n_rows(trace, HW_DS_VOCABULARY_BYTE);
    enum hw_status status =
        hw_trace_read_text(trace, HW_DS_VOCABULARY_TEXT, 0, n_ids, &copy.owned_text, err);
    status = status != HW_OK ? status : reserve(&copy, n_ids, n_bytes, err);
    status = status != HW_OK
                 ? status
                 : hw_trace_read_raw(trace, HW_DS_VOCABULARY_TYPE, 0, 0, n_ids, copy.type, err);
    status = status != HW_OK
                 ? status
                 : hw_trace_read_raw(trace, HW_DS_VOCABULARY_BYTE, 0, 0, n_bytes, copy.bytes, err);
    status = status != HW_OK ? status
                             : hw_trace_read_raw(trace, HW_DS_VOCABULARY_BYTE_START, 0, 0,
                                                 n_ids + 1, copy.byte_start, err);
    for (size_t id = 0; id < n_ids && status == HW_OK; id++) {
        copy.text[id] = copy.owned_text[id];
        if (copy.byte_start[id + 1] < copy.byte_start[id]) {
            status = hw_fail(err, HW_INPUT, "vocabulary/byte_start falls at %zu", id);
        }
    }
    if (status == HW_OK && (copy.byte_start[0] != 0 || (size_t)copy.byte_start[n_ids] != n_bytes)) {
        status = hw_fail(err, HW_INPUT, "vocabulary/byte_start ends at %lld, expected %zu",
                         (long long)copy.byte_start[n_ids], n_bytes);
    }
    if (status != HW_OK) {
        copy.view.n_ids = n_ids;
        hw_vocabulary_free(&copy);
        return status;
    }
    *ret_copy = copy;
    return HW_OK;
}

void hw_vocabulary_free(struct hw_vocabulary_copy *copy) {
    hw_trace_free_text(copy->owned_text, copy->view.n_ids);
    free(copy->text);
    free(copy->type);
    free(copy->bytes);
    free(copy->byte_start);
    *copy = (struct hw_vocabulary_copy){0};
}
