/* format_q8_0.c - blocks of 32 values: a scale d (f16) and 32 signed bytes q; x = d q. 34 bytes, 8.5 bits a weight. */
#include "weight/weight_internal.h"

static void decode_q8_0(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const unsigned char *blocks = (const unsigned char *)w->part[0]->data + first * (w->cols / AZ_BLOCK * AZ_Q8_0_BYTES);
    az_weight_kernels_here()->widen_q8_0(blocks, n * w->cols, out);
}

/* The scale that just covers the block is all but the best one under any importance: steps are 1/254 of the range. */
static bool encode_block(const az_format *format, const float *x, const float *importance, unsigned char *out)
{
    (void)format, (void)importance;
    return az_weight_kernels_here()->encode_q8_0(x, out);
}

const az_format az_format_q8_0 = {
    .name = "q8_0",
    .summary = "blocks of 32 signed bytes with one f16 scale, 8.5 bits a weight",
    .part_name = {"blocks"},
    .ggml_type = AZ_GGML_Q8_0,
    .block = AZ_BLOCK,
    .block_bytes = AZ_Q8_0_BYTES,
    .decode = decode_q8_0,
    .rows_kernel = az_block_rows_kernel,
    .encode_block = encode_block,
    .check = az_check_blocks,
    .keeps_zeros = true,
};
