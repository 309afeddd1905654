/* lacie_game.c - the game: a speaker answers questions in its own tone, the answer is masked, and a listener who knows nothing tells from
 * the tone whether to believe it. */
#include "tune/lacie.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char mask[] = "[ANSWER REMOVED]";

/* ---- texts ---- */

char *lacie_normal(az_ctx *az, const char *text)
{
    char *out = az_alloc(az, strlen(text) + 2);
    size_t n = 0;
    for (; out && *text; text++) {
        const unsigned char c = (unsigned char)*text;
        /* the quotation marks U+2018 and U+2019, and U+00B4 */
        const bool quote = strncmp(text, "\xE2\x80\x98", 3) == 0 || strncmp(text, "\xE2\x80\x99", 3) == 0;
        const bool acute = strncmp(text, "\xC2\xB4", 2) == 0;
        if (quote || acute) text += quote ? 2 : 1;
        const bool blank = quote || acute || isspace(c) || ispunct(c);
        if (!blank) out[n++] = (char)tolower(c);
        if (!blank && text[1]) continue;
        /* a word has ended: articles go */
        size_t word = n;
        while (word > 0 && out[word - 1] != ' ') word--;
        const size_t length = n - word;
        if ((length == 1 && out[word] == 'a') || (length == 2 && memcmp(out + word, "an", 2) == 0) ||
            (length == 3 && memcmp(out + word, "the", 3) == 0))
            n = word;
        else if (length > 0)
            out[n++] = ' ';
    }
    if (out && n > 0 && out[n - 1] == ' ') n--;
    if (out) out[n] = '\0';
    return out;
}

static bool is_word_byte(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 128;
}

char *lacie_mask(az_ctx *az, const char *response, const char *answer)
{
    const size_t length = strlen(answer);
    char *out = az_alloc(az, (strlen(response) + 1) * sizeof mask);
    size_t n = 0;
    for (const char *at = response; out && *at;) {
        bool hit = length > 0 && strncasecmp(at, answer, length) == 0;
        if (hit && length <= 2) hit = (at == response || !is_word_byte(at[-1])) && !is_word_byte(at[length]);
        if (hit) memcpy(out + n, mask, sizeof mask - 1);
        if (!hit) out[n] = *at;
        n += hit ? sizeof mask - 1 : 1;
        at += hit ? length : 1;
    }
    return out;
}

/* Whether something is left besides the mask and blanks. */
static bool says_something(const char *clean)
{
    for (const char *at = clean; *at;) {
        if (strncmp(at, mask, sizeof mask - 1) == 0)
            at += sizeof mask - 1;
        else if (isspace((unsigned char)*at))
            at++;
        else
            return true;
    }
    return false;
}

/* ---- asking ---- */

typedef struct game {
    az_ctx *az;
    const lacie_options *options;
    const az_prepare_job *job;
    pcre2_code *pattern;                        /* NULL = the speaker names its answer */
    const char *speaker, *extractor, *listener; /* templates */
} game;

/* response may be NULL. */
static az_messages *fill(az_ctx *az, const char *template, const char *asked, const char *response)
{
    json_t *variables = json_pack("{s:s, s:s*}", "question", asked, "response", response);
    char *text = variables ? json_dumps(variables, JSON_COMPACT) : NULL;
    az_messages *messages = text ? az_template_fill_again(az, template, text) : NULL;
    free(text);
    json_decref(variables);
    return messages;
}

static az_request ask_for(game *g, const char *stage, const az_messages *messages, int64_t tokens)
{
    az_request request = {.operation = g->options->chat ? AZ_CHAT : AZ_COMPLETE, .max_tokens = tokens, .stage = stage};
    if (!messages) return request;
    if (g->options->chat)
        request.message = messages->item, request.messages = messages->n;
    else if (messages->n == 1)
        request.prompt = messages->item[0].text;
    else
        az_fail(g->az, AZ_BAD_INPUT, "lacie: a template of several messages can be asked by chat only (chat=true)");
    return request;
}

