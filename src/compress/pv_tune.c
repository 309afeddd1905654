/* pv_tune.c - PV-tuning of a whole model: quantized matrices learn the teacher's next-token distributions.
 *
 * Each step runs some windows of text through teacher and student, and differentiates the mean KL divergence with respect to the student's
 * decoded matrices. The values (P step) and the codes (V step) of every matrix move by the same gradient; then the matrix is decoded again,
 * so it is what the codes say at all times.
 *
 * Malinovskii et al.: "PV-Tuning: beyond straight-through estimation for extreme LLM compression", NeurIPS 2024 (arXiv 2405.14852). */
#include "compress/pv_tune.h"

#include "adze/grad.h"

#include <math.h>
#include <string.h>
#include <zlib.h>

static const int64_t LOGITS_AT_ONCE = (int64_t)16 << 20;
enum { MOST_WINDOWS = 4096 };

/* ---- the run ---- */

static az_tensor *zeros_like(az_ctx *az, const az_tensor *x)
{
    return az_zeros(az, AZ_F32, x->rank, x->shape);
}

static bool has_v_step(const az_pv_tuning *how)
{
    return how->mode != AZ_PV_NONE && how->mode != AZ_PV_P;
}

static bool layer_moments(az_ctx *az, az_pv_run *run, az_pv_layer *l)
{
    l->matrix = l->linear->weight->part[0];
    for (int i = 0; i < AZ_PV_VALUES; i++) {
        l->value_m[i] = zeros_like(az, l->value[i]);
        l->value_v[i] = zeros_like(az, l->value[i]);
    }
    run->tiles += az_pv_tiles(l->code);
    if (!has_v_step(&run->how)) return az_ok(az);
    l->m = zeros_like(az, l->matrix);
    l->v = zeros_like(az, l->matrix);
    l->point = az_copy(az, l->matrix);
    return az_ok(az);
}

/* What learns beside the layers. */
static bool list_rest(az_ctx *az, az_pv_run *run)
{
    az_lm_parameter *all = NULL;
    const int n = run->how.rest ? az_lm_parameters(az, run->student, &all) : 0;
    run->rest = az_alloc_array(az, (size_t)n, sizeof *run->rest);
    az_lm_parameter *parameter = az_alloc_array(az, (size_t)(run->layers + n), sizeof *parameter);
    if (!run->rest || !parameter) return false;
    for (int k = 0; k < run->layers; k++)
        parameter[k] = (az_lm_parameter){.name = run->layer[k].linear->name, .slot = &run->layer[k].linear->weight->part[0]};
    run->n = run->layers;
    for (int i = 0; i < n; i++) {
        bool taken = false;
        for (int k = 0; k < run->layers; k++) taken = taken || parameter[k].slot == all[i].slot;
        if (taken) continue;
        az_tensor *x = *all[i].slot;
        run->rest[run->rests++] = (az_pv_rest){.tensor = x, .m = zeros_like(az, x), .v = zeros_like(az, x)};
        parameter[run->n++] = all[i];
    }
    run->parameter = parameter;
    return az_ok(az);
}

/* Layers first, then what else learns. */
static bool list_parameters(az_ctx *az, az_pv_run *run)
{
    az_lm *lm = run->student;
    az_lm_linear **linear;
    const int linears = az_lm_linears(az, lm, &linear);
    run->layer = az_alloc_array(az, (size_t)linears, sizeof *run->layer);
    if (!run->layer) return false;
    for (int i = 0; i < linears; i++)
        if (az_pv_is_coded(linear[i]->weight) && !az_pv_open_layer(az, linear[i], &run->layer[run->layers++])) return false;
    if (run->layers == 0) return az_fail(az, AZ_BAD_INPUT, "no layer is stored in codebooks or on a grid: there is nothing to tune");
    if (run->how.rest && !az_lm_make_trainable(az, lm, AZ_F32)) return false;
    for (int i = 0; i < run->layers; i++)
        if (!layer_moments(az, run, &run->layer[i])) return false;
    return list_rest(az, run);
}

