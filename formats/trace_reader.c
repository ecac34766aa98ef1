// Opening a capture: check, layout, prompts.
#include "formats/trace_reader.h"

#include <stdlib.h>
#include <string.h>

#include "formats/h5.h"
#include "formats/trace_rows.h"
#include "kernels/size.h"

static size_t axis_or_zero(const struct hw_trace *trace, enum hw_group group, enum hw_axis axis) {
    size_t n = trace->shape.axes[group][axis];
    return n == SIZE_MAX ? 0 : n;
}

// The first group that has the axis says how long it is for all.
static size_t axis_of_any(const struct hw_trace *trace, enum hw_axis axis) {
    for (int g = 0; g < HW_N_GROUPS; g++) {
        if (trace->shape.axes[g][axis] != SIZE_MAX) {
            return trace->shape.axes[g][axis];
        }
    }
    return 0;
}

static enum hw_status read_numbers(struct hw_trace *trace, enum hw_group group, enum hw_axis axis,
                                   int32_t **ret, size_t *ret_n, struct hw_error *err) {
    size_t n = axis_or_zero(trace, group, axis);
    int32_t *values = NULL;
    if (n == 0) {
        return HW_OK;
    }
    values = malloc(n * sizeof *values);
    if (values == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for %zu places of %s", n,
                       hw_axis_name(axis));
    }
    enum hw_status status = hw_trace_read_scale(trace->file, group, axis, n, values, err);
    for (size_t i = 0; i < n && status == HW_OK; i++) {
        if (values[i] < 0 || (i > 0 && values[i] <= values[i - 1])) {
            status = hw_fail(err, HW_INPUT, "%s/%s: values do not rise", hw_group_name(group),
                             hw_axis_name(axis));
        }
    }
    if (status != HW_OK) {
        free(values);
        return status;
    }
    *ret = values;
    *ret_n = n;
    return HW_OK;
}

static enum hw_status read_axes(struct hw_trace *trace, struct hw_error *err) {
    enum hw_status status = HW_OK;
    for (int g = 0; g < HW_N_GROUPS && status == HW_OK; g++) {
        struct hw_group_axes *axes = &trace->layout.groups[g];
        enum hw_group group = (enum hw_group)g;
        status = read_numbers(trace, group, HW_AXIS_LAYER, &axes->layers, &axes->n_layers, err);
        if (status == HW_OK && group != HW_GROUP_MASSIVE) {
            status = read_numbers(trace, group, HW_AXIS_DEPTH, &axes->depths, &axes->n_depths, err);
        }
        status = status != HW_OK
                     ? status
                     : read_numbers(trace, group, HW_AXIS_HEAD, &axes->heads, &axes->n_heads, err);
        status = status != HW_OK ? status
                                 : read_numbers(trace, group, HW_AXIS_KV_HEAD, &axes->kv_heads,
                                                &axes->n_kv_heads, err);
    }
    return status;
}

static enum hw_status read_spans(struct hw_trace *trace, struct hw_error *err) {
    size_t n = axis_or_zero(trace, HW_GROUP_ROOT, HW_AXIS_SPAN);
    if (n == 0) {
        return HW_OK;
    }
    enum hw_status status = hw_trace_read_text_scale(trace->file, HW_GROUP_ROOT, HW_AXIS_SPAN, n,
                                                     &trace->span_names, err);
    if (status == HW_OK) {
        trace->layout.span_names = (const char *const *)trace->span_names;
        trace->layout.n_spans = n;
    }
    return status;
}

static enum hw_status read_mean_groups(struct hw_trace *trace, struct hw_error *err) {
    size_t n = axis_or_zero(trace, HW_GROUP_MEANS, HW_AXIS_GROUP);
    if (trace->shape.axes[HW_GROUP_MEANS][HW_AXIS_GROUP] == SIZE_MAX) {
        return HW_OK;
    }
    enum hw_status status = hw_trace_read_text_scale(trace->file, HW_GROUP_MEANS, HW_AXIS_GROUP, n,
                                                     &trace->mean_groups, err);
    if (status == HW_OK) {
        trace->layout.mean_groups = (const char *const *)trace->mean_groups;
        trace->layout.n_mean_groups = n;
        trace->layout.n_mean_positions = axis_or_zero(trace, HW_GROUP_MEANS, HW_AXIS_POSITION);
        status = hw_trace_attribute(trace, HW_GROUP_MEANS, "means_by", &trace->means_by, err);
        trace->layout.means_by = trace->means_by;
    }
    return status;
}

