// Tokenizers: whatever the file, it is refused with a message, or texts encode to ids that exist at
// places inside of the text, and decode again.
#include <stdlib.h>
#include <string.h>

#include "formats/gguf_internal.h"
#include "formats/json.h"
#include "formats/tokenizer_internal.h"
#include "fuzz.h"

static void require(int is_true) {
    if (!is_true) {
        abort();
    }
}

static void walk_tokens(const struct hw_tokenizer *tokenizer) {
    size_t n_vocab = hw_tokenizer_n_vocab(tokenizer);
    size_t step = 1 + n_vocab / 1000; // an id may be large, and the vocabulary mostly gaps
    for (size_t id = 0; id < n_vocab + 2; id += step) {
        size_t n;
        const char *bytes = hw_tokenizer_bytes(tokenizer, (uint32_t)id, &n);
        volatile unsigned sum = 0; // every byte is read
        for (size_t i = 0; i < n; i++) {
            sum = sum + (unsigned char)bytes[i];
        }
        const char *text = hw_tokenizer_text(tokenizer, (uint32_t)id);
        require(hw_utf8_check(text, strlen(text)) == strlen(text));
        (void)hw_tokenizer_is_special(tokenizer, (uint32_t)id);
        (void)hw_tokenizer_is_punctuation(tokenizer, (uint32_t)id);
        (void)hw_tokenizer_is_end(tokenizer, (uint32_t)id);
    }
    require(hw_tokenizer_bos(tokenizer) < (int64_t)n_vocab);
}

static void encode(const struct hw_tokenizer *tokenizer, const char *text) {
    size_t n = strlen(text);
    struct hw_tokens tokens = {0};
    struct hw_error err = {0};
    enum hw_status status = hw_tokenizer_encode(tokenizer, text, n, HW_BOS_AUTO, &tokens, &err);
    require(status == HW_OK || (status == HW_INPUT && err.message[0] != '\0' && tokens.n == 0));
    uint32_t *ids = malloc((tokens.n + 1) * sizeof *ids);
    require(ids != NULL);
    for (size_t i = 0; i < tokens.n; i++) {
        const struct hw_token *token = &tokens.items[i];
        require(token->id < hw_tokenizer_n_vocab(tokenizer));
        require(token->first <= token->end && token->end <= n);
        ids[i] = token->id;
    }
    char *bytes = NULL;
    size_t n_bytes;
    require(hw_tokenizer_decode(tokenizer, ids, tokens.n, &bytes, &n_bytes, &err) == HW_OK);
    free(bytes);
    free(ids);
    hw_tokens_free(&tokens);
}

static enum hw_status open_gguf(const uint8_t *data, size_t n, struct hw_tokenizer **ret,
                                struct hw_error *err) {
    struct hw_gguf *gguf = NULL;
    enum hw_status status = hw_gguf_open_bytes("fuzz", data, n, &gguf, err);
    if (status == HW_OK) {
        status = hw_tokenizer_open_gguf(gguf, ret, err);
    }
    hw_gguf_close(&gguf);
    return status;
}

static enum hw_status open_json(const uint8_t *data, size_t n, struct hw_tokenizer **ret,
                                struct hw_error *err) {
    json_t *root = NULL;
    enum hw_status status = hw_json_parse("fuzz", (const char *)data, n, &root, err);
    if (status == HW_OK) {
        // The same document as configuration: its keys are read there as well.
        const struct tokenizer_documents documents = {root, root, root, root};
        status = hw_tokenizer_from_json(&documents, ret, err);
    }
    json_decref(root);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const char *const texts[] = {
        "",
        "the words, singing 12345 don't <mask> <r>  <a><b> word",
        "be\xCC\x83n \xE6\xBC\xA2\xE5\xAD\x97 e\xCC\x81t \xF0\x9F\x99\x82\r\n\t  "
        "x\xC2\x85\xE1\xA0\x8E",
    };
    struct hw_tokenizer *tokenizer = NULL;
    struct hw_error err = {0};
    enum hw_status status = n >= 4 && memcmp(data, "GGUF", 4) == 0
                                ? open_gguf(data, n, &tokenizer, &err)
                                : open_json(data, n, &tokenizer, &err);
    if (status != HW_OK) {
        require(tokenizer == NULL && status == HW_INPUT && err.message[0] != '\0');
        return -1;
    }
    walk_tokens(tokenizer);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        encode(tokenizer, texts[i]);
    }
    char hex[65];
    hw_tokenizer_sha256(tokenizer, hex);
    hw_tokenizer_close(&tokenizer);
    return 0;
}
