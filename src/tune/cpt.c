/* cpt.c - context-aware prompt tuning (CPT): the examples stay in the prompt, as in in-context learning, and their embeddings move a
 * little.
 *
 * Problem: few examples of a classification. In the context they teach without being fitted; as training data they are soon learnt by
 *     heart.
 * Context: E = the embeddings of all examples' tokens, each with a role: template or text of the input, template of the output, label.
 *     The model reads [E + delta; an example], delta = 0 being in-context learning.
 * Loss: the example's label, and the labels inside the context with weights decay, decay^2, ... from the last to the first; the mean over
 *     all label tokens of weight times cross-entropy.
 * Step: only templates and input texts move, labels and separators do not; then each delta_j is brought back into its ball,
 *     delta_j <- delta_j eps_j / max(|delta_j|, eps_j), eps_j = sqrt(width / 2048) times eps_input or eps_format.
 *
 * Blau, Kimhi, Belinkov, Bronstein, Baskin: Context-aware prompt tuning, 2024 (arXiv 2410.17222). */
#include "tune/cpt.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum cpt_variant { CPT, CPT_ICL, CPT_PT, CPT_IPT } cpt_variant;
static const char *const variants[] = {[CPT] = "cpt", [CPT_ICL] = "icl", [CPT_PT] = "pt", [CPT_IPT] = "ipt", NULL};

typedef struct cpt_options {
    const char *context;
    int64_t shots, soft;
    int variant;
    az_lm_form form;
    az_cpt_weights weights;
    double eps_input, eps_format;
    bool move_input, move_format;
} cpt_options;

static const az_option options_table[] = {
    {"variant", AZ_FIELD(AZ_CHOICE, cpt_options, variant), "cpt", 0, 0, variants,
     "cpt; or a baseline: the context as it is (icl), soft tokens without it (pt), soft tokens in front of it (ipt)"},
    {"context", AZ_FIELD(AZ_TEXT, cpt_options, context), "", 0, 0, NULL,
     "file of the examples that stand in the prompt; those of -d are then learnt as well; without it the context is those of -d"},
    {"shots", AZ_FIELD(AZ_INT, cpt_options, shots), "0", 0, 1e6, NULL, "how many of them stand in the prompt, from the first; 0 = all"},
    {"soft", AZ_FIELD(AZ_INT, cpt_options, soft), "10", 1, 1 << 16, NULL, "pt, ipt: soft tokens"},
    {"input", AZ_FIELD(AZ_TEXT, cpt_options, form.input), "input: {}", 0, 0, NULL, "template of a prompt"},
    {"output", AZ_FIELD(AZ_TEXT, cpt_options, form.output), "output: {}", 0, 0, NULL, "template of a label"},
    {"within", AZ_FIELD(AZ_TEXT, cpt_options, form.within), " ", 0, 0, NULL, "text between both"},
    {"between", AZ_FIELD(AZ_TEXT, cpt_options, form.between), "\n", 0, 0, NULL, "text behind an example in the context"},
    {"eps_input", AZ_FIELD(AZ_REAL, cpt_options, eps_input), "0.2", 0, INFINITY, NULL,
     "how far tokens of texts may move, for a width of 2048"},
    {"eps_format", AZ_FIELD(AZ_REAL, cpt_options, eps_format), "0.1", 0, INFINITY, NULL, "the same for tokens of templates"},
    {"decay", AZ_FIELD(AZ_REAL, cpt_options, weights.decay), "0.95", 0, 1, NULL,
     "weight of a label in the context, to the power of how far back"},
    {"context_loss", AZ_FIELD(AZ_BOOL, cpt_options, weights.context_loss), "true", 0, 0, NULL, "labels in the context count"},
    {"leave_out", AZ_FIELD(AZ_BOOL, cpt_options, weights.leave_out), "false", 0, 0, NULL,
     "an example of the context is left out of it while it is the one that is learnt"},
    {"move_input", AZ_FIELD(AZ_BOOL, cpt_options, move_input), "true", 0, 0, NULL, "tokens of texts move"},
    {"move_format", AZ_FIELD(AZ_BOOL, cpt_options, move_format), "true", 0, 0, NULL, "tokens of templates move"},
    {.name = NULL},
};

