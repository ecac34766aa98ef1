// Two results of one command: arrays by name.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/compare_internal.h"
#include "formats/result.h"

static bool find_array(const struct hw_result *r, const char *name,
                       struct hw_result_array_view *ret) {
    for (size_t i = 0; i < hw_result_n_arrays(r); i++) {
        *ret = hw_result_array_at(r, i);
        if (strcmp(ret->field.name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool find_axis(const struct hw_result *r, const char *name,
                      struct hw_result_axis_view *ret) {
    for (size_t i = 0; i < hw_result_n_axes(r); i++) {
        *ret = hw_result_axis_at(r, i);
        if (strcmp(ret->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool same_axis(const struct hw_result *ra, const struct hw_result *rb, const char *name) {
    struct hw_result_axis_view a;
    struct hw_result_axis_view b;
    if (!find_axis(ra, name, &a) || !find_axis(rb, name, &b) || a.n != b.n ||
        (a.numbers != NULL) != (b.numbers != NULL) || (a.texts != NULL) != (b.texts != NULL)) {
        return false;
    }
    for (size_t i = 0; i < a.n; i++) {
        if ((a.numbers != NULL && a.numbers[i] != b.numbers[i]) ||
            // The runs of a stack bear the names of their files.
            (a.texts != NULL && strcmp(name, "run") != 0 && strcmp(a.texts[i], b.texts[i]) != 0)) {
            return false;
        }
    }
    return true;
}

static double value_at(const struct hw_result_array_view *a, size_t i) {
    return a->field.type == HW_RESULT_REAL ? ((const double *)a->values)[i]
                                           : (double)((const int64_t *)a->values)[i];
}

static void write_place(const struct hw_result *r, const struct hw_result_array_view *a, size_t i,
                        size_t n_axes, char *text, size_t n_bytes) {
    size_t at = 0;
    text[0] = '\0';
    size_t step = a->n_values;
    for (size_t k = 0; k < n_axes && at < n_bytes; k++) {
        struct hw_result_axis_view axis = {0};
        step /= a->dims[k];
        size_t place = i / step;
        i %= step;
        (void)find_axis(r, a->field.axes[k], &axis);
        const char *comma = k > 0 ? ", " : "";
        int n =
            axis.texts != NULL
                ? snprintf(text + at, n_bytes - at, "%s%s %s", comma, axis.name, axis.texts[place])
                : snprintf(text + at, n_bytes - at, "%s%s %zu", comma, a->field.axes[k],
                           axis.numbers != NULL ? (size_t)axis.numbers[place] : place);
        at += n > 0 ? (size_t)n : 0;
    }
}

static bool ends_in(const char *text, const char *end) {
    size_t n = strlen(text);
    return n >= strlen(end) && strcmp(text + n - strlen(end), end) == 0;
}

// Scores of heads, not their errors or counts.
static bool is_over_heads(const struct hw_result_array_view *a) {
    return !ends_in(a->field.name, "_se") && !ends_in(a->field.name, "_n") && a->n_axes >= 2 &&
           strcmp(a->field.axes[a->n_axes - 2], "layer") == 0 &&
           strcmp(a->field.axes[a->n_axes - 1], "head") == 0;
}

// A line for values first .. first + n of an array.
static enum hw_status add_slice(struct hw_compare *c, const struct hw_result *r,
                                const struct hw_result_array_view *a,
                                const struct hw_result_array_view *b, size_t first, size_t n,
                                size_t top_k, struct hw_error *err) {
    struct hw_compare_line *line = hw_compare_add_line(c);
    double *values = calloc(2 * n + 1, sizeof *values);
    if (line == NULL || values == NULL) {
        free(values);
        return hw_fail(err, HW_RESOURCE, "not enough memory to compare %s", a->field.name);
    }
    char slice[100] = "";
    if (n < a->n_values) {
        write_place(r, a, first, a->n_axes - 2, slice, sizeof slice);
    }
    (void)snprintf(line->name, sizeof line->name, slice[0] != '\0' ? "%s[%s]" : "%s", a->field.name,
                   slice);
    for (size_t i = 0; i < n; i++) {
        values[i] = value_at(a, first + i);
        values[n + i] = value_at(b, first + i);
        if (hw_compare_take(line, values[i], values[n + i])) {
            write_place(r, a, first + i, a->n_axes, line->place, sizeof line->place);
        }
    }
    enum hw_status status = HW_OK;
    if (is_over_heads(a)) {
        status = hw_compare_ranks(line, values, values + n, n, top_k, err);
    }
    free(values);
    return status;
}

static enum hw_status add_skipped(struct hw_compare *c, const char *name, const char *why,
                                  struct hw_error *err) {
    struct hw_compare_line *line = hw_compare_add_line(c);
    if (line == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory to compare %s", name);
    }
    (void)snprintf(line->name, sizeof line->name, "%s", name);
    line->skipped = why;
    return HW_OK;
}

static enum hw_status add_array(struct hw_compare *c, const struct hw_result *ra,
                                const struct hw_result *rb, size_t i, size_t top_k,
                                struct hw_error *err) {
    enum { MOST_SLICES = 256 };
    struct hw_result_array_view a = hw_result_array_at(ra, i);
    struct hw_result_array_view b;
    if (a.field.type == HW_RESULT_TEXT) {
        return HW_OK;
    }
    if (!find_array(rb, a.field.name, &b)) {
        return add_skipped(c, a.field.name, "only in the first", err);
    }
    bool is_alike = a.n_axes == b.n_axes && a.field.type == b.field.type;
    for (size_t k = 0; k < a.n_axes && is_alike; k++) {
        is_alike =
            strcmp(a.field.axes[k], b.field.axes[k]) == 0 && same_axis(ra, rb, a.field.axes[k]);
    }
    if (!is_alike) {
        enum hw_status status = add_skipped(c, a.field.name, "its axes differ", err);
        if (status == HW_OK) {
            c->lines[c->n_lines - 1].is_unlike = true;
        }
        return status;
    }
    size_t n_heads = is_over_heads(&a) ? a.dims[a.n_axes - 2] * a.dims[a.n_axes - 1] : a.n_values;
    size_t n_slices = n_heads > 0 ? a.n_values / n_heads : 0;
    if (n_slices <= 1 || n_slices > MOST_SLICES) {
        return add_slice(c, ra, &a, &b, 0, a.n_values, top_k, err);
    }
    enum hw_status status = HW_OK;
    for (size_t s = 0; s < n_slices && status == HW_OK; s++) {
        status = add_slice(c, ra, &a, &b, s * n_heads, n_heads, top_k, err);
    }
    return status;
}

static bool find_attribute(const struct hw_result *r, const char *name,
                           struct hw_result_attribute_view *ret) {
    for (size_t i = 0; i < hw_result_n_attributes(r); i++) {
        *ret = hw_result_attribute_at(r, i);
        if (strcmp(ret->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void write_attribute(const struct hw_result *r, const char *name, char *text,
                            size_t n_bytes) {
    struct hw_result_attribute_view a;
    if (!find_attribute(r, name, &a)) {
        (void)snprintf(text, n_bytes, "nothing");
    } else if (a.type == HW_RESULT_TEXT) {
        (void)snprintf(text, n_bytes, "%s", a.text);
    } else {
        (void)snprintf(text, n_bytes, "%g", a.type == HW_RESULT_REAL ? a.real : (double)a.integer);
    }
}

// Where a result comes from differs always, or is why the two are compared.
static bool is_source(const char *name) {
    return strncmp(name, "source_", 7) == 0 || strcmp(name, "labels") == 0 ||
           strcmp(name, "model_name") == 0;
}

static void note_attributes(struct hw_compare *c, const struct hw_result *ra,
                            const struct hw_result *rb) {
    for (size_t i = 0; i < hw_result_n_attributes(ra) && c->n_notes < HW_COMPARE_NOTES; i++) {
        const char *name = hw_result_attribute_at(ra, i).name;
        char a[36];
        char b[36];
        write_attribute(ra, name, a, sizeof a);
        write_attribute(rb, name, b, sizeof b);
        if (!is_source(name) && strcmp(a, b) != 0) {
            (void)snprintf(c->notes[c->n_notes++], sizeof *c->notes,
                           "%.50s: %s in the first, %s in the second", name, a, b);
        }
    }
}

enum hw_status hw_compare_results(const char *a, const char *b,
                                  const struct hw_compare_options *options,
                                  struct hw_compare *compare, struct hw_error *err) {
    struct hw_result *ra = NULL;
    struct hw_result *rb = NULL;
    enum hw_status status = hw_result_read(a, &ra, err);
    status = status == HW_OK ? hw_result_read(b, &rb, err) : status;
    if (status == HW_OK && strcmp(hw_result_command(ra), hw_result_command(rb)) != 0) {
        status = hw_fail(err, HW_INPUT, "%s is a result of %s, %s one of %s (expected one command)",
                         a, hw_result_command(ra), b, hw_result_command(rb));
    }
    if (status == HW_OK) {
        note_attributes(compare, ra, rb);
    }
    for (size_t i = 0; status == HW_OK && i < hw_result_n_arrays(ra); i++) {
        status = add_array(compare, ra, rb, i, options->top_k, err);
    }
    for (size_t i = 0; status == HW_OK && i < hw_result_n_arrays(rb); i++) {
        struct hw_result_array_view found;
        struct hw_result_array_view other = hw_result_array_at(rb, i);
        if (!find_array(ra, other.field.name, &found)) {
            status = add_skipped(compare, other.field.name, "only in the second", err);
        }
    }
    hw_result_close(&ra);
    hw_result_close(&rb);
    return status;
}
