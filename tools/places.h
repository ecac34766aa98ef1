// Where this user's files lie, from the environment; libraries are told.
#ifndef HW_PLACES_H
#define HW_PLACES_H

#include "kernels/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// The folder that keeps the hashes of model files: $XDG_CACHE_HOME/headwater/model-hashes, else
// ~/.cache/headwater/model-hashes; from malloc. NULL: neither is set, or no memory.
char *hw_place_of_hashes(void);

// What --model names: a file or folder that is there (its path as given), else the snapshot folder
// of org/name[@revision] in the hub cache ($HF_HUB_CACHE, $HF_HOME/hub,
// $XDG_CACHE_HOME/huggingface/hub or ~/.cache/huggingface/hub, whichever is set first). From
// malloc. HW_INPUT says what is not in the cache; a path that is nowhere and no name of the hub is
// given back as it is, for whoever opens it to say so.
enum hw_status hw_place_of_model(const char *model, char **ret_path, struct hw_error *err);

#ifdef __cplusplus
}
#endif
#endif
