/* sdl.c - supervised dictionary learning: factors that reconstruct the data and predict the labels at once.
 *
 * Problem: samples x_i (rows of X [n, p]) with labels y_i and covariates z_i. A dictionary W [p, r] whose codes C [n, r] reconstruct, X ~ C
 * W^T, and whose features predict y by a multinomial logistic regression: min sum_i l(y_i, score_i) + xi |X - C W^T|^2, score = x W beta +
 * z gamma (filter) or c beta + z gamma (feature). Rules: lpgd, projected gradients on the lifted matrices of rank r (sdl_lifted.c), convex
 * but for the rank; bcd, block coordinate descent with signs and penalties (sdl_descent.c).
 *
 * Lee, Lyu, Yao: "Supervised dictionary learning with auxiliary covariates" (arXiv 2206.06774). */
#include "estimate/sdl.h"

#include <string.h>

typedef enum sdl_algorithm { ALGORITHM_BCD, ALGORITHM_LPGD } sdl_algorithm;
typedef enum sdl_start { START_AUTO, START_ZERO, START_RANDOM } sdl_start;
typedef enum sdl_weighting { WEIGHTING_TFIDF, WEIGHTING_COUNTS } sdl_weighting;

typedef struct sdl_options {
    int model, algorithm, predict, init, threshold, weighting, samples;
    int64_t rank, iterations, words, least_documents, top;
    double xi, nu, tau, ball, radius, subsample, tolerance, holdout, norm, most_share;
    double l1_code, l2_code, l1_dictionary, l2_dictionary, l1_beta, l2_beta;
    bool update_xi, function_words;
    const char *nonneg, *target, *aux, *text, *beside;
} sdl_options;

const char *const sdl_kind_names[] = {[SDL_FILTER] = "filter", [SDL_FEATURE] = "feature", NULL};
const char *const sdl_coding_names[] = {[SDL_NAIVE] = "naive", [SDL_EXHAUSTIVE] = "exhaustive", NULL};
static const char *const algorithms[] = {[ALGORITHM_BCD] = "bcd", [ALGORITHM_LPGD] = "lpgd", NULL};
static const char *const starts[] = {[START_AUTO] = "auto", [START_ZERO] = "zero", [START_RANDOM] = "random", NULL};
static const char *const thresholds[] = {"roc", "half", NULL};
static const char *const weightings[] = {[WEIGHTING_TFIDF] = "tfidf", [WEIGHTING_COUNTS] = "counts", NULL};
static const char *const sample_axes[] = {"rows", "columns", NULL};

