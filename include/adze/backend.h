/* backend.h - one interface to every language model: the local engine, servers, programs, recordings and simulated models; with a cache of
 * replies, a budget, templates, parsers of replies, and a sandbox for programs that models write.
 *
 * A request is plain data. What is asked of a backend is answered from the cache where it can be, else by its engine, and kept. */
#ifndef ADZE_BACKEND_H
#define ADZE_BACKEND_H

#include "adze/lm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- requests and replies ---------------------------------------------------------------------------------------------------- */

typedef enum az_operation {
    AZ_CHAT,     /* messages -> the text of the next turn */
    AZ_COMPLETE, /* prompt -> its continuation */
    AZ_SCORE,    /* prompt, continuation -> log P(continuation | prompt), token by token */
    AZ_NEXT,     /* messages or prompt -> the most likely next tokens with their log-probabilities */
    AZ_EMBED,    /* prompt -> a vector of length 1 */
    AZ_OPERATIONS
} az_operation;
const char *az_operation_name(az_operation operation); /* "chat", "complete", "score", "next_logprobs", "embed" */

/* A piece of a message: a text, or an image as az_image_url gives it; the other is NULL. */
typedef struct az_part {
    const char *text, *image;
} az_part;
typedef struct az_message {
    const char *role, *text; /* role: "system", "user", "assistant" */
    const az_part *part;     /* [parts] what stands in the text's place, in this order; parts 0 = the text alone */
    int parts;
} az_message;
typedef struct az_messages {
    az_message *item;
    int n;
} az_messages;
/* A PNG, JPEG, GIF or WebP file of at most 20 MiB as a data URL; an address (http://, https://) or a data URL as it is. */
const char *az_image_url(az_ctx *az, const char *reference);

typedef struct az_logit_bias {
    int32_t token;
    double bias;
} az_logit_bias;

/* Zero means: model of the backend; temperature 0 (the most likely tokens); top_p and top_k off; one sample. */
typedef struct az_request {
    az_operation operation;
    const char *model;
    const az_message *message;
    int messages;
    const char *prompt;
    const char *continuation; /* AZ_SCORE */
    int64_t max_tokens;       /* of a sample; required for AZ_CHAT and AZ_COMPLETE */
    double temperature, top_p;
    int64_t top_k, seed;
    const char *const *stop; /* texts that end a sample; they are not part of it */
    int stops;
    int first, samples; /* samples first .. first + samples - 1: asking 16 after 8 costs 8 */
    int top;            /* AZ_NEXT: how many tokens; 0 = 20 */
    const az_logit_bias *bias;
    int biases;
    const char *stage; /* whom the call is counted for in the report; not part of the question */
} az_request;

typedef struct az_next_token {
    const char *text;
    double log_probability;
} az_next_token;

typedef struct az_answer {
    const char *text;    /* AZ_CHAT, AZ_COMPLETE */
    const char *finish;  /* "stop" or "length" */
    const char *failure; /* why there is no answer, when this request alone failed; NULL = there is one */
    int64_t prompt_tokens, completion_tokens;
    bool estimated; /* the counts are */
    bool cached;
    double milliseconds;     /* what the engine took */
    int n;                   /* of the arrays below */
    double *log_probability; /* AZ_SCORE: [n] of the continuation's tokens */
    double total;            /* AZ_SCORE: their sum */
    az_next_token *next;     /* AZ_NEXT: [n] most likely first */
    float *vector;           /* AZ_EMBED: [n] */
} az_answer;

typedef struct az_reply {
    int n; /* samples */
    az_answer *sample;
    char key[65]; /* of the request, in hexadecimal */
} az_reply;

/* The request as canonical JSON (sorted keys, no spaces, %.17g): equal questions are equal texts. For an image stands the SHA-256 of its
 * bytes, or its address. Fails on numbers that are not finite, on
 * texts that are not UTF-8 and on operands that are missing. `model` is the identity of the model. */
char *az_request_json(az_ctx *az, const az_request *request, const char *model);
/* SHA-256 in hexadecimal. */
void az_sha256(const void *data, size_t bytes, char hex[65]);
/* The seed of a call: the first 8 bytes of SHA-256(seed, stage, id, sample). */
int64_t az_call_seed(int64_t seed, const char *stage, const char *id, int64_t sample);
/* The probability of a class among the next tokens: the sum over its spellings x, " x", with a small and with a capital first letter.
 * *found (may be NULL) tells whether any is listed; else the result is the least probability listed, an upper bound. */
