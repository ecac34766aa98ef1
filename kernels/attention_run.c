// Attention: the plan of a call, its scratch, and how its blocks are dealt to threads.
//
// A task is one stripe of one head (of a few heads where one block takes them together). Tasks are
// handed out in the order of kv heads, so that the threads read the same packed keys and values,
// and a stripe's sums are written by one thread alone.
#include <assert.h>
#include <omp.h>

#include "kernels/attention_internal.h"

enum {
    ALIGN = 64,          // a cache line
    SMALL_SCORES = 4096, // calls with fewer scores run on one thread
    BATCH_BYTES =
        96 << 20, // packed keys, packed values and sums at a time, where one kv head needs no more
};

// Where everything lies in the scratch, in bytes from its aligned start.
struct layout {
    size_t keys_bytes;   // of a kv head
    size_t values_bytes; // of a kv head
    size_t array_bytes;  // of one of a stripe's arrays over keys
    size_t sums_bytes;   // of a stripe
    size_t kv_bytes;     // of a kv head in all
    size_t threads;      // where the threads' buffers start
    size_t thread_bytes;
    size_t bytes;
};

// A batch of kv heads in work.
struct run {
    const struct attention_plan *plan;
    const struct layout *layout;
    char *base;
    size_t kv_first;
    size_t n_kv;
    attention_block_fn block;
};

static size_t padded(size_t bytes) {
    return hw_size_div_up(bytes, ALIGN) * ALIGN;
}

static bool any_span_is_all(const struct hw_attention_args *args) {
    for (size_t a = 0; a < args->request.n_spans; a++) {
        if (hw_attention_span_is_all(args, &args->request.spans[a])) {
            return true;
        }
    }
    return false;
}

static struct attention_wants wants_of(const struct hw_attention_args *args) {
    const struct hw_attention_request *r = &args->request;
    struct attention_wants wants = {0};
    wants.row_statistics = r->entropy != NULL || r->score_mean != NULL || r->distance != NULL;
    wants.key_entropy = r->received_entropy != NULL;
    wants.log_sum = r->entropy != NULL || r->logsumexp != NULL || wants.key_entropy;
    wants.top = r->n_top > 0 && (r->top_key != NULL || r->top_weight != NULL);
    wants.maps = r->map_n_heads > 0 && (r->pattern != NULL || r->scores != NULL);
    wants.offsets = r->offset != NULL && r->n_offsets > 0;
    wants.spans = r->span != NULL && r->n_spans > 0;
    wants.key_max = r->received_max != NULL || wants.key_entropy;
    wants.key_sum =
        r->received_sum != NULL || wants.key_max || (wants.spans && any_span_is_all(args));
    return wants;
}

static void plan_make(const struct hw_attention_args *args, struct attention_plan *plan) {
    *plan = (struct attention_plan){.args = args, .wants = wants_of(args)};
    plan->n_rows = args->n_keys > ATTENTION_LONG ? ATTENTION_ROWS / 2 : ATTENTION_ROWS;
    plan->n_blocks = hw_size_div_up(args->n_queries, plan->n_rows);
    plan->n_stripes = hw_size_min(plan->n_blocks, HW_ATTENTION_STRIPES);
    plan->group = args->n_heads / args->n_kv_heads;
    plan->is_packed = args->n_queries > plan->n_rows / 2;
    plan->n_together =
        plan->is_packed ? 1 : hw_size_min(plan->group, plan->n_rows / args->n_queries);
    plan->n_keys_pad = hw_size_div_up(args->n_keys, ATTENTION_PANEL) * ATTENTION_PANEL;
    plan->d_pad = hw_size_div_up(args->d_head, ATTENTION_LANES) * ATTENTION_LANES;
    plan->ld =
        plan->n_keys_pad + ALIGN / sizeof(float); // rows do not share their place in the cache
}

