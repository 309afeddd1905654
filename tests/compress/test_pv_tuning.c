/* PV-tuning: k-means, beam search and derivatives against brute force and differences, the two steps' promises, whole models. */
#include "compress/pv.h"
#include "support/folder.h"
#include "support/matrix.h"
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static const az_pv_fit plain_fit = {.shape = {.codebooks = 1, .code_bits = 3, .group = 4, .out_group = 1},
                                    .kmeans = 50,
                                    .steps = 20,
                                    .beam = 1,
                                    .lr = 1e-3,
                                    .tolerance = 0.01};

/* h = X^T X / n of inputs that are correlated. */
static az_tensor *gram(az_ctx *az, int64_t cols)
{
    az_tensor *x = matrix_normal(az, AZ_F64, 3 * cols, cols, 17);
    for (int64_t i = 0; i < az_count(x); i++)
        if (i % cols) az_f64_mut(x)[i] += 0.7 * az_f64(x)[i - 1];
    return az_affine(az, az_matmul(az, az_transpose(az, x), x), 1.0 / (double)(3 * cols), 0);
}

Test(pv, kmeans_finds_separate_clusters)
{
    enum { POINTS = 400 };
    az_ctx *az = az_open(NULL);
    az_tensor *points = matrix_normal(az, AZ_F32, POINTS, 2, 5);
    for (int i = 0; i < POINTS; i++) az_f32_mut(points)[2 * i] = 0.1f * az_f32(points)[2 * i] + (i % 2 ? 10 : 0);
    const az_tensor *centre = az_pv_kmeans(az, points, 2, 100, 1);
    cr_assert_lt(fabs(az_item(centre, 0) + az_item(centre, 2) - 10), 0.1);
    cr_assert_lt(fabs(fabs(az_item(centre, 0) - az_item(centre, 2)) - 10), 0.1);
    az_close(az);
}

/* tr(D h D^T) with D = target - W in double precision, from the parts of an aq weight of tiles of one row. */
static double exact_loss(const az_weight *w, const az_tensor *target, const az_tensor *h)
{
    const az_tensor *codes = w->part[0], *books = w->part[1];
    const int64_t cols = w->cols, ig = books->shape[3];
    double loss = 0, d[64];
    for (int64_t r = 0; r < w->rows; r++) {
        for (int64_t j = 0; j < cols; j++) {
            double sum = 0;
            for (int64_t c = 0; c < codes->shape[1]; c++) {
                const int code = ((const uint8_t *)codes->data)[(j / ig * codes->shape[1] + c) * w->rows + r];
                sum += az_item(books, (c * books->shape[1] + code) * ig + j % ig);
            }
            d[j] = az_item(target, r * cols + j) - sum * az_item(w->part[2], r);
        }
        for (int64_t i = 0; i < cols; i++)
            for (int64_t j = 0; j < cols; j++) loss += d[i] * d[j] * az_item(h, i * cols + j);
    }
    return loss;
}

/* All codes of a weight with few choices; returns the least loss. */
static double least_loss(az_ctx *az, az_weight *w, const az_tensor *target, const az_tensor *h, int64_t entries)
{
    const int64_t codes = az_count(w->part[0]);
    uint8_t *code = w->part[0]->data;
    double least = INFINITY;
    memset(code, 0, (size_t)codes);
    for (;;) {
        least = fmin(least, az_pv_loss(az, w, target, h));
        int64_t i = 0;
        while (i < codes && ++code[i] == entries) code[i++] = 0;
        if (i == codes) return least;
    }
}

Test(pv, a_full_beam_is_brute_force)
{
    az_ctx *az = az_open(NULL);
    for (int64_t out_group = 1; out_group <= 2; out_group++) {
        az_pv_fit fit = plain_fit;
        fit.shape = (az_pv_shape){.codebooks = 2, .code_bits = 2, .group = 2, .out_group = out_group};
        const az_tensor *w = matrix_normal(az, AZ_F32, out_group, 4, 3), *h = gram(az, 4);
        az_weight *q = az_pv_fit_weight(az, w, NULL, &fit);
        cr_assert(az_ok(az), "%s", az_error(az));
        const double start = az_pv_loss(az, q, w, h), beam = az_pv_beam_search(az, q, w, h, 256, 1), found = az_pv_loss(az, q, w, h);
        cr_assert_leq(found, start);
        cr_assert_float_eq(beam, found, 1e-5);
        cr_assert_float_eq(found, least_loss(az, q, w, h, 4), 1e-6);
    }
    az_close(az);
}

