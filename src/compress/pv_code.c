/* pv_code.c - matrices of codes and values: what a tile is, its nearest codes, and the derivatives of the values. */
#include "compress/pv.h"

#include <math.h>
#include <string.h>

enum { CODES = 0, BOOKS = 1, AQ_SCALES = 2, GRID_SCALES = 1, GRID_ZEROS = 2, GRID_BITS = 3 };

static bool is_grid(const az_weight *w)
{
    return w->format == az_format_by_name("grid");
}

int az_pv_values(az_weight *w, az_tensor *values[AZ_PV_VALUES])
{
    values[0] = w->part[1];
    values[1] = w->part[2];
    return AZ_PV_VALUES;
}

/* ---- tiles of aq ---- */

typedef struct aq {
    int64_t groups, books, outs, entries, og, ig, cols;
    void *code;
    bool narrow;
    float *book, *scale;
} aq;

static aq aq_of(const az_weight *w)
{
    const az_tensor *codes = w->part[CODES], *books = w->part[BOOKS];
    return (aq){.groups = codes->shape[0],
                .books = codes->shape[1],
                .outs = codes->shape[2],
                .entries = books->shape[1],
                .og = books->shape[2],
                .ig = books->shape[3],
                .cols = w->cols,
                .code = codes->data,
                .narrow = codes->dtype == AZ_U8,
                .book = books->data,
                .scale = w->part[AQ_SCALES]->data};
}

/* Tiles are numbered o groups + j. */
static int64_t place(const aq *q, int64_t tile, int64_t book)
{
    return (tile % q->groups * q->books + book) * q->outs + tile / q->groups;
}

static int64_t get_code(const aq *q, int64_t tile, int64_t book)
{
    const int64_t at = place(q, tile, book);
    return q->narrow ? ((const uint8_t *)q->code)[at] : ((const uint16_t *)q->code)[at];
}

static void set_code(const aq *q, int64_t tile, int64_t book, int64_t code)
{
    const int64_t at = place(q, tile, book);
    if (q->narrow)
        ((uint8_t *)q->code)[at] = (uint8_t)code;
    else
        ((uint16_t *)q->code)[at] = (uint16_t)code;
}

static const float *entry(const aq *q, int64_t book, int64_t code)
{
    return q->book + (book * q->entries + code) * q->og * q->ig;
}

/* Position in the matrix of the tile's row a. */
static int64_t tile_row(const aq *q, int64_t tile, int64_t a)
{
    return (tile / q->groups * q->og + a) * q->cols + tile % q->groups * q->ig;
}

int64_t az_pv_tiles(const az_weight *w)
{
    if (is_grid(w)) return w->rows * w->cols;
    return w->part[CODES]->shape[0] * w->part[CODES]->shape[2];
}

void az_pv_decode_tile(const az_weight *w, int64_t tile, float *matrix)
{
    if (is_grid(w)) {
        const int64_t r = tile / w->cols, c = tile % w->cols, groups = w->part[GRID_SCALES]->shape[1];
        const int64_t at = r * groups + c / (w->cols / groups);
        matrix[tile] = az_f32(w->part[GRID_SCALES])[at] * ((float)az_grid_code(w, r, c) - az_f32(w->part[GRID_ZEROS])[at]);
        return;
    }
    const aq q = aq_of(w);
    for (int64_t a = 0; a < q.og; a++) {
        float *row = matrix + tile_row(&q, tile, a);
        memset(row, 0, (size_t)q.ig * sizeof *row);
        for (int64_t c = 0; c < q.books; c++) {
            const float *e = entry(&q, c, get_code(&q, tile, c)) + a * q.ig;
            for (int64_t i = 0; i < q.ig; i++) row[i] += e[i];
        }
        for (int64_t i = 0; i < q.ig; i++) row[i] *= q.scale[tile / q.groups];
    }
}

double az_pv_tile_distance(const az_weight *w, int64_t tile, const float *a, const float *b)
{
    if (is_grid(w)) return ((double)a[tile] - (double)b[tile]) * ((double)a[tile] - (double)b[tile]);
    const aq q = aq_of(w);
    double sum = 0;
    for (int64_t r = 0; r < q.og; r++) {
        const int64_t at = tile_row(&q, tile, r);
        for (int64_t i = 0; i < q.ig; i++) {
            const double d = (double)a[at + i] - (double)b[at + i];
            sum += d * d;
        }
    }
    return sum;
}

/* ---- nearest codes ---- */

typedef struct ranking {
    int64_t best, second;
    float best_distance, second_distance;
} ranking;

