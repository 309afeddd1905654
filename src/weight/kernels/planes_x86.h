/* planes_x86.h - products of bits with AVX2: a register holds a chunk of 32 rows, and a shuffle counts the ones of their half bytes, or
 * looks up what they cost with the activations of the same place; with BITALG one instruction counts the ones of bytes.
 *
 * Bytes count until they could overflow; sums of 16 bits, apart for rows of even and odd number, hold a block; sums of 32 bits the rest. */
#include "weight/kernels/planes.h"

#include <immintrin.h>
#include <string.h>

enum { COUNTED = 16 };   /* chunks whose ones are counted in bytes: 8 each, a block is two times as long */
enum { LONGEST = 8191 }; /* chunks of single bits that 16 bits can count */
enum { AHEAD = 8192 };   /* bytes of prefetch */

static inline __m256i load(const uint8_t *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

/* A chunk of a plane. What comes AHEAD of it is asked for: the processor alone foresees too little. */
static inline __m256i load_ahead(const uint8_t *chunk)
{
    _mm_prefetch((const char *)chunk + AHEAD, _MM_HINT_T0);
    return load(chunk);
}

static inline __m256i twice(const uint8_t *from)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)from));
}

/* Sums of 32 rows: those of even number in order, then those of odd number. */
typedef struct totals {
    __m256i v[4];
} totals;

static inline void add_words(totals *t, __m256i even, __m256i odd, int shift)
{
    const __m128i by = _mm_cvtsi32_si128(shift);
    const __m128i part[4] = {_mm256_castsi256_si128(even), _mm256_extracti128_si256(even, 1), _mm256_castsi256_si128(odd),
                             _mm256_extracti128_si256(odd, 1)};
    for (int i = 0; i < 4; i++) t->v[i] = _mm256_add_epi32(t->v[i], _mm256_sll_epi32(_mm256_cvtepu16_epi32(part[i]), by));
}

static inline void store(const totals *t, uint32_t *sum)
{
    uint32_t row[AZ_STRIP];
    memcpy(row, t->v, sizeof row);
    for (int r = 0; r < AZ_STRIP / 2; r++) sum[2 * r] = row[r], sum[2 * r + 1] = row[AZ_STRIP / 2 + r];
}

/* ---- counting ---- */

static inline __m256i ones_of_bytes(__m256i v)
{
#ifdef __AVX512BITALG__
    return _mm256_popcnt_epi8(v);
#else
    const __m256i ones = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i half = _mm256_set1_epi8(15);
    return _mm256_add_epi8(_mm256_shuffle_epi8(ones, _mm256_and_si256(v, half)),
                           _mm256_shuffle_epi8(ones, _mm256_and_si256(_mm256_srli_epi16(v, 4), half)));
#endif
}

/* A plane's `chunks`, as many as 16 bits can count, with the `m` planes of n vectors, both constants where it is inlined, so that what is
 * loaded serves some of them. `data`: of the block's first chunk. */
__attribute__((always_inline)) static inline void count_plane(const uint8_t *w, const az_plane_input *x, const uint8_t *data, int chunks,
                                                              int n, int m, int shift, totals *t)
{
    __m256i even[AZ_PLANE_VECTORS], odd[AZ_PLANE_VECTORS];
    for (int v = 0; v < n; v++) even[v] = odd[v] = _mm256_setzero_si256();
    for (int c = 0; c < chunks;) {
        const int end = c + COUNTED < chunks ? c + COUNTED : chunks;
        __m256i count[AZ_MOST_PLANES];
        for (int i = 0; i < n * m; i++) count[i] = _mm256_setzero_si256();
        for (; c < end; c++) {
            const __m256i row = load_ahead(w + c * AZ_STRIP);
            for (int i = 0; i < n * m; i++) {
                const uint8_t bits = data[i / m * x->stride + c * m + i % m];
                count[i] = _mm256_add_epi8(count[i], ones_of_bytes(_mm256_xor_si256(row, _mm256_set1_epi8((char)bits))));
            }
        }
        for (int i = 0; i < n * m; i++) {
            even[i / m] = _mm256_add_epi16(even[i / m], _mm256_slli_epi16(_mm256_and_si256(count[i], _mm256_set1_epi16(255)), i % m));
            odd[i / m] = _mm256_add_epi16(odd[i / m], _mm256_slli_epi16(_mm256_srli_epi16(count[i], 8), i % m));
        }
    }
    for (int v = 0; v < n; v++) add_words(&t[v], even[v], odd[v], shift);
}

