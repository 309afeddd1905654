/* help_json.c - what help tells, as JSON lines. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdlib.h>

static json_t *option_json(az_ctx *az, const az_option *option)
{
    json_t *object = json_object(), *choices = json_array();
    json_object_set_new(object, "name", json_string(option->name));
    json_object_set_new(object, "type", json_string(az_option_type_name(option)));
    json_object_set_new(object, "default", option->fallback ? json_string(option->fallback) : json_null());
    json_object_set_new(object, "range", json_string(az_option_range(az, option)));
    for (const char *const *choice = option->choices; choice && *choice; choice++) json_array_append_new(choices, json_string(*choice));
    json_object_set_new(object, "choices", choices);
    json_object_set_new(object, "help", json_string(option->help));
    return object;
}

static void add_options(az_ctx *az, json_t *list, const az_option *table)
{
    for (const az_option *option = table; option && option->name; option++) json_array_append_new(list, option_json(az, option));
}

/* Prints and drops the object. */
static void put_line(json_t *object, FILE *out)
{
    json_dumpf(object, out, JSON_COMPACT | JSON_PRESERVE_ORDER);
    fputc('\n', out);
    json_decref(object);
}

static json_t *slots_json(const az_input_slot *slots)
{
    json_t *list = json_array();
    for (const az_input_slot *slot = slots; slot && slot->name; slot++) {
        json_t *object = json_object();
        json_object_set_new(object, "name", json_string(slot->name));
        json_object_set_new(object, "least", json_integer(slot->least));
        json_object_set_new(object, "most", slot->most == AZ_ANY_NUMBER ? json_null() : json_integer(slot->most));
        json_object_set_new(object, "help", json_string(slot->help));
        json_array_append_new(list, object);
    }
    return list;
}

static const char *example_text(az_ctx *az, const az_method *method)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out) cli_print_example(method, "", out), fclose(out);
    const char *kept = az_strdup(az, text ? text : "");
    free(text);
    return kept;
}

void cli_method_json(az_ctx *az, const az_method *method, FILE *out)
{
    json_t *object = json_object(), *options = json_array();
    json_object_set_new(object, "name", json_string(method->name));
    json_object_set_new(object, "family", json_string(az_family_name(method->family)));
    json_object_set_new(object, "summary", json_string(method->summary));
    json_object_set_new(object, "paper", json_string(method->paper));
    json_object_set_new(object, "example", json_string(example_text(az, method)));
    json_object_set_new(object, "needs_data", json_boolean(method->needs_data));
    json_object_set_new(object, "files", slots_json(method->inputs));
    add_options(az, options, method->options);
    json_object_set_new(object, "options", options);
    put_line(object, out);
}

void cli_verb_json(az_ctx *az, const cli_verb *verb, FILE *out)
{
    json_t *object = json_object(), *options = json_array(), *inside = json_array();
    for (const cli_group *group = verb->groups; group && group->table; group++)
        for (const az_option *option = group->table; option->name; option++)
            if (!cli_is_common(option)) json_array_append_new(options, option_json(az, option));
    add_options(az, options, cli_common_options);
    add_options(az, inside, verb->inside.table);
    json_object_set_new(object, "name", json_string(verb->name));
    json_object_set_new(object, "summary", json_string(verb->summary));
    json_object_set_new(object, "usage", json_string(verb->usage));
    json_object_set_new(object, "details", verb->details ? json_string(verb->details) : json_null());
    json_object_set_new(object, "options", options);
    json_object_set_new(object, "inside", inside);
    put_line(object, out);
}
