#!/bin/sh
# Builds llama.cpp's command-line programs from the source that the npm package node-llama-cpp carries, once, into the given folder.
#   bench/peers/build.sh FOLDER      -> FOLDER/bin/llama-bench, llama-perplexity, llama-quantize
set -eu
folder=$1
[ -x "$folder/bin/llama-bench" ] && exit 0
mkdir -p "$folder"
cd "$folder"
npm pack --silent node-llama-cpp@3.22.1 >/dev/null
tar xzf node-llama-cpp-*.tgz package/llama/gitRelease.bundle
[ -d source ] || git clone -q package/llama/gitRelease.bundle source
# GCC 12 takes the instruction that sets up AMX's tiles to read 8 bytes of its 64, and removes the stores of the others
flags=
grep -qw amx_int8 /proc/cpuinfo && flags='-fno-tree-dse -fno-dse'
cmake -S source -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF \
    -DLLAMA_BUILD_SERVER=OFF -DCMAKE_CXX_FLAGS="$flags" -G Ninja >build.log
cmake --build build --target llama-bench llama-perplexity llama-quantize >>build.log
ln -sfn build/bin bin
