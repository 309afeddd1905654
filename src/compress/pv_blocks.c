/* pv_blocks.c - the start of PV-tuning, block by block: codes fixed, the values of a block's matrices and whatever else of it learns are
 * fitted to what the teacher's block makes of the same inputs, those that the blocks in front of it give as they have become.
 *
 * Problem: minimise |B'(X) - B(X)|^2 / |B(X)|^2 by Adam, until held-out sequences have not gained for some epochs; the best epoch stays.
 *
 * Egiazarian et al.: "Extreme compression of large language models via additive quantization", ICML 2024 (arXiv 2401.06118), section 3.3.
 */
#include "compress/pv_tune.h"

#include "adze/grad.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PATIENCE = 3 };                /* epochs without a gain after which a block is done */
static const double HELD_OUT = 0.125; /* share of the sequences */
static const az_pv_adam adam = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8};

/* A tensor that learns. */
typedef struct learner {
    az_tensor *tensor, *m, *v, *best;
} learner;

typedef struct block_fit {
    az_pv_run *run;
    int block;
    int *at, n;       /* [n] the block's parameters among the run's, those of its layers first */
    int layers;       /* so many */
    learner *learner; /* [learners] values of the layers, two for each, then the others */
    int learners;
    int64_t train, count, length; /* sequences: the first `train` of them teach */
    az_tensor *x, *target;        /* [count length, width] */
    double size;                  /* mean square of the target */
    int64_t step;
} block_fit;

static learner learns(az_ctx *az, az_tensor *x)
{
    return (learner){
        .tensor = x, .m = az_zeros(az, AZ_F32, x->rank, x->shape), .v = az_zeros(az, AZ_F32, x->rank, x->shape), .best = az_copy(az, x)};
}

static bool list_learners(az_ctx *az, block_fit *f)
{
    const az_pv_run *run = f->run;
    const char *prefix = az_format_text(az, "blocks.%d.", f->block);
    f->at = az_alloc_array(az, (size_t)run->n, sizeof *f->at);
    f->learner = az_alloc_array(az, (size_t)(run->n * AZ_PV_VALUES), sizeof *f->learner);
    for (int i = 0; prefix && f->at && f->learner && i < run->n; i++) {
        if (strncmp(run->parameter[i].name, prefix, strlen(prefix)) != 0) continue;
        f->at[f->n++] = i;
        if (i < run->layers) {
            f->layers++;
            for (int v = 0; v < AZ_PV_VALUES; v++) f->learner[f->learners++] = learns(az, run->layer[i].value[v]);
        } else {
            f->learner[f->learners++] = learns(az, run->rest[i - run->layers].tensor);
        }
    }
    return az_ok(az);
}

/* Sequences first .. first + count - 1 of a matrix of all tokens. */
static az_tensor *rows_of(az_ctx *az, const block_fit *f, az_tensor *x, int64_t first, int64_t count)
{
    return az_contiguous(az, az_slice(az, x, 0, first * f->length, count * f->length));
}

static az_lm_batch batch_of(az_ctx *az, const block_fit *f, int64_t first, int64_t count)
{
    int64_t *start = az_alloc_array(az, (size_t)count + 1, sizeof *start);
    for (int64_t s = 0; start && s <= count; s++) start[s] = s * f->length;
    return (az_lm_batch){.sequences = (int)count, .token = f->run->text->token + first * f->length, .start = start};
}

/* out = the block of a model on all inputs, some sequences at a time. */
static bool run_block(az_ctx *az, const block_fit *f, const az_lm *lm, az_tensor *out)
{
    const int64_t at_once = f->run->how.batch;
    for (int64_t first = 0; first < f->count && az_ok(az); first += at_once) {
        const int64_t count = f->count - first < at_once ? f->count - first : at_once;
        az_scope_push(az);
        const az_lm_batch batch = batch_of(az, f, first, count);
        const az_tensor *y = batch.start ? az_lm_block_forward(az, lm, f->block, rows_of(az, f, f->x, first, count), &batch, NULL) : NULL;
        az_copy_into(az, az_slice(az, out, 0, first * f->length, count * f->length), y);
        az_scope_pop(az);
    }
    return az_ok(az);
}

/* Mean squared error of some sequences, in units of the target's mean square; recorded when a tape is open. */
static az_tensor *error_of(az_ctx *az, const block_fit *f, int64_t first, int64_t count)
{
    const az_lm_batch batch = batch_of(az, f, first, count);
    if (!batch.start) return NULL;
    az_tensor *y = az_lm_block_forward(az, f->run->student, f->block, rows_of(az, f, f->x, first, count), &batch, NULL);
    az_tensor *d = az_sub(az, y, rows_of(az, f, f->target, first, count));
    return az_affine(az, az_dot(az, d, d), d ? 1 / ((double)az_count(d) * f->size) : 0, 0);
}

static double held_out_error(az_ctx *az, const block_fit *f)
{
    const int64_t at_once = f->run->how.batch;
    double sum = 0;
    for (int64_t first = f->train; first < f->count && az_ok(az); first += at_once) {
        const int64_t count = f->count - first < at_once ? f->count - first : at_once;
        az_scope_push(az);
        const az_tensor *error = error_of(az, f, first, count);
        if (error) sum += az_to_double(error) * (double)count;
        az_scope_pop(az);
    }
    return az_ok(az) ? sum / (double)(f->count - f->train) : NAN;
}

