/* build.c - makes a tokenizer from a vocabulary: what each token stands for, and the tables that find tokens and merges. */
#include "lm/tokenizer/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- tables ---- */

static uint32_t hash_bytes(az_text text)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a, with a last mixing for the low bits */
    for (size_t i = 0; i < text.length; i++) hash = (hash ^ (unsigned char)text.data[i]) * 0x100000001b3u;
    return (uint32_t)(hash >> 32 ^ hash);
}

static uint32_t hash_pair(int32_t left, int32_t right)
{
    uint64_t hash = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(hash >> 32 ^ hash >> 15);
}

static bool table_new(az_ctx *az, az_token_table *table, int64_t entries)
{
    size_t slots = 4;
    while (slots < 2 * (size_t)entries) slots *= 2;
    table->slot = az_alloc_array(az, slots, sizeof *table->slot);
    table->mask = (uint32_t)(slots - 1);
    for (size_t i = 0; table->slot && i < slots; i++) table->slot[i].entry = -1;
    return table->slot != NULL;
}

/* The slot where the token is or would be. */
static az_token_slot *token_slot(const az_tokenizer *t, az_text bytes, uint32_t hash)
{
    uint32_t at = hash & t->tokens.mask;
    for (az_token_slot *slot; (slot = &t->tokens.slot[at])->entry >= 0; at = (at + 1) & t->tokens.mask)
        if (slot->hash == hash && az_text_equal(t->bytes[slot->entry], bytes)) break;
    return &t->tokens.slot[at];
}

static az_token_slot *rank_slot(const az_tokenizer *t, int32_t left, int32_t right, uint32_t hash)
{
    uint32_t at = hash & t->ranks.mask;
    for (az_token_slot *slot; (slot = &t->ranks.slot[at])->entry >= 0; at = (at + 1) & t->ranks.mask)
        if (slot->hash == hash && t->merge[slot->entry].left == left && t->merge[slot->entry].right == right) break;
    return &t->ranks.slot[at];
}

/* Of several entries with one key the first stays. */
static void fill_slot(az_token_slot *slot, int32_t entry, uint32_t hash)
{
    if (slot->entry < 0) *slot = (az_token_slot){.entry = entry, .hash = hash};
}

int32_t az_tokenizer_find(const az_tokenizer *tokenizer, az_text bytes)
{
    return token_slot(tokenizer, bytes, hash_bytes(bytes))->entry;
}

int32_t az_tokenizer_rank(const az_tokenizer *tokenizer, int32_t left, int32_t right)
{
    return rank_slot(tokenizer, left, right, hash_pair(left, right))->entry;
}

/* ---- what tokens stand for ---- */

/* SentencePiece's mark of a space, U+2581. */
static const char SPACE[] = "\xe2\x96\x81";
enum { SPACE_BYTES = sizeof SPACE - 1 };

static bool is_special(const az_tokenizer *t, int64_t id)
{
    return t->type[id] == AZ_TOKEN_CONTROL || t->type[id] == AZ_TOKEN_UNKNOWN || t->type[id] == AZ_TOKEN_USER;
}

