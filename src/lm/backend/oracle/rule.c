/* rule.c - inferring a rule from pairs of grids, by search in the language of rules.h. What the question asks for tells which part the
 * model has:
 *
 *     Input: [[0 1] ...] Output: [[1 0] ...]       pairs, any number
 *     Rule: mirror the grid from left to right     a hint (perhaps)
 *     ... transform_grid ...                       a program is wanted; in the language of steps where the word DSL stands
 *     ```python ... ```                            the program so far (perhaps), then of a failed run
 *     Input: [[..]] Expected: [[..]] Got: [[..]]   or "Error: ..."
 *     Test input: [[..]]                           without any of these: the output itself is wanted
 *
 * Nothing of it: "Rule: ..." in English is the answer, right with probability qh, else some rule that does not explain the pairs. A program
 * does what the hint says with probability qp (without a hint: what explains the pairs, qp / 3), else it has a mistake: another step, a row
 * too few, an exception, a loop without end. A failed program is mended with probability qf when what is shown contradicts it: an error, or
 * an output that the hint does not give. The output itself is right with probability q0. */
#include "lm/backend/oracle/oracle.h"
#include "lm/backend/rules.h"

#include <math.h>
#include <string.h>
#include <strings.h>

enum { MOST_PAIRS = 32, QH = 0, QP = 1, QF = 2, Q0 = 3, HYPOTHESES = 4, PROGRAMS = 5, ROUNDS = 6 };

typedef struct task {
    rule_pair pair[MOST_PAIRS];
    int pairs;
    grid test;
    bool tested, wants_program, in_steps, has_hint, failed;
    rule hint;
    const char *program; /* the last fenced block that is there; NULL = none */
    size_t program_length;
} task;

/* ---- reading ---- */

static bool label_at(const char *at, const char *label)
{
    return strncasecmp(at, label, strlen(label)) == 0;
}

/* The grid behind a label, NULL = there is none; else what is behind it. */
static const char *grid_behind(const char *at, grid *g)
{
    const char *end = NULL;
    at += strspn(at, " \n\r\t");
    return grid_read(at, g, &end) ? end : NULL;
}

static void read_hint(az_ctx *az, task *t, const char *at)
{
    char *line = az_format_text(az, "%.*s", (int)strcspn(at, "\n"), at);
    if (line && rule_read_english(line, &t->hint)) t->has_hint = true;
}

/* What a failed run shows: a contradiction when there is an error, or the expected output is the hint's and another was there. */
static void read_run(task *t, const grid *in, const grid *expected, const grid *got)
{
    grid wanted;
    if (t->has_hint && rule_apply(&t->hint, in, &wanted) && grid_equal(&wanted, expected) && !grid_equal(expected, got)) t->failed = true;
}

static const char *read_fence(task *t, const char *at)
{
    const char *begin = at + strcspn(at, "\n"), *end = strstr(begin, "```");
    if (*begin) begin++;
    if (!end) return at + 3;
    t->program = begin;
    t->program_length = (size_t)(end - begin);
    t->failed = false; /* what came before is about another program */
    return end + 3;
}

static task *read_task(az_ctx *az, const char *text)
{
    task *t = az_alloc(az, sizeof *t);
    grid in = {0}, expected = {0}, g;
    bool has_in = false, has_expected = false;
    if (!t) return NULL;
    *t = (task){.wants_program = strstr(text, "transform_grid"), .in_steps = strstr(text, "DSL")};
    for (const char *at = text; *at;) {
        const char *behind = NULL;
        if (strncmp(at, "```", 3) == 0) {
            at = read_fence(t, at);
            continue;
        }
        if (label_at(at, "Rule:")) read_hint(az, t, at + 5);
        if (label_at(at, "Error:")) t->failed = t->program != NULL;
        if (label_at(at, "Test input:") && (behind = grid_behind(at + 11, &g))) {
            t->test = g, t->tested = true;
        } else if (label_at(at, "Input:") && (behind = grid_behind(at + 6, &g))) {
            in = g, has_in = true, has_expected = false;
        } else if (label_at(at, "Output:") && (behind = grid_behind(at + 7, &g))) {
            if (has_in && t->pairs < MOST_PAIRS) t->pair[t->pairs++] = (rule_pair){in, g};
            has_in = false;
        } else if (label_at(at, "Expected:") && (behind = grid_behind(at + 9, &g))) {
            expected = g, has_expected = has_in;
        } else if (label_at(at, "Got:") && (behind = grid_behind(at + 4, &g))) {
            if (has_expected && t->program) read_run(t, &in, &expected, &g);
        }
        at = behind ? behind : at + 1;
    }
    return t;
}

/* ---- answering ---- */

static const char *fenced(az_ctx *az, const task *t, const char *steps, const char *body)
{
    if (t->in_steps) return az_format_text(az, "```rule\n%s\n```", steps);
    return az_format_text(az, "```python\ndef transform_grid(grid):\n    g = [list(r) for r in grid]\n%s    return g\n```", body);
}