static enum hw_status get_size(hid_t root, const char *name, size_t most, size_t *ret,
                               struct hw_error *err) {
    int64_t value = 0;
    enum hw_status status = hw_h5_get_integer(root, name, &value, err);
    if (status == HW_OK && (value < 0 || (uint64_t)value > most)) {
        status = hw_fail(err, HW_INPUT, "attribute %s is %lld, expected at most %zu", name,
                         (long long)value, most);
    }
    if (status == HW_OK) {
        *ret = (size_t)value;
    }
    return status;
}

static enum hw_status read_layout(struct hw_trace *trace, struct hw_error *err) {
    struct hw_layout *layout = &trace->layout;
    hw_layout_init(layout);
    for (int i = 0; i < HW_N_DATASETS; i++) {
        if (trace->shape.has[i]) {
            layout->has[i] = true;
            layout->element[i] = trace->shape.element[i];
        }
    }
    layout->has_prompt_text = trace->shape.has[HW_DS_PROMPT_TEXT];
    layout->has_token_text = trace->shape.has[HW_DS_TOKEN_TEXT];
    layout->d_model = axis_of_any(trace, HW_AXIS_CHANNEL);
    layout->d_head = axis_of_any(trace, HW_AXIS_HEAD_CHANNEL);
    layout->d_mlp = axis_of_any(trace, HW_AXIS_NEURON);
    layout->n_vocab = axis_of_any(trace, HW_AXIS_VOCAB);
    layout->n_offsets = axis_of_any(trace, HW_AXIS_OFFSET);
    layout->n_rank = axis_of_any(trace, HW_AXIS_RANK);
    layout->n_key_rank = axis_of_any(trace, HW_AXIS_KEY_RANK);
    layout->is_detail_prompt = true;
    for (int i = 0; i < HW_N_DATASETS; i++) {
        if (hw_schema_row((enum hw_dataset)i)->has_mean && trace->shape.has[i]) {
            layout->is_detail_prompt = false;
        }
    }
    hid_t root = H5Gopen2(trace->file, "/", H5P_DEFAULT);
    int64_t complete = 0;
    enum hw_status status = get_size(root, "n_heads", 1 << 20, &layout->n_heads, err);
    status =
        status != HW_OK ? status : get_size(root, "n_kv_heads", 1 << 20, &layout->n_kv_heads, err);
    status =
        status != HW_OK ? status : get_size(root, "max_tokens", 1 << 30, &layout->max_tokens, err);
    status = status != HW_OK ? status : hw_h5_get_integer(root, "complete", &complete, err);
    trace->is_complete = complete == 1;
    hw_h5_close(&root);
    status = status != HW_OK ? status : read_axes(trace, err);
    status = status != HW_OK ? status : read_spans(trace, err);
    return status != HW_OK ? status : read_mean_groups(trace, err);
}

// Values of datasets that do not grow with prompts, which the layout holds.
static enum hw_status read_fixed(struct hw_trace *trace, struct hw_error *err) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        const struct hw_schema_row *row = hw_schema_row(dataset);
        bool is_layered = row->n_axes > 0 && row->axes[0] == HW_AXIS_LAYER;
        bool is_edits = dataset == HW_DS_ATTENTION_VECTORS_EDITS_JSON;
        if (!trace->shape.has[i] || (!is_layered && !is_edits)) {
            continue;
        }
        enum hw_status status;
        if (is_edits) {
            char **texts = NULL;
            status = hw_trace_read_text(trace, dataset, 0, 1, &texts, err);
            if (status == HW_OK) {
                trace->fixed[i] = texts[0];
                free(texts);
            }
        } else {
            size_t n_bytes = 0;
            size_t n = hw_trace_n_rows(trace, dataset);
            size_t n_inner = hw_trace_n_inner(trace, dataset);
            if (!hw_size_mul(n, n_inner * hw_element_bytes(trace->shape.element[i]), &n_bytes) ||
                (trace->fixed[i] = malloc(n_bytes + 1)) == NULL) {
                return hw_fail(err, HW_RESOURCE, "not enough memory for %s", row->name);
            }
            status = hw_trace_read_raw(trace, dataset, 0, 0, n, trace->fixed[i], err);
        }
        if (status != HW_OK) {
            return status;
        }
        trace->layout.fixed[i] = trace->fixed[i];
        if (strcmp(row->name, "recorded") == 0) {
            trace->layout.groups[row->group].recorded = trace->fixed[i];
        }
    }
    return HW_OK;
}

