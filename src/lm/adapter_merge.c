/* adapter_merge.c - an adapter's change inside the weights themselves, in whatever format they are.
 *
 * All new weights are made first and put into their places only when every one is finite, so a model is changed whole or not at all. */
#include "lm/adapter.h"

#include <math.h>
#include <string.h>

/* A pruned matrix has at least this share of zeros; rounding alone makes fewer. */
static const double PRUNED = 0.25;

typedef struct az_merged {
    const az_adapter_layer *layer;
    az_lm_slot *weight_slot, *bias_slot;
    az_weight *weight;          /* NULL = stays */
    az_tensor *gain, *bias;     /* NULL = stays */
    double change;              /* norm of what was to change, relative to the weight */
    double kept, cosine, error; /* how much of that is in the new weight */
    bool reencoded;             /* the format has no way back, so the weight became f32 */
} az_merged;

/* ---- the change ---- */

/* W decoded, f64 for an f64 matrix. */
static az_tensor *values_of(az_ctx *az, const az_weight *w)
{
    return w->part[0]->dtype == AZ_F64 && az_weight_is_dense(w) ? az_copy(az, w->part[0]) : az_weight_decode(az, w);
}

static az_tensor *column(az_ctx *az, const az_tensor *x)
{
    return az_reshape(az, x, 2, (const int64_t[]){-1, 1});
}

/* W' of merging (sign 1) or of taking out again (sign -1), for W in full. */
static az_tensor *changed(az_ctx *az, const az_adapter_layer *layer, const az_tensor *w, int sign)
{
    az_tensor *delta = layer->a ? az_adapter_delta(az, layer) : NULL, *v;
    if (sign > 0) {
        v = delta ? az_add(az, w, delta) : az_copy(az, w);
        if (!layer->magnitude) return v;
        az_tensor *norm = az_sqrt(az, az_sum(az, az_square(az, v), -1, true));
        return az_mul(az, v, az_div(az, column(az, layer->magnitude), norm));
    }
    v = az_copy(az, w);
    if (layer->magnitude) v = az_mul(az, v, az_div(az, column(az, layer->row_norm), column(az, layer->magnitude)));
    return delta ? az_sub(az, v, delta) : v;
}

static double dot(az_ctx *az, const az_tensor *x, const az_tensor *y)
{
    return az_to_double(az_sum(az, az_mul(az, x, y), AZ_ALL_AXES, false));
}

static double squared(az_ctx *az, const az_tensor *x)
{
    return x ? az_to_double(az_sum(az, az_square(az, x), AZ_ALL_AXES, false)) : 0;
}

/* ---- formats ---- */

static bool is_sparse_format(const az_format *format)
{
    static const char *const family[] = {"nm_", "bitmap_", "csl_"};
    for (size_t i = 0; i < sizeof family / sizeof *family; i++)
        if (strncmp(format->name, family[i], strlen(family[i])) == 0) return true;
    return false;
}

static az_weight *encode_like(az_ctx *az, const az_weight *like, az_tensor *dense, az_merged *out)
{
    if (az_weight_is_dense(like)) {
        const az_dtype dtype = like->part[0]->dtype;
        return az_weight_dense(az, dense && dense->dtype != dtype ? az_cast(az, dense, dtype) : dense);
    }
    az_weight *w = az_weight_dense(az, dense);
    out->reencoded = !az_weight_encodes_as(like);
    return out->reencoded ? w : az_weight_encode_as(az, w, like);
}

/* U V + s B E A = [U, s B E] [V; A]; with a magnitude the rows of the left factor are scaled. Factors keep their formats where they can. */
static az_weight *merge_low_rank(az_ctx *az, const az_adapter_layer *layer, const az_weight *w)
{
    az_weight u, v;
    if (!az_weight_factors(w, &u, &v)) return NULL;
    az_tensor *left = values_of(az, &u), *right = values_of(az, &v);
    if (layer->a) {
        az_tensor *b = az_affine(az, layer->e ? az_mul(az, layer->b, layer->e) : layer->b, layer->scale, 0);
        left = az_concat(az, (az_tensor *[]){left, b}, 2, 1);
        right = az_concat(az, (az_tensor *[]){right, layer->a}, 2, 0);
    }
    if (layer->magnitude) left = az_mul(az, left, column(az, az_div(az, layer->magnitude, az_adapter_row_norm(az, w, layer))));
    const az_format *f32 = az_format_by_name("f32");
    const bool fits = left && az_format_encodes(u.format) && left->shape[1] % (u.format->block > 0 ? u.format->block : 1) == 0;
    az_weight *wide = az_weight_encode(az, az_weight_dense(az, left), fits ? u.format : f32, NULL);
    az_weight *tall = az_weight_encode(az, az_weight_dense(az, right), az_format_encodes(v.format) ? v.format : f32, NULL);
    return az_weight_lowrank(az, wide, tall);
}

