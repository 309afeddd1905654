/* base.h - what everything in adze stands on.
 *
 * A context (az_ctx) carries the error state, the memory scopes, the seed, the number of threads and the progress sink. It belongs to
 * one thread of control; the parallel loops inside the library are invisible from outside.
 *
 * Conventions that hold in every room:
 *  - Errors stick. The first failure stays in the context with what, where and why; functions whose operands are NULL return NULL (or
 *    false) and keep it. A page of mathematics is checked once, at its end, with az_ok().
 *  - Nothing in the library prints, exits or aborts.
 *  - Memory belongs to scopes. What is allocated inside a scope goes with it; there is no free() in method code.
 *  - A pointer returned by the library is owned by the library unless its comment says otherwise. */
#ifndef ADZE_BASE_H
#define ADZE_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define AZ_PRINTF(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#else
#define AZ_PRINTF(format_at, args_at)
#endif

/* ---- context and errors ------------------------------------------------------------------------------------------------------ */

typedef struct az_ctx az_ctx;

/* What a progress sink is told. `eta` is the estimated number of seconds left, negative while unknown. */
typedef struct az_progress_event {
    const char *task;    /* "training", "pruning block 3" */
    int64_t done, total; /* units of the task; total 0 = unknown */
    double seconds, eta; /* since the task began; left */
    const char *note;    /* "loss 1.234", or NULL */
    bool finished;       /* last event of this task */
} az_progress_event;

typedef struct az_settings {
    int threads;         /* 0 = OMP_NUM_THREADS or, without it, every core the process may use. OpenBLAS always has one */
    uint64_t seed;       /* key of all random numbers drawn by default */
    size_t memory_limit; /* bytes the context may hold at once; 0 = no limit. Beyond it allocations fail with AZ_NO_MEMORY */
    void (*progress)(const az_progress_event *event, void *user); /* NULL = silent */
    void *user;
} az_settings;

typedef enum az_status {
    AZ_OK = 0,
    AZ_BAD_INPUT, /* a file, a table, an option value: the user can mend it */
    AZ_BAD_CALL,  /* ranks or shapes that do not fit, a missing operand: the programmer can mend it */
    AZ_NO_MEMORY,
    AZ_IO,         /* the operating system refused: errno's text is in the message */
    AZ_NUMERIC,    /* NaN or infinity, a matrix that is not positive definite, no convergence */
    AZ_INTERRUPTED /* SIGINT or SIGTERM, once az_catch_interrupts has been called */
} az_status;

/* Opens a context. NULL settings mean all cores, seed 0, no limit, silence. Returns NULL only when memory is exhausted. */
az_ctx *az_open(const az_settings *settings);
/* Frees everything that was allocated through the context. NULL is allowed. */
void az_close(az_ctx *az);

bool az_ok(const az_ctx *az);
az_status az_status_of(const az_ctx *az);
/* The first error's text, "" when there is none. Valid until az_clear or az_close. */
const char *az_error(const az_ctx *az);
/* Records an error unless one is already there. Returns NULL, so that a function can `return az_fail(...)`. */
void *az_fail(az_ctx *az, az_status status, const char *format, ...) AZ_PRINTF(3, 4);
/* Prefixes the present error with where it happened: "reading 'm.gguf': ..." ; no effect when there is none. */
void az_fail_context(az_ctx *az, const char *format, ...) AZ_PRINTF(2, 3);
void az_clear(az_ctx *az);
/* A remark for the user that is not an error ("calibration text is shorter than asked: 37 of 128 sequences"); goes to the progress sink
 * as the note of an event whose task is "note". */
void az_note(az_ctx *az, const char *format, ...) AZ_PRINTF(2, 3);

int az_threads(const az_ctx *az);
uint64_t az_seed(const az_ctx *az);
const char *az_version(void);

/* ---- memory ------------------------------------------------------------------------------------------------------------------ */

/* Scopes nest. az_alloc takes from the innermost one; az_scope_pop frees all that was allocated since the matching push. A context
 * starts with one scope, which lives until az_close. Large blocks that are freed are kept in a pool and used again, so a loop that
 * allocates the same sizes in each turn reaches a steady state without calling the system. */
void az_scope_push(az_ctx *az);
void az_scope_pop(az_ctx *az);

/* An arena outlives scopes: long-lived objects (a model, a tape) keep their parts in one of their own. While it is entered, az_alloc
 * takes from it. Freed by az_arena_free, at the latest by az_close. */
