/* optim.h - optimizers, schedules, clipping, L-BFGS. */
#ifndef ADZE_OPTIM_H
#define ADZE_OPTIM_H

#include "adze/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum az_optimizer_kind { AZ_SGD, AZ_ADAMW, AZ_MFAC } az_optimizer_kind;

typedef struct az_optimizer_options {
    az_optimizer_kind kind;
    double beta1, beta2, eps; /* AdamW; beta1 is also the momentum of SGD and M-FAC */
    double weight_decay;      /* decoupled: w -= lr * decay * w (AdamW); SGD and M-FAC add decay * w to the gradient */
    bool nesterov;            /* SGD */
    int64_t window;           /* M-FAC: gradients of the Fisher matrix; it holds window x parameters floats */
    double damp;              /* M-FAC: added to its diagonal */
    int64_t plain_steps;      /* M-FAC: first steps that are along the gradient */
    bool keep_zeros;          /* M-FAC: entries that are zero at the start stay zero */
} az_optimizer_options;

typedef struct az_optimizer az_optimizer;
/* Remembers the parameters' data (contiguous f32 or f64, changed in place by each step). decay[i] false: no weight
 * decay on parameter i; decay NULL: matrices (rank >= 2) decay, vectors do not. State lives in the current scope or
 * arena. */
az_optimizer *az_optimizer_new(az_ctx *az, const az_optimizer_options *options, az_tensor *const *parameters, int n, const bool *decay);
/* One step with learning rate lr. AdamW: m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; w -= lr (mhat / (sqrt(vhat) +
 * eps) + decay w). One fused pass. M-FAC (f32 parameters only): w -= lr F^-1 g, with F over the last `window` gradients of all parameters
 * together (az_fisher_window); O(window x parameters) time. A gradient that is not finite is refused there and changes nothing. */
bool az_optimizer_step(az_ctx *az, az_optimizer *optimizer, az_tensor *const *gradients, double lr);
int64_t az_optimizer_steps(const az_optimizer *optimizer);
/* The state as named tensors ("adamw.m.0", "adamw.v.0", "sgd.velocity.0" ...; returns their number), for saving and
 * for resuming bit for bit; set_steps restores the counter. */
int az_optimizer_state(az_ctx *az, az_optimizer *optimizer, az_tensor ***tensors, const char ***names);
void az_optimizer_set_steps(az_optimizer *optimizer, int64_t steps);

/* Scales the (contiguous) gradients in place so that their joint 2-norm is at most max_norm; returns the norm before.
 * max_norm <= 0: only the norm. A norm that is not finite is returned and leaves the gradients as they are. */
double az_clip_gradients(az_ctx *az, az_tensor *const *gradients, int n, double max_norm);

typedef enum az_schedule_kind { AZ_CONSTANT, AZ_LINEAR, AZ_COSINE } az_schedule_kind;
typedef struct az_schedule {
    az_schedule_kind kind;
    double peak, floor;    /* learning rate after warm-up, and at the end */
    int64_t warmup, total; /* steps */
} az_schedule;
/* Learning rate of step 0, 1, ... : peak * (step + 1) / warmup during warm-up; then, with u = (step - warmup) /
 * (total - warmup) in [0, 1], constant: peak; linear: peak + (floor - peak) u; cosine: floor + (peak - floor) (1 +
 * cos(pi u)) / 2. */
double az_learning_rate(const az_schedule *schedule, int64_t step);

/* Limited-memory BFGS with a backtracking line search: minimises f from x [n], which receives the result. f returns the value and fills
 * gradient [n]. Ends when no entry of the gradient (of variables that a bound does not hold) exceeds gradient_tolerance, when a step gains
 * no more than value_tolerance max(|f|, 1), after `iterations` steps, or when no step goes down (converged stays false). */
typedef double (*az_objective)(az_ctx *az, const double *x, double *gradient, void *user);
typedef struct az_lbfgs_options {
    int64_t memory, iterations; /* pairs kept; at least 1 */
    double gradient_tolerance, value_tolerance;
    bool nonnegative; /* x >= 0 */
} az_lbfgs_options;
typedef struct az_lbfgs_result {
    double value;
    int64_t iterations, evaluations;
    bool converged;
} az_lbfgs_result;
az_lbfgs_result az_lbfgs(az_ctx *az, az_objective f, void *user, int64_t n, double *x, const az_lbfgs_options *options);

#ifdef __cplusplus
}
#endif
#endif
