// docs/measures.md: which record serves which measure, printed from the table of measures.
#ifndef HW_MEASURES_MARKDOWN_H
#define HW_MEASURES_MARKDOWN_H

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

void hw_measures_markdown(FILE *out);

#ifdef __cplusplus
}
#endif
#endif
