/* claim_adalora.c - the headline of AdaLoRA (Zhang et al. 2023): ranks go where they are needed, so that a small total does more than the
 * same rank everywhere. */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "claims/planted_ranks.h"
#include "claims/tuning.h"
#include "tune/adalora.h"

#include "adze/grad.h"

#include <math.h>
#include <string.h>

/* ---- regressions with known ranks ---- */

static bool compare_regressions(az_ctx *az, claim_checks *checks)
{
    enum { SEEDS = 10 };
    int exact = 0, near = 0, uniform_near = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        planted_result mine, uniform;
        if (!planted_regressions(az, seed, false, &mine) || !planted_regressions(az, seed, true, &uniform)) return false;
        bool same = true;
        const char *ranks = "";
        for (int k = 0; k < PLANTED_MATRICES; k++) {
            same = same && mine.rank[k] == planted_rank[k];
            ranks = az_format_text(az, "%s%s%lld", ranks, k ? " " : "", (long long)mine.rank[k]);
        }
        exact += same;
        near += mine.error < 0.01;
        uniform_near += fabs(uniform.error - 5) < 0.05; /* three and two singular values of 1 that rank 1 leaves */
        az_report_row(checks->report, "regressions");
        az_report_count(checks->report, "seed", (int64_t)seed);
        az_report_text(checks->report, "ranks", ranks);
        az_report_number(checks->report, "error", mine.error, "");
        az_report_number(checks->report, "error_uniform", uniform.error, "");
    }
    claim_check(checks, "regressions: the planted ranks in 9 of 10 seeds", exact >= 9);
    claim_check(checks, "regressions: error below 0.01 in 9 of 10 seeds", near >= 9);
    claim_check(checks, "regressions: rank 1 everywhere leaves 5", uniform_near == SEEDS);
    return true;
}

/* ---- a language model that moved in three of its matrices ---- */

enum { PLANTED = 3, PLANTED_RANK = 3, STEPS = 600, SEQUENCES = 8, LENGTH = 64, HELD_OUT = 16 };

/* The student's run stands first: callbacks of the plan take a pointer to either. */
typedef struct distillation {
    az_adalora student;
    const az_lm_sequences *train, *test;
    az_tensor **wanted_train, **wanted_test; /* log-probabilities of the teacher, of each batch */
} distillation;

/* rank-3 changes of half the size of the matrix, in three layers that the seed chooses; their numbers. */
static az_lm *make_teacher(az_ctx *az, az_lm *lm, uint64_t seed, int64_t planted[PLANTED])
{
    az_lm *teacher = az_lm_copy(az, lm);
    az_lm_linear **linear;
    const int n = az_lm_linears(az, teacher, &linear);
    int64_t *order = az_alloc_array(az, (size_t)n, sizeof *order);
    if (!order) return NULL;
    for (int i = 0; i < n; i++) order[i] = i;
    az_rng rng = az_rng_at(seed, az_stream("teacher", 0));
    az_shuffle(&rng, order, n);
    az_arena_enter(az, teacher->arena);
    for (int k = 0; k < PLANTED && az_ok(az); k++) {
        az_lm_linear *l = linear[planted[k] = order[k]];
        const az_tensor *w = az_weight_decode(az, l->weight);
        const az_tensor *u =
            az_randn(az, AZ_F32, 2, (int64_t[]){l->weight->rows, PLANTED_RANK}, 1, seed, az_stream("teacher u", (uint64_t)k));
        const az_tensor *v =
            az_randn(az, AZ_F32, 2, (int64_t[]){PLANTED_RANK, l->weight->cols}, 1, seed, az_stream("teacher v", (uint64_t)k));
        const az_tensor *d = az_matmul(az, u, v);
        const double size = sqrt(az_to_double(az_dot(az, w, w)) / az_to_double(az_dot(az, d, d)));
        l->weight = az_weight_dense(az, az_add(az, w, az_affine(az, d, 0.5 * size, 0)));
    }
    az_arena_leave(az);
    return az_ok(az) ? teacher : NULL;
}

static az_lm_batch sequences_at(az_ctx *az, const az_lm_sequences *all, int64_t first)
{
    int64_t *start = az_alloc_array(az, SEQUENCES + 1, sizeof *start);
    for (int s = 0; start && s <= SEQUENCES; s++) start[s] = s * all->length;
    return (az_lm_batch){.sequences = start ? SEQUENCES : 0, .token = all->token + first * all->length, .start = start};
}