/* The value of "<0x4A>", -1 for other spellings. */
static int byte_of(az_text text)
{
    int digits[2];
    if (text.length != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>') return -1;
    for (int i = 0; i < 2; i++) {
        const char c = text.data[3 + i];
        digits[i] = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    }
    return digits[0] < 0 || digits[1] < 0 ? -1 : digits[0] * 16 + digits[1];
}

size_t az_unmark_spaces(az_text text, char *bytes)
{
    size_t n = 0;
    for (size_t at = 0; at < text.length;) {
        const bool space = text.length - at >= SPACE_BYTES && memcmp(text.data + at, SPACE, SPACE_BYTES) == 0;
        bytes[n++] = space ? ' ' : text.data[at];
        at += space ? SPACE_BYTES : 1;
    }
    return n;
}

az_text az_mark_spaces(az_ctx *az, az_text text)
{
    az_bytes out = {.az = az};
    for (size_t i = 0; i < text.length; i++) {
        const bool space = text.data[i] == ' ';
        if (!az_bytes_add(&out, space ? SPACE : text.data + i, space ? SPACE_BYTES : 1)) return (az_text){.data = "", .length = 0};
    }
    return (az_text){.data = out.data ? out.data : "", .length = out.length};
}

/* A piece inside a word is marked "##"; what begins a word gets the space that stands in front of it. */
static size_t place_in_word(const az_tokenizer *t, az_text text, char *out)
{
    const bool inside = t->kind == AZ_TOKENIZER_PIECES && text.length > 2 && memcmp(text.data, "##", 2) == 0;
    const size_t space = t->rules.spaced && !inside, marks = inside ? 2 : 0;
    if (space) out[0] = ' ';
    memcpy(out + space, text.data + marks, text.length - marks);
    return space + text.length - marks;
}

/* What an ordinary token stands for; the number of bytes. */
static size_t spelled(const az_tokenizer *t, az_text text, char *out)
{
    if (t->kind == AZ_TOKENIZER_PIECES || t->kind == AZ_TOKENIZER_WORDS) return place_in_word(t, text, out);
    if (t->kind != AZ_TOKENIZER_RANKS || t->rules.characters) return az_unmark_spaces(text, out);
    const int64_t bytes = az_spelled_bytes(text, out);
    if (bytes < 0) memcpy(out, text.data, text.length);
    return bytes < 0 ? text.length : (size_t)bytes;
}

/* Writes what token id stands for to `out`, which has room for its spelling and one byte more. */
static void set_bytes(az_tokenizer *t, int64_t id, char *out)
{
    const az_text text = t->text[id];
    size_t length = 0;
    if (t->type[id] == AZ_TOKEN_BYTE && byte_of(text) >= 0) {
        out[length++] = (char)byte_of(text);
    } else if (t->type[id] == AZ_TOKEN_USER) {
        length = t->kind == AZ_TOKENIZER_SCORES ? az_unmark_spaces(text, out) : text.length;
        if (length == text.length) memcpy(out, text.data, length);
    } else if (t->type[id] != AZ_TOKEN_CONTROL && t->type[id] != AZ_TOKEN_UNKNOWN) {
        length = spelled(t, text, out);
    }
    t->bytes[id] = (az_text){.data = out, .length = length};
}

static bool copy_vocabulary(az_ctx *az, az_tokenizer *t, const az_tokenizer_parts *parts)
{
    size_t total = 0;
    for (int64_t i = 0; i < parts->size; i++) total += parts->text[i].length + 2;
    char *spelling = az_alloc(az, total), *bytes = az_alloc(az, total);
    t->text = az_alloc_array(az, (size_t)parts->size, sizeof *t->text);
    t->bytes = az_alloc_array(az, (size_t)parts->size, sizeof *t->bytes);
    t->type = az_alloc_array(az, (size_t)parts->size, sizeof *t->type);
    t->added = az_alloc_array(az, (size_t)parts->size, sizeof *t->added);
    t->score = az_alloc_array(az, (size_t)parts->size, sizeof *t->score);
    if (!spelling || !bytes || !t->text || !t->bytes || !t->type || !t->added || !t->score) return false;
    for (int64_t i = 0; i < parts->size; i++) {
        const az_text text = parts->text[i];
        const int32_t type = parts->type ? parts->type[i] : AZ_TOKEN_NORMAL;
        if (type < AZ_TOKEN_NORMAL || type > AZ_TOKEN_BYTE)
            return az_fail(az, AZ_BAD_INPUT, "token %lld ('%s') has the unknown type %d", (long long)i, az_text_show(az, text), type);
        if (parts->score && isnan(parts->score[i]))
            return az_fail(az, AZ_BAD_INPUT, "the score of token %lld is not a number", (long long)i);
        memcpy(spelling, text.data, text.length);
        t->text[i] = (az_text){.data = spelling, .length = text.length};
        t->type[i] = (uint8_t)type;
        t->added[i] = parts->added ? parts->added[i] : 0;
        t->score[i] = parts->score ? parts->score[i] : 0;
        set_bytes(t, i, bytes);
        spelling += text.length + 1;
        bytes += text.length + 2;
    }
    return true;
}

/* ---- indexes ---- */

static bool index_tokens(az_ctx *az, az_tokenizer *t)
{
    if (!table_new(az, &t->tokens, t->size)) return false;
    memset(t->byte, 0xff, sizeof t->byte);
    t->word_safe = t->kind == AZ_TOKENIZER_SCORES || t->kind == AZ_TOKENIZER_UNIGRAM;
    for (int32_t i = 0; i < t->size; i++) {
        const az_text bytes = t->bytes[i];
        if (t->type[i] == AZ_TOKEN_BYTE && bytes.length == 1) t->byte[(unsigned char)bytes.data[0]] = i;
        if (t->type[i] == AZ_TOKEN_CONTROL || t->type[i] == AZ_TOKEN_UNKNOWN || t->type[i] == AZ_TOKEN_BYTE || bytes.length == 0) continue;
        const uint32_t hash = hash_bytes(bytes);
        fill_slot(token_slot(t, bytes, hash), i, hash);
        for (size_t c = 1; c < bytes.length; c++)
            if (bytes.data[c] == ' ' && bytes.data[c - 1] != ' ') t->word_safe = false;
    }
    for (int b = 0; t->kind == AZ_TOKENIZER_RANKS && !t->rules.characters && b < 256; b++)
        t->byte[b] = az_tokenizer_find(t, (az_text){.data = (char[]){(char)b}, .length = 1});
    return true;
}

/* Whether the normaliser may change the token's spelling, so that it is looked for behind it. */
static bool is_late(const az_tokenizer *t, int32_t i)
{
    return (t->added[i] & AZ_ADDED_NORMALIZED) && t->rules.normals > 0;
}

static bool index_specials(az_ctx *az, az_tokenizer *t)
{
    int32_t n = 0, early = 0, late = 0;
    for (int32_t i = 0; i < t->size; i++) n += is_special(t, i) && t->text[i].length > 0;
    int32_t *id = az_alloc_array(az, (size_t)n, sizeof *id);
    if (!id) return false;
    for (int32_t i = 0; i < t->size; i++)
        if (is_special(t, i) && t->text[i].length > 0) id[is_late(t, i) ? n - ++late : early++] = i;
    az_prefix_build(&t->special, t->text, id, early);
    if (late == 0) return true;
    az_text *normal = az_alloc_array(az, (size_t)t->size, sizeof *normal);
    for (int32_t i = 0; normal && i < late; i++) normal[id[early + i]] = az_normalize(az, &t->rules, t->text[id[early + i]]);
    if (!az_ok(az)) return false;
    az_prefix_build(&t->late, normal, id + early, late);
    return true;
}

/* Ordinary tokens by their first bytes, and the least score. */
static bool index_pieces(az_ctx *az, az_tokenizer *t)
{
    int32_t n = 0;
    int32_t *id = az_alloc_array(az, (size_t)t->size, sizeof *id);
    t->least_score = INFINITY;
    for (int32_t i = 0; id && i < t->size; i++) {
        if (t->type[i] == AZ_TOKEN_NORMAL || t->type[i] == AZ_TOKEN_UNUSED) t->least_score = fminf(t->least_score, t->score[i]);
        if (t->type[i] != AZ_TOKEN_CONTROL && t->type[i] != AZ_TOKEN_UNKNOWN && t->type[i] != AZ_TOKEN_BYTE && t->bytes[i].length > 0)
            id[n++] = i;
    }
    if (!isfinite(t->least_score)) t->least_score = 0;
    if (id) az_prefix_build(&t->piece, t->bytes, id, n);
    return id != NULL;
}

/* What one side of a merge stands for; -1 when it cannot be read. */
static int64_t merge_side(const az_tokenizer *t, az_text side, char *out)
{
    return t->rules.characters ? (int64_t)az_unmark_spaces(side, out) : az_spelled_bytes(side, out);
}

/* "left right" into three tokens. */
static bool parse_merge(az_ctx *az, const az_tokenizer *t, az_text text, const size_t *break_at, char *room, az_merge *merge)
{
    const char *space = break_at ? text.data + *break_at : text.length > 2 ? memchr(text.data + 1, ' ', text.length - 1) : NULL;
    const char *end = text.data + text.length;
    if (!space || space == text.data || space + 1 >= end)
        return az_fail(az, AZ_BAD_INPUT, "merge '%s' is not of the form \"left right\"", az_text_show(az, text));
    const int64_t left = merge_side(t, (az_text){.data = text.data, .length = (size_t)(space - text.data)}, room);
    const int64_t right = left < 0 ? -1 : merge_side(t, (az_text){.data = space + 1, .length = (size_t)(end - space - 1)}, room + left);
    if (right < 0) return az_fail(az, AZ_BAD_INPUT, "merge '%s' has a character that spells no byte", az_text_show(az, text));
    merge->left = az_tokenizer_find(t, (az_text){.data = room, .length = (size_t)left});
    merge->right = az_tokenizer_find(t, (az_text){.data = room + left, .length = (size_t)right});
    merge->joined = az_tokenizer_find(t, (az_text){.data = room, .length = (size_t)(left + right)});
    if (merge->left < 0 || merge->right < 0 || merge->joined < 0)
        return az_fail(az, AZ_BAD_INPUT, "merge '%s' has a part or a result that is not in the vocabulary", az_text_show(az, text));
    return true;
}

static bool index_merges(az_ctx *az, az_tokenizer *t, const az_tokenizer_parts *parts)
{
    if (parts->merges >= 1 << 24) return az_fail(az, AZ_BAD_INPUT, "%lld merges are more than 2^24", (long long)parts->merges);
    size_t longest = 0;
    for (int64_t i = 0; i < parts->merges; i++) longest = parts->merge[i].length > longest ? parts->merge[i].length : longest;
    char *room = az_alloc(az, longest);
    t->merge = az_alloc_array(az, (size_t)parts->merges, sizeof *t->merge);
    if (!room || !t->merge || !table_new(az, &t->ranks, parts->merges)) return false;
    for (int64_t i = 0; i < parts->merges; i++) {
        const size_t *break_at = parts->merge_space ? &parts->merge_space[i] : NULL;
        if (!parse_merge(az, t, parts->merge[i], break_at, room, &t->merge[i])) return false;
        const uint32_t hash = hash_pair(t->merge[i].left, t->merge[i].right);
        fill_slot(rank_slot(t, t->merge[i].left, t->merge[i].right, hash), (int32_t)i, hash);
        t->merges++;
    }
    return true;
}

/* ---- rules ---- */

/* The rules as given, or those that a pattern stands for. */
static bool set_rules(az_ctx *az, az_tokenizer *t, const az_tokenizer_parts *parts)
{
    az_tokenizer_rules rules = parts->rules ? *parts->rules : (az_tokenizer_rules){0};
    if (parts->add_space_prefix) rules.add_space_prefix = rules.strip_space = true;
    for (int i = 0; parts->pattern && i < AZ_WORD_EXPRESSIONS && parts->pattern->expression[i]; i++)
        rules.cut[rules.cuts++] =
            (az_cut_step){.kind = AZ_CUT_SPLIT, .split = AZ_SPLIT_ISOLATED, .expression = az_text_of(parts->pattern->expression[i])};
    rules.whole_first = rules.whole_first || (parts->pattern && parts->pattern->whole_first);
    t->pattern = parts->pattern;
    az_text chat = parts->chat_template;
    if (chat.data && az_text_copy(az, &chat)) t->chat_template = chat.data;
    return az_rules_copy(az, &t->rules, &rules);
}

static bool check_id(az_ctx *az, const az_tokenizer_parts *parts, int64_t id, const char *what)
{
    if (id >= -1 && id < parts->size) return true;
    return az_fail(az, AZ_BAD_INPUT, "the %s token is %lld, but the vocabulary has %lld tokens", what, (long long)id,
                   (long long)parts->size);
}

az_tokenizer *az_tokenizer_build(az_ctx *az, const az_tokenizer_parts *parts)
{
    if (parts->size < 1 || parts->size > 1 << 24)
        return az_fail(az, AZ_BAD_INPUT, "a vocabulary has from 1 to 2^24 tokens, not %lld", (long long)parts->size);
    if (!check_id(az, parts, parts->bos, "BOS") || !check_id(az, parts, parts->eos, "EOS") ||
        !check_id(az, parts, parts->unknown, "unknown"))
        return NULL;
    az_tokenizer *t = az_alloc(az, sizeof *t);
    if (!t) return NULL;
    *t = (az_tokenizer){.kind = parts->kind,
                        .size = (int32_t)parts->size,
                        .bos = (int32_t)parts->bos,
                        .eos = (int32_t)parts->eos,
                        .unknown = (int32_t)parts->unknown,
                        .add_bos = parts->add_bos,
                        .add_eos = parts->add_eos};
    if (!set_rules(az, t, parts) || !copy_vocabulary(az, t, parts) || !index_tokens(az, t) || !index_specials(az, t)) return NULL;
    if (t->kind == AZ_TOKENIZER_RANKS && !index_merges(az, t, parts)) return NULL;
    if ((t->kind == AZ_TOKENIZER_UNIGRAM || t->kind == AZ_TOKENIZER_PIECES) && !index_pieces(az, t)) return NULL;
    return t;
}
