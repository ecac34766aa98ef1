// The one forward pass. The order of sites is the order of this file.
//
// A pass is a list of sequences: one prompt, one token, or branches of a prompt (branch.c). At each
// site first changes write, then whoever watches looks; where there is neither it costs one pointer
// and one bit test. Nothing here knows a family or a probe: switches are those of struct
// hw_model_desc. Rows pass the MLP in blocks, so that memory grows with T x d_model, never with T x
// d_mlp.
#include <string.h>

#include "kernels/size.h"
#include "tracer/cache_window.h"
#include "tracer/session_internal.h"
#include "tracer/writes.h"

static bool is_watched(const struct hw_pass *pass, size_t layer, enum hw_site site) {
    return pass->observer != NULL && (pass->observer->watch[layer] >> site & 1u) != 0;
}

static struct hw_site_event event_of(const struct hw_pass *pass, enum hw_site site, size_t layer) {
    struct hw_site_event event = {.site = site,
                                  .layer = layer,
                                  .row_first = pass->sequences->first,
                                  .n_rows = pass->n_rows,
                                  .n_tokens = pass->n_rows,
                                  .pass_first = pass->sequences->first};
    return event;
}

// Carries out what changes say about the rows of an event.
static void write_rows(const struct hw_pass *pass, const struct hw_site_event *event, float *data) {
    size_t first = event->row_first - event->pass_first;
    for (size_t i = 0; i < pass->n_sequences; i++) {
        const struct hw_sequence *sequence = &pass->sequences[i];
        if (sequence->changes == NULL) {
            continue;
        }
        size_t row = hw_size_max(first, sequence->row);
        size_t end = hw_size_min(first + event->n_rows, sequence->row + sequence->n);
        if (row < end) {
            hw_writes_apply(sequence->changes, event->layer, event->site,
                            sequence->first + row - sequence->row, end - row,
                            data + (row - first) * event->ld, event->ld);
        }
    }
}

// Shows rows of a site of a layer, where watched.
static enum hw_status show_event(const struct hw_pass *pass, struct hw_site_event *event,
                                 const float *data, struct hw_error *err) {
    if (!is_watched(pass, event->layer, event->site)) {
        return HW_OK;
    }
    event->data = data;
    return pass->observer->on_site(pass->observer->self, event, err);
}

// Shows whole rows [n_rows, width].
static enum hw_status show(const struct hw_pass *pass, enum hw_site site, size_t layer,
                           const float *data, size_t width, struct hw_error *err) {
    struct hw_site_event event = event_of(pass, site, layer);
    event.width = width;
    event.ld = width;
    return show_event(pass, &event, data, err);
}

// A site where changes may write.
static enum hw_status visit(const struct hw_pass *pass, enum hw_site site, size_t layer,
                            float *data, size_t width, struct hw_error *err) {
    struct hw_site_event event = event_of(pass, site, layer);
    event.width = width;
    event.ld = width;
    write_rows(pass, &event, data);
    return show_event(pass, &event, data, err);
}

static void embed(struct hw_session *s, const struct hw_pass *pass) {
    const struct hw_model *m = s->model;
    size_t d = m->desc.d_model;
    const struct hw_weight *tokens = &m->token_embedding;
    for (size_t i = 0; i < pass->n_rows; i++) {
        const unsigned char *row = tokens->data;
        row += (tokens->first + pass->ids[i]) * tokens->row_bytes;
        s->ops.dequantize(tokens->dtype, row, d, s->resid + i * d);
        if (m->desc.position == HW_POSITION_LEARNED) {
            const struct hw_weight *positions = &m->position_embedding;
            const unsigned char *at = positions->data;
            at += (positions->first + pass->sequences->first + i) * positions->row_bytes;
            s->ops.dequantize(positions->dtype, at, d, s->normed);
            s->ops.add(&s->exec, s->resid + i * d, s->normed, d);
        }
    }
}

