// The reductions over a whole state for AVX2; see state_lanes.h.
#define STATE(name) name##_avx2
#include "kernels/state_lanes.h"

void hw_register_state_avx2(struct hw_ops *ops);

void hw_register_state_avx2(struct hw_ops *ops) {
    HW_OPS_SET(ops, state_stats, state_stats_avx2);
    HW_OPS_SET(ops, state_top, state_top_avx2);
    HW_OPS_SET(ops, state_events, state_events_avx2);
}
