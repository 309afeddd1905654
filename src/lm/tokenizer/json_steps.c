/* json_steps.c - normalizers and pre-tokenizers of a tokenizer.json as steps. */
#include "lm/tokenizer/json.h"

#include <string.h>

/* The characters of words. */
#define WORD_CHARACTERS                                                                                                                    \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{"      \
    "1f189}"
static const char words_and_marks[] = "[" WORD_CHARACTERS "]+|[^\\s" WORD_CHARACTERS "]+";

static bool too_many(az_json_tokenizer *t, const char *what)
{
    return az_fail(t->az, AZ_BAD_INPUT, "more than %d %s steps", AZ_TOKENIZER_STEPS, what);
}

/* ---- normalizers ---- */

static bool add_normal(az_json_tokenizer *t, az_normal_step step)
{
    if (t->rules.normals == AZ_TOKENIZER_STEPS) return too_many(t, "normalizer");
    t->rules.normal[t->rules.normals++] = step;
    return true;
}

/* {"String": "x"} or {"Regex": "x"}: a literal goes to *literal, an expression to *expression. */
static bool read_pattern(az_json_tokenizer *t, const json_t *section, az_text *literal, az_text *expression)
{
    const json_t *pattern = json_object_get(section, "pattern");
    const az_text text = az_json_text(pattern, "String"), regex = az_json_text(pattern, "Regex");
    *literal = text.data ? az_json_unmarked(t->az, text) : text;
    *expression = regex;
    if (text.length > 0 || regex.length > 0) return az_ok(t->az);
    return az_fail(t->az, AZ_BAD_INPUT, "%s needs a pattern, {\"String\": ...} or {\"Regex\": ...}", az_json_type(section));
}

/* Inside, a space is its own mark: the replacement of spaces becomes the one of marks by spaces. */
static bool normal_replace(az_json_tokenizer *t, const json_t *section)
{
    az_normal_step step = {.kind = AZ_NORMAL_REPLACE};
    if (!read_pattern(t, section, &step.from, &step.expression)) return false;
    step.to = az_json_unmarked(t->az, az_json_text(section, "content"));
    if (step.from.length == 1 && az_text_equal(step.from, step.to) && step.from.data[0] == ' ') {
        step.from = az_text_of("\u2581");
        t->rules.characters = true;
    }
    return add_normal(t, step);
}

