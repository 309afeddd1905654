/* dpo.c - direct preference optimization (Rafailov et al., NeurIPS 2023): of two responses to a prompt the chosen one becomes more likely
 * than the rejected one, against the model as it was.
 *
 * With the policy pi (the model and an adapter), the reference (the adapter off), responses w chosen and l rejected,
 *     D = beta [(log pi(w) - log ref(w)) - (log pi(l) - log ref(l))],    L = -log sigmoid(D) - nll log pi(w) / |w|,
 * dL/d log pi(w) = -beta sigmoid(-D) - nll / |w|, dL/d log pi(l) = beta sigmoid(-D). log pi of a response is the sum over its |w| tokens,
 * its end included. Where both responses agree their gradients cancel, so nothing but beta holds the model there; the second term
 * (Pang et al., NeurIPS 2024, arXiv 2404.19733) does. */
#include "tune/contrast.h"
#include "tune/tune_internal.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

typedef struct dpo_options {
    double beta, nll, alpha, dropout;
    int64_t rank;
    const char *targets;
} dpo_options;

static const az_option options_table[] = {
    {"beta", AZ_FIELD(AZ_REAL, dpo_options, beta), "0.1", 1e-9, 1e6, NULL, "how strongly the model is held to what it was"},
    {"nll", AZ_FIELD(AZ_REAL, dpo_options, nll), "0", 0, 1e6, NULL,
     "weight of the chosen response's own loss, which keeps a model from making both less likely"},
    {"rank", AZ_FIELD(AZ_INT, dpo_options, rank), "16", 1, 1 << 16, NULL, "rank of the adapter"},
    {"alpha", AZ_FIELD(AZ_REAL, dpo_options, alpha), "32", 0, 1e9, NULL, "the adapter's change is scaled by alpha / rank"},
    {"dropout", AZ_FIELD(AZ_REAL, dpo_options, dropout), "0", 0, 0.999, NULL, "share of the adapter's inputs that are dropped in training"},
    {"targets", AZ_FIELD(AZ_TEXT, dpo_options, targets), "", 0, 0, NULL, "layers, as of lora; without it q and v"},
    {.name = NULL},
};

extern const az_method az_dpo;

/* Pair p is texts chosen[p] and rejected[p]. reference[] [texts] are the losses with the adapter off. */
typedef struct dpo_pairs {
    const az_lm_examples *texts;
    int64_t n;
    int64_t *chosen, *rejected;
    double *reference;
} dpo_pairs;

typedef struct dpo_run {
    az_tuning tuning; /* first: plan.user */
    const dpo_options *options;
    dpo_pairs train, valid;
} dpo_run;

/* ---- pairs ---- */

/* The response "rejected" in the place of the chosen one. */
static bool rejected_of(az_ctx *az, const az_example *pair, int64_t number, az_example *out)
{
    json_t *object = json_loads(pair->line, JSON_ALLOW_NUL, NULL);
    const json_t *text = json_object_get(object, "rejected");
    const bool good = pair->turns == 2 && json_is_string(text) && json_object_get(object, "chosen");
    *out = *pair;
    out->turn = az_alloc_array(az, 2, sizeof *out->turn);
    if (good && out->turn) {
        out->turn[0] = pair->turn[0];
        out->turn[1] = (az_turn){.role = "response", .text = az_strdup(az, json_string_value(text)), .length = json_string_length(text)};
    }
    json_decref(object);
    return good || az_fail(az, AZ_BAD_INPUT, "dpo: example %lld has no strings \"prompt\", \"chosen\" and \"rejected\"", (long long)number);
}

/* Texts 2 p and 2 p + 1 are the chosen and the rejected response of pair p. */
static az_examples *both_responses(az_ctx *az, const az_examples *pairs)
{
    az_examples *out = az_alloc(az, sizeof *out);
    if (!out) return NULL;
    *out = (az_examples){.path = pairs->path, .item = az_alloc_array(az, 2 * (size_t)pairs->count, sizeof *out->item)};
    for (int64_t p = 0; out->item && p < pairs->count; p++) {
        out->item[out->count++] = pairs->item[p];
        if (!rejected_of(az, &pairs->item[p], p + 1, &out->item[out->count++])) return NULL;
    }
    return out->item ? out : NULL;
}

static bool same_tokens(const az_lm_example *x, const az_lm_example *y)
{
    return x->n == y->n && memcmp(x->token, y->token, (size_t)x->n * sizeof *x->token) == 0 &&
           memcmp(x->target, y->target, (size_t)x->n * sizeof *x->target) == 0;
}

