// Attention statistics of every head: rows, keys, offsets, spans, and the sink score. No T x T
// memory.
#include "probes/probe.h"

extern const struct hw_probe hw_probe_attention;

#define ROW(dataset, member)                                                                       \
    { HW_DS_##dataset, HW_REDUCE_REQUEST_ROW, HW_AT_ATTENTION, HW_REQUEST(member) }

static const struct hw_probe_row rows[] = {
    ROW(ATTENTION_ENTROPY, entropy),
    ROW(ATTENTION_MAX, max),
    ROW(ATTENTION_FIRST, first),
    ROW(ATTENTION_LOGSUMEXP, logsumexp),
    ROW(ATTENTION_SCORE_MEAN, score_mean),
    ROW(ATTENTION_ROW_SUM, row_sum),
    ROW(ATTENTION_DISTANCE, distance),
    ROW(ATTENTION_ARGMAX, argmax),
    {HW_DS_ATTENTION_RECEIVED, HW_REDUCE_RECEIVED, HW_AT_ATTENTION, HW_REQUEST(received_sum)},
    {HW_DS_ATTENTION_RECEIVED_MAX, HW_REDUCE_REQUEST_KEY, HW_AT_ATTENTION,
     HW_REQUEST(received_max)},
    {HW_DS_ATTENTION_RECEIVED_ENTROPY, HW_REDUCE_REQUEST_KEY, HW_AT_ATTENTION,
     HW_REQUEST(received_entropy)},
    {HW_DS_SINK_SCORE, HW_REDUCE_SINK_SCORE, HW_AT_ATTENTION, HW_REQUEST(received_sum)},
    {HW_DS_ATTENTION_OFFSET, HW_REDUCE_OFFSET, HW_AT_ATTENTION, HW_REQUEST(offset)},
    {HW_DS_ATTENTION_SPAN, HW_REDUCE_SPAN, HW_AT_ATTENTION, HW_REQUEST(span)},
};

const struct hw_probe hw_probe_attention = {
    .record = "attention",
    .hooks = "",
    .description = "row, key, span and offset statistics and sink scores; no T x T memory",
    .is_default = true,
    HW_PROBE_ROWS(rows),
};
