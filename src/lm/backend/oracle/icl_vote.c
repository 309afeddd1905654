/* icl_vote.c - learning from demonstrations: lines "x -> y", of which the last without y is the query. The answer is the label that the
 * query's symbol has most often (the first of equals), any label where it has none; `err` of them are one of the other labels.
 *
 * Expected, when the demonstrations' symbols are drawn alike and `noise` of their labels are wrong ones: "vote", the chance that the vote
 * is the right label, sum over m, k of P(m of all demonstrations have the symbol) P(k of them are right) P(k votes win, ties shared); of
 * "accuracy" `err` is lost, and a share of it found again among the other labels, which all have to be among the demonstrations. */
#include "lm/backend/oracle/oracle.h"

#include <math.h>
#include <string.h>

enum { MOST_LABELS = 64, MOST_SHOTS = 150 };

/* A line as "left -> right"; right is empty in a query. */
static bool read_pair(oracle_piece line, oracle_piece *left, oracle_piece *right)
{
    const char *arrow = line.length ? memmem(line.text, line.length, "->", 2) : NULL;
    if (!arrow) return false;
    *left = oracle_trimmed(line.text, arrow);
    *right = oracle_trimmed(arrow + 2, line.text + line.length);
    return left->length > 0;
}

typedef struct votes {
    oracle_piece label[MOST_LABELS];
    int count[MOST_LABELS]; /* of the query's symbol */
    int labels;
} votes;

static void vote(votes *v, oracle_piece label, bool counts)
{
    int i = 0;
    while (i < v->labels && !oracle_same(v->label[i], label)) i++;
    if (i == MOST_LABELS) return;
    if (i == v->labels) v->label[v->labels++] = label;
    v->count[i] += counts;
}

static oracle_piece query_of(const char *text)
{
    oracle_piece query = {0}, line, left, right;
    while (oracle_next_line(&text, &line))
        if (read_pair(line, &left, &right) && right.length == 0) query = left;
    return query;
}

static void law_of(const char *text, const double *value, oracle_law *law)
{
    votes v = {0};
    oracle_piece line, left, right;
    const oracle_piece query = query_of(text);
    while (query.length && oracle_next_line(&text, &line))
        if (read_pair(line, &left, &right) && right.length) vote(&v, right, oracle_same(left, query));
    int best = 0;
    for (int i = 1; i < v.labels; i++)
        if (v.count[i] > v.count[best]) best = i;
    const bool seen = v.labels > 0 && v.count[best] > 0;
    const double err = v.labels > 1 ? value[0] : 0;
    for (int i = 0; i < v.labels; i++) {
        const double p = !seen ? 1.0 / v.labels : i == best ? 1 - err : err / (v.labels - 1);
        oracle_may_answer(law, oracle_copy(law->az, v.label[i]), p);
    }
    if (v.labels == 0) oracle_may_answer(law, "none", 1);
}

/* ---- what is expected ---- */

/* n! / (n - k)! k! p^k (1 - p)^(n - k) */
static double binomial(int n, int k, double p)
{
    if (p <= 0 || p >= 1) return k == (p <= 0 ? 0 : n);
    return exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log1p(-p));
}

/* below[i][n] = the coefficient of x^n in (sum over j < k of x^j / j!)^i: n! of it is the number of ways in which n votes fall on i labels,
 * fewer than k on each. */
static void count_ways(int k, int labels, int most, double below[][MOST_SHOTS + 1])
{
    double inverse[MOST_SHOTS + 1] = {1};
    for (int j = 1; j <= most; j++) inverse[j] = inverse[j - 1] / j;
    memset(below[0], 0, sizeof below[0]);
    below[0][0] = 1;
    for (int i = 1; i < labels; i++)
        for (int n = 0; n <= most; n++) {
            below[i][n] = 0;
            for (int j = 0; j < k && j <= n; j++) below[i][n] += below[i - 1][n - j] * inverse[j];
        }
}

/* The chance that the right label wins when k of m votes are its own, k > 0, and the others fall on the wrong labels alike: it shares the
 * first place with t of them in a (t + 1)-th of the cases. */
static double wins(int k, int m, int wrong, double below[][MOST_SHOTS + 1])
{
    double sum = 0;
    for (int t = 0; t <= wrong && t * k <= m - k; t++) {
        const int left = m - k - t * k;
        const double choices = exp(lgamma(wrong + 1) - lgamma(t + 1) - lgamma(wrong - t + 1));
        const double ways = choices * below[wrong - t][left] * exp(lgamma(m - k + 1) - t * lgamma(k + 1));
        sum += ways * pow(wrong, k - m) / (t + 1);
    }
    return sum;
}

/* With m votes on the query's symbol, m binomial among the demonstrations: a right vote with probability 1 - noise, else a wrong label. */
static double vote_accuracy(int shots, double symbols, int labels, double noise)
{
    const int wrong = labels - 1;
    double sum = binomial(shots, 0, 1 / symbols) / labels, below[MOST_LABELS][MOST_SHOTS + 1];
    for (int k = 1; k <= shots; k++) {
        count_ways(k, labels, shots, below);
        for (int m = k; m <= shots; m++) sum += binomial(shots, m, 1 / symbols) * binomial(m, k, 1 - noise) * wins(k, m, wrong, below);
    }
    return sum;
}

static int expect(const double *value, az_expectation e[AZ_EXPECTATIONS])
{
    const double err = value[0];
    const int shots = (int)value[1], labels = (int)value[3];
    const double vote = shots > 0 ? vote_accuracy(shots, floor(value[2]), labels, value[4]) : 1;
    e[0] = (az_expectation){"accuracy", (1 - err) * vote + (shots > 0 ? err * (1 - vote) / (labels - 1) : 0)};
    e[1] = (az_expectation){"vote", vote};
    return 2;
}

const oracle oracle_icl_vote = {
    .name = "icl-vote",
    .summary = "lines \"x -> y\", the last one \"x ->\": the label that x has most often, any where it has none",
    .parameter = {{"err", 0, 0, 1, "chance of another label"},
                  {"shots", 0, 0, MOST_SHOTS,
                   "demonstrations, of symbols drawn alike; 0 = enough; this and what follows for what is expected"},
                  {"symbols", 8, 1, 1e6, "different x"},
                  {"labels", 4, 2, MOST_LABELS, "different y"},
                  {"noise", 0, 0, 1, "share of demonstrations with a wrong label"}},
    .law = law_of,
    .expect = expect,
};
