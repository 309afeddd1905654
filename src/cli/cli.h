/* cli.h - what the verbs of the command share.
 *
 * A verb is a file of this folder and a line in main.c. It describes its options by tables, like a method; parsing, --help, the manual and
 * the completion are made from them. It fills job->report, which main prints as tables or JSON lines and draws for --plot. */
#ifndef ADZE_CLI_H
#define ADZE_CLI_H

#include "adze/adze.h"

/* Exit codes. BUDGET: a limit of calls, tokens or cost ended the work. INTERRUPTED is what a shell expects after Ctrl-C. */
enum { CLI_OK = 0, CLI_NEGATIVE = 1, CLI_BAD = 2, CLI_BUDGET = 3, CLI_INTERRUPTED = 130 };

/* Options that every verb has. */
typedef struct cli_common {
    bool json, quiet, help;
    const char *plot;      /* "" = none */
    int64_t seed, threads; /* threads 0 = every core */
    double memory;         /* limit in GiB, 0 = none */
    int progress;          /* cli_progress */
} cli_common;
typedef enum cli_progress { CLI_PROGRESS_AUTO, CLI_PROGRESS_BAR, CLI_PROGRESS_JSON, CLI_PROGRESS_NONE } cli_progress;
extern const az_option cli_common_options[];

/* A table of options and where in the verb's settings its struct lies. A list of groups ends with a NULL table. */
typedef struct cli_group {
    const char *title;
    const az_option *table;
    size_t offset;
} cli_group;

typedef struct cli_verb cli_verb;

typedef struct cli_job {
    az_ctx *az;
    const cli_verb *verb;
    const cli_common *common;
    const char *const *word; /* what stands on the line besides options */
    int words;
    const char *reads[4]; /* files that options name, which no result may be written over */
    int n_reads;
    az_report *report;
    bool plotted;     /* --plot is served already */
    bool found;       /* the report holds, even when what comes after it fails: writing the result */
    bool streams_out; /* the result itself goes to the standard output, so the report goes to the standard error */
} cli_job;

struct cli_verb {
    const char *name, *summary; /* summary: one line, lower case, no full stop */
    const char *usage;          /* what follows "adze NAME" */
    const char *details;        /* a paragraph or two of help */
    const cli_group *groups;    /* NULL = only the common options */
    cli_group inside;           /* options written inside a word, "llama:width=64"; NULL table = none */
    size_t settings_size;       /* of the struct that the groups describe */
    int min_words, max_words;   /* max -1 = any number */
    const char *words;          /* for completion: what may stand on the line besides files and methods; NULL = nothing */
    bool streams;               /* prints as it goes: no bar where it would run through the text */
    int (*run)(cli_job *job, const void *settings);
};

extern const char cli_bundled[]; /* the names of the bundled models, as such words */

/* Every verb, NULL-terminated, in the order of help; by name, NULL when there is none. */
enum { CLI_MOST_VERBS = 64 };
extern const cli_verb *const cli_verbs[]; /* NULL-terminated */
const cli_verb *cli_verb_by_name(const char *name);

/* ---- arguments.c ---- */

typedef struct cli_line {
    cli_common common;
    void *settings;
    const char **word;
    int words;
} cli_line;
/* Reads the arguments after the verb. Fails on unknown options, missing values and a wrong number of words (unless --help is among them).
 */
bool cli_parse(az_ctx *az, const cli_verb *verb, int argc, char **argv, cli_line *line);
/* The letter that stands for an option's name, 0 when there is none. */
char cli_letter(const char *option);
/* "name:options" -> the method and its settings; fails on unknown names and proposes the nearest. */
const az_method *cli_method(az_ctx *az, const char *word, void **settings);

/* ---- console.c ---- */

/* The progress sink that the common options ask for; NULL = silence. */
void (*cli_progress_sink(const cli_common *common, bool streams))(const az_progress_event *event, void *user);
/* "adze: ..." on the standard error, after the progress bar is wiped away. */
void cli_complain(const char *format, ...) AZ_PRINTF(1, 2);
/* A remark for the reader on the standard error; silent with --quiet. */
void cli_remark(const cli_job *job, const char *format, ...) AZ_PRINTF(2, 3);

/* ---- models.c ---- */

/* A model's file: the name itself, or a bundled model's name ("tales"), looked for in $ADZE_MODELS and beside the program. */
const char *cli_model_path(az_ctx *az, const char *name);
az_lm *cli_load(cli_job *job, const char *name);
/* The tokenizer of a model, or of files that hold a tokenizer alone. */
az_tokenizer *cli_load_tokenizer(cli_job *job, const char *name);
/* The adapter in a folder, for this model; NULL without failing for "". */
const az_adapter *cli_load_adapter(cli_job *job, const az_lm *lm, const char *folder);
/* Fails early when a result could not be written there. */
bool cli_check_output(az_ctx *az, const char *path);
bool cli_check_folder(az_ctx *az, const char *path); /* the same for a folder, new or old */
/* The same for a model, which is not written over where it is read: names that end in .gguf, the standard output and files that exist
 * become GGUF, other names folders. */
