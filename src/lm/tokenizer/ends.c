/* ends.c - the tokens at which a text or a turn of a chat ends: EOS, those that a file names beside it, and those that are spelled like
 * one.
 */
#include "lm/tokenizer/tokenizer.h"

bool az_token_ends(const az_tokenizer *tokenizer, int32_t id)
{
    if (!tokenizer || id < 0) return false;
    for (int i = 0; i < tokenizer->ends; i++)
        if (tokenizer->end[i] == id) return true;
    return id == tokenizer->eos;
}

void az_tokenizer_add_end(az_tokenizer *tokenizer, int64_t id)
{
    if (id < 0 || id >= tokenizer->size || az_token_ends(tokenizer, (int32_t)id) || tokenizer->ends == AZ_TOKENIZER_ENDS) return;
    tokenizer->end[tokenizer->ends++] = (int32_t)id;
    tokenizer->stated_ends = tokenizer->ends;
}

void az_tokenizer_guess_ends(az_tokenizer *tokenizer)
{
    static const char *const spellings[] = {"<|eot_id|>",      "<|eom_id|>",        "<|im_end|>", "<|end|>", "<end_of_turn>",
                                            "<|endoftext|>",   "<|end_of_text|>",   "<EOT>",      "[EOT]",   "<end_of_utterance>",
                                            "<|end_of_turn|>", "<|endofresponse|>", "<turn|>"};
    const int stated = tokenizer->stated_ends;
    for (int32_t id = 0; id < tokenizer->size; id++) {
        if (tokenizer->type[id] != AZ_TOKEN_CONTROL && tokenizer->type[id] != AZ_TOKEN_USER) continue;
        for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++)
            if (az_text_equal(tokenizer->text[id], az_text_of(spellings[i]))) az_tokenizer_add_end(tokenizer, id);
    }
    tokenizer->stated_ends = stated;
}
