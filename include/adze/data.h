/* data.h - text and tables that methods read, generators that make them, and the statistics that describe results. */
#ifndef ADZE_DATA_H
#define ADZE_DATA_H

#include "adze/linalg.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- documents --------------------------------------------------------------------------------------------------------------- */

typedef struct az_document {
    const char *text;
    size_t length;
} az_document;
typedef struct az_documents {
    int64_t count;
    az_document *item;
    bool separated; /* false: the file has no document marks and is one document */
    const char *path;
} az_documents;
/* Reads .txt (documents end at "<|endoftext|>"; white space around them is dropped, empty ones are skipped) or .jsonl / .json lines with a
 * "text" field (or "prompt" + "completion" or "response"); gzip is undone. Fails on files without text, on bytes that are not UTF-8 (names
 * the line) or zero, on lines without such fields. */
az_documents *az_documents_read(az_ctx *az, const char *path);
/* A deterministic split: document i goes to the second part with probability `share` (0 to 1) by (seed, i); the order is kept. A part may
 * be empty. */
bool az_documents_split(az_ctx *az, const az_documents *all, double share, uint64_t seed, az_documents **first, az_documents **second);

/* Words of documents: runs of at least two letters, digits and '_' (by Unicode), in lower case. A vocabulary is the words that count as
 * columns, in ascending order (strcmp). */
typedef struct az_word_columns_how {
    int64_t least_documents;  /* a word occurs in */
    double most_share;        /* of the documents that a word occurs in */
    int64_t most_words;       /* those in most documents stay; 0 = all */
    bool keep_function_words; /* "the", "of", "is" ...: English */
} az_word_columns_how;
typedef struct az_word_columns {
    int64_t count;
    const char **word; /* [count] */
    double *idf;       /* [count] log((1 + documents) / (1 + documents with the word)) + 1 */
} az_word_columns;
az_word_columns *az_word_columns_new(az_ctx *az, const az_documents *documents, const az_word_columns_how *how);
/* One row a document: how often each word occurs; with tfidf that times idf, in rows of length 1. Rows may be empty. */
az_matrix *az_word_rows(az_ctx *az, const az_word_columns *words, const az_documents *documents, bool tfidf);

/* ---- examples: prompts with their responses, and conversations -------------------------------------------------------------------- */

typedef struct az_turn {
    const char *role; /* "system", "user", "assistant", ...; "prompt", "response" and "text" outside of conversations */
    const char *text;
    size_t length;
} az_turn;
/* {"prompt", "response"} (or "completion", or "chosen", the better of a preference pair) is a turn "prompt" and a turn "response";
 * {"messages": [{"role", "content"}, ...]} its messages;
 * {"text"} one turn "text". */
typedef struct az_example {
    int turns;
    az_turn *turn;
    const char *messages; /* of a conversation: the list as JSON, for chat templates; NULL otherwise */
    const char *line;     /* the whole object as it stands in the file, for methods that read other fields */
} az_example;
typedef struct az_examples {
    int64_t count;
    az_example *item;
    const char *path;
} az_examples;
/* Reads JSON lines (gzip is undone; "-" is the standard input). Fails on bytes that are not UTF-8, lines that are not JSON objects of one
 * of those forms (names the line), conversations without an assistant's turn, and files without examples. */
az_examples *az_examples_read(az_ctx *az, const char *path);
/* As az_documents_split. */
bool az_examples_split(az_ctx *az, const az_examples *all, double share, uint64_t seed, az_examples **first, az_examples **second);
/* The turns "prompt" and "response" of example i, zero-terminated, in the current scope; NULL and an error that names the example when it
 * has no such turn or an empty one. */
const char *az_example_prompt(az_ctx *az, const az_examples *examples, int64_t i);
const char *az_example_response(az_ctx *az, const az_examples *examples, int64_t i);

/* ---- JSON lines: items with names, and files that grow with the work ------------------------------------------------------------- */

struct json_t; /* jansson's */
typedef struct az_json_line {
    int64_t number; /* of the line, from 1 */
    const char *id; /* the text or number of its identifying field; NULL when none was asked for */
    struct json_t *object;
} az_json_line;
typedef struct az_json_lines {
    int64_t count;
    az_json_line *item;
    const char *path;
} az_json_lines;
/* Every line an object; empty ones are skipped, CRLF and a byte order mark accepted. id: the field that names an item, each once (fails and
 * names both lines otherwise); NULL = none. skip_bad: lines that are no objects are left out and noted instead of an error that names
 * line and reason. Objects live in the current scope. */
