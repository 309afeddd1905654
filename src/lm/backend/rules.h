/* rules.h - rules that turn grids of colours into grids: a language of steps, written as steps ("rotate_right; recolor 1 2"), in English
 * and as a Python function, and the search for the rules that explain given pairs. A list is a grid of one row. */
#ifndef ADZE_LM_BACKEND_RULES_H
#define ADZE_LM_BACKEND_RULES_H

#include "adze/base.h"

enum { GRID_SIDE = 30, COLOURS = 10, RULE_STEPS = 2 };

typedef struct grid {
    int rows, columns;
    unsigned char cell[GRID_SIDE][GRID_SIDE]; /* 0 .. COLOURS - 1; 0 is the background */
} grid;
bool grid_equal(const grid *a, const grid *b);
/* "[[0 1]\n [2 3]]" or "[0, 1]", with anything but brackets and digits between; *end points behind it. False for what is no such grid. */
bool grid_read(const char *text, grid *g, const char **end);
char *grid_text(az_ctx *az, const grid *g);

typedef struct rule_step {
    int op;
    int number[2]; /* a, b; 0 where the step has none */
} rule_step;
typedef struct rule {
    rule_step step[RULE_STEPS];
    int steps;
} rule;
int rule_ops(void);
const char *rule_op_name(int op);
/* False where a step cannot be done, such as one that leaves no cell or more than GRID_SIDE rows. */
bool rule_apply(const rule *r, const grid *in, grid *out);
char *rule_text(az_ctx *az, const rule *r);
char *rule_english(az_ctx *az, const rule *r);
char *rule_python(az_ctx *az, const rule *r); /* statements that change the list of lists `g`, a line each, four spaces before each */
/* Read what those write; blanks, case and a full stop at the end do not matter in English. */
bool rule_read_text(const char *text, rule *r);
bool rule_read_english(const char *text, rule *r);

typedef struct rule_pair {
    grid in, out;
} rule_pair;
bool rule_explains(const rule *r, const rule_pair *pair, int n);
/* The first rule that explains all pairs, of one step, else of two; false when there is none. */
bool rule_find(const rule_pair *pair, int n, rule *r);
/* A rule of one step, all steps being as likely, that does not explain the pairs. */
rule rule_draw_wrong(const rule_pair *pair, int n, az_rng *rng);

#endif
