// One capture into memory: recording, session, engine, destination; and the way back to its rows.
#include "run_capture.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/part.h"
#include "tracer/session.h"

struct hw_model *run_model(const char *name) {
    char path[1024];
    struct hw_model *model = NULL;
    struct hw_error err;
    snprintf(path, sizeof path, "%s", name);
    if (name[0] != '/') {
        snprintf(path, sizeof path, "%s/models/%s", HW_TEST_DATA, name);
    }
    ck_assert_msg(hw_model_open(path, &model, &err) == HW_OK, "%s", err.message);
    return model;
}

static void *take(size_t n_bytes) {
    void *memory = calloc(1, n_bytes + 1);
    ck_assert_ptr_nonnull(memory);
    return memory;
}

void run_prompts_add(struct hw_prompts *prompts, const uint32_t *ids, size_t n) {
    prompts->items = realloc(prompts->items, (prompts->n + 1) * sizeof *prompts->items);
    ck_assert_ptr_nonnull(prompts->items);
    struct hw_prompt *p = &prompts->items[prompts->n++];
    static char nothing[] = "";
    static char no_object[] = "{}";
    *p = (struct hw_prompt){.ids = take(n * sizeof *ids),
                            .n_ids = n,
                            .name = nothing,
                            .text = nothing,
                            .json = no_object,
                            .domain = nothing,
                            .target = nothing,
                            .foil = nothing,
                            .counterpart = nothing,
                            .target_id = -1,
                            .foil_id = -1,
                            .error = nothing};
    if (n > 0) {
        memcpy(p->ids, ids, n * sizeof *ids);
    }
}

void run_prompts_add_span(struct hw_prompts *prompts, const char *name, int32_t first,
                          int32_t end) {
    struct hw_prompt *p = &prompts->items[prompts->n - 1];
    p->spans = realloc(p->spans, (p->n_spans + 1) * sizeof *p->spans);
    ck_assert_ptr_nonnull(p->spans);
    p->spans[p->n_spans++] = (struct hw_prompt_span){strdup(name), first, end};
}

void run_prompts_free(struct hw_prompts *prompts) {
    for (size_t i = 0; i < prompts->n; i++) {
        for (size_t s = 0; s < prompts->items[i].n_spans; s++) {
            free(prompts->items[i].spans[s].name);
        }
        free(prompts->items[i].spans);
        free(prompts->items[i].ids);
    }
    free(prompts->items);
    *prompts = (struct hw_prompts){0};
}

static struct hw_record_options record_options(const struct run_options *options) {
    struct hw_record_options record = {
        .records = options->records,
        .n_rank = options->n_rank > 0 ? options->n_rank : 4,
        .n_offsets = options->n_offsets > 0 ? options->n_offsets : 16,
        .max_generate = options->max_generate,
        .is_detail_prompt = options->is_detail_prompt,
        .attention_element = options->attention_element,
        .activation_element = options->activation_element,
        .means_by = options->means_by,
        .is_means_by_position = options->is_means_by_position,
    };
    while (record.n_records < RUN_MAX_RECORDS && options->records[record.n_records] != NULL) {
        record.n_records++;
    }
    return record;
}

static void run_prompts(struct run *run, const struct run_options *options,
                        const struct hw_positions *positions, struct hw_destination *destination) {
    struct hw_error err = {0};
    size_t max_tokens = 0;
    for (size_t p = 0; p < run->prompts->n; p++) {
        size_t n = run->prompts->items[p].n_ids;
        max_tokens = n > max_tokens ? n : max_tokens;
    }
    struct hw_engine_config config = {.model = run->model,
                                      .layout = &run->recording.layout,
                                      .max_tokens = max_tokens,
                                      .max_generate = options->max_generate,
                                      .positions = positions,
                                      .means = &run->means};
    struct hw_session_options session_options = {
        .n_threads = options->n_threads > 0 ? options->n_threads : 1, .level = options->level};
    size_t bytes;
    struct hw_session *session = NULL;
    struct hw_engine *engine = NULL;
    ck_assert_msg(hw_engine_measure(&config, &bytes, &session_options, &err) == HW_OK, "%s",
                  err.message);
    ck_assert_msg(hw_session_open(run->model, &session_options, &session, &err) == HW_OK, "%s",
                  err.message);
    ck_assert_msg(hw_engine_open(&config, session, &engine, &err) == HW_OK, "%s", err.message);
    ck_assert_int_eq(hw_mean_sums_open(&run->recording.layout, &run->means, &err), HW_OK);
    for (size_t p = 0; p < run->prompts->n; p++) {
        struct hw_engine_prompt prompt = {.prompt = &run->prompts->items[p],
                                          .index = (int32_t)p,
                                          .tokenizer = options->tokenizer,
                                          .stop = options->stop,
                                          .progress = options->progress,
                                          .progress_self = options->progress_self};
        enum hw_status status = hw_engine_run(engine, &prompt, destination, &err);
        ck_assert_msg(status == HW_OK, "%s", err.message);
    }
    hw_mean_sums_finish(&run->means);
    hw_engine_close(&engine);
    hw_session_close(&session);
}

