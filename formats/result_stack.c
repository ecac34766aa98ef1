// Results of several captures as one; see result.h.
//
// An axis with a coordinate must be the same in all, except prompts and positions, which are
// padded; a dimension only is the rows of a table: the tables are joined.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/result_internal.h"
#include "kernels/size.h"

struct stacking {
    struct hw_result *const *results;
    size_t n;
    struct hw_result *to;
};

static bool is_table(const struct result_axis *axis) {
    return axis->numbers == NULL && axis->texts == NULL;
}

// Axes whose lengths depend on the prompts. Of these only the numbers of prompts may differ.
static bool is_padded(const struct result_axis *axis) {
    static const char *const names[] = {"prompt", "position", "query", "key"};
    bool is_found = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        is_found = is_found || strcmp(axis->name, names[i]) == 0;
    }
    return is_found && axis->numbers != NULL;
}

static bool is_prefix(const struct result_axis *a, const struct result_axis *b) {
    size_t n = hw_size_min(a->n, b->n);
    return strcmp(a->name, "prompt") == 0 || n == 0 ||
           (b->numbers != NULL && memcmp(a->numbers, b->numbers, n * sizeof *a->numbers) == 0);
}

static bool same_axis(const struct result_axis *a, const struct result_axis *b) {
    if (a->n != b->n || (a->numbers != NULL) != (b->numbers != NULL) ||
        (a->texts != NULL) != (b->texts != NULL)) {
        return false;
    }
    for (size_t i = 0; i < a->n; i++) {
        if ((a->numbers != NULL && a->numbers[i] != b->numbers[i]) ||
            (a->texts != NULL && strcmp(a->texts[i], b->texts[i]) != 0)) {
            return false;
        }
    }
    return true;
}

// The axis of that name in every result; HW_INPUT where one lacks it or they differ.
static enum hw_status add_axis(const struct stacking *s, const struct result_axis *first,
                               struct hw_error *err) {
    size_t total = 0;
    size_t longest = 0;
    size_t longest_at = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct hw_result *r = s->results[i];
        size_t at = hw_result_find_axis(r, first->name);
        if (at == SIZE_MAX ||
            (!is_table(first) && !is_padded(first) && !same_axis(&r->axes[at], first)) ||
            (is_padded(first) && !is_prefix(first, &r->axes[at]))) {
            return hw_fail(err, HW_INPUT,
                           "the captures cannot stand in one result: axis %s of %s (%zu values) "
                           "differs from that of %s (%zu values)",
                           first->name, r->label, at == SIZE_MAX ? 0 : r->axes[at].n,
                           s->results[0]->label, first->n);
        }
        total += r->axes[at].n;
        if (r->axes[at].n > longest) {
            longest = r->axes[at].n;
            longest_at = i;
        }
    }
    const struct result_axis *from = first;
    if (is_padded(first)) {
        const struct hw_result *r = s->results[longest_at];
        from = &r->axes[hw_result_find_axis(r, first->name)];
    }
    hw_result_axis(s->to, first->name, is_table(first) ? total : from->n, from->numbers,
                   from->texts, from->long_name);
    return HW_OK;
}

static const struct result_array *find_array(const struct hw_result *r, const char *name) {
    for (size_t i = 0; i < r->n_arrays; i++) {
        if (strcmp(r->arrays[i].field.name, name) == 0) {
            return &r->arrays[i];
        }
    }
    return NULL;
}

static void fill(enum hw_result_type type, void *values, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (type == HW_RESULT_REAL) {
            ((double *)values)[i] = NAN;
        } else if (type == HW_RESULT_INTEGER) {
            ((int64_t *)values)[i] = -1;
        } else {
            ((const char **)values)[i] = "";
        }
    }
}

// Copies an array into a larger one: along every axis the first dims[k] of to_dims[k] places.
static void place(const struct hw_result *r, const struct result_array *a, const size_t *to_dims,
                  size_t element, char *to) {
    size_t last = a->n_axes > 0 ? r->axes[a->axes[a->n_axes - 1]].n : 1;
    size_t n_runs = last > 0 ? a->n_values / last : 0;
    for (size_t run = 0; run < n_runs; run++) {
        size_t rest = run;
        size_t at = 0;
        size_t step = a->n_axes > 0 ? to_dims[a->n_axes - 1] : 1;
        for (size_t k = a->n_axes; k-- > 1;) {
            size_t n = r->axes[a->axes[k - 1]].n;
            at += rest % n * step;
            rest /= n;
            step *= to_dims[k - 1];
        }
        memcpy(to + at * element, (const char *)a->values + run * last * element, last * element);
    }
}

