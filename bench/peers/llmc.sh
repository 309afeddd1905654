#!/bin/sh
# Builds the trainer of llm.c's train_gpt2.c, with llm.c's own compiler options.
#   bench/peers/llmc.sh SOURCE OUT        SOURCE is a checkout of llm.c
set -eu
cc -Ofast -march=native -fno-finite-math-only -w -DOMP -fopenmp -I"$1" "$(dirname "$0")/llmc_train.c" -lm -o "$2"
