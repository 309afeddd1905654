/* classify.c - the likeliest of some labels behind each prompt: virtual tokens are read once into a cache, which then takes one query after
 * the other. */
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
    az_lm_cache *cache;
    int64_t read; /* tokens in front of every query */
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

static az_tensor *read_tokens(az_ctx *az, const az_reader *r, const int32_t *token, int64_t n, az_lm_output output)
{
    const az_lm_batch batch = {.sequences = 1, .token = token, .start = (const int64_t[]){0, n}};
    const az_lm_run run = {.cache = r->cache, .output = output, .adapter = &r->adapter, .adapters = r->adapter != NULL};
    return az_lm_forward(az, r->lm, &batch, &run);
}

/* Virtual tokens, and BOS unless it is among them. */
static bool read_front(az_ctx *az, az_reader *r)
{
    const int64_t virtual_tokens = r->adapter ? r->adapter->virtual_tokens : 0;
    const int32_t bos = r->adapter && r->adapter->has_bos ? -1 : az_token_bos(r->lm->tokenizer);
    r->read = virtual_tokens + (bos >= 0);
    r->cache = az_lm_cache_new(az, r->lm, 1, r->lm->config.context, AZ_KV_F32);
    int32_t *token = az_alloc_array(az, (size_t)r->read + 1, sizeof *token);
    if (!r->cache || !token) return false;
    for (int64_t j = 0; j < virtual_tokens; j++) token[j] = (int32_t)(-1 - j);
    token[virtual_tokens] = bos;
    return r->read == 0 || read_tokens(az, r, token, r->read, AZ_HIDDEN) != NULL;
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
    const az_tensor *logits = read_tokens(az, r, token, n - 1, AZ_LOGITS_ALL);
    double sum = 0;
    for (int64_t j = 0; logits && j < label->n; j++)
        if (label->type[j] == AZ_FORM_LABEL) sum += log_probability(az, logits, query->n - 1 + j, label->id[j]);
    return logits ? sum : NAN;
}

static int choose(az_ctx *az, const az_reader *r, const az_lm_line *query)
{
    int best = -1;
    double best_score = -INFINITY;
    const az_tensor *logits = NULL;
    if (r->told_apart) {
        az_lm_cache_trim(r->cache, 0, r->read);
        logits = read_tokens(az, r, query->id, query->n, AZ_LOGITS_LAST);
    }
    for (int l = 0; l < r->labels && az_ok(az); l++) {
        const double s = logits ? az_item(logits, r->label[l].id[0]) : whole_score(az, r, query, l);
        if (s > best_score) best = l, best_score = s;
    }
    if (az_ok(az) && best < 0) az_fail(az, AZ_NUMERIC, "no label has a likelihood that is finite");
    return az_ok(az) ? best : -1;
}

/* The label behind the prompt of example i; -1 on errors. */
static int classify_one(az_ctx *az, const az_reader *r, const az_examples *examples, int64_t i)
{
    az_lm_line query;
    if (!az_lm_form_query(az, r->lm->tokenizer, r->form, az_example_prompt(az, examples, i), &query)) return -1;
    const int64_t tokens = r->read + query.n + r->longest;
    if (tokens > r->lm->config.context)
        az_fail(az, AZ_BAD_INPUT, "'%s': example %lld with a label is %lld tokens, the model reads %lld", examples->path, (long long)i + 1,
                (long long)tokens, (long long)r->lm->config.context);
    return az_ok(az) ? choose(az, r, &query) : -1;
}

static bool classify(az_ctx *az, az_reader *r, const az_examples *examples, az_lm_classification *out)
{
    if (!read_front(az, r)) return false;
    for (int64_t i = 0; i < out->count; i++) {
        az_scope_push(az);
        out->choice[i] = classify_one(az, r, examples, i);
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
    if (o.adapter && o.adapter->generators)
        return az_fail(az, AZ_BAD_INPUT, "the adapter '%s' makes its virtual tokens anew of every text; labels are not chosen with such",
                       o.adapter->name);
    az_reader r = {.lm = lm, .adapter = o.adapter, .told_apart = !o.whole};
    r.form = o.form ? o.form : o.adapter && o.adapter->form ? o.adapter->form : &plain;
    az_lm_classification *out = az_alloc(az, sizeof *out);
    const int64_t count = o.limit > 0 && o.limit < examples->count ? o.limit : examples->count;
    if (out) *out = (az_lm_classification){.count = count, .choice = az_alloc_array(az, (size_t)count + 1, sizeof *out->choice)};
    if (!out || !out->choice) return NULL;
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
