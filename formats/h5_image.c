// The bytes of a file in memory, taken from the library when it closes the file: no copy, and what
// closing writes is in them.
//
// The library hands a file in memory to its "image free" callback at the very end of closing
// (HDF5 reference manual, H5Pset_file_image_callbacks). The memory mostly goes on beyond the file,
// up to the driver's increment, and may end before it where space was allocated last and never
// written. So the length is what the superblock says: versions 2 and 3 with 8-byte offsets have
// the end of file at byte 28 (HDF5 file format specification, version 3, II.A).
#include <string.h>

#include "formats/h5.h"

enum { SUPERBLOCK_BYTES = 48, END_OF_FILE = 28 };

// Where the file ends, by its superblock; 0: there is none of the form that we write.
static size_t end_of_file(const unsigned char *image, size_t n_bytes) {
    if (n_bytes < SUPERBLOCK_BYTES || memcmp(image, "\x89HDF\r\n\x1a\n", 8) != 0 || image[8] < 2 ||
        image[8] > 3 || image[9] != 8) {
        return 0;
    }
    uint64_t end = 0;
    for (int i = 0; i < 8; i++) {
        end |= (uint64_t)image[END_OF_FILE + i] << (8 * i);
    }
    return (size_t)end;
}

// New memory is zeroed: space that was allocated and not written makes no difference between equal
// captures.
static unsigned char *resize(struct hw_h5_image *image, void *data, size_t n_bytes) {
    unsigned char *resized = H5resize_memory(data, n_bytes);
    if (resized != NULL) {
        if (n_bytes > image->capacity_bytes) {
            memset(resized + image->capacity_bytes, 0, n_bytes - image->capacity_bytes);
        }
        image->capacity_bytes = n_bytes;
    }
    return resized;
}

static void *resize_image(void *data, size_t n_bytes, H5FD_file_image_op_t op, void *self) {
    return resize(self, data, n_bytes);
}

static herr_t take_image(void *data, H5FD_file_image_op_t op, void *self) {
    struct hw_h5_image *image = self;
    if (op != H5FD_FILE_IMAGE_OP_FILE_CLOSE) {
        return H5free_memory(data);
    }
    size_t end = end_of_file(data, image->capacity_bytes);
    if (end > image->capacity_bytes) {
        void *whole = resize(image, data, end);
        if (whole == NULL) {
            (void)H5free_memory(data);
            return -1;
        }
        data = whole;
    }
    image->data = data;
    image->n_bytes = end;
    return 0;
}

// Property lists are copied, the image is one.
static void *same_image(void *self) {
    return self;
}

static herr_t leave_image(void *self) {
    (void)self;
    return 0;
}

herr_t hw_h5_image_keep(hid_t access, struct hw_h5_image *image) {
    H5FD_file_image_callbacks_t callbacks = {.image_realloc = resize_image,
                                             .image_free = take_image,
                                             .udata_copy = same_image,
                                             .udata_free = leave_image,
                                             .udata = image};
    return H5Pset_file_image_callbacks(access, &callbacks);
}

void hw_h5_image_close(struct hw_h5_image *image) {
    (void)H5free_memory(image->data);
    *image = (struct hw_h5_image){NULL, 0, 0};
}
