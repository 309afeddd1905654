/* noise.c - normal vectors with covariance S = U D U^T, U unit lower triangular, D diagonal. */
#include "estimate/ssm/ssm_internal.h"

#include <math.h>

static double below_of(const double *below, int i, int j)
{
    return below[i * (i - 1) / 2 + j];
}

az_noise az_noise_of(int n, const double *variance, const double *below)
{
    az_noise noise = {.n = n, .variance = variance, .below = below};
    for (int i = 0; i < n; i++) noise.log_peak -= 0.5 * log(2 * acos(-1) * variance[i]);
    return noise;
}

bool az_noise_factor(int n, const double *covariance, double *variance, double *below)
{
    for (int i = 0; i < n; i++) {
        for (int j = 0; j <= i; j++) {
            double value = 0.5 * (covariance[i * n + j] + covariance[j * n + i]);
            for (int k = 0; k < j; k++)
                value -= below_of(below, i, k) * variance[k] * (i == j ? below_of(below, i, k) : below_of(below, j, k));
            if (j < i)
                below[i * (i - 1) / 2 + j] = value / variance[j];
            else
                variance[i] = value;
        }
        if (!(variance[i] > 0) || !isfinite(variance[i])) return false;
    }
    return true;
}

void az_noise_dense(const az_noise *noise, double *covariance)
{
    const int n = noise->n;
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++) {
            double sum = 0;
            for (int k = 0; k <= j; k++)
                sum += (k < i ? below_of(noise->below, i, k) : 1) * noise->variance[k] * (k < j ? below_of(noise->below, j, k) : 1);
            covariance[i * n + j] = covariance[j * n + i] = sum;
        }
}

/* z = U^-1 e */
static void whiten(const az_noise *noise, const double *e, double *z)
{
    for (int i = 0; i < noise->n; i++) {
        z[i] = e[i];
        for (int k = 0; k < i; k++) z[i] -= below_of(noise->below, i, k) * z[k];
    }
}

double az_noise_log_density(const az_noise *noise, const double *e)
{
    double z[AZ_SSM_MOST_STATES], square = 0;
    if (noise->n == 1) return noise->log_peak - 0.5 * *e * *e / *noise->variance;
    whiten(noise, e, z);
    for (int i = 0; i < noise->n; i++) square += z[i] * z[i] / noise->variance[i];
    return noise->log_peak - 0.5 * square;
}

void az_noise_draw(const az_noise *noise, az_rng *rng, double *e)
{
    for (int i = 0; i < noise->n; i++) e[i] = sqrt(noise->variance[i]) * az_normal(rng);
    for (int i = noise->n - 1; i > 0; i--)
        for (int k = 0; k < i; k++) e[i] += below_of(noise->below, i, k) * e[k];
}

/* With z = U^-1 e and v = U^-T D^-1 z the gradients are (z_i^2 / D_i - 1) / (2 D_i) and v_i z_j. */
void az_noise_score(const az_noise *noise, const double *e, double weight, double *variance, double *below, double *v)
{
    const int n = noise->n;
    double z[AZ_SSM_MOST_STATES];
    whiten(noise, e, z);
    for (int i = n - 1; i >= 0; i--) {
        v[i] = z[i] / noise->variance[i];
        for (int k = i + 1; k < n; k++) v[i] -= below_of(noise->below, k, i) * v[k];
    }
    for (int i = 0; i < n && variance; i++) variance[i] += weight * 0.5 * (z[i] * z[i] / noise->variance[i] - 1) / noise->variance[i];
    for (int i = 1; i < n && below; i++)
        for (int j = 0; j < i; j++) below[i * (i - 1) / 2 + j] += weight * v[i] * z[j];
}
