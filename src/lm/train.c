/* train.c - training: windows of a stream of documents, cross-entropy, AdamW.
 *
 * Step s takes `accumulate` passes of `batch` windows of `length` tokens. Window w of the run is a function of (seed, w) alone, and so is
 * everything else but the parameters, which is why a run can go on from its state bit for bit. Inside a window documents are sequences of
 * their own: a document is read as it will be when it stands alone, and no attention is spent on its neighbours. */
#include "lm/train.h"

#include <math.h>
#include <string.h>
#include <zlib.h>

static const char *const optimizers[] = {[AZ_SGD] = "sgd", [AZ_ADAMW] = "adamw", [AZ_MFAC] = "m-fac", NULL};
static const char *const schedules[] = {"constant", "linear", "cosine", NULL};

const az_option az_lm_train_options[] = {
    {"steps", AZ_INT, offsetof(az_lm_train_settings, steps), "1000", 1, 1e7, NULL, "optimizer steps"},
    {"batch", AZ_INT, offsetof(az_lm_train_settings, batch), "16", 1, 1 << 20, NULL, "windows in a pass"},
    {"accumulate", AZ_INT, offsetof(az_lm_train_settings, accumulate), "1", 1, 1 << 20, NULL, "passes in a step"},
    {"length", AZ_INT, offsetof(az_lm_train_settings, length), "256", 1, 1 << 26, NULL, "tokens in a window"},
    {"lr", AZ_REAL, offsetof(az_lm_train_settings, lr), "1e-3", 0, 100, NULL, "learning rate after the warm-up"},
    {"lr_floor", AZ_REAL, offsetof(az_lm_train_settings, lr_floor), "0.1", 0, 1, NULL, "learning rate at the end, as a share of lr"},
    {"warmup", AZ_REAL, offsetof(az_lm_train_settings, warmup), "0.02", 0, 1, NULL, "share of the steps in which lr rises"},
    {"weight_decay", AZ_REAL, offsetof(az_lm_train_settings, weight_decay), "0.1", 0, 100, NULL, "decoupled decay of the matrices"},
    {"beta1", AZ_REAL, offsetof(az_lm_train_settings, beta1), "0.9", 0, 0.999999, NULL, "AdamW: memory of the gradient"},
    {"beta2", AZ_REAL, offsetof(az_lm_train_settings, beta2), "0.95", 0, 0.999999, NULL, "AdamW: memory of its square"},
    {"optimizer", AZ_CHOICE, offsetof(az_lm_train_settings, optimizer), "adamw", 0, 0, optimizers,
     "m-fac steps along the inverse Fisher matrix of the last gradients; with sgd and m-fac, decay is part of the gradient"},
    {"momentum", AZ_REAL, offsetof(az_lm_train_settings, momentum), "0", 0, 0.999999, NULL, "sgd, m-fac: memory of the step"},
    {"grads", AZ_INT, offsetof(az_lm_train_settings, grads), "1024", 1, 1e6, NULL,
     "m-fac: gradients in the window, each of all parameters"},
    {"damp", AZ_REAL, offsetof(az_lm_train_settings, damp), "1e-5", 0, 1e6, NULL,
     "m-fac: added to the diagonal of the Fisher matrix, above 0"},
    {"plain_steps", AZ_INT, offsetof(az_lm_train_settings, plain_steps), "0", 0, 1e7, NULL,
     "m-fac: first steps along the gradient itself, while the window fills"},
    {"clip", AZ_REAL, offsetof(az_lm_train_settings, clip), "1", 0, 1e9, NULL, "largest norm of the gradient; 0 = any"},
    {"schedule", AZ_CHOICE, offsetof(az_lm_train_settings, schedule), "cosine", 0, 0, schedules, "how lr falls after the warm-up"},
    {"checkpoint", AZ_BOOL, offsetof(az_lm_train_settings, checkpoint), "false", 0, 0, NULL,
     "compute activations twice instead of keeping them: less memory, a third more time"},
    {"save_every", AZ_INT, offsetof(az_lm_train_settings, save_every), "100", 1, 1e9, NULL, "steps between two writings of the state"},
    {"seed", AZ_INT, offsetof(az_lm_train_settings, seed), "0", 0, 0, NULL, "key of the choice of windows"},
    {"resume", AZ_TEXT, offsetof(az_lm_train_settings, resume), "", 0, 0, NULL,
     "folder of the run's state: written, and taken up when it is there"},
    {"only", AZ_TEXT, offsetof(az_lm_train_settings, only), "", 0, 0, NULL,
     "train the parameters whose names match one of these globs, such as '*.weight.u,*.weight.v'; without it all"},
    {.name = NULL},
};

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