static const char *text_of(const struct hw_trace *trace, enum hw_dataset dataset, size_t i) {
    return trace->texts[dataset] != NULL ? trace->texts[dataset][i] : "";
}

static enum hw_status read_prompt_numbers(struct hw_trace *trace, struct hw_error *err) {
    size_t n = trace->n_prompts;
    int32_t *numbers = malloc((n + 1) * 3 * sizeof *numbers);
    int64_t *starts = malloc((n + 1) * sizeof *starts);
    uint8_t *statuses = malloc(n + 1);
    enum hw_status status =
        numbers == NULL || starts == NULL || statuses == NULL
            ? hw_fail(err, HW_RESOURCE, "not enough memory for %zu prompts", n)
            : hw_trace_read_scale(trace->file, HW_GROUP_ROOT, HW_AXIS_PROMPT, n, numbers, err);
    status = status != HW_OK ? status
                             : hw_trace_read_i32(trace, HW_DS_N_TOKENS, 0, 0, n, numbers + n, err);
    status = status != HW_OK
                 ? status
                 : hw_trace_read_i32(trace, HW_DS_N_PROMPT_TOKENS, 0, 0, n, numbers + 2 * n, err);
    status = status != HW_OK ? status
                             : hw_trace_read_i64(trace, HW_DS_TOKEN_START, 0, 0, n, starts, err);
    status = status != HW_OK
                 ? status
                 : hw_trace_read_raw(trace, HW_DS_PROMPT_STATUS, 0, 0, n, statuses, err);
    size_t sum = 0;
    for (size_t i = 0; i < n && status == HW_OK; i++) {
        int32_t n_tokens = numbers[n + i], n_given = numbers[2 * n + i];
        if (n_tokens < 0 || n_given < 0 || n_given > n_tokens ||
            (size_t)n_tokens > trace->layout.max_tokens) {
            status = hw_fail(err, HW_INPUT,
                             "prompt %zu has %d tokens of which %d given, expected at most %zu", i,
                             (int)n_tokens, (int)n_given, trace->layout.max_tokens);
        } else if (starts[i] < 0 || (size_t)starts[i] != sum) {
            status = hw_fail(err, HW_INPUT, "token_start of prompt %zu is %lld, expected %zu", i,
                             (long long)starts[i], sum);
        } else if (i > 0 && numbers[i] <= numbers[i - 1]) {
            status = hw_fail(err, HW_INPUT, "prompt: values do not rise at %zu", i);
        }
        sum += (size_t)(n_tokens > 0 ? n_tokens : 0);
        trace->prompts[i] = (struct hw_trace_prompt){
            .prompt = numbers[i],
            .first_token = sum - (size_t)(n_tokens > 0 ? n_tokens : 0),
            .n_tokens = (size_t)n_tokens,
            .n_prompt_tokens = (size_t)n_given,
            .status = statuses[i],
        };
    }
    if (status == HW_OK && sum != hw_trace_n_tokens(trace)) {
        status = hw_fail(err, HW_INPUT, "the prompts have %zu tokens, the token axis %zu", sum,
                         hw_trace_n_tokens(trace));
    }
    free(numbers);
    free(starts);
    free(statuses);
    return status;
}

