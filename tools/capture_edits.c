// The edits of a capture: parsed, checked against the model, opened and compiled before anything
// runs.
#include <stdlib.h>
#include <string.h>

#include "tools/capture_options.h"
#include "tools/inputs.h"
#include "tools/places.h"

static enum hw_status parse(const struct hw_strings *specs, struct capture_setup *setup,
                            struct hw_error *err) {
    json_t *list = json_array();
    enum hw_status status = HW_OK;
    setup->edits = calloc(specs->n, sizeof(struct hw_edit *));
    if (setup->edits == NULL || list == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for edits");
    }
    for (size_t i = 0; i < specs->n && status == HW_OK; i++) {
        status = hw_edit_parse(specs->items[i], &setup->model->desc, false, &setup->edits[i], err);
        if (status == HW_OK) {
            setup->n_edits++;
            (void)json_array_append_new(list, json_string(setup->edits[i]->spec));
        }
    }
    if (status == HW_OK && (setup->edits_json = json_dumps(list, JSON_COMPACT)) == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for edits");
    }
    json_decref(list);
    return status;
}

enum hw_status hw_capture_edits_open(const struct hw_invocation *in, struct capture_setup *setup,
                                     struct hw_error *err) {
    const struct capture_options *opt = in->options;
    if (opt->edits.n == 0) {
        return HW_OK;
    }
    enum hw_status status = parse(&opt->edits, setup, err);
    if (status != HW_OK) {
        return status;
    }
    setup->hash_folder = hw_place_of_hashes();
    struct hw_edit_source_options options = {.model = setup->model,
                                             .hash_folder = setup->hash_folder,
                                             .tokenizer = setup->tokenizer,
                                             .add_bos = (enum hw_add_bos)opt->input.add_bos,
                                             .prompts = &setup->prompts,
                                             .means_by = opt->means_by,
                                             .stop_signal = &hw_stop_signal};
    return hw_edit_run_open((const struct hw_edit *const *)setup->edits, setup->n_edits, &options,
                            opt->generate, &setup->edit_run, err);
}

void hw_capture_edits_close(struct capture_setup *setup) {
    hw_edit_run_close(&setup->edit_run);
    for (size_t i = 0; i < setup->n_edits; i++) {
        hw_edit_close(&setup->edits[i]);
    }
    free(setup->edits);
    free(setup->edits_json);
    free(setup->hash_folder);
}
