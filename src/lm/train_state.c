/* train_state.c - the state of a training run as one GGUF file: keys adze.training.{identity,step}, tensors "w.<parameter>", the
 * optimizer's own under its names, and "loss" [step]. Written beside its place and renamed, so that a run killed at any time leaves the old
 * state or the new one. */
#include "lm/files/gguf.h"
#include "lm/train.h"

#include <string.h>
#include <unistd.h>

static const char key_identity[] = "adze.training.identity", key_step[] = "adze.training.step";

/* Everything a state holds, as tensors with names. */
typedef struct az_state_list {
    int n;
    const char **name;
    az_tensor **tensor;
} az_state_list;

static bool list_state(az_ctx *az, az_training *t, az_state_list *list)
{
    az_tensor **moments;
    const char **names;
    const int extra = az_optimizer_state(az, t->optimizer, &moments, &names);
    list->n = 0;
    list->name = az_alloc_array(az, (size_t)(t->n + extra), sizeof *list->name);
    list->tensor = az_alloc_array(az, (size_t)(t->n + extra), sizeof *list->tensor);
    if (!list->name || !list->tensor) return false;
    for (int i = 0; i < t->n; i++) {
        list->name[list->n] = az_format_text(az, "w.%s", t->parameter[i].name);
        list->tensor[list->n++] = t->tensor[i];
    }
    for (int i = 0; i < extra; i++) {
        list->name[list->n] = names[i];
        list->tensor[list->n++] = moments[i];
    }
    return az_ok(az);
}

static uint32_t ggml_type(az_dtype dtype)
{
    return dtype == AZ_F64 ? 28 : 0;
}

static const char *state_path(az_ctx *az, const az_training *t)
{
    return az_format_text(az, "%s/state.gguf", t->settings.resume);
}

static bool declare(az_gguf_writer *writer, const char *name, const az_tensor *x)
{
    uint64_t shape[AZ_GGUF_MAX_RANK] = {1};
    for (int axis = 0; axis < x->rank; axis++) shape[axis] = (uint64_t)x->shape[x->rank - 1 - axis];
    return az_gguf_declare(writer, az_text_of(name), x->rank, shape, ggml_type(x->dtype));
}

static bool write_state(az_ctx *az, az_training *t)
{
    az_state_list list;
    if (!az_make_folder(az, t->settings.resume) || !list_state(az, t, &list)) return false;
    const az_tensor *loss = az_from(az, AZ_F64, 1, &t->step, t->loss);
    az_gguf_writer *writer = az_gguf_create(az, state_path(az, t));
    if (!writer || !loss) return false;
    az_gguf_put_string(writer, key_identity, az_text_of(t->identity));
    az_gguf_put_integer(writer, key_step, t->step);
    for (int i = 0; i < list.n; i++) declare(writer, list.name[i], list.tensor[i]);
    declare(writer, "loss", loss);
    for (int i = 0; i < list.n; i++)
        az_gguf_write(writer, list.tensor[i]->data, (size_t)az_count(list.tensor[i]) * az_dtype_size(list.tensor[i]->dtype));
    az_gguf_write(writer, loss->data, (size_t)t->step * sizeof(double));
    return az_ok(az) && az_gguf_commit(writer);
}

bool az_training_save(az_ctx *az, az_training *t)
{
    az_scope_push(az);
    const bool good = write_state(az, t);
    az_scope_pop(az);
    if (!good) az_fail_context(az, "saving the training state in '%s'", t->settings.resume);
    return good;
}

static bool read_tensor(az_ctx *az, const az_gguf *gguf, const char *name, az_tensor *to)
{
    const az_gguf_tensor *stored = az_gguf_find_tensor(gguf, name);
    if (!stored) return az_fail(az, AZ_BAD_INPUT, "tensor '%s' is missing", name);
    bool fits = stored->type == ggml_type(to->dtype) && stored->rank == to->rank;
    for (int axis = 0; fits && axis < to->rank; axis++) fits = stored->shape[axis] == (uint64_t)to->shape[to->rank - 1 - axis];
    if (!fits) return az_fail(az, AZ_BAD_INPUT, "tensor '%s' has another shape or type", name);
    memcpy(to->data, stored->data, stored->bytes);
    return true;
}

static bool read_state(az_ctx *az, az_training *t, const az_map *map)
{
    const az_gguf *gguf = map ? az_gguf_parse(az, map->data, map->size) : NULL;
    if (!gguf) return false;
    az_text identity = {0};
    int64_t step = -1;
    az_gguf_string(az_gguf_find(gguf, key_identity), &identity);
    az_gguf_integer(az_gguf_find(gguf, key_step), &step);
    if (!az_text_equal(identity, az_text_of(t->identity)))
        return az_fail(az, AZ_BAD_INPUT, "it belongs to a run with other settings, text or model; give the same ones, or another folder");
    if (step < 1 || step > t->settings.steps) return az_fail(az, AZ_BAD_INPUT, "step %lld is not of this run", (long long)step);
    az_state_list list;
    if (!list_state(az, t, &list)) return false;
    for (int i = 0; i < list.n; i++)
        if (!read_tensor(az, gguf, list.name[i], list.tensor[i])) return false;
    az_tensor *loss = az_new1(az, AZ_F64, step);
    if (!loss || !read_tensor(az, gguf, "loss", loss)) return false;
    memcpy(t->loss, loss->data, (size_t)step * sizeof *t->loss);
    az_optimizer_set_steps(t->optimizer, step);
    t->step = step;
    return true;
}

bool az_training_load(az_ctx *az, az_training *t)
{
    az_scope_push(az);
    const char *path = state_path(az, t);
    bool good = path != NULL;
    if (good && access(path, F_OK) == 0) {
        good = read_state(az, t, az_map_file(az, path));
        if (!good) az_fail_context(az, "going on from '%s'", path);
    }
    az_scope_pop(az);
    return good;
}
