// Results as lines and as JSON: text from files cannot move the cursor or hide, numbers are short,
// and no value makes invalid JSON.
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

// Text from a file, and a line that printf makes, on stdout as hw_escape shows them.
void hw_print_text(const char *text);
void hw_print_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Prints the document to stdout and gives it up (NULL: HW_RESOURCE). Hidden characters are written
// as JSON's \uNNNN, so that a reader gets them as they were.
enum hw_status hw_json_print(json_t *document, struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
