/* bipolar_product.c - y = x W^T of planes of bits: activations rounded to codes, codes laid out for the kernel, whole numbers, scales.
 *
 * With W = s_w v_w + o_w in a group and X = s_x v_x + o_x: y = s_x s_w P + s_x o_w sum v_x + o_x s_w sum v_w + K o_x o_w, where
 * P = sum v_x v_w = K (2^n - 1) (2^m - 1) - 2 D and D is what the kernels add up. Sums go over the group's own inputs, not over padding. */
#include "weight/bipolar.h"
#include "weight/int8.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* x + ROUNDER - ROUNDER is x rounded to the nearest whole number, half to even, for |x| < 2^22 */
static const float ROUNDER = 12582912;

/* ---- rounding ---- */

static float mean_magnitude(const float *x, int64_t cols)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < cols; c++) sum += fabsf(x[c]);
    return (float)(sum / (double)cols);
}

/* From the least to the largest value and zero: x = 2 scale (u - zero) with a whole zero point. */
static void scale_with_offset(const float *x, int64_t cols, float most, float *scale, float *offset)
{
    float low = 0, high = 0;
    for (int64_t c = 0; c < cols; c++) {
        low = x[c] < low ? x[c] : low;
        high = x[c] > high ? x[c] : high;
    }
    *scale = (high - low) / (2 * most);
    const float zero = *scale > 0 ? rintf(-low / (2 * *scale)) : 0;
    *offset = *scale * (most - 2 * zero);
}

static void scale_of(const float *x, int64_t cols, const az_bipolar_how *how, float *scale, float *offset)
{
    const float most = (float)((1 << how->activation_bits) - 1);
    *offset = 0;
    if (how->activation_offset)
        scale_with_offset(x, cols, most, scale, offset);
    else
        *scale = how->activation_bits == 1 ? mean_magnitude(x, cols) : az_int8_largest(x, cols) / most;
}

static void round_vector(const float *x, int64_t cols, int bits, float scale, float offset, uint8_t *code)
{
    const float most = (float)((1 << bits) - 1);
    if (!(scale > 0)) {
        memset(code, 0, (size_t)cols);
        return;
    }
#pragma omp simd
    for (int64_t c = 0; c < cols; c++) {
        const float u = ((x[c] - offset) / scale + most) * 0.5f, held = u < 0 ? 0 : u > most ? most : u;
        code[c] = (uint8_t)(int32_t)(held + ROUNDER - ROUNDER);
    }
}

bool az_bipolar_round(az_ctx *az, const az_bipolar_how *how, const float *x, int64_t n, int64_t cols, az_bipolar_vectors *out)
{
    if (!az_int8_finite(az, x, n, cols)) return false;
    const az_tensor *codes = az_new2(az, AZ_U8, n, cols);
    *out = (az_bipolar_vectors){.n = n,
                                .cols = cols,
                                .code = codes ? codes->data : NULL,
                                .scale = az_alloc_array(az, (size_t)n, sizeof *out->scale),
                                .offset = az_alloc_array(az, (size_t)n, sizeof *out->offset)};
    if (!out->code || !out->scale || !out->offset) return false;
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (n >= 16)
    for (int64_t j = 0; j < n; j++) {
        scale_of(x + j * cols, cols, how, &out->scale[j], &out->offset[j]);
        round_vector(x + j * cols, cols, how->activation_bits, out->scale[j], out->offset[j], out->code + j * cols);
    }
    return true;
}

/* ---- laying out ---- */

/* [chunks, planes] bytes. */
void az_bipolar_lay_planes(const uint8_t *code, int64_t cols, int planes, uint8_t *to)
{
    memset(to, 0, (size_t)((cols + 7) / 8 * planes));
    for (int64_t c = 0; c < cols; c++)
        for (int i = 0; i < planes; i++) to[c / 8 * planes + i] |= (uint8_t)((code[c] >> i & 1) << c % 8);
}

/* The cost of every value of the weight's four bits with four digits q: q where a bit is 0, most - q where it is 1. Four costs are added up
 * at a time, as the bytes of a word: each of them stays between 0 and 255. */
