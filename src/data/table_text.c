/* table_text.c - a table from text with separators: the head of the file, the types of its columns, their values. */
#include "data/table_text.h"

#include <math.h>
#include <string.h>

static const char *const separators[] = {"auto", "comma", "tab", "semicolon", "bar", "space", NULL};
static const char *const headers[] = {"auto", "yes", "no", NULL};
const az_option az_table_options[] = {
    {"separator", AZ_FIELD(AZ_CHOICE, az_table_how, separator), "auto", 0, 0, separators, "what stands between the fields of a text file"},
    {"header", AZ_FIELD(AZ_CHOICE, az_table_how, header), "auto", 0, 0, headers,
     "whether the first line names the columns; auto = unless one of its fields is a number"},
    {"na", AZ_FIELD(AZ_TEXT, az_table_how, na), "", 0, 0, NULL,
     "spellings of a missing value besides NA, NaN, null and the like, separated by commas"},
    {"text", AZ_FIELD(AZ_TEXT, az_table_how, text), "", 0, 0, NULL,
     "columns that are texts even if they hold numbers, separated by commas"},
    {0},
};

/* ---- the head ---- */

/* Whether the option "text" names the column. */
static bool column_is_text(const az_table_how *how, const char *name)
{
    const char *list = how && how->text ? how->text : "";
    while (*list) {
        const size_t length = strcspn(list, ",");
        if (length == strlen(name) && memcmp(list, name, length) == 0) return true;
        list += length + (list[length] == ',');
    }
    return false;
}

static bool is_header(const csv_grid *grid, const az_table_how *how)
{
    if (how && how->header != AZ_HEADER_AUTO) return how->header == AZ_HEADER_YES;
    const int64_t fields = grid->rows > 1 ? grid->row[1].first : grid->fields;
    for (int64_t i = 0; i < fields; i++) {
        double value;
        bool whole;
        if (csv_number(grid->field[i], &value, &whole)) return false;
    }
    return true;
}

static const char *column_name(az_ctx *az, const csv_grid *grid, const text_layout *layout, int64_t column)
{
    const int64_t field = column - layout->row_names;
    if (field < 0) return "row";
    if (layout->header && grid->field[field].length > 0) return csv_copy(az, grid->field[field]);
    return az_format_text(az, "x%lld", (long long)column + 1);
}

bool text_layout_find(az_ctx *az, const char *text, size_t length, bool last, const az_table_how *how, text_layout *layout)
{
    static const char byte[] = {[AZ_COMMA] = ',', [AZ_TAB] = '\t', [AZ_SEMICOLON] = ';', [AZ_BAR] = '|', [AZ_SPACE] = ' '};
    csv_grid grid;
    *layout = (text_layout){.separator = how ? byte[how->separator] : 0};
    if (!layout->separator) layout->separator = csv_separator(az, text, length, last);
    const csv_scan scan = {.separator = layout->separator, .most = 2, .last = last, .line = 1, .ragged = true};
    if (!csv_scan_rows(az, &scan, text, length, &grid)) return false;
    if (grid.rows == 0) return az_fail(az, AZ_BAD_INPUT, "there are no rows in it");
    const int64_t first = grid.rows > 1 ? grid.row[1].first : grid.fields;
    layout->header = is_header(&grid, how);
    layout->columns = grid.rows > 1 ? grid.fields - first : first;
    layout->row_names = layout->header && layout->columns == first + 1;
    if (!layout->header || !layout->row_names) layout->columns = first;
    layout->name = az_alloc_array(az, (size_t)layout->columns, sizeof *layout->name);
    for (int64_t i = 0; layout->name && i < layout->columns; i++) layout->name[i] = column_name(az, &grid, layout, i);
    csv_drop(&grid);
    return az_ok(az);
}

/* ---- columns ---- */

typedef struct column_source {
    const csv_grid *grid;
    const missing_words *missing;
    int64_t column, first, rows; /* which column; rows `first` to first + rows - 1 of the grid */
} column_source;

static csv_field field_of(const column_source *source, int64_t row)
{
    const csv_grid *grid = source->grid;
    return grid->field[grid->row[source->first + row].first + source->column];
}

