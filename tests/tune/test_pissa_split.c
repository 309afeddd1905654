/* The start of PiSSA for one matrix: what the pieces add up to, what quantized residuals lose, and what is refused. */
#include "support/matrix.h"
#include "tune/pissa.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* U diag(exp(-i / tau)) V^T, [rows, cols]. */
static az_tensor *decaying(az_ctx *az, int64_t rows, int64_t cols, double tau, uint64_t seed)
{
    const int64_t k = rows < cols ? rows : cols;
    az_tensor *u, *v, *s = az_new1(az, AZ_F64, k);
    az_qr(az, matrix_normal(az, AZ_F64, rows, k, seed), &u, NULL);
    az_qr(az, matrix_normal(az, AZ_F64, cols, k, seed + 1), &v, NULL);
    for (int64_t i = 0; i < k; i++) az_f64_mut(s)[i] = exp(-(double)i / tau);
    return az_matmul(az, az_mul(az, u, s), az_transpose(az, v));
}

static double norm(az_ctx *az, const az_tensor *x)
{
    return sqrt(az_to_double(az_dot(az, x, x)));
}

/* residual + s B A */
static az_tensor *whole(az_ctx *az, const az_pissa_split *split, double scale)
{
    const az_tensor *residual = az_cast(az, az_weight_decode(az, split->residual), split->a->dtype);
    return az_add(az, residual, az_affine(az, az_matmul(az, split->b, split->a), scale, 0));
}

static az_pissa_split split_of(az_ctx *az, const az_tensor *w, az_pissa_how how)
{
    az_pissa_split split;
    if (how.scale == 0) how.scale = 1;
    cr_assert(az_pissa_start_of(az, w, &how, &split), "%s", az_error(az));
    return split;
}

Test(pissa_split, pieces_add_up_and_share_the_spectrum)
{
    enum { RANK = 5 };
    const int64_t shape[][2] = {{30, 20}, {20, 30}, {8, 8}};
    az_ctx *az = az_open(NULL);
    for (int i = 0; i < 3; i++) {
        for (int single = 0; single < 2; single++) {
            const double scale = i + 0.5;
            const az_tensor *w = az_cast(az, decaying(az, shape[i][0], shape[i][1], 6, 3), single ? AZ_F32 : AZ_F64);
            const az_pissa_split split = split_of(az, w, (az_pissa_how){.rank = RANK, .scale = scale});
            const double tolerance = single ? 1e-6 : 1e-7; /* the residual is stored as f32 or f64; decoding gives f32 */
            cr_assert_leq(norm(az, az_sub(az, whole(az, &split, scale), w)), tolerance * norm(az, w));
            double left = 0;
            const int64_t k = shape[i][0] < shape[i][1] ? shape[i][0] : shape[i][1];
            for (int64_t j = RANK; j < k; j++) left += exp(-2.0 * (double)j / 6);
            cr_assert_float_eq(norm(az, az_cast(az, az_weight_decode(az, split.residual), AZ_F64)), sqrt(left), 1e-6);
            const az_tensor *aa = az_matmul_nt(az, split.a, split.a), *bb = az_matmul(az, az_transpose(az, split.b), split.b);
            for (int j = 0; j < RANK * RANK; j++) {
                const double wanted = j / RANK == j % RANK ? exp(-(double)(j % RANK) / 6) / scale : 0;
                cr_assert_float_eq(az_item(aa, j), wanted, 4 * tolerance);
                cr_assert_float_eq(az_item(bb, j), wanted, 4 * tolerance);
            }
            cr_assert_eq(split.dead, 0);
        }
    }
    az_close(az);
}

/* The singular values of B A say which triples went into the adapter. */
Test(pissa_split, other_parts_of_the_spectrum_can_be_taken)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *w = decaying(az, 20, 12, 4, 5);
    static const int first[] = {[AZ_PISSA_PRINCIPAL] = 0, [AZ_PISSA_MEDIUM] = 4, [AZ_PISSA_MINOR] = 8};
    for (int part = 0; part < 3; part++) {
        const az_pissa_split split = split_of(az, w, (az_pissa_how){.rank = 4, .part = (az_pissa_part)part});
        az_tensor *s;
        az_svd(az, az_matmul(az, split.b, split.a), NULL, &s, NULL);
        for (int i = 0; i < 4; i++) cr_assert_float_eq(az_item(s, i), exp(-(first[part] + i) / 4.0), 1e-12);
        cr_assert_leq(matrix_difference(whole(az, &split, 1), w), 1e-7);
    }
    az_close(az);
}

