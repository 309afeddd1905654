/* format_aq.c - additive quantization: each tile of a matrix is a sum of entries of codebooks.
 *
 * Tile (o, j), of og outputs by ig inputs, is scale_o * sum over c of codebook_c[code_{j,c,o}]. Parts: codes [in / ig, C, out / og], one
 * byte each or (for more than 256 entries) two; codebooks [C, entries, og, ig]; scales [out / og].
 *
 * Egiazarian et al.: "Extreme compression of large language models via additive quantization", ICML 2024 (arXiv 2401.06118). */
#include "base/parallel.h"
#include "tensor/half.h"
#include "weight/kernels/tables.h"
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

enum { MOST_WIDE = 8192 }; /* values of codebooks that are worth widening for a few rows */

/* The codebooks as f32, in wide [MOST_WIDE] where they are not and fit. */
static void widen_books(const az_weight *w, shape *s, float *wide)
{
    const int64_t values = az_count(w->part[CODEBOOKS]);
    if (s->book32 || values > MOST_WIDE) return;
    az_weight_kernels_here()->widen_f16(s->book16, values, wide);
    s->book32 = wide;
}

static void decode_aq(const az_weight *w, int64_t first, int64_t n, float *out)
{
    float wide[MOST_WIDE];
    shape s = shape_of(w);
    if (n >= AZ_DECODE_ROWS / 2) widen_books(w, &s, wide);
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

/* Tables that a thread takes, each part with sums of its own. */
enum { PART = 128 };

typedef struct table_job {
    const shape *s;
    const float *columns; /* [C, in_group, 256] */
    const float *x;       /* [lanes, x_stride], beyond the last vector the last again */
    int64_t x_stride;
    int lanes;
    float *sums; /* [parts, outs, lanes] */
} table_job;

/* Codebooks by columns, the entries that are missing zero: a table is then a sum of scaled columns. */
static float *columns_of(az_ctx *az, const shape *s)
{
    az_tensor *turned = az_zeros(az, AZ_F32, 3, (const int64_t[]){s->books, s->in_group, AZ_TABLE});
    float *to = az_f32_mut(turned), *entry = az_scratch(az, s->in_group, sizeof *entry);
    for (int64_t c = 0; to && entry && c < s->books; c++)
        for (int64_t e = 0; e < s->entries; e++) {
            memset(entry, 0, (size_t)s->in_group * sizeof *entry);
            add_entry(s, c, e, 0, entry);
            for (int64_t i = 0; i < s->in_group; i++) to[(c * s->in_group + i) * AZ_TABLE + e] = entry[i];
        }
    return to;
}

static int64_t tables_of(const shape *s)
{
    return s->groups * s->books;
}

static const float *group_of(const table_job *job, int64_t table, int vector)
{
    return job->x + vector * job->x_stride + table / job->s->books * job->s->in_group;
}

/* The tables first .. first + count - 1, book by book, so that a book's columns stay in the first cache. */
static void fill_tables(const table_job *job, int64_t first, int64_t count, float *table)
{
    const shape *s = job->s;
    const az_table_kernels *kernels = az_table_kernels_here();
    const int64_t step = job->lanes == 1 ? 2 * s->books : s->books; /* two tables of a vector at a time, or one of four */
    for (int64_t b = 0; b < s->books; b++) {
        const float *column = job->columns + (first + b) % s->books * s->in_group * AZ_TABLE;
        for (int64_t t = b; t < count; t += step) {
            float each[AZ_TABLE_LANES * AZ_TABLE], *to = table + t * AZ_TABLE * job->lanes;
            const int64_t next = t + s->books < count ? t + s->books : t;
            if (job->lanes == 1) {
                const float *const x[2] = {group_of(job, first + t, 0), group_of(job, first + next, 0)};
                kernels->dot_two(column, s->in_group, x, (float *const[]){to, table + next * AZ_TABLE});
                continue;
            }
            for (int j = 0; j < AZ_TABLE_LANES; j += 2) {
                const float *const x[2] = {group_of(job, first + t, j), group_of(job, first + t, j + 1)};
                kernels->dot_two(column, s->in_group, x, (float *const[]){each + j * AZ_TABLE, each + (j + 1) * AZ_TABLE});
            }
            kernels->interleave(each, to);
        }
    }
}

static void sum_part(const void *tables, int64_t part)
{
    const table_job *job = tables;
    const shape *s = job->s;
    float table[AZ_TABLES * AZ_TABLE], *sums = job->sums + part * s->outs * job->lanes;
    const int64_t left = tables_of(s) - part * PART, end = part * PART + (left < PART ? left : PART), most = AZ_TABLES / job->lanes;
    memset(sums, 0, (size_t)(s->outs * job->lanes) * sizeof *sums);
    for (int64_t first = part * PART; first < end; first += most) {
        const int64_t count = end - first < most ? end - first : most;
        fill_tables(job, first, count, table);
        const az_tables some = {
            .lanes = job->lanes, .tables = count, .table = table, .code = s->code8 + first * s->outs, .stride = s->outs};
        az_table_kernels_here()->look_up(&some, s->outs, sums);
    }
}

/* Room for the vectors of a job, where they are fewer than its lanes. */
static const float *fill_up(const float *x, int64_t n, int64_t cols, int lanes, float *room)
{
    if (n == lanes) return x;
    for (int64_t j = 0; j < lanes; j++) memcpy(room + j * cols, x + (j < n ? j : n - 1) * cols, (size_t)cols * sizeof *room);
    return room;
}

static void matmul_aq(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    const shape s = shape_of(w);
    if (n > AZ_FEW || !s.code8 || s.out_group > 1) {
        az_tiles_matmul(az, w, x, n, y);
        return;
    }
    const int64_t parts = (tables_of(&s) + PART - 1) / PART;
    const int lanes = n == 1 ? 1 : AZ_TABLE_LANES;
    az_scope_push(az);
    float *sums = az_scratch(az, parts * s.outs, lanes * (int64_t)sizeof *sums),
          *room = az_scratch(az, lanes, w->cols * (int64_t)sizeof *room);
    table_job job = {.s = &s, .columns = columns_of(az, &s), .x_stride = w->cols, .lanes = lanes, .sums = sums};
    for (int64_t first = 0; first < n && az_ok(az); first += lanes) {
        const int64_t some = n - first < lanes ? n - first : lanes;
        job.x = fill_up(x + first * w->cols, some, w->cols, lanes, room);
        az_each_uneven(az_threads(az), parts, sum_part, &job);
        for (int64_t o = 0; o < s.outs; o++)
            for (int64_t j = 0; j < some; j++) {
                float total = 0;
                for (int64_t p = 0; p < parts; p++) total += sums[(p * s.outs + o) * lanes + j];
                y[(first + j) * w->rows + o] = s.scale[o] * total;
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
