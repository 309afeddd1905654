/* weight_internal.h - what the formats of this room share. */
#ifndef ADZE_WEIGHT_INTERNAL_H
#define ADZE_WEIGHT_INTERNAL_H

#include "adze/weight.h"
#include "weight/kernels/kernels.h"

/* values per block of q8_0 and q4_0, and the bytes of such blocks; bytes of a q4_k, a q6_k and a q8_k block of 256 */
enum { AZ_BLOCK = 32, AZ_Q8_0_BYTES = 34, AZ_Q4_0_BYTES = 18, AZ_Q4_K_BYTES = 144, AZ_Q6_K_BYTES = 210, AZ_Q8_K_BYTES = 292 };

extern const az_format az_format_f32, az_format_f64, az_format_f16, az_format_bf16;
extern const az_format az_format_q8_0, az_format_q4_0, az_format_q4_1, az_format_q5_0, az_format_q5_1, az_format_iq4_nl;
extern const az_format az_format_q2_k, az_format_q3_k, az_format_q4_k, az_format_q5_k, az_format_q6_k, az_format_q8_k;
extern const az_format az_format_lowrank, az_format_aq, az_format_grid, az_format_nf4;

/* Rows that are decoded together where a format has work in common for them. */
enum { AZ_DECODE_ROWS = 8 };
extern const az_format az_format_nm_f16, az_format_nm_bf16;
extern const az_format az_format_bitmap_f16, az_format_bitmap_bf16, az_format_bitmap_f32, az_format_csl_f16, az_format_csl_bf16;

/* what the indices of iq4_nl stand for */
extern const int8_t az_iq4_nl_levels[16];

/* Memory of the current scope that is not cleared. */
void *az_scratch(az_ctx *az, int64_t count, int64_t size);

/* Products with many vectors by packed panels, where the kernels have that. */
void az_panels_matmul(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y);
/* The panels that w's many products run on, as exact as its format is worth; NULL where BLAS does better. */
const struct az_panel_kernels *az_panel_kernels_for(const az_weight *w);
/* Products on f32 tiles, through BLAS where there are no panels, for formats without their own. */
void az_tiles_matmul(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y);
void az_tiles_matmul_t(az_ctx *az, const az_weight *w, const float *g, int64_t n, float *gx);

/* Up to so many vectors the kernels of dense formats are worth it. */
enum { AZ_FEW = 12 };
/* Adds the vectors of x rounded to bytes, in the current scope; false without memory. cols is a multiple of 32. */
bool az_round_columns(az_ctx *az, az_columns *x);
/* Whether kernels on vectors that are rounded to bytes are worth it for n of them. */
bool az_worth_rounding(int64_t n);
/* The kernel of a format of blocks: az_format's rows_kernel. */
az_rows_kernel *az_block_rows_kernel(const az_format *format, int64_t n, bool arranged);
/* y[i] [n, rows of w[i]] = x W_i^T for `count` weights that read x, each by its kernel; the rows of part 0 follow each other without gaps.
 */
typedef struct az_row_product {
    const az_weight *w;
    az_rows_kernel *kernel, *arranged; /* the latter for the rows of w->arranged; or NULL */
    float *y;
} az_row_product;
void az_rows_matmul(az_ctx *az, const az_row_product *product, int count, const float *x, int64_t n);

/* A weight of a format around one part [rows, ...], unchecked. */
az_weight *az_weight_around(az_ctx *az, const az_format *format, int64_t rows, int64_t cols, az_tensor *part);
/* True when f16 can hold every value; otherwise fails with the first that is too large. */
bool az_f16_holds(az_ctx *az, const az_tensor *dense);
/* Fails: a part is not what the format needs. */
bool az_bad_part(az_ctx *az, const az_weight *w, int part, const char *needed);
static inline bool az_is_vector(const az_tensor *x, az_dtype dtype, int64_t n)
{
    return x->dtype == dtype && x->rank == 1 && x->shape[0] == n && az_is_contiguous(x);
}
static inline bool az_is_matrix(const az_tensor *x, az_dtype dtype, int64_t rows, int64_t cols)
{
    return x->dtype == dtype && x->rank == 2 && x->shape[0] == rows && x->shape[1] == cols && az_is_contiguous(x);
}
/* The check of formats whose rows are blocks in a byte matrix [rows, cols / block * block_bytes]. */
bool az_check_blocks(az_ctx *az, const az_weight *w);
#endif
