// Inside of plan: output and work (plan.c), memory and parts (plan_memory.c).
#ifndef HW_PLAN_INTERNAL_H
#define HW_PLAN_INTERNAL_H

#include "probes/plan.h"

// The members about memory, and the options of the session. The layout, the engine's configuration
// and raw_bytes are there already.
enum hw_status hw_plan_add_memory(struct hw_plan *plan, const struct hw_model *model,
                                  const struct hw_prompts *prompts,
                                  const struct hw_plan_options *options, struct hw_error *err);

#endif
