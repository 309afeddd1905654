/* format_bitmap.c - matrices with scattered zeros as tiles of bits and the values that are not zero.
 *
 * The matrix is cut into tiles of 64 rows and 64 columns, row of tiles after row of tiles; the last ones reach beyond the edges, where all
 * is zero. "mask" [row tiles, column tiles, 64, 8] has a bit for each weight: bit c % 8 of byte c / 8 of a row of the tile. "values" holds
 * the weights whose bit is 1, tile after tile, row after row, and 8 zeros at the end that wide loads may touch. "offsets" [tiles + 1]:
 * where the values of each tile begin. A weight takes 1 + 16 density bits (1 + 32 density in f32). */
#include "tensor/half.h"
#include "weight/sparse_format.h"

#include <string.h>

enum { VALUES, MASK, OFFSETS };
enum { SLACK = 8, ROW_BYTES = AZ_TILE / 8 };

typedef struct layout {
    int64_t down, across; /* tiles */
    const uint8_t *mask;
    const int32_t *offset;
} layout;

static layout layout_of(const az_weight *w)
{
    return (layout){.down = az_tiles(w->rows, AZ_TILE),
                    .across = az_tiles(w->cols, AZ_TILE),
                    .mask = w->part[MASK] ? w->part[MASK]->data : NULL,
                    .offset = w->part[OFFSETS] ? w->part[OFFSETS]->data : NULL};
}

static int count_bits(const uint8_t *mask, int bytes)
{
    int count = 0;
    for (int i = 0; i < bytes; i++) count += __builtin_popcount(mask[i]);
    return count;
}

static float value_at(const az_weight *w, int64_t i)
{
    const void *value = w->part[VALUES]->data;
    switch (w->part[VALUES]->dtype) {
    case AZ_F32: return ((const float *)value)[i];
    case AZ_BF16: return az_bf16_widen(((const uint16_t *)value)[i]);
    default: return az_f16_widen(((const uint16_t *)value)[i]);
    }
}

static void decode_row(const az_weight *w, const layout *l, int64_t r, float *out)
{
    for (int64_t t = 0; t < l->across; t++) {
        const int64_t tile = r / AZ_TILE * l->across + t, left = w->cols - t * AZ_TILE;
        const uint8_t *mask = l->mask + tile * AZ_TILE * ROW_BYTES, *row = mask + r % AZ_TILE * ROW_BYTES;
        int64_t at = l->offset[tile] + count_bits(mask, (int)(row - mask));
        for (int64_t c = 0; c < (left < AZ_TILE ? left : AZ_TILE); c++)
            out[t * AZ_TILE + c] = row[c / 8] >> c % 8 & 1 ? value_at(w, at++) : 0;
    }
}

static void decode_bitmap(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const layout l = layout_of(w);
    for (int64_t r = first; r < first + n; r++, out += w->cols) decode_row(w, &l, r, out);
}

/* ---- products ---- */

static az_bitmap_strip strip_of(const az_weight *w, int64_t strip)
{
    const layout l = layout_of(w);
    const int64_t tile = strip * l.across;
    const az_tensor *values = w->part[VALUES];
    return (az_bitmap_strip){.mask = l.mask + tile * AZ_TILE * ROW_BYTES,
                             .value = (const char *)values->data + l.offset[tile] * (int64_t)az_dtype_size(values->dtype),
                             .tiles = l.across,
                             .type = values->dtype};
}

static void dense_strip(const az_weight *w, int64_t strip, const az_sparse_input *x, float *sums)
{
    const az_bitmap_strip s = strip_of(w, strip);
    az_sparse_kernels_here()->bitmap_dense(&s, x, sums);
}

static void sparse_strip(const az_weight *w, int64_t strip, const az_sparse_input *x, float *sums)
{
    const az_bitmap_strip s = strip_of(w, strip);
    az_sparse_kernels_here()->bitmap_sparse(&s, x, sums);
}

static void matmul_bitmap(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    const az_sparse_strips how = {
        .rows = AZ_TILE, .costs = az_sparse_kernels_here()->bitmap_costs, .dense = dense_strip, .sparse = sparse_strip};
    const double kept = (double)(w->part[VALUES]->shape[0] - SLACK);
    az_strips_matmul(az, w, x, n, y, &how, kept / ((double)w->rows * (double)w->cols));
}

/* ---- checking ---- */