static bool normal_bert(az_json_tokenizer *t, const json_t *section)
{
    const bool lower = az_json_bool(section, "lowercase", true);
    const bool accents = az_json_bool(section, "strip_accents", lower);
    if (az_json_bool(section, "clean_text", true) && !add_normal(t, (az_normal_step){.kind = AZ_NORMAL_CLEAN})) return false;
    if (az_json_bool(section, "handle_chinese_chars", true) && !add_normal(t, (az_normal_step){.kind = AZ_NORMAL_IDEOGRAPHS})) return false;
    if (accents &&
        !(add_normal(t, (az_normal_step){.kind = AZ_NORMAL_NFD}) && add_normal(t, (az_normal_step){.kind = AZ_NORMAL_STRIP_ACCENTS})))
        return false;
    return !lower || add_normal(t, (az_normal_step){.kind = AZ_NORMAL_LOWERCASE});
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool normal_charsmap(az_json_tokenizer *t, const json_t *section)
{
    const az_text code = az_json_text(section, "precompiled_charsmap");
    if (!code.data || code.length == 0) return true; /* an empty map changes nothing */
    char *map = az_alloc(t->az, code.length);
    size_t length = 0;
    uint32_t bits = 0;
    for (size_t i = 0, n = 0; map && i < code.length && code.data[i] != '='; i++) {
        const int digit = base64_digit(code.data[i]);
        if (digit < 0) return az_fail(t->az, AZ_BAD_INPUT, "precompiled_charsmap is not base64 at character %zu", i);
        bits = bits << 6 | (uint32_t)digit;
        if (++n % 4 != 1) map[length++] = (char)(bits >> (6 - 2 * ((n - 1) % 4)) & 0xff);
    }
    return map && add_normal(t, (az_normal_step){.kind = AZ_NORMAL_CHARSMAP, .from = {.data = map, .length = length}});
}

static bool normal_step(az_json_tokenizer *t, const json_t *section, const char *type)
{
    static const struct {
        const char *type;
        az_normal_kind kind;
    } plain[] = {{"NFC", AZ_NORMAL_NFC},
                 {"NFD", AZ_NORMAL_NFD},
                 {"NFKC", AZ_NORMAL_NFKC},
                 {"NFKD", AZ_NORMAL_NFKD},
                 {"Lowercase", AZ_NORMAL_LOWERCASE},
                 {"StripAccents", AZ_NORMAL_STRIP_ACCENTS}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strcmp(type, plain[i].type) == 0) return add_normal(t, (az_normal_step){.kind = plain[i].kind});
    if (strcmp(type, "Replace") == 0) return normal_replace(t, section);
    if (strcmp(type, "BertNormalizer") == 0) return normal_bert(t, section);
    if (strcmp(type, "Precompiled") == 0) return normal_charsmap(t, section);
    if (strcmp(type, "Prepend") == 0) {
        const az_text prepend = az_json_unmarked(t->az, az_json_text(section, "prepend"));
        return add_normal(t, (az_normal_step){.kind = AZ_NORMAL_PREPEND, .to = prepend});
    }
    if (strcmp(type, "Strip") == 0)
        return add_normal(t, (az_normal_step){.kind = AZ_NORMAL_STRIP,
                                              .left = az_json_bool(section, "strip_left", true),
                                              .right = az_json_bool(section, "strip_right", true)});
    if (strcmp(type, "ByteLevel") == 0) return t->byte_level = true;
    return az_fail(t->az, AZ_BAD_INPUT, "the normalizer '%s' is not known here", type);
}

bool az_json_normalizer(az_json_tokenizer *t, const json_t *section)
{
    if (!section || json_is_null(section)) return true;
    const char *type = az_json_type(section);
    if (strcmp(type, "Sequence") != 0) return normal_step(t, section, type);
    const json_t *steps = json_object_get(section, "normalizers");
    for (size_t i = 0; i < json_array_size(steps); i++)
        if (!normal_step(t, json_array_get(steps, i), az_json_type(json_array_get(steps, i)))) return false;
    return true;
}

/* ---- pre-tokenizers ---- */

static bool add_cut(az_json_tokenizer *t, az_cut_step step)
{
    if (t->rules.cuts == AZ_TOKENIZER_STEPS) return too_many(t, "pre-tokenizer");
    t->rules.cut[t->rules.cuts++] = step;
    return true;
}

static bool add_split(az_json_tokenizer *t, const char *expression, az_split split, bool invert)
{
    return add_cut(t, (az_cut_step){.kind = AZ_CUT_SPLIT, .split = split, .invert = invert, .expression = az_text_of(expression)});
}

static bool read_behavior(az_json_tokenizer *t, const json_t *section, az_split *split)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    const az_text name = az_json_text(section, "behavior");
    for (int i = 0; i < 5; i++)
        if (name.data && az_text_equal(name, az_text_of(names[i]))) return *split = (az_split)i, true;
    return az_fail(t->az, AZ_BAD_INPUT, "%s has the unknown behavior '%s'", az_json_type(section), az_text_show(t->az, name));
}

/* A literal as an expression. */
static az_text quoted(az_ctx *az, az_text literal)
{
    az_bytes out = {.az = az};
    for (size_t i = 0; i < literal.length; i++) {
        const char c = literal.data[i];
        const bool plain = (unsigned char)c >= 128 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        const char *hex = plain ? NULL : az_format_text(az, "\\x{%x}", (unsigned char)c);
        if (!(plain ? az_bytes_add(&out, &c, 1) : hex && az_bytes_add(&out, hex, strlen(hex)))) break;
    }
    return (az_text){.data = out.data, .length = out.length};
}

static bool cut_split(az_json_tokenizer *t, const json_t *section)
{
    az_text literal, expression;
    az_cut_step step = {.kind = AZ_CUT_SPLIT, .invert = az_json_bool(section, "invert", false)};
    if (!read_pattern(t, section, &literal, &expression) || !read_behavior(t, section, &step.split)) return false;
    step.expression = literal.length > 0 ? quoted(t->az, literal) : expression;
    return az_ok(t->az) && add_cut(t, step);
}

