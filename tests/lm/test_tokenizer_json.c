/* tokenizer.json: one small hand-made file a model kind with ids computed by hand, real vocabularies through the older files, and files
 * that must be refused. */
#include "lm/tokenizer/json.h"
#include "support/data.h"
#include "support/folder.h"

#include <criterion/criterion.h>
#include <string.h>

/* ---- support ---- */

static az_tokenizer *from_json(az_ctx *az, const char *text)
{
    az_tokenizer *tokenizer = az_tokenizer_from_json(az, text, strlen(text));
    cr_assert_not_null(tokenizer, "%s", az_error(az));
    return tokenizer;
}

static const char *ids(az_ctx *az, const az_tokenizer *tokenizer, const char *text, int flags)
{
    const az_tokens tokens = az_tokenize(az, tokenizer, text, strlen(text), flags);
    cr_assert(az_ok(az), "%s", az_error(az));
    const char *out = "";
    for (int64_t i = 0; i < tokens.n; i++) out = az_format_text(az, "%s%s%d", out, i ? " " : "", tokens.id[i]);
    return out;
}

static const char *back(az_ctx *az, const az_tokenizer *tokenizer, const char *text)
{
    const az_tokens tokens = az_tokenize(az, tokenizer, text, strlen(text), AZ_ADD_BOS | AZ_ADD_EOS);
    return az_detokenize(az, tokenizer, tokens.id, tokens.n, NULL);
}

/* The tokenizer written as JSON and read again, and the same once more, give the same tokens. */
static void expect_same_when_written(az_ctx *az, const az_tokenizer *tokenizer, const char *const *texts, int n)
{
    const char *path = az_format_text(az, "%s/tokenizer.json", test_folder(az));
    cr_assert(az_tokenizer_write_json(az, tokenizer, path), "%s", az_error(az));
    const az_tokenizer *again = az_tokenizer_read_json(az, path);
    cr_assert_not_null(again, "%s", az_error(az));
    const int flags = (tokenizer->add_bos ? AZ_ADD_BOS : 0) | (tokenizer->add_eos ? AZ_ADD_EOS : 0) | AZ_PARSE_SPECIAL;
    for (int i = 0; i < n; i++) cr_assert_str_eq(ids(az, again, texts[i], flags), ids(az, tokenizer, texts[i], flags));
}

/* Through GGUF metadata and back. */
static az_tokenizer *through_gguf(az_ctx *az, const az_tokenizer *tokenizer)
{
    const char *path = az_format_text(az, "%s/vocabulary.gguf", test_folder(az));
    az_gguf_writer *writer = az_gguf_create(az, path);
    cr_assert(az_tokenizer_to_gguf(az, tokenizer, 0, writer), "%s", az_error(az));
    cr_assert(az_gguf_commit(writer), "%s", az_error(az));
    const az_map *map = az_map_file(az, path);
    az_tokenizer *again = az_tokenizer_from_gguf(az, az_gguf_parse(az, map->data, map->size));
    cr_assert_not_null(again, "%s", az_error(az));
    return again;
}

/* ---- byte-level BPE ---- */

#define LETTERS    "\"l\":0,\"o\":1,\"w\":2,\"e\":3,\"r\":4,\"n\":5,\"\u0120\":6,\"1\":7,\"2\":8,\"3\":9"
#define PIECES     "\"lo\":10,\"low\":11,\"er\":12,\"ne\":13,\"new\":14,\"lower\":15,\"newer\":16"
#define MERGES     "\"l o\",\"lo w\",\"e r\",\"n e\",\"ne w\",\"low er\""
#define BYTE_LEVEL "\"decoder\":{\"type\":\"ByteLevel\"},\"pre_tokenizer\":"

Test(tokenizer_json, byte_level_bpe_merges_by_rank)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *t = from_json(az, "{" BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\","
                                          "\"vocab\":{" LETTERS "," PIECES "},\"merges\":[" MERGES "]}}");
    cr_assert_str_eq(ids(az, t, "lower", 0), "15");
    cr_assert_str_eq(ids(az, t, "newer", 0), "14 12"); /* no merge makes it whole */
    cr_assert_str_eq(ids(az, t, "low lower 123", 0), "11 6 15 6 7 8 9");
    cr_assert_str_eq(back(az, t, " low  newer"), " low  newer");
    cr_assert_str_eq(t->pattern->name, "gpt-2");
    expect_same_when_written(az, t, (const char *const[]){"low newer 12", " lower"}, 2);
    cr_assert_str_eq(ids(az, through_gguf(az, t), "newer low 12", 0), ids(az, t, "newer low 12", 0));
    az_close(az);
}

