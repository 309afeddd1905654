/* maskpro.h - a run of mask learning on its way, for maskpro.c and the file that lets it go on after a break. */
#ifndef ADZE_COMPRESS_MASKPRO_H
#define ADZE_COMPRESS_MASKPRO_H

#include "compress/nm_blocks.h"
#include "compress/start_mask.h"

typedef enum az_maskpro_estimator { AZ_MASKPRO_VANILLA, AZ_MASKPRO_RESIDUAL, AZ_MASKPRO_TRACKED } az_maskpro_estimator;

/* What stands in front of the gradient of the log-probability. */
typedef struct az_maskpro_tracker {
    int estimator; /* az_maskpro_estimator */
    double decay;  /* of the moving average, 0.99 */
    double delta;  /* the moving average of residuals */
} az_maskpro_tracker;
/* The factor for a step with loss f, f0 being the start mask's on the same minibatch: f, f - f0, or f - f0 - delta after delta has taken
 * f - f0 in. */
double az_maskpro_factor(az_maskpro_tracker *tracker, double f, double f0);

typedef enum az_maskpro_others { AZ_OTHERS_START, AZ_OTHERS_DENSE } az_maskpro_others;

typedef struct az_maskpro_options {
    az_start_settings start;
    const char *logits, *lr, *layers, *resume, *log, *save_mask;
    double guard, clamp, decay;
    int64_t steps, samples, batch, length, save_every, seed;
    int estimator, others; /* az_maskpro_estimator, az_maskpro_others */
} az_maskpro_options;

typedef struct az_maskpro_layer {
    az_lm_linear *linear;
    az_weight *dense;                       /* before pruning */
    az_tensor *value;                       /* [rows, cols] what weights are when kept */
    az_nm_matrix blocks;                    /* its memory is of these tensors: */
    az_tensor *logit, *kept, *start, *best; /* f32 [rows, cols]; bits u8 [ceil(rows cols / 8)] */
} az_maskpro_layer;

typedef struct az_maskpro_record {
    double loss, initial, residual, tracker, flips;
} az_maskpro_record;

typedef struct az_maskpro_run {
    const az_maskpro_options *options;
    az_lm *lm;
    const az_lm_sequences *sequences;
    az_arena *arena; /* of everything here */
    int n;           /* layers that learn */
    az_maskpro_layer *layer;
    int64_t blocks, batches;
    az_pattern pattern;
    double logit;              /* c */
    double *initial;           /* [batches] losses of the start mask */
    az_maskpro_record *record; /* [options->steps], `step` of them filled */
    az_maskpro_tracker tracker;
    /* what goes into the state, beside logits and masks */
    int64_t step, best_step, over; /* done; of the best mask; steps that the tracker has been too high */
    double lr, deviation;          /* NaN while not known */
    double lowest, best;           /* of the tracker: ever; at the best mask */
    bool drifted;
    const char *identity; /* settings, model and text that the numbers depend on */
} az_maskpro_run;

/* Finds or chooses the start masks, gives the layers that learn their memory and the others what they stay. */
bool az_maskpro_set_up(az_ctx *az, const az_compress_job *job, az_maskpro_run *run);

/* Writes the run to options->resume, and its log to options->log, where these are given. */
bool az_maskpro_save(az_ctx *az, az_maskpro_run *run);
/* True when there is a state to go on from. */
bool az_maskpro_has_state(const az_maskpro_options *options);
/* Takes it up; fails when it belongs to another run or is damaged. */
bool az_maskpro_load(az_ctx *az, az_maskpro_run *run);

#endif
