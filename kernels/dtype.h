// Number formats of weights and captures, as the files have them.
#ifndef HW_DTYPE_H
#define HW_DTYPE_H

#include <stdbool.h>
#include <stddef.h>

// name, values per block, bytes per block, text. Block layouts of the quantised types are those of
// GGUF.
#define HW_DTYPES(X)                                                                               \
    X(F32, 1, 4, "F32")                                                                            \
    X(F16, 1, 2, "F16")                                                                            \
    X(BF16, 1, 2, "BF16")                                                                          \
    X(F64, 1, 8, "F64")                                                                            \
    X(Q4_0, 32, 18, "Q4_0")                                                                        \
    X(Q4_1, 32, 20, "Q4_1")                                                                        \
    X(Q5_0, 32, 22, "Q5_0")                                                                        \
    X(Q5_1, 32, 24, "Q5_1")                                                                        \
    X(Q8_0, 32, 34, "Q8_0")                                                                        \
    X(Q2_K, 256, 84, "Q2_K")                                                                       \
    X(Q3_K, 256, 110, "Q3_K")                                                                      \
    X(Q4_K, 256, 144, "Q4_K")                                                                      \
    X(Q5_K, 256, 176, "Q5_K")                                                                      \
    X(Q6_K, 256, 210, "Q6_K")                                                                      \
    X(I8, 1, 1, "I8")                                                                              \
    X(I16, 1, 2, "I16")                                                                            \
    X(I32, 1, 4, "I32")                                                                            \
    X(I64, 1, 8, "I64")                                                                            \
    X(U8, 1, 1, "U8")                                                                              \
    X(BOOL, 1, 1, "BOOL")

enum hw_dtype {
#define HW_DTYPE_ENUM(name, values, bytes, text) HW_##name,
    HW_DTYPES(HW_DTYPE_ENUM)
#undef HW_DTYPE_ENUM
        HW_N_DTYPES
};

size_t hw_dtype_block_values(enum hw_dtype dtype); // values in a block, 1 for plain types
size_t hw_dtype_block_bytes(enum hw_dtype dtype);  // bytes of a block
const char *hw_dtype_name(enum hw_dtype dtype);
bool hw_dtype_is_weight(enum hw_dtype dtype); // the ops can expand it to f32: the floats up to 32
                                              // bits and the quantised types

// Bytes of n values in *ret_bytes; false where n is not a multiple of the block or the product
// overflows.
bool hw_dtype_bytes(enum hw_dtype dtype, size_t n, size_t *ret_bytes);

#endif
