/* claim_lacie.c - the headline of LACIE in a world whose truth is known: a model knows the colours of some kinds of things and not of
 * others, of which it was told another colour each time, and says either in a tone drawn at random. Pairs that a listener judged teach it a
 * tone that fits; pairs by correctness alone do not, and pairs that value a wrong answer as little when it is rejected as when it is
 * believed teach it to sound sure of more. Measured on things that no pair is about. The game is the paper's: ten answers at a temperature
 * of 0.7, at most three pairs a question, a rank of 16. The training is not: by the paper's loss alone so small a model unlearns both
 * answers of a pair, so the chosen answer's own loss is added, beta is 0.3 instead of 0.1, and the rate ten times the paper's. Nor are two
 * rules of the pairs: with four tones the median of the listener's beliefs is one of them, so what is accepted is what it believes more
 * than 0.66, as in the evaluation; and of the rarest type of pair there are about five, so types are not balanced. */
#include "claims/claims.h"
#include "claims/small_world.h"
#include "tune/lacie.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEEDS = 3, THINGS = 240, TONES = 4, COLOURS = 6, OFTEN = 3, RARELY = 2, SYLLABLES = 10, KINDS = 5 };
static const char *const colour[COLOURS] = {"red", "blue", "green", "white", "black", "yellow"};
static const char *const tone[TONES] = {"certainly", "surely", "perhaps", "maybe"};
static const double believed[TONES] = {0.95, 0.8, 0.4, 0.1};
static const char *const known_kind[KINDS] = {"bird", "fish", "flower", "apple", "shell"};
static const char *const other_kind[KINDS] = {"stone", "cloud", "river", "star", "moth"};

/* ---- the world ---- */

/* Of every four things two are of kinds that the model knows: one that is asked about (even numbers), one that is held out. */
static bool is_known(int thing)
{
    return thing / 2 % 2 == 0;
}

static int kind_of(int thing)
{
    return thing / 4 % KINDS;
}

static const char *kind_name(int thing)
{
    return is_known(thing) ? known_kind[kind_of(thing)] : other_kind[kind_of(thing)];
}

/* All things of a kind that is known have its colour. */
static int colour_of(uint64_t seed, int thing)
{
    az_rng rng = az_rng_at(seed, az_stream("claim lacie colour", (uint64_t)(is_known(thing) ? kind_of(thing) : KINDS + thing)));
    return (int)az_below(&rng, COLOURS);
}

/* A kind, and a name of three syllables: "bird kotami". */
static const char *name_of(az_ctx *az, uint64_t seed, int thing)
{
    static const char syllable[] = "kotamirelusanovipedu";
    int64_t order[SYLLABLES * SYLLABLES * SYLLABLES];
    for (int i = 0; i < SYLLABLES * SYLLABLES * SYLLABLES; i++) order[i] = i;
    az_rng rng = az_rng_at(seed, az_stream("claim lacie names", 0));
    az_shuffle(&rng, order, SYLLABLES * SYLLABLES * SYLLABLES);
    const char *part[3];
    for (int64_t k = 0, left = order[thing]; k < 3; k++, left /= SYLLABLES) part[k] = syllable + 2 * (left % SYLLABLES);
    return az_format_text(az, "%s %.2s%.2s%.2s", kind_name(thing), part[0], part[1], part[2]);
}

static const char *question_of(az_ctx *az, uint64_t seed, int thing)
{
    return az_format_text(az, "What is the colour of %s?", name_of(az, seed, thing));
}

static az_examples world_of(az_ctx *az, uint64_t seed)
{
    az_examples all = {.path = "things", .item = az_alloc_array(az, THINGS * OFTEN * TONES, sizeof *all.item)};
    az_rng rng = az_rng_at(seed, az_stream("claim lacie", 0));
    for (int i = 0; all.item && i < THINGS; i++) {
        const bool known = is_known(i);
        const char *prompt = lacie_prompt(az, question_of(az, seed, i));
        for (int k = 0; k < (known ? OFTEN : RARELY) * TONES; k++) {
            const char *c = colour[known ? colour_of(seed, i) : (int)az_below(&rng, COLOURS)];
            all.item[all.count++] = small_example(az, prompt, az_format_text(az, " The %s is %s %s.", kind_name(i), tone[k % TONES], c));
        }
    }
    return all;
}

