/* sdl.h - the parts of supervised dictionary learning. Private to estimate/.
 *
 * n samples are the rows of X [n, p]; W [p, r] is the dictionary, C [n, r] the samples' codes, so that X is near C W^T. Z [n, q] holds
 * covariates that only the classifier sees, its first column 1. Classes are 0 .. kappa; class 0 has the score 0, the others
 *     filter   x W beta + z gamma,
 *     feature  c beta + z gamma. */
#ifndef ADZE_ESTIMATE_SDL_H
#define ADZE_ESTIMATE_SDL_H

#include "estimate/estimate_internal.h"

#include "adze/optim.h"

typedef enum sdl_kind { SDL_FILTER, SDL_FEATURE } sdl_kind;
extern const char *const sdl_kind_names[];
typedef enum sdl_coding { SDL_NAIVE, SDL_EXHAUSTIVE } sdl_coding;
extern const char *const sdl_coding_names[];

/* Penalties l1 |.| + l2 |.|^2 and signs of a block of unknowns. */
typedef struct sdl_bound {
    double l1, l2;
    bool nonnegative;
} sdl_bound;

typedef struct sdl_samples {
    int64_t n, p, q;
    const az_matrix *x;
    const az_tensor *z;   /* [n, q] f64 */
    const int32_t *label; /* [n]; NULL = unknown */
    int classes;          /* kappa + 1 */
} sdl_samples;

/* What fitting is told, by either algorithm. */
typedef struct sdl_how {
    sdl_kind kind;
    int64_t rank, iterations;
    double xi;        /* weight of |X - C W^T|^2 */
    double tolerance; /* lifted: relative fall of the objective in a step; descent: of the stationarity since the start */
    bool random_start;
    uint64_t seed;
    /* lifted */
    double nu, tau, ball; /* tau = 0: 1 / L; ball = 0: none */
    /* descent */
    sdl_bound dictionary, code, beta; /* beta: of gamma as well, but for its constant */
    double radius;                    /* exponent of the radius of a step; 0 = no bound */
    double subsample;                 /* feature: share of the samples whose code a turn through a coordinate changes */
    bool update_xi;
} sdl_how;

/* The curve of a fit. */
typedef struct sdl_trace {
    int64_t count;
    double *iteration, *objective; /* [count] */
} sdl_trace;

typedef struct sdl_fit {
    sdl_kind kind;
    az_tensor *dictionary, *code; /* [p, r], [n, r] */
    az_tensor *beta, *gamma;      /* [r, kappa], [q, kappa] */
    double objective, xi;         /* xi: where it was updated, its last value */
    int64_t iterations;
    bool converged;
    double tau, mu, lipschitz; /* lifted */
    double stationarity;       /* descent: at the end, of what it was at the start */
    sdl_trace trace;
} sdl_fit;

/* ---- sdl_lifted.c ---- */

/* Projected gradients on A = W beta (filter) or C beta (feature) and B = C W^T, jointly of rank r, and on gamma. */
sdl_fit *sdl_fit_lifted(az_ctx *az, const sdl_samples *samples, const sdl_how *how);

/* The state of that iteration. The lifted matrix M [p, kappa + n] = (A, B^T) (filter) or [kappa + p, n] = (A^T; B^T) (feature) is u g^T. */
typedef struct sdl_lifted {
    const sdl_samples *samples;
    const sdl_how *how;
    int64_t kappa, rows; /* rows of M */
    double tau;
    az_tensor *u;          /* [rows, rank] orthonormal, or zeros at the start */
    az_tensor *code;       /* [n, rank] g, the rows of the samples */
    az_tensor *a;          /* filter [p, kappa], feature [n, kappa] */
    az_tensor *gamma;      /* [q, kappa] */
    az_tensor *xu;         /* [n, rank] X times u's rows of the features */
    double square;         /* |X|^2 */
    const az_tensor *gram; /* [p, p] X^T X where the decomposition uses it; NULL otherwise */
} sdl_lifted;
bool sdl_lifted_start(az_ctx *az, const sdl_samples *samples, const sdl_how *how, sdl_lifted *state);
bool sdl_lifted_step(az_ctx *az, sdl_lifted *state);
double sdl_lifted_objective(az_ctx *az, const sdl_lifted *state);
/* W, C, beta, gamma of the state: |W| = 1. */
sdl_fit *sdl_lifted_factors(az_ctx *az, const sdl_lifted *state);

/* ---- sdl_descent.c ---- */

/* One block after the other: W, C, (beta, gamma). |W| <= 1 throughout. Never increases the objective, unless xi is updated. */
sdl_fit *sdl_fit_descent(az_ctx *az, const sdl_samples *samples, const sdl_how *how);
/* Nonnegative or free factors without labels (NMF): W and C by turns through the rows of both. */
bool sdl_factorize(az_ctx *az, const az_matrix *x, int64_t rank, int64_t iterations, uint64_t seed, az_tensor **dictionary,
                   az_tensor **code);
/* sum_i l(y_i, score_i) + xi |X - C W^T|^2 + penalties. */
double sdl_objective(az_ctx *az, const sdl_samples *samples, const sdl_how *how, const sdl_fit *fit);

