// One JSON document, compared field by field.
#include "formats/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/commit.h"

enum { HW_MAX_MANIFEST_BYTES = 256 << 20, HW_MANIFEST_VERSION = 1, HW_MAX_DEPTH = 32 };

// Views into a document; false where it is no manifest.
static bool look_inside(struct hw_manifest *manifest) {
    json_int_t version = 0, n_prompts = 0, commit_every = 0, n_shards = 0;
    json_t *compared = NULL, *root = NULL, *attributes = NULL;
    struct hw_provenance *p = &manifest->provenance;
    if (json_unpack(manifest->document, "{s:I, s:I, s:I, s:I, s:o, s:o, s:o, s?s, s?s, s?s, s?s}",
                    "version", &version, "n_prompts", &n_prompts, "commit_every", &commit_every,
                    "n_shards", &n_shards, "compared", &compared, "root_attributes", &root,
                    "attributes", &attributes, "config_json", &p->config_json,
                    "model_metadata_json", &p->model_metadata_json, "edits_json", &p->edits_json,
                    "kernels_json", &p->kernels_json) != 0) {
        return false;
    }
    if (version != HW_MANIFEST_VERSION || n_prompts < 0 || n_prompts > INT32_MAX ||
        commit_every < 1 || commit_every > INT32_MAX || n_shards < 1 || n_shards > 1000000 ||
        !json_is_object(compared) || !json_is_object(root) || !json_is_object(attributes)) {
        return false;
    }
    manifest->compared = compared;
    p->root_attributes = root;
    p->attributes = attributes;
    manifest->n_prompts = (size_t)n_prompts;
    manifest->commit_every = (size_t)commit_every;
    manifest->n_shards = (size_t)n_shards;
    return true;
}

static json_t *or_empty(const json_t *object) {
    return object != NULL ? json_deep_copy(object) : json_object();
}

enum hw_status hw_manifest_make(const json_t *compared, const struct hw_provenance *provenance,
                                size_t n_prompts, size_t commit_every, size_t n_shards,
                                struct hw_manifest *ret_manifest, struct hw_error *err) {
    static const struct hw_provenance none;
    const struct hw_provenance *p = provenance != NULL ? provenance : &none;
    struct hw_manifest manifest = {0};
    manifest.document = json_pack(
        "{s:i, s:I, s:I, s:I, s:o, s:o, s:o, s:s*, s:s*, s:s*, s:s*}", "version",
        HW_MANIFEST_VERSION, "n_prompts", (json_int_t)n_prompts, "commit_every",
        (json_int_t)commit_every, "n_shards", (json_int_t)n_shards, "compared", or_empty(compared),
        "root_attributes", or_empty(p->root_attributes), "attributes", or_empty(p->attributes),
        "config_json", p->config_json, "model_metadata_json", p->model_metadata_json, "edits_json",
        p->edits_json, "kernels_json", p->kernels_json);
    if (manifest.document == NULL || !look_inside(&manifest)) {
        json_decref(manifest.document);
        return hw_fail(err, HW_INTERNAL,
                       "the manifest cannot be made of %zu prompts, parts of %zu, %zu shards",
                       n_prompts, commit_every, n_shards);
    }
    *ret_manifest = manifest;
    return HW_OK;
}

static enum hw_status parse(const char *text, struct hw_manifest *ret_manifest,
                            struct hw_error *err) {
    json_error_t reason;
    struct hw_manifest manifest = {.document = json_loads(text, JSON_REJECT_DUPLICATES, &reason)};
    if (manifest.document == NULL) {
        return hw_fail(err, HW_INPUT, "manifest: line %d: %s", reason.line, reason.text);
    }
    if (!look_inside(&manifest)) {
        json_decref(manifest.document);
        return hw_fail(err, HW_INPUT, "manifest: is none of version %d", (int)HW_MANIFEST_VERSION);
    }
    *ret_manifest = manifest;
    return HW_OK;
}

enum hw_status hw_manifest_read(const char *folder, struct hw_manifest *ret_manifest,
                                struct hw_error *err) {
    char *path = hw_path_format("%s/manifest.json", folder);
    char *text = NULL;
    size_t n = 0;
    enum hw_status status = path != NULL
                                ? hw_commit_read(path, HW_MAX_MANIFEST_BYTES, &text, &n, err)
                                : hw_fail(err, HW_RESOURCE, "not enough memory for a path");
    if (status == HW_OK) {
        status = parse(text, ret_manifest, err);
        if (status != HW_OK) {
            (void)hw_fail_context(err, status, "%s: ", folder);
        }
    }
    free(text);
    free(path);
    return status;
}

