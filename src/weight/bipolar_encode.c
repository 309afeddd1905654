/* bipolar_encode.c - codes for planes of bits: by rounding, or those that a weight has.
 *
 * Rounding, without offset: scale = max |w| / (2^n - 1) in a group, u = rint((w / scale + 2^n - 1) / 2). With offset: w = 2 scale (u -
 * zero) with a whole zero point. Codes that stand for w = step u + base become scale = step / 2 and offset = step (2^n - 1) / 2 + base:
 * signed codes x of n bits, w = step x, are u = x + 2^(n - 1), so that the offset is -step / 2. */
#include "weight/bipolar.h"
#include "weight/int8_static.h"

#include <math.h>
#include <string.h>

enum { SHARES = 80 };

/* Codes and what they stand for, w = scale (2 u - (2^bits - 1)) + offset. */
typedef struct codes {
    int64_t rows, cols, groups;
    int bits;
    uint8_t *code;         /* [rows, cols] */
    float *scale, *offset; /* [rows, groups] */
} codes;

static bool codes_new(az_ctx *az, int64_t rows, int64_t cols, int64_t groups, int bits, codes *out)
{
    const az_tensor *bytes = az_new2(az, AZ_U8, rows, cols);
    *out = (codes){.rows = rows, .cols = cols, .groups = groups, .bits = bits, .code = bytes ? bytes->data : NULL};
    out->scale = az_alloc_array(az, (size_t)(rows * groups), sizeof *out->scale);
    out->offset = az_alloc_array(az, (size_t)(rows * groups), sizeof *out->offset);
    return az_ok(az);
}

/* ---- rounding ---- */

typedef struct grid {
    float scale, offset;
} grid;

static grid grid_for(const az_bipolar_settings *s, float low, float high)
{
    const float most = (float)((1 << s->weight_bits) - 1);
    if (!s->offset) return (grid){.scale = fmaxf(-low, high) / most};
    grid g = {.scale = (high - low) / (2 * most)};
    const float zero = g.scale > 0 ? rintf(-low / (2 * g.scale)) : 0;
    g.offset = g.scale * (most - 2 * zero);
    return g;
}

static uint8_t code_of(const grid *g, float w, int bits)
{
    const float most = (float)((1 << bits) - 1), u = g->scale > 0 ? rintf(((w - g->offset) / g->scale + most) * 0.5f) : 0;
    return (uint8_t)(u < 0 ? 0 : u > most ? most : u);
}

static double loss(const grid *g, const float *w, int64_t n, int bits)
{
    const int most = (1 << bits) - 1;
    double sum = 0;
    for (int64_t c = 0; c < n; c++) {
        const double off = (double)w[c] - ((double)g->scale * (2 * code_of(g, w[c], bits) - most) + (double)g->offset);
        sum += off * off;
    }
    return sum;
}

static grid choose_grid(const az_bipolar_settings *s, const float *w, int64_t n)
{
    float low = 0, high = 0;
    double sum = 0;
    for (int64_t c = 0; c < n; c++) {
        low = fminf(low, w[c]);
        high = fmaxf(high, w[c]);
        sum += fabs((double)w[c]);
    }
    if (s->weight_bits == 1 && !s->offset) return (grid){.scale = (float)(sum / (double)n)};
    grid best = grid_for(s, low, high);
    double least = s->search ? loss(&best, w, n, s->weight_bits) : 0;
    for (int i = 1; s->search && i < SHARES; i++) {
        const float share = 1 - 0.01f * (float)i;
        const grid narrow = grid_for(s, share * low, share * high);
        const double lost = loss(&narrow, w, n, s->weight_bits);
        if (lost < least) least = lost, best = narrow;
    }
    return best;
}

static void round_rows(az_ctx *az, const az_bipolar_settings *s, const float *w, const codes *to)
{
    const int64_t group = to->cols / to->groups;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t i = 0; i < to->rows * to->groups; i++) {
        const grid g = choose_grid(s, w + i * group, group);
        to->scale[i] = g.scale;
        to->offset[i] = g.offset;
        for (int64_t c = i * group; c < (i + 1) * group; c++) to->code[c] = code_of(&g, w[c], to->bits);
    }
}

/* ---- planes ---- */

/* f16 where it holds all values exactly, f32 otherwise. */
static az_tensor *groups_part(az_ctx *az, const codes *from, const float *value)
{
    az_tensor *wide = az_from(az, AZ_F32, 2, (const int64_t[]){from->rows, from->groups}, value);
    if (from->groups == 1 || !wide) return wide;
    bool exact = true;
    for (int64_t i = 0; i < from->rows * from->groups; i++) exact &= az_half_to_float(az_float_to_half(value[i])) == value[i];
    return exact ? az_cast(az, wide, AZ_F16) : wide;
}

static az_weight *planes_of(az_ctx *az, const codes *from, const az_bipolar_settings *s)
{
    const az_bipolar_layout l = az_bipolar_layout_of(from->rows, from->cols, from->bits, from->groups);
    const az_bipolar_how how = {from->bits, s->activation_bits, s->kernel, s->activation_offset};
    az_tensor *part[AZ_WEIGHT_PARTS] = {az_zeros(az, AZ_U8, 2, (const int64_t[]){l.strips, l.strip_bytes}),
                                        groups_part(az, from, from->scale), groups_part(az, from, from->offset),
                                        az_from(az, AZ_I32, 1, (const int64_t[]){AZ_BIPOLAR_HOW}, &how)};
    if (!az_ok(az)) return NULL;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t strip = 0; strip < l.strips; strip++)
        for (int64_t r = strip * AZ_STRIP; r < (strip + 1) * AZ_STRIP && r < from->rows; r++)
            az_bipolar_set_row(&l, (uint8_t *)part[BIPOLAR_PLANES]->data + strip * l.strip_bytes, (int)(r % AZ_STRIP), from->cols,
                               from->code + r * from->cols);
    return az_weight_from_parts(az, &az_format_bipolar, from->rows, from->cols, part);
}

