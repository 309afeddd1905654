/* aops_export.c - records from topics: training examples that share nothing with benchmarks, split by time; and a benchmark whose labels
 * two models and the forum agree upon. */
#include "tune/aops.h"

#include <string.h>

bool aops_put(az_ctx *az, FILE *out, json_t *object)
{
    const bool good = object && json_dumpf(object, out, JSON_COMPACT | JSON_PRESERVE_ORDER) == 0 && fputc('\n', out) != EOF;
    json_decref(object);
    return good || az_fail(az, AZ_IO, "a line cannot be written");
}

bool aops_add_files(az_ctx *az, az_overlap *overlap, const char *files)
{
    while (*files) {
        const int length = (int)strcspn(files, ",");
        const char *path = az_format_text(az, "%.*s", length, files);
        const az_json_lines *lines = az_json_lines_read(az, path, NULL, false);
        if (!lines) return false;
        for (int64_t i = 0; i < lines->count; i++) {
            const char *text = az_json_line_text(&lines->item[i], "question");
            if (!text) text = az_json_line_text(&lines->item[i], "problem");
            if (!text) text = az_json_line_text(&lines->item[i], "text");
            if (!text)
                return az_fail(az, AZ_BAD_INPUT, "'%s', line %lld has no \"question\", \"problem\" or \"text\"", path,
                               (long long)lines->item[i].number);
            if (!az_overlap_add(overlap, path, text)) return false;
        }
        files += length + (files[length] == ',');
    }
    return true;
}

/* ---- what a topic is ---- */

static bool is_proof(const aops_topic *topic)
{
    if (strcasestr(topic->question, "prove ") || strcasestr(topic->question, "show that")) return true;
    for (int i = 0; i < topic->solutions; i++)
        if (topic->answer[i] && (strcasestr(topic->answer[i], "qed") || strcasestr(topic->answer[i], "q.e.d."))) return true;
    return false;
}

static const char *content_of(az_ctx *az, const aops_topic *topic)
{
    return az_format_text(az, "%s\n%s", topic->question, topic->post[0].text);
}

static json_t *answer_line(az_ctx *az, const aops_topic *topic, int solution, int64_t month)
{
    const char *boxed = az_find_boxed(az, topic->answer[solution], true);
    json_t *line = json_pack("{s:[{s:s, s:s}, {s:s, s:s}], s:s, s:I, s:i, s:i, s:b, s:b}", "messages", "role", "user", "content",
                             topic->question, "role", "assistant", "content", topic->answer[solution], "topic_id", topic->id, "post_number",
                             (json_int_t)topic->post[topic->solution[solution]].number, "year", (int)(month / 12), "month",
                             (int)(month % 12 + 1), "is_proof", is_proof(topic), "is_boxed", boxed != NULL);
    if (boxed) {
        const char *normal = az_answer_normal(az, boxed);
        json_object_set_new(line, "answer", json_string(boxed));
        json_object_set_new(line, "answer_type", json_string(az_answer_kind_name(az_answer_kind_of(normal ? normal : boxed))));
    }
    return line;
}

/* ---- the training set ---- */

enum { TRAIN, VALID, TEST, SPLITS };
static const char *const split_names[SPLITS] = {"train", "val", "test"};

typedef struct export
{
    az_out *split[SPLITS], *excluded;
    int64_t count[SPLITS], excluded_count, undated;
    int64_t cutoff;
    az_overlap *overlap; /* benchmarks, and the topics of the test split */
}
export;

static int split_of(const export *e, const aops_options *options, int64_t month)
{
    if (month < e->cutoff) return TRAIN;
    return month < e->cutoff + options->window ? VALID : TEST;
}

static bool exclude(aops_run *run, export *e, const aops_topic *topic, const char *reason, const az_overlap_hit *hit)
{
    e->excluded_count++;
    json_t *line = json_pack("{s:s, s:s}", "topic_id", topic->id, "reason", reason);
    if (hit) json_object_set_new(line, "source", json_string(hit->source));
    if (hit) json_object_set_new(line, "shared", json_string(hit->shared));
    return aops_put(run->az, az_out_stream(e->excluded), line);
}

