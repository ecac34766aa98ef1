// One prompt of a capture as a trial: where its needle stands, what was answered, and whether that
// is the answer.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/retrieval_internal.h"
#include "analysis/rouge.h"
#include "formats/json.h"
#include "formats/needle.h"
#include "kernels/size.h"

static enum hw_status no_memory(struct hw_error *err) {
    return hw_fail(err, HW_RESOURCE, "not enough memory for a trial");
}

// The span "needle" of the prompt; false where it has none or an empty one.
static bool find_span(const struct hw_trace *trace, const struct hw_trace_prompt *prompt,
                      struct hw_retrieval_trial *trial) {
    for (size_t i = 0; i < hw_trace_n_spans(trace); i++) {
        const struct hw_trace_span *span = hw_trace_span(trace, i);
        if (span->prompt == prompt->prompt && strcmp(span->name, "needle") == 0) {
            bool is_inside = span->first >= 0 && span->end > span->first &&
                             (size_t)span->end <= prompt->n_prompt_tokens;
            trial->first = is_inside ? (size_t)span->first : 0;
            trial->end = is_inside ? (size_t)span->end : 0;
            return is_inside;
        }
    }
    return false;
}

// The answer's ids, for the script's way of finding the needle. A list longer than the prompt is no
// part of it. False where the object has none.
static bool take_answer_tokens(struct retrieval_work *work, const json_t *list, size_t *ret_n) {
    size_t n = json_array_size(list);
    if (n == 0 || n > work->longest) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > INT32_MAX) {
            return false;
        }
        work->answer[i] = (uint32_t)json_integer_value(id);
    }
    *ret_n = n;
    return true;
}

static int64_t take_number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value)
                                                                    : -1;
}

static enum hw_status place_needle(struct retrieval_work *work,
                                   const struct hw_trace_prompt *prompt, const json_t *object,
                                   struct hw_retrieval_trial *trial, struct hw_error *err) {
    size_t n_answer = 0;
    if (work->out->options.is_span_given) {
        trial->state =
            find_span(work->trace, prompt, trial) ? HW_RETRIEVAL_WRONG : HW_RETRIEVAL_NO_TRIAL;
        return HW_OK;
    }
    if (!take_answer_tokens(work, json_object_get(object, "answer_tokens"), &n_answer)) {
        trial->state = HW_RETRIEVAL_NO_TRIAL;
        return HW_OK;
    }
    enum hw_status status = hw_needle_find(work->ids, prompt->n_prompt_tokens, work->answer,
                                           n_answer, &trial->first, &trial->end, err);
    trial->state = trial->end > trial->first ? HW_RETRIEVAL_WRONG : HW_RETRIEVAL_NOT_FOUND;
    return status;
}

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
}

// The bytes of the outputs up to the stop, which sets n_steps; then without special tokens and
// outer blanks.
static enum hw_status make_response(const struct retrieval_work *work, size_t n_outputs,
                                    struct hw_retrieval_trial *trial, size_t *ret_bytes,
                                    struct hw_error *err) {
    const struct hw_vocabulary *v = work->vocabulary;
    const char *stop = work->out->options.stop;
    size_t n_bytes = 0, n_all = 0, n = 0;
    for (size_t i = 0; i < n_outputs; i++) {
        if (work->outputs[i] < 0 || (size_t)work->outputs[i] >= v->n_ids) {
            return hw_fail(err, HW_INPUT, "%s: decode/output holds %d (expected 0 to %zu)",
                           hw_trace_path(work->trace), work->outputs[i], v->n_ids - 1);
        }
        size_t id = (size_t)work->outputs[i];
        n_bytes += (size_t)(v->byte_start[id + 1] - v->byte_start[id]);
    }
    char *all = malloc(n_bytes + 1);      // with special tokens, for the stop
    char *response = malloc(n_bytes + 1); // without
    if (all == NULL || response == NULL) {
        free(all);
        free(response);
        return no_memory(err);
    }
    bool is_stopped = false;
    for (trial->n_steps = 0; trial->n_steps < n_outputs && !is_stopped; trial->n_steps++) {
        size_t id = (size_t)work->outputs[trial->n_steps];
        size_t n_token = (size_t)(v->byte_start[id + 1] - v->byte_start[id]);
        memcpy(all + n_all, v->bytes + v->byte_start[id], n_token);
        n_all += n_token;
        if (v->type[id] == 0) {
            memcpy(response + n, v->bytes + v->byte_start[id], n_token);
            n += n_token;
        }
        // Only a match that ends in the new token is new.
        size_t window = stop != NULL ? hw_size_min(n_all, n_token + strlen(stop)) : 0;
        is_stopped =
            stop != NULL && memmem(all + n_all - window, window, stop, strlen(stop)) != NULL;
    }
    free(all);
    size_t skip = 0;
    while (skip < n && is_blank(response[skip])) {
        skip++;
    }
    while (n > skip && is_blank(response[n - 1])) {
        n--;
    }
    memmove(response, response + skip, n - skip);
    n -= skip;
    response[n] = '\0';
    for (size_t i = 0; i < n; i++) {
        response[i] = response[i] == '\0' ? ' ' : response[i];
    }
    trial->response = response;
    *ret_bytes = n;
    return HW_OK;
}

