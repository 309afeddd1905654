/* lacie.h - what the files of lacie share: the game's records, pairs from them, measures. */
#ifndef ADZE_TUNE_LACIE_H
#define ADZE_TUNE_LACIE_H

#include "adze/backend.h"
#include "adze/method.h"

typedef enum lacie_baseline { LACIE_LISTENER, LACIE_CORRECTNESS } lacie_baseline;

typedef struct lacie_options {
    int64_t n, max_tokens, limit_per_q, bins;
    double temperature, min_margin, threshold; /* threshold < 0: the median of the records */
    double correct_accept, wrong_reject, correct_reject, wrong_accept;
    bool balance, reference_limit, spread_bins, skip_bad, chat;
    int baseline;          /* lacie_baseline */
    const char *templates; /* folder of the user's own; "" = the built-in ones */
    const char *accepts;   /* a file with others' verdicts; "" = the listener's */
    const char *pattern;   /* regular expression of the answer; "" = the speaker is asked */
} lacie_options;

/* One answer of the speaker's, as the listener judged it. */
typedef struct lacie_record {
    int64_t question;                               /* its number */
    const char *id;                                 /* of its line in game.jsonl */
    const char *prompt, *response, *clean, *answer; /* clean: with the answer masked; answer NULL = abstention */
    double p;                                       /* that the listener accepts; NaN = the response says nothing but the answer */
    bool correct;
} lacie_record;

typedef struct lacie_game {
    int64_t count, failed;
    lacie_record *record; /* [count] */
} lacie_game;

/* ---- lacie_game.c ---- */

/* Plays, or reads what the journal knows; in the current scope. */
lacie_game *lacie_play(az_ctx *az, const lacie_options *options, const az_prepare_job *job);
/* What the speaker is asked. */
const char *lacie_prompt(az_ctx *az, const char *question);
/* Lower case, '_' and punctuation blanks, without articles, single blanks. */
char *lacie_normal(az_ctx *az, const char *text);
/* Every occurrence of the answer becomes "[ANSWER REMOVED]"; of answers of one or two bytes only whole words. */
char *lacie_mask(az_ctx *az, const char *response, const char *answer);

/* ---- lacie_pairs.c ---- */

typedef struct lacie_pair {
    const lacie_record *chosen, *rejected;
    int type; /* 0 .. LACIE_TYPES - 1 */
} lacie_pair;
enum { LACIE_TYPES = 16 };
/* "c,a > ~c,a": correct and accepted before wrong and accepted. In the current scope. */
const char *lacie_type_name(az_ctx *az, int type);
/* The median of the records' p, or the fixed threshold. */
double lacie_threshold(az_ctx *az, const lacie_game *game, const lacie_options *options);
/* Pairs of records of the same question; their number, -1 with an error. */
int64_t lacie_pairs(az_ctx *az, const lacie_game *game, const lacie_options *options, uint64_t seed, lacie_pair **pairs);
void lacie_measure(az_ctx *az, const lacie_game *game, const lacie_options *options, az_report *report);

#endif
