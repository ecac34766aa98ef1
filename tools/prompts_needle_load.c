// Reading needles and haystacks; see prompts_needle.h.
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/filemap.h"
#include "formats/json.h"
#include "kernels/size.h"
#include "needle_defaults.h"
#include "tools/options.h"
#include "tools/prompts_needle.h"

enum { MAX_NEEDLES = 10000, MAX_GRID = 1000, MAX_TEXT_BYTES = 256 << 20, MAX_LENGTH = 1 << 24 };

static enum hw_status no_memory(struct hw_error *err) {
    return hw_fail(err, HW_RESOURCE, "not enough memory for needles and haystacks");
}

void hw_needle_set_free(struct needle_set *set) {
    for (size_t i = 0; i < set->n; i++) {
        struct needle_item *item = &set->items[i];
        free(item->name);
        free((char *)item->needle.needle);
        free((char *)item->needle.answer);
        free((char *)item->needle.question);
        free(item->haystack);
    }
    free(set->items);
    *set = (struct needle_set){0};
}

// Appends a file to *text (from malloc, or NULL), which stays a string.
static enum hw_status append_file(const char *path, char **text, struct hw_error *err) {
    struct hw_filemap *map = NULL;
    enum hw_status status = hw_filemap_open(path, &map, err);
    if (status != HW_OK) {
        return status;
    }
    const char *bytes = (const char *)map->base;
    size_t n = map->n_bytes, n_before = *text != NULL ? strlen(*text) : 0;
    char *longer = NULL;
    if (n > MAX_TEXT_BYTES || n_before > MAX_TEXT_BYTES) {
        status = hw_fail(err, HW_INPUT, "%s: the haystack has more than %d bytes", path,
                         (int)MAX_TEXT_BYTES);
    } else if (n > 0 && memchr(bytes, '\0', n) != NULL) {
        status = hw_fail(err, HW_INPUT, "%s: holds a NUL character", path);
    } else {
        longer = realloc(*text, n_before + n + 1);
        status = longer != NULL ? HW_OK : no_memory(err);
    }
    if (status == HW_OK) {
        if (n > 0) {
            memcpy(longer + n_before, bytes, n);
        }
        longer[n_before + n] = '\0';
        *text = longer;
    }
    hw_filemap_close(&map);
    return status;
}

static int is_text(const struct dirent *entry) {
    size_t n = strlen(entry->d_name);
    return n > 4 && entry->d_name[0] != '.' && strcmp(entry->d_name + n - 4, ".txt") == 0;
}

static enum hw_status append_folder(const char *path, char **text, struct hw_error *err) {
    struct dirent **entries = NULL;
    int n = scandir(path, &entries, is_text, alphasort);
    enum hw_status status = HW_OK;
    if (n <= 0) {
        free(entries);
        return hw_fail(err, HW_INPUT, "%s: %s", path,
                       n < 0 ? strerror(errno) : "no .txt file in this folder");
    }
    for (int i = 0; i < n; i++) {
        char *file = NULL;
        if (status == HW_OK && asprintf(&file, "%s/%s", path, entries[i]->d_name) < 0) {
            file = NULL;
            status = no_memory(err);
        }
        status = status == HW_OK ? append_file(file, text, err) : status;
        free(file);
        free(entries[i]);
    }
    free(entries);
    return status;
}

static enum hw_status read_haystack(const char *path, char **ret_text, struct hw_error *err) {
    struct stat about;
    char *text = NULL;
    if (stat(path, &about) != 0) {
        return hw_fail(err, HW_INPUT, "%s: %s", path, strerror(errno));
    }
    enum hw_status status =
        S_ISDIR(about.st_mode) ? append_folder(path, &text, err) : append_file(path, &text, err);
    if (status != HW_OK) {
        free(text);
        return status;
    }
    *ret_text = text;
    return HW_OK;
}

