/* sparse_format.h - what the formats for scattered zeros share: their products, and the rounding of what they store. */
#ifndef ADZE_SPARSE_FORMAT_H
#define ADZE_SPARSE_FORMAT_H

#include "weight/kernels/sparse.h"
#include "weight/weight_internal.h"

typedef struct az_sparse_strips {
    int64_t rows; /* of a strip */
    az_sparse_costs costs;
    /* sums [n][rows], and [rows][stride], of a strip (sparse.h). Without `dense`, `sparse` also takes strides 1 and 4. */
    void (*dense)(const az_weight *w, int64_t strip, const az_sparse_input *x, float *sums);
    void (*sparse)(const az_weight *w, int64_t strip, const az_sparse_input *x, float *sums);
} az_sparse_strips;

/* y [n, rows] = x [n, cols] W^T by the cheapest way; density = share of kept weights. */
void az_strips_matmul(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y, const az_sparse_strips *how, double density);

static inline int64_t az_tiles(int64_t extent, int64_t tile)
{
    return (extent + tile - 1) / tile;
}

/* Rounded to the type. A bf16 below the normal range becomes zero: such numbers are slow to compute with. */
static inline uint16_t az_sparse_round(float value, az_dtype type)
{
    if (type == AZ_F16) return az_float_to_half(value);
    const uint16_t half = az_float_to_bfloat(value);
    return (half & 0x7f80) == 0 ? 0 : half;
}

/* The value that is stored of one; 0 when it is dropped, -0 included. */
static inline float az_sparse_value(float value, az_dtype type)
{
    if (type == AZ_F32) return value;
    const uint16_t half = az_sparse_round(value, type);
    return type == AZ_F16 ? az_half_to_float(half) : az_bfloat_to_float(half);
}

/* All values are finite, and f16 holds them; otherwise fails with the first that does not. */
bool az_sparse_holds(az_ctx *az, const az_tensor *dense, const az_format *format, az_dtype type);

#endif
