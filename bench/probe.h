/* probe.h - loops that reach a processor's limits, one set per instruction set. */
#ifndef ADZE_BENCH_PROBE_H
#define ADZE_BENCH_PROBE_H

#include <stdint.h>

/* How a thread walks its part of a buffer: that many places at once, each one touching memory `ahead` bytes before it is read (0 = never).
 */
typedef struct read_pattern {
    int streams; /* 1 .. PROBE_STREAMS */
    int64_t ahead;
} read_pattern;

enum { PROBE_STREAMS = 8, PROBE_LINE = 128 /* bytes read at a place before the next place's turn */ };

typedef struct bench_probe {
    const char *name;
    /* Reads `bytes`, a multiple of streams * PROBE_LINE, and returns a sum that depends on all of them. */
    uint64_t (*read)(const char *data, int64_t bytes, read_pattern pattern);
    /* Independent fused multiply-adds of f32; returns how many. */
    double (*multiply_add_f32)(int64_t steps, float *result);
    /* Multiply-adds of bytes into sums of 16 or 32 bits; returns how many. */
    double (*multiply_add_int8)(int64_t steps, int32_t *result);
} bench_probe;

extern const bench_probe probe_portable;
#if defined(__x86_64__)
extern const bench_probe probe_avx2, probe_vnni;
uint64_t probe_read_avx2(const char *data, int64_t bytes, read_pattern pattern);
#endif

#endif