// The haystack that an item names: beside the file, or one of those shipped.
static enum hw_status own_haystack(const char *path, const char *name, char **ret_text,
                                   struct hw_error *err) {
    if (path == NULL) {
        for (size_t i = 0; i < HW_LENGTH(needle_defaults_texts); i++) {
            if (strcmp(needle_defaults_texts[i].name, name) == 0) {
                *ret_text = strdup(needle_defaults_texts[i].text);
                return *ret_text != NULL ? HW_OK : no_memory(err);
            }
        }
        return hw_fail(err, HW_INTERNAL, "there is no shipped haystack %s", name);
    }
    const char *slash = name[0] == '/' ? NULL : strrchr(path, '/');
    char *beside = NULL;
    if (asprintf(&beside, "%.*s%s", slash != NULL ? (int)(slash - path + 1) : 0, path, name) < 0) {
        return no_memory(err);
    }
    enum hw_status status = read_haystack(beside, ret_text, err);
    free(beside);
    return status;
}

static enum hw_status take_text(const json_t *object, const char *key, const char *other_key,
                                const char *what, const char **ret_text, struct hw_error *err) {
    const json_t *value = json_object_get(object, key);
    if (value == NULL && other_key != NULL) {
        value = json_object_get(object, other_key);
    }
    if (!json_is_string(value) || json_string_length(value) == 0) {
        return hw_fail(err, HW_INPUT, "%s: expected a text under \"%s\"", what, key);
    }
    if (strlen(json_string_value(value)) != json_string_length(value)) {
        return hw_fail(err, HW_INPUT, "%s: \"%s\" holds a NUL character", what, key);
    }
    char *copy = strdup(json_string_value(value));
    if (copy == NULL) {
        return no_memory(err);
    }
    *ret_text = copy;
    return HW_OK;
}

static enum hw_status add_item(struct needle_set *set, const char *path, const char *haystack_path,
                               const json_t *object, struct hw_error *err) {
    char what[4200], number[32];
    (void)snprintf(number, sizeof number, "needle%zu", set->n);
    (void)snprintf(what, sizeof what, "%.4000s: needle %zu", path != NULL ? path : "shipped",
                   set->n);
    if (set->n == MAX_NEEDLES) {
        return hw_fail(err, HW_INPUT, "%.4000s: more than %d needles", path, (int)MAX_NEEDLES);
    }
    struct needle_item *items = realloc(set->items, (set->n + 1) * sizeof *items);
    if (items == NULL) {
        return no_memory(err);
    }
    set->items = items;
    struct needle_item *item = &items[set->n++];
    *item = (struct needle_item){0};
    struct hw_needle *needle = &item->needle;
    const char *name = json_string_value(json_object_get(object, "name"));
    const json_t *haystack = json_object_get(object, "haystack");
    item->name = strdup(name != NULL ? name : number);
    enum hw_status status = item->name != NULL ? HW_OK : no_memory(err);
    status =
        status == HW_OK ? take_text(object, "needle", NULL, what, &needle->needle, err) : status;
    status = status == HW_OK
                 ? take_text(object, "answer", "real_needle", what, &needle->answer, err)
                 : status;
    status = status == HW_OK ? take_text(object, "question", NULL, what, &needle->question, err)
                             : status;
    if (status != HW_OK) {
        return status;
    }
    if (haystack_path != NULL) {
        return read_haystack(haystack_path, &item->haystack, err);
    }
    if (!json_is_string(haystack)) {
        return hw_fail(err, HW_INPUT,
                       "%s: has no haystack (expected --haystack, or a path under "
                       "\"haystack\")",
                       what);
    }
    return own_haystack(path, json_string_value(haystack), &item->haystack, err);
}

