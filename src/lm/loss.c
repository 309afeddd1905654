/* loss.c - the loss of a lesson and its gradient: what training, tuning and second-order methods differentiate. */
#include "lm/adapter.h"

#include "adze/grad.h"

#include <math.h>
#include <string.h>

static const int64_t LOGITS_AT_ONCE = (int64_t)16 << 20; /* entries held by the loss at a time */

/* The head over all rows, piece by piece: inputs are the rows and the tracked tensors of the head and of what sits beside it, which stand
 * in `slot` while a piece is computed. */
typedef struct head_loss {
    const az_lm *lm;
    const az_tensor *target; /* [tokens] */
    const az_tensor *weight; /* [tokens], or NULL */
    const az_pass_adapters *adapters;
    int64_t rows; /* of a piece */
    int slots;
    az_tensor ***slot; /* [slots] */
} head_loss;

/* Sum of the losses of a piece's rows. */
static az_tensor *piece_loss(az_ctx *az, az_tensor *const *inputs, int n, int64_t piece, void *user)
{
    const head_loss *head = user;
    const int64_t first = piece * head->rows, left = inputs[0]->shape[0] - first, rows = left < head->rows ? left : head->rows;
    az_tensor **outside = az_alloc_array(az, (size_t)n, sizeof *outside);
    if (!outside) return NULL;
    for (int i = 1; i < n; i++) {
        outside[i - 1] = *head->slot[i - 1];
        *head->slot[i - 1] = inputs[i];
    }
    az_scope_push(az); /* so that only the tape holds the logits, which their gradient then replaces */
    const az_pass_adapters *adapters = az_pass_adapters_slice(az, head->adapters, first, rows);
    az_tensor *logits = az_lm_head_logits(az, head->lm, adapters, az_slice(az, inputs[0], 0, first, rows));
    for (int i = 1; i < n; i++) *head->slot[i - 1] = outside[i - 1];
    az_tensor *loss = az_cross_entropy(az, logits, az_slice(az, head->target, 0, first, rows));
    if (head->weight) loss = az_mul(az, loss, az_slice(az, head->weight, 0, first, rows));
    return az_keep(az, az_sum(az, loss, AZ_ALL_AXES, false));
}

static bool is_tracked(az_ctx *az, const az_tensor *x)
{
    return x && az_tracked(az, &x, 1);
}

static bool find_tracked(az_ctx *az, const az_lm *lm, head_loss *head)
{
    az_tensor ***beside;
    const int n_beside = az_adapters_tracked(az, head->adapters, -1, &beside);
    az_tensor ***all = az_alloc_array(az, (size_t)n_beside + AZ_WEIGHT_PARTS + 1, sizeof *all);
    int n = 0;
    for (int p = 0; all && p < AZ_WEIGHT_PARTS; p++)
        if (is_tracked(az, lm->head.weight->part[p])) all[n++] = &lm->head.weight->part[p];
    if (all && is_tracked(az, lm->head.bias)) all[n++] = (az_tensor **)&lm->head.bias;
    for (int i = 0; all && i < n_beside; i++) all[n++] = beside[i];
    head->slot = all;
    head->slots = n;
    return az_ok(az);
}

/* Weights of the rows in the type of the losses; NULL = all are 1. */
static az_tensor *weights_of(az_ctx *az, const az_hidden_rows *from)
{
    if (!from->weight) return NULL;
    az_tensor *weight = az_from(az, AZ_F32, 1, from->hidden->shape, from->weight);
    return from->hidden->dtype == AZ_F64 ? az_cast(az, weight, AZ_F64) : weight;
}

/* What a tape reads when the loss is computed again for a second derivative. */
static bool save_head(az_ctx *az, head_loss *head)
{
    head->slot = az_save_memory(az, head->slot, (size_t)head->slots * sizeof *head->slot);
    head->adapters = az_pass_adapters_save(az, head->adapters);
    head->target = az_save(az, head->target);
    if (head->weight) head->weight = az_save(az, head->weight);
    return az_ok(az);
}

az_tensor *az_lm_hidden_loss(az_ctx *az, const az_lm *lm, const az_hidden_rows *from, int64_t rows)
{
    if (!from->hidden) return NULL;
    const int64_t tokens = from->hidden->shape[0];
    head_loss head = {.lm = lm, .adapters = from->adapters, .rows = rows};
    if (!find_tracked(az, lm, &head)) return NULL;
    head.target = az_from(az, AZ_I32, 1, &tokens, from->target);
    head.weight = weights_of(az, from);
    az_tensor **inputs = az_alloc_array(az, (size_t)head.slots + 1, sizeof *inputs);
    if (!inputs || !head.target) return NULL;
    inputs[0] = from->hidden;
    for (int i = 0; i < head.slots; i++) inputs[i + 1] = *head.slot[i];
    if (rows >= tokens) return piece_loss(az, inputs, head.slots + 1, 0, &head);
    if (az_tape_is_open(az) && !save_head(az, &head)) return NULL;
    return az_sum_at_once(az, piece_loss, (tokens + rows - 1) / rows, inputs, head.slots + 1, az_save_memory(az, &head, sizeof head));
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
