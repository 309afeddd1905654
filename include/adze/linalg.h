/* linalg.h - factorizations and solvers (LAPACK), randomized SVD, conjugate gradients, sketches, FFT.
 *
 * Matrices are f32 or f64 tensors (views too); f32 input is factored in f32 unless a comment says otherwise. Nothing here is recorded on a
 * tape except the functions marked "tracked". Operands that are not finite give AZ_NUMERIC with the first such position, shapes that do
 * not fit AZ_BAD_CALL. */
#ifndef ADZE_LINALG_H
#define ADZE_LINALG_H

#include "adze/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Thin SVD A = U diag(s) V^T of A [m, n], k = min(m, n): U [m, k], s [k] descending, Vt [k, n]. Any result pointer
 * may be NULL; without U and Vt it takes a fraction of the time. */
bool az_svd(az_ctx *az, const az_tensor *a, az_tensor **u, az_tensor **s, az_tensor **vt);
/* Leading `rank` <= min(m, n) triples by a Gaussian range finder with `power` iterations and `oversample` more columns than are kept
 * (Halko, Martinsson, Tropp 2011); az_svd_randomized takes 10 more. */
typedef struct az_range_finder {
    int64_t rank, oversample;
    int power;
    uint64_t seed;
} az_range_finder;
bool az_svd_range(az_ctx *az, const az_tensor *a, const az_range_finder *how, az_tensor **u, az_tensor **s, az_tensor **vt);
bool az_svd_randomized(az_ctx *az, const az_tensor *a, int64_t rank, int power, uint64_t seed, az_tensor **u, az_tensor **s,
                       az_tensor **vt);
/* Principal components of rows that come in batches. Batches are centred and merged exactly, then cut to `components` directions (Ross,
 * Lim, Lin, Yang 2008, as scikit-learn's IncrementalPCA does); without a cut the result is that of all rows at once. */
typedef struct az_pca {
    int64_t features, components, rows; /* rows seen so far */
    az_tensor *mean, *variance;         /* [features] f64; biased variance of each feature over the rows seen */
    az_tensor *values;  /* [components] f64, singular values of the centred rows, descending; zeros before the first batch */
    az_tensor *vectors; /* [components, features] orthonormal rows whose entry of largest size is positive */
} az_pca;
/* Of the current scope or arena. dtype f32 or f64: of the vectors, the batches and the decompositions; sums are made in f64.
 * 1 <= components <= features. */
az_pca *az_pca_new(az_ctx *az, az_dtype dtype, int64_t features, int64_t components);
/* Merges rows [m, features]; the first batch has at least `components` rows. fast (may be NULL = exact): range finder whose rank is
 * ignored. cosine [components] (may be NULL) receives those of the angles between each direction and what it was before; 0 at first.
 * After an error the components are as they were. */
bool az_pca_add(az_ctx *az, az_pca *pca, const az_tensor *rows, const az_range_finder *fast, double *cosine);
/* The share of direction i in the variance of everything seen: values[i]^2 / (rows sum_j variance_j); 0 when nothing varies. */
double az_pca_ratio(const az_pca *pca, int64_t i);

/* Symmetric eigenproblem A = Q diag(values) Q^T, ascending; only the lower triangle is read. Q [n, n] holds vectors
 * in columns. */
bool az_eigh(az_ctx *az, const az_tensor *a, az_tensor **values, az_tensor **q);
/* A [m, n] = Q [m, k] R [k, n], k = min(m, n). */
bool az_qr(az_ctx *az, const az_tensor *a, az_tensor **q, az_tensor **r);
/* Lower L with A = L L^T; only the lower triangle is read. AZ_NUMERIC when A is not positive definite (names the
 * pivot). Tracked: the gradient is that of a symmetric A, spread evenly over both triangles. */
