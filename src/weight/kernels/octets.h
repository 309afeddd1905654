/* octets.h - products of quantized rows with vectors of rounded activations, for AVX2 and for VNNI: what all formats of blocks share.
 *
 * Rows are taken eight at a time. A format unpacks 32 columns of them into a tile, registers in which lane r belongs to row r, and each
 * lane has four columns; every vector then passes by, four of its bytes broadcast to all lanes. So the bits of a weight are looked at once
 * for any number of vectors, and sums across lanes are never needed. Rows that do not fill an octet are done one by one, as eight copies.
 * One vector meets a tile in registers; bytes that need no unpacking it multiplies along the rows instead (rows_of_blocks.h). For more, the
 * tiles of 256 columns are laid into the first cache, from four vectors on those of two octets; up to four vectors at a time meet both, so
 * that what is broadcast serves twice and a level four times. With VNNI a register of 512 bits has both octets, and eight vectors meet
 * them; where there are no more, the tiles stay in registers too. Rows that are arranged (kernels.h) have the four columns of an octet side
 * by side already: a tile is loaded as it stands. That halves the work of formats of 4 and 5 bits with one vector; those of more bits wait
 * for memory either way. */
#ifndef ADZE_OCTETS_H
#define ADZE_OCTETS_H

#include "weight/kernels/kernels.h"
#include "weight/weight_internal.h"

#include <immintrin.h>
#include <string.h>

#define AZ_INLINE static inline __attribute__((always_inline))

#ifdef __AVX512VNNI__
enum { AZ_VNNI = 1 };
#else
enum { AZ_VNNI = 0 };
#endif

enum { AZ_OCTET = 8, AZ_STEPS = 8 /* of four columns, in a block */, AZ_LINE = 64 /* bytes that memory gives at a time */ };

/* How the levels of a format multiply. */
typedef struct az_level_kind {
    int run;        /* so many products of two levels and two bytes of x can be added up in 16 bits */
    bool is_signed; /* levels are -128 .. 127; run is 1 */
    bool fine;      /* a whole-number factor for each 16 columns; run is at most 4 */
    int excess;     /* levels are by so much too large, 8 (run is 8) or 32 (run is 4): sums begin with what makes it good */
    bool minimum;   /* an offset for each 32 columns, or 16 */
} az_level_kind;

typedef enum az_kind {
    AZ_SIGNED_BYTES,
    AZ_FOUR_BITS,
    AZ_FOUR_BITS_8,
    AZ_FIVE_BITS,
    AZ_FINE_TWO_BITS,
    AZ_FINE_SIX_BITS_32,
    AZ_KINDS
} az_kind;

AZ_INLINE az_level_kind az_kind_of(az_kind kind)
{
    switch (kind) {
    case AZ_FOUR_BITS: return (az_level_kind){.run = 8, .minimum = true};
    case AZ_FOUR_BITS_8: return (az_level_kind){.run = 8, .excess = 8};
    case AZ_FIVE_BITS: return (az_level_kind){.run = 4, .minimum = true};
    case AZ_FINE_TWO_BITS: return (az_level_kind){.run = 4, .fine = true, .minimum = true};
    case AZ_FINE_SIX_BITS_32: return (az_level_kind){.run = 4, .fine = true, .excess = 32};
    default: return (az_level_kind){.run = 1, .is_signed = true};
    }
}

/* 32 columns of eight rows: weight = scale factor (level - excess) - offset */
typedef struct az_tile {
    __m256i level[AZ_STEPS]; /* [step]: bytes [row][4 columns] */
    __m256i factor[2];       /* 16 bits, [row][2 equal]: of each half of the columns */
    __m256 scale, offset[2]; /* [row]; an offset for each half of the columns where they are fine, else the first for all */
    __m256 fine[2];          /* with VNNI: scale times the factors */
} az_tile;

/* Eight rows from some block on: `apart` bytes from each other, or octet `number` of AZ_ARRANGED rows whose blocks are arranged. */
typedef struct az_octet {
    const unsigned char *first;
    int64_t apart;
    bool arranged;
    int number;
} az_octet;

AZ_INLINE az_octet az_octet_at(az_octet rows, int octet)
{
    if (rows.arranged)
        rows.number += octet;
    else
        rows.first += octet * AZ_OCTET * rows.apart;
    return rows;
}

