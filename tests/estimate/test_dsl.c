/* Design-based supervised learning: numbers worked out elsewhere, identities with ordinary regression, coverage, and bad input. */
#include "adze/linalg.h"
#include "claims/splitmix.h"
#include "estimate/dsl.h"
#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

extern const az_method az_dsl;

typedef struct made_data {
    double *x1, *x2, *y, *q, *gold, *pi, *fold, *y2; /* [n] */
    int64_t n;
} made_data;

static double sigmoid(double t)
{
    return 1 / (1 + exp(-t));
}

/* Outcome y with a machine's label q, right in 75 % of the rows with x1 = 1 and 95 % of the others, where it errs towards 1. Gold labels
 * for 30 % and 15 % of the rows. y2 is an outcome of y as a covariate. */
static made_data make_data(az_ctx *az, uint64_t seed, int64_t n)
{
    const double *u0 = splitmix_uniform(az, seed, n), *g = splitmix_normal(az, seed + 1, n), *u2 = splitmix_uniform(az, seed + 2, n);
    const double *u3 = splitmix_uniform(az, seed + 3, n), *u4 = splitmix_uniform(az, seed + 4, n), *u5 = splitmix_uniform(az, seed + 5, n);
    made_data m = {.n = n};
    double **columns[] = {&m.x1, &m.x2, &m.y, &m.q, &m.gold, &m.pi, &m.fold, &m.y2};
    for (int c = 0; c < 8; c++) *columns[c] = az_alloc_array(az, (size_t)n, sizeof(double));
    for (int64_t i = 0; i < n; i++) {
        m.x1[i] = u0[i] < 0.5;
        m.x2[i] = g[i];
        m.y[i] = u2[i] < sigmoid(-0.3 + 0.8 * m.x1[i] + 0.5 * m.x2[i]);
        m.q[i] = u3[i] < (m.x1[i] == 1 ? 0.75 : 0.95) ? m.y[i] : 1;
        m.pi[i] = m.x1[i] == 1 ? 0.3 : 0.15;
        m.gold[i] = u4[i] < m.pi[i] ? m.y[i] : NAN;
        m.fold[i] = (double)(i % 5);
        m.y2[i] = u5[i] < sigmoid(0.2 + m.y[i] - 0.4 * m.x2[i]);
    }
    return m;
}

static az_table *table_of(az_ctx *az, const made_data *m)
{
    az_table *t = az_table_new(az, m->n);
    az_table_add(az, t, "x1", m->x1);
    az_table_add(az, t, "x2", m->x2);
    az_table_add(az, t, "y", m->gold);
    az_table_add(az, t, "q", m->q);
    az_table_add(az, t, "pi", m->pi);
    az_table_add(az, t, "fold", m->fold);
    az_table_add(az, t, "y2", m->y2);
    return t;
}

static dsl_options *options_of(az_ctx *az, const char *text)
{
    dsl_options *o = az_alloc(az, sizeof *o);
    cr_assert(az_options_parse(az, az_dsl.options, "dsl", text, o), "%s", az_error(az));
    return o;
}

static const dsl_fit *fit(az_ctx *az, const az_table *table, const char *text)
{
    return dsl_estimate(az, dsl_read(az, options_of(az, text), table), 1);
}

static void check_fit(const dsl_fit *f, const double *b, const double *se, double tolerance)
{
    for (int j = 0; j < 3; j++) {
        cr_assert_float_eq(az_item(f->coefficient, j), b[j], tolerance, "coefficient %d: %.12g", j, az_item(f->coefficient, j));
        if (se) cr_assert_float_eq(f->se[j], se[j], tolerance, "se %d: %.12g", j, f->se[j]);
    }
}

