// One prompt through the engine: spans, prefill, generation, and the columns that are not a
// probe's.
#include "probes/engine.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/size.h"
#include "probes/engine_internal.h"

const char *const hw_builtin_spans[HW_N_BUILTIN_SPANS] = {"all",     "first",       "last",
                                                          "special", "punctuation", "generated"};

static struct hw_range *set_range(struct hw_span *span, struct hw_range *at, size_t first,
                                  size_t end) {
    *span = (struct hw_span){.ranges = at, .n_ranges = end > first ? 1 : 0};
    *at = (struct hw_range){.first = (uint32_t)first, .end = (uint32_t)end};
    return at + 1;
}

typedef bool (*is_member_fn)(const struct hw_engine *e, size_t position);

static bool is_special(const struct hw_engine *e, size_t position) {
    return e->is_special[position] != 0;
}

static bool is_punctuation(const struct hw_engine *e, size_t position) {
    return e->prompt->tokenizer != NULL &&
           hw_tokenizer_is_punctuation(e->prompt->tokenizer, e->ids[position]);
}

static struct hw_range *set_members(const struct hw_engine *e, struct hw_span *span,
                                    struct hw_range *at, is_member_fn is_member) {
    struct hw_range *first = at;
    for (size_t i = 0; i < e->n_total; i++) {
        if (!is_member(e, i)) {
            continue;
        }
        if (at > first && at[-1].end == i) {
            at[-1].end++;
        } else {
            *at++ = (struct hw_range){.first = (uint32_t)i, .end = (uint32_t)i + 1};
        }
    }
    *span = (struct hw_span){.ranges = first, .n_ranges = (size_t)(at - first)};
    return at;
}

void hw_engine_set_spans(struct hw_engine *e) {
    const struct hw_layout *layout = e->config.layout;
    const struct hw_prompt *prompt = e->prompt->prompt;
    struct hw_range *at = e->ranges;
    at = set_range(&e->spans[HW_SPAN_ALL], at, 0, e->n_total);
    at = set_range(&e->spans[HW_SPAN_FIRST], at, 0, 1);
    at = set_range(&e->spans[HW_SPAN_LAST], at, e->n_prompt - 1, e->n_prompt);
    at = set_range(&e->spans[HW_SPAN_GENERATED], at, e->n_prompt, e->n_total);
    at = set_members(e, &e->spans[HW_SPAN_SPECIAL], at, is_special);
    at = set_members(e, &e->spans[HW_SPAN_PUNCTUATION], at, is_punctuation);
    for (size_t s = HW_N_BUILTIN_SPANS; s < layout->n_spans; s++) {
        e->spans[s] = (struct hw_span){0};
        for (size_t i = 0; i < prompt->n_spans; i++) {
            if (strcmp(prompt->spans[i].name, layout->span_names[s]) == 0) {
                at = set_range(&e->spans[s], at, (size_t)prompt->spans[i].first,
                               (size_t)prompt->spans[i].end);
            }
        }
    }
}

enum hw_status hw_engine_layer_end(void *self, size_t layer, struct hw_error *err) {
    struct hw_engine *e = self;
    if (e->prompt->abandon != NULL && *e->prompt->abandon != 0) {
        return hw_fail(err, HW_STOPPED, "stopped by a signal after layer %zu", layer);
    }
    if (e->prompt->progress != NULL) {
        size_t n_layers = e->config.model->desc.n_layers;
        size_t n_rows = e->n_total == e->n_prompt ? e->n_prompt : 1; // of the running pass
        e->prompt->progress(e->prompt->progress_self,
                            e->n_total - n_rows + n_rows * (layer + 1) / n_layers);
    }
    return e->destination->ops->flush(e->destination, err);
}

static void take_token(struct hw_engine *e, size_t position, uint32_t id) {
    const struct hw_tokenizer *tokenizer = e->prompt->tokenizer;
    e->ids[position] = id;
    e->is_special[position] = tokenizer != NULL && hw_tokenizer_is_special(tokenizer, id);
}

static enum hw_status append(struct hw_engine *e, enum hw_dataset dataset, int32_t value,
                             struct hw_error *err) {
    if (!e->config.layout->has[dataset]) {
        return HW_OK;
    }
    return e->destination->ops->append(e->destination, dataset, 0, 1, &value, err);
}

