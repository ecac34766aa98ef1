// A typed reader over config.json or the metadata of a GGUF file, which remembers what was read.
//
// Errors stick: the first one is kept in status and err, later reads return the fallback, and the
// caller looks once at the end. A missing key and a null give the fallback. Keys are literals: they
// are kept by address. "rope_parameters.rope_theta" is a key inside an object; in GGUF files keys
// are without the architecture in front ("block_count").
#ifndef HW_MODEL_CONFIG_H
#define HW_MODEL_CONFIG_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/checkpoint.h"
#include "formats/gguf.h"
#include "kernels/ops.h"
#include "kernels/status.h"

enum { HW_MAX_CONFIG_KEYS = 128, HW_CONFIG_TEXT = 64 };
enum { HW_MAX_CONFIG_SIZE = 1 << 30 }; // any count in a configuration

#define HW_REQUIRED SIZE_MAX // fallbacks that make a missing key an error
#define HW_REQUIRED_NUMBER ((double)NAN)

struct hw_config {
    const json_t *json;                   // one of the two
    const struct hw_gguf *gguf;           //
    const char *architecture;             // of the GGUF file
    const char *keys[HW_MAX_CONFIG_KEYS]; // that were read
    size_t n_keys;
    enum hw_status status;
    struct hw_error *err;
};

void hw_config_init(struct hw_config *config, const struct hw_checkpoint *checkpoint,
                    struct hw_error *err);

bool hw_config_is_gguf(const struct hw_config *config);
bool hw_config_has(struct hw_config *config,
                   const char *key); // there, and not null; counts as read

size_t hw_config_size(struct hw_config *config, const char *key,
                      size_t fallback); // 1 .. HW_MAX_CONFIG_SIZE
double hw_config_number(struct hw_config *config, const char *key, double fallback); // finite, > 0
bool hw_config_bool(struct hw_config *config, const char *key, bool fallback);
// Copies a string of less than HW_CONFIG_TEXT bytes; where the key is missing, `fallback`.
void hw_config_string(struct hw_config *config, const char *key, const char *fallback,
                      char ret_text[HW_CONFIG_TEXT]);

// A key that may be there only with the value that changes nothing.
void hw_config_expect_bool(struct hw_config *config, const char *key, bool expected);
void hw_config_expect_number(struct hw_config *config, const char *key, double expected);

// hidden_act and its like, by the names that transformers gives them.
enum hw_activation hw_config_activation(struct hw_config *config, const char *key,
                                        const char *fallback);

// The first error wins. Returns the status.
enum hw_status hw_config_fail(struct hw_config *config, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Refuses, by name, every key that was neither read nor is in `harmless` (NULL-terminated; a final
// * matches any rest) nor null. In GGUF files only the keys of the architecture are looked at: the
// others describe the file and the tokenizer.
void hw_config_refuse_unread(struct hw_config *config, const char *const *harmless);

#endif
