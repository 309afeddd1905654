/* Hugging Face folders: published models, each family against logits that PyTorch computed, conversion to GGUF and back, and damage. */
#include "adze/lm.h"
#include "lm/files/huggingface.h"
#include "lm/tokenizer/json.h"
#include "support/data.h"
#include "support/folder.h"
#include "support/models.h"
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
        {"{\"model_type\":\"llama\",\"vocab_size\":9}", "\"hidden_size\" = 0 or missing"},
        {"{\"model_type\":\"gpt2\",\"vocab_size\":9}", "\"n_embd\" = 0 or missing"},
        {"{\"model_type\":\"gpt2\",\"n_embd\":9,\"hidden_size\":8}", "\"n_embd\" and \"hidden_size\" are names of the same thing"},
        {"{\"model_type\":\"gemma\",\"hidden_activation\":\"gelu\",\"hidden_act\":\"gelu_pytorch_tanh\"}", "'gelu'"},
        {"{\"model_type\":\"llama\",\"hidden_size\":\"a\"}", "\"hidden_size\" is not an integer"},
        {"{\"model_type\":\"llama\",\"rms_norm_eps\":\"1e-5\"}", "\"rms_norm_eps\" is not a number"},
        {"{\"model_type\":\"llama\",\"rms_norm_eps\":0}", "\"rms_norm_eps\" is 0: must be positive"},
        {"{\"model_type\":\"llama\",\"rope_theta\":0.0}", "\"rope_theta\" is 0: must be positive"},
        {"{\"model_type\":\"granite\",\"attention_multiplier\":0}", "\"attention_multiplier\" is 0: must be positive"},
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
                                               "\"num_attention_heads\":2,\"num_key_value_heads\":2,\"intermediate_size\":8,"
                                               "\"max_position_embeddings\":8,\"use_sliding_window\":true,\"sliding_window\":4,%s}",
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

/* A copy of a family's folder whose config.json the caller may change before az_lm_load; to be written by write_config. */
static const char *folder_like(az_ctx *az, const char *family, json_t **config)
{
    const char *source = az_format_text(az, "%s/tests/fixtures/architectures/%s", ADZE_SOURCE_DIR, family), *folder = test_folder(az);
    cr_assert_eq(system(az_format_text(az, "cp %s/model.safetensors %s", source, folder)), 0);
    *config = json_load_file(az_format_text(az, "%s/config.json", source), 0, NULL);
    cr_assert_not_null(*config);
    return folder;
}

static void write_config(az_ctx *az, json_t *config, const char *folder)
{
    cr_assert_eq(json_dump_file(config, test_path(az, folder, "config.json"), 0), 0);
    json_decref(config);
}

static int number_of(const char *family)
{
    int i = 0;
    while (i < FAMILIES && strcmp(families[i], family) != 0) i++;
    cr_assert_lt(i, FAMILIES, "%s", family);
    return i;
}

