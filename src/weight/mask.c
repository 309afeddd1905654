/* mask.c - keep masks: which weights stay, chosen by score per row, per matrix or in n:m groups.
 *
 * The k lowest scores are found by radix selection on the bits of the floats: linear time for any input, no copy, and ties fall by
 * position, so a mask is the same on every machine and for any number of threads. */
#include "weight/weight_internal.h"

#include <math.h>
#include <string.h>

enum { RANKED = 32, DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS };

/* Unsigned keys in the order of the floats; -0 and 0 are equal. */
static uint32_t order_key(float score)
{
    const float clean = score + 0.0f;
    uint32_t bits;
    memcpy(&bits, &clean, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* The key at position k (from 0) of the sorted scores. *ties = how many entries of that key are among the first k + 1. */
static uint32_t select_key(const float *score, int64_t n, int64_t k, int64_t *ties)
{
    uint32_t prefix = 0, known = 0; /* leading bits found so far, and their mask */
    for (int shift = 32 - DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
        int64_t count[DIGITS] = {0};
        for (int64_t i = 0; i < n; i++) {
            const uint32_t key = order_key(score[i]);
            if ((key & known) == prefix) count[key >> shift & (DIGITS - 1)]++;
        }
        uint32_t digit = 0;
        while (k >= count[digit]) k -= count[digit++];
        prefix |= digit << shift;
        known |= (uint32_t)(DIGITS - 1) << shift;
    }
    *ties = k + 1;
    return prefix;
}

/* Clears keep at the `drop` lowest of n scores; among equal ones the first go first. keep is all ones before. */
static void drop_lowest(const float *score, int64_t n, int64_t drop, unsigned char *keep)
{
    if (drop <= 0) return;
    if (n <= RANKED) {
        for (int64_t i = 0; i < n; i++) {
            int64_t rank = 0;
            for (int64_t j = 0; j < n; j++) rank += score[j] < score[i] || (j < i && score[j] == score[i]);
            keep[i] = rank >= drop;
        }
        return;
    }
    int64_t ties;
    const uint32_t last = select_key(score, n, drop - 1, &ties);
    for (int64_t i = 0; i < n; i++) {
        const uint32_t key = order_key(score[i]);
        keep[i] = key > last || (key == last && ties-- <= 0);
    }
}

static bool how_is_sound(az_ctx *az, const az_tensor *scores, az_mask_how how)
{
    const int n = how.pattern.n, m = how.pattern.m;
    if (!az_f32(scores) || scores->rank != 2)
        az_fail(az, AZ_BAD_CALL, "mask: the scores must be a contiguous f32 matrix, got %s %s", az_dtype_name(scores->dtype),
                az_shape_text(az, scores));
    else if (m == 0 && !(how.share >= 0 && how.share <= 1))
        az_fail(az, AZ_BAD_INPUT, "mask: the share to drop must lie in 0 .. 1, got %g", how.share);
    else if (m != 0 && (m < 1 || n < 1 || n > m))
        az_fail(az, AZ_BAD_INPUT, "mask: the pattern %d:%d must keep between 1 and m of every m", n, m);
    else if (m != 0 && scores->shape[1] % m != 0)
        az_fail(az, AZ_BAD_INPUT, "mask: the pattern %d:%d needs a number of inputs divisible by %d, the matrix is %s", n, m, m,
                az_shape_text(az, scores));
    return az_ok(az);
}

static bool no_nan(az_ctx *az, const float *score, int64_t rows, int64_t cols)
{
    for (int64_t i = 0; i < rows * cols; i++)
        if (isnan(score[i])) {
            az_fail(az, AZ_NUMERIC, "mask: the score at row %lld, column %lld is NaN", (long long)(i / cols), (long long)(i % cols));
            return false;
        }
    return true;
}

az_tensor *az_mask_lowest(az_ctx *az, const az_tensor *scores, az_mask_how how)
{
    if (!scores || !how_is_sound(az, scores, how)) return NULL;
    const int64_t rows = scores->shape[0], cols = scores->shape[1], total = rows * cols;
    const float *score = az_f32(scores);
    az_tensor *mask = no_nan(az, score, rows, cols) ? az_new2(az, AZ_U8, rows, cols) : NULL;
    if (!mask) return NULL;
    unsigned char *keep = mask->data;
    memset(keep, 1, (size_t)total);
    if (how.pattern.m == 0 && how.scope == AZ_PER_MATRIX) {
        const int64_t threshold_at = (int64_t)floor((double)total * how.share);
        if (how.share > 0) drop_lowest(score, total, threshold_at < total ? threshold_at + 1 : total, keep);
        return mask;
    }
    const int64_t group = how.pattern.m ? how.pattern.m : cols;
    const int64_t drop = how.pattern.m ? how.pattern.m - how.pattern.n : (int64_t)floor((double)cols * how.share);
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = r * cols; j < (r + 1) * cols; j += group) drop_lowest(score + j, group, drop, keep + j);
    return mask;
}

az_tensor *az_mask_lowest_count(az_ctx *az, const az_tensor *scores, int64_t count)
{
    if (!scores || !how_is_sound(az, scores, (az_mask_how){0})) return NULL;
    const int64_t rows = scores->shape[0], cols = scores->shape[1];
    if (count < 0 || count > rows * cols)
        return az_fail(az, AZ_BAD_CALL, "mask: %lld of %lld entries cannot be dropped", (long long)count, (long long)(rows * cols));
    az_tensor *mask = no_nan(az, az_f32(scores), rows, cols) ? az_new2(az, AZ_U8, rows, cols) : NULL;
    if (!mask) return NULL;
    memset(mask->data, 1, (size_t)(rows * cols));
    drop_lowest(az_f32(scores), rows * cols, count, mask->data);
    return mask;
}

static bool mask_fits(az_ctx *az, const az_tensor *mask, int64_t rows, int64_t cols)
{
    const bool fits = mask->dtype == AZ_U8 && mask->rank == 2 && mask->shape[0] == rows && mask->shape[1] == cols && az_is_contiguous(mask);
    if (!fits)
        az_fail(az, AZ_BAD_CALL, "mask: a contiguous u8 matrix [%lld, %lld] is needed, got %s %s", (long long)rows, (long long)cols,
                az_dtype_name(mask->dtype), az_shape_text(az, mask));
    return fits;
}

az_tensor *az_mask_of(az_ctx *az, const az_weight *w)
{
    az_tensor *mask = w ? az_new2(az, AZ_U8, w->rows, w->cols) : NULL;
    if (!mask) return NULL;
    az_scope_push(az);
    const float *value = az_f32(az_weight_decode(az, w));
    unsigned char *keep = mask->data;
    for (int64_t i = 0; value && i < w->rows * w->cols; i++) keep[i] = value[i] != 0;
    az_scope_pop(az);
    return value ? mask : NULL;
}

az_weight *az_mask_apply(az_ctx *az, const az_weight *w, const az_tensor *mask)
{
    if (!w || !mask || !mask_fits(az, mask, w->rows, w->cols)) return NULL;
    az_tensor *dense = az_weight_decode(az, w);
    if (!dense) return NULL;
    float *value = az_f32_mut(dense);
    const unsigned char *keep = mask->data;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t i = 0; i < w->rows * w->cols; i++)
        if (!keep[i]) value[i] = 0;
    return az_weight_dense(az, dense);
}

