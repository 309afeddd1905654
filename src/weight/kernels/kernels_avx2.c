/* kernels_avx2.c - the kernels for AVX2 with FMA and F16C.
 *
 * With one vector of activations a product is bound by reading the weights, so rows of different pages are read together. With more vectors
 * each piece of a row is widened once for up to four of them. */
#include "tensor/half.h"
#include "weight/kernels/kernels.h"
#include "weight/kernels/lanes_avx2.h"
#include "weight/weight_internal.h"

#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

enum {
    GROUP = 4,           /* vectors that share a pass over a row */
    AHEAD = 2048,        /* bytes of prefetch in that pass */
    STREAMS = 8,         /* rows that one vector reads at a time */
    STREAM_AHEAD = 1024, /* bytes of prefetch in each of them */
    LINE = 64            /* bytes that memory gives at a time */
};

/* ---- rows of floating-point numbers -------------------------------------------------------------------------------------------- */

typedef enum element { F32, F16, BF16 } element;

static inline __m256 load8(element type, const void *from)
{
    if (type == F32) return _mm256_loadu_ps(from);
    const __m128i half = _mm_loadu_si128(from);
    if (type == F16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

static inline float load1(element type, const void *from)
{
    if (type == F32) return *(const float *)from;
    return type == F16 ? az_f16_widen(*(const uint16_t *)from) : az_bf16_widen(*(const uint16_t *)from);
}

/* One row with n <= GROUP vectors; type and n are constants where this is inlined. Two sums a vector, for any n, so that a result does
 * not depend on the company it is computed in. */
static inline __attribute__((always_inline)) void row_float(element type, int n, const char *row, int64_t cols, const float *x, float *y,
                                                            int64_t y_stride)
{
    const int64_t size = type == F32 ? 4 : 2;
    __m256 even[GROUP], odd[GROUP];
    for (int j = 0; j < n; j++) even[j] = odd[j] = _mm256_setzero_ps();
    int64_t i = 0;
    for (; i + 16 <= cols; i += 16) {
        const char *at = row + i * size;
        if (type != F32) _mm_prefetch(at + AHEAD, _MM_HINT_T0); /* f32 fills the memory's bandwidth without */
        const __m256 w0 = load8(type, at), w1 = load8(type, at + 8 * size);
        for (int j = 0; j < n; j++) {
            even[j] = _mm256_fmadd_ps(w0, _mm256_loadu_ps(x + j * cols + i), even[j]);
            odd[j] = _mm256_fmadd_ps(w1, _mm256_loadu_ps(x + j * cols + i + 8), odd[j]);
        }
    }
    for (int j = 0; j < n; j++) {
        float sum = az_sum_lanes(_mm256_add_ps(even[j], odd[j]));
        for (int64_t k = i; k < cols; k++) sum += load1(type, row + k * size) * x[j * cols + k];
        y[j * y_stride] = sum;
    }
}

/* STREAMS rows, and what is read after them: a row behind each of them, or other rows as far from each other. */
typedef struct streams {
    const char *row, *next; /* of the first stream */
    int64_t apart;          /* bytes from one stream to the next */
} streams;

/* One vector with the rows of streams: memory gives more when several pages are read at a time. The same sums as above. */
static inline __attribute__((always_inline)) void rows_apart(element type, streams rows, const az_columns *x, float *y, int64_t y_apart)
{
    const int64_t size = type == F32 ? 4 : 2, cols = x->cols;
    const char *fetch = rows.row + STREAM_AHEAD, *end = rows.row + cols * size;
    __m256 even[STREAMS], odd[STREAMS];
    for (int s = 0; s < STREAMS; s++) even[s] = odd[s] = _mm256_setzero_ps();
    int64_t i = 0;
    for (; i + 16 <= cols; i += 16, fetch += 16 * size) {
        const __m256 x0 = _mm256_loadu_ps(x->value + i), x1 = _mm256_loadu_ps(x->value + i + 8);
        if (fetch >= end) fetch += rows.next - end, end = rows.next + cols * size;
        for (int s = 0; s < STREAMS; s++) {
            const char *at = rows.row + s * rows.apart + i * size;
            if (i * size % LINE == 0) _mm_prefetch(fetch + s * rows.apart, _MM_HINT_T0);
            even[s] = _mm256_fmadd_ps(load8(type, at), x0, even[s]);
            odd[s] = _mm256_fmadd_ps(load8(type, at + 8 * size), x1, odd[s]);
        }
    }
    for (int s = 0; s < STREAMS; s++) {
        const char *row = rows.row + s * rows.apart;
        float sum = az_sum_lanes(_mm256_add_ps(even[s], odd[s]));
        for (int64_t k = i; k < cols; k++) sum += load1(type, row + k * size) * x->value[k];
        y[s * y_apart] = sum;
    }
}

static inline __attribute__((always_inline)) void rows_float(element type, const void *rows, int64_t count, const az_columns *x, float *y,
                                                             int64_t y_stride)
{
    const int64_t bytes = x->cols * (type == F32 ? 4 : 2), apart = x->n == 1 ? count / STREAMS : 0;
    const char *row = rows;
    for (int64_t r = 0; r < apart; r++) {
        const char *next = row + (r + 1 < apart ? r + 1 : count) * bytes; /* behind these rows there may be more */
        rows_apart(type, (streams){.row = row + r * bytes, .next = next, .apart = apart * bytes}, x, y + r, apart);
    }
    row += STREAMS * apart * bytes;
    for (int64_t r = STREAMS * apart; r < count; r++, row += bytes) {
        int64_t j = 0;
        for (; j + 4 <= x->n; j += 4) row_float(type, 4, row, x->cols, x->value + j * x->cols, y + j * y_stride + r, y_stride);
        for (; j + 2 <= x->n; j += 2) row_float(type, 2, row, x->cols, x->value + j * x->cols, y + j * y_stride + r, y_stride);
        for (; j < x->n; j++) row_float(type, 1, row, x->cols, x->value + j * x->cols, y + j * y_stride + r, y_stride);
    }
}

static void rows_f32(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_float(F32, rows, count, x, y, y_stride);
}

static void rows_f16(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_float(F16, rows, count, x, y, y_stride);
}

static void rows_bf16(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride)
{
    rows_float(BF16, rows, count, x, y, y_stride);
}

/* ---- rows of blocks -------------------------------------------------------------------------------------------------------------- */

typedef enum blocks { Q8_0, Q4_0 } blocks;

/* The scale of a block in all lanes. Converting the block's first 8 bytes and broadcasting the first is less work than the reverse. */
static inline __m256 block_scale(const unsigned char *block)
{
    return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_loadl_epi64((const __m128i *)block)));
}