typedef struct cpt_run {
    az_tuning tuning; /* first: what the plan's usual callbacks see */
    const cpt_options *options;
    az_lm_line context;
    const az_tensor *start; /* [context, width] embeddings, and soft tokens as they were at first */
    double *radius;         /* [context] of each token's ball; 0 = it does not move, infinite for soft tokens */
    const az_lm_labels *labels;
} cpt_run;

extern const az_method az_cpt;

/* ---- the context ---- */

static bool has_context(const cpt_options *o)
{
    return o->variant != CPT_PT;
}

static bool trains(const cpt_options *o)
{
    return o->variant != CPT_ICL;
}

/* Ball of a token: by its role; soft tokens are free, and nothing else moves beside them. */
static double radius_of(const cpt_options *o, int64_t width, int32_t id, int32_t type)
{
    const double unit = sqrt((double)width / 2048);
    if (o->variant != CPT) return id < 0 ? INFINITY : 0;
    if (type <= 0) return 0;
    switch (type % AZ_FORM_ROLES) {
    case AZ_FORM_INPUT_FORM:
    case AZ_FORM_OUTPUT_FORM: return o->move_format ? unit * o->eps_format : 0;
    case AZ_FORM_INPUT: return o->move_input ? unit * o->eps_input : 0;
    default: return 0;
    }
}

/* Embeddings of the context's tokens; soft ones begin at tokens drawn from the vocabulary. */
static az_tensor *first_rows(az_ctx *az, const az_lm *lm, const az_lm_line *context, uint64_t seed)
{
    int32_t *token = az_alloc_array(az, (size_t)context->n, sizeof *token);
    az_rng rng = az_rng_at(seed, az_stream("soft tokens", 0));
    for (int64_t j = 0; token && j < context->n; j++) {
        token[j] = context->id[j];
        if (token[j] < 0) token[j] = (int32_t)az_below(&rng, (uint64_t)lm->config.vocabulary);
    }
    return token ? az_lm_token_rows(az, lm, token, context->n) : NULL;
}

static json_t *numbers(const int32_t *value, int64_t n)
{
    json_t *list = json_array();
    for (int64_t j = 0; j < n; j++) json_array_append_new(list, json_integer(value[j]));
    return list;
}

/* What PEFT's configuration says of such a prompt. */
static char *config_text(const cpt_run *r)
{
    const cpt_options *o = r->options;
    json_t *json = json_object(), *mask = json_array();
    if (o->variant == CPT || o->variant == CPT_ICL) {
        for (int64_t j = 0; j < r->context.n; j++) json_array_append_new(mask, json_integer(1));
        json_object_set_new(json, "cpt_token_ids", numbers(r->context.id, r->context.n));
        json_object_set_new(json, "cpt_mask", mask);
        json_object_set_new(json, "cpt_tokens_type_mask", numbers(r->context.type, r->context.n));
        json_object_set_new(json, "cpt_prompt_init", json_string("TEXT"));
        json_object_set_new(json, "opt_weighted_loss_type", json_string(o->weights.decay < 1 ? "decay" : "none"));
        json_object_set_new(json, "opt_loss_decay_factor", json_real(o->weights.decay));
        json_object_set_new(json, "opt_projection_epsilon", json_real(isfinite(o->eps_input) ? o->eps_input : 1e30));
        json_object_set_new(json, "opt_projection_format_epsilon", json_real(isfinite(o->eps_format) ? o->eps_format : 1e30));
    } else {
        json_decref(mask);
        json_object_set_new(json, "prompt_tuning_init", json_string("RANDOM"));
    }
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return text;
}

/* The templates, in the current arena. */
static const az_lm_form *own_form(az_ctx *az, const az_lm_form *form)
{
    az_lm_form *own = az_alloc(az, sizeof *own);
    if (own)
        *own = (az_lm_form){.input = az_strdup(az, form->input),
                            .output = az_strdup(az, form->output),
                            .within = az_strdup(az, form->within),
                            .between = az_strdup(az, form->between)};
    return own;
}

