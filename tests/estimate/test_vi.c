/* Variational inference as programs: gradients against closed forms and quadrature, estimators against their known variances, laws against
 * exact enumeration, and errors that name the choice. */
#include "adze/adze.h"
#include "adze/vi.h"
#include "estimate/vi/vi_internal.h"
#include "estimate/vi/worked.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static az_ctx *az;

static void open_context(void)
{
    az = az_open(&(az_settings){.threads = 2});
}

static void close_context(void)
{
    cr_expect(az_ok(az), "%s", az_error(az));
    az_close(az);
}

static void close_after_error(void)
{
    az_close(az);
}

static az_tensor *number(double value)
{
    return az_scalar(az, AZ_F64, value);
}

/* ---- the cone: x, y ~ N(0, 10), z ~ N(r, 0.1 + r / 100), r = x^2 + y^2, seen at z = 5 ---- */

static az_tensor *cone(az_vi *vi, void *user)
{
    (void)user;
    az_tensor *x = az_vi_sample(vi, "x", az_vi_normal(number(0), number(10)), AZ_VI_AUTO);
    az_tensor *y = az_vi_sample(vi, "y", az_vi_normal(number(0), number(10)), AZ_VI_AUTO);
    az_tensor *r = az_add(az, az_square(az, x), az_square(az, y));
    return az_vi_sample(vi, "z", az_vi_normal(r, az_affine(az, r, 0.01, 0.1)), AZ_VI_AUTO);
}

static az_tensor *mean_field(az_vi *vi, void *user)
{
    (void)user;
    az_vi_sample(vi, "x", az_vi_normal(az_vi_parameter(vi, "m1"), az_exp(az, az_vi_parameter(vi, "s1"))), AZ_VI_AUTO);
    return az_vi_sample(vi, "y", az_vi_normal(az_vi_parameter(vi, "m2"), az_exp(az, az_vi_parameter(vi, "s2"))), AZ_VI_AUTO);
}

typedef struct cone_case {
    az_vi_law model, guide;
    az_vi_inference inference;
    az_vi_variable variable[4];
    az_vi_problem problem;
} cone_case;

static void make_cone(cone_case *c, const double start[4], int64_t copies)
{
    static const char *const names[] = {"m1", "m2", "s1", "s2"};
    az_vi_trace *data = az_vi_trace_new(az);
    az_vi_trace_set(data, "z", number(5));
    c->model = (az_vi_law){.program = cone};
    c->guide = (az_vi_law){.program = mean_field};
    c->inference = (az_vi_inference){.model = &c->model, .guide = &c->guide, .data = data};
    for (int i = 0; i < 4; i++) c->variable[i] = (az_vi_variable){names[i], number(start[i])};
    c->problem = (az_vi_problem){
        .objective = az_vi_elbo, .user = &c->inference, .variable = c->variable, .variables = 4, .copies = copies, .seed = 3, .each = true};
}

/* Mean over the copies and its standard error. */
static az_vi_value mean_of(const az_tensor *x)
{
    double sum = 0, square = 0;
    const double n = (double)az_count(x);
    for (int64_t i = 0; i < az_count(x); i++) sum += az_item(x, i), square += az_item(x, i) * az_item(x, i);
    const double mean = sum / n;
    return (az_vi_value){mean, sqrt(fmax(square / n - mean * mean, 0) / n)};
}

static void expect_near(az_vi_value got, double expected, double errors, const char *what)
{
    cr_expect(fabs(got.mean - expected) <= errors * got.se + 1e-12, "%s: %.8g (standard error %.2g), expected %.8g", what, got.mean, got.se,
              expected);
}

Test(vi_cone, elbo_and_gradient_equal_quadrature, .init = open_context, .fini = close_context)
{
    static const struct {
        double at[4], value, gradient[4];
    } cases[] = {
        {{0, 0, 1, 1}, -849.5869759467, {0, 0, -770.5101166, -770.5101166}},
        {{2, .5, -1, -.5}, -73.4546048836, {97.04420696, 4.848626257, -98.32501516, -8.528877544}},
    };
    for (int i = 0; i < 2; i++) {
        cone_case c;
        az_vi_value value;
        az_tensor *gradient[4];
        make_cone(&c, cases[i].at, 100000);
        cr_assert(az_vi_gradient(az, &c.problem, 0, &value, gradient), "%s", az_error(az));
        expect_near(value, cases[i].value, 4, "ELBO");
        for (int k = 0; k < 4; k++) expect_near(mean_of(gradient[k]), cases[i].gradient[k], 4, c.variable[k].name);
    }
}

Test(vi_cone, bounds_are_ordered, .init = open_context, .fini = close_context)
{
    cone_case c;
    az_vi_value elbo, iwelbo;
    make_cone(&c, (const double[]){2.21899395, 0, -3.38713449, -1.27645570}, 20000);
    cr_assert(az_vi_gradient(az, &c.problem, 0, &elbo, NULL));
    c.inference.particles = 5;
    c.problem.objective = az_vi_iwelbo;
    cr_assert(az_vi_gradient(az, &c.problem, 0, &iwelbo, NULL));
    expect_near(elbo, -8.0745374042, 4, "the best ELBO");
    cr_expect(elbo.mean < iwelbo.mean && iwelbo.mean < -5.3232320674, "%g %g", elbo.mean, iwelbo.mean);
}

