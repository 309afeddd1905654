/* iapt.c - instruction-aware prompt tuning (IAPT): in front of each block, a small network makes a few soft tokens of the instruction.
 *
 * Generator of a block: h [n, width] the stream at the instruction's tokens; z = h W_down; A = softmax over the tokens of z W_sa;
 *     p = g(A^T z) W_up takes the places of the soft tokens, which every token sees. What the block makes of them is dropped.
 * Activation: g(x) = sum_j a_j x^j / (1 + |sum_i b_i x^i|), 12 numbers a block, at first close to GELU on [-3, 3].
 * Training: Omega = {W_down, W_sa, W_up} on one half of the examples; a and b by a step of AdamW of their own on the other half behind each
 *     step (bilevel), together with Omega (joint), or not at all. The model is frozen.
 *
 * Zhu et al.: IAPT: instruction-aware prompt tuning for large language models, ACL 2024 (arXiv 2405.18203). */
#include "tune/tune_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum iapt_learning { IAPT_BILEVEL, IAPT_JOINT, IAPT_FIXED } iapt_learning;
static const char *const learnings[] = {[IAPT_BILEVEL] = "bilevel", [IAPT_JOINT] = "joint", [IAPT_FIXED] = "fixed", NULL};
static const char *const activations[] = {"rational", "relu", "gelu", "silu", "tanh", "identity", "random", NULL};
enum { RANDOM = AZ_GENERATOR_ACTIVATIONS }; /* one of the fixed ones for each block */
static const char *const positions[] = {"text", "none", NULL};

typedef struct iapt_options {
    int64_t prompts, bottleneck, share;
    int pooler, activation, learning, position;
    double lr_act;
    bool normalize;
    const char *layers, *activations;
} iapt_options;

static const az_option options_table[] = {
    {"prompts", AZ_FIELD(AZ_INT, iapt_options, prompts), "4", 1, 1024, NULL, "soft tokens in front of each block"},
    {"bottleneck", AZ_FIELD(AZ_INT, iapt_options, bottleneck), "256", 1, 1 << 16, NULL, "width m of the networks"},
    {"pooler", AZ_FIELD(AZ_CHOICE, iapt_options, pooler), "attention", 0, 0, az_generator_poolers,
     "how an instruction becomes soft tokens: each by attention of its own, the last tokens, means or maxima of stretches"},
    {"activation", AZ_FIELD(AZ_CHOICE, iapt_options, activation), "rational", 0, 0, activations,
     "of the networks; random: one of the fixed ones for each block"},
    {"learning", AZ_FIELD(AZ_CHOICE, iapt_options, learning), "bilevel", 0, 0, learnings,
     "activation=rational: its numbers learn from the half of the examples that the rest does not see, with the rest, or not"},
    {"lr_act", AZ_FIELD(AZ_REAL, iapt_options, lr_act), "1e-6", 0, 100, NULL, "learning=bilevel: learning rate of the activations"},
    {"activations", AZ_FIELD(AZ_TEXT, iapt_options, activations), "", 0, 0, NULL,
     "folder of an adapter of this kind whose activations are taken over; with learning=fixed only the rest is trained, again from its "
     "start"},
    {"layers", AZ_FIELD(AZ_TEXT, iapt_options, layers), "", 0, 0, NULL,
     "blocks that have a network (\"0-3,6\"); others go on with the soft tokens as the block before leaves them; without it all"},
    {"share", AZ_FIELD(AZ_INT, iapt_options, share), "1", 0, 1 << 20, NULL,
     "so many neighbours share a network, with an activation each; 0 = all share one"},
    {"position", AZ_FIELD(AZ_CHOICE, iapt_options, position), "text", 0, 0, positions,
     "soft tokens stand at the first positions, or none is rotated; the text stands behind them either way"},
    {"normalize", AZ_FIELD(AZ_BOOL, iapt_options, normalize), "false", 0, 0, NULL,
     "what is pooled is divided by its root mean square in front of the activation"},
    {.name = NULL},
};

/* Least squares for GELU on [-3, 3]; the largest error there is 1.2e-4. */
static const double gelu_above[AZ_GENERATOR_NUMERATOR] = {2.804e-5, 0.5, 0.39850205, 0.16230147, 0.06405232, 0.01831687, 0.00210049};
static const double gelu_below[AZ_GENERATOR_DENOMINATOR] = {0, -0.32460293, 0, -0.03663375, 0};

