/* kron_data.h - sparse vectors with Kronecker supports and their measurements, that any language can make again. */
#ifndef ADZE_CLAIMS_KRON_DATA_H
#define ADZE_CLAIMS_KRON_DATA_H

#include "estimate/kro_sbl.h"

typedef struct kron_data {
    az_kron a; /* three factors */
    az_complex *x, *y;
    double noise; /* variance */
} kron_data;

/* A_i [m_i, n] normal from seed + i; x = x_1 kron x_2 kron x_3, each with k non-zeros: the first k of the order of uniforms from seed + 10
 * + i, normal values from seed + 20 + i; noise of variance mean |A x|^2 / 10^(snr / 10) from seed + 30. */
kron_data *kron_data_new(az_ctx *az, uint64_t seed, int64_t n, const int64_t m[3], int k, double snr);
/* |x' - x|^2 / |x|^2; shared entries of both supports / all of both, where |x'| > 1e-3 max |x'|. */
double kron_error(const kron_data *data, const az_complex *x);
double kron_support_rate(const kron_data *data, const az_complex *x);

#endif
