// The frame of an analysis command; see analysis_command.h.
#include "tools/analysis_command.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/report.h"

struct frame {
    struct hw_invocation *in;
    const struct hw_analysis_options *options;
    hw_analysis_fn look;
    struct hw_result **results; // [n]
    json_t *runs;
    size_t n;
};

// Before any work: an output that is there, or is one of the inputs by whatever name.
static enum hw_status check_output(const struct frame *f, struct hw_error *err) {
    struct stat out;
    if (f->options->out == NULL || lstat(f->options->out, &out) != 0) {
        return HW_OK;
    }
    if (!S_ISREG(out.st_mode)) {
        return hw_fail(err, HW_OUTPUT, "%s: exists and is not a regular file", f->options->out);
    }
    for (size_t i = 0; i < f->n; i++) {
        struct stat input;
        if (stat(f->in->arguments[i], &input) == 0 && input.st_dev == out.st_dev &&
            input.st_ino == out.st_ino) {
            return hw_fail(err, HW_OUTPUT, "%s: is one of the captures to look at",
                           f->options->out);
        }
    }
    if (!f->options->overwrite) {
        return hw_fail(err, HW_OUTPUT, "%s: exists (--overwrite replaces it)", f->options->out);
    }
    return hw_result_is_file(f->options->out)
               ? HW_OK
               : hw_fail(err, HW_OUTPUT,
                         "%s: is no result of an analysis (--overwrite replaces only those)",
                         f->options->out);
}

static enum hw_status keep_json(struct frame *f, struct hw_trace *trace, json_t *json,
                                struct hw_error *err) {
    char *run_id = NULL;
    enum hw_status status = hw_trace_attribute(trace, HW_GROUP_ROOT, "run_id", &run_id, err);
    if (status == HW_OK && json_object_get(json, "file") == NULL) {
        (void)json_object_set_new(json, "file", hw_json_text(hw_trace_path(trace)));
    }
    if (status == HW_OK && json_object_get(json, "run_id") == NULL) {
        (void)json_object_set_new(json, "run_id", hw_json_text(run_id));
    }
    free(run_id);
    if (json_array_append_new(f->runs, json) != 0 && status == HW_OK) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for the result as JSON");
    }
    return status;
}

static enum hw_status look_at(struct frame *f, size_t i, struct hw_error *err) {
    const char *path = f->in->arguments[i];
    struct hw_trace *trace = NULL;
    struct hw_analysis_report report = {.index = i, .n = f->n};
    enum hw_status status = hw_trace_open(path, &trace, err);
    status =
        status == HW_OK ? hw_trace_set_threads(trace, (int)f->in->common.threads, err) : status;
    if (status == HW_OK && !hw_trace_is_complete(trace)) {
        status = hw_fail(err, HW_INPUT,
                         "%s: is a part of a run (expected a finished capture: continue the run, "
                         "or merge its parts)",
                         path);
    }
    status = status == HW_OK ? hw_result_open(f->in->command->name, &f->results[i], err) : status;
    status = status == HW_OK ? hw_result_set_source(f->results[i], trace, err) : status;
    if (status == HW_OK) {
        report.trace = trace;
        report.result = f->results[i];
        status = f->look(f->in, &report, err);
    }
    status = status == HW_OK ? hw_result_status(f->results[i], err) : status;
    if (report.json != NULL && status == HW_OK) {
        status = keep_json(f, trace, report.json, err);
    } else {
        json_decref(report.json);
    }
    hw_trace_close(&trace);
    return status;
}

static enum hw_status write_out(const struct frame *f, struct hw_error *err) {
    struct hw_result *stacked = NULL;
    const struct hw_result *result = f->results[0];
    enum hw_status status = HW_OK;
    if (f->n > 1) {
        status = hw_result_stack(f->results, f->n, &stacked, err);
        result = stacked;
    }
    if (status == HW_OK) {
        status = hw_result_write(result, f->options->out, f->options->overwrite, err);
    }
    hw_result_close(&stacked);
    if (status == HW_OK) {
        hw_note(f->in, "%s: written", f->options->out);
    }
    return status;
}

static enum hw_status print_json(struct frame *f, struct hw_error *err) {
    json_t *document;
    if (f->n == 1) {
        document = json_incref(json_array_get(f->runs, 0));
    } else {
        document = json_pack("{s:s, s:O}", "command", f->in->command->name, "runs", f->runs);
    }
    return hw_json_print(document, err);
}

