/* pissa.c - LoRA that starts from the principal singular triples of each weight.
 *
 * Problem: LoRA starts at A random and B = 0, where the gradient of A is zero and that of B points anywhere.
 * Start: W = U S V^T; the adapter takes the r largest triples, B = U_r sqrt(S_r / s) and A = sqrt(S_r / s) V_r^T, and the weight keeps the
 *     rest, W_res = W - s B A, with s = alpha / r. Nothing has changed yet; the adapter is trained, W_res is not.
 * Quantized: W_res is stored in few bits and A, B in f32. Rounds of E <- W - W_q, (B, A) <- the triples of E, W_q <- quantize(W - s B A)
 *     let the adapter take up what quantizing loses.
 * Result: an adapter for the model as it came: s (B A - B0 A0) = s [B | -B0] [A ; A0], of rank 2 r; or the residual model in a file and the
 *     adapter [A, B] for that.
 *
 * Meng, Wang, Zhang: "PiSSA: principal singular values and singular vectors adaptation of large language models", NeurIPS 2024
 * (arXiv 2404.02948). */
#include "tune/pissa.h"
#include "tune/tune_internal.h"

#include <math.h>
#include <string.h>

typedef struct pissa_options {
    int64_t rank, niter, oversample, iters;
    double alpha;
    int svd, which, start;
    bool error;
    const char *targets, *exclude, *ranks, *quant, *residual;
} pissa_options;

enum { SVD_EXACT, SVD_FAST };
static const char *const svds[] = {[SVD_EXACT] = "exact", [SVD_FAST] = "fast", NULL};
static const char *const parts[] = {[AZ_PISSA_PRINCIPAL] = "principal", [AZ_PISSA_MEDIUM] = "medium", [AZ_PISSA_MINOR] = "minor", NULL};
static const char *const starts[] = {[AZ_PISSA_OF_WEIGHT] = "weight", [AZ_PISSA_OF_LOSS] = "loss", NULL};

static const az_option options_table[] = {
    {"rank", AZ_FIELD(AZ_INT, pissa_options, rank), "16", 1, 1 << 16, NULL, "rank r: singular triples that are trained"},
    {"alpha", AZ_FIELD(AZ_REAL, pissa_options, alpha), "0", 0, 1e9, NULL, "the scale is alpha / r; 0 = r"},
    {"targets", AZ_FIELD(AZ_TEXT, pissa_options, targets), "all-linear", 0, 0, NULL,
     "linear layers inside the blocks, by the ends of their names (\"q_proj,v_proj\") or a /regular expression/ of whole names"},
    {"exclude", AZ_FIELD(AZ_TEXT, pissa_options, exclude), "", 0, 0, NULL, "layers that targets names but that are left alone"},
    {"ranks", AZ_FIELD(AZ_TEXT, pissa_options, ranks), "", 0, 0, NULL, "other ranks for some layers: \"q_proj=4,down_proj=16\""},
    {"svd", AZ_FIELD(AZ_CHOICE, pissa_options, svd), "exact", 0, 0, svds, "fast = randomized, of the wanted triples only"},
    {"niter", AZ_FIELD(AZ_INT, pissa_options, niter), "4", 0, 1000, NULL, "fast: power iterations"},
    {"oversample", AZ_FIELD(AZ_INT, pissa_options, oversample), "10", 0, 10000, NULL, "fast: triples that are looked for beyond r"},
    {"which", AZ_FIELD(AZ_CHOICE, pissa_options, which), "principal", 0, 0, parts, "triples that are trained"},
    {"quant", AZ_FIELD(AZ_TEXT, pissa_options, quant), "", 0, 0, NULL,
     "format of the residual while it is trained on (nf4, q4_0, ...); without it as dense as f32"},
    {"iters", AZ_FIELD(AZ_INT, pissa_options, iters), "5", 1, 1000, NULL, "quant: rounds of splitting and quantizing"},
    {"start", AZ_FIELD(AZ_CHOICE, pissa_options, start), "weight", 0, 0, starts,
     "quant: split the weight first, or (LoftQ) what quantizing it loses"},
    {"residual", AZ_FIELD(AZ_TEXT, pissa_options, residual), "", 0, 0, NULL,
     "write the residual model to this GGUF file, and make the adapter, of rank r, for that; without it of rank 2 r for MODEL"},
    {"error", AZ_FIELD(AZ_BOOL, pissa_options, error), "false", 0, 0, NULL, "measure what the split of each layer loses"},
    {.name = NULL},
};

