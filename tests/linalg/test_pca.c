/* Principal components that come batch by batch: against one decomposition of all rows, against scikit-learn, and what they minimise. */
#include "adze/linalg.h"
#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* Feeds the rows in batches of the given sizes. */
static az_pca *fitted(az_ctx *az, const az_tensor *x, int64_t components, const int64_t *batch, int n, const az_range_finder *fast)
{
    az_pca *pca = az_pca_new(az, x->dtype, x->shape[1], components);
    int64_t at = 0;
    for (int i = 0; i < n; at += batch[i++])
        cr_assert(az_pca_add(az, pca, az_slice(az, x, 0, at, batch[i]), fast, NULL), "%s", az_error(az));
    cr_assert_eq(at, x->shape[0]);
    cr_assert_eq(pca->rows, at);
    return pca;
}

/* Rows with a mean of their own and standard deviations that fall by `ratio` from one direction to the next. */
static az_tensor *decaying(az_ctx *az, az_dtype dtype, int64_t rows, int64_t features, double ratio)
{
    az_tensor *q, *scale = az_new1(az, AZ_F64, features);
    az_qr(az, matrix_normal(az, AZ_F64, features, features, 3), &q, NULL);
    for (int64_t j = 0; j < features; j++) az_f64_mut(scale)[j] = pow(ratio, (double)j);
    az_tensor *x = az_matmul(az, az_mul(az, matrix_normal(az, AZ_F64, rows, features, 4), scale), az_transpose(az, q));
    return az_cast(az, az_add(az, x, az_affine(az, az_slice(az, q, 0, 0, 1), 5, 0)), dtype);
}

/* The singular values of all rows at once, centred. */
static az_tensor *centred_svd(az_ctx *az, const az_tensor *x, az_tensor **vt)
{
    az_tensor *s;
    cr_assert(az_svd(az, az_sub(az, x, az_mean(az, x, 0, true)), NULL, &s, vt));
    return s;
}

Test(pca, without_a_cut_it_is_the_decomposition_of_all_rows)
{
    az_ctx *az = az_open(NULL);
    const int64_t batch[] = {9, 1, 40, 3, 27};
    for (int single = 0; single < 2; single++) {
        az_tensor *x = decaying(az, single ? AZ_F32 : AZ_F64, 80, 8, 0.7);
        const az_pca *pca = fitted(az, x, 8, batch, 5, NULL);
        const double tolerance = single ? 2e-5 : 1e-11;
        cr_assert_leq(matrix_difference(pca->values, az_cast(az, centred_svd(az, x, NULL), AZ_F64)), tolerance);
        cr_assert_leq(matrix_orthonormality(az, az_transpose(az, pca->vectors)), single ? 2e-6 : 1e-13);
        double ratios = 0;
        for (int i = 0; i < 8; i++) ratios += az_pca_ratio(pca, i);
        cr_assert_float_eq(ratios, 1, single ? 1e-5 : 1e-12);
        const az_tensor *mean = az_mean(az, az_cast(az, x, AZ_F64), 0, false);
        cr_assert_leq(matrix_difference(pca->mean, mean), 1e-12);
        const az_tensor *variance = az_mean(az, az_square(az, az_sub(az, az_cast(az, x, AZ_F64), mean)), 0, false);
        cr_assert_leq(matrix_difference(pca->variance, variance), 1e-11);
    }
    az_close(az);
}

