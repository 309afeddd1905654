/* run.c - adze run: a model continues a prompt, or answers it (--chat); the text appears as it is made. */
#include "cli/cli.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utf8proc.h>

typedef struct run_settings {
    const char *prompt, *prompt_file;
    int64_t tokens, samples;
    int cache; /* az_kv_type */
    bool echo, chat;
    const char *template, *system, *adapter;
    az_sampler sampler;
} run_settings;

static const char *const cache_forms[] = {[AZ_KV_F16] = "f16", [AZ_KV_F32] = "f32", [AZ_KV_Q8_0] = "q8_0", NULL};

static const az_option run_options[] = {
    {"prompt", AZ_FIELD(AZ_TEXT, run_settings, prompt), "-", 0, 0, NULL,
     "the text to continue; - = each line of the standard input that is not empty is one"},
    {"prompt_file", AZ_FIELD(AZ_TEXT, run_settings, prompt_file), "", 0, 0, NULL, "a file with the text to continue"},
    {"tokens", AZ_FIELD(AZ_INT, run_settings, tokens), "256", -1, 1e9, NULL,
     "how many tokens to make at most; -1 = as many as the context holds"},
    {"samples", AZ_FIELD(AZ_INT, run_settings, samples), "1", 1, 4096, NULL,
     "how many continuations to make, side by side; the seed of each is one more than that of the one before"},
    {"cache", AZ_FIELD(AZ_CHOICE, run_settings, cache), "f16", 0, 0, cache_forms,
     "how keys and values are kept: f32 is exact, f16 takes half of its memory, q8_0 a quarter"},
    {"chat", AZ_FIELD(AZ_BOOL, run_settings, chat), "false", 0, 0, NULL,
     "answer the prompt as a user's message, by the model's chat template"},
    {"template", AZ_FIELD(AZ_TEXT, run_settings, template), "", 0, 0, NULL,
     "with --chat: chatml, llama2, llama3, mistral, gemma, phi3, zephyr, or a file with a template"},
    {"system", AZ_FIELD(AZ_TEXT, run_settings, system), "", 0, 0, NULL, "with --chat: the system message in front"},
    {"adapter", AZ_FIELD(AZ_TEXT, run_settings, adapter), "", 0, 0, NULL,
     "the folder of an adapter to use beside the model; a prompt stands in its templates if it has some"},
    {"echo", AZ_FIELD(AZ_BOOL, run_settings, echo), "true", 0, 0, NULL, "leave the prompt out of the output"},
    {0},
};
static const cli_group run_groups[] = {{"options", run_options, 0}, {"sampling", az_sampler_options, offsetof(run_settings, sampler)}, {0}};

/* One generation under way. */
typedef struct stream {
    const az_lm *lm;
    int32_t previous;
    char pending[8]; /* the beginning of a character whose end has not come yet */
    int n_pending;
    FILE *out;          /* NULL = silence */
    const char *prompt; /* still to be shown in front; NULL = nothing */
    int64_t tokens;
    double first; /* when the first token came */
} stream;

/* Prints what is complete of the pending bytes; bytes that cannot become a character are printed as U+FFFD. */
static void flush_characters(stream *s, bool last)
{
    while (s->n_pending > 0) {
        utf8proc_int32_t point;
        utf8proc_ssize_t bytes = utf8proc_iterate((const utf8proc_uint8_t *)s->pending, s->n_pending, &point);
        unsigned char lead = (unsigned char)s->pending[0];
        int wanted = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
        if (bytes <= 0 && s->n_pending < wanted && !last) return;
        int used = bytes > 0 ? (int)bytes : 1;
        if (bytes > 0)
            fwrite(s->pending, 1, (size_t)used, s->out);
        else
            fputs("\xEF\xBF\xBD", s->out);
        s->n_pending -= used;
        memmove(s->pending, s->pending + used, (size_t)s->n_pending);
    }
}

/* With the first token, so that nothing is shown of a prompt that the model cannot read. */
static void show_prompt(stream *s)
{
    if (s->out && s->prompt) fputs(s->prompt, s->out);
    s->prompt = NULL;
}

static bool on_token(int sample, int32_t id, void *user)
{
    stream *s = user;
    (void)sample;
    if (s->tokens++ == 0) s->first = az_seconds();
    show_prompt(s);
    size_t length = 0;
    const char *bytes = az_token_bytes(s->lm->tokenizer, id, s->previous, &length);
    s->previous = id;
    for (size_t i = 0; s->out && i < length; i++) {
        s->pending[s->n_pending++] = bytes[i];
        flush_characters(s, false);
    }
    if (s->out) fflush(s->out);
    return true;
}

/* The text as a JSON string; bytes that are not UTF-8 become U+FFFD. */
static json_t *text_json(const char *text, size_t length)
{
    char *clean = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&clean, &size);
    if (!out) return json_null();
    stream s = {.out = out};
    for (size_t i = 0; i < length; i++) {
        s.pending[s.n_pending++] = text[i];
        flush_characters(&s, i + 1 == length);
    }
    fclose(out);
    json_t *value = json_stringn(clean, size);
    free(clean);
    return value;
}

