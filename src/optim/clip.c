/* clip.c - the joint norm of gradients, and scaling them down to a largest norm. Sums of fixed-size blocks are added in order, so that the
 * norm does not depend on the number of threads. */
#include "adze/optim.h"

#include <math.h>

enum { BLOCK = 8192, LANES = 8 };

/* Sum of squares of x[n] in double; eight running sums let it use vector registers in a fixed order. */
static double square_sum(const az_tensor *x, int64_t start, int64_t n)
{
    double lane[LANES] = {0}, rest = 0;
    const int64_t whole = n - n % LANES;
    if (x->dtype == AZ_F32) {
        const float *v = (const float *)x->data + start;
        for (int64_t i = 0; i < whole; i += LANES)
            for (int k = 0; k < LANES; k++) lane[k] += (double)v[i + k] * v[i + k];
        for (int64_t i = whole; i < n; i++) rest += (double)v[i] * v[i];
    } else {
        const double *v = (const double *)x->data + start;
        for (int64_t i = 0; i < whole; i += LANES)
            for (int k = 0; k < LANES; k++) lane[k] += v[i + k] * v[i + k];
        for (int64_t i = whole; i < n; i++) rest += v[i] * v[i];
    }
    for (int k = 0; k < LANES; k++) rest += lane[k];
    return rest;
}

/* Squared 2-norm of one gradient. */
static double squared_norm(az_ctx *az, const az_tensor *g)
{
    const int64_t count = az_count(g), blocks = (count + BLOCK - 1) / BLOCK;
    az_scope_push(az);
    double *part = az_alloc_array(az, (size_t)blocks, sizeof *part), sum = 0;
    if (part) {
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (blocks > 4)
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t start = b * BLOCK;
            part[b] = square_sum(g, start, count - start < BLOCK ? count - start : BLOCK);
        }
        for (int64_t b = 0; b < blocks; b++) sum += part[b];
    }
    az_scope_pop(az);
    return sum;
}

static void scale(az_ctx *az, az_tensor *g, double factor)
{
    const int64_t count = az_count(g);
    if (g->dtype == AZ_F32) {
        float *v = g->data;
        const float by = (float)factor;
#pragma omp parallel for simd schedule(static) num_threads(az_threads(az)) if (count > 4 * BLOCK)
        for (int64_t i = 0; i < count; i++) v[i] *= by;
    } else {
        double *v = g->data;
#pragma omp parallel for simd schedule(static) num_threads(az_threads(az)) if (count > 4 * BLOCK)
        for (int64_t i = 0; i < count; i++) v[i] *= factor;
    }
}

/* Two parameters that enter a computation in the same way may have received one and the same gradient. */
static bool seen_before(az_tensor *const *gradients, int i)
{
    for (int k = 0; k < i; k++)
        if (gradients[k]->data == gradients[i]->data) return true;
    return false;
}

double az_clip_gradients(az_ctx *az, az_tensor *const *gradients, int n, double max_norm)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        const az_tensor *g = gradients[i];
        if (!g || !az_ok(az)) return NAN;
        if ((g->dtype != AZ_F32 && g->dtype != AZ_F64) || !az_is_contiguous(g)) {
            az_fail(az, AZ_BAD_CALL, "clipping: gradient %d is not contiguous f32 or f64", i);
            return NAN;
        }
        sum += squared_norm(az, g);
    }
    const double norm = sqrt(sum);
    if (max_norm > 0 && norm > max_norm && isfinite(norm))
        for (int i = 0; i < n; i++)
            if (az_count(gradients[i]) > 0 && !seen_before(gradients, i)) scale(az, gradients[i], max_norm / norm);
    return norm;
}
