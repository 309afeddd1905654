/* vi.h - variational inference as programs: models, guides and objectives are C functions over named random choices.
 *
 *     static az_tensor *cone(az_vi *vi, void *user)
 *     {
 *         az_ctx *az = az_vi_context(vi);
 *         az_tensor *x = az_vi_sample(vi, "x", az_vi_normal(az_vi_number(vi, 0), az_vi_number(vi, 10)), AZ_VI_AUTO);
 *         az_tensor *y = az_vi_sample(vi, "y", az_vi_normal(az_vi_number(vi, 0), az_vi_number(vi, 10)), AZ_VI_AUTO);
 *         az_tensor *r = az_add(az, az_square(az, x), az_square(az, y));
 *         return az_vi_sample(vi, "z", az_vi_normal(r, az_affine(az, r, 0.01, 0.1)), AZ_VI_AUTO);
 *     }
 *
 * A program runs for many independent copies at once: every value has `copies` as its first axis, every log density is [copies], all f64.
 * A program whose C code decides by the value of a choice runs with copies = 1, and az_vi_gradient averages over runs.
 *
 * An objective is a program too: it samples, asks for densities, and returns a real number L for each copy. az_vi_gradient estimates
 * d/dtheta E[L] without bias, each choice in the way it names (Becker et al., PLDI 2024, arXiv 2406.15742):
 *   REPARAM    the value is a differentiable function of the parameters and of noise; beta and gamma by implicit differentiation
 *   REINFORCE  L d log p(value), minus a baseline where one is given; costs (az_vi_cost) from before the choice do not count
 *   ENUM       the sum over all values, differentiated
 *   MVD        measure-valued: (L(1) - L(0)) dp of a flip; of a normal, differences of L at displaced values
 * ENUM and MVD run the rest of the program again from the choice on, with the same random numbers: a program must make the same choices
 * whenever it is given the same values. Then one reverse pass over a surrogate gives all derivatives. */
#ifndef ADZE_VI_H
#define ADZE_VI_H

#include "adze/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One run of an objective. What it returns lives as long as the run. */
typedef struct az_vi az_vi;
typedef az_tensor *az_vi_program(az_vi *vi, void *user);

az_ctx *az_vi_context(const az_vi *vi);
int64_t az_vi_copies(const az_vi *vi);
az_tensor *az_vi_number(az_vi *vi, double value); /* a constant, f64 [] */
/* A parameter of the problem by its name, tracked; an error when there is none. */
az_tensor *az_vi_parameter(az_vi *vi, const char *name);

/* ---- distributions ----------------------------------------------------------------------------------------------------------- */

typedef enum az_vi_family {
    AZ_VI_NORMAL,      /* mean a, standard deviation b > 0 */
    AZ_VI_UNIFORM,     /* a <= value < b */
    AZ_VI_BETA,        /* density proportional to v^(a-1) (1-v)^(b-1) */
    AZ_VI_GAMMA,       /* shape a, rate b: v^(a-1) e^(-b v) */
    AZ_VI_MVNORMAL,    /* mean a [size], covariance L L^T with b = L [size, size], lower */
    AZ_VI_FLIP,        /* 1 with probability a, else 0 */
    AZ_VI_CATEGORICAL, /* 0 .. n-1 with probabilities softmax(a), a [n] or [copies, n] */
} az_vi_family;

/* Parameters are scalars [], or one for each copy [copies]; with size > 0 the value is a vector [copies, size] of independent entries, and
 * parameters broadcast to that shape. */
typedef struct az_vi_distribution {
    az_vi_family family;
    const az_tensor *a, *b;
    int64_t size;
} az_vi_distribution;
az_vi_distribution az_vi_normal(const az_tensor *mean, const az_tensor *sd);
az_vi_distribution az_vi_uniform(const az_tensor *low, const az_tensor *high);
az_vi_distribution az_vi_beta(const az_tensor *a, const az_tensor *b);
az_vi_distribution az_vi_gamma(const az_tensor *shape, const az_tensor *rate);
az_vi_distribution az_vi_mvnormal(const az_tensor *mean, const az_tensor *lower);
az_vi_distribution az_vi_flip(const az_tensor *p);
az_vi_distribution az_vi_categorical(const az_tensor *logits);
az_vi_distribution az_vi_vector(az_vi_distribution distribution, int64_t size); /* not of mvnormal and categorical */

