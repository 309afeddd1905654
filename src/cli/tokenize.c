/* tokenize.c - adze tokenize: a text as its tokens, and whether they give the text back. */
#include "cli/cli.h"

#include <jansson.h>
#include <string.h>
#include <unistd.h>

typedef struct tokenize_settings {
    const char *prompt, *data;
    bool bos, eos, special;
} tokenize_settings;

static const az_option tokenize_options[] = {
    {"prompt", AZ_FIELD(AZ_TEXT, tokenize_settings, prompt), "-", 0, 0, NULL, "the text; - = documents from the standard input"},
    {"data", AZ_FIELD(AZ_TEXT, tokenize_settings, data), "", 0, 0, NULL,
     "a file of documents (text, or JSON lines); - = the standard input"},
    {"bos", AZ_FIELD(AZ_BOOL, tokenize_settings, bos), "false", 0, 0, NULL, "begin with the token that begins a text"},
    {"eos", AZ_FIELD(AZ_BOOL, tokenize_settings, eos), "false", 0, 0, NULL, "end with the token that ends a text"},
    {"special", AZ_FIELD(AZ_BOOL, tokenize_settings, special), "false", 0, 0, NULL, "read the spelling of a special token as that token"},
    {0},
};
static const cli_group tokenize_groups[] = {{"options", tokenize_options, 0}, {0}};

/* Where each token's bytes begin in the text that the tokens give. */
static int64_t *token_offsets(az_ctx *az, const az_tokenizer *tokenizer, const az_tokens *tokens)
{
    int64_t *offset = az_alloc_array(az, (size_t)tokens->n + 1, sizeof *offset);
    for (int64_t i = 0; offset && i < tokens->n; i++) {
        size_t length = 0;
        az_token_bytes(tokenizer, tokens->id[i], i > 0 ? tokens->id[i - 1] : -1, &length);
        offset[i + 1] = offset[i] + (int64_t)length;
    }
    return offset;
}

static json_t *piece_json(const char *text)
{
    json_t *piece = text ? json_string(text) : NULL;
    return piece ? piece : json_string("\xEF\xBF\xBD");
}

static void print_json(const az_tokenizer *tokenizer, const az_tokens *tokens, const int64_t *offset, size_t bytes, bool round_trip)
{
    json_t *line = json_object(), *ids = json_array(), *pieces = json_array(), *offsets = json_array();
    for (int64_t i = 0; i < tokens->n; i++) {
        json_array_append_new(ids, json_integer(tokens->id[i]));
        json_array_append_new(pieces, piece_json(az_token_text(tokenizer, tokens->id[i])));
        json_array_append_new(offsets, json_integer(offset[i]));
    }
    json_object_set_new(line, "tokens", json_integer(tokens->n));
    json_object_set_new(line, "bytes", json_integer((json_int_t)bytes));
    json_object_set_new(line, "ids", ids);
    json_object_set_new(line, "pieces", pieces);
    json_object_set_new(line, "offsets", offsets);
    json_object_set_new(line, "round_trip", json_boolean(round_trip));
    json_dumpf(line, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(line);
}

static void fill_table(az_report *report, const az_tokenizer *tokenizer, const az_tokens *tokens, const int64_t *offset)
{
    for (int64_t i = 0; i < tokens->n; i++) {
        const char *piece = az_token_text(tokenizer, tokens->id[i]);
        az_report_row(report, "tokens");
        az_report_count(report, "offset", offset[i]);
        az_report_count(report, "id", tokens->id[i]);
        az_report_text(report, "piece", piece ? piece : "");
    }
}

/* Whether the text comes back from its tokens, byte for byte. */
static bool tokenize_text(cli_job *job, const az_tokenizer *tokenizer, const az_document *document, int flags)
{
    az_ctx *az = job->az;
    az_tokens tokens = az_tokenize(az, tokenizer, document->text, document->length, flags);
    size_t length = 0;
    const char *back = az_detokenize(az, tokenizer, tokens.id, tokens.n, &length);
    const int64_t *offset = token_offsets(az, tokenizer, &tokens);
    if (!az_ok(az) || !back || !offset) return false;
    bool same = length == document->length && memcmp(back, document->text, length) == 0;
    if (job->common->json) {
        print_json(tokenizer, &tokens, offset, document->length, same);
        return same;
    }
    fill_table(job->report, tokenizer, &tokens, offset);
    az_report_row(job->report, "documents");
    az_report_count(job->report, "bytes", (int64_t)document->length);
    az_report_count(job->report, "tokens", tokens.n);
    az_report_number(job->report, "bytes_per_token", tokens.n > 0 ? (double)document->length / (double)tokens.n : 0, "");
    az_report_bool(job->report, "round_trip", same);
    return same;
}

static int tokenize(cli_job *job, const void *settings)
{
    const tokenize_settings *options = settings;
    int flags = (options->bos ? AZ_ADD_BOS : 0) | (options->eos ? AZ_ADD_EOS : 0) | (options->special ? AZ_PARSE_SPECIAL : 0);
    const bool prompted = strcmp(options->prompt, "-") != 0;
    const char *data = *options->data ? options->data : "-";
    if (prompted && *options->data) az_fail(job->az, AZ_BAD_INPUT, "tokenize: give --prompt TEXT or --data FILE, not both");
    if (!prompted && strcmp(data, "-") == 0 && isatty(STDIN_FILENO))
        az_fail(job->az, AZ_BAD_INPUT, "tokenize: give --prompt TEXT or --data FILE, or a text by the standard input");
    const az_tokenizer *tokenizer = az_ok(job->az) ? cli_load_tokenizer(job, job->word[0]) : NULL;
    if (!tokenizer) return CLI_BAD;
    az_document prompt = {.text = options->prompt, .length = strlen(options->prompt)};
    const az_documents one = {.count = 1, .item = &prompt};
    const az_documents *documents = prompted ? &one : az_documents_read(job->az, data);
    bool same = true;
    for (int64_t i = 0; documents && i < documents->count && az_ok(job->az) && !az_interrupted(job->az); i++)
        same &= tokenize_text(job, tokenizer, &documents->item[i], flags);
    return same ? CLI_OK : CLI_NEGATIVE;
}

const cli_verb cli_tokenize = {
    .name = "tokenize",
    .summary = "show the tokens of a text",
    .usage = "MODEL [-p TEXT | -d FILE]",
    .details =
        "MODEL may be without weights: a GGUF file of a vocabulary, a folder, a tokenizer.json or a tokenizer.model. "
        "Prints each token with the place of its first byte, and whether the tokens give the text back byte for byte; the exit status is 1 "
        "when they do not. With --json each document is an object with tokens, bytes, ids, pieces, offsets and round_trip.",
    .groups = tokenize_groups,
    .settings_size = sizeof(tokenize_settings),
    .min_words = 1,
    .max_words = 1,
    .words = cli_bundled,
    .run = tokenize,
};
