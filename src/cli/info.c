/* info.c - adze info: what a model file holds. */
#include "cli/cli.h"

#include <math.h>
#include <string.h>

typedef struct info_settings {
    bool tensors, sparsity, spectra;
    cli_spectra how;
    const char *against;
} info_settings;

static const az_option info_options[] = {
    {"tensors", AZ_FIELD(AZ_BOOL, info_settings, tensors), "false", 0, 0, NULL, "list every matrix (always with --json)"},
    {"sparsity", AZ_FIELD(AZ_BOOL, info_settings, sparsity), "false", 0, 0, NULL, "count the zeros, which reads every weight"},
    {"against", AZ_FIELD(AZ_TEXT, info_settings, against), "", 0, 0, NULL,
     "a model with the same matrices: tell the error of each, |W - V| / |V| (Frobenius norms)"},
    {"spectra", AZ_FIELD(AZ_BOOL, info_settings, spectra), "false", 0, 0, NULL,
     "tell of the singular values of each linear layer inside the blocks"},
    {"data", AZ_FIELD(AZ_TEXT, info_settings, how.data), "", 0, 0, NULL, "with --spectra: also of the loss's gradients on this text"},
    {"checkpoints", AZ_FIELD(AZ_TEXT, info_settings, how.checkpoints), "", 0, 0, NULL,
     "with --spectra and --data: earlier states of the model, first to last, separated by commas: their gradients beside its own"},
    {"top", AZ_FIELD(AZ_INT, info_settings, how.top), "16", 1, 1e6, NULL, "with --spectra: singular values whose share is told"},
    {"batches", AZ_FIELD(AZ_INT, info_settings, how.batches), "4", 2, 1e6, NULL, "with --spectra and --data: gradients to compare"},
    {"batch", AZ_FIELD(AZ_INT, info_settings, how.batch), "4", 1, 1e6, NULL, "sequences that a gradient is of"},
    {0},
};
static const cli_group info_groups[] = {{"options", info_options, 0}, {0}};

/* A matrix of the model and its name. */
typedef struct matrix {
    const char *name;
    const az_weight *weight;
} matrix;

/* Embedding, linear layers in the order of the forward pass, head (unless it is the embedding). Returns their number. */
static int list_matrices(az_ctx *az, az_lm *lm, matrix **out)
{
    az_lm_linear **linear = NULL;
    int n = az_lm_linears(az, lm, &linear), at = 0;
    matrix *list = az_alloc_array(az, (size_t)n + 2, sizeof *list);
    if (!list) return 0;
    list[at++] = (matrix){"embed", lm->embedding};
    for (int i = 0; i < n; i++) list[at++] = (matrix){linear[i]->name, linear[i]->weight};
    if (!lm->config.tied) list[at++] = (matrix){lm->head.name, lm->head.weight};
    *out = list;
    return at;
}

static void report_config(cli_job *job, const az_lm *lm, const char *path)
{
    const az_lm_config *c = &lm->config;
    az_report *report = job->report;
    az_report_row(report, "model");
    az_report_text(report, "model", lm->name);
    az_report_text(report, "path", path);
    az_report_text(report, "architecture", az_lm_architecture(lm));
    az_report_count(report, "parameters", az_lm_parameter_count(lm));
    az_report_number(report, "bytes", (double)az_lm_bytes(lm), "B");
    az_report_count(report, "blocks", c->blocks);
    az_report_count(report, "width", c->width);
    if (c->embed_width != c->width) az_report_count(report, "embed_width", c->embed_width);
    az_report_count(report, "heads", c->heads);
    az_report_count(report, "kv_heads", c->kv_heads);
    az_report_count(report, "head_dim", c->head_dim);
    az_report_count(report, "hidden", c->hidden);
    az_report_count(report, "context", c->context);
    az_report_count(report, "vocabulary", c->vocabulary);
    az_report_bool(report, "tied", c->tied);
    az_report_number(report, "norm_eps", c->norm_eps, "");
    az_report_number(report, "rope_theta", c->rope_theta, "");
    if (c->window > 0) az_report_count(report, "window", c->window);
}

