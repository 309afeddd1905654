/* claim_tezo.c - what TeZO promises: steps from losses alone that learn as well as those along directions of every weight, with moments
 * that are a few numbers a matrix and directions that take a few numbers to draw.
 *
 * A small llama learns three tasks on strings, each announced by a letter; then an unknown letter has to take over the meaning of one of
 * them, with every weight free to move. Every method has the same grid of rates, tried on one seed; the best goes on to three others. */
#include "claims/claims.h"
#include "claims/tuning.h"

#include <math.h>
#include <string.h>

enum { LETTERS = 5, TASKS = 3, EXAMPLES = 4096, RATES = 4, SEEDS = 3, SIDE = 2048, RANK = 8 };

/* ---- the tasks ---- */

/* Task 0 says the letters again, 1 backwards, 2 each one place on; the word that announces it is `name`. */
static az_example example_of(az_ctx *az, int task, char name, uint64_t seed, int64_t i)
{
    az_rng rng = az_rng_at(seed, az_stream("claim tezo", (uint64_t)i));
    char text[2][2 * LETTERS + 3] = {{' ', name}, {0}};
    int letter[LETTERS];
    for (int k = 0; k < LETTERS; k++) letter[k] = (int)az_below(&rng, 10);
    for (int k = 0; k < LETTERS; k++) {
        const int answer = task == 1 ? letter[LETTERS - 1 - k] : (letter[k] + (task == 2)) % 10;
        text[0][2 + 2 * k] = text[1][2 * k] = ' ';
        text[0][3 + 2 * k] = (char)('a' + letter[k]);
        text[1][1 + 2 * k] = (char)('a' + answer);
    }
    az_turn *turn = az_alloc_array(az, 2, sizeof *turn);
    for (int t = 0; turn && t < 2; t++)
        turn[t] = (az_turn){.role = t ? "response" : "prompt", .text = az_strdup(az, text[t]), .length = strlen(text[t])};
    return (az_example){.turns = 2, .turn = turn};
}

/* All tasks under their own names, or task 1 under a name that no task has had. */
static az_examples *examples_of(az_ctx *az, bool known, uint64_t seed)
{
    az_examples *examples = az_alloc(az, sizeof *examples);
    az_example *item = az_alloc_array(az, EXAMPLES, sizeof *item);
    for (int64_t i = 0; item && i < EXAMPLES; i++) {
        const int task = known ? (int)(i % TASKS) : 1;
        item[i] = example_of(az, task, known ? (char)('r' + task) : 'z', seed, i);
    }
    if (examples) *examples = (az_examples){.count = EXAMPLES, .item = item, .path = "strings"};
    return az_ok(az) ? examples : NULL;
}

static az_lm *new_model(az_ctx *az)
{
    static const char text[] = " a b c d e f g h i j r s t z a b c d e f g h i j r s t z";
    const az_document document = {.text = text, .length = sizeof text - 1};
    const az_documents documents = {.count = 1, .item = (az_document *)&document, .separated = true, .path = "letters"};
    const az_lm_config config = {.vocabulary = 272, .width = 64, .blocks = 2, .heads = 4, .hidden = 128, .context = 64, .tied = true};
    return az_lm_new(az, "llama", &config, az_tokenizer_train(az, &documents, config.vocabulary), 1);
}

/* The model knows the three tasks. */
static az_lm *taught_model(az_ctx *az, az_report *report)
{
    const az_method *method = az_method_by_name("full");
    az_lm *lm = new_model(az);
    void *options = az_alloc(az, method->options_size);
    az_tune_settings settings = {0};
    az_report *training = az_report_new(az, NULL);
    const char *how = "steps=1500,batch=32,lr=3e-3,schedule=cosine";
    if (!lm || !options || !az_options_parse(az, method->options, "full", "", options)) return NULL;
    if (!az_options_parse(az, az_tune_options, "tune", how, &settings)) return NULL;
    az_tune_job job = {.lm = lm, .train = examples_of(az, true, 1), .settings = &settings, .model = "strings", .report = training};
    if (!job.train || !method->tune(az, options, &job)) return NULL;
    az_report_row(report, "model");
    az_report_count(report, "parameters", az_lm_parameter_count(lm));
    az_report_number(report, "loss", az_report_value(training, "training", "loss"), "nat");
    return lm;
}

/* ---- the runs ---- */

/* Rates of 1e-6 to 1e-2 suit one kind of step or another; each has four around its own, a factor of three or so apart. */
typedef struct contestant {
    const char *label, *method, *options;
    double rate[RATES];
    double loss; /* mean over the seeds at its best rate */
    double state;
    bool edge; /* the best rate is the first or the last of its grid */
} contestant;

#define SGD_RATES                                                                                                                          \
    {                                                                                                                                      \
        1e-5, 3e-5, 1e-4, 3e-4                                                                                                             \
    }
#define ADAM_RATES                                                                                                                         \
    {                                                                                                                                      \
        1e-4, 3e-4, 1e-3, 3e-3                                                                                                             \
    }
