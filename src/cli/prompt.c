/* prompt.c - adze prompt: asks one question of any backend, and looks after caches of replies. */
#include "cli/prompt.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

static const az_option prompt_options[] = {
    {"backend", AZ_FIELD(AZ_TEXT, prompt_settings, backend), "", 0, 0, NULL,
     "local:MODEL, http://HOST/v1#MODEL, replay:FILE, oracle:NAME or exec:PROGRAM"},
    {"prompt", AZ_FIELD(AZ_TEXT, prompt_settings, prompt), "", 0, 0, NULL, "the question"},
    {"system", AZ_FIELD(AZ_TEXT, prompt_settings, system), "", 0, 0, NULL, "what the model is told before"},
    {"template", AZ_FIELD(AZ_TEXT, prompt_settings, template), "", 0, 0, NULL,
     "file of a template, or the name of a built-in one, that takes the question's place (math: that inserts {{question}})"},
    {"image", AZ_FIELD(AZ_TEXTS, prompt_settings, images), "", 0, 0, NULL,
     "an image behind the question, for servers only: a PNG, JPEG, GIF or WebP file, an address or a data URL; once for each"},
    {"vars", AZ_FIELD(AZ_TEXT, prompt_settings, vars), "", 0, 0, NULL, "JSON file with the template's variables"},
    {"complete", AZ_FIELD(AZ_BOOL, prompt_settings, complete), "false", 0, 0, NULL, "continue the prompt instead of answering it"},
    {"score", AZ_FIELD(AZ_TEXT, prompt_settings, score), "", 0, 0, NULL, "tell the log-probability of this text behind the prompt instead"},
    {"next", AZ_FIELD(AZ_INT, prompt_settings, next), "0", 0, 1000, NULL, "tell this many of the most likely next tokens instead"},
    {"embed", AZ_FIELD(AZ_BOOL, prompt_settings, embed), "false", 0, 0, NULL, "give the prompt's vector instead"},
    {"samples", AZ_FIELD(AZ_INT, prompt_settings, samples), "1", 1, 10000, NULL, "answers"},
    {"tokens", AZ_FIELD(AZ_INT, prompt_settings, tokens), "256", 1, 1 << 20, NULL, "tokens of an answer, at most"},
    {"temperature", AZ_FIELD(AZ_REAL, prompt_settings, temperature), "0", 0, 100, NULL, "0 takes the most likely tokens"},
    {"top_p", AZ_FIELD(AZ_REAL, prompt_settings, top_p), "0", 0, 1, NULL, "keep the most likely tokens with this mass; 0 = all"},
    {"top_k", AZ_FIELD(AZ_INT, prompt_settings, top_k), "0", 0, 1 << 24, NULL, "keep the k most likely tokens; 0 = all"},
    {"output", AZ_FIELD(AZ_TEXT, prompt_settings, output), "", 0, 0, NULL,
     "cache export, template: the file to write (default: the standard output); math: the predictions"},
    {"rows", AZ_FIELD(AZ_TEXT, prompt_settings, rows), "", 0, 0, NULL, "template: JSON lines, each of which fills it"},
    {"demos", AZ_FIELD(AZ_TEXT, prompt_settings, demos), "", 0, 0, NULL,
     "template: JSON lines; the nearest of each row become its list demos"},
    {"field", AZ_FIELD(AZ_TEXT, prompt_settings, field), "text", 0, 0, NULL, "template: the text of rows and demos that is compared"},
    {"shots", AZ_FIELD(AZ_INT, prompt_settings, shots), "5", 1, 1e6, NULL, "texts to find; demos of each row"},
    {"cutoff", AZ_FIELD(AZ_TEXT, prompt_settings, cutoff), "2024-01", 0, 0, NULL, "decay: the first month behind the model's training"},
    {0},
};
static const cli_group prompt_groups[] = {
    {"options", prompt_options, 0},
    {"finding texts", az_find_options, offsetof(prompt_settings, find)},
    {"the backend", az_backend_options, offsetof(prompt_settings, how)},
    {0},
};