Test(pv, beam_search_keeps_its_books_and_never_loses)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *w = matrix_normal(az, AZ_F32, 12, 32, 3), *h = gram(az, 32);
    double loss[3];
    for (int64_t beam = 1; beam <= 4; beam += 3) {
        az_pv_fit fit = plain_fit;
        fit.shape.codebooks = 2;
        az_weight *q = az_pv_fit_weight(az, w, NULL, &fit);
        loss[0] = az_pv_loss(az, q, w, h);
        const double books = az_pv_beam_search(az, q, w, h, beam, 1);
        loss[1] = az_pv_loss(az, q, w, h);
        cr_assert_float_eq(books, exact_loss(q, w, h), 1e-9 * loss[1]);
        cr_assert_leq(loss[1], loss[0]);
    }
    az_close(az);
}

Test(pv, fitting_to_the_inputs_beats_kmeans_alone)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *w = matrix_normal(az, AZ_F32, 16, 32, 3), *h = gram(az, 32);
    for (int64_t books = 0; books <= 2; books++) {
        az_pv_fit fit = plain_fit;
        fit.shape.codebooks = books;
        fit.shape.code_bits = books ? 3 : 2;
        fit.shape.group = books ? 4 : 16;
        const double alone = az_pv_loss(az, az_pv_fit_weight(az, w, NULL, &fit), w, h);
        fit.epochs = 3;
        const double fitted = az_pv_loss(az, az_pv_fit_weight(az, w, h, &fit), w, h);
        cr_assert_lt(fitted, (books ? 0.95 : 1.0) * alone, "%d books: %g, %g", (int)books, fitted, alone);
    }
    az_close(az);
}

/* Of inputs that are all zero nothing is known: the weights count alike. */
Test(pv, inputs_of_zeros_count_as_if_all_were_alike)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *w = matrix_normal(az, AZ_F32, 16, 32, 3), *zero = az_zeros(az, AZ_F64, 2, (const int64_t[]){32, 32});
    az_tensor *one = az_zeros(az, AZ_F64, 2, (const int64_t[]){32, 32});
    for (int64_t i = 0; i < 32; i++) az_f64_mut(one)[33 * i] = 1;
    az_pv_fit fit = plain_fit;
    fit.shape.codebooks = 2;
    const az_tensor *alone = az_weight_decode(az, az_pv_fit_weight(az, w, NULL, &fit));
    fit.epochs = 2;
    const az_tensor *of_zeros = az_weight_decode(az, az_pv_fit_weight(az, w, zero, &fit));
    cr_assert_eq(matrix_difference(of_zeros, az_weight_decode(az, az_pv_fit_weight(az, w, one, &fit))), 0);
    const az_tensor *before = az_sub(az, w, alone), *after = az_sub(az, w, of_zeros);
    cr_assert_lt(az_to_double(az_dot(az, after, after)), az_to_double(az_dot(az, before, before)));
    az_close(az);
}

/* <g, W> as a function of the values. */
static double inner(az_ctx *az, const az_weight *w, const az_tensor *g)
{
    return az_to_double(az_dot(az, az_cast(az, az_weight_decode(az, w), AZ_F64), az_cast(az, g, AZ_F64)));
}

