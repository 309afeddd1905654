/* check.c - derivatives against central differences, for tests.
 *
 * f is reduced to the scalar phi = <w, f(x)> with fixed random w. Its gradient is compared entry by entry with differences of phi; for the
 * second derivative the scalar is psi = sum_i <r_i, dphi/dx_i>, so that every second derivative is met through one more gradient. */
#include "adze/grad.h"

#include <math.h>

typedef struct problem {
    az_segment f;
    void *user;
    az_tensor **x; /* own copies of the inputs */
    int n;
    bool second; /* psi instead of phi */
} problem;

static az_tensor *random_like(az_ctx *az, const az_tensor *x, uint64_t number)
{
    return x ? az_randn(az, x->dtype, x->rank, x->shape, 1, 17, az_stream("gradient check", number)) : NULL;
}

static az_tensor *weighted(az_ctx *az, const az_tensor *y, uint64_t number)
{
    return az_sum(az, az_mul(az, y, random_like(az, y, number)), AZ_ALL_AXES, false);
}

/* phi or psi at watched x; a tape is open. phi's gradient goes to g (recorded) when psi is asked for. */
static az_tensor *scalar_at(az_ctx *az, const problem *p, az_tensor *const *x)
{
    az_tensor *phi = weighted(az, p->f(az, x, p->n, p->user), 0);
    if (!p->second) return phi;
    az_tensor **g = az_alloc_array(az, (size_t)p->n, sizeof *g), *psi = NULL;
    if (!g || !az_grad(az, phi, NULL, (const az_tensor *const *)x, p->n, g, AZ_GRAD_RECORD)) return NULL;
    for (int i = 0; i < p->n; i++) {
        az_tensor *term = weighted(az, g[i], 1 + (uint64_t)i);
        psi = psi ? az_add(az, psi, term) : term;
    }
    return psi;
}

/* The scalar at p->x; its gradients go to g unless that is NULL. */
static double evaluate(az_ctx *az, const problem *p, az_tensor **g)
{
    az_scope_push(az);
    az_tape_open(az);
    az_tensor **x = az_alloc_array(az, (size_t)p->n, sizeof *x);
    for (int i = 0; i < p->n && x; i++) x[i] = az_watch(az, p->x[i]);
    const az_tensor *value = x ? scalar_at(az, p, x) : NULL;
    double result = az_to_double(value);
    if (g && value) az_grad(az, value, NULL, (const az_tensor *const *)x, p->n, g, 0);
    az_tape_close(az);
    az_keep_all(az, g, g ? p->n : 0);
    return result;
}

/* Largest error over all entries of all inputs. */
static double compare(az_ctx *az, const problem *p)
{
    az_tensor **g = az_alloc_array(az, (size_t)p->n, sizeof *g);
    if (!g) return INFINITY;
    evaluate(az, p, g);
    double worst = 0;
    for (int i = 0; i < p->n && az_ok(az); i++) {
        double *x = az_f64_mut(p->x[i]);
        for (int64_t k = 0, count = az_count(p->x[i]); k < count; k++) {
            double at = x[k], h = 6e-6 * fmax(1, fabs(at));
            x[k] = at + h;
            double above = evaluate(az, p, NULL);
            x[k] = at - h;
            double numeric = (above - evaluate(az, p, NULL)) / (2 * h);
            x[k] = at;
            double error = fabs(az_item(g[i], k) - numeric) / fmax(1, fabs(numeric));
            if (!(error <= worst)) worst = isnan(error) ? INFINITY : error;
        }
    }
    return az_ok(az) ? worst : INFINITY;
}

double az_grad_check(az_ctx *az, az_segment f, az_tensor *const *inputs, int n, void *user, bool second)
{
    az_scope_push(az);
    problem p = {.f = f, .user = user, .x = az_alloc_array(az, (size_t)n, sizeof *p.x), .n = n};
    bool ready = p.x;
    for (int i = 0; i < n && ready; i++) {
        p.x[i] = inputs[i] ? az_cast(az, az_share(az, inputs[i]), AZ_F64) : NULL;
        ready = p.x[i];
    }
    double worst = ready ? compare(az, &p) : INFINITY;
    p.second = true;
    if (second && ready) worst = fmax(worst, compare(az, &p));
    az_scope_pop(az);
    return worst;
}