extern const az_method az_pissa;

/* What is trained, and beside what. */
typedef struct pissa {
    const pissa_options *options;
    const az_lm *lm;         /* as it came */
    az_lm *residual;         /* a copy with what the adapter did not take */
    const az_format *format; /* of its layers, NULL = dense */
    az_adapter *adapter;
    az_tensor **a0, **b0; /* [layers] as they started */
    int64_t dead;         /* singular values of zero */
    az_report *report;
    uint64_t seed;
} pissa;

/* ---- splitting ---- */

static az_lm_linear *linear_named(az_ctx *az, az_lm *lm, const char *name)
{
    az_lm_linear **linear;
    const int n = az_lm_linears(az, lm, &linear);
    for (int i = 0; i < n; i++)
        if (strcmp(linear[i]->name, name) == 0) return linear[i];
    return az_fail(az, AZ_BAD_INPUT, "%s is no linear layer inside a block: pissa cannot split it", name);
}

static az_tensor *matrix_of(az_ctx *az, const az_weight *w)
{
    return w->format == az_format_by_name("f64") ? w->part[0] : az_weight_decode(az, w);
}

static double norm(az_ctx *az, const az_tensor *x)
{
    return x ? sqrt(az_to_double(az_dot(az, x, x))) : NAN;
}

/* |W - sum of the n largest triples|, the least that an adapter of rank n can leave. */
static double least_left(az_ctx *az, const az_tensor *w, int64_t rank)
{
    az_tensor *s = NULL;
    double sum = 0;
    if (!az_svd(az, w, NULL, &s, NULL)) return NAN;
    for (int64_t i = rank; i < az_count(s); i++) sum += az_item(s, i) * az_item(s, i);
    return sqrt(sum);
}

/* The row of a layer: the share of |W|^2 that the adapter took and, where asked, what is lost. */
static void report_layer(az_ctx *az, const pissa *p, const char *name, const az_tensor *w, const az_pissa_split *split, double scale)
{
    const az_tensor *product = az_affine(az, az_matmul(az, split->b, split->a), scale, 0), *rest = az_sub(az, w, product);
    const double whole = norm(az, w), left = norm(az, rest);
    az_report_row(p->report, "layers");
    az_report_text(p->report, "layer", name);
    az_report_count(p->report, "rank", split->a->shape[0]);
    az_report_text(p->report, "residual", split->residual->format->name);
    az_report_number(p->report, "share", whole > 0 ? 1 - left * left / (whole * whole) : NAN, "");
    if (!p->options->error) return;
    const az_tensor *lost = az_sub(az, rest, az_cast(az, az_weight_decode(az, split->residual), w->dtype));
    az_report_number(p->report, "error", whole > 0 ? norm(az, lost) / whole : NAN, "");
    if (p->options->svd == SVD_FAST) az_report_number(p->report, "excess", left / least_left(az, w, split->a->shape[0]) - 1, "");
    if (!p->format) return;
    az_weight *plain = az_weight_encode(az, az_weight_dense(az, az_copy(az, w)), split->residual->format, NULL);
    const double quantized = plain ? az_nuclear_norm(az, az_sub(az, w, az_cast(az, az_weight_decode(az, plain), w->dtype))) : NAN;
    az_report_number(p->report, "nuclear_error", az_nuclear_norm(az, lost), "");
    az_report_number(p->report, "reduction", 1 - az_nuclear_norm(az, lost) / quantized, "");
}

