/* loss.c - the loss of a lesson and its gradient: what training, tuning and second-order methods differentiate. */
#include "lm/adapter.h"

#include "adze/grad.h"

#include <math.h>
#include <string.h>

static const int64_t LOGITS_AT_ONCE = (int64_t)32 << 20; /* entries held by the loss at a time */

/* The head over some rows: inputs are the rows and the tracked tensors of the head and of what sits beside it, which stand in `slot` while
 * it runs. */
typedef struct az_loss_segment {
    const az_lm *lm;
    const az_tensor *target; /* [rows] */
    const az_tensor *weight; /* [rows], or NULL */
    const az_pass_adapters *adapters;
    int64_t first, rows; /* of the adapters' rows */
    int slots;
    az_tensor ***slot; /* [slots] */
} az_loss_segment;

/* Sum of the rows' losses. */
static az_tensor *segment_loss(az_ctx *az, az_tensor *const *inputs, int n, void *user)
{
    const az_loss_segment *segment = user;
    az_tensor **outside = az_alloc_array(az, (size_t)n, sizeof *outside);
    if (!outside) return NULL;
    for (int i = 1; i < n; i++) {
        outside[i - 1] = *segment->slot[i - 1];
        *segment->slot[i - 1] = inputs[i];
    }
    const az_pass_adapters *adapters = az_pass_adapters_slice(az, segment->adapters, segment->first, segment->rows);
    az_tensor *logits = az_lm_head_logits(az, segment->lm, adapters, inputs[0]);
    for (int i = 1; i < n; i++) *segment->slot[i - 1] = outside[i - 1];
    az_tensor *loss = az_cross_entropy(az, logits, segment->target);
    if (segment->weight) loss = az_mul(az, loss, segment->weight);
    return az_sum(az, loss, AZ_ALL_AXES, false);
}

static bool is_tracked(az_ctx *az, const az_tensor *x)
{
    return x && az_tracked(az, &x, 1);
}

static bool find_tracked(az_ctx *az, const az_lm *lm, az_loss_segment *segment)
{
    az_tensor ***beside;
    const int n_beside = az_adapters_tracked(az, segment->adapters, -1, &beside);
    az_tensor ***all = az_alloc_array(az, (size_t)n_beside + AZ_WEIGHT_PARTS + 1, sizeof *all);
    int n = 0;
    for (int p = 0; all && p < AZ_WEIGHT_PARTS; p++)
        if (is_tracked(az, lm->head.weight->part[p])) all[n++] = &lm->head.weight->part[p];
    if (all && is_tracked(az, lm->head.bias)) all[n++] = (az_tensor **)&lm->head.bias;
    for (int i = 0; all && i < n_beside; i++) all[n++] = beside[i];
    segment->slot = all;
    segment->slots = n;
    return az_ok(az);
}

/* Weights of some rows in the type of the losses; NULL = all are 1. */
static az_tensor *weights_of(az_ctx *az, const az_hidden_rows *from, int64_t first, int64_t rows)
{
    if (!from->weight) return NULL;
    az_tensor *weight = az_from(az, AZ_F32, 1, &rows, from->weight + first);
    return from->hidden->dtype == AZ_F64 ? az_cast(az, weight, AZ_F64) : weight;
}

az_tensor *az_lm_hidden_loss(az_ctx *az, const az_lm *lm, const az_hidden_rows *from, int64_t rows)
{
    if (!from->hidden) return NULL;
    const int64_t tokens = from->hidden->shape[0];
    const bool pieces = rows < tokens && az_tape_is_open(az);
    az_loss_segment segment = {.lm = lm, .adapters = from->adapters};
    if (!find_tracked(az, lm, &segment)) return NULL;
    az_tensor **inputs = az_alloc_array(az, (size_t)segment.slots + 1, sizeof *inputs);
    if (!inputs) return NULL;
    if (pieces) segment.slot = az_save_memory(az, segment.slot, (size_t)segment.slots * sizeof *segment.slot);
    if (pieces) segment.adapters = az_pass_adapters_save(az, segment.adapters);
    az_tensor *total = NULL;
    for (segment.first = 0; segment.first < tokens && az_ok(az); segment.first += rows) {
        segment.rows = tokens - segment.first < rows ? tokens - segment.first : rows;
        inputs[0] = az_slice(az, from->hidden, 0, segment.first, segment.rows);
        for (int i = 0; i < segment.slots; i++) inputs[i + 1] = *segment.slot[i];
        segment.target = az_from(az, AZ_I32, 1, &segment.rows, from->target + segment.first);
        segment.weight = weights_of(az, from, segment.first, segment.rows);
        az_tensor *sum = NULL;
        if (!pieces) {
            sum = segment_loss(az, inputs, segment.slots + 1, &segment);
        } else {
            segment.target = az_save(az, segment.target);
            if (segment.weight) segment.weight = az_save(az, segment.weight);
            void *user = az_save_memory(az, &segment, sizeof segment);
            sum = user ? az_checkpoint(az, segment_loss, inputs, segment.slots + 1, user) : NULL;
        }
        total = total ? az_add(az, total, sum) : sum;
    }
    return total;
}

