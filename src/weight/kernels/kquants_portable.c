/* kquants_portable.c - products with rows of q4_k and q6_k in plain C; the layouts are those of format_k.c. */
#include "tensor/half.h"
#include "weight/kernels/kernels.h"
#include "weight/weight_internal.h"

#include <string.h>

enum { VALUES = 256, SUBS = VALUES / AZ_BLOCK };

static float half_at(const unsigned char *from)
{
    uint16_t half;
    memcpy(&half, from, sizeof half);
    return az_f16_widen(half);
}

/* The scale and the minimum of sub-block j of q4_k. */
static int scale_at(const unsigned char *s, int j)
{
    return j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
}

static int minimum_at(const unsigned char *s, int j)
{
    return j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4;
}

/* A block . the 256 activations of a vector whose first 32 are block `at` of x */
static float block_q4_k(const unsigned char *block, const az_columns *x, int64_t at)
{
    float products = 0, minima = 0;
    for (int j = 0; j < SUBS; j++, at += x->n) {
        const unsigned char *nibbles = block + 16 + AZ_BLOCK * (j / 2);
        const int8_t *q = x->q + at * AZ_BLOCK;
        int32_t sum = 0;
        for (int l = 0; l < AZ_BLOCK; l++) sum += (nibbles[l] >> 4 * (j % 2) & 15) * q[l];
        products += (float)(scale_at(block + 4, j) * sum) * x->scale[at];
        minima += (float)minimum_at(block + 4, j) * x->total[at];
    }
    return half_at(block) * products - half_at(block + 2) * minima;
}

/* Eight times 32 values: group k of a half takes its lower bits from bytes 32 (k % 2) and its upper ones from bits 2 k of the third 32. */
static float block_q6_k(const unsigned char *block, const az_columns *x, int64_t at)
{
    float products = 0;
    for (int j = 0; j < SUBS; j++, at += x->n) {
        const int half = j / 4, k = j % 4;
        const unsigned char *low = block + 64 * half + AZ_BLOCK * (k % 2), *high = block + 128 + AZ_BLOCK * half;
        const int8_t *q = x->q + at * AZ_BLOCK, *s = (const int8_t *)block + 192 + 2 * j;
        int32_t sum[2] = {0};
        for (int l = 0; l < AZ_BLOCK; l++) sum[l / 16] += (((low[l] >> 4 * (k / 2) & 15) | (high[l] >> 2 * k & 3) << 4) - 32) * q[l];
        products += (float)(s[0] * sum[0] + s[1] * sum[1]) * x->scale[at];
    }
    return half_at(block + 208) * products;
}

static void rows_of(const unsigned char *row, int64_t count, const az_columns *x, float *y, int64_t y_stride, int64_t bytes,
                    float (*block)(const unsigned char *block, const az_columns *x, int64_t at))
{
    const int64_t blocks = x->cols / VALUES;
    for (int64_t r = 0; r < count; r++, row += blocks * bytes)
        for (int64_t j = 0; j < x->n; j++) {
            float sum = 0;
            for (int64_t b = 0; b < blocks; b++) sum += block(row + b * bytes, x, b * SUBS * x->n + j);
            y[j * y_stride + r] = sum;
        }
}

void az_rows_q4_k_portable(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_of(rows, count, x, y, y_stride, AZ_Q4_K_BYTES, block_q4_k);
}

void az_rows_q6_k_portable(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_of(rows, count, x, y, y_stride, AZ_Q6_K_BYTES, block_q6_k);
}
