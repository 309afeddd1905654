/* m_fac_lm.c - the method m-fac: a language model's linear layers pruned by the rule of m_fac.c, at once or gradually with fine-tuning of
 * what is left. A gradient is that of the mean loss of some sequences of the calibration text. */
#include "compress/compress_internal.h"
#include "compress/m_fac.h"

#include <math.h>
#include <stdlib.h>

typedef struct m_fac_options {
    double sparsity, lr;
    int64_t grad_batch, finetune, batch;
    az_m_fac_settings prune;
    const char *schedule;
    az_calibration calibration;
} m_fac_options;

static const char *const storages[] = {"f32", "bf16", NULL};

static const az_option m_fac_table[] = {
    {"sparsity", AZ_FIELD(AZ_REAL, m_fac_options, sparsity), "0.5", 0, 1, NULL, "share of all weights to drop, below 1"},
    {"grads", AZ_FIELD(AZ_INT, m_fac_options, prune.grads), "64", 1, 1e5, NULL, "gradients that F is made of"},
    {"grad_batch", AZ_FIELD(AZ_INT, m_fac_options, grad_batch), "1", 1, 1e5, NULL, "sequences whose mean loss gives a gradient"},
    {"block", AZ_FIELD(AZ_INT, m_fac_options, prune.block), "128", 0, 1e12, NULL, "weights in a diagonal block of F; 0 = the whole of F"},
    {"recompute", AZ_FIELD(AZ_INT, m_fac_options, prune.recompute), "16", 1, 1e4, NULL, "steps to the sparsity, each with new gradients"},
    {"damp", AZ_FIELD(AZ_REAL, m_fac_options, prune.damp), "1e-5", 0, 1e6, NULL, "added to the diagonal of F, above 0"},
    {"min_density", AZ_FIELD(AZ_REAL, m_fac_options, prune.min_density), "0", 0, 1, NULL, "share of its weights that every layer keeps"},
    {"schedule", AZ_FIELD(AZ_TEXT, m_fac_options, schedule), "", 0, 0, NULL,
     "sparsities to reach one after the other, \"0.5,0.75,0.9\"; instead of sparsity"},
    {"finetune", AZ_FIELD(AZ_INT, m_fac_options, finetune), "0", 0, 1e7, NULL, "AdamW steps on the kept weights after each sparsity"},
    {"batch", AZ_FIELD(AZ_INT, m_fac_options, batch), "16", 1, 1e5, NULL, "sequences of a step of fine-tuning"},
    {"lr", AZ_FIELD(AZ_REAL, m_fac_options, lr), "1e-3", 0, 100, NULL, "learning rate of fine-tuning"},
    {"storage", AZ_FIELD(AZ_CHOICE, m_fac_options, prune.half), "f32", 0, 0, storages, "of the gradients: grads x weights numbers"},
    {"scratch", AZ_FIELD(AZ_TEXT, m_fac_options, prune.scratch), "", 0, 0, NULL,
     "folder for a file that holds the gradients instead of memory"},
    {"seqlen", AZ_FIELD(AZ_INT, m_fac_options, calibration.length), "0", 0, 1e6, NULL,
     "tokens of a sequence; 0 = the model's context, at most 2048"},
    {"seed", AZ_FIELD(AZ_INT, m_fac_options, calibration.seed), "0", 0, 0, NULL, "of the choice of sequences; without it that of --seed"},
    {0},
};

/* A model on its way: a copy whose linear layers are dense f32. */
typedef struct pruned_model {
    const m_fac_options *o;
    az_compress_job *job;
    az_lm *lm;
    az_lm_linear **linear;
    az_lm_parameter *parameter; /* [n] the layers' matrices */
    az_tensor **weight;         /* [n] the same */
    int n;
    int64_t drawn;                    /* sets of sequences drawn so far */
    int64_t round;                    /* that the present set is for; -1 = none */
    const az_lm_sequences *sequences; /* the present set, in an arena of its own */
    az_arena *arena;
} pruned_model;

