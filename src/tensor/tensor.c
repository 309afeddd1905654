/* tensor.c - making tensors, reading them, and carrying them from scope to scope. */
#include "base/base_internal.h"
#include "tensor/half.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[AZ_DTYPES] = {
    [AZ_F32] = {"f32", 4}, [AZ_F64] = {"f64", 8}, [AZ_F16] = {"f16", 2}, [AZ_BF16] = {"bf16", 2}, [AZ_I8] = {"i8", 1},
    [AZ_U8] = {"u8", 1},   [AZ_I16] = {"i16", 2}, [AZ_I32] = {"i32", 4}, [AZ_I64] = {"i64", 8},
};

size_t az_dtype_size(az_dtype dtype)
{
    return types[dtype].size;
}

const char *az_dtype_name(az_dtype dtype)
{
    return types[dtype].name;
}

/* ---- headers ---- */

/* A header and its claim on the buffer. */
typedef struct held_tensor {
    az_tensor tensor;
    az_hold hold;
} held_tensor;

az_tensor *az_header(az_ctx *az, const az_tensor *model)
{
    if (!model) return NULL;
    held_tensor *held = az_alloc(az, sizeof *held);
    if (!held) return NULL;
    held->tensor = *model;
    az_buffer_hold(model->buffer);
    az_hold_until_leave(az, &held->hold, &held->tensor.buffer);
    return &held->tensor;
}

void az_release(az_tensor *x)
{
    az_buffer_drop(x->buffer);
    x->buffer = NULL;
    x->data = NULL;
}

az_tensor *az_share(az_ctx *az, const az_tensor *x)
{
    if (!az_present(az, "az_share", x)) return NULL;
    az_tensor model = *x;
    model.node = NULL;
    model.tape = 0;
    return az_header(az, &model);
}

az_tensor *az_detach(az_ctx *az, const az_tensor *x)
{
    return az_share(az, x);
}

void az_keep_all(az_ctx *az, az_tensor **tensors, int n)
{
    az_arena_enter(az, az->scope[az->depth > 1 ? az->depth - 2 : 0]);
    for (int i = 0; i < n; i++) tensors[i] = az_header(az, tensors[i]);
    az_arena_leave(az);
    az_scope_pop(az);
}

az_tensor *az_keep(az_ctx *az, az_tensor *x)
{
    az_keep_all(az, &x, 1);
    return x;
}

/* ---- making ---- */

void az_set_contiguous(az_tensor *x)
{
    int64_t stride = 1;
    for (int i = x->rank - 1; i >= 0; i--) {
        x->stride[i] = stride;
        stride *= x->shape[i];
    }
}

/* Fills in type, shape and strides; false with an error when there is no such tensor. */
static bool describe(az_ctx *az, az_tensor *x, az_dtype dtype, int rank, const int64_t *shape)
{
    if (rank < 0 || rank > AZ_MAX_RANK) return az_fail(az, AZ_BAD_CALL, "tensor of rank %d: 0 to %d are possible", rank, AZ_MAX_RANK);
    *x = (az_tensor){.dtype = dtype, .rank = rank};
    int64_t bytes = (int64_t)az_dtype_size(dtype);
    for (int i = 0; i < rank; i++) {
        x->shape[i] = shape[i];
        char text[AZ_SHAPE_TEXT];
        if (shape[i] < 0)
            return az_fail(az, AZ_BAD_CALL, "tensor of shape %s: extents must not be negative", az_print_shape(rank, shape, text));
        if (shape[i] > 0 && __builtin_mul_overflow(bytes, shape[i], &bytes))
            return az_fail(az, AZ_NO_MEMORY, "out of memory: tensor of shape %s", az_print_shape(rank, shape, text));
    }
    az_set_contiguous(x);
    return true;
}

