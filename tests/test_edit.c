// The grammar of edits: what is taken and its canonical text, what is refused and why, and what
// specs of random pieces do (nothing bad).
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/byte_buffer.h"
#include "tests/failing_malloc.h"
#include "tracer/edit.h"

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

// Grouped queries: heads 0 and 1 read key/value head 0.
static const struct hw_model_desc grouped = {.n_layers = 12,
                                             .d_model = 32,
                                             .n_heads = 8,
                                             .n_kv_heads = 4,
                                             .d_head = 4,
                                             .d_mlp = 64,
                                             .position = HW_POSITION_ROPE};
static const struct hw_model_desc parallel = {.n_layers = 4,
                                              .d_model = 16,
                                              .n_heads = 4,
                                              .n_kv_heads = 4,
                                              .d_head = 4,
                                              .d_mlp = 64,
                                              .position = HW_POSITION_LEARNED,
                                              .is_parallel = true};

// The canonical text, or the message.
static const char *parse(const char *spec, const struct hw_model_desc *desc, bool is_arm) {
    static char out[HW_ERROR_BYTES + 16];
    struct hw_edit *edit = NULL;
    struct hw_error err = {0};
    enum hw_status status = hw_edit_parse(spec, desc, is_arm, &edit, &err);
    if (status != HW_OK) {
        ck_assert_ptr_null(edit);
        ck_assert_int_eq(err.status, status);
        (void)snprintf(out, sizeof out, "%d: %s", (int)status, err.message);
        return out;
    }
    ck_assert_uint_lt(strlen(edit->spec), sizeof out);
    memcpy(out, edit->spec, strlen(edit->spec) + 1);
    hw_edit_close(&edit);
    ck_assert_ptr_null(edit);
    return out;
}