static inline void lay_table(const uint8_t q[4], int most, uint8_t to[16])
{
    const uint32_t each = 0x01010101u;
    uint32_t change[4], word[4];
    for (int k = 0; k < 4; k++) change[k] = (uint32_t)(most - 2 * q[k]);
    word[0] = (uint32_t)(q[0] + q[1] + q[2] + q[3]) * each + change[0] * 0x01000100u + change[1] * 0x01010000u;
    word[1] = word[0] + change[2] * each;
    word[2] = word[0] + change[3] * each;
    word[3] = word[1] + change[3] * each;
    memcpy(to, word, sizeof word);
}

void az_bipolar_lay_tables(const uint8_t *code, int64_t cols, int planes, uint8_t *to)
{
    const int digits = az_plane_digits(planes), low = digits == 1 ? (1 << planes) - 1 : 15, high = (1 << (planes - 4 * (digits - 1))) - 1;
    for (int64_t c = 0; c < (cols + 7) / 8 * 8; c += 4) {
        uint8_t q[4] = {0}, lower[4], upper[4];
        memcpy(q, code + c, (size_t)(c + 4 <= cols ? 4 : c < cols ? cols - c : 0));
        for (int k = 0; k < 4; k++) lower[k] = (uint8_t)(q[k] & low), upper[k] = (uint8_t)(q[k] >> 4);
        lay_table(lower, low, to);
        if (digits == 2) lay_table(upper, high, to + 16);
        to += 16 * digits;
    }
}

/* What all threads read. */
typedef struct product {
    const az_weight *w;
    az_bipolar_layout layout;
    az_bipolar_how how;
    az_bipolar_kernel kernel;
    const az_bipolar_vectors *x;
    const uint8_t *laid; /* [n, stride] vectors as the kernel wants them; NULL where it takes codes */
    int64_t stride;
    int64_t *total; /* [n, groups] sum of codes */
    uint8_t *rooms; /* [threads, 32, cols] the codes of a strip, where they are needed; else NULL */
    float *y;
} product;

/* Looking up costs a turn for each weight plane and digit; multiplying costs the decoding of a strip once, whatever the bits. */
static az_bipolar_kernel choose_kernel(const az_bipolar_how *how, int64_t n)
{
    enum { MANY = 8 };
    if (how->kernel != AZ_BIPOLAR_AUTO) return (az_bipolar_kernel)how->kernel;
    const int turns = how->weight_bits * az_plane_digits(how->activation_bits);
    return turns > 8 && n >= MANY ? AZ_BIPOLAR_INT8 : AZ_BIPOLAR_LOOKUP;
}

static bool lay_out(az_ctx *az, product *p)
{
    const int64_t n = p->x->n, cols = p->x->cols, groups = p->layout.groups, group = p->layout.group;
    const int planes = p->how.activation_bits;
    const bool codes = p->kernel == AZ_BIPOLAR_INT8;
    p->stride = p->kernel == AZ_BIPOLAR_LOOKUP ? p->layout.chunks * 32 * az_plane_digits(planes) : p->layout.chunks * planes;
    const az_tensor *laid = codes ? NULL : az_new2(az, AZ_U8, n, p->stride);
    const az_tensor *rooms = codes || p->how.activation_offset ? az_new2(az, AZ_U8, az_threads(az), AZ_STRIP * cols) : NULL;
    p->total = az_alloc_array(az, (size_t)(n * groups), sizeof *p->total);
    if (!az_ok(az)) return false;
    uint8_t *to = laid ? laid->data : NULL;
    p->laid = to;
    p->rooms = rooms ? rooms->data : NULL;
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (n >= 4)
    for (int64_t j = 0; j < n; j++) {
        const uint8_t *code = p->x->code + j * cols;
        for (int64_t g = 0; g < groups; g++) {
            int64_t sum = 0;
            for (int64_t c = g * group; c < (g + 1) * group; c++) sum += code[c];
            p->total[j * groups + g] = sum;
        }
        if (p->kernel == AZ_BIPOLAR_LOOKUP) az_bipolar_lay_tables(code, cols, planes, to + j * p->stride);
        if (p->kernel == AZ_BIPOLAR_POPCOUNT) az_bipolar_lay_planes(code, cols, planes, to + j * p->stride);
    }
    return true;
}

