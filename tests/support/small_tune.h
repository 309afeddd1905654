/* small_tune.h - what tests of tuning methods share: a small model in any weight format, and outputs with an adapter beside it. */
#ifndef ADZE_TEST_SMALL_TUNE_H
#define ADZE_TEST_SMALL_TUNE_H

#include "claims/tuning.h"

/* small_lm, its weights as one of these chains of methods leaves them: dense, in blocks, as bytes, sparse, of low rank. */
enum { SMALL_BASES = 5 };
extern const char *const small_bases[SMALL_BASES];
az_lm *small_base(az_ctx *az, int which);
/* Logits of a fixed text; adapter may be NULL. */
az_tensor *small_logits(az_ctx *az, const az_lm *lm, const az_adapter *adapter);
/* Tunes a copy of lm on strings with `settings` and returns what the method made; NULL with az's error. */
az_adapter *small_tune(az_ctx *az, az_lm *lm, const char *method, const char *options, const char *settings);
/* A progress sink: Ctrl-C at the first step of training; user is an int, 0. */
void interrupt_training(const az_progress_event *event, void *user);

#endif
