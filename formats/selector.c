// Layers and heads from a short text or a JSON file.
//
// Parsing yields places in the order written; a bitmap is made of them, and ^ turns it around. A
// range is checked as a whole, so 28-40 of a model with 30 layers is an error and not the two that
// exist.
#include "formats/selector.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/json.h"
#include "formats/selector_internal.h"

enum { MAX_SELECTED = 1 << 24 };

enum hw_status hw_selector_number(const char **at, size_t *ret, struct hw_error *err,
                                  const char *whole) {
    size_t value = 0;
    const char *digit = *at;
    while (isdigit((unsigned char)*digit) && value < MAX_SELECTED) {
        value = 10 * value + (size_t)(*digit - '0');
        digit++;
    }
    if (digit == *at || value >= MAX_SELECTED) {
        char shown[40], all[120];
        return hw_fail(err, HW_USAGE, "'%s': expected a number at '%s'",
                       hw_escape(all, sizeof all, whole, strlen(whole)),
                       hw_escape(shown, sizeof shown, *at, strlen(*at)));
    }
    *at = digit;
    *ret = value;
    return HW_OK;
}

enum hw_status hw_selector_range(const char **at, const char *whole, struct selector_range *ret,
                                 struct hw_error *err) {
    struct selector_range range;
    enum hw_status status = hw_selector_number(at, &range.first, err, whole);
    range.last = range.first;
    if (status == HW_OK && **at == '-') {
        ++*at;
        status = hw_selector_number(at, &range.last, err, whole);
    }
    if (status == HW_OK && range.last < range.first) {
        return hw_fail(err, HW_USAGE, "the range %zu-%zu runs backwards", range.first, range.last);
    }
    if (status == HW_OK) {
        *ret = range;
    }
    return status;
}

static enum hw_status check_exists(const char *noun, struct selector_range range, size_t n,
                                   struct hw_error *err) {
    if (range.last >= n) {
        return hw_fail(err, HW_USAGE, "there is no %s %zu (this model has %ss 0 to %zu)", noun,
                       range.first >= n ? range.first : range.last, noun, n - 1);
    }
    return HW_OK;
}

enum hw_status hw_selector_separator(const char **at, const char *whole, struct hw_error *err) {
    if (**at == ',' && (*at)[1] != '\0') {
        ++*at;
        return HW_OK;
    }
    if (**at == '\0') {
        return HW_OK;
    }
    char shown[40], all[120];
    return hw_fail(err, HW_USAGE, "'%s': expected a comma or the end at '%s'",
                   hw_escape(all, sizeof all, whole, strlen(whole)),
                   hw_escape(shown, sizeof shown, *at, strlen(*at)));
}

// Places in the order written, each once.
struct picked {
    bool *seen; // [n]
    uint32_t *order;
    size_t n;
    size_t n_picked;
};

static enum hw_status picked_open(struct picked *picked, size_t n, struct hw_error *err) {
    *picked = (struct picked){.n = n,
                              .seen = calloc(n + 1, sizeof *picked->seen),
                              .order = calloc(n + 1, sizeof *picked->order)};
    if (picked->seen == NULL || picked->order == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a selection of %zu", n);
    }
    return HW_OK;
}

static void picked_close(struct picked *picked) {
    free(picked->seen);
    free(picked->order);
}

static void pick(struct picked *picked, size_t place) {
    if (!picked->seen[place]) {
        picked->seen[place] = true;
        picked->order[picked->n_picked++] = (uint32_t)place;
    }
}

// All but what is picked, in ascending order.
static void turn_around(struct picked *picked) {
    picked->n_picked = 0;
    for (size_t i = 0; i < picked->n; i++) {
        picked->seen[i] = !picked->seen[i];
        if (picked->seen[i]) {
            picked->order[picked->n_picked++] = (uint32_t)i;
        }
    }
}

static enum hw_status pick_layers(struct picked *picked, const char *text, const char *noun,
                                  struct hw_error *err) {
    if (strcmp(text, "all") == 0) {
        turn_around(picked);
        return HW_OK;
    }
    const char *at = text;
    do {
        struct selector_range range;
        enum hw_status status = hw_selector_range(&at, text, &range, err);
        if (status == HW_OK) {
            status = check_exists(noun, range, picked->n, err);
        }
        if (status == HW_OK) {
            status = hw_selector_separator(&at, text, err);
        }
        if (status != HW_OK) {
            return status;
        }
        for (size_t i = range.first; i <= range.last; i++) {
            pick(picked, i);
        }
    } while (*at != '\0');
    return HW_OK;
}