Test(pissa_split, the_randomized_start_is_close_to_the_exact_one)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *w = decaying(az, 64, 48, 10, 7);
    const az_pissa_split exact = split_of(az, w, (az_pissa_how){.rank = 6});
    double apart[3];
    static const int power[] = {0, 4, 16};
    for (int i = 0; i < 3; i++) {
        const az_range_finder finder = {.power = power[i], .seed = 1};
        const az_pissa_split fast = split_of(az, w, (az_pissa_how){.rank = 6, .finder = &finder});
        cr_assert_leq(matrix_difference(whole(az, &fast, 1), w), 1e-7);
        const double best = norm(az, az_cast(az, az_weight_decode(az, exact.residual), AZ_F64));
        apart[i] = norm(az, az_cast(az, az_weight_decode(az, fast.residual), AZ_F64)) / best - 1;
    }
    cr_assert_gt(apart[0], 0.02);
    cr_assert_lt(apart[1], apart[0]);
    cr_assert_lt(apart[2], 1e-3);
    az_close(az);
}

/* |W - (Q + s B A)|_* */
static double lost(az_ctx *az, const az_tensor *w, const char *format, int iterations, az_pissa_start start)
{
    const az_pissa_split split =
        split_of(az, w, (az_pissa_how){.rank = 8, .format = az_format_by_name(format), .iterations = iterations, .start = start});
    cr_assert_str_eq(split.residual->format->name, format);
    return az_nuclear_norm(az, az_sub(az, w, whole(az, &split, 1)));
}

/* Quantizing what is left of the matrix loses less than quantizing the matrix, and alternating loses less again; starting with what
 * quantizing the matrix loses (LoftQ) does worse than starting with the matrix. */
Test(pissa_split, quantized_residuals_lose_less_than_quantized_matrices)
{
    static const char *const formats[] = {"nf4", "q4_0"};
    az_ctx *az = az_open(NULL);
    for (int f = 0; f < 2; f++) {
        for (uint64_t seed = 1; seed < 4; seed++) {
            const az_tensor *w = az_cast(az, decaying(az, 64, 96, 8 * (double)seed, 10 * seed), AZ_F32);
            const az_weight *plain = az_weight_encode(az, az_weight_dense(az, (az_tensor *)w), az_format_by_name(formats[f]), NULL);
            const double matrix = az_nuclear_norm(az, az_sub(az, w, az_weight_decode(az, plain)));
            const double one = lost(az, w, formats[f], 1, AZ_PISSA_OF_WEIGHT), five = lost(az, w, formats[f], 5, AZ_PISSA_OF_WEIGHT);
            cr_assert_lt(one, matrix, "%s: %g, the matrix itself %g", formats[f], one, matrix);
            cr_assert_lt(five, one, "%s: %g after 5 rounds, %g after 1", formats[f], five, one);
            cr_assert_lt(five, lost(az, w, formats[f], 5, AZ_PISSA_OF_LOSS));
        }
    }
    az_close(az);
}

Test(pissa_split, singular_values_of_zero_start_as_lora_does)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *w = az_matmul(az, matrix_normal(az, AZ_F32, 12, 2, 1), matrix_normal(az, AZ_F32, 2, 9, 2));
    const az_pissa_split split = split_of(az, w, (az_pissa_how){.rank = 4, .seed = 3});
    cr_assert_eq(split.dead, 2);
    for (int i = 0; i < 12; i++) cr_assert(az_item(split.b, 4 * i + 2) == 0 && az_item(split.b, 4 * i + 3) == 0);
    const az_tensor *rows = az_slice(az, split.a, 0, 2, 2);
    for (int i = 0; i < 18; i++) cr_assert(az_item(rows, i) != 0 && fabs(az_item(rows, i)) <= 1.0 / 3);
    cr_assert_leq(matrix_difference(whole(az, &split, 1), w), 1e-5);
    const az_pissa_split nothing = split_of(az, az_zeros(az, AZ_F32, 2, (int64_t[]){4, 6}), (az_pissa_how){.rank = 2});
    cr_assert_eq(nothing.dead, 2);
    az_close(az);
}

Test(pissa_split, refuses_ranks_and_matrices_it_cannot_split)
{
    az_ctx *az = az_open(NULL);
    az_pissa_split split;
    az_tensor *w = matrix_normal(az, AZ_F32, 6, 4, 1);
    cr_assert_not(az_pissa_start_of(az, w, &(az_pissa_how){.rank = 5, .scale = 1}, &split));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_clear(az);
    az_f32_mut(w)[5] = INFINITY;
    cr_assert_not(az_pissa_start_of(az, w, &(az_pissa_how){.rank = 2, .scale = 1}, &split));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    az_close(az);
}
