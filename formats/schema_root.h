// Rows of the schema: the root group.
#ifndef HW_SCHEMA_ROOT_H
#define HW_SCHEMA_ROOT_H

// A statistic per token and its mean over the rows of the prompt text, which follows it directly:
// HW_DS_X_MEAN = HW_DS_X + 1.
#define HW_STATISTIC(X, id, name, record, long_name, units, description, hook, ...)                \
    X(id, ROOT, name, F4, (TOKEN, __VA_ARGS__), record, long_name, units, description, hook, true) \
    X(id##_MEAN, ROOT, name "_mean", F4, (PROMPT, __VA_ARGS__), record, "mean of " long_name,      \
      units, "Mean of " name " over the n_prompt_tokens rows of the prompt.", hook, false)

#define HW_DATASETS_COLUMNS(X)                                                                     \
    X(N_TOKENS, ROOT, "n_tokens", I4, (PROMPT), "", "number of tokens", "1",                       \
      "Tokens of the prompt on the token axis, generated ones counted; 0 for a failed prompt.",    \
      "", false)                                                                                   \
    X(N_PROMPT_TOKENS, ROOT, "n_prompt_tokens", I4, (PROMPT), "", "number of tokens given", "1",   \
      "Tokens of the prompt without generated ones: the T of every per-prompt statistic.", "",     \
      false)                                                                                       \
    X(TOKEN_START, ROOT, "token_start", I8, (PROMPT), "", "first row on the token axis", "1",      \
      "Rows token_start .. token_start + n_tokens of the token axis are the prompt's.", "", false) \
    X(PROMPT_NAME, ROOT, "prompt_name", VSTR, (PROMPT), "", "name of the prompt", "1",             \
      "The name field of the user's object, or empty.", "", false)                                 \
    X(PROMPT_TEXT, ROOT, "prompt_text", VSTR, (PROMPT), "", "text of the prompt", "1",             \
      "The text as given, where it is stored.", "", false)                                         \
    X(PROMPT_JSON, ROOT, "prompt_json", VSTR, (PROMPT), "", "object of the prompt", "1",           \
      "The user's JSON object, whole.", "", false)                                                 \
    X(PROMPT_DOMAIN, ROOT, "prompt_domain", VSTR, (PROMPT), "", "domain of the prompt", "1",       \
      "The domain field of the user's object, or empty.", "", false)                               \
    X(PROMPT_TARGET, ROOT, "prompt_target", VSTR, (PROMPT), "", "target of the prompt", "1",       \
      "The target field of the user's object, or empty.", "", false)                               \
    X(PROMPT_FOIL, ROOT, "prompt_foil", VSTR, (PROMPT), "", "foil of the prompt", "1",             \
      "The foil field of the user's object, or empty.", "", false)                                 \
    X(PROMPT_SHA256, ROOT, "prompt_sha256", VSTR, (PROMPT), "", "hash of the prompt", "1",         \
      "SHA-256 of the given token ids as little-endian u4, in hexadecimal: what prompts are "      \
      "matched by.",                                                                               \
      "", false)                                                                                   \
    X(PROMPT_STATUS, ROOT, "prompt_status", U1, (PROMPT), "", "status of the prompt", "1",         \
      "0 ok, 1 truncated, 2 failed (a failed prompt has no tokens).", "", false)                   \
    X(PROMPT_ERROR, ROOT, "prompt_error", VSTR, (PROMPT), "", "why the prompt failed", "1",        \
      "One sentence, empty unless the prompt failed.", "", false)                                  \
    X(HEAD_KV_HEAD, ROOT, "head_kv_head", I4, (HEAD), "", "key/value head of a query head", "1",   \
      "The kv head that a query head reads: head / (n_heads / n_kv_heads).", "", false)            \
    X(RECORDED, ROOT, "recorded", U1, (LAYER, HEAD), "", "head was recorded", "1",                 \
      "1 where the head was recorded, where the set of heads differs from layer to layer.", "",    \
      false)                                                                                       \
    X(TOKEN_PROMPT, ROOT, "token_prompt", I4, (TOKEN), "", "prompt of the token", "1",             \
      "Value of the prompt coordinate.", "", false)                                                \
    X(TOKEN_POSITION, ROOT, "token_position", I4, (TOKEN), "", "position in the prompt", "1",      \
      "0-based position of the token in its prompt.", "", false)                                   \
    X(TOKEN_ID, ROOT, "token_id", I4, (TOKEN), "", "token id", "1",                                \
      "Id of the token in the vocabulary.", "", false)                                             \
    X(TOKEN_TEXT, ROOT, "token_text", VSTR, (TOKEN), "", "text of the token", "1",                 \
      "Text of the token in the printable alphabet of its tokenizer.", "", false)                  \
    X(TOKEN_IS_SPECIAL, ROOT, "token_is_special", U1, (TOKEN), "", "token is special", "1",        \
      "Whether the vocabulary marks the token as a control token.", "", false)                     \
    X(TOKEN_IS_GENERATED, ROOT, "token_is_generated", U1, (TOKEN), "", "token was generated", "1", \
      "Whether the model generated the token; sums per key and per offset leave such rows out.",   \
      "", false)                                                                                   \
    X(SPAN_PROMPT, ROOT, "span_prompt", I4, (SPAN_ROW), "", "prompt of the span", "1",             \
      "Value of the prompt coordinate.", "", false)                                                \
    X(SPAN_NAME, ROOT, "span_name", VSTR, (SPAN_ROW), "", "name of the span", "1",                 \
      "The user's name of the span.", "", false)                                                   \
    X(SPAN_FIRST, ROOT, "span_first", I4, (SPAN_ROW), "", "first position of the span", "1",       \
      "Position of the span's first token.", "", false)                                            \
    X(SPAN_END, ROOT, "span_end", I4, (SPAN_ROW), "", "end of the span", "1",                      \
      "Position after the span's last token.", "", false)

