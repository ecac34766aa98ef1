// Binding of weights: from the names and shapes of a family's layout to views into the checkpoint.
#ifndef HW_MODEL_BIND_H
#define HW_MODEL_BIND_H

#include "kernels/arena.h"
#include "tracer/family.h"

// Looks up every tensor that the description asks for, checks type and full shape, and fills the
// weights of *model from *arena: norms, biases and row maps are expanded there, matrices stay
// views. With a measuring arena nothing is written and only the size is counted, so it runs once to
// measure and once to fill. A tensor that is neither used nor known to be of no use is refused by
// name.
enum hw_status hw_model_bind(struct hw_model *model, const struct hw_layout *layout,
                             struct hw_arena *arena, struct hw_error *err);

#endif