az_json_lines *az_json_lines_read(az_ctx *az, const char *path, const char *id, bool skip_bad);
/* A string field of a line, NULL when it is not there. */
const char *az_json_line_text(const az_json_line *line, const char *field);

/* A file of results, one line an item, that is written as the work goes on: what is there already need not be done again. A half-written
 * last line and lines with "ok": false are dropped when it is opened. */
typedef struct az_journal az_journal; /* lives in the current scope */
az_journal *az_journal_open(az_ctx *az, const char *path, const char *id);
/* What the results depend on beside their items: settings, who is asked. Lines that are added from now on have its digest as "about"; fails
 * when there is one with another digest, whose result would be taken for what it is not. */
bool az_journal_about(az_journal *journal, const char *settings);
/* Fails when the item is known and the text in `field` is another: the file is about other items. */
bool az_journal_same(const az_journal *journal, const char *id, const char *field, const char *text);
/* What is known of the item, NULL = nothing yet. */
const struct json_t *az_journal_find(const az_journal *journal, const char *id);
/* Appends the object, which has the field `id`, and takes it over. It is with the system when this returns. */
bool az_journal_add(az_journal *journal, struct json_t *object);
/* Puts the lines into the order of the items, and leaves out those of no item; nothing is done where they are so already. */
bool az_journal_finish(az_journal *journal, const az_json_lines *items);

/* ---- answers to mathematical questions ----------------------------------------------------------------------------------------- */

typedef enum az_answer_kind { AZ_ANSWER_NUMBER, AZ_ANSWER_EQUATION, AZ_ANSWER_TUPLE, AZ_ANSWER_STRING } az_answer_kind;
const char *az_answer_kind_name(az_answer_kind kind); /* "real", "equation", "tuple", "string" */
/* One spelling of what LaTeX writes in many ways: without $, \left, \right, spaces, units, % and degrees at the end, trailing zeros and
 * points; \dfrac and \tfrac are \frac, \frac12 is \frac{1}{2}, 1/2 of whole numbers too. In the current scope. */
char *az_answer_normal(az_ctx *az, const char *text);
az_answer_kind az_answer_kind_of(const char *normal);
/* Whether two answers are the same: as normal spellings; as numbers (whole ones exactly, others to 1e-4 of their size; a percentage is also
 * its hundredth); tuples and intervals item by item, sets in any order, matrices cell by cell; an equation up to the sign of left - right,
 * "x = 3" as 3; else as expressions (+ - * / ^, \frac, \sqrt, pi, named functions) whose values agree to 1e-8 at eight fixed points. */
bool az_answers_equal(az_ctx *az, const char *a, const char *b);

/* ---- overlap: texts that repeat parts of others ---------------------------------------------------------------------------------- */

/* A set of texts, lower-case and with single blanks. A text overlaps with it when one of them, of at least AZ_OVERLAP_BYTES, is part of it,
 * or when it has n words in a row in common with one. */
typedef struct az_overlap az_overlap; /* lives in the current scope */
typedef struct az_overlap_hit {
    const char *source, *shared; /* whose text; what is shared */
    bool whole;                  /* the whole text of the source */
} az_overlap_hit;
enum { AZ_OVERLAP_BYTES = 20 };
az_overlap *az_overlap_new(az_ctx *az, int n);
bool az_overlap_add(az_overlap *overlap, const char *source, const char *text);
/* Whether the text overlaps with one of the set; hit may be NULL. Candidates come from 64-bit hashes and are compared as texts. */
bool az_overlap_find(az_overlap *overlap, const char *text, az_overlap_hit *hit);

/* ---- tales: synthetic stories whose exact probability is known ------------------------------------------------------------------ */

/* A probabilistic grammar of short English stories with long-range agreement (who owns what, how many are left, who did what and
 * why). Every text has exactly one derivation, so log p(text) is exact. */
typedef struct az_tales az_tales;
az_tales *az_tales_new(az_ctx *az);
/* Story number `index` of the corpus `seed`: the same text for ever. log_probability in nats, may be NULL. */
char *az_tales_story(az_ctx *az, const az_tales *tales, uint64_t seed, uint64_t index, double *log_probability);
/* log p(text) in nats by parsing; -INFINITY when the grammar cannot produce the text, and then *where (may be NULL) is the position
 * reached. */
