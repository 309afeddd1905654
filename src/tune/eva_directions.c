/* eva_directions.c - principal directions of layers' inputs, batch by batch until they stay. */
#include "tune/eva.h"

#include <math.h>
#include <string.h>
#include <zlib.h>

/* The drive through the examples. */
typedef struct drive {
    const az_lm *lm;
    const az_lm_examples *examples;
    const az_eva_how *how;
    az_eva_place *place; /* [n] */
    int n;
    az_eva *out;
    int64_t rows;     /* of the present batch */
    az_tensor *index; /* i32: those of its rows that count */
} drive;

/* ---- rows that count ---- */

/* A token belongs to an answer when its predecessor is to predict it. */
static bool counts(const drive *d, const az_lm_lesson *lesson, int64_t start, int64_t i)
{
    if (d->how->answers_only) return i > start && lesson->target[i - 1] >= 0;
    const int32_t bos = d->lm->tokenizer ? az_token_bos(d->lm->tokenizer) : -1;
    return !d->how->skip_bos || i > start || bos < 0 || lesson->batch.token[i] != bos;
}

static bool find_rows(az_ctx *az, drive *d, const az_lm_lesson *lesson)
{
    const az_lm_batch *batch = &lesson->batch;
    int64_t n = 0;
    d->rows = batch->start[batch->sequences];
    int32_t *row = az_alloc_array(az, (size_t)d->rows, sizeof *row);
    for (int s = 0; row && s < batch->sequences; s++)
        for (int64_t i = batch->start[s]; i < batch->start[s + 1]; i++)
            if (counts(d, lesson, batch->start[s], i)) row[n++] = (int32_t)i;
    d->index = row ? az_from(az, AZ_I32, 1, &n, row) : NULL;
    return d->index != NULL;
}

/* ---- inputs ---- */

typedef struct seen {
    drive *drive;
    int place, input;
    uLong hash;
} seen;

static az_tensor *hash_input(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    (void)site;
    seen *s = user;
    const az_tensor *whole = az_contiguous(az, x);
    if (!whole) return NULL;
    s->hash = crc32_z(crc32(0, NULL, 0), whole->data, (size_t)az_count(whole) * az_dtype_size(whole->dtype));
    return x;
}

static bool run_batch(az_ctx *az, drive *d, int64_t batch, const az_lm_hook *hooks, int n)
{
    az_scope_push(az);
    const az_lm_lesson lesson = az_lm_lesson_drawn(az, d->examples, d->how->batch, batch, d->how->seed);
    if (lesson.target && find_rows(az, d, &lesson))
        az_lm_forward(az, d->lm, &lesson.batch, &(az_lm_run){.hooks = hooks, .n_hooks = n, .output = AZ_HIDDEN});
    az_scope_pop(az);
    d->index = NULL;
    return az_ok(az);
}

/* Layers that read bit for bit the same share an input. */
static bool group_places(az_ctx *az, drive *d)
{
    seen *s = az_alloc_array(az, (size_t)d->n, sizeof *s);
    az_lm_hook *hook = az_alloc_array(az, (size_t)d->n, sizeof *hook);
    for (int i = 0; s && hook && i < d->n; i++)
        hook[i] = (az_lm_hook){.site = az_format_text(az, "%s.in", d->place[i].name), .see = hash_input, .user = &s[i]};
    if (!s || !hook || !run_batch(az, d, 0, hook, d->n)) return false;
    for (int i = 0; i < d->n; i++) {
        int first = 0;
        while (first < i && (d->place[first].in != d->place[i].in || s[first].hash != s[i].hash)) first++;
        d->place[i].input = first < i ? d->place[first].input : d->out->inputs++;
    }
    return true;
}

/* As many directions for an input as the most that one of its layers wants. */
static bool begin_inputs(az_ctx *az, drive *d)
{
    d->out->input = az_alloc_array(az, (size_t)d->out->inputs, sizeof *d->out->input);
    const az_dtype dtype = d->lm->embedding->part[0]->dtype == AZ_F64 ? AZ_F64 : AZ_F32;
    for (int j = 0; d->out->input && j < d->out->inputs; j++) {
        int64_t most = 0, in = 0;
        for (int i = 0; i < d->n; i++) {
            if (d->place[i].input != j) continue;
            if (in == 0) d->out->input[j].leader = d->place[i].name;
            in = d->place[i].in;
            if (d->place[i].directions > most) most = d->place[i].directions < in ? d->place[i].directions : in;
        }
        for (int i = 0; i < d->n; i++)
            if (d->place[i].input == j) d->place[i].directions = most;
        d->out->input[j].pca = az_pca_new(az, dtype, in, most);
        d->out->input[j].cosine = az_alloc_array(az, (size_t)most, sizeof(double));
    }
    return az_ok(az);
}

/* The tokens that experts receive are a choice of the rows, whose numbers are not known here: all of them count. */
static az_tensor *merge_input(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    (void)site;
    const seen *s = user;
    const drive *d = s->drive;
    az_eva_input *input = &d->out->input[s->input];
    const az_tensor *rows = x->shape[0] == d->rows ? az_gather(az, x, d->index) : az_contiguous(az, x);
    if (!rows) return NULL;
    if (rows->shape[0] < input->pca->components) {
        d->out->skipped++;
        return x;
    }
    if (!az_pca_add(az, input->pca, rows, d->how->fast, input->cosine)) return az_fail_context(az, "%s", input->leader), NULL;
    input->batches++;
    return x;
}

/* ---- ranks and convergence ---- */