static const az_option sdl_table[] = {
    {"rank", AZ_FIELD(AZ_INT, sdl_options, rank), "20", 1, 10000, NULL, "of the dictionary: how many topics"},
    {"model", AZ_FIELD(AZ_CHOICE, sdl_options, model), "filter", 0, 0, sdl_kind_names,
     "what predicts: filter, the products of data and dictionary; feature, the codes"},
    {"algorithm", AZ_FIELD(AZ_CHOICE, sdl_options, algorithm), "bcd", 0, 0, algorithms,
     "bcd, block coordinate descent; lpgd, projected gradients on matrices of low rank"},
    {"xi", AZ_FIELD(AZ_REAL, sdl_options, xi), "1", 1e-12, 1e12, NULL, "weight of reconstruction against prediction"},
    {"target", AZ_FIELD(AZ_TEXT, sdl_options, target), "", 0, 0, NULL, "the column of the labels; or -d labels=FILE"},
    {"aux", AZ_FIELD(AZ_TEXT, sdl_options, aux), "", 0, 0, NULL, "columns that only the regression sees (\"x1,x2\"); or -d aux=FILE"},
    {"text", AZ_FIELD(AZ_TEXT, sdl_options, text), "", 0, 0, NULL, "the column (or field) of documents; their words are the data"},
    {"weighting", AZ_FIELD(AZ_CHOICE, sdl_options, weighting), "tfidf", 0, 0, weightings, "of the words of documents"},
    {"words", AZ_FIELD(AZ_INT, sdl_options, words), "2500", 1, 1e7, NULL, "of the vocabulary, at most"},
    {"least_documents", AZ_FIELD(AZ_INT, sdl_options, least_documents), "2", 1, 1e9, NULL, "that a word is in"},
    {"most_share", AZ_FIELD(AZ_REAL, sdl_options, most_share), "0.5", 1e-6, 1, NULL, "of the documents that a word is in"},
    {"function_words", AZ_FIELD(AZ_BOOL, sdl_options, function_words), "false", 0, 0, NULL, "keep 'the', 'of', 'is' ... (English)"},
    {"samples", AZ_FIELD(AZ_CHOICE, sdl_options, samples), "rows", 0, 0, sample_axes, "what the rows or columns of a data file are"},
    {"norm", AZ_FIELD(AZ_REAL, sdl_options, norm), "0", 0, 1e12, NULL,
     "multiply the data so that their largest singular value is this; 0 = not"},
    {"iterations", AZ_FIELD(AZ_INT, sdl_options, iterations), "0", 0, 1e9, NULL, "at most; 0 = 200 of bcd, 500 of lpgd"},
    {"tol", AZ_FIELD(AZ_REAL, sdl_options, tolerance), "1e-8", 0, 1, NULL,
     "ends when the objective falls less, relatively (lpgd), or when its slope has fallen so far (bcd)"},
    {"init", AZ_FIELD(AZ_CHOICE, sdl_options, init), "auto", 0, 0, starts, "auto = random of bcd, zero of lpgd"},
    {"nu", AZ_FIELD(AZ_REAL, sdl_options, nu), "2", 0, 1e12, NULL, "lpgd: factor of |A|^2 + |gamma|^2"},
    {"tau", AZ_FIELD(AZ_REAL, sdl_options, tau), "0", 0, 1e12, NULL, "lpgd: length of a step; 0 = 1 / L"},
    {"ball", AZ_FIELD(AZ_REAL, sdl_options, ball), "0", 0, 1e12, NULL, "lpgd: largest norm of the lifted matrix; 0 = any"},
    {"nonneg", AZ_FIELD(AZ_TEXT, sdl_options, nonneg), "auto", 0, 0, NULL,
     "bcd: what has no negative entries, W, H (codes) and beta joined by +, or none; auto = W+H unless the data have some"},
    {"l1_code", AZ_FIELD(AZ_REAL, sdl_options, l1_code), "0", 0, 1e12, NULL, "bcd: factor of |code|"},
    {"l2_code", AZ_FIELD(AZ_REAL, sdl_options, l2_code), "0", 0, 1e12, NULL, "bcd: factor of |code|^2"},
    {"l1_dictionary", AZ_FIELD(AZ_REAL, sdl_options, l1_dictionary), "0", 0, 1e12, NULL, "bcd: factor of |W|"},
    {"l2_dictionary", AZ_FIELD(AZ_REAL, sdl_options, l2_dictionary), "0", 0, 1e12, NULL, "bcd: factor of |W|^2"},
    {"l1_beta", AZ_FIELD(AZ_REAL, sdl_options, l1_beta), "0", 0, 1e12, NULL, "bcd: factor of |beta| and |gamma|"},
    {"l2_beta", AZ_FIELD(AZ_REAL, sdl_options, l2_beta), "0.5", 0, 1e12, NULL, "bcd and what is beside: factor of |beta|^2 and |gamma|^2"},
    {"radius", AZ_FIELD(AZ_REAL, sdl_options, radius), "0", 0, 1, NULL,
     "bcd: b of the largest step ~ k^-b / log(k + 1) of turn k; 0 = any"},
    {"subsample", AZ_FIELD(AZ_REAL, sdl_options, subsample), "1", 1e-6, 1, NULL, "bcd, feature: share of the codes that a turn changes"},
    {"update_xi", AZ_FIELD(AZ_BOOL, sdl_options, update_xi), "false", 0, 0, NULL,
     "bcd: xi becomes 1 / (2 s^2) of the residuals after each turn"},
    {"predict", AZ_FIELD(AZ_CHOICE, sdl_options, predict), "naive", 0, 0, sdl_coding_names,
     "feature: codes that reconstruct best, or the best for each class"},
    {"threshold", AZ_FIELD(AZ_CHOICE, sdl_options, threshold), "roc", 0, 0, thresholds,
     "of two classes: roc = where the training samples' rates are farthest apart; half = 0.5"},
    {"holdout", AZ_FIELD(AZ_REAL, sdl_options, holdout), "0", 0, 0.9, NULL, "share of the samples kept apart to score on"},
    {"beside", AZ_FIELD(AZ_TEXT, sdl_options, beside), "", 0, 0, NULL, "pca, nmf, logistic to compare with, joined by +, or all"},
    {"top", AZ_FIELD(AZ_INT, sdl_options, top), "10", 0, 1000, NULL, "features named for each topic; 0 = no topics"},
    {0},
};