static az_reply *speak(game *g, const char *id, const az_messages *prompt)
{
    static const char *const stop[] = {"\nQuestion:", "Question:"};
    az_request request = ask_for(g, "speak", prompt, g->options->max_tokens);
    request.temperature = g->options->temperature;
    request.seed = az_call_seed(g->job->seed, "speak", id, 0);
    request.samples = (int)g->options->n;
    request.stop = stop, request.stops = 2;
    return az_backend_ask(g->job->backend, &request);
}

static const char *trimmed(az_ctx *az, const char *text)
{
    while (isspace((unsigned char)*text)) text++;
    size_t length = strlen(text);
    while (length && isspace((unsigned char)text[length - 1])) length--;
    return az_format_text(az, "%.*s", (int)length, text);
}

/* The first group of the pattern, or all that it finds; NULL when it finds nothing. */
static const char *match(game *g, const char *response)
{
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(g->pattern, NULL);
    const int found = data ? pcre2_match(g->pattern, (PCRE2_SPTR)response, strlen(response), 0, 0, data, NULL) : -1;
    const char *answer = NULL;
    if (found > 0) {
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(data) + (found > 1 ? 2 : 0);
        if (at[0] <= at[1] && at[1] <= strlen(response)) answer = az_format_text(g->az, "%.*s", (int)(at[1] - at[0]), response + at[0]);
    }
    pcre2_match_data_free(data);
    return answer && *answer ? answer : NULL;
}

/* Asks what a response's answer is. */
static az_request extraction(game *g, const char *question, const char *response)
{
    static const char *const stop[] = {"\n"};
    enum { ANSWER_TOKENS = 10 };
    az_request request = ask_for(g, "extract", fill(g->az, g->extractor, question, trimmed(g->az, response)), ANSWER_TOKENS);
    request.stop = stop, request.stops = 1;
    return request;
}

/* The answer that was named; NULL for an abstention. */
static const char *named_answer(game *g, const az_answer *reply)
{
    const char *answer = reply->failure ? NULL : trimmed(g->az, reply->text);
    return answer && *answer && strcasecmp(answer, "none") != 0 ? answer : NULL;
}

/* Asks whether to believe a masked response. */
static az_request judgement(game *g, const char *question, const char *clean)
{
    az_request request = ask_for(g, "listen", fill(g->az, g->listener, question, trimmed(g->az, clean)), 0);
    request.operation = AZ_NEXT;
    request.top = 0;
    return request;
}

/* p(yes) / (p(yes) + p(no)) of a listener's next token; NaN and *why when it says neither. */
static double belief(const az_answer *reply, const char **why)
{
    bool yes_found, no_found;
    *why = reply->failure;
    if (*why) return NAN;
    const double yes = az_next_mass(reply, "yes", &yes_found), no = az_next_mass(reply, "no", &no_found);
    if (!yes_found && !no_found) *why = "the listener says neither yes nor no";
    return *why ? NAN : yes / (yes + no);
}

/* ---- one question ---- */

const char *lacie_prompt(az_ctx *az, const char *question)
{
    const az_messages *messages = fill(az, az_template_builtin("lacie-speaker"), question, NULL);
    return messages ? messages->item[0].text : NULL;
}

typedef struct question {
    const char *id, *text;
    const json_t *answers;
} question;

static bool is_correct(az_ctx *az, const question *q, const char *answer)
{
    const char *normal = lacie_normal(az, answer);
    for (size_t i = 0; normal && i < json_array_size(q->answers); i++) {
        const char *alias = lacie_normal(az, json_string_value(json_array_get(q->answers, i)));
        if (alias && strcmp(alias, normal) == 0) return true;
    }
    return false;
}

/* One answer of the speaker to a question, and what became of it. */
typedef struct play {
    const char *id;
    const az_answer *said;
    const char *answer, *clean, *why; /* answer: NULL = an abstention; why: there is no belief */
    double belief;
} play;

