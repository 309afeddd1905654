/* llama_cpp.h - runs the programs of llama.cpp. ADZE_LLAMA_CPP names the folder that holds them (llama-tokenize, llama-quantize,
 * llama-simple, llama-perplexity). */
#ifndef ADZE_TEST_LLAMA_CPP_H
#define ADZE_TEST_LLAMA_CPP_H

#include "adze/base.h"

/* What "program and arguments" print on their standard output, in the current scope. The running test fails with the program, and is
 * skipped where ADZE_LLAMA_CPP is not set. */
char *llama_cpp(az_ctx *az, const char *arguments);

#endif
