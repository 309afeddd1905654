/* methods.c - adze methods: the catalogue. */
#include "cli/cli.h"

#include <jansson.h>
#include <string.h>

static json_t *option_json(az_ctx *az, const az_option *option)
{
    json_t *object = json_object();
    json_object_set_new(object, "name", json_string(option->name));
    json_object_set_new(object, "type", json_string(az_option_type_name(option)));
    json_object_set_new(object, "default", option->fallback ? json_string(option->fallback) : json_null());
    json_object_set_new(object, "range", json_string(az_option_range(az, option)));
    json_t *choices = json_array();
    for (const char *const *choice = option->choices; choice && *choice; choice++) json_array_append_new(choices, json_string(*choice));
    json_object_set_new(object, "choices", choices);
    json_object_set_new(object, "help", json_string(option->help));
    return object;
}

static void print_json(az_ctx *az, const az_method *method, FILE *out)
{
    json_t *object = json_object(), *options = json_array();
    json_object_set_new(object, "name", json_string(method->name));
    json_object_set_new(object, "family", json_string(az_family_name(method->family)));
    json_object_set_new(object, "summary", json_string(method->summary));
    json_object_set_new(object, "paper", json_string(method->paper));
    json_object_set_new(object, "needs_data", json_boolean(method->needs_data));
    for (const az_option *option = method->options; option && option->name; option++)
        json_array_append_new(options, option_json(az, option));
    json_object_set_new(object, "options", options);
    json_dumpf(object, out, JSON_COMPACT | JSON_PRESERVE_ORDER);
    fputc('\n', out);
    json_decref(object);
}

static bool is_family(const char *name)
{
    for (int family = 0; family < AZ_FAMILIES; family++)
        if (strcmp(az_family_name((az_family)family), name) == 0) return true;
    return false;
}

static int methods(cli_job *job, const void *settings)
{
    (void)settings;
    const char *family = job->words > 0 ? job->word[0] : NULL;
    if (family && !is_family(family)) {
        az_fail(job->az, AZ_BAD_INPUT, "methods: there is no family '%s'", family);
        return CLI_BAD;
    }
    for (const az_method *const *method = az_methods(); *method; method++) {
        const char *of = az_family_name((*method)->family);
        if (family && strcmp(of, family) != 0) continue;
        if (job->common->json) {
            print_json(job->az, *method, stdout);
            continue;
        }
        az_report_row(job->report, of);
        az_report_text(job->report, "method", (*method)->name);
        az_report_text(job->report, "summary", (*method)->summary);
        az_report_text(job->report, "paper", (*method)->paper);
    }
    return CLI_OK;
}

const cli_verb cli_methods = {
    .name = "methods",
    .summary = "list the methods",
    .usage = "[FAMILY]",
    .details =
        "With --json each method is an object with name, family, summary, paper, needs_data and options (name, type, default, range,\n"
        "choices, help).",
    .max_words = 1,
    .run = methods,
};