double az_next_mass(const az_answer *answer, const char *word, bool *found);

/* ---- backends ---------------------------------------------------------------------------------------------------------------- */

typedef enum az_capability {
    AZ_CAN_CHAT = 1,
    AZ_CAN_COMPLETE = 2,
    AZ_CAN_SCORE = 4,
    AZ_CAN_NEXT = 8,
    AZ_CAN_EMBED = 16,
    AZ_CAN_BIAS = 32,
    AZ_CAN_SEED = 64,     /* equal seeds give equal samples */
    AZ_CAN_INSPECT = 128, /* az_backend_model: hidden states, attention, gradients */
    AZ_CAN_IMAGES = 256   /* messages may hold images: servers, and recordings of them */
} az_capability;

/* SPEC is one of
 *   local:MODEL[?ctx=N&chat=auto|raw|FORM&adapter=FOLDER]  the project's own engine; raw = the texts of the messages one after the other
 *   http://HOST/v1#MODEL, https://...       a server that speaks OpenAI's protocol
 *   replay:FILE                             recorded replies (a cache, or its export .jsonl); a question that is not there is an error
 *   oracle:NAME[?parameter=value&...]       a simulated model, of known accuracy
 *   exec:PROGRAM                            a program: one request as a line of JSON in, one reply as a line out
 * The key of a server comes from the environment and is neither stored nor told: where a reply repeats a key of 12 bytes or more, it is
 * struck out. Tokens that an engine does not count are estimated, four bytes each, an image as 1024. */
typedef struct az_backend_settings {
    const char *key_env; /* name of the variable; NULL = ADZE_API_KEY */
    const char *cache;   /* SQLite file of replies; NULL or "" = none */
    const char *prices;  /* JSON file {"MODEL": {"prompt": P, "completion": C}}, per million tokens; NULL or "" = none */
    double max_cost;     /* 0 = no limit, as the next two */
    int64_t max_calls, max_tokens;
    int64_t jobs;         /* requests under way at once to a server; 0 = 4 */
    double timeout, wait; /* s: of a call (0 = 120); the first wait before a retry (0 = 1), doubled by each further one */
    double calls_per_minute, tokens_per_minute; /* 0 = no limit */
    bool replay;                                /* answer from the cache only */
    bool dry_run;                               /* ask nothing: see below */
    const az_adapter *adapter;                  /* beside the local model, or NULL */
} az_backend_settings;
extern const az_option az_backend_options[];

/* A question as one text. */
typedef struct az_call_text {
    const az_request *request;
    const char *text;
    int sample;
} az_call_text;

typedef struct az_backend az_backend; /* lives in the scope that opened it */
az_backend *az_backend_open(az_ctx *az, const char *spec, const az_backend_settings *settings);
/* The same on a model in memory, which may change between calls. identity: what its replies are kept under; NULL = they are not kept.
 * chat: as in SPEC, NULL = auto. */
az_backend *az_backend_of_model(az_ctx *az, const az_lm *lm, const char *chat, const char *identity, const az_backend_settings *settings);
/* A backend whose answers are a function's: simulated models, and tests. text: the messages' texts, or the prompt. The function fills the
 * answer in the current scope; its draws come from az_call_seed or the like, so that equal questions have equal answers. */
typedef bool (*az_answer_function)(az_ctx *az, const az_call_text *call, az_answer *answer, void *user);
az_backend *az_backend_of_function(az_ctx *az, az_answer_function function, void *user, const char *identity,
                                   const az_backend_settings *settings);
unsigned az_backend_capabilities(const az_backend *backend);
/* Fails, before the first call, when the backend lacks one of the capabilities that `who` needs. */
bool az_backend_need(az_backend *backend, unsigned capabilities, const char *who);
const az_lm *az_backend_model(const az_backend *backend); /* NULL unless AZ_CAN_INSPECT */
const char *az_backend_identity(const az_backend *backend);

/* Answers n requests, with up to `jobs` under way at once; reply[i] belongs to request[i], in the current scope. What hinders one request
 * only (a reply that cannot be read, no answer after six tries, a prompt beyond the context) is that sample's `failure`; what would
 * hinder all (a server that cannot be reached, a refused key, an unknown model, a recording without the question, the budget) is an
 * error. Every answer is in the cache as soon as it is there. */
