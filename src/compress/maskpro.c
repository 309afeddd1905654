/* maskpro.c - learns which n of every m consecutive weights to keep, with forward passes only.
 *
 * Problem: min over N:M masks m of the mean of f(m, xi) over minibatches xi, f being the cross-entropy of the model with weights w * m.
 * Symbols: pi the logits of a block of M weights, p(S) the probability of keeping the set S (nm_blocks.h), m0 the start mask, c its logits.
 * Rule: start at pi = c m0. In step k, with the minibatch xi_b, b = k mod B, and the mask m_k drawn before:
 *     r = f(m_k, xi_b) - f(m0, xi_b)                        loss residual; the second term was computed once for each minibatch
 *     delta = 0.99 delta + 0.01 r                           its moving average
 *     pi -= eta (r - delta) grad_pi log p(m_k)              policy gradient, the same factor for all blocks
 *     m_{k+1} drawn from the new pi, m_0 being the start mask.
 * Result: the N largest logits of each block.
 * Added here: eta = 0.1 / deviation of the first 40 residuals (lr=auto), c by the number of blocks in which a draw differs from m0
 * (logits=auto:n), and a guard that stops a run whose residuals drift up and takes the best mask of it.
 *
 * "MaskPro: linear-space probabilistic learning for strict (N:M)-sparsity on large language models" (arXiv 2506.12876), algorithm 1. */
#include "compress/maskpro.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { PROBE = 40, WARM = 100, TOO_LONG = 100, SNAPSHOT = 50, PASS_TOKENS = 2048 };

static const char *const estimators[] = {
    [AZ_MASKPRO_VANILLA] = "vanilla", [AZ_MASKPRO_RESIDUAL] = "residual", [AZ_MASKPRO_TRACKED] = "maskpro", NULL};
static const char *const others_names[] = {[AZ_OTHERS_START] = "start", [AZ_OTHERS_DENSE] = "dense", NULL};

static const az_option maskpro_table[] = {
    {"pattern", AZ_FIELD(AZ_PATTERN, az_maskpro_options, start.pattern), "none", 0, 0, NULL,
     "n:m keeps n of every m consecutive inputs, n up to 8, m up to 16; none = that of a mask that is there already, otherwise 2:4"},
    {"init", AZ_FIELD(AZ_CHOICE, az_maskpro_options, start.init), "auto", 0, 0, az_start_names,
     "the start mask; auto = what the chain has pruned, or wanda's"},
    {"mask", AZ_FIELD(AZ_TEXT, az_maskpro_options, start.file), "", 0, 0, NULL,
     "a mask file, or a sparse model whose zeros are the start mask"},
    {"logits", AZ_FIELD(AZ_TEXT, az_maskpro_options, logits), "10", 0, 0, NULL,
     "start logits of kept weights, or auto:n so that a draw differs from the start mask in n blocks"},
    {"lr", AZ_FIELD(AZ_TEXT, az_maskpro_options, lr), "50", 0, 0, NULL, "step size, or auto = 0.1 / deviation of the first 40 residuals"},
    {"guard", AZ_FIELD(AZ_REAL, az_maskpro_options, guard), "3", 0, 1e9, NULL,
     "stop when the mean residual stays that many deviations above its minimum for 100 steps, and take the best mask; 0 = never"},
    {"steps", AZ_FIELD(AZ_INT, az_maskpro_options, steps), "10000", 1, 1e8, NULL, "forward passes to learn from"},
    {"samples", AZ_FIELD(AZ_INT, az_maskpro_options, samples), "512", 1, 1e7, NULL, "calibration sequences"},
    {"batch", AZ_FIELD(AZ_INT, az_maskpro_options, batch), "32", 1, 1e6, NULL, "sequences in a step"},
    {"seqlen", AZ_FIELD(AZ_INT, az_maskpro_options, length), "128", 2, 1e6, NULL, "tokens of a calibration sequence"},
    {"tracker", AZ_FIELD(AZ_REAL, az_maskpro_options, decay), "0.99", 0, 0.999999, NULL, "memory of the moving average of residuals"},
    {"estimator", AZ_FIELD(AZ_CHOICE, az_maskpro_options, estimator), "maskpro", 0, 0, estimators,
     "in front of the gradient: the loss, its residual, or the residual minus its moving average"},
    {"clamp", AZ_FIELD(AZ_REAL, az_maskpro_options, clamp), "1e-8", 1e-30, 1e-3, NULL, "least probability"},
    {"layers", AZ_FIELD(AZ_TEXT, az_maskpro_options, layers), "", 0, 0, NULL, "layers that learn: a regular expression on their names"},
    {"others", AZ_FIELD(AZ_CHOICE, az_maskpro_options, others), "start", 0, 0, others_names,
     "the other layers: pruned by the start mask, or dense"},
    {"resume", AZ_FIELD(AZ_TEXT, az_maskpro_options, resume), "", 0, 0, NULL,
     "a .safetensors file for logits and state: written, and taken up when it is there"},
    {"save_every", AZ_FIELD(AZ_INT, az_maskpro_options, save_every), "500", 1, 1e9, NULL, "steps between two writings of the state"},
    {"log", AZ_FIELD(AZ_TEXT, az_maskpro_options, log), "", 0, 0, NULL, "a .csv file for loss, residual and flips of each step"},
    {"save_mask", AZ_FIELD(AZ_TEXT, az_maskpro_options, save_mask), "", 0, 0, NULL, "also write the masks to this .safetensors file"},
    {"damp", AZ_FIELD(AZ_REAL, az_maskpro_options, start.damp), "0.01", 0, 1e6, NULL,
     "of init=sparsegpt, in units of the Hessian's mean diagonal"},
    {"seed", AZ_FIELD(AZ_INT, az_maskpro_options, seed), "0", 0, 0, NULL,
     "of draws and of the choice of calibration sequences; without it that of --seed"},
    {0},
};