__attribute__((always_inline)) static inline void count_strip(const az_plane_strip *w, const az_plane_input *x, const uint8_t *data, int n,
                                                              int m, uint32_t *sum)
{
    totals t[AZ_PLANE_VECTORS];
    memset(t, 0, sizeof t);
    const uint8_t *bits = w->bits;
    const int most = w->planes == 1 ? LONGEST / ((1 << m) - 1) : w->block; /* the blocks of a single plane run on */
    for (int64_t c = 0; c < w->chunks; c += most) {
        const int chunks = c + most <= w->chunks ? most : (int)(w->chunks - c);
        for (int j = 0; j < w->planes; j++, bits += chunks * AZ_STRIP) count_plane(bits, x, data + c * m, chunks, n, m, j, t);
    }
    for (int v = 0; v < n; v++) store(&t[v], sum + v * AZ_STRIP);
}

/* All vectors, n at a time. */
__attribute__((always_inline)) static inline void count_vectors(const az_plane_strip *w, const az_plane_input *x, int n, int m,
                                                                uint32_t *sum)
{
    int v = 0;
    for (; v + n <= x->n; v += n) count_strip(w, x, x->data + v * x->stride, n, m, sum + v * AZ_STRIP);
    for (; v < x->n; v++) count_strip(w, x, x->data + v * x->stride, 1, m, sum + v * AZ_STRIP);
}

static void popcount(const az_plane_strip *w, const az_plane_input *x, uint32_t *sum)
{
    switch (x->planes) {
    case 1: count_vectors(w, x, 4, 1, sum); break;
    case 2: count_vectors(w, x, 2, 2, sum); break;
    case 3: count_vectors(w, x, 2, 3, sum); break;
    case 4: count_vectors(w, x, 1, 4, sum); break;
    case 5: count_vectors(w, x, 1, 5, sum); break;
    case 6: count_vectors(w, x, 1, 6, sum); break;
    case 7: count_vectors(w, x, 1, 7, sum); break;
    default: count_vectors(w, x, 1, 8, sum); break;
    }
}

/* ---- looking up ---- */

/* Chunks whose costs a byte can add up: 8 (2^planes - 1) each. */
static int chunks_between(int planes)
{
    return planes == 1 ? 31 : planes == 2 ? 10 : planes == 3 ? 4 : planes == 5 ? 1 : 2;
}

/* A plane with n vectors of `digits` tables each, both constants where it is inlined. table: of the block's first chunk. */
__attribute__((always_inline)) static inline void look_up_plane(const uint8_t *w, const az_plane_input *x, const uint8_t *table, int chunks,
                                                                int n, int digits, int plane, totals *t)
{
    const __m256i half = _mm256_set1_epi8(15);
    const int hold = chunks_between(x->planes);
    __m256i all[AZ_PLANE_VECTORS], odd[AZ_PLANE_VECTORS];
    for (int i = 0; i < n * digits; i++) all[i] = odd[i] = _mm256_setzero_si256();
    for (int c = 0; c < chunks;) {
        const int end = c + hold < chunks ? c + hold : chunks;
        __m256i cost[AZ_PLANE_VECTORS];
        for (int i = 0; i < n * digits; i++) cost[i] = _mm256_setzero_si256();
        for (; c < end; c++) {
            const __m256i bits = load_ahead(w + c * AZ_STRIP), low = _mm256_and_si256(bits, half),
                          high = _mm256_and_si256(_mm256_srli_epi16(bits, 4), half);
            for (int v = 0; v < n; v++) {
                const uint8_t *at = table + v * x->stride + c * 32 * digits;
                for (int d = 0; d < digits; d++) {
                    const __m256i both = _mm256_add_epi8(_mm256_shuffle_epi8(twice(at + 16 * d), low),
                                                         _mm256_shuffle_epi8(twice(at + 16 * (digits + d)), high));
                    cost[v * digits + d] = _mm256_add_epi8(cost[v * digits + d], both);
                }
            }
        }
        for (int i = 0; i < n * digits; i++) {
            all[i] = _mm256_add_epi16(all[i], cost[i]);
            odd[i] = _mm256_add_epi16(odd[i], _mm256_srli_epi16(cost[i], 8));
        }
    }
    for (int v = 0; v < n; v++)
        for (int d = 0; d < digits; d++) {
            const int i = v * digits + d;
            add_words(&t[v], _mm256_sub_epi16(all[i], _mm256_slli_epi16(odd[i], 8)), odd[i], plane + 4 * d);
        }
}

