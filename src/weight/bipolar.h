/* bipolar.h - codes as planes of bits whose values are odd numbers: what making, decoding and multiplying such weights share.
 *
 * A code u of n bits stands for v = 2 u - (2^n - 1), so that each bit counts +-2^j; w = scale v + offset. */
#ifndef ADZE_WEIGHT_BIPOLAR_H
#define ADZE_WEIGHT_BIPOLAR_H

#include "tensor/half.h"
#include "weight/kernels/planes.h"
#include "weight/weight_internal.h"

extern const az_format az_format_bipolar;

enum { BIPOLAR_PLANES, BIPOLAR_SCALES, BIPOLAR_OFFSETS, BIPOLAR_HOW };

/* The numbers of the part "how", in this order. */
typedef struct az_bipolar_how {
    int32_t weight_bits, activation_bits;
    int32_t kernel;            /* az_bipolar_kernel */
    int32_t activation_offset; /* 1: activations have an offset too, so that zero is one of their values */
} az_bipolar_how;
enum { AZ_BIPOLAR_HOW = sizeof(az_bipolar_how) / sizeof(int32_t) };

/* Where the bits of a weight lie (planes.h). */
typedef struct az_bipolar_layout {
    int planes, block;      /* chunks of a block: 32, or those of a group of fewer than 256 inputs */
    int64_t chunks;         /* of a row */
    int64_t group;          /* inputs that share a scale */
    int64_t groups, strips; /* of a row; of the matrix */
    int64_t strip_bytes;    /* of a strip: chunks * planes * 32 */
} az_bipolar_layout;
/* groups divides cols into groups of whole chunks that are whole blocks, or parts of one block: see az_bipolar_group_fits. */
az_bipolar_layout az_bipolar_layout_of(int64_t rows, int64_t cols, int bits, int64_t groups);
/* One group for all inputs, or a multiple of 8 up to 256 or of 256 beyond, that divides cols. */
bool az_bipolar_group_fits(int64_t cols, int64_t group);

az_bipolar_how az_bipolar_how_of(const az_weight *w);
az_bipolar_layout az_bipolar_layout_of_weight(const az_weight *w);
/* Of scales or offsets, f32 or f16. */
static inline float az_bipolar_value(const az_tensor *x, int64_t at)
{
    return x->dtype == AZ_F32 ? ((const float *)x->data)[at] : az_f16_widen(((const uint16_t *)x->data)[at]);
}

/* Codes [cols] of one row of a strip, and back: set wants zeroed bits. */
void az_bipolar_get_row(const az_bipolar_layout *l, const uint8_t *strip, int row, int64_t cols, uint8_t *code);
void az_bipolar_set_row(const az_bipolar_layout *l, uint8_t *strip, int row, int64_t cols, const uint8_t *code);

/* Vectors of activations as codes: x = scale v + offset. */
typedef struct az_bipolar_vectors {
    int64_t n, cols;
    uint8_t *code; /* [n, cols] */
    float *scale;  /* [n] */
    float *offset; /* [n] */
} az_bipolar_vectors;
/* Rounds x [n, cols], which must be finite: scale = largest magnitude / (2^bits - 1), of one bit the mean magnitude; with offsets from the
 * least to the largest value and zero. In the current scope. */
bool az_bipolar_round(az_ctx *az, const az_bipolar_how *how, const float *x, int64_t n, int64_t cols, az_bipolar_vectors *out);

/* Codes [cols] of a vector as the kernels want them (planes.h): [chunks, planes] bytes, and [chunks, 2, digits, 16]. */
void az_bipolar_lay_planes(const uint8_t *code, int64_t cols, int planes, uint8_t *to);
void az_bipolar_lay_tables(const uint8_t *code, int64_t cols, int planes, uint8_t *to);

void az_bipolar_matmul(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y);

#endif
