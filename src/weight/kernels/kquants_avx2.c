/* kquants_avx2.c - products with rows of q2_k .. q6_k for AVX2; the layouts are those of format_k.c.
 *
 * A block of 256 columns is taken apart in eight tiles of 32. Its levels lie in planes of bytes of which several tiles take some bits each,
 * so a plane's bytes are loaded once for those tiles. */
#include "weight/kernels/octets_avx2.h"

typedef enum kquant { Q2_K, Q3_K, Q4_K, Q5_K, Q6_K } kquant;

/* 32 bytes of a plane, of eight rows */
typedef struct plane {
    __m256i step[AZ_STEPS];
} plane;

AZ_INLINE void load_plane(az_octet rows, int64_t at, plane *to)
{
    az_load_columns(rows, at, to->step);
    az_load_columns(rows, at + 16, to->step + 4);
}

/* Bits `from` .. of each byte, as many as `mask` has, moved to bits `to` .. */
AZ_INLINE __m256i bits_of(__m256i bytes, int from, int mask, int to)
{
    const __m256i moved = from >= to ? _mm256_srli_epi16(bytes, from - to) : _mm256_slli_epi16(bytes, to - from);
    return _mm256_and_si256(moved, _mm256_set1_epi8((char)(mask << to)));
}

/* Byte j of each lane as a number: in f32, and in 16 bits twice. */
AZ_INLINE __m256 float_of_byte(__m256i bytes, int j)
{
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(bytes, 24 - 8 * j), 24));
}
AZ_INLINE __m256i factor_of_byte(__m256i bytes, int j)
{
    const __m256i upper = _mm256_shuffle_epi8(
        bytes, _mm256_broadcastsi128_si256(_mm_setr_epi8(-1, (char)j, -1, (char)j, -1, (char)(4 + j), -1, (char)(4 + j), -1, (char)(8 + j),
                                                         -1, (char)(8 + j), -1, (char)(12 + j), -1, (char)(12 + j))));
    return _mm256_srai_epi16(upper, 8);
}

/* ---- q4_k, q5_k: a scale and a minimum for 32 columns ------------------------------------------------------------------------------ */

/* Byte j % 4 of s[j / 4] and t[j / 4]: scale and minimum of tile j, of which d and m are the units. */
typedef struct wide_scales {
    __m256 d, m;
    __m256i s[2], t[2];
} wide_scales;

AZ_INLINE wide_scales load_wide_scales(az_octet rows)
{
    __m256i head[4]; /* d and m, then three times four bytes of packed numbers */
    az_load_columns(rows, 0, head);
    return (wide_scales){
        .d = az_load_halves(rows, 0),
        .m = az_load_halves(rows, 2),
        .s = {bits_of(head[1], 0, 63, 0), _mm256_or_si256(bits_of(head[3], 0, 15, 0), bits_of(head[1], 6, 3, 4))},
        .t = {bits_of(head[2], 0, 63, 0), _mm256_or_si256(bits_of(head[3], 4, 15, 0), bits_of(head[2], 6, 3, 4))},
    };
}

/* Tiles 2 k and 2 k + 1 share 32 bytes; their fifth bits are bits 2 k and 2 k + 1 of 32 more. */
AZ_INLINE void add_wide(kquant type, az_octet rows, const az_columns *x, int64_t b, az_span span, __m256 *sum)
{
    const az_level_kind kind = {.run = type == Q4_K ? 8 : 4, .offset = true};
    const wide_scales scales = load_wide_scales(rows);
    plane low = {0}, fifth = {0};
    if (type == Q5_K) load_plane(rows, 16, &fifth);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        if (j % 2 == 0) load_plane(rows, (type == Q4_K ? 16 : 48) + 16 * j, &low);
        az_tile tile;
        for (int i = 0; i < AZ_STEPS; i++) tile.level[i] = bits_of(low.step[i], j % 2 * 4, 15, 0);
        for (int i = 0; i < AZ_STEPS && type == Q5_K; i++) tile.level[i] = _mm256_or_si256(tile.level[i], bits_of(fifth.step[i], j, 1, 4));
        tile.scale = _mm256_mul_ps(scales.d, float_of_byte(scales.s[j / 4], j % 4));
        tile.offset[0] = _mm256_mul_ps(scales.m, float_of_byte(scales.t[j / 4], j % 4));
        az_add_tile(kind, &tile, x, b + j, span, sum);
    }
}

/* ---- q2_k, q3_k, q6_k: a scale for 16 columns -------------------------------------------------------------------------------------- */

/* Byte j % 4 of s[j / 4]: the scale of columns 16 j .., of which d is the unit. The same for t and m: minima of q2_k, for the others what
 * makes their levels signed. */
typedef struct fine_scales {
    __m256 d, m;
    __m256i s[4], t[4];
} fine_scales;

