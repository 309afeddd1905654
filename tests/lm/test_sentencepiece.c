/* tokenizer.model: messages put together by hand, tokens computed by hand, damaged messages. */
#include "lm/tokenizer/tokenizer.h"

#include <criterion/criterion.h>
#include <string.h>

/* ---- writing a message ---- */

static void put_key(az_bytes *out, int number, int wire)
{
    const char key[2] = {(char)((number << 3 | wire) & 0x7f), (char)(number >> 4)};
    const char long_key[2] = {(char)(key[0] | (char)0x80), key[1]};
    az_bytes_add(out, number < 16 ? key : long_key, number < 16 ? 1 : 2);
}

static void put_number(az_bytes *out, int number, int value)
{
    put_key(out, number, 0);
    az_bytes_add(out, &(char){(char)value}, 1);
}

/* Shorter than 128 bytes. */
static void put_bytes(az_bytes *out, int number, const char *data, size_t length)
{
    put_key(out, number, 2);
    az_bytes_add(out, &(char){(char)length}, 1);
    az_bytes_add(out, data, length);
}

static void put_piece(az_bytes *out, const char *text, float score, int type)
{
    az_bytes piece = {.az = out->az};
    put_bytes(&piece, 1, text, strlen(text));
    put_key(&piece, 2, 5);
    az_bytes_add(&piece, (const char *)&score, 4);
    put_number(&piece, 3, type);
    put_bytes(out, 1, piece.data, piece.length);
}

static az_bytes message(az_ctx *az, int kind)
{
    az_bytes out = {.az = az}, trainer = {.az = az}, normalizer = {.az = az};
    put_piece(&out, "<unk>", 0, AZ_TOKEN_UNKNOWN);
    put_piece(&out, "<s>", 0, AZ_TOKEN_CONTROL);
    put_piece(&out, "</s>", 0, AZ_TOKEN_CONTROL);
    put_piece(&out, "\u2581", -2, AZ_TOKEN_NORMAL);
    put_piece(&out, "a", -3, AZ_TOKEN_NORMAL);
    put_piece(&out, "b", -3.5f, AZ_TOKEN_NORMAL);
    put_piece(&out, "ab", -4, AZ_TOKEN_NORMAL);
    put_piece(&out, "\u2581a", -1, AZ_TOKEN_NORMAL);
    put_number(&trainer, 3, kind);
    put_number(&trainer, 40, 0);
    put_number(&trainer, 41, 1);
    put_number(&trainer, 42, 2);
    put_bytes(&out, 2, trainer.data, trainer.length);
    put_number(&normalizer, 3, 1);
    put_number(&normalizer, 4, 1);
    put_bytes(&out, 3, normalizer.data, normalizer.length);
    return out;
}

/* ---- tests ---- */

static void expect_ids(int kind, const char *text, const char *wanted)
{
    az_ctx *az = az_open(NULL);
    const az_bytes m = message(az, kind);
    const az_tokenizer *t = az_tokenizer_from_sentencepiece(az, (const unsigned char *)m.data, m.length);
    cr_assert_not_null(t, "%s", az_error(az));
    const az_tokens tokens = az_tokenize(az, t, text, strlen(text), 0);
    const char *got = "";
    for (int64_t i = 0; i < tokens.n; i++) got = az_format_text(az, "%s%s%d", got, i ? " " : "", tokens.id[i]);
    cr_assert_str_eq(got, wanted, "'%s': got %s, wanted %s", text, got, wanted);
    cr_assert_eq(az_token_eos(t), 2);
    az_close(az);
}

enum { UNIGRAM = 1, BPE = 2 };

Test(sentencepiece, unigram)
{
    expect_ids(UNIGRAM, "ab", "7 5");         /* -4.5 beats -6 */
    expect_ids(UNIGRAM, " ab   a ", "7 5 7"); /* one space between words, none at the ends */
    expect_ids(UNIGRAM, "xya", "3 0 4");
}

Test(sentencepiece, bpe)
{
    expect_ids(BPE, "ab", "7 5"); /* "_a" scores -1, "ab" -4 */
    expect_ids(BPE, "bab", "3 5 6");
}

Test(sentencepiece, damaged_messages_are_refused)
{
    az_ctx *az = az_open(NULL);
    const az_bytes m = message(az, UNIGRAM);
    for (size_t n = 0; n < m.length; n++) { /* cut anywhere: refused, or a vocabulary of fewer pieces */
        az_tokenizer_from_sentencepiece(az, (const unsigned char *)m.data, n);
        az_clear(az);
    }
    const az_bytes words = message(az, 3);
    cr_assert_null(az_tokenizer_from_sentencepiece(az, (const unsigned char *)words.data, words.length));
    cr_assert(strstr(az_error(az), "model type 3"), "%s", az_error(az));
    az_close(az);
}
