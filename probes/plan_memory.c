// Memory of a capture at its peak, and where its parts end. Working memory is measured by the code
// that takes it, the parts of the output by the same cut that the capture makes.
#include <stdio.h>
#include <unistd.h>

#include "formats/part.h"
#include "formats/trace_streams.h"
#include "kernels/attention.h"
#include "kernels/size.h"
#include "probes/plan_internal.h"

// All rows of the plan that grow with prompts, spread evenly over the tokens.
static uint64_t bytes_per_token(const struct hw_plan *plan, const struct hw_prompts *prompts) {
    uint64_t rows = hw_size_max(1, plan->n_tokens + plan->max_generated);
    uint64_t maps = hw_plan_dataset_bytes(plan, prompts, HW_DS_ATTENTION_PATTERN) +
                    hw_plan_dataset_bytes(plan, prompts, HW_DS_ATTENTION_SCORES);
    uint64_t apart = maps + plan->means_bytes;
    return (plan->raw_bytes - hw_size_min(apart, plan->raw_bytes)) / rows;
}

static uint64_t map_bytes(const struct hw_plan *plan, size_t n_tokens) {
    return hw_plan_map_bytes(plan, HW_DS_ATTENTION_PATTERN, n_tokens) +
           hw_plan_map_bytes(plan, HW_DS_ATTENTION_SCORES, n_tokens);
}

size_t hw_plan_part_end(const struct hw_plan *plan, const struct hw_prompts *prompts, size_t first,
                        size_t end, uint64_t image_bytes, uint64_t *ret_bytes) {
    uint64_t per_token = bytes_per_token(plan, prompts);
    uint64_t bytes = plan->means_bytes; // every part has its own
    size_t at = first;
    for (; at < end; at++) {
        size_t n = prompts->items[at].n_ids;
        uint64_t more = (n + plan->engine.max_generate + 1) * per_token + map_bytes(plan, n);
        if (at > first && bytes + more > image_bytes) {
            break;
        }
        bytes += more;
    }
    *ret_bytes = bytes;
    return at;
}

// What the largest part holds.
static uint64_t storage_bytes(const struct hw_plan *plan, const struct hw_prompts *prompts,
                              const struct hw_plan_options *options) {
    const struct hw_layout *layout = &plan->recording.layout;
    enum hw_dataset map =
        layout->has[HW_DS_ATTENTION_PATTERN] ? HW_DS_ATTENTION_PATTERN : HW_DS_ATTENTION_SCORES;
    uint64_t tile_bytes =
        (uint64_t)HW_MAP_TILE * HW_MAP_TILE * hw_element_bytes(layout->element[map]);
    size_t every = options->part_prompts > 0 ? options->part_prompts : SIZE_MAX;
    uint64_t most = 0;
    for (size_t first = 0, end; first < prompts->n; first = end) {
        struct hw_part_options part = {.layout = layout, .n_threads = options->n_threads};
        size_t block_end = prompts->n - first > every - first % every
                               ? first + (every - first % every)
                               : prompts->n;
        end = hw_plan_part_end(plan, prompts, first, block_end, HW_PART_MEMORY_BYTES,
                               &part.planned_bytes);
        struct hw_part_content content = {.n_prompts = end - first};
        for (size_t p = first; p < end; p++) {
            size_t n = prompts->items[p].n_ids;
            uint64_t edge = hw_size_div_up(n, HW_MAP_TILE);
            uint64_t maps = map_bytes(plan, n);
            content.n_tokens += n + plan->engine.max_generate;
            content.n_tiles += maps / tile_bytes;
            content.empty_bytes += n > 0 ? maps / edge * (edge - 1) / 2 : 0;
        }
        most = hw_size_max(most, hw_part_memory_bytes(&part, &content));
    }
    return most;
}

// Of this process now, what no file backs: the tokenizer's tables, prompts, the model's
// description. 0: unknown.
static uint64_t private_bytes(void) {
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long long n_pages, n_resident = 0, n_shared = 0;
    if (file == NULL) {
        return 0;
    }
    int n = fscanf(file, "%llu %llu %llu", &n_pages, &n_resident, &n_shared);
    (void)fclose(file);
    return n == 3 && n_resident > n_shared
               ? (n_resident - n_shared) * (uint64_t)sysconf(_SC_PAGESIZE)
               : 0;
}

