/* format_int8_static.c - weights of 2 to 8 bits in bytes, whose products add up whole numbers without a multiplication by scales inside.
 *
 * int8_static: x_k is rounded to q_k = rint((x_k - shift_k) / step_k), with a step and a shift for each input that are known beforehand.
 *     The steps are part of the weights: scale_o (code_ok - zero_o) = step_k w_ok, so that
 *         y_o = scale_o (sum over k of q_k code_ok - zero_o sum over k of q_k) + sum over k of w_ok shift_k.
 *     Parts: codes i8 [rows, cols], scales f32 [rows], zeros i32 [rows], channels f32 [2, cols], the steps and the shifts, offsets f32
 *     [rows], the last sum, and bits i32 [3], the numbers of az_static_bits.
 * int8_token: the step of all inputs is the token's largest magnitude / (2^(bits - 1) - 1), there are no shifts. Parts: codes, scales,
 *     zeros, bits.
 *
 * "OutlierTune: efficient channel-wise quantization for large language models" (arXiv 2406.18832), section "pre-execution of
 * dequantization". */
#include "weight/int8_static.h"

#include "weight/int8.h"
#include "weight/kernels/int8.h"

#include <math.h>
#include <string.h>

enum { CODES, SCALES, ZEROS, CHANNELS, OFFSETS, BITS, TOKEN_BITS = CHANNELS };
enum { ROWS = 64, VECTORS = 16 }; /* of a piece of work */

static bool is_static(const az_weight *w)
{
    return w->format == &az_format_int8_static;
}

static az_static_bits bits_of(const az_weight *w)
{
    az_static_bits bits;
    memcpy(&bits, w->part[is_static(w) ? BITS : TOKEN_BITS]->data, sizeof bits);
    return bits;
}

static const float *steps_of(const az_weight *w)
{
    return is_static(w) ? w->part[CHANNELS]->data : NULL;
}

static const float *shifts_of(const az_weight *w)
{
    return is_static(w) ? (const float *)w->part[CHANNELS]->data + w->cols : NULL;
}

static void decode_codes(const az_weight *w, int64_t first, int64_t n, float *out)
{
    const float *step = steps_of(w), *scale = w->part[SCALES]->data;
    const int32_t *zero = w->part[ZEROS]->data;
    for (int64_t r = first; r < first + n; r++, out += w->cols) {
        const int8_t *code = (const int8_t *)w->part[CODES]->data + r * w->cols;
        for (int64_t c = 0; c < w->cols; c++) out[c] = (float)((double)scale[r] * (code[c] - zero[r]) / (step ? (double)step[c] : 1));
    }
}

/* ---- activations ---- */

/* x + ROUNDER - ROUNDER is x rounded to the nearest whole number, half to even, for |x| < 2^22 */
static const float ROUNDER = 12582912;

void az_static_round(const float *x, int64_t count, const float *step, const float *shift, int bits, int8_t *q)
{
    const float most = (float)((1 << (bits - 1)) - 1), least = bits == 8 ? -most : -most - 1;
    for (int64_t i = 0; i < count; i++) {
        float value = (x[i] - shift[i]) / step[i];
        value = value > most ? most : value < least ? least : value;
        value += ROUNDER;
        q[i] = (int8_t)(value - ROUNDER);
    }
}

float az_token_round(const float *x, int64_t count, int bits, int8_t *q)
{
    const float most = (float)((1 << (bits - 1)) - 1), step = az_int8_largest(x, count) / most;
    for (int64_t i = 0; i < count; i++) {
        const float value = step > 0 ? x[i] / step : 0;
        q[i] = (int8_t)((value > most ? most : value < -most ? -most : value) + ROUNDER - ROUNDER);
    }
    return step;
}

typedef struct rounded {
    int64_t n;
    int8_t *q;      /* [n, cols] */
    float *step;    /* [n] of int8_token; 1 otherwise */
    int64_t *total; /* [n] sum of q */
} rounded;

static bool round_vectors(az_ctx *az, const az_weight *w, const float *x, int64_t n, rounded *out)
{
    const int64_t cols = w->cols;
    const int bits = bits_of(w).activations;
    const float *step = steps_of(w), *shift = shifts_of(w);
    if (!az_int8_finite(az, x, n, cols)) return false;
    const az_tensor *bytes = az_new2(az, AZ_I8, n, cols);
    *out = (rounded){.n = n,
                     .q = bytes ? bytes->data : NULL,
                     .step = az_alloc_array(az, (size_t)n, sizeof *out->step),
                     .total = az_alloc_array(az, (size_t)n, sizeof *out->total)};
    if (!out->q || !out->step || !out->total) return false;
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (n >= 16)
    for (int64_t j = 0; j < n; j++) {
        int8_t *q = out->q + j * cols;
        out->step[j] = 1;
        if (step)
            az_static_round(x + j * cols, cols, step, shift, bits, q);
        else
            out->step[j] = az_token_round(x + j * cols, cols, bits, q);
        for (int64_t c = 0; c < cols; c++) out->total[j] += q[c];
    }
    return true;
}