#define HW_DATASETS_LOSS(X)                                                                        \
    X(PROMPT_LOSS, ROOT, "prompt_loss", F4, (PROMPT), "loss", "loss of the prompt", "nat",         \
      "Mean of -token_logprob over positions 1 .. n_prompt_tokens - 1.", "", false)                \
    X(TOKEN_LOGPROB, ROOT, "token_logprob", F4, (TOKEN), "loss", "log-probability of the token",   \
      "nat", "ln p(this token | tokens before); NaN at position 0.", "", false)                    \
    X(NEXT_ENTROPY, ROOT, "next_entropy", F4, (TOKEN), "loss", "entropy of the next token", "nat", \
      "-sum p ln p of the prediction made at this row, for the next token.", "", false)            \
    X(NEXT_TOP_ID, ROOT, "next_top_id", I4, (TOKEN, RANK), "loss", "likeliest next tokens", "1",   \
      "Ids of the largest logits of the prediction made at this row, largest first.", "", false)   \
    X(NEXT_TOP_LOGIT, ROOT, "next_top_logit", F4, (TOKEN, RANK), "loss",                           \
      "logits of the likeliest next tokens", "1",                                                  \
      "Largest logits of the prediction made at this row, largest first.", "", false)

#define HW_ATTENTION_STATISTIC(X, id, name, long_name, units, description)                         \
    HW_STATISTIC(X, id, name, "attention", long_name, units, description,                          \
                 "blocks.{layer}.attn.hook_pattern", LAYER, HEAD)

