/* octets_avx2.h - products of quantized rows with vectors of rounded activations, for AVX2: what all formats of blocks share.
 *
 * Rows are taken eight at a time. A format unpacks 32 columns of them into a tile, registers in which lane r belongs to row r, and each
 * lane has four columns; every vector then passes by, four of its bytes broadcast to all lanes. So the bits of a weight are looked at once
 * for any number of vectors, and sums across lanes are never needed. Rows that do not fill an octet are done one by one, as eight copies.
 * Few vectors meet the tile in registers. For more, tiles of two octets lie in the first cache, and up to four vectors at a time meet
 * both, so that what is broadcast serves twice and a level four times. */
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

typedef enum az_kind { AZ_SIGNED_BYTES, AZ_FOUR_BITS, AZ_FIVE_BITS, AZ_FINE_THREE_BITS, AZ_FINE_SIX_BITS } az_kind;

AZ_INLINE az_level_kind az_kind_of(az_kind kind)
{
    switch (kind) {
    case AZ_FOUR_BITS: return (az_level_kind){.run = 8, .offset = true};
    case AZ_FIVE_BITS: return (az_level_kind){.run = 4, .offset = true};
    case AZ_FINE_THREE_BITS: return (az_level_kind){.run = 4, .fine = true, .offset = true};
    case AZ_FINE_SIX_BITS: return (az_level_kind){.run = 2, .fine = true, .offset = true};
    case AZ_SIGNED_BYTES: break;
    }
    return (az_level_kind){.run = 1, .is_signed = true};
}

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

AZ_INLINE az_octet az_octet_at(az_octet rows, int octet)
{
    return (az_octet){rows.first + octet * AZ_OCTET * rows.apart, rows.apart};
}

/* Vectors first .. first + n - 1 */
typedef struct az_span {
    int64_t first, n;
} az_span;

enum { AZ_PAIR = 2, AZ_GROUP = 4, AZ_MOST = 128 /* vectors, so that their sums and a block of them stay in the first cache */ };
typedef __m256 az_sums[AZ_MOST]; /* of the vectors of a span, with the rows of an octet */

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

