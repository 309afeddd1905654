/* json_model.c - the model section of a tokenizer.json: vocabulary, merges, scores; and the tokens added to it. */
#include "lm/tokenizer/json.h"

#include <string.h>

/* ---- entering tokens ---- */

/* Ids may leave gaps, but a few tokens cannot ask for a huge vocabulary. */
enum { LONGEST_GAP = 1 << 16 };

static bool make_room(az_json_tokenizer *t, int64_t id)
{
    if (id < t->room) return true;
    if (id >= 1 << 24 || id > t->tokens * 2 + LONGEST_GAP)
        return az_fail(t->az, AZ_BAD_INPUT, "token id %lld is out of range beside %lld tokens", (long long)id, (long long)t->tokens);
    const int64_t room = 2 * id + 256, old = t->room;
    az_text *text = az_alloc_array(t->az, (size_t)room, sizeof *text);
    float *score = az_alloc_array(t->az, (size_t)room, sizeof *score);
    int32_t *type = az_alloc_array(t->az, (size_t)room, sizeof *type);
    uint8_t *added = az_alloc_array(t->az, (size_t)room, sizeof *added);
    if (!text || !score || !type || !added) return false;
    if (old > 0) {
        memcpy(text, t->text, (size_t)old * sizeof *text);
        memcpy(score, t->score, (size_t)old * sizeof *score);
        memcpy(type, t->type, (size_t)old * sizeof *type);
        memcpy(added, t->added, (size_t)old * sizeof *added);
    }
    t->text = text, t->score = score, t->type = type, t->added = added;
    t->room = room;
    return true;
}

bool az_json_token(az_json_tokenizer *t, int64_t id, az_text text, int32_t type)
{
    if (id < 0) return az_fail(t->az, AZ_BAD_INPUT, "token '%s' has the id %lld", az_text_show(t->az, text), (long long)id);
    if (!make_room(t, id)) return false;
    if (t->text[id].data && !az_text_equal(t->text[id], text))
        return az_fail(t->az, AZ_BAD_INPUT, "id %lld belongs to both '%s' and '%s'", (long long)id, az_text_show(t->az, t->text[id]),
                       az_text_show(t->az, text));
    t->tokens += !t->text[id].data;
    t->text[id] = text;
    t->type[id] = type;
    if (id >= t->parts.size) t->parts.size = id + 1;
    return true;
}

static az_text string_of(const json_t *value)
{
    return (az_text){.data = json_string_value(value), .length = json_string_length(value)};
}

static bool is_byte_token(az_text text)
{
    return text.length == 6 && memcmp(text.data, "<0x", 3) == 0 && text.data[5] == '>';
}

static int32_t plain_type(const az_json_tokenizer *t, az_text text)
{
    return t->byte_tokens && is_byte_token(text) ? AZ_TOKEN_BYTE : AZ_TOKEN_NORMAL;
}

/* {"token": id, ...} */
static bool read_vocabulary(az_json_tokenizer *t, const json_t *vocabulary)
{
    if (!json_is_object(vocabulary)) return az_fail(t->az, AZ_BAD_INPUT, "the model's vocab is not an object of token: id");
    const char *name;
    size_t length;
    json_t *value;
    t->tokens = 0;
    int64_t largest = 0;
    json_object_keylen_foreach((json_t *)(uintptr_t)vocabulary, name, length, value)
    {
        if (!json_is_integer(value)) return az_fail(t->az, AZ_BAD_INPUT, "token '%s' has no number", name);
        if (json_integer_value(value) > largest) largest = json_integer_value(value);
    }
    t->tokens = (int64_t)json_object_size(vocabulary); /* of the gap check */
    if (!make_room(t, largest)) return false;
    t->tokens = 0;
    json_object_keylen_foreach((json_t *)(uintptr_t)vocabulary, name, length, value)
    {
        const az_text text = {.data = name, .length = length};
        if (!az_json_token(t, json_integer_value(value), text, plain_type(t, text))) return false;
    }
    return true;
}

/* The id of a spelling by search, -1 = none. */
static int64_t find_spelling(const az_json_tokenizer *t, az_text text)
{
    for (int64_t i = 0; text.data && i < t->parts.size; i++)
        if (t->text[i].data && az_text_equal(t->text[i], text)) return i;
    return -1;
}

