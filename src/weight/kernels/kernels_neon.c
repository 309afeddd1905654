/* kernels_neon.c - the kernels for aarch64, with the vector instructions that each such processor has.
 *
 * Every piece of a row is widened once for up to four vectors of activations. A result has the same sums for any number of them, so that it
 * does not depend on the company it is computed in. */
#include "tensor/half.h"
#include "weight/kernels/kernels.h"
#include "weight/weight_internal.h"

#include <arm_neon.h>
#include <float.h>
#include <math.h>
#include <string.h>

enum { AHEAD = 1024, GROUP = 4 }; /* bytes of prefetch; vectors of activations that share a pass over a row */

/* ---- rows of floating-point numbers -------------------------------------------------------------------------------------------- */

typedef enum element { F32, F16, BF16 } element;

static inline float32x4_t load4(element type, const void *from)
{
    if (type == F32) return vld1q_f32(from);
    const uint16x4_t half = vld1_u16(from);
    if (type == F16) return vcvt_f32_f16(vreinterpret_f16_u16(half));
    return vreinterpretq_f32_u32(vshll_n_u16(half, 16));
}

static inline float load1(element type, const void *from)
{
    if (type == F32) return *(const float *)from;
    return type == F16 ? az_f16_widen(*(const uint16_t *)from) : az_bf16_widen(*(const uint16_t *)from);
}

/* One row with n <= GROUP vectors; type and n are constants where this is inlined. */
static inline __attribute__((always_inline)) void row_float(element type, int n, const char *row, int64_t cols, const float *x, float *y,
                                                            int64_t y_stride)
{
    enum { SUMS = 4, STEP = 4 * SUMS };
    const int64_t size = type == F32 ? 4 : 2;
    float32x4_t sum[GROUP][SUMS];
    for (int j = 0; j < n; j++)
        for (int s = 0; s < SUMS; s++) sum[j][s] = vdupq_n_f32(0);
    int64_t i = 0;
    for (; i + STEP <= cols; i += STEP) {
        __builtin_prefetch(row + i * size + AHEAD);
        for (int s = 0; s < SUMS; s++) {
            const float32x4_t w = load4(type, row + (i + 4 * s) * size);
            for (int j = 0; j < n; j++) sum[j][s] = vfmaq_f32(sum[j][s], w, vld1q_f32(x + j * cols + i + 4 * s));
        }
    }
    for (int j = 0; j < n; j++) {
        float total = vaddvq_f32(vaddq_f32(vaddq_f32(sum[j][0], sum[j][1]), vaddq_f32(sum[j][2], sum[j][3])));
        for (int64_t k = i; k < cols; k++) total += load1(type, row + k * size) * x[j * cols + k];
        y[j * y_stride] = total;
    }
}

static inline __attribute__((always_inline)) void rows_float(element type, const void *rows, int64_t count, const az_columns *x, float *y,
                                                             int64_t y_stride)
{
    const int64_t bytes = x->cols * (type == F32 ? 4 : 2);
    const char *row = rows;
    for (int64_t r = 0; r < count; r++, row += bytes) {
        int64_t j = 0;
        for (; j + 4 <= x->n; j += 4) row_float(type, 4, row, x->cols, x->value + j * x->cols, y + j * y_stride + r, y_stride);
        for (; j + 2 <= x->n; j += 2) row_float(type, 2, row, x->cols, x->value + j * x->cols, y + j * y_stride + r, y_stride);
        for (; j < x->n; j++) row_float(type, 1, row, x->cols, x->value + j * x->cols, y + j * y_stride + r, y_stride);
    }
}

static void rows_f32(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_float(F32, rows, count, x, y, y_stride);
}

static void rows_f16(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_float(F16, rows, count, x, y, y_stride);
}

static void rows_bf16(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_float(BF16, rows, count, x, y, y_stride);
}

/* ---- rows of blocks -------------------------------------------------------------------------------------------------------------- */

