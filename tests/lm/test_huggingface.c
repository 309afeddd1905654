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
