/* layer_filter.c - linear layers chosen by a regular expression on their names. */
#include "compress/compress_internal.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

struct az_layer_filter {
    pcre2_code *code;
    pcre2_match_data *match;
};

static void release(void *object)
{
    az_layer_filter *filter = object;
    pcre2_match_data_free(filter->match);
    pcre2_code_free(filter->code);
}

az_layer_filter *az_layer_filter_new(az_ctx *az, const char *expression)
{
    int error = 0;
    PCRE2_SIZE where = 0;
    az_layer_filter *filter = az_alloc(az, sizeof *filter);
    if (!filter) return NULL;
    filter->code = pcre2_compile((PCRE2_SPTR)expression, strlen(expression), PCRE2_UTF, &error, &where, NULL);
    if (!filter->code) {
        PCRE2_UCHAR reason[128] = "";
        pcre2_get_error_message(error, reason, sizeof reason);
        return az_fail(az, AZ_BAD_INPUT, "'%s' is no regular expression: %s at position %zu", expression, (const char *)reason, where);
    }
    filter->match = pcre2_match_data_create_from_pattern(filter->code, NULL);
    if (!filter->match) {
        pcre2_code_free(filter->code);
        return az_fail(az, AZ_NO_MEMORY, "no memory for a regular expression");
    }
    return az_on_leave(az, release, filter) ? filter : NULL;
}

bool az_layer_matches(const az_layer_filter *filter, const char *layer)
{
    return pcre2_match(filter->code, (PCRE2_SPTR)layer, strlen(layer), 0, 0, filter->match, NULL) >= 0;
}