/* The same rows, so many bytes of each further on. */
AZ_INLINE az_octet az_octet_behind(az_octet rows, int64_t bytes)
{
    rows.first += rows.arranged ? AZ_ARRANGED * bytes : bytes;
    return rows;
}

/* Where the octet's numbers of `size` bytes that stand at byte `at` of arranged rows follow each other. */
AZ_INLINE const void *az_arranged_numbers(az_octet rows, int64_t at, int size)
{
    return rows.first + AZ_ARRANGED * at + rows.number * AZ_OCTET * size;
}

enum {
    AZ_PAIR = 2,                /* octets that vectors meet together */
    AZ_GROUP = AZ_VNNI ? 8 : 4, /* vectors that do */
    AZ_FEW_VECTORS = 4,         /* from so many on pairs are worth it */
    AZ_GROUPS = 4,              /* of arranged rows that one vector meets by turns */
    AZ_TILES = 8,               /* that are unpacked before vectors meet them */
    AZ_MOST = 128,              /* vectors at a time, so that their sums and a block of them stay in the first cache */
};

/* The tiles of a pair of octets beside each other. */
typedef struct az_tile_pair {
    __m256i level[AZ_STEPS][AZ_PAIR];
    __m256 scale[AZ_PAIR], offset[2][AZ_PAIR], fine[2][AZ_PAIR];
} __attribute__((aligned(AZ_LINE))) az_tile_pair;

/* Tiles of the octets of rows that vectors meet together, and the sums. */
typedef struct az_tiles {
    _Alignas(AZ_LINE) __m256 sum[AZ_PAIR * AZ_MOST]; /* [octet][vector]; with VNNI, where there are two octets, [vector][octet] */
    az_tile_pair pair[AZ_TILES];                     /* with VNNI, where there are two octets; else: */
    az_tile tile[AZ_TILES][AZ_PAIR];
    int64_t block[AZ_TILES]; /* which 32 columns of the rows */
    int64_t vectors;
    int octets, count;
    const char *next; /* rows behind, of which `apart` bytes are fetched with each tile */
    int64_t apart;
} az_tiles;

/* ---- unpacking ------------------------------------------------------------------------------------------------------------------- */

/* Bytes at .. at + 15 of each row: dword k of row r goes to lane r of out[k]. */
AZ_INLINE void az_load_columns(az_octet rows, int64_t at, __m256i out[4])
{
    if (rows.arranged) {
        for (int k = 0; k < 4; k++) out[k] = _mm256_loadu_si256(az_arranged_numbers(rows, at + 4 * k, 4));
        return;
    }
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

/* The same for 32 bytes. */
AZ_INLINE void az_load_block(az_octet rows, int64_t at, __m256i out[AZ_STEPS])
{
    az_load_columns(rows, at, out);
    az_load_columns(rows, at + 16, out + 4);
}

/* The f16 number at byte `at` of each row's block. */
AZ_INLINE __m256 az_load_halves(az_octet rows, int64_t at)
{
    if (rows.arranged) return _mm256_cvtph_ps(_mm_loadu_si128(az_arranged_numbers(rows, at, 2)));
#ifdef __AVX512VL__
    /* each row's 32 bits to its lane: a load, where an insert of 16 bits would be two steps; with the bytes before, if there are any */
    const int before = at < 2 ? 0 : 2;
    __m256i all = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int r = 0; r < AZ_OCTET; r++) {
        int32_t bits;
        memcpy(&bits, rows.first + r * rows.apart + at - before, sizeof bits);
        all = _mm256_mask_set1_epi32(all, (__mmask8)(1 << r), bits);
    }
    return _mm256_cvtph_ps(_mm256_cvtepi32_epi16(_mm256_srli_epi32(all, 8 * before)));
#else
    uint16_t half[AZ_OCTET];
    for (int r = 0; r < AZ_OCTET; r++) memcpy(&half[r], rows.first + r * rows.apart + at, 2);
    return _mm256_cvtph_ps(_mm_setr_epi16((short)half[0], (short)half[1], (short)half[2], (short)half[3], (short)half[4], (short)half[5],
                                          (short)half[6], (short)half[7]));
#endif
}

