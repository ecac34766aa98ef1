// Sweeps: every unit (head, key/value head, layer, group) changed in every way asked for (arm), one
// at a time or together, and what that does to the metrics, against the unchanged model.
//
// Prefixes are shared: the unchanged run keeps its residual stream at every layer, units of a layer
// run together (hw_session_branch). A cell (prompt, unit, arm) has the bits of a capture with the
// same edit. Cells are handed out as they are done, so that a caller can keep them.
#ifndef HW_SWEEP_H
#define HW_SWEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/prompts.h"
#include "formats/tokenizer.h"
#include "kernels/status.h"
#include "probes/edit_source.h"
#include "tracer/edit.h"
#include "tracer/session.h"

// id, word, units, whether it needs a target, one line for `list metrics`
#define HW_METRICS(X)                                                                              \
    X(LOSS, "loss", "nat", false, "mean of -ln p of the next token over the positions")            \
    X(LOSS_CHANGE, "loss_change", "nat", false, "loss minus the loss of the unchanged model")      \
    X(KL, "kl", "nat", false, "mean of KL(unchanged || changed) of the next token")                \
    X(LOGIT_DIFFERENCE, "logit_difference", "nat", true, "logit of the target minus the foil's")   \
    X(TARGET_LOGIT, "target_logit", "nat", true, "logit of the target")                            \
    X(TOP1_CHANGE, "top1_change", "1", false, "share of positions whose strongest token changed")  \
    X(RANK, "rank", "1", true, "how many tokens have a larger logit than the target")              \
    X(EXACT_MATCH, "exact_match", "1", true, "1 where the generated text begins with the target")

enum hw_metric {
#define HW_METRIC_ENUM(id, ...) HW_METRIC_##id,
    HW_METRICS(HW_METRIC_ENUM)
#undef HW_METRIC_ENUM
        HW_N_METRICS
};

// What is changed together, as one row of the result.
struct hw_sweep_unit {
    char *name; // "9.6", "kv 3.1", "mlp 7", "top5", "random3 of 5", a group's name, "as given"
    int32_t layer, head; // -1 where the unit is not one head (one layer)
    enum hw_edit_target target;
    const bool *selected; // [n_layers, n_heads] or [n_layers]
    size_t first_layer;
};

#endif