static void rank_candidate(ranking *r, int64_t code, float distance)
{
    if (distance < r->best_distance) {
        r->second = r->best, r->second_distance = r->best_distance;
        r->best = code, r->best_distance = distance;
    } else if (distance < r->second_distance) {
        r->second = code, r->second_distance = distance;
    }
}

static const ranking no_ranking = {-1, -1, INFINITY, INFINITY};

float *az_pv_turned_books(az_ctx *az, const az_weight *w)
{
    if (is_grid(w)) return NULL;
    const aq q = aq_of(w);
    const int64_t n = q.og * q.ig;
    float *turned = az_alloc_array(az, (size_t)(q.books * n * q.entries), sizeof *turned);
    for (int64_t c = 0; turned && c < q.books; c++)
        for (int64_t e = 0; e < q.entries; e++)
            for (int64_t i = 0; i < n; i++) turned[(c * n + i) * q.entries + e] = entry(&q, c, e)[i];
    return turned;
}

/* The entries of a book nearest to x, in units of the scale; turned [books, og ig, entries]. */
static ranking rank_entries(const aq *q, int64_t book, const float *turned, const float *x)
{
    enum { AT_ONCE = 256 };
    ranking r = no_ranking;
    const int64_t n = q->og * q->ig;
    for (int64_t first = 0; first < q->entries; first += AT_ONCE) {
        const int64_t count = q->entries - first < AT_ONCE ? q->entries - first : AT_ONCE;
        float distance[AT_ONCE] = {0};
        for (int64_t i = 0; i < n; i++) {
            const float *value = turned + (book * n + i) * q->entries + first;
            for (int64_t e = 0; e < count; e++) distance[e] += (x[i] - value[e]) * (x[i] - value[e]);
        }
        for (int64_t e = 0; e < count; e++) rank_candidate(&r, first + e, distance[e]);
    }
    return r;
}

/* x [og ig] = the target in units of the scale, minus the entries of all books. */
static void tile_residual(const aq *q, int64_t tile, const float *target, float *x)
{
    const float scale = q->scale[tile / q->groups], inverse = scale != 0 ? 1 / scale : 0;
    for (int64_t a = 0; a < q->og; a++)
        for (int64_t i = 0; i < q->ig; i++) x[a * q->ig + i] = target[tile_row(q, tile, a) + i] * inverse;
    for (int64_t c = 0; c < q->books; c++) {
        const float *e = entry(q, c, get_code(q, tile, c));
        for (int64_t i = 0; i < q->og * q->ig; i++) x[i] -= e[i];
    }
}

static void add_entry(const aq *q, int64_t book, int64_t code, float sign, float *x)
{
    const float *e = entry(q, book, code);
    for (int64_t i = 0; i < q->og * q->ig; i++) x[i] += sign * e[i];
}

static const az_pv_rounding plainly = {0};

static az_rng draws_of(const az_pv_rounding *how, int64_t tile)
{
    return az_rng_at(how->seed, az_stream("pv rounding", (uint64_t)tile));
}

/* Whether the second best is drawn; the squared errors of both. */
static bool draws_second(const az_pv_rounding *how, az_rng *rng, double best, double second)
{
    return az_uniform(rng) * (1 + pow(second / best, 0.5 / how->temperature)) < 1;
}

static bool nearest_aq(const az_weight *w, int64_t tile, const float *turned, const float *target, const az_pv_rounding *how)
{
    const aq q = aq_of(w);
    float x[AZ_PV_MOST_TILE];
    bool changed = false;
    const int64_t turns = q.books > 1 ? 2 * q.books : 1;
    az_rng rng = how->temperature > 0 ? draws_of(how, tile) : (az_rng){0};
    tile_residual(&q, tile, target, x);
    for (int64_t turn = 0; turn < turns; turn++) {
        const int64_t c = turn % q.books, before = get_code(&q, tile, c);
        add_entry(&q, c, before, 1, x);
        const ranking r = rank_entries(&q, c, turned, x);
        int64_t code = r.best < 0 ? before : r.best;
        if (how->temperature > 0 && turn + q.books >= turns && r.second >= 0 && draws_second(how, &rng, r.best_distance, r.second_distance))
            code = r.second;
        if (how->second && !changed && turn + 1 == turns && r.second >= 0 && code == before) code = code == r.best ? r.second : r.best;
        changed = changed || code != before;
        set_code(&q, tile, c, code);
        add_entry(&q, c, code, -1, x);
    }
    return changed;
}

