/* format_grid.c - scalar quantization on a grid for each group of inputs: w = scale (code - zero), codes of 1 to 8 bits.
 *
 * Parts: codes [rows, ceil(cols bits / 8)], bit i of a row's stream is bit i % 8 of byte i / 8, low bits of a code first; scales and zeros
 * [rows, groups], cols a multiple of groups; bits i32 [1]. */
#include "weight/weight_internal.h"

enum { CODES, SCALES, ZEROS, BITS };

static int bits_of(const az_weight *w)
{
    return *(const int32_t *)w->part[BITS]->data;
}

/* Codes may straddle two bytes. */
int az_grid_code(const az_weight *w, int64_t row, int64_t col)
{
    const int64_t bits = bits_of(w), bytes = w->part[CODES]->shape[1], at = col * bits;
    const uint8_t *from = (const uint8_t *)w->part[CODES]->data + row * bytes + at / 8;
    const unsigned pair = from[0] | (at % 8 + bits > 8 ? (unsigned)from[1] << 8 : 0);
    return (int)(pair >> at % 8 & ((1u << bits) - 1));
}

void az_grid_set_code(az_weight *w, int64_t row, int64_t col, int code)
{
    const int64_t bits = bits_of(w), bytes = w->part[CODES]->shape[1], at = col * bits;
    uint8_t *to = (uint8_t *)w->part[CODES]->data + row * bytes + at / 8;
    const unsigned mask = ((1u << bits) - 1) << at % 8, value = (unsigned)code << at % 8;
    to[0] = (uint8_t)((to[0] & ~mask) | (value & mask & 255));
    if (at % 8 + bits > 8) to[1] = (uint8_t)((to[1] & ~(mask >> 8)) | (value >> 8 & mask >> 8));
}

az_weight *az_grid_new(az_ctx *az, int64_t rows, int64_t cols, int bits, int64_t groups)
{
    az_tensor *const parts[AZ_WEIGHT_PARTS] = {
        az_zeros(az, AZ_U8, 2, (const int64_t[]){rows, (cols * bits + 7) / 8}), az_zeros(az, AZ_F32, 2, (const int64_t[]){rows, groups}),
        az_zeros(az, AZ_F32, 2, (const int64_t[]){rows, groups}), az_from(az, AZ_I32, 1, (const int64_t[]){1}, &(int32_t){bits})};
    return az_weight_from_parts(az, &az_format_grid, rows, cols, parts);
}

static float value_at(const az_tensor *x, int64_t i)
{
    return x->dtype == AZ_F32 ? ((const float *)x->data)[i] : az_half_to_float(((const uint16_t *)x->data)[i]);
}

static void decode_grid(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const int64_t groups = w->part[SCALES]->shape[1], width = w->cols / groups;
    for (int64_t r = first; r < first + n; r++)
        for (int64_t g = 0; g < groups; g++) {
            const float scale = value_at(w->part[SCALES], r * groups + g), zero = value_at(w->part[ZEROS], r * groups + g);
            for (int64_t j = g * width; j < (g + 1) * width; j++) *out++ = scale * ((float)az_grid_code(w, r, j) - zero);
        }
}

static bool fits_groups(const az_weight *w, const az_tensor *x)
{
    return (x->dtype == AZ_F32 || x->dtype == AZ_F16) && x->rank == 2 && az_is_contiguous(x) && x->shape[0] == w->rows &&
           x->shape[1] >= 1 && x->shape[1] == w->part[SCALES]->shape[1] && w->cols % x->shape[1] == 0;
}

static bool check_grid(az_ctx *az, const az_weight *w)
{
    const az_tensor *bits = w->part[BITS], *codes = w->part[CODES];
    if (bits->dtype != AZ_I32 || az_count(bits) != 1 || bits_of(w) < 1 || bits_of(w) > 8)
        return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld] of format grid: 1 to 8 bits are known", (long long)w->rows,
                       (long long)w->cols);
    const bool fits = codes->dtype == AZ_U8 && codes->rank == 2 && az_is_contiguous(codes) && codes->shape[0] == w->rows &&
                      codes->shape[1] == (w->cols * bits_of(w) + 7) / 8;
    if (fits && fits_groups(w, w->part[SCALES]) && fits_groups(w, w->part[ZEROS])) return true;
    return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld] of format grid: codes %s %s, scales %s and zeros %s do not fit",
                   (long long)w->rows, (long long)w->cols, az_dtype_name(codes->dtype), az_shape_text(az, codes),
                   az_shape_text(az, w->part[SCALES]), az_shape_text(az, w->part[ZEROS]));
}

const az_format az_format_grid = {
    .name = "grid",
    .summary = "codes of 1 to 8 bits on a grid of their own for each group of inputs",
    .part_name = {"codes", "scales", "zeros", "bits"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_grid,
    .check = check_grid,
};
