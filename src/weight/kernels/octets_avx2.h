/* octets_avx2.h - products of quantized rows with vectors of rounded activations, for AVX2: what all formats of blocks share.
 *
 * Rows are taken eight at a time. A format unpacks 32 columns of them into registers in which lane r belongs to row r, and each lane has
 * four columns; every vector then passes by, four of its bytes broadcast to all lanes. So the bits of a weight are looked at once for any
 * number of vectors, and sums across lanes are never needed. Rows that do not fill an octet are done one by one, as eight copies. */
#ifndef ADZE_OCTETS_AVX2_H
#define ADZE_OCTETS_AVX2_H

#include "weight/kernels/kernels.h"
#include "weight/weight_internal.h"

#include <immintrin.h>
#include <string.h>

#define AZ_INLINE static inline __attribute__((always_inline))

enum { AZ_OCTET = 8, AZ_STEPS = 8 /* of four columns, in a block */ };

/* How the levels of a format multiply. */
typedef struct az_level_kind {
    int run;        /* so many products of two levels and two bytes of x can be added up in 16 bits */
    bool is_signed; /* levels are -128 .. 127; run is 1 */
    bool fine;      /* a whole-number factor and an offset for each 16 columns instead of one offset for 32; run is at most 4 */
    bool offset;
} az_level_kind;

/* 32 columns of eight rows: weight = scale (factor level) - offset */
typedef struct az_tile {
    __m256i level[AZ_STEPS]; /* [step]: bytes [row][4 columns] */
    __m256i factor[2];       /* 16 bits, [row][2 equal]: of each half of the columns */
    __m256 scale, offset[2]; /* [row] */
} az_tile;

/* Eight rows from some block on, `apart` bytes from each other. */
typedef struct az_octet {
    const unsigned char *first;
    int64_t apart;
} az_octet;

/* Vectors first .. first + n - 1 */
typedef struct az_span {
    int64_t first, n;
} az_span;

/* ---- unpacking ------------------------------------------------------------------------------------------------------------------- */

/* Bytes at .. at + 15 of each row: dword k of row r goes to lane r of out[k]. */
AZ_INLINE void az_load_columns(az_octet rows, int64_t at, __m256i out[4])
{
    __m256i v[4];
    for (int r = 0; r < 4; r++) {
        const unsigned char *low = rows.first + r * rows.apart + at, *high = rows.first + (r + 4) * rows.apart + at;
        v[r] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)low)),
                                       _mm_loadu_si128((const __m128i *)high), 1);
    }
    const __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpackhi_epi32(v[0], v[1]);
    const __m256i c = _mm256_unpacklo_epi32(v[2], v[3]), d = _mm256_unpackhi_epi32(v[2], v[3]);
    out[0] = _mm256_unpacklo_epi64(a, c), out[1] = _mm256_unpackhi_epi64(a, c);
    out[2] = _mm256_unpacklo_epi64(b, d), out[3] = _mm256_unpackhi_epi64(b, d);
}

/* The f16 number at byte `at` of each row. */
AZ_INLINE __m256 az_load_halves(az_octet rows, int64_t at)
{
    uint16_t half[AZ_OCTET];
    for (int r = 0; r < AZ_OCTET; r++) memcpy(&half[r], rows.first + r * rows.apart + at, 2);
    return _mm256_cvtph_ps(_mm_setr_epi16((short)half[0], (short)half[1], (short)half[2], (short)half[3], (short)half[4], (short)half[5],
                                          (short)half[6], (short)half[7]));
}

/* The 32 bits at byte `at` of each row. */
AZ_INLINE __m256i az_load_dwords(az_octet rows, int64_t at)
{
    int32_t all[AZ_OCTET];
    for (int r = 0; r < AZ_OCTET; r++) memcpy(&all[r], rows.first + r * rows.apart + at, 4);
    return _mm256_setr_epi32(all[0], all[1], all[2], all[3], all[4], all[5], all[6], all[7]);
}

AZ_INLINE __m256i az_lower_nibbles(__m256i v)
{
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
}
AZ_INLINE __m256i az_upper_nibbles(__m256i v)
{
    return az_lower_nibbles(_mm256_srli_epi16(v, 4));
}

/* ---- multiplying ----------------------------------------------------------------------------------------------------------------- */

/* Sums of two products: columns 4 step .. 4 step + 3 with those of a vector. A sign of the level moves to x, for the unsigned operand. */
AZ_INLINE __m256i az_step_products(az_level_kind kind, __m256i level, const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, sizeof four);
    const __m256i x = _mm256_set1_epi32(four);
    return kind.is_signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(level), _mm256_sign_epi8(x, level)) : _mm256_maddubs_epi16(level, x);
}

