/* permute.c - heads and channels of a block in another order on both of their sides, which leaves the block's function as it is. */
#include "lm/lm_internal.h"

#include <string.h>

static bool check_order(az_ctx *az, const int32_t *order, int64_t n, const char *what)
{
    bool *seen = az_alloc_array(az, (size_t)n, sizeof *seen);
    for (int64_t i = 0; seen && i < n; i++) {
        if (order[i] < 0 || order[i] >= n || seen[order[i]])
            return az_fail(az, AZ_BAD_CALL, "an order of %lld %s has %d at place %lld", (long long)n, what, order[i], (long long)i);
        seen[order[i]] = true;
    }
    return seen != NULL;
}

/* Every unit of `width` rows as an index of rows. */
static az_tensor *rows_index(az_ctx *az, const int32_t *order, int64_t n, int64_t width)
{
    az_tensor *index = az_new1(az, AZ_I32, n * width);
    for (int64_t i = 0; index && i < n * width; i++) ((int32_t *)index->data)[i] = (int32_t)(order[i / width] * width + i % width);
    return index;
}

static bool is_plain(az_ctx *az, const az_lm_linear *linear)
{
    if (!linear->weight || az_weight_is_dense(linear->weight)) return true;
    return az_fail(az, AZ_BAD_INPUT, "%s is stored as %s; only dense weights can be reordered", linear->name, linear->weight->format->name);
}

static az_tensor *columns(az_ctx *az, const az_tensor *w, const az_tensor *index)
{
    const az_tensor *turned = az_contiguous(az, az_transpose(az, w));
    return az_contiguous(az, az_transpose(az, az_gather(az, turned, index)));
}

/* Rows (and bias) of a layer, or its columns, by index; in the model's arena. */
static bool reorder(az_ctx *az, az_lm *lm, az_lm_linear *linear, const az_tensor *index, bool rows)
{
    if (!linear->weight) return true;
    az_arena_enter(az, lm->arena);
    const az_tensor *w = linear->weight->part[0];
    linear->weight = az_weight_dense(az, rows ? az_gather(az, w, index) : columns(az, w, index));
    if (rows && linear->bias) linear->bias = az_gather(az, linear->bias, index);
    az_arena_leave(az);
    return az_ok(az);
}

bool az_lm_permute_channels(az_ctx *az, az_lm *lm, int block, const int32_t *order)
{
    if (!lm || !az_ok(az)) return false;
    if (lm->config.experts > 0) return az_fail(az, AZ_BAD_INPUT, "channels of a mixture of experts belong to one expert each");
    az_lm_block *b = &lm->block[block];
    if (!check_order(az, order, lm->config.hidden, "channels") || !is_plain(az, &b->gate) || !is_plain(az, &b->up) ||
        !is_plain(az, &b->down))
        return false;
    az_scope_push(az);
    const az_tensor *index = rows_index(az, order, lm->config.hidden, 1);
    const bool good =
        index && reorder(az, lm, &b->gate, index, true) && reorder(az, lm, &b->up, index, true) && reorder(az, lm, &b->down, index, false);
    az_scope_pop(az);
    return good;
}

/* The weights of a norm by index; in the model's arena. */
static bool reorder_norm(az_ctx *az, az_lm *lm, az_lm_norm *norm, const az_tensor *index)
{
    az_arena_enter(az, lm->arena);
    if (norm->weight) norm->weight = az_gather(az, norm->weight, index);
    az_arena_leave(az);
    return az_ok(az);
}

/* Heads of queries follow those of the keys that they read; norms of q and k stay where all heads share them. */
bool az_lm_permute_heads(az_ctx *az, az_lm *lm, int block, const int32_t *order)
{
    if (!lm || !az_ok(az)) return false;
    const int64_t kv = lm->config.kv_heads, dim = lm->config.head_dim, group = lm->config.heads / kv;
    az_lm_block *b = &lm->block[block];
    if (lm->arch->position == AZ_POSITION_ALIBI)
        return az_fail(az, AZ_BAD_INPUT, "heads of %s look back by slopes of their own and cannot change places", lm->arch->name);
    if (!check_order(az, order, kv, "heads") || !is_plain(az, &b->q) || !is_plain(az, &b->k) || !is_plain(az, &b->v) ||
        !is_plain(az, &b->o))
        return false;
    az_scope_push(az);
    const az_tensor *narrow = rows_index(az, order, kv, dim), *wide = rows_index(az, order, kv, group * dim);
    const bool norms =
        !lm->arch->wide_qk_norm || (wide && reorder_norm(az, lm, &b->q_norm, wide) && reorder_norm(az, lm, &b->k_norm, narrow));
    const bool good = norms && narrow && wide && reorder(az, lm, &b->q, wide, true) && reorder(az, lm, &b->k, narrow, true) &&
                      reorder(az, lm, &b->v, narrow, true) && reorder(az, lm, &b->o, wide, false);
    az_scope_pop(az);
    return good;
}
