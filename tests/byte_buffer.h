// Bytes that grow, and folders that go away again: what tests build model files with. Running out
// of memory ends the test.
#ifndef HW_TESTS_BYTE_BUFFER_H
#define HW_TESTS_BYTE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct byte_buffer {
    unsigned char *bytes;
    size_t n;
    size_t capacity;
};

void byte_buffer_put(struct byte_buffer *buffer, const void *bytes, size_t n);
void byte_buffer_put_u(struct byte_buffer *buffer, uint64_t value,
                       size_t width);                               // little-endian, width bytes
void byte_buffer_pad(struct byte_buffer *buffer, size_t alignment); // with zeros
void byte_buffer_free(struct byte_buffer *buffer);

// An exact-size copy on the heap, so that a sanitizer sees a read past its end. Of 0 bytes too.
unsigned char *byte_copy(const void *bytes, size_t n);

// A new empty folder; the string is the caller's. Removed with its files (and folders, to any
// depth) by temp_folder_remove, which frees it.
char *temp_folder_new(void);
void temp_folder_remove(char **folder);
// Writes a file and returns its path, to be freed; the folders of `name` are made.
char *temp_file(const char *folder, const char *name, const void *bytes, size_t n);

#endif
