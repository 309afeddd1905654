/* answer.c - answers as JSON: what the cache keeps, what an export says, what a program replies. */
#include "lm/backend/backend_internal.h"
#include "lm/tokenizer/tokenizer.h"

#include <math.h>
#include <string.h>

json_t *az_json_string(const char *text, size_t length)
{
    json_t *value = json_stringn(text, length);
    if (value) return value;
    char *clean = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&clean, &size);
    if (!out) return NULL;
    while (length > 0) {
        const size_t good = az_utf8_prefix(text, length);
        fwrite(text, 1, good, out);
        if (good < length) fputs("\xEF\xBF\xBD", out);
        const size_t used = good < length ? good + 1 : good;
        text += used, length -= used;
    }
    fclose(out);
    value = json_stringn(clean, size);
    free(clean);
    return value;
}

static json_t *numbers_json(const double *x, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, json_real(x[i]));
    return list;
}

json_t *az_answer_json(const az_answer *a)
{
    json_t *object = json_object();
    if (a->text) json_object_set_new(object, "text", az_json_string(a->text, strlen(a->text)));
    if (a->finish) json_object_set_new(object, "finish", json_string(a->finish));
    json_object_set_new(object, "prompt_tokens", json_integer(a->prompt_tokens));
    json_object_set_new(object, "completion_tokens", json_integer(a->completion_tokens));
    if (a->log_probability) json_object_set_new(object, "log_probability", numbers_json(a->log_probability, a->n));
    if (a->next) {
        json_t *list = json_array();
        for (int i = 0; i < a->n; i++)
            json_array_append_new(
                list, json_pack("[o, f]", az_json_string(a->next[i].text, strlen(a->next[i].text)), a->next[i].log_probability));
        json_object_set_new(object, "next", list);
    }
    if (a->vector) {
        json_t *list = json_array();
        for (int i = 0; i < a->n; i++) json_array_append_new(list, json_real((double)a->vector[i]));
        json_object_set_new(object, "vector", list);
    }
    return object;
}

/* A list of finite numbers; NULL and *why when it is something else. */
static double *read_numbers(az_ctx *az, const json_t *list, int *n, const char **why)
{
    *n = (int)json_array_size(list);
    double *x = az_alloc_array(az, (size_t)*n + 1, sizeof *x);
    for (int i = 0; x && i < *n; i++) {
        const json_t *item = json_array_get(list, (size_t)i);
        x[i] = json_number_value(item);
        if (json_is_number(item) && isfinite(x[i])) continue;
        *why = "a number is missing in a list of numbers";
        return NULL;
    }
    return x;
}

static az_next_token *read_next(az_ctx *az, const json_t *list, int *n, const char **why)
{
    *n = (int)json_array_size(list);
    az_next_token *next = az_alloc_array(az, (size_t)*n + 1, sizeof *next);
    for (int i = 0; next && i < *n; i++) {
        const json_t *pair = json_array_get(list, (size_t)i), *text = json_array_get(pair, 0), *log = json_array_get(pair, 1);
        if (!json_is_string(text) || !json_is_number(log)) {
            *why = "\"next\" is not a list of pairs [text, log-probability]";
            return NULL;
        }
        next[i] = (az_next_token){.text = az_strdup(az, json_string_value(text)), .log_probability = json_number_value(log)};
    }
    return next;
}

static float *read_vector(az_ctx *az, const json_t *list, int *n, const char **why)
{
    const double *x = read_numbers(az, list, n, why);
    float *vector = x ? az_alloc_array(az, (size_t)*n + 1, sizeof *vector) : NULL;
    for (int i = 0; vector && i < *n; i++) vector[i] = (float)x[i];
    return vector;
}

bool az_answer_read(az_ctx *az, const json_t *object, az_answer *a, const char **why)
{
    *why = NULL;
    const json_t *text = json_object_get(object, "text"), *finish = json_object_get(object, "finish");
    const json_t *next = json_object_get(object, "next"), *vector = json_object_get(object, "vector");
    const json_t *log = json_object_get(object, "log_probability");
    if (!json_is_object(object)) *why = "it is not an object";
    if (text && !json_is_string(text)) *why = "\"text\" is not a string";
    if (json_is_string(text) && strlen(json_string_value(text)) != json_string_length(text)) *why = "\"text\" holds a zero byte";
    if (!text && !next && !vector && !log) *why = "it has none of \"text\", \"next\", \"vector\" and \"log_probability\"";
    if (!!next + !!vector + !!log > 1) *why = "it has more than one of \"next\", \"vector\" and \"log_probability\"";
    if (text && !*why) a->text = az_strdup(az, json_string_value(text));
    a->finish = finish && json_is_string(finish) ? az_strdup(az, json_string_value(finish)) : "stop";
    a->prompt_tokens = json_integer_value(json_object_get(object, "prompt_tokens"));
    a->completion_tokens = json_integer_value(json_object_get(object, "completion_tokens"));
    if (!*why && log) a->log_probability = read_numbers(az, log, &a->n, why);
    for (int i = 0; a->log_probability && i < a->n; i++) a->total += a->log_probability[i];
    if (!*why && next) a->next = read_next(az, next, &a->n, why);
    if (!*why && vector) a->vector = read_vector(az, vector, &a->n, why);
    return !*why && az_ok(az);
}
