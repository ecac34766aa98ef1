// What this processor can do, and the level of kernels to use.
#ifndef HW_CPU_H
#define HW_CPU_H

// In rising order: each level keeps what the ones below it offer.
enum hw_level {
    HW_LEVEL_REF,    // the definition, in double; for tests
    HW_LEVEL_PLAIN,  // plain C
    HW_LEVEL_AVX2,   // with FMA and F16C
    HW_LEVEL_AVX512, // F, BW, DQ, VL
    HW_N_LEVELS
};

// The best level that this processor and its operating system support.
enum hw_level hw_cpu_level(void);

const char *hw_level_name(enum hw_level level); // "ref", "plain", "avx2", "avx512"

// The processor's flags that matter here, blank-separated ("avx2 fma f16c avx512f ..."); a static
// string.
const char *hw_cpu_flags(void);

// Processors that this process may use (its affinity mask), at least 1.
int hw_cpu_count(void);

#endif
