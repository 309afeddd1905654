#!/bin/sh
# Installs what a part of adze needs from Debian, and nothing when it is there already.
#   scripts/install-deps.sh [--print] [build] [test] [lint] [fuzz] [bench] [arm]        --print: only names them
set -eu

packages_for() {
    case $1 in
    build) echo "gcc libc6-dev make cmake ninja-build pkg-config libopenblas-openmp-dev liblapacke-dev libfftw3-dev libpcre2-dev
                 libutf8proc-dev libjansson-dev zlib1g-dev gnuplot-nox libcurl4-openssl-dev libsqlite3-dev nettle-dev bubblewrap" ;;
    test) echo "libcriterion-dev libmicrohttpd-dev" ;;
    lint) echo "clang-format clang-tidy cppcheck" ;;
    fuzz) echo "clang libclang-rt-dev libomp-dev" ;;
    arm) echo "gcc-aarch64-linux-gnu qemu-user mmdebstrap" ;;
    bench) echo "python3-numpy python3-sklearn python3-torch g++ git npm linux-perf" ;;
    *)
        echo "install-deps: unknown part '$1' (build, test, lint, fuzz, bench, arm)" >&2
        exit 2
        ;;
    esac
}

if [ "${1:-}" = --print ]; then
    shift
    for part in "$@"; do echo $(packages_for "$part"); done
    exit 0
fi

missing=
for part in "${@:-build}"; do
    for package in $(packages_for "$part"); do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' && continue
        [ "$package" = npm ] && command -v npm >/dev/null && continue # Node.js's own packages bring it, and refuse Debian's
        missing="$missing $package"
    done
done
[ -n "$missing" ] || exit 0

echo "installing:$missing"
run=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "install-deps: not root and no sudo; as root run: apt-get install$missing" >&2; exit 2; }
    run=sudo
fi
$run apt-get update -qq
# shellcheck disable=SC2086 # the list is meant to be split
$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
