/* format_q8_0.c - blocks of 32 values: a scale d (f16) and 32 signed bytes q; x = d q. 34 bytes, 8.5 bits a weight. */
#include "tensor/half.h"
#include "weight/weight_internal.h"

#include <math.h>
#include <string.h>

static void decode_q8_0(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const unsigned char *blocks = (const unsigned char *)w->part[0]->data + first * (w->cols / AZ_BLOCK * AZ_Q8_0_BYTES);
    az_weight_kernels_here()->widen_q8_0(blocks, n * w->cols, out);
}

static az_rows_kernel *rows_kernel(const az_format *format, int64_t n)
{
    (void)format;
    return az_worth_rounding(n) ? az_weight_kernels_here()->q8_0 : NULL;
}

/* roundf, in operations that vectorize: for magnitudes below 2^31. */
static int round_half_away(float x)
{
    const int whole = (int)x;
    const float rest = x - (float)whole;
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

/* d = max |x| / 127, q = round(x / d) with halves away from zero. */
static bool encode_block(const az_format *format, const float *x, const float *importance, unsigned char *out)
{
    (void)format, (void)importance; /* the scale that just covers the block is all but the best one under any importance: steps are 1/254 of
                                       the range */
    int32_t largest = 0;            /* the bits of magnitudes are ordered like them, and their maximum vectorizes */
    for (int j = 0; j < AZ_BLOCK; j++) {
        const int32_t magnitude = (int32_t)(az_bits_of_float(x[j]) & 0x7fffffffu);
        largest = magnitude > largest ? magnitude : largest;
    }
    const float d = az_float_of_bits((uint32_t)largest) / 127;
    float inverse = d > 0 ? 1 / d : 0;
    if (!isfinite(inverse)) inverse = 0; /* a subnormal d, whose f16 is 0 anyway */
    const uint16_t half = az_f16_round(d);
    memcpy(out, &half, sizeof half);
    for (int j = 0; j < AZ_BLOCK; j++) out[2 + j] = (unsigned char)round_half_away(x[j] * inverse);
    return isfinite(az_f16_widen(half));
}

static az_weight *encode_q8_0(az_ctx *az, const az_tensor *dense, const float *importance)
{
    return az_encode_blocks(az, &az_format_q8_0, dense, importance, encode_block);
}

const az_format az_format_q8_0 = {
    .name = "q8_0",
    .summary = "blocks of 32 signed bytes with one f16 scale, 8.5 bits a weight",
    .part_name = {"blocks"},
    .ggml_type = 8,
    .block = AZ_BLOCK,
    .block_bytes = AZ_Q8_0_BYTES,
    .decode = decode_q8_0,
    .rows_kernel = rows_kernel,
    .encode = encode_q8_0,
    .check = az_check_blocks,
    .keeps_zeros = true,
};
