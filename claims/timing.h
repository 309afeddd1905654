/* timing.h - what claims about speed share: products of several weights in turn, decoding of a large model, ratios that must be reached. */
#ifndef ADZE_CLAIMS_TIMING_H
#define ADZE_CLAIMS_TIMING_H

#include "adze/method.h"

/* Ratios that were looked at, and how many of them reached what is required. */
typedef struct claim_ratios {
    int checks, held;
} claim_ratios;
/* A row of the section "checks": value must be at least bound. */
void claim_ratio(az_report *report, claim_ratios *all, const char *what, double value, double bound);
/* The row of the decision; true when there were checks and all held. */
bool claim_ratios_held(az_report *report, const claim_ratios *all);

/* A weight with copies that no cache holds together. */
enum { CLAIM_MOST_COPIES = 512 };
typedef struct claim_contender {
    const char *name;
    az_weight *copy[CLAIM_MOST_COPIES];
    int copies;
    double bytes;   /* of one */
    double seconds; /* of the fastest round */
} claim_contender;
/* The weight, which may be NULL after an error, and its copies in the current scope. */
bool claim_contend(az_ctx *az, claim_contender *to, const char *name, az_weight *w);
/* Times products with x, all contenders in turn in each round. */
bool claim_time_products(az_ctx *az, claim_contender *contender, int n, const az_tensor *x);

/* Changes a model by a method as it stands on a command line. */
bool claim_change_model(az_ctx *az, az_lm *lm, const char *word);
/* A llama of 200 million random parameters: 400 MB in bf16. */
az_lm *claim_large_lm(az_ctx *az);
/* Tokens per second of both, one token after the other, in alternating rounds: rates [2]. Adds rows to the section "decoding". */
void claim_decode(az_ctx *az, az_report *report, const az_lm *const lm[2], const char *const name[2], double rates[2]);

#endif