/* Computed with NumPy, from the same data. */
Test(dsl, numbers_worked_out_elsewhere)
{
    az_ctx *az = az_open(NULL);
    const made_data m = make_data(az, 20230, 2000);
    const az_table *t = table_of(az, &m);
    const dsl_fit *f =
        fit(az, t, "formula=y ~ x1 + x2,gold=y,surrogate=q,feature=x1 + x2,prob=pi,fold=fold,label_model=ols,no-rescale_prob");
    cr_assert_not_null(f, "%s", az_error(az));
    check_fit(f, (double[]){.4370608672, .1951959339, .1121621453}, (double[]){.0209106747, .0286718097, .0124949479}, 1e-10);
    f = fit(az, t, "formula=y ~ x1 + x2,gold=y,surrogate=q,feature=x1 + x2,prob=pi,fold=fold,label_model=ols,no-rescale_prob,model=logit");
    check_fit(f, (double[]){-.2673776433, .8409604706, .4961715282}, (double[]){.0904982973, .1279100649, .0614952002}, 1e-10);
    check_fit(&(dsl_fit){.coefficient = f->naive->coefficient}, (double[]){-.1383367748, 1.0616211601, .4234407982}, NULL, 1e-10);
    check_fit(&(dsl_fit){.coefficient = f->gold_only->coefficient}, (double[]){-.2029460496, .9071966834, .5081333162}, NULL, 1e-10);
    f = fit(az, t, "formula=y ~ x1 + x2,gold=y,surrogate=q,feature=x1 + x2,prob=pi,fold=fold,label_model=ols,model=logit");
    check_fit(f, (double[]){-.2676245381, .8413374572, .4966877297}, (double[]){.088472434, .1248889087, .0604149015}, 1e-9);
    az_close(az);
}

/* The R package dsl (github.com/naoki-egami/dsl): dsl_general_moment_est(model, y ~ x1 + x2, "lab", "pi", "y", data, predicted, clustered,
 * lambda = 0) of R/helper_dsl_general.R on the same data, with lm(y ~ q + x1 + x2) on the labelled rows of the other folds as predictions.
 * Its solutions are as exact as optim's L-BFGS-B is. */
