// A probe is a declaration: at which site it looks, what it makes of the rows shown there, and
// which dataset of the schema gets the result.
//
// The engine (engine.h) carries declarations out with the ops of kernels/; no probe has code of its
// own. A new probe is one file probe_<name>.c that defines hw_probe_<name>, and its name in
// probes/meson.build.
#ifndef HW_PROBE_H
#define HW_PROBE_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/schema.h"
#include "kernels/attention.h"
#include "tracer/site.h"

// What is made of the rows at a site. The datasets that each one fills are of the shape in brackets
// after the lead and slab axes.
enum hw_reduce {
    HW_REDUCE_COPY,           // rows as shown [unit..., channel]
    HW_REDUCE_NORM,           // L2 norm of each unit (head, kv head, or the whole row) [unit]
    HW_REDUCE_ABS_MAX,        // max |x| of the row []
    HW_REDUCE_ABS_MEDIAN,     // lower median of |x| of the row []
    HW_REDUCE_COSINE_FIRST,   // cosine with row 0 of the prompt []
    HW_REDUCE_PROJECTED_NORM, // |W_O,h x_h| of each query head; kv heads are repeated [head]
    HW_REDUCE_HEAD_RESULT,    // W_O,h x_h [head, channel]
    HW_REDUCE_NORM_SCALES,    // the scales of both norms of a block, side by side [norm]
    HW_REDUCE_STATE_TOP,    // largest |x| of the state: this dataset and the two that follow it get
                            // value, position, channel [rank]
    HW_REDUCE_STATE_STATS,  // of the state: this dataset and the two that follow it get median |x|,
                            // mean |x|, deviation []
    HW_REDUCE_STATE_EVENTS, // the massive activations of the state, into the table /massive
    HW_REDUCE_REQUEST_ROW,  // member of the attention request, per query row [head]
    HW_REDUCE_REQUEST_KEY,  // the same per key, over the prompt's rows only [head]
    HW_REDUCE_RECEIVED,     // received_sum over the number of queries that may see the key [head]
    HW_REDUCE_SINK_SCORE,   // received_sum of key 0 over T [head]
    HW_REDUCE_OFFSET,       // offset sums over T - o [head, offset]
    HW_REDUCE_SPAN,         // span sums over the queries of the span [head, span, span]
    HW_REDUCE_TOP_KEYS,     // the strongest keys: this dataset and the one that follows it get key,
                            // weight [head, key_rank]
    HW_REDUCE_PATTERN,      // maps as tiles
    HW_REDUCE_SCORES,       // scores as tiles
    HW_REDUCE_LOGPROB,      // ln p of the row's own token []
    HW_REDUCE_PROMPT_LOSS,  // -mean of these over positions 1 .. T - 1 []
    HW_REDUCE_NEXT_ENTROPY, // of the prediction made at the row []
    HW_REDUCE_NEXT_TOP,     // this dataset and the one that follows it get ids, logits [rank]
    HW_REDUCE_LOGITS,       // [vocab]
    HW_REDUCE_DECODE_TOP,   // of each decode row: this dataset and the two that follow it get key,
                            // weight, mass on key 0 [head]
    HW_REDUCE_DECODE_ROW,   // the whole decode row [head, key]
    HW_REDUCE_ATTRIBUTION,  // direct logit attribution and lens (attribution.h): all of the group
    HW_REDUCE_MEAN,     // rows of the prompt's text, added to the sums of its group: this dataset
                        // and the one that follows it get means, sums
    HW_REDUCE_CONSTANT, // a property of the run that the storage fills in by itself
};

struct hw_probe_row {
    enum hw_dataset dataset;
    enum hw_reduce reduce;
    enum hw_site sites[2]; // both, or one and HW_N_SITES
    size_t member;         // of struct hw_attention_request, for HW_REDUCE_REQUEST_*
};

#define HW_AT(site)                                                                                \
    { HW_SITE_##site, HW_N_SITES }
// The residual stream: depth 0 is the embedding, depth l + 1 the output of block l.
#define HW_AT_DEPTHS                                                                               \
    { HW_SITE_EMBED, HW_SITE_RESID_POST }
#define HW_AT_ATTENTION                                                                            \
    { HW_N_SITES, HW_N_SITES }
#define HW_REQUEST(member_name) offsetof(struct hw_attention_request, member_name)

struct hw_probe {
    const char *record; // name for --record
    const char *hooks;  // TransformerLens hook names (last part) that stand for it, blank-separated
    const char *description; // one line for help
    bool is_default;
    bool needs_generation;
    bool is_narrowed_by_positions;
    const struct hw_probe_row *rows;
    size_t n_rows;
};

#define HW_PROBE_ROWS(array) .rows = (array), .n_rows = sizeof(array) / sizeof((array)[0])

// Every probe of this build, in the order of probes/meson.build; NULL-terminated.
extern const struct hw_probe *const hw_probes[];
enum { HW_MAX_PROBES = 64 };

#endif