enum hw_status hw_manifest_write(const struct hw_manifest *manifest, const char *folder,
                                 struct hw_error *err) {
    char *text = json_dumps(manifest->document, JSON_INDENT(1) | JSON_SORT_KEYS);
    char *path = hw_path_format("%s/manifest.json", folder);
    char *temporary = path != NULL ? hw_commit_temporary(path) : NULL;
    enum hw_status status = HW_OK;
    if (text == NULL || path == NULL || temporary == NULL) {
        status = hw_fail(err, HW_RESOURCE, "not enough memory for the manifest");
    } else {
        (void)unlink(temporary);
        status = hw_commit_write(temporary, text, strlen(text), err);
        status = status != HW_OK ? status : hw_commit_rename(temporary, path, err);
        if (status != HW_OK) {
            (void)unlink(temporary);
        }
    }
    free(text);
    free(path);
    free(temporary);
    return status;
}

void hw_manifest_close(struct hw_manifest *manifest) {
    json_decref(manifest->document);
    *manifest = (struct hw_manifest){0};
}

// Value as short text for a message.
static void show(const json_t *value, char *ret_text, size_t n) {
    char *text = value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    (void)hw_escape(ret_text, n, text != NULL ? text : "nothing", text != NULL ? strlen(text) : 7);
    free(text);
}

// Whether the values are equal; if not, the name of the first field that differs.
static bool is_same(const json_t *there, const json_t *wanted, const char *name, int depth,
                    struct hw_error *err) {
    if (json_is_object(there) && json_is_object(wanted) && depth < HW_MAX_DEPTH) {
        const char *key;
        json_t *value;
        // The order of `wanted` puts causes (model, prompts, records) before what follows from
        // them.
        const json_t *sides[2] = {wanted, there};
        for (int side = 0; side < 2; side++) {
            json_object_foreach((json_t *)sides[side], key, value) {
                char inner[200];
                (void)snprintf(inner, sizeof inner, "%s%s%s", name, name[0] != '\0' ? "." : "",
                               key);
                if (!is_same(json_object_get(there, key), json_object_get(wanted, key), inner,
                             depth + 1, err)) {
                    return false;
                }
            }
        }
        return true;
    }
    if (there != NULL && wanted != NULL && json_equal(there, wanted)) {
        return true;
    }
    char a[100], b[100];
    show(there, a, sizeof a);
    show(wanted, b, sizeof b);
    (void)hw_fail(err, HW_OUTPUT, "belongs to another run: %s is %s there and %s here", name, a, b);
    return false;
}

enum hw_status hw_manifest_compare(const struct hw_manifest *there,
                                   const struct hw_manifest *wanted, struct hw_error *err) {
    if (!is_same(there->compared, wanted->compared, "", 0, err)) {
        return HW_OUTPUT;
    }
    if (there->n_prompts != wanted->n_prompts) {
        return hw_fail(err, HW_OUTPUT, "belongs to another run: it has %zu prompts, not %zu",
                       there->n_prompts, wanted->n_prompts);
    }
    if (there->n_shards != wanted->n_shards) {
        return hw_fail(err, HW_OUTPUT, "belongs to another run: it has %zu shards, not %zu",
                       there->n_shards, wanted->n_shards);
    }
    return HW_OK;
}

char *hw_manifest_kept_text(const struct hw_manifest *manifest) {
    json_t *kept = json_pack("{s:I, s:O}", "n_prompts", (json_int_t)manifest->n_prompts, "compared",
                             manifest->compared);
    char *text = kept != NULL ? json_dumps(kept, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(kept);
    return text;
}

enum hw_status hw_manifest_compare_kept(const char *text, const struct hw_manifest *wanted,
                                        struct hw_error *err) {
    json_error_t reason;
    json_t *kept = json_loads(text, JSON_REJECT_DUPLICATES, &reason);
    json_int_t n_prompts = 0;
    json_t *compared = NULL;
    enum hw_status status;
    if (json_unpack(kept, "{s:I, s:o}", "n_prompts", &n_prompts, "compared", &compared) != 0 ||
        n_prompts < 0) {
        status = hw_fail(err, HW_OUTPUT, "has no manifest of a run");
    } else {
        struct hw_manifest there = *wanted;
        there.compared = compared;
        there.n_prompts = (size_t)n_prompts;
        status = hw_manifest_compare(&there, wanted, err);
    }
    json_decref(kept);
    return status;
}
