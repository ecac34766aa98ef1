// The synthetic capture; see synthetic.h.
#include "synthetic.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/mean_sums.h"
#include "kernels/attention.h"

enum { L = 3, H = 4, G = 2, D_HEAD = 2, D_MODEL = 6, D_MLP = 5, VOCAB = 11, LONGEST = 257 };

static int32_t layers[L] = {0, 1, 2};
static int32_t map_layers[2] = {0, 2};
static int32_t depths[L + 1] = {0, 1, 2, 3};
static int32_t heads[H] = {0, 1, 2, 3};
static int32_t kv_heads[G] = {0, 1};
static const char *const spans[] = {"all",         "first",     "last",  "special",
                                    "punctuation", "generated", "needle"};
static const int32_t lengths[SYNTHETIC_PROMPTS] = {5, 130, 1, 0, 17, LONGEST, 40, 3};
static const float scales[L] = {0.5f, 0.5f, 0.5f};
static const float zeros[L * H] = {0};
static const int32_t windows[L] = {0};
static const char *const groups[] = {"prose", "code"};
// Behind the means of every layout made here.
static struct hw_layout means_layout;
static struct hw_mean_sums means;

// Also used outside of tests, so without Check.
static void require(enum hw_status status, const struct hw_error *err) {
    if (status != HW_OK) {
        (void)fprintf(stderr, "%s\n", err->message);
        abort();
    }
}

int32_t synthetic_n_tokens(int32_t prompt) {
    return lengths[prompt];
}

void synthetic_layout(struct hw_layout *layout, enum hw_element map_element) {
    hw_layout_init(layout);
    for (int i = 0; i < HW_N_DATASETS; i++) {
        layout->has[i] = hw_schema_row((enum hw_dataset)i)->record[0] != '\0';
    }
    struct hw_group_axes axes = {layers, L, depths, L + 1, heads, H, kv_heads, G, NULL};
    for (int g = 0; g < HW_N_GROUPS; g++) {
        layout->groups[g] = axes;
    }
    layout->groups[HW_GROUP_ATTENTION].layers = map_layers;
    layout->groups[HW_GROUP_ATTENTION].n_layers = 2;
    layout->element[HW_DS_ATTENTION_PATTERN] = map_element;
    layout->element[HW_DS_DECODE_PATTERN] = map_element;
    layout->element[HW_DS_ATTENTION_SCORES] =
        map_element == HW_ELEMENT_F2 ? HW_ELEMENT_F2 : HW_ELEMENT_F4;
    layout->n_heads = H;
    layout->n_kv_heads = G;
    layout->d_model = D_MODEL;
    layout->d_head = D_HEAD;
    layout->d_mlp = D_MLP;
    layout->n_vocab = VOCAB;
    layout->n_offsets = 4;
    layout->n_rank = 2;
    layout->n_key_rank = 3;
    layout->max_tokens = LONGEST;
    layout->span_names = spans;
    layout->n_spans = sizeof spans / sizeof *spans;
    layout->means_by = "domain";
    layout->mean_groups = groups;
    layout->n_mean_groups = 2;
    layout->n_mean_positions = LONGEST;
    layout->has_token_text = true;
    layout->has_prompt_text = true;
    layout->fixed[HW_DS_ATTENTION_VECTORS_SCORE_SCALE] = scales;
    layout->fixed[HW_DS_ATTENTION_VECTORS_SOFT_CAP] = zeros;
    layout->fixed[HW_DS_ATTENTION_VECTORS_WINDOW] = windows;
    layout->fixed[HW_DS_ATTENTION_VECTORS_ALIBI_SLOPE] = zeros;
    layout->fixed[HW_DS_ATTENTION_VECTORS_SINK_LOGIT] = zeros;
    layout->fixed[HW_DS_ATTENTION_VECTORS_EDITS_JSON] = "[]";
    if (means.layout == NULL) {
        struct hw_error err;
        means_layout = *layout;
        require(hw_mean_sums_open(&means_layout, &means, &err), &err);
    }
    for (int i = 0; i < HW_N_DATASETS; i++) {
        if (means.values[i] != NULL) {
            layout->fixed[i] = means.values[i];
        }
    }
}

static uint32_t mix(uint32_t a, uint32_t b) {
    uint32_t x = a * 0x9e3779b9u ^ (b + 0x7f4a7c15u);
    x ^= x >> 16;
    x *= 0x85ebca6bu;
    x ^= x >> 13;
    x *= 0xc2b2ae35u;
    return x ^ x >> 16;
}

