#!/bin/sh
# Makes models/tales.gguf, the bundled model: a llama of 2.6 million parameters that tells the stories of `adze corpus tales`, and measures
# it on stories that it has not seen, beside the exact log-probability of their text. Stops and goes on where it was (state in $work).
#   models/make-tales.sh [ADZE]        STEPS, STORIES, OUT and WORK in the environment make smaller trials
set -eu
cd "$(dirname "$0")/.."
adze=${1:-build/adze}
steps=${STEPS:-1300} stories=${STORIES:-24000} out=${OUT:-models/tales.gguf} work=${WORK:-build/make-tales}
mkdir -p "$work"

# Seed 1 is for training, seed 2 for measuring: no story is in both.
[ -s "$work/train.txt" ] || "$adze" corpus tales --seed 1 --stories "$stories" -o "$work/train.txt"
[ -s "$work/held-out.txt" ] || "$adze" corpus tales --seed 2 --stories 400 -o "$work/held-out.txt"

# A story has about 280 tokens: most windows of 512 hold one from beginning to end. Width and hidden are multiples of 256, the largest
# block of the quantized formats.
"$adze" train llama:width=256,blocks=4,heads=8,kv_heads=4,hidden=512,context=512,vocabulary=1024 -d "$work/train.txt" \
    --steps "$steps" --batch 8 --length 512 --lr 3e-3 --lr-floor 0.05 --valid-share 0.01 --resume "$work/state" --save-every 50 \
    --save-as f16 -o "$out"

# The gap to the best possible: (nll of the model - nll of the grammar) / tokens.
"$adze" evaluate "$out" -d "$work/held-out.txt"
"$adze" corpus tales --score "$work/held-out.txt"
