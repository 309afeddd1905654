/* adaptive_analysis.c - a guard between an analyst and a holdout, so that the holdout can be asked many questions that depend on the
 * answers.
 *
 * Problem: S holds n independent draws of P. Questions phi map an example to [0, 1]; the next may depend on all answers so far. Answers a_j
 * shall lie within tau of P phi_j for all m questions with probability 1 - beta. The mean over S fails: a few hundred answers are enough to
 * find a question on which S and P differ much. Mechanisms: thresholdout answers from the training set while it agrees with the holdout up
 * to a noisy threshold, and pays for the others; check confirms a guess, or pays for the mean on a grid; rounds does that with a fresh part
 * of S after each failure; laplace adds noise; pmw learns the histogram of a finite domain; split gives every question rows of its own;
 * naive is the mean, for comparison.
 *
 * Dwork, Feldman, Hardt, Pitassi, Reingold, Roth: "Preserving statistical validity in adaptive data analysis", STOC 2015 (arXiv 1411.2664);
 * "Generalization in adaptive data analysis and holdout reuse" (arXiv 1506.02629); "The reusable holdout", Science 2015. */
#include "estimate/guard.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

typedef enum action { ACTION_PLAN, ACTION_INIT, ACTION_ASK, ACTION_LEDGER } action;

typedef struct guard_options {
    int action, mechanism, noise;
    const char *state, *guess, *clip;
    int64_t queries, budget, levels, domain, rows, train_rows, test_seed;
    double beta, threshold, sigma, theory, scale, theta, alpha, eps, delta;
} guard_options;

static const char *const actions[] = {"plan", "init", "ask", "ledger", NULL};
static const char *const noises[] = {"laplace", "gaussian", NULL};

static const az_option guard_table[] = {
    {"action", AZ_FIELD(AZ_CHOICE, guard_options, action), "plan", 0, 0, actions,
     "plan compares guarantees; init makes a guard, ask asks it, ledger tells its state"},
    {"state", AZ_FIELD(AZ_TEXT, guard_options, state), "", 0, 0, NULL, "the file of the guard"},
    {"mechanism", AZ_FIELD(AZ_CHOICE, guard_options, mechanism), "thresholdout", 0, 0, guard_mechanism_names, "how questions are answered"},
    {"queries", AZ_FIELD(AZ_INT, guard_options, queries), "0", 0, 1e12, NULL, "the most questions that will be asked"},
    {"budget", AZ_FIELD(AZ_INT, guard_options, budget), "50", 1, 1e9, NULL, "answers that may be paid for (thresholdout, check); rounds"},
    {"beta", AZ_FIELD(AZ_REAL, guard_options, beta), "0.05", 1e-12, 0.5, NULL, "chance that any answer is further off than the tolerance"},
    {"threshold", AZ_FIELD(AZ_REAL, guard_options, threshold), "0", 0, 1, NULL, "thresholdout: T; 0 = 4 / sqrt(n)"},
    {"sigma", AZ_FIELD(AZ_REAL, guard_options, sigma), "0", 0, 1, NULL, "thresholdout: rate of the noise; 0 = 1 / sqrt(n)"},
    {"theory", AZ_FIELD(AZ_REAL, guard_options, theory), "0", 0, 1, NULL,
     "thresholdout: T = 3/4 and sigma = 1 / (96 log(4 m / beta)) of this tolerance; 0 = not so"},
    {"noise", AZ_FIELD(AZ_CHOICE, guard_options, noise), "laplace", 0, 0, noises,
     "gaussian: with a threshold drawn for each question, as in Science; no guarantee is known"},
    {"scale", AZ_FIELD(AZ_REAL, guard_options, scale), "0", 0, 10, NULL, "laplace: scale of the noise; 0 = the one of the best tolerance"},
    {"delta", AZ_FIELD(AZ_REAL, guard_options, delta), "1e-6", 1e-300, 0.5, NULL,
     "plan, ledger: chance that advanced composition leaves out, for the privacy that laplace's answers cost"},
    {"theta", AZ_FIELD(AZ_REAL, guard_options, theta), "0", 0, 1, NULL, "check, rounds: how far a guess may be off; 0 = 2 / sqrt(n)"},
    {"levels", AZ_FIELD(AZ_INT, guard_options, levels), "1000", 1, 1e9, NULL, "check: answers are rounded to so many levels"},
    {"domain", AZ_FIELD(AZ_INT, guard_options, domain), "0", 0, 1 << 25, NULL,
     "pmw: number of possible rows, which the holdout names from 0"},
    {"alpha", AZ_FIELD(AZ_REAL, guard_options, alpha), "0.1", 1e-3, 1, NULL, "pmw: accuracy, which sets the most updates"},
    {"eps", AZ_FIELD(AZ_REAL, guard_options, eps), "1", 1e-6, 1e6, NULL, "pmw: privacy of all answers"},
    {"rows", AZ_FIELD(AZ_INT, guard_options, rows), "0", 0, 1e12, NULL, "rows of the holdout, when its file is not given"},
    {"train_rows", AZ_FIELD(AZ_INT, guard_options, train_rows), "0", 0, 1e12, NULL, "rows of the training set, when its file is not given"},
    {"guess", AZ_FIELD(AZ_TEXT, guard_options, guess), "", 0, 0, NULL, "ask: the analyst's guess, instead of the training mean"},
    {"clip", AZ_FIELD(AZ_TEXT, guard_options, clip), "", 0, 0, NULL,
     "ask: values between these bounds (\"low,high\") become 0 to 1, others are cut; guess, answer and tolerance are in their units"},
    {"test_seed", AZ_FIELD(AZ_INT, guard_options, test_seed), "-1", -1, 1e15, NULL,
     "noise that can be foretold, for tests; -1 = a secret seed"},
    {0},
};