Test(vi_cone, fitting_reaches_the_best_mean_field, .init = open_context, .fini = close_context)
{
    cone_case c;
    az_report *report = az_report_new(az, NULL);
    make_cone(&c, (const double[]){2.0, 0.1, -3, -1}, 64);
    c.problem.each = false;
    const az_vi_fit_settings settings = {.steps = 1500, .lr = 1e-3, .optimizer = AZ_SGD, .draws = 20000};
    cr_assert(az_vi_fit(az, &c.problem, 1, &settings, report), "%s", az_error(az));
    const double reached = az_report_value(report, "fit", "objective");
    cr_expect(fabs(reached + 8.0745) < 0.05, "%g", reached);
}

/* ---- strategies ---- */

typedef struct strategy_case {
    az_vi_strategy strategy;
    double baseline; /* NAN = none */
    double variance; /* of the gradient; NAN = not known */
} strategy_case;

static az_tensor *choose(az_vi *vi, const char *address, az_vi_distribution d, const strategy_case *c)
{
    return isnan(c->baseline) ? az_vi_sample(vi, address, d, c->strategy) : az_vi_sample_baseline(vi, address, d, number(c->baseline));
}

/* b ~ flip(p); L = b ? 0 : -p / 2: E = (p^2 - p) / 2 */
static az_tensor *flip_objective(az_vi *vi, void *user)
{
    az_tensor *p = az_vi_parameter(vi, "p"), *b = choose(vi, "b", az_vi_flip(p), user);
    return az_mul(az, az_affine(az, b, -1, 1), az_affine(az, p, -0.5, 0));
}

/* x ~ N(m, 1); L = x^2 */
static az_tensor *square_objective(az_vi *vi, void *user)
{
    return az_square(az, choose(vi, "x", az_vi_normal(az_vi_parameter(vi, "p"), number(1)), user));
}

/* x ~ N(1, s); L = x^2, by its standard deviation: E = 1 + s^2 */
static az_tensor *spread_objective(az_vi *vi, void *user)
{
    return az_square(az, choose(vi, "x", az_vi_normal(number(1), az_vi_parameter(vi, "p")), user));
}

static az_vi_value gradient_of(az_vi_program *objective, void *user, double at, int64_t copies, double *variance)
{
    az_vi_variable p = {"p", number(at)};
    const az_vi_problem problem = {
        .objective = objective, .user = user, .variable = &p, .variables = 1, .copies = copies, .seed = 5, .each = true};
    az_tensor *gradient = NULL;
    cr_assert(az_vi_gradient(az, &problem, 0, NULL, &gradient), "%s", az_error(az));
    const az_vi_value mean = mean_of(gradient);
    if (variance) *variance = mean.se * mean.se * (double)copies;
    return mean;
}

Test(vi_strategies, flip, .init = open_context, .fini = close_context)
{
    strategy_case exact = {AZ_VI_ENUM, NAN, 0},
                  sampled[] = {{AZ_VI_MVD, NAN, NAN}, {AZ_VI_REINFORCE, NAN, NAN}, {AZ_VI_REINFORCE, -.1, NAN}};
    cr_expect_float_eq(gradient_of(flip_objective, &exact, .7, 3, NULL).mean, .2, 1e-15);
    for (int i = 0; i < 3; i++) expect_near(gradient_of(flip_objective, &sampled[i], .7, 100000, NULL), .2, 4, "flip");
}

Test(vi_strategies, variances_of_a_normal, .init = open_context, .fini = close_context)
{
    strategy_case cases[] = {{AZ_VI_REPARAM, NAN, 4}, {AZ_VI_REINFORCE, NAN, 30}, {AZ_VI_REINFORCE, 2, 18}, {AZ_VI_MVD, NAN, NAN}};
    for (int i = 0; i < 4; i++) {
        double variance;
        expect_near(gradient_of(square_objective, &cases[i], 1, 200000, &variance), 2, 4, "normal");
        if (!isnan(cases[i].variance)) cr_expect(fabs(variance / cases[i].variance - 1) < .05, "case %d: variance %g", i, variance);
        expect_near(gradient_of(spread_objective, &cases[i], .8, 200000, NULL), 1.6, 4, "standard deviation");
    }
}

Test(vi_strategies, leave_one_out_is_unbiased, .init = open_context, .fini = close_context)
{
    strategy_case loo = {AZ_VI_REINFORCE_LOO, NAN, NAN};
    double variance;
    expect_near(gradient_of(square_objective, &loo, 1, 100000, &variance), 2, 4, "leave one out");
    cr_expect(variance < 19, "%g", variance);
}