// Arrays over a table: one below the other. The first such array of a table brings <axis>_run.
static void join(const struct stacking *s, const struct result_array *first) {
    struct hw_result *to = s->to;
    const char *axis = first->field.axes[0];
    size_t element = hw_result_value_bytes(first->field.type);
    size_t inner = 1;
    for (size_t k = 1; k < first->n_axes; k++) {
        inner *= to->axes[hw_result_find_axis(to, first->field.axes[k])].n;
    }
    size_t n = to->axes[hw_result_find_axis(to, axis)].n;
    char *values = hw_result_take(to, n * inner, element);
    int64_t *runs = hw_result_take(to, n, sizeof *runs);
    size_t at = 0;
    for (size_t i = 0; i < s->n && values != NULL && runs != NULL; i++) {
        const struct result_array *a = find_array(s->results[i], first->field.name);
        size_t rows = s->results[i]->axes[a->axes[0]].n;
        memcpy(values + at * inner * element, a->values, rows * inner * element);
        for (size_t row = 0; row < rows; row++) {
            runs[at + row] = (int64_t)i;
        }
        at += rows;
    }
    if (to->status != HW_OK) {
        return;
    }
    char name[128];
    (void)snprintf(name, sizeof name, "%s_run", axis);
    if (find_array(to, name) == NULL) {
        struct hw_result_field field = {.name = name,
                                        .type = HW_RESULT_INTEGER,
                                        .axes = {axis},
                                        .long_name = "run of the row",
                                        .units = "1",
                                        .description = "Place on the run axis, from 0."};
        hw_result_add(to, &field, runs);
    }
    hw_result_add(to, &first->field, values);
}

static void spread(const struct stacking *s, const struct result_array *first) {
    struct hw_result *to = s->to;
    struct hw_result_field field = first->field;
    size_t dims[HW_RESULT_MAX_AXES];
    size_t n_one = 1;
    size_t element = hw_result_value_bytes(field.type);
    for (size_t k = 0; k < first->n_axes; k++) {
        dims[k] = to->axes[hw_result_find_axis(to, first->field.axes[k])].n;
        n_one *= dims[k];
    }
    char *values = hw_result_take(to, s->n * n_one, element);
    if (values == NULL) {
        return;
    }
    fill(field.type, values, s->n * n_one);
    for (size_t i = 0; i < s->n; i++) {
        place(s->results[i], find_array(s->results[i], field.name), dims, element,
              values + i * n_one * element);
    }
    memmove(field.axes + 1, field.axes, (HW_RESULT_MAX_AXES - 1) * sizeof *field.axes);
    field.axes[0] = "run";
    hw_result_add(to, &field, values);
}

static enum hw_status add_array(const struct stacking *s, const struct result_array *first,
                                struct hw_error *err) {
    for (size_t i = 1; i < s->n; i++) {
        const struct result_array *a = find_array(s->results[i], first->field.name);
        if (a == NULL || a->field.type != first->field.type || a->n_axes != first->n_axes) {
            return hw_fail(err, HW_INPUT,
                           "the captures cannot stand in one result: %s has %s and %s has not",
                           s->results[0]->label, first->field.name, s->results[i]->label);
        }
    }
    bool is_row = first->n_axes > 0 && is_table(&s->results[0]->axes[first->axes[0]]);
    if (!is_row && first->n_axes == HW_RESULT_MAX_AXES) {
        return hw_fail(err, HW_INTERNAL, "%s has no room for a run axis", first->field.name);
    }
    (is_row ? join : spread)(s, first);
    return HW_OK;
}

static const struct result_attribute *find_attribute(const struct hw_result *r, const char *name) {
    for (size_t i = 0; i < r->n_attributes; i++) {
        if (strcmp(r->attributes[i].name, name) == 0) {
            return &r->attributes[i];
        }
    }
    return NULL;
}

