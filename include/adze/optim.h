/* optim.h - optimizers, schedules, clipping, L-BFGS; steps from losses alone. */
#ifndef ADZE_OPTIM_H
#define ADZE_OPTIM_H

#include "adze/linalg.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum az_optimizer_kind { AZ_SGD, AZ_ADAMW, AZ_GALORE, AZ_MFAC } az_optimizer_kind;

typedef struct az_optimizer_options {
    az_optimizer_kind kind;
    double beta1, beta2, eps; /* AdamW, GaLore; beta1 is also the momentum of SGD and M-FAC */
    double weight_decay;      /* decoupled: w -= lr * decay * w (AdamW, GaLore); SGD and M-FAC add decay * w to the gradient */
    bool nesterov;            /* SGD */
    int64_t window;           /* M-FAC: gradients of the Fisher matrix; it holds window x parameters floats */
    double damp;              /* M-FAC: added to its diagonal */
    int64_t plain_steps;      /* M-FAC: first steps that are along the gradient */
    bool keep_zeros;          /* M-FAC: entries that are zero at the start stay zero */
    int64_t rank, refresh;    /* GaLore: dimensions of the subspace of a matrix's gradient; steps that it lasts */
    double scale;             /* GaLore: of steps in a subspace */
    const bool *project;      /* GaLore: [n] matrices that have one (only read by az_optimizer_new); NULL = all of a longer shorter side */
} az_optimizer_options;

typedef struct az_optimizer az_optimizer;
/* Remembers the parameters' data (contiguous f32 or f64, changed in place by each step). decay[i] false: no weight
 * decay on parameter i; decay NULL: matrices (rank >= 2) decay, vectors do not. State lives in the current scope or
 * arena. */
az_optimizer *az_optimizer_new(az_ctx *az, const az_optimizer_options *options, az_tensor *const *parameters, int n, const bool *decay);
/* One step with learning rate lr. AdamW: m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; w -= lr (mhat / (sqrt(vhat) +
 * eps) + decay w). One fused pass. M-FAC (f32 parameters only): w -= lr F^-1 g, with F over the last `window` gradients of all parameters
 * together (az_fisher_window); O(window x parameters) time. A gradient that is not finite is refused there and changes nothing. GaLore:
 * AdamW for the gradient's projection on its leading singular vectors, whose step is lifted back; moments of a matrix [m, n] take
 * rank max(m, n) floats each, and its vectors rank min(m, n). */
bool az_optimizer_step(az_ctx *az, az_optimizer *optimizer, az_tensor *const *gradients, double lr);
int64_t az_optimizer_steps(const az_optimizer *optimizer);
/* The state as named tensors ("adamw.m.0", "adamw.v.0", "sgd.velocity.0", "galore.basis.0" ...; returns their number), for saving and
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

/* Multinomial logistic regression: minimises over B [p, classes - 1]
 *     sum_i log(1 + sum_a exp(x_i b_a)) - [label_i > 0] x_i b_(label_i)  +  sum_ja l2_j B_ja^2 + l1_j |B_ja|,
 * B_ja >= 0 where asked; class 0 has the score 0. Newton's method with halved steps (with l1 or signs: its quadratic model by coordinate
 * descent); wide and sparse problems by L-BFGS, which has neither l1 nor signs (AZ_BAD_CALL). Ends when the objective falls by no more
 * than `tolerance` of itself. Where x separates the classes and nothing is penalised, B grows until then. */
typedef struct az_multinomial {
    const az_matrix *x;   /* [n, p] */
    const int32_t *label; /* [n] 0 .. classes - 1 */
    int classes;
    const double *l2, *l1;   /* [p]; NULL = 0 */
    const bool *nonnegative; /* [p]; NULL = none */
    int64_t most_steps;
    double tolerance;
} az_multinomial;
/* b holds the start and receives the result. The objective, NaN after an error. */
double az_multinomial_fit(az_ctx *az, const az_multinomial *problem, az_tensor *b);
/* For scores a [n, classes - 1]: sum_i of the losses above; difference [n, classes - 1] receives P(class a | scores) - [label = a]. Both of
 * them may be asked for alone (label NULL: the difference is P, the loss NaN; difference NULL: only the loss). */
double az_multinomial_loss(const double *score, const int32_t *label, int64_t n, int classes, double *difference);

/* ---- zeroth order ------------------------------------------------------------------------------------------------------------ */

/* A gradient from two losses: with a random direction Z of all parameters together and a radius rho,
 *     kappa = (f(W + rho Z) - f(W - rho Z)) / (2 rho),        ghat = kappa Z / s,        E ghat = grad f + O(rho^2).
 * Z is a function of (seed, step, query, parameter): it is drawn again whenever it is needed and never stored. Vectors have a normal Z and
 * s = 1. For a matrix [m, n] of rank r (normal = independent standard normal numbers):
 *   AZ_ZO_DENSE     Z normal; s = 1                                                                                         (MeZO)
 *   AZ_ZO_TEMPORAL  Z = U diag(tau) V^T; U [m, r] and V [n, r] normal, for the whole run; tau [r] normal, fresh; s = r      (TeZO)
 *   AZ_ZO_LAZY      Z = U V^T; U [m, r] normal, fresh; V [n, r] normal, for `renew` steps; s = r                            (LOZO)
 *   AZ_ZO_SUBSPACE  Z = sqrt(m n) / r U z V^T; z [r, r] normal, fresh; U [m, r], V [n, r] orthonormal, for `renew` steps; s = 1 (SubZO)
 * "Fresh" is anew for each step and query. */
