/* claim_cpt.c - the headline of CPT (Blau et al. 2024): with few examples, tuning their embeddings a little in the prompt classifies better
 * than soft tokens alone and no worse than leaving them as they are (in-context learning), with a smaller gap between the examples and new
 * text than soft tokens have.
 *
 * Set classification: a small llama learns to classify in context, "abxcdyca" -> "y", where every sequence draws its letters, the sets
 * that they fall into and the sets' names anew. Episodes are such draws that it has not been trained on. */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "claims/small_world.h"
#include "claims/tuning.h"
#include "tune/cpt.h"

#include <math.h>
#include <string.h>

enum { LETTERS = 12, NAMES = 4, SETS = 3, EACH = 3, WORD = 2, EPISODES = 20, CHOICE = 5, QUERIES = 200, RATES = 3 };

/* ---- episodes ---- */

/* Set s has the letters letter[each s] .. letter[each s + each - 1] and the name name[s]. */
typedef struct episode {
    int sets, each;
    int64_t letter[LETTERS], name[NAMES];
} episode;

static episode draw_episode(az_rng *rng, int sets, int each)
{
    episode e = {.sets = sets, .each = each};
    for (int i = 0; i < LETTERS; i++) e.letter[i] = i;
    for (int s = 0; s < NAMES; s++) e.name[s] = s;
    az_shuffle(rng, e.letter, LETTERS);
    az_shuffle(rng, e.name, NAMES);
    return e;
}

static char name_of(const episode *e, int set)
{
    return (char)('w' + e->name[set]);
}

/* A text of the set: WORD of its letters, one of which may come twice. */
static void draw_text(const episode *e, int set, az_rng *rng, char text[WORD + 1])
{
    for (int k = 0; k < WORD; k++) text[k] = (char)('a' + e->letter[e->each * set + (int)az_below(rng, (uint64_t)e->each)]);
    text[WORD] = 0;
}

static bool contains(const az_examples *examples, const char *text)
{
    for (int64_t i = 0; examples && i < examples->count; i++)
        if (strcmp(examples->item[i].turn[0].text, text) == 0) return true;
    return false;
}

/* Pairs of one episode, of its sets in turn, of texts that are not among the `known`. shuffled: with names that do not tell the sets. */
static az_examples *pairs_of(az_ctx *az, const episode *e, int64_t count, uint64_t seed, const az_examples *known, bool shuffled)
{
    az_examples *all = az_alloc(az, sizeof *all);
    az_example *item = az_alloc_array(az, (size_t)count, sizeof *item);
    for (int64_t i = 0; item && i < count; i++) {
        az_rng rng = az_rng_at(seed, az_stream("pairs", (uint64_t)i));
        const int set = (int)(i % e->sets), named = shuffled ? (int)((i + i / e->sets) % e->sets) : set;
        char text[WORD + 1];
        do draw_text(e, set, &rng, text);
        while (contains(known, text));
        item[i] = small_example(az, text, (char[]){name_of(e, named), 0});
    }
    if (all) *all = (az_examples){.count = count, .item = item, .path = "pairs"};
    return az_ok(az) ? all : NULL;
}

/* ---- the model ---- */

/* What it is trained on: a text of up to `length` letters and names with the same text behind it (sets 0), then pairs of few sets, then of
 * as many as episodes have. Without the copies first, a model of this size stays at the names' frequencies. */
typedef struct stage {
    int length, sets, each;
    const char *settings;
} stage;

static const stage curriculum[] = {
    {16, 0, 0, "steps=2500,batch=32,lr=3e-3,schedule=constant,beta2=0.95"},
    {8, 2, 2, "steps=300,batch=32,lr=2e-3,schedule=constant,beta2=0.95,warmup=0"},
    {16, SETS, EACH, "steps=1000,batch=32,lr=2e-3,schedule=cosine,beta2=0.95,warmup=0"},
};
enum { STAGES = sizeof curriculum / sizeof *curriculum, SEQUENCES = 20000 };

static az_example copy_of(az_ctx *az, const stage *s, az_rng *rng)
{
    enum { SHORTEST = 4, LONGEST = 16 };
    char text[LONGEST + 1] = {0};
    const int n = SHORTEST + (int)az_below(rng, (uint64_t)(s->length - SHORTEST + 1));
    for (int k = 0; k < n; k++) {
        const int drawn = (int)az_below(rng, LETTERS + NAMES);
        text[k] = (char)(drawn < LETTERS ? 'a' + drawn : 'w' + drawn - LETTERS);
    }
    return small_example(az, text, text);
}

