#!/bin/sh
# From a fresh clone to a first capture: installs what is missing, builds, captures the small model of examples/backcopy
# with its example prompts, and prints its attention sinks.
set -eu
cd "$(dirname "$0")/.."

tools/deps.sh build
mkdir -p build
if [ ! -f build/build.ninja ]; then
    # The tests need a package more; tests/run.sh turns them on.
    meson setup build --buildtype=release -Dtests=false >build/quickstart.log 2>&1 || { tail -20 build/quickstart.log >&2; exit 1; }
fi
ninja -C build tools/headwater >build/quickstart.log 2>&1 || { tail -20 build/quickstart.log >&2; exit 1; }

build/tools/headwater capture --model examples/backcopy/model --prompts examples/backcopy/prompts.jsonl \
    --out quickstart.h5 --overwrite
build/tools/headwater sinks quickstart.h5
