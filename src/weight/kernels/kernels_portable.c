/* kernels_portable.c - the kernels in plain C, for every processor. */
#include "tensor/half.h"
#include "weight/kernels/kernels.h"
#include "weight/weight_internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

static void widen_f16(const uint16_t *from, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i++) to[i] = az_f16_widen(from[i]);
}

static void widen_bf16(const uint16_t *from, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i++) to[i] = az_bf16_widen(from[i]);
}

static float block_scale(const unsigned char *block)
{
    uint16_t half;
    memcpy(&half, block, sizeof half);
    return az_f16_widen(half);
}

void az_widen_levels_portable(const int8_t *level, int64_t n, float step, float minimum, float *to)
{
    for (int64_t i = 0; i < n; i++) to[i] = step * (float)level[i] - minimum;
}

static void widen_q8_0(const unsigned char *block, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i += AZ_BLOCK, block += AZ_Q8_0_BYTES) {
        const float d = block_scale(block);
        const int8_t *q = (const int8_t *)block + 2;
        for (int j = 0; j < AZ_BLOCK; j++) to[i + j] = d * (float)q[j];
    }
}

static void widen_q4_0(const unsigned char *block, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i += AZ_BLOCK, block += AZ_Q4_0_BYTES) {
        const float d = block_scale(block);
        for (int j = 0; j < AZ_BLOCK / 2; j++) {
            to[i + j] = d * (float)((block[2 + j] & 15) - 8);
            to[i + j + AZ_BLOCK / 2] = d * (float)((block[2 + j] >> 4) - 8);
        }
    }
}

