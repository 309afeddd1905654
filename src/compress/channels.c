/* channels.c - two passes over calibration text: where the middle of each feature lies, and how far it reaches from there.
 *
 * "OutlierTune: efficient channel-wise quantization for large language models" (arXiv 2406.18832): symmetrization, and the search of its
 * program for the range. */
#include "compress/channels.h"

#include "compress/column_scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double POWER = 2.4, FLOOR = 1e-5, DEAD = 1e-4;
enum { SHARES = 80, TABLE = 4096, COLUMNS = 64 /* that are looked at together */ };

/* One input while text passes by. */
typedef struct gathered {
    az_channels *to;
    const az_channel_how *how;
    const float *table;        /* of power_table */
    int64_t length, sequences; /* tokens of a whole sequence; how many were seen */
    double *middle;            /* [cols] sums */
    float *range;              /* [cols] */
    int64_t values, outside;
} gathered;

/* ---- the best range ---- */

/* [TABLE + 1] u^2.4 for u from 0 to 1/2: what rounding costs, in steps. */
static const float *power_table(az_ctx *az)
{
    float *table = az_alloc_array(az, TABLE + 1, sizeof *table);
    for (int i = 0; table && i <= TABLE; i++) table[i] = (float)pow(0.5 * i / TABLE, POWER);
    return table;
}

static double loss(const float *x, int64_t n, float step, float most, const float *table)
{
    double sum = 0;
    for (int64_t t = 0; t < n; t++) {
        const float value = fabsf(x[t]) / step, nearest = value > most ? most : rintf(value), off = fabsf(value - nearest);
        sum += off <= 0.5f ? table[(int)(off * (2 * TABLE) + 0.5f)] : powf(off, (float)POWER);
    }
    return sum * pow(step, POWER);
}

static double best_range(const float *x, int64_t n, int levels, const float *table)
{
    float most = 0;
    for (int64_t t = 0; t < n; t++) most = fmaxf(most, fabsf(x[t]));
    double best = most, least = INFINITY;
    for (int i = 0; i < SHARES && most > 0; i++) {
        const double range = most * (1 - 0.01 * i), lost = loss(x, n, (float)(range / levels), (float)levels, table);
        if (lost < least) least = lost, best = range;
    }
    return best;
}

double az_best_range(az_ctx *az, const float *x, int64_t n, int levels)
{
    const float *table = power_table(az);
    return table ? best_range(x, n, levels, table) : NAN;
}

/* ---- watching ---- */

/* The first row of x that counts. */
static int64_t first_row(const gathered *g, int64_t rows)
{
    return g->how->skip_first && rows == g->length && rows > 1;
}

/* Columns c .. c + count - 1 of n rows: row by row, as they lie. */
static void add_middles(gathered *g, const float *x, int64_t n, int64_t c, int64_t count)
{
    float low[COLUMNS], high[COLUMNS];
    for (int64_t i = 0; i < count; i++) low[i] = high[i] = x[c + i];
    for (int64_t r = 1; r < n; r++)
        for (int64_t i = 0; i < count; i++) {
            const float value = x[r * g->to->cols + c + i];
            low[i] = value < low[i] ? value : low[i];
            high[i] = value > high[i] ? value : high[i];
        }
    for (int64_t i = 0; i < count; i++) g->middle[c + i] += 0.5 * ((double)low[i] + high[i]);
}

static az_tensor *watch_middle(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    gathered *g = user;
    const az_tensor *rows = az_watched_rows(az, site, x);
    if (!rows) return NULL;
    const int64_t n = rows->shape[0], cols = g->to->cols, first = first_row(g, n);
    if (n == 0) return x;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t c = 0; c < cols; c += COLUMNS)
        add_middles(g, az_f32(rows) + first * cols, n - first, c, cols - c < COLUMNS ? cols - c : COLUMNS);
    g->sequences++;
    return x;
}

static az_tensor *watch_range(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    gathered *g = user;
    const az_tensor *rows = az_watched_rows(az, site, x);
    if (!rows) return NULL;
    const int64_t n = rows->shape[0], cols = g->to->cols, first = first_row(g, n);
    if (n == 0) return x;
    az_tensor *turned = az_new2(az, AZ_F32, cols, n);
    if (!turned) return NULL;
    const int levels = (1 << (g->how->bits - 1)) - 1;
#pragma omp parallel for schedule(dynamic, 8) num_threads(az_threads(az))
    for (int64_t c = 0; c < cols; c++) {
        float *value = az_f32_mut(turned) + c * n, most = 0;
        for (int64_t r = first; r < n; r++) {
            value[r] = az_f32(rows)[r * cols + c] - g->to->shift[c];
            most = fmaxf(most, fabsf(value[r]));
        }
        g->range[c] = fmaxf(g->range[c], g->how->search ? (float)best_range(value + first, n - first, levels, g->table) : most);
    }
    g->sequences++;
    return x;
}

static az_tensor *watch_clipped(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    gathered *g = user;
    const az_tensor *rows = az_watched_rows(az, site, x);
    if (!rows) return NULL;
    const int64_t n = rows->shape[0], cols = g->to->cols;
    const float most = (float)(1 << (g->how->bits - 1)) - 0.5f;
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < cols; c++) g->outside += fabsf(az_f32(rows)[r * cols + c] - g->to->shift[c]) > most * g->to->step[c];
    g->values += n * cols;
    return x;
}