/* Pairs of which both texts are there, and different; the reference's losses. */
static bool find_pairs(az_ctx *az, const dpo_run *run, const az_lm_examples *texts, dpo_pairs *out)
{
    int64_t same = 0;
    *out = (dpo_pairs){.texts = texts,
                       .chosen = az_alloc_array(az, (size_t)texts->count, sizeof *out->chosen),
                       .rejected = az_alloc_array(az, (size_t)texts->count, sizeof *out->rejected),
                       .reference = az_alloc_array(az, (size_t)texts->count, sizeof *out->reference)};
    if (!out->chosen || !out->rejected || !out->reference) return false;
    for (int64_t i = 1; i < texts->count; i++) {
        const int64_t a = texts->item[i - 1].source, b = texts->item[i].source;
        if (a % 2 != 0 || b != a + 1) continue;
        same += same_tokens(&texts->item[i - 1], &texts->item[i]);
        if (same_tokens(&texts->item[i - 1], &texts->item[i])) continue;
        out->chosen[out->n] = i - 1;
        out->rejected[out->n++] = i;
    }
    if (out->n == 0) return az_fail(az, AZ_BAD_INPUT, "dpo: no pair has two different responses within the length");
    if (same > 0) az_note(az, "%lld pairs are left out: both responses are the same", (long long)same);
    return az_contrast_losses(az, run->tuning.job->lm, texts, NULL, 2 * run->tuning.settings.batch, out->reference);
}

/* ---- the loss ---- */

typedef struct dpo_step {
    const dpo_pairs *pairs;
    double beta, nll;
} dpo_step;

static double delta_of(const dpo_pairs *pairs, double beta, const int64_t which[2], const double nll[2])
{
    return beta * ((pairs->reference[which[0]] - nll[0]) - (pairs->reference[which[1]] - nll[1]));
}

/* Texts come in pairs, the chosen one first. */
static double weigh(const int64_t *which, int n, const double *nll, double *weight, void *user)
{
    const dpo_step *step = user;
    double loss = 0;
    for (int i = 0; i < n; i += 2) {
        const double delta = delta_of(step->pairs, step->beta, which + i, nll + i);
        const double pull = step->beta * exp(az_log_sigmoid(-delta));
        const double own = step->nll / (double)step->pairs->texts->item[which[i]].counted;
        loss += own * nll[i] - az_log_sigmoid(delta);
        weight[i] = pull + own;
        weight[i + 1] = -pull;
    }
    return loss;
}

/* Pair number `at` of an endless round through all pairs, in an order of its own for each round. */
static int64_t drawn(az_ctx *az, const dpo_run *run, int64_t at)
{
    const int64_t n = run->train.n, round = at / n;
    int64_t *order = az_alloc_array(az, (size_t)n, sizeof *order);
    for (int64_t i = 0; order && i < n; i++) order[i] = i;
    az_rng rng = az_rng_at((uint64_t)run->tuning.settings.seed, az_stream("order of pairs", (uint64_t)round));
    if (order) az_shuffle(&rng, order, n);
    return order ? order[at % n] : 0;
}

static bool gradient(az_ctx *az, az_lm_fit *fit, az_tensor **out, double *loss)
{
    const dpo_run *run = fit->plan->user;
    const az_lm_train_settings *s = fit->plan->settings;
    dpo_step step = {.pairs = &run->train, .beta = run->options->beta, .nll = run->options->nll};
    const az_contrast contrast = {.examples = run->train.texts, .weigh = weigh, .user = &step};
    int64_t *which = az_alloc_array(az, 2 * (size_t)s->batch, sizeof *which);
    *loss = 0;
    for (int64_t k = 0; which && k < s->accumulate && az_ok(az); k++) {
        const int64_t pass = fit->step * s->accumulate + k;
        for (int64_t b = 0; b < s->batch; b++) {
            const int64_t pair = drawn(az, run, pass * s->batch + b);
            which[2 * b] = run->train.chosen[pair];
            which[2 * b + 1] = run->train.rejected[pair];
        }
        const az_contrast_part part = {.which = which,
                                       .n = (int)(2 * s->batch),
                                       .scale = 1.0 / (double)(s->batch * s->accumulate),
                                       .first = k == 0,
                                       .dropout = az_stream("dropout", (uint64_t)pass) ^ (uint64_t)s->seed};
        az_contrast_gradient(az, fit, &contrast, &part, out, loss);
    }
    return az_ok(az);
}

/* ---- measuring ---- */

typedef struct dpo_measure {
    double loss, accuracy, margin, kl; /* kl: mean of log ref - log pi over the texts */
} dpo_measure;

