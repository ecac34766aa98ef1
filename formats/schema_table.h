// The rows of the schema; see schema.h.
#ifndef HW_SCHEMA_TABLE_H
#define HW_SCHEMA_TABLE_H

// id, group, name, element, (axes), record, long_name, units, description, hook, has_mean
#define HW_DATASETS(X)                                                                             \
    X(N_TOKENS, ROOT, "n_tokens", I4, (PROMPT), "", "number of tokens", "1",                       \
      "Tokens of the prompt on the token axis, generated ones counted.", "", false)

#endif
