/* Steps from losses alone against the formulas in double: the directions from their keys, the moments of the estimates against closed
 * forms, momentum and Adam against matrices that are held whole, and what must hold to the bit. */
#include "adze/data.h"
#include "adze/optim.h"

#include "support/matrix.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { ROWS = 7, COLS = 5, RANK = 3, LENGTH = 4, ENTRIES = ROWS * COLS + LENGTH, SEED = 11 };
static const char *const kinds[] = {"dense", "temporal", "lazy", "subspace"};

static az_zo_options options_of(az_zo_kind kind, az_zo_rule rule)
{
    return (az_zo_options){.kind = kind,
                           .rule = rule,
                           .radius = 1e-2,
                           .beta1 = 0.9,
                           .beta2 = 0.95,
                           .eps = 1e-8,
                           .renew = kind == AZ_ZO_LAZY || kind == AZ_ZO_SUBSPACE ? 3 : 0,
                           .queries = 1,
                           .seed = SEED};
}

/* A matrix and a vector under optimization, and a quadratic loss 1/2 |W - T|^2 over both. */
typedef struct problem {
    az_ctx *az;
    az_tensor *parameter[2];
    az_zo *zo;
    double target[ENTRIES];
    int calls;
    int broken; /* the evaluation that has no value, counted from 1 */
} problem;

static double value_of(const problem *p, int j)
{
    return j < ROWS * COLS ? az_item(p->parameter[0], j) : az_item(p->parameter[1], j - ROWS * COLS);
}

static double quadratic(az_ctx *az, void *user)
{
    (void)az;
    problem *p = user;
    double sum = 0;
    if (++p->calls == p->broken) return NAN;
    for (int j = 0; j < ENTRIES; j++) sum += 0.5 * (value_of(p, j) - p->target[j]) * (value_of(p, j) - p->target[j]);
    return sum;
}

static void begin_with(problem *p, const az_zo_options *options, int threads)
{
    *p = (problem){.az = az_open(&(az_settings){.threads = threads})};
    p->parameter[0] = az_randn(p->az, AZ_F32, 2, (int64_t[]){ROWS, COLS}, 1, 5, 0);
    p->parameter[1] = az_randn(p->az, AZ_F32, 1, (int64_t[]){LENGTH}, 1, 5, 1);
    for (int j = 0; j < ENTRIES; j++) p->target[j] = sin(j);
    p->zo = az_zo_new(p->az, options, p->parameter, 2, (int64_t[]){RANK, 0});
    cr_assert(p->zo, "%s", az_error(p->az));
}

static void begin(problem *p, const az_zo_options *options)
{
    begin_with(p, options, 1);
}

/* ---- the formulas ---- */

static void normals(const char *purpose, int64_t number, int64_t n, double *out)
{
    float *draw = malloc((size_t)n * sizeof *draw);
    az_fill_normal(NULL, SEED, az_stream(purpose, (uint64_t)number), 0, n, draw);
    for (int64_t j = 0; j < n; j++) out[j] = draw[j];
    free(draw);
}

/* Gram-Schmidt, columns of a [rows, RANK]; signs as a QR factorization with either sign may differ, so U and V are only known up to them.
 */
static void orthonormal(double *a, int rows)
{
    for (int s = 0; s < RANK; s++) {
        for (int t = 0; t < s; t++) {
            double dot = 0;
            for (int i = 0; i < rows; i++) dot += a[i * RANK + s] * a[i * RANK + t];
            for (int i = 0; i < rows; i++) a[i * RANK + s] -= dot * a[i * RANK + t];
        }
        double norm = 0;
        for (int i = 0; i < rows; i++) norm += a[i * RANK + s] * a[i * RANK + s];
        for (int i = 0; i < rows; i++) a[i * RANK + s] /= sqrt(norm);
    }
}

typedef struct frame {
    double u[ROWS * RANK], v[COLS * RANK];
} frame;

static frame frame_of(az_zo_kind kind, int64_t period)
{
    frame f;
    normals("zeroth order U", period * 2, ROWS * RANK, f.u);
    normals("zeroth order V", period * 2, COLS * RANK, f.v);
    if (kind == AZ_ZO_SUBSPACE) orthonormal(f.u, ROWS), orthonormal(f.v, COLS);
    return f;
}

