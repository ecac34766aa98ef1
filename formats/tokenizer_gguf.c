// The tokenizer in GGUF metadata: tokenizer.ggml.*, byte-level BPE ("gpt2").
//
// How a text is split is only a name there (tokenizer.ggml.pre); the table below gives the
// patterns, what the tokenizers of that name do besides, and whether BOS is added where the file
// does not say. Source: the GGUF specification and the vocabulary loader of llama.cpp. Qwen's and
// OLMo's own tokenizers compose to NFC first, which the file cannot say and we do.
#include "formats/tokenizer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/gguf.h"

enum pre_split { PRE_GPT2, PRE_LLAMA3, PRE_QWEN2, PRE_QWEN35, PRE_SMOLLM, PRE_DEFAULT };

struct pre {
    const char *name;
    enum pre_split split;
    bool ignore_merges;
    bool adds_bos;
    bool is_nfc;
};

static const struct pre pres[] = {
    {"gpt-2", PRE_GPT2, false, false, false},
    {"gpt2", PRE_GPT2, false, false, false},
    {"phi-2", PRE_GPT2, false, false, false},
    {"mpt", PRE_GPT2, false, false, false},
    {"olmo", PRE_GPT2, false, false, true},
    {"llama-bpe", PRE_LLAMA3, true, true, false},
    {"llama3", PRE_LLAMA3, true, true, false},
    {"llama-v3", PRE_LLAMA3, true, true, false},
    {"qwen2", PRE_QWEN2, false, false, true},
    {"deepseek-r1-qwen", PRE_QWEN2, false, false, true},
    {"qwen35", PRE_QWEN35, false, false, true},
    {"smollm", PRE_SMOLLM, false, false, false},
    {"default", PRE_DEFAULT, false, false, false},
};
enum { N_PRES = sizeof pres / sizeof pres[0] };

static const struct pre *find_pre(struct hw_bytes name) {
    for (size_t i = 0; i < N_PRES; i++) {
        if (strlen(pres[i].name) == name.n && memcmp(pres[i].name, name.data, name.n) == 0) {
            return &pres[i];
        }
    }
    return NULL;
}

static enum hw_status read_pre(const struct hw_gguf *gguf, const struct pre **ret,
                               struct hw_error *err) {
    struct hw_bytes name = {"default", 7};
    enum hw_status status = HW_OK;
    if (hw_gguf_find(gguf, "tokenizer.ggml.pre") != NULL) {
        status = hw_gguf_get_string(gguf, "tokenizer.ggml.pre", &name, err);
    }
    if (status != HW_OK) {
        return status;
    }
    *ret = find_pre(name);
    if (*ret != NULL) {
        return HW_OK;
    }
    char shown[80];
    char known[400] = "";
    for (size_t i = 0, n = 0; i < N_PRES; i++) {
        n +=
            (size_t)snprintf(known + n, sizeof known - n, "%s%s", i == 0 ? "" : ", ", pres[i].name);
    }
    return hw_fail(err, HW_INPUT, "tokenizer.ggml.pre '%s' is not supported (known: %s)",
                   hw_escape(shown, sizeof shown, name.data, name.n), known);
}

