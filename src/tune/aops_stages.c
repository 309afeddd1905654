/* aops_stages.c - the stages that ask a model. Each has a journal in the job's folder: what is in it is not asked again, and a run that was
 * stopped goes on as if it had not been. */
#include "tune/aops.h"

#include <string.h>

enum { CHUNK = 64 }; /* questions that are asked together */

/* One question of a stage: about a topic, or about one of its solutions. */
typedef struct stage_item {
    const char *id;
    aops_topic *topic;
    int solution;
} stage_item;

typedef struct stage {
    const char *name, *template;
    az_backend *backend;
    int64_t count;
    stage_item *item;
    az_messages *(*prompt)(az_ctx *az, const char *template, const stage_item *item);
    /* What the reply says, as fields of the journal's line. */
    json_t *(*read)(az_ctx *az, const stage_item *item, const char *reply);
    /* Puts a line of the journal to the topic. */
    void (*apply)(az_ctx *az, const stage_item *item, const json_t *line);
} stage;

/* ---- running a stage ---- */

/* An empty one with an error. */
static az_request request_of(const aops_run *run, const stage *s, const stage_item *item)
{
    const az_messages *messages = s->prompt(run->az, s->template, item);
    if (!messages) return (az_request){0};
    return (az_request){.operation = AZ_CHAT,
                        .message = messages->item,
                        .messages = messages->n,
                        .max_tokens = run->options->max_tokens,
                        .seed = az_call_seed(run->job->seed, s->name, item->id, 0),
                        .stage = s->name};
}

/* Whether the journal's line answers what is asked now: a topic of the same number may have another text. */
static bool is_same(const aops_run *run, const stage *s, const az_journal *journal, const stage_item *item)
{
    az_ctx *az = run->az;
    char key[65];
    az_scope_push(az);
    const az_request request = request_of(run, s, item);
    const char *json = az_ok(az) ? az_request_json(az, &request, az_backend_identity(s->backend)) : NULL;
    if (json) az_sha256(json, strlen(json), key);
    const bool good = json && az_journal_same(journal, item->id, "call", key);
    az_scope_pop(az);
    return good;
}

static bool ask_chunk(const aops_run *run, const stage *s, az_journal *journal, const stage_item *const *item, int n)
{
    az_ctx *az = run->az;
    az_request request[CHUNK] = {0};
    az_reply reply[CHUNK] = {0};
    for (int i = 0; i < n; i++) request[i] = request_of(run, s, item[i]);
    if (!az_ok(az)) return false;
    if (!az_backend_ask_all(s->backend, request, n, reply)) return false;
    for (int i = 0; i < n; i++) {
        const az_answer *answer = &reply[i].sample[0];
        json_t *line = answer->failure ? json_pack("{s:s, s:b, s:s}", "id", item[i]->id, "ok", 0, "error", answer->failure)
                                       : json_pack("{s:s, s:b, s:s}", "id", item[i]->id, "ok", 1, "call", reply[i].key);
        if (!answer->failure) {
            json_t *found = s->read(az, item[i], answer->text);
            json_object_update(line, found);
            json_decref(found);
        }
        if (!az_journal_add(journal, line)) return false;
    }
    return true;
}

static bool ask_stage(const aops_run *run, const stage *s, az_journal *journal)
{
    az_ctx *az = run->az;
    for (int64_t at = 0; at < s->count;) {
        const stage_item *open[CHUNK];
        int n = 0;
        for (; at < s->count && n < CHUNK; at++) {
            if (!az_journal_find(journal, s->item[at].id))
                open[n++] = &s->item[at];
            else if (!is_same(run, s, journal, &s->item[at]))
                return false;
        }
        az_scope_push(az);
        const bool good = n == 0 || ask_chunk(run, s, journal, open, n);
        az_scope_pop(az);
        if (!good) return false;
        if (!az_progress(az, s->name, at, s->count, NULL))
            return az_fail(az, AZ_INTERRUPTED, "interrupted; the same command goes on from there");
    }
    return true;
}

