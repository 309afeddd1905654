/* fuzz_options.c - option strings: what parses must read back from its own text; what does not must say why. */
#include "adze/base.h"

#include <stdlib.h>
#include <string.h>

typedef struct settings {
    int64_t count;
    double rate;
    bool fast;
    const char *name;
    int kind;
    az_pattern pattern;
} settings;

static const char *const kinds[] = {"linear", "cosine", NULL};
static const az_option table[] = {
    {"count", AZ_FIELD(AZ_INT, settings, count), "1", 0, 100, NULL, "a number"},
    {"rate", AZ_FIELD(AZ_REAL, settings, rate), "0.5", 0, 0, NULL, "a number"},
    {"fast", AZ_FIELD(AZ_BOOL, settings, fast), "false", 0, 0, NULL, "yes or no"},
    {"name", AZ_FIELD(AZ_TEXT, settings, name), "", 0, 0, NULL, "a text"},
    {"kind", AZ_FIELD(AZ_CHOICE, settings, kind), "linear", 0, 0, kinds, "a choice"},
    {"pattern", AZ_FIELD(AZ_PATTERN, settings, pattern), "none", 0, 0, NULL, "n of m"},
    {0},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(az_ctx *az, const settings *parsed)
{
    settings again = {0};
    for (const az_option *option = table; option->name; option++)
        if (!az_options_set(az, table, "fuzz", option->name, az_options_get(az, option, parsed), &again)) abort();
    bool same = again.count == parsed->count && again.rate == parsed->rate && again.fast == parsed->fast && again.kind == parsed->kind &&
                again.pattern.n == parsed->pattern.n && again.pattern.m == parsed->pattern.m && strcmp(again.name, parsed->name) == 0;
    if (!same || parsed->count < 0 || parsed->count > 100) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = 64 << 20});
    char *text = az_alloc(az, size + 1);
    if (size) memcpy(text, data, size);
    settings parsed = {0};
    if (az_options_parse(az, table, "fuzz", text, &parsed))
        check_round_trip(az, &parsed);
    else if (az_ok(az) || !*az_error(az))
        abort();
    az_close(az);
    return 0;
}
