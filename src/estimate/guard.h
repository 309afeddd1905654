/* guard.h - answers to adaptively chosen questions about one holdout: mechanisms, their guarantees, and the ledger on disk. Private to
 * estimate/. */
#ifndef ADZE_ESTIMATE_GUARD_H
#define ADZE_ESTIMATE_GUARD_H

#include "estimate/estimate_internal.h"

typedef enum guard_mechanism {
    GUARD_THRESHOLDOUT,
    GUARD_CHECK,
    GUARD_ROUNDS,
    GUARD_LAPLACE,
    GUARD_PMW,
    GUARD_SPLIT,
    GUARD_NAIVE,
    GUARD_MECHANISMS
} guard_mechanism;
extern const char *const guard_mechanism_names[]; /* NULL-terminated */

/* What was agreed on when the guard was set up; it never changes. */
typedef struct guard_settings {
    int mechanism;           /* guard_mechanism */
    int64_t n, n_train;      /* rows of the holdout and of the training set */
    int64_t queries, budget; /* m declared questions; B paid answers */
    double beta;             /* chance that any answer is off by more than the tolerance */
    bool gaussian, redraw;   /* noise; thresholdout draws its threshold anew for every question */
    double threshold, sigma; /* thresholdout: T, noise rate */
    double scale;            /* laplace: b, or the standard deviation when gaussian */
    double theta;            /* check, rounds: how far a guess may be off */
    int64_t levels;          /* check: grid of L values */
    int64_t domain;          /* pmw: number of possible rows */
    double alpha, eps;       /* pmw */
    uint64_t seed;
    bool test_seed;
} guard_settings;

typedef struct guard {
    guard_settings s;
    int64_t asked, paid;
    double *histogram; /* [domain] pmw: shares of the holdout */
    double *belief;    /* [domain] pmw: what the answers tell of them */
} guard;

typedef struct guard_query {
    const double *holdout; /* [n] values of the question, 0 to 1; pmw does not read it */
    const double *train;   /* [n_train]; NULL = none */
    double guess;          /* check, rounds: NaN = the mean of train */
    const double *domain;  /* [domain] pmw: its value for each possible row */
} guard_query;

typedef struct guard_reply {
    double answer; /* NaN when exhausted */
    bool paid, exhausted;
} guard_reply;

/* ---- guard_answer.c ---- */

bool guard_start(az_ctx *az, const guard_settings *settings, const int64_t *row /* pmw: [n] which domain row each is */, guard *out);
/* Answers and charges. Fails, without charging, when the mechanism lacks what it needs. */
bool guard_answer(az_ctx *az, guard *g, const guard_query *query, guard_reply *reply);
/* Charges what an earlier answer charged, when a ledger is read. */
void guard_replay(guard *g, bool paid, double answer, const double *domain);
bool guard_exhausted(const guard *g);

/* ---- guard_bounds.c ---- */

/* All m answers lie within the tolerance of the population's values, with probability 1 - beta, for rows that are independent draws.
 * INFINITY where nothing is known (gaussian noise). For laplace, scale 0 = the best b, which *scale (may be NULL) receives. */
double guard_tolerance(const guard_settings *s, guard_mechanism mechanism, double *scale);
/* Pure differential privacy of all answers, 0 for mechanisms without noise. */
double guard_privacy(const guard_settings *s, guard_mechanism mechanism);
/* What `asked` Laplace answers of scale b cost a row of the holdout, each being eps0 = 1 / (n b) private: basic composition gives asked
 * eps0, with delta 0; advanced composition (Dwork, Rothblum and Vadhan 2010) sqrt(2 asked log(1 / delta)) eps0 + asked eps0 (e^eps0 - 1),
 * except with probability delta. Gaussian answers of that standard deviation are rho = asked / (2 n^2 b^2) zero-concentrated private, hence
 * (rho + 2 sqrt(rho log(1 / delta)), delta) private (Bun and Steinke 2016). The tolerance rests on the basic one, which needs no delta. */
typedef struct guard_cost {
    double each;            /* eps0; NaN of Gaussian noise */
    double basic, advanced; /* basic: NaN of Gaussian noise */
    double rho;             /* NaN of Laplace noise */
} guard_cost;
guard_cost guard_composition(const guard_settings *s, int64_t asked, double delta);
/* Above which the pmw answer is taken from the holdout, and the most updates. */
double guard_pmw_threshold(const guard_settings *s);
int64_t guard_pmw_updates(const guard_settings *s);

/* ---- guard_file.c ---- */

/* The ledger: a line of JSON for the settings, then one for each answer, appended and synced before it is told. One asker at a time holds
 * the file; a line that a crash cut off is dropped. */
typedef struct guard_file guard_file;
bool guard_file_new(az_ctx *az, const char *path, const guard *g);
guard_file *guard_file_open(az_ctx *az, const char *path, guard *g);
bool guard_file_append(guard_file *file, const guard *g, const guard_reply *reply, const double *domain);

/* ---- guard.c ---- */

/* Answers, charges, and appends to the ledger; an exhausted guard is an error. */
bool guard_ask(az_ctx *az, guard_file *file, guard *g, const guard_query *query, guard_reply *reply);

#endif
