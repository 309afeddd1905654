/* zeroth.c - tuning by losses alone: what is tuned, along directions of which rank, and the steps of the loop.
 *
 * No gradient exists and no activation is kept, so the memory is that of reading a batch, and of what the method remembers. A step's two
 * losses are of the same examples. */
#include "tune/zeroth.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

const char *const az_zeroth_objectives[] = {"loss", "accuracy", "f1", NULL};
const char *const az_zeroth_params_names[] = {"full", "lora", "fold", NULL};

enum { LEAST_RANK = 4, MOST_LOST = 10 };

typedef struct zeroth_run {
    az_tuning tuning; /* first: what the plan's usual callbacks see */
    const az_zeroth_how *how;
    const az_zeroth_options *options;
    az_lm *lm;
    const char *identity;
    az_adapter *adapter; /* what is tuned, unless the weights are */
    az_lm_parameter *parameter;
    int n;
    int64_t *rank; /* [n] */
    az_zo *zo;
    az_tensor *record; /* [steps, 2 + queries] f64: learning rate, loss, kappas of the steps done */
    int64_t lost;      /* steps in a row whose losses had no value */
    /* of the present step */
    az_lm_run pass;
    az_lm_lesson *lesson; /* [passes] */
    int64_t passes, tokens, sequences;
} zeroth_run;

/* ---- ranks ---- */

static int block_of(const char *name)
{
    int block = -1;
    return sscanf(name, "blocks.%d.", &block) == 1 ? block : -1;
}

/* A gradient in a chain of linear maps has no larger rank than the other maps of the chain: the matrices of a block share their least. */
static bool share_in_blocks(az_ctx *az, const zeroth_run *r)
{
    int64_t *least = az_alloc_array(az, (size_t)r->lm->config.blocks, sizeof *least); /* 0 = none yet */
    for (int i = 0; least && i < r->n; i++) {
        const int block = block_of(r->parameter[i].name);
        if (block >= 0 && r->rank[i] > 0 && (least[block] == 0 || r->rank[i] < least[block])) least[block] = r->rank[i];
    }
    for (int i = 0; least && i < r->n; i++) {
        const int block = block_of(r->parameter[i].name);
        if (block >= 0 && r->rank[i] > 0) r->rank[i] = least[block];
    }
    return least != NULL;
}

/* rank[i] for a matrix of this shape: the wanted one, or within the limits. */
static int64_t fitting_rank(const az_zeroth_how *how, int64_t rank, int64_t rows, int64_t cols)
{
    const int64_t least = rows < cols ? rows : cols;
    if (how->rank > 0) rank = how->rank;
    if (how->rank == 0 && rank < LEAST_RANK) rank = LEAST_RANK;
    if (how->rank == 0 && rank > how->most) rank = how->most;
    return rank < least ? rank : least;
}

/* The matrix that parameter i is, or stands for; NULL for a vector. */
static const az_tensor *matrix_of(az_ctx *az, const zeroth_run *r, int i)
{
    if (r->options->params != AZ_ZEROTH_FOLD) return (*r->parameter[i].slot)->rank == 2 ? *r->parameter[i].slot : NULL;
    az_lm_linear **linear;
    const int n = az_lm_linears(az, r->lm, &linear);
    for (int k = 0; k < n; k++)
        if (strcmp(linear[k]->name, r->adapter->layer[i].name) == 0) return az_weight_decode(az, linear[k]->weight);
    return NULL;
}

