/* adapter_read.c - PEFT's folders: the configuration is believed only where the tensors agree with it. */
#include "lm/files/adapter_files.h"
#include "lm/files/huggingface.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How many modules something is said of, and the first of them. */
typedef struct az_remark {
    int n;
    const char *first;
} az_remark;

typedef struct az_adapter_folder {
    const az_lm *lm;
    const json_t *config;
    const az_safetensors *file;
    bool *used; /* [file->count] */
    az_module *module;
    int modules;
    az_adapter *adapter;
    az_dtype dtype;                         /* of the activations */
    az_remark outside, missing, magnitudes; /* pairs beside no target; targets without a pair; magnitudes without use_dora */
} az_adapter_folder;

/* ---- the configuration ---- */

static double number(const az_adapter_folder *f, const char *key, double fallback)
{
    const json_t *value = json_object_get(f->config, key);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

/* The value of a pattern for a module, as PEFT finds it; `fallback` when no key matches. */
static double pattern_value(az_ctx *az, const az_adapter_folder *f, const char *pattern, const char *path, double fallback)
{
    const char *key;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)json_object_get(f->config, pattern), key, value)
    {
        const char *expression = az_format_text(az, "(.*\\.)?(%s)", *key == '^' ? key + 1 : key);
        if (expression && json_is_number(value) && az_matches_expression(az, expression, path)) return json_number_value(value);
    }
    return fallback;
}

/* ---- tensors ---- */

static const char prefix[] = "base_model.model.";

/* The tensor of a module with one of the endings ("a|b"), in the type of the activations; NULL when there is none. */
static az_tensor *take(az_ctx *az, az_adapter_folder *f, const char *path, const char *const *endings)
{
    for (; *endings; endings++) {
        const char *name = az_format_text(az, "%s%s.%s", prefix, path, *endings);
        for (int64_t i = 0; name && i < f->file->count; i++) {
            if (strcmp(f->file->item[i].name, name) != 0) continue;
            const az_tensor *x = f->file->item[i].value;
            f->used[i] = true;
            if (x->dtype != AZ_F32 && x->dtype != AZ_F64 && x->dtype != AZ_F16 && x->dtype != AZ_BF16)
                return az_fail(az, AZ_BAD_INPUT, "tensor '%s' is stored as %s; f32, f16, bf16 and f64 are read", name,
                               az_dtype_name(x->dtype));
            az_tensor *out = x->dtype == f->dtype ? az_copy(az, x) : az_cast(az, x, f->dtype);
            if (out && az_first_nonfinite(out) >= 0) return az_fail(az, AZ_NUMERIC, "tensor '%s' has values that are not finite", name);
            return out;
        }
    }
    return NULL;
}

static bool expect_shape(az_ctx *az, const az_module *module, const char *what, const az_tensor *x, int rank, const int64_t *shape)
{
    bool fits = x->rank == rank;
    for (int i = 0; fits && i < rank; i++) fits = x->shape[i] == shape[i];
    if (fits) return true;
    const char *wanted = rank == 2 ? az_format_text(az, "[%lld, %lld]", (long long)shape[0], (long long)shape[1])
                                   : az_format_text(az, "[%lld]", (long long)shape[0]);
    return az_fail(az, AZ_BAD_INPUT, "%s of '%s' has the shape %s; for this model it should be %s", what, module->path,
                   az_shape_text(az, x), wanted);
}

/* What lies in the folder for one module. */
typedef struct az_module_tensors {
    az_tensor *a, *b, *e, *magnitude, *b_bias, *bias, *weight; /* weight of a norm: its gains [out] */
} az_module_tensors;