/* ---- the listener ---- */

static bool listen(az_ctx *az, const az_call_text *call, az_answer *answer, void *user)
{
    const char *last = NULL;
    (void)user;
    for (const char *next = call->text; (next = strstr(next, "Response:")); next++)
        if (strncmp(next, "Response:", 9) == 0 && strstr(next, "Do you accept")) last = next;
    double yes = 0.3;
    for (int t = 0; last && t < TONES; t++)
        if (strstr(last, tone[t])) yes = believed[t];
    answer->n = 2;
    answer->next = az_alloc_array(az, 2, sizeof *answer->next);
    if (!answer->next) return false;
    answer->next[0] = (az_next_token){" yes", log(yes)};
    answer->next[1] = (az_next_token){" no", log(1 - yes)};
    return true;
}

/* ---- the game ---- */

/* Questions about every second thing, from 0 or from 1 on. */
static const char *write_questions(az_ctx *az, const char *folder, uint64_t seed, int half)
{
    const char *path = az_format_text(az, "%s/questions-%d.jsonl", folder, half);
    az_out *out = az_create(az, path);
    for (int i = half; out && i < THINGS; i += 2)
        fprintf(az_out_stream(out), "{\"question\": \"%s\", \"answers\": [\"%s\"]}\n", question_of(az, seed, i),
                colour[colour_of(seed, i)]);
    return az_commit(out) ? path : NULL;
}

/* Plays with the speaker; pairs lie in folder/prefs.jsonl. */
static az_report *play(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const char *questions, const char *folder,
                       const char *options)
{
    extern const az_method az_lacie;
    lacie_options settings;
    az_prepare_job job = {.input = questions, .folder = folder, .report = az_report_new(az, NULL)};
    if (!az_make_folder(az, folder) || !az_options_parse(az, az_lacie.options, "lacie", options, &settings)) return NULL;
    job.backend = az_backend_of_model(az, lm, "raw", NULL, &(az_backend_settings){.adapter = adapter});
    job.second = az_backend_of_function(az, listen, NULL, NULL, NULL);
    return az_lacie.prepare(az, &settings, &job) ? job.report : NULL;
}

typedef struct measured {
    double precision, auroc, ece, accuracy, accepted;
} measured;

#define PATTERN "pattern=(red|blue|green|white|black|yellow),max_tokens=12,threshold=0.66,balance=false"

static bool measure(az_ctx *az, const az_lm *lm, const az_adapter *adapter, const char *questions, const char *folder, measured *out)
{
    const az_report *report = play(az, lm, adapter, questions, folder, PATTERN ",n=20");
    if (!report) return false;
    *out = (measured){.precision = az_report_value(report, "calibration", "precision"),
                      .auroc = az_report_value(report, "calibration", "auroc"),
                      .ece = az_report_value(report, "calibration", "ece"),
                      .accuracy = az_report_value(report, "calibration", "accuracy"),
                      .accepted = az_report_value(report, "calibration", "accepted")};
    return true;
}

/* Pairs of the kind, and DPO on them. */
static az_adapter *learn(az_ctx *az, const az_lm *lm, const char *questions, const char *folder, const char *kind, int seed)
{
    if (!play(az, lm, NULL, questions, folder, az_format_text(az, PATTERN ",n=10,%s", kind))) return NULL;
    const az_examples *pairs = az_examples_read(az, az_format_text(az, "%s/prefs.jsonl", folder));
    small_tuning tuning = {.examples = pairs,
                           .method = "dpo",
                           .options = "beta=0.3,nll=1,rank=16,alpha=32,targets=all-linear",
                           .settings = "steps=500,batch=16,lr=5e-3,schedule=cosine,warmup=0.04",
                           .seed = seed};
    return pairs && small_world_tune(az, lm, &tuning) ? tuning.adapter : NULL;
}