static const char *identity_of(az_ctx *az, const az_pv_run *run)
{
    const az_pv_tuning *h = &run->how;
    const az_lm_sequences *t = run->text;
    const uLong crc = crc32(0, (const Bytef *)t->token, (uInt)((size_t)(t->count * t->length) * sizeof *t->token));
    const char *text =
        az_format_text(az, "text=%lldx%lld/%08lx mode=%d steps=%lld batch=%lld seed=%lld", (long long)t->count, (long long)t->length,
                       (unsigned long)crc, h->mode, (long long)h->steps, (long long)h->batch, (long long)h->seed);
    return az_format_text(az, "%s lr=%g code=%g/%g tau=%g trust=%g decay=%g temperature=%g/%g second=%d rest=%d reseed=%d blocks=%lld/%g",
                          text ? text : "", h->lr, h->code_lr, h->code_beta1, h->tau, h->trust, h->decay, h->temperature, h->sr_temperature,
                          h->second, h->rest, h->reseed, (long long)h->block_epochs, h->block_lr);
}

/* ---- loss and gradient ---- */

/* Windows of a step: a function of (seed, step). */
static az_lm_batch draw_windows(az_ctx *az, const az_pv_run *run)
{
    const az_lm_sequences *t = run->text;
    const int64_t n = run->how.batch;
    int32_t *token = az_alloc_array(az, (size_t)(n * t->length), sizeof *token);
    int64_t *start = az_alloc_array(az, (size_t)n + 1, sizeof *start);
    az_rng rng = az_rng_at((uint64_t)run->how.seed, az_stream("pv windows", (uint64_t)run->step));
    for (int64_t b = 0; token && start && b < n; b++) {
        const int64_t window = (int64_t)az_below(&rng, (uint64_t)t->count);
        memcpy(token + b * t->length, t->token + window * t->length, (size_t)t->length * sizeof *token);
        start[b + 1] = (b + 1) * t->length;
    }
    return (az_lm_batch){.sequences = (int)n, .token = token, .start = start};
}

/* sum over the tokens of KL(teacher || student), times scale */
static az_tensor *divergence(az_ctx *az, const az_pv_run *run, const az_lm_batch *batch, double scale)
{
    az_tape_pause(az);
    const az_tensor *expected = az_log_softmax(az, az_lm_forward(az, run->teacher, batch, NULL)), *p = az_exp(az, expected);
    const double entropy = p ? az_to_double(az_dot(az, p, expected)) : NAN;
    az_tape_resume(az);
    const az_tensor *found = az_log_softmax(az, az_lm_forward(az, run->student, batch, NULL));
    return az_affine(az, az_dot(az, p, found), -scale, scale * entropy);
}

/* One pass: gradient[i] of the divergence for every parameter. */
static bool differentiate(az_ctx *az, az_pv_run *run, const az_lm_batch *batch, double scale, az_tensor **gradient, double *loss)
{
    az_tensor **outside = az_alloc_array(az, (size_t)run->n, sizeof *outside);
    const az_tensor **watched = az_alloc_array(az, (size_t)run->n, sizeof *watched);
    if (!outside || !watched || !batch->start) return false;
    az_tape_open(az);
    for (int i = 0; i < run->n; i++) {
        outside[i] = *run->parameter[i].slot;
        az_tensor *header = az_watch(az, outside[i]);
        if (header) *run->parameter[i].slot = header;
        watched[i] = header;
    }
    const az_tensor *kl = divergence(az, run, batch, scale);
    *loss += kl ? az_to_double(kl) : NAN;
    const bool good = kl && az_grad(az, kl, NULL, watched, run->n, gradient, AZ_GRAD_FREE);
    az_tape_close(az);
    for (int i = 0; i < run->n; i++) *run->parameter[i].slot = outside[i];
    return good;
}

/* The gradient of a step, in passes whose logits fit into memory. */
static bool step_gradient(az_ctx *az, az_pv_run *run, az_tensor **sum, double *loss)
{
    const az_lm_batch all = draw_windows(az, run);
    const int64_t length = run->text->length, fitting = LOGITS_AT_ONCE / (run->student->config.vocabulary * length);
    const int64_t per_pass = fitting < 1 ? 1 : fitting;
    const double scale = 1.0 / (double)(all.sequences * length);
    az_tensor **fresh = az_alloc_array(az, (size_t)run->n, sizeof *fresh);
    for (int i = 0; i < run->n; i++) sum[i] = zeros_like(az, *run->parameter[i].slot);
    *loss = 0;
    for (int64_t first = 0; fresh && first < all.sequences && az_ok(az); first += per_pass) {
        const int64_t count = all.sequences - first < per_pass ? all.sequences - first : per_pass;
        const az_lm_batch part = {.sequences = (int)count, .token = all.token + first * length, .start = all.start};
        az_scope_push(az);
        if (differentiate(az, run, &part, scale, fresh, loss))
            for (int i = 0; i < run->n; i++) az_add_into(az, sum[i], fresh[i], 1);
        az_scope_pop(az);
    }
    return az_ok(az);
}

