/* fuzz_table.c - text as a table, whole and in blocks: the same cells both ways, levels in order, or an error that says why. */
#include "data/table_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_column(const az_column *column, int64_t rows)
{
    int64_t missing = 0;
    for (int64_t i = 0; i < rows; i++) {
        if (column->code && column->code[i] >= column->levels) abort();
        missing += column->code ? column->code[i] < 0 : isnan(column->value[i]);
    }
    if (missing != column->missing) abort();
    for (int32_t l = 1; l < column->levels; l++)
        if (strcmp(column->level[l - 1], column->level[l]) >= 0) abort();
}

/* Written and read again it is the same table, if the names are fit for a header. */
static void check_copy(az_ctx *az, const az_table *table)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out) return;
    table_print(az, table, ',', out);
    fclose(out);
    const az_table_how how = {.separator = AZ_COMMA, .header = AZ_HEADER_YES};
    const az_table *copy = az_table_parse(az, "copy", text, length, &how);
    free(text);
    if (!copy && az_status_of(az) != AZ_NO_MEMORY) abort();
    if (copy && (copy->rows != table->rows || copy->columns != table->columns)) abort();
}

/* The first two bytes are the options. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    const az_table_how how = {
        .separator = data[0] % 6, .header = data[1] % 3, .na = data[0] & 64 ? "-9,?" : NULL, .text = data[0] & 128 ? "a,x1" : NULL};
    az_ctx *az = az_open(&(az_settings){.threads = 1, .memory_limit = (size_t)256 << 20});
    const az_table *table = az_table_parse(az, "fuzz", (const char *)data + 2, size - 2, &how);
    if (!table && (az_ok(az) || !*az_error(az))) abort();
    for (int c = 0; table && c < table->columns; c++) check_column(&table->column[c], table->rows);
    if (table && table->columns > 1) check_copy(az, table);
    az_close(az);
    return 0;
}
