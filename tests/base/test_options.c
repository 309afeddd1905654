/* Option tables: every type, what is refused and how it says so, values as text, the nearest name. */
#include "adze/base.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

typedef struct settings {
    int64_t steps;
    double rate;
    bool fast;
    const char *file;
    int kind;
    az_pattern pattern;
} settings;

static const char *const kinds[] = {"linear", "cosine", NULL};
static const az_option table[] = {
    {"steps", AZ_FIELD(AZ_INT, settings, steps), "100", 1, 1e9, NULL, "optimizer steps"},
    {"rate", AZ_FIELD(AZ_REAL, settings, rate), "0.1", 0, INFINITY, NULL, "learning rate"},
    {"fast", AZ_FIELD(AZ_BOOL, settings, fast), "true", 0, 0, NULL, "take the short way"},
    {"file", AZ_FIELD(AZ_TEXT, settings, file), "", 0, 0, NULL, "a file name"},
    {"kind", AZ_FIELD(AZ_CHOICE, settings, kind), "cosine", 0, 0, kinds, "schedule"},
    {"pattern", AZ_FIELD(AZ_PATTERN, settings, pattern), "none", 0, 0, NULL, "kept of every group"},
    {0},
};
static const az_option needy[] = {{"steps", AZ_FIELD(AZ_INT, settings, steps), NULL, 0, 0, NULL, "how many"}, {0}};

Test(options, defaults_fill_every_field)
{
    az_ctx *az = az_open(NULL);
    settings s = {0};
    cr_assert(az_options_default(az, table, &s), "%s", az_error(az));
    cr_assert_eq(s.steps, 100);
    cr_assert_eq(s.rate, 0.1);
    cr_assert(s.fast);
    cr_assert_str_eq(s.file, "");
    cr_assert_eq(s.kind, 1);
    cr_assert_eq(s.pattern.m, 0);
    az_close(az);
}

Test(options, a_list_sets_what_it_names)
{
    az_ctx *az = az_open(NULL);
    settings s = {0};
    cr_assert(az_options_parse(az, table, "test", "steps=1e3,no-fast,file=\"a,b=c\",kind=linear,pattern=2:4,rate=3e-4", &s), "%s",
              az_error(az));
    cr_assert_eq(s.steps, 1000);
    cr_assert_eq(s.rate, 3e-4);
    cr_assert_not(s.fast);
    cr_assert_str_eq(s.file, "a,b=c");
    cr_assert_eq(s.kind, 0);
    cr_assert_eq(s.pattern.n, 2);
    cr_assert_eq(s.pattern.m, 4);
    cr_assert(az_options_parse(az, table, "test", "fast=off", &s));
    cr_assert_not(s.fast);
    cr_assert_eq(s.steps, 100, "parsing starts from the defaults");
    cr_assert(az_options_parse(az, table, "test", NULL, &s));
    cr_assert(s.fast);
    az_close(az);
}

Test(options, what_is_wrong_is_refused_and_named)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"setps=3", "did you mean 'steps'"},
        {"entirely=3", "unknown option 'entirely'"},
        {"steps=0", "it must be 1 to 1000000000"},
        {"rate=-1", "it must be at least 0"},
        {"rate=nan", "not a number"},
        {"steps=1.5", "not a whole number"},
        {"steps=99999999999999999999", "not a whole number"},
        {"steps=", "not a whole number"},
        {"steps", "steps needs a value"},
        {"no-steps", "unknown option 'no-steps'"},
        {"steps=1,steps=2", "given twice"},
        {"fast,no-fast", "given twice"},
        {"fast=maybe", "not true or false"},
        {"kind=sine", "not one of linear, cosine"},
        {"pattern=4:2", "not a pattern"},
        {"pattern=0:4", "not a pattern"},
        {"pattern=2:4:8", "not a pattern"},
        {"file=\"open", "quotes"},
        {"file=\"a\"b", "quotes"},
        {"=3", "without a name"},
        {"steps=1,,rate=1", "without a name"},
    };
    az_ctx *az = az_open(NULL);
    settings s = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_not(az_options_parse(az, table, "wanda", bad[i].text, &s), "'%s' was accepted", bad[i].text);
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
        cr_assert(strstr(az_error(az), bad[i].says), "'%s' said: %s", bad[i].text, az_error(az));
        cr_assert(strncmp(az_error(az), "wanda: ", 7) == 0, "'%s' said: %s", bad[i].text, az_error(az));
        az_clear(az);
    }
    cr_assert_not(az_options_parse(az, needy, "needy", "", &s));
    cr_assert_str_eq(az_error(az), "needy: steps must be given (how many)");
    az_close(az);
}

