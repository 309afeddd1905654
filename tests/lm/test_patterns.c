/* How the patterns that GGUF files name cut a text: worked out by hand from their expressions. */
#include "lm/tokenizer/tokenizer.h"

#include <criterion/criterion.h>
#include <string.h>

typedef struct cuts {
    az_ctx *az;
    const char *joined; /* the words, each behind a '#' */
} cuts;

static bool collect(void *user, az_text word)
{
    cuts *c = user;
    c->joined = az_format_text(c->az, "%s#%.*s", c->joined, (int)word.length, word.data);
    return c->joined != NULL;
}

/* A vocabulary of one token is enough: only the cuts are asked. */
static const char *words_of(az_ctx *az, const char *pattern, const char *text)
{
    const az_text token = az_text_of("a");
    const az_tokenizer_parts parts = {.kind = AZ_TOKENIZER_RANKS,
                                      .size = 1,
                                      .text = &token,
                                      .pattern = az_word_pattern_by_name(az_text_of(pattern)),
                                      .bos = -1,
                                      .eos = -1,
                                      .unknown = -1};
    cr_assert_not_null(parts.pattern, "%s", pattern);
    const az_tokenizer *t = az_tokenizer_build(az, &parts);
    cuts c = {.az = az, .joined = ""};
    cr_assert(t && az_cutter_text(az_cutter_new(az, &t->rules), az_text_of(text), true, collect, &c), "%s", az_error(az));
    return c.joined;
}

Test(patterns, cut_as_worked_out_by_hand)
{
    static const char mixed[] = "HelloWorld HELLOworld don'T 12345 x/y //\n\n  z";
    static const struct {
        const char *pattern, *text, *words;
    } cases[] = {
        {"gpt-4o", mixed, "#Hello#World# HELLOworld# don'T# #123#45# x#/y# //\n\n# # z"},
        {"llama4", mixed, "#Hello#World# HELLOworld# don'T# #123#45# x#/y# //\n\n# # z"},
        {"tekken", mixed, "#Hello#World# HELLOworld# don#'T# #1#2#3#4#5# x#/y# //\n\n# # z"},
        {"pixtral", mixed, "#HelloWorld# HELLOworld# don#'T# #123#45# x#/y# //\n\n# # z"},
        {"gpt-2", "don't 12345  x", "#don#'t# 12345# # x"},
        {"exaone4", "don't 12345  x", "#don#'t# 12345# # x"},
        {"bloom", "a cat, (two)\xe3\x80\x82", "#a# cat#, (#two#)\xe3\x80\x82"},
        {"gpt3-finnish", "a cat, (two)", "#a# cat#, (#two#)"},
        {"smollm", "in 2024", "#in# #2#0#2#4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        const char *words = words_of(az, cases[i].pattern, cases[i].text);
        cr_expect_str_eq(words, cases[i].words, "%s: '%s' instead of '%s'", cases[i].pattern, words, cases[i].words);
        az_close(az);
    }
}