static bool read_unknown(az_json_tokenizer *t, const json_t *section)
{
    const az_text unknown = az_json_text(section, "unk_token");
    if (!unknown.data) return true;
    t->parts.unknown = find_spelling(t, unknown);
    if (t->parts.unknown >= 0) t->type[t->parts.unknown] = AZ_TOKEN_UNKNOWN;
    return true;
}

/* ---- the models ---- */

/* "left right" or ["left", "right"]. */
static bool read_merges(az_json_tokenizer *t, const json_t *merges)
{
    const size_t n = json_array_size(merges);
    if (!json_is_array(merges)) return az_fail(t->az, AZ_BAD_INPUT, "the BPE model has no array of merges");
    az_text *merge = az_alloc_array(t->az, n, sizeof *merge);
    size_t *space = az_alloc_array(t->az, n, sizeof *space);
    if (!merge || !space) return false;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(merges, i);
        const az_text left = string_of(json_array_get(item, 0)), right = string_of(json_array_get(item, 1));
        if (json_is_string(item)) {
            merge[i] = string_of(item);
            const char *found = merge[i].length > 1 ? memchr(merge[i].data + 1, ' ', merge[i].length - 1) : NULL;
            space[i] = found ? (size_t)(found - merge[i].data) : 0;
        } else if (left.data && right.data && json_array_size(item) == 2) {
            az_bytes joined = {.az = t->az};
            if (!az_bytes_add(&joined, left.data, left.length) || !az_bytes_add(&joined, " ", 1) ||
                !az_bytes_add(&joined, right.data, right.length))
                return false;
            merge[i] = (az_text){.data = joined.data, .length = joined.length};
            space[i] = left.length;
        } else {
            return az_fail(t->az, AZ_BAD_INPUT, "merge %zu is neither \"left right\" nor a pair of strings", i);
        }
    }
    t->parts.merge = merge;
    t->parts.merge_space = space;
    t->parts.merges = (int64_t)n;
    return true;
}

static bool is_set(const json_t *section, const char *name)
{
    const json_t *value = json_object_get(section, name);
    return json_is_string(value) ? json_string_length(value) > 0 : json_number_value(value) > 0;
}

static bool read_bpe(az_json_tokenizer *t, const json_t *section)
{
    static const char *const strange[] = {"continuing_subword_prefix", "end_of_word_suffix", "dropout"};
    for (int i = 0; i < 3; i++)
        if (is_set(section, strange[i])) return az_fail(t->az, AZ_BAD_INPUT, "a BPE model with %s is not known here", strange[i]);
    t->parts.kind = AZ_TOKENIZER_RANKS;
    t->rules.characters = !t->byte_level;
    t->rules.whole_first = az_json_bool(section, "ignore_merges", false);
    t->rules.fuse_unknown = az_json_bool(section, "fuse_unk", false);
    t->byte_tokens = az_json_bool(section, "byte_fallback", false);
    return read_vocabulary(t, json_object_get(section, "vocab")) && read_unknown(t, section) &&
           read_merges(t, json_object_get(section, "merges"));
}

/* [["piece", score], ...] */
static bool read_unigram(az_json_tokenizer *t, const json_t *section)
{
    const json_t *vocabulary = json_object_get(section, "vocab");
    t->parts.kind = AZ_TOKENIZER_UNIGRAM;
    t->rules.characters = t->rules.fuse_unknown = true;
    t->byte_tokens = az_json_bool(section, "byte_fallback", false);
    if (t->byte_level) return az_fail(t->az, AZ_BAD_INPUT, "a Unigram model over byte-level text is not known here");
    if (!json_is_array(vocabulary)) return az_fail(t->az, AZ_BAD_INPUT, "the Unigram model's vocab is not an array of [piece, score]");
    for (size_t i = 0; i < json_array_size(vocabulary); i++) {
        const json_t *item = json_array_get(vocabulary, i), *score = json_array_get(item, 1);
        const az_text text = string_of(json_array_get(item, 0));
        if (!text.data || !json_is_number(score))
            return az_fail(t->az, AZ_BAD_INPUT, "entry %zu of the Unigram model's vocab is not [piece, score]", i);
        if (!az_json_token(t, (int64_t)i, text, plain_type(t, text))) return false;
        t->score[i] = (float)json_number_value(score);
    }
    const json_t *unknown = json_object_get(section, "unk_id");
    if (!json_is_integer(unknown)) return true;
    t->parts.unknown = json_integer_value(unknown);
    if (t->parts.unknown < 0 || t->parts.unknown >= t->parts.size)
        return az_fail(t->az, AZ_BAD_INPUT, "unk_id is %lld, but the vocabulary has %lld tokens", (long long)t->parts.unknown,
                       (long long)t->parts.size);
    t->type[t->parts.unknown] = AZ_TOKEN_UNKNOWN;
    return true;
}