/* The 32 values of a block as bytes: q of q8_0, q + 8 of q4_0 (lower nibbles in the lower lane, upper ones in the upper). */
static inline __m256i block_bytes(blocks type, const unsigned char *block)
{
    if (type == Q8_0) return _mm256_loadu_si256((const __m256i *)(block + 2));
    const __m256i twice = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(block + 2)));
    return _mm256_and_si256(_mm256_srlv_epi32(twice, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4)), _mm256_set1_epi8(15));
}

/* ---- activations to bytes ---------------------------------------------------------------------------------------------------------- */

/* Four vectors of int32 within -127 .. 127 to 32 bytes in order. */
static inline __m256i pack_bytes(const __m256i v[4])
{
    const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
    return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Of each half of 32 bytes: the sum of the places 0, 1, 4, 5 .. and that of 2, 3, 6, 7 .. */
static inline void sum_halves(__m256i bytes, int16_t sum[2][2])
{
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
    const __m256i fours = _mm256_add_epi16(pairs, _mm256_shuffle_epi32(pairs, _MM_SHUFFLE(1, 0, 3, 2)));
    const __m256i all = _mm256_add_epi16(fours, _mm256_shuffle_epi32(fours, _MM_SHUFFLE(2, 3, 0, 1)));
    const int32_t low = _mm256_extract_epi32(all, 0), high = _mm256_extract_epi32(all, 4);
    memcpy(sum[0], &low, sizeof low), memcpy(sum[1], &high, sizeof high);
}

/* The largest of 32 magnitudes. */
static inline float largest_magnitude(const __m256 v[4])
{
    const __m256 magnitude = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 largest = _mm256_setzero_ps();
    for (int i = 0; i < 4; i++) largest = _mm256_max_ps(_mm256_and_ps(v[i], magnitude), largest);
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(largest), _mm256_extractf128_ps(largest, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
}

static void round_block(const float *value, const az_columns *x, int64_t at)
{
    __m256 v[4], poison = _mm256_setzero_ps();
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(value + 8 * i);
        poison = _mm256_fmadd_ps(v[i], _mm256_setzero_ps(), poison); /* 0, or NaN when a value is not finite */
    }
    const float top = largest_magnitude(v);
    const __m256 inverse = _mm256_set1_ps(top >= FLT_MIN && isfinite(top) ? 127 / top : 0);
    __m256i whole[4];
    for (int i = 0; i < 4; i++) whole[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
    const __m256i packed = pack_bytes(whole);
    _mm256_storeu_si256((__m256i *)(x->q + at * AZ_BLOCK), packed);
    int16_t sum[2][2];
    sum_halves(packed, sum);
    x->scale[at] = top / 127 + az_sum_lanes(poison);
    az_block_totals(x, at, sum);
}

static void round_to_bytes(const az_columns *x, int64_t first, int64_t count)
{
    for (int64_t b = first; b < first + count; b++)
        for (int64_t j = 0; j < x->n; j++) round_block(x->value + j * x->cols + b * AZ_BLOCK, x, b * x->n + j);
}

/* ---- weights to bytes ---------------------------------------------------------------------------------------------------------------- */

/* Halves away from zero. Compares with whole +- 1/2, which is exact; a difference from x could be fused with the product that x comes from.
 */
static inline __m256i round_half_away(__m256 x)
{
    const __m256i toward_zero = _mm256_cvttps_epi32(x);
    const __m256 whole = _mm256_cvtepi32_ps(toward_zero), half = _mm256_set1_ps(0.5f);
    const __m256i up = _mm256_castps_si256(_mm256_cmp_ps(x, _mm256_add_ps(whole, half), _CMP_GE_OQ)); /* -1 in the lanes where it holds */
    const __m256i down = _mm256_castps_si256(_mm256_cmp_ps(x, _mm256_sub_ps(whole, half), _CMP_LE_OQ));
    return _mm256_add_epi32(_mm256_sub_epi32(toward_zero, up), down);
}

static bool encode_q8_0(const float *x, unsigned char *block)
{
    __m256 v[4];
    for (int i = 0; i < 4; i++) v[i] = _mm256_loadu_ps(x + 8 * i);
    const float d = largest_magnitude(v) / 127;
    float inverse = d > 0 ? 1 / d : 0;
    if (!isfinite(inverse)) inverse = 0; /* a subnormal d, whose f16 is 0 anyway */
    const uint16_t half = az_f16_round(d);
    memcpy(block, &half, sizeof half);
    __m256i whole[4];
    for (int i = 0; i < 4; i++) whole[i] = round_half_away(_mm256_mul_ps(v[i], _mm256_set1_ps(inverse)));
    _mm256_storeu_si256((__m256i *)(block + 2), pack_bytes(whole));
    return isfinite(az_f16_widen(half));
}

/* ---- widening ---------------------------------------------------------------------------------------------------------------------- */

static void widen_f16(const uint16_t *from, int64_t n, float *to)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(to + i, load8(F16, from + i));
    for (; i < n; i++) to[i] = az_f16_widen(from[i]);
}

static void widen_bf16(const uint16_t *from, int64_t n, float *to)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(to + i, load8(BF16, from + i));
    for (; i < n; i++) to[i] = az_bf16_widen(from[i]);
}

