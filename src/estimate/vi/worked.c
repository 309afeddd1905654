/* worked.c - a noisy cone under two guides, and a coin whose bias has an exact posterior. */
#include "estimate/vi/worked.h"

/* ---- the cone: a point of the plane and a noisy measurement of its squared distance ---- */

/* x, y ~ N(0, 10), z ~ N(r, 0.1 + r / 100) with r = x^2 + y^2 */
static az_tensor *cone(az_vi *vi, void *user)
{
    (void)user;
    az_ctx *az = az_vi_context(vi);
    az_tensor *zero = az_vi_number(vi, 0), *ten = az_vi_number(vi, 10);
    az_tensor *x = az_vi_sample(vi, "x", az_vi_normal(zero, ten), AZ_VI_AUTO);
    az_tensor *y = az_vi_sample(vi, "y", az_vi_normal(zero, ten), AZ_VI_AUTO);
    az_tensor *r = az_add(az, az_square(az, x), az_square(az, y));
    return az_vi_sample(vi, "z", az_vi_normal(r, az_affine(az, r, 0.01, 0.1)), AZ_VI_AUTO);
}

/* e to the power of a variable. */
static az_tensor *exp_of(az_vi *vi, const char *name)
{
    return az_exp(az_vi_context(vi), az_vi_parameter(vi, name));
}

/* Two independent normals. */
static az_tensor *mean_field(az_vi *vi, void *user)
{
    (void)user;
    az_vi_sample(vi, "x", az_vi_normal(az_vi_parameter(vi, "mean1"), exp_of(vi, "log_sd1")), AZ_VI_AUTO);
    return az_vi_sample(vi, "y", az_vi_normal(az_vi_parameter(vi, "mean2"), exp_of(vi, "log_sd2")), AZ_VI_AUTO);
}

/* A ring: an angle 2 pi u, and normals around the point of radius sqrt(z) there. u is not a choice of the model. */
static az_tensor *ring(az_vi *vi, void *user)
{
    const double radius = *(const double *)user;
    az_ctx *az = az_vi_context(vi);
    az_tensor *u = az_vi_sample(vi, "u", az_vi_uniform(az_vi_number(vi, 0), az_vi_number(vi, 1)), AZ_VI_AUTO);
    az_tensor *angle = az_affine(az, u, 6.28318530717958647692, 0);
    az_tensor *mean_x = az_affine(az, az_cos(az, angle), radius, 0), *mean_y = az_affine(az, az_sin(az, angle), radius, 0);
    az_vi_sample(vi, "x", az_vi_normal(mean_x, exp_of(vi, "log_sd1")), AZ_VI_AUTO);
    return az_vi_sample(vi, "y", az_vi_normal(mean_y, exp_of(vi, "log_sd2")), AZ_VI_AUTO);
}

static const char *const point[] = {"x", "y", NULL};

/* ---- the coin: ten tosses of a coin whose bias is Beta(10, 10) ---- */

enum { TOSSES = 10 };

/* The number of heads decides the density up to the constant log C(10, heads), which no gradient sees. */
static az_tensor *coin(az_vi *vi, void *user)
{
    (void)user;
    az_ctx *az = az_vi_context(vi);
    az_tensor *ten = az_vi_number(vi, 10), *p = az_vi_sample(vi, "p", az_vi_beta(ten, ten), AZ_VI_AUTO);
    az_tensor *each = p ? az_reshape(az, p, 2, (int64_t[]){-1, 1}) : NULL;
    return az_vi_sample(vi, "tosses", az_vi_vector(az_vi_flip(each), TOSSES), AZ_VI_AUTO);
}

static az_tensor *beta_guide(az_vi *vi, void *user)
{
    (void)user;
    return az_vi_sample(vi, "p", az_vi_beta(exp_of(vi, "log_a"), exp_of(vi, "log_b")), AZ_VI_AUTO);
}

const vi_worked vi_worked_models[VI_WORKED] = {
    [VI_CONE] = {.name = "cone",
                 .summary = "a point seen through its squared distance, two normals as guide",
                 .model = cone,
                 .guide = mean_field,
                 .observed = "z",
                 .observation = 5,
                 .variable = {{"mean1", 0}, {"mean2", 0}, {"log_sd1", 1}, {"log_sd2", 1}},
                 .variables = 4},
    [VI_RING] = {.name = "ring",
                 .summary = "the same point, a ring as guide, its angle integrated out",
                 .model = cone,
                 .guide = ring,
                 .keep = point,
                 .observed = "z",
                 .observation = 5,
                 .variable = {{"log_sd1", 0}, {"log_sd2", 0}},
                 .variables = 2},
    [VI_COIN] = {.name = "coin",
                 .summary = "the bias of a coin of which ten tosses are seen, a beta distribution as guide",
                 .model = coin,
                 .guide = beta_guide,
                 .observed = "tosses",
                 .observation = 6,
                 .variable = {{"log_a", 0}, {"log_b", 0}},
                 .variables = 2},
};