/* The most weights that a group of m keeps. */
static int most_kept(const az_tensor *mask, int m)
{
    const unsigned char *keep = mask->data;
    int most = 0;
    for (int64_t i = 0; i < az_count(mask); i += m) {
        int kept = 0;
        for (int j = 0; j < m; j++) kept += keep[i + j] != 0;
        if (kept > most) most = kept;
    }
    return most;
}

static const double SLACK = 0.02; /* share of the weights that may be zero without having been dropped */

az_pattern az_mask_pattern(const az_tensor *mask)
{
    const az_pattern none = {0, 0};
    if (!mask || mask->dtype != AZ_U8 || mask->rank != 2 || !az_is_contiguous(mask) || az_count(mask) == 0) return none;
    const unsigned char *keep = mask->data;
    int64_t kept = 0;
    for (int64_t i = 0; i < az_count(mask); i++) kept += keep[i] != 0;
    const double share = (double)kept / (double)az_count(mask);
    for (int m = 2; m <= 16; m *= 2) {
        const int n = (int)ceil(share * m - 1e-9);
        const bool fits = mask->shape[1] % m == 0 && n > 0 && n < m && n - share * m < SLACK * m;
        if (fits && most_kept(mask, m) <= n) return (az_pattern){n, m};
    }
    return none;
}

bool az_mask_check(az_ctx *az, const az_tensor *mask, az_pattern pattern)
{
    if (!mask || !az_ok(az)) return false;
    if (mask->rank != 2 || pattern.m < 1 || mask->shape[1] % pattern.m != 0) {
        az_fail(az, AZ_BAD_INPUT, "mask: the pattern %d:%d needs a number of inputs divisible by %d, the mask is %s", pattern.n, pattern.m,
                pattern.m, az_shape_text(az, mask));
        return false;
    }
    const int64_t rows = mask->shape[0], groups = mask->shape[1] / pattern.m;
    if (!mask_fits(az, mask, rows, mask->shape[1])) return false;
    const unsigned char *keep = mask->data;
    for (int64_t g = 0; g < rows * groups; g++) {
        int kept = 0;
        for (int j = 0; j < pattern.m; j++) kept += keep[g * pattern.m + j] != 0;
        if (kept > pattern.n) {
            az_fail(az, AZ_BAD_INPUT, "mask: row %lld keeps %d weights in group %lld, the pattern %d:%d allows %d", (long long)(g / groups),
                    kept, (long long)(g % groups), pattern.n, pattern.m, pattern.n);
            return false;
        }
    }
    return true;
}
