/* layers.c - the walk of a compression method over a model, with or without calibration text, and what is reported of each layer. */
#include "compress/compress_internal.h"

#include <math.h>

enum { LONGEST = 2048 }; /* tokens of a calibration sequence, unless asked otherwise */

/* sum over rows r of m_r^T G m_r = |M X|^2 when G = X X^T */
static double energy(az_ctx *az, const az_tensor *m, const az_tensor *gram)
{
    const az_tensor *wide = az_cast(az, m, AZ_F64);
    const double value = az_to_double(az_dot(az, az_matmul(az, wide, gram), wide));
    return value > 0 ? value : 0;
}

double az_compress_error(az_ctx *az, const az_weight *before, const az_weight *after, const az_tensor *gram)
{
    if (!before || !after || !gram) return NAN;
    az_scope_push(az);
    const az_tensor *w = az_weight_decode(az, before);
    const double changed = energy(az, az_sub(az, w, az_weight_decode(az, after)), gram), whole = energy(az, w, gram);
    az_scope_pop(az);
    return whole > 0 ? changed / whole : changed > 0 ? INFINITY : 0;
}

void az_compress_row(az_ctx *az, az_report *report, const char *layer, const az_weight *weight, double error, double seconds)
{
    if (!report) return;
    az_report_row(report, "layers");
    az_report_text(report, "layer", layer);
    az_report_text(report, "format", weight->format->name);
    az_report_number(report, "sparsity", az_weight_sparsity(az, weight), "");
    az_report_number(report, "error", error, "");
    az_report_number(report, "seconds", seconds, "s");
}

typedef struct visit {
    az_compress_job *job;
    const az_layer_walk *walk;
} visit;

static bool measures_error(const visit *v)
{
    return v->walk->error && v->walk->calibrated && v->job->report;
}

/* One layer: the method's step, the row of the report, the new weight in the model's arena. */
static bool change_layer(az_ctx *az, az_lm_linear *linear, const az_lm_statistics *statistics, void *user)
{
    const visit *v = user;
    az_lm *lm = v->job->lm;
    const double start = az_seconds();
    az_scope_push(az);
    az_weight *changed = v->walk->step(az, linear, statistics, v->walk->options);
    if (v->walk->zeros == AZ_KEEP_ZEROS) changed = az_compress_keep_zeros(az, linear->weight, changed);
    if (changed) {
        const double seconds = az_seconds() - start;
        const double error = measures_error(v) ? az_compress_error(az, linear->weight, changed, statistics->gram) : NAN;
        az_compress_row(az, v->job->report, linear->name, changed, error, seconds);
        az_arena_enter(az, lm->arena);
        az_weight *kept = az_weight_share(az, changed);
        az_arena_leave(az);
        if (kept) linear->weight = kept;
    }
    az_scope_pop(az);
    az_fail_context(az, "%s", linear->name);
    return az_ok(az);
}

static bool finish_block(az_ctx *az, const az_lm_block_inputs *inputs, void *user)
{
    const visit *v = user;
    return v->walk->block(az, v->job, inputs, v->walk->options);
}

az_lm_sequences *az_calibration_sequences(az_ctx *az, const az_compress_job *job, const az_calibration *calibration)
{
    if (!job->calibration) return az_fail(az, AZ_BAD_INPUT, "calibration text is needed (-d FILE)");
    const int64_t context = job->lm->config.context, longest = context < LONGEST ? context : LONGEST;
    return az_lm_sample_sequences(az, job->lm, job->calibration, calibration->samples, calibration->length ? calibration->length : longest,
                                  (uint64_t)calibration->seed);
}

static bool change_calibrated(az_ctx *az, visit *v)
{
    const az_lm_sequences *sequences = az_calibration_sequences(az, v->job, &v->walk->calibration);
    const az_lm_visitor visitor = {.layer = change_layer, .block = v->walk->block ? finish_block : NULL, .user = v};
    return az_lm_calibrate(az, v->job->lm, sequences, v->walk->gram || measures_error(v) ? AZ_CALIBRATE_GRAM : 0, &visitor);
}

static bool change_plain(az_ctx *az, visit *v)
{
    az_lm_linear **linear;
    const int n = az_lm_linears(az, v->job->lm, &linear);
    for (int i = 0; i < n; i++) {
        if (!change_layer(az, linear[i], NULL, v)) return false;
        if (!az_progress(az, v->walk->task, i + 1, n, linear[i]->name))
            return az_fail(az, AZ_INTERRUPTED, "interrupted after %d of %d layers", i + 1, n);
    }
    return az_ok(az);
}

bool az_compress_layers(az_ctx *az, az_compress_job *job, const az_layer_walk *walk)
{
    if (!job->lm || !az_ok(az)) return false;
    visit v = {.job = job, .walk = walk};
    az_scope_push(az);
    const bool done = walk->calibrated ? change_calibrated(az, &v) : change_plain(az, &v);
    az_scope_pop(az);
    return done;
}

const az_weight *az_compress_original(az_ctx *az, const az_compress_job *job, const az_lm_linear *linear)
{
    const az_weight *found = linear->weight;
    az_lm_linear **now, **then;
    az_scope_push(az);
    const int n = az_lm_linears(az, job->lm, &now);
    if (job->original && az_lm_linears(az, (az_lm *)(uintptr_t)job->original, &then) == n)
        for (int i = 0; i < n; i++)
            if (now[i] == linear) found = then[i]->weight;
    az_scope_pop(az);
    return found;
}

static const double USUAL_SPARSITY = 0.5; /* of every method that has one: what a pattern may replace */

bool az_prune_check(az_ctx *az, az_lm *lm, double sparsity, az_pattern pattern)
{
    if (!(sparsity >= 0 && sparsity < 1)) return az_fail(az, AZ_BAD_INPUT, "sparsity is %g, not in [0, 1)", sparsity);
    if (pattern.m == 0) return true;
    const double dropped = 1 - (double)pattern.n / pattern.m;
    if (sparsity > 0 && sparsity != USUAL_SPARSITY && fabs(sparsity - dropped) > 1e-9)
        return az_fail(az, AZ_BAD_INPUT, "pattern=%d:%d drops %.4g of the weights, sparsity=%g another share: give one of them", pattern.n,
                       pattern.m, dropped, sparsity);
    az_scope_push(az);
    az_lm_linear **linear;
    const int n = az_lm_linears(az, lm, &linear);
    for (int i = 0; i < n; i++)
        if (linear[i]->weight->cols % pattern.m != 0)
            az_fail(az, AZ_BAD_INPUT, "%s has %lld inputs, which the pattern %d:%d does not divide", linear[i]->name,
                    (long long)linear[i]->weight->cols, pattern.n, pattern.m);
    az_scope_pop(az);
    return az_ok(az);
}

const az_tensor *az_prune_matrix(az_ctx *az, const az_weight *weight)
{
    const az_tensor *w = az_weight_decode(az, weight);
    const int64_t bad = w ? az_first_nonfinite(w) : -1;
    if (bad < 0) return w;
    return az_fail(az, AZ_NUMERIC, "the weight at row %lld, column %lld is %g", (long long)(bad / weight->cols),
                   (long long)(bad % weight->cols), az_item(w, bad));
}

az_weight *az_prune_result(az_ctx *az, const az_weight *from, az_weight *pruned)
{
    if (!pruned || !az_weight_is_dense(from) || from->format == pruned->format) return pruned;
    return az_weight_encode(az, pruned, from->format, NULL);
}