static enum hw_status read_prompts(struct hw_trace *trace, struct hw_error *err) {
    static const enum hw_dataset columns[] = {
        HW_DS_PROMPT_NAME, HW_DS_PROMPT_JSON,   HW_DS_PROMPT_DOMAIN, HW_DS_PROMPT_TARGET,
        HW_DS_PROMPT_FOIL, HW_DS_PROMPT_SHA256, HW_DS_PROMPT_ERROR};
    trace->n_prompts = hw_trace_n_rows(trace, HW_DS_N_TOKENS);
    trace->prompts = calloc(trace->n_prompts + 1, sizeof *trace->prompts);
    enum hw_status status =
        trace->prompts == NULL
            ? hw_fail(err, HW_RESOURCE, "not enough memory for %zu prompts", trace->n_prompts)
            : read_prompt_numbers(trace, err);
    for (size_t i = 0; i < sizeof columns / sizeof *columns && status == HW_OK; i++) {
        if (trace->shape.has[columns[i]]) {
            status = hw_trace_read_text(trace, columns[i], 0, trace->n_prompts,
                                        &trace->texts[columns[i]], err);
        }
    }
    for (size_t i = 0; i < trace->n_prompts && status == HW_OK; i++) {
        struct hw_trace_prompt *prompt = &trace->prompts[i];
        prompt->name = text_of(trace, HW_DS_PROMPT_NAME, i);
        prompt->json = text_of(trace, HW_DS_PROMPT_JSON, i);
        prompt->domain = text_of(trace, HW_DS_PROMPT_DOMAIN, i);
        prompt->target = text_of(trace, HW_DS_PROMPT_TARGET, i);
        prompt->foil = text_of(trace, HW_DS_PROMPT_FOIL, i);
        prompt->sha256 = text_of(trace, HW_DS_PROMPT_SHA256, i);
        prompt->error = text_of(trace, HW_DS_PROMPT_ERROR, i);
    }
    return status;
}

static enum hw_status read_span_rows(struct hw_trace *trace, struct hw_error *err) {
    if (!trace->shape.has[HW_DS_SPAN_PROMPT] || !trace->shape.has[HW_DS_SPAN_NAME] ||
        !trace->shape.has[HW_DS_SPAN_FIRST] || !trace->shape.has[HW_DS_SPAN_END]) {
        return HW_OK;
    }
    size_t n = hw_trace_n_rows(trace, HW_DS_SPAN_PROMPT);
    int32_t *numbers = malloc((n + 1) * 3 * sizeof *numbers);
    trace->spans = calloc(n + 1, sizeof *trace->spans);
    enum hw_status status =
        numbers == NULL || trace->spans == NULL
            ? hw_fail(err, HW_RESOURCE, "not enough memory for %zu spans", n)
            : hw_trace_read_i32(trace, HW_DS_SPAN_PROMPT, 0, 0, n, numbers, err);
    status = status != HW_OK
                 ? status
                 : hw_trace_read_i32(trace, HW_DS_SPAN_FIRST, 0, 0, n, numbers + n, err);
    status = status != HW_OK
                 ? status
                 : hw_trace_read_i32(trace, HW_DS_SPAN_END, 0, 0, n, numbers + 2 * n, err);
    status = status != HW_OK ? status
                             : hw_trace_read_text(trace, HW_DS_SPAN_NAME, 0, n,
                                                  &trace->texts[HW_DS_SPAN_NAME], err);
    for (size_t i = 0; i < n && status == HW_OK; i++) {
        trace->spans[i] = (struct hw_trace_span){numbers[i], text_of(trace, HW_DS_SPAN_NAME, i),
                                                 numbers[n + i], numbers[2 * n + i]};
        if (numbers[n + i] < 0 || numbers[2 * n + i] < numbers[n + i]) {
            status = hw_fail(err, HW_INPUT, "span %zu runs from %d to %d", i, (int)numbers[n + i],
                             (int)numbers[2 * n + i]);
        }
    }
    trace->n_spans = status == HW_OK ? n : 0;
    free(numbers);
    return status;
}

