// The inside of a session, shared by session.c (memory) and forward.c (the pass).
#ifndef HW_SESSION_INTERNAL_H
#define HW_SESSION_INTERNAL_H

#include "tracer/session.h"

struct hw_session {
    const struct hw_model *model;
    struct hw_session_options options;
    struct hw_ops ops;
    struct hw_exec exec;
    struct hw_arena arena;
    size_t max_rows; // longest pass
    size_t max_keys; // max_tokens + max_generate
    size_t n_run;    // positions run so far
    // Buffers of a pass; T = max_rows.
    float *resid;   // [T, d_model]
    float *normed;  // [T, d_model]
    float *q;       // [T, n_heads * d_head]
    float *z;       // [T, n_heads * d_head]
    float *out;     // [T, d_model] what attention, then the MLP adds
    float *mlp_out; // [T, d_model] where the block is parallel, else = out
    float *up;      // [HW_ROW_BLOCK, d_mlp]
    float *gate;    // [HW_ROW_BLOCK, d_mlp] where gated
    float *scale;   // [T]
    float *cosine;  // [max_keys, n_rot / 2]
    float *sine;
    float
        *keys; // [layers kept, max_keys, n_kv_heads * d_head]: all layers with generation, else one
    float *values;
    size_t layers_kept;
    uint32_t *targets; // [T]
};

// One run of the pass over tokens at positions first .. first + n.
struct hw_pass {
    const uint32_t *ids;
    size_t first;
    size_t n;
    const struct hw_observer *observer; // NULL: nobody looks
};

enum hw_status hw_forward(struct hw_session *session, const struct hw_pass *pass,
                          uint32_t *ret_next, struct hw_error *err);

#endif