static void report_stage(const aops_run *run, const stage *s, const az_journal *journal)
{
    int64_t failed = 0;
    for (int64_t i = 0; i < s->count; i++) failed += json_is_false(json_object_get(az_journal_find(journal, s->item[i].id), "ok"));
    az_report_row(run->job->report, "stages");
    az_report_text(run->job->report, "stage", s->name);
    az_report_count(run->job->report, "items", s->count);
    az_report_count(run->job->report, "failed", failed);
}

static bool run_stage(const aops_run *run, const stage *s)
{
    az_ctx *az = run->az;
    const char *path = az_format_text(az, "%s/%s.jsonl", run->job->folder, s->name);
    az_journal *journal = az_journal_open(az, path, "id");
    az_json_line *line = az_alloc_array(az, (size_t)s->count + 1, sizeof *line);
    const char *about = az_format_text(az, "model=%s seed=%lld max_tokens=%lld", az_backend_identity(s->backend), (long long)run->job->seed,
                                       (long long)run->options->max_tokens);
    if (!line || !az_journal_about(journal, about) || !ask_stage(run, s, journal)) return false;
    for (int64_t i = 0; i < s->count; i++) line[i].id = s->item[i].id;
    if (!az_journal_finish(journal, &(az_json_lines){.count = s->count, .item = line})) return false;
    for (int64_t i = 0; i < s->count; i++) {
        const json_t *found = az_journal_find(journal, s->item[i].id);
        if (found && json_is_true(json_object_get(found, "ok"))) s->apply(az, &s->item[i], found);
    }
    report_stage(run, s, journal);
    return az_ok(az);
}

/* ---- what each stage asks about ---- */

static bool is_candidate(const aops_run *run, const aops_topic *topic)
{
    return topic->posts > 1 && (topic->label == 1 || (topic->label == -1 && run->options->keep_undecided));
}

/* One item for each topic that `wanted` takes; for each of its solutions with `each_solution`. */
static bool list_items(aops_run *run, stage *s, bool (*wanted)(const aops_run *run, const aops_topic *topic), bool each_solution)
{
    int64_t most = run->forum->count;
    for (int64_t i = 0; each_solution && i < run->forum->count; i++) most += run->forum->topic[i].solutions;
    s->item = az_alloc_array(run->az, (size_t)most + 1, sizeof *s->item);
    for (int64_t i = 0; s->item && i < run->forum->count; i++) {
        aops_topic *topic = &run->forum->topic[i];
        if (!wanted(run, topic)) continue;
        if (!each_solution) s->item[s->count++] = (stage_item){.id = topic->id, .topic = topic};
        for (int k = 0; each_solution && k < topic->solutions; k++) {
            const char *id = az_format_text(run->az, "%s/%lld", topic->id, (long long)topic->post[topic->solution[k]].number);
            s->item[s->count++] = (stage_item){.id = id, .topic = topic, .solution = k};
        }
    }
    return az_ok(run->az);
}

static bool any_topic(const aops_run *run, const aops_topic *topic)
{
    (void)run, (void)topic;
    return true;
}

static bool has_solution(const aops_run *run, const aops_topic *topic)
{
    (void)run;
    return topic->solutions > 0;
}

static bool has_question(const aops_run *run, const aops_topic *topic)
{
    (void)run;
    return topic->question != NULL;
}

/* ---- classify ---- */

static az_messages *classify_prompt(az_ctx *az, const char *template, const stage_item *item)
{
    return aops_classify_prompt(az, template, item->topic);
}

static json_t *read_label(az_ctx *az, const stage_item *item, const char *reply)
{
    (void)item;
    return json_pack("{s:i}", "label", aops_read_label(az, reply));
}

static void apply_label(az_ctx *az, const stage_item *item, const json_t *line)
{
    (void)az;
    item->topic->label = (int)json_integer_value(json_object_get(line, "label"));
}

/* ---- extract ---- */

static az_messages *extract_prompt(az_ctx *az, const char *template, const stage_item *item)
{
    return aops_extract_prompt(az, template, item->topic);
}