az_tensor *az_cholesky(az_ctx *az, const az_tensor *a);
/* X with A X = B for square A (LU with partial pivoting); B [n] or [n, k]. AZ_NUMERIC when singular. Tracked. */
az_tensor *az_solve(az_ctx *az, const az_tensor *a, const az_tensor *b);
/* X with A X = B, A symmetric positive definite, by Cholesky. Tracked. */
az_tensor *az_solve_spd(az_ctx *az, const az_tensor *a, const az_tensor *b);
/* X with T X = B or T^T X = B; only T's triangle is read. AZ_NUMERIC on a zero diagonal. Tracked. */
typedef struct az_triangle {
    bool upper, transposed, unit_diagonal;
} az_triangle;
az_tensor *az_solve_triangular(az_ctx *az, const az_tensor *t, const az_tensor *b, az_triangle how);
/* Minimum-norm least squares argmin |A x - B| by SVD; singular values below rcond * s_max count as zero (rcond < 0:
 * eps * max(m, n)). */
az_tensor *az_least_squares(az_ctx *az, const az_tensor *a, const az_tensor *b, double rcond);
/* Inverse of a square matrix; log |det A| with its sign (of a singular A: -infinity and 0). Both tracked. */
az_tensor *az_inverse(az_ctx *az, const az_tensor *a);
az_tensor *az_log_det(az_ctx *az, const az_tensor *a, int *sign);
/* exp(A) of a square matrix; infinities and NaN where it overflows. */
az_tensor *az_exponential(az_ctx *az, const az_tensor *a);
az_tensor *az_identity(az_ctx *az, az_dtype dtype, int64_t n);
az_tensor *az_diagonal(az_ctx *az, const az_tensor *a); /* of a square matrix: [n]. Tracked. */

/* y = A x for a linear operator; x and y have n entries. */
typedef void (*az_operator)(az_ctx *az, int64_t n, const double *x, double *y, void *user);
typedef struct az_cg_result {
    int iterations;
    double residual;
    bool converged;
} az_cg_result;
/* Conjugate gradients for symmetric positive definite A; x holds the start and receives the solution. Stops at |b - A
 * x| <= tolerance * |b|, checked on the true residual. AZ_NUMERIC when p^T A p <= 0 for some direction p. */
az_cg_result az_conjugate_gradient(az_ctx *az, az_operator a, void *user, int64_t n, const double *b, double *x, double tolerance,
                                   int max_iterations);

/* A matrix of data, dense or sparse, that is multiplied and never changed. */
typedef struct az_sparse_lines {
    const int64_t *start; /* [lines + 1] entries start[i] .. start[i + 1] - 1 are those of line i */
    const int64_t *other; /* [entries] position along the line, ascending */
    const double *value;  /* [entries] */
} az_sparse_lines;
typedef struct az_matrix {
    int64_t rows, columns;
    const az_tensor *dense; /* [rows, columns] f64; NULL = sparse */
    az_sparse_lines by_row, by_column;
} az_matrix;
az_matrix *az_matrix_dense(az_ctx *az, const az_tensor *x); /* shares x, copies it when it is not contiguous f64 */
/* From entries in the order of rows, then columns, each place once; the arrays are copied. */
az_matrix *az_matrix_sparse(az_ctx *az, int64_t rows, int64_t columns, const az_sparse_lines *by_row);
az_matrix *az_matrix_rows(az_ctx *az, const az_matrix *x, const int64_t *row, int64_t count); /* the given rows, in that order */
az_matrix *az_matrix_scaled(az_ctx *az, const az_matrix *x, double factor);
az_tensor *az_matrix_times(az_ctx *az, const az_matrix *x, const az_tensor *v);            /* X V: v [columns, k] f64 -> [rows, k] */
az_tensor *az_matrix_transposed_times(az_ctx *az, const az_matrix *x, const az_tensor *u); /* X^T U: u [rows, k] f64 -> [columns, k] */
double az_matrix_square(const az_matrix *x);                                               /* the sum of its squares */

/* A linear map by its products: times(v [columns, k]) = [rows, k], transposed(u [rows, k]) = [columns, k]. */
typedef struct az_linear_map {
    int64_t rows, columns;
    az_tensor *(*times)(az_ctx *az, const az_tensor *v, const void *user);
    az_tensor *(*transposed)(az_ctx *az, const az_tensor *u, const void *user);
    const void *user;
} az_linear_map;
az_linear_map az_matrix_map(const az_matrix *x);
/* The leading `width` left singular vectors u [rows, width] of a map M, orthonormal, and image = M^T u [columns, width], whose columns are
 * orthogonal and as long as the singular values; by block iteration from `start` [rows, width] (NULL = random by seed) until the sum of
 * the first `rank` squared values moves by no more than `tolerance` of itself, or for most_turns. Columns behind `rank` are there to speed
 * it up and are less exact. */
