/* itertl_eval.c - pass@k of a model on tasks with tests: n samples of each are checked. */
#include "tune/itertl.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct task_line {
    const char *id;
    itertl_task task;
} task_line;

static bool read_task(az_ctx *az, const az_json_lines *lines, int64_t i, task_line *out)
{
    const az_json_line *line = &lines->item[i];
    const char *id = az_json_line_text(line, "task_id"), *test = az_json_line_text(line, "test");
    *out = (task_line){.id = id ? id : az_format_text(az, "%lld", (long long)line->number),
                       .task = {.instruction = az_json_line_text(line, "prompt"), .test = test ? test : ""}};
    return out->task.instruction ||
           az_fail(az, AZ_BAD_INPUT, "'%s', line %lld has no text \"prompt\"", lines->path, (long long)line->number);
}

/* A Verilog completion follows the module's header, which the task gives. */
static char *whole_program(az_ctx *az, const itertl_options *o, const task_line *task, const char *reply)
{
    const char *clean = itertl_clean(az, o, reply);
    const bool header = o->checker == ITERTL_IVERILOG && strstr(task->task.instruction, "module ");
    return clean && header && !strstr(clean, "module ") ? az_format_text(az, "%s%s", task->task.instruction, clean) : (char *)clean;
}

static json_t *candidate_line(az_ctx *az, const itertl_options *o, const task_line *task, const az_answer *answer, int sample)
{
    const char *id = az_format_text(az, "%s/%d", task->id, sample);
    if (answer->failure) return json_pack("{s:s, s:b, s:s}", "id", id, "ok", 0, "error", answer->failure);
    const char *program = whole_program(az, o, task, answer->text);
    itertl_verdict verdict;
    if (!program || !itertl_check(az, o, &task->task, program, &verdict)) return NULL;
    return json_pack("{s:s, s:b, s:s, s:s, s:b, s:i, s:i, s:s}", "id", id, "ok", 1, "prompt", task->task.instruction, "text", program,
                     "compiles", verdict.compiles, "passed", verdict.passed, "total", verdict.total, "error", verdict.error);
}

static bool sample_task(az_ctx *az, const itertl_options *o, const az_prepare_job *job, const task_line *task, az_journal *journal)
{
    const bool chat = !(az_backend_capabilities(job->backend) & AZ_CAN_COMPLETE);
    const az_message message = {.role = "user", .text = task->task.instruction};
    const az_request request = {.operation = chat ? AZ_CHAT : AZ_COMPLETE,
                                .message = &message,
                                .messages = chat,
                                .prompt = task->task.instruction,
                                .max_tokens = o->max_new,
                                .temperature = o->temperature,
                                .top_p = o->top_p,
                                .samples = (int)o->samples,
                                .seed = az_call_seed(job->seed, "itertl", task->id, 0),
                                .stage = "sample"};
    const az_reply *reply = NULL;
    for (int s = 0; s < o->samples; s++) {
        const char *id = az_format_text(az, "%s/%d", task->id, s);
        if (!az_journal_same(journal, id, "prompt", task->task.instruction)) return false;
        if (az_journal_find(journal, id)) continue;
        if (!reply) reply = az_backend_ask(job->backend, &request);
        json_t *line = reply ? candidate_line(az, o, task, &reply->sample[s], s) : NULL;
        if (!line || !az_journal_add(journal, line)) return false;
    }
    return true;
}

typedef struct tally {
    int64_t compiled, samples, no_verdict;
    double pass[16];
    int k[16], ks;
} tally;

static bool read_ks(az_ctx *az, const char *text, int n, tally *t)
{
    for (char *end; *text && t->ks < 16; text = end + (*end == ',')) {
        const long k = strtol(text, &end, 10);
        if (end == text || (*end && *end != ',') || k < 1 || k > n)
            return az_fail(az, AZ_BAD_INPUT, "k=%s: a list of numbers from 1 to the number of samples, %d", text, n);
        t->k[t->ks++] = (int)k;
    }
    return t->ks > 0 || az_fail(az, AZ_BAD_INPUT, "k is empty");
}

static void count_task(az_ctx *az, const itertl_options *o, const task_line *task, const az_journal *journal, tally *t)
{
    int right = 0;
    for (int s = 0; s < o->samples; s++) {
        const json_t *line = az_journal_find(journal, az_format_text(az, "%s/%d", task->id, s));
        const int64_t total = json_integer_value(json_object_get(line, "total"));
        t->samples++;
        t->compiled += json_is_true(json_object_get(line, "compiles"));
        t->no_verdict += total == 0;
        right += total > 0 && json_integer_value(json_object_get(line, "passed")) == total;
    }
    for (int i = 0; i < t->ks; i++) t->pass[i] += itertl_pass_at((int)o->samples, right, t->k[i]);
}

static void report_tally(az_report *report, const tally *t, int64_t tasks)
{
    az_report_row(report, "programs");
    az_report_count(report, "tasks", tasks);
    az_report_count(report, "samples", t->samples);
    az_report_number(report, "compile", (double)t->compiled / (double)t->samples, "");
    az_report_count(report, "no_verdict", t->no_verdict);
    for (int i = 0; i < t->ks; i++) {
        az_report_row(report, "pass");
        az_report_count(report, "k", t->k[i]);
        az_report_number(report, "pass_at_k", t->pass[i] / (double)tasks, "");
    }
}

/* All that a program and its verdict depend on, beside the task. */
static const char *programs_text(az_ctx *az, const itertl_options *o, const az_prepare_job *job)
{
    return az_format_text(az, "model=%s seed=%lld temperature=%.17g top_p=%.17g max_new=%lld checker=%d command=%s script=%s",
                          az_backend_identity(job->backend), (long long)job->seed, o->temperature, o->top_p, (long long)o->max_new,
                          o->checker, o->command, o->script);
}

bool itertl_evaluate(az_ctx *az, const itertl_options *o, az_prepare_job *job)
{
    tally t = {0};
    if (!read_ks(az, o->ks, (int)o->samples, &t) || !itertl_check_ready(az, o)) return false;
    const az_json_lines *lines = az_json_lines_read(az, job->input, NULL, false);
    az_journal *journal = lines ? az_journal_open(az, az_format_text(az, "%s/candidates.jsonl", job->folder), "id") : NULL;
    if (!az_journal_about(journal, programs_text(az, o, job))) return false;
    for (int64_t i = 0; i < lines->count; i++) {
        task_line task;
        az_scope_push(az);
        const bool good = read_task(az, lines, i, &task) && sample_task(az, o, job, &task, journal);
        if (good) count_task(az, o, &task, journal, &t);
        az_scope_pop(az);
        if (!good) return false;
        if (!az_progress(az, "sampling", i + 1, lines->count, NULL))
            return az_fail(az, AZ_INTERRUPTED, "interrupted; the same command goes on from there");
    }
    report_tally(job->report, &t, lines->count);
    return true;
}