az_tensor *az_wrap(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape, void *data, az_buffer *buffer)
{
    az_tensor model;
    if (!describe(az, &model, dtype, rank, shape)) return NULL;
    model.data = data;
    model.buffer = buffer;
    return az_header(az, &model);
}

az_tensor *az_tensor_new(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape)
{
    az_tensor model;
    if (!describe(az, &model, dtype, rank, shape)) return NULL;
    model.buffer = az_buffer_new(az, (size_t)az_count(&model) * az_dtype_size(dtype));
    if (!model.buffer) return NULL;
    model.data = model.buffer->data;
    az_tensor *x = az_header(az, &model);
    az_buffer_drop(model.buffer); /* the header has its own reference */
    return x;
}

az_tensor *az_zeros(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape)
{
    az_tensor *x = az_tensor_new(az, dtype, rank, shape);
    if (x) memset(x->data, 0, x->buffer->bytes);
    return x;
}

az_tensor *az_full(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape, double value)
{
    az_tensor *x = az_tensor_new(az, dtype, rank, shape);
    if (!x) return NULL;
    int64_t n = az_count(x);
    size_t size = az_dtype_size(dtype);
    char *data = x->data;
    if (n > 0) az_store(dtype, data, 0, value);
    for (int64_t i = 1; i < n; i++) memcpy(data + (size_t)i * size, data, size);
    return x;
}

az_tensor *az_new1(az_ctx *az, az_dtype dtype, int64_t n)
{
    return az_tensor_new(az, dtype, 1, (int64_t[]){n});
}

az_tensor *az_new2(az_ctx *az, az_dtype dtype, int64_t rows, int64_t cols)
{
    return az_tensor_new(az, dtype, 2, (int64_t[]){rows, cols});
}

az_tensor *az_new3(az_ctx *az, az_dtype dtype, int64_t a, int64_t b, int64_t c)
{
    return az_tensor_new(az, dtype, 3, (int64_t[]){a, b, c});
}

az_tensor *az_scalar(az_ctx *az, az_dtype dtype, double value)
{
    return az_full(az, dtype, 0, NULL, value);
}

az_tensor *az_from(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape, const void *data)
{
    az_tensor *x = az_tensor_new(az, dtype, rank, shape);
    if (x && x->buffer->bytes > 0) memcpy(x->data, data, x->buffer->bytes);
    return x;
}

az_tensor *az_randn(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape, double scale, uint64_t seed, uint64_t stream)
{
    az_tensor *x = az_tensor_new(az, dtype, rank, shape);
    if (!x || !az_real(az, "az_randn", x)) return NULL;
    int64_t n = az_count(x);
    float *f32 = az_f32_mut(x);
    double *f64 = az_f64_mut(x);
    if (f32) az_fill_normal(az, seed, stream, 0, n, f32);
    for (int64_t i = 0; i < n && f32; i++) f32[i] *= (float)scale;
#pragma omp parallel for num_threads(az_threads(az)) if (n > 4096)
    for (int64_t i = 0; i < (f64 ? n : 0); i++) {
        az_rng rng = {.seed = seed, .stream = stream, .index = (uint64_t)i};
        f64[i] = scale * az_normal(&rng);
    }
    return x;
}

az_tensor *az_rand(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape, double low, double high, uint64_t seed, uint64_t stream)
{
    az_tensor *x = az_tensor_new(az, dtype, rank, shape);
    if (!x || !az_real(az, "az_rand", x)) return NULL;
    int64_t n = az_count(x);
    float *f32 = az_f32_mut(x), below = nextafterf((float)high, (float)low);
    double *f64 = az_f64_mut(x);
    if (f32) az_fill_uniform(az, seed, stream, 0, n, f32);
    for (int64_t i = 0; i < n && f32; i++) f32[i] = fminf((float)(low + (high - low) * (double)f32[i]), low < high ? below : (float)low);
#pragma omp parallel for num_threads(az_threads(az)) if (n > 4096)
    for (int64_t i = 0; i < (f64 ? n : 0); i++) {
        az_rng rng = {.seed = seed, .stream = stream, .index = (uint64_t)i};
        f64[i] = low + (high - low) * az_uniform(&rng);
    }
    return x;
}

