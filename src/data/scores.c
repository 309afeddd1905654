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

static scored *sorted_scores(const double *score, const bool *positive, int64_t n)
{
    scored *sorted = n > 0 ? malloc((size_t)n * sizeof *sorted) : NULL;
    for (int64_t i = 0; sorted && i < n; i++) sorted[i] = (scored){score[i], positive[i]};
    if (sorted) qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    return sorted;
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
    scored *sorted = sorted_scores(score, positive, n);
    int64_t positives = 0;
    if (!sorted) return NAN;
    for (int64_t i = 0; i < n; i++) positives += positive[i];
    const double p = (double)positives, negatives = (double)(n - positives);
    const double area = (positive_ranks(sorted, n) - p * (p + 1) / 2) / (p * negatives);
    free(sorted);
    return p > 0 && negatives > 0 ? area : NAN;
}

int64_t az_roc(const double *score, const bool *positive, int64_t n, double *false_rate, double *true_rate, double *threshold)
{
    scored *sorted = sorted_scores(score, positive, n);
    int64_t positives = 0, called = 0, right = 0, points = 0;
    for (int64_t i = 0; i < n; i++) positives += positive[i];
    for (int64_t i = n; sorted && i >= 0; i--) { /* what is called positive at a point: the items from i on */
        if (i < n) called++, right += sorted[i].positive;
        if (i > 0 && i < n && sorted[i].score == sorted[i - 1].score) continue;
        if (false_rate) false_rate[points] = (double)(called - right) / (double)(n - positives);
        if (true_rate) true_rate[points] = (double)right / (double)positives;
        if (threshold) threshold[points] = i < n ? sorted[i].score : INFINITY;
        points++;
    }
    free(sorted);
    return points;
}

double az_roc_threshold(const double *score, const bool *positive, int64_t n)
{
    double *room = malloc(3 * (size_t)(n + 1) * sizeof *room), best = INFINITY, lead = 0;
    double *false_rate = room, *true_rate = room + n + 1, *threshold = room + 2 * (n + 1);
    const int64_t points = room ? az_roc(score, positive, n, false_rate, true_rate, threshold) : 0;
    for (int64_t i = 0; i < points; i++) {
        const double now = true_rate[i] - false_rate[i];
        if (now > lead) lead = now, best = threshold[i];
    }
    free(room);
    return best;
}

az_call_score az_score_calls(const int32_t *label, const int32_t *called, int64_t n, int classes)
{
    az_call_score s = {n > 0 ? 0 : NAN, 0, 0, 0};
    for (int64_t i = 0; i < n; i++) s.accuracy += (double)(label[i] == called[i]) / (double)n;
    int counted = 0;
    for (int32_t c = classes == 2; c < classes; c++) {
        double has = 0, says = 0, both = 0;
        for (int64_t i = 0; i < n; i++) has += label[i] == c, says += called[i] == c, both += label[i] == c && called[i] == c;
        if (has == 0 && says == 0 && classes > 2) continue;
        s.precision += says > 0 ? both / says : 0;
        s.recall += has > 0 ? both / has : 0;
        s.f += has + says > 0 ? 2 * both / (has + says) : 0;
        counted++;
    }
    if (counted > 0) s.precision /= counted, s.recall /= counted, s.f /= counted;
    return s;
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