/* Log density (of discrete values: log probability) of value [copies] or [copies, size], summed over the entries of a vector: [copies]. */
az_tensor *az_vi_log_density(az_ctx *az, const az_vi_distribution *distribution, const az_tensor *value);

/* ---- random choices ---------------------------------------------------------------------------------------------------------- */

typedef enum az_vi_strategy {
    AZ_VI_AUTO, /* what the problem says; else REPARAM for continuous values, ENUM for at most 16 discrete ones, REINFORCE for more */
    AZ_VI_REPARAM,
    AZ_VI_REINFORCE,
    AZ_VI_REINFORCE_LOO, /* the baseline of a copy is the mean of the other copies */
    AZ_VI_ENUM,
    AZ_VI_MVD
} az_vi_strategy;
const char *az_vi_strategy_name(az_vi_strategy strategy);

/* The value at an address: given from outside (a density, an observation) or drawn. An address occurs once in a program. Errors name it:
 * parameters out of range, a strategy that the distribution cannot follow, a density that is not finite. */
az_tensor *az_vi_sample(az_vi *vi, const char *address, az_vi_distribution distribution, az_vi_strategy strategy);
/* The same by REINFORCE with a baseline [] or [copies]: it lowers the variance, does not change the mean, and gets no gradient here. */
az_tensor *az_vi_sample_baseline(az_vi *vi, const char *address, az_vi_distribution distribution, const az_tensor *baseline);
/* Adds to the objective here, so that later REINFORCE choices are not charged for it. [] or [copies]. */
void az_vi_cost(az_vi *vi, const az_tensor *cost);
/* i32 [copies], different numbers below n drawn at random (with repetition when there are more copies than n), no choice: the rows of a
 * minibatch. n times the mean over the copies estimates the sum over all rows. */
az_tensor *az_vi_subset(az_vi *vi, const char *address, int64_t n);
/* Between the two, choices are drawn without any derivative. They nest. */
void az_vi_freeze(az_vi *vi);
void az_vi_thaw(az_vi *vi);

/* ---- traces and laws --------------------------------------------------------------------------------------------------------- */

/* Values by address. */
typedef struct az_vi_trace az_vi_trace;
az_vi_trace *az_vi_trace_new(az_ctx *az);
bool az_vi_trace_set(az_vi_trace *trace, const char *address, const az_tensor *value);
az_tensor *az_vi_trace_get(const az_vi_trace *trace, const char *address); /* NULL when it is not there */
int az_vi_trace_count(const az_vi_trace *trace);

/* Something that can be sampled and whose density can be told: exactly (a program alone), or by an estimate w whose log is returned, with
 * E[w] = density when the value is given and E[1/w | value] = 1/density when it was sampled together with it.
 *   keep   the law of these choices alone; the others are integrated out by importance sampling with `particles` draws from `proposal`
 *          (NULL: as the program itself draws them)
 *   given  the law of the other choices given these, that is, the normalised posterior: `particles` draws from `proposal` (NULL: the
 *          program), one of them chosen by weight
 * A proposal reads what is kept or given through az_vi_given. */
typedef struct az_vi_law {
    az_vi_program *program;
    void *user;
    const char *const *keep; /* NULL-terminated, or NULL */
    const az_vi_trace *given;
    const struct az_vi_law *proposal;
    int particles; /* 0 = 1 */
} az_vi_law;