/* ---- reading ---- */

int64_t az_count(const az_tensor *x)
{
    int64_t n = x ? 1 : 0;
    for (int i = 0; x && i < x->rank; i++) n *= x->shape[i];
    return n;
}

bool az_is_contiguous(const az_tensor *x)
{
    if (!x) return false;
    int64_t stride = 1;
    for (int i = x->rank - 1; i >= 0; i--) {
        if (x->shape[i] != 1 && x->stride[i] != stride) return az_count(x) == 0;
        stride *= x->shape[i];
    }
    return true;
}

bool az_has_shape(const az_tensor *x, int rank, const int64_t *shape)
{
    if (x->rank != rank) return false;
    for (int i = 0; i < rank; i++)
        if (x->shape[i] != shape[i]) return false;
    return true;
}

bool az_same_shape(const az_tensor *a, const az_tensor *b)
{
    return a && b && az_has_shape(a, b->rank, b->shape);
}

static int64_t to_integer(double value, int64_t low, int64_t high)
{
    if (isnan(value)) return 0;
    double rounded = nearbyint(value);
    return rounded <= (double)low ? low : rounded >= (double)high ? high : (int64_t)rounded;
}

double az_load(az_dtype dtype, const void *data, int64_t index)
{
    switch (dtype) {
    case AZ_F32: return (double)((const float *)data)[index];
    case AZ_F64: return ((const double *)data)[index];
    case AZ_F16: return (double)az_f16_widen(((const uint16_t *)data)[index]);
    case AZ_BF16: return (double)az_bf16_widen(((const uint16_t *)data)[index]);
    case AZ_I8: return ((const int8_t *)data)[index];
    case AZ_U8: return ((const uint8_t *)data)[index];
    case AZ_I16: return ((const int16_t *)data)[index];
    case AZ_I32: return ((const int32_t *)data)[index];
    case AZ_I64: return (double)((const int64_t *)data)[index];
    case AZ_DTYPES: break;
    }
    return NAN;
}

void az_store(az_dtype dtype, void *data, int64_t index, double value)
{
    switch (dtype) {
    case AZ_F32: ((float *)data)[index] = (float)value; break;
    case AZ_F64: ((double *)data)[index] = value; break;
    case AZ_F16: ((uint16_t *)data)[index] = az_f16_round(az_float_to_odd(value)); break;
    case AZ_BF16: ((uint16_t *)data)[index] = az_bf16_round(az_float_to_odd(value)); break;
    case AZ_I8: ((int8_t *)data)[index] = (int8_t)to_integer(value, INT8_MIN, INT8_MAX); break;
    case AZ_U8: ((uint8_t *)data)[index] = (uint8_t)to_integer(value, 0, UINT8_MAX); break;
    case AZ_I16: ((int16_t *)data)[index] = (int16_t)to_integer(value, INT16_MIN, INT16_MAX); break;
    case AZ_I32: ((int32_t *)data)[index] = (int32_t)to_integer(value, INT32_MIN, INT32_MAX); break;
    case AZ_I64: ((int64_t *)data)[index] = to_integer(value, INT64_MIN, INT64_MAX); break;
    case AZ_DTYPES: break;
    }
}

double az_item(const az_tensor *x, int64_t position)
{
    if (!x || position < 0 || position >= az_count(x)) return NAN;
    int64_t offset = 0;
    for (int i = x->rank - 1; i >= 0; i--) {
        offset += position % x->shape[i] * x->stride[i];
        position /= x->shape[i];
    }
    return az_load(x->dtype, x->data, offset);
}

double az_to_double(const az_tensor *scalar)
{
    return az_item(scalar, 0);
}

