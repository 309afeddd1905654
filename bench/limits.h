/* limits.h - what this machine can do at most, measured. */
#ifndef ADZE_BENCH_LIMITS_H
#define ADZE_BENCH_LIMITS_H

#include "adze/base.h"
#include "probe.h"

typedef struct bench_limits {
    int threads;
    const char *instructions;
    double read;             /* bytes/s, the best of all patterns, on pages of 2 MiB */
    double read_small_pages; /* the same on pages of the usual size: what a mapped file gives */
    read_pattern pattern;    /* the best one */
    double f32, int8;        /* operations/s; a multiply-add counts as two */
    int64_t cache[3];        /* bytes of the data caches, 0 = unknown */
} bench_limits;

/* Measures with the threads of az, in about `seconds`. */
bench_limits bench_measure_limits(az_ctx *az, double seconds);

/* Its `read` alone, as it is at this moment: other guests of a machine share its memory. */
double bench_measure_read(az_ctx *az, double seconds);

#endif
