/* gguf_fit.c - what a GGUF file has no keys for, and what llama.cpp makes of the keys that it has. */
#include "lm/files/load.h"

#include <math.h>

bool az_lm_check_file(az_ctx *az, const az_lm *lm)
{
    if (!lm || !az_ok(az)) return false;
    const az_lm_config *c = &lm->config;
    if (c->post_norm || c->embed_width != c->width)
        return az_fail(az, AZ_BAD_INPUT, "GGUF has no keys for %s; write a folder instead (a path that does not end in .gguf)",
                       c->post_norm ? "norms after the additions" : "an embedding of another width than the blocks");
    if (c->rope_pattern != lm->arch->rope_pattern || !az_lm_turns_are_regular(lm))
        return az_fail(az, AZ_BAD_INPUT,
                       "GGUF has no keys for which blocks of %s have rotary embedding; write a folder instead (a path that does not end in "
                       ".gguf)",
                       lm->arch->name);
    return true;
}

void az_lm_note_elsewhere(az_ctx *az, const az_lm *lm)
{
    const az_lm_config *c = &lm->config;
    const int known = lm->arch->elsewhere;
    int64_t windowed = 0;
    for (int b = 0; b < c->blocks; b++) windowed += lm->block[b].windowed;
    az_lm_config usual = *c;
    usual.attention_scale = 0;
    az_lm_config_defaults(lm->arch, &usual);
    const struct {
        bool true_here;
        const char *text;
    } notes[] = {
        {!(known & AZ_ELSEWHERE_KNOWN), "does not know the architecture"},
        {c->tied && !(known & AZ_ELSEWHERE_TIED), "refuses it without a head of its own"},
        {!c->tied && !(known & AZ_ELSEWHERE_UNTIED), "refuses it with a head of its own"},
        {windowed > 0 && !(known & AZ_ELSEWHERE_WINDOW), "lets all blocks see the whole context, without the window"},
        {fabs(c->attention_scale - usual.attention_scale) > 1e-6 * usual.attention_scale && !(known & AZ_ELSEWHERE_SCALE),
         "scales the scores of attention in the usual way"},
        {c->attention_softcap > 0 && !(known & AZ_ELSEWHERE_ATTENTION_SOFTCAP), "has no soft cap for attention"},
        {c->logit_softcap > 0 && !(known & AZ_ELSEWHERE_LOGIT_SOFTCAP), "has no soft cap for the logits"},
    };
    const char *all = NULL;
    for (size_t i = 0; i < sizeof notes / sizeof *notes && (known || i == 0); i++)
        if (notes[i].true_here) all = all ? az_format_text(az, "%s; %s", all, notes[i].text) : notes[i].text;
    if (all) az_note(az, "reading this file of %s, llama.cpp %s", lm->arch->name, all);
}
