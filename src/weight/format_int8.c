/* format_int8.c - bytes for weights and activations, outlier columns in half precision.
 *
 * int8: codes i8 [rows, cols] from -127 to 127, scales f32 [rows], the largest magnitude of each row (of the matrix, in schemes that have
 *     one scale for it), how f64 [5], the numbers of az_int8_how. w = scale / 127 (code + offset).
 * int8_columns: and for columns listed i32 [n], ascending, their values f16 [n, rows].
 * int8_live: the matrix f16 [rows, cols] and how; it becomes bytes again at each product. */
#include "weight/int8.h"

#include "tensor/half.h"
#include "weight/kernels/int8.h"

#include <math.h>
#include <string.h>

enum { CODES, SCALES, HOW, LISTED, COLUMNS };
enum { LIVE_MATRIX, LIVE_HOW };

static az_int8_how how_of(const az_weight *w)
{
    az_int8_how how;
    memcpy(&how, w->part[w->format == &az_format_int8_live ? LIVE_HOW : HOW]->data, sizeof how);
    return how;
}

az_int8_rows az_int8_rows_of(const az_weight *w)
{
    az_int8_rows rows = {.rows = w->rows, .cols = w->cols, .code = w->part[CODES]->data, .scale = w->part[SCALES]->data};
    rows.offset = how_of(w).offset;
    if (w->format == &az_format_int8_columns) {
        rows.listed = w->part[LISTED]->shape[0];
        rows.column = w->part[LISTED]->data;
        rows.value = w->part[COLUMNS]->data;
    }
    return rows;
}

/* ---- decoding ---- */

static void decode_int8(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const az_int8_rows from = az_int8_rows_of(w);
    for (int64_t r = first; r < first + n; r++, out += w->cols) {
        const int8_t *code = from.code + r * w->cols;
        const double step = from.scale[r] / 127.0;
        for (int64_t c = 0; c < w->cols; c++) out[c] = (float)(step * (code[c] + from.offset));
        for (int64_t i = 0; i < from.listed; i++) out[from.column[i]] = az_f16_widen(from.value[i * w->rows + r]);
    }
}

static void decode_live(const az_weight *w, int64_t first, int64_t n, float *out)
{
    az_weight_kernels_here()->widen_f16((const uint16_t *)w->part[LIVE_MATRIX]->data + first * w->cols, n * w->cols, out);
}

/* ---- encoding ---- */

/* The largest magnitude, and the ends, of a row's entries outside the columns that are left out. */
typedef struct row_range {
    float low, high;
} row_range;

static row_range range_of(const float *row, int64_t cols, const unsigned char *out)
{
    row_range r = {INFINITY, -INFINITY};
    for (int64_t c = 0; c < cols; c++) {
        if (out[c]) continue;
        r.low = fminf(r.low, row[c]);
        r.high = fmaxf(r.high, row[c]);
    }
    return r;
}

static float magnitude(row_range r)
{
    return r.high < r.low ? 0 : fmaxf(fabsf(r.low), fabsf(r.high));
}

/* Scales [rows] and the offset for a matrix. */
static double choose_scales(const az_tensor *dense, az_int8_scheme scheme, const unsigned char *out, float *scale)
{
    const int64_t rows = dense->shape[0], cols = dense->shape[1];
    row_range all = {INFINITY, -INFINITY};
    double offset = 0;
    for (int64_t r = 0; r < rows; r++) {
        const row_range one = range_of(az_f32(dense) + r * cols, cols, out);
        scale[r] = magnitude(one);
        all = (row_range){fminf(all.low, one.low), fmaxf(all.high, one.high)};
    }
    if (scheme == AZ_INT8_VECTORWISE) return 0;
    float whole = magnitude(all);
    if (scheme == AZ_INT8_ZEROPOINT && all.low <= all.high) az_int8_zero_point(all.low, all.high, &whole, &offset);
    for (int64_t r = 0; r < rows; r++) scale[r] = whole;
    return offset;
}

static void choose_codes(az_ctx *az, const az_tensor *dense, const float *scale, double offset, int8_t *code)
{
    const int64_t rows = dense->shape[0], cols = dense->shape[1];
    const float *x = az_f32(dense);
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t r = 0; r < rows; r++) {
        if (offset == 0)
            az_int8_nearest(x + r * cols, cols, scale[r], code + r * cols);
        else
            for (int64_t c = 0; c < cols; c++) code[r * cols + c] = az_int8_shifted(x[r * cols + c], scale[r], offset);
    }
}

/* The listed columns, one after the other, as f16. */
static az_tensor *copy_columns(az_ctx *az, const az_tensor *dense, const az_int8_settings *s)
{
    const int64_t rows = dense->shape[0], cols = dense->shape[1];
    az_tensor *columns = az_new2(az, AZ_F32, s->listed, rows);
    float *to = columns ? az_f32_mut(columns) : NULL;
    for (int64_t i = 0; to && i < s->listed; i++)
        for (int64_t r = 0; r < rows; r++) to[i * rows + r] = az_f32(dense)[r * cols + s->column[i]];
    return columns && az_f16_holds(az, columns) ? az_cast(az, columns, AZ_F16) : NULL;
}

