/* itertl.c - ITERTL (arXiv 2407.12022): a model of code learns from programs that it wrote itself and that a checker ranked, round after
 * round, so that the ranked texts are always those it would write now.
 *
 * Round t: K candidates for each instruction are sampled from the present model, checked and scored (R in [-1, 1]); with the reference,
 * whose score is 1, they are a group. With p_i = log pi(y_i | x) / |y_i|^beta and s = softmax(p) over the group, L = NLL(reference) /
 * |reference| + lambda sum over R_j - R_i > gap of max(0, margin - (s_j - s_i)), and one round through the groups takes a step for each
 * batch of them (or as many steps as are asked for). */
#include "tune/itertl.h"

#include "tune/contrast.h"
#include "tune/tune_internal.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const checkers[] = {[ITERTL_IVERILOG] = "iverilog", [ITERTL_STACK] = "stack", [ITERTL_COMMAND] = "command", NULL};
static const char *const combinations[] = {[ITERTL_ADD] = "add", [ITERTL_MULTIPLY] = "multiply", NULL};

const az_option itertl_option_table[] = {
    {"rounds", AZ_INT, offsetof(itertl_options, rounds), "3", 1, 1000, NULL, "rounds of sampling and training"},
    {"samples", AZ_INT, offsetof(itertl_options, samples), "3", 1, 1000, NULL, "programs for each instruction"},
    {"temperature", AZ_REAL, offsetof(itertl_options, temperature), "0.8", 0, 100, NULL, "of sampling"},
    {"top_p", AZ_REAL, offsetof(itertl_options, top_p), "0.95", 0, 1, NULL, "of sampling: mass of the tokens that are kept"},
    {"max_new", AZ_INT, offsetof(itertl_options, max_new), "1024", 1, 1 << 20, NULL, "tokens of a program, at most"},
    {"lambda", AZ_REAL, offsetof(itertl_options, lambda), "1", 0, 1e6, NULL, "weight of the ranking; 0 = learn the references alone"},
    {"gap", AZ_REAL, offsetof(itertl_options, gap), "0.2", 0, 2, NULL, "difference of scores beyond which two programs are ranked"},
    {"margin", AZ_REAL, offsetof(itertl_options, margin), "0.3", 0, 1, NULL, "by which the better one's share is to lead"},
    {"beta", AZ_REAL, offsetof(itertl_options, beta), "1", 0, 2, NULL, "power of the length that a log-likelihood is divided by"},
    {"combine", AZ_CHOICE, offsetof(itertl_options, combine), "add", 0, 0, combinations,
     "the two parts of the loss: a sum, or (1 + lambda rank) mle"},
    {"checker", AZ_CHOICE, offsetof(itertl_options, checker), "iverilog", 0, 0, checkers,
     "who judges; stack is a small language of adze's own"},
    {"command", AZ_TEXT, offsetof(itertl_options, command), "", 0, 0, NULL,
     "checker=command: what to run in a folder with the files candidate, task and test"},
    {"script", AZ_TEXT, offsetof(itertl_options, script), "", 0, 0, NULL, "a file to lay beside them"},
    {"seconds", AZ_REAL, offsetof(itertl_options, seconds), "10", 0.1, 86400, NULL, "for one program"},
    {"memory", AZ_INT, offsetof(itertl_options, memory), "512", 1, 1 << 20, NULL, "MiB for one program"},
    {"self_contained", AZ_BOOL, offsetof(itertl_options, self_contained), "true", 0, 0, NULL,
     "leave references out that do not compile alone"},
    {"restart", AZ_BOOL, offsetof(itertl_options, restart), "false", 0, 0, NULL,
     "each round trains the first model on the newest programs"},
    {"rank", AZ_INT, offsetof(itertl_options, rank), "16", 1, 1 << 16, NULL, "rank of the adapter"},
    {"alpha", AZ_REAL, offsetof(itertl_options, alpha), "32", 0, 1e9, NULL, "the adapter's change is scaled by alpha / rank"},
    {"targets", AZ_TEXT, offsetof(itertl_options, targets), "all-linear", 0, 0, NULL, "layers, as of lora"},
    {"folder", AZ_TEXT, offsetof(itertl_options, folder), "", 0, 0, NULL,
     "keeps each round's programs, candidates-1.jsonl ..., so that the same command goes on; without it the folder of --resume"},
    {"k", AZ_TEXT, offsetof(itertl_options, ks), "1", 0, 0, NULL, "adze prepare: the k of pass@k, such as \"1,5,10\""},
    {.name = NULL},
};