enum hw_status hw_selector_layers(const char *text, const char *noun, size_t n, bool *ret_selected,
                                  struct hw_error *err) {
    struct picked picked = {0};
    enum hw_status status = picked_open(&picked, n, err);
    bool is_complement = text[0] == '^';
    if (status == HW_OK) {
        status = pick_layers(&picked, text + is_complement, noun, err);
    }
    if (status == HW_OK) {
        if (is_complement) {
            turn_around(&picked);
        }
        memcpy(ret_selected, picked.seen, n * sizeof *ret_selected);
    }
    picked_close(&picked);
    return status;
}

struct heads {
    struct picked picked;
    size_t n_layers;
    size_t n_heads;
};

static enum hw_status pick_heads(struct heads *heads, struct selector_range layers,
                                 struct selector_range in_layer, struct hw_error *err) {
    enum hw_status status = check_exists("layer", layers, heads->n_layers, err);
    if (status == HW_OK) {
        status = check_exists("head", in_layer, heads->n_heads, err);
    }
    for (size_t layer = layers.first; status == HW_OK && layer <= layers.last; layer++) {
        for (size_t head = in_layer.first; head <= in_layer.last; head++) {
            pick(&heads->picked, layer * heads->n_heads + head);
        }
    }
    return status;
}

// L, L.H, L.H-H, L-L, L-L.H, separated by commas.
static enum hw_status parse_heads(struct heads *heads, const char *text, struct hw_error *err) {
    const char *at = text;
    do {
        struct selector_range layers;
        struct selector_range in_layer = {0, heads->n_heads - 1};
        enum hw_status status = hw_selector_range(&at, text, &layers, err);
        if (status == HW_OK && *at == '.') {
            at++;
            status = hw_selector_range(&at, text, &in_layer, err);
        }
        if (status == HW_OK) {
            status = pick_heads(heads, layers, in_layer, err);
        }
        if (status == HW_OK) {
            status = hw_selector_separator(&at, text, err);
        }
        if (status != HW_OK) {
            return status;
        }
    } while (*at != '\0');
    return HW_OK;
}

// "16-19" or "16.19": layer and head.
static bool parse_pair(const char *text, size_t pair[2]) {
    const char *at = text;
    if (hw_selector_number(&at, &pair[0], NULL, text) != HW_OK || (*at != '-' && *at != '.')) {
        return false;
    }
    at++;
    return hw_selector_number(&at, &pair[1], NULL, text) == HW_OK && *at == '\0';
}

static bool read_pair(const json_t *layer, const json_t *head, size_t pair[2]) {
    if (!json_is_integer(layer) || !json_is_integer(head) || json_integer_value(layer) < 0 ||
        json_integer_value(head) < 0 || json_integer_value(layer) >= MAX_SELECTED ||
        json_integer_value(head) >= MAX_SELECTED) {
        return false;
    }
    pair[0] = (size_t)json_integer_value(layer);
    pair[1] = (size_t)json_integer_value(head);
    return true;
}

// One head of a file, in any of the forms of selector.h.
static bool read_head(const json_t *value, size_t pair[2]) {
    if (json_is_string(value)) {
        return parse_pair(json_string_value(value), pair);
    }
    if (json_array_size(value) == 2) {
        return read_pair(json_array_get(value, 0), json_array_get(value, 1), pair);
    }
    const json_t *head = json_object_get(value, "head");
    if (json_is_string(head)) {
        return parse_pair(json_string_value(head), pair);
    }
    return read_pair(json_object_get(value, "layer"), head, pair);
}

// A head that a file names; `what` says where.
static enum hw_status pick_pair(struct heads *heads, const char *path, const char *what,
                                const size_t pair[2], struct hw_error *err) {
    struct hw_error reason = {0};
    const struct selector_range layer = {pair[0], pair[0]};
    const struct selector_range head = {pair[1], pair[1]};
    if (pick_heads(heads, layer, head, &reason) != HW_OK) {
        return hw_fail(err, HW_INPUT, "%s: %s: %s", path, what, reason.message);
    }
    return HW_OK;
}

// One head of the released lists of retrieval heads: "16-19": [score of each trial, ...].
struct published {
    size_t pair[2];
    double mean;
    size_t place; // in the file
};

static int compare_published(const void *a, const void *b) {
    const struct published *x = a;
    const struct published *y = b;
    if (x->mean != y->mean) {
        return x->mean < y->mean ? 1 : -1;
    }
    return (x->place > y->place) - (x->place < y->place);
}

static bool read_mean(const json_t *scores, double *ret_mean) {
    double sum = 0;
    size_t n = json_array_size(scores);
    for (size_t i = 0; i < n; i++) {
        const json_t *score = json_array_get(scores, i);
        if (!json_is_number(score)) {
            return false;
        }
        sum += json_number_value(score);
    }
    *ret_mean = n > 0 ? sum / (double)n : 0;
    return n > 0;
}