static az_tensor *how_part(az_ctx *az, const az_int8_how *how)
{
    return az_from(az, AZ_F64, 1, (const int64_t[]){AZ_INT8_HOW}, how);
}

/* Columns that lie in half precision only have no bytes, and no say in the scales where these leave outliers out. */
static az_weight *encode_bytes(az_ctx *az, const az_tensor *dense, const az_int8_settings *s, az_int8_how how)
{
    const int64_t rows = dense->shape[0], cols = dense->shape[1];
    unsigned char *out = az_alloc(az, (size_t)cols);
    az_tensor *part[AZ_WEIGHT_PARTS] = {az_new2(az, AZ_I8, rows, cols), az_new1(az, AZ_F32, rows)};
    if (!out || !part[CODES] || !part[SCALES]) return NULL;
    for (int64_t i = 0; s->fixed && s->paper && i < s->listed; i++) out[s->column[i]] = 1;
    float *scale = az_f32_mut(part[SCALES]);
    int8_t *code = part[CODES]->data;
    how.offset = choose_scales(dense, s->scheme, out, scale);
    choose_codes(az, dense, scale, how.offset, code);
    for (int64_t i = 0; s->fixed && i < s->listed; i++)
        for (int64_t r = 0; r < rows; r++) code[r * cols + s->column[i]] = 0;
    part[HOW] = how_part(az, &how);
    if (s->listed > 0) {
        part[LISTED] = az_from(az, AZ_I32, 1, &s->listed, s->column);
        part[COLUMNS] = copy_columns(az, dense, s);
    }
    return az_ok(az) ? az_weight_from_parts(az, s->listed > 0 ? &az_format_int8_columns : &az_format_int8, rows, cols, part) : NULL;
}

az_weight *az_weight_int8(az_ctx *az, const az_weight *w, const az_int8_settings *s)
{
    const az_tensor *dense = az_weight_decode(az, w);
    if (!dense) return NULL;
    const int64_t bad = az_first_nonfinite(dense);
    if (bad >= 0)
        return az_fail(az, AZ_NUMERIC, "weight [%lld, %lld] cannot be stored in bytes: the value at row %lld, column %lld is not finite",
                       (long long)w->rows, (long long)w->cols, (long long)(bad / w->cols), (long long)(bad % w->cols));
    const az_int8_how how = {.scheme = s->scheme, .threshold = s->threshold, .paper = s->paper, .fixed = s->fixed};
    if (!s->live) return encode_bytes(az, dense, s, how);
    az_tensor *part[AZ_WEIGHT_PARTS] = {az_f16_holds(az, dense) ? az_cast(az, dense, AZ_F16) : NULL, how_part(az, &how)};
    return az_ok(az) ? az_weight_from_parts(az, &az_format_int8_live, w->rows, w->cols, part) : NULL;
}

static az_weight *encode_int8(az_ctx *az, const az_tensor *dense, const float *importance)
{
    (void)importance;
    return encode_bytes(az, dense, &(az_int8_settings){.threshold = 6}, (az_int8_how){.threshold = 6});
}

/* With the settings of another weight of these formats. */
static az_weight *encode_as(az_ctx *az, const az_tensor *dense, const az_weight *like)
{
    const az_int8_how how = how_of(like);
    az_int8_settings s = {.scheme = (az_int8_scheme)how.scheme,
                          .threshold = how.threshold,
                          .paper = how.paper != 0,
                          .fixed = how.fixed != 0,
                          .live = like->format == &az_format_int8_live};
    if (like->format == &az_format_int8_columns) {
        s.column = like->part[LISTED]->data;
        s.listed = like->part[LISTED]->shape[0];
    }
    az_weight *w = az_weight_dense(az, (az_tensor *)(uintptr_t)dense);
    return w ? az_weight_int8(az, w, &s) : NULL;
}

/* ---- products ---- */

static void matmul_int8(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    const az_int8_rows rows = az_int8_rows_of(w);
    const az_int8_how how = how_of(w);
    az_int8_vectors vectors;
    az_scope_push(az);
    if (az_int8_round(az, &how, &rows, x, n, w->cols, &vectors)) az_int8_multiply(az, &rows, &vectors, y);
    az_scope_pop(az);
}

static void matmul_live(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    const az_int8_how how = how_of(w);
    az_int8_vectors vectors;
    az_scope_push(az);
    if (az_int8_round(az, &how, NULL, x, n, w->cols, &vectors)) {
        const az_int8_settings now = {.scheme = (az_int8_scheme)how.scheme,
                                      .paper = how.paper > 0,
                                      .fixed = true,
                                      .column = vectors.outlier,
                                      .listed = vectors.outliers};
        const az_weight *bytes = az_weight_int8(az, w, &now);
        const az_int8_rows rows = bytes ? az_int8_rows_of(bytes) : (az_int8_rows){0};
        if (bytes) az_int8_multiply(az, &rows, &vectors, y);
    }
    az_scope_pop(az);
}