static bool take_all(az_ctx *az, az_adapter_folder *f, const az_module *module, az_module_tensors *t)
{
    static const char *const a[] = {"lora_A.weight", "lora_A.default.weight", "lora_A", NULL};
    static const char *const b[] = {"lora_B.weight", "lora_B.default.weight", "lora_B", NULL};
    static const char *const table_a[] = {"lora_embedding_A", "lora_embedding_A.default", NULL};
    static const char *const table_b[] = {"lora_embedding_B", "lora_embedding_B.default", NULL};
    static const char *const e[] = {"lora_E", NULL}, *const b_bias[] = {"lora_B.bias", "lora_B.default.bias", NULL};
    static const char *const magnitude[] = {"lora_magnitude_vector", "lora_magnitude_vector.weight", "lora_magnitude_vector.default.weight",
                                            NULL};
    static const char *const bias[] = {"base_layer.bias", "bias", NULL}, *const weight[] = {"weight", "modules_to_save.default.weight",
                                                                                            NULL};
    *t = (az_module_tensors){.a = take(az, f, module->path, module->table ? table_a : a),
                             .b = take(az, f, module->path, module->table ? table_b : b),
                             .e = take(az, f, module->path, e),
                             .magnitude = take(az, f, module->path, magnitude),
                             .b_bias = take(az, f, module->path, b_bias),
                             .bias = take(az, f, module->path, bias),
                             .weight = take(az, f, module->path, weight)};
    return az_ok(az);
}

static bool check_pair(az_ctx *az, const az_adapter_folder *f, const az_module *module, const az_module_tensors *t)
{
    if (!t->a != !t->b)
        return az_fail(az, AZ_BAD_INPUT, "'%s' has a matrix %s without its %s", module->path, t->a ? "A" : "B", t->a ? "B" : "A");
    if (!t->a) {
        if (t->e || t->magnitude || t->b_bias)
            return az_fail(az, AZ_BAD_INPUT, "'%s' has a part of an adapter but no matrices A and B", module->path);
        return true;
    }
    const int64_t rank = t->a->rank == 2 ? t->a->shape[0] : 0;
    if (rank < 1) return az_fail(az, AZ_BAD_INPUT, "the matrix A of '%s' has the shape %s", module->path, az_shape_text(az, t->a));
    if (!expect_shape(az, module, "the matrix A", t->a, 2, (int64_t[]){rank, module->in}) ||
        !expect_shape(az, module, "the matrix B", t->b, 2, (int64_t[]){module->out, rank}))
        return false;
    if (strcmp(f->adapter->kind, "ADALORA") == 0) return true; /* ranks are what is left of init_r */
    const double said = pattern_value(az, f, "rank_pattern", module->path, number(f, "r", 8));
    if (said != (double)rank)
        return az_fail(az, AZ_BAD_INPUT, "adapter_config.json gives '%s' the rank %g, its tensors have %lld", module->path, said,
                       (long long)rank);
    return true;
}

static void remark(az_remark *about, const az_module *module)
{
    if (about->n++ == 0) about->first = module->path;
}

/* As PEFT does, the configuration decides: what lies beside no target is left out, magnitudes without use_dora as well; a target without a
 * pair stays as it is. A module to save must be there. */
static bool fit_scope(az_ctx *az, az_adapter_folder *f, const az_module *module, az_module_tensors *t)
{
    const bool pair = t->a || t->b || t->e || t->magnitude || t->b_bias, linear = module->part[0]->weight;
    const bool told = az_scope_is_told(f->config), target = told && az_scope_targets(az, f->config, module);
    if (told && pair && !target) {
        remark(&f->outside, module);
        t->a = t->b = t->e = t->magnitude = t->b_bias = NULL;
    }
    if (target && linear && !pair && strcmp(f->adapter->kind, "LORA") == 0) remark(&f->missing, module);
    if (t->magnitude && !json_is_true(json_object_get(f->config, "use_dora"))) {
        remark(&f->magnitudes, module);
        t->magnitude = NULL;
    }
    const bool whole = t->weight && (t->bias || !module->part[0]->bias);
    if (az_ok(az) && az_scope_saves(f->config, module) && !whole)
        return az_fail(az, AZ_BAD_INPUT, "\"modules_to_save\" has '%s', but the tensor '%s%s.%s' is missing", module->path, prefix,
                       module->path, t->weight ? "bias" : "weight");
    return az_ok(az);
}

