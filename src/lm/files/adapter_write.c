/* adapter_write.c - an adapter as PEFT's folder. */
#include "lm/files/adapter_files.h"
#include "lm/files/huggingface.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- a module's pair ---- */

/* The low-rank term of a module: s B diag(e) A with A [rank, in], B [out, rank] and e [rank] or NULL. */
typedef struct az_pair {
    int64_t rank;
    double scale;
    az_tensor *a, *b, *e;
} az_pair;

static az_pair pair_of(const az_adapter_layer *layer)
{
    return (az_pair){.rank = layer->rank, .scale = layer->scale, .a = layer->a, .b = layer->b, .e = layer->e};
}

static bool same_values(const az_tensor *a, const az_tensor *b)
{
    return az_same_shape(a, b) && a->dtype == b->dtype && memcmp(a->data, b->data, (size_t)az_count(a) * az_dtype_size(a->dtype)) == 0;
}

/* Whether all parts have a term and read the same A with the same scale, as those of a joint module that was read have. */
static bool shares_a(const az_adapter *adapter, const az_module *module)
{
    const az_adapter_layer *first = az_adapter_find(adapter, module->part[0]->name);
    for (int k = 0; k < module->parts; k++) {
        const az_adapter_layer *layer = az_adapter_find(adapter, module->part[k]->name);
        if (!layer || !layer->a || layer->e || layer->scale != first->scale || !same_values(layer->a, first->a)) return false;
    }
    return true;
}

/* Parts with terms of their own: A stacked, B block-diagonal, each with its scale relative to the first's. */
static bool stack(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const az_module *module, az_pair *out)
{
    az_tensor *a[AZ_MODULE_PARTS], *b[AZ_MODULE_PARTS];
    int stacked = 0;
    *out = (az_pair){0};
    for (int k = 0; k < module->parts; k++) {
        const az_adapter_layer *layer = az_adapter_find(adapter, module->part[k]->name);
        if (!layer || !layer->a) continue;
        if (out->scale == 0) out->scale = layer->scale;
        out->rank += layer->rank;
        a[stacked++] = layer->a;
    }
    int64_t before = 0;
    for (int k = 0; k < module->parts; k++) {
        const az_adapter_layer *layer = az_adapter_find(adapter, module->part[k]->name);
        if (!layer || !layer->a) {
            b[k] = az_zeros(az, a[0]->dtype, 2, (int64_t[]){module->part[k]->out, out->rank});
            continue;
        }
        az_tensor *x = layer->e ? az_mul(az, layer->b, layer->e) : layer->b;
        if (layer->scale != out->scale) x = az_affine(az, x, layer->scale / out->scale, 0);
        b[k] = az_pad(az, x, 1, before, out->rank - before - layer->rank);
        before += layer->rank;
    }
    out->a = az_concat(az, a, stacked, 0);
    out->b = az_module_join(az, lm, module, b);
    return out->a && out->b;
}

/* False without an error when the module has no low-rank term. */
static bool module_pair(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const az_module *module, az_pair *out)
{
    bool any = false;
    for (int k = 0; k < module->parts; k++) {
        const az_adapter_layer *layer = az_adapter_find(adapter, module->part[k]->name);
        any = any || (layer && layer->a);
    }
    if (!any) return false;
    if (module->parts > 1 && !shares_a(adapter, module)) return stack(az, lm, adapter, module, out);
    *out = pair_of(az_adapter_find(adapter, module->part[0]->name));
    az_tensor *b[AZ_MODULE_PARTS];
    for (int k = 0; k < module->parts; k++) b[k] = az_adapter_find(adapter, module->part[k]->name)->b;
    if (!module->table) out->b = az_module_join(az, lm, module, b);
    return out->b != NULL;
}

/* ---- the list of tensors ---- */

typedef struct az_adapter_file {
    const az_lm *lm;
    const az_adapter *adapter;
    az_dtype dtype;
    int n, room;
    az_named_tensor *item;
    json_t *targets, *saved, *ranks, *alphas; /* of the configuration; ranks and alphas of all modules */
    json_t *kept;                             /* AdaLoRA: which triplets of each module are left */
} az_adapter_file;

