/* tuning.h - what the claims about tuning share: tasks on strings, runs of a method on one, and how far training has come. */
#ifndef ADZE_CLAIMS_TUNING_H
#define ADZE_CLAIMS_TUNING_H

#include "claims/subjects.h"

/* What an answer is made of a question of letters from a to j by; each has a word of its own in front of the question. The last three
 * are new to claim_string_model, which has learnt the others: CLAIM_NEW makes "c e d" of "a b j". */
typedef enum claim_task {
    CLAIM_COPY,
    CLAIM_REVERSE,
    CLAIM_NEXT,         /* each letter by the next around the ten */
    CLAIM_REVERSE_NEXT, /* both */
    CLAIM_NEW,          /* each letter moved on by three places, in reverse order */
    CLAIM_PREVIOUS,     /* each letter by the one before it around the ten */
    CLAIM_ROTATE        /* the first letter goes to the end */
} claim_task;
/* Questions of `letters` letters, which stand apart, so that they are tokens for almost every tokenizer. tasks: how many of them are mixed
 * from `first` on. Example number i depends on (seed, i) alone. */
az_examples *claim_strings(az_ctx *az, claim_task first, int tasks, int letters, int64_t count, uint64_t seed);
/* A llama of two blocks, 64 wide, that has learnt to copy and reverse questions of four letters and to move the letters on. */
az_lm *claim_string_model(az_ctx *az);

/* A llama of random weights, blocks and width as given, with the same tokenizer; its linear layers in a format, "" = f32. */
az_lm *claim_random_model(az_ctx *az, int64_t blocks, int64_t width, const char *format);

typedef struct claim_tuning {
    az_lm *lm;            /* not changed */
    const char *method;   /* of the family tune */
    const char *options;  /* "rank=4,..." as on the command line */
    const char *settings; /* "steps=200,lr=2e-3,..." of az_tune_options */
    const az_examples *train, *valid;
} claim_tuning;

typedef struct claim_tuned {
    int64_t steps;
    const double *loss; /* [steps] of training */
    az_adapter *adapter;
    az_report *report;
} claim_tuned;
/* In the current scope; the adapter has an arena of its own. */
bool claim_tune(az_ctx *az, const claim_tuning *what, int seed, claim_tuned *out);

/* The share of examples whose response is, token for token, the likeliest behind its prompt. adapter may be NULL. */
double claim_exact_match(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const az_examples *examples);

/* Means of the training loss about half-time (a twentieth of the steps on both sides) and over the last tenth. */
double claim_loss_halfway(const claim_tuned *run);
double claim_loss_end(const claim_tuned *run);

enum { CLAIM_TUNED_SEEDS = 5 };
/* Losses of one way to tune, for each of the seeds, on the new task with four letters, drawn by the seed. */
typedef struct claim_losses {
    double half[CLAIM_TUNED_SEEDS], end[CLAIM_TUNED_SEEDS];
} claim_losses;
/* 200 steps of 32 examples with AdamW and a learning rate that falls as a cosine; adds a row to the section "strings". */
bool claim_learn(az_ctx *az, az_report *report, az_lm *lm, const char *method, const char *options, double lr, claim_losses *out);
double claim_mean(const double x[CLAIM_TUNED_SEEDS]);
int claim_wins(const double a[CLAIM_TUNED_SEEDS], const double b[CLAIM_TUNED_SEEDS]); /* seeds with a < b */

/* What was asked and what held, a row each in the section "checks". */
typedef struct claim_checks {
    az_report *report;
    int asked, held;
} claim_checks;
void claim_check(claim_checks *checks, const char *what, bool holds);

#endif
