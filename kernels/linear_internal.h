// Sizes and scratch layouts that all levels of linear and unembed share.
//
// linear: the rows are dealt to teams of threads, mostly of one thread each, so that what a thread
// wrote it also reads; in a team blocks of rows, and in each block groups of inputs. The team packs
// a block of rows once; each of its threads then expands panels of weights into its own part and
// multiplies them with the packed rows. unembed: the same with all inputs in one group and the
// vocabulary in segments. Of every segment and row one partial result is kept; which thread made it
// changes nothing.
#ifndef HW_LINEAR_INTERNAL_H
#define HW_LINEAR_INTERNAL_H

#include <stddef.h>

#include "kernels/size.h"

enum {
    // Inputs of one partial sum.
    HW_LINEAR_BLOCK = 256,
    // Inputs whose weights are expanded at once; a multiple of the block.
    HW_LINEAR_GROUP_INPUTS = 2048,
    // Most outputs that a thread expands at once.
    HW_LINEAR_PANEL = 64,
    // Most rows that are packed at once, by all teams together (but never fewer than 32 a thread).
    HW_LINEAR_ROWS = 1024,
    // Fewest rows that are worth a team of their own: each team expands all weights.
    HW_LINEAR_TEAM_ROWS = 192,
    // Bytes behind each part of scratch, so that no two threads write one cache line.
    HW_LINEAR_PAD = 64,
    // Outputs of one partial log-sum-exp.
    HW_UNEMBED_SEGMENT = 1024,
    // Floats that a row carries along a segment: maximum, sum and weighted sum in up to 16 lanes.
    HW_UNEMBED_STATE = 3 * 16,
};

// Partial result of one row over one segment: M = max logit, sum exp(logit - M), sum exp(logit - M)
// (logit - M).
struct unembed_part {
    double max;
    double sum;
    double weighted;
};

// Rows that are packed at once where a row has n_in values: HW_LINEAR_ROWS, or fewer where they
// would take more than 8 MiB.
static inline size_t linear_block_rows(size_t n_in) {
    size_t rows = ((size_t)8 << 20) / sizeof(float) / hw_size_max(n_in, 1);
    return hw_size_max(32, hw_size_min(HW_LINEAR_ROWS, rows));
}

// Teams for m rows: as many as divide the threads evenly and have rows enough.
static inline size_t linear_n_teams(size_t n_threads, size_t m) {
    size_t n_teams = hw_size_max(1, hw_size_min(n_threads, m / HW_LINEAR_TEAM_ROWS));
    while (n_threads % n_teams != 0) {
        n_teams--;
    }
    return n_teams;
}

// A thread's share of the rows that are packed at once; a team packs those of all its threads.
static inline size_t linear_thread_rows(size_t n_threads, size_t n_in) {
    return hw_size_max(32, linear_block_rows(n_in) / n_threads);
}

static inline size_t linear_part_bytes(size_t n, size_t element_bytes) {
    return (n * element_bytes + HW_LINEAR_PAD + 63) / 64 * 64;
}

// Byte offsets from the first cache line of scratch, for up to n_threads teams.
struct linear_layout {
    size_t packed_bytes; // of a thread's share: a team has those of its threads, one after another
    size_t panel_at;     // + thread * panel_bytes: floats [input, HW_LINEAR_PANEL]
    size_t panel_bytes;
    size_t bytes; // in all, the packed rows at 0
};

static inline struct linear_layout linear_layout(size_t n_threads, size_t n_in) {
    size_t n_group = hw_size_min(n_in, HW_LINEAR_GROUP_INPUTS);
    struct linear_layout layout;
    layout.packed_bytes =
        linear_part_bytes(linear_thread_rows(n_threads, n_group) * n_group, sizeof(float));
    layout.panel_at = n_threads * layout.packed_bytes;
    layout.panel_bytes = linear_part_bytes(HW_LINEAR_PANEL * n_group, sizeof(float));
    layout.bytes = layout.panel_at + n_threads * layout.panel_bytes + 64;
    return layout;
}

struct unembed_layout {
    size_t n_rows; // rows of a block
    size_t panel_at;
    size_t panel_bytes;
    size_t state_at; // + thread * state_bytes: floats [row, HW_UNEMBED_STATE]
    size_t state_bytes;
    size_t logit_at; // + thread * top_bytes: floats [row, n_top], the thread's largest logits
    size_t id_at;    // + thread * top_bytes: uint32_t [row, n_top]
    size_t top_bytes;
    size_t part_at; // struct unembed_part [row, segment]
    size_t bytes;
};

static inline struct unembed_layout unembed_layout(size_t n_threads, size_t m, size_t n_in,
                                                   size_t n_vocab, size_t n_top) {
    struct unembed_layout layout;
    size_t n_segments = hw_size_div_up(n_vocab, HW_UNEMBED_SEGMENT);
    layout.n_rows = hw_size_min(m, linear_block_rows(n_in));
    layout.panel_at = linear_part_bytes(layout.n_rows * n_in, sizeof(float));
    layout.panel_bytes = linear_part_bytes(HW_LINEAR_PANEL * n_in, sizeof(float));
    layout.state_at = layout.panel_at + n_threads * layout.panel_bytes;
    layout.state_bytes = linear_part_bytes(layout.n_rows * HW_UNEMBED_STATE, sizeof(float));
    layout.logit_at = layout.state_at + n_threads * layout.state_bytes;
    layout.top_bytes = linear_part_bytes(layout.n_rows * n_top, sizeof(float));
    layout.id_at = layout.logit_at + n_threads * layout.top_bytes;
    layout.part_at = layout.id_at + n_threads * layout.top_bytes;
    layout.bytes = layout.part_at + 64 +
                   linear_part_bytes(layout.n_rows * n_segments, sizeof(struct unembed_part));
    return layout;
}

#endif
