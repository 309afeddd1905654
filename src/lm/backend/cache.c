/* cache.c - replies that were paid for, in SQLite: rows (key, sample), written one transaction each, so that a process may be killed at any
 * time and several may share a file. */
#include "lm/backend/backend_internal.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SCHEMA = 1, BUSY_MILLISECONDS = 5000 };

struct az_cache {
    az_ctx *az;
    const char *path;
    sqlite3 *db;
    sqlite3_stmt *find, *find_vector, *store, *store_vector; /* the last two are NULL where it is only read */
};

/* In one transaction: another process sees no tables, or all of them with their schema. */
static const char CREATE[] = "BEGIN IMMEDIATE;CREATE TABLE IF NOT EXISTS meta(k TEXT PRIMARY KEY, v TEXT);CREATE TABLE IF NOT EXISTS "
                             "reply(key BLOB, idx INT, model TEXT, op TEXT, request TEXT, text TEXT, finish TEXT, ptok INT, ctok INT, aux "
                             "BLOB, created INT, latency_ms REAL, PRIMARY KEY(key, idx)) WITHOUT ROWID;CREATE TABLE IF NOT EXISTS vec(key "
                             "BLOB PRIMARY KEY, dim INT, f32 BLOB);INSERT OR IGNORE INTO meta VALUES('schema', '1');COMMIT;";

static bool cache_fail(az_cache *cache, const char *what)
{
    const int code = sqlite3_errcode(cache->db), reason = sqlite3_system_errno(cache->db);
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        return az_fail(cache->az, AZ_BAD_INPUT, "'%s' is no cache, or a damaged one (%s); move it away to begin anew", cache->path,
                       sqlite3_errmsg(cache->db));
    return az_fail(cache->az, AZ_IO, "the cache '%s': %s: %s%s%s", cache->path, what, sqlite3_errmsg(cache->db), reason ? ": " : "",
                   reason ? strerror(reason) : "");
}

static void close_cache(void *object)
{
    az_cache *cache = object;
    sqlite3_stmt *statement[] = {cache->find, cache->store, cache->find_vector, cache->store_vector};
    for (size_t i = 0; i < sizeof statement / sizeof *statement; i++) sqlite3_finalize(statement[i]);
    sqlite3_close(cache->db);
}

static bool prepare(az_cache *cache, const char *sql, sqlite3_stmt **statement)
{
    return sqlite3_prepare_v2(cache->db, sql, -1, statement, NULL) == SQLITE_OK || cache_fail(cache, "cannot be read");
}

static bool no_cache(az_cache *cache)
{
    return az_fail(cache->az, AZ_BAD_INPUT, "'%s' is a database, but not a cache of replies", cache->path);
}

/* A file of another program, or of another version of this one, is not touched. An empty one is made into a cache, unless it is only read.
 */
static bool check_schema(az_cache *cache, bool reads)
{
    sqlite3_stmt *tables = NULL, *schema = NULL;
    if (!prepare(cache, "SELECT count(*), sum(name = 'meta') FROM sqlite_master", &tables)) return false;
    const bool counted = sqlite3_step(tables) == SQLITE_ROW;
    const int count = sqlite3_column_int(tables, 0), known = sqlite3_column_int(tables, 1);
    if (!counted) cache_fail(cache, "cannot be read");
    sqlite3_finalize(tables);
    if (!counted) return false;
    if (count == 0 && !reads) return true;
    if (!known) return no_cache(cache);
    if (!prepare(cache, "SELECT v FROM meta WHERE k = 'schema'", &schema)) return false;
    const int state = sqlite3_step(schema), version = state == SQLITE_ROW ? sqlite3_column_int(schema, 0) : 0;
    if (state != SQLITE_ROW && state != SQLITE_DONE) cache_fail(cache, "cannot be read");
    sqlite3_finalize(schema);
    if (version == SCHEMA || !az_ok(cache->az)) return az_ok(cache->az);
    if (version == 0) return no_cache(cache);
    return az_fail(cache->az, AZ_BAD_INPUT,
                   "the cache '%s' has the schema %d, this program writes %d; export it with the program that made it, and import it here",
                   cache->path, version, SCHEMA);
}