static bool add(az_ctx *az, az_adapter_file *f, const char *name, az_tensor *value)
{
    if (!name || !value || f->n == f->room) return false;
    if (value->dtype != f->dtype) value = az_cast(az, value, f->dtype);
    f->item[f->n++] = (az_named_tensor){.name = name, .value = az_contiguous(az, value)};
    return f->item[f->n - 1].value != NULL;
}

static const char *tensor_name(az_ctx *az, const az_module *module, const char *ending)
{
    return az_format_text(az, "base_model.model.%s.%s", module->path, ending);
}

static double alpha_of(const az_adapter *adapter, const az_pair *pair)
{
    return pair->scale * (adapter->rank_stabilized ? sqrt((double)pair->rank) : (double)pair->rank);
}

static bool is_adalora(const az_adapter_file *f)
{
    return strcmp(f->adapter->kind, "ADALORA") == 0;
}

/* The rank that all modules started with: as the adapter's further fields say, or the largest there is. */
static int64_t started_rank(const az_adapter_file *f)
{
    json_t *more = f->adapter->config ? json_loads(f->adapter->config, 0, NULL) : NULL;
    int64_t rank = json_integer_value(json_object_get(more, "init_r"));
    json_decref(more);
    for (int i = 0; i < f->adapter->layers; i++)
        if (f->adapter->layer[i].rank > rank) rank = f->adapter->layer[i].rank;
    return rank;
}

/* Leaves the triplets whose value is not zero, and notes which they are. */
static bool keep_triplets(az_ctx *az, az_adapter_file *f, const az_module *module, az_pair *pair)
{
    if (module->parts > 1)
        return az_fail(az, AZ_BAD_INPUT, "'%s' is one matrix for Hugging Face, of which AdaLoRA's layout cannot hold the parts",
                       module->path);
    const int64_t started = started_rank(f);
    int32_t *index = az_alloc_array(az, (size_t)pair->rank, sizeof *index);
    json_t *kept = json_array();
    int64_t n = 0;
    for (int64_t i = 0; index && i < started; i++) {
        const bool there = i < pair->rank && (!pair->e || az_item(pair->e, i) != 0);
        json_array_append_new(kept, json_boolean(there));
        if (there) index[n++] = (int32_t)i;
    }
    json_object_set_new(f->kept, az_format_text(az, "%s.lora_E", module->path), kept);
    const az_tensor *which = az_from(az, AZ_I32, 1, &n, index);
    pair->a = az_gather(az, pair->a, which);
    pair->b = az_contiguous(az, az_transpose(az, az_gather(az, az_contiguous(az, az_transpose(az, pair->b)), which)));
    if (pair->e) pair->e = az_gather(az, pair->e, which);
    pair->rank = n;
    return az_ok(az);
}

static bool add_pair(az_ctx *az, az_adapter_file *f, const az_module *module, az_pair *pair)
{
    const bool adalora = is_adalora(f);
    if (adalora && !keep_triplets(az, f, module, pair)) return false;
    if (pair->rank == 0) return true; /* nothing is left of it */
    json_array_append_new(f->targets, json_string(module->path));
    json_object_set_new(f->ranks, module->path, json_integer(pair->rank));
    json_object_set_new(f->alphas, module->path, json_real(alpha_of(f->adapter, pair)));
    if (module->table)
        return add(az, f, tensor_name(az, module, "lora_embedding_A"), az_contiguous(az, az_transpose(az, pair->a))) &&
               add(az, f, tensor_name(az, module, "lora_embedding_B"), pair->b);
    az_tensor *b = pair->e && !adalora ? az_mul(az, pair->b, pair->e) : pair->b;
    if (adalora) {
        az_tensor *e = pair->e ? pair->e : az_full(az, f->dtype, 1, &pair->rank, 1);
        if (!add(az, f, tensor_name(az, module, "lora_E"), az_reshape(az, e, 2, (int64_t[]){-1, 1}))) return false;
    }
    /* PEFT's AdaLoRA has its matrices under names without ".weight" */
    return add(az, f, tensor_name(az, module, adalora ? "lora_A" : "lora_A.weight"), pair->a) &&
           add(az, f, tensor_name(az, module, adalora ? "lora_B" : "lora_B.weight"), b);
}

