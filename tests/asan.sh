#!/bin/sh
# Runs the tests of memory, bad input and interrupted runs under AddressSanitizer and UBSan; not run in CI.
#
#     tests/asan.sh [--build FOLDER] [--mutations N]
#
# The unit tests, the command lines, N files of each kind spoiled at random (default 100), kills, full disks. Where a sanitizer
# reports, the program exits with 99, which no test expects.
set -eu
cd "$(dirname "$0")/.."

build=build-asan
mutations=100
while [ $# -gt 0 ]; do
    case "$1" in
    --build) build=${2:?--build needs a folder}; shift 2 ;;
    --mutations) mutations=${2:?--mutations needs a number}; shift 2 ;;
    *) echo "tests/asan.sh: unknown option $1 (expected --build or --mutations)" >&2; exit 2 ;;
    esac
done

export ASAN_OPTIONS=exitcode=99:detect_leaks=1:allocator_may_return_null=1
export UBSAN_OPTIONS=halt_on_error=1:exitcode=99:print_stacktrace=1
export LSAN_OPTIONS=suppressions=$PWD/tests/asan.supp:print_suppressions=0
export OMP_WAIT_POLICY=passive

[ -f "$build/build.ninja" ] || meson setup "$build" -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized >/dev/null
ninja -C "$build"
failed=0
meson test -C "$build" --no-rebuild --print-errorlogs --suite unit --suite cli --timeout-multiplier 5 || failed=1
/usr/bin/python3 tests/test_bad_files.py "$build/tools/headwater" . "$mutations" 7 || failed=1
/usr/bin/python3 tests/test_kill.py "$build/tools/headwater" "$build/tests/trace_equal" examples 20 || failed=1
/usr/bin/python3 tests/test_output.py "$build/tools/headwater" "$build/tests/trace_equal" . || failed=1
exit $failed
