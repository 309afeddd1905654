/* pv.h - a matrix that is being quantized by codes and values, for the files of pv-tuning.
 *
 * The matrix is a weight of format aq or grid whose values are f32. It is cut into tiles whose values one choice of codes decides: og x ig
 * values of aq, single values of grid. */
#ifndef ADZE_COMPRESS_PV_H
#define ADZE_COMPRESS_PV_H

#include "compress/compress_internal.h"

typedef struct az_pv_shape {
    int64_t codebooks, code_bits, group, out_group; /* aq; codebooks = 0: a grid of code_bits bits for groups of `group` inputs */
} az_pv_shape;

enum { AZ_PV_VALUES = 2, AZ_PV_MOST_BOOKS = 8, AZ_PV_MOST_TILE = 256 };

/* The parts that hold values: codebooks and scales, or scales and zeros. Pointers into the weight. */
int az_pv_values(az_weight *w, az_tensor *values[AZ_PV_VALUES]);
int64_t az_pv_tiles(const az_weight *w);

/* Gradients of the values of w from that of its matrix, g [rows, cols]: dL/dcodebook_c[e] = sum over the tiles with code e of scale_o g,
 * dL/dscale_o = <g_o, matrix_o> / scale_o; on a grid dL/dscale = sum g (code - zero), dL/dzero = -scale sum g. */
bool az_pv_gradients(az_ctx *az, const az_weight *w, const az_tensor *g, az_tensor *gradient[AZ_PV_VALUES]);

/* How a tile is rounded where not to the nearest choice. */
typedef struct az_pv_rounding {
    bool second;        /* where the best choice is the present one, the second best is taken (of the last codebook) */
    double temperature; /* > 0: best or second best, with probabilities in proportion to error^(-1/temperature), error = |target - choice|;
                         * of several codebooks each in the last turn around */
    uint64_t seed;      /* of these draws, which are a function of (seed, tile) */
} az_pv_rounding;
/* Sets the codes of one tile to the nearest choice for the matrix `target` (all [rows, cols]); for several codebooks one after the other,
 * each given the rest, twice around. how may be NULL. Returns whether the codes changed. turned: az_pv_turned_books. */
bool az_pv_nearest(az_weight *w, int64_t tile, const float *turned, const float *target, const az_pv_rounding *how);
/* The codebooks as [C, og ig, entries], for fast searches; NULL for a grid. */
float *az_pv_turned_books(az_ctx *az, const az_weight *w);
/* |a - b|^2 over a tile of two matrices. */
double az_pv_tile_distance(const az_weight *w, int64_t tile, const float *a, const float *b);
/* [codebooks, entries] of an aq weight: how many tiles use each entry. */
int64_t *az_pv_uses(az_ctx *az, const az_weight *w);
int64_t az_pv_code(const az_weight *w, int64_t tile, int64_t book);
/* Gives an entry the values with which the tile, its codes of the other books kept, would equal `target`. False when its scale is 0. */
bool az_pv_seed_entry(az_weight *w, int64_t book, int64_t entry, int64_t tile, const float *target);
/* Writes the values of one tile into the matrix. */
void az_pv_decode_tile(const az_weight *w, int64_t tile, float *matrix);

/* ---- the initial fit ---- */

typedef struct az_pv_fit {
    az_pv_shape shape;
    int64_t kmeans, epochs, steps, beam; /* Lloyd iterations; rounds of value steps and beam search; value steps in a round */
    double lr, tolerance;                /* of the value steps; a round that gains less than this share is the last */
    uint64_t seed;
} az_pv_fit;

/* The matrix in additive codebooks (residual k-means on rows scaled to norm 1) or on a grid (least squares on a spread of codes). With h
 * [cols, cols] f64 (may be NULL), rounds of gradient steps on the values and beam search over the codes for tr(D h D^T), D = W - W';
 * before a search the entries that no tile uses start again (az_pv_reseed). */
az_weight *az_pv_fit_weight(az_ctx *az, const az_tensor *w, const az_tensor *h, const az_pv_fit *fit);
/* n centroids [n, width] of points [count, width]; empty clusters start again at the points that lie farthest. */
az_tensor *az_pv_kmeans(az_ctx *az, const az_tensor *points, int64_t n, int64_t iterations, uint64_t seed);
/* One beam search over all codes of an aq weight: tr(D h D^T) does not rise (beam 1), and is the least possible when the beam holds all
 * choices. Returns it, as the search's own bookkeeping has it. */
