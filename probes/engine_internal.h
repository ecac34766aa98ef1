// The inside of the engine, shared by its files: engine.c (memory, prompts), engine_site.c,
// engine_attention.c, engine_unembed.c (what each kind of declaration does), engine_put.c (the way
// to the destination).
#ifndef HW_ENGINE_INTERNAL_H
#define HW_ENGINE_INTERNAL_H

#include "kernels/arena.h"
#include "probes/attribution.h"
#include "probes/engine.h"
#include "probes/probe.h"

enum { HW_MAX_ACTIVE = 128, HW_MAX_ROW_BUFFERS = 16, HW_WORK_ROWS = 64, HW_RESULT_ROWS = 64 };

struct hw_engine_row {
    const struct hw_probe_row *row;
    const struct hw_probe *probe;
    void *buffer; // of request members: [T, n_heads] floats or ints
};

// One member of the attention request that holds a value per query row: [T, n_heads] floats or
// ints.
struct hw_row_buffer {
    size_t member; // offset in struct hw_attention_request
    void *data;
    bool is_decode_top; // decode_dataset gets the last row of each pass
    enum hw_dataset decode_dataset;
};

struct hw_engine {
    struct hw_engine_config config;
    struct hw_session *session;
    struct hw_arena arena;
    struct hw_observer observer;
    struct hw_destination *destination;
    uint32_t *watch; // [n_layers + 1]
    struct hw_engine_row active[HW_MAX_ACTIVE];
    size_t n_active;
    struct hw_row_buffer row_buffers[HW_MAX_ROW_BUFFERS];
    size_t n_row_buffers;
    bool has[HW_REDUCE_CONSTANT + 1]; // whether any active row reduces so
    int32_t *layer_slab[HW_N_GROUPS]; // [n_layers] index on the group's layer axis or -1
    int32_t *depth_slab[HW_N_GROUPS]; // [n_layers + 1]
    // Buffers; T = max_tokens.
    float *work; // gathered or reduced rows
    size_t work_bytes;
    float *reduced; // [T, max(n_heads, 2)] one statistic of a pass
    float *means;   // [max(n_heads, 2)] of one statistic
    float *results; // [HW_RESULT_ROWS, n_heads, d_model] head results; also one file row of the
                    // output projection
    struct hw_top_value *events; // [HW_MAX_EVENTS]
    float *factors;              // [layer, head, d_head, d_head] R of the thin QR of each W_O,h
    float *output_weights;       // [d_model, n_heads * d_head] of one layer, for head results
    float *first_state;          // [n_layers + 1, d_model] of token 0
    float *ln1_scale;            // [T]
    float *received_sum;         // [T, n_heads], also max and entropy
    float *received_max;
    float *received_entropy;
    float *offset;    // [n_heads, n_offsets]
    float *span;      // [n_heads, n_spans, n_spans] of one pass
    double *span_sum; // [n_layers, n_heads, n_spans, n_spans] over the passes of a prompt
    int32_t *top_key; // [T, n_heads, n_key_rank]
    float *top_weight;
    void *tiles; // map_heads heads of pattern, then of scores
    void *score_tiles;
    size_t map_heads;
    float *log_z; // [T]
    float *target_logit;
    float *logprob;
    float *next_entropy;
    uint32_t *next_top_id; // [T, n_rank]
    float *next_top_logit;
    float *logits;     // [HW_LOGIT_ROWS, n_vocab]
    float *decode_row; // [n_heads, layout max_tokens]
    // The running prompt.
    const struct hw_engine_prompt *prompt;
    size_t n_prompt; // tokens of its text
    size_t n_total;  // with those generated so far
    uint32_t *ids;   // [T + max_generate]
    uint8_t *is_special;
    bool *is_recorded;     // rows of /activations and /logits
    struct hw_span *spans; // [n_spans]
    struct hw_range *ranges;
    size_t n_events;
    size_t mean_group; // of the running prompt, in the layout's mean_groups
    bool is_step; // the running pass emits a token that will be consumed or shown: it has rows in
                  // /decode
    const float *rotated_q; // of the running layer
    const float *rotated_k;
    float next_logprob; // of the token that the last row predicts
    struct hw_attribution attribution;
    size_t attribution_at; // position of the running prompt
};

// Rows [first, first + n) (positions) of a dataset, [n, units, width] four-byte values with rows ld
// apart, to the destination. Picks the recorded heads or kv heads and rows, marks what was not
// recorded, narrows to half where the layout says so. layer is a layer, or a depth for datasets
// with that axis; -1 where there is neither.
struct hw_put {
    enum hw_dataset dataset;
    int64_t slab_value;
    size_t first;
    size_t n;
    size_t ld;
    const void *data;
    bool is_narrowed; // by positions
};
enum hw_status hw_engine_put(struct hw_engine *e, const struct hw_put *put, struct hw_error *err);

// A statistic of [n, width] rows: its mean over the prompt's text where the layout has it, then the
// rows unless only means are kept.
enum hw_status hw_engine_put_statistic(struct hw_engine *e, const struct hw_put *put, size_t width,
                                       struct hw_error *err);

// Index on the recorded layer (depth) axis of the dataset's group, or -1.
int64_t hw_engine_slab(const struct hw_engine *e, enum hw_dataset dataset, int64_t layer_or_depth);

enum hw_status hw_engine_on_site(void *self, const struct hw_site_event *event,
                                 struct hw_error *err);
bool hw_engine_attention(void *self, size_t layer, size_t call, const struct hw_site_event *pass,
                         struct hw_attention_request *request);
enum hw_status hw_engine_attention_done(void *self, size_t layer, const struct hw_site_event *pass,
                                        const struct hw_attention_request *request,
                                        struct hw_error *err);
enum hw_status hw_engine_attribute(struct hw_engine *e, const struct hw_engine_row *active,
                                   const struct hw_site_event *event, struct hw_error *err);
enum hw_status hw_engine_spans_end(struct hw_engine *e, struct hw_error *err);
bool hw_engine_unembed(void *self, const struct hw_site_event *rows, struct hw_unembed_out *out);
enum hw_status hw_engine_unembed_done(void *self, const struct hw_site_event *rows,
                                      const struct hw_unembed_out *out, struct hw_error *err);
// Means (engine_means.c): finds the group of the running prompt, adds the rows of a site, counts
// the rows when the prompt is done.
enum hw_status hw_engine_find_group(struct hw_engine *e, struct hw_error *err);
enum hw_status hw_engine_add_means(struct hw_engine *e, enum hw_dataset dataset, int64_t slab_value,
                                   const struct hw_site_event *event, struct hw_error *err);
void hw_engine_count_means(struct hw_engine *e);
// Spans of the running prompt from its tokens, as far as it has been generated.
enum hw_status hw_engine_layer_end(void *self, size_t layer, struct hw_error *err);
void hw_engine_set_spans(struct hw_engine *e);
// Bytes of the tiles of one head.
size_t hw_engine_map_bytes(const struct hw_layout *layout, enum hw_dataset dataset,
                           size_t n_tokens);

// ret_factors [n_layers, n_heads, d_head, d_head]: R (row-major, upper) of the thin QR of each
// W_O,h, in double, stored as float: |W_O,h x| = |R x|. HW_RESOURCE: no memory.
enum hw_status hw_projection_factors(const struct hw_ops *ops, const struct hw_model *model,
                                     int n_threads, float *ret_factors, struct hw_error *err);
// The whole matrix as f32 [n_out, n_in]; row is scratch of max(n_in, file columns) floats.
void hw_weight_expand(const struct hw_ops *ops, const struct hw_weight *w, float *row, float *ret);

#endif