/* Z of a step and query, matrix first; the numbers tau of AZ_ZO_TEMPORAL go to tau when it is not NULL. */
static void direction(const az_zo_options *o, int64_t step, int q, double *z, double *tau)
{
    const int64_t draw = (step * o->queries + q) * 2;
    double fresh[ROWS * COLS];
    normals("zeroth order", draw + 1, LENGTH, z + ROWS * COLS);
    if (o->kind == AZ_ZO_DENSE) {
        normals("zeroth order", draw, ROWS * COLS, z);
        return;
    }
    const frame f = frame_of(o->kind, o->kind == AZ_ZO_TEMPORAL ? 0 : step / o->renew);
    normals("zeroth order", draw, ROWS * RANK, fresh);
    if (tau) memcpy(tau, fresh, RANK * sizeof *tau);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLS; j++) {
            double sum = 0;
            for (int s = 0; s < RANK; s++) {
                double left = f.u[i * RANK + s] * fresh[s];
                if (o->kind == AZ_ZO_LAZY) left = fresh[i * RANK + s];
                if (o->kind == AZ_ZO_SUBSPACE) {
                    left = 0;
                    for (int t = 0; t < RANK; t++) left += sqrt(ROWS * COLS) / RANK * f.u[i * RANK + t] * fresh[t * RANK + s];
                }
                sum += left * f.v[j * RANK + s];
            }
            z[i * COLS + j] = sum;
        }
}

static double divisor(const az_zo_options *o, int j)
{
    return j < ROWS * COLS && (o->kind == AZ_ZO_TEMPORAL || o->kind == AZ_ZO_LAZY) ? RANK : 1;
}

/* kappa of the quadratic loss is exact whatever the radius: <W - T, Z>. */
static double exact_kappa(const double *w, const double *target, const double *z)
{
    double sum = 0;
    for (int j = 0; j < ENTRIES; j++) sum += (w[j] - target[j]) * z[j];
    return sum;
}

/* Adam's direction of AZ_ZO_TEMPORAL's matrix from moments of tau. */
static double separable(const az_zo_options *o, const frame *f, const double *tm, const double *tv, int step, int j)
{
    double m = 0, v = 0;
    for (int s = 0; s < RANK; s++) {
        const double left = f->u[j / COLS * RANK + s], right = f->v[j % COLS * RANK + s];
        m += tm[s] * left * right;
        v += tv[s] * left * left * right * right;
    }
    if (o->paper_adam) return m / sqrt(v + o->eps);
    return m / (1 - pow(o->beta1, step + 1)) / (sqrt(v / (1 - pow(o->beta2, step + 1))) + o->eps);
}

typedef struct oracle {
    double w[ENTRIES], m[ENTRIES], v[ENTRIES], tm[RANK], tv[RANK];
} oracle;

/* One step on the quadratic loss, everything whole and in double; lazy momentum is not carried over a renewal here. */
static void oracle_step(oracle *r, const az_zo_options *o, const double *target, int step, double lr)
{
    double z[ENTRIES], g[ENTRIES] = {0}, tau[RANK], c[RANK] = {0};
    for (int q = 0; q < o->queries; q++) {
        direction(o, step, q, z, tau);
        const double kappa = exact_kappa(r->w, target, z) / o->queries;
        for (int j = 0; j < ENTRIES; j++) g[j] += kappa * z[j] / divisor(o, j);
        for (int s = 0; s < RANK && o->kind == AZ_ZO_TEMPORAL; s++) c[s] += kappa * tau[s];
    }
    for (int s = 0; s < RANK; s++) {
        r->tm[s] = o->beta1 * r->tm[s] + (1 - o->beta1) * c[s];
        r->tv[s] = o->beta2 * r->tv[s] + (1 - o->beta2) * c[s] * c[s];
    }
    const frame f = frame_of(o->kind, 0);
    for (int j = 0; j < ENTRIES; j++) {
        const double keep = j < ROWS * COLS ? 1 - lr * o->weight_decay : 1;
        double step_j = g[j];
        r->m[j] = o->beta1 * r->m[j] + (1 - o->beta1) * g[j];
        r->v[j] = o->beta2 * r->v[j] + (1 - o->beta2) * g[j] * g[j];
        if (o->rule == AZ_ZO_MOMENTUM) step_j = r->m[j];
        if (o->rule == AZ_ZO_ADAM && o->paper_adam) step_j = r->m[j] / sqrt(r->v[j] + o->eps);
        if (o->rule == AZ_ZO_ADAM && !o->paper_adam)
            step_j = r->m[j] / (1 - pow(o->beta1, step + 1)) / (sqrt(r->v[j] / (1 - pow(o->beta2, step + 1))) + o->eps);
        if (o->rule == AZ_ZO_ADAM && o->kind == AZ_ZO_TEMPORAL && j < ROWS * COLS) step_j = separable(o, &f, r->tm, r->tv, step, j);
        r->w[j] = keep * r->w[j] - lr * step_j;
    }
}

