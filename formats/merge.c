// Sources, their common layout, and the merged file's way into place.
#include "formats/merge.h"

#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/commit.h"
#include "formats/fault.h"
#include "formats/h5.h"
#include "formats/manifest.h"
#include "formats/merge_internal.h"
#include "formats/prompt_rows.h"
#include "formats/run_folder.h"
#include "formats/run_output.h"
#include "formats/vocabulary.h"
#include "kernels/size.h"

static enum hw_status open_source(const struct hw_merge *merge, size_t i, struct hw_trace **ret,
                                  struct hw_error *err) {
    const char *path = merge->sources[i].path;
    return merge->is_trusted ? hw_trace_open_trusted(path, ret, err)
                             : hw_trace_open(path, ret, err);
}

static bool same_numbers(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b) {
    return n_a == n_b && (n_a == 0 || memcmp(a, b, n_a * sizeof *a) == 0);
}

static enum hw_status compare_group(const struct hw_layout *a, const struct hw_layout *b,
                                    enum hw_group group, struct hw_error *err) {
    const struct hw_group_axes *x = &a->groups[group], *y = &b->groups[group];
    const char *name = !same_numbers(x->layers, x->n_layers, y->layers, y->n_layers)   ? "layer"
                       : !same_numbers(x->depths, x->n_depths, y->depths, y->n_depths) ? "depth"
                       : !same_numbers(x->heads, x->n_heads, y->heads, y->n_heads)     ? "head"
                       : !same_numbers(x->kv_heads, x->n_kv_heads, y->kv_heads, y->n_kv_heads)
                           ? "kv_head"
                           : NULL;
    if (name == NULL && ((x->recorded != NULL) != (y->recorded != NULL) ||
                         (x->recorded != NULL &&
                          memcmp(x->recorded, y->recorded, x->n_layers * x->n_heads) != 0))) {
        name = "recorded";
    }
    return name == NULL ? HW_OK
                        : hw_fail(err, HW_INPUT, "has other values of %s/%s than the first",
                                  hw_group_name(group), name);
}

// All but the longest prompt must agree.
static enum hw_status compare_layouts(const struct hw_layout *a, const struct hw_layout *b,
                                      struct hw_error *err) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        if (!hw_layout_has(a, dataset) && !hw_layout_has(b, dataset)) {
            continue;
        }
        bool is_wide = dataset == HW_DS_DECODE_PATTERN || hw_dataset_is_map(dataset) ||
                       hw_dataset_is_by_position(dataset);
        if (hw_layout_has(a, dataset) != hw_layout_has(b, dataset) ||
            hw_layout_element(a, dataset) != hw_layout_element(b, dataset) ||
            (!is_wide && hw_layout_row_bytes(a, dataset) != hw_layout_row_bytes(b, dataset))) {
            return hw_fail(err, HW_INPUT, "records %s/%s in another way than the first",
                           hw_group_name(hw_schema_row(dataset)->group),
                           hw_schema_row(dataset)->name);
        }
    }
    if (a->max_tokens != b->max_tokens && hw_layout_has(a, HW_DS_DECODE_PATTERN)) {
        return hw_fail(
            err, HW_INPUT,
            "decode/pattern merges only where the longest prompt is the same (%zu, first %zu)",
            b->max_tokens, a->max_tokens);
    }
    for (int g = 0; g < HW_N_GROUPS; g++) {
        enum hw_status status = compare_group(a, b, (enum hw_group)g, err);
        if (status != HW_OK) {
            return status;
        }
    }
    return HW_OK;
}

static void measure(const struct hw_trace *trace, struct hw_trace_lengths *ret) {
    *ret = (struct hw_trace_lengths){.n_prompts = hw_trace_n_prompts(trace)};
    for (int i = 0; i < HW_N_DATASETS; i++) {
        const struct hw_schema_row *row = hw_schema_row((enum hw_dataset)i);
        if (!hw_trace_has(trace, (enum hw_dataset)i) || row->n_axes == 0) {
            continue;
        }
        size_t n = hw_trace_n_rows(trace, (enum hw_dataset)i);
        switch (row->axes[0]) {
        case HW_AXIS_TOKEN:
            ret->n_tokens[row->group] = n;
            break;
        case HW_AXIS_STEP:
            ret->n_steps = n;
            break;
        case HW_AXIS_EVENT:
            ret->n_events = n;
            break;
        case HW_AXIS_SPAN_ROW:
            ret->n_span_rows = n;
            break;
        default:
            break;
        }
    }
}

