#!/bin/sh
# Installs what is missing from Debian's packages: tools/deps.sh [build|test].
#
# build: to build headwater and to run it. test: also for tests/run.sh and tools/get-model.sh. As root, or through sudo; where
# neither is possible, prints the one line to run and stops with 1.
set -eu

build="build-essential meson ninja-build pkg-config libhdf5-dev libjansson-dev libpcre2-dev libutf8proc-dev libstemmer-dev zlib1g-dev libisal-dev"
test="check libdnnl-dev hdf5-tools python3 python3-pip python3-h5py python3-xarray python3-h5netcdf python3-netcdf4"
test="$test python3-nbclient python3-ipykernel python3-matplotlib"

case "${1:-build}" in
build) wanted=$build ;;
test) wanted="$build $test" ;;
*) echo "tools/deps.sh: unknown set $1 (expected build or test)" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "tools/deps.sh: not a Debian system; headwater needs what these packages hold: $wanted" >&2
    exit 0
fi
missing=
for package in $wanted; do
    case "$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)" in
    "install ok installed") ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

line="apt-get install -qq -y --no-install-recommends$missing"
if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    sudo=sudo
else
    echo "some Debian packages are missing; as root, run:" >&2
    echo "apt-get update && $line" >&2
    exit 1
fi
echo "installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq >&2
# shellcheck disable=SC2086 # words of the line are the packages
$sudo $line >&2
