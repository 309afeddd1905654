/* multinomial.c - multinomial logistic regression by Newton's method, or by L-BFGS where its matrix would be too large. */
#include "adze/optim.h"

#include <math.h>
#include <string.h>

enum { MOST_NEWTON = 512 }; /* coefficients */

typedef struct regression {
    az_ctx *az;
    const az_multinomial *problem;
    int64_t n, p, kappa;
    az_tensor *difference; /* [n, kappa] P - Y at the coefficients evaluated last */
} regression;

/* ---- the loss ---- */

/* One row: log(1 + sum exp(a)), and P in `out` (may be NULL); no overflow for any finite score. */
static double row_loss(const double *a, int64_t kappa, double *out)
{
    double top = 0, sum = 0;
    for (int64_t k = 0; k < kappa; k++) top = fmax(top, a[k]);
    sum = exp(-top);
    for (int64_t k = 0; k < kappa; k++) {
        const double e = exp(a[k] - top);
        sum += e;
        if (out) out[k] = e;
    }
    for (int64_t k = 0; out && k < kappa; k++) out[k] /= sum;
    return top + log(sum);
}

double az_multinomial_loss(const double *score, const int32_t *label, int64_t n, int classes, double *difference)
{
    const int64_t kappa = classes - 1;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const double *a = score + i * kappa;
        double *out = difference ? difference + i * kappa : NULL;
        sum += row_loss(a, kappa, out);
        if (!label || label[i] == 0) continue;
        sum -= a[label[i] - 1];
        if (out) out[label[i] - 1] -= 1;
    }
    return label ? sum : NAN;
}

static double penalty(const regression *r, const double *b)
{
    const az_multinomial *p = r->problem;
    double sum = 0;
    for (int64_t j = 0; j < r->p; j++)
        for (int64_t k = 0; k < r->kappa; k++) {
            const double value = b[j * r->kappa + k];
            sum += (p->l2 ? p->l2[j] * value * value : 0) + (p->l1 ? p->l1[j] * fabs(value) : 0);
        }
    return sum;
}

/* The objective at b, whose P - Y is then in r->difference. */
static double evaluate(const regression *r, const double *b)
{
    az_ctx *az = r->az;
    az_scope_push(az);
    const az_tensor *score = az_matrix_times(az, r->problem->x, az_from(az, AZ_F64, 2, (int64_t[]){r->p, r->kappa}, b));
    double value = NAN;
    if (score)
        value = az_multinomial_loss(az_f64(score), r->problem->label, r->n, (int)r->kappa + 1, az_f64_mut(r->difference)) + penalty(r, b);
    az_scope_pop(az);
    return value;
}

/* X^T (P - Y) + 2 l2 B: the gradient without that of |B|. */
static void gradient_at(const regression *r, const double *b, double *out)
{
    az_ctx *az = r->az;
    az_scope_push(az);
    const az_tensor *g = az_matrix_transposed_times(az, r->problem->x, r->difference);
    for (int64_t i = 0; g && i < r->p * r->kappa; i++)
        out[i] = az_f64(g)[i] + (r->problem->l2 ? 2 * r->problem->l2[i / r->kappa] * b[i] : 0);
    az_scope_pop(az);
}

/* ---- Newton's method ---- */

/* weighted = diag(w) X with w = P_a [a = c] - P_a P_c. */
static void weigh_rows(const regression *r, int64_t a, int64_t c, az_tensor *weighted)
{
    const double *x = az_f64(r->problem->x->dense), *d = az_f64(r->difference);
    double *out = az_f64_mut(weighted);
    for (int64_t i = 0; i < r->n; i++) {
        const int32_t label = r->problem->label[i];
        const double pa = d[i * r->kappa + a] + (label == a + 1), pc = d[i * r->kappa + c] + (label == c + 1);
        const double w = (a == c ? pa : 0) - pa * pc;
        for (int64_t j = 0; j < r->p; j++) out[i * r->p + j] = w * x[i * r->p + j];
    }
}

/* block [p, p] of classes a and c, and the mirrored one, in the order of B's entries. */
static void place_block(const regression *r, int64_t a, int64_t c, const double *block, double *hessian)
{
    const int64_t p = r->p, kappa = r->kappa, size = p * kappa;
    for (int64_t j = 0; j < p; j++)
        for (int64_t k = 0; k < p; k++) {
            hessian[(j * kappa + a) * size + k * kappa + c] = block[j * p + k];
            hessian[(k * kappa + c) * size + j * kappa + a] = block[j * p + k];
        }
}

/* The Hessian [p kappa, p kappa], from the weighted Gram matrices of X. */
static az_tensor *hessian(const regression *r)
{
    az_ctx *az = r->az;
    const int64_t size = r->p * r->kappa;
    az_tensor *out = az_new2(az, AZ_F64, size, size), *weighted = az_new2(az, AZ_F64, r->n, r->p);
    for (int64_t a = 0; out && weighted && a < r->kappa; a++) {
        for (int64_t c = a; c < r->kappa; c++) {
            az_scope_push(az);
            weigh_rows(r, a, c, weighted);
            const az_tensor *block = az_matmul(az, az_transpose(az, r->problem->x->dense), weighted);
            if (block) place_block(r, a, c, az_f64(block), az_f64_mut(out));
            az_scope_pop(az);
        }
    }
    /* a ridge that rounding alone would ask for, so that columns which depend on each other do no harm */
    double largest = 0, *h = out ? az_f64_mut(out) : NULL;
    for (int64_t i = 0; h && i < size; i++) largest = fmax(largest, h[i * (size + 1)]);
    for (int64_t i = 0; h && i < size; i++)
        h[i * (size + 1)] += (r->problem->l2 ? 2 * r->problem->l2[i / r->kappa] : 0) + 1e-12 * largest + 1e-300;
    return out;
}

