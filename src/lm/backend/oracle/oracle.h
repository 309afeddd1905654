/* oracle.h - what simulated models share: parameters, laws of answers, and reading texts line by line.
 *
 * An oracle is a file of this folder and a line in engine_oracle.c. It gives either the law of its answers, from which the engine draws and
 * reads scores, or, where there are too many, one draw. */
#ifndef ADZE_LM_BACKEND_ORACLE_H
#define ADZE_LM_BACKEND_ORACLE_H

#include "adze/backend.h"

enum { ORACLE_PARAMETERS = 14 };

typedef struct oracle_parameter {
    const char *name; /* NULL ends the list */
    double usual, least, most;
    const char *help;
} oracle_parameter;

/* Answers with their probabilities, which sum to one; equal texts are one answer. */
typedef struct oracle_answer {
    const char *text;
    double probability;
} oracle_answer;
typedef struct oracle_law {
    az_ctx *az;
    oracle_answer *answer;
    int n, room;
} oracle_law;
/* Adds to the probability of the answer, which is new where there is none of that text. */
void oracle_may_answer(oracle_law *law, const char *text, double probability);
/* probability <- (1 - share) probability + share * (1 for this answer). */
void oracle_mix(oracle_law *law, double share, const char *text);

typedef struct oracle {
    const char *name, *summary;
    oracle_parameter parameter[ORACLE_PARAMETERS];
    /* The law of the answers to a text; value[i] is that of parameter[i]. */
    void (*law)(const char *text, const double *value, oracle_law *law);
    /* One answer instead. */
    const char *(*draw)(az_ctx *az, const char *text, const double *value, az_rng *rng);
    /* What is expected by law; their number. */
    int (*expect)(const double *value, az_expectation expect[AZ_EXPECTATIONS]);
} oracle;

extern const oracle oracle_icl_vote, oracle_arith, oracle_mcq, oracle_rater, oracle_caption, oracle_choose, oracle_rule;

/* ---- texts ---- */

/* A piece of a text. */
typedef struct oracle_piece {
    const char *text;
    size_t length;
} oracle_piece;
/* Without white space around it. */
oracle_piece oracle_trimmed(const char *text, const char *end);
bool oracle_same(oracle_piece a, oracle_piece b); /* byte by byte */
bool oracle_is(oracle_piece piece, const char *text);
char *oracle_copy(az_ctx *az, oracle_piece piece);
/* The next line, trimmed; *at moves behind it. False at the end of the text. */
bool oracle_next_line(const char **at, oracle_piece *line);
/* What follows "label:" on a line that begins so, in either case; false for other lines. */
bool oracle_labelled(oracle_piece line, const char *label, oracle_piece *rest);
/* The next item of a list "a, b and c", without an article before it and full stops behind it; *at moves behind it. */
bool oracle_next_item(oracle_piece *at, oracle_piece *item);
/* Whether a word occurs in the piece, in either case. */
bool oracle_has_word(oracle_piece piece, oracle_piece word);

/* The value of "7 + 3 * 2 - 4 =", from left to right, modulo 10^9 + 7; each step goes wrong by one with probability `wrong` (rng may be
 * NULL where that is 0). False for a line that is no such sum. */
bool oracle_sum(oracle_piece line, double wrong, az_rng *rng, int64_t *value);

#endif
