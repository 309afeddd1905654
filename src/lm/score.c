/* score.c - log-likelihood of documents: every token once, in windows of the context, many windows in one pass.
 *
 * A document of tokens t_0 .. t_n is a sequence of predictions 1 .. n. A window reads the inputs first .. first + context - 1 and predicts
 * one token further; it scores the predictions that no earlier window has scored. */
#include "lm/adapter.h"

#include <math.h>
#include <string.h>

enum { BATCH_TOKENS = 2048 };
static const int64_t LOGITS_AT_ONCE = (int64_t)8 << 20; /* entries of the logits held at a time */

typedef struct az_window {
    const int32_t *token;   /* inputs; token[inputs] is the last target */
    int64_t inputs, scored; /* the last `scored` predictions count */
    int64_t item;           /* whose sum they join */
} az_window;

/* ---- one pass: windows side by side ---- */

/* Losses of rows [n, width] of hidden states against target [n], a bounded number of logits at a time. */
static bool row_losses(az_ctx *az, const az_lm *lm, const az_hidden_rows *from, double *loss)
{
    const int64_t rows = from->hidden->shape[0];
    int64_t step = LOGITS_AT_ONCE / lm->config.vocabulary;
    if (step < 16) step = 16;
    for (int64_t first = 0; first < rows; first += step) {
        const int64_t n = rows - first < step ? rows - first : step;
        az_scope_push(az);
        const az_pass_adapters *adapters = az_pass_adapters_slice(az, from->adapters, first, n);
        az_tensor *logits = az_lm_head_logits(az, lm, adapters, az_slice(az, from->hidden, 0, first, n));
        az_tensor *nll = az_cross_entropy(az, logits, az_from(az, AZ_I32, 1, &n, from->target + first));
        for (int64_t i = 0; nll && i < n; i++) loss[first + i] = az_item(nll, i);
        az_scope_pop(az);
        if (!az_ok(az)) return false;
    }
    return true;
}

/* Adds each window's losses to its item's sum. */
static bool score_pass(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const az_window *window, int n, double *nll)
{
    const int64_t in_front = adapter ? adapter->virtual_tokens : 0;
    int64_t tokens = 0, scored = 0;
    const int32_t bos = adapter && adapter->has_bos ? az_token_bos(lm->tokenizer) : -1;
    for (int w = 0; w < n; w++) tokens += window[w].inputs + in_front, scored += window[w].scored;
    int32_t *token = az_alloc_array(az, (size_t)tokens, sizeof *token);
    int32_t *row = az_alloc_array(az, (size_t)scored, sizeof *row), *target = az_alloc_array(az, (size_t)scored, sizeof *target);
    int64_t *start = az_alloc_array(az, (size_t)n + 1, sizeof *start);
    double *loss = az_alloc_array(az, (size_t)scored, sizeof *loss);
    if (!token || !row || !target || !start || !loss) return false;
    int64_t r = 0;
    for (int w = 0; w < n; w++) {
        for (int64_t i = 0; i < in_front; i++) token[start[w] + i] = (int32_t)(-1 - i);
        const bool twice = bos >= 0 && window[w].token[0] == bos; /* the last virtual token predicts in the place of BOS */
        const int64_t first = start[w] + in_front - twice;
        memcpy(token + first + twice, window[w].token + twice, (size_t)(window[w].inputs - twice) * sizeof *token);
        start[w + 1] = first + window[w].inputs;
        for (int64_t i = window[w].inputs - window[w].scored; i < window[w].inputs; i++, r++) {
            row[r] = (int32_t)(first + i);
            target[r] = window[w].token[i + 1];
        }
    }
    const az_lm_batch batch = {.sequences = n, .token = token, .start = start};
    tokens = start[n];
    const az_lm_run run = {.output = AZ_HIDDEN, .adapter = &adapter, .adapters = adapter ? 1 : 0};
    az_hidden_rows rows = {.hidden = az_lm_forward(az, lm, &batch, &run), .target = target};
    rows.adapters = az_pass_adapters_take(az, az_pass_adapters_begin(az, &batch, &run), row, scored);
    if (scored < tokens) rows.hidden = az_gather(az, rows.hidden, az_from(az, AZ_I32, 1, &scored, row));
    if (!rows.hidden || !row_losses(az, lm, &rows, loss)) return false;
    r = 0;
    for (int w = 0; w < n; w++)
        for (int64_t i = 0; i < window[w].scored; i++) nll[window[w].item] += loss[r++];
    return true;
}

