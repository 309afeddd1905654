/* pv_beam.c - beam search over the codes of additive codebooks.
 *
 * The rows of a group of outputs share their codes and are independent of all others. With R = W - W' [og, in], changing the entry of
 * tile j from u to v (scale s) changes the loss tr(R H R^T) by sum over the rows a of
 *     s^2 (v - u)_a^T H_jj (v - u)_a - 2 s <(v - u)_a, (R H)_a,j>.
 * A state of the beam is a choice of all codes with its loss and R H; inputs are visited in random order. */
#include "compress/pv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What all groups of outputs share. */
typedef struct search {
    int64_t groups, books, outs, entries, og, ig, cols, beam;
    const double *h;      /* [cols, cols] */
    const double *entry;  /* [books, entries, og, ig] */
    const double *turned; /* [books, og ig, entries] */
    const double *square; /* [groups, books, entries]: sum over a of v_a^T H_jj v_a */
    const int64_t *order; /* [groups] */
    const float *scale, *target;
} search;

typedef struct state {
    double loss;
    int64_t *code; /* [groups, books] */
    double *rh;    /* [og, cols] */
} state;

typedef struct candidate {
    double loss;
    int64_t parent, code;
} candidate;

static const double *entry_of(const search *s, int64_t book, int64_t code)
{
    return s->entry + (book * s->entries + code) * s->og * s->ig;
}