/* The 32 bits at byte `at` of each row. */
AZ_INLINE __m256i az_load_dwords(az_octet rows, int64_t at)
{
    if (rows.arranged) return _mm256_loadu_si256(az_arranged_numbers(rows, at, 4));
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

/* Four bytes in every lane. */
AZ_INLINE __m256i az_broadcast_four(const void *from)
{
    int32_t four;
    memcpy(&four, from, sizeof four);
    return _mm256_set1_epi32(four);
}

/* x from what is `at` in its arrays of [blocks, n] on. A copy, since a vector that is stored may alias what x points to. */
AZ_INLINE az_columns az_columns_at(const az_columns *x, int64_t at)
{
    return (az_columns){.n = x->n,
                        .cols = x->cols,
                        .q = x->q + at * AZ_BLOCK,
                        .scale = x->scale + at,
                        .total = x->total + at,
                        .halves = x->halves + 2 * at,
                        .less8 = x->less8 + at,
                        .less32 = x->less32 + 2 * at,
                        .pairs8 = x->pairs8 + 2 * at,
                        .pairs32 = x->pairs32 + 4 * at};
}

/* y - the tile's offsets . vector j */
AZ_INLINE __m256 az_less_minimum(az_level_kind kind, const az_tile *tile, const az_columns *x, int64_t j, __m256 y)
{
    if (!kind.minimum) return y;
    if (!kind.fine) return _mm256_fnmadd_ps(tile->offset[0], _mm256_broadcast_ss(x->total + j), y);
    y = _mm256_fnmadd_ps(tile->offset[0], _mm256_broadcast_ss(x->halves + 2 * j), y);
    return _mm256_fnmadd_ps(tile->offset[1], _mm256_broadcast_ss(x->halves + 2 * j + 1), y);
}

/* Lane r of the result is the sum of the lanes of v[r]. */
AZ_INLINE __m256i az_sums_of_lanes(const __m256i v[AZ_OCTET])
{
    __m256i two[4], four[2]; /* in each half of 128 bits: sums of two rows, of four */
    for (int i = 0; i < 4; i++)
        two[i] = _mm256_add_epi32(_mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]), _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
    for (int i = 0; i < 2; i++)
        four[i] = _mm256_add_epi32(_mm256_unpacklo_epi64(two[2 * i], two[2 * i + 1]), _mm256_unpackhi_epi64(two[2 * i], two[2 * i + 1]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(four[0], four[1], 0x20), _mm256_permute2x128_si256(four[0], four[1], 0x31));
}

/* Keeps a sum as it stands: compilers otherwise regroup long chains, begin by doing all products and run out of registers. */
AZ_INLINE __m256i az_settled(__m256i sum)
{
    __asm__("" : "+x"(sum));
    return sum;
}

AZ_INLINE void az_fetch(const char *from, int64_t bytes)
{
    for (int64_t i = 0; i < bytes; i += AZ_LINE) _mm_prefetch(from + i, _MM_HINT_T0);
}

/* Part `part` of `parts` of what is to be fetched. Memory takes some twenty orders at a time and then holds up whatever else wants to read:
 * the empty statement keeps compilers from putting all of a loop's orders at its begin. */
AZ_INLINE void az_fetch_part(const char *from, int64_t bytes, int part, int parts)
{
    const int64_t lines = (bytes + AZ_LINE - 1) / AZ_LINE;
    for (int64_t i = lines * part / parts; i < lines * (part + 1) / parts; i++) _mm_prefetch(from + i * AZ_LINE, _MM_HINT_T0);
    __asm__ volatile("");
}

/* The same for each row of an octet. */
AZ_INLINE void az_fetch_octet_part(const char *from, int64_t apart, int64_t bytes, int part, int parts)
{
#pragma GCC unroll 8
    for (int r = 0; r < AZ_OCTET; r++) az_fetch_part(from + r * apart, bytes, part, parts);
}

typedef struct az_wide_tile az_wide_tile; /* a tile for a pair of octets, in registers of 512 bits */

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
    /* sum + the block . the vector that x begins with, meanwhile fetching `next` where there is one. Without such a function it is done
     * tile by tile, with the same result. */
    __m256 (*multiply)(az_octet rows, const char *next, const az_columns *x, __m256 sum);
    /* With VNNI: all of a block of 32 columns, for the rows of a pair of octets; NULL: there is none. */
    void (*unpack_pair)(int format, az_octet rows, az_wide_tile *tile);
    int format; /* handed to these but `multiply` */
    az_kind kind;
    int64_t columns, bytes; /* of a block */
} az_block_kernel;

