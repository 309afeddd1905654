/* limits.c - measures the read bandwidth and the arithmetic rates that bound every kernel.
 *
 * How much a processor reads depends on how it is asked: on the size of pages, on the number of places read at once and on prefetches. A
 * limit must not depend on that, so all are tried and the best counts. */
#include "limits.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LEAST_BUFFER = 256 << 20, MOST_BUFFER = 1 << 30, HUGE_PAGE = 2 << 20, ROUNDS = 2 };

/* Memory that is read over and over: several times what the last cache holds. */
typedef struct read_buffer {
    char *data;
    int64_t bytes; /* whole pages of 2 MiB */
} read_buffer;

static const bench_probe *probe_here(void)
{
#if defined(__x86_64__)
    const az_cpu *cpu = az_cpu_features();
    if (cpu->vnni) return &probe_vnni;
    if (cpu->avx2 && cpu->fma) return &probe_avx2;
#endif
    return &probe_portable;
}

/* Written by the threads that will read it; without memory its data are NULL. */
static read_buffer map_buffer(int64_t bytes, int threads, bool huge)
{
    char *whole = mmap(NULL, (size_t)bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (whole == MAP_FAILED) return (read_buffer){0};
    char *data = whole + (HUGE_PAGE - (uintptr_t)whole % HUGE_PAGE) % HUGE_PAGE;
    madvise(data, (size_t)bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t page = 0; page < bytes / HUGE_PAGE; page++) memset(data + page * HUGE_PAGE, 1, HUGE_PAGE);
    return (read_buffer){data, bytes};
}

/* bytes/s of one pass over the buffer. */
static double read_once(const bench_probe *probe, read_buffer buffer, int threads, read_pattern pattern)
{
    const int64_t part = buffer.bytes / threads / (PROBE_STREAMS * PROBE_LINE) * (PROBE_STREAMS * PROBE_LINE);
    uint64_t sum = 0;
    const double start = az_seconds();
#pragma omp parallel for schedule(static) reduction(+ : sum) num_threads(threads)
    for (int t = 0; t < threads; t++) sum += probe->read(buffer.data + t * part, part, pattern);
    const double seconds = az_seconds() - start;
    volatile uint64_t sink = sum;
    (void)sink;
    return (double)(part * threads) / seconds;
}

/* The best over patterns and rounds; patterns alternate, so that a slow moment of the machine does not meet one of them alone. */
static double best_read(const bench_probe *probe, int64_t bytes, int threads, bool huge, double seconds, read_pattern *best_pattern)
{
    const read_buffer buffer = map_buffer(bytes, threads, huge);
    if (!buffer.data) return 0;
    double best = 0;
    const double end = az_seconds() + seconds;
    for (int round = 0; round < ROUNDS || az_seconds() < end; round++)
        for (int streams = 1; streams <= PROBE_STREAMS; streams *= 2)
            for (int64_t ahead = 0; ahead <= 1024; ahead += 512) {
                const read_pattern pattern = {streams, ahead};
                const double rate = read_once(probe, buffer, threads, pattern);
                if (rate > best) best = rate, *best_pattern = pattern;
            }
    munmap(buffer.data, (size_t)buffer.bytes);
    return best;
}

/* Operations/s of f32 and of bytes, over all threads; a multiply-add counts as two. */
static void best_arithmetic(const bench_probe *probe, double seconds, bench_limits *limits)
{
    const int64_t steps = 1000000;
    const double end = az_seconds() + seconds;
    for (int round = 0; round < ROUNDS || az_seconds() < end; round++) {
        double floats = 0, bytes = 0;
        const double start = az_seconds();
#pragma omp parallel reduction(+ : floats) num_threads(limits->threads)
        {
            float result;
            floats += 2 * probe->multiply_add_f32(steps, &result);
            volatile float sink = result;
            (void)sink;
        }
        const double middle = az_seconds();
#pragma omp parallel reduction(+ : bytes) num_threads(limits->threads)
        {
            int32_t result;
            bytes += 2 * probe->multiply_add_int8(steps, &result);
            volatile int32_t sink = result;
            (void)sink;
        }
        const double stop = az_seconds();
        if (floats / (middle - start) > limits->f32) limits->f32 = floats / (middle - start);
        if (bytes / (stop - middle) > limits->int8) limits->int8 = bytes / (stop - middle);
    }
}

static bool read_cache_fact(int index, const char *fact, char value[16])
{
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, fact);
    FILE *file = fopen(path, "r");
    const bool found = file && fscanf(file, "%15s", value) == 1;
    if (file) fclose(file);
    return found;
}

/* Bytes of the data caches of levels 1 .. 3 of the first processor, as Linux knows them. */
static void read_cache_sizes(int64_t size[3])
{
    for (int index = 0; index < 8; index++) {
        char level[16], type[16], kib[16];
        if (!read_cache_fact(index, "level", level) || !read_cache_fact(index, "type", type) || !read_cache_fact(index, "size", kib))
            continue;
        const long at = strtol(level, NULL, 10) - 1;
        if (strcmp(type, "Instruction") != 0 && at >= 0 && at < 3) size[at] = strtoll(kib, NULL, 10) * 1024; /* "512K" */
    }
}

static int64_t buffer_bytes(const int64_t cache[3])
{
    const int64_t wanted = 4 * cache[2] / HUGE_PAGE * HUGE_PAGE;
    return wanted < LEAST_BUFFER ? LEAST_BUFFER : wanted > MOST_BUFFER ? MOST_BUFFER : wanted;
}

double bench_measure_read(az_ctx *az, double seconds)
{
    int64_t cache[3] = {0};
    read_cache_sizes(cache);
    read_pattern pattern;
    return best_read(probe_here(), buffer_bytes(cache), az_threads(az), true, seconds, &pattern);
}

bench_limits bench_measure_limits(az_ctx *az, double seconds)
{
    const bench_probe *probe = probe_here();
    bench_limits limits = {.threads = az_threads(az), .instructions = probe->name};
    read_cache_sizes(limits.cache);
    const int64_t bytes = buffer_bytes(limits.cache);
    read_pattern pattern;
    limits.read_small_pages = best_read(probe, bytes, limits.threads, false, seconds / 4, &pattern);
    limits.read = best_read(probe, bytes, limits.threads, true, seconds / 2, &limits.pattern);
    best_arithmetic(probe, seconds / 4, &limits);
    return limits;
}