enum { SLOT_HOLDOUT, SLOT_TRAIN, SLOT_DOMAIN };
static const az_input_slot guard_slots[] = {
    {"holdout", AZ_INPUT_FILE, 0, 1, "init: the holdout (a table or JSON lines); ask: the question's value for each of its rows"},
    {"train", AZ_INPUT_FILE, 0, 1, "the same of the training set"},
    {"domain", AZ_INPUT_FILE, 0, 1, "ask, pmw: the question's value for each possible row"},
    {0},
};

/* ---- rows of a data set ---- */

static uint64_t digest(uint64_t hash, const char *text)
{
    for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return (hash ^ 0xff) * 0x100000001b3u;
}

static bool is_lines(const char *path)
{
    return strstr(path, ".jsonl") || strstr(path, ".json") || strstr(path, ".txt");
}

/* One digest for each row; lines of JSON or text as they stand, rows of tables cell by cell. */
static uint64_t *row_digests(az_ctx *az, const char *path, const az_table_how *how, int64_t *rows)
{
    uint64_t *out = NULL;
    *rows = 0;
    if (is_lines(path)) {
        size_t length = 0;
        char *text = az_read_file(az, path, &length);
        out = az_alloc_array(az, length / 2 + 1, sizeof *out);
        for (char *line = text, *end; out && line && *line; line = end) {
            end = line + strcspn(line, "\n");
            if (*end) *end++ = '\0';
            if (line[strspn(line, " \t\r")]) out[(*rows)++] = digest(0xcbf29ce484222325u, line);
        }
        return az_ok(az) ? out : NULL;
    }
    const az_table *table = az_table_read(az, path, how);
    out = table ? az_alloc_array(az, (size_t)table->rows, sizeof *out) : NULL;
    for (int64_t i = 0; out && i < table->rows; i++) {
        out[i] = 0xcbf29ce484222325u;
        for (int c = 0; c < table->columns; c++) {
            az_scope_push(az);
            const char *text = az_column_text(az, &table->column[c], i);
            out[i] = digest(out[i], text ? text : "NA");
            az_scope_pop(az);
        }
    }
    *rows = table ? table->rows : 0;
    return out;
}

