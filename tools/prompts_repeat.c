// Repeated random ids: [first] + n ids, R times.
//
// Ids are drawn uniformly from those of --ids that are ordinary tokens with a text, with
// replacement (RazorAttention, arXiv 2407.15891; the demos of TransformerLens) or distinct (Olsson
// et al., arXiv 2209.11895), with the numbers of prompts_random.h.
//
// The key "repeat" of the line says what was made. Where a token stands in front, spans name it and
// the last token of each repetition but the last: their attention to the first random token lies on
// an offset of induction without being induction, and the capture's attention_span has it, so that
// `induction` needs no maps.
#include <stdlib.h>
#include <string.h>

#include "tools/prompts_kinds.h"
#include "tools/prompts_random.h"

enum { MAX_TOKENS = 1 << 24, MAX_SPAN_REPEATS = 17 };

static const struct preset {
    size_t n;
    size_t repeats;
    size_t count;
    const char *ids;
    const char *first;
    bool is_distinct;
} presets[] = {
    {50, 2, 10, "1000-9999", "none", false},   // TransformerLens, K2
    {100, 2, 4, "1000-9999", "none", false},   // the code of IOI
    {25, 4, 10, "1000-20000", "bos", true},    // Olsson et al.; which ids is our choice
    {2500, 4, 1, "10000-12500", "bos", false}, // RazorAttention
};

// What one prompt is made of.
struct recipe {
    const char *preset;
    size_t n;
    size_t repeats;
    size_t count;
    uint64_t seed;
    uint32_t low;
    uint32_t high;
    bool is_distinct;
    int64_t first; // -1: none
    uint32_t *ids; // [n_ids] that may be drawn, rising
    size_t n_ids;
    uint32_t *drawn; // [n]
    uint32_t *left;  // [n_ids], scratch of drawing without replacement
};

static void draw(struct recipe *recipe, uint64_t index) {
    uint64_t state = hw_prompts_random(recipe->seed, index);
    if (!recipe->is_distinct) {
        for (size_t i = 0; i < recipe->n; i++) {
            recipe->drawn[i] = recipe->ids[hw_prompts_random_below(&state, recipe->n_ids)];
        }
        return;
    }
    // The first n of a shuffled deck.
    memcpy(recipe->left, recipe->ids, recipe->n_ids * sizeof *recipe->left);
    for (size_t i = 0; i < recipe->n; i++) {
        size_t other = i + (size_t)hw_prompts_random_below(&state, recipe->n_ids - i);
        recipe->drawn[i] = recipe->left[other];
        recipe->left[other] = recipe->left[i];
    }
}

static enum hw_status fail_option(const char *option, const char *expected, const char *found,
                                  struct hw_error *err) {
    char shown[100];
    return hw_fail(err, HW_USAGE, "prompts: option --%s: wrong value (expected %s, found '%s')",
                   option, expected, hw_escape(shown, sizeof shown, found, strlen(found)));
}

// "1000-9999", with a vocabulary that has such ids.
static enum hw_status parse_ids(const struct prompts_job *job, const char *text,
                                struct recipe *recipe, struct hw_error *err) {
    char expected[100];
    char low[32];
    const char *dash = strchr(text, '-');
    uint64_t numbers[2];
    (void)snprintf(expected, sizeof expected, "LO-HI with LO <= HI below the vocabulary of %zu",
                   job->n_vocab);
    if (dash == NULL || (size_t)(dash - text) >= sizeof low) {
        return fail_option("ids", expected, text, err);
    }
    memcpy(low, text, (size_t)(dash - text));
    low[dash - text] = '\0';
    if (!hw_parse_count(low, &numbers[0]) || !hw_parse_count(dash + 1, &numbers[1]) ||
        numbers[0] > numbers[1] || numbers[1] >= job->n_vocab) {
        return fail_option("ids", expected, text, err);
    }
    recipe->low = (uint32_t)numbers[0];
    recipe->high = (uint32_t)numbers[1];
    return HW_OK;
}

static enum hw_status parse_first(const struct prompts_job *job, const char *text,
                                  struct recipe *recipe, struct hw_error *err) {
    uint64_t id = 0;
    if (strcmp(text, "none") == 0) {
        recipe->first = -1;
        return HW_OK;
    }
    if (strcmp(text, "bos") == 0) {
        recipe->first = hw_tokenizer_bos(job->tokenizer);
        if (recipe->first < 0) {
            return hw_fail(err, HW_USAGE,
                           "prompts: the model has no BOS (expected --first none or an id)");
        }
        return HW_OK;
    }
    if (!hw_parse_count(text, &id) || id >= job->n_vocab) {
        return fail_option("first", "none, bos or an id of the vocabulary", text, err);
    }
    recipe->first = (int64_t)id;
    return HW_OK;
}

