/* fit.c - the loop under every kind of training: lessons or a method's own gradient, clipping, the optimizer, validation, states.
 *
 * A step is a function of the parameters, the optimizer's moments and the step's number, which is why a run can go on from its state bit
 * for bit. */
#include "lm/fit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the gradient of a step ---- */

static void add_to(az_ctx *az, az_tensor *sum, const az_tensor *x)
{
    const int64_t n = az_count(sum);
    float *f = az_f32_mut(sum);
    double *d = az_f64_mut(sum);
    const float *xf = az_f32(x);
    const double *xd = az_f64(x);
#pragma omp parallel for simd schedule(static) num_threads(az_threads(az)) if (n > 1 << 15)
    for (int64_t i = 0; i < n; i++) {
        if (f)
            f[i] += xf[i];
        else
            d[i] += xd[i];
    }
}

static int64_t tokens_of(const az_lm_lesson *lesson)
{
    int64_t n = 0;
    for (int64_t i = 0; i < lesson->batch.start[lesson->batch.sequences]; i++) n += lesson->target[i] >= 0;
    return n;
}

/* All lessons of the step; how many tokens count in them. */
static int64_t draw_lessons(az_ctx *az, const az_lm_fit *fit, az_lm_lesson *lesson)
{
    const int64_t passes = fit->plan->settings->accumulate;
    int64_t tokens = 0;
    for (int64_t k = 0; k < passes; k++) {
        if (!fit->plan->lesson(az, fit, fit->step * passes + k, &lesson[k])) return 0;
        tokens += tokens_of(&lesson[k]);
    }
    if (tokens == 0) az_fail(az, AZ_BAD_INPUT, "no token of step %lld counts", (long long)fit->step + 1);
    return tokens;
}

/* Gradient of the mean loss over all tokens of the step; one pass at a time. */
static bool lessons_gradient(az_ctx *az, az_lm_fit *fit, az_tensor **gradient, double *loss)
{
    const az_lm_fit_plan *plan = fit->plan;
    const int64_t passes = plan->settings->accumulate;
    az_lm_lesson *lesson = az_alloc_array(az, (size_t)passes, sizeof *lesson);
    az_tensor **fresh = az_alloc_array(az, (size_t)plan->n, sizeof *fresh);
    const int64_t tokens = lesson && fresh ? draw_lessons(az, fit, lesson) : 0;
    *loss = 0;
    for (int64_t k = 0; tokens > 0 && k < passes; k++) {
        az_lm_objective objective = {.lm = plan->lm, .lesson = lesson[k], .scale = 1.0 / (double)tokens, .run = plan->run};
        objective.run.checkpoint = plan->settings->checkpoint;
        objective.run.dropout = az_stream("dropout", (uint64_t)(fit->step * passes + k)) ^ (uint64_t)plan->settings->seed;
        double part = 0;
        az_scope_push(az);
        if (!az_lm_gradient(az, &objective, plan->parameter, plan->n, fresh, &part)) {
            az_scope_pop(az);
            return false;
        }
        *loss += part;
        if (k > 0) {
            for (int i = 0; i < plan->n; i++) add_to(az, gradient[i], fresh[i]);
            az_scope_pop(az);
            continue;
        }
        /* a gradient that is added to must be its own: two parameters may have received the same one */
        for (int i = 0; i < plan->n; i++) gradient[i] = passes > 1 ? az_copy(az, fresh[i]) : fresh[i];
        az_keep_all(az, gradient, plan->n);
    }
    fit->tokens += tokens;
    return az_ok(az);
}

/* ---- a step ---- */

static bool not_finite(az_ctx *az, const az_lm_fit *fit, double loss)
{
    return az_fail(az, AZ_NUMERIC, "the %s is not finite in step %lld; a lower learning rate (lr) may help",
                   isfinite(loss) ? "gradient" : "loss", (long long)fit->step + 1);
}

/* Backpropagation, or the method's gradient, and the optimizer. */
static bool descend(az_ctx *az, az_lm_fit *fit, double lr, double *loss)
{
    const az_lm_fit_plan *plan = fit->plan;
    az_tensor **gradient = az_alloc_array(az, (size_t)plan->n, sizeof *gradient);
    if (!gradient || !(plan->gradient ? plan->gradient : lessons_gradient)(az, fit, gradient, loss)) return false;
    if (plan->revise && !plan->revise(az, fit, gradient)) return false;
    const double norm = az_clip_gradients(az, gradient, plan->n, plan->settings->clip);
    if (!isfinite(*loss) || !isfinite(norm)) return not_finite(az, fit, *loss);
    return az_optimizer_step(az, fit->optimizer, gradient, lr);
}

