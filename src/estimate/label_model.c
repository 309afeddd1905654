/* label_model.c - least squares, cell means, logistic and ridge regression as predictors of labels. */
#include "estimate/label_model.h"
#include "adze/data.h"
#include "adze/linalg.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LABELS_PER_CELL = 20 };
static const double RIDGE = 0.01;      /* of a row's square in units of the columns' variances */
static const double SAFE_PIVOT = 1e-3; /* length of what a column of length 1 adds to those before it */

const char *const label_kind_names[] = {"auto", "ols", "cells", "logit", "ridge", "stumps", "forest", NULL};

/* The training rows of x [trains, q] and y [trains]. */
static bool training_part(az_ctx *az, const label_fit *fit, az_tensor **x, az_tensor **y)
{
    const int64_t q = fit->x->shape[1];
    *x = az_new2(az, AZ_F64, fit->trains, q);
    *y = az_new1(az, AZ_F64, fit->trains);
    if (!*x || !*y) return false;
    const double *from = az_f64(fit->x);
    double *to = az_f64_mut(*x), *label = az_f64_mut(*y);
    for (int64_t i = 0; i < fit->trains; i++) {
        for (int64_t j = 0; j < q; j++) to[i * q + j] = from[fit->train[i] * q + j];
        label[i] = fit->y[fit->train[i]];
    }
    return true;
}

static void predict_linear(const label_fit *fit, const az_tensor *coefficient, bool logistic, double *prediction)
{
    const int64_t q = fit->x->shape[1];
    const double *b = az_f64(coefficient), *x = az_f64(fit->x);
    for (int64_t i = 0; b && i < fit->tests; i++) {
        const double *row = x + fit->test[i] * q;
        double eta = 0;
        for (int64_t j = 0; j < q; j++) eta += row[j] * b[j];
        prediction[fit->test[i]] = logistic ? 1 / (1 + exp(-eta)) : eta;
    }
}

/* The Cholesky factor in the lower triangle of x'x with columns of unit length; scale [q] their lengths. False where a column adds so
 * little to the others that squares lose digits. */
