// What edits come to for one prompt: writes in the order of the pass, changes of attention, sets
// by position, and the same sizes whether memory is measured or taken.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/check_rows.h"
#include "tracer/edit.h"

enum { N_LAYERS = 3, N_HEADS = 4, D_HEAD = 2, D_MODEL = 6, N_PROMPT = 5, N_POSITIONS = 7 };

static const struct hw_model_desc desc = {.n_layers = N_LAYERS,
                                          .d_model = D_MODEL,
                                          .n_heads = N_HEADS,
                                          .n_kv_heads = 2,
                                          .d_head = D_HEAD,
                                          .d_mlp = 10,
                                          .position = HW_POSITION_ROPE};
static struct hw_prompt_span spans[] = {{"needle", 1, 3}, {"gone", 5, 5}};
static const struct hw_prompt prompt = {
    .n_ids = N_PROMPT, .name = "p", .spans = spans, .n_spans = 2};

// Values that say where they come from.
static float stored[N_LAYERS][N_POSITIONS][16];
static size_t values_ld;

static enum hw_status values_of(void *self, const struct hw_edit *edit, size_t layer,
                                struct hw_edit_values *ret_values, struct hw_error *err) {
    (void)edit;
    if (self != NULL) {
        return hw_fail(err, HW_INPUT, "no values for layer %zu", layer);
    }
    *ret_values = (struct hw_edit_values){stored[layer][0], values_ld, N_PROMPT};
    return HW_OK;
}

struct compiled {
    struct hw_edit *edits[8];
    size_t n;
    struct hw_arena arena;
    struct hw_changes changes;
    struct hw_error err;
};

static enum hw_status compile_with(struct compiled *c, const char *const *specs, void *self) {
    *c = (struct compiled){0};
    const struct hw_edit_context context = {&desc, &prompt, N_POSITIONS, values_of, self};
    for (; specs[c->n] != NULL; c->n++) {
        ck_assert_msg(hw_edit_parse(specs[c->n], &desc, false, &c->edits[c->n], &c->err) == HW_OK,
                      "%s", c->err.message);
    }
    struct hw_arena measured;
    hw_arena_measure(&measured);
    struct hw_changes ignored = {.n_applied = 9};
    const struct hw_edit *const *edits = (const struct hw_edit *const *)c->edits;
    enum hw_status status = hw_edits_compile(edits, c->n, &context, &measured, &ignored, &c->err);
    ck_assert(status == HW_OK || ignored.n_applied == 9);
    if (status == HW_OK) {
        ck_assert_int_eq(hw_arena_open(&c->arena, measured.used_bytes, NULL), HW_OK);
        memset(c->arena.base, 0xA5, c->arena.size_bytes);
        status = hw_edits_compile(edits, c->n, &context, &c->arena, &c->changes, &c->err);
        ck_assert_uint_eq(c->arena.used_bytes, measured.used_bytes);
    }
    return status;
}

static void compiled_free(struct compiled *c) {
    for (size_t e = 0; e < c->n; e++) {
        hw_edit_close(&c->edits[e]);
    }
    hw_arena_close(&c->arena);
}

#define SPECS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void compile(struct compiled *c, const char *const *specs) {
    ck_assert_msg(compile_with(c, specs, NULL) == HW_OK, "%s", c->err.message);
}

// "0110" of bytes, "all" of NULL.
static const char *set(const uint8_t *bytes, size_t n) {
    static char text[2][32];
    static int turn;
    char *out = text[turn++ % 2];
    for (size_t i = 0; bytes != NULL && i < n; i++) {
        out[i] = (char)('0' + bytes[i]);
        out[i + 1] = '\0';
    }
    return bytes == NULL ? "all" : out;
}

START_TEST(heads_are_runs_of_columns_of_z) {
    struct compiled c;
    compile(&c, SPECS("zero:head=1.0,1.2-3:rows=last", "scale:head=2.1:by=0.5"));
    ck_assert_uint_eq(c.changes.first_layer, 1);
    ck_assert_uint_eq(c.changes.n_applied, 0);
    ck_assert_uint_eq(c.changes.layers[0].n_writes + c.changes.layers[0].n_attention, 0);
    const struct hw_layer_changes *at = &c.changes.layers[1];
    ck_assert_uint_eq(at->n_writes, 2);
    ck_assert_uint_eq(at->n_attention, 0);
    for (size_t w = 0; w < 2; w++) {
        ck_assert_int_eq(at->writes[w].site, HW_SITE_Z);
        ck_assert_int_eq(at->writes[w].kind, HW_WRITE_VALUE);
        ck_assert_str_eq(set(at->writes[w].rows, N_POSITIONS), "0000100");
        ck_assert_float_eq(at->writes[w].value, 0);
    }
    ck_assert_uint_eq(at->writes[0].first, 0);
    ck_assert_uint_eq(at->writes[0].width, D_HEAD);
    ck_assert_uint_eq(at->writes[1].first, 2 * D_HEAD);
    ck_assert_uint_eq(at->writes[1].width, 2 * D_HEAD);
    const struct hw_write *scale = c.changes.layers[2].writes;
    ck_assert_uint_eq(c.changes.layers[2].n_writes, 1);
    ck_assert_int_eq(scale->kind, HW_WRITE_SCALE);
    ck_assert_float_eq(scale->value, 0.5f);
    ck_assert_uint_eq(scale->first, D_HEAD);
    ck_assert_ptr_null(scale->rows);
    compiled_free(&c);
}
END_TEST

