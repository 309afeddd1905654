/* contrast.h - training on texts whose losses matter one against another: preference pairs, ranked groups. */
#ifndef ADZE_TUNE_CONTRAST_H
#define ADZE_TUNE_CONTRAST_H

#include "adze/method.h"

/* The loss is a function of the texts' negative log-likelihoods. The gradient is split: a pass without a tape gives all of them, the
 * function their derivatives, and one weighted lesson the gradient of the whole, sum_i (d loss / d nll_i) grad nll_i, which is exact. */
typedef struct az_contrast {
    const az_lm_examples *examples;
    /* The loss of n texts (which[i] of the examples, with their nll) and weight[i] = d loss / d nll_i. */
    double (*weigh)(const int64_t *which, int n, const double *nll, double *weight, void *user);
    void *user;
} az_contrast;

/* nll of each of the texts, in passes of at most `batch`. */
bool az_contrast_losses(az_ctx *az, const az_lm *lm, const az_lm_examples *examples, const az_lm_run *run, int64_t batch, double *nll);

/* Adds the gradient of the loss of these n texts to gradient[] (set where `first`), and the loss to *loss. For az_lm_fit_plan.gradient. */
typedef struct az_contrast_part {
    const int64_t *which;
    int n;
    double scale;
    bool first;
    uint64_t dropout; /* key of the pass */
} az_contrast_part;
bool az_contrast_gradient(az_ctx *az, const az_lm_fit *fit, const az_contrast *contrast, const az_contrast_part *part, az_tensor **gradient,
                          double *loss);

/* log sigmoid(x), log(1 + exp(x)), without overflow. */
double az_log_sigmoid(double x);

#endif