static inline __attribute__((always_inline)) void widen_blocks(blocks type, const unsigned char *block, int64_t n, float *to)
{
    const __m256i offset = _mm256_set1_epi8(type == Q8_0 ? 0 : 8);
    for (int64_t i = 0; i < n; i += AZ_BLOCK, block += type == Q8_0 ? AZ_Q8_0_BYTES : AZ_Q4_0_BYTES) {
        const __m256i q = _mm256_sub_epi8(block_bytes(type, block), offset);
        const __m256 d = block_scale(block);
        const __m128i low = _mm256_castsi256_si128(q), high = _mm256_extracti128_si256(q, 1);
        const __m128i part[4] = {low, _mm_srli_si128(low, 8), high, _mm_srli_si128(high, 8)};
        for (int k = 0; k < 4; k++) _mm256_storeu_ps(to + i + 8 * k, _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(part[k]))));
    }
}

static void widen_q8_0(const unsigned char *block, int64_t n, float *to)
{
    widen_blocks(Q8_0, block, n, to);
}
static void widen_q4_0(const unsigned char *block, int64_t n, float *to)
{
    widen_blocks(Q4_0, block, n, to);
}

/* The product is kept apart from the difference, which compilers would fuse: values of a format do not depend on the processor. */
static void widen_levels(const int8_t *level, int64_t n, float step, float minimum, float *to)
{
    const __m256 steps = _mm256_set1_ps(step), minima = _mm256_set1_ps(minimum);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 product = _mm256_mul_ps(steps, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(level + i)))));
        __asm__("" : "+x"(product));
        _mm256_storeu_ps(to + i, _mm256_sub_ps(product, minima));
    }
    az_widen_levels_portable(level + i, n - i, step, minimum, to + i);
}

#define PLAIN(number, format, isa) [AZ_GGML_##number] = {az_rows_##format##_##isa},
#define BOTH(number, format, isa)  [AZ_GGML_##number] = {az_rows_##format##_##isa, az_arranged_##format##_##isa},
#define KERNELS(isa)                                                                                                                       \
    {                                                                                                                                      \
        .name = #isa, .f32 = rows_f32, .f16 = rows_f16, .bf16 = rows_bf16, .blocks = {AZ_EVERY_FORMAT(isa, BOTH, PLAIN)},                  \
        .kept = az_kept_avx2, .widen_kept = az_widen_kept_avx2, .two_of_four = az_two_of_four_avx2, .most_rounded = INT64_MAX,             \
        .round_to_bytes = round_to_bytes, .encode_q8_0 = encode_q8_0, .widen_f16 = widen_f16, .widen_bf16 = widen_bf16,                    \
        .widen_q8_0 = widen_q8_0, .widen_q4_0 = widen_q4_0, .widen_levels = widen_levels,                                                  \
    }
const az_weight_kernels az_weight_kernels_avx2 = KERNELS(avx2), az_weight_kernels_vnni = KERNELS(vnni);