/* ---- the passes ---- */

/* The layer that reads the same input first; NULL for layers that no norm stands in front of. */
static const az_lm_linear *first_reader(const az_lm *lm, const az_lm_linear *linear)
{
    const az_lm_block *block = &lm->block[linear->block];
    if (linear == &block->q || linear == &block->k || linear == &block->v) return &block->q;
    if (linear == &block->gate || linear == &block->up) return block->gate.weight ? &block->gate : &block->up;
    for (int64_t e = 0; e < lm->config.experts; e++) {
        const az_lm_mlp *expert = &block->expert[e];
        if (linear == &expert->gate || linear == &expert->up) return expert->gate.weight ? &expert->gate : &expert->up;
    }
    return NULL;
}

static int64_t at_most(const az_lm_sequences *sequences, int64_t count)
{
    return count < sequences->count ? count : sequences->count;
}

static bool pass(az_ctx *az, az_lm *lm, const az_lm_sequences *sequences, int64_t count, az_watcher *see, void *const *user)
{
    const az_lm_sequences some = {.count = at_most(sequences, count), .length = sequences->length, .token = sequences->token};
    return az_watch_inputs(az, lm, &some, see, user);
}

static int by_size(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static bool set_steps(az_ctx *az, const gathered *g)
{
    const int64_t cols = g->to->cols;
    const double levels = (1 << (g->how->bits - 1)) - 1;
    float *sorted = az_alloc_array(az, (size_t)cols, sizeof *sorted);
    if (!sorted) return false;
    for (int64_t c = 0; c < cols; c++) g->to->step[c] = (float)(fmax(g->range[c], FLOOR) / levels);
    memcpy(sorted, g->to->step, (size_t)cols * sizeof *sorted);
    qsort(sorted, (size_t)cols, sizeof *sorted, by_size);
    for (int64_t c = 0; c < cols; c++) g->to->step[c] = fmaxf(g->to->step[c], (float)(DEAD * sorted[cols / 2]));
    return true;
}

static bool gathered_new(az_ctx *az, gathered *g)
{
    const size_t cols = (size_t)g->to->cols;
    g->middle = az_alloc_array(az, cols, sizeof *g->middle);
    g->range = az_alloc_array(az, cols, sizeof *g->range);
    g->to->shift = az_alloc_array(az, cols, sizeof *g->to->shift);
    g->to->step = az_alloc_array(az, cols, sizeof *g->to->step);
    return az_ok(az);
}

bool az_channels_find(az_ctx *az, az_lm *lm, const az_lm_sequences *sequences, const az_channel_how *how, az_channels **channels)
{
    az_lm_linear **linear;
    if (!sequences) return false;
    const int n = az_lm_linears(az, lm, &linear);
    az_channels *to = *channels = az_alloc_array(az, (size_t)n, sizeof *to);
    gathered *g = az_alloc_array(az, (size_t)n, sizeof *g);
    void **user = az_alloc_array(az, (size_t)n, sizeof *user);
    const float *table = power_table(az);
    if (!to || !g || !user || !table) return false;
    for (int i = 0; i < n; i++) {
        if (first_reader(lm, linear[i]) != linear[i]) continue;
        to[i].cols = linear[i]->weight->cols;
        g[i] = (gathered){.to = &to[i], .how = how, .table = table, .length = sequences->length};
        if (!gathered_new(az, &g[i])) return false;
        user[i] = &g[i];
    }
    if (how->shift && !pass(az, lm, sequences, how->shift_sequences, watch_middle, user)) return false;
    for (int i = 0; i < n; i++) {
        for (int64_t c = 0; user[i] && g[i].sequences > 0 && c < to[i].cols; c++)
            to[i].shift[c] = (float)(g[i].middle[c] / (double)g[i].sequences);
        g[i].sequences = 0;
    }
    if (!pass(az, lm, sequences, how->range_sequences, watch_range, user)) return false;
    for (int i = 0; i < n; i++) {
        if (user[i] && !set_steps(az, &g[i])) return false;
        if (user[i] && g[i].sequences == 0) to[i].cols = 0;
        for (int k = 0; k < i; k++)
            if (linear[k] == first_reader(lm, linear[i])) to[i] = to[k];
    }
    return az_ok(az);
}

bool az_channels_clipped(az_ctx *az, az_lm *lm, const az_lm_sequences *sequences, const az_channel_how *how, az_channels *channels)
{
    az_lm_linear **linear;
    const int n = az_lm_linears(az, lm, &linear);
    gathered *g = az_alloc_array(az, (size_t)n, sizeof *g);
    void **user = az_alloc_array(az, (size_t)n, sizeof *user);
    if (!g || !user) return false;
    for (int i = 0; i < n; i++) {
        g[i] = (gathered){.to = &channels[i], .how = how};
        if (channels[i].cols > 0) user[i] = &g[i];
    }
    if (!az_watch_inputs(az, lm, sequences, watch_clipped, user)) return false;
    for (int i = 0; i < n; i++) channels[i].clipped = g[i].values > 0 ? (double)g[i].outside / (double)g[i].values : 0;
    return true;
}