Test(pv, derivatives_of_the_values_are_differences)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *w = matrix_normal(az, AZ_F32, 8, 16, 3), *g = matrix_normal(az, AZ_F32, 8, 16, 4);
    for (int64_t books = 0; books <= 2; books++) {
        az_pv_fit fit = plain_fit;
        fit.shape = (az_pv_shape){.codebooks = books, .code_bits = 2, .group = 4, .out_group = books ? 2 : 1};
        az_weight *q = az_pv_fit_weight(az, w, NULL, &fit);
        az_tensor *value[AZ_PV_VALUES], *gradient[AZ_PV_VALUES];
        az_pv_values(q, value);
        cr_assert(az_pv_gradients(az, q, g, gradient), "%s", az_error(az));
        for (int v = 0; v < AZ_PV_VALUES; v++)
            for (int64_t i = 0; i < az_count(value[v]); i += 3) {
                float *x = az_f32_mut(value[v]) + i, kept = *x;
                double side[2];
                for (int k = 0; k < 2; k++) *x = kept + (k ? 0.01f : -0.01f), side[k] = inner(az, q, g);
                *x = kept;
                cr_assert_float_eq(az_item(gradient[v], i), (side[1] - side[0]) / 0.02, 2e-3, "%d books, value %d", (int)books, v);
            }
    }
    az_close(az);
}

/* The nearest choice by looking at all of them. */
Test(pv, the_nearest_code_is_the_nearest)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *w = matrix_normal(az, AZ_F32, 4, 16, 3), *target = matrix_normal(az, AZ_F32, 4, 16, 5);
    for (int64_t books = 0; books <= 1; books++) {
        az_pv_fit fit = plain_fit;
        fit.shape = (az_pv_shape){.codebooks = books, .code_bits = 3, .group = 4, .out_group = 1};
        az_weight *q = az_pv_fit_weight(az, w, NULL, &fit);
        const float *turned = az_pv_turned_books(az, q);
        az_tensor *now = az_weight_decode(az, q);
        for (int64_t tile = 0; tile < az_pv_tiles(q); tile++) {
            double least = INFINITY;
            for (int code = 0; code < 8; code++) {
                if (books)
                    ((uint8_t *)q->part[0]->data)[tile % 4 * 4 + tile / 4] = (uint8_t)code;
                else
                    az_grid_set_code(q, tile / 16, tile % 16, code);
                az_pv_decode_tile(q, tile, az_f32_mut(now));
                least = fmin(least, az_pv_tile_distance(q, tile, az_f32(now), az_f32(target)));
            }
            az_pv_nearest(q, tile, turned, az_f32(target), NULL);
            az_pv_decode_tile(q, tile, az_f32_mut(now));
            cr_assert_float_eq(az_pv_tile_distance(q, tile, az_f32(now), az_f32(target)), least, 1e-5);
            cr_assert_not(az_pv_nearest(q, tile, turned, az_f32(target), NULL));
            cr_assert(az_pv_nearest(q, tile, turned, az_f32(target), &(az_pv_rounding){.second = true})); /* the second best */
        }
    }
    az_close(az);
}

Test(pv, a_v_step_stays_in_its_subspace_and_its_trust)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *w = matrix_normal(az, AZ_F32, 32, 64, 3), *target = matrix_normal(az, AZ_F32, 32, 64, 5);
    az_weight *q = az_pv_fit_weight(az, w, NULL, &plain_fit);
    az_tensor *matrix = az_weight_decode(az, q);
    const az_tensor *before = az_copy(az, matrix);
    const int64_t tiles = az_pv_tiles(q), few = az_pv_step(az, q, target, matrix, &(az_pv_reach){.tau = 0.05});
    cr_assert(few > 0 && few <= ceil(0.05 * (double)tiles));
    cr_assert_eq(matrix_difference(matrix, az_weight_decode(az, q)), 0); /* bit for bit what the codes say */
    int64_t differing = 0;
    for (int64_t t = 0; t < tiles; t++) differing += az_pv_tile_distance(q, t, az_f32(matrix), az_f32(before)) > 0;
    cr_assert_eq(differing, few);
    cr_assert_eq(az_pv_step(az, q, target, matrix, &(az_pv_reach){.tau = 1, .trust = 1e-9}), 1); /* always one at least */
    const int64_t all = az_pv_step(az, q, target, matrix, &(az_pv_reach){.tau = 1});
    cr_assert_gt(all, few);
    cr_assert_eq(matrix_difference(matrix, az_weight_decode(az, q)), 0);
    cr_assert_eq(az_pv_step(az, q, target, matrix, &(az_pv_reach){.tau = 1}), 0); /* everything is nearest already */
    az_close(az);
}

