// Activations as they are, at the sites that interpretability work asks for.
#include "probes/probe.h"

#define COPY_PROBE(name, dataset, places, hook_names, text)                                        \
    extern const struct hw_probe hw_probe_##name;                                                  \
    static const struct hw_probe_row name##_rows[] = {                                             \
        {HW_DS_ACTIVATIONS_##dataset, HW_REDUCE_COPY, places, 0}};                                 \
    const struct hw_probe hw_probe_##name = {.record = #name,                                      \
                                             .hooks = hook_names,                                  \
                                             .description = text,                                  \
                                             .is_narrowed_by_positions = true,                     \
                                             HW_PROBE_ROWS(name##_rows)}

COPY_PROBE(residual, RESIDUAL, HW_AT_DEPTHS, "hook_embed hook_resid_pre hook_resid_post",
           "the residual stream at every depth");
COPY_PROBE(residual_mid, RESIDUAL_MID, HW_AT(RESID_MID), "hook_resid_mid",
           "the residual stream between attention and MLP");
COPY_PROBE(attention_output, ATTENTION_OUTPUT, HW_AT(ATTN_OUT), "hook_attn_out",
           "what attention adds to the residual stream");
COPY_PROBE(mlp_output, MLP_OUTPUT, HW_AT(MLP_OUT), "hook_mlp_out",
           "what the MLP adds to the residual stream");
COPY_PROBE(mlp_post, MLP_POST, HW_AT(MLP_POST), "hook_post",
           "the MLP's neurons, as the down projection reads them");
COPY_PROBE(z, Z, HW_AT(Z), "hook_z", "mixed values of every head, before the output projection");
COPY_PROBE(value, VALUE, HW_AT(V), "hook_v", "values of every kv head");

extern const struct hw_probe hw_probe_head_result;
static const struct hw_probe_row head_result_rows[] = {
    {HW_DS_ACTIVATIONS_HEAD_RESULT, HW_REDUCE_HEAD_RESULT, HW_AT(Z), 0}};
const struct hw_probe hw_probe_head_result = {
    .record = "head_result",
    .hooks = "hook_result",
    .description = "what every head writes to the residual stream, without the bias",
    .is_narrowed_by_positions = true,
    HW_PROBE_ROWS(head_result_rows),
};

extern const struct hw_probe hw_probe_norm_scale;
static const struct hw_probe_row norm_scale_rows[] = {{HW_DS_ACTIVATIONS_NORM_SCALE,
                                                       HW_REDUCE_NORM_SCALES,
                                                       {HW_SITE_LN1_SCALE, HW_SITE_LN2_SCALE},
                                                       0}};
const struct hw_probe hw_probe_norm_scale = {
    .record = "norm_scale",
    .hooks = "hook_scale",
    .description = "what each norm of a block multiplies by (one over its denominator)",
    .is_narrowed_by_positions = true,
    HW_PROBE_ROWS(norm_scale_rows),
};

extern const struct hw_probe hw_probe_logits;
static const struct hw_probe_row logits_rows[] = {
    {HW_DS_LOGITS_LOGITS, HW_REDUCE_LOGITS, HW_AT(UNEMBED), 0}};
const struct hw_probe hw_probe_logits = {
    .record = "logits",
    .hooks = "hook_logits",
    .description = "all logits",
    .is_narrowed_by_positions = true,
    HW_PROBE_ROWS(logits_rows),
};
