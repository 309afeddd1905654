/* pv_layer.c - a linear layer of the model taken apart for tuning, and put together again. */
#include "compress/pv_tune.h"

bool az_pv_is_coded(const az_weight *w)
{
    return w->format == az_format_by_name("aq") || w->format == az_format_by_name("grid");
}

/* The weight with values of its own in f32, and codes of its own. */
static az_weight *own_code(az_ctx *az, const az_weight *w)
{
    az_tensor *parts[AZ_WEIGHT_PARTS] = {NULL};
    for (int i = 0; i < AZ_WEIGHT_PARTS && w->part[i]; i++)
        parts[i] = w->part[i]->dtype == AZ_F16 ? az_cast(az, w->part[i], AZ_F32) : az_copy(az, w->part[i]);
    return az_weight_from_parts(az, w->format, w->rows, w->cols, parts);
}

bool az_pv_open_layer(az_ctx *az, az_lm_linear *linear, az_pv_layer *out)
{
    *out = (az_pv_layer){.linear = linear, .given = linear->weight, .code = own_code(az, linear->weight)};
    az_weight *dense = out->code ? az_weight_dense(az, az_weight_decode(az, out->code)) : NULL;
    if (!dense) return false;
    az_pv_values(out->code, out->value);
    out->matrix = dense->part[0];
    linear->weight = dense;
    return true;
}

bool az_pv_close_layer(az_ctx *az, az_lm *lm, const az_pv_layer *layer)
{
    az_tensor *parts[AZ_WEIGHT_PARTS] = {NULL};
    az_arena_enter(az, lm->arena);
    for (int i = 0; i < AZ_WEIGHT_PARTS && layer->code->part[i]; i++) {
        const az_dtype type = layer->given->part[i]->dtype;
        parts[i] = type == layer->code->part[i]->dtype ? az_share(az, layer->code->part[i]) : az_cast(az, layer->code->part[i], type);
    }
    az_weight *tuned = az_weight_from_parts(az, layer->code->format, layer->code->rows, layer->code->cols, parts);
    az_arena_leave(az);
    if (tuned) layer->linear->weight = tuned;
    return tuned != NULL;
}