static bool choose_ranks(az_ctx *az, zeroth_run *r)
{
    const az_zeroth_how *how = r->how;
    const bool spectral = how->kind != AZ_ZO_DENSE && how->rank == 0 && r->options->params != AZ_ZEROTH_LORA;
    r->rank = az_alloc_array(az, (size_t)r->n, sizeof *r->rank);
    for (int i = 0; r->rank && spectral && i < r->n; i++) {
        az_scope_push(az);
        const az_tensor *w = matrix_of(az, r, i);
        if (w) r->rank[i] = az_spectral_rank(az, w, how->theta);
        az_scope_pop(az);
        if (!az_progress(az, "ranks", i + 1, r->n, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    if (!az_ok(az) || !share_in_blocks(az, r)) return false;
    int64_t small = 0;
    for (int i = 0; i < r->n; i++) {
        const az_tensor *value = *r->parameter[i].slot;
        const bool fold = r->options->params == AZ_ZEROTH_FOLD;
        if (value->rank != 2 && !fold) continue;
        small += spectral && r->rank[i] < LEAST_RANK;
        const az_adapter_layer *layer = fold ? &r->adapter->layer[i] : NULL;
        r->rank[i] = fitting_rank(how, r->rank[i], layer ? layer->out : value->shape[0], layer ? layer->in : value->shape[1]);
    }
    if (small > 0)
        az_note(az, "%lld of %d spectra ask for a rank below %d, which is taken instead; a smaller theta counts more of them",
                (long long)small, r->n, LEAST_RANK);
    return true;
}

/* ---- what is tuned ---- */

static bool tune_weights(az_ctx *az, zeroth_run *r)
{
    r->n = az_lm_choose_parameters(az, r->lm, AZ_F32, r->options->only, &r->parameter);
    return r->n > 0 && choose_ranks(az, r);
}

static az_adapter *adapter_of(az_ctx *az, const zeroth_run *r, int64_t rank)
{
    const az_adapter_how how = {
        .rank = rank, .alpha = (double)(2 * rank), .targets = r->options->targets, .seed = (uint64_t)r->tuning.settings.seed};
    return az_adapter_new(az, r->lm, &how);
}

static bool tune_adapter(az_ctx *az, zeroth_run *r)
{
    r->adapter = adapter_of(az, r, r->options->lora_rank);
    r->n = r->adapter ? az_adapter_parameters(az, r->adapter, &r->parameter) : 0;
    return r->n > 0 && choose_ranks(az, r);
}

/* U and V as az_zo draws them for parameter i of n, and numbers that are zero. */
static bool fill_fold(az_ctx *az, const zeroth_run *r, int i, az_adapter_layer *layer)
{
    const uint64_t seed = (uint64_t)r->tuning.settings.seed;
    az_tensor *v = az_new2(az, AZ_F32, layer->in, layer->rank);
    if (!v || !layer->a || !layer->b) return false;
    az_fill_normal(az, seed, az_stream("zeroth order U", (uint64_t)i), 0, az_count(layer->b), az_f32_mut(layer->b));
    az_fill_normal(az, seed, az_stream("zeroth order V", (uint64_t)i), 0, az_count(v), az_f32_mut(v));
    az_copy_into(az, layer->a, az_transpose(az, v));
    az_arena_enter(az, r->adapter->arena);
    layer->e = az_zeros(az, layer->b->dtype, 1, &layer->rank);
    az_arena_leave(az);
    layer->scale = 1;
    return az_ok(az);
}

/* Layers as the targets say; then the same with the ranks that their spectra ask for. */
static bool tune_folded(az_ctx *az, zeroth_run *r)
{
    az_adapter *named = r->adapter = adapter_of(az, r, 1);
    if (!named) return false;
    r->n = named->layers;
    r->parameter = az_alloc_array(az, (size_t)r->n, sizeof *r->parameter);
    for (int i = 0; r->parameter && i < r->n; i++)
        r->parameter[i] = (az_lm_parameter){.name = az_strdup(az, named->layer[i].name), .slot = &named->layer[i].a};
    if (!r->parameter || !choose_ranks(az, r)) return false;
    r->adapter = az_adapter_empty(az, named->name, "LORA");
    for (int i = 0; r->adapter && i < r->n; i++)
        if (!az_adapter_add_layer(az, r->lm, r->adapter, r->parameter[i].name, r->rank[i], (double)r->rank[i])) return false;
    for (int i = 0; r->adapter && i < r->n; i++) {
        if (!fill_fold(az, r, i, &r->adapter->layer[i])) return false;
        r->parameter[i].slot = &r->adapter->layer[i].e;
    }
    az_adapter_free(az, named);
    return az_ok(az);
}

/* U diag(a) V^T as a plain low-rank change, U taking the numbers. */
static void unfold(const zeroth_run *r)
{
    for (int i = 0; i < r->n; i++) {
        az_adapter_layer *layer = &r->adapter->layer[i];
        float *b = az_f32_mut(layer->b);
        for (int64_t j = 0; j < layer->out * layer->rank; j++) b[j] *= az_f32(layer->e)[j % layer->rank];
        layer->e = NULL;
    }
}

static bool begin_parameters(az_ctx *az, zeroth_run *r)
{
    switch ((az_zeroth_params)r->options->params) {
    case AZ_ZEROTH_LORA: return tune_adapter(az, r);
    case AZ_ZEROTH_FOLD: return tune_folded(az, r);
    default: return tune_weights(az, r);
    }
}

static bool begin_optimizer(az_ctx *az, zeroth_run *r)
{
    const az_zeroth_options *o = r->options;
    const az_lm_train_settings *s = &r->tuning.settings;
    const bool fold = o->params == AZ_ZEROTH_FOLD;
    const az_zo_options options = {.kind = fold ? AZ_ZO_DENSE : r->how->kind,
                                   .rule = (az_zo_rule)o->rule,
                                   .radius = o->radius,
                                   .beta1 = s->beta1,
                                   .beta2 = s->beta2,
                                   .eps = o->eps,
                                   .weight_decay = s->weight_decay,
                                   .renew = r->how->renew,
                                   .queries = (int)o->queries,
                                   .paper_adam = o->adam == 1,
                                   .store = r->how->store,
                                   .exact = o->exact,
                                   .keep_zeros = o->params == AZ_ZEROTH_FULL,
                                   .seed = (uint64_t)s->seed};
    az_tensor **value = az_alloc_array(az, (size_t)r->n, sizeof(void *));
    for (int i = 0; value && i < r->n; i++) value[i] = *r->parameter[i].slot;
    r->zo = value ? az_zo_new(az, &options, value, r->n, r->rank) : NULL;
    return r->zo != NULL;
}

/* ---- steps ---- */

/* What is to be small: a token, or for F1 an example. */
static double measure(az_ctx *az, void *user)
{
    const zeroth_run *r = user;
    double sum = 0;
    for (int64_t k = 0; k < r->passes && az_ok(az); k++) {
        az_scope_push(az);
        if (r->options->objective == AZ_ZEROTH_ACCURACY)
            sum += az_zeroth_misses(az, r->lm, &r->lesson[k], &r->pass);
        else if (r->options->objective == AZ_ZEROTH_F1)
            sum += az_zeroth_answer_misses(az, r->lm, &r->lesson[k], r->adapter);
        else
            sum += az_to_double(az_lm_loss(az, r->lm, &r->lesson[k], &r->pass));
        az_scope_pop(az);
    }
    return az_ok(az) ? sum / (double)(r->options->objective == AZ_ZEROTH_F1 ? r->sequences : r->tokens) : NAN;
}

static bool draw_lessons(az_ctx *az, const az_lm_fit *fit, zeroth_run *r)
{
    r->passes = fit->plan->settings->accumulate;
    r->tokens = r->sequences = 0;
    r->lesson = az_alloc_array(az, (size_t)r->passes, sizeof *r->lesson);
    for (int64_t k = 0; r->lesson && k < r->passes; k++) {
        if (!fit->plan->lesson(az, fit, fit->step * r->passes + k, &r->lesson[k])) return false;
        const az_lm_batch *batch = &r->lesson[k].batch;
        r->sequences += batch->sequences;
        for (int64_t i = 0; i < batch->start[batch->sequences]; i++) r->tokens += r->lesson[k].target[i] >= 0;
    }
    if (r->lesson && r->tokens == 0) az_fail(az, AZ_BAD_INPUT, "no token of step %lld counts", (long long)fit->step + 1);
    return az_ok(az);
}

static void keep_record(const zeroth_run *r, int64_t step, const az_zo_record *record)
{
    const int64_t width = 2 + r->options->queries;
    double *row = az_f64_mut(r->record) + step * width;
    row[0] = record->lr;
    row[1] = record->loss;
    for (int64_t q = 0; q < r->options->queries; q++) row[2 + q] = record->kappa[q];
}

static bool advance(az_ctx *az, az_lm_fit *fit, double lr, double *loss)
{
    zeroth_run *r = fit->plan->user;
    az_zo_record record;
    if (az_zo_steps(r->zo) != fit->step && !az_zo_set_steps(az, r->zo, fit->step)) return false;
    if (!draw_lessons(az, fit, r) || !az_zo_step(az, r->zo, measure, r, lr, &record)) return false;
    keep_record(r, fit->step, &record);
    fit->tokens += r->tokens;
    *loss = record.loss;
    r->lost = isfinite(record.loss) ? 0 : r->lost + 1;
    if (r->lost == 0) return true;
    if (r->lost == MOST_LOST || fit->step == 0)
        return az_fail(az, AZ_NUMERIC,
                       "%lld steps in a row had a loss that is not finite, the last of them step %lld; a lower learning "
                       "rate (lr) or radius may help",
                       (long long)r->lost, (long long)fit->step + 1);
    *loss = fit->loss[fit->step - 1]; /* nothing has moved */
    return true;
}

static int state_of(az_ctx *az, az_lm_fit *fit, az_tensor ***tensor, const char ***name)
{
    zeroth_run *r = fit->plan->user;
    az_tensor **moment;
    const char **moment_name;
    const int n = az_zo_state(az, r->zo, &moment, &moment_name);
    *tensor = az_alloc_array(az, (size_t)n + 1, sizeof **tensor);
    *name = az_alloc_array(az, (size_t)n + 1, sizeof **name);
    if (!az_ok(az)) return 0;
    for (int i = 0; i < n; i++) (*tensor)[i] = moment[i], (*name)[i] = moment_name[i];
    (*tensor)[n] = r->record;
    (*name)[n] = "zo.record";
    return n + 1;
}

/* ---- the run ---- */

/* What a record is good for: method and options, but for where the record is. */
static const char *identity_of(az_ctx *az, const zeroth_run *r)
{
    const az_lm_train_settings *s = &r->tuning.settings;
    const char *text = r->how->method->name;
    for (const az_option *o = r->how->method->options; o->name && text; o++)
        if (strcmp(o->name, "log") != 0 && strcmp(o->name, "replay") != 0)
            text = az_format_text(az, "%s %s=%s", text, o->name, az_options_get(az, o, r->how->settings));
    return text ? az_format_text(az, "%s seed=%lld beta1=%g beta2=%g weight_decay=%g", text, (long long)s->seed, s->beta1, s->beta2,
                                 s->weight_decay)
                : NULL;
}

static void report_directions(az_report *report, const zeroth_run *r)
{
    const az_zo_cost cost = az_zo_cost_of(r->zo);
    int64_t parameters = 0, matrices = 0, ranks = 0;
    for (int i = 0; i < r->n; i++) {
        parameters += az_count(*r->parameter[i].slot);
        matrices += r->rank[i] > 0;
        ranks += r->rank[i];
    }
    az_report_row(report, "directions");
    az_report_count(report, "parameters", parameters);
    if (r->how->kind != AZ_ZO_DENSE) az_report_number(report, "mean_rank", matrices > 0 ? (double)ranks / (double)matrices : NAN, "");
    az_report_number(report, "state", (double)cost.state_bytes, "B");
    az_report_count(report, "fresh_numbers", cost.fresh * r->options->queries);
    az_report_count(report, "factor_numbers", cost.redrawn);
}

static bool write_log(az_ctx *az, const zeroth_run *r, int64_t steps)
{
    if (!*r->options->log) return true;
    const int queries = (int)r->options->queries;
    az_zo_record *record = az_alloc_array(az, (size_t)steps, sizeof *record);
    if (!record) return false;
    for (int64_t t = 0; t < steps; t++) {
        const double *row = az_f64(r->record) + t * (2 + queries);
        record[t] = (az_zo_record){.lr = row[0], .loss = row[1]};
        memcpy(record[t].kappa, row + 2, (size_t)queries * sizeof *row);
    }
    return az_zeroth_log_write(az, r->options->log, r->identity, queries, record, steps);
}

static bool learn(az_ctx *az, zeroth_run *r)
{
    const int64_t shape[2] = {r->tuning.settings.steps, 2 + r->options->queries};
    az_lm_fit_plan plan = az_tuning_plan(az, &r->tuning, r->parameter, r->n, r->identity);
    r->record = az_zeros(az, AZ_F64, 2, shape);
    if (!plan.identity || !r->record) return false;
    plan.advance = advance;
    plan.state = state_of;
    r->pass = plan.run;
    return az_lm_fit_run(az, &plan, r->tuning.job->report);
}

static bool replay(az_ctx *az, zeroth_run *r)
{
    int64_t steps = 0;
    const az_zo_record *record = az_zeroth_log_read(az, r->options->replay, r->identity, (int)r->options->queries, &steps);
    for (int64_t t = 0; record && t < steps && az_ok(az); t++) {
        if (!az_zo_replay(az, r->zo, &record[t])) return false;
        if (!az_progress(az, "replay", t + 1, steps, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    return az_ok(az);
}

static bool is_same_file(const char *path, const char *other)
{
    struct stat a, b;
    return other && stat(path, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* A record that could not be written must not cost the run, nor what the run reads. */
static bool check_log(az_ctx *az, const char *log, const az_tune_job *job)
{
    const char *const read[] = {job->model, job->train ? job->train->path : NULL, job->valid ? job->valid->path : NULL};
    if (!*log) return true;
    for (size_t i = 0; i < sizeof read / sizeof *read; i++)
        if (is_same_file(log, read[i])) return az_fail(az, AZ_BAD_INPUT, "log='%s' is read here and would be written over", log);
    az_scope_push(az);
    az_create(az, log); /* and dropped */
    az_scope_pop(az);
    return az_ok(az);
}

bool az_tune_zeroth(az_ctx *az, az_tune_job *job, const az_zeroth_how *how)
{
    zeroth_run r = {.tuning = {.job = job, .settings = job->settings->training}, .how = how, .options = how->settings, .lm = job->lm};
    const bool replays = *r.options->replay != 0;
    if (!(r.options->radius > 0)) return az_fail(az, AZ_BAD_INPUT, "%s: the radius must be above 0", how->method->name);
    if (!replays && !job->train) return az_fail(az, AZ_BAD_INPUT, "%s needs examples: -d FILE", how->method->name);
    if (!replays && !(job->settings->training.lr > 0)) return az_fail(az, AZ_BAD_INPUT, "%s: lr must be above 0", how->method->name);
    if (!check_log(az, r.options->log, job)) return false;
    if (!replays && !az_tuning_begin(az, job, 0, &r.tuning)) return false;
    r.identity = identity_of(az, &r);
    if (!r.identity || !begin_parameters(az, &r) || !begin_optimizer(az, &r)) return false;
    r.tuning.adapter = job->adapter = r.adapter;
    report_directions(job->report, &r);
    if (replays)
        replay(az, &r);
    else
        learn(az, &r);
    const az_set_aside aside = az_interruption_aside(az); /* the steps that are done are a result */
    if (az_ok(az) && r.options->params == AZ_ZEROTH_FOLD) unfold(&r);
    if (az_ok(az) && !replays) write_log(az, &r, az_zo_steps(r.zo));
    az_interruption_back(az, &aside);
    return az_ok(az);
}

bool az_zeroth_makes_model(const void *options)
{
    return ((const az_zeroth_options *)options)->params == AZ_ZEROTH_FULL;
}
