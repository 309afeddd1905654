/* machine.c - the limits of this machine: read bandwidth and sgemm rate, for the threads given as argument.
 * Prints one JSON object. */
#include "adze/base.h"

#include <cblas.h>
#include <omp.h>
#include <stdlib.h>

/* Best of `rounds` sums over a buffer that no cache holds, GB/s. */
static double read_bandwidth(az_ctx *az, int rounds)
{
    const int64_t n = (int64_t)64 << 20; /* 64 Mi 32-bit words = 256 MiB */
    uint32_t *data = az_alloc_array(az, (size_t)n, sizeof *data);
    if (!data) return 0;
    double best = 0;
    volatile uint32_t sink = 0;
    for (int r = 0; r < rounds; r++) {
        double start = az_seconds();
        uint32_t sum = 0;
#pragma omp parallel for reduction(+ : sum) schedule(static)
        for (int64_t i = 0; i < n; i++) sum += data[i];
        sink += sum;
        double rate = (double)n * 4 / (az_seconds() - start) / 1e9;
        if (rate > best) best = rate;
    }
    return best;
}

/* Best of `rounds` square products, GFLOP/s. */
static double sgemm_rate(az_ctx *az, int rounds)
{
    const int n = 1536;
    size_t size = (size_t)n * (size_t)n;
    float *a = az_alloc_array(az, size, sizeof *a), *b = az_alloc_array(az, size, sizeof *b), *c = az_alloc_array(az, size, sizeof *c);
    if (!c) return 0;
    az_fill_normal(az, 1, 1, 0, (int64_t)size, a);
    az_fill_normal(az, 1, 2, 0, (int64_t)size, b);
    double best = 0;
    for (int r = 0; r < rounds; r++) {
        double start = az_seconds();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, n, 1, a, n, b, n, 0, c, n);
        double rate = 2.0 * n * n * n / (az_seconds() - start) / 1e9;
        if (rate > best) best = rate;
    }
    return best;
}

int main(int argc, char **argv)
{
    az_ctx *az = az_open(&(az_settings){.threads = argc > 1 ? atoi(argv[1]) : 0});
    if (!az) return 2;
    double bandwidth = read_bandwidth(az, 7), rate = sgemm_rate(az, 7);
    printf("{\"threads\": %d, \"read_gb_s\": %.2f, \"sgemm_gflop_s\": %.1f}\n", az_threads(az), bandwidth, rate);
    bool ok = az_ok(az);
    if (!ok) fprintf(stderr, "bench_machine: %s\n", az_error(az));
    az_close(az);
    return ok ? 0 : 2;
}
