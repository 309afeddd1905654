/* guard_file.c - the ledger of a guard: a text file of JSON lines that is only appended to. */
#include "estimate/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

struct guard_file {
    az_ctx *az;
    const char *path;
    int fd;
};

static void close_file(void *object)
{
    guard_file *file = object;
    if (file->fd >= 0) close(file->fd); /* lets the lock go */
}

/* ---- settings as JSON ---- */

typedef enum field_kind { FIELD_INT, FIELD_REAL, FIELD_BOOL } field_kind;
static const struct {
    const char *name;
    field_kind kind;
    size_t offset;
} fields[] = {
    {"n", FIELD_INT, offsetof(guard_settings, n)},
    {"n_train", FIELD_INT, offsetof(guard_settings, n_train)},
    {"queries", FIELD_INT, offsetof(guard_settings, queries)},
    {"budget", FIELD_INT, offsetof(guard_settings, budget)},
    {"beta", FIELD_REAL, offsetof(guard_settings, beta)},
    {"gaussian", FIELD_BOOL, offsetof(guard_settings, gaussian)},
    {"redraw", FIELD_BOOL, offsetof(guard_settings, redraw)},
    {"threshold", FIELD_REAL, offsetof(guard_settings, threshold)},
    {"sigma", FIELD_REAL, offsetof(guard_settings, sigma)},
    {"scale", FIELD_REAL, offsetof(guard_settings, scale)},
    {"theta", FIELD_REAL, offsetof(guard_settings, theta)},
    {"levels", FIELD_INT, offsetof(guard_settings, levels)},
    {"domain", FIELD_INT, offsetof(guard_settings, domain)},
    {"alpha", FIELD_REAL, offsetof(guard_settings, alpha)},
    {"eps", FIELD_REAL, offsetof(guard_settings, eps)},
    {"seed", FIELD_INT, offsetof(guard_settings, seed)},
    {"test_seed", FIELD_BOOL, offsetof(guard_settings, test_seed)},
};
enum { FIELDS = sizeof fields / sizeof *fields };

static json_t *numbers_json(const double *values, int64_t n)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++) json_array_append_new(list, json_real(values[i]));
    return list;
}

static json_t *settings_json(const guard *g)
{
    json_t *object = json_object();
    json_object_set_new(object, "guard", json_integer(1));
    json_object_set_new(object, "mechanism", json_string(guard_mechanism_names[g->s.mechanism]));
    for (int i = 0; i < FIELDS; i++) {
        const void *at = (const char *)&g->s + fields[i].offset;
        json_object_set_new(object, fields[i].name,
                            fields[i].kind == FIELD_INT    ? json_integer(*(const int64_t *)at)
                            : fields[i].kind == FIELD_REAL ? json_real(*(const double *)at)
                                                           : json_boolean(*(const bool *)at));
    }
    if (g->histogram) json_object_set_new(object, "histogram", numbers_json(g->histogram, g->s.domain));
    return object;
}

static bool read_numbers(const json_t *list, int64_t n, double *out)
{
    if (!json_is_array(list) || (int64_t)json_array_size(list) != n) return false;
    for (int64_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        if (!json_is_number(value)) return false;
        out[i] = json_number_value(value);
    }
    return true;
}

static bool read_settings(az_ctx *az, const json_t *object, guard *g)
{
    guard_settings s = {.mechanism = -1};
    const char *name = json_string_value(json_object_get(object, "mechanism"));
    for (int m = 0; name && m < GUARD_MECHANISMS; m++)
        if (strcmp(guard_mechanism_names[m], name) == 0) s.mechanism = m;
    bool ok = json_integer_value(json_object_get(object, "guard")) == 1 && s.mechanism >= 0;
    for (int i = 0; ok && i < FIELDS; i++) {
        const json_t *value = json_object_get(object, fields[i].name);
        void *at = (char *)&s + fields[i].offset;
        ok = fields[i].kind == FIELD_BOOL  ? json_is_boolean(value)
             : fields[i].kind == FIELD_INT ? json_is_integer(value)
                                           : json_is_number(value);
        if (fields[i].kind == FIELD_INT) *(int64_t *)at = json_integer_value(value);
        if (fields[i].kind == FIELD_REAL) *(double *)at = json_number_value(value);
        if (fields[i].kind == FIELD_BOOL) *(bool *)at = json_is_true(value);
    }
    ok = ok && s.n > 0 && s.queries > 0 && s.budget > 0 && s.levels > 0 && s.beta > 0 && s.beta < 1 && s.domain >= 0 && s.domain < 1 << 26;
    if (!ok) return az_fail(az, AZ_BAD_INPUT, "its first line is no guard's");
    if (!guard_start(az, &s, NULL, g)) return false;
    if (s.mechanism == GUARD_PMW && !read_numbers(json_object_get(object, "histogram"), s.domain, g->histogram))
        return az_fail(az, AZ_BAD_INPUT, "its first line has no histogram");
    return true;
}

