/* help.c - adze help [VERB|METHOD], adze VERB --help, adze --version: all made from the tables. */
#include "cli/cli.h"

#include <cblas.h>
#include <ctype.h>
#include <string.h>

typedef struct help_settings {
    bool man, completion;
} help_settings;

static const az_option help_options[] = {
    {"man", AZ_FIELD(AZ_BOOL, help_settings, man), "false", 0, 0, NULL, "print the manual page (roff)"},
    {"completion", AZ_FIELD(AZ_BOOL, help_settings, completion), "false", 0, 0, NULL, "print the completion for bash"},
    {0},
};
static const cli_group help_groups[] = {{"options", help_options, 0}, {0}};

void cli_option_text(const az_option *option, char *out, size_t size)
{
    char letter = cli_letter(option->name), dashed[64];
    snprintf(dashed, sizeof dashed, "%s", option->name);
    for (char *c = dashed; *c; c++)
        if (*c == '_') *c = '-';
    int at = letter ? snprintf(out, size, "  -%c, ", letter) : snprintf(out, size, "      ");
    bool on = option->type == AZ_BOOL && option->fallback && strcmp(option->fallback, "true") == 0;
    if (option->type == AZ_BOOL)
        snprintf(out + at, size - (size_t)at, "--%s%s", on ? "no-" : "", dashed);
    else
        snprintf(out + at, size - (size_t)at, "--%s=%s", dashed, az_option_type_name(option));
}

bool cli_has_limits(const az_option *option)
{
    bool empty = (option->type == AZ_TEXT || option->type == AZ_TEXTS) && option->fallback && !*option->fallback;
    return option->type != AZ_BOOL && !empty;
}

bool cli_is_common(const az_option *option)
{
    for (const az_option *common = cli_common_options; common->name; common++)
        if (strcmp(common->name, option->name) == 0) return true;
    return false;
}

static void print_group(const char *title, const az_option *table, FILE *out)
{
    fprintf(out, "\n%s\n", title);
    for (const az_option *option = table; option->name; option++) {
        char text[80];
        if (table != cli_common_options && cli_is_common(option)) continue;
        cli_option_text(option, text, sizeof text);
        fprintf(out, "%-30s  %s%s", text, option->help, cli_has_limits(option) ? " " : "");
        if (cli_has_limits(option)) az_option_print_limits(option, out);
        fputc('\n', out);
    }
}

/* A text in lines of at most WIDTH characters; a line end begins a paragraph. */
static void print_wrapped(const char *text, FILE *out)
{
    enum { WIDTH = 100 };
    size_t column = 0;
    while (*text) {
        size_t length = strcspn(text, " \n");
        if (column > 0 && column + 1 + length > WIDTH) fputc('\n', out), column = 0;
        column += (size_t)fprintf(out, "%s%.*s", column > 0 ? " " : "", (int)length, text);
        text += length;
        if (*text == '\n') fputc('\n', out), column = 0;
        if (*text) text++;
    }
    fputc('\n', out);
}

void cli_print_verb(const cli_verb *verb, FILE *out)
{
    fprintf(out, "adze %s - %s\n\nusage: adze %s %s\n", verb->name, verb->summary, verb->name, verb->usage);
    if (verb->details) {
        fputc('\n', out);
        print_wrapped(verb->details, out);
    }
    for (const cli_group *group = verb->groups; group && group->table; group++) print_group(group->title, group->table, out);
    if (verb->inside.table) {
        fprintf(out, "\n%s\n", verb->inside.title);
        az_options_help(verb->inside.table, out);
    }
    print_group("options of every verb", cli_common_options, out);
}

void cli_print_usage(FILE *out)
{
    fputs("adze - compress, tune, run and evaluate models\n\nusage: adze VERB INPUT... [METHOD[:option=value,...]] [options]\n\nverbs\n",
          out);
    for (const cli_verb *const *verb = cli_verbs; *verb; verb++) fprintf(out, "  %-10s  %s\n", (*verb)->name, (*verb)->summary);
    fputs(
        "\n`adze help VERB` and `adze help METHOD` tell more; `adze methods` lists the methods; `adze --version` tells what is built in.\n",
        out);
}