Test(huggingface, other_names_of_the_sizes_are_read_too)
{
    static const char *const names[][3] = {
        {"gpt2", "n_embd", "hidden_size"},
        {"gpt2", "n_layer", "num_hidden_layers"},
        {"gpt2", "n_head", "num_attention_heads"},
        {"gpt2", "n_positions", "max_position_embeddings"},
        {"bloom", "hidden_size", "n_embed"},
        {"bloom", "n_layer", "num_hidden_layers"},
        {"bloom", "n_head", "num_attention_heads"},
        {"mixtral", "num_local_experts", "num_experts"},
        {"gemma", "hidden_act", "hidden_activation"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        az_ctx *az = az_open(NULL);
        json_t *config;
        const char *folder = folder_like(az, names[i][0], &config);
        json_object_set(config, names[i][2], json_object_get(config, names[i][1]));
        if (i % 2) json_object_set_new(config, names[i][1], json_null());
        if (i % 2 == 0) json_object_del(config, names[i][1]);
        write_config(az, config, folder);
        expect_reference(az, load(az, folder), number_of(names[i][0]), names[i][2]);
        az_close(az);
    }
}

Test(huggingface, a_silent_configuration_is_that_of_the_class)
{
    static const struct {
        const char *type;
        az_lm_config config; /* what is not 0 in it */
    } cases[] = {
        {"llama", {.norm_eps = 1e-6, .rope_theta = 1e4, .kv_heads = 64, .head_dim = 2, .context = 2048}},
        {"mistral", {.norm_eps = 1e-6, .rope_theta = 1e4, .kv_heads = 8, .window = 4096, .context = 131072}},
        {"mixtral", {.norm_eps = 1e-5, .rope_theta = 1e6, .kv_heads = 8, .experts = 8, .experts_used = 2, .context = 131072}},
        {"qwen2", {.norm_eps = 1e-6, .rope_theta = 1e4, .kv_heads = 32, .context = 32768}},
        {"qwen3", {.norm_eps = 1e-6, .head_dim = 128, .kv_heads = 32, .context = 32768}},
        {"smollm3", {.norm_eps = 1e-6, .rope_theta = 2e6, .kv_heads = 4, .rope_pattern = 4, .context = 32768}},
        {"granite", {.norm_eps = 1e-6, .attention_scale = 1, .embedding_scale = 1, .logit_scale = 1, .context = 2048}},
        {"olmo2", {.norm_eps = 1e-5, .rope_theta = 1e4, .context = 2048}},
        {"olmo3", {.norm_eps = 1e-5, .window = 4096, .window_pattern = 4, .context = 2048}},
        {"stablelm", {.norm_eps = 1e-5, .kv_heads = 32, .context = 4096}},
        {"phi3", {.norm_eps = 1e-5, .context = 4096}},
        {"gemma", {.norm_eps = 1e-6, .kv_heads = 16, .head_dim = 256, .context = 8192}},
        {"gemma2",
         {.kv_heads = 4, .head_dim = 256, .window = 4096, .attention_softcap = 50, .logit_softcap = 30, .attention_scale = 0.0625}},
        {"gemma3_text", {.rope_theta = 1e6, .rope_theta_local = 1e4, .window = 4096, .window_pattern = 6, .attention_scale = 0.0625}},
        {"gpt2", {.norm_eps = 1e-5, .hidden = 512, .context = 1024}},
        {"gpt_neox", {.norm_eps = 1e-5, .context = 2048}},
        {"opt", {.norm_eps = 1e-5, .context = 2048}},
        {"bloom", {.norm_eps = 1e-5, .hidden = 512, .context = 2048}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        const az_lm_family *family = az_lm_family_by_type(cases[i].type);
        json_t *json =
            json_pack("{s:i, s:i, s:i, s:i}", "vocab_size", 9, "hidden_size", 128, "num_hidden_layers", 4, "num_attention_heads", 64);
        if (family->keys->hidden && !family->hidden_by_width) json_object_set_new(json, family->keys->hidden, json_integer(8));
        az_lm_config c;
        cr_assert(az_lm_config_from_json(az, family, json, &c), "%s: %s", cases[i].type, az_error(az));
        const az_lm_config *e = &cases[i].config;
        const double pairs[][2] = {
            {e->norm_eps, c.norm_eps},
            {e->rope_theta, c.rope_theta},
            {e->rope_theta_local, c.rope_theta_local},
            {(double)e->kv_heads, (double)c.kv_heads},
            {(double)e->head_dim, (double)c.head_dim},
            {(double)e->hidden, (double)c.hidden},
            {(double)e->context, (double)c.context},
            {(double)e->window, (double)c.window},
            {(double)e->window_pattern, (double)c.window_pattern},
            {(double)e->rope_pattern, (double)c.rope_pattern},
            {(double)e->experts, (double)c.experts},
            {(double)e->experts_used, (double)c.experts_used},
            {e->attention_scale, c.attention_scale},
            {e->attention_softcap, c.attention_softcap},
            {e->logit_softcap, c.logit_softcap},
            {e->embedding_scale, c.embedding_scale},
            {e->logit_scale, c.logit_scale},
        };
        for (size_t j = 0; j < sizeof pairs / sizeof *pairs; j++)
            if (pairs[j][0] != 0) cr_assert_eq(pairs[j][0], pairs[j][1], "%s, %d: %g", cases[i].type, (int)j, pairs[j][1]);
        json_decref(json);
        az_close(az);
    }
}

/* Of Qwen 2 and 3 the first 28 layers see everything where the file does not say otherwise, of SmolLM3 those that turn. */
Test(huggingface, which_layers_have_a_window_follows_the_class)
{
    static const char *const types[] = {"qwen2", "smollm3"};
    for (int i = 0; i < 2; i++) {
        az_ctx *az = az_open(NULL);
        const az_lm_family *family = az_lm_family_by_type(types[i]);
        json_t *json = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:i}", "vocab_size", 9, "hidden_size", 8, "num_hidden_layers", 30,
                                 "num_attention_heads", 2, "num_key_value_heads", 2, "intermediate_size", 8, "use_sliding_window", 1,
                                 "sliding_window", 4);
        const az_lm *lm = az_lm_from_json(az, family, az_lm_arch_by_halves(family->arch), json, 1000);
        cr_assert_not_null(lm, "%s", az_error(az));
        for (int b = 0; b < 30; b++) cr_assert_eq(lm->block[b].windowed, i == 0 ? b >= 28 : b % 4 == 3, "%s, layer %d", types[i], b);
        json_decref(json);
        az_close(az);
    }
}