static bool nearest_grid(az_weight *w, int64_t tile, const float *target, const az_pv_rounding *how)
{
    const int64_t r = tile / w->cols, c = tile % w->cols, groups = w->part[GRID_SCALES]->shape[1], at = r * groups + c / (w->cols / groups);
    const float scale = az_f32(w->part[GRID_SCALES])[at], zero = az_f32(w->part[GRID_ZEROS])[at];
    const int last = (1 << *(const int32_t *)w->part[GRID_BITS]->data) - 1, before = az_grid_code(w, r, c);
    if (scale == 0) return false;
    const float position = fminf(fmaxf(target[tile] / scale + zero, -1), (float)last + 1);
    const int rounded = (int)lrintf(position), best = rounded < 0 ? 0 : rounded > last ? last : rounded;
    int second = position > (float)best ? best + 1 : best - 1, code = best;
    if (second < 0 || second > last) second = best == 0 ? 1 : last - 1;
    if (how->temperature > 0) {
        az_rng rng = draws_of(how, tile);
        const double one = position - (float)best, two = position - (float)second;
        if (draws_second(how, &rng, one * one, two * two)) code = second;
    }
    if (how->second && code == before) code = code == best ? second : best;
    az_grid_set_code(w, r, c, code);
    return code != before;
}

bool az_pv_nearest(az_weight *w, int64_t tile, const float *turned, const float *target, const az_pv_rounding *how)
{
    if (!how) how = &plainly;
    return is_grid(w) ? nearest_grid(w, tile, target, how) : nearest_aq(w, tile, turned, target, how);
}

/* ---- entries ---- */

int64_t az_pv_code(const az_weight *w, int64_t tile, int64_t book)
{
    const aq q = aq_of(w);
    return get_code(&q, tile, book);
}

int64_t *az_pv_uses(az_ctx *az, const az_weight *w)
{
    const aq q = aq_of(w);
    int64_t *uses = az_alloc_array(az, (size_t)(q.books * q.entries), sizeof *uses);
    for (int64_t tile = 0; uses && tile < q.outs * q.groups; tile++)
        for (int64_t c = 0; c < q.books; c++) uses[c * q.entries + get_code(&q, tile, c)]++;
    return uses;
}

bool az_pv_seed_entry(az_weight *w, int64_t book, int64_t entry, int64_t tile, const float *target)
{
    const aq q = aq_of(w);
    const int64_t n = q.og * q.ig;
    float x[AZ_PV_MOST_TILE];
    if (q.scale[tile / q.groups] == 0) return false;
    tile_residual(&q, tile, target, x);
    add_entry(&q, book, get_code(&q, tile, book), 1, x);
    memcpy(q.book + (book * q.entries + entry) * n, x, (size_t)n * sizeof *x);
    return true;
}

/* ---- derivatives of the values ---- */

static void aq_gradients(const az_weight *w, const float *g, float *book, float *scale)
{
    const aq q = aq_of(w);
    const int64_t n = q.og * q.ig;
    for (int64_t tile = 0; tile < q.outs * q.groups; tile++) {
        const int64_t o = tile / q.groups;
        for (int64_t c = 0; c < q.books; c++) {
            const int64_t code = get_code(&q, tile, c);
            float *to = book + (c * q.entries + code) * n;
            const float *e = entry(&q, c, code);
            for (int64_t a = 0; a < q.og; a++) {
                const float *from = g + tile_row(&q, tile, a);
                for (int64_t i = 0; i < q.ig; i++) {
                    to[a * q.ig + i] += q.scale[o] * from[i];
                    scale[o] += from[i] * e[a * q.ig + i];
                }
            }
        }
    }
}

static void grid_gradients(const az_weight *w, const float *g, float *scale, float *zero)
{
    const int64_t groups = w->part[GRID_SCALES]->shape[1], width = w->cols / groups;
    for (int64_t r = 0; r < w->rows; r++)
        for (int64_t c = 0; c < w->cols; c++) {
            const int64_t at = r * groups + c / width;
            scale[at] += g[r * w->cols + c] * ((float)az_grid_code(w, r, c) - az_f32(w->part[GRID_ZEROS])[at]);
            zero[at] -= g[r * w->cols + c] * az_f32(w->part[GRID_SCALES])[at];
        }
}

bool az_pv_gradients(az_ctx *az, const az_weight *w, const az_tensor *g, az_tensor *gradient[AZ_PV_VALUES])
{
    for (int i = 0; i < AZ_PV_VALUES; i++) gradient[i] = az_zeros(az, AZ_F32, w->part[i + 1]->rank, w->part[i + 1]->shape);
    if (!gradient[0] || !gradient[1] || !g) return false;
    (is_grid(w) ? grid_gradients : aq_gradients)(w, az_f32(g), az_f32_mut(gradient[0]), az_f32_mut(gradient[1]));
    return true;
}
