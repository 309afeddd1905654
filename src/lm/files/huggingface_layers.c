/* huggingface_layers.c - what config.json says block by block: which have a sliding window, and which rotary embedding. */
#include "lm/files/huggingface.h"

#include <string.h>

/* ---- reading ---- */

/* Entry b of "layer_types": 1 with the window, 0 without, -1 something else. */
static int kind_of_layer(const json_t *types, int b)
{
    const char *type = json_string_value(json_array_get(types, (size_t)b));
    if (type && strcmp(type, "sliding_attention") == 0) return 1;
    return type && strcmp(type, "full_attention") == 0 ? 0 : -1;
}

static bool read_layer_types(az_ctx *az, const json_t *types, az_lm *lm, bool *windowed)
{
    const int64_t blocks = lm->config.blocks;
    if (json_array_size(types) != (size_t)blocks)
        return az_fail(az, AZ_BAD_INPUT, "\"layer_types\" has %zu entries for %lld layers", json_array_size(types), (long long)blocks);
    for (int b = 0; b < blocks; b++) {
        const int kind = kind_of_layer(types, b);
        if (kind < 0)
            return az_fail(az, AZ_BAD_INPUT, "\"layer_types\" of layer %d is neither \"full_attention\" nor \"sliding_attention\"", b);
        windowed[b] = kind == 1;
    }
    return true;
}

/* By the types of the layers, the first layer that has the window, or the layers that do not turn. */
static bool read_windowed(az_ctx *az, const az_lm_family *family, const json_t *json, az_lm *lm, bool *windowed)
{
    const json_t *types = json_object_get(json, "layer_types"), *said = json_object_get(json, "max_window_layers");
    if (json_is_array(types)) return read_layer_types(az, types, lm, windowed);
    if (said && !json_is_integer(said)) return az_fail(az, AZ_BAD_INPUT, "\"max_window_layers\" is not an integer");
    const int64_t first = said ? json_integer_value(said) : family->window_first;
    for (int b = 0; b < lm->config.blocks; b++)
        windowed[b] = family->window_first ? b >= first : family->window_unturned ? !lm->block[b].turned : lm->block[b].windowed;
    return true;
}

/* A list of 1 (rotary embedding) and 0, at least as long as there are layers. */
static bool read_turned(az_ctx *az, const az_lm_family *family, const json_t *json, az_lm *lm)
{
    const json_t *list = family->keys->unturned ? json_object_get(json, family->keys->unturned) : NULL;
    if (!json_is_array(list)) return true;
    for (int b = 0; b < lm->config.blocks; b++) {
        const json_t *entry = json_array_get(list, (size_t)b);
        if (!json_is_integer(entry) && !json_is_boolean(entry))
            return az_fail(az, AZ_BAD_INPUT, "\"%s\" has no 0 or 1 for layer %d", family->keys->unturned, b);
        lm->block[b].turned = json_is_true(entry) || json_integer_value(entry) != 0;
    }
    return true;
}

bool az_lm_layers_from_json(az_ctx *az, const az_lm_family *family, const json_t *json, az_lm *lm)
{
    const int64_t blocks = lm->config.blocks;
    bool *windowed = az_alloc_array(az, (size_t)blocks, sizeof *windowed);
    if (!windowed || !read_turned(az, family, json, lm)) return false;
    if (lm->config.window == 0) return true;
    if (!read_windowed(az, family, json, lm, windowed)) return false;
    const int64_t period = az_lm_period_of(windowed, blocks);
    if (period == 1 && lm->arch->window_pattern == 0) lm->config.window = 0; /* none has it */
    if (period != 0) lm->config.window_pattern = period == INT32_MAX && lm->arch->window_pattern == 0 ? 0 : period;
    for (int b = 0; b < blocks; b++) lm->block[b].windowed = windowed[b];
    return true;
}

/* ---- writing ---- */

/* Types are written where not all layers have the window, or where the family always tells. */
static void put_layer_types(const az_lm_family *family, const az_lm *lm, json_t *json)
{
    int windowed = 0;
    for (int b = 0; b < lm->config.blocks; b++) windowed += lm->block[b].windowed;
    if (family->window_first && lm->config.window > 0)
        json_object_set_new(json, "max_window_layers", json_integer(lm->config.blocks - windowed));
    const bool plain = lm->arch->window_pattern == 0 && !family->window_unturned;
    if (lm->config.window == 0 ? lm->arch->window_pattern == 0 : plain && windowed == lm->config.blocks) return;
    json_t *types = json_array();
    for (int b = 0; b < lm->config.blocks; b++)
        json_array_append_new(types, json_string(lm->block[b].windowed ? "sliding_attention" : "full_attention"));
    json_object_set_new(json, "layer_types", types);
}

void az_lm_layers_to_json(const az_lm_family *family, const az_lm *lm, json_t *json)
{
    if (family->window) put_layer_types(family, lm, json);
    if (!family->keys->unturned) return;
    json_t *list = json_array();
    for (int b = 0; b < lm->config.blocks; b++) json_array_append_new(list, json_integer(lm->block[b].turned));
    json_object_set_new(json, family->keys->unturned, list);
    if (lm->config.rope_pattern > 0) json_object_set_new(json, family->keys->rope_pattern, json_integer(lm->config.rope_pattern));
}