static bool check_shapes(az_ctx *az, const az_weight *w, az_dtype type)
{
    const az_tensor *values = w->part[VALUES], *mask = w->part[MASK], *offsets = w->part[OFFSETS];
    const layout l = layout_of(w);
    const bool fits = values->dtype == type && values->rank == 1 && values->shape[0] >= SLACK && az_is_contiguous(values) &&
                      mask->dtype == AZ_U8 && mask->rank == 4 && mask->shape[0] == l.down && mask->shape[1] == l.across &&
                      mask->shape[2] == AZ_TILE && mask->shape[3] == ROW_BYTES && az_is_contiguous(mask) && offsets->dtype == AZ_I32 &&
                      offsets->rank == 1 && offsets->shape[0] == l.down * l.across + 1 && az_is_contiguous(offsets);
    if (!fits)
        az_fail(az, AZ_BAD_INPUT,
                "weight [%lld, %lld] of format %s: values must be %s [kept + 8], the mask u8 [%lld, %lld, 64, 8] and the offsets i32 "
                "[%lld], got %s %s, %s %s and %s %s",
                (long long)w->rows, (long long)w->cols, w->format->name, az_dtype_name(type), (long long)l.down, (long long)l.across,
                (long long)(l.down * l.across + 1), az_dtype_name(values->dtype), az_shape_text(az, values), az_dtype_name(mask->dtype),
                az_shape_text(az, mask), az_dtype_name(offsets->dtype), az_shape_text(az, offsets));
    return fits;
}

/* The first row or column of the tile that is beyond the edge and has a bit; -1 when there is none. */
static bool keeps_beyond(const az_weight *w, const layout *l, int64_t tile)
{
    const int64_t rows = w->rows - tile / l->across * AZ_TILE, cols = w->cols - tile % l->across * AZ_TILE;
    const uint8_t *mask = l->mask + tile * AZ_TILE * ROW_BYTES;
    if (rows >= AZ_TILE && cols >= AZ_TILE) return false;
    for (int64_t r = 0; r < AZ_TILE; r++)
        for (int64_t c = r < rows ? cols : 0; c < AZ_TILE; c++)
            if (mask[r * ROW_BYTES + c / 8] >> c % 8 & 1) return true;
    return false;
}

static bool check_bitmap(az_ctx *az, const az_weight *w, az_dtype type)
{
    if (!check_shapes(az, w, type)) return false;
    const layout l = layout_of(w);
    const int64_t tiles = l.down * l.across;
    int64_t at = 0;
    for (int64_t t = 0; t < tiles; t++) {
        if (l.offset[t] != at)
            return az_fail(az, AZ_BAD_INPUT, "weight of format %s: the values of tile %lld begin at %d; the masks before it keep %lld",
                           w->format->name, (long long)t, l.offset[t], (long long)at);
        if (keeps_beyond(w, &l, t))
            return az_fail(az, AZ_BAD_INPUT, "weight of format %s: the mask of tile %lld keeps weights beyond the edge", w->format->name,
                           (long long)t);
        at += count_bits(l.mask + t * AZ_TILE * ROW_BYTES, AZ_TILE * ROW_BYTES);
    }
    if (l.offset[tiles] != at || w->part[VALUES]->shape[0] != at + SLACK)
        return az_fail(az, AZ_BAD_INPUT, "weight of format %s: the masks keep %lld values, the offsets end at %d and there are %lld",
                       w->format->name, (long long)at, l.offset[tiles], (long long)(w->part[VALUES]->shape[0] - SLACK));
    return true;
}

static bool check_f16(az_ctx *az, const az_weight *w)
{
    return check_bitmap(az, w, AZ_F16);
}

static bool check_bf16(az_ctx *az, const az_weight *w)
{
    return check_bitmap(az, w, AZ_BF16);
}

static bool check_f32(az_ctx *az, const az_weight *w)
{
    return check_bitmap(az, w, AZ_F32);
}

/* ---- encoding ---- */

/* The mask of a tile (cleared before); returns how many weights it keeps. */
static int32_t mark_tile(const az_tensor *dense, int64_t row, int64_t col, az_dtype type, uint8_t *mask)
{
    const int64_t rows = dense->shape[0], cols = dense->shape[1];
    int32_t kept = 0;
    for (int64_t r = row; r < rows && r < row + AZ_TILE; r++)
        for (int64_t c = col; c < cols && c < col + AZ_TILE; c++) {
            if (az_sparse_value(az_f32(dense)[r * cols + c], type) == 0) continue;
            mask[(r - row) * ROW_BYTES + (c - col) / 8] |= (uint8_t)(1 << c % 8);
            kept++;
        }
    return kept;
}

