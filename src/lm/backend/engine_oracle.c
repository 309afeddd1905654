/* engine_oracle.c - simulated models whose behaviour is known in law. An oracle reads nothing but the text of the question, as a model
 * would, finds the right answer by an algorithm, and spoils it with noise keyed by SHA-256(text, seed, sample): a wrong template or a lost
 * demonstration shows as lost accuracy. */
#include "lm/backend/backend_internal.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct oracle_state oracle_state;
typedef struct oracle {
    const char *name;
    const char *key[4]; /* its parameters, ends with NULL */
    bool (*answer)(az_ctx *az, const az_call_text *call, az_rng *rng, const oracle_state *state, az_answer *answer);
    double (*accuracy)(const oracle_state *state);
} oracle;
struct oracle_state {
    const oracle *oracle;
    double value[4]; /* of the parameters */
    int64_t seed;
};

static bool reply_text(az_ctx *az, az_answer *answer, const char *text)
{
    answer->text = text;
    return text && az_ok(az);
}

/* ---- icl-vote: demonstrations "x -> y", one a line; the last line is the query "x ->" ---- */

enum { MOST_DEMONSTRATIONS = 4096, MOST_LABELS = 64 };

typedef struct word {
    const char *text;
    size_t length;
} word;

static word trimmed(const char *text, const char *end)
{
    while (text < end && isspace((unsigned char)*text)) text++;
    while (end > text && isspace((unsigned char)end[-1])) end--;
    return (word){.text = text, .length = (size_t)(end - text)};
}

static bool same(word a, word b)
{
    return a.length == b.length && memcmp(a.text, b.text, a.length) == 0;
}

/* A line as "left -> right"; right is empty in a query. */
static bool read_pair(const char *line, const char *end, word *left, word *right)
{
    const char *arrow = memmem(line, (size_t)(end - line), "->", 2);
    if (!arrow) return false;
    *left = trimmed(line, arrow);
    *right = trimmed(arrow + 2, end);
    return left->length > 0;
}

typedef struct votes {
    word label[MOST_LABELS];
    int count[MOST_LABELS]; /* of the query's symbol */
    int labels;
} votes;

static void vote(votes *v, word label, bool counts)
{
    int i = 0;
    while (i < v->labels && !same(v->label[i], label)) i++;
    if (i == MOST_LABELS) return;
    if (i == v->labels) v->label[v->labels++] = label;
    v->count[i] += counts;
}

static word query_of(const char *text)
{
    word query = {0}, left, right;
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (read_pair(line, line + strcspn(line, "\n"), &left, &right) && right.length == 0) query = left;
    return query;
}

