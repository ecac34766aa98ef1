// Secondary sinks (arXiv 2512.22213, src/hidden_state_base.py): tokens whose residual points where
// that of the first sink does, over some layers.
//
// n[l] is the norm of the first sink after block l (the last one after the final norm, as the
// reference has it), D[l] = n[l + 1] - n[l]; the window is argmax(D) + 1 .. argmin(D from there) +
// 1, exclusive. In each of its layers a token behind the first sink with |cosine| above the
// threshold counts; its lifetime is the number of such layers, its birth the first. The first sink
// is the one of the first few positions with the largest norm, meant over layers; cosines are
// recorded to position 0, so a prompt with another first sink is only counted.
#include <math.h>
#include <string.h>

#include "analysis/sinks_internal.h"
#include "kernels/size.h"

enum { MAX_LAYERS = 4096, MAX_FIRST = 3, REFERENCE_MARGIN = 15 };

void hw_sinks_plan_secondary(struct sinks_work *w) {
    struct hw_sinks *out = w->out;
    struct hw_sinks_secondary *s = &out->secondary;
    bool is_whole = out->n_depths >= 3 && out->n_depths <= MAX_LAYERS;
    for (size_t d = 0; d < out->n_depths; d++) {
        is_whole = is_whole && out->depths[d] == (int32_t)d;
    }
    if (!hw_trace_has(w->trace, HW_DS_RESIDUAL_NORM) ||
        !hw_trace_has(w->trace, HW_DS_RESIDUAL_COSINE_FIRST) ||
        !hw_trace_has(w->trace, HW_DS_FINAL_NORM)) {
        s->why_not = "needs the norms of single tokens (--record norms, --detail token)";
    } else if (!is_whole) {
        s->why_not = "needs norms at every depth of a model of two layers or more";
    } else if (!out->has_tokens) {
        s->why_not = "needs attention statistics of single tokens (--record attention)";
    }
    if (s->why_not != NULL) {
        return;
    }
    size_t least = out->options.least_lifetime;
    s->n_layers = out->n_depths - 1;
    s->first_lifetime = out->options.first_lifetime;
    if (s->first_lifetime == 0 && s->n_layers > REFERENCE_MARGIN) {
        s->first_lifetime = s->n_layers - REFERENCE_MARGIN;
    }
    s->has_labels = s->first_lifetime > least;
}

enum hw_sink_label hw_sinks_label(const struct hw_sinks *sinks, int32_t lifetime) {
    const struct hw_sinks_secondary *s = &sinks->secondary;
    if (s->why_not != NULL || !s->has_labels || lifetime <= 0) {
        return HW_SINK_NONE;
    }
    return (size_t)lifetime >= s->first_lifetime               ? HW_SINK_LIKE_FIRST
           : (size_t)lifetime >= sinks->options.least_lifetime ? HW_SINK_SECONDARY
                                                               : HW_SINK_NOISE;
}

// norms [n_layers, MAX_FIRST]: the first positions after every block.
static enum hw_status read_norms(struct sinks_work *w, const struct sinks_prompt *p, size_t n_first,
                                 float (*ret_norms)[MAX_FIRST], struct hw_error *err) {
    size_t n_layers = w->out->secondary.n_layers;
    enum hw_status status = HW_OK;
    for (size_t l = 0; l < n_layers && status == HW_OK; l++) {
        bool is_last = l + 1 == n_layers;
        status = hw_trace_read_f32(w->trace, is_last ? HW_DS_FINAL_NORM : HW_DS_RESIDUAL_NORM,
                                   is_last ? 0 : l + 1, p->prompt->first_token, n_first,
                                   ret_norms[l], err);
    }
    return status;
}

static size_t find_first_sink(float (*norms)[MAX_FIRST], size_t n_layers, size_t n_first) {
    size_t best = 0;
    double best_sum = 0;
    for (size_t t = 0; t < n_first; t++) {
        double sum = 0;
        for (size_t l = 0; l < n_layers; l++) {
            sum += norms[l][t];
        }
        if (t == 0 || sum > best_sum) {
            best = t;
            best_sum = sum;
        }
    }
    return best;
}

// Layers first .. end - 1; an empty window where nothing follows the steepest rise.
static void find_window(float (*norms)[MAX_FIRST], size_t n_layers, size_t t, size_t *ret_first,
                        size_t *ret_end) {
    size_t rise = 0;
    for (size_t l = 0; l + 1 < n_layers; l++) {
        if (norms[l + 1][t] - norms[l][t] > norms[rise + 1][t] - norms[rise][t]) {
            rise = l;
        }
    }
    size_t fall = rise + 1;
    for (size_t l = rise + 1; l + 1 < n_layers; l++) {
        if (norms[l + 1][t] - norms[l][t] < norms[fall + 1][t] - norms[fall][t]) {
            fall = l;
        }
    }
    *ret_first = rise + 1;
    *ret_end = fall + 1 < n_layers ? fall + 1 : rise + 1;
}

// Adds the layer to the tokens whose cosines, in rows, are above the threshold.
static void add_layer(struct sinks_work *w, const struct sinks_prompt *p, size_t layer) {
    for (size_t t = 1; t < p->n_tokens; t++) {
        double cosine = w->rows[t];
        if (fabs(cosine) > w->out->options.cosine) {
            if (w->lifetime[t]++ == 0) {
                w->birth[t] = (int32_t)layer;
            }
            w->cosine_sum[t] += cosine;
        }
    }
}

static void count(struct sinks_work *w, const struct sinks_prompt *p) {
    struct hw_sinks_secondary *s = &w->out->secondary;
    for (size_t t = 1; t < p->n_tokens; t++) {
        if (w->lifetime[t] > 0) {
            s->counts[(size_t)w->birth[t] * (s->n_layers + 1) + (size_t)w->lifetime[t]]++;
            s->n_tokens[hw_sinks_label(w->out, w->lifetime[t])]++;
        }
    }
}

enum hw_status hw_sinks_add_secondary(struct sinks_work *w, const struct sinks_prompt *p,
                                      struct hw_error *err) {
    float norms[MAX_LAYERS][MAX_FIRST];
    struct hw_sinks_secondary *s = &w->out->secondary;
    size_t n_first = hw_size_min(hw_size_min(w->out->options.n_first, MAX_FIRST), p->n_tokens);
    size_t first;
    size_t end;
    w->has_secondary = false;
    if (s->why_not != NULL) {
        return HW_OK;
    }
    enum hw_status status = read_norms(w, p, n_first, norms, err);
    if (status != HW_OK) {
        return status;
    }
    size_t reference = find_first_sink(norms, s->n_layers, n_first);
    s->reference[p->index] = (int32_t)reference;
    find_window(norms, s->n_layers, reference, &first, &end);
    if (first < end) {
        s->first_layer[p->index] = (int32_t)first;
        s->end_layer[p->index] = (int32_t)end;
    }
    if (reference != 0) {
        s->n_elsewhere++;
        return HW_OK;
    }
    memset(w->lifetime, 0, p->n_tokens * sizeof *w->lifetime);
    memset(w->cosine_sum, 0, p->n_tokens * sizeof *w->cosine_sum);
    for (size_t l = first; l < end && status == HW_OK; l++) {
        status = hw_trace_read_f32(w->trace, HW_DS_RESIDUAL_COSINE_FIRST, l + 1,
                                   p->prompt->first_token, p->n_tokens, w->rows, err);
        if (status == HW_OK) {
            add_layer(w, p, l);
        }
    }
    if (status == HW_OK) {
        w->has_secondary = true;
        count(w, p);
    }
    return status;
}
