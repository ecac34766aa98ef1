// The run folder, from the first block of prompts to the merged file.
#include "formats/run.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "formats/commit.h"
#include "formats/fault.h"
#include "formats/manifest.h"
#include "formats/merge.h"
#include "formats/run_folder.h"
#include "formats/run_output.h"
#include "formats/trace_reader.h"
#include "formats/vocabulary.h"
#include "kernels/size.h"

enum { COMMIT_EVERY = 64 };

struct hw_run {
    struct hw_run_options options;
    char *out_path;
    char *folder;
    struct hw_manifest manifest;
    struct hw_journal *journal;
    uint8_t *is_done; // [n_prompts]
    size_t n_done;
    struct hw_part *part;
    size_t part_first;
};

static bool is_mine(const struct hw_run *run, size_t prompt) {
    return prompt / run->manifest.commit_every % run->options.n_shards == run->options.shard;
}

static json_t *make_root_attributes(const struct hw_run_options *options) {
    char uuid[37], date[32], history[80];
    time_t now = time(NULL);
    struct tm parts;
    hw_run_id_make(uuid);
    (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
    (void)snprintf(history, sizeof history, "%s: captured by headwater %s", date, HW_VERSION);
    json_t *root =
        json_pack("{s:s, s:s, s:s, s:s, s:s}", "title", "headwater capture", "history", history,
                  "tool_version", HW_VERSION, "run_id", uuid, "date_created", date);
    for (size_t i = 0; i < options->n_labels && root != NULL; i++) {
        const char *equal = strchr(options->labels[i], '=');
        char *name = equal == NULL ? NULL
                                   : hw_path_format("label_%.*s", (int)(equal - options->labels[i]),
                                                    options->labels[i]);
        if (name != NULL) {
            (void)json_object_set_new(root, name, json_string(equal + 1));
        }
        free(name);
    }
    return root;
}

static enum hw_status make_manifest(const struct hw_run_options *options, struct hw_manifest *ret,
                                    struct hw_error *err) {
    json_t *attributes = json_object();
    json_t *root = make_root_attributes(options);
    json_t *edits = json_object_get(options->manifest, "edits");
    char *edits_json = edits != NULL ? json_dumps(edits, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    for (size_t i = 0; i < options->n_provenance; i++) {
        const struct hw_provenance_item *item = &options->provenance[i];
        (void)json_object_set_new(attributes, item->name,
                                  json_string(item->value != NULL ? item->value : ""));
    }
    struct hw_provenance provenance = {
        root,       attributes,           options->config_json, options->model_metadata_json,
        edits_json, options->kernels_json};
    size_t every = options->commit_every > 0 ? options->commit_every : COMMIT_EVERY;
    enum hw_status status = hw_manifest_make(options->manifest, &provenance, options->n_prompts,
                                             every, options->n_shards, ret, err);
    free(edits_json);
    json_decref(attributes);
    json_decref(root);
    return status;
}

static bool exists(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0;
}

// Temporary files of this shard are of dead processes: the lock is ours.
static bool drop_stale(const char *name, void *context) {
    const struct hw_run *run = context;
    size_t n = strlen(name);
    if (strncmp(name, "part-", 5) != 0 || n < 4 || strcmp(name + n - 4, ".tmp") != 0) {
        return true;
    }
    char *end;
    unsigned long first = strtoul(name + 5, &end, 10);
    if (*end == '.' && is_mine(run, first)) {
        char *path = hw_path_format("%s/%s", run->folder, name);
        if (path != NULL) {
            (void)unlink(path);
        }
        free(path);
    }
    return true;
}

// A part that a crash left without a line in the journal: it was renamed, so it should be whole;
// look.
static enum hw_status adopt(struct hw_run *run, const char *path, struct hw_part_info *part,
                            struct hw_error *err) {
    struct hw_trace *trace = NULL;
    enum hw_status status = hw_trace_open(path, &trace, err);
    if (status != HW_OK) {
        return status;
    }
    size_t n = hw_trace_n_prompts(trace);
    if (n != (size_t)(part->last - part->first) + 1 ||
        hw_trace_prompt(trace, 0)->prompt != part->first ||
        hw_trace_prompt(trace, n - 1)->prompt != part->last) {
        status = hw_fail(err, HW_INPUT, "%s: does not hold the prompts %d to %d", path,
                         (int)part->first, (int)part->last);
    }
    hw_trace_close(&trace);
    status = status != HW_OK ? status : hw_commit_hash(path, part->sha256, &part->n_bytes, err);
    return status != HW_OK ? status : hw_journal_append(run->journal, part, err);
}

static enum hw_status check_part(struct hw_run *run, struct hw_part_info *part,
                                 struct hw_error *err) {
    char *path = hw_part_path(run->folder, part->first, part->last);
    char sha256[65];
    uint64_t n_bytes = 0;
    enum hw_status status = HW_OK;
    if (path == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    }
    const struct hw_part_info *line = hw_journal_find(run->journal, part->first, part->last);
    if ((size_t)part->last >= run->manifest.n_prompts) {
        status = hw_fail(err, HW_INPUT, "%s: the run has %zu prompts only", path,
                         run->manifest.n_prompts);
    } else if (!is_mine(run, (size_t)part->first)) {
        // Another worker's; the merge looks at it.
    } else if (line == NULL) {
        status = adopt(run, path, part, err);
    } else {
        status = hw_commit_hash(path, sha256, &n_bytes, err);
        if (status == HW_OK && (n_bytes != line->n_bytes || strcmp(sha256, line->sha256) != 0)) {
            status = hw_fail(err, HW_INPUT,
                             "%s: is not what the journal says (expected %llu bytes of SHA-256 %s, "
                             "found %llu of %s); without the file its prompts are captured again",
                             path, (unsigned long long)line->n_bytes, line->sha256,
                             (unsigned long long)n_bytes, sha256);
        }
    }
    free(path);
    return status;
}

static enum hw_status count_parts(struct hw_run *run, struct hw_error *err) {
    struct hw_part_list list = {0};
    run->is_done = calloc(run->manifest.n_prompts + 1, 1);
    enum hw_status status = run->is_done == NULL
                                ? hw_fail(err, HW_RESOURCE, "not enough memory for %zu prompts",
                                          run->manifest.n_prompts)
                                : hw_part_list_read(run->folder, &list, err);
    for (size_t i = 0; i < list.n && status == HW_OK; i++) {
        status = check_part(run, &list.parts[i], err);
        for (int32_t p = list.parts[i].first; p <= list.parts[i].last && status == HW_OK; p++) {
            run->is_done[p] = 1;
            run->n_done++;
        }
    }
    hw_part_list_free(&list);
    return status;
}

// common.h5 comes after the manifest: whatever a killed run left is of the run that the manifest
// tells.
static enum hw_status settle_common(struct hw_run *run, struct hw_error *err) {
    struct hw_vocabulary_copy vocabulary = {0};
    const struct hw_tokenizer *tokenizer = run->options.tokenizer;
    char *path = hw_path_format("%s/common.h5", run->folder);
    enum hw_status status =
        path != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    if (status == HW_OK && !exists(path)) {
        status =
            tokenizer != NULL ? hw_vocabulary_from_tokenizer(tokenizer, &vocabulary, err) : HW_OK;
        status = status != HW_OK
                     ? status
                     : hw_run_folder_write_common(run->folder, run->options.layout,
                                                  &run->manifest.provenance,
                                                  tokenizer != NULL ? &vocabulary.view : NULL, err);
        status = status != HW_OK ? status : hw_fault_check("common-written", path, err);
    }
    hw_vocabulary_free(&vocabulary);
    free(path);
    return status;
}

// The folder with its manifest: this run's, or made now.
static enum hw_status settle_manifest(struct hw_run *run, struct hw_manifest *wanted,
                                      struct hw_error *err) {
    char *path = hw_path_format("%s/manifest.json", run->folder);
    enum hw_status status =
        path != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    if (status == HW_OK && !exists(path)) {
        status = hw_manifest_write(wanted, run->folder, err);
        status = status == HW_OK || exists(path) ? HW_OK : status;
        status = status != HW_OK ? status : hw_fault_check("manifest-written", path, err);
    }
    // Read back in any case: another worker may have been first.
    status = status != HW_OK ? status : hw_manifest_read(run->folder, &run->manifest, err);
    if (status == HW_OK) {
        status = hw_manifest_compare(&run->manifest, wanted, err);
        if (status != HW_OK) {
            (void)hw_fail_context(err, status, "%s: ", run->folder);
        }
    }
    free(path);
    return status != HW_OK ? status : settle_common(run, err);
}

// *ret_is_complete: another process finished the run before its lock became ours.
static enum hw_status open_folder(struct hw_run *run, struct hw_manifest *wanted,
                                  bool *ret_is_complete, struct hw_error *err) {
    enum hw_status status = hw_run_folder_make(run->folder, err);
    status = status != HW_OK ? status
                             : hw_journal_open(run->folder, run->options.shard, &run->journal, err);
    if (status == HW_OK && !run->options.is_overwriting) {
        status = hw_run_output_judge(run->out_path, wanted, ret_is_complete, err);
    }
    if (status != HW_OK || *ret_is_complete) {
        return status;
    }
    status = settle_manifest(run, wanted, err);
    if (status == HW_OK) {
        status = hw_run_folder_walk(run->folder, drop_stale, run, err);
    }
    return status != HW_OK ? status : count_parts(run, err);
}

// Before a file is replaced: parts of the same run go on, those of another are thrown away.
// *ret_is_complete: the file there is what these parts became; the run was killed between the last
// rename and the end of its folder.
static enum hw_status settle_parts(const struct hw_run *run, const struct hw_manifest *wanted,
                                   bool *ret_is_complete, struct hw_error *err) {
    struct hw_journals journals = {0};
    struct hw_manifest there = {0};
    struct hw_error inner;
    if (!exists(run->folder)) {
        return HW_OK;
    }
    enum hw_status status = hw_journals_open(run->folder, &journals, err);
    if (status != HW_OK) {
        return status;
    }
    enum hw_status found = hw_manifest_read(run->folder, &there, &inner);
    if (found == HW_RESOURCE) {
        status = hw_fail(err, found, "%s", inner.message);
    } else if (found == HW_OK && hw_manifest_compare(&there, wanted, &inner) == HW_OK) {
        *ret_is_complete = hw_run_output_is_of(run->out_path, &there);
    } else if (hw_run_output_is_master(run->out_path)) {
        status = hw_fail(err, HW_OUTPUT,
                         "%s: its rows lie in parts, which would go before it does (expected a "
                         "whole file, as `headwater merge --overwrite` makes of %s, or neither)",
                         run->out_path, run->folder);
    } else {
        status = hw_run_folder_remove(run->folder, err);
    }
    hw_manifest_close(&there);
    hw_journals_close(&journals);
    return status;
}

enum hw_status hw_run_open(const struct hw_run_options *options, struct hw_run **ret_run,
                           bool *ret_is_complete, struct hw_error *err) {
    struct hw_manifest wanted = {0};
    bool is_complete = false;
    struct hw_run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a run");
    }
    run->options = *options;
    run->options.n_shards = hw_size_max(1, options->n_shards);
    run->out_path = strdup(options->out_path);
    run->folder = hw_path_format("%s.parts", options->out_path);
    enum hw_status status = HW_OK;
    if (run->out_path == NULL || run->folder == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    } else if (options->n_prompts == 0 || options->n_prompts > INT32_MAX ||
               options->shard >= run->options.n_shards) {
        status = hw_fail(err, HW_USAGE, "a run of %zu prompts, shard %zu of %zu",
                         options->n_prompts, options->shard, run->options.n_shards);
    }
    status = status != HW_OK ? status : make_manifest(&run->options, &wanted, err);
    status =
        status != HW_OK ? status : hw_run_output_check(run->out_path, options->is_overwriting, err);
    if (status == HW_OK) {
        status = options->is_overwriting
                     ? settle_parts(run, &wanted, &is_complete, err)
                     : hw_run_output_judge(run->out_path, &wanted, &is_complete, err);
    }
    if (status == HW_OK && !is_complete) {
        status = open_folder(run, &wanted, &is_complete, err);
    }
    if (status == HW_OK && is_complete) {
        hw_journal_close(&run->journal);
        // Killed between the last rename and this; but a master needs its parts.
        status =
            hw_run_output_is_master(run->out_path) ? HW_OK : hw_run_folder_clear(run->folder, err);
    }
    hw_manifest_close(&wanted);
    if (status != HW_OK || is_complete) {
        hw_run_close(&run);
    }
    if (status == HW_OK) {
        *ret_run = run;
        *ret_is_complete = is_complete;
    }
    return status;
}

void hw_run_close(struct hw_run **run) {
    struct hw_run *r = *run;
    if (r == NULL) {
        return;
    }
    hw_part_close(&r->part);
    hw_journal_close(&r->journal);
    hw_manifest_close(&r->manifest);
    free(r->is_done);
    free(r->out_path);
    free(r->folder);
    free(r);
    *run = NULL;
}

size_t hw_run_n_done(const struct hw_run *run) {
    return run->n_done;
}

bool hw_run_is_left(const struct hw_run *run, size_t prompt) {
    return !run->is_done[prompt] && is_mine(run, prompt);
}

bool hw_run_next(const struct hw_run *run, size_t *ret_first, size_t *ret_end) {
    size_t n = run->manifest.n_prompts, every = run->manifest.commit_every;
    for (size_t p = 0; p < n; p++) {
        if (!hw_run_is_left(run, p)) {
            continue;
        }
        size_t end = p + 1;
        while (end < n && end / every == p / every && !run->is_done[end]) {
            end++;
        }
        *ret_first = p;
        *ret_end = end;
        return true;
    }
    return false;
}

enum hw_status hw_run_begin_part(struct hw_run *run, size_t first, uint64_t planned_bytes,
                                 struct hw_destination **ret_destination, struct hw_error *err) {
    if (run->part != NULL || first >= run->manifest.n_prompts) {
        return hw_fail(err, HW_INTERNAL, "a part begins at prompt %zu%s", first,
                       run->part != NULL ? " before the last one was committed" : "");
    }
    struct hw_part_options options = {
        .folder = run->folder,
        .layout = run->options.layout,
        .provenance = &run->manifest.provenance,
        .first_prompt = (int32_t)first,
        .n_threads = run->options.n_threads,
        .planned_bytes = planned_bytes,
        .memory_bytes = run->options.part_image_bytes,
    };
    // Maps compress to a third or so: with less room than a quarter the part cannot be written.
    char *inside = hw_path_format("%s/x", run->folder);
    enum hw_status status = inside != NULL
                                ? hw_commit_check_room(inside, planned_bytes / 4, err)
                                : hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    free(inside);
    status = status != HW_OK ? status : hw_part_open(&options, &run->part, err);
    if (status == HW_OK) {
        run->part_first = first;
        *ret_destination = hw_part_base(run->part);
    }
    return status;
}

void hw_run_drop_part(struct hw_run *run) {
    hw_part_close(&run->part);
}

enum hw_status hw_run_commit_part(struct hw_run *run, size_t end, struct hw_error *err) {
    struct hw_part_info info = {0};
    if (run->part == NULL || hw_part_n_prompts(run->part) != end - run->part_first) {
        size_t found = run->part != NULL ? hw_part_n_prompts(run->part) : 0;
        hw_part_close(&run->part);
        return hw_fail(err, HW_INTERNAL, "a part of prompts %zu to %zu holds %zu", run->part_first,
                       end, found);
    }
    enum hw_status status = hw_part_commit(&run->part, &info, err);
    status = status != HW_OK ? status : hw_journal_append(run->journal, &info, err);
    if (status != HW_OK) {
        return hw_fail_context(err, status, "%zu of %zu prompts are kept in %s: ", run->n_done,
                               run->manifest.n_prompts, run->folder);
    }
    for (size_t p = run->part_first; p < end; p++) {
        run->is_done[p] = 1;
        run->n_done++;
    }
    return HW_OK;
}

enum hw_status hw_run_finish(struct hw_run *run, struct hw_error *err) {
    size_t first, end;
    if (hw_run_next(run, &first, &end)) {
        return hw_fail(err, HW_INTERNAL, "the run ends, but prompts %zu to %zu are left", first,
                       end);
    }
    if (run->options.n_shards > 1) {
        return HW_OK;
    }
    hw_journal_close(&run->journal); // the merge takes all locks
    struct hw_merge_options options = {.out_path = run->out_path,
                                       .is_overwrite = run->options.is_overwriting,
                                       .is_unchecked = true,
                                       .n_threads = run->options.n_threads};
    enum hw_status status = hw_merge_folder(run->folder, &options, err);
    if (status != HW_OK) {
        (void)hw_fail_context(err, status, "all prompts are kept in %s: ", run->folder);
    }
    return status;
}
