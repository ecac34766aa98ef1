// A model on disk opens whatever its container; what is wrong with a folder, an index or a hub name
// is said; the hash is that of the bytes, wherever it comes from.
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/checkpoint.h"
#include "formats/gguf.h"
#include "gguf_writer.h"
#include "safetensors_writer.h"

static struct hw_checkpoint *open_good(const char *path) {
    struct hw_checkpoint *checkpoint = NULL;
    struct hw_error err = {0};
    ck_assert_msg(hw_checkpoint_open(path, &checkpoint, &err) == HW_OK, "%s", err.message);
    return checkpoint;
}

static void expect_refused(const char *path, const char *message) {
    struct hw_checkpoint *checkpoint = NULL;
    struct hw_error err = {0};
    enum hw_status status = hw_checkpoint_open(path, &checkpoint, &err);
    ck_assert_msg(status == HW_INPUT, "expected \"%s\", status %d: %s", message, status,
                  err.message);
    ck_assert_ptr_null(checkpoint);
    ck_assert_msg(strstr(err.message, message) != NULL, "expected \"%s\" in \"%s\"", message,
                  err.message);
    ck_assert_int_eq(hw_checkpoint_open(path, &checkpoint, NULL), HW_INPUT);
}

static void put(const char *folder, const char *name, const char *text) {
    free(temp_file(folder, name, text, strlen(text)));
}

static const char good_index[] =
    "{\"metadata\":{},\"weight_map\":{\"b\":\"m-2.safetensors\",\"a\":\"m-1.safetensors\"}}";

// config.json, an index and two shards: a in m-1, b in m-2.
static char *sharded_folder(void) {
    char *folder = temp_folder_new();
    put(folder, "config.json", "{\"model_type\": \"llama\", \"eps\": 1e-05}");
    put(folder, "model.safetensors.index.json", good_index);
    safetensors_put_shard(folder, "m-1.safetensors", "a");
    safetensors_put_shard(folder, "m-2.safetensors", "b");
    return folder;
}

START_TEST(folder_and_gguf_twin_have_the_same_weights) {
    struct hw_checkpoint *folder = open_good(HW_TEST_DATA "/models/llama-gqa");
    struct hw_checkpoint *gguf = open_good(HW_TEST_DATA "/models/llama-gqa-f32.gguf");
    ck_assert_int_eq(hw_checkpoint_container(folder), HW_CONTAINER_SAFETENSORS);
    ck_assert_int_eq(hw_checkpoint_container(gguf), HW_CONTAINER_GGUF);
    const struct hw_tensor *a = hw_checkpoint_find(folder, "model.embed_tokens.weight");
    const struct hw_tensor *b = hw_checkpoint_find(gguf, "token_embd.weight");
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_uint_eq(a->n_dims, 2);
    ck_assert_uint_eq(a->shape[0], b->shape[0]);
    ck_assert_uint_eq(a->shape[1], b->shape[1]);
    ck_assert_uint_eq(a->n_bytes, b->n_bytes);
    ck_assert_mem_eq(a->data, b->data, a->n_bytes);
    ck_assert_ptr_nonnull(hw_checkpoint_config(folder));
    ck_assert_ptr_null(hw_checkpoint_config(gguf));
    ck_assert_ptr_null(hw_checkpoint_gguf(folder));
    ck_assert_ptr_nonnull(hw_checkpoint_gguf(gguf));
    ck_assert_str_eq(hw_checkpoint_tokenizer_path(folder),
                     HW_TEST_DATA "/models/llama-gqa/tokenizer.json");
    ck_assert_ptr_null(hw_checkpoint_tokenizer_path(gguf));
    ck_assert_str_eq(hw_checkpoint_quantisation(gguf), "F32");
    hw_checkpoint_close(&folder);
    hw_checkpoint_close(&gguf);
    ck_assert_ptr_null(gguf);
}
END_TEST