/* ---- directions ---- */

Test(zeroth_order, directions_are_functions_of_their_keys)
{
    for (int k = 0; k < 4; k++) {
        problem p;
        az_zo_options o = options_of((az_zo_kind)k, AZ_ZO_PLAIN);
        o.queries = 2;
        double z[ENTRIES];
        begin(&p, &o);
        for (int step = 0; step < 5; step += 2) {
            cr_assert(az_zo_set_steps(p.az, p.zo, step));
            for (int q = 0; q < 2; q++) {
                for (int i = 0; i < 2; i++) memset(p.parameter[i]->data, 0, (size_t)az_count(p.parameter[i]) * sizeof(float));
                cr_assert(az_zo_perturb(p.az, p.zo, q, 100)); /* 100 times 1e-2 */
                direction(&o, step, q, z, NULL);
                for (int j = 0; j < ENTRIES; j++)
                    cr_assert_float_eq(value_of(&p, j), z[j], 1e-5, "%s, step %d, query %d, entry %d: %g, not %g", kinds[k], step, q, j,
                                       value_of(&p, j), z[j]);
            }
        }
        az_close(p.az);
    }
}

Test(zeroth_order, there_and_back_is_within_rounding_and_exact_with_copies)
{
    for (int k = 0; k < 8; k++) {
        problem p;
        az_zo_options o = options_of((az_zo_kind)(k % 4), AZ_ZO_PLAIN);
        o.exact = k >= 4;
        begin(&p, &o);
        az_tensor *before = az_copy(p.az, p.parameter[0]);
        az_zo_record record;
        for (int step = 0; step < 10; step++) az_zo_step(p.az, p.zo, quadratic, &p, 0, &record);
        cr_assert_eq(p.calls, 20);
        cr_assert_leq(matrix_difference(before, p.parameter[0]), o.exact ? 0 : 1e-6, "%s", kinds[k % 4]);
        az_close(p.az);
    }
}

/* ---- moments of the estimates ---- */

/* Mean over directions G of |ghat - G|^2 / |G|^2 with ghat = <G, Z> Z / s is |Z|^4 / (s^2 m n) - 2 |Z|^2 / (s m n) + 1 for each Z; its mean
 * over Z is the variance factor delta. Every sample has a seed, and so factors, of its own. */
static az_estimate variance_factor(az_zo_kind kind, int m, int n, int r, int samples, double *mean_square)
{
    az_ctx *az = az_open(&(az_settings){.threads = 1});
    az_zo_options o = options_of(kind, AZ_ZO_PLAIN);
    az_tensor *w = az_zeros(az, AZ_F32, 2, (int64_t[]){m, n});
    double sum = 0, square = 0, norms = 0;
    const double s = kind == AZ_ZO_TEMPORAL || kind == AZ_ZO_LAZY ? r : 1;
    for (int k = 0; k < samples; k++) {
        az_scope_push(az);
        o.seed = (uint64_t)k;
        memset(w->data, 0, (size_t)(m * n) * sizeof(float));
        az_zo_perturb(az, az_zo_new(az, &o, &w, 1, (int64_t[]){r}), 0, 100);
        double norm = 0;
        for (int j = 0; j < m * n; j++) norm += az_f32(w)[j] * az_f32(w)[j];
        const double factor = norm * norm / (s * s * m * n) - 2 * norm / (s * m * n) + 1;
        sum += factor, square += factor * factor, norms += norm;
        az_scope_pop(az);
    }
    cr_assert(az_ok(az), "%s", az_error(az));
    az_close(az);
    const double mean = sum / samples;
    *mean_square = norms / samples / (s * m * n); /* 1 when E ghat = G */
    return (az_estimate){.value = mean, .se = sqrt((square / samples - mean * mean) / samples)};
}

