// Branches: changed runs of one prompt that go through the layers together; see hw_session_branch.
//
// Sequence 0 is the unchanged run. A branch joins in its first changed layer with rows of its own,
// copied as late as its change allows: whatever is copied has the bits that the branch would have
// computed, since no row's result depends on what runs beside it. The last branch to join takes
// over the rows of the unchanged run, which nobody needs any more; so branches never need more rows
// than they are.
#include <string.h>

#include "kernels/size.h"
#include "tracer/session_internal.h"

static enum hw_join join_of(const struct hw_changes *changes, size_t layer) {
    const struct hw_layer_changes *at = &changes->layers[layer];
    for (size_t w = 0; w < at->n_writes; w++) {
        if (at->writes[w].site == HW_SITE_RESID_PRE || at->writes[w].site == HW_SITE_V) {
            return HW_JOIN_START;
        }
    }
    return at->n_attention > 0 ? HW_JOIN_ATTEND : HW_JOIN_Z;
}

static void copy_rows(float *base, size_t to, size_t from, size_t n, size_t width) {
    memcpy(base + to * width, base + from * width, n * width * sizeof *base);
}

static void join(struct hw_session *s, struct hw_pass *pass, size_t branch, enum hw_join how) {
    const struct hw_model_desc *d = &s->model->desc;
    struct hw_sequence *zero = &pass->sequences[0];
    struct hw_sequence *sequence = zero;
    pass->n_joined++;
    if (pass->n_joined < pass->job->n_branches) {
        sequence = &pass->sequences[pass->n_sequences++];
        *sequence = *zero;
        sequence->row = pass->n_rows;
        pass->n_rows += zero->n;
        copy_rows(s->resid, sequence->row, 0, zero->n, d->d_model);
        if (how == HW_JOIN_START) {
            sequence->q_row = sequence->row;
            sequence->kv_row = sequence->row;
        } else if (how == HW_JOIN_Z) {
            copy_rows(s->z, sequence->row, 0, zero->n, d->n_heads * d->d_head);
        }
    }
    sequence->changes = pass->job->branches[branch];
    sequence->branch = branch;
}

void hw_branch_join(struct hw_session *s, struct hw_pass *pass, size_t layer, enum hw_join how) {
    const struct hw_branch_job *job = pass->job;
    if (job == NULL) {
        return;
    }
    for (size_t i = 0; i < pass->n_sequences && how == HW_JOIN_START; i++) {
        pass->sequences[i].q_row = pass->sequences[i].row;
        pass->sequences[i].kv_row = pass->sequences[i].row;
    }
    for (size_t b = 0; b < job->n_branches && job->branches[b]->first_layer <= layer; b++) {
        if (job->branches[b]->first_layer == layer && join_of(job->branches[b], layer) == how) {
            join(s, pass, b, how);
        }
    }
}

void hw_branch_repeat_angles(struct hw_session *s, struct hw_pass *pass) {
    size_t half = s->model->desc.n_rot / 2;
    for (; pass->n_angles < pass->n_sequences; pass->n_angles++) {
        const struct hw_sequence *sequence = &pass->sequences[pass->n_angles];
        size_t n_bytes = sequence->n * half * sizeof(float);
        size_t from = sequence->first * half;
        memcpy(s->cosine_rows + sequence->row * half, s->cosine + from, n_bytes);
        memcpy(s->sine_rows + sequence->row * half, s->sine + from, n_bytes);
    }
}

bool hw_branch_is_narrowed(const struct hw_session *s, const struct hw_pass *pass, size_t layer) {
    return pass->job != NULL && pass->job->row_first > 0 && layer + 1 == s->model->desc.n_layers;
}

