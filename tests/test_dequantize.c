// dequantize has the bits of gguf.dequantize on every level: golden/dequantize.bin, made by
// golden/make_dequantize.py.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_op.h"
#include "kernels/ops.h"

enum { MAX_BYTES = 1 << 20 };

static unsigned char golden[MAX_BYTES];
static size_t n_golden;

static void read_golden(void) {
    FILE *file = fopen(HW_TEST_DATA "/dequantize.bin", "rb");
    ck_assert_msg(file != NULL, "cannot open %s", HW_TEST_DATA "/dequantize.bin");
    n_golden = fread(golden, 1, sizeof golden, file);
    (void)fclose(file);
}

static enum hw_dtype dtype_of(const char *name) {
    int dtype = 0;
    while (dtype < HW_N_DTYPES && strcmp(hw_dtype_name(dtype), name) != 0) {
        dtype++;
    }
    ck_assert_msg(dtype < HW_N_DTYPES, "no type %s", name);
    return dtype;
}

// Expands `src` from a place that is aligned to nothing, and compares.
static void compare(const struct hw_ops *ops, enum hw_dtype dtype, const unsigned char *src,
                    size_t n_bytes, size_t n, const unsigned char *want) {
    struct check_buffer input = check_buffer_open(n_bytes + 1);
    struct check_buffer output = check_buffer_open(n * sizeof(float));
    unsigned char *shifted = (unsigned char *)input.data + 1;
    memcpy(shifted, src, n_bytes);
    ops->dequantize(dtype, shifted, n, output.data);
    ck_assert_msg(check_same_bits(output.data, want, n), "%s, %s: %s", hw_level_name(ops->level),
                  hw_dtype_name(dtype), check_op_message());
    ck_assert_msg(check_buffer_is_intact(&output), "%s", check_op_message());
    check_buffer_close(&input);
    check_buffer_close(&output);
}

START_TEST(every_type_has_the_bits_of_gguf) {
    struct hw_ops ops;
    hw_ops_init(&ops, _i);
    read_golden();
    int n_types = 0;
    size_t at = 0;
    while (at < n_golden) {
        char name[9] = {0};
        uint32_t n[2];
        memcpy(name, golden + at, 8);
        memcpy(n, golden + at + 8, sizeof n);
        enum hw_dtype dtype = dtype_of(name);
        size_t n_bytes = 0;
        ck_assert(hw_dtype_bytes(dtype, n[0], &n_bytes));
        ck_assert_uint_eq(n_bytes, n[1]);
        at += 16;
        ck_assert_uint_le(at + n[1] + sizeof(float) * n[0], n_golden);
        compare(&ops, dtype, golden + at, n[1], n[0], golden + at + n[1]);
        // One block alone too.
        compare(&ops, dtype, golden + at, hw_dtype_block_bytes(dtype), hw_dtype_block_values(dtype),
                golden + at + n[1]);
        at += n[1] + sizeof(float) * n[0];
        n_types++;
    }
    ck_assert_int_eq(n_types, 13);
}
END_TEST

// All 65536 halves, against the definition of IEEE 754 in double.
START_TEST(every_half_is_exact) {
    struct hw_ops ops;
    hw_ops_init(&ops, _i);
    static uint16_t halves[65536];
    static float values[65536];
    for (int i = 0; i < 65536; i++) {
        halves[i] = (uint16_t)i;
    }
    ops.dequantize(HW_F16, halves, 65536, values);
    for (int i = 0; i < 65536; i++) {
        int exponent = (i >> 10) & 31;
        int mantissa = i & 1023;
        if (exponent == 31 && mantissa != 0) {
            ck_assert(values[i] != values[i]);
            continue;
        }
        double want = exponent == 31  ? 1e300 * 1e300
                      : exponent == 0 ? mantissa * 0x1p-24
                                      : (1024 + mantissa) * 0x1p-25 * (double)(1u << exponent);
        float want_float = (float)(i >> 15 ? -want : want);
        ck_assert_msg(check_same_bits(&values[i], &want_float, 1), "half %04x: %s", i,
                      check_op_message());
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("dequantize");
    TCase *tcase = tcase_create("all");
    tcase_add_loop_test(tcase, every_type_has_the_bits_of_gguf, HW_LEVEL_REF, hw_cpu_level() + 1);
    tcase_add_loop_test(tcase, every_half_is_exact, HW_LEVEL_REF, hw_cpu_level() + 1);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