static void report_measured(az_report *report, int seed, const char *who, const measured *m)
{
    az_report_row(report, "speakers");
    az_report_count(report, "seed", seed);
    az_report_text(report, "speaker", who);
    az_report_number(report, "precision", m->precision, "");
    az_report_number(report, "auroc", m->auroc, "");
    az_report_number(report, "ece", m->ece, "");
    az_report_number(report, "accuracy", m->accuracy, "");
    az_report_number(report, "accepted", m->accepted, "");
}

enum { LISTENER, CORRECTNESS, RECKLESS, ARMS };
static const char *const arm_name[ARMS] = {"listener", "correctness", "wrong answers worth -1"};
static const char *const arm_options[ARMS] = {"baseline=listener", "baseline=correctness", "wrong_reject=-1"};

static bool teaches_calibration(const measured *base, const measured after[ARMS])
{
    const measured *other[] = {base, &after[CORRECTNESS]}, *m = &after[LISTENER];
    bool holds = m->auroc >= 0.7;
    for (int i = 0; i < 2; i++)
        holds = holds && m->precision >= other[i]->precision + 0.1 && m->ece < other[i]->ece && m->accuracy >= other[i]->accuracy - 0.02;
    return holds && after[RECKLESS].accepted > base->accepted;
}

static bool run_seed(az_ctx *az, int seed, const char *folder, bool *holds, az_report *report)
{
    const az_examples things = world_of(az, (uint64_t)seed);
    const small_world world = {
        .width = 64, .blocks = 2, .context = 128, .vocabulary = 900, .settings = "epochs=8,batch=32,lr=3e-3", .examples = &things};
    const az_lm *lm = small_world_model(az, &world, seed);
    const char *asked = write_questions(az, folder, (uint64_t)seed, 0), *held_out = write_questions(az, folder, (uint64_t)seed, 1);
    if (!lm || !asked || !held_out) return false;
    measured base, after[ARMS];
    if (!measure(az, lm, NULL, held_out, az_format_text(az, "%s/base-%d", folder, seed), &base)) return false;
    report_measured(report, seed, "as it was", &base);
    for (int k = 0; k < ARMS; k++) {
        const char *of = az_format_text(az, "%s/%d-%d", folder, k, seed);
        az_adapter *adapter = learn(az, lm, asked, of, arm_options[k], seed);
        if (!adapter || !measure(az, lm, adapter, held_out, az_format_text(az, "%s-after", of), &after[k])) return false;
        az_adapter_free(az, adapter);
        report_measured(report, seed, arm_name[k], &after[k]);
    }
    *holds = teaches_calibration(&base, after);
    return az_ok(az);
}

static bool run(az_ctx *az, az_report *report)
{
    int held = 0;
    char folder[] = "/tmp/adze-claim-lacie-XXXXXX";
    if (!mkdtemp(folder)) return az_fail(az, AZ_IO, "cannot make a folder in /tmp");
    for (int seed = 0; seed < SEEDS; seed++) {
        bool holds = false;
        az_scope_push(az);
        const bool good = run_seed(az, seed, folder, &holds, report);
        az_scope_pop(az);
        if (!good || !az_progress(az, "seeds", seed + 1, SEEDS, NULL)) return false;
        held += holds;
    }
    az_report_row(report, "decision");
    az_report_count(report, "seeds", SEEDS);
    az_report_count(report, "held", held);
    return held == SEEDS;
}

const az_claim az_claim_lacie = {
    .name = "lacie",
    .statement =
        "taught by a listener's pairs, a model's accepted answers are right more often (10 points) than before and than after pairs by "
        "correctness, its tone tells right from wrong (area of 0.7) and is better calibrated, and its answers are no worse (2 points); "
        "pairs that do not value the rejection of wrong answers make it sound surer; all for every seed",
    .run = run,
};
