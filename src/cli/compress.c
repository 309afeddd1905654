/* compress.c - adze compress: a chain of methods on a copy of the model, each step measured on text that the methods do not see. */
#include "cli/cli.h"

#include <math.h>
#include <string.h>

typedef struct compress_settings {
    const char *data, *eval, *output;
    double share;
    bool dry_run, layers;
    az_lm_score_options score;
} compress_settings;

static const az_option compress_options[] = {
    {"data", AZ_FIELD(AZ_TEXT, compress_settings, data), "", 0, 0, NULL, "the calibration text"},
    {"output", AZ_FIELD(AZ_TEXT, compress_settings, output), "", 0, 0, NULL,
     "the model to write: NAME.gguf, or a folder as Hugging Face has it"},
    {"dry_run", AZ_FIELD(AZ_BOOL, compress_settings, dry_run), "false", 0, 0, NULL, "measure, but write no file"},
    {"layers", AZ_FIELD(AZ_BOOL, compress_settings, layers), "false", 0, 0, NULL,
     "also tell what was done to each layer (always with --json)"},
    {"eval", AZ_FIELD(AZ_TEXT, compress_settings, eval), "", 0, 0, NULL,
     "measure perplexity on this text; without it on a share of the calibration text"},
    {"share", AZ_FIELD(AZ_REAL, compress_settings, share), "0.2", 0, 0.9, NULL,
     "that share of the calibration documents, about 512 at most, kept from the methods; 0 = no measuring"},
    {0},
};
static const cli_group compress_groups[] = {
    {"options", compress_options, 0},
    {"scoring", cli_score_options, offsetof(compress_settings, score)},
    {0},
};

enum { MOST_KEPT = 512 }; /* documents kept from the methods: enough for narrow intervals, and a large file costs no more */

typedef struct step {
    const az_method *method;
    void *settings;
    const char *word;
} step;

/* A chain under way. */
typedef struct chain {
    cli_job *job;
    const compress_settings *options;
    step *steps;
    int n;
    const az_documents *calibration, *eval; /* either may be NULL */
    const az_lm *given;                     /* as it was before the first step */
    az_lm *lm;
    az_report *layers;
    const az_lm_score *original, *before; /* the scores of the given model, and before the present step */
} chain;

static bool read_steps(chain *c)
{
    cli_job *job = c->job;
    c->n = job->words - 1;
    c->steps = az_alloc_array(job->az, (size_t)c->n, sizeof *c->steps);
    for (int i = 0; c->steps && i < c->n; i++) {
        step *s = &c->steps[i];
        s->word = job->word[i + 1];
        s->method = cli_method(job->az, s->word, &s->settings);
        if (!s->method) return false;
        if (s->method->family != AZ_COMPRESS || !s->method->compress)
            az_fail(job->az, AZ_BAD_INPUT, "compress: '%s' is a method of the family %s, not of compress", s->method->name,
                    az_family_name(s->method->family));
        if (s->method->needs_data && !*c->options->data)
            az_fail(job->az, AZ_BAD_INPUT, "compress: %s needs calibration text: -d FILE", s->method->name);
    }
    return az_ok(job->az);
}

/* A step that cannot work must not wait for the steps before it to tell. */
static bool check_steps(const chain *c)
{
    az_ctx *az = c->job->az;
    for (int i = 0; i < c->n && az_ok(az); i++) {
        const step *s = &c->steps[i];
        if (s->method->check) s->method->check(az, s->settings, c->lm);
        az_fail_context(az, "step %d, %s", i + 1, s->word);
    }
    return az_ok(az);
}

/* The text that methods calibrate on, and the text that tells what they cost. */
static bool read_texts(chain *c)
{
    az_ctx *az = c->job->az;
    const compress_settings *options = c->options;
    az_documents *all = *options->data ? az_documents_read(az, options->data) : NULL, *first = all, *second = NULL;
    if (*options->eval) {
        c->eval = az_documents_read(az, options->eval);
    } else if (all && options->share > 0) {
        const double share = fmin(options->share, MOST_KEPT / fmax(1, (double)all->count));
        if (!az_documents_split(az, all, share, az_seed(az), &first, &second)) return false;
        if (second->count > 0 && first->count > 0)
            c->eval = second;
        else
            first = all, az_note(az, "'%s' has too few documents to keep some for measuring; give --eval FILE", options->data);
    }
    c->calibration = first;
    return az_ok(az);
}

static const az_lm_score *measure(const chain *c)
{
    const az_lm_score *score = c->eval ? az_lm_score_documents(c->job->az, c->lm, c->eval, &c->options->score) : NULL;
    if (c->eval && !score) az_fail_context(c->job->az, "measuring the perplexity of '%s'", c->lm->name);
    return score;
}

/* Share of zeros in the linear layers inside the blocks. */
static double model_sparsity(az_ctx *az, az_lm *lm)
{
    az_lm_linear **linear = NULL;
    double zeros = 0, values = 0;
    int n = az_lm_linears(az, lm, &linear);
    for (int i = 0; i < n; i++) {
        double count = (double)linear[i]->weight->rows * (double)linear[i]->weight->cols;
        zeros += az_weight_sparsity(az, linear[i]->weight) * count;
        values += count;
    }
    return values > 0 ? zeros / values : 0;
}

