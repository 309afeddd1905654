/* table_stream.c - a table in blocks of rows, for files larger than memory. */
#include "data/npy.h"
#include "data/table_text.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

enum { FIRST_BYTES = 1 << 20 };

struct az_table_stream {
    az_ctx *az;
    az_arena *arena; /* what lives as long as the stream */
    const char *path;
    gzFile file;
    az_buffer *bytes; /* those read and not yet used: filled from the front */
    size_t held;
    bool at_end, started;
    int64_t rows, line; /* most rows of a block; line where the next begins */
    const az_table_how *how;
    text_layout layout;
    missing_words missing;
    column_reader *readers;
    const az_map *map; /* of .npy; NULL = text */
    npy_head head;
    int64_t next; /* row of the map that comes next */
};

static void close_stream(void *object)
{
    az_table_stream *stream = object;
    if (stream->file) gzclose(stream->file);
    az_buffer_drop(stream->bytes);
    az_arena_free(stream->az, stream->arena);
}

/* Reads until the buffer is full or the file ends. */
static bool fill(az_table_stream *stream)
{
    while (!stream->at_end && stream->held < stream->bytes->bytes) {
        const size_t room = stream->bytes->bytes - stream->held;
        const int got = gzread(stream->file, (char *)stream->bytes->data + stream->held, room < (1u << 30) ? (unsigned)room : 1u << 30);
        if (got < 0) return az_fail(stream->az, AZ_BAD_INPUT, "damaged gzip data, or a file that cannot be read");
        stream->at_end = got == 0;
        stream->held += (size_t)got;
    }
    int code = Z_OK;
    if (stream->at_end) gzerror(stream->file, &code);
    if (code != Z_OK && code != Z_STREAM_END) return az_fail(stream->az, AZ_BAD_INPUT, "damaged gzip data: the file ends too early");
    return true;
}

/* Twice the room, filled. */
static bool fill_more(az_table_stream *stream)
{
    az_buffer *bigger = az_buffer_new(stream->az, stream->bytes->bytes * 2);
    if (!bigger) return false;
    memcpy(bigger->data, stream->bytes->data, stream->held);
    az_buffer_drop(stream->bytes);
    stream->bytes = bigger;
    return fill(stream);
}

static void use(az_table_stream *stream, size_t bytes)
{
    char *data = stream->bytes->data;
    memmove(data, data + bytes, stream->held - bytes);
    stream->held -= bytes;
}

/* As many rows as a block has, or all that are left. */
static bool scan_block(az_table_stream *stream, csv_grid *grid)
{
    csv_scan scan = {.separator = stream->layout.separator,
                     .most = stream->rows + (!stream->started && stream->layout.header),
                     .line = stream->line,
                     .columns = stream->layout.columns,
                     .header = !stream->started && stream->layout.row_names};
    for (;;) {
        scan.last = stream->at_end;
        if (!csv_scan_rows(stream->az, &scan, stream->bytes->data, stream->held, grid)) return false;
        if (grid->rows == scan.most || stream->at_end) return true;
        csv_drop(grid);
        if (!fill_more(stream)) return false;
    }
}

/* Finds the layout, which takes two whole lines. */
static bool start(az_table_stream *stream)
{
    if (!fill(stream)) return false;
    size_t length = stream->held;
    use(stream, (size_t)(text_skip_mark(stream->bytes->data, &length) - (const char *)stream->bytes->data));
    for (;;) {
        csv_grid grid;
        const csv_scan scan = {.separator = ',', .most = 2, .line = 1, .ragged = true, .last = stream->at_end};
        const bool ok = csv_scan_rows(stream->az, &scan, stream->bytes->data, stream->held, &grid);
        const bool enough = ok && (grid.rows == 2 || stream->at_end);
        csv_drop(&grid);
        if (!ok) return false;
        if (enough) break;
        if (!fill_more(stream)) return false;
    }
    if (!text_layout_find(stream->az, stream->bytes->data, stream->held, stream->at_end, stream->how, &stream->layout)) return false;
    stream->missing = csv_missing_words(stream->az, stream->how->na);
    stream->readers = column_readers(stream->az, &stream->layout, stream->how);
    for (int64_t c = 0; stream->readers && c < stream->layout.columns; c++) stream->readers[c].set.arena = stream->arena;
    return az_ok(stream->az);
}

