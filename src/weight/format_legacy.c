/* format_legacy.c - blocks of 32 values with one scale, and a minimum or none: q4_1, q5_0, q5_1.
 *
 * A block is d (f16), for q4_1 and q5_1 m (f16), for five bits 4 bytes with bit 4 of value j in bit j, and 16 bytes whose lower nibbles are
 * the lower bits of values 0..15 and upper ones those of 16..31. With v the whole number in the bits: q4_1, q5_1: x = d v + m; q5_0: x = d
 * (v - 16). */
#include "tensor/half.h"
#include "weight/kquant_search.h"
#include "weight/weight_internal.h"

#include <math.h>
#include <string.h>

typedef struct legacy_layout {
    int low, high; /* levels */
    bool minimum, fifth;
} legacy_layout;

static legacy_layout layout_of(const az_format *format)
{
    static const legacy_layout layouts[] = {
        [AZ_GGML_Q4_1] = {.high = 15, .minimum = true},
        [AZ_GGML_Q5_0] = {.low = -16, .high = 15, .fifth = true},
        [AZ_GGML_Q5_1] = {.high = 31, .minimum = true, .fifth = true},
    };
    return layouts[format->ggml_type];
}

static void decode_block(legacy_layout layout, const unsigned char *block, float *out)
{
    uint16_t d, m = 0;
    uint32_t fifth = 0;
    memcpy(&d, block, 2);
    block += 2;
    if (layout.minimum) memcpy(&m, block, 2), block += 2;
    if (layout.fifth) memcpy(&fifth, block, 4), block += 4;
    const float scale = az_f16_widen(d), minimum = az_f16_widen(m);
    for (int j = 0; j < AZ_BLOCK / 2; j++) {
        const int first = block[j] & 15, second = block[j] >> 4;
        out[j] = (float)((first | (int)(fifth >> j & 1) << 4) + layout.low) * scale;
        out[j + 16] = (float)((second | (int)(fifth >> (j + 16) & 1) << 4) + layout.low) * scale;
    }
    for (int j = 0; layout.minimum && j < AZ_BLOCK; j++) out[j] += minimum;
}

static void decode_legacy(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const legacy_layout layout = layout_of(w->format);
    const int64_t per_row = w->cols / AZ_BLOCK, bytes = w->format->block_bytes;
    const unsigned char *block = (const unsigned char *)w->part[0]->data + first * per_row * bytes;
    for (int64_t b = 0; b < n * per_row; b++) decode_block(layout, block + b * bytes, out + b * AZ_BLOCK);
}

static bool encode_block(const az_format *format, const float *x, const float *importance, unsigned char *out)
{
    const legacy_layout layout = layout_of(format);
    const az_levels levels = {.low = layout.low, .high = layout.high};
    az_block block;
    az_block_normalize(&block, x, importance, AZ_BLOCK);
    az_line line = layout.minimum ? az_fit_line(block.value, block.weight, AZ_BLOCK, layout.high, false)
                                  : az_fit_scale(block.value, block.weight, AZ_BLOCK, &levels);
    const uint16_t d = az_block_half(&block, line.scale, &line.scale), m = az_block_half(&block, -line.minimum, &line.minimum);
    line.minimum = -line.minimum;
    int8_t q[AZ_BLOCK];
    az_nearest_levels(block.value, AZ_BLOCK, line.scale != 0 ? 1 / line.scale : 0, line.minimum, &levels, q);
    memcpy(out, &d, 2);
    out += 2;
    if (layout.minimum) memcpy(out, &m, 2), out += 2;
    uint32_t fifth = 0;
    for (int j = 0; j < AZ_BLOCK; j++) fifth |= (uint32_t)((q[j] - layout.low) >> 4 & 1) << j;
    if (layout.fifth) memcpy(out, &fifth, 4), out += 4;
    for (int j = 0; j < AZ_BLOCK / 2; j++) out[j] = (unsigned char)(((q[j] - layout.low) & 15) | ((q[j + 16] - layout.low) & 15) << 4);
    return isfinite(line.scale) && isfinite(line.minimum);
}

const az_format az_format_q4_1 = {
    .name = "q4_1",
    .summary = "blocks of 32 four-bit values with an f16 scale and minimum, 5 bits a weight",
    .part_name = {"blocks"},
    .ggml_type = AZ_GGML_Q4_1,
    .block = AZ_BLOCK,
    .block_bytes = 20,
    .halves = 4,
    .decode = decode_legacy,
    .rows_kernel = az_block_rows_kernel,
    .encode_block = encode_block,
    .check = az_check_blocks,
};

const az_format az_format_q5_0 = {
    .name = "q5_0",
    .summary = "blocks of 32 five-bit values with one f16 scale, 5.5 bits a weight",
    .part_name = {"blocks"},
    .ggml_type = AZ_GGML_Q5_0,
    .block = AZ_BLOCK,
    .block_bytes = 22,
    .halves = 2,
    .decode = decode_legacy,
    .rows_kernel = az_block_rows_kernel,
    .encode_block = encode_block,
    .check = az_check_blocks,
    .keeps_zeros = true,
};

const az_format az_format_q5_1 = {
    .name = "q5_1",
    .summary = "blocks of 32 five-bit values with an f16 scale and minimum, 6 bits a weight",
    .part_name = {"blocks"},
    .ggml_type = AZ_GGML_Q5_1,
    .block = AZ_BLOCK,
    .block_bytes = 24,
    .halves = 4,
    .decode = decode_legacy,
    .rows_kernel = az_block_rows_kernel,
    .encode_block = encode_block,
    .check = az_check_blocks,
};