// Lines of JSON, as the published needles are.
static enum hw_status read_lines(const char *path, json_t **ret_list, struct hw_error *err) {
    char *text = NULL;
    json_t *list = json_array();
    enum hw_status status = list != NULL ? append_file(path, &text, err) : no_memory(err);
    size_t number = 1;
    for (const char *at = text; status == HW_OK && *at != '\0'; number++) {
        size_t n = strcspn(at, "\n");
        if (strspn(at, " \t\r\n") < n) {
            json_t *object = NULL;
            char what[4200];
            (void)snprintf(what, sizeof what, "%.4000s:%zu", path, number);
            status = hw_json_parse(what, at, n, &object, err);
            if (status == HW_OK && json_array_append_new(list, object) != 0) {
                status = no_memory(err);
            }
        }
        at += n + (at[n] == '\n');
    }
    free(text);
    if (status != HW_OK) {
        json_decref(list);
        return status;
    }
    *ret_list = list;
    return HW_OK;
}

enum hw_status hw_needle_set_load(const char *path, const char *haystack_path,
                                  struct needle_set *ret_set, struct hw_error *err) {
    struct needle_set set = {0};
    json_t *list = NULL;
    size_t n_path = path != NULL ? strlen(path) : 0;
    enum hw_status status;
    if (path == NULL) {
        status = hw_json_parse("shipped needles", needle_defaults_json,
                               strlen(needle_defaults_json), &list, err);
    } else if (n_path > 6 && strcmp(path + n_path - 6, ".jsonl") == 0) {
        status = read_lines(path, &list, err);
    } else {
        status = hw_json_load(path, HW_MAX_CONFIG_BYTES, &list, err);
    }
    if (status == HW_OK && json_array_size(list) == 0) {
        status = hw_fail(err, HW_INPUT, "%s: expected a list of needles, one or more", path);
    }
    for (size_t i = 0; status == HW_OK && i < json_array_size(list); i++) {
        status = add_item(&set, path, haystack_path, json_array_get(list, i), err);
    }
    json_decref(list);
    if (status != HW_OK) {
        hw_needle_set_free(&set);
        return status;
    }
    *ret_set = set;
    return HW_OK;
}

// "FIRST:LAST:N" into three numbers.
static bool parse_triple(const char *text, uint64_t numbers[3]) {
    char part[24];
    for (size_t i = 0; i < 3; i++) {
        size_t n = strcspn(text, ":");
        if (n >= sizeof part || (i < 2) != (text[n] == ':')) {
            return false;
        }
        memcpy(part, text, n);
        part[n] = '\0';
        if (!hw_parse_count(part, &numbers[i])) {
            return false;
        }
        text += n + (i < 2);
    }
    return true;
}

enum hw_status hw_needle_parse_grid(const char *text, bool is_depth, size_t **ret_values,
                                    size_t *ret_n, struct hw_error *err) {
    uint64_t most = is_depth ? 100 : MAX_LENGTH, least = is_depth ? 0 : 1;
    uint64_t grid[3] = {0, 100, 0};
    size_t *values = calloc(MAX_GRID, sizeof *values), n = 0;
    if (values == NULL) {
        return no_memory(err);
    }
    bool is_grid = strchr(text, ':') != NULL ? parse_triple(text, grid)
                                             : is_depth && hw_parse_count(text, &grid[2]);
    if (is_grid && grid[2] >= 1 && grid[2] <= MAX_GRID && grid[0] >= least && grid[0] <= grid[1] &&
        grid[1] <= most) {
        n = (size_t)grid[2];
        hw_needle_grid((size_t)grid[0], (size_t)grid[1], n, values);
    } else if (is_grid || !hw_parse_counts(text, least, most, MAX_GRID, values, &n)) {
        char shown[100];
        free(values);
        return hw_fail(err, HW_USAGE,
                       "prompts: option --%s: wrong value (expected FIRST:LAST:N or %snumbers with "
                       "commas, %llu to %llu, at most %d of them, found '%s')",
                       is_depth ? "depths" : "lengths", is_depth ? "N or " : "",
                       (unsigned long long)least, (unsigned long long)most, (int)MAX_GRID,
                       hw_escape(shown, sizeof shown, text, strlen(text)));
    }
    *ret_values = values;
    *ret_n = n;
    return HW_OK;
}
