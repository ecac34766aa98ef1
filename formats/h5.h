// The little of HDF5 that every trace file needs: types, attributes, strings, and its errors as our
// status.
//
// All functions may be called from one thread at a time. Rules of the format (formats in
// docs/file-format.md): bounds V18 to V110, creation order tracked, strings of variable length in
// UTF-8 only, no compound, enum, reference or null dataspace.
#ifndef HW_H5_H
#define HW_H5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hdf5.h>

#include "formats/schema.h"
#include "kernels/status.h"

// Sets HDF5 up once: no exit handler (it crashes after a failed close), no error printing, no
// plugins. Called by every open here.
void hw_h5_init(void);

// Fails with the message and what HDF5 says at the bottom of its error stack; clears the stack.
// Where the disk is full, HW_OUTPUT.
enum hw_status hw_h5_fail(struct hw_error *err, enum hw_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// The type of an element in file and memory (little-endian; f2 is IEEE half). Owned by this module.
hid_t hw_h5_type(enum hw_element element);
// The element of a type, exactly one of ours; false where it is none.
bool hw_h5_element(hid_t type, enum hw_element *ret_element);

// Drops a handle of any kind and sets it to -1; accepts -1.
void hw_h5_close(hid_t *id);

// The bytes of a file in memory.
struct hw_h5_image {
    void *data; // the library's memory; NULL: none
    size_t n_bytes;
    size_t capacity_bytes;
};

// A new file: at `path`, or in memory where path is NULL. Never over an existing one.
enum hw_status hw_h5_create(const char *path, hid_t *ret_file, struct hw_error *err);
// A new file in memory; closing it leaves its bytes in *image, which outlives it.
enum hw_status hw_h5_create_image(struct hw_h5_image *image, hid_t *ret_file, struct hw_error *err);
// What hw_h5_create_image does to an access list of the core driver.
herr_t hw_h5_image_keep(hid_t access, struct hw_h5_image *image);
void hw_h5_image_close(struct hw_h5_image *image); // accepts an empty one
// An existing file, read-only. HW_INPUT where it is no HDF5 file.
enum hw_status hw_h5_open(const char *path, hid_t *ret_file, struct hw_error *err);
enum hw_status hw_h5_create_group(hid_t parent, const char *name, hid_t *ret_group,
                                  struct hw_error *err);

// Attributes. Text is cut nowhere; over 64 kB it is refused (such text is a scalar dataset).
enum hw_status hw_h5_set_text(hid_t object, const char *name, const char *text,
                              struct hw_error *err);
enum hw_status hw_h5_set_integer(hid_t object, const char *name, int64_t value,
                                 struct hw_error *err);
enum hw_status hw_h5_set_real(hid_t object, const char *name, double value, struct hw_error *err);
// n values of an element ([n] where n > 1, else a scalar); values as in memory.
enum hw_status hw_h5_set_values(hid_t object, const char *name, enum hw_element element, size_t n,
                                const void *values, struct hw_error *err);

// Reading attributes; HW_INPUT where it is missing or of another kind. Text comes from malloc.
enum hw_status hw_h5_get_text(hid_t object, const char *name, char **ret_text,
                              struct hw_error *err);
enum hw_status hw_h5_get_integer(hid_t object, const char *name, int64_t *ret_value,
                                 struct hw_error *err);
enum hw_status hw_h5_get_real(hid_t object, const char *name, double *ret_value,
                              struct hw_error *err);

// A text dataset of no dimensions.
enum hw_status hw_h5_write_text(hid_t group, const char *name, const char *text,
                                struct hw_error *err);

#endif
