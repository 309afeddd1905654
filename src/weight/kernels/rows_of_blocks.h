/* rows_of_blocks.h - products with rows of the formats whose blocks have 32 values; the layouts are those of format_q8_0.c,
 * format_q4_0.c, format_legacy.c and format_iq4_nl.c: an f16 scale d, for some a minimum m, for some fifth bits, then the levels. */
#include "weight/kernels/octets.h"

typedef enum blocks { Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL } blocks;

AZ_INLINE int64_t bytes_of(blocks type)
{
    return (const int[]){AZ_Q8_0_BYTES, AZ_Q4_0_BYTES, 20, 22, 24, 18}[type];
}

AZ_INLINE az_kind kind_of(blocks type)
{
    static const az_kind kinds[] = {AZ_SIGNED_BYTES, AZ_FOUR_BITS_8, AZ_FOUR_BITS, AZ_FIVE_BITS, AZ_FIVE_BITS, AZ_SIGNED_BYTES};
    return kinds[type];
}

/* 16 in each byte whose bit is set: bits 4 step .. 4 step + 3 of each lane. */
AZ_INLINE __m256i az_sixteens(__m256i bits, int step)
{
    const __m256i each = _mm256_set1_epi32(step % 2 ? (int)0x80402010u : 0x08040201);
    const __m256i from = _mm256_add_epi8(_mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404, 0x08080808, 0x0c0c0c0c),
                                         _mm256_set1_epi8((char)(step / 2)));
    const __m256i set = _mm256_and_si256(_mm256_shuffle_epi8(bits, from), each);
    return _mm256_and_si256(_mm256_cmpeq_epi8(set, each), _mm256_set1_epi8(16));
}

/* The levels of iq4_nl that nibbles stand for. */
AZ_INLINE __m256i az_look_up(__m256i nibbles)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)az_iq4_nl_levels)), nibbles);
}

#define WIDTH(name) az_##name
#define LEVELS      __m256i
#include "weight/kernels/unpack_blocks.h"
#undef WIDTH
#undef LEVELS

#ifdef __AVX512VNNI__
AZ_INLINE __m512i az_wide_sixteens(__m512i bits, int step)
{
    const __m512i each = _mm512_set1_epi32(step % 2 ? (int)0x80402010u : 0x08040201);
    const __m512i from =
        _mm512_add_epi8(_mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c)), _mm512_set1_epi8((char)(step / 2)));
    return _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(_mm512_shuffle_epi8(bits, from), each), _mm512_set1_epi8(16));
}

AZ_INLINE __m512i az_wide_look_up(__m512i nibbles)
{
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)az_iq4_nl_levels)), nibbles);
}

#define WIDTH(name) az_wide_##name
#define LEVELS      __m512i
#include "weight/kernels/unpack_blocks.h"
#undef WIDTH
#undef LEVELS
#else
#define az_wide_unpack_block NULL
#endif

AZ_INLINE void begin_block(int format, az_octet rows, az_unpacking *shared)
{
    (void)format, (void)rows, (void)shared; /* a block is a tile */
}

AZ_INLINE int unpack_block(int format, az_octet rows, int step, az_unpacking *shared, az_tile *tile)
{
    (void)step, (void)shared;
    az_unpack_block(format, rows, tile);
    return 0;
}

/* Rows of q8_0 are multiplied along and the lanes added up, which is less work for one vector than turning the bytes about. */
AZ_INLINE __m256 multiply_q8_0(az_octet rows, const char *next, const az_columns *x, __m256 sum)
{
    const az_level_kind kind = az_kind_of(AZ_SIGNED_BYTES);
    const az_tile tile = {.scale = az_load_halves(rows, 0)};
    __m256i products[AZ_OCTET];
#pragma GCC unroll 8
    for (int r = 0; r < AZ_OCTET; r++) {
        if (next) _mm_prefetch(next + r * rows.apart, _MM_HINT_T0);
        products[r] = az_products_along(_mm256_loadu_si256((const __m256i *)(rows.first + r * rows.apart + 2)), x);
    }
    const __m256i total = _mm256_add_epi32(az_sums_of_lanes(products), _mm256_set1_epi32(az_start(kind, x, 0, 0)));
    return az_add_products(kind, &tile, x, 0, total, sum);
}

AZ_INLINE az_block_kernel kernel_of(blocks type)
{
    return (az_block_kernel){.begin = begin_block,
                             .unpack = unpack_block,
                             .multiply = type == Q8_0 ? multiply_q8_0 : NULL,
                             .unpack_pair = az_wide_unpack_block,
                             .format = type,
                             .kind = kind_of(type),
                             .columns = AZ_BLOCK,
                             .bytes = bytes_of(type)};
}

AZ_ROWS_KERNEL(q8_0, kernel_of(Q8_0))
AZ_ROWS_KERNEL(q4_0, kernel_of(Q4_0))
AZ_ARRANGED_KERNEL(q4_0, kernel_of(Q4_0))
AZ_ROWS_KERNEL(q4_1, kernel_of(Q4_1))
AZ_ARRANGED_KERNEL(q4_1, kernel_of(Q4_1))
AZ_ROWS_KERNEL(q5_0, kernel_of(Q5_0))
AZ_ARRANGED_KERNEL(q5_0, kernel_of(Q5_0))
AZ_ROWS_KERNEL(q5_1, kernel_of(Q5_1))
AZ_ARRANGED_KERNEL(q5_1, kernel_of(Q5_1))
AZ_ROWS_KERNEL(iq4_nl, kernel_of(IQ4_NL))
AZ_ARRANGED_KERNEL(iq4_nl, kernel_of(IQ4_NL))
