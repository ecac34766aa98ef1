// Results as JSON: small helpers around jansson that keep numbers short and never make invalid
// JSON.
#ifndef HW_REPORT_H
#define HW_REPORT_H

#include <jansson.h>

#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// A number; null for NaN and infinities, which JSON does not have. Values that came from a float
// are written as the shortest number that gives the same float.
json_t *hw_json_real(double value);
json_t *hw_json_float(float value);

// A string from a file: invalid UTF-8 and control characters escaped as \xNN.
json_t *hw_json_text(const char *text);

// Prints the document to stdout and gives it up (NULL: HW_RESOURCE).
enum hw_status hw_json_print(json_t *document, struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
