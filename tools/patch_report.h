// What `headwater patch` says: result file and table.
#ifndef HW_PATCH_REPORT_H
#define HW_PATCH_REPORT_H

#include "analysis/patch.h"
#include "formats/result.h"

#ifdef __cplusplus
extern "C" {
#endif

struct patch_view {
    const struct hw_patching *patching;
    const struct hw_cells *cells;
    const struct hw_tokenizer *tokenizer; // NULL: tokens are shown as ids
    uint32_t *const *clean_ids;           // [n_prompts][n_ids]
    char (*hashes)[65];                   // [n_prompts] of the clean tokens
    char *const *errors;                  // [n_prompts], NULL: it was run
    bool is_denoise;
    const char *model;
    size_t top; // most lines of a table
};

// Whether cells of different prompts are at the same positions.
bool patch_has_means(const struct patch_view *view);
enum hw_status hw_patch_fill(struct hw_result *result, const struct patch_view *view,
                             struct hw_error *err);
enum hw_status hw_patch_print(const struct patch_view *view, struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
