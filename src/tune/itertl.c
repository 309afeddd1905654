/* itertl.c - ITERTL (arXiv 2407.12022): a model of code learns from programs that it wrote itself and that a checker ranked, round after
 * round, so that the ranked texts are always those it would write now.
 *
 * Round t: K candidates for each instruction are sampled from the present model, checked and scored (R in [-1, 1]); with the reference,
 * whose score is 1, they are a group. With p_i = log pi(y_i | x) / |y_i|^beta and s = softmax(p) over the group, L = NLL(reference) /
 * |reference| + lambda sum over R_j - R_i > gap of max(0, margin - (s_j - s_i)), and one round through the groups takes a step for each
 * batch of them (or as many steps as are asked for). Where examples are kept for measuring, the best round's adapter is the result. */
#include "tune/itertl.h"

#include "tune/contrast.h"
#include "tune/tune_internal.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const checkers[] = {[ITERTL_IVERILOG] = "iverilog", [ITERTL_STACK] = "stack", [ITERTL_COMMAND] = "command", NULL};
static const char *const norms[] = {[ITERTL_RESPONSE] = "response", [ITERTL_ALL] = "all", NULL};
static const char *const combinations[] = {[ITERTL_ADD] = "add", [ITERTL_MULTIPLY] = "multiply", NULL};

const az_option itertl_option_table[] = {
    {"rounds", AZ_FIELD(AZ_INT, itertl_options, rounds), "3", 1, 1000, NULL, "rounds of sampling and training"},
    {"samples", AZ_FIELD(AZ_INT, itertl_options, samples), "3", 1, 1000, NULL, "programs for each instruction"},
    {"temperature", AZ_FIELD(AZ_REAL, itertl_options, temperature), "0.8", 0, 100, NULL, "of sampling"},
    {"top_p", AZ_FIELD(AZ_REAL, itertl_options, top_p), "0.95", 0, 1, NULL, "of sampling: mass of the tokens that are kept"},
    {"max_new", AZ_FIELD(AZ_INT, itertl_options, max_new), "1024", 1, 1 << 20, NULL, "tokens of a program, at most"},
    {"lambda", AZ_FIELD(AZ_REAL, itertl_options, lambda), "1", 0, 1e6, NULL, "weight of the ranking; 0 = learn the references alone"},
    {"gap", AZ_FIELD(AZ_REAL, itertl_options, gap), "0.2", 0, 2, NULL, "difference of scores beyond which two programs are ranked"},
    {"worst", AZ_FIELD(AZ_REAL, itertl_options, worst), "-1", -1, 0, NULL, "score of a program that does not compile"},
    {"margin", AZ_FIELD(AZ_REAL, itertl_options, margin), "0.3", 0, 1, NULL, "by which the better one's share is to lead"},
    {"beta", AZ_FIELD(AZ_REAL, itertl_options, beta), "1", 0, 2, NULL, "power of the length that a log-likelihood is divided by"},
    {"norm", AZ_FIELD(AZ_CHOICE, itertl_options, norm), "response", 0, 0, norms,
     "that length: of the program, or of the instruction as well (all), as in the training script of RTLCoder"},
    {"combine", AZ_FIELD(AZ_CHOICE, itertl_options, combine), "add", 0, 0, combinations,
     "the two parts of the loss: a sum, or (1 + lambda rank) mle"},
    {"checker", AZ_FIELD(AZ_CHOICE, itertl_options, checker), "iverilog", 0, 0, checkers,
     "who judges; stack is a small language of adze's own"},
    {"command", AZ_FIELD(AZ_TEXT, itertl_options, command), "", 0, 0, NULL,
     "checker=command: what to run in a folder with the files candidate, task and test"},
    {"script", AZ_FIELD(AZ_TEXT, itertl_options, script), "", 0, 0, NULL, "a file to lay beside them"},
    {"seconds", AZ_FIELD(AZ_REAL, itertl_options, seconds), "10", 0.1, 86400, NULL, "for one program"},
    {"memory", AZ_FIELD(AZ_INT, itertl_options, memory), "512", 1, 1 << 20, NULL, "MiB for one program"},
    {"self_contained", AZ_FIELD(AZ_BOOL, itertl_options, self_contained), "true", 0, 0, NULL,
     "leave references out that do not compile alone"},
    {"falls", AZ_FIELD(AZ_INT, itertl_options, falls), "2", 0, 1000, NULL,
     "end after so many rounds in a row whose programs for the examples kept for measuring are worse, and go back to the best round; 0 = "
     "never"},
    {"restart", AZ_FIELD(AZ_BOOL, itertl_options, restart), "false", 0, 0, NULL,
     "each round trains the first model on the newest programs"},
    {"rank", AZ_FIELD(AZ_INT, itertl_options, rank), "16", 1, 1 << 16, NULL, "rank of the adapter"},
    {"alpha", AZ_FIELD(AZ_REAL, itertl_options, alpha), "32", 0, 1e9, NULL, "the adapter's change is scaled by alpha / rank"},
    {"targets", AZ_FIELD(AZ_TEXT, itertl_options, targets), "all-linear", 0, 0, NULL, "layers, as of lora"},
    {"folder", AZ_FIELD(AZ_TEXT, itertl_options, folder), "", 0, 0, NULL,
     "keeps each round's programs, candidates-1.jsonl ..., so that the same command goes on; without it the folder of --resume"},
    {"k", AZ_FIELD(AZ_TEXT, itertl_options, ks), "1", 0, 0, NULL, "adze prepare: the k of pass@k, such as \"1,5,10\""},
    {.name = NULL},
};

