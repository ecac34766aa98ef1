// Prompts: every field of an object, what makes a prompt fail and what makes the file fail, spans
// as tokens, cuts.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/prompts.h"
#include "tests/byte_buffer.h"
#include "tests/failing_malloc.h"
#include "tests/tokenizer_vectors.h"

static struct hw_tokenizer *tokenizer;
static char *folder;

static void setup(void) {
    struct hw_error err = {0};
    ck_assert_msg(hw_tokenizer_open_json(vectors_path("llama3.json"), NULL, &tokenizer, &err) ==
                      HW_OK,
                  "%s", err.message);
    folder = temp_folder_new();
}

static void teardown(void) {
    hw_tokenizer_close(&tokenizer);
    temp_folder_remove(&folder);
}

enum source_kind { FROM_FILE, FROM_TEXT, FROM_TOKENS };

static enum hw_status read_as(enum source_kind kind, const char *name, const char *bytes, size_t n,
                              struct hw_prompt_options options, struct hw_prompts *ret,
                              struct hw_error *err) {
    char *path = kind == FROM_TEXT ? NULL : temp_file(folder, name, bytes, n);
    const char *const paths[] = {path};
    const char *const texts[] = {bytes};
    struct hw_prompt_source source = {.files = paths,
                                      .n_files = kind == FROM_FILE,
                                      .texts = texts,
                                      .n_texts = kind == FROM_TEXT,
                                      .token_files = paths,
                                      .n_token_files = kind == FROM_TOKENS};
    enum hw_status status = hw_prompts_read(&source, tokenizer, &options, ret, err);
    free(path);
    return status;
}

// JSON lines that must be readable as a whole.
static struct hw_prompts read_lines(const char *lines, struct hw_prompt_options options) {
    struct hw_prompts prompts = {0};
    struct hw_error err = {0};
    enum hw_status status =
        read_as(FROM_FILE, "p.jsonl", lines, strlen(lines), options, &prompts, &err);
    ck_assert_msg(status == HW_OK, "%s: %s", lines, err.message);
    return prompts;
}

static const struct hw_prompt_options plain = {.add_bos = HW_BOS_NO};

START_TEST(fields_and_object_are_kept) {
    struct hw_prompts prompts =
        read_lines("{ \"text\": \"in the  water\", \"name\": \"a \\\" b\", \"domain\": 7, "
                   "\"target\": \" the\", \"foil\": 5,\t"
                   "\"counterpart\": \"of the water\", \"mine\": [1.50, {\"x\": null}] }\n"
                   "\n  \n"
                   "{\"text\": \"water\"}",
                   plain);
    ck_assert_uint_eq(prompts.n, 2);
    const struct hw_prompt *prompt = &prompts.items[0];
    ck_assert_int_eq(prompt->status, HW_PROMPT_OK);
    ck_assert_str_eq(prompt->error, "");
    ck_assert_str_eq(prompt->text, "in the  water");
    ck_assert_str_eq(prompt->name, "a \" b");
    ck_assert_str_eq(prompt->domain, "7");
    ck_assert_str_eq(prompt->target, " the");
    ck_assert_str_eq(prompt->counterpart, "of the water");
    ck_assert_str_eq(
        prompt->json,
        "{\"text\":\"in the  water\",\"name\":\"a \\\" b\",\"domain\":7,\"target\":\" the\","
        "\"foil\":5,\"counterpart\":\"of the water\",\"mine\":[1.50,{\"x\":null}]}");
    ck_assert_int_eq(prompt->foil_id, 5);
    ck_assert_str_eq(prompt->foil, hw_tokenizer_text(tokenizer, 5));
    struct hw_tokens the = {0};
    ck_assert_int_eq(hw_tokenizer_encode(tokenizer, " the", 4, HW_BOS_NO, &the, NULL), HW_OK);
    ck_assert_int_eq(prompt->target_id, the.items[0].id);
    hw_tokens_free(&the);
    ck_assert_str_eq(prompts.items[1].name, "1");
    ck_assert_str_eq(prompts.items[1].domain, "");
    ck_assert_int_eq(prompts.items[1].target_id, -1);
    hw_prompts_free(&prompts);
}
END_TEST

