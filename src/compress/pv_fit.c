/* pv_fit.c - the first codes and values of a matrix: residual k-means, then rounds of value steps and beam search, as AQLM has them
 * (Egiazarian et al. 2024, algorithm 1). */
#include "compress/pv.h"

#include "adze/linalg.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

/* ---- k-means ---- */

enum { CHUNK = 1024 }; /* points whose distances to all centroids are held at a time */

typedef struct clusters {
    int64_t count, width, n; /* points, their width, centroids */
    const float *point;
    float *centroid;  /* [n, width] */
    int32_t *nearest; /* [count] */
    float *distance;  /* [count] squared, to the nearest */
} clusters;

/* The nearest centroid of points first .. first + rows - 1: the largest <p, c> - |c|^2 / 2. */
static void assign_chunk(const clusters *k, const float *half_square, int64_t first, int64_t rows, float *product)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)k->n, (int)k->width, 1, k->point + first * k->width, (int)k->width,
                k->centroid, (int)k->width, 0, product, (int)k->n);
    for (int64_t r = 0; r < rows; r++) {
        const float *p = k->point + (first + r) * k->width, *score = product + r * k->n;
        int64_t best = 0;
        float square = 0;
        for (int64_t e = 1; e < k->n; e++)
            if (score[e] - half_square[e] > score[best] - half_square[best]) best = e;
        for (int64_t i = 0; i < k->width; i++) {
            const float d = p[i] - k->centroid[best * k->width + i];
            square += d * d;
        }
        k->nearest[first + r] = (int32_t)best;
        k->distance[first + r] = square;
    }
}

/* Assigns every point; returns the sum of the squared distances. */
static double assign_points(az_ctx *az, const clusters *k)
{
    const int64_t chunks = (k->count + CHUNK - 1) / CHUNK;
    az_scope_push(az);
    float *half_square = az_alloc_array(az, (size_t)k->n, sizeof *half_square);
    float *products = az_alloc_array(az, (size_t)(CHUNK * k->n), sizeof *products);
    for (int64_t e = 0; half_square && e < k->n; e++)
        for (int64_t i = 0; i < k->width; i++) half_square[e] += k->centroid[e * k->width + i] * k->centroid[e * k->width + i] / 2;
    for (int64_t c = 0; half_square && products && c < chunks; c++)
        assign_chunk(k, half_square, c * CHUNK, c + 1 < chunks ? CHUNK : k->count - c * CHUNK, products);
    az_scope_pop(az);
    double sum = 0;
    for (int64_t i = 0; i < k->count; i++) sum += (double)k->distance[i];
    return sum;
}

/* Each centroid becomes the mean of its points; one without points starts again at the point that lies farthest from its own. */
static void move_centroids(az_ctx *az, const clusters *k)
{
    az_scope_push(az);
    double *sum = az_alloc_array(az, (size_t)(k->n * k->width), sizeof *sum);
    int64_t *points = az_alloc_array(az, (size_t)k->n, sizeof *points);
    for (int64_t p = 0; sum && points && p < k->count; p++) {
        points[k->nearest[p]]++;
        for (int64_t i = 0; i < k->width; i++) sum[k->nearest[p] * k->width + i] += (double)k->point[p * k->width + i];
    }
    for (int64_t e = 0; sum && points && e < k->n; e++) {
        float *centroid = k->centroid + e * k->width;
        if (points[e] > 0) {
            for (int64_t i = 0; i < k->width; i++) centroid[i] = (float)(sum[e * k->width + i] / (double)points[e]);
            continue;
        }
        int64_t far = 0;
        for (int64_t p = 1; p < k->count; p++)
            if (k->distance[p] > k->distance[far]) far = p;
        memcpy(centroid, k->point + far * k->width, (size_t)k->width * sizeof *centroid);
        k->distance[far] = 0; /* not for the next empty one */
    }
    az_scope_pop(az);
}

static bool run_kmeans(az_ctx *az, clusters *k, int64_t iterations, uint64_t seed)
{
    static const double ENOUGH = 1e-6; /* relative gain of an iteration that is not worth another */
    int64_t *order = az_alloc_array(az, (size_t)k->count, sizeof *order);
    if (!order) return false;
    az_rng rng = az_rng_at(seed, az_stream("k-means", (uint64_t)k->count));
    for (int64_t p = 0; p < k->count; p++) order[p] = p;
    az_shuffle(&rng, order, k->count);
    for (int64_t e = 0; e < k->n; e++)
        memcpy(k->centroid + e * k->width, k->point + order[e % k->count] * k->width, (size_t)k->width * sizeof *k->centroid);
    double before = INFINITY;
    for (int64_t i = 0; i < iterations; i++) {
        const double error = assign_points(az, k);
        if (!(error < before * (1 - ENOUGH))) break;
        before = error;
        move_centroids(az, k);
    }
    assign_points(az, k);
    return az_ok(az);
}

