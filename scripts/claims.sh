#!/bin/sh
# Runs every claim and writes their tables and verdicts as Markdown.
#   scripts/claims.sh ADZE OUT
set -eu
adze=$1
out=$2
temporary=$(mktemp)
trap 'rm -f "$temporary"' EXIT
{
    echo "# Claims"
    echo
    echo "Written by \`make claims\`: each method's headline at small scale, against the baselines its paper names. A claim that fails says so."
    "$adze" claim --list | while read -r name; do
        printf '\n## %s\n\n```\n' "$name"
        "$adze" claim "$name" 2>&1 || true
        printf '```\n'
    done
} >"$temporary"
cp "$temporary" "$out"