static double perplexity(const az_lm_score *score)
{
    return score ? exp(score->mean.value) : NAN;
}

static void report_step(const chain *c, int number, const char *word, const az_lm_score *after, double seconds)
{
    az_report *report = c->job->report;
    az_report_row(report, "steps");
    az_report_count(report, "step", number);
    az_report_text(report, "method", word);
    az_report_number(report, "bytes", (double)az_lm_bytes(c->lm), "B");
    az_report_number(report, "sparsity", model_sparsity(c->job->az, c->lm), "");
    az_report_number(report, "perplexity_before", perplexity(c->before), "");
    az_report_number(report, "perplexity", perplexity(after), "");
    az_report_number(report, "seconds", seconds, "s");
}

static bool run_step(chain *c, int i)
{
    cli_job *job = c->job;
    const step *s = &c->steps[i];
    double began = az_seconds();
    az_compress_job work = {.lm = c->lm, .original = c->given, .calibration = c->calibration, .report = c->layers};
    bool ok = s->method->compress(job->az, s->settings, &work);
    double seconds = az_seconds() - began;
    if (az_interrupted(job->az))
        az_fail(job->az, AZ_INTERRUPTED, "interrupted");
    else if (!ok)
        az_fail(job->az, AZ_NUMERIC, "the method failed without a reason");
    const az_lm_score *after = az_ok(job->az) ? measure(c) : NULL;
    az_fail_context(job->az, "step %d, %s", i + 1, s->word);
    if (!az_ok(job->az)) return false;
    report_step(c, i + 1, s->word, after, seconds);
    c->before = after;
    return true;
}

/* What the whole chain did to the model, on the text it was measured on. */
static void report_result(const chain *c)
{
    cli_job *job = c->job;
    az_report_row(job->report, "result");
    if (*c->options->output && !c->options->dry_run) az_report_text(job->report, "output", c->options->output);
    az_report_number(job->report, "bytes", (double)az_lm_bytes(c->lm), "B");
    cli_difference difference;
    if (!c->eval || !c->before || !cli_score_difference(job->az, c->eval, c->before, c->original, &difference)) return;
    cli_report_difference(job->report, &difference);
    az_report_count(job->report, "documents", c->before->documents);
    const char *held_out = az_format_text(job->az, "documents of %s, kept from the methods", c->options->data);
    az_report_text(job->report, "measured_on", *c->options->eval ? c->options->eval : held_out);
}

static bool check_options(cli_job *job, const compress_settings *options)
{
    if (options->dry_run) return true;
    cli_reads(job, options->data);
    cli_reads(job, options->eval);
    if (*options->output) return cli_check_model(job, options->output);
    az_fail(job->az, AZ_BAD_INPUT, "compress: where does the result go? -o OUT.gguf, or --dry-run to measure only");
    return false;
}

static int compress(cli_job *job, const void *settings)
{
    const compress_settings *options = settings;
    chain c = {.job = job, .options = options, .layers = az_report_new(job->az, NULL)};
    if (!check_options(job, options) || !read_steps(&c) || !read_texts(&c)) return CLI_BAD;
    c.given = cli_load(job, job->word[0]);
    c.lm = c.given ? az_lm_copy(job->az, c.given) : NULL;
    if (!c.lm || !check_steps(&c) || (!options->dry_run && !cli_check_fit(job->az, c.lm, options->output))) return CLI_BAD;
    if (c.eval) cli_note_context(job->az, c.lm, &options->score);
    c.original = c.before = measure(&c);
    if (!az_ok(job->az)) return CLI_BAD;
    report_step(&c, 0, "(as given)", c.original, 0);
    for (int i = 0; i < c.n; i++)
        if (!run_step(&c, i)) return CLI_BAD;
    job->found = true;
    if (!options->dry_run && !cli_save_model(job->az, c.lm, options->output, NULL)) return CLI_BAD;
    report_result(&c);
    if (job->common->json)
        az_report_json(c.layers, cli_report_stream(job));
    else if (options->layers)
        az_report_print(c.layers, cli_report_stream(job));
    return CLI_OK;
}

const cli_verb cli_compress = {
    .name = "compress",
    .summary = "make a model smaller by a chain of methods",
    .usage = "MODEL METHOD[:option=value,...]... -d CALIBRATION -o OUT.gguf",
    .details = "The methods change a copy of the model one after the other. After each step stand the size, the share of zeros in the "
               "linear layers inside the blocks, and the perplexity on text that no method sees: --eval FILE, or a share of the "
               "calibration documents. Section \"result\" has the difference to the given model in nats per token, paired by document, "
               "with its 95 % interval. `adze methods compress` lists the methods, `adze help METHOD` their options.",
    .groups = compress_groups,
    .settings_size = sizeof(compress_settings),
    .min_words = 2,
    .max_words = -1,
    .words = cli_bundled,
    .run = compress,
};
