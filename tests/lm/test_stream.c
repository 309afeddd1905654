/* Documents as one stream of tokens, and the calibration windows cut from it. */
#include "lm/tokenizer/tokenizer.h"
#include "support/tiny_lm.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static az_document item[3] = {{"aaaa", 4}, {"bb", 2}, {"cccccc", 6}};
static const az_documents letters = {.count = 3, .item = item, .separated = true};

/* A model whose tokens are bytes, with the given marks at the ends of documents. */
static az_lm *byte_model(az_ctx *az, int32_t bos, int32_t eos)
{
    az_tokenizer *tokenizer = az_tokenizer_train(az, &letters, 257);
    cr_assert_not_null(tokenizer, "%s", az_error(az));
    tokenizer->bos = bos;
    tokenizer->eos = eos;
    az_lm_config config = tiny_config();
    config.vocabulary = 260;
    return az_lm_new(az, "llama", &config, tokenizer, 1);
}

/* Compares with tokens written as text: '<' is BOS, '>' is EOS, '|' is both. */
static void assert_stream(int32_t bos, int32_t eos, const char *expected, const int64_t start[4])
{
    az_ctx *az = az_open(NULL);
    const az_lm *lm = byte_model(az, bos, eos);
    const az_lm_stream *stream = az_lm_stream_of(az, lm, &letters);
    cr_assert_not_null(stream, "%s", az_error(az));
    cr_assert_eq(stream->n, (int64_t)strlen(expected));
    for (int64_t i = 0; i < stream->n; i++) {
        const bool mark = strchr("<>|", expected[i]);
        const int32_t token = !mark ? az_tokenize(az, lm->tokenizer, expected + i, 1, 0).id[0] : expected[i] == '<' ? bos : eos;
        cr_assert_eq(stream->token[i], token, "at %lld of %s", (long long)i, expected);
    }
    cr_assert_arr_eq(stream->start, start, 4 * sizeof *start);
    az_close(az);
}

Test(stream, documents_are_joined_by_their_marks)
{
    assert_stream(258, 259, "<aaaa><bb><cccccc>", (int64_t[]){0, 6, 10, 18});
    assert_stream(-1, 259, "aaaa>bb>cccccc>", (int64_t[]){0, 5, 8, 15});
    assert_stream(258, -1, "<aaaa<bb<cccccc", (int64_t[]){0, 5, 8, 15});
    assert_stream(-1, -1, "aaaabbcccccc", (int64_t[]){0, 4, 6, 12});
}

Test(stream, a_mark_that_is_both_stands_once)
{
    assert_stream(259, 259, "|aaaa|bb|cccccc|", (int64_t[]){0, 5, 8, 16});
}

/* ---- windows ---- */

static bool same_window(const az_lm_sequences *s, int64_t i, const int32_t *token)
{
    return memcmp(s->token + i * s->length, token, (size_t)s->length * sizeof *token) == 0;
}

Test(stream, windows_are_different_parts_of_the_text)
{
    az_ctx *az = az_open(NULL);
    char *text = az_alloc(az, 1001);
    az_rng rng = az_rng_at(1, 2);
    for (int i = 0; i < 1000; i++) text[i] = (char)('!' + az_below(&rng, 90));
    az_document one = {text, 1000};
    const az_documents documents = {.count = 1, .item = &one};
    const az_lm *lm = byte_model(az, -1, -1);
    const az_lm_stream *stream = az_lm_stream_of(az, lm, &documents);
    const az_lm_sequences *a = az_lm_sample_sequences(az, lm, &documents, 20, 16, 3),
                          *b = az_lm_sample_sequences(az, lm, &documents, 20, 16, 3),
                          *c = az_lm_sample_sequences(az, lm, &documents, 20, 16, 4);
    cr_assert(a && b && c && a->count == 20 && a->length == 16);
    cr_assert_arr_eq(a->token, b->token, 20 * 16 * sizeof *a->token);
    cr_assert_neq(memcmp(a->token, c->token, 20 * 16 * sizeof *a->token), 0);
    bool taken[1000] = {false};
    for (int64_t i = 0; i < a->count; i++) {
        int64_t at = 0;
        while (at + 16 <= stream->n && (taken[at] || !same_window(a, i, stream->token + at))) at++;
        cr_assert_leq(at + 16, stream->n, "window %lld is no part of the text", (long long)i);
        for (int64_t j = at; j < at + 16; j++) {
            cr_assert_not(taken[j], "windows overlap");
            taken[j] = true;
        }
    }
    az_close(az);
}

static void count_notes(const az_progress_event *event, void *user)
{
    if (strcmp(event->task, "note") == 0) ++*(int *)user;
}

Test(stream, a_short_text_gives_fewer_windows_with_a_note)
{
    int notes = 0;
    az_ctx *az = az_open(&(az_settings){.progress = count_notes, .user = &notes});
    const az_lm *lm = byte_model(az, -1, -1);
    const az_lm_sequences *few = az_lm_sample_sequences(az, lm, &letters, 10, 5, 0);
    cr_assert_eq(few->count, 2);
    cr_assert_eq(notes, 1);
    const az_lm_sequences *one = az_lm_sample_sequences(az, lm, &letters, 1, 40, 0);
    cr_assert_eq(one->length, 12);
    cr_assert_eq(notes, 2);
    az_close(az);
}

Test(stream, text_without_tokens_and_models_without_tokenizer_are_errors)
{
    az_ctx *az = az_open(NULL);
    const az_documents none = {.count = 0};
    cr_assert_null(az_lm_sample_sequences(az, byte_model(az, -1, -1), &none, 4, 4, 0));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_clear(az);
    cr_assert_null(az_lm_stream_of(az, tiny_llama(az, 1), &letters));
    cr_assert(strstr(az_error(az), "tokenizer"));
    az_close(az);
}
