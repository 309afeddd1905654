/* pv_blocks.c - the fit of one block: its matrices have their codes, and their values and whatever else of it learns come as near as they
 * can to what the teacher's block makes of the same inputs, those that the blocks in front of it give as they have become.
 *
 * Problem: minimise |B'(X) - B(X)|^2 / |B(X)|^2 by Adam, until held-out sequences have not gained for some epochs; the best epoch stays.
 * Order: a block is quantized and fitted before the inputs of the next one are made, which is then fitted to them.
 *
 * Egiazarian et al.: "Extreme compression of large language models via additive quantization", ICML 2024 (arXiv 2401.06118), section 3.3.
 */
#include "compress/pv_tune.h"

#include "adze/grad.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PATIENCE = 3, PASS_TOKENS = 2048 }; /* epochs without a gain after which a block is done; tokens on the tape at a time */
enum { NORMS = 6 };                        /* that a block may have */
static const double HELD_OUT = 0.125;      /* share of the sequences */
static const az_pv_adam adam = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8};

/* A tensor that learns. */
typedef struct learner {
    az_tensor *tensor, *m, *v, *best;
} learner;

typedef struct block_fit {
    const az_pv_block *of;
    const az_lm_block_inputs *inputs;
    az_pv_layer *layer; /* [layers] of the block */
    int layers, n;      /* n parameters: the matrices of the layers, then the others */
    az_tensor ***slot;  /* [n] where the model has them */
    az_tensor **given;  /* [n] what was there; of the others */
    learner *learner;   /* [learners] values of the layers, two for each, then the others */
    int learners;
    int64_t train, per_pass; /* the first sequences teach; so many run at a time */
    az_tensor *x, *target;   /* [count length, width], f32 */
    double size;             /* mean square of the target */
    int64_t step;
} block_fit;

/* ---- what learns ---- */

static learner learns(az_ctx *az, az_tensor *x)
{
    return (learner){
        .tensor = x, .m = az_zeros(az, AZ_F32, x->rank, x->shape), .v = az_zeros(az, AZ_F32, x->rank, x->shape), .best = az_copy(az, x)};
}

static bool list_layers(az_ctx *az, block_fit *f, az_lm_linear *const *linear, int n)
{
    f->layer = az_alloc_array(az, (size_t)n, sizeof *f->layer);
    for (int i = 0; f->layer && i < n; i++) {
        if (linear[i]->block != f->inputs->block || !az_pv_is_coded(linear[i]->weight)) continue;
        az_pv_layer *l = &f->layer[f->layers++];
        if (!az_pv_open_layer(az, linear[i], l)) return false;
        f->slot[f->n++] = &l->linear->weight->part[0];
        for (int v = 0; v < AZ_PV_VALUES; v++) f->learner[f->learners++] = learns(az, l->value[v]);
    }
    return az_ok(az);
}

/* A vector of the block, or a router that is dense f32, if it is there: a copy of its own takes its place. */
static void add_other(az_ctx *az, block_fit *f, az_tensor **slot)
{
    if (!*slot || (*slot)->dtype != AZ_F32) return;
    az_tensor *own = az_copy(az, *slot);
    if (!own) return;
    f->given[f->n] = *slot;
    f->slot[f->n++] = slot;
    f->learner[f->learners++] = learns(az, *slot = own);
}

static bool list_others(az_ctx *az, block_fit *f, az_lm_linear *const *linear, int n)
{
    az_lm_block *b = &f->of->lm->block[f->inputs->block];
    az_lm_norm *const norms[NORMS] = {&b->attn_norm, &b->mlp_norm, &b->attn_post_norm, &b->mlp_post_norm, &b->q_norm, &b->k_norm};
    for (int i = 0; i < NORMS; i++) add_other(az, f, &norms[i]->weight), add_other(az, f, &norms[i]->bias);
    for (int i = 0; i < n; i++)
        if (linear[i]->block == f->inputs->block) add_other(az, f, &linear[i]->bias);
    if (b->router.weight && az_weight_is_dense(b->router.weight)) add_other(az, f, &b->router.weight->part[0]);
    add_other(az, f, &b->router.bias);
    return az_ok(az);
}

static bool list_learners(az_ctx *az, block_fit *f)
{
    enum { OTHERS = 2 * NORMS + 2 };
    az_lm_linear **linear = NULL;
    const int n = az_lm_linears(az, f->of->lm, &linear);
    f->slot = az_alloc_array(az, (size_t)(2 * n + OTHERS), sizeof *f->slot);
    f->given = az_alloc_array(az, (size_t)(2 * n + OTHERS), sizeof *f->given);
    f->learner = az_alloc_array(az, (size_t)((AZ_PV_VALUES + 1) * n + OTHERS), sizeof *f->learner);
    if (!f->slot || !f->given || !f->learner || !list_layers(az, f, linear, n)) return false;
    return !f->of->how->rest || list_others(az, f, linear, n);
}