static float hash_value(enum hw_dataset dataset, int32_t prompt, size_t slab, size_t row,
                        size_t i) {
    uint32_t x =
        mix(mix(mix(mix((uint32_t)dataset, (uint32_t)prompt), (uint32_t)slab), (uint32_t)row),
            (uint32_t)i);
    bool is_integer = hw_schema_row(dataset)->element == HW_ELEMENT_I4;
    return is_integer ? (float)(x % 100) : (float)(x >> 8) / (float)(1 << 24);
}

static float raw_weight(int32_t prompt, size_t layer, size_t head, size_t query, size_t key) {
    uint32_t x =
        mix(mix((uint32_t)prompt * 64 + (uint32_t)layer * 8 + (uint32_t)head, (uint32_t)query),
            (uint32_t)key);
    return (float)(x >> 20) / 4096.0f * (key == 0 ? 20.0f : 1.0f) + 0.001f;
}

float synthetic_pattern(int32_t prompt, size_t layer, size_t head, size_t query, size_t key) {
    double sum = 0;
    for (size_t j = 0; j <= query; j++) {
        sum += raw_weight(prompt, layer, head, query, j);
    }
    return key > query ? 0 : (float)(raw_weight(prompt, layer, head, query, key) / sum);
}

static void store(enum hw_element element, float value, void *out, size_t i) {
    switch (element) {
    case HW_ELEMENT_F4:
        ((float *)out)[i] = value;
        break;
    case HW_ELEMENT_F2: {
        _Float16 half = (_Float16)value;
        memcpy((uint16_t *)out + i, &half, sizeof half);
        break;
    }
    case HW_ELEMENT_U2:
        ((uint16_t *)out)[i] = isnan(value) ? 65535 : (uint16_t)lrintf(value * 65534);
        break;
    case HW_ELEMENT_I4:
        ((int32_t *)out)[i] = (int32_t)value;
        break;
    default:
        abort();
    }
}

static void play_map(struct hw_destination *destination, const struct hw_layout *layout,
                     enum hw_dataset dataset, int32_t prompt, size_t slab, size_t head) {
    size_t n = (size_t)lengths[prompt];
    size_t edge = (n + HW_MAP_TILE - 1) / HW_MAP_TILE;
    enum hw_element element = hw_layout_element(layout, dataset);
    size_t tile_values = HW_MAP_TILE * HW_MAP_TILE;
    float *row = malloc((n + 1) * sizeof *row);
    char *tiles = malloc(edge * (edge + 1) / 2 * tile_values * hw_element_bytes(element));
    for (size_t i = 0; i < edge * HW_MAP_TILE; i++) {
        double sum = 0;
        for (size_t j = 0; j <= i && i < n; j++) {
            row[j] = raw_weight(prompt, (size_t)map_layers[slab], head, i, j);
            sum += row[j];
        }
        for (size_t j = 0; j < (i / HW_MAP_TILE + 1) * HW_MAP_TILE; j++) {
            float value = dataset == HW_DS_ATTENTION_PATTERN ? 0 : NAN;
            if (i >= n || j >= n) {
                value = NAN;
            } else if (j <= i) {
                float p = (float)(row[j] / sum);
                value = dataset == HW_DS_ATTENTION_PATTERN ? p : logf(p);
            }
            size_t a = i / HW_MAP_TILE, b = j / HW_MAP_TILE;
            size_t at = (a * (a + 1) / 2 + b) * tile_values + i % HW_MAP_TILE * HW_MAP_TILE +
                        j % HW_MAP_TILE;
            store(element, value, tiles, at);
        }
    }
    struct hw_error err;
    require(hw_destination_append_map(destination, dataset, slab, head, edge, tiles, &err), &err);
    free(tiles);
    free(row);
}

// z[i] = sum_j A[i, j] v[j], in double.
static double mix_values(int32_t prompt, size_t layer, size_t head, size_t row, size_t channel) {
    double sum = 0, z = 0;
    for (size_t j = 0; j <= row; j++) {
        double w = raw_weight(prompt, layer, head, row, j);
        sum += w;
        z += w * hash_value(HW_DS_ACTIVATIONS_VALUE, prompt, layer, j,
                            head / (H / G) * D_HEAD + channel);
    }
    return z / sum;
}