typedef enum blocks { Q8_0, Q4_0 } blocks;

static inline float block_scale(const unsigned char *block)
{
    uint16_t half;
    memcpy(&half, block, sizeof half);
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half))), 0);
}

/* The 32 levels of a block: bytes of q8_0; nibbles of q4_0 less 8, the lower ones first. */
static inline int8x16x2_t block_levels(blocks type, const unsigned char *block)
{
    if (type == Q8_0) return (int8x16x2_t){{vld1q_s8((const int8_t *)block + 2), vld1q_s8((const int8_t *)block + 18)}};
    const uint8x16_t packed = vld1q_u8(block + 2);
    const int8x16_t low = vreinterpretq_s8_u8(vandq_u8(packed, vdupq_n_u8(15))), high = vreinterpretq_s8_u8(vshrq_n_u8(packed, 4));
    return (int8x16x2_t){{vsubq_s8(low, vdupq_n_s8(8)), vsubq_s8(high, vdupq_n_s8(8))}};
}

/* Exact sums of the products of 32 bytes, in four lanes. A 16-bit lane holds two products: at most 2 * 128 * 127 = 32512. */
static inline int32x4_t block_products(int8x16x2_t w, const int8_t *q)
{
    int32x4_t sum = vdupq_n_s32(0);
    for (int half = 0; half < 2; half++) {
        const int8x16_t x = vld1q_s8(q + 16 * half);
        const int16x8_t two = vmull_s8(vget_low_s8(w.val[half]), vget_low_s8(x));
        sum = vpadalq_s16(sum, vmlal_high_s8(two, w.val[half], x));
    }
    return sum;
}

/* Vectors j0 .. j0 + n - 1 with one row; type and n are constants where this is inlined. */
static inline __attribute__((always_inline)) void row_blocks(blocks type, int n, const unsigned char *row, const az_columns *x, int64_t j0,
                                                             float *y, int64_t y_stride)
{
    const int64_t count = x->cols / AZ_BLOCK, bytes = type == Q8_0 ? AZ_Q8_0_BYTES : AZ_Q4_0_BYTES;
    float32x4_t sum[GROUP];
    for (int j = 0; j < n; j++) sum[j] = vdupq_n_f32(0);
    for (int64_t b = 0; b < count; b++, row += bytes) {
        __builtin_prefetch(row + AHEAD);
        const int8x16x2_t levels = block_levels(type, row);
        const float d = block_scale(row);
        for (int j = 0; j < n; j++) {
            const int64_t at = b * x->n + j0 + j;
            const float32x4_t products = vcvtq_f32_s32(block_products(levels, x->q + at * AZ_BLOCK));
            sum[j] = vfmaq_n_f32(sum[j], products, d * x->scale[at]);
        }
    }
    for (int j = 0; j < n; j++) y[(j0 + j) * y_stride] = vaddvq_f32(sum[j]);
}

static inline __attribute__((always_inline)) void rows_blocks(blocks type, const void *rows, int64_t count, const az_columns *x, float *y,
                                                              int64_t y_stride)
{
    const int64_t bytes = x->cols / AZ_BLOCK * (type == Q8_0 ? AZ_Q8_0_BYTES : AZ_Q4_0_BYTES);
    const unsigned char *row = rows;
    for (int64_t r = 0; r < count; r++, row += bytes) {
        int64_t j = 0;
        for (; j + 4 <= x->n; j += 4) row_blocks(type, 4, row, x, j, y + r, y_stride);
        for (; j + 2 <= x->n; j += 2) row_blocks(type, 2, row, x, j, y + r, y_stride);
        for (; j < x->n; j++) row_blocks(type, 1, row, x, j, y + r, y_stride);
    }
}

static void rows_q8_0(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_blocks(Q8_0, rows, count, x, y, y_stride);
}

static void rows_q4_0(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_blocks(Q4_0, rows, count, x, y, y_stride);
}

/* ---- activations to bytes ---------------------------------------------------------------------------------------------------------- */