// All heads of such a file, the largest mean first as the released code orders them.
static enum hw_status pick_published(struct heads *heads, const char *path, json_t *root,
                                     struct hw_error *err) {
    struct published *items = calloc(json_object_size(root), sizeof *items);
    enum hw_status status =
        items != NULL ? HW_OK : hw_fail(err, HW_RESOURCE, "not enough memory for heads");
    size_t n = 0;
    const char *key;
    json_t *scores;
    json_object_foreach(root, key, scores) {
        struct published item = {.place = n};
        if (status == HW_OK && (!parse_pair(key, item.pair) || !read_mean(scores, &item.mean))) {
            char shown[60];
            status = hw_fail(err, HW_INPUT,
                             "%s: \"%s\": expected a list under \"heads\", or \"16-19\": [score "
                             "of each trial] of every head",
                             path, hw_escape(shown, sizeof shown, key, strlen(key)));
        }
        if (status == HW_OK) {
            items[n++] = item;
        }
    }
    if (status == HW_OK) {
        qsort(items, n, sizeof *items, compare_published);
    }
    for (size_t i = 0; i < n && status == HW_OK; i++) {
        char what[60];
        (void)snprintf(what, sizeof what, "\"%zu-%zu\"", items[i].pair[0], items[i].pair[1]);
        status = pick_pair(heads, path, what, items[i].pair, err);
    }
    free(items);
    return status;
}

static enum hw_status pick_from_file(struct heads *heads, const char *path, struct hw_error *err) {
    json_t *root = NULL;
    enum hw_status status = hw_json_load(path, HW_MAX_INDEX_BYTES, &root, err);
    if (status != HW_OK) {
        return status;
    }
    const json_t *list = json_is_object(root) ? json_object_get(root, "heads") : root;
    if (list == NULL && json_object_size(root) > 0) {
        status = pick_published(heads, path, root, err);
    } else if (!json_is_array(list)) {
        status =
            hw_fail(err, HW_INPUT,
                    "%s: expected a list of heads, or an object with one under \"heads\"", path);
    }
    for (size_t i = 0; status == HW_OK && i < json_array_size(list); i++) {
        size_t pair[2];
        if (!read_head(json_array_get(list, i), pair)) {
            status = hw_fail(err, HW_INPUT,
                             "%s: item %zu is no head (expected \"16-19\", \"16.19\", [16, 19], or "
                             "an object with "
                             "layer and head)",
                             path, i);
        } else {
            char what[40];
            (void)snprintf(what, sizeof what, "item %zu", i);
            status = pick_pair(heads, path, what, pair, err);
        }
    }
    json_decref(root);
    return status;
}

static enum hw_status select_heads(struct heads *heads, const char *text, struct hw_error *err) {
    bool is_complement = text[0] == '^';
    const char *what = text + is_complement;
    enum hw_status status = HW_OK;
    if (what[0] == '@') {
        status = pick_from_file(heads, what + 1, err);
    } else if (strcmp(what, "all") == 0) {
        turn_around(&heads->picked);
    } else {
        status = parse_heads(heads, what, err);
    }
    if (status == HW_OK && is_complement) {
        turn_around(&heads->picked);
    }
    return status;
}

static enum hw_status heads_open(struct heads *heads, size_t n_layers, size_t n_heads,
                                 struct hw_error *err) {
    *heads = (struct heads){.n_layers = n_layers, .n_heads = n_heads};
    if (n_layers == 0 || n_heads == 0 || n_layers > MAX_SELECTED / n_heads) {
        return hw_fail(err, HW_INTERNAL, "a selection among %zu layers of %zu heads", n_layers,
                       n_heads);
    }
    return picked_open(&heads->picked, n_layers * n_heads, err);
}

enum hw_status hw_selector_heads(const char *text, size_t n_layers, size_t n_heads,
                                 bool *ret_selected, struct hw_error *err) {
    struct heads heads = {0};
    enum hw_status status = heads_open(&heads, n_layers, n_heads, err);
    if (status == HW_OK) {
        status = select_heads(&heads, text, err);
    }
    if (status == HW_OK) {
        memcpy(ret_selected, heads.picked.seen, heads.picked.n * sizeof *ret_selected);
    }
    picked_close(&heads.picked);
    return status;
}

enum hw_status hw_selector_heads_ordered(const char *text, size_t n_layers, size_t n_heads,
                                         uint32_t **ret_heads, size_t *ret_n,
                                         struct hw_error *err) {
    struct heads heads = {0};
    enum hw_status status = heads_open(&heads, n_layers, n_heads, err);
    if (status == HW_OK) {
        status = select_heads(&heads, text, err);
    }
    if (status == HW_OK) {
        *ret_heads = heads.picked.order;
        *ret_n = heads.picked.n_picked;
        heads.picked.order = NULL;
    }
    picked_close(&heads.picked);
    return status;
}
