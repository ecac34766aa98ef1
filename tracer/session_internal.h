// The inside of a session, shared by session.c (memory), forward.c (the pass) and branch.c (what
// joins it).
#ifndef HW_SESSION_INTERNAL_H
#define HW_SESSION_INTERNAL_H

#include "tracer/session.h"

// Consecutive positions of one prompt in a pass: n rows of its buffers.
struct hw_sequence {
    size_t row;                 // the first, in the buffers
    size_t first;               // position of that row
    size_t n;                   // rows
    size_t q_row;               // where its queries begin: row, or those of the unchanged run
    size_t kv_row;              // where keys and values of its position 0 are, likewise
    struct hw_changes *changes; // NULL: unchanged
    size_t branch;              // of a job
};

struct hw_session {
    const struct hw_model *model;
    struct hw_session_options options;
    struct hw_ops ops;
    struct hw_exec exec;
    struct hw_arena arena;
    size_t max_rows;            // largest pass: of one prompt, or of all branches
    size_t max_keys;            // max_tokens + max_generate
    size_t n_run;               // positions run so far
    struct hw_changes *changes; // of prefills, decodes; not owned
    // Buffers of a pass; T = max_rows.
    float *resid;    // [T, d_model]
    float *normed;   // [T, d_model]
    float *q;        // [T, n_heads * d_head]
    float *q_flat;   // [T, n_heads * d_head] before rotation, where there are windows in cache form
    float *q_turned; // [max_tokens, n_heads * d_head] of one sequence, likewise
    float *z;        // [T, n_heads * d_head]
    float *out;      // [T, d_model] what attention, then the MLP adds
    float *mlp_out;  // [T, d_model] where the block is parallel, else = out
    float *up;       // [HW_ROW_BLOCK, d_mlp]
    float *gate;     // [HW_ROW_BLOCK, d_mlp] where gated
    float *scale;    // [T]
    float *cosine;   // [max_keys, n_rot / 2]
    float *sine;
    float *
        cosine_rows; // [T, n_rot / 2] those of every row of branches, so that they turn in one call
    float *sine_rows;
    float *keys; // [layers kept, max_keys, n_kv_heads * d_head]: all layers with generation, else
                 // one; of branches [T, ..] of the running layer
    float *values;
    size_t layers_kept;
    uint32_t *targets;             // [T]
    struct hw_sequence *sequences; // [max_branches, at least 1]
};

// One run through the layers: sequences, whose rows follow one another in the buffers. Linear maps
// and everything row by row run over all rows together, attention runs over each sequence.
struct hw_pass {
    const uint32_t *ids;
    struct hw_sequence *sequences;
    size_t n_sequences;
    size_t n_rows;
    const struct hw_observer *observer; // of a single sequence; NULL: nobody looks
    // Of branches: sequence 0 is the unchanged run while some have not joined.
    const struct hw_branch_job *job; // NULL: none
    size_t n_joined;
    size_t n_angles; // sequences whose angles are in cosine_rows
};

enum hw_status hw_forward(struct hw_session *session, struct hw_pass *pass, uint32_t *ret_next,
                          struct hw_error *err);
// The layers from layer_first on; the residual stream holds the input of that layer.
enum hw_status hw_forward_layers(struct hw_session *session, struct hw_pass *pass,
                                 size_t layer_first, struct hw_error *err);
void hw_forward_final_norm(struct hw_session *session, const struct hw_pass *pass);

// Where branches join in their first layer.
enum hw_join {
    HW_JOIN_START,  // input of the block, or values, are changed
    HW_JOIN_ATTEND, // attention is: q, k and v are those of the unchanged run
    HW_JOIN_Z       // anything later
};
// Branches that join so in this layer do; the last of all takes the rows of the unchanged run.
void hw_branch_join(struct hw_session *session, struct hw_pass *pass, size_t layer,
                    enum hw_join how);
// Puts angles beside every row.
void hw_branch_repeat_angles(struct hw_session *session, struct hw_pass *pass);
// Is this the layer whose rows before row_first go on to nothing but keys and values?
bool hw_branch_is_narrowed(const struct hw_session *session, const struct hw_pass *pass,
                           size_t layer);
// Lets those rows go from the residual stream and from what was normed.
void hw_branch_narrow(struct hw_session *session, struct hw_pass *pass);

#endif
