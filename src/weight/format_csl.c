/* format_csl.c - Tiled-CSL: matrices with scattered zeros as words that hold a value and its column.
 *
 * The matrix is cut into strips of 128 rows, a strip into slices of eight rows. A slice is so many steps as its longest row has values;
 * a step is eight words of 32 bits, one of each row: the value (f16 or bf16) in the low half, its column in the high half, ascending from
 * step to step; behind the last value of a row stand zero words. The rows of a strip are ordered by their numbers of values, the largest
 * first, so that there are few of those. "words" [steps, 8] as i32; "offsets" [slices + 1]: the first step of each slice; "order" [slices,
 * 8]: which row of the strip each lane of a slice holds; the last strip is filled up with empty rows. A weight takes 32 density bits.
 *
 * Xia et al.: "Flash-LLM", VLDB 2024 (arXiv 2309.10285), section 4.3, has the words. Its tiles of 64 columns, and its order inside a tile,
 * are for the banks of a GPU's shared memory; this order is for registers whose lanes are rows. */
#include "tensor/half.h"
#include "weight/sparse_format.h"

#include <string.h>

enum { WORDS, OFFSETS, ORDER };
enum { LANES = AZ_CSL_LANES, STRIP_SLICES = AZ_CSL_ROWS / LANES, MOST_COLS = 1 << 16 };

static int64_t slices_of(const az_weight *w)
{
    return az_tiles(w->rows, LANES);
}

static az_dtype type_of(const az_weight *w)
{
    return w->format == &az_format_csl_bf16 ? AZ_BF16 : AZ_F16;
}

static az_csl_strip strip_of(const az_weight *w, int64_t strip)
{
    const int64_t first = strip * STRIP_SLICES, left = slices_of(w) - first;
    return (az_csl_strip){.words = w->part[WORDS]->data,
                          .offsets = (const int32_t *)w->part[OFFSETS]->data + first,
                          .order = (const uint8_t *)w->part[ORDER]->data + first * LANES,
                          .slices = left < STRIP_SLICES ? left : STRIP_SLICES,
                          .type = type_of(w)};
}

static float word_value(uint32_t word, az_dtype type)
{
    const uint16_t half = (uint16_t)(word & 0xffff);
    return type == AZ_BF16 ? az_bf16_widen(half) : az_f16_widen(half);
}

/* Those of the rows first .. first + n - 1 of a strip that a slice holds, to out [n, cols], which is zero. */
static void decode_slice(const az_csl_strip *strip, int64_t slice, int64_t first, int64_t n, int64_t cols, float *out)
{
    int64_t lane[LANES] = {0};
    float *row[LANES] = {NULL};
    int count = 0;
    for (int64_t i = 0; i < LANES; i++) {
        const int64_t r = strip->order[slice * LANES + i] - first;
        if (r >= 0 && r < n) lane[count] = i, row[count++] = out + r * cols;
    }
    for (int64_t step = strip->offsets[slice]; count > 0 && step < strip->offsets[slice + 1]; step++)
        for (int i = 0; i < count; i++) {
            const uint32_t word = strip->words[step * LANES + lane[i]];
            if (word != 0) row[i][word >> 16] = word_value(word, strip->type);
        }
}

static void decode_csl(const az_weight *w, int64_t first, int64_t n, float *out)
{
    memset(out, 0, (size_t)(n * w->cols) * sizeof *out);
    for (int64_t at = first / AZ_CSL_ROWS; at * AZ_CSL_ROWS < first + n; at++) {
        const az_csl_strip strip = strip_of(w, at);
        const int64_t before = first - at * AZ_CSL_ROWS, begin = before > 0 ? before : 0; /* rows of the strip */
        const int64_t end = before + n < AZ_CSL_ROWS ? before + n : AZ_CSL_ROWS;
        for (int64_t s = 0; s < strip.slices; s++) decode_slice(&strip, s, begin, end - begin, w->cols, out + (begin - before) * w->cols);
    }
}

/* ---- products ---- */

static void sparse_strip(const az_weight *w, int64_t strip, const az_sparse_input *x, float *sums)
{
    const az_csl_strip s = strip_of(w, strip);
    az_sparse_kernels_here()->csl(&s, x, sums);
}

static void matmul_csl(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    static const az_sparse_strips how = {.rows = AZ_CSL_ROWS, .costs = {.visit_groups = 0.55}, .sparse = sparse_strip};
    az_strips_matmul(az, w, x, n, y, &how, (double)az_count(w->part[WORDS]) / ((double)w->rows * (double)w->cols));
}

