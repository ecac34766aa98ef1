// See site_log.h.
#include "site_log.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static enum hw_status keep(void *self, const struct hw_site_event *event, struct hw_error *err) {
    (void)err;
    struct site_log *log = self;
    log->entries = realloc(log->entries, (log->n + 1) * sizeof *log->entries);
    ck_assert_ptr_nonnull(log->entries);
    struct site_entry *entry = &log->entries[log->n++];
    *entry = (struct site_entry){event->site,   event->layer, event->row_first,
                                 event->n_rows, event->width, NULL};
    entry->data = malloc(event->n_rows * event->width * sizeof(float));
    ck_assert_ptr_nonnull(entry->data);
    for (size_t i = 0; i < event->n_rows; i++) {
        memcpy(entry->data + i * event->width, event->data + i * event->ld,
               event->width * sizeof(float));
    }
    return HW_OK;
}

void site_log_open(struct site_log *log, const struct hw_model *model, uint32_t watched) {
    *log = (struct site_log){0};
    log->watch = malloc((model->desc.n_layers + 1) * sizeof *log->watch);
    ck_assert_ptr_nonnull(log->watch);
    for (size_t layer = 0; layer <= model->desc.n_layers; layer++) {
        log->watch[layer] = watched & ~(1u << HW_SITE_UNEMBED);
    }
    log->observer = (struct hw_observer){.self = log, .watch = log->watch, .on_site = keep};
}

void site_log_close(struct site_log *log) {
    for (size_t i = 0; i < log->n; i++) {
        free(log->entries[i].data);
    }
    free(log->entries);
    free(log->watch);
    *log = (struct site_log){0};
}

float *site_log_rows(const struct site_log *log, enum hw_site site, size_t layer, size_t *ret_n) {
    float *rows = NULL;
    size_t n = 0;
    for (size_t i = 0; i < log->n; i++) {
        const struct site_entry *entry = &log->entries[i];
        if (entry->site == site && entry->layer == layer) {
            ck_assert_uint_eq(entry->row_first, n);
            n += entry->n_rows;
            rows = realloc(rows, n * entry->width * sizeof *rows);
            ck_assert_ptr_nonnull(rows);
            memcpy(rows + entry->row_first * entry->width, entry->data,
                   entry->n_rows * entry->width * sizeof *rows);
        }
    }
    ck_assert_ptr_nonnull(rows);
    *ret_n = n;
    return rows;
}

struct hw_session *site_log_session(const struct hw_model *model,
                                    const struct hw_session_options *options) {
    struct hw_error err = {0};
    struct hw_session *session = NULL;
    ck_assert_msg(hw_session_open(model, options, &session, &err) == HW_OK, "%s", err.message);
    return session;
}

void site_log_prefill(struct site_log *log, struct hw_session *session, struct hw_changes *changes,
                      const uint32_t *ids, size_t n) {
    struct hw_error err = {0};
    hw_session_set_changes(session, changes);
    ck_assert_msg(hw_session_prefill(session, ids, n, &log->observer, NULL, &err) == HW_OK, "%s",
                  err.message);
}