static bool export_topic(aops_run *run, export *e, const aops_topic *topic)
{
    az_ctx *az = run->az;
    az_overlap_hit hit;
    const int64_t month = aops_month_of(topic);
    if (month < 0) {
        e->undated++;
        return exclude(run, e, topic, "the time is not known", NULL);
    }
    const int split = split_of(e, run->options, month);
    const char *content = content_of(az, topic);
    if (split != TEST && content && az_overlap_find(e->overlap, content, &hit))
        return exclude(run, e, topic, hit.whole ? "holds a benchmark's question" : "shares words with a benchmark's question", &hit);
    for (int i = 0; i < topic->solutions && az_ok(az); i++) {
        const char *answer = topic->answer[i];
        if (!answer || (run->options->drop_links && (strstr(answer, "http://") || strstr(answer, "https://")))) continue;
        e->count[split]++;
        if (!aops_put(az, az_out_stream(e->split[split]), answer_line(az, topic, i, month))) return false;
    }
    return az_ok(az);
}

static bool fill_overlap(aops_run *run, export *e)
{
    for (int64_t i = 0; i < run->forum->count; i++) {
        const aops_topic *topic = &run->forum->topic[i];
        const int64_t month = aops_month_of(topic);
        const bool test = topic->question && month >= 0 && split_of(e, run->options, month) == TEST;
        if (test && !az_overlap_add(e->overlap, az_format_text(run->az, "topic %s", topic->id), topic->question)) return false;
    }
    return aops_add_files(run->az, e->overlap, run->options->benchmarks);
}

