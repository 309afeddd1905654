/* format_nf4.c - 4-bit NormalFloat: levels that a normal distribution fills alike, scaled to the largest size in each block of 64 values.
 *
 * The matrix is one row of blocks, in row-major order, whatever its width. Parts: codes u8 [ceil(n / 2)] of all n values, the first of two
 * in the upper half of a byte; scales f32 [ceil(n / 64)], the largest size in each block.
 *
 * Dettmers, Pagnoni, Holtzman, Zettlemoyer: "QLoRA: efficient finetuning of quantized LLMs", NeurIPS 2023 (arXiv 2305.14314); levels and
 * layout are those of bitsandbytes. Importance of inputs has no part in it: scales are given by the largest values. */
#include "base/parallel.h"
#include "weight/kernels/nf4.h"
#include "weight/weight_internal.h"

#include <math.h>

enum { CODES, SCALES, NF4_BLOCK = AZ_NF4_BLOCK, ZERO_LEVEL = 7 };

const float az_nf4_levels[16] = {
    -1.0F,
    -0.6961928009986877F,
    -0.5250730514526367F,
    -0.39491748809814453F,
    -0.28444138169288635F,
    -0.18477343022823334F,
    -0.09105003625154495F,
    0.0F,
    0.07958029955625534F,
    0.16093020141124725F,
    0.24611230194568634F,
    0.33791524171829224F,
    0.44070982933044434F,
    0.5626170039176941F,
    0.7229568362236023F,
    1.0F,
};

static int nearest_level(float x)
{
    int level = 0;
    while (level < 15 && x > (az_nf4_levels[level] + az_nf4_levels[level + 1]) / 2) level++;
    return level;
}

static void decode_nf4(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const uint8_t *code = w->part[CODES]->data;
    const float *scale = w->part[SCALES]->data;
    const int64_t begin = first * w->cols, end = (first + n) * w->cols;
    if (w->cols % NF4_BLOCK == 0) {
        az_nf4_kernels_here()->widen(code + begin / 2, scale + begin / NF4_BLOCK, (end - begin) / NF4_BLOCK, out);
        return;
    }
    for (int64_t i = begin; i < end; i++) {
        const int level = i % 2 ? code[i / 2] & 15 : code[i / 2] >> 4;
        *out++ = az_nf4_levels[level] * scale[i / NF4_BLOCK];
    }
}

/* ---- products with few vectors, rounded to bytes ---- */

typedef struct product {
    const az_weight *w;
    const az_nf4_columns *x;
    float *y;
} product;

enum { CHUNK = 64 }; /* rows that a thread takes */

static void multiply_chunk(const void *products, int64_t chunk)
{
    const product *p = products;
    const int64_t first = chunk * CHUNK, cols = p->w->cols, left = p->w->rows - first;
    const az_nf4_rows rows = {.code = (const uint8_t *)p->w->part[CODES]->data + first * cols / 2,
                              .scale = az_f32(p->w->part[SCALES]) + first * cols / NF4_BLOCK,
                              .count = left < CHUNK ? left : CHUNK};
    az_nf4_kernels_here()->multiply(&rows, p->x, p->y + first, p->w->rows);
}

/* Takes even and odd columns apart. */
static void arrange(const az_columns *from, int8_t *q, float *scale, float *total)
{
    const int64_t blocks = from->cols / NF4_BLOCK;
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t j = 0; j < from->n; j++, q += NF4_BLOCK, scale += AZ_NF4_LANES) {
            total[j * blocks + b] = 0;
            for (int half = 0; half < 2; half++) {
                const int64_t at = (2 * b + half) * from->n + j;
                for (int i = 0; i < AZ_BLOCK; i++) q[i % 2 * AZ_BLOCK + half * AZ_BLOCK / 2 + i / 2] = from->q[at * AZ_BLOCK + i];
                for (int i = 0; i < AZ_NF4_LANES / 2; i++) scale[half * AZ_NF4_LANES / 2 + i] = from->scale[at];
                total[j * blocks + b] += from->total[at];
            }
        }
}

