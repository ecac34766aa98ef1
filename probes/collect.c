// Rows of sites kept in memory; see collect.h. Rows of all sites lie in one arena, measured by the
// code that takes them, so that the bytes promised are the bytes used.
#include "probes/collect.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/arena.h"

struct hw_collect {
    struct hw_model_desc desc; // pointers in it are not used
    size_t max_tokens;
    size_t n_tokens;
    uint32_t *watch; // [n_layers + 1]
    float **rows;    // [n_layers + 1, HW_N_SITES], each [max_tokens, width] or NULL
    struct hw_observer observer;
    struct hw_arena arena;
};

static const uint32_t collectable =
    1u << HW_SITE_V | 1u << HW_SITE_Z | 1u << HW_SITE_ATTN_OUT | 1u << HW_SITE_MLP_POST |
    1u << HW_SITE_MLP_OUT | 1u << HW_SITE_RESID_PRE | 1u << HW_SITE_RESID_MID |
    1u << HW_SITE_RESID_POST | 1u << HW_SITE_EMBED | 1u << HW_SITE_FINAL;

size_t hw_site_width(const struct hw_model_desc *desc, enum hw_site site) {
    switch (site) {
    case HW_SITE_Q:
    case HW_SITE_ROT_Q:
    case HW_SITE_Z:
        return desc->n_heads * desc->d_head;
    case HW_SITE_K:
    case HW_SITE_V:
    case HW_SITE_ROT_K:
        return desc->n_kv_heads * desc->d_head;
    case HW_SITE_RESULT:
        return desc->n_heads * desc->d_model;
    case HW_SITE_MLP_POST:
        return desc->d_mlp;
    case HW_SITE_LN1_SCALE:
    case HW_SITE_LN2_SCALE:
        return 1;
    case HW_SITE_UNEMBED:
        return desc->n_vocab;
    default:
        return desc->d_model;
    }
}

static float **slot_of(const struct hw_collect *collect, enum hw_site site, size_t layer) {
    return &collect->rows[layer * HW_N_SITES + (size_t)site];
}

// Everything from the arena, which may be measuring.
static void take(struct hw_collect *c, struct hw_arena *arena, const uint32_t *watch) {
    size_t n_slots = c->desc.n_layers + 1;
    c->watch = hw_arena_take(arena, n_slots, sizeof *c->watch);
    c->rows = hw_arena_take(arena, n_slots * HW_N_SITES, sizeof(float *));
    for (size_t layer = 0; layer < n_slots; layer++) {
        for (size_t site = 0; site < HW_N_SITES; site++) {
            float *rows = NULL;
            if ((watch[layer] >> site & 1u) != 0) {
                size_t width = hw_site_width(&c->desc, (enum hw_site)site);
                rows = hw_arena_take(arena, c->max_tokens, width * sizeof(float));
            }
            if (c->rows != NULL) {
                c->rows[layer * HW_N_SITES + site] = rows;
            }
        }
    }
    if (c->watch != NULL) {
        memcpy(c->watch, watch, n_slots * sizeof *watch);
    }
}

size_t hw_collect_bytes(const struct hw_model_desc *desc, const uint32_t *watch,
                        size_t max_tokens) {
    struct hw_collect collect = {.desc = *desc, .max_tokens = max_tokens};
    struct hw_arena arena;
    hw_arena_measure(&arena);
    take(&collect, &arena, watch);
    return arena.is_overflown ? SIZE_MAX : sizeof collect + arena.used_bytes;
}

static enum hw_status on_site(void *self, const struct hw_site_event *event, struct hw_error *err) {
    struct hw_collect *c = self;
    size_t n_slots = c->desc.n_layers;
    bool is_last = event->site == HW_SITE_EMBED || event->site == HW_SITE_FINAL;
    float *rows = *slot_of(c, event->site, is_last ? n_slots : event->layer);
    if (rows == NULL) {
        return HW_OK;
    }
    if (event->row_first + event->n_rows > c->max_tokens) {
        return hw_fail(err, HW_USAGE, "rows up to %zu collected where there is room for %zu",
                       event->row_first + event->n_rows, c->max_tokens);
    }
    float *to = rows + event->row_first * event->width;
    if (event->ld == event->width) {
        memcpy(to, event->data, event->n_rows * event->width * sizeof *to);
    } else {
        for (size_t i = 0; i < event->n_rows; i++) {
            memcpy(to + i * event->width, event->data + i * event->ld, event->width * sizeof *to);
        }
    }
    c->n_tokens = event->pass_first + event->n_tokens;
    return HW_OK;
}

enum hw_status hw_collect_open(const struct hw_model_desc *desc, const uint32_t *watch,
                               size_t max_tokens, struct hw_collect **ret_collect,
                               struct hw_error *err) {
    for (size_t layer = 0; layer <= desc->n_layers; layer++) {
        if ((watch[layer] & ~collectable) != 0) {
            return hw_fail(err, HW_INTERNAL, "a site that is not collected (mask %x, layer %zu)",
                           (unsigned)watch[layer], layer);
        }
    }
    size_t bytes = hw_collect_bytes(desc, watch, max_tokens);
    struct hw_collect *c = calloc(1, sizeof *c);
    if (bytes == SIZE_MAX || c == NULL) {
        free(c);
        return hw_fail(err, HW_RESOURCE, "not enough memory to keep activations of %zu tokens",
                       max_tokens);
    }
    c->desc = *desc;
    c->max_tokens = max_tokens;
    enum hw_status status = hw_arena_open(&c->arena, bytes - sizeof *c, err);
    if (status != HW_OK) {
        free(c);
        return status;
    }
    take(c, &c->arena, watch);
    c->observer = (struct hw_observer){.self = c, .watch = c->watch, .on_site = on_site};
    *ret_collect = c;
    return HW_OK;
}

void hw_collect_close(struct hw_collect **collect) {
    if (collect != NULL && *collect != NULL) {
        hw_arena_close(&(*collect)->arena);
        free(*collect);
        *collect = NULL;
    }
}

const struct hw_observer *hw_collect_observer(struct hw_collect *collect) {
    return &collect->observer;
}

const float *hw_collect_rows(const struct hw_collect *collect, enum hw_site site, size_t layer) {
    bool is_last = site == HW_SITE_EMBED || site == HW_SITE_FINAL;
    return *slot_of(collect, site, is_last ? collect->desc.n_layers : layer);
}

size_t hw_collect_n_tokens(const struct hw_collect *collect) {
    return collect->n_tokens;
}
