/* train.h - a training run on its way, for train.c and the file that lets it go on after a break. */
#ifndef ADZE_LM_TRAIN_H
#define ADZE_LM_TRAIN_H

#include "lm/lm_internal.h"

typedef struct az_training {
    az_lm *lm;
    az_lm_train_settings settings;
    const char *identity; /* settings and text that the run depends on: a state made with others is refused */
    const az_lm_stream *stream;
    int n;                      /* parameters */
    az_lm_parameter *parameter; /* [n] */
    az_tensor **tensor;         /* [n] what their slots hold between steps */
    az_optimizer *optimizer;
    int64_t step; /* done */
    double *loss; /* [settings.steps] of each step done */
} az_training;

/* Writes parameters, optimizer, step and losses to settings.resume/state.gguf, whole or not at all. */
bool az_training_save(az_ctx *az, az_training *training);
/* Takes up such a state if there is one; fails when it belongs to another run or is damaged. */
bool az_training_load(az_ctx *az, az_training *training);

#endif
