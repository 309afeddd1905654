/* worked.h - the models that the command knows; examples/ shows how one writes others. */
#ifndef ADZE_VI_WORKED_H
#define ADZE_VI_WORKED_H

#include "adze/vi.h"

enum { VI_MOST_VARIABLES = 4, VI_MOST_LATENTS = 3 };

typedef struct vi_worked_variable {
    const char *name;
    double start;
} vi_worked_variable;

/* What the programs get as their user. */
typedef struct vi_worked_user {
    double radius; /* of the ring */
    bool learns;   /* the model reads its own variable; otherwise it takes where that starts */
} vi_worked_user;

/* A choice that sums and integrals can run over. */
typedef enum vi_axis {
    VI_TWO_VALUES,
    VI_UNIT_INTERVAL,
    VI_PERIOD, /* uniform on the unit interval, whose ends are the same */
    VI_REAL_LINE,
    VI_AROUND_RING /* a real line where the guide's mean is within the radius of 0 */
} vi_axis;
typedef struct vi_latent {
    const char *address;
    vi_axis axis;
    int mean, log_sd; /* of a real line, around a ring the latter alone: the guide's variables that say where the mass is */
} vi_latent;

typedef struct vi_worked {
    const char *name, *summary;
    az_vi_program *model, *guide;
    const char *const *keep;                        /* choices of the guide that the model makes too; NULL = all */
    const char *observed;                           /* the address of the observation */
    double observation;                             /* its default */
    vi_worked_variable variable[VI_MOST_VARIABLES]; /* of the guide */
    int variables;
    vi_worked_variable own;            /* of the model, for objectives that teach it */
    vi_latent latent[VI_MOST_LATENTS]; /* the guide's; first those that it does not keep, each uniform over a period */
    int latents;
} vi_worked;

enum { VI_CONE, VI_RING, VI_COIN, VI_LAMP, VI_WORKED };
extern const vi_worked vi_worked_models[VI_WORKED];

/* The gradient of the expected objective (one of objectives.c) with respect to each variable, by sums over finite choices and quadrature
 * over the others, for any number of particles: gradient [problem->variables]. Returns NULL, or why there is none: several particles
 * whose guide integrates by several draws, weights beyond what a double's exponent can hold, or no grid of at most 2^21 nodes that agrees
 * with a coarser one to six digits. It says so too after an error of the context. */
const char *vi_exact_gradient(az_ctx *az, const vi_worked *worked, const az_vi_problem *problem, double *gradient);

#endif