/* x_ij = (j + 1) sin(0.7 i + 1.3 j + 0.1 i j), 30 x 6, in batches of 8, 12 and 10; numbers of sklearn.decomposition.IncrementalPCA 1.2. */
Test(pca, agrees_with_scikit_learn)
{
    static const double values[] = {27.64103091605967, 19.200847040519427, 12.11982291958062};
    static const double ratios[] = {0.565587986110255, 0.27291818743329843, 0.10873872874892508};
    static const double variance[] = {0.4941837533162036, 2.065203679849636,  4.317977291178662,
                                      8.188674914971251,  12.523395414212766, 17.439019632307527};
    static const double vectors[] = {0.0039849225612043435, -0.0015305805140126416, -0.025634360626709055, 0.24763493707586226,
                                     -0.6353166130844108,   0.7310091629720644,     0.0019194365259202811, 0.04564111084617089,
                                     -0.39950118630288656,  0.718425258694985,      -0.2751705343755574,   -0.4964456985282988,
                                     0.07911035605061607,   -0.4776565390515978,    0.6677497133912997,    -0.012585952582745252,
                                     -0.4393940344853533,   -0.35562702201730956};
    az_ctx *az = az_open(NULL);
    az_tensor *x = az_new2(az, AZ_F64, 30, 6);
    for (int i = 0; i < 30; i++)
        for (int j = 0; j < 6; j++) az_f64_mut(x)[6 * i + j] = sin(0.7 * i + 1.3 * j + 0.1 * i * j) * (j + 1);
    const az_pca *pca = fitted(az, x, 3, (const int64_t[]){8, 12, 10}, 3, NULL);
    for (int i = 0; i < 3; i++) {
        cr_assert_float_eq(az_item(pca->values, i), values[i], 1e-11);
        cr_assert_float_eq(az_pca_ratio(pca, i), ratios[i], 1e-12);
    }
    for (int j = 0; j < 6; j++) cr_assert_float_eq(az_item(pca->variance, j), variance[j], 1e-11);
    for (int i = 0; i < 18; i++) cr_assert_float_eq(az_item(pca->vectors, i), vectors[i], 1e-11);
    az_close(az);
}

/* The sine of the largest angle between the spans of two sets of orthonormal rows. */
static double largest_sine(az_ctx *az, const az_tensor *a, const az_tensor *b)
{
    az_tensor *s;
    az_svd(az, az_matmul(az, a, az_transpose(az, b)), NULL, &s, NULL);
    const double cosine = az_item(s, az_count(s) - 1);
    return sqrt(fmax(1 - cosine * cosine, 0));
}

Test(pca, with_a_cut_it_is_near_whatever_the_order_of_batches)
{
    enum { KEPT = 4 };
    az_ctx *az = az_open(NULL);
    az_tensor *x = decaying(az, AZ_F64, 400, 24, 0.5), *vt;
    const az_tensor *exact = centred_svd(az, x, &vt);
    const az_tensor *turned = az_concat(az, (az_tensor *[]){az_slice(az, x, 0, 250, 150), az_slice(az, x, 0, 0, 250)}, 2, 0);
    const int64_t batch[] = {50, 50, 50, 50, 50, 50, 50, 50};
    for (int order = 0; order < 2; order++) {
        const az_pca *pca = fitted(az, order ? turned : x, KEPT, batch, 8, NULL);
        double total = 0;
        for (int i = 0; i < 24; i++) total += az_item(exact, i) * az_item(exact, i);
        for (int i = 0; i < KEPT; i++) cr_assert_float_eq(az_pca_ratio(pca, i), az_item(exact, i) * az_item(exact, i) / total, 1e-4);
        cr_assert_leq(largest_sine(az, pca->vectors, az_slice(az, vt, 0, 0, KEPT)), sin(M_PI / 180));
    }
    const az_range_finder fast = {.oversample = KEPT, .power = 4, .seed = 42};
    const az_pca *randomized = fitted(az, x, KEPT, batch, 8, &fast);
    cr_assert_leq(largest_sine(az, randomized->vectors, az_slice(az, vt, 0, 0, KEPT)), sin(M_PI / 180));
    az_close(az);
}

/* The cosines say how far each direction moved, a turned sign included. */
Test(pca, tells_how_far_the_directions_moved)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = decaying(az, AZ_F64, 300, 10, 0.6);
    double cosine[3] = {7, 7, 7};
    az_pca *pca = az_pca_new(az, AZ_F64, 10, 3);
    cr_assert(az_pca_add(az, pca, az_slice(az, x, 0, 0, 20), NULL, cosine));
    for (int i = 0; i < 3; i++) cr_assert_eq(cosine[i], 0);
    const az_tensor *before = az_copy(az, pca->vectors);
    cr_assert(az_pca_add(az, pca, az_slice(az, x, 0, 20, 20), NULL, cosine));
    const az_tensor *product = az_matmul(az, pca->vectors, az_transpose(az, before));
    for (int i = 0; i < 3; i++) cr_assert_float_eq(cosine[i], az_item(product, 4 * i), 1e-14);
    for (int64_t at = 40; at < 300; at += 20) az_pca_add(az, pca, az_slice(az, x, 0, at, 20), NULL, cosine);
    for (int i = 0; i < 3; i++) cr_assert_geq(cosine[i], 0.999);
    az_close(az);
}

