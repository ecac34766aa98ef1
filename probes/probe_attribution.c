// What embedding, heads, MLPs and biases add to the logit of a prompt's target.
#include "probes/probe.h"

extern const struct hw_probe hw_probe_attribution;

static const struct hw_probe_row rows[] = {
    {HW_DS_ATTRIBUTION_HEAD, HW_REDUCE_ATTRIBUTION, HW_AT(Z), 0},
    {HW_DS_ATTRIBUTION_MLP, HW_REDUCE_ATTRIBUTION, HW_AT(MLP_OUT), 0},
    {HW_DS_ATTRIBUTION_LENS_LOGIT, HW_REDUCE_ATTRIBUTION, HW_AT_DEPTHS, 0},
    {HW_DS_ATTRIBUTION_LENS_RANK, HW_REDUCE_ATTRIBUTION, HW_AT(FINAL), 0},
    {HW_DS_ATTRIBUTION_POSITION, HW_REDUCE_ATTRIBUTION, HW_AT(FINAL), 0},
    {HW_DS_ATTRIBUTION_LOGIT, HW_REDUCE_ATTRIBUTION, HW_AT(FINAL), 0},
    {HW_DS_ATTRIBUTION_EMBEDDING, HW_REDUCE_ATTRIBUTION, HW_AT(FINAL), 0},
    {HW_DS_ATTRIBUTION_BIAS, HW_REDUCE_ATTRIBUTION, HW_AT(FINAL), 0},
};

const struct hw_probe hw_probe_attribution = {
    .record = "attribution",
    .hooks = "",
    .description = "what embedding, heads, MLPs and biases add to the logit of the prompt's "
                   "target (less its foil's), and the logit lens",
    HW_PROBE_ROWS(rows),
};
