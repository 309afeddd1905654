/* Hugging Face folders: published models, each family against logits that PyTorch computed, conversion to GGUF and back, and damage. */
#include "adze/lm.h"
#include "lm/files/huggingface.h"
#include "lm/tokenizer/json.h"
#include "support/data.h"
#include "support/folder.h"
#include "support/second_reader.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static az_lm *load(az_ctx *az, const char *path)
{
    az_lm *lm = az_lm_load(az, path);
    cr_assert_not_null(lm, "%s", az_error(az));
    return lm;
}

static az_tokens tokens_of(az_ctx *az, const json_t *list)
{
    az_tokens tokens = {.id = az_alloc_array(az, json_array_size(list), sizeof(int32_t)), .n = (int64_t)json_array_size(list)};
    for (int64_t i = 0; i < tokens.n; i++) tokens.id[i] = (int32_t)json_integer_value(json_array_get(list, (size_t)i));
    return tokens;
}

static const az_tensor *logits_of(az_ctx *az, const az_lm *lm, az_tokens tokens)
{
    const int64_t start[] = {0, tokens.n};
    const az_tensor *logits = az_lm_forward(az, lm, &(az_lm_batch){.sequences = 1, .token = tokens.id, .start = start}, NULL);
    cr_assert_not_null(logits, "%s", az_error(az));
    return logits;
}

/* The last numbers of x differ from the list by at most the tolerance. */
static void expect_near(const az_tensor *x, const json_t *list, double tolerance, const char *what)
{
    const int64_t n = (int64_t)json_array_size(list), first = az_count(x) - n;
    cr_assert_geq(first, 0);
    for (int64_t i = 0; i < n; i++) {
        const double expected = json_number_value(json_array_get(list, (size_t)i)), found = az_item(x, first + i);
        cr_assert(fabs(found - expected) <= tolerance, "%s: %g instead of %g at %d", what, found, expected, (int)i);
    }
}

/* ---- a published model ---- */

Test(huggingface, capp_gpt2_gives_its_stored_logits_and_continuations)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = load(az, test_data(az, "models/capp-gpt2"));
    json_t *cases = json_load_file(test_data(az, "models/capp-gpt2/reference.json"), 0, NULL);
    cr_assert_eq(json_array_size(cases), 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *item = json_array_get(cases, i);
        const az_tokens prompt = tokens_of(az, json_object_get(item, "prompt_ids"));
        const az_tokens expected = tokens_of(az, json_object_get(item, "greedy_ids"));
        expect_near(logits_of(az, lm, prompt), json_object_get(item, "last_logits"), 1e-4, "last logits");
        const az_tokens all = *az_lm_generate(az, lm, &prompt, &(az_lm_generate_options){.max_tokens = expected.n - prompt.n});
        cr_assert(all.n <= expected.n && all.n > prompt.n);
        for (int64_t j = 0; j < all.n; j++) cr_assert_eq(all.id[j], expected.id[j], "continuation %d, token %d", (int)i, (int)j);
    }
    json_decref(cases);
    az_close(az);
}

/* ---- every family against PyTorch ---- */

static const char *const families[] = {"llama",
                                       "llama3",
                                       "mistral",
                                       "qwen2",
                                       "qwen3",
                                       "phi3",
                                       "gemma",
                                       "gpt2",
                                       "gpt_neox",
                                       "opt",
                                       "bloom",
                                       "mixtral",
                                       "gemma2",
                                       "gemma3",
                                       "qwen2_yarn",
                                       "phi3_long",
                                       "phi3_short",
                                       "gpt_neox_sequential",
                                       "gemma3_images",
                                       "opt_projected",
                                       "qwen2_first",
                                       "qwen3_types",
                                       "qwen2_yarn_exact",
                                       "smollm3",
                                       "smollm3_listed",
                                       "granite",
                                       "olmo2",
                                       "olmo3",
                                       "stablelm"};
enum { FAMILIES = sizeof families / sizeof *families };

static const char *family_folder(az_ctx *az, int i)
{
    return az_format_text(az, "%s/tests/fixtures/architectures/%s", ADZE_SOURCE_DIR, families[i]);
}

/* The logits of the model are the stored ones. */
static void expect_reference(az_ctx *az, const az_lm *lm, int i, const char *what)
{
    json_t *reference = json_load_file(az_format_text(az, "%s/reference.json", family_folder(az, i)), 0, NULL);
    cr_assert_not_null(reference);
    const az_tokens tokens = tokens_of(az, json_object_get(reference, "tokens"));
    const json_t *logits = json_object_get(reference, "logits");
    cr_assert_eq((int64_t)json_array_size(logits), tokens.n * lm->config.vocabulary);
    expect_near(logits_of(az, lm, tokens), logits, 1e-4, az_format_text(az, "%s %s", families[i], what));
    json_decref(reference);
}