static const char *text_of(const struct hw_result *r, const char *name) {
    const struct result_attribute *a = find_attribute(r, name);
    return a != NULL && a->type == HW_RESULT_TEXT ? a->text : "";
}

// Texts that differ stand one below the other, a line a run.
static void add_text(const struct stacking *s, const struct result_attribute *a) {
    size_t n_bytes = 1;
    bool is_same = true;
    for (size_t r = 0; r < s->n; r++) {
        const char *text = text_of(s->results[r], a->name);
        n_bytes += strlen(text) + 1;
        is_same = is_same && strcmp(text, a->text) == 0;
    }
    char *joined = hw_result_take(s->to, n_bytes, 1);
    for (size_t r = 0; r < s->n && joined != NULL; r++) {
        size_t at = strlen(joined);
        (void)snprintf(joined + at, n_bytes - at, "%s%s", r > 0 ? "\n" : "",
                       text_of(s->results[r], a->name));
    }
    hw_result_set_text(s->to, a->name, is_same ? a->text : joined);
}

static double number_of(const struct hw_result *r, const char *name) {
    const struct result_attribute *a = find_attribute(r, name);
    return a == NULL || a->type == HW_RESULT_TEXT ? NAN
           : a->type == HW_RESULT_REAL            ? a->real
                                                  : (double)a->integer;
}

// Numbers that are the same in all stay attributes: the options, which one command line gave. What
// differs (counts, lengths) is an array over the runs.
static void add_number(const struct stacking *s, const struct result_attribute *a) {
    bool is_same = true;
    double *values = hw_result_take(s->to, s->n, sizeof *values);
    for (size_t r = 0; r < s->n && values != NULL; r++) {
        values[r] = number_of(s->results[r], a->name);
        is_same = is_same && (values[r] == values[0] || (isnan(values[r]) && isnan(values[0])));
    }
    if (is_same && a->type == HW_RESULT_REAL) {
        hw_result_set_real(s->to, a->name, a->real);
    } else if (is_same) {
        hw_result_set_integer(s->to, a->name, a->integer);
    } else if (values != NULL) {
        struct hw_result_field field = {.name = a->name,
                                        .type = HW_RESULT_REAL,
                                        .axes = {"run"},
                                        .long_name = a->name,
                                        .units = "1",
                                        .description = "An attribute of each run."};
        hw_result_add(s->to, &field, values);
    }
}

static void add_attributes(const struct stacking *s) {
    const struct hw_result *first = s->results[0];
    for (size_t i = 0; i < first->n_attributes; i++) {
        const struct result_attribute *a = &first->attributes[i];
        (a->type == HW_RESULT_TEXT ? add_text : add_number)(s, a);
    }
}

enum hw_status hw_result_stack(struct hw_result *const *results, size_t n,
                               struct hw_result **ret_result, struct hw_error *err) {
    struct stacking s = {results, n, NULL};
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < n && status == HW_OK; i++) {
        status = hw_result_status(results[i], err);
    }
    status = status == HW_OK ? hw_result_open(results[0]->command, &s.to, err) : status;
    if (status != HW_OK) {
        return status;
    }
    const char **labels = hw_result_take(s.to, n, sizeof *labels);
    for (size_t i = 0; i < n && labels != NULL; i++) {
        labels[i] = results[i]->label;
        if (results[i]->n_arrays != results[0]->n_arrays) {
            status = hw_fail(err, HW_INPUT,
                             "the captures cannot stand in one result: %s has %zu arrays and %s "
                             "has %zu",
                             results[0]->label, results[0]->n_arrays, results[i]->label,
                             results[i]->n_arrays);
        }
    }
    if (status == HW_OK && labels != NULL) {
        hw_result_axis(s.to, "run", n, NULL, labels, "label of the capture, or its file");
    }
    for (size_t i = 0; i < results[0]->n_axes && status == HW_OK; i++) {
        status = add_axis(&s, &results[0]->axes[i], err);
    }
    for (size_t i = 0; i < results[0]->n_arrays && status == HW_OK; i++) {
        status = add_array(&s, &results[0]->arrays[i], err);
    }
    if (status == HW_OK) {
        add_attributes(&s);
        status = hw_result_status(s.to, err);
    }
    if (status != HW_OK) {
        hw_result_close(&s.to);
        return status;
    }
    *ret_result = s.to;
    return HW_OK;
}