// The text that the tokens of a span stand for.
static void assert_span(const struct hw_prompt *prompt, const char *name, const char *text) {
    for (size_t i = 0; i < prompt->n_spans; i++) {
        const struct hw_prompt_span *span = &prompt->spans[i];
        if (strcmp(span->name, name) == 0) {
            char *bytes = NULL;
            size_t n;
            ck_assert_int_le(span->first, span->end);
            ck_assert_int_eq(hw_tokenizer_decode(tokenizer, prompt->ids + span->first,
                                                 (size_t)(span->end - span->first), &bytes, &n,
                                                 NULL),
                             HW_OK);
            ck_assert_str_eq(bytes, text);
            free(bytes);
            return;
        }
    }
    ck_abort_msg("no span '%s'", name);
}

START_TEST(spans_cover_the_tokens_that_share_a_byte) {
    static const char line[] =
        "{\"text\": \"in the water and the water\", \"spans\": {\"w\": \"water\", \"w2\": "
        "{\"text\": \" water\", "
        "\"occurrence\": 2}, \"he\": \"he\", \"two\": [0, 2], \"across\": \"e w\"}}";
    struct hw_prompts prompts = read_lines(line, plain);
    ck_assert_str_eq(prompts.items[0].error, "");
    ck_assert_uint_eq(prompts.items[0].n_spans, 5);
    assert_span(&prompts.items[0], "w", " water");
    assert_span(&prompts.items[0], "he", " the");
    assert_span(&prompts.items[0], "two", "in the");
    assert_span(&prompts.items[0], "across", " the water");
    ck_assert_int_eq(prompts.items[0].spans[1].end, (int)prompts.items[0].n_ids);
    struct hw_prompts with_bos =
        read_lines(line, (struct hw_prompt_options){.add_bos = HW_BOS_YES});
    ck_assert_uint_eq(with_bos.items[0].n_ids, prompts.items[0].n_ids + 1);
    ck_assert_int_eq(with_bos.items[0].ids[0], hw_tokenizer_bos(tokenizer));
    assert_span(&with_bos.items[0], "w", " water");
    assert_span(&with_bos.items[0], "two",
                "<|begin_of_text|>in"); // ranges count the tokens that run
    hw_prompts_free(&with_bos);
    hw_prompts_free(&prompts);
}
END_TEST

START_TEST(tokens_are_taken_as_they_are) {
    struct hw_prompts prompts = read_lines("{\"text\": \"in the water\"}\n",
                                           (struct hw_prompt_options){.add_bos = HW_BOS_NO});
    char line[400];
    const struct hw_prompt *text = &prompts.items[0];
    ck_assert_uint_eq(text->n_ids, 3);
    (void)snprintf(line, sizeof line, "{\"tokens\": [%u, %u, %u], \"spans\": {\"w\": \"water\"}}",
                   text->ids[0], text->ids[1], text->ids[2]);
    struct hw_prompts again = read_lines(line, (struct hw_prompt_options){.add_bos = HW_BOS_YES});
    ck_assert_str_eq(again.items[0].text, "in the water");
    ck_assert_uint_eq(again.items[0].n_ids, 3);
    ck_assert_mem_eq(again.items[0].ids, text->ids, 3 * sizeof *text->ids);
    assert_span(&again.items[0], "w", " water");
    char from_text[65], from_tokens[65];
    hw_prompt_sha256(text, from_text);
    hw_prompt_sha256(&again.items[0], from_tokens);
    ck_assert_str_eq(from_text, from_tokens);
    hw_prompts_free(&again);
    // The bytes of one token need not be UTF-8: the text is then in the printable alphabet.
    struct hw_tokens bytes = {0};
    ck_assert_int_eq(hw_tokenizer_encode(tokenizer, "\xF0\x93\x80\x80", 4, HW_BOS_NO, &bytes, NULL),
                     HW_OK);
    (void)snprintf(line, sizeof line, "{\"tokens\": [%u]}", bytes.items[0].id);
    again = read_lines(line, plain);
    ck_assert_str_eq(again.items[0].text, hw_tokenizer_text(tokenizer, bytes.items[0].id));
    hw_tokens_free(&bytes);
    hw_prompts_free(&again);
    hw_prompts_free(&prompts);
}
END_TEST

