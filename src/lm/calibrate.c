/* calibrate.c - the block-by-block drive of pruning and quantization: what the layers of a block read, before the block changes. */
#include "lm/lm_internal.h"

#include <math.h>
#include <string.h>

enum { PASS_TOKENS = 2048, GRAM_ROWS = 1024, COLUMNS = 64 };

/* Inputs that a block's linear layers share: q, k and v read one tensor, gate and up another. */
typedef enum az_input { INPUT_ATTENTION, INPUT_HEADS, INPUT_MLP, INPUT_HIDDEN, INPUTS } az_input;

typedef struct az_gathered {
    int64_t in, length;                /* features; tokens of a sequence */
    double *sum, *square, *sum_square; /* [in] */
    az_tensor *gram;                   /* [in, in] f64, or NULL */
} az_gathered;

typedef struct az_drive {
    az_lm *lm;
    const az_lm_sequences *sequences;
    int64_t *start;      /* [sequences of a pass + 1] */
    int64_t per_pass;    /* sequences */
    az_tensor *x;        /* [count * length, width] what the present block reads, then what it makes */
    int64_t done, total; /* passes */
} az_drive;

static az_input input_of(const az_lm_block *block, const az_lm_linear *linear)
{
    if (linear == &block->o) return INPUT_HEADS;
    if (linear == &block->down) return INPUT_HIDDEN;
    return linear == &block->gate || linear == &block->up ? INPUT_MLP : INPUT_ATTENTION;
}

/* ---- statistics ---- */

/* Adds the rows first .. first + length - 1, one sequence, to the moments of n features from j on. */
static void add_sequence(const az_tensor *x, int64_t first, int64_t j, int64_t n, az_gathered *to)
{
    const float *f = az_f32(x);
    const double *d = az_f64(x);
    double own[COLUMNS] = {0};
    for (int64_t r = first; r < first + to->length; r++) {
        for (int64_t i = 0; i < n; i++) {
            const double value = f ? (double)f[r * to->in + j + i] : d[r * to->in + j + i];
            own[i] += value;
            to->square[j + i] += value * value;
        }
    }
    for (int64_t i = 0; i < n; i++) {
        to->sum[j + i] += own[i];
        to->sum_square[j + i] += own[i] * own[i];
    }
}

static void add_moments(const az_tensor *x, az_gathered *to)
{
#pragma omp parallel for schedule(static)
    for (int64_t j = 0; j < to->in; j += COLUMNS)
        for (int64_t r = 0; r < x->shape[0]; r += to->length) add_sequence(x, r, j, to->in - j < COLUMNS ? to->in - j : COLUMNS, to);
}

/* X^T X of some rows at a time, each product added up in double precision. */
static void add_gram(az_ctx *az, az_tensor *x, az_gathered *to)
{
    double *gram = az_f64_mut(to->gram);
    for (int64_t first = 0; first < x->shape[0]; first += GRAM_ROWS) {
        const int64_t n = x->shape[0] - first < GRAM_ROWS ? x->shape[0] - first : GRAM_ROWS;
        az_scope_push(az);
        az_tensor *rows = az_slice(az, x, 0, first, n);
        az_tensor *product = az_cast(az, az_matmul(az, az_transpose(az, rows), rows), AZ_F64);
        const double *p = product ? az_f64(product) : NULL;
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < to->in * to->in; i++)
            if (p) gram[i] += p[i];
        az_scope_pop(az);
    }
}

static az_tensor *gather_input(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    (void)site;
    az_tensor *rows = az_contiguous(az, x);
    if (!rows) return NULL;
    add_moments(rows, user);
    if (((az_gathered *)user)->gram) add_gram(az, rows, user);
    return x;
}

static bool gathered_new(az_ctx *az, int64_t in, int64_t length, bool gram, az_gathered *out)
{
    *out = (az_gathered){.in = in,
                         .length = length,
                         .sum = az_alloc_array(az, (size_t)in, sizeof *out->sum),
                         .square = az_alloc_array(az, (size_t)in, sizeof *out->square),
                         .sum_square = az_alloc_array(az, (size_t)in, sizeof *out->sum_square),
                         .gram = gram ? az_zeros(az, AZ_F64, 2, (const int64_t[]){in, in}) : NULL};
    return az_ok(az);
}

static bool check_finite(az_ctx *az, const az_lm_linear *linear, const az_gathered *g)
{
    for (int64_t j = 0; j < g->in; j++)
        if (!isfinite(g->square[j]))
            return az_fail(az, AZ_NUMERIC, "the activations that %s reads are not finite at feature %lld", linear->name, (long long)j);
    return true;
}

/* ---- the drive ---- */

