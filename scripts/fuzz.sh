#!/bin/sh
# Runs the fuzz targets, each with its committed corpus and dictionary, under the address and undefined sanitizers.
#
#   scripts/fuzz.sh [SECONDS | runs=N] [TARGET...]      default: 60 seconds each of all targets
#
# New inputs stay in build-fuzz/found/TARGET and are used again. A finding (a crash, a hang, a leak) lies beside them as TARGET-crash-...;
# the other targets still run, and the exit status is 1.
set -eu
cd "$(dirname "$0")/.."
case ${1:-60} in
runs=*) limit=-runs=${1#runs=} ;;
*) limit=-max_total_time=${1:-60} ;;
esac
[ $# -eq 0 ] || shift
cmake --preset fuzz -G Ninja >/dev/null
cmake --build build-fuzz
if [ $# -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do set -- "$@" "$(basename "$source" .c)"; done
fi

# Freed memory is kept from reuse for a while, to catch late accesses; a little of it is enough for inputs of a few thousand bytes.
export ASAN_OPTIONS="quarantine_size_mb=16${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
status=0
printf '%-22s %12s %10s %9s\n' target runs seconds findings
for name; do
    found=build-fuzz/found/$name
    mkdir -p "$found"
    dictionary=
    [ ! -f "tests/fuzz/dictionaries/$name.dict" ] || dictionary=-dict=tests/fuzz/dictionaries/$name.dict
    begun=$(date +%s)
    build-fuzz/tests/fuzz/"$name" "$limit" -rss_limit_mb=2048 -timeout=10 -artifact_prefix="$found-" -print_final_stats=1 $dictionary \
        "$found" "tests/fuzz/corpus/$name" >"$found.log" 2>&1 && findings=0 || findings=1
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$found.log")
    printf '%-22s %12s %10s %9s\n' "$name" "${runs:-?}" "$(($(date +%s) - begun))" "$findings"
    [ "$findings" = 0 ] && continue
    status=1
    grep -aE 'ERROR|runtime error|SUMMARY|Test unit written' "$found.log" || tail -n 20 "$found.log"
done
exit $status