/* ---- checking ---- */

static bool check_shapes(az_ctx *az, const az_weight *w)
{
    const az_tensor *words = w->part[WORDS], *offsets = w->part[OFFSETS], *order = w->part[ORDER];
    const int64_t slices = slices_of(w);
    if (w->cols > MOST_COLS)
        return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld] of format %s: at most %d inputs have numbers of 16 bits", (long long)w->rows,
                       (long long)w->cols, w->format->name, MOST_COLS);
    const bool fits = words->dtype == AZ_I32 && words->rank == 2 && words->shape[1] == LANES && az_is_contiguous(words) &&
                      az_is_vector(offsets, AZ_I32, slices + 1) && az_is_matrix(order, AZ_U8, slices, LANES);
    if (!fits)
        az_fail(az, AZ_BAD_INPUT,
                "weight [%lld, %lld] of format %s: words must be i32 [steps, 8], the offsets i32 [%lld] and the order u8 [%lld, 8], got %s "
                "%s, %s %s and %s %s",
                (long long)w->rows, (long long)w->cols, w->format->name, (long long)(slices + 1), (long long)slices,
                az_dtype_name(words->dtype), az_shape_text(az, words), az_dtype_name(offsets->dtype), az_shape_text(az, offsets),
                az_dtype_name(order->dtype), az_shape_text(az, order));
    return fits;
}

static bool check_offsets(az_ctx *az, const az_weight *w)
{
    const int64_t slices = slices_of(w), steps = w->part[WORDS]->shape[0];
    const int32_t *offset = w->part[OFFSETS]->data;
    for (int64_t s = 0; s < slices; s++)
        if ((s == 0 && offset[0] != 0) || offset[s] > offset[s + 1] || offset[s + 1] > steps)
            return az_fail(az, AZ_BAD_INPUT, "weight of format %s: the offsets of slice %lld, %d and %d, are not ascending from 0 to %lld",
                           w->format->name, (long long)s, offset[s], offset[s + 1], (long long)steps);
    return true;
}

/* The lanes of a strip hold each row once. */
static bool check_order(az_ctx *az, const az_weight *w, const az_csl_strip *strip)
{
    bool held[AZ_CSL_ROWS] = {false};
    for (int64_t i = 0; i < strip->slices * LANES; i++) {
        const int row = strip->order[i];
        if (row >= strip->slices * LANES || held[row])
            return az_fail(az, AZ_BAD_INPUT, "weight of format %s: row %d of a strip is held twice, or there is none", w->format->name,
                           row);
        held[row] = true;
    }
    return true;
}

/* Columns ascend, none is beyond the edge, and behind a zero word stand only such; a row beyond the edge is empty. */
static bool check_lane(az_ctx *az, const az_weight *w, const az_csl_strip *strip, int64_t place, int64_t most)
{
    int64_t before = -1;
    for (int64_t step = strip->offsets[place / LANES]; step < strip->offsets[place / LANES + 1]; step++) {
        const uint32_t word = strip->words[step * LANES + place % LANES];
        const int64_t column = word == 0 ? MOST_COLS : (int64_t)(word >> 16);
        if (word != 0 && (column <= before || column >= most))
            return az_fail(az, AZ_BAD_INPUT,
                           "weight of format %s: column %lld in step %lld follows column %lld; columns ascend and are below %lld",
                           w->format->name, (long long)column, (long long)step, (long long)before, (long long)most);
        before = column;
    }
    return true;
}

static bool check_csl(az_ctx *az, const az_weight *w)
{
    if (!check_shapes(az, w) || !check_offsets(az, w)) return false;
    for (int64_t first = 0; first < w->rows; first += AZ_CSL_ROWS) {
        const az_csl_strip strip = strip_of(w, first / AZ_CSL_ROWS);
        if (!check_order(az, w, &strip)) return false;
        for (int64_t place = 0; place < strip.slices * LANES; place++)
            if (!check_lane(az, w, &strip, place, first + strip.order[place] < w->rows ? w->cols : 0)) return false;
    }
    return true;
}

/* ---- encoding ---- */

static int64_t kept_values(const float *row, int64_t cols, az_dtype type)
{
    int64_t kept = 0;
    for (int64_t c = 0; c < cols; c++) kept += az_sparse_value(row[c], type) != 0;
    return kept;
}

/* The rows of a strip by their numbers of values, kept [n], the largest first; equal ones as they come. */
static void order_rows(const int64_t *kept, int64_t n, uint8_t *order)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t at = i;
        for (; at > 0 && kept[order[at - 1]] < kept[i]; at--) order[at] = order[at - 1];
        order[at] = (uint8_t)i;
    }
}