#define HW_DATASETS_ATTENTION(X)                                                                   \
    HW_ATTENTION_STATISTIC(X, ATTENTION_ENTROPY, "attention_entropy",                              \
                           "entropy of the attention row", "nat",                                  \
                           "-sum_j A[i,j] ln A[i,j] of query i.")                                  \
    HW_ATTENTION_STATISTIC(X, ATTENTION_MAX, "attention_max", "largest attention weight", "1",     \
                           "max_j A[i,j] of query i.")                                             \
    HW_ATTENTION_STATISTIC(X, ATTENTION_FIRST, "attention_first", "attention to the first token",  \
                           "1", "A[i,0] of query i.")                                              \
    HW_STATISTIC(X, ATTENTION_LOGSUMEXP, "attention_logsumexp", "attention",                       \
                 "log-sum-exp of the scores", "nat", "ln sum_j exp(s[i,j]) of query i.",           \
                 "blocks.{layer}.attn.hook_attn_scores", LAYER, HEAD)                              \
    HW_STATISTIC(X, ATTENTION_SCORE_MEAN, "attention_score_mean", "attention",                     \
                 "mean of the scores", "nat",                                                      \
                 "Mean of s[i,j], after scale and cap, over the keys that query i may see.",       \
                 "blocks.{layer}.attn.hook_attn_scores", LAYER, HEAD)                              \
    HW_ATTENTION_STATISTIC(X, ATTENTION_ROW_SUM, "attention_row_sum", "sum of the attention row",  \
                           "1", "sum_j A[i,j] of query i; below 1 under learned sinks and edits.") \
    HW_ATTENTION_STATISTIC(X, ATTENTION_DISTANCE, "attention_distance",                            \
                           "mean distance attended to", "tokens",                                  \
                           "sum_j A[i,j] |i - j| of query i.")                                     \
    X(ATTENTION_ARGMAX, ROOT, "attention_argmax", I4, (TOKEN, LAYER, HEAD), "attention",           \
      "position attended to most", "1",                                                            \
      "Key position inside the prompt of the largest weight, ties to the lowest; -1 where the "    \
      "row is empty.",                                                                             \
      "blocks.{layer}.attn.hook_pattern", false)                                                   \
    HW_ATTENTION_STATISTIC(X, ATTENTION_RECEIVED, "attention_received", "attention received", "1", \
                           "sum_i A[i,k] / (number of queries that may see key k).")               \
    HW_ATTENTION_STATISTIC(X, ATTENTION_RECEIVED_MAX, "attention_received_max",                    \
                           "largest attention received", "1", "max_i A[i,k] of key k.")            \
    HW_ATTENTION_STATISTIC(X, ATTENTION_RECEIVED_ENTROPY, "attention_received_entropy",            \
                           "entropy of the attention received", "nat",                             \
                           "-sum_i r ln r with r = A[i,k] / sum_i A[i,k] of key k.")               \
    X(SINK_SCORE, ROOT, "sink_score", F4, (PROMPT, LAYER, HEAD), "attention", "sink score", "1",   \
      "sum_i A[i,0] / T.", "blocks.{layer}.attn.hook_pattern", false)                              \
    X(ATTENTION_SPAN, ROOT, "attention_span", F4, (PROMPT, LAYER, HEAD, QUERY_SPAN, SPAN),         \
      "attention", "attention between spans", "1",                                                 \
      "Mean over the queries of one span of their attention to another; NaN where either span "    \
      "is empty.",                                                                                 \
      "blocks.{layer}.attn.hook_pattern", false)                                                   \
    X(ATTENTION_OFFSET, ROOT, "attention_offset", F4, (PROMPT, LAYER, HEAD, OFFSET), "attention",  \
      "attention by offset", "1",                                                                  \
      "sum over queries i >= o of A[i,i-o], divided by T - o; NaN where o >= T.",                  \
      "blocks.{layer}.attn.hook_pattern", false)

#define HW_DATASETS_VALUES(X)                                                                      \
    HW_STATISTIC(X, VALUE_NORM, "value_norm", "values", "norm of the value", "1", "|v|.",          \
                 "blocks.{layer}.attn.hook_v", LAYER, KV_HEAD)                                     \
    HW_STATISTIC(X, KEY_NORM, "key_norm", "values", "norm of the key", "1",                        \
                 "|k| after rotation and key norm.", "blocks.{layer}.attn.hook_rot_k", LAYER,      \
                 KV_HEAD)                                                                          \
    HW_STATISTIC(X, VALUE_NORM_PROJECTED, "value_norm_projected", "values",                        \
                 "norm of the projected value", "1", "|W_O,h v| of query head h.",                 \
                 "blocks.{layer}.attn.hook_v", LAYER, HEAD)