static int by_digest(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Counts the rows of both files and refuses rows that stand in both. */
static bool count_rows(az_ctx *az, const az_estimate_job *job, guard_settings *s)
{
    const az_input *holdout = az_job_input(job, SLOT_HOLDOUT, 0), *train = az_job_input(job, SLOT_TRAIN, 0);
    uint64_t *h = holdout ? row_digests(az, holdout->path, job->how, &s->n) : NULL;
    const uint64_t *t = train ? row_digests(az, train->path, job->how, &s->n_train) : NULL;
    if (!az_ok(az) || !h || !t) return az_ok(az);
    qsort(h, (size_t)s->n, sizeof *h, by_digest);
    int64_t shared = 0, first = -1;
    for (int64_t i = 0; i < s->n_train; i++) {
        if (!bsearch(&t[i], h, (size_t)s->n, sizeof *h, by_digest)) continue;
        if (shared++ == 0) first = i;
    }
    if (shared == 0) return true;
    return az_fail(az, AZ_BAD_INPUT, "%lld training rows are in the holdout too (the first is row %lld): nothing can be guaranteed",
                   (long long)shared, (long long)first + 1);
}

/* pmw: which possible row each row of the holdout is. */
static int64_t *domain_rows(az_ctx *az, const char *path, const az_table_how *how, int64_t n)
{
    const az_table *table = az_table_read(az, path, how);
    const double *value = table ? az_column_numbers(az, table, &table->column[0]) : NULL;
    int64_t *row = value ? az_alloc_array(az, (size_t)n, sizeof *row) : NULL;
    for (int64_t i = 0; row && i < n; i++) {
        if (!(value[i] >= 0 && value[i] < 0x1p31) || value[i] != floor(value[i]))
            return az_fail(az, AZ_BAD_INPUT, "row %lld of the holdout is no whole number in its first column", (long long)i + 1);
        row[i] = (int64_t)value[i];
    }
    return row;
}

/* ---- settings ---- */

static guard_settings settings_of(const guard_options *o, int64_t n, int64_t n_train)
{
    const double root = sqrt((double)(n > 0 ? n : 1));
    guard_settings s = {.mechanism = o->mechanism,
                        .n = n,
                        .n_train = n_train,
                        .queries = o->queries,
                        .budget = o->budget,
                        .beta = o->beta,
                        .gaussian = o->noise == 1,
                        .redraw = o->noise == 1,
                        .threshold = o->threshold > 0 ? o->threshold : 4 / root,
                        .sigma = o->sigma > 0 ? o->sigma : 1 / root,
                        .scale = o->scale,
                        .theta = o->theta > 0 ? o->theta : 2 / root,
                        .levels = o->levels,
                        .domain = o->domain,
                        .alpha = o->alpha,
                        .eps = o->eps};
    if (o->theory > 0) {
        s.threshold = 0.75 * o->theory;
        s.sigma = o->theory / (96 * log(4 * (double)o->queries / o->beta));
    }
    if (s.gaussian && s.scale <= 0) s.scale = 1 / root;
    return s;
}

static bool choose_seed(az_ctx *az, const guard_options *o, guard_settings *s)
{
    s->test_seed = o->test_seed >= 0;
    s->seed = (uint64_t)o->test_seed;
    if (s->test_seed) az_note(az, "test_seed: this guard's noise can be foretold, so it guards nothing");
    if (!s->test_seed && getrandom(&s->seed, sizeof s->seed, 0) != sizeof s->seed)
        return az_fail(az, AZ_IO, "the system gives no random numbers");
    return true;
}

/* ---- what is reported ---- */

/* unit: what 1 of the guard is in the values as the user gives them. */
static void put_tolerance(az_report *report, const guard_settings *s, guard_mechanism mechanism, double unit)
{
    const double tolerance = guard_tolerance(s, mechanism, NULL);
    az_report_number(report, "tolerance", isfinite(tolerance) ? unit * tolerance : NAN, "");
    az_report_text(report, "guarantee",
                   !isfinite(tolerance)       ? "none is known"
                   : tolerance >= 0.5         ? "vacuous"
                   : mechanism == GUARD_NAIVE ? "if no question depends on an answer"
                                              : "holds");
}

static void put_guard(az_report *report, const guard *g, double unit)
{
    az_report_row(report, "guard");
    az_report_text(report, "mechanism", guard_mechanism_names[g->s.mechanism]);
    az_report_count(report, "rows", g->s.n);
    if (g->s.n_train > 0) az_report_count(report, "train_rows", g->s.n_train);
    az_report_count(report, "asked", g->asked);
    az_report_count(report, "questions_left", g->s.queries - g->asked);
    const bool charges = g->s.mechanism <= GUARD_ROUNDS || g->s.mechanism == GUARD_PMW;
    const int64_t budget = g->s.mechanism == GUARD_PMW ? guard_pmw_updates(&g->s) : g->s.budget;
    if (charges) az_report_count(report, "paid", g->paid);
    if (charges) az_report_count(report, "budget_left", budget - g->paid);
    if (g->s.mechanism == GUARD_LAPLACE) az_report_number(report, "scale", unit * g->s.scale, "");
    put_tolerance(report, &g->s, (guard_mechanism)g->s.mechanism, unit);
    az_report_bool(report, "exhausted", guard_exhausted(g));
}

/* Tolerances of all mechanisms for the same rows, questions and budget. */
static void put_plan(az_report *report, const guard_settings *s)
{
    int best = -1;
    for (int m = 0; m < GUARD_NAIVE; m++)
        if (guard_tolerance(s, (guard_mechanism)m, NULL) < (best < 0 ? 0.5 : guard_tolerance(s, (guard_mechanism)best, NULL))) best = m;
    for (int m = 0; m < GUARD_MECHANISMS; m++) {
        double scale = NAN;
        guard_tolerance(s, (guard_mechanism)m, &scale);
        guard_settings own = *s;
        if (m == GUARD_LAPLACE) own.scale = scale;
        const double eps = guard_privacy(&own, (guard_mechanism)m);
        az_report_row(report, "mechanisms");
        az_report_text(report, "mechanism", guard_mechanism_names[m]);
        put_tolerance(report, s, (guard_mechanism)m, 1);
        az_report_number(report, "eps", isfinite(eps) ? eps : NAN, "");
        az_report_number(report, "scale", m == GUARD_LAPLACE ? scale : NAN, "");
        az_report_bool(report, "best", m == best);
    }
}

/* What answers with noise cost a row of the holdout, by both ways of adding up; the lower applies. */
static void put_privacy(az_report *report, const guard_settings *s, const char *of, int64_t asked, double delta)
{
    const guard_cost cost = guard_composition(s, asked, delta);
    az_report_row(report, "privacy");
    az_report_text(report, "of", of);
    az_report_count(report, "answers", asked);
    az_report_number(report, "eps_each", cost.each, "");
    az_report_number(report, "rho", cost.rho, "");
    az_report_number(report, "eps_basic", cost.basic, "");
    az_report_number(report, "eps_advanced", cost.advanced, "");
    az_report_number(report, "delta_advanced", delta, "");
    if (!s->gaussian) az_report_text(report, "lower", cost.basic <= cost.advanced ? "basic" : "advanced");
}

/* ---- actions ---- */

static bool plan(az_ctx *az, const guard_options *o, const az_estimate_job *job)
{
    guard_settings s = {.n = o->rows, .n_train = o->train_rows};
    if (!count_rows(az, job, &s)) return false;
    s = settings_of(o, s.n, s.n_train);
    if (s.n < 1 || s.queries < 1) return az_fail(az, AZ_BAD_INPUT, "plan needs rows=... (or -d holdout=FILE) and queries=...");
    put_plan(job->report, &s);
    if (!s.gaussian) guard_tolerance(&s, GUARD_LAPLACE, &s.scale); /* the best scale, unless one is given */
    put_privacy(job->report, &s, "laplace, all questions", s.queries, o->delta);
    return true;
}

static bool init(az_ctx *az, const guard_options *o, const az_estimate_job *job)
{
    guard_settings s = {.n = o->rows, .n_train = o->train_rows};
    const az_input *holdout = az_job_input(job, SLOT_HOLDOUT, 0);
    guard g;
    if (!count_rows(az, job, &s)) return false;
    s = settings_of(o, s.n, s.n_train);
    if (s.mechanism == GUARD_PMW && !holdout) return az_fail(az, AZ_BAD_INPUT, "pmw needs the holdout itself: -d holdout=FILE");
    const int64_t *row = s.mechanism == GUARD_PMW ? domain_rows(az, holdout->path, job->how, s.n) : NULL;
    if (!az_ok(az) || !choose_seed(az, o, &s) || !guard_start(az, &s, row, &g) || !guard_file_new(az, o->state, &g)) return false;
    put_guard(job->report, &g, 1);
    return true;
}

/* "low,high" */
static bool read_clip(az_ctx *az, const char *text, double *low, double *high)
{
    char *end = NULL;
    *low = 0, *high = 1;
    if (!*text) return true;
    *low = strtod(text, &end);
    if (end != text && *end == ',') {
        const char *second = end + 1;
        *high = strtod(second, &end);
        if (end != second && !*end && *high > *low) return true;
    }
    return az_fail(az, AZ_BAD_INPUT, "clip=%s: two numbers, the lower first, are expected", text);
}

/* The question's values from a file; NULL without an error when there is none. */
static const double *read_values(az_ctx *az, const guard_options *o, const az_estimate_job *job, int slot, int64_t n)
{
    const az_input *input = az_job_input(job, slot, 0);
    double low, high;
    if (!input || !read_clip(az, o->clip, &low, &high)) return NULL;
    const az_array *array = az_array_read(az, input->path, job->how, false);
    if (!array) return NULL;
    if (az_count(array->value) != n)
        return az_fail(az, AZ_BAD_INPUT, "'%s' holds %lld values, the guard's %s has %lld rows", input->path,
                       (long long)az_count(array->value), guard_slots[slot].name, (long long)n);
    double *value = az_f64_mut(az_copy(az, array->value));
    for (int64_t i = 0; value && i < n; i++) {
        if (!*o->clip && !(value[i] >= 0 && value[i] <= 1))
            return az_fail(az, AZ_BAD_INPUT, "'%s': value %lld is %g, outside of 0 to 1; clip=\"low,high\" cuts to bounds", input->path,
                           (long long)i + 1, value[i]);
        value[i] = fmin(fmax((value[i] - low) / (high - low), 0), 1);
    }
    return value;
}

static bool ask(az_ctx *az, const guard_options *o, const az_estimate_job *job)
{
    guard g;
    guard_reply reply;
    guard_query query = {.guess = NAN};
    guard_file *file = guard_file_open(az, o->state, &g);
    if (!file) return false;
    query.holdout = read_values(az, o, job, SLOT_HOLDOUT, g.s.n);
    query.train = read_values(az, o, job, SLOT_TRAIN, g.s.n_train);
    query.domain = read_values(az, o, job, SLOT_DOMAIN, g.s.domain);
    double low, high;
    if (!az_ok(az) || !read_clip(az, o->clip, &low, &high)) return false;
    char *end = NULL;
    if (*o->guess) query.guess = (strtod(o->guess, &end) - low) / (high - low);
    if (end && (*end || !(query.guess >= 0 && query.guess <= 1)))
        return az_fail(az, AZ_BAD_INPUT, "guess=%s: a number from %g to %g is expected", o->guess, low, high);
    if (!az_ok(az) || !guard_ask(az, file, &g, &query, &reply)) return false;
    az_report_row(job->report, "answer");
    az_report_count(job->report, "question", g.asked);
    az_report_number(job->report, "answer", low + reply.answer * (high - low), "");
    az_report_bool(job->report, "paid", reply.paid);
    put_guard(job->report, &g, high - low);
    return true;
}

static bool ledger(az_ctx *az, const guard_options *o, const az_estimate_job *job)
{
    guard g;
    if (!guard_file_open(az, o->state, &g)) return false;
    put_plan(job->report, &g.s);
    put_guard(job->report, &g, 1);
    if (g.s.mechanism == GUARD_LAPLACE) put_privacy(job->report, &g.s, "answers so far", g.asked, o->delta);
    if (g.s.mechanism == GUARD_LAPLACE) put_privacy(job->report, &g.s, "all questions", g.s.queries, o->delta);
    return true;
}

static bool guard_run(az_ctx *az, const void *options, az_estimate_job *job)
{
    const guard_options *o = options;
    if (o->action != ACTION_PLAN && !*o->state) return az_fail(az, AZ_BAD_INPUT, "state=FILE names the guard");
    switch ((action)o->action) {
    case ACTION_PLAN: return plan(az, o, job);
    case ACTION_INIT: return init(az, o, job);
    case ACTION_ASK: return ask(az, o, job);
    case ACTION_LEDGER: return ledger(az, o, job);
    }
    return false;
}

const az_method az_adaptive_analysis = {
    .name = "adaptive-analysis",
    .family = AZ_ESTIMATE,
    .summary = "reuse one holdout for many questions that depend on earlier answers, with a guarantee",
    .paper = "Dwork, Feldman, Hardt, Pitassi, Reingold, Roth: Preserving statistical validity in adaptive data analysis, STOC 2015, arXiv "
             "1411.2664; The reusable holdout, Science 2015",
    .details =
        "A holdout that is asked again and again (model selection, prompt search, early stopping) is soon overfitted. A guard stands "
        "before it: action=init makes one (state=FILE), action=ask answers a question, whose value from 0 to 1 for each holdout row (and "
        "each training row, where the mechanism compares the two) is in a file, and writes the ledger; action=ledger tells what is left. "
        "When the declared questions or the budget are used up it answers no more (exit status 2). action=plan compares the tolerances of "
        "all mechanisms. `adze evaluate --guard FILE` asks for a model's score. plan and ledger also tell what laplace's answers cost the "
        "holdout's rows in differential privacy, by basic composition (eps adds up) and by advanced composition (less for many answers, "
        "but for a chance delta); tolerances rest on the basic one, for which they are proved.\n"
        "Tolerances hold for all questions together with probability 1 - beta, if rows are independent and disjoint from training; one of "
        "0.5 or more says nothing (vacuous). At sizes met in practice check is tightest; thresholdout's default T and sigma are those of "
        "the experiment in Science, whose guarantee is vacuous.",
    .example = "adze estimate adaptive-analysis:queries=1000,rows=200\n"
               "adze estimate adaptive-analysis:action=init,state=guard.json,mechanism=check,queries=100 -d table.csv\n"
               "adze estimate adaptive-analysis:action=ask,state=guard.json,guess=0.6 -d scores.csv",
    .options = guard_table,
    .options_size = sizeof(guard_options),
    .inputs = guard_slots,
    .estimate = guard_run,
};
