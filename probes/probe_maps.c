// Attention maps and scores, as tiles.
#include "probes/probe.h"

extern const struct hw_probe hw_probe_attention_maps;
extern const struct hw_probe hw_probe_attention_scores;
extern const struct hw_probe hw_probe_attention_top;

static const struct hw_probe_row map_rows[] = {
    {HW_DS_ATTENTION_PATTERN, HW_REDUCE_PATTERN, HW_AT_ATTENTION, HW_REQUEST(pattern)},
};

const struct hw_probe hw_probe_attention_maps = {
    .record = "attention_maps",
    .hooks = "hook_pattern",
    .description = "whole attention maps of the prompt",
    HW_PROBE_ROWS(map_rows),
};

static const struct hw_probe_row score_rows[] = {
    {HW_DS_ATTENTION_SCORES, HW_REDUCE_SCORES, HW_AT_ATTENTION, HW_REQUEST(scores)},
};

const struct hw_probe hw_probe_attention_scores = {
    .record = "attention_scores",
    .hooks = "hook_attn_scores",
    .description = "whole maps of the scores before the softmax",
    HW_PROBE_ROWS(score_rows),
};

static const struct hw_probe_row top_rows[] = {
    {HW_DS_ATTENTION_TOP_KEY, HW_REDUCE_TOP_KEYS, HW_AT_ATTENTION, HW_REQUEST(top_key)},
};

const struct hw_probe hw_probe_attention_top = {
    .record = "attention_top",
    .hooks = "",
    .description = "the strongest keys of every row (--top N)",
    HW_PROBE_ROWS(top_rows),
};
