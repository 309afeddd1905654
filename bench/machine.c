/* machine.c - the limits of this machine.
 *   bench_machine THREADS       read bandwidth, multiply-adds of f32 and of bytes, and the rate of OpenBLAS's sgemm
 *   bench_machine THREADS read  the read bandwidth alone, in a few seconds
 * Prints one JSON object. */
#include "limits.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>

/* Best of `rounds` square products, operations/s. */
static double sgemm_rate(az_ctx *az, int rounds)
{
    const int n = 1536;
    const size_t size = (size_t)n * (size_t)n;
    float *a = az_alloc_array(az, size, sizeof *a), *b = az_alloc_array(az, size, sizeof *b), *c = az_alloc_array(az, size, sizeof *c);
    if (!c) return 0;
    az_fill_normal(az, 1, 1, 0, (int64_t)size, a);
    az_fill_normal(az, 1, 2, 0, (int64_t)size, b);
    double best = 0;
    for (int r = 0; r < rounds; r++) {
        double start = az_seconds();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, n, 1, a, n, b, n, 0, c, n);
        double rate = 2.0 * n * n * n / (az_seconds() - start);
        if (rate > best) best = rate;
    }
    return best;
}

static bool print_read(az_ctx *az)
{
    const double read = bench_measure_read(az, 1);
    printf("{\"read_gb_s\": %.2f}\n", read / 1e9);
    return read > 0;
}

static bool print_limits(az_ctx *az)
{
    const bench_limits limits = bench_measure_limits(az, 4);
    const double sgemm = sgemm_rate(az, 7);
    printf("{\"threads\": %d, \"instructions\": \"%s\", \"read_gb_s\": %.2f, \"read_small_pages_gb_s\": %.2f, \"streams\": %d, "
           "\"ahead_bytes\": %lld, \"f32_gflop_s\": %.1f, \"int8_gop_s\": %.1f, \"sgemm_gflop_s\": %.1f, \"cache_bytes\": [%lld, %lld, "
           "%lld]}\n",
           limits.threads, limits.instructions, limits.read / 1e9, limits.read_small_pages / 1e9, limits.pattern.streams,
           (long long)limits.pattern.ahead, limits.f32 / 1e9, limits.int8 / 1e9, sgemm / 1e9, (long long)limits.cache[0],
           (long long)limits.cache[1], (long long)limits.cache[2]);
    return limits.read > 0;
}

int main(int argc, char **argv)
{
    az_ctx *az = az_open(&(az_settings){.threads = argc > 1 ? atoi(argv[1]) : 0});
    if (!az) return 2;
    const bool measured = argc > 2 && strcmp(argv[2], "read") == 0 ? print_read(az) : print_limits(az);
    const bool ok = az_ok(az) && measured;
    if (!ok) fprintf(stderr, "bench_machine: %s\n", az_ok(az) ? "no memory for the buffers" : az_error(az));
    az_close(az);
    return ok ? 0 : 2;
}
