/* op_rope.c - rotary position embedding (Su et al., 2021): pairs of coordinates turn by position * frequency. The adjoint of a rotation is
 * the rotation backwards, so the derivative is the operation itself. */
#include "tensor/layer.h"

#include <math.h>
#include <string.h>

typedef struct rope_job {
    int64_t tokens, heads, head_dim;
    az_rope_how how;
    bool backwards;
    int64_t angles;          /* rows of the table of cosines and sines */
    const int64_t *position; /* [angles] */
    const double *frequency; /* [dims / 2] */
    const int64_t *angle;    /* [tokens]: the row of a token */
    void *turns;             /* [angles, 2, dims / 2] */
    const void *input;       /* [tokens, heads, head_dim] */
    void *output;
    int threads;
} rope_job;

#include "tensor/kernels/real_f32.h"
#include "tensor/kernels/rope.h"
#include "tensor/kernels/real_f64.h"
#include "tensor/kernels/rope.h"

typedef struct rope_saved {
    const az_tensor *position, *frequency;
    az_rope_how how;
    bool backwards;
} rope_saved;

static az_tensor *rotate(az_ctx *az, const az_tensor *x, const rope_saved *by);

static void rope_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    rope_saved back = *(const rope_saved *)node->saved;
    back.backwards = !back.backwards;
    gx[0] = rotate(az, gy, &back);
}

static const az_op rope_op = {.name = "rope", .gradient = rope_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};

/* Sequences share positions, so there is one row for each position between the least and the greatest, or, when that is more, one for each
 * token. */
static bool plan_angles(az_ctx *az, const az_tensor *position, rope_job *job)
{
    const int32_t *at = position->data;
    int64_t least = INT32_MAX, most = INT32_MIN;
    for (int64_t i = 0; i < job->tokens; i++) {
        if (at[i] < least) least = at[i];
        if (at[i] > most) most = at[i];
    }
    bool shared = job->tokens > 0 && most - least < job->tokens;
    job->angles = shared ? most - least + 1 : job->tokens;
    int64_t *rows = az_alloc_array(az, (size_t)job->angles, sizeof *rows), *angle = az_alloc_array(az, (size_t)job->tokens, sizeof *angle);
    if (!rows || !angle) return false;
    for (int64_t i = 0; i < job->angles; i++) rows[i] = shared ? least + i : at[i];
    for (int64_t i = 0; i < job->tokens; i++) angle[i] = shared ? at[i] - least : i;
    job->position = rows;
    job->angle = angle;
    return true;
}

static bool plan(az_ctx *az, const az_tensor *x, const rope_saved *by, rope_job *job)
{
    *job = (rope_job){.tokens = x->shape[0],
                      .heads = x->shape[1],
                      .head_dim = x->shape[2],
                      .how = by->how,
                      .backwards = by->backwards,
                      .threads = az_threads(az)};
    const az_tensor *position = az_operand(az, by->position);
    double *frequency = az_alloc_array(az, (size_t)by->how.dims / 2, sizeof *frequency);
    if (!position || !frequency) return false;
    for (int64_t i = 0; i < by->how.dims / 2; i++) frequency[i] = az_item(by->frequency, i);
    job->frequency = frequency;
    return plan_angles(az, position, job);
}

static az_tensor *rotate(az_ctx *az, const az_tensor *x, const rope_saved *by)
{
    if (!x) return NULL;
    az_tensor *y = az_new_like(az, x);
    az_scope_push(az);
    rope_job job;
    const az_tensor *input = az_operand(az, x);
    az_tensor *turns = y && input && plan(az, x, by, &job) ? az_new2(az, x->dtype, job.angles, by->how.dims) : NULL;
    if (turns) {
        job.turns = turns->data, job.input = input->data, job.output = y->data;
        if (x->dtype == AZ_F32)
            rope_turn_f32(&job);
        else
            rope_turn_f64(&job);
    }
    az_scope_pop(az);
    if (!turns || !az_tracked(az, &x, 1)) return turns ? y : NULL;
    rope_saved saved = *by;
    saved.position = az_save(az, by->position);
    saved.frequency = az_save(az, by->frequency);
    return az_record(az, &rope_op, y, &x, 1, &saved, sizeof saved);
}

az_tensor *az_rope(az_ctx *az, const az_tensor *x, const az_tensor *position, const az_tensor *frequency, az_rope_how how)
{
    if (!az_real(az, "az_rope", x) || !az_real(az, "az_rope", frequency) || !az_present(az, "az_rope", position)) return NULL;
    if (x->rank != 3 || how.dims < 0 || how.dims % 2 || how.dims > x->shape[2])
        return az_fail(az, AZ_BAD_CALL, "az_rope: %lld dimensions of %s cannot turn", (long long)how.dims, az_shape_text(az, x));
    if (position->rank != 1 || position->dtype != AZ_I32 || position->shape[0] != x->shape[0])
        return az_fail(az, AZ_BAD_CALL, "az_rope: %s needs one i32 position a token, not %s", az_shape_text(az, x),
                       az_shape_text(az, position));
    if (frequency->rank != 1 || frequency->shape[0] < how.dims / 2)
        return az_fail(az, AZ_BAD_CALL, "az_rope: %lld dimensions need half as many frequencies, not %s", (long long)how.dims,
                       az_shape_text(az, frequency));
    return rotate(az, x, &(rope_saved){.position = position, .frequency = frequency, .how = how});
}
