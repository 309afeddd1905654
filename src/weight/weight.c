/* weight.c - making, checking, converting and describing weights. */
#include "tensor/half.h"
#include "weight/weight_internal.h"

#include <math.h>
#include <omp.h>
#include <string.h>

az_weight *az_weight_around(az_ctx *az, const az_format *format, int64_t rows, int64_t cols, az_tensor *part)
{
    az_weight *w = part ? az_alloc(az, sizeof *w) : NULL;
    if (w) *w = (az_weight){.format = format, .rows = rows, .cols = cols, .part = {part}};
    return w;
}

static const az_format *dense_format(az_dtype dtype)
{
    switch (dtype) {
    case AZ_F32: return &az_format_f32;
    case AZ_F64: return &az_format_f64;
    case AZ_F16: return &az_format_f16;
    case AZ_BF16: return &az_format_bf16;
    default: return NULL;
    }
}

az_weight *az_weight_dense(az_ctx *az, az_tensor *matrix)
{
    if (!matrix) return NULL;
    const az_format *format = dense_format(matrix->dtype);
    if (!format)
        return az_fail(az, AZ_BAD_CALL, "dense weight: a matrix of type f32, f64, f16 or bf16 is needed, got %s",
                       az_dtype_name(matrix->dtype));
    if (matrix->rank != 2)
        return az_fail(az, AZ_BAD_CALL, "dense weight: a matrix [rows, cols] is needed, got shape %s", az_shape_text(az, matrix));
    return az_weight_from_parts(az, format, matrix->shape[0], matrix->shape[1], &matrix);
}

int az_format_parts(const az_format *format)
{
    int n = 0;
    while (n < AZ_WEIGHT_PARTS && format->part_name[n]) n++;
    return n;
}

az_weight *az_weight_from_parts(az_ctx *az, const az_format *format, int64_t rows, int64_t cols, az_tensor *const *parts)
{
    if (!format || !parts) return NULL;
    if (rows < 1 || cols < 1)
        return az_fail(az, AZ_BAD_CALL, "weight of format %s: shape [%lld, %lld] is empty", format->name, (long long)rows, (long long)cols);
    if (format->block > 1 && cols % format->block)
        return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld]: format %s needs a number of inputs divisible by %lld", (long long)rows,
                       (long long)cols, format->name, (long long)format->block);
    az_weight *w = az_alloc(az, sizeof *w);
    if (!w) return NULL;
    *w = (az_weight){.format = format, .rows = rows, .cols = cols};
    for (int i = 0; i < az_format_parts(format); i++) {
        if (!parts[i]) return az_fail(az, AZ_BAD_CALL, "weight of format %s: part '%s' is missing", format->name, format->part_name[i]);
        w->part[i] = parts[i];
    }
    return !format->check || format->check(az, w) ? w : NULL;
}

bool az_check_blocks(az_ctx *az, const az_weight *w)
{
    const az_tensor *blocks = w->part[0];
    const az_format *format = w->format;
    const int64_t per_row = w->cols / format->block;
    const bool fits = blocks->dtype == AZ_U8 && blocks->rank == 2 && blocks->shape[0] == w->rows && az_is_contiguous(blocks) &&
                      per_row <= INT64_MAX / format->block_bytes && blocks->shape[1] == per_row * format->block_bytes;
    if (!fits)
        az_fail(az, AZ_BAD_CALL, "weight [%lld, %lld] of format %s: the blocks must be contiguous u8 [%lld, %lld], got %s %s",
                (long long)w->rows, (long long)w->cols, format->name, (long long)w->rows, (long long)(per_row * format->block_bytes),
                az_dtype_name(blocks->dtype), az_shape_text(az, blocks));
    return fits;
}

static bool is_finite(const float *x, int64_t n)
{
    const uint32_t exponent = 0x7f800000u; /* all ones in infinities and NaN */
    uint32_t found = 0;
    for (int64_t i = 0; i < n; i++) found |= (az_bits_of_float(x[i]) & exponent) == exponent ? 1u : 0;
    return found == 0;
}

