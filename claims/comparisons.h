/* comparisons.h - what the claims about compression share: chains of methods run with several seeds on a subject, and paired comparisons of
 * what they cost on held-out text. */
#ifndef ADZE_CLAIMS_COMPARISONS_H
#define ADZE_CLAIMS_COMPARISONS_H

#include "claims/subjects.h"

enum { CLAIM_SEEDS = 5 };

/* Log-losses of a subject's model after a change, made once for each seed. */
typedef struct claim_runs {
    const char *label;
    int seeds; /* 1 when the change does not depend on the seed */
    int64_t documents, tokens;
    double *nll;    /* [seeds, documents] nats */
    double *weight; /* [documents] scored tokens */
    double bytes;   /* of the changed model */
    double seconds; /* of the change, mean over the seeds */
} claim_runs;

/* Changes a copy of the subject's model. */
typedef bool (*claim_change)(az_ctx *az, az_lm *lm, const claim_subject *on, int seed, void *user);
/* One run for each of the seeds 0 .. seeds - 1; only one when the second gives the same numbers as the first. */
const claim_runs *claim_run_change(az_ctx *az, const claim_subject *on, const char *label, int seeds, claim_change change, void *user);

/* A chain as on the command line, "wanda:pattern=2:4 quantize:type=q4_0"; "" = the model as it is. Steps that read calibration text get
 * nsamples=128, seqlen=256 and the seed unless they say otherwise. */
const claim_runs *claim_run_chain(az_ctx *az, const claim_subject *on, const char *chain, int seeds);

double claim_perplexity(const claim_runs *runs); /* of the mean log-loss over tokens and seeds */

/* a - b in nats per token, two 95 % intervals of the same mean: paired over documents (log-losses averaged over the seeds), and paired over
 * seeds (NaN when neither has more than one). */
typedef struct claim_difference {
    az_estimate documents, seeds;
} claim_difference;
/* Adds a row to the section "comparisons" as well. */
claim_difference claim_compare(az_ctx *az, az_report *report, const claim_subject *on, const claim_runs *a, const claim_runs *b);
/* Both intervals lie below 0: a predicts better than b. */
bool claim_is_better(const claim_difference *a_minus_b);
/* The row that a verdict stands in; returns it: every one of the comparisons was won, and there was one. */
bool claim_decide(az_ctx *az, az_report *report, int comparisons, int won);

/* On every subject: `method` against `baseline`, each with every one of the options (NULL-terminated; they are given to both). True when
 * every comparison is won. */
bool claim_beats(az_ctx *az, az_report *report, const char *method, const char *baseline, const char *const *options);

#endif