static enum hw_status add_split(struct hw_tokenizer *tokenizer, enum pre_split split,
                                struct hw_error *err) {
    enum hw_status status = HW_OK;
    switch (split) {
    case PRE_LLAMA3:
        return hw_split_add_regex(tokenizer, hw_pattern_llama3, SPLIT_ISOLATED, false, err);
    case PRE_QWEN2:
        return hw_split_add_regex(tokenizer, hw_pattern_qwen2, SPLIT_ISOLATED, false, err);
    case PRE_QWEN35:
        return hw_split_add_regex(tokenizer, hw_pattern_qwen35, SPLIT_ISOLATED, false, err);
    case PRE_GPT2:
        break;
    case PRE_SMOLLM:
        status = hw_split_add_digits(tokenizer, true, err);
        break;
    case PRE_DEFAULT:
        status =
            hw_split_add_regex(tokenizer, "[\\p{P}\\$\\+<=>\\^~\\|]+", SPLIT_ISOLATED, false, err);
        break;
    }
    if (status == HW_OK) {
        status = hw_split_add_regex(tokenizer, hw_pattern_gpt2, SPLIT_ISOLATED, false, err);
    }
    if (status == HW_OK && split == PRE_DEFAULT) {
        status = hw_split_add_regex(tokenizer, "\\p{N}+", SPLIT_ISOLATED, false, err);
    }
    if (status == HW_OK && split == PRE_DEFAULT) {
        status = hw_split_add_regex(tokenizer, "[0-9][0-9][0-9]", SPLIT_ISOLATED, false, err);
    }
    return status;
}

static enum hw_status find_array(const struct hw_gguf *gguf, const char *key,
                                 enum hw_gguf_type type, const struct hw_gguf_value **ret,
                                 struct hw_error *err) {
    const struct hw_gguf_value *value = hw_gguf_find(gguf, key);
    if (value == NULL || value->type != HW_GGUF_ARRAY || value->element_type != type) {
        return hw_fail(err, HW_INPUT, "%s is %s (expected a list of %s)", key,
                       value == NULL ? "missing" : "of another type",
                       type == HW_GGUF_STRING ? "strings" : "32-bit integers");
    }
    *ret = value;
    return HW_OK;
}

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED, TYPE_BYTE };

static enum hw_status token_kind(const struct hw_gguf_value *types, uint64_t i, uint8_t *ret,
                                 struct hw_error *err) {
    int64_t type = types == NULL ? TYPE_NORMAL : hw_gguf_integer(types, i);
    switch (type) {
    case TYPE_NORMAL:
    case TYPE_UNUSED:
        *ret = TOKEN_NORMAL;
        return HW_OK;
    case TYPE_UNKNOWN:
    case TYPE_CONTROL:
        *ret = TOKEN_SPECIAL;
        return HW_OK;
    case TYPE_USER_DEFINED:
        *ret = TOKEN_ADDED;
        return HW_OK;
    default:
        return hw_fail(err, HW_INPUT,
                       "tokenizer.ggml.token_type of token %llu is %lld (expected 1 to 5)",
                       (unsigned long long)i, (long long)type);
    }
}

static enum hw_status take_tokens(struct hw_tokenizer *tokenizer,
                                  const struct hw_gguf_value *tokens,
                                  const struct hw_gguf_value *types, struct vocab_entry *entries,
                                  struct hw_error *err) {
    const unsigned char *cursor = tokens->data;
    enum hw_status status = HW_OK;
    for (uint64_t i = 0; status == HW_OK && i < tokens->n; i++) {
        struct hw_bytes text = hw_gguf_next_string(&cursor);
        struct vocab_entry *entry = &entries[i];
        *entry =
            (struct vocab_entry){.text = text.data, .n = text.n, .id = (uint32_t)i, .is_mapped = 1};
        status = token_kind(types, i, &entry->kind, err);
        if (status == HW_OK && entry->kind != TOKEN_NORMAL) {
            if (text.n == 0) {
                return hw_fail(err, HW_INPUT, "special token %llu is empty", (unsigned long long)i);
            }
            const struct added_token added = {
                .content = (char *)text.data, .n = text.n, .id = (uint32_t)i};
            status = hw_added_add(&tokenizer->added, &added, err);
        }
    }
    return status;
}