/* delta = 1 + mn; 1 + mn + (2mn + 6(m + n) + 10) / r; 1 + mn + (2(m + n) + 2) / r; mn (r^2 + 2) / r^2 - 1. */
Test(zeroth_order, the_variance_of_the_estimates_is_the_known_one)
{
    static const struct {
        az_zo_kind kind;
        int m, n, r, samples;
        double delta;
    } cases[] = {
        {AZ_ZO_DENSE, 3, 4, 1, 40000, 13}, {AZ_ZO_TEMPORAL, 3, 4, 4, 200000, 32}, {AZ_ZO_TEMPORAL, 2, 3, 2, 500000, 33},
        {AZ_ZO_LAZY, 2, 3, 2, 200000, 13}, {AZ_ZO_LAZY, 3, 4, 4, 100000, 17},     {AZ_ZO_SUBSPACE, 5, 6, 3, 20000, 30 * 11 / 9.0 - 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int m = cases[i].m, n = cases[i].n, r = cases[i].r;
        const double delta = cases[i].delta;
        double unbiased;
        const az_estimate got = variance_factor(cases[i].kind, m, n, r, cases[i].samples, &unbiased);
        cr_assert_float_eq(got.value, delta, 3.5 * got.se, "%s %d %d %d: %g +- %g, not %g", kinds[cases[i].kind], m, n, r, got.value,
                           got.se, delta);
        cr_assert_lt(got.se, 0.02 * delta);
        cr_assert_float_eq(unbiased, 1, 0.02, "%s: |Z|^2 / (s m n) is %g", kinds[cases[i].kind], unbiased);
    }
}

/* f(W) = sum of c_j w_j^3: the central difference is <grad f, Z> + rho^2 sum of c_j z_j^3. */
static double cubic(az_ctx *az, void *user)
{
    (void)az;
    const problem *p = user;
    double sum = 0;
    for (int j = 0; j < ENTRIES; j++) sum += p->target[j] * pow(value_of(p, j), 3);
    return sum;
}

Test(zeroth_order, the_difference_approaches_the_directional_derivative_with_the_square_of_the_radius)
{
    for (int k = 0; k < 4; k++) {
        double error[2];
        for (int halving = 0; halving < 2; halving++) {
            problem p;
            az_zo_options o = options_of((az_zo_kind)k, AZ_ZO_PLAIN);
            o.radius = halving ? 0.05 : 0.1;
            double z[ENTRIES], slope = 0, third = 0;
            az_zo_record record;
            begin(&p, &o);
            direction(&o, 0, 0, z, NULL);
            for (int j = 0; j < ENTRIES; j++) {
                slope += 3 * p.target[j] * value_of(&p, j) * value_of(&p, j) * z[j];
                third += p.target[j] * z[j] * z[j] * z[j];
            }
            az_zo_step(p.az, p.zo, cubic, &p, 0, &record);
            error[halving] = record.kappa[0] - slope;
            cr_assert_float_eq(error[halving], o.radius * o.radius * third, 2e-4 * (1 + fabs(slope)), "%s: %g, not %g", kinds[k],
                               error[halving], o.radius * o.radius * third);
            az_close(p.az);
        }
    }
}

/* ---- rules ---- */

static void check_against_oracle(const az_zo_options *o, int steps)
{
    problem p;
    oracle r = {0};
    begin(&p, o);
    for (int j = 0; j < ENTRIES; j++) r.w[j] = value_of(&p, j);
    for (int step = 0; step < steps; step++) {
        const double lr = 0.01 / (1 + step);
        az_zo_record record;
        cr_assert(az_zo_step(p.az, p.zo, quadratic, &p, lr, &record), "%s", az_error(p.az));
        oracle_step(&r, o, p.target, step, lr);
        for (int j = 0; j < ENTRIES; j++)
            cr_assert_float_eq(value_of(&p, j), r.w[j], 3e-5, "%s, rule %d, step %d, entry %d: %g, not %g", kinds[o->kind], o->rule, step,
                               j, value_of(&p, j), r.w[j]);
    }
    az_close(p.az);
}

Test(zeroth_order, every_rule_does_what_the_formulas_say)
{
    for (int k = 0; k < 4; k++)
        for (int rule = 0; rule < 3; rule++) {
            if ((k == AZ_ZO_SUBSPACE && rule > 0) || (k == AZ_ZO_LAZY && rule == 2)) continue;
            az_zo_options o = options_of((az_zo_kind)k, (az_zo_rule)rule);
            o.renew = k == AZ_ZO_LAZY && rule == 1 ? 100 : 3;
            check_against_oracle(&o, 8);
            o.queries = 3;
            o.weight_decay = 0.3;
            o.store = true;
            o.paper_adam = true;
            o.eps = 1e-3;
            check_against_oracle(&o, 4);
        }
}

Test(zeroth_order, lazy_momentum_is_projected_on_the_new_factor)
{
    problem p;
    az_zo_options o = options_of(AZ_ZO_LAZY, AZ_ZO_MOMENTUM);
    o.renew = 2;
    double n[ROWS * RANK] = {0}, w[ENTRIES], z[ENTRIES];
    begin(&p, &o);
    for (int j = 0; j < ENTRIES; j++) w[j] = value_of(&p, j);
    for (int step = 0; step < 5; step++) {
        const frame v = frame_of(AZ_ZO_LAZY, step / 2), old = frame_of(AZ_ZO_LAZY, (step - 1) / 2);
        double carried[ROWS * RANK] = {0}, u[ROWS * RANK];
        direction(&o, step, 0, z, NULL);
        normals("zeroth order", step * 2, ROWS * RANK, u);
        const double kappa = exact_kappa(w, p.target, z);
        for (int i = 0; i < ROWS * RANK; i++)
            for (int s = 0; s < RANK; s++)
                for (int j = 0; j < COLS; j++) carried[i] += n[i / RANK * RANK + s] * old.v[j * RANK + s] * v.v[j * RANK + i % RANK] / COLS;
        const bool renewed = step > 0 && step % 2 == 0;
        for (int i = 0; i < ROWS * RANK; i++) n[i] = o.beta1 * (renewed ? carried[i] : n[i]) + (1 - o.beta1) * kappa * u[i] / RANK;
        az_zo_record record;
        az_zo_step(p.az, p.zo, quadratic, &p, 0.02, &record);
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < COLS; j++) {
                for (int s = 0; s < RANK; s++) w[i * COLS + j] -= 0.02 * n[i * RANK + s] * v.v[j * RANK + s];
                cr_assert_float_eq(value_of(&p, i * COLS + j), w[i * COLS + j], 2e-5, "step %d", step);
            }
        for (int j = ROWS * COLS; j < ENTRIES; j++) w[j] = value_of(&p, j);
    }
    az_close(p.az);
}

