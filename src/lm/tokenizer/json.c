/* json.c - Hugging Face's tokenizer.json as a tokenizer.
 *
 * The file states normalizer, pre-tokenizer, model, post-processor and decoder by name. They are read in that order; what BOS and EOS are
 * follows from the post-processor, and how tokens join to text from the decoder.
 * Limits: 1 GiB, 2^24 tokens. */
#include "lm/tokenizer/json.h"

#include <stdlib.h>
#include <string.h>

/* ---- JSON ---- */

az_text az_json_text(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return (az_text){.data = json_string_value(value), .length = json_string_length(value)};
}

bool az_json_bool(const json_t *object, const char *name, bool fallback)
{
    const json_t *value = json_object_get(object, name);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

const char *az_json_type(const json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    return type ? type : "";
}

az_text az_json_unmarked(az_ctx *az, az_text text)
{
    char *bytes = az_alloc(az, text.length + 1);
    return (az_text){.data = bytes, .length = bytes && text.length > 0 ? az_unmark_spaces(text, bytes) : 0};
}

/* ---- post-processor ---- */

static bool token_id(az_json_tokenizer *t, az_text text, int64_t *id)
{
    for (int64_t i = 0; text.data && i < t->parts.size; i++)
        if (t->text[i].data && az_text_equal(t->text[i], text)) return *id = i, true;
    return az_fail(t->az, AZ_BAD_INPUT, "the post-processor adds '%s', which is no token", az_text_show(t->az, text));
}

/* [special, text, special]: what stands in front is BOS, what stands behind EOS. */
static bool read_template(az_json_tokenizer *t, const json_t *section)
{
    const json_t *single = json_object_get(section, "single");
    bool behind = false;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i), *special = json_object_get(item, "SpecialToken");
        if (json_object_get(item, "Sequence")) behind = true;
        if (!special) continue;
        bool *add = behind ? &t->parts.add_eos : &t->parts.add_bos;
        if (*add) return az_fail(t->az, AZ_BAD_INPUT, "the post-processor adds more than one token on one side of a text");
        *add = true;
        if (!token_id(t, az_json_text(special, "id"), behind ? &t->parts.eos : &t->parts.bos)) return false;
    }
    return true;
}

/* {"sep": ["[SEP]", 102], "cls": ["[CLS]", 101]} */
static bool read_bert(az_json_tokenizer *t, const json_t *section)
{
    const json_t *cls = json_array_get(json_object_get(section, "cls"), 0), *sep = json_array_get(json_object_get(section, "sep"), 0);
    t->parts.add_bos = t->parts.add_eos = true;
    return token_id(t, (az_text){.data = json_string_value(cls), .length = json_string_length(cls)}, &t->parts.bos) &&
           token_id(t, (az_text){.data = json_string_value(sep), .length = json_string_length(sep)}, &t->parts.eos);
}

bool az_json_post_processor(az_json_tokenizer *t, const json_t *section)
{
    if (!section || json_is_null(section)) return true;
    const char *type = az_json_type(section);
    if (strcmp(type, "ByteLevel") == 0) return true; /* trims offsets only */
    if (strcmp(type, "TemplateProcessing") == 0) return read_template(t, section);
    if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) return read_bert(t, section);
    if (strcmp(type, "Sequence") != 0) return az_fail(t->az, AZ_BAD_INPUT, "the post-processor '%s' is not known here", type);
    const json_t *steps = json_object_get(section, "processors");
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, i);
        if (strcmp(az_json_type(step), "Sequence") == 0)
            return az_fail(t->az, AZ_BAD_INPUT, "a post-processor is a sequence inside a sequence");
        if (!az_json_post_processor(t, step)) return false;
    }
    return true;
}

/* ---- decoder ---- */

static bool decoder_step(az_json_tokenizer *t, const json_t *section, const char *type)
{
    if (strcmp(type, "ByteLevel") == 0 || strcmp(type, "ByteFallback") == 0 || strcmp(type, "Replace") == 0) return true;
    if (strcmp(type, "Fuse") == 0) {
        if (t->parts.kind == AZ_TOKENIZER_WORDS) t->rules.spaced = t->rules.strip_space = false;
        return true;
    }
    if (strcmp(type, "WordPiece") == 0) {
        t->rules.glue_punctuation = az_json_bool(section, "cleanup", true);
        return true;
    }
    if (strcmp(type, "Metaspace") == 0) {
        const az_text scheme = az_json_text(section, "prepend_scheme");
        t->rules.strip_space = scheme.data ? !az_text_equal(scheme, az_text_of("never")) : az_json_bool(section, "add_prefix_space", true);
        return true;
    }
    if (strcmp(type, "Strip") == 0) {
        const json_t *start = json_object_get(section, "start"), *stop = json_object_get(section, "stop");
        if (json_integer_value(stop) != 0 || json_integer_value(start) > 1)
            return az_fail(t->az, AZ_BAD_INPUT, "a decoder that strips more than one space in front is not known here");
        t->rules.strip_space = json_integer_value(start) == 1;
        return true;
    }
    return az_fail(t->az, AZ_BAD_INPUT, "the decoder '%s' is not known here", type);
}

