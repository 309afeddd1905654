/* eva_ranks.c - ranks by explained variance. */
#include "tune/eva.h"

#include <stdlib.h>

typedef struct direction {
    double share;
    int layer;
    int64_t place; /* among all */
} direction;

static int by_share(const void *a, const void *b)
{
    const direction *x = a, *y = b;
    if (x->share != y->share) return x->share > y->share ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

bool az_eva_ranks(az_ctx *az, const az_eva_layer *layer, int n, int64_t budget, int64_t *rank)
{
    int64_t all = 0, at = 0;
    for (int i = 0; i < n; i++) all += layer[i].directions;
    az_scope_push(az);
    direction *pool = az_alloc_array(az, (size_t)all, sizeof *pool);
    for (int i = 0; pool && i < n; i++) {
        rank[i] = 0;
        for (int64_t k = 0; k < layer[i].directions; k++, at++) pool[at] = (direction){layer[i].share[k], i, at};
    }
    if (pool) qsort(pool, (size_t)all, sizeof *pool, by_share);
    for (int64_t k = 0; pool && k < budget && k < all; k++) rank[pool[k].layer]++;
    az_scope_pop(az);
    return az_ok(az);
}