double az_tales_log_probability(az_ctx *az, const az_tales *tales, const char *text, size_t length, size_t *where);
/* Exact entropy of one story in nats and, when mean_bytes is not NULL, its expected length in bytes. */
double az_tales_entropy(az_ctx *az, const az_tales *tales, double *mean_bytes);

/* ---- safetensors: named tensors in a file --------------------------------------------------------------------------------------- */

/* Layout: u64 little-endian length n of the header; n bytes of JSON, {name: {"dtype", "shape", "data_offsets": [begin, end]}, ...,
 * "__metadata__": {text: text}}; the tensors' bytes, row by row, little-endian (https://github.com/huggingface/safetensors). */
typedef struct az_named_tensor {
    const char *name;
    const az_tensor *value;
} az_named_tensor;
typedef struct az_metadata {
    const char *key, *value;
} az_metadata;
typedef struct az_safetensors {
    int64_t count, metadata_count;
    az_named_tensor *item;           /* [count] in the order of their bytes in the file */
    az_metadata *metadata;           /* [metadata_count] */
    const az_named_tensor **by_name; /* [count] sorted */
} az_safetensors;

enum { AZ_SAFETENSORS_MAX_HEADER = 100000000 };

/* Maps the file into the current scope or arena; the tensors are views of the map, except those whose bytes are not aligned to their
 * type: they are copied. Types: F64 F32 F16 BF16 I64 I32 I16 I8 U8, and BOOL as u8. Errors: a header longer than the file or than
 * AZ_SAFETENSORS_MAX_HEADER, names given twice, other types, ranks above AZ_MAX_RANK, sizes that do not fit the shape, tensors that
 * overlap or leave holes. */
az_safetensors *az_safetensors_read(az_ctx *az, const char *path);
/* The same for bytes in memory, which must outlive the result. */
az_safetensors *az_safetensors_parse(az_ctx *az, const unsigned char *data, size_t size);
/* NULL when there is none of that name. */
const az_tensor *az_safetensors_find(const az_safetensors *file, const char *name);

/* Writing: metadata and declarations, in ascending order of the names (strcmp); then the bytes of each tensor in the same order. Nothing
 * but the header is kept in memory, and the file appears only when it is whole. */
typedef struct az_safetensors_writer az_safetensors_writer;
az_safetensors_writer *az_safetensors_create(az_ctx *az, const char *path);
bool az_safetensors_put_metadata(az_safetensors_writer *writer, const char *key, const char *value);
bool az_safetensors_declare(az_safetensors_writer *writer, const char *name, az_dtype dtype, int rank, const int64_t *shape);
/* The next rows of the tensor at hand: of its type and shape but for the first extent. */
bool az_safetensors_write_rows(az_safetensors_writer *writer, const az_tensor *rows);
/* The next tensor whole; it has the declared type and shape. */
bool az_safetensors_write(az_safetensors_writer *writer, const az_tensor *value);
/* Fails when a declared tensor has not been written. */
bool az_safetensors_commit(az_safetensors_writer *writer);

/* ---- tables ------------------------------------------------------------------------------------------------------------------ */

typedef enum az_column_type {
    AZ_COLUMN_REAL,
    AZ_COLUMN_INTEGER, /* whole numbers below 2^53; longer ones are texts */
    AZ_COLUMN_DATE,    /* ISO 8601: 2026-11-26, 2026-11-26T04:50, 2026-11-26 04:50:28.5Z, 2026-11-26T04:50+01:00 */
    AZ_COLUMN_TEXT     /* a category: the column's different texts are its levels */
} az_column_type;
const char *az_column_type_name(az_column_type type); /* "real", "integer", "date", "text" */

typedef struct az_column {
    const char *name;
    az_column_type type;
    int64_t missing;    /* rows without a value */
    double *value;      /* [rows] of numbers, and of dates in days since 1970-01-01 UTC; NaN = missing. NULL for texts */
    int32_t *code;      /* [rows] of texts: a position among the levels, -1 = missing */
    const char **level; /* [levels], ascending (strcmp) */
    int32_t levels;
} az_column;