/* ---- ask ---- */

const char *prompt_template_text(az_ctx *az, const char *name)
{
    const char *text = access(name, F_OK) == 0 ? NULL : az_template_builtin(name);
    return text ? text : az_read_file(az, name, NULL);
}

const az_messages *prompt_messages(cli_job *job, const prompt_settings *o, const char *template)
{
    az_ctx *az = job->az;
    if (*template) {
        const char *text = prompt_template_text(az, template), *vars = *o->vars ? az_read_file(az, o->vars, NULL) : "{}";
        const az_messages *messages = az_template_fill(az, text, vars);
        if (!messages) az_fail_context(az, "prompt: '%s'", template);
        return messages;
    }
    az_messages *messages = az_alloc(az, sizeof *messages);
    az_message *item = az_alloc_array(az, 2, sizeof *item);
    if (!messages || !item) return NULL;
    if (!*o->prompt) return az_fail(az, AZ_BAD_INPUT, "prompt ask: give the question with -p, or --template with --vars");
    int n = 0;
    if (*o->system) item[n++] = (az_message){.role = "system", .text = o->system};
    item[n++] = (az_message){.role = "user", .text = o->prompt};
    *messages = (az_messages){.item = item, .n = n};
    return messages;
}

/* The images become parts of the last message, behind its text. */
static bool add_images(az_ctx *az, const az_texts *images, az_message *last)
{
    az_part *part = az_alloc_array(az, (size_t)images->count + 1, sizeof *part);
    if (!part) return false;
    part[0].text = last->text;
    for (int i = 0; i < images->count; i++) part[i + 1].image = az_image_url(az, images->item[i]);
    last->parts = images->count + 1;
    last->part = part;
    return az_ok(az);
}

static az_operation operation_of(const prompt_settings *o)
{
    if (*o->score) return AZ_SCORE;
    if (o->next > 0) return AZ_NEXT;
    if (o->embed) return AZ_EMBED;
    return o->complete ? AZ_COMPLETE : AZ_CHAT;
}

/* "local:tales" is the bundled model. */
static const char *backend_spec(az_ctx *az, const char *spec)
{
    if (strncmp(spec, "local:", 6) != 0) return spec;
    const char *rest = spec + 6, *name = az_format_text(az, "%.*s", (int)strcspn(rest, "?"), rest);
    const char *path = name ? cli_model_path(az, name) : NULL;
    return path ? az_format_text(az, "local:%s%s", path, rest + strcspn(rest, "?")) : NULL;
}

az_backend *cli_open_backend(az_ctx *az, const char *spec, const az_backend_settings *settings, const char *replies)
{
    az_backend_settings how = *settings;
    if (!*how.cache && replies) how.cache = replies;
    const char *path = backend_spec(az, spec);
    return path ? az_backend_open(az, path, &how) : NULL;
}

az_backend *prompt_backend(cli_job *job, const prompt_settings *o)
{
    return cli_open_backend(job->az, o->backend, &o->how, NULL);
}

static void print_answer(cli_job *job, const az_reply *reply, int sample)
{
    const az_answer *a = &reply->sample[sample];
    az_report_row(job->report, "answers");
    az_report_count(job->report, "sample", sample);
    if (a->text) az_report_text(job->report, "text", a->text);
    if (a->failure) az_report_text(job->report, "failure", a->failure);
    if (a->log_probability) az_report_number(job->report, "log_probability", a->total, "nat");
    if (a->log_probability) az_report_count(job->report, "tokens", a->n);
    if (a->text) az_report_text(job->report, "finish", a->finish);
    az_report_bool(job->report, "cached", a->cached);
    if (job->common->json) az_report_text(job->report, "key", reply->key);
    for (int i = 0; a->next && i < a->n; i++) {
        az_report_row(job->report, "next");
        az_report_text(job->report, "token", a->next[i].text);
        az_report_number(job->report, "log_probability", a->next[i].log_probability, "nat");
    }
    for (int i = 0; a->vector && i < a->n; i++) {
        az_report_row(job->report, "vector");
        az_report_number(job->report, "value", (double)a->vector[i], "");
    }
}