AZ_INLINE void load_fine_scales(kquant type, az_octet rows, fine_scales *out)
{
    __m256i bytes[4];
    if (type != Q3_K) az_load_columns(rows, type == Q6_K ? 192 : 0, bytes);
    if (type == Q2_K) {
        for (int i = 0; i < 4; i++) out->s[i] = az_lower_nibbles(bytes[i]), out->t[i] = az_upper_nibbles(bytes[i]);
        out->d = az_load_halves(rows, 80), out->m = az_load_halves(rows, 82);
        return;
    }
    out->d = az_load_halves(rows, type == Q6_K ? 208 : 108);
    out->m = _mm256_mul_ps(_mm256_set1_ps(type == Q6_K ? 32 : 4), out->d);
    for (int i = 0; i < 4; i++) {
        if (type == Q6_K)
            out->s[i] = bytes[i];
        else { /* bytes 96 .. 107: lower four bits of the first and second eight, then the upper two of all; 32 too large */
            const __m256i packed[3] = {az_load_dwords(rows, 96), az_load_dwords(rows, 100), az_load_dwords(rows, 104)};
            const __m256i six = _mm256_or_si256(bits_of(packed[i % 2], i / 2 * 4, 15, 0), bits_of(packed[2], 2 * i, 3, 4));
            out->s[i] = _mm256_sub_epi8(six, _mm256_set1_epi8(32));
        }
        out->t[i] = out->s[i];
    }
}

/* What the tiles at hand share: two bits of four tiles; a nibble of two tiles (q6_k); a bit of all eight (q3_k). */
typedef struct fine_planes {
    plane twos, nibbles, bits;
} fine_planes;

/* The levels of tile 4 half + k. */
AZ_INLINE void load_fine_levels(kquant type, const fine_planes *planes, int half, int k, __m256i level[AZ_STEPS])
{
    for (int i = 0; i < AZ_STEPS; i++) {
        level[i] = bits_of(planes->twos.step[i], 2 * k, 3, type == Q6_K ? 4 : 0);
        if (type == Q6_K) level[i] = _mm256_or_si256(level[i], bits_of(planes->nibbles.step[i], k / 2 * 4, 15, 0));
        if (type == Q3_K) level[i] = _mm256_or_si256(level[i], bits_of(planes->bits.step[i], 4 * half + k, 1, 2));
    }
}

AZ_INLINE void add_fine(kquant type, az_octet rows, const az_columns *x, int64_t b, az_span span, __m256 *sum)
{
    const az_level_kind kind = {.run = type == Q6_K ? 2 : 4, .fine = true, .offset = true};
    fine_scales scales;
    fine_planes planes = {0};
    load_fine_scales(type, rows, &scales);
    if (type == Q3_K) load_plane(rows, 0, &planes.bits);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        const int half = j / 4, k = type == Q6_K ? j % 2 * 2 + j / 2 % 2 : j % 4; /* q6_k: tiles k and k + 2 share nibbles */
        if (j % 4 == 0) load_plane(rows, (type == Q6_K ? 128 : type == Q3_K ? 32 : 16) + 32 * half, &planes.twos);
        if (type == Q6_K && j % 2 == 0) load_plane(rows, 64 * half + 32 * k, &planes.nibbles);
        az_tile tile = {.scale = scales.d};
        load_fine_levels(type, &planes, half, k, tile.level);
        for (int i = 0; i < 2; i++) {
            const int at = 8 * half + 2 * k + i;
            tile.factor[i] = factor_of_byte(scales.s[at / 4], at % 4);
            tile.offset[i] = _mm256_mul_ps(scales.m, float_of_byte(scales.t[at / 4], at % 4));
        }
        az_add_tile(kind, &tile, x, b + 4 * half + k, span, sum);
    }
}

/* ---- kernels ------------------------------------------------------------------------------------------------------------------------- */

AZ_INLINE void add_block(int format, az_octet rows, const az_columns *x, int64_t b, az_span span, __m256 *sum)
{
    if (format == Q4_K || format == Q5_K)
        add_wide(format, rows, x, b, span, sum);
    else
        add_fine(format, rows, x, b, span, sum);
}

AZ_INLINE az_block_kernel kernel_of(kquant type)
{
    const int64_t bytes = (const int[]){84, 110, AZ_Q4_K_BYTES, 176, AZ_Q6_K_BYTES}[type];
    return (az_block_kernel){.add = add_block, .format = type, .columns = 256, .bytes = bytes};
}

void az_rows_q2_k_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    az_rows_by_octets(kernel_of(Q2_K), rows, count, x, y, y_stride);
}

void az_rows_q3_k_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    az_rows_by_octets(kernel_of(Q3_K), rows, count, x, y, y_stride);
}

void az_rows_q4_k_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    az_rows_by_octets(kernel_of(Q4_K), rows, count, x, y, y_stride);
}

void az_rows_q5_k_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    az_rows_by_octets(kernel_of(Q5_K), rows, count, x, y, y_stride);
}

void az_rows_q6_k_avx2(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    az_rows_by_octets(kernel_of(Q6_K), rows, count, x, y, y_stride);
}
