// A part file as a destination.
#include "formats/part.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/commit.h"
#include "formats/fault.h"
#include "formats/h5.h"
#include "formats/prompt_rows.h"
#include "formats/sha256.h"
#include "formats/trace_streams.h"
#include "formats/writer.h"
#include "kernels/size.h"

enum {
    QUEUE_BYTES = 4 << 20,        // compressed chunks: some tens
    INDEX_BYTES = 64,             // of a tile in the index of a map dataset: place, size, address
    INDEX_CACHE_BYTES = 32 << 20, // the library's cache of such things at most
};

struct hw_part {
    struct hw_destination base;
    struct hw_column_sink sink;
    struct hw_part_options options;
    char *temporary; // path
    bool is_in_memory;
    struct hw_writer *writer;
    struct hw_trace_file file;
    bool has_file;
    struct hw_trace_streams *streams;
    struct hw_prompt_rows rows;
    struct hw_trace_lengths lengths;
    int32_t *prompts; // [lengths.n_prompts]
    size_t prompt_capacity;
    int32_t *massive_positions; // of the running prompt
    size_t n_massive;
    size_t massive_capacity;
    uint64_t n_massive_dropped;
    struct hw_h5_image image; // of the closed file, where it is in memory
};

char *hw_part_path(const char *folder, int32_t first, int32_t last) {
    return hw_path_format("%s/part-%08" PRId32 "-%08" PRId32 ".h5", folder, first, last);
}

// Work of a part that must run in the writer's thread.
struct part_job {
    struct hw_job base;
    struct hw_part *part;
};

static enum hw_status run_on_writer(struct hw_part *part,
                                    enum hw_status (*run)(struct hw_job *, bool, struct hw_error *),
                                    struct hw_error *err) {
    struct part_job *job = malloc(sizeof *job);
    if (job == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a job");
    }
    *job = (struct part_job){{run, 0, NULL}, part};
    enum hw_status status = hw_writer_post(part->writer, &job->base, err);
    return status != HW_OK ? status : hw_writer_sync(part->writer, err);
}

static enum hw_status create_file(struct hw_job *self, bool is_cancelled, struct hw_error *err) {
    struct hw_part *part = ((struct part_job *)self)->part;
    free(self);
    enum hw_status status = HW_OK;
    if (!is_cancelled) {
        const char *path = part->is_in_memory ? NULL : part->temporary;
        status =
            hw_trace_file_create(path, &part->image, part->options.layout, NULL, &part->file, err);
        part->has_file = status == HW_OK;
    }
    return status;
}

static enum hw_status close_file(struct hw_job *self, bool is_cancelled, struct hw_error *err) {
    struct hw_part *part = ((struct part_job *)self)->part;
    free(self);
    if (part->has_file) {
        hw_trace_file_close(&part->file);
        part->has_file = false;
    }
    return HW_OK;
}

static enum hw_status finish_file(struct hw_job *self, bool is_cancelled, struct hw_error *err) {
    struct hw_part *part = ((struct part_job *)self)->part;
    free(self);
    if (is_cancelled) {
        return HW_OK;
    }
    struct hw_trace_ending ending = {
        .lengths = &part->lengths,
        .prompts = part->prompts,
        .provenance = part->options.provenance,
        .n_massive_dropped = part->n_massive_dropped,
        .n_parts = 1,
    };
    enum hw_status status = hw_trace_file_finish(&part->file, &ending, err);
    if (status == HW_OK) {
        part->has_file = false;
        const char *name = part->is_in_memory ? "part in memory" : part->temporary;
        status = hw_trace_file_complete(&part->file, name, err);
    }
    if (status == HW_OK && part->is_in_memory && part->image.n_bytes == 0) {
        status = hw_fail(err, HW_INTERNAL, "part in memory: superblock of an unexpected form");
    }
    return status;
}