Test(huggingface, every_family_gives_the_logits_of_its_equations)
{
    for (int i = 0; i < FAMILIES; i++) {
        az_ctx *az = az_open(NULL);
        expect_reference(az, load(az, family_folder(az, i)), i, "as a folder");
        az_close(az);
    }
}

/* What GGUF has no keys for; NULL of the others. */
static const char *without_keys(int i)
{
    if (strcmp(families[i], "opt_projected") == 0) return "GGUF has no keys for norms after the additions";
    return strcmp(families[i], "smollm3_listed") == 0 ? "GGUF has no keys for which blocks of smollm3 have rotary embedding" : NULL;
}

static bool gguf_has_keys_for(int i)
{
    return without_keys(i) == NULL;
}

Test(huggingface, gguf_keeps_the_logits_of_every_family)
{
    for (int i = 0; i < FAMILIES; i++) {
        az_ctx *az = az_open(NULL);
        if (!gguf_has_keys_for(i)) {
            cr_assert_not(az_lm_save(az, load(az, family_folder(az, i)), test_path(az, test_folder(az), "family.gguf"), NULL));
            cr_assert(strstr(az_error(az), without_keys(i)), "%s", az_error(az));
            az_close(az);
            continue;
        }
        const char *path = test_path(az, test_folder(az), "family.gguf");
        cr_assert(az_lm_save(az, load(az, family_folder(az, i)), path, NULL), "%s", az_error(az));
        expect_reference(az, load(az, path), i, "as GGUF");
        az_close(az);
    }
}

Test(huggingface, written_folders_keep_the_logits_of_every_family)
{
    for (int i = 0; i < FAMILIES; i++) {
        az_ctx *az = az_open(NULL);
        const char *folder = test_folder(az), *gguf = test_path(az, folder, "a.gguf");
        const char *first = test_path(az, folder, "first"), *second = test_path(az, folder, "second");
        az_lm *lm = load(az, family_folder(az, i));
        cr_assert(az_lm_save_folder(az, lm, first, NULL), "%s: %s", families[i], az_error(az));
        expect_reference(az, load(az, first), i, "written as a folder");
        const char *by_way_of = gguf_has_keys_for(i) ? gguf : first;
        cr_assert(by_way_of == first || az_lm_save(az, lm, gguf, NULL), "%s: %s", families[i], az_error(az));
        cr_assert(az_lm_save_folder(az, load(az, by_way_of), second, NULL), "%s: %s", families[i], az_error(az));
        expect_reference(az, load(az, second), i, "by way of GGUF");
        az_close(az);
    }
}

Test(huggingface, a_cache_gives_the_logits_of_every_family_token_by_token)
{
    for (int i = 0; i < FAMILIES; i++) {
        if (strncmp(families[i], "phi3_", 5) == 0) continue; /* how long a cache may grow decides which factors turn */
        az_ctx *az = az_open(NULL);
        const az_lm *lm = load(az, family_folder(az, i));
        json_t *reference = json_load_file(az_format_text(az, "%s/reference.json", family_folder(az, i)), 0, NULL);
        const az_tokens tokens = tokens_of(az, json_object_get(reference, "tokens"));
        const az_lm_run run = {.cache = az_lm_cache_new(az, lm, 1, tokens.n, AZ_KV_F32)};
        const json_t *all = json_object_get(reference, "logits");
        for (int64_t t = 0; t < tokens.n; t++) {
            const az_lm_batch next = {.sequences = 1, .token = tokens.id + t, .start = (int64_t[]){0, 1}};
            const az_tensor *logits = az_lm_forward(az, lm, &next, &run);
            cr_assert_not_null(logits, "%s", az_error(az));
            for (int64_t j = 0; j < az_count(logits); j++) {
                const double expected = json_number_value(json_array_get(all, (size_t)(t * az_count(logits) + j)));
                cr_assert_float_eq(az_item(logits, j), expected, 1e-4, "%s, token %d", families[i], (int)t);
            }
        }
        json_decref(reference);
        az_close(az);
    }
}

