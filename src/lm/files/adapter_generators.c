/* adapter_generators.c - networks that make virtual tokens (IAPT) in adze's own kind of folder: sizes and choices in adapter_config.json,
 * tensors "iapt.<block>.down", "sa", "up", "act_a" and "act_b". A network that blocks share has the number of the first. */
#include "lm/files/adapter_files.h"

#include <string.h>

/* ---- the configuration ---- */

void az_generators_describe(const az_adapter *adapter, json_t *config)
{
    const az_generators *g = adapter->generators;
    json_t *activations = json_array(), *networks = json_array();
    for (int b = 0; b < g->blocks; b++) {
        json_array_append_new(activations, json_string(az_generator_activations[g->block[b].activation]));
        json_array_append_new(networks, json_integer(g->block[b].network));
    }
    json_object_set_new(config, "bottleneck", json_integer(g->m));
    json_object_set_new(config, "pooler", json_string(az_generator_poolers[g->pooler]));
    json_object_set_new(config, "normalize", json_boolean(g->normalize));
    json_object_set_new(config, "position", json_string(g->unrotated ? "none" : "text"));
    json_object_set_new(config, "activations", activations);
    json_object_set_new(config, "networks", networks);
}

/* Which of the list's words the value is. */
static bool read_word(az_ctx *az, const json_t *value, const char *key, const char *const *list, int *which)
{
    const char *word = json_string_value(value);
    for (*which = 0; word && list[*which]; ++*which)
        if (strcmp(list[*which], word) == 0) return true;
    return az_fail(az, AZ_BAD_INPUT, "\"%s\" is '%s', which is not known here", key, word ? word : "no word");
}

static bool read_blocks(az_ctx *az, const json_t *config, const az_lm *lm, az_generators *out)
{
    const json_t *activations = json_object_get(config, "activations"), *networks = json_object_get(config, "networks");
    const int64_t blocks = lm->config.blocks;
    if ((int64_t)json_array_size(activations) != blocks || (int64_t)json_array_size(networks) != blocks)
        return az_fail(az, AZ_BAD_INPUT, "\"activations\" and \"networks\" should have an entry for each of the model's %lld blocks",
                       (long long)blocks);
    out->block = az_alloc_array(az, (size_t)blocks, sizeof *out->block);
    out->blocks = (int)blocks;
    for (int b = 0; out->block && b < blocks; b++) {
        int activation;
        const json_t *network = json_array_get(networks, (size_t)b);
        if (!read_word(az, json_array_get(activations, (size_t)b), "activations", az_generator_activations, &activation)) return false;
        if (!json_is_integer(network) || json_integer_value(network) < -1 || json_integer_value(network) >= blocks)
            return az_fail(az, AZ_BAD_INPUT, "\"networks\" has an entry that is no number from -1 to %lld", (long long)blocks - 1);
        out->block[b] =
            (az_generator_block){.network = (int)json_integer_value(network), .activation = (az_generator_activation)activation};
    }
    return az_ok(az);
}

bool az_generators_read_config(az_ctx *az, const json_t *config, const az_lm *lm, az_generators *out)
{
    static const char *const positions[] = {"text", "none", NULL};
    int pooler, position;
    if (!read_word(az, json_object_get(config, "pooler"), "pooler", az_generator_poolers, &pooler) ||
        !read_word(az, json_object_get(config, "position"), "position", positions, &position))
        return false;
    *out = (az_generators){.m = json_integer_value(json_object_get(config, "bottleneck")),
                           .pooler = (az_generator_pooler)pooler,
                           .normalize = json_is_true(json_object_get(config, "normalize")),
                           .unrotated = position == 1};
    return read_blocks(az, config, lm, out);
}

/* ---- the tensors ---- */

int az_generator_tensors(az_ctx *az, const az_adapter *adapter, az_lm_parameter **tensors)
{
    static const char *const names[AZ_GENERATOR_TENSORS] = {"down", "sa", "up", "act_a", "act_b"};
    az_generators *g = adapter->generators;
    az_lm_parameter *list = az_alloc_array(az, AZ_GENERATOR_TENSORS * (size_t)g->blocks, sizeof *list);
    int n = 0;
    for (int b = 0; list && b < g->blocks; b++) {
        az_tensor **place[AZ_GENERATOR_TENSORS];
        az_generator_places(g, b, place);
        for (int k = az_generator_is_first(g, b) ? 0 : AZ_GENERATOR_NETWORK_TENSORS; k < AZ_GENERATOR_TENSORS; k++)
            if (place[k]) list[n++] = (az_lm_parameter){.name = az_format_text(az, "iapt.%d.%s", b, names[k]), .slot = place[k]};
    }
    *tensors = list;
    return az_ok(az) ? n : 0;
}

bool az_generator_sizes(az_ctx *az, const az_safetensors *file, const az_generators *how, int64_t virtual_tokens, const az_lm *lm)
{
    int first = 0;
    while (first < how->blocks && how->block[first].network < 0) first++;
    const char *name = az_format_text(az, "iapt.%d.down", first);
    const az_tensor *down = name ? az_safetensors_find(file, name) : NULL;
    if (!down) return az_fail(az, AZ_BAD_INPUT, "tensor '%s' is missing", name ? name : "");
    if (down->rank != 2 || down->shape[0] != lm->config.width || down->shape[1] != how->m)
        return az_fail(az, AZ_BAD_INPUT, "'%s' has the shape %s; for this model and configuration it should be [%lld, %lld]", name,
                       az_shape_text(az, down), (long long)lm->config.width, (long long)how->m);
    if (virtual_tokens >= 1 && virtual_tokens < lm->config.context) return true;
    return az_fail(az, AZ_BAD_INPUT, "\"num_virtual_tokens\" is %lld, in a model whose context has %lld", (long long)virtual_tokens,
                   (long long)lm->config.context);
}
