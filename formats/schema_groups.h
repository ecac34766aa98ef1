// Rows of the schema: the groups below the root.
#ifndef HW_SCHEMA_GROUPS_H
#define HW_SCHEMA_GROUPS_H

#define HW_DATASETS_GROUP_MASSIVE(X)                                                               \
    X(MASSIVE_PROMPT, MASSIVE, "prompt", I4, (EVENT), "massive", "prompt of the activation", "1",  \
      "Value of the prompt coordinate.", "", false)                                                \
    X(MASSIVE_TOKEN, MASSIVE, "token", I8, (EVENT), "", "row of the activation", "1",              \
      "Row of the token axis of the root group.", "", false)                                       \
    X(MASSIVE_POSITION, MASSIVE, "position", I4, (EVENT), "massive", "position in the prompt",     \
      "1", "Position of the token in its prompt.", "", false)                                      \
    X(MASSIVE_DEPTH, MASSIVE, "depth", I4, (EVENT), "massive", "depth of the activation", "1",     \
      "Residual stream point: 0 = embedding, l + 1 = after block l.", "", false)                   \
    X(MASSIVE_CHANNEL, MASSIVE, "channel", I4, (EVENT), "massive", "channel of the activation",    \
      "1", "Channel of the residual stream.", "", false)                                           \
    X(MASSIVE_VALUE, MASSIVE, "value", F4, (EVENT), "massive", "massive activation", "1",          \
      "x where |x| > 100 and |x| >= 1000 state_median.", "blocks.{layer}.hook_resid_post", false)  \
    X(MASSIVE_RATIO, MASSIVE, "ratio", F4, (EVENT), "massive", "ratio to the median", "1",         \
      "|x| / state_median of the prompt and depth.", "", false)

#define HW_DATASETS_GROUP_ATTENTION(X)                                                             \
    X(ATTENTION_N_TOKENS, ATTENTION, "n_tokens", I4, (PROMPT), "", "number of tokens", "1",        \
      "Tokens of the prompt: the part of query and key that is filled.", "", false)                \
    X(ATTENTION_RECORDED, ATTENTION, "recorded", U1, (LAYER, HEAD), "", "head was recorded", "1",  \
      "1 where the head was recorded, where the set of heads differs from layer to layer.", "",    \
      false)                                                                                       \
    X(ATTENTION_PATTERN, ATTENTION, "pattern", F2, (PROMPT, LAYER, HEAD, QUERY, KEY),              \
      "attention_maps", "attention pattern", "1",                                                  \
      "A[i,j]: weight of key j for query i; fill value outside the prompt, 0 where masked.",       \
      "blocks.{layer}.attn.hook_pattern", false)                                                   \
    X(ATTENTION_SCORES, ATTENTION, "scores", F2, (PROMPT, LAYER, HEAD, QUERY, KEY),                \
      "attention_scores", "attention scores", "nat",                                               \
      "s[i,j] after scale and soft cap; NaN where masked and outside the prompt.",                 \
      "blocks.{layer}.attn.hook_attn_scores", false)                                               \
    X(ATTENTION_TOP_KEY, ATTENTION, "top_key", I4, (TOKEN, LAYER, HEAD, KEY_RANK),                 \
      "attention_top", "strongest keys", "1",                                                      \
      "Key positions of the largest weights of the row, largest first; -1 beyond the keys seen.",  \
      "blocks.{layer}.attn.hook_pattern", false)                                                   \
    X(ATTENTION_TOP_WEIGHT, ATTENTION, "top_weight", F4, (TOKEN, LAYER, HEAD, KEY_RANK),           \
      "attention_top", "weights of the strongest keys", "1",                                       \
      "Largest weights of the row, largest first; NaN beyond the keys seen.",                      \
      "blocks.{layer}.attn.hook_pattern", false)