/* The exact sum of a tile's factor level q over 32 columns. */
AZ_INLINE __m256i az_tile_products(az_level_kind kind, const az_tile *tile, const int8_t *q)
{
    __m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int step = 0; step < AZ_STEPS; step += kind.run) {
        __m256i pairs = az_step_products(kind, tile->level[step], q + 4 * step);
#pragma GCC unroll 8
        for (int i = step + 1; i < step + kind.run; i++) pairs = _mm256_add_epi16(pairs, az_step_products(kind, tile->level[i], q + 4 * i));
        const __m256i part = _mm256_madd_epi16(pairs, kind.fine ? tile->factor[step / 4] : _mm256_set1_epi16(1));
        sum = step ? _mm256_add_epi32(sum, part) : part;
    }
    return sum;
}

/* sum[j] += the tile, which is block b of its rows, . vector span.first + j */
AZ_INLINE void az_add_tile(az_level_kind kind, const az_tile *tile, const az_columns *x, int64_t b, az_span span, __m256 *sum)
{
    const int64_t at = b * x->n + span.first;
    const int8_t *q = x->q + at * AZ_BLOCK;
    const float *scale = x->scale + at, *total = x->total + at, *halves = x->halves + 2 * at;
    for (int64_t j = 0; j < span.n; j++, q += AZ_BLOCK) {
        const __m256 products = _mm256_cvtepi32_ps(az_tile_products(kind, tile, q));
        __m256 y = _mm256_fmadd_ps(tile->scale, _mm256_mul_ps(_mm256_broadcast_ss(scale + j), products), sum[j]);
        if (kind.offset && !kind.fine) y = _mm256_fnmadd_ps(tile->offset[0], _mm256_broadcast_ss(total + j), y);
        if (kind.offset && kind.fine) {
            y = _mm256_fnmadd_ps(tile->offset[0], _mm256_broadcast_ss(halves + 2 * j), y);
            y = _mm256_fnmadd_ps(tile->offset[1], _mm256_broadcast_ss(halves + 2 * j + 1), y);
        }
        sum[j] = y;
    }
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------------ */

/* sum[j] += a block of eight rows . its columns of vector span.first + j, of which b is the first block of 32; what a format provides. */
typedef void az_add_block(int format, az_octet rows, const az_columns *x, int64_t b, az_span span, __m256 *sum);

typedef struct az_block_kernel {
    az_add_block *add;
    int format;             /* handed to `add` */
    int64_t columns, bytes; /* of a block */
} az_block_kernel;

/* Eight rows with the vectors of a span; those of `next` are fetched on the way. */
AZ_INLINE void az_octet_products(az_block_kernel kernel, az_octet rows, const az_columns *x, az_span span, __m256 *sum)
{
    enum { LINE = 64 };
    const char *next = (const char *)rows.first + AZ_OCTET * rows.apart;
    for (int64_t j = 0; j < span.n; j++) sum[j] = _mm256_setzero_ps();
    for (int64_t c = 0; c < x->cols; c += kernel.columns, rows.first += kernel.bytes) {
        for (int64_t i = 0; i < AZ_OCTET * kernel.bytes; i += LINE) _mm_prefetch(next + i, _MM_HINT_T0);
        next += AZ_OCTET * kernel.bytes;
        kernel.add(kernel.format, rows, x, c / AZ_BLOCK, span, sum);
    }
}

AZ_INLINE void az_store_octet(const __m256 *sum, int64_t rows, az_span span, float *y, int64_t y_stride)
{
    for (int64_t j = 0; j < span.n; j++) {
        float *to = y + (span.first + j) * y_stride;
        if (rows == AZ_OCTET)
            _mm256_storeu_ps(to, sum[j]);
        else
            *to = _mm256_cvtss_f32(sum[j]);
    }
}

AZ_INLINE void az_rows_by_octets(az_block_kernel kernel, const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    enum { MOST = 128 }; /* vectors, so that their sums and a block of them stay in the first cache */
    const int64_t row_bytes = x->cols / kernel.columns * kernel.bytes;
    __m256 sum[MOST];
    for (int64_t first = 0; first < x->n; first += MOST)
        for (int64_t r = 0; r < count;) {
            const int64_t together = r + AZ_OCTET <= count ? AZ_OCTET : 1;
            const az_octet octet = {(const unsigned char *)rows + r * row_bytes, together == 1 ? 0 : row_bytes};
            const az_span span = {first, x->n - first < MOST ? x->n - first : MOST};
            if (x->n == 1)
                az_octet_products(kernel, octet, x, (az_span){0, 1}, sum);
            else
                az_octet_products(kernel, octet, x, span, sum);
            az_store_octet(sum, together, span, y + r, y_stride);
            r += together;
        }
}

#endif
