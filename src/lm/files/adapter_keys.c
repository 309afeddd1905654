/* adapter_keys.c - the keys of an adapter's configuration: which are read, which do not matter, and which change the mathematics in a way
 * that is not known here. */
#include "lm/files/adapter_files.h"

#include <stdlib.h>
#include <string.h>

/* Keys that are read here, or that do not matter once an adapter is trained. */
static const char *const known[] = {"peft_type",
                                    "task_type",
                                    "base_model_name_or_path",
                                    "r",
                                    "lora_alpha",
                                    "lora_dropout",
                                    "target_modules",
                                    "exclude_modules",
                                    "bias",
                                    "fan_in_fan_out",
                                    "init_lora_weights",
                                    "use_rslora",
                                    "use_dora",
                                    "lora_bias",
                                    "rank_pattern",
                                    "alpha_pattern",
                                    "modules_to_save",
                                    "layers_to_transform",
                                    "layers_pattern",
                                    "inference_mode",
                                    "revision",
                                    "auto_mapping",
                                    "peft_version",
                                    "loftq_config",
                                    "eva_config",
                                    "corda_config",
                                    "runtime_config",
                                    "num_virtual_tokens",
                                    "token_dim",
                                    "num_transformer_submodules",
                                    "num_attention_heads",
                                    "num_layers",
                                    "prefix_projection",
                                    "encoder_hidden_size",
                                    "ensure_weight_tying",
                                    "adze_bos",
                                    "adze_form",
                                    "bottleneck",
                                    "pooler",
                                    "normalize",
                                    "position",
                                    "activations",
                                    "networks",
                                    NULL};
/* Keys whose value changes the mathematics in a way that is not known here, unless it is null, false, or empty. */
static const char *const unsupported[] = {"use_qalora",
                                          "alora_invocation_tokens",
                                          "megatron_config",
                                          "layer_replication",
                                          "trainable_token_indices",
                                          "target_parameters",
                                          "use_bdlora",
                                          "arrow_config",
                                          "use_mora",
                                          "lora_ga_config",
                                          NULL};
/* Kinds of adapters, and further keys that they may have. */
static const char *const kinds[] = {"LORA", "ADALORA", "PROMPT_TUNING", "PREFIX_TUNING", "CPT", "IAPT", NULL};

static bool is_among(const char *const *list, const char *word)
{
    for (; *list; list++)
        if (strcmp(*list, word) == 0) return true;
    return false;
}

static bool is_nothing(const json_t *value)
{
    return !value || json_is_null(value) || json_is_false(value) || (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static bool is_pattern(const json_t *value)
{
    const char *key;
    const json_t *number;
    if (!json_is_object(value)) return false;
    json_object_foreach((json_t *)(uintptr_t)value, key, number) if (!json_is_number(number)) return false;
    return true;
}

/* A number in quotes must not be taken for one that is not given. */
static bool check_types(az_ctx *az, const json_t *config, const az_adapter *adapter)
{
    static const char *const numbers[] = {"r", "lora_alpha", "lora_dropout", "init_r", "num_virtual_tokens", NULL};
    static const char *const truths[] = {"use_rslora", "use_dora", "fan_in_fan_out", "lora_bias", "prefix_projection", "adze_bos", NULL};
    const char *key;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)config, key, value)
    {
        const bool number = is_among(numbers, key), truth = is_among(truths, key), ranks = strcmp(key, "rank_pattern") == 0;
        const bool plain_ranks = ranks && strcmp(adapter->kind, "LORA") == 0; /* AdaLoRA's are lists of truths */
        const char *wanted = number                                             ? "a number"
                             : truth                                            ? "true or false"
                             : plain_ranks || strcmp(key, "alpha_pattern") == 0 ? "an object of numbers"
                                                                                : NULL;
        const bool fits = number ? json_is_number(value) : truth ? json_is_boolean(value) : is_pattern(value);
        if (wanted && !fits && !json_is_null(value)) return az_fail(az, AZ_BAD_INPUT, "\"%s\" is not %s", key, wanted);
    }
    return true;
}

/* The keys of an AdaLoRA or of virtual tokens that have no meaning here are kept as they are. */
static bool check_keys(az_ctx *az, const json_t *config, az_adapter *adapter)
{
    const char *key;
    const json_t *value;
    const char *ignored = NULL;
    json_t *kept = json_object();
    json_object_foreach((json_t *)(uintptr_t)config, key, value)
    {
        if (is_among(unsupported, key)) {
            if (!is_nothing(value)) az_fail(az, AZ_BAD_INPUT, "\"%s\" is set, which is not known here", key);
        } else if (!is_among(known, key)) {
            ignored = ignored ? az_format_text(az, "%s, %s", ignored, key) : az_strdup(az, key);
            json_object_set(kept, key, (json_t *)(uintptr_t)value);
        }
    }
    const bool plain = strcmp(adapter->kind, "LORA") == 0;
    if (ignored && plain && az_ok(az)) az_note(az, "adapter_config.json: %s not read", ignored);
    if (ignored && !plain) {
        char *text = json_dumps(kept, JSON_COMPACT);
        az_arena_enter(az, adapter->arena);
        if (text) adapter->config = az_strdup(az, text);
        az_arena_leave(az);
        free(text);
    }
    json_decref(kept);
    return az_ok(az);
}

bool az_config_check(az_ctx *az, const json_t *config, az_adapter *adapter)
{
    return check_keys(az, config, adapter) && check_types(az, config, adapter);
}

const char *az_config_kind(az_ctx *az, const json_t *config)
{
    const char *kind = json_string_value(json_object_get(config, "peft_type"));
    if (!kind) return az_fail(az, AZ_BAD_INPUT, "\"peft_type\" is missing");
    if (!is_among(kinds, kind))
        return az_fail(az, AZ_BAD_INPUT,
                       "adapters of peft_type %s are not read; LORA, ADALORA, PROMPT_TUNING, PREFIX_TUNING, CPT and IAPT are", kind);
    return kind;
}
