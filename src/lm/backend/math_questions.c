/* math_questions.c - how many mathematical questions a model answers rightly, and whether fewer of the newer ones. */
#include "base/json.h"
#include "lm/backend/backend_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 64, KINDS = 4 };

/* ---- asking ---- */

az_messages *az_math_prompt(az_ctx *az, const char *template, const char *question)
{
    json_t *variables = az_json_keep(az, json_pack("{s:s}", "question", question));
    const char *text = variables ? az_json_dump(az, variables) : NULL;
    return text ? az_template_fill_again(az, template ? template : az_template_builtin("math"), text) : NULL;
}

static az_request request_of(az_ctx *az, const az_json_line *line, const az_math_how *how)
{
    const az_messages *messages = az_math_prompt(az, how->template, az_json_line_text(line, "question"));
    if (!messages) return (az_request){0};
    return (az_request){
        .operation = AZ_CHAT, .message = messages->item, .messages = messages->n, .max_tokens = how->max_tokens, .stage = "math"};
}

static json_t *usage_of(const az_backend *backend, const az_answer *answer)
{
    const double cost = az_backend_cost(backend, answer->prompt_tokens, answer->completion_tokens);
    return json_pack("{s:I, s:I, s:o}", "prompt_tokens", (json_int_t)answer->prompt_tokens, "completion_tokens",
                     (json_int_t)answer->completion_tokens, "cost", az_number_json(cost));
}

/* The question's line with what was answered, and the key of the request. */
static json_t *judge(const az_backend *backend, const az_json_line *line, const az_reply *reply)
{
    az_ctx *az = backend->az;
    const az_answer *answer = &reply->sample[0];
    json_t *out = json_deep_copy(line->object);
    json_object_set_new(out, "calls", json_pack("[s]", reply->key));
    json_object_set_new(out, "usage", usage_of(backend, answer));
    if (answer->failure) {
        json_object_set_new(out, "ok", json_false());
        json_object_set_new(out, "error", json_string(answer->failure));
        return out;
    }
    const char *found = az_find_boxed(az, answer->text, true);
    if (!found) found = az_find_number(az, answer->text);
    json_object_set_new(out, "ok", json_true());
    json_object_set_new(out, "prediction", found ? json_string(found) : json_null());
    json_object_set_new(out, "correct", json_boolean(found && az_answers_equal(az, found, az_json_line_text(line, "answer"))));
    return out;
}

static bool ask_chunk(az_backend *backend, const az_json_line *const *line, int n, const az_math_how *how, az_journal *journal)
{
    az_request request[CHUNK] = {0};
    az_reply reply[CHUNK] = {0};
    for (int i = 0; i < n; i++) request[i] = request_of(backend->az, line[i], how);
    if (!az_ok(backend->az) || !az_backend_ask_all(backend, request, n, reply)) return false;
    for (int i = 0; i < n; i++)
        if (!az_journal_add(journal, judge(backend, line[i], &reply[i]))) return false;
    return true;
}

static bool check_questions(az_ctx *az, const az_json_lines *lines)
{
    for (int64_t i = 0; i < lines->count; i++)
        if (!az_json_line_text(&lines->item[i], "question") || !az_json_line_text(&lines->item[i], "answer"))
            return az_fail(az, AZ_BAD_INPUT, "'%s', line %lld has no \"question\" or no \"answer\"", lines->path,
                           (long long)lines->item[i].number);
    return true;
}

static bool ask_questions(az_backend *backend, const az_json_lines *lines, const az_math_how *how, az_journal *journal)
{
    az_ctx *az = backend->az;
    for (int64_t at = 0; at < lines->count;) {
        const az_json_line *open[CHUNK];
        int n = 0;
        for (; at < lines->count && n < CHUNK; at++) {
            const az_json_line *line = &lines->item[at];
            if (!az_journal_same(journal, line->id, "question", az_json_line_text(line, "question"))) return false;
            if (!az_journal_find(journal, line->id)) open[n++] = line;
        }
        az_scope_push(az);
        const bool good = n == 0 || ask_chunk(backend, open, n, how, journal);
        az_scope_pop(az);
        if (!good) return false;
        if (!az_progress(az, "questions", at, lines->count, NULL))
            return az_fail(az, AZ_INTERRUPTED, "interrupted; the same command goes on from there");
    }
    return az_journal_finish(journal, lines);
}

/* ---- accuracy ---- */

typedef struct tally {
    int64_t right, all;
} tally;

static void report_share(az_report *report, const tally *t)
{
    const az_estimate share = az_share_estimate(t->right, t->all, 0.95);
    az_report_count(report, "questions", t->all);
    az_report_count(report, "correct", t->right);
    az_report_number(report, "accuracy", share.value, "");
    az_report_number(report, "low", share.low, "");
    az_report_number(report, "high", share.high, "");
}

static int kind_of(const json_t *line)
{
    const char *name = json_string_value(json_object_get(line, "answer_type"));
    for (int k = 0; name && k < KINDS; k++)
        if (strcmp(name, az_answer_kind_name((az_answer_kind)k)) == 0) return k;
    return KINDS - 1;
}