/* For fixed U and V, the mean over tau of Z o Z is (U o U) (V o V)^T: what the separable second moment stands for. */
Test(zeroth_order, the_separable_second_moment_is_the_mean_of_squares)
{
    enum { DRAWS = 20000 };
    const az_zo_options o = options_of(AZ_ZO_TEMPORAL, AZ_ZO_PLAIN);
    const frame f = frame_of(AZ_ZO_TEMPORAL, 0);
    double z[ENTRIES], mean[ROWS * COLS] = {0}, square[ROWS * COLS] = {0};
    for (int step = 0; step < DRAWS; step++) {
        direction(&o, step, 0, z, NULL);
        for (int j = 0; j < ROWS * COLS; j++) mean[j] += z[j] * z[j] / DRAWS, square[j] += pow(z[j], 4) / DRAWS;
    }
    for (int j = 0; j < ROWS * COLS; j++) {
        double expected = 0;
        for (int s = 0; s < RANK; s++) expected += pow(f.u[j / COLS * RANK + s] * f.v[j % COLS * RANK + s], 2);
        cr_assert_float_eq(mean[j], expected, 4 * sqrt((square[j] - mean[j] * mean[j]) / DRAWS), "entry %d", j);
    }
}

/* ---- what must hold to the bit ---- */

