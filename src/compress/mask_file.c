/* mask_file.c - keep masks in a file, one bit a weight. */
#include "compress/start_mask.h"

#include <stdlib.h>
#include <string.h>

static const char *tensor_name(az_ctx *az, const char *layer)
{
    return az_format_text(az, "%s.mask", layer);
}

static int by_name(const void *a, const void *b)
{
    const az_named_mask *x = a, *y = b;
    return strcmp(x->layer, y->layer);
}

/* The mask in bits, u8 [ceil(rows cols / 8)]. */
static az_tensor *packed(az_ctx *az, const az_tensor *keep)
{
    const int64_t n = az_count(keep), bytes = (n + 7) / 8;
    az_tensor *bits = az_zeros(az, AZ_U8, 1, &bytes);
    const unsigned char *from = keep->data;
    unsigned char *to = bits ? bits->data : NULL;
    for (int64_t i = 0; to && i < n; i++)
        if (from[i]) to[i / 8] |= (unsigned char)(1U << i % 8);
    return bits;
}

bool az_mask_file_write(az_ctx *az, const char *path, const az_named_mask *masks, int n)
{
    az_scope_push(az);
    az_named_mask *sorted = az_alloc_array(az, (size_t)n, sizeof *sorted);
    az_safetensors_writer *writer = az_safetensors_create(az, path);
    if (sorted && n) memcpy(sorted, masks, (size_t)n * sizeof *sorted);
    if (sorted) qsort(sorted, (size_t)n, sizeof *sorted, by_name);
    if (writer) az_safetensors_put_metadata(writer, "format", "adze masks");
    for (int i = 0; sorted && writer && i < n; i++) {
        const int64_t bytes = (az_count(sorted[i].keep) + 7) / 8;
        az_safetensors_declare(writer, tensor_name(az, sorted[i].layer), AZ_U8, 1, &bytes);
    }
    for (int i = 0; sorted && az_ok(az) && i < n; i++) {
        az_scope_push(az);
        az_safetensors_write(writer, packed(az, sorted[i].keep));
        az_scope_pop(az);
    }
    const bool good = az_ok(az) && az_safetensors_commit(writer);
    az_scope_pop(az);
    return good;
}

az_tensor *az_mask_file_find(az_ctx *az, const az_safetensors *file, const az_lm_linear *linear)
{
    if (!file) return NULL;
    const int64_t n = linear->weight->rows * linear->weight->cols;
    const az_tensor *bits = az_safetensors_find(file, tensor_name(az, linear->name));
    if (!bits) return az_fail(az, AZ_BAD_INPUT, "there is none for %s", linear->name);
    if (bits->dtype != AZ_U8 || az_count(bits) != (n + 7) / 8)
        return az_fail(az, AZ_BAD_INPUT, "the one for %s has %lld bytes, %lld weights need %lld", linear->name, (long long)az_count(bits),
                       (long long)n, (long long)(n + 7) / 8);
    az_tensor *keep = az_new2(az, AZ_U8, linear->weight->rows, linear->weight->cols);
    const unsigned char *from = bits->data;
    unsigned char *to = keep ? keep->data : NULL;
    for (int64_t i = 0; to && i < n; i++) to[i] = from[i / 8] >> i % 8 & 1;
    return keep;
}
