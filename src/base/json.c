/* json.c - numbers and texts as values of JSON. */
#include "base/json.h"

#include <math.h>
#include <string.h>

json_t *az_number_json(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *az_text_json(az_ctx *az, const char *text)
{
    size_t length = text ? strlen(text) : 0;
    text = az_utf8(az, text, &length);
    return text ? json_stringn(text, length) : json_null();
}
