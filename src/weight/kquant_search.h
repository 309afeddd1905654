/* kquant_search.h - the search for scales of block formats: whole levels q, a step and a minimum, so that sum_i w_i (x_i - x'_i)^2 is
 * small.
 *
 * Values are expected within -1 .. 1 (az_block_normalize) and weights are positive. */
#ifndef ADZE_WEIGHT_KQUANT_SEARCH_H
#define ADZE_WEIGHT_KQUANT_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

enum { AZ_K_BLOCK = 256, AZ_K_MOST_SUBS = 16 };

/* The levels low .. high; with a table of 16 increasing values, the levels are those. */
typedef struct az_levels {
    int low, high;
    const int8_t *table;
} az_levels;

/* A block of count values: x = 2^exponent value with the largest magnitude of value in [0.5, 1), and the weights of its squared errors, of
 * mean 1. Weights have a floor of 1e-4, so that every scale is determined also where importance is zero. */
typedef struct az_block {
    int count, exponent;
    float value[AZ_K_BLOCK], weight[AZ_K_BLOCK];
} az_block;

void az_block_normalize(az_block *block, const float *x, const float *importance, int count);
/* The f16 nearest to 2^exponent scale, and what it stands for: its value / 2^exponent. Infinite when it is beyond the range of f16. */
uint16_t az_block_half(const az_block *block, float scale, float *rounded);

/* Levels nearest to inverse (x + minimum), as numbers; for a table, their indices go to q. */
void az_nearest_levels(const float *x, int n, float inverse, float minimum, const az_levels *levels, int8_t *q);

/* x ~ scale q - minimum */
typedef struct az_line {
    float scale, minimum;
} az_line;

/* The best line through 0 (minimum = 0). */
az_line az_fit_scale(const float *x, const float *weight, int n, const az_levels *levels);
/* The best line with levels 0 .. high; `below`: a minimum >= 0 only. */
az_line az_fit_line(const float *x, const float *weight, int n, int high, bool below);

/* A block of 256 values in sub-blocks j of `sub` values: x = d s_j q - m t_j, where s and t are whole numbers as well. */
typedef struct az_k_shape {
    int sub;
    az_levels levels, scales; /* of q; of s, and of t when `minimum` */
    bool minimum;             /* else t = 0 */
} az_k_shape;

typedef struct az_k_block {
    uint16_t d, m; /* f16 */
    int8_t s[AZ_K_MOST_SUBS], t[AZ_K_MOST_SUBS], q[AZ_K_BLOCK];
} az_k_block;

/* False when a value is beyond the range of the format. */
bool az_k_search(const az_k_shape *shape, const float *x, const float *importance, az_k_block *out);

#endif