/* Draws: the values go to *trace, the log density (or its estimate) is returned. */
az_tensor *az_vi_simulate(az_vi *vi, const az_vi_law *law, az_vi_trace **trace);
/* Log density of the trace, which gives a value for exactly the choices that the law makes. */
az_tensor *az_vi_density(az_vi *vi, const az_vi_law *law, const az_vi_trace *trace);
/* Draws what the trace does not fix; returns the log density of what it fixes given the rest, and all values in *all. Programs only. */
az_tensor *az_vi_importance(az_vi *vi, const az_vi_law *law, const az_vi_trace *fixed, az_vi_trace **all);
/* In a proposal: a value that was kept or given. */
az_tensor *az_vi_given(az_vi *vi, const char *address);
/* One trace with the values of both; an address in both is an error. */
az_vi_trace *az_vi_trace_join(az_ctx *az, const az_vi_trace *a, const az_vi_trace *b);

/* ---- objectives -------------------------------------------------------------------------------------------------------------- */

/* user of the objectives below: model p(x, y), guide q(x), data y. */
typedef struct az_vi_inference {
    const az_vi_law *model, *guide;
    const az_vi_trace *data;
    int particles; /* K of the importance-weighted bound, N of the wake objectives; 0 = 1 */
} az_vi_inference;
az_tensor *az_vi_elbo(az_vi *vi, void *inference);   /* log p(x, y) - log q(x); to be raised */
az_tensor *az_vi_iwelbo(az_vi *vi, void *inference); /* log mean of K weights p/q (Burda et al. 2016); to be raised */
/* -log q(x) and -log p(x, y) of x drawn from the posterior by N weighted draws of q; to be lowered. Only the last density has a gradient.
 */
az_tensor *az_vi_qwake(az_vi *vi, void *inference);
az_tensor *az_vi_pwake(az_vi *vi, void *inference);

/* ---- gradients and fitting --------------------------------------------------------------------------------------------------- */

typedef struct az_vi_variable {
    const char *name;
    az_tensor *value; /* f64, contiguous */
} az_vi_variable;

typedef struct az_vi_problem {
    az_vi_program *objective;
    void *user;
    const az_vi_variable *variable;
    int variables;
    int64_t copies;          /* in one run; 0 = 1 */
    int64_t runs;            /* averaged; 0 = 1 */
    uint64_t seed;           /* az_vi_gradient(step) is a function of (seed, step) */
    int64_t most_branches;   /* runs of the program that ENUM and MVD may ask for; 0 = 4096 */
    az_vi_strategy strategy; /* of the choices that say AZ_VI_AUTO; it is an error where one of them cannot be followed by it */
    bool each;               /* variables (scalars, or vectors of choices) are given to each copy as its own: gradients are [copies, ...] */
} az_vi_problem;

typedef struct az_vi_value {
    double mean, se; /* of the objective, over copies and runs; se NaN with one */
} az_vi_value;
/* Estimates the objective and its gradient: gradient[i] has the shape of variable[i].value and lives in the current scope. gradient NULL:
 * the value alone, with fresh draws and no derivatives. */
bool az_vi_gradient(az_ctx *az, const az_vi_problem *problem, int64_t step, az_vi_value *value, az_tensor **gradient);

typedef struct az_vi_fit_settings {
    int64_t steps;
    double lr;
    int optimizer; /* az_optimizer_kind: AZ_SGD (a plain gradient step) or AZ_ADAMW (Adam without decay) */
    bool lower;    /* the objective is to be lowered, not raised */
    int64_t draws; /* copies of the final estimate of the objective */
} az_vi_fit_settings;
/* Changes the problems' variables step by step; several problems take turns, each with its own optimizer, and have a step each at least
 * (wake-sleep: pwake and qwake over the same variables, of which each moves its own). The report receives the section "fit" (the first
 * problem's objective over the last tenth of its steps, and its final estimate) and that objective as a curve. */
bool az_vi_fit(az_ctx *az, const az_vi_problem *problem, int problems, const az_vi_fit_settings *settings, az_report *report);

#ifdef __cplusplus
}
#endif
#endif
