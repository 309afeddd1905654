/* train.c - training on text: windows of a stream of documents for the loop of fit.c.
 *
 * Step s takes `accumulate` passes of `batch` windows of `length` tokens. Window w of the run is a function of (seed, w) alone. Inside a
 * window documents are sequences of their own: a document is read as it will be when it stands alone, and no attention is spent on its
 * neighbours. */
#include "lm/lm_internal.h"

#include <string.h>
#include <zlib.h>

static const char *const optimizers[] = {[AZ_SGD] = "sgd", [AZ_ADAMW] = "adamw", [AZ_GALORE] = "galore", [AZ_MFAC] = "m-fac", NULL};
static const char *const schedules[] = {"constant", "linear", "cosine", NULL};

const az_option az_lm_train_options[] = {
    {"steps", AZ_FIELD(AZ_INT, az_lm_train_settings, steps), "1000", 1, 1e7, NULL, "optimizer steps"},
    {"batch", AZ_FIELD(AZ_INT, az_lm_train_settings, batch), "16", 1, 1 << 20, NULL, "windows in a pass"},
    {"accumulate", AZ_FIELD(AZ_INT, az_lm_train_settings, accumulate), "1", 1, 1 << 20, NULL, "passes in a step"},
    {"length", AZ_FIELD(AZ_INT, az_lm_train_settings, length), "256", 1, 1 << 26, NULL, "tokens in a window"},
    {"lr", AZ_FIELD(AZ_REAL, az_lm_train_settings, lr), "1e-3", 0, 100, NULL, "learning rate after the warm-up"},
    {"lr_floor", AZ_FIELD(AZ_REAL, az_lm_train_settings, lr_floor), "0.1", 0, 1, NULL, "learning rate at the end, as a share of lr"},
    {"warmup", AZ_FIELD(AZ_REAL, az_lm_train_settings, warmup), "0.02", 0, 1, NULL, "share of the steps in which lr rises"},
    {"weight_decay", AZ_FIELD(AZ_REAL, az_lm_train_settings, weight_decay), "0.1", 0, 100, NULL, "decoupled decay of the matrices"},
    {"beta1", AZ_FIELD(AZ_REAL, az_lm_train_settings, beta1), "0.9", 0, 0.999999, NULL, "AdamW: memory of the gradient"},
    {"beta2", AZ_FIELD(AZ_REAL, az_lm_train_settings, beta2), "0.95", 0, 0.999999, NULL, "AdamW: memory of its square"},
    {"optimizer", AZ_FIELD(AZ_CHOICE, az_lm_train_settings, optimizer), "adamw", 0, 0, optimizers,
     "m-fac steps along the inverse Fisher matrix of the last gradients, galore has its moments in subspaces of them; with sgd and m-fac, "
     "decay is part of the gradient"},
    {"momentum", AZ_FIELD(AZ_REAL, az_lm_train_settings, momentum), "0", 0, 0.999999, NULL, "sgd, m-fac: memory of the step"},
    {"grads", AZ_FIELD(AZ_INT, az_lm_train_settings, grads), "1024", 1, 1e6, NULL,
     "m-fac: gradients in the window, each of all parameters"},
    {"damp", AZ_FIELD(AZ_REAL, az_lm_train_settings, damp), "1e-5", 0, 1e6, NULL,
     "m-fac: added to the diagonal of the Fisher matrix, above 0"},
    {"plain_steps", AZ_FIELD(AZ_INT, az_lm_train_settings, plain_steps), "0", 0, 1e7, NULL,
     "m-fac: first steps along the gradient itself, while the window fills"},
    {"galore_rank", AZ_FIELD(AZ_INT, az_lm_train_settings, galore_rank), "128", 1, 1e6, NULL,
     "galore: dimensions of a subspace; matrices whose shorter side is no longer have none"},
    {"galore_refresh", AZ_FIELD(AZ_INT, az_lm_train_settings, galore_refresh), "200", 1, 1e9, NULL, "galore: steps that a subspace lasts"},
    {"galore_scale", AZ_FIELD(AZ_REAL, az_lm_train_settings, galore_scale), "1", 0, 1e6, NULL, "galore: of steps in a subspace"},
    {"clip", AZ_FIELD(AZ_REAL, az_lm_train_settings, clip), "1", 0, 1e9, NULL, "largest norm of the gradient; 0 = any"},
    {"schedule", AZ_FIELD(AZ_CHOICE, az_lm_train_settings, schedule), "cosine", 0, 0, schedules, "how lr falls after the warm-up"},
    {"checkpoint", AZ_FIELD(AZ_BOOL, az_lm_train_settings, checkpoint), "false", 0, 0, NULL,
     "compute activations twice instead of keeping them: less memory, a third more time"},
    {"save_every", AZ_FIELD(AZ_INT, az_lm_train_settings, save_every), "100", 1, 1e9, NULL, "steps between two writings of the state"},
    {"seed", AZ_FIELD(AZ_INT, az_lm_train_settings, seed), "0", 0, 0, NULL, "key of the choice of windows"},
    {"resume", AZ_FIELD(AZ_TEXT, az_lm_train_settings, resume), "", 0, 0, NULL,
     "folder of the run's state: written, and taken up when it is there"},
    {"only", AZ_FIELD(AZ_TEXT, az_lm_train_settings, only), "", 0, 0, NULL,
     "train the parameters whose names match one of these globs, such as '*.weight.u,*.weight.v'; without it all"},
    {.name = NULL},
};

