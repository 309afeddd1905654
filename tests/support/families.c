#include "support/families.h"

#include "support/fixtures.h"

#include <stdlib.h>
#include <string.h>

/* What is the same for all is added by family_model. */
const family families[FAMILIES] = {
    {"qwen3", {.kv_heads = 2}},
    {"phi3", {.kv_heads = 2}},
    {"gemma", {.kv_heads = 1, .tied = true}},
    {"gemma2", {.kv_heads = 2, .tied = true, .window = 5, .attention_softcap = 2, .logit_softcap = 3}},
    {"gemma3", {.kv_heads = 2, .tied = true, .window = 5, .window_pattern = 2}},
    {"llama", {.kv_heads = 2, .experts = 4, .experts_used = 2}},
    {"bloom", {.kv_heads = 4, .tied = true}},
};

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static void fill(az_ctx *az, az_lm *lm)
{
    az_lm_parameter *parameter;
    const int n = az_lm_parameters(az, lm, &parameter);
    for (int k = 0; k < n; k++) {
        float *x = az_f32_mut(*parameter[k].slot);
        const int64_t count = az_count(*parameter[k].slot);
        const double base = ends_with(parameter[k].name, "norm.weight") ? 1 : 0;
        double *u = malloc((size_t)count * sizeof *u);
        fixture_uniform(1000 + (uint64_t)k, count, u);
        for (int64_t i = 0; i < count; i++) x[i] = (float)(base + 0.9 * (u[i] - 0.5));
        free(u);
    }
}

az_lm *family_model_with(az_ctx *az, const family *which, az_tokenizer *tokenizer)
{
    az_lm_config config = which->config;
    config.width = 32, config.blocks = config.blocks ? config.blocks : 2, config.heads = 4, config.head_dim = 8, config.hidden = 48,
    config.context = 64;
    config.vocabulary = 40;
    if (tokenizer) config.vocabulary = az_vocabulary(tokenizer);
    az_lm *lm = az_lm_new(az, which->architecture, &config, tokenizer, 1);
    if (lm) fill(az, lm);
    return lm;
}

az_lm *family_model(az_ctx *az, const family *which)
{
    return family_model_with(az, which, NULL);
}

az_tensor *family_logits(az_ctx *az, const az_lm *lm)
{
    static const int32_t token[] = {3, 17, 5, 9, 30, 2, 11};
    return az_lm_forward(az, lm, &(az_lm_batch){.sequences = 1, .token = token, .start = (const int64_t[]){0, 7}}, NULL);
}