/* ---- lines ---- */

/* Appends a line and waits until it is on the disk. */
static bool put_line(guard_file *file, json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17));
    json_decref(object);
    const char *line = text ? az_format_text(file->az, "%s\n", text) : NULL;
    free(text);
    const size_t length = line ? strlen(line) : 0;
    const bool ok = line && write(file->fd, line, length) == (ssize_t)length && fsync(file->fd) == 0;
    if (!ok) az_fail(file->az, AZ_IO, "cannot write '%s': %s", file->path, strerror(errno));
    return ok;
}

static bool read_reply(az_ctx *az, const json_t *object, guard *g)
{
    const json_t *answer = json_object_get(object, "answer"), *paid = json_object_get(object, "paid"),
                 *values = json_object_get(object, "values");
    const bool update = json_is_true(paid) && g->s.mechanism == GUARD_PMW;
    double *domain = update ? az_alloc_array(az, (size_t)g->s.domain, sizeof *domain) : NULL;
    if (!json_is_number(answer) || !json_is_boolean(paid) || json_integer_value(json_object_get(object, "query")) != g->asked + 1 ||
        (update && (!domain || !read_numbers(values, g->s.domain, domain))))
        return az_fail(az, AZ_BAD_INPUT, "answer %lld is damaged", (long long)g->asked + 1);
    guard_replay(g, json_is_true(paid), json_number_value(answer), domain);
    return true;
}

/* Replays the lines; *whole is where the last complete one ends. */
static bool read_lines(az_ctx *az, const char *text, size_t length, guard *g, size_t *whole)
{
    bool first = true;
    *whole = 0;
    for (const char *end; (end = memchr(text + *whole, '\n', length - *whole)); *whole = (size_t)(end + 1 - text)) {
        json_error_t error;
        json_t *object = json_loadb(text + *whole, (size_t)(end - text) - *whole, 0, &error);
        const bool ok = object && (first ? read_settings : read_reply)(az, object, g);
        if (!object) az_fail(az, AZ_BAD_INPUT, "line %lld is not JSON: %s", first ? 1 : (long long)g->asked + 2, error.text);
        json_decref(object);
        if (!ok) return false;
        first = false;
    }
    if (first) return az_fail(az, AZ_BAD_INPUT, "it holds no guard");
    return true;
}

/* ---- files ---- */

static guard_file *open_file(az_ctx *az, const char *path, int flags)
{
    guard_file *file = az_alloc(az, sizeof *file);
    if (!file) return NULL;
    *file = (guard_file){.az = az, .path = az_strdup(az, path), .fd = open(path, flags | O_CLOEXEC, 0600)};
    if (!az_on_leave(az, close_file, file)) return NULL;
    if (file->fd < 0)
        return az_fail(az, errno == ENOENT || errno == EEXIST ? AZ_BAD_INPUT : AZ_IO,
                       errno == EEXIST ? "there is a guard '%s' already" : "cannot open '%s': %s", path, strerror(errno));
    if (flock(file->fd, LOCK_EX) != 0) return az_fail(az, AZ_IO, "cannot lock '%s': %s", path, strerror(errno));
    return file;
}

bool guard_file_new(az_ctx *az, const char *path, const guard *g)
{
    az_scope_push(az); /* the lock goes with it */
    guard_file *file = open_file(az, path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL);
    const bool ok = file && put_line(file, settings_json(g));
    az_scope_pop(az);
    return ok;
}

guard_file *guard_file_open(az_ctx *az, const char *path, guard *g)
{
    guard_file *file = open_file(az, path, O_RDWR | O_APPEND);
    size_t length = 0, whole = 0;
    const char *text = file ? az_read_file(az, path, &length) : NULL;
    if (!text) return NULL;
    const bool ok = read_lines(az, text, length, g, &whole);
    if (!ok) az_fail_context(az, "guard '%s'", path);
    if (ok && whole < length && ftruncate(file->fd, (off_t)whole) != 0)
        return az_fail(az, AZ_IO, "cannot write '%s': %s", path, strerror(errno));
    return ok ? file : NULL;
}

bool guard_file_append(guard_file *file, const guard *g, const guard_reply *reply, const double *domain)
{
    if (!file || !az_ok(file->az)) return false;
    json_t *object = json_object();
    json_object_set_new(object, "query", json_integer(g->asked));
    json_object_set_new(object, "answer", json_real(reply->answer));
    json_object_set_new(object, "paid", json_boolean(reply->paid));
    if (reply->paid && g->s.mechanism == GUARD_PMW) json_object_set_new(object, "values", numbers_json(domain, g->s.domain));
    return put_line(file, object);
}