typedef struct az_arena az_arena;
az_arena *az_arena_new(az_ctx *az);
void az_arena_free(az_ctx *az, az_arena *arena);
void az_arena_enter(az_ctx *az, az_arena *arena);
void az_arena_leave(az_ctx *az);

/* Zeroed, 64-byte aligned memory of the current scope; NULL with AZ_NO_MEMORY, or when an error is already there. */
void *az_alloc(az_ctx *az, size_t bytes);
/* count * size with overflow check. */
void *az_alloc_array(az_ctx *az, size_t count, size_t size);
char *az_strdup(az_ctx *az, const char *text);
bool az_ends_with(const char *text, const char *end);
char *az_format_text(az_ctx *az, const char *format, ...) AZ_PRINTF(2, 3);
/* Calls done(object) when the current scope (or arena) ends; for files, maps and other things that are not memory. */
bool az_on_leave(az_ctx *az, void (*done)(void *object), void *object);

/* A reference-counted block of memory, so that a result can outlive the scope that computed it and a view can share its parent's
 * data. Not zeroed. Born with one reference. */
typedef struct az_buffer {
    void *data;
    size_t bytes;
    /* private */
    int references;
    void (*release)(struct az_buffer *buffer); /* for memory that came from elsewhere (a mapped file) */
    void *owner;
    az_ctx *az;
} az_buffer;
az_buffer *az_buffer_new(az_ctx *az, size_t bytes);
/* Wraps memory that someone else owns; release(buffer) runs when the last reference goes (it may be NULL). */
az_buffer *az_buffer_wrap(az_ctx *az, void *data, size_t bytes, void (*release)(az_buffer *buffer), void *owner);
az_buffer *az_buffer_hold(az_buffer *buffer);
void az_buffer_drop(az_buffer *buffer);

/* Bytes held now, and the most ever held at once (mapped files excluded). Pooled blocks do not count as held. */
size_t az_memory_now(const az_ctx *az);
size_t az_memory_limit(const az_ctx *az); /* as the settings say; 0 = none */
size_t az_memory_peak(const az_ctx *az);
void az_memory_reset_peak(az_ctx *az);

/* ---- random numbers ---------------------------------------------------------------------------------------------------------- */

/* Philox4x32-10 (Salmon et al., SC 2011): a pure function of (seed, stream, index). A value can be regenerated from its key, and no
 * result depends on the number of threads. Streams keep independent uses apart: name them with az_stream("dropout", layer). */
typedef struct az_rng {
    uint64_t seed, stream, index; /* index of the next 128-bit block */
    uint32_t block[4];
    int left; /* unused words in block */
} az_rng;
void az_philox(uint64_t seed, uint64_t stream, uint64_t index, uint32_t out[4]);
uint64_t az_stream(const char *purpose, uint64_t number);
az_rng az_rng_at(uint64_t seed, uint64_t stream);
uint32_t az_random_bits(az_rng *rng);
double az_uniform(az_rng *rng);             /* [0, 1), 53 bits */
double az_normal(az_rng *rng);              /* mean 0, variance 1 */
uint64_t az_below(az_rng *rng, uint64_t n); /* 0 .. n-1, unbiased; n >= 1 */
void az_shuffle(az_rng *rng, int64_t *items, int64_t n);
/* Fills whose i-th value depends on (seed, stream, first + i) alone: any part can be made again, by any number of threads. */
void az_fill_uniform(az_ctx *az, uint64_t seed, uint64_t stream, uint64_t first, int64_t n, float *out);
void az_fill_normal(az_ctx *az, uint64_t seed, uint64_t stream, uint64_t first, int64_t n, float *out);

/* ---- option tables ----------------------------------------------------------------------------------------------------------- */

/* A struct of settings is described by a table; defaults, parsing, help, documentation, completion and JSON all come from it.
 * The fields have the C type given with each kind, which AZ_FIELD makes sure of. */
typedef enum az_option_type {
    AZ_INT,     /* int64_t */
    AZ_REAL,    /* double */
    AZ_BOOL,    /* bool; a bare name means true, "no-name" false */
    AZ_TEXT,    /* const char * */
    AZ_CHOICE,  /* int: index into choices */
    AZ_PATTERN, /* az_pattern: "2:4", or "none" */
    AZ_TEXTS    /* az_texts: may be given several times, each adds one; "" empties the list */
} az_option_type;

typedef struct az_pattern {
    int n, m;
} az_pattern; /* n of every m; {0, 0} = none */

