/* adalora.c - LoRA whose ranks move, during training, to the layers that need them.
 *
 * Problem: how a total of b_T ranks is best shared among n layers is known only while they learn.
 * Change of a layer: y = W x + alpha / (r + 1e-5) P (lambda * (Q x)), P [out, r], Q [r, in]; lambda = 0 at first, P and Q ~ N(0, 0.02^2).
 * Loss: that of the task + gamma R, R = the mean over all P and Q of |P^T P - I| and |Q Q^T - I|, which keeps triplets apart.
 * Budget: every triplet (column of P, lambda, row of Q) has an importance, smoothed sensitivity times its uncertainty; after t_i steps
 *     those of lowest importance are masked (lambda = 0), more and more, until b_T are left t_f steps before the end. A masked triplet
 *     may come back while the budget falls (adalora_rank.c).
 * Result: what is left, as plain LoRA with a rank of its own for each layer, or in PEFT's AdaLoRA layout.
 *
 * Zhang et al.: "AdaLoRA: adaptive budget allocation for parameter-efficient fine-tuning", ICLR 2023 (arXiv 2303.10512). R is the mean of
 * the norms as in the published code; orth=squared has the paper's squares. */
#include "tune/adalora.h"

#include <math.h>
#include <string.h>

enum { ORTH_NORM, ORTH_SQUARED };
enum { GRADIENT_WHOLE, GRADIENT_CLIPPED };
enum { AS_LORA, AS_ADALORA };
static const char *const results[] = {[AS_LORA] = "lora", [AS_ADALORA] = "adalora", NULL};
static const char *const penalties[] = {[ORTH_NORM] = "norm", [ORTH_SQUARED] = "squared", NULL};
static const char *const importances[] = {
    [AZ_IMPORTANCE_SMOOTHED] = "smoothed", [AZ_IMPORTANCE_SENSITIVITY] = "sensitivity", [AZ_IMPORTANCE_MAGNITUDE] = "magnitude", NULL};
static const char *const gradients[] = {[GRADIENT_WHOLE] = "whole", [GRADIENT_CLIPPED] = "clipped", NULL};

static const az_option options_table[] = {
    {"init_rank", AZ_FIELD(AZ_INT, az_adalora_options, init_rank), "12", 1, 1 << 16, NULL, "rank of every layer at the start"},
    {"target_rank", AZ_FIELD(AZ_INT, az_adalora_options, target_rank), "8", 1, 1 << 16, NULL, "mean rank of a layer at the end"},
    {"total_rank", AZ_FIELD(AZ_INT, az_adalora_options, total_rank), "0", 0, 1 << 24, NULL,
     "ranks of all layers together; 0 = by target_rank"},
    {"tinit", AZ_FIELD(AZ_INT, az_adalora_options, tinit), "-1", -1, 1e7, NULL, "first steps with all ranks; -1 = a tenth of all steps"},
    {"tfinal", AZ_FIELD(AZ_INT, az_adalora_options, tfinal), "-1", -1, 1e7, NULL,
     "last steps, in which the ranks stay; -1 = three tenths of all steps"},
    {"delta_t", AZ_FIELD(AZ_INT, az_adalora_options, every), "1", 1, 1e6, NULL, "steps between two choices of triplets"},
    {"beta1", AZ_FIELD(AZ_REAL, az_adalora_options, beta1), "0.85", 0, 1, NULL, "memory of the sensitivity, between 0 and 1"},
    {"beta2", AZ_FIELD(AZ_REAL, az_adalora_options, beta2), "0.85", 0, 1, NULL, "memory of its uncertainty, between 0 and 1"},
    {"orth_reg", AZ_FIELD(AZ_REAL, az_adalora_options, orth_reg), "0.1", 0, 1e6, NULL, "gamma: weight of the penalty on P and Q"},
    {"orth", AZ_FIELD(AZ_CHOICE, az_adalora_options, orth), "norm", 0, 0, penalties, "the penalty: mean of the norms, or of their squares"},
    {"alpha", AZ_FIELD(AZ_REAL, az_adalora_options, alpha), "16", 0, 1e9, NULL, "the change is scaled by alpha / init_rank; 0 = init_rank"},
    {"dropout", AZ_FIELD(AZ_REAL, az_adalora_options, dropout), "0", 0, 0.999, NULL,
     "share of the inputs of Q that are dropped in training"},
    {"targets", AZ_FIELD(AZ_TEXT, az_adalora_options, targets), "all-linear", 0, 0, NULL,
     "layers, by the ends of their names (\"q_proj,v_proj\") or a /regular expression/ of whole names"},
    {"exclude", AZ_FIELD(AZ_TEXT, az_adalora_options, exclude), "", 0, 0, NULL, "layers that targets names but that are left alone"},
    {"score", AZ_FIELD(AZ_CHOICE, az_adalora_options, score), "smoothed", 0, 0, importances,
     "importance: smoothed sensitivity times uncertainty, the sensitivity of the last step, or |lambda|"},
    {"sensitivity", AZ_FIELD(AZ_CHOICE, az_adalora_options, sensitivity), "whole", 0, 0, gradients,
     "of which gradient: before clipping, or (as in the published code) behind it"},
    {"as", AZ_FIELD(AZ_CHOICE, az_adalora_options, as), "lora", 0, 0, results, "layout of the result: plain LoRA, or PEFT's AdaLoRA"},
    {.name = NULL},
};

