/* contrast.c - the split gradient of losses that compare texts. */
#include "tune/contrast.h"

#include <math.h>
#include <string.h>

double az_log_sigmoid(double x)
{
    return x >= 0 ? -log1p(exp(-x)) : x - log1p(exp(x));
}

bool az_contrast_losses(az_ctx *az, const az_lm *lm, const az_lm_examples *examples, const az_lm_run *run, int64_t batch, double *nll)
{
    for (int64_t first = 0; first < examples->count && az_ok(az); first += batch) {
        const int n = (int)(examples->count - first < batch ? examples->count - first : batch);
        az_scope_push(az);
        int64_t *which = az_alloc_array(az, (size_t)n, sizeof *which);
        for (int i = 0; which && i < n; i++) which[i] = first + i;
        const az_lm_lesson lesson = which ? az_lm_lesson_of_examples(az, examples, which, n) : (az_lm_lesson){0};
        if (lesson.target) az_lm_sequence_losses(az, lm, &lesson, run, nll + first);
        az_scope_pop(az);
    }
    return az_ok(az);
}

/* Each token's weight is its sequence's. */
static const float *spread(az_ctx *az, const az_lm_batch *batch, const double *weight)
{
    float *each = az_alloc_array(az, (size_t)batch->start[batch->sequences], sizeof *each);
    for (int s = 0; each && s < batch->sequences; s++)
        for (int64_t i = batch->start[s]; i < batch->start[s + 1]; i++) each[i] = (float)weight[s];
    return each;
}

static void add(az_tensor *sum, const az_tensor *x)
{
    for (int64_t i = 0, n = az_count(sum); i < n; i++) {
        if (az_f32_mut(sum))
            az_f32_mut(sum)[i] += az_f32(x)[i];
        else
            az_f64_mut(sum)[i] += az_f64(x)[i];
    }
}

bool az_contrast_gradient(az_ctx *az, const az_lm_fit *fit, const az_contrast *contrast, const az_contrast_part *part, az_tensor **gradient,
                          double *loss)
{
    const az_lm_fit_plan *plan = fit->plan;
    az_lm_objective objective = {.lm = plan->lm, .scale = part->scale, .run = plan->run};
    objective.run.dropout = part->dropout;
    objective.run.checkpoint = plan->settings->checkpoint;
    az_tensor **fresh = az_alloc_array(az, (size_t)plan->n, sizeof *fresh);
    double *nll = az_alloc_array(az, (size_t)part->n, sizeof *nll), *weight = az_alloc_array(az, (size_t)part->n, sizeof *weight);
    objective.lesson = az_lm_lesson_of_examples(az, contrast->examples, part->which, part->n);
    if (!fresh || !nll || !weight || !objective.lesson.target) return false;
    if (!az_lm_sequence_losses(az, plan->lm, &objective.lesson, &objective.run, nll)) return false;
    *loss += part->scale * contrast->weigh(part->which, part->n, nll, weight, contrast->user);
    objective.lesson.weight = spread(az, &objective.lesson.batch, weight);
    if (!objective.lesson.weight || !az_lm_gradient(az, &objective, plan->parameter, plan->n, fresh, NULL)) return false;
    for (int i = 0; i < plan->n; i++) {
        if (part->first)
            gradient[i] = az_copy(az, fresh[i]);
        else
            add(gradient[i], fresh[i]);
    }
    return az_ok(az);
}