size_t hw_plan_base_bytes(void) {
    // Measured: code of the program and of its libraries, in the end nearly all of it, and the
    // metadata of the mapped model.
    const size_t program = (size_t)20 << 20;
    return program + private_bytes();
}

size_t hw_plan_weights_bytes(const struct hw_model *model) {
    size_t bytes = 0;
    for (size_t i = 0; i < hw_checkpoint_n_tensors(model->checkpoint); i++) {
        bytes += hw_checkpoint_tensor(model->checkpoint, i)->n_bytes;
    }
    return bytes;
}

// The merge comes after the pass has given its memory back, and has the rows that wait for a chunk
// across its sources, and the vocabulary once more.
static uint64_t merge_bytes(const struct hw_plan *plan, const struct hw_model *model,
                            const struct hw_prompts *prompts, int n_threads) {
    struct hw_trace_load load = hw_trace_streams_load(&plan->recording.layout, prompts->n,
                                                      plan->n_tokens + plan->max_generated);
    // Measured: the library's caches of both files; a text in its heaps, with their bookkeeping.
    const uint64_t caches = 12 << 20;
    const uint64_t text = 300;
    uint64_t chunks = hw_size_min(load.chunk_bytes, plan->raw_bytes);
    load.chunk_bytes = chunks;
    return hw_size_min(load.waiting_bytes, plan->raw_bytes) + load.text_bytes +
           hw_trace_streams_working_bytes(&load, n_threads) + plan->means_bytes + caches +
           model->desc.n_vocab * text;
}

enum hw_status hw_plan_add_memory(struct hw_plan *plan, const struct hw_model *model,
                                  const struct hw_prompts *prompts,
                                  const struct hw_plan_options *options, struct hw_error *err) {
    enum hw_status status =
        hw_engine_measure(&plan->engine, &plan->engine_bytes, &plan->session, err);
    plan->means_bytes = hw_mean_sums_bytes(&plan->recording.layout);
    if (status == HW_OK &&
        !hw_size_add(plan->engine_bytes, plan->means_bytes, &plan->engine_bytes)) {
        status =
            hw_fail(err, HW_RESOURCE,
                    "means of %zu groups at %zu positions need more memory than can be addressed",
                    plan->recording.layout.n_mean_groups, plan->recording.layout.n_mean_positions);
    }
    plan->session.n_threads = options->n_threads;
    plan->session.level = options->level;
    if (options->edits != NULL) {
        plan->session.has_cache_windows = hw_edit_run_has_cache_windows(options->edits);
        plan->edit_bytes = hw_edit_run_bytes(options->edits);
    }
    status = status == HW_OK ? hw_session_measure(model, &plan->session, &plan->session_bytes, err)
                             : status;
    if (status != HW_OK) {
        return status;
    }
    plan->weights_bytes = hw_plan_weights_bytes(model);
    plan->storage_bytes = storage_bytes(plan, prompts, options);
    plan->base_bytes = hw_plan_base_bytes();
    size_t merging = merge_bytes(plan, model, prompts, options->n_threads);
    size_t running =
        plan->session_bytes + plan->engine_bytes + plan->edit_bytes + plan->storage_bytes;
    plan->peak_bytes = plan->weights_bytes + plan->base_bytes + hw_size_max(running, merging);
    return HW_OK;
}

enum hw_status hw_plan_check_memory(const struct hw_plan *plan, uint64_t limit_bytes,
                                    struct hw_error *err) {
    if (limit_bytes == 0 || plan->peak_bytes <= limit_bytes) {
        return HW_OK;
    }
    const double mb = 1e6;
    return hw_fail(err, HW_RESOURCE,
                   "the plan needs %.0f MB (weights %.0f, pass %.0f, records %.0f, edits %.0f, "
                   "output %.0f) where --memory-limit allows "
                   "%.0f MB: shorten the prompts (--max-tokens, now %zu) or record less",
                   (double)plan->peak_bytes / mb, (double)plan->weights_bytes / mb,
                   (double)plan->session_bytes / mb, (double)plan->engine_bytes / mb,
                   (double)plan->edit_bytes / mb, (double)plan->storage_bytes / mb,
                   (double)limit_bytes / mb, plan->engine.max_tokens);
}