static const char *program_of(az_ctx *az, const task *t, const rule *r)
{
    return fenced(az, t, rule_text(az, r), rule_python(az, r));
}

static const char *bad_program(az_ctx *az, const task *t, const rule *r, az_rng *rng)
{
    static const char *const ends[] = {"    g = g[:-1]\n", "    raise ValueError('no such row')\n", "    while True: pass\n"};
    const int kind = (int)az_below(rng, 4);
    const rule wrong = rule_draw_wrong(t->pair, t->pairs, rng);
    if (kind == 0) return program_of(az, t, &wrong);
    return fenced(az, t, az_format_text(az, "%s; no_such_step", rule_text(az, r)),
                  az_format_text(az, "%s%s", rule_python(az, r), ends[kind - 1]));
}

static const char *write_program(az_ctx *az, const task *t, const double *value, az_rng *rng)
{
    rule r = t->hint;
    const bool known = t->has_hint || rule_find(t->pair, t->pairs, &r);
    const double chance = t->has_hint ? value[QP] : value[QP] / 3;
    if (!known) r = rule_draw_wrong(t->pair, t->pairs, rng);
    return az_uniform(rng) < chance ? program_of(az, t, &r) : bad_program(az, t, &r, rng);
}

static const char *mend_program(az_ctx *az, const task *t, const double *value, az_rng *rng)
{
    rule r = t->hint;
    const bool known = t->has_hint || rule_find(t->pair, t->pairs, &r);
    if (known && t->failed && az_uniform(rng) < value[QF]) return program_of(az, t, &r);
    return az_format_text(az, "```%s\n%.*s```", t->in_steps ? "rule" : "python", (int)t->program_length, t->program);
}

/* The rule's output of the test, or another one. */
static const char *write_output(az_ctx *az, const task *t, const rule *r, bool right, az_rng *rng)
{
    grid wanted = t->test, out;
    if (!r || !rule_apply(r, &t->test, &wanted)) wanted = t->test;
    out = wanted;
    if (!right) {
        const rule wrong = rule_draw_wrong(t->pair, t->pairs, rng);
        if (!rule_apply(&wrong, &t->test, &out)) out = wanted;
        if (grid_equal(&out, &wanted)) out.cell[0][0] = (unsigned char)((out.cell[0][0] + 1) % COLOURS);
    }
    return az_format_text(az, "Test output:\n%s", grid_text(az, &out));
}

static const char *draw(az_ctx *az, const char *text, const double *value, az_rng *rng)
{
    const task *t = read_task(az, text);
    rule r;
    if (!t) return NULL;
    if (t->pairs == 0) return "There are no pairs.";
    if (t->wants_program) return t->program ? mend_program(az, t, value, rng) : write_program(az, t, value, rng);
    const bool found = rule_find(t->pair, t->pairs, &r), right = found && az_uniform(rng) < value[t->tested ? Q0 : QH];
    if (t->tested) return write_output(az, t, found ? &r : NULL, right, rng);
    if (!right) r = rule_draw_wrong(t->pair, t->pairs, rng);
    return az_format_text(az, "Rule: %s.", rule_english(az, &r));
}

/* One of m hypotheses is right, and one of its n programs, mended F times: 1 - (1 - qh (1 - (1 - p)^n))^m, p = 1 - (1 - qp) (1 - qf)^F. */
static int expect(const double *value, az_expectation e[AZ_EXPECTATIONS])
{
    const double p = 1 - (1 - value[QP]) * pow(1 - value[QF], value[ROUNDS]);
    const double one = value[QH] * (1 - pow(1 - p, value[PROGRAMS]));
    e[0] = (az_expectation){"solved", 1 - pow(1 - one, value[HYPOTHESES])};
    e[1] = (az_expectation){"first_program", value[QH] * value[QP]};
    e[2] = (az_expectation){"without_rules", value[QP] / 3};
    e[3] = (az_expectation){"direct", value[Q0]};
    return 4;
}

const oracle oracle_rule = {
    .name = "rule",
    .summary =
        "\"Input: [[0 1]]\" and \"Output: [[1 0]]\" pairs: the rule in English, a program of it, a mended program, or a test's output",
    .parameter = {{"qh", 1, 0, 1, "chance that the rule is right"},
                  {"qp", 1, 0, 1, "chance that the program of a rule is right; without a rule a third of it"},
                  {"qf", 1, 0, 1, "chance that a failed program is mended"},
                  {"q0", 1, 0, 1, "chance that the output of a test is right"},
                  {"m", 1, 1, 1e6, "rules; for what is expected, as the next two"},
                  {"n", 1, 1, 1e6, "programs of each rule"},
                  {"rounds", 0, 0, 1e6, "of mending"}},
    .draw = draw,
    .expect = expect,
};
