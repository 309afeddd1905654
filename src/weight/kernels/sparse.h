/* sparse.h - products with matrices of scattered zeros: weights are read in their sparse form, tile by tile, and what is computed is the
 * dense product of the tile (few vectors: reading weights takes the time) or only what is not zero (more vectors: arithmetic takes it).
 *
 * A matrix is a stack of strips; a strip of bits is a row of tiles, AZ_TILE columns wide each; its last tile reaches beyond the last
 * column, where all weights are zero. Results of a strip are written to sums, one row of which has `stride` entries. */
#ifndef ADZE_WEIGHT_SPARSE_H
#define ADZE_WEIGHT_SPARSE_H

#include "adze/tensor.h"

enum {
    AZ_TILE = 64,
    AZ_MASKS = 8,        /* of rows of a tile that a line of memory holds */
    AZ_CSL_ROWS = 128,   /* rows of a strip of words; those of bitmap tiles have AZ_TILE */
    AZ_CSL_LANES = 8,    /* rows of a slice of such a strip */
    AZ_SPARSE_FEW = 4,   /* vectors of a dense product */
    AZ_SPARSE_GROUPS = 4 /* groups of eight vectors of a sparse product */
};

/* Tiles [64, 64] of bits, and the values of those that are 1, row after row. */
typedef struct az_bitmap_strip {
    const uint8_t *mask; /* [tiles, 64, 8]: bit c % 8 of byte c / 8 = column c of the tile is kept */
    const void *value;   /* of the first tile; behind the last value of the matrix stand 8 more that may be read */
    int64_t tiles;
    az_dtype type; /* f16, bf16 or f32 */
} az_bitmap_strip;

/* Up to 128 rows as slices of eight, each slice steps of eight words of 32 bits, one of each row: the value in the low half, the column in
 * the high one. A row ends with zero words, of value 0, where others of its slice are longer. */
typedef struct az_csl_strip {
    const uint32_t *words;  /* [steps, 8], of the matrix */
    const int32_t *offsets; /* [slices + 1]: the first step of each slice, and of the one after */
    const uint8_t *order;   /* [slices, 8]: the rows, numbered in the strip, that the lanes of the slices hold */
    int64_t slices;
    az_dtype type; /* f16 or bf16 */
} az_csl_strip;

/* Vectors of activations, filled up with zeros to whole tiles. Dense: [n, stride], n at most AZ_SPARSE_FEW. Sparse: [columns, stride], with
 * stride = 8 groups; for words also 1 and 4. */
typedef struct az_sparse_input {
    const float *value;
    int64_t n, stride; /* n counts vectors, or groups of eight of them */
} az_sparse_input;

/* What a product costs, in nanoseconds a weight where it was measured; only their order matters. */
typedef struct az_sparse_costs {
    double expand, expand_kept;      /* dense: bringing weights to their places, once for AZ_SPARSE_FEW vectors; a kept one in addition */
    double vector;                   /* dense: each vector */
    double visit_kept, visit_groups; /* sparse, a kept weight: once for AZ_SPARSE_GROUPS groups; each group of eight vectors */
} az_sparse_costs;

typedef struct az_sparse_kernels {
    /* sums [n][64] */
    void (*bitmap_dense)(const az_bitmap_strip *strip, const az_sparse_input *x, float *sums);
    /* sums [64][8 n] */
    void (*bitmap_sparse)(const az_bitmap_strip *strip, const az_sparse_input *x, float *sums);
    /* sums [128][stride], of rows that lanes hold */
    void (*csl)(const az_csl_strip *strip, const az_sparse_input *x, float *sums);
    az_sparse_costs bitmap_costs;
} az_sparse_kernels;

extern const az_sparse_kernels az_sparse_kernels_portable;
#if defined(__x86_64__)
extern const az_sparse_kernels az_sparse_kernels_avx2, az_sparse_kernels_vbmi2;
/* Of the first. */
void az_bitmap_sparse_avx2(const az_bitmap_strip *strip, const az_sparse_input *x, float *sums);
void az_csl_avx2(const az_csl_strip *strip, const az_sparse_input *x, float *sums);
#endif
const az_sparse_kernels *az_sparse_kernels_here(void);

#endif
