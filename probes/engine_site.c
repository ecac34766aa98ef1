// What the declarations at sites do: norms, maxima, medians, copies, head results, and the
// statistics of whole states.
#include <math.h>
#include <string.h>

#include "kernels/size.h"
#include "probes/engine_internal.h"

// Mean over the rows of the prompt's text, in double and in order, into the companion dataset.
static enum hw_status put_mean(struct hw_engine *e, const struct hw_put *put, size_t width,
                               struct hw_error *err) {
    enum hw_dataset mean_of = (enum hw_dataset)(put->dataset + 1);
    if (!hw_schema_row(put->dataset)->has_mean || !e->config.layout->has[mean_of] ||
        put->first != 0) {
        return HW_OK;
    }
    const float *rows = put->data;
    for (size_t c = 0; c < width; c++) {
        double sum = 0.0;
        for (size_t i = 0; i < put->n; i++) {
            sum += (double)rows[i * put->ld + c];
        }
        e->means[c] = (float)(sum / (double)put->n);
    }
    struct hw_put one = {
        .dataset = mean_of, .slab_value = put->slab_value, .n = 1, .ld = width, .data = e->means};
    return hw_engine_put(e, &one, err);
}

enum hw_status hw_engine_put_statistic(struct hw_engine *e, const struct hw_put *put, size_t width,
                                       struct hw_error *err) {
    enum hw_status status = put_mean(e, put, width, err);
    if (status != HW_OK ||
        (e->config.layout->is_detail_prompt && hw_schema_row(put->dataset)->has_mean)) {
        return status;
    }
    return hw_engine_put(e, put, err);
}

static int64_t slab_value_of(const struct hw_site_event *event, enum hw_dataset dataset) {
    if (hw_schema_slab_axis(dataset) == 1 && hw_schema_row(dataset)->axes[1] == HW_AXIS_DEPTH) {
        return event->site == HW_SITE_EMBED ? 0 : (int64_t)event->layer + 1;
    }
    return (int64_t)event->layer;
}

// Statistics over rows land in the first part of e->reduced: [n_rows, width].
static size_t reduce_rows(struct hw_engine *e, const struct hw_engine_row *active,
                          const struct hw_site_event *event) {
    const struct hw_ops *ops = hw_session_ops(e->session);
    const struct hw_exec *exec = hw_session_exec(e->session);
    const struct hw_model_desc *d = &e->config.model->desc;
    const float *x = event->data;
    size_t n = event->n_rows;
    switch (active->row->reduce) {
    case HW_REDUCE_NORM: {
        bool is_per_head =
            active->row->sites[0] == HW_SITE_V || active->row->sites[0] == HW_SITE_ROT_K;
        size_t groups = is_per_head ? d->n_kv_heads : 1;
        ops->row_norm(exec, x, n, event->ld, groups, event->width / groups, e->reduced);
        return groups;
    }
    case HW_REDUCE_ABS_MAX:
        ops->row_abs_max(exec, x, n, event->ld, event->width, e->reduced);
        return 1;
    case HW_REDUCE_ABS_MEDIAN:
        ops->row_abs_median(exec, x, n, event->ld, event->width, e->reduced);
        return 1;
    default: { // HW_REDUCE_COSINE_FIRST
        size_t depth = event->site == HW_SITE_EMBED ? 0 : event->layer + 1;
        float *first = e->first_state + depth * d->d_model;
        if (event->row_first == 0) {
            memcpy(first, x, d->d_model * sizeof(float));
        }
        ops->row_cosine(exec, x, n, event->ld, event->width, first, e->reduced);
        return 1;
    }
    }
}

// |W_O,h x| for every query head, x being z_h or the value of the head's kv head.
static void project_norms(struct hw_engine *e, const struct hw_site_event *event) {
    const struct hw_model_desc *d = &e->config.model->desc;
    struct hw_head_factors factors = {.factors = e->factors +
                                                 event->layer * d->n_heads * d->d_head * d->d_head,
                                      .n_heads = d->n_heads,
                                      .n_shown = event->width / d->d_head,
                                      .d_head = d->d_head};
    hw_session_ops(e->session)
        ->projected_norm(hw_session_exec(e->session), event->data, event->n_rows, event->ld,
                         &factors, e->reduced);
}