/* ---- options that are a number or a word ---- */

static bool positive_number(const char *text, double *out)
{
    char *end;
    errno = 0;
    *out = strtod(text, &end);
    return *text && !*end && errno == 0 && isfinite(*out) && *out > 0;
}

/* lr: NaN for auto. */
static bool read_lr(az_ctx *az, const char *text, double *lr)
{
    *lr = NAN;
    if (strcmp(text, "auto") == 0 || positive_number(text, lr)) return true;
    return az_fail(az, AZ_BAD_INPUT, "lr is '%s'; it is a number above 0, or auto", text);
}

/* logits: *c, or *flips for auto:n (the other one is NaN). */
static bool read_logits(az_ctx *az, const char *text, double *c, double *flips)
{
    *c = *flips = NAN;
    const bool automatic = strncmp(text, "auto:", 5) == 0;
    if (positive_number(automatic ? text + 5 : text, automatic ? flips : c)) return true;
    return az_fail(az, AZ_BAD_INPUT,
                   "logits is '%s'; it is a number above 0, or auto:n with the number of blocks in which a draw differs from the start",
                   text);
}

static bool maskpro_check(az_ctx *az, const void *options, az_lm *lm)
{
    const az_maskpro_options *o = options;
    const az_pattern p = o->start.pattern.m ? o->start.pattern : (az_pattern){2, 4};
    double lr, c, flips;
    if (p.n < 1 || p.n >= p.m || p.m > AZ_NM_MOST || p.n > AZ_NM_MOST_KEPT)
        return az_fail(az, AZ_BAD_INPUT, "the pattern %d:%d is none of 1 <= n < m <= %d with n <= %d", p.n, p.m, AZ_NM_MOST,
                       AZ_NM_MOST_KEPT);
    if (!read_lr(az, o->lr, &lr) || !read_logits(az, o->logits, &c, &flips)) return false;
    if (isnan(lr) && o->steps <= PROBE)
        return az_fail(az, AZ_BAD_INPUT, "lr=auto looks at %d steps before it learns; steps is %lld", PROBE + 1, (long long)o->steps);
    az_scope_push(az);
    az_layer_filter_new(az, o->layers);
    az_fail_context(az, "layers");
    az_scope_pop(az);
    return az_ok(az) && az_prune_check(az, lm, 0, p);
}

