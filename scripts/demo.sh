#!/bin/sh
# The main job on the bundled model: look at it, use it, measure it, make it smaller, measure again with an error bar, use it again.
#   scripts/demo.sh [ADZE]
set -eu
cd "$(dirname "$0")/.."
adze=${1:-build/adze}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

bold= plain=
[ ! -t 1 ] || { bold=$(printf '\033[1m') plain=$(printf '\033[0m'); }

run() { # shown as one would type it
    printf '\n%s$ adze' "$bold"
    for word; do
        case $word in *' '*) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac
    done
    printf '%s\n' "$plain"
    "$adze" "$@"
}

cp models/tales.gguf "$work/tales.gguf"
cd "$work"
adze=$(cd "$OLDPWD" && realpath "$adze")

run corpus tales --seed 2026 --stories 300 -o text.txt
run corpus tales --seed 7 --stories 300 -o calibration.txt
run info tales.gguf
run run tales.gguf -p "Once upon a time" -n 120 --temperature 0.8 --seed 3
run compress tales.gguf sparsegpt:pattern=2:4 -d calibration.txt -o sparse.gguf
run compress tales.gguf wanda:sparsity=0.5 quantize:type=q8_0 -d calibration.txt -o small.gguf
run evaluate tales.gguf small.gguf sparse.gguf -d text.txt
run run small.gguf -p "Once upon a time" -n 120 --temperature 0.8 --seed 3
