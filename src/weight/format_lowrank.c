/* format_lowrank.c - a matrix that is a product of two factors: W = U V with U [rows, rank] and V [rank, cols].
 *
 * Each factor is stored in a format of its own, dense or of blocks; the part "types" holds the GGUF type numbers of both. Products go
 * through V, then U, as two recorded operations, so factors in f32 or f64 receive gradients like any dense matrix. */
#include "weight/weight_internal.h"

#include <string.h>

enum { U, V, TYPES };

/* Factor U or V as a weight around the part itself. */
static az_weight factor(const az_weight *w, int which)
{
    const int64_t rank = w->part[V]->shape[0];
    const int32_t *type = w->part[TYPES]->data;
    return (az_weight){.format = az_format_by_ggml(type[which]),
                       .rows = which == U ? w->rows : rank,
                       .cols = which == U ? rank : w->cols,
                       .part = {w->part[which]}};
}

bool az_weight_factors(const az_weight *w, az_weight *u, az_weight *v)
{
    if (!w || w->format != &az_format_lowrank) return false;
    *u = factor(w, U);
    *v = factor(w, V);
    return true;
}

int64_t az_weight_rank(const az_weight *w)
{
    return w && w->format == &az_format_lowrank ? w->part[V]->shape[0] : 0;
}

az_weight *az_weight_lowrank(az_ctx *az, const az_weight *u, const az_weight *v)
{
    if (!u || !v) return NULL;
    if (u->cols != v->rows)
        return az_fail(az, AZ_BAD_CALL, "factors [%lld, %lld] and [%lld, %lld] have no rank in common", (long long)u->rows,
                       (long long)u->cols, (long long)v->rows, (long long)v->cols);
    if (u->format->ggml_type < 0 || v->format->ggml_type < 0)
        return az_fail(az, AZ_BAD_CALL, "factors are stored in formats of GGUF, not in %s",
                       (u->format->ggml_type < 0 ? u : v)->format->name);
    const int32_t types[] = {u->format->ggml_type, v->format->ggml_type};
    az_tensor *const parts[AZ_WEIGHT_PARTS] = {u->part[0], v->part[0], az_from(az, AZ_I32, 1, (const int64_t[]){2}, types)};
    return az_weight_from_parts(az, &az_format_lowrank, u->rows, v->cols, parts);
}

/* ---- rows ---- */

enum { PIECE = 1024 }; /* values decoded at a time: a multiple of every block */

/* Values first .. first + n - 1 of a row; both are whole blocks. */
static void decode_piece(const az_weight *w, int64_t row, int64_t first, int64_t n, float *out)
{
    const az_format *format = w->format;
    const int64_t at = (row * w->cols + first) / format->block * format->block_bytes;
    az_tensor data = *w->part[0];
    data.data = (char *)data.data + at;
    const az_weight piece = {.format = format, .rows = 1, .cols = n, .part = {&data}};
    format->decode(&piece, 0, 1, out);
}

/* out [n, count] += columns first_k .. first_k + depth - 1 of U times the same rows of V, for columns `first` on. */
static void add_products(const az_weight *v, int64_t first_k, int64_t depth, const float *u, int64_t n, int64_t first, int64_t count,
                         float *out)
{
    float row[PIECE];
    for (int64_t k = 0; k < depth; k++) {
        decode_piece(v, first_k + k, first, count, row);
        for (int64_t r = 0; r < n; r++) {
            const float scale = u[r * PIECE + k];
            float *to = out + r * v->cols + first;
            for (int64_t j = 0; j < count; j++) to[j] += scale * row[j];
        }
    }
}

static void decode_few(const az_weight *u, const az_weight *v, int64_t first, int64_t n, float *out)
{
    float values[AZ_DECODE_ROWS * PIECE]; /* of U */
    memset(out, 0, (size_t)(n * v->cols) * sizeof *out);
    for (int64_t k = 0; k < u->cols; k += PIECE) {
        const int64_t depth = u->cols - k < PIECE ? u->cols - k : PIECE;
        for (int64_t r = 0; r < n; r++) decode_piece(u, first + r, k, depth, values + r * PIECE);
        for (int64_t j = 0; j < v->cols; j += PIECE)
            add_products(v, k, depth, values, n, j, v->cols - j < PIECE ? v->cols - j : PIECE, out);
    }
}

