/* train.c - adze train: a new model from text, or more training for one that is there. */
#include "cli/cli.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

typedef struct train_settings {
    const char *data, *valid, *output, *save_as, *tokenizer;
    double valid_share;
    az_lm_train_settings training;
} train_settings;

static const az_option train_options[] = {
    {"data", AZ_FIELD(AZ_TEXT, train_settings, data), NULL, 0, 0, NULL,
     "the text: documents that end at <|endoftext|>, or JSON lines with \"text\""},
    {"output", AZ_FIELD(AZ_TEXT, train_settings, output), NULL, 0, 0, NULL,
     "the model to write: NAME.gguf, or a folder as Hugging Face has it"},
    {"save_as", AZ_FIELD(AZ_TEXT, train_settings, save_as), "f32", 0, 0, NULL,
     "format of the written matrices, one of those that `adze --version` lists"},
    {"tokenizer", AZ_FIELD(AZ_TEXT, train_settings, tokenizer), "", 0, 0, NULL,
     "a new model takes the tokenizer of this one (or tokenizer.json, tokenizer.model); without it one is learnt"},
    {"valid", AZ_FIELD(AZ_TEXT, train_settings, valid), "", 0, 0, NULL, "measure the result on this text"},
    {"valid_share", AZ_FIELD(AZ_REAL, train_settings, valid_share), "0.02", 0, 0.9, NULL,
     "without --valid: on this share of the documents, kept from training; 0 = no measuring"},
    {0},
};
static const cli_group train_groups[] = {
    {"options", train_options, 0},
    {"training", az_lm_train_options, offsetof(train_settings, training)},
    {0},
};

static const az_option shape_options[] = {
    {"width", AZ_FIELD(AZ_INT, az_lm_config, width), "128", 1, 1 << 18, NULL, "width of the residual stream"},
    {"blocks", AZ_FIELD(AZ_INT, az_lm_config, blocks), "4", 1, 4096, NULL, "number of blocks"},
    {"heads", AZ_FIELD(AZ_INT, az_lm_config, heads), "4", 1, 1 << 14, NULL, "attention heads"},
    {"kv_heads", AZ_FIELD(AZ_INT, az_lm_config, kv_heads), "0", 0, 1 << 14, NULL, "heads of keys and values; 0 = as many as heads"},
    {"head_dim", AZ_FIELD(AZ_INT, az_lm_config, head_dim), "0", 0, 1 << 14, NULL, "width of a head; 0 = width / heads"},
    {"hidden", AZ_FIELD(AZ_INT, az_lm_config, hidden), "0", 0, 1 << 20, NULL,
     "width inside the MLP; 0 = 8/3 of the width, rounded up to 32, where it has a gate, and 4 times the width where it has none"},
    {"context", AZ_FIELD(AZ_INT, az_lm_config, context), "256", 1, 1 << 26, NULL, "longest sequence in tokens"},
    {"vocabulary", AZ_FIELD(AZ_INT, az_lm_config, vocabulary), "1024", 257, 1 << 24, NULL, "entries of the tokenizer that is learnt"},
    {"tied", AZ_FIELD(AZ_BOOL, az_lm_config, tied), "true", 0, 0, NULL, "the head is the embedding"},
    {"rope_theta", AZ_FIELD(AZ_REAL, az_lm_config, rope_theta), "10000", 0, 1e12, NULL, "base of the rotary frequencies"},
    {"norm_eps", AZ_FIELD(AZ_REAL, az_lm_config, norm_eps), "1e-5", 0, 1, NULL, "added under the root of the norms"},
    {0},
};

static bool read_documents(cli_job *job, const train_settings *options, az_documents **train, az_documents **valid)
{
    az_documents *all = az_documents_read(job->az, options->data);
    *train = all;
    *valid = NULL;
    if (*options->valid)
        *valid = az_documents_read(job->az, options->valid);
    else if (all && options->valid_share > 0 && !az_documents_split(job->az, all, options->valid_share, az_seed(job->az), train, valid))
        return false;
    if (az_ok(job->az) && *valid && ((*valid)->count == 0 || (*train)->count == 0)) {
        az_note(job->az, "'%s' has too few documents to keep some for measuring; give --valid FILE", options->data);
        *train = all;
        *valid = NULL;
    }
    return az_ok(job->az);
}

static az_tokenizer *new_tokenizer(cli_job *job, const train_settings *options, const az_documents *documents, int64_t vocabulary)
{
    if (!*options->tokenizer) return az_tokenizer_train(job->az, documents, vocabulary);
    return cli_load_tokenizer(job, options->tokenizer);
}

