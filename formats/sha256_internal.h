// The two ways to add blocks to a SHA-256 state; same result.
#ifndef HW_SHA256_INTERNAL_H
#define HW_SHA256_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern const uint32_t hw_sha256_constants[64]; // K of FIPS 180-4, 4.2.2

// n blocks of 64 bytes.
void hw_sha256_add_plain(uint32_t state[8], const uint8_t *blocks, size_t n);

// With the SHA instructions of x86-64, about eight times as fast; only where the processor has
// them.
bool hw_sha256_has_instructions(void);
void hw_sha256_add_instructions(uint32_t state[8], const uint8_t *blocks, size_t n);

#endif
