/* panels.h - kernels of large products of f32 matrices, which work on packed panels: `rows` rows of the left matrix, `columns` columns of
 * the right one, so much of each that both stay in the first cache. How a panel lies is the affair of its kernels. */
#ifndef ADZE_TENSOR_PANELS_H
#define ADZE_TENSOR_PANELS_H

#include "tensor/kernels/kernels.h"

enum { AZ_PANEL_MOST = 32 }; /* rows and columns of any tile */

typedef struct az_panel_kernels {
    const char *name;
    int rows, columns; /* of a tile */
    int depth;         /* most that should be packed together */
    int turn;          /* rows that a thread should take at a time: some panels, which stay in the second cache */
    int fill;          /* a panel's depth is filled up with zeros to a multiple of this */
    int bytes;         /* of a packed value */
    double rounding;   /* largest relative error of a packed value */
    /* Packs a [rows, depth] into panels that follow each other, each of az_panel_bytes; rows beyond the last are 0. */
    void (*pack_rows)(int64_t rows, int64_t depth, az_matrix_f32 a, void *to);
    /* Packs b [depth, columns] likewise. */
    void (*pack_columns)(int64_t depth, int64_t columns, az_matrix_f32 b, void *to);
    void (*begin)(void), (*end)(void); /* around a thread's products; NULL: nothing to do */
    /* c [rows, columns], rows ldc apart, (+)= the product of a panel of rows and one of columns. */
    void (*product)(int64_t depth, const void *rows, const void *columns, bool add, float *c, int64_t ldc);
} az_panel_kernels;

/* Bytes of a panel of `lines` rows or columns. */
static inline int64_t az_panel_bytes(const az_panel_kernels *kernels, int64_t lines, int64_t depth)
{
    return lines * ((depth + kernels->fill - 1) / kernels->fill * kernels->fill) * kernels->bytes;
}

/* The part of a tile that lies inside c. */
typedef struct az_panel_part {
    int64_t rows, columns;
    bool add;
    float *c;
    int64_t ldc;
} az_panel_part;

/* The product of two panels; at an edge of c it is made whole beside it, with the same bits as inside. */
void az_panel_multiply(const az_panel_kernels *kernels, int64_t depth, const void *rows, const void *columns, const az_panel_part *part);

/* The depth of the slices, nearly equal, into which sums of k products are cut: a multiple of `fill` and of 8. */
int64_t az_panel_slice(const az_panel_kernels *kernels, int64_t k);

static inline void az_panel_begin(const az_panel_kernels *kernels)
{
    if (kernels->begin) kernels->begin();
}

static inline void az_panel_end(const az_panel_kernels *kernels)
{
    if (kernels->end) kernels->end();
}

/* How exact the factors of a product are to be: as f32; to 16 bits, all that f16 and bf16 have; to 8 bits, for matrices that are themselves
 * rounded more roughly. Sums are of f32 in any case. */
typedef enum az_exactness { AZ_EXACT_F32, AZ_EXACT_16_BITS, AZ_EXACT_8_BITS } az_exactness;

/* The fastest set that this processor runs, at least so exact; NULL where BLAS does better. */
const az_panel_kernels *az_panel_kernels_here(az_exactness exactness);

#if defined(__x86_64__)
extern const az_panel_kernels az_panel_kernels_avx2, az_panel_kernels_avx512;
extern const az_panel_kernels az_panel_kernels_amx[2]; /* numbers as one bfloat16, of 8 bits, and as the sum of two */
#endif

#endif
