/* claim_aops.c - the headlines of the AoPS pipeline, in a world of sums: a model learns more from extracted question-answer pairs than from
 * as much text of raw threads; accuracy that falls with the questions' age shows that a model was trained on a benchmark's older part, and
 * falls no more once the training set is freed of what it shares with the benchmark. */
#include "claims/claims.h"
#include "claims/small_world.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEEDS = 20, MONTHS = 24, EACH = 5, BENCHMARK = MONTHS * EACH, OWN = 240, REPEATS = 3, LARGEST = 20, FIRST_YEAR = 2023, WORDS = 10 };

/* ---- the world ---- */

typedef struct sum_question {
    int a, b;
} sum_question;

/* Different sums in an order of the seed's: the first BENCHMARK make the benchmark, the next are a training set's own. */
static sum_question *draw_questions(az_ctx *az, uint64_t seed)
{
    const int all = LARGEST * LARGEST;
    sum_question *question = az_alloc_array(az, BENCHMARK + OWN, sizeof *question);
    int64_t *order = az_alloc_array(az, (size_t)all, sizeof *order);
    if (!question || !order) return NULL;
    for (int i = 0; i < all; i++) order[i] = i;
    az_rng rng = az_rng_at(seed, az_stream("claim aops", 0));
    az_shuffle(&rng, order, all);
    for (int i = 0; i < BENCHMARK + OWN; i++) question[i] = (sum_question){(int)(order[i] / LARGEST), (int)(order[i] % LARGEST)};
    return question;
}

static const char *text_of(az_ctx *az, const sum_question *q)
{
    return az_format_text(az, "What is the sum of %d and %d as a whole number ?", q->a, q->b);
}

static az_example pair_of(az_ctx *az, const sum_question *q)
{
    return small_example(az, az_math_prompt(az, NULL, text_of(az, q))->item[0].text, az_format_text(az, " \\boxed{%d}", q->a + q->b));
}

/* A thread as a forum has it: chatter, a wrong answer, a right one. */
static az_example thread_of(az_ctx *az, const sum_question *q)
{
    return small_example(az, "Post 1",
                         az_format_text(az,
                                        " by user ann: %s\n####\nPost 2 by user ben: no idea, sorry\n####\nPost 3 by user cat: "
                                        "perhaps %d ?\n####\nPost 4 by user dan: adding gives %d\n####",
                                        text_of(az, q), q->a + q->b + 1 + q->a % 3, q->a + q->b));
}

/* ---- training and asking ---- */

static az_lm *train(az_ctx *az, const az_examples *examples, int seed)
{
    const small_world world = {
        .width = 64, .blocks = 2, .context = 192, .vocabulary = 320, .settings = "epochs=40,batch=8,lr=2e-3", .examples = examples};
    return small_world_model(az, &world, seed);
}

static const char *write_benchmark(az_ctx *az, const char *folder, const sum_question *q)
{
    const char *path = az_format_text(az, "%s/bench.jsonl", folder);
    az_out *out = az_create(az, path);
    for (int i = 0; out && i < BENCHMARK; i++)
        fprintf(az_out_stream(out),
                "{\"id\": %d, \"question\": \"%s\", \"answer\": \"%d\", \"answer_type\": \"real\", \"year\": %d, \"month\": %d}\n", i,
                text_of(az, &q[i]), q[i].a + q[i].b, FIRST_YEAR + i / EACH / 12, i / EACH % 12 + 1);
    return az_commit(out) ? path : NULL;
}

typedef struct asked {
    double accuracy, slope, p;
} asked;

static bool ask(az_ctx *az, const az_lm *lm, const char *benchmark, const char *predictions, asked *out)
{
    az_backend *model = az_backend_of_model(az, lm, "raw", NULL, NULL);
    az_report *report = az_report_new(az, NULL);
    unlink(predictions);
    if (!az_math_evaluate(model, benchmark, predictions, &(az_math_how){.max_tokens = 64}, report)) return false;
    if (!az_math_decay(az, predictions, 12 * (FIRST_YEAR + 1), report)) return false;
    *out = (asked){.accuracy = az_report_value(report, "accuracy", "accuracy"),
                   .slope = az_report_value(report, "slope", "slope"),
                   .p = az_report_value(report, "slope", "p")};
    return true;
}

static bool falls(const asked *a)
{
    return a->slope < 0 && a->p < 0.05;
}

/* ---- the arms of the decay ---- */

enum { CLEAN, LEAKED, FREED, ARMS };
static const char *const arm_name[ARMS] = {"own questions", "with the benchmark's first year", "the same, freed of overlaps"};

/* Own pairs; leaked: the first year's questions too, several times each; freed: what of those shares nothing with the benchmark. */
static az_examples training_set(az_ctx *az, const sum_question *q, int arm)
{
    az_examples all = {.path = "sums", .item = az_alloc_array(az, OWN + BENCHMARK * REPEATS, sizeof *all.item)};
    az_overlap *overlap = az_overlap_new(az, WORDS);
    for (int i = 0; i < BENCHMARK; i++) az_overlap_add(overlap, "benchmark", text_of(az, &q[i]));
    for (int i = 0; all.item && i < OWN; i++) all.item[all.count++] = pair_of(az, &q[BENCHMARK + i]);
    for (int i = 0; all.item && arm != CLEAN && i < BENCHMARK / 2 * REPEATS; i++) all.item[all.count++] = pair_of(az, &q[i / REPEATS]);
    int64_t kept = 0;
    for (int64_t i = 0; i < all.count; i++)
        if (arm != FREED || !az_overlap_find(overlap, all.item[i].turn[0].text, NULL)) all.item[kept++] = all.item[i];
    all.count = kept;
    return all;
}