// The step of the row at position n_total - 1, which has just emitted `output`.
static enum hw_status put_step(struct hw_engine *e, uint32_t output, struct hw_error *err) {
    size_t at = e->n_total - 1;
    enum hw_status status = append(e, HW_DS_DECODE_PROMPT, e->prompt->index, err);
    status = status == HW_OK ? append(e, HW_DS_DECODE_POSITION, (int32_t)at, err) : status;
    status = status == HW_OK ? append(e, HW_DS_DECODE_INPUT, (int32_t)e->ids[at], err) : status;
    return status == HW_OK ? append(e, HW_DS_DECODE_OUTPUT, (int32_t)output, err) : status;
}

// The first of the generated tokens in which a stop text that ends in the last one can begin.
static size_t stop_begins(const struct hw_engine *e, size_t n_stop) {
    size_t first = e->n_total - 1;
    size_t n_before = 0; // bytes in front of the last token
    while (first > e->n_prompt && n_before + 1 < n_stop) {
        size_t n;
        (void)hw_tokenizer_bytes(e->prompt->tokenizer, e->ids[--first], &n);
        n_before += n;
    }
    return first;
}

// Whether generation ends with `id`: an end token, or `stop` in the text generated so far, which
// did not have it one token before.
static enum hw_status is_end(struct hw_engine *e, uint32_t id, bool *ret_is_end,
                             struct hw_error *err) {
    const struct hw_tokenizer *tokenizer = e->prompt->tokenizer;
    *ret_is_end = false;
    if (tokenizer == NULL) {
        return HW_OK;
    }
    *ret_is_end = hw_tokenizer_is_end(tokenizer, id);
    if (*ret_is_end || e->prompt->stop == NULL) {
        return HW_OK;
    }
    char *bytes;
    size_t n;
    size_t n_stop = strlen(e->prompt->stop);
    size_t first = stop_begins(e, n_stop);
    enum hw_status status =
        hw_tokenizer_decode(tokenizer, e->ids + first, e->n_total - first, &bytes, &n, err);
    if (status == HW_OK) {
        *ret_is_end = memmem(bytes, n, e->prompt->stop, n_stop) != NULL;
        free(bytes);
    }
    return status;
}

// N tokens are generated in N steps: the first step is the row of the last prompt token, the last
// token generated gets its row of statistics like every other but emits nothing.
static enum hw_status generate(struct hw_engine *e, uint32_t next, struct hw_error *err) {
    enum hw_status status = put_step(e, next, err);
    for (size_t i = 0; i < e->config.max_generate && status == HW_OK; i++) {
        uint32_t input = next;
        take_token(e, e->n_total, input);
        e->n_total++;
        bool ends;
        status = is_end(e, input, &ends, err);
        if (status != HW_OK) {
            break;
        }
        ends = ends || i + 1 == e->config.max_generate;
        e->is_step = !ends;
        hw_engine_set_spans(e);
        status = hw_session_decode(e->session, input, e->n_total - 1, &e->observer, &next, err);
        if (ends) {
            break;
        }
        status = status == HW_OK ? put_step(e, next, err) : status;
    }
    return status;
}

