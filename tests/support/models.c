#include "support/models.h"

#include <criterion/criterion.h>
#include <string.h>

az_tokenizer *test_tokenizer(az_ctx *az)
{
    const char *text = "the cat sat on the mat, the rat sat on the cat, and that was that for the cat and the rat and the mat they sat on";
    az_document document = {text, strlen(text)};
    const az_documents documents = {.count = 1, .item = &document};
    az_tokenizer *tokenizer = az_tokenizer_train(az, &documents, 272);
    cr_assert_eq(az_vocabulary(tokenizer), 272, "%s", az_error(az));
    return tokenizer;
}

az_lm *test_llama(az_ctx *az, bool tied)
{
    const az_lm_config config = {
        .vocabulary = 272, .width = 32, .blocks = 2, .heads = 4, .kv_heads = 2, .hidden = 64, .context = 128, .tied = tied};
    az_lm *lm = az_lm_new(az, "llama", &config, test_tokenizer(az), 5);
    cr_assert_not_null(lm, "%s", az_error(az));
    return lm;
}
