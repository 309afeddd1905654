/* Hugging Face folders: published models, each family against logits that PyTorch computed, conversion to GGUF and back, and damage. */
#include "adze/lm.h"
#include "support/data.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
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
    const az_sampler greedy = {.temperature = 0, .top_p = 1, .typical = 1, .repeat_penalty = 1};
    cr_assert_eq(json_array_size(cases), 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *item = json_array_get(cases, i);
        const az_tokens prompt = tokens_of(az, json_object_get(item, "prompt_ids"));
        const az_tokens expected = tokens_of(az, json_object_get(item, "greedy_ids"));
        expect_near(logits_of(az, lm, prompt), json_object_get(item, "last_logits"), 1e-4, "last logits");
        const az_tokens all = az_lm_generate(az, lm, &prompt, expected.n - prompt.n, &greedy, NULL, NULL);
        cr_assert(all.n <= expected.n && all.n > prompt.n);
        for (int64_t j = 0; j < all.n; j++) cr_assert_eq(all.id[j], expected.id[j], "continuation %d, token %d", (int)i, (int)j);
    }
    json_decref(cases);
    az_close(az);
}

/* ---- every family against PyTorch ---- */

static const char *const families[] = {"llama", "llama3", "mistral", "qwen2", "qwen3", "phi3", "gemma", "gpt2", "gpt_neox", "opt", "bloom"};
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

Test(huggingface, gguf_keeps_the_logits_of_every_family)
{
    for (int i = 0; i < FAMILIES; i++) {
        az_ctx *az = az_open(NULL);
        const char *path = test_path(az, test_folder(az), "family.gguf");
        cr_assert(az_lm_save(az, load(az, family_folder(az, i)), path, NULL), "%s", az_error(az));
        expect_reference(az, load(az, path), i, "as GGUF");
        az_close(az);
    }
}
