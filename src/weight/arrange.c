/* arrange.c - rows of blocks laid out again, sixteen side by side, as kernels read them fastest (kernels.h says how). */
#include "base/parallel.h"
#include "weight/weight_internal.h"

#include <string.h>

typedef struct arrangement {
    const az_weight *w;
    unsigned char *to;
} arrangement;

/* The numbers of `size` bytes, a constant where it is inlined, that stand at byte `at` of each row. */
static inline __attribute__((always_inline)) void arrange_numbers(const unsigned char *rows, int64_t row_bytes, int64_t at, int size,
                                                                  unsigned char *to)
{
    for (int r = 0; r < AZ_ARRANGED; r++) memcpy(to + AZ_ARRANGED * at + r * size, rows + r * row_bytes + at, (size_t)size);
}

/* AZ_ARRANGED rows */
static void arrange_rows(const void *all, int64_t group)
{
    const arrangement *a = all;
    const az_format *format = a->w->format;
    const int64_t row_bytes = a->w->cols / format->block * format->block_bytes, first = group * AZ_ARRANGED * row_bytes;
    const unsigned char *rows = (const unsigned char *)a->w->part[0]->data + first;
    for (int64_t block = 0; block < row_bytes; block += format->block_bytes) {
        int64_t at = block;
        for (; at < block + format->halves; at += 2) arrange_numbers(rows, row_bytes, at, 2, a->to + first);
        for (; at < block + format->block_bytes; at += 4) arrange_numbers(rows, row_bytes, at, 4, a->to + first);
    }
}

bool az_weight_arrange(az_ctx *az, az_weight *w)
{
    const az_format *format = w->format;
    if (w->arranged || w->rows < AZ_ARRANGED || !format->rows_kernel || !format->rows_kernel(format, 1, true)) return true;
    const int64_t groups = w->rows / AZ_ARRANGED;
    az_tensor *to = az_new2(az, AZ_U8, groups * AZ_ARRANGED, w->cols / format->block * format->block_bytes);
    if (!to) return false;
    const arrangement all = {.w = w, .to = to->data};
    az_each(az_threads(az), groups, arrange_rows, &all);
    w->arranged = to;
    az_map_forget(az, w->part[0]->data, az_weight_bytes(w));
    return true;
}