extern const az_method az_itertl;

typedef struct itertl_run {
    az_tuning tuning; /* first: plan.user */
    const itertl_options *options;
    itertl_references train, valid;
    int round;
    /* the round's texts: group g is first[g] .. first[g + 1] - 1 */
    az_lm_examples *texts;
    int64_t *first, groups;
    double *score; /* [texts] */
    int64_t pairs, active;
    double *number, *compile, *right, *valid_score; /* [rounds] of each round: for the curves */
    az_lm_examples first_candidates;                /* of the first round */
    double loss_of_first, loss_of_own;
    /* with examples kept for measuring: the adapter of the round with the best score, and rounds in a row that lost score */
    az_adapter *best;
    int best_round, falls;
} itertl_run;

/* ---- groups ---- */

/* Groups as tokens; those whose reference is too long fall out. */
static bool form_groups(az_ctx *az, itertl_run *run, const itertl_programs *programs)
{
    const az_lm_example_options how = {.length = run->tuning.settings.length};
    run->texts = az_lm_examples_of(az, run->tuning.job->lm, &programs->text, &how);
    run->first = az_alloc_array(az, (size_t)run->train.count + 1, sizeof *run->first);
    run->score = az_alloc_array(az, (size_t)programs->text.count, sizeof *run->score);
    if (!run->texts || !run->first || !run->score) return false;
    int64_t kept = 0, at = 0;
    run->groups = 0;
    for (int64_t g = 0; g < run->train.count; g++) {
        const int64_t begin = kept, end = programs->begins[g + 1];
        for (; at < run->texts->count && run->texts->item[at].source < end; at++) {
            run->score[kept] = programs->score[run->texts->item[at].source];
            run->texts->item[kept++] = run->texts->item[at];
        }
        const bool whole = kept > begin && run->texts->item[kept - 1].source == end - 1;
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
    double loss = 0, *length = malloc(3 * (size_t)n * sizeof *length);
    if (!length) return NAN;
    double *score = length + n, *divisor = score + n;
    for (int i = 0; i < n; i++) {
        length[i] = (double)run->texts->item[which[i]].counted;
        divisor[i] = run->options->norm == ITERTL_ALL ? (double)run->texts->item[which[i]].n + 1 : length[i];
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
        const itertl_group group = {.n = size, .nll = nll + i, .length = length + i, .score = score + i, .divisor = divisor + i};
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

/* ---- rounds ---- */

static void report_round(const itertl_run *run, const itertl_programs *programs)
{
    const int at = run->round - 1;
    run->number[at] = run->round;
    run->compile[at] = (double)programs->compiled / (double)programs->sampled;
    run->right[at] = (double)programs->right / (double)programs->sampled;
    az_report *report = run->tuning.job->report;
    az_report_row(report, "rounds");
    az_report_count(report, "round", run->round);
    az_report_count(report, "programs", programs->sampled);
    az_report_number(report, "compile", run->compile[at], "");
    az_report_number(report, "right", run->right[at], "");
    az_report_count(report, "groups", run->groups);
    az_report_number(report, "active_pairs", run->pairs ? (double)run->active / (double)run->pairs : NAN, "");
    az_report_number(report, "loss_of_first", run->loss_of_first, "nat");
    az_report_number(report, "loss_of_own", run->loss_of_own, "nat");
    if (run->valid.count > 0) az_report_number(report, "valid_score", run->valid_score[at], "");
}

/* The round's programs so far; NULL without a folder, and with an error. */
static az_journal *open_candidates(az_ctx *az, const itertl_run *run)
{
    itertl_options what = *run->options; /* of the run, wherever it is kept and however long it goes on */
    what.folder = what.ks = "";
    what.rounds = 1;
    what.falls = 0;
    if (!*run->options->folder) return NULL;
    const char *identity = az_tuning_plan(az, &run->tuning, NULL, 0, az_method_text(az, &az_itertl, &what)).identity;
    az_journal *journal = az_journal_open(az, az_format_text(az, "%s/candidates-%d.jsonl", run->options->folder, run->round), "id");
    return az_journal_about(journal, az_format_text(az, "%s model=%s", identity, run->tuning.job->model)) ? journal : NULL;
}

static az_backend *present_model(az_ctx *az, const itertl_run *run)
{
    return az_backend_of_model(az, run->tuning.job->lm, "raw", NULL, &(az_backend_settings){.adapter = run->tuning.adapter});
}

/* The round's texts without their references. */
static az_lm_examples candidates_of(az_ctx *az, const itertl_run *run)
{
    az_lm_examples out = {.item = az_alloc_array(az, (size_t)run->texts->count, sizeof *out.item)};
    for (int64_t g = 0; out.item && g < run->groups; g++)
        for (int64_t t = run->first[g]; t < run->first[g + 1] - 1; t++) {
            out.item[out.count++] = run->texts->item[t];
            out.counted += run->texts->item[t].counted;
        }
    return out;
}

/* How likely the present model finds the first round's programs and those of its own, nats per token: ranking programs that the model would
 * not write any more is what the rounds avoid. */
static void look_back(az_ctx *az, itertl_run *run)
{
    const az_lm_run with = {.adapter = (const az_adapter *const *)&run->tuning.adapter, .adapters = 1};
    const az_lm_examples own = candidates_of(az, run);
    if (run->round == 1) run->first_candidates = own;
    const az_lm_examples *first = &run->first_candidates;
    run->loss_of_own = own.count > 0 ? az_lm_examples_loss(az, run->tuning.job->lm, &own, &with, NULL) : NAN;
    run->loss_of_first = run->loss_of_own;
    if (run->round > 1) run->loss_of_first = first->count > 0 ? az_lm_examples_loss(az, run->tuning.job->lm, first, &with, NULL) : NAN;
}

/* Measures the round on the examples kept for that, and keeps its adapter if it is the best so far. */
static bool validate(az_ctx *az, itertl_run *run)
{
    const int at = run->round - 1;
    az_backend *model = present_model(az, run);
    run->valid_score[at] = model ? itertl_greedy_score(az, run->options, &run->valid, model) : NAN;
    if (!az_ok(az)) return false;
    run->falls = at > 0 && run->valid_score[at] < run->valid_score[at - 1] ? run->falls + 1 : 0;
    if (run->best_round > 0 && run->valid_score[at] <= run->valid_score[run->best_round - 1]) return true;
    run->best_round = run->round;
    az_lm_parameter *from, *to;
    const int n = az_adapter_parameters(az, run->tuning.adapter, &from);
    if (az_adapter_parameters(az, run->best, &to) != n) return false;
    for (int i = 0; i < n; i++) az_copy_into(az, *to[i].slot, *from[i].slot);
    return az_ok(az);
}

static bool play_round(az_ctx *az, itertl_run *run)
{
    const itertl_sampling how = {.options = run->options,
                                 .references = &run->train,
                                 .model = present_model(az, run),
                                 .journal = open_candidates(az, run),
                                 .seed = run->tuning.settings.seed,
                                 .round = run->round};
    itertl_programs programs;
    if (!how.model || !az_ok(az) || !itertl_sample(az, &how, &programs) || !form_groups(az, run, &programs)) return false;
    look_back(az, run);
    if (run->options->restart && run->round > 1) {
        az_adapter_free(az, run->tuning.adapter);
        run->tuning.adapter = run->tuning.job->adapter = new_adapter(az, run);
    }
    run->pairs = run->active = 0;
    if (!run->tuning.adapter || !train_round(az, run) || (run->valid.count > 0 && !validate(az, run))) return false;
    report_round(run, &programs);
    return az_ok(az);
}

/* Rounds until the last, or until the programs have become worse too often. */
static bool play(az_ctx *az, itertl_run *run)
{
    const itertl_options *o = run->options;
    for (run->round = 1; run->round <= o->rounds; run->round++) {
        const bool passing = run->round > 1; /* the first round's programs are looked back on */
        if (passing) az_scope_push(az);
        const bool good = play_round(az, run);
        if (passing) az_scope_pop(az);
        if (!good) return false;
        if (o->falls > 0 && run->falls >= o->falls) break;
    }
    const int played = run->round <= o->rounds ? run->round : (int)o->rounds;
    az_report *report = run->tuning.job->report;
    az_report_curve(report, "programs that compile", "round", "share", played, run->number, run->compile);
    az_report_curve(report, "programs that are right", "round", "share", played, run->number, run->right);
    if (run->valid.count > 0) az_report_curve(report, "score of greedy programs", "round", "score", played, run->number, run->valid_score);
    return true;
}

/* The best round's adapter in the place of the last one's. */
static void keep_best(az_ctx *az, itertl_run *run)
{
    az_adapter *other = run->tuning.adapter;
    if (az_ok(az)) {
        run->tuning.job->adapter = run->best;
        az_report_row(run->tuning.job->report, "result");
        az_report_count(run->tuning.job->report, "best_round", run->best_round);
    } else {
        other = run->best;
    }
    az_adapter_free(az, other);
}

static bool tune(az_ctx *az, const void *settings, az_tune_job *job)
{
    itertl_options own = *(const itertl_options *)settings;
    const char *resume = job->settings->training.resume;
    itertl_run run = {.options = &own};
    if (!*own.folder && resume) own.folder = resume; /* what is kept of a run is its programs */
    if (!itertl_check_ready(az, run.options) || !az_tuning_begin(az, job, 0, &run.tuning)) return false;
    if (*run.options->folder && !az_make_folder(az, run.options->folder)) return false;
    if (!itertl_read_references(az, &own, job->train, &run.train)) return false;
    if (run.train.count == 0) return az_fail(az, AZ_BAD_INPUT, "itertl: no reference compiles by itself; self_contained=false keeps them");
    if (job->valid && job->valid->count > 0 && !itertl_read_references(az, &own, job->valid, &run.valid)) return false;
    const int64_t left_out = run.train.left_out + run.valid.left_out;
    if (left_out > 0) az_note(az, "%lld references do not compile by themselves and are left out", (long long)left_out);
    run.tuning.adapter = job->adapter = new_adapter(az, &run);
    run.number = az_alloc_array(az, 4 * (size_t)own.rounds, sizeof *run.number);
    if (!run.number || !run.tuning.adapter) return false;
    run.compile = run.number + own.rounds;
    run.right = run.compile + own.rounds;
    run.valid_score = run.right + own.rounds;
    if (run.valid.count > 0 && !(run.best = new_adapter(az, &run))) return false;
    const bool good = play(az, &run);
    if (run.best) keep_best(az, &run);
    return good && az_ok(az);
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
        "lambda=0 plain fine-tuning. The examples of --valid, or the share kept from training, are answered after each round; the result "
        "is the round whose programs score best, and falls=2 ends the run early. A test bench prints \"Mismatches: M in N samples\".\n"
        "adze prepare TASKS.jsonl itertl:samples=20,k=\"1,5,10\",temperature=0.2 --backend SPEC -o DIR/ measures pass@k on {\"task_id\", "
        "\"prompt\", \"test\"}.",
    .example = "adze tune tales itertl:checker=stack,rounds=1,samples=2,max_new=8 -d programs.jsonl -o adapter/ --epochs 2 --lr 1e-3",
    .options = itertl_option_table,
    .options_size = sizeof(itertl_options),
    .needs_data = true,
    .tune = tune,
    .prepare = prepare,
};