void run_capture(const struct hw_model *model, const struct hw_prompts *prompts,
                 const struct run_options *options, struct run *ret_run) {
    struct hw_error err = {0};
    struct hw_record_options record = record_options(options);
    struct hw_positions *positions = NULL;
    *ret_run = (struct run){.model = model, .prompts = prompts};
    ck_assert_msg(hw_recording_open(&model->desc, prompts, &record, &ret_run->recording, &err) ==
                      HW_OK,
                  "%s", err.message);
    ck_assert_int_eq(hw_destination_memory_open(&ret_run->recording.layout, &ret_run->memory, &err),
                     HW_OK);
    if (options->positions != NULL) {
        ck_assert_msg(hw_positions_parse(options->positions, &positions, &err) == HW_OK, "%s",
                      err.message);
    }
    run_prompts(ret_run, options, positions, hw_destination_memory_base(ret_run->memory));
    if (positions != NULL) {
        hw_positions_close(&positions);
    }
}

char *run_capture_part(const struct hw_model *model, const struct hw_prompts *prompts,
                       const struct run_options *options, const char *folder) {
    struct hw_error err = {0};
    struct hw_record_options record = record_options(options);
    struct run run = {.model = model, .prompts = prompts};
    enum hw_status status = hw_recording_open(&model->desc, prompts, &record, &run.recording, &err);
    ck_assert_msg(status == HW_OK, "%s", err.message);
    json_t *attributes = json_pack("{s:s}", "run_id", "a run");
    struct hw_provenance provenance = {attributes, attributes, NULL, NULL, NULL, NULL};
    struct hw_part_options part_options = {.folder = folder,
                                           .layout = &run.recording.layout,
                                           .provenance = &provenance,
                                           .n_threads = 1,
                                           .planned_bytes = 1000};
    struct hw_part *part = NULL;
    struct hw_part_info info;
    ck_assert_msg(hw_part_open(&part_options, &part, &err) == HW_OK, "%s", err.message);
    run_prompts(&run, options, NULL, hw_part_base(part));
    ck_assert_msg(hw_part_commit(&part, &info, &err) == HW_OK, "%s", err.message);
    json_decref(attributes);
    hw_mean_sums_close(&run.means);
    hw_recording_close(&run.recording);
    return hw_part_path(folder, info.first, info.last);
}

void run_close(struct run *run) {
    hw_destination_memory_close(&run->memory);
    hw_mean_sums_close(&run->means);
    hw_recording_close(&run->recording);
}

size_t run_n_slabs(const struct run *run, enum hw_dataset dataset) {
    int axis = hw_schema_slab_axis(dataset);
    const struct hw_schema_row *row = hw_schema_row(dataset);
    return axis < 0 ? 1 : hw_layout_axis(&run->recording.layout, row->group, row->axes[axis]);
}

size_t run_width(const struct run *run, enum hw_dataset dataset) {
    const struct hw_layout *layout = &run->recording.layout;
    return hw_layout_row_bytes(layout, dataset) /
           hw_element_bytes(hw_layout_element(layout, dataset));
}

// Where the rows of a prompt stand on a token axis that may be narrowed: its column of prompts.
static size_t find_prompt(const struct run *run, enum hw_dataset column, size_t prompt,
                          size_t *ret_n) {
    size_t n;
    const int32_t *of = hw_destination_memory_get(run->memory, column, 0, &n);
    size_t first = 0;
    while (first < n && of[first] < (int32_t)prompt) {
        first++;
    }
    size_t end = first;
    while (end < n && of[end] == (int32_t)prompt) {
        end++;
    }
    *ret_n = end - first;
    return first;
}

const void *run_rows(const struct run *run, enum hw_dataset dataset, size_t slab, size_t prompt,
                     size_t *ret_n) {
    const struct hw_schema_row *row = hw_schema_row(dataset);
    size_t n;
    const unsigned char *rows = hw_destination_memory_get(run->memory, dataset, slab, &n);
    size_t first = 0;
    if (row->axes[0] == HW_AXIS_PROMPT) {
        first = prompt;
        *ret_n = n > prompt ? 1 : 0;
    } else if (row->axes[0] == HW_AXIS_TOKEN) {
        enum hw_dataset column = row->group == HW_GROUP_ACTIVATIONS ? HW_DS_ACTIVATIONS_TOKEN_PROMPT
                                 : row->group == HW_GROUP_LOGITS    ? HW_DS_LOGITS_TOKEN_PROMPT
                                                                    : HW_DS_TOKEN_PROMPT;
        first = find_prompt(run, column, prompt, ret_n);
        if (first + *ret_n > n) {
            ck_abort_msg("%s has %zu rows", row->name, n);
        }
    } else {
        *ret_n = n;
    }
    return rows == NULL ? NULL
                        : rows + first * hw_layout_row_bytes(&run->recording.layout, dataset);
}