/* Sums of arranged rows that one vector meets together. */
typedef struct az_arranged_sum {
    _Alignas(AZ_LINE) __m256 octet[AZ_PAIR];
} az_arranged_sum;

AZ_INLINE __m256 az_block_with_vector(az_block_kernel kernel, az_octet rows, const char *next, const az_columns *x, __m256 sum);

#ifdef __AVX512VNNI__
#include "weight/kernels/octets_vnni.h"
#else
#include "weight/kernels/octets_avx2.h"
#endif

/* The sums += the tiles . the vectors that x begins with */
AZ_INLINE void az_add_tiles(az_level_kind kind, int octets, az_tiles *tiles, const az_columns *x)
{
    /* as many as leave registers for the sums, of which some kinds have two */
    const int most = AZ_VNNI ? (kind.fine ? 4 : AZ_GROUP) : kind.run == 1 || kind.run == AZ_STEPS ? AZ_GROUP : AZ_GROUP - 1;
    const int group = octets == 1 ? 1 : most;
    const int64_t n = tiles->vectors;
    for (int t = 0; t < tiles->count; t++) {
        az_fetch(tiles->next + t * tiles->apart, tiles->apart);
        const az_columns from = az_columns_at(x, tiles->block[t] * x->n);
        int64_t j = 0;
        for (; j + group <= n; j += group) az_add_vectors(kind, octets, tiles, t, group, &from, j);
        for (; group > 4 && j + 4 <= n; j += 4) az_add_vectors(kind, octets, tiles, t, 4, &from, j);
        for (; group > 2 && j + 2 <= n; j += 2) az_add_vectors(kind, octets, tiles, t, 2, &from, j);
        for (; j < n; j++) az_add_vectors(kind, octets, tiles, t, 1, &from, j);
    }
}