typedef struct az_leading {
    int64_t rank, width, most_turns; /* rank <= width <= min(rows, columns) */
    double tolerance;
    uint64_t seed;
    const az_tensor *start;
} az_leading;
bool az_leading_vectors(az_ctx *az, const az_linear_map *map, const az_leading *how, az_tensor **u, az_tensor **image);
/* The largest eigenvalue of M^T M, to a relative 1e-10 or as far as 1000 steps of power iteration go. */
double az_largest_square(az_ctx *az, const az_linear_map *map, uint64_t seed);

/* min over x_i of x_i^T Q x_i / 2 - b_i^T x_i + sum_k l1_k |x_ik|, with x_ik >= 0 where asked, for n right sides that share Q, by
 * coordinate descent: least squares with signs (NNLS), the Lasso, ridge regression. x [n, r] holds the starts and receives the results. A
 * turn through the coordinates ends it when no x_ik moved by more than `tolerance` of the largest; coordinates with Q_kk = 0 stay. */
typedef struct az_quadratic {
    int64_t r;
    const double *q;         /* [r, r] positive semidefinite */
    const double *l1;        /* [r]; NULL = 0 */
    const bool *nonnegative; /* [r]; NULL = none */
    int64_t most_turns;
    double tolerance;
} az_quadratic;
void az_quadratic_descend(az_ctx *az, const az_quadratic *problem, int64_t n, const double *b, double *x);

/* The empirical Fisher matrix of m gradients g_i [d], F = damp I + (1/m) sum_i g_i g_i^T, and products with its inverse without a d x d
 * matrix (Frantar, Kurtic, Alistarh 2021). damp > 0; m = 0 leaves damp I.
 *
 * Static: gradients [m, d] of type f32, f64, f16 or bf16, shared and not copied; with block > 0 F keeps its diagonal blocks of that many
 * entries only (the last may be smaller). Each block is factored in double, m x m or block x block, whichever is smaller: O(d min(m, block)
 * max(m, block)) time in all, or O(d m^2) for the whole matrix; factors that would need more memory than the gradients are not kept but
 * made again by each call. AZ_NUMERIC on gradients that are not finite. */
typedef struct az_fisher az_fisher;
/* Room for gradients [m, d], f32 or bf16, to be filled: in memory or, where scratch is neither NULL nor "", in a file in that
 * folder. Fails with the size when there is no room. */
az_tensor *az_fisher_gradients(az_ctx *az, int64_t m, int64_t d, az_dtype dtype, const char *scratch);
az_fisher *az_fisher_new(az_ctx *az, const az_tensor *gradients, double damp, int64_t block);
/* F^-1 x for x [d] (f32 or f64; the result has its type): O(d m) with kept factors. */
az_tensor *az_fisher_solve(az_ctx *az, const az_fisher *fisher, const az_tensor *x);
/* F x for x [d] likewise: az_fisher_solve's inverse, to tell how well it solved. O(d m). */
az_tensor *az_fisher_multiply(az_ctx *az, const az_fisher *fisher, const az_tensor *x);
/* The diagonal of F^-1: [d] f64, positive. */
az_tensor *az_fisher_inverse_diagonal(az_ctx *az, const az_fisher *fisher);

/* Dynamic: F over a window of the last m gradients pushed; it starts with zeros, which count among the m. O(d m + m^3) a push. */
typedef struct az_fisher_window az_fisher_window;
az_fisher_window *az_fisher_window_new(az_ctx *az, int64_t m, int64_t d, double damp);
/* Overwrites the oldest gradient by g [d], f32. A g that is not finite is refused (AZ_NUMERIC) and leaves the window as it is. */
bool az_fisher_window_push(az_ctx *az, az_fisher_window *window, const az_tensor *g);
az_tensor *az_fisher_window_solve(az_ctx *az, az_fisher_window *window, const az_tensor *x); /* x [d] f32 -> F^-1 x */
/* Both for the same vector, in one pass less: F^-1 g with g in the window. */
az_tensor *az_fisher_window_push_solve(az_ctx *az, az_fisher_window *window, const az_tensor *g);
/* The window as tensors that may be saved and written back: gradients [m, d] f32, their products [m, m] f64, and the number of pushes so
 * far [1] f64. */
