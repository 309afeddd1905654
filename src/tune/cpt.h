/* cpt.h - the texts of context-aware prompt tuning: examples cut into pieces with roles, the context that they make, and the choice among
 * labels. */
#ifndef ADZE_TUNE_CPT_H
#define ADZE_TUNE_CPT_H

#include "tune/tune_internal.h"

/* What a token is for. In a context, the tokens of example i have role + 4 i, but for those that are nothing. */
enum { AZ_CPT_NOTHING, AZ_CPT_INPUT_FORM, AZ_CPT_INPUT, AZ_CPT_OUTPUT_FORM, AZ_CPT_LABEL, AZ_CPT_ROLES = 4 };

/* "input: {}", "output: {}", what stands between both, and behind an example in the context. */
typedef struct az_cpt_form {
    const char *input, *output, *within, *between;
} az_cpt_form;
/* Fails unless input and output have one "{}" each. */
bool az_cpt_check_form(az_ctx *az, const az_cpt_form *form);

typedef struct az_cpt_line {
    int64_t n;
    int32_t *id;
    int32_t *type; /* as above; a soft token, which is no word, has id -1 and type 0 */
} az_cpt_line;
/* Pieces are tokenized apart, so that a query reads the same with and without its label. */
bool az_cpt_query(az_ctx *az, const az_tokenizer *tokenizer, const az_cpt_form *form, const char *input, az_cpt_line *line);
bool az_cpt_label(az_ctx *az, const az_tokenizer *tokenizer, const az_cpt_form *form, const char *label, az_cpt_line *line);
/* `soft` soft tokens, BOS where there is one, and n examples one after the other. */
bool az_cpt_context(az_ctx *az, const az_tokenizer *tokenizer, const az_cpt_form *form, const az_examples *examples, int64_t n,
                    int64_t soft, az_cpt_line *line);
/* "prompt" and "response" of an example, zero-terminated; NULL and an error when it has no such turns or an empty one. */
const char *az_cpt_input(az_ctx *az, const az_examples *examples, int64_t i);
const char *az_cpt_output(az_ctx *az, const az_examples *examples, int64_t i);

/* What counts in a lesson, and how much. */
typedef struct az_cpt_weights {
    double decay;      /* the label of the training example counts 1, the last one of the context decay, the one before decay^2 ... */
    bool context_loss; /* labels of the context count at all */
    bool leave_out;    /* an example that is in the context itself is left out of it while it is learnt */
} az_cpt_weights;
/* Each example behind the context, whose tokens are virtual. The first `own` examples are those of the context. */
az_lm_examples *az_cpt_lessons(az_ctx *az, const az_lm *lm, const az_cpt_form *form, const az_cpt_line *context,
                               const az_cpt_weights *weights, const az_examples *examples, int64_t own);

/* A row [width] that is farther than `radius` from its start comes back to that distance. */
void az_cpt_project(const float *start, float *row, int64_t width, double radius);

/* ---- choosing among labels ---- */

typedef struct az_cpt_labels {
    int n;
    const char **text; /* [n] */
    az_cpt_line *line; /* [n] */
    bool told_apart;   /* by their first tokens alone */
} az_cpt_labels;
/* Every label of the examples, in the order in which they come; fails unless there are two. */
bool az_cpt_labels_of(az_ctx *az, const az_tokenizer *tokenizer, const az_cpt_form *form, const az_examples *examples,
                      az_cpt_labels *labels);
/* The place of the likeliest label for each example [count], -1 on errors. The context is read once. */
bool az_cpt_classify(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const az_cpt_form *form, const az_cpt_labels *labels,
                     const az_examples *examples, int *choice);
/* Share of the examples whose label is chosen. */
double az_cpt_accuracy(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const az_cpt_form *form, const az_cpt_labels *labels,
                       const az_examples *examples);

#endif