/* Two processes that change the journal of a new file at once give SQLITE_BUSY without waiting: they take turns here. */
static bool exec_patiently(az_cache *cache, const char *sql)
{
    enum { TURN = 5 /* milliseconds */ };
    int result = sqlite3_exec(cache->db, sql, NULL, NULL, NULL);
    for (int waited = 0; result == SQLITE_BUSY && waited < BUSY_MILLISECONDS; waited += TURN) {
        sqlite3_sleep(TURN);
        result = sqlite3_exec(cache->db, sql, NULL, NULL, NULL);
    }
    return result == SQLITE_OK || cache_fail(cache, "cannot be set up");
}

static bool set_up(az_cache *cache, bool reads)
{
    sqlite3_busy_timeout(cache->db, BUSY_MILLISECONDS);
    if (!check_schema(cache, reads)) return false;
    if (!reads && (!exec_patiently(cache, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;") || !exec_patiently(cache, CREATE)))
        return false;
    if (!reads && (!prepare(cache, "INSERT OR IGNORE INTO reply VALUES(?,?,?,?,?,?,?,?,?,?,?,?)", &cache->store) ||
                   !prepare(cache, "INSERT OR IGNORE INTO vec VALUES(?,?,?)", &cache->store_vector)))
        return false;
    return prepare(cache, "SELECT text, finish, ptok, ctok, aux, latency_ms FROM reply WHERE key = ? AND idx = ?", &cache->find) &&
           prepare(cache, "SELECT f32 FROM vec WHERE key = ?", &cache->find_vector);
}

static az_cache *open_cache(az_ctx *az, const char *path, const char *name, int flags)
{
    az_cache *cache = az_alloc(az, sizeof *cache);
    if (!cache) return NULL;
    *cache = (az_cache){.az = az, .path = az_strdup(az, path)};
    if (!cache->path || !az_on_leave(az, close_cache, cache)) return NULL;
    if (sqlite3_open_v2(name, &cache->db, flags, NULL) != SQLITE_OK) cache_fail(cache, "cannot be opened");
    return az_ok(az) && set_up(cache, flags & SQLITE_OPEN_READONLY) ? cache : NULL;
}

/* Whether the file, and its folder, where the log beside it lies, may be written to. */
static bool is_writable(az_ctx *az, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *folder = slash ? az_format_text(az, "%.*s", (int)(slash - path) + 1, path) : ".";
    return access(path, W_OK) == 0 && folder && access(folder, W_OK) == 0;
}

az_cache *az_cache_open(az_ctx *az, const char *path)
{
    if (access(path, F_OK) == 0 && !az_is_folder(path) && !is_writable(az, path))
        return az_fail(az, AZ_IO, "the cache '%s', or its folder, cannot be written; with --replay it is only read", path);
    return open_cache(az, path, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
}

/* The path as SQLite's URI of a file that nobody changes, so that no log is looked for beside it. */
static const char *unchanging(az_ctx *az, const char *path)
{
    char *uri = az_alloc(az, 3 * strlen(path) + 32), *to = uri;
    if (!uri) return NULL;
    to += sprintf(to, "file:");
    for (; *path; path++) to += sprintf(to, strchr("%?#", *path) ? "%%%02X" : "%c", (unsigned char)*path);
    sprintf(to, "?immutable=1");
    return uri;
}

az_cache *az_cache_open_to_read(az_ctx *az, const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) return az_fail(az, AZ_BAD_INPUT, "there is no cache '%s'", path);
    if (is_writable(az, path)) return open_cache(az, path, path, SQLITE_OPEN_READWRITE);
    const char *log = az_format_text(az, "%s-wal", path);
    const bool logged = log && stat(log, &info) == 0 && info.st_size > 0; /* the log has replies that the file has not */
    const char *name = logged ? path : unchanging(az, path);
    return name ? open_cache(az, path, name, SQLITE_OPEN_READONLY | (logged ? 0 : SQLITE_OPEN_URI)) : NULL;
}

/* ---- rows ---- */

static void bind_key(sqlite3_stmt *statement, const unsigned char *key)
{
    sqlite3_reset(statement);
    sqlite3_bind_blob(statement, 1, key, AZ_KEY_BYTES, SQLITE_STATIC);
}

static char *column_text(az_ctx *az, sqlite3_stmt *statement, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text ? az_strdup(az, text) : NULL;
}

static bool find_vector(az_cache *cache, const unsigned char *key, az_answer *answer)
{
    bind_key(cache->find_vector, key);
    if (sqlite3_step(cache->find_vector) != SQLITE_ROW) return false;
    const size_t bytes = (size_t)sqlite3_column_bytes(cache->find_vector, 0);
    answer->n = (int)(bytes / sizeof(float));
    answer->vector = az_alloc(cache->az, bytes + 1);
    const void *data = sqlite3_column_blob(cache->find_vector, 0);
    if (answer->vector && data) memcpy(answer->vector, data, bytes);
    sqlite3_reset(cache->find_vector);
    return true;
}

bool az_cache_find(az_cache *cache, const unsigned char key[AZ_KEY_BYTES], int index, az_answer *answer)
{
    az_ctx *az = cache->az;
    bind_key(cache->find, key);
    sqlite3_bind_int(cache->find, 2, index);
    const int state = sqlite3_step(cache->find);
    if (state != SQLITE_ROW) {
        if (state != SQLITE_DONE) cache_fail(cache, "cannot be read");
        sqlite3_reset(cache->find);
        return false;
    }
    const char *aux = column_text(az, cache->find, 4), *why = NULL;
    json_t *extra = aux ? az_json_read(az, aux, strlen(aux), &why) : NULL;
    if (extra) az_answer_read(az, extra, answer, &why);
    answer->text = column_text(az, cache->find, 0);
    answer->finish = column_text(az, cache->find, 1);
    answer->prompt_tokens = sqlite3_column_int64(cache->find, 2);
    answer->completion_tokens = sqlite3_column_int64(cache->find, 3);
    answer->milliseconds = sqlite3_column_double(cache->find, 5);
    answer->cached = true;
    sqlite3_reset(cache->find);
    if (!answer->text && !extra) return find_vector(cache, key, answer);
    return az_ok(az);
}

static void bind_text(sqlite3_stmt *statement, int at, const char *text)
{
    sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
}

static bool store_vector(az_cache *cache, const unsigned char *key, const az_answer *answer)
{
    bind_key(cache->store_vector, key);
    sqlite3_bind_int(cache->store_vector, 2, answer->n);
    sqlite3_bind_blob(cache->store_vector, 3, answer->vector, answer->n * (int)sizeof(float), SQLITE_STATIC);
    return sqlite3_step(cache->store_vector) == SQLITE_DONE || cache_fail(cache, "cannot be written");
}

bool az_cache_store(az_cache *cache, const az_call *call, const char *model, bool *stored)
{
    const az_answer *answer = call->answer;
    if (answer->vector && !store_vector(cache, call->key, answer)) return false;
    json_t *extra = answer->next || answer->log_probability ? az_json_keep(cache->az, az_answer_json(answer)) : NULL;
    const char *aux = extra ? az_json_dump(cache->az, extra) : NULL;
    sqlite3_stmt *row = cache->store;
    bind_key(row, call->key);
    sqlite3_bind_int(row, 2, call->index);
    bind_text(row, 3, model);
    bind_text(row, 4, az_operation_name(call->request->operation));
    bind_text(row, 5, call->json);
    bind_text(row, 6, answer->text);
    bind_text(row, 7, answer->finish);
    sqlite3_bind_int64(row, 8, answer->prompt_tokens);
    sqlite3_bind_int64(row, 9, answer->completion_tokens);
    bind_text(row, 10, aux);
    sqlite3_bind_int64(row, 11, (sqlite3_int64)time(NULL));
    sqlite3_bind_double(row, 12, answer->milliseconds);
    const bool good = sqlite3_step(row) == SQLITE_DONE;
    if (!good) cache_fail(cache, "cannot be written");
    *stored = good && sqlite3_changes(cache->db) > 0;
    sqlite3_reset(row);
    return good;
}

const char *az_cache_model(az_cache *cache)
{
    sqlite3_stmt *models = NULL;
    const char *model = NULL;
    if (!prepare(cache, "SELECT DISTINCT model FROM reply ORDER BY model", &models)) return NULL;
    while (sqlite3_step(models) == SQLITE_ROW) {
        const char *next = column_text(cache->az, models, 0);
        if (model)
            az_fail(cache->az, AZ_BAD_INPUT, "'%s' holds replies of several models (%s, %s ...); name one: replay:%s#MODEL", cache->path,
                    model, next, cache->path);
        model = next;
    }
    sqlite3_finalize(models);
    if (!model) az_fail(cache->az, AZ_BAD_INPUT, "'%s' holds no replies", cache->path);
    return az_ok(cache->az) ? model : NULL;
}

/* ---- looking after a file ---- */

bool az_cache_stat(az_ctx *az, const char *path, az_cache_size *size, az_report *report)
{
    az_cache *cache = az_cache_open_to_read(az, path);
    sqlite3_stmt *rows = NULL;
    if (!cache || !prepare(cache,
                           "SELECT model, op, count(*), sum(ptok), sum(ctok), avg(latency_ms) FROM reply GROUP BY model, op "
                           "ORDER BY model, op",
                           &rows))
        return false;
    *size = (az_cache_size){0};
    while (sqlite3_step(rows) == SQLITE_ROW) {
        size->replies += sqlite3_column_int64(rows, 2);
        az_report_row(report, "cache");
        az_report_text(report, "model", column_text(az, rows, 0));
        az_report_text(report, "operation", column_text(az, rows, 1));
        az_report_count(report, "replies", sqlite3_column_int64(rows, 2));
        az_report_count(report, "prompt_tokens", sqlite3_column_int64(rows, 3));
        az_report_count(report, "completion_tokens", sqlite3_column_int64(rows, 4));
        az_report_number(report, "mean_latency", sqlite3_column_double(rows, 5), "ms");
    }
    sqlite3_finalize(rows);
    if (prepare(cache, "SELECT count(*) FROM vec", &rows) && sqlite3_step(rows) == SQLITE_ROW)
        size->vectors = sqlite3_column_int64(rows, 0);
    sqlite3_finalize(rows);
    struct stat info;
    if (stat(path, &info) == 0) size->bytes = info.st_size;
    return az_ok(az);
}

/* One row as an object: key, sample, model, op, request (as text, so that its hash can be checked), reply. */
static json_t *row_json(az_cache *cache, sqlite3_stmt *rows)
{
    unsigned char key[AZ_KEY_BYTES] = {0};
    char hex[2 * AZ_KEY_BYTES + 1];
    az_answer answer = {0};
    const void *blob = sqlite3_column_blob(rows, 0);
    if (blob && sqlite3_column_bytes(rows, 0) == AZ_KEY_BYTES) memcpy(key, blob, AZ_KEY_BYTES);
    az_hex(key, AZ_KEY_BYTES, hex);
    const int index = sqlite3_column_int(rows, 1);
    json_t *row = NULL;
    if (az_cache_find(cache, key, index, &answer))
        row = json_pack("{s:s, s:i, s:s, s:s, s:s, s:o}", "key", hex, "sample", index, "model", sqlite3_column_text(rows, 2), "op",
                        sqlite3_column_text(rows, 3), "request", sqlite3_column_text(rows, 4), "reply", az_answer_json(&answer));
    if (!row) az_fail(cache->az, AZ_BAD_INPUT, "the cache '%s': the row of key %s, sample %d is damaged", cache->path, hex, index);
    return row;
}

int64_t az_cache_export(az_ctx *az, const char *path, FILE *out)
{
    az_cache *cache = az_cache_open_to_read(az, path);
    sqlite3_stmt *rows = NULL;
    int64_t n = 0;
    if (!cache || !prepare(cache, "SELECT key, idx, model, op, request FROM reply ORDER BY key, idx", &rows)) return -1;
    while (az_ok(az) && sqlite3_step(rows) == SQLITE_ROW) {
        az_scope_push(az);
        json_t *line = row_json(cache, rows);
        const char *text = line ? az_json_dump(az, line) : NULL;
        if (text) fprintf(out, "%s\n", text);
        json_decref(line);
        az_scope_pop(az);
        n++;
    }
    sqlite3_finalize(rows);
    return az_ok(az) ? n : -1;
}

/* "complete" -> AZ_COMPLETE; AZ_OPERATIONS for other words. */
static az_operation operation_of(const char *name)
{
    az_operation op = AZ_CHAT;
    while (op < AZ_OPERATIONS && strcmp(name, az_operation_name(op)) != 0) op++;
    return op;
}

static bool import_line(az_cache *cache, const char *text, size_t length, int64_t line)
{
    az_ctx *az = cache->az;
    const char *why = NULL, *key = NULL, *model = NULL, *op = NULL, *request = NULL;
    int index = 0;
    json_t *reply = NULL, *row = az_json_read(az, text, length, &why);
    if (!row || json_unpack(row, "{s:s, s:i, s:s, s:s, s:s, s:o}", "key", &key, "sample", &index, "model", &model, "op", &op, "request",
                            &request, "reply", &reply) != 0)
        return az_fail(az, AZ_BAD_INPUT, "line %lld is no row of a cache: %s", (long long)line,
                       why ? why : "key, sample, model, op, request or reply is missing");
    char hex[65];
    az_answer answer = {0};
    az_request what = {.operation = operation_of(op)};
    az_call call = {.request = &what, .index = index, .json = request, .answer = &answer};
    az_sha256(request, strlen(request), hex);
    az_sha256_bytes(request, strlen(request), call.key);
    if (strcmp(hex, key) != 0) return az_fail(az, AZ_BAD_INPUT, "line %lld: the key is not the hash of the request", (long long)line);
    if (what.operation == AZ_OPERATIONS) return az_fail(az, AZ_BAD_INPUT, "line %lld: no operation is called '%s'", (long long)line, op);
    if (!az_answer_read(az, reply, &answer, &why)) return az_fail(az, AZ_BAD_INPUT, "line %lld: the reply: %s", (long long)line, why);
    bool stored = false; /* one that is there already stays */
    return az_cache_store(cache, &call, model, &stored);
}

/* The rows of the lines in one transaction; their number, -1 with an error. */
static int64_t import_lines(az_cache *cache, const char *lines)
{
    az_ctx *az = cache->az;
    size_t length = 0;
    const char *text = az_read_file(az, lines, &length), *end = text ? text + length : NULL;
    int64_t n = 0;
    bool good = text && (sqlite3_exec(cache->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK || cache_fail(cache, "is in use"));
    for (int64_t line = 1; good && text < end; line++) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        if (!stop) stop = end;
        az_scope_push(az);
        if (stop > text) good = import_line(cache, text, (size_t)(stop - text), line), n++;
        az_scope_pop(az);
        text = stop < end ? stop + 1 : end;
    }
    if (!good) az_fail_context(az, "reading '%s'", lines);
    sqlite3_exec(cache->db, good ? "COMMIT" : "ROLLBACK", NULL, NULL, NULL);
    return good ? n : -1;
}

int64_t az_cache_import(az_ctx *az, const char *path, const char *lines)
{
    az_scope_push(az);
    if (strcmp(lines, "-") != 0 && access(lines, R_OK) != 0)
        az_fail(az, AZ_BAD_INPUT, "cannot read '%s': %s", lines, strerror(errno)); /* before a file is made */
    az_cache *cache = az_ok(az) ? az_cache_open(az, path) : NULL;
    const int64_t n = cache ? import_lines(cache, lines) : -1;
    az_scope_pop(az);
    return n;
}

az_cache *az_cache_of_lines(az_ctx *az, const char *lines)
{
    az_cache *cache = open_cache(az, lines, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    return cache && import_lines(cache, lines) >= 0 ? cache : NULL;
}
