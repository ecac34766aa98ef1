// Maps as a part; see map_capture.h.
#include "map_capture.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "formats/part.h"
#include "kernels/attention.h"
#include "trace_folder.h"

enum { MOST = 64 };

static void play(struct hw_destination *d, const float *maps, size_t n_layers, size_t n_heads,
                 size_t n) {
    static float tile[HW_MAP_TILE * HW_MAP_TILE];
    static uint32_t ids[HW_MAP_TILE];
    static uint8_t special[HW_MAP_TILE];
    struct hw_error err;
    ck_assert_int_eq(hw_destination_begin_prompt(d, 0, &err), HW_OK);
    for (size_t map = 0; map < n_layers * n_heads; map++) {
        for (size_t i = 0; i < HW_MAP_TILE * HW_MAP_TILE; i++) {
            size_t query = i / HW_MAP_TILE;
            size_t key = i % HW_MAP_TILE;
            tile[i] = query < n && key < n ? maps[(map * n + query) * n + key] : NAN;
        }
        enum hw_status status = hw_destination_append_map(d, HW_DS_ATTENTION_PATTERN, map / n_heads,
                                                          map % n_heads, 1, tile, &err);
        ck_assert_msg(status == HW_OK, "%s", err.message);
    }
    struct hw_prompt_record record = {.n_tokens = (int32_t)n,
                                      .n_prompt_tokens = (int32_t)n,
                                      .name = "made up",
                                      .json = "{}",
                                      .domain = "",
                                      .target = "",
                                      .foil = "",
                                      .error = "",
                                      .token_ids = ids,
                                      .token_is_special = special};
    ck_assert_msg(hw_destination_end_prompt(d, &record, &err) == HW_OK, "%s", err.message);
}

struct hw_trace *map_capture(const float *maps, size_t n_layers, size_t n_heads, size_t n,
                             int32_t first_layer) {
    int32_t layers[MOST];
    int32_t heads[MOST];
    struct hw_layout layout;
    struct hw_part *part = NULL;
    struct hw_part_info info;
    struct hw_trace *trace = NULL;
    struct hw_error err;
    const char *folder = trace_folder_make();
    hw_layout_init(&layout);
    for (int32_t i = 0; i < MOST; i++) {
        layers[i] = first_layer + i;
        heads[i] = i;
    }
    layout.has[HW_DS_ATTENTION_PATTERN] = true;
    layout.element[HW_DS_ATTENTION_PATTERN] = HW_ELEMENT_F4;
    for (int g = 0; g < HW_N_GROUPS; g++) {
        layout.groups[g] = (struct hw_group_axes){layers,  n_layers, layers,  n_layers, heads,
                                                  n_heads, heads,    n_heads, NULL};
    }
    layout.n_heads = layout.n_kv_heads = n_heads;
    layout.max_tokens = n;
    json_t *attributes = json_pack("{s:s}", "run_id", "a run");
    struct hw_provenance provenance = {attributes, attributes, NULL, NULL, NULL, NULL};
    struct hw_part_options options = {.folder = folder,
                                      .layout = &layout,
                                      .provenance = &provenance,
                                      .n_threads = 1,
                                      .planned_bytes = 1000};
    ck_assert_msg(hw_part_open(&options, &part, &err) == HW_OK, "%s", err.message);
    play(hw_part_base(part), maps, n_layers, n_heads, n);
    ck_assert_msg(hw_part_commit(&part, &info, &err) == HW_OK, "%s", err.message);
    char *path = hw_part_path(folder, info.first, info.last);
    ck_assert_msg(hw_trace_open(path, &trace, &err) == HW_OK, "%s", err.message);
    free(path);
    json_decref(attributes);
    return trace;
}