Test(huggingface, the_original_context_of_phi3_is_that_of_the_class)
{
    for (int scaled = 0; scaled < 2; scaled++) {
        az_ctx *az = az_open(NULL);
        json_t *config;
        const char *folder = folder_like(az, "phi3_long", &config);
        json_object_del(config, "original_max_position_embeddings");
        if (!scaled) json_object_del(config, "rope_scaling");
        write_config(az, config, folder);
        cr_assert_eq(load(az, folder)->config.rope_original, scaled ? 4096 : 0);
        az_close(az);
    }
}

/* The base of the frequencies may stand among the settings of the rotary embedding, and layers with a window have settings of their own. */
Test(huggingface, the_base_of_rotary_embedding_is_found_inside_its_settings)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    for (int i = 0; i < 4; i++) {
        az_ctx *az = az_open(NULL);
        json_t *config;
        const char *folder = folder_like(az, "qwen2", &config);
        const double outer = i < 2 ? 0 : 10000;
        json_object_del(config, "rope_theta");
        if (outer > 0) json_object_set_new(config, "rope_theta", json_real(outer));
        json_object_set_new(config, keys[i % 2], json_pack("{s:s, s:f}", "rope_type", "default", "rope_theta", 1e6));
        write_config(az, config, folder);
        if (outer == 0) {
            expect_reference(az, load(az, folder), number_of("qwen2"), keys[i]);
        } else {
            cr_assert_null(az_lm_load(az, folder));
            cr_assert(strstr(az_error(az), "\"rope_theta\" is 10000, but the settings"), "%s", az_error(az));
        }
        az_close(az);
    }
    for (int scaled = 0; scaled < 2; scaled++) {
        az_ctx *az = az_open(NULL);
        json_t *config,
            *local = json_pack("{s:s, s:f, s:f}", "rope_type", scaled ? "linear" : "default", "rope_theta", 10000.0, "factor", 4.0);
        const char *folder = folder_like(az, "gemma3", &config);
        json_object_del(config, "rope_theta"), json_object_del(config, "rope_local_base_freq"), json_object_del(config, "rope_scaling");
        json_t *full = json_pack("{s:s, s:f, s:f}", "rope_type", "linear", "rope_theta", 1e6, "factor", 8.0);
        json_object_set_new(config, "rope_parameters", json_pack("{s:o, s:o}", "full_attention", full, "sliding_attention", local));
        write_config(az, config, folder);
        if (!scaled) {
            expect_reference(az, load(az, folder), number_of("gemma3"), "with settings by the kind of layer");
        } else {
            cr_assert_null(az_lm_load(az, folder));
            cr_assert(strstr(az_error(az), "'linear') of the layers with a window"), "%s", az_error(az));
        }
        az_close(az);
    }
}

