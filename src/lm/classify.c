/* classify.c - the likeliest of some labels behind each prompt: virtual tokens are read once into a cache, which then takes one query after
 * the other. Those that an adapter makes of each prompt are read anew with it, and no label takes part in their making. */
#include "lm/lm_internal.h"

#include <math.h>
#include <string.h>

static const az_lm_form plain = {.input = "{}", .output = "{}", .within = "", .between = ""};

const az_lm_labels *az_lm_labels_of(az_ctx *az, const az_examples *examples)
{
    az_lm_labels *labels = examples ? az_alloc(az, sizeof *labels) : NULL;
    if (!labels) return NULL;
    *labels = (az_lm_labels){.text = az_alloc_array(az, (size_t)examples->count, sizeof(void *))};
    for (int64_t i = 0; labels->text && i < examples->count; i++) {
        const char *text = az_example_response(az, examples, i);
        if (!text) return NULL;
        if (az_lm_label_place(labels, text) < 0) labels->text[labels->n++] = text;
    }
    if (!az_ok(az)) return NULL;
    if (labels->n < 2) return az_fail(az, AZ_BAD_INPUT, "'%s' has one label only; there is nothing to choose", examples->path);
    return labels;
}

int az_lm_label_place(const az_lm_labels *labels, const char *text)
{
    for (int l = 0; l < labels->n; l++)
        if (strcmp(labels->text[l], text) == 0) return l;
    return -1;
}

/* What the passes go on from. */
typedef struct az_reader {
    const az_lm *lm;
    const az_adapter *adapter; /* or NULL */
    const az_lm_form *form;
    int labels;
    az_lm_line *label; /* [labels] */
    int64_t longest;   /* tokens of a label */
    bool told_apart;   /* the labels, by their first tokens alone */
    bool per_token;    /* log p is divided by the label's tokens */
    az_lm_line front;  /* virtual tokens, and BOS unless it is among them */
    bool anew;         /* the front is read with every query, since virtual tokens are made of that */
    az_lm_cache *cache;
    int64_t read; /* tokens that the cache keeps in front of every query: those of the front, unless it is read anew */
} az_reader;

static bool read_labels(az_ctx *az, az_reader *r, const az_lm_labels *labels)
{
    r->labels = labels->n;
    r->label = az_alloc_array(az, (size_t)labels->n, sizeof *r->label);
    for (int l = 0; r->label && l < labels->n; l++) {
        if (!az_lm_form_answer(az, r->lm->tokenizer, r->form, labels->text[l], &r->label[l])) return false;
        if (r->label[l].n == 0) return az_fail(az, AZ_BAD_INPUT, "the label '%s' has no token", labels->text[l]);
        if (r->label[l].n > r->longest) r->longest = r->label[l].n;
        for (int b = 0; b < l; b++) r->told_apart &= r->label[l].id[0] != r->label[b].id[0];
    }
    return r->label != NULL;
}

/* n tokens behind those in the cache; the first `prompt` of them are no label's. */
static az_tensor *read_tokens(az_ctx *az, const az_reader *r, const int32_t *token, int64_t n, int64_t prompt, az_lm_output output)
{
    const az_lm_batch batch = {.sequences = 1, .token = token, .start = (const int64_t[]){0, n}};
    const int64_t instruction = r->anew ? prompt - r->adapter->virtual_tokens : 0;
    const az_lm_run run = {.cache = r->cache,
                           .output = output,
                           .adapter = &r->adapter,
                           .adapters = r->adapter != NULL,
                           .instruction = r->anew ? &instruction : NULL};
    return az_lm_forward(az, r->lm, &batch, &run);
}

static bool read_front(az_ctx *az, az_reader *r)
{
    const int64_t virtual_tokens = r->adapter ? r->adapter->virtual_tokens : 0;
    const int32_t bos = r->adapter && r->adapter->has_bos ? -1 : az_token_bos(r->lm->tokenizer);
    int32_t *token = az_alloc_array(az, (size_t)virtual_tokens + 1, sizeof *token);
    if (!token) return false;
    for (int64_t j = 0; j < virtual_tokens; j++) token[j] = (int32_t)(-1 - j);
    token[virtual_tokens] = bos;
    if (!az_lm_line_add(az, &r->front, token, virtual_tokens + (bos >= 0), AZ_FORM_NOTHING)) return false;
    r->anew = r->adapter && r->adapter->generators;
    r->read = r->anew ? 0 : r->front.n;
    r->cache = az_lm_cache_new(az, r->lm, 1, r->lm->config.context, AZ_KV_F32);
    if (!r->cache) return false;
    return r->read == 0 || read_tokens(az, r, r->front.id, r->read, r->read, AZ_HIDDEN) != NULL;
}

/* The query behind what the cache does not keep of the front. */
static bool read_query(az_ctx *az, const az_reader *r, const char *prompt, az_lm_line *query)
{
    az_lm_line words;
    if (!az_lm_form_query(az, r->lm->tokenizer, r->form, prompt, &words)) return false;
    *query = (az_lm_line){0};
    return (!r->anew || az_lm_line_add(az, query, r->front.id, r->front.n, AZ_FORM_NOTHING)) &&
           az_lm_line_add(az, query, words.id, words.n, AZ_FORM_NOTHING);
}

