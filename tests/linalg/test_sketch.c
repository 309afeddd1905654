/* Random projections: unbiased, the same in blocks and at once, of their shapes. */
#include "adze/linalg.h"
#include "claims/splitmix.h"

#include <criterion/criterion.h>
#include <math.h>

enum { N = 512, WIDTH = 2 };

static az_rows rows_of(const double *x, int64_t count, int64_t width)
{
    return (az_rows){.x = x, .count = count, .width = width, .stride = width};
}

/* Mean of x^T S^T S y over seeds, with its standard error. */
Test(sketch, inner_products_are_kept_on_average)
{
    enum { SEEDS = 1000 };
    az_ctx *az = az_open(NULL);
    double *x = splitmix_normal(az, 1, N * WIDTH), truth = 0;
    const az_rows rows = rows_of(x, N, WIDTH);
    for (int i = 0; i < N; i++) truth += x[i * WIDTH] * x[i * WIDTH + 1];
    for (az_sketch_kind kind = AZ_SKETCH_SRHT; kind <= AZ_SKETCH_OSNAP; kind++) {
        double sum = 0, squares = 0;
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            double out[32 * WIDTH] = {0}, product = 0;
            const az_sketch sketch = {.kind = kind, .rows = N, .sketched = 32, .per_row = 4, .seed = seed};
            cr_assert(az_sketch_add(az, &sketch, &rows, 0, out));
            for (int t = 0; t < 32; t++) product += out[t * WIDTH] * out[t * WIDTH + 1];
            sum += product, squares += product * product;
        }
        const double mean = sum / SEEDS, se = sqrt((squares / SEEDS - mean * mean) / SEEDS);
        cr_assert(fabs(mean - truth) < 3.5 * se, "%s: %g, not %g +- %g", az_sketch_names[kind], mean, truth, se);
    }
    az_close(az);
}

Test(sketch, blocks_add_up_to_the_whole)
{
    az_ctx *az = az_open(NULL), *single = az_open(&(az_settings){.threads = 1});
    const double *x = splitmix_normal(az, 1, N * WIDTH);
    const az_rows all = rows_of(x, N, WIDTH), head = rows_of(x, AZ_SKETCH_BLOCK, WIDTH);
    const az_rows tail = rows_of(x + AZ_SKETCH_BLOCK * WIDTH, N - AZ_SKETCH_BLOCK, WIDTH);
    for (az_sketch_kind kind = AZ_SKETCH_SIGN; kind <= AZ_SKETCH_OSNAP; kind++) {
        double whole[100 * WIDTH] = {0}, parts[100 * WIDTH] = {0};
        const az_sketch sketch = {.kind = kind, .rows = N, .sketched = 100, .per_row = 3, .seed = 5};
        cr_assert(az_sketch_add(az, &sketch, &all, 0, whole));
        cr_assert(az_sketch_add(single, &sketch, &head, 0, parts));
        cr_assert(az_sketch_add(single, &sketch, &tail, AZ_SKETCH_BLOCK, parts));
        cr_assert_arr_eq(whole, parts, sizeof whole);
        cr_assert_not(az_sketch_add(az, &sketch, &tail, 100, whole));
        az_clear(az);
    }
    az_close(az);
    az_close(single);
}

Test(sketch, a_last_column_may_lie_elsewhere)
{
    enum { JOINT = 10 };
    az_ctx *az = az_open(NULL);
    const double *x = splitmix_normal(az, 1, N * JOINT);
    double *last = az_alloc_array(az, N, sizeof *last);
    for (int i = 0; i < N; i++) last[i] = x[i * JOINT + JOINT - 1];
    const az_rows joint = rows_of(x, N, JOINT), apart = {x, N, JOINT - 1, JOINT, last, 1};
    for (az_sketch_kind kind = AZ_SKETCH_SRHT; kind <= AZ_SKETCH_OSNAP; kind++) {
        double one[64 * JOINT] = {0}, other[64 * JOINT] = {0};
        const az_sketch sketch = {.kind = kind, .rows = N, .sketched = 64, .per_row = 3, .seed = 5};
        cr_assert(az_sketch_add(az, &sketch, &joint, 0, one));
        cr_assert(az_sketch_add(az, &sketch, &apart, 0, other));
        for (int e = 0; e < 64 * JOINT; e++) cr_assert_float_eq(one[e], other[e], 1e-12, "%s", az_sketch_names[kind]);
    }
    az_close(az);
}

/* A unit vector comes out with all entries of the same size, in whatever place it was. */
Test(sketch, srht_spreads_a_spike)
{
    az_ctx *az = az_open(NULL);
    for (int64_t n = 300; n <= N; n += 212) {
        double *x = az_alloc_array(az, (size_t)n, sizeof *x), out[64];
        const az_rows rows = rows_of(x, n, 1);
        x[137] = 1;
        const az_sketch sketch = {.kind = AZ_SKETCH_SRHT, .rows = n, .sketched = 64, .seed = 3};
        cr_assert(az_sketch_add(az, &sketch, &rows, 0, out));
        for (int t = 0; t < 64; t++) cr_assert_float_eq(fabs(out[t]), 0.125, 1e-15);
    }
    az_close(az);
}
