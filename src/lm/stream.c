/* stream.c - documents as one stream of tokens, and the calibration windows cut from it. */
#include "lm/lm_internal.h"
#include "lm/tokenizer/tokenizer.h"

#include <string.h>

/* The document's tokens are made in an arena of their own, so that the list can grow in the current one. */
static bool append_document(az_ctx *az, const az_tokenizer *tokenizer, const az_document *document, az_token_list *to)
{
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return false;
    az_arena_enter(az, scratch);
    const az_tokens tokens = az_tokenize(az, tokenizer, document->text, document->length, 0);
    az_arena_leave(az);
    bool good = az_ok(az);
    for (int64_t i = 0; good && i < tokens.n; i++) good = az_token_push(to, tokens.id[i]);
    az_arena_free(az, scratch);
    return good;
}

static bool fill_stream(az_ctx *az, const az_tokenizer *tokenizer, const az_documents *documents, az_token_list *all, int64_t *start)
{
    const int32_t bos = az_token_bos(tokenizer), eos = az_token_eos(tokenizer);
    for (int64_t i = 0; i < documents->count; i++) {
        const bool shared = bos >= 0 && bos == eos && i > 0; /* the last document's EOS is this one's BOS */
        start[i] = shared ? all->n - 1 : all->n;
        if (bos >= 0 && !shared && !az_token_push(all, bos)) return false;
        if (!append_document(az, tokenizer, &documents->item[i], all)) return false;
        if (eos >= 0 && !az_token_push(all, eos)) return false;
        if (!az_progress(az, "tokenizing", i + 1, documents->count, NULL))
            return az_fail(az, AZ_INTERRUPTED, "interrupted while tokenizing");
    }
    start[documents->count] = all->n;
    return true;
}

az_lm_stream *az_lm_stream_of(az_ctx *az, const az_lm *lm, const az_documents *documents)
{
    if (!lm || !documents) return NULL;
    if (!lm->tokenizer) return az_fail(az, AZ_BAD_INPUT, "the model brings no tokenizer, so it cannot read text");
    az_lm_stream *stream = az_alloc(az, sizeof *stream);
    int64_t *start = az_alloc_array(az, (size_t)documents->count + 1, sizeof *start);
    if (!stream || !start) return NULL;
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return NULL;
    az_token_list all = {.az = az};
    az_arena_enter(az, scratch);
    bool good = fill_stream(az, lm->tokenizer, documents, &all, start);
    az_arena_leave(az);
    int32_t *token = good ? az_alloc_array(az, (size_t)all.n, sizeof *token) : NULL;
    if (token && all.n) memcpy(token, all.id, (size_t)all.n * sizeof *token);
    az_arena_free(az, scratch);
    if (!token) return NULL;
    *stream = (az_lm_stream){.token = token, .n = all.n, .start = start, .documents = documents->count};
    return stream;
}

/* The stream is cut into windows of `length` tokens; `count` of them are taken in random order. What does not fill a window is left out,
 * half at each end. */
static int64_t take_windows(az_ctx *az, const az_lm_stream *stream, int64_t length, int64_t count, uint64_t seed, int32_t *token)
{
    const int64_t available = stream->n / length;
    const int64_t phase = (stream->n - available * length) / 2;
    int64_t *order = az_alloc_array(az, (size_t)available, sizeof *order);
    if (!order) return 0;
    for (int64_t i = 0; i < available; i++) order[i] = i;
    az_rng rng = az_rng_at(seed, az_stream("calibration windows", 0));
    az_shuffle(&rng, order, available);
    if (available < count) {
        az_note(az, "the text is shorter than asked: %lld of %lld sequences of %lld tokens", (long long)available, (long long)count,
                (long long)length);
        count = available;
    }
    for (int64_t i = 0; i < count; i++)
        memcpy(token + i * length, stream->token + phase + order[i] * length, (size_t)length * sizeof *token);
    return count;
}

az_lm_sequences *az_lm_sample_sequences(az_ctx *az, const az_lm *lm, const az_documents *documents, int64_t count, int64_t length,
                                        uint64_t seed)
{
    if (!lm || !documents) return NULL;
    if (count < 1 || length < 1 || count > INT32_MAX)
        return az_fail(az, AZ_BAD_CALL, "%lld sequences of %lld tokens", (long long)count, (long long)length);
    if (length > lm->config.context) length = lm->config.context;
    az_lm_sequences *sequences = az_alloc(az, sizeof *sequences);
    int32_t *token = az_alloc_array(az, (size_t)(count * length), sizeof *token);
    if (!sequences || !token) return NULL;
    az_scope_push(az);
    const az_lm_stream *stream = az_lm_stream_of(az, lm, documents);
    int64_t taken = 0;
    if (stream && stream->n == 0) az_fail(az, AZ_BAD_INPUT, "the text has no tokens");
    if (stream && stream->n > 0) {
        if (stream->n < length) {
            az_note(az, "the text has %lld tokens: one sequence of that length instead of %lld", (long long)stream->n, (long long)length);
            length = stream->n;
        }
        taken = take_windows(az, stream, length, count, seed, token);
    }
    az_scope_pop(az);
    if (!taken) return NULL;
    *sequences = (az_lm_sequences){.count = taken, .length = length, .token = token};
    return sequences;
}
