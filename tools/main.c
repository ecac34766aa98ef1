// The headwater program.
#include <stdlib.h>
#include <unistd.h>

#include "tools/command.h"

// The OpenMP runtime reads its environment before main. By default its threads spin for
// milliseconds at the end of every parallel region, which costs a machine that is shared with other
// work several times the run's own time. So the program starts itself anew with a short spin; a
// user's own choice stands.
static void start_with_short_spin(char **argv) {
    if (getenv("GOMP_SPINCOUNT") == NULL && getenv("OMP_WAIT_POLICY") == NULL &&
        setenv("GOMP_SPINCOUNT", "1000", 1) == 0) {
        (void)execv("/proc/self/exe", argv); // where that fails the run is only slower
    }
}

int main(int argc, char **argv) {
    start_with_short_spin(argv);
    return hw_main(argc, (const char *const *)argv);
}
