// docs/recorded.md: every dataset of a capture, printed from the schema table.
#ifndef HW_SCHEMA_MARKDOWN_H
#define HW_SCHEMA_MARKDOWN_H

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

void hw_schema_markdown(FILE *out);

#ifdef __cplusplus
}
#endif
#endif
