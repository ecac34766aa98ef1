// What `headwater retrieval` says: as text, as JSON, as arrays of a result.
#ifndef HW_RETRIEVAL_REPORT_H
#define HW_RETRIEVAL_REPORT_H

#include <jansson.h>

#include "analysis/retrieval.h"
#include "tools/analysis_command.h"
#include "tools/report.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { RETRIEVAL_TEXT, RETRIEVAL_PUBLISHED };

struct retrieval_options {
    double min_rouge;
    int span;
    const char *stop;
    int measure; // enum hw_retrieval_measure
    double threshold;
    uint64_t top;
    bool trials;
    int format;
    struct hw_analysis_options result;
};

// Counts of heads under one measure.
struct retrieval_shares {
    size_t n_heads;     // with a score
    size_t n_retrieval; // at least the threshold
    size_t n_strong;    // at least .5
    size_t n_zero;
};
struct retrieval_shares retrieval_count(const struct hw_retrieval *retrieval, int measure,
                                        double threshold);

enum hw_status retrieval_fill(struct hw_trace *trace, const struct retrieval_options *opt,
                              const struct hw_retrieval *retrieval, struct hw_result *result,
                              struct hw_error *err);
json_t *retrieval_json(struct hw_trace *trace, const struct retrieval_options *opt,
                       const struct hw_retrieval *retrieval, const struct hw_result *result);
// The format of the released lists; heads that were not recorded are left out.
json_t *retrieval_published(const struct hw_retrieval *retrieval, int measure);

enum hw_status retrieval_print(const struct hw_analysis_report *report,
                               const struct retrieval_options *opt,
                               const struct hw_retrieval *retrieval, struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
