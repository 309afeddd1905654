/* format_dense.c - matrices of floating-point numbers: f32, f64, f16, bf16. */
#include "tensor/half.h"
#include "weight/weight_internal.h"

#include <math.h>
#include <string.h>

static const float *row_f32(const az_weight *w, int64_t row)
{
    return (const float *)w->part[0]->data + row * w->cols;
}
static const double *row_f64(const az_weight *w, int64_t row)
{
    return (const double *)w->part[0]->data + row * w->cols;
}
static const uint16_t *row_16(const az_weight *w, int64_t row)
{
    return (const uint16_t *)w->part[0]->data + row * w->cols;
}

static void decode_f32(const az_weight *w, int64_t first, int64_t n, float *out)
{
    memcpy(out, row_f32(w, first), (size_t)(n * w->cols) * sizeof *out);
}

static void decode_f64(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const double *from = row_f64(w, first);
    for (int64_t i = 0; i < n * w->cols; i++) out[i] = (float)from[i];
}

static void decode_f16(const az_weight *w, int64_t first, int64_t n, float *out)
{
    az_weight_kernels_here()->widen_f16(row_16(w, first), n * w->cols, out);
}

static void decode_bf16(const az_weight *w, int64_t first, int64_t n, float *out)
{
    az_weight_kernels_here()->widen_bf16(row_16(w, first), n * w->cols, out);
}

static az_rows_kernel *rows_kernel_f32(const az_format *format, int64_t n, bool arranged)
{
    (void)format;
    return n <= AZ_FEW && !arranged ? az_weight_kernels_here()->f32 : NULL;
}

static az_rows_kernel *rows_kernel_f16(const az_format *format, int64_t n, bool arranged)
{
    (void)format;
    return n <= AZ_FEW && !arranged ? az_weight_kernels_here()->f16 : NULL;
}

static az_rows_kernel *rows_kernel_bf16(const az_format *format, int64_t n, bool arranged)
{
    (void)format;
    return n <= AZ_FEW && !arranged ? az_weight_kernels_here()->bf16 : NULL;
}

static bool check_dense(az_ctx *az, const az_weight *w, az_dtype dtype)
{
    const az_tensor *m = w->part[0];
    const bool fits = m->dtype == dtype && m->rank == 2 && m->shape[0] == w->rows && m->shape[1] == w->cols && az_is_contiguous(m);
    if (!fits)
        az_fail(az, AZ_BAD_CALL, "weight [%lld, %lld] of format %s: the matrix must be contiguous %s of that shape, got %s %s%s",
                (long long)w->rows, (long long)w->cols, w->format->name, az_dtype_name(dtype), az_dtype_name(m->dtype),
                az_shape_text(az, m), az_is_contiguous(m) ? "" : " with gaps");
    return fits;
}

static bool check_f32(az_ctx *az, const az_weight *w)
{
    return check_dense(az, w, AZ_F32);
}
static bool check_f64(az_ctx *az, const az_weight *w)
{
    return check_dense(az, w, AZ_F64);
}
static bool check_f16(az_ctx *az, const az_weight *w)
{
    return check_dense(az, w, AZ_F16);
}
static bool check_bf16(az_ctx *az, const az_weight *w)
{
    return check_dense(az, w, AZ_BF16);
}

/* Rounding each value by itself is best under any importance. */
static az_weight *encode_as(az_ctx *az, const az_format *format, const az_tensor *dense, az_dtype dtype)
{
    return az_weight_around(az, format, dense->shape[0], dense->shape[1], az_cast(az, dense, dtype));
}

static az_weight *encode_f32(az_ctx *az, const az_tensor *dense, const float *importance)
{
    (void)importance;
    return az_weight_around(az, &az_format_f32, dense->shape[0], dense->shape[1], az_copy(az, dense));
}

static az_weight *encode_f64(az_ctx *az, const az_tensor *dense, const float *importance)
{
    (void)importance;
    return encode_as(az, &az_format_f64, dense, AZ_F64);
}

bool az_f16_holds(az_ctx *az, const az_tensor *dense)
{
    const float *x = az_f32(dense);
    for (int64_t i = 0, n = az_count(dense); x && i < n; i++)
        if (fabsf(x[i]) >= 65520 && isfinite(x[i]))
            return az_fail(az, AZ_NUMERIC, "weight %s cannot be stored as f16: the value %g at row %lld, column %lld is beyond 65504",
                           az_shape_text(az, dense), (double)x[i], (long long)(i / dense->shape[1]), (long long)(i % dense->shape[1]));
    return x != NULL;
}

static az_weight *encode_f16(az_ctx *az, const az_tensor *dense, const float *importance)
{
    (void)importance;
    return az_f16_holds(az, dense) ? encode_as(az, &az_format_f16, dense, AZ_F16) : NULL;
}

static az_weight *encode_bf16(az_ctx *az, const az_tensor *dense, const float *importance)
{
    (void)importance;
    return encode_as(az, &az_format_bf16, dense, AZ_BF16);
}

const az_format az_format_f32 = {
    .name = "f32",
    .summary = "single precision, 32 bits a weight",
    .part_name = {"matrix"},
    .ggml_type = 0,
    .block = 1,
    .block_bytes = 4,
    .decode = decode_f32,
    .rows_kernel = rows_kernel_f32,
    .encode = encode_f32,
    .check = check_f32,
    .keeps_zeros = true,
};

const az_format az_format_f64 = {
    .name = "f64",
    .summary = "double precision, 64 bits a weight; activations are f64 too",
    .part_name = {"matrix"},
    .ggml_type = 28,
    .block = 1,
    .block_bytes = 8,
    .decode = decode_f64,
    .encode = encode_f64,
    .check = check_f64,
    .keeps_zeros = true,
};

const az_format az_format_f16 = {
    .name = "f16",
    .summary = "half precision, 16 bits a weight: 11 bits of mantissa, up to 65504",
    .part_name = {"matrix"},
    .ggml_type = 1,
    .block = 1,
    .block_bytes = 2,
    .decode = decode_f16,
    .rows_kernel = rows_kernel_f16,
    .encode = encode_f16,
    .check = check_f16,
    .keeps_zeros = true,
};

const az_format az_format_bf16 = {
    .name = "bf16",
    .summary = "upper half of single precision, 16 bits a weight: 8 bits of mantissa",
    .part_name = {"matrix"},
    .ggml_type = 30,
    .block = 1,
    .block_bytes = 2,
    .decode = decode_bf16,
    .rows_kernel = rows_kernel_bf16,
    .encode = encode_bf16,
    .check = check_bf16,
    .keeps_zeros = true,
};

float az_half_to_float(uint16_t half)
{
    return az_f16_widen(half);
}
uint16_t az_float_to_half(float value)
{
    return az_f16_round(value);
}
float az_bfloat_to_float(uint16_t bfloat)
{
    return az_bf16_widen(bfloat);
}
uint16_t az_float_to_bfloat(float value)
{
    return az_bf16_round(value);
}
