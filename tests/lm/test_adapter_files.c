/* Adapters in PEFT's folders: against PyTorch (tests/fixtures/adapters.py, which reads and writes the layout by itself), there and back for
 * every order of rows, and folders that must be refused. */
#include "lm/files/adapter_files.h"
#include "support/families.h"
#include "support/fixtures.h"
#include "support/folder.h"
#include "support/tiny_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 16, VOCABULARY = 40 };
static const int32_t token[TOKENS] = {3, 1, 4, 15, 9, 26, 5, 35, 8, 9, 7, 32, 38, 4, 6, 26};
static const int32_t target[TOKENS] = {1, 4, 15, 9, 26, 5, 35, 8, 9, 7, 32, 38, 4, 6, 26, 3};

static const char *const cases[][2] = {{"lora", "qwen3"}, {"dora", "llama"}, {"whole", "qwen3"}, {"joint", "bloom"}, {"prompt", "qwen3"}};
enum { CASES = sizeof cases / sizeof *cases };

static az_lm *model_named(az_ctx *az, const char *architecture)
{
    for (int f = 0; f < FAMILIES; f++)
        if (strcmp(families[f].architecture, architecture) == 0) return family_model(az, &families[f]);
    return NULL;
}

static const char *fixture(az_ctx *az, const char *name)
{
    return az_format_text(az, "%s/tests/fixtures/adapters/%s", ADZE_SOURCE_DIR, name);
}

static az_adapter *read_case(az_ctx *az, const az_lm *lm, const char *name)
{
    az_adapter *adapter = az_adapter_read(az, lm, fixture(az, name));
    cr_assert_not_null(adapter, "%s", az_error(az));
    return adapter;
}

/* The tokens behind the adapter's virtual ones; targets of those do not count. */
static az_lm_lesson lesson_for(az_ctx *az, const az_adapter *adapter)
{
    const int64_t v = adapter->virtual_tokens;
    int32_t *t = az_alloc_array(az, (size_t)(v + TOKENS), sizeof *t), *y = az_alloc_array(az, (size_t)(v + TOKENS), sizeof *y);
    int64_t *start = az_alloc_array(az, 2, sizeof *start);
    for (int64_t i = 0; i < v; i++) t[i] = (int32_t)(-1 - i), y[i] = -1;
    memcpy(t + v, token, sizeof token);
    memcpy(y + v, target, sizeof target);
    start[1] = v + TOKENS;
    return (az_lm_lesson){.batch = {.sequences = 1, .token = t, .start = start}, .target = y};
}

static az_tensor *logits_of(az_ctx *az, const az_lm *lm, const az_adapter *adapter)
{
    const az_lm_lesson lesson = lesson_for(az, adapter);
    az_tensor *y = az_lm_forward(az, lm, &lesson.batch, &(az_lm_run){.adapter = &adapter, .adapters = 1});
    cr_assert_not_null(y, "%s", az_error(az));
    return az_slice(az, y, 0, adapter->virtual_tokens, TOKENS);
}

/* The numbers of one tensor of one case; false when the file has none. */
static bool expected_of(const char *name, const char *tensor, double *out, int n)
{
    FILE *file = fopen(ADZE_SOURCE_DIR "/tests/fixtures/adapters.txt", "r");
    char found[32], model[32], what[128];
    int count;
    bool good = false;
    while (!good && fscanf(file, "%31s %31s %127s %d", found, model, what, &count) == 4) {
        good = strcmp(found, name) == 0 && strcmp(what, tensor) == 0 && count == n;
        for (int i = 0; i < count; i++) {
            double value;
            cr_assert_eq(fscanf(file, "%lf", &value), 1);
            if (good) out[i] = value;
        }
    }
    fclose(file);
    return good;
}

Test(adapter_files, give_the_logits_of_pytorch)
{
    for (int c = 0; c < CASES; c++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = model_named(az, cases[c][1]);
        double expected[TOKENS * VOCABULARY];
        cr_assert(expected_of(cases[c][0], "logits", expected, TOKENS * VOCABULARY));
        const double most = distance_to_numbers(logits_of(az, lm, read_case(az, lm, cases[c][0])), expected, TOKENS * VOCABULARY);
        cr_assert_lt(most, 5e-5, "%s: %g", cases[c][0], most);
        az_close(az);
    }
}

