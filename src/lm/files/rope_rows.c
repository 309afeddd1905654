/* rope_rows.c - the two orders of the rows of q and k under rotary embedding.
 *
 * Of r turned dimensions of a head, halves turn i with i + r/2, pairs turn 2i with 2i + 1. Moving row i + s r/2 to row 2i + s (s = 0, 1)
 * makes one out of the other without any change to the scores q . k. */
#include "lm/lm_internal.h"

const az_tensor *az_lm_reorder_rows(az_ctx *az, const az_lm *lm, const az_lm_slot *slot, const az_tensor *rows)
{
    if (!rows || !az_lm_has_rope_rows(slot)) return rows;
    const int64_t dim = lm->config.head_dim, cols = rows->rank == 2 ? rows->shape[1] : 1;
    if (lm->config.rope_dims != dim)
        return az_fail(az, AZ_BAD_INPUT, "'%s': a head that turns %lld of its %lld dimensions cannot change their order; write %s instead",
                       slot->name, (long long)lm->config.rope_dims, (long long)dim,
                       az_lm_arch_reorders_gguf(lm->arch) ? "a folder" : "a .gguf file");
    const bool halves = lm->arch->position == AZ_POSITION_ROPE_HALVES;
    const int64_t split[] = {rows->shape[0] / dim, halves ? 2 : dim / 2, halves ? dim / 2 : 2, cols};
    const az_tensor *x = az_reshape(az, rows, 4, split);
    x = az_contiguous(az, az_permute(az, x, (const int[]){0, 2, 1, 3}));
    return az_reshape(az, x, rows->rank, rows->shape);
}