/* y + tile . vector at + j, whose products with the levels are `products` */
AZ_INLINE __m256 az_add_products(az_level_kind kind, const az_tile *tile, const az_columns *x, int64_t at, __m256i products, __m256 y)
{
    y = _mm256_fmadd_ps(tile->scale, _mm256_mul_ps(_mm256_broadcast_ss(x->scale + at), _mm256_cvtepi32_ps(products)), y);
    if (kind.offset && !kind.fine) y = _mm256_fnmadd_ps(tile->offset[0], _mm256_broadcast_ss(x->total + at), y);
    if (kind.offset && kind.fine) {
        y = _mm256_fnmadd_ps(tile->offset[0], _mm256_broadcast_ss(x->halves + 2 * at), y);
        y = _mm256_fnmadd_ps(tile->offset[1], _mm256_broadcast_ss(x->halves + 2 * at + 1), y);
    }
    return y;
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

/* sum[j] += the tile, which is block b of its rows, . vector j of the span */
AZ_INLINE void az_add_tile(az_level_kind kind, const az_tile *tile, const az_columns *x, int64_t b, az_span span, __m256 *sum)
{
    const int64_t at = b * x->n + span.first;
    /* a copy, since a vector that is stored may alias what x points to */
    const az_columns from = {.q = x->q + at * AZ_BLOCK, .scale = x->scale + at, .total = x->total + at, .halves = x->halves + 2 * at};
    for (int64_t j = 0; j < span.n; j++)
        sum[j] = az_add_products(kind, tile, &from, j, az_tile_products(kind, tile, from.q + j * AZ_BLOCK), sum[j]);
}

/* Keeps a sum as it stands: compilers otherwise regroup long chains, begin by doing all products and run out of registers. */
AZ_INLINE __m256i az_settled(__m256i sum)
{
    __asm__("" : "+x"(sum));
    return sum;
}

/* The same for the tiles of two octets and n vectors from x's at on; n is a constant where it is inlined. */
AZ_INLINE void az_add_group(az_level_kind kind, const az_tile *tile, int n, const az_columns *x, int64_t at, __m256 *const *sum)
{
    const int8_t *q = x->q + at * AZ_BLOCK;
    __m256i total[AZ_PAIR][AZ_GROUP], pairs[AZ_PAIR][AZ_GROUP];
#pragma GCC unroll 8
    for (int step = 0; step < AZ_STEPS; step++)
#pragma GCC unroll 4
        for (int v = 0; v < n; v++)
#pragma GCC unroll 2
            for (int o = 0; o < AZ_PAIR; o++) {
                const __m256i products = az_step_products(kind, tile[o].level[step], q + v * AZ_BLOCK + 4 * step);
                pairs[o][v] = step % kind.run ? az_settled(_mm256_add_epi16(pairs[o][v], products)) : products;
                if ((step + 1) % kind.run) continue;
                const __m256i part = _mm256_madd_epi16(pairs[o][v], kind.fine ? tile[o].factor[step / 4] : _mm256_set1_epi16(1));
                total[o][v] = step < kind.run ? part : az_settled(_mm256_add_epi32(total[o][v], part));
            }
#pragma GCC unroll 4
    for (int v = 0; v < n; v++)
#pragma GCC unroll 2
        for (int o = 0; o < AZ_PAIR; o++) sum[o][v] = az_add_products(kind, &tile[o], x, at + v, total[o][v], sum[o][v]);
}

/* sum[o][j] += tile[o], which is block b of its octet's rows, . vector j of the span */
AZ_INLINE void az_add_tiles(az_level_kind kind, int octets, const az_tile *tile, const az_columns *x, int64_t b, az_span span, az_sums *sum)
{
    const bool one_by_one = octets == 1 || kind.run == 2; /* a pair's sums of both kinds may need more registers than there are */
    for (int o = 0; one_by_one && o < octets; o++) az_add_tile(kind, &tile[o], x, b, span, sum[o]);
    if (one_by_one) return;
    const int group = kind.run == 1 || kind.run == AZ_STEPS ? AZ_GROUP : AZ_GROUP / 2; /* others need registers for two kinds of sums */
    int64_t j = 0;
    for (; j + group <= span.n; j += group)
        az_add_group(kind, tile, group, x, b * x->n + span.first + j, (__m256 *const[]){sum[0] + j, sum[1] + j});
    for (; j < span.n; j++) az_add_group(kind, tile, 1, x, b * x->n + span.first + j, (__m256 *const[]){sum[0] + j, sum[1] + j});
}

/* Not inlined: a format has many tiles in a block, and what unpacks them would take registers from the loop over vectors. */
static __attribute__((noinline)) void az_add_to_vectors(az_kind kind, int octets, const az_tile *tile, const az_columns *x, int64_t b,
                                                        az_span span, az_sums *sum)
{
    switch (kind) {
    case AZ_SIGNED_BYTES: az_add_tiles(az_kind_of(AZ_SIGNED_BYTES), octets, tile, x, b, span, sum); break;
    case AZ_FOUR_BITS: az_add_tiles(az_kind_of(AZ_FOUR_BITS), octets, tile, x, b, span, sum); break;
    case AZ_FIVE_BITS: az_add_tiles(az_kind_of(AZ_FIVE_BITS), octets, tile, x, b, span, sum); break;
    case AZ_FINE_THREE_BITS: az_add_tiles(az_kind_of(AZ_FINE_THREE_BITS), octets, tile, x, b, span, sum); break;
    case AZ_FINE_SIX_BITS: az_add_tiles(az_kind_of(AZ_FINE_SIX_BITS), octets, tile, x, b, span, sum); break;
    }
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------------ */

/* What the tiles of a block share, as far as a format has it: planes of bytes, units of scales and minima, and those in bytes. */
typedef struct az_unpacking {
    __m256i low[AZ_STEPS], high[AZ_STEPS], bits[AZ_STEPS];
    __m256 d, m;
    __m256i s[4], t[4];
} az_unpacking;

/* What a format provides, for an octet that stands at a block. */
typedef struct az_block_kernel {
    void (*begin)(int format, az_octet rows, az_unpacking *shared);
    /* The step'th tile; returns its place among the 32 columns of the block. */
    int (*unpack)(int format, az_octet rows, int step, az_unpacking *shared, az_tile *tile);
    int format; /* handed to both */
    az_kind kind;
    int64_t columns, bytes; /* of a block */
} az_block_kernel;

/* One or two octets with the vectors of a span, two only with several of them; the rows behind them are fetched on the way. */
AZ_INLINE void az_octet_products(az_block_kernel kernel, int octets, az_octet rows, const az_columns *x, az_span span, az_sums *sum)
{
    enum { LINE = 64 };
    const char *next = (const char *)rows.first + octets * AZ_OCTET * rows.apart;
    for (int o = 0; o < octets; o++)
        for (int64_t j = 0; j < span.n; j++) sum[o][j] = _mm256_setzero_ps();
    for (int64_t c = 0; c < x->cols; c += kernel.columns, rows.first += kernel.bytes) {
        for (int64_t i = 0; i < octets * AZ_OCTET * kernel.bytes; i += LINE) _mm_prefetch(next + i, _MM_HINT_T0);
        next += octets * AZ_OCTET * kernel.bytes;
        az_unpacking shared[AZ_PAIR];
        for (int o = 0; o < octets; o++) kernel.begin(kernel.format, az_octet_at(rows, o), &shared[o]);
#pragma GCC unroll 8
        for (int step = 0; step < kernel.columns / AZ_BLOCK; step++) {
            az_tile tile[AZ_PAIR];
            int place = 0;
#pragma GCC unroll 2
            for (int o = 0; o < octets; o++) place = kernel.unpack(kernel.format, az_octet_at(rows, o), step, &shared[o], &tile[o]);
            if (octets == 1 && span.n == 1)
                az_add_tile(az_kind_of(kernel.kind), tile, x, c / AZ_BLOCK + place, span, sum[0]);
            else
                az_add_to_vectors(kernel.kind, octets, tile, x, c / AZ_BLOCK + place, span, sum);
        }
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
    const int64_t row_bytes = x->cols / kernel.columns * kernel.bytes;
    az_sums sum[AZ_PAIR];
    for (int64_t first = 0; first < x->n; first += AZ_MOST)
        for (int64_t r = 0; r < count;) {
            const int64_t left = count - r, together = left >= AZ_OCTET ? AZ_OCTET : 1;
            const az_octet octet = {(const unsigned char *)rows + r * row_bytes, together == 1 ? 0 : row_bytes};
            const az_span span = {first, x->n - first < AZ_MOST ? x->n - first : AZ_MOST};
            const bool pair = x->n >= AZ_GROUP && kernel.kind != AZ_FINE_SIX_BITS && left >= AZ_PAIR * AZ_OCTET;
            if (pair)
                az_octet_products(kernel, AZ_PAIR, octet, x, span, sum);
            else if (x->n == 1)
                az_octet_products(kernel, 1, octet, x, (az_span){0, 1}, sum);
            else
                az_octet_products(kernel, 1, octet, x, span, sum);
            for (int o = 0; o < (pair ? AZ_PAIR : 1); o++) az_store_octet(sum[o], together, span, y + r + o * AZ_OCTET, y_stride);
            r += pair ? AZ_PAIR * AZ_OCTET : together;
        }
}

#endif