/* ---- gradients ---- */

/* The gradient of the tensor in `slot`, among those of all parameters. */
static az_tensor *gradient_at(az_tensor *const *slot, const az_lm_parameter *p, int n, az_tensor **gradient)
{
    for (int i = 0; i < n; i++)
        if (p[i].slot == slot) return gradient[i];
    return NULL;
}

static void expect_numbers(const char *name, const char *tensor, const az_tensor *x)
{
    const int n = (int)az_count(x);
    double *expected = malloc((size_t)n * sizeof *expected), largest = 0;
    cr_assert(expected_of(name, tensor, expected, n), "%s %s", name, tensor);
    for (int i = 0; i < n; i++) largest = fmax(largest, fabs(expected[i]));
    const double most = distance_to_numbers(x, expected, n);
    cr_assert_lt(most, 1e-4 * largest, "%s %s: off by %g of %g", name, tensor, most, largest);
    free(expected);
}

/* Compares what a module has: the parts of a joint one share A, so their gradients add up. */
static int check_module(az_ctx *az, const az_lm *lm, az_adapter *adapter, const az_module *module, const char *name,
                        const az_lm_parameter *p, int n, az_tensor **gradient)
{
    az_tensor *a = NULL, *b[AZ_MODULE_PARTS], *magnitude[AZ_MODULE_PARTS];
    const char *path = az_format_text(az, "base_model.model.%s", module->path);
    az_adapter_layer *first = az_adapter_find(adapter, module->part[0]->name);
    if (!first) return 0;
    for (int k = 0; k < module->parts; k++) {
        az_adapter_layer *layer = az_adapter_find(adapter, module->part[k]->name);
        b[k] = gradient_at(&layer->b, p, n, gradient);
        magnitude[k] = gradient_at(&layer->magnitude, p, n, gradient);
        az_tensor *g = gradient_at(&layer->a, p, n, gradient);
        a = a ? az_add(az, a, g) : g;
    }
    if (first->weight) expect_numbers(name, az_format_text(az, "%s.weight", path), gradient_at(&first->weight->part[0], p, n, gradient));
    if (!first->a) return 1;
    const char *kind = module->table ? "lora_embedding_" : "lora_", *end = module->table ? "" : ".weight";
    expect_numbers(name, az_format_text(az, "%s.%sA%s", path, kind, end), module->table ? az_contiguous(az, az_transpose(az, a)) : a);
    expect_numbers(name, az_format_text(az, "%s.%sB%s", path, kind, end), module->table ? b[0] : az_module_join(az, lm, module, b));
    if (first->magnitude)
        expect_numbers(name, az_format_text(az, "%s.lora_magnitude_vector", path), az_module_join(az, lm, module, magnitude));
    return 1;
}

Test(adapter_files, have_the_gradients_of_pytorch)
{
    for (int c = 0; c < CASES; c++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = model_named(az, cases[c][1]);
        az_adapter *adapter = read_case(az, lm, cases[c][0]);
        const az_lm_objective objective = {.lm = lm,
                                           .lesson = lesson_for(az, adapter),
                                           .scale = 1,
                                           .run = {.adapter = (const az_adapter *const *)&adapter, .adapters = 1}};
        az_lm_parameter *p;
        const int n = az_adapter_parameters(az, adapter, &p);
        az_tensor **gradient = az_alloc_array(az, (size_t)n, sizeof *gradient);
        cr_assert(az_lm_gradient(az, &objective, p, n, gradient, NULL), "%s", az_error(az));
        az_module *module;
        const int modules = az_modules(az, lm, &module);
        int compared = 0;
        for (int i = 0; i < modules; i++) compared += check_module(az, lm, adapter, &module[i], cases[c][0], p, n, gradient);
        if (adapter->prompt) expect_numbers(cases[c][0], "prompt_embeddings", gradient_at(&adapter->prompt, p, n, gradient));
        cr_assert(compared > 0 || adapter->prompt);
        az_close(az);
    }
}

/* ---- there and back ---- */

