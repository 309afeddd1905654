/* format_nm.c - matrices with a pattern n:m, of which only the kept values are stored.
 *
 * Of every m consecutive inputs n are kept, the same n and m in the whole matrix (zeros among the kept ones fill up groups that have
 * fewer). "values" [rows, cols / m, n] holds them in order, f16 or bf16; "mask" [rows, (cols + 7) / 8] has a bit for each input, bit c % 8
 * of byte c / 8. 2:4 takes 9 bits a weight: 16 n / m + 1. */
#include "tensor/half.h"
#include "weight/weight_internal.h"

#include <string.h>

enum { LONGEST_GROUP = 16 };

/* The layout of a weight. */
typedef struct layout {
    int64_t groups, n, m; /* groups of a row; kept and all of a group */
    int64_t mask_bytes;   /* of a row */
} layout;

static layout layout_of(const az_weight *w)
{
    const az_tensor *values = w->part[0];
    return (layout){.groups = values->shape[1], .n = values->shape[2], .m = w->cols / values->shape[1], .mask_bytes = (w->cols + 7) / 8};
}

/* Values of each byte of the mask, where kernels profit from knowing it. */
static int values_per_byte(const layout *l)
{
    const bool even = 8 % l->m == 0 && 8 / l->m * l->n <= 4;
    return even ? (int)(8 / l->m * l->n) : 0;
}

/* `count` rows from `first` on. */
static az_kept_rows rows_of(const az_weight *w, int64_t first, int64_t count)
{
    const layout l = layout_of(w);
    const int64_t per_row = l.groups * l.n;
    const uint16_t *value = w->part[0]->data;
    const uint8_t *mask = w->part[1]->data;
    return (az_kept_rows){.value = value + first * per_row,
                          .end = value + w->rows * per_row,
                          .mask = mask + first * l.mask_bytes,
                          .count = count,
                          .per_row = per_row,
                          .per_byte = values_per_byte(&l),
                          .bf16 = w->part[0]->dtype == AZ_BF16};
}

static void decode_nm(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const az_kept_rows rows = rows_of(w, first, n);
    az_weight_kernels_here()->widen_kept(&rows, w->cols, out);
}

static void multiply(az_ctx *az, const az_weight *w, az_kept_kernel *kernel, const float *x, int64_t n, float *y)
{
    enum { CHUNK = 16 };
    const az_columns columns = {.n = n, .cols = w->cols, .value = x};
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t first = 0; first < w->rows; first += CHUNK) {
        const az_kept_rows rows = rows_of(w, first, first + CHUNK <= w->rows ? CHUNK : w->rows - first);
        kernel(&rows, &columns, y + first, w->rows);
    }
}

static void matmul_nm(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    const layout l = layout_of(w);
    const az_weight_kernels *kernels = az_weight_kernels_here();
    if (n > AZ_FEW) {
        az_tiles_matmul(az, w, x, n, y);
    } else if (l.n == 2 && l.m == 4 && kernels->two_of_four) {
        az_scope_push(az);
        float *arranged = az_scratch(az, n * az_fours(w->cols), sizeof *arranged);
        if (arranged) {
            az_arrange_fours(x, n, w->cols, arranged);
            multiply(az, w, kernels->two_of_four, arranged, n, y);
        }
        az_scope_pop(az);
    } else {
        multiply(az, w, kernels->kept, x, n, y);
    }
}

/* ---- checking ---- */

static bool check_shapes(az_ctx *az, const az_weight *w, az_dtype dtype)
{
    const az_tensor *values = w->part[0], *mask = w->part[1];
    const bool fits = values->dtype == dtype && values->rank == 3 && values->shape[0] == w->rows && values->shape[1] > 0 &&
                      w->cols % values->shape[1] == 0 && w->cols / values->shape[1] <= LONGEST_GROUP && values->shape[2] >= 1 &&
                      values->shape[2] <= w->cols / values->shape[1] && az_is_contiguous(values) && mask->dtype == AZ_U8 &&
                      mask->rank == 2 && mask->shape[0] == w->rows && mask->shape[1] == (w->cols + 7) / 8 && az_is_contiguous(mask);
    if (!fits)
        az_fail(
            az, AZ_BAD_INPUT,
            "weight [%lld, %lld] of format %s: the values must be %s [%lld, inputs / m, n] with m at most %d and the mask u8 [%lld, %lld], "
            "got %s %s and %s %s",
            (long long)w->rows, (long long)w->cols, w->format->name, az_dtype_name(dtype), (long long)w->rows, LONGEST_GROUP,
            (long long)w->rows, (long long)(w->cols + 7) / 8, az_dtype_name(values->dtype), az_shape_text(az, values),
            az_dtype_name(mask->dtype), az_shape_text(az, mask));
    return fits;
}

