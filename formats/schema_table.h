// The rows of the schema; see schema.h. The root group and the groups have a file each.
//
// A row: id, group, name, element, (axes), record, long_name, units, description, hook, has_mean.
#ifndef HW_SCHEMA_TABLE_H
#define HW_SCHEMA_TABLE_H

#include "formats/schema_groups.h"
#include "formats/schema_root.h"

#define HW_DATASETS(X)                                                                             \
    HW_DATASETS_COLUMNS(X)                                                                         \
    HW_DATASETS_LOSS(X)                                                                            \
    HW_DATASETS_ATTENTION(X)                                                                       \
    HW_DATASETS_VALUES(X)                                                                          \
    HW_DATASETS_NORMS(X)                                                                           \
    HW_DATASETS_MASSIVE(X)                                                                         \
    HW_DATASETS_GROUP_MASSIVE(X)                                                                   \
    HW_DATASETS_GROUP_ATTENTION(X)                                                                 \
    HW_DATASETS_GROUP_VECTORS(X)                                                                   \
    HW_DATASETS_GROUP_DECODE(X)                                                                    \
    HW_DATASETS_GROUP_ACTIVATIONS(X)                                                               \
    HW_DATASETS_GROUP_ATTRIBUTION(X)                                                               \
    HW_DATASETS_GROUP_LOGITS(X)                                                                    \
    HW_DATASETS_GROUP_MEANS(X)                                                                     \
    HW_DATASETS_GROUP_VOCABULARY(X)                                                                \
    HW_DATASETS_GROUP_PROVENANCE(X)

#endif