static void expect_same(const az_tensor *a, const az_tensor *b, double tolerance, const char *what)
{
    for (int64_t i = 0; i < az_count(a); i++)
        cr_assert_float_eq(az_item(a, i), az_item(b, i), tolerance * fmax(1, fabs(az_item(b, i))), "%s: %g and %g", what, az_item(a, i),
                           az_item(b, i));
}

static void fill(az_ctx *az, az_adapter *adapter)
{
    az_lm_parameter *p;
    const int n = az_adapter_parameters(az, adapter, &p);
    for (int i = 0; i < n; i++)
        az_copy_into(az, *p[i].slot, az_randn(az, AZ_F32, (*p[i].slot)->rank, (*p[i].slot)->shape, 0.2, 3, (uint64_t)i));
}

/* In every architecture, joint matrices and pairs of rows included; and a file that was read is written again byte for byte. */
Test(adapter_files, are_read_as_they_were_written)
{
    static const char *const architecture[] = {"llama", "qwen2", "gpt2", "gptneox", "phi3", "bloom", "opt", "gemma"};
    for (size_t i = 0; i < sizeof architecture / sizeof *architecture; i++) {
        az_ctx *az = az_open(NULL);
        az_lm_config config = tiny_config();
        const bool one_kv = strcmp(architecture[i], "llama") != 0 && strcmp(architecture[i], "qwen2") != 0;
        if (one_kv) config.kv_heads = config.heads;
        config.head_dim = 4;
        az_lm *lm = az_lm_new(az, architecture[i], &config, NULL, 1);
        cr_assert_not_null(lm, "%s", az_error(az));
        const az_adapter_how how = {.rank = 2, .alpha = 3, .targets = "all-linear", .exclude = "attn.k", .ranks = "attn.o=3"};
        az_adapter *made = az_adapter_new(az, lm, &how);
        cr_assert_not_null(made, "%s", az_error(az));
        fill(az, made);
        const char *folder = test_folder(az), *again = az_format_text(az, "%s/again", folder);
        cr_assert(az_adapter_write(az, lm, made, folder, "base", AZ_F32), "%s", az_error(az));
        const az_adapter *read = az_adapter_read(az, lm, folder);
        cr_assert_not_null(read, "%s: %s", architecture[i], az_error(az));
        expect_same(logits_of(az, lm, read), logits_of(az, lm, made), 1e-5, architecture[i]);
        cr_assert(az_adapter_write(az, lm, read, again, "base", AZ_F32), "%s", az_error(az));
        static const char *const files[] = {"adapter_model.safetensors", "adapter_config.json"};
        for (int f = 0; f < 2; f++) {
            size_t n, m;
            const char *x = az_read_file(az, az_format_text(az, "%s/%s", folder, files[f]), &n);
            const char *y = az_read_file(az, az_format_text(az, "%s/%s", again, files[f]), &m);
            cr_assert(n == m && memcmp(x, y, n) == 0, "%s %s", architecture[i], files[f]);
        }
        az_close(az);
    }
}

/* How many numbers the model's biases are. */
static int64_t count_biases(az_ctx *az, az_lm *lm)
{
    az_lm_parameter *p;
    const int n = az_lm_parameters(az, lm, &p);
    int64_t count = 0;
    for (int i = 0; i < n; i++) count += strcmp(strrchr(p[i].name, '.'), ".bias") == 0 ? az_count(*p[i].slot) : 0;
    return count;
}

static bool file_has(az_ctx *az, const char *folder, const char *tensor)
{
    const az_safetensors *file = az_safetensors_read(az, az_format_text(az, "%s/adapter_model.safetensors", folder));
    return file && az_safetensors_find(file, tensor) != NULL;
}

