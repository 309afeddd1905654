/* planes.h - products of matrices of bits: how many bits of a row of weights and of a vector of activations differ.
 *
 * Weights lie in strips of 32 rows. A strip goes from left to right in blocks of `block` chunks; a block holds plane after plane, a plane
 * chunk after chunk, and a chunk has a byte for each row: the bits of eight consecutive inputs, the first one lowest. Codes u of weights
 * and activations have their bit j in plane j. All kernels give the same whole numbers sum[v][r] = sum over planes j of the weights and i
 * of the activations of 2^(i + j) (bits of row r and vector v that differ). */
#ifndef ADZE_WEIGHT_KERNELS_PLANES_H
#define ADZE_WEIGHT_KERNELS_PLANES_H

#include <stdint.h>

enum { AZ_STRIP = 32, AZ_PLANE_VECTORS = 4 /* at most at a time */, AZ_MOST_PLANES = 8 };
/* So many chunks of 8-bit codes stay below 2^32 / 2. */
enum { AZ_MOST_CHUNKS = 4096 };

typedef struct az_plane_strip {
    const uint8_t *bits;
    int planes;
    int64_t chunks; /* at most AZ_MOST_CHUNKS */
    int block;      /* chunks of a block, at most 32; the last one may have fewer */
} az_plane_strip;

typedef struct az_plane_input {
    const uint8_t *data;
    int64_t stride; /* bytes from one vector to the next */
    int n, planes;
} az_plane_input;

/* Codes, a byte each: rows of them, `stride` apart. */
typedef struct az_code_rows {
    const uint8_t *code;
    int64_t rows, stride;
} az_code_rows;

/* Tables of the lookup kernel: activations of up to 5 bits have one, wider ones a table for their lower four bits and one for the rest. */
static inline int az_plane_digits(int planes)
{
    return planes <= 5 ? 1 : 2;
}

typedef struct az_plane_kernels {
    const char *name;
    /* x: [chunks, planes] bytes. sum [n, 32]. */
    void (*popcount)(const az_plane_strip *w, const az_plane_input *x, uint32_t *sum);
    /* x: [chunks, 2, digits, 16] what the four bits of a half chunk cost, for every value of the weight's four bits. */
    void (*lookup)(const az_plane_strip *w, const az_plane_input *x, uint32_t *sum);
    /* sum[v rows + r] = codes r of w . codes v of x, over cols of them */
    void (*codes)(const az_code_rows *w, const az_code_rows *x, int64_t cols, uint32_t *sum);
} az_plane_kernels;

extern const az_plane_kernels az_plane_kernels_portable;
#if defined(__x86_64__)
extern const az_plane_kernels az_plane_kernels_avx2, az_plane_kernels_bitalg;
#endif
const az_plane_kernels *az_plane_kernels_here(void);

#endif