static json_t *read_solutions(az_ctx *az, const stage_item *item, const char *reply)
{
    int *solution = az_alloc_array(az, (size_t)item->topic->posts + 1, sizeof *solution);
    const int n = solution ? aops_read_solutions(az, item->topic, reply, solution, item->topic->posts) : 0;
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, json_integer(item->topic->post[solution[i]].number));
    return json_pack("{s:b, s:o}", "success", n >= 0, "answers", list);
}

static void apply_solutions(az_ctx *az, const stage_item *item, const json_t *line)
{
    aops_topic *topic = item->topic;
    const json_t *list = json_object_get(line, "answers");
    const size_t n = json_array_size(list);
    topic->solution = az_alloc_array(az, n + 1, sizeof *topic->solution);
    topic->answer = az_alloc_array(az, n + 1, sizeof *topic->answer);
    topic->second = az_alloc_array(az, n + 1, sizeof *topic->second);
    for (size_t i = 0; az_ok(az) && i < n; i++)
        for (int p = 0; p < topic->posts; p++)
            if (topic->post[p].number == json_integer_value(json_array_get(list, i))) topic->solution[topic->solutions++] = p;
}

/* ---- rewrite ---- */

static az_messages *question_prompt(az_ctx *az, const char *template, const stage_item *item)
{
    return aops_question_prompt(az, template, item->topic);
}

static az_messages *answer_prompt(az_ctx *az, const char *template, const stage_item *item)
{
    return aops_answer_prompt(az, template, item->topic, item->solution);
}

static json_t *read_text(az_ctx *az, const stage_item *item, const char *reply)
{
    (void)az, (void)item;
    reply += strspn(reply, " \t\r\n");
    size_t length = strlen(reply);
    while (length && strchr(" \t\r\n", reply[length - 1])) length--;
    return json_pack("{s:s%}", "text", reply, length);
}

static const char *text_of(az_ctx *az, const json_t *line)
{
    const char *text = json_string_value(json_object_get(line, "text"));
    return text && *text ? az_strdup(az, text) : NULL;
}

static void apply_question(az_ctx *az, const stage_item *item, const json_t *line)
{
    item->topic->question = text_of(az, line);
}

static void apply_answer(az_ctx *az, const stage_item *item, const json_t *line)
{
    item->topic->answer[item->solution] = text_of(az, line);
}

static void apply_second(az_ctx *az, const stage_item *item, const json_t *line)
{
    item->topic->second[item->solution] = text_of(az, line);
}

bool aops_stages(aops_run *run)
{
    static const char *const template[] = {"aops-classify", "aops-extract", "aops-rewrite-question", "aops-rewrite-answer"};
    az_backend *first = run->job->backend, *second = run->job->second;
    const char *text[4];
    for (int i = 0; i < 4; i++)
        if (!(text[i] = az_template_named(run->az, run->options->templates, template[i]))) return false;
    stage labels = {
        .name = "classify", .template = text[0], .backend = first, .prompt = classify_prompt, .read = read_label, .apply = apply_label};
    stage solutions = {.name = "extract",
                       .template = text[1],
                       .backend = first,
                       .prompt = extract_prompt,
                       .read = read_solutions,
                       .apply = apply_solutions};
    stage questions = {
        .name = "rewrite-q", .template = text[2], .backend = first, .prompt = question_prompt, .read = read_text, .apply = apply_question};
    stage answers = {
        .name = "rewrite-a", .template = text[3], .backend = first, .prompt = answer_prompt, .read = read_text, .apply = apply_answer};
    stage seconds = {
        .name = "rewrite-b", .template = text[3], .backend = second, .prompt = answer_prompt, .read = read_text, .apply = apply_second};
    return list_items(run, &labels, any_topic, false) && run_stage(run, &labels) && list_items(run, &solutions, is_candidate, false) &&
           run_stage(run, &solutions) && list_items(run, &questions, has_solution, false) && run_stage(run, &questions) &&
           list_items(run, &answers, has_question, true) && run_stage(run, &answers) &&
           (!second || (list_items(run, &seconds, has_question, true) && run_stage(run, &seconds)));
}
