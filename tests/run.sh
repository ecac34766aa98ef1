#!/bin/sh
# Builds, runs every test and ends with one line `N passed, N failed, N skipped`.
#
#     tests/run.sh [--build FOLDER] [--smollm2 MODEL.gguf] [--require-smollm2]
#
# --smollm2: the SmolLM2 file for the tests on it (tools/get-model.sh smollm2 fetches it into models/, where it is found without
# this option); --require-smollm2: fail where these tests are skipped. What is counted are the single checks inside each test.
set -eu
cd "$(dirname "$0")/.."

build=build
smollm2=
require=
while [ $# -gt 0 ]; do
    case "$1" in
    --build) build=${2:?--build needs a folder}; shift 2 ;;
    --smollm2) smollm2=${2:?--smollm2 needs a file}; shift 2 ;;
    --require-smollm2) require=--require-smollm2; shift ;;
    *) echo "tests/run.sh: unknown option $1 (expected --build, --smollm2 or --require-smollm2)" >&2; exit 2 ;;
    esac
done
if [ -z "$smollm2" ]; then
    for file in models/*[Ss]mol[Ll][Mm]2*.gguf; do
        [ -f "$file" ] && smollm2=$PWD/$file
    done
fi
for program in meson ninja cc pkg-config; do
    command -v "$program" >/dev/null || { echo "tests/run.sh: $program is not installed; tools/deps.sh installs it" >&2; exit 2; }
done

[ -f "$build/build.ninja" ] || meson setup "$build" >/dev/null
meson configure "$build" -Dtests=true -Dsmollm2="$smollm2"
ninja -C "$build"
# A failing test is counted below.
meson test -C "$build" --no-rebuild --print-errorlogs || true
exec python3 tests/count_tests.py "$build/meson-logs/testlog.json" $require
