/* folder.c - the tokenizer of a model folder, whichever of its files describes it, with what the folder's settings say about
 * BOS, EOS and the chat template. */
#include "lm/tokenizer/json.h"

#include <stdlib.h>
#include <string.h>

static const char *inside(az_ctx *az, const char *folder, const char *name)
{
    return az_format_text(az, "%s/%s", folder, name);
}

static void free_json(void *object)
{
    json_decref(object);
}

/* The parsed file, dropped with the current scope or arena; NULL without an error when it is not there. */
static json_t *read_object(az_ctx *az, const char *path)
{
    if (!az_is_file(path)) return NULL;
    size_t length;
    json_error_t error;
    const char *text = az_read_file(az, path, &length);
    json_t *object = text ? json_loadb(text, length, JSON_ALLOW_NUL, &error) : NULL;
    if (object && !json_is_object(object)) {
        json_decref(object);
        return az_fail(az, AZ_BAD_INPUT, "reading '%s': not a JSON object", path);
    }
    if (!object) return text ? az_fail(az, AZ_BAD_INPUT, "reading '%s': line %d: %s", path, error.line, error.text) : NULL;
    return az_on_leave(az, free_json, object) ? object : NULL;
}

/* ---- vocab.json and merges.txt ---- */

static bool push_merge(json_t *merges, const char *line, size_t length)
{
    if (length > 0 && line[length - 1] == '\r') length--;
    if (length == 0 || (length > 8 && memcmp(line, "#version", 8) == 0)) return true;
    json_t *merge = json_stringn(line, length);
    return merge && json_array_append_new(merges, merge) == 0;
}

/* One merge a line, behind an optional line "#version". */
static json_t *read_merge_lines(az_ctx *az, const char *path)
{
    size_t length;
    const char *text = az_read_file(az, path, &length);
    json_t *merges = json_array();
    for (size_t at = 0; text && merges && at < length;) {
        const char *end = memchr(text + at, '\n', length - at);
        const size_t bytes = end ? (size_t)(end - text) - at : length - at;
        if (!push_merge(merges, text + at, bytes)) {
            az_fail(az, AZ_BAD_INPUT, "reading '%s': a line at byte %zu is not UTF-8", path, at);
            break;
        }
        at += bytes + 1;
    }
    if (az_ok(az)) return merges;
    json_decref(merges);
    return NULL;
}

/* GPT-2's pair of files, as the tokenizer.json that says the same. */
static json_t *read_pair(az_ctx *az, const char *folder)
{
    json_t *vocabulary = read_object(az, inside(az, folder, "vocab.json"));
    json_t *merges = vocabulary ? read_merge_lines(az, inside(az, folder, "merges.txt")) : NULL;
    if (!merges) return NULL;
    json_t *end = json_object_get(vocabulary, "<|endoftext|>");
    json_t *root = json_pack("{s:{s:s,s:b,s:b},s:{s:s,s:O,s:o},s:{s:s}}", "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0,
                             "use_regex", 1, "model", "type", "BPE", "vocab", vocabulary, "merges", merges, "decoder", "type", "ByteLevel");
    if (end) json_object_set_new(root, "added_tokens", json_pack("[{s:O,s:s,s:b}]", "id", end, "content", "<|endoftext|>", "special", 1));
    return root;
}

/* ---- token_mappings.json ---- */

/* {"token2id": {"word": id}}: whole words between white space; names in angle brackets are special. */
static json_t *read_mappings(az_ctx *az, const char *path)
{
    json_t *file = read_object(az, path), *vocabulary = json_object_get(file, "token2id"), *added = json_array(), *id;
    if (file && !json_is_object(vocabulary)) az_fail(az, AZ_BAD_INPUT, "reading '%s': no object token2id", path);
    const char *name;
    json_object_foreach(vocabulary, name, id)
    {
        const size_t length = strlen(name);
        if (length > 2 && name[0] == '<' && name[length - 1] == '>')
            json_array_append_new(added, json_pack("{s:O,s:s,s:b}", "id", id, "content", name, "special", 1));
    }
    json_t *root = az_ok(az) ? json_pack("{s:{s:s},s:{s:s,s:O},s:O}", "pre_tokenizer", "type", "WhitespaceSplit", "model", "type",
                                         "WordLevel", "vocab", vocabulary, "added_tokens", added)
                             : NULL;
    json_decref(added);
    return root;
}