static enum hw_status put_head_results(struct hw_engine *e, const struct hw_engine_row *active,
                                       const struct hw_site_event *event, struct hw_error *err) {
    const struct hw_ops *ops = hw_session_ops(e->session);
    const struct hw_model_desc *d = &e->config.model->desc;
    size_t n_in = d->n_heads * d->d_head;
    size_t ld = d->n_heads * d->d_model;
    hw_weight_expand(ops, &e->config.model->layers[event->layer].o.w, e->results,
                     e->output_weights);
    for (size_t first = 0; first < event->n_rows; first += HW_RESULT_ROWS) {
        size_t n = hw_size_min(event->n_rows - first, HW_RESULT_ROWS);
        for (size_t h = 0; h < d->n_heads; h++) {
            struct hw_weight w = {.data = e->output_weights + h * d->d_head,
                                  .row_bytes = n_in * sizeof(float),
                                  .dtype = HW_F32,
                                  .n_out = d->d_model,
                                  .n_in = d->d_head};
            struct hw_product product = {&w, NULL, e->results + h * d->d_model, ld};
            ops->linear(hw_session_exec(e->session),
                        event->data + first * event->ld + h * d->d_head, n, event->ld, &product, 1);
        }
        struct hw_put put = {.dataset = active->row->dataset,
                             .slab_value = (int64_t)event->layer,
                             .first = event->row_first + first,
                             .n = n,
                             .ld = ld,
                             .data = e->results,
                             .is_narrowed = active->probe->is_narrowed_by_positions};
        enum hw_status status = hw_engine_put(e, &put, err);
        if (status != HW_OK) {
            return status;
        }
    }
    return HW_OK;
}

static enum hw_status put_norm_scales(struct hw_engine *e, const struct hw_engine_row *active,
                                      const struct hw_site_event *event, struct hw_error *err) {
    if (event->site == HW_SITE_LN1_SCALE) {
        memcpy(e->ln1_scale, event->data, event->n_rows * sizeof(float));
        return HW_OK;
    }
    for (size_t i = 0; i < event->n_rows; i++) {
        e->reduced[2 * i] = e->ln1_scale[i];
        e->reduced[2 * i + 1] = event->data[i];
    }
    struct hw_put put = {.dataset = active->row->dataset,
                         .slab_value = (int64_t)event->layer,
                         .first = event->row_first,
                         .n = event->n_rows,
                         .ld = 2,
                         .data = e->reduced,
                         .is_narrowed = active->probe->is_narrowed_by_positions};
    return hw_engine_put(e, &put, err);
}

static enum hw_status append_one(struct hw_engine *e, enum hw_dataset dataset, int64_t slab_value,
                                 size_t n, const void *rows, struct hw_error *err) {
    int64_t slab = hw_engine_slab(e, dataset, slab_value);
    if (slab < 0 || !e->config.layout->has[dataset]) {
        return HW_OK;
    }
    return e->destination->ops->append(e->destination, dataset, (size_t)slab, n, rows, err);
}

static enum hw_status put_state_top(struct hw_engine *e, enum hw_dataset first,
                                    const struct hw_site_event *event, struct hw_error *err) {
    enum { MOST = 64 };
    struct hw_top_value top[MOST];
    float value[MOST];
    int32_t position[MOST];
    int32_t channel[MOST];
    size_t n = e->config.layout->n_rank;
    hw_session_ops(e->session)
        ->state_top(hw_session_exec(e->session), event->data, event->n_rows, event->ld,
                    event->width, n, top);
    for (size_t i = 0; i < n; i++) {
        value[i] = top[i].value;
        position[i] = top[i].row == UINT32_MAX ? -1 : (int32_t)top[i].row;
        channel[i] = top[i].channel == UINT32_MAX ? -1 : (int32_t)top[i].channel;
    }
    int64_t depth = slab_value_of(event, first);
    enum hw_status status = append_one(e, first, depth, 1, value, err);
    status = status == HW_OK ? append_one(e, (enum hw_dataset)(first + 1), depth, 1, position, err)
                             : status;
    return status == HW_OK ? append_one(e, (enum hw_dataset)(first + 2), depth, 1, channel, err)
                           : status;
}