/* PEFT's bias="all" is every bias that the model has, those of norms included. */
Test(adapter_files, all_biases_are_those_of_norms_as_well)
{
    static const char *const architecture[][2] = {{"gpt2", "transformer.h.1.ln_2"},
                                                  {"gptneox", "gpt_neox.final_layer_norm"},
                                                  {"bloom", "transformer.word_embeddings_layernorm"},
                                                  {"opt", "model.decoder.layers.0.self_attn_layer_norm"}};
    for (size_t i = 0; i < sizeof architecture / sizeof *architecture; i++) {
        az_ctx *az = az_open(NULL);
        az_lm_config config = tiny_config();
        config.kv_heads = config.heads;
        config.head_dim = 4;
        az_lm *lm = az_lm_new(az, architecture[i][0], &config, NULL, 1);
        const az_adapter_how how = {.rank = 2, .alpha = 3, .targets = "attn.o", .bias = AZ_BIAS_ALL};
        az_adapter_how none = how;
        none.bias = AZ_BIAS_NONE;
        az_adapter *made = az_adapter_new(az, lm, &how), *plain = az_adapter_new(az, lm, &none);
        cr_assert_not_null(made, "%s", az_error(az));
        cr_assert_eq(az_adapter_parameter_count(made) - az_adapter_parameter_count(plain), count_biases(az, lm));
        const az_tensor *before = logits_of(az, lm, plain), *same = logits_of(az, lm, made);
        cr_assert_arr_eq(before->data, same->data, (size_t)az_count(before) * sizeof(float));
        fill(az, made);
        const char *folder = test_folder(az);
        cr_assert(az_adapter_write(az, lm, made, folder, "base", AZ_F32), "%s", az_error(az));
        cr_assert(file_has(az, folder, az_format_text(az, "base_model.model.%s.bias", architecture[i][1])), "%s", architecture[i][0]);
        const char *text = az_read_file(az, az_format_text(az, "%s/adapter_config.json", folder), NULL);
        cr_assert_not_null(strstr(text, "\"bias\": \"all\""), "%s", text);
        const az_adapter *read = az_adapter_read(az, lm, folder);
        cr_assert_not_null(read, "%s: %s", architecture[i][0], az_error(az));
        const az_tensor *y = logits_of(az, lm, made);
        expect_same(logits_of(az, lm, read), y, 1e-5, architecture[i][0]);
        az_lm *merged = az_lm_copy(az, lm);
        cr_assert(az_adapter_merge(az, merged, made, NULL), "%s", az_error(az));
        expect_same(logits_of(az, merged, plain), y, 2e-4, architecture[i][0]);
        az_close(az);
    }
}

/* Keys and values of words, taken from a model without rotation, act as those words. */
typedef struct seen {
    az_adapter *adapter;
    int64_t width, words;
} seen;

static az_tensor *take(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    const seen *s = user;
    int block;
    char part;
    if (sscanf(site, "blocks.%d.attn.%c.out", &block, &part) != 2 || (part != 'k' && part != 'v')) return x;
    const az_tensor *rows = az_slice(az, x, 0, 0, s->words);
    az_copy_into(az, az_slice(az, s->adapter->prefix, 1, (2 * block + (part == 'v')) * s->width, s->width), rows);
    return x;
}

Test(adapter_files, a_prefix_stands_for_the_words_that_it_was_taken_from)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = model_named(az, "bloom"); /* no rotation, and positions that only differences matter of */
    az_adapter *adapter = az_adapter_empty(az, "a", "PREFIX_TUNING");
    seen s = {.adapter = adapter, .width = 32, .words = 4};
    adapter->virtual_tokens = s.words;
    adapter->prefix = az_zeros(az, AZ_F32, 2, (int64_t[]){s.words, 2 * 2 * s.width});
    const az_lm_batch words = {.sequences = 1, .token = token, .start = (int64_t[]){0, TOKENS}};
    const az_lm_hook hook = {.site = "*.out", .see = take, .user = &s};
    const az_tensor *plain = az_lm_forward(az, lm, &words, &(az_lm_run){.hooks = &hook, .n_hooks = 1});
    int32_t mixed[TOKENS];
    memcpy(mixed, token, sizeof mixed);
    for (int i = 0; i < s.words; i++) mixed[i] = -1 - i;
    const char *folder = test_folder(az);
    cr_assert(az_adapter_write(az, lm, adapter, folder, NULL, AZ_F32), "%s", az_error(az));
    const az_adapter *read = az_adapter_read(az, lm, folder);
    cr_assert_not_null(read, "%s", az_error(az));
    const az_lm_batch behind = {.sequences = 1, .token = mixed, .start = (int64_t[]){0, TOKENS}};
    const az_tensor *y = az_lm_forward(az, lm, &behind, &(az_lm_run){.adapter = &read, .adapters = 1});
    expect_same(az_slice(az, y, 0, s.words, TOKENS - s.words), az_slice(az, plain, 0, s.words, TOKENS - s.words), 1e-5, "prefix");
    az_close(az);
}

