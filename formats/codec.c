// HDF5's shuffle (bytes of equal significance together) and a zlib stream.
#include "formats/codec.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#ifdef HW_HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif

#include "kernels/size.h"

// One thread's: the shuffled chunk and the room deflate works in.
struct state {
    unsigned char *shuffled;
    size_t capacity;
#ifdef HW_HAVE_ISAL
    struct isal_zstream *stream;
    unsigned char *level_buffer;
    struct inflate_state *inflate;
#endif
};

struct hw_codec {
    int n_threads;
    struct state states[];
};

enum { MAX_CHUNK_BYTES = 1 << 30 }; // far above any chunk of ours; keeps zlib's counters in range

const char *hw_codec_name(void) {
#ifdef HW_HAVE_ISAL
    return "isa-l";
#else
    return "zlib";
#endif
}

enum hw_status hw_codec_open(int n_threads, struct hw_codec **ret_codec, struct hw_error *err) {
    int n = n_threads < 1 ? 1 : n_threads;
    struct hw_codec *codec = calloc(1, sizeof *codec + (size_t)n * sizeof codec->states[0]);
    if (codec == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a codec");
    }
    codec->n_threads = n;
#ifdef HW_HAVE_ISAL
    for (int i = 0; i < n; i++) {
        codec->states[i].stream = malloc(sizeof *codec->states[i].stream);
        codec->states[i].level_buffer = malloc(ISAL_DEF_LVL1_DEFAULT);
        codec->states[i].inflate = malloc(sizeof *codec->states[i].inflate);
        if (codec->states[i].stream == NULL || codec->states[i].level_buffer == NULL ||
            codec->states[i].inflate == NULL) {
            hw_codec_close(&codec);
            return hw_fail(err, HW_RESOURCE, "not enough memory for %d codec threads", n);
        }
    }
#endif
    *ret_codec = codec;
    return HW_OK;
}

void hw_codec_close(struct hw_codec **codec) {
    if (*codec == NULL) {
        return;
    }
    for (int i = 0; i < (*codec)->n_threads; i++) {
        struct state *state = &(*codec)->states[i];
        free(state->shuffled);
#ifdef HW_HAVE_ISAL
        free(state->stream);
        free(state->level_buffer);
        free(state->inflate);
#endif
    }
    free(*codec);
    *codec = NULL;
}

static bool reserve(struct state *state, size_t n_bytes) {
    if (n_bytes <= state->capacity) {
        return true;
    }
    unsigned char *shuffled = realloc(state->shuffled, n_bytes);
    if (shuffled == NULL) {
        return false;
    }
    state->shuffled = shuffled;
    state->capacity = n_bytes;
    return true;
}

// Byte k of value i goes to k n + i; a rest that is no whole value stays at the end. A constant
// width lets the compiler vectorise.
static inline void shuffle_width(const unsigned char *in, size_t n_values, size_t width,
                                 unsigned char *out) {
    for (size_t k = 0; k < width; k++) {
        for (size_t i = 0; i < n_values; i++) {
            out[k * n_values + i] = in[i * width + k];
        }
    }
}

static void shuffle(const unsigned char *in, size_t n_bytes, size_t width, unsigned char *out) {
    size_t n_values = n_bytes / width;
    if (width == 2) {
        shuffle_width(in, n_values, 2, out);
    } else if (width == 4) {
        shuffle_width(in, n_values, 4, out);
    } else {
        shuffle_width(in, n_values, width, out);
    }
    memcpy(out + n_values * width, in + n_values * width, n_bytes - n_values * width);
}

static inline void unshuffle_width(const unsigned char *in, size_t n_values, size_t width,
                                   unsigned char *out) {
    for (size_t i = 0; i < n_values; i++) {
        for (size_t k = 0; k < width; k++) {
            out[i * width + k] = in[k * n_values + i];
        }
    }
}

static void unshuffle(const unsigned char *in, size_t n_bytes, size_t width, unsigned char *out) {
    size_t n_values = n_bytes / width;
    if (width == 2) {
        unshuffle_width(in, n_values, 2, out);
    } else if (width == 4) {
        unshuffle_width(in, n_values, 4, out);
    } else {
        unshuffle_width(in, n_values, width, out);
    }
    memcpy(out + n_values * width, in + n_values * width, n_bytes - n_values * width);
}

// Bytes written to out (n_out of room), or 0 where the stream does not fit or did not come to its
// end.
static size_t deflate_bytes(struct state *state, const unsigned char *in, size_t n_in,
                            unsigned char *out, size_t n_out) {
#ifdef HW_HAVE_ISAL
    struct isal_zstream *stream = state->stream;
    isal_deflate_stateless_init(stream);
    stream->next_in = (uint8_t *)in;
    stream->avail_in = (uint32_t)n_in;
    stream->next_out = out;
    stream->avail_out = (uint32_t)n_out;
    stream->end_of_stream = 1;
    stream->flush = NO_FLUSH;
    stream->gzip_flag = IGZIP_ZLIB;
    stream->level = 1;
    stream->level_buf = state->level_buffer;
    stream->level_buf_size = ISAL_DEF_LVL1_DEFAULT;
    if (isal_deflate_stateless(stream) != COMP_OK || stream->avail_in != 0 ||
        stream->internal_state.state != ZSTATE_END) {
        return 0;
    }
    return stream->total_out;
#else
    (void)state;
    uLongf n = (uLongf)n_out;
    return compress2(out, &n, in, (uLong)n_in, 1) == Z_OK ? (size_t)n : 0;
#endif
}