static bool cut_byte_level(az_json_tokenizer *t, const json_t *section)
{
    t->byte_level = true;
    if (az_json_bool(section, "add_prefix_space", true) && !add_cut(t, (az_cut_step){.kind = AZ_CUT_SPACE_EACH})) return false;
    if (!az_json_bool(section, "use_regex", true)) return true;
    return add_split(t, az_word_pattern_by_name(az_text_of("gpt-2"))->expression[0], AZ_SPLIT_ISOLATED, false);
}

/* Spaces are marks already; what is left is the space in front and the cut in front of each space. */
static bool cut_metaspace(az_json_tokenizer *t, const json_t *section)
{
    const az_text scheme = az_json_text(section, "prepend_scheme");
    const bool legacy = az_json_bool(section, "add_prefix_space", true);
    const bool never = scheme.data ? az_text_equal(scheme, az_text_of("never")) : !legacy;
    const bool first = scheme.data && az_text_equal(scheme, az_text_of("first"));
    const az_text mark = az_json_text(section, "replacement");
    if (mark.data && !az_text_equal(mark, az_text_of("\u2581")))
        return az_fail(t->az, AZ_BAD_INPUT, "Metaspace marks spaces by '%s'; only U+2581 is known here", az_text_show(t->az, mark));
    t->rules.characters = true;
    if (!add_normal(t, (az_normal_step){.kind = AZ_NORMAL_REPLACE, .from = az_text_of("\u2581"), .to = az_text_of(" ")})) return false;
    if (!never && !add_cut(t, (az_cut_step){.kind = first ? AZ_CUT_SPACE_FIRST : AZ_CUT_SPACE_EACH})) return false;
    return !az_json_bool(section, "split", true) || add_split(t, " ", AZ_SPLIT_WITH_NEXT, false);
}

static bool cut_step(az_json_tokenizer *t, const json_t *section, const char *type)
{
    if (t->byte_level && strcmp(type, "ByteLevel") != 0)
        return az_fail(t->az, AZ_BAD_INPUT, "the pre-tokenizer '%s' behind ByteLevel would cut printable spellings of bytes", type);
    if (strcmp(type, "ByteLevel") == 0) return cut_byte_level(t, section);
    if (strcmp(type, "Metaspace") == 0) return cut_metaspace(t, section);
    if (strcmp(type, "Split") == 0) return cut_split(t, section);
    if (strcmp(type, "Whitespace") == 0) return add_split(t, words_and_marks, AZ_SPLIT_REMOVED, true);
    if (strcmp(type, "WhitespaceSplit") == 0) return add_split(t, "\\s+", AZ_SPLIT_REMOVED, false);
    if (strcmp(type, "BertPreTokenizer") == 0)
        return add_split(t, "\\s+", AZ_SPLIT_REMOVED, false) && add_split(t, az_punctuation, AZ_SPLIT_ISOLATED, false);
    if (strcmp(type, "Digits") == 0)
        return add_split(t, az_json_bool(section, "individual_digits", false) ? "\\p{N}" : "\\p{N}+", AZ_SPLIT_ISOLATED, false);
    if (strcmp(type, "Punctuation") == 0) {
        az_split split = AZ_SPLIT_ISOLATED;
        if (json_object_get(section, "behavior") && !read_behavior(t, section, &split)) return false;
        return add_split(t, az_punctuation, split, false);
    }
    return az_fail(t->az, AZ_BAD_INPUT, "the pre-tokenizer '%s' is not known here", type);
}

bool az_json_pre_tokenizer(az_json_tokenizer *t, const json_t *section)
{
    if (!section || json_is_null(section)) return true;
    const char *type = az_json_type(section);
    if (strcmp(type, "Sequence") != 0) return cut_step(t, section, type);
    const json_t *steps = json_object_get(section, "pretokenizers");
    for (size_t i = 0; i < json_array_size(steps); i++)
        if (!cut_step(t, json_array_get(steps, i), az_json_type(json_array_get(steps, i)))) return false;
    return true;
}