/* A digest of everything that the run's numbers depend on. */
static const char *identity_of(az_ctx *az, const az_maskpro_run *run)
{
    static const char *const immaterial[] = {"resume", "save_every", "log", "save_mask", "steps"};
    uLong text = crc32(0, NULL, 0), weights = text, start = text;
    const int64_t tokens = run->sequences->count * run->sequences->length;
    text = crc32_z(text, (const Bytef *)run->sequences->token, (size_t)tokens * sizeof *run->sequences->token);
    for (int i = 0; i < run->n; i++) {
        const az_maskpro_layer *layer = &run->layer[i];
        weights = crc32_z(weights, layer->value->data, (size_t)az_count(layer->value) * az_dtype_size(layer->value->dtype));
        start = crc32_z(start, layer->start->data, (size_t)az_count(layer->start));
    }
    const char *identity = az_format_text(az, "text=%08lx weights=%08lx start=%08lx", text, weights, start);
    for (const az_option *o = maskpro_table; o->name && identity; o++) {
        bool counts = true;
        for (size_t i = 0; i < sizeof immaterial / sizeof *immaterial; i++) counts = counts && strcmp(o->name, immaterial[i]) != 0;
        if (counts) identity = az_format_text(az, "%s %s=%s", identity, o->name, az_options_get(az, o, run->options));
    }
    return identity;
}

/* ---- losses ---- */

/* Mean cross-entropy of minibatch b, summed in double precision. */
static double batch_loss(az_ctx *az, const az_maskpro_run *run, int64_t b)
{
    const int64_t batch = run->options->batch, length = run->sequences->length;
    const int64_t per_pass = PASS_TOKENS / length > 1 ? PASS_TOKENS / length : 1;
    double sum = 0;
    for (int64_t s = 0; s < batch && az_ok(az); s += per_pass) {
        az_scope_push(az);
        const int64_t n = batch - s < per_pass ? batch - s : per_pass;
        const az_lm_lesson lesson = az_lm_lesson_of(az, run->sequences, b * batch + s, n);
        const az_tensor *loss = az_lm_loss(az, run->lm, &lesson, NULL);
        if (loss) sum += az_to_double(loss);
        az_scope_pop(az);
    }
    return sum / (double)(batch * (length - 1));
}

/* f(m0, xi_b) for every b. */
static bool initial_losses(az_ctx *az, az_maskpro_run *run)
{
    for (int64_t b = 0; b < run->batches && az_ok(az); b++) {
        run->initial[b] = batch_loss(az, run, b);
        if (az_ok(az) && !isfinite(run->initial[b]))
            az_fail(az, AZ_NUMERIC, "the loss of the start mask is not finite on minibatch %lld", (long long)b);
        if (!az_progress(az, "losses of the start mask", b + 1, run->batches, NULL))
            az_fail(az, AZ_INTERRUPTED, "interrupted before learning");
    }
    return az_ok(az);
}

/* ---- learning ---- */

double az_maskpro_factor(az_maskpro_tracker *tracker, double f, double f0)
{
    const double residual = f - f0;
    tracker->delta = tracker->decay * tracker->delta + (1 - tracker->decay) * residual;
    if (tracker->estimator == AZ_MASKPRO_VANILLA) return f;
    return tracker->estimator == AZ_MASKPRO_RESIDUAL ? residual : residual - tracker->delta;
}

/* After the probe the deviation of residuals 1 .. 40 is known, and with it an automatic step size. */
static bool finish_probe(az_ctx *az, az_maskpro_run *run)
{
    double residual[PROBE];
    for (int i = 0; i < PROBE; i++) residual[i] = run->record[i + 1].residual;
    const az_estimate mean = az_mean_estimate(residual, PROBE, 0.95);
    run->deviation = mean.se * sqrt(PROBE);
    if (!isnan(run->lr)) return true;
    if (!(run->deviation > 0))
        return az_fail(az, AZ_NUMERIC,
                       "lr=auto: no loss differed from the start mask's in %d steps, so few blocks flip; lower logits, or give "
                       "logits=auto:n",
                       PROBE);
    run->lr = 0.1 / run->deviation;
    return true;
}

/* The tracker as a mean of what it has seen, without its start at 0. */
static double mean_residual(const az_maskpro_run *run)
{
    return run->tracker.delta / (1 - pow(run->tracker.decay, (double)run->step));
}

/* Remembers the mask of the lowest tracker, and says when it has been too high for too long. */
static void watch_drift(az_maskpro_run *run)
{
    if (run->step < WARM || isnan(run->deviation)) return;
    const double mean = mean_residual(run);
    run->lowest = fmin(run->lowest, mean);
    const double limit = run->lowest + run->options->guard * run->deviation;
    run->over = run->options->guard > 0 && mean > limit ? run->over + 1 : 0;
    run->drifted = run->over >= TOO_LONG;
    if (run->step % SNAPSHOT != 0 || mean > run->best) return;
    for (int i = 0; i < run->n; i++) az_nm_final(&run->layer[i].blocks, run->layer[i].best->data);
    run->best = mean;
    run->best_step = run->step;
}

