/* Least squares from sketches: the identity of the error, the separation of dense from sparse sketches, standard errors, tensor products.
 */
#include "claims/splitmix.h"
#include "estimate/linf.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* (A, b) [n, d + 1] with normal entries. */
static double *random_problem(az_ctx *az, uint64_t seed, int64_t n, int64_t d)
{
    return splitmix_normal(az, seed, n * (d + 1));
}

static az_linf_fit *solve(az_ctx *az, const double *rows, int64_t n, int64_t d, bool minimum_norm)
{
    const az_rows joint = az_linf_joint(rows, n, d);
    return az_linf_solve(az, &joint, minimum_norm);
}

static az_linf_fit *sketch_and_solve(az_ctx *az, const az_sketch *sketch, const double *rows, int64_t d, bool minimum_norm)
{
    const az_rows joint = az_linf_joint(rows, sketch->rows, d);
    return az_linf_sketch_and_solve(az, sketch, &joint, minimum_norm);
}

/* x' - x* = (A^T S^T S A)^-1 A^T S^T S r */
Test(linf, the_error_is_what_the_identity_says)
{
    enum { N = 256, D = 7, M = 60 };
    az_ctx *az = az_open(NULL);
    double *rows = random_problem(az, 1, N, D);
    const az_linf_fit *exact = solve(az, rows, N, D, false);
    const az_sketch sketch = {.kind = AZ_SKETCH_SIGN, .rows = N, .sketched = M, .seed = 4};
    const az_linf_fit *fit = sketch_and_solve(az, &sketch, rows, D, false);
    double both[M * (D + 1)] = {0}; /* S A, S r */
    for (int i = 0; i < N; i++)
        for (int j = 0; j < D; j++) rows[i * (D + 1) + D] -= rows[i * (D + 1) + j] * exact->x[j];
    const az_rows all_rows = az_linf_joint(rows, N, D);
    cr_assert(az_sketch_add(az, &sketch, &all_rows, 0, both));
    const az_tensor *all = az_from(az, AZ_F64, 2, (int64_t[]){M, D + 1}, both), *sa = az_slice(az, all, 1, 0, D);
    const az_tensor *sat = az_transpose(az, sa);
    const az_tensor *error = az_solve(az, az_matmul(az, sat, sa), az_matmul(az, sat, az_slice(az, all, 1, D, 1)));
    for (int j = 0; j < D; j++) cr_assert_float_eq(fit->x[j] - exact->x[j], az_item(error, j), 1e-10);
    az_close(az);
}

/* NumPy 1.24.2: linalg.lstsq(A, b) of the 1024 rows. */
Test(linf, all_rows_give_the_solution_of_another_program)
{
    static const double want[] = {0.004167173155, -0.040425394576, -0.035078947765, 0.034357748081, -0.019042627252};
    az_ctx *az = az_open(NULL);
    const az_linf_fit *fit = solve(az, random_problem(az, 9, 1024, 5), 1024, 5, false);
    for (int j = 0; j < 5; j++) cr_assert_float_eq(fit->x[j], want[j], 1e-12);
    az_close(az);
}

enum { N = 4096, D = 64, M = 1024 };

/* A = [I; 0]; b one entry below ("spike"), or d equal ones ("spread"); x* = 0, |r| = 1. */
static double *separating_problem(az_ctx *az, bool spread)
{
    double *rows = az_alloc_array(az, (size_t)N * (D + 1), sizeof *rows);
    for (int j = 0; j < D; j++) {
        rows[j * (D + 1) + j] = 1;
        if (spread || j == 0) rows[(D + j) * (D + 1) + D] = spread ? 1 / sqrt(D) : 1;
    }
    return rows;
}

typedef struct errors {
    double largest[100], shape; /* |x'|_inf by seed, ascending; mean of |x'|_inf sqrt(d) / |x'|_2 over those that are not 0 */
} errors;

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static errors measure(az_ctx *az, az_sketch_kind kind, bool spread, int seeds)
{
    errors e = {0};
    int counted = 0;
    const double *rows = separating_problem(az, spread);
    for (int seed = 0; seed < seeds; seed++) {
        az_scope_push(az);
        const az_sketch sketch = {.kind = kind, .rows = N, .sketched = M, .per_row = 4, .seed = (uint64_t)seed};
        const az_linf_fit *fit = sketch_and_solve(az, &sketch, rows, D, true);
        cr_assert(fit, "%s", az_error(az));
        double square = 0;
        for (int j = 0; j < D; j++) e.largest[seed] = fmax(e.largest[seed], fabs(fit->x[j])), square += fit->x[j] * fit->x[j];
        if (square > 1e-20) e.shape += e.largest[seed] * sqrt(D / square), counted++;
        az_scope_pop(az);
    }
    e.shape /= counted ? counted : 1;
    qsort(e.largest, (size_t)seeds, sizeof *e.largest, ascending);
    return e;
}

Test(linf, dense_sketches_spread_their_error_and_sparse_ones_do_not)
{
    az_ctx *az = az_open(NULL);
    const double bound = 0.25 / sqrt(D);
    errors e = measure(az, AZ_SKETCH_SRHT, false, 40);
    cr_assert_float_eq(e.largest[20], 0.0836, 0.008);
    cr_assert_lt(e.largest[39], 4 * bound);
    cr_assert_float_eq(e.shape, 2.5, 0.3);
    e = measure(az, AZ_SKETCH_SRHT, true, 40);
    cr_assert_float_eq(e.largest[20], 0.0795, 0.008);
    e = measure(az, AZ_SKETCH_SIGN, false, 10);
    cr_assert_float_eq(e.largest[5], 0.0878, 0.012);
    e = measure(az, AZ_SKETCH_COUNT, true, 20);
    cr_assert_float_eq(e.largest[10], 0.125, 1e-9);
    e = measure(az, AZ_SKETCH_COUNT, false, 100); /* nothing, or everything in one coefficient (6 % of the seeds) */
    cr_assert_eq(e.largest[50], 0);
    cr_assert_geq(e.largest[99], 0.5);
    e = measure(az, AZ_SKETCH_OSNAP, false, 40);
    cr_assert_float_eq(e.largest[20], 0.25, 0.02);
    az_close(az);
}

