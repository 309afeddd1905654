/* nm_blocks.h - random N:M masks in linear space: a distribution over the N-element subsets of M weights that is held as M logits.
 *
 * A draw takes N elements one after the other without replacement, each with probability p = softmax(logits) among what is left. The set S
 * of them has the probability
 *     p(S) = sum over the orders a_1 .. a_N of S of prod_t p_{a_t} / (1 - p_{a_1} - ... - p_{a_{t-1}}). */
#ifndef ADZE_COMPRESS_NM_BLOCKS_H
#define ADZE_COMPRESS_NM_BLOCKS_H

#include "adze/weight.h"

enum { AZ_NM_MOST = 16, AZ_NM_MOST_KEPT = 8 }; /* largest m and n */

/* ---- one block; sets are bit masks ---- */

void az_nm_softmax(const float *logit, int m, double *p);
double az_nm_probability(const double *p, az_pattern pattern, unsigned set);
/* h [m] = the derivative of log p(S) with respect to the logits. Probabilities are raised to `clamp`, and it is added to what is divided
 * by. The second one serves any n, the first takes a closed form for n = 2. */
void az_nm_gradient(const double *p, az_pattern pattern, double clamp, unsigned set, double *h);
void az_nm_gradient_any(const double *p, az_pattern pattern, double clamp, unsigned set, double *h);
/* Whose random numbers: every (stream, block) has its own. */
typedef struct az_nm_key {
    uint64_t seed, stream, block;
} az_nm_key;
unsigned az_nm_draw(const double *p, az_pattern pattern, double clamp, az_nm_key key);
/* The n largest logits; among equal ones the first. */
unsigned az_nm_top(const float *logit, az_pattern pattern);
/* The probability that a draw differs from the kept set when kept elements have the logit c and dropped ones 0. */
double az_nm_flip_rate(az_pattern pattern, double c);
/* The c at which a share `rate` of the blocks flips in a draw; fails when no c >= 0 flips that many. */
double az_nm_logit_for(az_ctx *az, az_pattern pattern, double rate);

/* ---- a matrix of blocks ---- */

/* Bits of a matrix, row by row: bit j of byte b belongs to element 8 b + j. */
unsigned az_bits_get(const unsigned char *bits, int64_t first, int count);
void az_bits_put(unsigned char *bits, int64_t first, int count, unsigned set);

typedef struct az_nm_matrix {
    az_pattern pattern;
    double clamp;
    int64_t rows, cols, first_block; /* first_block: number of the first block among all matrices, for its random numbers */
    float *logit;                    /* [rows, cols] */
    unsigned char *kept;             /* bits of the present draw */
    const unsigned char *value;      /* [rows, cols] elements of `size` bytes, and the same with zeros where the draw drops; */
    unsigned char *masked;           /* both may be NULL */
    size_t size;
} az_nm_matrix;
/* logits -= rate * h(present draw), then a new draw of every block, and `masked` after it. Returns how many blocks changed. The result does
 * not depend on the number of threads. */
int64_t az_nm_move(az_ctx *az, const az_nm_matrix *matrix, double rate, uint64_t seed, uint64_t stream);
/* Writes bits, and `masked` from them. */
void az_nm_set(const az_nm_matrix *matrix, const unsigned char *bits);
/* The n largest logits of every block as bits. */
void az_nm_final(const az_nm_matrix *matrix, unsigned char *bits);

#endif