/* Runs the block on every sequence; with `store` its outputs replace its inputs. */
static bool run_block(az_ctx *az, az_drive *drive, int block, const az_lm_run *run, bool store)
{
    const az_lm_sequences *all = drive->sequences;
    for (int64_t s = 0; s < all->count; s += drive->per_pass) {
        const int64_t n = all->count - s < drive->per_pass ? all->count - s : drive->per_pass;
        const az_lm_batch batch = {.sequences = (int)n, .token = all->token + s * all->length, .start = drive->start};
        az_scope_push(az);
        az_tensor *x = az_slice(az, drive->x, 0, s * all->length, n * all->length);
        az_tensor *y = az_lm_block_forward(az, drive->lm, block, x, &batch, run);
        if (y && store) az_copy_into(az, x, y);
        az_scope_pop(az);
        if (!az_ok(az)) return false;
        if (!az_progress(az, "calibrating", ++drive->done, drive->total, NULL))
            return az_fail(az, AZ_INTERRUPTED, "interrupted while calibrating");
    }
    return true;
}

static bool embed_all(az_ctx *az, az_drive *drive)
{
    const az_lm_sequences *all = drive->sequences;
    for (int64_t s = 0; s < all->count; s++) {
        const az_lm_batch batch = {.sequences = 1, .token = all->token + s * all->length, .start = drive->start};
        az_scope_push(az);
        az_tensor *y = az_lm_embed(az, drive->lm, &batch, NULL);
        if (y) az_copy_into(az, az_slice(az, drive->x, 0, s * all->length, all->length), y);
        az_scope_pop(az);
    }
    return az_ok(az);
}

static bool visit_block(az_ctx *az, az_drive *drive, int b, const az_gathered *gathered, az_lm_visit visit, void *user)
{
    az_lm_block *block = &drive->lm->block[b];
    az_lm_linear *const linears[] = {&block->q, &block->k, &block->v, &block->o, &block->gate, &block->up, &block->down};
    for (size_t i = 0; i < sizeof linears / sizeof *linears; i++) {
        if (!linears[i]->weight) continue;
        const az_gathered *g = &gathered[input_of(block, linears[i])];
        const az_lm_statistics statistics = {.sequences = drive->sequences->count,
                                             .tokens = drive->sequences->count * drive->sequences->length,
                                             .sum = g->sum,
                                             .square = g->square,
                                             .sum_square = g->sum_square,
                                             .gram = g->gram};
        if (!check_finite(az, linears[i], g)) return false;
        if (!visit(az, linears[i], &statistics, user)) return false;
    }
    return az_ok(az);
}

static bool drive_block(az_ctx *az, az_drive *drive, int b, int flags, az_lm_visit visit, void *user)
{
    const az_lm_block *block = &drive->lm->block[b];
    const az_lm_linear *reader[INPUTS] = {
        [INPUT_ATTENTION] = &block->q, [INPUT_HEADS] = &block->o, [INPUT_MLP] = &block->up, [INPUT_HIDDEN] = &block->down};
    az_gathered gathered[INPUTS];
    az_lm_hook hooks[INPUTS];
    for (int i = 0; i < INPUTS; i++) {
        if (!gathered_new(az, reader[i]->weight->cols, drive->sequences->length, flags & AZ_CALIBRATE_GRAM, &gathered[i])) return false;
        hooks[i] = (az_lm_hook){.site = az_format_text(az, "%s.in", reader[i]->name), .see = gather_input, .user = &gathered[i]};
    }
    const az_lm_run run = {.hooks = hooks, .n_hooks = INPUTS};
    return az_ok(az) && run_block(az, drive, b, &run, false) && visit_block(az, drive, b, gathered, visit, user) &&
           run_block(az, drive, b, NULL, true);
}

bool az_lm_calibrate(az_ctx *az, az_lm *lm, const az_lm_sequences *sequences, int flags, az_lm_visit visit, void *user)
{
    if (!lm || !sequences) return false;
    if (lm->config.experts > 0)
        return az_fail(az, AZ_BAD_INPUT,
                       "the layers of a mixture of experts read different tokens each, which calibration does not know; "
                       "choose a method that needs no calibration text");
    az_drive drive = {.lm = lm, .sequences = sequences, .per_pass = PASS_TOKENS / sequences->length};
    if (drive.per_pass < 1) drive.per_pass = 1;
    if (drive.per_pass > sequences->count) drive.per_pass = sequences->count;
    drive.total = 2 * lm->config.blocks * ((sequences->count + drive.per_pass - 1) / drive.per_pass);
    const bool f64 = az_weight_is_dense(lm->embedding) && lm->embedding->part[0]->dtype == AZ_F64;
    az_scope_push(az);
    drive.start = az_alloc_array(az, (size_t)drive.per_pass + 1, sizeof *drive.start);
    for (int64_t s = 0; drive.start && s <= drive.per_pass; s++) drive.start[s] = s * sequences->length;
    drive.x = az_new2(az, f64 ? AZ_F64 : AZ_F32, sequences->count * sequences->length, lm->config.width);
    bool good = drive.start && drive.x && embed_all(az, &drive);
    for (int b = 0; good && b < lm->config.blocks; b++) {
        az_scope_push(az);
        good = drive_block(az, &drive, b, flags, visit, user);
        az_scope_pop(az);
    }
    az_scope_pop(az);
    return good;
}