az_weight *az_weight_bipolar(az_ctx *az, const az_weight *w, const az_bipolar_settings *s)
{
    const az_tensor *dense = az_weight_decode(az, w);
    if (!dense) return NULL;
    const int64_t group = s->group ? s->group : w->cols, bad = az_first_nonfinite(dense);
    if (!az_bipolar_group_fits(w->cols, group))
        return az_fail(az, AZ_BAD_INPUT,
                       "groups of %lld inputs do not fit rows of %lld: they divide them, and are a multiple of 8 up to 256, or of 256",
                       (long long)group, (long long)w->cols);
    if (bad >= 0)
        return az_fail(az, AZ_NUMERIC, "the weight at row %lld, column %lld is not finite", (long long)(bad / w->cols),
                       (long long)(bad % w->cols));
    codes c;
    if (!codes_new(az, w->rows, w->cols, w->cols / group, s->weight_bits, &c)) return NULL;
    round_rows(az, s, az_f32(dense), &c);
    return planes_of(az, &c, s);
}

/* ---- codes that are there ---- */

/* w = step u + base for group i. */
static void set_group(const codes *c, int64_t i, double step, double base)
{
    c->scale[i] = (float)(step / 2);
    c->offset[i] = (float)(step * ((1 << c->bits) - 1) / 2 + base);
}

static bool from_levels(az_ctx *az, const az_weight *w, codes *out)
{
    az_tensor *level, *step;
    const int bits = az_format_level_bits(w->format), half = 1 << (bits - 1);
    if (!az_weight_levels(az, w, &level, &step)) return false;
    if (!codes_new(az, w->rows, w->cols, step->shape[1], bits, out)) return false;
    for (int64_t i = 0; i < w->rows * w->cols; i++) out->code[i] = (uint8_t)(((const int8_t *)level->data)[i] + half);
    for (int64_t i = 0; i < w->rows * out->groups; i++) {
        const double d = az_half_to_float(((const uint16_t *)step->data)[i]);
        set_group(out, i, d, -d * half);
    }
    return true;
}

static bool from_grid(az_ctx *az, const az_weight *w, codes *out)
{
    const az_tensor *scales = w->part[1], *zeros = w->part[2];
    if (!codes_new(az, w->rows, w->cols, scales->shape[1], ((const int32_t *)w->part[3]->data)[0], out)) return false;
    for (int64_t r = 0; r < w->rows; r++)
        for (int64_t c = 0; c < w->cols; c++) out->code[r * w->cols + c] = (uint8_t)az_grid_code(w, r, c);
    for (int64_t i = 0; i < w->rows * out->groups; i++) {
        const double step = az_bipolar_value(scales, i);
        set_group(out, i, step, -step * az_bipolar_value(zeros, i));
    }
    return true;
}

static bool from_bytes(az_ctx *az, const az_weight *w, codes *out)
{
    const int bits = ((const int32_t *)w->part[3]->data)[0], half = 1 << (bits - 1);
    if (!codes_new(az, w->rows, w->cols, 1, bits, out)) return false;
    for (int64_t i = 0; i < w->rows * w->cols; i++) out->code[i] = (uint8_t)(((const int8_t *)w->part[0]->data)[i] + half);
    for (int64_t r = 0; r < w->rows; r++) {
        const double step = az_f32(w->part[1])[r];
        set_group(out, r, step, -step * (half + ((const int32_t *)w->part[2]->data)[r]));
    }
    return true;
}

static bool from_planes(az_ctx *az, const az_weight *w, codes *out)
{
    const az_bipolar_layout l = az_bipolar_layout_of_weight(w);
    if (!codes_new(az, w->rows, w->cols, l.groups, l.planes, out)) return false;
    for (int64_t r = 0; r < w->rows; r++)
        az_bipolar_get_row(&l, (const uint8_t *)w->part[BIPOLAR_PLANES]->data + r / AZ_STRIP * l.strip_bytes, (int)(r % AZ_STRIP), w->cols,
                           out->code + r * w->cols);
    for (int64_t i = 0; i < w->rows * l.groups; i++) {
        out->scale[i] = az_bipolar_value(w->part[BIPOLAR_SCALES], i);
        out->offset[i] = az_bipolar_value(w->part[BIPOLAR_OFFSETS], i);
    }
    return true;
}

az_weight *az_weight_bipolar_recode(az_ctx *az, const az_weight *w, const az_bipolar_settings *s)
{
    if (!w) return NULL;
    codes c;
    const bool known = az_format_level_bits(w->format) > 0  ? from_levels(az, w, &c)
                       : w->format == &az_format_grid       ? from_grid(az, w, &c)
                       : w->format == &az_format_int8_token ? from_bytes(az, w, &c)
                       : w->format == &az_format_bipolar    ? from_planes(az, w, &c)
                                                            : false;
    if (!az_ok(az)) return NULL;
    if (!known)
        return az_fail(az, AZ_BAD_INPUT, "weights of format %s have no codes to take over; q8_0, q5_0, q4_0, grid, int8_token have",
                       w->format->name);
    if (az_bipolar_group_fits(c.cols, c.cols / c.groups)) return planes_of(az, &c, s);
    return az_fail(az, AZ_BAD_INPUT, "groups of %lld inputs do not fit planes of bits: a multiple of 8 up to 256, or of 256, does",
                   (long long)(c.cols / c.groups));
}
