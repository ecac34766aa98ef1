// The declarations of /attribution: the rows of one position are kept as the pass shows them; the
// final norm, the last of them, turns them into the figures of the prompt.
#include "probes/engine_internal.h"

static enum hw_status put(struct hw_engine *e, enum hw_dataset dataset, int64_t slab_value,
                          size_t width, const void *data, struct hw_error *err) {
    struct hw_put one = {
        .dataset = dataset, .slab_value = slab_value, .n = 1, .ld = width, .data = data};
    return e->config.layout->has[dataset] ? hw_engine_put(e, &one, err) : HW_OK;
}

static enum hw_status put_all(struct hw_engine *e, struct hw_error *err) {
    const struct hw_attribution *a = &e->attribution;
    const struct hw_model_desc *d = &e->config.model->desc;
    int32_t position = e->prompt->prompt->target_id >= 0 ? (int32_t)e->attribution_at : -1;
    enum hw_status status = put(e, HW_DS_ATTRIBUTION_POSITION, -1, 1, &position, err);
    status = status == HW_OK ? put(e, HW_DS_ATTRIBUTION_LOGIT, -1, 1, &a->logit, err) : status;
    status =
        status == HW_OK ? put(e, HW_DS_ATTRIBUTION_EMBEDDING, -1, 1, &a->embedding, err) : status;
    status = status == HW_OK ? put(e, HW_DS_ATTRIBUTION_BIAS, -1, 1, &a->bias, err) : status;
    for (size_t l = 0; l < d->n_layers && status == HW_OK; l++) {
        status =
            put(e, HW_DS_ATTRIBUTION_HEAD, (int64_t)l, d->n_heads, a->head + l * d->n_heads, err);
        status = status == HW_OK
                     ? put(e, HW_DS_ATTRIBUTION_MLP, (int64_t)l, 1, a->mlp_share + l, err)
                     : status;
    }
    for (size_t depth = 0; depth <= d->n_layers && status == HW_OK; depth++) {
        status =
            put(e, HW_DS_ATTRIBUTION_LENS_LOGIT, (int64_t)depth, 1, a->lens_logit + depth, err);
        status = status == HW_OK ? put(e, HW_DS_ATTRIBUTION_LENS_RANK, (int64_t)depth, 1,
                                       a->lens_rank + depth, err)
                                 : status;
    }
    return status;
}

enum hw_status hw_engine_attribute(struct hw_engine *e, const struct hw_engine_row *active,
                                   const struct hw_site_event *event, struct hw_error *err) {
    if (event->pass_first != 0) {
        return HW_OK; // a token after the prompt
    }
    if (event->site == HW_SITE_FINAL) {
        if (active->row->dataset != HW_DS_ATTRIBUTION_LOGIT) {
            return HW_OK; // once for all of them
        }
        const struct hw_prompt *prompt = e->prompt->prompt;
        hw_attribution_finish(&e->attribution, e->session, prompt->target_id, prompt->foil_id);
        return put_all(e, err);
    }
    size_t row = e->attribution_at - event->row_first;
    if (e->attribution_at >= event->row_first && row < event->n_rows) {
        hw_attribution_see(&e->attribution, event->site, event->layer,
                           event->data + row * event->ld);
    }
    return HW_OK;
}
