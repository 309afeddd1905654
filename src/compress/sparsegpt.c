/* sparsegpt.c - pruning with error compensation.
 *
 * Problem: for each linear layer find a sparse W' that minimises |(W - W') X|^2 over the calibration inputs X [cols, tokens].
 * Symbols: H = X X^T + damping, the Hessian of a row's squared error (up to a factor, which cancels everywhere);
 *     U upper triangular with U^T U = H^-1.
 * Rule: from left to right, dropping w_j costs w_j^2 / U_jj^2, and the weights to its right absorb the error:
 *     e = w_j / U_jj,  w_k -= e U_jk for k > j,  w_j = 0.
 * Columns go in blocks. The mask of a block is chosen at its start by one threshold over all its scores; with a pattern
 * n:m, at the start of each group and per row. Columns behind a block receive its errors in one matrix product.
 *
 * Frantar, Alistarh: "SparseGPT: massive language models can be accurately pruned in one-shot", ICML 2023
 * (arXiv 2301.00774), algorithm 1. */
#include "compress/compress_internal.h"

#include <cblas.h>
#include <string.h>

enum { ROWS = 64 }; /* rows that one thread takes at a time: the result does not depend on the number of threads */

typedef struct sparsegpt_options {
    az_sparsegpt_settings prune;
    bool error;
    az_calibration calibration;
} sparsegpt_options;

static const az_option sparsegpt_table[] = {
    {"sparsity", AZ_FIELD(AZ_REAL, sparsegpt_options, prune.sparsity), "0.5", 0, 0.9999, NULL, "share of the weights to drop"},
    {"pattern", AZ_FIELD(AZ_PATTERN, sparsegpt_options, prune.pattern), "none", 0, 0, NULL,
     "n:m keeps n of every m consecutive inputs, instead of a share"},
    {"damp", AZ_FIELD(AZ_REAL, sparsegpt_options, prune.damp), "0.01", 0, 1e6, NULL,
     "added to the diagonal of the Hessian, in units of its mean"},
    {"blocksize", AZ_FIELD(AZ_INT, sparsegpt_options, prune.blocksize), "128", 1, 1e6, NULL, "columns whose mask is chosen together"},
    {"error", AZ_FIELD(AZ_BOOL, sparsegpt_options, error), "true", 0, 0, NULL, "measure each layer's output error"},
    AZ_CALIBRATION_OPTIONS(sparsegpt_options, ""),
    {0},
};

/* A block of columns first .. first + count - 1 while it is being pruned. */
typedef struct block {
    const az_sparsegpt_settings *how;
    int64_t rows, cols, first, count;
    float *w;                  /* [rows, cols], the whole matrix */
    const float *u;            /* [cols, cols] */
    const unsigned char *keep; /* [rows, count]; NULL with a pattern */
    const unsigned char *gone; /* [rows, cols]: dropped before; they take part in the compensation until it is their turn to go again */
    float *error;              /* [rows, count]: e of each column */
} block;

/* The mask of a block: the lowest w^2 / U_jj^2 of all its weights. */
static const unsigned char *choose_mask(az_ctx *az, const block *b)
{
    az_tensor *score = az_new2(az, AZ_F32, b->rows, b->count);
    if (!score) return NULL;
    float *s = az_f32_mut(score);
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t r = 0; r < b->rows; r++)
        for (int64_t j = 0; j < b->count; j++) {
            const int64_t column = b->first + j;
            const float ratio = b->w[r * b->cols + column] / b->u[column * b->cols + column];
            s[r * b->count + j] = b->gone[r * b->cols + column] ? -1 : ratio * ratio;
        }
    const az_tensor *mask = az_mask_lowest(az, score, (az_mask_how){.share = b->how->sparsity, .scope = AZ_PER_MATRIX});
    return mask ? mask->data : NULL;
}

/* Marks the m - n lowest scores of the group that starts at column j of the block; the first of equal ones goes first. */
static void choose_group(const block *b, const float *w, const unsigned char *gone, int64_t j, unsigned char *keep)
{
    const int m = b->how->pattern.m;
    memset(keep, 1, (size_t)m);
    for (int dropped = b->how->pattern.n; dropped < m; dropped++) {
        int lowest = -1;
        float least = 0;
        for (int i = 0; i < m; i++) {
            const int64_t column = b->first + j + i;
            const float ratio = w[j + i] / b->u[column * b->cols + column], score = gone[j + i] ? -1 : ratio * ratio;
            if (keep[i] && (lowest < 0 || score < least)) {
                lowest = i;
                least = score;
            }
        }
        keep[lowest] = 0;
    }
}

/* Prunes one row of a block; group [m] is scratch. */
static void prune_row(const block *b, int64_t r, unsigned char *group)
{
    float *w = b->w + r * b->cols + b->first, *error = b->error + r * b->count;
    const unsigned char *gone = b->gone + r * b->cols + b->first;
    const int m = b->how->pattern.m;
    for (int64_t j = 0; j < b->count; j++) {
        if (m && j % m == 0) choose_group(b, w, gone, j, group);
        const unsigned char keep = m ? group[j % m] : b->keep[r * b->count + j];
        error[j] = 0;
        if (keep && !gone[j]) continue;
        const float *u = b->u + (b->first + j) * b->cols + b->first; /* row j of the block's triangle */
        const float e = w[j] / u[j];
        error[j] = e;
        w[j] = 0;
        for (int64_t k = j + 1; k < b->count; k++) w[k] -= e * u[k];
    }
}

