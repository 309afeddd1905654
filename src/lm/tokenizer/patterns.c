/* patterns.c - the ways of cutting that model families use, by the names that GGUF files give them. */
#include "lm/tokenizer/tokenizer.h"

#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
#define LLAMA_TAIL   "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char llama3[] = CONTRACTIONS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}" LLAMA_TAIL;
static const char qwen2[] = CONTRACTIONS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" LLAMA_TAIL;
static const char deepseek3[] = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
                                "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* Words that end in small letters, or in capital ones. */
#define SMALL      "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
#define LARGE      "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
#define CASED_TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
static const char gpt4o[] = SMALL "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|" LARGE "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}" CASED_TAIL;
static const char tekken[] = SMALL "|" LARGE "|\\p{N}" CASED_TAIL;
static const char bloom[] = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+";

/* Of patterns that are alike the first one is written. */
static const az_word_pattern patterns[] = {
    {"gpt-2", {gpt2}, false},
    {"default", {gpt2}, false},
    {"olmo", {gpt2}, false}, /* also GPT-NeoX */
    {"phi-2", {gpt2}, false},
    {"mpt", {gpt2}, false},
    {"jina-v2-code", {gpt2}, false},
    {"modern-bert", {gpt2}, false},
    {"roberta-bpe", {gpt2}, false},
    {"exaone4", {gpt2}, false},
    {"mellum", {gpt2}, false},
    {"llama-bpe", {llama3}, true},
    {"llama3", {llama3}, true},
    {"llama-v3", {llama3}, true},
    {"falcon3", {llama3}, true},
    {"pixtral", {llama3}, true},
    {"dbrx", {llama3}, false},
    {"smaug-bpe", {llama3}, false},
    {"qwen2", {qwen2}, false},
    {"deepseek-r1-qwen", {qwen2}, false},
    {"stablelm2", {qwen2}, false},
    {"smollm", {"\\p{N}", gpt2}, false},
    {"starcoder", {"\\p{N}", gpt2}, false},
    {"refact", {"\\p{N}", gpt2}, false},
    {"command-r", {"\\p{N}", gpt2}, false},
    {"codeshell", {"\\p{N}", gpt2}, false},
    {"gpt-4o", {gpt4o}, false}, /* also Phi-4-mini */
    {"llama4", {gpt4o}, false},
    {"tekken", {tekken}, true}, /* Mistral since 2024 */
    {"bloom", {bloom}, false},
    {"poro-chat", {bloom}, false},
    {"gpt3-finnish", {bloom}, false},
    {"deepseek-v3", {"\\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", deepseek3}, false},
};

enum { PATTERNS = sizeof patterns / sizeof *patterns };

const az_word_pattern *az_word_pattern_by_name(az_text name)
{
    for (int i = 0; i < PATTERNS; i++)
        if (az_text_equal(name, az_text_of(patterns[i].name))) return &patterns[i];
    return NULL;
}

const char *az_word_pattern_names(az_ctx *az)
{
    const char *names = patterns[0].name;
    for (int i = 1; i < PATTERNS && names; i++) names = az_format_text(az, "%s, %s", names, patterns[i].name);
    return names;
}

const az_word_pattern *az_word_pattern_of(const az_text *expression, int n, bool whole_first)
{
    for (int i = 0; i < PATTERNS; i++) {
        int same = 0;
        while (same < n && same < AZ_WORD_EXPRESSIONS && patterns[i].expression[same] &&
               az_text_equal(expression[same], az_text_of(patterns[i].expression[same])))
            same++;
        const bool ends = same == AZ_WORD_EXPRESSIONS || !patterns[i].expression[same];
        if (same == n && ends && patterns[i].whole_first == whole_first) return &patterns[i];
    }
    return NULL;
}