static enum hw_status read_tokens(struct hw_tokenizer *tokenizer, const struct hw_gguf *gguf,
                                  struct hw_error *err) {
    const struct hw_gguf_value *tokens = NULL;
    const struct hw_gguf_value *types = NULL;
    enum hw_status status = find_array(gguf, "tokenizer.ggml.tokens", HW_GGUF_STRING, &tokens, err);
    if (status == HW_OK && hw_gguf_find(gguf, "tokenizer.ggml.token_type") != NULL) {
        status = find_array(gguf, "tokenizer.ggml.token_type", HW_GGUF_I32, &types, err);
    }
    if (status != HW_OK) {
        return status;
    }
    if (types != NULL && types->n != tokens->n) {
        return hw_fail(err, HW_INPUT, "tokenizer.ggml.token_type has %llu values for %llu tokens",
                       (unsigned long long)types->n, (unsigned long long)tokens->n);
    }
    if (tokens->n == 0 || tokens->n > HW_MAX_VOCAB) {
        return hw_fail(err, HW_INPUT, "tokenizer.ggml.tokens has %llu tokens (expected 1 to %d)",
                       (unsigned long long)tokens->n, HW_MAX_VOCAB);
    }
    struct vocab_entry *entries = calloc((size_t)tokens->n, sizeof *entries);
    if (entries == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for the vocabulary");
    }
    status = take_tokens(tokenizer, tokens, types, entries, err);
    if (status == HW_OK && (status = hw_added_sort(&tokenizer->added, err)) == HW_OK) {
        status = hw_vocab_build(tokenizer, entries, (size_t)tokens->n, err);
    }
    free(entries);
    return status;
}

// "a b", split at the first blank after the first byte: a part may itself begin with a blank.
static enum hw_status read_merges(struct hw_tokenizer *tokenizer, const struct hw_gguf *gguf,
                                  struct hw_error *err) {
    const struct hw_gguf_value *merges = NULL;
    enum hw_status status = find_array(gguf, "tokenizer.ggml.merges", HW_GGUF_STRING, &merges, err);
    if (status == HW_OK) {
        status =
            hw_merges_reserve(tokenizer, merges->n > SIZE_MAX ? SIZE_MAX : (size_t)merges->n, err);
    }
    const unsigned char *cursor = merges == NULL ? NULL : merges->data;
    for (uint64_t i = 0; status == HW_OK && i < merges->n; i++) {
        struct hw_bytes merge = hw_gguf_next_string(&cursor);
        const char *blank = merge.n < 3 ? NULL : memchr(merge.data + 1, ' ', merge.n - 1);
        if (blank == NULL) {
            char shown[80];
            return hw_fail(err, HW_INPUT, "merge %llu has no two parts: '%s'",
                           (unsigned long long)i,
                           hw_escape(shown, sizeof shown, merge.data, merge.n));
        }
        size_t n_left = (size_t)(blank - merge.data);
        status = hw_merges_add(tokenizer, merge.data, n_left, blank + 1, merge.n - n_left - 1, err);
    }
    return status;
}

// An id that may be missing; HW_TOKEN_NONE then.
static enum hw_status read_id(const struct hw_tokenizer *tokenizer, const struct hw_gguf *gguf,
                              const char *key, uint32_t *ret, struct hw_error *err) {
    *ret = HW_TOKEN_NONE;
    if (hw_gguf_find(gguf, key) == NULL) {
        return HW_OK;
    }
    uint64_t id;
    enum hw_status status = hw_gguf_get_u64(gguf, key, &id, err);
    if (status != HW_OK || id == UINT32_MAX) { // -1 written as u32: none
        return status;
    }
    if (id >= tokenizer->n_vocab) {
        return hw_fail(err, HW_INPUT, "%s is %llu (expected below %u, the size of the vocabulary)",
                       key, (unsigned long long)id, tokenizer->n_vocab);
    }
    *ret = (uint32_t)id;
    return HW_OK;
}

static enum hw_status read_flag(const struct hw_gguf *gguf, const char *key, bool fallback,
                                bool *ret, struct hw_error *err) {
    *ret = fallback;
    return hw_gguf_find(gguf, key) == NULL ? HW_OK : hw_gguf_get_bool(gguf, key, ret, err);
}

