// Splitting a text into pieces: steps applied one after the other, each to the pieces of the one
// before.
//
// A step sees only its own piece, as in HF tokenizers: a look-ahead at the end of a piece finds
// nothing behind it. JIT has its own stack and the number of match steps is limited, so a hostile
// pattern ends in an error.
#include "formats/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum {
    JIT_STACK_FIRST = 32 * 1024,
    JIT_STACK_LAST = 1024 * 1024,
    MATCH_STEPS =
        50 * 1000 * 1000, // of one match; ordinary patterns need a few for each byte of a piece
};

static enum hw_status check_room(const struct hw_tokenizer *tokenizer, struct hw_error *err) {
    if (tokenizer->n_steps == HW_MAX_SPLIT_STEPS) {
        return hw_fail(err, HW_INPUT, "more than %d split steps", HW_MAX_SPLIT_STEPS);
    }
    return HW_OK;
}

enum hw_status hw_split_add_regex(struct hw_tokenizer *tokenizer, const char *pattern,
                                  enum split_behavior behavior, bool invert, struct hw_error *err) {
    struct split_step step = {.kind = SPLIT_REGEX, .behavior = behavior, .invert = invert};
    enum hw_status status = check_room(tokenizer, err);
    if (status == HW_OK) {
        status = hw_pattern_compile(pattern, &step.code, err);
    }
    if (status == HW_OK) {
        tokenizer->steps[tokenizer->n_steps++] = step;
    }
    return status;
}

enum hw_status hw_split_add_digits(struct hw_tokenizer *tokenizer, bool individual,
                                   struct hw_error *err) {
    enum hw_status status = check_room(tokenizer, err);
    if (status == HW_OK) {
        tokenizer->steps[tokenizer->n_steps++] = (struct split_step){
            .kind = SPLIT_DIGITS, .behavior = individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS};
    }
    return status;
}

enum hw_status hw_split_add_whole(struct hw_tokenizer *tokenizer, struct hw_error *err) {
    enum hw_status status = check_room(tokenizer, err);
    if (status == HW_OK) {
        tokenizer->steps[tokenizer->n_steps++] =
            (struct split_step){.kind = SPLIT_WHOLE, .behavior = SPLIT_ISOLATED};
    }
    return status;
}

enum hw_status hw_splitter_open(const struct hw_tokenizer *tokenizer, struct splitter *splitter,
                                struct hw_error *err) {
    *splitter = (struct splitter){.tokenizer = tokenizer};
    splitter->match = pcre2_match_data_create(1, NULL);
    splitter->context = pcre2_match_context_create(NULL);
    splitter->stack = pcre2_jit_stack_create(JIT_STACK_FIRST, JIT_STACK_LAST, NULL);
    if (splitter->match == NULL || splitter->context == NULL) {
        hw_splitter_close(splitter);
        return hw_fail(err, HW_RESOURCE, "not enough memory to split a text");
    }
    if (splitter->stack != NULL) { // NULL where this PCRE2 has no JIT
        pcre2_jit_stack_assign(splitter->context, NULL, splitter->stack);
    }
    (void)pcre2_set_match_limit(splitter->context, MATCH_STEPS);
    (void)pcre2_set_depth_limit(splitter->context, MATCH_STEPS);
    return HW_OK;
}

void hw_splitter_close(struct splitter *splitter) {
    pcre2_match_data_free(splitter->match);
    pcre2_match_context_free(splitter->context);
    pcre2_jit_stack_free(splitter->stack);
    free(splitter->scratch);
    *splitter = (struct splitter){0};
}

struct range {
    size_t first;
    size_t end;
};

static bool is_numeric(uint32_t character) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)character);
    return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
           category == UTF8PROC_CATEGORY_NO;
}

// The next number character in text[from, n).
static bool next_digit(const char *text, size_t n, size_t from, struct range *ret) {
    while (from < n) {
        size_t length;
        if (is_numeric(hw_utf8_get(text + from, &length))) {
            *ret = (struct range){from, from + length};
            return true;
        }
        from += length;
    }
    return false;
}

// The next match of a step in text[from, n); an empty range at n where none is left.
static enum hw_status next_match(const struct split_step *step, struct splitter *splitter,
                                 const char *text, size_t n, size_t from, struct range *ret,
                                 struct hw_error *err) {
    *ret = (struct range){n, n};
    if (step->kind == SPLIT_WHOLE) {
        return HW_OK;
    }
    if (step->kind == SPLIT_DIGITS) {
        (void)next_digit(text, n, from, ret);
        return HW_OK;
    }
    int found = pcre2_match(step->code, (PCRE2_SPTR)text, n, from, PCRE2_NO_UTF_CHECK,
                            splitter->match, splitter->context);
    if (found == PCRE2_ERROR_NOMATCH) {
        return HW_OK;
    }
    if (found < 0) {
        PCRE2_UCHAR message[120];
        (void)pcre2_get_error_message(found, message, sizeof message);
        return hw_fail(err, found == PCRE2_ERROR_NOMEMORY ? HW_RESOURCE : HW_INPUT,
                       "the split pattern gives up at byte %zu of a piece of %zu bytes: %s", from,
                       n, (const char *)message);
    }
    const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(splitter->match);
    *ret = (struct range){offsets[0], offsets[1]};
    return HW_OK;
}

