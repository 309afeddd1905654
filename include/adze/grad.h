/* grad.h - derivatives: the tape, vector-Jacobian products of any order, checkpointing, gradient checks.
 *
 *     az_tape_open(az);
 *     az_tensor *w = az_watch(az, weight);
 *     az_tensor *loss = az_mean(az, az_square(az, az_sub(az, az_matmul_nt(az, x, w), y)), AZ_ALL_AXES, false);
 *     az_tensor *g;
 *     az_grad(az, loss, NULL, (const az_tensor *[]){w}, 1, &g, 0);
 *     az_tape_close(az);            (g, a constant of the scope in which az_grad was called, stays)
 *
 * What the tape needs again it keeps in an arena of its own, so scopes may come and go while it is open; tensors themselves live in
 * their scope as ever, and az_keep carries them out. */
#ifndef ADZE_GRAD_H
#define ADZE_GRAD_H

#include "adze/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* az_tape_open, az_tape_close, az_tape_pause, az_tape_resume and az_watch are declared in tensor.h. */

enum {
    AZ_GRAD_RECORD = 1, /* the gradients are tracked themselves: second derivatives */
    AZ_GRAD_FREE = 2,   /* gives activations back on the way: the least memory, but no second walk over this tape; for training loops */
    AZ_GRAD_ADD = 4     /* gradients[i] that are not NULL are added to, and replaced by the sum */
};
/* Vector-Jacobian product: gradients[i] = seed^T dy/dx_i, same shape as x_i; seed NULL = ones (y a scalar: its gradient).
 * x_i may be watched tensors or any intermediate result on the tape. Gradients of tensors that y does not depend on are zeros.
 * Without AZ_GRAD_RECORD, gradients of intermediate results are freed as soon as they are used. */
bool az_grad(az_ctx *az, const az_tensor *y, const az_tensor *seed, const az_tensor *const *x, int n, az_tensor **gradients, int flags);

/* Hessian-vector product of scalar y: H v for each x_i, by differentiating <gradient, v>. */
bool az_hessian_vector(az_ctx *az, const az_tensor *y, const az_tensor *const *x, const az_tensor *const *v, int n, az_tensor **hv);
/* Jacobian-vector product dy/dx v (two reverse passes): same shape as y. */
az_tensor *az_jvp(az_ctx *az, const az_tensor *y, const az_tensor *const *x, const az_tensor *const *v, int n);

/* Activation checkpointing: computes f(inputs) without recording its inside and does it again when the derivative is needed. Everything
 * that f reads and that should receive a gradient is among the inputs. user must live until the tape closes. */
typedef az_tensor *(*az_segment)(az_ctx *az, az_tensor *const *inputs, int n, void *user);
az_tensor *az_checkpoint(az_ctx *az, az_segment f, az_tensor *const *inputs, int n, void *user);

/* The scalar f(inputs, 0) + .. + f(inputs, pieces - 1). Gradients are taken piece by piece while it is computed, so that the inside of one
 * piece at a time is held and nothing is computed again: for the end of a long computation. The rest is as above. */
typedef az_tensor *(*az_piece)(az_ctx *az, az_tensor *const *inputs, int n, int64_t piece, void *user);
az_tensor *az_sum_at_once(az_ctx *az, az_piece f, int64_t pieces, az_tensor *const *inputs, int n, void *user);

/* Compares the gradient of f (reduced to a scalar by fixed random weights) with central differences at f64 inputs. Returns the largest
 * |analytic - numeric| / max(1, |numeric|); also checks the derivative of the gradient when second is true. For tests. */
double az_grad_check(az_ctx *az, az_segment f, az_tensor *const *inputs, int n, void *user, bool second);

#ifdef __cplusplus
}
#endif
#endif