static bool icl_vote(az_ctx *az, const az_call_text *call, az_rng *rng, const oracle_state *state, az_answer *answer)
{
    votes v = {0};
    word left, right;
    const word query = query_of(call->text);
    if (!query.length) return reply_text(az, answer, "none");
    for (const char *line = call->text; *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (read_pair(line, line + strcspn(line, "\n"), &left, &right) && right.length) vote(&v, right, same(left, query));
    if (v.labels == 0) return reply_text(az, answer, "none");
    int best = 0;
    for (int i = 1; i < v.labels; i++)
        if (v.count[i] > v.count[best]) best = i;
    if (v.count[best] == 0)
        best = (int)az_below(rng, (uint64_t)v.labels);
    else if (az_uniform(rng) < state->value[0] && v.labels > 1)
        best = (best + 1 + (int)az_below(rng, (uint64_t)v.labels - 1)) % v.labels;
    return reply_text(az, answer, az_format_text(az, "%.*s", (int)v.label[best].length, v.label[best].text));
}

static double icl_vote_accuracy(const oracle_state *state)
{
    return 1 - state->value[0];
}

/* ---- arith: the last line that has operators, "7 + 3 * 2 - 4", from left to right; each step goes wrong with probability e ---- */

static bool is_sum(const char *line, size_t length)
{
    bool has_operator = false, digit = false;
    for (size_t i = 0; i < length; i++) {
        if (line[i] == '=' && i + 1 == length) break;
        if (!isdigit((unsigned char)line[i]) && !strchr("+-* ", line[i])) return false;
        digit = digit || isdigit((unsigned char)line[i]);
        has_operator = has_operator || strchr("+-*", line[i]);
    }
    return has_operator && digit;
}

static int64_t step(int64_t value, char what, int64_t operand)
{
    const int64_t bound = 1000000007; /* keeps products within range: sums are modulo this */
    const int64_t result = what == '+' ? value + operand : what == '-' ? value - operand : value * operand;
    return result % bound;
}

static bool arith(az_ctx *az, const az_call_text *call, az_rng *rng, const oracle_state *state, az_answer *answer)
{
    const char *sum = NULL;
    for (const char *line = call->text; *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (is_sum(line, strcspn(line, "\n"))) sum = line;
    if (!sum) return reply_text(az, answer, "There is nothing to compute.");
    char *end = NULL;
    int64_t value = strtoll(sum, &end, 10) % 1000000007;
    for (;;) {
        end += strspn(end, " ");
        const char what = *end;
        if (what != '+' && what != '-' && what != '*') break;
        const char *number = end + 1;
        value = step(value, what, strtoll(number, &end, 10) % 1000000007);
        if (end == number) break;
        if (az_uniform(rng) < state->value[0]) value += az_below(rng, 2) ? 1 : -1;
    }
    return reply_text(az, answer, az_format_text(az, "The answer is %lld.", (long long)value));
}

/* Errors of two steps may cancel; that they do is not counted. */
static double arith_accuracy(const oracle_state *state)
{
    return pow(1 - state->value[0], state->value[1]);
}

static const oracle oracles[] = {
    {.name = "icl-vote", .key = {"err", NULL}, .answer = icl_vote, .accuracy = icl_vote_accuracy},
    {.name = "arith", .key = {"e", "hops", NULL}, .answer = arith, .accuracy = arith_accuracy},
};
enum { ORACLES = sizeof oracles / sizeof *oracles };

/* ---- all of them ---- */

static bool answer_oracle(az_ctx *az, const az_call_text *call, az_answer *answer, void *user)
{
    const oracle_state *state = user;
    az_rng rng = az_rng_at((uint64_t)az_call_seed(state->seed, state->oracle->name, call->text, call->sample), 0);
    return state->oracle->answer(az, call, &rng, state, answer);
}

static const oracle *find_oracle(az_ctx *az, const char *name)
{
    for (int i = 0; i < ORACLES; i++)
        if (strcmp(oracles[i].name, name) == 0) return &oracles[i];
    return az_fail(az, AZ_BAD_INPUT, "there is no oracle '%s'; there are: icl-vote, arith", name);
}

/* A probability, a count or a seed; false with an error for text that is no number of its range. */
static bool read_value(az_ctx *az, const char *spec, const char *key, double most, double *value)
{
    const char *text = az_spec_value(az, spec, key);
    char *end = NULL;
    if (!text) return az_ok(az);
    *value = strtod(text, &end);
    if (*text && !*end && *value >= 0 && *value <= most) return true;
    return az_fail(az, AZ_BAD_INPUT, "oracle:%s: %s=%s is not a number from 0 to %g", spec, key, text, most);
}

static oracle_state *read_oracle(az_ctx *az, const char *spec)
{
    const char *name = az_spec_name(az, spec), *keys[6] = {"seed"};
    oracle_state *state = az_alloc(az, sizeof *state);
    if (!name || !state || !(state->oracle = find_oracle(az, name))) return NULL;
    double seed = 0;
    for (int i = 0; state->oracle->key[i]; i++) {
        const char *key = keys[i + 1] = state->oracle->key[i];
        if (!read_value(az, spec, key, strcmp(key, "hops") == 0 ? 1e6 : 1, &state->value[i])) return NULL;
    }
    if (!az_spec_check(az, spec, keys) || !read_value(az, spec, "seed", 0x1p53, &seed)) return NULL;
    state->seed = (int64_t)seed;
    return state;
}

bool az_engine_oracle(az_backend *backend, const char *spec)
{
    oracle_state *state = read_oracle(backend->az, spec);
    return state && az_engine_function(backend, answer_oracle, state, az_format_text(backend->az, "oracle:%s", spec));
}

double az_oracle_accuracy(az_ctx *az, const char *spec)
{
    const oracle_state *state = read_oracle(az, spec);
    return state ? state->oracle->accuracy(state) : NAN;
}
