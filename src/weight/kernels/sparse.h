/* sparse.h - products with matrices of scattered zeros: weights are read in their sparse form, tile by tile, and what is computed is the
 * dense product of the tile (few vectors: reading weights takes the time) or only what is not zero (more vectors: arithmetic takes it).
 *
 * A matrix is a stack of strips; a strip is a row of tiles, AZ_TILE columns wide each; its last tile reaches beyond the last column, where
 * all weights are zero. Results of a strip are written to sums, one row of which has `stride` entries. */
#ifndef ADZE_WEIGHT_SPARSE_H
#define ADZE_WEIGHT_SPARSE_H

#include "adze/tensor.h"

enum {
    AZ_TILE = 64,
    AZ_CSL_ROWS = 128,   /* rows of a tile of words; those of bitmap tiles have AZ_TILE */
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

/* Tiles [128, 64] of 32-bit words: the value in the low half, row * 64 + column in the high one, ascending. */
typedef struct az_csl_strip {
    const uint32_t *words;  /* of the matrix */
    const int32_t *offsets; /* of the strip's tiles and the one after, in units of four words */
    int64_t tiles;
    az_dtype type; /* f16 or bf16 */
} az_csl_strip;

/* Vectors of activations, filled up with zeros to whole tiles. Dense: [n, stride], n at most AZ_SPARSE_FEW. Sparse: [columns, stride], with
 * stride = 8 groups. */
typedef struct az_sparse_input {
    const float *value;
    int64_t n, stride; /* n counts vectors, or groups of eight of them */
} az_sparse_input;

typedef struct az_sparse_kernels {
    /* sums [n][64] */
    void (*bitmap_dense)(const az_bitmap_strip *strip, const az_sparse_input *x, float *sums);
    /* sums [64][8 n] */
    void (*bitmap_sparse)(const az_bitmap_strip *strip, const az_sparse_input *x, float *sums);
    /* sums [n][128] */
    void (*csl_dense)(const az_csl_strip *strip, const az_sparse_input *x, float *sums);
    /* sums [128][8 n] */
    void (*csl_sparse)(const az_csl_strip *strip, const az_sparse_input *x, float *sums);
} az_sparse_kernels;

extern const az_sparse_kernels az_sparse_kernels_portable;
#if defined(__x86_64__)
extern const az_sparse_kernels az_sparse_kernels_avx2;
/* The parts of the latter. */
void az_csl_dense_avx2(const az_csl_strip *strip, const az_sparse_input *x, float *sums);
void az_csl_sparse_avx2(const az_csl_strip *strip, const az_sparse_input *x, float *sums);
#endif
const az_sparse_kernels *az_sparse_kernels_here(void);

/* Where the words of tile t of a strip begin. */
static inline const uint32_t *az_csl_tile(const az_csl_strip *strip, int64_t t)
{
    return strip->words + 4 * (int64_t)strip->offsets[t];
}

#endif