Test(tokenizer_json, merges_may_be_pairs_and_whole_words_may_come_first)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *t = from_json(
        az, "{" BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":true},\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,"
            "\"vocab\":{" LETTERS "," PIECES "},\"merges\":[[\"l\",\"o\"],[\"lo\",\"w\"]]}}");
    cr_assert_str_eq(ids(az, t, "low", 0), "6 11"); /* the space in front */
    cr_assert_str_eq(ids(az, t, " low", 0), "6 11");
    const az_tokenizer *whole =
        from_json(az, "{" BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\","
                      "\"ignore_merges\":true,\"vocab\":{" LETTERS "," PIECES "},\"merges\":[]}}");
    cr_assert_str_eq(ids(az, whole, "newer", 0), "16");
    az_close(az);
}

static const char llama3[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| ?[^\\\\s\\\\p{L}\\\\p{N}]+"
    "[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+";

Test(tokenizer_json, a_split_by_the_files_own_expression)
{
    az_ctx *az = az_open(NULL);
    const char *json = az_format_text(
        az,
        "{" BYTE_LEVEL "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},"
        "\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},"
        "\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,\"vocab\":{" LETTERS ",\"123\":10,\"12\":11},\"merges\":[]}}",
        llama3);
    const az_tokenizer *t = from_json(az, json);
    cr_assert_str_eq(ids(az, t, "12312 low", 0), "10 11 6 0 1 2"); /* digits by three */
    cr_assert_str_eq(t->pattern->name, "llama-bpe");
    cr_assert_str_eq(ids(az, through_gguf(az, t), "12312 low", 0), "10 11 6 0 1 2");
    az_close(az);
}

/* ---- BPE over characters, as Llama 2's file states it ---- */

static const char llama2[] =
    "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\u2581\"},{\"type\":\"Replace\","
    "\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}]},\"pre_tokenizer\":null,\"post_processor\":{\"type\":\"TemplateProcessing\","
    "\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]},\"decoder\":{\"type\":"
    "\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{\"String\":\"\u2581\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},"
    "{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},\"added_tokens\":[{\"id\":0,\"content\":"
    "\"<unk>\",\"special\":true},{\"id\":1,\"content\":\"<s>\",\"special\":true},{\"id\":2,\"content\":\"</s>\",\"special\":true}],"
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{\"<unk>\":0,\"<s>\":1,"
    "\"</s>\":2,\"<0xC3>\":3,\"<0xA9>\":4,\"<0x21>\":5,\"\u2581\":6,\"a\":7,\"b\":8,\"ab\":9,\"\u2581ab\":10},\"merges\":[\"a b\","
    "\"\u2581 ab\"]}}";

Test(tokenizer_json, bpe_over_characters_falls_back_to_bytes)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *t = from_json(az, llama2);
    cr_assert_str_eq(ids(az, t, "ab ab", AZ_ADD_BOS), "1 10 10");
    cr_assert_str_eq(ids(az, t, "\u00e9!", 0), "6 3 4 5");
    cr_assert_str_eq(ids(az, t, "xy", 0), "6 0"); /* two unknown characters are one unknown token */
    cr_assert_str_eq(ids(az, t, "ab</s>ab", AZ_PARSE_SPECIAL), "10 2 10");
    cr_assert_str_eq(back(az, t, "ab \u00e9 b"), "ab \u00e9 b");
    cr_assert(az_tokenizer_wants_bos(t));
    const char *const texts[] = {"ab ab", "a  b", "\u00e9ab", "bab</s>a"};
    expect_same_when_written(az, t, texts, 4);
    const az_tokenizer *gguf = through_gguf(az, t);
    cr_assert_eq(gguf->kind, AZ_TOKENIZER_SCORES);
    for (int i = 0; i < 4; i++) cr_assert_str_eq(ids(az, gguf, texts[i], AZ_PARSE_SPECIAL), ids(az, t, texts[i], AZ_PARSE_SPECIAL));
    expect_same_when_written(az, gguf, texts, 4);
    az_close(az);
}

/* ---- Unigram ---- */

static const char unigram[] =
    "{\"normalizer\":{\"type\":\"NFKC\"},\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":"
    "\"always\"},"
    "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":\"always\"},\"post_processor\":{\"type\":"
    "\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"</s>\"}}]},\"added_tokens\":[{\"id\":0,"
    "\"content\":\"</s>\",\"special\":true}],\"model\":{\"type\":\"Unigram\",\"unk_id\":1,\"vocab\":[[\"</s>\",0],[\"<unk>\",0],"
    "[\"\u2581\",-2],[\"a\",-3],[\"b\",-3],[\"ab\",-4],[\"\u2581a\",-4.5],[\"abab\",-9],[\"fi\",-2]]}}";

Test(tokenizer_json, unigram_takes_the_most_probable_pieces)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *t = from_json(az, unigram);
    cr_assert_str_eq(ids(az, t, "ab", AZ_ADD_EOS), "2 5 0"); /* -6 beats -7.5 (_a b) and -8 */
    cr_assert_str_eq(ids(az, t, "a", 0), "6");               /* -4.5 beats -5 */
    cr_assert_str_eq(ids(az, t, "abab", 0), "2 5 5");        /* -10 beats -11 */
    cr_assert_str_eq(ids(az, t, "xya", 0), "2 1 3");         /* unknown neighbours are one token */
    cr_assert_str_eq(ids(az, t, "\ufb01", 0), "2 8");        /* the ligature fi */
    cr_assert_str_eq(back(az, t, "ab a"), "ab a");
    const char *const texts[] = {"ab a", "abab  b", "xa</s>"};
    expect_same_when_written(az, t, texts, 3);
    const az_tokenizer *gguf = through_gguf(az, t);
    for (int i = 0; i < 3; i++) cr_assert_str_eq(ids(az, gguf, texts[i], AZ_PARSE_SPECIAL), ids(az, t, texts[i], AZ_PARSE_SPECIAL));
    expect_same_when_written(az, gguf, texts, 3);
    az_close(az);
}