static const struct {
    const char *spec;
    const char *canonical; // NULL: the same
} good[] = {
    {"zero:head=9.6", NULL},
    {"zero:head=9.6,9.1,9.7,2", "zero:head=2,9.1,9.6-7"},
    {"zero:head=all", NULL},
    {"zero:head=^0-10,11.1-7", "zero:head=11.0"},
    {"zero:head=3-4,5.0-7", "zero:head=3-5"},
    {"zero:at=z:head=9.6", "zero:head=9.6"},
    {"zero:head=9.6:at=pattern:rows=all", "zero:head=9.6:at=pattern"},
    {"zero:kv=9.3", NULL},
    {"zero:kv=9.3:at=value", NULL},
    {"zero:head=9.6-7:at=value", NULL},
    {"zero:attn=3", NULL},
    {"zero:attn=0-11", "zero:attn=all"},
    {"zero:attn=3:at=z", NULL},
    {"zero:attn=3,5-6:at=value", NULL},
    {"zero:mlp=^0", "zero:mlp=1-11"},
    {"zero:neuron=63:layer=2", NULL},
    {"zero:neuron=0-63:layer=2-3", "zero:neuron=all:layer=2-3"},
    {"zero:layer=11:channel=7:rows=first:site=resid_post",
     "zero:channel=7:layer=11:site=resid_post:rows=first"},
    {"zero:channel=7:layer=11", "zero:channel=7:layer=11:site=resid_post"},
    {"from:channel=all:layer=4:site=resid_pre:rows=3", NULL},
    {"set:channel=2-3:layer=4:site=mlp_out:value=-1.5e2", "set:channel=2-3:layer=4:site=mlp_out"
                                                          ":value=-150"},
    {"set:head=1.1:value=0.1", NULL},
    {"set:neuron=5:layer=1:value=16777217", "set:neuron=5:layer=1:value=16777216"},
    {"scale:head=1.1:by=0.5", NULL},
    {"scale:head=1.1:by=.3333333333", "scale:head=1.1:by=0.33333334"},
    {"scale:head=1.1:by=2:key=first", "scale:head=1.1:key=first:by=2"},
    {"scale:head=1.1:by=2:key=first:renormalise=no",
     "scale:head=1.1:key=first:by=2:renormalise=no"},
    {"scale:head=1.1:by=2:at=pattern:renormalise=yes", "scale:head=1.1:by=2:at=pattern"},
    {"scale:mlp=3:by=-2", NULL},
    {"mean:head=9.6", NULL},
    {"mean:head=9.6:group=abba:source=a:b.h5:rows=last",
     "mean:head=9.6:group=abba:source=a:b.h5:rows=last"},
    {"mean:source=:x:head=9.6", "mean:head=9.6:source=:x"},
    {"position_mean:mlp=4:source=r.h5", NULL},
    {"from:kv=4.0:at=value:rows=S2,3-5", NULL},
    {"resample:head=4.0", "resample:head=4.0:seed=0"},
    {"resample:head=4.0:seed=18446744073709551615", NULL},
    {"uniform:head=4.0:rows=decode", NULL},
    {"uniform:attn=4", NULL},
    {"uniform:head=4.0:at=pattern", "uniform:head=4.0"},
    {"identity:kv=0", NULL},
    {"to:head=4.0", "to:head=4.0:key=0"},
    {"to:head=4.0:key=3", NULL},
    {"previous:head=4.0:rows=prefill", NULL},
    {"block:layer=8-10:query=last:key=needle", "block:head=8-10:query=last:key=needle"},
    {"block:head=4.0:key=all", NULL},
    {"block:attn=1:key=first", NULL},
    {"zero:layer=2:query=all:key=first", "zero:head=2:query=all:key=first"},
    {"window:head=4.0:recent=16", "window:head=4.0:sinks=4:recent=16"},
    {"window:head=4.0:recent=0:sinks=1", "window:head=4.0:sinks=1:recent=0"},
    {"window:head=all:sinks=4:recent=512:positions=cache", NULL},
    {"window:head=all:sinks=4:recent=512:positions=text", "window:head=all:sinks=4:recent=512"},
    {"bias:head=4.0:by=-3:key=first", "bias:head=4.0:key=first:by=-3"},
    {"bias:head=4.0:by=1:at=scores", "bias:head=4.0:by=1"},
    // Presets.
    {"michel:head=9.6", "zero:head=9.6:at=pattern"},
    {"michel:head=9.6:rows=last", "zero:head=9.6:at=pattern:rows=last"},
    {"retrieval-head:head=9.6:rows=all", "uniform:head=9.6"},
    {"streaming:head=all:recent=16", "window:head=all:sinks=4:recent=16:positions=cache"},
    {"zerotuning:head=1.0:by=1.5", "scale:head=1.0:key=first:by=1.5"},
    {"massive-zero:channel=5:layer=1", "zero:channel=5:layer=1:site=resid_post:rows=first"},
};

START_TEST(specs_have_one_canonical_text) {
    const char *want = good[_i].canonical != NULL ? good[_i].canonical : good[_i].spec;
    char first[HW_ERROR_BYTES + 16];
    (void)snprintf(first, sizeof first, "%s", parse(good[_i].spec, &grouped, false));
    ck_assert_str_eq(first, want);
    ck_assert_str_eq(parse(first, &grouped, false), want);        // parsed again it is the same
    ck_assert_str_eq(parse(good[_i].spec, &grouped, true), want); // a full spec is an arm as well
}
END_TEST

static const struct {
    const char *spec;
    const char *canonical;
} arms[] = {
    {"zero", "zero"},
    {"zero:at=value:rows=last", "zero:at=value:rows=last"},
    {"zero:at=z", "zero:at=z"},
    {"mean:source=r.h5", "mean:source=r.h5"},
    {"scale:by=0.5", "scale:by=0.5"},
    {"block:key=first:query=last", "block:query=last:key=first"},
    {"michel", "zero:at=pattern"},
    {"streaming", "window:sinks=4:recent=512:positions=cache"},
};

START_TEST(arms_do_without_a_target) {
    ck_assert_str_eq(parse(arms[_i].spec, &grouped, true), arms[_i].canonical);
    ck_assert_str_eq(parse(arms[_i].canonical, &grouped, true), arms[_i].canonical);
    ck_assert_ptr_nonnull(strstr(parse(arms[_i].spec, &grouped, false), "expected a target"));
}
END_TEST

