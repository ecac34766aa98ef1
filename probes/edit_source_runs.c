// Prompts that are run, unchanged, before each prompt: its counterpart, or one drawn for it.
//
// Models here are causal: of a longer drawn prompt only as many tokens are run as are read.
#include <stdlib.h>
#include <string.h>

#include "probes/edit_source_internal.h"

static bool is_run(const struct hw_prompt *prompt) {
    return prompt->status != HW_PROMPT_FAILED;
}

// The counterpart, tokenised as its prompt was; of a prompt that was cut, as much of it.
static enum hw_status take_counterpart(const struct hw_edit_sources *s, struct hw_source_run *run,
                                       size_t p, struct hw_error *err) {
    const struct hw_prompt *prompt = &s->options.prompts->items[p];
    if (prompt->counterpart[0] == '\0') {
        return hw_fail(err, HW_USAGE,
                       "it has no counterpart (expected \"counterpart\" in its object, or "
                       "source=CAPTURE)");
    }
    if (s->options.tokenizer == NULL) {
        return hw_fail(err, HW_USAGE, "its counterpart is text, and the model has no tokenizer");
    }
    struct hw_tokens tokens = {0};
    enum hw_status status =
        hw_tokenizer_encode(s->options.tokenizer, prompt->counterpart, strlen(prompt->counterpart),
                            s->options.add_bos, &tokens, err);
    if (status != HW_OK) {
        status = hw_fail_context(err, status, "counterpart: ");
    }
    size_t n = tokens.n;
    if (prompt->status == HW_PROMPT_TRUNCATED && n > prompt->n_ids) {
        n = prompt->n_ids;
    }
    if (status == HW_OK && n != prompt->n_ids) {
        status = hw_fail(err, HW_USAGE,
                         "its counterpart has %zu tokens (expected %zu, as many as the prompt)", n,
                         prompt->n_ids);
    }
    run->ids[p] = status == HW_OK ? malloc((n + 1) * sizeof **run->ids) : NULL;
    if (status == HW_OK && run->ids[p] == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for a counterpart");
    }
    for (size_t i = 0; i < n && status == HW_OK; i++) {
        run->ids[p][i] = tokens.items[i].id;
        if (run->ids[p][i] >= s->desc->n_vocab) {
            status = hw_fail(err, HW_USAGE,
                             "token %zu of its counterpart is %u (expected an id below the "
                             "model's vocabulary of %zu)",
                             i, run->ids[p][i], s->desc->n_vocab);
        }
    }
    hw_tokens_free(&tokens);
    return status;
}

// splitmix64 (Steele, Lea, Flood 2014): the n-th output of the generator that starts at seed.
static uint64_t draw(uint64_t seed, uint64_t n) {
    uint64_t x = seed + (n + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static bool is_long_enough(const struct hw_edit_sources *s, size_t p, size_t other) {
    const struct hw_prompt *items = s->options.prompts->items;
    return other != p && is_run(&items[other]) && items[other].n_ids >= items[p].n_ids;
}

static enum hw_status draw_prompt(const struct hw_edit_sources *s, struct hw_source_run *run,
                                  size_t p, struct hw_error *err) {
    size_t n = 0;
    for (size_t other = 0; other < s->n_prompts; other++) {
        n += is_long_enough(s, p, other);
    }
    if (n == 0) {
        return hw_fail(err, HW_USAGE,
                       "there is no other prompt to take values from (expected one of at least "
                       "%zu tokens)",
                       s->options.prompts->items[p].n_ids);
    }
    size_t left = (size_t)((unsigned __int128)draw(run->seed, p) * n >> 64);
    size_t other = 0;
    for (; !is_long_enough(s, p, other) || left > 0; other++) {
        left -= is_long_enough(s, p, other);
    }
    run->drawn[p] = other;
    return HW_OK;
}

static struct hw_source_run *find_run(struct hw_edit_sources *s,
                                      const struct hw_source_need *need) {
    bool is_resample = need->replacement == HW_REPLACE_RESAMPLE;
    for (size_t i = 0; i < s->n_runs; i++) {
        struct hw_source_run *run = &s->runs[i];
        if (run->is_resample == is_resample && (!is_resample || run->seed == need->seed)) {
            return run;
        }
    }
    return NULL;
}

enum hw_status hw_source_run_open(struct hw_edit_sources *s, struct hw_source_need *need,
                                  struct hw_error *err) {
    need->run = find_run(s, need);
    if (need->run != NULL) {
        return HW_OK;
    }
    struct hw_source_run *run = &s->runs[s->n_runs++];
    need->run = run;
    run->is_resample = need->replacement == HW_REPLACE_RESAMPLE;
    run->seed = need->seed;
    run->watch = calloc(s->desc->n_layers + 1, sizeof *run->watch);
    run->ids = calloc(s->n_prompts, sizeof *run->ids);
    run->drawn = calloc(s->n_prompts, sizeof *run->drawn);
    if (run->watch == NULL || run->ids == NULL || run->drawn == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the sources of edits");
    }
    for (size_t p = 0; p < s->n_prompts; p++) {
        if (!is_run(&s->options.prompts->items[p])) {
            continue;
        }
        enum hw_status status =
            run->is_resample ? draw_prompt(s, run, p, err) : take_counterpart(s, run, p, err);
        if (status != HW_OK) {
            return status == HW_RESOURCE ? status : hw_source_fail_prompt(s, need, p, err);
        }
    }
    return HW_OK;
}

void hw_source_run_close(struct hw_source_run *run, size_t n_prompts) {
    for (size_t p = 0; p < n_prompts && run->ids != NULL; p++) {
        free(run->ids[p]);
    }
    free(run->ids);
    free(run->drawn);
    free(run->watch);
    hw_collect_close(&run->collect);
}

enum hw_status hw_source_run_prompt(struct hw_edit_sources *s, struct hw_source_run *run,
                                    struct hw_session *session, size_t prompt,
                                    struct hw_error *err) {
    const struct hw_prompt *items = s->options.prompts->items;
    if (!is_run(&items[prompt])) {
        return HW_OK;
    }
    const uint32_t *ids = run->is_resample ? items[run->drawn[prompt]].ids : run->ids[prompt];
    enum hw_status status = hw_session_prefill(session, ids, items[prompt].n_ids,
                                               hw_collect_observer(run->collect), NULL, err);
    return status == HW_OK ? HW_OK : hw_fail_context(err, status, "source of prompt %zu: ", prompt);
}