static void store_tile(const az_tensor *dense, int64_t row, int64_t col, const uint8_t *mask, az_tensor *values, int64_t at)
{
    const float *x = az_f32(dense) + row * dense->shape[1] + col;
    for (int64_t r = 0; r < AZ_TILE; r++)
        for (int64_t c = 0; c < AZ_TILE; c++) {
            if (!(mask[r * ROW_BYTES + c / 8] >> c % 8 & 1)) continue;
            const float value = x[r * dense->shape[1] + c];
            if (values->dtype == AZ_F32)
                ((float *)values->data)[at++] = value;
            else
                ((uint16_t *)values->data)[at++] = az_sparse_round(value, values->dtype);
        }
}

/* Offsets from the numbers of kept weights, in place; the total. */
static int64_t sum_up(int32_t *offset, int64_t tiles)
{
    int64_t total = 0;
    for (int64_t t = 0; t <= tiles; t++) {
        const int32_t kept = t < tiles ? offset[t] : 0;
        offset[t] = (int32_t)total;
        total += kept;
        if (total > INT32_MAX) return -1;
    }
    return total;
}

static az_weight *encode_bitmap(az_ctx *az, const az_tensor *dense, const az_format *format, az_dtype type)
{
    const int64_t rows = dense->shape[0], cols = dense->shape[1], down = az_tiles(rows, AZ_TILE), across = az_tiles(cols, AZ_TILE);
    if (!az_sparse_holds(az, dense, format, type)) return NULL;
    az_tensor *mask = az_zeros(az, AZ_U8, 4, (const int64_t[]){down, across, AZ_TILE, ROW_BYTES});
    az_tensor *offsets = az_new1(az, AZ_I32, down * across + 1);
    if (!mask || !offsets) return NULL;
    uint8_t *bits = mask->data;
    int32_t *offset = offsets->data;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t t = 0; t < down * across; t++)
        offset[t] = mark_tile(dense, t / across * AZ_TILE, t % across * AZ_TILE, type, bits + t * AZ_TILE * ROW_BYTES);
    const int64_t kept = sum_up(offset, down * across);
    if (kept < 0)
        return az_fail(az, AZ_BAD_INPUT, "weight %s keeps more values than %s can number", az_shape_text(az, dense), format->name);
    az_tensor *values = az_zeros(az, type, 1, (const int64_t[]){kept + SLACK});
    if (!values) return NULL;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t t = 0; t < down * across; t++)
        store_tile(dense, t / across * AZ_TILE, t % across * AZ_TILE, bits + t * AZ_TILE * ROW_BYTES, values, offset[t]);
    az_tensor *part[AZ_WEIGHT_PARTS] = {[VALUES] = values, [MASK] = mask, [OFFSETS] = offsets};
    return az_weight_from_parts(az, format, rows, cols, part);
}

static az_weight *encode_f16(az_ctx *az, const az_tensor *dense, const float *importance)
{
    (void)importance;
    return encode_bitmap(az, dense, &az_format_bitmap_f16, AZ_F16);
}

static az_weight *encode_bf16(az_ctx *az, const az_tensor *dense, const float *importance)
{
    (void)importance;
    return encode_bitmap(az, dense, &az_format_bitmap_bf16, AZ_BF16);
}

static az_weight *encode_f32(az_ctx *az, const az_tensor *dense, const float *importance)
{
    (void)importance;
    return encode_bitmap(az, dense, &az_format_bitmap_f32, AZ_F32);
}

const az_format az_format_bitmap_f16 = {
    .name = "bitmap_f16",
    .summary = "scattered zeros: a bit for each weight and the others in half precision, 4.2 bits a weight at 80 % zeros",
    .part_name = {"values", "mask", "offsets"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_bitmap,
    .matmul = matmul_bitmap,
    .encode = encode_f16,
    .check = check_f16,
    .keeps_zeros = true,
};

const az_format az_format_bitmap_bf16 = {
    .name = "bitmap_bf16",
    .summary = "scattered zeros: a bit for each weight and the others as bf16, 4.2 bits a weight at 80 % zeros",
    .part_name = {"values", "mask", "offsets"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_bitmap,
    .matmul = matmul_bitmap,
    .encode = encode_bf16,
    .check = check_bf16,
    .keeps_zeros = true,
};

const az_format az_format_bitmap_f32 = {
    .name = "bitmap_f32",
    .summary = "scattered zeros: a bit for each weight and the others as f32, 7.4 bits a weight at 80 % zeros",
    .part_name = {"values", "mask", "offsets"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_bitmap,
    .matmul = matmul_bitmap,
    .encode = encode_f32,
    .check = check_f32,
    .keeps_zeros = true,
};
