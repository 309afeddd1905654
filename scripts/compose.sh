#!/bin/sh
# Runs chains of methods on the bundled model, and adapters beside what they leave; writes what they gave into docs/compose.md.
#   scripts/compose.sh ADZE
set -eu
adze=$1
out=$(dirname "$0")/../docs/compose.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$adze" corpus tales --seed 7 --stories 120 -o "$work/calibration.txt" -q
"$adze" corpus tales --seed 8 --stories 60 -o "$work/held-out.txt" -q
# a story is a line
sed '/^<|endoftext|>$/d; s/\\/\\\\/g; s/"/\\"/g; s/.*/{"text": "&"}/' "$work/calibration.txt" >"$work/examples.jsonl"

# field NAME FILE: the value of the last such field in JSON lines
field() { sed -n "s/.*\"$1\":\([^,}]*\).*/\1/p" "$2" | tail -n 1; }

# The same of the first line that has the field; the formats of a file's matrices inside the blocks
first() { sed -n "s/.*\"$1\":\([^,}]*\).*/\1/p" "$2" | head -n 1; }
formats_of() {
    "$adze" info "$1" --json -q | sed -n 's/.*"section":"formats","format":"\([^"]*\)".*/\1/p' | grep -v '^f32$' | tr '\n' ' ' | sed 's/ $//'
}

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

# A tuned row: adapters of a method beside what the chain left, before, after, merged into it, and the format of a merged matrix.
tuned_row() {
    # shellcheck disable=SC2086
    "$adze" compress tales $1 -d "$work/calibration.txt" -o "$work/base.gguf" -q >"$work/log"
    for method in $methods; do
        rm -rf "$work/adapter"
        if ! "$adze" tune "$work/base.gguf" "$method" -d "$work/examples.jsonl" --steps 20 --lr 1e-3 --length 256 --valid-share 0 \
            -o "$work/adapter" -q >"$work/log" 2>"$work/err"; then
            printf '| `%s` | `%s` | %s | | | |\n' "$1" "$method" "$(sed 's/^adze: //; s/|/,/g' "$work/err" | tail -n 1)"
            continue
        fi
        "$adze" adapter merge "$work/base.gguf" "$work/adapter" -o "$work/merged.gguf" -q >"$work/log"
        "$adze" evaluate "$work/base.gguf" --adapter "$work/adapter" -d "$work/held-out.txt" --json -q >"$work/beside"
        "$adze" evaluate "$work/base.gguf" "$work/merged.gguf" -d "$work/held-out.txt" --json -q >"$work/merged"
        printf '| `%s` | `%s` | %.4f | %.4f | %.4f | %s |\n' "$1" "$method" "$(first nll "$work/merged")" \
            "$(field nll "$work/beside")" "$(field nll "$work/merged")" "$(formats_of "$work/merged.gguf")"
    done
}

pro=maskpro:pattern=2:4,init=wanda,steps=100,samples=64,batch=8,lr=auto,logits=auto:1000
fac=m-fac:sparsity=0.6,grads=16,recompute=4,seqlen=128
pv=pv-tuning:bits=6,group=4,steps=40,epochs=1,epoch_steps=30
methods='lora:rank=4 pissa:rank=4 eva:rank=4 adalora:init_rank=6,target_rank=4 tezo:params=lora,rank=8 s2ft:d_ratio=0.05'
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
        "$fac quantize:type=q4_0" \
        'llm-int8' \
        'wanda:pattern=2:4 dsnot llm-int8' \
        'outliertune' \
        'outliertune:wbits=6,abits=6' \
        "$pro outliertune" \
        'wanda:pattern=2:4 dsnot outliertune' \
        'sparsegpt:sparsity=0.5 outliertune:wbits=6,abits=6' \
        'outliertune:activations=token bipolar-int:wbits=0' \
        'bipolar-int:wbits=4,search' \
        'wanda:pattern=2:4 bipolar-int:wbits=6,offset' \
        'wanda:pattern=2:4 dsnot bipolar-int:wbits=4,offset,group=64' \
        'quantize:type=q4_0 bipolar-int:wbits=0' \
        'wanda:pattern=2:4 bipolar-int:wbits=4' \
        'sparsegpt:sparsity=0.7 flash-llm' \
        "$fac flash-llm" \
        'wanda:sparsity=0.5 flash-llm magnitude:sparsity=0.7 flash-llm' \
        'welore:reduction=0.3 llm-int8' \
        'welore:reduction=0.3 bipolar-int:wbits=8' \
        'welore:reduction=0.3 outliertune' \
        "$pv" \
        "$pv bipolar-int:wbits=0" \
        "wanda:pattern=2:4 $pv"; do
        row "$chain"
    done
    echo
    echo 'Adapters beside what a chain leaves, 20 steps on the calibration stories each: log-loss (nat/token) on the others of the model as the'
    echo 'chain left it, with the adapter beside it, and with the adapter merged into it; and the formats of the merged matrices.'
    echo
    echo '| chain | tuned by | as it is | beside | merged | formats |'
    echo '|---|---|---|---|---|---|'
    for chain in llm-int8 'wanda:pattern=2:4 dsnot quantize:type=nm_f16' welore:reduction=0.3 outliertune quantize:type=q4_0 \
        'sparsegpt:sparsity=0.7 flash-llm' bipolar-int:wbits=4,search; do
        tuned_row "$chain"
    done
} >"$work/table"
cp "$work/table" "$out"