/* A grid of one row 0 .. 3 and a target 1 + x: the second best, 2, has the probability 1 / (1 + ((1 - x) / x)^(1/T)). */
Test(pv, rounding_with_a_temperature_draws_by_errors)
{
    enum { DRAWS = 4000 };
    static const struct {
        float x;
        double temperature;
    } cases[] = {{0.25f, 1}, {0.25f, 0.5}, {0.45f, 0.1}, {0, 1}, {0.4f, 1e-9}};
    az_ctx *az = az_open(NULL);
    az_weight *q = az_grid_new(az, 1, 4, 2, 1);
    az_f32_mut(q->part[1])[0] = 1;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const float target[4] = {0, 1 + cases[c].x, 0, 0};
        int seconds = 0;
        for (uint64_t seed = 0; seed < DRAWS; seed++) {
            az_pv_nearest(q, 1, NULL, target, &(az_pv_rounding){.temperature = cases[c].temperature, .seed = seed});
            cr_assert(az_grid_code(q, 0, 1) == 1 || az_grid_code(q, 0, 1) == 2);
            seconds += az_grid_code(q, 0, 1) == 2;
        }
        const double x = cases[c].x, p = x > 0 ? 1 / (1 + pow((1 - x) / x, 1 / cases[c].temperature)) : 0;
        cr_assert_float_eq((double)seconds / DRAWS, p, 4 * sqrt(p * (1 - p) / DRAWS) + 1e-12, "case %d: %d", (int)c, seconds);
    }
    az_close(az);
}

/* One tile in 64 is drawn: by distance^(1/T), at T near 0 the farthest. */
Test(pv, tiles_are_drawn_by_their_distance)
{
    enum { DRAWS = 2000 };
    az_ctx *az = az_open(NULL);
    az_weight *q = az_grid_new(az, 1, 64, 2, 1);
    az_f32_mut(q->part[1])[0] = 1;
    az_tensor *target = az_zeros(az, AZ_F32, 2, (int64_t[]){1, 64});
    double sum = 0;
    for (int j = 0; j < 64; j++) az_f32_mut(target)[j] = 1 + (float)j / 64, sum += 1 + j / 64.0;
    int upper = 0;
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        for (int cold = 0; cold < 2; cold++) {
            az_tensor *matrix = az_zeros(az, AZ_F32, 2, (int64_t[]){1, 64});
            for (int j = 0; j < 64; j++) az_grid_set_code(q, 0, j, 0);
            const az_pv_reach reach = {.tau = 1.0 / 64, .temperature = cold ? 1e-6 : 1, .rounding.seed = seed};
            cr_assert_eq(az_pv_step(az, q, target, matrix, &reach), 1);
            int chosen = 0;
            for (int j = 0; j < 64; j++) chosen = az_grid_code(q, 0, j) ? j : chosen;
            cr_assert(!cold || chosen == 63);
            upper += !cold && chosen >= 32;
        }
    }
    double p = 0;
    for (int j = 32; j < 64; j++) p += (1 + j / 64.0) / sum;
    cr_assert_float_eq((double)upper / DRAWS, p, 4 * sqrt(p * (1 - p) / DRAWS), "%d", upper);
    az_close(az);
}

