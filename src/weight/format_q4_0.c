/* format_q4_0.c - blocks of 32 values: a scale d (f16) and 16 bytes, whose lower nibbles q are values 0..15 and upper ones 16..31;
 * x = d (q - 8). 18 bytes, 4.5 bits a weight. */
#include "tensor/half.h"
#include "weight/kquant_search.h"
#include "weight/weight_internal.h"

#include <math.h>
#include <string.h>

static void decode_q4_0(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const unsigned char *blocks = (const unsigned char *)w->part[0]->data + first * (w->cols / AZ_BLOCK * AZ_Q4_0_BYTES);
    az_weight_kernels_here()->widen_q4_0(blocks, n * w->cols, out);
}

static int level(float x, float inverse)
{
    const float at = x * inverse + 8.5f;
    return at < 1 ? 0 : at < 15 ? (int)at : 15;
}

/* The step that is best for the levels it leads to, weighted by importance. */
static float weighted_step(const float *x, const float *importance)
{
    az_block block;
    az_block_normalize(&block, x, importance, AZ_BLOCK);
    const az_levels levels = {.low = -8, .high = 7};
    return ldexpf(az_fit_scale(block.value, block.weight, AZ_BLOCK, &levels).scale, block.exponent);
}

/* The entry of largest magnitude becomes -8: d = that / -8, q = min(15, trunc(x / d + 8.5)). With importance d is searched. */
static bool encode_block(const az_format *format, const float *x, const float *importance, unsigned char *out)
{
    (void)format;
    float extreme = 0;
    for (int j = 0; j < AZ_BLOCK; j++)
        if (fabsf(x[j]) > fabsf(extreme)) extreme = x[j];
    float d = extreme / -8;
    if (importance) d = weighted_step(x, importance);
    float inverse = d != 0 ? 1 / d : 0;
    if (!isfinite(inverse)) inverse = 0; /* a subnormal d, whose f16 is 0 anyway */
    const uint16_t half = az_f16_round(d);
    memcpy(out, &half, sizeof half);
    for (int j = 0; j < AZ_BLOCK / 2; j++) out[2 + j] = (unsigned char)(level(x[j], inverse) | level(x[j + AZ_BLOCK / 2], inverse) << 4);
    return isfinite(az_f16_widen(half));
}

const az_format az_format_q4_0 = {
    .name = "q4_0",
    .summary = "blocks of 32 four-bit values with one f16 scale, 4.5 bits a weight",
    .part_name = {"blocks"},
    .ggml_type = AZ_GGML_Q4_0,
    .block = AZ_BLOCK,
    .block_bytes = AZ_Q4_0_BYTES,
    .halves = 2,
    .decode = decode_q4_0,
    .rows_kernel = az_block_rows_kernel,
    .encode_block = encode_block,
    .check = az_check_blocks,
    .keeps_zeros = true,
};
