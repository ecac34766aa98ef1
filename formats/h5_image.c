// The image of a file in memory.
//
// The library clears the flag "open for writing" in the image's superblock but leaves the checksum
// of the flag set (seen with 1.10.8; then nothing opens the image), so the checksum is made anew
// here. It is Bob Jenkins' lookup3 with initial value 0, as the HDF5 file format specification
// (version 3, section II.A) says, over the first 44 bytes of a superblock of version 2 or 3 with
// 8-byte offsets.
#include <stdlib.h>
#include <string.h>

#include "formats/h5.h"

enum { SUPERBLOCK_BYTES = 44 };

static uint32_t rotate(uint32_t x, int n) {
    return x << n | x >> (32 - n);
}

static uint32_t word(const unsigned char *p, size_t n) {
    uint32_t value = 0;
    for (size_t i = 0; i < n && i < 4; i++) {
        value |= (uint32_t)p[i] << (8 * i);
    }
    return value;
}

static uint32_t lookup3(const unsigned char *p, size_t n) {
    static const int mixing[6] = {4, 6, 8, 16, 19, 4};
    uint32_t s[3];
    s[0] = s[1] = s[2] = 0xdeadbeefu + (uint32_t)n;
    for (; n > 12; n -= 12, p += 12) {
        for (int i = 0; i < 3; i++) {
            s[i] += word(p + 4 * i, 4);
        }
        for (int i = 0; i < 6; i++) {
            // a -= c; a ^= rot(c); c += b, with the names going round.
            uint32_t *a = &s[i % 3], *b = &s[(i + 1) % 3], *c = &s[(i + 2) % 3];
            *a = (*a - *c) ^ rotate(*c, mixing[i]);
            *c += *b;
        }
    }
    for (size_t i = 0; i < 3; i++) {
        s[i] += n > 4 * i ? word(p + 4 * i, n - 4 * i) : 0;
    }
    static const int final[7] = {14, 11, 25, 16, 4, 14, 24};
    for (int i = 0; i < 7; i++) {
        // c ^= b; c -= rot(b), then a from c, b from a, and so on.
        uint32_t *c = &s[(i + 2) % 3], *b = &s[(i + 1) % 3];
        *c = (*c ^ *b) - rotate(*b, final[i]);
    }
    return s[2];
}

static enum hw_status mend_superblock(unsigned char *image, size_t n_bytes, struct hw_error *err) {
    if (n_bytes < SUPERBLOCK_BYTES + 4 || memcmp(image, "\x89HDF\r\n\x1a\n", 8) != 0 ||
        image[8] < 2 || image[8] > 3 || image[9] != 8) {
        return hw_fail(err, HW_INTERNAL, "part in memory: superblock of an unexpected form");
    }
    uint32_t sum = lookup3(image, SUPERBLOCK_BYTES);
    for (int i = 0; i < 4; i++) {
        image[SUPERBLOCK_BYTES + i] = (unsigned char)(sum >> (8 * i));
    }
    return HW_OK;
}

enum hw_status hw_h5_image(hid_t file, void **ret_image, size_t *ret_bytes, struct hw_error *err) {
    if (H5Fflush(file, H5F_SCOPE_GLOBAL) < 0) {
        return hw_h5_fail(err, HW_RESOURCE, "part in memory: cannot be completed");
    }
    ssize_t n = H5Fget_file_image(file, NULL, 0);
    if (n <= 0) {
        return hw_h5_fail(err, HW_INTERNAL, "part in memory: has no image");
    }
    void *image = malloc((size_t)n);
    if (image == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a part of %zd bytes", n);
    }
    if (H5Fget_file_image(file, image, (size_t)n) != n) {
        free(image);
        return hw_h5_fail(err, HW_INTERNAL, "part in memory: image cannot be read");
    }
    enum hw_status status = mend_superblock(image, (size_t)n, err);
    if (status != HW_OK) {
        free(image);
        return status;
    }
    *ret_image = image;
    *ret_bytes = (size_t)n;
    return HW_OK;
}