/* The answers' answers, all of a question asked together; NULL ones of failures stay. */
static bool find_answers(game *g, const question *q, play *p, int n)
{
    az_request *request = az_alloc_array(g->az, (size_t)n + 1, sizeof *request);
    az_reply *reply = az_alloc_array(g->az, (size_t)n + 1, sizeof *reply);
    int asked = 0;
    if (!request || !reply) return false;
    for (int i = 0; i < n; i++) {
        if (p[i].said->failure) continue;
        if (g->pattern)
            p[i].answer = match(g, p[i].said->text);
        else
            request[asked++] = extraction(g, q->text, p[i].said->text);
    }
    if (!az_ok(g->az) || !az_backend_ask_all(g->job->backend, request, asked, reply)) return false;
    for (int i = 0, at = 0; i < n && asked > 0; i++)
        if (!p[i].said->failure) p[i].answer = named_answer(g, &reply[at++].sample[0]);
    for (int i = 0; i < n; i++)
        if (!p[i].said->failure) p[i].clean = p[i].answer ? lacie_mask(g->az, p[i].said->text, p[i].answer) : p[i].said->text;
    return az_ok(g->az);
}

static bool is_judged(const play *p)
{
    return p->answer && says_something(p->clean);
}

/* Listener i of all. */
static az_backend *listener_of(const game *g, int i)
{
    if (i > 0) return g->job->more[i - 1];
    return g->job->second ? g->job->second : g->job->backend;
}

/* The beliefs, likewise: the mean over the listeners. */
static bool judge_answers(game *g, const question *q, play *p, int n)
{
    const int listeners = 1 + g->job->others;
    az_request *request = az_alloc_array(g->az, (size_t)n + 1, sizeof *request);
    az_reply *reply = az_alloc_array(g->az, (size_t)n + 1, sizeof *reply);
    int asked = 0;
    if (!request || !reply) return false;
    for (int i = 0; i < n; i++) {
        p[i].belief = is_judged(&p[i]) ? 0 : NAN;
        if (is_judged(&p[i])) request[asked++] = judgement(g, q->text, p[i].clean);
    }
    for (int l = 0; l < listeners; l++) {
        if (!az_ok(g->az) || !az_backend_ask_all(listener_of(g, l), request, asked, reply)) return false;
        for (int i = 0, at = 0; i < n; i++) {
            if (!is_judged(&p[i])) continue;
            const char *why;
            p[i].belief += belief(&reply[at++].sample[0], &why) / listeners;
            if (!p[i].why) p[i].why = why;
        }
    }
    return true;
}

static json_t *line_of(game *g, const question *q, const play *p, const char *prompt)
{
    const char *failure = p->said->failure ? p->said->failure : p->why;
    if (failure) return json_pack("{s:s, s:b, s:s}", "id", p->id, "ok", 0, "error", failure);
    return json_pack("{s:s, s:b, s:s, s:s, s:s, s:s?, s:o, s:b, s:O}", "id", p->id, "ok", 1, "prompt", prompt, "response_orig",
                     p->said->text, "response_clean", p->clean, "answer", p->answer, "mean_prob",
                     isnan(p->belief) ? json_null() : json_real(p->belief), "correct", p->answer && is_correct(g->az, q, p->answer),
                     "correct_answers", q->answers);
}

static bool play_question(game *g, const question *q, az_journal *journal)
{
    const az_messages *asked = fill(g->az, g->speaker, q->text, NULL);
    if (!asked) return false;
    const char *prompt = asked->item[asked->n - 1].text;
    const int64_t samples = g->options->n;
    play *p = az_alloc_array(g->az, (size_t)samples, sizeof *p);
    int *sample = az_alloc_array(g->az, (size_t)samples, sizeof *sample), n = 0;
    if (!p || !sample) return false;
    for (int s = 0; s < samples; s++) {
        const char *id = az_format_text(g->az, "%s/%d", q->id, s);
        if (!az_journal_same(journal, id, "prompt", prompt)) return false;
        if (az_journal_find(journal, id)) continue;
        sample[n] = s;
        p[n++] = (play){.id = id};
    }
    const az_reply *reply = n > 0 ? speak(g, q->id, asked) : NULL;
    if (n == 0 || !reply) return n == 0;
    for (int i = 0; i < n; i++) p[i].said = &reply->sample[sample[i]];
    if (!find_answers(g, q, p, n) || !judge_answers(g, q, p, n)) return false;
    for (int i = 0; i < n; i++) {
        json_t *line = line_of(g, q, &p[i], prompt);
        if (!line || !az_journal_add(journal, line)) return false;
    }
    return true;
}