/* ---- one strip ---- */

enum { VECTORS = AZ_PLANE_VECTORS };

/* A strip with vectors j .. j + n - 1. */
typedef struct piece {
    const product *p;
    const uint8_t *bits; /* the strip's */
    const uint8_t *code; /* [32, cols] its codes, or NULL */
    int64_t j;
    int n;
    int64_t rows; /* that are not padding */
} piece;

/* P of inputs first .. first + count - 1 (whole chunks but for the last), added to sum [n, 32]: whole numbers, exact as doubles. */
static void add_differences(const piece *s, int64_t first, int64_t count, double *sum)
{
    const product *p = s->p;
    const int64_t chunk = first / 8;
    const int per_chunk = p->kernel == AZ_BIPOLAR_LOOKUP ? 32 * az_plane_digits(p->how.activation_bits) : p->how.activation_bits;
    const az_plane_strip w = {.bits = s->bits + chunk * p->layout.planes * AZ_STRIP,
                              .planes = p->layout.planes,
                              .chunks = (count + 7) / 8,
                              .block = p->layout.block};
    const az_plane_input x = {
        .data = p->laid + s->j * p->stride + chunk * per_chunk, .stride = p->stride, .n = s->n, .planes = p->how.activation_bits};
    uint32_t different[VECTORS * AZ_STRIP] = {0};
    (p->kernel == AZ_BIPOLAR_LOOKUP ? az_plane_kernels_here()->lookup : az_plane_kernels_here()->popcount)(&w, &x, different);
    const double all = (double)(count * ((1 << p->how.weight_bits) - 1) * ((1 << p->how.activation_bits) - 1));
    for (int i = 0; i < s->n * AZ_STRIP; i++) sum[i] += all - 2 * (double)different[i];
}

/* The same from the products of codes: v_w v_x = (2 u_w - most_w) (2 u_x - most_x). */
static void add_products(const piece *s, int64_t first, int64_t count, double *sum)
{
    const product *p = s->p;
    const int64_t cols = p->x->cols, most_w = (1 << p->how.weight_bits) - 1, most_x = (1 << p->how.activation_bits) - 1;
    const az_code_rows w = {.code = s->code + first, .rows = AZ_STRIP, .stride = cols};
    const az_code_rows x = {.code = p->x->code + s->j * cols + first, .rows = s->n, .stride = cols};
    uint32_t products[VECTORS * AZ_STRIP];
    int64_t of_row[AZ_STRIP] = {0}, of_vector[VECTORS] = {0};
    az_plane_kernels_here()->codes(&w, &x, count, products);
    for (int r = 0; r < AZ_STRIP; r++)
        for (int64_t c = 0; c < count; c++) of_row[r] += w.code[r * cols + c];
    for (int v = 0; v < s->n; v++)
        for (int64_t c = 0; c < count; c++) of_vector[v] += x.code[v * cols + c];
    for (int v = 0; v < s->n; v++)
        for (int r = 0; r < AZ_STRIP; r++)
            sum[v * AZ_STRIP + r] += (double)(4 * (int64_t)products[v * AZ_STRIP + r] - 2 * most_w * of_vector[v] - 2 * most_x * of_row[r] +
                                              count * most_w * most_x);
}

/* The scales or offsets of a strip's rows for group g. */
static void of_rows(const piece *s, const az_tensor *values, int64_t strip, int64_t g, double *to)
{
    for (int64_t r = 0; r < s->rows; r++) to[r] = az_bipolar_value(values, (strip * AZ_STRIP + r) * s->p->layout.groups + g);
}