/* Where the quadratic model around b has its minimum: `to` [p kappa]. */
static bool model_minimum(const regression *r, const double *b, const double *gradient, double *to)
{
    az_ctx *az = r->az;
    const int64_t size = r->p * r->kappa;
    const az_tensor *h = hessian(r);
    if (!h) return false;
    if (!r->problem->l1 && !r->problem->nonnegative) {
        const az_tensor *step = az_solve_spd(az, h, az_from(az, AZ_F64, 1, &size, gradient));
        for (int64_t i = 0; step && i < size; i++) to[i] = b[i] - az_f64(step)[i];
        return step != NULL;
    }
    double *right = az_alloc_array(az, (size_t)size, sizeof *right), *l1 = az_alloc_array(az, (size_t)size, sizeof *l1);
    bool *sign = az_alloc_array(az, (size_t)size, sizeof *sign);
    if (!right || !l1 || !sign) return false;
    const double *row = az_f64(h);
    for (int64_t i = 0; i < size; i++, row += size) {
        right[i] = -gradient[i];
        for (int64_t j = 0; j < size; j++) right[i] += row[j] * b[j];
        l1[i] = r->problem->l1 ? r->problem->l1[i / r->kappa] : 0;
        sign[i] = r->problem->nonnegative && r->problem->nonnegative[i / r->kappa];
        to[i] = b[i];
    }
    const az_quadratic model = {.r = size, .q = az_f64(h), .l1 = l1, .nonnegative = sign, .most_turns = 1000, .tolerance = 1e-12};
    az_quadratic_descend(az, &model, 1, right, to);
    return true;
}

/* One step towards the model's minimum, halved until the objective falls. Returns the objective after it. */
static double take_step(const regression *r, double *b, double before)
{
    enum { MOST_HALVINGS = 40 };
    az_ctx *az = r->az;
    const int64_t size = r->p * r->kappa;
    double *gradient = az_alloc_array(az, (size_t)size, sizeof *gradient), *to = az_alloc_array(az, (size_t)size, sizeof *to);
    double *trial = az_alloc_array(az, (size_t)size, sizeof *trial), length = 1;
    if (!gradient || !to || !trial) return NAN;
    gradient_at(r, b, gradient);
    if (!model_minimum(r, b, gradient, to)) return NAN;
    for (int halvings = 0; halvings < MOST_HALVINGS; halvings++, length /= 2) {
        for (int64_t i = 0; i < size; i++) trial[i] = b[i] + length * (to[i] - b[i]);
        const double value = evaluate(r, trial);
        if (!(value < before)) continue;
        memcpy(b, trial, (size_t)size * sizeof *b);
        return value;
    }
    evaluate(r, b);
    return before;
}

static double newton(const regression *r, double *b)
{
    double value = evaluate(r, b);
    for (int64_t step = 0; step < r->problem->most_steps && az_ok(r->az); step++) {
        const double before = value;
        az_scope_push(r->az);
        value = take_step(r, b, before);
        az_scope_pop(r->az);
        if (!(before - value > r->problem->tolerance * fabs(before))) break;
    }
    return az_ok(r->az) ? value : NAN;
}

/* ---- L-BFGS ---- */

static double objective(az_ctx *az, const double *b, double *gradient, void *user)
{
    const regression *r = user;
    const double value = evaluate(r, b);
    gradient_at(r, b, gradient);
    return az_ok(az) ? value : NAN;
}

static double descend(az_ctx *az, regression *r, double *b)
{
    if (r->problem->l1 || r->problem->nonnegative)
        return az_fail(az, AZ_BAD_CALL, "logistic regression with %lld coefficients has neither l1 nor signs",
                       (long long)(r->p * r->kappa)),
               NAN;
    const az_lbfgs_options how = {.memory = 10, .iterations = 20 * r->problem->most_steps, .value_tolerance = r->problem->tolerance};
    return az_lbfgs(az, objective, r, r->p * r->kappa, b, &how).value;
}

double az_multinomial_fit(az_ctx *az, const az_multinomial *problem, az_tensor *b)
{
    if (!az_ok(az) || !problem->x || !b) return NAN;
    const int64_t kappa = problem->classes - 1;
    if (kappa < 1 || b->rank != 2 || b->shape[0] != problem->x->columns || b->shape[1] != kappa || !az_f64_mut(b))
        return az_fail(az, AZ_BAD_CALL, "logistic regression: coefficients %s for %lld columns and %d classes", az_shape_text(az, b),
                       (long long)problem->x->columns, problem->classes),
               NAN;
    az_scope_push(az);
    regression r = {.az = az, .problem = problem, .n = problem->x->rows, .p = problem->x->columns, .kappa = kappa};
    r.difference = az_new2(az, AZ_F64, r.n, kappa);
    const bool small = problem->x->dense && r.p * kappa <= MOST_NEWTON;
    const double value = !r.difference ? NAN : small ? newton(&r, az_f64_mut(b)) : descend(az, &r, az_f64_mut(b));
    az_scope_pop(az);
    return value;
}
