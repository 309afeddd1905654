/* cpt_classify.c - the likeliest label behind a tuned context: the context is read once into a cache, which then takes one query after the
 * other. */
#include "tune/cpt.h"

#include <math.h>
#include <string.h>

bool az_cpt_labels_of(az_ctx *az, const az_tokenizer *tokenizer, const az_cpt_form *form, const az_examples *examples,
                      az_cpt_labels *labels)
{
    *labels = (az_cpt_labels){.text = az_alloc_array(az, (size_t)examples->count, sizeof(void *)),
                              .line = az_alloc_array(az, (size_t)examples->count, sizeof(az_cpt_line)),
                              .told_apart = true};
    for (int64_t i = 0; labels->text && labels->line && i < examples->count; i++) {
        const char *text = az_cpt_output(az, examples, i);
        int known = 0;
        while (text && known < labels->n && strcmp(labels->text[known], text) != 0) known++;
        if (!text) return false;
        if (known < labels->n) continue;
        labels->text[labels->n] = text;
        if (!az_cpt_label(az, tokenizer, form, text, &labels->line[labels->n++])) return false;
    }
    if (!az_ok(az)) return false;
    if (labels->n < 2) return az_fail(az, AZ_BAD_INPUT, "'%s' has one label only; there is nothing to choose", examples->path);
    for (int a = 0; a < labels->n; a++)
        for (int b = 0; b < a; b++) labels->told_apart &= labels->line[a].id[0] != labels->line[b].id[0];
    return true;
}

/* What the next passes go on from. */
typedef struct reader {
    const az_lm *lm;
    const az_adapter *adapter;
    az_lm_cache *cache;
    int64_t read; /* tokens of the context */
} reader;

static az_tensor *read_tokens(az_ctx *az, const reader *r, const int32_t *token, int64_t n, az_lm_output output)
{
    const az_lm_batch batch = {.sequences = 1, .token = token, .start = (const int64_t[]){0, n}};
    const az_lm_run run = {.cache = r->cache, .output = output, .adapter = &r->adapter, .adapters = 1};
    return az_lm_forward(az, r->lm, &batch, &run);
}

static bool read_context(az_ctx *az, reader *r)
{
    r->read = r->adapter->virtual_tokens;
    r->cache = az_lm_cache_new(az, r->lm, 1, r->lm->config.context, AZ_KV_F32);
    int32_t *token = az_alloc_array(az, (size_t)r->read, sizeof *token);
    if (!r->cache || !token) return false;
    for (int64_t j = 0; j < r->read; j++) token[j] = (int32_t)(-1 - j);
    return read_tokens(az, r, token, r->read, AZ_HIDDEN) != NULL;
}

static double log_probability(az_ctx *az, const az_tensor *logits, int64_t row, int32_t id)
{
    const az_tensor *log_p = az_log_softmax(az, az_slice(az, logits, 0, row, 1));
    return log_p ? az_item(log_p, id) : NAN;
}

/* log p of label l behind the query: of its first token alone where that tells the labels apart. */
static double score(az_ctx *az, const reader *r, const az_cpt_line *query, const az_cpt_labels *labels, int l)
{
    const az_cpt_line *label = &labels->line[l];
    const int64_t n = query->n + label->n;
    int32_t *token = az_alloc_array(az, (size_t)n, sizeof *token);
    if (!token) return NAN;
    memcpy(token, query->id, (size_t)query->n * sizeof *token);
    memcpy(token + query->n, label->id, (size_t)label->n * sizeof *token);
    az_lm_cache_trim(r->cache, 0, r->read);
    const az_tensor *logits = read_tokens(az, r, token, n - 1, AZ_LOGITS_ALL);
    double sum = 0;
    for (int64_t j = 0; logits && j < label->n; j++)
        if (label->type[j] == AZ_CPT_LABEL) sum += log_probability(az, logits, query->n - 1 + j, label->id[j]);
    return logits ? sum : NAN;
}

static int choose(az_ctx *az, const reader *r, const az_cpt_line *query, const az_cpt_labels *labels)
{
    int best = 0;
    double best_score = -INFINITY;
    const az_tensor *logits = NULL;
    if (labels->told_apart) {
        az_lm_cache_trim(r->cache, 0, r->read);
        logits = read_tokens(az, r, query->id, query->n, AZ_LOGITS_LAST);
    }
    for (int l = 0; l < labels->n && az_ok(az); l++) {
        const double s = logits ? az_item(logits, labels->line[l].id[0]) : score(az, r, query, labels, l);
        if (s > best_score) best = l, best_score = s;
    }
    return az_ok(az) ? best : -1;
}

bool az_cpt_classify(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const az_cpt_form *form, const az_cpt_labels *labels,
                     const az_examples *examples, int *choice)
{
    reader r = {.lm = lm, .adapter = adapter};
    az_scope_push(az);
    bool good = read_context(az, &r);
    for (int64_t i = 0; good && i < examples->count; i++) {
        az_cpt_line query;
        az_scope_push(az);
        good = az_cpt_query(az, lm->tokenizer, form, az_cpt_input(az, examples, i), &query);
        choice[i] = good ? choose(az, &r, &query, labels) : -1;
        az_scope_pop(az);
        good = az_ok(az);
    }
    az_scope_pop(az);
    return good;
}

double az_cpt_accuracy(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const az_cpt_form *form, const az_cpt_labels *labels,
                       const az_examples *examples)
{
    int64_t right = 0;
    az_scope_push(az);
    int *choice = az_alloc_array(az, (size_t)examples->count, sizeof *choice);
    if (choice && az_cpt_classify(az, lm, adapter, form, labels, examples, choice))
        for (int64_t i = 0; i < examples->count; i++) {
            const char *label = az_cpt_output(az, examples, i);
            right += label && strcmp(labels->text[choice[i]], label) == 0;
        }
    az_scope_pop(az);
    return az_ok(az) ? (double)right / (double)examples->count : NAN;
}