/* Fills with numbers; false at the first field that is neither a number nor missing, which *bad tells. */
static bool fill_numbers(const column_source *source, az_column *column, int64_t *bad)
{
    bool all_whole = true, huge = false;
    for (int64_t row = 0; row < source->rows; row++) {
        const csv_field field = field_of(source, row);
        bool whole = false;
        const bool absent = source->missing->numbers && csv_missing(source->missing, field);
        if (!absent && csv_number(field, &column->value[row], &whole)) {
            all_whole = all_whole && whole;
            huge = huge || (whole && fabs(column->value[row]) >= 0x1p53);
        } else if (absent || csv_missing(source->missing, field)) {
            column->value[row] = NAN;
            column->missing++;
        } else {
            *bad = row;
            return false;
        }
    }
    column->type = all_whole && column->missing < source->rows ? AZ_COLUMN_INTEGER : AZ_COLUMN_REAL;
    *bad = 0;
    return !(all_whole && huge); /* digits would be lost */
}

static bool fill_dates(const column_source *source, az_column *column, int64_t *bad)
{
    for (int64_t row = 0; row < source->rows; row++) {
        const csv_field field = field_of(source, row);
        *bad = row;
        if (csv_date(field, &column->value[row])) continue;
        if (!csv_missing(source->missing, field)) return false;
        column->value[row] = NAN;
        column->missing++;
    }
    column->type = AZ_COLUMN_DATE;
    return true;
}

/* Levels in the order of appearance; set may hold those of earlier blocks. */
static bool fill_texts(az_ctx *az, const column_source *source, text_set *set, az_column *column)
{
    column->code = az_alloc_array(az, (size_t)source->rows, sizeof *column->code);
    if (!column->code) return false;
    for (int64_t row = 0; row < source->rows; row++) {
        const csv_field field = field_of(source, row);
        column->code[row] = -1;
        if (csv_missing(source->missing, field)) {
            column->missing++;
            continue;
        }
        const char *text = field.text;
        size_t length = field.length;
        if (field.escaped) {
            text = csv_copy(az, field);
            length = text ? strlen(text) : 0;
        }
        column->code[row] = text ? text_set_add(az, set, text, length) : -1;
        if (column->code[row] < 0) return false;
    }
    column->type = AZ_COLUMN_TEXT;
    column->value = NULL;
    return true;
}

static bool misfit(az_ctx *az, const column_source *source, const column_reader *reader, int64_t row)
{
    const csv_field field = field_of(source, row);
    az_fail(az, AZ_BAD_INPUT, "line %lld: '%.*s' in column '%s' is not a %s, as the first rows are; text=%s makes the column text",
            (long long)source->grid->row[source->first + row].line, (int)(field.length < 40 ? field.length : 40), field.text, reader->name,
            reader->type == AZ_COLUMN_DATE ? "date" : "number", reader->name);
    return false;
}

/* A remark on a text column of which nine fields in ten are numbers: one stray field turns numbers into categories. */
static void note_strays(az_ctx *az, const column_source *source, const char *name, int64_t bad)
{
    int64_t numbers = 0, others = 0;
    for (int64_t row = 0; row < source->rows; row++) {
        double value;
        bool whole;
        const csv_field field = field_of(source, row);
        if (csv_missing(source->missing, field)) continue;
        const bool number = csv_number(field, &value, &whole);
        numbers += number;
        others += !number;
    }
    if (others == 0 || numbers < 9 * others) return;
    const csv_field field = field_of(source, bad);
    const int shown = field.length < 40 ? (int)field.length : 40;
    az_note(az, "column '%s' is read as text: line %lld has '%.*s', where %lld other fields are numbers; --na='%.*s' makes it missing",
            name, (long long)source->grid->row[source->first + bad].line, shown, field.text, (long long)numbers, shown, field.text);
}

