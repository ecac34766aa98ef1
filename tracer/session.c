// Memory of a session; see session.h. take_buffers runs twice: over a measuring arena for the plan,
// then over the real one.
#include "tracer/session_internal.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"

static size_t scratch_bytes(const struct hw_session *s) {
    const struct hw_model_desc *d = &s->model->desc;
    int n = s->options.n_threads;
    size_t most = hw_linear_scratch(
        n, hw_size_max(d->d_model, hw_size_max(d->d_mlp, d->n_heads * d->d_head)));
    struct hw_attention_args args = {
        .n_queries = s->options.max_tokens,
        .n_keys = s->options.max_tokens,
        .n_heads = d->n_heads,
        .n_kv_heads = d->n_kv_heads,
        .d_head = d->d_head,
        .request = s->options.request,
    };
    most = hw_size_max(most, hw_attention_scratch(n, &args));
    if (s->options.max_generate > 0) {
        args.n_queries = 1;
        args.n_keys = s->max_keys;
        args.query_first = s->max_keys - 1;
        most = hw_size_max(most, hw_attention_scratch(n, &args));
    }
    size_t top = hw_size_max(s->options.unembed_top, 1);
    most = hw_size_max(most, hw_unembed_scratch(n, s->max_rows, d->d_model, d->n_vocab, top));
    most = hw_size_max(most, hw_projected_norm_scratch(n, d->d_head));
    most = hw_size_max(most, hw_row_abs_median_scratch(n, d->d_model));
    return hw_size_max(most, hw_state_scratch(n));
}

static void take_buffers(struct hw_session *s, struct hw_arena *arena) {
    const struct hw_model_desc *d = &s->model->desc;
    size_t rows = s->max_rows;
    size_t block = hw_size_min(rows, HW_ROW_BLOCK);
    size_t q_width = d->n_heads * d->d_head;
    size_t kv_width = d->n_kv_heads * d->d_head;
    size_t half = d->position == HW_POSITION_ROPE ? d->n_rot / 2 : 0;
    s->resid = hw_arena_take(arena, rows * d->d_model, sizeof(float));
    s->normed = hw_arena_take(arena, rows * d->d_model, sizeof(float));
    s->q = hw_arena_take(arena, rows * q_width, sizeof(float));
    if (s->options.has_cache_windows) {
        s->q_flat = hw_arena_take(arena, rows * q_width, sizeof(float));
        s->q_turned = hw_arena_take(arena, s->options.max_tokens * q_width, sizeof(float));
    }
    s->z = hw_arena_take(arena, rows * q_width, sizeof(float));
    s->out = hw_arena_take(arena, rows * d->d_model, sizeof(float));
    s->mlp_out = d->is_parallel ? hw_arena_take(arena, rows * d->d_model, sizeof(float)) : s->out;
    s->up = hw_arena_take(arena, block * d->d_mlp, sizeof(float));
    s->gate = d->is_gated ? hw_arena_take(arena, block * d->d_mlp, sizeof(float)) : NULL;
    s->scale = hw_arena_take(arena, rows, sizeof(float));
    s->cosine = hw_arena_take(arena, s->max_keys * half, sizeof(float));
    s->sine = hw_arena_take(arena, s->max_keys * half, sizeof(float));
    if (s->options.max_branches > 1) {
        s->cosine_rows = hw_arena_take(arena, rows * half, sizeof(float));
        s->sine_rows = hw_arena_take(arena, rows * half, sizeof(float));
    }
    s->layers_kept = s->options.max_generate > 0 ? d->n_layers : 1;
    size_t key_rows = hw_size_max(s->layers_kept * s->max_keys, rows);
    s->keys = hw_arena_take(arena, key_rows * kv_width, sizeof(float));
    s->values = hw_arena_take(arena, key_rows * kv_width, sizeof(float));
    s->targets = hw_arena_take(arena, rows, sizeof(uint32_t));
    s->sequences =
        hw_arena_take(arena, hw_size_max(s->options.max_branches, 1), sizeof *s->sequences);
    s->exec.scratch_bytes = scratch_bytes(s);
    s->exec.scratch = hw_arena_take(arena, s->exec.scratch_bytes, 1);
}

