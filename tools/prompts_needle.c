// Needle-in-a-haystack trials: needles x lengths x depths.
//
// The line carries what `headwater retrieval` needs, so that it reads all from the capture: the
// answer with its ids, the span "needle", question, length and depth.
#include "tools/prompts_needle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"
#include "tools/prompts_kinds.h"

struct recipe {
    char *form;
    size_t room;
    size_t *lengths;
    size_t n_lengths;
    size_t *depths;
    size_t n_depths;
};

static json_t *ids_json(const struct hw_tokens *tokens) {
    json_t *list = json_array();
    for (size_t i = 0; i < tokens->n; i++) {
        (void)json_array_append_new(list, json_integer(tokens->items[i].id));
    }
    return list;
}

static json_t *make_line(const struct needle_item *item, const struct hw_tokens *answer,
                         const struct hw_needle_trial *trial, size_t length, size_t depth) {
    char name[32];
    (void)snprintf(name, sizeof name, "-%zu-%zu", length, depth);
    return json_pack("{s:s+, s:s, s:I, s:I, s:s, s:s, s:o, s:{s:[I, I]}, s:s}", "name", item->name,
                     name, "domain", item->name, "length", (json_int_t)length, "depth",
                     (json_int_t)depth, "question", item->needle.question, "answer",
                     item->needle.answer, "answer_tokens", ids_json(answer), "spans", "needle",
                     (json_int_t)trial->first, (json_int_t)trial->end, "text", trial->text);
}

static enum hw_status check_length(const struct prompts_job *job,
                                   const struct hw_needle_trial *trial, size_t length,
                                   struct hw_error *err) {
    const struct hw_model_desc *d = &job->model->desc;
    if (d->position == HW_POSITION_LEARNED && trial->tokens.n > d->n_context) {
        return hw_fail(err, HW_USAGE,
                       "a length of %zu makes %zu tokens (expected at most the model's %zu learned "
                       "positions)",
                       length, trial->tokens.n, d->n_context);
    }
    return HW_OK;
}

// All depths of one needle in one length.
static enum hw_status make_length(struct prompts_job *job, const struct needle_item *item,
                                  const struct hw_tokens *answer, const struct recipe *recipe,
                                  size_t length, struct hw_error *err) {
    struct hw_needle_options how = {.room = recipe->room, .form = recipe->form};
    struct hw_tokens haystack = {0};
    size_t n_repeats = 1;
    enum hw_status status =
        hw_needle_haystack(job->tokenizer, item->haystack, length, &haystack, &n_repeats, err);
    for (size_t i = 0; i < recipe->n_depths && status == HW_OK; i++) {
        struct hw_needle_trial trial = {0};
        status = hw_needle_trial(job->tokenizer, &haystack, length, recipe->depths[i],
                                 &item->needle, &how, &trial, err);
        status = status == HW_OK ? check_length(job, &trial, length, err) : status;
        if (status == HW_OK) {
            json_t *line = make_line(item, answer, &trial, length, recipe->depths[i]);
            status = hw_prompts_emit(job, line, trial.tokens.n, err);
        }
        hw_needle_trial_free(&trial);
    }
    if (status == HW_OK && n_repeats > 1 && length == recipe->lengths[recipe->n_lengths - 1]) {
        hw_note(job->in, "needle %s: its haystack stands %zu times in a length of %zu tokens",
                item->name, n_repeats, length);
    }
    hw_tokens_free(&haystack);
    return status == HW_OK ? HW_OK : hw_fail_context(err, status, "needle %s: ", item->name);
}

static enum hw_status make(struct prompts_job *job, struct hw_error *err) {
    const struct prompts_needle_options *own = &job->options->needle;
    struct needle_set set = {0};
    struct recipe recipe = {.form = hw_unescape(own->form != NULL ? own->form : HW_NEEDLE_TEMPLATE),
                            .room = own->room};
    struct hw_tokens answer = {0};
    enum hw_status status =
        hw_needle_parse_grid(own->lengths, false, &recipe.lengths, &recipe.n_lengths, err);
    if (status == HW_OK) {
        status = hw_needle_parse_grid(own->depths, true, &recipe.depths, &recipe.n_depths, err);
    }
    status = status == HW_OK ? hw_needle_set_load(own->needles, own->haystack, &set, err) : status;
    for (size_t i = 0; i < set.n && status == HW_OK; i++) {
        const struct needle_item *item = &set.items[i];
        answer.n = 0;
        status = hw_tokenizer_encode(job->tokenizer, item->needle.answer,
                                     strlen(item->needle.answer), HW_BOS_NO, &answer, err);
        for (size_t k = 0; k < recipe.n_lengths && status == HW_OK; k++) {
            status = make_length(job, item, &answer, &recipe, recipe.lengths[k], err);
        }
    }
    const struct hw_model_desc *d = &job->model->desc;
    if (status == HW_OK && d->n_context > 0 && job->max_tokens > d->n_context) {
        hw_note(job->in,
                "prompts of up to %zu tokens are longer than the %zu tokens the model was trained "
                "on",
                job->max_tokens, d->n_context);
    }
    hw_tokens_free(&answer);
    hw_needle_set_free(&set);
    free(recipe.form);
    free(recipe.lengths);
    free(recipe.depths);
    return status;
}

static const char *const honoured[] = {"needles",  "haystack", "lengths", "depths",
                                       "template", "room",     NULL};

const struct prompts_kind hw_prompts_needle = {"needle", honoured, make};
