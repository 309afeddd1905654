/* adalora.h - which triplets (column of P, singular value, row of Q) of several matrices stay within a budget that falls during training.
 */
#ifndef ADZE_TUNE_ADALORA_H
#define ADZE_TUNE_ADALORA_H

#include "tune/tune_internal.h"

/* s(w) of one parameter: average times uncertainty of the sensitivity I = |w dL/dw|; I alone; or |lambda| of the triplet alone. */
typedef enum az_importance { AZ_IMPORTANCE_SMOOTHED, AZ_IMPORTANCE_SENSITIVITY, AZ_IMPORTANCE_MAGNITUDE } az_importance;

typedef struct az_budget {
    int64_t before, after;       /* triplets of all matrices at the start and at the end */
    int64_t warm, settle, every; /* t_i first steps with all of them; t_f last steps with the final ones; steps between two choices */
    int64_t steps;               /* T */
    double beta1, beta2;         /* memories of the average and of the uncertainty, both in (0, 1) */
    az_importance importance;
} az_budget;
/* Triplets that may be kept behind step t = 1 .. T: b0 up to t_i; bT from T - t_f on; between them
 * floor(bT + (b0 - bT) (1 - (t - t_i) / (T - t_i - t_f))^3). */
int64_t az_budget_at(const az_budget *budget, int64_t t);

/* One matrix's P diag(e) Q. */
typedef struct az_triplets {
    az_tensor *a; /* Q [r, in] */
    az_tensor *b; /* P [out, r] */
    az_tensor *e; /* lambda [r] */
} az_triplets;

/* Remembers the tensors' data, f32 or f64, whose e it masks in place. In the current scope or arena. */
typedef struct az_allocator az_allocator;
az_allocator *az_allocator_new(az_ctx *az, const az_budget *budget, const az_triplets *matrix, int n);
/* Behind optimizer step t, with the gradients of that step, which are multiplied by `unscale` before they are used. Up to T - t_f it
 * updates the averages; at multiples of `every` beyond t_i the triplets of lowest importance leave (e = 0; a and b stay, so that they may
 * come back), just so many as the budget says; at T - t_f the choice becomes final. */
bool az_allocator_step(az_ctx *az, az_allocator *allocator, const az_triplets *gradient, double unscale, int64_t t);
/* The last choice: 1 or 0 for each triplet, matrix after matrix, [budget.before]; how many triplets matrix i keeps; the lowest
 * importance that was kept, NaN before the first choice. */
const float *az_allocator_kept(const az_allocator *allocator);
int64_t az_allocator_rank(const az_allocator *allocator, int i);
double az_allocator_threshold(const az_allocator *allocator);
/* What a break of the training must not lose; returns the number of tensors. */
int az_allocator_state(az_ctx *az, az_allocator *allocator, az_tensor ***tensor, const char ***name);

/* The Frobenius norm, or its square, of X X^T - I (rows) or X^T X - I; adds `weight` times its derivative to gradient (may be NULL); the
 * norm has none where it is 0. */
double az_orthogonality(az_ctx *az, const az_tensor *x, bool rows, bool squared, double weight, az_tensor *gradient);

/* ---- a training ---- */

typedef struct az_adalora_options {
    int64_t init_rank, target_rank, total_rank; /* total_rank 0 = target_rank a layer */
    int64_t tinit, tfinal, every;               /* -1 = a tenth, three tenths of all steps */
    double beta1, beta2, orth_reg, alpha, dropout;
    int orth, score, sensitivity, as;
    const char *targets, *exclude;
} az_adalora_options;

/* The tuning stands first, so that its callbacks take a pointer to this as their user. */
typedef struct az_adalora {
    az_tuning tuning; /* settings: steps, clip, seed; adapter: made by az_adalora_begin */
    const az_adalora_options *options;
    az_budget budget;
    az_allocator *allocator;
    az_triplets *gradient;          /* [layers] of the present step */
    double unscale;                 /* undoes the clipping of the present step */
    az_tensor *penalty, *threshold; /* [steps] f64: R, and the lowest importance that was kept */
} az_adalora;
/* Makes the adapter P diag(e) Q beside lm's layers, for run->options and run->tuning.settings, and lists its tensors, three a layer. */
bool az_adalora_begin(az_ctx *az, az_adalora *run, const az_lm *lm, az_lm_parameter **parameter, int *n);
/* Completes a plan whose user is the run (or a struct that begins with it). */
void az_adalora_complete(az_lm_fit_plan *plan);
/* What is left after the run: plain LoRA, lambda in B, a rank for each layer, the scale of training. */
az_adapter *az_adalora_plain(az_ctx *az, const az_adalora *run, const az_lm *lm);

#endif
