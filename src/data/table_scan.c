/* table_scan.c - cuts text with separators into rows and fields, quotes as in RFC 4180, and guesses the separator. */
#include "data/table_internal.h"

#include <string.h>

enum { GUESS_ROWS = 20, GUESS_BYTES = 4 << 20 };

typedef struct cursor {
    az_ctx *az;
    const csv_scan *how;
    const char *at, *end;
    int64_t line;
    int64_t in_row; /* fields of this row so far */
} cursor;

/* ---- the grid ---- */

static bool grow(az_ctx *az, az_buffer **buffer, size_t used, size_t more)
{
    if (*buffer && used + more <= (*buffer)->bytes) return true;
    size_t bytes = *buffer ? (*buffer)->bytes * 2 : (size_t)4096;
    az_buffer *bigger = az_buffer_new(az, bytes);
    if (bigger && used > 0) memcpy(bigger->data, (*buffer)->data, used);
    az_buffer_drop(*buffer);
    *buffer = bigger;
    return bigger != NULL;
}

static bool push_field(az_ctx *az, csv_grid *grid, csv_field field)
{
    if (!grow(az, &grid->fields_buffer, (size_t)grid->fields * sizeof field, sizeof field)) return false;
    grid->field = grid->fields_buffer->data;
    grid->field[grid->fields++] = field;
    return true;
}

static bool push_row(az_ctx *az, csv_grid *grid, csv_row row)
{
    if (!grow(az, &grid->rows_buffer, (size_t)grid->rows * sizeof row, sizeof row)) return false;
    grid->row = grid->rows_buffer->data;
    grid->row[grid->rows++] = row;
    return true;
}

void csv_drop(csv_grid *grid)
{
    az_buffer_drop(grid->fields_buffer);
    az_buffer_drop(grid->rows_buffer);
    *grid = (csv_grid){0};
}

/* ---- one row ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_line_end(char c)
{
    return c == '\n' || c == '\r';
}

static bool ends_field(const cursor *c, char byte)
{
    return is_line_end(byte) || (c->how->separator == ' ' ? is_blank(byte) : byte == c->how->separator);
}

/* Blanks that belong to no field; a tab may be the separator. */
static void skip_blanks(cursor *c)
{
    while (c->at < c->end && is_blank(*c->at) && *c->at != c->how->separator) c->at++;
    if (c->how->separator == ' ')
        while (c->at < c->end && is_blank(*c->at)) c->at++;
}

/* Behind the opening quote. False when the bytes end inside. */
static bool read_quoted(cursor *c, csv_field *field)
{
    field->text = c->at;
    for (; c->at < c->end; c->at++) {
        if (*c->at == '\n') c->line++;
        if (*c->at != '"') continue;
        if (c->at + 1 < c->end && c->at[1] == '"') {
            field->escaped = true;
            c->at++;
            continue;
        }
        if (c->at + 1 == c->end && !c->how->last) return false;
        field->length = (uint32_t)(c->at++ - field->text);
        skip_blanks(c);
        return true;
    }
    return false;
}

static void read_plain(cursor *c, csv_field *field)
{
    field->text = c->at;
    while (c->at < c->end && !ends_field(c, *c->at)) c->at++;
    size_t length = (size_t)(c->at - field->text);
    while (length > 0 && is_blank(field->text[length - 1])) length--;
    field->length = (uint32_t)length;
}

typedef enum row_end { ROW_READ, ROW_CUT, ROW_BAD } row_end;

static row_end bad_quotes(cursor *c, int64_t line)
{
    az_fail(c->az, AZ_BAD_INPUT, "line %lld, field %lld: text follows the closing quote; a quote inside quotes is written twice",
            (long long)line, (long long)c->in_row + 1);
    return ROW_BAD;
}

/* Over "\n", "\r\n" or "\r"; false when it cannot be told yet whether a "\n" follows. */
static bool take_line_end(cursor *c)
{
    if (c->at == c->end) return c->how->last;
    if (*c->at == '\r' && c->at + 1 == c->end && !c->how->last) return false;
    c->at += c->at[0] == '\r' && c->at + 1 < c->end && c->at[1] == '\n' ? 2 : 1;
    c->line++;
    return true;
}

/* Reads the fields of one row; a row that the bytes cut off is left unread. */
static row_end read_row(cursor *c, csv_grid *grid)
{
    const csv_row row = {.line = c->line, .first = grid->fields};
    for (c->in_row = 0;; c->in_row++) {
        csv_field field = {0};
        skip_blanks(c);
        if (c->in_row > 0 && c->how->separator == ' ' && (c->at == c->end || is_line_end(*c->at))) break; /* blanks at the end */
        if (c->at < c->end && *c->at == '"') {
            c->at++;
            if (!read_quoted(c, &field)) {
                if (!c->how->last) return ROW_CUT;
                az_fail(c->az, AZ_BAD_INPUT, "line %lld, field %lld: the quotes do not close", (long long)row.line,
                        (long long)c->in_row + 1);
                return ROW_BAD;
            }
            const bool joined = c->how->separator == ' ' && is_blank(c->at[-1]);
            if (c->at < c->end && !ends_field(c, *c->at) && !joined) return bad_quotes(c, row.line);
        } else {
            read_plain(c, &field);
        }
        if (!push_field(c->az, grid, field)) return ROW_BAD;
        if (c->at == c->end || is_line_end(*c->at)) {
            c->in_row++;
            break;
        }
        if (c->how->separator != ' ') c->at++;
    }
    if (!take_line_end(c)) return ROW_CUT;
    return push_row(c->az, grid, row) ? ROW_READ : ROW_BAD;
}

