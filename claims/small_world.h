/* small_world.h - small models trained from nothing on examples of a world that the claim has made. */
#ifndef ADZE_CLAIMS_SMALL_WORLD_H
#define ADZE_CLAIMS_SMALL_WORLD_H

#include "adze/method.h"

/* A prompt and a response, with a line that says the same. */
az_example small_example(az_ctx *az, const char *prompt, const char *response);

/* A llama of that width and number of blocks, heads of 16, with a tokenizer of its own, trained on the examples' responses with the
 * settings of az_tune_options. In the current scope. */
typedef struct small_world {
    int64_t width, blocks, context, vocabulary;
    const char *settings; /* "epochs=20,batch=16,lr=3e-3" */
    const az_examples *examples;
} small_world;
az_lm *small_world_model(az_ctx *az, const small_world *world, int seed);
/* A copy of the model with a method of the family tune run on it. */
typedef struct small_tuning {
    const az_examples *examples;
    const char *method, *options, *settings;
    int seed;
    az_report *report;
    az_adapter *adapter; /* result; NULL when the weights themselves were changed */
} small_tuning;
az_lm *small_world_tune(az_ctx *az, const az_lm *lm, small_tuning *tuning);

#endif
