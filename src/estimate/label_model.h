/* label_model.h - regressions that predict a label from machine-made labels and features: any will do for dsl to be valid, a good one makes
 * it precise. Private to estimate/. */
#ifndef ADZE_ESTIMATE_LABEL_MODEL_H
#define ADZE_ESTIMATE_LABEL_MODEL_H

#include "adze/tensor.h"

typedef enum label_kind { LABEL_AUTO, LABEL_OLS, LABEL_CELLS, LABEL_LOGIT, LABEL_RIDGE, LABEL_STUMPS, LABEL_FOREST } label_kind;
extern const char *const label_kind_names[]; /* NULL-terminated */

typedef struct label_fit {
    label_kind kind;
    const az_tensor *x;   /* [n, q] predictors; the first column is constant */
    const double *y;      /* [n]; read for the rows of `train` */
    const int64_t *train; /* [trains] */
    const int64_t *test;  /* [tests] */
    int64_t trains, tests;
    uint64_t seed, stream;
} label_fit;
/* Fits on the rows of train and writes the predictions for those of test to prediction[test[i]]. */
bool label_predict(az_ctx *az, const label_fit *fit, double *prediction);

/* ---- trees.c ---- */

/* Squared-error trees: a bagged forest of trees with random features at each node, or stumps that each fit what those before left over. */
bool forest_predict(az_ctx *az, const label_fit *fit, double *prediction);
bool stumps_predict(az_ctx *az, const label_fit *fit, double *prediction);

#endif