/* ---- cutting ---- */

typedef struct az_windows {
    az_window *item;
    int64_t n;
} az_windows;

/* The windows of one sequence of n tokens; with item_each, every window is an item of its own. */
static int64_t cut_sequence(const az_tokens *tokens, int64_t item, bool item_each, const az_lm_score_options *o, az_window *out)
{
    int64_t n = 0, scored_to = 0; /* predictions 1 .. scored_to are done */
    for (int64_t first = 0; scored_to < tokens->n - 1; first += o->stride) {
        const int64_t left = tokens->n - 1 - first, inputs = left < o->context ? left : o->context;
        const int64_t last = first + inputs;
        if (out) out[n] = (az_window){tokens->id + first, inputs, last - scored_to, item_each ? item + n : item};
        scored_to = last;
        n++;
    }
    return n;
}

static az_windows cut(az_ctx *az, const az_tokens *sequence, int64_t n, bool item_each, const az_lm_score_options *o)
{
    az_windows all = {0};
    int64_t total = 0;
    for (int64_t i = 0; i < n; i++) total += cut_sequence(&sequence[i], 0, false, o, NULL);
    all.item = az_alloc_array(az, (size_t)total, sizeof *all.item);
    for (int64_t i = 0; all.item && i < n; i++) all.n += cut_sequence(&sequence[i], item_each ? all.n : i, item_each, o, all.item + all.n);
    return all;
}

/* ---- scoring ---- */

