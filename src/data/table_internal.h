/* table_internal.h - how text becomes tables: fields, values of fields, lists of different texts. Private to data/. */
#ifndef ADZE_DATA_TABLE_INTERNAL_H
#define ADZE_DATA_TABLE_INTERNAL_H

#include "adze/data.h"
#include "data/paths.h"

/* ---- table_scan.c: bytes -> fields ---- */

typedef struct csv_field {
    const char *text; /* inside the file's bytes, without quotes and blanks around it */
    uint32_t length;
    bool escaped; /* holds "" for " */
} csv_field;

typedef struct csv_row {
    int64_t line, first; /* line of the file, from 1; its first field */
} csv_row;

typedef struct csv_grid {
    csv_field *field; /* [fields], row after row */
    csv_row *row;     /* [rows] */
    int64_t rows, columns, fields;
    size_t used; /* bytes that belong to complete rows */
    bool at_end; /* stopped since the bytes ended, not since there were enough rows */
    int64_t next_line;
    /* private */
    az_buffer *fields_buffer, *rows_buffer;
} csv_grid;

typedef struct csv_scan {
    char separator;  /* ',' ... or ' ' for runs of blanks and tabs */
    int64_t most;    /* rows */
    bool last;       /* no bytes follow: the last line needs no line end */
    int64_t line;    /* number of the first line */
    int64_t columns; /* that each row must have; 0 = those of the first row */
    bool header;     /* the first row may have a field less */
    bool ragged;     /* rows may differ, while separators are guessed */
} csv_scan;

/* Fails on rows of another length, on quotes that do not close, on zero bytes. Blank lines are skipped. */
bool csv_scan_rows(az_ctx *az, const csv_scan *scan, const char *text, size_t length, csv_grid *grid);
void csv_drop(csv_grid *grid);
/* The separator that makes most of the first lines; last as in csv_scan. */
char csv_separator(az_ctx *az, const char *text, size_t length, bool last);
/* A zero-terminated copy in the current scope, quotes undone. */
char *csv_copy(az_ctx *az, csv_field field);

/* ---- table_values.c: fields -> values ---- */

bool csv_number(csv_field field, double *value, bool *whole);
bool csv_date(csv_field field, double *days);

typedef struct missing_words {
    int count;
    bool numbers; /* one of them looks like a number, so they are looked for first */
    const char *const *word;
} missing_words;
missing_words csv_missing_words(az_ctx *az, const char *more);
bool csv_missing(const missing_words *words, csv_field field);

/* Different texts, numbered as they come. */
typedef struct text_set {
    az_arena *arena; /* where they are kept; NULL = the current scope */
    int32_t count, room;
    const char **text;
    uint64_t *hash;
    int32_t *slot; /* [slots] 1 + number, 0 = free */
    int64_t slots;
} text_set;
/* -1 with an error when memory is out or there are too many. */
int32_t text_set_add(az_ctx *az, text_set *set, const char *text, size_t length);

/* ---- table.c ---- */

/* Appends a column; its name is copied, its arrays are not. */
az_column *table_append(az_ctx *az, az_table *table, az_column column);
/* Brings the levels of a column of texts into ascending order. */
bool column_sort_levels(az_ctx *az, az_column *column, int64_t rows);
void column_count_missing(az_column *column, int64_t rows);
/* Days since 1970-01-01 of a date of the Gregorian calendar, and back. */
int64_t days_of_date(int64_t year, int month, int day);
void date_of_days(int64_t days, int64_t *year, int *month, int *day);

/* ---- table_write.c ---- */

bool table_print(az_ctx *az, const az_table *table, char separator, FILE *out);

/* ---- array_read.c ---- */

/* The columns of a vector or matrix of doubles, named x1, x2, ... */
az_table *array_table(az_ctx *az, const az_array *array, const char *path);
/* The numbers of a table as an array; a first column of texts becomes the names of the rows. */
az_array *table_array(az_ctx *az, const az_table *table);

#endif
