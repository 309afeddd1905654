/* guard.h - a holdout that answers adaptively chosen questions through a guard (method adaptive-analysis, which makes the guard's file).
 *
 * A question is a function phi of an example with values from 0 to 1; the answer stands for its mean over the population. */
#ifndef ADZE_GUARD_H
#define ADZE_GUARD_H

#include "adze/base.h"

typedef struct az_guard_question {
    const double *holdout; /* [n] phi of each row of the holdout */
    const double *train;   /* [n_train] phi of each training row, for the mechanisms that compare the two; or NULL */
    int64_t n, n_train;
} az_guard_question;

typedef struct az_guard_answer {
    double value;
    double tolerance;    /* all answers lie so close to the population's values, with the guard's probability; INFINITY = none is known */
    bool paid;           /* the answer was taken from the holdout, and charged */
    int64_t asked, left; /* questions up to this one, and those that may still be asked */
} az_guard_answer;

/* Asks the guard that is kept in the file `state`, and writes the answer into its ledger before it is told. AZ_BAD_INPUT when values are
 * outside of 0 to 1, when their number is not that of the guard's rows, and when the guard is exhausted; nothing is charged then. */
bool az_guard_ask(az_ctx *az, const char *state, const az_guard_question *question, az_guard_answer *answer);

#endif