static void add_lengths(struct hw_trace_lengths *sum, const struct hw_trace_lengths *more) {
    sum->n_prompts += more->n_prompts;
    for (int g = 0; g < HW_N_GROUPS; g++) {
        sum->n_tokens[g] += more->n_tokens[g];
    }
    sum->n_steps += more->n_steps;
    sum->n_events += more->n_events;
    sum->n_span_rows += more->n_span_rows;
}

static enum hw_status note_prompts(struct hw_merge *merge, struct hw_merge_source *source,
                                   const struct hw_trace *trace, struct hw_error *err) {
    size_t before = merge->lengths.n_prompts, n = source->lengths.n_prompts;
    int32_t *prompts = realloc(merge->prompts, (before + n + 1) * sizeof *prompts);
    if (prompts == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu prompts", before + n);
    }
    merge->prompts = prompts;
    if (n > 0) {
        int32_t first = hw_trace_prompt(trace, 0)->prompt;
        int32_t last = before > 0 ? prompts[before - 1] : -1;
        // Numbers that do not go on rising go on from the last one.
        source->shift = first > last ? 0 : last + 1 - first;
    }
    for (size_t i = 0; i < n; i++) {
        int64_t number = (int64_t)hw_trace_prompt(trace, i)->prompt + source->shift;
        if (number > INT32_MAX) {
            return hw_fail(err, HW_INPUT, "prompt numbers beyond %d", INT32_MAX);
        }
        prompts[before + i] = (int32_t)number;
    }
    source->first = n > 0 ? prompts[before] : 0;
    source->last = n > 0 ? prompts[before + n - 1] : -1;
    return HW_OK;
}

// Opens every source once: layouts, lengths, prompts. The first stays open.
enum hw_status hw_merge_survey(struct hw_merge *merge, struct hw_error *err) {
    enum hw_status status = HW_OK;
    for (size_t i = 0; i < merge->n_sources && status == HW_OK; i++) {
        struct hw_merge_source *source = &merge->sources[i];
        struct hw_trace *trace = NULL;
        int64_t dropped = 0;
        status = open_source(merge, i, &trace, err);
        if (status == HW_OK && i == 0) {
            merge->layout = *hw_trace_layout(trace);
        } else if (status == HW_OK) {
            status = compare_layouts(&merge->layout, hw_trace_layout(trace), err);
        }
        if (status == HW_OK) {
            measure(trace, &source->lengths);
            merge->layout.max_tokens =
                hw_size_max(merge->layout.max_tokens, hw_trace_layout(trace)->max_tokens);
            status = note_prompts(merge, source, trace, err);
        }
        status = status != HW_OK ? status : hw_merge_note_means(merge, trace, err);
        if (status == HW_OK && hw_trace_has(trace, HW_DS_MASSIVE_PROMPT)) {
            status =
                hw_trace_attribute_integer(trace, HW_GROUP_MASSIVE, "n_dropped", &dropped, err);
            merge->n_massive_dropped += (uint64_t)dropped;
        }
        if (status == HW_OK) {
            add_lengths(&merge->lengths, &source->lengths);
        } else if (err != NULL && strstr(err->message, source->path) == NULL) {
            (void)hw_fail_context(err, status, "%s: ", source->path);
        }
        if (status == HW_OK && i == 0) {
            merge->first = trace;
        } else {
            hw_trace_close(&trace);
        }
    }
    return status;
}

