/* rules.c - how a text is prepared for the model, as published families do it. */
#include "lm/tokenizer/tokenizer.h"

#include <string.h>

/* ASCII and Unicode punctuation. */
const char az_punctuation[] = "[!-/:-@\\[-`{-~\\p{P}]";

static void add_normal(az_tokenizer_rules *rules, az_normal_step step)
{
    rules->normal[rules->normals++] = step;
}

static void add_split(az_tokenizer_rules *rules, const char *expression, az_split split)
{
    rules->cut[rules->cuts++] = (az_cut_step){.kind = AZ_CUT_SPLIT, .split = split, .expression = az_text_of(expression)};
}

void az_rules_bert(az_tokenizer_rules *rules, bool lowercase, bool strip_accents)
{
    add_normal(rules, (az_normal_step){.kind = AZ_NORMAL_CLEAN});
    add_normal(rules, (az_normal_step){.kind = AZ_NORMAL_IDEOGRAPHS});
    if (strip_accents) add_normal(rules, (az_normal_step){.kind = AZ_NORMAL_NFD});
    if (strip_accents) add_normal(rules, (az_normal_step){.kind = AZ_NORMAL_STRIP_ACCENTS});
    if (lowercase) add_normal(rules, (az_normal_step){.kind = AZ_NORMAL_LOWERCASE});
    add_split(rules, "\\s+", AZ_SPLIT_REMOVED);
    add_split(rules, az_punctuation, AZ_SPLIT_ISOLATED);
    rules->spaced = rules->strip_space = rules->glue_punctuation = true;
    rules->longest_word = 100;
}

void az_rules_words(az_tokenizer_rules *rules)
{
    add_split(rules, "\\s+", AZ_SPLIT_REMOVED);
    rules->spaced = rules->strip_space = true;
}

void az_rules_sentencepiece(az_tokenizer_rules *rules, az_text map, bool collapse, bool space_prefix)
{
    if (map.length > 0) add_normal(rules, (az_normal_step){.kind = AZ_NORMAL_CHARSMAP, .from = map});
    add_normal(rules, (az_normal_step){.kind = AZ_NORMAL_REPLACE, .from = az_text_of("\u2581"), .to = az_text_of(" ")});
    if (collapse) {
        add_normal(rules, (az_normal_step){.kind = AZ_NORMAL_REPLACE, .expression = az_text_of(" {2,}"), .to = az_text_of(" ")});
        add_normal(rules, (az_normal_step){.kind = AZ_NORMAL_STRIP, .left = true, .right = true});
    }
    if (space_prefix) add_normal(rules, (az_normal_step){.kind = AZ_NORMAL_PREPEND, .to = az_text_of(" ")});
    rules->characters = rules->fuse_unknown = true;
    rules->strip_space = space_prefix;
}

bool az_text_copy(az_ctx *az, az_text *text)
{
    char *copy = az_alloc(az, text->length + 1);
    if (copy && text->length > 0) memcpy(copy, text->data, text->length);
    text->data = copy;
    return copy != NULL;
}

bool az_rules_copy(az_ctx *az, az_tokenizer_rules *to, const az_tokenizer_rules *from)
{
    *to = *from;
    for (int i = 0; i < to->normals; i++) {
        az_normal_step *step = &to->normal[i];
        if (!az_text_copy(az, &step->from) || !az_text_copy(az, &step->to) || !az_text_copy(az, &step->expression)) return false;
        step->code = step->expression.length > 0 ? az_regex(az, step->expression) : NULL;
        if (step->kind == AZ_NORMAL_CHARSMAP && !az_charsmap_check(az, step->from)) return false;
    }
    for (int i = 0; i < to->cuts; i++) {
        az_cut_step *step = &to->cut[i];
        if (!az_text_copy(az, &step->expression)) return false;
        step->code = step->kind == AZ_CUT_SPLIT ? az_regex(az, step->expression) : NULL;
    }
    if (from->frame) to->frame = az_strdup(az, from->frame);
    return az_ok(az);
}