typedef struct az_table {
    int64_t rows;
    int columns, room;
    az_column *column; /* [columns] */
    const char *path;  /* NULL = made in memory */
} az_table;

/* How text is read as a table. {0} finds everything out. */
typedef enum az_header { AZ_HEADER_AUTO, AZ_HEADER_YES, AZ_HEADER_NO } az_header;
typedef enum az_separator { AZ_SEPARATOR_AUTO, AZ_COMMA, AZ_TAB, AZ_SEMICOLON, AZ_BAR, AZ_SPACE } az_separator;
typedef struct az_table_how {
    int separator;    /* az_separator; auto = the one that gives the most columns in the first lines; AZ_SPACE = runs of blanks and tabs */
    int header;       /* az_header; auto = the first line is one unless one of its fields is a number */
    const char *na;   /* spellings of a missing value besides the usual ones, separated by commas; NULL = none */
    const char *text; /* columns that stay text whatever they hold ("zip,phone"); NULL = none */
} az_table_how;
extern const az_option az_table_options[]; /* of az_table_how */

/* Reads a table by the name's ending: .npy, .npz and .safetensors (a matrix; "file.npz:name" chooses one; columns x1, x2, ...), .mtx
 * (Matrix Market), anything else is text with separators: quotes as in RFC 4180, any line ends, UTF-8 or not, a byte order mark is
 * skipped, gzip is undone, "-" is the standard input. Missing are empty fields and NA, N/A, NaN, nan, NULL, null, None, <NA>, #N/A, n/a.
 * A header may be one name shorter than the rows, which then begin with their names (column "row"). Columns without a header are x1, x2,
 * ... Errors name line and column: rows of different length, open quotes, zero bytes, no rows. */
az_table *az_table_read(az_ctx *az, const char *path, const az_table_how *how);
/* The same for text in memory; the result does not refer to it. */
az_table *az_table_parse(az_ctx *az, const char *path, const char *text, size_t length, const az_table_how *how);

/* A table for files larger than memory: blocks of at most `rows` rows, each a table of the current scope (NULL at the end, and on errors).
 * Types are found in the first block and hold for the file: a later row that does not fit is an error that names it. Levels keep their
 * codes from block to block (in the order of appearance, not sorted), so a later block has all levels of the earlier ones. Reads text
 * (gzip too) and .npy. The stream lives in the scope of az_table_stream_open. */
typedef struct az_table_stream az_table_stream;
az_table_stream *az_table_stream_open(az_ctx *az, const char *path, const az_table_how *how, int64_t rows);
az_table *az_table_stream_next(az_table_stream *stream);

/* Making tables; values are copied. texts may hold NULL (missing). False with an error when memory is out or a name is NULL. */
az_table *az_table_new(az_ctx *az, int64_t rows);
bool az_table_add(az_ctx *az, az_table *table, const char *name, const double *values);
bool az_table_add_text(az_ctx *az, az_table *table, const char *name, const char *const *texts);

/* The column of that name; NULL with an error that proposes the nearest name, also when two columns have it. */
const az_column *az_table_find(az_ctx *az, const az_table *table, const char *name);
/* The columns of a list such as "x1,x2" or "x1 + x2" ("" gives none; names that hold such marks stand in backquotes). */
bool az_table_columns(az_ctx *az, const az_table *table, const char *list, const az_column ***columns, int *count);
/* The column as numbers [rows]: itself, or for texts of exactly two levels 0 and 1; NaN = missing. */
const double *az_column_numbers(az_ctx *az, const az_table *table, const az_column *column);
/* The column as categories: a column of texts itself; of numbers a new one, whose levels are the different numbers, ascending. */
const az_column *az_column_categories(az_ctx *az, const az_table *table, const az_column *column);
/* A cell as text of the current scope, NULL when it is missing. */
const char *az_column_text(az_ctx *az, const az_column *column, int64_t row);
/* Columns as a matrix [rows, count] f64; columns NULL = all. Texts are an error that names the column; missing values are NaN. */
az_tensor *az_table_matrix(az_ctx *az, const az_table *table, const az_column *const *columns, int count);
/* A table of the given rows. */
az_table *az_table_rows(az_ctx *az, const az_table *table, const int64_t *row, int64_t count);
/* Writes .csv, .tsv or "-" (comma-separated), numbers with the digits that read back exactly, missing values as NA. */
bool az_table_write(az_ctx *az, const az_table *table, const char *path);

