// Shuffle and deflate of HDF5 chunks on our own threads: what H5Dwrite_chunk takes and every HDF5
// library reads.
//
// Streams are plain zlib streams of level 1, made and read by ISA-L where it is built in (5 to 9
// times the speed of zlib in making them), else by zlib. A chunk that deflate would make larger is
// stored shuffled only, with the filter mask saying so. Decoding never writes more than the size
// that the caller expects, whatever the stream says.
#ifndef HW_CODEC_H
#define HW_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"

// Bit of the filter mask for a chunk whose second filter (deflate, after shuffle) was left out.
enum { HW_CODEC_RAW_MASK = 2 };

struct hw_codec; // states of a team of threads

// One chunk to encode. `data` is the unfiltered chunk on entry; encode replaces it by the encoded
// bytes and frees the old block.
struct hw_codec_chunk {
    void *data; // from malloc
    size_t n_bytes;
    size_t element_bytes;
    uint32_t filter_mask; // set by encode
    bool is_filtered;     // false: left as it is
};

enum hw_status hw_codec_open(int n_threads, struct hw_codec **ret_codec, struct hw_error *err);
void hw_codec_close(struct hw_codec **codec);

// Encodes all chunks, chunk by chunk on the team. HW_RESOURCE without memory: chunks are then
// either encoded or as before, each consistent in itself, and stay the caller's.
enum hw_status hw_codec_encode(struct hw_codec *codec, struct hw_codec_chunk *const *chunks,
                               size_t n, struct hw_error *err);

// The n_out bytes of an encoded chunk (which stays as it is), on the first state of the team.
// HW_INPUT where the stream is broken or does not hold exactly n_out bytes.
enum hw_status hw_codec_decode(struct hw_codec *codec, const struct hw_codec_chunk *chunk,
                               void *out, size_t n_out, struct hw_error *err);

// Chunks of n_out bytes each, chunk by chunk on the team: chunk i to outs[i]. HW_INPUT as above;
// some outs are then written.
enum hw_status hw_codec_decode_all(struct hw_codec *codec, const struct hw_codec_chunk *chunks,
                                   void *const *outs, size_t n, size_t n_out, struct hw_error *err);

const char *hw_codec_name(void); // "isa-l" or "zlib", for provenance

#endif
