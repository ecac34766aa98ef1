// Means over prompts by group: what mean ablation puts in place of an activation, without keeping
// the activations themselves.
#include "probes/probe.h"

extern const struct hw_probe hw_probe_means;

static const struct hw_probe_row rows[] = {
    {HW_DS_MEANS_Z, HW_REDUCE_MEAN, HW_AT(Z), 0},
    {HW_DS_MEANS_ATTENTION_OUTPUT, HW_REDUCE_MEAN, HW_AT(ATTN_OUT), 0},
    {HW_DS_MEANS_MLP_OUTPUT, HW_REDUCE_MEAN, HW_AT(MLP_OUT), 0},
    {HW_DS_MEANS_RESIDUAL, HW_REDUCE_MEAN, HW_AT_DEPTHS, 0},
    {HW_DS_MEANS_POSITION_Z, HW_REDUCE_MEAN, HW_AT(Z), 0},
    {HW_DS_MEANS_POSITION_ATTENTION_OUTPUT, HW_REDUCE_MEAN, HW_AT(ATTN_OUT), 0},
    {HW_DS_MEANS_POSITION_MLP_OUTPUT, HW_REDUCE_MEAN, HW_AT(MLP_OUT), 0},
    {HW_DS_MEANS_POSITION_RESIDUAL, HW_REDUCE_MEAN, HW_AT_DEPTHS, 0},
};

const struct hw_probe hw_probe_means = {
    .record = "means",
    .hooks = "",
    .description =
        "means over prompts of z, attention and MLP outputs and residual stream, by group "
        "(--means-by) and position (--means-per-position)",
    HW_PROBE_ROWS(rows),
};
