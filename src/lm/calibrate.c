/* calibrate.c - the block-by-block drive of pruning and quantization: what the layers of a block read, before the block changes. */
#include "lm/lm_internal.h"

#include <math.h>
#include <string.h>

enum { PASS_TOKENS = 2048, GRAM_ROWS = 1024, COLUMNS = 64 };

/* Sums over the rows of one input. */
typedef struct az_gathered {
    int64_t in;                        /* features */
    bool routed;                       /* an expert's: a call has the tokens of one sequence that come to it */
    int64_t length;                    /* tokens of a sequence; routed: of the present one */
    int64_t sequences, tokens;         /* so far */
    double *sum, *square, *sum_square; /* [in] */
    az_tensor *gram;                   /* [in, in] f64, or NULL */
} az_gathered;

/* A layer and the number of the input that it reads. */
typedef struct az_reader {
    az_lm_linear *linear;
    int input;
} az_reader;

/* The linear layers of a block in the order of the forward pass. q, k and v read one input, gate and up another. */
typedef struct az_readers {
    az_reader *layer; /* [n] */
    int n, inputs;
    int first_routed; /* inputs from here on are experts' */
} az_readers;

typedef struct az_drive {
    az_lm *lm;
    const az_lm_sequences *sequences;
    int64_t *start;      /* [sequences of a pass + 1] */
    int64_t per_pass;    /* sequences */
    az_tensor *x;        /* [count * length, width] what the present block reads, then what it makes */
    int64_t done, total; /* passes */
    bool gram;
    int64_t unreached; /* inputs of experts that no token came to */
} az_drive;

/* Layers that share the next input. */
static void add_readers(az_readers *to, az_lm_linear *const *linear, int n)
{
    for (int i = 0; i < n; i++)
        if (linear[i]->weight) to->layer[to->n++] = (az_reader){.linear = linear[i], .input = to->inputs};
    to->inputs++;
}

static bool readers_of(az_ctx *az, az_lm *lm, int b, az_readers *out)
{
    az_lm_block *block = &lm->block[b];
    const size_t experts = (size_t)lm->config.experts;
    *out = (az_readers){.layer = az_alloc_array(az, 4 + 3 * (experts > 0 ? experts : 1), sizeof *out->layer)};
    if (!out->layer) return false;
    add_readers(out, (az_lm_linear *[]){&block->q, &block->k, &block->v}, 3);
    add_readers(out, (az_lm_linear *[]){&block->o}, 1);
    if (experts == 0) {
        add_readers(out, (az_lm_linear *[]){&block->gate, &block->up}, 2);
        add_readers(out, (az_lm_linear *[]){&block->down}, 1);
    }
    out->first_routed = out->inputs;
    for (size_t e = 0; e < experts; e++) {
        add_readers(out, (az_lm_linear *[]){&block->expert[e].gate, &block->expert[e].up}, 2);
        add_readers(out, (az_lm_linear *[]){&block->expert[e].down}, 1);
    }
    return true;
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

static void add_moments(az_ctx *az, const az_tensor *x, az_gathered *to)
{
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
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
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
        for (int64_t i = 0; i < to->in * to->in; i++)
            if (p) gram[i] += p[i];
        az_scope_pop(az);
    }
}

static az_tensor *gather_input(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    (void)site;
    az_gathered *to = user;
    az_tensor *rows = az_contiguous(az, x);
    if (!rows) return NULL;
    if (to->routed) to->length = rows->shape[0];
    to->tokens += rows->shape[0];
    to->sequences += rows->shape[0] / to->length;
    add_moments(az, rows, to);
    if (to->gram) add_gram(az, rows, to);
    return x;
}

static bool gathered_new(az_ctx *az, az_gathered *g, bool gram)
{
    const size_t in = (size_t)g->in;
    g->sum = az_alloc_array(az, in, sizeof *g->sum);
    g->square = az_alloc_array(az, in, sizeof *g->square);
    g->sum_square = az_alloc_array(az, in, sizeof *g->sum_square);
    if (gram) g->gram = az_zeros(az, AZ_F64, 2, (const int64_t[]){g->in, g->in});
    return az_ok(az);
}

