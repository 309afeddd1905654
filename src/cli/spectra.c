/* spectra.c - what adze info --spectra tells: singular values of the linear layers inside the blocks and, with a text, of their gradients.
 *
 * Of a matrix: its largest and smallest singular value, how many hold 90 % of sum sigma^2, and the share of it in the top ones. Of the
 * gradients G_1, G_2, ... of successive batches: that share, the cosine of G_t and G_t+1, and |P_t^T P_t+1|^2 / top with P_t [min, top] the
 * singular vectors of G_t's shorter side, which GaLore projects on: 1 when the subspace stays, top / min for unrelated ones.
 *
 * Jaiswal et al.: "From low rank gradient subspace stabilization to low-rank weights", 2024 (arXiv 2407.11239); Zhao et al.: "GaLore",
 * ICML 2024 (arXiv 2403.03507). */
#include "cli/cli.h"

#include "adze/linalg.h"

#include <math.h>

enum { LONGEST = 2048 }; /* tokens of a sequence */

static double energy(const double *sigma, int64_t first, int64_t n)
{
    double sum = 0;
    for (int64_t i = n - 1; i >= first; i--) sum += sigma[i] * sigma[i];
    return sum;
}

static double top_share(const double *sigma, int64_t n, int64_t top)
{
    const double all = energy(sigma, 0, n);
    return all > 0 ? energy(sigma, 0, top < n ? top : n) / all : NAN;
}

static bool report_weight(cli_job *job, const az_lm_linear *linear, int64_t top)
{
    az_ctx *az = job->az;
    az_tensor *s = NULL;
    az_scope_push(az);
    az_svd(az, az_weight_decode(az, linear->weight), NULL, &s, NULL);
    const az_tensor *wide = az_cast(az, s, AZ_F64);
    if (wide) {
        const double *sigma = az_f64(wide), all = energy(sigma, 0, wide->shape[0]);
        const int64_t n = wide->shape[0];
        int64_t most = 0;
        while (most < n && energy(sigma, most, n) > 0.1 * all) most++;
        az_report_row(job->report, "spectra");
        az_report_text(job->report, "layer", linear->name);
        az_report_count(job->report, "full_rank", n);
        az_report_number(job->report, "largest", sigma[0], "");
        az_report_number(job->report, "smallest", sigma[n - 1], "");
        az_report_count(job->report, "rank_90", most);
        az_report_number(job->report, "top_share", top_share(sigma, n, top), "");
    }
    az_scope_pop(az);
    az_fail_context(az, "%s", linear->name);
    return az_ok(az);
}

/* What is gathered of a layer's gradients. */
typedef struct gathered {
    az_tensor *gradient, *basis; /* the last batch's: [out, in], [min(out, in), top] */
    double share, cosine, overlap;
} gathered;

typedef struct study {
    az_lm *lm; /* its linear layers dense f32 */
    az_lm_parameter *parameter;
    gathered *layer;
    int n;
    int64_t top;
} study;

static bool open_study(az_ctx *az, study *s, const az_lm *given)
{
    az_lm_linear **linear = NULL;
    s->lm = az_lm_copy(az, given);
    s->n = s->lm ? az_lm_linears(az, s->lm, &linear) : 0;
    s->parameter = az_alloc_array(az, (size_t)s->n + 1, sizeof *s->parameter);
    s->layer = az_alloc_array(az, (size_t)s->n + 1, sizeof *s->layer);
    for (int i = 0; s->parameter && s->layer && i < s->n && az_ok(az); i++) {
        az_weight *dense = az_weight_dense(az, az_weight_decode(az, linear[i]->weight));
        if (!dense) break;
        linear[i]->weight = dense;
        const az_tensor *w = dense->part[0];
        const int64_t shorter = w->shape[0] < w->shape[1] ? w->shape[0] : w->shape[1],
                      basis[] = {shorter, s->top < shorter ? s->top : shorter};
        s->parameter[i] = (az_lm_parameter){.name = linear[i]->name, .slot = &dense->part[0]};
        s->layer[i] = (gathered){.gradient = az_zeros(az, AZ_F32, 2, w->shape), .basis = az_zeros(az, AZ_F32, 2, basis)};
    }
    return az_ok(az);
}

