/* table_text.h - what whole tables (table_text.c) and streams of blocks (table_stream.c) share. Private to data/. */
#ifndef ADZE_DATA_TABLE_TEXT_H
#define ADZE_DATA_TABLE_TEXT_H

#include "data/table_internal.h"

/* What the head of a file says about all of its rows. */
typedef struct text_layout {
    char separator;
    bool header, row_names; /* row_names: the rows have one field more than the header */
    int64_t columns;
    const char **name; /* [columns] */
} text_layout;
bool text_layout_find(az_ctx *az, const char *text, size_t length, bool last, const az_table_how *how, text_layout *layout);

/* What is known of a column while its file is read. */
typedef struct column_reader {
    const char *name;
    bool known; /* its type, from the first block or from the option "text" */
    az_column_type type;
    text_set set; /* of the texts so far */
} column_reader;
column_reader *column_readers(az_ctx *az, const text_layout *layout, const az_table_how *how);
/* Appends the grid's columns, from row `first` on, to a table that has its number of rows. Levels are in the order of appearance. */
bool text_table_fill(az_ctx *az, const csv_grid *grid, int64_t first, const missing_words *missing, column_reader *readers,
                     az_table *table);
/* Behind a byte order mark. */
const char *text_skip_mark(const char *text, size_t *length);

#endif