static bool check_rest(az_ctx *az, const az_module *module, const az_module_tensors *t)
{
    const int64_t vector[] = {module->out}, rank = t->a ? t->a->shape[0] : 0;
    const int64_t matrix[] = {module->turned || module->table ? module->in : module->out,
                              module->turned || module->table ? module->out : module->in};
    if (t->e && t->e->rank != 1 && !expect_shape(az, module, "lora_E", t->e, 2, (int64_t[]){rank, 1})) return false;
    if (t->e && t->e->rank == 1 && !expect_shape(az, module, "lora_E", t->e, 1, &rank)) return false;
    const bool norm = !module->part[0]->weight;
    if (norm && t->a) return az_fail(az, AZ_BAD_INPUT, "'%s' is a norm, beside which no pair can sit", module->path);
    if (t->magnitude && module->table) return az_fail(az, AZ_BAD_INPUT, "DoRA of an embedding is not known here");
    return (!t->magnitude || expect_shape(az, module, "the magnitude", t->magnitude, 1, vector)) &&
           (!t->b_bias || expect_shape(az, module, "the bias of B", t->b_bias, 1, vector)) &&
           (!t->bias || expect_shape(az, module, "the bias", t->bias, 1, vector)) &&
           (!t->weight || expect_shape(az, module, "the weight", t->weight, norm ? 1 : 2, norm ? vector : matrix));
}

/* ---- layers ---- */

/* Where the ones of a matrix of ones and zeros stand, which has one in each of its rows (each of its columns); NULL when it is not such.
 * A [rank, in] with one in each row picks inputs, B [out, rank] with one in each column the outputs that are added to. */
static az_tensor *picked(az_ctx *az, const az_tensor *x, bool by_rows)
{
    const int64_t lines = x->shape[by_rows ? 0 : 1], length = x->shape[by_rows ? 1 : 0];
    const int64_t next_line = by_rows ? length : 1, next = by_rows ? 1 : lines;
    az_tensor *at = az_new1(az, AZ_I32, lines);
    for (int64_t k = 0; at && k < lines; k++) {
        int64_t ones = 0;
        for (int64_t i = 0; i < length; i++) {
            const double value = az_item(x, k * next_line + i * next);
            if (value != 0 && value != 1) return NULL;
            if (value == 1) ones++, ((int32_t *)at->data)[k] = (int32_t)i;
        }
        if (ones != 1) return NULL;
    }
    return at;
}

static bool fill_part(az_ctx *az, az_adapter_folder *f, const az_module *module, az_module_tensors *t, int k)
{
    const int64_t rank = t->a ? t->a->shape[0] : 0;
    const bool adalora = strcmp(f->adapter->kind, "ADALORA") == 0;
    const double started = number(f, "init_r", 12); /* AdaLoRA's scale stays that of the rank it started with */
    const double alpha = pattern_value(az, f, "alpha_pattern", module->path, number(f, "lora_alpha", 8));
    az_adapter_layer *layer = az_adapter_add_layer(az, f->lm, f->adapter, module->part[k]->name, rank, alpha);
    if (!layer) return false;
    az_arena_enter(az, f->adapter->arena);
    if (rank > 0) {
        layer->a = module->table ? az_contiguous(az, az_transpose(az, t->a)) : az_copy(az, t->a);
        layer->b = module->table ? az_copy(az, t->b) : az_module_part(az, f->lm, module, t->b, k);
        if (!module->table) layer->from = picked(az, layer->a, true);
        if (!module->table && !layer->from) layer->to = picked(az, layer->b, false);
        if (t->e) layer->e = az_reshape(az, az_copy(az, t->e), 1, (int64_t[]){rank});
        if (adalora) layer->scale = (alpha > 0 ? alpha : started) / (started + 1e-5);
    }
    if (t->magnitude) layer->magnitude = az_module_part(az, f->lm, module, t->magnitude, k);
    if (t->b_bias) layer->b_bias = az_module_part(az, f->lm, module, t->b_bias, k);
    if (t->bias) layer->bias = az_module_part(az, f->lm, module, t->bias, k);
    if (t->weight && !module->part[k]->weight) {
        const az_lm_family *family = az_lm_family_by_arch(az_lm_architecture(f->lm));
        layer->gain = az_affine(az, az_module_part(az, f->lm, module, t->weight, k), 1, family ? family->norm_shift : 0);
    } else if (t->weight) {
        const az_tensor *whole = module->turned ? az_contiguous(az, az_transpose(az, t->weight)) : t->weight;
        layer->weight = az_weight_dense(az, module->table ? az_copy(az, whole) : az_module_part(az, f->lm, module, whole, k));
    }
    if (layer->magnitude) layer->row_norm = az_adapter_row_norm(az, layer->weight ? layer->weight : module->part[k]->weight, layer);
    az_arena_leave(az);
    return az_ok(az);
}

