/* tune_internal.h - what the methods of this family share: examples as tokens, and the run of the loop on an adapter or on the model. */
#ifndef ADZE_TUNE_INTERNAL_H
#define ADZE_TUNE_INTERNAL_H

#include "adze/method.h"

/* A job's examples for its model, and what follows from their number. */
typedef struct az_tuning {
    az_tune_job *job;
    az_lm_train_settings settings; /* steps filled in from the epochs */
    az_lm_examples *train, *valid; /* valid may be NULL */
    az_adapter *adapter;           /* beside the model in every pass; may be NULL */
} az_tuning;

/* Reads the examples as tokens and completes the settings; adds the row "examples" to the report. virtual_tokens stand in front of each.
 * In the current scope. */
bool az_tuning_begin(az_ctx *az, az_tune_job *job, int64_t virtual_tokens, az_tuning *tuning);

/* The same for examples that are tokens already. valid may be NULL. */
bool az_tuning_on(az_ctx *az, az_tune_job *job, az_lm_examples *train, az_lm_examples *valid, az_tuning *tuning);

/* A plan that trains n parameters on the examples: lessons, validation, identity (`method` = name and options of the method, whatever its
 * numbers depend on). plan->user is the tuning; a method with callbacks of its own puts it first in its struct, so that a pointer to that
 * serves as `user` as well. */
az_lm_fit_plan az_tuning_plan(az_ctx *az, const az_tuning *tuning, const az_lm_parameter *parameter, int n, const char *method);

/* Trains every tensor of tuning->adapter with the plan above. */
bool az_tune_adapter(az_ctx *az, az_tuning *tuning, const char *method);

/* Sets an interruption of the run aside, so that a result can be made of what was trained so far, and fails with it again. */
typedef struct az_set_aside {
    bool interrupted;
    char text[256];
} az_set_aside;
az_set_aside az_interruption_aside(az_ctx *az);
void az_interruption_back(az_ctx *az, const az_set_aside *aside);

/* "name:option=value,..." of a method with its settings: for identities. In the current scope. */
const char *az_method_text(az_ctx *az, const az_method *method, const void *settings);

#endif
