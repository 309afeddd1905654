/* kron_data.c - planted Kronecker-sparse problems. */
#include "claims/kron_data.h"
#include "claims/splitmix.h"

#include <math.h>

static az_complex *as_complex(az_ctx *az, const double *x, int64_t n)
{
    az_complex *out = az_alloc_array(az, (size_t)n, sizeof *out);
    for (int64_t i = 0; out && x && i < n; i++) out[i] = x[i];
    return out;
}

static double *sparse_part(az_ctx *az, uint64_t seed, int i, int64_t n, int k)
{
    double *x = az_alloc_array(az, (size_t)n, sizeof *x);
    const int *order = splitmix_order(az, seed + 10 + (uint64_t)i, (int)n);
    const double *value = splitmix_normal(az, seed + 20 + (uint64_t)i, k);
    for (int j = 0; x && order && value && j < k; j++) x[order[j]] = value[j];
    return x;
}

kron_data *kron_data_new(az_ctx *az, uint64_t seed, int64_t n, const int64_t m[3], int k, double snr)
{
    kron_data *data = az_alloc(az, sizeof *data);
    double *part[3];
    if (!data) return NULL;
    data->a.factors = 3;
    for (int i = 0; i < 3; i++) {
        data->a.factor[i] = (az_kron_factor){m[i], n, as_complex(az, splitmix_normal(az, seed + (uint64_t)i, m[i] * n), m[i] * n)};
        part[i] = sparse_part(az, seed, i, n, k);
    }
    if (!az_ok(az)) return NULL;
    data->x = as_complex(az, az_kron_vectors(az, 3, (const int64_t[]){n, n, n}, part), n * n * n);
    data->y = az_kron_times(az, &data->a, data->x);
    const int64_t rows = az_kron_rows(&data->a);
    const double *noise = splitmix_normal(az, seed + 30, rows);
    if (!data->y || !noise) return NULL;
    for (int64_t i = 0; i < rows; i++) data->noise += creal(data->y[i] * conj(data->y[i])) / (double)rows;
    data->noise /= pow(10, snr / 10);
    for (int64_t i = 0; i < rows; i++) data->y[i] += sqrt(data->noise) * noise[i];
    return data;
}

double kron_error(const kron_data *data, const az_complex *x)
{
    double off = 0, size = 0;
    for (int64_t j = 0; j < az_kron_columns(&data->a); j++) {
        off += creal((x[j] - data->x[j]) * conj(x[j] - data->x[j]));
        size += creal(data->x[j] * conj(data->x[j]));
    }
    return off / size;
}

double kron_support_rate(const kron_data *data, const az_complex *x)
{
    double largest = 0;
    int64_t both = 0, either = 0;
    for (int64_t j = 0; j < az_kron_columns(&data->a); j++) largest = fmax(largest, cabs(x[j]));
    for (int64_t j = 0; j < az_kron_columns(&data->a); j++) {
        const bool own = cabs(x[j]) > 1e-3 * largest, real = data->x[j] != 0;
        both += own && real, either += own || real;
    }
    return (double)both / (double)either;
}
