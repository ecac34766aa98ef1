// See cache_window.h. While the cache is not full the place is the position: then the queries are
// those that attention has anyway, bit for bit.
#include "tracer/cache_window.h"

#include <string.h>

#include "kernels/size.h"

static bool has_windows(const struct hw_changes *changes, size_t layer) {
    const struct hw_layer_changes *at = changes != NULL ? &changes->layers[layer] : NULL;
    for (size_t c = 0; at != NULL && c < at->n_attention; c++) {
        if (at->attention[c].is_cache_form) {
            return true;
        }
    }
    return false;
}

bool hw_cache_windows_any(const struct hw_pass *pass, size_t layer) {
    for (size_t i = 0; i < pass->n_sequences; i++) {
        if (has_windows(pass->sequences[i].changes, layer)) {
            return true;
        }
    }
    const struct hw_branch_job *job = pass->job;
    for (size_t b = 0; job != NULL && b < job->n_branches; b++) {
        if (job->branches[b]->first_layer == layer && has_windows(job->branches[b], layer)) {
            return true;
        }
    }
    return false;
}

// One query of the heads of a window.
static void turn_row(struct hw_session *s, const struct hw_attention_change *window,
                     const float *flat, size_t place, float *turned) {
    const struct hw_model_desc *d = &s->model->desc;
    size_t at = place * (d->n_rot / 2);
    for (size_t h = 0; h < d->n_heads; h++) {
        if (window->heads == NULL || window->heads[h] != 0) {
            float *x = turned + h * d->d_head;
            memcpy(x, flat + h * d->d_head, d->d_head * sizeof *x);
            s->ops.rope(&s->exec, x, 1, d->d_head, 1, d->d_head, d->n_rot, d->is_rope_interleaved,
                        s->cosine + at, s->sine + at);
        }
    }
}

void hw_cache_windows_turn(struct hw_session *s, const struct hw_sequence *sequence, size_t layer) {
    if (!has_windows(sequence->changes, layer)) {
        return;
    }
    size_t width = s->model->desc.n_heads * s->model->desc.d_head;
    const struct hw_layer_changes *at = &sequence->changes->layers[layer];
    const float *flat = s->q_flat + sequence->q_row * width;
    memcpy(s->q_turned, s->q + sequence->q_row * width, sequence->n * width * sizeof(float));
    for (size_t c = 0; c < at->n_attention; c++) {
        struct hw_attention_change *window = &at->attention[c];
        if (!window->is_cache_form) {
            continue;
        }
        window->q_sinks = s->q_turned;
        for (size_t i = 0; i < sequence->n; i++) {
            size_t position = sequence->first + i;
            size_t slots = hw_size_max(window->n_sinks + window->n_recent, 1);
            size_t place = hw_size_min(position, slots - 1);
            if (window->queries == NULL || window->queries[position] != 0) {
                turn_row(s, window, flat + i * width, place, s->q_turned + i * width);
            }
        }
    }
}
