/* pv_step.c - the two steps of PV-tuning on one matrix: values by Adam, and codes in the subspace of the tiles that moved farthest. */
#include "compress/pv.h"

#include <math.h>
#include <stdlib.h>

static double norm(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

void az_pv_adam_step(const az_pv_adam *how, int64_t step, double lr, const az_tensor *g, az_tensor *m, az_tensor *v, const az_tensor *x,
                     az_tensor *out)
{
    const int64_t n = az_count(x);
    const float *gradient = az_f32(g), *from = az_f32(x);
    float *first = az_f32_mut(m), *square = az_f32_mut(v), *to = az_f32_mut(out);
    const double correct1 = 1 - pow(how->beta1, (double)step), correct2 = 1 - pow(how->beta2, (double)step);
    double length = 0;
    for (int64_t i = 0; i < n; i++) {
        const double gi = (double)gradient[i], before = (double)square[i];
        first[i] = (float)(how->beta1 * (double)first[i] + (1 - how->beta1) * gi);
        const double average = how->beta2 * before + (1 - how->beta2) * gi * gi;
        square[i] = (float)(how->amsgrad && average < before ? before : average);
        const double d = (double)first[i] / correct1 / (sqrt((double)square[i] / correct2) + how->eps);
        length += d * d;
    }
    const double size = norm(from, n), ratio = how->relative && size > 0 && length > 0 ? size / sqrt(length) : 1;
    for (int64_t i = 0; i < n; i++) {
        const double d = (double)first[i] / correct1 / (sqrt((double)square[i] / correct2) + how->eps);
        to[i] = (float)((double)from[i] - lr * ratio * d);
    }
}

/* A tile and how far its target lies from it. */
typedef struct moved {
    double distance;
    int64_t tile;
} moved;

/* Farthest first; of equal ones the first. */
static int farthest_first(const void *a, const void *b)
{
    const moved *x = a, *y = b;
    if (x->distance != y->distance) return x->distance > y->distance ? -1 : 1;
    return (x->tile > y->tile) - (x->tile < y->tile);
}

/* log distance / temperature + a Gumbel variable: in descending order these are draws without replacement. */
static double drawn_key(const az_pv_reach *reach, int64_t tile, double square)
{
    az_rng rng = az_rng_at(reach->rounding.seed, az_stream("pv tiles", (uint64_t)tile));
    return 0.5 * log(square) / reach->temperature - log(-log(az_uniform(&rng) + 0x1p-54));
}

/* Tiles in the order in which they may change. */
static moved *list_moved(az_ctx *az, const az_weight *w, const float *target, const float *matrix, const az_pv_reach *reach)
{
    const int64_t tiles = az_pv_tiles(w);
    moved *list = az_alloc_array(az, (size_t)tiles, sizeof *list);
    for (int64_t t = 0; list && t < tiles; t++) {
        const double square = az_pv_tile_distance(w, t, target, matrix);
        list[t] = (moved){reach->temperature > 0 ? drawn_key(reach, t, square) : square, t};
    }
    if (list) qsort(list, (size_t)tiles, sizeof *list, farthest_first);
    return list;
}

int64_t az_pv_reseed(az_ctx *az, az_weight *w, const az_tensor *target, const az_tensor *matrix)
{
    if (w->format != az_format_by_name("aq")) return 0;
    const int64_t entries = w->part[1]->shape[1], n = w->part[1]->shape[0] * entries, tiles = az_pv_tiles(w);
    int64_t seeded = 0, at = 0;
    az_scope_push(az);
    int64_t *uses = az_pv_uses(az, w);
    while (uses && at < n && uses[at] > 0) at++;
    const moved *far = uses && at < n ? list_moved(az, w, az_f32(target), az_f32(matrix), &(az_pv_reach){0}) : NULL;
    for (int64_t t = 0; far && at < n && t < tiles && far[t].distance > 0; t++) {
        const int64_t book = at / entries;
        int64_t *own = &uses[book * entries + az_pv_code(w, far[t].tile, book)];
        if (*own < 2 || !az_pv_seed_entry(w, book, at % entries, far[t].tile, az_f32(target))) continue;
        --*own;
        seeded++;
        do at++;
        while (at < n && uses[at] > 0);
    }
    az_scope_pop(az);
    return seeded;
}

/* All tiles, each for itself. Codes of a grid share bytes, so one thread sets them. */
static int64_t step_everywhere(az_ctx *az, az_weight *w, const float *turned, const float *target, float *matrix, const az_pv_rounding *how)
{
    const int64_t tiles = az_pv_tiles(w);
    int64_t changed = 0;
#pragma omp parallel for schedule(static) num_threads(turned ? az_threads(az) : 1) reduction(+ : changed)
    for (int64_t t = 0; t < tiles; t++) {
        if (!az_pv_nearest(w, t, turned, target, how)) continue;
        az_pv_decode_tile(w, t, matrix);
        changed++;
    }
    return changed;
}

int64_t az_pv_step(az_ctx *az, az_weight *w, const az_tensor *target, az_tensor *matrix, const az_pv_reach *reach)
{
    const int64_t tiles = az_pv_tiles(w), most = (int64_t)ceil(reach->tau * (double)tiles);
    const float *to = az_f32(target);
    float *now = az_f32_mut(matrix);
    int64_t changed = 0;
    az_scope_push(az);
    if (reach->reseed) az_pv_reseed(az, w, target, matrix);
    const float *turned = az_pv_turned_books(az, w);
    if (az_ok(az) && most >= tiles && reach->trust <= 0) {
        changed = step_everywhere(az, w, turned, to, now, &reach->rounding);
        az_scope_pop(az);
        return changed;
    }
    const moved *list = list_moved(az, w, to, now, reach);
    const az_tensor *before = az_copy(az, matrix);
    const double size = norm(now, az_count(matrix));
    double change = 0;
    for (int64_t i = 0; list && before && i < most; i++) {
        if (!az_pv_nearest(w, list[i].tile, turned, to, &reach->rounding)) continue;
        az_pv_decode_tile(w, list[i].tile, now);
        change += az_pv_tile_distance(w, list[i].tile, now, az_f32(before));
        changed++;
        if (reach->trust > 0 && sqrt(change) > reach->trust * size) break;
    }
    az_scope_pop(az);
    return changed;
}
