/* format_iq4_nl.c - blocks of 32 values: a scale d (f16) and 16 bytes, whose lower nibbles are indices of values 0..15 in a table of 16
 * levels and upper ones those of 16..31; x = d level. 18 bytes, 4.5 bits a weight. The levels are denser around zero, as weights are. */
#include "tensor/half.h"
#include "weight/kquant_search.h"
#include "weight/weight_internal.h"

#include <math.h>
#include <string.h>

enum { BYTES = 18 };

const int8_t az_iq4_nl_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void decode_iq4_nl(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const unsigned char *block = (const unsigned char *)w->part[0]->data + first * (w->cols / AZ_BLOCK * BYTES);
    for (int64_t i = 0; i < n * w->cols; i += AZ_BLOCK, block += BYTES) {
        uint16_t half;
        memcpy(&half, block, 2);
        const float d = az_f16_widen(half);
        for (int j = 0; j < AZ_BLOCK / 2; j++) {
            out[i + j] = d * (float)az_iq4_nl_levels[block[2 + j] & 15];
            out[i + j + 16] = d * (float)az_iq4_nl_levels[block[2 + j] >> 4];
        }
    }
}

static bool encode_block(const az_format *format, const float *x, const float *importance, unsigned char *out)
{
    (void)format;
    const az_levels levels = {.table = az_iq4_nl_levels};
    az_block block;
    az_block_normalize(&block, x, importance, AZ_BLOCK);
    float d = az_fit_scale(block.value, block.weight, AZ_BLOCK, &levels).scale;
    const uint16_t half = az_block_half(&block, d, &d);
    int8_t q[AZ_BLOCK];
    az_nearest_levels(block.value, AZ_BLOCK, d != 0 ? 1 / d : 0, 0, &levels, q);
    memcpy(out, &half, 2);
    for (int j = 0; j < AZ_BLOCK / 2; j++) out[2 + j] = (unsigned char)(q[j] | q[j + 16] << 4);
    return isfinite(d);
}

const az_format az_format_iq4_nl = {
    .name = "iq4_nl",
    .summary = "blocks of 32 four-bit indices into a table of levels with one f16 scale, 4.5 bits a weight",
    .part_name = {"blocks"},
    .ggml_type = AZ_GGML_IQ4_NL,
    .block = AZ_BLOCK,
    .block_bytes = BYTES,
    .halves = 2,
    .decode = decode_iq4_nl,
    .rows_kernel = az_block_rows_kernel,
    .encode_block = encode_block,
    .check = az_check_blocks,
};