/* "llama:width=128,..." */
static az_lm *new_model(cli_job *job, const train_settings *options, const char *architecture, const char *shape,
                        const az_documents *documents)
{
    az_lm_config config = {0};
    if (!az_options_parse(job->az, shape_options, architecture, shape, &config)) return NULL;
    if (config.head_dim == 0 && config.width % config.heads != 0)
        return az_fail(job->az, AZ_BAD_INPUT, "train: width = %lld is no multiple of heads = %lld; change one of them, or give head_dim",
                       (long long)config.width, (long long)config.heads);
    az_tokenizer *tokenizer = new_tokenizer(job, options, documents, config.vocabulary);
    if (!tokenizer) return NULL;
    config.vocabulary = az_vocabulary(tokenizer);
    return az_lm_new(job->az, architecture, &config, tokenizer, az_seed(job->az));
}

/* Fails with the nearest name, or with all. */
static void unknown_architecture(az_ctx *az, const char *name)
{
    const char *names[64];
    const int n = az_lm_architectures(names, 64);
    const char *nearest = az_nearest(name, names, n), *list = names[0];
    for (int i = 1; i < n; i++) list = az_format_text(az, "%s, %s", list, names[i]);
    if (nearest)
        az_fail(az, AZ_BAD_INPUT, "train: there is no architecture '%s'; did you mean '%s'?", name, nearest);
    else
        az_fail(az, AZ_BAD_INPUT, "train: there is no architecture '%s'; there are: %s", name, list);
}

/* A word is a new model when it begins with the name of an architecture; anything else is a file or a bundled model. */
static az_lm *start_model(cli_job *job, const train_settings *options, const az_documents *documents)
{
    const char *word = job->word[0], *colon = strchr(word, ':');
    const char *name = colon ? az_format_text(job->az, "%.*s", (int)(colon - word), word) : word;
    if (name && az_lm_is_architecture(name)) return new_model(job, options, name, colon ? colon + 1 : "", documents);
    if (name && colon && access(word, F_OK) != 0) unknown_architecture(job->az, name);
    if (!az_ok(job->az)) return NULL;
    if (*options->tokenizer)
        return az_fail(job->az, AZ_BAD_INPUT, "train: --tokenizer goes with a new model; '%s' has its own already", word);
    az_lm *lm = cli_load(job, word);
    if (lm && !lm->tokenizer) az_fail(job->az, AZ_BAD_INPUT, "train: '%s' brings no tokenizer", word);
    return az_ok(job->az) ? lm : NULL;
}

static void report_result(cli_job *job, const train_settings *options, az_lm *lm, const az_documents *valid)
{
    const az_lm_score *score = valid && !az_interrupted(job->az) ? az_lm_score_documents(job->az, lm, valid, NULL) : NULL;
    if (!az_ok(job->az)) return;
    az_report_row(job->report, "result");
    az_report_text(job->report, "output", options->output);
    az_report_count(job->report, "parameters", az_lm_parameter_count(lm));
    az_report_bool(job->report, "interrupted", az_interrupted(job->az));
    if (score) cli_report_score(job->report, score);
}

static int train(cli_job *job, const void *settings)
{
    const train_settings *options = settings;
    const az_format *format = cli_format(job->az, options->save_as);
    az_documents *documents = NULL, *valid = NULL;
    cli_reads(job, options->data);
    cli_reads(job, options->valid);
    if (!az_ok(job->az) || !cli_check_model(job, options->output) || !read_documents(job, options, &documents, &valid)) return CLI_BAD;
    az_lm *lm = start_model(job, options, documents);
    if (!lm || !cli_check_fit(job->az, lm, options->output)) return CLI_BAD;
    az_lm_train(job->az, lm, documents, &options->training, job->report);
    if (az_status_of(job->az) == AZ_INTERRUPTED) {
        az_clear(job->az); /* the steps that are done are kept */
        cli_remark(job, "interrupted: writing the model as it is now");
    }
    job->found = az_ok(job->az);
    if (!az_ok(job->az) || !cli_save_model(job->az, lm, options->output, format)) return CLI_BAD;
    report_result(job, options, lm, valid);
    return CLI_OK;
}

const cli_verb cli_train = {
    .name = "train",
    .summary = "train a new model, or go on training one",
    .usage = "ARCHITECTURE[:width=N,...] | MODEL -d TEXT -o OUT.gguf",
    .details =
        "A new model is written as an architecture with its shape, such as llama:width=128,blocks=4,heads=4,kv_heads=2,vocabulary=1024; "
        "its tokenizer is learnt from the text first. Ctrl-C ends the run after the present step and writes the model as it is then. With "
        "--resume=FOLDER the state is kept there, and the same command goes on from it bit for bit, also after a kill.",
    .groups = train_groups,
    .inside = {"shape of a new model, written ARCHITECTURE:name=value,...", shape_options, 0},
    .settings_size = sizeof(train_settings),
    .min_words = 1,
    .max_words = 1,
    .words = cli_bundled,
    .run = train,
};