/* ---- WordPiece ---- */

static const char wordpiece[] =
    "{\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,\"strip_accents\":null,\"lowercase\":"
    "true},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",2],"
    "\"cls\":[\"[CLS]\",1]},\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\",\"cleanup\":true},\"added_tokens\":[{\"id\":0,"
    "\"content\":"
    "\"[UNK]\",\"special\":true},{\"id\":1,\"content\":\"[CLS]\",\"special\":true},{\"id\":2,\"content\":\"[SEP]\",\"special\":true}],"
    "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\",\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":8,"
    "\"vocab\":{\"[UNK]\":0,\"[CLS]\":1,\"[SEP]\":2,\"un\":3,\"##aff\":4,\"##able\":5,\"aff\":6,\".\":7,\"cafe\":8,\"\u4e2d\":9,"
    "\"##a\":10}}}";

Test(tokenizer_json, wordpiece_takes_the_longest_piece)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *t = from_json(az, wordpiece);
    cr_assert_str_eq(ids(az, t, "unaffable", 0), "0");         /* nine characters */
    cr_assert_str_eq(ids(az, t, "UNaff. aff", 0), "3 4 7 6");  /* small letters, punctuation stands alone */
    cr_assert_str_eq(ids(az, t, "unaffa unx", 0), "3 4 10 0"); /* a word without pieces is unknown as a whole */
    cr_assert_str_eq(ids(az, t, "Caf\u00e9\u4e2daff", AZ_ADD_BOS | AZ_ADD_EOS), "1 8 9 6 2");
    cr_assert_str_eq(back(az, t, "unaff aff."), "unaff aff.");
    const char *const texts[] = {"unaff. able", "Caf\u00e9 un", "aff[SEP]un"};
    expect_same_when_written(az, t, texts, 3);
    const az_tokenizer *gguf = through_gguf(az, t);
    for (int i = 0; i < 3; i++) cr_assert_str_eq(ids(az, gguf, texts[i], AZ_PARSE_SPECIAL), ids(az, t, texts[i], AZ_PARSE_SPECIAL));
    expect_same_when_written(az, gguf, texts, 3);
    az_close(az);
}

/* ---- whole words ---- */

Test(tokenizer_json, whole_words)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *t = from_json(az, "{\"pre_tokenizer\":{\"type\":\"Whitespace\"},\"model\":{\"type\":\"WordLevel\",\"unk_token\":"
                                          "\"?\",\"vocab\":{\"?\":0,\"low\":1,\"new_er\":2,\"!!\":3}}}");
    cr_assert_str_eq(ids(az, t, "low new_er!! lower", 0), "1 2 3 0");
    cr_assert_str_eq(back(az, t, "low  new_er"), "low new_er");
    expect_same_when_written(az, t, (const char *const[]){"low !!"}, 1);
    az_close(az);
}