/* With one answer and no --json the text alone: it may be piped on. Fails when an answer is missing; the others are printed. */
static void print_reply(cli_job *job, const az_reply *reply)
{
    const az_answer *first = &reply->sample[0];
    const bool alone = !job->common->json && reply->n == 1, bare = alone && (first->text || first->failure);
    const char *failure = NULL;
    if (alone && first->text) puts(first->text);
    for (int s = 0; s < reply->n; s++) {
        if (!bare) print_answer(job, reply, s);
        if (!failure) failure = reply->sample[s].failure;
    }
    job->found = !alone;
    if (failure) az_fail(job->az, AZ_IO, "prompt ask: %s", failure);
}

static int ask(cli_job *job, const prompt_settings *o)
{
    az_ctx *az = job->az;
    if (!*o->backend) return az_fail(az, AZ_BAD_INPUT, "prompt ask: --backend is missing, such as --backend local:tales"), CLI_BAD;
    const az_messages *messages = prompt_messages(job, o, o->template);
    az_backend *backend = messages ? prompt_backend(job, o) : NULL;
    const az_operation operation = operation_of(o);
    const unsigned needed = 1u << operation | (o->images.count > 0 ? AZ_CAN_IMAGES : 0);
    if (!messages || !az_backend_need(backend, needed, "prompt ask")) return CLI_BAD;
    const bool chat = operation == AZ_CHAT || (operation == AZ_NEXT && !o->complete);
    if (o->images.count > 0 && !chat)
        return az_fail(az, AZ_BAD_INPUT, "prompt ask: --image goes with messages, not with a bare prompt"), CLI_BAD;
    if (o->images.count > 0 && !add_images(az, &o->images, &messages->item[messages->n - 1])) return CLI_BAD;
    az_request request = {.operation = operation,
                          .max_tokens = o->tokens,
                          .temperature = o->temperature,
                          .top_p = o->top_p,
                          .top_k = o->top_k,
                          .seed = job->common->seed,
                          .samples = (int)o->samples,
                          .top = (int)o->next,
                          .continuation = o->score,
                          .stage = "ask"};
    if (chat)
        request.message = messages->item, request.messages = messages->n;
    else
        request.prompt = messages->item[messages->n - 1].text;
    const az_reply *reply = az_backend_ask(backend, &request);
    if (!reply) return az_backend_exhausted(backend) ? cli_out_of_budget(job) : CLI_BAD;
    if (!o->how.dry_run) print_reply(job, reply);
    if (job->common->json || o->how.dry_run) az_backend_report(backend, job->report);
    return CLI_OK;
}

int cli_out_of_budget(cli_job *job)
{
    cli_complain("%s", az_error(job->az));
    az_clear(job->az);
    return CLI_BUDGET;
}

/* ---- cache ---- */

static void stat_cache(cli_job *job, const char *path)
{
    az_cache_size size;
    if (!az_cache_stat(job->az, path, &size, job->report)) return;
    az_report_row(job->report, "file");
    az_report_text(job->report, "cache", path);
    az_report_count(job->report, "replies", size.replies);
    az_report_count(job->report, "vectors", size.vectors);
    az_report_number(job->report, "size", (double)size.bytes, "B");
}

static void export_cache(cli_job *job, const char *path, const char *to)
{
    az_out *out = az_create(job->az, *to ? to : "-");
    job->streams_out = true;
    if (out && az_cache_export(job->az, path, az_out_stream(out)) >= 0) az_commit(out);
}

static void import_cache(cli_job *job, const char *path, const char *lines)
{
    const int64_t rows = az_cache_import(job->az, path, lines);
    if (rows < 0) return;
    az_report_row(job->report, "file");
    az_report_text(job->report, "cache", path);
    az_report_count(job->report, "rows_read", rows);
}

