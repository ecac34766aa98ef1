// The vocabulary of a capture: from a tokenizer into /vocabulary, and from one capture into
// another.
#ifndef HW_VOCABULARY_H
#define HW_VOCABULARY_H

#include "formats/tokenizer.h"
#include "formats/trace_file.h"
#include "formats/trace_reader.h"
#include "kernels/status.h"

// A vocabulary with memory of its own; `view` points into it (text into the tokenizer where it came
// from one).
struct hw_vocabulary_copy {
    struct hw_vocabulary view;
    char **owned_text; // [n_ids] or NULL
    const char **text;
    uint8_t *type;
    uint8_t *bytes;
    int64_t *byte_start;
};

enum hw_status hw_vocabulary_from_tokenizer(const struct hw_tokenizer *tokenizer,
                                            struct hw_vocabulary_copy *ret_copy,
                                            struct hw_error *err);
// HW_INPUT where the capture has none or a broken one.
enum hw_status hw_vocabulary_from_trace(struct hw_trace *trace, struct hw_vocabulary_copy *ret_copy,
                                        struct hw_error *err);
void hw_vocabulary_free(struct hw_vocabulary_copy *copy);

#endif
