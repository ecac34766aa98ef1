// A temporary folder with a synthetic part in it, for tests of what reads captures.
#ifndef HW_TRACE_FOLDER_H
#define HW_TRACE_FOLDER_H

#include <stddef.h>
#include <stdint.h>

#include "formats/schema.h"

// Makes the folder; its path stays valid until trace_folder_remove, which deletes everything in it.
const char *trace_folder_make(void);
void trace_folder_remove(void);
size_t trace_folder_count(const char *suffix); // files whose names end so

// Commits a part of synthetic prompts first .. end there. The path is valid until the next call.
const char *trace_folder_part(const struct hw_layout *layout, int32_t first, int32_t end);

#endif
