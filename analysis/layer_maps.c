// Heads to one map; see layer_maps.h.
#include "analysis/layer_maps.h"

#include <stdlib.h>
#include <string.h>

enum hw_status hw_layer_maps_check(const struct hw_map_source *source, const char *path,
                                   const struct hw_layer_map_options *options,
                                   struct hw_error *err) {
    const int32_t *heads = hw_map_source_heads(source);
    for (size_t l = 0; l < hw_map_source_n_layers(source); l++) {
        int32_t layer = hw_map_source_layers(source)[l];
        if (layer != (int32_t)l) {
            return hw_fail(err, HW_INPUT,
                           "%s: every layer from 0 on is needed (%s has layer %d where %zu was "
                           "expected)",
                           path, hw_map_source_record(source), (int)layer, l);
        }
        bool has_any = false;
        for (size_t h = 0; h < hw_map_source_n_heads(source); h++) {
            bool is_meant = options->reduce != HW_HEADS_ONE || heads[h] == options->head;
            has_any |= is_meant && hw_map_source_has(source, l, h);
        }
        if (!has_any && options->reduce == HW_HEADS_ONE) {
            return hw_fail(err, HW_INPUT, "%s: %s has no head %d.%d", path,
                           hw_map_source_record(source), (int)layer, (int)options->head);
        }
        if (!has_any) {
            return hw_fail(err, HW_INPUT, "%s: %s has no head of layer %d", path,
                           hw_map_source_record(source), (int)layer);
        }
    }
    return HW_OK;
}

// Heads on their way to one map.
struct reduction {
    const struct hw_layer_map_options *options;
    double *map; // [n, n]
    size_t n;
    size_t head; // the one at work
    size_t n_heads;
};

static enum hw_status add_block(void *self, const struct hw_map_block *block,
                                struct hw_error *err) {
    struct reduction *r = self;
    if (r->n_heads == 0 || r->head != block->head) {
        r->head = block->head;
        r->n_heads++;
    }
    bool is_first = r->n_heads == 1;
    float least = 0;
    for (size_t i = 0; i < block->n_rows; i++) {
        const float *from = block->rows + i * block->stride;
        double *restrict to = r->map + (block->first_row + i) * r->n;
        size_t n_seen = block->first_row + i + 1;
        for (size_t j = 0; j < n_seen; j++) {
            least = from[j] < least ? from[j] : least;
        }
        if (is_first || r->options->reduce == HW_HEADS_MEAN) {
            for (size_t j = 0; j < n_seen; j++) {
                to[j] += (double)from[j];
            }
        } else if (r->options->reduce == HW_HEADS_MAX) {
            for (size_t j = 0; j < n_seen; j++) {
                to[j] = (double)from[j] > to[j] ? (double)from[j] : to[j];
            }
        } else {
            for (size_t j = 0; j < n_seen; j++) {
                to[j] = (double)from[j] < to[j] ? (double)from[j] : to[j];
            }
        }
    }
    return least < 0 ? hw_fail(err, HW_INPUT,
                               "head %zu of layer %zu has a weight of %g, expected "
                               "none below 0",
                               block->head, block->layer, (double)least)
                     : HW_OK;
}

// Divides by the number of heads, mixes the residual in and makes the row sum to 1; a row of
// nothing stays as it is.
static void finish_row(const struct reduction *r, size_t i) {
    double *row = r->map + i * r->n;
    double weight = 1 - r->options->residual;
    double sum = 0;
    for (size_t j = 0; j <= i && r->options->reduce == HW_HEADS_MEAN; j++) {
        row[j] /= (double)r->n_heads;
    }
    if (r->options->is_raw) {
        return;
    }
    for (size_t j = 0; j <= i; j++) {
        row[j] = row[j] * weight + (j == i ? r->options->residual : 0);
        sum += row[j];
    }
    for (size_t j = 0; j <= i && sum > 0; j++) {
        row[j] /= sum;
    }
}

enum hw_status hw_layer_map(struct hw_map_source *source, size_t prompt, size_t layer,
                            const struct hw_layer_map_options *options, double *ret_map,
                            struct hw_error *err) {
    struct reduction r = {
        .options = options, .map = ret_map, .n = hw_map_source_n_tokens(source, prompt)};
    size_t n_heads = hw_map_source_n_heads(source);
    bool *is_wanted = malloc(n_heads + 1);
    if (is_wanted == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the map of a layer");
    }
    for (size_t h = 0; h < n_heads; h++) {
        is_wanted[h] =
            options->reduce != HW_HEADS_ONE || hw_map_source_heads(source)[h] == options->head;
    }
    memset(ret_map, 0, r.n * r.n * sizeof *ret_map);
    enum hw_status status =
        hw_map_source_walk(source, prompt, layer, is_wanted, add_block, &r, err);
    free(is_wanted);
    for (size_t i = 0; i < r.n && status == HW_OK; i++) {
        finish_row(&r, i);
    }
    return status;
}