/* ---- products ---- */

/* Rows first .. first + count - 1 with vectors j .. j + n - 1. */
static void product_piece(const az_weight *w, int64_t first, int64_t count, const rounded *x, int64_t j, int64_t n, float *y)
{
    const float *scale = w->part[SCALES]->data, *offset = is_static(w) ? w->part[OFFSETS]->data : NULL;
    const int32_t *zero = w->part[ZEROS]->data;
    int32_t sum[ROWS * VECTORS];
    az_int8_here()((const int8_t *)w->part[CODES]->data + first * w->cols, count, x->q + j * w->cols, n, w->cols, sum);
    for (int64_t k = j; k < j + n; k++)
        for (int64_t r = first; r < first + count; r++) {
            const int64_t whole = sum[(k - j) * count + r - first] - zero[r] * x->total[k];
            y[k * w->rows + r] = scale[r] * x->step[k] * (float)whole + (offset ? offset[r] : 0);
        }
}

/* Each vector of outputs to the nearest of its own 2^bits - 1 levels. */
static void round_outputs(az_ctx *az, int bits, int64_t n, int64_t rows, float *y)
{
    const float most = (float)((1 << (bits - 1)) - 1);
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (n >= 16)
    for (int64_t j = 0; j < n; j++) {
        const float step = az_int8_largest(y + j * rows, rows) / most;
        for (int64_t r = 0; r < rows && step > 0; r++) y[j * rows + r] = step * rintf(y[j * rows + r] / step);
    }
}

static void matmul_codes(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    rounded vectors;
    az_scope_push(az);
    if (round_vectors(az, w, x, n, &vectors)) {
#pragma omp parallel for schedule(guided) num_threads(az_threads(az))
        for (int64_t first = 0; first < w->rows; first += ROWS)
            for (int64_t j = 0; j < n; j += VECTORS)
                product_piece(w, first, first + ROWS <= w->rows ? ROWS : w->rows - first, &vectors, j, n - j < VECTORS ? n - j : VECTORS,
                              y);
        if (bits_of(w).outputs > 0) round_outputs(az, bits_of(w).outputs, n, w->rows, y);
    }
    az_scope_pop(az);
}

/* ---- making ---- */

/* sum over k of w_ok shift_k: f32 [rows]. */
static az_tensor *offsets_for(az_ctx *az, const az_tensor *codes, const az_tensor *scales, const az_tensor *zeros, const float *step)
{
    const int64_t rows = codes->shape[0], cols = codes->shape[1];
    const float *shift = step + cols;
    az_tensor *offsets = az_new1(az, AZ_F32, rows);
    for (int64_t r = 0; offsets && r < rows; r++) {
        const int8_t *code = (const int8_t *)codes->data + r * cols;
        double sum = 0;
        for (int64_t c = 0; c < cols; c++) sum += (double)(code[c] - ((const int32_t *)zeros->data)[r]) * shift[c] / step[c];
        az_f32_mut(offsets)[r] = (float)(sum * az_f32(scales)[r]);
    }
    return offsets;
}

az_weight *az_weight_int8_static(az_ctx *az, const az_int8_codes *from)
{
    if (!from->codes || !from->scales || !from->zeros || !az_ok(az)) return NULL;
    const int32_t bits[AZ_STATIC_BITS] = {from->weight_bits, from->activation_bits, from->output_bits};
    az_tensor *how = az_from(az, AZ_I32, 1, (const int64_t[]){AZ_STATIC_BITS}, bits);
    az_tensor *part[AZ_WEIGHT_PARTS] = {from->codes, from->scales, from->zeros, from->channels, NULL, how};
    if (!from->channels) part[TOKEN_BITS] = how, part[BITS] = NULL;
    if (from->channels) part[OFFSETS] = offsets_for(az, from->codes, from->scales, from->zeros, az_f32(from->channels));
    const az_format *format = from->channels ? &az_format_int8_static : &az_format_int8_token;
    return az_ok(az) ? az_weight_from_parts(az, format, from->codes->shape[0], from->codes->shape[1], part) : NULL;
}

/* ---- checking ---- */

