// What `headwater list edits` says: the grammar of --edit and its presets.
#ifndef HW_LIST_EDITS_H
#define HW_LIST_EDITS_H

#include <jansson.h>

#include "kernels/status.h"

// Tables on stdout, within 80 columns.
enum hw_status hw_list_edits_print(struct hw_error *err);
// An object of lists: replacements, targets, points, rows, options, presets. The caller's.
json_t *hw_list_edits_json(void);

#endif
