// Norms along the residual stream and of what is added to it.
#include "probes/probe.h"

extern const struct hw_probe hw_probe_norms;

static const struct hw_probe_row rows[] = {
    {HW_DS_RESIDUAL_NORM, HW_REDUCE_NORM, HW_AT_DEPTHS, 0},
    {HW_DS_RESIDUAL_MAX, HW_REDUCE_ABS_MAX, HW_AT_DEPTHS, 0},
    {HW_DS_RESIDUAL_MEDIAN, HW_REDUCE_ABS_MEDIAN, HW_AT_DEPTHS, 0},
    {HW_DS_RESIDUAL_COSINE_FIRST, HW_REDUCE_COSINE_FIRST, HW_AT_DEPTHS, 0},
    {HW_DS_ATTENTION_OUTPUT_NORM, HW_REDUCE_NORM, HW_AT(ATTN_OUT), 0},
    {HW_DS_MLP_OUTPUT_NORM, HW_REDUCE_NORM, HW_AT(MLP_OUT), 0},
    {HW_DS_HEAD_RESULT_NORM, HW_REDUCE_PROJECTED_NORM, HW_AT(Z), 0},
    {HW_DS_FINAL_NORM, HW_REDUCE_NORM, HW_AT(FINAL), 0},
};

const struct hw_probe hw_probe_norms = {
    .record = "norms",
    .hooks = "",
    .description = "norm, maximum and median along the residual stream; norms of what heads, "
                   "attention and MLP add",
    .is_default = true,
    HW_PROBE_ROWS(rows),
};