static enum hw_status end_prompt(struct hw_engine *e, struct hw_error *err) {
    const struct hw_prompt *p = e->prompt->prompt;
    size_t n_rows = e->n_total + 2 * p->n_spans + e->n_total;
    enum hw_status status = HW_RESOURCE;
    const char **texts = malloc((e->n_total + 1) * sizeof *texts);
    const char **names = malloc((p->n_spans + 1) * sizeof *names);
    int32_t *numbers = malloc((n_rows + 1) * sizeof *numbers);
    if (texts == NULL || names == NULL || numbers == NULL) {
        status = hw_fail(err, HW_RESOURCE, "cannot allocate the columns of a prompt of %zu tokens",
                         e->n_total);
        goto done;
    }
    uint64_t n_dropped = e->n_events > HW_MAX_EVENTS ? e->n_events - HW_MAX_EVENTS : 0;
    struct hw_prompt_record record = {.prompt = e->prompt->index,
                                      .n_tokens = (int32_t)e->n_total,
                                      .n_prompt_tokens = (int32_t)e->n_prompt,
                                      .name = p->name,
                                      .text = e->prompt->keeps_text ? p->text : NULL,
                                      .json = p->json,
                                      .domain = p->domain,
                                      .target = p->target,
                                      .foil = p->foil,
                                      .status = p->status,
                                      .error = p->error,
                                      .token_ids = e->ids,
                                      .token_is_special = e->is_special,
                                      .n_massive_dropped = n_dropped,
                                      .n_spans = p->n_spans,
                                      .span_names = names,
                                      .span_first = numbers,
                                      .span_end = numbers + p->n_spans};
    for (size_t i = 0; i < p->n_spans; i++) {
        names[i] = p->spans[i].name;
        numbers[i] = p->spans[i].first;
        numbers[p->n_spans + i] = p->spans[i].end;
    }
    if (e->config.layout->has_token_text && e->prompt->tokenizer != NULL) {
        for (size_t i = 0; i < e->n_total; i++) {
            texts[i] = hw_tokenizer_text(e->prompt->tokenizer, e->ids[i]);
        }
        record.token_text = texts;
    }
    if (e->config.positions != NULL) {
        int32_t *positions = numbers + 2 * p->n_spans;
        size_t n = 0;
        for (size_t i = 0; i < e->n_total; i++) {
            if (e->is_recorded[i]) {
                positions[n++] = (int32_t)i;
            }
        }
        record.recorded_positions = positions;
        record.n_recorded_positions = n;
    }
    status = e->destination->ops->end_prompt(e->destination, &record, err);
done:
    free(texts);
    free(names);
    free(numbers);
    return status;
}

// Rows of failed prompts: every statistic of theirs is NaN, written by the destination.
static enum hw_status run_failed(struct hw_engine *e, struct hw_error *err) {
    e->n_total = 0;
    e->n_prompt = 0;
    e->n_events = 0;
    return end_prompt(e, err);
}

// The plan has seen to it that there is one.
static size_t attribution_position(struct hw_engine *e, const struct hw_prompt *p) {
    if (e->config.attribution_at == NULL) {
        return p->n_ids - 1;
    }
    size_t at = 0;
    (void)hw_positions_resolve(e->config.attribution_at, p, p->n_ids, e->is_recorded);
    while (at + 1 < p->n_ids && !e->is_recorded[at]) {
        at++;
    }
    return at;
}

enum hw_status hw_engine_run(struct hw_engine *e, const struct hw_engine_prompt *prompt,
                             struct hw_destination *destination, struct hw_error *err) {
    const struct hw_prompt *p = prompt->prompt;
    e->prompt = prompt;
    e->destination = destination;
    enum hw_status status = destination->ops->begin_prompt(destination, prompt->index, err);
    if (status != HW_OK || p->status == HW_PROMPT_FAILED) {
        return status == HW_OK ? run_failed(e, err) : status;
    }
    if (p->n_ids == 0 || p->n_ids > e->config.max_tokens) {
        return hw_fail(err, HW_INTERNAL, "a prompt of %zu tokens where the plan has at most %zu",
                       p->n_ids, e->config.max_tokens);
    }
    status = hw_engine_find_group(e, err);
    if (status != HW_OK) {
        return status;
    }
    e->n_prompt = p->n_ids;
    e->n_total = p->n_ids;
    e->n_events = 0;
    e->is_step = e->config.max_generate > 0;
    for (size_t i = 0; i < p->n_ids; i++) {
        take_token(e, i, p->ids[i]);
    }
    e->attribution_at = attribution_position(e, p);
    if (e->config.positions != NULL) {
        (void)hw_positions_resolve(e->config.positions, p, p->n_ids + e->config.max_generate,
                                   e->is_recorded);
    }
    size_t spans =
        e->config.layout->n_heads * e->config.layout->n_spans * e->config.layout->n_spans;
    memset(e->span_sum, 0, spans * e->config.model->desc.n_layers * sizeof(double));
    hw_engine_set_spans(e);
    uint32_t next = 0;
    bool generates = e->config.max_generate > 0;
    status = hw_session_prefill(e->session, e->ids, p->n_ids, &e->observer,
                                generates ? &next : NULL, err);
    if (status == HW_OK && generates) {
        status = generate(e, next, err);
    }
    status = status == HW_OK ? hw_engine_spans_end(e, err) : status;
    status = status == HW_OK ? destination->ops->flush(destination, err) : status;
    if (status == HW_OK) {
        hw_engine_count_means(e);
    }
    return status == HW_OK ? end_prompt(e, err) : status;
}
