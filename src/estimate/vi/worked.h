/* worked.h - the models that the command knows; examples/ shows how one writes others. */
#ifndef ADZE_VI_WORKED_H
#define ADZE_VI_WORKED_H

#include "adze/vi.h"

enum { VI_MOST_VARIABLES = 4 };

typedef struct vi_worked {
    const char *name, *summary;
    az_vi_program *model, *guide;
    const char *const *keep; /* choices of the guide that the model makes too; NULL = all */
    const char *observed;    /* the address of the observation */
    double observation;      /* its default */
    struct {
        const char *name;
        double start;
    } variable[VI_MOST_VARIABLES];
    int variables;
} vi_worked;

enum { VI_CONE, VI_RING, VI_COIN, VI_WORKED };
extern const vi_worked vi_worked_models[VI_WORKED];

#endif