enum { SLOT_DATA, SLOT_LABELS, SLOT_AUX, SLOT_TEST, SLOT_TEST_LABELS, SLOT_TEST_AUX, SLOT_MODEL, SLOT_VOCABULARY };
static const az_input_slot sdl_slots[] = {
    [SLOT_DATA] = {"data", AZ_INPUT_FILE, 0, 1, "a table or array, a sparse .mtx, documents as .jsonl or .txt; one row a sample"},
    [SLOT_LABELS] = {"labels", AZ_INPUT_FILE, 0, 1, "one column; or target=COLUMN"},
    [SLOT_AUX] = {"aux", AZ_INPUT_FILE, 0, 1, "covariates that only the regression sees; or aux=COLUMNS"},
    [SLOT_TEST] = {"test", AZ_INPUT_FILE, 0, 1, "samples to score on, like data"},
    [SLOT_TEST_LABELS] = {"test_labels", AZ_INPUT_FILE, 0, 1, "theirs"},
    [SLOT_TEST_AUX] = {"test_aux", AZ_INPUT_FILE, 0, 1, "theirs"},
    [SLOT_MODEL] = {"model", AZ_INPUT_FILE, 0, 1,
                    "an earlier fit (.npz, .safetensors, .json or a folder): predict the data, or show its topics"},
    [SLOT_VOCABULARY] = {"vocabulary", AZ_INPUT_FILE, 0, 1, "names of the features, one a line"},
    {0},
};

/* ---- what is asked for ---- */

static const char *path_of(const az_estimate_job *job, int slot)
{
    const az_input *input = az_job_input(job, slot, 0);
    return input ? input->path : NULL;
}

static sdl_reading reading_of(const sdl_options *o, const az_estimate_job *job)
{
    return (sdl_reading){.how = job->how,
                         .target = o->target,
                         .aux = o->aux,
                         .text = o->text,
                         .samples_are_columns = o->samples == 1,
                         .tfidf = o->weighting == WEIGHTING_TFIDF,
                         .words = {o->least_documents, o->most_share, o->words, o->function_words}};
}

static bool has_negatives(const az_matrix *x)
{
    const double *value = x->dense ? az_f64(x->dense) : x->by_row.value;
    const int64_t count = x->dense ? x->rows * x->columns : x->by_row.start[x->rows];
    for (int64_t i = 0; i < count; i++)
        if (value[i] < 0) return true;
    return false;
}