static double log_probability(az_ctx *az, const az_tensor *logits, int64_t row, int32_t id)
{
    const az_tensor *log_p = az_log_softmax(az, az_slice(az, logits, 0, row, 1));
    return log_p ? az_item(log_p, id) : NAN;
}

/* log p of label l behind the query. */
static double whole_score(az_ctx *az, const az_reader *r, const az_lm_line *query, int l)
{
    const az_lm_line *label = &r->label[l];
    const int64_t n = query->n + label->n;
    int32_t *token = az_alloc_array(az, (size_t)n, sizeof *token);
    if (!token) return NAN;
    memcpy(token, query->id, (size_t)query->n * sizeof *token);
    memcpy(token + query->n, label->id, (size_t)label->n * sizeof *token);
    az_lm_cache_trim(r->cache, 0, r->read);
    const az_tensor *logits = read_tokens(az, r, token, n - 1, query->n, AZ_LOGITS_ALL);
    double sum = 0;
    int64_t counted = 0;
    for (int64_t j = 0; logits && j < label->n; j++) {
        if (label->type[j] != AZ_FORM_LABEL) continue;
        sum += log_probability(az, logits, query->n - 1 + j, label->id[j]);
        counted++;
    }
    return logits ? sum / (double)(r->per_token ? counted : 1) : NAN;
}

/* score[l] of every label behind the query; the largest one's place. */
static int choose(az_ctx *az, const az_reader *r, const az_lm_line *query, double *score)
{
    int best = -1;
    const az_tensor *logits = NULL;
    if (r->told_apart) {
        az_lm_cache_trim(r->cache, 0, r->read);
        logits = read_tokens(az, r, query->id, query->n, query->n, AZ_LOGITS_LAST);
    }
    for (int l = 0; l < r->labels && az_ok(az); l++) {
        score[l] = logits ? log_probability(az, logits, 0, r->label[l].id[0]) : whole_score(az, r, query, l);
        if (isfinite(score[l]) && (best < 0 || score[l] > score[best])) best = l;
    }
    if (az_ok(az) && best < 0) az_fail(az, AZ_NUMERIC, "no label has a likelihood that is finite");
    return az_ok(az) ? best : -1;
}

/* The label behind the prompt of example i; -1 on errors. */
static int classify_one(az_ctx *az, const az_reader *r, const az_examples *examples, int64_t i, double *score)
{
    az_lm_line query;
    if (!read_query(az, r, az_example_prompt(az, examples, i), &query)) return -1;
    const int64_t tokens = r->read + query.n + r->longest;
    if (tokens > r->lm->config.context)
        az_fail(az, AZ_BAD_INPUT, "'%s': example %lld with a label is %lld tokens, the model reads %lld", examples->path, (long long)i + 1,
                (long long)tokens, (long long)r->lm->config.context);
    return az_ok(az) ? choose(az, r, &query, score) : -1;
}

static bool classify(az_ctx *az, az_reader *r, const az_examples *examples, az_lm_classification *out)
{
    if (!read_front(az, r)) return false;
    for (int64_t i = 0; i < out->count; i++) {
        az_scope_push(az);
        out->choice[i] = classify_one(az, r, examples, i, out->score + i * r->labels);
        az_scope_pop(az);
        if (!az_ok(az)) return false;
        if (!az_progress(az, "classifying", i + 1, out->count, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted while classifying");
    }
    return true;
}

az_lm_classification *az_lm_classify(az_ctx *az, const az_lm *lm, const az_examples *examples, const az_lm_labels *labels,
                                     const az_lm_classify_options *options)
{
    if (!lm || !examples || !labels || !az_ok(az)) return NULL;
    const az_lm_classify_options o = options ? *options : (az_lm_classify_options){0};
    if (!lm->tokenizer) return az_fail(az, AZ_BAD_INPUT, "the model brings no tokenizer, so it cannot read text");
    az_reader r = {.lm = lm, .adapter = o.adapter, .told_apart = !o.whole && !o.per_token, .per_token = o.per_token};
    r.form = o.form ? o.form : o.adapter && o.adapter->form ? o.adapter->form : &plain;
    az_lm_classification *out = az_alloc(az, sizeof *out);
    const int64_t count = o.limit > 0 && o.limit < examples->count ? o.limit : examples->count;
    if (!out) return NULL;
    *out = (az_lm_classification){.count = count,
                                  .choice = az_alloc_array(az, (size_t)count + 1, sizeof *out->choice),
                                  .score = az_alloc_array(az, (size_t)(count * labels->n) + 1, sizeof *out->score)};
    if (!out->choice || !out->score) return NULL;
    az_scope_push(az);
    const bool good = read_labels(az, &r, labels) && classify(az, &r, examples, out);
    for (int64_t i = 0; good && i < count; i++) {
        const char *label = az_example_response(az, examples, i);
        const int place = label ? az_lm_label_place(labels, label) : -1;
        out->right += place >= 0 && place == out->choice[i];
        out->unknown += place < 0;
    }
    az_scope_pop(az);
    out->accuracy = az_share_estimate(out->right, count, 0.95);
    return az_ok(az) ? out : NULL;
}