static bool write_export(aops_run *run, export *e)
{
    az_ctx *az = run->az;
    for (int s = 0; s < SPLITS; s++) e->split[s] = az_create(az, az_format_text(az, "%s/%s.jsonl", run->job->folder, split_names[s]));
    e->excluded = az_create(az, az_format_text(az, "%s/excluded.jsonl", run->job->folder));
    for (int64_t i = 0; az_ok(az) && i < run->forum->count; i++) {
        az_scope_push(az);
        if (run->forum->topic[i].question) export_topic(run, e, &run->forum->topic[i]);
        az_scope_pop(az);
        if (!az_progress(az, "export", i + 1, run->forum->count, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    for (int s = 0; s < SPLITS; s++) az_commit(e->split[s]);
    return az_commit(e->excluded) && az_ok(az);
}

bool aops_export(aops_run *run)
{
    az_ctx *az = run->az;
    export e = {.cutoff = aops_month(az, run->options->cutoff, -1), .overlap = az_overlap_new(az, (int)run->options->ngram_train)};
    if (!az_ok(az) || !fill_overlap(run, &e) || !write_export(run, &e)) return false;
    az_report_row(run->job->report, "export");
    for (int s = 0; s < SPLITS; s++) az_report_count(run->job->report, split_names[s], e.count[s]);
    az_report_count(run->job->report, "excluded_topics", e.excluded_count);
    az_report_count(run->job->report, "undated", e.undated);
    return true;
}

/* ---- labels ---- */

/* The boxed answer of any of the original posts. */
static const char *original_answer(az_ctx *az, const aops_topic *topic)
{
    for (int i = 0; i < topic->posts; i++) {
        const char *boxed = az_find_boxed(az, topic->post[i].text, true);
        if (boxed) return boxed;
    }
    return NULL;
}

static bool agrees(az_ctx *az, const char *a, const char *b)
{
    return az_answers_equal(az, a, b) || strstr(a, b) || strstr(b, a);
}

typedef struct ballot {
    const char **label; /* [n] different answers */
    int *votes;
    int n;
} ballot;

static void vote(az_ctx *az, ballot *b, const char *label)
{
    int i = 0;
    while (i < b->n && !az_answers_equal(az, b->label[i], label)) i++;
    if (i == b->n) b->label[b->n++] = label;
    b->votes[i]++;
}

/* The answer with most votes; NULL at a tie. */
static const char *winner(const ballot *b, const char **why)
{
    int best = -1;
    bool tie = false;
    for (int i = 0; i < b->n; i++) {
        if (best >= 0 && b->votes[i] == b->votes[best]) tie = true;
        if (best < 0 || b->votes[i] > b->votes[best]) best = i, tie = false;
    }
    *why = b->n == 0 ? "the models agree on no answer" : tie ? "answers have equally many votes" : NULL;
    return *why ? NULL : b->label[best];
}

const char *aops_vote(az_ctx *az, const aops_topic *topic, const char **why)
{
    const char *original = original_answer(az, topic);
    ballot b = {.label = az_alloc_array(az, (size_t)topic->solutions + 1, sizeof *b.label),
                .votes = az_alloc_array(az, (size_t)topic->solutions + 1, sizeof *b.votes)};
    if (!b.label || !b.votes) return NULL;
    for (int i = 0; i < topic->solutions; i++) {
        const char *first = topic->answer[i] ? az_find_boxed(az, topic->answer[i], true) : NULL;
        const char *second = topic->second[i] ? az_find_boxed(az, topic->second[i], true) : NULL;
        *why = "a rewritten answer differs from the original one";
        if (original && ((first && !agrees(az, first, original)) || (second && !agrees(az, second, original)))) return NULL;
        if (first && second && az_answers_equal(az, first, second)) vote(az, &b, first);
    }
    *why = NULL;
    const char *label = original ? original : winner(&b, why);
    if (label && strstr(label, "\\text{")) *why = "the answer is a text", label = NULL;
    return label;
}

/* ---- the benchmark ---- */

/* Why a question is no item of a benchmark; NULL when it may be one. */
static const char *unfit(az_ctx *az, const aops_run *run, const aops_topic *topic, az_overlap *overlap)
{
    const char *q = topic->question, *original = topic->post[0].text;
    int marks = 0;
    for (const char *c = q; *c; c++) marks += *c == '?';
    if (is_proof(topic)) return "asks for a proof";
    if (strcasestr(original, "figure ") || strcasestr(original, "diagram ")) return "needs a figure";
    if (marks > 2 || strncmp(q, "1.", 2) == 0 || strncmp(q, "(a", 2) == 0) return "has several parts";
    if (*run->options->references && az_overlap_find(overlap, content_of(az, topic), NULL)) return "overlaps with a reference set";
    return NULL;
}

static json_t *bench_line(az_ctx *az, const aops_topic *topic, const char *label, int64_t month)
{
    const char *normal = az_answer_normal(az, label);
    const az_answer_kind kind = az_answer_kind_of(normal ? normal : label);
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:i, s:i}", "id", topic->id, "question", topic->question, "answer", label, "answer_type",
                     az_answer_kind_name(kind), "zero_or_one", normal && (strcmp(normal, "0") == 0 || strcmp(normal, "1") == 0), "year",
                     (int)(month / 12), "month", (int)(month % 12 + 1));
}

static bool write_bench(aops_run *run, az_overlap *overlap, int64_t *kept, int64_t *dropped)
{
    az_ctx *az = run->az;
    az_out *bench = az_create(az, az_format_text(az, "%s/bench.jsonl", run->job->folder));
    az_out *rejected = az_create(az, az_format_text(az, "%s/bench-excluded.jsonl", run->job->folder));
    for (int64_t i = 0; az_ok(az) && i < run->forum->count; i++) {
        const aops_topic *topic = &run->forum->topic[i];
        const int64_t month = aops_month_of(topic);
        if (!topic->question || month < 0) continue;
        az_scope_push(az);
        const char *why = unfit(az, run, topic, overlap), *label = why ? NULL : aops_vote(az, topic, &why);
        ++*(label ? kept : dropped);
        if (label)
            aops_put(az, az_out_stream(bench), bench_line(az, topic, label, month));
        else
            aops_put(az, az_out_stream(rejected), json_pack("{s:s, s:s?}", "topic_id", topic->id, "reason", why));
        az_scope_pop(az);
    }
    return az_commit(bench) && az_commit(rejected);
}

bool aops_bench(aops_run *run)
{
    az_overlap *overlap = az_overlap_new(run->az, (int)run->options->ngram_bench);
    int64_t kept = 0, dropped = 0;
    if (!overlap || !aops_add_files(run->az, overlap, run->options->references) || !write_bench(run, overlap, &kept, &dropped))
        return false;
    az_report_row(run->job->report, "benchmark");
    az_report_count(run->job->report, "items", kept);
    az_report_count(run->job->report, "rejected", dropped);
    return true;
}