static void matmul_nf4(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    if (n > AZ_FEW || w->cols % NF4_BLOCK != 0 || !az_nf4_kernels_here()->multiply) {
        az_tiles_matmul(az, w, x, n, y);
        return;
    }
    const int64_t blocks = w->cols / NF4_BLOCK;
    az_columns rounded = {.n = n, .cols = w->cols, .value = x};
    az_scope_push(az);
    int8_t *q = az_scratch(az, n, w->cols);
    float *scale = az_scratch(az, n * blocks, AZ_NF4_LANES * sizeof *scale), *total = az_scratch(az, n * blocks, sizeof *total);
    if (q && scale && total && az_round_columns(az, &rounded)) {
        arrange(&rounded, q, scale, total);
        const az_nf4_columns columns = {.n = n, .cols = w->cols, .q = q, .scale = scale, .total = total};
        az_each(az_threads(az), (w->rows + CHUNK - 1) / CHUNK, multiply_chunk, &(product){.w = w, .x = &columns, .y = y});
    }
    az_scope_pop(az);
}

/* ---- encoding ---- */

/* `count` values from an even position on: whole bytes, the last one filled up with the level 0. */
static float encode_block(const float *x, int64_t count, uint8_t *code)
{
    float largest = 0;
    for (int64_t i = 0; i < count; i++) largest = fmaxf(largest, fabsf(x[i]));
    for (int64_t i = 0; i < count; i += 2) {
        const int upper = largest > 0 ? nearest_level(x[i] / largest) : ZERO_LEVEL;
        const int lower = largest > 0 && i + 1 < count ? nearest_level(x[i + 1] / largest) : ZERO_LEVEL;
        code[i / 2] = (uint8_t)(upper << 4 | lower);
    }
    return largest;
}

static az_weight *encode_nf4(az_ctx *az, const az_tensor *dense, const float *importance)
{
    (void)importance;
    const int64_t n = az_count(dense), blocks = (n + NF4_BLOCK - 1) / NF4_BLOCK, bad = az_first_nonfinite(dense);
    if (bad >= 0)
        return az_fail(az, AZ_NUMERIC, "weight %s cannot be stored as nf4: the value at row %lld, column %lld is not finite",
                       az_shape_text(az, dense), (long long)(bad / dense->shape[1]), (long long)(bad % dense->shape[1]));
    az_tensor *const parts[AZ_WEIGHT_PARTS] = {az_new1(az, AZ_U8, (n + 1) / 2), az_new1(az, AZ_F32, blocks)};
    if (!parts[CODES] || !parts[SCALES]) return NULL;
    const float *x = az_f32(dense);
    uint8_t *code = parts[CODES]->data;
    float *scale = az_f32_mut(parts[SCALES]);
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t at = b * NF4_BLOCK, count = n - at < NF4_BLOCK ? n - at : NF4_BLOCK;
        scale[b] = encode_block(x + at, count, code + at / 2);
    }
    return az_weight_from_parts(az, &az_format_nf4, dense->shape[0], dense->shape[1], parts);
}

static bool check_nf4(az_ctx *az, const az_weight *w)
{
    const az_tensor *codes = w->part[CODES], *scales = w->part[SCALES];
    const int64_t n = w->rows <= INT64_MAX / w->cols ? w->rows * w->cols : -1;
    const bool fits = n > 0 && codes->dtype == AZ_U8 && codes->rank == 1 && az_is_contiguous(codes) && codes->shape[0] == n / 2 + n % 2 &&
                      scales->dtype == AZ_F32 && scales->rank == 1 && az_is_contiguous(scales) &&
                      scales->shape[0] == n / NF4_BLOCK + (n % NF4_BLOCK > 0);
    if (fits) return true;
    return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld] of format nf4: codes %s %s and scales %s %s do not fit", (long long)w->rows,
                   (long long)w->cols, az_dtype_name(codes->dtype), az_shape_text(az, codes), az_dtype_name(scales->dtype),
                   az_shape_text(az, scales));
}

const az_format az_format_nf4 = {
    .name = "nf4",
    .summary = "4-bit NormalFloat: 16 levels of a normal distribution, one f32 scale per 64 values, 4.5 bits a weight",
    .part_name = {"codes", "scales"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_nf4,
    .matmul = matmul_nf4,
    .encode = encode_nf4,
    .check = check_nf4,
    .keeps_zeros = true,
};