static bool read_signs(az_ctx *az, const sdl_options *o, const az_matrix *x, sdl_how *how)
{
    const bool negative = has_negatives(x);
    if (strcmp(o->nonneg, "auto") == 0) {
        how->dictionary.nonnegative = how->code.nonnegative = !negative;
        if (negative) az_note(az, "the data have negative values: dictionary and codes have too (nonneg=none)");
        return true;
    }
    if (strcmp(o->nonneg, "none") == 0) return true;
    for (const char *at = o->nonneg; *at;) {
        const size_t length = strcspn(at, "+");
        const bool w = length == 1 && *at == 'W', h = length == 1 && *at == 'H', beta = length == 4 && strncmp(at, "beta", 4) == 0;
        if (!w && !h && !beta)
            return az_fail(az, AZ_BAD_INPUT, "nonneg=%s: W, H and beta joined by +, auto or none are expected", o->nonneg);
        how->dictionary.nonnegative = how->dictionary.nonnegative || w;
        how->code.nonnegative = how->code.nonnegative || h;
        how->beta.nonnegative = how->beta.nonnegative || beta;
        at += length + (at[length] == '+');
    }
    if (how->dictionary.nonnegative && how->code.nonnegative && negative)
        return az_fail(az, AZ_BAD_INPUT, "nonneg=%s: the data have negative values, which nonnegative factors cannot reconstruct",
                       o->nonneg);
    return true;
}

static bool check_lpgd(az_ctx *az, const sdl_options *o)
{
    const bool penalties = o->l1_code > 0 || o->l2_code > 0 || o->l1_dictionary > 0 || o->l2_dictionary > 0 || o->l1_beta > 0;
    if (o->algorithm != ALGORITHM_LPGD) return true;
    if (penalties || o->radius > 0 || o->update_xi || o->subsample < 1)
        return az_fail(az, AZ_BAD_INPUT, "l1, l2, radius, subsample and update_xi are of algorithm=bcd; lpgd has nu and ball");
    if (strcmp(o->nonneg, "auto") != 0 && strcmp(o->nonneg, "none") != 0)
        return az_fail(az, AZ_BAD_INPUT, "nonneg=%s: lpgd has no signs; algorithm=bcd has", o->nonneg);
    return true;
}

static bool how_of(az_ctx *az, const sdl_options *o, const sdl_samples *s, sdl_how *how)
{
    const bool lpgd = o->algorithm == ALGORITHM_LPGD;
    *how = (sdl_how){.kind = (sdl_kind)o->model,
                     .rank = o->rank,
                     .iterations = o->iterations > 0 ? o->iterations
                                   : lpgd            ? 500
                                                     : 200,
                     .xi = o->xi,
                     .tolerance = o->tolerance,
                     .random_start = o->init == START_RANDOM,
                     .seed = az_seed(az),
                     .nu = o->nu,
                     .tau = o->tau,
                     .ball = o->ball,
                     .dictionary = {o->l1_dictionary, o->l2_dictionary, false},
                     .code = {o->l1_code, o->l2_code, false},
                     .beta = {o->l1_beta, o->l2_beta, false},
                     .radius = o->radius,
                     .subsample = o->subsample,
                     .update_xi = o->update_xi};
    if (o->rank > s->n || o->rank > s->p)
        return az_fail(az, AZ_BAD_INPUT, "rank=%lld is more than %lld samples of %lld features have", (long long)o->rank, (long long)s->n,
                       (long long)s->p);
    if (!lpgd && o->init == START_ZERO) return az_fail(az, AZ_BAD_INPUT, "init=zero: bcd would stay there; it starts at random");
    return check_lpgd(az, o) && (lpgd || read_signs(az, o, s->x, how));
}

/* Every class must be among the training samples, which a holdout may have taken. */
static bool check_classes(az_ctx *az, const sdl_data *train)
{
    for (int32_t a = 0; a < train->samples.classes; a++) {
        bool there = false;
        for (int64_t i = 0; !there && i < train->samples.n; i++) there = train->samples.label[i] == a;
        if (!there) return az_fail(az, AZ_BAD_INPUT, "no training sample is of class '%s'", train->class_name[a]);
    }
    return true;
}

/* ---- the sets ---- */