static bool factor_squares(const az_tensor *x, double *square, double *scale)
{
    const int n = (int)x->shape[0], q = (int)x->shape[1];
    cblas_dsyrk(CblasRowMajor, CblasLower, CblasTrans, q, n, 1, az_f64(x), q, 0, square, q);
    for (int j = 0; j < q; j++) scale[j] = sqrt(square[j * q + j]);
    for (int i = 0; i < q; i++)
        for (int j = 0; j <= i; j++) square[i * q + j] /= scale[i] * scale[j];
    if (!isfinite(square[0]) || LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', q, square, q) != 0) return false;
    for (int j = 0; j < q; j++)
        if (!(square[j * q + j] > SAFE_PIVOT)) return false;
    return true;
}

/* Normal equations, refined once; NULL where they would lose digits. */
static az_tensor *normal_equations(az_ctx *az, const az_tensor *x, const az_tensor *y)
{
    const int n = (int)x->shape[0], q = (int)x->shape[1];
    az_tensor *b = az_zeros(az, AZ_F64, 1, &x->shape[1]), *rest = az_copy(az, y);
    double *square = az_alloc_array(az, (size_t)q * (size_t)q, sizeof *square), *scale = az_alloc_array(az, (size_t)q, sizeof *scale);
    double *step = az_alloc_array(az, (size_t)q, sizeof *step);
    if (!az_ok(az) || n < q || !factor_squares(x, square, scale)) return NULL;
    for (int turn = 0; turn < 2; turn++) {
        cblas_dgemv(CblasRowMajor, CblasTrans, n, q, 1, az_f64(x), q, az_f64(rest), 1, 0, step, 1);
        for (int j = 0; j < q; j++) step[j] /= scale[j];
        cblas_dtrsv(CblasRowMajor, CblasLower, CblasNoTrans, CblasNonUnit, q, square, q, step, 1);
        cblas_dtrsv(CblasRowMajor, CblasLower, CblasTrans, CblasNonUnit, q, square, q, step, 1);
        for (int j = 0; j < q; j++) step[j] /= scale[j], az_f64_mut(b)[j] += step[j];
        cblas_dgemv(CblasRowMajor, CblasNoTrans, n, q, -1, az_f64(x), q, step, 1, 1, az_f64_mut(rest), 1);
    }
    return b;
}

/* Of least norm where the training rows do not determine the coefficients. */
static bool ols_predict(az_ctx *az, const label_fit *fit, double *prediction)
{
    az_tensor *x, *y;
    if (!training_part(az, fit, &x, &y)) return false;
    const az_tensor *b = normal_equations(az, x, y);
    predict_linear(fit, b ? b : az_least_squares(az, x, y, -1), false, prediction);
    return az_ok(az);
}

/* Columns that are constant in training tell nothing, and would have no scale: they are made zero nowhere but left out by the penalty. */
static bool penalised_predict(az_ctx *az, const label_fit *fit, bool logistic, double *prediction)
{
    az_tensor *x, *y;
    if (!training_part(az, fit, &x, &y)) return false;
    const int64_t q = x->shape[1];
    for (int64_t i = 0; logistic && i < fit->trains; i++)
        if (!(az_f64(y)[i] >= 0 && az_f64(y)[i] <= 1))
            return az_fail(az, AZ_BAD_INPUT, "label_model=logit needs labels between 0 and 1, not %g", az_f64(y)[i]);
    int64_t kept = 0, *keep = az_alloc_array(az, (size_t)q, sizeof *keep);
    for (int64_t j = 0; keep && j < q; j++) {
        bool varies = j == 0;
        for (int64_t i = 1; i < fit->trains && !varies; i++) varies = az_f64(x)[i * q + j] != az_f64(x)[j];
        if (varies) keep[kept++] = j;
    }
    az_tensor *z = az_new2(az, AZ_F64, fit->trains, kept), *b = az_zeros(az, AZ_F64, 1, &q);
    if (!z || !b) return false;
    for (int64_t i = 0; i < fit->trains; i++)
        for (int64_t k = 0; k < kept; k++) az_f64_mut(z)[i * kept + k] = az_f64(x)[i * q + keep[k]];
    const az_regression *r = az_regress(az, z, y, &(az_regression_how){.link = logistic ? AZ_LINK_LOGIT : AZ_LINK_LINEAR, .ridge = RIDGE});
    if (!r) return false;
    for (int64_t k = 0; k < kept; k++) az_f64_mut(b)[keep[k]] = az_f64(r->coefficient)[k];
    predict_linear(fit, b, logistic, prediction);
    return true;
}

/* ---- cell means ---- */

typedef struct cell_row {
    const double *x; /* [q] */
    int64_t q, row;
} cell_row;

static int by_cell(const void *a, const void *b)
{
    const cell_row *p = a, *r = b;
    for (int64_t j = 0; j < p->q; j++)
        if (p->x[j] != r->x[j]) return p->x[j] < r->x[j] ? -1 : 1;
    return 0;
}

static cell_row *sorted_rows(az_ctx *az, const label_fit *fit)
{
    const int64_t q = fit->x->shape[1];
    cell_row *rows = az_alloc_array(az, (size_t)fit->trains + 1, sizeof *rows);
    for (int64_t i = 0; rows && i < fit->trains; i++)
        rows[i] = (cell_row){.x = az_f64(fit->x) + fit->train[i] * q, .q = q, .row = fit->train[i]};
    if (rows) qsort(rows, (size_t)fit->trains, sizeof *rows, by_cell);
    return rows;
}

/* The mean label of the training rows with the same predictors; of all of them where there is none. */
static bool cells_predict(az_ctx *az, const label_fit *fit, double *prediction)
{
    const int64_t q = fit->x->shape[1], n = fit->trains;
    cell_row *rows = sorted_rows(az, fit);
    double *mean = az_alloc_array(az, (size_t)n + 1, sizeof *mean), overall = 0; /* of the cell that the i-th row is in */
    if (!rows || !mean) return false;
    for (int64_t i = 0, end; i < n; i = end) {
        double sum = 0;
        for (end = i; end < n && by_cell(&rows[i], &rows[end]) == 0; end++) sum += fit->y[rows[end].row];
        for (int64_t k = i; k < end; k++) mean[k] = sum / (double)(end - i);
        overall += sum;
    }
    for (int64_t i = 0; i < fit->tests; i++) {
        const cell_row key = {.x = az_f64(fit->x) + fit->test[i] * q, .q = q};
        const cell_row *found = bsearch(&key, rows, (size_t)n, sizeof *rows, by_cell);
        prediction[fit->test[i]] = found ? mean[found - rows] : overall / (double)n;
    }
    return true;
}

/* Cell means when there are enough labels for each, least squares otherwise. */
static label_kind choose(az_ctx *az, const label_fit *fit)
{
    const cell_row *rows = sorted_rows(az, fit);
    int64_t cells = 1;
    for (int64_t i = 1; rows && i < fit->trains; i++) cells += by_cell(&rows[i - 1], &rows[i]) != 0;
    return cells * LABELS_PER_CELL <= fit->trains ? LABEL_CELLS : LABEL_OLS;
}

bool label_predict(az_ctx *az, const label_fit *fit, double *prediction)
{
    if (!az_ok(az)) return false;
    az_scope_push(az);
    bool ok = false;
    switch (fit->kind == LABEL_AUTO ? choose(az, fit) : fit->kind) {
    case LABEL_AUTO:
    case LABEL_OLS: ok = ols_predict(az, fit, prediction); break;
    case LABEL_CELLS: ok = cells_predict(az, fit, prediction); break;
    case LABEL_LOGIT: ok = penalised_predict(az, fit, true, prediction); break;
    case LABEL_RIDGE: ok = penalised_predict(az, fit, false, prediction); break;
    case LABEL_STUMPS: ok = stumps_predict(az, fit, prediction); break;
    case LABEL_FOREST: ok = forest_predict(az, fit, prediction); break;
    }
    az_scope_pop(az);
    return ok;
}
