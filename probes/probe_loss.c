// What the model predicts at every row, and how well.
#include "probes/probe.h"

extern const struct hw_probe hw_probe_loss;

static const struct hw_probe_row rows[] = {
    {HW_DS_TOKEN_LOGPROB, HW_REDUCE_LOGPROB, HW_AT(UNEMBED), 0},
    {HW_DS_PROMPT_LOSS, HW_REDUCE_PROMPT_LOSS, HW_AT(UNEMBED), 0},
    {HW_DS_NEXT_ENTROPY, HW_REDUCE_NEXT_ENTROPY, HW_AT(UNEMBED), 0},
    {HW_DS_NEXT_TOP_ID, HW_REDUCE_NEXT_TOP, HW_AT(UNEMBED), 0},
};

const struct hw_probe hw_probe_loss = {
    .record = "loss",
    .hooks = "",
    .description = "log-probability of every token, entropy and strongest predictions at every row",
    .is_default = true,
    HW_PROBE_ROWS(rows),
};