static enum hw_status copy_sources(struct hw_merge *merge, struct hw_trace_file *file,
                                   struct hw_error *err) {
    struct hw_writer *writer = NULL;
    struct hw_trace_streams *streams = NULL;
    struct hw_trace_lengths before = {0};
    // Reading and writing are calls to HDF5 both, so they take turns in this thread.
    enum hw_status status = hw_writer_open(false, 0, &writer, err);
    status = status != HW_OK
                 ? status
                 : hw_trace_streams_open(file, writer,
                                         (int)hw_size_max(1, (size_t)merge->options.n_threads),
                                         &streams, err);
    for (size_t i = 0; i < merge->n_sources && status == HW_OK; i++) {
        struct hw_trace *trace = NULL;
        status = open_source(merge, i, &trace, err);
        status = status != HW_OK
                     ? status
                     : hw_merge_copy_source(trace, &merge->sources[i], &before, streams, err);
        hw_trace_close(&trace);
        add_lengths(&before, &merge->sources[i].lengths);
    }
    status = status != HW_OK ? status : hw_trace_streams_finish(streams, &merge->lengths, err);
    if (streams != NULL) {
        hw_trace_streams_close(&streams);
    }
    hw_writer_close(&writer);
    return status;
}

static char *describe_parts(const struct hw_merge *merge) {
    json_t *parts = json_array();
    for (size_t i = 0; i < merge->n_sources; i++) {
        const struct hw_merge_source *s = &merge->sources[i];
        json_t *part =
            json_pack("{s:s, s:i, s:i, s:I, s:s}", "file", s->name, "first", (int)s->first, "last",
                      (int)s->last, "bytes", (json_int_t)s->n_bytes, "sha256", s->sha256);
        (void)json_array_append_new(parts, part);
    }
    char *text = json_dumps(parts, JSON_COMPACT);
    json_decref(parts);
    return text;
}

// What the merged file says of itself. `common` has the vocabulary.
static enum hw_status finish_file(struct hw_merge *merge, struct hw_trace_file *file,
                                  struct hw_trace *common, const struct hw_provenance *provenance,
                                  const char *manifest_json, struct hw_error *err) {
    struct hw_vocabulary_copy vocabulary = {0};
    char *parts_json = describe_parts(merge);
    struct hw_trace_ending ending = {
        .lengths = &merge->lengths,
        .prompts = merge->prompts,
        .provenance = provenance,
        .n_massive_dropped = merge->n_massive_dropped,
        .is_complete = true,
        .n_parts = merge->n_sources,
    };
    enum hw_status status =
        parts_json == NULL ? hw_fail(err, HW_RESOURCE, "not enough memory for the list of parts")
                           : hw_trace_file_finish(file, &ending, err);
    status = status != HW_OK
                 ? status
                 : hw_trace_file_write_documents(file, provenance, parts_json, manifest_json, err);
    if (status == HW_OK && common != NULL && hw_trace_has(common, HW_DS_VOCABULARY_TEXT)) {
        status = hw_vocabulary_from_trace(common, &vocabulary, err);
        status =
            status != HW_OK ? status : hw_trace_file_write_vocabulary(file, &vocabulary.view, err);
    }
    if (status == HW_OK && merge->options.is_virtual) {
        status = hw_h5_set_integer(file->groups[HW_GROUP_ROOT], "is_virtual", 1, err);
    }
    free(parts_json);
    hw_vocabulary_free(&vocabulary);
    return status;
}

static enum hw_status sum_means(struct hw_merge *merge, struct hw_error *err) {
    if (!hw_layout_has(&merge->layout, HW_DS_MEANS_COUNT)) {
        return HW_OK;
    }
    enum hw_status status = hw_mean_sums_open(&merge->layout, &merge->means, err);
    for (size_t i = 0; i < merge->n_sources && status == HW_OK; i++) {
        struct hw_trace *trace = NULL;
        status = open_source(merge, i, &trace, err);
        status = status != HW_OK ? status : hw_merge_add_means(merge, trace, err);
        hw_trace_close(&trace);
    }
    if (status == HW_OK) {
        hw_mean_sums_finish(&merge->means);
    }
    return status;
}

static enum hw_status write_file(struct hw_merge *merge, const char *temporary,
                                 struct hw_trace *common, const struct hw_provenance *provenance,
                                 const char *manifest_json, struct hw_error *err) {
    struct hw_trace_file file;
    enum hw_status status = sum_means(merge, err);
    status = status != HW_OK ? status
                             : hw_trace_file_create(temporary, NULL, &merge->layout,
                                                    &merge->lengths, &file, err);
    if (status != HW_OK) {
        return status;
    }
    status = merge->options.is_virtual ? hw_merge_refer(merge, &file, err)
                                       : copy_sources(merge, &file, err);
    status = status != HW_OK ? status
                             : finish_file(merge, &file, common, provenance, manifest_json, err);
    if (status == HW_OK) {
        return hw_trace_file_complete(&file, temporary, err);
    }
    hw_trace_file_close(&file);
    return status;
}