static enum hw_status collect_ids(const struct prompts_job *job, struct recipe *recipe,
                                  struct hw_error *err) {
    size_t n_all = (size_t)recipe->high - recipe->low + 1;
    recipe->ids = calloc(n_all, sizeof *recipe->ids);
    recipe->left = calloc(n_all, sizeof *recipe->left);
    recipe->drawn = calloc(recipe->n, sizeof *recipe->drawn);
    if (recipe->ids == NULL || recipe->left == NULL || recipe->drawn == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the ids");
    }
    for (uint32_t id = recipe->low; id <= recipe->high; id++) {
        if (!hw_tokenizer_is_special(job->tokenizer, id) &&
            hw_tokenizer_text(job->tokenizer, id)[0] != '\0') {
            recipe->ids[recipe->n_ids++] = id;
        }
    }
    size_t least = recipe->is_distinct ? recipe->n : 1;
    if (recipe->n_ids < least) {
        return hw_fail(err, HW_USAGE,
                       "prompts: too few ordinary tokens among the ids %u-%u (expected %zu, found "
                       "%zu)",
                       recipe->low, recipe->high, least, recipe->n_ids);
    }
    return HW_OK;
}

static enum hw_status check_length(const struct prompts_job *job, const struct recipe *recipe,
                                   struct hw_error *err) {
    const struct hw_model_desc *d = &job->model->desc;
    size_t n_tokens = recipe->n * recipe->repeats + (recipe->first >= 0); // at most 2^36 + 1
    size_t limit = d->position == HW_POSITION_LEARNED ? d->n_context : MAX_TOKENS;
    if (n_tokens > limit) {
        return hw_fail(err, HW_USAGE,
                       "prompts: %zu tokens a prompt (expected at most %zu: fewer --n or "
                       "--repeats)",
                       n_tokens, limit);
    }
    if (d->n_context > 0 && n_tokens > d->n_context) {
        hw_note(job->in,
                "prompts of %zu tokens are longer than the %zu tokens the model was "
                "trained on",
                n_tokens, d->n_context);
    }
    return HW_OK;
}

// "repeat_start": the first random token; "repeat_end_<k>": the last one of repetition k.
static json_t *make_spans(const struct recipe *recipe) {
    json_t *spans = json_pack("{s:[i, i]}", "repeat_start", 1, 2);
    for (size_t k = 1; k < recipe->repeats; k++) {
        char name[32];
        (void)snprintf(name, sizeof name, "repeat_end_%zu", k);
        json_int_t end = (json_int_t)(k * recipe->n);
        (void)json_object_set_new(spans, name, json_pack("[I, I]", end, end + 1));
    }
    return spans;
}

static json_t *make_line(const struct recipe *recipe, size_t index) {
    char name[32];
    (void)snprintf(name, sizeof name, "repeat-%zu", index);
    json_t *tokens = json_array();
    if (recipe->first >= 0) {
        (void)json_array_append_new(tokens, json_integer((json_int_t)recipe->first));
    }
    for (size_t i = 0; i < recipe->n * recipe->repeats; i++) {
        if (json_array_append_new(tokens, json_integer(recipe->drawn[i % recipe->n])) != 0) {
            json_decref(tokens);
            return NULL;
        }
    }
    json_t *repeat =
        json_pack("{s:I, s:I, s:i, s:s, s:I, s:[i, i], s:b}", "period", (json_int_t)recipe->n,
                  "repeats", (json_int_t)recipe->repeats, "first", recipe->first >= 0 ? 1 : 0,
                  "preset", recipe->preset, "seed", (json_int_t)recipe->seed, "ids",
                  (int)recipe->low, (int)recipe->high, "distinct", (int)recipe->is_distinct);
    json_t *line = json_pack("{s:s, s:s, s:o, s:o}", "name", name, "domain", "repeat", "repeat",
                             repeat, "tokens", tokens);
    if (line != NULL && recipe->first >= 0 && recipe->repeats <= MAX_SPAN_REPEATS) {
        (void)json_object_set_new(line, "spans", make_spans(recipe));
    }
    return line;
}

static enum hw_status make(struct prompts_job *job, struct hw_error *err) {
    static const char *const names[] = {"stripe", "ioi-code", "olsson", "razor"};
    const struct prompts_options *opt = job->options;
    const struct prompts_repeat_options *own = &opt->repeat;
    const struct preset *preset = &presets[own->preset];
    struct recipe recipe = {.preset = names[own->preset],
                            .n = own->n > 0 ? own->n : preset->n,
                            .repeats = own->repeats > 0 ? own->repeats : preset->repeats,
                            .count = opt->count > 0 ? opt->count : preset->count,
                            .seed = opt->seed,
                            .is_distinct = own->is_distinct || preset->is_distinct};
    enum hw_status status = parse_ids(job, own->ids != NULL ? own->ids : preset->ids, &recipe, err);
    if (status == HW_OK) {
        status = parse_first(job, own->first != NULL ? own->first : preset->first, &recipe, err);
    }
    status = status == HW_OK ? check_length(job, &recipe, err) : status;
    status = status == HW_OK ? collect_ids(job, &recipe, err) : status;
    size_t n_tokens = recipe.n * recipe.repeats + (recipe.first >= 0);
    for (size_t i = 0; status == HW_OK && i < recipe.count; i++) {
        draw(&recipe, i);
        status = hw_prompts_emit(job, make_line(&recipe, i), n_tokens, err);
    }
    free(recipe.ids);
    free(recipe.left);
    free(recipe.drawn);
    return status;
}

static const char *const honoured[] = {"count", "seed",  "preset",   "n", "repeats",
                                       "ids",   "first", "distinct", NULL};

const struct prompts_kind hw_prompts_repeat = {"repeat", honoured, make};
