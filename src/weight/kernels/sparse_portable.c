/* sparse_portable.c - products with scattered zeros in plain C, for every processor, and the choice of the set of kernels. */
#include "tensor/half.h"
#include "weight/kernels/sparse.h"

#include <string.h>

static float value_at(const void *value, int64_t i, az_dtype type)
{
    switch (type) {
    case AZ_F32: return ((const float *)value)[i];
    case AZ_BF16: return az_bf16_widen(((const uint16_t *)value)[i]);
    default: return az_f16_widen(((const uint16_t *)value)[i]);
    }
}

static float word_value(uint32_t word, az_dtype type)
{
    const uint16_t half = (uint16_t)(word & 0xffff);
    return type == AZ_BF16 ? az_bf16_widen(half) : az_f16_widen(half);
}

static void bitmap_dense(const az_bitmap_strip *strip, const az_sparse_input *x, float *sums)
{
    memset(sums, 0, (size_t)(x->n * AZ_TILE) * sizeof *sums);
    int64_t at = 0;
    for (int64_t t = 0; t < strip->tiles; t++)
        for (int r = 0; r < AZ_TILE; r++) {
            const uint8_t *mask = strip->mask + (t * AZ_TILE + r) * 8;
            for (int c = 0; c < AZ_TILE; c++) {
                if (!(mask[c / 8] >> c % 8 & 1)) continue;
                const float w = value_at(strip->value, at++, strip->type);
                for (int64_t j = 0; j < x->n; j++) sums[j * AZ_TILE + r] += w * x->value[j * x->stride + t * AZ_TILE + c];
            }
        }
}

static void add_scaled(float *sum, float w, const float *x, int64_t n)
{
    for (int64_t j = 0; j < n; j++) sum[j] += w * x[j];
}

static void bitmap_sparse(const az_bitmap_strip *strip, const az_sparse_input *x, float *sums)
{
    memset(sums, 0, (size_t)(x->stride * AZ_TILE) * sizeof *sums);
    int64_t at = 0;
    for (int64_t t = 0; t < strip->tiles; t++)
        for (int r = 0; r < AZ_TILE; r++) {
            const uint8_t *mask = strip->mask + (t * AZ_TILE + r) * 8;
            for (int c = 0; c < AZ_TILE; c++) {
                if (!(mask[c / 8] >> c % 8 & 1)) continue;
                const float w = value_at(strip->value, at++, strip->type);
                add_scaled(sums + r * x->stride, w, x->value + (t * AZ_TILE + c) * x->stride, x->stride);
            }
        }
}

static void csl(const az_csl_strip *strip, const az_sparse_input *x, float *sums)
{
    memset(sums, 0, (size_t)(x->stride * AZ_CSL_LANES * strip->slices) * sizeof *sums);
    for (int64_t s = 0; s < strip->slices; s++)
        for (int64_t step = strip->offsets[s]; step < strip->offsets[s + 1]; step++)
            for (int64_t lane = 0; lane < AZ_CSL_LANES; lane++) {
                const uint32_t word = strip->words[step * AZ_CSL_LANES + lane];
                const int64_t row = strip->order[s * AZ_CSL_LANES + lane];
                add_scaled(sums + row * x->stride, word_value(word, strip->type), x->value + (word >> 16) * x->stride, x->stride);
            }
}

const az_sparse_kernels az_sparse_kernels_portable = {
    .bitmap_dense = bitmap_dense,
    .bitmap_sparse = bitmap_sparse,
    .csl = csl,
    .bitmap_costs = {.expand = 0.055, .vector = 0.023, .visit_kept = 1.55, .visit_groups = 0.25},
};

const az_sparse_kernels *az_sparse_kernels_here(void)
{
#if defined(__x86_64__)
    const az_cpu *cpu = az_cpu_features();
    if (cpu->vbmi2) return &az_sparse_kernels_vbmi2;
    if (cpu->avx2 && cpu->fma && cpu->f16c) return &az_sparse_kernels_avx2;
#endif
    return &az_sparse_kernels_portable;
}
