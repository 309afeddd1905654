/* eva_file.c - the rows with which adapters begin, as a file to be used again. */
#include "tune/eva.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX "base_model.model."

static int by_name(const void *a, const void *b)
{
    return strcmp(((const az_named_tensor *)a)->name, ((const az_named_tensor *)b)->name);
}

/* The name of a layer's tensor. */
static const char *tensor_name(az_ctx *az, const az_lm *lm, const char *layer)
{
    const char *module = az_lm_module(az, lm, layer);
    if (!module && az_ok(az)) return az_fail(az, AZ_BAD_INPUT, "%s has no name in Hugging Face's layout", layer);
    return module ? az_format_text(az, PREFIX "%s", module) : NULL;
}

bool az_eva_write(az_ctx *az, const az_lm *lm, const char *path, const az_eva_start *start, int n)
{
    az_scope_push(az);
    az_named_tensor *item = az_alloc_array(az, (size_t)n, sizeof *item);
    for (int i = 0; item && i < n; i++) {
        const az_tensor *a = start[i].a ? az_contiguous(az, az_cast(az, start[i].a, AZ_F32)) : az_new2(az, AZ_F32, 0, start[i].in);
        item[i] = (az_named_tensor){.name = tensor_name(az, lm, start[i].layer), .value = a};
        if (!az_ok(az)) item = NULL;
    }
    if (item) qsort(item, (size_t)n, sizeof *item, by_name);
    az_safetensors_writer *writer = item ? az_safetensors_create(az, path) : NULL;
    for (int i = 0; writer && i < n; i++)
        if (!az_safetensors_declare(writer, item[i].name, AZ_F32, 2, item[i].value->shape)) break;
    for (int i = 0; writer && i < n; i++)
        if (!az_safetensors_write(writer, item[i].value)) break;
    const bool good = writer && az_safetensors_commit(writer);
    az_scope_pop(az);
    return good;
}

/* One layer's rows; true without them when the file has none. */
static bool read_layer(az_ctx *az, const az_lm *lm, const az_safetensors *file, az_eva_start *start)
{
    const char *name = tensor_name(az, lm, start->layer);
    if (!name) return false;
    const az_tensor *x = az_safetensors_find(file, name);
    if (!x) x = az_safetensors_find(file, name + strlen(PREFIX));
    if (!x) return true;
    if (x->rank != 2 || x->shape[1] != start->in)
        return az_fail(az, AZ_BAD_INPUT, "'%s' has the shape %s; %s reads %lld features", name, az_shape_text(az, x), start->layer,
                       (long long)start->in);
    if (az_first_nonfinite(x) >= 0) return az_fail(az, AZ_NUMERIC, "'%s' has values that are not finite", name);
    start->rank = x->shape[0];
    start->a = az_cast(az, x, AZ_F32);
    return start->a != NULL;
}

bool az_eva_read(az_ctx *az, const az_lm *lm, const char *path, az_eva_start *start, int n)
{
    const az_safetensors *file = az_safetensors_read(az, path);
    int found = 0;
    for (int i = 0; file && i < n; i++) {
        if (!read_layer(az, lm, file, &start[i])) break;
        found += start[i].a != NULL;
    }
    if (az_ok(az) && found == 0) az_fail(az, AZ_BAD_INPUT, "no tensor belongs to a layer that is tuned");
    az_fail_context(az, "'%s'", path);
    return az_ok(az);
}
