/* kquant_search.c - scales of blocks by weighted least squares over a row of trial steps.
 *
 * For given levels q the best scale (and minimum) solve a linear least-squares problem of one (two) unknowns; for a given scale the best
 * levels are the nearest ones. A trial step gives levels, these give a scale, and the trial that explains most of sum w x^2 wins; then the
 * two rules are applied in turn (Lloyd's algorithm). In a block of 256 the scales and minima are whole multiples of two f16 numbers, which
 * are fitted in the same way around them. */
#include "weight/kquant_search.h"

#include "tensor/half.h"

#include <math.h>
#include <string.h>

/* ---- blocks ---------------------------------------------------------------------------------------------------------------------- */

void az_block_normalize(az_block *block, const float *x, const float *importance, int count)
{
    float largest = 0;
    double total = 0;
    for (int i = 0; i < count; i++) {
        largest = fmaxf(largest, fabsf(x[i]));
        total += importance ? (double)importance[i] : 1;
    }
    block->count = count;
    frexpf(largest, &block->exponent);
    const double mean = total / count;
    for (int i = 0; i < count; i++) {
        block->value[i] = ldexpf(x[i], -block->exponent);
        block->weight[i] = fmaxf(importance && mean > 0 ? (float)((double)importance[i] / mean) : 1, 1e-4f);
    }
}

uint16_t az_block_half(const az_block *block, float scale, float *rounded)
{
    const uint16_t half = az_f16_round(ldexpf(scale, block->exponent));
    *rounded = ldexpf(az_f16_widen(half), -block->exponent);
    return half;
}

/* ---- levels ---------------------------------------------------------------------------------------------------------------------- */