/* ---- formulas ---------------------------------------------------------------------------------------------------------------- */

/* A model formula as in R: "y ~ x1 + x2 + C(group)".
 *   terms      a + b, a - b, a:b (product), a*b = a + b + a:b, a/b = a + a:b, (a + b)^2 (up to products of two), . (all other columns);
 *              0, -1 leave the intercept out
 *   variables  columns (in backquotes when the name has other characters than letters, digits, _ and .); log, log2, log10, log1p, exp,
 * sqrt, abs, sin, cos, tanh of expressions; I(arithmetic with + - * / ^ and comparisons); center(x), scale(x); C(x) and factor(x) make
 *              categories, C(x, level) with that level as the reference
 *   coding     a category gives an indicator for each level but the reference (the first in ascending order), or for all levels where the
 *              terms below it are absent, as R does; one of a single level has no indicator, which a note tells. Interactions are products
 * of columns; terms are ordered by degree, as R does. Names of columns: "(Intercept)", "x1", "log(x1)", "group[b]", "x1:group[b]". */
typedef struct az_design {
    az_tensor *x;       /* [n, p] f64 */
    az_tensor *y;       /* [n] f64; NULL without a left side. A category of two levels is 0 and 1 */
    const char *y_name; /* NULL without a left side */
    const char **name;  /* [p] */
    int *term;          /* [p] number of the term; 0 = intercept when there is one */
    const char **term_name;
    int terms;
    bool intercept;
    int64_t n, p;
    int64_t dropped;    /* rows with a missing value in a variable of the formula, left out of x and y */
    const int64_t *row; /* [n] rows of the table that are in x */
    const struct az_formula *formula;
} az_design;

/* The design of a formula on a table. Errors name the place in the formula, and values a function cannot take (log of -1) by row; a design
 * without rows or columns is an error. */
az_design *az_design_new(az_ctx *az, const char *formula, const az_table *table);
/* The same columns for other rows: levels, centres and scales are those of the first design; levels that it had not are an error. Without
 * need_y the left side may be absent or missing. */
az_design *az_design_like(az_ctx *az, const az_design *first, const az_table *table, bool need_y);
/* The same rows, none of which may have been dropped, where only these columns of the table have other values: what does not read them is
 * taken from the first design as it is. A row that has no value any more is an error. */
az_design *az_design_again(az_ctx *az, const az_design *first, const az_table *table, const int *column, int columns);
/* The columns of the table that a formula reads, once each. */
bool az_formula_variables(az_ctx *az, const char *formula, const az_table *table, const char ***names, int *count);

/* ---- regression -------------------------------------------------------------------------------------------------------------- */

typedef enum az_link { AZ_LINK_LINEAR, AZ_LINK_LOGIT } az_link;
/* Variances of the coefficients: HC0 J^-1 (sum s s') J^-T with the rows' scores s; HC1 that times n / (n - p); HC3 with residuals divided
 * by 1 - leverage; classical sigma^2 J^-1 (of the linear model with n - p, of the logit 1). With clusters scores are summed within each
 * first, HC1 then multiplies by c / (c - 1) (n - 1) / (n - p) and HC3 is an error. */
typedef enum az_variance { AZ_HC0, AZ_HC1, AZ_HC3, AZ_CLASSICAL } az_variance;
typedef struct az_regression_how {
    az_link link;
    az_variance variance;
    const double *weight;    /* [n]; NULL = 1. May be negative: an equation is solved, nothing is minimised */
    const int64_t *cluster;  /* [n] numbers from 0; NULL = every row is one */
    double ridge;            /* takes ridge n var(x_j) b_j off the equation of every column that varies; 0 = none */
    const double *start;     /* [p] where Newton's method starts; NULL = 0 */
    const char *const *name; /* [p] for messages; NULL = numbers */
} az_regression_how;
typedef struct az_regression {
    az_tensor *coefficient; /* [p] f64 */
    az_tensor *covariance;  /* [p, p] */
    az_tensor *jacobian;    /* [p, p] J = sum w m'(x b) x x' */
    az_tensor *residual;    /* [n] y - m(x b); the score of a row is w x residual */
    int64_t n, p;
    int iterations;
} az_regression;
/* Solves sum_i w_i x_i (y_i - m(x_i b)) = 0 for x [n, p] and y [n], with m the identity or 1 / (1 + exp(-t)), by Newton's method with
 * halved steps; y of the logit may lie outside [0, 1]. AZ_BAD_INPUT names columns that depend on those before; AZ_NUMERIC when there is no
 * solution (classes that x separates). */