static void run(problem *p, int steps, az_zo_record *record)
{
    for (int step = 0; step < steps; step++) cr_assert(az_zo_step(p->az, p->zo, quadratic, p, 0.01, &record[step]), "%s", az_error(p->az));
}

static const az_zo_options thorough[] = {
    {.kind = AZ_ZO_DENSE, .rule = AZ_ZO_ADAM, .queries = 2},
    {.kind = AZ_ZO_TEMPORAL, .rule = AZ_ZO_MOMENTUM, .queries = 1},
    {.kind = AZ_ZO_TEMPORAL, .rule = AZ_ZO_ADAM, .queries = 2, .store = true},
    {.kind = AZ_ZO_LAZY, .rule = AZ_ZO_MOMENTUM, .queries = 1},
    {.kind = AZ_ZO_LAZY, .rule = AZ_ZO_MOMENTUM, .queries = 2, .store = true, .exact = true},
    {.kind = AZ_ZO_SUBSPACE, .rule = AZ_ZO_PLAIN, .queries = 1},
};
enum { THOROUGH = sizeof thorough / sizeof *thorough };

static az_zo_options thorough_case(int i)
{
    az_zo_options o = thorough[i];
    const az_zo_options rest = options_of(o.kind, o.rule);
    o.radius = rest.radius, o.beta1 = rest.beta1, o.beta2 = rest.beta2, o.eps = rest.eps, o.renew = 2, o.seed = SEED;
    o.weight_decay = 0.1;
    return o;
}

Test(zeroth_order, records_alone_make_the_same_steps)
{
    for (int i = 0; i < THOROUGH; i++) {
        problem a, b;
        az_zo_record record[6];
        const az_zo_options o = thorough_case(i);
        begin(&a, &o);
        begin_with(&b, &o, 2);
        run(&a, 6, record);
        for (int step = 0; step < 6; step++) cr_assert(az_zo_replay(b.az, b.zo, &record[step]));
        cr_assert_eq(matrix_difference(a.parameter[0], b.parameter[0]), 0, "case %d", i);
        cr_assert_eq(matrix_difference(a.parameter[1], b.parameter[1]), 0);
        az_close(a.az);
        az_close(b.az);
    }
}

Test(zeroth_order, a_restored_state_goes_on_bit_for_bit)
{
    for (int i = 0; i < THOROUGH; i++) {
        problem a, b;
        az_zo_record record[6];
        const az_zo_options o = thorough_case(i);
        begin(&a, &o);
        begin(&b, &o);
        run(&a, 4, record);
        az_tensor **from, **to;
        const char **name;
        const int n = az_zo_state(a.az, a.zo, &from, &name);
        cr_assert_eq(az_zo_state(b.az, b.zo, &to, &name), n);
        for (int t = 0; t < n; t++) az_copy_into(b.az, to[t], from[t]);
        for (int t = 0; t < 2; t++) az_copy_into(b.az, b.parameter[t], a.parameter[t]);
        cr_assert(az_zo_set_steps(b.az, b.zo, 4));
        run(&a, 2, record);
        run(&b, 2, record);
        cr_assert_eq(matrix_difference(a.parameter[0], b.parameter[0]), 0, "case %d", i);
        az_close(a.az);
        az_close(b.az);
    }
}

