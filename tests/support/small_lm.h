/* small_lm.h - a small random llama that has a tokenizer, and text for it: what a compression method needs from end to end. */
#ifndef ADZE_TEST_SMALL_LM_H
#define ADZE_TEST_SMALL_LM_H

#include "adze/method.h"

/* Stories first .. first + count - 1 of the grammar's corpus 1. */
az_documents *small_stories(az_ctx *az, uint64_t first, int64_t count);
/* width 32, 2 blocks, 4 heads on 2 key-value heads of dimension 8, hidden 48, context 64, a vocabulary of 300. */
az_lm *small_lm(az_ctx *az);
/* Runs a method of the compress family on lm, options as on the command line. The report may be NULL. */
bool small_compress(az_ctx *az, az_lm *lm, const char *method, const char *options, const az_documents *text, az_report *report);
/* Mean log-loss of the text, nats per token; fails the test when it cannot be told. */
double small_loss(az_ctx *az, const az_lm *lm, const az_documents *text);
/* Largest difference between the matrices of two models' linear layers. */
double small_difference(az_ctx *az, az_lm *a, az_lm *b);

#endif
