/* cpt_context.c - examples as pieces with roles; the context that they make; and lessons, each an example behind that context. */
#include "tune/cpt.h"

#include <math.h>
#include <string.h>

/* ---- pieces ---- */

bool az_cpt_check_form(az_ctx *az, const az_cpt_form *form)
{
    const char *const text[] = {form->input, form->output}, *const name[] = {"input", "output"};
    for (int i = 0; i < 2; i++) {
        const char *place = strstr(text[i], "{}");
        if (!place || strstr(place + 2, "{}"))
            return az_fail(az, AZ_BAD_INPUT, "cpt: the template %s=\"%s\" must have one {} for the text", name[i], text[i]);
    }
    return true;
}

static bool reserve(az_ctx *az, az_cpt_line *line, int64_t more)
{
    const size_t n = (size_t)(line->n + more);
    int32_t *id = az_alloc_array(az, n, sizeof *id), *type = az_alloc_array(az, n, sizeof *type);
    if (!id || !type) return false;
    if (line->n) memcpy(id, line->id, (size_t)line->n * sizeof *id);
    if (line->n) memcpy(type, line->type, (size_t)line->n * sizeof *type);
    line->id = id;
    line->type = type;
    return true;
}

static bool add_tokens(az_ctx *az, az_cpt_line *line, const int32_t *id, int64_t n, int type)
{
    if (!reserve(az, line, n)) return false;
    for (int64_t i = 0; i < n; i++) {
        line->id[line->n] = id[i];
        line->type[line->n++] = type;
    }
    return true;
}

static bool add_text(az_ctx *az, const az_tokenizer *tokenizer, az_cpt_line *line, const char *text, size_t length, int type)
{
    if (length == 0) return true;
    const az_tokens tokens = az_tokenize(az, tokenizer, text, length, 0);
    return az_ok(az) && add_tokens(az, line, tokens.id, tokens.n, type);
}

/* The template's text before (side 0) or behind its "{}". */
static bool add_form(az_ctx *az, const az_tokenizer *tokenizer, az_cpt_line *line, const char *form, int side, int type)
{
    const char *place = strstr(form, "{}");
    return side == 0 ? add_text(az, tokenizer, line, form, (size_t)(place - form), type)
                     : add_text(az, tokenizer, line, place + 2, strlen(place + 2), type);
}

bool az_cpt_query(az_ctx *az, const az_tokenizer *tokenizer, const az_cpt_form *form, const char *input, az_cpt_line *line)
{
    *line = (az_cpt_line){0};
    return input && add_form(az, tokenizer, line, form->input, 0, AZ_CPT_INPUT_FORM) &&
           add_text(az, tokenizer, line, input, strlen(input), AZ_CPT_INPUT) &&
           add_form(az, tokenizer, line, form->input, 1, AZ_CPT_INPUT_FORM) &&
           add_text(az, tokenizer, line, form->within, strlen(form->within), AZ_CPT_NOTHING) &&
           add_form(az, tokenizer, line, form->output, 0, AZ_CPT_OUTPUT_FORM);
}

bool az_cpt_label(az_ctx *az, const az_tokenizer *tokenizer, const az_cpt_form *form, const char *label, az_cpt_line *line)
{
    *line = (az_cpt_line){0};
    return label && add_text(az, tokenizer, line, label, strlen(label), AZ_CPT_LABEL) &&
           add_form(az, tokenizer, line, form->output, 1, AZ_CPT_OUTPUT_FORM);
}

static const char *turn_called(az_ctx *az, const az_examples *examples, int64_t i, const char *role)
{
    const az_example *example = &examples->item[i];
    for (int t = 0; t < example->turns; t++) {
        if (strcmp(example->turn[t].role, role) != 0) continue;
        if (example->turn[t].length > 0) return az_format_text(az, "%.*s", (int)example->turn[t].length, example->turn[t].text);
        return az_fail(az, AZ_BAD_INPUT, "'%s': the %s of example %lld is empty", examples->path, role, (long long)i + 1);
    }
    return az_fail(az, AZ_BAD_INPUT, "'%s': example %lld has no prompt with a response", examples->path, (long long)i + 1);
}

const char *az_cpt_input(az_ctx *az, const az_examples *examples, int64_t i)
{
    return turn_called(az, examples, i, "prompt");
}

const char *az_cpt_output(az_ctx *az, const az_examples *examples, int64_t i)
{
    return turn_called(az, examples, i, "response");
}

/* ---- the context ---- */

/* Types of one example become those of number i. */
static bool add_line(az_ctx *az, az_cpt_line *line, const az_cpt_line *more, int64_t i)
{
    if (!reserve(az, line, more->n)) return false;
    for (int64_t j = 0; j < more->n; j++) {
        line->id[line->n] = more->id[j];
        line->type[line->n++] = more->type[j] > 0 ? (int32_t)(more->type[j] + AZ_CPT_ROLES * i) : 0;
    }
    return true;
}

bool az_cpt_context(az_ctx *az, const az_tokenizer *tokenizer, const az_cpt_form *form, const az_examples *examples, int64_t n,
                    int64_t soft, az_cpt_line *line)
{
    *line = (az_cpt_line){0};
    const int32_t none = -1, bos = az_token_bos(tokenizer);
    for (int64_t i = 0; i < soft; i++)
        if (!add_tokens(az, line, &none, 1, AZ_CPT_NOTHING)) return false;
    if (bos >= 0 && !add_tokens(az, line, &bos, 1, AZ_CPT_NOTHING)) return false;
    for (int64_t i = 0; i < n; i++) {
        az_cpt_line query, label;
        if (!az_cpt_query(az, tokenizer, form, az_cpt_input(az, examples, i), &query)) return false;
        if (!az_cpt_label(az, tokenizer, form, az_cpt_output(az, examples, i), &label)) return false;
        if (!add_line(az, line, &query, i) || !add_line(az, line, &label, i)) return false;
        if (!add_text(az, tokenizer, line, form->between, strlen(form->between), AZ_CPT_NOTHING)) return false;
    }
    return az_ok(az);
}

/* ---- lessons ---- */

static bool is_label(int32_t type)
{
    return type > 0 && type % AZ_CPT_ROLES == 0;
}

/* Which example of the context a token belongs to. */
static int64_t example_of(int32_t type)
{
    return (type - 1) / AZ_CPT_ROLES;
}

/* One lesson: the context without example `without` (-1 = all of it), and the line. */
static bool lesson_of(az_ctx *az, const az_cpt_line *context, const az_cpt_line *line, const az_cpt_weights *how, int64_t without,
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

az_lm_examples *az_cpt_lessons(az_ctx *az, const az_lm *lm, const az_cpt_form *form, const az_cpt_line *context,
                               const az_cpt_weights *weights, const az_examples *examples, int64_t own)
{
    az_lm_examples *out = az_alloc(az, sizeof *out);
    if (!out || !examples) return NULL;
    *out = (az_lm_examples){.item = az_alloc_array(az, (size_t)examples->count, sizeof *out->item)};
    for (int64_t i = 0; out->item && i < examples->count; i++) {
        az_cpt_line line, label;
        if (!az_cpt_query(az, lm->tokenizer, form, az_cpt_input(az, examples, i), &line)) return NULL;
        if (!az_cpt_label(az, lm->tokenizer, form, az_cpt_output(az, examples, i), &label)) return NULL;
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