// Called for every value: Check writes a line to a file for each of its assertions, also where they
// hold.
static const void *rows_that_exist(const struct run *run, enum hw_dataset dataset,
                                   enum hw_element element, size_t slab, size_t prompt) {
    size_t n;
    const void *rows = run_rows(run, dataset, slab, prompt, &n);
    if (rows == NULL || n == 0 || hw_layout_element(&run->recording.layout, dataset) != element) {
        ck_abort_msg("no such rows of %s, slab %zu, prompt %zu", hw_schema_row(dataset)->name, slab,
                     prompt);
    }
    return rows;
}

const float *run_floats(const struct run *run, enum hw_dataset dataset, size_t slab,
                        size_t prompt) {
    return rows_that_exist(run, dataset, HW_ELEMENT_F4, slab, prompt);
}

const int32_t *run_ints(const struct run *run, enum hw_dataset dataset, size_t slab,
                        size_t prompt) {
    return rows_that_exist(run, dataset, HW_ELEMENT_I4, slab, prompt);
}

const float *run_means(const struct run *run, enum hw_dataset dataset, size_t group, size_t slab) {
    size_t n;
    // The sums beside them have the same places.
    enum hw_dataset sum = (enum hw_dataset)(dataset + 1);
    const int64_t *sums = hw_mean_sums_at(&run->means, sum, group, slab, &n);
    return (const float *)run->means.values[dataset] +
           (sums - (const int64_t *)run->means.values[sum]);
}

size_t run_n_tokens(const struct run *run, size_t prompt) {
    return (size_t)run_ints(run, HW_DS_N_TOKENS, 0, prompt)[0];
}

bool run_map(const struct run *run, enum hw_dataset dataset, size_t prompt, size_t layer,
             size_t head, float *ret_map) {
    size_t edge;
    size_t n = run->prompts->items[prompt].n_ids;
    const float *tiles =
        hw_destination_memory_map(run->memory, dataset, prompt, layer, head, &edge);
    if (tiles == NULL) {
        return false;
    }
    bool is_float = run->recording.layout.element[dataset] == HW_ELEMENT_F4;
    if (!is_float || edge != (n + HW_MAP_TILE - 1) / HW_MAP_TILE) {
        ck_abort_msg("a map of %zu tiles where %zu tokens of float were expected", edge, n);
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            size_t a = i / HW_MAP_TILE;
            size_t b = j / HW_MAP_TILE;
            const float *tile = tiles + (a * (a + 1) / 2 + b) * HW_MAP_TILE * HW_MAP_TILE;
            ret_map[i * n + j] =
                j > i ? NAN : tile[i % HW_MAP_TILE * HW_MAP_TILE + j % HW_MAP_TILE];
        }
    }
    return true;
}

struct looker {
    enum hw_site site;
    float *rows;
    size_t width;
};

static enum hw_status look(void *self, const struct hw_site_event *event, struct hw_error *err) {
    struct looker *looker = self;
    if (event->site != looker->site) {
        return HW_OK;
    }
    looker->rows = realloc(looker->rows, event->n_tokens * event->width * sizeof(float));
    ck_assert_ptr_nonnull(looker->rows);
    looker->width = event->width;
    for (size_t i = 0; i < event->n_rows; i++) {
        memcpy(looker->rows + (event->row_first + i) * event->width, event->data + i * event->ld,
               event->width * sizeof(float));
    }
    return HW_OK;
}

float *run_site(const struct hw_model *model, const struct hw_prompt *prompt, enum hw_level level,
                enum hw_site site, size_t layer, size_t *ret_width) {
    struct hw_error err = {0};
    struct looker looker = {.site = site};
    uint32_t *watch = take((model->desc.n_layers + 1) * sizeof *watch);
    struct hw_observer observer = {.self = &looker, .watch = watch, .on_site = look};
    struct hw_session_options options = {
        .n_threads = 1, .level = level, .max_tokens = prompt->n_ids};
    struct hw_session *session = NULL;
    bool is_single = site == HW_SITE_EMBED || site == HW_SITE_FINAL;
    watch[is_single ? model->desc.n_layers : layer] = 1u << site;
    ck_assert_msg(hw_session_open(model, &options, &session, &err) == HW_OK, "%s", err.message);
    ck_assert_msg(hw_session_prefill(session, prompt->ids, prompt->n_ids, &observer, NULL, &err) ==
                      HW_OK,
                  "%s", err.message);
    hw_session_close(&session);
    free(watch);
    ck_assert_ptr_nonnull(looker.rows);
    *ret_width = looker.width;
    return looker.rows;
}
