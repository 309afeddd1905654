/* own.c - lists of weights that are stored by their parts. */
#include "lm/files/own.h"

#include <stdlib.h>
#include <string.h>

const char *az_own_line(az_ctx *az, const char *name, const az_weight *w)
{
    const char *line = az_format_text(az, "%s %s", name, w->format->name);
    for (int i = 0; line && i < az_format_parts(w->format); i++) line = az_format_text(az, "%s %s", line, az_dtype_name(w->part[i]->dtype));
    return line;
}

const char *az_own_part_name(az_ctx *az, const char *name, const az_format *format, int part)
{
    return az_format_text(az, "adze.%s.%s", name, format->part_name[part]);
}

static bool dtype_by_name(const char *name, az_dtype *dtype)
{
    for (int i = 0; i < AZ_DTYPES; i++) {
        if (strcmp(az_dtype_name((az_dtype)i), name) != 0) continue;
        *dtype = (az_dtype)i;
        return true;
    }
    return false;
}

bool az_own_parse(az_ctx *az, az_text line, az_own_weight *out)
{
    enum { LONGEST = 512 };
    char *text = line.length <= LONGEST ? az_format_text(az, "%.*s", (int)line.length, line.data) : NULL, *rest = NULL;
    const char *name = text ? strtok_r(text, " ", &rest) : NULL, *format = name ? strtok_r(NULL, " ", &rest) : NULL;
    if (!format) return az_fail(az, AZ_BAD_INPUT, "the list of adze's own weights has the line '%s'", az_text_show(az, line));
    *out = (az_own_weight){.name = name, .format = az_format_by_name(format)};
    if (!out->format)
        return az_fail(az, AZ_BAD_INPUT, "'%s' is stored in the format '%s', which this version of adze does not know", name, format);
    for (int i = 0; i < az_format_parts(out->format); i++) {
        const char *type = strtok_r(NULL, " ", &rest);
        if (!type || !dtype_by_name(type, &out->dtype[i]))
            return az_fail(az, AZ_BAD_INPUT, "'%s': the part '%s' has the type '%s', which is not known", name, out->format->part_name[i],
                           type ? type : "");
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const az_own_weight *)a)->name, ((const az_own_weight *)b)->name);
}

bool az_own_sort(az_ctx *az, az_own_weights *all)
{
    if (all->n > 0) qsort(all->item, (size_t)all->n, sizeof *all->item, by_name);
    for (int64_t i = 1; i < all->n; i++)
        if (strcmp(all->item[i].name, all->item[i - 1].name) == 0)
            return az_fail(az, AZ_BAD_INPUT, "'%.100s' stands twice in the list of adze's own weights", all->item[i].name);
    return true;
}

az_own_weight *az_own_find(const az_own_weights *all, const char *name)
{
    const az_own_weight key = {.name = name};
    return all->n > 0 ? bsearch(&key, all->item, (size_t)all->n, sizeof *all->item, by_name) : NULL;
}

bool az_own_has_part(az_ctx *az, const az_own_weights *all, const char *tensor)
{
    static const char prefix[] = "adze.";
    const char *dot = strrchr(tensor, '.');
    if (all->n == 0 || !dot || strncmp(tensor, prefix, strlen(prefix)) != 0 || dot < tensor + strlen(prefix)) return false;
    const char *name = tensor + strlen(prefix);
    const char *of = az_format_text(az, "%.*s", (int)(dot - name), name);
    const az_own_weight *own = of ? az_own_find(all, of) : NULL;
    for (int i = 0; own && i < az_format_parts(own->format); i++)
        if (strcmp(own->format->part_name[i], dot + 1) == 0) return true;
    return false;
}

bool az_own_attach(az_ctx *az, az_lm *lm, const az_lm_slot *slot, az_own_weight *own, az_own_finder find, const void *container)
{
    az_tensor *part[AZ_WEIGHT_PARTS] = {0};
    if (!slot->weight) return az_fail(az, AZ_BAD_INPUT, "'%s' is listed as a matrix, but is a vector", slot->name);
    for (int i = 0; i < az_format_parts(own->format); i++) {
        const char *name = az_own_part_name(az, own->name, own->format, i);
        part[i] = (az_tensor *)(uintptr_t)(name ? find(az, name, own->dtype[i], container) : NULL);
        if (!part[i]) return az_fail(az, AZ_BAD_INPUT, "the tensor '%s' is missing, a part of '%s'", name ? name : "", slot->name);
    }
    const az_weight *w = az_weight_from_parts(az, own->format, slot->rows, slot->cols, part);
    az_fail_context(az, "'%s'", slot->name);
    own->placed = true;
    return w && az_lm_attach_weight(az, lm, slot, w);
}

bool az_own_complete(az_ctx *az, const az_own_weights *all)
{
    for (int64_t i = 0; i < all->n; i++)
        if (!all->item[i].placed)
            return az_fail(az, AZ_BAD_INPUT, "'%.100s' is listed as a weight, but this architecture has no place for it",
                           all->item[i].name);
    return true;
}