// The last rename. What stands there may have changed since the beginning.
static enum hw_status put_in_place(const struct hw_merge *merge, const char *temporary,
                                   struct hw_error *err) {
    const char *out = merge->options.out_path;
    if (!merge->options.is_overwrite) {
        return hw_commit_rename(temporary, out, err);
    }
    enum hw_status status = hw_run_output_check(out, true, err);
    return status != HW_OK ? status : hw_commit_replace(temporary, out, err);
}

enum hw_status hw_merge_produce(struct hw_merge *merge, struct hw_trace *common,
                                const struct hw_provenance *provenance, const char *manifest_json,
                                struct hw_error *err) {
    const char *out = merge->options.out_path;
    char *temporary = hw_commit_temporary(out);
    struct stat info;
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < merge->n_sources; i++) {
        n_bytes += merge->sources[i].n_bytes;
    }
    enum hw_status status = temporary != NULL
                                ? hw_fault_check("merge-started", out, err)
                                : hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    if (status == HW_OK && merge->options.is_overwrite) {
        status = hw_run_output_check(out, true, err);
    } else if (status == HW_OK && lstat(out, &info) == 0) {
        status = hw_fail(err, HW_OUTPUT, "%s: exists; --overwrite replaces it", out);
    }
    if (status == HW_OK && !merge->options.is_virtual) {
        status = hw_commit_check_room(out, n_bytes, err);
    }
    if (status == HW_OK) {
        hw_commit_drop_stale(out);
        status = write_file(merge, temporary, common, provenance, manifest_json, err);
        status = status != HW_OK ? status : hw_fault_check("merge-written", out, err);
        status = status != HW_OK ? status : hw_commit_sync(temporary, err);
        status = status != HW_OK ? status : put_in_place(merge, temporary, err);
        if (status != HW_OK) {
            (void)unlink(temporary);
        }
        status = status != HW_OK ? status : hw_fault_check("merge-renamed", out, err);
    }
    free(temporary);
    return status;
}

void hw_merge_close(struct hw_merge *merge) {
    hw_trace_close(&merge->first);
    for (size_t i = 0; i < merge->n_sources; i++) {
        free(merge->sources[i].path);
        free(merge->sources[i].name);
    }
    free(merge->sources);
    free(merge->prompts);
    for (size_t i = 0; merge->mean_groups != NULL && i < merge->layout.n_mean_groups; i++) {
        free(merge->mean_groups[i]);
    }
    free(merge->mean_groups);
    free(merge->means_by);
    hw_mean_sums_close(&merge->means);
}

static enum hw_status check_against_journal(const struct hw_journals *journals,
                                            struct hw_merge_source *source, bool is_unchecked,
                                            struct hw_error *err) {
    const struct hw_part_info *line = hw_journals_find(journals, source->first, source->last);
    if (is_unchecked && line != NULL) {
        memcpy(source->sha256, line->sha256, sizeof source->sha256);
        return HW_OK;
    }
    enum hw_status status = hw_commit_hash(source->path, source->sha256, &source->n_bytes, err);
    if (status == HW_OK && line != NULL &&
        (line->n_bytes != source->n_bytes || strcmp(line->sha256, source->sha256) != 0)) {
        status = hw_fail(err, HW_INPUT, "%s: is not what the journal says (SHA-256 %s, found %s)",
                         source->path, line->sha256, source->sha256);
    }
    return status;
}