Test(linf, standard_errors_cover)
{
    enum { ROWS = 1024, COEFFICIENTS = 5, SKETCH = 150, SEEDS = 80 };
    az_ctx *az = az_open(NULL);
    const double *rows = random_problem(az, 9, ROWS, COEFFICIENTS);
    const az_linf_fit *exact = solve(az, rows, ROWS, COEFFICIENTS, false);
    const az_sketch_kind kinds[] = {AZ_SKETCH_GAUSS, AZ_SKETCH_SRHT};
    for (int k = 0; k < 2; k++) {
        int inside = 0;
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            const az_sketch sketch = {.kind = kinds[k], .rows = ROWS, .sketched = SKETCH, .seed = seed};
            const az_linf_fit *fit = sketch_and_solve(az, &sketch, rows, COEFFICIENTS, false);
            for (int j = 0; j < COEFFICIENTS; j++) inside += fabs(fit->x[j] - exact->x[j]) < 1.96 * fit->se[j];
        }
        const double covered = (double)inside / (SEEDS * COEFFICIENTS);
        cr_assert(covered > 0.91 && covered < 0.98, "%s: %g", az_sketch_names[kinds[k]], covered);
    }
    az_close(az);
}

/* On the columns of A1 kron A2, formed here, the sketch is one linear map: that which b's column shows. */
Test(linf, the_tensor_sketch_of_products_is_that_of_their_kronecker_product)
{
    enum { N1 = 8, N2 = 4, D1 = 3, D2 = 2, ROWS = 20 };
    az_ctx *az = az_open(NULL);
    const double *a1 = splitmix_normal(az, 1, N1 * D1), *a2 = splitmix_normal(az, 2, N2 * D2);
    for (int i = 0; i < D1; i++) {
        for (int j = 0; j < D2; j++) {
            double b[N1 * N2], sketch[ROWS * (D1 * D2 + 1)];
            for (int e = 0; e < N1 * N2; e++) b[e] = a1[e / N2 * D1 + i] * a2[e % N2 * D2 + j];
            const az_tensor_operands in = {a1, a2, b, N1, D1, N2, D2};
            cr_assert(az_linf_tensor_sketch(az, &in, ROWS, 6, sketch));
            for (int t = 0; t < ROWS; t++)
                cr_assert_float_eq(sketch[t * (D1 * D2 + 1) + D1 * D2], sketch[t * (D1 * D2 + 1) + i * D2 + j], 1e-13);
        }
    }
    az_close(az);
}

Test(linf, too_few_rows_and_dependent_columns_are_refused)
{
    az_ctx *az = az_open(NULL);
    double *rows = random_problem(az, 1, 100, 5);
    cr_assert_null(solve(az, rows, 4, 5, false));
    cr_assert(strstr(az_error(az), "4 rows do not determine 5"), "%s", az_error(az));
    az_clear(az);
    const az_sketch few = {.kind = AZ_SKETCH_SIGN, .rows = 100, .sketched = 4},
                    enough = {.kind = AZ_SKETCH_SIGN, .rows = 100, .sketched = 50};
    cr_assert_null(sketch_and_solve(az, &few, rows, 5, false));
    cr_assert(strstr(az_error(az), "rows=20"), "%s", az_error(az));
    az_clear(az);
    for (int i = 0; i < 100; i++) rows[i * 6 + 1] = 2 * rows[i * 6];
    cr_assert_null(solve(az, rows, 100, 5, false));
    cr_assert(strstr(az_error(az), "all 100 rows have rank 4, not 5; leave columns out"), "%s", az_error(az));
    cr_assert_not(strstr(az_error(az), "rows="), "%s", az_error(az)); /* more rows there are none */
    az_clear(az);
    cr_assert_null(sketch_and_solve(az, &enough, rows, 5, false));
    cr_assert(strstr(az_error(az), "take more of them (rows=)"), "%s", az_error(az));
    az_clear(az);
    const az_linf_fit *fit = solve(az, rows, 100, 5, true);
    cr_assert(fit && fit->rank == 4);
    cr_assert_float_eq(fit->x[1], 2 * fit->x[0], 1e-10);
    cr_assert_eq(az_linf_rows(1 << 20, 64, 0.25, 0.01, false), 19369);
    cr_assert_eq(az_linf_rows(1000, 64, 0.25, 0.01, false), 1000);
    az_close(az);
}

Test(linf, the_rank_does_not_depend_on_units)
{
    az_ctx *az = az_open(NULL);
    double *rows = random_problem(az, 1, 100, 5);
    const double *plain = solve(az, rows, 100, 5, false)->x;
    for (int i = 0; i < 100; i++) rows[i * 6] *= 1e12, rows[i * 6 + 1] *= 1e-9;
    const az_linf_fit *fit = solve(az, rows, 100, 5, false);
    cr_assert(fit, "%s", az_error(az));
    cr_assert_float_eq(fit->x[0] * 1e12, plain[0], 1e-9);
    cr_assert_float_eq(fit->x[1] * 1e-9, plain[1], 1e-9);
    cr_assert_float_eq(fit->x[2], plain[2], 1e-9);
    az_close(az);
}
