// Building a result; see result.h.
#include "formats/result.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/result_internal.h"
#include "kernels/size.h"

static void fail(struct hw_result *r, enum hw_status status, const char *what, const char *name) {
    if (r->status == HW_OK) {
        r->status = hw_fail(&r->failure, status, "result of %s: %s: %s", r->command, name, what);
    }
}

void *hw_result_take(struct hw_result *r, size_t n, size_t element_bytes) {
    size_t bytes;
    if (r->status != HW_OK) {
        return NULL;
    }
    if (r->n_owned == r->owned_capacity) {
        size_t capacity = 2 * r->owned_capacity + 64;
        void **grown = realloc(r->owned, capacity * sizeof *grown);
        if (grown != NULL) {
            r->owned = grown;
            r->owned_capacity = capacity;
        }
    }
    void *block = NULL;
    if (r->n_owned < r->owned_capacity && hw_size_mul(n, element_bytes, &bytes)) {
        block = calloc(hw_size_max(bytes, 1), 1);
    }
    if (block == NULL) {
        fail(r, HW_RESOURCE, "not enough memory", "array");
        return NULL;
    }
    r->owned[r->n_owned++] = block;
    return block;
}

const char *hw_result_copy_text(struct hw_result *r, const char *text) {
    size_t n = text != NULL ? strlen(text) : 0;
    char *copy = hw_result_take(r, n + 1, 1);
    if (copy != NULL && n > 0) {
        memcpy(copy, text, n);
    }
    return copy;
}

size_t hw_result_value_bytes(enum hw_result_type type) {
    return type == HW_RESULT_REAL      ? sizeof(double)
           : type == HW_RESULT_INTEGER ? sizeof(int64_t)
                                       : sizeof(char *);
}

