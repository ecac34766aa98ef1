// Chunks decode to what was encoded, random bytes are stored raw, broken streams are refused, and
// what HDF5 itself makes of them is in test_part.
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "formats/codec.h"

static struct hw_codec *codec;

static void setup(void) {
    ck_assert_int_eq(hw_codec_open(3, &codec, NULL), HW_OK);
}

static void teardown(void) {
    hw_codec_close(&codec);
}

static struct hw_codec_chunk make(size_t n_bytes, size_t element_bytes, bool is_random) {
    struct hw_codec_chunk chunk = {malloc(n_bytes + 1), n_bytes, element_bytes, 0, true};
    uint32_t x = (uint32_t)n_bytes;
    for (size_t i = 0; i < n_bytes; i++) {
        x = x * 1664525u + 1013904223u;
        ((unsigned char *)chunk.data)[i] =
            is_random ? (unsigned char)(x >> 24) : (unsigned char)(i % element_bytes);
    }
    return chunk;
}

static const size_t sizes[] = {0, 2, 3, 4, 8, 100, 4097, 32768, 70001, 400000};

START_TEST(chunks_come_back) {
    static const size_t widths[] = {1, 2, 4, 8};
    for (size_t w = 0; w < 4; w++) {
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            for (int is_random = 0; is_random < 2; is_random++) {
                struct hw_codec_chunk chunk = make(sizes[s], widths[w], is_random);
                struct hw_codec_chunk copy = make(sizes[s], widths[w], is_random);
                struct hw_codec_chunk *list[1] = {&chunk};
                ck_assert_int_eq(hw_codec_encode(codec, list, 1, NULL), HW_OK);
                ck_assert_uint_le(chunk.n_bytes, sizes[s]);
                if (is_random && sizes[s] > 0) {
                    ck_assert_uint_eq(chunk.filter_mask, HW_CODEC_RAW_MASK);
                }
                if (!is_random && sizes[s] >= 100) {
                    ck_assert_uint_eq(chunk.filter_mask, 0);
                }
                if (sizes[s] > 0) {
                    unsigned char *out = malloc(sizes[s]);
                    ck_assert_int_eq(hw_codec_decode(codec, &chunk, out, sizes[s], NULL), HW_OK);
                    ck_assert_int_eq(memcmp(out, copy.data, sizes[s]), 0);
                    free(out);
                }
                free(chunk.data);
                free(copy.data);
            }
        }
    }
}
END_TEST

// zlib itself is the independent judge of our streams, and the order of bytes is HDF5's: lowest
// bytes of all values first.
START_TEST(stream_is_zlib_of_shuffled_bytes) {
    struct hw_codec_chunk chunk = make(4096, 4, false);
    struct hw_codec_chunk *list[1] = {&chunk};
    ck_assert_int_eq(hw_codec_encode(codec, list, 1, NULL), HW_OK);
    unsigned char out[4096];
    uLongf n = sizeof out;
    ck_assert_int_eq(uncompress(out, &n, chunk.data, (uLong)chunk.n_bytes), Z_OK);
    ck_assert_uint_eq(n, 4096);
    for (size_t i = 0; i < n; i++) {
        ck_assert_uint_eq(out[i], i / 1024);
    }
    free(chunk.data);
}
END_TEST

START_TEST(team_encodes_as_one_thread_does) {
    struct hw_codec *single = NULL;
    ck_assert_int_eq(hw_codec_open(1, &single, NULL), HW_OK);
    struct hw_codec_chunk many[20], alone[20];
    struct hw_codec_chunk *list[20];
    for (size_t i = 0; i < 20; i++) {
        many[i] = make(1000 * i + 10, 2, i % 3 == 0);
        alone[i] = make(1000 * i + 10, 2, i % 3 == 0);
        list[i] = &many[i];
    }
    ck_assert_int_eq(hw_codec_encode(codec, list, 20, NULL), HW_OK);
    for (size_t i = 0; i < 20; i++) {
        struct hw_codec_chunk *one[1] = {&alone[i]};
        ck_assert_int_eq(hw_codec_encode(single, one, 1, NULL), HW_OK);
        ck_assert_uint_eq(alone[i].n_bytes, many[i].n_bytes);
        ck_assert_int_eq(memcmp(alone[i].data, many[i].data, many[i].n_bytes), 0);
        free(alone[i].data);
        free(many[i].data);
    }
    hw_codec_close(&single);
}
END_TEST