static bool score_windows(az_ctx *az, const az_lm *lm, const az_windows *windows, const az_lm_score_options *o, double *nll)
{
    for (int64_t at = 0; at < windows->n;) {
        int n = 0;
        int64_t tokens = 0;
        while (at + n < windows->n && (n == 0 || tokens + windows->item[at + n].inputs <= o->batch))
            tokens += windows->item[at + n++].inputs;
        az_scope_push(az);
        const bool good = score_pass(az, lm, o->adapter, windows->item + at, n, nll);
        az_scope_pop(az);
        if (!good) return false;
        at += n;
        if (!az_progress(az, "scoring", at, windows->n, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted while scoring");
    }
    return true;
}

az_lm_score *az_lm_score_sequences(az_ctx *az, const az_lm *lm, const az_tokens *sequence, int64_t n, bool separated,
                                   const az_lm_score_options *options)
{
    if (!lm || !az_ok(az)) return NULL;
    az_lm_score_options o = options ? *options : (az_lm_score_options){0};
    if (o.adapter && o.adapter->generators)
        return az_fail(az, AZ_BAD_INPUT, "the adapter '%s' reads an instruction, which a document has not; examples have one",
                       o.adapter->name);
    const int64_t room = lm->config.context - (o.adapter ? o.adapter->virtual_tokens : 0);
    if (!o.context || o.context > room) o.context = room;
    if (!o.stride) o.stride = o.context;
    if (!o.batch) o.batch = BATCH_TOKENS;
    if (o.context < 1 || o.stride < 1 || o.stride > o.context || o.batch < 1)
        return az_fail(az, AZ_BAD_CALL, "windows of %lld tokens that advance by %lld: the stride must be from 1 to the context",
                       (long long)o.context, (long long)o.stride);
    const bool item_each = !separated && n == 1;
    const az_windows windows = cut(az, sequence, n, item_each, &o);
    if (!windows.item) return NULL;
    const int64_t items = item_each ? windows.n : n;
    az_lm_score *score = az_alloc(az, sizeof *score);
    double *nll = az_alloc_array(az, (size_t)items, sizeof *nll), *weight = az_alloc_array(az, (size_t)items, sizeof *weight);
    if (!score || !nll || !weight) return NULL;
    for (int64_t w = 0; w < windows.n; w++) weight[windows.item[w].item] += (double)windows.item[w].scored;
    if (!score_windows(az, lm, &windows, &o, nll)) return NULL;
    *score = (az_lm_score){.documents = items, .nll = nll, .weight = weight};
    for (int64_t i = 0; i < items; i++) {
        score->tokens += (int64_t)weight[i];
        if (!isfinite(nll[i])) return az_fail(az, AZ_NUMERIC, "the log-likelihood of document %lld is not finite", (long long)i + 1);
    }
    if (score->tokens == 0) return az_fail(az, AZ_BAD_INPUT, "the text has no tokens to score");
    score->mean = az_ratio_estimate(nll, weight, items, 0.95);
    return score;
}

static az_tokens document_tokens(az_ctx *az, const az_lm *lm, const az_document *document)
{
    az_tokens text = az_tokenize(az, lm->tokenizer, document->text, document->length, 0);
    const int32_t bos = az_token_bos(lm->tokenizer);
    if (bos < 0 || !az_ok(az)) return text;
    az_tokens all = {.id = az_alloc_array(az, (size_t)text.n + 1, sizeof *all.id), .n = text.n + 1};
    if (!all.id) return (az_tokens){0};
    all.id[0] = bos;
    if (text.n) memcpy(all.id + 1, text.id, (size_t)text.n * sizeof *all.id);
    return all;
}

az_lm_score *az_lm_score_documents(az_ctx *az, const az_lm *lm, const az_documents *documents, const az_lm_score_options *options)
{
    if (!lm || !documents) return NULL;
    if (!lm->tokenizer) return az_fail(az, AZ_BAD_INPUT, "the model brings no tokenizer, so it cannot read text");
    int64_t count = documents->count;
    if (options && options->limit > 0 && options->limit < count) count = options->limit;
    az_tokens *sequence = az_alloc_array(az, (size_t)count, sizeof *sequence);
    if (!sequence) return NULL;
    for (int64_t i = 0; i < count; i++) sequence[i] = document_tokens(az, lm, &documents->item[i]);
    return az_ok(az) ? az_lm_score_sequences(az, lm, sequence, count, documents->separated, options) : NULL;
}

/* ---- examples ---- */

az_lm_score *az_lm_score_examples(az_ctx *az, const az_lm *lm, const az_examples *examples, const az_lm_score_options *options)
{
    if (!lm || !examples || !az_ok(az)) return NULL;
    const az_lm_score_options o = options ? *options : (az_lm_score_options){0};
    const int64_t virtual_tokens = o.adapter ? o.adapter->virtual_tokens : 0;
    az_examples first = *examples;
    if (o.limit > 0 && o.limit < first.count) first.count = o.limit;
    const az_lm_example_options how = {.length = o.context > 0 ? o.context + virtual_tokens : 0,
                                       .virtual_tokens = virtual_tokens,
                                       .no_bos = o.adapter && o.adapter->has_bos,
                                       .form = o.adapter ? o.adapter->form : NULL};
    const az_lm_examples *tokens = az_lm_examples_of(az, lm, &first, &how);
    const az_lm_run run = {.adapter = &o.adapter, .adapters = o.adapter != NULL};
    az_lm_score *score = tokens ? az_alloc(az, sizeof *score) : NULL;
    double *nll = score ? az_alloc_array(az, (size_t)tokens->count, sizeof *nll) : NULL,
           *weight = nll ? az_alloc_array(az, (size_t)tokens->count, sizeof *weight) : NULL;
    if (!weight) return NULL;
    if (tokens->skipped > 0) az_note(az, "%lld examples are skipped: no token of their response fits", (long long)tokens->skipped);
    az_lm_examples_loss(az, lm, tokens, &run, nll);
    *score = (az_lm_score){.documents = tokens->count, .tokens = tokens->counted, .nll = nll, .weight = weight};
    for (int64_t i = 0; i < tokens->count && az_ok(az); i++) {
        weight[i] = (double)tokens->item[i].counted;
        if (!isfinite(nll[i]))
            az_fail(az, AZ_NUMERIC, "the log-likelihood of example %lld is not finite", (long long)tokens->item[i].source + 1);
    }
    score->mean = az_ratio_estimate(nll, weight, tokens->count, 0.95);
    return az_ok(az) ? score : NULL;
}
