/* own.h - weights for whose format a container has no type: their parts are tensors of adze's own, and a list says which weights they are.
 *
 * Part "left" of the weight "blocks.3.attn.q.weight" is the tensor "adze.blocks.3.attn.q.weight.left". The list, the key "adze.weights" of
 * GGUF and the field "weights" of "adze" in config.json, has a line for each such weight: its name, its format, and the type of each part,
 * "blocks.3.attn.q.weight lowrank f16 f16". */
#ifndef ADZE_LM_OWN_H
#define ADZE_LM_OWN_H

#include "lm/files/gguf.h"
#include "lm/lm_internal.h"

typedef struct az_own_weight {
    const char *name; /* of the place in the model */
    const az_format *format;
    az_dtype dtype[AZ_WEIGHT_PARTS];
    bool placed; /* has been read */
} az_own_weight;
typedef struct az_own_weights {
    int64_t n;
    az_own_weight *item; /* sorted by name */
} az_own_weights;

/* The line for a weight, and the name of one of its parts. */
const char *az_own_line(az_ctx *az, const char *name, const az_weight *w);
const char *az_own_part_name(az_ctx *az, const char *name, const az_format *format, int part);

/* Reads one line; fails on formats and types that are not known. */
bool az_own_parse(az_ctx *az, az_text line, az_own_weight *out);
/* Sorts the entries for finding; fails on one that stands twice. */
bool az_own_sort(az_ctx *az, az_own_weights *all);
/* The entry of a place, NULL when it has none. */
az_own_weight *az_own_find(const az_own_weights *all, const char *name);
/* Whether a tensor of the container is a part of one of the weights. */
bool az_own_has_part(az_ctx *az, const az_own_weights *all, const char *tensor);
/* Finds a tensor of the container as one of this type; NULL when there is none, or with an error. */
typedef const az_tensor *(*az_own_finder)(az_ctx *az, const char *name, az_dtype dtype, const void *container);
/* Reads a weight into its place. */
bool az_own_attach(az_ctx *az, az_lm *lm, const az_lm_slot *slot, az_own_weight *own, az_own_finder find, const void *container);
/* Fails on entries that no place of the model has taken. */
bool az_own_complete(az_ctx *az, const az_own_weights *all);

#endif