az_regression *az_regress(az_ctx *az, const az_tensor *x, const az_tensor *y, const az_regression_how *how);

/* ---- arrays and sparse matrices in files --------------------------------------------------------------------------------------- */

/* A file's array. Complex numbers are pairs: the last axis has extent 2. */
typedef struct az_array {
    const char *name; /* in an archive, "" elsewhere */
    az_tensor *value;
    bool complex;
    const char **row_name, **column_name; /* [shape[0]], [shape[1]] of a matrix; NULL = none */
} az_array;

/* NumPy's .npy (versions 1 to 3; either byte order, C and Fortran order) in its own type: f2 f4 f8, i1 i2 i4 i8, u1, b1 (as u8); u2, u4 and
 * u8 become i32 and i64 (values beyond are an error), c8 and c16 pairs of f4 and f8. Sizes are checked against the file's. What lies in
 * the file as it does in memory stays there: it is read when it is used. */
az_array *az_npy_read(az_ctx *az, const char *path);
az_array *az_npy_parse(az_ctx *az, const void *data, size_t size);
/* .npz: a zip archive of .npy files, stored or deflated (checksums are checked). */
bool az_npz_read(az_ctx *az, const char *path, az_array **arrays, int *count);
bool az_npz_parse(az_ctx *az, const void *data, size_t size, az_array **arrays, int *count);
bool az_npy_write(az_ctx *az, const az_tensor *value, const char *path);
bool az_npz_write(az_ctx *az, const az_array *arrays, int count, const char *path);

/* Any array, as f64: .npy, .npz and .safetensors (with more than one array "file.npz:name"), .mtx, and tables of numbers with their names
 * (a first column of texts gives row names); NaN = missing, which is an error without allow_missing, as infinities are. */
az_array *az_array_read(az_ctx *az, const char *path, const az_table_how *how, bool allow_missing);

/* Entries of a matrix, in the order of rows, then columns. */
typedef struct az_triples {
    int64_t rows, cols, count;
    int64_t *row, *col;                /* [count] from 0 */
    double *value;                     /* [count] */
    const char **row_name, **col_name; /* NULL = the numbers */
} az_triples;
/* How the first two columns of a table tell an entry's place, or that the table is the matrix itself, with missing values. Auto: a matrix
 * when one of the two holds fractions, or numbers and missing values; labels unless both hold whole numbers of at least 0; then numbers
 * from 0. */
typedef enum az_index_base { AZ_INDEX_AUTO, AZ_INDEX_ZERO, AZ_INDEX_ONE, AZ_INDEX_LABELS, AZ_INDEX_MATRIX } az_index_base;
/* .mtx (coordinate or array, general, symmetric, skew-symmetric; patterns are 1), .npy/.npz/.safetensors matrices (NaN = not there), and
 * tables whose first three columns are row, column and value (without a third: 1; rows without a value are left out, and a note counts
 * them). The same place twice is an error, unless the values are equal; so are, in auto, negative whole numbers. */
az_triples *az_triples_read(az_ctx *az, const char *path, const az_table_how *how, az_index_base base);
/* The same for questions about the matrix `like`: the places of a table in its order, repetitions and all, rows by name where `like` names
 * them, else by number, and columns likewise; other files, and tables with index matrix, as above. */
az_triples *az_places_read(az_ctx *az, const char *path, const az_table_how *how, az_index_base base, const az_triples *like);
/* Matrix Market from memory: exactly one of the two results is set. Complex matrices are refused. */
bool az_matrix_market_parse(az_ctx *az, const char *text, size_t length, az_triples **sparse, az_tensor **dense);
bool az_matrix_market_write(az_ctx *az, const az_triples *matrix, const char *path);
az_tensor *az_triples_dense(az_ctx *az, const az_triples *triples, double absent); /* [rows, cols] f64 */

/* ---- results ----------------------------------------------------------------------------------------------------------------- */

/* What a method hands over besides its report: named arrays and tables, the first the main one. They are copied or shared, and live in the
 * scope of az_results_new. NULL is allowed as results and does nothing. */
