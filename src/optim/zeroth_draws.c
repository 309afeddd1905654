/* zeroth_draws.c - the random directions of zeroth-order optimization as functions of their keys.
 *
 * Fresh numbers of a step, query and parameter: stream ("zeroth order", (step * queries + query) * parameters + parameter). Lasting
 * factors: streams ("zeroth order U", ...) and ("zeroth order V", period * parameters + parameter). What a matrix's fresh numbers are
 * depends on the kind: tau, U, z or Z itself. */
#include "optim/zeroth_order.h"

#include "adze/linalg.h"

#include <cblas.h>
#include <math.h>

int64_t az_zo_period(const az_zo *zo, int64_t step)
{
    const bool renews = zo->options.kind == AZ_ZO_LAZY || zo->options.kind == AZ_ZO_SUBSPACE;
    return renews ? step / zo->options.renew : 0;
}

int64_t az_zo_fresh_count(const az_zo *zo, int i)
{
    const az_zo_slot *s = &zo->slot[i];
    if (s->rank == 0) return s->rows * s->cols;
    if (zo->options.kind == AZ_ZO_TEMPORAL) return s->rank;
    return s->rank * (zo->options.kind == AZ_ZO_LAZY ? s->rows : s->rank);
}

void az_zo_fresh(az_ctx *az, const az_zo *zo, int i, int query, int64_t first, int64_t n, float *out)
{
    const int64_t draw = (zo->steps * zo->options.queries + query) * zo->n + i;
    az_fill_normal(az, zo->options.seed, az_stream("zeroth order", (uint64_t)draw), (uint64_t)first, n, out);
}

/* ---- lasting factors ---- */

static void draw_factor(az_ctx *az, const az_zo *zo, const char *which, int i, int64_t period, int64_t rows, float *out)
{
    const uint64_t stream = az_stream(which, (uint64_t)(period * zo->n + i));
    az_fill_normal(az, zo->options.seed, stream, 0, rows * zo->slot[i].rank, out);
}

/* The Q of a [rows, rank] = Q R with a positive diagonal of R, in a's place. */
static bool orthonormalise(az_ctx *az, az_tensor *a)
{
    az_tensor *q = NULL, *r = NULL;
    az_scope_push(az);
    const bool good = az_qr(az, a, &q, &r);
    const int64_t rank = a->shape[1];
    for (int64_t j = 0; good && j < az_count(a); j++) {
        const bool flips = az_f32(r)[j % rank * (rank + 1)] < 0;
        az_f32_mut(a)[j] = flips ? -az_f32(q)[j] : az_f32(q)[j];
    }
    az_scope_pop(az);
    return good;
}

static bool draw_frame(az_ctx *az, const az_zo *zo, int i, int64_t period, az_tensor *left, az_tensor *right)
{
    const az_zo_slot *s = &zo->slot[i];
    if (!right) return false;
    if (left) draw_factor(az, zo, "zeroth order U", i, period, s->rows, az_f32_mut(left));
    draw_factor(az, zo, "zeroth order V", i, period, s->cols, az_f32_mut(right));
    return zo->options.kind != AZ_ZO_SUBSPACE || (orthonormalise(az, left) && orthonormalise(az, right));
}

bool az_zo_keep_frame(az_ctx *az, const az_zo *zo, int i, int64_t period)
{
    return draw_frame(az, zo, i, period, zo->slot[i].left, zo->slot[i].right);
}

bool az_zo_frame_of(az_ctx *az, const az_zo *zo, int i, int64_t period, az_zo_frame *frame)
{
    const az_zo_slot *s = &zo->slot[i];
    az_tensor *left = s->left, *right = s->right;
    if (!right || period != zo->period) {
        left = zo->options.kind == AZ_ZO_LAZY ? NULL : az_new2(az, AZ_F32, s->rows, s->rank);
        right = az_new2(az, AZ_F32, s->cols, s->rank);
        if (!draw_frame(az, zo, i, period, left, right)) return false;
    }
    *frame = (az_zo_frame){.left = az_f32(left), .right = az_f32(right)};
    return az_ok(az);
}

/* ---- the fresh factor ---- */

float *az_zo_fresh_sum(az_ctx *az, const az_zo *zo, int i, const double *weight)
{
    const int64_t count = az_zo_fresh_count(zo, i);
    float *sum = az_alloc_array(az, (size_t)count, sizeof *sum), *draw = az_alloc_array(az, (size_t)count, sizeof *draw);
    if (!sum || !draw) return NULL;
    for (int q = 0; q < zo->options.queries; q++) {
        if (weight[q] == 0) continue;
        az_zo_fresh(az, zo, i, q, 0, count, draw);
        cblas_saxpy((int)count, (float)weight[q], draw, 1, sum, 1);
    }
    return sum;
}

float *az_zo_left_factor(az_ctx *az, const az_zo *zo, int i, const az_zo_frame *frame, const double *weight)
{
    const az_zo_slot *s = &zo->slot[i];
    float *fresh = az_zo_fresh_sum(az, zo, i, weight);
    if (!fresh || zo->options.kind == AZ_ZO_LAZY) return fresh;
    float *left = az_alloc_array(az, (size_t)(s->rows * s->rank), sizeof *left);
    if (!left) return NULL;
    if (zo->options.kind == AZ_ZO_TEMPORAL) {
        for (int64_t j = 0; j < s->rows * s->rank; j++) left[j] = frame->left[j] * fresh[j % s->rank];
        return left;
    }
    const double scale = sqrt((double)s->rows * (double)s->cols) / (double)s->rank;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)s->rows, (int)s->rank, (int)s->rank, (float)scale, frame->left,
                (int)s->rank, fresh, (int)s->rank, 0, left, (int)s->rank);
    return left;
}