// The text that a step works on: of the piece, or of the piece with a blank in front.
struct frame {
    const char *text;
    size_t n;
    size_t base;     // where it begins in the split text
    bool has_prefix; // its first byte is the added blank
};

static enum hw_status run_step(size_t index, struct splitter *splitter, const struct frame *frame,
                               struct hw_error *err);

static enum hw_status emit(size_t index, struct splitter *splitter, const struct frame *frame,
                           struct range range, struct hw_error *err) {
    if (range.first == range.end) {
        return HW_OK;
    }
    struct frame piece = {.text = frame->text + range.first, .n = range.end - range.first};
    // What follows the added blank lies one byte further left in the split text.
    bool holds_prefix = frame->has_prefix && range.first == 0;
    piece.base = frame->base + range.first - (frame->has_prefix && range.first > 0);
    piece.has_prefix = holds_prefix;
    return run_step(index + 1, splitter, &piece, err);
}

// Whether a part joins the parts pending before it.
static bool joins(enum split_behavior behavior, bool previous_match, bool is_match) {
    switch (behavior) {
    case SPLIT_CONTIGUOUS:
        return is_match == previous_match;
    case SPLIT_MERGED_WITH_PREVIOUS:
        return is_match && !previous_match;
    case SPLIT_MERGED_WITH_NEXT:
        return !is_match && previous_match;
    case SPLIT_ISOLATED:
    case SPLIT_REMOVED:
        break;
    }
    return false;
}

struct pending {
    struct range range; // empty: nothing pending
    bool is_match;      // of its last part
};

static enum hw_status take_part(size_t index, struct splitter *splitter, const struct frame *frame,
                                struct pending *pending, struct range part, bool is_match,
                                struct hw_error *err) {
    const struct split_step *step = &splitter->tokenizer->steps[index];
    if (part.first == part.end) {
        return HW_OK;
    }
    is_match ^= step->invert;
    if (pending->range.end > pending->range.first &&
        joins(step->behavior, pending->is_match, is_match)) {
        pending->range.end = part.end;
        pending->is_match = is_match;
        return HW_OK;
    }
    enum hw_status status = emit(index, splitter, frame, pending->range, err);
    bool is_dropped = step->behavior == SPLIT_REMOVED && is_match;
    *pending = (struct pending){is_dropped ? (struct range){0, 0} : part, is_match};
    return status;
}

static enum hw_status add_prefix(struct splitter *splitter, struct frame *frame,
                                 struct hw_error *err) {
    if (frame->n + 1 > splitter->scratch_capacity) {
        size_t capacity = frame->n + 1 + frame->n / 2;
        char *scratch = realloc(splitter->scratch, capacity);
        if (scratch == NULL) {
            return hw_fail(err, HW_RESOURCE, "not enough memory to split a text");
        }
        splitter->scratch = scratch;
        splitter->scratch_capacity = capacity;
    }
    splitter->scratch[0] = ' ';
    memcpy(splitter->scratch + 1, frame->text, frame->n);
    frame->text =
        splitter->scratch; // only the last step adds a blank, so nobody else uses the scratch
    frame->n++;
    frame->has_prefix = true;
    return HW_OK;
}

static enum hw_status run_step(size_t index, struct splitter *splitter, const struct frame *given,
                               struct hw_error *err) {
    if (index == splitter->tokenizer->n_steps) {
        return splitter->piece(splitter->user, given->text, given->n, given->base,
                               given->has_prefix, err);
    }
    const struct split_step *step = &splitter->tokenizer->steps[index];
    struct frame frame = *given;
    enum hw_status status = HW_OK;
    if (step->prefix_space && frame.text[0] != ' ') {
        status = add_prefix(splitter, &frame, err);
    }
    struct pending pending = {0};
    for (size_t at = 0; status == HW_OK && at < frame.n;) {
        struct range match;
        status = next_match(step, splitter, frame.text, frame.n, at, &match, err);
        if (status == HW_OK) {
            status = take_part(index, splitter, &frame, &pending, (struct range){at, match.first},
                               false, err);
        }
        if (status == HW_OK) {
            status = take_part(index, splitter, &frame, &pending, match, true, err);
        }
        at = match.end;
    }
    if (status == HW_OK) {
        status = emit(index, splitter, &frame, pending.range, err);
    }
    return status;
}

enum hw_status hw_split(struct splitter *splitter, const char *text, size_t n,
                        struct hw_error *err) {
    struct frame frame = {.text = text, .n = n};
    return n == 0 ? HW_OK : run_step(0, splitter, &frame, err);
}
