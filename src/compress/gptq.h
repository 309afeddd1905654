/* gptq.h - rows of weights as whole numbers: to the nearest, or with errors made up for by the weights that are rounded later. */
#ifndef ADZE_COMPRESS_GPTQ_H
#define ADZE_COMPRESS_GPTQ_H

#include "compress/compress_internal.h"

typedef struct az_row_grid {
    int bits;
    bool symmetric; /* codes from -(2^(bits - 1) - 1), zero point 0; otherwise all codes, from the smallest weight (or 0) to the largest */
    bool search;    /* the range is the share 1, 0.99 ... 0.21 of the weights' that loses least, in |w - rounded w|^2.4 */
} az_row_grid;

/* Codes of W [rows, cols] (f32) on a grid for each row, w = scale (code - zero), rounded to the nearest: codes i8 [rows, cols], scales f32
 * [rows], zeros i32 [rows]. An exact zero stays one. */
bool az_grid_rows(az_ctx *az, const az_tensor *w, const az_row_grid *grid, az_tensor **codes, az_tensor **scales, az_tensor **zeros);

/* The order in which inputs are rounded and the factor of their inverse Hessian in that order, kept while layers read one input. */
typedef struct az_gptq_factor {
    const az_tensor *gram; /* of the statistics that it was made of */
    int block;
    const az_tensor *u;     /* [cols, cols] f32, as az_inverse_factor makes it */
    const az_tensor *order; /* i32 [cols] */
    az_arena *arena;        /* its user's to free */
} az_gptq_factor;
/* From the Hessian f64 [cols, cols]; by_size: inputs with the largest diagonal first. */
bool az_gptq_prepare(az_ctx *az, az_gptq_factor *factor, const az_tensor *hessian, double damp, bool by_size);
/* Changes the codes of W on the grid that az_grid_rows chose for it: each weight's error goes, by the inverse Hessian, to the weights
 * behind it. Exact zeros of W stay zeros. */
bool az_gptq_codes(az_ctx *az, const az_tensor *w, const az_gptq_factor *factor, const az_row_grid *grid, az_tensor *codes,
                   const az_tensor *scales, const az_tensor *zeros);

#endif