static bool draw_batch(az_ctx *az, const az_training *t, int64_t first_window, az_lm_lesson *out)
{
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

/* ---- loss and gradient ---- */

/* Loss of a lesson times `scale`, and its gradient with respect to every parameter, in the current scope. */
static bool differentiate(az_ctx *az, const az_training *t, const az_lm_lesson *lesson, double scale, az_tensor **gradient, double *loss)
{
    const az_lm_objective objective = {.lm = t->lm, .lesson = *lesson, .scale = scale, .run = {.checkpoint = t->settings.checkpoint}};
    return az_lm_gradient(az, &objective, t->parameter, t->n, gradient, loss);
}

static void add_to(az_tensor *sum, const az_tensor *x)
{
    const int64_t n = az_count(sum);
    float *f = az_f32_mut(sum);
    double *d = az_f64_mut(sum);
    const float *xf = az_f32(x);
    const double *xd = az_f64(x);
#pragma omp parallel for simd schedule(static) if (n > 1 << 15)
    for (int64_t i = 0; i < n; i++) {
        if (f)
            f[i] += xf[i];
        else
            d[i] += xd[i];
    }
}

/* Gradient of the mean loss over all tokens of the step; one pass at a time. */
static bool step_gradient(az_ctx *az, az_training *t, az_tensor **gradient, double *loss)
{
    const az_lm_train_settings *s = &t->settings;
    const double scale = 1.0 / (double)(s->accumulate * s->batch * s->length);
    az_tensor **fresh = az_alloc_array(az, (size_t)t->n, sizeof *fresh);
    *loss = 0;
    for (int64_t pass = 0; fresh && pass < s->accumulate; pass++) {
        double part = 0;
        az_lm_lesson lesson;
        az_scope_push(az);
        if (!draw_batch(az, t, (t->step * s->accumulate + pass) * s->batch, &lesson) ||
            !differentiate(az, t, &lesson, scale, fresh, &part)) {
            az_scope_pop(az);
            return false;
        }
        *loss += part;
        if (pass > 0) {
            for (int i = 0; i < t->n; i++) add_to(gradient[i], fresh[i]);
            az_scope_pop(az);
            continue;
        }
        /* a gradient that is added to must be its own: two parameters may have received the same one */
        for (int i = 0; i < t->n; i++) gradient[i] = s->accumulate > 1 ? az_copy(az, fresh[i]) : fresh[i];
        az_keep_all(az, gradient, t->n);
    }
    return az_ok(az);
}

/* ---- the run ---- */

static bool train_step(az_ctx *az, az_training *t, const az_schedule *schedule)
{
    double loss;
    az_tensor **gradient = az_alloc_array(az, (size_t)t->n, sizeof *gradient);
    if (!gradient || !step_gradient(az, t, gradient, &loss)) return false;
    const double norm = az_clip_gradients(az, gradient, t->n, t->settings.clip);
    if (!isfinite(loss) || !isfinite(norm))
        return az_fail(az, AZ_NUMERIC, "the %s is not finite in step %lld; a lower learning rate (lr) may help",
                       isfinite(loss) ? "gradient" : "loss", (long long)t->step + 1);
    if (!az_optimizer_step(az, t->optimizer, gradient, az_learning_rate(schedule, t->step))) return false;
    t->loss[t->step++] = loss;
    return true;
}

static bool run_steps(az_ctx *az, az_training *t)
{
    const az_lm_train_settings *s = &t->settings;
    const az_schedule schedule = {.kind = (az_schedule_kind)s->schedule,
                                  .peak = s->lr,
                                  .floor = s->lr * s->lr_floor,
                                  .warmup = (int64_t)ceil(s->warmup * (double)s->steps),
                                  .total = s->steps};
    const bool saves = s->resume && *s->resume;
    const int64_t step_tokens = s->accumulate * s->batch * s->length, first = t->step;
    const double began = az_seconds();
    while (t->step < s->steps) {
        az_scope_push(az);
        const bool good = train_step(az, t, &schedule);
        az_scope_pop(az);
        if (!good) return false;
        const double speed = (double)((t->step - first) * step_tokens) / fmax(az_seconds() - began, 1e-9);
        char note[96];
        snprintf(note, sizeof note, "loss %.4f, %.0f tok/s", t->loss[t->step - 1], speed);
        const bool go_on = az_progress(az, "training", t->step, s->steps, note);
        const bool last = t->step == s->steps || !go_on;
        if (saves && (last || t->step % s->save_every == 0) && !az_training_save(az, t)) return false;
        if (!go_on && t->step < s->steps)
            return az_fail(az, AZ_INTERRUPTED, "interrupted after step %lld of %lld%s", (long long)t->step, (long long)s->steps,
                           saves ? "; the same command goes on from there" : "");
    }
    return true;
}

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

static bool training_begin(az_ctx *az, az_training *t, const az_documents *documents)
{
    const az_lm_train_settings *s = &t->settings;
    const bool f64 = az_weight_is_dense(t->lm->embedding) && t->lm->embedding->part[0]->dtype == AZ_F64;
    t->stream = az_lm_stream_of(az, t->lm, documents);
    if (!t->stream || !fit_length(az, t)) return false;
    t->n = az_lm_choose_parameters(az, t->lm, f64 ? AZ_F64 : AZ_F32, s->only, &t->parameter);
    t->tensor = az_alloc_array(az, (size_t)t->n, sizeof *t->tensor);
    t->loss = az_alloc_array(az, (size_t)s->steps, sizeof *t->loss);
    t->identity = identity_of(az, t);
    if (!t->n || !t->tensor || !t->loss || !t->identity) return false;
    for (int i = 0; i < t->n; i++) t->tensor[i] = *t->parameter[i].slot;
    const az_optimizer_options optimizer = {
        .kind = (az_optimizer_kind)s->optimizer,
        .beta1 = s->optimizer == AZ_ADAMW ? s->beta1 : s->momentum,
        .beta2 = s->beta2,
        .eps = 1e-8,
        .weight_decay = s->weight_decay,
        .window = s->grads,
        .damp = s->damp,
        .plain_steps = s->plain_steps,
    };
    t->optimizer = az_optimizer_new(az, &optimizer, t->tensor, t->n, NULL);
    return t->optimizer && (!s->resume || !*s->resume || az_training_load(az, t));
}

static void report_training(az_ctx *az, const az_training *t, double seconds, int64_t first, az_report *report)
{
    const az_lm_train_settings *s = &t->settings;
    double *x = az_alloc_array(az, (size_t)t->step, sizeof *x), recent = 0;
    if (!x) return;
    int64_t trained = 0;
    for (int i = 0; i < t->n; i++) trained += az_count(t->tensor[i]);
    const int64_t tail = (t->step + 9) / 10, step_tokens = s->accumulate * s->batch * s->length;
    for (int64_t i = 0; i < t->step; i++) x[i] = (double)i + 1;
    for (int64_t i = t->step - tail; i < t->step; i++) recent += t->loss[i] / (double)tail;
    az_report_row(report, "training");
    az_report_count(report, "steps", t->step);
    az_report_count(report, "tokens", t->step * step_tokens);
    az_report_count(report, "parameters", az_lm_parameter_count(t->lm));
    az_report_count(report, "trained", trained);
    az_report_number(report, "loss", recent, "nat");
    az_report_number(report, "seconds", seconds, "s");
    az_report_number(report, "tokens_per_second", (double)((t->step - first) * step_tokens) / fmax(seconds, 1e-9), "1/s");
    az_report_curve(report, "training loss", "step", "nats per token", t->step, x, t->loss);
}

bool az_lm_train(az_ctx *az, az_lm *lm, const az_documents *documents, const az_lm_train_settings *settings, az_report *report)
{
    if (!lm || !documents || !az_ok(az)) return false;
    az_training t = {.lm = lm, .settings = *settings};
    az_scope_push(az);
    bool good = training_begin(az, &t, documents);
    const double began = az_seconds();
    const int64_t first = t.step;
    good = good && run_steps(az, &t);
    if (t.step > 0) report_training(az, &t, az_seconds() - began, first, report);
    az_scope_pop(az);
    return good;
}