static bool make_adapter(az_ctx *az, cpt_run *r)
{
    const az_lm *lm = r->tuning.job->lm;
    const bool soft = r->options->variant == CPT_PT || r->options->variant == CPT_IPT;
    r->start = first_rows(az, lm, &r->context, (uint64_t)r->tuning.settings.seed);
    r->radius = az_alloc_array(az, (size_t)r->context.n, sizeof *r->radius);
    az_adapter *adapter = az_adapter_empty(az, "cpt", soft ? "PROMPT_TUNING" : "CPT");
    char *config = config_text(r);
    if (!r->start || !r->radius || !adapter || !config) return false;
    for (int64_t j = 0; j < r->context.n; j++)
        r->radius[j] = radius_of(r->options, lm->config.embed_width, r->context.id[j], r->context.type[j]);
    az_arena_enter(az, adapter->arena);
    adapter->virtual_tokens = r->context.n;
    adapter->has_bos = az_token_bos(lm->tokenizer) >= 0;
    adapter->prompt = az_copy(az, r->start);
    adapter->form = own_form(az, &r->options->form);
    adapter->config = az_strdup(az, config);
    az_arena_leave(az);
    free(config);
    r->tuning.adapter = r->tuning.job->adapter = adapter;
    return az_ok(az);
}

/* ---- the step ---- */

/* The gradient of what does not move is dropped. */
static bool hold_still(az_ctx *az, az_lm_fit *fit, az_tensor **gradient)
{
    const cpt_run *r = fit->plan->user;
    const int64_t width = gradient[0]->shape[1];
    az_tensor *own = az_is_contiguous(gradient[0]) ? gradient[0] : az_copy(az, gradient[0]);
    for (int64_t j = 0; own && j < r->context.n; j++)
        if (r->radius[j] == 0)
            memset((char *)own->data + (size_t)(j * width) * az_dtype_size(own->dtype), 0, (size_t)width * az_dtype_size(own->dtype));
    gradient[0] = own;
    return own != NULL;
}

void az_cpt_project(const float *start, float *row, int64_t width, double radius)
{
    double square = 0;
    for (int64_t c = 0; c < width; c++) square += ((double)row[c] - start[c]) * ((double)row[c] - start[c]);
    const double norm = sqrt(square);
    if (norm <= radius) return;
    for (int64_t c = 0; c < width; c++) row[c] = (float)(start[c] + ((double)row[c] - start[c]) * (radius / norm));
}

static bool project(az_ctx *az, az_lm_fit *fit)
{
    const cpt_run *r = fit->plan->user;
    const int64_t width = r->start->shape[1];
    for (int64_t j = 0; j < r->context.n; j++)
        if (isfinite(r->radius[j]))
            az_cpt_project(az_f32(r->start) + j * width, az_f32_mut(fit->value[0]) + j * width, width, r->radius[j]);
    return az_ok(az);
}

/* ---- the run ---- */

static az_examples *joined(az_ctx *az, const az_examples *first, const az_examples *second)
{
    az_examples *all = az_alloc(az, sizeof *all);
    if (!first || !all) return NULL;
    *all = *first;
    if (!second) return all;
    all->count = first->count + second->count;
    all->item = az_alloc_array(az, (size_t)all->count, sizeof *all->item);
    if (!all->item) return NULL;
    memcpy(all->item, first->item, (size_t)first->count * sizeof *all->item);
    memcpy(all->item + first->count, second->item, (size_t)second->count * sizeof *all->item);
    return all;
}

static bool check_job(az_ctx *az, const cpt_options *o, const az_tune_job *job)
{
    if (!job->lm->tokenizer) return az_fail(az, AZ_BAD_INPUT, "cpt: the model brings no tokenizer, so it cannot read text");
    const az_tensor *table = job->lm->embedding->part[0];
    if (az_weight_is_dense(job->lm->embedding) && table->dtype == AZ_F64)
        return az_fail(az, AZ_BAD_INPUT, "cpt works in f32, not on f64 models");
    if (!job->train) return az_fail(az, AZ_BAD_INPUT, "cpt needs examples: -d FILE");
    return az_lm_form_check(az, &o->form);
}

