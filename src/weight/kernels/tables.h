/* tables.h - products by tables: what each entry of a codebook contributes for some vectors is computed once, then looked up. */
#ifndef ADZE_WEIGHT_TABLES_H
#define ADZE_WEIGHT_TABLES_H

#include <stdint.h>

enum {
    AZ_TABLE = 256,
    AZ_TABLE_LANES = 4, /* most vectors */
    AZ_TABLES = 16      /* most tables of one vector, or a quarter of that of several: the first cache holds them */
};

/* Tables of `lanes` vectors, 1 or AZ_TABLE_LANES, whose values lie side by side. */
typedef struct az_tables {
    int lanes;
    int64_t tables;      /* at most AZ_TABLES */
    float *table;        /* [tables, 256, lanes] */
    const uint8_t *code; /* [tables, stride] */
    int64_t stride;
} az_tables;

typedef struct az_table_kernels {
    /* to[i][..] = x[i] [depth] . column [depth, 256] */
    void (*dot_two)(const float *column, int64_t depth, const float *const x[2], float *const to[2]);
    /* The tables of four vectors, one after the other, as one: [4, 256] to [256, 4]. */
    void (*interleave)(const float *each, float *table);
    /* sum[o lanes + j] += table[t][code[t][o]][j] for o < count and all t */
    void (*look_up)(const az_tables *t, int64_t count, float *sum);
} az_table_kernels;

extern const az_table_kernels az_table_kernels_portable;
#if defined(__x86_64__)
extern const az_table_kernels az_table_kernels_avx2;
#endif
const az_table_kernels *az_table_kernels_here(void);

#endif