/* ---- all rows ---- */

static void skip_blank_lines(cursor *c)
{
    for (;;) {
        const char *at = c->at;
        while (at < c->end && is_blank(*at) && *at != c->how->separator) at++;
        if (at == c->end && c->how->last) c->at = at;
        if (at == c->end || !is_line_end(*at)) return;
        if (*at == '\r' && at + 1 == c->end && !c->how->last) return;
        c->at = at;
        take_line_end(c);
    }
}

/* Of the row that was read last. */
static bool check_length(const cursor *c, csv_grid *grid)
{
    const int64_t got = grid->fields - grid->row[grid->rows - 1].first;
    if (grid->columns == 0) grid->columns = got;
    if (got == grid->columns || c->how->ragged || (grid->rows == 1 && c->how->header && got == grid->columns - 1)) return true;
    az_fail(c->az, AZ_BAD_INPUT, "line %lld has %lld fields, %lld were expected", (long long)grid->row[grid->rows - 1].line, (long long)got,
            (long long)grid->columns);
    return false;
}

static bool check_zero_bytes(az_ctx *az, const char *text, size_t length, int64_t line)
{
    const char *zero = memchr(text, '\0', length);
    if (!zero) return true;
    if (line == 1 && length > 1 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0)) {
        az_fail(az, AZ_BAD_INPUT, "the text is UTF-16, which is not read; make UTF-8 of it (iconv -f UTF-16 -t UTF-8)");
        return false;
    }
    for (const char *at = text; at < zero; at++) line += *at == '\n';
    az_fail(az, AZ_BAD_INPUT, "line %lld holds a zero byte: this is no text", (long long)line);
    return false;
}

bool csv_scan_rows(az_ctx *az, const csv_scan *scan, const char *text, size_t length, csv_grid *grid)
{
    *grid = (csv_grid){.columns = scan->columns};
    if (!az_ok(az) || !check_zero_bytes(az, text, length, scan->line)) return false;
    cursor c = {.az = az, .how = scan, .at = text, .end = text + length, .line = scan->line};
    row_end state = ROW_READ;
    while (grid->rows < scan->most) {
        skip_blank_lines(&c);
        grid->used = (size_t)(c.at - text);
        grid->next_line = c.line;
        if (c.at == c.end) break;
        const int64_t before = grid->fields;
        state = read_row(&c, grid);
        if (state == ROW_READ && !check_length(&c, grid)) state = ROW_BAD;
        if (state == ROW_CUT) grid->fields = before;
        if (state != ROW_READ) break;
    }
    if (state == ROW_READ && grid->rows == scan->most) {
        grid->used = (size_t)(c.at - text);
        grid->next_line = c.line;
    }
    grid->at_end = grid->rows < scan->most;
    if (state == ROW_BAD) csv_drop(grid);
    return state != ROW_BAD;
}

char *csv_copy(az_ctx *az, csv_field field)
{
    char *copy = az_alloc(az, (size_t)field.length + 1);
    size_t n = 0;
    for (uint32_t i = 0; copy && i < field.length; i++) {
        copy[n++] = field.text[i];
        if (field.escaped && field.text[i] == '"') i++;
    }
    return copy;
}

/* ---- the separator ---- */

/* How well the separator cuts the first lines: twice the columns it makes of them, less one when the first line has one fewer than the
 * others; 2 when they do not agree. */
static int64_t fit_of(az_ctx *az, const csv_scan *scan, const char *text, size_t length)
{
    csv_grid grid;
    if (!csv_scan_rows(az, scan, text, length, &grid)) {
        az_clear(az); /* what a wrong separator makes of the text is no error */
        return 2;
    }
    int64_t columns = 0, shorter = 0;
    for (int64_t row = 0; row < grid.rows; row++) {
        const int64_t end = row + 1 < grid.rows ? grid.row[row + 1].first : grid.fields, got = end - grid.row[row].first;
        if (row == 1 && got == columns + 1) shorter = 1;
        const bool agrees = row == 0 || got == columns || (row == 1 && shorter);
        columns = agrees ? got : 1;
        if (!agrees) break;
    }
    csv_drop(&grid);
    return columns > 1 ? 2 * columns - shorter : 2;
}

char csv_separator(az_ctx *az, const char *text, size_t length, bool last)
{
    static const char candidates[] = {',', '\t', ';', '|', ' '};
    char best = ',';
    int64_t most = 2;
    if (length > GUESS_BYTES) length = GUESS_BYTES, last = false;
    for (size_t i = 0; i < sizeof candidates && az_ok(az); i++) {
        if (candidates[i] == ' ' && most > 2) continue; /* "a b,c d" */
        const csv_scan scan = {.separator = candidates[i], .most = GUESS_ROWS, .ragged = true, .line = 1, .last = last};
        const int64_t fit = fit_of(az, &scan, text, length);
        if (fit <= most) continue;
        best = candidates[i];
        most = fit;
    }
    return best;
}