static float residual(int32_t prompt, size_t depth, size_t row, size_t i) {
    float x = hash_value(HW_DS_ACTIVATIONS_RESIDUAL, prompt, 0, row, i);
    for (size_t layer = 0; layer < depth; layer++) {
        x += hash_value(HW_DS_ACTIVATIONS_ATTENTION_OUTPUT, prompt, layer, row, i);
        x += hash_value(HW_DS_ACTIVATIONS_MLP_OUTPUT, prompt, layer, row, i);
    }
    return x;
}

static int32_t n_given(int32_t prompt) {
    return prompt == 4 ? lengths[prompt] - 2 : lengths[prompt];
}

// Largest weight of a row.
static float row_max(int32_t prompt, size_t layer, size_t head, size_t row) {
    double sum = 0;
    float max = 0;
    for (size_t j = 0; j <= row; j++) {
        float w = raw_weight(prompt, layer, head, row, j);
        sum += w;
        max = fmaxf(max, w);
    }
    return (float)(max / sum);
}

// Mean of a dataset over rows first .. n_given of the prompt.
static float mean_of(enum hw_dataset dataset, int32_t prompt, size_t slab, size_t i,
                     int32_t first) {
    double sum = 0;
    for (int32_t r = first; r < n_given(prompt); r++) {
        sum += synthetic_value(dataset, prompt, slab, (size_t)r, i);
    }
    return (float)(sum / (n_given(prompt) - first));
}

float synthetic_value(enum hw_dataset dataset, int32_t prompt, size_t slab, size_t row, size_t i) {
    switch (dataset) {
    case HW_DS_ATTENTION_ROW_SUM:
        return 1;
    case HW_DS_ATTENTION_FIRST:
        return synthetic_pattern(prompt, slab, i, row, 0);
    case HW_DS_ATTENTION_MAX:
        return row_max(prompt, slab, i, row);
    case HW_DS_SINK_SCORE:
        return mean_of(HW_DS_ATTENTION_FIRST, prompt, slab, i, 0);
    case HW_DS_PROMPT_LOSS:
        return -mean_of(HW_DS_TOKEN_LOGPROB, prompt, 0, 0, 1);
    case HW_DS_ACTIVATIONS_RESIDUAL:
        return residual(prompt, slab, row, i);
    case HW_DS_ACTIVATIONS_Z:
        return (float)mix_values(prompt, slab, i / D_HEAD, row, i % D_HEAD);
    case HW_DS_DECODE_PROMPT:
    case HW_DS_MASSIVE_PROMPT:
        return (float)prompt;
    case HW_DS_MASSIVE_POSITION:
        return 0;
    case HW_DS_DECODE_PATTERN:
        return row % 2 == 0 ? 0.25f : NAN;
    default:
        break;
    }
    bool is_mean = dataset > 0 && hw_schema_row(dataset - 1)->has_mean;
    return is_mean ? mean_of(dataset - 1, prompt, slab, i, 0)
                   : hash_value(dataset, prompt, slab, row, i);
}

static size_t rows_of(enum hw_dataset dataset, int32_t prompt) {
    switch (hw_schema_row(dataset)->axes[0]) {
    case HW_AXIS_PROMPT:
        return 1;
    case HW_AXIS_STEP:
        return prompt == 4 ? 3 : 1;
    case HW_AXIS_EVENT:
        return (size_t)prompt % 3;
    default:
        return (size_t)lengths[prompt];
    }
}

static void play_slab(struct hw_destination *destination, const struct hw_layout *layout,
                      enum hw_dataset dataset, int32_t prompt, size_t slab) {
    const struct hw_schema_row *schema = hw_schema_row(dataset);
    if (hw_schema_is_fixed(dataset) || schema->record[0] == '\0' || !layout->has[dataset]) {
        return;
    }
    int slab_axis = hw_schema_slab_axis(dataset);
    size_t n_slabs = slab_axis < 0 ? 1 : hw_layout_axis(layout, schema->group, schema->axes[1]);
    if (slab >= n_slabs) {
        return;
    }
    if (dataset == HW_DS_ATTENTION_PATTERN || dataset == HW_DS_ATTENTION_SCORES) {
        for (size_t head = 0; head < H; head++) {
            play_map(destination, layout, dataset, prompt, slab, head);
        }
        return;
    }
    enum hw_element element = hw_layout_element(layout, dataset);
    size_t n_rows = rows_of(dataset, prompt);
    size_t row_bytes = hw_layout_row_bytes(layout, dataset);
    size_t n = row_bytes / hw_element_bytes(element);
    char *rows = malloc(n_rows * row_bytes + 1);
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t i = 0; i < n; i++) {
            store(element, synthetic_value(dataset, prompt, slab, r, i), rows, r * n + i);
        }
    }
    struct hw_error err;
    require(hw_destination_append(destination, dataset, slab, n_rows, rows, &err), &err);
    free(rows);
}

