// Massive activations (C1) and activation outliers (E1); see outliers.h.
//
// The capture's table /massive has every activation that meets the published thresholds. Looser
// thresholds can only be answered from the largest few values of every state.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/outliers_internal.h"
#include "kernels/size.h"

enum { AT_ONCE = 512, BITS = 8 };

// Rows of /massive.
struct events {
    int32_t prompt[AT_ONCE];
    int32_t position[AT_ONCE];
    int32_t depth[AT_ONCE];
    int32_t channel[AT_ONCE];
    float value[AT_ONCE];
    float ratio[AT_ONCE];
};

// One massive activation.
struct massive {
    int32_t position;
    int32_t depth; // number of the model
    int32_t channel;
    double value;
    double ratio;
};

static enum hw_status read_events(struct outliers_work *w, size_t first, size_t n,
                                  struct events *ret, struct hw_error *err) {
    struct hw_trace *trace = w->trace;
    enum hw_status status =
        hw_trace_read_i32(trace, HW_DS_MASSIVE_PROMPT, 0, first, n, ret->prompt, err);
    if (status == HW_OK) {
        status = hw_trace_read_i32(trace, HW_DS_MASSIVE_POSITION, 0, first, n, ret->position, err);
    }
    if (status == HW_OK) {
        status = hw_trace_read_i32(trace, HW_DS_MASSIVE_DEPTH, 0, first, n, ret->depth, err);
    }
    if (status == HW_OK) {
        status = hw_trace_read_i32(trace, HW_DS_MASSIVE_CHANNEL, 0, first, n, ret->channel, err);
    }
    if (status == HW_OK) {
        status = hw_trace_read_f32(trace, HW_DS_MASSIVE_VALUE, 0, first, n, ret->value, err);
    }
    if (status == HW_OK) {
        status = hw_trace_read_f32(trace, HW_DS_MASSIVE_RATIO, 0, first, n, ret->ratio, err);
    }
    return status;
}

static enum hw_status read_top(struct outliers_work *w, size_t prompt, size_t depth,
                               struct hw_error *err) {
    enum hw_status status =
        hw_trace_read_f32(w->trace, HW_DS_STATE_TOP_VALUE, depth, prompt, 1, w->top, err);
    if (status == HW_OK) {
        status = hw_trace_read_i32(w->trace, HW_DS_STATE_TOP_POSITION, depth, prompt, 1,
                                   w->top_position, err);
    }
    if (status == HW_OK) {
        status = hw_trace_read_i32(w->trace, HW_DS_STATE_TOP_CHANNEL, depth, prompt, 1,
                                   w->top_channel, err);
    }
    return status;
}

static enum hw_status mark(struct outliers_work *w, unsigned char *bits, int32_t channel,
                           struct hw_error *err) {
    if (channel < 0) {
        return HW_OK; // a state of fewer values than the table has ranks
    }
    if (channel >= OUTLIERS_MAX_CHANNELS) {
        return hw_fail(err, HW_INPUT,
                       "%s: channel number out of range (expected below %d, found %d)",
                       hw_trace_path(w->trace), (int)OUTLIERS_MAX_CHANNELS, (int)channel);
    }
    bits[channel / BITS] |= (unsigned char)(1u << channel % BITS);
    return HW_OK;
}

static enum hw_status mark_all(struct outliers_work *w, unsigned char *bits, struct hw_error *err) {

    struct events *events = malloc(sizeof *events);
    size_t n_events = hw_trace_has(w->trace, HW_DS_MASSIVE_VALUE)
                          ? hw_trace_n_rows(w->trace, HW_DS_MASSIVE_VALUE)
                          : 0;
    enum hw_status status =
        events != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for a table");
    for (size_t i = 0; i < n_events && status == HW_OK; i += AT_ONCE) {
        size_t n = hw_size_min(AT_ONCE, n_events - i);
        status = read_events(w, i, n, events, err);
        for (size_t j = 0; j < n && status == HW_OK; j++) {
            status = mark(w, bits, events->channel[j], err);
        }
    }
    free(events);
    for (size_t i = 0; i < w->out->n_file_prompts * w->out->n_depths && status == HW_OK; i++) {
        status = read_top(w, i / w->out->n_depths, i % w->out->n_depths, err);
        for (size_t r = 0; r < w->n_rank && status == HW_OK; r++) {
            status = mark(w, bits, w->top_channel[r], err);
        }
    }
    return status;
}

