// What `headwater info` says about a file: a document that is printed as JSON or as text.
#ifndef HW_INFO_H
#define HW_INFO_H

#include <jansson.h>

#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// A document of the model of that name (as --model takes it); the caller gives it up with
// json_decref. HW_INPUT names what is wrong.
enum hw_status hw_info_model(const char *name, json_t **ret_document, struct hw_error *err);
enum hw_status hw_info_print_model(const json_t *document, struct hw_error *err);

// The same of a capture: a part, a merged capture or a master.
enum hw_status hw_info_capture(const char *path, json_t **ret_document, struct hw_error *err);
enum hw_status hw_info_print_capture(const json_t *document, struct hw_error *err);

// True where the file begins as every HDF5 file does.
int hw_info_is_hdf5(const char *path);

#ifdef __cplusplus
}
#endif
#endif
