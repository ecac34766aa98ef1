// Processor detection; see cpu.h. The compiler's builtin asks the operating system's state (XCR0)
// too.
#include "kernels/cpu.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>

// clang before 18 does not take "f16c" in its builtin. Of use only together with AVX2, for which
// the builtin has asked the system.
static int has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}

static int has_avx2(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

enum hw_level hw_cpu_level(void) {
#if defined(__x86_64__)
    if (has_avx512()) {
        return HW_LEVEL_AVX512;
    }
    if (has_avx2()) {
        return HW_LEVEL_AVX2;
    }
#endif
    return HW_LEVEL_PLAIN;
}

const char *hw_level_name(enum hw_level level) {
    static const char *const names[HW_N_LEVELS] = {"ref", "plain", "avx2", "avx512"};
    return level < HW_N_LEVELS ? names[level] : "?";
}

const char *hw_cpu_flags(void) {
#if defined(__x86_64__)
    static char flags[256];
    if (flags[0] == '\0') {
        size_t at = 0;
#define HW_FLAG_IF(is_there, name)                                                                 \
    if (is_there) {                                                                                \
        at += (size_t)snprintf(flags + at, sizeof flags - at, "%s%s", at > 0 ? " " : "", name);    \
    }
#define HW_FLAG(name) HW_FLAG_IF(__builtin_cpu_supports(name), name)
        __builtin_cpu_init();
        HW_FLAG("sse4.2")
        HW_FLAG("avx")
        HW_FLAG("avx2")
        HW_FLAG("fma")
        HW_FLAG_IF(has_f16c(), "f16c")
        HW_FLAG("avx512f")
        HW_FLAG("avx512bw")
        HW_FLAG("avx512dq")
        HW_FLAG("avx512vl")
        HW_FLAG("avx512vnni")
        HW_FLAG("avx512bf16")
#undef HW_FLAG
#undef HW_FLAG_IF
    }
    return flags;
#else
    return "";
#endif
}

int hw_cpu_count(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int n = CPU_COUNT(&set);
        if (n > 0) {
            return n;
        }
    }
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}
