/* Multinomial logistic regression: its loss, its optimality conditions, and the same answer by both ways. */
#include "adze/optim.h"
#include "claims/splitmix.h"

#include <criterion/criterion.h>
#include <math.h>

enum { N = 200, P = 5, CLASSES = 3 };

typedef struct data {
    const az_matrix *dense, *sparse;
    int32_t label[N];
} data;

static void make(az_ctx *az, data *d)
{
    az_tensor *x = az_randn(az, AZ_F64, 2, (int64_t[]){N, P}, 1, 1, 1);
    const az_tensor *noise = az_rand(az, AZ_F64, 1, (int64_t[]){N}, 0, 1, 1, 2);
    int64_t start[N + 1] = {0}, other[N * P];
    for (int i = 0; i < N * P; i++) other[i] = i % P;
    for (int i = 0; i < N; i++) {
        az_f64_mut(x)[i * P] = 1;
        start[i + 1] = (i + 1) * P;
        d->label[i] = (int32_t)((az_item(x, i * P + 1) + az_item(noise, i) > 0.5) + (az_item(x, i * P + 2) > 0.3 + az_item(noise, i)));
    }
    d->dense = az_matrix_dense(az, x);
    d->sparse = az_matrix_sparse(az, N, P, &(az_sparse_lines){start, other, az_f64(x)});
}

Test(multinomial, the_loss_is_that_of_a_softmax_and_never_overflows)
{
    const double score[] = {0.5, -1, 800, -900, -1000, -1000};
    const int32_t label[] = {2, 0, 0};
    double difference[6];
    const double sum = 1 + exp(0.5) + exp(-1), want = log(sum) + 1 + 800;
    cr_assert_float_eq(az_multinomial_loss(score, label, 3, 3, difference), want, 1e-12);
    cr_assert_float_eq(difference[0], exp(0.5) / sum, 1e-15);
    cr_assert_float_eq(difference[1], exp(-1) / sum - 1, 1e-15);
    cr_assert_float_eq(difference[2], 1, 1e-15);
    cr_assert(isnan(az_multinomial_loss(score, NULL, 3, 3, difference)));
    cr_assert_float_eq(difference[1], exp(-1) / sum, 1e-15);
}

/* The slope of the smooth part is within l1 at zero, against the sign elsewhere. */
static void check_conditions(az_ctx *az, const data *d, const double *l2, const double *l1, const bool *sign, const az_tensor *b)
{
    az_tensor *difference = az_new2(az, AZ_F64, N, CLASSES - 1);
    const az_tensor *score = az_matrix_times(az, d->dense, b);
    az_multinomial_loss(az_f64(score), d->label, N, CLASSES, az_f64_mut(difference));
    const az_tensor *g = az_matrix_transposed_times(az, d->dense, difference);
    for (int i = 0; i < P * (CLASSES - 1); i++) {
        const int j = i / (CLASSES - 1);
        const double value = az_item(b, i), slope = az_item(g, i) + 2 * l2[j] * value, t = l1 ? l1[j] : 0;
        if (value > 0) cr_assert_float_eq(slope, -t, 1e-4, "%d: %g", i, slope);
        if (value < 0) cr_assert_float_eq(slope, t, 1e-4, "%d: %g", i, slope);
        if (value == 0) cr_assert(sign && sign[j] ? slope >= -t - 1e-4 : fabs(slope) <= t + 1e-4, "%d: %g", i, slope);
        cr_assert(!sign || !sign[j] || value >= 0);
    }
}