/* Three dependent flips with costs between them. */
static az_tensor *three_flips(az_vi *vi, void *user)
{
    const az_vi_strategy *s = user;
    az_tensor *p = az_vi_parameter(vi, "p");
    az_tensor *a = az_vi_sample(vi, "a", az_vi_flip(p), s[0]);
    az_vi_cost(vi, az_mul(az, a, az_affine(az, p, 3, 1)));
    az_tensor *b = az_vi_sample(vi, "b", az_vi_flip(az_affine(az, az_mul(az, a, p), .5, .25)), s[1]);
    az_vi_cost(vi, az_affine(az, b, 2, 0));
    az_tensor *c = az_vi_sample(vi, "c", az_vi_flip(az_affine(az, az_add(az, a, b), .3, .2)), s[2]);
    az_tensor *last = az_mul(az, az_add(az, a, b), c);
    return az_add(az, az_square(az, last), az_mul(az, p, c));
}

/* The expectation of three_flips, by its eight paths. */
static double three_flips_mean(double p)
{
    double sum = 0;
    for (int path = 0; path < 8; path++) {
        const double a = path & 1, b = path >> 1 & 1, c = path >> 2 & 1, pb = .25 + .5 * a * p, pc = .2 + .3 * (a + b);
        const double probability = (a ? p : 1 - p) * (b ? pb : 1 - pb) * (c ? pc : 1 - pc);
        sum += probability * (a * (1 + 3 * p) + 2 * b + (a + b) * c * (a + b) * c + p * c);
    }
    return sum;
}

Test(vi_strategies, any_mixture_has_the_same_mean, .init = open_context, .fini = close_context)
{
    static const az_vi_strategy all[] = {AZ_VI_ENUM, AZ_VI_MVD, AZ_VI_REINFORCE};
    const double h = 1e-5, exact = (three_flips_mean(.6 + h) - three_flips_mean(.6 - h)) / (2 * h);
    for (int mix = 0; mix < 27; mix++) {
        az_vi_strategy s[] = {all[mix % 3], all[mix / 3 % 3], all[mix / 9]};
        const bool enumerated = mix == 0;
        const az_vi_value got = gradient_of(three_flips, s, .6, enumerated ? 2 : 20000, NULL);
        if (enumerated)
            cr_expect_float_eq(got.mean, exact, 1e-8);
        else
            expect_near(got, exact, 4.5,
                        az_format_text(az, "%s %s %s", az_vi_strategy_name(s[0]), az_vi_strategy_name(s[1]), az_vi_strategy_name(s[2])));
    }
}

/* i ~ categorical(softmax(0, p, 2p)); L = (i + p)^2 */
static az_tensor *categorical_objective(az_vi *vi, void *user)
{
    const az_vi_strategy *s = user;
    az_tensor *p = az_vi_parameter(vi, "p"), *column = az_reshape(az, p, 2, (int64_t[]){-1, 1});
    az_tensor *logits = az_mul(az, column, az_from(az, AZ_F64, 2, (int64_t[]){1, 3}, (const double[]){0, 1, 2}));
    return az_square(az, az_add(az, az_vi_sample(vi, "i", az_vi_categorical(logits), *s), p));
}

static double categorical_mean(double p)
{
    double norm = 0, sum = 0;
    for (int i = 0; i < 3; i++) norm += exp(i * p), sum += exp(i * p) * (i + p) * (i + p);
    return sum / norm;
}

Test(vi_strategies, categorical, .init = open_context, .fini = close_context)
{
    az_vi_strategy s[] = {AZ_VI_ENUM, AZ_VI_REINFORCE};
    const double h = 1e-5, exact = (categorical_mean(.4 + h) - categorical_mean(.4 - h)) / (2 * h);
    cr_expect_float_eq(gradient_of(categorical_objective, &s[0], .4, 2, NULL).mean, exact, 1e-8);
    expect_near(gradient_of(categorical_objective, &s[1], .4, 100000, NULL), exact, 4, "categorical");
}

/* ---- the coin: Beta(10, 10), 6 heads of 10 ---- */

static az_tensor *coin(az_vi *vi, void *user)
{
    (void)user;
    az_tensor *p = az_vi_sample(vi, "p", az_vi_beta(number(10), number(10)), AZ_VI_AUTO);
    az_tensor *wide = p ? az_reshape(az, p, 2, (int64_t[]){-1, 1}) : NULL;
    return az_vi_sample(vi, "tosses", az_vi_vector(az_vi_flip(wide), 10), AZ_VI_AUTO);
}

static az_tensor *beta_guide(az_vi *vi, void *user)
{
    (void)user;
    return az_vi_sample(vi, "p", az_vi_beta(az_vi_parameter(vi, "a"), az_vi_parameter(vi, "b")), AZ_VI_AUTO);
}

