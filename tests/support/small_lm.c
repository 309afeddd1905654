#include "support/small_lm.h"

#include <criterion/criterion.h>

#include "support/matrix.h"

#include <math.h>
#include <string.h>

az_documents *small_stories(az_ctx *az, uint64_t first, int64_t count)
{
    const az_tales *tales = az_tales_new(az);
    az_documents *documents = az_alloc(az, sizeof *documents);
    az_document *item = az_alloc_array(az, (size_t)count, sizeof *item);
    for (int64_t i = 0; item && i < count; i++) {
        const char *text = az_tales_story(az, tales, 1, first + (uint64_t)i, NULL);
        item[i] = (az_document){.text = text, .length = text ? strlen(text) : 0};
    }
    if (documents) *documents = (az_documents){.count = count, .item = item, .separated = true, .path = "stories"};
    return documents;
}

az_lm *small_lm(az_ctx *az)
{
    const az_lm_config config = {.vocabulary = 300,
                                 .width = 32,
                                 .blocks = 2,
                                 .heads = 4,
                                 .kv_heads = 2,
                                 .head_dim = 8,
                                 .hidden = 48,
                                 .context = 64,
                                 .norm_eps = 1e-5,
                                 .rope_theta = 10000,
                                 .rope_dims = 8,
                                 .tied = true};
    return az_lm_new(az, "llama", &config, az_tokenizer_train(az, small_stories(az, 0, 30), config.vocabulary), 5);
}

bool small_compress(az_ctx *az, az_lm *lm, const char *name, const char *options, const az_documents *text, az_report *report)
{
    const az_method *method = az_method_by_name(name);
    if (!method || !lm) return false;
    void *settings = az_alloc(az, method->options_size);
    if (!settings || !az_options_parse(az, method->options, name, options, settings)) return false;
    az_compress_job job = {.lm = lm, .calibration = text, .report = report};
    return method->compress(az, settings, &job);
}

double small_difference(az_ctx *az, az_lm *a, az_lm *b)
{
    az_lm_linear **x, **y;
    const int n = az_lm_linears(az, a, &x);
    double most = az_lm_linears(az, b, &y) == n ? 0 : INFINITY;
    for (int i = 0; i < n; i++)
        most = fmax(most, matrix_difference(az_weight_decode(az, x[i]->weight), az_weight_decode(az, y[i]->weight)));
    return most;
}

double small_loss(az_ctx *az, const az_lm *lm, const az_documents *text)
{
    const az_lm_score *score = az_lm_score_documents(az, lm, text, NULL);
    cr_assert_not_null(score, "%s", az_error(az));
    return score->mean.value;
}
