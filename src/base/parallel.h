/* parallel.h - loops whose turns do not depend on each other, shared among threads or not.
 *
 * A loop that is not worth sharing must not open a parallel region: a team of one costs a system call and, between teams of several,
 * memory. The team itself stays awake between regions for as long as OMP_WAIT_POLICY and GOMP_SPINCOUNT say. */
#ifndef ADZE_BASE_PARALLEL_H
#define ADZE_BASE_PARALLEL_H

#include <stdint.h>

typedef void az_loop_body(const void *job, int64_t i);

/* turn(job, i) for i = 0 .. n - 1, in equal shares. */
static inline void az_each(int threads, int64_t n, az_loop_body *turn, const void *job)
{
    if (threads <= 1 || n <= 1) {
        for (int64_t i = 0; i < n; i++) turn(job, i);
        return;
    }
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < n; i++) turn(job, i);
}

/* The same for turns of different length: each thread takes the next one when it is done with its last. */
static inline void az_each_uneven(int threads, int64_t n, az_loop_body *turn, const void *job)
{
    if (threads <= 1 || n <= 1) {
        for (int64_t i = 0; i < n; i++) turn(job, i);
        return;
    }
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t i = 0; i < n; i++) turn(job, i);
}

#endif
