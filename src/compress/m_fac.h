/* m_fac.h - pruning with the inverse empirical Fisher matrix, for any set of matrices whose gradients somebody can give. */
#ifndef ADZE_COMPRESS_M_FAC_H
#define ADZE_COMPRESS_M_FAC_H

#include "adze/tensor.h"

typedef struct az_m_fac_settings {
    double damp;         /* added to the diagonal of F */
    double min_density;  /* share of its weights that each matrix keeps */
    int64_t grads;       /* gradients that F is made of */
    int64_t block;       /* weights in a diagonal block of F; 0 = the whole of F */
    int64_t recompute;   /* steps, each with new gradients */
    int half;            /* gradients are kept as bf16, not f32 */
    const char *scratch; /* folder of a file for the gradients; NULL or "" = memory */
} az_m_fac_settings;
/* Matrices (f32, contiguous) and the gradients of a loss at their present values: gradient i (0 .. grads - 1) of round r into gradient [n],
 * in the current scope. */
typedef struct az_m_fac_problem {
    az_tensor *const *weight; /* [n] */
    int n;
    bool (*gradient)(az_ctx *az, int64_t round, int64_t i, az_tensor **gradient, double *loss, void *user);
    void *user;
    az_report *report; /* receives a row of the section "steps" a round; may be NULL */
} az_m_fac_problem;
/* Prunes the matrices, in place, until their share of zeros is `sparsity`. Weights that are zero stay zero. */
bool az_m_fac_prune(az_ctx *az, const az_m_fac_problem *problem, const az_m_fac_settings *how, double sparsity);

#endif