const float *az_f32(const az_tensor *x)
{
    return x && x->dtype == AZ_F32 && az_is_contiguous(x) ? x->data : NULL;
}

const double *az_f64(const az_tensor *x)
{
    return x && x->dtype == AZ_F64 && az_is_contiguous(x) ? x->data : NULL;
}

float *az_f32_mut(az_tensor *x)
{
    return x && x->dtype == AZ_F32 && az_is_contiguous(x) ? x->data : NULL;
}

double *az_f64_mut(az_tensor *x)
{
    return x && x->dtype == AZ_F64 && az_is_contiguous(x) ? x->data : NULL;
}

const char *az_print_shape(int rank, const int64_t *shape, char *text)
{
    size_t at = 0;
    text[at++] = '[';
    for (int i = 0; i < rank; i++) at += (size_t)snprintf(text + at, AZ_SHAPE_TEXT - at, i ? ", %lld" : "%lld", (long long)shape[i]);
    snprintf(text + at, AZ_SHAPE_TEXT - at, "]");
    return text;
}

const char *az_shape_text(az_ctx *az, const az_tensor *x)
{
    char text[AZ_SHAPE_TEXT];
    return x ? az_strdup(az, az_print_shape(x->rank, x->shape, text)) : "(none)";
}

/* The first position of a contiguous run that is not finite, n if there is none. */
static int64_t run_nonfinite(const az_tensor *x, int64_t n)
{
    enum { BLOCK = 256 };
    const float *f32 = az_f32(x);
    for (int64_t start = 0; start < n && f32; start += BLOCK) {
        int64_t end = start + BLOCK < n ? start + BLOCK : n;
        float sum = 0; /* stays 0 while all are finite: x * 0 is NaN otherwise */
        for (int64_t i = start; i < end; i++) sum += f32[i] * 0.0f;
        for (int64_t i = start; i < end && sum != 0; i++)
            if (!isfinite(f32[i])) return i;
    }
    const double *f64 = az_f64(x);
    for (int64_t i = 0; i < n && f64; i++)
        if (!isfinite(f64[i])) return i;
    return n;
}

int64_t az_first_nonfinite(const az_tensor *x)
{
    const int64_t n = az_count(x);
    int64_t found = 0;
    if (az_f32(x) || az_f64(x))
        found = run_nonfinite(x, n);
    else
        while (found < n && isfinite(az_item(x, found))) found++;
    return found < n ? found : -1;
}

/* ---- operands ---- */

bool az_present(az_ctx *az, const char *name, const az_tensor *x)
{
    if (!x) az_fail(az, AZ_BAD_CALL, "%s: an operand is missing (NULL)", name);
    return x;
}

bool az_real(az_ctx *az, const char *name, const az_tensor *x)
{
    if (!az_present(az, name, x)) return false;
    if (x->dtype != AZ_F32 && x->dtype != AZ_F64) {
        az_fail(az, AZ_BAD_CALL, "%s: an operand of type %s; f32 and f64 are possible (see az_cast)", name, az_dtype_name(x->dtype));
        return false;
    }
    return true;
}

bool az_same_real(az_ctx *az, const char *name, const az_tensor *a, const az_tensor *b)
{
    if (!az_real(az, name, a) || !az_real(az, name, b)) return false;
    if (a->dtype != b->dtype)
        az_fail(az, AZ_BAD_CALL, "%s: operands of types %s and %s", name, az_dtype_name(a->dtype), az_dtype_name(b->dtype));
    return a->dtype == b->dtype;
}

int az_axis(az_ctx *az, const char *name, const az_tensor *x, int axis)
{
    int from_front = axis < 0 ? axis + x->rank : axis;
    if (from_front >= 0 && from_front < x->rank) return from_front;
    char text[AZ_SHAPE_TEXT];
    az_fail(az, AZ_BAD_CALL, "%s: axis %d of shape %s", name, axis, az_print_shape(x->rank, x->shape, text));
    return -1;
}