/* ---- Python reads what adze writes ---- */

static bool python_has(const char *module)
{
    char line[128];
    snprintf(line, sizeof line, "/usr/bin/python3 -c 'import %s' >/dev/null 2>&1", module);
    return system(line) == 0;
}

Test(adapter_files, are_read_by_an_independent_program)
{
    if (!python_has("numpy")) cr_skip_test("needs python3 with numpy");
    az_ctx *az = az_open(NULL);
    const bool torch = python_has("torch");
    for (int c = 0; c < CASES; c++) {
        az_lm *lm = model_named(az, cases[c][1]);
        const az_adapter *adapter = read_case(az, lm, cases[c][0]);
        const char *folder = az_format_text(az, "%s/%s", test_folder(az), cases[c][0]);
        cr_assert(az_adapter_write(az, lm, adapter, folder, NULL, AZ_F32), "%s", az_error(az));
        const char *list = "/usr/bin/python3 " ADZE_SOURCE_DIR "/tests/fixtures/adapters.py list";
        cr_assert_eq(system(az_format_text(az, "%s '%s' > '%s/a' && %s '%s' > '%s/b' && cmp '%s/a' '%s/b'", list, folder, folder, list,
                                           fixture(az, cases[c][0]), folder, folder, folder)),
                     0, "%s", cases[c][0]);
        if (!torch || c == 2) continue; /* whole: as PyTorch has it in the fixture */
        cr_assert_eq(system(az_format_text(az, "/usr/bin/python3 %s/tests/fixtures/adapters.py logits %s '%s' > '%s/y'", ADZE_SOURCE_DIR,
                                           cases[c][1], folder, folder)),
                     0);
        FILE *file = fopen(az_format_text(az, "%s/y", folder), "r");
        double y[TOKENS * VOCABULARY];
        for (int i = 0; i < TOKENS * VOCABULARY; i++) cr_assert_eq(fscanf(file, "%lf", &y[i]), 1);
        fclose(file);
        cr_assert_lt(distance_to_numbers(logits_of(az, lm, adapter), y, TOKENS * VOCABULARY), 5e-5, "%s", cases[c][0]);
    }
    az_close(az);
}

/* ---- what must be refused ---- */

typedef struct spoiled {
    const char *what; /* a word of the message */
    const char *config;
    const char *drop, *rename, *to; /* a tensor that is left out; one that is called otherwise */
    bool other_shape, nan;
} spoiled;

/* The folder of the case "lora", spoiled. */
static const char *spoil(az_ctx *az, const spoiled *how)
{
    const char *folder = test_folder(az);
    const az_safetensors *file = az_safetensors_read(az, az_format_text(az, "%s/adapter_model.safetensors", fixture(az, "lora")));
    const char *config =
        how->config ? how->config : az_read_file(az, az_format_text(az, "%s/adapter_config.json", fixture(az, "lora")), NULL);
    FILE *out = fopen(az_format_text(az, "%s/adapter_config.json", folder), "w");
    fputs(config, out);
    fclose(out);
    az_safetensors_writer *writer = az_safetensors_create(az, az_format_text(az, "%s/adapter_model.safetensors", folder));
    const az_tensor *written[16];
    const char *name[16];
    int n = 0;
    for (int64_t i = 0; i < file->count; i++) {
        const bool hit = how->drop && strstr(file->by_name[i]->name, how->drop);
        if (hit && !how->other_shape && !how->nan) continue;
        az_tensor *x = az_copy(az, file->by_name[i]->value);
        if (hit && how->other_shape) x = az_contiguous(az, az_slice(az, x, 1, 0, x->shape[1] - 1));
        if (hit && how->nan) az_f32_mut(x)[1] = NAN;
        name[n] = how->rename && strcmp(file->by_name[i]->name, how->rename) == 0 ? how->to : file->by_name[i]->name;
        written[n++] = x;
    }
    for (int i = 0; i < n; i++) az_safetensors_declare(writer, name[i], AZ_F32, written[i]->rank, written[i]->shape);
    for (int i = 0; i < n; i++) az_safetensors_write(writer, written[i]);
    cr_assert(az_safetensors_commit(writer), "%s", az_error(az));
    return folder;
}

