// The grammar of edits as tables: replacements and presets as the tracer has them, what else there
// is to say from the lists here.
#include "tools/list_edits.h"

#include <stdio.h>
#include <string.h>

#include "tools/table.h"
#include "tracer/edit.h"

struct line {
    const char *form;
    const char *text;
};

static const struct line replacements[] = {
#define REPLACEMENT_LINE(id, word, point, text) {word, text},
    HW_REPLACEMENTS(REPLACEMENT_LINE)
#undef REPLACEMENT_LINE
};
static const enum hw_edit_point natural[] = {
#define REPLACEMENT_POINT(id, word, point, text) HW_POINT_##point,
    HW_REPLACEMENTS(REPLACEMENT_POINT)
#undef REPLACEMENT_POINT
};

static const struct line targets[] = {
    {"head=HEADS", "query heads: 9.6,9.9, 10, ^9.6, @FILE"},
    {"kv=HEADS", "key/value heads with all their query heads"},
    {"attn=LAYERS", "what attention adds to the stream; with at=, all heads"},
    {"mlp=LAYERS", "what the MLP adds to the stream"},
    {"neuron=N:layer=L", "what the MLP's last map multiplies; N, N-M or all"},
    {"channel=C:layer=L:site=S", "C, C-D or all, at resid_pre, resid_mid, resid_post,"},
    {"", "attn_out or mlp_out (default resid_post)"},
    {"head=HEADS:key=POS", "edges: from query=POS (default all) to key=POS; layer="},
    {"", "stands for all heads of layers"},
};

static const struct line points[] = {
    {"z", "what a head reads from its values, before the output map"},
    {"pattern", "weights of attention"},
    {"scores", "before the softmax"},
    {"value", "values, of whole key/value heads"},
};

static const struct line rows[] = {
    {"all", "every position (default)"},
    {"prefill", "every position of the prompt"},
    {"decode", "from the prompt's last token on"},
    {"last", "the prompt's last token"},
    {"first, 3-7, generated, NAME", "as --positions; NAME is a span of the prompt"},
};

static const struct line options[] = {
    {"by=X", "of scale: the factor; of bias: what is added"},
    {"value=X", "of set"},
    {"renormalise=yes|no", "of scale at=pattern: rows sum to 1 again (default yes)"},
    {"key=N", "of to: the key (default 0)"},
    {"sinks=N, recent=N", "of window: first keys (default 4), and last ones"},
    {"positions=text|cache", "of window: cache counts places in StreamingLLM's cache"},
    {"source=CAPTURE", "of mean, position_mean, from: where values come from"},
    {"group=NAME", "of mean, position_mean: whose mean (default the prompt's)"},
    {"seed=N", "of resample (default 0)"},
};

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

static const struct {
    const char *name;
    const char *columns;
    const struct line *lines;
    size_t n;
} parts[] = {
    {"targets", "<target|<~what it is", targets, LENGTH(targets)},
    {"points", "<at=|<~where", points, LENGTH(points)},
    {"rows", "<rows=|<~which positions", rows, LENGTH(rows)},
    {"options", "<option|<~what it says", options, LENGTH(options)},
};

static const char *point_word(enum hw_edit_point point) {
    return points[point].form; // in the order of the enumeration
}

static enum hw_status print_replacements(struct hw_error *err) {
    struct hw_table *table = hw_table_open("<replacement|<at|<~what becomes of the target");
    for (size_t i = 0; i < LENGTH(replacements); i++) {
        hw_table_cell(table, "%s", replacements[i].form);
        hw_table_cell(table, "%s", point_word(natural[i]));
        hw_table_cell(table, "%s", replacements[i].text);
    }
    enum hw_status status = hw_table_print(table, stdout, 0, err);
    hw_table_close(&table);
    return status;
}

// "zero:%s:at=z" with TARGET for %s.
static const char *expansion(const struct hw_edit_preset *preset, char text[120]) {
    const char *gap = strstr(preset->expands_to, "%s");
    (void)snprintf(text, 120, "%.*sTARGET%s", (int)(gap - preset->expands_to), preset->expands_to,
                   gap + strlen("%s"));
    return text;
}

enum hw_status hw_list_edits_print(struct hw_error *err) {
    (void)printf("--edit REPLACEMENT:TARGET[:key=value...]\n\n");
    enum hw_status status = print_replacements(err);
    for (size_t p = 0; p < LENGTH(parts) && status == HW_OK; p++) {
        struct hw_table *table = hw_table_open(parts[p].columns);
        for (size_t i = 0; i < parts[p].n; i++) {
            hw_table_cell(table, "%s", parts[p].lines[i].form);
            hw_table_cell(table, "%s", parts[p].lines[i].text);
        }
        (void)printf("\n");
        status = hw_table_print(table, stdout, 0, err);
        hw_table_close(&table);
    }
    (void)printf("\npresets: NAME:TARGET[:key=value...], what is given wins\n");
    for (const struct hw_edit_preset *p = hw_edit_presets; p->name != NULL; p++) {
        char text[120];
        (void)printf("%-20s %s\n    %s\n", p->name, expansion(p, text), p->reference);
    }
    return status;
}

// A form that goes on in the line below it is one item.
static json_t *part_json(const struct line *lines, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n;) {
        const char *form = lines[i].form;
        char text[200];
        (void)snprintf(text, sizeof text, "%s", lines[i++].text);
        for (; i < n && lines[i].form[0] == '\0'; i++) {
            size_t length = strlen(text);
            (void)snprintf(text + length, sizeof text - length, " %s", lines[i].text);
        }
        (void)json_array_append_new(list, json_pack("{s:s, s:s}", "form", form, "meaning", text));
    }
    return list;
}

json_t *hw_list_edits_json(void) {
    json_t *edits = json_object();
    json_t *list = json_array();
    for (size_t i = 0; i < LENGTH(replacements); i++) {
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", replacements[i].form,
                                                    "at", point_word(natural[i]), "meaning",
                                                    replacements[i].text));
    }
    (void)json_object_set_new(edits, "replacements", list);
    for (size_t p = 0; p < LENGTH(parts); p++) {
        (void)json_object_set_new(edits, parts[p].name, part_json(parts[p].lines, parts[p].n));
    }
    list = json_array();
    for (const struct hw_edit_preset *p = hw_edit_presets; p->name != NULL; p++) {
        char text[120];
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:s, s:s}", "name", p->name, "expands_to",
                                              expansion(p, text), "reference", p->reference));
    }
    (void)json_object_set_new(edits, "presets", list);
    return edits;
}