/* Not inlined: what unpacks tiles would take registers from the loop over vectors. */
static __attribute__((noinline)) void az_add_to_vectors(az_kind kind, az_tiles *tiles, const az_columns *x)
{
#pragma GCC unroll 8
    for (az_kind k = 0; k < AZ_KINDS; k++) /* makes a constant of it */
        if (kind == k && tiles->octets == 1)
            az_add_tiles(az_kind_of(k), 1, tiles, x);
        else if (kind == k)
            az_add_tiles(az_kind_of(k), AZ_PAIR, tiles, x);
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------------ */

/* The tiles of an octet of rows, which is number o of those whose tiles lie beside each other; `first` is the first of their blocks. */
AZ_INLINE void az_unpack_tiles(az_block_kernel kernel, az_octet rows, int o, int64_t first, az_tiles *tiles)
{
    const int in_block = (int)kernel.columns / AZ_BLOCK;
    for (int t = 0; t < tiles->count; t += in_block, rows = az_octet_behind(rows, kernel.bytes)) {
        az_unpacking shared;
        kernel.begin(kernel.format, rows, &shared);
#pragma GCC unroll 8
        for (int step = 0; step < in_block; step++) {
            az_tile tile;
            tiles->block[t + step] = first + t + kernel.unpack(kernel.format, rows, step, &shared, &tile);
            az_finish_tile(az_kind_of(kernel.kind), &tile);
            az_keep_tile(az_kind_of(kernel.kind), &tile, tiles, t + step, o);
        }
    }
}

/* sum + a block of an octet . the vector that x begins with; `next` is fetched a little with each tile, but for arranged rows. */
AZ_INLINE __m256 az_block_with_vector(az_block_kernel kernel, az_octet rows, const char *next, const az_columns *x, __m256 sum)
{
    const int steps = (int)kernel.columns / AZ_BLOCK;
    az_unpacking shared;
    kernel.begin(kernel.format, rows, &shared);
#pragma GCC unroll 8
    for (int step = 0; step < steps; step++) {
        az_tile tile;
        if (!rows.arranged) az_fetch_octet_part(next, rows.apart, kernel.bytes, step, steps);
        const az_columns from = az_columns_at(x, kernel.unpack(kernel.format, rows, step, &shared, &tile));
        az_finish_tile(az_kind_of(kernel.kind), &tile);
        sum = az_add_vector(az_kind_of(kernel.kind), &tile, &from, sum);
    }
    return sum;
}

/* An octet . a vector; meanwhile as much is fetched of the rows from `next` on, which lie as far apart. */
AZ_INLINE __m256 az_octet_with_vector(az_block_kernel kernel, az_octet rows, const char *next, const az_columns *x)
{
    __m256 sum = _mm256_setzero_ps();
    for (int64_t c = 0; c < x->cols; c += kernel.columns, rows.first += kernel.bytes, next += kernel.bytes) {
        const az_columns from = az_columns_at(x, c / AZ_BLOCK);
        const bool new_line = c / kernel.columns * kernel.bytes % AZ_LINE < kernel.bytes; /* not fetched with the block before */
        sum = kernel.multiply ? kernel.multiply(rows, new_line ? next : NULL, &from, sum)
                              : az_block_with_vector(kernel, rows, next, &from, sum);
    }
    return sum;
}

/* All rows . a vector. The rows of an octet are read from pages of their own: memory gives more. Meanwhile the next row of each is fetched,
 * and with the last ones what lies behind all: there may be more rows. */
AZ_INLINE void az_rows_with_vector(az_block_kernel kernel, const unsigned char *rows, int64_t count, const az_columns *x, float *y)
{
    const int64_t row_bytes = x->cols / kernel.columns * kernel.bytes, apart = count / AZ_OCTET;
    for (int64_t r = 0; r < apart; r++) {
        const az_octet octet = {.first = rows + r * row_bytes, .apart = apart * row_bytes};
        const unsigned char *next = rows + (r + 1 < apart ? r + 1 : count) * row_bytes;
        float sum[AZ_OCTET];
        _mm256_storeu_ps(sum, az_octet_with_vector(kernel, octet, (const char *)next, x));
        for (int i = 0; i < AZ_OCTET; i++) y[r + i * apart] = sum[i];
    }
    for (int64_t r = AZ_OCTET * apart; r < count; r++) {
        const az_octet copies = {.first = rows + r * row_bytes};
        y[r] = _mm256_cvtss_f32(az_octet_with_vector(kernel, copies, (const char *)copies.first + row_bytes, x));
    }
}

/* Groups of AZ_ARRANGED rows . a vector, by turns: memory gives more from pages apart. What each group will read is fetched, and at its end
 * the beginning of the one that comes as many groups later. */
AZ_INLINE void az_groups_with_vector(az_block_kernel kernel, const unsigned char *rows, int groups, const az_columns *x, float *y)
{
    enum { AHEAD = 2048 };
    const int64_t bytes = AZ_ARRANGED * kernel.bytes, apart = x->cols / kernel.columns * bytes;
    az_arranged_sum sum[AZ_GROUPS];
    for (int g = 0; g < groups; g++) sum[g].octet[0] = sum[g].octet[1] = _mm256_setzero_ps();
    for (int64_t c = 0; c < x->cols; c += kernel.columns, rows += bytes) {
        const az_columns from = az_columns_at(x, c / AZ_BLOCK);
        const bool ends = c / kernel.columns * bytes + AHEAD >= apart;
        for (int g = 0; g < groups; g++) {
            const az_octet group = {.first = rows + g * apart, .arranged = true};
            az_fetch_part((const char *)group.first + AHEAD + (ends ? (groups - 1) * apart : 0), bytes, 0, 1);
            az_arranged_block_with_vector(kernel, group, &from, &sum[g]);
        }
    }
    for (int g = 0; g < groups; g++)
        for (int o = 0; o < AZ_PAIR; o++) _mm256_storeu_ps(y + g * AZ_ARRANGED + o * AZ_OCTET, sum[g].octet[o]);
}

/* All arranged rows . a vector */
AZ_INLINE void az_arranged_with_vector(az_block_kernel kernel, const unsigned char *rows, int64_t count, const az_columns *x, float *y)
{
    const int64_t row_bytes = x->cols / kernel.columns * kernel.bytes;
    for (int64_t r = 0; r < count; r += AZ_GROUPS * AZ_ARRANGED) {
        const int64_t left = (count - r) / AZ_ARRANGED;
        az_groups_with_vector(kernel, rows + r * row_bytes, left < AZ_GROUPS ? (int)left : AZ_GROUPS, x, y + r);
    }
}

/* The sums of octets with the vectors that x begins with. */
AZ_INLINE void az_octets_with_vectors(az_block_kernel kernel, az_octet rows, const az_columns *x, az_tiles *tiles)
{
    const int64_t row_bytes = x->cols / kernel.columns * kernel.bytes;
    tiles->next = (const char *)rows.first + tiles->octets * AZ_OCTET * row_bytes;
    tiles->apart = tiles->octets * AZ_OCTET * kernel.bytes * AZ_BLOCK / kernel.columns;
    for (int o = 0; o < tiles->octets; o++)
        for (int64_t j = 0; j < tiles->vectors; j++) *az_sum_of(tiles, o, j) = _mm256_setzero_ps();
    for (int64_t c = 0; c < x->cols; c += AZ_TILES * AZ_BLOCK) {
        tiles->count = x->cols - c < AZ_TILES * AZ_BLOCK ? (int)(x->cols - c) / AZ_BLOCK : AZ_TILES;
        const int64_t bytes = tiles->count * AZ_BLOCK / kernel.columns * kernel.bytes;
        for (int o = 0; o < tiles->octets; o++) az_unpack_tiles(kernel, az_octet_at(rows, o), o, c / AZ_BLOCK, tiles);
        az_add_to_vectors(kernel.kind, tiles, x);
        rows = az_octet_behind(rows, bytes), tiles->next += tiles->octets * AZ_OCTET * bytes;
    }
}

/* y[j y_stride ..] = the sums of vector j, of an octet of rows or one eight times */
AZ_INLINE void az_store_octet(az_tiles *tiles, int o, bool octet, float *y, int64_t y_stride)
{
    for (int64_t j = 0; j < tiles->vectors; j++)
        if (octet)
            _mm256_storeu_ps(y + j * y_stride, *az_sum_of(tiles, o, j));
        else
            y[j * y_stride] = _mm256_cvtss_f32(*az_sum_of(tiles, o, j));
}

/* arranged: count is a multiple of AZ_ARRANGED */
AZ_INLINE void az_rows_by_octets(az_block_kernel kernel, bool arranged, const void *rows, int64_t count, const az_columns *x, float *y,
                                 int64_t y_stride)
{
    const int64_t row_bytes = x->cols / kernel.columns * kernel.bytes;
    az_tiles tiles;
    const int64_t done = az_pairs_with_few(kernel, arranged, rows, count, x, y, y_stride);
    rows = (const unsigned char *)rows + done * row_bytes, count -= done, y += done;
    if (x->n == 1 && arranged) {
        az_arranged_with_vector(kernel, rows, count, x, y);
        return;
    }
    if (x->n == 1) {
        az_rows_with_vector(kernel, rows, count, x, y);
        return;
    }
    for (int64_t first = 0; first < x->n; first += AZ_MOST) {
        const az_columns from = az_columns_at(x, first);
        tiles.vectors = x->n - first < AZ_MOST ? x->n - first : AZ_MOST;
        for (int64_t r = 0; r < count;) {
            const bool whole = count - r >= AZ_OCTET, pair = x->n >= AZ_FEW_VECTORS && count - r >= AZ_PAIR * AZ_OCTET;
            const az_octet octet = {
                .first = (const unsigned char *)rows + r * row_bytes, .apart = whole ? row_bytes : 0, .arranged = arranged};
            tiles.octets = arranged || pair ? AZ_PAIR : 1;
            az_octets_with_vectors(kernel, octet, &from, &tiles);
            for (int o = 0; o < tiles.octets; o++) az_store_octet(&tiles, o, whole, y + first * y_stride + r + o * AZ_OCTET, y_stride);
            r += whole ? tiles.octets * AZ_OCTET : 1;
        }
    }
}

/* The kernel of a format; AZ_KERNEL gives it the name that it has in the set being compiled. */
#define AZ_ROWS_KERNEL(format, kernel)                                                                                                     \
    void AZ_KERNEL(az_rows_##format)(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)                     \
    {                                                                                                                                      \
        az_rows_by_octets(kernel, false, rows, count, x, y, y_stride);                                                                     \
    }
/* The one for arranged rows. */
#define AZ_ARRANGED_KERNEL(format, kernel)                                                                                                 \
    void AZ_KERNEL(az_arranged_##format)(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)                 \
    {                                                                                                                                      \
        az_rows_by_octets(kernel, true, rows, count, x, y, y_stride);                                                                      \
    }

#endif
