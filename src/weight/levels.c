/* levels.c - formats whose values are a scale times a whole number (q8_0, q5_0, q4_0), taken apart and put together without rounding: how
 * other programs' files, which keep numbers and scales in tensors of their own, become blocks and back. */
#include "weight/weight_internal.h"

#include <math.h>
#include <string.h>

int az_format_level_bits(const az_format *format)
{
    return format == &az_format_q8_0 ? 8 : format == &az_format_q5_0 ? 5 : format == &az_format_q4_0 ? 4 : 0;
}

/* A block of 32 from behind its scale: q8_0 has signed bytes; the others an offset, halves of the block in the lower and upper nibbles, and
 * q5_0 the fifth bits in front of them. */
static void read_levels(int bits, const unsigned char *block, int8_t *level)
{
    if (bits == 8) {
        memcpy(level, block, AZ_BLOCK);
        return;
    }
    uint32_t fifth = 0;
    if (bits == 5) memcpy(&fifth, block, sizeof fifth), block += sizeof fifth;
    for (int j = 0; j < AZ_BLOCK; j++) {
        const int nibble = j < 16 ? block[j] & 15 : block[j - 16] >> 4, high = (int)(fifth >> j & 1) << 4;
        level[j] = (int8_t)((nibble | high) - (1 << (bits - 1)));
    }
}

static void write_levels(int bits, const int8_t *level, unsigned char *block)
{
    if (bits == 8) {
        memcpy(block, level, AZ_BLOCK);
        return;
    }
    uint32_t fifth = 0;
    unsigned char raised[AZ_BLOCK];
    for (int j = 0; j < AZ_BLOCK; j++) {
        raised[j] = (unsigned char)(level[j] + (1 << (bits - 1)));
        fifth |= (uint32_t)(raised[j] >> 4 & 1) << j;
    }
    if (bits == 5) memcpy(block, &fifth, sizeof fifth), block += sizeof fifth;
    for (int j = 0; j < 16; j++) block[j] = (unsigned char)((raised[j] & 15) | (raised[j + 16] & 15) << 4);
}

bool az_weight_levels(az_ctx *az, const az_weight *w, az_tensor **level, az_tensor **scale)
{
    if (!w) return false;
    const int bits = az_format_level_bits(w->format);
    if (bits == 0) return az_fail(az, AZ_BAD_CALL, "the values of %s are not a scale times a whole number", w->format->name);
    const int64_t per_row = w->cols / AZ_BLOCK;
    *level = az_new2(az, AZ_I8, w->rows, w->cols);
    *scale = az_new2(az, AZ_F16, w->rows, per_row);
    if (!*level || !*scale) return false;
    int8_t *levels = (*level)->data;
    uint16_t *scales = (*scale)->data;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t b = 0; b < w->rows * per_row; b++) {
        const unsigned char *block = (const unsigned char *)w->part[0]->data + b * w->format->block_bytes;
        memcpy(&scales[b], block, sizeof *scales);
        read_levels(bits, block + 2, levels + b * AZ_BLOCK);
    }
    return true;
}

static bool levels_fit(az_ctx *az, const az_format *format, const az_tensor *level, const az_tensor *scale)
{
    const int bits = az_format_level_bits(format);
    const bool fits = bits > 0 && level->dtype == AZ_I8 && level->rank == 2 && az_is_contiguous(level) && scale->dtype == AZ_F16 &&
                      scale->rank == 2 && az_is_contiguous(scale) && level->shape[0] == scale->shape[0] &&
                      level->shape[1] == scale->shape[1] * AZ_BLOCK;
    if (!fits)
        az_fail(az, AZ_BAD_CALL, "%s from i8 [rows, cols] and f16 [rows, cols / 32]: got %s %s and %s %s", format->name,
                az_dtype_name(level->dtype), az_shape_text(az, level), az_dtype_name(scale->dtype), az_shape_text(az, scale));
    return fits;
}

az_weight *az_weight_from_levels(az_ctx *az, const az_format *format, const az_tensor *level, const az_tensor *scale)
{
    if (!level || !scale || !levels_fit(az, format, level, scale)) return NULL;
    const int bits = az_format_level_bits(format);
    const int64_t rows = level->shape[0], per_row = scale->shape[1];
    az_tensor *blocks = az_new2(az, AZ_U8, rows, per_row * format->block_bytes);
    if (!blocks) return NULL;
    const int8_t *levels = level->data;
    const uint16_t *scales = scale->data;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t b = 0; b < rows * per_row; b++) {
        unsigned char *block = (unsigned char *)blocks->data + b * format->block_bytes;
        memcpy(block, &scales[b], sizeof *scales);
        write_levels(bits, levels + b * AZ_BLOCK, block + 2);
    }
    return az_weight_from_parts(az, format, rows, level->shape[1], &blocks);
}
