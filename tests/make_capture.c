// Writes the synthetic capture as a finished run: make_capture OUT.h5 f2|f4|u2 [virtual]. For tests
// that open captures with other programs.
#include <stdio.h>
#include <string.h>

#include "formats/merge.h"
#include "formats/run.h"
#include "formats/tokenizer.h"
#include "synthetic.h"

static enum hw_status play(struct hw_run *run, const struct hw_layout *layout,
                           struct hw_error *err) {
    size_t first, end;
    enum hw_status status = HW_OK;
    while (status == HW_OK && hw_run_next(run, &first, &end)) {
        struct hw_destination *destination = NULL;
        status = hw_run_begin_part(run, first, 1000, &destination, err);
        if (status == HW_OK) {
            synthetic_play(destination, layout, (int32_t)first, (int32_t)end);
            status = hw_run_commit_part(run, end, err);
        }
    }
    return status != HW_OK ? status : hw_run_finish(run, err);
}

int main(int argc, char **argv) {
    struct hw_layout layout;
    struct hw_error err;
    struct hw_run *run = NULL;
    struct hw_tokenizer *tokenizer = NULL;
    bool is_complete = false, is_virtual = argc > 3;
    char folder[500];
    if (argc < 3) {
        return HW_USAGE;
    }
    synthetic_layout(&layout, strcmp(argv[2], "f4") == 0   ? HW_ELEMENT_F4
                              : strcmp(argv[2], "u2") == 0 ? HW_ELEMENT_U2
                                                           : HW_ELEMENT_F2);
    json_t *manifest = json_pack("{s:s}", "model", "synthetic");
    struct hw_provenance_item items[] = {{"model_name", "synthetic"}};
    struct hw_run_options options = {.out_path = argv[1],
                                     .layout = &layout,
                                     .manifest = manifest,
                                     .provenance = items,
                                     .n_provenance = 1,
                                     .config_json = "{}",
                                     .kernels_json = "{}",
                                     .model_metadata_json = "{}",
                                     .n_prompts = SYNTHETIC_PROMPTS,
                                     .commit_every = 3,
                                     .n_shards = is_virtual ? 2 : 1,
                                     .n_threads = 2};
    enum hw_status status =
        hw_tokenizer_open_json(HW_TEST_DATA "/models/gpt2/tokenizer.json", NULL, &tokenizer, &err);
    options.tokenizer = tokenizer;
    for (; options.shard < options.n_shards && status == HW_OK; options.shard++) {
        status = hw_run_open(&options, &run, &is_complete, &err);
        status = status != HW_OK || is_complete ? status : play(run, &layout, &err);
        hw_run_close(&run);
    }
    if (status == HW_OK && is_virtual) {
        (void)snprintf(folder, sizeof folder, "%s.parts", argv[1]);
        struct hw_merge_options merging = {.out_path = argv[1], .is_virtual = true, .n_threads = 1};
        status = hw_merge_folder(folder, &merging, &err);
    }
    hw_tokenizer_close(&tokenizer);
    json_decref(manifest);
    if (status != HW_OK) {
        (void)fprintf(stderr, "make_capture: %s\n", err.message);
    }
    return (int)status;
}
