/* spec.h - a state-space model from options and files. */
#ifndef ADZE_ESTIMATE_SSM_SPEC_H
#define ADZE_ESTIMATE_SSM_SPEC_H

#include "adze/method.h"
#include "adze/ssm.h"

typedef enum az_ssm_family { AZ_SSM_LGSSM, AZ_SSM_SV, AZ_SSM_RECURRENT } az_ssm_family;
extern const char *const az_ssm_family_names[]; /* NULL-terminated */

typedef struct az_ssm_spec {
    int family;
    const char *params;       /* "a=.95,q=.6,r=1" */
    int64_t states, observed; /* 0 = as the files say */
} az_ssm_spec;

enum { AZ_SSM_SLOT_Y, AZ_SSM_SLOT_A, AZ_SSM_SLOT_C, AZ_SSM_SLOT_Q, AZ_SSM_SLOT_R, AZ_SSM_SLOT_M0, AZ_SSM_SLOT_P0, AZ_SSM_SLOT_W };
extern const az_input_slot az_ssm_slots[];

/* The weights of a network that no file gives are drawn with the context's seed. */
az_ssm *az_ssm_of_spec(az_ctx *az, const az_ssm_spec *spec, const az_estimate_job *job);
/* The rows of y, [*n, observed]; NULL with an error when they do not fit the model. */
const double *az_ssm_observations(az_ctx *az, const az_ssm *model, const az_estimate_job *job, int64_t *n);
/* "x1", "x2" of several, "x" of one. */
const char *az_ssm_label(az_ctx *az, const char *name, int i, int count);

#endif
