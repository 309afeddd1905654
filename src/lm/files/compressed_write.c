/* compressed_write.c - weights and config.json in the compressed-tensors convention. */
#include "lm/files/compressed.h"

#include <string.h>

enum { GROUP = 32 };

/* A pattern that keeps half of every two inputs, or two of every four, is 2:4. */
static bool is_two_of_four(const az_weight *w)
{
    const az_tensor *values = w->part[0]; /* [rows, groups, n] */
    const int64_t m = w->cols / values->shape[1];
    return w->cols % 4 == 0 && (m == 2 || m == 4) && 2 * values->shape[2] == m;
}

az_compressed_form az_compressed_form_of(const az_format *format, const az_weight *w)
{
    const int bits = az_format_level_bits(format);
    if (bits > 0)
        return (az_compressed_form){
            .format = "pack-quantized",
            .bits = bits,
            .shape_name = "weight_shape",
            .shape_rank = 1,
            .part = {{"weight_packed", AZ_I32, (w->cols * bits + 31) / 32}, {"weight_scale", AZ_F16, w->cols / GROUP}}};
    const bool kept = strcmp(format->name, "nm_f16") == 0 || strcmp(format->name, "nm_bf16") == 0;
    if (!kept || w->format != format || !is_two_of_four(w)) return (az_compressed_form){0};
    return (az_compressed_form){.format = "sparse-24-bitmask",
                                .shape_name = "shape",
                                .shape_rank = 2,
                                .part = {{"compressed", w->part[0]->dtype, w->cols / 2}, {"bitmask", AZ_U8, (w->cols + 7) / 8}}};
}

bool az_compressed_same(const az_compressed_form *a, const az_compressed_form *b)
{
    return a->format && b->format && strcmp(a->format, b->format) == 0 && a->bits == b->bits && a->part[0].dtype == b->part[0].dtype &&
           a->part[0].width == b->part[0].width;
}

/* Numbers of so many bits, raised above zero, one after the other in words of 32. */
static void pack_row(const int8_t *value, int64_t n, int bits, uint32_t *to)
{
    uint64_t waiting = 0; /* bits that have not been written */
    int held = 0;
    for (int64_t i = 0; i < n; i++) {
        waiting |= (uint64_t)(value[i] + (1 << (bits - 1))) << held;
        held += bits;
        if (held < 32) continue;
        *to++ = (uint32_t)waiting;
        waiting >>= 32;
        held -= 32;
    }
    if (held > 0) *to = (uint32_t)waiting;
}

static const az_tensor *pack_rows(az_ctx *az, const az_tensor *level, int bits)
{
    const int64_t rows = level->shape[0], cols = level->shape[1], words = (cols * bits + 31) / 32;
    az_tensor *packed = az_zeros(az, AZ_I32, 2, (const int64_t[]){rows, words});
    if (!packed) return NULL;
    const int8_t *value = level->data;
    uint32_t *to = packed->data;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t r = 0; r < rows; r++) pack_row(value + r * cols, cols, bits, to + r * words);
    return packed;
}

const az_tensor *az_compressed_part_of(az_ctx *az, const az_weight *w, const az_compressed_form *form, int number)
{
    if (!w) return NULL;
    const int64_t shape[] = {w->rows, form->part[number].width};
    if (form->bits == 0) return az_reshape(az, w->part[number], 2, shape);
    az_tensor *level, *scale;
    if (!az_weight_levels(az, w, &level, &scale)) return NULL;
    return number == 0 ? pack_rows(az, level, form->bits) : scale;
}

/* ---- config.json ---- */

az_compressed_config az_compressed_config_new(void)
{
    return (az_compressed_config){.groups = json_object(), .ignore = json_array(), .sparse = json_array(), .dense = json_array()};
}

void az_compressed_config_free(az_compressed_config *config)
{
    json_decref(config->groups);
    json_decref(config->ignore);
    json_decref(config->sparse);
    json_decref(config->dense);
}

static json_t *new_group(const az_compressed_form *form)
{
    json_t *weights = json_pack("{s:i, s:s, s:b, s:s, s:i, s:b, s:n, s:n}", "num_bits", form->bits, "type", "int", "symmetric", 1,
                                "strategy", "group", "group_size", (int)GROUP, "dynamic", 0, "actorder", "block_structure");
    return json_pack("{s:[], s:o, s:n, s:n, s:s}", "targets", "weights", weights, "input_activations", "output_activations", "format",
                     form->format);
}

void az_compressed_config_add(az_compressed_config *config, const char *module, const az_compressed_form *form)
{
    const bool quantized = form->format && form->bits > 0, sparse = form->format && form->bits == 0;
    if (!quantized) json_array_append_new(config->ignore, json_string(module));
    json_array_append_new(sparse ? config->sparse : config->dense, json_string(module));
    if (!quantized) return;
    char name[32];
    snprintf(name, sizeof name, "group_%dbit", form->bits);
    json_t *group = json_object_get(config->groups, name);
    if (!group) json_object_set_new(config->groups, name, group = new_group(form));
    json_array_append_new(json_object_get(group, "targets"), json_string(module));
}

json_t *az_compressed_config_to_json(const az_compressed_config *config)
{
    const bool quantized = json_object_size(config->groups) > 0, sparse = json_array_size(config->sparse) > 0;
    if (!quantized && !sparse) return NULL;
    json_t *json = json_pack("{s:s, s:s, s:s, s:O, s:O, s:n, s:n}", "quant_method", "compressed-tensors", "format",
                             quantized ? "pack-quantized" : "dense", "quantization_status", "compressed", "config_groups", config->groups,
                             "ignore", config->ignore, "kv_cache_scheme", "global_compression_ratio");
    if (sparse)
        json_object_set_new(json, "sparsity_config",
                            json_pack("{s:s, s:s, s:O, s:O}", "format", "sparse-24-bitmask", "sparsity_structure", "2:4", "targets",
                                      config->sparse, "ignore", config->dense));
    return json;
}