/* roundf, in operations that vectorize: for magnitudes below 2^31. */
static int round_half_away(float x)
{
    const int whole = (int)x;
    const float rest = x - (float)whole;
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

bool az_encode_q8_0_portable(const float *x, unsigned char *block)
{
    int32_t largest = 0; /* the bits of magnitudes are ordered like them, and their maximum vectorizes */
    for (int j = 0; j < AZ_BLOCK; j++) {
        const int32_t magnitude = (int32_t)(az_bits_of_float(x[j]) & 0x7fffffffu);
        largest = magnitude > largest ? magnitude : largest;
    }
    const float d = az_float_of_bits((uint32_t)largest) / 127;
    float inverse = d > 0 ? 1 / d : 0;
    if (!isfinite(inverse)) inverse = 0; /* a subnormal d, whose f16 is 0 anyway */
    const uint16_t half = az_f16_round(d);
    memcpy(block, &half, sizeof half);
    for (int j = 0; j < AZ_BLOCK; j++) block[2 + j] = (unsigned char)round_half_away(x[j] * inverse);
    return isfinite(az_f16_widen(half));
}

static void round_block(const float *value, const az_columns *x, int64_t at)
{
    float largest = 0, poison = 0; /* poison: 0, or NaN when a value is not finite */
    for (int i = 0; i < AZ_BLOCK; i++) {
        largest = fmaxf(largest, fabsf(value[i]));
        poison += 0 * value[i];
    }
    const float inverse = largest >= FLT_MIN && isfinite(largest) ? 127 / largest : 0;
    int16_t sum[2][2] = {{0}};
    for (int i = 0; i < AZ_BLOCK; i++) {
        const int8_t q = (int8_t)(isfinite(value[i]) ? rintf(value[i] * inverse) : 0);
        x->q[at * AZ_BLOCK + i] = q;
        sum[i / (AZ_BLOCK / 2)][i / 2 % 2] = (int16_t)(sum[i / (AZ_BLOCK / 2)][i / 2 % 2] + q);
    }
    x->scale[at] = largest / 127 + poison;
    az_block_totals(x, at, sum);
}

static void round_to_bytes(const az_columns *x, int64_t first, int64_t count)
{
    for (int64_t b = first; b < first + count; b++)
        for (int64_t j = 0; j < x->n; j++) round_block(x->value + j * x->cols + b * AZ_BLOCK, x, b * x->n + j);
}

/* Eight running sums, so that a compiler can keep them in vectors. */
static float dot(const float *a, const float *b, int64_t n)
{
    float sum[8] = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++) sum[j] += a[i + j] * b[i + j];
    for (; i < n; i++) sum[0] += a[i] * b[i];
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

static void rows_f32(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    const float *row = rows;
    for (int64_t r = 0; r < count; r++, row += x->cols)
        for (int64_t j = 0; j < x->n; j++) y[j * y_stride + r] = dot(row, x->value + j * x->cols, x->cols);
}

/* Rows of 16-bit values, widened in pieces that stay in the first cache. */
static void rows_16(const uint16_t *row, int64_t count, const az_columns *x, float *y, int64_t y_stride,
                    void (*widen)(const uint16_t *from, int64_t n, float *to))
{
    enum { PIECE = 512 };
    float wide[PIECE];
    for (int64_t r = 0; r < count; r++, row += x->cols) {
        for (int64_t j = 0; j < x->n; j++) y[j * y_stride + r] = 0;
        for (int64_t at = 0; at < x->cols; at += PIECE) {
            const int64_t n = at + PIECE <= x->cols ? PIECE : x->cols - at;
            widen(row + at, n, wide);
            for (int64_t j = 0; j < x->n; j++) y[j * y_stride + r] += dot(wide, x->value + j * x->cols + at, n);
        }
    }
}

static void rows_f16(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_16(rows, count, x, y, y_stride, widen_f16);
}

static void rows_bf16(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_16(rows, count, x, y, y_stride, widen_bf16);
}

static void rows_q8_0(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    const int64_t blocks = x->cols / AZ_BLOCK;
    for (int64_t r = 0; r < count; r++)
        for (int64_t j = 0; j < x->n; j++) {
            const unsigned char *block = (const unsigned char *)rows + r * blocks * AZ_Q8_0_BYTES;
            float sum = 0;
            for (int64_t b = 0; b < blocks; b++, block += AZ_Q8_0_BYTES) {
                const int8_t *q = x->q + (b * x->n + j) * AZ_BLOCK;
                const int8_t *w = (const int8_t *)block + 2;
                int32_t products = 0;
                for (int i = 0; i < AZ_BLOCK; i++) products += w[i] * q[i];
                sum += block_scale(block) * x->scale[b * x->n + j] * (float)products;
            }
            y[j * y_stride + r] = sum;
        }
}

static void rows_q4_0(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    const int64_t blocks = x->cols / AZ_BLOCK;
    for (int64_t r = 0; r < count; r++)
        for (int64_t j = 0; j < x->n; j++) {
            const unsigned char *block = (const unsigned char *)rows + r * blocks * AZ_Q4_0_BYTES;
            float sum = 0;
            for (int64_t b = 0; b < blocks; b++, block += AZ_Q4_0_BYTES) {
                const int8_t *q = x->q + (b * x->n + j) * AZ_BLOCK;
                int32_t products = 0;
                for (int i = 0; i < AZ_BLOCK / 2; i++)
                    products += ((block[2 + i] & 15) - 8) * q[i] + ((block[2 + i] >> 4) - 8) * q[i + AZ_BLOCK / 2];
                sum += block_scale(block) * x->scale[b * x->n + j] * (float)products;
            }
            y[j * y_stride + r] = sum;
        }
}

void az_kept_portable(const az_kept_rows *rows, const az_columns *x, float *y, int64_t y_stride)
{
    const int64_t mask_bytes = (x->cols + 7) / 8;
    for (int64_t r = 0; r < rows->count; r++)
        for (int64_t j = 0; j < x->n; j++) {
            const uint16_t *value = rows->value + r * rows->per_row;
            const uint8_t *mask = rows->mask + r * mask_bytes;
            float sum = 0;
            for (int64_t c = 0; c < x->cols; c++) {
                if (!(mask[c / 8] >> c % 8 & 1)) continue;
                sum += (rows->bf16 ? az_bf16_widen(*value) : az_f16_widen(*value)) * x->value[j * x->cols + c];
                value++;
            }
            y[j * y_stride + r] = sum;
        }
}

void az_widen_kept_portable(const az_kept_rows *rows, int64_t cols, float *to)
{
    const uint16_t *value = rows->value;
    for (int64_t r = 0; r < rows->count; r++, to += cols) {
        const uint8_t *mask = rows->mask + r * ((cols + 7) / 8);
        for (int64_t c = 0; c < cols; c++) {
            const bool kept = mask[c / 8] >> c % 8 & 1;
            to[c] = !kept ? 0 : rows->bf16 ? az_bf16_widen(*value) : az_f16_widen(*value);
            value += kept;
        }
    }
}

void az_arrange_fours(const float *x, int64_t n, int64_t cols, float *to)
{
    memset(to, 0, (size_t)(n * az_fours(cols)) * sizeof *to);
    for (int64_t j = 0; j < n; j++, x += cols, to += az_fours(cols))
        for (int64_t c = 0; c < cols; c++) {
            const int64_t group = c / 4 % 4, moved = group == 1 ? 4 : group == 2 ? -4 : 0;
            to[c + moved] = x[c];
        }
}

const az_weight_kernels az_weight_kernels_portable = {
    .name = "portable",
    .kept = az_kept_portable,
    .widen_kept = az_widen_kept_portable,
    .f32 = rows_f32,
    .f16 = rows_f16,
    .bf16 = rows_bf16,
    .blocks = {[AZ_GGML_Q8_0] = {rows_q8_0},
               [AZ_GGML_Q4_0] = {rows_q4_0},
               [AZ_GGML_Q4_K] = {az_rows_q4_k_portable},
               [AZ_GGML_Q6_K] = {az_rows_q6_k_portable}},
    .most_rounded = 10,
    .round_to_bytes = round_to_bytes,
    .encode_q8_0 = az_encode_q8_0_portable,
    .widen_f16 = widen_f16,
    .widen_bf16 = widen_bf16,
    .widen_q8_0 = widen_q8_0,
    .widen_q4_0 = widen_q4_0,
    .widen_levels = az_widen_levels_portable,
};