/* ---- added tokens ---- */

Test(tokenizer_json, added_tokens_keep_their_flags)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *t = from_json(
        az, "{\"normalizer\":{\"type\":\"Lowercase\"},\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"},\"model\":{\"type\":\"WordLevel\","
            "\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"low\":1}},\"added_tokens\":[{\"id\":2,\"content\":\"<m>\",\"lstrip\":true,\"rstrip\":"
            "true},{\"id\":3,\"content\":\"one\",\"single_word\":true,\"normalized\":false},{\"id\":4,\"content\":\"<mm>\"},{\"id\":5,"
            "\"content\":\"BIG\",\"normalized\":true},{\"id\":6,\"content\":\"RAW\",\"normalized\":false}]}");
    cr_assert_str_eq(ids(az, t, "low <m> low<mm>", 0), "1 2 1 4");
    cr_assert_str_eq(ids(az, t, "one none one!", 0), "3 0 3 0"); /* inside a word it is none */
    cr_assert_str_eq(ids(az, t, "big Big RAW raw", 0), "5 5 6 0");
    az_close(az);
}

/* ---- steps ---- */

static bool add_word(void *user, az_text word)
{
    return az_bytes_add(user, "[", 1) && az_bytes_add(user, word.data, word.length) && az_bytes_add(user, "]", 1);
}

/* The words that a pre-tokenizer leaves, in brackets. */
static const char *cut_by(az_ctx *az, const char *step, const char *text)
{
    az_json_tokenizer t = {.az = az};
    json_t *section = json_loads(step, 0, NULL);
    cr_assert(az_json_pre_tokenizer(&t, section), "%s", az_error(az));
    az_tokenizer_rules rules;
    cr_assert(az_rules_copy(az, &rules, &t.rules), "%s", az_error(az));
    json_decref(section);
    az_bytes out = {.az = az};
    cr_assert(az_cutter_text(az_cutter_new(az, &rules), (az_text){.data = text, .length = strlen(text)}, true, add_word, &out));
    return out.data ? out.data : "";
}

Test(tokenizer_json, pre_tokenizers_cut)
{
    az_ctx *az = az_open(NULL);
    const char *text = "the-final--countdown";
    const char *format = "{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":\"%s\",\"invert\":false}";
    cr_assert_str_eq(cut_by(az, az_format_text(az, format, "Removed"), text), "[the][final][countdown]");
    cr_assert_str_eq(cut_by(az, az_format_text(az, format, "Isolated"), text), "[the][-][final][-][-][countdown]");
    cr_assert_str_eq(cut_by(az, az_format_text(az, format, "MergedWithPrevious"), text), "[the-][final-][-][countdown]");
    cr_assert_str_eq(cut_by(az, az_format_text(az, format, "MergedWithNext"), text), "[the][-final][-][-countdown]");
    cr_assert_str_eq(cut_by(az, az_format_text(az, format, "Contiguous"), text), "[the][-][final][--][countdown]");
    cr_assert_str_eq(cut_by(az, "{\"type\":\"Digits\",\"individual_digits\":true}", "a12b"), "[a][1][2][b]");
    cr_assert_str_eq(cut_by(az, "{\"type\":\"Digits\",\"individual_digits\":false}", "a12b"), "[a][12][b]");
    cr_assert_str_eq(cut_by(az, "{\"type\":\"Whitespace\"}", "it's  a_b "), "[it]['][s][a_b]");
    cr_assert_str_eq(cut_by(az, "{\"type\":\"BertPreTokenizer\"}", "hey, you? \u00abx\u00bb"), "[hey][,][you][?][\u00ab][x][\u00bb]");
    cr_assert_str_eq(cut_by(az, "{\"type\":\"Metaspace\",\"prepend_scheme\":\"first\"}", "a  b"), "[ a][ ][ b]");
    cr_assert_str_eq(
        cut_by(az, "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},{\"type\":\"Punctuation\"}]}", "a, b"),
        "[a][,][b]");
    az_close(az);
}