static bool read_wordpiece(az_json_tokenizer *t, const json_t *section)
{
    const az_text prefix = az_json_text(section, "continuing_subword_prefix");
    if (prefix.data && !az_text_equal(prefix, az_text_of("##")))
        return az_fail(t->az, AZ_BAD_INPUT, "WordPiece marks continuations by '%s'; only ## is known here", az_text_show(t->az, prefix));
    const json_t *longest = json_object_get(section, "max_input_chars_per_word");
    t->parts.kind = AZ_TOKENIZER_PIECES;
    t->rules.longest_word = json_is_integer(longest) ? json_integer_value(longest) : 100;
    t->rules.spaced = t->rules.strip_space = true;
    return read_vocabulary(t, json_object_get(section, "vocab")) && read_unknown(t, section);
}

static bool read_words(az_json_tokenizer *t, const json_t *section)
{
    t->parts.kind = AZ_TOKENIZER_WORDS;
    t->rules.spaced = t->rules.strip_space = true;
    return read_vocabulary(t, json_object_get(section, "vocab")) && read_unknown(t, section);
}

/* Files of early versions name no type. */
static const char *guess_model(const json_t *section)
{
    if (json_object_get(section, "merges")) return "BPE";
    if (json_is_array(json_object_get(section, "vocab"))) return "Unigram";
    return json_object_get(section, "continuing_subword_prefix") ? "WordPiece" : "WordLevel";
}

bool az_json_model(az_json_tokenizer *t, const json_t *section)
{
    if (!json_is_object(section)) return az_fail(t->az, AZ_BAD_INPUT, "the file has no model");
    const char *type = *az_json_type(section) ? az_json_type(section) : guess_model(section);
    t->parts.unknown = -1;
    if (strcmp(type, "BPE") == 0) return read_bpe(t, section);
    if (strcmp(type, "Unigram") == 0) return read_unigram(t, section);
    if (strcmp(type, "WordPiece") == 0) return read_wordpiece(t, section);
    if (strcmp(type, "WordLevel") == 0) return read_words(t, section);
    return az_fail(t->az, AZ_BAD_INPUT, "the model '%s' is not known here (known: BPE, Unigram, WordPiece, WordLevel)", type);
}

/* ---- added tokens ---- */

bool az_json_added(az_json_tokenizer *t, const json_t *section)
{
    for (size_t i = 0; i < json_array_size(section); i++) {
        const json_t *item = json_array_get(section, i), *id = json_object_get(item, "id");
        const az_text content = az_json_text(item, "content");
        if (!json_is_integer(id) || !content.data) return az_fail(t->az, AZ_BAD_INPUT, "added token %zu lacks id or content", i);
        const int64_t number = json_integer_value(id);
        const bool special = az_json_bool(item, "special", false);
        if (!az_json_token(t, number, content, special ? AZ_TOKEN_CONTROL : AZ_TOKEN_USER)) return false;
        if (number == t->parts.unknown) t->type[number] = AZ_TOKEN_UNKNOWN;
        t->added[number] = (uint8_t)((az_json_bool(item, "lstrip", false) ? AZ_ADDED_LSTRIP : 0) |
                                     (az_json_bool(item, "rstrip", false) ? AZ_ADDED_RSTRIP : 0) |
                                     (az_json_bool(item, "single_word", false) ? AZ_ADDED_SINGLE_WORD : 0) |
                                     (az_json_bool(item, "normalized", !special) ? AZ_ADDED_NORMALIZED : 0));
    }
    return true;
}
