/* pv_state.c - the state of a tuning run as one safetensors file: codes, values, moments, points and whatever else learns, by number; the
 * identity of the run and its step in the metadata. A run killed at any time leaves the old state or the new one. */
#include "compress/pv_tune.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct entry {
    const char *name;
    az_tensor *tensor;
} entry;

typedef struct list {
    entry *item;
    int n;
} list;

static void put(az_ctx *az, list *l, const char *kind, int number, const char *what, int part, az_tensor *x)
{
    if (x) l->item[l->n++] = (entry){az_format_text(az, "%s.%05d.%s.%d", kind, number, what, part), x};
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

/* Every tensor that the run depends on, in the order of the names. */
static bool list_state(az_ctx *az, const az_pv_run *run, list *l)
{
    enum { A_LAYER = AZ_WEIGHT_PARTS + 2 * AZ_PV_VALUES + 3, A_REST = 3 };
    *l = (list){.item = az_alloc_array(az, (size_t)(run->layers * A_LAYER + run->rests * A_REST), sizeof *l->item)};
    if (!l->item) return false;
    for (int i = 0; i < run->layers; i++) {
        const az_pv_layer *layer = &run->layer[i];
        for (int p = 0; p < AZ_WEIGHT_PARTS; p++) put(az, l, "layer", i, "part", p, layer->code->part[p]);
        for (int p = 0; p < AZ_PV_VALUES; p++) put(az, l, "layer", i, "value_m", p, layer->value_m[p]);
        for (int p = 0; p < AZ_PV_VALUES; p++) put(az, l, "layer", i, "value_v", p, layer->value_v[p]);
        put(az, l, "layer", i, "m", 0, layer->m);
        put(az, l, "layer", i, "v", 0, layer->v);
        put(az, l, "layer", i, "point", 0, layer->point);
    }
    for (int i = 0; i < run->rests; i++) {
        put(az, l, "rest", i, "value", 0, run->rest[i].tensor);
        put(az, l, "rest", i, "m", 0, run->rest[i].m);
        put(az, l, "rest", i, "v", 0, run->rest[i].v);
    }
    if (!az_ok(az)) return false;
    qsort(l->item, (size_t)l->n, sizeof *l->item, by_name);
    return true;
}

static const char *state_path(az_ctx *az, const char *folder)
{
    return az_format_text(az, "%s/state.safetensors", folder);
}

bool az_pv_has_state(az_ctx *az, const char *folder)
{
    if (!folder || !*folder) return false;
    az_scope_push(az);
    const char *path = state_path(az, folder);
    const bool there = path && access(path, F_OK) == 0;
    az_scope_pop(az);
    return there;
}

static bool write_state(az_ctx *az, const az_pv_run *run)
{
    list l;
    if (!az_make_folder(az, run->how.resume) || !list_state(az, run, &l)) return false;
    const az_tensor *changes = az_from(az, AZ_F64, 1, &run->step, run->changes), *loss = az_from(az, AZ_F64, 1, &run->step, run->loss);
    az_safetensors_writer *writer = az_safetensors_create(az, state_path(az, run->how.resume));
    if (!writer || !loss || !changes) return false;
    az_safetensors_put_metadata(writer, "identity", run->identity);
    az_safetensors_declare(writer, "changes", AZ_F64, 1, changes->shape);
    for (int i = 0; i < l.n; i++)
        az_safetensors_declare(writer, l.item[i].name, l.item[i].tensor->dtype, l.item[i].tensor->rank, l.item[i].tensor->shape);
    az_safetensors_declare(writer, "run.loss", AZ_F64, 1, loss->shape);
    az_safetensors_write(writer, changes);
    for (int i = 0; i < l.n; i++) az_safetensors_write(writer, l.item[i].tensor);
    az_safetensors_write(writer, loss);
    return az_ok(az) && az_safetensors_commit(writer);
}

bool az_pv_save(az_ctx *az, const az_pv_run *run)
{
    az_scope_push(az);
    const bool good = write_state(az, run);
    az_scope_pop(az);
    if (!good) az_fail_context(az, "saving the state of tuning in '%s'", run->how.resume);
    return good;
}

static bool same_run(az_ctx *az, const az_safetensors *file, const az_pv_run *run)
{
    for (int64_t i = 0; i < file->metadata_count; i++)
        if (strcmp(file->metadata[i].key, "identity") == 0 && strcmp(file->metadata[i].value, run->identity) == 0) return true;
    return az_fail(az, AZ_BAD_INPUT, "it belongs to a run with other settings or text; give the same ones, or another folder");
}

static bool read_state(az_ctx *az, az_pv_run *run, const az_safetensors *file)
{
    list l;
    if (!file || !same_run(az, file, run) || !list_state(az, run, &l)) return false;
    for (int i = 0; i < l.n; i++) {
        const az_tensor *stored = az_safetensors_find(file, l.item[i].name);
        if (!stored || !az_same_shape(stored, l.item[i].tensor) || stored->dtype != l.item[i].tensor->dtype)
            return az_fail(az, AZ_BAD_INPUT, "tensor '%s' is missing or has another shape or type", l.item[i].name);
        az_copy_into(az, l.item[i].tensor, stored);
    }
    const az_tensor *loss = az_safetensors_find(file, "run.loss"), *changes = az_safetensors_find(file, "changes");
    if (!loss || !changes || loss->dtype != AZ_F64 || changes->dtype != AZ_F64 || loss->rank != 1 || loss->shape[0] > run->how.steps ||
        !az_same_shape(loss, changes))
        return az_fail(az, AZ_BAD_INPUT, "its curve is missing or too long");
    run->step = loss->shape[0];
    for (int64_t i = 0; i < run->step; i++) run->loss[i] = az_item(loss, i), run->changes[i] = az_item(changes, i);
    for (int i = 0; i < run->layers; i++) {
        const az_pv_layer *layer = &run->layer[i];
        const az_weight *code = layer->code;
        if (!az_weight_from_parts(az, code->format, code->rows, code->cols, code->part)) return false; /* codes beyond the books */
        az_copy_into(az, layer->matrix, az_weight_decode(az, code));
    }
    return az_ok(az);
}

bool az_pv_load(az_ctx *az, az_pv_run *run)
{
    az_scope_push(az);
    bool good = true;
    if (az_pv_has_state(az, run->how.resume)) {
        const char *path = state_path(az, run->how.resume);
        good = path && read_state(az, run, az_safetensors_read(az, path));
        if (!good) az_fail_context(az, "going on from '%s'", path);
    }
    az_scope_pop(az);
    return good;
}
