// Private parts of the tokenizer, shared by tokenizer*.c only.
//
// Tokens live in flat arrays indexed by id. A text is encoded in five steps: added tokens are cut
// out of the text as written, what lies between is normalised, added tokens that are matched after
// normalisation are cut out, the rest is split into pieces by patterns, and each piece is merged
// from its bytes. No token ever crosses the border of a piece.
#ifndef HW_TOKENIZER_INTERNAL_H
#define HW_TOKENIZER_INTERNAL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <jansson.h>
#include <pcre2.h>

#include "formats/sha256.h"
#include "formats/tokenizer.h"
#include "formats/utf8.h"

enum {
    HW_MAX_VOCAB = 1 << 21,         // ids; the largest vocabularies of today have 2^18
    HW_MAX_MERGES = 1 << 22,        //
    HW_MAX_TOKEN_BYTES = 1 << 16,   // of one vocabulary entry
    HW_MAX_SPLIT_STEPS = 8,         // patterns applied one after the other
    HW_MAX_PIECE_BYTES = 1 << 24,   // merging needs 40 bytes for each
    HW_MAX_PATTERN_BYTES = 1 << 14, // of one regular expression
};
#define HW_MAX_TEXT_BYTES ((size_t)1 << 31) // offsets are 32 bits wide
#define HW_TOKEN_NONE UINT32_MAX

enum token_kind { TOKEN_GAP, TOKEN_NORMAL, TOKEN_ADDED, TOKEN_SPECIAL };

// Text -> id over the model's own vocabulary: open addressing over ids, texts compared in the pool.
struct vocab_map {
    uint32_t *ids; // [capacity], HW_TOKEN_NONE: free
    size_t capacity;
};

// (left, right) -> (rank, merged).
struct merge_entry {
    uint64_t pair; // left << 32 | right
    uint32_t rank; // HW_TOKEN_NONE: free
    uint32_t id;
};

struct merge_map {
    struct merge_entry *entries; // [capacity]
    size_t capacity;
    size_t n;
};

struct pool {
    char *data;
    size_t n;
    size_t capacity;
};

// A token matched in the text before anything else.
struct added_token {
    char *content;
    size_t n;
    uint32_t id;
    bool single_word;
    bool lstrip;
    bool rstrip;
    bool normalized;
};

// Sorted by content, so that the longest match at a position is found by narrowing a range byte by
// byte.
struct added_set {
    struct added_token *items;
    size_t n;
    size_t capacity;
    size_t first_at[257]; // items beginning with byte b are first_at[b] ... first_at[b + 1] - 1
};

enum split_kind { SPLIT_REGEX, SPLIT_DIGITS /* every number character is a match */, SPLIT_WHOLE };
enum split_behavior {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_CONTIGUOUS,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
};

struct split_step {
    enum split_kind kind;
    enum split_behavior behavior;
    bool invert;
    bool prefix_space; // a blank goes in front of a piece that does not begin with one
    pcre2_code *code;
};

struct hw_tokenizer {
    uint32_t n_vocab;
    size_t *text_at;  // [n_vocab + 1] into texts; each NUL-terminated, printable alphabet
    size_t *bytes_at; // [n_vocab + 1] into bytes
    uint8_t *kinds;   // [n_vocab] enum token_kind
    uint8_t *ends;    // [n_vocab] 1: generation stops here
    struct pool texts;
    struct pool bytes;
    struct vocab_map map;
    struct merge_map merges;
    struct hw_sha256
        merges_hash;        // over (left, right, merged) in order of rank, as little-endian u4
    uint32_t byte_ids[256]; // token of a single byte
    struct added_set added; // matched in the text as written
    struct added_set added_normalized; // matched after normalisation
    struct split_step steps[HW_MAX_SPLIT_STEPS];
    size_t n_steps;
    char pre[32];
    bool is_nfc;
    bool ignore_merges;
    bool fuse_unk;
    bool adds_bos;
    uint32_t unk_id; // HW_TOKEN_NONE: bytes without a token are left out, as HF tokenizers and
                     // llama.cpp do
    uint32_t bos_id; // HW_TOKEN_NONE: none
};

// tokenizer_vocab.c
// --------------------------------------------------------------------------------