/* What direction k explains. */
static double share_of(const az_pca *pca, az_eva_metric metric, int64_t k)
{
    const double *value = az_f64(pca->values);
    double all = 0;
    switch (metric) {
    case AZ_EVA_RAW: return value[k] * value[k] / fmax((double)pca->rows - 1, 1);
    case AZ_EVA_MAX: return value[0] > 0 ? value[k] * value[k] / (value[0] * value[0]) : 0;
    case AZ_EVA_SUM:
        for (int64_t i = 0; i < pca->components; i++) all += value[i] * value[i];
        return all > 0 ? value[k] * value[k] / all : 0;
    default: return az_pca_ratio(pca, k);
    }
}

static bool share_ranks(az_ctx *az, const drive *d, int64_t budget)
{
    az_scope_push(az);
    az_eva_layer *layer = az_alloc_array(az, (size_t)d->n, sizeof *layer);
    int64_t *rank = az_alloc_array(az, (size_t)d->n, sizeof *rank);
    for (int i = 0; layer && rank && i < d->n; i++) {
        const az_pca *pca = d->out->input[d->place[i].input].pca;
        double *share = az_alloc_array(az, (size_t)pca->components, sizeof *share);
        for (int64_t k = 0; share && k < pca->components; k++) share[k] = share_of(pca, d->how->metric, k);
        layer[i] = (az_eva_layer){share ? pca->components : 0, share};
    }
    if (az_ok(az) && az_eva_ranks(az, layer, d->n, budget, rank))
        for (int i = 0; i < d->n; i++) d->place[i].rank = rank[i];
    az_scope_pop(az);
    return az_ok(az);
}

static bool every_input_began(const az_eva *eva)
{
    for (int j = 0; j < eva->inputs; j++)
        if (eva->input[j].batches == 0) return false;
    return true;
}

/* Finished: the directions that its layers want now have converged; more of them may be wanted later. How many are not finished. */
static int judge(const drive *d)
{
    int open = 0;
    for (int j = 0; j < d->out->inputs; j++) {
        az_eva_input *input = &d->out->input[j];
        int64_t wanted = 0;
        for (int i = 0; i < d->n; i++)
            if (d->place[i].input == j && d->place[i].rank > wanted) wanted = d->place[i].rank;
        input->finished = true;
        for (int64_t k = 0; k < wanted; k++) input->finished = input->finished && fabs(input->cosine[k]) >= d->how->tau;
        open += !input->finished;
    }
    return open;
}

/* Hooks on the inputs that are not finished. */
static int open_hooks(const drive *d, seen *s, az_lm_hook *hook, const char *const *site)
{
    int n = 0;
    for (int j = 0; j < d->out->inputs; j++)
        if (!d->out->input[j].finished) hook[n++] = (az_lm_hook){.site = site[j], .see = merge_input, .user = &s[j]};
    return n;
}

static bool check_rows(az_ctx *az, const drive *d)
{
    if (az_interrupted(az) && !every_input_began(d->out))
        return az_fail(az, AZ_BAD_INPUT, "interrupted before every input had a batch; nothing is kept");
    for (int j = 0; j < d->out->inputs; j++)
        if (d->out->input[j].batches == 0)
            return az_fail(az, AZ_BAD_INPUT, "%s never had %lld rows in a batch, one for each direction; larger batches (svd_batch)%s help",
                           d->out->input[j].leader, (long long)d->out->input[j].pca->components,
                           d->how->answers_only ? " or counting all tokens (no-label_mask)" : "");
    return true;
}

static bool run_batches(az_ctx *az, drive *d, int64_t budget)
{
    az_eva *eva = d->out;
    seen *s = az_alloc_array(az, (size_t)eva->inputs, sizeof *s);
    az_lm_hook *hook = az_alloc_array(az, (size_t)eva->inputs, sizeof *hook);
    const char **site = az_alloc_array(az, (size_t)eva->inputs, sizeof *site);
    for (int j = 0; s && hook && site && j < eva->inputs; j++) {
        s[j] = (seen){.drive = d, .input = j};
        site[j] = az_format_text(az, "%s.in", eva->input[j].leader);
    }
    int open = eva->inputs;
    while (az_ok(az) && eva->batches < d->how->max_batches && (open > 0 || eva->batches < d->how->min_batches)) {
        if (!run_batch(az, d, eva->batches++, hook, open_hooks(d, s, hook, site))) break;
        if (every_input_began(eva)) {
            if (!share_ranks(az, d, budget)) break;
            open = judge(d);
        }
        char note[64];
        snprintf(note, sizeof note, "%d of %d inputs converged", eva->inputs - open, eva->inputs);
        if (!az_progress(az, "directions", eva->batches, 0, note)) break; /* the training that follows ends with the same interruption */
    }
    if (az_ok(az) && open > 0 && every_input_began(eva))
        az_note(az, "the directions of %d of %d inputs have not converged after %lld batches (max_batches)", open, eva->inputs,
                (long long)eva->batches);
    return az_ok(az) && check_rows(az, d);
}

bool az_eva_directions(az_ctx *az, const az_lm *lm, const az_lm_examples *examples, const az_eva_how *how, az_eva_place *place, int n,
                       az_eva *out)
{
    if (!lm || !examples || !az_ok(az)) return false;
    *out = (az_eva){0};
    drive d = {.lm = lm, .examples = examples, .how = how, .place = place, .n = n, .out = out};
    int64_t budget = 0, wanted = 0;
    for (int i = 0; i < n; i++) {
        budget += place[i].rank;
        wanted += place[i].directions > place[i].in;
    }
    if (wanted > 0) az_note(az, "%lld layers read fewer features than directions were asked for", (long long)wanted);
    if (!group_places(az, &d) || !begin_inputs(az, &d)) return false;
    /* q, k and v share directions: an input's are all that any of its layers can have */
    return run_batches(az, &d, budget);
}