typedef struct az_texts {
    int count, room;
    const char **item; /* [count] */
} az_texts;

typedef struct az_option {
    const char *name;
    az_option_type type;
    size_t offset;              /* of the field; AZ_FIELD gives both */
    const char *fallback;       /* the default, as text; NULL = required */
    double low, high;           /* inclusive range of AZ_INT and AZ_REAL, INFINITY = open; both 0 = any */
    const char *const *choices; /* AZ_CHOICE: NULL-terminated */
    const char *help;           /* one line, with the unit */
} az_option;                    /* a table ends with an entry whose name is NULL */

/* Type and offset of an entry: {"seed", AZ_FIELD(AZ_INT, struct, field), "0", ...}. It does not compile when the field has another C
 * type than that of the kind (an enumeration is an int here). */
#define AZ_FIELD(kind, owner, field) (kind), offsetof(owner, field) + 0 * sizeof(char[az_kind_of_(((owner *)0)->field) == (kind) ? 1 : -1])
#define az_kind_of_(lvalue)                                                                                                                \
    _Generic((lvalue),                                                                                                                 \
        int64_t: AZ_INT,                                                                                                               \
        double: AZ_REAL,                                                                                                               \
        bool: AZ_BOOL,                                                                                                                 \
        const char *: AZ_TEXT,                                                                                                         \
        int: AZ_CHOICE,                                                                                                                \
        unsigned: AZ_CHOICE,                                                                                                           \
        az_pattern: AZ_PATTERN,                                                                                                        \
        az_texts: AZ_TEXTS)

bool az_options_default(az_ctx *az, const az_option *table, void *settings);
/* Sets one option from text. `owner` names the table in messages ("maskpro"). */
bool az_options_set(az_ctx *az, const az_option *table, const char *owner, const char *name, const char *value, void *settings);
/* "name=value,name,no-name,..." on top of the defaults; fails on unknown names (and proposes the nearest), on repeated ones (except
 * AZ_TEXTS), on values out of range and on required ones that are missing. A value that contains a comma is written in double quotes. */
bool az_options_parse(az_ctx *az, const az_option *table, const char *owner, const char *text, void *settings);
/* The same on top of what `settings` holds, so that other values than those of the table can be the default. */
bool az_options_read(az_ctx *az, const az_option *table, const char *owner, const char *text, void *settings);
/* Whether a text that az_options_parse has taken sets an option, to whatever value: false means that it has its default. */
bool az_options_given(az_ctx *az, const az_option *table, const char *text, const char *name);
/* The value as text, in the current scope. */
const char *az_options_get(az_ctx *az, const az_option *option, const void *settings);
/* The table as aligned lines of help. */
void az_options_help(const az_option *table, FILE *out);
/* "int", "real", "bool", "text", "choice", "pattern", "texts". */
const char *az_option_type_name(const az_option *option);
/* "1 to 8", "at least 0"; "" when any value will do. In the current scope. */
const char *az_option_range(az_ctx *az, const az_option *option);
/* "(linear, cosine; default cosine)", "(1 to 8; required)" */
void az_option_print_limits(const az_option *option, FILE *out);
/* The word among n that a mistyped one most probably meant (edit distance with swaps); NULL when none is near. */
const char *az_nearest(const char *word, const char *const *words, int n);

/* ---- reports ----------------------------------------------------------------------------------------------------------------- */

/* What a method found: rows of named values, gathered in sections, and curves. The same report prints as tables, as JSON lines (one
 * object a row, keys as given, plus "section") and as a plot. Names are ASCII words with '_' and stay stable between versions. */
typedef struct az_report az_report; /* lives in the scope of az_report_new; the calls below take NULL and do nothing then */
az_report *az_report_new(az_ctx *az, const char *title);
/* Starts a row; rows of one section form one table. The value calls below fill the row that was started last. */
void az_report_row(az_report *report, const char *section);
void az_report_text(az_report *report, const char *key, const char *value);
void az_report_count(az_report *report, const char *key, int64_t value);
/* unit: "nat", "B", "s", "" ...; it stands in the table's head. NaN prints as "n/a" and is null in JSON. */
void az_report_number(az_report *report, const char *key, double value, const char *unit);
void az_report_bool(az_report *report, const char *key, bool value);
/* A curve of n points for --plot; curves of the same y_label share a picture. In JSON it is an object of the section "curves". */
void az_report_curve(az_report *report, const char *name, const char *x_label, const char *y_label, int64_t n, const double *x,
                     const double *y);