// Entries of the vocabulary as a file gives them, in any order; turned into flat arrays once all
// are known.
struct vocab_entry {
    const char *text; // not NUL-terminated; the file's memory
    size_t n;
    uint32_t id;
    uint8_t kind; // enum token_kind
    uint8_t
        is_mapped; // may be looked up by text: belongs to the model, not only to the added tokens
};

// Fills the arrays, the map and the byte ids. The same id and text twice become one token of the
// higher kind. Refuses overlong texts, invalid UTF-8, two texts with one id, and one text with two
// ids.
enum hw_status hw_vocab_build(struct hw_tokenizer *tokenizer, struct vocab_entry *entries, size_t n,
                              struct hw_error *err);
uint32_t hw_vocab_find(const struct hw_tokenizer *tokenizer, const char *text,
                       size_t n); // HW_TOKEN_NONE
// The id of any token with this text, added ones too.
uint32_t hw_vocab_find_any(const struct hw_tokenizer *tokenizer, const char *text, size_t n);

// Makes room for n merges, then takes them in order of rank; a pair seen twice has the later rank,
// as in HF tokenizers.
enum hw_status hw_merges_reserve(struct hw_tokenizer *tokenizer, size_t n, struct hw_error *err);
enum hw_status hw_merges_add(struct hw_tokenizer *tokenizer, const char *left, size_t n_left,
                             const char *right, size_t n_right, struct hw_error *err);
const struct merge_entry *hw_merges_find(const struct hw_tokenizer *tokenizer, uint32_t left,
                                         uint32_t right);

// Writes the printable form of n bytes (at most 2n) and returns its length.
size_t hw_alphabet_encode(const char *bytes, size_t n, char *ret_text);

// tokenizer_added.c
// --------------------------------------------------------------------------------

enum hw_status hw_added_add(struct added_set *set, const struct added_token *token,
                            struct hw_error *err); // copies
enum hw_status hw_added_sort(struct added_set *set,
                             struct hw_error *err); // refuses a content with two ids
void hw_added_free(struct added_set *set);

struct added_match {
    const struct added_token *token;
    size_t first; // with the blanks that it strips
    size_t end;
};
// The next match in text[floor, n): false where there is none.
bool hw_added_next(const struct added_set *set, const char *text, size_t n, size_t *cursor,
                   size_t floor, struct added_match *ret_match);

// tokenizer_normal.c
// -------------------------------------------------------------------------------

// Normalised text with the way back to the text given.
struct normal_text {
    const char *text; // the text given where nothing changed, else `owned`
    size_t n;
    char *owned;
    struct normal_run *runs; // changed stretches in order
    size_t n_runs;
    size_t capacity;
};
struct normal_run {
    size_t first, end;             // in the normalised text
    size_t given_first, given_end; // in the text given
};
enum hw_status hw_normal_nfc(const char *text, size_t n, struct normal_text *ret,
                             struct hw_error *err);
// Maps normalised [first, end) to the text given; what touches a changed stretch covers all of it.
void hw_normal_map(const struct normal_text *normal, size_t *first, size_t *end);
void hw_normal_free(struct normal_text *normal);

// tokenizer_split.c
// --------------------------------------------------------------------------------

// Compiles a pattern in the syntax of the tokenizer files (Oniguruma): what differs in PCRE2 is
// translated, and what is not known to mean the same is refused (tokenizer_pattern.c).
enum hw_status hw_pattern_compile(const char *pattern, pcre2_code **ret_code, struct hw_error *err);

// Each adds a step.
enum hw_status hw_split_add_regex(struct hw_tokenizer *tokenizer, const char *pattern,
                                  enum split_behavior behavior, bool invert, struct hw_error *err);
enum hw_status hw_split_add_digits(struct hw_tokenizer *tokenizer, bool individual,
                                   struct hw_error *err);
enum hw_status hw_split_add_whole(struct hw_tokenizer *tokenizer, struct hw_error *err);

extern const char hw_pattern_gpt2[];
extern const char hw_pattern_llama3[];
extern const char hw_pattern_qwen2[];
extern const char hw_pattern_qwen35[];