/* The file and what SQLite keeps beside it; another kind of file is left alone. */
static void drop_cache(cli_job *job, const char *path)
{
    az_cache_size size;
    const char *const ending[] = {"-wal", "-shm", ""};
    az_scope_push(job->az); /* closes the file before it goes */
    const bool good = az_cache_stat(job->az, path, &size, NULL);
    az_scope_pop(job->az);
    for (int i = 0; good && i < 3; i++) {
        const char *name = az_format_text(job->az, "%s%s", path, ending[i]);
        if (name && unlink(name) != 0 && errno != ENOENT) az_fail(job->az, AZ_IO, "cannot remove '%s': %s", name, strerror(errno));
    }
}

static int cache(cli_job *job, const prompt_settings *o)
{
    const char *const what = job->words > 1 ? job->word[1] : "", *const path = job->words > 2 ? job->word[2] : NULL;
    if (path && strcmp(what, "stat") == 0 && job->words == 3)
        stat_cache(job, path);
    else if (path && strcmp(what, "export") == 0 && job->words == 3)
        export_cache(job, path, o->output);
    else if (path && strcmp(what, "import") == 0 && job->words == 4)
        import_cache(job, path, job->word[3]);
    else if (path && strcmp(what, "drop") == 0 && job->words == 3)
        drop_cache(job, path);
    else
        az_fail(job->az, AZ_BAD_INPUT, "prompt cache: write stat FILE, export FILE [-o LINES], import FILE LINES, or drop FILE");
    return CLI_OK;
}

/* ---- math, decay ---- */

static bool record_math(cli_job *job, const prompt_settings *o, const az_backend *backend)
{
    const az_run_settings settings[] = {{"options", prompt_options, o}, {"backend", az_backend_options, &o->how}};
    const az_run_record record = {.task = "prompt math",
                                  .status = az_backend_exhausted(backend) ? "budget" : "done",
                                  .input = job->word[1],
                                  .settings = settings,
                                  .n_settings = sizeof settings / sizeof *settings,
                                  .backend = &backend,
                                  .backends = 1,
                                  .seed = job->common->seed};
    return az_run_record_add(job->az, &record, az_format_text(job->az, "%s.run.json", o->output));
}

static int math(cli_job *job, const prompt_settings *o)
{
    az_ctx *az = job->az;
    if (!*o->backend || !*o->output) {
        az_fail(az, AZ_BAD_INPUT, "prompt math: write `adze prompt math QUESTIONS.jsonl --backend SPEC -o PREDICTIONS.jsonl`");
        return CLI_BAD;
    }
    const bool dry = o->how.dry_run;
    const char *replies = az_format_text(az, "%s.replies.db", o->output);
    az_backend *backend = cli_check_output(az, o->output) ? cli_open_backend(az, o->backend, &o->how, replies) : NULL;
    const char *predictions = dry ? cli_scratch_copy(az, o->output) : o->output;
    const az_math_how how = {.max_tokens = o->tokens, .template = *o->template ? prompt_template_text(az, o->template) : NULL};
    const bool done = backend && predictions && az_ok(az) &&
                      az_math_evaluate(backend, job->word[1], predictions, &how, dry ? az_report_new(az, NULL) : job->report);
    const int code = done ? CLI_OK : az_backend_exhausted(backend) ? cli_out_of_budget(job) : CLI_BAD;
    if (code == CLI_BAD) return code;
    az_backend_report(backend, job->report);
    return dry || record_math(job, o, backend) ? code : CLI_BAD;
}

static int decay(cli_job *job, const prompt_settings *o)
{
    int year = 0, month = 0;
    if (sscanf(o->cutoff, "%4d-%2d", &year, &month) != 2 || month < 1 || month > 12)
        az_fail(job->az, AZ_BAD_INPUT, "prompt decay: --cutoff=%s is no month; write one such as 2024-01", o->cutoff);
    else
        az_math_decay(job->az, job->word[1], 12 * (int64_t)year + month - 1, job->report);
    return CLI_OK;
}

