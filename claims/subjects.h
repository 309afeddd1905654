/* subjects.h - models with calibration text and held-out text that have no document in common: what the claims measure methods on. */
#ifndef ADZE_CLAIMS_SUBJECTS_H
#define ADZE_CLAIMS_SUBJECTS_H

#include "adze/method.h"

typedef struct claim_subject {
    const char *name;
    az_lm *lm;                              /* as it came, never changed */
    const az_documents *calibration, *test; /* methods read the first, scores the second */
} claim_subject;

enum { CLAIM_MOST_SUBJECTS = 3 };

/* The bundled model `tales` with its grammar's stories; and, when ADZE_DATA names the folder of the data, stories260K with TinyStories, and
 * the bundled model `storybook` with the stories for children it was not trained on (every twentieth). Returns their number, 0 on errors.
 * What they hold lives in the current scope. */
int claim_subjects(az_ctx *az, claim_subject subjects[CLAIM_MOST_SUBJECTS]);

#endif
