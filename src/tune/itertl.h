/* itertl.h - what the files of itertl share: checkers of programs, scores, the loss of a ranked group, pass@k. */
#ifndef ADZE_TUNE_ITERTL_H
#define ADZE_TUNE_ITERTL_H

#include "adze/backend.h"
#include "adze/method.h"

typedef enum itertl_checker { ITERTL_IVERILOG, ITERTL_STACK, ITERTL_COMMAND } itertl_checker;
typedef enum itertl_combine { ITERTL_ADD, ITERTL_MULTIPLY } itertl_combine;
typedef enum itertl_norm { ITERTL_RESPONSE, ITERTL_ALL } itertl_norm;

typedef struct itertl_options {
    int64_t rounds, samples, max_new, falls, rank, memory;
    double temperature, top_p, lambda, gap, margin, beta, alpha, seconds, worst;
    int checker, combine, norm;
    bool self_contained, restart;
    const char *command, *script, *folder, *targets, *ks;
} itertl_options;
extern const az_option itertl_option_table[];

/* What a checker says of a program. */
typedef struct itertl_verdict {
    bool compiles;
    int passed, total; /* tests; total 0 = there is no test, or no verdict */
    const char *error; /* why it does not compile, "" otherwise */
} itertl_verdict;

typedef struct itertl_task {
    const char *instruction, *test; /* test: "" = none */
} itertl_task;

/* ---- itertl_check.c ---- */

/* Fails when the checker is not installed. */
bool itertl_check_ready(az_ctx *az, const itertl_options *options);
bool itertl_check(az_ctx *az, const itertl_options *options, const itertl_task *task, const char *program, itertl_verdict *verdict);
/* A reply without fences; of Verilog up to its last "endmodule", without a test bench behind it. */
char *itertl_clean(az_ctx *az, const itertl_options *options, const char *reply);

/* ---- itertl_stack.c ---- */

/* The program's verdict under eight bindings of the digits: whether it computes the expression "(3+4)*2=". */
itertl_verdict itertl_stack_check(const char *expression, const char *program);

/* ---- itertl_loss.c ---- */

/* 2 LCS / (|a| + |b|) over the words, numbers and signs of two programs; 0 when one has none. */
double itertl_rouge(az_ctx *az, const char *a, const char *b);
/* R of the method: worst = does not compile; 1 = passes all tests; else the likeness to the reference. */
double itertl_score(az_ctx *az, const itertl_options *options, const itertl_verdict *verdict, const char *program, const char *reference);
/* 1 - C(n - c, k) / C(n, k): the chance that one of k samples is right when c of n are. NaN for k > n. */
double itertl_pass_at(int n, int c, int k);

/* A group's texts: candidates, then the reference. */
typedef struct itertl_group {
    int n;
    const double *nll, *length, *score; /* [n]; length = tokens of the text */
    const double *divisor;              /* [n] what p_i divides by, to the power beta; NULL = length */
} itertl_group;
/* The group's loss, and weight[i] = d loss / d nll_i. pairs counts ordered pairs, active those whose margin is not met; both may be NULL.
 */
double itertl_group_loss(const itertl_options *options, const itertl_group *group, double *weight, int64_t *pairs, int64_t *active);

/* ---- itertl_sample.c ---- */

/* A reference with its task. */
typedef struct itertl_reference {
    const az_example *example;
    itertl_task task;
    const char *id;
} itertl_reference;
typedef struct itertl_references {
    itertl_reference *item;
    int64_t count, left_out; /* left_out: those that do not compile alone, where that is asked for */
} itertl_references;
bool itertl_read_references(az_ctx *az, const itertl_options *options, const az_examples *examples, itertl_references *out);

typedef struct itertl_sampling {
    const itertl_options *options;
    const itertl_references *references;
    az_backend *model;
    az_journal *journal; /* programs are taken from it and written to it; may be NULL */
    int64_t seed;
    int round;
} itertl_sampling;
/* Groups of candidates without repetitions and, last, their reference; a candidate equal to it is left out. */
typedef struct itertl_programs {
    az_examples text;
    int64_t *begins; /* [references + 1]: group g is begins[g] .. begins[g + 1] - 1 */
    double *score;   /* [text.count] */
    int64_t sampled, compiled, right;
} itertl_programs;
bool itertl_sample(az_ctx *az, const itertl_sampling *how, itertl_programs *out);

/* The mean score of the model's greedy programs; NaN with an error. */
double itertl_greedy_score(az_ctx *az, const itertl_options *options, const itertl_references *references, az_backend *model);

/* ---- itertl_eval.c ---- */

bool itertl_evaluate(az_ctx *az, const itertl_options *options, az_prepare_job *job);

#endif