typedef struct iapt_run {
    az_tuning tuning; /* first: what the plan's usual callbacks see */
    const iapt_options *options;
    az_lm_examples *held;       /* what the activations learn from */
    az_lm_parameter *parameter; /* [n] all tensors of the adapter; the last n_act are activations' */
    int n, n_act;
    az_optimizer *optimizer; /* of the activations */
} iapt_run;

extern const az_method az_iapt;

/* ---- the networks ---- */

/* Marks the blocks of a list "0-3,6"; all for "". */
static bool read_layers(az_ctx *az, const char *text, int blocks, bool *wanted)
{
    for (int b = 0; b < blocks; b++) wanted[b] = *text == 0;
    for (const char *at = text; *at;) {
        char *end;
        const long first = strtol(at, &end, 10);
        long last = first;
        bool good = end != at && first >= 0;
        if (good && *end == '-') at = end + 1, last = strtol(at, &end, 10), good = end != at;
        if (!good || last < first || last >= blocks || (*end && *end != ','))
            return az_fail(az, AZ_BAD_INPUT, "layers: '%s' is no list of blocks from 0 to %d, such as 0-3,6", text, blocks - 1);
        for (long b = first; b <= last; b++) wanted[b] = true;
        at = *end ? end + 1 : end;
    }
    return true;
}

static bool describe(az_ctx *az, const iapt_run *r, az_generators *how)
{
    const iapt_options *o = r->options;
    const int blocks = (int)r->tuning.job->lm->config.blocks;
    bool *wanted = az_alloc_array(az, (size_t)blocks, sizeof *wanted);
    *how = (az_generators){.m = o->bottleneck,
                           .pooler = (az_generator_pooler)o->pooler,
                           .normalize = o->normalize,
                           .unrotated = o->position == 1,
                           .blocks = blocks,
                           .block = az_alloc_array(az, (size_t)blocks, sizeof *how->block)};
    if (!wanted || !how->block || !read_layers(az, o->layers, blocks, wanted)) return false;
    int64_t before = 0;
    for (int b = 0; b < blocks; b++) {
        az_rng rng = az_rng_at((uint64_t)r->tuning.settings.seed, az_stream("iapt.activation", (uint64_t)b));
        how->block[b] = (az_generator_block){.network = -1, .activation = (az_generator_activation)o->activation};
        if (o->activation == RANDOM) how->block[b].activation = (az_generator_activation)(1 + az_below(&rng, RANDOM - 1));
        if (wanted[b]) how->block[b].network = o->share > 0 ? (int)(before++ / o->share) : 0;
    }
    return true;
}

static void fill_normal(az_ctx *az, az_tensor *x, double deviation, uint64_t seed, uint64_t stream)
{
    if (x) az_copy_into(az, x, az_randn(az, x->dtype, x->rank, x->shape, deviation, seed, stream));
}

static bool start(az_ctx *az, az_generators *g, uint64_t seed)
{
    for (int k = 0; k < g->networks; k++) {
        const az_generator_network *network = &g->network[k];
        fill_normal(az, network->down, 1 / sqrt((double)network->down->shape[0]), seed, az_stream("iapt.down", (uint64_t)k));
        fill_normal(az, network->attend, 1 / sqrt((double)g->m), seed, az_stream("iapt.attend", (uint64_t)k));
        fill_normal(az, network->up, 1 / sqrt((double)g->m), seed, az_stream("iapt.up", (uint64_t)k));
    }
    for (int b = 0; b < g->blocks; b++) {
        if (!g->block[b].numerator) continue;
        az_copy_into(az, g->block[b].numerator, az_from(az, AZ_F64, 1, g->block[b].numerator->shape, gelu_above));
        az_copy_into(az, g->block[b].denominator, az_from(az, AZ_F64, 1, g->block[b].denominator->shape, gelu_below));
    }
    return az_ok(az);
}

static bool take_activations(az_ctx *az, const az_lm *lm, const char *folder, az_generators *g)
{
    az_adapter *other = az_adapter_read(az, lm, folder);
    if (!other) return false;
    if (!other->generators) az_fail(az, AZ_BAD_INPUT, "activations: the adapter '%s' has no networks", folder);
    for (int b = 0; b < g->blocks && az_ok(az); b++) {
        if (!g->block[b].numerator) continue;
        if (!other->generators->block[b].numerator)
            az_fail(az, AZ_BAD_INPUT, "activations: the adapter '%s' has no rational activation for block %d", folder, b);
        else
            az_copy_into(az, g->block[b].numerator, other->generators->block[b].numerator),
                az_copy_into(az, g->block[b].denominator, other->generators->block[b].denominator);
    }
    az_adapter_free(az, other);
    return az_ok(az);
}