/* [count / SEQUENCES] log-probabilities of the teacher [tokens, vocabulary]: every student has the same batches several times. */
static az_tensor **lessons_of(az_ctx *az, const az_lm *teacher, const az_lm_sequences *all)
{
    const int64_t batches = all->count / SEQUENCES;
    az_tensor **wanted = az_alloc_array(az, (size_t)batches, sizeof(az_tensor *));
    for (int64_t i = 0; wanted && i < batches; i++) {
        az_scope_push(az);
        const az_lm_batch batch = sequences_at(az, all, i * SEQUENCES);
        wanted[i] = az_keep(az, az_log_softmax(az, az_lm_forward(az, teacher, &batch, NULL)));
    }
    return az_ok(az) ? wanted : NULL;
}

/* Mean over the tokens of KL(teacher | student). */
static az_tensor *divergence(az_ctx *az, const az_tensor *wanted, const az_lm *lm, const az_lm_batch *batch, const az_lm_run *run)
{
    const az_tensor *p = az_exp(az, wanted), *got = az_log_softmax(az, az_lm_forward(az, lm, batch, run));
    return az_mean(az, az_sum(az, az_mul(az, p, az_sub(az, wanted, got)), 1, false), AZ_ALL_AXES, false);
}

static bool distill(az_ctx *az, az_lm_fit *fit, az_tensor **gradient, double *loss)
{
    const distillation *d = fit->plan->user;
    const az_lm_fit_plan *plan = fit->plan;
    const int64_t which = fit->step % (d->train->count / SEQUENCES);
    const az_lm_batch batch = sequences_at(az, d->train, which * SEQUENCES);
    az_tensor **watched = az_alloc_array(az, (size_t)plan->n, sizeof *watched);
    if (!watched || !batch.start) return false;
    az_tape_open(az);
    for (int i = 0; i < plan->n; i++) *plan->parameter[i].slot = watched[i] = az_watch(az, fit->value[i]);
    const az_tensor *kl = divergence(az, d->wanted_train[which], plan->lm, &batch, &plan->run);
    *loss = kl ? az_to_double(kl) : NAN;
    const bool good = az_grad(az, kl, NULL, (const az_tensor *const *)watched, plan->n, gradient, AZ_GRAD_FREE);
    for (int i = 0; i < plan->n; i++) *plan->parameter[i].slot = fit->value[i];
    az_tape_close(az);
    return good;
}

static double held_out(az_ctx *az, const distillation *d, const az_lm *lm, const az_lm_run *run)
{
    const int64_t batches = d->test->count / SEQUENCES;
    double sum = 0;
    for (int64_t i = 0; i < batches; i++) {
        az_scope_push(az);
        const az_lm_batch batch = sequences_at(az, d->test, i * SEQUENCES);
        const az_tensor *kl = divergence(az, d->wanted_test[i], lm, &batch, run);
        sum += kl ? az_to_double(kl) : NAN;
        az_scope_pop(az);
    }
    return sum / (double)batches;
}

