/* M-FAC: the rule against the optimal brain surgeon's closed form on problems whose gradients are given, and a whole model pruned by it. */
#include "compress/compress_internal.h"
#include "compress/m_fac.h"
#include "support/folder.h"
#include "support/matrix.h"
#include "support/small_lm.h"

#include "adze/linalg.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* ---- the rule ---- */

/* Gradients that somebody wrote down: row i of [grads, d], cut up for the matrices. */
typedef struct written {
    const az_tensor *rows;
    az_tensor *const *weight;
    int n;
} written;

static bool written_gradient(az_ctx *az, int64_t round, int64_t i, az_tensor **gradient, double *loss, void *user)
{
    const written *w = user;
    const int64_t d = w->rows->shape[1];
    int64_t at = 0;
    for (int k = 0; k < w->n; k++) {
        const az_tensor *m = w->weight[k];
        gradient[k] = az_from(az, AZ_F32, m->rank, m->shape, az_f32(w->rows) + i * d + at);
        at += az_count(m);
    }
    *loss = (double)round;
    return az_ok(az);
}

static const az_m_fac_settings plain = {.damp = 0.05, .grads = 6, .recompute = 1};

/* Two matrices of 3 x 4 and 2 x 3 under written gradients, pruned; what they held before goes to before [18]. */
static bool prune_two(az_ctx *az, const az_m_fac_settings *how, double sparsity, az_tensor *w[2], double *before, const az_tensor **rows)
{
    w[0] = matrix_normal(az, AZ_F32, 3, 4, 1);
    w[1] = matrix_normal(az, AZ_F32, 2, 3, 2);
    for (int j = 0; j < 18; j++) before[j] = az_item(w[j / 12], j % 12);
    *rows = matrix_normal(az, AZ_F32, how->grads, 18, 3);
    written given = {.rows = *rows, .weight = w, .n = 2};
    const az_m_fac_problem problem = {.weight = w, .n = 2, .gradient = written_gradient, .user = &given};
    return az_m_fac_prune(az, &problem, how, sparsity);
}

/* One weight dropped: the lowest w_j^2 / (2 [F^-1]_jj) of both matrices goes and w -= w_j / [F^-1]_jj F^-1 e_j. Several: the sum of such
 * corrections. F^-1 from the definition. */
Test(m_fac, is_the_surgeon_with_a_dense_inverse)
{
    for (int dropped = 1; dropped <= 9; dropped += 4) {
        az_ctx *az = az_open(NULL);
        az_tensor *w[2];
        const az_tensor *rows;
        double before[18], score[18];
        cr_assert(prune_two(az, &plain, dropped / 18.0, w, before, &rows), "%s", az_error(az));
        const az_tensor *wide = az_cast(az, rows, AZ_F64);
        const az_tensor *f = az_add(az, az_affine(az, az_matmul(az, az_transpose(az, wide), wide), 1.0 / 6, 0),
                                    az_affine(az, az_identity(az, AZ_F64, 18), 0.05, 0));
        const az_tensor *inverse = az_inverse(az, f);
        for (int j = 0; j < 18; j++) score[j] = before[j] * before[j] / (2 * az_item(inverse, j * 19));
        double expected[18];
        memcpy(expected, before, sizeof expected);
        bool gone[18] = {false};
        for (int k = 0; k < dropped; k++) {
            int lowest = -1;
            for (int j = 0; j < 18; j++)
                if (!gone[j] && (lowest < 0 || score[j] < score[lowest])) lowest = j;
            gone[lowest] = true;
            for (int j = 0; j < 18; j++) expected[j] -= before[lowest] / az_item(inverse, lowest * 19) * az_item(inverse, j * 18 + lowest);
        }
        for (int j = 0; j < 18; j++) {
            const double value = az_item(w[j / 12], j % 12);
            cr_assert_float_eq(value, gone[j] ? 0 : expected[j], 1e-5, "%d dropped, weight %d: %g", dropped, j, value);
        }
        az_close(az);
    }
}