static bool measure(az_ctx *az, const dpo_run *run, const dpo_pairs *pairs, dpo_measure *out)
{
    const az_lm_run with = {.adapter = (const az_adapter *const *)&run->tuning.adapter, .adapters = 1};
    double *nll = az_alloc_array(az, (size_t)pairs->texts->count, sizeof *nll);
    *out = (dpo_measure){0};
    if (!nll || !az_contrast_losses(az, run->tuning.job->lm, pairs->texts, &with, 2 * run->tuning.settings.batch, nll)) return false;
    for (int64_t p = 0; p < pairs->n; p++) {
        const int64_t which[2] = {pairs->chosen[p], pairs->rejected[p]};
        const double delta = delta_of(pairs, run->options->beta, which, (const double[]){nll[which[0]], nll[which[1]]});
        out->loss -= az_log_sigmoid(delta) / (double)pairs->n;
        out->accuracy += (delta > 0 ? 1 : delta == 0 ? 0.5 : 0) / (double)pairs->n;
        out->margin += delta / (double)pairs->n;
        for (int i = 0; i < 2; i++) out->kl += (nll[which[i]] - pairs->reference[which[i]]) / (2 * (double)pairs->n);
    }
    return true;
}

static bool validate(az_ctx *az, az_lm_fit *fit, double *loss)
{
    dpo_measure found;
    const dpo_run *run = fit->plan->user;
    if (!measure(az, run, &run->valid, &found)) return false;
    *loss = found.loss;
    return true;
}

static void report_pairs(az_ctx *az, const dpo_run *run, const char *name, const dpo_pairs *pairs)
{
    dpo_measure found;
    if (!measure(az, run, pairs, &found)) return;
    az_report *report = run->tuning.job->report;
    az_report_row(report, "preferences");
    az_report_text(report, "pairs_of", name);
    az_report_count(report, "pairs", pairs->n);
    az_report_number(report, "loss", found.loss, "nat");
    az_report_number(report, "reward_accuracy", found.accuracy, "");
    az_report_number(report, "margin", found.margin, "");
    az_report_number(report, "kl", found.kl, "nat");
}

/* ---- the run ---- */

static bool train(az_ctx *az, dpo_run *run, const char *method)
{
    az_lm_parameter *parameter;
    const int n = az_adapter_parameters(az, run->tuning.adapter, &parameter);
    az_lm_fit_plan plan = az_tuning_plan(az, &run->tuning, parameter, n, method);
    plan.user = run;
    plan.lesson = NULL;
    plan.gradient = gradient;
    plan.validate = run->valid.n > 0 ? validate : NULL;
    if (n == 0 || !plan.identity || !az_lm_fit_run(az, &plan, run->tuning.job->report)) return false;
    report_pairs(az, run, "train", &run->train);
    if (run->valid.n > 0) report_pairs(az, run, "valid", &run->valid);
    return az_ok(az);
}

static bool tune(az_ctx *az, const void *settings, az_tune_job *job)
{
    dpo_run run = {.options = settings};
    az_tune_job texts = *job;
    texts.train = both_responses(az, job->train);
    texts.valid = job->valid && job->valid->count > 0 ? both_responses(az, job->valid) : NULL;
    az_tune_settings own = *job->settings;
    own.epochs /= 2; /* of the texts, of which each pair has two */
    texts.settings = &own;
    if (!texts.train || !az_ok(az) || !az_tuning_begin(az, &texts, 0, &run.tuning)) return false;
    const az_adapter_how how = {.rank = run.options->rank,
                                .alpha = run.options->alpha,
                                .dropout = run.options->dropout,
                                .targets = run.options->targets,
                                .seed = (uint64_t)job->settings->training.seed};
    if (!find_pairs(az, &run, run.tuning.train, &run.train)) return false;
    if (run.tuning.valid && !find_pairs(az, &run, run.tuning.valid, &run.valid)) return false;
    run.tuning.adapter = az_adapter_new(az, job->lm, &how);
    job->adapter = run.tuning.adapter;
    return run.tuning.adapter && train(az, &run, az_method_text(az, &az_dpo, settings));
}

const az_method az_dpo = {
    .name = "dpo",
    .family = AZ_TUNE,
    .summary = "prefer the chosen of two responses, by an adapter",
    .paper = "Direct Preference Optimization: Your Language Model is Secretly a Reward Model, NeurIPS 2023, arXiv 2305.18290",
    .details =
        "Examples are {\"prompt\", \"chosen\", \"rejected\"}. With the adapter off the model is its own reference: the loss is -log "
        "sigmoid(beta (gain of chosen - gain of rejected)), a response's gain being how much its log-likelihood has grown. Reports the "
        "share of pairs in the right order, the mean margin and how far the model has moved (kl). Small models easily make both responses "
        "less likely: a kl of some nats tells, and nll=1 keeps them where they were. `adze help lacie` makes such pairs.",
    .example = "adze tune tales dpo:nll=1 -d pairs.jsonl -o adapter/ --steps 20 --lr 1e-3",
    .options = options_table,
    .options_size = sizeof(dpo_options),
    .needs_data = true,
    .tune = tune,
};