bool az_backend_ask_all(az_backend *backend, const az_request *request, int n, az_reply *reply);
az_reply *az_backend_ask(az_backend *backend, const az_request *request);
/* In a dry run the engine is not asked. What the cache has not is answered by a text of as many tokens as the reply may have, which tells
 * its own request from others and is not kept; it is counted like a reply of that length, so that usage and costs are upper bounds for
 * the calls made. Calls that only real replies lead to are not among them. */

/* Asks one sample and has `parse` read it; when that returns false, asks the next sample, at most `again` times more. Returns the last
 * answer; done tells whether it could be read. NULL with an error. */
typedef struct az_reading {
    int again;
    bool (*parse)(az_ctx *az, const az_answer *answer, void *user);
    void *user;
    bool done;
} az_reading;
const az_answer *az_backend_ask_parsed(az_backend *backend, const az_request *request, az_reading *reading);

/* Whether the error that is there is the budget's: what is done is kept, and a larger budget goes on. */
bool az_backend_exhausted(const az_backend *backend);
typedef struct az_usage {
    int64_t calls, cached_calls, failed_calls, prompt_tokens, completion_tokens;
    double cost, cached_cost; /* NaN when the price is not known */
    bool estimated;
} az_usage;
az_usage az_backend_usage(const az_backend *backend);
/* Section "calls": a row for each stage, with the latencies' quantiles. */
void az_backend_report(const az_backend *backend, az_report *report);

/* ---- the record of a run ------------------------------------------------------------------------------------------------------ */

/* Settings under a name, as their table tells them. */
typedef struct az_run_settings {
    const char *name;
    const az_option *table;
    const void *settings;
} az_run_settings;
typedef struct az_run_record {
    const char *task;                /* "prepare lacie" */
    const char *status;              /* "done", or what ended it */
    const char *input;               /* the file that was read, or NULL */
    const az_run_settings *settings; /* [n_settings] */
    int n_settings;
    const az_backend *const *backend; /* [backends] who was asked; NULL entries are left out */
    int backends;
    int64_t seed;
} az_run_record;
/* Adds an entry to the list "runs" of a JSON file, which is made where there is none: version, time, task, seed, the input with its
 * SHA-256, all settings with the SHA-256 of all this ("config_sha256"), and of each backend its model, identity and usage, stage by stage.
 * Keys of servers are not among the settings, only the name of their variable. */
bool az_run_record_add(az_ctx *az, const az_run_record *record, const char *path);

/* ---- benchmarks of mathematical questions ---------------------------------------------------------------------------------------- */

typedef struct az_math_how {
    int64_t max_tokens;   /* of an answer */
    const char *template; /* that inserts {{question}}; NULL = the built-in one, "math" */
} az_math_how;
/* Asks every question of a file ({"id", "question", "answer", "year", "month", "answer_type"}) for an answer in \boxed{} and compares it
 * with the answer (az_answers_equal; without a box the last number counts). `predictions` is a journal with a line a question, which also
 * has "ok", "prediction" and "correct". The report receives the accuracy, overall and by kind of answer, with Wilson's intervals. */
bool az_math_evaluate(az_backend *backend, const char *questions, const char *predictions, const az_math_how *how, az_report *report);
/* What a question is asked as; template as above. */
az_messages *az_math_prompt(az_ctx *az, const char *template, const char *question);
/* Accuracy by month of such predictions; before a month (12 year + month - 1) and from it on; and whether it falls with time: the slope per
 * month of a logistic regression that also has the kinds of answers, so that a month of harder kinds is no decay. */
bool az_math_decay(az_ctx *az, const char *predictions, int64_t month, az_report *report);

/* ---- the cache of replies, as a file ------------------------------------------------------------------------------------------ */

/* SQLite, write-ahead log: several processes may share one. Rows are (key, sample). */
typedef struct az_cache_size {
    int64_t replies, vectors, bytes;
} az_cache_size;
bool az_cache_stat(az_ctx *az, const char *path, az_cache_size *size, az_report *report); /* report: a row for each model; may be NULL */
/* JSON lines, one a row; ascending by key. Returns the number of rows, -1 on an error. */
int64_t az_cache_export(az_ctx *az, const char *path, FILE *out);
/* Adds the rows of an export; fails on lines whose key is not the hash of their request. */
int64_t az_cache_import(az_ctx *az, const char *path, const char *lines);

