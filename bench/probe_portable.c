/* probe_portable.c - the processor's limits as a compiler's vector code reaches them. */
#include "probe.h"

enum { LANES = 4, SUMS = 12, BYTE_LANES = 16, BYTE_SUMS = 8 };

typedef float floats __attribute__((vector_size(LANES * sizeof(float))));
typedef int16_t shorts __attribute__((vector_size(BYTE_LANES)));

static uint64_t read_memory(const char *data, int64_t bytes, read_pattern pattern)
{
    const int64_t each = bytes / pattern.streams;
    uint64_t sum[PROBE_LINE / sizeof(uint64_t)] = {0}, total = 0;
    for (int64_t i = 0; i < each; i += PROBE_LINE)
        for (int s = 0; s < pattern.streams; s++) {
            const uint64_t *at = (const uint64_t *)(data + s * each + i);
            if (pattern.ahead > 0) __builtin_prefetch((const char *)at + pattern.ahead);
            for (int k = 0; k < PROBE_LINE / (int)sizeof *at; k++) sum[k] += at[k];
        }
    for (int k = 0; k < PROBE_LINE / (int)sizeof *sum; k++) total += sum[k];
    return total;
}

static double multiply_add_f32(int64_t steps, float *result)
{
    floats sum[SUMS] = {{0}}, x = {0.999f, 0.999f, 0.999f, 0.999f}, y = {0.001f, 0.001f, 0.001f, 0.001f};
    for (int64_t s = 0; s < steps; s++)
        for (int i = 0; i < SUMS; i++) sum[i] = sum[i] * x + y;
    for (int i = 1; i < SUMS; i++) sum[0] += sum[i];
    *result = sum[0][0];
    return (double)steps * SUMS * LANES;
}

/* In 16-bit lanes: what remains without an instruction that multiplies bytes. */
static double multiply_add_int8(int64_t steps, int32_t *result)
{
    shorts sum[BYTE_SUMS] = {{0}}, x = {3, 1, 4, 1, 5, 9, 2, 6};
    for (int64_t s = 0; s < steps; s++)
        for (int i = 0; i < BYTE_SUMS; i++) sum[i] = sum[i] * x + x;
    for (int i = 1; i < BYTE_SUMS; i++) sum[0] += sum[i];
    *result = sum[0][0];
    return (double)steps * BYTE_SUMS * (BYTE_LANES / 2);
}

const bench_probe probe_portable = {
    .name = "portable",
    .read = read_memory,
    .multiply_add_f32 = multiply_add_f32,
    .multiply_add_int8 = multiply_add_int8,
};
