/* rule_steps.h - the steps that rules are made of: what they are called, and what they do. */
#ifndef ADZE_LM_BACKEND_RULE_STEPS_H
#define ADZE_LM_BACKEND_RULE_STEPS_H

#include "lm/backend/rules.h"

/* How a grid lies while a step works on it; it is turned back afterwards. So one function pushes to the left, to the right, up and down. */
typedef enum rule_turn { RULE_AS_IT_IS, RULE_FLIPPED, RULE_TRANSPOSED, RULE_TRANSPOSED_FLIPPED } rule_turn;
typedef enum rule_numbers { RULE_NO_NUMBER, RULE_COLOUR, RULE_TWO_COLOURS, RULE_AMOUNT } rule_numbers;

typedef struct rule_op {
    const char *name, *english, *python; /* $a, $b: its numbers; python changes the list of lists `g` */
    rule_numbers numbers;
    int least, most; /* of its numbers */
    rule_turn turn;
    bool (*change)(const grid *in, int a, grid *out);
    int (*cell)(int value, int a, int b); /* instead: what becomes of each cell */
} rule_op;
extern const rule_op rule_ops_table[]; /* ends with a NULL name */

bool rule_step_apply(const rule_step *step, const grid *in, grid *out);

#endif