double az_pv_beam_search(az_ctx *az, az_weight *w, const az_tensor *target, const az_tensor *h, int64_t beam, uint64_t seed);
/* tr(D h D^T) from its definition. */
double az_pv_loss(az_ctx *az, const az_weight *w, const az_tensor *target, const az_tensor *h);

/* ---- steps ---- */

/* Adam with the step of each tensor scaled to its own norm (LAMB): d = mhat / (sqrt(vhat) + eps), x -= lr d |x| / |d|. */
typedef struct az_pv_adam {
    double beta1, beta2, eps;
    bool relative; /* the scaling */
    bool amsgrad;  /* vhat never falls */
} az_pv_adam;
/* out = x - step, out may be x. m and v are the moments; step counts from 1. */
void az_pv_adam_step(const az_pv_adam *how, int64_t step, double lr, const az_tensor *g, az_tensor *m, az_tensor *v, const az_tensor *x,
                     az_tensor *out);

/* Entries of an aq weight that no tile uses get no gradient and would stay what they are for good. Each becomes what one of the tiles
 * farthest from `target` would need (both [rows, cols]; `matrix` is the decoded w), as empty clusters of k-means start again; of tiles
 * whose code another tile uses as well. No code changes, so neither does the matrix: the next search for codes takes what it can use.
 * Returns how many entries were set; 0 for a grid. */
int64_t az_pv_reseed(az_ctx *az, az_weight *w, const az_tensor *target, const az_tensor *matrix);

/* Which codes a V step may change: the share tau of the tiles that moved farthest, until |change| > trust |matrix| (0 = no limit).
 * temperature > 0: tiles are drawn instead, without replacement, with probabilities in proportion to distance^(1/temperature), and taken
 * in the order of the draws; rounding.seed is theirs too. */
typedef struct az_pv_reach {
    double tau, trust, temperature;
    bool reseed; /* entries that no tile uses start again first (az_pv_reseed) */
    az_pv_rounding rounding;
} az_pv_reach;
/* Moves codes of w towards `target`; `matrix` is the decoded w before, and after. Returns the number of tiles that changed. */
int64_t az_pv_step(az_ctx *az, az_weight *w, const az_tensor *target, az_tensor *matrix, const az_pv_reach *reach);

/* ---- tuning the model ---- */

/* In the mode none there are no steps, only the fit of blocks. */
typedef enum az_pv_mode { AZ_PV_NONE, AZ_PV_P, AZ_PV_NAIVE, AZ_PV_STE, AZ_PV_PV, AZ_PV_PV_STE } az_pv_mode;
typedef struct az_pv_tuning {
    int mode;
    int64_t steps, batch, length, save_every, seed;
    int64_t block_epochs; /* of the fit of each block before the steps, 0 = none */
    double block_lr;
    double lr, code_lr, code_beta1, tau, trust, decay; /* negative: as the mode has it */
    double temperature, sr_temperature;                /* of the choice of tiles, and of rounding (az_pv_reach) */
    bool second, rest, reseed;                         /* rest: norms and embedding learn too; reseed: az_pv_reseed in V steps */
    const char *resume;
} az_pv_tuning;
/* Tunes the quantized weights (of az_lm_linears, in that order) of lm so that its next-token distributions approach the teacher's on the
 * text. Section "tuning" and the loss curve go to the report. */
bool az_pv_tune(az_ctx *az, az_lm *lm, const az_lm *teacher, const az_documents *text, const az_pv_tuning *how, az_report *report);
/* Whether a run can go on from the state in this folder (NULL or "" = none). */
bool az_pv_has_state(az_ctx *az, const char *folder);

/* The fit of one block, whose matrices are quantized, to what the teacher's block makes of the same inputs: the values, and with how->rest
 * the block's norms and biases, learn by Adam for how->block_epochs epochs at most, how->batch sequences a step; an eighth of the
 * sequences is held out, and the best epoch stays. Adds a row to the section "blocks": error = |B'(X) - B(X)|^2 / |B(X)|^2 on those. */
typedef struct az_pv_block {
    az_lm *lm;
    const az_lm *teacher;
    const az_pv_tuning *how;
    az_report *report;
} az_pv_block;
bool az_pv_fit_block(az_ctx *az, const az_pv_block *of, const az_lm_block_inputs *inputs);

#endif
