// What commands that run a model have in common: model, tokenizer and prompts by options, the
// command line for provenance, the signals that stop them.
#ifndef HW_INPUTS_H
#define HW_INPUTS_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/prompts.h"
#include "formats/tokenizer.h"
#include "kernels/ops.h"
#include "tools/command.h"
#include "tracer/model.h"

#ifdef __cplusplus
extern "C" {
#endif

struct hw_input_options {
    const char *model;
    int model_hash; // enum hw_model_hash
    struct hw_strings prompts;
    struct hw_strings texts;
    struct hw_strings tokens;
    int add_bos;
    uint64_t max_tokens;
};

// The rows of an option table that fill a struct hw_input_options, member `field` of `type`.
#define HW_OPTIONS_INPUT(type, field)                                                              \
    HW_OPTION_GROUP("Model and prompts"),                                                          \
        HW_OPTION_STRING(type, field.model, "model", "PATH", NULL,                                 \
                         "A GGUF file, a folder with config.json and safetensors, or "             \
                         "org/name[@revision] in the local hub cache."),                           \
        HW_OPTION_CHOICE(type, field.model_hash, "model-hash", "full|header|none", "full",         \
                         "What of the model files is hashed into the capture."),                   \
        HW_OPTION_LIST(type, field.prompts, "prompts", "FILE",                                     \
                       "Prompts: .jsonl (an object a line), .txt (a prompt a line), or - for "     \
                       "JSON lines on stdin; may be repeated."),                                   \
        HW_OPTION_LIST(type, field.texts, "text", "STRING", "A prompt; may be repeated."),         \
        HW_OPTION_LIST(type, field.tokens, "tokens", "FILE",                                       \
                       "Token ids separated by blanks, a prompt a line."),                         \
        HW_OPTION_CHOICE(type, field.add_bos, "add-bos", "auto|yes|no", "auto",                    \
                         "Whether a BOS token is put in front; auto does what the model's "        \
                         "tokenizer does and never doubles it."),                                  \
        HW_OPTION_COUNT(type, field.max_tokens, "max-tokens", "N", NULL, 1, 1 << 24,               \
                        "Cut longer prompts to N tokens, and mark them.")

struct hw_inputs {
    struct hw_model *model;
    struct hw_tokenizer *tokenizer; // NULL: the prompts are token ids and the model has none
    struct hw_prompts prompts;
};

// HW_USAGE where model or prompts are not given.
enum hw_status hw_inputs_check(const struct hw_invocation *in, const struct hw_input_options *opt,
                               struct hw_error *err);
// Opens and reads everything, with room for n_generate tokens where positions are learned, and says
// on stderr which prompts were cut or failed.
enum hw_status hw_inputs_open(const struct hw_invocation *in, const struct hw_input_options *opt,
                              size_t n_generate, struct hw_inputs *ret_inputs,
                              struct hw_error *err);
void hw_inputs_close(struct hw_inputs *inputs);

// SHA-256 of the model's files as --model-hash says, kept in the cache folder.
enum hw_status hw_inputs_hash(const struct hw_model *model, const struct hw_input_options *opt,
                              char ret_hex[65], struct hw_error *err);

// Of --kernels auto|plain|avx2|avx512.
enum hw_level hw_input_level(int kernels);

// The command line as it was typed, quoted where a shell would need it, from malloc; or the one
// that continues this run. NULL without memory.
char *hw_command_line(const struct hw_invocation *in, bool is_continuing);

// INT, TERM and USR1 set hw_stop_signal: a run commits what it has and ends with HW_STOPPED.
extern volatile sig_atomic_t hw_stop_signal;
void hw_catch_stop_signals(void);

// {"op": "implementation", ...}, from malloc; NULL without memory.
char *hw_kernels_json(const struct hw_ops *ops);

#ifdef __cplusplus
}
#endif
#endif