static bool read_column(az_ctx *az, const column_source *source, column_reader *reader, az_column *column)
{
    int64_t bad = 0, stray = 0;
    *column = (az_column){.name = reader->name};
    if (!reader->known || reader->type != AZ_COLUMN_TEXT) {
        column->value = az_alloc_array(az, (size_t)source->rows, sizeof *column->value);
        if (!column->value) return false;
        const bool numbers = !reader->known || reader->type != AZ_COLUMN_DATE;
        if (numbers && fill_numbers(source, column, &bad)) return true;
        if (numbers && reader->known) return misfit(az, source, reader, bad);
        column->missing = 0;
        stray = bad;
        if (fill_dates(source, column, &bad)) return true;
        if (reader->known) return misfit(az, source, reader, bad);
        note_strays(az, source, reader->name, stray);
        column->missing = 0;
    }
    return fill_texts(az, source, &reader->set, column);
}

bool text_table_fill(az_ctx *az, const csv_grid *grid, int64_t first, const missing_words *missing, column_reader *readers, az_table *table)
{
    for (int c = 0; c < (int)grid->columns && az_ok(az); c++) {
        az_column column;
        const column_source source = {.grid = grid, .missing = missing, .column = c, .first = first, .rows = table->rows};
        if (!read_column(az, &source, &readers[c], &column)) return false;
        if (column.type == AZ_COLUMN_TEXT) {
            column.levels = readers[c].set.count;
            column.level = az_alloc_array(az, (size_t)column.levels + 1, sizeof *column.level);
            if (!column.level) return false;
            for (int32_t i = 0; i < column.levels; i++) column.level[i] = readers[c].set.text[i];
        }
        readers[c].known = true;
        readers[c].type = column.type;
        table_append(az, table, column);
    }
    return az_ok(az);
}

column_reader *column_readers(az_ctx *az, const text_layout *layout, const az_table_how *how)
{
    column_reader *readers = az_alloc_array(az, (size_t)layout->columns, sizeof *readers);
    for (int64_t c = 0; readers && c < layout->columns; c++) {
        readers[c] = (column_reader){.name = layout->name[c]};
        if (column_is_text(how, layout->name[c])) readers[c].known = true, readers[c].type = AZ_COLUMN_TEXT;
    }
    return readers;
}

/* ---- a whole table ---- */

const char *text_skip_mark(const char *text, size_t *length)
{
    if (*length < 3 || memcmp(text, "\xef\xbb\xbf", 3) != 0) return text;
    *length -= 3;
    return text + 3;
}

static az_table *parse(az_ctx *az, const char *text, size_t length, const az_table_how *how, csv_grid *grid)
{
    text_layout layout;
    if (!text_layout_find(az, text, length, true, how, &layout)) return NULL;
    const csv_scan scan = {
        .separator = layout.separator, .most = INT64_MAX, .last = true, .line = 1, .header = layout.row_names, .columns = layout.columns};
    if (!csv_scan_rows(az, &scan, text, length, grid)) return NULL;
    const int64_t rows = grid->rows - layout.header;
    if (rows < 1) return az_fail(az, AZ_BAD_INPUT, "there is a header, but no row under it");
    const missing_words missing = csv_missing_words(az, how ? how->na : NULL);
    column_reader *readers = column_readers(az, &layout, how);
    az_table *table = az_table_new(az, rows);
    if (!table || !readers || !text_table_fill(az, grid, layout.header, &missing, readers, table)) return NULL;
    for (int c = 0; c < table->columns; c++)
        if (table->column[c].type == AZ_COLUMN_TEXT && !column_sort_levels(az, &table->column[c], rows)) return NULL;
    return table;
}

az_table *az_table_parse(az_ctx *az, const char *path, const char *text, size_t length, const az_table_how *how)
{
    csv_grid grid = {0};
    if (!text || !az_ok(az)) return NULL;
    text = text_skip_mark(text, &length);
    if (!az_is_utf8(text, length, NULL) && !memchr(text, '\0', length)) {
        az_note(az, "'%s' is not UTF-8; it is read as Latin-1", path);
        text = az_utf8(az, text, &length);
    }
    az_table *table = text ? parse(az, text, length, how, &grid) : NULL;
    csv_drop(&grid);
    if (!table)
        az_fail_context(az, "reading '%s'", path);
    else
        table->path = az_strdup(az, path);
    return az_ok(az) ? table : NULL;
}