#define HW_DATASETS_NORMS(X)                                                                       \
    HW_STATISTIC(X, RESIDUAL_NORM, "residual_norm", "norms", "norm of the residual stream", "1",   \
                 "|x| of the residual stream at a depth (0 = embedding, l + 1 = after block l).",  \
                 "blocks.{layer}.hook_resid_post", DEPTH)                                          \
    HW_STATISTIC(X, RESIDUAL_MAX, "residual_max", "norms", "largest residual channel", "1",        \
                 "max_c |x[c]| of the residual stream.", "blocks.{layer}.hook_resid_post", DEPTH)  \
    HW_STATISTIC(X, RESIDUAL_MEDIAN, "residual_median", "norms", "median residual channel", "1",   \
                 "Lower median over channels of |x[c]| of the residual stream.",                   \
                 "blocks.{layer}.hook_resid_post", DEPTH)                                          \
    HW_STATISTIC(X, RESIDUAL_COSINE_FIRST, "residual_cosine_first", "norms",                       \
                 "cosine with the first token", "1",                                               \
                 "Cosine of the residual stream with that of token 0 of the prompt.",              \
                 "blocks.{layer}.hook_resid_post", DEPTH)                                          \
    HW_STATISTIC(X, ATTENTION_OUTPUT_NORM, "attention_output_norm", "norms",                       \
                 "norm of the attention output", "1",                                              \
                 "Norm of what the attention of the block adds to the residual stream.",           \
                 "blocks.{layer}.hook_attn_out", LAYER)                                            \
    HW_STATISTIC(X, MLP_OUTPUT_NORM, "mlp_output_norm", "norms", "norm of the MLP output", "1",    \
                 "Norm of what the MLP of the block adds to the residual stream.",                 \
                 "blocks.{layer}.hook_mlp_out", LAYER)                                             \
    HW_STATISTIC(X, HEAD_RESULT_NORM, "head_result_norm", "norms", "norm of the head's result",    \
                 "1", "|W_O,h z_h|.", "blocks.{layer}.attn.hook_result", LAYER, HEAD)              \
    X(FINAL_NORM, ROOT, "final_norm", F4, (TOKEN), "norms", "norm after the final norm", "1",      \
      "|x| after the final norm.", "ln_final.hook_normalized", false)

#define HW_DATASETS_MASSIVE(X)                                                                     \
    X(STATE_TOP_VALUE, ROOT, "state_top_value", F4, (PROMPT, DEPTH, RANK), "massive",              \
      "largest activations", "1",                                                                  \
      "The values of the whole state that are largest in magnitude, signed, largest first.",       \
      "blocks.{layer}.hook_resid_post", false)                                                     \
    X(STATE_TOP_POSITION, ROOT, "state_top_position", I4, (PROMPT, DEPTH, RANK), "massive",        \
      "positions of the largest activations", "1",                                                 \
      "Position in the prompt of state_top_value; -1 where there is none.",                        \
      "blocks.{layer}.hook_resid_post", false)                                                     \
    X(STATE_TOP_CHANNEL, ROOT, "state_top_channel", I4, (PROMPT, DEPTH, RANK), "massive",          \
      "channels of the largest activations", "1",                                                  \
      "Channel of state_top_value; -1 where there is none.", "blocks.{layer}.hook_resid_post",     \
      false)                                                                                       \
    X(STATE_MEDIAN, ROOT, "state_median", F4, (PROMPT, DEPTH), "massive",                          \
      "median of the state's magnitudes", "1",                                                     \
      "Lower median of |x| over all tokens of the prompt and all channels.",                       \
      "blocks.{layer}.hook_resid_post", false)                                                     \
    X(STATE_MEAN_ABS, ROOT, "state_mean_abs", F4, (PROMPT, DEPTH), "massive",                      \
      "mean of the state's magnitudes", "1",                                                       \
      "Mean of |x| over all tokens of the prompt and all channels.",                               \
      "blocks.{layer}.hook_resid_post", false)                                                     \
    X(STATE_STD, ROOT, "state_std", F4, (PROMPT, DEPTH), "massive",                                \
      "standard deviation of the state", "1",                                                      \
      "Population standard deviation of x over all tokens of the prompt and all channels.",        \
      "blocks.{layer}.hook_resid_post", false)

#endif