/* "abxcdy..." in one sequence, of which the names are learnt. */
static az_example sequence_of(az_ctx *az, const stage *s, az_rng *rng)
{
    const episode e = draw_episode(rng, s->sets, s->each);
    az_example out = {.turns = 2 * s->length, .turn = az_alloc_array(az, 2 * (size_t)s->length, sizeof *out.turn)};
    for (int k = 0; out.turn && k < s->length; k++) {
        const int set = (int)az_below(rng, (uint64_t)s->sets);
        char asked[WORD + 1];
        draw_text(&e, set, rng, asked);
        out.turn[2 * k] = (az_turn){.role = "prompt", .text = az_strdup(az, asked), .length = WORD};
        out.turn[2 * k + 1] = (az_turn){.role = "response", .text = az_strdup(az, (char[]){name_of(&e, set), 0}), .length = 1};
    }
    return out;
}

static az_examples *sequences_of(az_ctx *az, const stage *s, int64_t count, uint64_t seed)
{
    az_examples *all = az_alloc(az, sizeof *all);
    az_example *item = az_alloc_array(az, (size_t)count, sizeof *item);
    for (int64_t i = 0; item && i < count; i++) {
        az_rng rng = az_rng_at(seed, az_stream("sequences", (uint64_t)i));
        item[i] = s->sets > 0 ? sequence_of(az, s, &rng) : copy_of(az, s, &rng);
    }
    if (all) *all = (az_examples){.count = count, .item = item, .path = "sequences"};
    return az_ok(az) ? all : NULL;
}

static const az_lm *classifier(az_ctx *az, az_report *report)
{
    const az_lm *lm = NULL;
    for (int i = 0; i < STAGES && az_ok(az); i++) {
        const stage *s = &curriculum[i];
        small_tuning tuning = {.examples = sequences_of(az, s, SEQUENCES, 1 + (uint64_t)i),
                               .method = "full",
                               .options = "",
                               .settings = s->settings,
                               .report = az_report_new(az, NULL)};
        const small_world world = {
            .width = 64, .blocks = 2, .context = 128, .vocabulary = 257, .settings = s->settings, .examples = tuning.examples};
        if (!tuning.examples) return NULL;
        lm = lm ? small_world_tune(az, lm, &tuning) : small_world_model(az, &world, 0);
        const az_examples *fresh = lm ? sequences_of(az, s, 200, 100) : NULL;
        const az_lm_score *score = fresh ? az_lm_score_examples(az, lm, fresh, NULL) : NULL;
        if (!score) return NULL;
        az_report_row(report, "curriculum");
        az_report_count(report, "parameters", az_lm_parameter_count(lm));
        az_report_text(report, "learns", s->sets > 0 ? "pairs" : "copies");
        az_report_count(report, "length", s->length);
        az_report_count(report, "letters", s->sets > 0 ? s->sets * s->each : LETTERS);
        az_report_number(report, "loss", score->mean.value, "nat");
    }
    return lm;
}

/* ---- ways to learn from few examples ---- */

typedef struct way {
    const char *label, *method, *options;
    const char *lr[RATES];
    bool shuffled;
    int best; /* of the rates, on episodes of their own */
    double train[EPISODES], test[EPISODES];
} way;

static const az_lm_form form = {.input = "{}", .output = "{}", .within = "", .between = ""};
#define FORM "input={},output={},within=,between="

/* Shares of the shots and of the queries that get their names. */
static bool classify(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const az_examples *shots, const az_examples *queries,
                     double out[2])
{
    const az_lm_labels *labels = az_lm_labels_of(az, queries);
    for (int i = 0; i < 2; i++) {
        const az_lm_classify_options how = {.adapter = adapter, .form = &form};
        const az_lm_classification *c = az_lm_classify(az, lm, i ? queries : shots, labels, &how);
        out[i] = c ? c->accuracy.value : NAN;
    }
    return az_ok(az);
}

/* One way on one episode of 4, 8, 12 or 16 shots. */
static bool run_episode(az_ctx *az, const az_lm *lm, const way *w, int lr, int number, double out[2])
{
    az_rng rng = az_rng_at(3, az_stream("episodes", (uint64_t)number));
    const episode e = draw_episode(&rng, SETS, EACH);
    const int64_t count = 4 + 4 * (number % 4);
    const az_examples *shots = pairs_of(az, &e, count, 100 + (uint64_t)number, NULL, w->shuffled),
                      *queries = pairs_of(az, &e, QUERIES, 1000 + (uint64_t)number, shots, false);
    small_tuning tuning = {.examples = shots,
                           .method = w->method,
                           .options = w->options,
                           .settings =
                               az_format_text(az, "steps=%lld,batch=4,lr=%s,schedule=constant,warmup=0", (long long)(4 * count), w->lr[lr]),
                           .seed = number};
    if (!shots || !queries || !small_world_tune(az, lm, &tuning)) return false;
    const bool good = classify(az, lm, tuning.adapter, shots, queries, out);
    az_adapter_free(az, tuning.adapter);
    return good;
}

/* Episodes first .. first + n - 1. */
static bool run_episodes(az_ctx *az, const az_lm *lm, const way *w, int lr, int first, int n, double *train, double *test)
{
    for (int i = 0; i < n; i++) {
        double one[2];
        az_scope_push(az);
        const bool good = run_episode(az, lm, w, lr, first + i, one);
        az_scope_pop(az);
        if (!good) return false;
        train[i] = one[0], test[i] = one[1];
    }
    return true;
}