static size_t take(size_t *at, size_t bytes) {
    size_t place = *at;
    *at += padded(bytes);
    return place;
}

// Sets the pointers of a thread's buffers that start at base (NULL: none is set) and returns their
// bytes.
static size_t thread_buffers(const struct attention_plan *plan, char *base,
                             struct attention_work *work) {
    const struct hw_attention_args *args = plan->args;
    const struct hw_attention_request *request = &args->request;
    size_t block = plan->n_rows * plan->ld * sizeof(float);
    size_t n_spans = plan->wants.spans ? request->n_spans : 0;
    size_t n_offsets = plan->wants.offsets ? request->n_offsets : 0;
    size_t n_top = plan->wants.top ? request->n_top : 0;
    size_t at = 0;
    size_t score = take(&at, block);
    // Always there: a session plans its scratch before it knows of changes.
    size_t second = take(&at, block);
    size_t q = take(&at, plan->n_rows * args->d_head * sizeof(float));
    size_t z = take(&at, plan->n_rows * plan->d_pad * sizeof(float));
    size_t panel = take(&at, ATTENTION_PANEL * args->d_head * sizeof(float));
    size_t chunk = take(&at, ATTENTION_CHUNK * plan->d_pad * sizeof(float));
    size_t span_sum = take(&at, n_spans * plan->n_keys_pad * sizeof(float));
    size_t span_end = take(&at, n_spans * sizeof(size_t));
    size_t offset_sum = take(&at, n_offsets * sizeof(float));
    size_t top_key = take(&at, ATTENTION_ROWS * n_top * sizeof(int32_t));
    size_t top_score = take(&at, ATTENTION_ROWS * n_top * sizeof(float));
    size_t n_marks = request->argmax != NULL ? args->n_keys / ATTENTION_MARK : 0;
    size_t marks = take(&at, n_marks * ATTENTION_ROWS * ATTENTION_LANES * sizeof(float));
    if (base != NULL) {
        *work =
            (struct attention_work){.score = (float *)(base + score),
                                    .weight = (float *)(base + (plan->is_apart ? second : score)),
                                    .q = (float *)(base + q),
                                    .z = (float *)(base + z),
                                    .panel = (float *)(base + panel),
                                    .chunk = (float *)(base + chunk),
                                    .span_sum = (float *)(base + span_sum),
                                    .span_end = (size_t *)(base + span_end),
                                    .offset_sum = (float *)(base + offset_sum),
                                    .top_key = (int32_t *)(base + top_key),
                                    .top_score = (float *)(base + top_score),
                                    .marks = (float *)(base + marks)};
        memset(work->span_end, 0, n_spans * sizeof(size_t));
    }
    return at;
}

// Also decides how many kv heads are in work at a time.
static void layout_make(struct attention_plan *plan, int n_threads, struct layout *layout) {
    const struct hw_attention_args *args = plan->args;
    const struct attention_wants *wants = &plan->wants;
    const struct hw_attention_request *request = &args->request;
    size_t n_packed = plan->is_packed ? plan->n_keys_pad : 0;
    size_t n_arrays = (size_t)wants->key_sum + wants->key_max + wants->key_entropy;
    layout->keys_bytes = padded(n_packed * args->d_head * sizeof(float));
    layout->values_bytes = padded(n_packed * plan->d_pad * sizeof(float));
    layout->array_bytes = padded(plan->n_keys_pad * sizeof(float)) + ALIGN;
    layout->sums_bytes =
        n_arrays * layout->array_bytes +
        padded(wants->offsets ? request->n_offsets * sizeof(double) : 0) +
        padded(wants->spans ? request->n_spans * request->n_spans * sizeof(double) : 0);
    layout->kv_bytes = layout->keys_bytes + layout->values_bytes +
                       plan->group * plan->n_stripes * layout->sums_bytes;
    size_t n_fit = layout->kv_bytes > 0 ? BATCH_BYTES / layout->kv_bytes : args->n_kv_heads;
    plan->n_batch = hw_size_min(hw_size_max(n_fit, 1), args->n_kv_heads);
    layout->threads = plan->n_batch * layout->kv_bytes;
    layout->thread_bytes = thread_buffers(plan, NULL, NULL);
    layout->bytes = layout->threads + (size_t)n_threads * layout->thread_bytes + ALIGN;
}