static const struct {
    const char *spec;
    const char *message; // behind "edit 'SPEC': "
} bad[] = {
    {"", "'' is no replacement (headwater list edits prints them)"},
    {"zro:head=1.1", "'zro' is no replacement (did you mean zero?)"},
    {"michael:head=1.1", "'michael' is no replacement (did you mean michel?)"},
    {"zero:", "expected a target behind the colon"},
    {"zero:head=1.1:", "expected key=value behind the last colon"},
    {"zero:head", "'head': expected key=value"},
    {"zero::head=1", "'': expected key=value"},
    {"zero:head=", "head= has no value"},
    {"zero:haed=1.1", "unknown key 'haed' (did you mean head=?)"},
    {"zero:colour=1.1",
     "unknown key 'colour' (expected a target, at, rows, or an option of the replacement)"},
    {"zero:head=1.1:head=1.2", "head= is given twice"},
    {"zero:head=1.1:rows=last:rows=first", "rows= is given twice"},
    {"zero:head=1.1:mlp=2", "expected one target (found head= and mlp=)"},
    {"zero", "expected a target: head=, kv=, attn=, mlp=, neuron=N:layer=L or channel=C:layer=L"},
    {"zero:head=12.0", "there is no layer 12 (this model has layers 0 to 11)"},
    {"zero:head=1.8", "there is no head 8 (this model has heads 0 to 7)"},
    {"zero:kv=1.4", "key/value heads: there is no head 4 (this model has heads 0 to 3)"},
    {"zero:attn=12", "there is no layer 12 (this model has layers 0 to 11)"},
    {"zero:mlp=x", "'x': expected a number at 'x'"},
    {"zero:head=^all", "the target selects nothing"},
    {"zero:mlp=^all", "the target selects nothing"},
    {"zero:neuron=64:layer=2", "there is no neuron 64 (this model has neurons 0 to 63)"},
    {"zero:neuron=3-64:layer=2", "there is no neuron 64 (this model has neurons 0 to 63)"},
    {"zero:neuron=7-3:layer=2", "the range 7-3 runs backwards"},
    {"zero:neuron=x:layer=2", "expected neuron N, N-M or all (found 'x')"},
    {"zero:neuron=1-:layer=2", "expected neuron N, N-M or all (found '1-')"},
    {"zero:neuron=-1:layer=2", "expected neuron N, N-M or all (found '-1')"},
    {"zero:neuron=99999999999999999999999:layer=2",
     "expected neuron N, N-M or all (found '99999999999999999999999')"},
    {"zero:neuron=3", "neuron= needs layer="},
    {"zero:channel=32:layer=2", "there is no channel 32 (this model has channels 0 to 31)"},
    {"zero:channel=3", "channel= needs layer="},
    {"zero:channel=3:layer=12", "there is no layer 12 (this model has layers 0 to 11)"},
    {"zero:channel=3:layer=1:site=mlp_post",
     "expected site=resid_pre|resid_mid|resid_post|attn_out|mlp_out (found 'mlp_post')"},
    {"zero:head=3.1:site=resid_post", "site= goes with channel= (found head)"},
    {"zero:head=3.1:layer=2", "layer= goes with neuron=, channel=, or query= and key= alone (found "
                              "head; all heads of a layer: attn=)"},
    {"uniform:layer=2", "layer= goes with neuron=, channel=, or query= and key= alone (found "
                        "neither; all heads of a layer: attn=)"},
    {"zero:head=1.1:at=patern", "expected at=z|pattern|scores|value (found 'patern')"},
    {"uniform:head=1.1:at=z", "uniform does not act at z (expected at=pattern)"},
    {"uniform:head=1.1:at=scores",
     "uniform does not act at scores, scores are changed by bias only (expected at=pattern)"},
    {"block:head=1.1:key=first:at=z", "block does not act at z (expected at=pattern)"},
    {"bias:head=1.1:by=1:at=pattern", "bias does not act at pattern (expected at=scores)"},
    {"zero:head=1.1:at=scores",
     "zero does not act at scores, scores of zero are uniform attention: "
     "uniform (expected at=z|pattern|value)"},
    {"scale:head=1.1:by=2:at=scores", "scale does not act at scores, scores are changed by bias "
                                      "only (expected at=z|pattern|value)"},
    {"mean:head=1.1:at=pattern", "mean does not act at pattern, the maps of another run are not "
                                 "kept (expected at=z|value)"},
    {"from:head=1.1:at=pattern", "from does not act at pattern, the maps of another run are not "
                                 "kept (expected at=z|value)"},
    {"set:head=1.1:at=pattern:value=1", "set does not act at pattern (expected at=z|value)"},
    {"uniform:mlp=2", "uniform changes attention: expected head=, kv= or attn="},
    {"window:channel=2:layer=1:recent=3", "window changes attention: expected head=, kv= or attn="},
    {"zero:mlp=2:at=z", "at= goes with head=, kv= and attn= (found mlp=)"},
    {"zero:neuron=2:layer=1:at=value", "at= goes with head=, kv= and attn= (found neuron=)"},
    {"zero:head=9.6:at=value", "head 9.6 shares its values with heads 9.6-7: expected all of them, "
                               "as kv=9.3"},
    {"zero:head=9.1-2:at=value", "head 9.1 shares its values with heads 9.0-1: expected all of "
                                 "them, as kv=9.0"},
    {"zero:head=1.1:by=2", "by= goes with scale and bias (found zero)"},
    {"scale:head=1.1:value=2", "value= goes with set (found scale)"},
    {"uniform:head=1.1:key=2", "key= goes with block, bias, scale, zero and to (found uniform)"},
    {"uniform:head=1.1:query=2",
     "query= goes with block, bias, scale and zero; use rows= (found uniform)"},
    {"zero:head=1.1:renormalise=no", "renormalise= goes with scale at=pattern (found zero)"},
    {"scale:head=1.1:by=2:renormalise=no", "renormalise= goes with scale at=pattern (found at=z)"},
    {"scale:head=1.1:by=2:at=pattern:renormalise=maybe",
     "expected renormalise=no|yes (found 'maybe')"},
    {"block:head=1.1:key=2:sinks=2", "sinks= goes with window (found block)"},
    {"from:head=1.1:group=a", "group= goes with mean and position_mean (found from)"},
    {"resample:head=1.1:source=a",
     "source= goes with mean, position_mean and from (found resample)"},
    {"mean:head=1.1:seed=1", "seed= goes with resample (found mean)"},
    {"resample:head=1.1:seed=-1",
     "expected seed= a number from 0 to 18446744073709551615 (found '-1')"},
    {"scale:head=1.1", "scale needs by="},
    {"bias:head=1.1", "bias needs by="},
    {"set:mlp=1", "set needs value="},
    {"set:neuron=1:layer=1", "set needs value="},
    {"scale:head=1.1:by=1x", "expected by= a finite number (found '1x')"},
    {"scale:head=1.1:by=nan", "expected by= a finite number (found 'nan')"},
    {"scale:head=1.1:by=1e39", "expected by= a finite number (found '1e39')"},
    {"scale:head=1.1:by=0x10", "expected by= a finite number (found '0x10')"},
    {"scale:head=1.1:by=1,5", "expected by= a finite number (found '1,5')"},
    {"scale:head=1.1:by=-1:at=pattern",
     "weights of attention are never negative: expected by= of 0 or more (found -1)"},
    {"block:head=1.1", "block needs key=, the keys that are masked"},
    {"block:head=1.1:key=2:query=3:rows=4",
     "query= and rows= are the same rows: expected one of them"},
    {"block:mlp=1:key=2", "block changes attention: expected head=, kv= or attn="},
    {"zero:head=1.1:key=2:at=z", "query= and key= are edges of attention (expected head=, kv=, "
                                 "attn= or layer= at=pattern, found z)"},
    {"zero:mlp=1:key=2", "query= and key= are edges of attention (expected head=, kv=, attn= or "
                         "layer= at=pattern, found mlp_out)"},
    {"to:head=1.1:key=first", "expected key= a number from 0 to 1073741824 (found 'first')"},
    {"window:head=1.1", "window needs recent="},
    {"window:head=1.1:sinks=0:recent=0", "a window of no sinks and no recent keys shows nothing"},
    {"window:head=1.1:recent=-3", "expected recent= a number from 0 to 1073741824 (found '-3')"},
    {"window:head=1.1:recent=9999999999",
     "expected recent= a number from 0 to 1073741824 (found '9999999999')"},
    {"window:head=1.1:recent=3:positions=slots", "expected positions=text|cache (found 'slots')"},
    {"zero:head=1.1:rows=5-2", "rows=: the range 5-2 runs backwards"},
    {"block:head=1.1:key=3x", "key=: '3x': expected a comma or the end at 'x'"},
    {"zerotuning:head=1.1", "scale needs by="},
    {"michel:mlp=1", "at= goes with head=, kv= and attn= (found mlp=)"},
    {"icl-cmr:head=1.1", "head 1.1 shares its values with heads 1.0-1: expected all of them, as "
                         "kv=1.0"},
};

