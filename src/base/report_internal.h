/* report_internal.h - how a report is kept, for report.c (filling, JSON), report_table.c (tables) and plot.c. */
#ifndef ADZE_REPORT_INTERNAL_H
#define ADZE_REPORT_INTERNAL_H

#include "adze/base.h"

typedef enum az_cell_kind { AZ_CELL_TEXT, AZ_CELL_COUNT, AZ_CELL_NUMBER, AZ_CELL_BOOL } az_cell_kind;

typedef struct az_cell {
    struct az_cell *next;
    const char *key, *unit; /* unit "" = none */
    az_cell_kind kind;
    const char *text;
    int64_t count; /* AZ_CELL_COUNT, and 0 or 1 for AZ_CELL_BOOL */
    double number;
} az_cell;

typedef struct az_row {
    struct az_row *next;
    const char *section;
    az_cell *cells, **last;
} az_row;

typedef struct az_curve {
    struct az_curve *next;
    const char *name, *x_label, *y_label;
    int64_t n;
    double *x, *y; /* [n] */
} az_curve;

struct az_report {
    az_ctx *az;
    az_arena *arena; /* owns all that the report holds */
    const char *title;
    az_row *rows, **last_row, *row; /* row: the one being filled */
    az_curve *curves, **last_curve;
};

/* The cell of a row with this key, or NULL. */
const az_cell *az_row_cell(const az_row *row, const char *key);
/* The value of a cell as a number, NaN for a text. */
double az_cell_value(const az_cell *cell);

#endif
