// Inside of the trace reader: the checks (trace_check.c), opening (trace_reader.c), reading
// (trace_read.c).
#ifndef HW_TRACE_READER_INTERNAL_H
#define HW_TRACE_READER_INTERNAL_H

#include <string.h>

#include <hdf5.h>

#include "formats/codec.h"
#include "formats/trace_file.h"
#include "formats/trace_reader.h"

// Lengths of the axes of every group as the datasets have them, SIZE_MAX where no dataset has the
// axis.
struct hw_trace_shape {
    size_t axes[HW_N_GROUPS][HW_N_AXES];
    bool has[HW_N_DATASETS];
    enum hw_element element[HW_N_DATASETS];
    bool is_virtual;
};

// Room for the chunks of all slabs. What is done with stays for the next ones: fresh pages cost as
// much as unpacking into them.
struct hw_trace_room {
    unsigned char *data;
    size_t n_bytes;
};
enum { HW_TRACE_SPARES = 4 };

// How the rows of a dataset lie in its chunks; trace_rows.c.
struct hw_trace_rows {
    bool is_known;
    bool is_kept;
    size_t n_rows;                // of a chunk; 0: the library reads
    size_t n_bytes;               // of a chunk, unpacked
    struct hw_trace_room kept[2]; // [n_slabs, n_bytes] chunks of an even and an odd number
    size_t kept_number[2];        // which; SIZE_MAX: none
};

struct hw_trace {
    char *path;
    hid_t file;
    hid_t datasets[HW_N_DATASETS];
    struct hw_trace_shape shape;
    struct hw_layout layout;
    char **span_names;
    char **mean_groups;
    char *means_by;
    void *fixed[HW_N_DATASETS]; // owned values behind layout.fixed
    bool is_complete;
    struct hw_trace_prompt *prompts;
    size_t n_prompts;
    struct hw_trace_span *spans;
    size_t n_spans;
    char **texts[HW_N_DATASETS]; // owned strings behind prompts and spans
    struct hw_codec *codec;
    struct hw_trace_rows rows[HW_N_DATASETS];
    void *fetched; // chunks as they are stored, one after another
    size_t fetched_bytes;
    struct hw_trace_room spare[HW_TRACE_SPARES];
    void *scratch; // of conversions
    size_t scratch_bytes;
};

// Checks the whole structure of an open file without reading data. HW_INPUT names object and rule.
enum hw_status hw_trace_check(hid_t file, struct hw_trace_shape *ret_shape, struct hw_error *err);
// The same on a path in a child process with limits on time and memory, so that a crash of the
// library is an error message.
enum hw_status hw_trace_check_apart(const char *path, struct hw_error *err);

// Whether the parts of a master are there and of the right size, and on demand the right hash.
// Nothing to do for other captures.
enum hw_status hw_trace_check_parts(struct hw_trace *trace, bool is_hashed, struct hw_error *err);

// Reads the values of a scale, [n] i4. false where there is none of that type.
enum hw_status hw_trace_read_scale(hid_t file, enum hw_group group, enum hw_axis axis, size_t n,
                                   int32_t *ret_values, struct hw_error *err);
enum hw_status hw_trace_read_text_scale(hid_t file, enum hw_group group, enum hw_axis axis,
                                        size_t n, char ***ret_texts, struct hw_error *err);
// Any one-dimensional dataset of strings.
enum hw_status hw_trace_read_strings(hid_t dataset, size_t first, size_t n, bool is_scalar,
                                     char ***ret_texts, struct hw_error *err);

// IEEE half to single, exactly.
static inline float hw_half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 31u;
    uint32_t mantissa = half & 0x3ffu;
    uint32_t bits;
    float value;
    if (exponent == 31) {
        bits = sign | 0x7f800000u | mantissa << 13;
    } else if (exponent != 0) {
        bits = sign | (exponent + 112) << 23 | mantissa << 13;
    } else {
        value = (float)mantissa * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