/* A vector or matrix that all parts have, or none. */
static bool add_joined(az_ctx *az, az_adapter_file *f, const az_module *module, const char *ending, az_tensor *const *part)
{
    int there = 0;
    for (int k = 0; k < module->parts; k++) there += part[k] != NULL;
    if (there == 0) return true;
    if (there < module->parts)
        return az_fail(az, AZ_BAD_INPUT, "'%s' is one matrix for Hugging Face, but only a part of it has %s", module->path, ending);
    az_tensor *x = az_module_join(az, f->lm, module, part);
    if (x && x->rank == 2 && module->turned) x = az_contiguous(az, az_transpose(az, x));
    return add(az, f, tensor_name(az, module, ending), x);
}

static bool add_rest(az_ctx *az, az_adapter_file *f, const az_module *module)
{
    az_tensor *magnitude[AZ_MODULE_PARTS] = {NULL}, *b_bias[AZ_MODULE_PARTS] = {NULL}, *bias[AZ_MODULE_PARTS] = {NULL};
    az_tensor *weight[AZ_MODULE_PARTS] = {NULL};
    const az_lm_family *family = az_lm_family_by_arch(az_lm_architecture(f->lm));
    for (int k = 0; k < module->parts; k++) {
        const az_adapter_layer *layer = az_adapter_find(f->adapter, module->part[k]->name);
        if (!layer) continue;
        magnitude[k] = layer->magnitude;
        b_bias[k] = layer->b_bias;
        bias[k] = layer->bias;
        weight[k] = layer->weight ? layer->weight->part[0] : NULL;
        if (layer->gain) weight[k] = az_affine(az, layer->gain, 1, family ? -family->norm_shift : 0);
    }
    /* PEFT wraps a module with a term: its own bias is that of the base layer inside */
    const az_adapter_layer *first = az_adapter_find(f->adapter, module->part[0]->name);
    const char *bias_name = first && first->a ? "base_layer.bias" : "bias";
    if (weight[0]) json_array_append_new(f->saved, json_string(module->path));
    return add_joined(az, f, module, "lora_magnitude_vector", magnitude) && add_joined(az, f, module, "lora_B.bias", b_bias) &&
           add_joined(az, f, module, bias_name, bias) && add_joined(az, f, module, "weight", weight);
}

static bool list_tensors(az_ctx *az, az_adapter_file *f)
{
    az_module *module;
    az_lm_parameter *made = NULL;
    const int n = az_modules(az, f->lm, &module), n_made = f->adapter->generators ? az_generator_tensors(az, f->adapter, &made) : 0;
    f->room = 8 * n + 2 + n_made;
    f->item = az_alloc_array(az, (size_t)f->room, sizeof *f->item);
    if (!f->item) return false;
    az_adapter *adapter = (az_adapter *)(uintptr_t)f->adapter;
    if (adapter->prefix && !add(az, f, "prompt_embeddings", az_prefix_reorder(az, f->lm, adapter->prefix, true))) return false;
    if (adapter->prompt && !add(az, f, "prompt_embeddings", adapter->prompt)) return false;
    for (int i = 0; i < n_made; i++)
        if (!add(az, f, made[i].name, *made[i].slot)) return false;
    for (int i = 0; i < n; i++) {
        az_pair pair;
        if (module_pair(az, f->lm, f->adapter, &module[i], &pair) && !add_pair(az, f, &module[i], &pair)) return false;
        if (!az_ok(az) || !add_rest(az, f, &module[i])) return false;
    }
    if (f->n == 0) return az_fail(az, AZ_BAD_INPUT, "the adapter is empty");
    return true;
}

/* ---- the configuration ---- */

static bool lists(const json_t *texts, const char *text)
{
    for (size_t i = 0; i < json_array_size(texts); i++)
        if (strcmp(json_string_value(json_array_get(texts, i)), text) == 0) return true;
    return false;
}