Test(pca, sees_what_does_not_vary)
{
    az_ctx *az = az_open(NULL);
    /* two directions and a constant column */
    az_tensor *low = az_matmul(az, matrix_normal(az, AZ_F64, 60, 2, 1), matrix_normal(az, AZ_F64, 2, 7, 2));
    for (int i = 0; i < 60; i++) az_f64_mut(low)[7 * i + 3] = 12;
    const az_pca *pca = fitted(az, low, 4, (const int64_t[]){20, 20, 20}, 3, NULL);
    cr_assert_gt(az_item(pca->values, 1), 1);
    cr_assert_lt(az_item(pca->values, 2), 1e-12);
    cr_assert_lt(az_item(pca->variance, 3), 1e-20);
    for (int i = 0; i < 2; i++) cr_assert_lt(fabs(az_item(pca->vectors, 7 * i + 3)), 1e-13);
    az_pca *still = fitted(az, az_full(az, AZ_F32, 2, (const int64_t[]){10, 7}, 2), 2, (const int64_t[]){10}, 1, NULL);
    cr_assert_eq(az_pca_ratio(still, 0), 0);
    az_close(az);
}

/* |x - mu - V^T V (x - mu)|^2, summed over the rows. */
static double left_over(az_ctx *az, const az_tensor *x, const az_tensor *v)
{
    const az_tensor *centred = az_sub(az, x, az_mean(az, x, 0, true));
    const az_tensor *seen = az_matmul(az, az_matmul(az, centred, az_transpose(az, v)), v);
    return az_to_double(az_sum(az, az_square(az, az_sub(az, centred, seen)), AZ_ALL_AXES, false));
}

Test(pca, no_other_directions_leave_less)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = decaying(az, AZ_F64, 200, 12, 0.8);
    const az_pca *pca = fitted(az, x, 12, (const int64_t[]){100, 100}, 2, NULL);
    const double best = left_over(az, x, az_slice(az, pca->vectors, 0, 0, 3));
    for (uint64_t seed = 10; seed < 20; seed++) {
        az_tensor *q;
        az_qr(az, matrix_normal(az, AZ_F64, 12, 3, seed), &q, NULL);
        cr_assert_gt(left_over(az, x, az_transpose(az, q)), best);
    }
    az_close(az);
}

Test(pca, refuses_what_does_not_fit)
{
    az_ctx *az = az_open(NULL);
    cr_assert_null(az_pca_new(az, AZ_F64, 4, 5));
    az_clear(az);
    az_pca *pca = az_pca_new(az, AZ_F64, 4, 3);
    cr_assert_not(az_pca_add(az, pca, matrix_normal(az, AZ_F64, 2, 4, 1), NULL, NULL));
    cr_assert_not_null(strstr(az_error(az), "2 rows for 3 directions"), "%s", az_error(az));
    az_clear(az);
    cr_assert_not(az_pca_add(az, pca, matrix_normal(az, AZ_F32, 9, 4, 1), NULL, NULL));
    az_clear(az);
    cr_assert(az_pca_add(az, pca, matrix_normal(az, AZ_F64, 9, 4, 1), NULL, NULL));
    const az_tensor *before = az_copy(az, pca->vectors);
    az_tensor *bad = matrix_normal(az, AZ_F64, 9, 4, 2);
    az_f64_mut(bad)[5] = NAN;
    cr_assert_not(az_pca_add(az, pca, bad, NULL, NULL));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    cr_assert_eq(matrix_difference(before, pca->vectors), 0);
    cr_assert_eq(pca->rows, 9);
    az_close(az);
}
