/* rules.c - rules as texts, and the search for those that explain pairs of grids. */
#include "lm/backend/rule_steps.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- grids ---- */

bool grid_equal(const grid *a, const grid *b)
{
    if (a->rows != b->rows || a->columns != b->columns) return false;
    for (int i = 0; i < a->rows; i++)
        if (memcmp(a->cell[i], b->cell[i], (size_t)a->columns) != 0) return false;
    return true;
}

/* One row "[0 1 2]". */
static bool read_row(const char **at, grid *g)
{
    int n = 0;
    if (*(*at)++ != '[' || g->rows == GRID_SIDE) return false;
    for (;; (*at)++) {
        if (isdigit((unsigned char)**at)) {
            if (isdigit((unsigned char)(*at)[1]) || n == GRID_SIDE) return false;
            g->cell[g->rows][n++] = (unsigned char)(**at - '0');
        } else if (**at == ']') {
            break;
        } else if (!**at || !strchr(" ,\n\r\t", **at)) {
            return false;
        }
    }
    (*at)++;
    if (n == 0 || (g->rows > 0 && n != g->columns)) return false;
    g->columns = n;
    g->rows++;
    return true;
}

bool grid_read(const char *text, grid *g, const char **end)
{
    *g = (grid){0};
    const char *at = text;
    const size_t blanks = *at == '[' ? strspn(at + 1, " \n\r\t") : 0;
    if (*at != '[') return false;
    const bool nested = at[1 + blanks] == '[';
    if (nested) at++;
    for (;;) {
        if (nested) at += strspn(at, " ,\n\r\t");
        if (nested && *at == ']') break;
        if (!read_row(&at, g)) return false;
        if (!nested) break;
    }
    *end = at + nested;
    return g->rows > 0;
}

char *grid_text(az_ctx *az, const grid *g)
{
    char *text = az_alloc(az, (size_t)(g->rows * (2 * g->columns + 4) + 3)), *at = text;
    if (!text) return NULL;
    *at++ = '[';
    for (int i = 0; i < g->rows; i++) {
        if (i > 0) *at++ = '\n', *at++ = ' ';
        *at++ = '[';
        for (int j = 0; j < g->columns; j++) {
            if (j > 0) *at++ = ' ';
            *at++ = (char)('0' + g->cell[i][j]);
        }
        *at++ = ']';
    }
    *at++ = ']';
    *at = '\0';
    return text;
}

/* ---- rules ---- */

int rule_ops(void)
{
    int n = 0;
    while (rule_ops_table[n].name) n++;
    return n;
}

const char *rule_op_name(int op)
{
    return rule_ops_table[op].name;
}

static int numbers_of(int op)
{
    const rule_numbers kind = rule_ops_table[op].numbers;
    return kind == RULE_NO_NUMBER ? 0 : kind == RULE_TWO_COLOURS ? 2 : 1;
}

bool rule_apply(const rule *r, const grid *in, grid *out)
{
    grid between = *in;
    for (int i = 0; i < r->steps; i++) {
        if (!rule_step_apply(&r->step[i], &between, out)) return false;
        between = *out;
    }
    *out = between;
    return true;
}

/* The pattern with its numbers in the places of $a and $b. */
static char *filled(az_ctx *az, const char *pattern, const rule_step *step)
{
    char *text = az_alloc(az, 2 * strlen(pattern) + 16), *to = text; /* a number has at most 3 digits, its place has 2 */
    if (!text) return NULL;
    for (const char *at = pattern; *at;) {
        if (at[0] == '$' && (at[1] == 'a' || at[1] == 'b')) {
            to += snprintf(to, 4, "%d", step->number[at[1] - 'a'] % 100);
            at += 2;
        } else {
            *to++ = *at++;
        }
    }
    *to = '\0';
    return text;
}

