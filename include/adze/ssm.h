/* ssm.h - state-space models, smoothed and learnt by particles.
 *
 *     x_0 ~ p(x_0),    x_{t+1} ~ q_t(x_t, .),    y_t ~ g_t(x_t, .),    t = 0 .. n - 1
 *
 * A model is a struct of functions. Four of them are enough to smooth: draw x_0, draw x_{t+1} given x_t, and the log densities of a
 * transition and of an observation. Smoothing estimates sums over the path given all observations, E[ start(x_0) + sum_t step(x_t, x_{t+1})
 * | y_0 .. y_{n-1} ], by PaRIS (Olsson, Westerborn 2017) or particle Gibbs around it (PPG: Cardoso, El Idrissi, Le Corff, Moulines, Olsson,
 * ICML 2023, arXiv 2301.00900), whose bias falls geometrically with the sweeps. Learning ascends such sums: the score of the likelihood by
 * Fisher's identity. */
#ifndef ADZE_SSM_H
#define ADZE_SSM_H

#include "adze/base.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { AZ_SSM_MOST_STATES = 64 }; /* numbers in x_t; as many in y_t */

/* ---- models ------------------------------------------------------------------------------------------------------------------ */

typedef enum az_ssm_kind {
    AZ_SSM_REAL,
    AZ_SSM_POSITIVE, /* learnt as its logarithm */
    AZ_SSM_UNIT      /* in (-1, 1), learnt as its atanh */
} az_ssm_kind;

typedef struct az_ssm_parameter {
    const char *name;
    az_ssm_kind kind;
    double value; /* where learning starts */
} az_ssm_parameter;

/* Where a term of a sum over the path is taken: of a start x = x_0, of a step x = x_t and next = x_{t+1}, of an observation x = x_t and
 * y = y_t. Functions that get one add `weight` times their value. */
typedef struct az_ssm_point {
    int64_t t;
    double weight;
    const double *x, *next, *y;
} az_ssm_point;

/* A linear Gaussian model: x_0 ~ N(m0, p0), x_{t+1} ~ N(a x_t, q), y_t ~ N(c x_t, r). */
typedef struct az_ssm_linear {
    int states, observed;
    const double *a, *q, *m0, *p0; /* [states, states], m0 [states] */
    const double *c, *r;           /* [observed, states], [observed, observed] */
} az_ssm_linear;

/* `law` is what prepare makes of the parameters' values theta [parameters], or theta itself (a const double *) without prepare. The
 * functions are called by several threads at once. Those that are NULL limit what can be asked. */
typedef struct az_ssm az_ssm;
struct az_ssm {
    const char *name;
    int states, observed; /* numbers in x_t, y_t */
    int parameters;
    const az_ssm_parameter *parameter; /* [parameters] */
    const void *user;
    const void *(*prepare)(az_ctx *az, const az_ssm *model, const double *theta); /* in the current scope; NULL with an error */

    void (*draw_start)(const void *law, az_rng *rng, double *x);
    void (*draw_next)(const void *law, int64_t t, const double *x, az_rng *rng, double *next);
    double (*log_transition)(const void *law, int64_t t, const double *x, const double *next);
    double (*log_observation)(const void *law, int64_t t, const double *x, const double *y);

    /* An upper bound of log_transition over all x and next: backward draws by rejection, O(1) each; without it they are O(particles). */
    double (*log_bound)(const void *law, int64_t t);
    /* Numbers that follow the states of each particle in memory, x[states .. states + extra - 1]: extend computes them once, draw_next and
     * log_transition may read them. */
    int extra;
    void (*extend)(const void *law, int64_t t, double *x);

    void (*draw_observation)(const void *law, int64_t t, const double *x, az_rng *rng, double *y); /* simulation */
    double (*log_start)(const void *law, const double *x);                                         /* learning without scores */
    /* Learning: gradients of the log densities by theta, added to sum [parameters]. All three or none; without them central differences are
     * taken. */
    void (*score_start)(const void *law, const az_ssm_point *point, double *sum);
    void (*score_transition)(const void *law, const az_ssm_point *point, double *sum);
    void (*score_observation)(const void *law, const az_ssm_point *point, double *sum);
    /* The same model as matrices, for AZ_SSM_KALMAN. */
    const az_ssm_linear *(*linear)(const void *law);
};

/* Built-in models. A covariance S is held as unit lower triangular U and D with S = U D U^T: parameters q (one state), or q[1], q[2], ... =
 * D and q[2][1], ... = U. Parameters of matrices are a[1][1], a[1][2], ... Linear Gaussian: values from matrices; p0 NULL = the stationary
 * covariance of a and q (an error when a has none), m0 NULL = 0. */
az_ssm *az_ssm_linear_gaussian(az_ctx *az, const az_ssm_linear *matrices);
/* Stochastic volatility: x_0 ~ N(0, sigma^2 / (1 - phi^2)), x_{t+1} ~ N(phi x_t, sigma^2), y_t ~ N(0, beta^2 exp(x_t)). */
az_ssm *az_ssm_volatility(az_ctx *az, double phi, double sigma, double beta);
/* Recurrent network: x_0 ~ N(0, p0 I), x_{t+1} ~ N(tanh(w x_t), q I), y_t ~ N(c x_t, r I); w [states, states], c [observed, states], c NULL
 * = identity. Parameters w[i][j], q, r, p0. */
typedef struct az_ssm_network {
    int states, observed;
    const double *w, *c;
    double q, r, p0;
} az_ssm_network;
az_ssm *az_ssm_recurrent(az_ctx *az, const az_ssm_network *network);