extern const az_method az_adalora_method;

/* ---- during training ---- */

/* Adds gamma R's derivative, and remembers the gradients for the allocator. */
static bool revise(az_ctx *az, az_lm_fit *fit, az_tensor **gradient)
{
    az_adalora *run = fit->plan->user;
    const az_adalora_options *o = run->options;
    const int layers = run->tuning.adapter->layers;
    const double share = 1 / (2.0 * layers), weight = o->orth_reg * share, clip = run->tuning.settings.clip;
    double penalty = 0;
    for (int i = 0; i < layers; i++) {
        const az_triplets *g = &run->gradient[i];
        run->gradient[i] = (az_triplets){gradient[3 * i], gradient[3 * i + 1], gradient[3 * i + 2]};
        penalty += share * az_orthogonality(az, fit->value[3 * i], true, o->orth == ORTH_SQUARED, weight, g->a);
        penalty += share * az_orthogonality(az, fit->value[3 * i + 1], false, o->orth == ORTH_SQUARED, weight, g->b);
    }
    az_f64_mut(run->penalty)[fit->step] = penalty;
    const double norm = az_clip_gradients(az, gradient, fit->plan->n, 0);
    run->unscale = o->sensitivity == GRADIENT_WHOLE && clip > 0 && norm > clip ? norm / clip : 1;
    return az_ok(az);
}

static bool after(az_ctx *az, az_lm_fit *fit)
{
    az_adalora *run = fit->plan->user;
    const bool good = az_allocator_step(az, run->allocator, run->gradient, run->unscale, fit->step);
    az_f64_mut(run->threshold)[fit->step - 1] = az_allocator_threshold(run->allocator);
    return good;
}

static int state(az_ctx *az, az_lm_fit *fit, az_tensor ***tensor, const char ***name)
{
    az_adalora *run = fit->plan->user;
    az_tensor **own;
    const char **own_name;
    const int n = az_allocator_state(az, run->allocator, &own, &own_name);
    *tensor = az_alloc_array(az, (size_t)n + 2, sizeof **tensor);
    *name = az_alloc_array(az, (size_t)n + 2, sizeof **name);
    if (!n || !*tensor || !*name) return 0;
    memcpy(*tensor, own, (size_t)n * sizeof *own);
    memcpy(*name, own_name, (size_t)n * sizeof *own_name);
    (*tensor)[n] = run->penalty, (*name)[n] = "adalora.penalty";
    (*tensor)[n + 1] = run->threshold, (*name)[n + 1] = "adalora.threshold";
    return n + 2;
}

/* ---- beginning ---- */

/* A layer's rank-r change as P, lambda and Q, of scale alpha / (r + 1e-5). */
static bool start_layer(az_ctx *az, az_adapter *adapter, az_adapter_layer *layer, uint64_t seed)
{
    const az_dtype dtype = layer->a->dtype;
    az_arena_enter(az, adapter->arena);
    layer->a = az_randn(az, dtype, 2, layer->a->shape, 0.02, seed, az_stream(layer->name, 3));
    layer->b = az_randn(az, dtype, 2, layer->b->shape, 0.02, seed, az_stream(layer->name, 4));
    layer->e = az_zeros(az, dtype, 1, &layer->rank);
    layer->scale = layer->alpha / ((double)layer->rank + 1e-5);
    az_arena_leave(az);
    return az_ok(az);
}

static az_adapter *start(az_ctx *az, const az_adalora_options *o, const az_lm *lm, uint64_t seed)
{
    az_adapter *adapter = az_adapter_new(az, lm,
                                         &(az_adapter_how){.rank = o->init_rank,
                                                           .alpha = o->alpha > 0 ? o->alpha : (double)o->init_rank,
                                                           .dropout = o->dropout,
                                                           .targets = o->targets,
                                                           .exclude = o->exclude,
                                                           .seed = seed});
    for (int i = 0; adapter && i < adapter->layers; i++) {
        if (strcmp(adapter->layer[i].name, "embed") == 0) az_fail(az, AZ_BAD_INPUT, "adalora adapts linear layers, not the embedding");
        if (!start_layer(az, adapter, &adapter->layer[i], seed)) break;
    }
    if (az_ok(az)) return adapter;
    az_adapter_free(az, adapter);
    return NULL;
}

