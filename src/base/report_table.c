/* report_table.c - a report as tables for people: one table a section, numbers to the right, units in the head. */
#include "base/report_internal.h"

#include <math.h>
#include <string.h>
#include <utf8proc.h>

enum { COLUMNS = 64, CELL_BYTES = 4096, WIDE = 8 }; /* a lone row with more than WIDE values is printed as a list */

typedef struct column {
    const char *key, *unit;
    bool is_text;
    int width; /* in character cells */
} column;

/* Character cells that a text takes on a terminal; bytes that are not UTF-8 count as one each. */
static int text_width(const char *text)
{
    int width = 0;
    for (utf8proc_int32_t point; *text;) {
        utf8proc_ssize_t bytes = utf8proc_iterate((const utf8proc_uint8_t *)text, -1, &point);
        width += bytes > 0 ? utf8proc_charwidth(point) : 1;
        text += bytes > 0 ? bytes : 1;
    }
    return width;
}

static void format_bytes(double value, char *out, size_t size)
{
    static const char *const prefix[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int step = 0;
    for (; fabs(value) >= 1024 && step < 4; step++) value /= 1024;
    snprintf(out, size, step ? "%.4g %s" : "%.0f %s", value, prefix[step]);
}

/* A text in one line: control characters become spaces, so that a table stays a table and a terminal is not steered by data. */
static void format_text(const char *text, char *out, size_t size)
{
    snprintf(out, size, "%s", text);
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = ' ';
}

static void format_cell(const az_cell *cell, char *out, size_t size)
{
    if (!cell)
        snprintf(out, size, "%s", "");
    else if (cell->kind == AZ_CELL_TEXT)
        format_text(cell->text, out, size);
    else if (cell->kind == AZ_CELL_COUNT)
        snprintf(out, size, "%lld", (long long)cell->count);
    else if (cell->kind == AZ_CELL_BOOL)
        snprintf(out, size, "%s", cell->count ? "yes" : "no");
    else if (isnan(cell->number))
        snprintf(out, size, "n/a");
    else if (strcmp(cell->unit, "B") == 0)
        format_bytes(cell->number, out, size);
    else
        snprintf(out, size, "%.5g", cell->number);
}

/* "nll (nat)"; bytes carry their unit in the cell. */
static void format_head(const column *c, char *out, size_t size)
{
    bool shown = *c->unit && strcmp(c->unit, "B") != 0;
    snprintf(out, size, shown ? "%s (%s)" : "%s", c->key, c->unit);
}

static void put_padded(FILE *out, const char *text, int width, bool left)
{
    int pad = width - text_width(text);
    if (left)
        fprintf(out, "%s%*s", text, pad > 0 ? pad : 0, "");
    else
        fprintf(out, "%*s%s", pad > 0 ? pad : 0, "", text);
}

static column *find_column(column *columns, int n, const char *key)
{
    for (int i = 0; i < n; i++)
        if (strcmp(columns[i].key, key) == 0) return &columns[i];
    return NULL;
}

/* The columns of a section in the order in which its rows first name them. */
static int collect_columns(const az_report *report, const char *section, column *columns, int *rows)
{
    char text[CELL_BYTES];
    int n = 0;
    *rows = 0;
    for (const az_row *row = report->rows; row; row = row->next) {
        if (strcmp(row->section, section) != 0) continue;
        ++*rows;
        for (const az_cell *cell = row->cells; cell; cell = cell->next) {
            column *c = find_column(columns, n, cell->key);
            if (!c && n == COLUMNS) continue;
            if (!c) {
                c = &columns[n++];
                *c = (column){.key = cell->key, .unit = cell->unit};
                format_head(c, text, sizeof text);
                c->width = text_width(text);
            }
            c->is_text |= cell->kind == AZ_CELL_TEXT;
            format_cell(cell, text, sizeof text);
            int width = text_width(text);
            if (width > c->width) c->width = width;
        }
    }
    return n;
}

static void print_table(const az_report *report, const char *section, const column *columns, int n, FILE *out)
{
    char text[CELL_BYTES];
    for (int i = 0; i < n; i++) {
        format_head(&columns[i], text, sizeof text);
        fputs("  ", out);
        put_padded(out, text, columns[i].is_text && i == n - 1 ? 0 : columns[i].width, columns[i].is_text);
    }
    fputc('\n', out);
    for (const az_row *row = report->rows; row; row = row->next) {
        if (strcmp(row->section, section) != 0) continue;
        for (int i = 0; i < n; i++) {
            format_cell(az_row_cell(row, columns[i].key), text, sizeof text);
            fputs("  ", out);
            put_padded(out, text, columns[i].is_text && i == n - 1 ? 0 : columns[i].width, columns[i].is_text);
        }
        fputc('\n', out);
    }
}

/* A section of one row: a line for each value. */
static void print_list(const az_report *report, const char *section, const column *columns, int n, FILE *out)
{
    char text[CELL_BYTES];
    int width = 0;
    for (int i = 0; i < n; i++)
        if (text_width(columns[i].key) > width) width = text_width(columns[i].key);
    for (const az_row *row = report->rows; row; row = row->next) {
        if (strcmp(row->section, section) != 0) continue;
        for (int i = 0; i < n; i++) {
            format_cell(az_row_cell(row, columns[i].key), text, sizeof text);
            bool unit = *columns[i].unit && strcmp(columns[i].unit, "B") != 0;
            fputs("  ", out);
            put_padded(out, columns[i].key, width, true);
            fprintf(out, "  %s%s%s\n", text, unit ? " " : "", unit ? columns[i].unit : "");
        }
    }
}

/* before: the row that stands in front of it, NULL = none. Sections are mostly whole, which `before` tells at once. */
static bool is_first_of_section(const az_report *report, const az_row *before, const az_row *row)
{
    if (before && strcmp(before->section, row->section) == 0) return false;
    for (const az_row *other = report->rows; other != row; other = other->next)
        if (strcmp(other->section, row->section) == 0) return false;
    return true;
}

void az_report_print(const az_report *report, FILE *out)
{
    if (!report) return;
    if (report->title && *report->title) fprintf(out, "%s\n", report->title);
    for (const az_row *before = NULL, *row = report->rows; row; before = row, row = row->next) {
        if (!is_first_of_section(report, before, row)) continue;
        column columns[COLUMNS];
        int rows, n = collect_columns(report, row->section, columns, &rows);
        fprintf(out, "%s%s\n", row == report->rows ? "" : "\n", row->section);
        if (rows == 1 && n > WIDE)
            print_list(report, row->section, columns, n, out);
        else
            print_table(report, row->section, columns, n, out);
    }
}