typedef struct sdl_sets {
    sdl_data train, test; /* test.samples.n = 0: none */
    double scale;
} sdl_sets;

static bool hold_out(az_ctx *az, const sdl_data *all, double share, sdl_sets *sets)
{
    const int64_t n = all->samples.n;
    int64_t *row[2] = {az_alloc_array(az, (size_t)n, sizeof(int64_t)), az_alloc_array(az, (size_t)n, sizeof(int64_t))}, count[2] = {0, 0};
    az_rng rng = az_rng_at(az_seed(az), az_stream("sdl holdout", 0));
    for (int64_t i = 0; row[0] && row[1] && i < n; i++) {
        const int part = az_uniform(&rng) < share;
        row[part][count[part]++] = i;
    }
    if (!az_ok(az)) return false;
    if (count[0] == 0 || count[1] == 0)
        return az_fail(az, AZ_BAD_INPUT, "holdout=%g leaves %lld samples to fit and %lld to score on", share, (long long)count[0],
                       (long long)count[1]);
    return sdl_pick(az, all, row[0], count[0], &sets->train) && sdl_pick(az, all, row[1], count[1], &sets->test);
}

/* What a test file must agree with. */
static sdl_model outline_of(const sdl_data *d, const sdl_options *o)
{
    return (sdl_model){.kind = (sdl_kind)o->model,
                       .coding = (sdl_coding)o->predict,
                       .xi = o->xi,
                       .scale = 1,
                       .threshold = 0.5,
                       .p = d->samples.p,
                       .q = d->samples.q,
                       .classes = d->samples.classes,
                       .feature = d->feature,
                       .class_name = d->class_name,
                       .covariate = d->covariate,
                       .idf = d->idf,
                       .tfidf = o->weighting == WEIGHTING_TFIDF};
}

static bool scale_data(az_ctx *az, const sdl_options *o, sdl_sets *sets)
{
    sets->scale = 1;
    if (!(o->norm > 0)) return true;
    const az_linear_map map = az_matrix_map(sets->train.samples.x);
    const double largest = sqrt(az_largest_square(az, &map, az_seed(az)));
    if (az_ok(az) && !(largest > 0)) return az_fail(az, AZ_BAD_INPUT, "the data are zero");
    sets->scale = o->norm / largest;
    sets->train.samples.x = az_matrix_scaled(az, sets->train.samples.x, sets->scale);
    if (sets->test.samples.n > 0) sets->test.samples.x = az_matrix_scaled(az, sets->test.samples.x, sets->scale);
    return az_ok(az);
}

static bool read_sets(az_ctx *az, const sdl_options *o, const az_estimate_job *job, sdl_sets *sets)
{
    const sdl_reading reading = reading_of(o, job);
    const sdl_files files = {path_of(job, SLOT_DATA), path_of(job, SLOT_LABELS), path_of(job, SLOT_AUX), path_of(job, SLOT_VOCABULARY)};
    const sdl_files test = {path_of(job, SLOT_TEST), path_of(job, SLOT_TEST_LABELS), path_of(job, SLOT_TEST_AUX), NULL};
    if (!files.data) return az_fail(az, AZ_BAD_INPUT, "data are missing: -d FILE");
    if (test.data && o->holdout > 0) return az_fail(az, AZ_BAD_INPUT, "either holdout or -d test=FILE, not both");
    *sets = (sdl_sets){0};
    if (!sdl_read(az, &reading, &files, NULL, &sets->train)) return false;
    if (o->holdout > 0) {
        const sdl_data all = sets->train;
        if (!hold_out(az, &all, o->holdout, sets)) return false;
    }
    if (test.data) {
        const sdl_model outline = outline_of(&sets->train, o);
        if (!sdl_read(az, &reading, &test, &outline, &sets->test)) return false;
        if (!sets->test.samples.label) return az_fail(az, AZ_BAD_INPUT, "labels of the test samples are missing: -d test_labels=FILE");
    }
    return check_classes(az, &sets->train) && check_size(az, "the matrix of the data", sqrt(az_matrix_square(sets->train.samples.x))) &&
           scale_data(az, o, sets);
}