static void normalise(struct hw_session *s, const struct hw_norm_weights *w, const float *x,
                      size_t n, float *y, float *scale) {
    const struct hw_model_desc *d = &s->model->desc;
    if (d->norm == HW_NORM_RMS) {
        s->ops.rms_norm(&s->exec, x, n, d->d_model, w->weight, d->norm_eps, y, scale);
    } else {
        s->ops.layer_norm(&s->exec, x, n, d->d_model, w->weight, w->bias, d->norm_eps, y, scale);
    }
}

static struct hw_product product_of(const struct hw_linear_weights *w, float *y) {
    return (struct hw_product){&w->w, w->bias, y, w->w.n_out};
}

static void apply(struct hw_session *s, const struct hw_linear_weights *w, const float *x, size_t n,
                  float *y) {
    struct hw_product product = product_of(w, y);
    s->ops.linear(&s->exec, x, n, w->w.n_in, &product, 1);
}

// Keys and values of this pass go straight to where later passes of the prompt look for them.
static float *kept(const struct hw_session *s, float *base, size_t layer) {
    const struct hw_model_desc *d = &s->model->desc;
    size_t slot = s->layers_kept > 1 ? layer : 0;
    return base + slot * s->max_keys * d->n_kv_heads * d->d_head;
}

// Rows of all sequences, each from its own position on.
static void rotate(struct hw_session *s, struct hw_pass *pass, float *x, size_t n_heads) {
    const struct hw_model_desc *d = &s->model->desc;
    if (d->position != HW_POSITION_ROPE) {
        return;
    }
    size_t at = pass->sequences->first * (d->n_rot / 2);
    const float *cosine = s->cosine + at;
    const float *sine = s->sine + at;
    if (pass->n_sequences > 1) {
        hw_branch_repeat_angles(s, pass);
        cosine = s->cosine_rows;
        sine = s->sine_rows;
    }
    s->ops.rope(&s->exec, x, pass->n_rows, n_heads * d->d_head, n_heads, d->d_head, d->n_rot,
                d->is_rope_interleaved, cosine, sine);
}

// Keys and values of all rows, then queries of those that are wanted: nobody watches branches.
static void project_narrowed(struct hw_session *s, struct hw_pass *pass, size_t layer) {
    const struct hw_model_desc *d = &s->model->desc;
    const struct hw_layer_weights *w = &s->model->layers[layer];
    float *k = kept(s, s->keys, layer);
    float *v = kept(s, s->values, layer);
    struct hw_product products[] = {product_of(&w->k, k), product_of(&w->v, v)};
    s->ops.linear(&s->exec, s->normed, pass->n_rows, d->d_model, products, 2);
    (void)visit(pass, HW_SITE_V, layer, v, d->n_kv_heads * d->d_head, NULL);
    rotate(s, pass, k, d->n_kv_heads);
    hw_branch_narrow(s, pass);
    apply(s, &w->q, s->normed, pass->n_rows, s->q);
}

static enum hw_status project_all(struct hw_session *s, struct hw_pass *pass, size_t layer,
                                  float *k, struct hw_error *err) {
    const struct hw_model_desc *d = &s->model->desc;
    const struct hw_layer_weights *w = &s->model->layers[layer];
    size_t kv_width = d->n_kv_heads * d->d_head;
    float *v = kept(s, s->values, layer) + pass->sequences->first * kv_width;
    struct hw_product products[] = {product_of(&w->q, s->q), product_of(&w->k, k),
                                    product_of(&w->v, v)};
    s->ops.linear(&s->exec, s->normed, pass->n_rows, d->d_model, products, 3);
    enum hw_status status = show(pass, HW_SITE_Q, layer, s->q, d->n_heads * d->d_head, err);
    status = status == HW_OK ? show(pass, HW_SITE_K, layer, k, kv_width, err) : status;
    status = status == HW_OK ? visit(pass, HW_SITE_V, layer, v, kv_width, err) : status;
    rotate(s, pass, k, d->n_kv_heads);
    return status;
}

