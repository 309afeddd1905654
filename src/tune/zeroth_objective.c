/* zeroth_objective.c - what is made small beside the loss: tokens that are not the likeliest, and answers that differ. */
#include "tune/zeroth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double az_zeroth_misses(az_ctx *az, const az_lm *lm, const az_lm_lesson *lesson, const az_lm_run *run)
{
    const az_tensor *best = az_argmax(az, az_lm_forward(az, lm, &lesson->batch, run));
    double n = 0;
    for (int64_t i = 0; best && i < az_count(best); i++)
        n += lesson->target[i] >= 0 && ((const int32_t *)best->data)[i] != lesson->target[i];
    return n;
}

static int by_value(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

double az_zeroth_f1(int32_t *a, int64_t n, int32_t *b, int64_t m)
{
    if (n + m == 0) return 1;
    if (n > 0) qsort(a, (size_t)n, sizeof *a, by_value);
    if (m > 0) qsort(b, (size_t)m, sizeof *b, by_value);
    int64_t common = 0;
    for (int64_t i = 0, j = 0; i < n && j < m;) {
        common += a[i] == b[j];
        const bool step = a[i] <= b[j], other = b[j] <= a[i];
        i += step, j += other;
    }
    return 2 * (double)common / (double)(n + m);
}

/* 1 - F1 of the greedy answer, of at most as many tokens, in the place of the last response of a sequence. */
static double misses_of(az_ctx *az, const az_lm *lm, const az_lm_lesson *lesson, int sequence, const az_adapter *adapter)
{
    const int32_t *token = lesson->batch.token, *target = lesson->target;
    const int64_t begin = lesson->batch.start[sequence];
    int64_t last = lesson->batch.start[sequence + 1];
    while (last > begin && target[last - 1] < 0) last--;
    int64_t first = last;
    while (first > begin && target[first - 1] >= 0) first--;
    int64_t n = last - first;
    int32_t *wanted = az_alloc_array(az, (size_t)n + 1, sizeof *wanted);
    if (!wanted || first == last) return 0;
    memcpy(wanted, target + first, (size_t)n * sizeof *wanted);
    const az_tokens prompt = {.id = (int32_t *)(uintptr_t)(token + begin), .n = first - begin + 1};
    const az_lm_generate_options how = {.max_tokens = n, .cache = AZ_KV_F32, .adapter = adapter};
    const az_tokens *made = az_lm_generate(az, lm, &prompt, &how);
    if (!made) return NAN;
    while (n > 0 && az_token_ends(lm->tokenizer, wanted[n - 1])) n--;
    return 1 - az_zeroth_f1(made->id + prompt.n, made->n - prompt.n, wanted, n);
}

double az_zeroth_answer_misses(az_ctx *az, const az_lm *lm, const az_lm_lesson *lesson, const az_adapter *adapter)
{
    double sum = 0;
    for (int s = 0; s < lesson->batch.sequences && az_ok(az); s++) {
        az_scope_push(az);
        sum += misses_of(az, lm, lesson, s, adapter);
        az_scope_pop(az);
    }
    return sum;
}
