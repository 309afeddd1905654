/* pieces.c - WordPiece: the longest piece from the left, a word without such pieces is unknown; and whole words.
 *
 * What a token stands for says where it may stand: " low" begins a word, "er" goes on inside one. */
#include "lm/tokenizer/tokenizer.h"

#include <string.h>

static bool push_unknown(az_ctx *az, const az_tokenizer *t, az_text word, az_token_list *out)
{
    if (t->unknown >= 0) return az_token_push(out, t->unknown);
    return az_fail(az, AZ_BAD_INPUT, "the vocabulary has no token for '%s' and no unknown token", az_text_show(az, word));
}

/* The longest token that begins the text. */
static int32_t longest_piece(const az_prefix_index *index, az_text text)
{
    int32_t found = -1;
    az_prefix_walk walk = az_prefix_begin(index);
    while (walk.length < text.length && az_prefix_step(index, &walk, (unsigned char)text.data[walk.length])) {
        const int32_t id = az_prefix_token(index, &walk);
        if (id >= 0) found = id;
    }
    return found;
}

static bool is_too_long(const az_tokenizer *t, az_text word)
{
    int64_t characters = 0;
    for (size_t at = 0; at < word.length; characters++) at += az_utf8_length(word.data + at, word.length - at);
    return t->rules.longest_word > 0 && characters > t->rules.longest_word;
}

static bool push_pieces(az_ctx *az, const az_tokenizer *t, az_text word, az_text spaced, az_token_list *out)
{
    const int64_t before = out->n;
    for (size_t at = 0; at < spaced.length;) {
        const int32_t id = longest_piece(&t->piece, (az_text){.data = spaced.data + at, .length = spaced.length - at});
        if (id < 0) {
            out->n = before;
            return push_unknown(az, t, word, out);
        }
        if (!az_token_push(out, id)) return false;
        at += t->bytes[id].length;
    }
    return true;
}

bool az_pieces_word(az_ctx *az, const az_tokenizer *t, az_text word, az_token_list *out)
{
    if (t->kind == AZ_TOKENIZER_PIECES && is_too_long(t, word)) return push_unknown(az, t, word, out);
    az_text key = word;
    if (t->rules.spaced) {
        char *spaced = az_alloc(az, word.length + 1);
        if (!spaced) return false;
        spaced[0] = ' ';
        memcpy(spaced + 1, word.data, word.length);
        key = (az_text){.data = spaced, .length = word.length + 1};
    }
    if (t->kind == AZ_TOKENIZER_PIECES) return push_pieces(az, t, word, key, out);
    const int32_t id = az_tokenizer_find(t, key);
    return id >= 0 ? az_token_push(out, id) : push_unknown(az, t, word, out);
}