typedef enum az_zo_kind { AZ_ZO_DENSE, AZ_ZO_TEMPORAL, AZ_ZO_LAZY, AZ_ZO_SUBSPACE } az_zo_kind;

/* How the mean ghat of a step's queries moves the weights:
 *   AZ_ZO_PLAIN     W -= lr ghat
 *   AZ_ZO_MOMENTUM  M = beta1 M + (1 - beta1) ghat;  W -= lr M
 *   AZ_ZO_ADAM      W -= lr Mhat / (sqrt(Vhat) + eps), or lr M / sqrt(V + eps) with `paper_adam`; M and V as in Adam
 * The moments of AZ_ZO_TEMPORAL are those of its r numbers: with c = kappa tau, t_M = beta1 t_M + (1 - beta1) c and
 * t_V = beta2 t_V + (1 - beta2) c^2 stand for M = U diag(t_M) V^T, which is exact, and V = (U o U) diag(t_V) (V o V)^T, which is V's
 * expectation given U and V; both exist a tile at a time. AZ_ZO_LAZY keeps M as N V^T, N [m, r], and N becomes N (V_old^T V_new) / n when V
 * does; it has no ADAM, and AZ_ZO_SUBSPACE neither. */
typedef enum az_zo_rule { AZ_ZO_PLAIN, AZ_ZO_MOMENTUM, AZ_ZO_ADAM } az_zo_rule;

enum { AZ_ZO_MOST_QUERIES = 32 };
typedef struct az_zo_options {
    az_zo_kind kind;
    az_zo_rule rule;
    double radius;            /* rho > 0 */
    double beta1, beta2, eps; /* of the rules that have them */
    double weight_decay;      /* decoupled, matrices only */
    int64_t renew;            /* LAZY, SUBSPACE: steps that a V lasts, >= 1 */
    int queries;              /* estimates averaged in a step, 1 .. AZ_ZO_MOST_QUERIES */
    bool paper_adam;
    bool store;      /* hold U and V instead of drawing them again: r (m + n) floats a matrix (SUBSPACE always does) */
    bool exact;      /* hold a copy of the parameters, so that W + rho Z - 2 rho Z + rho Z is W to the bit */
    bool keep_zeros; /* entries that are zero stay zero: what was pruned stays pruned */
    uint64_t seed;
} az_zo_options;

typedef struct az_zo az_zo;
/* Remembers the parameters' data (contiguous f32 matrices and vectors, changed in place). rank[i] is that of matrix i (SUBSPACE: at most
 * min(m, n)) and is not read with DENSE; a vector's rank, unless 0, is its s: the numbers tau that stand for a matrix of that rank are
 * such a vector. NULL = zeros. The draws of parameter i of n are az_fill_normal's with the options' seed and the streams
 *     az_stream("zeroth order", (step * queries + query) * n + i)          fresh numbers, row by row
 *     az_stream("zeroth order U", period * n + i), "... V"                 U and V; the period is 0, or step / renew
 * State lives in the current scope or arena. */
az_zo *az_zo_new(az_ctx *az, const az_zo_options *options, az_tensor *const *parameters, int n, const int64_t *rank);

/* f at the present parameters, the same function at each call of a step; NaN or infinity where it has no value. */
typedef double (*az_zo_loss)(az_ctx *az, void *user);
/* All that a step did. With the options, it is enough to do the step again without losses. */
typedef struct az_zo_record {
    double lr, loss;                  /* loss: the mean of the step's evaluations */
    double kappa[AZ_ZO_MOST_QUERIES]; /* [queries] */
} az_zo_record;
/* Estimates and moves; 2 queries evaluations of the loss. A kappa that is not finite leaves the parameters and the moments as they are
 * (up to the rounding of the perturbation), which is no error. Where loss records an error, the parameters are left perturbed. */
bool az_zo_step(az_ctx *az, az_zo *zo, az_zo_loss loss, void *user, double lr, az_zo_record *record);
/* The same changes to the parameters from the record, bit for bit. */
bool az_zo_replay(az_ctx *az, az_zo *zo, const az_zo_record *record);
/* W += scale rho Z of the coming step's query: what az_zo_step does with 1, -2 and 1. */
bool az_zo_perturb(az_ctx *az, az_zo *zo, int query, double scale);

int64_t az_zo_steps(const az_zo *zo);
/* For resuming: the state is that after `steps` steps. */
bool az_zo_set_steps(az_ctx *az, az_zo *zo, int64_t steps);
/* Moments, and factors that are kept, as named tensors ("zo.first.3"), for saving and for resuming; returns their number. */
int az_zo_state(az_ctx *az, az_zo *zo, az_tensor ***tensors, const char ***names);
/* Bytes of that state; how many fresh normal numbers a query takes, and how many draws a pass over the parameters makes besides. */
typedef struct az_zo_cost {
    int64_t state_bytes, fresh, redrawn;
} az_zo_cost;
az_zo_cost az_zo_cost_of(const az_zo *zo);

/* How many singular values of the matrix are at least theta times the largest: its rank, seen from theta; at least 1. */
int64_t az_spectral_rank(az_ctx *az, const az_tensor *matrix, double theta);

#ifdef __cplusplus
}
#endif
#endif
