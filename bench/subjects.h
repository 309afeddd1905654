/* subjects.h - one weight of every format, on a matrix that suits it, copied often enough that no cache holds the copies together. */
#ifndef ADZE_BENCH_SUBJECTS_H
#define ADZE_BENCH_SUBJECTS_H

#include "adze/adze.h"

enum { MOST_SUBJECTS = 128, MOST_COPIES = 512 };

typedef struct bench_subject {
    const az_format *format;
    const char *matrix; /* what the matrix is like: "normal", "2:4", "80% zeros", "rank 1/8"; or the bits of its product, "W2A8" */
    bool coarse;        /* activations are rounded to so few bits that only signs pass unharmed */
    az_weight *copy[MOST_COPIES];
    int copies;
    size_t bytes; /* of one copy */
} bench_subject;

/* Fills subject[MOST_SUBJECTS] in the present scope, each with copies of `working_set` bytes together (0 = one copy); returns how many. A
 * format gets a subject for each kind of matrix that makes its weights larger or smaller; a format that can encode none gets none. */
int bench_subjects(az_ctx *az, int64_t rows, int64_t cols, size_t working_set, bench_subject *subject);

#endif
