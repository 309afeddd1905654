/* worked.c - a noisy cone under two guides; a coin and a lamp that have exact posteriors. */
#include "estimate/vi/worked.h"

/* The model's own variable where it is learnt, else where it starts. */
static az_tensor *own(az_vi *vi, const void *user, int model)
{
    const vi_worked_variable *it = &vi_worked_models[model].own;
    return ((const vi_worked_user *)user)->learns ? az_vi_parameter(vi, it->name) : az_vi_number(vi, it->start);
}

/* ---- the cone: a point of the plane and a noisy measurement of its squared distance ---- */

/* x, y ~ N(0, s), z ~ N(r, 0.1 + r / 100) with r = x^2 + y^2; s = 10, or learnt */
static az_tensor *cone(az_vi *vi, void *user)
{
    az_ctx *az = az_vi_context(vi);
    az_tensor *zero = az_vi_number(vi, 0), *sd = az_exp(az, own(vi, user, VI_CONE));
    az_tensor *x = az_vi_sample(vi, "x", az_vi_normal(zero, sd), AZ_VI_AUTO);
    az_tensor *y = az_vi_sample(vi, "y", az_vi_normal(zero, sd), AZ_VI_AUTO);
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
    const double radius = ((const vi_worked_user *)user)->radius;
    az_ctx *az = az_vi_context(vi);
    az_tensor *u = az_vi_sample(vi, "u", az_vi_uniform(az_vi_number(vi, 0), az_vi_number(vi, 1)), AZ_VI_AUTO);
    az_tensor *angle = az_affine(az, u, 6.28318530717958647692, 0);
    az_tensor *mean_x = az_affine(az, az_cos(az, angle), radius, 0), *mean_y = az_affine(az, az_sin(az, angle), radius, 0);
    az_vi_sample(vi, "x", az_vi_normal(mean_x, exp_of(vi, "log_sd1")), AZ_VI_AUTO);
    return az_vi_sample(vi, "y", az_vi_normal(mean_y, exp_of(vi, "log_sd2")), AZ_VI_AUTO);
}

static const char *const point[] = {"x", "y", NULL};

/* ---- the coin: ten tosses of a coin whose bias is Beta(20 m, 20 (1 - m)), m = 1/2 or learnt ---- */

enum { TOSSES = 10 };

/* The number of heads decides the density up to the constant log C(10, heads), which no gradient sees. */
static az_tensor *coin(az_vi *vi, void *user)
{
    az_ctx *az = az_vi_context(vi);
    az_tensor *mean = az_sigmoid(az, own(vi, user, VI_COIN));
    az_tensor *a = az_affine(az, mean, 20, 0), *b = az_affine(az, mean, -20, 20);
    az_tensor *p = az_vi_sample(vi, "p", az_vi_beta(a, b), AZ_VI_AUTO);
    az_tensor *each = p ? az_reshape(az, p, 2, (int64_t[]){-1, 1}) : NULL;
    return az_vi_sample(vi, "tosses", az_vi_vector(az_vi_flip(each), TOSSES), AZ_VI_AUTO);
}

static az_tensor *beta_guide(az_vi *vi, void *user)
{
    (void)user;
    return az_vi_sample(vi, "p", az_vi_beta(exp_of(vi, "log_a"), exp_of(vi, "log_b")), AZ_VI_AUTO);
}

/* ---- the lamp: three of ten are faulty and burn out at rate 2 (or learnt), the others at rate 1/2; one burned for a time ---- */

static const double log_two = 0.69314718055994530942;

static az_tensor *lamp(az_vi *vi, void *user)
{
    az_ctx *az = az_vi_context(vi);
    az_tensor *faulty = az_vi_sample(vi, "faulty", az_vi_flip(az_vi_number(vi, 0.3)), AZ_VI_AUTO);
    az_tensor *good = az_vi_number(vi, -log_two), *more = az_sub(az, own(vi, user, VI_LAMP), good);
    az_tensor *rate = az_exp(az, az_add(az, good, az_mul(az, faulty, more)));
    return az_vi_sample(vi, "time", az_vi_gamma(az_vi_number(vi, 1), rate), AZ_VI_AUTO);
}

static az_tensor *flip_guide(az_vi *vi, void *user)
{
    (void)user;
    return az_vi_sample(vi, "faulty", az_vi_flip(az_sigmoid(az_vi_context(vi), az_vi_parameter(vi, "logit"))), AZ_VI_AUTO);
}

const vi_worked vi_worked_models[VI_WORKED] = {
    [VI_CONE] = {.name = "cone",
                 .summary = "a point seen through its squared distance, two normals as guide",
                 .model = cone,
                 .guide = mean_field,
                 .observed = "z",
                 .observation = 5,
                 .variable = {{"mean1", 0}, {"mean2", 0}, {"log_sd1", 1}, {"log_sd2", 1}},
                 .variables = 4,
                 .own = {"log_prior_sd", 2.30258509299404568402},
                 .latent = {{"x", VI_REAL_LINE, 0, 2}, {"y", VI_REAL_LINE, 1, 3}},
                 .latents = 2},
    [VI_RING] = {.name = "ring",
                 .summary = "the same point, a ring as guide, its angle integrated out",
                 .model = cone,
                 .guide = ring,
                 .keep = point,
                 .observed = "z",
                 .observation = 5,
                 .variable = {{"log_sd1", 0}, {"log_sd2", 0}},
                 .variables = 2,
                 .own = {"log_prior_sd", 2.30258509299404568402},
                 .latent = {{.address = "u", .axis = VI_PERIOD},
                            {.address = "x", .axis = VI_AROUND_RING, .log_sd = 0},
                            {.address = "y", .axis = VI_AROUND_RING, .log_sd = 1}},
                 .latents = 3},
    [VI_COIN] = {.name = "coin",
                 .summary = "the bias of a coin of which ten tosses are seen, a beta distribution as guide",
                 .model = coin,
                 .guide = beta_guide,
                 .observed = "tosses",
                 .observation = 6,
                 .variable = {{"log_a", 0}, {"log_b", 0}},
                 .variables = 2,
                 .own = {"logit_prior_mean", 0},
                 .latent = {{.address = "p", .axis = VI_UNIT_INTERVAL}},
                 .latents = 1},
    [VI_LAMP] = {.name = "lamp",
                 .summary = "whether a lamp that burned for a time was faulty, a flip as guide",
                 .model = lamp,
                 .guide = flip_guide,
                 .observed = "time",
                 .observation = 1,
                 .variable = {{"logit", 0}},
                 .variables = 1,
                 .own = {"log_rate", 0.69314718055994530942},
                 .latent = {{.address = "faulty", .axis = VI_TWO_VALUES}},
                 .latents = 1},
};
