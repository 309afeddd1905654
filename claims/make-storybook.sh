#!/bin/sh
# Makes models/storybook.gguf, a llama of five million parameters that the claims measure methods on: it reads stories for children, TinyStories and
# the plainest of the public-domain books. Needs the data folder. Stops and goes on where it was (state in $work).
#   ADZE_DATA=FOLDER claims/make-storybook.sh [ADZE]        STEPS, OUT and WORK in the environment make smaller trials
set -eu
cd "$(dirname "$0")/.."
text=${ADZE_DATA:?names the folder of the data}/text
adze=${1:-build/adze}
steps=${STEPS:-1500} out=${OUT:-models/storybook.gguf} work=${WORK:-build/make-storybook}
mkdir -p "$work/books"

# Of the stories for children every twentieth is kept for measuring, the first one included; the claims split them the same way.
stories() { gunzip -c "$text/children_stories.txt.gz" | awk -v held="$1" 'BEGIN { RS = "<[|]endoftext[|]>[ \n]*" }
    ((NR - 1) % 20 == 0) == held { printf "%s<|endoftext|>\n", $0 }'; }
if [ ! -s "$work/train.txt" ]; then
    stories 1 >"$work/held-out.txt"
    tar -xzf "$text/books/books.tar.gz" -C "$work"
    {
        stories 0
        cat "$text/tinystories/tinystories_sample.txt"
        # Books of short sentences (column 6 counts their words), each a document.
        awk -F'\t' 'NR > 1 && $6 < 14 { print $1 }' "$text/books/books.tsv" | while read -r book; do
            cat "$work/books/$book"
            echo '<|endoftext|>'
        done
    } >"$work/part.txt"
    mv "$work/part.txt" "$work/train.txt"
fi

# Width and hidden are multiples of 256, the largest block of the quantized formats.
"$adze" train llama:width=256,blocks=5,heads=8,kv_heads=4,hidden=768,context=256,vocabulary=4096 -d "$work/train.txt" \
    --steps "$steps" --batch 16 --length 256 --lr 3e-3 --lr-floor 0.05 --valid-share 0 --resume "$work/state" --save-every 50 \
    --save-as f16 -o "$out"

"$adze" evaluate "$out" -d "$work/held-out.txt"