static void report_special(az_report *report, const az_tokenizer *tokenizer, const char *key, int32_t id)
{
    if (id < 0) return;
    az_report_count(report, key, id);
    const char *text = az_token_text(tokenizer, id);
    char name[32];
    snprintf(name, sizeof name, "%s_text", key);
    az_report_text(report, name, text ? text : "");
}

/* Further tokens at which generation stops. */
static void report_ends(az_ctx *az, az_report *report, const az_tokenizer *tokenizer)
{
    const char *list = NULL;
    for (int32_t id = 0; id < az_vocabulary(tokenizer); id++) {
        if (!az_token_ends(tokenizer, id) || id == az_token_eos(tokenizer)) continue;
        const char *text = az_format_text(az, "%d %s", id, az_token_text(tokenizer, id));
        list = list && text ? az_format_text(az, "%s, %s", list, text) : text;
    }
    if (list) az_report_text(report, "also_ends", list);
}

static void report_tokenizer(az_ctx *az, az_report *report, const az_lm *lm)
{
    if (!lm->tokenizer) return;
    az_report_row(report, "tokenizer");
    az_report_count(report, "vocabulary", az_vocabulary(lm->tokenizer));
    report_special(report, lm->tokenizer, "bos", az_token_bos(lm->tokenizer));
    report_special(report, lm->tokenizer, "eos", az_token_eos(lm->tokenizer));
    report_ends(az, report, lm->tokenizer);
}

static void report_formats(az_report *report, const matrix *list, int n)
{
    for (const az_format *const *format = az_formats(); *format; format++) {
        int64_t matrices = 0, values = 0;
        double bytes = 0;
        for (int i = 0; i < n; i++) {
            if (list[i].weight->format != *format) continue;
            matrices++;
            values += list[i].weight->rows * list[i].weight->cols;
            bytes += (double)az_weight_bytes(list[i].weight);
        }
        if (matrices == 0) continue;
        az_report_row(report, "formats");
        az_report_text(report, "format", (*format)->name);
        az_report_count(report, "matrices", matrices);
        az_report_count(report, "values", values);
        az_report_number(report, "bytes", bytes, "B");
        az_report_number(report, "bits_per_value", 8 * bytes / (double)values, "");
    }
}

static double bits_per_weight(const az_weight *w)
{
    return 8 * (double)az_weight_bytes(w) / ((double)w->rows * (double)w->cols);
}

/* |W - V| / |V| */
static double relative_error(az_ctx *az, const az_weight *w, const az_weight *v)
{
    az_scope_push(az);
    const float *x = az_f32(az_weight_decode(az, w)), *y = az_f32(az_weight_decode(az, v));
    double changed = 0, whole = 0;
    for (int64_t i = 0; x && y && i < w->rows * w->cols; i++) {
        const double difference = (double)x[i] - (double)y[i];
        changed += difference * difference;
        whole += (double)y[i] * (double)y[i];
    }
    az_scope_pop(az);
    return whole > 0 ? sqrt(changed / whole) : changed > 0 ? INFINITY : 0;
}

/* The matrices of the model that this one is compared with, NULL without one; fails when they are not the same. */
static const matrix *matrices_of(cli_job *job, const char *name, const matrix *list, int n)
{
    matrix *other = NULL;
    if (!*name) return NULL;
    az_lm *lm = cli_load(job, name);
    const int others = lm ? list_matrices(job->az, lm, &other) : 0;
    bool same = others == n;
    for (int i = 0; same && i < n; i++)
        same = strcmp(other[i].name, list[i].name) == 0 && other[i].weight->rows == list[i].weight->rows &&
               other[i].weight->cols == list[i].weight->cols;
    if (!same) return az_fail(job->az, AZ_BAD_INPUT, "info: '%s' has other matrices and cannot be compared", name);
    return other;
}

