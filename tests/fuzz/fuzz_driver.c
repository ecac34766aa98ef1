// Runs a fuzz entry on a fixed number of mutations of a good file: fuzz_driver SEED_FILE N. The
// same every time.
//
// A mutation is one to four edits, mostly in the first bytes (where headers are): a bit flipped, a
// small or extreme integer of one to eight bytes, a digit changed, a piece removed, repeated, or
// everything behind a place cut off. Each input is an exact-size block, so that sanitizers see
// reads past its end.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

enum { HEADER_BYTES = 2048, MAX_SEED_BYTES = 1 << 20 };

static uint64_t random_state = 0x9E3779B97F4A7C15;

// xorshift64*, Vigna 2016.
static size_t random_below(size_t n) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (size_t)((random_state * 0x2545F4914F6CDD1D) >> 32) % n;
}

// bytes has room for twice n.
static size_t edit(uint8_t *bytes, size_t n) {
    static const uint64_t extremes[] = {
        0,          1,          3,         255,        65536,          1U << 31,
        UINT32_MAX, 1ULL << 61, INT64_MAX, 1ULL << 63, UINT64_MAX - 7, UINT64_MAX};
    size_t zone = random_below(4) != 0 && n > HEADER_BYTES ? HEADER_BYTES : n;
    size_t at = random_below(zone);
    size_t piece = 1 + random_below(n - at < 64 ? n - at : 64);
    uint64_t value = random_below(2) ? random_below(100)
                                     : extremes[random_below(sizeof extremes / sizeof extremes[0])];
    size_t width = (size_t)1 << random_below(4);
    switch (random_below(7)) {
    case 0:
        bytes[at] ^= (uint8_t)(1U << random_below(8));
        return n;
    case 1:
    case 2:
        for (size_t i = 0; i < width && at + i < n; i++) {
            bytes[at + i] = (uint8_t)(value >> (8 * i));
        }
        return n;
    case 3: // the next digit, if there is one
        while (at + 1 < n && (bytes[at] < '0' || bytes[at] > '9')) {
            at++;
        }
        bytes[at] = (uint8_t)('0' + random_below(10));
        return n;
    case 4:
        memmove(bytes + at, bytes + at + piece, n - at - piece);
        return n - piece;
    case 5:
        memmove(bytes + at + piece, bytes + at, n - at);
        return n + piece;
    default:
        return at;
    }
}

static uint8_t *read_seed(const char *path, size_t *ret_n) {
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc(MAX_SEED_BYTES);
    if (file == NULL || bytes == NULL) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    *ret_n = fread(bytes, 1, MAX_SEED_BYTES, file);
    (void)fclose(file);
    return bytes;
}

static int run(const uint8_t *bytes, size_t n) {
    uint8_t *copy = malloc(n);
    if (copy == NULL && n > 0) {
        abort();
    }
    if (n > 0) {
        memcpy(copy, bytes, n);
    }
    int result = LLVMFuzzerTestOneInput(copy, n);
    free(copy);
    return result;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        (void)fprintf(stderr, "usage: fuzz_driver SEED_FILE N\n");
        return 2;
    }
    size_t n_seed = 0;
    uint8_t *seed = read_seed(argv[1], &n_seed);
    uint8_t *bytes = malloc(2 * n_seed + 1024);
    long n_runs = strtol(argv[2], NULL, 10);
    long n_accepted = 0;
    if (bytes == NULL || run(seed, n_seed) != 0) {
        (void)fprintf(stderr, "%s: the seed is refused\n", argv[1]);
        return 1;
    }
    for (long i = 0; i < n_runs; i++) {
        memcpy(bytes, seed, n_seed);
        size_t n = n_seed;
        for (size_t k = 1 + random_below(4); k > 0 && n > 0; k--) {
            n = edit(bytes, n);
        }
        n_accepted += run(bytes, n) == 0;
    }
    (void)printf("%ld mutations of %s: %ld accepted, %ld refused\n", n_runs, argv[1], n_accepted,
                 n_runs - n_accepted);
    free(bytes);
    free(seed);
    // All refused or all accepted: the mutations reach nothing.
    return n_accepted > 0 && n_accepted < n_runs ? 0 : 1;
}
