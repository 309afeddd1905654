#!/bin/sh
# Builds for aarch64 and runs the tests of some rooms in an emulator, about thirty times slower than here. Code of its own for a processor is
# in tensor and weight; lm reads and writes files with it.
#   scripts/check-arm.sh ROOM...
set -eu
cd "$(dirname "$0")/.."
for tool in mmdebstrap aarch64-linux-gnu-gcc qemu-aarch64; do
    command -v "$tool" >/dev/null || { echo "check-arm: there is no $tool; scripts/install-deps.sh build arm installs it" >&2; exit 2; }
done
scripts/arm-sysroot.sh build-arm-sysroot
cmake --preset arm -DADZE_TESTS=ON -G Ninja >/dev/null
targets= pattern=
for room; do
    targets="$targets test_$room" pattern="$pattern${pattern:+|}$room"
done
# shellcheck disable=SC2086 # a list of targets
cmake --build build-arm --target adze_command $targets
ctest --test-dir build-arm --output-on-failure -R "^($pattern)\$"
