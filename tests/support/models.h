/* models.h - small models made in memory, for tests of files and of what runs on them. */
#ifndef ADZE_TEST_MODELS_H
#define ADZE_TEST_MODELS_H

#include "adze/lm.h"

/* A byte-level tokenizer of 272 entries, trained on a sentence. */
az_tokenizer *test_tokenizer(az_ctx *az);
/* A llama of two blocks, width 32, 4 heads (2 for keys and values), hidden 64, with that tokenizer. */
az_lm *test_llama(az_ctx *az, bool tied);

#endif
