/* squares_avx512.h - sixteen lines of sixteen numbers of 32 bits, read with any steps in memory, and turned. Included by *_avx512.c and
 * *_amx.c. */
#ifndef ADZE_TENSOR_SQUARES_AVX512_H
#define ADZE_TENSOR_SQUARES_AVX512_H

#include "tensor/kernels/kernels.h"

#include <immintrin.h>

enum { AZ_SQUARE = 16 };

/* Bits for the first n of sixteen lanes, for any n. */
static inline __mmask16 az_first_lanes(int64_t n)
{
    return n >= AZ_SQUARE ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1);
}

/* line[i] becomes what the lines have in lane i: first within groups of 2 x 2 and 4 x 4 lanes, then groups change places. */
static inline __attribute__((always_inline)) void az_turn_square(__m512i line[AZ_SQUARE])
{
    __m512i pair[AZ_SQUARE], four[AZ_SQUARE];
#pragma GCC unroll 8
    for (int i = 0; i < AZ_SQUARE; i += 2) {
        pair[i] = _mm512_unpacklo_epi32(line[i], line[i + 1]);
        pair[i + 1] = _mm512_unpackhi_epi32(line[i], line[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < AZ_SQUARE; i += 4) { /* four[i + k]: lanes k, k + 4, k + 8, k + 12 of lines i .. i + 3 */
        four[i] = _mm512_unpacklo_epi64(pair[i], pair[i + 2]);
        four[i + 1] = _mm512_unpackhi_epi64(pair[i], pair[i + 2]);
        four[i + 2] = _mm512_unpacklo_epi64(pair[i + 1], pair[i + 3]);
        four[i + 3] = _mm512_unpackhi_epi64(pair[i + 1], pair[i + 3]);
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        const __m512i low01 = _mm512_shuffle_i32x4(four[k], four[k + 4], 0x88),
                      low23 = _mm512_shuffle_i32x4(four[k + 8], four[k + 12], 0x88);
        const __m512i high01 = _mm512_shuffle_i32x4(four[k], four[k + 4], 0xdd),
                      high23 = _mm512_shuffle_i32x4(four[k + 8], four[k + 12], 0xdd);
        line[k] = _mm512_shuffle_i32x4(low01, low23, 0x88);
        line[k + 8] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
        line[k + 4] = _mm512_shuffle_i32x4(high01, high23, 0x88);
        line[k + 12] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
    }
}

/* line[i] = the values p .. p + 15 of row i of x; 0 in rows from `rows` and at values from `depth` on. */
static inline __attribute__((always_inline)) void az_load_square(az_matrix_f32 x, int64_t rows, int64_t p, int64_t depth,
                                                                 __m512i line[AZ_SQUARE])
{
    const float *from = x.data + p * x.column;
    if (x.column == 1) { /* rows lie together */
#pragma GCC unroll 16
        for (int i = 0; i < AZ_SQUARE; i++) {
            const __mmask16 inside = i < rows ? az_first_lanes(depth - p) : 0;
            line[i] = _mm512_castps_si512(_mm512_maskz_loadu_ps(inside, from + (i < rows ? i : 0) * x.row));
        }
        return;
    }
    if (x.row == 1) { /* columns do */
#pragma GCC unroll 16
        for (int i = 0; i < AZ_SQUARE; i++) {
            const __mmask16 inside = p + i < depth ? az_first_lanes(rows) : 0;
            line[i] = _mm512_castps_si512(_mm512_maskz_loadu_ps(inside, from + (p + i < depth ? i : 0) * x.column));
        }
    } else { /* nothing does */
        float values[AZ_SQUARE][AZ_SQUARE] = {0};
        for (int64_t k = 0; k < AZ_SQUARE && p + k < depth; k++)
            for (int64_t i = 0; i < AZ_SQUARE && i < rows; i++) values[k][i] = from[i * x.row + k * x.column];
        for (int i = 0; i < AZ_SQUARE; i++) line[i] = _mm512_castps_si512(_mm512_loadu_ps(values[i]));
    }
    az_turn_square(line);
}

#endif