/* ---- what a reply holds -------------------------------------------------------------------------------------------------------- */

/* All return a copy in the current scope, or NULL (without an error) when it is not there. */
char *az_find_fence(az_ctx *az, const char *text, const char *language); /* the first fenced block; language NULL = any */
char *az_find_json(az_ctx *az, const char *text);                        /* the first balanced object or list that parses */
char *az_find_label(az_ctx *az, const char *text, const char *label);    /* what follows "label:" on a line that begins with it */
char *az_find_boxed(az_ctx *az, const char *text, bool last);            /* inside \boxed{...}, braces balanced */
char *az_find_number(az_ctx *az, const char *text);                      /* the last number, as written */
/* The items of a numbered list (lines that begin with digits and "." or ")"), up to `most`. */
int az_find_list(az_ctx *az, const char *text, char **item, int most);
/* Which of the choices a text names: exactly, then without regard to case, then as whole words. -1 none, -2 ambiguous. */
int az_find_choice(const char *text, const char *const *choice, int n);

/* ---- sandbox ------------------------------------------------------------------------------------------------------------------ */

/* Runs a program that nobody has read. bubblewrap gives it namespaces of its own (no network, no other processes), a read-only view of the
 * system's programs, an empty environment and an empty folder; limits bound time, memory, output, files and processes. This contains
 * accidents; it is no wall against a determined adversary. */
typedef struct az_file_text {
    const char *name, *text; /* a plain name, without folders */
} az_file_text;
typedef struct az_program {
    const char *const *argv; /* ends with NULL; argv[0] is looked for in /usr/bin and /bin; no shell */
    const char *input;       /* the standard input; NULL = empty */
    const az_file_text *file;
    int files;              /* written into its folder first */
    double seconds;         /* of processor time; 1.5 times that by the clock; 0 = 5 */
    int64_t memory, output; /* bytes: address space (0 = 512 MiB); of each stream and file (0 = 1 MiB) */
    int processes;          /* at once; 0 = 32 */
} az_program;
typedef enum az_outcome_kind { AZ_RAN, AZ_PROGRAM_FAILED, AZ_PROGRAM_TIMEOUT, AZ_PROGRAM_MEMORY, AZ_PROGRAM_OUTPUT } az_outcome_kind;
typedef struct az_outcome {
    az_outcome_kind kind; /* AZ_RAN: it ended by itself with status 0 */
    int status;           /* exit status, 128 + signal */
    char *out, *err;      /* at most `output` bytes of each */
    double seconds;
} az_outcome;
const char *az_outcome_name(az_outcome_kind kind);
/* Fails when bubblewrap is not installed or the program is not there. */
az_outcome *az_sandbox_run(az_ctx *az, const az_program *program);
bool az_sandbox_has(az_ctx *az, const char *program, const char *package); /* fails, and names the package, when it is not installed */

/* ---- simulated models ----------------------------------------------------------------------------------------------------------- */

/* "oracle:NAME?parameter=value" is a model whose behaviour is known in law. It reads nothing but the text of the question, finds the right
 * answer by an algorithm, and spoils it by draws that SHA-256(seed, name, text, sample) decides; `seed` is a parameter of each. Where the
 * law of its answers is a list, it gives scores and next tokens, too: an answer counts as one token, and one that never comes has
 * AZ_ORACLE_NEVER. What its texts have to look like stands in the files of src/lm/backend/oracle/ and in `adze prompt oracle`. */
#define AZ_ORACLE_NEVER (-100.0) /* nat */
enum { AZ_EXPECTATIONS = 4 };
typedef struct az_expectation {
    const char *name; /* "accuracy" */
    double value;
} az_expectation;
/* What is expected of a simulated model by law under the parameters of "NAME?parameter=value": their number, at most AZ_EXPECTATIONS, the
 * first being what it is judged by; 0 with an error for an unknown name or parameter. */
int az_oracle_expect(az_ctx *az, const char *spec, az_expectation expect[AZ_EXPECTATIONS]);
/* Section "oracles": a row for each parameter of each simulated model, its default, range and meaning. */
void az_oracle_list(az_report *report);

/* ---- retrieval ---------------------------------------------------------------------------------------------------------------- */

