/* ssm_population.c - a state-space model of one's own: a population that grows towards a capacity, counted imperfectly.
 *
 * The state x is the logarithm of the population's size, y a count:
 *     x_0 ~ N(0, 1),    x_{t+1} ~ N(x_t + growth (1 - exp(x_t) / capacity), sigma^2),    y_t ~ Poisson(exp(x_t)).
 * Four functions are enough to smooth; log_start lets growth and capacity be learnt (their scores by differences), log_bound makes backward
 * draws cheap, draw_observation makes data. */
#include <adze/adze.h>

#include <math.h>
#include <stdio.h>

enum { GROWTH, CAPACITY, PARAMETERS };
enum { TIMES = 200 };
static const double sigma = 0.1;

static double expected(const double *theta, double x)
{
    return x + theta[GROWTH] * (1 - exp(x) / theta[CAPACITY]);
}

static double log_normal(double x, double mean, double sd)
{
    const double z = (x - mean) / sd;
    return -0.5 * z * z - log(sd) - 0.5 * log(2 * acos(-1));
}

static void draw_start(const void *theta, az_rng *rng, double *x)
{
    (void)theta;
    *x = az_normal(rng);
}

static void draw_next(const void *theta, int64_t t, const double *x, az_rng *rng, double *next)
{
    (void)t;
    *next = expected(theta, *x) + sigma * az_normal(rng);
}

static double log_transition(const void *theta, int64_t t, const double *x, const double *next)
{
    (void)t;
    return log_normal(*next, expected(theta, *x), sigma);
}

static double log_observation(const void *theta, int64_t t, const double *x, const double *y)
{
    (void)theta, (void)t;
    return *y * *x - exp(*x) - lgamma(*y + 1);
}

static double log_bound(const void *theta, int64_t t)
{
    (void)theta, (void)t;
    return log_normal(0, 0, sigma);
}

static double log_start(const void *theta, const double *x)
{
    (void)theta;
    return log_normal(*x, 0, 1);
}

static void draw_observation(const void *theta, int64_t t, const double *x, az_rng *rng, double *y)
{
    double left = exp(-exp(*x)), term = left;
    const double u = az_uniform(rng);
    (void)theta, (void)t;
    for (*y = 0; u > left && *y < 10000; left += term) term *= exp(*x) / ++*y; /* inversion of the distribution function */
}

static const az_ssm_parameter parameter[PARAMETERS] = {
    [GROWTH] = {"growth", AZ_SSM_POSITIVE, 0.1}, [CAPACITY] = {"capacity", AZ_SSM_POSITIVE, 80}};
static const az_ssm population = {.name = "population",
                                  .states = 1,
                                  .observed = 1,
                                  .parameters = PARAMETERS,
                                  .parameter = parameter,
                                  .draw_start = draw_start,
                                  .draw_next = draw_next,
                                  .log_transition = log_transition,
                                  .log_observation = log_observation,
                                  .log_bound = log_bound,
                                  .draw_observation = draw_observation,
                                  .log_start = log_start};

static void smooth(az_ctx *az, const double *truth, const double *x, const double *y)
{
    const az_ssm_functional moments = az_ssm_moments(az, &population, TIMES);
    const az_ssm_problem problem = {.model = &population, .theta = truth, .n = TIMES, .y = y, .functional = &moments, .functionals = 1};
    const az_ssm_how how = {.method = AZ_SSM_PPG, .particles = 100, .draws = 2, .sweeps = 10, .burn = 2};
    const az_ssm_smoothing *s = az_ssm_smooth(az, &problem, &how);
    int inside = 0;
    for (int t = 0; s && t < TIMES; t++) {
        const double sd = sqrt(s->value[TIMES + t] - s->value[t] * s->value[t]);
        inside += fabs(x[t] - s->value[t]) < 1.96 * sd;
    }
    printf("within 1.96 sd: %d of %d\n", inside, TIMES);
}

static void learn(az_ctx *az, const double *y)
{
    const az_ssm_problem problem = {.model = &population, .n = TIMES, .y = y};
    const az_ssm_learning learning = {
        .steps = 150,
        .adam = true,
        .lr = 0.03,
        .average = 0.3,
        .how = {.method = AZ_SSM_PPG, .particles = 50, .draws = 2, .sweeps = 2, .burn = 1},
    };
    const az_ssm_fit *fit = az_ssm_learn(az, &problem, &learning);
    for (int i = 0; fit && i < PARAMETERS; i++) printf("%s: %.3f, from %.3f\n", parameter[i].name, fit->theta[i], parameter[i].value);
}

int main(void)
{
    az_ctx *az = az_open(NULL);
    const double truth[PARAMETERS] = {[GROWTH] = 0.3, [CAPACITY] = 50};
    double x[TIMES], y[TIMES];
    if (az_ssm_simulate(az, &population, truth, 1, TIMES, x, y)) {
        smooth(az, truth, x, y);
        learn(az, y);
    }
    if (!az_ok(az)) fprintf(stderr, "%s\n", az_error(az));
    const int status = az_ok(az) ? 0 : 2;
    az_close(az);
    return status;
}
