/* safetensors.h - what reading and writing share: the names of the types. */
#ifndef ADZE_DATA_SAFETENSORS_H
#define ADZE_DATA_SAFETENSORS_H

#include "adze/tensor.h"

typedef struct az_safetensors_type {
    const char *name;
    az_dtype dtype;
} az_safetensors_type;
const az_safetensors_type *az_safetensors_type_of(az_dtype dtype);

#endif