static const struct {
    const char *line;
    const char *reason;
} bad_lines[] = {
    {"5", "not a JSON object"},
    {"[\"text\"]", "not a JSON object"},
    {"null", "not a JSON object"},
    {"{}", "neither text nor tokens"},
    {"{\"text\": \"a\", \"tokens\": [1]}", "both text and tokens"},
    {"{\"text\": \"\"}", "text is empty"},
    {"{\"text\": 5}", "text is not a string"},
    {"{\"text\": \"a\\u0000b\"}", "NUL character at byte 1"},
    {"{\"text\": \"a\xff\"}", "not valid UTF-8 at byte 11"},
    {"{\"text\": \"a\", \"text\": \"b\"}", "duplicate"},
    {"{\"text\": \"a\", \"text_pair\": \"b\"}", "text_pair is for encoders"},
    {"{\"text\": \"a\", \"name\": []}", "name is not a string"},
    {"{\"text\": \"a\", \"target\": 999999}", "target is out of range"},
    {"{\"text\": \"a\", \"target\": -1}", "target is out of range"},
    {"{\"text\": \"a\", \"foil\": \"\"}", "foil is empty"},
    {"{\"text\": \"a\", \"foil\": 1.5}", "foil is not a string"},
    {"{\"text\": \"a\", \"counterpart\": 1}", "counterpart is not a string"},
    {"{\"tokens\": []}", "not a list of 1 to"},
    {"{\"tokens\": 5}", "not a list of 1 to"},
    {"{\"tokens\": [1, 999999]}", "tokens[1] is out of range (expected 0 to "},
    {"{\"tokens\": [1, -1]}", "tokens[1] is out of range"},
    {"{\"tokens\": [1, 99999999999999999999]}", "too big"},
    {"{\"tokens\": [1.0]}", "tokens[0] is not an integer"},
    {"{\"text\": \"a\", \"spans\": []}", "spans is not an object"},
    {"{\"text\": \"a\", \"spans\": {\"s\": \"b\"}}", "'b' does not occur 1 time in the text"},
    {"{\"text\": \"aa\", \"spans\": {\"s\": {\"text\": \"aa\", \"occurrence\": 2}}}",
     "does not occur 2 times"},
    {"{\"text\": \"aa\", \"spans\": {\"s\": {\"text\": \"a\", \"occurrence\": 0}}}",
     "\"occurrence\": 1 or more"},
    {"{\"text\": \"aa\", \"spans\": {\"s\": {\"text\": \"a\", \"at\": 1}}}",
     "\"occurrence\": 1 or more"},
    {"{\"text\": \"aa\", \"spans\": {\"s\": {\"occurrence\": 1}}}", "\"occurrence\": 1 or more"},
    {"{\"text\": \"a\", \"spans\": {\"s\": \"\"}}", "span 's': the text is empty"},
    {"{\"text\": \"a\", \"spans\": {\"s\": 3}}", "span 's': the text is not a string"},
    {"{\"text\": \"a\", \"spans\": {\"s\": [0, 9]}}", "0 <= first < end <= 1 tokens"},
    {"{\"text\": \"a\", \"spans\": {\"s\": [0, 0]}}", "0 <= first < end <= 1 tokens"},
    {"{\"text\": \"a\", \"spans\": {\"s\": [-1, 1]}}", "0 <= first < end <= 1 tokens"},
    {"{\"text\": \"a\", \"spans\": {\"s\": [0]}}", "0 <= first < end <= 1 tokens"},
    {"{\"text\": \"a\", \"spans\": {\"last\": \"a\"}}", "a span is named 'last'"},
    {"{\"text\": \"a\", \"spans\": {\"decode\": \"a\"}}", "a span is named 'decode'"},
    {"{\"text\": \"a\", \"spans\": {\"\": \"a\"}}", "a span has an empty name"},
};

