// SHA-256 against the examples of FIPS 180-2, appendix B, however the input is cut.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "formats/sha256.h"
#include "formats/sha256_internal.h"

static const char *const text = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
static const char *const expected =
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1";

START_TEST(known_answers) {
    struct hw_sha256 hash;
    char hex[65];
    hw_sha256_init(&hash);
    hw_sha256_hex(&hash, hex);
    ck_assert_str_eq(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    hw_sha256_init(&hash);
    hw_sha256_update(&hash, "abc", 3);
    hw_sha256_hex(&hash, hex);
    ck_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hw_sha256_init(&hash);
    char as[1000];
    memset(as, 'a', sizeof as);
    for (int i = 0; i < 1000; i++) {
        hw_sha256_update(&hash, as, sizeof as);
    }
    hw_sha256_hex(&hash, hex);
    ck_assert_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
END_TEST

START_TEST(cuts_do_not_matter) {
    for (size_t cut = 0; cut <= strlen(text); cut++) {
        struct hw_sha256 hash;
        char hex[65];
        hw_sha256_init(&hash);
        hw_sha256_update(&hash, text, cut);
        hw_sha256_update(&hash, text + cut, strlen(text) - cut);
        hw_sha256_hex(&hash, hex);
        ck_assert_str_eq(hex, expected);
    }
}
END_TEST

// Where the processor has no instructions for it, the two are the same function.
START_TEST(instructions_change_nothing) {
    uint8_t blocks[64 * 9];
    uint32_t state = 12345;
    for (size_t i = 0; i < sizeof blocks; i++) {
        state = state * 1664525u + 1013904223u;
        blocks[i] = (uint8_t)(state >> 24);
    }
    for (size_t n = 0; n <= 9; n++) {
        uint32_t plain[8] = {1, 2, 3, 4, 0xffffffff, 6, 7, 0x80000000};
        uint32_t found[8];
        memcpy(found, plain, sizeof found);
        hw_sha256_add_plain(plain, blocks, n);
        if (hw_sha256_has_instructions()) {
            hw_sha256_add_instructions(found, blocks, n);
        } else {
            hw_sha256_add_plain(found, blocks, n);
        }
        ck_assert_mem_eq(found, plain, sizeof plain);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("sha256");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, known_answers);
    tcase_add_test(tcase, cuts_do_not_matter);
    tcase_add_test(tcase, instructions_change_nothing);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
