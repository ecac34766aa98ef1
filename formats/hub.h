// The local cache of the Hugging Face hub, read without the network.
#ifndef HW_HUB_H
#define HW_HUB_H

#include <stdbool.h>

#include "kernels/status.h"

// True for org/name or org/name@revision, in the characters that the hub allows.
bool hw_hub_is_name(const char *name);

// The snapshot folder of such a name (revision "main" where none is given) in the cache whose
// folder is `cache`, to be freed by the caller. HW_INPUT says what is not in the cache and where it
// was looked for.
enum hw_status hw_hub_find(const char *cache, const char *name, char **ret_folder,
                           struct hw_error *err);

#endif