static bool read_module(az_ctx *az, az_adapter_folder *f, const az_module *module)
{
    az_module_tensors t;
    if (!take_all(az, f, module, &t)) return false;
    const bool adalora = strcmp(f->adapter->kind, "ADALORA") == 0;
    if (adalora && t.a && t.a->rank == 2 && t.a->shape[0] == 0) return true; /* nothing of it is left */
    if (!fit_scope(az, f, module, &t) || !check_pair(az, f, module, &t) || !check_rest(az, module, &t)) return false;
    if (!t.a && !t.bias && !t.weight) return true;
    for (int k = 0; k < module->parts; k++)
        if (!fill_part(az, f, module, &t, k)) return false;
    return true;
}

/* Whether BOS is among the virtual tokens: adze tells it, and PEFT has the tokens of a CPT prompt. */
static bool has_bos(const az_adapter_folder *f)
{
    const int32_t bos = az_token_bos(f->lm->tokenizer);
    const json_t *first = json_array_get(json_object_get(f->config, "cpt_token_ids"), 0);
    if (bos < 0) return false;
    return json_is_true(json_object_get(f->config, "adze_bos")) || (json_is_integer(first) && json_integer_value(first) == bos);
}

/* The templates that the adapter was tuned with, if it says them. */
static bool read_form(az_ctx *az, az_adapter_folder *f)
{
    const json_t *list = json_object_get(f->config, "adze_form");
    const char *text[4];
    if (!list || json_is_null(list)) return true;
    for (size_t i = 0; i < 4; i++) {
        text[i] = json_array_size(list) == 4 ? json_string_value(json_array_get(list, i)) : NULL;
        if (!text[i]) return az_fail(az, AZ_BAD_INPUT, "\"adze_form\" is not the four texts of input, output, within and between");
    }
    az_lm_form *form = az_alloc(az, sizeof *form);
    if (!form) return false;
    *form = (az_lm_form){.input = az_strdup(az, text[0]),
                         .output = az_strdup(az, text[1]),
                         .within = az_strdup(az, text[2]),
                         .between = az_strdup(az, text[3])};
    f->adapter->form = form;
    return az_ok(az) && az_lm_form_check(az, form);
}

static bool read_virtual(az_ctx *az, az_adapter_folder *f)
{
    const az_tensor *x = az_safetensors_find(f->file, "prompt_embeddings");
    if (!x) return az_fail(az, AZ_BAD_INPUT, "tensor 'prompt_embeddings' is missing");
    for (int64_t i = 0; i < f->file->count; i++)
        if (f->file->item[i].value == x) f->used[i] = true;
    const az_lm_config *c = &f->lm->config;
    const bool is_prefix = strcmp(f->adapter->kind, "PREFIX_TUNING") == 0;
    const int64_t width = is_prefix ? c->blocks * 2 * c->kv_heads * c->head_dim : c->width;
    if (is_prefix && json_is_true(json_object_get(f->config, "prefix_projection")))
        return az_fail(az, AZ_BAD_INPUT, "\"prefix_projection\" is set, which is not known here; save the prefix it makes");
    if (x->rank != 2 || x->shape[1] != width || x->shape[0] < 1 || x->shape[0] >= c->context)
        return az_fail(az, AZ_BAD_INPUT, "'prompt_embeddings' has the shape %s; for this model it should be [tokens, %lld]",
                       az_shape_text(az, x), (long long)width);
    if (az_first_nonfinite(x) >= 0) return az_fail(az, AZ_NUMERIC, "'prompt_embeddings' has values that are not finite");
    az_arena_enter(az, f->adapter->arena);
    f->adapter->virtual_tokens = x->shape[0];
    f->adapter->has_bos = has_bos(f);
    az_tensor *rows = az_copy(az, x->dtype == f->dtype ? x : az_cast(az, x, f->dtype));
    if (is_prefix)
        f->adapter->prefix = az_prefix_reorder(az, f->lm, rows, false);
    else
        f->adapter->prompt = rows;
    const bool good = read_form(az, f);
    az_arena_leave(az);
    return good && az_ok(az);
}

