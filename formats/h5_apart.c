// Looking at a hostile file apart; see h5_apart.h.
#include "formats/h5_apart.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "formats/h5.h"

enum {
    HW_MAX_CHUNK_BYTES = 64 << 20,
    HW_MAX_DEFLATE_RATIO = 1100, // a little above deflate's own limit of 1032
    HW_MAX_LINKS = 4096,
    HW_MAX_CHECK_SECONDS = 60,
};
#define HW_MAX_CHECK_BYTES ((rlim_t)2 << 30)

struct walk {
    bool is_refused;
    size_t n_links;
    char name[80];
};

static herr_t check_link(hid_t group, const char *name, const H5L_info_t *info, void *client) {
    struct walk *walk = client;
    walk->n_links++;
    if (info->type != H5L_TYPE_HARD || walk->n_links > HW_MAX_LINKS) {
        (void)hw_escape(walk->name, sizeof walk->name, name, strlen(name));
        walk->is_refused = true;
        return 1;
    }
    return 0;
}

enum hw_status hw_h5_check_links(hid_t group, const char *group_name, struct hw_error *err) {
    struct walk walk = {0};
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, check_link, &walk) < 0) {
        return hw_h5_fail(err, HW_INPUT, "group /%s: cannot be listed", group_name);
    }
    if (walk.is_refused) {
        return hw_fail(err, HW_INPUT,
                       "group /%s: link %s is not a hard one, or one of more than %d", group_name,
                       walk.name, (int)HW_MAX_LINKS);
    }
    return HW_OK;
}

enum hw_status hw_h5_check_storage(hid_t dataset, const char *name, size_t element_bytes,
                                   bool *ret_is_virtual, struct hw_error *err) {
    hid_t creation = H5Dget_create_plist(dataset);
    enum hw_status status = HW_OK;
    H5D_layout_t layout = H5Pget_layout(creation);
    int n_filters = H5Pget_nfilters(creation);
    if (ret_is_virtual != NULL) {
        *ret_is_virtual = layout == H5D_VIRTUAL;
    }
    if (creation < 0 || layout < 0 || n_filters < 0) {
        status = hw_h5_fail(err, HW_INPUT, "%s: its storage cannot be told", name);
    } else if (H5Pget_external_count(creation) != 0) {
        status = hw_fail(err, HW_INPUT, "%s: is stored in another file", name);
    } else if (layout == H5D_VIRTUAL && ret_is_virtual == NULL) {
        status = hw_fail(err, HW_INPUT, "%s: is virtual in a file that is no master", name);
    }
    for (int i = 0; i < n_filters && status == HW_OK; i++) {
        unsigned flags, config;
        size_t n_values = 0;
        H5Z_filter_t filter =
            H5Pget_filter2(creation, (unsigned)i, &flags, &n_values, NULL, 0, NULL, &config);
        if (filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_DEFLATE &&
            filter != H5Z_FILTER_FLETCHER32) {
            status = hw_fail(err, HW_INPUT, "%s: filter %d is none of shuffle, deflate, fletcher32",
                             name, (int)filter);
        }
    }
    hsize_t chunk[H5S_MAX_RANK] = {0};
    if (status == HW_OK && layout == H5D_CHUNKED) {
        int rank = H5Pget_chunk(creation, H5S_MAX_RANK, chunk);
        size_t n_bytes = element_bytes;
        for (int i = 0; i < rank && n_bytes <= HW_MAX_CHUNK_BYTES; i++) {
            n_bytes = chunk[i] > HW_MAX_CHUNK_BYTES ? SIZE_MAX : n_bytes * (size_t)chunk[i];
        }
        if (rank < 0 || n_bytes > HW_MAX_CHUNK_BYTES) {
            status = hw_fail(err, HW_INPUT, "%s: a chunk is larger than %d bytes", name,
                             (int)HW_MAX_CHUNK_BYTES);
        }
    }
    hw_h5_close(&creation);
    return status;
}

// A declared size must be backed by stored bytes, or reading it would allocate from nothing.
enum hw_status hw_h5_check_backing(hid_t dataset, const char *name, hid_t space,
                                   size_t element_bytes, struct hw_error *err) {
    hssize_t n_values = H5Sget_simple_extent_npoints(space);
    uint64_t stored = H5Dget_storage_size(dataset);
    uint64_t declared = (uint64_t)n_values * element_bytes; // below the cap of check_lengths
    if (n_values < 0 || declared / HW_MAX_DEFLATE_RATIO > stored + 4096) {
        return hw_fail(err, HW_INPUT, "%s: declares %llu bytes, but %llu are stored", name,
                       (unsigned long long)declared, (unsigned long long)stored);
    }
    return HW_OK;
}

// In the child: the look, its message through the pipe, its status as exit code.
static void run_child(const char *path, hw_h5_look_fn look, int out) {
    struct rlimit seconds = {HW_MAX_CHECK_SECONDS, HW_MAX_CHECK_SECONDS};
    struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CPU, &seconds);
    (void)setrlimit(RLIMIT_CORE, &none);
#ifndef __SANITIZE_ADDRESS__
    // What the process has mapped (a model, say) counts, so the limit is that and what a check may
    // take besides.
    unsigned long n_pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm != NULL && fscanf(statm, "%lu", &n_pages) == 1) {
        rlim_t most = (rlim_t)n_pages * (rlim_t)sysconf(_SC_PAGESIZE) + HW_MAX_CHECK_BYTES;
        struct rlimit memory = {most, most};
        (void)setrlimit(RLIMIT_AS, &memory);
    }
#endif
    struct hw_error error = {HW_OK, ""};
    hid_t file = -1;
    enum hw_status status = hw_h5_open(path, &file, &error);
    status = status != HW_OK ? status : look(file, &error);
    if (status != HW_OK) {
        (void)!write(out, error.message, strlen(error.message));
    }
    _exit((int)status);
}

enum hw_status hw_h5_apart(const char *path, hw_h5_look_fn look, struct hw_error *err) {
    int ends[2];
    if (pipe(ends) != 0) {
        return hw_fail(err, HW_RESOURCE, "no pipe for the check of %s: %s", path, strerror(errno));
    }
    pid_t child = fork();
    if (child == 0) {
        (void)close(ends[0]);
        run_child(path, look, ends[1]);
    }
    (void)close(ends[1]);
    char message[HW_ERROR_BYTES] = "";
    size_t used = 0;
    ssize_t n = 0;
    while (child > 0 && used + 1 < sizeof message &&
           (n = read(ends[0], message + used, sizeof message - 1 - used)) > 0) {
        used += (size_t)n;
    }
    (void)close(ends[0]);
    int result = 0;
    if (child < 0 || waitpid(child, &result, 0) != child) {
        return hw_fail(err, HW_RESOURCE, "no process for the check of %s: %s", path,
                       strerror(errno));
    }
    if (!WIFEXITED(result)) {
        return hw_fail(err, HW_INPUT, "the HDF5 library does not survive reading it (signal %d)",
                       WTERMSIG(result));
    }
    message[used] = '\0';
    return WEXITSTATUS(result) == 0
               ? HW_OK
               : hw_fail(err, (enum hw_status)WEXITSTATUS(result), "%s", message);
}
