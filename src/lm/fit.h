/* fit.h - a run of the training loop on its way, for fit.c and the file that lets it go on after a break. */
#ifndef ADZE_LM_FIT_H
#define ADZE_LM_FIT_H

#include "lm/lm_internal.h"

typedef struct az_fitting {
    az_lm_fit fit; /* what callbacks see */
    /* With validation: the best parameters so far [n], their loss, and how many validations came since; the last two also as a tensor [2]
     * for the state. NULL without. */
    az_tensor **best;
    az_tensor *best_note;
} az_fitting;

/* Writes parameters, optimizer, the method's state, step and losses to settings.resume/state.gguf, whole or not at all. */
bool az_fit_save(az_ctx *az, az_fitting *fitting);
/* Takes up such a state if there is one; fails when it belongs to another run or is damaged. */
bool az_fit_load(az_ctx *az, az_fitting *fitting);

#endif