static bool learn_step(az_ctx *az, az_maskpro_run *run)
{
    const int64_t k = run->step, b = k % run->batches;
    const double loss = batch_loss(az, run, b);
    if (!az_ok(az)) return false;
    if (!isfinite(loss)) {
        az_maskpro_save(az, run);
        return az_fail(az, AZ_NUMERIC, "the loss is not finite in step %lld%s", (long long)k + 1,
                       *run->options->resume ? "; the state holds the logits before it" : "");
    }
    const double factor = az_maskpro_factor(&run->tracker, loss, run->initial[b]);
    const double rate = isnan(run->lr) ? 0 : run->lr * factor;
    int64_t flips = 0;
    for (int i = 0; i < run->n; i++)
        flips += az_nm_move(az, &run->layer[i].blocks, rate, (uint64_t)run->options->seed, az_stream("maskpro", (uint64_t)k));
    run->record[k] = (az_maskpro_record){loss, run->initial[b], loss - run->initial[b], run->tracker.delta, (double)flips};
    run->step++;
    if (run->step == PROBE + 1 && !finish_probe(az, run)) return false;
    watch_drift(run);
    return true;
}

static bool learn(az_ctx *az, az_maskpro_run *run)
{
    const az_maskpro_options *o = run->options;
    while (run->step < o->steps && !run->drifted) {
        az_scope_push(az);
        const bool good = learn_step(az, run);
        az_scope_pop(az);
        if (!good) return false;
        char note[96];
        const az_maskpro_record *last = &run->record[run->step - 1];
        snprintf(note, sizeof note, "loss %.4f, residual %+.5f, %.0f flips", last->loss, last->tracker, last->flips);
        const bool go_on = az_progress(az, "learning masks", run->step, o->steps, note);
        const bool end = run->step == o->steps || run->drifted || !go_on;
        if ((end || run->step % o->save_every == 0) && !az_maskpro_save(az, run)) return false;
        if (!go_on && run->step < o->steps)
            return az_fail(az, AZ_INTERRUPTED, "interrupted after step %lld of %lld%s", (long long)run->step, (long long)o->steps,
                           *o->resume ? "; the same command goes on from there" : "");
    }
    return true;
}

/* ---- the whole run ---- */

/* Logits of the start mask, and the first draw, which is the start mask itself. */
static bool begin(az_ctx *az, az_maskpro_run *run)
{
    double flips;
    if (!read_lr(az, run->options->lr, &run->lr) || !read_logits(az, run->options->logits, &run->logit, &flips)) return false;
    if (isnan(run->logit)) run->logit = az_nm_logit_for(az, run->pattern, flips / (double)run->blocks);
    if (!az_ok(az)) return false;
    for (int i = 0; i < run->n; i++) {
        const az_maskpro_layer *layer = &run->layer[i];
        const unsigned char *start = layer->start->data;
        float *logit = layer->blocks.logit;
        for (int64_t k = 0; k < az_count(layer->logit); k++) logit[k] = start[k / 8] >> k % 8 & 1 ? (float)run->logit : 0;
        memcpy(layer->best->data, start, (size_t)az_count(layer->start));
        az_nm_set(&layer->blocks, start);
    }
    return az_maskpro_has_state(run->options) ? true : initial_losses(az, run);
}

/* Takes up a state: the model gets the masks that were drawn last. */
static bool go_on(az_ctx *az, az_maskpro_run *run)
{
    if (!az_maskpro_load(az, run)) return false;
    for (int i = 0; i < run->n; i++) az_nm_set(&run->layer[i].blocks, run->layer[i].blocks.kept);
    return true;
}

/* The final masks go into the model; returns how many blocks differ from the start. */
static int64_t finish(az_maskpro_run *run)
{
    int64_t changed = 0;
    for (int i = 0; i < run->n; i++) {
        const az_maskpro_layer *layer = &run->layer[i];
        unsigned char *final = layer->best->data;
        if (!run->drifted) az_nm_final(&layer->blocks, final);
        az_nm_set(&layer->blocks, final);
        for (int64_t at = 0; at < az_count(layer->logit); at += run->pattern.m)
            changed += az_bits_get(final, at, run->pattern.m) != az_bits_get(layer->start->data, at, run->pattern.m);
    }
    return changed;
}

