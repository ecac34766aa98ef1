// trace_equal A.h5 B.h5: exit code 0 where the captures are equal, 1 where not, 3 where one cannot
// be read; says the first difference.
#include <stdio.h>

#include "formats/trace_equal.h"

int main(int argc, char **argv) {
    struct hw_error err = {HW_OK, ""};
    if (argc != 3) {
        (void)fprintf(stderr, "usage: trace_equal A.h5 B.h5\n");
        return (int)HW_USAGE;
    }
    enum hw_status status = hw_trace_equal(argv[1], argv[2], &err);
    if (status != HW_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
    }
    return (int)status;
}