static enum hw_status read_rows(struct retrieval_work *work, const struct hw_trace_prompt *prompt,
                                size_t n_outputs, struct hw_error *err) {
    // Ids as they are stored; a negative one equals no id of an answer.
    enum hw_status status = hw_trace_read_i32(work->trace, HW_DS_TOKEN_ID, 0, prompt->first_token,
                                              prompt->n_prompt_tokens, (int32_t *)work->ids, err);
    return status == HW_OK ? hw_trace_read_i32(work->trace, HW_DS_DECODE_OUTPUT, 0,
                                               work->first_step, n_outputs, work->outputs, err)
                           : status;
}

static enum hw_status compare_answer(struct retrieval_work *work, const json_t *answer,
                                     size_t n_outputs, struct hw_retrieval_trial *trial,
                                     struct hw_error *err) {
    size_t n_response = 0;
    double recall = 0;
    enum hw_status status = make_response(work, n_outputs, trial, &n_response, err);
    if (status == HW_OK) {
        status = hw_rouge_recall(json_string_value(answer), json_string_length(answer),
                                 trial->response, n_response, &recall, err);
    }
    if (status == HW_OK) {
        trial->rouge = recall * 100;
        trial->state =
            trial->rouge > work->out->options.min_rouge ? HW_RETRIEVAL_KEPT : HW_RETRIEVAL_WRONG;
    }
    return status;
}

enum hw_status hw_retrieval_read_trial(struct retrieval_work *work, size_t index,
                                       struct hw_error *err) {
    const struct hw_trace_prompt *prompt = hw_trace_prompt(work->trace, index);
    struct hw_retrieval_trial *trial = &work->out->trials[index];
    size_t n_outputs = 0;
    json_t *object = NULL;
    enum hw_status status = HW_OK;
    *trial = (struct hw_retrieval_trial){
        .state = HW_RETRIEVAL_FAILED, .rouge = NAN, .length = -1, .depth = -1};
    for (work->first_step = 0; work->first_step < work->n_all_steps &&
                               work->step_prompts[work->first_step] != prompt->prompt;
         work->first_step++) {
    }
    while (work->first_step + n_outputs < work->n_all_steps &&
           work->step_prompts[work->first_step + n_outputs] == prompt->prompt) {
        n_outputs++;
    }
    if (prompt->status != 0 || n_outputs == 0 || prompt->n_prompt_tokens == 0) {
        return HW_OK;
    }
    trial->state = HW_RETRIEVAL_NO_TRIAL;
    status = hw_json_parse("prompt_json", prompt->json, strlen(prompt->json), &object, err);
    if (status != HW_OK) {
        return status == HW_INPUT ? HW_OK : status; // a prompt of no such object is no trial
    }
    const json_t *answer = json_object_get(object, "answer");
    trial->length = take_number(object, "length");
    trial->depth = take_number(object, "depth");
    if (json_is_string(answer)) {
        status = read_rows(work, prompt, n_outputs, err);
        status = status == HW_OK ? place_needle(work, prompt, object, trial, err) : status;
        if (status == HW_OK && trial->state == HW_RETRIEVAL_WRONG) {
            status = compare_answer(work, answer, n_outputs, trial, err);
        }
    }
    json_decref(object);
    return status;
}
