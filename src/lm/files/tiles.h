/* tiles.h - the rows of a place that a writer encodes at a time, so that its memory does not grow with the matrix. */
#ifndef ADZE_LM_TILES_H
#define ADZE_LM_TILES_H

#include "lm/lm_internal.h"

typedef struct az_lm_tile {
    int64_t first, n;
} az_lm_tile;

enum { AZ_TILE_VALUES = 1 << 20 }; /* about, unless a head or a row has more */

/* Whole heads; all rows of the place when `whole`. */
static inline az_lm_tile az_lm_first_tile(const az_lm *lm, const az_lm_slot *slot, bool whole)
{
    const int64_t unit = az_lm_has_rope_rows(slot) ? lm->config.head_dim : 1, units = AZ_TILE_VALUES / (unit * slot->cols);
    const int64_t fitting = unit * (units > 0 ? units : 1);
    return (az_lm_tile){.n = whole || fitting > slot->rows ? slot->rows : fitting};
}

/* n = 0 after the last. */
static inline az_lm_tile az_lm_next_tile(const az_lm_slot *slot, az_lm_tile tile)
{
    const int64_t first = tile.first + tile.n, left = slot->rows - first;
    return (az_lm_tile){.first = first, .n = tile.n < left ? tile.n : left};
}

/* Adds to an error where it happened; returns false. */
static inline bool az_lm_fail_tile(az_ctx *az, const az_lm_slot *slot, az_lm_tile tile)
{
    if (tile.n == slot->rows)
        az_fail_context(az, "writing '%s'", slot->name);
    else
        az_fail_context(az, "writing '%s', counted from row %lld", slot->name, (long long)tile.first);
    return false;
}

#endif
