/* tables_avx2.c - products by tables for AVX2: tables that the first cache holds, eight outputs at a time. */
#include "weight/kernels/tables.h"

#include <immintrin.h>
#include <stddef.h>

enum { LANES = 8, OUTPUTS = 8, LINE = 64 };

/* ---- filling ---- */

static void dot_two(const float *column, int64_t depth, const float *const x[2], float *const to[2])
{
    enum { WIDE = 4 };
    for (int e = 0; e < AZ_TABLE; e += WIDE * LANES) {
        __m256 sum[2][WIDE];
        for (int k = 0; k < WIDE; k++) sum[0][k] = sum[1][k] = _mm256_setzero_ps();
        for (int64_t i = 0; i < depth; i++) {
            const __m256 x0 = _mm256_broadcast_ss(x[0] + i), x1 = _mm256_broadcast_ss(x[1] + i);
            for (int k = 0; k < WIDE; k++) {
                const __m256 value = _mm256_loadu_ps(column + i * AZ_TABLE + e + LANES * k);
                sum[0][k] = _mm256_fmadd_ps(x0, value, sum[0][k]);
                sum[1][k] = _mm256_fmadd_ps(x1, value, sum[1][k]);
            }
        }
        for (int j = 0; j < 2; j++)
            for (int k = 0; k < WIDE; k++) _mm256_storeu_ps(to[j] + e + LANES * k, sum[j][k]);
    }
}

static void interleave(const float *each, float *table)
{
    for (int e = 0; e < AZ_TABLE; e += 4, table += 16) {
        __m128 row[4];
        for (int j = 0; j < 4; j++) row[j] = _mm_loadu_ps(each + j * AZ_TABLE + e);
        _MM_TRANSPOSE4_PS(row[0], row[1], row[2], row[3]);
        for (int j = 0; j < 4; j++) _mm_storeu_ps(table + 4 * j, row[j]);
    }
}

/* ---- looking up ---- */

/* A line of codes of each table, copied: where outputs are a power of two they lie in places of the cache that exclude each other. */
static inline void copy_codes(const az_tables *t, int64_t output, uint8_t *to)
{
    const uint8_t *from = t->code + output;
    for (int64_t k = 0; k < t->tables; k++, from += t->stride, to += LINE) {
        _mm_prefetch((const char *)from + t->tables * t->stride, _MM_HINT_T1); /* of the tables after these */
        for (int i = 0; i < LINE; i += 32) _mm256_storeu_si256((__m256i *)(to + i), _mm256_loadu_si256((const __m256i *)(from + i)));
    }
}

static inline void look_up_one(const az_tables *t, const uint8_t *code, float *sum)
{
    __m128 total[OUTPUTS];
    for (int i = 0; i < OUTPUTS; i++) total[i] = _mm_load_ss(sum + i);
    const float *table = t->table;
    for (int64_t k = 0; k < t->tables; k++, code += LINE, table += AZ_TABLE)
        for (int i = 0; i < OUTPUTS; i++) total[i] = _mm_add_ss(total[i], _mm_load_ss(table + code[i]));
    for (int i = 0; i < OUTPUTS; i++) _mm_store_ss(sum + i, total[i]);
}

static inline void look_up_four(const az_tables *t, const uint8_t *code, float *sum)
{
    __m128 total[OUTPUTS];
    for (int i = 0; i < OUTPUTS; i++) total[i] = _mm_loadu_ps(sum + 4 * i);
    const float *table = t->table;
    for (int64_t k = 0; k < t->tables; k++, code += LINE, table += 4 * AZ_TABLE)
        for (int i = 0; i < OUTPUTS; i++) total[i] = _mm_add_ps(total[i], _mm_loadu_ps(table + 4 * (size_t)code[i]));
    for (int i = 0; i < OUTPUTS; i++) _mm_storeu_ps(sum + 4 * i, total[i]);
}

static void look_up(const az_tables *t, int64_t count, float *sum)
{
    uint8_t code[AZ_TABLES * LINE];
    const int64_t whole = count / LINE * LINE;
    for (int64_t o = 0; o < whole; o += LINE) {
        copy_codes(t, o, code);
        for (int64_t i = 0; i < LINE; i += OUTPUTS)
            t->lanes == 1 ? look_up_one(t, code + i, sum + o + i) : look_up_four(t, code + i, sum + 4 * (o + i));
    }
    az_tables rest = *t;
    rest.code += whole;
    az_table_kernels_portable.look_up(&rest, count - whole, sum + whole * t->lanes);
}

const az_table_kernels az_table_kernels_avx2 = {.dot_two = dot_two, .interleave = interleave, .look_up = look_up};