static enum hw_status read_ids(struct hw_tokenizer *tokenizer, const struct hw_gguf *gguf,
                               struct hw_error *err) {
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    enum hw_status status =
        read_id(tokenizer, gguf, "tokenizer.ggml.bos_token_id", &tokenizer->bos_id, err);
    for (size_t i = 0; status == HW_OK && i < 3; i++) {
        uint32_t id;
        status = read_id(tokenizer, gguf, ends[i], &id, err);
        if (status == HW_OK) {
            hw_tokenizer_mark_end(tokenizer, id);
        }
    }
    hw_tokenizer_mark_known_ends(tokenizer);
    return status;
}

// Flags that would put more than BOS around a text or change the text itself.
static enum hw_status read_flags(struct hw_tokenizer *tokenizer, const struct hw_gguf *gguf,
                                 const struct pre *pre, struct hw_error *err) {
    static const char *const unknown[] = {
        "tokenizer.ggml.add_eos_token", "tokenizer.ggml.add_sep_token",
        "tokenizer.ggml.remove_extra_whitespaces", "tokenizer.ggml.normalizer.lowercase"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        bool is_set;
        enum hw_status status = read_flag(gguf, unknown[i], false, &is_set, err);
        if (status != HW_OK) {
            return status;
        }
        if (is_set) {
            return hw_fail(err, HW_INPUT, "%s is true, which is not supported", unknown[i]);
        }
    }
    bool has_prefix;
    enum hw_status status =
        read_flag(gguf, "tokenizer.ggml.add_space_prefix", false, &has_prefix, err);
    if (status == HW_OK && has_prefix) {
        tokenizer->steps[tokenizer->n_steps - 1].prefix_space = true;
    }
    if (status == HW_OK) {
        status = read_flag(gguf, "tokenizer.ggml.add_bos_token", pre->adds_bos,
                           &tokenizer->adds_bos, err);
    }
    if (status == HW_OK && tokenizer->adds_bos && tokenizer->bos_id == HW_TOKEN_NONE) {
        return hw_fail(err, HW_INPUT,
                       "BOS is to be added, but tokenizer.ggml.bos_token_id is missing");
    }
    return status;
}

static enum hw_status check_model(const struct hw_gguf *gguf, struct hw_error *err) {
    struct hw_bytes model;
    enum hw_status status = hw_gguf_get_string(gguf, "tokenizer.ggml.model", &model, err);
    if (status == HW_OK && !(model.n == 4 && memcmp(model.data, "gpt2", 4) == 0)) {
        char shown[80];
        return hw_fail(err, HW_INPUT, "tokenizer.ggml.model '%s' is not supported (known: gpt2)",
                       hw_escape(shown, sizeof shown, model.data, model.n));
    }
    return status;
}

enum hw_status hw_tokenizer_open_gguf(const struct hw_gguf *gguf,
                                      struct hw_tokenizer **ret_tokenizer, struct hw_error *err) {
    struct hw_tokenizer *tokenizer = hw_tokenizer_new(err);
    if (tokenizer == NULL) {
        return HW_RESOURCE;
    }
    const struct pre *pre = NULL;
    enum hw_status status;
    if ((status = check_model(gguf, err)) == HW_OK &&
        (status = read_pre(gguf, &pre, err)) == HW_OK &&
        (status = read_tokens(tokenizer, gguf, err)) == HW_OK &&
        (status = read_merges(tokenizer, gguf, err)) == HW_OK &&
        (status = read_ids(tokenizer, gguf, err)) == HW_OK &&
        (status = add_split(tokenizer, pre->split, err)) == HW_OK) {
        status = read_flags(tokenizer, gguf, pre, err);
    }
    if (status != HW_OK) {
        hw_tokenizer_close(&tokenizer);
        return status;
    }
    tokenizer->ignore_merges = pre->ignore_merges;
    tokenizer->is_nfc = pre->is_nfc;
    hw_tokenizer_set_pre(tokenizer, pre->name);
    *ret_tokenizer = tokenizer;
    return HW_OK;
}
