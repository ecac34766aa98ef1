// Weight outliers; see outliers_weights.h. Sums are in double, in the order of the file's rows, so
// threads change no bit.
#include "analysis/outliers_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu.h"
#include "kernels/size.h"

static const double TINY = 1e-8; // of the source, against empty rows

const char *hw_weight_module_name(size_t module) {
    static const char *const names[HW_WEIGHT_MODULES] = {"q", "k", "v", "o", "gate", "up", "down"};
    return names[module];
}

// |w| along one side of a matrix.
struct line {
    double sum;
    double max;
};

static void add(struct line *line, double w) {
    line->sum += w;
    line->max = fmax(line->max, w);
}

static double ratio_of(const struct line *line, size_t n) {
    return line->max / (line->sum / (double)n + TINY);
}

static double largest(const struct line *lines, size_t n_lines, size_t n, size_t *ret_at) {
    double best = 0;
    *ret_at = 0;
    for (size_t i = 0; i < n_lines; i++) {
        double ratio = ratio_of(&lines[i], n);
        if (ratio > best) {
            best = ratio;
            *ret_at = i;
        }
    }
    return best;
}

// Rows of the file, expanded one by one into `row`.
static void scan(const struct hw_ops *ops, const struct hw_weight *w, float *row, struct line *rows,
                 struct line *columns) {
    const unsigned char *data = w->data;
    size_t n_file = w->is_transposed ? w->row_bytes / hw_dtype_block_bytes(w->dtype) : w->n_in;
    size_t n_major = w->is_transposed ? w->n_in : w->n_out;
    for (size_t m = 0; m < n_major; m++) {
        size_t at = w->is_transposed ? m : w->row_map != NULL ? w->row_map[m] : w->first + m;
        ops->dequantize(w->dtype, data + at * w->row_bytes, n_file, row);
        if (!w->is_transposed) {
            for (size_t i = 0; i < w->n_in; i++) {
                double x = fabs((double)row[i]);
                add(&rows[m], x);
                add(&columns[i], x);
            }
            continue;
        }
        for (size_t o = 0; o < w->n_out; o++) {
            double x = fabs((double)row[w->row_map != NULL ? w->row_map[o] : w->first + o]);
            add(&rows[o], x);
            add(&columns[m], x);
        }
    }
}

enum hw_status hw_weight_ratios_of(const struct hw_weight *w, struct hw_weight_ratios *ret_ratios,
                                   double *column_ratios, struct hw_error *err) {
    struct hw_ops ops;
    size_t n_row = hw_size_max(w->n_in, w->row_bytes / hw_dtype_block_bytes(w->dtype) *
                                            hw_dtype_block_values(w->dtype));
    float *row = calloc(n_row, sizeof *row);
    struct line *lines = calloc(w->n_out + w->n_in, sizeof *lines);
    enum hw_status status = HW_OK;
    if (row == NULL || lines == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for the sums of %zu rows",
                         w->n_out + w->n_in);
    } else {
        struct line *columns = lines + w->n_out;
        struct hw_weight_ratios found = {.exists = true};
        hw_ops_init(&ops, hw_cpu_level());
        scan(&ops, w, row, lines, columns);
        found.row_max = largest(lines, w->n_out, w->n_in, &found.row);
        found.column_max = largest(columns, w->n_in, w->n_out, &found.column);
        found.score = fmax(found.row_max, found.column_max);
        for (size_t i = 0; i < w->n_in && column_ratios != NULL; i++) {
            column_ratios[i] = ratio_of(&columns[i], w->n_out);
        }
        *ret_ratios = found;
    }
    free(row);
    free(lines);
    return status;
}

static int descending(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x < y) - (x > y);
}

// The layer report of the last matrix, from its column ratios, which are sorted.
static void report_down(double *ratios, size_t n, struct hw_weight_layer *ret) {
    for (size_t rank = 0; rank < HW_WEIGHT_TOP; rank++) {
        ret->down_top[rank] = NAN;
        ret->down_neuron[rank] = 0;
        for (size_t i = 0; i < n; i++) {
            bool is_taken = false;
            for (size_t earlier = 0; earlier < rank; earlier++) {
                is_taken |= ret->down_neuron[earlier] == i;
            }
            if (!is_taken && !(ratios[i] <= ret->down_top[rank])) {
                ret->down_top[rank] = ratios[i];
                ret->down_neuron[rank] = i;
            }
        }
    }
    qsort(ratios, n, sizeof *ratios, descending);
    ret->down_max = ratios[0];
    ret->down_median = ratios[n / 2]; // the lower one of two: the later in falling order
}

static enum hw_status measure_layer(const struct hw_layer_weights *weights,
                                    struct hw_weight_layer *ret, struct hw_error *err) {
    const struct hw_linear_weights *const linears[HW_WEIGHT_MODULES] = {
        &weights->q,    &weights->k,  &weights->v,   &weights->o,
        &weights->gate, &weights->up, &weights->down};
    double *ratios = calloc(weights->down.w.n_in + 1, sizeof *ratios);
    double sum = 0;
    size_t n = 0;
    if (ratios == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the ratios of %zu neurons",
                       weights->down.w.n_in);
    }
    enum hw_status status = HW_OK;
    for (size_t m = 0; m < HW_WEIGHT_MODULES && status == HW_OK; m++) {
        const struct hw_weight *w = &linears[m]->w;
        if (w->data != NULL && w->n_out > 0) {
            status = hw_weight_ratios_of(w, &ret->modules[m],
                                         m + 1 == HW_WEIGHT_MODULES ? ratios : NULL, err);
            sum += ret->modules[m].score;
            n++;
        }
    }
    if (status == HW_OK) {
        ret->score_mean = sum / (double)n;
        report_down(ratios, weights->down.w.n_in, ret);
    }
    free(ratios);
    return status;
}

enum hw_status hw_outliers_weights(const struct hw_model *model, int n_threads,
                                   struct hw_weight_layer *ret_layers, struct hw_error *err) {
    enum hw_status status = HW_OK;
#pragma omp parallel for schedule(dynamic, 1) num_threads(n_threads)
    for (size_t layer = 0; layer < model->desc.n_layers; layer++) {
        struct hw_weight_layer found;
        struct hw_error its_error;
        memset(&found, 0, sizeof found);
        enum hw_status its = measure_layer(&model->layers[layer], &found, &its_error);
#pragma omp critical(outliers_weights)
        {
            if (its == HW_OK) {
                ret_layers[layer] = found;
            } else if (status == HW_OK) {
                status = hw_fail(err, its, "%s", its_error.message);
            }
        }
    }
    return status;
}
