/* arguments.c - from argv to settings, by the tables of the verb and the common one. */
#include "cli/cli.h"

#include <math.h>
#include <string.h>

static const char *const progress_names[] = {"auto", "bar", "json", "none", NULL};
const az_option cli_common_options[] = {
    {"json", AZ_FIELD(AZ_BOOL, cli_common, json), "false", 0, 0, NULL, "print JSON lines instead of tables"},
    {"plot", AZ_FIELD(AZ_TEXT, cli_common, plot), "", 0, 0, NULL, "draw the result into this .svg or .png file"},
    {"seed", AZ_FIELD(AZ_INT, cli_common, seed), "0", 0, 0, NULL, "key of all random numbers"},
    {"threads", AZ_FIELD(AZ_INT, cli_common, threads), "0", 0, 4096, NULL,
     "threads to use; 0 = OMP_NUM_THREADS, or every core the process may use"},
    {"memory", AZ_FIELD(AZ_REAL, cli_common, memory), "0", 0, 1e6, NULL, "GiB that may be held at once; 0 = no limit"},
    {"progress", AZ_FIELD(AZ_CHOICE, cli_common, progress), "auto", 0, 0, progress_names,
     "what is told on the way; auto = a bar on a terminal"},
    {"quiet", AZ_FIELD(AZ_BOOL, cli_common, quiet), "false", 0, 0, NULL, "no progress, no remarks"},
    {"help", AZ_FIELD(AZ_BOOL, cli_common, help), "false", 0, 0, NULL, "show this help"},
    {0},
};

static const struct {
    char letter;
    const char *name;
} letters[] = {{'d', "data"}, {'o', "output"}, {'p', "prompt"}, {'n', "tokens"}, {'q', "quiet"}, {'h', "help"}};

enum { LETTERS = sizeof letters / sizeof *letters, MAX_GROUPS = 8, MAX_SEEN = 256 };

char cli_letter(const char *option)
{
    for (int i = 0; i < LETTERS; i++)
        if (strcmp(letters[i].name, option) == 0) return letters[i].letter;
    return 0;
}

/* The tables that a line is read by: the verb's groups, then the common options. */
typedef struct scope {
    const cli_verb *verb;
    const az_option *table[MAX_GROUPS];
    void *settings[MAX_GROUPS];
    int groups;
    const char *seen[MAX_SEEN];
    int n_seen;
} scope;

static void add_group(scope *s, const az_option *table, void *settings)
{
    s->table[s->groups] = table;
    s->settings[s->groups++] = settings;
}

static const az_option *find_option(const scope *s, const char *name)
{
    for (int i = 0; i < s->groups; i++)
        for (const az_option *option = s->table[i]; option->name; option++)
            if (strcmp(option->name, name) == 0) return option;
    return NULL;
}

static bool was_seen(const scope *s, const char *name)
{
    for (int i = 0; i < s->n_seen; i++)
        if (strcmp(s->seen[i], name) == 0) return true;
    return false;
}

/* The name as help writes it, "top-k"; "" when memory is out. */
static const char *dashed(az_ctx *az, const char *name)
{
    char *text = az_strdup(az, name);
    for (char *c = text; c && *c; c++)
        if (*c == '_') *c = '-';
    return text ? text : "";
}

/* Sets the option in every table that has it: --seed is the verb's and the sampler's. */
static bool set_option(az_ctx *az, scope *s, const char *name, const char *value)
{
    const az_option *first = find_option(s, name);
    if ((was_seen(s, name) && first->type != AZ_TEXTS) || s->n_seen == MAX_SEEN) {
        az_fail(az, AZ_BAD_INPUT, "%s: --%s is given twice", s->verb->name, dashed(az, name));
        return false;
    }
    s->seen[s->n_seen++] = name;
    for (int i = 0; i < s->groups; i++)
        for (const az_option *option = s->table[i]; option->name; option++)
            if (strcmp(option->name, name) == 0 && !az_options_set(az, s->table[i], s->verb->name, name, value, s->settings[i]))
                return false;
    return true;
}

static bool unknown_option(az_ctx *az, const scope *s, const char *name)
{
    const char *names[MAX_SEEN];
    int n = 0;
    for (int i = 0; i < s->groups; i++)
        for (const az_option *option = s->table[i]; option->name && n < MAX_SEEN; option++) names[n++] = option->name;
    const char *nearest = az_nearest(name, names, n);
    if (nearest)
        az_fail(az, AZ_BAD_INPUT, "%s: unknown option '--%s'; did you mean '--%s'?", s->verb->name, dashed(az, name), dashed(az, nearest));
    else
        az_fail(az, AZ_BAD_INPUT, "%s: unknown option '--%s'; `adze help %s` lists them", s->verb->name, dashed(az, name), s->verb->name);
    return false;
}

/* "top-k" and "top_k" are the same name. */
static char *option_name(az_ctx *az, const char *text, size_t length)
{
    char *name = az_alloc(az, length + 1);
    for (size_t i = 0; name && i < length; i++) name[i] = text[i] == '-' ? '_' : text[i];
    return name;
}

/* --name, --name=value, --name value, --no-name. Returns how many arguments were used, 0 on failure. */
static int read_long(az_ctx *az, scope *s, char **argv, int left)
{
    const char *text = argv[0] + 2, *equals = strchr(text, '='), *value = equals ? equals + 1 : NULL;
    char *name = option_name(az, text, equals ? (size_t)(equals - text) : strlen(text));
    if (!name) return 0;
    const az_option *option = find_option(s, name);
    if (!option && !value && strncmp(name, "no_", 3) == 0) {
        option = find_option(s, name + 3);
        if (option && option->type == AZ_BOOL) return set_option(az, s, option->name, "false");
        option = NULL;
    }
    if (!option) return unknown_option(az, s, name);
    if (value) return set_option(az, s, option->name, value);
    if (option->type == AZ_BOOL) return set_option(az, s, option->name, "true");
    if (left > 1) return set_option(az, s, option->name, argv[1]) ? 2 : 0;
    az_fail(az, AZ_BAD_INPUT, "%s: --%s needs a value", s->verb->name, dashed(az, name));
    return 0;
}