enum hw_status hw_analysis_run(struct hw_invocation *in, const struct hw_analysis_options *options,
                               hw_analysis_fn look, struct hw_error *err) {
    struct frame f = {.in = in, .options = options, .look = look, .n = in->n_arguments};
    if (options->out != NULL && options->out[0] == '\0') {
        return hw_fail(err, HW_USAGE, "%s: option --out: expected a file name, found none",
                       in->command->name);
    }
    enum hw_status status = check_output(&f, err);
    if (status != HW_OK) {
        return status;
    }
    f.results = calloc(f.n, sizeof *f.results);
    f.runs = json_array();
    if (f.results == NULL || f.runs == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for %zu results", f.n);
    }
    for (size_t i = 0; i < f.n && status == HW_OK; i++) {
        status = look_at(&f, i, err);
    }
    if (status == HW_OK && options->out != NULL) {
        status = write_out(&f, err);
    }
    if (status == HW_OK && in->common.json) {
        status = print_json(&f, err);
    }
    for (size_t i = 0; i < f.n && f.results != NULL; i++) {
        hw_result_close(&f.results[i]);
    }
    free(f.results);
    json_decref(f.runs);
    return status;
}

static json_t *value_json(const struct hw_result_array_view *a, size_t i) {
    switch (a->field.type) {
    case HW_RESULT_REAL:
        return hw_json_real(((const double *)a->values)[i]);
    case HW_RESULT_INTEGER:
        return json_integer((json_int_t)((const int64_t *)a->values)[i]);
    default:
        return hw_json_text(((const char *const *)a->values)[i]);
    }
}

// Nested lists over the axes from `axis` on; *at counts the values.
static json_t *nested(const struct hw_result_array_view *a, size_t axis, size_t *at) {
    if (axis == a->n_axes) {
        return value_json(a, (*at)++);
    }
    json_t *list = json_array();
    for (size_t i = 0; i < a->dims[axis]; i++) {
        (void)json_array_append_new(list, nested(a, axis + 1, at));
    }
    return list;
}

static json_t *axis_json(const struct hw_result_axis_view *axis) {
    if (axis->numbers == NULL && axis->texts == NULL) {
        return json_integer((json_int_t)axis->n);
    }
    json_t *list = json_array();
    for (size_t i = 0; i < axis->n; i++) {
        (void)json_array_append_new(list, axis->numbers != NULL ? json_integer(axis->numbers[i])
                                                                : hw_json_text(axis->texts[i]));
    }
    return list;
}

json_t *hw_result_json(const struct hw_result *result) {
    json_t *document = json_pack("{s:s}", "command", hw_result_command(result));
    json_t *axes = json_object();
    json_t *arrays = json_object();
    for (size_t i = 0; i < hw_result_n_attributes(result); i++) {
        struct hw_result_attribute_view a = hw_result_attribute_at(result, i);
        (void)json_object_set_new(document, a.name,
                                  a.type == HW_RESULT_REAL      ? hw_json_real(a.real)
                                  : a.type == HW_RESULT_INTEGER ? json_integer(a.integer)
                                                                : hw_json_text(a.text));
    }
    for (size_t i = 0; i < hw_result_n_axes(result); i++) {
        struct hw_result_axis_view axis = hw_result_axis_at(result, i);
        (void)json_object_set_new(axes, axis.name, axis_json(&axis));
    }
    for (size_t i = 0; i < hw_result_n_arrays(result); i++) {
        struct hw_result_array_view a = hw_result_array_at(result, i);
        json_t *names = json_array();
        for (size_t k = 0; k < a.n_axes; k++) {
            (void)json_array_append_new(names, json_string(a.field.axes[k]));
        }
        size_t at = 0;
        (void)json_object_set_new(arrays, a.field.name,
                                  json_pack("{s:o, s:s, s:s, s:s, s:o}", "axes", names, "units",
                                            a.field.units, "long_name", a.field.long_name,
                                            "description", a.field.description, "values",
                                            nested(&a, 0, &at)));
    }
    (void)json_object_set_new(document, "axes", axes);
    (void)json_object_set_new(document, "arrays", arrays);
    return document;
}

struct ranked {
    size_t cell;
    double score;
};

static int compare_ranked(const void *a, const void *b) {
    const struct ranked *x = a;
    const struct ranked *y = b;
    if (x->score != y->score) {
        return x->score < y->score ? 1 : -1;
    }
    return (x->cell > y->cell) - (x->cell < y->cell);
}

json_t *hw_heads_json(const double *scores, const int32_t *layers, size_t n_layers,
                      const int32_t *heads, size_t n_heads) {
    size_t n_cells = n_layers * n_heads;
    struct ranked *ranked = calloc(n_cells + 1, sizeof *ranked);
    json_t *list = ranked != NULL ? json_array() : NULL;
    size_t n = 0;
    for (size_t cell = 0; cell < n_cells && ranked != NULL; cell++) {
        if (!isnan(scores[cell])) {
            ranked[n++] = (struct ranked){cell, scores[cell]};
        }
    }
    if (ranked != NULL) {
        qsort(ranked, n, sizeof *ranked, compare_ranked);
    }
    for (size_t i = 0; i < n && list != NULL; i++) {
        size_t cell = ranked[i].cell;
        (void)json_array_append_new(
            list, json_pack("{s:i, s:i, s:o}", "layer", layers[cell / n_heads], "head",
                            heads[cell % n_heads], "score", hw_json_real(ranked[i].score)));
    }
    free(ranked);
    return list;
}