static bool encode_chunk(struct state *state, struct hw_codec_chunk *chunk) {
    chunk->filter_mask = 0;
    if (!chunk->is_filtered || chunk->n_bytes == 0) {
        return true;
    }
    // Worst case of deflate: stored blocks of at most 65,535 bytes with 5 bytes each; twice that
    // and the zlib frame besides.
    size_t bound = chunk->n_bytes + chunk->n_bytes / 1000 + 1024;
    if (chunk->n_bytes > MAX_CHUNK_BYTES || !reserve(state, chunk->n_bytes)) {
        return false;
    }
    unsigned char *out = malloc(bound);
    if (out == NULL) {
        return false;
    }
    shuffle(chunk->data, chunk->n_bytes, chunk->element_bytes, state->shuffled);
    size_t n = deflate_bytes(state, state->shuffled, chunk->n_bytes, out, bound);
    if (n == 0 || n >= chunk->n_bytes) {
        free(out);
        memcpy(chunk->data, state->shuffled, chunk->n_bytes);
        chunk->filter_mask = HW_CODEC_RAW_MASK;
        return true;
    }
    // The queue holds what a chunk needs, not its worst case.
    unsigned char *fit = realloc(out, n);
    free(chunk->data);
    chunk->data = fit != NULL ? fit : out;
    chunk->n_bytes = n;
    return true;
}

enum hw_status hw_codec_encode(struct hw_codec *codec, struct hw_codec_chunk *const *chunks,
                               size_t n, struct hw_error *err) {
    int n_failed = 0;
#pragma omp parallel num_threads(codec->n_threads) reduction(+ : n_failed)
    {
        struct state *state = &codec->states[omp_get_thread_num()];
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < n; i++) {
            n_failed += encode_chunk(state, chunks[i]) ? 0 : 1;
        }
    }
    return n_failed == 0
               ? HW_OK
               : hw_fail(err, HW_RESOURCE, "not enough memory to compress %d chunks", n_failed);
}

// Bytes written to out, at most n_out; or SIZE_MAX where the stream is broken or does not come to
// its end within them.
static size_t inflate_bytes(struct state *state, const unsigned char *in, size_t n_in,
                            unsigned char *out, size_t n_out) {
#ifdef HW_HAVE_ISAL
    struct inflate_state *inflate = state->inflate;
    isal_inflate_init(inflate);
    inflate->crc_flag = ISAL_ZLIB;
    inflate->next_in = (uint8_t *)in;
    inflate->avail_in = (uint32_t)n_in;
    inflate->next_out = out;
    inflate->avail_out = (uint32_t)n_out;
    bool is_done = isal_inflate_stateless(inflate) == ISAL_DECOMP_OK &&
                   inflate->block_state == ISAL_BLOCK_FINISH;
    return is_done ? inflate->total_out : SIZE_MAX;
#else
    (void)state;
    uLongf n = (uLongf)n_out;
    return uncompress(out, &n, in, (uLong)n_in) == Z_OK ? (size_t)n : SIZE_MAX;
#endif
}

static enum hw_status decode_chunk(struct state *state, const struct hw_codec_chunk *chunk,
                                   void *out, size_t n_out, struct hw_error *err) {
    if (n_out > MAX_CHUNK_BYTES || chunk->n_bytes > MAX_CHUNK_BYTES || !reserve(state, n_out + 1)) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a chunk of %zu bytes", n_out);
    }
    const unsigned char *shuffled = chunk->data;
    size_t n = chunk->n_bytes;
    if ((chunk->filter_mask & HW_CODEC_RAW_MASK) == 0) {
        // One byte more than due: a longer stream shows itself.
        n = inflate_bytes(state, chunk->data, chunk->n_bytes, state->shuffled, n_out + 1);
        if (n == SIZE_MAX) {
            return hw_fail(err, HW_INPUT,
                           "broken deflate stream of %zu bytes, expected %zu bytes out of it",
                           chunk->n_bytes, n_out);
        }
        shuffled = state->shuffled;
    }
    if (n != n_out) {
        return hw_fail(err, HW_INPUT, "chunk of %zu bytes, expected %zu", n, n_out);
    }
    if ((chunk->filter_mask & 1) == 0) {
        unshuffle(shuffled, n_out, chunk->element_bytes, out);
    } else {
        memcpy(out, shuffled, n_out);
    }
    return HW_OK;
}

enum hw_status hw_codec_decode(struct hw_codec *codec, const struct hw_codec_chunk *chunk,
                               void *out, size_t n_out, struct hw_error *err) {
    return decode_chunk(&codec->states[0], chunk, out, n_out, err);
}

enum hw_status hw_codec_decode_all(struct hw_codec *codec, const struct hw_codec_chunk *chunks,
                                   void *const *outs, size_t n, size_t n_out,
                                   struct hw_error *err) {
    size_t first_bad = n;
#pragma omp parallel for schedule(dynamic) num_threads(codec->n_threads) reduction(min : first_bad)
    for (size_t i = 0; i < n; i++) {
        struct state *state = &codec->states[omp_get_thread_num()];
        if (decode_chunk(state, &chunks[i], outs[i], n_out, NULL) != HW_OK && i < first_bad) {
            first_bad = i;
        }
    }
    // Once more, for what is wrong with it.
    return first_bad == n
               ? HW_OK
               : decode_chunk(&codec->states[0], &chunks[first_bad], outs[first_bad], n_out, err);
}
