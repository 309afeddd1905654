/* s2ft_file.c - the choice of rows and columns as a file, {"blocks.1.mlp.down": [3, 17, 40], ...}, written and read again. */
#include "tune/s2ft.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

bool az_s2_write(az_ctx *az, const char *path, const az_s2_choice *choice, int n)
{
    json_t *all = json_object();
    for (int i = 0; i < n; i++) {
        json_t *list = json_array();
        for (int64_t k = 0; k < az_count(choice[i].index); k++)
            json_array_append_new(list, json_integer((json_int_t)az_item(choice[i].index, k)));
        json_object_set_new(all, choice[i].layer, list);
    }
    az_out *out = az_create(az, path);
    const bool good = out && json_dumpf(all, az_out_stream(out), JSON_INDENT(1) | JSON_PRESERVE_ORDER) == 0;
    if (good) fputc('\n', az_out_stream(out));
    json_decref(all);
    return good && az_commit(out);
}

static int ascending(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* One layer's list, sorted. */
static az_tensor *read_list(az_ctx *az, const char *layer, const json_t *list, int64_t size)
{
    const int64_t n = (int64_t)json_array_size(list);
    if (n == 0) return az_fail(az, AZ_BAD_INPUT, "%s has no list of numbers", layer);
    int32_t *index = az_alloc_array(az, (size_t)n, sizeof *index);
    for (int64_t i = 0; index && i < n; i++) {
        const json_t *x = json_array_get(list, (size_t)i);
        const json_int_t at = json_integer_value(x);
        if (!json_is_integer(x) || at < 0 || at >= size)
            return az_fail(az, AZ_BAD_INPUT, "%s: entry %lld is no number from 0 to %lld", layer, (long long)i + 1, (long long)size - 1);
        index[i] = (int32_t)at;
    }
    if (!index) return NULL;
    qsort(index, (size_t)n, sizeof *index, ascending);
    for (int64_t i = 1; i < n; i++)
        if (index[i] == index[i - 1]) return az_fail(az, AZ_BAD_INPUT, "%s names %d twice", layer, (int)index[i]);
    return az_from(az, AZ_I32, 1, &n, index);
}

static bool read_choices(az_ctx *az, az_lm *lm, const json_t *all, az_s2_choice *choice, int *n)
{
    for (int kind = 0; kind < AZ_S2_KINDS; kind++)
        for (int b = 0; b < lm->config.blocks; b++) {
            const az_lm_linear *linear = az_s2_linear(lm, b, (az_s2_kind)kind);
            const json_t *list = json_object_get(all, linear->name);
            if (!list) continue;
            const int64_t size = az_s2_columns((az_s2_kind)kind) ? linear->weight->cols : linear->weight->rows;
            az_tensor *index = read_list(az, linear->name, list, size);
            if (!index) return false;
            choice[(*n)++] = (az_s2_choice){.layer = linear->name, .kind = (az_s2_kind)kind, .index = index};
        }
    return true;
}

/* A layer of the file that the model has not, or that is not trained so. */
static const char *stranger(const json_t *all, const az_s2_choice *choice, int n)
{
    const char *layer;
    json_t *list;
    json_object_foreach((json_t *)(uintptr_t)all, layer, list)
    {
        int i = 0;
        while (i < n && strcmp(choice[i].layer, layer) != 0) i++;
        if (i == n) return layer;
    }
    return NULL;
}

int az_s2_read(az_ctx *az, az_lm *lm, const char *path, az_s2_choice **choice)
{
    size_t length = 0;
    json_error_t error;
    const char *text = az_read_file(az, path, &length);
    json_t *all = text ? json_loadb(text, length, JSON_REJECT_DUPLICATES, &error) : NULL;
    int n = 0;
    *choice = az_alloc_array(az, (size_t)(AZ_S2_KINDS * lm->config.blocks), sizeof **choice);
    if (text && !json_is_object(all))
        az_fail(az, AZ_BAD_INPUT, "it is no JSON object of layers: %s", all ? "another value" : error.text);
    else if (all && *choice && read_choices(az, lm, all, *choice, &n)) {
        const char *other = stranger(all, *choice, n);
        if (other) az_fail(az, AZ_BAD_INPUT, "'%s' is no attn.v, attn.o, mlp.up or mlp.down of the model", other);
        if (!other && n == 0) az_fail(az, AZ_BAD_INPUT, "it names no layer");
    }
    json_decref(all);
    if (text) az_fail_context(az, "the selection '%s'", path);
    return az_ok(az) ? n : 0;
}
