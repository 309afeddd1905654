/* itertl_sample.c - references of itertl, the programs that a model samples for them, and how good its greedy programs are. */
#include "tune/itertl.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

/* ---- references ---- */

static bool read_reference(az_ctx *az, const az_example *example, int64_t number, itertl_reference *out)
{
    json_t *object = json_loads(example->line, JSON_ALLOW_NUL, NULL);
    const char *test = json_string_value(json_object_get(object, "testbench")), *id = json_string_value(json_object_get(object, "id"));
    *out = (itertl_reference){.example = example,
                              .task = {.instruction = example->turn[0].text, .test = test ? az_strdup(az, test) : ""},
                              .id = id ? az_strdup(az, id) : az_format_text(az, "%lld", (long long)number)};
    json_decref(object);
    return example->turns == 2 ||
           az_fail(az, AZ_BAD_INPUT, "itertl: example %lld has no texts \"prompt\" and \"response\"", (long long)number);
}

bool itertl_read_references(az_ctx *az, const itertl_options *options, const az_examples *examples, itertl_references *out)
{
    *out = (itertl_references){.item = az_alloc_array(az, (size_t)examples->count, sizeof *out->item)};
    for (int64_t i = 0; out->item && i < examples->count; i++) {
        itertl_reference *r = &out->item[out->count];
        itertl_verdict verdict = {.compiles = true};
        if (!read_reference(az, &examples->item[i], i + 1, r)) return false;
        if (options->self_contained && !itertl_check(az, options, &r->task, examples->item[i].turn[1].text, &verdict)) return false;
        out->count += verdict.compiles;
        out->left_out += !verdict.compiles;
        if (!az_progress(az, "checking references", i + 1, examples->count, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    return az_ok(az);
}

/* ---- sampling ---- */

/* Checks a program and writes it down, unless it was before. */
static const json_t *judge(az_ctx *az, const itertl_sampling *how, const itertl_reference *r, const char *text, const char *id)
{
    itertl_verdict verdict;
    if (!text || !itertl_check(az, how->options, &r->task, text, &verdict)) return NULL;
    const double score = itertl_score(az, how->options, &verdict, text, r->example->turn[1].text);
    json_t *line = json_pack("{s:s, s:b, s:s, s:b, s:i, s:i, s:f, s:s}", "id", id, "ok", 1, "text", text, "compiles", verdict.compiles,
                             "passed", verdict.passed, "total", verdict.total, "score", score, "error", verdict.error);
    if (how->journal) return az_journal_add(how->journal, line) ? az_journal_find(how->journal, id) : NULL;
    if (!az_on_leave(az, (void (*)(void *))json_decref, line)) return NULL;
    return line;
}

/* The round's programs for one reference, by the model as it is. */
static bool sample(az_ctx *az, const itertl_sampling *how, int64_t at, const json_t **line)
{
    const itertl_options *o = how->options;
    const itertl_reference *r = &how->references->item[at];
    const char *stage = az_format_text(az, "round %d", how->round);
    const az_request request = {.operation = AZ_COMPLETE,
                                .prompt = r->task.instruction,
                                .max_tokens = o->max_new,
                                .temperature = o->temperature,
                                .top_p = o->top_p,
                                .samples = (int)o->samples,
                                .seed = az_call_seed(how->seed, stage, r->id, 0),
                                .stage = "sample"};
    const az_reply *reply = NULL;
    for (int s = 0; s < o->samples; s++) {
        const char *id = az_format_text(az, "%lld/%d", (long long)at, s);
        line[s] = how->journal ? az_journal_find(how->journal, id) : NULL;
        if (line[s]) continue;
        if (!reply) reply = az_backend_ask(how->model, &request);
        if (!reply) return false;
        const char *text = reply->sample[s].failure ? "" : itertl_clean(az, o, reply->sample[s].text);
        if (!(line[s] = judge(az, how, r, text, id))) return false;
    }
    return true;
}

/* Adds a text to the group that begins there, unless the group has it already. */
static void add_text(az_ctx *az, itertl_programs *out, int64_t begins, const itertl_reference *r, const char *text, double score)
{
    az_examples *all = &out->text;
    for (int64_t i = begins; i < all->count; i++)
        if (strcmp(all->item[i].turn[1].text, text) == 0) return;
    az_turn *turn = az_alloc_array(az, 2, sizeof *turn);
    if (!turn) return;
    turn[0] = r->example->turn[0];
    turn[1] = (az_turn){.role = "response", .text = az_strdup(az, text), .length = strlen(text)};
    out->score[all->count] = score;
    all->item[all->count++] = (az_example){.turns = 2, .turn = turn, .line = r->example->line};
}

bool itertl_sample(az_ctx *az, const itertl_sampling *how, itertl_programs *out)
{
    const int64_t references = how->references->count, samples = how->options->samples;
    const size_t most = (size_t)(references * (samples + 1));
    const json_t **line = az_alloc_array(az, (size_t)samples, sizeof *line);
    *out = (itertl_programs){.text = {.item = az_alloc_array(az, most, sizeof *out->text.item), .path = "candidates"},
                             .begins = az_alloc_array(az, (size_t)references + 1, sizeof *out->begins),
                             .score = az_alloc_array(az, most, sizeof *out->score)};
    for (int64_t i = 0; az_ok(az) && i < references; i++) {
        const itertl_reference *r = &how->references->item[i];
        const char *right = r->example->turn[1].text;
        out->begins[i] = out->text.count;
        if (!sample(az, how, i, line)) return false;
        for (int s = 0; s < samples; s++) {
            const char *text = json_string_value(json_object_get(line[s], "text"));
            const double score = json_number_value(json_object_get(line[s], "score"));
            out->sampled++;
            out->compiled += json_is_true(json_object_get(line[s], "compiles"));
            out->right += score == 1;
            if (text && strcmp(text, right) != 0) add_text(az, out, out->begins[i], r, text, score);
        }
        add_text(az, out, out->begins[i], r, right, 1);
        if (!az_progress(az, "sampling", i + 1, references, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted while sampling");
    }
    if (!az_ok(az)) return false;
    out->begins[references] = out->text.count;
    return true;
}

/* ---- validation ---- */

double itertl_greedy_score(az_ctx *az, const itertl_options *options, const itertl_references *references, az_backend *model)
{
    double sum = 0;
    for (int64_t i = 0; az_ok(az) && i < references->count; i++) {
        az_scope_push(az);
        const itertl_reference *r = &references->item[i];
        const az_request request = {
            .operation = AZ_COMPLETE, .prompt = r->task.instruction, .max_tokens = options->max_new, .samples = 1, .stage = "validate"};
        const az_reply *reply = az_backend_ask(model, &request);
        const char *text = !reply || reply->sample[0].failure ? "" : itertl_clean(az, options, reply->sample[0].text);
        itertl_verdict verdict;
        if (reply && text && itertl_check(az, options, &r->task, text, &verdict))
            sum += itertl_score(az, options, &verdict, text, r->example->turn[1].text);
        az_scope_pop(az);
        if (!az_progress(az, "validating", i + 1, references->count, NULL)) az_fail(az, AZ_INTERRUPTED, "interrupted while validating");
    }
    return az_ok(az) ? sum / (double)references->count : NAN;
}