/* ---- fitting ---- */

/* Sets the model's threshold by the training samples and scores both sets. */
static bool score_sets(az_ctx *az, const sdl_options *o, sdl_model *model, const sdl_sets *sets, sdl_prediction *out[2], sdl_score score[2])
{
    const sdl_samples *both[] = {&sets->train.samples, &sets->test.samples};
    for (int i = 0; i < 2; i++) {
        if (both[i]->n == 0) continue;
        if (!(out[i] = sdl_predict(az, model, both[i]))) return false;
        if (i == 0 && o->threshold == 0) {
            model->threshold = sdl_threshold(az, out[i]->probability, both[i]->label);
            sdl_call(out[i]->probability, model->threshold, out[i]->called);
        }
        score[i] = sdl_score_of(az, both[i], out[i]);
        score[i].reconstruction = model->dictionary ? sdl_reconstruction(az, both[i]->x, model->dictionary, out[i]->code) : NAN;
    }
    return az_ok(az);
}

static void report_fit(az_report *report, const sdl_options *o, const sdl_samples *s, const sdl_fit *fit, double seconds)
{
    const bool lpgd = o->algorithm == ALGORITHM_LPGD;
    az_report_row(report, "fit");
    az_report_text(report, "model", sdl_kind_names[fit->kind]);
    az_report_text(report, "algorithm", algorithms[o->algorithm]);
    az_report_count(report, "rank", o->rank);
    az_report_count(report, "samples", s->n);
    az_report_count(report, "features", s->p);
    az_report_count(report, "covariates", s->q - 1);
    az_report_count(report, "classes", s->classes);
    az_report_number(report, "xi", fit->xi, "");
    az_report_number(report, "objective", fit->objective, "");
    az_report_count(report, "iterations", fit->iterations);
    az_report_bool(report, "converged", fit->converged);
    if (lpgd) {
        const bool proven = fit->lipschitz < 3 * fit->mu && fit->tau > 1 / (2 * fit->mu) && fit->tau < 3 / (2 * fit->lipschitz);
        az_report_number(report, "tau", fit->tau, "");
        az_report_number(report, "mu", fit->mu, "");
        az_report_number(report, "lipschitz", fit->lipschitz, "");
        az_report_number(report, "guaranteed_rate", proven ? 2 * (1 - fit->tau * fit->mu) : NAN, "");
    } else {
        az_report_number(report, "stationarity", fit->stationarity, "");
    }
    az_report_number(report, "seconds", seconds, "s");
    az_report_curve(report, "objective", "iteration", "objective", fit->trace.count, fit->trace.iteration, fit->trace.objective);
}

static void report_way(az_report *report, const char *name, const sdl_score score[2], bool test, double seconds)
{
    az_report_row(report, "methods");
    az_report_text(report, "method", name);
    for (int i = 0; i <= test; i++) {
        az_report_number(report, i ? "test_accuracy" : "accuracy", score[i].accuracy, "");
        az_report_number(report, i ? "test_f" : "f", score[i].f, "");
        az_report_number(report, i ? "test_auc" : "auc", score[i].auc, "");
        az_report_number(report, i ? "test_reconstruction" : "reconstruction", score[i].reconstruction, "");
    }
    az_report_number(report, "seconds", seconds, "s");
}

