/* random.c - counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC
 * 2011). */
#include "base/random_kernels.h"

#include <math.h>

void az_philox(uint64_t seed, uint64_t stream, uint64_t index, uint32_t out[4])
{
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ key0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ key1;
        c0 = n0;
        c1 = (uint32_t)p1;
        c2 = n2;
        c3 = (uint32_t)p0;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint64_t az_stream(const char *purpose, uint64_t number)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a over the name, then a finaliser over the number */
    for (const char *c = purpose; *c; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    hash ^= number * 0x9E3779B97F4A7C15u;
    hash = (hash ^ (hash >> 30)) * 0xBF58476D1CE4E5B9u;
    hash = (hash ^ (hash >> 27)) * 0x94D049BB133111EBu;
    return hash ^ (hash >> 31);
}

az_rng az_rng_at(uint64_t seed, uint64_t stream)
{
    return (az_rng){.seed = seed, .stream = stream};
}

uint32_t az_random_bits(az_rng *rng)
{
    if (rng->left == 0) {
        az_philox(rng->seed, rng->stream, rng->index++, rng->block);
        rng->left = 4;
    }
    return rng->block[4 - rng->left--];
}

/* 53 random bits as a double in [0, 1). */
static double unit_double(uint32_t high, uint32_t low)
{
    return (double)(((uint64_t)high << 32 | low) >> 11) * 0x1p-53;
}

double az_uniform(az_rng *rng)
{
    uint32_t high = az_random_bits(rng), low = az_random_bits(rng);
    return unit_double(high, low);
}

/* Box-Muller: one normal of two uniforms; the second uniform is shifted off zero. */
static double box_muller(double u, double v)
{
    return sqrt(-2.0 * log(v + 0x1p-54)) * cos(6.283185307179586 * u);
}

double az_normal(az_rng *rng)
{
    double u = az_uniform(rng), v = az_uniform(rng);
    return box_muller(u, v);
}

uint64_t az_below(az_rng *rng, uint64_t n)
{
    if (n <= 1) return 0;
    uint64_t limit = UINT64_MAX - UINT64_MAX % n; /* rejection keeps it unbiased */
    for (;;) {
        uint64_t high = az_random_bits(rng), bits = high << 32 | az_random_bits(rng);
        if (bits < limit) return bits % n;
    }
}

void az_shuffle(az_rng *rng, int64_t *items, int64_t n)
{
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = (int64_t)az_below(rng, (uint64_t)i + 1), item = items[i];
        items[i] = items[j];
        items[j] = item;
    }
}

void az_fill_uniform(az_ctx *az, uint64_t seed, uint64_t stream, uint64_t first, int64_t n, float *out)
{
#pragma omp parallel for num_threads(az ? az_threads(az) : 1) if (n > 4096)
    for (int64_t i = 0; i < n; i++) {
        uint32_t word[4];
        uint64_t element = first + (uint64_t)i;
        az_philox(seed, stream, element / 4, word);
        out[i] = (float)(word[element % 4] >> 8) * 0x1p-24f;
    }
}

void az_fill_normal_portable(uint64_t seed, uint64_t stream, uint64_t first, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t word[4];
        az_philox(seed, stream, first + (uint64_t)i, word);
        out[i] = (float)box_muller(unit_double(word[0], word[1]), unit_double(word[2], word[3]));
    }
}

static void fill_normal_piece(uint64_t seed, uint64_t stream, uint64_t first, int64_t n, float *out)
{
#if defined(__x86_64__)
    if (az_cpu_features()->avx2 && az_cpu_features()->fma) {
        az_fill_normal_avx2(seed, stream, first, n, out);
        return;
    }
#endif
    az_fill_normal_portable(seed, stream, first, n, out);
}

void az_fill_normal(az_ctx *az, uint64_t seed, uint64_t stream, uint64_t first, int64_t n, float *out)
{
    enum { PIECE = 1024 };
#pragma omp parallel for num_threads(az ? az_threads(az) : 1) if (n > 4 * PIECE)
    for (int64_t at = 0; at < n; at += PIECE)
        fill_normal_piece(seed, stream, first + (uint64_t)at, n - at < PIECE ? n - at : PIECE, out + at);
}
