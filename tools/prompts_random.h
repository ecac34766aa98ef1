// Random numbers of prompt files: the same on every machine.
//
// Prompt i is drawn by a generator of its own, seeded by seed and i, so it does not depend on how
// many prompts there are: splitmix64 (Steele, Lea, Flood 2014), numbers below a bound without bias
// by rejection.
#ifndef HW_PROMPTS_RANDOM_H
#define HW_PROMPTS_RANDOM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The state that prompt `index` starts from.
uint64_t hw_prompts_random(uint64_t seed, uint64_t index);
// Uniform in 0 .. n - 1, n > 0.
uint64_t hw_prompts_random_below(uint64_t *state, uint64_t n);

#ifdef __cplusplus
}
#endif
#endif