START_TEST(stored_type_is_that_of_most_bytes) {
    struct hw_checkpoint *gguf = open_good(HW_TEST_DATA "/models/llama-gqa-q8_0.gguf");
    ck_assert_str_eq(hw_checkpoint_quantisation(gguf), "Q8_0");
    hw_checkpoint_close(&gguf);
    // Masks and ids are buffers, not weights, however large.
    struct byte_buffer file = {0};
    char *folder = temp_folder_new();
    put(folder, "config.json", "{}");
    safetensors_put(&file,
                    "{\"mask\":{\"dtype\":\"BOOL\",\"shape\":[9],\"data_offsets\":[0,9]},"
                    "\"w\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[9,13]}}",
                    13);
    free(temp_file(folder, "model.safetensors", file.bytes, file.n));
    struct hw_checkpoint *checkpoint = open_good(folder);
    ck_assert_str_eq(hw_checkpoint_quantisation(checkpoint), "F16");
    hw_checkpoint_close(&checkpoint);
    byte_buffer_free(&file);
    temp_folder_remove(&folder);
}
END_TEST

START_TEST(shards_read_as_one) {
    char *folder = sharded_folder();
    put(folder, "tokenizer.json", "{}");
    put(folder, "tokenizer_config.json", "{}");
    struct hw_checkpoint *checkpoint = open_good(folder);
    static const char *const files[] = {
        "m-1.safetensors", "m-2.safetensors", "model.safetensors.index.json",
        "config.json",     "tokenizer.json",  "tokenizer_config.json"};
    ck_assert_uint_eq(hw_checkpoint_n_files(checkpoint), 6);
    for (size_t i = 0; i < 6; i++) {
        uint64_t n_bytes = 0;
        const char *path = hw_checkpoint_file(checkpoint, i, &n_bytes);
        struct stat info;
        ck_assert_str_eq(strrchr(path, '/') + 1, files[i]);
        ck_assert_int_eq(stat(path, &info), 0);
        ck_assert_uint_eq(n_bytes, (uint64_t)info.st_size);
    }
    ck_assert_ptr_null(hw_checkpoint_file(checkpoint, 6, NULL));
    ck_assert_uint_eq(hw_checkpoint_n_tensors(checkpoint), 2);
    ck_assert_str_eq(hw_checkpoint_tensor(checkpoint, 0)->name, "a");
    ck_assert_ptr_null(hw_checkpoint_tensor(checkpoint, 2));
    ck_assert_mem_eq(hw_checkpoint_find(checkpoint, "b")->data, "\0\1\2\3", 4);
    ck_assert_ptr_null(hw_checkpoint_find(checkpoint, "c"));
    ck_assert_ptr_nonnull(hw_checkpoint_tokenizer_config_path(checkpoint));
    ck_assert_str_eq(hw_checkpoint_path(checkpoint), folder);
    hw_checkpoint_close(&checkpoint);
    temp_folder_remove(&folder);
}
END_TEST

#define MAP(b) "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":" b "}}"