/* One student: AdaLoRA from rank 4 to 1 on average, or rank 1 everywhere. Its divergence; and its ranks in the planted layers. */
static bool teach(az_ctx *az, distillation *d, const az_lm *lm, uint64_t seed, bool uniform, const int64_t *planted, double *kl,
                  int64_t *hits)
{
    const az_adalora_options options = {.init_rank = 4,
                                        .target_rank = 1,
                                        .tinit = 60,
                                        .tfinal = 200,
                                        .every = 1,
                                        .beta1 = 0.85,
                                        .beta2 = 0.85,
                                        .orth_reg = 0.1,
                                        .alpha = 4,
                                        .targets = "all-linear",
                                        .exclude = ""};
    az_lm_parameter *parameter;
    int n;
    d->student = (az_adalora){.options = &options};
    az_lm_train_settings *s = &d->student.tuning.settings;
    *s = (az_lm_train_settings){.steps = STEPS,
                                .accumulate = 1,
                                .lr = 5e-3,
                                .warmup = 0.03,
                                .schedule = AZ_LINEAR,
                                .optimizer = AZ_ADAMW,
                                .beta1 = 0.9,
                                .beta2 = 0.999,
                                .clip = 1,
                                .save_every = STEPS,
                                .seed = (int64_t)seed};
    if (uniform) {
        const az_adapter_how how = {.rank = 1, .alpha = 1, .targets = "all-linear", .seed = seed};
        d->student.tuning.adapter = az_adapter_new(az, lm, &how);
        n = az_adapter_parameters(az, d->student.tuning.adapter, &parameter);
    } else if (!az_adalora_begin(az, &d->student, lm, &parameter, &n)) {
        return false;
    }
    az_adapter *adapter = d->student.tuning.adapter;
    az_lm_fit_plan plan = {.lm = lm,
                           .parameter = parameter,
                           .n = n,
                           .settings = s,
                           .task = "training",
                           .identity = "",
                           .user = d,
                           .run = {.adapter = (const az_adapter *const *)&adapter, .adapters = 1},
                           .gradient = distill};
    if (!uniform) az_adalora_complete(&plan);
    if (!az_lm_fit_run(az, &plan, NULL)) return false;
    *kl = held_out(az, d, lm, &plan.run);
    for (int k = 0; k < PLANTED; k++) *hits += uniform ? 1 : az_allocator_rank(d->student.allocator, (int)planted[k]);
    az_adapter_free(az, adapter);
    return az_ok(az);
}

static bool compare_students(az_ctx *az, claim_checks *checks)
{
    enum { SEEDS = 5 };
    claim_subject subjects[CLAIM_MOST_SUBJECTS];
    const int n = claim_subjects(az, subjects);
    const claim_subject *on = NULL;
    for (int i = 0; i < n; i++)
        if (strcmp(subjects[i].name, "stories260K") == 0) on = &subjects[i];
    if (!on) return az_fail(az, AZ_BAD_INPUT, "this claim needs the model stories260K; ADZE_DATA names the folder that has it");
    distillation d = {.train = az_lm_sample_sequences(az, on->lm, on->calibration, 50 * SEQUENCES, LENGTH, 1),
                      .test = az_lm_sample_sequences(az, on->lm, on->test, HELD_OUT * SEQUENCES, LENGTH, 2)};
    double kl[2] = {0};
    int64_t hits = 0;
    for (uint64_t seed = 0; seed < SEEDS && az_ok(az); seed++) {
        int64_t planted[PLANTED], mine = 0, uniform = 0;
        double each[2] = {NAN, NAN};
        az_scope_push(az);
        az_lm *teacher = d.train && d.test ? make_teacher(az, on->lm, seed, planted) : NULL;
        d.wanted_train = teacher ? lessons_of(az, teacher, d.train) : NULL;
        d.wanted_test = d.wanted_train ? lessons_of(az, teacher, d.test) : NULL;
        const bool good = d.wanted_test && teach(az, &d, on->lm, seed, false, planted, &each[0], &mine) &&
                          teach(az, &d, on->lm, seed, true, planted, &each[1], &uniform);
        az_lm_free(az, teacher);
        az_scope_pop(az);
        if (!good) return false;
        az_report_row(checks->report, "students");
        az_report_count(checks->report, "seed", (int64_t)seed);
        az_report_count(checks->report, "ranks_in_planted", mine);
        az_report_count(checks->report, "by_chance", PLANTED);
        az_report_number(checks->report, "kl_adalora", each[0], "nat");
        az_report_number(checks->report, "kl_uniform", each[1], "nat");
        kl[0] += each[0], kl[1] += each[1], hits += mine;
    }
    claim_check(checks, "students: ranks in the planted layers at least 1.7 times chance", (double)hits >= 1.7 * PLANTED * SEEDS);
    claim_check(checks, "students: mean divergence below that of rank 1 everywhere", kl[0] < kl[1]);
    return az_ok(az);
}

static bool run(az_ctx *az, az_report *report)
{
    claim_checks checks = {.report = report};
    if (!compare_regressions(az, &checks) || !compare_students(az, &checks)) return false;
    return claim_decide(az, report, checks.asked, checks.held);
}

const az_claim az_claim_adalora = {
    .name = "adalora",
    .statement =
        "AdaLoRA finds the planted ranks of regressions, and a student of a model that moved in three matrices puts 1.7 times as many "
        "ranks there as chance, with less divergence than rank 1 everywhere",
    .run = run,
};