/* The tensors of two files are the same to the bit. */
static void expect_same_tensors(az_ctx *az, const char *a, const char *b)
{
    const az_safetensors *x = az_safetensors_read(az, a), *y = az_safetensors_read(az, b);
    cr_assert(x && y && x->count == y->count, "%s", az_error(az));
    for (int64_t i = 0; i < x->count; i++) {
        const az_tensor *p = x->by_name[i]->value, *q = az_safetensors_find(y, x->by_name[i]->name);
        cr_assert(q && p->dtype == q->dtype && az_same_shape(p, q), "%s", x->by_name[i]->name);
        cr_assert_eq(memcmp(p->data, q->data, (size_t)az_count(p) * az_dtype_size(p->dtype)), 0, "%s", x->by_name[i]->name);
    }
}

Test(huggingface, gguf_and_back_is_exact)
{
    for (int i = 0; i < FAMILIES; i++) {
        if (strncmp(families[i], "gemma", 5) == 0 || !gguf_has_keys_for(i)) continue; /* Gemma's norms are stored less one, which rounds */
        az_ctx *az = az_open(NULL);
        const char *folder = test_folder(az), *gguf = test_path(az, folder, "a.gguf"), *back = test_path(az, folder, "back");
        cr_assert(az_lm_save(az, load(az, family_folder(az, i)), gguf, NULL), "%s", az_error(az));
        cr_assert(az_lm_save_folder(az, load(az, gguf), back, NULL), "%s", az_error(az));
        expect_same_tensors(az, az_format_text(az, "%s/model.safetensors", family_folder(az, i)), test_path(az, back, "model.safetensors"));
        az_close(az);
    }
}

Test(huggingface, half_precision_and_refusals)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "half");
    az_lm *lm = load(az, family_folder(az, 0));
    cr_assert(az_lm_save_folder(az, lm, path, az_format_by_name("bf16")), "%s", az_error(az));
    cr_assert_lt(az_lm_bytes(load(az, path)), 0.7 * (double)az_lm_bytes(lm));
    cr_assert_not(az_lm_save_folder(az, lm, path, az_format_by_name("q4_k")));
    cr_assert_not_null(strstr(az_error(az), "no type for q4_k"));
    az_close(az);
}

Test(huggingface, double_precision_is_read_as_f32)
{
    for (int i = 0; i < FAMILIES; i++) {
        az_ctx *az = az_open(NULL);
        const char *folder = test_path(az, test_folder(az), "wide"), *gguf = test_path(az, test_folder(az), "wide.gguf");
        az_lm *lm = load(az, family_folder(az, i));
        cr_assert(az_lm_save_folder(az, lm, folder, az_format_by_name("f64")), "%s", az_error(az));
        expect_reference(az, load(az, folder), i, "in double precision");
        if (gguf_has_keys_for(i)) cr_assert(az_lm_save(az, lm, gguf, az_format_by_name("f64")), "%s", az_error(az));
        if (gguf_has_keys_for(i)) expect_reference(az, load(az, gguf), i, "in double precision, as GGUF");
        az_close(az);
    }
}

/* ---- damage ---- */

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
}

static const char *error_of_config(az_ctx *az, const char *config)
{
    const char *folder = test_folder(az);
    write_text(test_path(az, folder, "config.json"), config);
    az_safetensors_writer *writer = az_safetensors_create(az, test_path(az, folder, "model.safetensors"));
    az_safetensors_declare(writer, "model.norm.weight", AZ_F32, 1, (const int64_t[]){8});
    az_safetensors_declare(writer, "surprise.weight", AZ_F32, 0, NULL);
    az_safetensors_write(writer, az_zeros(az, AZ_F32, 1, (const int64_t[]){8}));
    az_safetensors_write(writer, az_scalar(az, AZ_F32, 0));
    cr_assert(az_safetensors_commit(writer), "%s", az_error(az));
    cr_assert_null(az_lm_load(az, folder));
    return az_error(az);
}