/* x [n, states] and y [n, observed] drawn from the model at theta (NULL = its parameters' values). */
bool az_ssm_simulate(az_ctx *az, const az_ssm *model, const double *theta, uint64_t seed, int64_t n, double *x, double *y);

/* ---- smoothing --------------------------------------------------------------------------------------------------------------- */

/* A sum over the path with `count` entries; start or step may be NULL. Functions add to sum [count], weighted. */
typedef struct az_ssm_functional {
    int64_t count;
    const void *user;
    void (*start)(const void *user, const az_ssm_point *point, double *sum);
    void (*step)(const void *user, const az_ssm_point *point, double *sum);
} az_ssm_functional;
/* Ready ones. Sums of x_i, x_i^2 and x_i(t) x_i(t+1) for each state: [3 states], the last over n - 1 steps. */
az_ssm_functional az_ssm_sufficient(az_ctx *az, const az_ssm *model);
/* x_t and the products x_t x_t^T: [n, states], then [n, states, states]. */
az_ssm_functional az_ssm_moments(az_ctx *az, const az_ssm *model, int64_t n);

typedef enum az_ssm_method {
    AZ_SSM_PPG,   /* sweeps of conditional PaRIS, averaged after the first `burn` of them */
    AZ_SSM_PARIS, /* one pass */
    AZ_SSM_PG,    /* the same sweeps as PPG, but their paths alone count */
    AZ_SSM_FFBS,  /* one pass, then `particles` paths drawn backward */
    AZ_SSM_KALMAN /* exact, for linear models and functionals of degree 3 at most */
} az_ssm_method;
extern const char *const az_ssm_method_names[]; /* NULL-terminated */

typedef struct az_ssm_problem {
    const az_ssm *model;
    const double *theta; /* [parameters]; NULL = the parameters' values */
    int64_t n;
    const double *y;                     /* [n, observed] */
    bool missing;                        /* rows of y that are all NaN were not seen; otherwise they are an error */
    const az_ssm_functional *functional; /* [functionals]; their sums lie one after the other */
    int functionals;
} az_ssm_problem;

typedef struct az_ssm_how {
    az_ssm_method method;
    int64_t particles;
    int draws;            /* backward draws for each particle; at least 2 keep PaRIS stable */
    int64_t sweeps, burn; /* PPG and PG: burn < sweeps */
    bool exact;           /* backward draws without rejection */
    bool systematic;      /* resampling of PaRIS; multinomial otherwise */
    bool online;          /* PaRIS in memory that does not grow with n: sums are carried forward instead of collected backward */
    int64_t chains;       /* independent repetitions, averaged; 0 = 1 */
    uint64_t seed;        /* results are a function of (seed, chain, first_sweep + sweep) */
    int64_t first_sweep;
    double *path; /* [chains, n, states]: the frozen path afterwards, and before when `warm`; may be NULL */
    bool warm;
} az_ssm_how;

typedef struct az_ssm_smoothing {
    int64_t count, sweeps, chains;
    double *value;         /* [count] the estimate */
    double *se;            /* [count] of it, from the chains; NaN with one, 0 of exact ones */
    double *each;          /* [chains, sweeps, count] the estimate of each pass */
    double log_likelihood; /* exact, or of the plain passes, mean over chains; NaN when there was none */
    double tries;          /* proposals for a backward draw, mean; an exact draw counts as one */
} az_ssm_smoothing;

/* Errors: AZ_BAD_INPUT for values of y and settings; AZ_NUMERIC when all weights are zero (names t) or log_bound is not a bound. */
az_ssm_smoothing *az_ssm_smooth(az_ctx *az, const az_ssm_problem *problem, const az_ssm_how *how);

/* ---- learning ---------------------------------------------------------------------------------------------------------------- */

typedef struct az_ssm_learning {
    const bool *free; /* [parameters] which are learnt; NULL = all */
    int64_t steps;
    bool adam; /* steps of length lr by Adam; otherwise gamma0 i^-0.6 times the score of an observation (its mean over n) */
    double lr, gamma0;
    double average; /* the result is the mean over this last share of the steps; 0 = the last */
    az_ssm_how how; /* of each step's smoothing; the path is carried from step to step */
} az_ssm_learning;

typedef struct az_ssm_fit {
    double *theta; /* [parameters] */
    double *trace; /* [steps + 1, parameters] */
} az_ssm_fit;

/* Maximum likelihood: ascends E[grad log p(x, y) | y] = grad log p(y) from the parameters' values (or theta). problem->functional is not
 * read. AZ_NUMERIC when the parameters leave every bound. */
az_ssm_fit *az_ssm_learn(az_ctx *az, const az_ssm_problem *problem, const az_ssm_learning *learning);

/* A Gaussian law of the path: x_0 ~ N(b_0, S_0), x_t ~ N(A_t x_{t-1} + b_t, S_t). */
typedef struct az_ssm_path_law {
    int64_t n;
    int states;
    double *parameter;  /* [n, block] b_t, log D_t, U_t, A_t */
    double *mean;       /* [n, states] */
    double *covariance; /* [n, states, states] of x_t */
    double *cross;      /* [n - 1, states, states] of x_{t+1} with x_t */
    double *score_size; /* [steps] norm of the score by step */
} az_ssm_path_law;
/* Markov score climbing (Naesseth, Lindsten, Blei 2020): ascends E[grad log law(x) | y] over such laws, which minimises the divergence of
 * the law from the posterior. theta of the model stays as it is. learning->free is not read. */
az_ssm_path_law *az_ssm_climb(az_ctx *az, const az_ssm_problem *problem, const az_ssm_learning *learning);

#ifdef __cplusplus
}
#endif
#endif