#define PLAIN "\"r\": 2, \"lora_alpha\": 3, \"use_rslora\": true, \"rank_pattern\": {\"down_proj\": 3}"

Test(adapter_files, that_are_wrong_are_refused)
{
    static const char last[] = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight";
    static const spoiled all[] = {
        {.what = "without its A", .drop = "layers.0.self_attn.q_proj.lora_A"},
        {.what = "without its B", .rename = last, .to = "base_model.model.model.layers.1.self_attn.q_proj.lora_Q.weight"},
        {.what = "without its B", .rename = last, .to = "zzz"},
        {.what = "should be [32, 2]", .drop = "layers.0.self_attn.q_proj.lora_B", .other_shape = true},
        {.what = "not finite", .drop = "layers.1.mlp.down_proj.lora_A", .nan = true},
        {.what = "rank", .config = "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 3}"},
        {.what = "no JSON object", .config = "[1, 2"},
        {.what = "no JSON object", .config = "[1, 2]"},
        {.what = "peft_type", .config = "{" PLAIN "}"},
        {.what = "VERA", .config = "{\"peft_type\": \"VERA\", " PLAIN "}"},
        {.what = "use_qalora", .config = "{\"peft_type\": \"LORA\", \"use_qalora\": true, " PLAIN "}"},
        {.what = "alora_invocation_tokens", .config = "{\"peft_type\": \"LORA\", \"alora_invocation_tokens\": [1], " PLAIN "}"},
        {.what = "\"lora_alpha\" is not a number", .config = "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": \"3\"}"},
        {.what = "\"use_rslora\" is not true or false", .config = "{\"peft_type\": \"LORA\", \"r\": 2, \"use_rslora\": \"true\"}"},
        {.what = "\"rank_pattern\" is not an object", .config = "{\"peft_type\": \"LORA\", \"r\": 2, \"rank_pattern\": [3]}"},
        {.what = "\"alpha_pattern\" is not", .config = "{\"peft_type\": \"LORA\", \"alpha_pattern\": {\"q_proj\": \"8\"}, " PLAIN "}"},
        {.what = "no layer has a magnitude", .config = "{\"peft_type\": \"LORA\", \"use_dora\": true, " PLAIN "}"},
        {.what = "prompt_embeddings", .config = "{\"peft_type\": \"PROMPT_TUNING\"}"},
        {.what = "lm_head.weight' is missing", .config = "{\"peft_type\": \"LORA\", \"modules_to_save\": [\"lm_head\"], " PLAIN "}"},
        {.what = "model.norm.weight' is missing", .config = "{\"peft_type\": \"LORA\", \"modules_to_save\": [\"norm\"], " PLAIN "}"},
        {.what = "\"target_modules\" names", .config = "{\"peft_type\": \"LORA\", \"target_modules\": [\"k_proj\"], " PLAIN "}"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        az_ctx *az = az_open(NULL);
        const az_lm *lm = model_named(az, "qwen3");
        const char *folder = spoil(az, &all[i]);
        cr_assert_null(az_adapter_read(az, lm, folder));
        cr_assert(strstr(az_error(az), all[i].what) && strstr(az_error(az), folder), "%zu: %s", i, az_error(az));
        az_close(az);
    }
}

/* For a model of other shapes or names nothing fits. */
Test(adapter_files, of_another_model_are_refused)
{
    az_ctx *az = az_open(NULL);
    const az_lm *gemma = model_named(az, "gemma"), *bloom = model_named(az, "bloom");
    cr_assert_not_null(az_adapter_read(az, gemma, fixture(az, "lora")), "q and down are of the same shape there: %s", az_error(az));
    cr_assert_null(az_adapter_read(az, bloom, fixture(az, "lora")));
    cr_assert(strstr(az_error(az), "belongs to nothing"), "%s", az_error(az));
    az_clear(az);
    cr_assert_null(az_adapter_read(az, gemma, fixture(az, "joint")));
    az_clear(az);
    cr_assert_null(az_adapter_read(az, gemma, "/no/such/folder"));
    az_close(az);
}

Test(adapter_files, unknown_keys_are_noted_and_ignored)
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = model_named(az, "qwen3");
    const spoiled more = {.config = "{\"peft_type\": \"LORA\", \"brand_new\": 7, " PLAIN "}"};
    cr_assert_not_null(az_adapter_read(az, lm, spoil(az, &more)), "%s", az_error(az));
    az_close(az);
}

