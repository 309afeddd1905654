/* model_file.c - a fit that is used again: arrays of its results, names as zero-terminated bytes. */
#include "estimate/estimate_internal.h"

#include <string.h>

az_tensor *names_tensor(az_ctx *az, const char *const *name, int64_t count)
{
    size_t bytes = 0;
    for (int64_t i = 0; i < count; i++) bytes += strlen(name[i]) + 1;
    az_tensor *out = az_new1(az, AZ_U8, (int64_t)bytes);
    char *at = out ? out->data : NULL;
    for (int64_t i = 0; at && i < count; i++) {
        memcpy(at, name[i], strlen(name[i]) + 1);
        at += strlen(name[i]) + 1;
    }
    return out;
}

az_tensor *model_part(az_ctx *az, const model_file *file, const char *name, int rank)
{
    const az_array *array = az_results_read(az, file->path, name);
    if (!array) {
        az_fail_context(az, "'%s' is no model of %s", file->path, file->method);
        return NULL;
    }
    const az_tensor *x = array->value;
    const int64_t count = az_count(x);
    if (rank == 0 ? count == 1 : rank == 1 && x->rank == 2 && x->shape[1] == 1)
        x = az_reshape(az, x, rank, &count); /* a folder's tables have two axes */
    if (!x) return NULL;
    const char *wrong = x->rank != rank              ? az_format_text(az, "has the shape %s", az_shape_text(az, x))
                        : az_first_nonfinite(x) >= 0 ? "has numbers that are not finite"
                                                     : NULL;
    if (wrong) return az_fail(az, AZ_BAD_INPUT, "'%s' is no model of %s: '%s' %s", file->path, file->method, name, wrong);
    return az_copy(az, x);
}

const char **model_names(az_ctx *az, const model_file *file, const char *what, int64_t count, int64_t *found)
{
    const az_tensor *bytes = model_part(az, file, what, 1);
    if (!bytes) return NULL;
    const int64_t size = az_count(bytes);
    char *text = az_alloc(az, (size_t)size + 1);
    *found = 0;
    for (int64_t i = 0; text && i < size; i++) {
        const double value = az_f64(bytes)[i];
        text[i] = value >= 0 && value <= 255 ? (char)(unsigned char)value : '?';
        *found += text[i] == '\0';
    }
    if (!text || (count > 0 && *found != count) || (size > 0 && text[size - 1] != '\0'))
        return az_fail(az, AZ_BAD_INPUT, "'%s' is no model of %s: '%s' holds %lld names", file->path, file->method, what,
                       (long long)*found);
    const char **names = az_alloc_array(az, (size_t)*found + 1, sizeof *names);
    for (int64_t i = 0; names && i < *found; i++) {
        names[i] = text;
        text += strlen(text) + 1;
    }
    return names;
}
