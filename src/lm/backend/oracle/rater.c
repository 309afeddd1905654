/* rater.c - judgements that are as good as the evidence in the question:
 *
 *     Item: disk full on node seven
 *     Reference: disk full on node three -> log rotation       (any number)
 *     Candidate: log rotation                                  (or none)
 *
 * A reference is to the point when it has half of the item's words or more; g is the share of those. Without a candidate the answer is
 * whether the evidence suffices, "yes" with probability g. With one it is a grade "Score: n" from 0 to 10, n being ten times a draw,
 * rounded: with probability g from Beta(8, 2) when the candidate is the cause that most of those references have, from Beta(2, 6) when it
 * is not, else, with confidence that nothing supports, from Beta(6, 2). */
#include "lm/backend/oracle/oracle.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

enum { MOST_CAUSES = 64, GRADES = 11 };

/* ---- grades ---- */

/* P(X <= x) of Beta(a, b) with whole a and b: the upper tail of a binomial distribution with a + b - 1 trials. */
static double beta_below(int a, int b, double x)
{
    const int n = a + b - 1;
    double sum = 0;
    if (x <= 0 || x >= 1) return x >= 1;
    for (int j = a; j <= n; j++) sum += exp(lgamma(n + 1) - lgamma(j + 1) - lgamma(n - j + 1) + j * log(x) + (n - j) * log1p(-x));
    return sum;
}

static double grade_probability(int a, int b, int grade)
{
    return beta_below(a, b, (grade + 0.5) / 10) - beta_below(a, b, (grade - 0.5) / 10);
}

static double probability_of(double evidence, bool right, int grade)
{
    const double informed = right ? grade_probability(8, 2, grade) : grade_probability(2, 6, grade);
    return evidence * informed + (1 - evidence) * grade_probability(6, 2, grade);
}

/* ---- evidence ---- */

static bool next_word(oracle_piece *at, oracle_piece *word)
{
    const char *text = at->text, *const end = at->text + at->length;
    while (text < end && !isalnum((unsigned char)*text) && (unsigned char)*text < 128) text++;
    const char *stop = text;
    while (stop < end && (isalnum((unsigned char)*stop) || (unsigned char)*stop >= 128)) stop++;
    *word = (oracle_piece){text, (size_t)(stop - text)};
    *at = (oracle_piece){stop, (size_t)(end - stop)};
    return word->length > 0;
}

static bool to_the_point(oracle_piece item, oracle_piece reference)
{
    int words = 0, shared = 0;
    for (oracle_piece word; next_word(&item, &word); words++) shared += oracle_has_word(reference, word);
    return words > 0 && 2 * shared >= words;
}

typedef struct evidence {
    oracle_piece item, candidate, cause[MOST_CAUSES];
    int count[MOST_CAUSES], causes, references, good;
} evidence;

static void add_reference(evidence *e, oracle_piece reference)
{
    e->references++;
    if (!to_the_point(e->item, reference)) return;
    e->good++;
    const char *arrow = memmem(reference.text, reference.length, "->", 2);
    if (!arrow) return;
    const oracle_piece cause = oracle_trimmed(arrow + 2, reference.text + reference.length);
    int i = 0;
    while (i < e->causes && !oracle_same(e->cause[i], cause)) i++;
    if (i == MOST_CAUSES) return;
    if (i == e->causes) e->cause[e->causes++] = cause;
    e->count[i]++;
}

static void read_evidence(const char *text, evidence *e)
{
    oracle_piece line, rest;
    for (const char *at = text; oracle_next_line(&at, &line);) {
        if (oracle_labelled(line, "Item", &rest)) e->item = rest;
        if (oracle_labelled(line, "Candidate", &rest)) e->candidate = rest;
    }
    while (oracle_next_line(&text, &line))
        if (oracle_labelled(line, "Reference", &rest)) add_reference(e, rest);
}

static void law_of(const char *text, const double *value, oracle_law *law)
{
    (void)value;
    evidence e = {0};
    read_evidence(text, &e);
    const double g = e.references ? (double)e.good / e.references : 0;
    if (!e.candidate.length) {
        oracle_may_answer(law, "yes", g);
        oracle_may_answer(law, "no", 1 - g);
        return;
    }
    int most = 0;
    for (int i = 1; i < e.causes; i++)
        if (e.count[i] > e.count[most]) most = i;
    const bool right = e.causes > 0 && oracle_same(e.cause[most], e.candidate);
    for (int n = 0; n < GRADES; n++) oracle_may_answer(law, az_format_text(law->az, "Score: %d", n), probability_of(g, right, n));
}

static int expect(const double *value, az_expectation e[AZ_EXPECTATIONS])
{
    e[0] = (az_expectation){"yes", value[0]};
    e[1] = (az_expectation){"score_right", 0};
    e[2] = (az_expectation){"score_wrong", 0};
    for (int n = 0; n < GRADES; n++) {
        e[1].value += n * probability_of(value[0], true, n);
        e[2].value += n * probability_of(value[0], false, n);
    }
    return 3;
}

const oracle oracle_rater = {
    .name = "rater",
    .summary = "\"Item: ...\", \"Reference: ... -> CAUSE\" and perhaps \"Candidate: CAUSE\": yes or no, or \"Score: 0\" to \"Score: 10\"",
    .parameter = {{"evidence", 1, 0, 1, "share of references to the point; for what is expected"}},
    .law = law_of,
    .expect = expect,
};
