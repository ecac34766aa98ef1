// A queue, two conditions, one thread.
#include "formats/writer.h"

#include <pthread.h>
#include <stdlib.h>

struct hw_writer {
    bool is_threaded;
    size_t max_bytes;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t has_work; // for the thread: a job, or the end
    pthread_cond_t has_room; // for the poster: a job was done
    struct hw_job *first;
    struct hw_job *last;
    size_t queued_bytes;
    bool is_busy;
    bool is_ending;
    enum hw_status status; // of the first failure
    struct hw_error error;
};

static void run_job(struct hw_writer *writer, struct hw_job *job, bool is_cancelled) {
    struct hw_error error;
    enum hw_status status = job->run(job, is_cancelled, &error);
    if (status != HW_OK && !is_cancelled) {
        writer->error = error;
        writer->status = status;
    }
}

static void *run_thread(void *argument) {
    struct hw_writer *writer = argument;
    (void)pthread_mutex_lock(&writer->mutex);
    for (;;) {
        while (writer->first == NULL && !writer->is_ending) {
            (void)pthread_cond_wait(&writer->has_work, &writer->mutex);
        }
        struct hw_job *job = writer->first;
        if (job == NULL) {
            break;
        }
        writer->first = job->next;
        writer->last = job->next == NULL ? NULL : writer->last;
        writer->is_busy = true;
        size_t n_bytes = job->n_bytes;
        bool is_cancelled = writer->status != HW_OK || writer->is_ending;
        struct hw_error error;
        (void)pthread_mutex_unlock(&writer->mutex);
        enum hw_status status = job->run(job, is_cancelled, &error);
        (void)pthread_mutex_lock(&writer->mutex);
        if (status != HW_OK && !is_cancelled) {
            writer->status = status;
            writer->error = error;
        }
        writer->queued_bytes -= n_bytes;
        writer->is_busy = false;
        (void)pthread_cond_broadcast(&writer->has_room);
    }
    (void)pthread_mutex_unlock(&writer->mutex);
    return NULL;
}

enum hw_status hw_writer_open(bool is_threaded, size_t max_bytes, struct hw_writer **ret_writer,
                              struct hw_error *err) {
    struct hw_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL) {
        return hw_fail(err, HW_RESOURCE, "not enough memory for a writer");
    }
    writer->is_threaded = is_threaded;
    writer->max_bytes = max_bytes;
    if (is_threaded) {
        (void)pthread_mutex_init(&writer->mutex, NULL);
        (void)pthread_cond_init(&writer->has_work, NULL);
        (void)pthread_cond_init(&writer->has_room, NULL);
        if (pthread_create(&writer->thread, NULL, run_thread, writer) != 0) {
            free(writer);
            return hw_fail(err, HW_RESOURCE, "the writer's thread cannot be started");
        }
    }
    *ret_writer = writer;
    return HW_OK;
}

void hw_writer_close(struct hw_writer **writer) {
    struct hw_writer *w = *writer;
    if (w == NULL) {
        return;
    }
    if (w->is_threaded) {
        (void)pthread_mutex_lock(&w->mutex);
        w->is_ending = true;
        (void)pthread_cond_broadcast(&w->has_work);
        (void)pthread_mutex_unlock(&w->mutex);
        (void)pthread_join(w->thread, NULL);
        (void)pthread_cond_destroy(&w->has_work);
        (void)pthread_cond_destroy(&w->has_room);
        (void)pthread_mutex_destroy(&w->mutex);
    }
    free(w);
    *writer = NULL;
}

static enum hw_status first_failure(const struct hw_writer *writer, struct hw_error *err) {
    if (writer->status != HW_OK && err != NULL) {
        *err = writer->error;
    }
    return writer->status;
}

enum hw_status hw_writer_post(struct hw_writer *writer, struct hw_job *job, struct hw_error *err) {
    if (!writer->is_threaded) {
        run_job(writer, job, writer->status != HW_OK);
        return first_failure(writer, err);
    }
    (void)pthread_mutex_lock(&writer->mutex);
    while (writer->queued_bytes > 0 && writer->queued_bytes + job->n_bytes > writer->max_bytes) {
        (void)pthread_cond_wait(&writer->has_room, &writer->mutex);
    }
    job->next = NULL;
    if (writer->last != NULL) {
        writer->last->next = job;
    } else {
        writer->first = job;
    }
    writer->last = job;
    writer->queued_bytes += job->n_bytes;
    (void)pthread_cond_signal(&writer->has_work);
    enum hw_status status = first_failure(writer, err);
    (void)pthread_mutex_unlock(&writer->mutex);
    return status;
}

enum hw_status hw_writer_sync(struct hw_writer *writer, struct hw_error *err) {
    if (!writer->is_threaded) {
        return first_failure(writer, err);
    }
    (void)pthread_mutex_lock(&writer->mutex);
    while (writer->first != NULL || writer->is_busy) {
        (void)pthread_cond_wait(&writer->has_room, &writer->mutex);
    }
    enum hw_status status = first_failure(writer, err);
    (void)pthread_mutex_unlock(&writer->mutex);
    return status;
}