Test(options, what_was_given_can_be_told_from_defaults)
{
    az_ctx *az = az_open(NULL);
    const char *text = "steps=100,no-fast,file=\"a,rate=3\"";
    cr_assert(az_options_given(az, table, text, "steps"), "to its default");
    cr_assert(az_options_given(az, table, text, "fast"));
    cr_assert(az_options_given(az, table, text, "file"));
    cr_assert_not(az_options_given(az, table, text, "rate"), "it stands in quotes");
    cr_assert_not(az_options_given(az, table, NULL, "steps"));
    cr_assert_not(az_options_given(az, table, "", "steps"));
    az_close(az);
}

Test(options, values_read_back_from_their_text)
{
    static const char *const texts[] = {
        "steps=7", "rate=0.30000000000000004", "rate=1e-300", "fast", "no-fast", "file=a b", "kind=linear", "pattern=1:8"};
    az_ctx *az = az_open(NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        settings s = {0}, again = {0};
        cr_assert(az_options_parse(az, table, "test", texts[i], &s));
        az_options_default(az, table, &again);
        for (const az_option *option = table; option->name; option++)
            cr_assert(az_options_set(az, table, "test", option->name, az_options_get(az, option, &s), &again), "%s", az_error(az));
        cr_assert_eq(again.steps, s.steps);
        cr_assert_eq(again.rate, s.rate);
        cr_assert_eq(again.fast, s.fast);
        cr_assert_str_eq(again.file, s.file);
        cr_assert_eq(again.kind, s.kind);
        cr_assert_eq(again.pattern.n * 100 + again.pattern.m, s.pattern.n * 100 + s.pattern.m);
    }
    az_close(az);
}

Test(options, help_has_a_line_for_each)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    az_options_help(table, out);
    az_options_help(needy, out);
    fclose(out);
    cr_assert_not_null(strstr(text, "  steps=int        optimizer steps (1 to 1000000000; default 100)\n"), "%s", text);
    cr_assert_not_null(strstr(text, "  [no-]fast        take the short way (default true)\n"), "%s", text);
    cr_assert_not_null(strstr(text, "  kind=choice      schedule (linear, cosine; default cosine)\n"), "%s", text);
    cr_assert_not_null(strstr(text, "  steps=int  how many (required)\n"), "%s", text);
    free(text);
}

Test(options, the_nearest_word_is_near)
{
    static const char *const words[] = {"compress", "convert", "corpus", "run", "info"};
    cr_assert_str_eq(az_nearest("comprss", words, 5), "compress");
    cr_assert_str_eq(az_nearest("corups", words, 5), "corpus");
    cr_assert_str_eq(az_nearest("rn", words, 5), "run");
    cr_assert_str_eq(az_nearest("run", words, 5), "run");
    cr_assert_str_eq(az_nearest("comp", words, 5), "compress", "a beginning");
    cr_assert_null(az_nearest("xylophone", words, 5));
    cr_assert_null(az_nearest("", words, 5));
    char huge[5000];
    memset(huge, 'a', sizeof huge);
    huge[sizeof huge - 1] = '\0';
    cr_assert_null(az_nearest(huge, words, 5));
}
