/* vi_regression.c - Bayesian linear regression on any table: vi_regression FILE.csv 'y ~ x1 + x2'.
 *
 * Coefficients are N(0, 10), the log deviation of the noise is N(0, 3). The guide is a normal of full covariance, mean + L noise, whose L
 * is the exponential of a diagonal plus a strictly lower triangle. Prints posterior means and deviations, and the evidence's bound. */
#include <adze/adze.h>
#include <adze/vi.h>

#include <math.h>
#include <stdio.h>

typedef struct regression {
    const az_tensor *x, *y; /* [n, p], [n] */
    az_tensor *lower;       /* [p + 1, p + 1] ones below the diagonal */
    az_tensor *diagonal;    /* and on it */
} regression;

static az_tensor *model(az_vi *vi, void *user)
{
    const regression *r = user;
    az_ctx *az = az_vi_context(vi);
    const int64_t p = r->x->shape[1], n = r->x->shape[0];
    double wide[64];
    for (int64_t i = 0; i <= p; i++) wide[i] = i < p ? 10 : 3;
    az_tensor *sd = az_from(az, AZ_F64, 1, (int64_t[]){p + 1}, wide);
    az_tensor *all = az_vi_sample(vi, "coefficients", az_vi_vector(az_vi_normal(az_vi_number(vi, 0), sd), p + 1), AZ_VI_AUTO);
    if (!all) return NULL;
    az_tensor *mean = az_matmul_nt(az, az_slice(az, all, 1, 0, p), r->x); /* [copies, n] */
    az_tensor *noise = az_exp(az, az_slice(az, all, 1, p, 1));
    return az_vi_sample(vi, "y", az_vi_vector(az_vi_normal(mean, noise), n), AZ_VI_AUTO);
}

static az_tensor *guide(az_vi *vi, void *user)
{
    const regression *r = user;
    az_ctx *az = az_vi_context(vi);
    az_tensor *square = az_vi_parameter(vi, "cholesky");
    az_tensor *l = az_add(az, az_mul(az, square, r->lower), az_mul(az, az_exp(az, az_mul(az, square, r->diagonal)), r->diagonal));
    return az_vi_sample(vi, "coefficients", az_vi_mvnormal(az_vi_parameter(vi, "mean"), l), AZ_VI_AUTO);
}

static bool make(az_ctx *az, const az_design *design, regression *r, az_vi_variable variable[2])
{
    const int64_t k = design->p + 1, shape[] = {k, k};
    *r = (regression){.x = design->x, .y = design->y, .lower = az_zeros(az, AZ_F64, 2, shape), .diagonal = az_zeros(az, AZ_F64, 2, shape)};
    az_tensor *start = az_zeros(az, AZ_F64, 2, shape), *least = az_least_squares(az, design->x, design->y, -1);
    az_tensor *mean = az_zeros(az, AZ_F64, 1, &k);
    if (!az_ok(az)) return false;
    for (int64_t i = 0; i < k; i++) {
        for (int64_t j = 0; j < i; j++) az_f64_mut(r->lower)[i * k + j] = 1;
        az_f64_mut(r->diagonal)[i * k + i] = 1;
        az_f64_mut(start)[i * k + i] = -2;
        if (i < k - 1) az_f64_mut(mean)[i] = az_item(least, i);
    }
    variable[0] = (az_vi_variable){"mean", mean};
    variable[1] = (az_vi_variable){"cholesky", start};
    return true;
}

static void print(const az_design *design, const az_vi_variable variable[2])
{
    const int64_t k = design->p + 1;
    for (int64_t i = 0; i < k; i++) {
        double variance = 0;
        for (int64_t j = 0; j <= i; j++) {
            const double entry = az_item(variable[1].value, i * k + j), l = i == j ? exp(entry) : entry;
            variance += l * l;
        }
        printf("%-24s %12.5g +- %.3g\n", i < k - 1 ? design->name[i] : "log noise", az_item(variable[0].value, i), sqrt(variance));
    }
}

static bool fit(az_ctx *az, const char *path, const char *formula)
{
    const az_design *design = az_design_new(az, formula, az_table_read(az, path, NULL));
    regression r;
    az_vi_variable variable[2];
    if (!design) return false;
    if (!design->y || design->p > 62) return az_fail(az, AZ_BAD_INPUT, "a formula with a left side and at most 62 columns, please");
    if (!make(az, design, &r, variable)) return false;
    az_vi_trace *data = az_vi_trace_new(az);
    az_vi_trace_set(data, "y", az_reshape(az, r.y, 2, (int64_t[]){1, -1}));
    const az_vi_law p = {.program = model, .user = &r}, q = {.program = guide, .user = &r};
    az_vi_inference inference = {.model = &p, .guide = &q, .data = data};
    const az_vi_problem problem = {.objective = az_vi_elbo, .user = &inference, .variable = variable, .variables = 2, .copies = 16};
    az_report *report = az_report_new(az, NULL);
    az_vi_fit_settings settings = {.steps = 1000, .lr = 0.05, .optimizer = AZ_ADAMW, .draws = 1000};
    for (int stage = 0; stage < 3; stage++, settings.lr /= 5)
        if (!az_vi_fit(az, &problem, 1, &settings, report)) return false;
    print(design, variable);
    printf("evidence: at least %.3f nat\n", az_report_value(report, "fit", "objective"));
    return true;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s FILE.csv 'y ~ x1 + x2'\n", argv[0]);
        return 2;
    }
    az_ctx *az = az_open(NULL);
    const bool good = fit(az, argv[1], argv[2]);
    if (!good) fprintf(stderr, "%s\n", az_error(az));
    az_close(az);
    return good ? 0 : 2;
}