extern const az_method az_itertl;

/* A reference with its task. */
typedef struct reference {
    const az_example *example;
    itertl_task task;
    const char *id;
} reference;

typedef struct itertl_run {
    az_tuning tuning; /* first: plan.user */
    const itertl_options *options;
    reference *reference;
    int64_t references, left_out;
    int round;
    /* the round's texts: group g is first[g] .. first[g + 1] - 1 */
    az_lm_examples *texts;
    int64_t *first, groups;
    double *score; /* [texts] */
    int64_t pairs, active;
    double *number, *compile, *right; /* [rounds] of each round: for the curves */
} itertl_run;

/* ---- references ---- */

static bool read_reference(az_ctx *az, const az_example *example, int64_t number, reference *out)
{
    json_t *object = json_loads(example->line, JSON_ALLOW_NUL, NULL);
    const char *test = json_string_value(json_object_get(object, "testbench")), *id = json_string_value(json_object_get(object, "id"));
    *out = (reference){.example = example,
                       .task = {.instruction = example->turn[0].text, .test = test ? az_strdup(az, test) : ""},
                       .id = id ? az_strdup(az, id) : az_format_text(az, "%lld", (long long)number)};
    json_decref(object);
    return example->turns == 2 ||
           az_fail(az, AZ_BAD_INPUT, "itertl: example %lld has no texts \"prompt\" and \"response\"", (long long)number);
}