/* A tensor of generators, whose place has the shape that it should have. */
static bool fill_generator(az_ctx *az, az_adapter_folder *f, const az_lm_parameter *into)
{
    int64_t i = 0;
    while (i < f->file->count && strcmp(f->file->item[i].name, into->name) != 0) i++;
    if (i == f->file->count) return az_fail(az, AZ_BAD_INPUT, "tensor '%s' is missing", into->name);
    const az_tensor *x = f->file->item[i].value;
    f->used[i] = true;
    if (!az_same_shape(x, *into->slot))
        return az_fail(az, AZ_BAD_INPUT, "'%s' has the shape %s; for this model it should be %s", into->name, az_shape_text(az, x),
                       az_shape_text(az, *into->slot));
    if (az_first_nonfinite(x) >= 0) return az_fail(az, AZ_NUMERIC, "'%s' has values that are not finite", into->name);
    az_copy_into(az, *into->slot, x);
    return az_ok(az);
}

static bool read_generators(az_ctx *az, az_adapter_folder *f)
{
    const int64_t tokens = json_integer_value(json_object_get(f->config, "num_virtual_tokens"));
    az_generators how;
    if (!az_generators_read_config(az, f->config, f->lm, &how) || !az_generator_sizes(az, f->file, &how, tokens, f->lm) ||
        !az_adapter_add_generators(az, f->lm, f->adapter, &how, tokens))
        return false;
    az_lm_parameter *into;
    const int n = az_generator_tensors(az, f->adapter, &into);
    for (int i = 0; i < n; i++)
        if (!fill_generator(az, f, &into[i])) return false;
    return az_ok(az);
}

/* ---- the folder ---- */

static void note_scope(az_ctx *az, const az_adapter_folder *f)
{
    if (f->outside.n > 0)
        az_note(az, "the tensors of %d modules are not read: \"target_modules\" leaves them out ('%s' is the first)", f->outside.n,
                f->outside.first);
    if (f->missing.n > 0)
        az_note(az, "%d modules that \"target_modules\" names have no tensors and stay as they are ('%s' is the first)", f->missing.n,
                f->missing.first);
    if (f->magnitudes.n > 0) az_note(az, "the magnitudes of %d modules are not read: \"use_dora\" is not set", f->magnitudes.n);
    int with_term = 0, of_no_effect = 0;
    for (int i = 0; i < f->adapter->layers; i++) {
        with_term += f->adapter->layer[i].a != NULL;
        of_no_effect += f->adapter->layer[i].a && f->adapter->layer[i].scale == 0;
    }
    if (of_no_effect > 0) az_note(az, "alpha is 0 in %d of %d layers: their low-rank terms change nothing", of_no_effect, with_term);
    az_scope_note_saved(az, f->config, f->module, f->modules);
}