#define HW_DATASETS_GROUP_VECTORS(X)                                                               \
    X(ATTENTION_VECTORS_RECORDED, ATTENTION_VECTORS, "recorded", U1, (LAYER, HEAD), "",            \
      "head was recorded", "1",                                                                    \
      "1 where the head was recorded, where the set of heads differs from layer to layer.", "",    \
      false)                                                                                       \
    X(ATTENTION_VECTORS_QUERY, ATTENTION_VECTORS, "query", F4, (TOKEN, LAYER, HEAD, HEAD_CHANNEL), \
      "attention_vectors", "rotated query", "1",                                                   \
      "q after rotation and query norm, before the score scale.",                                  \
      "blocks.{layer}.attn.hook_rot_q", false)                                                     \
    X(ATTENTION_VECTORS_KEY, ATTENTION_VECTORS, "key", F4, (TOKEN, LAYER, KV_HEAD, HEAD_CHANNEL),  \
      "attention_vectors", "rotated key", "1", "k after rotation and key norm.",                   \
      "blocks.{layer}.attn.hook_rot_k", false)                                                     \
    X(ATTENTION_VECTORS_ROW_MAX, ATTENTION_VECTORS, "row_max", F4, (TOKEN, LAYER, HEAD),           \
      "attention_vectors", "largest score of the row", "nat",                                      \
      "max_j s[i,j]; A[i,j] = exp(s[i,j] - row_max) row_inverse_sum.",                             \
      "blocks.{layer}.attn.hook_attn_scores", false)                                               \
    X(ATTENTION_VECTORS_ROW_INVERSE_SUM, ATTENTION_VECTORS, "row_inverse_sum", F4,                 \
      (TOKEN, LAYER, HEAD), "attention_vectors", "inverse of the row's sum", "1",                  \
      "1 / sum_j exp(s[i,j] - row_max).", "blocks.{layer}.attn.hook_attn_scores", false)           \
    X(ATTENTION_VECTORS_SCORE_SCALE, ATTENTION_VECTORS, "score_scale", F4, (LAYER),                \
      "attention_vectors", "scale of the scores", "1", "s[i,j] = score_scale q_i . k_j.", "",      \
      false)                                                                                       \
    X(ATTENTION_VECTORS_SOFT_CAP, ATTENTION_VECTORS, "soft_cap", F4, (LAYER), "attention_vectors", \
      "soft cap of the scores", "1", "s -> soft_cap tanh(s / soft_cap); 0: none.", "", false)      \
    X(ATTENTION_VECTORS_WINDOW, ATTENTION_VECTORS, "window", I4, (LAYER), "attention_vectors",     \
      "attention window", "tokens", "Keys that a query sees, itself counted; 0: all.", "", false)  \
    X(ATTENTION_VECTORS_ALIBI_SLOPE, ATTENTION_VECTORS, "alibi_slope", F4, (LAYER, HEAD),          \
      "attention_vectors", "slope of the linear bias", "1",                                        \
      "s[i,j] += -alibi_slope (i - j); 0: none.", "", false)                                       \
    X(ATTENTION_VECTORS_SINK_LOGIT, ATTENTION_VECTORS, "sink_logit", F4, (LAYER, HEAD),            \
      "attention_vectors", "learned sink logit", "nat",                                            \
      "One more term exp(sink_logit) in the sum of every row; -inf: none.", "", false)             \
    X(ATTENTION_VECTORS_EDITS_JSON, ATTENTION_VECTORS, "edits_json", VSTR, (NONE),                 \
      "attention_vectors", "edits in force", "1",                                                  \
      "The edits that a rebuilt map must apply, as a JSON list.", "", false)

#define HW_DATASETS_GROUP_DECODE(X)                                                                \
    X(DECODE_RECORDED, DECODE, "recorded", U1, (LAYER, HEAD), "", "head was recorded", "1",        \
      "1 where the head was recorded, where the set of heads differs from layer to layer.", "",    \
      false)                                                                                       \
    X(DECODE_PROMPT, DECODE, "prompt", I4, (STEP), "decode_top decode_attention",                  \
      "prompt of the step", "1", "Value of the prompt coordinate.", "", false)                     \
    X(DECODE_POSITION, DECODE, "position", I4, (STEP), "decode_top decode_attention",              \
      "position of the query", "1", "Position in the prompt of the token consumed.", "", false)    \
    X(DECODE_INPUT, DECODE, "input", I4, (STEP), "decode_top decode_attention", "token consumed",  \
      "1", "Id of the token that the step consumes.", "", false)                                   \
    X(DECODE_OUTPUT, DECODE, "output", I4, (STEP), "decode_top decode_attention", "token emitted", \
      "1", "Id of the token that the step emits.", "", false)                                      \
    X(DECODE_TOP_KEY, DECODE, "top_key", I4, (STEP, LAYER, HEAD), "decode_top",                    \
      "position attended to most", "1",                                                            \
      "Key position of the largest weight, ties to the lowest; -1 where the row is empty.",        \
      "blocks.{layer}.attn.hook_pattern", false)                                                   \
    X(DECODE_TOP_WEIGHT, DECODE, "top_weight", F4, (STEP, LAYER, HEAD), "decode_top",              \
      "largest attention weight", "1", "max_j A[i,j].", "blocks.{layer}.attn.hook_pattern", false) \
    X(DECODE_ATTENTION_FIRST, DECODE, "attention_first", F4, (STEP, LAYER, HEAD), "decode_top",    \
      "attention to the first token", "1", "A[i,0].", "blocks.{layer}.attn.hook_pattern", false)   \
    X(DECODE_PATTERN, DECODE, "pattern", F2, (STEP, LAYER, HEAD, KEY), "decode_attention",         \
      "attention row of the step", "1",                                                            \
      "A[i,j] of the step's query i; fill value at keys beyond it.",                               \
      "blocks.{layer}.attn.hook_pattern", false)