// A file of the good folder is replaced by a text, or removed.
static const struct {
    const char *name;
    const char *file;
    const char *text; // NULL: removed
    const char *message;
} bad_folders[] = {
    {"no config", "config.json", NULL, "no config.json"},
    {"config an array", "config.json", "[]", "config.json: expected an object"},
    {"config not JSON", "config.json", "{a}", "config.json: line 1, column 2"},
    {"key of the config twice", "config.json", "{\"a\":1,\"a\":2}", "duplicate object key"},
    {"no weights", "model.safetensors.index.json", NULL,
     "neither model.safetensors nor model.safetensors.index.json; m-"},
    {"map missing", "model.safetensors.index.json", "{}",
     "weight_map is missing, empty or not an object"},
    {"map empty", "model.safetensors.index.json", "{\"weight_map\":{}}",
     "weight_map is missing, empty"},
    {"map an array", "model.safetensors.index.json", "{\"weight_map\":[]}",
     "weight_map is missing, empty"},
    {"index an array", "model.safetensors.index.json", "[]", "weight_map is missing, empty"},
    {"shard not text", "model.safetensors.index.json", MAP("7"), "the value of b is not a string"},
    {"shard outside", "model.safetensors.index.json", MAP("\"../m-2.safetensors\""),
     "shard \"../m-2.safetensors\", expected the plain name"},
    {"absolute path", "model.safetensors.index.json", MAP("\"/etc/m.safetensors\""),
     "shard \"/etc/m.safetensors\", expected the plain name"},
    {"folder below", "model.safetensors.index.json", MAP("\"x/m.safetensors\""),
     "expected the plain name"},
    {"backslash", "model.safetensors.index.json", MAP("\"..\\\\m.safetensors\""),
     "expected the plain name"},
    {"dots", "model.safetensors.index.json", MAP("\"..\""),
     "shard \"..\", expected the plain name"},
    {"hidden", "model.safetensors.index.json", MAP("\".x.safetensors\""),
     "expected the plain name"},
    {"empty name", "model.safetensors.index.json", MAP("\"\""),
     "shard \"\", expected the plain name"},
    {"other file", "model.safetensors.index.json", MAP("\"config.json\""),
     "expected the plain name"},
    {"escape in a name", "model.safetensors.index.json", MAP("\"\\u001b[2J\""),
     "shard \"\\x1b[2J\""},
    {"shard missing", "m-2.safetensors", NULL, "m-2.safetensors: No such file"},
    {"shard empty", "m-2.safetensors", "", "m-2.safetensors: 0 bytes, too short"},
    {"tensor listed twice", "model.safetensors.index.json",
     "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\",\"a\":\"m-2."
     "safetensors\"}}",
     "duplicate object key"},
    {"tensor in the other shard", "model.safetensors.index.json",
     "{\"weight_map\":{\"a\":\"m-2.safetensors\",\"b\":\"m-1.safetensors\"}}",
     "tensor a, expected in m-2.safetensors, found in m-1.safetensors"},
    {"tensor nowhere", "model.safetensors.index.json",
     "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\",\"c\":\"m-2."
     "safetensors\"}}",
     "tensor c, expected in m-2.safetensors, found in none"},
    {"tensor not listed", "model.safetensors.index.json",
     "{\"weight_map\":{\"a\":\"m-1.safetensors\",\"c\":\"m-2.safetensors\"}}",
     "tensor c, expected in m-2.safetensors, found in none"},
};

START_TEST(bad_folder_is_refused_by_name) {
    char *folder = sharded_folder();
    if (bad_folders[_i].text != NULL) {
        put(folder, bad_folders[_i].file, bad_folders[_i].text);
    } else {
        char *path = temp_file(folder, bad_folders[_i].file, "", 0);
        ck_assert_int_eq(unlink(path), 0);
        free(path);
    }
    expect_refused(folder, bad_folders[_i].message);
    temp_folder_remove(&folder);
}
END_TEST

START_TEST(shards_and_index_must_agree) {
    char *folder = sharded_folder();
    safetensors_put_shard(folder, "m-2.safetensors", "a");
    expect_refused(folder, "tensor a occurs twice");
    temp_folder_remove(&folder);
    folder = sharded_folder();
    struct byte_buffer file = {0};
    safetensors_put(&file,
                    "{\"b\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                    "\"c\":{\"dtype\":\"I8\",\"shape\":[0],\"data_offsets\":[1,1]}}",
                    1);
    free(temp_file(folder, "m-2.safetensors", file.bytes, file.n));
    expect_refused(folder, "tensor c of m-2.safetensors is not in the weight_map");
    byte_buffer_free(&file);
    temp_folder_remove(&folder);
}
END_TEST

START_TEST(other_paths_are_refused_with_advice) {
    char *folder = temp_folder_new();
    char *empty = NULL;
    ck_assert_int_gt(asprintf(&empty, "%s/", folder), 0);
    expect_refused("/no/such/model", "/no/such/model: No such file or directory");
    expect_refused("", ": No such file or directory");
    expect_refused(empty, "neither model.safetensors nor model.safetensors.index.json");
    put(folder, "x.gguf", "");
    expect_refused(folder, "for x.gguf give the file itself");
    put(folder, "model.safetensors", "");
    char *file = temp_file(folder, "pytorch_model.bin", "", 0);
    expect_refused(file, "pytorch_model.bin: 0 bytes, too short for a GGUF file");
    free(file);
    file = temp_file(folder, "m.safetensors", "", 0);
    expect_refused(file, "give the folder that holds it with its config.json");
    free(file);
    free(empty);
    temp_folder_remove(&folder);
}
END_TEST

