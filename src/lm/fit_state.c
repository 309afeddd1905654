/* fit_state.c - the state of a training run as one GGUF file: keys adze.training.{identity,step,tokens,validations}, tensors
 * "w.<parameter>", the optimizer's and the method's own under their names, "loss" [step], and with validation "best.<parameter>" (with
 * patience), "best_note", "valid_step" and "valid_loss". Written beside its place and renamed, so that a run killed at any time leaves the
 * old state or the new one. */
#include "lm/files/gguf.h"
#include "lm/fit.h"

#include <string.h>
#include <unistd.h>

static const char key_identity[] = "adze.training.identity", key_step[] = "adze.training.step", key_tokens[] = "adze.training.tokens",
                  key_validations[] = "adze.training.validations";

/* Everything a state holds, as tensors with names. */
typedef struct az_state_list {
    int n;
    const char **name;
    az_tensor **tensor;
} az_state_list;

static void add(az_state_list *list, const char *name, az_tensor *tensor)
{
    list->name[list->n] = name;
    list->tensor[list->n++] = tensor;
}

static bool list_state(az_ctx *az, az_fitting *f, az_state_list *list)
{
    const az_lm_fit_plan *plan = f->fit.plan;
    az_tensor **moments = NULL, **own = NULL;
    const char **moment_name = NULL, **own_name = NULL;
    const int n_moments = f->fit.optimizer ? az_optimizer_state(az, f->fit.optimizer, &moments, &moment_name) : 0;
    const int n_own = plan->state ? plan->state(az, &f->fit, &own, &own_name) : 0;
    const size_t room = (size_t)(2 * plan->n + n_moments + n_own + 1);
    *list = (az_state_list){.name = az_alloc_array(az, room, sizeof *list->name), .tensor = az_alloc_array(az, room, sizeof *list->tensor)};
    if (!list->name || !list->tensor) return false;
    for (int i = 0; i < plan->n; i++) add(list, az_format_text(az, "w.%s", plan->parameter[i].name), f->fit.value[i]);
    for (int i = 0; i < n_moments; i++) add(list, moment_name[i], moments[i]);
    for (int i = 0; i < n_own; i++) add(list, own_name[i], own[i]);
    for (int i = 0; f->best && i < plan->n; i++) add(list, az_format_text(az, "best.%s", plan->parameter[i].name), f->best[i]);
    if (f->best_note) add(list, "best_note", f->best_note);
    return az_ok(az);
}

static int32_t ggml_type(az_dtype dtype)
{
    switch (dtype) {
    case AZ_F32: return 0;
    case AZ_F16: return 1;
    case AZ_I8: return 24;
    case AZ_I16: return 25;
    case AZ_I32: return 26;
    case AZ_I64: return 27;
    case AZ_F64: return 28;
    case AZ_BF16: return 30;
    default: return -1;
    }
}

static const char *state_path(az_ctx *az, const az_fitting *f)
{
    return az_format_text(az, "%s/state.gguf", f->fit.plan->settings->resume);
}

static bool declare(az_ctx *az, az_gguf_writer *writer, const char *name, const az_tensor *x)
{
    uint64_t shape[AZ_GGUF_MAX_RANK] = {1};
    if (ggml_type(x->dtype) < 0 || x->rank > AZ_GGUF_MAX_RANK || !az_is_contiguous(x))
        return az_fail(az, AZ_BAD_CALL, "tensor '%s' of type %s cannot be part of a training state", name, az_dtype_name(x->dtype));
    for (int axis = 0; axis < x->rank; axis++) shape[axis] = (uint64_t)x->shape[x->rank - 1 - axis];
    return az_gguf_declare(writer, az_text_of(name), x->rank, shape, (uint32_t)ggml_type(x->dtype));
}

/* The losses of the steps and of the validations. */
static bool list_curves(az_ctx *az, const az_fitting *f, az_state_list *list)
{
    const az_lm_fit *fit = &f->fit;
    *list = (az_state_list){.name = az_alloc_array(az, 3, sizeof *list->name), .tensor = az_alloc_array(az, 3, sizeof *list->tensor)};
    if (!list->name || !list->tensor) return false;
    add(list, "loss", az_from(az, AZ_F64, 1, &fit->step, fit->loss));
    if (fit->validations > 0) add(list, "valid_step", az_from(az, AZ_F64, 1, &fit->validations, fit->valid_step));
    if (fit->validations > 0) add(list, "valid_loss", az_from(az, AZ_F64, 1, &fit->validations, fit->valid_loss));
    return az_ok(az);
}

static void write_tensor(az_gguf_writer *writer, const az_tensor *x)
{
    az_gguf_write(writer, x->data, (size_t)az_count(x) * az_dtype_size(x->dtype));
}

