// From rows of the pass to rows of a dataset; see engine_internal.h.
#include <math.h>
#include <string.h>

#include "kernels/size.h"
#include "probes/engine_internal.h"

int64_t hw_engine_slab(const struct hw_engine *e, enum hw_dataset dataset, int64_t value) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    if (hw_schema_slab_axis(dataset) < 0) {
        return 0;
    }
    const int32_t *const *map = row->axes[1] == HW_AXIS_DEPTH
                                    ? (const int32_t *const *)e->depth_slab
                                    : (const int32_t *const *)e->layer_slab;
    return map[row->group][value];
}

// The axis of heads of a dataset: which of them the layout records, and how many values each has.
struct units {
    const int32_t *chosen; // NULL: all, as they are
    size_t n_chosen;
    size_t n_shown;
    size_t width;
    const uint8_t *recorded; // [n_chosen] of this slab, or NULL
};

static struct units units_of(const struct hw_engine *e, enum hw_dataset dataset, int64_t slab) {
    const struct hw_layout *layout = e->config.layout;
    const struct hw_schema_row *row = hw_schema_row(dataset);
    const struct hw_group_axes *axes = &layout->groups[row->group];
    struct units units = {.n_chosen = 1, .n_shown = 1};
    size_t total = 1;
    for (size_t i = hw_schema_slab_axis(dataset) == 1 ? 2 : 1; i < row->n_axes; i++) {
        total *= hw_layout_axis(layout, row->group, row->axes[i]);
        if (row->axes[i] == HW_AXIS_HEAD) {
            units.n_chosen = axes->n_heads;
            units.n_shown = layout->n_heads;
            units.chosen = axes->n_heads == layout->n_heads ? NULL : axes->heads;
            units.recorded =
                axes->recorded != NULL ? axes->recorded + (size_t)slab * axes->n_heads : NULL;
        } else if (row->axes[i] == HW_AXIS_KV_HEAD) {
            units.n_chosen = axes->n_kv_heads;
            units.n_shown = layout->n_kv_heads;
            units.chosen = axes->n_kv_heads == layout->n_kv_heads ? NULL : axes->kv_heads;
        }
    }
    units.width = total / units.n_chosen;
    return units;
}

static void gather_row(const struct units *units, enum hw_element element, const uint32_t *from,
                       uint32_t *to) {
    for (size_t u = 0; u < units->n_chosen; u++) {
        size_t shown = units->chosen != NULL ? (size_t)units->chosen[u] : u;
        uint32_t *at = to + u * units->width;
        if (units->recorded == NULL || units->recorded[u]) {
            memcpy(at, from + shown * units->width, units->width * sizeof(uint32_t));
            continue;
        }
        float nothing = NAN;
        for (size_t i = 0; i < units->width; i++) {
            if (element == HW_ELEMENT_I4) {
                at[i] = UINT32_MAX; // -1: no key
            } else {
                memcpy(at + i, &nothing, sizeof nothing);
            }
        }
    }
}

// Stored probabilities as round(p * 65534), 65535 where there is none.
static void to_u16(const float *x, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++) {
        out[i] = isnan(x[i]) ? UINT16_MAX : (uint16_t)lrintf(x[i] * 65534.0f);
    }
}

enum hw_status hw_engine_put(struct hw_engine *e, const struct hw_put *put, struct hw_error *err) {
    const struct hw_layout *layout = e->config.layout;
    int64_t slab = hw_engine_slab(e, put->dataset, put->slab_value);
    if (!layout->has[put->dataset] || slab < 0) {
        return HW_OK;
    }
    struct units units = units_of(e, put->dataset, slab);
    enum hw_element element = layout->element[put->dataset];
    bool is_half = element == HW_ELEMENT_F2 || element == HW_ELEMENT_U2;
    bool picks_rows = put->is_narrowed && e->config.positions != NULL;
    size_t values = units.n_chosen * units.width;
    const struct hw_destination_ops *ops = e->destination->ops;
    if (!picks_rows && !is_half && units.chosen == NULL && units.recorded == NULL &&
        put->ld == values) {
        return ops->append(e->destination, put->dataset, (size_t)slab, put->n, put->data, err);
    }
    // Half the block holds the gathered rows, the other half their narrowed form.
    size_t block = hw_size_max(1, e->work_bytes / (values * 2 * sizeof(uint32_t)));
    uint32_t *gathered = (uint32_t *)e->work;
    uint16_t *half = (uint16_t *)(gathered + block * values);
    size_t n = 0;
    for (size_t i = 0; i < put->n; i++) {
        if (!picks_rows || e->is_recorded[put->first + i]) {
            gather_row(&units, element, (const uint32_t *)put->data + i * put->ld,
                       gathered + n * values);
            n++;
        }
        if (n > 0 && (n == block || i + 1 == put->n)) {
            if (element == HW_ELEMENT_U2) {
                to_u16((const float *)gathered, n * values, half);
            } else if (is_half) {
                hw_session_ops(e->session)
                    ->to_half(hw_session_exec(e->session), (const float *)gathered, n * values,
                              half);
            }
            const void *rows = is_half ? (const void *)half : (const void *)gathered;
            enum hw_status status =
                ops->append(e->destination, put->dataset, (size_t)slab, n, rows, err);
            if (status != HW_OK) {
                return status;
            }
            n = 0;
        }
    }
    return HW_OK;
}