START_TEST(a_bad_object_is_one_failed_prompt) {
    char lines[1000];
    (void)snprintf(lines, sizeof lines, "{\"text\": \"first\"}\n%s\n{\"text\": \"third\"}\n",
                   bad_lines[_i].line);
    struct hw_prompts prompts = read_lines(lines, plain);
    ck_assert_uint_eq(prompts.n, 3);
    const struct hw_prompt *failed = &prompts.items[1];
    ck_assert_int_eq(failed->status, HW_PROMPT_FAILED);
    ck_assert_uint_eq(failed->n_ids, 0);
    ck_assert_uint_eq(failed->n_spans, 0);
    ck_assert_msg(strstr(failed->error, bad_lines[_i].reason) != NULL, "found '%s'", failed->error);
    ck_assert_ptr_nonnull(strstr(failed->error, "p.jsonl:2: "));
    ck_assert_ptr_nonnull(failed->text);
    ck_assert_str_eq(failed->name, "1");
    ck_assert_int_eq(prompts.items[0].status, HW_PROMPT_OK);
    ck_assert_int_eq(prompts.items[2].status, HW_PROMPT_OK);
    ck_assert_str_eq(prompts.items[2].text, "third");
    hw_prompts_free(&prompts);
}
END_TEST

static const struct {
    const char *name;
    const char *bytes;
    const char *reason;
} bad_files[] = {
    {"a.jsonl", "{\"text\": \"a\"}\n{\"text\": \n", "a.jsonl:2: not JSON at column"},
    {"a.jsonl", "plain text\n", "a.jsonl:1: not JSON at column"},
    {"a.jsonl", "{\"text\": \"a\"} x\n", "a.jsonl:1: not JSON"},
    {"a.jsonl", "{\"text\": \"\\ud800\"}\n", "a.jsonl:1: not JSON"},
    {"a.jsonl", "", "there is no prompt"},
    {"a.jsonl", "\n \n", "there is no prompt"},
    {"a.csv", "text\n", "expected .jsonl, .txt"},
    {"a.txt", "\n\n", "there is no prompt"},
};

START_TEST(what_is_no_prompt_file_is_refused_as_a_whole) {
    struct hw_prompts prompts = {.n = 77};
    struct hw_error err;
    ck_assert_int_eq(read_as(FROM_FILE, bad_files[_i].name, bad_files[_i].bytes,
                             strlen(bad_files[_i].bytes), plain, &prompts, &err),
                     HW_INPUT);
    ck_assert_msg(strstr(err.message, bad_files[_i].reason) != NULL, "found '%s'", err.message);
    ck_assert_uint_eq(prompts.n, 77); // untouched
}
END_TEST

START_TEST(a_missing_file_is_refused) {
    const char *const files[] = {"/nonexistent/p.jsonl"};
    const struct hw_prompt_source source = {.files = files, .n_files = 1};
    struct hw_prompts prompts = {0};
    struct hw_error err;
    ck_assert_int_eq(hw_prompts_read(&source, tokenizer, &plain, &prompts, &err), HW_INPUT);
    ck_assert_str_eq(err.message,
                     "/nonexistent/p.jsonl: cannot be read: No such file or directory");
}
END_TEST