static bool split_layer(az_ctx *az, pissa *p, int i)
{
    const pissa_options *o = p->options;
    az_adapter_layer *layer = &p->adapter->layer[i];
    az_lm_linear *linear = linear_named(az, p->residual, layer->name);
    if (!linear) return false;
    const az_range_finder finder = {.oversample = o->oversample, .power = (int)o->niter, .seed = p->seed};
    const az_pissa_how how = {.scale = layer->scale,
                              .rank = layer->rank,
                              .part = (az_pissa_part)o->which,
                              .finder = o->svd == SVD_FAST ? &finder : NULL,
                              .format = p->format,
                              .iterations = o->iters,
                              .start = (az_pissa_start)o->start,
                              .seed = p->seed ^ az_stream(layer->name, 2)};
    az_pissa_split split;
    const az_tensor *w = matrix_of(az, linear->weight);
    if (!az_pissa_start_of(az, w, &how, &split)) return false;
    report_layer(az, p, layer->name, w, &split, layer->scale);
    az_copy_into(az, layer->a, split.a);
    az_copy_into(az, layer->b, split.b);
    p->dead += split.dead;
    az_arena_enter(az, p->residual->arena);
    az_weight *kept = az_weight_share(az, split.residual);
    az_arena_leave(az);
    if (kept) linear->weight = kept;
    return az_ok(az);
}

static bool split_layers(az_ctx *az, pissa *p)
{
    const int n = p->adapter->layers;
    p->a0 = az_alloc_array(az, (size_t)n, sizeof *p->a0);
    p->b0 = az_alloc_array(az, (size_t)n, sizeof *p->b0);
    for (int i = 0; p->a0 && p->b0 && i < n; i++) {
        const az_adapter_layer *layer = &p->adapter->layer[i];
        az_scope_push(az);
        split_layer(az, p, i);
        az_scope_pop(az);
        az_fail_context(az, "%s", layer->name);
        p->a0[i] = az_copy(az, layer->a);
        p->b0[i] = az_copy(az, layer->b);
        az_progress(az, "splitting", i + 1, n, layer->name); /* an interruption ends the training that follows */
        if (!az_ok(az)) return false;
    }
    if (p->dead > 0)
        az_note(az, "%lld of the singular values that the adapter takes are zero; there it starts as LoRA does", (long long)p->dead);
    return az_ok(az);
}

/* ---- the result ---- */

/* s (B A - B0 A0) beside each layer, of rank 2 r and scale s. */
static az_adapter *for_original(az_ctx *az, const pissa *p)
{
    az_adapter *plain = az_adapter_empty(az, "adapter", "LORA");
    for (int i = 0; plain && i < p->adapter->layers; i++) {
        const az_adapter_layer *from = &p->adapter->layer[i];
        az_adapter_layer *to = az_adapter_add_layer(az, p->lm, plain, from->name, 2 * from->rank, 2 * from->alpha);
        if (!to) break;
        az_copy_into(az, to->a, az_concat(az, (az_tensor *[]){from->a, p->a0[i]}, 2, 0));
        az_copy_into(az, to->b, az_concat(az, (az_tensor *[]){from->b, az_neg(az, p->b0[i])}, 2, 1));
    }
    if (az_ok(az)) return plain;
    az_adapter_free(az, plain);
    return NULL;
}

/* The adapter as it was trained, for the residual alone, which takes the model's place. */
static az_adapter *for_residual(az_ctx *az, const pissa *p, az_tune_job *job)
{
    az_arena_enter(az, p->adapter->arena);
    p->adapter->base = az_adapter_base(az, p->adapter, p->residual);
    az_arena_leave(az);
    job->lm = p->residual;
    job->model = p->options->residual;
    return az_ok(az) ? p->adapter : NULL;
}