#define HW_DATASETS_GROUP_ACTIVATIONS(X)                                                           \
    X(ACTIVATIONS_RECORDED, ACTIVATIONS, "recorded", U1, (LAYER, HEAD), "", "head was recorded",   \
      "1", "1 where the head was recorded, where the set of heads differs from layer to layer.",   \
      "", false)                                                                                   \
    X(ACTIVATIONS_TOKEN_PROMPT, ACTIVATIONS, "token_prompt", I4, (TOKEN), "",                      \
      "prompt of the token", "1", "Value of the prompt coordinate.", "", false)                    \
    X(ACTIVATIONS_TOKEN_POSITION, ACTIVATIONS, "token_position", I4, (TOKEN), "",                  \
      "position in the prompt", "1", "0-based position of the token in its prompt.", "", false)    \
    X(ACTIVATIONS_RESIDUAL, ACTIVATIONS, "residual", F4, (TOKEN, DEPTH, CHANNEL), "residual",      \
      "residual stream", "1",                                                                      \
      "x at a depth: 0 = embedding, l + 1 = after block l, before any final norm.",                \
      "blocks.{layer}.hook_resid_post", false)                                                     \
    X(ACTIVATIONS_RESIDUAL_MID, ACTIVATIONS, "residual_mid", F4, (TOKEN, LAYER, CHANNEL),          \
      "residual_mid", "residual stream inside the block", "1",                                     \
      "x between the attention and the MLP of the block.", "blocks.{layer}.hook_resid_mid", false) \
    X(ACTIVATIONS_ATTENTION_OUTPUT, ACTIVATIONS, "attention_output", F4, (TOKEN, LAYER, CHANNEL),  \
      "attention_output", "attention output", "1",                                                 \
      "What the attention of the block adds to the residual stream, bias included.",               \
      "blocks.{layer}.hook_attn_out", false)                                                       \
    X(ACTIVATIONS_MLP_OUTPUT, ACTIVATIONS, "mlp_output", F4, (TOKEN, LAYER, CHANNEL),              \
      "mlp_output", "MLP output", "1",                                                             \
      "What the MLP of the block adds to the residual stream, bias included.",                     \
      "blocks.{layer}.hook_mlp_out", false)                                                        \
    X(ACTIVATIONS_MLP_POST, ACTIVATIONS, "mlp_post", F4, (TOKEN, LAYER, NEURON), "mlp_post",       \
      "MLP neurons", "1", "Activations of the neurons, after the nonlinearity and the gate.",      \
      "blocks.{layer}.mlp.hook_post", false)                                                       \
    X(ACTIVATIONS_NORM_SCALE, ACTIVATIONS, "norm_scale", F4, (TOKEN, LAYER, NORM), "norm_scale",   \
      "scale of the norms", "1",                                                                   \
      "What the centred row is multiplied by: 1 / sqrt(mean square + eps).",                       \
      "blocks.{layer}.ln1.hook_scale", false)                                                      \
    X(ACTIVATIONS_Z, ACTIVATIONS, "z", F4, (TOKEN, LAYER, HEAD, HEAD_CHANNEL), "z",                \
      "mixed values of the head", "1", "z_i = sum_j A[i,j] v_j.", "blocks.{layer}.attn.hook_z",    \
      false)                                                                                       \
    X(ACTIVATIONS_HEAD_RESULT, ACTIVATIONS, "head_result", F4, (TOKEN, LAYER, HEAD, CHANNEL),      \
      "head_result", "result of the head", "1", "W_O,h z_h.", "blocks.{layer}.attn.hook_result",   \
      false)                                                                                       \
    X(ACTIVATIONS_VALUE, ACTIVATIONS, "value", F4, (TOKEN, LAYER, KV_HEAD, HEAD_CHANNEL), "value", \
      "value", "1", "v of the key/value head.", "blocks.{layer}.attn.hook_v", false)