START_TEST(text_files_have_a_prompt_a_line) {
    static const char lines[] = "\xEF\xBB\xBF"
                                "one\r\n\n  two \nthr\xff"
                                "ee\nfour";
    struct hw_prompts prompts = {0};
    ck_assert_int_eq(read_as(FROM_FILE, "a.txt", lines, strlen(lines), plain, &prompts, NULL),
                     HW_OK);
    ck_assert_uint_eq(prompts.n, 4);
    ck_assert_str_eq(prompts.items[0].text, "one");
    ck_assert_str_eq(prompts.items[0].json, "{\"text\":\"one\"}");
    ck_assert_str_eq(prompts.items[1].text, "  two ");
    ck_assert_int_eq(prompts.items[2].status, HW_PROMPT_FAILED);
    ck_assert_ptr_nonnull(
        strstr(prompts.items[2].error, "a.txt:4: the text is not valid UTF-8 at byte 3"));
    ck_assert_str_eq(prompts.items[3].text, "four");
    hw_prompts_free(&prompts);
}
END_TEST

START_TEST(token_files_have_ids_a_line) {
    static const char lines[] = "1 2\t3\n\n 40\r\n5,6\n999999 1\n";
    struct hw_prompts prompts = {0};
    ck_assert_int_eq(read_as(FROM_TOKENS, "ids", lines, strlen(lines), plain, &prompts, NULL),
                     HW_OK);
    ck_assert_uint_eq(prompts.n, 4);
    ck_assert_uint_eq(prompts.items[0].n_ids, 3);
    ck_assert_uint_eq(prompts.items[0].ids[2], 3);
    ck_assert_str_eq(prompts.items[0].json, "{\"tokens\":[1,2,3]}");
    ck_assert_uint_eq(prompts.items[1].ids[0], 40);
    ck_assert_uint_eq(prompts.items[2].n_ids, 2);
    ck_assert_int_eq(prompts.items[3].status, HW_PROMPT_FAILED);
    hw_prompts_free(&prompts);
    struct hw_error err;
    ck_assert_int_eq(read_as(FROM_TOKENS, "ids", "1 2\n3 x4\n", 9, plain, &prompts, &err),
                     HW_INPUT);
    ck_assert_ptr_nonnull(
        strstr(err.message, "ids:2: expected token ids separated by blanks, found 'x4'"));
    ck_assert_int_eq(read_as(FROM_TOKENS, "ids", "12-3\n", 5, plain, &prompts, &err), HW_INPUT);
    ck_assert_int_eq(read_as(FROM_TOKENS, "ids", "1\0 2\n", 5, plain, &prompts, &err), HW_INPUT);
}
END_TEST

START_TEST(long_prompts_are_cut_or_fail) {
    static const char lines[] =
        "{\"text\": \"in the water and the water\", \"spans\": {\"w\": \"water and\", \"z\": "
        "{\"text\": \"water\", \"occurrence\": 2}}}\n{\"text\": \"the\"}\n";
    struct hw_prompts whole = read_lines(lines, plain);
    size_t n = whole.items[0].n_ids;
    ck_assert_uint_gt(n, 4);
    struct hw_prompts cut =
        read_lines(lines, (struct hw_prompt_options){.add_bos = HW_BOS_NO, .max_tokens = 3});
    ck_assert_int_eq(cut.items[0].status, HW_PROMPT_TRUNCATED);
    ck_assert_uint_eq(cut.items[0].n_ids, 3);
    ck_assert_mem_eq(cut.items[0].ids, whole.items[0].ids, 3 * sizeof(uint32_t));
    ck_assert_int_eq(cut.items[0].spans[0].first, 2);
    ck_assert_int_eq(cut.items[0].spans[0].end, 3);
    ck_assert_int_eq(cut.items[0].spans[1].first, 3);
    ck_assert_int_eq(cut.items[0].spans[1].end, 3);
    ck_assert_int_eq(cut.items[1].status, HW_PROMPT_OK);
    struct hw_prompts failed =
        read_lines(lines, (struct hw_prompt_options){.hard_limit = 3, .add_bos = HW_BOS_NO});
    ck_assert_int_eq(failed.items[0].status, HW_PROMPT_FAILED);
    ck_assert_ptr_nonnull(
        strstr(failed.items[0].error, "more than the 3 that this model can place"));
    ck_assert_int_eq(failed.items[1].status, HW_PROMPT_OK);
    struct hw_prompts both = read_lines(
        lines, (struct hw_prompt_options){.add_bos = HW_BOS_NO, .max_tokens = 3, .hard_limit = 3});
    ck_assert_int_eq(both.items[0].status, HW_PROMPT_TRUNCATED);
    hw_prompts_free(&both);
    hw_prompts_free(&failed);
    hw_prompts_free(&cut);
    hw_prompts_free(&whole);
}
END_TEST