static bool make_adapter(az_ctx *az, iapt_run *r)
{
    const iapt_options *o = r->options;
    az_tune_job *job = r->tuning.job;
    az_adapter *adapter = az_adapter_empty(az, "iapt", "IAPT");
    az_generators how;
    if (!adapter || !describe(az, r, &how) || !az_adapter_add_generators(az, job->lm, adapter, &how, o->prompts)) return false;
    r->tuning.adapter = job->adapter = adapter;
    return start(az, adapter->generators, (uint64_t)r->tuning.settings.seed) &&
           (*o->activations == 0 || take_activations(az, job->lm, o->activations, adapter->generators));
}

static bool is_activation(const az_lm_parameter *p)
{
    return strstr(p->name, "numerator") || strstr(p->name, "denominator");
}

/* Tensors of networks, then those of activations. */
static bool list_parameters(az_ctx *az, iapt_run *r)
{
    az_lm_parameter *all;
    const int n = az_adapter_parameters(az, r->tuning.adapter, &all);
    r->parameter = az_alloc_array(az, (size_t)n + 1, sizeof *r->parameter);
    if (n == 0 || !r->parameter) return false;
    for (int acts = 0; acts < 2; acts++)
        for (int i = 0; i < n; i++)
            if (is_activation(&all[i]) == acts) r->parameter[r->n++] = all[i], r->n_act += acts;
    return true;
}

/* ---- the activations' own steps ---- */

/* The networks' half says nothing about the activations. */
static bool keep_activations(az_ctx *az, az_lm_fit *fit, az_tensor **gradient)
{
    const iapt_run *r = fit->plan->user;
    for (int i = r->n - r->n_act; i < r->n; i++) gradient[i] = az_zeros(az, gradient[i]->dtype, 1, gradient[i]->shape);
    return az_ok(az);
}

static bool step_activations(az_ctx *az, az_lm_fit *fit)
{
    const iapt_run *r = fit->plan->user;
    const az_lm_train_settings *s = fit->plan->settings;
    const int64_t step = fit->step - 1; /* the one that was taken */
    const az_schedule schedule = {.kind = (az_schedule_kind)s->schedule,
                                  .peak = r->options->lr_act,
                                  .floor = r->options->lr_act * s->lr_floor,
                                  .warmup = (int64_t)ceil(s->warmup * (double)s->steps),
                                  .total = s->steps};
    az_lm_objective objective = {
        .lm = fit->plan->lm, .lesson = az_lm_lesson_drawn(az, r->held, s->batch, step, (uint64_t)s->seed + 1), .run = fit->plan->run};
    az_tensor **gradient = az_alloc_array(az, (size_t)r->n_act, sizeof *gradient);
    const az_lm_batch *batch = &objective.lesson.batch;
    if (!gradient || !objective.lesson.target) return false;
    objective.run.checkpoint = s->checkpoint;
    for (int64_t i = 0; i < batch->start[batch->sequences]; i++) objective.scale += objective.lesson.target[i] >= 0;
    objective.scale = 1 / objective.scale; /* every example counts at least one token */
    if (!az_lm_gradient(az, &objective, r->parameter + r->n - r->n_act, r->n_act, gradient, NULL)) return false;
    az_clip_gradients(az, gradient, r->n_act, s->clip);
    az_optimizer_set_steps(r->optimizer, step);
    return az_optimizer_step(az, r->optimizer, gradient, az_learning_rate(&schedule, step));
}

/* Moments of the activations. */
static int state_of(az_ctx *az, az_lm_fit *fit, az_tensor ***tensor, const char ***name)
{
    const iapt_run *r = fit->plan->user;
    const int n = az_optimizer_state(az, r->optimizer, tensor, name);
    for (int i = 0; i < n; i++) (*name)[i] = az_format_text(az, "act.%s", (*name)[i]);
    return az_ok(az) ? n : 0;
}

/* Examples first, first + 2, ... */
static az_lm_examples *every_second(az_ctx *az, const az_lm_examples *all, int64_t first)
{
    az_lm_examples *half = az_alloc(az, sizeof *half);
    az_lm_example *item = az_alloc_array(az, (size_t)all->count, sizeof *item);
    if (!half || !item) return NULL;
    *half = (az_lm_examples){.item = item};
    for (int64_t i = first; i < all->count; i += 2) {
        item[half->count++] = all->item[i];
        half->tokens += all->item[i].n;
        half->counted += all->item[i].counted;
    }
    return half;
}