/* Context, lessons, labels. */
static bool begin(az_ctx *az, cpt_run *r, az_tune_job *job)
{
    const cpt_options *o = r->options;
    const bool own_file = *o->context != 0;
    if (!check_job(az, o, job)) return false;
    const az_examples *shown = own_file ? az_examples_read(az, o->context) : job->train;
    if (!shown) return false;
    int64_t shots = o->shots > 0 && o->shots < shown->count ? o->shots : shown->count;
    const az_examples *learnt = joined(az, shown, own_file ? job->train : NULL);
    const int64_t soft = has_context(o) && o->variant != CPT_IPT ? 0 : o->soft;
    if (!has_context(o)) shots = 0;
    r->labels = az_lm_labels_of(az, learnt);
    if (!r->labels) return false;
    if (!az_cpt_context(az, job->lm->tokenizer, &o->form, shown, shots, soft, &r->context)) return false;
    az_cpt_weights measured = o->weights;
    measured.context_loss = measured.leave_out = false;
    az_lm_examples *train = az_cpt_lessons(az, job->lm, &o->form, &r->context, &o->weights, learnt, shots), *valid = NULL;
    if (job->valid && job->valid->count > 0) valid = az_cpt_lessons(az, job->lm, &o->form, &r->context, &measured, job->valid, 0);
    return az_tuning_on(az, job, train, valid, &r->tuning) && make_adapter(az, r);
}

static void report_share(az_ctx *az, const cpt_run *r, const char *name, const az_examples *examples)
{
    if (!examples || examples->count == 0) return;
    const az_lm_classify_options how = {.adapter = r->tuning.adapter};
    const az_lm_classification *c = az_lm_classify(az, r->tuning.job->lm, examples, r->labels, &how);
    if (c) az_report_number(r->tuning.job->report, name, c->accuracy.value, "");
}

static void report_accuracy(az_ctx *az, const cpt_run *r, const char *when)
{
    const az_tune_job *job = r->tuning.job;
    az_report_row(job->report, "classification");
    az_report_text(job->report, "when", when);
    az_report_count(job->report, "labels", r->labels->n);
    report_share(az, r, "train_accuracy", job->train);
    report_share(az, r, "valid_accuracy", job->valid);
}

static bool tune(az_ctx *az, const void *settings, az_tune_job *job)
{
    cpt_run r = {.options = settings};
    if (!begin(az, &r, job)) return false;
    report_accuracy(az, &r, "before");
    if (!trains(r.options)) return az_ok(az);
    const az_lm_parameter parameter = {.name = "prompt", .slot = &r.tuning.adapter->prompt};
    const bool decay = false;
    az_lm_fit_plan plan = az_tuning_plan(az, &r.tuning, &parameter, 1, az_method_text(az, &az_cpt, settings));
    if (!plan.identity) return false;
    plan.decay = &decay;
    plan.revise = hold_still;
    plan.after = project;
    if (!az_lm_fit_run(az, &plan, job->report)) return false;
    report_accuracy(az, &r, "after");
    return az_ok(az);
}

const az_method az_cpt = {
    .name = "cpt",
    .family = AZ_TUNE,
    .summary = "keep few examples in the prompt and move their embeddings a little",
    .paper = "Blau et al.: Context-aware prompt tuning: advancing in-context learning with adversarial methods, 2024, arXiv 2410.17222",
    .details = "For few-shot classification: prompts are texts, responses are labels. The examples, in templates, stand in front of every "
               "query as in in-context learning; their embeddings are tuned so that the labels among them, and that of a query, become "
               "likely, and each may leave its place by a small distance only. Labels do not move. batch=1 and rates of 1e-4 to 1e-2 are a "
               "start. The result is a prompt in PEFT's kind CPT that brings its templates: `adze evaluate --examples --classify` chooses "
               "labels with it, `adze run` puts a prompt into them. The section \"classification\" has the accuracies before and after.",
    .example = "adze tune tales cpt -d labels.jsonl -o prompt/ --steps 20 --batch 1 --lr 1e-3",
    .options = options_table,
    .options_size = sizeof(cpt_options),
    .tune = tune,
};