/* ---- the block on sequences ---- */

/* Sequences first .. first + count - 1 of a matrix of all tokens. */
static az_tensor *rows_of(az_ctx *az, const block_fit *f, az_tensor *x, int64_t first, int64_t count)
{
    const int64_t length = f->inputs->sequences->length;
    return az_contiguous(az, az_slice(az, x, 0, first * length, count * length));
}

static az_tensor *run_block(az_ctx *az, const block_fit *f, const az_lm *lm, int64_t first, int64_t count)
{
    const az_lm_sequences *all = f->inputs->sequences;
    int64_t *start = az_alloc_array(az, (size_t)count + 1, sizeof *start);
    for (int64_t s = 0; start && s <= count; s++) start[s] = s * all->length;
    const az_lm_batch batch = {.sequences = (int)count, .token = all->token + first * all->length, .start = start};
    return start ? az_lm_block_forward(az, lm, f->inputs->block, rows_of(az, f, f->x, first, count), &batch, NULL) : NULL;
}

static int64_t at_most(int64_t count, int64_t most)
{
    return count < most ? count : most;
}

static bool make_target(az_ctx *az, block_fit *f)
{
    const az_lm_sequences *all = f->inputs->sequences;
    f->x = f->inputs->x->dtype == AZ_F32 ? f->inputs->x : az_cast(az, f->inputs->x, AZ_F32);
    f->target = az_new2(az, AZ_F32, all->count * all->length, f->of->lm->config.width);
    for (int64_t first = 0; f->target && first < all->count && az_ok(az); first += f->per_pass) {
        const int64_t count = at_most(all->count - first, f->per_pass);
        az_scope_push(az);
        const az_tensor *y = run_block(az, f, f->of->teacher, first, count);
        az_copy_into(az, az_slice(az, f->target, 0, first * all->length, count * all->length), y);
        az_scope_pop(az);
    }
    if (!az_ok(az)) return false;
    f->size = az_to_double(az_dot(az, f->target, f->target)) / (double)az_count(f->target);
    return isfinite(f->size) || az_fail(az, AZ_NUMERIC, "the outputs of block %d are not finite", f->inputs->block);
}

/* Mean squared error of some sequences, in units of the target's mean square; recorded when a tape is open. */
static az_tensor *error_of(az_ctx *az, const block_fit *f, int64_t first, int64_t count)
{
    az_tensor *d = az_sub(az, run_block(az, f, f->of->lm, first, count), rows_of(az, f, f->target, first, count));
    return az_affine(az, az_dot(az, d, d), d ? 1 / ((double)az_count(d) * f->size) : 0, 0);
}

static double held_out_error(az_ctx *az, const block_fit *f)
{
    const int64_t end = f->inputs->sequences->count;
    double sum = 0;
    for (int64_t first = f->train; first < end && az_ok(az); first += f->per_pass) {
        const int64_t count = at_most(end - first, f->per_pass);
        az_scope_push(az);
        const az_tensor *error = error_of(az, f, first, count);
        if (error) sum += az_to_double(error) * (double)count;
        az_scope_pop(az);
    }
    return az_ok(az) ? sum / (double)(end - f->train) : NAN;
}

/* ---- steps ---- */

/* Adds share times the gradient of some sequences' error. */
static bool add_gradient(az_ctx *az, const block_fit *f, int64_t first, int64_t count, double share, az_tensor **sum)
{
    az_tensor **outside = az_alloc_array(az, (size_t)f->n, sizeof *outside),
              **gradient = az_alloc_array(az, (size_t)f->n, sizeof *gradient);
    const az_tensor **watched = az_alloc_array(az, (size_t)f->n, sizeof *watched);
    if (!outside || !watched || !gradient) return false;
    az_tape_open(az);
    for (int i = 0; i < f->n; i++) {
        az_tensor *header = az_watch(az, *f->slot[i]);
        outside[i] = *f->slot[i];
        if (header) *f->slot[i] = header;
        watched[i] = header;
    }
    const az_tensor *error = error_of(az, f, first, count);
    const bool good = error && az_grad(az, error, NULL, watched, f->n, gradient, AZ_GRAD_FREE);
    az_tape_close(az);
    for (int i = 0; i < f->n; i++) *f->slot[i] = outside[i];
    for (int i = 0; good && i < f->n; i++) az_add_into(az, sum[i], gradient[i], share);
    return good && az_ok(az);
}

static bool decode_layers(az_ctx *az, const block_fit *f)
{
    for (int i = 0; i < f->layers; i++) {
        az_scope_push(az);
        az_copy_into(az, f->layer[i].matrix, az_weight_decode(az, f->layer[i].code));
        az_scope_pop(az);
    }
    return az_ok(az);
}

