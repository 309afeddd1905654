/* panels.c - whether this processor multiplies large matrices by packed panels, and by which; their depth; tiles at edges. */
#include "tensor/kernels/panels.h"

#include <string.h>

int64_t az_panel_slice(const az_panel_kernels *kernels, int64_t k)
{
    const int64_t step = kernels->fill > 8 ? kernels->fill : 8, slices = (k + kernels->depth - 1) / kernels->depth;
    return ((k + slices - 1) / slices + step - 1) / step * step;
}

void az_panel_multiply(const az_panel_kernels *kernels, int64_t depth, const void *rows, const void *columns, const az_panel_part *part)
{
    if (part->rows == kernels->rows && part->columns == kernels->columns) {
        kernels->product(depth, rows, columns, part->add, part->c, part->ldc);
        return;
    }
    float tile[AZ_PANEL_MOST * AZ_PANEL_MOST] = {0};
    const size_t bytes = (size_t)part->columns * sizeof *tile;
    for (int64_t i = 0; i < part->rows && part->add; i++) memcpy(tile + i * AZ_PANEL_MOST, part->c + i * part->ldc, bytes);
    kernels->product(depth, rows, columns, part->add, tile, AZ_PANEL_MOST);
    for (int64_t i = 0; i < part->rows; i++) memcpy(part->c + i * part->ldc, tile + i * AZ_PANEL_MOST, bytes);
}

const az_panel_kernels *az_panel_kernels_here(az_exactness exactness)
{
#if defined(__x86_64__)
    const az_cpu *cpu = az_cpu_features();
    if (cpu->amx && exactness != AZ_EXACT_F32)
        return &az_panel_kernels_amx[exactness == AZ_EXACT_16_BITS]; /* in three parts it gains nothing */
    if (cpu->avx512) return &az_panel_kernels_avx512;
    if (cpu->avx2 && cpu->fma) return &az_panel_kernels_avx2;
#endif
    (void)exactness;
    return NULL;
}