START_TEST(values_are_columns_of_their_key_value_head) {
    struct compiled c;
    compile(&c, SPECS("zero:head=0.2-3:at=value", "set:kv=1:at=value:value=2"));
    const struct hw_write *v = c.changes.layers[0].writes;
    ck_assert_uint_eq(c.changes.layers[0].n_writes, 1);
    ck_assert_int_eq(v->site, HW_SITE_V);
    ck_assert_uint_eq(v->first, D_HEAD);
    ck_assert_uint_eq(v->width, D_HEAD);
    v = c.changes.layers[1].writes;
    ck_assert_uint_eq(c.changes.layers[1].n_writes, 1);
    ck_assert_uint_eq(v->first, 0);
    ck_assert_uint_eq(v->width, 2 * D_HEAD); // both are neighbours
    ck_assert_float_eq(v->value, 2);
    compiled_free(&c);
}
END_TEST

START_TEST(writes_act_in_the_order_of_the_pass_then_as_given) {
    static const struct {
        enum hw_site site;
        size_t first, width;
    } want[] = {{HW_SITE_RESID_PRE, 0, D_MODEL},  {HW_SITE_V, 0, 2 * D_HEAD},
                {HW_SITE_Z, 0, N_HEADS * D_HEAD}, {HW_SITE_ATTN_OUT, 0, D_MODEL},
                {HW_SITE_RESID_MID, 3, 1},        {HW_SITE_MLP_POST, 9, 1},
                {HW_SITE_MLP_OUT, 0, D_MODEL},    {HW_SITE_RESID_POST, 4, 2},
                {HW_SITE_RESID_POST, 2, 1}};
    struct compiled c;
    compile(&c, SPECS("zero:channel=4-5:layer=1", "scale:channel=2:layer=1:by=2", "zero:mlp=1",
                      "zero:neuron=9:layer=1", "zero:channel=3:layer=1:site=resid_mid",
                      "set:attn=1:value=1", "zero:attn=1:at=z", "zero:attn=1:at=value"));
    ck_assert_uint_eq(c.changes.layers[1].n_writes, 8);
    for (size_t w = 0; w < 8; w++) {
        const struct hw_write *write = &c.changes.layers[1].writes[w];
        ck_assert_int_eq(write->site, want[w + 1].site);
        ck_assert_uint_eq(write->first, want[w + 1].first);
        ck_assert_uint_eq(write->width, want[w + 1].width);
    }
    ck_assert_int_eq(c.changes.layers[1].writes[7].kind, HW_WRITE_SCALE); // given after
    compiled_free(&c);
    compile(&c, SPECS("zero:channel=all:layer=0:site=resid_pre"));
    ck_assert_int_eq(c.changes.layers[0].writes[0].site, want[0].site);
    ck_assert_uint_eq(c.changes.layers[0].writes[0].width, want[0].width);
    compiled_free(&c);
}
END_TEST

START_TEST(sources_are_sliced_to_the_columns) {
    struct compiled c;
    values_ld = 16;
    compile(&c, SPECS("from:head=1.1,1.3:rows=needle"));
    const struct hw_layer_changes *at = &c.changes.layers[1];
    ck_assert_uint_eq(at->n_writes, 2);
    ck_assert_int_eq(at->writes[0].kind, HW_WRITE_ROWS);
    ck_assert_ptr_eq(at->writes[0].values, stored[1][0] + D_HEAD);
    ck_assert_ptr_eq(at->writes[1].values, stored[1][0] + 3 * D_HEAD);
    ck_assert_uint_eq(at->writes[1].ld, 16);
    ck_assert_uint_eq(at->writes[1].n_positions, N_PROMPT);
    ck_assert_str_eq(set(at->writes[1].rows, N_POSITIONS), "0110000");
    compiled_free(&c);
    values_ld = 0;
    compile(&c, SPECS("mean:kv=0.1:at=value"));
    ck_assert_ptr_eq(c.changes.layers[0].writes[0].values, stored[0][0] + D_HEAD);
    ck_assert_uint_eq(c.changes.layers[0].writes[0].ld, 0);
    compiled_free(&c);
    int refuse = 1;
    ck_assert_int_eq(compile_with(&c, SPECS("mean:mlp=2"), &refuse), HW_INPUT);
    ck_assert_str_eq(c.err.message, "no values for layer 2");
    compiled_free(&c);
}
END_TEST

