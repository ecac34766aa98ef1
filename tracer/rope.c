// Rotary positions; see rope.h. Everything is in double: an angle is position times frequency, so
// an error of the frequency grows with the position. Source of the llama3 rule: transformers,
// modeling_rope_utils.
#include "tracer/rope.h"

#include <math.h>
#include <string.h>

#include "tracer/model.h"

static const double two_pi = 6.28318530717958647692;

// Two keys for one number: both there and different is an error, for nobody can tell which is
// meant.
static double read_either(struct hw_config *config, const char *key, const char *old_key,
                          double fallback) {
    bool has_both = hw_config_has(config, key) && hw_config_has(config, old_key);
    double value = hw_config_number(config, key, fallback);
    double old = hw_config_number(config, old_key, value);
    if (has_both && (value < old || value > old)) {
        (void)hw_config_fail(config, key, "%.9g differs from %.9g of %s", value, old, old_key);
    }
    return old;
}

static void read_llama3(struct hw_config *config, bool is_new, struct hw_rope *rope) {
    rope->scaling = HW_ROPE_LLAMA3;
    rope->low_frequency = hw_config_number(
        config, is_new ? "rope_parameters.low_freq_factor" : "rope_scaling.low_freq_factor",
        HW_REQUIRED_NUMBER);
    rope->high_frequency = hw_config_number(
        config, is_new ? "rope_parameters.high_freq_factor" : "rope_scaling.high_freq_factor",
        HW_REQUIRED_NUMBER);
    rope->original_context =
        hw_config_number(config,
                         is_new ? "rope_parameters.original_max_position_embeddings"
                                : "rope_scaling.original_max_position_embeddings",
                         HW_REQUIRED_NUMBER);
    if (rope->high_frequency <= rope->low_frequency) {
        (void)hw_config_fail(config, is_new ? "rope_parameters" : "rope_scaling",
                             "high_freq_factor %.9g is not above low_freq_factor %.9g",
                             rope->high_frequency, rope->low_frequency);
    }
}

// Is rope_scaling, where there too, what rope_parameters says?
static void check_both_spellings(struct hw_config *config) {
    const json_t *new_one = json_object_get(config->json, "rope_parameters");
    const json_t *old_one = json_object_get(config->json, "rope_scaling");
    const char *key;
    const json_t *value;
    json_object_foreach((json_t *)old_one, key, value) {
        const char *new_key = strcmp(key, "type") == 0 ? "rope_type" : key;
        if (!json_equal(value, json_object_get(new_one, new_key))) {
            (void)hw_config_fail(config, "rope_scaling", "%s differs from that of rope_parameters",
                                 new_key);
        }
    }
}

// Is there an object of this name?
static bool has_object(struct hw_config *config, const char *key) {
    if (!hw_config_has(config, key)) {
        return false;
    }
    if (!json_is_object(json_object_get(config->json, key))) {
        (void)hw_config_fail(config, key, "expected an object");
    }
    return true;
}

static void read_json(struct hw_config *config, const char *old_theta, double default_theta,
                      struct hw_rope *rope) {
    bool is_new = has_object(config, "rope_parameters");
    if (has_object(config, "rope_scaling") && is_new) {
        check_both_spellings(config);
    }
    char kind[HW_CONFIG_TEXT];
    char older[HW_CONFIG_TEXT];
    hw_config_string(config, is_new ? "rope_parameters.type" : "rope_scaling.type", "default",
                     older);
    hw_config_string(config, is_new ? "rope_parameters.rope_type" : "rope_scaling.rope_type", older,
                     kind);
    rope->theta = read_either(config, "rope_parameters.rope_theta", old_theta, default_theta);
    const char *factor = is_new ? "rope_parameters.factor" : "rope_scaling.factor";
    if (strcmp(kind, "linear") == 0) {
        rope->scaling = HW_ROPE_LINEAR;
        rope->factor = hw_config_number(config, factor, HW_REQUIRED_NUMBER);
    } else if (strcmp(kind, "llama3") == 0) {
        rope->factor = hw_config_number(config, factor, HW_REQUIRED_NUMBER);
        read_llama3(config, is_new, rope);
    } else if (strcmp(kind, "default") != 0) {
        char safe[2 * HW_CONFIG_TEXT];
        (void)hw_config_fail(config,
                             is_new ? "rope_parameters.rope_type" : "rope_scaling.rope_type",
                             "\"%s\" is not one of default, linear, llama3",
                             hw_escape(safe, sizeof safe, kind, strlen(kind)));
    }
}

static void read_gguf(struct hw_config *config, double default_theta, struct hw_rope *rope) {
    char kind[HW_CONFIG_TEXT];
    bool is_oldest = hw_config_has(config, "rope.scale_linear");
    rope->theta = hw_config_number(config, "rope.freq_base", default_theta);
    hw_config_string(config, "rope.scaling.type", is_oldest ? "linear" : "none", kind);
    if (strcmp(kind, "linear") == 0) {
        rope->scaling = HW_ROPE_LINEAR;
        rope->factor = read_either(config, "rope.scaling.factor", "rope.scale_linear", 1);
    } else if (strcmp(kind, "none") != 0) {
        char safe[2 * HW_CONFIG_TEXT];
        (void)hw_config_fail(config, "rope.scaling.type", "\"%s\" is not one of none, linear",
                             hw_escape(safe, sizeof safe, kind, strlen(kind)));
    }
}

void hw_rope_read(struct hw_config *config, const char *old_theta, double default_theta,
                  struct hw_rope *ret_rope) {
    memset(ret_rope, 0, sizeof *ret_rope);
    ret_rope->factor = 1;
    if (hw_config_is_gguf(config)) {
        read_gguf(config, default_theta, ret_rope);
    } else {
        read_json(config, old_theta, default_theta, ret_rope);
    }
}

// Long waves are stretched by the factor, short ones kept, those between blended.
static double llama3_frequency(const struct hw_rope *rope, double frequency) {
    double wavelength = two_pi / frequency;
    if (wavelength < rope->original_context / rope->high_frequency) {
        return frequency;
    }
    if (wavelength > rope->original_context / rope->low_frequency) {
        return frequency / rope->factor;
    }
    double blend = (rope->original_context / wavelength - rope->low_frequency) /
                   (rope->high_frequency - rope->low_frequency);
    return (1 - blend) * frequency / rope->factor + blend * frequency;
}

void hw_rope_frequencies(const struct hw_rope *rope, size_t n_rot, const float *divisors,
                         double *ret_inverse_frequency) {
    for (size_t c = 0; c < n_rot / 2; c++) {
        double frequency = pow(rope->theta, -2.0 * (double)c / (double)n_rot);
        if (rope->scaling == HW_ROPE_LINEAR) {
            frequency /= rope->factor;
        } else if (rope->scaling == HW_ROPE_LLAMA3) {
            frequency = llama3_frequency(rope, frequency);
        }
        ret_inverse_frequency[c] = divisors != NULL ? frequency / (double)divisors[c] : frequency;
    }
}

void hw_model_rope_table(const struct hw_model_desc *desc, size_t first, size_t n, float *cosine,
                         float *sine) {
    size_t n_pairs = desc->n_rot / 2;
    for (size_t i = 0; i < n; i++) {
        for (size_t c = 0; c < n_pairs; c++) {
            double angle = (double)(first + i) * desc->inverse_frequency[c];
            cosine[i * n_pairs + c] = (float)(cos(angle) * desc->rope_factor);
            sine[i * n_pairs + c] = (float)(sin(angle) * desc->rope_factor);
        }
    }
}
