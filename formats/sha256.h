// SHA-256 (FIPS 180-4): of prompts, parts, weights and vocabularies.
#ifndef HW_SHA256_H
#define HW_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct hw_sha256 {
    uint32_t state[8];
    uint64_t n_bytes;
    uint8_t block[64];
};

void hw_sha256_init(struct hw_sha256 *hash);
void hw_sha256_update(struct hw_sha256 *hash, const void *data, size_t n_bytes);
// Ends the hash and writes 64 hexadecimal digits and NUL.
void hw_sha256_hex(struct hw_sha256 *hash, char ret_hex[65]);

#endif
