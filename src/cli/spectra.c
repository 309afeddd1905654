/* spectra.c - what adze info --spectra tells: singular values of the linear layers inside the blocks and, with a text, of their gradients.
 *
 * Of a matrix: its largest and smallest singular value, how many hold 90 % of sum sigma^2, and the share of it in the top ones. Of the
 * gradients G_1, G_2, ... of successive batches: that share, the cosine of G_t and G_t+1, and |P_t^T P_t+1|^2 / top with P_t [min, top] the
 * singular vectors of G_t's shorter side, which GaLore projects on: 1 when the subspace stays, top / min for unrelated ones.
 * Along a training run G_t is the gradient of the same text at checkpoint t: layers whose subspace settles early keep learning in it.
 *
 * Jaiswal et al.: "From low rank gradient subspace stabilization to low-rank weights", 2024 (arXiv 2407.11239); Zhao et al.: "GaLore",
 * ICML 2024 (arXiv 2403.03507). */
#include "cli/cli.h"

#include "adze/linalg.h"

#include <math.h>
#include <string.h>

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

/* How many of n values hold 90 % of the sum of squares. */
static int64_t rank_90(const double *sigma, int64_t n)
{
    const double all = energy(sigma, 0, n);
    int64_t most = 0;
    while (most < n && energy(sigma, most, n) > 0.1 * all) most++;
    return most;
}

/* Descending, f64. */
static const az_tensor *spectrum_of(az_ctx *az, const az_tensor *w)
{
    az_tensor *s = NULL;
    az_svd(az, w, NULL, &s, NULL);
    return az_cast(az, s, AZ_F64);
}

static bool report_weight(cli_job *job, const az_lm_linear *linear, int64_t top)
{
    az_ctx *az = job->az;
    az_scope_push(az);
    const az_tensor *wide = spectrum_of(az, az_weight_decode(az, linear->weight));
    if (wide) {
        const double *sigma = az_f64(wide);
        const int64_t n = wide->shape[0];
        az_report_row(job->report, "spectra");
        az_report_text(job->report, "layer", linear->name);
        az_report_count(job->report, "full_rank", n);
        az_report_number(job->report, "largest", sigma[0], "");
        az_report_number(job->report, "smallest", sigma[n - 1], "");
        az_report_count(job->report, "rank_90", rank_90(sigma, n));
        az_report_number(job->report, "top_share", top_share(sigma, n, top), "");
    }
    az_scope_pop(az);
    az_fail_context(az, "%s", linear->name);
    return az_ok(az);
}

/* What is gathered of a layer's gradients. */
typedef struct gathered {
    az_tensor *gradient, *basis;   /* the last batch's: [out, in], [min(out, in), top] */
    double share, cosine, overlap; /* sums over the batches */
    int64_t rank;                  /* of the last one: values that hold 90 % of the sum of squares */
} gathered;

typedef struct study {
    az_lm *lm; /* its linear layers dense f32 */
    az_lm_parameter *parameter;
    int n;
} study;

static bool open_study(az_ctx *az, study *s, const az_lm *given)
{
    az_lm_linear **linear = NULL;
    s->lm = az_lm_copy(az, given);
    s->n = s->lm ? az_lm_linears(az, s->lm, &linear) : 0;
    s->parameter = az_alloc_array(az, (size_t)s->n + 1, sizeof *s->parameter);
    for (int i = 0; s->parameter && i < s->n && az_ok(az); i++) {
        az_weight *dense = az_weight_dense(az, az_weight_decode(az, linear[i]->weight));
        if (!dense) break;
        linear[i]->weight = dense;
        s->parameter[i] = (az_lm_parameter){.name = linear[i]->name, .slot = &dense->part[0]};
    }
    return az_ok(az);
}