bool az_math_evaluate(az_backend *backend, const char *questions, const char *predictions, const az_math_how *how, az_report *report)
{
    if (!backend || !az_backend_need(backend, AZ_CAN_CHAT, "a benchmark of questions")) return false;
    az_ctx *az = backend->az;
    const az_json_lines *lines = az_json_lines_read(az, questions, "id", false);
    if (!lines || !check_questions(az, lines)) return false;
    az_journal *journal = az_journal_open(az, predictions, "id");
    const char *settings = az_format_text(az, "model=%s max_tokens=%lld", az_backend_identity(backend), (long long)how->max_tokens);
    if (how->template) settings = az_format_text(az, "%s template=%s", settings, how->template);
    if (!az_journal_about(journal, settings) || !ask_questions(backend, lines, how, journal)) return false;
    tally all = {0}, by_kind[KINDS] = {{0}};
    int64_t failed = 0;
    for (int64_t i = 0; i < lines->count; i++) {
        const json_t *line = az_journal_find(journal, lines->item[i].id);
        const bool right = json_is_true(json_object_get(line, "correct"));
        failed += !json_is_true(json_object_get(line, "ok"));
        all.all++, all.right += right;
        by_kind[kind_of(line)].all++, by_kind[kind_of(line)].right += right;
    }
    az_report_row(report, "accuracy");
    report_share(report, &all);
    az_report_count(report, "failed", failed);
    for (int k = 0; k < KINDS; k++) {
        if (by_kind[k].all == 0) continue;
        az_report_row(report, "kinds");
        az_report_text(report, "answer_type", az_answer_kind_name((az_answer_kind)k));
        report_share(report, &by_kind[k]);
    }
    return true;
}

/* ---- decay ---- */

typedef struct outcome {
    int64_t month;
    int kind;
    bool right;
} outcome;

static int by_month(const void *a, const void *b)
{
    const outcome *x = a, *y = b;
    return (x->month > y->month) - (x->month < y->month);
}

/* Predictions whose month is known, ascending. */
static outcome *read_outcomes(az_ctx *az, const char *predictions, int64_t *n)
{
    const az_json_lines *lines = az_json_lines_read(az, predictions, "id", false);
    outcome *all = lines ? az_alloc_array(az, (size_t)lines->count, sizeof *all) : NULL;
    for (int64_t i = 0; all && i < lines->count; i++) {
        const json_t *line = lines->item[i].object, *year = json_object_get(line, "year"), *month = json_object_get(line, "month");
        if (!json_is_integer(year) || !json_is_integer(month) || !json_is_boolean(json_object_get(line, "correct"))) continue;
        all[(*n)++] = (outcome){.month = 12 * json_integer_value(year) + json_integer_value(month) - 1,
                                .kind = kind_of(line),
                                .right = json_is_true(json_object_get(line, "correct"))};
    }
    if (all && *n == 0) return az_fail(az, AZ_BAD_INPUT, "'%s' has no line with \"year\", \"month\" and \"correct\"", predictions);
    if (all) qsort(all, (size_t)*n, sizeof *all, by_month);
    return all;
}

static void report_months(az_report *report, const outcome *all, int64_t n)
{
    for (int64_t i = 0; i < n;) {
        tally t = {0};
        const int64_t month = all[i].month;
        for (; i < n && all[i].month == month; i++) t.all++, t.right += all[i].right;
        az_report_row(report, "months");
        az_report_count(report, "year", month / 12);
        az_report_count(report, "month", month % 12 + 1);
        report_share(report, &t);
    }
}

/* The design: 1, month, and an indicator of each kind that occurs but the first. */
static az_tensor *design(az_ctx *az, const outcome *all, int64_t n)
{
    int64_t of_kind[KINDS] = {0};
    int column[KINDS], columns = 2;
    bool first = true;
    for (int64_t i = 0; i < n; i++) of_kind[all[i].kind]++;
    for (int k = 0; k < KINDS; k++) {
        column[k] = of_kind[k] && !first ? columns++ : -1;
        first = first && !of_kind[k];
    }
    az_tensor *x = az_zeros(az, AZ_F64, 2, (int64_t[]){n, columns});
    double *at = az_f64_mut(x);
    for (int64_t i = 0; at && i < n; i++, at += columns) {
        at[0] = 1;
        at[1] = (double)(all[i].month - all[0].month);
        if (column[all[i].kind] >= 0) at[column[all[i].kind]] = 1;
    }
    return x;
}

static bool report_slope(az_ctx *az, const outcome *all, int64_t n, az_report *report)
{
    az_tensor *y = az_zeros(az, AZ_F64, 1, &n);
    for (int64_t i = 0; y && i < n; i++) az_f64_mut(y)[i] = all[i].right;
    const az_regression *r = az_regress(az, design(az, all, n), y, &(az_regression_how){.link = AZ_LINK_LOGIT, .variance = AZ_CLASSICAL});
    az_report_row(report, "slope");
    if (!r) { /* all right, all wrong, one month only, kinds that months separate */
        const char *why = az_strdup(az, az_error(az));
        if (az_status_of(az) != AZ_NUMERIC && az_status_of(az) != AZ_BAD_INPUT) return false;
        az_clear(az);
        az_note(az, "no slope: %s", why ? why : "");
    }
    const double slope = r ? az_item(r->coefficient, 1) : NAN, se = r ? sqrt(az_item(r->covariance, r->p + 1)) : NAN;
    az_report_number(report, "slope", slope, "logit/month");
    az_report_number(report, "se", se, "logit/month");
    az_report_number(report, "p", r ? 2 * az_normal_cdf(-fabs(slope / se)) : NAN, "");
    return true;
}

bool az_math_decay(az_ctx *az, const char *predictions, int64_t month, az_report *report)
{
    int64_t n = 0;
    const outcome *all = read_outcomes(az, predictions, &n);
    if (!all) return false;
    report_months(report, all, n);
    tally part[2] = {{0}};
    for (int64_t i = 0; i < n; i++) part[all[i].month >= month].all++, part[all[i].month >= month].right += all[i].right;
    for (int p = 0; p < 2; p++) {
        az_report_row(report, "cutoff");
        az_report_text(report, "part", p ? "after" : "before");
        report_share(report, &part[p]);
    }
    return report_slope(az, all, n, report);
}
