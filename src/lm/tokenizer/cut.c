/* cut.c - cuts a text into words by one step after the other: what a step leaves whole, the next one sees as its text. */
#include "lm/tokenizer/tokenizer.h"

#include <string.h>

struct az_cutter {
    az_ctx *az;
    const az_tokenizer_rules *rules;
    az_words *words[AZ_TOKENIZER_STEPS]; /* one walk a step: walks are nested */
    bool first;
    bool (*word)(void *user, az_text word);
    void *user;
};

az_cutter *az_cutter_new(az_ctx *az, const az_tokenizer_rules *rules)
{
    az_cutter *cutter = az_alloc(az, sizeof *cutter);
    if (!cutter) return NULL;
    *cutter = (az_cutter){.az = az, .rules = rules};
    for (int i = 0; i < rules->cuts; i++) {
        if (rules->cut[i].kind != AZ_CUT_SPLIT) continue;
        cutter->words[i] = az_words_new(az, rules->cut[i].code);
        if (!cutter->words[i]) return NULL;
    }
    return cutter;
}

static bool cut(az_cutter *cutter, int step, az_text text);

/* A piece that is not empty goes on to the next step. */
static bool hand_on(az_cutter *cutter, int step, az_text piece)
{
    return piece.length == 0 || cut(cutter, step + 1, piece);
}

/* Walks over separators and what lies between them; `open` is a piece that may still grow to the right. */
static bool split(az_cutter *cutter, int step, az_text text)
{
    const az_cut_step *rule = &cutter->rules->cut[step];
    az_words *words = cutter->words[step];
    az_text open = {.data = text.data, .length = 0};
    bool open_separates = false;
    az_words_begin(words, text.data, text.length);
    for (az_text piece; (piece = az_words_next(words)).length > 0;) {
        const bool separates = az_words_matched(words) != rule->invert;
        const bool joins = (rule->split == AZ_SPLIT_WITH_PREVIOUS && separates && !open_separates) ||
                           (rule->split == AZ_SPLIT_WITH_NEXT && open_separates && !separates) ||
                           (rule->split == AZ_SPLIT_CONTIGUOUS && separates == open_separates);
        if (joins && open.length > 0) {
            open.length += piece.length;
        } else {
            if (!hand_on(cutter, step, open)) return false;
            open = piece;
        }
        open_separates = separates;
        if (separates && rule->split == AZ_SPLIT_REMOVED) open.length = 0;
    }
    return az_ok(cutter->az) && hand_on(cutter, step, open);
}

static bool add_space(az_cutter *cutter, int step, az_text text)
{
    const bool wanted = cutter->rules->cut[step].kind == AZ_CUT_SPACE_EACH || cutter->first;
    if (!wanted || text.data[0] == ' ') return cut(cutter, step + 1, text);
    char *spaced = az_alloc(cutter->az, text.length + 1);
    if (!spaced) return false;
    spaced[0] = ' ';
    memcpy(spaced + 1, text.data, text.length);
    return cut(cutter, step + 1, (az_text){.data = spaced, .length = text.length + 1});
}

static bool cut(az_cutter *cutter, int step, az_text text)
{
    if (step == cutter->rules->cuts) return cutter->word(cutter->user, text);
    return cutter->rules->cut[step].kind == AZ_CUT_SPLIT ? split(cutter, step, text) : add_space(cutter, step, text);
}

bool az_cutter_text(az_cutter *cutter, az_text text, bool first, bool (*word)(void *user, az_text word), void *user)
{
    cutter->first = first;
    cutter->word = word;
    cutter->user = user;
    return text.length == 0 || cut(cutter, 0, text);
}