/* -x, -x value, -xvalue. */
static int read_short(az_ctx *az, scope *s, char **argv, int left)
{
    const az_option *option = NULL;
    for (int i = 0; i < LETTERS; i++)
        if (letters[i].letter == argv[0][1]) option = find_option(s, letters[i].name);
    if (!option) {
        az_fail(az, AZ_BAD_INPUT, "%s: unknown option '%s'; `adze help %s` lists them", s->verb->name, argv[0], s->verb->name);
        return 0;
    }
    if (option->type == AZ_BOOL && !argv[0][2]) return set_option(az, s, option->name, "true");
    if (option->type != AZ_BOOL && argv[0][2]) return set_option(az, s, option->name, argv[0] + 2);
    if (option->type != AZ_BOOL && left > 1) return set_option(az, s, option->name, argv[1]) ? 2 : 0;
    az_fail(az, AZ_BAD_INPUT, "%s: '%s' %s", s->verb->name, argv[0], option->type == AZ_BOOL ? "takes no value" : "needs a value");
    return 0;
}

static bool read_arguments(az_ctx *az, scope *s, int argc, char **argv, cli_line *line)
{
    bool only_words = false;
    for (int i = 0, used; i < argc; i += used) {
        used = 1;
        if (only_words || argv[i][0] != '-' || !argv[i][1])
            line->word[line->words++] = argv[i];
        else if (strcmp(argv[i], "--") == 0)
            only_words = true;
        else if (argv[i][1] == '-')
            used = read_long(az, s, argv + i, argc - i);
        else
            used = read_short(az, s, argv + i, argc - i);
        if (used == 0) return false;
    }
    return true;
}

/* Everything that must be there is there. */
static bool check_line(az_ctx *az, const scope *s, const cli_line *line)
{
    const cli_verb *verb = s->verb;
    for (int i = 0; i < s->groups; i++) {
        for (const az_option *option = s->table[i]; option->name; option++) {
            if (option->fallback || was_seen(s, option->name)) continue;
            char text[80];
            cli_option_text(option, text, sizeof text);
            az_fail(az, AZ_BAD_INPUT, "%s: %s must be given: %s", verb->name, text + strspn(text, " "), option->help);
            return false;
        }
    }
    if (line->words < verb->min_words || (verb->max_words >= 0 && line->words > verb->max_words)) {
        const char *what = line->words < verb->min_words ? "something is missing" : "there is a word too many";
        az_fail(az, AZ_BAD_INPUT, "%s: %s; usage: adze %s %s", verb->name, what, verb->name, verb->usage);
        return false;
    }
    return true;
}

bool cli_parse(az_ctx *az, const cli_verb *verb, int argc, char **argv, cli_line *line)
{
    scope s = {.verb = verb};
    line->settings = az_alloc(az, verb->settings_size);
    line->word = az_alloc_array(az, (size_t)argc + 1, sizeof *line->word);
    if (!line->settings || !line->word) return false;
    for (const cli_group *group = verb->groups; group && group->table && s.groups < MAX_GROUPS - 1; group++)
        add_group(&s, group->table, (char *)line->settings + group->offset);
    add_group(&s, cli_common_options, &line->common);
    for (int i = 0; i < s.groups; i++)
        if (!az_options_default(az, s.table[i], s.settings[i])) return false;
    if (!read_arguments(az, &s, argc, argv, line)) return false;
    return line->common.help || check_line(az, &s, line);
}

/* ---- methods on the line ---- */

static void unknown_method(az_ctx *az, const char *name)
{
    const char *names[MAX_SEEN];
    int n = 0;
    for (const az_method *const *method = az_methods(); *method && n < MAX_SEEN; method++) names[n++] = (*method)->name;
    const char *nearest = az_nearest(name, names, n);
    if (nearest)
        az_fail(az, AZ_BAD_INPUT, "there is no method '%s'; did you mean '%s'?", name, nearest);
    else
        az_fail(az, AZ_BAD_INPUT, "there is no method '%s'; `adze methods` lists them", name);
}

/* The options of a method, whose seed is that of the line unless it has its own. */
static bool method_settings(az_ctx *az, const az_method *method, const char *text, void *settings)
{
    if (!az_options_default(az, method->options, settings)) return false;
    for (const az_option *option = method->options; option->name; option++)
        if (strcmp(option->name, "seed") == 0 && option->type == AZ_INT)
            *(int64_t *)((char *)settings + option->offset) = (int64_t)az_seed(az);
    return az_options_read(az, method->options, method->name, text, settings);
}

const az_method *cli_method(az_ctx *az, const char *word, void **settings)
{
    const char *colon = strchr(word, ':');
    char *name = az_format_text(az, "%.*s", (int)(colon ? colon - word : (ptrdiff_t)strlen(word)), word);
    if (!name) return NULL;
    const az_method *method = az_method_by_name(name);
    if (!method) {
        unknown_method(az, name);
        return NULL;
    }
    *settings = az_alloc(az, method->options_size);
    if (!*settings || !method_settings(az, method, colon ? colon + 1 : "", *settings)) return NULL;
    return method;
}
