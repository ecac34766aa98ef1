// Presets expand to edits of the grammar, docs/edits.md shows them as they are, and what it shows
// can be typed.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/commit.h"
#include "tests/check_rows.h"
#include "tracer/edit.h"

// SmolLM2-135M, which the examples are written for.
static const struct hw_model_desc desc = {.n_layers = 30,
                                          .d_model = 576,
                                          .n_heads = 9,
                                          .n_kv_heads = 3,
                                          .d_head = 64,
                                          .d_mlp = 1536,
                                          .position = HW_POSITION_ROPE};

// The canonical text of a spec, or the message.
static const char *canonical(const char *spec) {
    static char out[HW_ERROR_BYTES];
    struct hw_edit *edit = NULL;
    struct hw_error err = {0};
    bool is_good = hw_edit_parse(spec, &desc, false, &edit, &err) == HW_OK;
    (void)snprintf(out, sizeof out, "%s", is_good ? edit->spec : err.message);
    hw_edit_close(&edit);
    return out;
}

// What each is in the table of definitions, P, and the sections it names, for a target.
static const struct {
    const char *name;
    const char *target;
    const char *expands_to;
} presets[] = {
    {"michel", "head=9.6", "zero:head=9.6:at=pattern"},
    {"guo-zero", "head=9.6", "zero:head=9.6:at=pattern"},
    {"guo-first", "head=9.6", "to:head=9.6:key=0"},
    {"guo-identity", "head=9.6", "identity:head=9.6"},
    {"guo-value", "kv=9.2", "zero:kv=9.2:at=value:rows=first"},
    {"retrieval-head", "head=9.6", "uniform:head=9.6:rows=decode"},
    {"maps", "head=9.6", "zero:head=9.6:rows=last"},
    {"icl-cmr", "kv=9.2", "zero:kv=9.2:at=value"},
    {"ioi-mean", "head=9.6", "position_mean:head=9.6"},
    {"ioi-resample", "head=9.6", "resample:head=9.6:seed=0"},
    {"patching", "mlp=3", "from:mlp=3"},
    {"streaming", "head=9.6", "window:head=9.6:sinks=4:recent=512:positions=cache"},
    {"streaming-mask", "kv=9.2", "window:kv=9.2:sinks=128:recent=256"},
    {"attention-influence", "head=9.6", "uniform:head=9.6"},
    {"zerotuning", "head=9.6:by=0.5", "scale:head=9.6:key=first:by=0.5"},
    {"massive-zero", "channel=507:layer=11",
     "zero:channel=507:layer=11:site=resid_post:rows=first"},
    {"massive-mean", "channel=507:layer=11",
     "position_mean:channel=507:layer=11:site=resid_post:rows=first"},
};

START_TEST(presets_are_what_their_reference_does) {
    char spec[200];
    (void)snprintf(spec, sizeof spec, "%s:%s", presets[_i].name, presets[_i].target);
    ck_assert_str_eq(canonical(spec), presets[_i].expands_to);
    ck_assert_str_eq(hw_edit_presets[_i].name, presets[_i].name);
}
END_TEST

START_TEST(every_preset_is_tested_and_fits_a_line) {
    size_t n = 0;
    for (; hw_edit_presets[n].name != NULL; n++) {
        ck_assert_uint_le(strlen(hw_edit_presets[n].name), 20);
        ck_assert_uint_le(strlen(hw_edit_presets[n].expands_to), 55);
        ck_assert_uint_le(strlen(hw_edit_presets[n].reference), 76);
    }
    ck_assert_uint_eq(n, sizeof presets / sizeof presets[0]);
}
END_TEST

// A backticked text that begins as an edit does: REPLACEMENT:TARGET.
static bool is_spec(const char *text) {
    static const char *const words[] = {
#define WORD(id, word, point, description) word ":",
        HW_REPLACEMENTS(WORD)
#undef WORD
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strncmp(text, words[i], strlen(words[i])) == 0) {
            return strstr(text, "TARGET") == NULL;
        }
    }
    return false;
}

START_TEST(the_examples_of_the_documentation_can_be_typed) {
    char *text = NULL;
    size_t n_bytes = 0;
    struct hw_error err;
    ck_assert_msg(hw_commit_read(HW_TEST_DATA "/../../docs/edits.md", 1 << 20, &text, &n_bytes,
                                 &err) == HW_OK,
                  "%s", err.message);
    for (const struct hw_edit_preset *p = hw_edit_presets; p->name != NULL; p++) {
        char line[300];
        const char *gap = strstr(p->expands_to, "%s");
        (void)snprintf(line, sizeof line, "| `%s` | `%.*sTARGET%s` | %s |\n", p->name,
                       (int)(gap - p->expands_to), p->expands_to, gap + 2, p->reference);
        ck_assert_msg(strstr(text, line) != NULL, "docs/edits.md lacks %s", line);
    }
    size_t n_specs = 0;
    for (char *at = strchr(text, '`'); at != NULL; at = strchr(at, '`')) {
        char *end = strchr(at + 1, '`');
        ck_assert_ptr_nonnull(end);
        *end = '\0';
        if (is_spec(at + 1)) {
            struct hw_edit *edit = NULL;
            ck_assert_msg(hw_edit_parse(at + 1, &desc, false, &edit, &err) == HW_OK, "%s",
                          err.message);
            hw_edit_close(&edit);
            n_specs++;
        }
        at = end + 1;
    }
    free(text);
    ck_assert_uint_ge(n_specs, 20);
}
END_TEST

int main(void) {
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, presets_are_what_their_reference_does, 0,
                        (int)(sizeof presets / sizeof presets[0]));
    tcase_add_test(tcase, every_preset_is_tested_and_fits_a_line);
    tcase_add_test(tcase, the_examples_of_the_documentation_can_be_typed);
    return run_suite("edit_presets", tcase);
}