/* |W - target|^2 falls in every P step with a small rate. */
Test(pv, a_p_step_lowers_a_quadratic)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *w = matrix_normal(az, AZ_F32, 16, 16, 3), *target = matrix_normal(az, AZ_F32, 16, 16, 5);
    az_weight *q = az_pv_fit_weight(az, w, NULL, &plain_fit);
    az_tensor *value[AZ_PV_VALUES], *m[AZ_PV_VALUES], *v[AZ_PV_VALUES], *gradient[AZ_PV_VALUES];
    az_pv_values(q, value);
    for (int i = 0; i < 2; i++) {
        m[i] = az_zeros(az, AZ_F32, value[i]->rank, value[i]->shape);
        v[i] = az_zeros(az, AZ_F32, value[i]->rank, value[i]->shape);
    }
    double before = INFINITY;
    for (int step = 1; step <= 30; step++) {
        const az_tensor *d = az_sub(az, az_weight_decode(az, q), target);
        const double loss = az_to_double(az_sum(az, az_square(az, d), AZ_ALL_AXES, false));
        cr_assert_lt(loss, before);
        before = loss;
        az_pv_gradients(az, q, d, gradient);
        for (int i = 0; i < 2; i++)
            az_pv_adam_step(&(az_pv_adam){.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-6, .relative = true}, step, 3e-3, gradient[i], m[i], v[i],
                            value[i], value[i]);
    }
    az_close(az);
}

/* ---- entries that no tile uses ---- */

static int64_t unused(az_ctx *az, const az_weight *w)
{
    const int64_t *uses = az_pv_uses(az, w);
    int64_t n = 0;
    for (int64_t e = 0; e < w->part[1]->shape[0] * w->part[1]->shape[1]; e++) n += uses[e] == 0;
    return n;
}

/* A weight whose tiles use the first two entries of each book only. */
static az_weight *with_dead_entries(az_ctx *az, const az_tensor *matrix, int64_t books)
{
    az_pv_fit fit = plain_fit;
    fit.shape.codebooks = books;
    az_weight *w = az_pv_fit_weight(az, matrix, NULL, &fit);
    for (int64_t i = 0; i < az_count(w->part[0]); i++) ((uint8_t *)w->part[0]->data)[i] %= 2;
    return w;
}

Test(pv, entries_without_tiles_start_again_where_the_matrix_is_farthest)
{
    for (int64_t books = 1; books <= 2; books++) {
        az_ctx *az = az_open(NULL);
        const az_tensor *target = matrix_normal(az, AZ_F32, 12, 32, 3);
        az_weight *w = with_dead_entries(az, target, books);
        az_tensor *matrix = az_weight_decode(az, w);
        const az_tensor *codes = az_copy(az, w->part[0]), *values = az_copy(az, w->part[1]);
        cr_assert_eq(unused(az, w), 6 * books);
        cr_assert_eq(az_pv_reseed(az, w, target, matrix), 6 * books);
        cr_assert_eq(matrix_difference(az_weight_decode(az, w), matrix), 0, "the matrix stays");
        cr_assert_arr_eq(codes->data, w->part[0]->data, (size_t)az_count(codes));
        for (int64_t e = 0; e < 8 * books; e++)
            for (int64_t i = 0; i < 4 && e % 8 < 2; i++) cr_assert_eq(az_item(w->part[1], 4 * e + i), az_item(values, 4 * e + i));
        /* the tile that lies farthest of all finds an entry of its own */
        int64_t far = 0;
        for (int64_t t = 1; t < az_pv_tiles(w); t++)
            if (az_pv_tile_distance(w, t, az_f32(target), az_f32(matrix)) > az_pv_tile_distance(w, far, az_f32(target), az_f32(matrix)))
                far = t;
        az_pv_nearest(w, far, az_pv_turned_books(az, w), az_f32(target), NULL);
        cr_assert(books > 1 || az_pv_code(w, far, 0) >= 2);
        az_pv_decode_tile(w, far, az_f32_mut(matrix));
        if (books == 1) cr_assert_lt(az_pv_tile_distance(w, far, az_f32(target), az_f32(matrix)), 1e-10);
        az_close(az);
    }
}

Test(pv, a_v_step_takes_up_entries_that_were_dead)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *target = matrix_normal(az, AZ_F32, 12, 32, 3);
    double distance[2];
    for (int reseed = 0; reseed < 2; reseed++) {
        az_weight *w = with_dead_entries(az, target, 1);
        for (int64_t i = 8; i < 32; i++) az_f32_mut(w->part[1])[i] = 100; /* far from everything */
        az_tensor *matrix = az_weight_decode(az, w);
        const az_pv_reach reach = {.tau = 0.5, .trust = 0, .reseed = reseed};
        const int64_t changed = az_pv_step(az, w, target, matrix, &reach);
        cr_assert_leq(changed, az_pv_tiles(w) / 2);
        cr_assert_eq(unused(az, w), reseed ? 0 : 6);
        cr_assert_eq(matrix_difference(az_weight_decode(az, w), matrix), 0);
        const az_tensor *d = az_sub(az, matrix, target);
        distance[reseed] = az_to_double(az_dot(az, d, d));
    }
    cr_assert_lt(distance[1], 0.8 * distance[0], "%g, %g", distance[1], distance[0]);
    az_close(az);
}

