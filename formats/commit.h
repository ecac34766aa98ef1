// Files that appear whole or not at all: written under a temporary name beside their place, synced,
// renamed without ever replacing, the folder synced.
#ifndef HW_COMMIT_H
#define HW_COMMIT_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/status.h"

// Writes a new file and syncs it. On failure it is gone again. HW_OUTPUT.
enum hw_status hw_commit_write(const char *path, const void *bytes, size_t n_bytes,
                               struct hw_error *err);
// Syncs a file that somebody else wrote.
enum hw_status hw_commit_sync(const char *path, struct hw_error *err);
// Gives a file its name, which must be free, and syncs the folder. Both in the same folder.
// HW_OUTPUT; the temporary file stays then.
enum hw_status hw_commit_rename(const char *temporary, const char *path, struct hw_error *err);
// The same, but over a file that is there.
enum hw_status hw_commit_replace(const char *temporary, const char *path, struct hw_error *err);
enum hw_status hw_commit_sync_folder(const char *path_in_it, struct hw_error *err);

// Name of this machine for file names: at most 64 of letters, digits, '-', '_' and '.'.
enum { HW_HOST_BYTES = 65 };
void hw_commit_host(char ret_name[HW_HOST_BYTES]);
// Where a file on its way to `path` is written: "<path>.<pid>.<host>.tmp" beside it, from malloc.
// The host is in it because folders are shared between machines, and process numbers are not. NULL
// without memory.
char *hw_commit_temporary(const char *path);
// Removes such files that processes of this host left when they were killed. Whether a process of
// another host lives cannot be known here: its files stay for the next run there.
void hw_commit_drop_stale(const char *path);

// SHA-256 and size of a file.
enum hw_status hw_commit_hash(const char *path, char ret_hex[65], uint64_t *ret_bytes,
                              struct hw_error *err);

// The whole of a text file of at most max_bytes, NUL after it, from malloc. HW_INPUT.
enum hw_status hw_commit_read(const char *path, size_t max_bytes, char **ret_text,
                              size_t *ret_bytes, struct hw_error *err);

// HW_OUTPUT where the file system of the path's folder has less than n_bytes free.
enum hw_status hw_commit_check_room(const char *path_in_it, uint64_t n_bytes, struct hw_error *err);

// printf into memory; NULL without memory.
char *hw_path_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
