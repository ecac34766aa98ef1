// One thread that does all calls to HDF5 of a file being written, fed by a bounded queue; or, not
// threaded, the caller itself.
//
// Jobs run in the order of posting. After the first failure no further job runs: each is only told
// to free what it holds.
#ifndef HW_WRITER_H
#define HW_WRITER_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/status.h"

struct hw_writer;

struct hw_job {
    // Does the work unless is_cancelled, and always frees what the job holds, itself included.
    enum hw_status (*run)(struct hw_job *self, bool is_cancelled, struct hw_error *err);
    size_t n_bytes; // what it holds, for the bound of the queue
    struct hw_job *next;
};

// The queue holds at most max_bytes, or one job.
enum hw_status hw_writer_open(bool is_threaded, size_t max_bytes, struct hw_writer **ret_writer,
                              struct hw_error *err);
// Ends the thread after cancelling what is still queued.
void hw_writer_close(struct hw_writer **writer);

// Takes the job over in any case, and waits while the queue is full. Returns the writer's first
// failure, if there is one by now.
enum hw_status hw_writer_post(struct hw_writer *writer, struct hw_job *job, struct hw_error *err);
// Waits until all jobs are done. Returns the first failure.
enum hw_status hw_writer_sync(struct hw_writer *writer, struct hw_error *err);

#endif
