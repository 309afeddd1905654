/* objectives.c - the objectives of variational inference, as programs over a model, a guide and data. */
#include "estimate/vi/vi_internal.h"

#include <math.h>

/* log p(x, y) - log q(x) of one draw x of the guide. */
static az_tensor *log_ratio(az_vi *vi, const az_vi_inference *how)
{
    az_vi_trace *x = NULL;
    az_tensor *q = az_vi_simulate(vi, how->guide, &x);
    az_vi_trace *joint = q ? az_vi_trace_join(vi->az, x, how->data) : NULL;
    return joint ? az_sub(vi->az, az_vi_density(vi, how->model, joint), q) : NULL;
}

az_tensor *az_vi_elbo(az_vi *vi, void *inference)
{
    return log_ratio(vi, inference);
}

az_tensor *az_vi_iwelbo(az_vi *vi, void *inference)
{
    const az_vi_inference *how = inference;
    const int n = how->particles > 0 ? how->particles : 1;
    az_tensor **weight = az_alloc_array(vi->az, (size_t)n, sizeof *weight);
    for (int k = 0; weight && k < n; k++) {
        az_tensor *ratio = log_ratio(vi, how);
        weight[k] = ratio ? az_reshape(vi->az, ratio, 2, (int64_t[]){vi->copies, 1}) : NULL;
        if (!weight[k]) return NULL;
    }
    return weight ? az_affine(vi->az, az_logsumexp(vi->az, az_concat(vi->az, weight, n, 1), 1, false), 1, -log((double)n)) : NULL;
}

/* A draw from the posterior by weighted draws of the guide, cut off from every derivative. */
static az_vi_trace *posterior_draw(az_vi *vi, const az_vi_inference *how)
{
    if (how->model->keep || how->model->given)
        return az_fail(vi->az, AZ_BAD_CALL, "a wake objective needs a model that is a program alone");
    const az_vi_law posterior = {
        .program = how->model->program, .user = how->model->user, .given = how->data, .proposal = how->guide, .particles = how->particles};
    az_vi_trace *x = NULL;
    az_vi_freeze(vi);
    az_tensor *density = az_vi_simulate(vi, &posterior, &x);
    az_vi_thaw(vi);
    return density ? x : NULL;
}

az_tensor *az_vi_qwake(az_vi *vi, void *inference)
{
    const az_vi_inference *how = inference;
    const az_vi_trace *x = posterior_draw(vi, how);
    return x ? az_neg(vi->az, az_vi_density(vi, how->guide, x)) : NULL;
}

az_tensor *az_vi_pwake(az_vi *vi, void *inference)
{
    const az_vi_inference *how = inference;
    const az_vi_trace *x = posterior_draw(vi, how), *joint = x ? az_vi_trace_join(vi->az, x, how->data) : NULL;
    return joint ? az_neg(vi->az, az_vi_density(vi, how->model, joint)) : NULL;
}
