// Records of a capture; see trace_records.h.
#include "formats/trace_records.h"

#include <stdio.h>
#include <string.h>

bool hw_trace_has_record(const struct hw_trace *trace, const char *record) {
    for (int i = 0; i < HW_N_DATASETS; i++) {
        if (hw_trace_has(trace, (enum hw_dataset)i) &&
            strcmp(hw_schema_row((enum hw_dataset)i)->record, record) == 0) {
            return true;
        }
    }
    return false;
}

void hw_trace_list_records(const struct hw_trace *trace, char *ret_text, size_t n_bytes) {
    size_t at = 0;
    ret_text[0] = '\0';
    for (int i = 0; i < HW_N_DATASETS; i++) {
        const char *record = hw_schema_row((enum hw_dataset)i)->record;
        bool is_new = record[0] != '\0' && hw_trace_has(trace, (enum hw_dataset)i);
        for (int before = 0; before < i && is_new; before++) {
            is_new = !hw_trace_has(trace, (enum hw_dataset)before) ||
                     strcmp(hw_schema_row((enum hw_dataset)before)->record, record) != 0;
        }
        if (is_new && at < n_bytes) {
            int n = snprintf(ret_text + at, n_bytes - at, "%s%s", at > 0 ? ", " : "", record);
            at += n > 0 ? (size_t)n : 0;
        }
    }
    if (at == 0) {
        (void)snprintf(ret_text, n_bytes, "nothing");
    }
}