Test(multinomial, ends_at_its_optimality_conditions_by_either_way)
{
    az_ctx *az = az_open(NULL);
    data d;
    make(az, &d);
    const double l2[P] = {0, 0.5, 0.5, 0.5, 0.5}, l1[P] = {0, 2, 2, 2, 2};
    const bool sign[P] = {false, true, false, true, false};
    az_multinomial p = {.x = d.dense, .label = d.label, .classes = CLASSES, .l2 = l2, .most_steps = 100, .tolerance = 1e-14};
    az_tensor *b[2];
    double value[2];
    for (int k = 0; k < 2; k++) {
        b[k] = az_zeros(az, AZ_F64, 2, (int64_t[]){P, CLASSES - 1});
        p.x = k ? d.sparse : d.dense;
        value[k] = az_multinomial_fit(az, &p, b[k]);
        check_conditions(az, &d, l2, NULL, NULL, b[k]);
    }
    cr_assert_float_eq(value[0], value[1], 1e-8);
    p.x = d.dense, p.l1 = l1, p.nonnegative = sign;
    cr_assert_gt(az_multinomial_fit(az, &p, b[0]), value[0]);
    check_conditions(az, &d, l2, l1, sign, b[0]);
    p.x = d.sparse;
    cr_assert(isnan(az_multinomial_fit(az, &p, b[0])));
    cr_assert_eq(az_status_of(az), AZ_BAD_CALL);
    az_close(az);
}

Test(multinomial, classes_that_are_separated_do_not_break_it)
{
    az_ctx *az = az_open(NULL);
    const double x[] = {1, -2, 1, -1, 1, 1, 1, 2};
    const int32_t label[] = {0, 0, 1, 1};
    const az_matrix *m = az_matrix_dense(az, az_from(az, AZ_F64, 2, (int64_t[]){4, 2}, x));
    az_tensor *b = az_zeros(az, AZ_F64, 2, (int64_t[]){2, 1});
    const double value =
        az_multinomial_fit(az, &(az_multinomial){.x = m, .label = label, .classes = 2, .most_steps = 50, .tolerance = 1e-6}, b);
    cr_assert(az_ok(az) && value < 1e-3 && isfinite(az_item(b, 1)), "%g %s", value, az_error(az));
    az_close(az);
}

/* scikit-learn's LogisticRegression(C=1, tol=1e-12, solver='newton-cg') on the labels above 0, and SciPy's BFGS on the same sum for all
 * three classes. */
Test(multinomial, coefficients_of_other_programs)
{
    az_ctx *az = az_open(NULL);
    enum { ROWS = 150 };
    const double *g = splitmix_normal(az, 301, 3 * ROWS), *u = splitmix_uniform(az, 302, ROWS), l2[] = {0, 0.5, 0.5, 0.5};
    az_tensor *x = az_new2(az, AZ_F64, ROWS, 4);
    int32_t three[ROWS], two[ROWS];
    for (int i = 0; i < ROWS; i++) {
        az_f64_mut(x)[4 * i] = 1;
        for (int j = 0; j < 3; j++) az_f64_mut(x)[4 * i + j + 1] = g[3 * i + j];
        three[i] = (g[3 * i] + u[i] > 0.5) + (g[3 * i + 1] > 0.3 + u[i]);
        two[i] = three[i] > 0;
    }
    az_multinomial p = {.x = az_matrix_dense(az, x), .label = two, .classes = 2, .l2 = l2, .most_steps = 100, .tolerance = 1e-14};
    const double binary[] = {.9672105063, 2.6000021771, 1.486504528, -.222542173};
    const double all[] = {.63983156, -2.42077575, 1.97743552, 3.05865259, .97306608, 3.08960991, -.1923294, .16741417};
    az_tensor *b = az_zeros(az, AZ_F64, 2, (int64_t[]){4, 1}), *c = az_zeros(az, AZ_F64, 2, (int64_t[]){4, 2});
    az_multinomial_fit(az, &p, b);
    for (int i = 0; i < 4; i++) cr_assert_float_eq(az_item(b, i), binary[i], 1e-6, "%d: %.9g", i, az_item(b, i));
    p.label = three, p.classes = 3;
    cr_assert_float_eq(az_multinomial_fit(az, &p, c), 78.31759651515564, 1e-9);
    for (int i = 0; i < 8; i++) cr_assert_float_eq(az_item(c, i), all[i], 1e-6, "%d: %.9g", i, az_item(c, i));
    az_close(az);
}
