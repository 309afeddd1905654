/* families.h - one small model of each architecture whose forward pass has a feature of its own, with weights that any language can make
 * again (tests/fixtures/make_families.py does). */
#ifndef ADZE_TESTS_FAMILIES_H
#define ADZE_TESTS_FAMILIES_H

#include "adze/lm.h"

typedef struct family {
    const char *architecture;
    az_lm_config config; /* what differs from the others */
} family;

enum { FAMILIES = 7 };
extern const family families[FAMILIES];

/* Vocabulary 40, width 32, 2 blocks (unless it says otherwise), 4 heads of 8, hidden 48, context 64. Entry i of parameter number k becomes
 * base + 0.9 (u - 1/2), u uniform with seed 1000 + k; base is 1 for the weights of norms. */
az_lm *family_model(az_ctx *az, const family *which);
/* The same for a vocabulary that fits the tokenizer. */
az_lm *family_model_with(az_ctx *az, const family *which, az_tokenizer *tokenizer);

/* Logits of seven fixed tokens. */
az_tensor *family_logits(az_ctx *az, const az_lm *lm);

#endif