/* ---- settings ---- */

static int32_t spelled_id(const az_tokenizer *t, az_text text)
{
    for (int32_t i = 0; text.data && i < t->size; i++)
        if (az_text_equal(t->text[i], text)) return i;
    return -1;
}

/* "bos_token": "<s>" or {"content": "<s>", ...}. */
static void take_spelled(const az_tokenizer *t, const json_t *settings, const char *name, int32_t *id)
{
    const json_t *value = json_object_get(settings, name);
    const az_text text = json_is_object(value) ? az_json_text(value, "content") : az_json_text(settings, name);
    const int32_t found = spelled_id(t, text);
    if (found >= 0) *id = found;
}

/* "eos_token_id": 2 or [2, 3]; ids outside the vocabulary name nothing. */
static void take_number(const az_tokenizer *t, const json_t *settings, const char *name, int32_t *id)
{
    const json_t *value = json_object_get(settings, name);
    if (json_is_array(value)) value = json_array_get(value, 0);
    if (*id < 0 && json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) < t->size)
        *id = (int32_t)json_integer_value(value);
}

/* "eos_token_id" of generation_config.json, or else of config.json: all of them end a text. A list is complete; one id may not be. */
static void take_ends(az_tokenizer *t, const json_t *generation, const json_t *config)
{
    const json_t *value = json_object_get(generation, "eos_token_id");
    if (!value || json_is_null(value)) value = json_object_get(config, "eos_token_id");
    if (json_is_integer(value)) az_tokenizer_add_end(t, json_integer_value(value));
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *id = json_array_get(value, i);
        if (json_is_integer(id)) az_tokenizer_add_end(t, json_integer_value(id));
    }
    if (!json_is_array(value)) az_tokenizer_guess_ends(t);
}

/* One template, or a list of named ones of which the default counts. */
static void take_template(az_ctx *az, az_tokenizer *t, const json_t *settings)
{
    const json_t *value = json_object_get(settings, "chat_template");
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && strcmp(name, "default") == 0) value = json_object_get(item, "template");
    }
    if (json_is_string(value)) t->chat_template = az_strdup(az, json_string_value(value));
}

static bool read_settings(az_ctx *az, az_tokenizer *t, const char *folder)
{
    static const char *const files[] = {"special_tokens_map.json", "tokenizer_config.json"};
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return false;
    json_t *object[4];
    az_arena_enter(az, scratch);
    object[0] = read_object(az, inside(az, folder, files[0]));
    object[1] = read_object(az, inside(az, folder, files[1]));
    object[2] = read_object(az, inside(az, folder, "generation_config.json"));
    object[3] = read_object(az, inside(az, folder, "config.json"));
    size_t length;
    const char *chat_path = inside(az, folder, "chat_template.jinja");
    const char *chat = az_is_file(chat_path) ? az_read_file(az, chat_path, &length) : NULL;
    az_arena_leave(az);
    for (int i = 0; i < 2; i++) {
        take_spelled(t, object[i], "bos_token", &t->bos);
        take_spelled(t, object[i], "eos_token", &t->eos);
        if (t->unknown < 0) take_spelled(t, object[i], "unk_token", &t->unknown);
    }
    for (int i = 2; i < 4; i++) {
        take_number(t, object[i], "bos_token_id", &t->bos);
        take_number(t, object[i], "eos_token_id", &t->eos);
    }
    take_ends(t, object[2], object[3]);
    t->add_bos = az_json_bool(object[1], "add_bos_token", t->add_bos);
    t->add_eos = az_json_bool(object[1], "add_eos_token", t->add_eos);
    take_template(az, t, object[1]);
    if (chat) t->chat_template = az_strdup(az, chat);
    az_arena_free(az, scratch);
    return az_ok(az);
}