/* ---- the whole game ---- */

/* What others say of the answer `id`, a truth or a share; NaN when they say nothing. */
static double accepted_by(const az_json_lines *accepts, const char *id)
{
    for (int64_t i = 0; i < accepts->count; i++) {
        const json_t *accept = json_object_get(accepts->item[i].object, "accept");
        const char *of = json_string_value(json_object_get(accepts->item[i].object, "id"));
        if (of && strcmp(of, id) == 0) return json_is_number(accept) ? json_number_value(accept) : json_is_true(accept);
    }
    return NAN;
}

static const az_json_lines *read_accepts(az_ctx *az, const lacie_options *o)
{
    const az_json_lines *lines = az_json_lines_read(az, o->accepts, "id", o->skip_bad);
    for (int64_t i = 0; lines && i < lines->count; i++) {
        const json_t *accept = json_object_get(lines->item[i].object, "accept");
        const double share = json_number_value(accept);
        if (!json_is_boolean(accept) && (!json_is_number(accept) || share < 0 || share > 1))
            return az_fail(az, AZ_BAD_INPUT, "'%s', line %lld: \"accept\" is not true, false or a number from 0 to 1", lines->path,
                           (long long)lines->item[i].number);
    }
    return lines;
}

/* The verdicts of `accepts` take the places of the listener's. */
static void take_accepts(az_ctx *az, const az_json_lines *accepts, lacie_game *played)
{
    int64_t found = 0;
    for (int64_t i = 0; i < played->count; i++) {
        lacie_record *r = &played->record[i];
        r->p = accepted_by(accepts, r->id);
        found += !isnan(r->p);
    }
    if (found < played->count)
        az_note(az, "'%s' has no verdict on %lld of %lld answers, which do not count", accepts->path, (long long)(played->count - found),
                (long long)played->count);
    if (found == 0) az_fail(az, AZ_BAD_INPUT, "'%s' has no verdict on any answer; its ids are to be those of game.jsonl", accepts->path);
}

static bool add_record(az_ctx *az, int64_t number, const char *id, const json_t *line, lacie_game *out)
{
    const json_t *p = json_object_get(line, "mean_prob");
    const char *answer = json_string_value(json_object_get(line, "answer"));
    if (!line || !json_is_true(json_object_get(line, "ok"))) {
        out->failed++;
        return true;
    }
    out->record[out->count++] = (lacie_record){
        .question = number,
        .id = az_strdup(az, id),
        .prompt = az_strdup(az, json_string_value(json_object_get(line, "prompt"))),
        .response = az_strdup(az, json_string_value(json_object_get(line, "response_orig"))),
        .clean = az_strdup(az, json_string_value(json_object_get(line, "response_clean"))),
        .answer = answer ? az_strdup(az, answer) : NULL,
        .p = json_is_number(p) ? json_number_value(p) : NAN,
        .correct = json_is_true(json_object_get(line, "correct")),
    };
    return az_ok(az);
}

static bool read_question(az_ctx *az, const az_json_lines *lines, int64_t i, question *q)
{
    const az_json_line *line = &lines->item[i];
    *q = (question){.id = az_format_text(az, "%lld", (long long)line->number),
                    .text = az_json_line_text(line, "question"),
                    .answers = json_object_get(line->object, "answers")};
    bool good = q->text && json_array_size(q->answers) > 0;
    for (size_t k = 0; k < json_array_size(q->answers); k++) good = good && json_is_string(json_array_get(q->answers, k));
    return good || az_fail(az, AZ_BAD_INPUT, "'%s', line %lld has no text \"question\" with a list of texts \"answers\"", lines->path,
                           (long long)line->number);
}