__attribute__((always_inline)) static inline void look_up_strip(const az_plane_strip *w, const az_plane_input *x, const uint8_t *table,
                                                                int n, int digits, uint32_t *sum)
{
    totals t[AZ_PLANE_VECTORS];
    memset(t, 0, sizeof t);
    const uint8_t *bits = w->bits;
    for (int64_t c = 0; c < w->chunks; c += w->block) {
        const int chunks = c + w->block <= w->chunks ? w->block : (int)(w->chunks - c);
        for (int j = 0; j < w->planes; j++, bits += chunks * AZ_STRIP)
            look_up_plane(bits, x, table + c * 32 * digits, chunks, n, digits, j, t);
    }
    for (int v = 0; v < n; v++) store(&t[v], sum + v * AZ_STRIP);
}

static void lookup(const az_plane_strip *w, const az_plane_input *x, uint32_t *sum)
{
    const uint8_t *table = x->data;
    int left = x->n;
    if (az_plane_digits(x->planes) == 1) {
        for (; left >= 4; left -= 4, table += 4 * x->stride, sum += 4 * AZ_STRIP) look_up_strip(w, x, table, 4, 1, sum);
        for (; left >= 2; left -= 2, table += 2 * x->stride, sum += 2 * AZ_STRIP) look_up_strip(w, x, table, 2, 1, sum);
        if (left > 0) look_up_strip(w, x, table, 1, 1, sum);
        return;
    }
    for (; left >= 2; left -= 2, table += 2 * x->stride, sum += 2 * AZ_STRIP) look_up_strip(w, x, table, 2, 2, sum);
    if (left > 0) look_up_strip(w, x, table, 1, 2, sum);
}

/* ---- multiplying ---- */

static inline uint32_t sum_of(__m256i v)
{
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1)));
}

static inline __m256i widened(const uint8_t *from)
{
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)from));
}

/* One row with n vectors, a constant where it is inlined: sums `rows` apart. */
__attribute__((always_inline)) static inline void multiply_row(const uint8_t *w, const uint8_t *x, int64_t stride, int n, int64_t cols,
                                                               int64_t rows, uint32_t *sum)
{
    __m256i total[AZ_PLANE_VECTORS];
    for (int v = 0; v < n; v++) total[v] = _mm256_setzero_si256();
    int64_t c = 0;
    for (; c + 16 <= cols; c += 16) {
        const __m256i row = widened(w + c);
        for (int v = 0; v < n; v++) total[v] = _mm256_add_epi32(total[v], _mm256_madd_epi16(row, widened(x + v * stride + c)));
    }
    for (int v = 0; v < n; v++) {
        uint32_t rest = 0;
        for (int64_t k = c; k < cols; k++) rest += (uint32_t)w[k] * x[v * stride + k];
        sum[v * rows] = sum_of(total[v]) + rest;
    }
}

static void codes(const az_code_rows *w, const az_code_rows *x, int64_t cols, uint32_t *sum)
{
    int64_t v = 0;
    for (; v + AZ_PLANE_VECTORS <= x->rows; v += AZ_PLANE_VECTORS)
        for (int64_t r = 0; r < w->rows; r++)
            multiply_row(w->code + r * w->stride, x->code + v * x->stride, x->stride, AZ_PLANE_VECTORS, cols, w->rows,
                         sum + v * w->rows + r);
    for (; v < x->rows; v++)
        for (int64_t r = 0; r < w->rows; r++)
            multiply_row(w->code + r * w->stride, x->code + v * x->stride, x->stride, 1, cols, w->rows, sum + v * w->rows + r);
}