static const char *last_word(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

/* The last words of the paths, where no other module of the model ends in one of them; otherwise the paths themselves. */
static json_t *short_targets(az_ctx *az, const az_adapter_file *f)
{
    az_module *module;
    const int n = az_modules(az, f->lm, &module);
    json_t *words = json_array();
    for (int i = 0; i < n; i++) {
        const char *word = last_word(module[i].path);
        if (lists(f->targets, module[i].path) && !lists(words, word)) json_array_append_new(words, json_string(word));
    }
    for (int i = 0; i < n; i++) {
        if (lists(f->targets, module[i].path) || !lists(words, last_word(module[i].path))) continue;
        json_decref(words);
        return json_incref(f->targets);
    }
    return words;
}

/* The value that most modules have. */
static double usual_value(const json_t *values)
{
    double best = 0;
    int most = 0;
    const char *key, *other;
    const json_t *value, *against;
    json_object_foreach((json_t *)(uintptr_t)values, key, value)
    {
        int same = 0;
        json_object_foreach((json_t *)(uintptr_t)values, other, against) same += json_number_value(value) == json_number_value(against);
        if (same > most) most = same, best = json_number_value(value);
    }
    return best;
}

/* What differs from the usual value. */
static json_t *pattern(const json_t *values, double usual)
{
    json_t *out = json_object();
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)values, key, value) if (json_number_value(value) != usual) json_object_set(out, key, value);
    return out;
}

static json_t *whole_if_integer(double value)
{
    return value == floor(value) && fabs(value) < 1e15 ? json_integer((json_int_t)value) : json_real(value);
}

static void put_lora(az_ctx *az, const az_adapter_file *f, json_t *json)
{
    const double rank = usual_value(f->ranks), alpha = usual_value(f->alphas);
    bool dora = false, lora_bias = false, bias = false, others = false, transposed = false;
    for (int i = 0; i < f->adapter->layers; i++) {
        dora = dora || f->adapter->layer[i].magnitude;
        lora_bias = lora_bias || f->adapter->layer[i].b_bias;
        const az_adapter_layer *l = &f->adapter->layer[i];
        const bool own = l->bias && !l->weight && !l->gain; /* that of a module to save goes with it */
        bias = bias || own;
        others = others || (own && !l->a);
    }
    const az_lm_family *family = az_lm_family_by_arch(az_lm_architecture(f->lm));
    transposed = family && family->transposed;
    json_object_set_new(json, "r", json_integer((json_int_t)rank));
    json_object_set_new(json, "lora_alpha", whole_if_integer(alpha));
    json_object_set_new(json, "lora_dropout", json_real(f->adapter->dropout));
    json_object_set_new(json, "target_modules", short_targets(az, f));
    json_object_set_new(json, "exclude_modules", json_null());
    json_object_set_new(json, "bias", json_string(others ? "all" : bias ? "lora_only" : "none"));
    json_object_set_new(json, "fan_in_fan_out", json_boolean(transposed));
    json_object_set_new(json, "init_lora_weights", json_true());
    json_object_set_new(json, "use_rslora", json_boolean(f->adapter->rank_stabilized));
    json_object_set_new(json, "use_dora", json_boolean(dora));
    json_object_set_new(json, "lora_bias", json_boolean(lora_bias));
    json_object_set_new(json, "rank_pattern", pattern(f->ranks, rank));
    json_object_set_new(json, "alpha_pattern", pattern(f->alphas, alpha));
    json_object_set(json, "modules_to_save", json_array_size(f->saved) ? f->saved : json_null());
    json_object_set_new(json, "layers_to_transform", json_null());
    json_object_set_new(json, "layers_pattern", json_null());
}

/* One scale for all modules, alpha / (r + 1e-5) with the rank that they started with, and which triplets are left. */
static void put_adalora(const az_adapter_file *f, json_t *json)
{
    const int64_t started = started_rank(f);
    const double scale = f->adapter->layers > 0 ? f->adapter->layer[0].scale : 1;
    json_object_set_new(json, "r", json_integer(8)); /* PEFT does not read it, and wants its default */
    json_object_set_new(json, "init_r", json_integer(started));
    json_object_set_new(json, "lora_alpha", json_real(scale * ((double)started + 1e-5)));
    json_object_set(json, "rank_pattern", f->kept);
    json_object_set_new(json, "alpha_pattern", json_object());
}

static void put_virtual(const az_adapter_file *f, json_t *json)
{
    const az_lm_config *c = &f->lm->config;
    json_object_set_new(json, "num_virtual_tokens", json_integer(f->adapter->virtual_tokens));
    json_object_set_new(json, "token_dim", json_integer(f->adapter->prefix ? c->kv_heads * c->head_dim : c->width));
    json_object_set_new(json, "num_transformer_submodules", json_integer(1));
    json_object_set_new(json, "num_attention_heads", json_integer(f->adapter->prefix ? c->kv_heads : c->heads));
    json_object_set_new(json, "num_layers", json_integer(c->blocks));
    if (f->adapter->has_bos) json_object_set_new(json, "adze_bos", json_true());
    const az_lm_form *form = f->adapter->form;
    if (form) json_object_set_new(json, "adze_form", json_pack("[s, s, s, s]", form->input, form->output, form->within, form->between));
    if (strcmp(f->adapter->kind, "PREFIX_TUNING") == 0) json_object_set_new(json, "prefix_projection", json_false());
}

