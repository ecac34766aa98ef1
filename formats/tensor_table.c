// Tensors by name; see tensor_table.h.
#include "formats/tensor_table.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"

enum hw_status hw_tensor_table_add(struct hw_tensor_table *table, const struct hw_tensor *tensor,
                                   const char *name, size_t n_name, struct hw_error *err) {
    if (table->n >= HW_MAX_TENSORS) {
        return hw_fail(err, HW_INPUT, "more than %d tensors", HW_MAX_TENSORS);
    }
    if (table->n == table->capacity) {
        size_t capacity = table->capacity == 0 ? 64 : table->capacity * 2;
        struct hw_tensor *items = realloc(table->items, capacity * sizeof *items);
        if (items == NULL) {
            return hw_fail(err, HW_RESOURCE, "out of memory for %zu tensors", capacity);
        }
        table->items = items;
        table->capacity = capacity;
    }
    char *copy = strndup(name, n_name);
    if (copy == NULL) {
        return hw_fail(err, HW_RESOURCE, "out of memory for a tensor name of %zu bytes", n_name);
    }
    table->items[table->n] = *tensor;
    table->items[table->n].name = copy;
    table->n++;
    return HW_OK;
}

static int compare_names(const void *a, const void *b, void *context) {
    const struct hw_tensor *items = context;
    return strcmp(items[*(const size_t *)a].name, items[*(const size_t *)b].name);
}

enum hw_status hw_tensor_table_index(struct hw_tensor_table *table, struct hw_error *err) {
    size_t *by_name = malloc(hw_size_max(table->n, 1) * sizeof *by_name);
    if (by_name == NULL) {
        return hw_fail(err, HW_RESOURCE, "out of memory for %zu tensors", table->n);
    }
    for (size_t i = 0; i < table->n; i++) {
        by_name[i] = i;
    }
    if (table->n > 0) {
        qsort_r(by_name, table->n, sizeof *by_name, compare_names, table->items);
    }
    for (size_t i = 1; i < table->n; i++) {
        const char *name = table->items[by_name[i]].name;
        if (strcmp(table->items[by_name[i - 1]].name, name) == 0) {
            char text[128];
            (void)hw_escape(text, sizeof text, name, strlen(name));
            free(by_name);
            return hw_fail(err, HW_INPUT, "tensor %s occurs twice", text);
        }
    }
    free(table->by_name);
    table->by_name = by_name;
    return HW_OK;
}

const struct hw_tensor *hw_tensor_table_find(const struct hw_tensor_table *table,
                                             const char *name) {
    size_t first = 0;
    size_t end = table->by_name == NULL ? 0 : table->n;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        const struct hw_tensor *tensor = &table->items[table->by_name[middle]];
        int order = strcmp(name, tensor->name);
        if (order == 0) {
            return tensor;
        }
        if (order < 0) {
            end = middle;
        } else {
            first = middle + 1;
        }
    }
    return NULL;
}

void hw_tensor_table_free(struct hw_tensor_table *table) {
    for (size_t i = 0; i < table->n; i++) {
        free((void *)(uintptr_t)table->items[i].name);
    }
    free(table->items);
    free(table->by_name);
    *table = (struct hw_tensor_table){0};
}
