// The tensors of a model, collected from one or more files, then found by name.
//
// Add everything, then index once: pointers to items are good from then on.
#ifndef HW_TENSOR_TABLE_H
#define HW_TENSOR_TABLE_H

#include "formats/checkpoint.h"

struct hw_tensor_table {
    struct hw_tensor *items; // in the order of the files; names are the table's own copies
    size_t n;
    size_t capacity;
    size_t *by_name; // [n] positions in items, sorted by name
};

// Appends a copy of *tensor under the n_name bytes of name (no NUL among them; tensor->name is not
// read).
enum hw_status hw_tensor_table_add(struct hw_tensor_table *table, const struct hw_tensor *tensor,
                                   const char *name, size_t n_name, struct hw_error *err);
// Sorts; HW_INPUT names a tensor that occurs twice.
enum hw_status hw_tensor_table_index(struct hw_tensor_table *table, struct hw_error *err);
const struct hw_tensor *hw_tensor_table_find(const struct hw_tensor_table *table, const char *name);
void hw_tensor_table_free(struct hw_tensor_table *table);

#endif