static double mean_initial(const az_maskpro_run *run)
{
    double sum = 0;
    for (int64_t b = 0; b < run->batches; b++) sum += run->initial[b];
    return sum / (double)run->batches;
}

/* Mean square of the factor in front of the gradients over that of the plain loss: what the estimator does to their variance. */
static double moment_ratio(const az_maskpro_run *run)
{
    double factor = 0, loss = 0;
    for (int64_t i = 0; i < run->step; i++) {
        const az_maskpro_record *r = &run->record[i];
        const double values[] = {
            [AZ_MASKPRO_VANILLA] = r->loss, [AZ_MASKPRO_RESIDUAL] = r->residual, [AZ_MASKPRO_TRACKED] = r->residual - r->tracker};
        factor += values[run->options->estimator] * values[run->options->estimator];
        loss += r->loss * r->loss;
    }
    return loss > 0 ? factor / loss : NAN;
}

static double binomial(int m, int n)
{
    double product = 1;
    for (int i = 0; i < n; i++) product *= (double)(m - i) / (i + 1);
    return round(product);
}

static void report_curve(az_ctx *az, const az_maskpro_run *run, az_report *report)
{
    double *x = az_alloc_array(az, (size_t)run->step, sizeof *x), *y = az_alloc_array(az, (size_t)run->step, sizeof *y);
    for (int64_t i = 0; x && y && i < run->step; i++) x[i] = (double)i + 1, y[i] = run->record[i].tracker;
    if (x && y) az_report_curve(report, "maskpro", "step", "mean residual (nat)", run->step, x, y);
}

static void report_run(az_ctx *az, const az_maskpro_run *run, int64_t changed, double seconds, az_report *report)
{
    double flips = 0, loss = 0;
    for (int64_t i = 0; i < run->step; i++) flips += run->record[i].flips / (double)run->step;
    for (int64_t b = 0; b < run->batches && az_ok(az); b++) loss += batch_loss(az, run, b) / (double)run->batches;
    const double block = (double)run->blocks;
    for (int i = 0; i < run->n; i++)
        az_compress_row(az, report, run->layer[i].linear->name, run->layer[i].linear->weight, NAN, seconds / run->n);
    az_report_row(report, "learning");
    az_report_text(report, "pattern", az_format_text(az, "%d:%d", run->pattern.n, run->pattern.m));
    az_report_count(report, "steps", run->step);
    az_report_count(report, "blocks", run->blocks);
    az_report_count(report, "changed", changed);
    az_report_number(report, "start_loss", mean_initial(run), "nat");
    az_report_number(report, "loss", loss, "nat");
    az_report_number(report, "logits", run->logit, "");
    az_report_number(report, "lr", run->lr, "");
    az_report_number(report, "deviation", run->deviation, "nat");
    az_report_number(report, "flips", flips, "per step");
    az_report_number(report, "moment_ratio", moment_ratio(run), "");
    az_report_number(report, "signal", sqrt((double)run->step / block), "");
    az_report_bool(report, "drifted", run->drifted);
    az_report_number(report, "logits_bytes", 4 * block * run->pattern.m, "B");
    az_report_number(report, "subsets_bytes", 4 * block * binomial(run->pattern.m, run->pattern.n), "B");
    report_curve(az, run, report);
}

static bool save_masks(az_ctx *az, const az_maskpro_run *run, const char *path)
{
    az_scope_push(az);
    az_named_mask *masks = az_alloc_array(az, (size_t)run->n, sizeof *masks);
    for (int i = 0; masks && i < run->n; i++) {
        const az_maskpro_layer *layer = &run->layer[i];
        az_tensor *keep = az_new2(az, AZ_U8, layer->blocks.rows, layer->blocks.cols);
        unsigned char *k = keep ? keep->data : NULL;
        for (int64_t j = 0; k && j < az_count(keep); j++) k[j] = layer->blocks.kept[j / 8] >> j % 8 & 1;
        masks[i] = (az_named_mask){.layer = layer->linear->name, .keep = keep};
    }
    const bool good = az_ok(az) && az_mask_file_write(az, path, masks, run->n);
    az_scope_pop(az);
    return good;
}