Test(huggingface, folders_that_do_not_fit_are_refused_with_the_reason)
{
    static const char *const cases[][2] = {
        {"[]", "not a JSON object"},
        {"{}", "no \"model_type\""},
        {"{\"model_type\":\"mamba\"}", "'mamba' is not known; there are: llama"},
        {"{\"model_type\":\"llama\",\"vocab_size\":9}", "width = 0"},
        {"{\"model_type\":\"llama\",\"hidden_size\":\"a\"}", "\"hidden_size\" is not an integer"},
        {"{\"model_type\":\"llama\",\"rms_norm_eps\":\"1e-5\"}", "\"rms_norm_eps\" is not a number"},
        {"{\"model_type\":\"llama\",\"hidden_act\":\"relu\"}", "'relu'"},
        {"{\"model_type\":\"gemma2\",\"hidden_activation\":\"gelu\"}", "'gelu'"},
        {"{\"model_type\":\"gemma2\",\"attn_logit_softcapping\":null}", "soft cap (\"attn_logit_softcapping\")"},
        {"{\"model_type\":\"gemma3_text\",\"query_pre_attn_scalar\":0}", "must be positive"},
        {"{\"model_type\":\"stablelm\",\"use_parallel_residual\":true}", "side by side"},
        {"{\"model_type\":\"llama\",\"hidden_act\":7}", "\"hidden_act\" is not a text"},
        {"{\"model_type\":\"llama\",\"tie_word_embeddings\":\"no\"}", "\"tie_word_embeddings\" is neither true nor false"},
        {"{\"model_type\":\"mistral\",\"use_sliding_window\":1}", "\"use_sliding_window\" is neither true nor false"},
        {"{\"model_type\":\"stablelm\",\"qk_layernorm\":true}", "\"qk_layernorm\": true"},
        {"{\"model_type\":\"gpt_neox\",\"rotary_pct\":0}", "a share 0 of each head"},
        {"{\"model_type\":\"bloom\",\"apply_residual_connection_post_layernorm\":true}", "apply_residual_connection_post_layernorm"},
        {"{\"model_type\":\"llama\",\"vocab_size\":9,\"hidden_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
         "\"intermediate_size\":8,\"max_position_embeddings\":8}",
         "unexpected surprise.weight"},
        {"{\"model_type\":\"llama\",\"vocab_size\":9,\"hidden_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
         "\"intermediate_size\":8,\"max_position_embeddings\":8}",
         "missing model.embed_tokens.weight, model.layers.0.input_layernorm.weight"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        const char *error = error_of_config(az, cases[i][0]);
        cr_assert(strstr(error, cases[i][1]), "'%s' does not say '%s'", error, cases[i][1]);
        az_close(az);
    }
}

Test(huggingface, lists_of_layers_that_do_not_fit_are_told)
{
    static const char *const cases[][2] = {
        {"\"layer_types\":[\"full_attention\"]", "\"layer_types\" has 1 entries for 2 layers"},
        {"\"layer_types\":[\"full_attention\",\"linear_attention\"]", "of layer 1 is neither"},
        {"\"layer_types\":[7,null]", "of layer 0 is neither"},
        {"\"no_rope_layers\":[1]", "\"no_rope_layers\" has no 0 or 1 for layer 1"},
        {"\"no_rope_layer_interval\":-3", "is negative"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        const char *error =
            error_of_config(az, az_format_text(az,
                                               "{\"model_type\":\"smollm3\",\"vocab_size\":9,\"hidden_size\":8,\"num_hidden_layers\":2,"
                                               "\"num_attention_heads\":2,\"intermediate_size\":8,\"max_position_embeddings\":8,"
                                               "\"use_sliding_window\":true,\"sliding_window\":4,%s}",
                                               cases[i][0]));
        cr_assert(strstr(error, cases[i][1]), "'%s' does not say '%s'", error, cases[i][1]);
        az_close(az);
    }
}

Test(huggingface, dynamic_rotary_scaling_is_none_inside_the_context)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *source = family_folder(az, 0);
    cr_assert_eq(system(az_format_text(az, "cp %s/model.safetensors %s", source, folder)), 0);
    json_t *config = json_load_file(az_format_text(az, "%s/config.json", source), 0, NULL);
    json_object_set_new(config, "rope_scaling", json_pack("{s:s, s:f}", "type", "dynamic", "factor", 2.0));
    cr_assert_eq(json_dump_file(config, test_path(az, folder, "config.json"), 0), 0);
    expect_reference(az, load(az, folder), 0, "with dynamic scaling");
    const struct {
        json_t *scaling;
        const char *why;
    } wrong[] = {{json_pack("{s:s, s:f}", "type", "unheard", "factor", 2.0), "'unheard' is not known"},
                 {json_pack("{s:i, s:f}", "type", 7, "factor", 2.0), "is not a text"},
                 {json_pack("{s:s}", "rope_type", "yarn"), "has no \"factor\""},
                 {json_pack("{s:s, s:f}", "rope_type", "linear", "factor", 0.0), "makes no sense"},
                 {json_integer(7), "\"rope_scaling\" is no object"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_object_set_new(config, "rope_scaling", wrong[i].scaling);
        cr_assert_eq(json_dump_file(config, test_path(az, folder, "config.json"), 0), 0);
        cr_assert_null(az_lm_load(az, folder));
        cr_assert(strstr(az_error(az), wrong[i].why), "%s", az_error(az));
        az_clear(az);
    }
    json_decref(config);
    az_close(az);
}

/* The small llama3 with another scaling goes to *plain; returned is what a folder gives back that it was written to by way of the file
 * `through` (NULL: at once). */
static const az_lm *with_scaling(az_ctx *az, json_t *scaling, const char *through, const az_lm **plain)
{
    const char *folder = test_folder(az), *source = family_folder(az, 1);
    json_t *config = json_load_file(az_format_text(az, "%s/config.json", source), 0, NULL);
    cr_assert_eq(system(az_format_text(az, "cp %s/model.safetensors %s", source, folder)), 0);
    json_object_set(config, "rope_scaling", scaling);
    cr_assert_eq(json_dump_file(config, test_path(az, folder, "config.json"), 0), 0);
    json_decref(config);
    *plain = load(az, folder);
    const char *second = test_path(az, folder, "second"), *file = through ? test_path(az, folder, through) : NULL;
    cr_assert(!file || az_lm_save(az, *plain, file, NULL), "%s", az_error(az));
    cr_assert(az_lm_save_folder(az, file ? load(az, file) : *plain, second, NULL), "%s", az_error(az));
    return load(az, second);
}

Test(huggingface, scaling_by_wavelength_is_written_for_any_original_context)
{
    static const double originals[] = {300, 512, 1000, 4096, 8192, 131072};
    for (int i = 0; i < 12; i++) {
        az_ctx *az = az_open(NULL);
        const bool gguf = i % 2; /* which holds the divided frequencies alone: these settings must be found again */
        json_t *scaling = json_pack("{s:s, s:f, s:f, s:f, s:f}", "rope_type", "llama3", "factor", 8.0, "low_freq_factor", gguf ? 1.0 : 2.0,
                                    "high_freq_factor", gguf ? 4.0 : 7.0, "original_max_position_embeddings", originals[i / 2]);
        const az_lm *plain, *back = with_scaling(az, scaling, gguf ? "a.gguf" : NULL, &plain);
        for (int64_t k = 0; k < az_count(plain->rope_frequency); k++)
            cr_assert_float_eq(az_item(back->rope_frequency, k) / az_item(plain->rope_frequency, k), 1, 1e-6, "original %g, pair %d",
                               originals[i / 2], (int)k);
        json_decref(scaling);
        az_close(az);
    }
}

Test(huggingface, shards_are_found_by_the_index)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az), *source = family_folder(az, 0);
    const char *command =
        az_format_text(az, "cd %s && cp %s/config.json . && cp %s/model.safetensors part-1.safetensors", folder, source, source);
    cr_assert_eq(system(command), 0);
    write_text(test_path(az, folder, "model.safetensors.index.json"), "{\"weight_map\":{\"lm_head.weight\":\"part-1.safetensors\"}}");
    expect_reference(az, load(az, folder), 0, "in shards");
    write_text(test_path(az, folder, "model.safetensors.index.json"), "{\"weight_map\":{\"lm_head.weight\":\"../a\"}}");
    cr_assert_null(az_lm_load(az, folder));
    cr_assert_not_null(strstr(az_error(az), "no file of the folder"));
    az_close(az);
}