static bool read_tensors(az_ctx *az, az_adapter_folder *f)
{
    f->used = az_alloc_array(az, (size_t)f->file->count + 1, sizeof *f->used);
    f->modules = az_modules(az, f->lm, &f->module);
    if (!f->used || f->modules == 0) return false;
    f->adapter->dropout = number(f, "lora_dropout", 0);
    f->adapter->rank_stabilized = json_is_true(json_object_get(f->config, "use_rslora"));
    const bool layers = strcmp(f->adapter->kind, "LORA") == 0 || strcmp(f->adapter->kind, "ADALORA") == 0;
    const bool generates = strcmp(f->adapter->kind, "IAPT") == 0;
    if (!layers && !(generates ? read_generators : read_virtual)(az, f)) return false;
    for (int i = 0; i < f->modules; i++)
        if (!read_module(az, f, &f->module[i])) return false;
    for (int64_t i = 0; i < f->file->count; i++)
        if (!f->used[i]) return az_fail(az, AZ_BAD_INPUT, "tensor '%s' belongs to nothing in this model", f->file->item[i].name);
    if (f->adapter->layers == 0 && f->adapter->virtual_tokens == 0)
        return az_fail(az, AZ_BAD_INPUT,
                       f->outside.n ? "no tensor lies beside a module that \"target_modules\" names" : "the adapter is empty");
    note_scope(az, f);
    bool dora = false;
    for (int i = 0; i < f->adapter->layers; i++) dora = dora || f->adapter->layer[i].magnitude;
    if (json_is_true(json_object_get(f->config, "use_dora")) && !dora)
        return az_fail(az, AZ_BAD_INPUT, "\"use_dora\" is set, but no layer has a magnitude");
    return true;
}

/* The digest of the weights that the adapter is for, where it is for those alone. */
static bool read_base(az_ctx *az, az_adapter_folder *f)
{
    for (int64_t i = 0; i < f->file->metadata_count; i++) {
        if (strcmp(f->file->metadata[i].key, AZ_BASE_KEY) != 0) continue;
        az_arena_enter(az, f->adapter->arena);
        f->adapter->base = az_strdup(az, f->file->metadata[i].value);
        az_arena_leave(az);
    }
    return az_ok(az);
}

static const char *last_word(const char *folder)
{
    const char *slash = strrchr(folder, '/');
    return slash && slash[1] ? slash + 1 : folder;
}

static az_adapter *read_folder(az_ctx *az, const az_lm *lm, const char *folder, const json_t *config)
{
    const char *kind = az_config_kind(az, config);
    az_adapter_folder f = {.lm = lm, .config = config, .dtype = lm->embedding->part[0]->dtype == AZ_F64 ? AZ_F64 : AZ_F32};
    f.file = kind ? az_safetensors_read(az, az_format_text(az, "%s/adapter_model.safetensors", folder)) : NULL;
    f.adapter = f.file ? az_adapter_empty(az, last_word(folder), kind) : NULL;
    if (f.adapter && az_config_check(az, config, f.adapter) && read_base(az, &f) && read_tensors(az, &f) &&
        az_adapter_check(az, f.adapter, lm))
        return f.adapter;
    az_adapter_free(az, f.adapter);
    return NULL;
}

az_adapter *az_adapter_read(az_ctx *az, const az_lm *lm, const char *folder)
{
    if (!lm || !az_ok(az)) return NULL;
    az_scope_push(az);
    const char *path = az_format_text(az, "%s/adapter_config.json", folder), *model = az_format_text(az, "%s/config.json", folder);
    if (model && access(path, F_OK) != 0 && access(model, F_OK) == 0)
        az_fail(az, AZ_BAD_INPUT, "this is the folder of a model, not of an adapter: it has config.json, but no adapter_config.json");
    const char *text = az_read_file(az, path, NULL);
    json_error_t error;
    json_t *config = text ? json_loads(text, 0, &error) : NULL;
    if (text && !json_is_object(config)) az_fail(az, AZ_BAD_INPUT, "adapter_config.json is no JSON object: %s", config ? "" : error.text);
    az_adapter *adapter = json_is_object(config) ? read_folder(az, lm, folder, config) : NULL;
    json_decref(config);
    az_scope_pop(az);
    if (!adapter) az_fail_context(az, "reading the adapter '%s'", folder);
    return adapter;
}
