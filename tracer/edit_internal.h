// What the parts of the edit grammar share: the keys, and a spec taken apart into them.
#ifndef HW_EDIT_INTERNAL_H
#define HW_EDIT_INTERNAL_H

#include "tracer/edit.h"

enum {
    HW_MAX_EDIT_TEXT = 1 << 20,  // bytes of a spec
    HW_MAX_EDIT_COUNT = 1 << 30, // sinks=, recent=, key= of `to`
};

#define EDIT_BIT(id) (1u << HW_REPLACE_##id)
#define EDIT_ANY (~0u)
#define EDIT_MEANS (EDIT_BIT(MEAN) | EDIT_BIT(POSITION_MEAN))
#define EDIT_SOURCES (EDIT_MEANS | EDIT_BIT(FROM) | EDIT_BIT(RESAMPLE))
#define EDIT_EDGES (EDIT_BIT(BLOCK) | EDIT_BIT(BIAS) | EDIT_BIT(SCALE) | EDIT_BIT(ZERO))
// Those that act on attention and nowhere else.
#define EDIT_ATTENTION                                                                             \
    (EDIT_BIT(UNIFORM) | EDIT_BIT(IDENTITY) | EDIT_BIT(TO) | EDIT_BIT(PREVIOUS) |                  \
     EDIT_BIT(BLOCK) | EDIT_BIT(WINDOW) | EDIT_BIT(BIAS))

// id, word, the replacements that it goes with, these in words. In the order of canonical specs.
#define EDIT_KEYS(X)                                                                               \
    X(HEAD, "head", EDIT_ANY, "")                                                                  \
    X(KV, "kv", EDIT_ANY, "")                                                                      \
    X(ATTN, "attn", EDIT_ANY, "")                                                                  \
    X(MLP, "mlp", EDIT_ANY, "")                                                                    \
    X(NEURON, "neuron", EDIT_ANY, "")                                                              \
    X(CHANNEL, "channel", EDIT_ANY, "")                                                            \
    X(LAYER, "layer", EDIT_ANY, "")                                                                \
    X(SITE, "site", EDIT_ANY, "")                                                                  \
    X(QUERY, "query", EDIT_EDGES, "block, bias, scale and zero; use rows=")                        \
    X(KEY, "key", EDIT_EDGES | EDIT_BIT(TO), "block, bias, scale, zero and to")                    \
    X(BY, "by", EDIT_BIT(SCALE) | EDIT_BIT(BIAS), "scale and bias")                                \
    X(VALUE, "value", EDIT_BIT(SET), "set")                                                        \
    X(RENORMALISE, "renormalise", EDIT_BIT(SCALE), "scale at=pattern")                             \
    X(SINKS, "sinks", EDIT_BIT(WINDOW), "window")                                                  \
    X(RECENT, "recent", EDIT_BIT(WINDOW), "window")                                                \
    X(POSITIONS, "positions", EDIT_BIT(WINDOW), "window")                                          \
    X(GROUP, "group", EDIT_MEANS, "mean and position_mean")                                        \
    X(SEED, "seed", EDIT_BIT(RESAMPLE), "resample")                                                \
    X(SOURCE, "source", EDIT_MEANS | EDIT_BIT(FROM), "mean, position_mean and from")               \
    X(AT, "at", EDIT_ANY, "")                                                                      \
    X(ROWS, "rows", EDIT_ANY, "")

enum edit_key {
#define EDIT_KEY_ENUM(id, ...) EDIT_KEY_##id,
    EDIT_KEYS(EDIT_KEY_ENUM)
#undef EDIT_KEY_ENUM
        EDIT_N_KEYS
};

struct edit_fields {
    enum hw_replacement replacement;
    char *values[EDIT_N_KEYS]; // NULL: not given
};

const char *edit_key_word(enum edit_key key);
const char *edit_replacement_word(enum hw_replacement replacement);
const char *edit_point_word(enum hw_edit_point point);
// "mlp_out" for the sites that edits write to, NULL for others.
const char *edit_site_word(enum hw_site site);

// Where an edit that writes does so.
enum hw_site edit_site(const struct hw_edit *edit);

// Takes a spec apart and lays it over its preset. HW_USAGE: an unknown replacement or key, a key
// twice, no value. *fields is freed with edit_fields_free, after an error as well.
enum hw_status edit_fields_split(const char *spec, struct edit_fields *fields,
                                 struct hw_error *err);
void edit_fields_free(struct edit_fields *fields);

// Which target is named, where it acts, and what of the model that is, into edit->target, point,
// site, heads and layers (there and 0).
enum hw_status edit_read_target(const struct edit_fields *fields, struct hw_edit *edit,
                                struct hw_error *err);
enum hw_status edit_read_point(const struct edit_fields *fields, struct hw_edit *edit,
                               struct hw_error *err);
enum hw_status edit_select_target(const struct edit_fields *fields,
                                  const struct hw_model_desc *desc, struct hw_edit *edit,
                                  struct hw_error *err);
// Whether what was read means something; HW_USAGE with the reason.
enum hw_status edit_check(const struct edit_fields *fields, const struct hw_edit *edit,
                          const struct hw_model_desc *desc, struct hw_error *err);
// Sets edit->spec.
enum hw_status edit_write(const struct edit_fields *fields, const struct hw_model_desc *desc,
                          struct hw_edit *edit, struct hw_error *err);

// The selector of these heads or layers (n_heads 0), shortest where neighbours are together; from
// malloc, NULL without memory.
char *edit_selector_text(const bool *selected, size_t n_layers, size_t n_heads);
// Heads of kv heads: selected [n_layers, n_kv_heads] where all query heads of it are in heads
// [n_layers, n_heads]. Returns the first query head that is alone, as layer * n_heads + head, or
// SIZE_MAX.
size_t edit_kv_of_heads(const bool *heads, const struct hw_model_desc *desc, bool *ret_selected);

#endif
