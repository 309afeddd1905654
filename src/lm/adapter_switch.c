/* adapter_switch.c - one adapter's change for another's inside the weights, where they stand: for a process that serves many, one at a
 * time. A change of whole columns or rows (S2FT) touches those alone. */
#include "lm/adapter.h"

/* w += sign s B at the columns that the layer reads: B [out, rank]. */
static void add_columns(float *w, const az_adapter_layer *layer, float scale)
{
    const float *b = az_f32(layer->b);
    const int32_t *column = layer->from->data;
    for (int64_t r = 0; r < layer->out; r++)
        for (int64_t k = 0; k < layer->rank; k++) w[r * layer->in + column[k]] += scale * b[r * layer->rank + k];
}

/* w += sign s A at the rows that it is added to: A [rank, in]. */
static void add_rows(float *w, const az_adapter_layer *layer, float scale)
{
    const float *a = az_f32(layer->a);
    const int32_t *row = layer->to->data;
    for (int64_t k = 0; k < layer->rank; k++)
        for (int64_t c = 0; c < layer->in; c++) w[row[k] * layer->in + c] += scale * a[k * layer->in + c];
}

static bool add_change(az_ctx *az, az_tensor *w, const az_adapter_layer *layer, int sign)
{
    const float scale = (float)(sign * layer->scale);
    if (layer->from && !layer->e && az_f32(layer->b)) {
        add_columns(az_f32_mut(w), layer, scale);
    } else if (layer->to && !layer->e && az_f32(layer->a)) {
        add_rows(az_f32_mut(w), layer, scale);
    } else {
        az_scope_push(az);
        const az_tensor *delta = az_adapter_delta(az, layer);
        if (delta) az_add_into(az, w, delta, sign);
        az_scope_pop(az);
    }
    return az_ok(az);
}

/* The places of all changes [layers]; fails before anything is touched. */
static az_tensor **find_places(az_ctx *az, az_lm *lm, const az_adapter *adapter)
{
    az_lm_slot *slot;
    const int n = az_lm_slots(az, lm, &slot);
    az_tensor **place = az_alloc_array(az, (size_t)adapter->layers + 1, sizeof *place);
    if (!place || !az_adapter_check(az, adapter, lm)) return NULL;
    if (adapter->virtual_tokens > 0)
        return az_fail(az, AZ_BAD_INPUT, "virtual tokens are no part of the weights; use the adapter '%s' beside the model", adapter->name);
    for (int i = 0; i < adapter->layers; i++) {
        const az_adapter_layer *layer = &adapter->layer[i];
        const char *name = az_format_text(az, "%s.weight", layer->name);
        if (layer->magnitude || layer->bias || layer->b_bias || layer->weight || layer->gain)
            return az_fail(az, AZ_BAD_INPUT, "%s: magnitudes, biases and whole weights are not switched; merge the adapter", layer->name);
        for (int k = 0; name && k < n; k++)
            if (strcmp(slot[k].name, name) == 0 && slot[k].weight && az_weight_is_dense(*slot[k].weight))
                place[i] = (*slot[k].weight)->part[0];
        if (!place[i] || !az_f32_mut(place[i]))
            return az_fail(az, AZ_BAD_INPUT, "%s: only dense f32 weights are switched where they stand", layer->name);
    }
    return place;
}

bool az_adapter_switch(az_ctx *az, az_lm *lm, const az_adapter *out, const az_adapter *in)
{
    const az_adapter *const both[] = {out, in};
    az_tensor **place[2] = {NULL};
    if (!lm || !az_ok(az)) return false;
    az_scope_push(az);
    for (int k = 0; k < 2 && az_ok(az); k++) place[k] = both[k] ? find_places(az, lm, both[k]) : NULL;
    for (int k = 0; k < 2; k++)
        for (int i = 0; both[k] && i < both[k]->layers && az_ok(az); i++) add_change(az, place[k][i], &both[k]->layer[i], k ? 1 : -1);
    az_scope_pop(az);
    return az_ok(az);
}