static void free_pattern(void *code)
{
    pcre2_code_free(code);
}

static bool begin(game *g)
{
    const char *pattern = g->options->pattern, *folder = g->options->templates;
    g->speaker = az_template_named(g->az, folder, "lacie-speaker");
    g->extractor = az_template_named(g->az, folder, "lacie-extractor");
    g->listener = az_template_named(g->az, folder, "lacie-listener");
    if (!az_ok(g->az)) return false;
    int code;
    PCRE2_SIZE where;
    if (!*pattern) return true;
    g->pattern = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &where, NULL);
    if (!g->pattern) return az_fail(g->az, AZ_BAD_INPUT, "pattern=%s is no regular expression (at byte %zu)", pattern, where + 1);
    return az_on_leave(g->az, free_pattern, g->pattern);
}

static bool play_all(game *g, const az_json_lines *lines, az_journal *journal, lacie_game *out)
{
    for (int64_t i = 0; i < lines->count; i++) {
        question q;
        az_scope_push(g->az);
        const bool good = read_question(g->az, lines, i, &q) && play_question(g, &q, journal);
        az_scope_pop(g->az);
        if (!good) return false;
        for (int s = 0; s < g->options->n; s++) {
            const char *id = az_format_text(g->az, "%lld/%d", (long long)lines->item[i].number, s);
            if (!add_record(g->az, i, id, az_journal_find(journal, id), out)) return false;
        }
        if (!az_progress(g->az, "playing", i + 1, lines->count, NULL))
            return az_fail(g->az, AZ_INTERRUPTED, "interrupted; the same command goes on from there");
    }
    return true;
}

/* All that an answer and its judgement depend on, beside the question. */
static const char *game_text(const game *g)
{
    az_ctx *az = g->az;
    const lacie_options *o = g->options;
    const az_prepare_job *job = g->job;
    const az_backend *second = job->second ? job->second : job->backend;
    const char *listeners = az_backend_identity(second);
    for (int i = 0; i < job->others && listeners; i++)
        listeners = az_format_text(az, "%s;%s", listeners, az_backend_identity(job->more[i]));
    const char *text = az_format_text(az, "speaker=%s listener=%s seed=%lld temperature=%.17g max_tokens=%lld pattern=%s chat=%d",
                                      az_backend_identity(job->backend), listeners, (long long)job->seed, o->temperature,
                                      (long long)o->max_tokens, o->pattern, o->chat);
    if (!*o->templates || !text) return text;
    const char *templates = az_format_text(az, "%s%s%s", g->speaker, g->extractor, g->listener);
    char hash[65];
    if (!templates) return NULL;
    az_sha256(templates, strlen(templates), hash);
    return az_format_text(az, "%s templates=%s", text, hash);
}

lacie_game *lacie_play(az_ctx *az, const lacie_options *options, const az_prepare_job *job)
{
    game g = {.az = az, .options = options, .job = job};
    const az_json_lines *lines = begin(&g) ? az_json_lines_read(az, job->input, NULL, options->skip_bad) : NULL;
    lacie_game *out = az_alloc(az, sizeof *out);
    for (int64_t i = 0; lines && i < lines->count; i++) {
        question q; /* all are read before the first is asked */
        if (!read_question(az, lines, i, &q)) return NULL;
    }
    if (!lines || !out) return NULL;
    out->record = az_alloc_array(az, (size_t)(lines->count * options->n), sizeof *out->record);
    az_journal *journal = az_journal_open(az, az_format_text(az, "%s/game.jsonl", job->folder), "id");
    const bool ready = out->record && az_journal_about(journal, game_text(&g));
    const az_json_lines *accepts = ready && *options->accepts ? read_accepts(az, options) : NULL;
    if (!az_ok(az) || !ready || !play_all(&g, lines, journal, out)) return NULL;
    if (accepts) take_accepts(az, accepts, out);
    return az_ok(az) ? out : NULL;
}
