/* zeroth_pass.c - one pass of zeroth-order optimization over the parameters: a direction is drawn, or multiplied from its factors, a tile
 * at a time, and added in place. Tiles are cut by the shape alone, so results do not depend on the number of threads. */
#include "base/parallel.h"
#include "optim/zeroth_order.h"

#include <cblas.h>
#include <math.h>

enum { TILE_ROWS = 32, TILE_COLS = 256, TILE = TILE_ROWS * TILE_COLS };

typedef struct adam_rates {
    float rate;  /* lr / (1 - beta1^t) */
    float root;  /* of V: 1 / (1 - beta2^t) */
    float inner; /* eps inside the root, or */
    float outer; /* outside */
} adam_rates;

/* What the tiles of one parameter share. */
typedef struct tile_job {
    az_ctx *az;
    const az_zo *zo;
    const az_zo_slot *slot;
    int i;                             /* the slot's number */
    double weight[AZ_ZO_MOST_QUERIES]; /* of Z_q; with a plain rule its step is among them */
    double slope[AZ_ZO_MOST_QUERIES];  /* of the gradient that moments take in */
    bool moments;
    float keep, rate;
    adam_rates adam;
    /* low rank */
    const float *left, *right;          /* [rows, rank], [cols, rank]: the change */
    const float *first, *second, *wide; /* Adam: U diag(t_M), (U o U) diag(t_V), V o V */
} tile_job;

/* ---- elements ---- */

static void apply(const tile_job *job, float *restrict w, const float *restrict change, int64_t n)
{
    const float keep = job->keep;
    if (job->zo->options.keep_zeros)
        for (int64_t j = 0; j < n; j++) w[j] = w[j] != 0 ? keep * w[j] + change[j] : 0;
    else
        for (int64_t j = 0; j < n; j++) w[j] = keep * w[j] + change[j];
}

static void add_adam(const adam_rates *how, float *restrict change, const float *restrict m, const float *restrict v, int64_t n)
{
    for (int64_t j = 0; j < n; j++) change[j] -= how->rate * m[j] / (sqrtf(v[j] * how->root + how->inner) + how->outer);
}

/* The moments of n entries take in their slope, and give the direction that is subtracted from the change. */
static void use_moments(const tile_job *job, float *restrict change, const float *restrict slope, int64_t first, int64_t n)
{
    const float b1 = (float)job->zo->options.beta1, b2 = (float)job->zo->options.beta2;
    float *restrict m = az_f32_mut(job->slot->first) + first;
    for (int64_t j = 0; j < n; j++) m[j] = b1 * m[j] + (1 - b1) * slope[j];
    if (job->slot->second) {
        float *restrict v = az_f32_mut(job->slot->second) + first;
        for (int64_t j = 0; j < n; j++) v[j] = b2 * v[j] + (1 - b2) * slope[j] * slope[j];
        add_adam(&job->adam, change, m, v, n);
    } else {
        for (int64_t j = 0; j < n; j++) change[j] -= job->rate * m[j];
    }
}

/* ---- tiles ---- */

/* Entries whose direction is drawn one by one. */
static void dense_tile(const void *user, int64_t tile)
{
    const tile_job *job = user;
    const int64_t all = job->slot->rows * job->slot->cols, first = tile * TILE, n = all - first < TILE ? all - first : TILE;
    float change[TILE] = {0}, slope[TILE] = {0}, draw[TILE];
    for (int q = 0; q < job->zo->options.queries; q++) {
        const bool counts = job->moments && job->slope[q] != 0;
        if (job->weight[q] == 0 && !counts) continue;
        az_zo_fresh(job->az, job->zo, job->i, q, first, n, draw);
        cblas_saxpy((int)n, (float)job->weight[q], draw, 1, change, 1);
        if (counts) cblas_saxpy((int)n, (float)job->slope[q], draw, 1, slope, 1);
    }
    if (job->moments) use_moments(job, change, slope, first, n);
    apply(job, az_f32_mut(job->slot->parameter) + first, change, n);
}

/* out [rows, TILE_COLS] = left right^T of a tile. */
static void multiply(const tile_job *job, const float *left, const float *right, int64_t rows, int64_t cols, float *out)
{
    const int rank = (int)job->slot->rank;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)cols, rank, 1, left, rank, right, rank, 0, out, TILE_COLS);
}

static int64_t tiles_across(const az_zo_slot *slot)
{
    return (slot->cols + TILE_COLS - 1) / TILE_COLS;
}

static void low_rank_tile(const void *user, int64_t tile)
{
    const tile_job *job = user;
    const az_zo_slot *s = job->slot;
    const int64_t row = tile / tiles_across(s) * TILE_ROWS, col = tile % tiles_across(s) * TILE_COLS;
    const int64_t rows = s->rows - row < TILE_ROWS ? s->rows - row : TILE_ROWS;
    const int64_t cols = s->cols - col < TILE_COLS ? s->cols - col : TILE_COLS;
    float change[TILE], m[TILE], v[TILE];
    multiply(job, job->left + row * s->rank, job->right + col * s->rank, rows, cols, change);
    if (job->first) {
        multiply(job, job->first + row * s->rank, job->right + col * s->rank, rows, cols, m);
        multiply(job, job->second + row * s->rank, job->wide + col * s->rank, rows, cols, v);
    }
    for (int64_t r = 0; r < rows; r++) {
        const int64_t at = r * TILE_COLS;
        if (job->first) add_adam(&job->adam, change + at, m + at, v + at, cols);
        apply(job, az_f32_mut(s->parameter) + (row + r) * s->cols + col, change + at, cols);
    }
}