static enum hw_status open_datasets(struct hw_trace *trace, struct hw_error *err) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        const struct hw_schema_row *row = hw_schema_row((enum hw_dataset)i);
        if (!trace->shape.has[i]) {
            continue;
        }
        char *name = NULL;
        if (asprintf(&name, "/%s/%s", hw_group_name(row->group), row->name) < 0) {
            return hw_fail(err, HW_RESOURCE, "not enough memory for a name");
        }
        trace->datasets[i] = H5Dopen2(trace->file, name, H5P_DEFAULT);
        free(name);
        if (trace->datasets[i] < 0) {
            return hw_h5_fail(err, HW_INPUT, "%s: cannot be opened", row->name);
        }
    }
    return HW_OK;
}

static enum hw_status open_trace(const char *path, bool is_trusted, struct hw_trace **ret_trace,
                                 struct hw_error *err) {
    struct hw_trace *trace = calloc(1, sizeof *trace);
    char *copy = strdup(path);
    if (trace == NULL || copy == NULL) {
        free(trace);
        free(copy);
        return hw_fail(err, HW_RESOURCE, "not enough memory to open %s", path);
    }
    trace->path = copy;
    trace->file = -1;
    for (int i = 0; i < HW_N_DATASETS; i++) {
        trace->datasets[i] = -1;
    }
    hw_h5_init();
    enum hw_status status = is_trusted ? HW_OK : hw_trace_check_apart(path, err);
    status = status != HW_OK ? status : hw_h5_open(path, &trace->file, err);
    status = status != HW_OK ? status : hw_trace_check(trace->file, &trace->shape, err);
    status = status != HW_OK ? status : hw_codec_open(1, &trace->codec, err);
    status = status != HW_OK ? status : open_datasets(trace, err);
    status = status != HW_OK ? status : hw_trace_check_parts(trace, false, err);
    status = status != HW_OK ? status : read_layout(trace, err);
    status = status != HW_OK ? status : read_fixed(trace, err);
    status = status != HW_OK ? status : read_prompts(trace, err);
    status = status != HW_OK ? status : read_span_rows(trace, err);
    if (status != HW_OK) {
        hw_trace_close(&trace);
        if (err != NULL && strncmp(err->message, path, strlen(path)) != 0) {
            (void)hw_fail_context(err, status, "%s: ", path);
        }
        return status;
    }
    *ret_trace = trace;
    return HW_OK;
}

enum hw_status hw_trace_open(const char *path, struct hw_trace **ret_trace, struct hw_error *err) {
    return open_trace(path, false, ret_trace, err);
}

enum hw_status hw_trace_open_trusted(const char *path, struct hw_trace **ret_trace,
                                     struct hw_error *err) {
    return open_trace(path, true, ret_trace, err);
}

enum hw_status hw_trace_set_threads(struct hw_trace *trace, int n_threads, struct hw_error *err) {
    struct hw_codec *codec = NULL;
    enum hw_status status = hw_codec_open(n_threads, &codec, err);
    if (status == HW_OK) {
        hw_codec_close(&trace->codec);
        trace->codec = codec;
    }
    return status;
}

void hw_trace_close(struct hw_trace **trace) {
    struct hw_trace *t = *trace;
    if (t == NULL) {
        return;
    }
    for (int i = 0; i < HW_N_DATASETS; i++) {
        hw_h5_close(&t->datasets[i]);
        size_t n = i == HW_DS_SPAN_NAME && t->texts[i] != NULL
                       ? hw_trace_n_rows(t, HW_DS_SPAN_PROMPT)
                       : t->n_prompts;
        hw_trace_free_text(t->texts[i], n);
        free(t->fixed[i]);
    }
    hw_h5_close(&t->file);
    for (int g = 0; g < HW_N_GROUPS; g++) {
        free(t->layout.groups[g].layers);
        free(t->layout.groups[g].depths);
        free(t->layout.groups[g].heads);
        free(t->layout.groups[g].kv_heads);
    }
    hw_trace_free_text(t->span_names, t->layout.n_spans);
    hw_trace_free_text(t->mean_groups, t->layout.n_mean_groups);
    free(t->means_by);
    hw_codec_close(&t->codec);
    hw_trace_rows_close(t);
    free(t->prompts);
    free(t->spans);
    free(t->scratch);
    free(t->path);
    free(t);
    *trace = NULL;
}