Test(dsl, numbers_of_the_authors_package)
{
    az_ctx *az = az_open(NULL);
    const made_data m = make_data(az, 20230, 2000);
    az_table *t = table_of(az, &m);
    double *unit = az_alloc_array(az, 2000, sizeof *unit);
    for (int i = 0; i < 2000; i++) unit[i] = i / 50;
    az_table_add(az, t, "unit", unit);
    static const struct {
        const char *options;
        double b[3], se[3];
        bool clustered; /* these units reach over folds, which a table may not have; the reference does not look at that */
    } cases[] = {
        {"model=lm", {.4370608368, .1951959924, .1121621209}, {.0209106747, .0286718097, .0124949479}},
        {"model=logit", {-.2673733779, .8409614729, .4961841766}, {.0904984912, .1279104823, .0614956848}},
        {"model=lm", {.4370608368, .1951959924, .1121621209}, {.0226510513, .0324331326, .0170849529}, true},
        {"model=logit", {-.2673733779, .8409614729, .4961841766}, {.0971541742, .1422828612, .0834893398}, true},
        {"model=felm,effects=unit", {.1989673593, .1153848873}, {.0290791312, .0127365306}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const char *options = az_format_text(az,
                                             "formula=y ~ x1 + x2,gold=y,surrogate=q,feature=x1 + x2,prob=pi,fold=fold,label_model=ols,"
                                             "no-rescale_prob,%s",
                                             cases[c].options);
        dsl_data *data = dsl_read(az, options_of(az, options), t);
        cr_assert(data, "%s: %s", cases[c].options, az_error(az));
        for (int i = 0; cases[c].clustered && i < 2000; i++) data->cluster[i] = i / 50;
        if (cases[c].clustered) data->clusters = 40;
        const dsl_fit *f = dsl_estimate(az, data, 1);
        cr_assert(f, "%s: %s", cases[c].options, az_error(az));
        for (int j = 0; j < f->p; j++) {
            cr_expect_float_eq(az_item(f->coefficient, j), cases[c].b[j], 2e-5, "%s, coefficient %d: %.10g", cases[c].options, j,
                               az_item(f->coefficient, j));
            cr_expect_float_eq(f->se[j], cases[c].se[j], 2e-5, "%s, se %d: %.10g", cases[c].options, j, f->se[j]);
        }
    }
    az_close(az);
}

Test(dsl, a_label_as_covariate)
{
    az_ctx *az = az_open(NULL);
    const made_data m = make_data(az, 20230, 2000);
    const az_table *t = table_of(az, &m);
    const dsl_fit *f =
        fit(az, t, "formula=y2 ~ y + x2,gold=y,surrogate=q,feature=x1 + x2 + y2,prob=pi,fold=fold,label_model=ols,no-rescale_prob");
    cr_assert_not_null(f, "%s", az_error(az));
    check_fit(f, (double[]){.5671242362, .1823977536, -.1025309268}, (double[]){.0189863326, .0279508682, .0105008741}, 1e-10);
    f = fit(az, t,
            "formula=y2 ~ y + x2,gold=y,surrogate=q,feature=x1 + x2 + y2,prob=pi,fold=fold,label_model=ols,no-rescale_prob,model=logit");
    check_fit(f, (double[]){.2689146066, .8774948729, -.5005109146}, (double[]){.0823190931, .1403786491, .0568274184}, 1e-10);
    az_close(az);
}

/* Every row labelled, with certainty: the labels decide, whatever predicts them. */
Test(dsl, with_all_labels_it_is_ordinary_regression)
{
    static const char *const models[] = {"ols", "cells", "logit", "ridge", "stumps", "forest"};
    az_ctx *az = az_open(NULL);
    made_data m = make_data(az, 5, 300);
    m.gold = m.y;
    const az_table *t = table_of(az, &m);
    const az_design *d = az_design_new(az, "y ~ x1 + x2", t);
    for (int logit = 0; logit < 2; logit++) {
        const az_regression *r = az_regress(az, d->x, d->y, &(az_regression_how){.link = (az_link)logit});
        for (size_t k = 0; k < sizeof models / sizeof *models; k++) {
            const dsl_fit *f =
                fit(az, t,
                    az_format_text(az, "formula=y ~ x1 + x2,gold=y,surrogate=q,feature=x2,prob=1,splits=2,label_model=%s,model=%s",
                                   models[k], logit ? "logit" : "lm"));
            cr_assert_not_null(f, "%s: %s", models[k], az_error(az));
            cr_assert_lt(matrix_difference(f->coefficient, r->coefficient), 1e-10, "%s", models[k]);
            cr_assert_lt(matrix_difference(f->covariance, r->covariance), 1e-10, "%s", models[k]);
        }
    }
    az_close(az);
}

/* Only the outcome is a label: regression on y~ = g + R / pi (y - g), with HC0. And g = 0: weighted regression. */
Test(dsl, of_an_outcome_it_is_regression_on_the_pseudo_outcome)
{
    az_ctx *az = az_open(NULL);
    const made_data m = make_data(az, 11, 400);
    const dsl_data *d = dsl_read(az, options_of(az, "formula=y ~ x1 + x2,gold=y,surrogate=q,prob=pi,no-rescale_prob"), table_of(az, &m));
    cr_assert_not_null(d, "%s", az_error(az));
    const double *g = splitmix_uniform(az, 3, 400);
    for (int zero = 0; zero < 2; zero++) {
        double *prediction = az_alloc_array(az, 400, sizeof *prediction);
        for (int i = 0; i < 400; i++) prediction[i] = zero ? 0 : g[i];
        dsl_designs first = {0};
        dsl_split split = {0};
        cr_assert(dsl_solve(az, d, &prediction, &first, NULL, &split), "%s", az_error(az));
        az_tensor *pseudo = az_new1(az, AZ_F64, 400);
        for (int i = 0; i < 400; i++)
            az_f64_mut(pseudo)[i] = prediction[i] + (isnan(m.gold[i]) ? 0 : (m.gold[i] - prediction[i]) / m.pi[i]);
        const az_regression *r = az_regress(az, first.predicted->x, pseudo, NULL);
        cr_assert_lt(matrix_difference(split.coefficient, r->coefficient), 1e-12);
        cr_assert_lt(matrix_difference(split.covariance, r->covariance), 1e-12);
    }
    az_close(az);
}

/* Taking the effects' means out is regression with an indicator for each level, also in a panel with holes. */
Test(dsl, fixed_effects_are_indicators)
{
    az_ctx *az = az_open(NULL);
    enum { N = 150 };
    const made_data m = make_data(az, 77, N);
    const double *u = splitmix_uniform(az, 78, 2 * N);
    double unit[N], year[N];
    for (int i = 0; i < N; i++) unit[i] = floor(12 * u[i] * u[i]), year[i] = 1990 + floor(5 * u[N + i]);
    az_table *t = table_of(az, &m);
    az_table_add(az, t, "unit", unit);
    az_table_add(az, t, "year", year);
    const char *common = "gold=y,surrogate=q,prob=pi,fold=fold,label_model=ols";
    for (int two = 0; two < 2; two++) {
        const char *formula = two ? "y2 ~ y + x2 + C(unit) + C(year)" : "y2 ~ y + x2 + C(unit)";
        const dsl_fit *a = fit(az, t, az_format_text(az, "formula=%s,%s", formula, common));
        const dsl_fit *b =
            fit(az, t, az_format_text(az, "formula=y2 ~ y + x2,model=felm,effects=\"unit%s\",%s", two ? ",year" : "", common));
        cr_assert(a && b, "%s", az_error(az));
        cr_assert_eq(b->p, 2);
        for (int j = 0; j < 2; j++) {
            cr_assert_float_eq(az_item(b->coefficient, j), az_item(a->coefficient, 1 + j), 1e-10);
            cr_assert_float_eq(b->se[j], a->se[1 + j], 1e-10);
            cr_assert_float_eq(az_item(b->naive->coefficient, j), az_item(a->naive->coefficient, 1 + j), 1e-10);
        }
    }
    az_close(az);
}

/* Intervals of the logit of 40 samples, and the bias of the machine's labels alone. */
Test(dsl, intervals_cover_and_surrogates_are_biased)
{
    static const double truth[3] = {-0.3, 0.8, 0.5};
    int covered = 0;
    double bias = 0, naive = 0;
    for (int t = 0; t < 40; t++) {
        az_ctx *az = az_open(NULL);
        const made_data m = make_data(az, 100000 + 10 * (uint64_t)t, 2000);
        const dsl_fit *f =
            fit(az, table_of(az, &m),
                "formula=y ~ x1 + x2,gold=y,surrogate=q,feature=x1 + x2,prob=pi,fold=fold,label_model=ols,no-rescale_prob,model=logit");
        cr_assert_not_null(f, "%s", az_error(az));
        for (int j = 0; j < 3; j++) covered += fabs(az_item(f->coefficient, j) - truth[j]) < 1.959964 * f->se[j];
        bias += (az_item(f->coefficient, 1) - 0.8) / 40;
        naive += (az_item(f->naive->coefficient, 1) - 0.8) / 40;
        az_close(az);
    }
    cr_assert_geq(covered, 106, "%d of 120 intervals cover", covered); /* 114 expected, sd below 4 */
    cr_assert_lt(fabs(bias), 0.06, "bias %g", bias);                   /* 3 sd of 0.119 / sqrt(40) */
    cr_assert_gt(naive, 0.2, "bias of the surrogate alone %g", naive);
}

Test(dsl, power_is_the_variance_with_more_labels)
{
    az_ctx *az = az_open(NULL);
    const made_data m = make_data(az, 4, 1000);
    const dsl_fit *f = fit(az, table_of(az, &m), "formula=y ~ x1 + x2,gold=y,surrogate=q,prob=pi,splits=3");
    double same[3], four[3];
    cr_assert(dsl_power(az, f->split, 3, 1, same) && dsl_power(az, f->split, 3, 4, four), "%s", az_error(az));
    for (int j = 0; j < 3; j++) {
        double own[3];
        for (int k = 0; k < 3; k++) own[k] = sqrt(az_item(f->split[k].covariance, 4 * j));
        cr_assert_float_eq(same[j], median_of(own, 3), 1e-12);
        cr_assert(four[j] < same[j] && four[j] > same[j] / 2);
    }
    az_close(az);
}

/* All rows of a cluster are in one fold, and the folds differ by one cluster at most: seen in the labelled rows that predict. */
Test(dsl, a_cluster_whose_rows_repeat_counts_once)
{
    az_ctx *az = az_open(NULL);
    const made_data one = make_data(az, 8, 500), half = make_data(az, 8, 250);
    made_data m = half;
    double id[500];
    double **columns[] = {&m.x1, &m.x2, &m.y, &m.q, &m.gold, &m.pi, &m.fold, &m.y2};
    for (int c = 0; c < 8; c++) {
        double *twice = az_alloc_array(az, 500, sizeof *twice);
        for (int i = 0; i < 500; i++) twice[i] = (*columns[c])[i % 250];
        *columns[c] = twice;
    }
    for (int i = 0; i < 500; i++) id[i] = i % 250;
    m.n = 500;
    az_table *t = table_of(az, &m);
    az_table_add(az, t, "id", id);
    const char *text = "formula=y ~ x1 + x2,gold=y,surrogate=q,prob=pi,fold=fold,label_model=ols";
    const dsl_fit *a = fit(az, table_of(az, &half), text), *b = fit(az, t, az_format_text(az, "%s,cluster=id", text));
    cr_assert(a && b, "%s", az_error(az));
    cr_assert_lt(matrix_difference(a->coefficient, b->coefficient), 1e-11);
    cr_assert_lt(matrix_difference(a->covariance, b->covariance), 1e-11);
    (void)one;
    az_close(az);
}

Test(dsl, bad_input_is_told)
{
    static const struct {
        const char *options, *says;
    } cases[] = {
        {"formula=y ~ x1,gold=y", "at least one of surrogate and feature"},
        {"formula=y ~ x1,gold=yy,surrogate=q", "no column 'yy'"},
        {"formula=x1 ~ x2,gold=y,surrogate=q", "reads no gold column"},
        {"formula=~ y,gold=y,surrogate=q", "has no left side"},
        {"formula=y ~ x1,gold=y,surrogate=q,prob=1.5", "a chance lies above 0 and is at most 1"},
        {"formula=y ~ x1,gold=y,surrogate=q,prob=zero", "row 1: the chance of being labelled is 0"},
        {"formula=y ~ x1,gold=y,surrogate=q,prob=two", "row 1: the chance of being labelled is 2, above 1"},
        {"formula=y ~ x1,gold=y,surrogate=q,prob=gap", "row 3: the chance of being labelled ('gap') is missing"},
        {"formula=y ~ x1,gold=y,surrogate=q,labeled=ones", "is labelled ('ones'), but 'y' has no value there"},
        {"formula=y ~ x1,gold=y,surrogate=q,labeled=zero", "is not labelled ('zero'), but 'y' has a value there"},
        {"formula=y ~ x1,gold=y,surrogate=q,labeled=two", "row 1: 'two' must be 0 or 1"},
        {"formula=y ~ y2,gold=y + gap,surrogate=q", "a row is labelled in all gold columns or in none"},
        {"formula=y ~ x1 + I(2*x1),gold=y,surrogate=q", "columns that the ones before them determine: I(2*x1)"},
        {"formula=y ~ x1,gold=y,surrogate=q,model=felm", "model=felm and effects=... go together"},
        {"formula=y ~ x1,gold=y,surrogate=q,folds=500", "500 folds cannot be made of 60 rows"},
        {"formula=y ~ x1,gold=none,surrogate=q", "no row is labelled: 'none' is missing everywhere"},
        {"formula=y ~ x1,gold=y,surrogate=q,fold=once", "all labelled rows are in fold"},
        {"formula=y ~ x1,gold=y,surrogate=q,fold=fold,cluster=zero",
         "rows 1 and 2 are of one cluster ('zero' = 0), but in two folds ('fold' = 0 and 1)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        const made_data m = make_data(az, 3, 60);
        double zero[60] = {0}, ones[60], two[60], gap[60], none[60], once[60];
        for (int k = 0; k < 60; k++) ones[k] = 1, two[k] = 2, gap[k] = k == 2 ? NAN : 0.5, none[k] = NAN, once[k] = isnan(m.gold[k]);
        az_table *t = table_of(az, &m);
        az_table_add(az, t, "zero", zero);
        az_table_add(az, t, "ones", ones);
        az_table_add(az, t, "two", two);
        az_table_add(az, t, "gap", gap);
        az_table_add(az, t, "none", none);
        az_table_add(az, t, "once", once);
        cr_assert_null(fit(az, t, cases[i].options), "%s", cases[i].options);
        cr_assert_not_null(strstr(az_error(az), cases[i].says), "%s said: %s", cases[i].options, az_error(az));
        az_close(az);
    }
}
