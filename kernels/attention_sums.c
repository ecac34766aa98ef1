// Attention: sums over the query rows, from the stripes of a head to what was asked for.
#include "kernels/attention_internal.h"

bool hw_attention_span_is_all(const struct hw_attention_args *args, const struct hw_span *span) {
    return span->n_ranges == 1 && span->ranges[0].first <= args->query_first &&
           span->ranges[0].end >= args->n_keys;
}

size_t hw_attention_span_range(const struct hw_span *span, size_t position) {
    size_t low = 0;
    size_t high = span->n_ranges;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (span->ranges[middle].end > position) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

// Sum of x over the positions of a span below n. Eight running sums keep the adders busy.
static double span_total(const struct hw_span *span, const float *x, size_t n) {
    float sum[8] = {0};
    double total = 0;
    for (size_t g = 0; g < span->n_ranges && span->ranges[g].first < n; g++) {
        size_t j = span->ranges[g].first;
        size_t end = hw_size_min(span->ranges[g].end, n);
        for (; j + 8 <= end; j += 8) {
            for (size_t l = 0; l < 8; l++) {
                sum[l] += x[j + l];
            }
        }
        for (; j < end; j++) {
            total += (double)x[j];
        }
    }
    for (size_t l = 0; l < 8; l++) {
        total += (double)sum[l];
    }
    return total;
}

void hw_attention_spans_finish(const struct attention_plan *plan, const struct attention_work *work,
                               const struct attention_sums *sums) {
    const struct hw_attention_request *request = &plan->args->request;
    for (size_t a = 0; a < request->n_spans; a++) {
        const float *sum = work->span_sum + a * plan->n_keys_pad;
        for (size_t b = 0; work->span_end[a] > 0 && b < request->n_spans; b++) {
            sums->span[a * request->n_spans + b] +=
                span_total(&request->spans[b], sum, work->span_end[a]);
        }
        work->span_end[a] = 0;
    }
}

void hw_attention_merge_keys(const struct attention_plan *plan,
                             const struct attention_sums *stripes, size_t head, size_t first,
                             size_t end) {
    const struct hw_attention_request *request = &plan->args->request;
    size_t n_heads = plan->args->n_heads;
    float *restrict sum = stripes[0].sum;
    float *restrict max = stripes[0].max;
    float *restrict p_log_p = stripes[0].p_log_p;
    for (size_t s = 1; s < plan->n_stripes; s++) {
        for (size_t k = first; k < end; k++) {
            sum[k] += stripes[s].sum[k];
        }
        for (size_t k = first; plan->wants.key_max && k < end; k++) {
            max[k] = stripes[s].max[k] > max[k] ? stripes[s].max[k] : max[k];
        }
        for (size_t k = first; plan->wants.key_entropy && k < end; k++) {
            p_log_p[k] += stripes[s].p_log_p[k];
        }
    }
    for (size_t k = first; request->received_sum != NULL && k < end; k++) {
        request->received_sum[k * n_heads + head] = sum[k];
    }
    for (size_t k = first; request->received_max != NULL && k < end; k++) {
        request->received_max[k * n_heads + head] = max[k];
    }
    for (size_t k = first; request->received_entropy != NULL && k < end; k++) {
        // -sum r ln r with r = p / c is ln c - (sum p ln p) / c.
        float entropy = sum[k] > 0 ? logf(sum[k]) - p_log_p[k] / sum[k] : 0;
        request->received_entropy[k * n_heads + head] = entropy > 0 ? entropy : 0;
    }
}

void hw_attention_merge_head(const struct attention_plan *plan,
                             const struct attention_sums *stripes, size_t head) {
    const struct hw_attention_args *args = plan->args;
    const struct hw_attention_request *request = &args->request;
    for (size_t o = 0; plan->wants.offsets && o < request->n_offsets; o++) {
        double sum = 0;
        for (size_t s = 0; s < plan->n_stripes; s++) {
            sum += stripes[s].offset[o];
        }
        request->offset[head * request->n_offsets + o] = (float)sum;
    }
    size_t n = request->n_spans;
    for (size_t pair = 0; plan->wants.spans && pair < n * n; pair++) {
        const struct hw_span *a = &request->spans[pair / n];
        double sum = 0;
        if (plan->wants.key_sum && hw_attention_span_is_all(args, a)) {
            sum = span_total(&request->spans[pair % n], stripes[0].sum, args->n_keys);
        }
        for (size_t s = 0; s < plan->n_stripes; s++) {
            sum += stripes[s].span[pair];
        }
        request->span[head * n * n + pair] = (float)sum;
    }
}