START_TEST(what_means_nothing_is_refused_with_the_reason) {
    char want[2 * HW_ERROR_BYTES];
    (void)snprintf(want, sizeof want, "2: edit '%s': %s", bad[_i].spec, bad[_i].message);
    ck_assert_str_eq(parse(bad[_i].spec, &grouped, false), want);
}
END_TEST

START_TEST(models_refuse_what_they_lack) {
    ck_assert_str_eq(parse("zero:channel=1:layer=1:site=resid_mid", &parallel, false),
                     "2: edit 'zero:channel=1:layer=1:site=resid_mid': there is no resid_mid: "
                     "attention and MLP of this model are parallel");
    ck_assert_str_eq(parse("zero:channel=1:layer=1:site=resid_mid", &grouped, false),
                     "zero:channel=1:layer=1:site=resid_mid");
    ck_assert_str_eq(parse("streaming", &parallel, true),
                     "2: edit 'streaming': positions=cache turns queries to their place in the "
                     "cache: expected a model with rope (found learned positions)");
    // Without groups every head has values of its own.
    ck_assert_str_eq(parse("zero:head=1.2:at=value", &parallel, false), "zero:head=1.2:at=value");
    ck_assert_str_eq(parse("zero:head=1.2:at=value", &grouped, true),
                     "2: edit 'zero:head=1.2:at=value': head 1.2 shares its values with heads "
                     "1.2-3: expected all of them, as kv=1.1");
}
END_TEST