/* Nothing is set where every entry has its tiles, where the matrix is where it should be, or where there are no codebooks. */
Test(pv, entries_in_use_stay)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *target = matrix_normal(az, AZ_F32, 12, 32, 3);
    az_weight *w = az_pv_fit_weight(az, target, NULL, &plain_fit), *dead = with_dead_entries(az, target, 1);
    const az_tensor *there = az_weight_decode(az, dead);
    cr_assert_eq(az_pv_reseed(az, w, target, az_weight_decode(az, w)), 0);
    cr_assert_eq(az_pv_reseed(az, dead, there, there), 0);
    az_pv_fit grid = plain_fit;
    grid.shape = (az_pv_shape){.code_bits = 2, .group = 16, .out_group = 1};
    w = az_pv_fit_weight(az, target, NULL, &grid);
    cr_assert_eq(az_pv_reseed(az, w, target, az_weight_decode(az, w)), 0);
    cr_assert(az_ok(az), "%s", az_error(az));
    az_close(az);
}

/* ---- whole models ---- */

/* Small enough for a test. */
#define SMALL "bits=4,group=4,nsamples=8,seqlen=32,kmeans=20,epoch_steps=5,epochs=1,steps=12,batch=4,length=32,"

static const az_weight *tuned(az_ctx *az, const char *options, az_report *report)
{
    az_lm *lm = small_lm(az);
    cr_assert(small_compress(az, lm, "pv-tuning", options, small_stories(az, 50, 20), report), "%s", az_error(az));
    return lm->block[1].up.weight;
}

/* Values alone learn; the other modes move codes as well (by steps that are too long here, to be sure of that). */
Test(pv, every_mode_moves_what_it_should)
{
    static const char *const modes[] = {
        SMALL "mode=p,lr=0.02", SMALL "mode=ste,lr=0.02,code_lr=0.2", SMALL "mode=pv,lr=0.02,code_lr=1",
        SMALL "mode=pv+ste,lr=0.02,code_lr=0.2",
        "codebooks=0,bits=2,group=16,nsamples=8,seqlen=32,epochs=0,steps=12,batch=4,length=32,lr=0.02,code_lr=0.2"};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        az_ctx *az = az_open(NULL);
        az_report *report = az_report_new(az, "pv");
        const az_weight *w = tuned(az, modes[i], report);
        cr_assert_str_eq(w->format->name, i < 4 ? "aq" : "grid");
        const double first = az_report_value(report, "tuning", "divergence_first"), last = az_report_value(report, "tuning", "divergence");
        cr_assert(i > 0 ? isfinite(last) : last < first, "%s: %g, then %g", modes[i], first, last);
        cr_assert_eq(az_report_value(report, "tuning", "changes_per_step") > 0, i > 0, "%s", modes[i]);
        az_close(az);
    }
}

/* With a step of the smoothness of the whole matrix nothing reaches another code: the same numbers as without V steps. */
Test(pv, the_naive_step_changes_no_code)
{
    az_ctx *az = az_open(NULL);
    az_report *report = az_report_new(az, "pv");
    const az_weight *naive = tuned(az, SMALL "mode=naive,code_lr=1e-6", report), *p = tuned(az, SMALL "mode=p", NULL);
    cr_assert_eq(az_report_value(report, "tuning", "changes_per_step"), 0);
    cr_assert_eq(matrix_difference(az_weight_decode(az, naive), az_weight_decode(az, p)), 0);
    az_close(az);
}