#define HW_DATASETS_GROUP_ATTRIBUTION(X)                                                           \
    X(ATTRIBUTION_RECORDED, ATTRIBUTION, "recorded", U1, (LAYER, HEAD), "", "head was recorded",   \
      "1", "1 where the head was recorded, where the set of heads differs from layer to layer.",   \
      "", false)                                                                                   \
    X(ATTRIBUTION_POSITION, ATTRIBUTION, "position", I4, (PROMPT), "attribution",                  \
      "position of the prediction", "1",                                                           \
      "Position whose next-token prediction is attributed; -1 where the prompt has no target.",    \
      "", false)                                                                                   \
    X(ATTRIBUTION_LOGIT, ATTRIBUTION, "logit", F4, (PROMPT), "attribution", "logit", "1",          \
      "Logit of the target, less that of the foil where there is one.", "hook_logits", false)      \
    X(ATTRIBUTION_EMBEDDING, ATTRIBUTION, "embedding", F4, (PROMPT), "attribution",                \
      "what the embedding adds to the logit", "1",                                                 \
      "d . x with d the logit's direction through the final norm, its scale held.", "hook_embed",  \
      false)                                                                                       \
    X(ATTRIBUTION_BIAS, ATTRIBUTION, "bias", F4, (PROMPT), "attribution",                          \
      "what biases add to the logit", "1",                                                         \
      "Of the attention outputs, of the final norm and of the unembedding.", "", false)            \
    X(ATTRIBUTION_HEAD, ATTRIBUTION, "head_logit", F4, (PROMPT, LAYER, HEAD), "attribution",       \
      "what the head adds to the logit", "1",                                                      \
      "d . W_O,h z_h; with embedding, bias and mlp_logit the sum is the logit.",                   \
      "blocks.{layer}.attn.hook_result", false)                                                    \
    X(ATTRIBUTION_MLP, ATTRIBUTION, "mlp_logit", F4, (PROMPT, LAYER), "attribution",               \
      "what the MLP adds to the logit", "1", "d . mlp_output, its bias included.",                 \
      "blocks.{layer}.hook_mlp_out", false)                                                        \
    X(ATTRIBUTION_LENS_LOGIT, ATTRIBUTION, "lens_logit", F4, (PROMPT, DEPTH), "attribution",       \
      "logit at a depth", "1",                                                                     \
      "The logit that the residual stream at this depth gives through the final norm and the "     \
      "unembedding.",                                                                              \
      "blocks.{layer}.hook_resid_post", false)                                                     \
    X(ATTRIBUTION_LENS_RANK, ATTRIBUTION, "lens_rank", I4, (PROMPT, DEPTH), "attribution",         \
      "rank of the target at a depth", "1",                                                        \
      "Tokens with a larger logit than the target's at this depth; -1 without a target.",          \
      "blocks.{layer}.hook_resid_post", false)

#define HW_DATASETS_GROUP_LOGITS(X)                                                                \
    X(LOGITS_TOKEN_PROMPT, LOGITS, "token_prompt", I4, (TOKEN), "", "prompt of the token", "1",    \
      "Value of the prompt coordinate.", "", false)                                                \
    X(LOGITS_TOKEN_POSITION, LOGITS, "token_position", I4, (TOKEN), "", "position in the prompt",  \
      "1", "0-based position of the token in its prompt.", "", false)                              \
    X(LOGITS_LOGITS, LOGITS, "logits", F4, (TOKEN, VOCAB), "logits", "logits", "1",                \
      "Logits of the prediction made at this row, for the next token.", "", false)