/* ---- steps ---- */

/* P: values by their gradient; V: the point moves by the gradient of the matrix, and codes follow it where they may. */
static bool update_layer(az_ctx *az, const az_pv_run *run, az_pv_layer *l, const az_tensor *g, double share, double *changed)
{
    const az_pv_tuning *h = &run->how;
    const az_pv_adam values = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-6, .relative = true};
    const az_pv_adam codes = {.beta1 = h->code_beta1, .beta2 = 0.95, .eps = 1e-6, .relative = true};
    az_tensor *gradient[AZ_PV_VALUES];
    if (!az_pv_gradients(az, l->code, g, gradient)) return false;
    for (int i = 0; i < AZ_PV_VALUES; i++)
        az_pv_adam_step(&values, run->step + 1, h->lr * share, gradient[i], l->value_m[i], l->value_v[i], l->value[i], l->value[i]);
    az_copy_into(az, l->matrix, az_weight_decode(az, l->code));
    if (!has_v_step(h)) return az_ok(az);
    if (h->decay == 1) az_copy_into(az, l->point, l->matrix);
    az_pv_adam_step(&codes, run->step + 1, h->code_lr * share, g, l->m, l->v, l->point, l->point);
    const az_pv_reach reach = {
        .tau = h->tau,
        .trust = h->trust,
        .temperature = h->temperature,
        .reseed = h->reseed,
        .rounding = {.second = h->second,
                     .temperature = h->sr_temperature,
                     .seed = az_stream(l->linear->name, (uint64_t)h->seed) + (uint64_t)run->step},
    };
    *changed += (double)az_pv_step(az, l->code, l->point, l->matrix, &reach);
    for (int64_t i = 0; h->decay > 0 && h->decay < 1 && i < az_count(l->point); i++) {
        float *u = az_f32_mut(l->point) + i;
        *u += (float)h->decay * (az_f32(l->matrix)[i] - *u);
    }
    return az_ok(az);
}

static bool tune_step(az_ctx *az, az_pv_run *run)
{
    const az_pv_adam adam = {.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-6, .relative = true};
    const az_schedule cosine = {.kind = AZ_COSINE, .peak = 1, .floor = 0.1, .total = run->how.steps};
    const double share = az_learning_rate(&cosine, run->step);
    az_tensor **gradient = az_alloc_array(az, (size_t)run->n, sizeof *gradient);
    double loss, changed = 0;
    if (!gradient || !step_gradient(az, run, gradient, &loss)) return false;
    if (!isfinite(loss))
        return az_fail(az, AZ_NUMERIC, "the divergence is not finite in step %lld; lower lr and code_lr", (long long)run->step + 1);
    for (int i = 0; i < run->layers; i++) {
        az_scope_push(az);
        const bool good = update_layer(az, run, &run->layer[i], gradient[i], share, &changed);
        az_scope_pop(az);
        if (!good) return false;
    }
    for (int i = 0; i < run->rests; i++) {
        az_pv_rest *r = &run->rest[i];
        az_pv_adam_step(&adam, run->step + 1, run->how.lr * share, gradient[run->layers + i], r->m, r->v, r->tensor, r->tensor);
    }
    run->loss[run->step] = loss;
    run->changes[run->step++] = changed;
    return true;
}

static bool run_steps(az_ctx *az, az_pv_run *run)
{
    const az_pv_tuning *h = &run->how;
    const bool saves = h->resume && *h->resume;
    while (run->step < h->steps) {
        az_scope_push(az);
        const bool good = tune_step(az, run);
        az_scope_pop(az);
        if (!good) return false;
        char note[64];
        snprintf(note, sizeof note, "divergence %.4f", run->loss[run->step - 1]);
        const bool go_on = az_progress(az, "tuning codes", run->step, h->steps, note);
        if (saves && (!go_on || run->step == h->steps || run->step % h->save_every == 0) && !az_pv_save(az, run)) return false;
        if (!go_on && run->step < h->steps)
            return az_fail(az, AZ_INTERRUPTED, "interrupted after step %lld of %lld%s", (long long)run->step, (long long)h->steps,
                           saves ? "; the same command goes on from there" : "");
    }
    return true;
}

/* ---- results ---- */

/* Matrices outside the blocks, and the formats that they had. */
typedef struct outside {
    const az_format *embedding, *position, *head;
} outside;

