/* int8_round.c - activations rounded to bytes: which columns are outliers, the scales of what is left, the bytes.
 *
 * Dettmers et al.: LLM.int8(): 8-bit matrix multiplication for transformers at scale, NeurIPS 2022 (arXiv 2208.07339), and its baselines:
 * one scale a vector, or one for all of them, symmetric or with a zero point. */
#include "weight/int8.h"

#include <math.h>
#include <string.h>

static const float MOST = 127;
/* x + ROUNDER - ROUNDER is x rounded to the nearest whole number, half to even, for |x| < 2^22 */
static const float ROUNDER = 12582912;

void az_int8_nearest(const float *x, int64_t count, float scale, int8_t *q)
{
    const float inverse = scale > 0 ? MOST / scale : 0;
    for (int64_t i = 0; i < count; i++) {
        float value = (isfinite(inverse) ? x[i] * inverse : x[i] / scale * MOST) + ROUNDER;
        value -= ROUNDER;
        q[i] = (int8_t)(value > MOST ? MOST : value < -MOST ? -MOST : value);
    }
}

void az_int8_zero_point(float low, float high, float *scale, double *offset)
{
    if (high > low) {
        *scale = high / 2 - low / 2;
        *offset = rint((double)low * MOST / *scale) + MOST;
    } else { /* one value, or none */
        *scale = fabsf(low);
        *offset = 0;
    }
}

int8_t az_int8_shifted(float x, float scale, double offset)
{
    const double value = scale > 0 ? rint((double)x * MOST / scale) - offset : 0;
    return (int8_t)(value > MOST ? MOST : value < -MOST ? -MOST : value);
}

/* ---- outliers ---- */

enum { COLUMNS = 64 };

/* Marks the columns with a value that reaches the threshold. */
static void mark_columns(az_ctx *az, const float *x, int64_t n, int64_t cols, float threshold, unsigned char *mark)
{
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (n * cols > 1 << 16)
    for (int64_t first = 0; first < cols; first += COLUMNS) {
        const int64_t end = first + COLUMNS < cols ? first + COLUMNS : cols;
        for (int64_t j = 0; j < n; j++)
            for (int64_t c = first; c < end; c++) mark[c] |= fabsf(x[j * cols + c]) >= threshold;
    }
}

static bool find_outliers(az_ctx *az, const az_int8_how *how, const az_int8_rows *listed, const float *x, az_int8_vectors *out,
                          unsigned char *mark)
{
    if (how->fixed > 0)
        for (int64_t i = 0; i < listed->listed; i++) mark[listed->column[i]] = 1;
    else if (how->threshold > 0)
        mark_columns(az, x, out->n, out->cols, (float)how->threshold, mark);
    for (int64_t c = 0; c < out->cols; c++) out->outliers += mark[c];
    if (out->outliers == 0) return true;
    out->outlier = az_alloc_array(az, (size_t)out->outliers, sizeof *out->outlier);
    out->value = az_alloc_array(az, (size_t)(out->n * out->outliers), sizeof *out->value);
    if (!out->outlier || !out->value) return false;
    for (int64_t c = 0, i = 0; c < out->cols; c++)
        if (mark[c]) out->outlier[i++] = (int32_t)c;
    for (int64_t j = 0; j < out->n; j++)
        for (int64_t i = 0; i < out->outliers; i++) out->value[j * out->outliers + i] = x[j * out->cols + out->outlier[i]];
    return true;
}

/* ---- scales ---- */

typedef struct range {
    float low, high;
} range;

/* Smallest and largest of a vector's values that count: those outside outlier columns, or all below the threshold in magnitude. */
static range range_of(const float *x, int64_t cols, const unsigned char *mark, float threshold)
{
    range r = {INFINITY, -INFINITY};
    for (int64_t c = 0; c < cols; c++) {
        const bool counts = mark ? !mark[c] : fabsf(x[c]) < threshold;
        r.low = counts && x[c] < r.low ? x[c] : r.low;
        r.high = counts && x[c] > r.high ? x[c] : r.high;
    }
    return r;
}

static int32_t bits_of(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7fffffff;
}

