/* galore.c - GaLore: AdamW whose moments live in a subspace of the gradients, so that they take rank / (shorter side) of the memory.
 *
 *     G [m, n] with m >= n:  R = G Q,    Q [n, rank] the leading right singular vectors of a gradient    W += scale D Q^T
 *              with m <  n:  R = P^T G,  P [m, rank] its leading left ones                               W += scale P D
 * where D is the step that AdamW takes for the gradient R. The vectors are taken anew every `refresh` steps, by a range finder; the
 * moments stay as they are then. Decay is that of the matrix, decoupled: W -= lr decay W. Matrices whose shorter side is no longer than
 * the rank, and vectors, are left to AdamW.
 *
 * Zhao, Zhang, Chen, Wang, Anandkumar, Tian: "GaLore: memory-efficient LLM training by gradient low-rank projection", ICML 2024 (arXiv
 * 2403.03507), algorithm 2. */
#include "optim/galore.h"

#include <string.h>

enum { POWER = 2 /* iterations of the range finder */ };

typedef struct projection {
    az_tensor *parameter;
    az_tensor *basis; /* [shorter side, rank]; NULL: the parameter is AdamW's as it is */
    az_tensor *step;  /* D: what AdamW changes instead of the parameter */
    bool decay;
} projection;

struct az_galore_state {
    az_optimizer_options options;
    int n;
    projection *projection; /* [n] */
    az_optimizer *adamw;    /* of steps and of whole parameters */
};

static bool is_tall(const az_tensor *matrix)
{
    return matrix->shape[0] >= matrix->shape[1];
}

static bool begin_projection(az_ctx *az, const az_optimizer_options *o, bool wanted, projection *p)
{
    const az_tensor *w = p->parameter;
    const int64_t shorter = w->rank == 2 ? (is_tall(w) ? w->shape[1] : w->shape[0]) : 0;
    if (!wanted || shorter <= o->rank) return true;
    const int64_t basis[] = {shorter, o->rank}, tall[] = {w->shape[0], o->rank}, wide[] = {o->rank, w->shape[1]};
    p->basis = az_zeros(az, w->dtype, 2, basis), p->step = az_zeros(az, w->dtype, 2, is_tall(w) ? tall : wide);
    return p->basis && p->step;
}

az_galore_state *az_galore_new(az_ctx *az, const az_optimizer_options *options, az_tensor *const *parameters, int n, const bool *decay)
{
    az_galore_state *g = az_alloc(az, sizeof *g);
    projection *all = az_alloc_array(az, (size_t)n, sizeof *all);
    az_tensor **moved = az_alloc_array(az, (size_t)n, sizeof *moved);
    bool *whole_decays = az_alloc_array(az, (size_t)n, sizeof *whole_decays);
    if (!g || !all || !moved || !whole_decays) return NULL;
    for (int i = 0; i < n; i++) {
        all[i] = (projection){.parameter = az_share(az, parameters[i]), .decay = decay[i]};
        if (!all[i].parameter || !begin_projection(az, options, !options->project || options->project[i], &all[i])) return NULL;
        moved[i] = all[i].step ? all[i].step : all[i].parameter;
        whole_decays[i] = !all[i].step && decay[i];
    }
    az_optimizer_options adamw = *options;
    adamw.kind = AZ_ADAMW;
    *g = (az_galore_state){.options = *options, .n = n, .projection = all, .adamw = az_optimizer_new(az, &adamw, moved, n, whole_decays)};
    return g->adamw ? g : NULL;
}

/* The subspace of a gradient. */
static bool refresh(az_ctx *az, const projection *p, int number, const az_tensor *gradient)
{
    az_tensor *u, *s, *vt;
    if (az_first_nonfinite(gradient) >= 0) return az_fail(az, AZ_NUMERIC, "optimizer: gradient %d is not finite", number);
    const uint64_t seed = az_stream("subspace of a gradient", (uint64_t)number);
    if (!az_svd_randomized(az, gradient, p->basis->shape[1], POWER, seed, &u, &s, &vt)) return false;
    az_copy_into(az, p->basis, is_tall(p->parameter) ? az_transpose(az, vt) : u);
    return az_ok(az);
}

static az_tensor *project(az_ctx *az, const projection *p, az_tensor *gradient)
{
    if (!p->basis) return gradient;
    return is_tall(p->parameter) ? az_matmul(az, gradient, p->basis) : az_matmul(az, az_transpose(az, p->basis), gradient);
}

/* The parameter moves by the step in its subspace. */
static void lift(az_ctx *az, const az_galore_state *g, const projection *p, double lr)
{
    if (!p->basis) return;
    az_scope_push(az);
    const bool tall = is_tall(p->parameter);
    const az_tensor *moved = tall ? az_matmul(az, p->step, az_transpose(az, p->basis)) : az_matmul(az, p->basis, p->step);
    const az_tensor *kept = az_affine(az, p->parameter, p->decay ? 1 - lr * g->options.weight_decay : 1, 0);
    const az_tensor *sum = az_add(az, kept, az_affine(az, moved, g->options.scale, 0));
    if (sum) az_copy_into(az, p->parameter, sum);
    az_scope_pop(az);
}

bool az_galore_step(az_ctx *az, az_galore_state *galore, az_tensor *const *gradient, double lr, int64_t step)
{
    az_tensor **projected = az_alloc_array(az, (size_t)galore->n, sizeof *projected);
    if (!projected) return false;
    if (step % galore->options.refresh == 0)
        for (int i = 0; i < galore->n; i++) {
            az_scope_push(az);
            const bool good = !galore->projection[i].basis || refresh(az, &galore->projection[i], i, gradient[i]);
            az_scope_pop(az);
            if (!good) return false;
        }
    for (int i = 0; i < galore->n; i++) {
        const projection *p = &galore->projection[i];
        projected[i] = project(az, p, gradient[i]);
        if (p->step) memset(p->step->data, 0, (size_t)az_count(p->step) * az_dtype_size(p->step->dtype));
    }
    az_optimizer_set_steps(galore->adamw, step);
    if (!az_ok(az) || !az_optimizer_step(az, galore->adamw, projected, lr)) return false;
    for (int i = 0; i < galore->n; i++) lift(az, galore, &galore->projection[i], lr);
    return az_ok(az);
}

int az_galore_tensors(az_ctx *az, az_galore_state *galore, az_tensor ***tensors, const char ***names)
{
    az_tensor **moment;
    const char **moment_name;
    const int moments = az_optimizer_state(az, galore->adamw, &moment, &moment_name);
    const size_t most = (size_t)(moments + galore->n);
    *tensors = az_alloc_array(az, most, sizeof **tensors), *names = az_alloc_array(az, most, sizeof **names);
    if (!*tensors || !*names) return 0;
    int count = moments;
    memcpy(*tensors, moment, (size_t)moments * sizeof *moment), memcpy(*names, moment_name, (size_t)moments * sizeof *moment_name);
    for (int i = 0; i < galore->n; i++) {
        if (!galore->projection[i].basis) continue;
        (*tensors)[count] = galore->projection[i].basis;
        (*names)[count++] = az_format_text(az, "galore.basis.%d", i);
    }
    return az_ok(az) ? count : 0;
}