/* Each group has n bits, and there are none behind the last column. */
static bool check_nm(az_ctx *az, const az_weight *w, az_dtype dtype)
{
    if (!check_shapes(az, w, dtype)) return false;
    const layout l = layout_of(w);
    for (int64_t r = 0; r < w->rows; r++) {
        const uint8_t *mask = (const uint8_t *)w->part[1]->data + r * l.mask_bytes;
        for (int64_t g = 0; g < l.groups; g++) {
            int64_t kept = 0;
            for (int64_t c = g * l.m; c < (g + 1) * l.m; c++) kept += mask[c / 8] >> c % 8 & 1;
            if (kept != l.n)
                return az_fail(az, AZ_BAD_INPUT, "weight of format %s: row %lld keeps %lld values in group %lld, the pattern is %lld:%lld",
                               w->format->name, (long long)r, (long long)kept, (long long)g, (long long)l.n, (long long)l.m);
        }
        for (int64_t c = w->cols; c < 8 * l.mask_bytes; c++)
            if (mask[c / 8] >> c % 8 & 1)
                return az_fail(az, AZ_BAD_INPUT, "weight of format %s: the mask of row %lld keeps inputs beyond the last", w->format->name,
                               (long long)r);
    }
    return true;
}

static bool check_f16(az_ctx *az, const az_weight *w)
{
    return check_nm(az, w, AZ_F16);
}

static bool check_bf16(az_ctx *az, const az_weight *w)
{
    return check_nm(az, w, AZ_BF16);
}

/* ---- encoding ---- */

/* The most values that are not zero in a group of m. */
static int64_t most_kept(const float *x, int64_t groups, int64_t m)
{
    int64_t most = 0;
    for (int64_t g = 0; g < groups; g++) {
        int64_t kept = 0;
        for (int64_t i = 0; i < m; i++) kept += x[g * m + i] != 0;
        if (kept > most) most = kept;
    }
    return most;
}

/* The pattern that keeps the smallest share; the shortest group of several. {0, 0} when all keep everything. */
static az_pattern find_pattern(const az_tensor *dense)
{
    const int64_t cols = dense->shape[1], total = az_count(dense);
    az_pattern best = {0, 0};
    for (int64_t m = 2; m <= LONGEST_GROUP; m++) {
        if (cols % m) continue;
        const int64_t n = most_kept(az_f32(dense), total / m, m);
        if (n < m && (best.m == 0 || n * best.m < best.n * m)) best = (az_pattern){.n = n > 0 ? (int)n : 1, .m = (int)m};
    }
    return best;
}

/* Keeps what is not zero, and the first zeros of groups that have fewer than n. */
static void encode_row(const float *x, int64_t groups, az_pattern p, bool bf16, uint16_t *value, uint8_t *mask)
{
    for (int64_t g = 0; g < groups; g++) {
        int spare = p.n;
        for (int i = 0; i < p.m; i++) spare -= x[g * p.m + i] != 0;
        for (int i = 0; i < p.m; i++) {
            const int64_t c = g * p.m + i;
            if (x[c] == 0 && spare-- <= 0) continue;
            *value++ = bf16 ? az_bf16_round(x[c]) : az_f16_round(x[c]);
            mask[c / 8] |= (uint8_t)(1 << c % 8);
        }
    }
}

static az_weight *encode_nm(az_ctx *az, const az_tensor *dense, const az_format *format, az_dtype dtype)
{
    const int64_t rows = dense->shape[0], cols = dense->shape[1], mask_bytes = (cols + 7) / 8;
    const az_pattern p = find_pattern(dense);
    if (p.m == 0)
        return az_fail(az, AZ_BAD_INPUT,
                       "weight [%lld, %lld] has no pattern n:m to store as %s: some group of every length has no zero; prune it first "
                       "(wanda:pattern=2:4)",
                       (long long)rows, (long long)cols, format->name);
    if (dtype == AZ_F16 && !az_f16_holds(az, dense)) return NULL;
    az_tensor *part[AZ_WEIGHT_PARTS] = {az_tensor_new(az, dtype, 3, (const int64_t[]){rows, cols / p.m, p.n}),
                                        az_zeros(az, AZ_U8, 2, (const int64_t[]){rows, mask_bytes})};
    if (!part[0] || !part[1]) return NULL;
    const float *x = az_f32(dense);
    uint16_t *value = part[0]->data;
    uint8_t *mask = part[1]->data;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t r = 0; r < rows; r++)
        encode_row(x + r * cols, cols / p.m, p, dtype == AZ_BF16, value + r * (cols / p.m) * p.n, mask + r * mask_bytes);
    return az_weight_from_parts(az, format, rows, cols, part);
}

static az_weight *encode_nm_f16(az_ctx *az, const az_tensor *dense, const float *importance)
{
    (void)importance;
    return encode_nm(az, dense, &az_format_nm_f16, AZ_F16);
}

static az_weight *encode_nm_bf16(az_ctx *az, const az_tensor *dense, const float *importance)
{
    (void)importance;
    return encode_nm(az, dense, &az_format_nm_bf16, AZ_BF16);
}

const az_format az_format_nm_f16 = {
    .name = "nm_f16",
    .summary = "the kept values of a pattern n:m in half precision and a bit for each weight, 9 bits a weight at 2:4",
    .part_name = {"values", "mask"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_nm,
    .matmul = matmul_nm,
    .encode = encode_nm_f16,
    .check = check_f16,
    .keeps_zeros = true,
};

const az_format az_format_nm_bf16 = {
    .name = "nm_bf16",
    .summary = "the kept values of a pattern n:m as bf16 and a bit for each weight, 9 bits a weight at 2:4",
    .part_name = {"values", "mask"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_nm,
    .matmul = matmul_nm,
    .encode = encode_nm_bf16,
    .check = check_bf16,
    .keeps_zeros = true,
};
