// What every fuzz entry has: libFuzzer calls it (meson option fuzz), and fuzz_driver.c in the
// ordinary tests.
#ifndef HW_TESTS_FUZZ_H
#define HW_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

// Returns 0 where the input was accepted, -1 where it was refused (libFuzzer keeps only accepted
// ones); aborts on a broken promise.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#endif