/* ---- .npy ---- */

static bool open_npy(az_table_stream *stream)
{
    stream->map = az_map_file(stream->az, stream->path);
    if (!stream->map || !npy_read_head(stream->az, stream->map->data, stream->map->size, &stream->head)) return false;
    const npy_head *h = &stream->head;
    if (h->rank < 1 || h->rank > 2 || h->kind == 'c') return az_fail(stream->az, AZ_BAD_INPUT, "it holds no rows of real numbers");
    if (h->fortran && h->rank == 2)
        return az_fail(stream->az, AZ_BAD_INPUT, "it is stored by columns (Fortran order), so it has no blocks of rows");
    return true;
}

static az_table *next_npy(az_table_stream *stream)
{
    az_ctx *az = stream->az;
    npy_head part = stream->head;
    const int64_t left = part.shape[0] - stream->next, width = part.rank == 2 ? part.shape[1] : 1;
    if (left <= 0) return NULL;
    part.shape[0] = left < stream->rows ? left : stream->rows;
    part.count = part.shape[0] * width;
    const az_tensor *value = npy_elements(az, &part, stream->map->data + part.offset + stream->next * width * part.width);
    const az_array array = {.value = az_cast(az, value, AZ_F64)};
    stream->next += part.shape[0];
    return array.value ? array_table(az, &array, stream->path) : NULL;
}

/* ---- both ---- */

static bool open_text(az_table_stream *stream)
{
    stream->bytes = az_buffer_new(stream->az, FIRST_BYTES);
    stream->file = gzopen(stream->path, "rb");
    if (!stream->file) return az_fail(stream->az, errno == ENOENT ? AZ_BAD_INPUT : AZ_IO, "%s", strerror(errno ? errno : ENOMEM));
    return stream->bytes && start(stream);
}

az_table_stream *az_table_stream_open(az_ctx *az, const char *path, const az_table_how *how, int64_t rows)
{
    if (!path || !az_ok(az)) return NULL;
    if (rows < 1) return az_fail(az, AZ_BAD_CALL, "blocks of %lld rows", (long long)rows);
    az_table_stream *stream = az_alloc(az, sizeof *stream);
    az_table_how *kept = az_alloc(az, sizeof *kept);
    if (!stream || !kept) return NULL;
    if (how) *kept = *how;
    *stream = (az_table_stream){.az = az, .path = az_strdup(az, path), .rows = rows, .line = 1, .how = kept};
    if (!az_on_leave(az, close_stream, stream)) return NULL;
    if (az_is_folder(path)) return az_fail(az, AZ_BAD_INPUT, "'%s' is a folder, a file was expected", path);
    stream->arena = az_arena_new(az);
    if (!stream->arena) return NULL;
    az_arena_enter(az, stream->arena);
    const bool ok = path_ends(path, ".npy") ? open_npy(stream) : open_text(stream);
    az_arena_leave(az);
    if (!ok) az_fail_context(az, "reading '%s'", path);
    return ok ? stream : NULL;
}

/* The rows of the grid behind the header. The sets of texts grow in the stream's arena, the table lies in the current scope. */
static az_table *make_block(az_table_stream *stream, const csv_grid *grid)
{
    const int64_t first = !stream->started && stream->layout.header;
    az_table *table = az_table_new(stream->az, grid->rows - first);
    if (!table) return NULL;
    table->path = stream->path;
    return text_table_fill(stream->az, grid, first, &stream->missing, stream->readers, table) ? table : NULL;
}

az_table *az_table_stream_next(az_table_stream *stream)
{
    if (!stream || !az_ok(stream->az)) return NULL;
    if (stream->map) return next_npy(stream);
    if (stream->at_end && stream->held == 0) return NULL;
    csv_grid grid = {0};
    az_table *table = NULL;
    const bool ok = fill(stream) && scan_block(stream, &grid);
    const bool any = ok && grid.rows > (!stream->started && stream->layout.header);
    if (any) table = make_block(stream, &grid);
    if (ok && !any && !stream->started) az_fail(stream->az, AZ_BAD_INPUT, "there is a header, but no row under it");
    if (ok) {
        use(stream, grid.used);
        stream->line = grid.next_line;
        stream->started = true;
    }
    csv_drop(&grid);
    az_fail_context(stream->az, "reading '%s'", stream->path);
    return table;
}