static bool begin(az_ctx *az, pruned_model *p)
{
    p->lm = az_lm_copy(az, p->job->lm);
    p->n = az_lm_linears(az, p->lm, &p->linear);
    p->parameter = az_alloc_array(az, (size_t)p->n, sizeof *p->parameter);
    p->weight = az_alloc_array(az, (size_t)p->n, sizeof *p->weight);
    for (int i = 0; p->parameter && p->weight && i < p->n && az_ok(az); i++) {
        az_weight *dense = az_weight_dense(az, az_weight_decode(az, p->linear[i]->weight));
        if (!dense) return false;
        p->linear[i]->weight = dense;
        p->weight[i] = dense->part[0];
        p->parameter[i] = (az_lm_parameter){.name = p->linear[i]->name, .slot = &dense->part[0]};
    }
    return az_ok(az);
}

/* A fresh set of sequences in the current scope. */
static const az_lm_sequences *draw(az_ctx *az, pruned_model *p, int64_t count)
{
    az_calibration set = p->o->calibration;
    set.samples = count;
    set.seed = (int64_t)((uint64_t)set.seed + az_stream("m-fac", (uint64_t)p->drawn++));
    const az_lm_sequences *s = az_calibration_sequences(az, p->job, &set);
    if (s && (s->count < 1 || s->length < 2)) return az_fail(az, AZ_BAD_INPUT, "the calibration text has no sequence of two tokens");
    return s;
}

/* Each round reads other text, so that none sees weights that are fitted to its own. */
static bool renew(az_ctx *az, pruned_model *p, int64_t round)
{
    if (p->round == round) return true;
    if (p->arena) az_arena_free(az, p->arena);
    p->arena = az_arena_new(az);
    az_arena_enter(az, p->arena);
    p->sequences = draw(az, p, p->o->prune.grads * p->o->grad_batch);
    az_arena_leave(az);
    p->round = round;
    return p->sequences != NULL;
}

static bool differentiate(az_ctx *az, const pruned_model *p, const az_lm_sequences *sequences, int64_t first, int64_t count,
                          az_tensor **gradient, double *loss)
{
    const az_lm_objective objective = {
        .lm = p->lm,
        .lesson = az_lm_lesson_of(az, sequences, first, count),
        .scale = 1.0 / (double)(count * (sequences->length - 1)),
    };
    return az_lm_gradient(az, &objective, p->parameter, p->n, gradient, loss);
}

/* Gradient i of a round; a text of too few sequences gives them again. */
static bool sample_gradient(az_ctx *az, int64_t round, int64_t i, az_tensor **gradient, double *loss, void *user)
{
    pruned_model *p = user;
    if (!renew(az, p, round)) return false;
    const int64_t batch = p->o->grad_batch < p->sequences->count ? p->o->grad_batch : p->sequences->count;
    return differentiate(az, p, p->sequences, i * batch % (p->sequences->count - batch + 1), batch, gradient, loss);
}

/* Zero wherever the matrix is. */
static void mask_gradient(const az_tensor *w, az_tensor *g)
{
    for (int64_t j = 0; j < az_count(w); j++)
        if (az_f32(w)[j] == 0) az_f32_mut(g)[j] = 0;
}

/* AdamW on the weights that are left: without decay, a weight whose gradient is always zero does not move. */
static bool fine_tune(az_ctx *az, pruned_model *p)
{
    const az_optimizer_options adamw = {.kind = AZ_ADAMW, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8};
    const az_schedule schedule = {.kind = AZ_LINEAR, .peak = p->o->lr, .floor = 0, .total = p->o->finetune};
    az_scope_push(az);
    az_tensor **gradient = az_alloc_array(az, (size_t)p->n, sizeof *gradient);
    az_optimizer *optimizer = az_optimizer_new(az, &adamw, p->weight, p->n, NULL);
    for (int64_t step = 0; optimizer && gradient && step < p->o->finetune && az_ok(az); step++) {
        double loss;
        az_scope_push(az);
        const az_lm_sequences *sequences = draw(az, p, p->o->batch);
        if (sequences && differentiate(az, p, sequences, 0, sequences->count, gradient, &loss)) {
            for (int l = 0; l < p->n; l++) mask_gradient(p->weight[l], gradient[l]);
            az_clip_gradients(az, gradient, p->n, 1);
            az_optimizer_step(az, optimizer, gradient, az_learning_rate(&schedule, step));
        }
        az_scope_pop(az);
        if (!az_progress(az, "fine-tuning", step + 1, p->o->finetune, NULL))
            az_fail(az, AZ_INTERRUPTED, "interrupted: nothing has changed");
    }
    az_scope_pop(az);
    return az_ok(az);
}