/* ---- the folder ---- */

/* Of files that are no tokenizer.json: the object that says the same. */
static json_t *read_older_files(az_ctx *az, const char *folder)
{
    const char *mappings = inside(az, folder, "token_mappings.json");
    if (az_is_file(inside(az, folder, "vocab.json")) && az_is_file(inside(az, folder, "merges.txt"))) return read_pair(az, folder);
    return az_is_file(mappings) ? read_mappings(az, mappings) : NULL;
}

static az_tokenizer *read_vocabulary(az_ctx *az, const char *folder)
{
    az_arena *scratch = az_arena_new(az);
    if (!scratch) return NULL;
    az_arena_enter(az, scratch);
    const char *json = inside(az, folder, "tokenizer.json"), *model = inside(az, folder, "tokenizer.model");
    const bool has_json = az_is_file(json), has_model = az_is_file(model);
    json_t *root = has_json || has_model ? NULL : read_older_files(az, folder);
    az_arena_leave(az);
    az_tokenizer *tokenizer = NULL;
    if (has_json || has_model) tokenizer = has_json ? az_tokenizer_read_json(az, json) : az_tokenizer_read_sentencepiece(az, model);
    if (root) tokenizer = az_tokenizer_from_object(az, root);
    if (root && !tokenizer) az_fail_context(az, "reading the vocabulary in '%s'", folder);
    json_decref(root);
    az_arena_free(az, scratch);
    return tokenizer;
}

az_tokenizer *az_tokenizer_read_folder(az_ctx *az, const char *folder)
{
    if (!folder || !az_ok(az)) return NULL;
    az_tokenizer *tokenizer = read_vocabulary(az, folder);
    return tokenizer && read_settings(az, tokenizer, folder) ? tokenizer : NULL;
}

/* ---- writing ---- */

static void put_spelled(json_t *settings, const char *name, const az_tokenizer *t, int32_t id)
{
    if (id >= 0) json_object_set_new(settings, name, json_stringn(t->text[id].data, t->text[id].length));
}

static bool write_settings(az_ctx *az, const az_tokenizer *t, const char *path, int64_t context)
{
    json_t *settings =
        json_pack("{s:s,s:I,s:b,s:b,s:b}", "tokenizer_class", "PreTrainedTokenizerFast", "model_max_length", (json_int_t)context,
                  "add_bos_token", t->add_bos, "add_eos_token", t->add_eos, "clean_up_tokenization_spaces", 0);
    put_spelled(settings, "bos_token", t, t->bos);
    put_spelled(settings, "eos_token", t, t->eos);
    put_spelled(settings, "unk_token", t, t->unknown);
    if (t->chat_template) json_object_set_new(settings, "chat_template", json_string(t->chat_template));
    az_out *out = az_ok(az) ? az_create(az, path) : NULL;
    if (out && json_dumpf(settings, az_out_stream(out), JSON_INDENT(2)) != 0) az_fail(az, AZ_IO, "writing '%s' failed", path);
    json_decref(settings);
    return out && az_ok(az) && fputc('\n', az_out_stream(out)) != EOF && az_commit(out);
}

bool az_tokenizer_write_folder(az_ctx *az, const az_tokenizer *tokenizer, const char *folder, int64_t context)
{
    if (!tokenizer || !folder || !az_ok(az)) return false;
    const char *jinja = inside(az, folder, "chat_template.jinja");
    if (!az_tokenizer_write_json(az, tokenizer, inside(az, folder, "tokenizer.json"))) return false;
    if (!write_settings(az, tokenizer, inside(az, folder, "tokenizer_config.json"), context)) return false;
    return !az_is_file(jinja) || remove(jinja) == 0 || az_fail(az, AZ_IO, "'%s' cannot be removed", jinja);
}