/* To the nearest whole number, ties to even; |x| < 2^22. Vectorises on every processor, which rintf does not. */
static inline float whole(float x)
{
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

/* Index of the value nearest to x: the number of midpoints that lie below it. */
static int table_index(const int8_t *table, float x)
{
    int index = 0;
    for (int k = 0; k < 15; k++) index += 2 * x > (float)(table[k] + table[k + 1]);
    return index;
}

/* level[i] = the nearest one to inverse (x + minimum) */
static void level_values(const float *x, int n, float inverse, float minimum, const az_levels *levels, float *level)
{
    const float low = (float)levels->low, high = (float)levels->high;
    if (levels->table) {
        for (int i = 0; i < n; i++) level[i] = levels->table[table_index(levels->table, inverse * (x[i] + minimum))];
        return;
    }
#pragma omp simd
    for (int i = 0; i < n; i++) {
        const float at = inverse * (x[i] + minimum), above = at > low ? at : low;
        level[i] = whole(above < high ? above : high);
    }
}

void az_nearest_levels(const float *x, int n, float inverse, float minimum, const az_levels *levels, int8_t *q)
{
    float level[AZ_K_BLOCK];
    if (levels->table) {
        for (int i = 0; i < n; i++) q[i] = (int8_t)table_index(levels->table, inverse * (x[i] + minimum));
        return;
    }
    level_values(x, n, inverse, minimum, levels, level);
    for (int i = 0; i < n; i++) q[i] = (int8_t)level[i];
}

/* ---- lines ----------------------------------------------------------------------------------------------------------------------- */

/* Weighted sums over the values x and levels q of a sub-block. */
typedef struct sums {
    float w, x, q, xq, qq;
} sums;

static sums sums_of(const float *x, const float *level, const float *weight, int n)
{
    float w = 0, sx = 0, sq = 0, xq = 0, qq = 0;
#pragma omp simd reduction(+ : w, sx, sq, xq, qq)
    for (int i = 0; i < n; i++) {
        const float wx = weight[i] * x[i], wq = weight[i] * level[i];
        w += weight[i];
        sx += wx;
        sq += wq;
        xq += wx * level[i];
        qq += wq * level[i];
    }
    return (sums){.w = w, .x = sx, .q = sq, .xq = xq, .qq = qq};
}

/* A fit and the part of sum w x^2 that it explains. */
typedef struct trial {
    az_line line;
    float gain;
} trial;

static trial through_zero(sums s)
{
    if (!(s.qq > 0)) return (trial){.gain = 0};
    const float scale = s.xq / s.qq;
    return (trial){{.scale = scale}, .gain = scale * s.xq};
}

static trial with_minimum(sums s, bool below)
{
    const float determinant = s.w * s.qq - s.q * s.q;
    if (!(determinant > 1e-6f * s.w * s.qq)) return through_zero(s);
    const float scale = (s.w * s.xq - s.x * s.q) / determinant, offset = (s.qq * s.x - s.q * s.xq) / determinant;
    if (below && offset > 0) return through_zero(s);
    return (trial){{.scale = scale, .minimum = -offset}, .gain = scale * s.xq + offset * s.x};
}

/* What lines are fitted to. */
typedef struct fit_job {
    const float *x, *weight;
    int n;
    const az_levels *levels;
    bool minimum, below;
} fit_job;

/* Levels at a step and a minimum, then the best line for them, twice. */
static void try_step(const fit_job *job, float inverse, float minimum, trial *best)
{
    for (int turn = 0; turn < 2; turn++) {
        float level[AZ_K_BLOCK];
        level_values(job->x, job->n, inverse, minimum, job->levels, level);
        const sums s = sums_of(job->x, level, job->weight, job->n);
        const trial found = job->minimum ? with_minimum(s, job->below) : through_zero(s);
        if (found.gain > best->gain) *best = found;
        inverse = 1 / found.line.scale, minimum = found.line.minimum;
        if (!isfinite(inverse)) return;
    }
}

az_line az_fit_scale(const float *x, const float *weight, int n, const az_levels *levels)
{
    const fit_job job = {.x = x, .weight = weight, .n = n, .levels = levels};
    const float reach[2] = {(float)(levels->table ? levels->table[0] : levels->low),
                            (float)(levels->table ? levels->table[15] : levels->high)};
    float extreme = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    trial best = {.gain = 0};
    if (extreme == 0) return best.line;
    /* the extreme value at, within or beyond either end */
    for (int side = 0; side < 2; side++)
        for (int t = -4; t <= 8; t++) try_step(&job, reach[side] * (1 + (float)t / 25) / extreme, 0, &best);
    return best.line;
}

static az_line fit_values(const float *x, const float *weight, int n, int high, bool below)
{
    const az_levels levels = {.low = 0, .high = high};
    const fit_job job = {.x = x, .weight = weight, .n = n, .levels = &levels, .minimum = true, .below = below};
    float low = x[0], top = x[0];
    for (int i = 1; i < n; i++) {
        low = fminf(low, x[i]);
        top = fmaxf(top, x[i]);
    }
    if (below && low > 0) low = 0;
    trial best = {.line.minimum = -low};
    if (!(top > low)) return best.line;
    for (int t = -8; t <= 12; t++) try_step(&job, ((float)high + (float)t / 10) / (top - low), -low, &best);
    return best.line;
}

az_line az_fit_line(const float *x, const float *weight, int n, int high, bool below)
{
    if (below) return fit_values(x, weight, n, high, true);
    float shifted[AZ_K_BLOCK], low = x[0]; /* differences, so that a common offset costs no digits */
    for (int i = 1; i < n; i++) low = fminf(low, x[i]);
    for (int i = 0; i < n; i++) shifted[i] = x[i] - low;
    az_line line = fit_values(shifted, weight, n, high, false);
    line.minimum -= low;
    return line;
}

/* ---- blocks of sub-blocks ---------------------------------------------------------------------------------------------------------- */

/* A block during the search: d and m as they are rounded, the lines wished for, and the error. */
typedef struct k_state {
    float d, m;
    az_line line[AZ_K_MOST_SUBS];
    az_k_block block;
    double error;
} k_state;

/* sum w (x - (step q - minimum))^2 with the nearest levels. */
static float error_at(const float *x, const float *weight, int n, az_line line, const az_levels *levels)
{
    float level[AZ_K_BLOCK], error = 0;
    level_values(x, n, line.scale != 0 ? 1 / line.scale : 0, line.minimum, levels, level);
#pragma omp simd reduction(+ : error)
    for (int i = 0; i < n; i++) {
        const float off = x[i] + line.minimum - line.scale * level[i];
        error += weight[i] * off * off;
    }
    return error;
}

static int nearest_whole(float x, const az_levels *levels)
{
    return x > (float)levels->low ? x < (float)levels->high ? (int)rintf(x) : levels->high : levels->low;
}

/* The best of the multiples of d and m near the line of sub-block j, and its levels. Returns the error. */
static float choose_multiples(const az_k_shape *shape, const az_block *block, k_state *state, int j)
{
    const float *x = block->value + j * shape->sub, *weight = block->weight + j * shape->sub;
    const az_line wish = state->line[j];
    const int s0 = state->d != 0 ? nearest_whole(wish.scale / state->d, &shape->scales) : 0;
    const int t0 = state->m != 0 ? nearest_whole(wish.minimum / state->m, &shape->scales) : 0, reach = state->m != 0;
    float least = INFINITY;
    az_line best = {0};
    for (int t = t0 - reach; t <= t0 + reach; t++)
        for (int s = s0 - 1; s <= s0 + 1; s++) {
            if (s < shape->scales.low || s > shape->scales.high || t < shape->scales.low || t > shape->scales.high) continue;
            const az_line line = {.scale = state->d * (float)s, .minimum = state->m * (float)t};
            const float error = error_at(x, weight, shape->sub, line, &shape->levels);
            if (!(error < least)) continue;
            least = error, best = line;
            state->block.s[j] = (int8_t)s, state->block.t[j] = (int8_t)t;
        }
    az_nearest_levels(x, shape->sub, best.scale != 0 ? 1 / best.scale : 0, best.minimum, &shape->levels, state->block.q + j * shape->sub);
    return least;
}

/* d and m that are best for the whole numbers s, t and q: least squares in the two columns s q and -t. */
static az_line refit(const az_k_shape *shape, const az_block *block, const k_state *state)
{
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
    for (int i = 0; i < block->count; i++) {
        const int j = i / shape->sub;
        const double w = (double)block->weight[i], x = (double)block->value[i];
        const double a = state->block.s[j] * state->block.q[i], b = -state->block.t[j];
        aa += w * a * a, ab += w * a * b, bb += w * b * b;
        ax += w * a * x, bx += w * b * x;
    }
    const double determinant = aa * bb - ab * ab;
    if (!(determinant > 1e-9 * aa * bb)) return (az_line){.scale = aa > 0 ? (float)(ax / aa) : 0};
    return (az_line){.scale = (float)((ax * bb - bx * ab) / determinant), .minimum = (float)((bx * aa - ax * ab) / determinant)};
}

/* Everything for given d and m, which are rounded first. */
static void choose_block(const az_k_shape *shape, const az_block *block, k_state *state, az_line step)
{
    state->block.d = az_block_half(block, step.scale, &state->d);
    state->block.m = az_block_half(block, step.minimum, &state->m);
    state->error = 0;
    for (int j = 0; j < block->count / shape->sub; j++) state->error += (double)choose_multiples(shape, block, state, j);
}

/* The step that makes the largest wish the multiple of greatest magnitude. */
static az_line covering_step(const az_k_shape *shape, const k_state *state)
{
    const az_levels *scales = &shape->scales;
    const float reach = (float)(-scales->low > scales->high ? scales->low : scales->high);
    az_line most = {0};
    for (int j = 0; j < AZ_K_BLOCK / shape->sub; j++) {
        if (fabsf(state->line[j].scale) > fabsf(most.scale)) most.scale = state->line[j].scale;
        if (state->line[j].minimum > most.minimum) most.minimum = state->line[j].minimum;
    }
    return (az_line){.scale = most.scale / reach, .minimum = most.minimum / reach};
}

bool az_k_search(const az_k_shape *shape, const float *x, const float *importance, az_k_block *out)
{
    az_block block;
    az_block_normalize(&block, x, importance, AZ_K_BLOCK);
    k_state state = {0};
    for (int j = 0; j < AZ_K_BLOCK / shape->sub; j++) {
        const float *value = block.value + j * shape->sub, *weight = block.weight + j * shape->sub;
        state.line[j] = shape->minimum ? az_fit_line(value, weight, shape->sub, shape->levels.high, true)
                                       : az_fit_scale(value, weight, shape->sub, &shape->levels);
    }
    choose_block(shape, &block, &state, covering_step(shape, &state));
    const bool fits = isfinite(state.d) && isfinite(state.m);
    for (int turn = 0; fits && turn < 4; turn++) {
        k_state next = state;
        choose_block(shape, &block, &next, refit(shape, &block, &state));
        if (!(next.error < state.error)) break;
        state = next;
    }
    *out = state.block;
    return fits;
}
