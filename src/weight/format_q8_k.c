/* format_q8_k.c - blocks of 256 values: a scale d (f32), 256 signed bytes q and the sums of each 16 of them (i16), which products use;
 * x = d q. 292 bytes, 9.125 bits a weight. A form for activations and intermediate results more than for files. */
#include "weight/kquant_search.h"
#include "weight/weight_internal.h"

#include <math.h>
#include <string.h>

enum { BYTES = AZ_Q8_K_BYTES, SUMS = 4 + AZ_K_BLOCK /* where they begin */ };

static void decode_q8_k(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const unsigned char *block = (const unsigned char *)w->part[0]->data + first * (w->cols / AZ_K_BLOCK * BYTES);
    for (int64_t i = 0; i < n * w->cols; i += AZ_K_BLOCK, block += BYTES) {
        float d;
        memcpy(&d, block, sizeof d);
        for (int j = 0; j < AZ_K_BLOCK; j++) out[i + j] = d * (float)(int8_t)block[4 + j];
    }
}

/* The entry of largest magnitude becomes -127: d = that / -127, q = round(x / d), ties to even. */
static bool encode_block(const az_format *format, const float *x, const float *importance, unsigned char *out)
{
    (void)format, (void)importance; /* steps are 1/254 of the range: the covering one is all but the best */
    float extreme = 0;
    for (int j = 0; j < AZ_K_BLOCK; j++)
        if (fabsf(x[j]) > fabsf(extreme)) extreme = x[j];
    const float inverse = extreme != 0 && isfinite(-127 / extreme) ? -127 / extreme : 0, d = inverse != 0 ? 1 / inverse : 0;
    int16_t sums[AZ_K_BLOCK / 16] = {0};
    memcpy(out, &d, sizeof d);
    for (int j = 0; j < AZ_K_BLOCK; j++) {
        const int q = (int)rintf(inverse * x[j]);
        out[4 + j] = (unsigned char)(int8_t)q;
        sums[j / 16] = (int16_t)(sums[j / 16] + q);
    }
    memcpy(out + SUMS, sums, sizeof sums);
    return true;
}

const az_format az_format_q8_k = {
    .name = "q8_k",
    .summary = "blocks of 256 signed bytes with one f32 scale, 9.125 bits a weight: an intermediate form",
    .part_name = {"blocks"},
    .ggml_type = AZ_GGML_Q8_K,
    .block = AZ_K_BLOCK,
    .block_bytes = BYTES,
    .decode = decode_q8_k,
    .rows_kernel = az_block_rows_kernel,
    .encode_block = encode_block,
    .check = az_check_blocks,
    .keeps_zeros = true,
};
