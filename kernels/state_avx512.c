// The reductions over a whole state for AVX-512; see state_lanes.h.
#define STATE(name) name##_avx512
#include "kernels/state_lanes.h"

void hw_register_state_avx512(struct hw_ops *ops);

void hw_register_state_avx512(struct hw_ops *ops) {
    HW_OPS_SET(ops, state_stats, state_stats_avx512);
    HW_OPS_SET(ops, state_top, state_top_avx512);
    HW_OPS_SET(ops, state_events, state_events_avx512);
}