START_TEST(files_of_heads_are_written_out) {
    char *folder = temp_folder_new();
    char *path = temp_file(folder, "h.json", "[\"1.1\", \"0.3\"]", 14);
    char spec[600];
    (void)snprintf(spec, sizeof spec, "zero:head=@%s:rows=last", path);
    ck_assert_str_eq(parse(spec, &grouped, false), "zero:head=0.3,1.1:rows=last");
    (void)snprintf(spec, sizeof spec, "zero:head=@%s/none.json", folder);
    ck_assert_msg(strncmp(parse(spec, &grouped, false), "3: ", 3) == 0, "a missing file is input");
    free(path);
    temp_folder_remove(&folder);
}
END_TEST

START_TEST(long_and_hidden_specs_are_cut_and_escaped) {
    size_t n = (1 << 20) + 2;
    char *spec = malloc(n + 1);
    ck_assert_ptr_nonnull(spec);
    memset(spec, 'x', n);
    spec[n] = '\0';
    ck_assert_ptr_nonnull(strstr(parse(spec, &grouped, false), "more than 1048576 bytes"));
    spec[200] = '\0';
    ck_assert_ptr_nonnull(strstr(parse(spec, &grouped, false), "is no replacement"));
    free(spec);
    ck_assert_ptr_nonnull(strstr(parse("ze\033[2Jro:head=1", &grouped, false), "\\x1b"));
}
END_TEST

