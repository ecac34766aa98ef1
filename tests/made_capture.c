// Captures of chosen numbers; see made_capture.h.
#include "made_capture.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/part.h"
#include "kernels/attention.h"
#include "trace_folder.h"

static int32_t numbers[MADE_MOST + 1] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
static struct hw_layout layout;

static void make_layout(const struct made_capture *made) {
    static const float ones[MADE_MOST] = {1, 1, 1, 1, 1, 1, 1, 1};
    static const int32_t windows[MADE_MOST];
    hw_layout_init(&layout);
    for (size_t i = 0; i < made->n_recorded; i++) {
        layout.has[made->recorded[i]] = true;
    }
    for (int g = 0; g < HW_N_GROUPS; g++) {
        layout.groups[g] = (struct hw_group_axes){
            numbers, made->n_layers,   numbers, made->n_layers + 1, numbers, made->n_heads,
            numbers, made->n_kv_heads, NULL};
    }
    layout.n_heads = made->n_heads;
    layout.n_kv_heads = made->n_kv_heads;
    layout.d_model = made->d_model;
    layout.d_head = made->d_head;
    layout.d_mlp = made->d_mlp;
    layout.n_rank = made->n_rank;
    layout.n_offsets = made->n_offsets;
    layout.span_names = made->span_names;
    layout.n_spans = made->n_spans;
    layout.max_tokens = MADE_LONGEST;
    layout.element[HW_DS_ATTENTION_SCORES] = HW_ELEMENT_F4;
    layout.element[HW_DS_ATTENTION_PATTERN] = HW_ELEMENT_F4;
    layout.has_token_text = made->texts != NULL;
    layout.fixed[HW_DS_ATTENTION_VECTORS_SCORE_SCALE] = ones;
    layout.fixed[HW_DS_ATTENTION_VECTORS_WINDOW] = windows;
}

static size_t rows_of(const struct made_capture *made, enum hw_dataset dataset, int32_t prompt) {
    switch (hw_schema_row(dataset)->axes[0]) {
    case HW_AXIS_PROMPT:
        return 1;
    case HW_AXIS_EVENT:
        return made->n_events != NULL ? made->n_events(prompt) : 0;
    default:
        return (size_t)made->lengths[prompt];
    }
}

// Scores or weights on and below the diagonal, in one tile: prompts are shorter than it.
static void play_map(struct hw_destination *d, const struct made_capture *made,
                     enum hw_dataset dataset, int32_t prompt, size_t slab) {
    float *tile = malloc(HW_MAP_TILE * HW_MAP_TILE * sizeof *tile);
    struct hw_error err;
    size_t n = (size_t)made->lengths[prompt];
    for (size_t head = 0; head < made->n_heads; head++) {
        for (size_t i = 0; i < HW_MAP_TILE * HW_MAP_TILE; i++) {
            size_t row = i / HW_MAP_TILE;
            size_t key = i % HW_MAP_TILE;
            tile[i] = row < n && key <= row
                          ? (float)made->value(dataset, prompt, slab, row, head * n + key)
                      : dataset == HW_DS_ATTENTION_PATTERN && row < n && key < n ? 0
                                                                                 : NAN;
        }
        ck_assert_int_eq(hw_destination_append_map(d, dataset, slab, head, 1, tile, &err), HW_OK);
    }
    free(tile);
}

static void play_dataset(struct hw_destination *d, const struct made_capture *made,
                         enum hw_dataset dataset, int32_t prompt, size_t slab) {
    const struct hw_schema_row *schema = hw_schema_row(dataset);
    size_t n_rows = rows_of(made, dataset, prompt);
    size_t n_bytes = hw_layout_row_bytes(&layout, dataset);
    size_t n = n_bytes / 4;
    bool is_integer = schema->element == HW_ELEMENT_I4;
    struct hw_error err;
    int slab_axis = hw_schema_slab_axis(dataset);
    if (hw_schema_is_fixed(dataset) ||
        slab >= (slab_axis < 0 ? 1 : hw_layout_axis(&layout, schema->group, schema->axes[1]))) {
        return;
    }
    if (dataset == HW_DS_ATTENTION_SCORES || dataset == HW_DS_ATTENTION_PATTERN) {
        play_map(d, made, dataset, prompt, slab);
        return;
    }
    float *reals = malloc(n_rows * n_bytes + 4);
    int32_t *integers = malloc(n_rows * n_bytes + 4);
    for (size_t i = 0; i < n_rows * n; i++) {
        double value = made->value(dataset, prompt, slab, i / n, i % n);
        reals[i] = (float)value;
        integers[i] = is_integer ? (int32_t)value : 0;
    }
    const void *rows = is_integer ? (const void *)integers : reals;
    ck_assert_msg(hw_destination_append(d, dataset, slab, n_rows, rows, &err) == HW_OK, "%s: %s",
                  schema->name, err.message);
    free(reals);
    free(integers);
}

static void play_prompt(struct hw_destination *d, const struct made_capture *made, int32_t prompt) {
    static const uint8_t special[MADE_LONGEST];
    uint32_t ids[MADE_LONGEST];
    char name[8] = {'p', (char)('0' + prompt)};
    int32_t n = made->lengths[prompt];
    struct hw_error err;
    ck_assert_int_eq(hw_destination_begin_prompt(d, prompt, &err), HW_OK);
    for (size_t slab = 0; slab <= made->n_layers && n > 0; slab++) {
        for (size_t i = 0; i < made->n_recorded; i++) {
            play_dataset(d, made, made->recorded[i], prompt, slab);
        }
    }
    for (uint32_t i = 0; i < MADE_LONGEST; i++) {
        ids[i] = 100 + i;
    }
    struct hw_prompt_record record = {.prompt = prompt,
                                      .n_tokens = n,
                                      .n_prompt_tokens = n,
                                      .name = name,
                                      .json = "{}",
                                      .domain = made->domains != NULL ? made->domains[prompt] : "",
                                      .target = "",
                                      .foil = "",
                                      .status = n == 0 ? 2 : 0,
                                      .error = n == 0 ? "no tokens" : "",
                                      .token_ids = ids,
                                      .token_is_special = special,
                                      .token_text = made->texts};
    enum hw_status status = hw_destination_end_prompt(d, &record, &err);
    ck_assert_msg(status == HW_OK, "%s", err.message);
}

struct hw_trace *made_capture_open(const struct made_capture *made) {
    const char *folder = trace_folder_make();
    make_layout(made);
    json_t *attributes = json_pack("{s:s}", "run_id", "a run");
    struct hw_provenance provenance = {attributes, attributes, NULL, NULL, NULL, NULL};
    struct hw_part_options options = {.folder = folder,
                                      .layout = &layout,
                                      .provenance = &provenance,
                                      .n_threads = 1,
                                      .planned_bytes = 1000};
    struct hw_part *part = NULL;
    struct hw_part_info info;
    struct hw_trace *trace = NULL;
    struct hw_error err;
    ck_assert_msg(hw_part_open(&options, &part, &err) == HW_OK, "%s", err.message);
    for (int32_t i = 0; i < made->n_prompts; i++) {
        play_prompt(hw_part_base(part), made, i);
    }
    ck_assert_msg(hw_part_commit(&part, &info, &err) == HW_OK, "%s", err.message);
    char *path = hw_part_path(folder, info.first, info.last);
    ck_assert_msg(hw_trace_open(path, &trace, &err) == HW_OK, "%s", err.message);
    free(path);
    json_decref(attributes);
    return trace;
}

void made_capture_close(struct hw_trace **trace) {
    hw_trace_close(trace);
    trace_folder_remove();
}
