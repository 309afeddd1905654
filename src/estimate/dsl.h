/* dsl.h - the parts of design-based supervised learning. Private to estimate/. */
#ifndef ADZE_ESTIMATE_DSL_H
#define ADZE_ESTIMATE_DSL_H

#include "estimate/estimate_internal.h"
#include "estimate/label_model.h"

typedef enum dsl_model { DSL_LM, DSL_LOGIT, DSL_FELM } dsl_model;
enum { DSL_MOST_GOLDS = 32, DSL_MOST_EFFECTS = 8 };

typedef struct dsl_options {
    const char *formula, *gold, *surrogate, *feature, *prob, *labeled, *cluster, *effects, *fold, *power;
    int model;       /* dsl_model */
    int label_model; /* label_kind */
    int64_t folds, splits;
    double confidence;
    bool rescale_prob;
} dsl_options;

/* The rows that take part, and what is known of each. */
typedef struct dsl_data {
    const dsl_options *options;
    az_table *table; /* [n] rows; gold columns are numbers, NaN where a row is not labelled */
    int64_t n, labels, dropped;
    const int64_t *original; /* [n] rows of the given table */
    int golds;
    int gold[DSL_MOST_GOLDS];                /* columns of the table */
    const double *surrogate[DSL_MOST_GOLDS]; /* [n] the machine's label for each gold column; NULL = none */
    const az_tensor *features;               /* [n, q] what labels are predicted from; the first column is constant */
    double *prob, *weight;                   /* [n] chance of being labelled; labelled / prob */
    int64_t *labelled;                       /* [labels] rows */
    int64_t *cluster, clusters;              /* [n] */
    int64_t *effect[DSL_MOST_EFFECTS];       /* [n] level of each fixed effect */
    int64_t effect_levels[DSL_MOST_EFFECTS];
    int effects;
    int64_t folds;
    int64_t *fold; /* [n] given folds; NULL = drawn */
} dsl_data;
dsl_data *dsl_read(az_ctx *az, const dsl_options *options, const az_table *table);

/* One way of splitting. The variance is J^-1 (labelled + rest) J^-T. */
typedef struct dsl_split {
    az_tensor *coefficient, *covariance; /* [p], [p, p] */
    az_tensor *jacobian;                 /* [p, p] sums over rows, as the next two */
    az_tensor *labelled;                 /* [p, p] what having labelled some rows only adds */
    az_tensor *rest;
    double *rmse; /* [golds, folds] of the predicted labels, NaN where a fold has no labelled row */
} dsl_split;

/* What the first split makes and the others follow. */
typedef struct dsl_designs {
    const az_design *predicted; /* all rows, with predictions in place of labels; NULL = not made yet */
    const az_design *gold;      /* the labelled rows, with their labels */
} dsl_designs;

typedef struct dsl_fit {
    int64_t p, splits;
    const char **name;                   /* [p] */
    dsl_split *split;                    /* [splits] */
    az_tensor *coefficient, *covariance; /* over all splits */
    double *se;                          /* [p] */
    az_regression *naive, *gold_only;    /* of the surrogates alone; of the labelled rows by 1 / prob. NULL = cannot be */
    dsl_designs designs;
} dsl_fit;
dsl_fit *dsl_estimate(az_ctx *az, const dsl_data *data, uint64_t seed);
/* One split with the given predictions [golds][n] of the gold columns; start [p]: where the solution may lie near, NULL = unknown. */
bool dsl_solve(az_ctx *az, const dsl_data *data, double *const *prediction, dsl_designs *first, const double *start, dsl_split *out);
/* The standard error of each coefficient if `ratio` times as many rows were labelled: out [p]. */
bool dsl_power(az_ctx *az, const dsl_split *splits, int64_t count, double ratio, double *out);

/* A table with other numbers in some columns. */
az_table *dsl_replace(az_ctx *az, const az_table *table, const int *column, double *const *values, int count);
/* Takes the means of its levels out of each column of v [n, cols], for every effect, with weights [n] (NULL = 1): what is left is what the
 * indicators of all levels do not explain. */
bool dsl_demean(az_ctx *az, const dsl_data *data, const int64_t *row, int64_t n, const double *weight, double *v, int64_t cols);

#endif