// What one call of encode needs; nothing of it is kept.
struct splitter {
    const struct hw_tokenizer *tokenizer;
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    char *scratch; // a piece with a blank in front
    size_t scratch_capacity;
    // Called for every piece: n bytes that begin at `first` of the split text; with has_prefix the
    // first of them is an added blank and the byte after it is the one at `first`.
    enum hw_status (*piece)(void *user, const char *text, size_t n, size_t first, bool has_prefix,
                            struct hw_error *err);
    void *user;
};
enum hw_status hw_splitter_open(const struct hw_tokenizer *tokenizer, struct splitter *splitter,
                                struct hw_error *err);
void hw_splitter_close(struct splitter *splitter);
enum hw_status hw_split(struct splitter *splitter, const char *text, size_t n,
                        struct hw_error *err);

// tokenizer_bpe.c
// ----------------------------------------------------------------------------------

struct bpe_symbol {
    uint32_t id;
    uint32_t first; // bytes [first, end) of the piece
    uint32_t end;
    uint32_t prev;
    uint32_t next;
};
struct bpe_candidate {
    uint32_t rank;
    uint32_t position;
    uint32_t id;
};
struct bpe {
    struct bpe_symbol *symbols;
    size_t n_symbols;
    size_t symbol_capacity;
    struct bpe_candidate *heap;
    size_t n_heap;
    size_t heap_capacity;
    char *printable;
    size_t printable_capacity;
};
// Appends the tokens of one piece; their first and end count from the start of the piece.
enum hw_status hw_bpe_piece(const struct hw_tokenizer *tokenizer, struct bpe *bpe,
                            const char *piece, size_t n, struct hw_tokens *tokens,
                            struct hw_error *err);
void hw_bpe_free(struct bpe *bpe);
enum hw_status hw_tokens_push(struct hw_tokens *tokens, struct hw_token token,
                              struct hw_error *err);

// tokenizer.c
// --------------------------------------------------------------------------------------

struct hw_tokenizer *hw_tokenizer_new(struct hw_error *err); // NULL: no memory
// Marks the token of this id as one that ends a generation; an id that no token has is ignored.
void hw_tokenizer_mark_end(struct hw_tokenizer *tokenizer, uint32_t id);
// Marks special tokens whose names mean the end of a text or of a turn in every model that has
// them.
void hw_tokenizer_mark_known_ends(struct hw_tokenizer *tokenizer);
// Copies the name of the pattern, cut to fit.
void hw_tokenizer_set_pre(struct hw_tokenizer *tokenizer, const char *pre);

// tokenizer_json.c, tokenizer_json_parts.c, tokenizer_config.c
// ---------------------------------------

// The documents that say how a model's tokenizer works; all but the first may be NULL.
struct tokenizer_documents {
    const json_t *tokenizer;         // tokenizer.json
    const json_t *tokenizer_config;  // tokenizer_config.json
    const json_t *generation_config; // generation_config.json
    const json_t *model_config;      // config.json
};
enum hw_status hw_tokenizer_from_json(const struct tokenizer_documents *documents,
                                      struct hw_tokenizer **ret_tokenizer, struct hw_error *err);

// Refuses a key that is not in the list (ends with NULL), and what is not an object.
enum hw_status hw_json_check_keys(const json_t *object, const char *what, const char *const *known,
                                  struct hw_error *err);
// A boolean that may be absent or null; anything else is refused.
enum hw_status hw_json_bool(const json_t *object, const char *what, const char *key, bool fallback,
                            bool *ret, struct hw_error *err);
enum hw_status hw_json_normalizer(struct hw_tokenizer *tokenizer, const json_t *part,
                                  struct hw_error *err);
enum hw_status hw_json_pre_tokenizer(struct hw_tokenizer *tokenizer, const json_t *part,
                                     struct hw_error *err);
enum hw_status hw_json_post_processor(struct hw_tokenizer *tokenizer, const json_t *part,
                                      struct hw_error *err);
enum hw_status hw_json_decoder(const json_t *part, struct hw_error *err);
// BOS and end tokens from the other documents.
enum hw_status hw_tokenizer_configure(struct hw_tokenizer *tokenizer,
                                      const struct tokenizer_documents *documents,
                                      struct hw_error *err);

#endif