typedef struct az_results az_results;
az_results *az_results_new(az_ctx *az);
/* names may be NULL; [shape[0]] and [shape[1]] */
void az_results_array(az_results *results, const char *name, const az_tensor *value, const char *const *row_names,
                      const char *const *column_names);
void az_results_table(az_results *results, const char *name, const az_table *table);
/* Other bytes that belong to the result, such as a graph in DOT; a file that ends in the name's ending gets them ("graph.dot" -> x.dot). */
void az_results_text(az_results *results, const char *name, const char *text);
const az_tensor *az_results_find_array(const az_results *results, const char *name); /* NULL when there is none */
const az_table *az_results_find_table(const az_results *results, const char *name);
const char *az_results_find_text(const az_results *results, const char *name);
/* By the name's ending: .csv, .tsv, .npy, .mtx = the first result; .npz, .safetensors = all arrays; .json = everything, one object;
 * "folder/" = a file for each result, NAME.csv (NAME.npy above two axes); an ending of a text result = that text; "-" = .json on the
 * standard output. */
bool az_results_write(az_ctx *az, const az_results *results, const char *path);
/* One array of a result that az_results_write has written with more than one: .npz, .safetensors, .json or a folder. */
az_array *az_results_read(az_ctx *az, const char *path, const char *name);
/* Fails on endings that az_results_write does not know (those of texts cannot be told before), on folders that are not there. */
bool az_results_check(az_ctx *az, const char *path);

/* ---- statistics -------------------------------------------------------------------------------------------------------------- */

/* NaN outside of the domain; p = 0 and 1 give infinities. */
double az_normal_quantile(double p);
double az_normal_cdf(double x);
double az_student_quantile(double p, double degrees);
double az_student_cdf(double t, double degrees);
double az_beta_cdf(double x, double a, double b); /* regularised incomplete beta function */

typedef struct az_estimate {
    double value, se, low, high;
    int64_t n;
} az_estimate; /* se, low, high are NaN when n < 2 */
/* Mean with standard error sd/sqrt(n) and a t interval. */
az_estimate az_mean_estimate(const double *x, int64_t n, double confidence);
/* Ratio of sums R = sum(a) / sum(w), delta method: se = sqrt(n/(n-1) sum (a_i - R w_i)^2) / sum(w). */
az_estimate az_ratio_estimate(const double *a, const double *w, int64_t n, double confidence);
/* The chance that a positive item has the higher score than a negative one, ties counting half; NaN without both kinds. */
double az_auroc(const double *score, const bool *positive, int64_t n);
/* The curve of true against false positives as the threshold falls: a point for each different score, n + 1 at most, from (0, 0) at
 * infinity to (1, 1). Items with a score of at least threshold[k] are called positive. Returns the number of points; NaN rates without
 * items of a kind. Arrays [n + 1], each of which may be NULL. */
int64_t az_roc(const double *score, const bool *positive, int64_t n, double *false_rate, double *true_rate, double *threshold);
/* The threshold at which the true rate is farthest above the false one, the highest of several; infinity when nothing is. */
double az_roc_threshold(const double *score, const bool *positive, int64_t n);
/* Shares of right calls; precision, recall and their harmonic mean of class 1 of two, or the mean over the classes that occur of more.
 * 0 where a class was never called. NaN for n = 0. */
typedef struct az_call_score {
    double accuracy, precision, recall, f;
} az_call_score;
az_call_score az_score_calls(const int32_t *label, const int32_t *called, int64_t n, int classes);
/* Expected calibration error of probabilities: sum over bins of share * |share of positives - mean probability|. bins of equal width on
 * [0, 1]; with `spread` between the smallest and the largest probability, a bin's middle standing for its mean. NaN for n = 0. */
double az_calibration_error(const double *p, const bool *positive, int64_t n, int bins, bool spread);
/* Wilson's interval of a share, k successes among n; se is sqrt(p (1 - p) / n). NaN when n = 0. */
az_estimate az_share_estimate(int64_t k, int64_t n, double confidence);
/* R_a - R_b for two systems measured on the same items with the same weights. */
az_estimate az_paired_ratio_estimate(const double *a, const double *b, const double *w, int64_t n, double confidence);

#ifdef __cplusplus
}
#endif
#endif