bool cli_check_model(cli_job *job, const char *path);
/* Fails when a word of the line, or a file that cli_reads told, is the same file or folder: methods to come may need the weights as they
 * were, and nobody wants his data gone. */
bool cli_check_unread(const cli_job *job, const char *path);
/* Whether the file or folder of that name can hold a model of this configuration; to be asked before the work. */
bool cli_check_fit(az_ctx *az, const az_lm *lm, const char *path);
void cli_reads(cli_job *job, const char *path); /* "" and "-" are no files */
/* Fails when both name the same file or folder. */
bool cli_check_other(az_ctx *az, const char *path, const char *read);
bool cli_save_model(az_ctx *az, const az_lm *lm, const char *path, const az_format *format);
/* Whether the path is the standard output, "-". */
bool cli_is_stdout(const char *path);
/* Where the report of the job goes. */
FILE *cli_report_stream(const cli_job *job);
/* A format by name; fails and proposes the nearest. NULL without failing for "" (keep as it is). */
const az_format *cli_format(az_ctx *az, const char *name);

/* ---- scratch.c ---- */

/* Where a dry run works: a temporary copy of the file, or of the files in the folder, if there are any; removed with the scope. A path that
 * does not exist is taken for a file. */
const char *cli_scratch_copy(az_ctx *az, const char *path);

/* ---- environment.c ---- */

/* Starts the command once more with an environment in which idle threads sleep soon and BLAS knows the processor; returns if it has one, or
 * cannot. */
void cli_prepare_environment(char **argv);

/* ---- spectra.c ---- */

/* `adze info --spectra`: sections "spectra" and, where data is not "", "gradients" and "checkpoints". */
typedef struct cli_spectra {
    const char *data;            /* text whose loss is differentiated */
    const char *checkpoints;     /* names of earlier models, separated by commas; needs data */
    int64_t top, batches, batch; /* singular values of the share; gradients; sequences of each */
} cli_spectra;
bool cli_report_spectra(cli_job *job, az_lm *lm, const cli_spectra *how);

/* ---- prompt.c ---- */

/* A backend, a local one's model found as cli_model_path finds models. replies: the cache where the settings name none; may be NULL. */
az_backend *cli_open_backend(az_ctx *az, const char *spec, const az_backend_settings *settings, const char *replies);
/* Tells the budget's error, and clears it: the exit code. */
int cli_out_of_budget(cli_job *job);

/* ---- score.c ---- */

extern const az_option cli_score_options[]; /* of az_lm_score_options */
/* Tells when predictions are asked to look back on more tokens than the model can. */
void cli_note_context(az_ctx *az, const az_lm *lm, const az_lm_score_options *how);
/* perplexity, perplexity_low, perplexity_high, nll, nll_se, tokens, documents */
void cli_report_score(az_report *report, const az_lm_score *score);
/* The mean log-loss of a minus that of b on the same documents, with its 95 % interval. */
typedef struct cli_difference {
    az_estimate estimate;
    const char *unit; /* "nat/token"; "nat/byte" for models with different tokens */
} cli_difference;
/* False (without an error) when the two scores cannot be paired. */
bool cli_score_difference(az_ctx *az, const az_documents *documents, const az_lm_score *a, const az_lm_score *b, cli_difference *out);
/* difference, se, low, high */
void cli_report_difference(az_report *report, const cli_difference *difference);

/* ---- help.c, help_json.c, manual.c ---- */

void cli_print_usage(FILE *out);
void cli_print_verb(const cli_verb *verb, FILE *out);
/* "  -p, --prompt=text": how an option is typed. */
void cli_option_text(const az_option *option, char *out, size_t size);
/* Whether more is to be said than its help: a range, choices, a default. */
bool cli_has_limits(const az_option *option);
/* Whether every verb has an option of that name; such a one is told of once, behind those of the verb. */
bool cli_is_common(const az_option *option);
/* One object with name, summary, usage, details, options and inside (those written inside a word); of a method with name, family, summary,
 * paper, example, needs_data, files (name, least, most, help) and options. An option has name, type, default, range, choices and help. */
void cli_verb_json(az_ctx *az, const cli_verb *verb, FILE *out);
void cli_method_json(az_ctx *az, const az_method *method, FILE *out);
/* The verbs that take methods, and which method each takes; the verbs of a method, "tune, prepare". */
extern const char *const cli_method_verbs[];
bool cli_takes(const char *verb, const az_method *method);
void cli_print_method_verbs(const az_method *method, FILE *out);
/* The example of a method, a line each behind `indent`; first come the commands that make the files it reads. */
void cli_print_example(const az_method *method, const char *indent, FILE *out);
void cli_print_manual(FILE *out);
void cli_print_completion(FILE *out);
void cli_print_version(FILE *out);

/* ---- the verbs ---- */

extern const cli_verb cli_run, cli_train, cli_tune, cli_adapter, cli_tokenize, cli_corpus, cli_info, cli_convert, cli_evaluate,
    cli_compress, cli_prompt, cli_prepare, cli_estimate, cli_methods, cli_help, cli_claim;

#endif