/* Takes in the gradient of batch t. */
static bool gather(az_ctx *az, gathered *l, az_tensor *g, int64_t t)
{
    const int64_t top = l->basis->shape[1];
    az_tensor *u = NULL, *sigma = NULL, *v = NULL;
    az_svd(az, g, &u, &sigma, &v);
    const az_tensor *wide = az_cast(az, sigma, AZ_F64);
    const az_tensor *basis = g->shape[0] >= g->shape[1] ? az_transpose(az, az_slice(az, v, 0, 0, top)) : az_slice(az, u, 1, 0, top);
    if (!wide || !basis) return false;
    l->share += top_share(az_f64(wide), wide->shape[0], top);
    if (t > 0) {
        const az_tensor *common = az_matmul(az, az_transpose(az, basis), l->basis);
        l->overlap += az_to_double(az_dot(az, common, common)) / (double)top;
        l->cosine += az_to_double(az_dot(az, g, l->gradient)) /
                     sqrt(az_to_double(az_dot(az, g, g)) * az_to_double(az_dot(az, l->gradient, l->gradient)));
    }
    az_copy_into(az, l->gradient, g);
    az_copy_into(az, l->basis, basis);
    return az_ok(az);
}

static bool gather_batch(az_ctx *az, const study *s, const az_lm_sequences *sequences, int64_t batch, int64_t t)
{
    az_scope_push(az);
    const az_lm_objective objective = {
        .lm = s->lm, .lesson = az_lm_lesson_of(az, sequences, t * batch, batch), .scale = 1.0 / (double)(batch * (sequences->length - 1))};
    az_tensor **gradient = az_alloc_array(az, (size_t)s->n + 1, sizeof *gradient);
    bool good = gradient && az_lm_gradient(az, &objective, s->parameter, s->n, gradient, NULL);
    for (int i = 0; good && i < s->n; i++) {
        good = gather(az, &s->layer[i], gradient[i], t);
        az_fail_context(az, "the gradient of %s", s->parameter[i].name);
    }
    az_scope_pop(az);
    return good && az_ok(az);
}

static bool report_gradients(cli_job *job, const az_lm *lm, const cli_spectra *how)
{
    az_ctx *az = job->az;
    study s = {.top = how->top};
    const int64_t longest = lm->config.context < LONGEST ? lm->config.context : LONGEST;
    const az_lm_sequences *text =
        az_lm_sample_sequences(az, lm, az_documents_read(az, how->data), how->batches * how->batch, longest, az_seed(az));
    if (!text || !open_study(az, &s, lm)) return false;
    const int64_t batches = text->count / how->batch;
    if (batches < 2 || text->length < 2)
        return az_fail(az, AZ_BAD_INPUT, "'%s' gives %lld batches of %lld sequences; two are needed to compare gradients", how->data,
                       (long long)batches, (long long)how->batch);
    for (int64_t t = 0; t < batches; t++) {
        if (!gather_batch(az, &s, text, how->batch, t)) return false;
        if (!az_progress(az, "gradients", t + 1, batches, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    for (int i = 0; i < s.n; i++) {
        const gathered *l = &s.layer[i];
        az_report_row(job->report, "gradients");
        az_report_text(job->report, "layer", s.parameter[i].name);
        az_report_count(job->report, "top", l->basis->shape[1]);
        az_report_number(job->report, "top_share", l->share / (double)batches, "");
        az_report_number(job->report, "cosine", l->cosine / (double)(batches - 1), "");
        az_report_number(job->report, "overlap", l->overlap / (double)(batches - 1), "");
    }
    az_lm_free(az, s.lm);
    return az_ok(az);
}

bool cli_report_spectra(cli_job *job, az_lm *lm, const cli_spectra *how)
{
    az_lm_linear **linear = NULL;
    const int n = az_lm_linears(job->az, lm, &linear);
    for (int i = 0; i < n; i++) {
        if (!report_weight(job, linear[i], how->top)) return false;
        if (!az_progress(job->az, "singular values", i + 1, n, linear[i]->name)) return az_fail(job->az, AZ_INTERRUPTED, "interrupted");
    }
    return !*how->data || report_gradients(job, lm, how);
}
