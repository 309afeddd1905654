/* scores.c - how well scores tell positive from negative items, and whether probabilities mean what they say. */
#include "adze/data.h"

#include <math.h>
#include <stdlib.h>

typedef struct scored {
    double score;
    bool positive;
} scored;

static int ascending(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    return (x->score > y->score) - (x->score < y->score);
}

/* Sum of the positives' ranks among all, ties sharing the mean of theirs (Mann and Whitney). */
static double positive_ranks(const scored *sorted, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0, j; i < n; i = j) {
        int64_t positives = 0;
        for (j = i; j < n && sorted[j].score == sorted[i].score; j++) positives += sorted[j].positive;
        sum += (double)positives * (0.5 * (double)(i + 1 + j));
    }
    return sum;
}

double az_auroc(const double *score, const bool *positive, int64_t n)
{
    scored *sorted = n > 0 ? malloc((size_t)n * sizeof *sorted) : NULL;
    int64_t positives = 0;
    if (!sorted) return NAN;
    for (int64_t i = 0; i < n; i++) {
        sorted[i] = (scored){score[i], positive[i]};
        positives += positive[i];
    }
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    const double p = (double)positives, negatives = (double)(n - positives);
    const double area = (positive_ranks(sorted, n) - p * (p + 1) / 2) / (p * negatives);
    free(sorted);
    return p > 0 && negatives > 0 ? area : NAN;
}

double az_calibration_error(const double *p, const bool *positive, int64_t n, int bins, bool spread)
{
    enum { MOST = 1000 };
    double count[MOST] = {0}, right[MOST] = {0}, sum[MOST] = {0}, low = 0, high = 1, error = 0;
    if (n < 1 || bins < 1 || bins > MOST) return NAN;
    if (spread) low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; spread && i < n; i++) low = fmin(low, p[i]), high = fmax(high, p[i]);
    const double width = high > low ? (high - low) / bins : 1;
    for (int64_t i = 0; i < n; i++) {
        const int at = (int)((p[i] - low) / width), bin = at < 0 ? 0 : at < bins ? at : bins - 1;
        count[bin]++;
        right[bin] += positive[i];
        sum[bin] += p[i];
    }
    for (int b = 0; b < bins; b++) {
        if (count[b] == 0) continue;
        const double confidence = spread ? low + (b + 0.5) * width : sum[b] / count[b];
        error += count[b] / (double)n * fabs(right[b] / count[b] - confidence);
    }
    return error;
}
