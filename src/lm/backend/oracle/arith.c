/* arith.c - sums of several steps, and multiple choice between their values.
 *
 * arith: the last line that is a sum, "7 + 3 * 2 - 4 =", from left to right; each step goes wrong by one with probability e. A subquestion
 * is a line behind the question, so that it is what is answered.
 *
 * mcq: such a line, then options "A. 13", "B) 20" ... of which one is the value. The law of the letters begins as `accuracy` for the right
 * one and the rest among the others. Each sentence before or behind the options that leans towards one of them, by words of a kind of bias,
 * then draws the answer there with the probability that is given for its kind: P <- (1 - s) P + s [option]. */
#include "lm/backend/oracle/oracle.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- sums ---- */

static const int64_t bound = 1000000007; /* keeps products within range: sums are modulo this */

static bool is_sum(oracle_piece line)
{
    bool has_operator = false, digit = false;
    for (size_t i = 0; i < line.length; i++) {
        const char c = line.text[i];
        if (c == '=' && i + 1 == line.length) break;
        if (!isdigit((unsigned char)c) && !strchr("+-* ", c)) return false;
        digit = digit || isdigit((unsigned char)c);
        has_operator = has_operator || (i > 0 && strchr("+-*", c));
    }
    return has_operator && digit;
}

static int64_t step(int64_t value, char what, int64_t operand)
{
    const int64_t result = what == '+' ? value + operand : what == '-' ? value - operand : value * operand;
    return result % bound;
}

bool oracle_sum(oracle_piece line, double wrong, az_rng *rng, int64_t *value)
{
    if (!is_sum(line)) return false;
    char *at = NULL;
    *value = strtoll(line.text, &at, 10) % bound;
    for (;;) {
        at += strspn(at, " ");
        const char what = *at;
        if (what != '+' && what != '-' && what != '*') return true;
        const char *number = at + 1;
        *value = step(*value, what, strtoll(number, &at, 10) % bound);
        if (at == number) return true;
        if (rng && az_uniform(rng) < wrong) *value += az_below(rng, 2) ? 1 : -1;
    }
}

static oracle_piece last_sum(const char *text)
{
    oracle_piece sum = {0}, line;
    while (oracle_next_line(&text, &line))
        if (is_sum(line)) sum = line;
    return sum;
}

static const char *draw(az_ctx *az, const char *text, const double *value, az_rng *rng)
{
    int64_t result = 0;
    if (!oracle_sum(last_sum(text), value[0], rng, &result)) return "There is nothing to compute.";
    return az_format_text(az, "The answer is %lld.", (long long)result);
}

/* Errors of two steps may cancel; that they do is not counted. */
static int expect_arith(const double *value, az_expectation e[AZ_EXPECTATIONS])
{
    e[0] = (az_expectation){"accuracy", pow(1 - value[0], value[1])};
    return 1;
}

const oracle oracle_arith = {
    .name = "arith",
    .summary = "the last line \"7 + 3 * 2 =\", from left to right",
    .parameter = {{"e", 0, 0, 1, "chance that a step is wrong by one"}, {"hops", 0, 0, 1e6, "steps of the question; for what is expected"}},
    .draw = draw,
    .expect = expect_arith,
};

/* ---- multiple choice ---- */

enum { MOST_OPTIONS = 26, ACCURACY = 0, RIGHT_TARGET = 1, FIRST_BIAS = 2 };

/* Words by which a sentence of a kind of bias is known; the parameter of the same number is its strength. */
static const char *const bias_words[] = {"sure it is",       "just read",          "first estimate", "respondents chose",
                                         "professor says",   "the current choice", "already spent",  "it is obvious",
                                         "as it turned out", "the last one before"};
enum { BIASES = sizeof bias_words / sizeof *bias_words };

typedef struct options {
    oracle_piece letter[MOST_OPTIONS], text[MOST_OPTIONS];
    int n;
} options;

/* "A. 13", "B) 20", "(C) 7" */
static bool read_option(oracle_piece line, options *o)
{
    const char *at = line.text + (line.length > 0 && *line.text == '('), *const end = line.text + line.length;
    if (end - at < 3 || !isupper((unsigned char)*at) || !strchr(".)", at[1]) || o->n == MOST_OPTIONS) return false;
    o->letter[o->n] = (oracle_piece){at, 1};
    o->text[o->n++] = oracle_trimmed(at + 2, end);
    return true;
}

