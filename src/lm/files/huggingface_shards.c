/* huggingface_shards.c - the files of tensors of a folder: model.safetensors, or those that its index names; and a tensor by its name. */
#include "lm/files/huggingface.h"

#include <string.h>

/* ---- opening ---- */

json_t *az_lm_read_json(az_ctx *az, const char *folder, const char *name)
{
    const char *path = az_format_text(az, "%s/%s", folder, name);
    size_t length = 0;
    const char *text = path ? az_read_file(az, path, &length) : NULL;
    json_error_t error;
    json_t *json = text ? json_loadb(text, length, JSON_REJECT_DUPLICATES, &error) : NULL;
    if (text && !json_is_object(json)) {
        az_fail(az, AZ_BAD_INPUT, "'%s' is not a JSON object: %s", path, json ? "another value" : error.text);
        json_decref(json);
        return NULL;
    }
    return json;
}

static bool exists(az_ctx *az, const char *folder, const char *name)
{
    return az_is_file(az_format_text(az, "%s/%s", folder, name));
}

/* The number of a file that is opened once; -1 with an error. */
static int add_shard(az_ctx *az, const char *folder, const char *name, az_lm_shards *all)
{
    for (int i = all->n - 1; i >= 0; i--)
        if (strcmp(all->name[i], name) == 0) return i;
    if (all->n == AZ_LM_MAX_SHARDS) az_fail(az, AZ_BAD_INPUT, "the index names more than %d files", AZ_LM_MAX_SHARDS);
    if (!*name || strchr(name, '/')) az_fail(az, AZ_BAD_INPUT, "the index names '%.100s', which is no file of the folder", name);
    if (!az_ok(az)) return -1;
    all->name[all->n] = az_strdup(az, name);
    all->file[all->n] = az_safetensors_read(az, az_format_text(az, "%s/%s", folder, name));
    return all->file[all->n] ? all->n++ : -1;
}

static bool add_indexed(az_ctx *az, const char *folder, const json_t *map, az_lm_shards *all)
{
    const char *tensor;
    json_t *name;
    if (!json_is_object(map)) return az_fail(az, AZ_BAD_INPUT, "model.safetensors.index.json has no \"weight_map\"");
    json_object_foreach((json_t *)(uintptr_t)map, tensor, name)
    {
        if (!json_is_string(name)) return az_fail(az, AZ_BAD_INPUT, "the index has no file for '%.100s'", tensor);
        const int shard = add_shard(az, folder, json_string_value(name), all);
        if (shard < 0) return false;
        if (!az_safetensors_find(all->file[shard], tensor))
            return az_fail(az, AZ_BAD_INPUT, "by the index '%.100s' lies in '%.100s', but that file has no tensor of this name", tensor,
                           json_string_value(name));
        json_object_set_new(all->map, tensor, json_integer(shard));
    }
    return true;
}

/* Tensors that the index does not name are where they are. */
static bool add_unindexed(az_ctx *az, const json_t *index, az_lm_shards *all)
{
    for (int i = 0; i < all->n; i++) {
        for (int64_t j = 0; j < all->file[i]->count; j++) {
            const char *name = all->file[i]->item[j].name;
            if (json_object_get(index, name)) continue;
            if (json_object_get(all->map, name))
                return az_fail(az, AZ_BAD_INPUT, "several files have a tensor '%.100s', and the index does not say which counts", name);
            json_object_set_new(all->map, name, json_integer(i));
        }
    }
    return true;
}

/* The tensor of exactly this name: in the file that the index names, where there is one. */
static const az_tensor *find_exactly(const az_lm_shards *all, const char *name)
{
    if (!all->map) return az_safetensors_find(all->file[0], name);
    const json_t *shard = json_object_get(all->map, name);
    return shard ? az_safetensors_find(all->file[json_integer_value(shard)], name) : NULL;
}

bool az_lm_open_shards(az_ctx *az, const char *folder, az_lm_shards *all)
{
    if (exists(az, folder, "model.safetensors")) return add_shard(az, folder, "model.safetensors", all) == 0;
    if (!exists(az, folder, "model.safetensors.index.json"))
        return az_fail(
            az, AZ_BAD_INPUT, "'%s' has neither model.safetensors nor model.safetensors.index.json%s", folder,
            exists(az, folder, "pytorch_model.bin") || exists(az, folder, "pytorch_model.bin.index.json")
                ? "; PyTorch's .bin files are programs and not read: in Python, model = AutoModelForCausalLM.from_pretrained(FOLDER); "
                  "model.save_pretrained(NEW, safe_serialization=True) writes what is"
                : "");
    json_t *index = az_lm_read_json(az, folder, "model.safetensors.index.json");
    all->map = json_object();
    const json_t *map = json_object_get(index, "weight_map");
    const bool good = index && add_indexed(az, folder, map, all) && add_unindexed(az, map, all);
    json_decref(index);
    return good;
}

/* ---- finding ---- */

/* Files of a bare model lack the first word of the names: "h.0.ln_1.weight" for "transformer.h.0.ln_1.weight". */
const char *az_lm_bare_name(const char *name)
{
    const char *dot = strchr(name, '.');
    return dot && strchr(dot + 1, '.') ? dot + 1 : name;
}

/* The text part of a larger model stands behind "language_model." or, for names that begin with "model.", "model.language_model.". */
static const char *const text_prefixes[] = {"language_model.", "model.language_model."};

/* The name of a tensor as the text part alone has it; NULL for one of another part of the model. */
const char *az_lm_text_name(az_ctx *az, const char *name)
{
    const size_t length[] = {strlen(text_prefixes[0]), strlen(text_prefixes[1])};
    if (strncmp(name, text_prefixes[0], length[0]) == 0) return name + length[0];
    if (strncmp(name, text_prefixes[1], length[1]) == 0) return az_format_text(az, "model.%s", name + length[1]);
    return strcmp(name, "lm_head.weight") == 0 ? name : NULL;
}

static const az_tensor *find_text_tensor(const az_lm_shards *all, const char *name)
{
    char full[256];
    for (int way = 0; way < 3; way++) {
        const char *rest = way == 1 && strncmp(name, "model.", 6) == 0 ? name + 6 : name;
        snprintf(full, sizeof full, "%s%s", way < 2 ? text_prefixes[way] : "", rest);
        const az_tensor *tensor = find_exactly(all, full);
        if (tensor) return tensor;
    }
    return NULL;
}

const az_tensor *az_lm_find_shard_tensor(const az_lm_shards *all, const char *name)
{
    if (all->text_part) return find_text_tensor(all, name);
    const az_tensor *tensor = find_exactly(all, name);
    return tensor ? tensor : find_exactly(all, az_lm_bare_name(name));
}

/* Whether a tensor in a file is what the index means by its name. */
bool az_lm_is_meant(const az_lm_shards *all, int file, const char *name)
{
    return !all->map || json_integer_value(json_object_get(all->map, name)) == file;
}
