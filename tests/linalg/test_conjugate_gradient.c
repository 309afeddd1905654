/* Conjugate gradients: exact after n steps, on stiffness matrices from practice, and what they refuse. */
#include "adze/linalg.h"
#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void dense_product(az_ctx *az, int64_t n, const double *x, double *y, void *user)
{
    (void)az;
    const double *a = az_f64(user);
    for (int64_t i = 0; i < n; i++) {
        y[i] = 0;
        for (int64_t j = 0; j < n; j++) y[i] += a[i * n + j] * x[j];
    }
}

Test(conjugate_gradient, agrees_with_the_direct_solver)
{
    enum { N = 40 };
    az_ctx *az = az_open(NULL);
    az_tensor *a = matrix_spd(az, AZ_F64, N, 1), *b = matrix_normal(az, AZ_F64, N, 1, 2), *x = az_zeros(az, AZ_F64, 2, (int64_t[]){N, 1});
    az_cg_result result = az_conjugate_gradient(az, dense_product, a, N, az_f64(b), az_f64_mut(x), 1e-12, N);
    cr_assert(result.converged, "%d iterations, residual %g", result.iterations, result.residual);
    cr_assert_leq(matrix_difference(x, az_solve(az, a, b)), 1e-11);
    result = az_conjugate_gradient(az, dense_product, a, N, az_f64(b), az_f64_mut(x), 1e-6, N);
    cr_assert_eq(result.iterations, 0); /* the start was good enough */
    az_close(az);
}

/* A matrix with k distinct eigenvalues needs k iterations. */
Test(conjugate_gradient, needs_as_many_iterations_as_distinct_eigenvalues)
{
    enum { N = 30 };
    az_ctx *az = az_open(NULL);
    az_tensor *a = az_zeros(az, AZ_F64, 2, (int64_t[]){N, N}), *b = matrix_normal(az, AZ_F64, N, 1, 2);
    for (int i = 0; i < N; i++) az_f64_mut(a)[i * N + i] = 1 + i % 3;
    double x[N] = {0};
    az_cg_result result = az_conjugate_gradient(az, dense_product, a, N, az_f64(b), x, 1e-13, 100);
    cr_assert(result.converged);
    cr_assert_eq(result.iterations, 3);
    az_close(az);
}

Test(conjugate_gradient, edges)
{
    az_ctx *az = az_open(NULL);
    double b[2] = {0, 0}, x[2] = {0, 0};
    az_tensor *a = az_from(az, AZ_F64, 2, (int64_t[]){2, 2}, (double[]){1, 0, 0, -1});
    cr_assert(az_conjugate_gradient(az, dense_product, a, 2, b, x, 1e-8, 10).converged);
    b[0] = b[1] = 1;
    az_cg_result few = az_conjugate_gradient(az, dense_product, matrix_hilbert(az, 2), 2, b, x, 1e-12, 1);
    cr_assert_not(few.converged);
    cr_assert_eq(few.iterations, 1);
    cr_assert(az_ok(az));
    x[0] = x[1] = 0;
    cr_assert_not(az_conjugate_gradient(az, dense_product, a, 2, b, x, 1e-8, 10).converged);
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    az_close(az);
}

/* ---- stiffness matrices of the Harwell-Boeing collection ---- */

typedef struct triplets {
    int64_t n, count;
    int *row, *col;
    double *value, *scale; /* scale: 1 / sqrt of the diagonal */
} triplets;

/* Lines "row col value" of the lower triangle, 0-based. */
static triplets read_triplets(az_ctx *az, const char *text, int64_t n)
{
    int64_t room = 1;
    for (const char *c = text; *c; c++) room += *c == '\n';
    triplets t = {.n = n,
                  .row = az_alloc_array(az, (size_t)room, sizeof *t.row),
                  .col = az_alloc_array(az, (size_t)room, sizeof *t.col),
                  .value = az_alloc_array(az, (size_t)room, sizeof *t.value),
                  .scale = az_alloc_array(az, (size_t)n, sizeof *t.scale)};
    for (const char *line = text; *line; t.count++) {
        char *at;
        t.row[t.count] = (int)strtol(line, &at, 10);
        t.col[t.count] = (int)strtol(at, &at, 10);
        t.value[t.count] = strtod(at, &at);
        if (t.row[t.count] == t.col[t.count]) t.scale[t.row[t.count]] = 1 / sqrt(t.value[t.count]);
        line = at + strspn(at, " \r\n");
    }
    return t;
}

/* D^-1/2 A D^-1/2 x */
static void scaled_product(az_ctx *az, int64_t n, const double *x, double *y, void *user)
{
    (void)az;
    const triplets *t = user;
    memset(y, 0, sizeof *y * (size_t)n);
    for (int64_t k = 0; k < t->count; k++) {
        const int i = t->row[k], j = t->col[k];
        const double value = t->value[k] * t->scale[i] * t->scale[j];
        y[i] += value * x[j];
        if (i != j) y[j] += value * x[i];
    }
}

Test(conjugate_gradient, solves_a_stiffness_matrix_of_4884_unknowns)
{
    const char *folder = getenv("ADZE_DATA");
    if (!folder) cr_skip("ADZE_DATA is not set");
    az_ctx *az = az_open(NULL);
    const char *text = az_read_file(az, az_format_text(az, "%s/science/matrices/bcsstk16.txt.gz", folder), NULL);
    if (!text) cr_skip("%s", az_error(az));
    enum { N = 4884 };
    triplets a = read_triplets(az, text, N);
    cr_assert_eq(a.count, 147631);
    static double expected[N], b[N], x[N];
    az_rng rng = az_rng_at(3, 0);
    for (int i = 0; i < N; i++) expected[i] = az_normal(&rng);
    scaled_product(az, N, expected, b, &a);
    az_cg_result result = az_conjugate_gradient(az, scaled_product, &a, N, b, x, 1e-11, 2000);
    cr_assert(result.converged, "%d iterations, residual %g", result.iterations, result.residual);
    for (int i = 0; i < N; i++) cr_assert_float_eq(x[i], expected[i], 1e-6);
    az_close(az);
}