#define HW_DATASETS_GROUP_MEANS(X)                                                                 \
    X(MEANS_RECORDED, MEANS, "recorded", U1, (LAYER, HEAD), "", "head was recorded", "1",          \
      "1 where the head was recorded, where the set of heads differs from layer to layer.", "",    \
      false)                                                                                       \
    X(MEANS_COUNT, MEANS, "count", I8, (GROUP), "", "rows of the group", "1",                      \
      "Rows of the texts of the group's prompts: what its means are over.", "", false)             \
    X(MEANS_Z, MEANS, "z", F4, (GROUP, LAYER, HEAD, HEAD_CHANNEL), "means",                        \
      "mean mixed values of the head", "1",                                                        \
      "Mean of z over the rows of the group: z_sum / (2^30 count).", "blocks.{layer}.attn.hook_z", \
      false)                                                                                       \
    X(MEANS_Z_SUM, MEANS, "z_sum", I8, (GROUP, LAYER, HEAD, HEAD_CHANNEL), "means",                \
      "sum of mixed values of the head", "2^-30",                                                  \
      "Sum of z over the rows of the group, each rounded to 2^-30.", "blocks.{layer}.attn.hook_z", \
      false)                                                                                       \
    X(MEANS_ATTENTION_OUTPUT, MEANS, "attention_output", F4, (GROUP, LAYER, CHANNEL), "means",     \
      "mean attention output", "1",                                                                \
      "Mean of attention_output over the rows of the group: attention_output_sum / (2^30 count).", \
      "blocks.{layer}.hook_attn_out", false)                                                       \
    X(MEANS_ATTENTION_OUTPUT_SUM, MEANS, "attention_output_sum", I8, (GROUP, LAYER, CHANNEL),      \
      "means", "sum of attention output", "2^-30",                                                 \
      "Sum of attention_output over the rows of the group, each rounded to 2^-30.",                \
      "blocks.{layer}.hook_attn_out", false)                                                       \
    X(MEANS_MLP_OUTPUT, MEANS, "mlp_output", F4, (GROUP, LAYER, CHANNEL), "means",                 \
      "mean MLP output", "1",                                                                      \
      "Mean of mlp_output over the rows of the group: mlp_output_sum / (2^30 count).",             \
      "blocks.{layer}.hook_mlp_out", false)                                                        \
    X(MEANS_MLP_OUTPUT_SUM, MEANS, "mlp_output_sum", I8, (GROUP, LAYER, CHANNEL), "means",         \
      "sum of MLP output", "2^-30",                                                                \
      "Sum of mlp_output over the rows of the group, each rounded to 2^-30.",                      \
      "blocks.{layer}.hook_mlp_out", false)                                                        \
    X(MEANS_RESIDUAL, MEANS, "residual", F4, (GROUP, DEPTH, CHANNEL), "means",                     \
      "mean residual stream", "1",                                                                 \
      "Mean of the residual stream over the rows of the group: residual_sum / (2^30 count).",      \
      "blocks.{layer}.hook_resid_post", false)                                                     \
    X(MEANS_RESIDUAL_SUM, MEANS, "residual_sum", I8, (GROUP, DEPTH, CHANNEL), "means",             \
      "sum of residual stream", "2^-30",                                                           \
      "Sum of the residual stream over the rows of the group, each rounded to 2^-30.",             \
      "blocks.{layer}.hook_resid_post", false)                                                     \
    X(MEANS_POSITION_COUNT, MEANS, "position_count", I8, (GROUP, POSITION), "",                    \
      "prompts of the group that reach the position", "1",                                         \
      "Prompts of the group whose text has the position (--means-per-position).", "", false)       \
    X(MEANS_POSITION_Z, MEANS, "position_z", F4, (GROUP, LAYER, POSITION, HEAD, HEAD_CHANNEL),     \
      "means", "mean mixed values of the head at the position", "1",                               \
      "Mean of z over the group's prompts at a position (--means-per-position).",                  \
      "blocks.{layer}.attn.hook_z", false)                                                         \
    X(MEANS_POSITION_Z_SUM, MEANS, "position_z_sum", I8,                                           \
      (GROUP, LAYER, POSITION, HEAD, HEAD_CHANNEL), "means",                                       \
      "sum of mixed values of the head at the position", "2^-30",                                  \
      "Sum over the group's prompts at a position, each rounded to 2^-30.",                        \
      "blocks.{layer}.attn.hook_z", false)                                                         \
    X(MEANS_POSITION_ATTENTION_OUTPUT, MEANS, "position_attention_output", F4,                     \
      (GROUP, LAYER, POSITION, CHANNEL), "means", "mean attention output at the position", "1",    \
      "Mean of attention_output over the group's prompts at a position (--means-per-position).",   \
      "blocks.{layer}.hook_attn_out", false)                                                       \
    X(MEANS_POSITION_ATTENTION_OUTPUT_SUM, MEANS, "position_attention_output_sum", I8,             \
      (GROUP, LAYER, POSITION, CHANNEL), "means", "sum of attention output at the position",       \
      "2^-30", "Sum over the group's prompts at a position, each rounded to 2^-30.",               \
      "blocks.{layer}.hook_attn_out", false)                                                       \
    X(MEANS_POSITION_MLP_OUTPUT, MEANS, "position_mlp_output", F4,                                 \
      (GROUP, LAYER, POSITION, CHANNEL), "means", "mean MLP output at the position", "1",          \
      "Mean of mlp_output over the group's prompts at a position (--means-per-position).",         \
      "blocks.{layer}.hook_mlp_out", false)                                                        \
    X(MEANS_POSITION_MLP_OUTPUT_SUM, MEANS, "position_mlp_output_sum", I8,                         \
      (GROUP, LAYER, POSITION, CHANNEL), "means", "sum of MLP output at the position", "2^-30",    \
      "Sum over the group's prompts at a position, each rounded to 2^-30.",                        \
      "blocks.{layer}.hook_mlp_out", false)                                                        \
    X(MEANS_POSITION_RESIDUAL, MEANS, "position_residual", F4, (GROUP, DEPTH, POSITION, CHANNEL),  \
      "means", "mean residual stream at the position", "1",                                        \
      "Mean of the residual stream over the group's prompts at a position "                        \
      "(--means-per-position).",                                                                   \
      "blocks.{layer}.hook_resid_post", false)                                                     \
    X(MEANS_POSITION_RESIDUAL_SUM, MEANS, "position_residual_sum", I8,                             \
      (GROUP, DEPTH, POSITION, CHANNEL), "means", "sum of residual stream at the position",        \
      "2^-30", "Sum over the group's prompts at a position, each rounded to 2^-30.",               \
      "blocks.{layer}.hook_resid_post", false)