static enum hw_status begin_prompt(struct hw_destination *self, int32_t prompt,
                                   struct hw_error *err) {
    struct hw_part *part = (struct hw_part *)self;
    int32_t expected = part->options.first_prompt + (int32_t)part->lengths.n_prompts;
    if (prompt != expected) {
        return hw_fail(err, HW_INTERNAL, "a part takes prompts in a row: expected %d, found %d",
                       (int)expected, (int)prompt);
    }
    part->n_massive = 0;
    return hw_prompt_rows_begin(&part->rows, prompt, err);
}

static enum hw_status keep_positions(struct hw_part *part, size_t n, const int32_t *positions,
                                     struct hw_error *err) {
    if (part->n_massive + n > part->massive_capacity) {
        size_t capacity = part->n_massive + n + 256;
        int32_t *grown = realloc(part->massive_positions, capacity * sizeof *grown);
        if (grown == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for %zu massive activations",
                           capacity);
        }
        part->massive_positions = grown;
        part->massive_capacity = capacity;
    }
    if (n > 0) {
        memcpy(part->massive_positions + part->n_massive, positions, n * sizeof *positions);
        part->n_massive += n;
    }
    return HW_OK;
}

static enum hw_status append(struct hw_destination *self, enum hw_dataset dataset, size_t slab,
                             size_t n_rows, const void *rows, struct hw_error *err) {
    struct hw_part *part = (struct hw_part *)self;
    enum hw_status status = hw_prompt_rows_append(&part->rows, dataset, slab, n_rows, err);
    if (status == HW_OK && dataset == HW_DS_MASSIVE_POSITION) {
        status = keep_positions(part, n_rows, rows, err);
    }
    return status != HW_OK
               ? status
               : hw_trace_streams_append(part->streams, dataset, slab, n_rows, rows, err);
}

static enum hw_status append_map(struct hw_destination *self, enum hw_dataset dataset, size_t layer,
                                 size_t head, size_t n_tiles_edge, const void *tiles,
                                 struct hw_error *err) {
    struct hw_part *part = (struct hw_part *)self;
    enum hw_status status =
        hw_prompt_rows_append_map(&part->rows, dataset, layer, head, n_tiles_edge, err);
    struct hw_map_place place = {dataset, part->lengths.n_prompts, layer, head};
    return status != HW_OK
               ? status
               : hw_trace_streams_append_map(part->streams, &place, n_tiles_edge, tiles, err);
}

static enum hw_status flush(struct hw_destination *self, struct hw_error *err) {
    return hw_trace_streams_flush(((struct hw_part *)self)->streams, err);
}

// Sink of the record's columns.
static enum hw_status emit(struct hw_column_sink *self, enum hw_dataset dataset, size_t slab,
                           size_t n_rows, const void *rows, struct hw_error *err) {
    struct hw_part *part = (struct hw_part *)((char *)self - offsetof(struct hw_part, sink));
    return hw_trace_streams_append(part->streams, dataset, slab, n_rows, rows, err);
}

static enum hw_status append_upper(struct hw_part *part, size_t n_tokens, struct hw_error *err) {
    const struct hw_layout *layout = part->options.layout;
    const struct hw_group_axes *axes = &layout->groups[HW_GROUP_ATTENTION];
    enum hw_status status = HW_OK;
    if (!hw_layout_has(layout, HW_DS_ATTENTION_PATTERN)) {
        return HW_OK;
    }
    for (size_t layer = 0; layer < axes->n_layers; layer++) {
        for (size_t head = 0; head < axes->n_heads && status == HW_OK; head++) {
            if (axes->recorded == NULL || axes->recorded[layer * axes->n_heads + head]) {
                struct hw_map_place place = {HW_DS_ATTENTION_PATTERN, part->lengths.n_prompts,
                                             layer, head};
                status = hw_trace_streams_append_upper(part->streams, &place, n_tokens, err);
            }
        }
    }
    return status;
}