START_TEST(bos_is_never_doubled) {
    static const char lines[] = "{\"text\": \"the\"}\n{\"text\": \"<|begin_of_text|>the\"}\n";
    struct hw_prompts prompts =
        read_lines(lines, (struct hw_prompt_options){.add_bos = HW_BOS_AUTO});
    ck_assert_uint_eq(prompts.items[0].n_ids, prompts.items[1].n_ids);
    ck_assert_mem_eq(prompts.items[0].ids, prompts.items[1].ids,
                     prompts.items[0].n_ids * sizeof(uint32_t));
    hw_prompts_free(&prompts);
}
END_TEST

START_TEST(the_hash_sees_every_field) {
    static const char *const variants[] = {
        "{\"text\": \"the\"}",
        "{\"text\": \"of\"}",
        "{\"text\": \"the\", \"name\": \"n\"}",
        "{\"text\": \"the\", \"other\": 1}",
        "{\"text\": \"the\", \"target\": 3}",
        "{\"text\": \"the\", \"spans\": {\"s\": [0, 1]}}",
        "{\"text\": \"the\"}\n{\"text\": \"the\"}",
    };
    enum { N = sizeof variants / sizeof variants[0] };
    char hashes[N][65];
    for (size_t i = 0; i < N; i++) {
        struct hw_prompts prompts = read_lines(variants[i], plain);
        hw_prompts_sha256(&prompts, hashes[i]);
        hw_prompts_free(&prompts);
        for (size_t j = 0; j < i; j++) {
            ck_assert_str_ne(hashes[i], hashes[j]);
        }
    }
    struct hw_prompts prompts = read_lines("{ \"text\" : \"the\" }\n", plain);
    char again[65];
    hw_prompts_sha256(&prompts, again);
    ck_assert_str_eq(again, hashes[0]); // blanks between the parts say nothing
    hw_prompts_free(&prompts);
}
END_TEST

START_TEST(one_id_hashes_as_little_endian_u4) {
    struct hw_prompts prompts = read_lines("{\"tokens\": [258]}", plain);
    char hex[65];
    hw_prompt_sha256(&prompts.items[0], hex);
    // printf '\x02\x01\x00\x00' | sha256sum
    ck_assert_str_eq(hex, "7255b3ce83a75f4d6f13513f56db57229ed61a0775438923799f7050c505ecda");
    hw_prompts_free(&prompts);
}
END_TEST

START_TEST(texts_of_the_command_line_come_after_files) {
    char *path = temp_file(folder, "a.txt", "file", 4);
    char *ids = temp_file(folder, "ids", "7", 1);
    const char *const files[] = {path};
    const char *const texts[] = {"text", ""};
    const char *const token_files[] = {ids};
    const struct hw_prompt_source source = {files, 1, texts, 2, token_files, 1};
    struct hw_prompts prompts = {0};
    ck_assert_int_eq(hw_prompts_read(&source, tokenizer, &plain, &prompts, NULL), HW_OK);
    ck_assert_uint_eq(prompts.n, 4);
    ck_assert_str_eq(prompts.items[0].text, "file");
    ck_assert_str_eq(prompts.items[1].text, "text");
    ck_assert_int_eq(prompts.items[2].status, HW_PROMPT_FAILED);
    ck_assert_str_eq(prompts.items[2].error, "text is empty");
    ck_assert_uint_eq(prompts.items[3].ids[0], 7);
    hw_prompts_free(&prompts);
    free(ids);
    free(path);
}
END_TEST

