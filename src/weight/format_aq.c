/* format_aq.c - additive quantization: each tile of a matrix is a sum of entries of codebooks.
 *
 * Tile (o, j), of og outputs by ig inputs, is scale_o * sum over c of codebook_c[code_{j,c,o}]. Parts: codes [in / ig, C, out / og], one
 * byte each or (for more than 256 entries) two; codebooks [C, entries, og, ig]; scales [out / og].
 *
 * Egiazarian et al.: "Extreme compression of large language models via additive quantization", ICML 2024 (arXiv 2401.06118). */
#include "tensor/half.h"
#include "weight/weight_internal.h"

#include <string.h>

enum { CODES, CODEBOOKS, SCALES };

/* What the parts say, once for a whole product or decoding. */
typedef struct shape {
    int64_t groups, books, entries, out_group, in_group, outs; /* groups: of inputs; outs: groups of outputs */
    const uint8_t *code8;
    const uint16_t *code16;
    const float *book32;
    const uint16_t *book16;
    const float *scale;
} shape;

static shape shape_of(const az_weight *w)
{
    const az_tensor *codes = w->part[CODES], *books = w->part[CODEBOOKS];
    const bool narrow = codes->dtype == AZ_U8, wide = books->dtype == AZ_F32;
    return (shape){.groups = codes->shape[0],
                   .books = codes->shape[1],
                   .outs = codes->shape[2],
                   .entries = books->shape[1],
                   .out_group = books->shape[2],
                   .in_group = books->shape[3],
                   .code8 = narrow ? codes->data : NULL,
                   .code16 = narrow ? NULL : codes->data,
                   .book32 = wide ? books->data : NULL,
                   .book16 = wide ? NULL : books->data,
                   .scale = w->part[SCALES]->data};
}

static int64_t code_at(const shape *s, int64_t group, int64_t book, int64_t out)
{
    const int64_t at = (group * s->books + book) * s->outs + out;
    return s->code8 ? s->code8[at] : s->code16[at];
}

/* to[0 .. in_group) += row `inside` of an entry */
static void add_entry(const shape *s, int64_t book, int64_t code, int64_t inside, float *to)
{
    const int64_t at = ((book * s->entries + code) * s->out_group + inside) * s->in_group;
    for (int64_t i = 0; i < s->in_group; i++) to[i] += s->book32 ? s->book32[at + i] : az_f16_widen(s->book16[at + i]);
}

static void decode_aq(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const shape s = shape_of(w);
    memset(out, 0, (size_t)(n * w->cols) * sizeof *out);
    for (int64_t r = 0; r < n; r++) {
        const int64_t o = (first + r) / s.out_group, inside = (first + r) % s.out_group;
        float *row = out + r * w->cols;
        for (int64_t j = 0; j < s.groups; j++)
            for (int64_t c = 0; c < s.books; c++) add_entry(&s, c, code_at(&s, j, c, o), inside, row + j * s.in_group);
        for (int64_t i = 0; i < w->cols; i++) row[i] *= s.scale[o];
    }
}

/* ---- products with few vectors, by tables: table[j][c][e] = x_j . codebook_c[e], y_o = scale_o * sum of table[j][c][code_{j,c,o}] ---- */

enum { TABLE = 256, ROWS = 512 }; /* entries of a table; outputs that are summed up while the tables pass by */

/* Codebooks by columns, [C, in_group, 256], the entries that are missing zero: a table is then a sum of scaled columns. */
static float *columns_of(az_ctx *az, const shape *s)
{
    az_tensor *turned = az_zeros(az, AZ_F32, 3, (const int64_t[]){s->books, s->in_group, TABLE});
    float *to = az_f32_mut(turned);
    for (int64_t c = 0; to && c < s->books; c++)
        for (int64_t e = 0; e < s->entries; e++)
            for (int64_t i = 0; i < s->in_group; i++) {
                const int64_t at = (c * s->entries + e) * s->in_group + i;
                to[(c * s->in_group + i) * TABLE + e] = s->book32 ? s->book32[at] : az_f16_widen(s->book16[at]);
            }
    return to;
}