static bool compare(az_ctx *az, const sdl_options *o, const sdl_how *how, az_report *report, const sdl_sets *sets, const sdl_model *own,
                    const bool *wanted)
{
    for (int way = SDL_PCA; way < SDL_WAYS; way++) {
        if (!wanted[way]) continue;
        if (way == SDL_NMF && has_negatives(sets->train.samples.x)) {
            az_note(az, "nmf is left out: the data have negative values");
            continue;
        }
        az_scope_push(az);
        const double began = az_seconds();
        sdl_prediction *p[2] = {NULL, NULL};
        sdl_score score[2] = {0};
        sdl_model *m = sdl_baseline(az, (sdl_way)way, &sets->train.samples, how, own);
        const double seconds = az_seconds() - began;
        const bool test = sets->test.samples.n > 0;
        if (m && score_sets(az, o, m, sets, p, score)) {
            for (int i = 0; i <= test; i++)
                score[i].reconstruction = sdl_baseline_reconstruction(az, (sdl_way)way, m, &sets->train.samples,
                                                                      i ? &sets->test.samples : &sets->train.samples, p[i]);
            report_way(report, sdl_way_names[way], score, test, seconds);
        }
        az_scope_pop(az);
        if (!az_ok(az)) return false;
    }
    return true;
}

static bool fit_sets(az_ctx *az, const sdl_options *o, az_estimate_job *job)
{
    sdl_sets sets;
    sdl_how how;
    bool wanted[SDL_WAYS];
    if (!read_beside(az, o->beside, &(alternatives){"method", sdl_way_names, SDL_WAYS, SDL_OWN}, wanted) || !check_lpgd(az, o))
        return false;
    if (!read_sets(az, o, job, &sets) || !how_of(az, o, &sets.train.samples, &how)) return false;
    const double began = az_seconds();
    const sdl_fit *fit = (o->algorithm == ALGORITHM_LPGD ? sdl_fit_lifted : sdl_fit_descent)(az, &sets.train.samples, &how);
    if (!fit) return false;
    const double seconds = az_seconds() - began;
    sdl_model model = outline_of(&sets.train, o);
    model.scale = sets.scale, model.xi = fit->xi, model.code = how.code;
    model.dictionary = fit->dictionary, model.beta = fit->beta, model.gamma = fit->gamma;
    sdl_prediction *p[2] = {NULL, NULL};
    sdl_score score[2] = {0};
    if (!score_sets(az, o, &model, &sets, p, score)) return false;
    const bool test = sets.test.samples.n > 0;
    report_fit(job->report, o, &sets.train.samples, fit, seconds);
    az_report_number(job->report, "threshold", model.classes == 2 ? model.threshold : NAN, "");
    sdl_report_score(job->report, "scores", "training", sets.train.samples.n, &score[0]);
    if (test) sdl_report_score(job->report, "scores", "test", sets.test.samples.n, &score[1]);
    sdl_report_roc(az, job->report, test ? "test" : "training", test ? &sets.test.samples : &sets.train.samples, p[test]);
    sdl_report_covariates(job->report, &model);
    const az_table *topics = sdl_report_topics(az, job->report, &model, o->top);
    if (*o->beside) report_way(job->report, sdl_way_names[SDL_OWN], score, test, seconds);
    if (!topics || !compare(az, o, &how, job->report, &sets, &model, wanted)) return false;
    sdl_put_model(az, &model, job->results);
    az_results_array(job->results, "code", fit->code, NULL, NULL);
    az_results_table(job->results, "topics", topics);
    return az_ok(az);
}

/* ---- using a model ---- */

static az_table *prediction_table(az_ctx *az, const sdl_model *m, const sdl_samples *s, const sdl_prediction *p)
{
    az_table *table = az_table_new(az, s->n);
    const char **name = az_alloc_array(az, (size_t)s->n + 1, sizeof *name);
    double *column = az_alloc_array(az, (size_t)s->n + 1, sizeof *column);
    if (!table || !name || !column) return NULL;
    for (int64_t i = 0; i < s->n; i++) name[i] = m->class_name[p->called[i]];
    az_table_add_text(az, table, "class", name);
    for (int a = 0; a < m->classes; a++) {
        for (int64_t i = 0; i < s->n; i++) column[i] = az_f64(p->probability)[i * m->classes + a];
        az_table_add(az, table, az_format_text(az, "p_%s", m->class_name[a]), column);
    }
    return az_ok(az) ? table : NULL;
}

