/* tables_portable.c - products by tables in plain C, and the choice of the set of kernels. */
#include "adze/base.h"
#include "weight/kernels/tables.h"

static void dot_two(const float *column, int64_t depth, const float *const x[2], float *const to[2])
{
    for (int k = 0; k < 2; k++) {
        for (int e = 0; e < AZ_TABLE; e++) to[k][e] = 0;
        for (int64_t i = 0; i < depth; i++)
            for (int e = 0; e < AZ_TABLE; e++) to[k][e] += x[k][i] * column[i * AZ_TABLE + e];
    }
}

static void interleave(const float *each, float *table)
{
    for (int e = 0; e < AZ_TABLE; e++)
        for (int j = 0; j < AZ_TABLE_LANES; j++) table[e * AZ_TABLE_LANES + j] = each[j * AZ_TABLE + e];
}

static void look_up(const az_tables *t, int64_t count, float *sum)
{
    for (int64_t o = 0; o < count; o++, sum += t->lanes)
        for (int64_t k = 0; k < t->tables; k++)
            for (int j = 0; j < t->lanes; j++) sum[j] += t->table[(k * AZ_TABLE + t->code[k * t->stride + o]) * t->lanes + j];
}

const az_table_kernels az_table_kernels_portable = {.dot_two = dot_two, .interleave = interleave, .look_up = look_up};

const az_table_kernels *az_table_kernels_here(void)
{
#if defined(__x86_64__)
    const az_cpu *cpu = az_cpu_features();
    if (cpu->avx2 && cpu->fma) return &az_table_kernels_avx2;
#endif
    return &az_table_kernels_portable;
}