/* Of an input that no token came to nothing is known: its features count alike. */
static void assume_alike(az_gathered *g)
{
    double *gram = g->gram ? az_f64_mut(g->gram) : NULL;
    g->sequences = g->tokens = 1;
    for (int64_t j = 0; j < g->in; j++) {
        g->square[j] = 1;
        if (gram) gram[j * g->in + j] = 1;
    }
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

static bool visit_layers(az_ctx *az, const az_readers *readers, const az_gathered *gathered, const az_lm_visitor *visitor)
{
    for (int i = 0; i < readers->n; i++) {
        az_lm_linear *linear = readers->layer[i].linear;
        const az_gathered *g = &gathered[readers->layer[i].input];
        const az_lm_statistics statistics = {.sequences = g->sequences,
                                             .tokens = g->tokens,
                                             .sum = g->sum,
                                             .square = g->square,
                                             .sum_square = g->sum_square,
                                             .gram = g->gram};
        if (!check_finite(az, linear, g)) return false;
        if (!visitor->layer(az, linear, &statistics, visitor->user)) return false;
    }
    return az_ok(az);
}

/* Places for the statistics of every input of the block, and the hooks that gather them. */
static az_gathered *gather_with(az_ctx *az, const az_drive *drive, const az_readers *readers, az_lm_hook *hooks)
{
    az_gathered *gathered = az_alloc_array(az, (size_t)readers->inputs, sizeof *gathered);
    for (int i = 0; gathered && hooks && i < readers->n; i++) {
        const az_lm_linear *linear = readers->layer[i].linear;
        const int input = readers->layer[i].input;
        if (hooks[input].site) continue; /* another layer's, too */
        az_gathered *g = &gathered[input];
        *g = (az_gathered){.in = linear->weight->cols, .length = drive->sequences->length, .routed = input >= readers->first_routed};
        if (!gathered_new(az, g, drive->gram)) return NULL;
        hooks[input] = (az_lm_hook){.site = az_format_text(az, "%s.in", linear->name), .see = gather_input, .user = g};
    }
    return az_ok(az) ? gathered : NULL;
}

static bool drive_block(az_ctx *az, az_drive *drive, int b, const az_lm_visitor *visitor)
{
    az_readers readers;
    if (!readers_of(az, drive->lm, b, &readers)) return false;
    az_lm_hook *hooks = az_alloc_array(az, (size_t)readers.inputs, sizeof *hooks);
    az_gathered *gathered = gather_with(az, drive, &readers, hooks);
    if (!gathered || !run_block(az, drive, b, &(az_lm_run){.hooks = hooks, .n_hooks = readers.inputs}, false)) return false;
    for (int i = 0; i < readers.inputs; i++) {
        if (gathered[i].tokens > 0) continue;
        assume_alike(&gathered[i]);
        drive->unreached++;
    }
    const az_lm_block_inputs inputs = {.block = b, .sequences = drive->sequences, .x = drive->x};
    if (!visit_layers(az, &readers, gathered, visitor)) return false;
    if (visitor->block && !visitor->block(az, &inputs, visitor->user)) return false;
    return b + 1 == drive->lm->config.blocks || run_block(az, drive, b, NULL, true); /* nobody reads what the last one makes */
}

bool az_lm_calibrate(az_ctx *az, az_lm *lm, const az_lm_sequences *sequences, int flags, const az_lm_visitor *visitor)
{
    if (!lm || !sequences) return false;
    az_drive drive = {.lm = lm, .sequences = sequences, .per_pass = PASS_TOKENS / sequences->length, .gram = flags & AZ_CALIBRATE_GRAM};
    if (drive.per_pass < 1 || lm->config.experts > 0) drive.per_pass = 1; /* experts see no borders of sequences */
    if (drive.per_pass > sequences->count) drive.per_pass = sequences->count;
    drive.total = (2 * lm->config.blocks - 1) * ((sequences->count + drive.per_pass - 1) / drive.per_pass);
    const bool f64 = az_weight_is_dense(lm->embedding) && lm->embedding->part[0]->dtype == AZ_F64;
    az_scope_push(az);
    drive.start = az_alloc_array(az, (size_t)drive.per_pass + 1, sizeof *drive.start);
    for (int64_t s = 0; drive.start && s <= drive.per_pass; s++) drive.start[s] = s * sequences->length;
    drive.x = az_new2(az, f64 ? AZ_F64 : AZ_F32, sequences->count * sequences->length, lm->config.width);
    bool good = drive.start && drive.x && embed_all(az, &drive);
    for (int b = 0; good && b < lm->config.blocks; b++) {
        az_scope_push(az);
        good = drive_block(az, &drive, b, visitor);
        az_scope_pop(az);
    }
    az_scope_pop(az);
    if (good && drive.unreached > 0)
        az_note(az, "no token of the calibration text came to %lld of %lld experts; their weights are judged as if all inputs were alike",
                (long long)drive.unreached / 2, (long long)(lm->config.experts * lm->config.blocks));
    return good;
}