static bool known_bits(int32_t bits)
{
    return bits >= 2 && bits <= 8;
}

static bool check_bits(az_ctx *az, const az_weight *w)
{
    if (w->cols > AZ_INT8_MOST_COLS)
        return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld] of format %s: sums of more than %d products of bytes can overflow",
                       (long long)w->rows, (long long)w->cols, w->format->name, AZ_INT8_MOST_COLS);
    const az_static_bits bits = bits_of(w);
    if (known_bits(bits.weights) && known_bits(bits.activations) && (bits.outputs == 0 || known_bits(bits.outputs))) return true;
    return az_fail(az, AZ_BAD_INPUT, "weight [%lld, %lld] of format %s: %d, %d and %d bits; 2 to 8 are known", (long long)w->rows,
                   (long long)w->cols, w->format->name, bits.weights, bits.activations, bits.outputs);
}

static bool check_rows(az_ctx *az, const az_weight *w)
{
    const float *scale = w->part[SCALES]->data;
    const int32_t *zero = w->part[ZEROS]->data;
    const int half = 1 << (bits_of(w).weights - 1);
    for (int64_t r = 0; r < w->rows; r++) {
        if (!(scale[r] >= 0) || !isfinite(scale[r]) || zero[r] < -half || zero[r] >= half)
            return az_fail(az, AZ_BAD_INPUT, "weight of format %s: row %lld has the scale %g and the zero point %d", w->format->name,
                           (long long)r, (double)scale[r], zero[r]);
        const int8_t *code = (const int8_t *)w->part[CODES]->data + r * w->cols;
        bool wide = false;
        for (int64_t c = 0; c < w->cols; c++) wide |= code[c] < -half || code[c] >= half;
        if (wide)
            return az_fail(az, AZ_BAD_INPUT, "weight of format %s: row %lld holds a code that does not fit %d bits", w->format->name,
                           (long long)r, bits_of(w).weights);
    }
    return true;
}

static bool check_token(az_ctx *az, const az_weight *w)
{
    const int bits = is_static(w) ? BITS : TOKEN_BITS;
    if (!az_is_matrix(w->part[CODES], AZ_I8, w->rows, w->cols)) return az_bad_part(az, w, CODES, "i8 [rows, cols]");
    if (!az_is_vector(w->part[SCALES], AZ_F32, w->rows)) return az_bad_part(az, w, SCALES, "f32 [rows]");
    if (!az_is_vector(w->part[ZEROS], AZ_I32, w->rows)) return az_bad_part(az, w, ZEROS, "i32 [rows]");
    if (!az_is_vector(w->part[bits], AZ_I32, AZ_STATIC_BITS)) return az_bad_part(az, w, bits, "i32 [3]");
    return check_bits(az, w) && check_rows(az, w);
}

static bool check_static(az_ctx *az, const az_weight *w)
{
    if (!az_is_matrix(w->part[CHANNELS], AZ_F32, 2, w->cols)) return az_bad_part(az, w, CHANNELS, "f32 [2, cols]");
    if (!az_is_vector(w->part[OFFSETS], AZ_F32, w->rows)) return az_bad_part(az, w, OFFSETS, "f32 [rows]");
    if (!check_token(az, w)) return false;
    for (int64_t c = 0; c < w->cols; c++)
        if (!(steps_of(w)[c] > 0) || !isfinite(steps_of(w)[c]) || !isfinite(shifts_of(w)[c]))
            return az_fail(az, AZ_BAD_INPUT, "weight of format %s: input %lld has the step %g and the shift %g", w->format->name,
                           (long long)c, (double)steps_of(w)[c], (double)shifts_of(w)[c]);
    const int64_t bad = az_first_nonfinite(w->part[OFFSETS]);
    if (bad < 0) return true;
    return az_fail(az, AZ_BAD_INPUT, "weight of format %s: the offset of row %lld is not finite", w->format->name, (long long)bad);
}

const az_format az_format_int8_static = {
    .name = "int8_static",
    .summary = "2 to 8 bits in bytes; products round each input of the layer by a step and a shift of its own",
    .part_name = {"codes", "scales", "zeros", "channels", "offsets", "bits"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_codes,
    .matmul = matmul_codes,
    .check = check_static,
    .keeps_zeros = true,
};

const az_format az_format_int8_token = {
    .name = "int8_token",
    .summary = "2 to 8 bits in bytes; products round activations with one scale a token",
    .part_name = {"codes", "scales", "zeros", "bits"},
    .ggml_type = -1,
    .block = 1,
    .decode = decode_codes,
    .matmul = matmul_codes,
    .check = check_token,
    .keeps_zeros = true,
};