/* ---- checking ---- */

static bool check_how(az_ctx *az, const az_weight *w, int part)
{
    if (!az_is_vector(w->part[part], AZ_F64, AZ_INT8_HOW)) return az_bad_part(az, w, part, "f64 [5]");
    if (w->cols > AZ_INT8_MOST_COLS)
        return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld] of format %s: sums of more than %d products of bytes can overflow",
                       (long long)w->rows, (long long)w->cols, w->format->name, AZ_INT8_MOST_COLS);
    const az_int8_how how = how_of(w);
    const bool known = how.scheme == AZ_INT8_VECTORWISE || how.scheme == AZ_INT8_ROWWISE || how.scheme == AZ_INT8_ABSMAX ||
                       how.scheme == AZ_INT8_ZEROPOINT;
    if (!known || !(how.threshold >= 0) || !isfinite(how.offset) || fabs(how.offset) > 0x1p53)
        return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld] of format %s: scheme %g, threshold %g or offset %g is out of range",
                       (long long)w->rows, (long long)w->cols, w->format->name, how.scheme, how.threshold, how.offset);
    return true;
}

static bool check_int8(az_ctx *az, const az_weight *w)
{
    if (!az_is_matrix(w->part[CODES], AZ_I8, w->rows, w->cols)) return az_bad_part(az, w, CODES, "i8 [rows, cols]");
    if (!az_is_vector(w->part[SCALES], AZ_F32, w->rows)) return az_bad_part(az, w, SCALES, "f32 [rows]");
    if (!check_how(az, w, HOW)) return false;
    const int8_t *code = w->part[CODES]->data;
    const float *scale = w->part[SCALES]->data;
    for (int64_t r = 0; r < w->rows; r++) {
        if (!(scale[r] >= 0) || !isfinite(scale[r]))
            return az_fail(az, AZ_BAD_INPUT, "weight of format %s: the scale of row %lld is %g", w->format->name, (long long)r,
                           (double)scale[r]);
        bool forbidden = false; /* the product of bytes has no room for it */
        for (int64_t c = 0; c < w->cols; c++) forbidden |= code[r * w->cols + c] == -128;
        if (forbidden)
            return az_fail(az, AZ_BAD_INPUT, "weight of format %s: row %lld holds the code -128; codes lie between -127 and 127",
                           w->format->name, (long long)r);
    }
    return true;
}

static bool check_columns(az_ctx *az, const az_weight *w)
{
    if (!check_int8(az, w)) return false;
    const az_tensor *listed = w->part[LISTED];
    if (listed->rank != 1 || !az_is_vector(listed, AZ_I32, listed->shape[0])) return az_bad_part(az, w, LISTED, "i32 [n]");
    if (!az_is_matrix(w->part[COLUMNS], AZ_F16, listed->shape[0], w->rows)) return az_bad_part(az, w, COLUMNS, "f16 [n, rows]");
    const int32_t *column = listed->data;
    for (int64_t i = 0; i < listed->shape[0]; i++)
        if (column[i] < 0 || column[i] >= w->cols || (i > 0 && column[i] <= column[i - 1]))
            return az_fail(az, AZ_BAD_INPUT, "weight of format %s: listed column %lld is %d; columns ascend and lie below %lld",
                           w->format->name, (long long)i, column[i], (long long)w->cols);
    return true;
}

static bool check_live(az_ctx *az, const az_weight *w)
{
    if (!az_is_matrix(w->part[LIVE_MATRIX], AZ_F16, w->rows, w->cols)) return az_bad_part(az, w, LIVE_MATRIX, "f16 [rows, cols]");
    return check_how(az, w, LIVE_HOW);
}

const az_format az_format_int8 = {
    .name = "int8",
    .summary = "bytes with a scale for each row; products round activations to bytes, outlier columns excepted",
    .part_name = {"codes", "scales", "how"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_int8,
    .matmul = matmul_int8,
    .encode = encode_int8,
    .encode_as = encode_as,
    .check = check_int8,
    .keeps_zeros = true,
};

const az_format az_format_int8_columns = {
    .name = "int8_columns",
    .summary = "int8 with some columns in half precision beside it",
    .part_name = {"codes", "scales", "how", "listed", "columns"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_int8,
    .matmul = matmul_int8,
    .encode_as = encode_as,
    .check = check_columns,
    .keeps_zeros = true,
};

const az_format az_format_int8_live = {
    .name = "int8_live",
    .summary = "half precision, rounded to bytes at each product",
    .part_name = {"matrix", "how"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_live,
    .matmul = matmul_live,
    .encode_as = encode_as,
    .check = check_live,
    .keeps_zeros = true,
};
