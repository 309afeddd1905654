/* table_write.c - tables as text with separators. */
#include "data/table_internal.h"

#include <string.h>

/* In quotes where the reader would take the text for something else. */
static void put_text(const char *text, char separator, FILE *out)
{
    const char special[] = {separator, '"', '\n', '\r', '\0'};
    const size_t length = strlen(text);
    const bool blanks = length > 0 && (strchr(" \t", text[0]) || strchr(" \t", text[length - 1]));
    if (length > 0 && !blanks && !strpbrk(text, special)) {
        fputs(text, out);
        return;
    }
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"') fputc('"', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static void put_row(az_ctx *az, const az_table *table, int64_t row, char separator, FILE *out)
{
    az_scope_push(az);
    for (int c = 0; c < table->columns; c++) {
        const char *text = az_column_text(az, &table->column[c], row);
        if (c > 0) fputc(separator, out);
        if (text)
            put_text(text, separator, out);
        else
            fputs("NA", out);
    }
    fputc('\n', out);
    az_scope_pop(az);
}

bool table_print(az_ctx *az, const az_table *table, char separator, FILE *out)
{
    if (!table || !az_ok(az)) return false;
    for (int c = 0; c < table->columns; c++) {
        if (c > 0) fputc(separator, out);
        put_text(table->column[c].name, separator, out);
    }
    fputc('\n', out);
    for (int64_t row = 0; row < table->rows && az_ok(az); row++) put_row(az, table, row, separator, out);
    return az_ok(az);
}

bool az_table_write(az_ctx *az, const az_table *table, const char *path)
{
    if (!table || !path || !az_ok(az)) return false;
    const bool tabs = path_ends(path, ".tsv");
    if (!tabs && !path_ends(path, ".csv") && strcmp(path, "-") != 0)
        return az_fail(az, AZ_BAD_INPUT, "'%s': a table is written as .csv or .tsv", path);
    az_scope_push(az);
    az_out *file = az_create(az, path);
    const bool ok = file && table_print(az, table, tabs ? '\t' : ',', az_out_stream(file)) && az_commit(file);
    az_scope_pop(az);
    return ok;
}