static enum hw_status project_qkv(struct hw_session *s, struct hw_pass *pass, size_t layer,
                                  struct hw_error *err) {
    const struct hw_model_desc *d = &s->model->desc;
    size_t q_width = d->n_heads * d->d_head;
    size_t kv_width = d->n_kv_heads * d->d_head;
    float *k = kept(s, s->keys, layer) + pass->sequences->first * kv_width;
    enum hw_status status = HW_OK;
    if (hw_branch_is_narrowed(s, pass, layer)) {
        project_narrowed(s, pass, layer);
    } else {
        status = project_all(s, pass, layer, k, err);
    }
    if (status != HW_OK) {
        return status;
    }
    if (s->options.has_cache_windows && hw_cache_windows_any(pass, layer)) {
        memcpy(s->q_flat, s->q, pass->n_rows * q_width * sizeof(float));
    }
    rotate(s, pass, s->q, d->n_heads);
    status = show(pass, HW_SITE_ROT_Q, layer, s->q, q_width, err);
    return status == HW_OK ? show(pass, HW_SITE_ROT_K, layer, k, kv_width, err) : status;
}

static struct hw_attention_args attention_of(struct hw_session *s,
                                             const struct hw_sequence *sequence, size_t layer) {
    const struct hw_model_desc *d = &s->model->desc;
    size_t q_width = d->n_heads * d->d_head;
    size_t kv_width = d->n_kv_heads * d->d_head;
    struct hw_attention_args args = {
        .q = s->q + sequence->q_row * q_width,
        .k = kept(s, s->keys, layer) + sequence->kv_row * kv_width,
        .v = kept(s, s->values, layer) + sequence->kv_row * kv_width,
        .z = s->z + sequence->row * q_width,
        .q_stride = q_width,
        .k_stride = kv_width,
        .v_stride = kv_width,
        .z_stride = q_width,
        .n_queries = sequence->n,
        .n_keys = sequence->first + sequence->n,
        .n_heads = d->n_heads,
        .n_kv_heads = d->n_kv_heads,
        .d_head = d->d_head,
        .query_first = sequence->first,
        .score_scale = d->score_scale[layer],
    };
    if (sequence->changes != NULL) {
        const struct hw_layer_changes *at = &sequence->changes->layers[layer];
        args.changes = at->attention;
        args.n_changes = at->n_attention;
        args.n_changed = &sequence->changes->n_applied;
    }
    return args;
}

static enum hw_status attend(struct hw_session *s, const struct hw_pass *pass,
                             const struct hw_sequence *sequence, size_t layer,
                             struct hw_error *err) {
    struct hw_attention_args args = attention_of(s, sequence, layer);
    const struct hw_observer *o = pass->observer;
    struct hw_site_event event = event_of(pass, HW_SITE_Z, layer);
    bool is_asked = o != NULL && o->attention != NULL;
    if (s->options.has_cache_windows) {
        hw_cache_windows_turn(s, sequence, layer);
    }
    for (size_t call = 0; call == 0 || is_asked; call++) {
        memset(&args.request, 0, sizeof args.request);
        bool is_recording = is_asked && o->attention(o->self, layer, call, &event, &args.request);
        if (call > 0 && !is_recording) {
            break;
        }
        s->ops.attention(&s->exec, &args);
        args.z = NULL; // later calls only hand out more maps
        args.n_changed = NULL;
        if (is_recording) {
            enum hw_status status = o->attention_done(o->self, layer, &event, &args.request, err);
            if (status != HW_OK) {
                return status;
            }
        }
        is_asked = is_recording;
    }
    return HW_OK;
}

