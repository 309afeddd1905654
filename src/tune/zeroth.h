/* zeroth.h - tuning by losses alone: what tezo and the methods it is measured against share. */
#ifndef ADZE_TUNE_ZEROTH_H
#define ADZE_TUNE_ZEROTH_H

#include "tune/tune_internal.h"

/* What is tuned: the weights themselves, or a low-rank change beside the linear layers, for weights of any format. */
typedef enum az_zeroth_params {
    AZ_ZEROTH_FULL, /* every matrix and vector as f32, in place */
    AZ_ZEROTH_LORA, /* A and B of an adapter */
    AZ_ZEROTH_FOLD  /* AZ_ZO_TEMPORAL's numbers: U diag(a) V^T beside each layer, a alone moving */
} az_zeroth_params;

typedef enum az_zeroth_objective { AZ_ZEROTH_LOSS, AZ_ZEROTH_ACCURACY, AZ_ZEROTH_F1 } az_zeroth_objective;

/* Options that all of these methods have; each has them as the first field of its own. */
typedef struct az_zeroth_options {
    double radius, eps;
    int64_t queries;
    bool exact;
    int rule, params, objective; /* az_zo_rule and the enums above */
    int adam;                    /* 1 = as the paper writes it */
    const char *only, *targets, *log, *replay;
    int64_t lora_rank;
} az_zeroth_options;

/* clang-format off */
/* Rows of an option table whose struct begins with az_zeroth_options `common`. */
#define AZ_ZEROTH_COMMON(type) \
    {"radius", AZ_FIELD(AZ_REAL, type, common.radius), "1e-3", 0, 10, NULL, "how far the two losses lie from the weights, above 0"}, \
    {"queries", AZ_FIELD(AZ_INT, type, common.queries), "1", 1, AZ_ZO_MOST_QUERIES, NULL, "directions that a step averages over"}, \
    {"exact", AZ_FIELD(AZ_BOOL, type, common.exact), "false", 0, 0, NULL, "hold a copy of the weights, so that nothing is lost by rounding"}, \
    {"objective", AZ_FIELD(AZ_CHOICE, type, common.objective), "loss", 0, 0, az_zeroth_objectives, \
     "what is made better: the loss; the share of response tokens that are the likeliest ones; or F1, the mean over examples of what a " \
     "greedy answer has in common with the last response, 2 common tokens / (tokens of both)"}, \
    {"only", AZ_FIELD(AZ_TEXT, type, common.only), "", 0, 0, NULL, \
     "params=full: parameters whose names match one of these globs, such as \"*.attn.*,*norm*\"; without it all"}, \
    {"targets", AZ_FIELD(AZ_TEXT, type, common.targets), "all-linear", 0, 0, NULL, "other params: layers, as lora names them"}, \
    {"lora_rank", AZ_FIELD(AZ_INT, type, common.lora_rank), "8", 1, 1 << 16, NULL, "params=lora: rank of the change"}, \
    {"log", AZ_FIELD(AZ_TEXT, type, common.log), "", 0, 0, NULL, "file for what makes the result again from the model: a line a step"}, \
    {"replay", AZ_FIELD(AZ_TEXT, type, common.replay), "", 0, 0, NULL, "make the result again from such a file; no data is read"}
/* clang-format on */
extern const char *const az_zeroth_objectives[], *const az_zeroth_params_names[];

/* The method's own part of a run. */
typedef struct az_zeroth_how {
    const az_method *method;
    const void *settings; /* begin with az_zeroth_options */
    az_zo_kind kind;
    bool store;
    int64_t renew;
    int64_t rank, most; /* 0 = chosen from the spectra, at most `most` */
    double theta;       /* singular values from this share of the largest on count */
} az_zeroth_how;
/* Tokens of the lesson whose target is not the likeliest; and the sum over its sequences of 1 - F1 of a greedy answer in the place of the
 * last response. */
double az_zeroth_misses(az_ctx *az, const az_lm *lm, const az_lm_lesson *lesson, const az_lm_run *run);
double az_zeroth_answer_misses(az_ctx *az, const az_lm *lm, const az_lm_lesson *lesson, const az_adapter *adapter);
/* 2 |a and b| / (n + m) of two bags of tokens [n], [m]; 1 when both are empty. Sorts them. */
double az_zeroth_f1(int32_t *a, int64_t n, int32_t *b, int64_t m);
bool az_tune_zeroth(az_ctx *az, az_tune_job *job, const az_zeroth_how *how);
/* az_method.makes_model of methods whose options begin with az_zeroth_options. */
bool az_zeroth_makes_model(const void *options);

/* ---- the record of a run (zeroth_log.c) ---- */

/* JSON lines: {"method", "options", "seed", "parameters", "queries"}, then {"step", "lr", "kappa": [...]} for each step. */
bool az_zeroth_log_write(az_ctx *az, const char *path, const char *identity, int queries, const az_zo_record *record, int64_t n);
/* Fails when it is of another run than `identity`. */
az_zo_record *az_zeroth_log_read(az_ctx *az, const char *path, const char *identity, int queries, int64_t *n);

#endif
