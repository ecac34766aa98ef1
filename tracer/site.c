// Names of the sites; see site.h.
#include "tracer/site.h"

const char *hw_site_hook(enum hw_site site) {
    static const char *const hooks[HW_N_SITES] = {
#define HW_SITE_HOOK(id, hook, per_layer) hook,
        HW_SITES(HW_SITE_HOOK)
#undef HW_SITE_HOOK
    };
    return site < HW_N_SITES ? hooks[site] : "?";
}