size_t hw_result_find_axis(const struct hw_result *r, const char *name) {
    for (size_t i = 0; i < r->n_axes; i++) {
        if (strcmp(r->axes[i].name, name) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

enum hw_status hw_result_open(const char *command, struct hw_result **ret_result,
                              struct hw_error *err) {
    struct hw_result *r = calloc(1, sizeof *r);
    if (r != NULL) {
        r->command = command;
        r->command = hw_result_copy_text(r, command);
        r->label = "";
    }
    if (r == NULL || r->status != HW_OK) {
        hw_result_close(&r);
        return hw_fail(err, HW_RESOURCE, "not enough memory for a result");
    }
    *ret_result = r;
    return HW_OK;
}

void hw_result_close(struct hw_result **result) {
    struct hw_result *r = *result;
    if (r == NULL) {
        return;
    }
    for (size_t i = 0; i < r->n_owned; i++) {
        free(r->owned[i]);
    }
    free(r->owned);
    free(r->axes);
    free(r->arrays);
    free(r->attributes);
    free(r);
    *result = NULL;
}

// The list with room for one more element, zeroed; NULL, and the result has failed, without memory.
static void *grow(struct hw_result *r, void *list, size_t n, size_t element_bytes) {
    if (r->status != HW_OK) {
        return NULL;
    }
    char *grown = realloc(list, (n + 1) * element_bytes);
    if (grown == NULL) {
        fail(r, HW_RESOURCE, "not enough memory", "list");
        return NULL;
    }
    memset(grown + n * element_bytes, 0, element_bytes);
    return grown;
}

static const char *const *copy_texts(struct hw_result *r, const char *const *texts, size_t n) {
    const char **copies = hw_result_take(r, n, sizeof *copies);
    for (size_t i = 0; copies != NULL && i < n; i++) {
        copies[i] = hw_result_copy_text(r, texts[i]);
    }
    return copies;
}

static const void *copy_values(struct hw_result *r, enum hw_result_type type, size_t n,
                               const void *values) {
    if (type == HW_RESULT_TEXT) {
        return copy_texts(r, values, n);
    }
    void *copy = hw_result_take(r, n, hw_result_value_bytes(type));
    if (copy != NULL && n > 0) {
        memcpy(copy, values, n * hw_result_value_bytes(type));
    }
    return copy;
}

void hw_result_axis(struct hw_result *r, const char *name, size_t n, const int32_t *numbers,
                    const char *const *texts, const char *long_name) {
    if (hw_result_find_axis(r, name) != SIZE_MAX) {
        fail(r, HW_INTERNAL, "an axis that is there already", name);
    }
    struct result_axis axis = {.n = n};
    axis.name = hw_result_copy_text(r, name);
    axis.long_name = hw_result_copy_text(r, long_name);
    axis.texts = texts != NULL ? copy_texts(r, texts, n) : NULL;
    if (numbers != NULL) {
        int32_t *copy = hw_result_take(r, n, sizeof *copy);
        if (copy != NULL && n > 0) {
            memcpy(copy, numbers, n * sizeof *copy);
        }
        axis.numbers = copy;
    }
    struct result_axis *grown = grow(r, r->axes, r->n_axes, sizeof axis);
    if (grown != NULL) {
        r->axes = grown;
        r->axes[r->n_axes++] = axis;
    }
}

// The field with texts of our own, its axes resolved; false, and the result has failed, where an
// axis is missing or the name is taken.
static bool resolve(struct hw_result *r, const struct hw_result_field *field,
                    struct result_array *ret) {
    struct result_array array = {.field = *field, .n_values = 1};
    for (size_t i = 0; i < r->n_arrays; i++) {
        if (strcmp(r->arrays[i].field.name, field->name) == 0) {
            fail(r, HW_INTERNAL, "an array that is there already", field->name);
        }
    }
    for (size_t i = 0; i < HW_RESULT_MAX_AXES && field->axes[i] != NULL; i++) {
        size_t at = hw_result_find_axis(r, field->axes[i]);
        if (at == SIZE_MAX) {
            fail(r, HW_INTERNAL, "an axis that was not added", field->axes[i]);
            return false;
        }
        if (!hw_size_mul(array.n_values, r->axes[at].n, &array.n_values)) {
            fail(r, HW_RESOURCE, "more values than can be addressed", field->name);
            return false;
        }
        array.field.axes[i] = r->axes[at].name;
        array.axes[array.n_axes++] = at;
    }
    array.field.name = hw_result_copy_text(r, field->name);
    array.field.long_name = hw_result_copy_text(r, field->long_name);
    array.field.units = hw_result_copy_text(r, field->units);
    array.field.description = hw_result_copy_text(r, field->description);
    *ret = array;
    return r->status == HW_OK;
}

void hw_result_add(struct hw_result *r, const struct hw_result_field *field, const void *values) {
    struct result_array array;
    if (r->status != HW_OK || !resolve(r, field, &array)) {
        return;
    }
    array.values = copy_values(r, field->type, array.n_values, values);
    struct result_array *grown = grow(r, r->arrays, r->n_arrays, sizeof array);
    if (grown != NULL) {
        r->arrays = grown;
        r->arrays[r->n_arrays++] = array;
    }
}

void hw_result_add_mean(struct hw_result *r, const struct hw_result_field *field,
                        const double *mean, const double *se, const int64_t *n) {
    char name[128];
    char long_name[256];
    struct hw_result_field beside = *field;
    hw_result_add(r, field, mean);
    beside.name = name;
    beside.long_name = long_name;
    (void)snprintf(name, sizeof name, "%s_se", field->name);
    (void)snprintf(long_name, sizeof long_name, "standard error of %s", field->long_name);
    beside.description = "Standard deviation of the values (n - 1) over the square root of n.";
    hw_result_add(r, &beside, se);
    (void)snprintf(name, sizeof name, "%s_n", field->name);
    (void)snprintf(long_name, sizeof long_name, "values behind %s", field->long_name);
    beside.description = "How many values the mean is of.";
    beside.units = "1";
    beside.type = HW_RESULT_INTEGER;
    hw_result_add(r, &beside, n);
}

static void add_attribute(struct hw_result *r, const char *name,
                          const struct result_attribute *attribute) {
    const char *copy = hw_result_copy_text(r, name);
    struct result_attribute *grown = grow(r, r->attributes, r->n_attributes, sizeof *grown);
    if (grown != NULL) {
        r->attributes = grown;
        grown[r->n_attributes] = *attribute;
        grown[r->n_attributes++].name = copy;
    }
}

void hw_result_set_text(struct hw_result *r, const char *name, const char *value) {
    struct result_attribute attribute = {.type = HW_RESULT_TEXT,
                                         .text = hw_result_copy_text(r, value)};
    add_attribute(r, name, &attribute);
}

void hw_result_set_real(struct hw_result *r, const char *name, double value) {
    struct result_attribute attribute = {.type = HW_RESULT_REAL, .real = value};
    add_attribute(r, name, &attribute);
}

void hw_result_set_integer(struct hw_result *r, const char *name, int64_t value) {
    struct result_attribute attribute = {.type = HW_RESULT_INTEGER, .integer = value};
    add_attribute(r, name, &attribute);
}

enum hw_status hw_result_set_source(struct hw_result *r, struct hw_trace *trace,
                                    struct hw_error *err) {
    char *run_id = NULL;
    char *model = NULL;
    char *labels = NULL;
    enum hw_status status = hw_trace_attribute(trace, HW_GROUP_ROOT, "run_id", &run_id, err);
    status = status == HW_OK ? hw_trace_labels(trace, &labels, err) : status;
    if (status == HW_OK) {
        hw_result_set_text(r, "source_run_id", run_id);
        hw_result_set_text(r, "source_files", hw_trace_path(trace));
        if (hw_trace_attribute(trace, HW_GROUP_PROVENANCE, "model_name", &model, NULL) == HW_OK) {
            hw_result_set_text(r, "model_name", model);
        }
        hw_result_set_text(r, "labels", labels);
        r->label = hw_result_copy_text(r, labels[0] != '\0' ? labels : hw_trace_path(trace));
    }
    free(run_id);
    free(model);
    free(labels);
    return status == HW_OK ? hw_result_status(r, err) : status;
}

enum hw_status hw_result_status(const struct hw_result *r, struct hw_error *err) {
    if (r->status != HW_OK && err != NULL) {
        *err = r->failure;
    }
    return r->status;
}

const char *hw_result_command(const struct hw_result *r) {
    return r->command;
}

size_t hw_result_n_axes(const struct hw_result *r) {
    return r->n_axes;
}

struct hw_result_axis_view hw_result_axis_at(const struct hw_result *r, size_t i) {
    const struct result_axis *a = &r->axes[i];
    return (struct hw_result_axis_view){a->name, a->n, a->numbers, a->texts, a->long_name};
}

size_t hw_result_n_arrays(const struct hw_result *r) {
    return r->n_arrays;
}

struct hw_result_array_view hw_result_array_at(const struct hw_result *r, size_t i) {
    const struct result_array *a = &r->arrays[i];
    struct hw_result_array_view view = {
        .field = a->field, .n_axes = a->n_axes, .n_values = a->n_values, .values = a->values};
    for (size_t k = 0; k < a->n_axes; k++) {
        view.dims[k] = r->axes[a->axes[k]].n;
    }
    return view;
}

size_t hw_result_n_attributes(const struct hw_result *r) {
    return r->n_attributes;
}

struct hw_result_attribute_view hw_result_attribute_at(const struct hw_result *r, size_t i) {
    const struct result_attribute *a = &r->attributes[i];
    return (struct hw_result_attribute_view){a->name, a->type, a->text, a->real, a->integer};
}
