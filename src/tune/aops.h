/* aops.h - what the files of aops share: topics of a forum, the stages that ask a model, the records that come of it. */
#ifndef ADZE_TUNE_AOPS_H
#define ADZE_TUNE_AOPS_H

#include "adze/backend.h"
#include "adze/method.h"

#include <jansson.h>

typedef struct aops_options {
    int64_t ngram_train, ngram_bench, window, max_tokens;
    const char *cutoff, *from, *until, *benchmarks, *references, *templates;
    bool keep_undecided, drop_links, skip_bad;
} aops_options;

enum { AOPS_NO_TIME = INT64_MIN };

typedef struct aops_post {
    int64_t number, time; /* unix seconds; AOPS_NO_TIME = not known */
    const char *user, *text;
} aops_post;

/* A topic and what the stages found out about it. */
typedef struct aops_topic {
    const char *id;
    int64_t crawled; /* when the snapshot was taken */
    int posts;
    aops_post *post; /* [posts] ascending by number */
    int label;       /* 1 a question, 0 not, -1 undecided */
    int *solution;   /* [solutions] positions among the posts */
    int solutions;
    const char *question; /* rewritten; NULL = not */
    const char **answer;  /* [solutions] rewritten by the first model, and by the second; NULL = not */
    const char **second;
} aops_topic;

typedef struct aops_forum {
    int64_t lines, bad, snapshots, dated_out; /* read; without posts; older snapshots; outside of the dates */
    int64_t count;
    aops_topic *topic;
} aops_forum;

typedef struct aops_run {
    az_ctx *az;
    const aops_options *options;
    const az_prepare_job *job;
    aops_forum *forum;
} aops_run;

/* Topics of a dump, in the order of their first lines. */
aops_forum *aops_read(az_ctx *az, const char *path, const aops_options *options);
/* "2024-01" -> 24288 months; -1 with an error when it is no month. "" -> fallback. */
int64_t aops_month(az_ctx *az, const char *text, int64_t fallback);
/* Months since year 0 of the earliest post whose time is known; -1 = unknown. In UTC. */
int64_t aops_month_of(const aops_topic *topic);

/* classify, extract, rewrite the questions, rewrite the answers (twice, if there is a second model). */
bool aops_stages(aops_run *run);
/* train.jsonl, val.jsonl, test.jsonl, excluded.jsonl; then bench.jsonl. */
bool aops_export(aops_run *run);
bool aops_bench(aops_run *run);
/* {"messages": ...} and the like as a line; the object is taken over. */
bool aops_put(az_ctx *az, FILE *out, json_t *object);
/* Adds the questions of files, separated by commas, to the set; fields "question", "problem" or "text". */
bool aops_add_files(az_ctx *az, az_overlap *overlap, const char *files);

/* ---- the prompts, and what is read from replies ---- */

az_messages *aops_classify_prompt(az_ctx *az, const char *template, const aops_topic *topic);
az_messages *aops_extract_prompt(az_ctx *az, const char *template, const aops_topic *topic);
az_messages *aops_question_prompt(az_ctx *az, const char *template, const aops_topic *topic);
az_messages *aops_answer_prompt(az_ctx *az, const char *template, const aops_topic *topic, int solution);
int aops_read_label(az_ctx *az, const char *reply);
/* Positions of the posts that a reply names as solutions; -1 when it cannot be read. */
int aops_read_solutions(az_ctx *az, const aops_topic *topic, const char *reply, int *solution, int most);

/* The label that the rewritten and original answers agree upon; NULL and *why when they do not. */
const char *aops_vote(az_ctx *az, const aops_topic *topic, const char **why);

#endif