char *rule_text(az_ctx *az, const rule *r)
{
    char *text = az_strdup(az, "");
    for (int i = 0; text && i < r->steps; i++) {
        const rule_step *s = &r->step[i];
        text = az_format_text(az, "%s%s%s", text, i ? "; " : "", rule_ops_table[s->op].name);
        for (int k = 0; text && k < numbers_of(s->op); k++) text = az_format_text(az, "%s %d", text, s->number[k]);
    }
    return text;
}

static const char then[] = ", then ";

char *rule_english(az_ctx *az, const rule *r)
{
    char *text = az_strdup(az, "");
    for (int i = 0; text && i < r->steps; i++)
        text = az_format_text(az, "%s%s%s", text, i ? then : "", filled(az, rule_ops_table[r->step[i].op].english, &r->step[i]));
    return text;
}

char *rule_python(az_ctx *az, const rule *r)
{
    char *text = az_strdup(az, "");
    for (int i = 0; text && i < r->steps; i++) {
        const char *code = filled(az, rule_ops_table[r->step[i].op].python, &r->step[i]);
        for (; code && text && *code; code += strcspn(code, "\n"), code += *code == '\n')
            text = az_format_text(az, "%s    %.*s\n", text, (int)strcspn(code, "\n"), code);
    }
    return text;
}

/* ---- reading ---- */

static bool in_range(const rule_step *s)
{
    const rule_op *op = &rule_ops_table[s->op];
    for (int k = 0; k < numbers_of(s->op); k++)
        if (s->number[k] < op->least || s->number[k] > op->most) return false;
    return true;
}

static bool read_number(const char **at, const char *end, int *number)
{
    if (*at == end || !isdigit((unsigned char)**at)) return false;
    for (*number = 0; *at < end && isdigit((unsigned char)**at); (*at)++) {
        *number = 10 * *number + **at - '0';
        if (*number > 99) return false;
    }
    return true;
}

/* Whether the piece is the pattern, with numbers for $a and $b. */
static bool matches(const char *at, const char *end, const char *pattern, rule_step *s)
{
    while (*pattern) {
        if (*pattern == '$') {
            if (!read_number(&at, end, &s->number[pattern[1] - 'a'])) return false;
            pattern += 2;
        } else if (*pattern == ' ') {
            if (at == end || !isspace((unsigned char)*at)) return false;
            while (at < end && isspace((unsigned char)*at)) at++;
            pattern++;
        } else {
            if (at == end || tolower((unsigned char)*at) != tolower((unsigned char)*pattern)) return false;
            at++, pattern++;
        }
    }
    return at == end && in_range(s);
}

static bool read_english_step(const char *at, const char *end, rule_step *s)
{
    while (at < end && isspace((unsigned char)*at)) at++;
    while (end > at && (isspace((unsigned char)end[-1]) || end[-1] == '.')) end--;
    for (int op = 0; rule_ops_table[op].name; op++) {
        *s = (rule_step){.op = op};
        if (matches(at, end, rule_ops_table[op].english, s)) return true;
    }
    return false;
}

static const char *const number_patterns[] = {"", " $a", " $a $b"};

static bool read_text_step(const char *at, const char *end, rule_step *s)
{
    while (at < end && isspace((unsigned char)*at)) at++;
    while (end > at && isspace((unsigned char)end[-1])) end--;
    for (int op = 0; rule_ops_table[op].name; op++) {
        const char *name = rule_ops_table[op].name;
        const size_t length = strlen(name);
        *s = (rule_step){.op = op};
        if ((size_t)(end - at) < length || strncmp(at, name, length) != 0) continue;
        if (matches(at + length, end, number_patterns[numbers_of(op)], s)) return true;
    }
    return false;
}

static bool read_rule(const char *text, const char *separator, bool (*read_step)(const char *, const char *, rule_step *), rule *r)
{
    *r = (rule){0};
    for (;;) {
        const char *end = strstr(text, separator), *stop = end ? end : text + strlen(text);
        if (r->steps == RULE_STEPS || !read_step(text, stop, &r->step[r->steps])) return false;
        r->steps++;
        if (!end) return true;
        text = end + strlen(separator);
    }
}

