/* vi_mixture.c - learning a mixture by wake-sleep: two problems that take turns.
 *
 * Points come from two normals around -2 and 1.5. The model has unknown weight and means, the guide looks at a point and says which
 * component it came from: a logistic function of the point. Data are given to the copies one each, so that a step sees a minibatch. */
#include <adze/adze.h>
#include <adze/vi.h>

#include <math.h>
#include <stdio.h>

enum { POINTS = 256 };

/* user: the points [POINTS] */
static az_tensor *mixture(az_vi *vi, void *user)
{
    (void)user;
    az_ctx *az = az_vi_context(vi);
    az_tensor *second = az_vi_sample(vi, "second", az_vi_flip(az_sigmoid(az, az_vi_parameter(vi, "logit"))), AZ_VI_AUTO);
    az_tensor *left = az_vi_parameter(vi, "left"), *right = az_vi_parameter(vi, "right");
    az_tensor *mean = az_add(az, left, az_mul(az, second, az_sub(az, right, left)));
    return az_vi_sample(vi, "point", az_vi_normal(mean, az_vi_number(vi, 0.5)), AZ_VI_AUTO);
}

static az_tensor *recognise(az_vi *vi, void *user)
{
    const az_tensor *points = user;
    az_ctx *az = az_vi_context(vi);
    az_tensor *score = az_add(az, az_mul(az, points, az_vi_parameter(vi, "slope")), az_vi_parameter(vi, "shift"));
    return az_vi_sample(vi, "second", az_vi_flip(az_sigmoid(az, score)), AZ_VI_AUTO);
}

static az_tensor *draw_points(az_ctx *az)
{
    az_tensor *points = az_new1(az, AZ_F64, POINTS);
    az_rng rng = az_rng_at(7, 0);
    for (int i = 0; i < POINTS; i++) az_f64_mut(points)[i] = (az_uniform(&rng) < 0.3 ? -2 : 1.5) + 0.5 * az_normal(&rng);
    return points;
}

int main(void)
{
    az_ctx *az = az_open(NULL);
    az_tensor *points = draw_points(az);
    az_vi_trace *data = az_vi_trace_new(az);
    az_vi_trace_set(data, "point", points);
    const az_vi_law model = {.program = mixture}, guide = {.program = recognise, .user = points};
    az_vi_inference inference = {.model = &model, .guide = &guide, .data = data, .particles = 4};
    const az_vi_variable variable[] = {{"logit", az_scalar(az, AZ_F64, 0)},
                                       {"left", az_scalar(az, AZ_F64, -0.5)},
                                       {"right", az_scalar(az, AZ_F64, 0.5)},
                                       {"slope", az_scalar(az, AZ_F64, 0)},
                                       {"shift", az_scalar(az, AZ_F64, 0)}};
    const az_vi_problem wake[] = {
        {.objective = az_vi_pwake, .user = &inference, .variable = variable, .variables = 5, .copies = POINTS, .seed = 1},
        {.objective = az_vi_qwake, .user = &inference, .variable = variable, .variables = 5, .copies = POINTS, .seed = 2},
    };
    const az_vi_fit_settings settings = {.steps = 600, .lr = 0.05, .optimizer = AZ_ADAMW, .lower = true};
    if (az_vi_fit(az, wake, 2, &settings, NULL)) {
        printf("share of the second component %.3f (drawn with .7)\n", 1 / (1 + exp(-az_to_double(variable[0].value))));
        printf("means %.3f and %.3f (drawn with -2 and 1.5)\n", az_to_double(variable[1].value), az_to_double(variable[2].value));
    }
    if (!az_ok(az)) fprintf(stderr, "%s\n", az_error(az));
    const int status = az_ok(az) ? 0 : 2;
    az_close(az);
    return status;
}
