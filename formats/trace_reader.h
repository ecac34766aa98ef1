// Reading a capture: parts, merged captures and virtual masters alike.
//
// Files are hostile, and so is the library on hostile files: the structure is checked in a child
// process with limits before anything is read here (links hard only, no external or unknown
// storage, filters of ours only, types exactly as the schema says, lengths that agree and stay
// below caps). Rows are then read in the ranges asked for, so nothing is allocated from a declared
// size that the file does not have the bytes for. One trace is used by one thread at a time.
#ifndef HW_TRACE_READER_H
#define HW_TRACE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/codec.h"
#include "formats/schema.h"
#include "kernels/status.h"

struct hw_trace;

// HW_INPUT says what is wrong with the file.
enum hw_status hw_trace_open(const char *path, struct hw_trace **ret_trace, struct hw_error *err);
// Without the child process: a file that this program wrote and whose hash was just checked.
enum hw_status hw_trace_open_trusted(const char *path, struct hw_trace **ret_trace,
                                     struct hw_error *err);
void hw_trace_close(struct hw_trace **trace);
// Threads that chunks are unpacked on when many are read; 1 after opening. HW_RESOURCE.
enum hw_status hw_trace_set_threads(struct hw_trace *trace, int n_threads, struct hw_error *err);

const char *hw_trace_path(const struct hw_trace *trace);
// What is recorded: has, elements, axes of every group (layers, heads ...), lengths. Lives as long
// as the trace.
const struct hw_layout *hw_trace_layout(const struct hw_trace *trace);
bool hw_trace_is_complete(const struct hw_trace *trace); // a merged capture of a finished run
bool hw_trace_is_virtual(const struct hw_trace *trace);

struct hw_trace_prompt {
    int32_t prompt;         // the prompt coordinate
    size_t first_token;     // row on the token axis of the root group
    size_t n_tokens;        // with generated ones
    size_t n_prompt_tokens; // T
    uint8_t status;         // 0 ok, 1 truncated, 2 failed
    const char *name;
    const char *json;
    const char *domain;
    const char *target;
    const char *foil;
    const char *sha256;
    const char *error;
};

// Named spans of the user, in the order of the file.
struct hw_trace_span {
    int32_t prompt; // the prompt coordinate
    const char *name;
    int32_t first;
    int32_t end;
};

size_t hw_trace_n_prompts(const struct hw_trace *trace);
size_t hw_trace_n_tokens(const struct hw_trace *trace); // of the root group's token axis
// Prompt number `index` of the file, 0 <= index < n_prompts. Lives as long as the trace.
const struct hw_trace_prompt *hw_trace_prompt(const struct hw_trace *trace, size_t index);
size_t hw_trace_n_spans(const struct hw_trace *trace);
const struct hw_trace_span *hw_trace_span(const struct hw_trace *trace, size_t i);

// Position on the recorded axis of a group, or -1: layer, depth, head and kv_head are given as the
// model numbers them.
int64_t hw_trace_find(const struct hw_trace *trace, enum hw_group group, enum hw_axis axis,
                      int32_t number);

bool hw_trace_has(const struct hw_trace *trace, enum hw_dataset dataset);
size_t hw_trace_n_rows(const struct hw_trace *trace, enum hw_dataset dataset); // of the first axis
size_t hw_trace_n_slabs(const struct hw_trace *trace,
                        enum hw_dataset dataset); // layers or depths, 1 where there are none
size_t hw_trace_n_inner(const struct hw_trace *trace,
                        enum hw_dataset dataset); // values of a row, all axes after the slab

// Rows first .. first + n of (dataset, slab) as [n, inner]. f32 from floats of any width (u2
// scaled, fill values NaN) and from i4, u1; i32 from i4, u1; i64 from i8, i4; bytes as stored.
// HW_INPUT where the file is broken or has no such rows or another type.
enum hw_status hw_trace_read_f32(struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                                 size_t first, size_t n, float *ret_values, struct hw_error *err);
enum hw_status hw_trace_read_i32(struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                                 size_t first, size_t n, int32_t *ret_values, struct hw_error *err);
enum hw_status hw_trace_read_i64(struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                                 size_t first, size_t n, int64_t *ret_values, struct hw_error *err);
enum hw_status hw_trace_read_raw(struct hw_trace *trace, enum hw_dataset dataset, size_t slab,
                                 size_t first, size_t n, void *ret_values, struct hw_error *err);
// n strings of a dataset of strings; hw_trace_free_text frees them. A scalar: first 0, n 1.
enum hw_status hw_trace_read_text(struct hw_trace *trace, enum hw_dataset dataset, size_t first,
                                  size_t n, char ***ret_texts, struct hw_error *err);
void hw_trace_free_text(char **texts, size_t n);

// For a reader that goes through all slabs (layers, depths) of one prompt after another: the chunks
// of all slabs are unpacked together, by all threads, when the first is read. They hold the rows of
// many prompts, so they are kept until the last of them was read, instead of unpacking them again
// for every prompt. Takes memory as chunks are read, at most HW_TRACE_MAX_KEPT bytes a dataset; those that would need more, and those
// that are not chunked as captures have it, stay as they are.
enum { HW_TRACE_MAX_KEPT = 1 << 26 };
void hw_trace_keep_chunks(struct hw_trace *trace, enum hw_dataset dataset);

// Tile (a, b) of a map, [128, 128] f32. Tiles that are not stored are NaN.
enum hw_status hw_trace_read_tile(struct hw_trace *trace, const struct hw_map_place *place,
                                  size_t a, size_t b, float *ret_tile, struct hw_error *err);
// The whole map of a prompt, [n_tokens, n_tokens] with rows `stride` floats apart.
enum hw_status hw_trace_read_map(struct hw_trace *trace, const struct hw_map_place *place,
                                 float *ret_map, size_t stride, struct hw_error *err);
// The stored bytes of that tile, for copying. n_bytes 0: not stored. The caller frees
// ret_chunk->data.
enum hw_status hw_trace_read_chunk(struct hw_trace *trace, const struct hw_map_place *place,
                                   size_t a, size_t b, struct hw_codec_chunk *ret_chunk,
                                   struct hw_error *err);

// A text attribute of a group ("run_id" of the root), from malloc; HW_INPUT where it is missing.
enum hw_status hw_trace_attribute(struct hw_trace *trace, enum hw_group group, const char *name,
                                  char **ret_text, struct hw_error *err);
// The labels of the capture (--label), "KEY=VALUE" in the order given with commas between, from
// malloc; "" where there are none.
enum hw_status hw_trace_labels(struct hw_trace *trace, char **ret_text, struct hw_error *err);
// An integer attribute.
enum hw_status hw_trace_attribute_integer(struct hw_trace *trace, enum hw_group group,
                                          const char *name, int64_t *ret_value,
                                          struct hw_error *err);

#endif
