/* rows_of_kquants.h - products with rows of q2_k .. q6_k; the layouts are those of format_k.c.
 *
 * A block of 256 columns is taken apart in eight tiles of 32. Its levels lie in planes of bytes of which several tiles take some bits each,
 * so a plane's bytes are loaded once for those tiles. */
#include "weight/kernels/octets.h"

typedef enum kquant { Q2_K, Q3_K, Q4_K, Q5_K, Q6_K } kquant;

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
AZ_INLINE void begin_wide(kquant type, az_octet rows, az_unpacking *shared)
{
    __m256i head[4]; /* d and m, then three times four bytes of packed numbers */
    az_load_columns(rows, 0, head);
    shared->d = az_load_halves(rows, 0), shared->m = az_load_halves(rows, 2);
    shared->s[0] = bits_of(head[1], 0, 63, 0), shared->t[0] = bits_of(head[2], 0, 63, 0);
    shared->s[1] = _mm256_or_si256(bits_of(head[3], 0, 15, 0), bits_of(head[1], 6, 3, 4));
    shared->t[1] = _mm256_or_si256(bits_of(head[3], 4, 15, 0), bits_of(head[2], 6, 3, 4));
    if (type == Q5_K) az_load_block(rows, 16, shared->bits);
}

/* Tiles 2 k and 2 k + 1 share 32 bytes; their fifth bits are bits 2 k and 2 k + 1 of 32 more. */
AZ_INLINE int unpack_wide(kquant type, az_octet rows, int j, az_unpacking *shared, az_tile *tile)
{
    if (j % 2 == 0) az_load_block(rows, (type == Q4_K ? 16 : 48) + 16 * j, shared->low);
    for (int i = 0; i < AZ_STEPS; i++) {
        tile->level[i] = bits_of(shared->low[i], j % 2 * 4, 15, 0);
        if (type == Q5_K) tile->level[i] = _mm256_or_si256(tile->level[i], bits_of(shared->bits[i], j, 1, 4));
    }
    tile->scale = _mm256_mul_ps(shared->d, float_of_byte(shared->s[j / 4], j % 4));
    tile->offset[0] = _mm256_mul_ps(shared->m, float_of_byte(shared->t[j / 4], j % 4));
    return j;
}

/* ---- q2_k, q3_k, q6_k: a scale for 16 columns -------------------------------------------------------------------------------------- */

/* The scales of q3_k: bytes 96 .. 107 hold the lower four bits of the first and second eight, then the upper two of all; 32 too large. */
AZ_INLINE __m256i scales_of_q3_k(az_octet rows, int i)
{
    const __m256i packed[3] = {az_load_dwords(rows, 96), az_load_dwords(rows, 100), az_load_dwords(rows, 104)};
    const __m256i six = _mm256_or_si256(bits_of(packed[i % 2], i / 2 * 4, 15, 0), bits_of(packed[2], 2 * i, 3, 4));
    return _mm256_sub_epi8(six, _mm256_set1_epi8(32));
}

/* Byte j % 4 of s[j / 4]: the scale of columns 16 j .., of which d is the unit. The same for t and m: minima of q2_k. */
AZ_INLINE void begin_fine(kquant type, az_octet rows, az_unpacking *shared)
{
    __m256i bytes[4];
    if (type == Q3_K) az_load_block(rows, 0, shared->bits);
    if (type != Q3_K) az_load_columns(rows, type == Q6_K ? 192 : 0, bytes);
    for (int i = 0; i < 4; i++) {
        shared->s[i] = type == Q2_K ? az_lower_nibbles(bytes[i]) : type == Q6_K ? bytes[i] : scales_of_q3_k(rows, i);
        if (type == Q2_K) shared->t[i] = az_upper_nibbles(bytes[i]);
    }
    shared->d = az_load_halves(rows, type == Q2_K ? 80 : type == Q6_K ? 208 : 108);
    if (type == Q2_K) shared->m = az_load_halves(rows, 82);
    if (type == Q3_K) shared->d = _mm256_mul_ps(shared->d, _mm256_set1_ps(0.125f));
}

/* The levels of q3_k are eight times theirs, and so like those of q6_k by 32 too large. Tiles share two bits of a byte with three others
 * (in `high`), q6_k a nibble with one (in `low`), q3_k a bit with all. */
AZ_INLINE int unpack_fine(kquant type, az_octet rows, int j, az_unpacking *shared, az_tile *tile)
{
    const int half = j / 4, k = type == Q6_K ? j % 2 * 2 + j / 2 % 2 : j % 4; /* q6_k: tiles k and k + 2 share nibbles */
    if (j % 4 == 0) az_load_block(rows, (type == Q6_K ? 128 : type == Q3_K ? 32 : 16) + 32 * half, shared->high);
    if (type == Q6_K && j % 2 == 0) az_load_block(rows, 64 * half + 32 * k, shared->low);
    for (int i = 0; i < AZ_STEPS; i++) {
        __m256i level = bits_of(shared->high[i], 2 * k, 3, type == Q6_K ? 4 : type == Q3_K ? 3 : 0);
        if (type == Q6_K) level = _mm256_or_si256(level, bits_of(shared->low[i], k / 2 * 4, 15, 0));
        if (type == Q3_K) level = _mm256_or_si256(level, bits_of(shared->bits[i], 4 * half + k, 1, 5));
        tile->level[i] = level;
    }
    tile->scale = shared->d;
    for (int i = 0; i < 2; i++) {
        const int at = 8 * half + 2 * k + i;
        tile->factor[i] = factor_of_byte(shared->s[at / 4], at % 4);
        if (type == Q2_K) tile->offset[i] = _mm256_mul_ps(shared->m, float_of_byte(shared->t[at / 4], at % 4));
    }
    return 4 * half + k;
}

