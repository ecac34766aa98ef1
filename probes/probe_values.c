// How large keys and values are, before and after the output projection (the drains of the sinks).
#include "probes/probe.h"

extern const struct hw_probe hw_probe_values;

static const struct hw_probe_row rows[] = {
    {HW_DS_VALUE_NORM, HW_REDUCE_NORM, HW_AT(V), 0},
    {HW_DS_KEY_NORM, HW_REDUCE_NORM, HW_AT(ROT_K), 0},
    {HW_DS_VALUE_NORM_PROJECTED, HW_REDUCE_PROJECTED_NORM, HW_AT(V), 0},
};

const struct hw_probe hw_probe_values = {
    .record = "values",
    .hooks = "",
    .description = "norms of keys and values, and of what a head would write of each value",
    .is_default = true,
    HW_PROBE_ROWS(rows),
};