static double mean(const double *x, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i] / n;
    return sum;
}

static double gap(const way *w)
{
    return mean(w->train, EPISODES) - mean(w->test, EPISODES);
}

static bool compete(az_ctx *az, az_report *report, const az_lm *lm, way *w)
{
    double best = -1;
    for (int lr = 0; lr < RATES && w->lr[lr]; lr++) {
        double train[CHOICE], test[CHOICE];
        if (!run_episodes(az, lm, w, lr, EPISODES, CHOICE, train, test)) return false;
        if (mean(test, CHOICE) > best) best = mean(test, CHOICE), w->best = lr;
    }
    if (!run_episodes(az, lm, w, w->best, 0, EPISODES, w->train, w->test)) return false;
    az_report_row(report, "episodes");
    az_report_text(report, "way", w->label);
    az_report_text(report, "lr", w->lr[w->best]);
    az_report_number(report, "train_accuracy", mean(w->train, EPISODES), "");
    az_report_number(report, "test_accuracy", mean(w->test, EPISODES), "");
    az_report_number(report, "gap", gap(w), "");
    return true;
}

/* Test accuracy of a minus that of b, paired over the episodes. */
static az_estimate difference(az_report *report, const way *a, const way *b)
{
    double each[EPISODES];
    for (int i = 0; i < EPISODES; i++) each[i] = a->test[i] - b->test[i];
    const az_estimate d = az_mean_estimate(each, EPISODES, 0.95);
    az_report_row(report, "differences");
    az_report_text(report, "way", a->label);
    az_report_text(report, "against", b->label);
    az_report_number(report, "test_accuracy", d.value, "");
    az_report_number(report, "low", d.low, "");
    az_report_number(report, "high", d.high, "");
    return d;
}

enum { ICL, PT, IPT, LORA, FREE, NO_CONTEXT_LOSS, MINE, SHUFFLED, WAYS };
#define BOLD                                                                                                                               \
    {                                                                                                                                      \
        "1e-3", "1e-2", "1e-1"                                                                                                             \
    }
static const way all_ways[WAYS] = {
    [ICL] = {.label = "icl", .method = "cpt", .options = "variant=icl," FORM, .lr = {"0"}},
    [PT] = {.label = "pt", .method = "cpt", .options = "variant=pt,soft=10," FORM, .lr = BOLD},
    [IPT] = {.label = "ipt", .method = "cpt", .options = "variant=ipt,soft=10," FORM, .lr = BOLD},
    [LORA] = {.label = "lora", .method = "lora", .options = "rank=4,targets=all-linear", .lr = {"1e-3", "3e-3", "1e-2"}},
    [FREE] = {.label = "cpt without balls", .method = "cpt", .options = "eps_input=1e9,eps_format=1e9," FORM, .lr = BOLD},
    [NO_CONTEXT_LOSS] = {.label = "cpt, no loss in the context", .method = "cpt", .options = "context_loss=false," FORM, .lr = BOLD},
    [MINE] = {.label = "cpt", .method = "cpt", .options = FORM, .lr = BOLD},
    [SHUFFLED] = {.label = "cpt, shuffled names", .method = "cpt", .options = FORM, .lr = BOLD, .shuffled = true},
};

static bool run(az_ctx *az, az_report *report)
{
    claim_checks checks = {.report = report};
    way *w = az_alloc(az, sizeof all_ways);
    const az_lm *lm = w ? classifier(az, report) : NULL;
    if (!lm) return false;
    memcpy(w, all_ways, sizeof all_ways);
    for (int i = 0; i < WAYS; i++)
        if (!compete(az, report, lm, &w[i]) || !az_progress(az, "ways", i + 1, WAYS, NULL)) return false;
    const az_estimate icl = difference(report, &w[MINE], &w[ICL]), pt = difference(report, &w[MINE], &w[PT]),
                      shuffled = difference(report, &w[MINE], &w[SHUFFLED]);
    claim_check(&checks, "new pairs: at least in-context learning's accuracy", icl.value >= 0);
    claim_check(&checks, "new pairs: more than soft tokens alone", pt.low > 0);
    claim_check(&checks, "gap at most half of that of soft tokens alone", gap(&w[MINE]) <= gap(&w[PT]) / 2);
    claim_check(&checks, "gap smaller than without balls", gap(&w[MINE]) < gap(&w[FREE]));
    claim_check(&checks, "shuffled names hurt", shuffled.low > 0);
    return claim_decide(az, report, checks.asked, checks.held);
}

const az_claim az_claim_cpt = {
    .name = "cpt",
    .statement = "with 4 to 16 examples of new classes CPT classifies new text at least as well as in-context learning and better than "
                 "soft tokens alone, with at most half of their gap between examples and new text, which without balls is larger",
    .run = run,
};