/* ---- what else is written ---- */

static bool is_there(az_ctx *az, const char *folder, const char *name)
{
    FILE *file = fopen(test_path(az, folder, name), "rb");
    if (file) fclose(file);
    return file != NULL;
}

Test(huggingface, large_models_are_written_in_shards)
{
    for (int i = 0; i < FAMILIES; i++) {
        if (strcmp(families[i], "gemma3_images") == 0) continue; /* its tensors are written under other names */
        az_ctx *az = az_open(NULL);
        const char *folder = test_folder(az);
        az_lm *lm = load(az, family_folder(az, i));
        cr_assert(az_lm_save_folder(az, lm, folder, NULL) && is_there(az, folder, "model.safetensors"), "%s", az_error(az));
        cr_assert(az_lm_save_shards(az, lm, folder, NULL, 3000), "%s", az_error(az));
        cr_assert_not(is_there(az, folder, "model.safetensors"));
        json_t *index = json_load_file(test_path(az, folder, "model.safetensors.index.json"), 0, NULL);
        const json_t *map = json_object_get(index, "weight_map");
        const az_safetensors *whole = az_safetensors_read(az, az_format_text(az, "%s/model.safetensors", family_folder(az, i)));
        int64_t total = 0;
        for (int64_t j = 0; j < whole->count; j++) {
            const az_named_tensor *item = &whole->item[j];
            const char *file = json_string_value(json_object_get(map, item->name));
            const az_safetensors *shard = az_safetensors_read(az, test_path(az, folder, file ? file : "none"));
            cr_assert(shard && az_safetensors_find(shard, item->name), "%s", item->name);
            total += az_count(item->value) * (int64_t)sizeof(float);
            int64_t bytes = 0;
            for (int64_t k = 0; k < shard->count; k++) bytes += az_count(shard->item[k].value) * (int64_t)sizeof(float);
            cr_assert(bytes <= 3000 || shard->count == 1);
        }
        cr_assert_eq(json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size")), total);
        expect_reference(az, load(az, folder), i, "in shards");
        cr_assert(az_lm_save_folder(az, lm, folder, NULL), "%s", az_error(az));
        cr_assert_not(is_there(az, folder, "model.safetensors.index.json"));
        json_decref(index);
        az_close(az);
    }
}

Test(huggingface, another_program_finds_the_same_tensors_in_shards)
{
    static const char *const formats[] = {NULL, "bf16", "q8_0", "q4_0"};
    az_ctx *az = az_open(NULL);
    needs_numpy();
    az_lm *lm = load(az, family_folder(az, 0));
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const char *whole = test_folder(az), *shards = test_folder(az);
        const az_format *format = formats[i] ? az_format_by_name(formats[i]) : NULL;
        cr_assert(az_lm_save_folder(az, lm, whole, format) && az_lm_save_shards(az, lm, shards, format, 3000), "%s", az_error(az));
        check_safetensors(az, shards, whole);
    }
    az_close(az);
}