static az_weight *encode_again(az_ctx *az, az_weight *w, const az_format *format)
{
    return w && w->format != format ? az_weight_encode(az, w, format, NULL) : w;
}

static bool close_model(az_ctx *az, const az_pv_run *run, const outside *formats)
{
    az_lm *lm = run->student;
    const bool tied = lm->config.tied;
    for (int i = 0; i < run->layers; i++)
        if (!az_pv_close_layer(az, lm, &run->layer[i])) return false;
    az_arena_enter(az, lm->arena);
    lm->embedding = encode_again(az, lm->embedding, formats->embedding);
    lm->position = encode_again(az, lm->position, formats->position);
    lm->head.weight = tied ? lm->embedding : encode_again(az, lm->head.weight, formats->head);
    az_arena_leave(az);
    return az_ok(az);
}

static int64_t unused_entries(az_ctx *az, const az_weight *w)
{
    if (w->format != az_format_by_name("aq")) return 0;
    az_scope_push(az);
    const int64_t *uses = az_pv_uses(az, w);
    int64_t unused = 0;
    for (int64_t e = 0; uses && e < w->part[1]->shape[0] * w->part[1]->shape[1]; e++) unused += uses[e] == 0;
    az_scope_pop(az);
    return unused;
}

static void report_run(az_ctx *az, const az_pv_run *run, double seconds, az_report *report)
{
    const int64_t n = run->step, tail = (n + 9) / 10;
    double *x = az_alloc_array(az, (size_t)n, sizeof *x), first = 0, last = 0, changes = 0;
    int64_t unused = 0;
    if (!x) return;
    for (int i = 0; i < run->layers; i++) unused += unused_entries(az, run->layer[i].code);
    for (int64_t i = 0; i < n; i++) {
        x[i] = (double)i + 1;
        changes += run->changes[i] / (double)n;
        if (i < tail) first += run->loss[i] / (double)tail;
        if (i >= n - tail) last += run->loss[i] / (double)tail;
    }
    az_report_row(report, "tuning");
    az_report_count(report, "steps", n);
    az_report_number(report, "divergence_first", first, "nat");
    az_report_number(report, "divergence", last, "nat");
    az_report_number(report, "changes_per_step", changes / (double)run->tiles, "");
    az_report_count(report, "unused_entries", unused);
    az_report_number(report, "seconds", seconds, "s");
    az_report_curve(report, "divergence", "step", "nats per token", n, x, run->loss);
}

static bool begin(az_ctx *az, az_pv_run *run, const az_documents *text)
{
    az_pv_tuning *h = &run->how;
    const az_lm *lm = run->student;
    if (run->teacher->config.vocabulary != lm->config.vocabulary)
        return az_fail(az, AZ_BAD_INPUT, "the teacher has %lld tokens, the model %lld", (long long)run->teacher->config.vocabulary,
                       (long long)lm->config.vocabulary);
    const int64_t wanted = h->steps * h->batch;
    const int64_t longest = h->length < lm->config.context ? h->length : lm->config.context;
    run->text = az_lm_sample_sequences(az, lm, text, wanted < MOST_WINDOWS ? wanted : MOST_WINDOWS, longest, (uint64_t)h->seed);
    run->loss = az_alloc_array(az, (size_t)h->steps, sizeof *run->loss);
    run->changes = az_alloc_array(az, (size_t)h->steps, sizeof *run->changes);
    if (!run->text || !run->loss || !run->changes || !list_parameters(az, run)) return false;
    run->identity = identity_of(az, run);
    if (!run->identity || !h->resume || !*h->resume) return run->identity != NULL;
    return az_pv_load(az, run);
}

bool az_pv_tune(az_ctx *az, az_lm *lm, const az_lm *teacher, const az_documents *text, const az_pv_tuning *how, az_report *report)
{
    if (!lm || !teacher || !text) return false;
    az_pv_run run = {.teacher = teacher, .student = lm, .how = *how};
    const outside formats = {lm->embedding->format, lm->position ? lm->position->format : NULL, lm->head.weight->format};
    const double began = az_seconds();
    az_scope_push(az);
    const bool good = begin(az, &run, text) && run_steps(az, &run) && close_model(az, &run, &formats);
    for (int i = 0; !good && i < run.layers; i++) run.layer[i].linear->weight = run.layer[i].given;
    if (good && report) report_run(az, &run, az_seconds() - began, report);
    az_scope_pop(az);
    return good;
}