/* Nothing gathered yet of n layers. */
static gathered *open_layers(az_ctx *az, az_lm_linear *const *linear, int n, int64_t top)
{
    gathered *layer = az_alloc_array(az, (size_t)n + 1, sizeof *layer);
    for (int i = 0; layer && i < n && az_ok(az); i++) {
        const int64_t shape[] = {linear[i]->weight->rows, linear[i]->weight->cols}, shorter = shape[0] < shape[1] ? shape[0] : shape[1],
                      basis[] = {shorter, top < shorter ? top : shorter};
        layer[i] = (gathered){.gradient = az_zeros(az, AZ_F32, 2, shape), .basis = az_zeros(az, AZ_F32, 2, basis)};
    }
    return az_ok(az) ? layer : NULL;
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
    l->rank = rank_90(az_f64(wide), wide->shape[0]);
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

/* The mean gradient of some sequences. */
static bool differentiate(az_ctx *az, const study *s, const az_lm_sequences *text, int64_t first, int64_t count, az_tensor **gradient)
{
    const az_lm_objective objective = {
        .lm = s->lm, .lesson = az_lm_lesson_of(az, text, first, count), .scale = 1.0 / (double)(count * (text->length - 1))};
    return az_lm_gradient(az, &objective, s->parameter, s->n, gradient, NULL);
}

static bool gather_all(az_ctx *az, const study *s, gathered *layer, az_tensor *const *gradient, int64_t t)
{
    bool good = true;
    for (int i = 0; good && i < s->n; i++) {
        az_scope_push(az);
        good = gather(az, &layer[i], gradient[i], t);
        az_scope_pop(az);
        az_fail_context(az, "the gradient of %s", s->parameter[i].name);
    }
    return good && az_ok(az);
}

static bool gather_batch(az_ctx *az, const study *s, gathered *layer, const az_lm_sequences *text, int64_t batch, int64_t t)
{
    az_scope_push(az);
    az_tensor **gradient = az_alloc_array(az, (size_t)s->n + 1, sizeof *gradient);
    const bool good = gradient && differentiate(az, s, text, t * batch, batch, gradient) && gather_all(az, s, layer, gradient, t);
    az_scope_pop(az);
    return good;
}

static const az_lm_sequences *read_text(az_ctx *az, const az_lm *lm, const cli_spectra *how)
{
    const int64_t longest = lm->config.context < LONGEST ? lm->config.context : LONGEST;
    return az_lm_sample_sequences(az, lm, az_documents_read(az, how->data), how->batches * how->batch, longest, az_seed(az));
}

static bool report_gradients(cli_job *job, const az_lm *lm, az_lm_linear *const *linear, const cli_spectra *how)
{
    az_ctx *az = job->az;
    study s;
    const az_lm_sequences *text = read_text(az, lm, how);
    if (!text || !open_study(az, &s, lm)) return false;
    gathered *layer = open_layers(az, linear, s.n, how->top);
    const int64_t batches = text->count / how->batch;
    if (batches < 2 || text->length < 2)
        return az_fail(az, AZ_BAD_INPUT, "'%s' gives %lld batches of %lld sequences; two are needed to compare gradients", how->data,
                       (long long)batches, (long long)how->batch);
    for (int64_t t = 0; t < batches; t++) {
        if (!gather_batch(az, &s, layer, text, how->batch, t)) return false;
        if (!az_progress(az, "gradients", t + 1, batches, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    for (int i = 0; i < s.n; i++) {
        const gathered *l = &layer[i];
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

/* ---- along a training run ---- */

/* What a layer is at one checkpoint. */
typedef struct station {
    int64_t weight_rank, gradient_rank;
    double share, cosine, overlap; /* the last two with the checkpoint before */
} station;

typedef struct path {
    const char **name; /* [n] models, the last one the one that info tells of */
    int64_t n;
    az_lm_linear **linear; /* [layers] of that one */
    int layers;
    int64_t vocabulary;
    gathered *layer;
    station *at; /* [layers, n] */
} path;

/* "a,b" and the model itself. */
static bool list_models(az_ctx *az, const char *list, const char *last, path *p)
{
    char *rest = az_strdup(az, list);
    p->name = az_alloc_array(az, strlen(list) + 2, sizeof *p->name);
    if (!rest || !p->name) return false;
    for (char *name; (name = strsep(&rest, ","));) {
        if (!*name) return az_fail(az, AZ_BAD_INPUT, "--checkpoints '%s' has an empty name", list);
        p->name[p->n++] = name;
    }
    p->name[p->n++] = last;
    return true;
}

static bool same_layers(az_ctx *az, const path *p, az_lm *lm, const char *name)
{
    az_lm_linear **linear = NULL;
    bool same = az_lm_linears(az, lm, &linear) == p->layers && lm->config.vocabulary == p->vocabulary;
    for (int i = 0; same && i < p->layers; i++)
        same = strcmp(linear[i]->name, p->linear[i]->name) == 0 && linear[i]->weight->rows == p->linear[i]->weight->rows &&
               linear[i]->weight->cols == p->linear[i]->weight->cols;
    return same || az_fail(az, AZ_BAD_INPUT, "'%s' has other layers or tokens and is no checkpoint of this model", name);
}

/* The mean gradient of the whole text, `batch` sequences at a time. */
static bool whole_gradient(az_ctx *az, const study *s, const az_lm_sequences *text, int64_t batch, az_tensor **sum)
{
    for (int i = 0; i < s->n; i++) sum[i] = az_zeros(az, AZ_F32, 2, (*s->parameter[i].slot)->shape);
    for (int64_t first = 0; first < text->count && az_ok(az); first += batch) {
        const int64_t count = text->count - first < batch ? text->count - first : batch;
        az_scope_push(az);
        az_tensor **part = az_alloc_array(az, (size_t)s->n + 1, sizeof *part);
        if (part && differentiate(az, s, text, first, count, part))
            for (int i = 0; i < s->n; i++) az_add_into(az, sum[i], part[i], (double)count / (double)text->count);
        az_scope_pop(az);
    }
    return az_ok(az);
}

static bool visit(az_ctx *az, path *p, const az_lm *lm, const az_lm_sequences *text, int64_t batch, int64_t t)
{
    study s;
    if (!open_study(az, &s, lm)) return false;
    az_tensor **gradient = az_alloc_array(az, (size_t)s.n + 1, sizeof *gradient);
    for (int i = 0; i < s.n; i++) p->layer[i].share = p->layer[i].cosine = p->layer[i].overlap = 0;
    if (!gradient || !whole_gradient(az, &s, text, batch, gradient) || !gather_all(az, &s, p->layer, gradient, t)) return false;
    for (int i = 0; i < s.n && az_ok(az); i++) {
        const gathered *l = &p->layer[i];
        az_scope_push(az);
        const az_tensor *sigma = spectrum_of(az, *s.parameter[i].slot);
        p->at[i * p->n + t] = (station){.weight_rank = sigma ? rank_90(az_f64(sigma), sigma->shape[0]) : 0,
                                        .gradient_rank = l->rank,
                                        .share = l->share,
                                        .cosine = t > 0 ? l->cosine : NAN,
                                        .overlap = t > 0 ? l->overlap : NAN};
        az_scope_pop(az);
    }
    az_lm_free(az, s.lm);
    return az_ok(az);
}

static void report_stations(az_report *report, const path *p)
{
    for (int i = 0; i < p->layers; i++)
        for (int64_t t = 0; t < p->n; t++) {
            const station *at = &p->at[i * p->n + t];
            az_report_row(report, "checkpoints");
            az_report_text(report, "layer", p->linear[i]->name);
            az_report_text(report, "model", p->name[t]);
            az_report_count(report, "weight_rank_90", at->weight_rank);
            az_report_count(report, "gradient_rank_90", at->gradient_rank);
            az_report_number(report, "top_share", at->share, "");
            az_report_number(report, "cosine", at->cosine, "");
            az_report_number(report, "overlap", at->overlap, "");
        }
}

/* "attn.q" of "blocks.3.attn.q". */
static const char *kind_of(const az_lm_linear *linear)
{
    const char *dot = strchr(linear->name, '.');
    dot = dot ? strchr(dot + 1, '.') : NULL;
    return dot ? dot + 1 : linear->name;
}

/* Curves for each kind of layer: means over the blocks. */
static void draw_kind(cli_job *job, const path *p, int first)
{
    az_ctx *az = job->az;
    const char *kind = kind_of(p->linear[first]);
    double *x = az_alloc_array(az, (size_t)p->n, sizeof *x), *share = az_alloc_array(az, (size_t)p->n, sizeof *share),
           *overlap = az_alloc_array(az, (size_t)p->n, sizeof *overlap);
    int blocks = 0;
    for (int i = 0; i < p->layers; i++) blocks += strcmp(kind_of(p->linear[i]), kind) == 0;
    for (int64_t t = 0; x && share && overlap && t < p->n; t++) {
        x[t] = (double)t + 1;
        for (int i = 0; i < p->layers; i++) {
            if (strcmp(kind_of(p->linear[i]), kind) != 0) continue;
            share[t] += p->at[i * p->n + t].share / blocks;
            overlap[t] += p->at[i * p->n + t].overlap / blocks;
        }
    }
    if (!az_ok(az)) return;
    az_report_curve(job->report, az_format_text(az, "%s share", kind), "checkpoint", "share of the gradient in its top", p->n, x, share);
    az_report_curve(job->report, az_format_text(az, "%s overlap", kind), "checkpoint", "overlap with the one before", p->n - 1, x + 1,
                    overlap + 1);
}

static bool report_checkpoints(cli_job *job, az_lm *lm, const cli_spectra *how)
{
    az_ctx *az = job->az;
    path p = {.vocabulary = lm->config.vocabulary};
    const az_lm_sequences *text = read_text(az, lm, how);
    p.layers = az_lm_linears(az, lm, &p.linear);
    p.layer = open_layers(az, p.linear, p.layers, how->top);
    if (!text || !p.layer || !list_models(az, how->checkpoints, job->word[0], &p)) return false;
    p.at = az_alloc_array(az, (size_t)(p.n * p.layers), sizeof *p.at);
    for (int64_t t = 0; p.at && t < p.n && az_ok(az); t++) {
        az_lm *now = t + 1 < p.n ? cli_load(job, p.name[t]) : lm;
        az_scope_push(az);
        const bool good = now && same_layers(az, &p, now, p.name[t]) && visit(az, &p, now, text, how->batch, t);
        az_scope_pop(az);
        if (now && now != lm) az_lm_free(az, now);
        if (!good) return false;
        if (!az_progress(az, "checkpoints", t + 1, p.n, p.name[t])) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    if (!az_ok(az)) return false;
    report_stations(job->report, &p);
    for (int i = 0; *job->common->plot && i < p.layers; i++) {
        int same = 0;
        while (strcmp(kind_of(p.linear[same]), kind_of(p.linear[i])) != 0) same++;
        if (same == i) draw_kind(job, &p, i);
    }
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
    if (*how->data && !report_gradients(job, lm, linear, how)) return false;
    return !*how->checkpoints || report_checkpoints(job, lm, how);
}
