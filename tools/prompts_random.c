// splitmix64; see prompts_random.h.
#include "tools/prompts_random.h"

static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t hw_prompts_random(uint64_t seed, uint64_t index) {
    uint64_t state = next_random(&seed) + index;
    return next_random(&state);
}

uint64_t hw_prompts_random_below(uint64_t *state, uint64_t n) {
    uint64_t rest = (UINT64_MAX % n + 1) % n; // numbers at the top that would favour the low ones
    uint64_t r = next_random(state);
    while (r > UINT64_MAX - rest) {
        r = next_random(state);
    }
    return r % n;
}