Test(pv, the_result_does_not_depend_on_threads)
{
    const az_tensor *w[2];
    az_ctx *az[2];
    for (int i = 0; i < 2; i++) {
        az[i] = az_open(&(az_settings){.threads = i + 1});
        w[i] = az_weight_decode(az[i], tuned(az[i], SMALL "codebooks=2,temperature=0.5,sr_temp=0.5", NULL));
    }
    cr_assert_eq(matrix_difference(w[0], w[1]), 0);
    az_close(az[0]);
    az_close(az[1]);
}

Test(pv, a_run_goes_on_from_its_state_bit_for_bit)
{
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    const char *options = az_format_text(az, SMALL "resume=%s/state,save_every=5", folder);
    const az_weight *whole = tuned(az, options, NULL);
    /* the state of the last step is there: the same command has nothing left to do and gives the same weights */
    const az_weight *again = tuned(az, options, NULL);
    cr_assert_eq(matrix_difference(az_weight_decode(az, whole), az_weight_decode(az, again)), 0);
    /* and what became of fitted blocks is in the state */
    options = az_format_text(az, SMALL "block_epochs=2,block_lr=3e-3,resume=%s/blocks", folder);
    az_report *report = az_report_new(az, "pv");
    whole = tuned(az, options, report), again = tuned(az, options, NULL);
    cr_assert(isfinite(az_report_value(report, "blocks", "error")));
    cr_assert_eq(matrix_difference(az_weight_decode(az, whole), az_weight_decode(az, again)), 0);
    az_lm *other = small_lm(az);
    const char *changed = az_format_text(az, SMALL "lr=0.5,resume=%s/state", folder);
    cr_assert_not(small_compress(az, other, "pv-tuning", changed, small_stories(az, 50, 20), NULL));
    cr_assert_not_null(strstr(az_error(az), "other settings"), "%s", az_error(az));
    az_close(az);
}

/* Codes stay, the block comes nearer to the teacher's, and so does the model. */
Test(pv, values_of_a_block_are_fitted_to_the_block)
{
    static const char *const kinds[] = {"bits=4,group=4,", "codebooks=0,bits=2,group=16,"};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        az_ctx *az = az_open(NULL);
        const char *rest = "nsamples=32,seqlen=32,epochs=0,kmeans=20,batch=4,length=32,mode=none,error=false";
        az_report *report = az_report_new(az, "pv");
        const az_weight *before = tuned(az, az_format_text(az, "%s%s", kinds[k], rest), NULL);
        const az_weight *after = tuned(az, az_format_text(az, "%s%s,block_epochs=6,block_lr=1e-3", kinds[k], rest), report);
        cr_assert_arr_eq(before->part[0]->data, after->part[0]->data, before->part[0]->buffer->bytes);
        cr_assert_gt(matrix_difference(az_weight_decode(az, before), az_weight_decode(az, after)), 0);
        cr_assert_lt(az_report_value(report, "blocks", "error"), az_report_value(report, "blocks", "error_before"));
        az_close(az);
    }
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const char *options = "bits=4,group=4,nsamples=1,length=32,mode=none,error=false,epochs=0,block_epochs=1";
    cr_assert_not(small_compress(az, lm, "pv-tuning", options, small_stories(az, 50, 20), NULL));
    cr_assert_not_null(strstr(az_error(az), "two sequences"), "%s", az_error(az));
    cr_assert_str_eq(lm->block[0].q.weight->format->name, "aq", "what failed later left the layers whole");
    az_close(az);
}

static bool same_codes(const az_lm_linear *a, const az_lm_linear *b)
{
    return memcmp(a->weight->part[0]->data, b->weight->part[0]->data, a->weight->part[0]->buffer->bytes) == 0;
}