#define HW_DATASETS_GROUP_VOCABULARY(X)                                                            \
    X(VOCABULARY_TEXT, VOCABULARY, "text", VSTR, (ID), "", "text of the token", "1",               \
      "Text of the token in the printable alphabet of its tokenizer.", "", false)                  \
    X(VOCABULARY_TYPE, VOCABULARY, "type", U1, (ID), "", "kind of the token", "1",                 \
      "What the vocabulary says of the token.", "", false)                                         \
    X(VOCABULARY_BYTE, VOCABULARY, "byte", U1, (BYTE), "", "bytes of the tokens", "1",             \
      "The bytes that the tokens stand for, one token after another.", "", false)                  \
    X(VOCABULARY_BYTE_START, VOCABULARY, "byte_start", I8, (ID_BOUND), "",                         \
      "first byte of the token", "1",                                                              \
      "Bytes byte_start[id] .. byte_start[id + 1] are token id's.", "", false)

#define HW_DATASETS_GROUP_PROVENANCE(X)                                                            \
    X(PROVENANCE_CONFIG_JSON, PROVENANCE, "config_json", VSTR, (NONE), "", "run configuration",    \
      "1", "The options of the run, resolved.", "", false)                                         \
    X(PROVENANCE_MODEL_METADATA_JSON, PROVENANCE, "model_metadata_json", VSTR, (NONE), "",         \
      "metadata of the model", "1", "config.json or the keys of the GGUF file.", "", false)        \
    X(PROVENANCE_PARTS_JSON, PROVENANCE, "parts_json", VSTR, (NONE), "", "parts of the capture",   \
      "1", "Range, size and SHA-256 of every part.", "", false)                                    \
    X(PROVENANCE_MANIFEST_JSON, PROVENANCE, "manifest_json", VSTR, (NONE), "",                     \
      "manifest of the run", "1", "Everything that changes results.", "", false)                   \
    X(PROVENANCE_EDITS_JSON, PROVENANCE, "edits_json", VSTR, (NONE), "", "edits", "1",             \
      "The edits that the model ran under, as a JSON list.", "", false)                            \
    X(PROVENANCE_KERNELS_JSON, PROVENANCE, "kernels_json", VSTR, (NONE), "", "kernels", "1",       \
      "The implementation that was chosen for each op.", "", false)

#endif