bool rule_read_text(const char *text, rule *r)
{
    return read_rule(text, ";", read_text_step, r);
}

bool rule_read_english(const char *text, rule *r)
{
    return read_rule(text, then, read_english_step, r);
}

/* ---- search ---- */

bool rule_explains(const rule *r, const rule_pair *pair, int n)
{
    for (int i = 0; i < n; i++) {
        grid out;
        if (!rule_apply(r, &pair[i].in, &out) || !grid_equal(&out, &pair[i].out)) return false;
    }
    return n > 0;
}

/* Steps one by one: every op with every number that it may have, colours being those of the pairs. */
typedef struct walk {
    bool colour[COLOURS];
    rule_step at;
    bool begun;
} walk;

static walk walk_of(const rule_pair *pair, int n)
{
    walk w = {0};
    for (int p = 0; p < n; p++)
        for (int side = 0; side < 2; side++) {
            const grid *g = side ? &pair[p].out : &pair[p].in;
            for (int i = 0; i < g->rows; i++)
                for (int j = 0; j < g->columns; j++) w.colour[g->cell[i][j]] = true;
        }
    return w;
}

/* Whether the numbers make sense: a step that does nothing is left out. */
static bool sensible(const walk *w)
{
    const rule_numbers kind = rule_ops_table[w->at.op].numbers;
    const int a = w->at.number[0], b = w->at.number[1];
    if (kind == RULE_COLOUR) return w->colour[a];
    if (kind == RULE_TWO_COLOURS) return a != b && w->colour[a] && w->colour[b];
    return true;
}

static void first_numbers(walk *w)
{
    for (int k = 0; k < 2; k++) w->at.number[k] = k < numbers_of(w->at.op) ? rule_ops_table[w->at.op].least : 0;
}

static bool next_step(walk *w)
{
    do {
        const rule_op *op = &rule_ops_table[w->at.op];
        int k = numbers_of(w->at.op) - 1;
        if (!w->begun) {
            w->begun = true;
            first_numbers(w);
            continue;
        }
        for (; k >= 0 && w->at.number[k] == op->most; k--) w->at.number[k] = op->least;
        if (k >= 0) {
            w->at.number[k]++;
            continue;
        }
        w->at.op++;
        if (!rule_ops_table[w->at.op].name) return false;
        first_numbers(w);
    } while (!sensible(w));
    return true;
}

static bool find_one(const rule_pair *pair, int n, rule *r)
{
    walk w = walk_of(pair, n);
    while (next_step(&w)) {
        *r = (rule){.step = {w.at}, .steps = 1};
        if (rule_explains(r, pair, n)) return true;
    }
    return false;
}

static bool find_two(const rule_pair *pair, int n, rule *r)
{
    walk first = walk_of(pair, n);
    while (next_step(&first)) {
        rule_pair half;
        if (!rule_step_apply(&first.at, &pair[0].in, &half.in)) continue;
        half.out = pair[0].out;
        walk second = walk_of(pair, n);
        while (next_step(&second)) {
            const rule last = {.step = {second.at}, .steps = 1};
            *r = (rule){.step = {first.at, second.at}, .steps = 2};
            if (rule_explains(&last, &half, 1) && rule_explains(r, pair, n)) return true;
        }
    }
    return false;
}

bool rule_find(const rule_pair *pair, int n, rule *r)
{
    return n > 0 && (find_one(pair, n, r) || find_two(pair, n, r));
}

static rule_step draw_step(az_rng *rng)
{
    rule_step s = {.op = (int)az_below(rng, (uint64_t)rule_ops())};
    const rule_op *op = &rule_ops_table[s.op];
    for (int k = 0; k < numbers_of(s.op); k++) s.number[k] = op->least + (int)az_below(rng, (uint64_t)(op->most - op->least + 1));
    return s;
}

rule rule_draw_wrong(const rule_pair *pair, int n, az_rng *rng)
{
    rule r;
    do r = (rule){.step = {draw_step(rng)}, .steps = 1};
    while (rule_explains(&r, pair, n));
    return r;
}