/* References that compile alone, where that is asked for. */
static bool read_references(az_ctx *az, itertl_run *run, const az_examples *examples)
{
    run->reference = az_alloc_array(az, (size_t)examples->count, sizeof *run->reference);
    for (int64_t i = 0; run->reference && i < examples->count; i++) {
        reference *r = &run->reference[run->references];
        itertl_verdict verdict = {.compiles = true};
        if (!read_reference(az, &examples->item[i], i + 1, r)) return false;
        if (run->options->self_contained && !itertl_check(az, run->options, &r->task, examples->item[i].turn[1].text, &verdict))
            return false;
        run->references += verdict.compiles;
        run->left_out += !verdict.compiles;
        if (!az_progress(az, "checking references", i + 1, examples->count, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    if (run->references == 0) return az_fail(az, AZ_BAD_INPUT, "itertl: no reference compiles by itself; self_contained=false keeps them");
    return az_ok(az);
}

/* ---- sampling ---- */

typedef struct round_sums {
    int64_t programs, compiled, right;
} round_sums;

/* Checks a program and writes it down, unless it was before. */
static const json_t *judge(az_ctx *az, itertl_run *run, const reference *r, const char *text, const char *id, az_journal *journal)
{
    itertl_verdict verdict;
    if (!text || !itertl_check(az, run->options, &r->task, text, &verdict)) return NULL;
    const double score = itertl_score(az, &verdict, text, r->example->turn[1].text);
    json_t *line = json_pack("{s:s, s:b, s:s, s:b, s:i, s:i, s:f, s:s}", "id", id, "ok", 1, "text", text, "compiles", verdict.compiles,
                             "passed", verdict.passed, "total", verdict.total, "score", score, "error", verdict.error);
    if (journal) return az_journal_add(journal, line) ? az_journal_find(journal, id) : NULL;
    if (!az_on_leave(az, (void (*)(void *))json_decref, line)) return NULL;
    return line;
}

/* The round's programs for one reference, by the model as it is. */
static bool sample(az_ctx *az, itertl_run *run, int64_t at, az_backend *model, az_journal *journal, const json_t **line)
{
    const itertl_options *o = run->options;
    const reference *r = &run->reference[at];
    const char *stage = az_format_text(az, "round %d", run->round);
    const az_request request = {.operation = AZ_COMPLETE,
                                .prompt = r->task.instruction,
                                .max_tokens = o->max_new,
                                .temperature = o->temperature,
                                .top_p = o->top_p,
                                .samples = (int)o->samples,
                                .seed = az_call_seed(run->tuning.settings.seed, stage, r->id, 0),
                                .stage = "sample"};
    const az_reply *reply = NULL;
    for (int s = 0; s < o->samples; s++) {
        const char *id = az_format_text(az, "%lld/%d", (long long)at, s);
        line[s] = journal ? az_journal_find(journal, id) : NULL;
        if (line[s]) continue;
        if (!reply) reply = az_backend_ask(model, &request);
        if (!reply) return false;
        const char *text = reply->sample[s].failure ? "" : itertl_clean(az, o, reply->sample[s].text);
        if (!(line[s] = judge(az, run, r, text, id, journal))) return false;
    }
    return true;
}

/* Adds a text of the group unless it is there already. */
static void add_text(az_ctx *az, az_examples *all, int64_t begins, const reference *r, const char *text, double score, double *scores)
{
    for (int64_t i = begins; i < all->count; i++)
        if (strcmp(all->item[i].turn[1].text, text) == 0) return;
    az_turn *turn = az_alloc_array(az, 2, sizeof *turn);
    if (!turn) return;
    turn[0] = r->example->turn[0];
    turn[1] = (az_turn){.role = "response", .text = az_strdup(az, text), .length = strlen(text)};
    scores[all->count] = score;
    all->item[all->count++] = (az_example){.turns = 2, .turn = turn, .line = r->example->line};
}

/* Groups of candidates and, last, their reference; a candidate equal to it is left out. */
static bool gather(az_ctx *az, itertl_run *run, az_backend *model, az_journal *journal, az_examples *all, int64_t *begins, double *scores,
                   round_sums *sums)
{
    const json_t **line = az_alloc_array(az, (size_t)run->options->samples, sizeof *line);
    for (int64_t i = 0; line && i < run->references; i++) {
        const reference *r = &run->reference[i];
        const char *right = r->example->turn[1].text;
        begins[i] = all->count;
        if (!sample(az, run, i, model, journal, line)) return false;
        for (int s = 0; s < run->options->samples; s++) {
            const char *text = json_string_value(json_object_get(line[s], "text"));
            const double score = json_number_value(json_object_get(line[s], "score"));
            sums->programs++;
            sums->compiled += json_is_true(json_object_get(line[s], "compiles"));
            sums->right += score == 1;
            if (text && strcmp(text, right) != 0) add_text(az, all, begins[i], r, text, score, scores);
        }
        add_text(az, all, begins[i], r, right, 1, scores);
        if (!az_progress(az, "sampling", i + 1, run->references, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted while sampling");
    }
    begins[run->references] = all->count;
    return az_ok(az);
}

/* Groups as tokens; those whose reference is too long fall out. */
static bool form_groups(az_ctx *az, itertl_run *run, const az_examples *all, const int64_t *begins, const double *scores)
{
    const az_lm_example_options how = {.length = run->tuning.settings.length};
    run->texts = az_lm_examples_of(az, run->tuning.job->lm, all, &how);
    run->first = az_alloc_array(az, (size_t)run->references + 1, sizeof *run->first);
    run->score = az_alloc_array(az, (size_t)all->count, sizeof *run->score);
    if (!run->texts || !run->first || !run->score) return false;
    int64_t kept = 0, at = 0;
    run->groups = 0;
    for (int64_t g = 0; g < run->references; g++) {
        const int64_t begin = kept;
        for (; at < run->texts->count && run->texts->item[at].source < begins[g + 1]; at++) {
            run->score[kept] = scores[run->texts->item[at].source];
            run->texts->item[kept++] = run->texts->item[at];
        }
        const bool whole = kept > begin && run->texts->item[kept - 1].source == begins[g + 1] - 1;
        if (!whole) kept = begin;
        if (whole) run->first[run->groups++] = begin;
    }
    run->first[run->groups] = kept;
    run->texts->count = kept;
    return run->groups > 0 || az_fail(az, AZ_BAD_INPUT, "itertl: no reference fits into the length");
}

/* ---- training ---- */

static double weigh(const int64_t *which, int n, const double *nll, double *weight, void *user)
{
    itertl_run *run = user;
    double loss = 0, *length = malloc(2 * (size_t)n * sizeof *length);
    if (!length) return NAN;
    double *score = length + n;
    for (int i = 0; i < n; i++) {
        length[i] = (double)run->texts->item[which[i]].counted;
        score[i] = run->score[which[i]];
    }
    for (int i = 0, size; i < n; i += size) {
        int64_t g = 0; /* the group that begins here */
        for (int64_t low = 0, high = run->groups; low < high;) {
            g = (low + high) / 2;
            if (run->first[g] == which[i]) break;
            if (run->first[g] < which[i])
                low = g + 1;
            else
                high = g;
        }
        size = (int)(run->first[g + 1] - run->first[g]);
        const itertl_group group = {.n = size, .nll = nll + i, .length = length + i, .score = score + i};
        loss += itertl_group_loss(run->options, &group, weight + i, &run->pairs, &run->active);
    }
    free(length);
    return loss;
}

/* One step: `batch` groups in each of `accumulate` passes, in an order of the round's own. */
static bool gradient(az_ctx *az, az_lm_fit *fit, az_tensor **out, double *loss)
{
    itertl_run *run = fit->plan->user;
    const az_lm_train_settings *s = fit->plan->settings;
    const az_contrast contrast = {.examples = run->texts, .weigh = weigh, .user = run};
    int64_t *order = az_alloc_array(az, (size_t)run->groups, sizeof *order);
    int64_t *which = az_alloc_array(az, (size_t)run->texts->count * 2 + 1, sizeof *which);
    if (!order || !which) return false;
    for (int64_t g = 0; g < run->groups; g++) order[g] = g;
    az_rng rng = az_rng_at((uint64_t)s->seed, az_stream("order of groups", (uint64_t)run->round));
    az_shuffle(&rng, order, run->groups);
    *loss = 0;
    const int64_t batch = s->batch < run->groups ? s->batch : run->groups;
    for (int64_t k = 0; k < s->accumulate && az_ok(az); k++) {
        const int64_t pass = fit->step * s->accumulate + k;
        int n = 0;
        for (int64_t b = 0; b < batch; b++) {
            const int64_t g = order[(pass * batch + b) % run->groups];
            for (int64_t t = run->first[g]; t < run->first[g + 1]; t++) which[n++] = t;
        }
        const az_contrast_part part = {.which = which, .n = n, .scale = 1.0 / (double)(batch * s->accumulate), .first = k == 0};
        az_contrast_gradient(az, fit, &contrast, &part, out, loss);
    }
    return az_ok(az);
}

static bool train_round(az_ctx *az, itertl_run *run)
{
    az_lm_parameter *parameter;
    const int n = az_adapter_parameters(az, run->tuning.adapter, &parameter);
    az_lm_train_settings settings = run->tuning.settings;
    const int64_t batch = settings.batch < run->groups ? settings.batch : run->groups;
    const double steps = run->tuning.job->settings->epochs * (double)run->groups / (double)(batch * settings.accumulate);
    const int64_t asked = run->tuning.job->settings->training.steps;
    settings.steps = asked > 0 ? asked : steps < 1 ? 1 : (int64_t)ceil(steps - 1e-9);
    settings.resume = NULL; /* a round begins with its samples, which lie in the folder */
    az_lm_fit_plan plan = az_tuning_plan(az, &run->tuning, parameter, n, az_method_text(az, &az_itertl, run->options));
    plan.user = run;
    plan.lesson = NULL;
    plan.gradient = gradient;
    plan.validate = NULL;
    plan.settings = &settings;
    return n > 0 && plan.identity && az_lm_fit_run(az, &plan, run->tuning.job->report);
}

static az_adapter *new_adapter(az_ctx *az, const itertl_run *run)
{
    const az_adapter_how how = {.rank = run->options->rank,
                                .alpha = run->options->alpha,
                                .targets = run->options->targets,
                                .seed = (uint64_t)run->tuning.settings.seed};
    return az_adapter_new(az, run->tuning.job->lm, &how);
}

static void report_round(const itertl_run *run, const round_sums *sums)
{
    run->number[run->round - 1] = run->round;
    run->compile[run->round - 1] = (double)sums->compiled / (double)sums->programs;
    run->right[run->round - 1] = (double)sums->right / (double)sums->programs;
    az_report *report = run->tuning.job->report;
    az_report_row(report, "rounds");
    az_report_count(report, "round", run->round);
    az_report_count(report, "programs", sums->programs);
    az_report_number(report, "compile", run->compile[run->round - 1], "");
    az_report_number(report, "right", run->right[run->round - 1], "");
    az_report_count(report, "groups", run->groups);
    az_report_number(report, "active_pairs", run->pairs ? (double)run->active / (double)run->pairs : NAN, "");
}

/* The round's programs so far; NULL without a folder, and with an error. */
static az_journal *open_candidates(az_ctx *az, const itertl_run *run)
{
    itertl_options what = *run->options; /* of the run, wherever it is kept and however long it goes on */
    what.folder = what.ks = "";
    what.rounds = 1;
    if (!*run->options->folder) return NULL;
    const char *identity = az_tuning_plan(az, &run->tuning, NULL, 0, az_method_text(az, &az_itertl, &what)).identity;
    az_journal *journal = az_journal_open(az, az_format_text(az, "%s/candidates-%d.jsonl", run->options->folder, run->round), "id");
    return az_journal_about(journal, az_format_text(az, "%s model=%s", identity, run->tuning.job->model)) ? journal : NULL;
}

static bool play_round(az_ctx *az, itertl_run *run)
{
    const size_t most = (size_t)(run->references * (run->options->samples + 1));
    az_backend *model = az_backend_of_model(az, run->tuning.job->lm, "raw", NULL, &(az_backend_settings){.adapter = run->tuning.adapter});
    az_journal *journal = open_candidates(az, run);
    az_examples all = {.item = az_alloc_array(az, most, sizeof *all.item), .path = "candidates"};
    int64_t *begins = az_alloc_array(az, (size_t)run->references + 1, sizeof *begins);
    double *scores = az_alloc_array(az, most, sizeof *scores);
    round_sums sums = {0};
    if (!model || !az_ok(az) || !gather(az, run, model, journal, &all, begins, scores, &sums)) return false;
    if (run->options->restart && run->round > 1) {
        az_adapter_free(az, run->tuning.adapter);
        run->tuning.adapter = run->tuning.job->adapter = new_adapter(az, run);
    }
    run->pairs = run->active = 0;
    if (!run->tuning.adapter || !form_groups(az, run, &all, begins, scores) || !train_round(az, run)) return false;
    report_round(run, &sums);
    return az_ok(az);
}

static bool tune(az_ctx *az, const void *settings, az_tune_job *job)
{
    itertl_options own = *(const itertl_options *)settings;
    const char *resume = job->settings->training.resume;
    itertl_run run = {.options = &own};
    if (!*own.folder && resume) own.folder = resume; /* what is kept of a run is its programs */
    if (!itertl_check_ready(az, run.options) || !az_tuning_begin(az, job, 0, &run.tuning)) return false;
    if (*run.options->folder && !az_make_folder(az, run.options->folder)) return false;
    if (!read_references(az, &run, job->train)) return false;
    if (run.left_out > 0) az_note(az, "%lld references do not compile by themselves and are left out", (long long)run.left_out);
    run.tuning.adapter = job->adapter = new_adapter(az, &run);
    run.number = az_alloc_array(az, 3 * (size_t)run.options->rounds, sizeof *run.number);
    if (!run.number) return false;
    run.compile = run.number + run.options->rounds;
    run.right = run.compile + run.options->rounds;
    for (run.round = 1; run.tuning.adapter && run.round <= run.options->rounds; run.round++) {
        az_scope_push(az);
        const bool good = play_round(az, &run);
        az_scope_pop(az);
        if (!good) return false;
    }
    az_report_curve(job->report, "programs that compile", "round", "share", run.options->rounds, run.number, run.compile);
    az_report_curve(job->report, "programs that are right", "round", "share", run.options->rounds, run.number, run.right);
    return az_ok(az);
}

static bool prepare(az_ctx *az, const void *settings, az_prepare_job *job)
{
    return itertl_evaluate(az, settings, job);
}

const az_method az_itertl = {
    .name = "itertl",
    .family = AZ_TUNE,
    .summary = "learn from programs of one's own that a checker ranked, round after round",
    .paper = "ITERTL: An Iterative Framework for Fine-tuning LLMs for RTL Code Generation, arXiv 2407.12022",
    .details =
        "adze tune MODEL itertl:rounds=3 -d references.jsonl -o adapter/ reads {\"prompt\", \"response\", \"testbench\"} (the last may be "
        "missing). Each round samples programs, checks them in a sandbox (Icarus Verilog; a command; or the built-in stack machine), ranks "
        "them with the reference, and trains an adapter to give better programs larger shares. rounds=1 is ranking without iteration, "
        "lambda=0 plain fine-tuning. A test bench prints \"Mismatches: M in N samples\".\n"
        "adze prepare TASKS.jsonl "
        "itertl:samples=20,k=\"1,5,10\",temperature=0.2 --backend SPEC -o DIR/ measures pass@k on {\"task_id\", \"prompt\", \"test\"}.",
    .options = itertl_option_table,
    .options_size = sizeof(itertl_options),
    .needs_data = true,
    .tune = tune,
    .prepare = prepare,
};