bool az_json_decoder(az_json_tokenizer *t, const json_t *section)
{
    if (!section || json_is_null(section)) return true;
    const char *type = az_json_type(section);
    if (strcmp(type, "Sequence") != 0) return decoder_step(t, section, type);
    const json_t *steps = json_object_get(section, "decoders");
    for (size_t i = 0; i < json_array_size(steps); i++)
        if (!decoder_step(t, json_array_get(steps, i), az_json_type(json_array_get(steps, i)))) return false;
    return true;
}

/* ---- the file ---- */

/* Ids that no token has. */
static bool fill_gaps(az_json_tokenizer *t)
{
    for (int64_t i = 0; i < t->parts.size; i++) {
        if (t->text[i].data) continue;
        const char *name = az_format_text(t->az, "<unused id %lld>", (long long)i);
        if (!name) return false;
        t->text[i] = az_text_of(name);
        t->type[i] = AZ_TOKEN_CONTROL;
    }
    return true;
}

/* The known pattern that the cuts follow, so that GGUF files can name it. */
static const az_word_pattern *known_pattern(const az_tokenizer_rules *rules)
{
    az_text expression[AZ_WORD_EXPRESSIONS];
    if (rules->cuts > AZ_WORD_EXPRESSIONS) return NULL;
    for (int i = 0; i < rules->cuts; i++) {
        const az_cut_step *step = &rules->cut[i];
        if (step->kind != AZ_CUT_SPLIT || (step->split != AZ_SPLIT_ISOLATED && step->split != AZ_SPLIT_REMOVED)) return NULL;
        if ((step->split == AZ_SPLIT_REMOVED) != step->invert) return NULL;
        expression[i] = step->expression;
    }
    return az_word_pattern_of(expression, rules->cuts, rules->whole_first);
}

/* The file without model and added tokens, which the tokenizer itself can tell. */
static const char *frame_text(az_ctx *az, json_t *root)
{
    json_object_del(root, "model");
    json_object_del(root, "added_tokens");
    char *dump = json_dumps(root, JSON_COMPACT);
    const char *text = dump ? az_strdup(az, dump) : NULL;
    free(dump);
    return text;
}

static bool read_sections(az_json_tokenizer *t, const json_t *root)
{
    if (!json_is_object(root)) return az_fail(t->az, AZ_BAD_INPUT, "a tokenizer.json is an object");
    return az_json_normalizer(t, json_object_get(root, "normalizer")) && az_json_pre_tokenizer(t, json_object_get(root, "pre_tokenizer")) &&
           az_json_model(t, json_object_get(root, "model")) && az_json_added(t, json_object_get(root, "added_tokens")) &&
           az_json_post_processor(t, json_object_get(root, "post_processor")) && az_json_decoder(t, json_object_get(root, "decoder")) &&
           fill_gaps(t);
}

az_tokenizer *az_tokenizer_from_object(az_ctx *az, json_t *root)
{
    az_arena *scratch = az_ok(az) ? az_arena_new(az) : NULL;
    if (!scratch) return NULL;
    az_arena_enter(az, scratch);
    az_json_tokenizer t = {.az = az, .parts = {.bos = -1, .eos = -1, .unknown = -1}};
    const bool good = read_sections(&t, root);
    az_arena_leave(az);
    az_tokenizer *tokenizer = NULL;
    if (good) {
        t.parts.text = t.text, t.parts.score = t.score, t.parts.type = t.type, t.parts.added = t.added, t.parts.rules = &t.rules;
        tokenizer = az_tokenizer_build(az, &t.parts);
    }
    if (tokenizer) {
        tokenizer->pattern = tokenizer->kind == AZ_TOKENIZER_RANKS ? known_pattern(&t.rules) : NULL;
        tokenizer->rules.frame = frame_text(az, root);
    }
    az_arena_free(az, scratch);
    return az_ok(az) ? tokenizer : NULL;
}

az_tokenizer *az_tokenizer_from_json(az_ctx *az, const char *text, size_t length)
{
    if (!text || !az_ok(az)) return NULL;
    if (length > (size_t)1 << 30) return az_fail(az, AZ_BAD_INPUT, "a tokenizer.json of %zu bytes is larger than 1 GiB", length);
    json_error_t error;
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!root) return az_fail(az, AZ_BAD_INPUT, "line %d of the JSON: %s", error.line, error.text);
    az_tokenizer *tokenizer = az_tokenizer_from_object(az, root);
    json_decref(root);
    return tokenizer;
}

az_tokenizer *az_tokenizer_read_json(az_ctx *az, const char *path)
{
    if (!path || !az_ok(az)) return NULL;
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return NULL;
    az_arena_enter(az, scratch);
    size_t length = 0;
    const char *text = az_read_file(az, path, &length);
    az_arena_leave(az);
    az_tokenizer *tokenizer = az_tokenizer_from_json(az, text, length);
    if (text && !tokenizer) az_fail_context(az, "reading '%s'", path);
    az_arena_free(az, scratch);
    return tokenizer;
}
