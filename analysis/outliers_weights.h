// Weight outliers (An et al. 2025, arXiv 2502.06415): rows and columns of a matrix in which one
// weight stands far above the others.
//
// The ratio of a row or column is max |w| / (mean |w| + 1e-8), W seen as [n_out, n_in] as torch
// stores it; a column of the MLP's last matrix is a neuron. The score of a module is its largest
// ratio over rows and columns.
#ifndef HW_OUTLIERS_WEIGHTS_H
#define HW_OUTLIERS_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/status.h"
#include "tracer/model.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HW_WEIGHT_MODULES = 7, HW_WEIGHT_TOP = 3 };

struct hw_weight_ratios {
    bool exists;    // gate: gated MLPs only
    double row_max; // the largest ratio of a row, and which
    size_t row;
    double column_max;
    size_t column;
    double score; // the larger of the two
};

struct hw_weight_layer {
    struct hw_weight_ratios modules[HW_WEIGHT_MODULES]; // q k v o gate up down
    double score_mean;  // mean score of the modules (the curve that the source calls a median)
    double down_max;    // ratios of the columns of `down`: the largest,
    double down_median; // the lower median,
    double down_top[HW_WEIGHT_TOP]; // and the largest few with their neurons
    size_t down_neuron[HW_WEIGHT_TOP];
};

const char *hw_weight_module_name(size_t module); // "q" .. "down"

// ret_layers [n_layers of the model]. Weights are expanded row by row, one layer a thread.
// HW_RESOURCE where memory is short.
enum hw_status hw_outliers_weights(const struct hw_model *model, int n_threads,
                                   struct hw_weight_layer *ret_layers, struct hw_error *err);

// Ratios of one matrix; column_ratios [n_in] or NULL. HW_RESOURCE where memory is short.
enum hw_status hw_weight_ratios_of(const struct hw_weight *weight,
                                   struct hw_weight_ratios *ret_ratios, double *column_ratios,
                                   struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