void az_fisher_window_state(az_fisher_window *window, az_tensor *state[3]);

/* Real DFT over the last axis (FFTW, in f64 whatever the type of x): x [..., n] -> [..., n/2 + 1, 2] (real,
 * imaginary), unnormalised; and its inverse with factor 1/n. Results have the type of x. */
az_tensor *az_rfft(az_ctx *az, const az_tensor *x);
az_tensor *az_irfft(az_ctx *az, const az_tensor *x, int64_t n);

/* In place: x [n, columns] becomes H_n x, unnormalised (H_n H_n = n I), n a power of two, rows in Sylvester's order. O(n columns log n). */
void az_walsh_hadamard(double *x, int64_t n, int64_t columns, int threads);

/* Random projections S [sketched, rows] with E S^T S = I (sketch.c has their formulas). */
typedef enum az_sketch_kind { AZ_SKETCH_SRHT, AZ_SKETCH_SIGN, AZ_SKETCH_GAUSS, AZ_SKETCH_COUNT, AZ_SKETCH_OSNAP } az_sketch_kind;
extern const char *const az_sketch_names[]; /* NULL-terminated */
enum { AZ_SKETCH_BLOCK = 256 };
typedef struct az_sketch {
    az_sketch_kind kind;
    int64_t rows, sketched;
    int64_t per_row; /* osnap: entries of S for each row of x */
    uint64_t seed;
} az_sketch;
/* Rows of a matrix with one more column behind them that may lie elsewhere: the right side of a regression. */
typedef struct az_rows {
    const double *x; /* [count, width], rows `stride` apart */
    int64_t count, width, stride;
    const double *last; /* [count], entries `last_stride` apart; NULL = no such column */
    int64_t last_stride;
} az_rows;
/* out [sketched, width, and one with a last column] += S x for rows first .. first + count - 1 of x; first is a multiple of
 * AZ_SKETCH_BLOCK. srht wants all rows at once and overwrites out. */
bool az_sketch_add(az_ctx *az, const az_sketch *sketch, const az_rows *x, int64_t first, double *out);

/* Least squares min |A x - b| for A [m, k], m >> k: conjugate gradients preconditioned by the R of a sketch of A with `rows` rows, stopped
 * at
 * |(A R^-1)^T (b - A x)| <= tolerance |(A R^-1)^T b|. With rows >= m it is one QR factorization. Allocates nothing: work holds
 * az_sketched_workspace(m, k, rows) doubles, so threads may solve different problems at once. */
typedef struct az_sketched_how {
    int64_t rows; /* of the sketch, at least k; 4 k is usual */
    double tolerance;
    int64_t most_steps;
    bool plain;            /* steps x += R^-1 (A R^-1)^T (b - A x) instead; they need a sketch of many rows to converge */
    uint64_t seed, stream; /* of the sketch */
} az_sketched_how;
typedef struct az_sketched_result {
    int64_t steps, operations; /* multiplications and additions, in pairs */
    bool full_rank, converged; /* without full rank x is not set */
} az_sketched_result;
int64_t az_sketched_workspace(int64_t m, int64_t k, int64_t rows);
az_sketched_result az_sketched_least_squares(const double *a, const double *b, int64_t m, int64_t k, double *x, const az_sketched_how *how,
                                             double *work);
/* The iteration alone, from x on, with a given upper triangular R [k, k] whose rows are ldr apart; work holds 2 m + 4 k doubles. */
az_sketched_result az_preconditioned_least_squares(const double *a, const double *b, int64_t m, int64_t k, const double *r, int64_t ldr,
                                                   double *x, const az_sketched_how *how, double *work);

#ifdef __cplusplus
}
#endif
#endif