// Fills everything but memory. Widths were capped when the model was opened; rows are capped here,
// so that products of the two fit.
static enum hw_status prepare(struct hw_session *s, const struct hw_model *model,
                              const struct hw_session_options *options, struct hw_error *err) {
    const size_t max_positions = (size_t)1 << 24;
    memset(s, 0, sizeof *s);
    if (options->max_tokens == 0 || options->max_tokens > max_positions ||
        options->max_generate > max_positions) {
        return hw_fail(err, HW_USAGE,
                       "prompts of 1 to %zu tokens can be run (found %zu, with %zu to generate)",
                       max_positions, options->max_tokens, options->max_generate);
    }
    s->model = model;
    s->options = *options;
    if (options->max_branches > max_positions / options->max_tokens) {
        return hw_fail(err, HW_USAGE, "%zu branches of %zu tokens (expected up to %zu in all)",
                       options->max_branches, options->max_tokens, max_positions);
    }
    s->max_rows = hw_size_max(options->max_branches, 1) * options->max_tokens;
    s->max_keys = options->max_tokens + options->max_generate;
    if (model->desc.position == HW_POSITION_LEARNED && s->max_keys > model->desc.n_context) {
        return hw_fail(
            err, HW_USAGE,
            "the model has %zu learned positions (found %zu tokens, generated ones counted)",
            model->desc.n_context, s->max_keys);
    }
    s->exec.n_threads = options->n_threads;
    return HW_OK;
}

enum hw_status hw_session_measure(const struct hw_model *model,
                                  const struct hw_session_options *options, size_t *ret_bytes,
                                  struct hw_error *err) {
    struct hw_session session;
    enum hw_status status = prepare(&session, model, options, err);
    if (status != HW_OK) {
        return status;
    }
    struct hw_arena arena;
    hw_arena_measure(&arena);
    take_buffers(&session, &arena);
    if (arena.is_overflown) {
        return hw_fail(err, HW_RESOURCE,
                       "a prompt of %zu tokens needs more memory than can be addressed",
                       options->max_tokens);
    }
    *ret_bytes = arena.used_bytes;
    return HW_OK;
}

enum hw_status hw_session_open(const struct hw_model *model,
                               const struct hw_session_options *options,
                               struct hw_session **ret_session, struct hw_error *err) {
    size_t bytes;
    enum hw_status status = hw_session_measure(model, options, &bytes, err);
    if (status != HW_OK) {
        return status;
    }
    struct hw_session *s = malloc(sizeof *s);
    if (s == NULL) {
        return hw_fail(err, HW_RESOURCE, "cannot allocate a session (%zu bytes)", sizeof *s);
    }
    status = prepare(s, model, options, err);
    if (status != HW_OK) {
        free(s);
        return status;
    }
    struct hw_arena arena;
    status = hw_arena_open(&arena, bytes, err);
    if (status != HW_OK) {
        free(s);
        return status;
    }
    take_buffers(s, &arena);
    s->arena = arena;
    hw_ops_init(&s->ops, options->level);
    if (model->desc.position == HW_POSITION_ROPE) {
        hw_model_rope_table(&model->desc, 0, s->max_keys, s->cosine, s->sine);
    }
    *ret_session = s;
    return HW_OK;
}

void hw_session_close(struct hw_session **session) {
    if (session == NULL || *session == NULL) {
        return;
    }
    hw_arena_close(&(*session)->arena);
    free(*session);
    *session = NULL;
}

const struct hw_ops *hw_session_ops(const struct hw_session *session) {
    return &session->ops;
}

const struct hw_exec *hw_session_exec(const struct hw_session *session) {
    return &session->exec;
}

