// The headwater program.
#include <malloc.h>
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

// By default the allocator of glibc learns from the first large block that is freed to keep blocks
// of that size, and rows that were written would stay with the program until its end. Blocks from
// this size on go back to the system at once, which is also what the plan of a capture counts on.
static void give_memory_back(void) {
    enum { BYTES = 64 << 10 };
    (void)mallopt(M_MMAP_THRESHOLD, BYTES);
}

int main(int argc, char **argv) {
    start_with_short_spin(argv);
    give_memory_back();
    return hw_main(argc, (const char *const *)argv);
}