/* The calibration set, minibatches and records; a set that is too small gives smaller minibatches. */
static bool set_up_data(az_ctx *az, const az_compress_job *job, az_maskpro_run *run, az_maskpro_options *own)
{
    if (!job->calibration) return az_fail(az, AZ_BAD_INPUT, "calibration text is needed (-d FILE)");
    if (own->length > job->lm->config.context) own->length = job->lm->config.context;
    run->sequences = az_lm_sample_sequences(az, job->lm, job->calibration, own->samples, own->length, (uint64_t)own->seed);
    if (!run->sequences) return false;
    if (run->sequences->length < 2) return az_fail(az, AZ_BAD_INPUT, "calibration sequences of two tokens at least are needed");
    if (own->batch > run->sequences->count) own->batch = run->sequences->count;
    run->batches = run->sequences->count / own->batch;
    run->initial = az_alloc_array(az, (size_t)run->batches, sizeof *run->initial);
    run->record = az_alloc_array(az, (size_t)own->steps, sizeof *run->record);
    return az_ok(az);
}

static bool run_all(az_ctx *az, az_compress_job *job, az_maskpro_run *run, az_maskpro_options *own)
{
    const double began = az_seconds();
    if (!set_up_data(az, job, run, own)) return false;
    if (!az_maskpro_set_up(az, job, run)) return false;
    run->identity = identity_of(az, run);
    if (!begin(az, run) || (az_maskpro_has_state(own) && !go_on(az, run)) || !learn(az, run)) return false;
    const int64_t changed = finish(run);
    if (*own->save_mask && !save_masks(az, run, own->save_mask)) return false;
    if (run->drifted)
        az_note(az, "the mean residual drifted up and learning stopped after step %lld; the masks are those of step %lld",
                (long long)run->step, (long long)run->best_step);
    if (job->report) report_run(az, run, changed, az_seconds() - began, job->report);
    return az_ok(az);
}

static bool maskpro_compress(az_ctx *az, const void *options, az_compress_job *job)
{
    az_maskpro_options own = *(const az_maskpro_options *)options; /* batch and length may shrink to what the text allows */
    if (!job->lm || !maskpro_check(az, &own, job->lm)) return false;
    az_scope_push(az);
    az_maskpro_run run = {.options = &own,
                          .lm = job->lm,
                          .arena = az_arena_new(az),
                          .tracker = {.estimator = own.estimator, .decay = own.decay},
                          .deviation = NAN,
                          .lowest = INFINITY,
                          .best = INFINITY};
    const bool done = run.arena && run_all(az, job, &run, &own);
    az_arena_free(az, run.arena);
    az_scope_pop(az);
    return done;
}

const az_method az_maskpro = {
    .name = "maskpro",
    .family = AZ_COMPRESS,
    .summary = "learn which n of every m weights to keep, with forward passes only",
    .paper = "MaskPro: linear-space probabilistic learning for strict (N:M)-sparsity on large language models, arXiv 2506.12876",
    .details =
        "Each block of m consecutive weights has a distribution over the sets of n to keep, held as m logits. Every step draws a mask, "
        "runs one minibatch forward, and moves the logits by a policy gradient whose factor is the loss minus the start mask's loss on the "
        "same minibatch minus a moving average of that difference. Weights do not change; memory is the model, one float a weight and "
        "three bits. It starts from the zeros that the chain has made (`wanda:pattern=2:4 maskpro`), from a mask of its own (init), or "
        "from a file (mask). logits=10 and lr=50 are the paper's, for billions of weights. The signal of a block grows with the root of "
        "steps / blocks: a small model wants `logits=auto:n` with n around a hundredth of the blocks, `lr=auto`, and few layers "
        "(`layers=attn.o`) or many steps. With resume=FILE a run that is stopped loses nothing, and goes on bit for bit.",
    .example = "adze compress tales wanda:pattern=2:4 maskpro:layers=attn.o,logits=auto:40,lr=auto,steps=50,batch=8 -d calibration.txt -o "
               "pruned.gguf",
    .options = maskpro_table,
    .options_size = sizeof(az_maskpro_options),
    .needs_data = true,
    .check = maskpro_check,
    .compress = maskpro_compress,
};