size_t hw_attention_scratch(int n_threads, const struct hw_attention_args *args) {
    struct attention_plan plan;
    struct layout layout;
    plan_make(args, &plan);
    layout_make(&plan, n_threads, &layout);
    return hw_size_max(layout.bytes, hw_attention_ref_scratch(args));
}

static float *packed_keys(const struct run *run, size_t kv) {
    return (float *)(run->base + kv * run->layout->kv_bytes);
}

static float *packed_values(const struct run *run, size_t kv) {
    return (float *)(run->base + kv * run->layout->kv_bytes + run->layout->keys_bytes);
}

// The sums of one stripe of a head, counted within the batch.
static struct attention_sums stripe_sums(const struct run *run, size_t head, size_t stripe) {
    const struct attention_plan *plan = run->plan;
    const struct layout *layout = run->layout;
    char *at = run->base + head / plan->group * layout->kv_bytes + layout->keys_bytes +
               layout->values_bytes +
               (head % plan->group * plan->n_stripes + stripe) * layout->sums_bytes;
    struct attention_sums sums = {0};
    if (plan->wants.key_sum) {
        sums.sum = (float *)at;
        at += layout->array_bytes;
    }
    if (plan->wants.key_max) {
        sums.max = (float *)at;
        at += layout->array_bytes;
    }
    if (plan->wants.key_entropy) {
        sums.p_log_p = (float *)at;
        at += layout->array_bytes;
    }
    if (plan->wants.offsets) {
        sums.offset = (double *)at;
        at += padded(plan->args->request.n_offsets * sizeof(double));
    }
    if (plan->wants.spans) {
        sums.span = (double *)at;
    }
    return sums;
}

static void run_task(const struct run *run, struct attention_work *work, size_t task) {
    const struct attention_plan *plan = run->plan;
    size_t n_parts = hw_size_div_up(plan->group, plan->n_together);
    size_t stripe = task % plan->n_stripes;
    size_t kv = task / plan->n_stripes / n_parts;
    size_t in_group = task / plan->n_stripes % n_parts * plan->n_together;
    work->head_first = (run->kv_first + kv) * plan->group + in_group;
    work->n_heads = hw_size_min(plan->n_together, plan->group - in_group);
    work->keys = packed_keys(run, kv);
    work->values = packed_values(run, kv);
    for (size_t h = 0; h < work->n_heads; h++) {
        work->sums[h] = stripe_sums(run, kv * plan->group + in_group + h, stripe);
        char *start = run->base + kv * run->layout->kv_bytes + run->layout->keys_bytes +
                      run->layout->values_bytes +
                      ((in_group + h) * plan->n_stripes + stripe) * run->layout->sums_bytes;
        memset(start, 0, run->layout->sums_bytes);
    }
    for (size_t block = stripe; block < plan->n_blocks; block += plan->n_stripes) {
        run->block(plan, work, block);
    }
    if (plan->wants.spans && plan->is_packed) {
        hw_attention_spans_finish(plan, work, &work->sums[0]);
    }
}

static void pack_panel(const struct run *run, size_t kv, size_t first) {
    const struct attention_plan *plan = run->plan;
    const struct hw_attention_args *args = plan->args;
    hw_attention_pack_keys(args, run->kv_first + kv, first,
                           packed_keys(run, kv) + first * args->d_head);
    if (args->z != NULL) {
        hw_attention_pack_values(args, run->kv_first + kv, first, ATTENTION_PANEL, plan->d_pad,
                                 packed_values(run, kv) + first * plan->d_pad);
    }
}

