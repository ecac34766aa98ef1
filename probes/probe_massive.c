// Massive activations: the largest values of each state, the denominators of both published
// criteria, and a table of those that meet the first.
#include "probes/probe.h"

extern const struct hw_probe hw_probe_massive;

static const struct hw_probe_row rows[] = {
    {HW_DS_STATE_TOP_VALUE, HW_REDUCE_STATE_TOP, HW_AT_DEPTHS, 0},
    {HW_DS_STATE_MEDIAN, HW_REDUCE_STATE_STATS, HW_AT_DEPTHS, 0},
    {HW_DS_MASSIVE_PROMPT, HW_REDUCE_STATE_EVENTS, HW_AT_DEPTHS, 0},
};

const struct hw_probe hw_probe_massive = {
    .record = "massive",
    .hooks = "",
    .description =
        "largest activations of every depth, their medians, and the table of massive ones",
    .is_default = true,
    HW_PROBE_ROWS(rows),
};
