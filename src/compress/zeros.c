/* zeros.c - a weight that an earlier method dropped stays dropped: the rule of chains, in one place. */
#include "compress/compress_internal.h"

static const double PRUNED = 0.25; /* share of zeros from which on a matrix counts as pruned; rounding alone leaves fewer */

const char *const az_zero_choices[] = {[AZ_KEEP_ZEROS] = "keep", [AZ_LOSE_ZEROS] = "lose", NULL};

/* How many zeros `before` has, and how many of them `after` gives a value. */
static bool count_zeros(az_ctx *az, const az_weight *before, const az_weight *after, int64_t *zeros, int64_t *lost)
{
    az_scope_push(az);
    const float *x = az_f32(az_weight_decode(az, before)), *y = az_f32(az_weight_decode(az, after));
    *zeros = *lost = 0;
    for (int64_t i = 0; x && y && i < before->rows * before->cols; i++) {
        *zeros += x[i] == 0;
        *lost += x[i] == 0 && y[i] != 0;
    }
    az_scope_pop(az);
    return x && y;
}

static const char *formats_with_zeros(az_ctx *az)
{
    const char *names = "";
    for (const az_format *const *f = az_formats(); *f; f++)
        if ((*f)->keeps_zeros && az_format_encodes(*f)) names = az_format_text(az, "%s%s%s", names, *names ? ", " : "", (*f)->name);
    return names;
}

az_weight *az_compress_keep_zeros(az_ctx *az, const az_weight *before, az_weight *after)
{
    int64_t zeros, lost;
    if (!before || !after || !count_zeros(az, before, after, &zeros, &lost)) return NULL;
    if (lost == 0) return after;
    if (az_weight_is_dense(after)) {
        const az_weight *masked = az_mask_apply(az, after, az_mask_of(az, before));
        return az_weight_encode(az, masked, after->format, NULL);
    }
    const double share = (double)zeros / ((double)before->rows * (double)before->cols);
    if (share < PRUNED) return after;
    return az_fail(az, AZ_BAD_INPUT,
                   "%.3g %% of the matrix was pruned, and %s cannot hold those zeros; choose a format that does (%s), or zeros=lose",
                   100 * share, after->format->name, formats_with_zeros(az));
}
