/* zeroth_log.c - the record of a run of losses alone: JSON lines, one for what the run was and one for each step. With the model it started
 * from, it makes the result again. */
#include "tune/zeroth.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

bool az_zeroth_log_write(az_ctx *az, const char *path, const char *identity, int queries, const az_zo_record *record, int64_t n)
{
    az_scope_push(az);
    az_out *out = az_create(az, path);
    FILE *stream = out ? az_out_stream(out) : NULL;
    json_t *run = json_string(identity);
    char *quoted = run ? json_dumps(run, JSON_ENCODE_ANY) : NULL;
    if (stream && quoted) fprintf(stream, "{\"run\": %s, \"queries\": %d}\n", quoted, queries);
    for (int64_t t = 0; stream && quoted && t < n; t++) {
        fprintf(stream, "{\"step\": %" PRId64 ", \"lr\": %.17g, \"kappa\": [", t, record[t].lr);
        for (int q = 0; q < queries; q++) /* JSON has no number for a step whose losses had no value */
            fprintf(stream, isfinite(record[t].kappa[q]) ? "%s%.17g" : "%snull", q ? ", " : "", record[t].kappa[q]);
        fputs("]}\n", stream);
    }
    free(quoted);
    json_decref(run);
    const bool good = out && az_commit(out);
    az_scope_pop(az);
    return good;
}

/* ---- reading ---- */

static bool read_head(az_ctx *az, const json_t *line, const char *identity, int queries)
{
    const char *run = json_string_value(json_object_get(line, "run"));
    if (!run) return az_fail(az, AZ_BAD_INPUT, "line 1: no text \"run\": this is no record of steps");
    if (strcmp(run, identity) != 0) return az_fail(az, AZ_BAD_INPUT, "the record is of another run:\n  %s\nnot of\n  %s", run, identity);
    if (json_integer_value(json_object_get(line, "queries")) != queries)
        return az_fail(az, AZ_BAD_INPUT, "line 1: \"queries\" is not %d", queries);
    return true;
}

static bool read_step(az_ctx *az, const json_t *line, int queries, int64_t t, az_zo_record *record)
{
    const json_t *lr = json_object_get(line, "lr"), *kappa = json_object_get(line, "kappa"), *step = json_object_get(line, "step");
    if (!json_is_number(lr) || !json_is_array(kappa) || json_array_size(kappa) != (size_t)queries)
        return az_fail(az, AZ_BAD_INPUT, "line %" PRId64 ": no number \"lr\", or no list \"kappa\" of %d numbers", t + 2, queries);
    if (!json_is_integer(step) || json_integer_value(step) != t)
        return az_fail(az, AZ_BAD_INPUT, "line %" PRId64 ": \"step\" is not %" PRId64, t + 2, t);
    record->lr = json_number_value(lr);
    for (int q = 0; q < queries; q++) {
        const json_t *value = json_array_get(kappa, (size_t)q);
        if (!json_is_number(value) && !json_is_null(value))
            return az_fail(az, AZ_BAD_INPUT, "line %" PRId64 ": \"kappa\" holds what is no number", t + 2);
        record->kappa[q] = json_is_null(value) ? NAN : json_number_value(value);
    }
    return true;
}

static int64_t count_lines(const char *text)
{
    int64_t n = 0;
    for (const char *c = text; *c; c++) n += *c == '\n';
    return n + 1;
}

az_zo_record *az_zeroth_log_read(az_ctx *az, const char *path, const char *identity, int queries, int64_t *n)
{
    char *text = az_read_file(az, path, NULL);
    az_zo_record *record = text ? az_alloc_array(az, (size_t)count_lines(text), sizeof *record) : NULL;
    int64_t lines = 0;
    for (char *at = text; record && *at && az_ok(az); lines++) {
        const size_t length = strcspn(at, "\n");
        json_error_t error;
        json_t *line = json_loadb(at, length, 0, &error);
        if (!json_is_object(line))
            az_fail(az, AZ_BAD_INPUT, "line %" PRId64 " is no JSON object", lines + 1);
        else if (lines == 0)
            read_head(az, line, identity, queries);
        else
            read_step(az, line, queries, lines - 1, &record[lines - 1]);
        json_decref(line);
        at += length + (at[length] == '\n');
    }
    if (lines == 0) az_fail(az, AZ_BAD_INPUT, "the file is empty");
    az_fail_context(az, "'%s'", path);
    *n = lines - 1;
    return az_ok(az) ? record : NULL;
}
