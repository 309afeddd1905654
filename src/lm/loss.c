/* loss.c - the loss of a lesson and its gradient: what training, tuning and second-order methods differentiate. */
#include "lm/lm_internal.h"

#include "adze/grad.h"

#include <math.h>
#include <string.h>

static const int64_t LOGITS_AT_ONCE = (int64_t)32 << 20; /* entries held by the loss at a time */

enum { HEAD_TENSORS = AZ_WEIGHT_PARTS + 1 };

/* The head over some rows: inputs are the rows and the head's tracked tensors, which stand in `slot` while it runs. */
typedef struct az_loss_segment {
    const az_lm *lm;
    const az_tensor *target; /* [rows] */
    int slots;
    az_tensor **slot[HEAD_TENSORS];
} az_loss_segment;

/* Sum of the rows' losses. */
static az_tensor *segment_loss(az_ctx *az, az_tensor *const *inputs, int n, void *user)
{
    const az_loss_segment *segment = user;
    az_tensor *outside[HEAD_TENSORS];
    for (int i = 1; i < n; i++) {
        outside[i - 1] = *segment->slot[i - 1];
        *segment->slot[i - 1] = inputs[i];
    }
    az_tensor *logits = az_lm_head_logits(az, segment->lm, inputs[0]);
    for (int i = 1; i < n; i++) *segment->slot[i - 1] = outside[i - 1];
    return az_sum(az, az_cross_entropy(az, logits, segment->target), AZ_ALL_AXES, false);
}

static void find_tracked(az_ctx *az, const az_lm *lm, az_loss_segment *segment)
{
    az_tensor **place[HEAD_TENSORS];
    int n = 0;
    for (int p = 0; p < AZ_WEIGHT_PARTS; p++)
        if (lm->head.weight->part[p]) place[n++] = &lm->head.weight->part[p];
    if (lm->head.bias) place[n++] = (az_tensor **)&lm->head.bias;
    for (int i = 0; i < n; i++)
        if (az_tracked(az, (const az_tensor *[]){*place[i]}, 1)) segment->slot[segment->slots++] = place[i];
}

az_tensor *az_lm_hidden_loss(az_ctx *az, const az_lm *lm, az_tensor *hidden, const int32_t *target, int64_t rows)
{
    if (!hidden) return NULL;
    const int64_t tokens = hidden->shape[0];
    az_loss_segment segment = {.lm = lm};
    find_tracked(az, lm, &segment);
    az_tensor *total = NULL;
    for (int64_t first = 0; first < tokens && az_ok(az); first += rows) {
        const int64_t n = tokens - first < rows ? tokens - first : rows;
        az_tensor *inputs[HEAD_TENSORS + 1] = {az_slice(az, hidden, 0, first, n)};
        for (int i = 0; i < segment.slots; i++) inputs[i + 1] = *segment.slot[i];
        segment.target = az_from(az, AZ_I32, 1, &n, target + first);
        az_tensor *sum = NULL;
        if (rows >= tokens || !az_tape_is_open(az)) {
            sum = segment_loss(az, inputs, segment.slots + 1, &segment);
        } else {
            segment.target = az_save(az, segment.target);
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
    az_tensor *hidden = az_lm_forward(az, lm, &lesson->batch, &how);
    const int64_t rows = LOGITS_AT_ONCE / lm->config.vocabulary;
    return az_lm_hidden_loss(az, lm, hidden, lesson->target, rows > 16 ? rows : 16);
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
