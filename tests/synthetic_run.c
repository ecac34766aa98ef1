// Synthetic runs; see synthetic_run.h.
#include "synthetic_run.h"

#include "synthetic.h"
#include "trace_folder.h"

const char *const synthetic_run_points[SYNTHETIC_N_POINTS] = {
    "part-built:1",    "part-built:3",    "part-written:1",  "part-written:2",  "part-synced:1",
    "part-synced:3",   "part-renamed:1",  "part-renamed:3",  "journalled:1",    "journalled:3",
    "merge-started:1", "merge-written:1", "merge-renamed:1", "folder-removed:1"};

static struct hw_layout layout;
static json_t *manifest;

const char *synthetic_run_setup(void) {
    manifest = json_pack("{s:{s:s, s:i}, s:[s]}", "model", "sha256", "abc", "layers", 3, "record",
                         "default");
    synthetic_layout(&layout, HW_ELEMENT_F2);
    // Small and quick: the long prompts are in test_merge.
    layout.has[HW_DS_ATTENTION_PATTERN] = false;
    layout.has[HW_DS_ATTENTION_SCORES] = false;
    layout.has[HW_DS_ACTIVATIONS_Z] = false;
    return trace_folder_make();
}

void synthetic_run_teardown(void) {
    json_decref(manifest);
    trace_folder_remove();
}

struct hw_run_options synthetic_run_options(const char *path, size_t every) {
    static const struct hw_provenance_item items[] = {{"model_name", "tiny"}, {"threads", "2"}};
    static const char *const labels[] = {"step=1000"};
    struct hw_run_options options = {
        .out_path = path,
        .layout = &layout,
        .manifest = manifest,
        .provenance = items,
        .n_provenance = 2,
        .config_json = "{}",
        .labels = labels,
        .n_labels = 1,
        .n_prompts = SYNTHETIC_PROMPTS,
        .commit_every = every,
        .n_shards = 1,
        .n_threads = 1,
        .part_image_bytes = (uint64_t)64 << 20,
    };
    return options;
}

enum hw_status synthetic_run_play(const struct hw_run_options *options, size_t most,
                                  struct hw_error *err) {
    struct hw_run *run = NULL;
    bool is_complete = false;
    enum hw_status status = hw_run_open(options, &run, &is_complete, err);
    if (status != HW_OK || is_complete) {
        return status;
    }
    size_t first, end, n_parts = 0;
    while (status == HW_OK && hw_run_next(run, &first, &end)) {
        if (n_parts++ == most) {
            status = HW_STOPPED;
            break;
        }
        struct hw_destination *destination = NULL;
        status = hw_run_begin_part(run, first, 1000, &destination, err);
        if (status == HW_OK) {
            synthetic_play(destination, &layout, (int32_t)first, (int32_t)end);
            status = hw_run_commit_part(run, end, err);
        }
    }
    status = status != HW_OK ? status : hw_run_finish(run, err);
    hw_run_close(&run);
    return status;
}
