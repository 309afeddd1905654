/* adapter_scope.c - which modules a configuration speaks of, as PEFT finds them: those that get a pair (target_modules, exclude_modules,
 * layers_to_transform) and those that are replaced whole (modules_to_save). */
#include "lm/files/adapter_files.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Whether the last words of the first n bytes are these. */
static bool ends_with(const char *path, size_t n, const char *words)
{
    const size_t length = strlen(words);
    return length > 0 && n >= length && memcmp(path + n - length, words, length) == 0 && (n == length || path[n - length - 1] == '.');
}

/* A list has the whole path or its last words; a text is a regular expression for the whole of it. */
static bool is_named(az_ctx *az, const json_t *names, const char *path)
{
    size_t i;
    json_t *entry;
    if (json_is_string(names)) return az_matches_expression(az, json_string_value(names), path);
    json_array_foreach(names, i, entry)
    {
        const char *name = json_string_value(entry);
        if (name && ends_with(path, strlen(path), name)) return true;
    }
    return false;
}

/* The number of the block that a module is in: the first word of digits behind two others; -1 when there is none. */
static long block_of(const char *path)
{
    int word = 0;
    for (const char *at = path; at; at = strchr(at, '.'), at = at ? at + 1 : NULL, word++) {
        const size_t length = strcspn(at, ".");
        size_t digits = 0;
        while (digits < length && isdigit((unsigned char)at[digits])) digits++;
        if (word >= 2 && digits > 0 && digits == length && at[length] == '.') return strtol(at, NULL, 10);
    }
    return -1;
}

/* Whether the module is in the block `number`, which a word of `patterns` (a text, a list, or nothing) stands in front of. */
static bool is_in_block(az_ctx *az, const char *path, long number, const json_t *patterns)
{
    const bool list = json_is_array(patterns) && json_array_size(patterns) > 0;
    if (!list && !(json_is_string(patterns) && *json_string_value(patterns))) return block_of(path) == number;
    for (size_t i = 0; i < (list ? json_array_size(patterns) : 1); i++) {
        const char *pattern = json_string_value(list ? json_array_get(patterns, i) : patterns);
        if (pattern && az_matches_expression(az, az_format_text(az, ".*?\\.%s\\.%ld\\..*", pattern, number), path)) return true;
    }
    return false;
}

static bool is_in_blocks(az_ctx *az, const json_t *config, const char *path)
{
    const json_t *blocks = json_object_get(config, "layers_to_transform"), *patterns = json_object_get(config, "layers_pattern");
    if (json_is_integer(blocks)) return is_in_block(az, path, (long)json_integer_value(blocks), patterns);
    for (size_t i = 0; i < json_array_size(blocks); i++)
        if (is_in_block(az, path, (long)json_integer_value(json_array_get(blocks, i)), patterns)) return true;
    return json_array_size(blocks) == 0;
}

bool az_scope_is_told(const json_t *config)
{
    const json_t *targets = json_object_get(config, "target_modules");
    return json_is_string(targets) || json_is_array(targets);
}

bool az_scope_targets(az_ctx *az, const json_t *config, const az_module *module)
{
    const json_t *targets = json_object_get(config, "target_modules"), *saved = json_object_get(config, "modules_to_save");
    if (is_named(az, json_object_get(config, "exclude_modules"), module->path)) return false;
    for (size_t i = 0; i < json_array_size(saved); i++) {
        const char *name = json_string_value(json_array_get(saved, i));
        if (name && az_matches_expression(az, az_format_text(az, "(.*\\.)?%s(\\..*)?", name), module->path)) return false;
    }
    if (json_is_string(targets) && strcmp(json_string_value(targets), "all-linear") == 0)
        return !module->table && module->part[0]->weight && module->part[0]->part != AZ_PART_HEAD;
    if (!is_named(az, targets, module->path)) return false;
    return json_is_string(targets) || is_in_blocks(az, config, module->path);
}

/* A saved module holds all below it. PEFT wraps modules as well whose last word merely ends in the name; their tensors are read if they are
 * there, and not missed. */
static bool is_saved_by(const char *name, const char *path)
{
    for (const char *dot = strchr(path, '.'); dot; dot = strchr(dot + 1, '.'))
        if (ends_with(path, (size_t)(dot - path), name)) return true;
    return ends_with(path, strlen(path), name);
}

bool az_scope_saves(const json_t *config, const az_module *module)
{
    const json_t *saved = json_object_get(config, "modules_to_save");
    for (size_t i = 0; i < json_array_size(saved); i++) {
        const char *name = json_string_value(json_array_get(saved, i));
        if (name && is_saved_by(name, module->path)) return true;
    }
    return false;
}

void az_scope_note_saved(az_ctx *az, const json_t *config, const az_module *module, int modules)
{
    const json_t *saved = json_object_get(config, "modules_to_save");
    for (size_t i = 0; i < json_array_size(saved); i++) {
        const char *name = json_string_value(json_array_get(saved, i));
        int found = 0;
        for (int m = 0; name && m < modules; m++) found += is_saved_by(name, module[m].path);
        if (name && found == 0) az_note(az, "adapter_config.json: \"modules_to_save\" has '%s', which is no module of this model", name);
    }
}
