#!/bin/sh
# Runs each fuzz target for the given number of seconds (default 60) on its committed corpus; new inputs stay in build-fuzz.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-60}
cmake --preset fuzz -G Ninja >/dev/null
cmake --build build-fuzz
for target in build-fuzz/tests/fuzz/fuzz_*; do
    [ -f "$target" ] && [ -x "$target" ] || continue
    name=$(basename "$target")
    found=build-fuzz/found/$name
    mkdir -p "$found"
    echo "== $name"
    "$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -artifact_prefix="$found-" -print_final_stats=1 \
        "$found" "tests/fuzz/corpus/$name" >"$found.log" 2>&1 || { tail -n 40 "$found.log"; exit 1; }
    grep -E 'number_of_executed_units|average_exec_per_sec' "$found.log"
done
