// The headwater program.
#include "tools/command.h"

int main(int argc, char **argv) {
    return hw_main(argc, (const char *const *)argv);
}