/* Several tiles in both directions. */
Test(zeroth_order, results_do_not_depend_on_threads)
{
    for (int k = 0; k < 4; k++) {
        az_tensor *w[2];
        az_ctx *az[2];
        for (int t = 0; t < 2; t++) {
            az[t] = az_open(&(az_settings){.threads = t + 1});
            w[t] = az_zeros(az[t], AZ_F32, 2, (int64_t[]){203, 531});
            az_zo_options o = options_of((az_zo_kind)k, k < 2 ? AZ_ZO_ADAM : AZ_ZO_PLAIN);
            az_zo *zo = az_zo_new(az[t], &o, &w[t], 1, (int64_t[]){20});
            az_zo_record record = {.lr = 0.1, .kappa = {1.5}};
            for (int step = 0; step < 3; step++) cr_assert(az_zo_replay(az[t], zo, &record));
        }
        cr_assert_eq(matrix_difference(w[0], w[1]), 0, "%s", kinds[k]);
        for (int t = 0; t < 2; t++) az_close(az[t]);
    }
}

Test(zeroth_order, zeros_stay_when_they_are_to)
{
    for (int k = 0; k < 4; k++) {
        problem p;
        az_zo_options o = options_of((az_zo_kind)k, AZ_ZO_PLAIN);
        az_zo_record record[5];
        o.keep_zeros = true;
        begin(&p, &o);
        for (int j = 0; j < ROWS * COLS; j += 3) az_f32_mut(p.parameter[0])[j] = 0;
        run(&p, 5, record);
        for (int j = 0; j < ROWS * COLS; j++) cr_assert_eq(value_of(&p, j) == 0, j % 3 == 0, "%s, entry %d", kinds[k], j);
        az_close(p.az);
    }
}

Test(zeroth_order, a_loss_without_a_value_moves_nothing)
{
    problem p;
    const az_zo_options o = options_of(AZ_ZO_TEMPORAL, AZ_ZO_ADAM);
    az_zo_record record;
    az_tensor **state;
    const char **name;
    begin(&p, &o);
    p.broken = 2;
    az_tensor *before = az_copy(p.az, p.parameter[0]);
    cr_assert(az_zo_step(p.az, p.zo, quadratic, &p, 0.1, &record), "%s", az_error(p.az));
    cr_assert(isnan(record.kappa[0]));
    cr_assert_leq(matrix_difference(before, p.parameter[0]), 1e-6);
    const int n = az_zo_state(p.az, p.zo, &state, &name);
    for (int t = 0; t < n; t++) cr_assert_eq(az_to_double(az_sum(p.az, az_square(p.az, state[t]), AZ_ALL_AXES, false)), 0);
    az_close(p.az);
}

/* ---- cost ---- */

Test(zeroth_order, state_and_draws_are_those_of_the_table)
{
    enum { M = 40, N = 24, R = 4, BYTES = sizeof(float) };
    static const struct {
        az_zo_kind kind;
        az_zo_rule rule;
        bool store;
        int64_t state, fresh;
    } table[] = {
        {AZ_ZO_DENSE, AZ_ZO_PLAIN, false, 0, M * N},
        {AZ_ZO_DENSE, AZ_ZO_MOMENTUM, false, M * N, M * N},
        {AZ_ZO_DENSE, AZ_ZO_ADAM, false, 2 * M * N, M * N},
        {AZ_ZO_LAZY, AZ_ZO_PLAIN, true, N * R, M * R},
        {AZ_ZO_LAZY, AZ_ZO_MOMENTUM, true, N * R + M * R, M * R},
        {AZ_ZO_SUBSPACE, AZ_ZO_PLAIN, false, R * (M + N), R * R},
        {AZ_ZO_TEMPORAL, AZ_ZO_PLAIN, true, R * (M + N), R},
        {AZ_ZO_TEMPORAL, AZ_ZO_MOMENTUM, true, R * (M + N) + R, R},
        {AZ_ZO_TEMPORAL, AZ_ZO_ADAM, true, R * (M + N) + 2 * R, R},
        {AZ_ZO_TEMPORAL, AZ_ZO_ADAM, false, 2 * R, R},
    };
    az_ctx *az = az_open(NULL);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        az_zo_options o = options_of(table[i].kind, table[i].rule);
        o.store = table[i].store;
        az_tensor *w = az_new2(az, AZ_F32, M, N);
        const az_zo_cost cost = az_zo_cost_of(az_zo_new(az, &o, &w, 1, (int64_t[]){R}));
        cr_assert_eq(cost.state_bytes, table[i].state * BYTES, "row %zu: %lld bytes", i, (long long)cost.state_bytes);
        cr_assert_eq(cost.fresh, table[i].fresh, "row %zu: %lld draws", i, (long long)cost.fresh);
    }
    az_close(az);
}

