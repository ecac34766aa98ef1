// The table of probes, from the list in probes/meson.build; see probe.h.
#include "probes/probe.h"

#define HW_PROBE(name) extern const struct hw_probe hw_probe_##name;
#include "probes.h"
#undef HW_PROBE

const struct hw_probe *const hw_probes[] = {
#define HW_PROBE(name) &hw_probe_##name,
#include "probes.h"
#undef HW_PROBE
    NULL,
};
