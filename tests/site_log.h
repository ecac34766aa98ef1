// Everything that a session shows, kept in its order; for tests. Everything asserts.
#ifndef HW_SITE_LOG_H
#define HW_SITE_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "tracer/session.h"

struct site_entry {
    enum hw_site site;
    size_t layer;
    size_t row_first;
    size_t n_rows;
    size_t width;
    float *data; // [n_rows, width]
};

struct site_log {
    struct site_entry *entries;
    size_t n;
    uint32_t *watch;
    struct hw_observer observer; // give this to the session
};

// `watched`: bits of sites of every layer and of the last.
void site_log_open(struct site_log *log, const struct hw_model *model, uint32_t watched);
void site_log_close(struct site_log *log);

// All rows of a site, in a buffer that the caller frees; entries follow one another from row 0.
float *site_log_rows(const struct site_log *log, enum hw_site site, size_t layer, size_t *ret_n);

// A session with these options, everything else 0; and a prefill with changes (NULL: none).
struct hw_session *site_log_session(const struct hw_model *model,
                                    const struct hw_session_options *options);
void site_log_prefill(struct site_log *log, struct hw_session *session, struct hw_changes *changes,
                      const uint32_t *ids, size_t n);

#endif
