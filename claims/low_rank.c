/* low_rank.c - planted low-rank matrices. */
#include "claims/low_rank.h"
#include "claims/splitmix.h"

#include <math.h>

low_rank *low_rank_new(az_ctx *az, uint64_t seed, const low_rank_shape *shape)
{
    const int64_t m = shape->m, n = shape->n, k = shape->rank;
    const double *left = splitmix_normal(az, seed, m * k), *right = splitmix_normal(az, seed + 1, n * k);
    const double *noise = shape->noise > 0 ? splitmix_normal(az, seed + 3, m * n) : NULL;
    low_rank *p = az_alloc(az, sizeof *p);
    int64_t *row = az_alloc_array(az, (size_t)(m * n), sizeof *row), *column = az_alloc_array(az, (size_t)(m * n), sizeof *column),
            count = 0;
    double *known = az_alloc_array(az, (size_t)(m * n), sizeof *known), square = 0;
    if (!left || !right || !p || !row || !column || !known) return NULL;
    *p = (low_rank){
        .m = m, .n = n, .value = az_alloc_array(az, (size_t)(m * n), sizeof(double)), .share = splitmix_uniform(az, seed + 2, m * n)};
    if (!p->value || !p->share) return NULL;
    for (int64_t at = 0; at < m * n; at++) {
        for (int64_t a = 0; a < k; a++) p->value[at] += left[at / n * k + a] * right[at % n * k + a] / sqrt((double)k);
        square += p->value[at] * p->value[at];
        if (p->share[at] >= shape->share) continue;
        row[count] = at / n, column[count] = at % n;
        known[count++] = p->value[at] + (noise ? shape->noise * noise[at] : 0);
    }
    p->norm = sqrt(square);
    p->entries = az_entries_new(az, m, n, count, row, column, known);
    return p->entries ? p : NULL;
}

/* Sum of squares over the entries whose number is not below `from`, and how many they are. */
static double squares(const low_rank *p, const az_completion *completion, double from, int64_t *count)
{
    double sum = 0;
    *count = 0;
    for (int64_t at = 0; at < p->m * p->n; at++) {
        if (p->share[at] < from) continue;
        const double off = az_completion_value(completion, at / p->n, at % p->n) - p->value[at];
        sum += off * off;
        ++*count;
    }
    return sum;
}

double low_rank_error(const low_rank *p, const az_completion *completion)
{
    int64_t count;
    return sqrt(squares(p, completion, 0, &count)) / p->norm;
}

double low_rank_unknown_error(const low_rank *p, const az_completion *completion, double share)
{
    int64_t count;
    const double sum = squares(p, completion, share, &count);
    return sqrt(sum / (double)count);
}