/* Formats of blocks have no code for infinity or NaN. Returns false always. */
static bool fail_row(az_ctx *az, const az_weight *w, const az_format *format, int64_t row)
{
    const az_tensor *values = az_weight_decode(az, az_weight_rows(az, w, row, 1));
    const int64_t bad = values ? az_first_nonfinite(values) : -1;
    if (bad >= 0)
        return az_fail(az, AZ_NUMERIC, "weight [%lld, %lld] cannot be stored as %s: the value at row %lld, column %lld is not finite",
                       (long long)w->rows, (long long)w->cols, format->name, (long long)row, (long long)bad);
    return az_fail(az, AZ_NUMERIC, "weight [%lld, %lld] cannot be stored as %s: row %lld holds a value beyond the format's range",
                   (long long)w->rows, (long long)w->cols, format->name, (long long)row);
}

static bool encode_row(const az_format *format, const float *x, int64_t cols, const float *importance, unsigned char *out)
{
    bool good = is_finite(x, cols);
    for (int64_t at = 0; good && at < cols; at += format->block, out += format->block_bytes)
        good = format->encode_block(format, x + at, importance ? importance + at : NULL, out);
    return good;
}

/* Each thread decodes a few rows and encodes them while they are in its cache. */
static az_weight *encode_blocks(az_ctx *az, const az_weight *w, const az_format *format, const float *importance)
{
    const int64_t cols = w->cols, bytes = cols / format->block * format->block_bytes;
    const int threads = az_threads(az);
    az_tensor *blocks = az_new2(az, AZ_U8, w->rows, bytes);
    float *scratch = az_alloc_array(az, (size_t)cols, sizeof *scratch * AZ_DECODE_ROWS * (size_t)threads);
    if (!blocks || !scratch) return NULL;
    unsigned char *out = blocks->data;
    int64_t bad = w->rows; /* the first row that cannot be encoded */
#pragma omp parallel for schedule(guided) num_threads(threads) reduction(min : bad)
    for (int64_t first = 0; first < w->rows; first += AZ_DECODE_ROWS) {
        float *x = scratch + omp_get_thread_num() * AZ_DECODE_ROWS * cols;
        const int64_t n = first + AZ_DECODE_ROWS <= w->rows ? AZ_DECODE_ROWS : w->rows - first;
        w->format->decode(w, first, n, x);
        for (int64_t r = 0; r < n; r++)
            if (!encode_row(format, x + r * cols, cols, importance, out + (first + r) * bytes) && first + r < bad) bad = first + r;
    }
    if (bad < w->rows && !fail_row(az, w, format, bad)) return NULL;
    return az_weight_around(az, format, w->rows, cols, blocks);
}

az_weight *az_weight_encode(az_ctx *az, const az_weight *w, const az_format *format, const float *importance)
{
    if (!w || !format) return NULL;
    if (!az_format_encodes(format))
        return az_fail(az, AZ_BAD_CALL, "format %s is made by its own method, not by encoding a matrix", format->name);
    if (format->block > 1 && w->cols % format->block)
        return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld] cannot be stored as %s: the number of inputs must be divisible by %lld",
                       (long long)w->rows, (long long)w->cols, format->name, (long long)format->block);
    for (int64_t j = 0; importance && j < w->cols; j++)
        if (!(importance[j] >= 0) || !isfinite(importance[j]))
            return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld]: the importance of input %lld is %g; it must be finite and not negative",
                           (long long)w->rows, (long long)w->cols, (long long)j, (double)importance[j]);
    if (format->encode_block) return encode_blocks(az, w, format, importance);
    az_tensor *dense = az_weight_decode(az, w);
    return dense ? format->encode(az, dense, importance) : NULL;
}

bool az_weight_encodes_as(const az_weight *like)
{
    return az_format_encodes(like->format) || like->format->encode_as;
}

az_weight *az_weight_encode_as(az_ctx *az, const az_weight *w, const az_weight *like)
{
    if (!w || !like) return NULL;
    if (!like->format->encode_as) return az_weight_encode(az, w, like->format, NULL);
    const az_tensor *dense = az_weight_decode(az, w);
    return dense ? like->format->encode_as(az, dense, like) : NULL;
}

az_weight *az_weight_recode(az_ctx *az, const az_weight *w, const az_format *format, const float *importance)
{
    if (w && format && w->format->recode) return w->format->recode(az, w, format, importance);
    return az_weight_encode(az, w, format, importance);
}

