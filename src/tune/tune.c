/* tune.c - what every method of the family does around its own idea: options, examples as tokens, the plan of a run. */
#include "tune/tune_internal.h"

#include <math.h>
#include <string.h>
#include <zlib.h>

static const char *const optimizers[] = {[AZ_SGD] = "sgd", [AZ_ADAMW] = "adamw", [AZ_GALORE] = "galore", NULL};
static const char *const schedules[] = {"constant", "linear", "cosine", NULL};

#define IN_TRAINING(field) offsetof(az_tune_settings, training.field)
const az_option az_tune_options[] = {
    {"steps", AZ_INT, IN_TRAINING(steps), "0", 0, 1e7, NULL, "optimizer steps; 0 = as many as the epochs take"},
    {"epochs", AZ_FIELD(AZ_REAL, az_tune_settings, epochs), "1", 0, 1e6, NULL, "rounds through the examples, where steps is 0"},
    {"batch", AZ_INT, IN_TRAINING(batch), "8", 1, 1 << 20, NULL, "examples in a pass"},
    {"accumulate", AZ_INT, IN_TRAINING(accumulate), "1", 1, 1 << 20, NULL, "passes in a step"},
    {"length", AZ_INT, IN_TRAINING(length), "0", 0, 1 << 26, NULL, "longest example in tokens, cut at its end; 0 = the model's context"},
    {"lr", AZ_REAL, IN_TRAINING(lr), "2e-4", 0, 100, NULL, "learning rate after the warm-up"},
    {"lr_floor", AZ_REAL, IN_TRAINING(lr_floor), "0", 0, 1, NULL, "learning rate at the end, as a share of lr"},
    {"warmup", AZ_REAL, IN_TRAINING(warmup), "0.03", 0, 1, NULL, "share of the steps in which lr rises"},
    {"schedule", AZ_CHOICE, IN_TRAINING(schedule), "linear", 0, 0, schedules, "how lr falls after the warm-up"},
    {"optimizer", AZ_CHOICE, IN_TRAINING(optimizer), "adamw", 0, 0, optimizers,
     "galore has its moments in subspaces of the gradients; with sgd, decay is part of the gradient"},
    {"weight_decay", AZ_REAL, IN_TRAINING(weight_decay), "0", 0, 100, NULL, "decoupled decay of the matrices"},
    {"beta1", AZ_REAL, IN_TRAINING(beta1), "0.9", 0, 0.999999, NULL, "AdamW: memory of the gradient"},
    {"beta2", AZ_REAL, IN_TRAINING(beta2), "0.999", 0, 0.999999, NULL, "AdamW: memory of its square"},
    {"momentum", AZ_REAL, IN_TRAINING(momentum), "0", 0, 0.999999, NULL, "sgd: memory of the step"},
    {"galore_rank", AZ_INT, IN_TRAINING(galore_rank), "128", 1, 1e6, NULL,
     "galore: dimensions of a subspace; matrices whose shorter side is no longer have none"},
    {"galore_refresh", AZ_INT, IN_TRAINING(galore_refresh), "200", 1, 1e9, NULL, "galore: steps that a subspace lasts"},
    {"galore_scale", AZ_REAL, IN_TRAINING(galore_scale), "1", 0, 1e6, NULL, "galore: of steps in a subspace"},
    {"clip", AZ_REAL, IN_TRAINING(clip), "1", 0, 1e9, NULL, "largest norm of the gradient; 0 = any"},
    {"whole", AZ_FIELD(AZ_BOOL, az_tune_settings, whole), "false", 0, 0, NULL, "prompts are learnt as well, not responses alone"},
    {"last_only", AZ_FIELD(AZ_BOOL, az_tune_settings, last_only), "false", 0, 0, NULL,
     "of several answers in one conversation only the last is learnt"},
    {"template", AZ_FIELD(AZ_TEXT, az_tune_settings, chat), "", 0, 0, NULL,
     "for conversations: chatml, llama2, llama3, mistral, gemma, phi3, zephyr; without it the model's own"},
    {"validate_every", AZ_FIELD(AZ_INT, az_tune_settings, validate_every), "0", 0, 1e7, NULL,
     "steps between two measurings on the examples kept for that; 0 = twenty in the run"},
    {"patience", AZ_FIELD(AZ_INT, az_tune_settings, patience), "0", 0, 1e6, NULL,
     "stop after so many measurings without a better one, and go back to the best; 0 = never"},
    {"checkpoint", AZ_BOOL, IN_TRAINING(checkpoint), "false", 0, 0, NULL,
     "compute activations twice instead of keeping them: less memory, a third more time"},
    {"save_every", AZ_INT, IN_TRAINING(save_every), "100", 1, 1e9, NULL, "steps between two writings of the state"},
    {"resume", AZ_TEXT, IN_TRAINING(resume), "", 0, 0, NULL, "folder of the run's state: written, and taken up when it is there"},
    {.name = NULL},
};
#undef IN_TRAINING

/* ---- beginning ---- */

static int64_t steps_for(const az_tune_settings *s, int64_t examples)
{
    const double passes = s->epochs * (double)examples / (double)(s->training.batch * s->training.accumulate);
    return passes < 1 ? 1 : (int64_t)ceil(passes - 1e-9);
}

static az_lm_examples *tokens_of(az_ctx *az, const az_tune_job *job, const az_examples *examples, int64_t virtual_tokens)
{
    const az_tune_settings *s = job->settings;
    const az_lm_example_options options = {
        .length = s->training.length, .whole = s->whole, .last_only = s->last_only, .chat = s->chat, .virtual_tokens = virtual_tokens};
    az_lm_examples *out = az_lm_examples_of(az, job->lm, examples, &options);
    if (!out) az_fail_context(az, "'%s'", examples->path);
    return out;
}