Test(vi_coin, implicit_gradients_equal_the_closed_form, .init = open_context, .fini = close_context)
{
    static const double toss[10] = {1, 1, 1, 1, 1, 1, 0, 0, 0, 0};
    static const struct {
        double a, b, value, gradient[2];
    } cases[] = {{2, 2, -9.7221969089, {NAN, NAN}}, {15, 15, -7.1383673747, {.0689382, -.0689382}}, {16, 14, -7.0693745032, {0, 0}}};
    const az_vi_law model = {.program = coin}, guide = {.program = beta_guide};
    az_vi_trace *data = az_vi_trace_new(az);
    az_vi_trace_set(data, "tosses", az_from(az, AZ_F64, 2, (int64_t[]){1, 10}, toss));
    az_vi_inference inference = {.model = &model, .guide = &guide, .data = data};
    for (int i = 0; i < 3; i++) {
        az_vi_variable variable[] = {{"a", number(cases[i].a)}, {"b", number(cases[i].b)}};
        const az_vi_problem problem = {
            .objective = az_vi_elbo, .user = &inference, .variable = variable, .variables = 2, .copies = 100000, .seed = 2, .each = true};
        az_vi_value value;
        az_tensor *gradient[2];
        cr_assert(az_vi_gradient(az, &problem, 0, &value, gradient), "%s", az_error(az));
        expect_near((az_vi_value){value.mean, value.se + 1e-9}, cases[i].value, 4, "ELBO");
        for (int k = 0; k < 2; k++)
            if (!isnan(cases[i].gradient[k])) expect_near(mean_of(gradient[k]), cases[i].gradient[k], 4, variable[k].name);
    }
}

/* x ~ gamma(a, b); L = log x */
static az_tensor *log_gamma_objective(az_vi *vi, void *user)
{
    (void)user;
    return az_log(az, az_vi_sample(vi, "x", az_vi_gamma(az_vi_parameter(vi, "a"), az_vi_parameter(vi, "b")), AZ_VI_AUTO));
}

/* ---- exact gradients ---- */

typedef struct worked_case {
    vi_worked_user user;
    az_vi_law model, guide;
    az_vi_inference inference;
    az_vi_variable variable[VI_MOST_VARIABLES + 1];
    az_vi_problem problem;
} worked_case;

/* A worked model at a point, its own variable last. */
static void make_worked(worked_case *c, int which, az_vi_program *objective, int particles, const double *at)
{
    const vi_worked *worked = &vi_worked_models[which];
    static const double toss[10] = {1, 1, 1, 1, 1, 1, 0, 0, 0, 0};
    az_vi_trace *data = az_vi_trace_new(az);
    az_vi_trace_set(data, worked->observed,
                    which == VI_COIN ? az_from(az, AZ_F64, 2, (int64_t[]){1, 10}, toss) : number(worked->observation));
    c->user = (vi_worked_user){.learns = true, .radius = sqrt(worked->observation)};
    c->model = (az_vi_law){.program = worked->model, .user = &c->user};
    c->guide = (az_vi_law){.program = worked->guide, .user = &c->user, .keep = worked->keep, .particles = 5};
    c->inference = (az_vi_inference){.model = &c->model, .guide = &c->guide, .data = data, .particles = particles};
    for (int i = 0; i < worked->variables; i++) c->variable[i] = (az_vi_variable){worked->variable[i].name, number(at[i])};
    c->variable[worked->variables] = (az_vi_variable){worked->own.name, number(worked->own.start)};
    c->problem = (az_vi_problem){.objective = objective,
                                 .user = &c->inference,
                                 .variable = c->variable,
                                 .variables = worked->variables + 1,
                                 .copies = 8000,
                                 .seed = 5,
                                 .each = true};
}

static void expect_exact(const vi_worked *worked, const az_vi_problem *problem, double *gradient)
{
    const char *why = vi_exact_gradient(az, worked, problem, gradient);
    cr_assert(!why && az_ok(az), "%s: %s; %s", worked->name, why, az_error(az));
}

Test(vi_exact, known_gradients_of_the_elbo, .init = open_context, .fini = close_context)
{
    const double log_15 = log(15), logit = log(.3 * 2 * exp(-2) / (.7 * .5 * exp(-.5)));
    const struct {
        int model;
        double at[4], gradient[4];
    } cases[] = {
        {VI_CONE, {0, 0, 1, 1}, {0, 0, -770.5101166, -770.5101166}},
        {VI_CONE, {2, .5, -1, -.5}, {97.04420696, 4.848626257, -98.32501516, -8.528877544}},
        {VI_COIN, {log_15, log_15}, {15 * .06893822785, -15 * .06893822785}},
        {VI_COIN, {log(16), log(14)}, {0, 0}}, /* the posteriors themselves */
        {VI_LAMP, {logit}, {0}},
        {VI_LAMP, {0}, {.25 * logit}}, /* q (1 - q) (the posterior's log odds - the guide's) */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const vi_worked *worked = &vi_worked_models[cases[i].model];
        worked_case c;
        double exact[VI_MOST_VARIABLES + 1];
        make_worked(&c, cases[i].model, az_vi_elbo, 1, cases[i].at);
        expect_exact(worked, &c.problem, exact);
        for (int k = 0; k < worked->variables; k++)
            cr_expect_float_eq(exact[k], cases[i].gradient[k], 1e-7 * fmax(1, fabs(cases[i].gradient[k])), "%s, %s: %.10g", worked->name,
                               c.variable[k].name, exact[k]);
    }
}