/* ---- what the configuration decides ---- */

typedef struct heard {
    char text[8][256];
    int n;
} heard;

static void hear(const az_progress_event *event, void *user)
{
    heard *h = user;
    if (strcmp(event->task, "note") == 0 && h->n < 8) snprintf(h->text[h->n++], sizeof h->text[0], "%s", event->note);
}

/* As in PEFT: what the configuration does not ask for is left out, what it asks for in vain stays as it is; each is told. */
Test(adapter_files, are_read_as_their_configuration_says)
{
    static const struct {
        spoiled how;
        const char *note; /* NULL = nothing is to be said */
        int layers;       /* with a low-rank term */
    } all[] = {
        {{.config = "{\"peft_type\": \"LORA\", \"target_modules\": [\"q_proj\", \"down_proj\"], " PLAIN "}"}, NULL, 4},
        {{.config = "{\"peft_type\": \"LORA\", \"target_modules\": [\"q_proj\"], " PLAIN "}"}, "tensors of 2 modules are not read", 2},
        {{.config = "{\"peft_type\": \"LORA\", \"target_modules\": \".*1.*(q|down)_proj\", " PLAIN "}"}, "tensors of 2 modules", 2},
        {{.config = "{\"peft_type\": \"LORA\", \"target_modules\": [\"q_proj\", \"down_proj\"], \"layers_to_transform\": 1, " PLAIN "}"},
         "tensors of 2 modules",
         2},
        {{.config = "{\"peft_type\": \"LORA\", \"target_modules\": [\"q_proj\", \"down_proj\"], \"layers_to_transform\": [0], "
                    "\"layers_pattern\": \"layers\", " PLAIN "}"},
         "tensors of 2 modules",
         2},
        {{.config = "{\"peft_type\": \"LORA\", \"target_modules\": [\"q_proj\", \"down_proj\"], \"exclude_modules\": "
                    "[\"layers.0.self_attn.q_proj\"], " PLAIN "}"},
         "tensors of 1 modules",
         3},
        {{.config = "{\"peft_type\": \"LORA\", \"target_modules\": [\"q_proj\", \"k_proj\", \"down_proj\"], " PLAIN "}"},
         "2 modules that \"target_modules\" names have no tensors",
         4},
        {{.config = "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 0, \"rank_pattern\": {\"down_proj\": 3}}"},
         "alpha is 0 in 4 of 4 layers",
         4},
        {{.config = "{\"peft_type\": \"LORA\", \"modules_to_save\": [\"score\"], " PLAIN "}"}, "'score', which is no module", 4},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        heard said = {0};
        az_ctx *az = az_open(&(az_settings){.progress = hear, .user = &said});
        const az_adapter *adapter = az_adapter_read(az, model_named(az, "qwen3"), spoil(az, &all[i].how));
        cr_assert(adapter, "%zu: %s", i, az_error(az));
        cr_assert_eq(said.n, all[i].note != NULL, "%zu: %s", i, said.text[0]);
        if (all[i].note) cr_assert(strstr(said.text[0], all[i].note), "%zu: %s", i, said.text[0]);
        cr_assert_eq(adapter->layers, all[i].layers, "%zu: %d", i, adapter->layers);
        az_close(az);
    }
}