static bool plan_budget(az_ctx *az, az_adalora *run)
{
    const az_adalora_options *o = run->options;
    const int64_t steps = run->tuning.settings.steps, layers = run->tuning.adapter->layers;
    run->budget = (az_budget){.before = o->init_rank * layers,
                              .after = o->total_rank > 0 ? o->total_rank : o->target_rank * layers,
                              .warm = o->tinit < 0 ? steps / 10 : o->tinit,
                              .settle = o->tfinal < 0 ? steps * 3 / 10 : o->tfinal,
                              .every = o->every,
                              .steps = steps,
                              .beta1 = o->beta1,
                              .beta2 = o->beta2,
                              .importance = (az_importance)o->score};
    if (run->budget.after > run->budget.before)
        return az_fail(az, AZ_BAD_INPUT, "adalora: %lld ranks at the end (%s) are more than the %lld at the start (init_rank)",
                       (long long)run->budget.after, o->total_rank > 0 ? "total_rank" : "target_rank", (long long)run->budget.before);
    return true;
}

bool az_adalora_begin(az_ctx *az, az_adalora *run, const az_lm *lm, az_lm_parameter **parameter, int *n)
{
    const az_adalora_options *o = run->options;
    const az_lm_train_settings *s = &run->tuning.settings;
    run->tuning.adapter = start(az, o, lm, (uint64_t)s->seed);
    if (!run->tuning.adapter || !plan_budget(az, run)) return false;
    const int layers = run->tuning.adapter->layers;
    az_triplets *value = az_alloc_array(az, (size_t)layers, sizeof *value);
    run->gradient = az_alloc_array(az, (size_t)layers, sizeof *run->gradient);
    run->penalty = az_full(az, AZ_F64, 1, &s->steps, NAN);
    run->threshold = az_full(az, AZ_F64, 1, &s->steps, NAN);
    for (int i = 0; value && i < layers; i++) {
        const az_adapter_layer *layer = &run->tuning.adapter->layer[i];
        value[i] = (az_triplets){.a = layer->a, .b = layer->b, .e = layer->e};
    }
    run->allocator = value ? az_allocator_new(az, &run->budget, value, layers) : NULL;
    *n = az_adapter_parameters(az, run->tuning.adapter, parameter);
    return run->allocator && *n == 3 * layers;
}

void az_adalora_complete(az_lm_fit_plan *plan)
{
    plan->revise = revise;
    plan->after = after;
    plan->state = state;
}

/* ---- the result ---- */

/* The numbers of the triplets that layer i keeps, i32 [their number]. */
static az_tensor *kept_triplets(az_ctx *az, const az_adalora *run, int i)
{
    const int64_t rank = run->options->init_rank;
    const float *kept = az_allocator_kept(run->allocator) + i * rank;
    az_tensor *index = az_new1(az, AZ_I32, az_allocator_rank(run->allocator, i));
    int64_t n = 0;
    for (int64_t k = 0; index && k < rank; k++)
        if (kept[k] > 0) ((int32_t *)index->data)[n++] = (int32_t)k;
    return index;
}

/* What layer i keeps, with lambda in B; the scale is that of training. */
static bool keep_layer(az_ctx *az, const az_adalora *run, int i, const az_lm *lm, az_adapter *to)
{
    const az_adapter_layer *from = &run->tuning.adapter->layer[i];
    const az_tensor *index = kept_triplets(az, run, i);
    if (!index || az_count(index) == 0) return az_ok(az);
    az_adapter_layer *layer = az_adapter_add_layer(az, lm, to, from->name, az_count(index), (double)az_count(index) * from->scale);
    if (!layer) return false;
    const az_tensor *columns = az_gather(az, az_contiguous(az, az_transpose(az, az_mul(az, from->b, from->e))), index); /* [kept, out] */
    az_copy_into(az, layer->a, az_gather(az, from->a, index));
    az_copy_into(az, layer->b, az_transpose(az, columns));
    return az_ok(az);
}

az_adapter *az_adalora_plain(az_ctx *az, const az_adalora *run, const az_lm *lm)
{
    az_adapter *plain = az_adapter_empty(az, "adapter", "LORA");
    if (!plain) return NULL;
    plain->dropout = run->tuning.adapter->dropout;
    for (int i = 0; i < run->tuning.adapter->layers; i++)
        if (!keep_layer(az, run, i, lm, plain)) break;
    if (az_ok(az)) return plain;
    az_adapter_free(az, plain);
    return NULL;
}

