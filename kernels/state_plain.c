// The reductions over a whole state for the compiler's baseline; see state_lanes.h.
#define STATE(name) name##_plain
#include "kernels/state_lanes.h"

void hw_register_state_plain(struct hw_ops *ops);

void hw_register_state_plain(struct hw_ops *ops) {
    HW_OPS_SET(ops, state_stats, state_stats_plain);
    HW_OPS_SET(ops, state_top, state_top_plain);
    HW_OPS_SET(ops, state_events, state_events_plain);
}
