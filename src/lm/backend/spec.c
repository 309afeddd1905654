/* spec.c - "name?key=value&key=value": how backends are named. */
#include "lm/backend/backend_internal.h"

#include <string.h>

const char *az_spec_name(az_ctx *az, const char *spec)
{
    const int length = (int)strcspn(spec, "?");
    if (length == 0) return az_fail(az, AZ_BAD_INPUT, "a backend has no name before '?'");
    return az_format_text(az, "%.*s", length, spec);
}

/* Steps through the pairs; *at points behind '?' or '&'. */
static bool next_pair(const char **at, const char **key, size_t *key_length, size_t *length)
{
    if (!**at) return false;
    *key = *at;
    *length = strcspn(*at, "&");
    *key_length = strcspn(*at, "=&");
    *at += *length + ((*at)[*length] == '&');
    return true;
}

static const char *pairs_of(const char *spec)
{
    const char *mark = strchr(spec, '?');
    return mark ? mark + 1 : "";
}

const char *az_spec_value(az_ctx *az, const char *spec, const char *wanted)
{
    const char *at = pairs_of(spec), *key;
    size_t key_length, length;
    while (next_pair(&at, &key, &key_length, &length))
        if (key_length < length && strlen(wanted) == key_length && strncmp(key, wanted, key_length) == 0)
            return az_format_text(az, "%.*s", (int)(length - key_length - 1), key + key_length + 1);
    return NULL;
}

bool az_spec_check(az_ctx *az, const char *spec, const char *const *keys)
{
    const char *at = pairs_of(spec), *key;
    size_t key_length, length;
    while (next_pair(&at, &key, &key_length, &length)) {
        bool known = false;
        for (const char *const *k = keys; *k && !known; k++) known = strlen(*k) == key_length && strncmp(key, *k, key_length) == 0;
        if (known && key_length < length) continue;
        return az_fail(az, AZ_BAD_INPUT, "'%s': %s '%.*s'", spec, known ? "there is no value for" : "there is no parameter",
                       (int)key_length, key);
    }
    return true;
}