START_TEST(a_dash_is_json_lines_on_standard_input) {
    char *path = temp_file(folder, "in", "{\"text\": \"piped\"}\n", 18);
    ck_assert_ptr_nonnull(freopen(path, "rb", stdin));
    const char *const files[] = {"-"};
    const struct hw_prompt_source source = {.files = files, .n_files = 1};
    struct hw_prompts prompts = {0};
    ck_assert_int_eq(hw_prompts_read(&source, tokenizer, &plain, &prompts, NULL), HW_OK);
    ck_assert_uint_eq(prompts.n, 1);
    ck_assert_str_eq(prompts.items[0].text, "piped");
    hw_prompts_free(&prompts);
    free(path);
}
END_TEST

// The n-th allocation fails, for every n: HW_RESOURCE, nothing returned, nothing leaked (the
// sanitizer looks).
START_TEST(running_out_of_memory_is_an_error) {
    static const char lines[] =
        "{\"text\": \"in the water\", \"name\": \"n\", \"domain\": 1, \"target\": \" the\", "
        "\"foil\": 3, \"counterpart\": \"c\", \"spans\": {\"w\": \"water\", \"r\": [0, 1]}}\n"
        "{\"tokens\": [1, 2]}\n{\"tokens\": [300, 1]}\n{\"text\": \"\"}\n{\"text\": \"a\xff\"}\n";
    char *path = temp_file(folder, "m.jsonl", lines, strlen(lines));
    char *text_path = temp_file(folder, "m.txt", "one\n", 4);
    char *ids = temp_file(folder, "ids", "1 2\n", 4);
    const char *const files[] = {path, text_path};
    const char *const token_files[] = {ids};
    const struct hw_prompt_source source = {
        .files = files, .n_files = 2, .token_files = token_files, .n_token_files = 1};
    bool is_done = false;
    size_t n;
    for (n = 0; !is_done; n++) {
        struct hw_prompts prompts = {0};
        struct hw_error err = {0};
        failing_malloc_after(n);
        enum hw_status status = hw_prompts_read(&source, tokenizer, &plain, &prompts, &err);
        is_done = !failing_malloc_stop();
        ck_assert_msg(status == (is_done ? HW_OK : HW_RESOURCE), "allocation %zu: status %d, %s", n,
                      (int)status, err.message);
        ck_assert_uint_eq(prompts.n, is_done ? 7 : 0);
        hw_prompts_free(&prompts);
    }
    ck_assert_uint_gt(n, 50); // as many as there are, or the walk did not happen
    free(ids);
    free(text_path);
    free(path);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("prompts");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, fields_and_object_are_kept);
    tcase_add_test(tcase, spans_cover_the_tokens_that_share_a_byte);
    tcase_add_test(tcase, tokens_are_taken_as_they_are);
    tcase_add_loop_test(tcase, a_bad_object_is_one_failed_prompt, 0,
                        sizeof bad_lines / sizeof bad_lines[0]);
    tcase_add_loop_test(tcase, what_is_no_prompt_file_is_refused_as_a_whole, 0,
                        sizeof bad_files / sizeof bad_files[0]);
    tcase_add_test(tcase, a_missing_file_is_refused);
    tcase_add_test(tcase, text_files_have_a_prompt_a_line);
    tcase_add_test(tcase, token_files_have_ids_a_line);
    tcase_add_test(tcase, long_prompts_are_cut_or_fail);
    tcase_add_test(tcase, bos_is_never_doubled);
    tcase_add_test(tcase, the_hash_sees_every_field);
    tcase_add_test(tcase, one_id_hashes_as_little_endian_u4);
    tcase_add_test(tcase, texts_of_the_command_line_come_after_files);
    tcase_add_test(tcase, a_dash_is_json_lines_on_standard_input);
    tcase_add_test(tcase, running_out_of_memory_is_an_error);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
