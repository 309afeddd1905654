/* cpt_context.c - the context that examples make; and lessons, each an example behind that context. */
#include "tune/cpt.h"

#include <math.h>
#include <string.h>

/* ---- the context ---- */

/* Types of one example become those of number i. */
static bool add_line(az_ctx *az, az_lm_line *line, const az_lm_line *more, int64_t i)
{
    const int64_t first = line->n;
    if (!az_lm_line_add(az, line, more->id, more->n, AZ_FORM_NOTHING)) return false;
    for (int64_t j = 0; j < more->n; j++)
        if (more->type[j] > 0) line->type[first + j] = (int32_t)(more->type[j] + AZ_FORM_ROLES * i);
    return true;
}

bool az_cpt_context(az_ctx *az, const az_tokenizer *tokenizer, const az_lm_form *form, const az_examples *examples, int64_t n, int64_t soft,
                    az_lm_line *line)
{
    *line = (az_lm_line){0};
    const int32_t none = -1, bos = az_token_bos(tokenizer);
    for (int64_t i = 0; i < soft; i++)
        if (!az_lm_line_add(az, line, &none, 1, AZ_FORM_NOTHING)) return false;
    if (bos >= 0 && !az_lm_line_add(az, line, &bos, 1, AZ_FORM_NOTHING)) return false;
    for (int64_t i = 0; i < n; i++) {
        az_lm_line query, label;
        if (!az_lm_form_query(az, tokenizer, form, az_example_prompt(az, examples, i), &query)) return false;
        if (!az_lm_form_answer(az, tokenizer, form, az_example_response(az, examples, i), &label)) return false;
        if (!add_line(az, line, &query, i) || !add_line(az, line, &label, i)) return false;
        if (!az_lm_line_add_text(az, line, tokenizer, form->between, strlen(form->between), AZ_FORM_NOTHING)) return false;
    }
    return az_ok(az);
}

/* ---- lessons ---- */

static bool is_label(int32_t type)
{
    return type > 0 && type % AZ_FORM_ROLES == 0;
}

/* Which example of the context a token belongs to. */
static int64_t example_of(int32_t type)
{
    return (type - 1) / AZ_FORM_ROLES;
}

/* One lesson: the context without example `without` (-1 = all of it), and the line. */
static bool lesson_of(az_ctx *az, const az_lm_line *context, const az_lm_line *line, const az_cpt_weights *how, int64_t without,
                      az_lm_example *out)
{
    const size_t most = (size_t)(context->n + line->n);
    int32_t *token = az_alloc_array(az, most, sizeof *token), *target = az_alloc_array(az, most, sizeof *target);
    float *weight = az_alloc_array(az, most, sizeof *weight);
    if (!token || !target || !weight) return false;
    int64_t examples = 0, n = 0;
    for (int64_t j = 0; j < context->n; j++)
        if (context->type[j] > 0 && example_of(context->type[j]) >= examples) examples = example_of(context->type[j]) + 1;
    for (int64_t j = 0; j < context->n + line->n; j++) {
        const bool inside = j < context->n;
        const int32_t type = inside ? context->type[j] : line->type[j - context->n],
                      id = inside ? context->id[j] : line->id[j - context->n];
        const int64_t i = inside && type > 0 ? example_of(type) : -1;
        if (inside && i >= 0 && i == without) continue;
        token[n] = inside ? (int32_t)(-1 - j) : id;
        if (n > 0) {
            const bool counts = is_label(type) && (!inside || how->context_loss);
            const int64_t behind = inside ? examples - i - (without > i) : 0; /* examples that come later */
            target[n - 1] = counts ? id : -1;
            weight[n - 1] = (float)pow(how->decay, (double)behind);
            out->counted += counts;
        }
        n++;
    }
    out->n = n - 1; /* the last token is only predicted */
    out->token = token;
    out->target = target;
    out->weight = weight;
    return true;
}

az_lm_examples *az_cpt_lessons(az_ctx *az, const az_lm *lm, const az_lm_form *form, const az_lm_line *context,
                               const az_cpt_weights *weights, const az_examples *examples, int64_t own)
{
    az_lm_examples *out = az_alloc(az, sizeof *out);
    if (!out || !examples) return NULL;
    *out = (az_lm_examples){.item = az_alloc_array(az, (size_t)examples->count, sizeof *out->item)};
    for (int64_t i = 0; out->item && i < examples->count; i++) {
        az_lm_line line, label;
        if (!az_lm_form_query(az, lm->tokenizer, form, az_example_prompt(az, examples, i), &line)) return NULL;
        if (!az_lm_form_answer(az, lm->tokenizer, form, az_example_response(az, examples, i), &label)) return NULL;
        az_lm_example *e = &out->item[out->count++];
        e->source = i;
        if (!add_line(az, &line, &label, 0)) return NULL;
        if (!lesson_of(az, context, &line, weights, weights->leave_out && i < own ? i : -1, e)) return NULL;
        if (e->n > lm->config.context)
            return az_fail(az, AZ_BAD_INPUT,
                           "cpt: the context and example %lld are %lld tokens, but the model reads %lld; place fewer examples in the "
                           "context (shots)",
                           (long long)i + 1, (long long)e->n, (long long)lm->config.context);
        out->tokens += e->n;
        out->counted += e->counted;
    }
    return az_ok(az) ? out : NULL;
}