/* ---- q6_k with one vector ---------------------------------------------------------------------------------------------------------- */

/* Half a block, whose four tiles share bytes: they are multiplied as their levels come to be, so that none waits in memory. */
AZ_INLINE void multiply_half(az_octet rows, const char *next, int half, const az_unpacking *shared, const az_columns *x, __m256i total[4])
{
#pragma GCC unroll 2
    for (int side = 0; side < 2; side++) { /* 16 columns of each tile */
        __m256i low[2][4], high[4], pairs[4];
        az_load_columns(rows, 128 + 32 * half + 16 * side, high);
        az_load_columns(rows, 64 * half + 16 * side, low[0]);
        az_load_columns(rows, 64 * half + 32 + 16 * side, low[1]);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            az_fetch_octet_part(next, rows.apart, AZ_Q6_K_BYTES, 8 * half + 4 * side + i, 16);
#pragma GCC unroll 4
            for (int k = 0; k < 4; k++) {
                const int tile = 4 * half + k;
                const __m256i level = _mm256_or_si256(bits_of(high[i], 2 * k, 3, 4), bits_of(low[k % 2][i], k / 2 * 4, 15, 0));
                const __m256i products = _mm256_maddubs_epi16(level, az_broadcast_four(x->q + tile * AZ_BLOCK + 16 * side + 4 * i));
                pairs[k] = az_settled(_mm256_add_epi16(i == 0 ? az_broadcast_four(x->pairs32 + 4 * tile + 2 * side) : pairs[k], products));
            }
        }
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            const int at = 8 * half + 2 * k + side;
            const __m256i part = _mm256_madd_epi16(pairs[k], factor_of_byte(shared->s[at / 4], at % 4));
            total[k] = side == 0 ? part : az_settled(_mm256_add_epi32(total[k], part));
        }
    }
}

AZ_INLINE __m256 multiply_q6_k(az_octet rows, const char *next, const az_columns *x, __m256 sum)
{
    az_unpacking shared;
    begin_fine(Q6_K, rows, &shared);
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) {
        __m256i total[4];
        multiply_half(rows, next, half, &shared, x, total);
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) { /* in the order of unpack_fine, for the same bits */
            const int k = j % 2 * 2 + j / 2;
            const __m256 scaled = _mm256_mul_ps(_mm256_broadcast_ss(x->scale + 4 * half + k), _mm256_cvtepi32_ps(total[k]));
            sum = _mm256_fmadd_ps(shared.d, scaled, sum);
        }
    }
    return sum;
}

/* ---- kernels ------------------------------------------------------------------------------------------------------------------------- */

AZ_INLINE bool is_wide(kquant type)
{
    return type == Q4_K || type == Q5_K;
}

AZ_INLINE void begin_block(int format, az_octet rows, az_unpacking *shared)
{
    if (is_wide(format))
        begin_wide(format, rows, shared);
    else
        begin_fine(format, rows, shared);
}

AZ_INLINE int unpack_block(int format, az_octet rows, int step, az_unpacking *shared, az_tile *tile)
{
    return is_wide(format) ? unpack_wide(format, rows, step, shared, tile) : unpack_fine(format, rows, step, shared, tile);
}

AZ_INLINE az_block_kernel kernel_of(kquant type)
{
    static const az_kind kinds[] = {AZ_FINE_TWO_BITS, AZ_FINE_SIX_BITS_32, AZ_FOUR_BITS, AZ_FIVE_BITS, AZ_FINE_SIX_BITS_32};
    const int64_t bytes = (const int[]){84, 110, AZ_Q4_K_BYTES, 176, AZ_Q6_K_BYTES}[type];
    return (az_block_kernel){.begin = begin_block,
                             .unpack = unpack_block,
                             .multiply = type == Q6_K && !AZ_VNNI ? multiply_q6_k : NULL,
                             .format = type,
                             .kind = kinds[type],
                             .columns = 256,
                             .bytes = bytes};
}

AZ_ROWS_KERNEL(q2_k, kernel_of(Q2_K))
AZ_ROWS_KERNEL(q3_k, kernel_of(Q3_K))
AZ_ROWS_KERNEL(q4_k, kernel_of(Q4_K))
AZ_ROWS_KERNEL(q5_k, kernel_of(Q5_K))
AZ_ROWS_KERNEL(q6_k, kernel_of(Q6_K))
