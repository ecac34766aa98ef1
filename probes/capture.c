// The loop of a capture; see capture.h.
#include "probes/capture.h"

#include <string.h>
#include <time.h>

#include "kernels/size.h"
#include "probes/engine.h"

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct loop {
    const struct hw_capture_job *job;
    const struct hw_run_options *run_options;
    struct hw_run *run;
    struct hw_engine *engine;
    struct hw_session *session;
    struct hw_layout layout;   // the plan's, and the sums behind its means
    struct hw_mean_sums means; // of the running part
    uint64_t n_tokens_done;    // of n_tokens: for progress
    uint64_t n_tokens;
};

static void show_progress(void *self, size_t n_tokens) {
    struct loop *loop = self;
    if (loop->job->progress != NULL) {
        loop->job->progress(loop->job->progress_self, loop->n_tokens_done + n_tokens,
                            loop->n_tokens);
    }
}

// Tokens of a prompt and the most that may be generated after it.
static uint64_t prompt_tokens(const struct loop *loop, size_t p) {
    const struct hw_prompt *prompt = &loop->job->prompts->items[p];
    bool is_run = prompt->status != HW_PROMPT_FAILED;
    return prompt->n_ids + (is_run ? loop->job->plan->engine.max_generate : 0);
}

static bool is_stopped(const struct hw_capture_job *job) {
    return job->stop_signal != NULL && *job->stop_signal != 0;
}

// Prompts [first, end) into one part; fewer where time is up or a signal came, but never none.
static enum hw_status run_part(struct loop *loop, size_t first, size_t end, struct hw_error *err) {
    const struct hw_capture_job *job = loop->job;
    uint64_t bytes;
    end = hw_plan_part_end(job->plan, job->prompts, first, end, loop->run_options->part_image_bytes,
                           &bytes);
    struct hw_destination *destination;
    enum hw_status status = hw_run_begin_part(loop->run, first, bytes, &destination, err);
    if (status != HW_OK) {
        return status;
    }
    hw_mean_sums_clear(&loop->means);
    double start = now();
    size_t at = first;
    while (at < end && status == HW_OK) {
        // A prompt that is alone in its part may be given up half-way: nothing else is lost with
        // it.
        const volatile sig_atomic_t *abandon = at == first ? job->stop_signal : NULL;
        struct hw_engine_prompt prompt = {.abandon = abandon,
                                          .progress = show_progress,
                                          .progress_self = loop,
                                          .prompt = &job->prompts->items[at],
                                          .index = (int32_t)at,
                                          .tokenizer = job->tokenizer,
                                          .stop = job->stop,
                                          .keeps_text =
                                              job->plan->recording.layout.has_prompt_text};
        if (job->edits != NULL) {
            status = hw_edit_run_prompt(job->edits, loop->session, at, err);
        }
        status = status == HW_OK ? hw_engine_run(loop->engine, &prompt, destination, err) : status;
        if (status != HW_OK) {
            status = hw_fail_context(err, status, "prompt %zu: ", at);
            break;
        }
        loop->n_tokens_done += prompt_tokens(loop, at);
        at++;
        show_progress(loop, 0);
        if (is_stopped(job) || now() - start > job->commit_seconds) {
            break;
        }
    }
    if (status != HW_OK) {
        hw_run_drop_part(loop->run);
        return status;
    }
    hw_mean_sums_finish(&loop->means);
    return hw_run_commit_part(loop->run, at, err);
}

static enum hw_status run_all(struct loop *loop, struct hw_error *err) {
    size_t first;
    size_t end;
    for (size_t p = 0; p < loop->job->prompts->n; p++) {
        loop->n_tokens += hw_run_is_left(loop->run, p) ? prompt_tokens(loop, p) : 0;
    }
    show_progress(loop, 0);
    while (hw_run_next(loop->run, &first, &end)) {
        if (is_stopped(loop->job)) {
            return hw_fail(err, HW_STOPPED, "stopped by a signal; %zu of %zu prompts are committed",
                           hw_run_n_done(loop->run), loop->job->prompts->n);
        }
        enum hw_status status = run_part(loop, first, end, err);
        if (status != HW_OK) {
            return status;
        }
    }
    return HW_OK;
}

// Opens what the loop runs with: the pass and the engine.
static enum hw_status run_opened(struct loop *loop, struct hw_capture_result *result,
                                 struct hw_error *err) {
    const struct hw_plan *plan = loop->job->plan;
    struct hw_session *session = NULL;
    double start = now();
    enum hw_status status = hw_session_open(loop->job->model, &plan->session, &session, err);
    struct hw_engine_config config = plan->engine;
    config.layout = &loop->layout;
    config.means = &loop->means;
    status = status == HW_OK ? hw_engine_open(&config, session, &loop->engine, err) : status;
    loop->session = session;
    if (status == HW_OK) {
        const struct hw_capture_job *job = loop->job;
        if (job->edits != NULL) {
            status =
                hw_edit_run_prepare(job->edits, session, job->preparing, job->progress_self, err);
        }
        status = status == HW_OK ? run_all(loop, err) : status;
        result->n_applied = job->edits != NULL ? hw_edit_run_n_applied(job->edits) : 0;
        // The merge has the memory of the pass.
        hw_engine_close(&loop->engine);
        hw_session_close(&session);
        hw_mean_sums_close(&loop->means);
        result->seconds = now() - start;
        if (status == HW_OK && loop->job->committed != NULL) {
            loop->job->committed(loop->job->progress_self);
        }
        status = status == HW_OK ? hw_run_finish(loop->run, err) : status;
        result->n_done = hw_run_n_done(loop->run);
        return status;
    }
    hw_session_close(&session);
    return status;
}

enum hw_status hw_capture_run(const struct hw_capture_job *job,
                              const struct hw_run_options *run_options,
                              struct hw_capture_result *ret_result, struct hw_error *err) {
    *ret_result =
        (struct hw_capture_result){.n_prompts = job->prompts->n, .n_failed = job->plan->n_failed};
    struct hw_run_options own = *run_options;
    struct loop loop = {.job = job, .run_options = &own, .layout = job->plan->recording.layout};
    own.layout = &loop.layout;
    enum hw_status status = hw_mean_sums_open(&loop.layout, &loop.means, err);
    if (status != HW_OK) {
        return status;
    }
    status = hw_run_open(&own, &loop.run, &ret_result->was_complete, err);
    if (status != HW_OK) {
        hw_mean_sums_close(&loop.means);
        return status;
    }
    ret_result->was_opened = true;
    if (ret_result->was_complete) {
        ret_result->n_done = job->prompts->n;
    } else {
        status = run_opened(&loop, ret_result, err);
    }
    hw_run_close(&loop.run);
    hw_mean_sums_close(&loop.means);
    if (status == HW_OK && job->plan->n_failed > 0) {
        status = hw_fail(err, HW_PARTIAL,
                         "%zu of %zu prompts failed and are marked (prompt_status, prompt_error)",
                         job->plan->n_failed, job->prompts->n);
    }
    return status;
}
