/* ldp.h - sparse regression when each user makes (x, y) private before sending it. Private to estimate/. */
#ifndef ADZE_ESTIMATE_LDP_H
#define ADZE_ESTIMATE_LDP_H

#include "estimate/estimate_internal.h"

typedef enum ldp_protocol { LDP_NLDP, LDP_PUBLIC, LDP_IHT, LDP_NONPRIVATE, LDP_OLS, LDP_LASSO, LDP_PROTOCOLS } ldp_protocol;
enum { LDP_MOST_COLUMNS = 4096 };
extern const char *const ldp_protocol_names[]; /* NULL-terminated */

/* What users and server agree on before any data are seen. */
typedef struct ldp_settings {
    double eps, delta;         /* of each user */
    double radius, tau1, tau2; /* bounds: |x|_2, |x_j|, |y| */
    int64_t sparsity, kept;    /* k; k' coordinates kept by hard thresholding */
    double lambda;             /* soft threshold; negative = by the rule */
    double c;                  /* of the rule */
    double eta;                /* step of hard thresholding */
    int64_t rounds;
    double ridge; /* added to the diagonal of the matrix of moments */
    bool tight;   /* sensitivity sqrt(2) r^2 of x x' instead of 2 r^2 */
} ldp_settings;

/* ---- ldp_noise.c ---- */

double ldp_clip(double v, double bound);
double ldp_soft(double v, double lambda);
/* delta of the Gaussian mechanism: Phi(D / 2s - eps s / D) - e^eps Phi(-D / 2s - eps s / D) (Balle and Wang 2018). */
double ldp_gaussian_delta(double sensitivity, double sigma, double eps);
/* Standard deviation of noise for (eps, delta): the classical D sqrt(2 log(1.25 / delta)) / eps, enlarged where that does not reach delta
 * (it is proved for eps up to 1). */
double ldp_gaussian_sigma(double sensitivity, double eps, double delta);
/* Of the messages x x' and x y. Both together cost the budget; with_matrix false: the second alone. */
double ldp_matrix_sigma(const ldp_settings *s);
double ldp_vector_sigma(const ldp_settings *s, int64_t d, bool with_matrix);
/* The bound on a user's gradient, and the length of what is sent instead of it. */
double ldp_gradient_bound(const ldp_settings *s, int64_t d);
double ldp_ball_length(double bound, double eps, int64_t d);
/* The randomiser of the ball |g| <= bound: a vector z of that length with E z = g, eps-private. */
void ldp_randomize(az_rng *rng, const double *g, int64_t d, double bound, double eps, double *z);

/* ---- ldp_estimate.c ---- */

typedef struct ldp_rows {
    const double *x; /* [n, d] */
    const double *y; /* [n] */
    int64_t n, d;
} ldp_rows;

/* What one user sends: x x' + noise [d, d] symmetric (matrix NULL = not sent) and x y + noise [d]. */
void ldp_message(const ldp_settings *s, const double *x, double y, int64_t d, az_rng *rng, double *matrix, double *vector);
/* The clipped gradient of one user at theta, made private. */
void ldp_gradient_message(const ldp_settings *s, const double *x, double y, int64_t d, const double *theta, az_rng *rng, double *z);
/* S_lambda(M^-1 v). Fails, with the smallest eigenvalue, when M is not positive definite; *smallest may be NULL. */
az_tensor *ldp_solve(az_ctx *az, const az_tensor *matrix, const az_tensor *vector, double lambda, double ridge, double *smallest);
/* One step of the server: theta <- ball(keep k' largest(theta - eta z)). */
void ldp_threshold_step(const ldp_settings *s, const double *mean, int64_t d, double *theta);
double ldp_lambda(const ldp_settings *s, ldp_protocol protocol, int64_t n, int64_t d);
/* Both sides. The noise of a sum of messages is drawn at once. public [m, d] for LDP_PUBLIC. */
az_tensor *ldp_simulate(az_ctx *az, const ldp_settings *s, ldp_protocol protocol, const ldp_rows *rows, const az_tensor *public_x,
                        uint64_t seed);

/* ---- ldp_file.c ---- */

enum { LDP_USER = 64 };
/* A message in a file: settings, user, round, values, a checksum of all. */
typedef struct ldp_envelope {
    ldp_protocol protocol;
    ldp_settings settings;
    int64_t d, round;
    bool test_seed;
    char user[LDP_USER]; /* zero-terminated */
    int64_t count;
    double *value; /* [count] nldp: upper triangle row by row, then the vector; nldp-public: the vector; iht: the gradient */
} ldp_envelope;
bool ldp_write(az_ctx *az, const ldp_envelope *envelope, const char *path);
ldp_envelope *ldp_read(az_ctx *az, const char *path);
/* The same for bytes in memory. */
ldp_envelope *ldp_parse(az_ctx *az, const unsigned char *data, size_t size);
int64_t ldp_value_count(ldp_protocol protocol, int64_t d);

#endif