START_TEST(attention_changes_carry_sets_and_numbers) {
    struct compiled c;
    compile(&c, SPECS("block:head=0.1:query=decode:key=needle,0", "uniform:head=0.0-1:rows=prefill",
                      "zero:head=0.3:at=pattern", "scale:kv=0.1:at=pattern:key=first:by=1.5",
                      "bias:attn=0:key=last:by=-2", "to:head=0.2:key=6", "identity:head=0.2",
                      "previous:head=2.2"));
    static const enum hw_attention_change_kind kinds[] = {
        HW_CHANGE_BLOCK, HW_CHANGE_UNIFORM, HW_CHANGE_SCALE,   HW_CHANGE_SCALE,
        HW_CHANGE_BIAS,  HW_CHANGE_TO,      HW_CHANGE_IDENTITY};
    static const char *const heads[] = {"0100", "1100", "0001", "0011", "1111", "0010", "0010"};
    static const char *const rows[] = {"0000111", "1111100", "all", "all", "all", "all", "all"};
    static const char *const keys[] = {"1110000", "all", "all", "1000000", "0000100", "all", "all"};
    static const float amounts[] = {0, 0, 0, 1.5f, -2, 0, 0};
    const struct hw_layer_changes *at = &c.changes.layers[0];
    ck_assert_uint_eq(at->n_writes, 0);
    ck_assert_uint_eq(at->n_attention, 7);
    for (size_t a = 0; a < 7; a++) {
        const struct hw_attention_change *change = &at->attention[a];
        ck_assert_int_eq(change->kind, kinds[a]);
        ck_assert_str_eq(set(change->heads, N_HEADS), heads[a]);
        ck_assert_str_eq(set(change->queries, N_POSITIONS), rows[a]);
        ck_assert_str_eq(set(change->keys, N_POSITIONS), keys[a]);
        ck_assert_float_eq(change->amount, amounts[a]);
        ck_assert(change->is_renormalised == (a == 3));
        ck_assert_ptr_null(change->q_sinks);
    }
    ck_assert_uint_eq(at->attention[5].key, 6);
    ck_assert_int_eq(c.changes.layers[2].attention[0].kind, HW_CHANGE_PREVIOUS);
    compiled_free(&c);
}
END_TEST

START_TEST(windows_count_the_query_itself) {
    struct compiled c;
    compile(&c, SPECS("window:head=0.0:sinks=1:recent=2",
                      "window:head=1.0:sinks=1:recent=2:positions=cache",
                      "scale:head=2.0:at=pattern:by=1:renormalise=no"));
    const struct hw_attention_change *text = c.changes.layers[0].attention;
    const struct hw_attention_change *cache = c.changes.layers[1].attention;
    ck_assert(!text->is_cache_form && cache->is_cache_form);
    ck_assert_uint_eq(text->n_sinks, 1);
    ck_assert_uint_eq(text->n_recent, 2);
    ck_assert_uint_eq(cache->n_recent, 3); // two in the cache and the query
    ck_assert(!c.changes.layers[2].attention[0].is_renormalised);
    compiled_free(&c);
}
END_TEST

static const struct {
    const char *spec;
    const char *message;
} lacking[] = {
    {"zero:head=0.0:rows=nobody",
     "edit 'zero:head=0.0:rows=nobody': prompt 'p' of 5 tokens has no rows 'nobody'"},
    {"zero:head=0.0:rows=gone",
     "edit 'zero:head=0.0:rows=gone': prompt 'p' of 5 tokens has no rows 'gone'"},
    {"zero:mlp=0:rows=7", "edit 'zero:mlp=0:rows=7': prompt 'p' of 5 tokens has no rows '7'"},
    {"block:head=0.0:query=last:key=nobody", "edit 'block:head=0.0:query=last:key=nobody': prompt "
                                             "'p' of 5 tokens has no keys 'nobody'"},
    {"to:head=0.0:key=7", "edit 'to:head=0.0:key=7': prompt 'p' of 5 tokens has no key '7'"},
};

START_TEST(what_a_prompt_lacks_is_named) {
    struct compiled c;
    // Found while measuring already: nothing was opened.
    ck_assert_int_eq(compile_with(&c, SPECS("zero:mlp=1", lacking[_i].spec), NULL), HW_USAGE);
    ck_assert_str_eq(c.err.message, lacking[_i].message);
    ck_assert_ptr_null(c.arena.base);
    compiled_free(&c);
}
END_TEST