static bool use_model(az_ctx *az, const sdl_options *o, az_estimate_job *job)
{
    sdl_model *m = sdl_read_model(az, path_of(job, SLOT_MODEL));
    if (!m) return false;
    if (o->predict == SDL_EXHAUSTIVE) m->coding = SDL_EXHAUSTIVE;
    const sdl_files files = {path_of(job, SLOT_DATA), path_of(job, SLOT_LABELS), path_of(job, SLOT_AUX), NULL};
    if (path_of(job, SLOT_TEST) || *o->beside || o->holdout > 0)
        return az_fail(az, AZ_BAD_INPUT, "with a model there is nothing to fit: test, beside and holdout are for fits");
    if (!files.data) {
        const az_table *topics = sdl_report_topics(az, job->report, m, o->top);
        sdl_report_covariates(job->report, m);
        az_results_table(job->results, "topics", topics);
        return az_ok(az);
    }
    const sdl_reading reading = reading_of(o, job);
    sdl_data data;
    if (!sdl_read(az, &reading, &files, m, &data)) return false;
    if (m->scale != 1) data.samples.x = az_matrix_scaled(az, data.samples.x, m->scale);
    const sdl_prediction *p = sdl_predict(az, m, &data.samples);
    if (!p) return false;
    az_report_row(job->report, "predictions");
    az_report_count(job->report, "samples", data.samples.n);
    for (int a = 0; a < m->classes; a++) {
        int64_t count = 0;
        for (int64_t i = 0; i < data.samples.n; i++) count += p->called[i] == a;
        az_report_count(job->report, az_format_text(az, "called_%s", m->class_name[a]), count);
    }
    if (data.samples.label) {
        sdl_score score = sdl_score_of(az, &data.samples, p);
        score.reconstruction = sdl_reconstruction(az, data.samples.x, m->dictionary, p->code);
        sdl_report_score(job->report, "scores", "data", data.samples.n, &score);
        sdl_report_roc(az, job->report, "data", &data.samples, p);
    }
    az_results_table(job->results, "predictions", prediction_table(az, m, &data.samples, p));
    az_results_array(job->results, "code", p->code, NULL, NULL);
    return az_ok(az);
}

static bool sdl_run(az_ctx *az, const void *options, az_estimate_job *job)
{
    return path_of(job, SLOT_MODEL) ? use_model(az, options, job) : fit_sets(az, options, job);
}

const az_method az_sdl = {
    .name = "sdl",
    .family = AZ_ESTIMATE,
    .summary = "a dictionary (topics, features) that reconstructs the data and predicts the labels at once",
    .paper = "Lee, Lyu, Yao: Supervised dictionary learning with auxiliary covariates, arXiv 2206.06774",
    .details = "Fits X ~ C W^T and a logistic regression of the labels on X W (model=filter) or on the codes C (model=feature) together; "
               "xi weighs reconstruction against prediction. Covariates that only the regression sees: aux=COLUMNS or -d aux=FILE. bcd has "
               "signs and penalties and never increases its objective; lpgd is convex but for the rank and has a rate (guaranteed_rate) "
               "when L < 3 mu; choose nu, xi and norm so. Two classes or more; the first in order is the reference. Documents: "
               "target=label with -d posts.jsonl, or a table's column text=...; words become TF-IDF columns, topics are words with beta. "
               "beside compares with pca and nmf followed by a regression, and with a regression on the data (logistic). With -d "
               "model=FILE an earlier fit predicts new data, or, without data, shows its topics.",
    .example = "adze estimate 'sdl:target=kind,rank=2,holdout=0.3,beside=all' -d table.csv -o model.npz\n"
               "adze estimate sdl -d table.csv -d model=model.npz -o predictions.csv",
    .options = sdl_table,
    .options_size = sizeof(sdl_options),
    .inputs = sdl_slots,
    .estimate = sdl_run,
};