/* ---- oracle ---- */

static int oracle(cli_job *job)
{
    az_expectation expect[AZ_EXPECTATIONS];
    if (job->words == 1) return az_oracle_list(job->report), CLI_OK;
    const int n = az_oracle_expect(job->az, job->word[1], expect);
    if (n == 0) return CLI_BAD;
    az_report_row(job->report, "oracle");
    az_report_text(job->report, "oracle", job->word[1]);
    for (int i = 0; i < n; i++) az_report_number(job->report, expect[i].name, expect[i].value, "");
    return CLI_OK;
}

static int prompt(cli_job *job, const void *settings)
{
    const prompt_settings *o = settings;
    if (strcmp(job->word[0], "cache") == 0) return cache(job, o);
    if (strcmp(job->word[0], "ask") == 0 && job->words == 1) return ask(job, o);
    if (strcmp(job->word[0], "math") == 0 && job->words == 2) return math(job, o);
    if (strcmp(job->word[0], "decay") == 0 && job->words == 2) return decay(job, o);
    if (strcmp(job->word[0], "find") == 0 && job->words == 2) return prompt_find(job, o);
    if (strcmp(job->word[0], "template") == 0 && job->words <= 2) return prompt_template(job, o);
    if (strcmp(job->word[0], "oracle") == 0 && job->words <= 2) return oracle(job);
    az_fail(
        job->az, AZ_BAD_INPUT,
        "prompt: write `adze prompt ask --backend SPEC -p TEXT`, `adze prompt template [NAME or FILE]`, `find TEXTS -p TEXT`, `math ...`, "
        "`decay ...`, `cache ...` or `oracle [NAME]`");
    return CLI_BAD;
}

const cli_verb cli_prompt = {
    .name = "prompt",
    .summary = "ask a language model, here or on a server, and keep its replies",
    .usage =
        "ask --backend SPEC -p TEXT | template [NAME | FILE [--rows FILE]] | find FILE -p TEXT | math FILE -o FILE | decay FILE | cache "
        "stat|export|import|drop FILE | oracle [NAME]",
    .details = "SPEC is local:MODEL[?ctx=N&chat=auto|raw|FORM&adapter=FOLDER], http://HOST/v1#MODEL (OpenAI's protocol; the key comes from "
               "the environment), replay:FILE (recorded replies), oracle:NAME?parameter=value (a simulated model) or exec:PROGRAM (a line "
               "of JSON in, one out). With --cache the same question is asked once only, by any number of processes. The exit status is 3 "
               "when a budget (--max-cost, --max-calls, --max-tokens) ends the work; what was answered is kept. --dry-run asks nothing and "
               "counts the calls that the cache lacks, with the tokens and the cost that they would take at most. --image shows a server's "
               "model images behind the question.\n"
               "math asks the questions of a file and counts the right answers (PREDICTIONS.run.json lists the runs: settings, model, "
               "calls, tokens, costs; without --cache PREDICTIONS.replies.db keeps every reply, so that a run that was stopped asks "
               "nothing twice); decay tells whether fewer of the newer ones are right.\n"
               "template lists the built-in templates, the methods' own questions, and prints one by its name. It fills a template from "
               "the JSON object --vars, or from every line of --rows; --demos adds to each row the nearest of other lines as its list "
               "demos, nearest last. In a template, lines @@system, @@user and @@assistant open messages, {{name}} inserts a variable, and "
               "{{#each list}} ... {{/each}} repeats, with {{@index}} from 1; what is inserted is never read as a template. find tells "
               "which texts of a file are nearest to a question.\n"
               "oracle lists the simulated models, or tells what is expected of one under its parameters: rule?qh=0.15&qp=0.35&m=8&n=8.",
    .groups = prompt_groups,
    .settings_size = sizeof(prompt_settings),
    .min_words = 1,
    .max_words = 4,
    .words = "ask template find math decay cache oracle stat export import drop",
    .run = prompt,
};