static void fill_tables(az_ctx *az, const shape *s, const float *columns, const float *x, float *table)
{
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t t = 0; t < s->groups * s->books; t++) {
        float *to = table + t * TABLE;
        const float *column = columns + t % s->books * s->in_group * TABLE, *value = x + t / s->books * s->in_group;
        memset(to, 0, TABLE * sizeof *to);
        for (int64_t i = 0; i < s->in_group; i++, column += TABLE)
            for (int e = 0; e < TABLE; e++) to[e] += value[i] * column[e];
    }
}

static void matmul_aq(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    const shape s = shape_of(w);
    if (n > AZ_FEW_TABLES || !s.code8 || s.out_group > 1) {
        az_tiles_matmul(az, w, x, n, y);
        return;
    }
    az_scope_push(az);
    const float *columns = columns_of(az, &s);
    az_tensor *tables = az_new2(az, AZ_F32, s.groups * s.books, TABLE);
    for (int64_t v = 0; v < n && az_ok(az); v++) {
        float *sum = y + v * w->rows;
        fill_tables(az, &s, columns, x + v * w->cols, az_f32_mut(tables));
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
        for (int64_t first = 0; first < s.outs; first += ROWS) {
            const int64_t count = s.outs - first < ROWS ? s.outs - first : ROWS;
            az_weight_kernels_here()->look_up(az_f32(tables), s.groups * s.books, s.code8 + first, s.outs, count, sum + first);
            for (int64_t o = first; o < first + count; o++) sum[o] *= s.scale[o];
        }
    }
    az_scope_pop(az);
}

/* ---- checking ---- */

static bool parts_fit(const az_weight *w)
{
    const az_tensor *codes = w->part[CODES], *books = w->part[CODEBOOKS], *scales = w->part[SCALES];
    if (codes->rank != 3 || books->rank != 4 || scales->rank != 1) return false;
    if (codes->dtype != AZ_U8 && codes->dtype != AZ_I16) return false;
    if ((books->dtype != AZ_F32 && books->dtype != AZ_F16) || scales->dtype != AZ_F32) return false;
    const int64_t out_group = books->shape[2], in_group = books->shape[3], most = codes->dtype == AZ_U8 ? 256 : 65536;
    return az_is_contiguous(codes) && az_is_contiguous(books) && az_is_contiguous(scales) && out_group >= 1 && in_group >= 1 &&
           books->shape[0] >= 1 && books->shape[0] == codes->shape[1] && books->shape[1] >= 1 && books->shape[1] <= most &&
           w->rows % out_group == 0 && w->cols % in_group == 0 && codes->shape[0] == w->cols / in_group &&
           codes->shape[2] == w->rows / out_group && scales->shape[0] == w->rows / out_group;
}

static bool check_aq(az_ctx *az, const az_weight *w)
{
    if (!parts_fit(w))
        return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld] of format aq: codes %s %s, codebooks %s %s and scales %s %s do not fit",
                       (long long)w->rows, (long long)w->cols, az_dtype_name(w->part[CODES]->dtype), az_shape_text(az, w->part[CODES]),
                       az_dtype_name(w->part[CODEBOOKS]->dtype), az_shape_text(az, w->part[CODEBOOKS]),
                       az_dtype_name(w->part[SCALES]->dtype), az_shape_text(az, w->part[SCALES]));
    const shape s = shape_of(w);
    const int64_t n = s.groups * s.books * s.outs;
    for (int64_t i = 0; i < n; i++) {
        const int64_t code = s.code8 ? s.code8[i] : s.code16[i];
        if (code >= s.entries)
            return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld] of format aq: code %lld at %lld, but a codebook has %lld entries",
                           (long long)w->rows, (long long)w->cols, (long long)code, (long long)i, (long long)s.entries);
    }
    return true;
}

const az_format az_format_aq = {
    .name = "aq",
    .summary = "additive quantization: tiles are sums of codebook entries, 1 to 4 bits a weight",
    .part_name = {"codes", "codebooks", "scales"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_aq,
    .matmul = matmul_aq,
    .check = check_aq,
};
