/* method.h - what a method is: one descriptor, one family, one entry point.
 *
 * A family is a verb of the command line and fixes the entry point's signature. A method is one file in its family's folder, one line in
 * src/registry.c, one test file and one claim. Methods never include each other: what two of them need moves down into a room below. */
#ifndef ADZE_METHOD_H
#define ADZE_METHOD_H

#include "adze/data.h"
#include "adze/backend.h"
#include "adze/lm.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum az_family {
    AZ_COMPRESS,
    AZ_TUNE,
    AZ_DECODE,
    AZ_PROMPT,
    AZ_STUDY,
    AZ_EVALUATE,
    AZ_FEDERATE,
    AZ_CONTINUAL,
    AZ_FORECAST,
    AZ_PREDICT,
    AZ_ESTIMATE,
    AZ_SOLVE,
    AZ_FAMILIES
} az_family;
const char *az_family_name(az_family family);

typedef struct az_method az_method;

/* Compress: changes lm's weights in place; documents (may be NULL unless the method needs them) are the calibration text. The method adds
 * rows to the section "layers" of report. lm is the caller's own copy. original is the model before the first method of the chain, whose
 * layers have the same names and shapes: a method that takes a mask over from the methods before it finds there what they dropped. NULL
 * means lm as it comes. */
typedef struct az_compress_job {
    az_lm *lm;
    const az_lm *original;
    const az_documents *calibration;
    az_report *report;
} az_compress_job;

/* Estimate: what a method reads. The command fills the slots from -d FILE, in their order ("-d y=FILE" names one), reads each file as its
 * kind says, and refuses too few and too many. A slot list ends with a NULL name. */
typedef enum az_input_kind {
    AZ_INPUT_TABLE,   /* az_table_read */
    AZ_INPUT_ARRAY,   /* az_array_read, without missing values */
    AZ_INPUT_HOLES,   /* az_array_read, with them */
    AZ_INPUT_TRIPLES, /* az_triples_read, base auto */
    AZ_INPUT_MODEL,   /* az_lm_load; the command finds bundled ones by their name where the file names its slot */
    AZ_INPUT_FILE     /* only the path: the method reads it itself (streams, states) */
} az_input_kind;
enum { AZ_ANY_NUMBER = 1 << 20 }; /* of files */
typedef struct az_input_slot {
    const char *name;
    az_input_kind kind;
    int least, most; /* how many files */
    const char *help;
} az_input_slot;

typedef struct az_input {
    const char *path;
    const az_table *table; /* the one that the kind names is set */
    const az_array *array;
    const az_triples *triples;
    const az_lm *lm;
} az_input;
typedef struct az_inputs {
    int count;
    const az_input *item; /* [count] */
} az_inputs;

/* The method fills report (what a reader sees) and results (what -o writes); either may be NULL. inputs has one entry a slot, in the
 * method's order. */
typedef struct az_estimate_job {
    const az_inputs *inputs;
    const az_table_how *how; /* for methods that read files themselves */
    const char *given;       /* the options as they were written, for az_options_given; NULL = none */
    az_report *report;
    az_results *results;
} az_estimate_job;
/* Reads the files of a method's slots: path[i] may begin with "slot=". NULL with an error. */
az_inputs *az_inputs_read(az_ctx *az, const az_method *method, const char *const *path, int count, const az_table_how *how);
/* The i-th file of a slot, NULL when there are not so many. */
const az_input *az_job_input(const az_estimate_job *job, int slot, int i);

/* What every method of the family tune is told about data and training; `adze tune` has these as options. */
typedef struct az_tune_settings {
    az_lm_train_settings training; /* batch = examples in a pass; length = longest example in tokens, 0 = the context */
    double epochs;                 /* where training.steps is 0: rounds through the examples */
    bool whole, last_only;         /* what counts: az_lm_example_options */
    const char *chat;
    int64_t validate_every, patience; /* az_lm_fit_plan; 0 validations = 20 over the run */
} az_tune_settings;
extern const az_option az_tune_options[];

/* Tune: makes lm answer as the examples do. lm is the caller's own copy. A method sets `adapter` to what it has made, in an arena of its
 * own, and leaves lm as it was, or sets it to the model that the adapter is for; or changes lm's weights and leaves adapter NULL. valid may
 * be NULL. train may be NULL for methods without needs_data. The report receives the section "training" and the curves. */
typedef struct az_tune_job {
    az_lm *lm;
    const az_examples *train, *valid;
    const az_tune_settings *settings;
    const char *model; /* the model's name as given, for the adapter's file */
    az_report *report;
    az_adapter *adapter; /* result */
} az_tune_job;

/* Prepare: makes examples, or measures a model, with the help of language models: `adze prepare INPUT METHOD --backend SPEC -o FOLDER/`.
 * What is done lies in journals in the folder, so that the same command goes on where it was stopped. */
typedef struct az_prepare_job {
    const char *input, *folder; /* JSON lines; the folder is there */
    az_backend *backend;        /* the model that is asked */
    az_backend *second;         /* another one (who judges, who checks), or NULL */
    az_backend *const *more;    /* [others] further ones beside the second, for methods that ask several */
    int others;
    bool dry_run; /* replies stand in for others: what they say means nothing, only the calls count */
    int64_t seed;
    az_report *report;
} az_prepare_job;

struct az_method {
    const char *name; /* as typed */
    az_family family;
    const char *summary; /* one line, lower case, no full stop */
    const char *paper;   /* title, venue, identifier */
    const char *details; /* a paragraph or two for `adze help NAME`: formula, when to use, what it needs */
    const char *example; /* every method has one: shell that works as it stands, behind what help prints for its files (cli/example.c) */
    const az_option *options;
    size_t options_size; /* of the struct that options describes */
    bool many;           /* prepare: several second models are asked together */
    bool needs_data;     /* compress: fails without calibration text */
    /* Compress: fails, before any work is done, when the options ask for what cannot be done to this model; NULL = nothing can be wrong. */
    bool (*check)(az_ctx *az, const void *options, az_lm *lm);
    bool (*compress)(az_ctx *az, const void *options, az_compress_job *job);
    bool (*tune)(az_ctx *az, const void *options, az_tune_job *job);
    /* Tune: whether these options make a changed model; NULL = always an adapter. */
    bool (*makes_model)(const void *options);
    bool (*prepare)(az_ctx *az, const void *options, az_prepare_job *job); /* tune */
    const az_input_slot *inputs;                                           /* estimate; NULL = none */
    bool (*estimate)(az_ctx *az, const void *options, az_estimate_job *job);
};

/* All methods, NULL-terminated, in the order of the catalogue (src/registry.c). */
const az_method *const *az_methods(void);
const az_method *az_method_by_name(const char *name);

/* A claim: the paper's headline at small scale, against the baselines it names. Runs on generated data, the bundled model, and the folder
 * that ADZE_DATA names when it is there. Fills report; returns the verdict. A claim that lacks its data fails with az_fail. */
typedef struct az_claim {
    const char *name;      /* of the method */
    const char *statement; /* what is claimed, one sentence that can be false */
    bool (*run)(az_ctx *az, az_report *report);
} az_claim;
const az_claim *const *az_claims(void);

#ifdef __cplusplus
}
#endif
#endif
