/* form.c - templates that put a text and its answer into words: each piece is tokenized apart, so that a query reads the same with and
 * without its answer, and every token knows what it is for. */
#include "lm/lm_internal.h"

#include <string.h>

bool az_lm_form_check(az_ctx *az, const az_lm_form *form)
{
    const char *const text[] = {form->input, form->output}, *const name[] = {"input", "output"};
    for (int i = 0; i < 2; i++) {
        const char *place = strstr(text[i], "{}");
        if (!place || strstr(place + 2, "{}"))
            return az_fail(az, AZ_BAD_INPUT, "the template %s=\"%s\" must have one {} for the text", name[i], text[i]);
    }
    return true;
}

bool az_lm_line_add(az_ctx *az, az_lm_line *line, const int32_t *id, int64_t n, int32_t type)
{
    const size_t all = (size_t)(line->n + n);
    int32_t *ids = az_alloc_array(az, all, sizeof *ids), *types = az_alloc_array(az, all, sizeof *types);
    if (!ids || !types) return false;
    if (line->n) memcpy(ids, line->id, (size_t)line->n * sizeof *ids);
    if (line->n) memcpy(types, line->type, (size_t)line->n * sizeof *types);
    line->id = ids;
    line->type = types;
    for (int64_t i = 0; i < n; i++) {
        line->id[line->n] = id[i];
        line->type[line->n++] = type;
    }
    return true;
}

bool az_lm_line_add_text(az_ctx *az, az_lm_line *line, const az_tokenizer *tokenizer, const char *text, size_t length, int32_t type)
{
    if (length == 0) return true;
    const az_tokens tokens = az_tokenize(az, tokenizer, text, length, 0);
    return az_ok(az) && az_lm_line_add(az, line, tokens.id, tokens.n, type);
}

/* The template's text before (side 0) or behind its "{}". */
static bool add_template(az_ctx *az, const az_tokenizer *tokenizer, az_lm_line *line, const char *template, int side, int32_t type)
{
    const char *place = strstr(template, "{}");
    return side == 0 ? az_lm_line_add_text(az, line, tokenizer, template, (size_t)(place - template), type)
                     : az_lm_line_add_text(az, line, tokenizer, place + 2, strlen(place + 2), type);
}

bool az_lm_form_query(az_ctx *az, const az_tokenizer *tokenizer, const az_lm_form *form, const char *input, az_lm_line *line)
{
    *line = (az_lm_line){0};
    return input && add_template(az, tokenizer, line, form->input, 0, AZ_FORM_INPUT_FORM) &&
           az_lm_line_add_text(az, line, tokenizer, input, strlen(input), AZ_FORM_INPUT) &&
           add_template(az, tokenizer, line, form->input, 1, AZ_FORM_INPUT_FORM) &&
           az_lm_line_add_text(az, line, tokenizer, form->within, strlen(form->within), AZ_FORM_NOTHING) &&
           add_template(az, tokenizer, line, form->output, 0, AZ_FORM_OUTPUT_FORM);
}

bool az_lm_form_answer(az_ctx *az, const az_tokenizer *tokenizer, const az_lm_form *form, const char *answer, az_lm_line *line)
{
    *line = (az_lm_line){0};
    return answer && az_lm_line_add_text(az, line, tokenizer, answer, strlen(answer), AZ_FORM_LABEL) &&
           add_template(az, tokenizer, line, form->output, 1, AZ_FORM_OUTPUT_FORM);
}

az_tokens az_adapter_query(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const char *prompt)
{
    const int32_t bos = adapter->has_bos ? -1 : az_token_bos(lm->tokenizer);
    az_lm_line line = {0}, query;
    if (!az_lm_form_query(az, lm->tokenizer, adapter->form, prompt, &query)) return (az_tokens){0};
    if (bos >= 0 && !az_lm_line_add(az, &line, &bos, 1, AZ_FORM_NOTHING)) return (az_tokens){0};
    if (!az_lm_line_add(az, &line, query.id, query.n, AZ_FORM_NOTHING)) return (az_tokens){0};
    return (az_tokens){.id = line.id, .n = line.n};
}