// The folder as a master names it: relative where it lies beside the master, so that both can be
// moved together.
static char *find_place(const char *folder, const char *out_path) {
    char *copy = strdup(folder), *out_copy = strdup(out_path);
    char *full = realpath(folder, NULL);
    char *here = copy != NULL ? realpath(dirname(copy), NULL) : NULL;
    char *there = out_copy != NULL ? realpath(dirname(out_copy), NULL) : NULL;
    char *place = NULL;
    if (full != NULL && here != NULL && there != NULL && strcmp(here, there) == 0) {
        const char *slash = strrchr(full, '/');
        place = strdup(slash != NULL ? slash + 1 : full);
    } else if (full != NULL) {
        place = strdup(full);
    }
    free(copy);
    free(out_copy);
    free(full);
    free(here);
    free(there);
    return place;
}

// The parts of a folder as sources; every prompt exactly once.
static enum hw_status list_sources(struct hw_merge *merge, const char *folder,
                                   const struct hw_manifest *manifest,
                                   const struct hw_journals *journals, struct hw_error *err) {
    struct hw_part_list list = {0};
    enum hw_status status = hw_part_list_read(folder, &list, err);
    size_t next = 0;
    merge->sources = calloc(list.n + 1, sizeof *merge->sources);
    if (status == HW_OK && merge->sources == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for %zu parts", list.n);
    }
    char *place = find_place(folder, merge->options.out_path);
    for (size_t i = 0; i < list.n && status == HW_OK; i++) {
        struct hw_merge_source *source = &merge->sources[i];
        *source = (struct hw_merge_source){.n_bytes = list.parts[i].n_bytes,
                                           .first = list.parts[i].first,
                                           .last = list.parts[i].last};
        source->path = hw_part_path(folder, source->first, source->last);
        source->name = place != NULL ? hw_part_path(place, source->first, source->last) : NULL;
        merge->n_sources = i + 1;
        if (source->path == NULL || source->name == NULL) {
            status = hw_fail(err, HW_RESOURCE, "not enough memory for a path");
        } else if ((size_t)source->first != next) {
            status = hw_fail(err, HW_INPUT, "%s: prompts %zu to %d are missing; capture them first",
                             folder, next, (int)source->first - 1);
        } else {
            status = check_against_journal(journals, source, merge->options.is_unchecked, err);
        }
        next = (size_t)source->last + 1;
    }
    if (status == HW_OK && next != manifest->n_prompts) {
        status = hw_fail(err, HW_INPUT, "%s: prompts %zu to %zu are missing; capture them first",
                         folder, next, manifest->n_prompts - 1);
    }
    free(place);
    hw_part_list_free(&list);
    return status;
}

enum hw_status hw_merge_folder(const char *folder, const struct hw_merge_options *options,
                               struct hw_error *err) {
    struct hw_merge merge = {.options = *options, .is_trusted = true};
    struct hw_manifest manifest = {0};
    struct hw_journals journals = {0};
    struct hw_trace *common = NULL;
    char *clean = strdup(folder);
    char *path = NULL, *kept = NULL;
    for (size_t n = clean != NULL ? strlen(clean) : 0; n > 1 && clean[n - 1] == '/'; n--) {
        clean[n - 1] = '\0';
    }
    enum hw_status status = clean == NULL
                                ? hw_fail(err, HW_RESOURCE, "not enough memory for a path")
                                : hw_manifest_read(clean, &manifest, err);
    status = status != HW_OK ? status : hw_journals_open(clean, &journals, err);
    status = status != HW_OK ? status : list_sources(&merge, clean, &manifest, &journals, err);
    status = status != HW_OK ? status : hw_merge_survey(&merge, err);
    if (status == HW_OK) {
        path = hw_path_format("%s/common.h5", clean);
        kept = hw_manifest_kept_text(&manifest);
        status = path == NULL || kept == NULL
                     ? hw_fail(err, HW_RESOURCE, "not enough memory for a path")
                     : hw_trace_open_trusted(path, &common, err);
    }
    status = status != HW_OK ? status
                             : hw_merge_produce(&merge, common, &manifest.provenance, kept, err);
    hw_trace_close(&common);
    hw_merge_close(&merge);
    if (status == HW_OK && !options->is_virtual) {
        status = hw_run_folder_remove(clean, err);
        status = status != HW_OK ? status : hw_fault_check("folder-removed", clean, err);
    }
    hw_journals_close(&journals);
    hw_manifest_close(&manifest);
    free(clean);
    free(path);
    free(kept);
    return status;
}