enum hw_status hw_outliers_find_channels(struct outliers_work *w, int32_t **ret_channels,
                                         size_t *ret_n, struct hw_error *err) {
    unsigned char *bits = calloc(OUTLIERS_MAX_CHANNELS / BITS, 1);
    int32_t *channels = NULL;
    size_t n = 0;
    enum hw_status status =
        bits != NULL ? mark_all(w, bits, err) : hw_fail(err, HW_RESOURCE, "not enough memory");
    for (int pass = 0; pass < 2 && status == HW_OK; pass++) {
        n = 0;
        for (int32_t c = 0; c < OUTLIERS_MAX_CHANNELS; c++) {
            if ((bits[c / BITS] >> c % BITS & 1) != 0) {
                if (channels != NULL) {
                    channels[n] = c;
                }
                n++;
            }
        }
        if (pass == 0) {
            channels = calloc(n + 1, sizeof *channels);
            status = channels != NULL
                         ? HW_OK
                         : hw_fail(err, HW_RESOURCE, "not enough memory for %zu channels", n);
        }
    }
    free(bits);
    if (status == HW_OK) {
        *ret_channels = channels;
        *ret_n = n;
    }
    return status;
}

static int compare_channels(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a;
    int32_t y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

// Where the channel stands in the table of a depth, or SIZE_MAX.
static size_t find_cell(const struct hw_outliers *out, size_t depth, int32_t channel) {
    const int32_t *found = out->n_channels == 0 ? NULL
                                                : bsearch(&channel, out->channels, out->n_channels,
                                                          sizeof channel, compare_channels);
    return found == NULL ? SIZE_MAX : depth * out->n_channels + (size_t)(found - out->channels);
}

static void keep_largest(struct hw_outliers *out, size_t depth, int32_t channel, double value) {
    size_t cell = find_cell(out, depth, channel);
    if (cell != SIZE_MAX && !(fabs(value) <= fabs(out->channel_largest[cell]))) {
        out->channel_largest[cell] = value;
    }
}

static void add_massive(struct outliers_work *w, const struct outliers_prompt *p, size_t depth,
                        const struct massive *m) {
    struct hw_outliers *out = w->out;
    size_t cell = find_cell(out, depth, m->channel);
    if (m->position < 0 || (size_t)m->position >= p->n_tokens || cell == SIZE_MAX) {
        return; // of a generated token
    }
    out->by_depth[depth].n_massive++;
    out->channel_counts[cell]++;
    keep_largest(out, depth, m->channel, m->value);
    struct hw_outlier_token *note = &w->notes[m->position];
    if (note->n_massive == 0 || note->last_depth != m->depth) {
        note->n_massive++; // one depth may hold several channels of it
    }
    note->first_depth =
        note->first_depth < 0 || m->depth < note->first_depth ? m->depth : note->first_depth;
    note->last_depth = m->depth > note->last_depth ? m->depth : note->last_depth;
    if (!(fabs(m->value) <= fabs(note->value))) {
        note->value = m->value;
        note->ratio = m->ratio;
        note->depth = m->depth;
        note->channel = m->channel;
    }
}

// The rows of /massive of this prompt, by depth; the table is in the order of prompts.
static enum hw_status add_events(struct outliers_work *w, const struct outliers_prompt *p,
                                 struct hw_error *err) {
    const struct hw_outliers_options *options = &w->out->options;
    size_t n_events = hw_trace_n_rows(w->trace, HW_DS_MASSIVE_VALUE);
    struct events *events = malloc(sizeof *events);
    enum hw_status status =
        events != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for a table");
    bool is_done = false;
    while (status == HW_OK && !is_done && w->next_event < n_events) {
        size_t n = hw_size_min(AT_ONCE, n_events - w->next_event);
        status = read_events(w, w->next_event, n, events, err);
        for (size_t i = 0; i < n && status == HW_OK && !is_done; i++) {
            int64_t depth = hw_trace_find(w->trace, HW_GROUP_ROOT, HW_AXIS_DEPTH, events->depth[i]);
            struct massive m = {events->position[i], events->depth[i], events->channel[i],
                                events->value[i], events->ratio[i]};
            is_done = events->prompt[i] > p->prompt->prompt;
            w->next_event += !is_done;
            if (events->prompt[i] == p->prompt->prompt && depth >= 0 &&
                fabs(m.value) > options->least && m.ratio >= options->ratio) {
                add_massive(w, p, (size_t)depth, &m);
            }
        }
    }
    free(events);
    return status;
}

// What the state's largest values, its median and its mean say (the layer report).
static void add_report(struct outliers_work *w, const struct outliers_prompt *p, size_t depth,
                       double median, double mean) {
    struct hw_outliers *out = w->out;
    struct hw_outlier_depth *of = &out->by_depth[depth];
    double largest = fabs((double)w->top[0]);
    for (size_t r = 0; r < HW_OUTLIERS_TOP && r < w->n_rank && isfinite(w->top[r]); r++) {
        hw_mean_add(&of->top[r], fabs((double)w->top[r]));
    }
    hw_mean_add(&of->median, median);
    hw_mean_add(&of->mean_abs, mean);
    if (median > 0) {
        hw_mean_add(&of->median_ratio, largest / median);
    }
    if (mean > 0) {
        hw_mean_add(&of->mean_ratio, largest / mean);
    }
    of->n_median_prompts += largest > out->options.least && largest >= out->options.ratio * median;
    if (!(largest <= fabs(of->largest))) {
        of->largest = w->top[0];
        of->position = w->top_position[0];
        of->channel = w->top_channel[0];
    }
    for (size_t r = 0; r < w->n_rank && isfinite(w->top[r]); r++) {
        double value = fabs((double)w->top[r]);
        keep_largest(out, depth, w->top_channel[r], w->top[r]);
        if (out->is_from_top && value > out->options.least &&
            value >= out->options.ratio * median) {
            struct massive m = {w->top_position[r], out->depths[depth], w->top_channel[r],
                                w->top[r], value / median};
            add_massive(w, p, depth, &m);
        }
    }
}

static enum hw_status add_tokens(struct outliers_work *w, const struct outliers_prompt *p,
                                 size_t depth, double mean, struct hw_error *err) {
    struct hw_outliers *out = w->out;
    struct hw_outlier_depth *of = &out->by_depth[depth];
    bool has_any = false;
    enum hw_status status = hw_trace_read_f32(w->trace, HW_DS_RESIDUAL_MAX, depth,
                                              p->prompt->first_token, p->n_tokens, w->rows, err);
    for (size_t t = 0; t < p->n_tokens && status == HW_OK; t++) {
        if ((double)w->rows[t] > out->options.mean_ratio * mean) {
            enum hw_token_class token_class = HW_TOKEN_UNKNOWN;
            status = hw_outliers_classify(w, p, t, &token_class, err);
            of->n_tokens[token_class]++;
            w->notes[t].n_outlier++;
            has_any = true;
        }
    }
    of->n_mean_prompts += has_any;
    return status;
}

enum hw_status hw_outliers_add_states(struct outliers_work *w, const struct outliers_prompt *p,
                                      struct hw_error *err) {
    struct hw_outliers *out = w->out;
    enum hw_status status = out->is_from_top ? HW_OK : add_events(w, p, err);
    bool is_spoiled = false;
    for (size_t depth = 0; depth < out->n_depths && status == HW_OK; depth++) {
        float median = 0;
        float mean = 0;
        status = read_top(w, p->index, depth, err);
        if (status == HW_OK) {
            status =
                hw_trace_read_f32(w->trace, HW_DS_STATE_MEDIAN, depth, p->index, 1, &median, err);
        }
        if (status == HW_OK) {
            status =
                hw_trace_read_f32(w->trace, HW_DS_STATE_MEAN_ABS, depth, p->index, 1, &mean, err);
        }
        bool is_finite = isfinite(median) && isfinite(mean) && isfinite(w->top[0]);
        is_spoiled = is_spoiled || (status == HW_OK && !is_finite);
        if (status == HW_OK && is_finite) {
            add_report(w, p, depth, median, mean);
            status = out->has_norms ? add_tokens(w, p, depth, mean, err) : HW_OK;
        }
    }
    out->n_spoiled += is_spoiled;
    return status;
}