/* ---- moments of low-rank directions ---- */

/* The moments [count] of the fresh numbers take in the numbers of the gradient; SGD-like rules only read the first. */
static bool update_factor_moments(az_ctx *az, const tile_job *job)
{
    const az_zo_options *o = &job->zo->options;
    const int64_t count = az_count(job->slot->first);
    float *slope = az_zo_fresh_sum(az, job->zo, job->i, job->slope), *m = az_f32_mut(job->slot->first);
    if (!slope) return false;
    const float b1 = (float)o->beta1, b2 = (float)o->beta2;
    for (int64_t j = 0; j < count; j++) m[j] = b1 * m[j] + (1 - b1) * slope[j];
    float *v = job->slot->second ? az_f32_mut(job->slot->second) : NULL;
    for (int64_t j = 0; v && j < count; j++) v[j] = b2 * v[j] + (1 - b2) * slope[j] * slope[j];
    return true;
}

/* factor o factor, times scale[column] where there is one. */
static float *squares(az_ctx *az, const float *factor, int64_t rows, int64_t rank, const float *scale)
{
    float *out = az_alloc_array(az, (size_t)(rows * rank), sizeof *out);
    for (int64_t j = 0; out && j < rows * rank; j++) out[j] = factor[j] * factor[j] * (scale ? scale[j % rank] : 1);
    return out;
}

/* The direction of the moments: part of the change, or Adam's factors. `left` [rows, rank] is the change's own and may be written. */
static bool use_factor_moments(az_ctx *az, tile_job *job, const az_zo_frame *frame, float *left)
{
    const az_zo_slot *s = job->slot;
    const int64_t entries = s->rows * s->rank;
    if (!update_factor_moments(az, job)) return false;
    const float *m = az_f32(s->first);
    if (!s->second) {
        const bool temporal = job->zo->options.kind == AZ_ZO_TEMPORAL;
        for (int64_t j = 0; j < entries; j++) left[j] -= job->rate * (temporal ? frame->left[j] * m[j % s->rank] : m[j]);
        return true;
    }
    float *first = az_alloc_array(az, (size_t)entries, sizeof *first);
    for (int64_t j = 0; first && j < entries; j++) first[j] = frame->left[j] * m[j % s->rank];
    job->first = first;
    job->second = squares(az, frame->left, s->rows, s->rank, az_f32(s->second));
    job->wide = squares(az, frame->right, s->cols, s->rank, NULL);
    return az_ok(az);
}

/* ---- the pass ---- */

static bool run_low_rank(az_ctx *az, tile_job *job)
{
    const az_zo_slot *s = job->slot;
    az_zo_frame frame;
    if (!az_zo_frame_of(az, job->zo, job->i, az_zo_period(job->zo, job->zo->steps), &frame)) return false;
    float *left = az_zo_left_factor(az, job->zo, job->i, &frame, job->weight);
    if (!left || (job->moments && !use_factor_moments(az, job, &frame, left))) return false;
    job->left = left;
    job->right = frame.right;
    az_each(az_threads(az), (s->rows + TILE_ROWS - 1) / TILE_ROWS * tiles_across(s), low_rank_tile, job);
    return true;
}

static adam_rates rates_of(const az_zo *zo, double lr)
{
    const az_zo_options *o = &zo->options;
    const double t = (double)zo->steps + 1;
    if (o->paper_adam) return (adam_rates){.rate = (float)lr, .root = 1, .inner = (float)o->eps};
    return (adam_rates){.rate = (float)(lr / (1 - pow(o->beta1, t))), .root = (float)(1 / (1 - pow(o->beta2, t))), .outer = (float)o->eps};
}

static bool run_slot(az_ctx *az, const az_zo *zo, const az_zo_pass *pass, int i)
{
    const az_zo_slot *slot = &zo->slot[i];
    const bool plain = zo->options.rule == AZ_ZO_PLAIN;
    const double divisor = zo->options.rule == AZ_ZO_ADAM ? 1 : slot->divisor; /* Adam's moments are those of kappa tau */
    tile_job job = {.az = az,
                    .zo = zo,
                    .slot = slot,
                    .i = i,
                    .moments = !plain && pass->rate != 0,
                    .keep = slot->decay ? (float)pass->keep : 1,
                    .rate = (float)pass->rate,
                    .adam = rates_of(zo, pass->rate)};
    for (int q = 0; q < zo->options.queries; q++) {
        job.slope[q] = pass->slope[q] / divisor;
        job.weight[q] = pass->weight[q] * job.keep - (plain ? pass->rate * job.slope[q] : 0); /* what Z leaves decays with W */
    }
    if (slot->rank > 0) return run_low_rank(az, &job);
    az_each(az_threads(az), (slot->rows * slot->cols + TILE - 1) / TILE, dense_tile, &job);
    return true;
}

bool az_zo_run_pass(az_ctx *az, const az_zo *zo, const az_zo_pass *pass)
{
    for (int i = 0; i < zo->n && az_ok(az); i++) {
        az_scope_push(az);
        run_slot(az, zo, pass, i);
        az_scope_pop(az);
    }
    return az_ok(az);
}