/* A block of all weights is the whole of F; a large damp leaves magnitude pruning over all matrices, without corrections. */
Test(m_fac, blocks_and_damping_have_their_limits)
{
    az_ctx *az = az_open(NULL);
    az_tensor *whole[2], *block[2], *damped[2];
    const az_tensor *rows;
    double before[18], magnitude[18];
    az_m_fac_settings how = plain;
    prune_two(az, &how, 0.5, whole, before, &rows);
    how.block = 18;
    prune_two(az, &how, 0.5, block, before, &rows);
    for (int i = 0; i < 2; i++) cr_assert_eq(matrix_difference(whole[i], block[i]), 0);
    how = plain;
    how.damp = 1e6;
    cr_assert(prune_two(az, &how, 0.5, damped, before, &rows), "%s", az_error(az));
    for (int j = 0; j < 18; j++) magnitude[j] = fabs(before[j]);
    for (int j = 0; j < 18; j++) {
        int rank = 0;
        for (int k = 0; k < 18; k++) rank += magnitude[k] < magnitude[j];
        cr_assert_float_eq(az_item(damped[j / 12], j % 12), rank < 9 ? 0 : before[j], 1e-5);
    }
    az_close(az);
}

Test(m_fac, steps_reach_the_sparsity_exactly_and_zeros_stay)
{
    az_ctx *az = az_open(NULL);
    az_tensor *w[] = {matrix_normal(az, AZ_F32, 10, 10, 1)};
    for (int j = 0; j < 20; j++) az_f32_mut(w[0])[5 * j] = 0;
    written given = {.rows = matrix_normal(az, AZ_F32, 8, 100, 3), .weight = w, .n = 1};
    const az_m_fac_problem problem = {.weight = w, .n = 1, .gradient = written_gradient, .user = &given, .report = az_report_new(az, "")};
    const az_m_fac_settings how = {.damp = 0.01, .grads = 8, .recompute = 5, .block = 16};
    cr_assert(az_m_fac_prune(az, &problem, &how, 0.7), "%s", az_error(az));
    int zeros = 0;
    for (int j = 0; j < 100; j++) {
        zeros += az_item(w[0], j) == 0;
        cr_assert(j % 5 != 0 || az_item(w[0], j) == 0);
    }
    cr_assert_eq(zeros, 70);
    cr_assert_float_eq(az_report_value(problem.report, "steps", "sparsity"), 0.7, 1e-12);
    cr_assert_eq(az_report_value(problem.report, "steps", "loss_before"), 4); /* the last round's: each reads new gradients */
    cr_assert(az_m_fac_prune(az, &problem, &how, 0.5), "a lower sparsity changes nothing");
    cr_assert_float_eq(az_report_value(problem.report, "steps", "sparsity"), 0.7, 1e-12);
    az_close(az);
}

Test(m_fac, min_density_spares_the_smaller_matrix)
{
    az_ctx *az = az_open(NULL);
    az_tensor *w[] = {matrix_normal(az, AZ_F32, 10, 10, 1), az_affine(az, matrix_normal(az, AZ_F32, 5, 4, 2), 1e-3, 0)};
    written given = {.rows = matrix_normal(az, AZ_F32, 8, 120, 3), .weight = w, .n = 2};
    const az_m_fac_problem problem = {.weight = w, .n = 2, .gradient = written_gradient, .user = &given};
    const az_m_fac_settings how = {.damp = 0.1, .grads = 8, .recompute = 2, .min_density = 0.25};
    cr_assert(az_m_fac_prune(az, &problem, &how, 0.5), "%s", az_error(az));
    int kept = 0, zeros = 0;
    for (int j = 0; j < 20; j++) kept += az_item(w[1], j) != 0;
    for (int j = 0; j < 120; j++) zeros += az_item(w[j / 100], j % 100) == 0;
    cr_assert_eq(kept, 5);
    cr_assert_eq(zeros, 60);
    az_close(az);
}

Test(m_fac, a_scratch_file_changes_nothing)
{
    az_ctx *az = az_open(NULL);
    az_tensor *memory[2], *file[2];
    const az_tensor *rows;
    double before[18];
    az_m_fac_settings how = plain;
    prune_two(az, &how, 0.5, memory, before, &rows);
    how.scratch = test_folder(az);
    cr_assert(prune_two(az, &how, 0.5, file, before, &rows), "%s", az_error(az));
    for (int i = 0; i < 2; i++) cr_assert_eq(matrix_difference(memory[i], file[i]), 0);
    how.scratch = "/nowhere/at/all";
    cr_assert_not(prune_two(az, &how, 0.5, file, before, &rows));
    cr_assert_not_null(strstr(az_error(az), "/nowhere/at/all"), "%s", az_error(az));
    az_close(az);
}