/* The adapter as it was trained, masked triplets and all, with the fields that PEFT wants; writing it leaves those out. */
static az_adapter *adalora_adapter(az_ctx *az, const az_adalora *run)
{
    const az_adalora_options *o = run->options;
    const az_budget *b = &run->budget;
    az_adapter *adapter = run->tuning.adapter;
    az_arena_enter(az, adapter->arena);
    adapter->kind = az_strdup(az, "ADALORA");
    adapter->config = az_format_text(az,
                                     "{\"init_r\": %lld, \"target_r\": %lld, \"tinit\": %lld, \"tfinal\": %lld, \"deltaT\": %lld, "
                                     "\"beta1\": %.17g, \"beta2\": %.17g, \"orth_reg_weight\": %.17g, \"total_step\": %lld}",
                                     (long long)o->init_rank, (long long)(b->after / adapter->layers), (long long)b->warm,
                                     (long long)b->settle, (long long)b->every, b->beta1, b->beta2, o->orth_reg, (long long)b->steps);
    az_arena_leave(az);
    return az_ok(az) ? adapter : NULL;
}

static void report_ranks(az_ctx *az, const az_adalora *run, az_report *report)
{
    const az_adapter *adapter = run->tuning.adapter;
    for (int i = 0; report && i < adapter->layers; i++) {
        const az_adapter_layer *layer = &adapter->layer[i];
        const az_tensor *index = kept_triplets(az, run, i);
        const char *kept = "";
        for (int64_t k = 0; index && k < az_count(index); k++)
            kept = az_format_text(az, "%s%s%d", kept, k ? " " : "", (int)az_item(index, k));
        az_report_row(report, "ranks");
        az_report_text(report, "layer", layer->name);
        az_report_count(report, "rank", az_allocator_rank(run->allocator, i));
        az_report_text(report, "kept", kept);
        az_report_count(report, "parameters", az_allocator_rank(run->allocator, i) * (layer->in + layer->out));
    }
    const int64_t steps = run->budget.steps;
    double *x = az_alloc_array(az, (size_t)steps, sizeof *x), *budget = az_alloc_array(az, (size_t)steps, sizeof *budget);
    for (int64_t t = 1; x && budget && t <= steps; t++) x[t - 1] = (double)t, budget[t - 1] = (double)az_budget_at(&run->budget, t);
    az_report_curve(report, "budget", "step", "ranks", steps, x, budget);
    az_report_curve(report, "penalty", "step", "R", steps, x, az_f64(run->penalty));
    az_report_curve(report, "threshold", "step", "importance", steps, x, az_f64(run->threshold));
}

static bool tune(az_ctx *az, const void *settings, az_tune_job *job)
{
    az_adalora run = {.options = settings};
    az_lm_parameter *parameter;
    int n;
    if (job->settings->patience > 0)
        return az_fail(az, AZ_BAD_INPUT, "adalora: patience cannot end a run whose ranks fall until its last steps; leave it at 0");
    if (!az_tuning_begin(az, job, 0, &run.tuning) || !az_adalora_begin(az, &run, job->lm, &parameter, &n)) return false;
    az_lm_fit_plan plan = az_tuning_plan(az, &run.tuning, parameter, n, az_method_text(az, &az_adalora_method, settings));
    plan.user = &run;
    az_adalora_complete(&plan);
    az_lm_fit_run(az, &plan, job->report);
    const az_set_aside aside = az_interruption_aside(az);
    if (!az_ok(az)) return false;
    report_ranks(az, &run, job->report);
    job->adapter = run.options->as == AS_ADALORA ? adalora_adapter(az, &run) : az_adalora_plain(az, &run, job->lm);
    az_interruption_back(az, &aside);
    return az_ok(az);
}

const az_method az_adalora_method = {
    .name = "adalora",
    .family = AZ_TUNE,
    .summary = "train changes of low rank whose ranks move to the layers that need them",
    .paper = "Zhang et al.: AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning, ICLR 2023, arXiv 2303.10512",
    .details = "Every layer starts with init_rank triplets (a column, a value, a row). After tinit steps the least important of all "
               "layers' triplets are masked, until target_rank a layer are left on average, tfinal steps before the end. Importance is "
               "|weight * gradient|, smoothed, times its own uncertainty. A penalty (orth_reg) keeps the triplets of a layer apart. The "
               "result is a plain LoRA adapter with a rank of its own for each layer, or (as=adalora) one in PEFT's AdaLoRA layout. It "
               "pays where a small total rank has to go far.",
    .example = "adze tune tales adalora:init_rank=6,target_rank=4 -d train.jsonl -o adapter/ --steps 20 --lr 2e-3",
    .options = options_table,
    .options_size = sizeof(az_adalora_options),
    .needs_data = true,
    .tune = tune,
};
