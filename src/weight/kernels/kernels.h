/* kernels.h - products of weight rows with vectors of activations, one set of functions per instruction set.
 *
 * All sets compute the same numbers up to the order of the sums. Which set runs is decided once, by az_weight_kernels_here. */
#ifndef ADZE_WEIGHT_KERNELS_H
#define ADZE_WEIGHT_KERNELS_H

#include "adze/base.h"

/* n vectors of activations. Products with formats of blocks use them rounded to bytes, block by block of 32: value = scale q within
 * scale / 2. What the vectors have in a block lies together. */
typedef struct az_columns {
    int64_t n, cols;
    const float *value; /* [n, cols] */
    int8_t *q;          /* [cols / 32, n, 32], -127 .. 127; q and what follows are NULL for the other formats */
    float *scale;       /* [cols / 32, n]: largest magnitude of the block / 127; NaN when the block is not finite */
    float *total;       /* [cols / 32, n]: scale times the sum of the block's q, what a minimum of 1 contributes */
    float *halves;      /* [cols / 32, n, 2]: the same for each half of the block */
    /* What levels that are by 8 or by 32 too large add, negated: -8 times the sum of the block's q, -32 times that of each half; and the
     * same apart for the places 0, 1, 4, 5 .. and 2, 3, 6, 7 .. */
    int32_t *less8;   /* [cols / 32, n] */
    int32_t *less32;  /* [cols / 32, n, 2] */
    int16_t *pairs8;  /* [cols / 32, n, 2] */
    int16_t *pairs32; /* [cols / 32, n, 2, 2] */
} az_columns;

/* y[j y_stride + r] = row r of the weight . vector j, for r < count and j < x->n. `rows` points to the first of these rows. A product's
 * bits do not depend on the other rows and vectors. */
typedef void az_rows_kernel(const void *rows, int64_t count, const az_columns *x, float *y, int64_t y_stride);

/* Rows of a pattern n:m: their kept values, one row after the other, and a bit for each column (bit c % 8 of byte c / 8 of a row's mask).
 */
typedef struct az_kept_rows {
    const uint16_t *value, *end; /* f16 or bf16; end of the whole matrix */
    const uint8_t *mask;         /* [count, (cols + 7) / 8] */
    int64_t count, per_row;      /* rows; values of a row */
    int per_byte;                /* values of every byte of the mask, at most 4; 0 = it varies */
    bool bf16;
} az_kept_rows;
/* A product with such rows. */
typedef void az_kept_kernel(const az_kept_rows *rows, const az_columns *x, float *y, int64_t y_stride);

/* Columns that are taken at a time where two of every four are kept, and cols filled up to a multiple of them. */
enum { AZ_FOURS = 256 };
static inline int64_t az_fours(int64_t cols)
{
    return (cols + AZ_FOURS - 1) / AZ_FOURS * AZ_FOURS;
}

/* Numbers of formats of blocks in GGUF. */
enum {
    AZ_GGML_Q4_0 = 2,
    AZ_GGML_Q4_1,
    AZ_GGML_Q5_0 = 6,
    AZ_GGML_Q5_1,
    AZ_GGML_Q8_0,
    AZ_GGML_Q2_K = 10,
    AZ_GGML_Q3_K,
    AZ_GGML_Q4_K,
    AZ_GGML_Q5_K,
    AZ_GGML_Q6_K,
    AZ_GGML_Q8_K,
    AZ_GGML_IQ4_NL = 20,
    AZ_GGML_TYPES
};

/* Arranged: of AZ_ARRANGED rows each, a number of `size` bytes that stands at byte `at` of row r's block stands at byte AZ_ARRANGED at +
 * r size of all their blocks. The count of such rows is a multiple of AZ_ARRANGED. */
enum { AZ_ARRANGED = 16 };
typedef struct az_blocks_kernels {
    az_rows_kernel *rows, *arranged; /* NULL: there is none */
} az_blocks_kernels;