static char *config_text(az_ctx *az, const az_adapter_file *f, const char *base)
{
    json_t *json = json_object(), *more = f->adapter->config ? json_loads(f->adapter->config, 0, NULL) : NULL;
    json_object_set_new(json, "peft_type", json_string(f->adapter->kind));
    json_object_set_new(json, "task_type", json_string("CAUSAL_LM"));
    json_object_set_new(json, "base_model_name_or_path", json_string(base ? base : ""));
    json_object_set_new(json, "inference_mode", json_true());
    if (json_array_size(f->targets) > 0 || json_array_size(f->saved) > 0) put_lora(az, f, json);
    if (is_adalora(f)) put_adalora(f, json);
    if (f->adapter->virtual_tokens > 0) put_virtual(f, json);
    if (f->adapter->generators) az_generators_describe(f->adapter, json);
    if (more) json_object_update(json, more);
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    json_decref(json);
    json_decref(more);
    return text;
}

/* Ready for its commit; NULL on errors. */
static az_out *write_config(az_ctx *az, const az_adapter_file *f, const char *folder, const char *base)
{
    char *text = config_text(az, f, base);
    az_out *out = text ? az_create(az, az_format_text(az, "%s/adapter_config.json", folder)) : NULL;
    const bool good = out && az_out_write(out, text, strlen(text)) && az_out_write(out, "\n", 1);
    free(text);
    return good ? out : NULL;
}

/* ---- writing ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const az_named_tensor *)a)->name, ((const az_named_tensor *)b)->name);
}

/* The same. */
static az_safetensors_writer *write_tensors(az_ctx *az, const az_adapter_file *f, const char *folder)
{
    az_safetensors_writer *writer = az_safetensors_create(az, az_format_text(az, "%s/adapter_model.safetensors", folder));
    if (!writer || !az_safetensors_put_metadata(writer, "format", "pt")) return NULL;
    if (f->adapter->base && !az_safetensors_put_metadata(writer, AZ_BASE_KEY, f->adapter->base)) return NULL;
    for (int i = 0; i < f->n; i++)
        if (!az_safetensors_declare(writer, f->item[i].name, f->dtype, f->item[i].value->rank, f->item[i].value->shape)) return NULL;
    for (int i = 0; i < f->n; i++)
        if (!az_safetensors_write(writer, f->item[i].value)) return NULL;
    return writer;
}

bool az_adapter_write(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const char *folder, const char *base, az_dtype dtype)
{
    if (!lm || !adapter || !az_ok(az)) return false;
    if (dtype != AZ_F32 && dtype != AZ_F16 && dtype != AZ_BF16)
        return az_fail(az, AZ_BAD_CALL, "adapters are written as f32, f16 or bf16, not as %s", az_dtype_name(dtype));
    az_adapter_file f = {.lm = lm,
                         .adapter = adapter,
                         .dtype = dtype,
                         .targets = json_array(),
                         .saved = json_array(),
                         .ranks = json_object(),
                         .alphas = json_object(),
                         .kept = json_object()};
    az_scope_push(az);
    bool good = az_adapter_check(az, adapter, lm) && az_make_folder(az, folder) && list_tensors(az, &f);
    if (good) qsort(f.item, (size_t)f.n, sizeof *f.item, by_name);
    az_safetensors_writer *tensors = good ? write_tensors(az, &f, folder) : NULL;
    az_out *config = tensors ? write_config(az, &f, folder, base) : NULL;
    good = config && az_safetensors_commit(tensors) && az_commit(config); /* a full disk shows before either is in its place */
    az_scope_pop(az);
    json_decref(f.targets);
    json_decref(f.saved);
    json_decref(f.ranks);
    json_decref(f.alphas);
    json_decref(f.kept);
    if (!good) az_fail_context(az, "writing the adapter '%s'", folder);
    return good;
}