static const char *const pieces[] = {"zero",
                                     "mean",
                                     "scale",
                                     "set",
                                     "uniform",
                                     "window",
                                     "block",
                                     "bias",
                                     "michel",
                                     "to",
                                     "resample",
                                     "from",
                                     ":",
                                     ":",
                                     ":",
                                     ":",
                                     "=",
                                     "head=",
                                     "kv=",
                                     "attn=",
                                     "mlp=",
                                     "neuron=",
                                     "channel=",
                                     "layer=",
                                     "site=",
                                     "query=",
                                     "key=",
                                     "at=",
                                     "rows=",
                                     "by=",
                                     "value=",
                                     "sinks=",
                                     "recent=",
                                     "seed=",
                                     "source=",
                                     "group=",
                                     "positions=",
                                     "renormalise=",
                                     "1.1",
                                     "9",
                                     "all",
                                     "^",
                                     "0-3",
                                     "z",
                                     "pattern",
                                     "value",
                                     "last",
                                     "first",
                                     "0.5",
                                     "-",
                                     ",",
                                     "cache",
                                     "no",
                                     "resid_post",
                                     "\xff",
                                     "@",
                                     "99999999999999999999"};

// Specs of random pieces: whatever is taken has a canonical text that gives itself.
START_TEST(random_specs_do_no_harm) {
    uint64_t state = 88172645463325252u;
    size_t n_good = 0;
    for (int i = 0; i < 100000; i++) {
        char spec[400] = "";
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t n = (size_t)(state >> 60) + 3;
        for (size_t p = 0; p < n; p++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            size_t piece = (size_t)(state >> 33) % LENGTH(pieces);
            // Mostly pieces in places where they can mean something.
            piece = p == 0 ? piece % 12 : p % 3 == 1 ? 12 : p % 3 == 2 ? 17 + piece % 21 : piece;
            (void)snprintf(spec + strlen(spec), sizeof spec - strlen(spec), "%s", pieces[piece]);
        }
        struct hw_edit *edit = NULL;
        struct hw_error err;
        char *exact = strdup(spec);
        enum hw_status status = hw_edit_parse(exact, &grouped, i % 2 == 0, &edit, &err);
        free(exact);
        if (status == HW_OK) {
            n_good++;
            ck_assert_str_eq(parse(edit->spec, &grouped, i % 2 == 0), edit->spec);
        } else {
            ck_assert_msg(status == HW_USAGE || status == HW_INPUT, "%s", spec);
            ck_assert_ptr_null(strchr(err.message, '\n'));
        }
        hw_edit_close(&edit);
    }
    ck_assert_uint_gt(n_good, 100);
}
END_TEST

START_TEST(memory_that_runs_out_is_said) {
    static const char *const specs[] = {"block:layer=8-10:query=last,S2:key=needle",
                                        "mean:kv=4.0:at=value:source=r.h5:group=a",
                                        "zero:neuron=5:layer=3", "streaming:head=9.6"};
    for (size_t s = 0; s < LENGTH(specs); s++) {
        bool is_done = false;
        size_t n = 0;
        for (; !is_done; n++) {
            struct hw_edit *edit = NULL;
            struct hw_error err = {0};
            failing_malloc_after(n);
            enum hw_status status = hw_edit_parse(specs[s], &grouped, false, &edit, &err);
            is_done = !failing_malloc_stop();
            ck_assert_msg(status == (is_done ? HW_OK : HW_RESOURCE), "%s, allocation %zu: %s",
                          specs[s], n, err.message);
            ck_assert((edit != NULL) == is_done);
            hw_edit_close(&edit);
        }
        ck_assert_uint_gt(n, 5);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("edit");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, specs_have_one_canonical_text, 0, (int)LENGTH(good));
    tcase_add_loop_test(tcase, arms_do_without_a_target, 0, (int)LENGTH(arms));
    tcase_add_loop_test(tcase, what_means_nothing_is_refused_with_the_reason, 0, (int)LENGTH(bad));
    tcase_add_test(tcase, models_refuse_what_they_lack);
    tcase_add_test(tcase, files_of_heads_are_written_out);
    tcase_add_test(tcase, long_and_hidden_specs_are_cut_and_escaped);
    tcase_add_test(tcase, random_specs_do_no_harm);
    tcase_add_test(tcase, memory_that_runs_out_is_said);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
