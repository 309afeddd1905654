/* hadamard.c - the fast Walsh-Hadamard transform.
 *
 * The rows of x [n, columns] lie one after the other, so a butterfly between rows i and i + h, for all i of a block of h rows, is one over
 * h * columns numbers that are neighbours. Large transforms take three levels in one pass over memory and then go on inside each eighth,
 * until what is left fits the cache. */
#include "base/parallel.h"
#include "linalg/linalg_internal.h"

/* (a, b) -> (a + b, a - b) for the halves of x [2 h]. */
static void pass2(double *restrict x, int64_t h)
{
    for (int64_t i = 0; i < h; i++) {
        const double a = x[i], b = x[h + i];
        x[i] = a + b;
        x[h + i] = a - b;
    }
}

/* Two levels at once for x [4 h]. */
static void pass4(double *restrict x, int64_t h)
{
    for (int64_t i = 0; i < h; i++) {
        const double a = x[i], b = x[h + i], c = x[2 * h + i], d = x[3 * h + i];
        const double ab = a + b, a_b = a - b, cd = c + d, c_d = c - d;
        x[i] = ab + cd;
        x[h + i] = a_b + c_d;
        x[2 * h + i] = ab - cd;
        x[3 * h + i] = a_b - c_d;
    }
}

/* Three levels at once for places first .. first + count - 1 of the eighths of x [8 h]. */
static void pass8(double *restrict x, int64_t h, int64_t first, int64_t count)
{
    for (int64_t i = first; i < first + count; i++) {
        double *y = x + i;
        const double a = y[0] + y[4 * h], b = y[h] + y[5 * h], c = y[2 * h] + y[6 * h], d = y[3 * h] + y[7 * h];
        const double e = y[0] - y[4 * h], f = y[h] - y[5 * h], g = y[2 * h] - y[6 * h], k = y[3 * h] - y[7 * h];
        const double ac = a + c, bd = b + d, a_c = a - c, b_d = b - d, eg = e + g, fk = f + k, e_g = e - g, f_k = f - k;
        y[0] = ac + bd;
        y[h] = ac - bd;
        y[2 * h] = a_c + b_d;
        y[3 * h] = a_c - b_d;
        y[4 * h] = eg + fk;
        y[5 * h] = eg - fk;
        y[6 * h] = e_g + f_k;
        y[7 * h] = e_g - f_k;
    }
}

/* What fits the cache, from neighbouring rows outwards. */
static void small_transform(double *x, int64_t n, int64_t columns)
{
    int64_t h = 1;
    for (; 4 * h <= n; h *= 4)
        for (int64_t i = 0; i < n; i += 4 * h) pass4(x + i * columns, h * columns);
    for (; 2 * h <= n; h *= 2)
        for (int64_t i = 0; i < n; i += 2 * h) pass2(x + i * columns, h * columns);
}

static void transform(double *x, int64_t n, int64_t columns)
{
    enum { CACHED = 1 << 14 }; /* numbers: 128 KiB */
    if (n < 8 || n * columns <= CACHED) {
        small_transform(x, n, columns);
        return;
    }
    pass8(x, n / 8 * columns, 0, n / 8 * columns);
    for (int i = 0; i < 8; i++) transform(x + i * (n / 8 * columns), n / 8, columns);
}

typedef struct shared_transform {
    double *x;
    int64_t n, columns;
} shared_transform;

enum { PARTS = 64 };

static void turn_first_pass(const void *job, int64_t part)
{
    const shared_transform *t = job;
    const int64_t h = t->n / 8 * t->columns, begin = h * part / PARTS, end = h * (part + 1) / PARTS;
    pass8(t->x, h, begin, end - begin);
}

static void turn_eighth(const void *job, int64_t i)
{
    const shared_transform *t = job;
    transform(t->x + i * (t->n / 8 * t->columns), t->n / 8, t->columns);
}

void az_walsh_hadamard(double *x, int64_t n, int64_t columns, int threads)
{
    enum { WORTH_SHARING = 1 << 16 };
    if (threads <= 1 || n < 64 || n * columns < WORTH_SHARING) {
        transform(x, n, columns);
        return;
    }
    const shared_transform job = {x, n, columns};
    az_each(threads, PARTS, turn_first_pass, &job);
    az_each(threads, 8, turn_eighth, &job);
}