/* Where the words stand in the line, NULL = nowhere. */
static const char *find(oracle_piece line, const char *words)
{
    const size_t length = strlen(words);
    for (size_t i = 0; i + length <= line.length; i++)
        if (strncasecmp(line.text + i, words, length) == 0) return line.text + i;
    return NULL;
}

/* The option that a piece of a sentence names, by its text or else as "option B"; -1 = none, or several. */
static int named(oracle_piece line, const options *o)
{
    int found = -1;
    for (int i = 0; i < o->n; i++) {
        char letter[] = "option X";
        letter[sizeof letter - 2] = *o->letter[i].text;
        if (!oracle_has_word(line, o->text[i]) && !find(line, letter)) continue;
        if (found >= 0) return -1;
        found = i;
    }
    return found;
}

/* The option that a sentence of this kind leans towards: behind its words, or else before them. */
static int target_of(oracle_piece line, const char *words, const options *o)
{
    const char *at = find(line, words), *const end = line.text + line.length;
    if (!at) return -1;
    const char *behind = at + strlen(words);
    const int target = named((oracle_piece){behind, (size_t)(end - behind)}, o);
    return target >= 0 ? target : named((oracle_piece){line.text, (size_t)(at - line.text)}, o);
}

static void law_of_letters(const char *text, const double *value, oracle_law *law)
{
    const char *letter[MOST_OPTIONS], *at = text;
    oracle_piece line;
    options o = {0};
    int right = -1;
    int64_t result = 0, number = 0;
    const bool asked = oracle_sum(last_sum(text), 0, NULL, &result);
    while (oracle_next_line(&at, &line)) read_option(line, &o);
    for (int i = 0; i < o.n; i++) {
        char *end = NULL;
        letter[i] = oracle_copy(law->az, o.letter[i]);
        number = strtoll(o.text[i].text, &end, 10);
        if (asked && right < 0 && end == o.text[i].text + o.text[i].length && number == result) right = i;
    }
    if (right < 0) {
        oracle_may_answer(law, "none", 1);
        return;
    }
    for (int i = 0; i < o.n; i++) {
        const double accuracy = o.n > 1 ? value[ACCURACY] : 1;
        oracle_may_answer(law, letter[i], i == right ? accuracy : (1 - accuracy) / (o.n - 1));
    }
    for (at = text; oracle_next_line(&at, &line);) {
        options none = {0};
        if (read_option(line, &none)) continue;
        for (int b = 0; b < BIASES; b++) {
            const int target = target_of(line, bias_words[b], &o);
            if (target >= 0) oracle_mix(law, value[FIRST_BIAS + b], letter[target]);
        }
    }
}

/* Of prompts with one sentence of each kind whose strength is given, all for the same option. */
static int expect_mcq(const double *value, az_expectation e[AZ_EXPECTATIONS])
{
    double kept = 1;
    for (int b = 0; b < BIASES; b++) kept *= 1 - value[FIRST_BIAS + b];
    e[0] = (az_expectation){"accuracy", kept * value[ACCURACY] + (1 - kept) * value[RIGHT_TARGET]};
    e[1] = (az_expectation){"accuracy_unbiased", value[ACCURACY]};
    return 2;
}

const oracle oracle_mcq = {
    .name = "mcq",
    .summary =
        "a line \"7 + 3 * 2 =\" and options \"A. 13\", \"B. 20\": the letter of the value, unless a sentence leans towards an option",
    .parameter = {{"accuracy", 1, 0, 1, "chance of the right letter without a bias"},
                  {"c", 0, 0, 1, "chance that the biases' option is the right one; for what is expected"},
                  {"confirmation", 0, 0, 1, "chance that \"... sure it is ...\" draws the answer"},
                  {"availability", 0, 0, 1, "of \"... just read ...\""},
                  {"anchoring", 0, 0, 1, "of \"... first estimate ...\""},
                  {"bandwagon", 0, 0, 1, "of \"... respondents chose ...\""},
                  {"authority", 0, 0, 1, "of \"... professor says ...\""},
                  {"default", 0, 0, 1, "of \"... the current choice ...\""},
                  {"sunk", 0, 0, 1, "of \"... already spent ...\""},
                  {"overconfidence", 0, 0, 1, "of \"... it is obvious ...\""},
                  {"hindsight", 0, 0, 1, "of \"... as it turned out ...\""},
                  {"recency", 0, 0, 1, "of \"... the last one before ...\""}},
    .law = law_of_letters,
    .expect = expect_mcq,
};
