/* kron.h - products with Kronecker products of small matrices, mode by mode.
 *
 * A vector of prod n_f entries is a tensor [n_1, ..., n_F], the last factor fastest; (B_1 kron ... kron B_F) x is B_f along each axis. */
#ifndef ADZE_ESTIMATE_KRON_H
#define ADZE_ESTIMATE_KRON_H

#include "adze/base.h"

#include <complex.h>
#undef complex /* the name of a field of az_array */

typedef double _Complex az_complex;
enum { AZ_KRON_MOST = 6 };

typedef struct az_kron_factor {
    int64_t rows, columns;
    const az_complex *value; /* [rows, columns] */
} az_kron_factor;
typedef struct az_kron {
    int factors;
    az_kron_factor factor[AZ_KRON_MOST];
} az_kron;

int64_t az_kron_rows(const az_kron *a);
int64_t az_kron_columns(const az_kron *a);
/* A x and A^H y, in the current scope. */
az_complex *az_kron_times(az_ctx *az, const az_kron *a, const az_complex *x);
az_complex *az_kron_adjoint_times(az_ctx *az, const az_kron *a, const az_complex *y);
/* Column j of A: [rows]. */
void az_kron_column(const az_kron *a, int64_t j, az_complex *out);
/* x_1 kron ... kron x_F of real vectors [n_f]. */
double *az_kron_vectors(az_ctx *az, int factors, const int64_t *n, double *const *x);
/* For each axis f other than `kept`, the tensor x [n_1, ..., n_F] is summed with weights w_f: [n_kept]. */
double *az_kron_contract(az_ctx *az, int factors, const int64_t *n, const double *x, double *const *w, int kept);

#endif