az_tensor *az_lm_loss(az_ctx *az, const az_lm *lm, const az_lm_lesson *lesson, const az_lm_run *run)
{
    if (!lm || !lesson) return NULL;
    az_lm_run how = run ? *run : (az_lm_run){0};
    how.output = AZ_HIDDEN;
    if (!how.instruction) how.instruction = az_lesson_instructions(az, lesson, &how);
    const az_hidden_rows from = {.hidden = az_lm_forward(az, lm, &lesson->batch, &how),
                                 .target = lesson->target,
                                 .weight = lesson->weight,
                                 .adapters = az_pass_adapters_begin(az, &lesson->batch, &how)};
    const int64_t rows = LOGITS_AT_ONCE / lm->config.vocabulary;
    return az_lm_hidden_loss(az, lm, &from, rows > 16 ? rows : 16);
}

/* Adds the rows' losses to their sequences'. */
static bool add_losses(az_ctx *az, const az_lm *lm, const az_lm_lesson *lesson, const az_hidden_rows *from, double *loss)
{
    const int64_t tokens = from->hidden->shape[0], most = LOGITS_AT_ONCE / lm->config.vocabulary, step = most > 16 ? most : 16;
    int s = 0;
    for (int64_t first = 0; first < tokens && az_ok(az); first += step) {
        const int64_t rows = tokens - first < step ? tokens - first : step;
        az_scope_push(az);
        const az_pass_adapters *adapters = az_pass_adapters_slice(az, from->adapters, first, rows);
        az_tensor *logits = az_lm_head_logits(az, lm, adapters, az_slice(az, from->hidden, 0, first, rows));
        const az_tensor *nll = az_cross_entropy(az, logits, az_from(az, AZ_I32, 1, &rows, from->target + first));
        for (int64_t i = 0; nll && i < rows; i++) {
            while (first + i >= lesson->batch.start[s + 1]) s++;
            loss[s] += az_item(nll, i);
        }
        az_scope_pop(az);
    }
    return az_ok(az);
}

bool az_lm_sequence_losses(az_ctx *az, const az_lm *lm, const az_lm_lesson *lesson, const az_lm_run *run, double *loss)
{
    if (!lm || !lesson || !lesson->target || !az_ok(az)) return false;
    az_lm_run how = run ? *run : (az_lm_run){0};
    how.output = AZ_HIDDEN;
    memset(loss, 0, (size_t)lesson->batch.sequences * sizeof *loss);
    az_scope_push(az);
    if (!how.instruction) how.instruction = az_lesson_instructions(az, lesson, &how);
    const az_hidden_rows from = {.hidden = az_lm_forward(az, lm, &lesson->batch, &how),
                                 .target = lesson->target,
                                 .adapters = az_pass_adapters_begin(az, &lesson->batch, &how)};
    const bool good = from.hidden && add_losses(az, lm, lesson, &from, loss);
    az_scope_pop(az);
    return good;
}

bool az_lm_gradient(az_ctx *az, const az_lm_objective *objective, const az_lm_parameter *parameter, int n, az_tensor **gradient,
                    double *loss)
{
    az_tensor **outside = az_alloc_array(az, (size_t)n, sizeof *outside);
    const az_tensor **watched = az_alloc_array(az, (size_t)n, sizeof *watched);
    if (!outside || !watched) return false;
    az_tape_open(az);
    for (int i = 0; i < n; i++) {
        outside[i] = *parameter[i].slot;
        az_tensor *header = az_watch(az, outside[i]);
        if (header) *parameter[i].slot = header;
        watched[i] = header;
    }
    az_tensor *sum = az_lm_loss(az, objective->lm, &objective->lesson, &objective->run);
    az_tensor *scaled = az_affine(az, sum, objective->scale, 0);
    if (loss) *loss = scaled ? az_to_double(scaled) : NAN;
    const bool good = scaled && az_grad(az, scaled, NULL, watched, n, gradient, AZ_GRAD_FREE);
    az_tape_close(az);
    for (int i = 0; i < n; i++) *parameter[i].slot = outside[i];
    return good;
}

az_lm_lesson az_lm_lesson_of(az_ctx *az, const az_lm_sequences *sequences, int64_t first, int64_t count)
{
    if (!sequences || sequences->length < 2) return (az_lm_lesson){0};
    const int64_t length = sequences->length - 1; /* the last token is only predicted */
    int32_t *token = az_alloc_array(az, (size_t)(count * length), sizeof *token),
            *target = az_alloc_array(az, (size_t)(count * length), sizeof *target);
    int64_t *start = az_alloc_array(az, (size_t)count + 1, sizeof *start);
    if (!token || !target || !start) return (az_lm_lesson){0};
    for (int64_t s = 0; s < count; s++) {
        const int32_t *from = sequences->token + (first + s) * sequences->length;
        memcpy(token + s * length, from, (size_t)length * sizeof *token);
        memcpy(target + s * length, from + 1, (size_t)length * sizeof *target);
        start[s + 1] = (s + 1) * length;
    }
    return (az_lm_lesson){.batch = {.sequences = (int)count, .token = token, .start = start}, .target = target};
}