static const char *normal_of(az_ctx *az, const char *step, const char *text)
{
    az_json_tokenizer t = {.az = az};
    json_t *section = json_loads(step, 0, NULL);
    cr_assert(az_json_normalizer(&t, section), "%s", az_error(az));
    az_tokenizer_rules rules;
    cr_assert(az_rules_copy(az, &rules, &t.rules), "%s", az_error(az));
    json_decref(section);
    const az_text out = az_normalize(az, &rules, (az_text){.data = text, .length = strlen(text)});
    cr_assert(az_ok(az), "%s", az_error(az));
    return az_format_text(az, "%.*s", (int)out.length, out.data);
}

Test(tokenizer_json, normalizers_rewrite)
{
    az_ctx *az = az_open(NULL);
    cr_assert_str_eq(normal_of(az, "{\"type\":\"NFC\"}", "e\u0301"), "\u00e9");
    cr_assert_str_eq(normal_of(az, "{\"type\":\"NFD\"}", "\u00e9"), "e\u0301");
    cr_assert_str_eq(normal_of(az, "{\"type\":\"NFKC\"}", "\ufb01\u00b2"), "fi2");
    cr_assert_str_eq(normal_of(az, "{\"type\":\"NFKD\"}", "\ufb01\u00e9"), "fie\u0301");
    cr_assert_str_eq(normal_of(az, "{\"type\":\"Lowercase\"}", "\u00c9\u0130A"), "\u00e9i\u0307a");
    cr_assert_str_eq(normal_of(az, "{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}", " \ta b\u3000\n"), "a b");
    cr_assert_str_eq(normal_of(az, "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\"-\"}", "a   b c"), "a-b c");
    cr_assert_str_eq(normal_of(az, "{\"type\":\"Replace\",\"pattern\":{\"String\":\"``\"},\"content\":\"\\\"\"}", "``a``"), "\"a\"");
    cr_assert_str_eq(normal_of(az, "{\"type\":\"NFC\"}",
                               "\xff"
                               "e\u0301\xe2\x82"),
                     "\xff\u00e9\xe2\x82"); /* what is no UTF-8 stays */
    cr_assert_str_eq(normal_of(az, "{\"type\":\"BertNormalizer\",\"lowercase\":true}", "\u00c9\x01\tb\u4e2d"), "e b \u4e2d ");
    az_close(az);
}

/* ---- real vocabularies ---- */

Test(tokenizer_json, the_pair_of_gpt2_files_gives_the_reference_tokens)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *t = az_tokenizer_read_folder(az, test_data(az, "models/gpt2-tokenizer"));
    cr_assert_not_null(t, "%s", az_error(az));
    cr_assert_eq(az_vocabulary(t), 50257);
    char *input = az_read_file(az, test_data(az, "models/gguf-vocab/ggml-vocab-gpt-2.gguf.inp"), NULL);
    char *output = az_read_file(az, test_data(az, "models/gguf-vocab/ggml-vocab-gpt-2.gguf.out"), NULL);
    const char mark[] = "\n__ggml_vocab_test__\n";
    int cases = 0;
    for (char *end; (end = strstr(input, mark)); input = end + sizeof mark - 1, cases++) {
        *end = '\0';
        char *line_end = strchr(output, '\n');
        *line_end = '\0';
        const char *got = ids(az, t, input, 0);
        while (*output == ' ') output++;
        cr_expect_eq(strncmp(got, output, strlen(got)), 0, "case %d '%s': %s, wanted %s", cases, input, got, output);
        cr_expect_eq(strspn(output + strlen(got), " "), strlen(output) - strlen(got), "case %d", cases);
        output = line_end + 1;
    }
    cr_assert_geq(cases, 40);
    cr_assert_str_eq(ids(az, t, "<|endoftext|>", AZ_PARSE_SPECIAL), "50256");
    az_close(az);
}

Test(tokenizer_json, a_gguf_vocabulary_written_as_json_stays_the_same)
{
    az_ctx *az = az_open(NULL);
    static const char *const files[] = {"models/gguf-vocab/ggml-vocab-gpt-2.gguf", "models/stories260K/stories260K.gguf"};
    static const char *const texts[] = {"Hello  world! It's 12345,\n\n  ok_y", "Lily's \u00fcber day \U0001F600", " ", ""};
    for (int i = 0; i < 2; i++) {
        const az_map *map = az_map_file(az, test_data(az, files[i]));
        const az_tokenizer *t = az_tokenizer_from_gguf(az, az_gguf_parse(az, map->data, map->size));
        expect_same_when_written(az, t, texts, 4);
    }
    az_close(az);
}