/* Two particles of a uniform guide on the coin, by NumPy on grids of 1601 and 6401 nodes a particle, which agree: their weights change over
 * within a short distance. */
Test(vi_exact, two_particles_are_integrated_to_the_end, .init = open_context, .fini = close_context)
{
    static const struct {
        az_vi_program *objective;
        int first;
        double gradient[2];
    } cases[] = {{az_vi_iwelbo, 0, {2.229031447, 1.267117648}},
                 {az_vi_qwake, 0, {-.2394830607, -.1380118988}},
                 {az_vi_pwake, 2, {-.5073558086, NAN}}};
    for (int i = 0; i < 3; i++) {
        worked_case c;
        double exact[VI_MOST_VARIABLES + 1];
        make_worked(&c, VI_COIN, cases[i].objective, 2, (const double[]){0, 0, 0});
        expect_exact(&vi_worked_models[VI_COIN], &c.problem, exact);
        for (int k = 0; k < 2 && !isnan(cases[i].gradient[k]); k++)
            cr_expect_float_eq(exact[cases[i].first + k], cases[i].gradient[k], 1e-8, "case %d: %.12g", i, exact[cases[i].first + k]);
    }
}

/* The ring with log sds 0 and -.5, by NumPy to the six digits that the grids promise: x and y over 56 Gauss-Hermite nodes each around 64
 * points of the ring, and 64 second draws of the angle (elbo); over 120 and 400 equal steps each and 96 and 64 of an angle (qwake, pwake);
 * the gradients are differences of fourth order of the values. */