/* The next number of a list; *list moves behind it. Negative when there is none. */
static double next_sparsity(const char **list)
{
    char *end;
    const double value = strtod(*list, &end);
    if (end == *list || !(value >= 0 && value < 1) || (*end != '\0' && *end != ',')) return -1;
    *list = *end == ',' ? end + 1 : end;
    return value;
}

static bool m_fac_check(az_ctx *az, const void *options, az_lm *lm)
{
    const m_fac_options *o = options;
    double last = -1;
    if (!(o->prune.damp > 0)) return az_fail(az, AZ_BAD_INPUT, "damp is %g, not above 0", o->prune.damp);
    for (const char *list = o->schedule; *list;) {
        const double next = next_sparsity(&list);
        if (next <= last) return az_fail(az, AZ_BAD_INPUT, "schedule is '%s', not a list of growing sparsities below 1", o->schedule);
        last = next;
    }
    const double highest = last >= 0 ? last : o->sparsity;
    if (highest + o->prune.min_density > 1)
        return az_fail(az, AZ_BAD_INPUT, "a sparsity of %g leaves no layer a density of %g (min_density)", highest, o->prune.min_density);
    return az_prune_check(az, lm, o->sparsity, (az_pattern){0});
}

/* Gives the layers of the job's model their new weights, with a row each in the report. */
static bool finish(az_ctx *az, const pruned_model *p, double seconds)
{
    az_lm *lm = p->job->lm;
    az_lm_linear **linear;
    az_lm_linears(az, lm, &linear);
    for (int l = 0; l < p->n && az_ok(az); l++) {
        const az_weight *pruned = az_prune_result(az, linear[l]->weight, p->linear[l]->weight);
        az_arena_enter(az, lm->arena);
        az_weight *kept = pruned ? az_weight_share(az, pruned) : NULL;
        az_arena_leave(az);
        if (!kept) return false;
        linear[l]->weight = kept;
        az_compress_row(az, p->job->report, linear[l]->name, kept, NAN, seconds / p->n);
    }
    return az_ok(az);
}

static bool m_fac_compress(az_ctx *az, const void *options, az_compress_job *job)
{
    const m_fac_options *o = options;
    if (!m_fac_check(az, o, job->lm)) return false;
    pruned_model p = {.o = o, .job = job};
    const double start = az_seconds();
    az_scope_push(az);
    bool good = begin(az, &p);
    const az_m_fac_problem problem = {.weight = p.weight, .n = p.n, .gradient = sample_gradient, .user = &p, .report = job->report};
    const char *list = o->schedule;
    do {
        p.round = -1;
        good = good && az_m_fac_prune(az, &problem, &o->prune, *o->schedule ? next_sparsity(&list) : o->sparsity);
        good = good && (o->finetune == 0 || fine_tune(az, &p));
    } while (good && *list);
    good = good && finish(az, &p, az_seconds() - start);
    if (p.arena) az_arena_free(az, p.arena);
    if (p.lm) az_lm_free(az, p.lm);
    az_scope_pop(az);
    return good;
}

const az_method az_m_fac = {
    .name = "m-fac",
    .family = AZ_COMPRESS,
    .summary = "drop the weights whose loss the others can make up for, by second-order information of all layers",
    .paper = "Frantar et al.: M-FAC: efficient matrix-free approximations of second-order information, NeurIPS 2021, arXiv 2107.03356",
    .details =
        "Builds the empirical Fisher matrix of the loss from `grads` gradients, in diagonal blocks, and with its inverse estimates for "
        "every weight of the model how much the loss rises when it is dropped and all others adjust. The cheapest go, across layers, and "
        "the others are corrected; that is repeated with new gradients `recompute` times on the way to the sparsity. It needs grads x "
        "weights numbers of memory (or a scratch file) and grads x recompute backward passes. With schedule and finetune it prunes "
        "gradually. Unlike wanda and sparsegpt it sees the loss itself, and shares sparsity out among the layers.",
    .example = "adze compress tales m-fac:sparsity=0.5,grads=16,recompute=2 -d calibration.txt -o pruned.gguf",
    .options = m_fac_table,
    .options_size = sizeof(m_fac_options),
    .needs_data = true,
    .check = m_fac_check,
    .compress = m_fac_compress,
};
