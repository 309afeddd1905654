#!/bin/sh
# Runs the main job under the thread sanitizer. (The tests' runner shares memory between processes in a way that the sanitizer does not allow,
# so the command stands in for them.)
set -eu
cd "$(dirname "$0")/.."
command -v clang >/dev/null || { echo "tsan: there is no clang; scripts/install-deps.sh fuzz installs it" >&2; exit 2; }
cmake --preset tsan -DADZE_TESTS=OFF -G Ninja >/dev/null
cmake --build build-tsan
adze=$PWD/build-tsan/adze
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1"
"$adze" corpus tales --stories 60 -o "$work/text.txt"
"$adze" run tales -p "Once" -n 40
"$adze" compress tales sparsegpt:pattern=2:4,nsamples=4 quantize:type=q4_0 -d "$work/text.txt" -o "$work/small.gguf"
"$adze" evaluate tales "$work/small.gguf" -d "$work/text.txt" --limit 8
"$adze" train llama:width=32,blocks=2,heads=2,hidden=64,vocabulary=300,context=64 -d "$work/text.txt" --steps 6 --length 64 \
    -o "$work/new.gguf"