static az_tensor *decode_rows(az_ctx *az, const az_weight *w, int64_t first, int64_t n)
{
    az_tensor *dense = az_new2(az, AZ_F32, n, w->cols);
    if (!dense) return NULL;
    float *out = az_f32_mut(dense);
#pragma omp parallel for schedule(guided) num_threads(az_threads(az))
    for (int64_t r = 0; r < n; r += AZ_DECODE_ROWS)
        w->format->decode(w, first + r, r + AZ_DECODE_ROWS <= n ? AZ_DECODE_ROWS : n - r, out + r * w->cols);
    return dense;
}

az_tensor *az_weight_decode(az_ctx *az, const az_weight *w)
{
    return w ? decode_rows(az, w, 0, w->rows) : NULL;
}

az_weight *az_weight_rows(az_ctx *az, const az_weight *w, int64_t first, int64_t n)
{
    if (!w) return NULL;
    if (first < 0 || n < 1 || n > w->rows - first)
        return az_fail(az, AZ_BAD_CALL, "weight [%lld, %lld] has no rows %lld .. %lld", (long long)w->rows, (long long)w->cols,
                       (long long)first, (long long)(first + n - 1));
    if (w->format->block_bytes > 0) return az_weight_around(az, w->format, n, w->cols, az_slice(az, w->part[0], 0, first, n));
    return az_weight_around(az, &az_format_f32, n, w->cols, decode_rows(az, w, first, n));
}

az_weight *az_weight_share(az_ctx *az, const az_weight *w)
{
    az_weight *copy = w ? az_alloc(az, sizeof *copy) : NULL;
    if (!copy) return NULL;
    *copy = (az_weight){.format = w->format, .rows = w->rows, .cols = w->cols};
    if (w->arranged && !(copy->arranged = az_share(az, w->arranged))) return NULL;
    for (int i = 0; i < AZ_WEIGHT_PARTS; i++)
        if (w->part[i] && !(copy->part[i] = az_share(az, w->part[i]))) return NULL;
    return copy;
}

bool az_weight_is_trainable(const az_weight *w)
{
    return w && (w->format == &az_format_f32 || w->format == &az_format_f64);
}

bool az_weight_is_dense(const az_weight *w)
{
    return az_weight_is_trainable(w) || (w && (w->format == &az_format_f16 || w->format == &az_format_bf16));
}

int az_weight_plain_parts(const az_weight *w)
{
    az_weight u, v;
    if (az_weight_factors(w, &u, &v)) return az_weight_is_dense(&u) && az_weight_is_dense(&v) ? 2 : 0;
    return az_weight_is_dense(w) ? 1 : 0;
}

size_t az_weight_bytes(const az_weight *w)
{
    size_t bytes = 0;
    for (int i = 0; w && i < AZ_WEIGHT_PARTS; i++)
        if (w->part[i]) bytes += (size_t)az_count(w->part[i]) * az_dtype_size(w->part[i]->dtype);
    return bytes;
}

double az_weight_sparsity(az_ctx *az, const az_weight *w)
{
    if (!w) return 0;
    const int threads = az_threads(az);
    az_scope_push(az);
    float *rows = az_alloc_array(az, (size_t)w->cols, sizeof *rows * (size_t)threads * AZ_DECODE_ROWS);
    int64_t zeros = 0;
    if (rows) {
#pragma omp parallel for schedule(static) num_threads(threads) reduction(+ : zeros)
        for (int64_t r = 0; r < w->rows; r += AZ_DECODE_ROWS) {
            float *mine = rows + omp_get_thread_num() * AZ_DECODE_ROWS * w->cols;
            const int64_t n = r + AZ_DECODE_ROWS <= w->rows ? AZ_DECODE_ROWS : w->rows - r;
            w->format->decode(w, r, n, mine);
            for (int64_t j = 0; j < n * w->cols; j++) zeros += mine[j] == 0;
        }
    }
    az_scope_pop(az);
    return (double)zeros / ((double)w->rows * (double)w->cols);
}

bool az_bad_part(az_ctx *az, const az_weight *w, int part, const char *needed)
{
    return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld] of format %s: %s must be %s, got %s %s", (long long)w->rows, (long long)w->cols,
                   w->format->name, w->format->part_name[part], needed, az_dtype_name(w->part[part]->dtype),
                   az_shape_text(az, w->part[part]));
}