Test(m_fac, a_gradient_that_is_not_finite_changes_nothing)
{
    az_ctx *az = az_open(NULL);
    az_tensor *w[] = {matrix_normal(az, AZ_F32, 4, 4, 1)};
    const az_tensor *before = az_copy(az, w[0]);
    az_tensor *rows = matrix_normal(az, AZ_F32, 3, 16, 3);
    az_f32_mut(rows)[20] = NAN;
    written given = {.rows = rows, .weight = w, .n = 1};
    const az_m_fac_problem problem = {.weight = w, .n = 1, .gradient = written_gradient, .user = &given};
    cr_assert_not(az_m_fac_prune(az, &problem, &(az_m_fac_settings){.damp = 1, .grads = 3, .recompute = 1}, 0.5));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    cr_assert_eq(matrix_difference(w[0], before), 0);
    az_close(az);
}

/* ---- models ---- */

static int64_t zeros_of(az_ctx *az, az_lm *lm, int64_t *all)
{
    az_lm_linear **linear;
    int64_t zeros = 0;
    *all = 0;
    for (int i = az_lm_linears(az, lm, &linear) - 1; i >= 0; i--) {
        const az_tensor *w = az_weight_decode(az, linear[i]->weight);
        for (int64_t j = 0; j < az_count(w); j++) zeros += az_item(w, j) == 0;
        *all += az_count(w);
    }
    return zeros;
}

Test(m_fac, prunes_a_model_across_its_layers_for_any_number_of_threads)
{
    az_lm *lm[2];
    az_ctx *az[2];
    for (int i = 0; i < 2; i++) {
        az[i] = az_open(&(az_settings){.threads = i + 1});
        lm[i] = small_lm(az[i]);
        cr_assert(small_compress(az[i], lm[i], "m-fac", "sparsity=0.6,grads=8,recompute=2,seqlen=24", small_stories(az[i], 50, 20), NULL),
                  "%s", az_error(az[i]));
        int64_t all;
        const int64_t zeros = zeros_of(az[i], lm[i], &all);
        cr_assert_eq(zeros, llround(0.6 * (double)all));
    }
    cr_assert_eq(small_difference(az[0], lm[0], lm[1]), 0);
    for (int i = 0; i < 2; i++) az_close(az[i]);
}

/* The zeros of wanda stay, those that m-fac adds stay while the rest is fine-tuned, and packed formats keep them. */
Test(m_fac, goes_on_gradually_from_a_pruned_model)
{
    az_ctx *az = az_open(NULL);
    const az_documents *text = small_stories(az, 50, 20);
    az_lm *lm = small_lm(az);
    int64_t all;
    cr_assert(small_compress(az, lm, "wanda", "sparsity=0.3,nsamples=4,no-error", text, NULL), "%s", az_error(az));
    az_lm *wanda = az_lm_copy(az, lm);
    cr_assert(small_compress(az, lm, "m-fac", "schedule=\"0.5,0.75\",grads=4,recompute=1,finetune=3,batch=2,storage=bf16", text, NULL),
              "%s", az_error(az));
    const int64_t zeros = zeros_of(az, lm, &all);
    cr_assert_eq(zeros, llround(0.75 * (double)all));
    az_lm_linear **x, **y;
    const int n = az_lm_linears(az, wanda, &x);
    az_lm_linears(az, lm, &y);
    for (int i = 0; i < n; i++) {
        const az_tensor *a = az_weight_decode(az, x[i]->weight), *b = az_weight_decode(az, y[i]->weight);
        for (int64_t j = 0; j < az_count(a); j++) cr_assert(az_item(a, j) != 0 || az_item(b, j) == 0);
    }
    cr_assert(small_compress(az, lm, "quantize", "type=q8_0", NULL, NULL), "%s", az_error(az));
    cr_assert_geq(zeros_of(az, lm, &all), zeros);
    az_close(az);
}

Test(m_fac, refuses_what_cannot_be)
{
    static const struct {
        const char *options, *message;
    } cases[] = {{"damp=0", "damp"},
                 {"sparsity=1", "sparsity"},
                 {"schedule=\"0.9,0.5\"", "growing"},
                 {"schedule=\"0.5,much\"", "growing"},
                 {"sparsity=0.9,min_density=0.2", "min_density"},
                 {"scratch=/nowhere", "/nowhere"}};
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az), *before = az_lm_copy(az, lm);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_assert_not(small_compress(az, lm, "m-fac", cases[i].options, small_stories(az, 50, 4), NULL));
        cr_assert_not_null(strstr(az_error(az), cases[i].message), "%s: %s", cases[i].options, az_error(az));
        az_clear(az);
    }
    cr_assert_not(small_compress(az, lm, "m-fac", "", NULL, NULL));
    az_clear(az);
    cr_assert_eq(small_difference(az, lm, before), 0);
    az_close(az);
}