static bool differentiate(az_ctx *az, const block_fit *f, int64_t first, int64_t count, az_tensor **gradient)
{
    az_tensor **outside = az_alloc_array(az, (size_t)f->n, sizeof *outside);
    const az_tensor **watched = az_alloc_array(az, (size_t)f->n, sizeof *watched);
    if (!outside || !watched) return false;
    az_tape_open(az);
    for (int i = 0; i < f->n; i++) {
        az_tensor **slot = f->run->parameter[f->at[i]].slot, *header = az_watch(az, *slot);
        outside[i] = *slot;
        if (header) *slot = header;
        watched[i] = header;
    }
    const az_tensor *error = error_of(az, f, first, count);
    const bool good = error && az_grad(az, error, NULL, watched, f->n, gradient, AZ_GRAD_FREE);
    az_tape_close(az);
    for (int i = 0; i < f->n; i++) *f->run->parameter[f->at[i]].slot = outside[i];
    return good;
}

static bool decode_layers(az_ctx *az, const block_fit *f)
{
    for (int i = 0; i < f->layers; i++) {
        const az_pv_layer *l = &f->run->layer[f->at[i]];
        az_scope_push(az);
        az_copy_into(az, l->matrix, az_weight_decode(az, l->code));
        az_scope_pop(az);
    }
    return az_ok(az);
}

static bool fit_step(az_ctx *az, block_fit *f, int64_t first, int64_t count)
{
    const double lr = f->run->how.block_lr;
    az_tensor **gradient = az_alloc_array(az, (size_t)f->n, sizeof *gradient);
    if (!gradient || !differentiate(az, f, first, count, gradient)) return false;
    f->step++;
    for (int i = 0, at = 0; i < f->n && az_ok(az); i++) {
        az_tensor *of_values[AZ_PV_VALUES] = {gradient[i]};
        const int n = i < f->layers ? AZ_PV_VALUES : 1;
        if (i < f->layers && !az_pv_gradients(az, f->run->layer[f->at[i]].code, gradient[i], of_values)) return false;
        for (int v = 0; v < n; v++, at++) {
            const learner *l = &f->learner[at];
            az_pv_adam_step(&adam, f->step, lr, of_values[v], l->m, l->v, l->tensor, l->tensor);
        }
    }
    return decode_layers(az, f);
}

static bool run_epoch(az_ctx *az, block_fit *f)
{
    const int64_t batch = f->run->how.batch;
    for (int64_t first = 0; first < f->train; first += batch) {
        az_scope_push(az);
        const bool good = fit_step(az, f, first, f->train - first < batch ? f->train - first : batch);
        az_scope_pop(az);
        if (!good) return false;
    }
    return true;
}

/* Epochs until nothing is gained any more; what was best stays. */
static bool fit_epochs(az_ctx *az, block_fit *f, az_report *report)
{
    const int64_t most = f->run->how.block_epochs, blocks = f->run->student->config.blocks;
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
        snprintf(note, sizeof note, "block %d, error %.4g", f->block, best);
        if (!az_progress(az, "fitting blocks", f->block * most + epoch + 1, blocks * most, note))
            return az_fail(az, AZ_INTERRUPTED, "interrupted: nothing has changed");
    }
    for (int i = 0; i < f->learners; i++) az_copy_into(az, f->learner[i].tensor, f->learner[i].best);
    az_report_row(report, "blocks");
    az_report_count(report, "block", f->block);
    az_report_count(report, "epochs", epoch);
    az_report_number(report, "error_before", before, "");
    az_report_number(report, "error", best, "");
    return decode_layers(az, f);
}

static bool fit_block(az_ctx *az, block_fit *f, az_report *report)
{
    f->n = f->layers = f->learners = 0, f->step = 0;
    if (!list_learners(az, f) || !run_block(az, f, f->run->teacher, f->target)) return false;
    f->size = az_to_double(az_dot(az, f->target, f->target)) / (double)az_count(f->target);
    if (!isfinite(f->size)) return az_fail(az, AZ_NUMERIC, "the outputs of block %d are not finite", f->block);
    if (f->size > 0 && f->n > 0 && !fit_epochs(az, f, report)) return false;
    if (!run_block(az, f, f->run->student, f->target)) return false;
    az_copy_into(az, f->x, f->target);
    return az_ok(az);
}

bool az_pv_tune_blocks(az_ctx *az, az_pv_run *run, az_report *report)
{
    const az_lm_sequences *text = run->text;
    const int64_t count = text->count < run->how.block_windows ? text->count : run->how.block_windows;
    const int64_t kept = (int64_t)ceil(HELD_OUT * (double)count);
    block_fit f = {.run = run, .count = count, .train = count - kept, .length = text->length};
    if (f.train < 1) return az_fail(az, AZ_BAD_INPUT, "fitting blocks needs two windows of %lld tokens of text", (long long)text->length);
    az_scope_push(az);
    f.x = az_new2(az, AZ_F32, f.count * f.length, run->student->config.width);
    f.target = az_new2(az, AZ_F32, f.count * f.length, run->student->config.width);
    const az_lm_batch all = batch_of(az, &f, 0, f.count);
    if (all.start) az_copy_into(az, f.x, az_lm_embed(az, run->student, &all, NULL));
    bool good = f.target && az_ok(az);
    for (f.block = 0; good && f.block < run->student->config.blocks; f.block++) {
        az_scope_push(az);
        good = fit_block(az, &f, report);
        az_scope_pop(az);
    }
    az_scope_pop(az);
    return good && az_ok(az);
}