/* Texts that are found by a question. Words are those of az_word_columns, all of them; f(t,d) is how often word t occurs in text d, df(t)
 * in how many of the N texts it occurs, |d| the number of words. AZ_FIND_BM25    sum over the question's words of idf f (k1 + 1) / (f + k1
 * (1 - b + b |d| / mean |d|)), idf = ln(1 + (N - df + 1/2) / (df + 1/2)); with okapi ln((N - df + 1/2) / (df + 1/2)), where negative ones
 * become a quarter of the mean over all words (Robertson and Zaragoza, 2009; the second as rank_bm25 has it) AZ_FIND_TFIDF   cosine of the
 * vectors f (1 + ln((1 + N) / (1 + df))), as scikit-learn's TfidfVectorizer has it AZ_FIND_DENSE   cosine of the vectors that a backend
 * gives (AZ_EMBED) */
typedef enum az_find_kind { AZ_FIND_BM25, AZ_FIND_TFIDF, AZ_FIND_DENSE } az_find_kind;
typedef struct az_find_how {
    az_find_kind kind;
    double k1, b;        /* of BM25: at least 0; from 0 to 1 */
    bool okapi;          /* BM25's older idf */
    az_backend *backend; /* who embeds; AZ_FIND_DENSE only */
    /* Maximal marginal relevance (Carbonell and Goldstein, 1998): each further text maximises relevance * score - (1 - relevance) * (its
     * largest cosine with those found before). 1 = by score alone; less is an error with BM25, whose scores are no cosines. */
    double relevance;
} az_find_how;
extern const az_option az_find_options[]; /* by, k1, b, okapi, relevance */
typedef struct az_found {
    int64_t text; /* its position */
    double score;
} az_found;
typedef struct az_finder az_finder; /* lives in the scope that made it */
/* Fails where there are no texts, or none has a word. */
az_finder *az_finder_new(az_ctx *az, const az_documents *texts, const az_find_how *how);
/* score[i] of text i, [texts->count]; 0 for all where the question has none of their words. */
bool az_find_scores(az_finder *finder, const char *question, double *score);
/* The best k texts, best first, equal ones in their order, without those for which left_out [texts->count] (NULL = none) is true. Returns
 * their number, which may be less than k, or -1 with an error. */
int64_t az_find(az_finder *finder, const char *question, const bool *left_out, int64_t k, az_found *found);

/* ---- templates --------------------------------------------------------------------------------------------------------------- */

/* Lines "@@system", "@@user", "@@assistant" open messages (without one the text is one user message); {{name}} inserts a variable, as it
 * is: neither names nor "@@" lines in it mean anything. {{#each name}} ... {{/each}} repeats for each object of a list, whose fields are
 * variables inside, with {{@index}} from 1. Lines may end in CRLF; a byte order mark is skipped. `variables` is a JSON object: texts are
 * inserted as they are, other values as JSON. A name that is unknown is an error, one that is not used is noted. */
az_messages *az_template_fill(az_ctx *az, const char *text, const char *variables);
/* The same without notes, for a template that is filled many times. */
az_messages *az_template_fill_again(az_ctx *az, const char *text, const char *variables);

/* The methods' own questions are templates, the files of share/templates, which the library holds: "lacie-listener". NULL, without an
 * error, where there is none of that name. */
const char *az_template_builtin(const char *name);
/* FOLDER/NAME.txt where the folder (NULL or "" = none) has it, else the built-in one. */
const char *az_template_named(az_ctx *az, const char *folder, const char *name);
/* Section "templates": the built-in ones. */
void az_template_list(az_report *report);

/* A template filled from every row; retrieved demonstrations become its variable "demos", a list for {{#each demos}}, the nearest one last.
 * A demonstration with the row's "id" or its text is not among the row's. */
typedef struct az_template_job {
    const char *text;                  /* of the template */
    const az_json_lines *rows, *demos; /* demos: NULL = none are looked for */
    const char *field;                 /* the text of rows and demonstrations that nearness is about */
    int64_t shots;                     /* demonstrations of a row, at most */
    const az_find_how *how;            /* NULL = BM25 */
} az_template_job;
/* Writes {"id", "messages": [{"role", "content"}, ...]} a row, as `adze tune` and az_examples_read take them. Their number, -1 with an
 * error that names the row. */
int64_t az_template_fill_rows(az_ctx *az, const az_template_job *job, FILE *out);

#ifdef __cplusplus
}
#endif
#endif