void hw_branch_narrow(struct hw_session *s, struct hw_pass *pass) {
    size_t d = s->model->desc.d_model;
    size_t row = 0;
    for (size_t i = 0; i < pass->n_sequences; i++) {
        struct hw_sequence *sequence = &pass->sequences[i];
        size_t n_gone = pass->job->row_first - sequence->first;
        size_t from = sequence->row + n_gone;
        sequence->first += n_gone;
        sequence->n -= n_gone;
        memmove(s->resid + row * d, s->resid + from * d, sequence->n * d * sizeof *s->resid);
        memmove(s->normed + row * d, s->normed + from * d, sequence->n * d * sizeof *s->normed);
        sequence->row = row;
        sequence->q_row = row;
        row += sequence->n;
    }
    pass->n_rows = row;
    pass->n_angles = 0;
}

static enum hw_status check_job(const struct hw_session *s, const struct hw_branch_job *job,
                                struct hw_error *err) {
    if (job->n_tokens == 0 || job->n_tokens > s->options.max_tokens) {
        return hw_fail(err, HW_USAGE, "a prompt of %zu tokens in a session for 1 to %zu",
                       job->n_tokens, s->options.max_tokens);
    }
    if (job->n_branches == 0 || job->n_branches > s->options.max_branches) {
        return hw_fail(err, HW_USAGE, "%zu branches in a session for 1 to %zu", job->n_branches,
                       s->options.max_branches);
    }
    if (job->row_first >= job->n_tokens || job->layer_first > s->model->desc.n_layers) {
        return hw_fail(err, HW_USAGE,
                       "rows from %zu on, layers from %zu on (expected below %zu, up to %zu)",
                       job->row_first, job->layer_first, job->n_tokens, s->model->desc.n_layers);
    }
    size_t least = job->layer_first;
    for (size_t b = 0; b < job->n_branches; b++) {
        size_t layer = job->branches[b]->first_layer;
        if (layer < least || layer > s->model->desc.n_layers) {
            return hw_fail(err, HW_USAGE,
                           "branch %zu is changed from layer %zu on (expected %zu to %zu)", b,
                           layer, least, s->model->desc.n_layers);
        }
        least = layer;
    }
    return HW_OK;
}

// Sequence of a branch; those that never joined are the unchanged run.
static const struct hw_sequence *sequence_of(const struct hw_pass *pass, size_t branch) {
    for (size_t i = 0; i < pass->n_sequences; i++) {
        if (pass->sequences[i].changes != NULL && pass->sequences[i].branch == branch) {
            return &pass->sequences[i];
        }
    }
    return &pass->sequences[0];
}

// Hands out the branches in their order, those whose rows follow one another together.
static enum hw_status hand_out(const struct hw_session *s, const struct hw_pass *pass,
                               struct hw_error *err) {
    const struct hw_branch_job *job = pass->job;
    size_t d = s->model->desc.d_model;
    enum hw_status status = HW_OK;
    size_t first = 0;
    while (first < job->n_branches && status == HW_OK) {
        size_t row = sequence_of(pass, first)->row;
        size_t n = 1;
        while (first + n < job->n_branches &&
               sequence_of(pass, first + n)->row == row + n * pass->sequences->n) {
            n++;
        }
        status = job->final(job->self, first, n, s->normed + row * d, err);
        first += n;
    }
    return status;
}

enum hw_status hw_session_branch(struct hw_session *s, const struct hw_branch_job *job,
                                 struct hw_error *err) {
    enum hw_status status = check_job(s, job, err);
    if (status != HW_OK) {
        return status;
    }
    size_t d = s->model->desc.d_model;
    s->sequences[0] = (struct hw_sequence){.n = job->n_tokens};
    struct hw_pass pass = {.ids = job->ids,
                           .sequences = s->sequences,
                           .n_sequences = 1,
                           .n_rows = job->n_tokens,
                           .job = job};
    s->n_run = 0; // keys and values of what was run before are gone
    memcpy(s->resid, job->resid, job->n_tokens * d * sizeof *s->resid);
    if (job->layer_first == s->model->desc.n_layers) {
        hw_branch_narrow(s, &pass);
    }
    status = hw_forward_layers(s, &pass, job->layer_first, err);
    if (status != HW_OK) {
        return status;
    }
    hw_forward_final_norm(s, &pass);
    return hand_out(s, &pass, err);
}