/* The format by name, NULL without one; fails with the names there are. */
static const az_format *format_of(az_ctx *az, const char *name)
{
    const az_format *format = *name ? az_format_by_name(name) : NULL;
    if (!*name || (format && az_format_encodes(format))) return format;
    const char *names = "";
    for (const az_format *const *f = az_formats(); *f; f++)
        if (az_format_encodes(*f)) names = az_format_text(az, "%s %s", names, (*f)->name);
    return az_fail(az, AZ_BAD_INPUT, "pissa: no format quant=%s; there are:%s", name, names);
}

static void remark(az_ctx *az, const pissa *p)
{
    const az_lm_block *block = &p->lm->block[0];
    if (block->q.weight && !az_weight_is_dense(block->q.weight))
        az_note(az, "the model's weights are %s already: what that lost is part of what is split", block->q.weight->format->name);
    if (p->format && !*p->options->residual)
        az_note(az,
                "the adapter is trained beside a residual in %s and then used beside the model as it is, which is not quite the same; "
                "residual=FILE keeps that residual",
                p->format->name);
}

static bool prepare(az_ctx *az, const pissa_options *o, az_tune_job *job, pissa *p)
{
    *p = (pissa){.options = o, .lm = job->lm, .report = job->report, .seed = (uint64_t)job->settings->training.seed};
    if (o->svd == SVD_FAST && o->which != AZ_PISSA_PRINCIPAL)
        return az_fail(az, AZ_BAD_INPUT, "pissa: svd=fast finds principal triples only, not which=%s", parts[o->which]);
    p->format = format_of(az, o->quant);
    if (!az_ok(az)) return false;
    remark(az, p);
    p->residual = az_lm_copy(az, job->lm);
    p->adapter = az_adapter_new(az, job->lm,
                                &(az_adapter_how){.rank = o->rank,
                                                  .alpha = o->alpha > 0 ? o->alpha : (double)o->rank,
                                                  .targets = o->targets,
                                                  .exclude = o->exclude,
                                                  .ranks = o->ranks,
                                                  .seed = p->seed});
    return p->residual && p->adapter && split_layers(az, p) && (!*o->residual || az_lm_save(az, p->residual, o->residual, NULL));
}

static bool tune(az_ctx *az, const void *settings, az_tune_job *job)
{
    const pissa_options *o = settings;
    pissa p;
    az_tuning tuning;
    if (!prepare(az, o, job, &p)) return false;
    az_tune_job beside = *job;
    beside.lm = p.residual;
    if (!az_tuning_begin(az, &beside, 0, &tuning)) return false;
    tuning.adapter = p.adapter;
    az_tune_adapter(az, &tuning, az_method_text(az, &az_pissa, settings));
    const az_set_aside aside = az_interruption_aside(az);
    job->adapter = *o->residual ? for_residual(az, &p, job) : for_original(az, &p);
    if (!*o->residual) az_lm_free(az, p.residual);
    az_interruption_back(az, &aside);
    return az_ok(az);
}

const az_method az_pissa = {
    .name = "pissa",
    .family = AZ_TUNE,
    .summary = "train the principal singular triples of each weight beside what is left of it",
    .paper = "Meng et al.: PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language Models, NeurIPS 2024, "
             "arXiv 2404.02948",
    .details = "Like lora, but the adapter starts as the r largest singular triples of each weight, and the weight keeps the rest while it "
               "is trained. It learns faster than lora at the same rank. The result is a plain LoRA adapter of rank 2 r for the model as "
               "it came, exactly what was trained; with residual=FILE it is one of rank r for the residual model in FILE. quant=nf4 (or "
               "any other format) quantizes the residual; alternating five times (iters) lets the adapter take up more of what quantizing "
               "loses. svd=fast finds the triples by a randomized decomposition, in a fraction of the time.",
    .example = "adze tune tales pissa:rank=8,svd=fast -d train.jsonl -o adapter/ --steps 20 --lr 2e-4",
    .options = options_table,
    .options_size = sizeof(pissa_options),
    .needs_data = true,
    .tune = tune,
};