static enum hw_status attention_block(struct hw_session *s, struct hw_pass *pass, size_t layer,
                                      struct hw_error *err) {
    const struct hw_model_desc *d = &s->model->desc;
    const struct hw_layer_weights *w = &s->model->layers[layer];
    normalise(s, &w->attention_norm, s->resid, pass->n_rows, s->normed, s->scale);
    enum hw_status status = show(pass, HW_SITE_LN1_SCALE, layer, s->scale, 1, err);
    status = status == HW_OK ? project_qkv(s, pass, layer, err) : status;
    hw_branch_join(s, pass, layer, HW_JOIN_ATTEND);
    for (size_t i = 0; i < pass->n_sequences && status == HW_OK; i++) {
        status = attend(s, pass, &pass->sequences[i], layer, err);
    }
    hw_branch_join(s, pass, layer, HW_JOIN_Z);
    status =
        status == HW_OK ? visit(pass, HW_SITE_Z, layer, s->z, d->n_heads * d->d_head, err) : status;
    if (status != HW_OK) {
        return status;
    }
    apply(s, &w->o, s->z, pass->n_rows, s->out);
    return visit(pass, HW_SITE_ATTN_OUT, layer, s->out, d->d_model, err);
}

static enum hw_status mlp_block(struct hw_session *s, const struct hw_pass *pass, size_t layer,
                                struct hw_error *err) {
    const struct hw_model_desc *d = &s->model->desc;
    const struct hw_layer_weights *w = &s->model->layers[layer];
    normalise(s, &w->mlp_norm, s->resid, pass->n_rows, s->normed, s->scale);
    enum hw_status status = show(pass, HW_SITE_LN2_SCALE, layer, s->scale, 1, err);
    for (size_t first = 0; first < pass->n_rows && status == HW_OK; first += HW_ROW_BLOCK) {
        size_t n = hw_size_min(pass->n_rows - first, HW_ROW_BLOCK);
        const float *x = s->normed + first * d->d_model;
        struct hw_product products[] = {product_of(&w->up, s->up), product_of(&w->gate, s->gate)};
        s->ops.linear(&s->exec, x, n, d->d_model, products, d->is_gated ? 2 : 1);
        float *inner = s->up;
        if (d->is_gated) {
            s->ops.activate(&s->exec, d->activation, s->gate, s->up, n * d->d_mlp);
            inner = s->gate;
        } else {
            s->ops.activate(&s->exec, d->activation, s->up, NULL, n * d->d_mlp);
        }
        struct hw_site_event event = event_of(pass, HW_SITE_MLP_POST, layer);
        event.row_first += first;
        event.n_rows = n;
        event.width = d->d_mlp;
        event.ld = d->d_mlp;
        write_rows(pass, &event, inner);
        status = show_event(pass, &event, inner, err);
        apply(s, &w->down, inner, n, s->mlp_out + first * d->d_model);
    }
    return status == HW_OK ? visit(pass, HW_SITE_MLP_OUT, layer, s->mlp_out, d->d_model, err)
                           : status;
}

static enum hw_status run_layer(struct hw_session *s, struct hw_pass *pass, size_t layer,
                                struct hw_error *err) {
    const struct hw_model_desc *d = &s->model->desc;
    hw_branch_join(s, pass, layer, HW_JOIN_START);
    enum hw_status status = visit(pass, HW_SITE_RESID_PRE, layer, s->resid, d->d_model, err);
    status = status == HW_OK ? attention_block(s, pass, layer, err) : status;
    size_t n_values = pass->n_rows * d->d_model; // the attention block may have changed the rows
    if (status == HW_OK && !d->is_parallel) {
        s->ops.add(&s->exec, s->resid, s->out, n_values);
        status = visit(pass, HW_SITE_RESID_MID, layer, s->resid, d->d_model, err);
    }
    status = status == HW_OK ? mlp_block(s, pass, layer, err) : status;
    if (status != HW_OK) {
        return status;
    }
    if (d->is_parallel) {
        s->ops.add(&s->exec, s->resid, s->out, n_values);
    }
    s->ops.add(&s->exec, s->resid, s->mlp_out, n_values);
    status = visit(pass, HW_SITE_RESID_POST, layer, s->resid, d->d_model, err);
    if (status == HW_OK && pass->observer != NULL && pass->observer->layer_end != NULL) {
        status = pass->observer->layer_end(pass->observer->self, layer, err);
    }
    if (status == HW_OK && pass->job != NULL && pass->job->layer_end != NULL) {
        status = pass->job->layer_end(pass->job->self, layer, err);
    }
    return status;
}

