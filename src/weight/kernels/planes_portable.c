/* planes_portable.c - products of bits on any processor, and which version runs here. */
#include "weight/kernels/planes.h"

#include "adze/base.h"

#include <string.h>

enum { COUNTED = 31 }; /* bytes whose ones a byte can count */

/* The number of ones of each byte. */
static inline uint64_t ones_of_bytes(uint64_t v)
{
    v -= v >> 1 & 0x5555555555555555u;
    v = (v & 0x3333333333333333u) + (v >> 2 & 0x3333333333333333u);
    return (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0fu;
}

/* Adds what eight rows have from `chunks` chunks of one plane with plane i of the activations, times 2^shift. */
static void count_rows(const uint8_t *w, const uint8_t *x, int planes, int chunks, int shift, uint32_t *sum)
{
    for (int c = 0; c < chunks;) {
        const int end = c + COUNTED < chunks ? c + COUNTED : chunks;
        uint64_t count = 0, v;
        for (; c < end; c++) {
            memcpy(&v, w + c * AZ_STRIP, sizeof v);
            count += ones_of_bytes(v ^ x[c * planes] * 0x0101010101010101u);
        }
        uint8_t of_row[8];
        memcpy(of_row, &count, sizeof count);
        for (int r = 0; r < 8; r++) sum[r] += (uint32_t)of_row[r] << shift;
    }
}

static void popcount_portable(const az_plane_strip *w, const az_plane_input *x, uint32_t *sum)
{
    memset(sum, 0, (size_t)(x->n * AZ_STRIP) * sizeof *sum);
    const uint8_t *bits = w->bits;
    for (int64_t c = 0; c < w->chunks; c += w->block) {
        const int chunks = c + w->block <= w->chunks ? w->block : (int)(w->chunks - c);
        for (int j = 0; j < w->planes; j++, bits += chunks * AZ_STRIP)
            for (int v = 0; v < x->n; v++)
                for (int i = 0; i < x->planes; i++)
                    for (int r = 0; r < AZ_STRIP; r += 8)
                        count_rows(bits + r, x->data + v * x->stride + c * x->planes + i, x->planes, chunks, i + j, sum + v * AZ_STRIP + r);
    }
}

static void lookup_portable(const az_plane_strip *w, const az_plane_input *x, uint32_t *sum)
{
    const int digits = az_plane_digits(x->planes);
    memset(sum, 0, (size_t)(x->n * AZ_STRIP) * sizeof *sum);
    const uint8_t *bits = w->bits;
    for (int64_t c = 0; c < w->chunks; c += w->block) {
        const int chunks = c + w->block <= w->chunks ? w->block : (int)(w->chunks - c);
        for (int j = 0; j < w->planes; j++)
            for (int k = 0; k < chunks; k++, bits += AZ_STRIP)
                for (int v = 0; v < x->n; v++) {
                    const uint8_t *low = x->data + v * x->stride + (c + k) * 32 * digits, *high = low + 16 * digits;
                    for (int d = 0; d < digits; d++, low += 16, high += 16)
                        for (int r = 0; r < AZ_STRIP; r++)
                            sum[v * AZ_STRIP + r] += (uint32_t)(low[bits[r] & 15] + high[bits[r] >> 4]) << (j + 4 * d);
                }
    }
}

static void codes_portable(const az_code_rows *w, const az_code_rows *x, int64_t cols, uint32_t *sum)
{
    for (int64_t v = 0; v < x->rows; v++)
        for (int64_t r = 0; r < w->rows; r++) {
            const uint8_t *a = w->code + r * w->stride, *b = x->code + v * x->stride;
            uint32_t total = 0;
            for (int64_t c = 0; c < cols; c++) total += (uint32_t)a[c] * b[c];
            sum[v * w->rows + r] = total;
        }
}

const az_plane_kernels az_plane_kernels_portable = {
    .name = "portable", .popcount = popcount_portable, .lookup = lookup_portable, .codes = codes_portable};

const az_plane_kernels *az_plane_kernels_here(void)
{
#if defined(__x86_64__)
    const az_cpu *cpu = az_cpu_features();
    if (cpu->bitalg) return &az_plane_kernels_bitalg;
    if (cpu->avx2) return &az_plane_kernels_avx2;
#endif
    return &az_plane_kernels_portable;
}