static bool kmeans(az_ctx *az, const az_tensor *points, int64_t n, int64_t iterations, uint64_t seed, clusters *out)
{
    if (!points) return false;
    const int64_t count = points->shape[0], width = points->shape[1];
    *out = (clusters){.count = count,
                      .width = width,
                      .n = n,
                      .point = az_f32(points),
                      .centroid = az_alloc_array(az, (size_t)(n * width), sizeof(float)),
                      .nearest = az_alloc_array(az, (size_t)count, sizeof(int32_t)),
                      .distance = az_alloc_array(az, (size_t)count, sizeof(float))};
    return out->centroid && out->nearest && out->distance && run_kmeans(az, out, iterations, seed);
}

az_tensor *az_pv_kmeans(az_ctx *az, const az_tensor *points, int64_t n, int64_t iterations, uint64_t seed)
{
    clusters k;
    if (!kmeans(az, points, n, iterations, seed, &k)) return NULL;
    return az_from(az, AZ_F32, 2, (const int64_t[]){n, k.width}, k.centroid);
}

/* ---- the start ---- */

/* Norm of each group of rows. */
static az_tensor *row_scales(az_ctx *az, const az_tensor *w, int64_t out_group)
{
    const int64_t outs = w->shape[0] / out_group, n = out_group * w->shape[1];
    az_tensor *scales = az_new1(az, AZ_F32, outs);
    for (int64_t o = 0; scales && o < outs; o++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += (double)az_f32(w)[o * n + i] * (double)az_f32(w)[o * n + i];
        az_f32_mut(scales)[o] = (float)(sqrt(sum) + 1e-9);
    }
    return scales;
}

/* Tiles [outs groups, og ig] of the scaled matrix. */
static az_tensor *scaled_tiles(az_ctx *az, const az_tensor *w, const az_tensor *scales, const az_pv_shape *s)
{
    const int64_t cols = w->shape[1], outs = w->shape[0] / s->out_group, groups = cols / s->group, width = s->out_group * s->group;
    az_tensor *tiles = az_new2(az, AZ_F32, outs * groups, width);
    float *to = az_f32_mut(tiles);
    for (int64_t t = 0; to && t < outs * groups; t++)
        for (int64_t a = 0; a < s->out_group; a++)
            for (int64_t i = 0; i < s->group; i++)
                *to++ = az_f32(w)[(t / groups * s->out_group + a) * cols + t % groups * s->group + i] / az_f32(scales)[t / groups];
    return tiles;
}

static void store_codes(az_tensor *codes, int64_t book, const clusters *k)
{
    const int64_t groups = codes->shape[0], books = codes->shape[1], outs = codes->shape[2];
    for (int64_t t = 0; t < k->count; t++) {
        const int64_t at = (t % groups * books + book) * outs + t / groups;
        if (codes->dtype == AZ_U8)
            ((uint8_t *)codes->data)[at] = (uint8_t)k->nearest[t];
        else
            ((uint16_t *)codes->data)[at] = (uint16_t)k->nearest[t];
    }
}

static az_weight *start_aq(az_ctx *az, const az_tensor *w, const az_pv_fit *fit)
{
    const az_pv_shape *s = &fit->shape;
    const int64_t entries = (int64_t)1 << s->code_bits, outs = w->shape[0] / s->out_group, groups = w->shape[1] / s->group;
    az_tensor *scales = row_scales(az, w, s->out_group), *rest = scales ? scaled_tiles(az, w, scales, s) : NULL;
    az_tensor *codes = az_new3(az, s->code_bits <= 8 ? AZ_U8 : AZ_I16, groups, s->codebooks, outs);
    az_tensor *books = az_tensor_new(az, AZ_F32, 4, (const int64_t[]){s->codebooks, entries, s->out_group, s->group});
    for (int64_t c = 0; c < s->codebooks && rest && codes && books; c++) {
        clusters k;
        az_scope_push(az);
        if (kmeans(az, rest, entries, fit->kmeans, fit->seed + (uint64_t)c, &k)) {
            store_codes(codes, c, &k);
            memcpy(az_f32_mut(books) + c * entries * k.width, k.centroid, (size_t)(entries * k.width) * sizeof(float));
            for (int64_t t = 0; t < k.count; t++)
                for (int64_t i = 0; i < k.width; i++) az_f32_mut(rest)[t * k.width + i] -= k.centroid[k.nearest[t] * k.width + i];
        }
        az_scope_pop(az);
    }
    az_tensor *const parts[AZ_WEIGHT_PARTS] = {codes, books, scales};
    return az_ok(az) ? az_weight_from_parts(az, az_format_by_name("aq"), w->shape[0], w->shape[1], parts) : NULL;
}

