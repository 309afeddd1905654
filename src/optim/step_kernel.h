/* step_kernel.h - the inner loops of the optimizers for one type: included twice by optimizer.c, with REAL and the functions' names
 * defined. Each reads a gradient g[n] and changes the weight w[n] and the state in place, in one pass. */

/* Loshchilov & Hutter 2019, algorithm 2; the bias corrections 1 - beta^t are inside how->rate and how->root. */
static void ADAMW_BLOCK(const adamw_rates *how, int64_t n, const REAL *restrict g, REAL *restrict w, REAL *restrict m, REAL *restrict v)
{
    const REAL b1 = (REAL)how->beta1, b2 = (REAL)how->beta2, c1 = (REAL)(1 - how->beta1), c2 = (REAL)(1 - how->beta2);
    const REAL rate = (REAL)how->rate, root = (REAL)how->root, eps = (REAL)how->eps, keep = (REAL)how->keep;
    for (int64_t i = 0; i < n; i++) {
        m[i] = b1 * m[i] + c1 * g[i];
        v[i] = b2 * v[i] + c2 * g[i] * g[i];
        w[i] = keep * w[i] - rate * m[i] / (SQUARE_ROOT(v[i]) * root + eps);
    }
}

/* velocity = momentum * velocity + g; the step follows the velocity, or with Nesterov's rule g + momentum * velocity. */
static void SGD_BLOCK(const sgd_rates *how, int64_t n, const REAL *restrict g, REAL *restrict w, REAL *restrict velocity)
{
    const REAL lr = (REAL)how->lr, decay = (REAL)how->decay, momentum = (REAL)how->momentum;
    if (!velocity) {
        for (int64_t i = 0; i < n; i++) w[i] -= lr * (g[i] + decay * w[i]);
        return;
    }
    const REAL ahead = how->nesterov ? momentum : 1, fresh = how->nesterov ? 1 : 0;
    for (int64_t i = 0; i < n; i++) {
        REAL slope = g[i] + decay * w[i];
        velocity[i] = momentum * velocity[i] + slope;
        w[i] -= lr * (fresh * slope + ahead * velocity[i]);
    }
}