static bool fit_step(az_ctx *az, block_fit *f, int64_t first, int64_t count)
{
    az_tensor **gradient = az_alloc_array(az, (size_t)f->n, sizeof *gradient);
    for (int i = 0; gradient && i < f->n; i++) gradient[i] = az_zeros(az, AZ_F32, (*f->slot[i])->rank, (*f->slot[i])->shape);
    if (!gradient || !az_ok(az)) return false;
    for (int64_t at = first; at < first + count; at += f->per_pass) {
        const int64_t now = at_most(first + count - at, f->per_pass);
        az_scope_push(az);
        const bool good = add_gradient(az, f, at, now, (double)now / (double)count, gradient);
        az_scope_pop(az);
        if (!good) return false;
    }
    f->step++;
    for (int i = 0, at = 0; i < f->n; i++) {
        az_tensor *of_values[AZ_PV_VALUES] = {gradient[i]};
        const int n = i < f->layers ? AZ_PV_VALUES : 1;
        if (i < f->layers && !az_pv_gradients(az, f->layer[i].code, gradient[i], of_values)) return false;
        for (int v = 0; v < n; v++, at++) {
            const learner *l = &f->learner[at];
            az_pv_adam_step(&adam, f->step, f->of->how->block_lr, of_values[v], l->m, l->v, l->tensor, l->tensor);
        }
    }
    return decode_layers(az, f);
}

static bool run_epoch(az_ctx *az, block_fit *f)
{
    const int64_t batch = f->of->how->batch;
    for (int64_t first = 0; first < f->train; first += batch) {
        az_scope_push(az);
        const bool good = fit_step(az, f, first, at_most(f->train - first, batch));
        az_scope_pop(az);
        if (!good) return false;
    }
    return true;
}

/* Epochs until nothing is gained any more; what was best stays. */
static bool fit_epochs(az_ctx *az, block_fit *f)
{
    const int64_t most = f->of->how->block_epochs, blocks = f->of->lm->config.blocks;
    const int block = f->inputs->block;
    const double before = held_out_error(az, f);
    double best = before;
    int64_t epoch = 0;
    for (int64_t since = 0; epoch < most && since < PATIENCE && az_ok(az); epoch++) {
        if (!run_epoch(az, f)) return false;
        const double error = held_out_error(az, f);
        since = error < best ? 0 : since + 1;
        if (error < best) best = error;
        for (int i = 0; since == 0 && i < f->learners; i++) az_copy_into(az, f->learner[i].best, f->learner[i].tensor);
        char note[64];
        snprintf(note, sizeof note, "block %d, error %.4g", block, best);
        if (!az_progress(az, "fitting blocks", block * most + epoch + 1, blocks * most, note))
            return az_fail(az, AZ_INTERRUPTED, "interrupted: nothing has changed");
    }
    for (int i = 0; i < f->learners; i++) az_copy_into(az, f->learner[i].tensor, f->learner[i].best);
    az_report_row(f->of->report, "blocks");
    az_report_count(f->of->report, "block", block);
    az_report_count(f->of->report, "epochs", epoch);
    az_report_number(f->of->report, "error_before", before, "");
    az_report_number(f->of->report, "error", best, "");
    return az_ok(az);
}

static void restore_block(const block_fit *f)
{
    for (int i = 0; i < f->layers; i++) f->layer[i].linear->weight = f->layer[i].given;
    for (int i = f->layers; i < f->n; i++) *f->slot[i] = f->given[i];
}

/* Codes and values, and the others, go into the model's arena. */
static bool close_block(az_ctx *az, const block_fit *f)
{
    az_lm *lm = f->of->lm;
    for (int i = 0; i < f->layers; i++)
        if (!az_pv_close_layer(az, lm, &f->layer[i])) return false;
    az_arena_enter(az, lm->arena);
    for (int i = f->layers; i < f->n; i++) *f->slot[i] = az_share(az, *f->slot[i]);
    az_arena_leave(az);
    return az_ok(az);
}

bool az_pv_fit_block(az_ctx *az, const az_pv_block *of, const az_lm_block_inputs *inputs)
{
    const az_lm_sequences *all = inputs->sequences;
    const int64_t kept = (int64_t)ceil(HELD_OUT * (double)all->count), passes = PASS_TOKENS / all->length;
    if (all->count - kept < 1)
        return az_fail(az, AZ_BAD_INPUT, "block_epochs needs two sequences of %lld tokens of text (nsamples, seqlen)",
                       (long long)all->length);
    block_fit f = {.of = of, .inputs = inputs, .train = all->count - kept, .per_pass = passes > 1 ? passes : 1};
    az_scope_push(az);
    const bool good = make_target(az, &f) && list_learners(az, &f) && (f.size == 0 || fit_epochs(az, &f)) && close_block(az, &f);
    if (!good) restore_block(&f);
    az_scope_pop(az);
    return good;
}
