/* tiny_lm.h - small random models for tests, and the forward pass once more, written plainly in double precision. */
#ifndef ADZE_TESTS_TINY_LM_H
#define ADZE_TESTS_TINY_LM_H

#include "lm/lm_internal.h"

/* width 16, 2 blocks, 4 heads on 2 key-value heads of dimension 6, hidden 24, vocabulary 40, context 64, tied head. */
az_lm_config tiny_config(void);
/* Matrices normal with deviation 0.3, norms and biases around 1 and 0: large enough that every part matters. */
az_lm *tiny_lm(az_ctx *az, const az_lm_arch *arch, const az_lm_config *config, uint64_t seed);
az_lm *tiny_llama(az_ctx *az, uint64_t seed);
/* Random tokens below vocabulary. */
int32_t *tiny_tokens(az_ctx *az, int64_t n, int64_t vocabulary, uint64_t seed);

/* Logits [n, vocabulary] of one sequence of a dense model, token by token from the definitions; the caller's to free. */
double *plain_logits(const az_lm *lm, const int32_t *token, int64_t n);

/* Largest |a - b| between a tensor and n numbers. */
double distance_to_numbers(const az_tensor *a, const double *b, int64_t n);

#endif