/* The codes of the second block are those that the inputs from the first one, as it was fitted, ask for. */
Test(pv, a_block_is_quantized_for_what_the_fitted_blocks_in_front_give)
{
    az_ctx *az = az_open(NULL);
    const az_documents *text = small_stories(az, 50, 20);
    const char *order = "bits=4,group=4,nsamples=16,seqlen=32,kmeans=20,epochs=2,epoch_steps=20,batch=4,mode=none";
    az_lm *fitted = small_lm(az), *plain = small_lm(az), *second = small_lm(az);
    az_report *report = az_report_new(az, "pv");
    cr_assert(small_compress(az, fitted, "pv-tuning", az_format_text(az, "%s,block_epochs=6,block_lr=3e-3", order), text, report), "%s",
              az_error(az));
    cr_assert_lt(az_report_value(report, "blocks", "error"), az_report_value(report, "blocks", "error_before"));
    cr_assert(small_compress(az, plain, "pv-tuning", order, text, NULL), "%s", az_error(az));
    cr_assert(same_codes(&fitted->block[0].down, &plain->block[0].down));
    cr_assert_gt(matrix_difference(fitted->block[0].mlp_norm.weight, plain->block[0].mlp_norm.weight), 0, "norms learn");
    second->block[0] = fitted->block[0];
    cr_assert(small_compress(az, second, "pv-tuning", order, text, NULL), "%s", az_error(az));
    az_lm_block *a = &fitted->block[1], *b = &second->block[1], *c = &plain->block[1];
    const az_lm_linear *of[][3] = {{&a->q, &b->q, &c->q}, {&a->o, &b->o, &c->o}, {&a->up, &b->up, &c->up}, {&a->down, &b->down, &c->down}};
    int differ = 0;
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        cr_assert(same_codes(of[i][0], of[i][1]), "%s", of[i][0]->name);
        differ += !same_codes(of[i][0], of[i][2]);
    }
    cr_assert_gt(differ, 0, "the fit changed nothing that the second block reads");
    az_close(az);
}

Test(pv, values_alone_learn_without_the_rest)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az), *before = az_lm_copy(az, lm);
    const char *options = "bits=4,group=4,nsamples=16,seqlen=32,kmeans=20,epochs=0,batch=4,mode=none,block_epochs=2,block_lr=3e-3,no-rest";
    az_report *report = az_report_new(az, "pv");
    cr_assert(small_compress(az, lm, "pv-tuning", options, small_stories(az, 50, 20), report), "%s", az_error(az));
    cr_assert_lt(az_report_value(report, "blocks", "error"), az_report_value(report, "blocks", "error_before"));
    cr_assert_eq(matrix_difference(lm->block[0].mlp_norm.weight, before->block[0].mlp_norm.weight), 0);
    az_close(az);
}

Test(pv, codes_that_are_there_are_kept_and_tuned)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az), *teacher = az_lm_copy(az, lm);
    const az_documents *text = small_stories(az, 50, 20);
    cr_assert(small_compress(az, lm, "pv-tuning", SMALL "mode=none", text, NULL), "%s", az_error(az));
    const az_tensor *codes = az_copy(az, lm->block[0].q.weight->part[0]);
    const az_method *method = az_method_by_name("pv-tuning");
    void *settings = az_alloc(az, method->options_size);
    cr_assert(az_options_parse(az, method->options, "pv-tuning", SMALL "mode=p", settings));
    cr_assert(method->compress(az, settings, &(az_compress_job){.lm = lm, .original = teacher, .calibration = text}), "%s", az_error(az));
    cr_assert_arr_eq(codes->data, lm->block[0].q.weight->part[0]->data, (size_t)az_count(codes));
    az_close(az);
}

Test(pv, what_cannot_be_done_is_refused)
{
    const struct {
        const char *options, *why;
    } wrong[] = {{"group=5", "groups of 5"},
                 {"codebooks=0,bits=9", "at most 8"},
                 {"out_group=3", "out_group=3"},
                 {"group=512", "too large"},
                 {"codebooks=0,out_group=2", "grid"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_not(small_compress(az, small_lm(az), "pv-tuning", wrong[i].options, small_stories(az, 50, 5), NULL));
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
        cr_assert_not_null(strstr(az_error(az), wrong[i].why), "%s", az_error(az));
        az_close(az);
    }
    az_ctx *az = az_open(NULL);
    cr_assert_not(small_compress(az, small_lm(az), "pv-tuning", "bits=4,group=4", NULL, NULL));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_close(az);
}