/* ---- sdl_predict.c ---- */

/* A model that predicts: what is kept of a fit, or a regression on the data themselves (no dictionary, beta [p, kappa]). */
typedef struct sdl_model {
    sdl_kind kind;
    sdl_coding coding;
    double xi, scale;        /* the data are multiplied by scale first */
    double threshold;        /* of two classes: class 1 from this probability on */
    sdl_bound code;          /* penalties and signs of codes */
    az_tensor *dictionary;   /* [p, r] */
    az_tensor *beta, *gamma; /* [r, kappa], [q, kappa] */
    int64_t p, q;
    int classes;
    const char **feature;    /* [p] names */
    const char **class_name; /* [classes] */
    const char **covariate;  /* [q] names; the first is the constant */
    const double *idf;       /* [p] of words in documents; NULL = not made of documents */
    bool tfidf;
} sdl_model;

typedef struct sdl_prediction {
    az_tensor *probability; /* [n, classes] */
    az_tensor *code;        /* [n, r]; of a filter the codes that reconstruct best */
    int32_t *called;        /* [n] */
} sdl_prediction;
/* The codes min_c |x - c W^T|^2 under the model's penalties (xi times smaller) and signs. */
az_tensor *sdl_codes(az_ctx *az, const az_tensor *dictionary, const sdl_bound *bound, double xi, const az_matrix *x);
sdl_prediction *sdl_predict(az_ctx *az, const sdl_model *model, const sdl_samples *samples);
/* Calls of given probabilities [n, classes]: the threshold of two classes, the likeliest of more. */
void sdl_call(const az_tensor *probability, double threshold, int32_t *called);
/* Where the training samples' ROC is farthest above the diagonal; 0.5 for more than two classes. */
double sdl_threshold(az_ctx *az, const az_tensor *probability, const int32_t *label);
/* |X - C W^T|^2 / |X|^2 */
double sdl_reconstruction(az_ctx *az, const az_matrix *x, const az_tensor *dictionary, const az_tensor *code);

/* How good predictions are. */
typedef struct sdl_score {
    double accuracy, precision, recall, f, auc; /* auc of more than two classes: the mean of one against the rest */
    double log_loss;                            /* mean, nat */
    double reconstruction;                      /* NaN without a dictionary */
} sdl_score;
sdl_score sdl_score_of(az_ctx *az, const sdl_samples *samples, const sdl_prediction *prediction);

/* ---- sdl_baselines.c ---- */

typedef enum sdl_way { SDL_OWN, SDL_PCA, SDL_NMF, SDL_LOGISTIC, SDL_WAYS } sdl_way;
extern const char *const sdl_way_names[];
/* What is compared with: a logistic regression (with l2 of beta) on the leading principal directions, on the codes of nonnegative factors,
 * or on the data themselves. `like` gives the names, the scale and the sizes. reconstruction[2] receives those of train and test. */
sdl_model *sdl_baseline(az_ctx *az, sdl_way way, const sdl_samples *train, const sdl_how *how, const sdl_model *like);
/* |X - X'|^2 / |X|^2 for what the way makes of the samples; principal directions are those of centred data. NaN for the regression. */
double sdl_baseline_reconstruction(az_ctx *az, sdl_way way, const sdl_model *model, const sdl_samples *train, const sdl_samples *samples,
                                   const sdl_prediction *prediction);

/* ---- sdl_read.c ---- */

typedef struct sdl_reading {
    const az_table_how *how;
    const char *target, *aux, *text; /* columns */
    bool samples_are_columns, tfidf;
    az_word_columns_how words;
} sdl_reading;
typedef struct sdl_files {
    const char *data, *labels, *aux, *vocabulary; /* NULL = not given */
} sdl_files;
typedef struct sdl_data {
    sdl_samples samples;
    const char **feature, **class_name, **covariate;
    const double *idf; /* NULL = not made of documents */
} sdl_data;
/* Training data (known NULL), or samples whose columns, classes and words are those of a model. Labels are optional for those. */
bool sdl_read(az_ctx *az, const sdl_reading *reading, const sdl_files *files, const sdl_model *known, sdl_data *out);
/* The samples of the given rows. */
bool sdl_pick(az_ctx *az, const sdl_data *all, const int64_t *row, int64_t count, sdl_data *out);

/* ---- sdl_file.c ---- */

void sdl_put_model(az_ctx *az, const sdl_model *model, az_results *results);
sdl_model *sdl_read_model(az_ctx *az, const char *path);

/* ---- sdl_report.c ---- */

void sdl_report_score(az_report *report, const char *section, const char *name, int64_t n, const sdl_score *score);
/* A row a topic and class: beta and the words of largest weight. Returns the same as a table. */
az_table *sdl_report_topics(az_ctx *az, az_report *report, const sdl_model *model, int64_t top);
void sdl_report_covariates(az_report *report, const sdl_model *model);
/* The curve of true against false positives of class 1 of two. */
void sdl_report_roc(az_ctx *az, az_report *report, const char *name, const sdl_samples *samples, const sdl_prediction *prediction);

#endif
