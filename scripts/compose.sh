#!/bin/sh
# Runs chains of methods on the bundled model and writes what they gave into the table of docs/compose.md.
#   scripts/compose.sh ADZE
set -eu
adze=$1
out=$(dirname "$0")/../docs/compose.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$adze" corpus tales --seed 7 --stories 300 -o "$work/calibration.txt" -q
"$adze" corpus tales --seed 8 --stories 120 -o "$work/held-out.txt" -q

# field NAME FILE: the value of the last such field in JSON lines
field() { sed -n "s/.*\"$1\":\([^,}]*\).*/\1/p" "$2" | tail -n 1; }

# A row: the chain, size, zeros, perplexity, the difference to the given model with its interval, and how far the restored dense model is.
row() {
    # shellcheck disable=SC2086
    if ! "$adze" compress tales $1 -d "$work/calibration.txt" --eval "$work/held-out.txt" -o "$work/small.gguf" --json -q >"$work/log" 2>"$work/err"; then
        printf '| `%s` | %s | | | | |\n' "$1" "$(sed 's/^adze: //; s/|/,/g' "$work/err" | tail -n 1)"
        return
    fi
    "$adze" run "$work/small.gguf" -p 'Once upon a time' -n 8 -q >"$work/story"
    "$adze" convert "$work/small.gguf" --dense -o "$work/plain.gguf" -q >"$work/converted"
    "$adze" evaluate "$work/plain.gguf" "$work/small.gguf" -d "$work/held-out.txt" --json -q >"$work/restored"
    printf '| `%s` | %.2f | %.2f | %.4f | %.4f (%.4f to %.4f) | %.1e |\n' "$1" \
        "$(awk "BEGIN { print $(field bytes "$work/log") / 1048576 }")" "$(field sparsity "$work/log")" "$(field perplexity "$work/log")" \
        "$(field difference "$work/log")" "$(field low "$work/log")" "$(field high "$work/log")" "$(field difference "$work/restored")"
}

pro=maskpro:pattern=2:4,init=wanda,steps=200,samples=128,batch=8,lr=auto,logits=auto:1000
fac=m-fac:sparsity=0.6,grads=32,recompute=4,seqlen=128
{
    sed '/^<!-- chains -->$/q' "$out"
    echo
    echo '| chain | size (MiB) | zeros | perplexity | difference (nat/token, 95 %) | restored |'
    echo '|---|---|---|---|---|---|'
    for chain in \
        wanda:pattern=2:4 \
        'wanda:pattern=2:4 quantize:type=nm_f16' \
        'wanda:pattern=2:4 dsnot' \
        'wanda:pattern=2:4 dsnot quantize:type=q8_0' \
        'wanda:pattern=2:4 dsnot quantize:type=nm_bf16' \
        'sparsegpt:pattern=2:4 quantize:type=q4_0' \
        'sparsegpt:sparsity=0.3 sparsegpt:sparsity=0.6' \
        'sparsegpt:sparsity=0.6' \
        'magnitude:sparsity=0.5 wanda:sparsity=0.6 quantize:type=q5_0' \
        'quantize:type=q4_0 wanda:pattern=2:4 quantize:type=nm_f16' \
        'wanda:pattern=2:4 quantize:type=q4_k' \
        'wanda:pattern=2:4 quantize:type=q4_k,zeros=lose' \
        welore:reduction=0.3 \
        'welore:reduction=0.3 quantize:type=q8_0' \
        'welore:reduction=0.3,multiple=32 quantize:type=q4_0' \
        "$pro" \
        "$pro quantize:type=nm_f16" \
        "$fac" \
        "$fac quantize:type=q4_0"; do
        row "$chain"
    done
} >"$work/table"
cp "$work/table" "$out"