/* linear [og, ig] = 2 (s (R H)_j + s^2 u H_jj): the part of the change that is linear in v. */
static void linear_part(const search *s, const state *from, int64_t j, const double *u, double scale, double *linear)
{
    for (int64_t a = 0; a < s->og; a++)
        for (int64_t i = 0; i < s->ig; i++) {
            double uh = 0;
            for (int64_t k = 0; k < s->ig; k++) uh += u[a * s->ig + k] * s->h[(j * s->ig + k) * s->cols + j * s->ig + i];
            linear[a * s->ig + i] = 2 * scale * (from->rh[a * s->cols + j * s->ig + i] + scale * uh);
        }
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* Keeps the `most` best, sorted; of equal ones the one that came first. Returns their number. */
static int64_t insert(candidate *list, int64_t n, int64_t most, candidate new)
{
    if (n == most && !(new.loss < list[n - 1].loss)) return n;
    int64_t at = n < most ? n : n - 1;
    for (; at > 0 && new.loss < list[at - 1].loss; at--) list[at] = list[at - 1];
    list[at] = new;
    return n < most ? n + 1 : n;
}

/* change [count] of entries first .. first + count - 1: scale^2 v H v - linear v. */
static void changes_of(const search *s, int64_t book, int64_t first, int64_t count, const double *square, const double *linear,
                       double scale, double *change)
{
    const int64_t width = s->og * s->ig;
    for (int64_t e = 0; e < count; e++) change[e] = scale * scale * square[first + e];
    for (int64_t i = 0; i < width; i++) {
        const double *value = s->turned + (book * width + i) * s->entries + first;
        for (int64_t e = 0; e < count; e++) change[e] -= linear[i] * value[e];
    }
}

/* The best choices for (j, book) over all states and entries. */
static int64_t find_candidates(const search *s, const state *states, int64_t n, int64_t j, int64_t book, double scale, candidate *list)
{
    enum { AT_ONCE = 256 };
    double linear[AZ_PV_MOST_TILE], change[AT_ONCE];
    int64_t found = 0;
    for (int64_t b = 0; b < n; b++) {
        const int64_t before = states[b].code[j * s->books + book];
        const double *u = entry_of(s, book, before), *square = s->square + (j * s->books + book) * s->entries;
        linear_part(s, &states[b], j, u, scale, linear);
        const double own = scale * scale * square[before] - dot(linear, u, s->og * s->ig); /* so that v = u changes nothing */
        for (int64_t first = 0; first < s->entries; first += AT_ONCE) {
            const int64_t count = s->entries - first < AT_ONCE ? s->entries - first : AT_ONCE;
            changes_of(s, book, first, count, square, linear, scale, change);
            for (int64_t e = 0; e < count; e++) {
                const double gain = first + e == before ? 0 : change[e] - own;
                found = insert(list, found, s->beam, (candidate){states[b].loss + gain, b, first + e});
            }
        }
    }
    return found;
}

static void take(const search *s, const state *from, const candidate *c, int64_t j, int64_t book, double scale, state *to)
{
    const int64_t before = from->code[j * s->books + book];
    memcpy(to->code, from->code, (size_t)(s->groups * s->books) * sizeof *to->code);
    memcpy(to->rh, from->rh, (size_t)(s->og * s->cols) * sizeof *to->rh);
    to->loss = c->loss;
    to->code[j * s->books + book] = c->code;
    if (c->code == before) return;
    const double *u = entry_of(s, book, before), *v = entry_of(s, book, c->code);
    for (int64_t a = 0; a < s->og; a++)
        for (int64_t i = 0; i < s->ig; i++) {
            const double d = scale * (v[a * s->ig + i] - u[a * s->ig + i]);
            const double *row = s->h + (j * s->ig + i) * s->cols;
            for (int64_t k = 0; k < s->cols; k++) to->rh[a * s->cols + k] -= d * row[k];
        }
}

/* The state of the present codes of output group o. */
static void first_state(const search *s, const az_weight *w, int64_t o, double *residual, state *out)
{
    const az_tensor *codes = w->part[0];
    memset(residual, 0, (size_t)(s->og * s->cols) * sizeof *residual);
    for (int64_t j = 0; j < s->groups; j++)
        for (int64_t c = 0; c < s->books; c++) {
            const int64_t at = (j * s->books + c) * s->outs + o;
            const int64_t code = codes->dtype == AZ_U8 ? ((const uint8_t *)codes->data)[at] : ((const uint16_t *)codes->data)[at];
            const double *e = entry_of(s, c, code);
            out->code[j * s->books + c] = code;
            for (int64_t a = 0; a < s->og; a++)
                for (int64_t i = 0; i < s->ig; i++) residual[a * s->cols + j * s->ig + i] -= (double)s->scale[o] * e[a * s->ig + i];
        }
    out->loss = 0;
    for (int64_t a = 0; a < s->og; a++) {
        double *r = residual + a * s->cols, *rh = out->rh + a * s->cols;
        for (int64_t k = 0; k < s->cols; k++) r[k] += (double)s->target[(o * s->og + a) * s->cols + k], rh[k] = 0;
        for (int64_t i = 0; i < s->cols; i++)
            for (int64_t k = 0; k < s->cols; k++) rh[k] += r[i] * s->h[i * s->cols + k];
        out->loss += dot(r, rh, s->cols);
    }
}

/* One thread's room: two beams that take turns. */
typedef struct room {
    state *now, *next; /* [beam] */
    candidate *list;   /* [beam] */
    double *residual;  /* [og, cols] */
} room;

static bool make_room(az_ctx *az, const search *s, room *r)
{
    r->now = az_alloc_array(az, (size_t)s->beam, sizeof *r->now);
    r->next = az_alloc_array(az, (size_t)s->beam, sizeof *r->next);
    r->list = az_alloc_array(az, (size_t)s->beam, sizeof *r->list);
    r->residual = az_alloc_array(az, (size_t)(s->og * s->cols), sizeof *r->residual);
    for (int64_t b = 0; b < 2 * s->beam && r->now && r->next; b++) {
        state *one = b < s->beam ? &r->now[b] : &r->next[b - s->beam];
        one->code = az_alloc_array(az, (size_t)(s->groups * s->books), sizeof *one->code);
        one->rh = az_alloc_array(az, (size_t)(s->og * s->cols), sizeof *one->rh);
    }
    return az_ok(az);
}

/* Searches the codes of one group of outputs and stores them; returns the loss. */
static double search_group(const search *s, az_weight *w, int64_t o, room *r)
{
    const double scale = (double)s->scale[o];
    int64_t n = 1;
    first_state(s, w, o, r->residual, &r->now[0]);
    for (int64_t g = 0; g < s->groups; g++)
        for (int64_t c = 0; c < s->books; c++) {
            const int64_t j = s->order[g], found = find_candidates(s, r->now, n, j, c, scale, r->list);
            const bool stays = s->beam == 1 && r->list[0].code == r->now[0].code[j * s->books + c];
            if (stays) continue;
            for (int64_t b = 0; b < found; b++) take(s, &r->now[r->list[b].parent], &r->list[b], j, c, scale, &r->next[b]);
            state *swap = r->now;
            r->now = r->next, r->next = swap;
            n = found;
        }
    for (int64_t i = 0; i < s->groups * s->books; i++) {
        const int64_t at = i * s->outs + o;
        if (w->part[0]->dtype == AZ_U8)
            ((uint8_t *)w->part[0]->data)[at] = (uint8_t)r->now[0].code[i];
        else
            ((uint16_t *)w->part[0]->data)[at] = (uint16_t)r->now[0].code[i];
    }
    return r->now[0].loss;
}

static void fill_squares(const search *s, double *square)
{
    for (int64_t j = 0; j < s->groups; j++)
        for (int64_t e = 0; e < s->books * s->entries; e++) {
            const double *v = s->entry + e * s->og * s->ig;
            double sum = 0;
            for (int64_t a = 0; a < s->og; a++)
                for (int64_t i = 0; i < s->ig; i++)
                    sum += v[a * s->ig + i] * dot(v + a * s->ig, s->h + (j * s->ig + i) * s->cols + j * s->ig, s->ig);
            square[j * s->books * s->entries + e] = sum;
        }
}

double az_pv_beam_search(az_ctx *az, az_weight *w, const az_tensor *target, const az_tensor *h, int64_t beam, uint64_t seed)
{
    const az_tensor *codes = w->part[0], *books = w->part[1];
    search s = {.groups = codes->shape[0],
                .books = codes->shape[1],
                .outs = codes->shape[2],
                .entries = books->shape[1],
                .og = books->shape[2],
                .ig = books->shape[3],
                .cols = w->cols,
                .beam = beam,
                .h = az_f64(h),
                .scale = az_f32(w->part[2]),
                .target = az_f32(target)};
    az_scope_push(az);
    const int threads = az_threads(az);
    double *square = az_alloc_array(az, (size_t)(s.groups * s.books * s.entries), sizeof *square);
    double *losses = az_alloc_array(az, (size_t)s.outs, sizeof *losses);
    int64_t *order = az_alloc_array(az, (size_t)s.groups, sizeof *order);
    room *rooms = az_alloc_array(az, (size_t)threads, sizeof *rooms);
    const az_tensor *entries = az_reshape(az, az_cast(az, books, AZ_F64), 3, (const int64_t[]){s.books, s.entries, s.og * s.ig});
    s.entry = az_f64(entries);
    s.turned = az_f64(az_copy(az, az_transpose(az, entries)));
    for (int t = 0; rooms && t < threads; t++) make_room(az, &s, &rooms[t]);
    double loss = 0;
    if (az_ok(az)) {
        az_rng rng = az_rng_at(seed, az_stream("beam search", (uint64_t)s.groups));
        for (int64_t g = 0; g < s.groups; g++) order[g] = g;
        az_shuffle(&rng, order, s.groups);
        fill_squares(&s, square);
        s.square = square, s.order = order;
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int t = 0; t < threads; t++)
            for (int64_t o = t; o < s.outs; o += threads) losses[o] = search_group(&s, w, o, &rooms[t]);
        for (int64_t o = 0; o < s.outs; o++) loss += losses[o];
    }
    az_scope_pop(az);
    return loss;
}
