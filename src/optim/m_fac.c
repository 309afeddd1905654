/* m_fac.c - the M-FAC optimizer: steps along F^-1 g, with F the empirical Fisher matrix of the last gradients of all parameters together.
 *
 *     g = gradient + weight_decay w        u = F^-1 g, g itself in the window
 *     v = momentum v + (1 - momentum) u    w -= lr v       (u alone without momentum)
 * During the first plain_steps the window fills while the step is along g: F of a nearly empty window is damp I, and g / damp is far too
 * long. With keep_zeros, entries that are exactly zero at the start are not in the window and stay zero.
 *
 * Frantar, Kurtic, Alistarh: "M-FAC", NeurIPS 2021 (arXiv 2107.03356), section 4. */
#include "optim/m_fac.h"

#include "adze/linalg.h"

struct az_m_fac_state {
    az_optimizer_options options;
    int n;
    az_tensor **parameter; /* [n] */
    const bool *decay;     /* [n] */
    int64_t d;             /* entries that move */
    unsigned char *still;  /* [all entries] 1 = stays zero; NULL: none */
    az_fisher_window *window;
    az_tensor *velocity; /* [d], or NULL */
};

/* Marks the entries that are zero. Returns how many are not; without keep_zeros all of them. */
static int64_t mark_zeros(az_ctx *az, az_m_fac_state *m)
{
    int64_t all = 0, moving = 0;
    for (int i = 0; i < m->n; i++) all += az_count(m->parameter[i]);
    if (!m->options.keep_zeros) return all;
    unsigned char *still = m->still = az_alloc_array(az, (size_t)all, 1);
    for (int i = 0; still && i < m->n; i++) {
        const float *w = az_f32(m->parameter[i]);
        for (int64_t j = 0; j < az_count(m->parameter[i]); j++) moving += !(*still++ = w[j] == 0);
    }
    return moving;
}

az_m_fac_state *az_m_fac_new(az_ctx *az, const az_optimizer_options *options, az_tensor *const *parameters, int n, const bool *decay)
{
    az_m_fac_state *m = az_alloc(az, sizeof *m);
    if (!m) return NULL;
    *m = (az_m_fac_state){.options = *options, .n = n, .decay = decay, .parameter = az_alloc_array(az, (size_t)n, sizeof *m->parameter)};
    for (int i = 0; m->parameter && i < n; i++) {
        if (parameters[i]->dtype != AZ_F32) return az_fail(az, AZ_BAD_INPUT, "optimizer: m-fac works on f32 parameters only");
        m->parameter[i] = az_share(az, parameters[i]);
    }
    if (!az_ok(az)) return NULL;
    m->d = mark_zeros(az, m);
    m->window = az_fisher_window_new(az, options->window, m->d, options->damp);
    if (options->beta1 > 0) m->velocity = az_zeros(az, AZ_F32, 1, &m->d);
    return az_ok(az) ? m : NULL;
}

/* All gradients as one vector, with decay. */
static az_tensor *gather(az_ctx *az, const az_m_fac_state *m, const void *const *gradient)
{
    az_tensor *flat = az_new1(az, AZ_F32, m->d);
    if (!flat) return NULL;
    float *out = az_f32_mut(flat);
    const unsigned char *still = m->still;
    for (int i = 0; i < m->n; i++) {
        const float *g = gradient[i], *w = az_f32(m->parameter[i]);
        const float decay = m->decay[i] ? (float)m->options.weight_decay : 0;
        for (int64_t j = 0; j < az_count(m->parameter[i]); j++)
            if (!still || !*still++) *out++ = g[j] + decay * w[j];
    }
    return flat;
}

/* w -= lr v */
static void move(const az_m_fac_state *m, const float *v, double lr)
{
    const unsigned char *still = m->still;
    for (int i = 0; i < m->n; i++) {
        float *w = az_f32_mut(m->parameter[i]);
        for (int64_t j = 0; j < az_count(m->parameter[i]); j++)
            if (!still || !*still++) w[j] -= (float)lr * *v++;
    }
}

bool az_m_fac_step(az_ctx *az, az_m_fac_state *m, const void *const *gradient, double lr, int64_t step)
{
    const az_tensor *g = gather(az, m, gradient);
    const az_tensor *u = g;
    if (step < m->options.plain_steps)
        az_fisher_window_push(az, m->window, g);
    else
        u = az_fisher_window_push_solve(az, m->window, g);
    if (!u || !az_ok(az)) return false;
    const float *direction = az_f32(u), beta = (float)m->options.beta1;
    if (m->velocity) {
        float *v = az_f32_mut(m->velocity);
        for (int64_t j = 0; j < m->d; j++) v[j] = beta * v[j] + (1 - beta) * direction[j];
        direction = v;
    }
    move(m, direction, lr);
    return true;
}

int az_m_fac_tensors(az_m_fac_state *m, az_tensor *tensor[AZ_M_FAC_TENSORS], const char *name[AZ_M_FAC_TENSORS])
{
    static const char *const names[AZ_M_FAC_TENSORS] = {"m-fac.gradients", "m-fac.products", "m-fac.pushes", "m-fac.velocity"};
    const int n = m->velocity ? AZ_M_FAC_TENSORS : AZ_M_FAC_TENSORS - 1;
    az_fisher_window_state(m->window, tensor);
    tensor[AZ_M_FAC_TENSORS - 1] = m->velocity;
    for (int i = 0; i < n; i++) name[i] = names[i];
    return n;
}