static float of_bits(int32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The largest magnitude of the values that count, found among their bits: those are in the order of magnitudes. */
static float magnitude_of(const float *x, int64_t cols, const unsigned char *mark, float threshold)
{
    const int32_t limit = bits_of(threshold);
    int32_t most = 0;
    if (mark)
        for (int64_t c = 0; c < cols; c++) {
            const int32_t bits = mark[c] ? 0 : bits_of(x[c]);
            most = bits > most ? bits : most;
        }
    else
        for (int64_t c = 0; c < cols; c++) {
            const int32_t bits = bits_of(x[c]), counted = bits < limit ? bits : 0;
            most = counted > most ? counted : most;
        }
    return of_bits(most);
}

static void set_scales(const az_int8_how *how, const float *x, const unsigned char *mark, az_int8_vectors *out)
{
    const bool whole_columns = how->paper > 0 || how->fixed > 0;
    const float threshold = how->threshold > 0 ? (float)how->threshold : INFINITY;
    range all = {INFINITY, -INFINITY};
    float scale = 0;
    for (int64_t j = 0; j < out->n; j++) {
        const float *vector = x + j * out->cols;
        out->scale[j] = magnitude_of(vector, out->cols, whole_columns ? mark : NULL, threshold);
        scale = fmaxf(scale, out->scale[j]);
        if (how->scheme != AZ_INT8_ZEROPOINT) continue;
        const range r = range_of(vector, out->cols, whole_columns ? mark : NULL, threshold);
        all = (range){fminf(all.low, r.low), fmaxf(all.high, r.high)};
    }
    if (how->scheme != AZ_INT8_ABSMAX && how->scheme != AZ_INT8_ZEROPOINT) return;
    if (how->scheme == AZ_INT8_ZEROPOINT && all.low <= all.high) az_int8_zero_point(all.low, all.high, &scale, &out->offset);
    for (int64_t j = 0; j < out->n; j++) out->scale[j] = scale;
}

/* ---- bytes ---- */

static void round_vector(const az_int8_how *how, const float *x, int64_t j, az_int8_vectors *out)
{
    int8_t *q = out->q + j * out->cols;
    if (how->scheme == AZ_INT8_ZEROPOINT)
        for (int64_t c = 0; c < out->cols; c++) q[c] = az_int8_shifted(x[j * out->cols + c], out->scale[j], out->offset);
    else
        az_int8_nearest(x + j * out->cols, out->cols, out->scale[j], q);
    for (int64_t i = 0; i < out->outliers; i++) q[out->outlier[i]] = 0;
    int64_t total = 0;
    for (int64_t c = 0; c < out->cols; c++) total += q[c];
    out->total[j] = total;
}

float az_int8_largest(const float *x, int64_t n)
{
    int32_t most = 0; /* the bits of NaN and infinity are larger than all others */
    for (int64_t c = 0; c < n; c++) {
        const int32_t bits = bits_of(x[c]);
        most = bits > most ? bits : most;
    }
    return of_bits(most);
}

bool az_int8_finite(az_ctx *az, const float *x, int64_t n, int64_t cols)
{
    for (int64_t j = 0; j < n; j++) {
        if (isfinite(az_int8_largest(x + j * cols, cols))) continue;
        for (int64_t c = 0; c < cols; c++)
            if (!isfinite(x[j * cols + c]))
                return az_fail(az, AZ_NUMERIC, "product of bytes: input %lld of vector %lld is %g, which has no scale", (long long)c,
                               (long long)j, (double)x[j * cols + c]);
    }
    return true;
}

bool az_int8_round(az_ctx *az, const az_int8_how *how, const az_int8_rows *listed, const float *x, int64_t n, int64_t cols,
                   az_int8_vectors *out)
{
    *out = (az_int8_vectors){.n = n, .cols = cols};
    if (!az_int8_finite(az, x, n, cols)) return false;
    const az_tensor *bytes = az_new2(az, AZ_I8, n, cols);
    out->q = bytes ? bytes->data : NULL;
    out->scale = az_alloc_array(az, (size_t)n, sizeof *out->scale);
    out->total = az_alloc_array(az, (size_t)n, sizeof *out->total);
    unsigned char *mark = az_alloc(az, (size_t)cols);
    if (!out->q || !out->scale || !out->total || !mark) return false;
    if (!find_outliers(az, how, listed, x, out, mark)) return false;
    set_scales(how, x, mark, out);
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (n >= 16)
    for (int64_t j = 0; j < n; j++) round_vector(how, x, j, out);
    return true;
}
