/* completion.h - a matrix M [m, n] known at some entries, approximated by U V^T of rank k.
 *
 * U [m, k], V [n, k]; Omega is the set of known entries, P_Omega keeps them and zeroes the others, Omega_j those of column j. */
#ifndef ADZE_ESTIMATE_COMPLETION_H
#define ADZE_ESTIMATE_COMPLETION_H

#include "adze/tensor.h"

/* One orientation: line i has the entries start[i] .. start[i + 1] - 1, ascending in `other`. */
typedef struct az_lines {
    int64_t lines, others;
    const int64_t *start; /* [lines + 1] */
    const int64_t *other; /* [count] position along the line */
    const double *value;  /* [count] */
} az_lines;

typedef struct az_entries {
    int64_t count;
    az_lines rows, columns;
} az_entries;

/* Entry e has value[e] at (row[e], column[e]). Entries given twice must agree (AZ_BAD_INPUT names the place); they count once. */
az_entries *az_entries_new(az_ctx *az, int64_t m, int64_t n, int64_t count, const int64_t *row, const int64_t *column, const double *value);
/* Each entry goes to part 0 .. parts - 1 at random by (seed, position). */
bool az_entries_split(az_ctx *az, const az_entries *all, int parts, uint64_t seed, az_entries **part);
/* Each entry goes to the second part with probability `share`. */
bool az_entries_hold_out(az_ctx *az, const az_entries *all, double share, uint64_t seed, az_entries **kept, az_entries **held);
/* Fails when no matrix of this shape has the rank. */
bool az_entries_check_rank(az_ctx *az, const az_entries *entries, int64_t rank);
/* Leading `rank` singular triples of P_Omega(M) (zeros elsewhere) by block iteration: u [m, rank], s [rank], v [n, rank]. */
bool az_entries_svd(az_ctx *az, const az_entries *entries, int64_t rank, uint64_t seed, az_tensor **u, az_tensor **s, az_tensor **v);

typedef enum az_row_solver { AZ_SOLVE_PCG, AZ_SOLVE_QR, AZ_SOLVE_CHOLESKY } az_row_solver;

typedef struct az_completion_how {
    int64_t rank, iterations;
    double stop; /* relative change of the residual on the known entries */
    az_row_solver regression;
    double tolerance; /* of each regression by conjugate gradients, times the current relative residual when `tighten` */
    bool tighten;
    int64_t most_steps, sketch; /* rows of a sketch per unit of rank */
    bool split;                 /* fresh entries for every half step */
    double mu;                  /* incoherence at which the start is clipped; 0 = not */
    double ridge;               /* adds ridge |x|^2 to each regression */
    uint64_t seed;
} az_completion_how;

typedef struct az_completion {
    az_tensor *u, *v; /* [m, rank], [n, rank] f64 */
    int64_t iterations;
    double *residual; /* [iterations] |P_Omega(U V^T - M)| / |P_Omega(M)| after each */
    double steps;     /* conjugate-gradient steps, mean over all regressions */
    int64_t regressions;
    int64_t operations; /* of all regressions: multiplications with additions */
    int64_t empty_rows, empty_columns;
    bool converged;
} az_completion;

/* Alternating minimisation (arXiv 2302.11068). AZ_BAD_INPUT when a row or column has fewer than `rank` entries and there is no ridge. */
az_completion *az_complete_alternating(az_ctx *az, const az_entries *entries, const az_completion_how *how);
/* Z <- S_lambda(P_Omega(M) + Z - P_Omega(Z)), S_lambda lowering the singular values by lambda (Mazumder, Hastie, Tibshirani 2010). Keeps
 * the filled matrix; the rank is what is left. Stops when |Z - Z'| <= stop |Z|. */
az_completion *az_complete_softimpute(az_ctx *az, const az_entries *entries, double lambda, int64_t iterations, double stop);
/* The leading `rank` singular triples of P_Omega(M) / p, p = |Omega| / (m n). */
az_completion *az_complete_svd(az_ctx *az, const az_entries *entries, int64_t rank, uint64_t seed);
/* (U V^T)_ij */
double az_completion_value(const az_completion *completion, int64_t i, int64_t j);
/* |P_Omega(U V^T - M)|, root of the mean square when `mean`. */
double az_completion_error(const az_completion *completion, const az_entries *entries, bool mean);

#endif
