/* words.h - examples for a small model, and a method of the family tune run on them from end to end. */
#ifndef ADZE_TEST_WORDS_H
#define ADZE_TEST_WORDS_H

#include "adze/method.h"

/* n examples of four classes of words, each word with the name of its class for a response. */
az_examples *words_examples(az_ctx *az, int64_t n);
/* Options as on the command line, those of the method and those of training ("steps=3,lr=1e-3"). train, valid and report may be NULL. The
 * result has lm, and the adapter that the method made; false in `good` on errors. */
typedef struct words_tuned {
    az_tune_job job;
    bool good;
} words_tuned;
words_tuned words_tune(az_ctx *az, az_lm *lm, const char *method, const char *options, const char *training, const az_examples *train,
                       const az_examples *valid, az_report *report);

#endif