static void print_slots(const az_input_slot *slots, FILE *out)
{
    fputs("\nfiles, given by -d FILE in this order or by -d NAME=FILE\n", out);
    int width = 0;
    for (const az_input_slot *slot = slots; slot->name; slot++) {
        const int length = (int)strlen(slot->name);
        if (length > width) width = length;
    }
    for (const az_input_slot *slot = slots; slot->name; slot++) {
        fprintf(out, "  %-*s  %s ", width, slot->name, slot->help);
        if (slot->least == slot->most)
            fprintf(out, "(%d)\n", slot->least);
        else
            fprintf(out, slot->most == AZ_ANY_NUMBER ? "(at least %d)\n" : "(%d to %d)\n", slot->least, slot->most);
    }
}

static void print_method(const az_method *method, FILE *out)
{
    fprintf(out, "%s (", method->name);
    cli_print_method_verbs(method, out);
    fprintf(out, ") - %s\n\n", method->summary);
    print_wrapped(method->paper, out);
    if (method->details) {
        fputc('\n', out);
        print_wrapped(method->details, out);
    }
    fputs("\nexample\n", out);
    cli_print_example(method, "  ", out);
    if (method->inputs) print_slots(method->inputs, out);
    if (method->options && method->options->name) {
        fprintf(out, "\noptions, written %s:name=value,...\n", method->name);
        az_options_help(method->options, out);
    }
}

static void unknown_topic(az_ctx *az, const char *name)
{
    const char *names[256];
    int n = 0;
    for (const cli_verb *const *verb = cli_verbs; *verb && n < 256; verb++) names[n++] = (*verb)->name;
    for (const az_method *const *method = az_methods(); *method && n < 256; method++) names[n++] = (*method)->name;
    const char *nearest = az_nearest(name, names, n);
    if (nearest)
        az_fail(az, AZ_BAD_INPUT, "help: nothing is called '%s'; did you mean '%s'?", name, nearest);
    else
        az_fail(az, AZ_BAD_INPUT, "help: no verb and no method is called '%s'", name);
}

static void print_topic(cli_job *job, const char *name)
{
    const bool json = job->common->json;
    const cli_verb *verb = cli_verb_by_name(name);
    const az_method *method = az_method_by_name(name);
    if (verb && json)
        cli_verb_json(job->az, verb, stdout);
    else if (verb)
        cli_print_verb(verb, stdout);
    else if (method && json)
        cli_method_json(job->az, method, stdout);
    else if (method)
        print_method(method, stdout);
    else
        unknown_topic(job->az, name);
}

static int help(cli_job *job, const void *settings)
{
    const help_settings *options = settings;
    if (options->man)
        cli_print_manual(stdout);
    else if (options->completion)
        cli_print_completion(stdout);
    else if (job->words > 0)
        print_topic(job, job->word[0]);
    else if (job->common->json)
        for (const cli_verb *const *verb = cli_verbs; *verb; verb++) cli_verb_json(job->az, *verb, stdout);
    else
        cli_print_usage(stdout);
    return CLI_OK;
}

const cli_verb cli_help = {
    .name = "help",
    .summary = "tell about a verb or a method",
    .usage = "[VERB | METHOD]",
    .details = "With --json a verb or a method is an object with its options (name, type, default, range, choices, help); without a word "
               "each verb is one.",
    .groups = help_groups,
    .settings_size = sizeof(help_settings),
    .max_words = 1,
    .run = help,
};

void cli_print_version(FILE *out)
{
    const az_cpu *cpu = az_cpu_features();
    fprintf(out, "adze %s\n", az_version());
    fprintf(out, "processor  %d cores%s%s%s%s%s%s\n", cpu->cores, cpu->avx2 ? ", avx2" : "", cpu->fma ? ", fma" : "",
            cpu->f16c ? ", f16c" : "", cpu->avx512 ? ", avx512" : "", cpu->amx ? ", amx" : "", cpu->neon ? ", neon" : "");
    fprintf(out, "kernels    %s\n", cpu->amx ? "amx" : cpu->avx512 ? "avx512" : cpu->avx2 && cpu->fma && cpu->f16c ? "avx2" : "portable");
    fprintf(out, "blas       OpenBLAS, as for %s\n", openblas_get_corename());
    fputs("formats    ", out);
    for (const az_format *const *format = az_formats(); *format; format++) fprintf(out, "%s%s", (*format)->name, format[1] ? ", " : "\n");
    int methods = 0;
    for (const az_method *const *method = az_methods(); *method; method++) methods++;
    fprintf(out, "methods    %d\n", methods);
}
