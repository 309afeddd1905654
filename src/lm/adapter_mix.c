/* adapter_mix.c - one adapter out of several: stacked, added up factor by factor, or cut back to a rank. */
#include "adze/linalg.h"
#include "lm/adapter.h"
#include "lm/adapter_targets.h"

#include <math.h>
#include <string.h>

/* What is put together for one layer. */
typedef struct az_mix {
    const az_adapter *const *adapter;
    const double *weight;
    int n;
} az_mix;

static az_tensor *b_with_e(az_ctx *az, const az_adapter_layer *layer)
{
    return layer->e ? az_mul(az, layer->b, layer->e) : layer->b;
}

/* Stacked factors: A [R, in] with weights and scales inside, B [out, R]; R is the sum of the ranks. Of the embedding A is [vocabulary, R].
 */
static bool stack(az_ctx *az, const az_mix *mix, const char *name, az_tensor **a, az_tensor **b)
{
    az_tensor **part_a = az_alloc_array(az, (size_t)mix->n, sizeof *part_a), **part_b = az_alloc_array(az, (size_t)mix->n, sizeof *part_b);
    int parts = 0;
    for (int i = 0; part_a && part_b && i < mix->n; i++) {
        const az_adapter_layer *layer = az_adapter_find(mix->adapter[i], name);
        if (!layer || !layer->a) continue;
        part_a[parts] = az_affine(az, layer->a, mix->weight[i] * layer->scale, 0);
        part_b[parts++] = b_with_e(az, layer);
    }
    if (parts == 0) return false;
    *a = az_concat(az, part_a, parts, az_adapter_is_table(name) ? 1 : 0);
    *b = az_concat(az, part_b, parts, 1);
    return *a && *b;
}

/* A = sum sign(w) sqrt|w s| A_i, B = sum sqrt|w s| B_i. */
static bool add_up(az_ctx *az, const az_mix *mix, const char *name, az_tensor **a, az_tensor **b)
{
    *a = *b = NULL;
    for (int i = 0; i < mix->n; i++) {
        const az_adapter_layer *layer = az_adapter_find(mix->adapter[i], name);
        if (!layer || !layer->a) continue;
        const double ws = mix->weight[i] * layer->scale, root = sqrt(fabs(ws));
        az_tensor *x = az_affine(az, layer->a, ws < 0 ? -root : root, 0), *y = az_affine(az, b_with_e(az, layer), root, 0);
        if (*a && !az_same_shape(*a, x))
            return az_fail(az, AZ_BAD_INPUT, "%s: linear needs equal ranks, these are %s and %s; use cat or svd", name,
                           az_shape_text(az, *a), az_shape_text(az, x));
        *a = *a ? az_add(az, *a, x) : x;
        *b = *b ? az_add(az, *b, y) : y;
    }
    return *a && *b;
}

/* The best change of `rank`: B A = (Qb Rb)(Qa Ra)^T, and the SVD of the small Rb Ra^T. */
static bool cut(az_ctx *az, int64_t rank, bool table, az_tensor **a, az_tensor **b)
{
    az_tensor *qa, *ra, *qb, *rb, *u, *s, *vt;
    az_tensor *at = table ? *a : az_contiguous(az, az_transpose(az, *a)); /* [in, R] */
    if (!az_qr(az, at, &qa, &ra) || !az_qr(az, *b, &qb, &rb)) return false;
    if (!az_svd(az, az_matmul_nt(az, rb, ra), &u, &s, &vt)) return false;
    const int64_t most = s->shape[0];
    if (rank > most) rank = most;
    az_tensor *root = az_sqrt(az, az_slice(az, s, 0, 0, rank));
    *b = az_mul(az, az_matmul(az, qb, az_slice(az, u, 1, 0, rank)), root);
    az_tensor *v = az_mul(az, az_transpose(az, az_slice(az, vt, 0, 0, rank)), root); /* [k, rank] */
    az_tensor *back = az_matmul(az, qa, v);                                          /* [in, rank] */
    *a = table ? back : az_contiguous(az, az_transpose(az, back));
    return *a && *b;
}

static int64_t largest_rank(const az_mix *mix, const char *name)
{
    int64_t rank = 0;
    for (int i = 0; i < mix->n; i++) {
        const az_adapter_layer *layer = az_adapter_find(mix->adapter[i], name);
        if (layer && layer->rank > rank) rank = layer->rank;
    }
    return rank;
}

static bool mix_layer(az_ctx *az, const az_lm *lm, const az_mix *mix, const char *name, az_adapter_mix how, int64_t rank, az_adapter *out)
{
    az_tensor *a = NULL, *b = NULL;
    if (largest_rank(mix, name) == 0 || az_adapter_find(out, name)) return true;
    if (!(how == AZ_MIX_LINEAR ? add_up : stack)(az, mix, name, &a, &b)) return false;
    const bool table = az_adapter_is_table(name);
    if (how == AZ_MIX_SVD && !cut(az, rank > 0 ? rank : largest_rank(mix, name), table, &a, &b)) return false;
    const int64_t r = b->shape[1];
    az_adapter_layer *layer = az_adapter_add_layer(az, lm, out, name, r, (double)r); /* scale 1 */
    if (!layer) return false;
    az_copy_into(az, layer->a, a);
    az_copy_into(az, layer->b, b);
    return az_ok(az);
}

static bool check(az_ctx *az, const az_lm *lm, const az_mix *mix)
{
    for (int i = 0; i < mix->n; i++) {
        const az_adapter *adapter = mix->adapter[i];
        if (!az_adapter_check(az, adapter, lm)) return false;
        if (!isfinite(mix->weight[i])) return az_fail(az, AZ_BAD_INPUT, "weight %d is not finite", i + 1);
        bool plain = adapter->virtual_tokens == 0;
        for (int k = 0; k < adapter->layers; k++) {
            const az_adapter_layer *l = &adapter->layer[k];
            plain = plain && !l->magnitude && !l->b_bias && !l->bias && !l->weight && !l->gain;
        }
        if (!plain)
            return az_fail(az, AZ_BAD_INPUT,
                           "adapter '%s' has more than low-rank terms (magnitudes, biases, whole weights or virtual tokens), "
                           "which cannot be added up",
                           adapter->name);
    }
    return true;
}

az_adapter *az_adapter_combine(az_ctx *az, const az_lm *lm, const az_adapter *const *adapter, const double *weight, int n,
                               az_adapter_mix how, int64_t rank)
{
    const az_mix mix = {.adapter = adapter, .weight = weight, .n = n};
    if (!lm || n < 1 || !az_ok(az) || !check(az, lm, &mix)) return NULL;
    az_adapter *out = az_adapter_empty(az, "combined", "LORA");
    az_target *target;
    az_scope_push(az);
    const int targets = az_target_list(az, lm, &target);
    for (int i = 0; out && i < targets && az_ok(az); i++) mix_layer(az, lm, &mix, target[i].name, how, rank, out);
    az_scope_pop(az);
    if (az_ok(az)) return out;
    az_adapter_free(az, out);
    return NULL;
}