static bool begin_bilevel(az_ctx *az, iapt_run *r)
{
    const az_lm_examples *all = r->tuning.train;
    if (all->count < 2) return az_fail(az, AZ_BAD_INPUT, "one example cannot be halved; learning=joint and learning=fixed need no second");
    r->tuning.train = every_second(az, all, 0);
    r->held = every_second(az, all, 1);
    az_tensor **value = az_alloc_array(az, (size_t)r->n_act, sizeof(void *));
    for (int i = 0; value && i < r->n_act; i++) value[i] = *r->parameter[r->n - r->n_act + i].slot;
    const az_optimizer_options how = {.kind = AZ_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    r->optimizer = value ? az_optimizer_new(az, &how, value, r->n_act, NULL) : NULL;
    return r->optimizer && az_ok(az);
}

/* ---- the run ---- */

/* Whether every example has an instruction in front of its first answer, and no second answer that would be learnt with that of the first.
 */
static bool check_examples(az_ctx *az, const az_lm *lm, const az_lm_examples *examples)
{
    const int32_t bos = az_token_bos(lm->tokenizer);
    for (int64_t i = 0; examples && i < examples->count; i++) {
        const az_lm_example *e = &examples->item[i];
        int64_t first = 0, answers = 0;
        while (e->target[first] < 0) first++;
        if (e->token[first] < 0 || (e->token[first] == bos && (first == 0 || e->token[first - 1] < 0)))
            return az_fail(az, AZ_BAD_INPUT, "example %lld has no instruction", (long long)e->source + 1);
        for (int64_t t = first; t < e->n; t++) answers += e->target[t] >= 0 && (t == first || e->target[t - 1] < 0);
        if (answers > 1)
            return az_fail(az, AZ_BAD_INPUT, "example %lld has %lld answers, and one instruction is read; --last-only learns the last",
                           (long long)e->source + 1, (long long)answers);
    }
    return true;
}

static bool tune(az_ctx *az, const void *settings, az_tune_job *job)
{
    iapt_run r = {.options = settings};
    const iapt_options *o = settings;
    if (job->settings->whole)
        return az_fail(az, AZ_BAD_INPUT, "a prompt is read and its response learnt; with --whole the prompt would be learnt too");
    if (!az_tuning_begin(az, job, o->prompts, &r.tuning) || !check_examples(az, job->lm, r.tuning.train) ||
        !check_examples(az, job->lm, r.tuning.valid))
        return false;
    if (!make_adapter(az, &r) || !list_parameters(az, &r)) return false;
    const bool bilevel = o->learning == IAPT_BILEVEL && r.n_act > 0;
    if (bilevel && !begin_bilevel(az, &r)) return false;
    const int n = o->learning == IAPT_FIXED ? r.n - r.n_act : r.n;
    az_lm_fit_plan plan = az_tuning_plan(az, &r.tuning, r.parameter, n, az_method_text(az, &az_iapt, settings));
    if (bilevel) plan.revise = keep_activations, plan.after = step_activations, plan.state = state_of;
    if (!plan.identity || !az_lm_fit_run(az, &plan, job->report)) return false;
    az_generators_report(az, r.tuning.adapter->generators, job->report);
    return az_ok(az);
}

const az_method az_iapt = {
    .name = "iapt",
    .family = AZ_TUNE,
    .summary = "a few soft tokens in front of each block, made of the instruction by a small network",
    .paper = "Zhu et al.: IAPT: instruction-aware prompt tuning for large language models, ACL 2024, arXiv 2405.18203",
    .details = "The prompt of an example is the instruction: in front of each block a network of 2 width m + m prompts + 12 numbers pools "
               "it into soft tokens, which all tokens see. The response takes no part. The model stays as it is, in any format. The soft "
               "tokens are made once, when a prompt is read; each further token costs a few more entries of the cache and nothing else. "
               "The paper trains with --lr 1e-4 --warmup 0.06. Section \"activations\" and the curves of --plot have what the blocks have "
               "learnt (also `adze adapter info MODEL FOLDER`). The folder has adze's own kind IAPT; `adze evaluate` takes examples with "
               "it (--examples, and --classify for labels), not documents, for those have no instruction.",
    .example = "adze tune tales iapt:bottleneck=32 -d train.jsonl -o adapter/ --steps 20 --lr 1e-3\n"
               "adze run tales --adapter adapter/ -p 'Is Green a color?' -n 4 --temperature 0",
    .options = options_table,
    .options_size = sizeof(iapt_options),
    .needs_data = true,
    .tune = tune,
};