static bool take_step(az_ctx *az, az_lm_fit *fit, const az_schedule *schedule)
{
    const az_lm_fit_plan *plan = fit->plan;
    const double lr = az_learning_rate(schedule, fit->step);
    double loss = NAN;
    if (!(plan->advance ? plan->advance : descend)(az, fit, lr, &loss)) return false;
    if (!isfinite(loss)) return not_finite(az, fit, loss);
    fit->loss[fit->step++] = loss;
    return !plan->after || plan->after(az, fit);
}

/* ---- validation ---- */

static double *best_loss(const az_fitting *f)
{
    return az_f64_mut(f->best_note);
}

static double *since_best(const az_fitting *f)
{
    return az_f64_mut(f->best_note) + 1;
}

/* Measures; false at an error. */
static bool validate(az_ctx *az, az_fitting *f)
{
    az_lm_fit *fit = &f->fit;
    double loss = NAN;
    az_scope_push(az);
    const bool good = fit->plan->validate(az, fit, &loss);
    az_scope_pop(az);
    if (!good) return false;
    if (!isfinite(loss)) return az_fail(az, AZ_NUMERIC, "the validation loss is not finite after step %lld", (long long)fit->step);
    fit->valid_step[fit->validations] = (double)fit->step;
    fit->valid_loss[fit->validations++] = loss;
    const bool better = fit->validations == 1 || loss < *best_loss(f);
    *since_best(f) = better ? 0 : *since_best(f) + 1;
    if (!better) return true;
    *best_loss(f) = loss;
    for (int i = 0; f->best && i < fit->plan->n; i++) az_copy_into(az, f->best[i], fit->value[i]);
    return true;
}

static bool validates(const az_lm_fit_plan *plan)
{
    return plan->validate && plan->validate_every > 0;
}

static bool lost_patience(const az_fitting *f)
{
    const int64_t patience = f->fit.plan->patience;
    return f->best && patience > 0 && *since_best(f) >= (double)patience;
}

static void go_back_to_best(az_ctx *az, const az_fitting *f)
{
    if (!f->best || f->fit.validations == 0 || *since_best(f) == 0) return;
    for (int i = 0; i < f->fit.plan->n; i++) az_copy_into(az, f->fit.value[i], f->best[i]);
}

/* ---- the run ---- */

static void describe(const az_lm_fit *fit, double seconds, int64_t tokens_before, char *note, size_t size)
{
    const double speed = (double)(fit->tokens - tokens_before) / fmax(seconds, 1e-9);
    int n = snprintf(note, size, "loss %.4f", fit->loss[fit->step - 1]);
    if (fit->validations > 0) n += snprintf(note + n, size - (size_t)n, ", valid %.4f", fit->valid_loss[fit->validations - 1]);
    if (fit->tokens > tokens_before) snprintf(note + n, size - (size_t)n, ", %.0f tok/s", speed);
}

static bool run_steps(az_ctx *az, az_fitting *f)
{
    az_lm_fit *fit = &f->fit;
    const az_lm_fit_plan *plan = fit->plan;
    const az_lm_train_settings *s = plan->settings;
    const az_schedule schedule = {.kind = (az_schedule_kind)s->schedule,
                                  .peak = s->lr,
                                  .floor = s->lr * s->lr_floor,
                                  .warmup = (int64_t)ceil(s->warmup * (double)s->steps),
                                  .total = s->steps};
    const bool saves = s->resume && *s->resume;
    const int64_t tokens_before = fit->tokens;
    const double began = az_seconds();
    while (fit->step < s->steps && !lost_patience(f)) {
        az_scope_push(az);
        const bool good = take_step(az, fit, &schedule);
        az_scope_pop(az);
        if (!good) return false;
        const bool due = validates(plan) && (fit->step % plan->validate_every == 0 || fit->step == s->steps);
        if (due && !validate(az, f)) return false;
        char note[128];
        describe(fit, az_seconds() - began, tokens_before, note, sizeof note);
        const bool go_on = az_progress(az, plan->task, fit->step, s->steps, note);
        const bool last = fit->step == s->steps || lost_patience(f) || !go_on;
        if (saves && (last || fit->step % s->save_every == 0) && !az_fit_save(az, f)) return false;
        if (!go_on && fit->step < s->steps)
            return az_fail(az, AZ_INTERRUPTED, "interrupted after step %lld of %lld%s", (long long)fit->step, (long long)s->steps,
                           saves ? "; the same command goes on from there" : "");
    }
    go_back_to_best(az, f);
    return true;
}