/* A row for each matrix; with --plot its size and error are curves as well. */
static bool report_tensors(cli_job *job, const matrix *list, int n, const info_settings *options)
{
    const matrix *against = matrices_of(job, options->against, list, n);
    double *x = az_alloc_array(job->az, (size_t)n, sizeof *x), *bits = az_alloc_array(job->az, (size_t)n, sizeof *bits),
           *error = az_alloc_array(job->az, (size_t)n, sizeof *error);
    for (int i = 0; i < n && az_ok(job->az); i++) {
        const az_weight *weight = list[i].weight;
        x[i] = i + 1, bits[i] = bits_per_weight(weight);
        az_report_row(job->report, "tensors");
        az_report_text(job->report, "tensor", list[i].name);
        az_report_text(job->report, "format", weight->format->name);
        az_report_count(job->report, "rows", weight->rows);
        az_report_count(job->report, "cols", weight->cols);
        az_report_number(job->report, "bytes", (double)az_weight_bytes(weight), "B");
        az_report_number(job->report, "bits_per_weight", bits[i], "");
        if (az_weight_rank(weight) > 0) az_report_count(job->report, "rank", az_weight_rank(weight));
        if (options->sparsity) az_report_number(job->report, "sparsity", az_weight_sparsity(job->az, weight), "");
        if (against) az_report_number(job->report, "error", error[i] = relative_error(job->az, weight, against[i].weight), "");
        if ((options->sparsity || against) && !az_progress(job->az, "reading weights", i + 1, n, NULL)) return false;
    }
    if (!az_ok(job->az)) return false;
    if (*job->common->plot) az_report_curve(job->report, "size", "matrix", "bits per weight", n, x, bits);
    if (*job->common->plot && against) az_report_curve(job->report, "error", "matrix", "relative error", n, x, error);
    return true;
}

static int info(cli_job *job, const void *settings)
{
    const info_settings *options = settings;
    const char *path = cli_model_path(job->az, job->word[0]);
    if (!options->spectra && *options->how.data) az_fail(job->az, AZ_BAD_INPUT, "info: --data is text for the gradients of --spectra");
    if (*options->how.checkpoints && !*options->how.data)
        az_fail(job->az, AZ_BAD_INPUT, "info: --checkpoints compares gradients, which need --data (and --spectra)");
    az_lm *lm = path ? az_lm_load(job->az, path) : NULL;
    matrix *list = NULL;
    int n = lm ? list_matrices(job->az, lm, &list) : 0;
    if (!list) return CLI_BAD;
    report_config(job, lm, path);
    report_tokenizer(job->az, job->report, lm);
    report_formats(job->report, list, n);
    const bool all = options->tensors || options->sparsity || *options->against || job->common->json || *job->common->plot;
    if (all && !report_tensors(job, list, n, options)) return CLI_BAD;
    return !options->spectra || cli_report_spectra(job, lm, &options->how) ? CLI_OK : CLI_BAD;
}

const cli_verb cli_info = {
    .name = "info",
    .summary = "tell what a model file holds",
    .usage = "MODEL [--tensors] [--sparsity] [--against MODEL] [--spectra [-d TEXT [--checkpoints MODEL,...]]]",
    .details =
        "Sections: model (configuration and size), tokenizer, formats (matrices by the way they are stored), tensors (format, size, "
        "rank where it is low, share of zeros and error against another model, as asked for). --spectra adds spectra (singular values of "
        "the linear layers: how many hold 90 % of the sum of squares, the share of the --top ones) and, with -d TEXT, gradients of "
        "successive batches: that share, their cosine, and how much their top subspaces overlap (1 = the same). --checkpoints follows a "
        "training run: for each layer and each state of the model, how many singular values hold 90 % of the weights and of the gradient "
        "of the whole text, the top ones' share of it, and its cosine and overlap with the state before. With --plot, size and error of "
        "each matrix in the order of the forward pass and, of checkpoints, share and overlap by kind of layer.",
    .groups = info_groups,
    .settings_size = sizeof(info_settings),
    .min_words = 1,
    .max_words = 1,
    .words = cli_bundled,
    .run = info,
};
