/* icl_vote.c - learning from demonstrations: lines "x -> y", of which the last without y is the query. The answer is the label that the
 * query's symbol has most often (the first of equals), any label where it has none; `err` of them are one of the other labels. */
#include "lm/backend/oracle/oracle.h"

#include <string.h>

enum { MOST_LABELS = 64 };

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

static int expect(const double *value, az_expectation e[AZ_EXPECTATIONS])
{
    e[0] = (az_expectation){"accuracy", 1 - value[0]};
    return 1;
}

const oracle oracle_icl_vote = {
    .name = "icl-vote",
    .summary = "lines \"x -> y\", the last one \"x ->\": the label that x has most often, any where it has none",
    .parameter = {{"err", 0, 0, 1, "chance of another label"}},
    .law = law_of,
    .expect = expect,
};