static const contestant all[] = {
    {.label = "mezo", .method = "mezo", .options = "", .rate = SGD_RATES},
    {.label = "lozo", .method = "lozo", .options = "", .rate = SGD_RATES},
    {.label = "subzo", .method = "subzo", .options = "", .rate = SGD_RATES},
    {.label = "tezo", .method = "tezo", .options = "rank=8,store", .rate = SGD_RATES},
    {.label = "mezo-m", .method = "mezo", .options = "variant=m", .rate = SGD_RATES},
    {.label = "tezo-m", .method = "tezo", .options = "variant=m,rank=8,store", .rate = SGD_RATES},
    {.label = "mezo-adam", .method = "mezo", .options = "variant=adam", .rate = ADAM_RATES},
    {.label = "tezo-adam", .method = "tezo", .options = "variant=adam,rank=8,store", .rate = ADAM_RATES},
    {.label = "first-order Adam", .method = "full", .options = "", .rate = ADAM_RATES},
};
enum { CONTESTANTS = sizeof all / sizeof *all };

static double final_loss(az_ctx *az, az_lm *lm, const contestant *c, double rate, int seed, double *state)
{
    claim_tuned run;
    az_scope_push(az);
    const claim_tuning what = {.lm = lm,
                               .method = c->method,
                               .options = c->options,
                               .settings = az_format_text(az, "steps=1500,batch=32,lr=%g,schedule=constant,warmup=0", rate),
                               .train = examples_of(az, false, 100 + (uint64_t)seed)};
    const double loss = what.train && claim_tune(az, &what, seed, &run) ? claim_loss_end(&run) : NAN;
    if (az_ok(az)) *state = az_report_value(run.report, "directions", "state");
    az_scope_pop(az);
    if (az_status_of(az) == AZ_NUMERIC) { /* a rate that diverges is a result */
        az_clear(az);
        return INFINITY;
    }
    return loss;
}

static bool run_contestant(az_ctx *az, az_report *report, az_lm *lm, contestant *c)
{
    int best = 0;
    double tried[RATES];
    for (int k = 0; k < RATES; k++) {
        tried[k] = final_loss(az, lm, c, c->rate[k], 0, &c->state);
        if (tried[k] < tried[best]) best = k;
    }
    c->edge = best == 0 || best == RATES - 1;
    for (int seed = 1; seed <= SEEDS; seed++) {
        const double loss = final_loss(az, lm, c, c->rate[best], seed, &c->state);
        c->loss += loss / SEEDS;
        az_report_row(report, "runs");
        az_report_text(report, "method", c->label);
        az_report_number(report, "rate", c->rate[best], "");
        az_report_count(report, "seed", seed);
        az_report_number(report, "final_loss", loss, "nat");
    }
    az_report_row(report, "methods");
    az_report_text(report, "method", c->label);
    az_report_number(report, "rate", c->rate[best], "");
    az_report_bool(report, "edge_of_grid", c->edge);
    az_report_number(report, "final_loss", c->loss, "nat");
    az_report_number(report, "state", c->state, "B");
    return az_ok(az);
}

/* ---- draws ---- */

static double seconds_for(az_ctx *az, float *out, int64_t n)
{
    double best = INFINITY;
    for (int turn = 0; turn < 3; turn++) {
        const double began = az_seconds();
        az_fill_normal(az, 1, (uint64_t)turn, 0, n, out);
        best = fmin(best, az_seconds() - began);
    }
    return best;
}

/* Drawing a direction of a large matrix: all of it, and TeZO's numbers with U and V. */
static double draw_ratio(az_ctx *az, az_report *report)
{
    az_scope_push(az);
    float *out = az_alloc_array(az, (size_t)SIDE * SIDE, sizeof *out);
    const double dense = out ? seconds_for(az, out, (int64_t)SIDE * SIDE) : NAN;
    const double numbers = out ? seconds_for(az, out, RANK + 2 * RANK * SIDE) : NAN;
    az_scope_pop(az);
    az_report_row(report, "draws");
    az_report_count(report, "rows", SIDE);
    az_report_number(report, "mezo", dense, "s");
    az_report_number(report, "tezo", numbers, "s");
    az_report_number(report, "ratio", dense / numbers, "");
    return dense / numbers;
}

/* ---- the verdict ---- */

static const contestant *called(const contestant *list, const char *label)
{
    for (int i = 0; i < CONTESTANTS; i++)
        if (strcmp(list[i].label, label) == 0) return &list[i];
    return NULL;
}

static bool run(az_ctx *az, az_report *report)
{
    static const char *const pairs[][2] = {{"tezo", "mezo"}, {"tezo-m", "mezo-m"}, {"tezo-adam", "mezo-adam"}};
    az_lm *lm = taught_model(az, report);
    contestant *c = az_alloc(az, sizeof all);
    if (!lm || !c) return false;
    memcpy(c, all, sizeof all);
    for (int i = 0; i < CONTESTANTS; i++)
        if (!run_contestant(az, report, lm, &c[i])) return false;
    claim_checks checks = {.report = report};
    for (int i = 0; i < 3; i++) {
        const contestant *a = called(c, pairs[i][0]), *b = called(c, pairs[i][1]);
        claim_check(&checks, az_format_text(az, "%s ends within 0.1 nats of %s", a->label, b->label), a->loss <= b->loss + 0.1);
    }
    const double share = called(c, "tezo-adam")->state / called(c, "mezo-adam")->state;
    claim_check(&checks, "moments and factors of tezo-adam take less than those of mezo-adam", share < 1);
    claim_check(&checks, "a direction is drawn 20 times as fast", draw_ratio(az, report) >= 20);
    return az_ok(az) && checks.held == checks.asked;
}

const az_claim az_claim_tezo = {
    .name = "tezo",
    .statement =
        "with directions and moments of a few numbers a matrix, tuning by losses alone ends within 0.1 nats of tuning along directions "
        "of every weight, for plain steps, momentum and Adam",
    .run = run,
};