/* What is left of the change `wanted` in the new weight as its format holds it. */
static bool measure(az_ctx *az, const az_tensor *before, const az_tensor *wanted, az_merged *out)
{
    const az_tensor *came = az_sub(az, values_of(az, out->weight), before);
    const double size = squared(az, wanted), got = squared(az, came);
    if (!az_ok(az) || size == 0) return az_ok(az);
    out->error = sqrt(squared(az, az_sub(az, came, wanted)) / size);
    out->kept = fmax(0, 1 - out->error * out->error);
    out->cosine = got > 0 ? dot(az, came, wanted) / sqrt(got * size) : 0;
    return az_ok(az);
}

/* The new weight of a layer with a low-rank term or a magnitude. */
static bool change_weight(az_ctx *az, const az_weight *w, int sign, az_merged *out)
{
    az_tensor *before = values_of(az, w), *after = changed(az, out->layer, before, sign);
    if (!after) return false;
    if (az_first_nonfinite(after) >= 0) return az_fail(az, AZ_NUMERIC, "the changed weight is not finite");
    const az_tensor *wanted = az_sub(az, after, before);
    out->change = sqrt(squared(az, wanted) / fmax(squared(az, before), 1e-300));
    if (sign > 0 && az_weight_rank(w) > 0) {
        out->weight = merge_low_rank(az, out->layer, w);
        return out->weight && measure(az, before, wanted, out);
    }
    if (is_sparse_format(w->format) || az_weight_sparsity(az, w) >= PRUNED) {
        const az_tensor *mask = az_mask_of(az, w);
        az_weight *masked = az_mask_apply(az, az_weight_dense(az, after), mask);
        after = masked ? masked->part[0] : NULL;
    }
    out->weight = encode_like(az, w, after, out);
    return out->weight && measure(az, before, wanted, out);
}

/* ---- a layer ---- */

static const az_tensor *bias_after(az_ctx *az, const az_merged *m, int sign)
{
    const az_adapter_layer *layer = m->layer;
    const az_tensor *bias = layer->bias ? layer->bias : m->bias_slot ? *m->bias_slot->vector : NULL;
    if (!layer->b_bias) return bias;
    if (!bias)
        return az_fail(az, AZ_BAD_INPUT,
                       "the adapter's B has a bias, but the layer has none to add it to; such an adapter cannot be merged");
    return az_add(az, bias, az_affine(az, layer->b_bias, sign * layer->scale, 0));
}

static bool merge_layer(az_ctx *az, int sign, az_merged *m)
{
    const az_adapter_layer *layer = m->layer;
    if (sign < 0 && (layer->weight || layer->bias || layer->gain))
        return az_fail(az, AZ_BAD_INPUT,
                       "it was replaced whole, and what it was is not in the adapter; keep the model from before the merge");
    if (sign < 0 && layer->magnitude && !layer->row_norm)
        return az_fail(az, AZ_BAD_INPUT, "the norms that DoRA divided by are not known any more; keep the model from before the merge");
    const az_weight *w = layer->weight ? layer->weight : m->weight_slot->weight ? *m->weight_slot->weight : NULL;
    if (sign < 0 && w && !az_weight_is_dense(w))
        return az_fail(az, AZ_BAD_INPUT, "only dense weights can be unmerged; this one is stored as %s", w->format->name);
    m->kept = m->cosine = 1;
    if (layer->a || layer->magnitude) {
        if (!change_weight(az, w, sign, m)) return false;
    } else if (layer->weight) {
        m->weight = layer->weight;
    }
    m->gain = layer->gain;
    if (layer->bias || layer->b_bias) m->bias = (az_tensor *)(uintptr_t)bias_after(az, m, sign);
    return az_ok(az);
}

static az_lm_slot *slot_named(az_ctx *az, az_lm_slot *slot, int n, const char *layer, const char *ending)
{
    const char *name = az_format_text(az, "%s.%s", layer, ending);
    for (int i = 0; name && i < n; i++)
        if (strcmp(slot[i].name, name) == 0) return &slot[i];
    return NULL;
}

