// ROUGE-1 recall of a response against an answer (Lin 2004), as the package rouge_score computes it
// with its stemmer: lower case; words are runs of a-z and 0-9; words of more than three letters are
// reduced by Porter's algorithm (Porter 1980); recall is the answer's words found in the response,
// each as often as it occurs in both, over all words of the answer.
//
// The stemmer is libstemmer's "porter", the algorithm as published. That of rouge_score (NLTK's)
// treats a few words otherwise; docs/retrieval.md says which. Upper case beyond A-Z is not lowered.
#ifndef HW_ROUGE_H
#define HW_ROUGE_H

#include <stddef.h>

#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// *ret_recall: 0 .. 1; 0 where the answer has no word. HW_RESOURCE.
enum hw_status hw_rouge_recall(const char *answer, size_t n_answer, const char *response,
                               size_t n_response, double *ret_recall, struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