START_TEST(arms_are_aimed_before_they_act) {
    bool heads[N_LAYERS * N_HEADS] = {[5] = true, [6] = true};
    bool layers[N_LAYERS] = {[2] = true};
    struct hw_edit *arm = NULL, *edit = NULL;
    struct hw_error err;
    ck_assert_int_eq(hw_edit_parse("zero:rows=last", &desc, true, &arm, &err), HW_OK);
    ck_assert_int_eq(arm->target, HW_TARGET_NONE);
    ck_assert_int_eq(hw_edit_aim(arm, &desc, HW_TARGET_HEAD, heads, &edit, &err), HW_OK);
    ck_assert_str_eq(edit->spec, "zero:head=1.1-2:rows=last");
    ck_assert(edit->heads[5] && edit->heads[6] && !edit->heads[4] && edit->layers[1]);
    hw_edit_close(&edit);
    ck_assert_int_eq(hw_edit_aim(arm, &desc, HW_TARGET_MLP, layers, &edit, &err), HW_OK);
    ck_assert_str_eq(edit->spec, "zero:mlp=2:rows=last");
    hw_edit_close(&edit);
    ck_assert_int_eq(hw_edit_aim(arm, &desc, HW_TARGET_ATTN, layers, &edit, &err), HW_OK);
    ck_assert_int_eq(edit->point, HW_POINT_SITE);
    ck_assert_int_eq(edit->site, HW_SITE_ATTN_OUT);
    hw_edit_close(&edit);
    ck_assert_int_eq(hw_edit_aim(arm, &desc, HW_TARGET_KV, heads, &edit, &err), HW_USAGE);
    ck_assert_str_eq(err.message,
                     "edit 'zero:rows=last': head 1.1 is not all of its key/value head");
    heads[5] = false, heads[7] = true;
    ck_assert_int_eq(hw_edit_aim(arm, &desc, HW_TARGET_KV, heads, &edit, &err), HW_OK);
    ck_assert_str_eq(edit->spec, "zero:kv=1.1:rows=last");
    hw_edit_close(&edit);
    hw_edit_close(&arm);
    ck_assert_int_eq(hw_edit_parse("uniform", &desc, true, &arm, &err), HW_OK);
    ck_assert_int_eq(hw_edit_aim(arm, &desc, HW_TARGET_MLP, layers, &edit, &err), HW_USAGE);
    ck_assert_str_eq(err.message,
                     "edit 'uniform': uniform changes attention: expected head=, kv= or attn=");
    hw_edit_close(&arm);
    // An arm that was given a place keeps it on every target.
    ck_assert_int_eq(hw_edit_parse("zero:at=z", &desc, true, &arm, &err), HW_OK);
    ck_assert_int_eq(hw_edit_aim(arm, &desc, HW_TARGET_ATTN, layers, &edit, &err), HW_OK);
    ck_assert_str_eq(edit->spec, "zero:attn=2:at=z");
    hw_edit_close(&edit);
    hw_edit_close(&arm);
}
END_TEST

START_TEST(sources_are_asked_for_by_site) {
    static const struct {
        const char *spec;
        int site; // -1: no source
    } cases[] = {{"mean:head=0.0", HW_SITE_Z},
                 {"from:kv=0.0:at=value", HW_SITE_V},
                 {"resample:attn=1", HW_SITE_ATTN_OUT},
                 {"position_mean:neuron=1:layer=0", HW_SITE_MLP_POST},
                 {"mean:mlp=1", HW_SITE_MLP_OUT},
                 {"from:channel=all:layer=0:site=resid_pre", HW_SITE_RESID_PRE},
                 {"zero:head=0.0", -1},
                 {"uniform:head=0.0", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hw_edit *edit = NULL;
        enum hw_site site = HW_N_SITES;
        ck_assert_int_eq(hw_edit_parse(cases[i].spec, &desc, false, &edit, NULL), HW_OK);
        ck_assert(hw_edit_has_source(edit, &site) == (cases[i].site >= 0));
        ck_assert_int_eq(site, cases[i].site >= 0 ? cases[i].site : HW_N_SITES);
        hw_edit_close(&edit);
    }
}
END_TEST

int main(void) {
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, heads_are_runs_of_columns_of_z);
    tcase_add_test(tcase, values_are_columns_of_their_key_value_head);
    tcase_add_test(tcase, writes_act_in_the_order_of_the_pass_then_as_given);
    tcase_add_test(tcase, sources_are_sliced_to_the_columns);
    tcase_add_test(tcase, attention_changes_carry_sets_and_numbers);
    tcase_add_test(tcase, windows_count_the_query_itself);
    tcase_add_loop_test(tcase, what_a_prompt_lacks_is_named, 0,
                        (int)(sizeof lacking / sizeof lacking[0]));
    tcase_add_test(tcase, arms_are_aimed_before_they_act);
    tcase_add_test(tcase, sources_are_asked_for_by_site);
    return run_suite("edit_compile", tcase);
}