static bool begin_optimizer(az_ctx *az, az_lm_fit *fit)
{
    const az_lm_fit_plan *plan = fit->plan;
    const az_lm_train_settings *s = plan->settings;
    if (plan->advance) return true;
    const bool adam = s->optimizer == AZ_ADAMW || s->optimizer == AZ_GALORE;
    bool *inside = az_alloc_array(az, (size_t)plan->n, sizeof *inside); /* a block: neither embedding nor head */
    if (!inside) return false;
    for (int i = 0; i < plan->n; i++) inside[i] = strncmp(plan->parameter[i].name, "blocks.", strlen("blocks.")) == 0;
    const az_optimizer_options optimizer = {
        .kind = (az_optimizer_kind)s->optimizer,
        .beta1 = adam ? s->beta1 : s->momentum,
        .beta2 = s->beta2,
        .eps = 1e-8,
        .weight_decay = s->weight_decay,
        .window = s->grads,
        .damp = s->damp,
        .plain_steps = s->plain_steps,
        .rank = s->galore_rank,
        .refresh = s->galore_refresh,
        .scale = s->galore_scale,
        .project = inside,
    };
    fit->optimizer = az_optimizer_new(az, &optimizer, fit->value, plan->n, plan->decay);
    return fit->optimizer != NULL;
}

static bool begin_validation(az_ctx *az, az_fitting *f)
{
    const az_lm_fit_plan *plan = f->fit.plan;
    const size_t most = (size_t)(plan->settings->steps / plan->validate_every + 1);
    f->fit.valid_step = az_alloc_array(az, most, sizeof *f->fit.valid_step);
    f->fit.valid_loss = az_alloc_array(az, most, sizeof *f->fit.valid_loss);
    f->best_note = az_zeros(az, AZ_F64, 1, (int64_t[]){2});
    if (plan->patience == 0) return az_ok(az); /* nothing will go back to the best */
    f->best = az_alloc_array(az, (size_t)plan->n, sizeof *f->best);
    for (int i = 0; f->best && i < plan->n; i++) f->best[i] = az_copy(az, f->fit.value[i]);
    return az_ok(az);
}

static bool begin(az_ctx *az, az_fitting *f)
{
    const az_lm_fit_plan *plan = f->fit.plan;
    const az_lm_train_settings *s = plan->settings;
    if (plan->n < 1 || s->steps < 1 || s->accumulate < 1)
        return az_fail(az, AZ_BAD_CALL, "training %d parameters for %lld steps of %lld passes", plan->n, (long long)s->steps,
                       (long long)s->accumulate);
    f->fit.value = az_alloc_array(az, (size_t)plan->n, sizeof *f->fit.value);
    f->fit.loss = az_alloc_array(az, (size_t)s->steps, sizeof *f->fit.loss);
    if (!f->fit.value || !f->fit.loss) return false;
    for (int i = 0; i < plan->n; i++) f->fit.value[i] = *plan->parameter[i].slot;
    if (!begin_optimizer(az, &f->fit) || (validates(plan) && !begin_validation(az, f))) return false;
    return !s->resume || !*s->resume || az_fit_load(az, f);
}

static void report_run(az_ctx *az, const az_lm_fit *fit, double seconds, int64_t tokens_before, az_report *report)
{
    double *x = az_alloc_array(az, (size_t)fit->step, sizeof *x), recent = 0;
    if (!x) return;
    int64_t trained = 0;
    for (int i = 0; i < fit->plan->n; i++) trained += az_count(fit->value[i]);
    const int64_t tail = (fit->step + 9) / 10;
    for (int64_t i = 0; i < fit->step; i++) x[i] = (double)i + 1;
    for (int64_t i = fit->step - tail; i < fit->step; i++) recent += fit->loss[i] / (double)tail;
    az_report_row(report, fit->plan->task);
    az_report_count(report, "steps", fit->step);
    az_report_count(report, "tokens", fit->tokens);
    az_report_count(report, "parameters", az_lm_parameter_count(fit->plan->lm));
    az_report_count(report, "trained", trained);
    az_report_number(report, "loss", recent, "nat");
    double best = NAN;
    for (int64_t i = 0; i < fit->validations; i++) best = fmin(best, fit->valid_loss[i]);
    if (fit->validations > 0) az_report_number(report, "valid_loss", fit->valid_loss[fit->validations - 1], "nat");
    if (fit->validations > 0) az_report_number(report, "best_valid_loss", best, "nat");
    az_report_number(report, "seconds", seconds, "s");
    az_report_number(report, "tokens_per_second", (double)(fit->tokens - tokens_before) / fmax(seconds, 1e-9), "1/s");
    const char *name = az_format_text(az, "%s loss", fit->plan->task);
    az_report_curve(report, name ? name : "loss", "step", "nats per token", fit->step, x, fit->loss);
    if (fit->validations > 0)
        az_report_curve(report, "validation loss", "step", "nats per token", fit->validations, fit->valid_step, fit->valid_loss);
}

bool az_lm_fit_run(az_ctx *az, const az_lm_fit_plan *plan, az_report *report)
{
    if (!plan || !plan->lm || !az_ok(az)) return false;
    az_fitting f = {.fit = {.plan = plan}};
    az_scope_push(az);
    bool good = begin(az, &f);
    const double began = az_seconds();
    const int64_t tokens_before = f.fit.tokens;
    good = good && run_steps(az, &f);
    if (f.fit.step > 0) report_run(az, &f.fit, az_seconds() - began, tokens_before, report);
    az_scope_pop(az);
    return good;
}