static void decode_lowrank(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const az_weight u = factor(w, U), v = factor(w, V);
    for (int64_t r = 0; r < n; r += AZ_DECODE_ROWS)
        decode_few(&u, &v, first + r, n - r < AZ_DECODE_ROWS ? n - r : AZ_DECODE_ROWS, out + r * w->cols);
}

/* ---- products ---- */

static az_tensor *apply_lowrank(az_ctx *az, const az_weight *w, const az_tensor *x)
{
    const az_weight u = factor(w, U), v = factor(w, V);
    return az_weight_apply(az, &u, az_weight_apply(az, &v, x));
}

static az_tensor *apply_t_lowrank(az_ctx *az, const az_weight *w, const az_tensor *g)
{
    const az_weight u = factor(w, U), v = factor(w, V);
    return az_weight_apply_t(az, &v, az_weight_apply_t(az, &u, g));
}

/* ---- making and checking ---- */

/* A factor in the format, or in f16 where its rows are not whole blocks. */
static az_weight *recode_factor(az_ctx *az, const az_weight *w, const az_format *format, const float *importance)
{
    if (w->cols % format->block != 0) return az_weight_encode(az, w, &az_format_f16, NULL);
    if (w->format != format) return az_weight_encode(az, w, format, importance);
    az_tensor *part = az_copy(az, w->part[0]); /* f64 stays exact, blocks stay as they are */
    return az_weight_from_parts(az, format, w->rows, w->cols, &part);
}

static az_weight *recode_lowrank(az_ctx *az, const az_weight *w, const az_format *format, const float *importance)
{
    const az_weight u = factor(w, U), v = factor(w, V);
    return az_weight_lowrank(az, recode_factor(az, &u, format, NULL), recode_factor(az, &v, format, importance));
}

static bool is_factor_format(const az_format *format)
{
    return format && format->block_bytes > 0 && PIECE % format->block == 0;
}

static bool check_lowrank(az_ctx *az, const az_weight *w)
{
    const az_tensor *types = w->part[TYPES];
    if (types->dtype != AZ_I32 || types->rank != 1 || types->shape[0] != 2 || !az_is_contiguous(types))
        return az_fail(az, AZ_BAD_INPUT, "low-rank weight [%lld, %lld]: the types of its factors must be i32 [2], got %s %s",
                       (long long)w->rows, (long long)w->cols, az_dtype_name(types->dtype), az_shape_text(az, types));
    const int32_t *type = types->data;
    for (int i = 0; i < 2; i++)
        if (!is_factor_format(az_format_by_ggml(type[i])))
            return az_fail(az, AZ_BAD_INPUT, "low-rank weight [%lld, %lld]: factor %s has the unknown type %d", (long long)w->rows,
                           (long long)w->cols, w->format->part_name[i], type[i]);
    if (w->part[V]->rank != 2 || w->part[V]->shape[0] < 1)
        return az_fail(az, AZ_BAD_INPUT, "low-rank weight [%lld, %lld]: factor v must be a matrix, its shape is %s", (long long)w->rows,
                       (long long)w->cols, az_shape_text(az, w->part[V]));
    bool good = (w->part[U]->dtype == AZ_F64) == (w->part[V]->dtype == AZ_F64) ||
                az_fail(az, AZ_BAD_INPUT, "low-rank weight [%lld, %lld]: one factor alone is f64", (long long)w->rows, (long long)w->cols);
    for (int i = 0; i < 2 && good; i++) {
        const az_weight f = factor(w, i);
        good = az_weight_from_parts(az, f.format, f.rows, f.cols, f.part) != NULL;
        az_fail_context(az, "factor %s of a low-rank weight", w->format->part_name[i]);
    }
    return good;
}

const az_format az_format_lowrank = {
    .name = "lowrank",
    .summary = "a product of two factors, each in a format of its own",
    .part_name = {"u", "v", "types"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_lowrank,
    .apply = apply_lowrank,
    .apply_t = apply_t_lowrank,
    .recode = recode_lowrank,
    .check = check_lowrank,
};