/* What the activations' offsets add: for them the sum of a row's v_w is needed. */
static void add_offsets(const piece *s, int64_t g, const double *scale, const double *offset, double *y)
{
    const product *p = s->p;
    const int64_t group = p->layout.group, most_w = (1 << p->how.weight_bits) - 1;
    for (int64_t r = 0; r < s->rows; r++) {
        int64_t of_row = 0;
        for (int64_t c = g * group; c < (g + 1) * group; c++) of_row += 2 * s->code[r * p->x->cols + c] - most_w;
        for (int v = 0; v < s->n; v++)
            y[v * AZ_STRIP + r] += p->x->offset[s->j + v] * (scale[r] * (double)of_row + offset[r] * (double)group);
    }
}

/* Adds what group g contributes to y [n, 32]. */
static void add_group(const piece *s, int64_t strip, int64_t g, double *y)
{
    const product *p = s->p;
    const int64_t group = p->layout.group, longest = 8 * AZ_MOST_CHUNKS, most_x = (1 << p->how.activation_bits) - 1;
    double sum[VECTORS * AZ_STRIP] = {0}, scale[AZ_STRIP] = {0}, offset[AZ_STRIP] = {0};
    for (int64_t c = 0; c < group; c += longest)
        (p->kernel == AZ_BIPOLAR_INT8 ? add_products : add_differences)(s, g * group + c, group - c < longest ? group - c : longest, sum);
    of_rows(s, p->w->part[BIPOLAR_SCALES], strip, g, scale);
    of_rows(s, p->w->part[BIPOLAR_OFFSETS], strip, g, offset);
    for (int v = 0; v < s->n; v++) {
        const double of_vector = (double)(2 * p->total[(s->j + v) * p->layout.groups + g] - group * most_x), sx = p->x->scale[s->j + v];
        for (int r = 0; r < AZ_STRIP; r++) y[v * AZ_STRIP + r] += sx * (scale[r] * sum[v * AZ_STRIP + r] + offset[r] * of_vector);
    }
    if (p->how.activation_offset) add_offsets(s, g, scale, offset, y);
}

static void multiply_strip(const product *p, int64_t strip, uint8_t *room)
{
    const int64_t cols = p->x->cols, rows = p->w->rows, first = strip * AZ_STRIP;
    piece s = {.p = p,
               .bits = (const uint8_t *)p->w->part[BIPOLAR_PLANES]->data + strip * p->layout.strip_bytes,
               .code = room,
               .rows = rows - first < AZ_STRIP ? rows - first : AZ_STRIP};
    for (int r = 0; room && r < AZ_STRIP; r++) az_bipolar_get_row(&p->layout, s.bits, r, cols, room + r * cols);
    for (; s.j < p->x->n; s.j += VECTORS) {
        double y[VECTORS * AZ_STRIP] = {0};
        s.n = p->x->n - s.j < VECTORS ? (int)(p->x->n - s.j) : VECTORS;
        for (int64_t g = 0; g < p->layout.groups; g++) add_group(&s, strip, g, y);
        for (int v = 0; v < s.n; v++)
            for (int64_t r = 0; r < s.rows; r++) p->y[(s.j + v) * rows + first + r] = (float)y[v * AZ_STRIP + r];
    }
}

void az_bipolar_matmul(az_ctx *az, const az_weight *w, const float *x, int64_t n, float *y)
{
    product p = {.w = w, .layout = az_bipolar_layout_of_weight(w), .how = az_bipolar_how_of(w), .y = y};
    az_bipolar_vectors vectors;
    az_scope_push(az);
    p.kernel = choose_kernel(&p.how, n);
    p.x = &vectors;
    if (az_bipolar_round(az, &p.how, x, n, w->cols, &vectors) && lay_out(az, &p)) {
#pragma omp parallel for schedule(guided) num_threads(az_threads(az))
        for (int64_t strip = 0; strip < p.layout.strips; strip++)
            multiply_strip(&p, strip, p.rooms ? p.rooms + omp_get_thread_num() * AZ_STRIP * w->cols : NULL);
    }
    az_scope_pop(az);
}
