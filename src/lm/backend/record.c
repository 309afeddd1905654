/* record.c - the record of a run: what was asked of whom, with which settings, and what it took. Runs that go on from each other's results
 * stand one behind the other in one file. */
#include "base/json.h"
#include "lm/backend/backend_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- settings ---- */

static json_t *value_of(az_ctx *az, const az_option *o, const void *settings)
{
    const void *field = (const char *)settings + o->offset;
    switch (o->type) {
    case AZ_INT: return json_integer(*(const int64_t *)field);
    case AZ_REAL: return az_number_json(*(const double *)field);
    case AZ_BOOL: return json_boolean(*(const bool *)field);
    default: break;
    }
    const char *text = az_options_get(az, o, settings);
    return az_json_string(text ? text : "", text ? strlen(text) : 0);
}

static json_t *settings_json(az_ctx *az, const az_run_record *record)
{
    json_t *all = json_object();
    for (int i = 0; i < record->n_settings; i++) {
        json_t *one = json_object();
        for (const az_option *o = record->settings[i].table; o && o->name; o++)
            json_object_set_new(one, o->name, value_of(az, o, record->settings[i].settings));
        json_object_set_new(all, record->settings[i].name, one);
    }
    return all;
}

static json_t *input_json(az_ctx *az, const char *path)
{
    char hash[2 * AZ_KEY_BYTES + 1];
    if (!path) return json_null();
    az_scope_push(az);
    const az_map *map = az_map_file(az, path);
    az_sha256(map ? map->data : (const unsigned char *)"", map ? map->size : 0, hash);
    az_scope_pop(az);
    return json_pack("{s:o, s:s}", "path", az_json_string(path, strlen(path)), "sha256", hash);
}

/* ---- usage ---- */

static json_t *usage_json(const az_usage *u)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:o}", "calls", (json_int_t)u->calls, "cached_calls", (json_int_t)u->cached_calls,
                     "failed_calls", (json_int_t)u->failed_calls, "prompt_tokens", (json_int_t)u->prompt_tokens, "completion_tokens",
                     (json_int_t)u->completion_tokens, "estimated", u->estimated, "cost", az_number_json(u->cost), "cached_cost",
                     az_number_json(u->cached_cost));
}

static json_t *backend_json(const az_backend *backend)
{
    json_t *stages = json_object();
    for (const az_stage *s = backend->stages; s; s = s->next) json_object_set_new(stages, s->name, usage_json(&s->usage));
    const az_usage all = az_backend_usage(backend);
    return json_pack("{s:s, s:s, s:o, s:o}", "model", backend->model ? backend->model : "", "identity",
                     backend->identity ? backend->identity : "", "usage", usage_json(&all), "stages", stages);
}

static json_t *backends_json(const az_run_record *record)
{
    json_t *list = json_array();
    for (int i = 0; i < record->backends; i++)
        if (record->backend[i]) json_array_append_new(list, backend_json(record->backend[i]));
    return list;
}

/* ---- the file ---- */

/* Everything that decides the results. */
static json_t *config_json(az_ctx *az, const az_run_record *record)
{
    json_t *models = json_array();
    for (int i = 0; i < record->backends; i++)
        if (record->backend[i]) json_array_append_new(models, json_string(record->backend[i]->identity));
    return json_pack("{s:s, s:I, s:o, s:o, s:o}", "task", record->task, "seed", (json_int_t)record->seed, "input",
                     input_json(az, record->input), "settings", settings_json(az, record), "models", models);
}

static json_t *run_json(az_ctx *az, const az_run_record *record)
{
    char when[32] = "", hash[2 * AZ_KEY_BYTES + 1];
    const time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc)) strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_t *run = config_json(az, record);
    const char *config = az_json_dump(az, run);
    az_sha256(config ? config : "", config ? strlen(config) : 0, hash);
    json_object_set_new(run, "config_sha256", json_string(hash));
    json_object_set_new(run, "version", json_string(az_version()));
    json_object_set_new(run, "time", json_string(when));
    json_object_set_new(run, "status", json_string(record->status));
    json_object_set_new(run, "backends", backends_json(record));
    return run;
}

/* The file as it is, {"runs": []} where there is none; NULL with an error for one of another kind. */
static json_t *read_runs(az_ctx *az, const char *path)
{
    const char *why = NULL;
    size_t length = 0;
    if (access(path, F_OK) != 0) return az_json_keep(az, json_pack("{s:[]}", "runs"));
    const char *text = az_read_file(az, path, &length);
    json_t *all = text ? az_json_read(az, text, length, &why) : NULL;
    if (all && json_is_array(json_object_get(all, "runs"))) return all;
    return az_fail(az, AZ_BAD_INPUT, "'%s' is no record of runs%s%s; give another name to it", path, why ? ": " : "", why ? why : "");
}

bool az_run_record_add(az_ctx *az, const az_run_record *record, const char *path)
{
    az_scope_push(az);
    json_t *all = read_runs(az, path);
    if (all) json_array_append_new(json_object_get(all, "runs"), run_json(az, record));
    char *text = all && az_ok(az) ? json_dumps(all, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    az_out *out = text ? az_create(az, path) : NULL;
    const bool good = out && az_out_write(out, text, strlen(text)) && az_out_write(out, "\n", 1) && az_commit(out);
    free(text);
    az_scope_pop(az);
    return good;
}
