/* vi_cone.c - a model, two guides, and five bounds on the evidence: vi_cone [STEPS].
 *
 * A point (x, y) of the plane is seen through a noisy measurement z = 5 of its squared distance from the origin: the posterior is a ring.
 * Two normals cannot follow it; a ring whose angle is integrated out can. The evidence is exp(-5.3232), and every bound stays below. */
#include <adze/adze.h>
#include <adze/vi.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static az_tensor *cone(az_vi *vi, void *user)
{
    (void)user;
    az_ctx *az = az_vi_context(vi);
    az_tensor *x = az_vi_sample(vi, "x", az_vi_normal(az_vi_number(vi, 0), az_vi_number(vi, 10)), AZ_VI_AUTO);
    az_tensor *y = az_vi_sample(vi, "y", az_vi_normal(az_vi_number(vi, 0), az_vi_number(vi, 10)), AZ_VI_AUTO);
    az_tensor *r = az_add(az, az_square(az, x), az_square(az, y));
    return az_vi_sample(vi, "z", az_vi_normal(r, az_affine(az, r, 0.01, 0.1)), AZ_VI_AUTO);
}

static az_tensor *two_normals(az_vi *vi, void *user)
{
    (void)user;
    az_ctx *az = az_vi_context(vi);
    az_vi_sample(vi, "x", az_vi_normal(az_vi_parameter(vi, "mean1"), az_exp(az, az_vi_parameter(vi, "log_sd1"))), AZ_VI_AUTO);
    return az_vi_sample(vi, "y", az_vi_normal(az_vi_parameter(vi, "mean2"), az_exp(az, az_vi_parameter(vi, "log_sd2"))), AZ_VI_AUTO);
}

static az_tensor *ring(az_vi *vi, void *user)
{
    (void)user;
    az_ctx *az = az_vi_context(vi);
    az_tensor *u = az_vi_sample(vi, "u", az_vi_uniform(az_vi_number(vi, 0), az_vi_number(vi, 1)), AZ_VI_AUTO);
    az_tensor *angle = az_affine(az, u, 2 * M_PI, 0), *cosine = az_cos(az, angle), *sine = az_sin(az, angle);
    az_tensor *sd1 = az_exp(az, az_vi_parameter(vi, "log_sd1")), *sd2 = az_exp(az, az_vi_parameter(vi, "log_sd2"));
    az_vi_sample(vi, "x", az_vi_normal(az_affine(az, cosine, sqrt(5), 0), sd1), AZ_VI_AUTO);
    return az_vi_sample(vi, "y", az_vi_normal(az_affine(az, sine, sqrt(5), 0), sd2), AZ_VI_AUTO);
}

typedef struct bound {
    const char *name;
    az_vi_program *guide;
    int inner, outer;
} bound;

/* Fits a guide and prints the bound it reaches. `inner` draws integrate the ring's angle out; `outer` draws make the bound. */
static void fit(az_ctx *az, const bound *b, int64_t steps)
{
    static const char *const keep[] = {"x", "y", NULL};
    const az_vi_law model = {.program = cone}, guide = {.program = b->guide, .keep = b->inner > 0 ? keep : NULL, .particles = b->inner};
    az_vi_trace *data = az_vi_trace_new(az);
    az_vi_trace_set(data, "z", az_scalar(az, AZ_F64, 5));
    az_vi_inference inference = {.model = &model, .guide = &guide, .data = data, .particles = b->outer};
    const az_vi_variable variable[] = {{"log_sd1", az_scalar(az, AZ_F64, 0)},
                                       {"log_sd2", az_scalar(az, AZ_F64, 0)},
                                       {"mean1", az_scalar(az, AZ_F64, 2)},
                                       {"mean2", az_scalar(az, AZ_F64, 0)}};
    const az_vi_problem problem = {.objective = az_vi_iwelbo, /* with one draw it is the ELBO */
                                   .user = &inference,
                                   .variable = variable,
                                   .variables = b->inner > 0 ? 2 : 4,
                                   .copies = 64};
    const az_vi_fit_settings settings = {.steps = steps, .lr = 1e-3, .optimizer = AZ_SGD, .draws = 20000};
    az_report *report = az_report_new(az, NULL);
    if (az_vi_fit(az, &problem, 1, &settings, report)) printf("%-28s %8.4f\n", b->name, az_report_value(report, "fit", "objective"));
}

int main(int argc, char **argv)
{
    static const bound bounds[] = {{"two normals, ELBO", two_normals, 0, 1},
                                   {"two normals, 5 draws", two_normals, 0, 5},
                                   {"ring, hierarchical", ring, 1, 1},
                                   {"ring, 5 inner draws", ring, 5, 1},
                                   {"ring, 5 inner, 5 outer draws", ring, 5, 5}};
    const int64_t steps = argc > 1 ? strtoll(argv[1], NULL, 10) : 1000;
    az_ctx *az = az_open(NULL);
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) fit(az, &bounds[i], steps);
    if (!az_ok(az)) fprintf(stderr, "%s\n", az_error(az));
    const int status = az_ok(az) ? 0 : 2;
    az_close(az);
    return status;
}
