/* worked.h - the models that the command knows; examples/ shows how one writes others. */
#ifndef ADZE_VI_WORKED_H
#define ADZE_VI_WORKED_H

#include "adze/vi.h"

enum { VI_MOST_VARIABLES = 6 };

typedef struct vi_worked {
    const char *name, *summary;
    az_vi_program *model, *guide;
    const char *const *keep; /* choices of the guide that the model makes too; NULL = all */
    const char *observed;    /* the address of the observation */
    double observation;      /* its default; NaN = points, one for each copy: what the guide's user holds */
    struct {
        const char *name;
        double start;
    } variable[VI_MOST_VARIABLES];
    int variables;
    bool learns; /* some of the variables are the model's */
} vi_worked;

/* Many observations, of which a run of the program sees a minibatch: user of vi_on_points and of the mixture's guide. */
typedef struct vi_points {
    az_vi_program *objective;
    az_vi_inference inference; /* without data */
    const char *observed;
    const az_tensor *all; /* [n] */
    az_tensor *here;      /* [copies] those of this run */
} vi_points;
/* The objective on points drawn at random, one for each copy. */
az_tensor *vi_on_points(az_vi *vi, void *points);

enum { VI_CONE, VI_RING, VI_COIN, VI_MIXTURE, VI_WORKED };
extern const vi_worked vi_worked_models[VI_WORKED];

#endif