static void print_json(cli_job *job, const az_lm *lm, const char *prompt, const az_tokens *all, int64_t prompt_tokens, double seconds)
{
    size_t length = 0;
    int64_t made = all->n - prompt_tokens;
    const char *text = az_detokenize(job->az, lm->tokenizer, all->id + prompt_tokens, made, &length);
    json_t *line = json_object(), *ids = json_array(), *prompt_ids = json_array();
    for (int64_t i = 0; i < all->n; i++) json_array_append_new(i < prompt_tokens ? prompt_ids : ids, json_integer(all->id[i]));
    json_object_set_new(line, "model", json_string(lm->name));
    json_object_set_new(line, "prompt", text_json(prompt, strlen(prompt)));
    json_object_set_new(line, "text", text ? text_json(text, length) : json_null());
    json_object_set_new(line, "prompt_ids", prompt_ids);
    json_object_set_new(line, "ids", ids);
    json_object_set_new(line, "tokens", json_integer(made));
    json_object_set_new(line, "seconds", json_real(seconds));
    json_object_set_new(line, "tokens_per_second", seconds > 0 ? json_real((double)made / seconds) : json_null());
    json_dumpf(line, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(line);
}

static void add_message(json_t *messages, const char *role, const char *content)
{
    json_array_append_new(messages, json_pack("{s:s, s:o}", "role", role, "content", text_json(content, strlen(content))));
}

/* The prompt as the chat template puts it. */
static const char *as_chat(cli_job *job, const az_lm *lm, const run_settings *options, const char *prompt)
{
    json_t *messages = json_array();
    if (*options->system) add_message(messages, "system", options->system);
    add_message(messages, "user", prompt);
    char *text = json_dumps(messages, JSON_COMPACT);
    const char *form = *options->template ? options->template : NULL;
    const char *rendered = az_chat_render(job->az, lm->tokenizer, form, text, true);
    if (!rendered) az_fail_context(job->az, "run: --chat");
    free(text);
    json_decref(messages);
    return rendered;
}

static bool begins_with_bos(const az_lm *lm, const char *prompt)
{
    const int32_t bos = az_token_bos(lm->tokenizer);
    const char *text = bos >= 0 ? az_token_text(lm->tokenizer, bos) : "";
    return *text && strncmp(prompt, text, strlen(text)) == 0;
}

/* Prompt (if it is wanted) and continuation of one sample, after it is made. */
static void print_sample(const az_lm *lm, const char *prompt, const az_tokens *all, int64_t prompt_tokens)
{
    stream s = {.lm = lm, .previous = prompt_tokens > 0 ? all->id[prompt_tokens - 1] : -1, .out = stdout};
    if (prompt) fputs(prompt, stdout);
    for (int64_t i = prompt_tokens; i < all->n; i++) on_token(0, all->id[i], &s);
    flush_characters(&s, true);
    putchar('\n');
}

static void print_samples(cli_job *job, const az_lm *lm, const run_settings *options, const char *prompt, const az_tokens *all,
                          int64_t prompt_tokens, double seconds)
{
    for (int64_t i = 0; i < options->samples; i++) {
        if (job->common->json) {
            print_json(job, lm, prompt, &all[i], prompt_tokens, seconds);
            continue;
        }
        if (i > 0) puts("---");
        print_sample(lm, options->echo && !options->chat ? prompt : NULL, &all[i], prompt_tokens);
    }
}

static az_tokens prompt_tokens(cli_job *job, const az_lm *lm, const az_adapter *adapter, const run_settings *options, const char *prompt)
{
    if (adapter && adapter->form) return az_adapter_query(job->az, lm, adapter, prompt);
    const bool wanted = az_tokenizer_wants_bos(lm->tokenizer) || !*prompt;
    const bool bos = wanted && !(options->chat && begins_with_bos(lm, prompt));
    return az_tokenize(job->az, lm->tokenizer, prompt, strlen(prompt), (bos ? AZ_ADD_BOS : 0) | AZ_PARSE_SPECIAL);
}

static void continue_prompt(cli_job *job, const az_lm *lm, const az_adapter *adapter, const run_settings *options, const char *prompt)
{
    if (options->chat) prompt = as_chat(job, lm, options, prompt);
    if (!prompt) return;
    const az_tokens ids = prompt_tokens(job, lm, adapter, options, prompt);
    if (!az_ok(job->az)) return;
    const bool json = job->common->json, streams = !json && options->samples == 1;
    stream s = {.lm = lm, .previous = ids.n > 0 ? ids.id[ids.n - 1] : -1, .out = streams ? stdout : NULL};
    if (options->echo && !options->chat) s.prompt = prompt;
    double began = az_seconds();
    s.first = began;
    const az_lm_generate_options how = {.max_tokens = options->tokens,
                                        .samples = (int)options->samples,
                                        .cache = (az_kv_type)options->cache,
                                        .sampler = options->sampler,
                                        .sink = on_token,
                                        .user = &s,
                                        .adapter = adapter};
    const az_tokens *all = az_lm_generate(job->az, lm, &ids, &how);
    double ended = az_seconds();
    if (streams) {
        if (all) show_prompt(&s), flush_characters(&s, true);
        if (all || s.tokens > 0) putchar('\n');
    } else if (all) {
        print_samples(job, lm, options, prompt, all, ids.n, ended - began);
    }
    if (!all || json) return;
    fflush(stdout);
    double decoding = ended - s.first;
    cli_remark(job, "[%lld tokens, %.1f tokens/s; prompt of %lld tokens in %.3f s]", (long long)s.tokens,
               s.tokens > 1 && decoding > 0 ? (double)(s.tokens - 1) / decoding : 0.0, (long long)ids.n, s.first - began);
}

/* Each line of the standard input is a prompt. */
static void continue_lines(cli_job *job, const az_lm *lm, const az_adapter *adapter, const run_settings *options)
{
    char *line = NULL;
    size_t room = 0;
    bool asks = isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
    while (az_ok(job->az) && !az_interrupted(job->az)) {
        if (asks) fputs("> ", stderr);
        ssize_t length = getline(&line, &room, stdin);
        if (length < 0) break;
        if (memchr(line, '\0', (size_t)length)) az_fail(job->az, AZ_BAD_INPUT, "run: a line of the standard input holds a zero byte");
        line[strcspn(line, "\r\n")] = '\0';
        az_scope_push(job->az);
        if (*line && az_ok(job->az)) continue_prompt(job, lm, adapter, options, line);
        az_scope_pop(job->az);
    }
    if (ferror(stdin)) az_fail(job->az, AZ_IO, "run: cannot read the standard input: %s", strerror(errno));
    if (asks) fputc('\n', stderr);
    free(line);
}

/* --template names a form, or a file whose text takes its place. */
static void read_template(cli_job *job, run_settings *options)
{
    if (!options->chat && (*options->template || *options->system))
        az_fail(job->az, AZ_BAD_INPUT, "run: %s goes with --chat", *options->template ? "--template" : "--system");
    if (*options->template && access(options->template, R_OK) == 0) options->template = az_read_file(job->az, options->template, NULL);
}

static int run(cli_job *job, const void *settings)
{
    run_settings given = *(const run_settings *)settings;
    const run_settings *options = &given;
    if (*job->common->plot) az_fail(job->az, AZ_BAD_INPUT, "run: a text has nothing to plot; leave --plot out");
    read_template(job, &given);
    if (!az_ok(job->az)) return CLI_BAD;
    az_lm *lm = cli_load(job, job->word[0]);
    if (!lm) return CLI_BAD;
    if (!lm->tokenizer)
        az_fail(job->az, AZ_BAD_INPUT, "run: '%s' brings no tokenizer, so it can neither read nor write text", job->word[0]);
    const az_adapter *adapter = cli_load_adapter(job, lm, options->adapter);
    if (adapter && adapter->form && options->chat)
        az_fail(job->az, AZ_BAD_INPUT, "run: '%s' brings templates of its own for a prompt; leave --chat out", options->adapter);
    const bool lines = strcmp(options->prompt, "-") == 0;
    if (!lines && *options->prompt_file) az_fail(job->az, AZ_BAD_INPUT, "run: give --prompt or --prompt-file, not both");
    const char *prompt = *options->prompt_file ? az_read_file(job->az, options->prompt_file, NULL) : options->prompt;
    if (!az_ok(job->az)) return CLI_BAD;
    if (!az_lm_arrange(job->az, lm, options->tokens < 0 ? lm->config.context : options->tokens)) return CLI_BAD;
    if (lines && !*options->prompt_file)
        continue_lines(job, lm, adapter, options);
    else
        continue_prompt(job, lm, adapter, options, prompt);
    return CLI_OK;
}

const cli_verb cli_run = {
    .name = "run",
    .summary = "let a model continue a text",
    .usage = "MODEL [-p TEXT | --prompt-file FILE] [--chat [--template NAME|FILE] [--system TEXT]] [-n N] [--temperature T] ...",
    .details = "Text goes to the standard output as it is made, the speed to the standard error. Without a prompt each line of the "
               "standard input is one; an empty prompt lets the model begin by itself. With --chat each prompt is a user's message; only "
               "the answer is shown, and the \"prompt\" of --json is the whole text that the model read.\n"
               "--temperature=0 takes the most likely token each time. With --json each prompt gives an object with model, prompt, text, "
               "prompt_ids, ids, tokens, seconds and tokens_per_second.\n"
               "--samples=K reads the prompt once and goes on from it K times, side by side; the texts come at the "
               "end, with --- between them (with --json an object for each).",
    .groups = run_groups,
    .settings_size = sizeof(run_settings),
    .min_words = 1,
    .max_words = 1,
    .words = cli_bundled,
    .streams = true,
    .run = run,
};
