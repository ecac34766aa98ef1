// What the rows attend to that produce generated tokens: the row of the last prompt token, then one
// a generated token.
#include "probes/probe.h"

extern const struct hw_probe hw_probe_decode_top;
extern const struct hw_probe hw_probe_decode_attention;

static const struct hw_probe_row top_rows[] = {
    {HW_DS_DECODE_TOP_KEY, HW_REDUCE_DECODE_TOP, HW_AT_ATTENTION, 0},
};

const struct hw_probe hw_probe_decode_top = {
    .record = "decode_top",
    .hooks = "",
    .description = "strongest key of every head in every decode row (--generate N)",
    .needs_generation = true,
    HW_PROBE_ROWS(top_rows),
};

static const struct hw_probe_row pattern_rows[] = {
    {HW_DS_DECODE_PATTERN, HW_REDUCE_DECODE_ROW, HW_AT_ATTENTION, 0},
};

const struct hw_probe hw_probe_decode_attention = {
    .record = "decode_attention",
    .hooks = "",
    .description = "whole decode rows (--generate N)",
    .needs_generation = true,
    HW_PROBE_ROWS(pattern_rows),
};