/* Magnitudes act where use_dora says so. */
Test(adapter_files, have_magnitudes_with_use_dora_alone)
{
    heard said = {0};
    az_ctx *az = az_open(&(az_settings){.progress = hear, .user = &said});
    az_lm *lm = model_named(az, "qwen3");
    const az_adapter_how how = {.rank = 2, .alpha = 3, .dora = true, .targets = "q_proj"};
    az_adapter *made = az_adapter_new(az, lm, &how);
    fill(az, made);
    const char *folder = test_folder(az), *path = az_format_text(az, "%s/adapter_config.json", folder);
    cr_assert(az_adapter_write(az, lm, made, folder, "base", AZ_F32), "%s", az_error(az));
    char *config = az_strdup(az, az_read_file(az, path, NULL)), *at = strstr(config, "\"use_dora\": true");
    cr_assert(at, "%s", config);
    memcpy(at, "\"use_dora\":false", strlen("\"use_dora\":false"));
    FILE *out = fopen(path, "w");
    fputs(config, out);
    fclose(out);
    const az_adapter *read = az_adapter_read(az, lm, folder);
    cr_assert(read, "%s", az_error(az));
    cr_assert_eq(said.n, 1);
    cr_assert(strstr(said.text[0], "\"use_dora\" is not set"), "%s", said.text[0]);
    for (int i = 0; i < made->layers; i++) {
        cr_assert_null(read->layer[i].magnitude);
        made->layer[i].magnitude = NULL;
    }
    expect_same(logits_of(az, lm, read), logits_of(az, lm, made), 1e-6, "without");
    az_close(az);
}

/* Gains of norms are replaced as PEFT's modules to save: trained, written (less what the family leaves out), read, merged. */
Test(adapter_files, hold_norms_that_are_replaced_whole)
{
    static const char *const cases_of[][3] = {{"qwen3", "model.norm", "base_model.model.model.norm.weight"},
                                              {"qwen3", "self_attn.q_norm", "base_model.model.model.layers.1.self_attn.q_norm.weight"},
                                              {"gpt2", "transformer.ln_f", "base_model.model.transformer.ln_f.bias"},
                                              {"gemma", "input_layernorm", "base_model.model.model.layers.0.input_layernorm.weight"}};
    for (size_t c = 0; c < sizeof cases_of / sizeof *cases_of; c++) {
        az_ctx *az = az_open(NULL);
        az_lm_config config = tiny_config();
        config.kv_heads = config.heads;
        config.head_dim = 4;
        az_lm *lm = az_lm_new(az, cases_of[c][0], &config, NULL, 1);
        const az_adapter_how how = {.rank = 2, .alpha = 3, .targets = "attn.o", .save = cases_of[c][1]};
        az_adapter_how none = how;
        none.save = NULL;
        az_adapter *made = az_adapter_new(az, lm, &how), *plain = az_adapter_new(az, lm, &none);
        cr_assert_not_null(made, "%s: %s", cases_of[c][1], az_error(az));
        const az_tensor *before = logits_of(az, lm, plain), *same = logits_of(az, lm, made);
        cr_assert_arr_eq(before->data, same->data, (size_t)az_count(before) * sizeof(float));
        fill(az, made);
        const char *folder = test_folder(az);
        cr_assert(az_adapter_write(az, lm, made, folder, "base", AZ_F32), "%s", az_error(az));
        cr_assert(file_has(az, folder, cases_of[c][2]), "%s", cases_of[c][2]);
        const az_adapter *read = az_adapter_read(az, lm, folder);
        cr_assert_not_null(read, "%s: %s", cases_of[c][0], az_error(az));
        const az_tensor *y = logits_of(az, lm, made);
        expect_same(logits_of(az, lm, read), y, 1e-5, cases_of[c][0]);
        az_lm *merged = az_lm_copy(az, lm);
        cr_assert(az_adapter_merge(az, merged, made, NULL), "%s", az_error(az));
        const az_tensor *alone =
            az_lm_forward(az, merged, &(az_lm_batch){.sequences = 1, .token = token, .start = (int64_t[]){0, TOKENS}}, NULL);
        expect_same(alone, y, 2e-4, cases_of[c][0]);
        cr_assert_not(az_adapter_unmerge(az, merged, made, NULL));
        az_close(az);
    }
}