static void end_prompt(struct hw_destination *destination, int32_t prompt) {
    static uint32_t ids[LONGEST];
    static uint8_t specials[LONGEST];
    static const char *texts[LONGEST];
    static const char *const words[3] = {"\xc4\xa0the", "river", "<|end|>"};
    for (size_t i = 0; i < LONGEST; i++) {
        ids[i] = mix((uint32_t)prompt, (uint32_t)i) % VOCAB;
        specials[i] = i == 0;
        texts[i] = words[ids[i] % 3];
    }
    static const char *const span_names[1] = {"needle"};
    static const int32_t first[1] = {1}, end[1] = {3};
    char name[32];
    (void)snprintf(name, sizeof name, "prompt %d", (int)prompt);
    struct hw_prompt_record record = {
        .prompt = prompt,
        .n_tokens = lengths[prompt],
        .n_prompt_tokens = prompt == 4 ? lengths[prompt] - 2 : lengths[prompt],
        .name = name,
        .text = "the river",
        .json = "{\"text\": \"the river\"}",
        .domain = prompt % 2 == 0 ? "prose" : "code",
        .status = prompt == 3 ? 2 : 0,
        .error = prompt == 3 ? "no tokens" : "",
        .token_ids = ids,
        .token_is_special = specials,
        .token_text = texts,
        .n_spans = prompt == 1 || prompt == 5,
        .span_names = span_names,
        .span_first = first,
        .span_end = end,
        .n_massive_dropped = prompt == 2 ? 7 : 0,
    };
    struct hw_error err;
    require(hw_destination_end_prompt(destination, &record, &err), &err);
}

// Values of 24 bits below 1 are multiples of 2^-30.
static void add_means(int32_t prompt) {
    size_t group = (size_t)prompt % 2;
    size_t n;
    for (int i = 0; i < HW_N_DATASETS; i++) {
        enum hw_dataset dataset = (enum hw_dataset)i;
        if (!hw_dataset_is_mean_sum(dataset)) {
            continue;
        }
        bool is_by_position = hw_dataset_is_by_position(dataset);
        enum hw_axis axis = hw_schema_row(dataset)->axes[1];
        for (size_t slab = 0; slab < (axis == HW_AXIS_DEPTH ? L + 1 : L); slab++) {
            int64_t *sums = hw_mean_sums_at(&means, dataset, group, slab, &n);
            size_t width = is_by_position ? n / LONGEST : n;
            for (size_t at = 0; at < (size_t)n_given(prompt) * width; at++) {
                float value = hash_value(dataset, prompt, slab, at / width, at % width);
                sums[is_by_position ? at : at % width] += (int64_t)(value * 0x1p30f);
            }
        }
    }
    hw_mean_sums_at(&means, HW_DS_MEANS_COUNT, group, 0, &n)[0] += n_given(prompt);
    for (int32_t i = 0; i < n_given(prompt); i++) {
        hw_mean_sums_at(&means, HW_DS_MEANS_POSITION_COUNT, group, 0, &n)[i]++;
    }
}

void synthetic_play(struct hw_destination *destination, const struct hw_layout *layout,
                    int32_t first, int32_t end) {
    struct hw_error err;
    hw_mean_sums_clear(&means);
    for (int32_t prompt = first; prompt < end; prompt++) {
        require(hw_destination_begin_prompt(destination, prompt, &err), &err);
        for (size_t slab = 0; slab <= L && lengths[prompt] > 0; slab++) {
            for (int i = 0; i < HW_N_DATASETS; i++) {
                play_slab(destination, layout, (enum hw_dataset)i, prompt, slab);
            }
            require(hw_destination_flush(destination, &err), &err);
        }
        end_prompt(destination, prompt);
        add_means(prompt);
    }
    hw_mean_sums_finish(&means);
}