static void report_examples(az_report *report, const az_tuning *t)
{
    az_report_row(report, "examples");
    az_report_count(report, "train", t->train->count);
    az_report_count(report, "valid", t->valid ? t->valid->count : 0);
    az_report_count(report, "tokens", t->train->tokens);
    az_report_count(report, "learnt_tokens", t->train->counted);
    az_report_count(report, "truncated", t->train->truncated);
    az_report_count(report, "skipped", t->train->skipped);
}

bool az_tuning_begin(az_ctx *az, az_tune_job *job, int64_t virtual_tokens, az_tuning *tuning)
{
    az_lm_examples *train = tokens_of(az, job, job->train, virtual_tokens), *valid = NULL;
    if (train && job->valid && job->valid->count > 0) valid = tokens_of(az, job, job->valid, virtual_tokens);
    return az_tuning_on(az, job, train, valid, tuning);
}

bool az_tuning_on(az_ctx *az, az_tune_job *job, az_lm_examples *train, az_lm_examples *valid, az_tuning *tuning)
{
    *tuning = (az_tuning){.job = job, .settings = job->settings->training, .train = train, .valid = valid};
    if (!az_ok(az)) return false;
    if (tuning->settings.steps == 0) tuning->settings.steps = steps_for(job->settings, tuning->train->count);
    if (tuning->train->skipped > 0)
        az_note(az, "%lld of %lld examples are skipped: no token of their response fits", (long long)tuning->train->skipped,
                (long long)job->train->count);
    report_examples(job->report, tuning);
    return true;
}

/* ---- the plan ---- */

static bool draw(az_ctx *az, const az_lm_fit *fit, int64_t pass, az_lm_lesson *lesson)
{
    const az_tuning *t = fit->plan->user;
    *lesson = az_lm_lesson_drawn(az, t->train, t->settings.batch, pass, (uint64_t)t->settings.seed);
    return lesson->target != NULL;
}

static bool validate(az_ctx *az, az_lm_fit *fit, double *loss)
{
    const az_tuning *t = fit->plan->user;
    *loss = az_lm_examples_loss(az, t->job->lm, t->valid, &fit->plan->run, NULL);
    return az_ok(az);
}

static uLong digest(uLong crc, const az_lm_examples *examples)
{
    for (int64_t i = 0; examples && i < examples->count; i++) {
        const az_lm_example *e = &examples->item[i];
        crc = crc32(crc, (const Bytef *)e->token, (uInt)((size_t)e->n * sizeof *e->token));
        crc = crc32(crc, (const Bytef *)e->target, (uInt)((size_t)e->n * sizeof *e->target));
    }
    return crc;
}

/* All that the run's numbers depend on. */
static const char *identity_of(az_ctx *az, const az_tuning *t, const char *method)
{
    const uLong crc = digest(digest(crc32(0, NULL, 0), t->train), t->valid);
    const char *text = az_format_text(az, "%s examples=%lld/%08lx seed=%lld", method, (long long)t->train->count, (unsigned long)crc,
                                      (long long)t->settings.seed);
    for (const az_option *o = az_tune_options; o->name && text; o++) {
        const bool immaterial = strcmp(o->name, "save_every") == 0 || strcmp(o->name, "resume") == 0;
        if (!immaterial) text = az_format_text(az, "%s %s=%s", text, o->name, az_options_get(az, o, t->job->settings));
    }
    return text;
}

const char *az_method_text(az_ctx *az, const az_method *method, const void *settings)
{
    const char *text = method->name;
    for (const az_option *o = method->options; o && o->name && text; o++)
        text = az_format_text(az, "%s %s=%s", text, o->name, az_options_get(az, o, settings));
    return text;
}

az_lm_fit_plan az_tuning_plan(az_ctx *az, const az_tuning *t, const az_lm_parameter *parameter, int n, const char *method)
{
    const int64_t every = t->job->settings->validate_every, steps = t->settings.steps;
    az_lm_fit_plan plan = {.lm = t->job->lm,
                           .parameter = parameter,
                           .n = n,
                           .settings = &t->settings,
                           .task = "training",
                           .identity = identity_of(az, t, method),
                           .validate_every = every > 0 ? every : (steps + 19) / 20,
                           .patience = t->job->settings->patience,
                           .user = (void *)t,
                           .lesson = draw};
    if (t->valid) plan.validate = validate;
    if (t->adapter) plan.run = (az_lm_run){.adapter = (const az_adapter *const *)&t->adapter, .adapters = 1};
    return plan;
}

bool az_tune_adapter(az_ctx *az, az_tuning *tuning, const char *method)
{
    az_lm_parameter *parameter;
    const int n = az_adapter_parameters(az, tuning->adapter, &parameter);
    if (n == 0) return false;
    const az_lm_fit_plan plan = az_tuning_plan(az, tuning, parameter, n, method);
    return plan.identity && az_lm_fit_run(az, &plan, tuning->job->report);
}

az_set_aside az_interruption_aside(az_ctx *az)
{
    az_set_aside aside = {.interrupted = az_status_of(az) == AZ_INTERRUPTED};
    if (!aside.interrupted) return aside;
    snprintf(aside.text, sizeof aside.text, "%s", az_error(az));
    az_clear(az);
    return aside;
}

void az_interruption_back(az_ctx *az, const az_set_aside *aside)
{
    if (aside->interrupted) az_fail(az, AZ_INTERRUPTED, "%s", aside->text);
}
