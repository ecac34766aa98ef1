// The table of ops and of number formats; see ops.h and dtype.h.
#include "kernels/ops.h"

#include <string.h>

#include "kernels/size.h"

#define HW_IMPL(name, level) void hw_register_##name(struct hw_ops *ops);
#include "impls.h"
#undef HW_IMPL

static const struct {
    void (*fill)(struct hw_ops *ops);
    enum hw_level level;
} implementations[] = {
#define HW_IMPL(name, level) {hw_register_##name, level},
#include "impls.h"
#undef HW_IMPL
    {NULL, HW_LEVEL_REF},
};

void hw_ops_init(struct hw_ops *ops, enum hw_level level) {
    memset(ops, 0, sizeof *ops);
    enum hw_level best = hw_cpu_level();
    ops->level = level < best ? level : best;
    for (int at = HW_LEVEL_REF; at <= (int)ops->level; at++) {
        for (size_t i = 0; implementations[i].fill != NULL; i++) {
            if ((int)implementations[i].level == at) {
                implementations[i].fill(ops);
            }
        }
    }
}

const char *hw_op_name(enum hw_op op) {
    static const char *const names[HW_N_OPS] = {
#define HW_OP_NAME(name) #name,
        HW_OPS(HW_OP_NAME)
#undef HW_OP_NAME
    };
    return op < HW_N_OPS ? names[op] : "?";
}

static const struct {
    size_t values;
    size_t bytes;
    const char *name;
} dtypes[HW_N_DTYPES] = {
#define HW_DTYPE_ROW(name, values, bytes, text) {values, bytes, text},
    HW_DTYPES(HW_DTYPE_ROW)
#undef HW_DTYPE_ROW
};

size_t hw_dtype_block_values(enum hw_dtype dtype) {
    return dtypes[dtype].values;
}

size_t hw_dtype_block_bytes(enum hw_dtype dtype) {
    return dtypes[dtype].bytes;
}

const char *hw_dtype_name(enum hw_dtype dtype) {
    return dtype < HW_N_DTYPES ? dtypes[dtype].name : "?";
}

bool hw_dtype_is_weight(enum hw_dtype dtype) {
    return dtype <= HW_Q6_K && dtype != HW_F64;
}

bool hw_dtype_bytes(enum hw_dtype dtype, size_t n, size_t *ret_bytes) {
    if (n % dtypes[dtype].values != 0) {
        return false;
    }
    return hw_size_mul(n / dtypes[dtype].values, dtypes[dtype].bytes, ret_bytes);
}