static enum hw_status check_ids(const struct hw_session *s, const uint32_t *ids, size_t n,
                                struct hw_error *err) {
    for (size_t i = 0; i < n; i++) {
        if (ids[i] >= s->model->desc.n_vocab) {
            return hw_fail(err, HW_USAGE,
                           "token %zu is %u (expected an id below the vocabulary of %zu)", i,
                           ids[i], s->model->desc.n_vocab);
        }
    }
    return HW_OK;
}

void hw_session_set_changes(struct hw_session *session, struct hw_changes *changes) {
    session->changes = changes;
}

struct hw_changes *hw_session_changes(const struct hw_session *session) {
    return session->changes;
}

// Tokens at positions first .. first + n of the prompt, with the session's changes.
static enum hw_status run(struct hw_session *s, const uint32_t *ids, size_t first, size_t n,
                          const struct hw_observer *observer, uint32_t *ret_next,
                          struct hw_error *err) {
    enum hw_status status = check_ids(s, ids, n, err);
    if (status != HW_OK) {
        return status;
    }
    s->sequences[0] = (struct hw_sequence){.first = first, .n = n, .changes = s->changes};
    struct hw_pass pass = {
        .ids = ids, .sequences = s->sequences, .n_sequences = 1, .n_rows = n, .observer = observer};
    s->n_run = first + n;
    return hw_forward(s, &pass, ret_next, err);
}

enum hw_status hw_session_prefill(struct hw_session *session, const uint32_t *ids, size_t n_tokens,
                                  const struct hw_observer *observer, uint32_t *ret_next,
                                  struct hw_error *err) {
    size_t most = session->options.max_tokens;
    if (n_tokens == 0 || n_tokens > most) {
        return hw_fail(err, HW_USAGE, "a prompt of %zu tokens in a session for 1 to %zu", n_tokens,
                       most);
    }
    return run(session, ids, 0, n_tokens, observer, ret_next, err);
}

enum hw_status hw_session_decode(struct hw_session *session, uint32_t id, size_t position,
                                 const struct hw_observer *observer, uint32_t *ret_next,
                                 struct hw_error *err) {
    if (session->options.max_generate == 0 || position != session->n_run ||
        position >= session->max_keys) {
        return hw_fail(err, HW_USAGE, "decoding at position %zu (expected %zu, at most %zu)",
                       position, session->n_run, session->max_keys);
    }
    return run(session, &id, position, 1, observer, ret_next, err);
}

// Linear maps and attention of a layer: keys and values of n_tokens rows, everything else of the
// last n_rows of them.
static double layer_flops(const struct hw_model_desc *d, size_t n_tokens, size_t n_rows) {
    double t = (double)n_tokens;
    double n = (double)n_rows;
    double width = (double)d->d_model;
    double heads = (double)(d->n_heads * d->d_head);
    double kv = (double)(d->n_kv_heads * d->d_head);
    double mlp = (double)d->d_mlp * (d->is_gated ? 3.0 : 2.0);
    double pairs = n * t - n * (n - 1.0) / 2.0;
    return 2.0 * width * (n * (2.0 * heads + mlp) + t * 2.0 * kv) + 4.0 * heads * pairs;
}

double hw_session_flops(const struct hw_model_desc *d, size_t n_tokens, bool has_unembed) {
    double unembed = 2.0 * (double)n_tokens * (double)d->d_model * (double)d->n_vocab;
    return layer_flops(d, n_tokens, n_tokens) * (double)d->n_layers + (has_unembed ? unembed : 0.0);
}

double hw_branch_flops(const struct hw_model_desc *d, size_t n_tokens, size_t layer,
                       size_t n_wanted) {
    if (layer >= d->n_layers) {
        return 0.0;
    }
    return layer_flops(d, n_tokens, n_tokens) * (double)(d->n_layers - 1 - layer) +
           layer_flops(d, n_tokens, n_wanted);
}