static bool write_state(az_ctx *az, az_fitting *f)
{
    const az_lm_fit_plan *plan = f->fit.plan;
    az_state_list list, curves;
    if (!az_make_folder(az, plan->settings->resume) || !list_state(az, f, &list) || !list_curves(az, f, &curves)) return false;
    az_gguf_writer *writer = az_gguf_create(az, state_path(az, f));
    if (!writer) return false;
    az_gguf_put_string(writer, key_identity, az_text_of(plan->identity));
    az_gguf_put_integer(writer, key_step, f->fit.step);
    az_gguf_put_integer(writer, key_tokens, f->fit.tokens);
    az_gguf_put_integer(writer, key_validations, f->fit.validations);
    for (int i = 0; i < list.n; i++) declare(az, writer, list.name[i], list.tensor[i]);
    for (int i = 0; i < curves.n; i++) declare(az, writer, curves.name[i], curves.tensor[i]);
    for (int i = 0; i < list.n; i++) write_tensor(writer, list.tensor[i]);
    for (int i = 0; i < curves.n; i++) write_tensor(writer, curves.tensor[i]);
    return az_ok(az) && az_gguf_commit(writer);
}

bool az_fit_save(az_ctx *az, az_fitting *f)
{
    az_scope_push(az);
    const bool good = write_state(az, f);
    az_scope_pop(az);
    if (!good) az_fail_context(az, "saving the training state in '%s'", f->fit.plan->settings->resume);
    return good;
}

static bool read_tensor(az_ctx *az, const az_gguf *gguf, const char *name, az_tensor *to)
{
    const az_gguf_tensor *stored = az_gguf_find_tensor(gguf, name);
    if (!stored) return az_fail(az, AZ_BAD_INPUT, "tensor '%s' is missing", name);
    bool fits = (int32_t)stored->type == ggml_type(to->dtype) && stored->rank == to->rank;
    for (int axis = 0; fits && axis < to->rank; axis++) fits = stored->shape[axis] == (uint64_t)to->shape[to->rank - 1 - axis];
    if (!fits) return az_fail(az, AZ_BAD_INPUT, "tensor '%s' has another shape or type", name);
    memcpy(to->data, stored->data, stored->bytes);
    return true;
}

static bool read_curve(az_ctx *az, const az_gguf *gguf, const char *name, int64_t n, double *out)
{
    if (n == 0) return true;
    az_tensor *x = az_new1(az, AZ_F64, n);
    if (!x || !read_tensor(az, gguf, name, x)) return false;
    memcpy(out, x->data, (size_t)n * sizeof *out);
    return true;
}

static bool read_state(az_ctx *az, az_fitting *f, const az_map *map)
{
    const az_gguf *gguf = map ? az_gguf_parse(az, map->data, map->size) : NULL;
    if (!gguf) return false;
    const az_lm_fit_plan *plan = f->fit.plan;
    az_text identity = {0};
    int64_t step = -1, tokens = 0, validations = 0;
    az_gguf_string(az_gguf_find(gguf, key_identity), &identity);
    az_gguf_integer(az_gguf_find(gguf, key_step), &step);
    az_gguf_integer(az_gguf_find(gguf, key_tokens), &tokens);
    az_gguf_integer(az_gguf_find(gguf, key_validations), &validations);
    if (!az_text_equal(identity, az_text_of(plan->identity)))
        return az_fail(az, AZ_BAD_INPUT, "it belongs to a run with other settings, text or model; give the same ones, or another folder");
    if (step < 1 || step > plan->settings->steps || validations < 0 || validations > (f->best_note ? step : 0))
        return az_fail(az, AZ_BAD_INPUT, "step %lld is not of this run", (long long)step);
    az_state_list list;
    if (!list_state(az, f, &list)) return false;
    for (int i = 0; i < list.n; i++)
        if (!read_tensor(az, gguf, list.name[i], list.tensor[i])) return false;
    if (!read_curve(az, gguf, "loss", step, f->fit.loss) || !read_curve(az, gguf, "valid_step", validations, f->fit.valid_step) ||
        !read_curve(az, gguf, "valid_loss", validations, f->fit.valid_loss))
        return false;
    if (f->fit.optimizer) az_optimizer_set_steps(f->fit.optimizer, step);
    f->fit.step = step;
    f->fit.tokens = tokens;
    f->fit.validations = validations;
    return true;
}

bool az_fit_load(az_ctx *az, az_fitting *f)
{
    az_scope_push(az);
    const char *path = state_path(az, f);
    bool good = path != NULL;
    if (good && access(path, F_OK) == 0) {
        good = read_state(az, f, az_map_file(az, path));
        if (!good) az_fail_context(az, "going on from '%s'", path);
    }
    az_scope_pop(az);
    return good;
}