static double no_loss(az_ctx *az, void *user)
{
    (void)az;
    (void)user;
    return 1;
}

/* Peak of a step above the weights. */
static double peak_of(az_zo_kind kind, az_zo_rule rule)
{
    az_ctx *az = az_open(NULL);
    az_tensor *w = az_zeros(az, AZ_F32, 2, (int64_t[]){1024, 1024});
    az_zo_options o = options_of(kind, rule);
    az_memory_reset_peak(az);
    az_zo *zo = az_zo_new(az, &o, &w, 1, (int64_t[]){8});
    az_zo_record record;
    cr_assert(az_zo_step(az, zo, no_loss, NULL, 0, &record));
    const double peak = (double)az_memory_peak(az);
    az_close(az);
    return peak;
}

Test(zeroth_order, adam_of_a_few_numbers_takes_a_third_of_the_memory)
{
    const double plain = peak_of(AZ_ZO_DENSE, AZ_ZO_PLAIN), dense = peak_of(AZ_ZO_DENSE, AZ_ZO_ADAM);
    const double temporal = peak_of(AZ_ZO_TEMPORAL, AZ_ZO_ADAM);
    cr_assert_leq(temporal, 0.37 * dense, "%g of %g bytes", temporal, dense);
    cr_assert_leq(temporal, 1.1 * plain, "%g, and %g without moments", temporal, plain);
}

/* ---- the rest ---- */

Test(zeroth_order, the_spectral_rank_counts_large_singular_values)
{
    az_ctx *az = az_open(NULL);
    const float diagonal[4] = {8, 4, 2, 0.5};
    az_tensor *w = az_zeros(az, AZ_F32, 2, (int64_t[]){4, 6});
    for (int i = 0; i < 4; i++) az_f32_mut(w)[i * 6 + i] = diagonal[i];
    cr_assert_eq(az_spectral_rank(az, w, 0.9), 1);
    cr_assert_eq(az_spectral_rank(az, w, 0.4), 2);
    cr_assert_eq(az_spectral_rank(az, w, 0.2), 3);
    cr_assert_eq(az_spectral_rank(az, w, 0), 4);
    cr_assert_eq(az_spectral_rank(az, az_zeros(az, AZ_F32, 2, (int64_t[]){3, 3}), 2), 1);
    az_close(az);
}

static void refused(az_zo_options o, int64_t rank, const char *word)
{
    az_ctx *az = az_open(NULL);
    az_tensor *w = az_zeros(az, AZ_F32, 2, (int64_t[]){4, 6});
    cr_assert_null(az_zo_new(az, &o, &w, 1, &rank), "%s", word);
    cr_assert(strstr(az_error(az), word), "'%s' does not speak of '%s'", az_error(az), word);
    az_close(az);
}

Test(zeroth_order, what_cannot_be_is_refused)
{
    az_zo_options o = options_of(AZ_ZO_TEMPORAL, AZ_ZO_ADAM);
    refused(o, 0, "rank 0");
    refused(options_of(AZ_ZO_SUBSPACE, AZ_ZO_PLAIN), 5, "rank 5");
    o.radius = 0;
    refused(o, 2, "radius");
    o = options_of(AZ_ZO_TEMPORAL, AZ_ZO_ADAM), o.queries = 33;
    refused(o, 2, "33 queries");
    o = options_of(AZ_ZO_TEMPORAL, AZ_ZO_ADAM), o.beta1 = 1;
    refused(o, 2, "beta1");
    o = options_of(AZ_ZO_TEMPORAL, AZ_ZO_ADAM), o.eps = 0;
    refused(o, 2, "eps");
    o = options_of(AZ_ZO_LAZY, AZ_ZO_PLAIN), o.renew = 0;
    refused(o, 2, "0 steps");
    refused(options_of(AZ_ZO_LAZY, AZ_ZO_ADAM), 2, "second moments");
    refused(options_of(AZ_ZO_SUBSPACE, AZ_ZO_MOMENTUM), 2, "momentum");
}