typedef struct az_weight_kernels {
    const char *name;
    az_rows_kernel *f32, *f16, *bf16;
    az_blocks_kernels blocks[AZ_GGML_TYPES]; /* by the format's ggml_type; NULL: rows are decoded instead */
    az_kept_kernel *kept;
    void (*widen_kept)(const az_kept_rows *rows, int64_t cols, float *to); /* to [count, cols] */
    az_kept_kernel *two_of_four; /* the same for 2:4 with vectors as az_arrange_fours lays them out; or NULL */
    int64_t most_rounded;        /* with more vectors, products with formats of blocks are left to panels or BLAS; az_worth_rounding */
    /* Fills q and what follows from the values, for some blocks of all vectors. */
    void (*round_to_bytes)(const az_columns *x, int64_t first, int64_t count);
    /* n values to f32 */
    void (*widen_f16)(const uint16_t *from, int64_t n, float *to);
    void (*widen_bf16)(const uint16_t *from, int64_t n, float *to);
    void (*widen_q8_0)(const unsigned char *blocks, int64_t n, float *to);
    void (*widen_q4_0)(const unsigned char *blocks, int64_t n, float *to);
    /* to[i] = step level[i] - minimum, the product rounded first */
    void (*widen_levels)(const int8_t *level, int64_t n, float step, float minimum, float *to);
    /* The block of 32 finite values: d = max |x| / 127, q = x / d rounded with halves away from zero. False when f16 cannot hold d. */
    bool (*encode_q8_0)(const float *x, unsigned char *block);
} az_weight_kernels;

extern const az_weight_kernels az_weight_kernels_portable;
void az_widen_levels_portable(const int8_t *level, int64_t n, float step, float minimum, float *to);
bool az_encode_q8_0_portable(const float *x, unsigned char *block);
az_rows_kernel az_rows_q4_k_portable, az_rows_q6_k_portable;
az_kept_kernel az_kept_portable;
void az_widen_kept_portable(const az_kept_rows *rows, int64_t cols, float *to);
#if defined(__x86_64__)
extern const az_weight_kernels az_weight_kernels_avx2, az_weight_kernels_vnni; /* these differ in the rows of blocks alone */
az_kept_kernel az_kept_avx2, az_two_of_four_avx2;
void az_widen_kept_avx2(const az_kept_rows *rows, int64_t cols, float *to);
/* Every format of blocks; those of `both` have kernels for arranged rows too. */
#define AZ_EVERY_FORMAT(isa, both, plain)                                                                                                  \
    both(Q4_0, q4_0, isa) both(Q4_1, q4_1, isa) both(Q5_0, q5_0, isa) both(Q5_1, q5_1, isa) both(IQ4_NL, iq4_nl, isa)                      \
        plain(Q8_0, q8_0, isa) plain(Q2_K, q2_k, isa) plain(Q3_K, q3_k, isa) plain(Q4_K, q4_k, isa) plain(Q5_K, q5_k, isa)                 \
            plain(Q6_K, q6_k, isa) plain(Q8_K, q8_k, isa)
#define AZ_DECLARE_PLAIN(number, format, isa) az_rows_kernel az_rows_##format##_##isa;
#define AZ_DECLARE_BOTH(number, format, isa)  az_rows_kernel az_rows_##format##_##isa, az_arranged_##format##_##isa;
AZ_EVERY_FORMAT(avx2, AZ_DECLARE_BOTH, AZ_DECLARE_PLAIN)
AZ_EVERY_FORMAT(vnni, AZ_DECLARE_BOTH, AZ_DECLARE_PLAIN)
#elif defined(__aarch64__)
extern const az_weight_kernels az_weight_kernels_neon;
#endif

/* n vectors [n, cols] to [n, az_fours(cols)], filled up with zeros, of every 16 the second and the third group of four exchanged. */
void az_arrange_fours(const float *x, int64_t n, int64_t cols, float *to);

/* What x has of block `at` behind its scale, from that and the sums of q over each half: of places 0, 1, 4, 5 .. and of 2, 3, 6, 7 .. */
void az_block_totals(const az_columns *x, int64_t at, const int16_t sum[2][2]);

/* The fastest set that this processor runs. */
const az_weight_kernels *az_weight_kernels_here(void);

#endif