static enum hw_status count_prompt(struct hw_part *part, const struct hw_prompt_record *record,
                                   struct hw_error *err) {
    struct hw_trace_lengths *lengths = &part->lengths;
    if (lengths->n_prompts == part->prompt_capacity) {
        size_t capacity = part->prompt_capacity * 2 + 64;
        int32_t *prompts = realloc(part->prompts, capacity * sizeof *prompts);
        if (prompts == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for %zu prompts", capacity);
        }
        part->prompts = prompts;
        part->prompt_capacity = capacity;
    }
    part->prompts[lengths->n_prompts++] = record->prompt;
    for (int g = 0; g < HW_N_GROUPS; g++) {
        bool is_narrowed = record->recorded_positions != NULL &&
                           (g == HW_GROUP_ACTIVATIONS || g == HW_GROUP_LOGITS);
        lengths->n_tokens[g] +=
            is_narrowed ? record->n_recorded_positions : (size_t)record->n_tokens;
    }
    lengths->n_span_rows += record->n_spans;
    lengths->n_events += part->n_massive;
    const size_t *steps = part->rows.n_rows[HW_DS_DECODE_PROMPT];
    lengths->n_steps += steps != NULL ? steps[0] : 0;
    part->n_massive_dropped += record->n_massive_dropped;
    return HW_OK;
}

static enum hw_status end_prompt(struct hw_destination *self, const struct hw_prompt_record *record,
                                 struct hw_error *err) {
    struct hw_part *part = (struct hw_part *)self;
    enum hw_status status = hw_prompt_rows_end(&part->rows, record, err);
    status = status != HW_OK ? status : append_upper(part, (size_t)record->n_tokens, err);
    if (status == HW_OK) {
        int64_t token_start = (int64_t)part->lengths.n_tokens[HW_GROUP_ROOT];
        status = hw_prompt_record_emit(record, part->options.layout, token_start,
                                       part->massive_positions, part->n_massive, &part->sink, err);
    }
    return status != HW_OK ? status : count_prompt(part, record, err);
}

static const struct hw_destination_ops part_ops = {begin_prompt, append, append_map, flush,
                                                   end_prompt};

static bool is_built_in_memory(uint64_t planned_bytes, uint64_t memory_bytes) {
    return planned_bytes < (memory_bytes > 0 ? memory_bytes : HW_PART_MEMORY_BYTES);
}

enum hw_status hw_part_open(const struct hw_part_options *options, struct hw_part **ret_part,
                            struct hw_error *err) {
    struct hw_part *part = calloc(1, sizeof *part);
    if (part == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a part");
    }
    part->base.ops = &part_ops;
    part->sink.emit = emit;
    part->options = *options;
    part->is_in_memory = is_built_in_memory(options->planned_bytes, options->memory_bytes);
    char *stem = hw_path_format("%s/part-%08" PRId32, options->folder, options->first_prompt);
    part->temporary = stem != NULL ? hw_commit_temporary(stem) : NULL;
    free(stem);
    enum hw_status status =
        part->temporary != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    status = status != HW_OK ? status : hw_writer_open(true, QUEUE_BYTES, &part->writer, err);
    status = status != HW_OK ? status : hw_prompt_rows_open(&part->rows, options->layout, err);
    status = status != HW_OK ? status : run_on_writer(part, create_file, err);
    status = status != HW_OK ? status
                             : hw_trace_streams_open(&part->file, part->writer, options->n_threads,
                                                     &part->streams, err);
    if (status != HW_OK) {
        hw_part_close(&part);
        return status;
    }
    *ret_part = part;
    return HW_OK;
}

void hw_part_close(struct hw_part **part) {
    struct hw_part *p = *part;
    if (p == NULL) {
        return;
    }
    hw_trace_streams_close(&p->streams);
    if (p->writer != NULL) {
        (void)run_on_writer(p, close_file, NULL);
        hw_writer_close(&p->writer);
    }
    // After a failure the writer only cancels, and closing is still due.
    if (p->has_file) {
        hw_trace_file_close(&p->file);
    }
    if (!p->is_in_memory && p->temporary != NULL) {
        (void)unlink(p->temporary); // gone already where it was renamed
    }
    hw_prompt_rows_close(&p->rows);
    free(p->temporary);
    free(p->prompts);
    free(p->massive_positions);
    hw_h5_image_close(&p->image);
    free(p);
    *part = NULL;
}