/* Scale and zero of one group: rounds of nearest codes and least squares, from the grid that spans the group. */
static void fit_group(az_weight *w, const float *x, int64_t row, int64_t first, int64_t n, int bits, float *scale, float *zero)
{
    enum { ROUNDS = 20 };
    const int last = (1 << bits) - 1;
    float low = x[0], high = x[0];
    for (int64_t j = 1; j < n; j++) low = fminf(low, x[j]), high = fmaxf(high, x[j]);
    double s = high > low ? (double)(high - low) / last : 1, offset = high > low ? (double)low : (double)x[0]; /* x ~ offset + s code */
    for (int round = 0; round < ROUNDS; round++) {
        double c1 = 0, c2 = 0, x1 = 0, xc = 0;
        for (int64_t j = 0; j < n; j++) {
            const double code = fmin(fmax(rint(((double)x[j] - offset) / s), 0), last);
            az_grid_set_code(w, row, first + j, (int)code);
            c1 += code, c2 += code * code, x1 += (double)x[j], xc += code * (double)x[j];
        }
        const double spread = c2 * (double)n - c1 * c1;
        if (spread <= 0 || round + 1 == ROUNDS) break;
        const double slope = (xc * (double)n - c1 * x1) / spread;
        if (!(slope > 0)) break;
        s = slope, offset = (x1 - slope * c1) / (double)n;
    }
    *scale = (float)s;
    *zero = (float)(-offset / s);
}

static az_weight *start_grid(az_ctx *az, const az_tensor *w, const az_pv_fit *fit)
{
    const int64_t rows = w->shape[0], cols = w->shape[1], group = fit->shape.group, groups = cols / group;
    const int bits = (int)fit->shape.code_bits;
    az_weight *grid = az_grid_new(az, rows, cols, bits, groups);
    for (int64_t r = 0; grid && r < rows; r++)
        for (int64_t g = 0; g < groups; g++)
            fit_group(grid, az_f32(w) + r * cols + g * group, r, g * group, group, bits, az_f32_mut(grid->part[1]) + r * groups + g,
                      az_f32_mut(grid->part[2]) + r * groups + g);
    return grid;
}

/* ---- rounds ---- */

double az_pv_loss(az_ctx *az, const az_weight *w, const az_tensor *target, const az_tensor *h)
{
    az_scope_push(az);
    const az_tensor *d = az_cast(az, az_sub(az, target, az_weight_decode(az, w)), AZ_F64);
    const double loss = az_to_double(az_dot(az, az_matmul(az, d, h), d));
    az_scope_pop(az);
    return loss;
}

/* Moves the values by Adam on tr(D h D^T) / rows. */
static bool value_steps(az_ctx *az, az_weight *w, const az_tensor *target, const az_tensor *h, const az_pv_fit *fit)
{
    const az_pv_adam adam = {.beta1 = 0, .beta2 = 0.95, .eps = 1e-8, .amsgrad = true};
    az_tensor *value[AZ_PV_VALUES], *m[AZ_PV_VALUES], *v[AZ_PV_VALUES];
    const int n = az_pv_values(w, value);
    const az_tensor *narrow = az_cast(az, h, AZ_F32);
    for (int i = 0; i < n; i++) {
        m[i] = az_zeros(az, AZ_F32, value[i]->rank, value[i]->shape);
        v[i] = az_zeros(az, AZ_F32, value[i]->rank, value[i]->shape);
    }
    for (int64_t step = 1; step <= fit->steps && az_ok(az); step++) {
        az_tensor *gradient[AZ_PV_VALUES];
        az_scope_push(az);
        const az_tensor *d = az_sub(az, az_weight_decode(az, w), target);
        const az_tensor *g = az_affine(az, az_matmul(az, d, narrow), 2.0 / (double)w->rows, 0);
        if (az_pv_gradients(az, w, g, gradient))
            for (int i = 0; i < n; i++) az_pv_adam_step(&adam, step, fit->lr, gradient[i], m[i], v[i], value[i], value[i]);
        az_scope_pop(az);
    }
    return az_ok(az);
}

/* h without its scale, so that a learning rate means the same for every layer; of inputs that say nothing, the identity. */
static az_tensor *unit_mean(az_ctx *az, const az_tensor *h)
{
    const int64_t n = h->shape[0];
    double mean = 0;
    for (int64_t i = 0; i < n; i++) mean += az_f64(h)[i * n + i] / (double)n;
    if (mean > 0 && isfinite(mean)) return az_affine(az, h, 1 / mean, 0);
    az_note(az, "a layer's inputs are all zero or not finite: its weights are judged as if all inputs were alike");
    return az_identity(az, AZ_F64, n);
}

az_weight *az_pv_fit_weight(az_ctx *az, const az_tensor *w, const az_tensor *h, const az_pv_fit *fit)
{
    if (!w) return NULL;
    const bool grid = fit->shape.codebooks == 0;
    az_weight *q = (grid ? start_grid : start_aq)(az, w, fit);
    const az_tensor *unit = q && h ? unit_mean(az, h) : NULL;
    double before = INFINITY;
    for (int64_t round = 0; q && unit && round < fit->epochs && az_ok(az); round++) {
        const double loss = az_pv_loss(az, q, w, unit);
        if (!(loss < (1 - fit->tolerance) * before)) break;
        before = loss;
        az_scope_push(az);
        value_steps(az, q, w, unit, fit);
        if (!grid) {
            az_pv_reseed(az, q, w, az_weight_decode(az, q));
            az_pv_beam_search(az, q, w, unit, fit->beam, fit->seed + (uint64_t)round);
        }
        az_scope_pop(az);
    }
    return az_ok(az) ? q : NULL;
}