Test(tokenizer_json, words_of_process_chains)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *t = az_tokenizer_read_folder(az, test_data(az, "models/capp-gpt2"));
    cr_assert_not_null(t, "%s", az_error(az));
    cr_assert_eq(az_vocabulary(t), 53);
    cr_assert_eq(az_token_bos(t), -1); /* the file names 50256 */
    cr_assert_eq(az_token_eos(t), 51);
    cr_assert_str_eq(ids(az, t,
                         "geometry_pure_axisymmetric holes_none external_threads_yes surface_finish_rough tolerance_rough "
                         "batch_size_prototype <SOS>",
                         AZ_PARSE_SPECIAL),
                     "0 7 14 16 20 24 49");
    cr_assert_str_eq(back(az, t, "holes_none external_threads_yes"), "holes_none external_threads_yes");
    const az_tokenizer *again = through_gguf(az, t);
    cr_assert_str_eq(ids(az, again, "holes_none <SOS>", AZ_PARSE_SPECIAL), "7 49");
    az_close(az);
}

/* ---- what must be refused ---- */

Test(tokenizer_json, replacements_of_replacements_do_not_fill_the_memory)
{
    az_ctx *az = az_open(NULL);
    const char *grow = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}";
    const char *model = "\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"?\",\"vocab\":{\"?\":0}}";
    const char *steps = grow;
    for (int i = 0; i < 7; i++) steps = az_format_text(az, "%s,%s", steps, grow);
    const az_tokenizer *t =
        from_json(az, az_format_text(az, "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[%s]},%s}", steps, model));
    cr_assert_not_null(t, "%s", az_error(az));
    cr_assert_eq(az_tokenize(az, t, "aaaa", 4, 0).n, 0);
    cr_assert(strstr(az_error(az), "normalizer makes more than"), "%s", az_error(az));
    az_close(az);
}

static void expect_refusal(const char *json, const char *why)
{
    az_ctx *az = az_open(NULL);
    cr_assert_null(az_tokenizer_from_json(az, json, strlen(json)), "%s", json);
    cr_assert(strstr(az_error(az), why), "'%s' does not say '%s'", az_error(az), why);
    az_close(az);
}

Test(tokenizer_json, hostile_files_are_refused)
{
    expect_refusal("", "JSON");
    expect_refusal("[]", "is an object");
    expect_refusal("{}", "no model");
    expect_refusal("{\"model\":{\"type\":\"CharBPE\"}}", "'CharBPE' is not known");
    expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":[],\"merges\":[]}}", "not an object");
    expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":\"0\"},\"merges\":[]}}", "has no number");
    expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", "the id -1");
    expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999999},\"merges\":[]}}", "out of range");
    expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":4000000},\"merges\":[]}}", "out of range");
    expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "belongs to both");
    expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", "not in the vocabulary");
    expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[1]}}", "neither");
    expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"aa\"]}}", "not of the form");
    expect_refusal("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"end_of_word_suffix\":\"</w>\"}}",
                   "end_of_word_suffix");
    expect_refusal("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", "not [piece, score]");
    expect_refusal("{\"model\":{\"type\":\"Unigram\",\"unk_id\":7,\"vocab\":[[\"a\",0]]}}", "unk_id is 7");
    expect_refusal("{\"normalizer\":{\"type\":\"Rot13\"},\"model\":{}}", "'Rot13'");
    expect_refusal("{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"},\"model\":{\"type\":"
                   "\"WordLevel\",\"vocab\":{\"a\":0}}}",
                   "regular expression '('");
    expect_refusal("{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0}},\"added_tokens\":[{\"id\":0,\"content\":\"b\"}]}",
                   "belongs to both");
    expect_refusal("{\"model\":{\"type\":\"WordLevel\",\"vocab\":{\"a\":0}},\"post_processor\":{\"type\":\"BertProcessing\"}}",
                   "is no token");
}

/* Merges that make each other's parts end all the same: each join shortens the word. */
Test(tokenizer_json, merges_in_a_circle_end)
{
    az_ctx *az = az_open(NULL);
    const az_tokenizer *t = from_json(az, "{" BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\","
                                          "\"vocab\":{\"a\":0,\"aa\":1,\"aaa\":2},\"merges\":[\"aa a\",\"a aa\",\"a a\",\"a a\"]}}");
    cr_assert_str_eq(ids(az, t, "aaaa", 0), "2 0");
    cr_assert_str_eq(ids(az, t, "aaa", 0), "2");
    az_close(az);
}
