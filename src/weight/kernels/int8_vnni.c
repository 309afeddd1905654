/* int8_vnni.c - products of bytes with AVX-512 and VNNI, whose instruction adds four products to a sum of 32 bits.
 *
 * Its first operand is unsigned: w + 128, which adds 128 times the sum of x to every sum. Sums may wrap on the way; the result fits. */
#include "weight/kernels/int8.h"

#include <immintrin.h>

enum { LANES = 64, ROWS = 4, VECTORS = 4, STREAMS = 8, AHEAD = 1024 /* bytes of prefetch */ };

static inline __m512i load(const int8_t *from, __mmask64 which)
{
    return _mm512_maskz_loadu_epi8(which, from);
}

/* Of all lanes; unsigned, since it may wrap. */
static inline uint32_t sum_of(__m512i v)
{
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    __m128i part = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    part = _mm_add_epi32(part, _mm_shuffle_epi32(part, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_add_epi32(part, _mm_shuffle_epi32(part, 0xb1)));
}

/* The columns from c on that a register takes. */
static inline __mmask64 columns_from(int64_t c, int64_t cols)
{
    return cols - c >= LANES ? ~(__mmask64)0 : ((__mmask64)1 << (cols - c)) - 1;
}

/* `r` rows, `apart` from each other, with `n` vectors of which `excess` is to be taken off; r and n are constants where it is inlined: sums
 * [n, stride]. */
__attribute__((always_inline)) static inline void tile(const int8_t *w, int64_t apart, const int8_t *x, int64_t cols, int r, int n,
                                                       const uint32_t *excess, int64_t stride, int32_t *sum)
{
    __m512i total[ROWS * VECTORS];
    for (int i = 0; i < r * n; i++) total[i] = _mm512_setzero_si512();
    for (int64_t c = 0; c < cols; c += LANES) {
        const __mmask64 which = columns_from(c, cols);
        for (int i = 0; i < r; i++) {
            const int8_t *row = w + i * apart * cols + c;
            if (n == 1) _mm_prefetch((const char *)row + AHEAD, _MM_HINT_T0);
            const __m512i level = _mm512_xor_si512(load(row, which), _mm512_set1_epi8(-128));
            for (int j = 0; j < n; j++) total[i * n + j] = _mm512_dpbusd_epi32(total[i * n + j], level, load(x + j * cols + c, which));
        }
    }
    for (int i = 0; i < r; i++)
        for (int j = 0; j < n; j++) sum[j * stride + i * apart] = (int32_t)(sum_of(total[i * n + j]) - excess[j]);
}

/* 128 times the sum of a vector. */
static uint32_t excess_of(const int8_t *x, int64_t cols)
{
    __m512i total = _mm512_setzero_si512();
    for (int64_t c = 0; c < cols; c += LANES) total = _mm512_dpbusd_epi32(total, _mm512_set1_epi8(1), load(x + c, columns_from(c, cols)));
    return 128 * sum_of(total);
}

/* All rows with n vectors, a constant where it is inlined. Rows are taken far from each other: memory gives more when several long runs are
 * read at a time. */
__attribute__((always_inline)) static inline void some(const int8_t *w, int64_t rows, const int8_t *x, int n, int64_t cols, int32_t *sum)
{
    const int together = n == 1 ? STREAMS : ROWS;
    const int64_t apart = rows / together;
    uint32_t excess[VECTORS];
    for (int j = 0; j < n; j++) excess[j] = excess_of(x + j * cols, cols);
    for (int64_t r = 0; r < apart; r++) tile(w + r * cols, apart, x, cols, together, n, excess, rows, sum + r);
    for (int64_t r = together * apart; r < rows; r++) tile(w + r * cols, 0, x, cols, 1, n, excess, rows, sum + r);
}

void az_int8_vnni(const int8_t *w, int64_t rows, const int8_t *x, int64_t n, int64_t cols, int32_t *sum)
{
    int64_t j = 0;
    for (; j + VECTORS <= n; j += VECTORS) some(w, rows, x + j * cols, VECTORS, cols, sum + j * rows);
    for (; j + 2 <= n; j += 2) some(w, rows, x + j * cols, 2, cols, sum + j * rows);
    for (; j < n; j++) some(w, rows, x + j * cols, 1, cols, sum + j * rows);
}
