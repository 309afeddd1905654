/* claim_dsl.c - what design-based supervised learning (Egami et al. 2023) is for: intervals from a machine's labels that keep their level,
 * where the machine's labels alone are biased and the labelled rows alone are imprecise. */
#include "claims/claims.h"
#include "claims/splitmix.h"

#include <math.h>
#include <string.h>

enum { SAMPLES = 400, ROWS = 2000, COEFFICIENTS = 3 };
static const double truth[COEFFICIENTS] = {-0.3, 0.8, 0.5};
static const char *const names[COEFFICIENTS] = {"(Intercept)", "x1", "x2"};

/* y from a logit of x1 and x2; the machine is right in 75 % of the rows with x1 = 1 and in 95 % of the others, where it says 1; people
 * label 30 % and 15 % of them. */
static az_table *make_sample(az_ctx *az, uint64_t seed)
{
    const double *u[5];
    for (uint64_t k = 0; k < 5; k++) u[k] = k == 1 ? splitmix_normal(az, seed + k, ROWS) : splitmix_uniform(az, seed + k, ROWS);
    double *column[6];
    for (int c = 0; c < 6; c++) column[c] = az_alloc_array(az, ROWS, sizeof(double));
    for (int64_t i = 0; az_ok(az) && i < ROWS; i++) {
        const double x1 = u[0][i]<0.5, x2 = u[1][i], pi = x1> 0 ? 0.3 : 0.15;
        const double y = u[2][i] < 1 / (1 + exp(-(truth[0] + truth[1] * x1 + truth[2] * x2)));
        const double values[] = {x1, x2, u[4][i] < pi ? y : NAN, u[3][i] < (x1 > 0 ? 0.75 : 0.95) ? y : 1, pi, (double)(i % 5)};
        for (int c = 0; c < 6; c++) column[c][i] = values[c];
    }
    static const char *const columns[] = {"x1", "x2", "y", "q", "pi", "fold"};
    az_table *table = az_table_new(az, ROWS);
    for (int c = 0; c < 6; c++) az_table_add(az, table, columns[c], column[c]);
    return az_ok(az) ? table : NULL;
}

/* The table "coefficients" of a run. */
static const az_table *estimate(az_ctx *az, const az_table *table, const char *options)
{
    const az_method *method = az_method_by_name("dsl");
    void *settings = az_alloc(az, method->options_size);
    if (!table || !settings || !az_options_parse(az, method->options, method->name, options, settings)) return NULL;
    const az_input input = {.table = table};
    const az_inputs inputs[] = {{.count = 1, .item = &input}, {0}, {0}};
    az_estimate_job job = {.inputs = inputs, .results = az_results_new(az)};
    return method->estimate(az, settings, &job) ? az_results_find_table(job.results, "coefficients") : NULL;
}

typedef struct tally {
    double covered, bias, squares;
} tally;

static void count(tally *t, double value, double se, double true_value)
{
    t->covered += fabs(value - true_value) < az_normal_quantile(0.975) * se;
    t->bias += (value - true_value) / SAMPLES;
    t->squares += pow(value - true_value, 2) / SAMPLES;
}

enum { DSL, SURROGATE, GOLD, WAYS };

static bool run_samples(az_ctx *az, tally tallies[WAYS][COEFFICIENTS])
{
    static const char *const columns[WAYS][2] = {
        {"estimate", "se"}, {"surrogate_only", "surrogate_only_se"}, {"gold_only", "gold_only_se"}};
    for (uint64_t sample = 0; sample < SAMPLES && az_ok(az); sample++) {
        az_scope_push(az);
        const az_table *fit = estimate(az, make_sample(az, 100000 + 10 * sample),
                                       "formula=y ~ x1 + x2,model=logit,gold=y,surrogate=q,feature=x1 + x2,prob=pi,fold=fold,"
                                       "label_model=ols,no-rescale_prob");
        for (int w = 0; fit && w < WAYS; w++) {
            const az_column *value = az_table_find(az, fit, columns[w][0]), *se = az_table_find(az, fit, columns[w][1]);
            for (int j = 0; value && se && j < COEFFICIENTS; j++) count(&tallies[w][j], value->value[j], se->value[j], truth[j]);
        }
        az_scope_pop(az);
        if (!az_progress(az, "samples", (int64_t)sample + 1, SAMPLES, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    return az_ok(az);
}

/* Coverage of 95 % within three standard errors, hardly any bias where the machine's labels have much, and a smaller error than the
 * labelled rows alone. */
static bool judge(tally tallies[WAYS][COEFFICIENTS], az_report *report)
{
    bool holds = true;
    for (int j = 0; j < COEFFICIENTS; j++) {
        const tally *dsl = &tallies[DSL][j], *machine = &tallies[SURROGATE][j], *gold = &tallies[GOLD][j];
        az_report_row(report, "samples");
        az_report_text(report, "name", names[j]);
        az_report_number(report, "coverage_dsl", dsl->covered / SAMPLES, "");
        az_report_number(report, "coverage_surrogate_only", machine->covered / SAMPLES, "");
        az_report_number(report, "coverage_gold_only", gold->covered / SAMPLES, "");
        az_report_number(report, "bias_dsl", dsl->bias, "");
        az_report_number(report, "bias_surrogate_only", machine->bias, "");
        az_report_number(report, "rmse_dsl", sqrt(dsl->squares), "");
        az_report_number(report, "rmse_surrogate_only", sqrt(machine->squares), "");
        az_report_number(report, "rmse_gold_only", sqrt(gold->squares), "");
        holds = holds && dsl->covered >= 0.92 * SAMPLES && dsl->covered <= 0.98 * SAMPLES && fabs(dsl->bias) <= 0.012;
        holds = holds && fabs(machine->bias) > 3 * fabs(dsl->bias) && dsl->squares < gold->squares;
    }
    az_report_row(report, "decision");
    az_report_count(report, "samples", SAMPLES);
    return holds;
}

static bool run(az_ctx *az, az_report *report)
{
    tally tallies[WAYS][COEFFICIENTS] = {{{0}}};
    return run_samples(az, tallies) && judge(tallies, report);
}

const az_claim az_claim_dsl = {
    .name = "dsl",
    .statement =
        "over 400 samples, intervals of design-based supervised learning cover in 92 to 98 %, its bias is below 0.012 and less than a "
        "third of that of the machine's labels alone, and its error is smaller than that of the labelled rows alone",
    .run = run,
};