// Path of the only entry of the hash cache, to be freed.
static char *only_entry(const char *cache) {
    char folder[512];
    char *found = NULL;
    (void)snprintf(folder, sizeof folder, "%s/below/hashes", cache);
    DIR *dir = opendir(folder);
    ck_assert_ptr_nonnull(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            ck_assert_ptr_null(found);
            ck_assert_int_gt(asprintf(&found, "%s/%s", folder, entry->d_name), 0);
        }
    }
    (void)closedir(dir);
    ck_assert_ptr_nonnull(found);
    return found;
}

static void rewrite(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void expect_hash(const char *path, enum hw_model_hash how, const char *cache,
                        const char *expected) {
    struct hw_checkpoint *checkpoint = open_good(path);
    char hex[65] = "unchanged";
    struct hw_error err = {0};
    ck_assert_msg(hw_checkpoint_sha256(checkpoint, how, cache, hex, &err) == HW_OK, "%s",
                  err.message);
    ck_assert_str_eq(hex, expected);
    hw_checkpoint_close(&checkpoint);
}

// What sha256sum says of the shards one after another (printf
// '5\0\0\0\0\0\0\0{"a":...}\0\1\2\3...'), and of their headers.
START_TEST(hash_is_of_the_files_in_order) {
    static const char full[] = "5561aa873fd0c8776110b337ec09dc1edf924e748829ee314af20be52c98fe69";
    static const char header[] = "012bd38e6c6baeccb38462dc021dc5711f410f16262ae12813c97c4c3d984e9f";
    char *folder = sharded_folder();
    char *cache = temp_folder_new();
    char *hashes = NULL;
    ck_assert_int_gt(asprintf(&hashes, "%s/below/hashes", cache), 0); // made where it is not there
    expect_hash(folder, HW_MODEL_HASH_NONE, hashes, "");
    expect_hash(folder, HW_MODEL_HASH_HEADER, hashes, header);
    expect_hash(folder, HW_MODEL_HASH_FULL, NULL, full); // keeps nothing
    expect_hash(folder, HW_MODEL_HASH_FULL, hashes, full);
    // The second time it comes from the cache, as a planted entry shows; a damaged entry is not
    // believed.
    char *entry = only_entry(cache);
    char planted[66];
    memset(planted, 'a', 64);
    planted[64] = '\n';
    planted[65] = '\0';
    rewrite(entry, planted);
    planted[64] = '\0';
    expect_hash(folder, HW_MODEL_HASH_FULL, hashes, planted);
    rewrite(entry, "aaaa\n");
    expect_hash(folder, HW_MODEL_HASH_FULL, hashes, full);
    memset(planted, 'g', 64); // no hexadecimal digit
    planted[64] = '\n';
    rewrite(entry, planted);
    expect_hash(folder, HW_MODEL_HASH_FULL, hashes, full);
    free(entry);
    // A cache that cannot be written changes nothing.
    expect_hash(folder, HW_MODEL_HASH_FULL, "/dev/null/x", full);
    free(hashes);
    temp_folder_remove(&cache);
    temp_folder_remove(&folder);
}
END_TEST

START_TEST(file_replaced_while_in_use_is_noticed) {
    char *folder = sharded_folder();
    struct hw_checkpoint *checkpoint = open_good(folder);
    char *path = temp_file(folder, "new",
                           "longer than a shard with a single tensor of four bytes is, by far", 65);
    ck_assert_int_eq(rename(path, hw_checkpoint_file(checkpoint, 0, NULL)), 0);
    char hex[65] = "unchanged";
    struct hw_error err = {0};
    ck_assert_int_eq(hw_checkpoint_sha256(checkpoint, HW_MODEL_HASH_FULL, NULL, hex, &err),
                     HW_INPUT);
    ck_assert_ptr_nonnull(
        strstr(err.message, "m-1.safetensors: changed or removed while it was in use"));
    ck_assert_str_eq(hex, "unchanged");
    hw_checkpoint_close(&checkpoint);
    free(path);
    temp_folder_remove(&folder);
}
END_TEST

START_TEST(metadata_is_one_json_document) {
    struct byte_buffer file = {0};
    char *folder = temp_folder_new();
    gguf_put_header(&file, 3, 0, 9);
    gguf_put_value_string(&file, "text", "a\"\n");
    gguf_put_value_string(&file, "not utf-8", "\xff");
    gguf_put_value_u(&file, "large", HW_GGUF_U64, UINT64_MAX);
    gguf_put_value_u(&file, "negative", HW_GGUF_I8, 0xFF);
    gguf_put_value_u(&file, "flag", HW_GGUF_BOOL, 1);
    gguf_put_value_f32(&file, "half", 0.5F);
    gguf_put_value_u(&file, "nan", HW_GGUF_F32, 0x7FC00000);
    gguf_put_array(&file, "short", HW_GGUF_STRING, 2);
    gguf_put_string(&file, "x");
    gguf_put_string(&file, "");
    gguf_put_array(&file, "long", HW_GGUF_U8, 65);
    byte_buffer_put(&file, (char[65]){0}, 65);
    char *path = temp_file(folder, "m.gguf", file.bytes, file.n);
    struct hw_checkpoint *checkpoint = open_good(path);
    char *json = hw_checkpoint_metadata_json(checkpoint);
    ck_assert_str_eq(
        json, "{\"text\":\"a\\\"\\n\",\"not utf-8\":\"\\\\xff\",\"large\":\"18446744073709551615\","
              "\"negative\":-1,\"flag\":true,\"half\":0.5,\"nan\":\"nan\",\"short\":[\"x\",\"\"],"
              "\"long\":{\"type\":\"array\",\"element_type\":\"u8\",\"n\":65}}");
    free(json);
    hw_checkpoint_close(&checkpoint);
    free(path);
    byte_buffer_free(&file);
    temp_folder_remove(&folder);
    folder = sharded_folder();
    checkpoint = open_good(folder);
    json = hw_checkpoint_metadata_json(checkpoint);
    ck_assert_str_eq(json, "{\"model_type\":\"llama\",\"eps\":1.0000000000000001e-5}");
    free(json);
    hw_checkpoint_close(&checkpoint);
    temp_folder_remove(&folder);
}
END_TEST

// Numbers of gguf-py's gguf-dump, and sha256sum.
START_TEST(smollm2_opens) {
    struct hw_checkpoint *checkpoint = open_good(HW_SMOLLM2);
    const struct hw_gguf *gguf = hw_checkpoint_gguf(checkpoint);
    uint64_t n = 0;
    ck_assert_uint_eq(hw_checkpoint_n_tensors(checkpoint), 272);
    ck_assert_uint_eq(hw_gguf_n_values(gguf), 33);
    ck_assert_int_eq(hw_gguf_get_u64(gguf, "llama.block_count", &n, NULL), HW_OK);
    ck_assert_uint_eq(n, 30);
    ck_assert_uint_eq(hw_gguf_find(gguf, "tokenizer.ggml.merges")->n, 48900);
    const struct hw_tensor *down = hw_checkpoint_find(checkpoint, "blk.29.ffn_down.weight");
    ck_assert_ptr_nonnull(down);
    ck_assert_uint_eq(down->shape[0], 576);
    ck_assert_uint_eq(down->shape[1], 1536);
    ck_assert_str_eq(hw_checkpoint_quantisation(checkpoint), "Q4_1");
    hw_checkpoint_close(&checkpoint);
    expect_hash(HW_SMOLLM2, HW_MODEL_HASH_FULL, NULL,
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
}
END_TEST

int main(void) {
    Suite *suite = suite_create("checkpoint");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 120); // the machine may be busy, or instrumented
    tcase_add_test(tcase, folder_and_gguf_twin_have_the_same_weights);
    tcase_add_test(tcase, stored_type_is_that_of_most_bytes);
    tcase_add_test(tcase, shards_read_as_one);
    tcase_add_loop_test(tcase, bad_folder_is_refused_by_name, 0,
                        sizeof bad_folders / sizeof bad_folders[0]);
    tcase_add_test(tcase, shards_and_index_must_agree);
    tcase_add_test(tcase, other_paths_are_refused_with_advice);
    tcase_add_test(tcase, hash_is_of_the_files_in_order);
    tcase_add_test(tcase, file_replaced_while_in_use_is_noticed);
    tcase_add_test(tcase, metadata_is_one_json_document);
    if (HW_SMOLLM2[0] != '\0') {
        tcase_add_test(tcase, smollm2_opens);
    } else {
        (void)puts("skipped: smollm2: no file given (meson option smollm2)");
    }
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