Test(vi_exact, ring_is_integrated_over_its_angles, .init = open_context, .fini = close_context)
{
    static const struct {
        az_vi_program *objective;
        int inner, first;
        double gradient[2];
    } cases[] = {{az_vi_elbo, 1, 0, {-239.733114, -108.094163}},
                 {az_vi_elbo, 2, 0, {-239.829052, -108.206730}},
                 {az_vi_qwake, 2, 0, {-3.6194117, -6.6330786}},
                 {az_vi_pwake, 2, 2, {1.93632121, NAN}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        worked_case c;
        double exact[VI_MOST_VARIABLES + 1];
        make_worked(&c, VI_RING, cases[i].objective, 1, (const double[]){0, -.5});
        c.guide.particles = cases[i].inner;
        expect_exact(&vi_worked_models[VI_RING], &c.problem, exact);
        for (int k = 0; k < 2 && !isnan(cases[i].gradient[k]); k++)
            cr_expect_float_eq(exact[cases[i].first + k], cases[i].gradient[k], 1e-6 * fabs(cases[i].gradient[k]), "case %zu: %.12g", i,
                               exact[cases[i].first + k]);
    }
}

Test(vi_exact, draws_agree_under_every_objective, .init = open_context, .fini = close_context)
{
    const struct {
        int model, particles;
        az_vi_program *objective;
        double at[4];
    } cases[] = {
        {VI_LAMP, 4, az_vi_iwelbo, {.4}},   {VI_LAMP, 4, az_vi_qwake, {.4}},
        {VI_LAMP, 4, az_vi_pwake, {.4}},    {VI_COIN, 2, az_vi_iwelbo, {1}},
        {VI_COIN, 2, az_vi_qwake, {1, .5}}, {VI_COIN, 2, az_vi_pwake, {1, .5}},
        {VI_CONE, 1, az_vi_qwake, {1}},     {VI_CONE, 1, az_vi_pwake, {1}},
        {VI_COIN, 7, az_vi_iwelbo, {1}},    {VI_CONE, 3, az_vi_qwake, {2, .5, -1.5, -1}},
        {VI_RING, 1, az_vi_elbo, {-1, -1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        worked_case c;
        az_tensor *gradient[VI_MOST_VARIABLES + 1];
        double exact[VI_MOST_VARIABLES + 1];
        make_worked(&c, cases[i].model, cases[i].objective, cases[i].particles, cases[i].at);
        expect_exact(&vi_worked_models[cases[i].model], &c.problem, exact);
        cr_assert(az_vi_gradient(az, &c.problem, 0, NULL, gradient), "%s", az_error(az));
        for (int k = 0; k < c.problem.variables; k++)
            expect_near(mean_of(gradient[k]), exact[k], 4.5, az_format_text(az, "case %zu, %s", i, c.variable[k].name));
    }
}

/* The coin's posterior is Beta(16, 14), the lamp's a flip with known log odds. */
Test(vi_exact, every_strategy_fits_a_conjugate_posterior, .init = open_context, .fini = close_context)
{
    const double logit = log(.3 * 2 * exp(-2) / (.7 * .5 * exp(-.5)));
    static const struct {
        int model;
        az_vi_strategy strategy;
    } cases[] = {{VI_COIN, AZ_VI_REPARAM}, {VI_COIN, AZ_VI_REINFORCE}, {VI_COIN, AZ_VI_REINFORCE_LOO}, {VI_LAMP, AZ_VI_ENUM},
                 {VI_LAMP, AZ_VI_MVD},     {VI_LAMP, AZ_VI_REINFORCE}, {VI_LAMP, AZ_VI_REINFORCE_LOO}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const bool coin_model = cases[i].model == VI_COIN;
        const char *name = az_vi_strategy_name(cases[i].strategy);
        worked_case c;
        make_worked(&c, cases[i].model, az_vi_elbo, 1, coin_model ? (const double[]){2, 2} : (const double[]){0});
        c.user.learns = false;
        c.problem.variables--;
        c.problem.each = false;
        c.problem.copies = 128;
        c.problem.strategy = cases[i].strategy;
        const az_vi_fit_settings settings = {.steps = 600, .lr = .02, .optimizer = AZ_ADAMW, .draws = 2000};
        cr_assert(az_vi_fit(az, &c.problem, 1, &settings, az_report_new(az, NULL)), "%s", az_error(az));
        const double first = az_to_double(c.variable[0].value), a = exp(first), b = coin_model ? exp(az_to_double(c.variable[1].value)) : 0;
        if (coin_model) {
            cr_expect_float_eq(a / (a + b), 16. / 30, .02, "%s: mean %g", name, a / (a + b));
            cr_expect_float_eq(log(a + b), log(30), .15, "%s: %g observations", name, a + b);
        } else {
            const double tolerance = cases[i].strategy == AZ_VI_ENUM ? 1e-3 : .1;
            cr_expect_float_eq(first, logit, tolerance, "%s: log odds %g", name, first);
        }
    }
}

Test(vi_exact, says_why_there_is_none, .init = open_context, .fini = close_context)
{
    worked_case c;
    double exact[VI_MOST_VARIABLES + 1];
    make_worked(&c, VI_RING, az_vi_iwelbo, 2, (const double[]){0, 0});
    const char *why = vi_exact_gradient(az, &vi_worked_models[VI_RING], &c.problem, exact);
    cr_expect(why && strstr(why, "particles=1 or inner=1"), "%s", why);
    make_worked(&c, VI_CONE, az_vi_iwelbo, 2, (const double[]){0, 0, 5, 5}); /* a posterior 1/5000 as wide as the guide */
    why = vi_exact_gradient(az, &vi_worked_models[VI_CONE], &c.problem, exact);
    cr_expect(why && strstr(why, "too narrow"), "%s", why);
}

/* ---- laws on a finite model: u ~ flip(.3), x ~ flip(u ? .9 : .2) ---- */

static az_tensor *coins(az_vi *vi, void *user)
{
    (void)user;
    az_tensor *u = az_vi_sample(vi, "u", az_vi_flip(number(.3)), AZ_VI_AUTO);
    return az_vi_sample(vi, "x", az_vi_flip(az_affine(az, u, .7, .2)), AZ_VI_AUTO);
}

/* A proposal for u that looks at x. */
static az_tensor *guess(az_vi *vi, void *user)
{
    (void)user;
    return az_vi_sample(vi, "u", az_vi_flip(az_affine(az, az_vi_given(vi, "x"), .4, .25)), AZ_VI_AUTO);
}

typedef struct law_case {
    az_vi_law law;
    bool reciprocal; /* E[1 / w; x = 1], else E[w] at x = 1 */
} law_case;

static az_tensor *law_weight(az_vi *vi, void *user)
{
    const law_case *c = user;
    az_vi_trace *trace = NULL;
    if (c->reciprocal) {
        az_tensor *density = az_vi_simulate(vi, &c->law, &trace);
        return density ? az_mul(az, az_vi_trace_get(trace, "x"), az_exp(az, az_neg(az, density))) : NULL;
    }
    trace = az_vi_trace_new(az);
    az_vi_trace_set(trace, "x", number(1));
    return az_exp(az, az_vi_density(vi, &c->law, trace));
}

Test(vi_laws, marginal_estimates_are_unbiased_both_ways, .init = open_context, .fini = close_context)
{
    static const char *const keep[] = {"x", NULL};
    const double p1 = .3 * .9 + .7 * .2;
    const az_vi_law proposal = {.program = guess};
    for (int n = 1; n <= 3; n++)
        for (int custom = 0; custom < 2; custom++)
            for (int reciprocal = 0; reciprocal < 2; reciprocal++) {
                law_case c = {{.program = coins, .keep = keep, .particles = n, .proposal = custom ? &proposal : NULL}, reciprocal != 0};
                az_vi_variable unused = {"unused", number(0)};
                /* by enumeration of every choice: exact */
                const az_vi_problem problem = {.objective = law_weight, .user = &c, .variable = &unused, .variables = 1, .copies = 1};
                az_vi_value value;
                az_tensor *gradient = NULL;
                cr_assert(az_vi_gradient(az, &problem, 0, &value, &gradient), "%s", az_error(az));
                /* the probability of x = 1 cancels against 1/p(x): the sum over x = 1 of p(x) E[1/w | x] is 1 */
                cr_expect_float_eq(value.mean, reciprocal ? 1 : p1, 1e-12, "n = %d, custom %d, reciprocal %d: %.15g", n, custom, reciprocal,
                                   value.mean);
            }
}

static az_tensor *posterior_weight(az_vi *vi, void *user)
{
    const law_case *c = user;
    az_vi_trace *trace = NULL;
    if (c->reciprocal) {
        az_tensor *density = az_vi_simulate(vi, &c->law, &trace);
        return density ? az_mul(az, az_vi_trace_get(trace, "u"), az_exp(az, az_neg(az, density))) : NULL;
    }
    trace = az_vi_trace_new(az);
    az_vi_trace_set(trace, "u", number(1));
    return az_exp(az, az_vi_density(vi, &c->law, trace));
}

Test(vi_laws, posterior_of_sampling_importance_resampling, .init = open_context, .fini = close_context)
{
    az_vi_trace *given = az_vi_trace_new(az);
    az_vi_trace_set(given, "x", number(1));
    const az_vi_law proposal = {.program = guess};
    for (int n = 1; n <= 3; n++)
        for (int custom = 0; custom < 2; custom++) {
            law_case c = {{.program = coins, .given = given, .particles = n, .proposal = custom ? &proposal : NULL}, true};
            az_vi_variable unused = {"unused", number(0)};
            const az_vi_problem problem = {.objective = posterior_weight, .user = &c, .variable = &unused, .variables = 1, .copies = 1};
            az_vi_value value;
            az_tensor *gradient = NULL;
            cr_assert(az_vi_gradient(az, &problem, 0, &value, &gradient), "%s", az_error(az));
            cr_expect_float_eq(value.mean, 1, 1e-12, "n = %d: %.15g", n, value.mean); /* sum over u = 1 of q(u) E[1/w | u] */
        }
}

/* ---- gamma functions ---- */

Test(vi_gamma, shape_slopes_equal_40_digit_ones)
{
    /* a, x, dx/da: mpmath, -diff(lambda a: gammainc(a, 0, x, regularized=True), a) * gamma(a) * exp(x) / x^(a-1) */
    static const double cases[][3] = {{1, 1, 1.173563027224727},    {1, 5, 2.357075753620365},  {10, 10, 1.016823490431075},
                                      {.5, .1, .5097655670826972},  {.3, 2, 3.564110321246921}, {50, 60, 1.097579585776727},
                                      {200, 150, .8637637477907577}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double slope = vi_gamma_slope(cases[i][0], cases[i][1]);
        cr_expect(fabs(slope / cases[i][2] - 1) < 1e-11, "a = %g, x = %g: %.16g", cases[i][0], cases[i][1], slope);
    }
}

Test(vi_gamma, gradients_of_a_gamma_variable, .init = open_context, .fini = close_context)
{
    /* E[log x] = psi(a) - log b at a = 1.5, b = 2 */
    az_vi_variable variable[] = {{"a", number(1.5)}, {"b", number(2)}};
    const az_vi_problem problem = {.objective = log_gamma_objective, .variable = variable, .variables = 2, .copies = 100000, .each = true};
    az_tensor *gradient[2];
    cr_assert(az_vi_gradient(az, &problem, 0, NULL, gradient), "%s", az_error(az));
    expect_near(mean_of(gradient[0]), az_to_double(az_polygamma(az, 1, number(1.5))), 4, "shape");
    expect_near(mean_of(gradient[1]), -.5, 4, "rate");
}

/* ---- errors ---- */

static az_tensor *faulty(az_vi *vi, void *user)
{
    const int fault = *(const int *)user;
    az_tensor *p = az_vi_parameter(vi, "p");
    if (fault == 0) return az_vi_sample(vi, "late", az_vi_normal(p, number(-1)), AZ_VI_AUTO);
    if (fault == 1) return az_vi_sample(vi, "coin", az_vi_flip(number(1.5)), AZ_VI_AUTO);
    if (fault == 2) return az_vi_sample(vi, "coin", az_vi_flip(number(.5)), AZ_VI_REPARAM);
    if (fault == 3) return az_vi_sample(vi, "wide", az_vi_normal(p, number(1)), AZ_VI_ENUM);
    if (fault == 4) return az_vi_parameter(vi, "q");
    if (fault == 5) return az_log(az, az_affine(az, p, 0, -1));
    if (fault == 7) return az_vi_sample(vi, "speed", az_vi_normal(p, number(1)), AZ_VI_AUTO); /* the problem says enum */
    if (fault == 8) return az_vi_sample(vi, "share", az_vi_beta(number(1), number(1)), AZ_VI_AUTO);
    if (fault == 9) return az_vi_sample(vi, "kind", az_vi_categorical(az_zeros(az, AZ_F64, 1, (int64_t[]){3})), AZ_VI_AUTO);
    az_vi_sample(vi, "twice", az_vi_normal(p, number(1)), AZ_VI_AUTO);
    return az_vi_sample(vi, "twice", az_vi_normal(p, number(1)), AZ_VI_AUTO);
}

Test(vi_errors, name_the_choice)
{
    static const char *const words[] = {"'late': the standard deviation is -1",
                                        "'coin': the probability is 1.5",
                                        "cannot be followed by reparam",
                                        "'wide'",
                                        "no variable 'q'",
                                        "nan in copy 0",
                                        "'twice' occurs twice",
                                        "'speed': a choice from normal cannot be followed by enum; these strategies fit it: reparam, "
                                        "reinforce, reinforce-loo, mvd",
                                        "'share': a choice from beta cannot be followed by mvd; these strategies fit it: reparam, "
                                        "reinforce, reinforce-loo",
                                        "'kind': a choice from categorical cannot be followed by reparam; these strategies fit it: "
                                        "reinforce, reinforce-loo, enum"};
    static const az_vi_strategy asked[] = {[7] = AZ_VI_ENUM, AZ_VI_MVD, AZ_VI_REPARAM};
    for (int fault = 0; fault < 10; fault++) {
        open_context();
        az_vi_variable p = {"p", number(0)};
        const az_vi_problem problem = {.objective = faulty, .user = &fault, .variable = &p, .variables = 1, .strategy = asked[fault]};
        az_tensor *gradient;
        cr_expect_not(az_vi_gradient(az, &problem, 0, NULL, &gradient));
        cr_expect(strstr(az_error(az), words[fault]), "%s", az_error(az));
        close_after_error();
    }
}

Test(vi_errors, guide_and_model_must_make_the_same_choices)
{
    static const char *const extra[] = {"x", "y", "w"};
    for (int fault = 0; fault < 2; fault++) {
        open_context();
        cone_case c;
        make_cone(&c, (const double[]){1, 1, 0, 0}, 1);
        az_vi_trace *data = az_vi_trace_new(az);
        if (fault == 0) az_vi_trace_set(data, extra[2], number(1));
        c.inference.data = data;
        cr_expect_not(az_vi_gradient(az, &c.problem, 0, NULL, NULL));
        cr_expect(strstr(az_error(az), "'z'") || strstr(az_error(az), "'w'"), "%s", az_error(az));
        close_after_error();
    }
}

/* The square of the number of heads of eight coins. */
static az_tensor *eight_coins(az_vi *vi, void *user)
{
    (void)user;
    az_tensor *sum = number(0);
    for (int i = 0; i < 8; i++)
        sum = az_add(az, sum, az_vi_sample(vi, az_format_text(az, "coin %d", i), az_vi_flip(az_vi_parameter(vi, "p")), AZ_VI_MVD));
    return az_square(az, sum);
}

/* The other value of a choice needs one more run, whatever the number of choices behind it. */
Test(vi_strategies, measure_valued_choices_need_a_run_each, .init = open_context, .fini = close_context)
{
    az_vi_variable p = {"p", number(.3)};
    const az_vi_problem problem = {
        .objective = eight_coins, .variable = &p, .variables = 1, .copies = 5000, .most_branches = 9, .each = true};
    az_tensor *gradient;
    cr_assert(az_vi_gradient(az, &problem, 0, NULL, &gradient), "%s", az_error(az));
    expect_near(mean_of(gradient), 8 + 2 * 8 * 7 * .3, 4, "8 p (1 - p) + 64 p^2");
}

Test(vi_errors, a_step_for_each_problem)
{
    open_context();
    cone_case c;
    make_cone(&c, (const double[]){0, 0, 1, 1}, 2);
    const az_vi_problem two[] = {c.problem, c.problem};
    const az_vi_fit_settings settings = {.steps = 1, .lr = 1e-3, .optimizer = AZ_SGD};
    cr_expect_not(az_vi_fit(az, two, 2, &settings, az_report_new(az, NULL)));
    cr_expect(strstr(az_error(az), "at least one for each of the 2 objectives"), "%s", az_error(az));
    close_after_error();
}

Test(vi_errors, too_many_branches)
{
    open_context();
    az_vi_variable p = {"p", number(.3)};
    const az_vi_strategy all[] = {AZ_VI_ENUM, AZ_VI_ENUM, AZ_VI_ENUM};
    const az_vi_problem problem = {.objective = three_flips, .user = (void *)all, .variable = &p, .variables = 1, .most_branches = 7};
    az_tensor *gradient;
    cr_expect_not(az_vi_gradient(az, &problem, 0, NULL, &gradient));
    cr_expect(strstr(az_error(az), "more than 7 runs"), "%s", az_error(az));
    close_after_error();
}