/* The order of a strip's rows, and the number of steps of each slice. */
static void measure_strip(const az_tensor *dense, az_dtype type, int64_t strip, int64_t slices, uint8_t *order, int32_t *steps)
{
    const int64_t cols = dense->shape[1], first = strip * AZ_CSL_ROWS;
    int64_t kept[AZ_CSL_ROWS] = {0};
    for (int64_t r = 0; r < slices * LANES && first + r < dense->shape[0]; r++)
        kept[r] = kept_values(az_f32(dense) + (first + r) * cols, cols, type);
    order_rows(kept, slices * LANES, order);
    for (int64_t s = 0; s < slices; s++) steps[s] = (int32_t)kept[order[s * LANES]];
}

/* The words of a row, `LANES` apart. */
static void store_row(const float *row, int64_t cols, az_dtype type, uint32_t *word)
{
    for (int64_t c = 0; c < cols; c++) {
        if (az_sparse_value(row[c], type) == 0) continue;
        *word = (uint32_t)c << 16 | az_sparse_round(row[c], type);
        word += LANES;
    }
}

/* Numbers of steps to offsets, in place; the number of all steps, or -1 when it is too large. Files have no empty tensors: at least 1. */
static int64_t sum_up(int32_t *offset, int64_t slices)
{
    int64_t total = 0;
    for (int64_t s = 0; s <= slices; s++) {
        const int32_t steps = s < slices ? offset[s] : 0;
        offset[s] = (int32_t)total;
        total += steps;
        if (total > INT32_MAX) return -1;
    }
    return total > 0 ? total : 1;
}

static az_weight *encode_csl(az_ctx *az, const az_tensor *dense, const az_format *format, az_dtype type)
{
    const int64_t rows = dense->shape[0], cols = dense->shape[1], slices = az_tiles(rows, LANES);
    if (!az_sparse_holds(az, dense, format, type)) return NULL;
    az_tensor *offsets = az_new1(az, AZ_I32, slices + 1), *orders = az_new2(az, AZ_U8, slices, LANES);
    if (!offsets || !orders) return NULL;
    int32_t *offset = offsets->data;
    uint8_t *order = orders->data;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t s = 0; s < slices; s += STRIP_SLICES)
        measure_strip(dense, type, s / STRIP_SLICES, slices - s < STRIP_SLICES ? slices - s : STRIP_SLICES, order + s * LANES, offset + s);
    const int64_t steps = sum_up(offset, slices);
    if (steps < 0)
        return az_fail(az, AZ_BAD_INPUT, "weight %s keeps more values than %s can number", az_shape_text(az, dense), format->name);
    az_tensor *words = az_zeros(az, AZ_I32, 2, (const int64_t[]){steps, LANES});
    if (!words) return NULL;
    uint32_t *word = words->data;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t place = 0; place < slices * LANES; place++) {
        const int64_t r = place / AZ_CSL_ROWS * AZ_CSL_ROWS + order[place];
        if (r < rows) store_row(az_f32(dense) + r * cols, cols, type, word + offset[place / LANES] * (int64_t)LANES + place % LANES);
    }
    az_tensor *part[AZ_WEIGHT_PARTS] = {[WORDS] = words, [OFFSETS] = offsets, [ORDER] = orders};
    return az_weight_from_parts(az, format, rows, cols, part);
}

static az_weight *encode_f16(az_ctx *az, const az_tensor *dense, const float *importance)
{
    (void)importance;
    return encode_csl(az, dense, &az_format_csl_f16, AZ_F16);
}

static az_weight *encode_bf16(az_ctx *az, const az_tensor *dense, const float *importance)
{
    (void)importance;
    return encode_csl(az, dense, &az_format_csl_bf16, AZ_BF16);
}

const az_format az_format_csl_f16 = {
    .name = "csl_f16",
    .summary = "scattered zeros: a word of 32 bits with the place and the value, f16, of the others (Tiled-CSL)",
    .part_name = {"words", "offsets", "order"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_csl,
    .matmul = matmul_csl,
    .encode = encode_f16,
    .check = check_csl,
    .keeps_zeros = true,
};

const az_format az_format_csl_bf16 = {
    .name = "csl_bf16",
    .summary = "scattered zeros: a word of 32 bits with the place and the value, bf16, of the others (Tiled-CSL)",
    .part_name = {"words", "offsets", "order"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_csl,
    .matmul = matmul_csl,
    .encode = encode_bf16,
    .check = check_csl,
    .keeps_zeros = true,
};
