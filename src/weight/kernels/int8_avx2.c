/* int8_avx2.c - products of bytes with AVX2.
 *
 * The multiplier of bytes takes one unsigned and one signed operand: |w|, and x with the sign of w. It adds pairs in 16 bits, which hold
 * 2 * 128 * 127 = 32512: nothing saturates as long as x does not hold -128, which has no opposite. */
#include "weight/kernels/int8.h"

#include <immintrin.h>

enum { LANES = 32, ROWS = 4, VECTORS = 4 };

static inline int32_t sum_of(__m256i v)
{
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}

static inline __m256i load(const int8_t *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

static inline __m256i add_products(__m256i total, __m256i magnitude, __m256i signed_x)
{
    return _mm256_add_epi32(total, _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, signed_x), _mm256_set1_epi16(1)));
}

/* What is left over behind the last whole 32 columns. */
static inline int32_t tail(const int8_t *w, const int8_t *x, int64_t from, int64_t cols)
{
    int32_t total = 0;
    for (int64_t c = from; c < cols; c++) total += (int32_t)w[c] * x[c];
    return total;
}

/* `r` rows, `apart` from each other, with `n` vectors, r and n constants where it is inlined: sums [n, stride]. */
__attribute__((always_inline)) static inline void tile(const int8_t *w, int64_t apart, const int8_t *x, int64_t cols, int r, int n,
                                                       int64_t stride, int32_t *sum)
{
    __m256i total[ROWS * VECTORS];
    for (int i = 0; i < r * n; i++) total[i] = _mm256_setzero_si256();
    int64_t c = 0;
    for (; c + LANES <= cols; c += LANES)
        for (int i = 0; i < r; i++) {
            const __m256i row = load(w + i * apart * cols + c), magnitude = _mm256_abs_epi8(row);
            for (int j = 0; j < n; j++)
                total[i * n + j] = add_products(total[i * n + j], magnitude, _mm256_sign_epi8(load(x + j * cols + c), row));
        }
    for (int i = 0; i < r; i++)
        for (int j = 0; j < n; j++)
            sum[j * stride + i * apart] = sum_of(total[i * n + j]) + tail(w + i * apart * cols, x + j * cols, c, cols);
}

/* All rows with up to VECTORS vectors. Rows are taken far from each other: memory gives more when several long runs are read at a time. */
static void few(const int8_t *w, int64_t rows, const int8_t *x, int n, int64_t cols, int32_t *sum)
{
    const int together = n == VECTORS ? 2 : ROWS;
    const int64_t apart = rows / together;
    for (int64_t r = 0; r < apart; r++) {
        if (n == VECTORS)
            tile(w + r * cols, apart, x, cols, 2, VECTORS, rows, sum + r);
        else
            for (int j = 0; j < n; j++) tile(w + r * cols, apart, x + j * cols, cols, ROWS, 1, rows, sum + j * rows + r);
    }
    for (int64_t r = together * apart; r < rows; r++)
        for (int j = 0; j < n; j++) tile(w + r * cols, 0, x + j * cols, cols, 1, 1, rows, sum + j * rows + r);
}

void az_int8_avx2(const int8_t *w, int64_t rows, const int8_t *x, int64_t n, int64_t cols, int32_t *sum)
{
    for (int64_t j = 0; j < n; j += VECTORS) few(w, rows, x + j * cols, n - j < VECTORS ? (int)(n - j) : VECTORS, cols, sum + j * rows);
}