Test(huggingface, biases_that_other_programs_would_leave_out_are_refused)
{
    static const char *const cases[][4] = {
        {"granite", "attention_bias", "self_attn.q_proj.bias', but \"attention_bias\" of config.json is not true", "granite"},
        {"stablelm", "use_qkv_bias", "self_attn.q_proj.bias', but \"use_qkv_bias\" of config.json is not true", "stablelm"},
        {"granite", "attention_bias", "self_attn.q_proj.bias', but mistral has no such bias", "mistral"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        json_t *config;
        const char *folder = folder_like(az, cases[i][0], &config);
        json_object_del(config, cases[i][1]);
        json_object_set_new(config, "model_type", json_string(cases[i][3]));
        write_config(az, config, folder);
        cr_assert_null(az_lm_load(az, folder));
        cr_assert(strstr(az_error(az), cases[i][2]), "%s", az_error(az));
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

/* Two files hold the last norm: what the index says counts, in either order of the files. */
Test(huggingface, the_index_says_which_file_a_tensor_is_taken_from)
{
    static const char *const maps[] = {
        "{\"weight_map\":{\"lm_head.weight\":\"a.safetensors\",\"model.norm.weight\":\"b.safetensors\"}}",
        "{\"weight_map\":{\"model.norm.weight\":\"b.safetensors\",\"lm_head.weight\":\"a.safetensors\"}}",
        "{\"weight_map\":{\"model.norm.weight\":\"a.safetensors\",\"x\":\"b.safetensors\"}}",
        "{\"weight_map\":{\"lm_head.weight\":\"a.safetensors\",\"y\":\"b.safetensors\"}}",
    };
    static const char *const errors[] = {NULL, NULL, "by the index 'x' lies in 'b.safetensors', but that file has no tensor of this name",
                                         "several files have a tensor 'model.norm.weight'"};
    for (int i = 0; i < 4; i++) {
        az_ctx *az = az_open(NULL);
        json_t *config;
        const char *folder = folder_like(az, "llama", &config);
        write_config(az, config, folder);
        cr_assert_eq(system(az_format_text(az, "cd %s && mv model.safetensors a.safetensors", folder)), 0);
        az_safetensors_writer *writer = az_safetensors_create(az, test_path(az, folder, "b.safetensors"));
        const int64_t width = 16;
        az_safetensors_declare(writer, "model.norm.weight", AZ_F32, 1, &width);
        az_safetensors_declare(writer, "y", AZ_F32, 1, &width);
        for (int j = 0; j < 2; j++) az_safetensors_write(writer, az_full(az, AZ_F32, 1, &width, 9));
        cr_assert(az_safetensors_commit(writer), "%s", az_error(az));
        write_text(test_path(az, folder, "model.safetensors.index.json"), maps[i]);
        az_lm *lm = az_lm_load(az, folder);
        cr_assert_null(lm); /* of the first two, because of y */
        cr_assert(strstr(az_error(az), errors[i] ? errors[i] : "unexpected y"), "%s", az_error(az));
        az_clear(az);
        if (!errors[i]) {
            writer = az_safetensors_create(az, test_path(az, folder, "b.safetensors"));
            az_safetensors_declare(writer, "model.norm.weight", AZ_F32, 1, &width);
            az_safetensors_write(writer, az_full(az, AZ_F32, 1, &width, 9));
            cr_assert(az_safetensors_commit(writer), "%s", az_error(az));
            cr_assert_eq(az_item(load(az, folder)->final_norm.weight, 3), 9);
        }
        az_close(az);
    }
}

/* ---- what a folder cannot say ---- */

static bool is_there(az_ctx *az, const char *folder, const char *name)
{
    return az_is_file(test_path(az, folder, name));
}

Test(huggingface, what_config_json_has_no_word_for_is_refused_before_anything_is_written)
{
    static const struct {
        const char *architecture;
        az_lm_config config;
        const char *says;
    } cases[] = {
        {"llama", {.attention_scale = 0.6}, "config.json of llama cannot say attention_scale = 0.6: it would be read as 0.353553"},
        {"llama", {.logit_softcap = 2}, "cannot say logit_softcap = 2: it would be read as 0"},
        {"qwen3", {.attention_softcap = 3}, "cannot say attention_softcap = 3: it would be read as 0"},
        {"llama",
         {.window = 4, .rope_theta_local = 100},
         "config.json of mistral cannot say the rotary frequencies of block 0 (rope_theta 100"},
        {"opt", {.norm_eps = 0.05}, "cannot say norm_eps = 0.05: it would be read as 1e-05"},
        {"gpt2", {.kv_heads = 2}, "cannot say kv_heads = 2: it would be read as 4"},
        {"opt", {.head_dim = 16}, "cannot say head_dim = 16: it would be read as 8"},
        {"gptneox", {.kv_heads = 2}, "cannot say kv_heads = 2: it would be read as 4"},
        {"stablelm", {.head_dim = 16}, "cannot say head_dim = 16: it would be read as 8"},
        {"bloom", {.hidden = 96}, "cannot say hidden = 96: it would be read as 128"},
        {"gpt2", {.window = 4}, "Hugging Face has no model type for gpt2 with a sliding window"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        az_lm_config config = cases[i].config;
        config.vocabulary = 40, config.width = 32, config.blocks = 2, config.heads = 4, config.context = 64;
        const az_lm *lm = az_lm_new(az, cases[i].architecture, &config, NULL, 1);
        cr_assert_not_null(lm, "%s", az_error(az));
        const char *folder = test_path(az, test_folder(az), "written");
        cr_assert_not(az_lm_save_folder(az, lm, folder, NULL), "%s", cases[i].says);
        cr_assert(strstr(az_error(az), cases[i].says), "'%s' does not say '%s'", az_error(az), cases[i].says);
        cr_assert_not(az_is_folder(folder));
        az_clear(az);
        cr_assert_not(az_lm_check_folder(az, lm));
        az_clear(az);
        cr_assert(az_lm_check_file(az, lm), "%s", az_error(az));
        az_close(az);
    }
}

Test(huggingface, a_tokenizer_that_cannot_be_written_leaves_no_model)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = test_llama(az, true);
    const char *folder = test_path(az, test_folder(az), "written");
    lm->tokenizer->chat_template = "\xff";
    cr_assert_not(az_lm_save_folder(az, lm, folder, NULL));
    cr_assert(strstr(az_error(az), "the chat template is not UTF-8"), "%s", az_error(az));
    cr_assert_not(is_there(az, folder, "model.safetensors") || is_there(az, folder, "config.json"));
    az_close(az);
}

Test(huggingface, every_architecture_has_a_shape_that_both_kinds_of_file_hold)
{
    const char *names[64];
    const int n = az_lm_architectures(names, 64);
    for (int i = 0; i < n; i++) {
        az_ctx *az = az_open(NULL);
        const az_lm_config config = {.vocabulary = 40, .width = 32, .blocks = 2, .heads = 4, .context = 64};
        const az_lm *lm = az_lm_new(az, names[i], &config, NULL, 1);
        const char *folder = test_folder(az);
        cr_assert(az_lm_save_folder(az, lm, folder, NULL) && az_lm_check_file(az, lm), "%s: %s", names[i], az_error(az));
        cr_assert_eq(load(az, folder)->config.hidden, lm->config.hidden, "%s", names[i]);
        az_close(az);
    }
}

/* ---- what else is written ---- */

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