enum hw_status hw_forward_layers(struct hw_session *s, struct hw_pass *pass, size_t layer_first,
                                 struct hw_error *err) {
    enum hw_status status = HW_OK;
    for (size_t layer = layer_first; layer < s->model->desc.n_layers && status == HW_OK; layer++) {
        status = run_layer(s, pass, layer, err);
    }
    return status;
}

void hw_forward_final_norm(struct hw_session *s, const struct hw_pass *pass) {
    normalise(s, &s->model->final_norm, s->resid, pass->n_rows, s->normed, s->scale);
}

// Rows of the unembedding that the observer asked for; targets are the tokens that follow, the last
// row's is the row's own (its loss is nobody's).
static enum hw_status unembed_rows(struct hw_session *s, const struct hw_pass *pass,
                                   struct hw_error *err) {
    const struct hw_observer *o = pass->observer;
    const struct hw_linear_weights *w = &s->model->unembed;
    size_t d = s->model->desc.d_model;
    size_t block = o->unembed_block > 0 ? o->unembed_block : pass->n_rows;
    for (size_t i = 0; i < pass->n_rows; i++) {
        s->targets[i] = pass->ids[i + 1 < pass->n_rows ? i + 1 : i];
    }
    for (size_t first = 0; first < pass->n_rows; first += block) {
        struct hw_site_event event = event_of(pass, HW_SITE_UNEMBED, 0);
        event.row_first = pass->sequences->first + first;
        event.n_rows = hw_size_min(pass->n_rows - first, block);
        struct hw_unembed_out out = {0};
        if (!o->unembed(o->self, &event, &out)) {
            continue;
        }
        s->ops.unembed(&s->exec, s->normed + first * d, event.n_rows, d, &w->w, w->bias,
                       s->targets + first, &out);
        enum hw_status status = o->unembed_done(o->self, &event, &out, err);
        if (status != HW_OK) {
            return status;
        }
    }
    return HW_OK;
}

enum hw_status hw_forward(struct hw_session *s, struct hw_pass *pass, uint32_t *ret_next,
                          struct hw_error *err) {
    const struct hw_model_desc *d = &s->model->desc;
    embed(s, pass);
    enum hw_status status = show(pass, HW_SITE_EMBED, d->n_layers, s->resid, d->d_model, err);
    status = status == HW_OK ? hw_forward_layers(s, pass, 0, err) : status;
    if (status != HW_OK) {
        return status;
    }
    bool has_rows = is_watched(pass, d->n_layers, HW_SITE_UNEMBED);
    if (!has_rows && ret_next == NULL && !is_watched(pass, d->n_layers, HW_SITE_FINAL)) {
        return HW_OK;
    }
    hw_forward_final_norm(s, pass);
    status = show(pass, HW_SITE_FINAL, d->n_layers, s->normed, d->d_model, err);
    if (status == HW_OK && has_rows) {
        status = unembed_rows(s, pass, err);
    }
    if (status == HW_OK && ret_next != NULL) {
        float logit;
        struct hw_unembed_out out = {.top_id = ret_next, .top_logit = &logit, .n_top = 1};
        const struct hw_linear_weights *w = &s->model->unembed;
        s->ops.unembed(&s->exec, s->normed + (pass->n_rows - 1) * d->d_model, 1, d->d_model, &w->w,
                       w->bias, pass->ids, &out);
    }
    return status;
}