/* The head of a model whose head and embedding are one gets its own before one of them changes. */
static bool put(az_ctx *az, az_lm *lm, const az_merged *m)
{
    const bool table_or_head = az_adapter_is_table(m->layer->name) || strcmp(m->layer->name, "head") == 0;
    if (lm->config.tied && table_or_head && m->weight) {
        az_arena_enter(az, lm->arena);
        lm->head.weight = az_weight_share(az, lm->embedding);
        az_arena_leave(az);
        lm->config.tied = false;
    }
    if (m->weight && !az_lm_attach_weight(az, lm, m->weight_slot, m->weight)) return false;
    if (m->gain && !az_lm_attach_vector(az, lm, m->weight_slot, az_copy(az, m->gain))) return false;
    if (m->bias && m->bias_slot) return az_lm_attach_vector(az, lm, m->bias_slot, az_copy(az, m->bias));
    if (m->bias) return az_fail(az, AZ_BAD_INPUT, "'%s' of this architecture has no bias", m->layer->name);
    return true;
}

static void report_layer(az_report *report, const az_merged *m)
{
    az_report_row(report, "merge");
    az_report_text(report, "layer", m->layer->name);
    az_report_count(report, "rank", m->layer->rank);
    az_report_text(report, "format", m->weight_slot->weight ? (*m->weight_slot->weight)->format->name : "norm");
    az_report_number(report, "change", m->change, "");
    az_report_number(report, "kept", m->kept, "");
    az_report_number(report, "cosine", m->cosine, "");
    az_report_number(report, "error", m->error, "");
}

/* One remark on the matrices that took up less than half of the change. */
static void note_losses(az_ctx *az, const az_merged *merged, int n)
{
    const az_merged *worst = NULL;
    int lost = 0;
    for (int i = 0; i < n; i++) {
        if (merged[i].kept >= 0.5) continue;
        if (!worst || merged[i].kept < worst->kept) worst = &merged[i];
        lost++;
    }
    if (lost > 0)
        az_note(
            az,
            "%d of %d matrices keep less than half of the change (least: %s, %.0f %%, stored as %s): leave the adapter beside the model "
            "(--adapter), or merge it into dense weights and compress those anew, with calibration",
            lost, n, worst->layer->name, 100 * worst->kept, worst->weight->format->name);
}

static bool merge(az_ctx *az, az_lm *lm, const az_adapter *adapter, int sign, az_report *report)
{
    az_lm_slot *slot;
    const int n = az_lm_slots(az, lm, &slot);
    az_merged *merged = az_alloc_array(az, (size_t)adapter->layers, sizeof *merged);
    int reencoded = 0;
    for (int i = 0; merged && i < adapter->layers && az_ok(az); i++) {
        az_merged *m = &merged[i];
        *m = (az_merged){.layer = &adapter->layer[i],
                         .weight_slot = slot_named(az, slot, n, adapter->layer[i].name, "weight"),
                         .bias_slot = slot_named(az, slot, n, adapter->layer[i].name, "bias")};
        if (!merge_layer(az, sign, m)) az_fail_context(az, "%s", m->layer->name);
        reencoded += m->reencoded;
    }
    for (int i = 0; merged && i < adapter->layers && az_ok(az); i++)
        if (put(az, lm, &merged[i])) report_layer(report, &merged[i]);
    if (merged && az_ok(az)) note_losses(az, merged, adapter->layers);
    if (reencoded > 0 && az_ok(az)) az_note(az, "%d layers are of formats that cannot be made again here: they are f32 now", reencoded);
    return az_ok(az);
}

static bool merge_checked(az_ctx *az, az_lm *lm, const az_adapter *adapter, int sign, az_report *report)
{
    if (!lm || !adapter || !az_adapter_check(az, adapter, lm)) return false;
    if (adapter->virtual_tokens > 0)
        return az_fail(az, AZ_BAD_INPUT,
                       "virtual tokens are no part of the weights and cannot be merged; use the adapter beside the model");
    az_scope_push(az);
    const bool good = merge(az, lm, adapter, sign, report);
    az_scope_pop(az);
    return good;
}

bool az_adapter_merge(az_ctx *az, az_lm *lm, const az_adapter *adapter, az_report *report)
{
    return merge_checked(az, lm, adapter, 1, report);
}

bool az_adapter_unmerge(az_ctx *az, az_lm *lm, const az_adapter *adapter, az_report *report)
{
    return merge_checked(az, lm, adapter, -1, report);
}
