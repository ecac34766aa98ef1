// Rotary positions: what configurations say about them, and the angles.
#ifndef HW_ROPE_H
#define HW_ROPE_H

#include <stddef.h>

#include "tracer/model_config.h"

enum hw_rope_scaling { HW_ROPE_DEFAULT, HW_ROPE_LINEAR, HW_ROPE_LLAMA3 };

struct hw_rope {
    double theta;
    enum hw_rope_scaling scaling;
    double factor;           // linear, llama3
    double low_frequency;    // llama3: low_freq_factor
    double high_frequency;   // llama3: high_freq_factor
    double original_context; // llama3
};

// Reads rope from config.json in its new spelling (rope_parameters) and in its old one (theta at
// `old_theta`, rope_scaling), or from the rope.* keys of a GGUF file. Kinds of scaling that are not
// in hw_rope_scaling are refused by name.
void hw_rope_read(struct hw_config *config, const char *old_theta, double default_theta,
                  struct hw_rope *ret_rope);

// inverse_frequency[c] for c < n_rot / 2 in double: the angle of pair c at position p is p *
// inverse_frequency[c]. `divisors` [n_rot / 2] (NULL: none) divide them last.
void hw_rope_frequencies(const struct hw_rope *rope, size_t n_rot, const float *divisors,
                         double *ret_inverse_frequency);

#endif