uint64_t hw_part_memory_bytes(const struct hw_part_options *options,
                              const struct hw_part_content *content) {
    struct hw_trace_load load =
        hw_trace_streams_load(options->layout, content->n_prompts, content->n_tokens);
    load.chunk_bytes += content->n_tiles > 0 ? HW_READY_BYTES : 0;
    uint64_t working = hw_trace_streams_working_bytes(&load, options->n_threads);
    working += hw_size_min(content->n_tiles * INDEX_BYTES, INDEX_CACHE_BYTES) + load.text_bytes;
    if (is_built_in_memory(options->planned_bytes, options->memory_bytes)) {
        // Every row waits, is queued, or has become a part of the image, which is no larger.
        return options->planned_bytes - content->empty_bytes + working;
    }
    return load.waiting_bytes + QUEUE_BYTES + working;
}

struct hw_destination *hw_part_base(struct hw_part *part) {
    return &part->base;
}

size_t hw_part_n_prompts(const struct hw_part *part) {
    return part->lengths.n_prompts;
}

// The temporary file on disk, synced, with its size and hash.
static enum hw_status write_temporary(struct hw_part *part, struct hw_part_info *info,
                                      struct hw_error *err) {
    enum hw_status status = hw_fault_check("part-built", part->temporary, err);
    if (status != HW_OK) {
        return status;
    }
    if (part->is_in_memory) {
        struct hw_sha256 hash;
        hw_sha256_init(&hash);
        hw_sha256_update(&hash, part->image.data, part->image.n_bytes);
        hw_sha256_hex(&hash, info->sha256);
        info->n_bytes = part->image.n_bytes;
        status = hw_commit_write(part->temporary, part->image.data, part->image.n_bytes, err);
        status = status != HW_OK ? status : hw_fault_check("part-written", part->temporary, err);
    } else {
        status = hw_fault_check("part-written", part->temporary, err);
        status = status != HW_OK ? status : hw_commit_sync(part->temporary, err);
        status = status != HW_OK
                     ? status
                     : hw_commit_hash(part->temporary, info->sha256, &info->n_bytes, err);
    }
    return status != HW_OK ? status : hw_fault_check("part-synced", part->temporary, err);
}

enum hw_status hw_part_commit(struct hw_part **part, struct hw_part_info *ret_info,
                              struct hw_error *err) {
    struct hw_part *p = *part;
    struct hw_part_info info = {0};
    enum hw_status status = HW_OK;
    char *path = NULL;
    if (p->lengths.n_prompts == 0 || p->rows.is_running) {
        status = hw_fail(err, HW_INTERNAL, "a part of %zu prompts cannot be committed%s",
                         p->lengths.n_prompts, p->rows.is_running ? " while one is running" : "");
        goto cleanup;
    }
    info.first = p->options.first_prompt;
    info.last = info.first + (int32_t)p->lengths.n_prompts - 1;
    status = hw_trace_streams_finish(p->streams, &p->lengths, err);
    status = status != HW_OK ? status : run_on_writer(p, finish_file, err);
    status = status != HW_OK ? status : run_on_writer(p, close_file, err);
    status = status != HW_OK ? status : write_temporary(p, &info, err);
    if (status != HW_OK) {
        goto cleanup;
    }
    path = hw_part_path(p->options.folder, info.first, info.last);
    status = path != NULL ? hw_commit_rename(p->temporary, path, err)
                          : hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    status = status != HW_OK ? status : hw_fault_check("part-renamed", p->temporary, err);
    if (status == HW_OK) {
        *ret_info = info;
    }
cleanup:
    free(path);
    if (status != HW_OK && p->temporary != NULL) {
        (void)unlink(p->temporary);
    }
    hw_part_close(part);
    return status;
}
