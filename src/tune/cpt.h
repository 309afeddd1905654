/* cpt.h - the texts of context-aware prompt tuning: the context that examples make, and lessons behind it. */
#ifndef ADZE_TUNE_CPT_H
#define ADZE_TUNE_CPT_H

#include "tune/tune_internal.h"

/* `soft` soft tokens (id -1), BOS where there is one, and n examples one after the other; the tokens of example i have their type + 4 i,
 * but for those that are nothing. */
bool az_cpt_context(az_ctx *az, const az_tokenizer *tokenizer, const az_lm_form *form, const az_examples *examples, int64_t n, int64_t soft,
                    az_lm_line *line);

/* What counts in a lesson, and how much. */
typedef struct az_cpt_weights {
    double decay;      /* the label of the training example counts 1, the last one of the context decay, the one before decay^2 ... */
    bool context_loss; /* labels of the context count at all */
    bool leave_out;    /* an example that is in the context itself is left out of it while it is learnt */
} az_cpt_weights;
/* Each example behind the context, whose tokens are virtual. The first `own` examples are those of the context. */
az_lm_examples *az_cpt_lessons(az_ctx *az, const az_lm *lm, const az_lm_form *form, const az_lm_line *context,
                               const az_cpt_weights *weights, const az_examples *examples, int64_t own);

/* A row [width] that is farther than `radius` from its start comes back to that distance. */
void az_cpt_project(const float *start, float *row, int64_t width, double radius);

#endif