// Merges the keys of one chunk for all heads (chunk < n_chunks), or the rest of one head.
static void merge(const struct run *run, size_t head, size_t chunk, bool is_keys) {
    const struct attention_plan *plan = run->plan;
    struct attention_sums stripes[HW_ATTENTION_STRIPES];
    for (size_t s = 0; s < plan->n_stripes; s++) {
        stripes[s] = stripe_sums(run, head, s);
    }
    size_t name = run->kv_first * plan->group + head;
    if (is_keys) {
        hw_attention_merge_keys(plan, stripes, name, chunk * ATTENTION_CHUNK,
                                hw_size_min((chunk + 1) * ATTENTION_CHUNK, plan->args->n_keys));
    } else {
        hw_attention_merge_head(plan, stripes, name);
    }
}

static void run_batch(const struct run *run, int n_threads) {
    const struct attention_plan *plan = run->plan;
    size_t n_panels = plan->is_packed ? plan->n_keys_pad / ATTENTION_PANEL : 0;
    size_t n_heads = run->n_kv * plan->group;
    size_t n_tasks = run->n_kv * hw_size_div_up(plan->group, plan->n_together) * plan->n_stripes;
    size_t n_chunks = hw_size_div_up(plan->args->n_keys, ATTENTION_CHUNK);
    size_t n_scores = run->n_kv * plan->group * plan->args->n_queries * plan->args->n_keys;
    if (n_scores < SMALL_SCORES || n_tasks == 1) {
        n_threads = 1; // waking them takes longer
    }
#pragma omp parallel num_threads(n_threads)
    {
        struct attention_work work;
        (void)thread_buffers(plan,
                             run->base + run->layout->threads +
                                 (size_t)omp_get_thread_num() * run->layout->thread_bytes,
                             &work);
        if (plan->is_packed) {
#pragma omp for schedule(static)
            for (size_t p = 0; p < run->n_kv * n_panels; p++) {
                pack_panel(run, p / n_panels, p % n_panels * ATTENTION_PANEL);
            }
        }
#pragma omp for schedule(dynamic, 1)
        for (size_t task = 0; task < n_tasks; task++) {
            run_task(run, &work, task);
        }
        if (plan->wants.key_sum) {
#pragma omp for schedule(static)
            for (size_t chunk = 0; chunk < n_chunks; chunk++) {
                for (size_t head = 0; head < n_heads; head++) {
                    merge(run, head, chunk, true);
                }
            }
        }
        if (plan->wants.offsets || plan->wants.spans) {
#pragma omp for schedule(static)
            for (size_t head = 0; head < n_heads; head++) {
                merge(run, head, 0, false);
            }
        }
    }
}

void hw_attention_run(const struct hw_exec *exec, const struct hw_attention_args *args,
                      attention_block_fn block) {
    struct attention_plan plan;
    struct layout layout;
    plan_make(args, &plan);
    plan.changes_weights = hw_attention_changes_weights(args);
    plan.is_apart = plan.wants.key_entropy || plan.changes_weights;
    layout_make(&plan, exec->n_threads, &layout);
    assert(exec->scratch_bytes >= layout.bytes);
    size_t misfit = (uintptr_t)exec->scratch % ALIGN;
    struct run run = {.plan = &plan,
                      .layout = &layout,
                      .base = (char *)exec->scratch + (misfit > 0 ? ALIGN - misfit : 0),
                      .block = block};
    for (; run.kv_first < args->n_kv_heads; run.kv_first += plan.n_batch) {
        run.n_kv = hw_size_min(plan.n_batch, args->n_kv_heads - run.kv_first);
        run_batch(&run, exec->n_threads);
    }
    hw_attention_pad_tiles(args, args->request.pattern, args->request.map_dtype);
    hw_attention_pad_tiles(args, args->request.scores, args->request.score_dtype);
    hw_attention_count_changed(args);
}
