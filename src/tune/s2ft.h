/* s2ft.h - which heads and channels S2FT trains. */
#ifndef ADZE_TUNE_S2FT_H
#define ADZE_TUNE_S2FT_H

#include "tune/tune_internal.h"

/* Coupled structures of a block: head h owns rows h d .. h d + d - 1 of v (a head of keys and values) and such columns of o; channel c of
 * the network owns row c of up (and of gate) and column c of down. */
typedef enum az_s2_kind { AZ_S2_V, AZ_S2_O, AZ_S2_UP, AZ_S2_DOWN, AZ_S2_KINDS } az_s2_kind;
typedef enum az_s2_select { AZ_S2_RANDOM, AZ_S2_WEIGHT, AZ_S2_ACTIVATION, AZ_S2_PRODUCT, AZ_S2_GRADIENT } az_s2_select;

typedef struct az_s2_how {
    double ratio[AZ_S2_KINDS]; /* shares of the heads (v, o) and channels (up, down) */
    az_s2_select select;
    bool largest, per_layer; /* of the scores the largest instead of the smallest; each block its share instead of all together */
    int64_t examples;        /* for activations and gradients */
    uint64_t seed;
} az_s2_how;

/* What is trained of one layer: columns of o and down, rows of v and up. */
typedef struct az_s2_choice {
    const char *layer;
    az_s2_kind kind;
    az_tensor *index; /* [n] i32, ascending */
} az_s2_choice;

/* Layers with at least one index, in the order of the forward pass; their number. In the current scope. Fails when nothing is chosen. */
int az_s2_choose(az_ctx *az, const az_tuning *tuning, const az_s2_how *how, az_s2_choice **choice);
bool az_s2_columns(az_s2_kind kind); /* o and down: columns */
az_lm_linear *az_s2_linear(const az_lm *lm, int block, az_s2_kind kind);

/* ---- s2ft_file.c ---- */

bool az_s2_write(az_ctx *az, const char *path, const az_s2_choice *choice, int n);
/* Choices of such a file, as az_s2_choose gives them. Fails, and names the layer, on one that the model has not, and on numbers that are
 * too large or there twice. */
int az_s2_read(az_ctx *az, az_lm *lm, const char *path, az_s2_choice **choice);

#endif
