// Selectors of positions: parsed once, resolved for every prompt.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "formats/selector.h"
#include "formats/selector_internal.h"

enum part_kind {
    PART_ALL,
    PART_FIRST,
    PART_LAST,
    PART_GENERATED,
    PART_PREFILL,
    PART_DECODE,
    PART_RANGE,
    PART_SPAN
};

struct part {
    enum part_kind kind;
    struct selector_range range;
    char *span;
};

struct hw_positions {
    char *text; // as it was given
    struct part *parts;
    size_t n;
};

void hw_positions_close(struct hw_positions **positions) {
    if (*positions == NULL) {
        return;
    }
    for (size_t i = 0; i < (*positions)->n; i++) {
        free((*positions)->parts[i].span);
    }
    free((*positions)->parts);
    free((*positions)->text);
    free(*positions);
    *positions = NULL;
}

static enum hw_status parse_part(const char **at, const char *whole, struct part *part,
                                 struct hw_error *err) {
    if (isdigit((unsigned char)**at)) {
        part->kind = PART_RANGE;
        enum hw_status status = hw_selector_range(at, whole, &part->range, err);
        return status == HW_OK ? hw_selector_separator(at, whole, err) : status;
    }
    size_t n = strcspn(*at, ",");
    // In the order of the enumeration.
    static const char *const words[] = {"all", "first", "last", "generated", "prefill", "decode"};
    part->kind = PART_SPAN;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strlen(words[i]) == n && memcmp(words[i], *at, n) == 0) {
            part->kind = (enum part_kind)i;
        }
    }
    if (n == 0) {
        char shown[120];
        return hw_fail(err, HW_USAGE, "'%s': expected a position, a range, or the name of a span",
                       hw_escape(shown, sizeof shown, whole, strlen(whole)));
    }
    if (part->kind == PART_SPAN && (part->span = strndup(*at, n)) == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a selector");
    }
    *at += n;
    return hw_selector_separator(at, whole, err);
}

enum hw_status hw_positions_parse(const char *text, struct hw_positions **ret_positions,
                                  struct hw_error *err) {
    size_t n_parts = 1;
    for (const char *at = text; *at != '\0'; at++) {
        n_parts += *at == ',';
    }
    struct hw_positions *positions = calloc(1, sizeof *positions);
    if (positions == NULL || (positions->text = strdup(text)) == NULL ||
        (positions->parts = calloc(n_parts, sizeof *positions->parts)) == NULL) {
        hw_positions_close(&positions);
        return hw_fail(err, HW_RESOURCE, "not enough memory for a selector");
    }
    const char *at = text;
    enum hw_status status;
    do {
        status = parse_part(&at, text, &positions->parts[positions->n++], err);
    } while (status == HW_OK && *at != '\0');
    if (status != HW_OK) {
        hw_positions_close(&positions);
        return status;
    }
    *ret_positions = positions;
    return HW_OK;
}

const char *hw_positions_text(const struct hw_positions *positions) {
    return positions->text;
}

const char *hw_positions_span(const struct hw_positions *positions, size_t i) {
    for (size_t part = 0; part < positions->n; part++) {
        if (positions->parts[part].kind == PART_SPAN && i-- == 0) {
            return positions->parts[part].span;
        }
    }
    return NULL;
}

static void mark(bool *selected, size_t first, size_t end, size_t n) {
    for (size_t t = first; t < end && t < n; t++) {
        selected[t] = true;
    }
}

size_t hw_positions_resolve(const struct hw_positions *positions, const struct hw_prompt *prompt,
                            size_t n_tokens, bool *ret_selected) {
    memset(ret_selected, 0, n_tokens * sizeof *ret_selected);
    for (size_t i = 0; i < positions->n; i++) {
        const struct part *part = &positions->parts[i];
        switch (part->kind) {
        case PART_ALL:
            mark(ret_selected, 0, n_tokens, n_tokens);
            break;
        case PART_FIRST:
            mark(ret_selected, 0, 1, n_tokens);
            break;
        case PART_LAST:
            mark(ret_selected, prompt->n_ids == 0 ? n_tokens : prompt->n_ids - 1, prompt->n_ids,
                 n_tokens);
            break;
        case PART_GENERATED:
            mark(ret_selected, prompt->n_ids, n_tokens, n_tokens);
            break;
        case PART_PREFILL:
            mark(ret_selected, 0, prompt->n_ids, n_tokens);
            break;
        case PART_DECODE:
            mark(ret_selected, prompt->n_ids == 0 ? n_tokens : prompt->n_ids - 1, n_tokens,
                 n_tokens);
            break;
        case PART_RANGE:
            mark(ret_selected, part->range.first, part->range.last + 1, n_tokens);
            break;
        case PART_SPAN:
            for (size_t s = 0; s < prompt->n_spans; s++) {
                if (strcmp(prompt->spans[s].name, part->span) == 0) {
                    mark(ret_selected, (size_t)prompt->spans[s].first, (size_t)prompt->spans[s].end,
                         n_tokens);
                }
            }
            break;
        }
    }
    size_t n_selected = 0;
    for (size_t t = 0; t < n_tokens; t++) {
        n_selected += ret_selected[t];
    }
    return n_selected;
}
