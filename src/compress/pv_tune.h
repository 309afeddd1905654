/* pv_tune.h - a tuning run on its way, for pv_tune.c and the file that lets it go on after a break. */
#ifndef ADZE_COMPRESS_PV_TUNE_H
#define ADZE_COMPRESS_PV_TUNE_H

#include "compress/pv.h"

/* A quantized layer. Tensors have the shape of the matrix unless they belong to values. */
typedef struct az_pv_layer {
    az_lm_linear *linear;                                     /* of the student; its weight is the decoded matrix meanwhile */
    az_weight *given;                                         /* its weight before and, with other codes and values, after */
    az_weight *code;                                          /* codes and values in f32 */
    az_tensor *matrix;                                        /* what code decodes to */
    az_tensor *value[AZ_PV_VALUES];                           /* parts of code */
    az_tensor *value_m[AZ_PV_VALUES], *value_v[AZ_PV_VALUES]; /* their moments */
    az_tensor *m, *v, *point; /* moments of the matrix, and the point u that its steps move; NULL without V steps */
} az_pv_layer;

bool az_pv_is_coded(const az_weight *w);
/* Takes the weight of a linear layer apart and puts its decoded matrix into its place: fills linear, given, code, matrix and value. All of
 * it lives in the current scope; linear->weight = given undoes it. */
bool az_pv_open_layer(az_ctx *az, az_lm_linear *linear, az_pv_layer *out);
/* The codes and values go where the matrix was, in the types they came in; into the model's arena. */
bool az_pv_close_layer(az_ctx *az, az_lm *lm, const az_pv_layer *layer);

/* Any other parameter. */
typedef struct az_pv_rest {
    az_tensor *tensor, *m, *v;
} az_pv_rest;

typedef struct az_pv_run {
    const az_lm *teacher;
    az_lm *student;
    az_pv_tuning how;
    const char *identity; /* what the run's numbers depend on: a state made with others is refused */
    const az_lm_sequences *text;
    int layers, rests, n; /* n = layers + rests, the parameters in this order */
    az_pv_layer *layer;
    az_pv_rest *rest;
    az_lm_parameter *parameter; /* [n] */
    int64_t step;
    double *loss, *changes; /* [how.steps] of each step done: KL in nats per token; tiles whose codes changed */
    int64_t tiles;          /* of all layers */
} az_pv_run;

/* Writes the state to how.resume/state.safetensors, whole or not at all; takes it up when it is there. */
bool az_pv_save(az_ctx *az, const az_pv_run *run);
bool az_pv_load(az_ctx *az, az_pv_run *run);

#endif
