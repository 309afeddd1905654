/* json.h - values of JSON that a file may hold whatever the numbers and bytes are. */
#ifndef ADZE_BASE_JSON_H
#define ADZE_BASE_JSON_H

#include "adze/base.h"

#include <jansson.h>

/* null for what is not finite, which JSON cannot say. */
json_t *az_number_json(double value);
/* Text that is not UTF-8 goes out as Latin-1 reads it, so that nothing is lost; null for NULL. */
json_t *az_text_json(az_ctx *az, const char *text);

#endif
