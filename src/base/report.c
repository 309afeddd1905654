/* report.c - filling a report, reading it back, and its JSON lines. */
#include "base/json.h"
#include "base/report_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void free_report(void *object)
{
    az_report *report = object;
    az_arena_free(report->az, report->arena);
}

az_report *az_report_new(az_ctx *az, const char *title)
{
    if (!az_ok(az)) return NULL;
    az_arena *arena = az_arena_new(az);
    if (!arena) return NULL;
    az_arena_enter(az, arena);
    az_report *report = az_alloc(az, sizeof *report);
    if (report) {
        *report = (az_report){.az = az, .arena = arena, .title = az_strdup(az, title)};
        report->last_row = &report->rows;
        report->last_curve = &report->curves;
    }
    az_arena_leave(az);
    if (!report) {
        az_arena_free(az, arena);
        return NULL;
    }
    return az_on_leave(az, free_report, report) ? report : NULL;
}

void az_report_row(az_report *report, const char *section)
{
    if (!report) return;
    az_arena_enter(report->az, report->arena);
    az_row *row = az_alloc(report->az, sizeof *row);
    const char *name = az_strdup(report->az, section);
    az_arena_leave(report->az);
    report->row = row;
    if (!row || !name) return;
    *row = (az_row){.section = name};
    row->last = &row->cells;
    *report->last_row = row;
    report->last_row = &row->next;
}

/* Adds a cell to the row being filled, or replaces the one that has the key already. */
static void put(az_report *report, const char *key, az_cell value)
{
    if (!report) return;
    if (!report->row) {
        az_fail(report->az, AZ_BAD_CALL, "report: '%s' is given before any row was started", key);
        return;
    }
    az_arena_enter(report->az, report->arena);
    value.key = az_strdup(report->az, key);
    value.unit = az_strdup(report->az, value.unit ? value.unit : "");
    if (value.text) value.text = az_strdup(report->az, value.text);
    az_cell *cell = (az_cell *)az_row_cell(report->row, key);
    bool is_new = cell == NULL;
    if (is_new) cell = az_alloc(report->az, sizeof *cell);
    az_arena_leave(report->az);
    if (!cell || !value.key || !value.unit) return;
    value.next = cell->next;
    *cell = value;
    if (!is_new) return;
    *report->row->last = cell;
    report->row->last = &cell->next;
}

void az_report_text(az_report *report, const char *key, const char *value)
{
    put(report, key, (az_cell){.kind = AZ_CELL_TEXT, .text = value ? value : ""});
}

void az_report_count(az_report *report, const char *key, int64_t value)
{
    put(report, key, (az_cell){.kind = AZ_CELL_COUNT, .count = value});
}

void az_report_number(az_report *report, const char *key, double value, const char *unit)
{
    put(report, key, (az_cell){.kind = AZ_CELL_NUMBER, .number = value, .unit = unit});
}

void az_report_bool(az_report *report, const char *key, bool value)
{
    put(report, key, (az_cell){.kind = AZ_CELL_BOOL, .count = value});
}

static double *copy_values(az_ctx *az, const double *values, int64_t n)
{
    double *copy = az_alloc_array(az, (size_t)n, sizeof *copy);
    return copy && n > 0 ? memcpy(copy, values, (size_t)n * sizeof *copy) : copy;
}

void az_report_curve(az_report *report, const char *name, const char *x_label, const char *y_label, int64_t n, const double *x,
                     const double *y)
{
    if (!report || n < 0) return;
    az_ctx *az = report->az;
    az_arena_enter(az, report->arena);
    az_curve *curve = az_alloc(az, sizeof *curve);
    if (curve) {
        *curve = (az_curve){.name = az_strdup(az, name), .x_label = az_strdup(az, x_label), .y_label = az_strdup(az, y_label), .n = n};
        curve->x = copy_values(az, x, n);
        curve->y = copy_values(az, y, n);
    }
    az_arena_leave(az);
    if (!az_ok(az) || !curve) return;
    *report->last_curve = curve;
    report->last_curve = &curve->next;
}

/* ---- reading back ---- */

bool az_report_is_empty(const az_report *report)
{
    return !report || (!report->rows && !report->curves);
}

const az_cell *az_row_cell(const az_row *row, const char *key)
{
    for (const az_cell *cell = row->cells; cell; cell = cell->next)
        if (strcmp(cell->key, key) == 0) return cell;
    return NULL;
}

double az_cell_value(const az_cell *cell)
{
    if (!cell || cell->kind == AZ_CELL_TEXT) return NAN;
    return cell->kind == AZ_CELL_NUMBER ? cell->number : (double)cell->count;
}

double az_report_value(const az_report *report, const char *section, const char *key)
{
    const az_row *last = NULL;
    for (const az_row *row = report ? report->rows : NULL; row; row = row->next)
        if (strcmp(row->section, section) == 0) last = row;
    return last ? az_cell_value(az_row_cell(last, key)) : NAN;
}

const double *az_report_curve_of(const az_report *report, const char *name, int64_t *n)
{
    for (const az_curve *curve = report ? report->curves : NULL; curve; curve = curve->next)
        if (strcmp(curve->name, name) == 0) {
            *n = curve->n;
            return curve->y;
        }
    return NULL;
}

/* ---- JSON lines ---- */

static json_t *cell_json(az_ctx *az, const az_cell *cell)
{
    switch (cell->kind) {
    case AZ_CELL_TEXT: return az_text_json(az, cell->text);
    case AZ_CELL_COUNT: return json_integer(cell->count);
    case AZ_CELL_NUMBER: return az_number_json(cell->number);
    case AZ_CELL_BOOL: return json_boolean(cell->count);
    }
    return json_null();
}

/* Decimal digits that this number needs to read back exactly. */
static int digits_needed(double value)
{
    char text[40];
    int digits = 6;
    for (; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    return digits;
}

/* Writes the object on a line of its own, with as many digits as its most exact number needs, and frees it. */
static void write_line(json_t *object, int digits, FILE *out)
{
    json_dumpf(object, out, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(digits));
    fputc('\n', out);
    json_decref(object);
}

static json_t *values_json(const double *values, int64_t n, int *digits)
{
    json_t *array = json_array();
    for (int64_t i = 0; i < n; i++) {
        json_array_append_new(array, az_number_json(values[i]));
        int needed = digits_needed(values[i]);
        if (needed > *digits) *digits = needed;
    }
    return array;
}

void az_report_json(const az_report *report, FILE *out)
{
    if (!report) return;
    for (const az_curve *curve = report->curves; curve; curve = curve->next) {
        int digits = 6;
        json_t *object = json_object();
        json_object_set_new(object, "section", json_string("curves"));
        json_object_set_new(object, "name", az_text_json(report->az, curve->name));
        json_object_set_new(object, "x_label", az_text_json(report->az, curve->x_label));
        json_object_set_new(object, "y_label", az_text_json(report->az, curve->y_label));
        json_object_set_new(object, "x", values_json(curve->x, curve->n, &digits));
        json_object_set_new(object, "y", values_json(curve->y, curve->n, &digits));
        write_line(object, digits, out);
    }
    for (const az_row *row = report->rows; row; row = row->next) {
        int digits = 6;
        json_t *object = json_object();
        json_object_set_new(object, "section", az_text_json(report->az, row->section));
        for (const az_cell *cell = row->cells; cell; cell = cell->next) {
            json_object_set_new(object, cell->key, cell_json(report->az, cell));
            int needed = cell->kind == AZ_CELL_NUMBER ? digits_needed(cell->number) : 0;
            if (needed > digits) digits = needed;
        }
        write_line(object, digits, out);
    }
}
