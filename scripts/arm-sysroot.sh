#!/bin/sh
# Unpacks the arm64 libraries that adze and its tests need into a folder, from Debian; the system's own packages stay as they are.
#   scripts/arm-sysroot.sh FOLDER
set -eu
folder=$1
[ ! -e "$folder/complete" ] || exit 0
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
libraries=$("$(dirname "$0")/install-deps.sh" --print build test | tr ' ' '\n' | grep -E -- '-dev$' | paste -sd,)
rm -rf "$folder"
echo "unpacking arm64 libraries into $folder"
mmdebstrap --quiet --variant=extract --architectures=arm64 --include="$libraries" "$suite" "$folder"
# Links of development packages are absolute; a linker follows them into its own system.
find "$folder" -lname '/*' | while read -r link; do ln -sfn "$(realpath -ms --relative-to="$(dirname "$link")" "$folder$(readlink "$link")")" "$link"; done
touch "$folder/complete"