/* Prunes a block and passes its errors on: W[:, behind] -= E U[block, behind]. */
static void prune_block(az_ctx *az, const block *b, unsigned char *scratch)
{
    const int64_t behind = b->first + b->count, left = b->cols - behind, chunks = (b->rows + ROWS - 1) / ROWS;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        const int64_t start = chunk * ROWS, end = start + ROWS < b->rows ? start + ROWS : b->rows;
        for (int64_t r = start; r < end; r++) prune_row(b, r, scratch + r * b->how->pattern.m);
        if (left > 0)
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)(end - start), (int)left, (int)b->count, -1,
                        b->error + start * b->count, (int)b->count, b->u + b->first * b->cols + behind, (int)b->cols, 1,
                        b->w + start * b->cols + behind, (int)b->cols);
    }
}

/* [rows, cols]: 1 where W is zero already. */
static const unsigned char *dropped_before(az_ctx *az, const az_tensor *w)
{
    const int64_t n = az_count(w);
    unsigned char *gone = az_alloc_array(az, (size_t)n, 1);
    for (int64_t i = 0; gone && i < n; i++) gone[i] = az_f32(w)[i] == 0;
    return gone;
}

/* Weights of inputs that never fire may go. */
static void drop_dead_inputs(const az_tensor *gram, az_tensor *w)
{
    const int64_t rows = w->shape[0], cols = w->shape[1];
    const double *square = az_f64(gram);
    float *value = az_f32_mut(w);
    for (int64_t j = 0; j < cols; j++)
        for (int64_t r = 0; square[j * cols + j] == 0 && r < rows; r++) value[r * cols + j] = 0;
}

/* W pruned block by block, given U. */
static az_tensor *prune_columns(az_ctx *az, const az_tensor *w, const az_tensor *gram, const az_tensor *u, const az_sparsegpt_settings *how)
{
    if (!w || !u) return NULL;
    az_scope_push(az);
    const int64_t rows = w->shape[0], cols = w->shape[1], m = how->pattern.m;
    const int64_t width = m ? (how->blocksize + m - 1) / m * m : how->blocksize; /* groups do not straddle blocks */
    az_tensor *pruned = az_copy(az, w), *error = az_new2(az, AZ_F32, rows, width < cols ? width : cols);
    unsigned char *scratch = az_alloc_array(az, (size_t)rows, (size_t)m);
    if (pruned) drop_dead_inputs(gram, pruned);
    block b = {.how = how,
               .rows = rows,
               .cols = cols,
               .w = az_f32_mut(pruned),
               .u = az_f32(u),
               .gone = dropped_before(az, w),
               .error = az_f32_mut(error)};
    for (; b.gone && b.first < cols && az_ok(az); b.first += width) {
        az_scope_push(az);
        b.count = cols - b.first < width ? cols - b.first : width;
        b.keep = m ? NULL : choose_mask(az, &b);
        if (az_ok(az)) prune_block(az, &b, scratch);
        az_scope_pop(az);
    }
    return az_keep(az, az_ok(az) ? pruned : NULL);
}

az_tensor *az_sparsegpt_prune(az_ctx *az, const az_tensor *w, const az_tensor *gram, const az_sparsegpt_settings *settings)
{
    if (!w || !gram) return NULL;
    return prune_columns(az, w, gram, az_inverse_factor(az, gram, settings->damp), settings);
}

typedef struct sparsegpt_run {
    const sparsegpt_options *options;
    az_factor_memo *memo;
} sparsegpt_run;

static az_weight *prune_layer(az_ctx *az, const az_lm_linear *linear, const az_lm_statistics *statistics, const void *user)
{
    const sparsegpt_run *run = user;
    const az_tensor *u = az_factor_of(az, run->memo, linear, statistics->gram, run->options->prune.damp);
    az_tensor *pruned = prune_columns(az, az_prune_matrix(az, linear->weight), statistics->gram, u, &run->options->prune);
    return pruned ? az_prune_result(az, linear->weight, az_weight_dense(az, pruned)) : NULL;
}

static bool sparsegpt_check(az_ctx *az, const void *options, az_lm *lm)
{
    const sparsegpt_options *o = options;
    return az_prune_check(az, lm, o->prune.sparsity, o->prune.pattern);
}

static bool sparsegpt_compress(az_ctx *az, const void *options, az_compress_job *job)
{
    const sparsegpt_options *o = options;
    if (!sparsegpt_check(az, o, job->lm)) return false;
    az_factor_memo memo = {0};
    const sparsegpt_run run = {.options = o, .memo = &memo};
    const az_layer_walk walk = {.task = "pruning",
                                .step = prune_layer,
                                .options = &run,
                                .calibrated = true,
                                .gram = true,
                                .error = o->error,
                                .calibration = o->calibration};
    const bool done = az_compress_layers(az, job, &walk);
    az_arena_free(az, memo.arena);
    return done;
}

const az_method az_sparsegpt = {
    .name = "sparsegpt",
    .family = AZ_COMPRESS,
    .summary = "drop weights and let the others make up for them",
    .paper = "Frantar and Alistarh: SparseGPT: massive language models can be accurately pruned in one-shot, ICML 2023, arXiv 2301.00774",
    .details = "Solves each layer's reconstruction problem approximately: goes through the inputs from left to right, drops the weights "
               "that by the inverse Hessian of the calibration inputs cost least, and lets the weights to the right make up for them. It "
               "holds a matrix of doubles, inputs by inputs, for each input of a block, and its time grows with the cube of a layer's "
               "inputs. The best of the one-shot methods at high sparsity and at patterns such as 2:4.",
    .example = "adze compress tales sparsegpt:sparsity=0.6 -d calibration.txt -o pruned.gguf",
    .options = sparsegpt_table,
    .options_size = sizeof(sparsegpt_options),
    .needs_data = true,
    .check = sparsegpt_check,
    .compress = sparsegpt_compress,
};