static az_tokenizer *words_tokenizer(az_ctx *az)
{
    const char *json = "{\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"?\","
                       "\"vocab\":{\"?\":0,\"hi\":1,\"you\":2}},\"added_tokens\":[{\"id\":3,\"content\":\"<s>\",\"special\":true},"
                       "{\"id\":4,\"content\":\"</s>\",\"special\":true}]}";
    az_tokenizer *t = az_tokenizer_from_json(az, json, strlen(json));
    cr_assert_not_null(t, "%s", az_error(az));
    return t;
}

Test(huggingface, tokens_and_chat_template_are_written_too)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    az_lm *lm = load(az, family_folder(az, 0));
    az_tokenizer *t = words_tokenizer(az);
    t->bos = 3;
    t->eos = 4;
    t->add_bos = true;
    t->chat_template = "{{ bos_token }} {{ messages[0].content }} \"\xc3\xa4\"";
    lm->tokenizer = t;
    write_text(test_path(az, folder, "chat_template.jinja"), "of another model");
    cr_assert(az_lm_save_folder(az, lm, folder, NULL), "%s", az_error(az));
    const az_tokenizer *back = load(az, folder)->tokenizer;
    cr_assert(back && az_token_bos(back) == 3 && az_token_eos(back) == 4 && az_tokenizer_wants_bos(back));
    cr_assert_str_eq(az_tokenizer_chat_template(back), t->chat_template);
    json_t *generation = json_load_file(test_path(az, folder, "generation_config.json"), 0, NULL);
    json_t *settings = json_load_file(test_path(az, folder, "tokenizer_config.json"), 0, NULL);
    cr_assert_eq(json_integer_value(json_object_get(generation, "bos_token_id")), 3);
    cr_assert_eq(json_integer_value(json_object_get(generation, "eos_token_id")), 4);
    cr_assert_str_eq(json_string_value(json_object_get(settings, "eos_token")), "</s>");
    cr_assert_eq(json_integer_value(json_object_get(settings, "model_max_length")), 32);
    json_decref(generation);
    json_decref(settings);
    az_close(az);
}

Test(huggingface, gguf_counts_the_rows_of_a_tokenizer_it_does_not_know)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "words.gguf");
    az_lm *lm = load(az, family_folder(az, 0));
    lm->tokenizer = words_tokenizer(az);
    cr_assert(az_lm_save(az, lm, path, NULL), "%s", az_error(az));
    const az_gguf_key *key = az_gguf_find(load(az, path)->metadata->gguf, "llama.vocab_size");
    int64_t rows = 0;
    cr_assert(key && az_gguf_integer(key, &rows));
    cr_assert_eq(rows, 16);
    az_close(az);
}