// The first published criterion: |x| > 100 and |x| >= 1000 times the median of |x| over the state.
static enum hw_status put_events(struct hw_engine *e, const struct hw_site_event *event,
                                 float median, struct hw_error *err) {
    size_t room = HW_MAX_EVENTS - hw_size_min(e->n_events, HW_MAX_EVENTS);
    size_t n =
        hw_session_ops(e->session)
            ->state_events(hw_session_exec(e->session), event->data, event->n_rows, event->ld,
                           event->width, 100.0f, 1000.0f * median, room, e->events);
    e->n_events += n;
    int32_t depth = event->site == HW_SITE_EMBED ? 0 : (int32_t)event->layer + 1;
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < hw_size_min(n, room) && status == HW_OK; i++) {
        int32_t position = (int32_t)e->events[i].row;
        int32_t channel = (int32_t)e->events[i].channel;
        float ratio = fabsf(e->events[i].value) / median;
        status = append_one(e, HW_DS_MASSIVE_PROMPT, 0, 1, &e->prompt->index, err);
        status =
            status == HW_OK ? append_one(e, HW_DS_MASSIVE_POSITION, 0, 1, &position, err) : status;
        status = status == HW_OK ? append_one(e, HW_DS_MASSIVE_DEPTH, 0, 1, &depth, err) : status;
        status =
            status == HW_OK ? append_one(e, HW_DS_MASSIVE_CHANNEL, 0, 1, &channel, err) : status;
        status = status == HW_OK
                     ? append_one(e, HW_DS_MASSIVE_VALUE, 0, 1, &e->events[i].value, err)
                     : status;
        status = status == HW_OK ? append_one(e, HW_DS_MASSIVE_RATIO, 0, 1, &ratio, err) : status;
    }
    return status;
}

static enum hw_status put_state(struct hw_engine *e, const struct hw_site_event *event,
                                struct hw_error *err) {
    float median;
    float mean_abs;
    float deviation;
    hw_session_ops(e->session)
        ->state_stats(hw_session_exec(e->session), event->data, event->n_rows, event->ld,
                      event->width, &median, &mean_abs, &deviation);
    int64_t depth = slab_value_of(event, HW_DS_STATE_MEDIAN);
    enum hw_status status = append_one(e, HW_DS_STATE_MEDIAN, depth, 1, &median, err);
    status =
        status == HW_OK ? append_one(e, HW_DS_STATE_MEAN_ABS, depth, 1, &mean_abs, err) : status;
    status = status == HW_OK ? append_one(e, HW_DS_STATE_STD, depth, 1, &deviation, err) : status;
    if (status == HW_OK && e->has[HW_REDUCE_STATE_EVENTS] &&
        hw_engine_slab(e, HW_DS_STATE_MEDIAN, depth) >= 0) {
        status = put_events(e, event, median, err);
    }
    return status;
}

static enum hw_status do_row(struct hw_engine *e, const struct hw_engine_row *active,
                             const struct hw_site_event *event, struct hw_error *err) {
    struct hw_put put = {.dataset = active->row->dataset,
                         .slab_value = slab_value_of(event, active->row->dataset),
                         .first = event->row_first,
                         .n = event->n_rows,
                         .ld = event->ld,
                         .data = event->data,
                         .is_narrowed = active->probe->is_narrowed_by_positions};
    bool is_prompt = event->pass_first == 0;
    switch (active->row->reduce) {
    case HW_REDUCE_COPY:
        return hw_engine_put(e, &put, err);
    case HW_REDUCE_HEAD_RESULT:
        return put_head_results(e, active, event, err);
    case HW_REDUCE_NORM_SCALES:
        return put_norm_scales(e, active, event, err);
    case HW_REDUCE_MEAN:
        return is_prompt ? hw_engine_add_means(e, put.dataset, put.slab_value, event, err) : HW_OK;
    case HW_REDUCE_STATE_TOP:
        return is_prompt ? put_state_top(e, active->row->dataset, event, err) : HW_OK;
    case HW_REDUCE_STATE_STATS:
        return is_prompt ? put_state(e, event, err) : HW_OK;
    case HW_REDUCE_ATTRIBUTION:
        return hw_engine_attribute(e, active, event, err);
    case HW_REDUCE_STATE_EVENTS: // with the statistics, which it needs
        return HW_OK;
    case HW_REDUCE_PROJECTED_NORM:
        project_norms(e, event);
        put.ld = e->config.model->desc.n_heads;
        break;
    default:
        put.ld = reduce_rows(e, active, event);
        break;
    }
    put.data = e->reduced;
    return hw_engine_put_statistic(e, &put, put.ld, err);
}

enum hw_status hw_engine_on_site(void *self, const struct hw_site_event *event,
                                 struct hw_error *err) {
    struct hw_engine *e = self;
    if (event->site == HW_SITE_ROT_Q) {
        e->rotated_q = event->data;
    } else if (event->site == HW_SITE_ROT_K) {
        e->rotated_k = event->data;
    }
    for (size_t i = 0; i < e->n_active; i++) {
        const struct hw_engine_row *active = &e->active[i];
        if (active->row->sites[0] != event->site && active->row->sites[1] != event->site) {
            continue;
        }
        enum hw_status status = do_row(e, active, event, err);
        if (status != HW_OK) {
            return status;
        }
    }
    return HW_OK;
}
