// Looking at a hostile file in a child process, so that what the HDF5 library does not survive is
// an error message.
#ifndef HW_H5_APART_H
#define HW_H5_APART_H

#include <stdbool.h>
#include <stddef.h>

#include <hdf5.h>

#include "kernels/status.h"

typedef enum hw_status (*hw_h5_look_fn)(hid_t file, struct hw_error *err);

// Opens the file in a child with limits on time and memory and calls `look`; its status and message
// are returned. HW_INPUT where the child died.
enum hw_status hw_h5_apart(const char *path, hw_h5_look_fn look, struct hw_error *err);

// The storage of a dataset of n_bytes in all, elements of element_bytes: in this file, not virtual
// unless it may be (ret_is_virtual, may be NULL: never), filters shuffle, deflate, fletcher32 only,
// chunks of a sane size. HW_INPUT names what is wrong.
enum hw_status hw_h5_check_storage(hid_t dataset, const char *name, size_t element_bytes,
                                   bool *ret_is_virtual, struct hw_error *err);

// The declared values are backed by stored bytes, or reading them would allocate from nothing. The
// declared bytes must be below 2^63. HW_INPUT.
enum hw_status hw_h5_check_backing(hid_t dataset, const char *name, hid_t space,
                                   size_t element_bytes, struct hw_error *err);

// All links of the group are hard, and not too many. HW_INPUT.
enum hw_status hw_h5_check_links(hid_t group, const char *group_name, struct hw_error *err);

#endif