typedef struct az_training {
    az_lm *lm;
    az_lm_train_settings settings;
    const az_lm_stream *stream;
} az_training;

/* ---- windows ---- */

/* The first document that starts behind position `at`. */
static int64_t next_document(const az_lm_stream *stream, int64_t at)
{
    int64_t low = 0, high = stream->documents;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (stream->start[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static int add_window(const az_lm_stream *stream, int64_t first, int64_t length, int64_t base, int64_t *start)
{
    int n = 0;
    start[n++] = base;
    for (int64_t d = next_document(stream, first); d < stream->documents && stream->start[d] < first + length; d++)
        if (stream->start[d] > stream->start[d - 1]) start[n++] = base + stream->start[d] - first;
    return n;
}

static bool draw_batch(az_ctx *az, const az_lm_fit *fit, int64_t pass, az_lm_lesson *out)
{
    const az_training *t = fit->plan->user;
    const int64_t first_window = pass * t->settings.batch;
    const int64_t length = t->settings.length, tokens = t->settings.batch * length;
    int32_t *token = az_alloc_array(az, (size_t)tokens, sizeof *token);
    int64_t *start = az_alloc_array(az, (size_t)tokens + 1, sizeof *start);
    int32_t *target = az_alloc_array(az, (size_t)tokens, sizeof *target);
    if (!token || !start || !target) return false;
    int sequences = 0;
    for (int64_t b = 0; b < t->settings.batch; b++) {
        az_rng rng = az_rng_at((uint64_t)t->settings.seed, az_stream("training window", (uint64_t)(first_window + b)));
        const int64_t first = (int64_t)az_below(&rng, (uint64_t)(t->stream->n - length));
        memcpy(token + b * length, t->stream->token + first, (size_t)length * sizeof *token);
        memcpy(target + b * length, t->stream->token + first + 1, (size_t)length * sizeof *token);
        sequences += add_window(t->stream, first, length, b * length, start + sequences);
    }
    start[sequences] = tokens;
    *out = (az_lm_lesson){.batch = {.sequences = sequences, .token = token, .start = start}, .target = target};
    return true;
}

/* ---- the run ---- */

/* A digest of everything that the run's numbers depend on. */
static const char *identity_of(az_ctx *az, const az_training *t)
{
    uLong crc = crc32(0, NULL, 0);
    for (int64_t i = 0; i < t->stream->n; i++) crc = crc32(crc, (const Bytef *)&t->stream->token[i], sizeof t->stream->token[i]);
    const char *text = az_format_text(az, "text=%lld/%08lx", (long long)t->stream->n, (unsigned long)crc);
    for (const az_option *o = az_lm_train_options; o->name && text; o++) {
        const bool immaterial = strcmp(o->name, "save_every") == 0 || strcmp(o->name, "resume") == 0;
        if (!immaterial) text = az_format_text(az, "%s %s=%s", text, o->name, az_options_get(az, o, &t->settings));
    }
    return text;
}

/* Whatever length the model and the text allow. */
static bool fit_length(az_ctx *az, az_training *t)
{
    const az_lm_train_settings *s = &t->settings;
    int64_t *length = &t->settings.length;
    if (s->steps < 1 || s->batch < 1 || s->accumulate < 1 || s->length < 1)
        return az_fail(az, AZ_BAD_CALL, "training: steps, batch, accumulate and length must be at least 1");
    if (*length > t->lm->config.context)
        return az_fail(az, AZ_BAD_INPUT, "windows of %lld tokens do not fit into the model's context of %lld", (long long)*length,
                       (long long)t->lm->config.context);
    if (t->stream->n < 2)
        return az_fail(az, AZ_BAD_INPUT, "the text has %lld tokens; training wants two at least", (long long)t->stream->n);
    if (*length > t->stream->n - 1) {
        az_note(az, "the text has %lld tokens: windows of that length instead of %lld", (long long)t->stream->n - 1, (long long)*length);
        *length = t->stream->n - 1;
    }
    return true;
}

static bool begin(az_ctx *az, az_training *t, const az_documents *documents, az_lm_fit_plan *plan)
{
    const bool f64 = az_weight_is_dense(t->lm->embedding) && t->lm->embedding->part[0]->dtype == AZ_F64;
    t->stream = az_lm_stream_of(az, t->lm, documents);
    if (!t->stream || !fit_length(az, t)) return false;
    az_lm_parameter *parameter;
    const int n = az_lm_choose_parameters(az, t->lm, f64 ? AZ_F64 : AZ_F32, t->settings.only, &parameter);
    *plan = (az_lm_fit_plan){.lm = t->lm,
                             .parameter = parameter,
                             .n = n,
                             .settings = &t->settings,
                             .task = "training",
                             .identity = identity_of(az, t),
                             .user = t,
                             .lesson = draw_batch};
    return n > 0 && plan->identity;
}

bool az_lm_train(az_ctx *az, az_lm *lm, const az_documents *documents, const az_lm_train_settings *settings, az_report *report)
{
    if (!lm || !documents || !az_ok(az)) return false;
    az_training t = {.lm = lm, .settings = *settings};
    az_lm_fit_plan plan;
    az_scope_push(az);
    const bool good = begin(az, &t, documents, &plan) && az_lm_fit_run(az, &plan, report);
    az_scope_pop(az);
    return good;
}