/* The n values y of the curve of that name, of the report; NULL when there is none. */
const double *az_report_curve_of(const az_report *report, const char *name, int64_t *n);
bool az_report_is_empty(const az_report *report); /* neither rows nor curves */
void az_report_print(const az_report *report, FILE *out);
void az_report_json(const az_report *report, FILE *out);
/* Writes the curves (or, without any, the numeric columns of the last section that has one as bars) to an .svg or .png through gnuplot. */
bool az_report_plot(const az_report *report, const char *path);
bool az_plot_check(az_ctx *az, const char *path); /* fails when the name does not end in .svg or .png */
/* The value of a key in the last row of a section, NaN when absent: for verdicts and tests. */
double az_report_value(const az_report *report, const char *section, const char *key);

/* ---- progress and interruption ----------------------------------------------------------------------------------------------- */

/* Tells the sink, at most ten times a second. Returns false once the job should stop (Ctrl-C): finish the step, keep what is done. */
bool az_progress(az_ctx *az, const char *task, int64_t done, int64_t total, const char *note);
/* Makes SIGINT and SIGTERM set the flag that az_progress and az_interrupted report. A second one, 0.3 s after it or
 * later, ends the process as usual. */
void az_catch_interrupts(void);
bool az_interrupted(const az_ctx *az);
double az_seconds(void); /* monotonic clock */

/* ---- files ------------------------------------------------------------------------------------------------------------------- */

/* A file that appears whole or not at all: written without a name (or, where the file system cannot, under a temporary one beside the
 * target), synced and renamed by az_commit, which refuses while the context holds an error; dropped when the scope ends without it.
 * "-" is the standard output; it, pipes and devices are written to directly. */
typedef struct az_out az_out;
az_out *az_create(az_ctx *az, const char *path);
FILE *az_out_stream(az_out *out);
/* Behind what the stream holds. The system begins to bring large data to the disk while the next are made. */
bool az_out_write(az_out *out, const void *data, size_t bytes);
bool az_commit(az_out *out);

/* A read-only view of a whole file, mapped into memory; unmapped with the current scope or arena. */
typedef struct az_map {
    const unsigned char *data;
    size_t size;
    const char *path;
} az_map;
az_map *az_map_file(az_ctx *az, const char *path);
/* Gives back the memory of whole pages between data and data + bytes where they are of such a view: they are read again if need be. Memory
 * of another kind stays as it is. */
void az_map_forget(az_ctx *az, const void *data, size_t bytes);
/* The same as memory of one's own, until the last reference goes: pages that are written are copied first, the file stays as it is. It
 * does not count as held memory. */
az_buffer *az_buffer_file(az_ctx *az, const char *path);
/* Zeroed memory that lies in a file without a name in `folder` and goes with the last reference: for arrays larger than the machine's
 * memory. It does not count as held memory. */
az_buffer *az_buffer_scratch(az_ctx *az, const char *folder, size_t bytes);
/* The whole file as zero-terminated text (gzip is undone, at most 4 GiB of it; a byte order mark is left out; "-" is the standard input);
 * its length goes to *length when that is not NULL. */
char *az_read_file(az_ctx *az, const char *path, size_t *length);
/* Whether the bytes are UTF-8 without zero bytes; *where (or NULL) is the first that is not. */
bool az_is_utf8(const char *text, size_t length, size_t *where);
/* The text itself when it is UTF-8; otherwise its bytes read as Latin-1, in the current scope, and *length changed. */
const char *az_utf8(az_ctx *az, const char *text, size_t *length);
bool az_is_folder(const char *path);
bool az_is_file(const char *path); /* a regular one, or a link to one: looking at a pipe would wait for its other end */
/* With its parents; one that exists is fine. Folders that it made and that are empty when the scope ends with an error are removed then. */
bool az_make_folder(az_ctx *az, const char *path);

/* ---- processor --------------------------------------------------------------------------------------------------------------- */

typedef struct az_cpu {
    bool avx2, f16c, fma, avx512 /* f, bw, dq, vl */, vnni, vbmi2, bitalg, amx, neon;
    int cores; /* that the process may use: by its affinity and the quotas of its control groups */
} az_cpu;
/* What this machine can run, found once. ADZE_ISA in the environment turns extensions off: portable all, avx2 and avx512 what comes after.
 */
const az_cpu *az_cpu_features(void);

#ifdef __cplusplus
}
#endif
#endif
