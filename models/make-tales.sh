#!/bin/sh
# Makes models/tales.gguf, the bundled model: a llama of 1.4 million parameters that tells the stories of `adze corpus tales`, and measures it on stories that
# it has not seen, beside the exact entropy of the corpus. Stops and goes on where it was (state in $work).
#   models/make-tales.sh [ADZE]        STEPS, STORIES, OUT and WORK in the environment make smaller trials
set -eu
cd "$(dirname "$0")/.."
adze=${1:-build/adze}
steps=${STEPS:-4000} stories=${STORIES:-60000} out=${OUT:-models/tales.gguf} work=${WORK:-build/make-tales}
mkdir -p "$work"

# Seed 1 is for training, seed 2 for measuring: no story is in both.
[ -s "$work/train.txt" ] || "$adze" corpus tales --seed 1 --stories "$stories" -o "$work/train.txt"
[ -s "$work/held-out.txt" ] || "$adze" corpus tales --seed 2 --stories 500 -o "$work/held-out.txt"

# A story has about 230 tokens: windows of 512 hold one from beginning to end.
"$adze" train llama:width=128,blocks=6,heads=4,kv_heads=2,hidden=352,context=512,vocabulary=2048 \
    -d "$work/train.txt" --valid_share 0 --seed 1 \
    --steps "$steps" --batch 16 --length 512 --lr 3e-3 --warmup 0.03 --weight_decay 0.05 \
    --resume "$work/state" --save_every 200 --save_as f16 -o "$out"

# The gap to the entropy, in nats a token: (nll of a story - entropy of a story) / tokens of a story.
"$adze" corpus tales --entropy
"$adze" evaluate "$out" -d "$work/held-out.txt"