static bool same_set(const az_examples *a, const az_examples *b)
{
    bool same = a->count == b->count;
    for (int64_t i = 0; same && i < a->count; i++) same = strcmp(a->item[i].line, b->item[i].line) == 0;
    return same;
}

/* found: of each arm. Equal sets make equal models, so what was measured on the first of them holds for the second. */
static bool decay_of_seed(az_ctx *az, int seed, const char *folder, asked found[ARMS], az_report *report)
{
    const sum_question *q = draw_questions(az, (uint64_t)seed);
    const char *benchmark = q ? write_benchmark(az, folder, q) : NULL, *predictions = az_format_text(az, "%s/predictions.jsonl", folder);
    az_examples set[ARMS];
    for (int arm = 0; benchmark && arm < ARMS; arm++) {
        set[arm] = training_set(az, q, arm);
        const bool known = arm != CLEAN && az_ok(az) && same_set(&set[arm], &set[CLEAN]);
        const az_lm *lm = known ? NULL : train(az, &set[arm], seed);
        if (known)
            found[arm] = found[CLEAN];
        else if (!lm || !ask(az, lm, benchmark, predictions, &found[arm]))
            return false;
        az_report_row(report, "decay");
        az_report_count(report, "seed", seed);
        az_report_text(report, "trained_on", arm_name[arm]);
        az_report_count(report, "pairs", set[arm].count);
        az_report_number(report, "accuracy", found[arm].accuracy, "");
        az_report_number(report, "slope", found[arm].slope, "logit/month");
        az_report_number(report, "p", found[arm].p, "");
    }
    return az_ok(az) && benchmark;
}

/* ---- pairs against threads ---- */

static size_t bytes_of(const az_example *e)
{
    return e->turn[0].length + e->turn[1].length;
}

/* Accuracy after as many bytes of threads about the own questions as all pairs of them have. */
static bool accuracy_of_threads(az_ctx *az, int seed, const char *folder, double *accuracy)
{
    const sum_question *q = draw_questions(az, (uint64_t)seed);
    const char *benchmark = q ? write_benchmark(az, folder, q) : NULL;
    az_examples set = {.path = "sums", .item = az_alloc_array(az, OWN, sizeof *set.item)};
    size_t room = 0;
    for (int i = 0; benchmark && set.item && i < OWN; i++) {
        const az_example pair = pair_of(az, &q[BENCHMARK + i]);
        room += bytes_of(&pair);
    }
    for (int i = 0; set.item && benchmark && i < OWN; i++) {
        const az_example thread = thread_of(az, &q[BENCHMARK + i]);
        if (bytes_of(&thread) > room) break;
        room -= bytes_of(&thread);
        set.item[set.count++] = thread;
    }
    asked found;
    const az_lm *lm = az_ok(az) ? train(az, &set, seed) : NULL;
    if (!lm || !ask(az, lm, benchmark, az_format_text(az, "%s/predictions.jsonl", folder), &found)) return false;
    *accuracy = found.accuracy;
    return true;
}

static bool run(az_ctx *az, az_report *report)
{
    enum { COMPARED = 5 };
    char folder[] = "/tmp/adze-claim-aops-XXXXXX";
    int fell[ARMS] = {0};
    double gain[COMPARED];
    if (!mkdtemp(folder)) return az_fail(az, AZ_IO, "cannot make a folder in /tmp");
    for (int seed = 0; seed < SEEDS; seed++) {
        asked of[ARMS];
        double from_threads = 0;
        az_scope_push(az);
        bool good = decay_of_seed(az, seed, folder, of, report);
        if (good && seed < COMPARED) good = accuracy_of_threads(az, seed, folder, &from_threads);
        az_scope_pop(az);
        if (!good || !az_progress(az, "seeds", seed + 1, SEEDS, NULL)) return false;
        for (int arm = 0; arm < ARMS; arm++) fell[arm] += falls(&of[arm]);
        if (seed < COMPARED) gain[seed] = of[CLEAN].accuracy - from_threads;
    }
    const az_estimate more = az_mean_estimate(gain, COMPARED, 0.95);
    az_report_row(report, "decision");
    az_report_count(report, "seeds", SEEDS);
    for (int arm = 0; arm < ARMS; arm++)
        az_report_count(report, arm == CLEAN ? "fell_clean" : arm == LEAKED ? "fell_leaked" : "fell_freed", fell[arm]);
    az_report_number(report, "pairs_minus_threads", more.value, "");
    az_report_number(report, "low", more.low, "");
    return fell[CLEAN] <= 2 && fell[FREED] <= 2 && fell[LEAKED] >= 18 && more.low > 0;
}

const az_claim az_claim_aops = {
    .name = "aops",
    .statement =
        "pairs teach more than as much text of threads; accuracy falls with time for a model that saw the benchmark's first year (18 of 20 "
        "seeds at least), and not for one that did not, or whose training set was freed of overlaps (2 of 20 at most)",
    .run = run,
};