START_TEST(team_decodes_and_names_the_first_broken_one) {
    enum { N = 20, BYTES = 30000 };
    struct hw_codec_chunk chunks[N];
    struct hw_codec_chunk *list[N];
    void *outs[N];
    for (size_t i = 0; i < N; i++) {
        chunks[i] = make(BYTES, 4, i % 3 == 0);
        ((unsigned char *)chunks[i].data)[7] = (unsigned char)i;
        list[i] = &chunks[i];
        outs[i] = malloc(BYTES);
    }
    ck_assert_int_eq(hw_codec_encode(codec, list, N, NULL), HW_OK);
    ck_assert_int_eq(hw_codec_decode_all(codec, chunks, outs, N, BYTES, NULL), HW_OK);
    for (size_t i = 0; i < N; i++) {
        struct hw_codec_chunk copy = make(BYTES, 4, i % 3 == 0);
        ((unsigned char *)copy.data)[7] = (unsigned char)i;
        ck_assert_int_eq(memcmp(outs[i], copy.data, BYTES), 0);
        free(copy.data);
    }
    struct hw_error err;
    chunks[17].n_bytes = 5;
    chunks[11].n_bytes = 6;
    ck_assert_int_eq(hw_codec_decode_all(codec, chunks, outs, N, BYTES, &err), HW_INPUT);
    ck_assert_msg(strstr(err.message, "stream of 6 bytes") != NULL, "%s", err.message);
    for (size_t i = 0; i < N; i++) {
        free(chunks[i].data);
        free(outs[i]);
    }
}
END_TEST

START_TEST(broken_streams_are_refused) {
    struct hw_codec_chunk chunk = make(4096, 4, false);
    struct hw_codec_chunk *list[1] = {&chunk};
    ck_assert_int_eq(hw_codec_encode(codec, list, 1, NULL), HW_OK);
    unsigned char out[8192];
    struct hw_error err;
    for (size_t n = 0; n < chunk.n_bytes; n++) {
        ck_assert_int_eq(hw_codec_decode(codec, &(struct hw_codec_chunk){chunk.data, n, 4, 0, true},
                                         out, 4096, &err),
                         HW_INPUT);
    }
    ck_assert_int_eq(
        hw_codec_decode(codec, &(struct hw_codec_chunk){chunk.data, chunk.n_bytes, 4, 0, true}, out,
                        4095, &err),
        HW_INPUT);
    ck_assert_int_eq(
        hw_codec_decode(codec, &(struct hw_codec_chunk){chunk.data, chunk.n_bytes, 4, 0, true}, out,
                        4100, &err),
        HW_INPUT);
    ck_assert_int_eq(
        hw_codec_decode(codec, &(struct hw_codec_chunk){chunk.data, chunk.n_bytes, 4, 2, true}, out,
                        4096, &err),
        HW_INPUT);
    ((unsigned char *)chunk.data)[chunk.n_bytes - 1] ^= 1; // the checksum
    ck_assert_int_eq(
        hw_codec_decode(codec, &(struct hw_codec_chunk){chunk.data, chunk.n_bytes, 4, 0, true}, out,
                        4096, &err),
        HW_INPUT);
    free(chunk.data);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("codec");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, chunks_come_back);
    tcase_add_test(tcase, stream_is_zlib_of_shuffled_bytes);
    tcase_add_test(tcase, team_encodes_as_one_thread_does);
    tcase_add_test(tcase, team_decodes_and_names_the_first_broken_one);
    tcase_add_test(tcase, broken_streams_are_refused);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