/* Sixteen values within -127 .. 127, four by four, to bytes in order. */
static inline int8x16_t narrow(const int32x4_t v[4])
{
    const int16x8_t first = vcombine_s16(vmovn_s32(v[0]), vmovn_s32(v[1])), second = vcombine_s16(vmovn_s32(v[2]), vmovn_s32(v[3]));
    return vcombine_s8(vmovn_s16(first), vmovn_s16(second));
}

static void round_block(const float *value, const az_columns *x, int64_t at)
{
    float32x4_t v[8], largest = vdupq_n_f32(0), poison = vdupq_n_f32(0);
    for (int i = 0; i < 8; i++) {
        v[i] = vld1q_f32(value + 4 * i);
        largest = vmaxnmq_f32(largest, vabsq_f32(v[i]));
        poison = vfmaq_f32(poison, v[i], vdupq_n_f32(0)); /* 0, or NaN when a value is not finite */
    }
    const float top = vmaxnmvq_f32(largest), inverse = top >= FLT_MIN && isfinite(top) ? 127 / top : 0;
    int16_t sum[2][2];
    for (int half = 0; half < 2; half++) {
        int32x4_t whole[4]; /* a NaN becomes 0 */
        for (int i = 0; i < 4; i++) whole[i] = vcvtnq_s32_f32(vmulq_n_f32(v[4 * half + i], inverse));
        const int8x16_t bytes = narrow(whole);
        vst1q_s8(x->q + at * AZ_BLOCK + 16 * half, bytes);
        const int16x8_t pairs = vpaddlq_s8(bytes);
        sum[half][0] = vaddv_s16(vget_low_s16(vuzp1q_s16(pairs, pairs)));
        sum[half][1] = vaddv_s16(vget_low_s16(vuzp2q_s16(pairs, pairs)));
    }
    x->scale[at] = top / 127 + vaddvq_f32(poison);
    az_block_totals(x, at, sum);
}

static void round_to_bytes(const az_columns *x, int64_t first, int64_t count)
{
    for (int64_t b = first; b < first + count; b++)
        for (int64_t j = 0; j < x->n; j++) round_block(x->value + j * x->cols + b * AZ_BLOCK, x, b * x->n + j);
}

/* ---- widening ---------------------------------------------------------------------------------------------------------------------- */

static void widen_f16(const uint16_t *from, int64_t n, float *to)
{
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(to + i, load4(F16, from + i));
    for (; i < n; i++) to[i] = az_f16_widen(from[i]);
}

static void widen_bf16(const uint16_t *from, int64_t n, float *to)
{
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(to + i, load4(BF16, from + i));
    for (; i < n; i++) to[i] = az_bf16_widen(from[i]);
}

static inline __attribute__((always_inline)) void widen_blocks(blocks type, const unsigned char *block, int64_t n, float *to)
{
    for (int64_t i = 0; i < n; i += AZ_BLOCK, block += type == Q8_0 ? AZ_Q8_0_BYTES : AZ_Q4_0_BYTES) {
        const int8x16x2_t levels = block_levels(type, block);
        const float d = block_scale(block);
        for (int half = 0; half < 2; half++) {
            const int16x8_t wide[2] = {vmovl_s8(vget_low_s8(levels.val[half])), vmovl_high_s8(levels.val[half])};
            for (int k = 0; k < 2; k++) {
                vst1q_f32(to + i + 16 * half + 8 * k, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide[k]))), d));
                vst1q_f32(to + i + 16 * half + 8 * k + 4, vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(wide[k])), d));
            }
        }
    }
}

static void widen_q8_0(const unsigned char *block, int64_t n, float *to)
{
    widen_blocks(Q8_0, block, n, to);
}

static void widen_q4_0(const unsigned char *block, int64_t n, float *to)
{
    widen_blocks(Q4_0, block, n, to);
}

const az_weight_kernels az_weight_kernels_neon = {
    .name = "neon",
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
