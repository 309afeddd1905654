/* irs_channel.c - a study: estimating the channel between a base station and a user by way of a reflecting surface.
 *
 * Scene (He & Joseph, section V): K_1 pilots of a user with M_ms antennas, K_2 patterns of a surface with L elements, M_bs antennas receive
 *     y = (H_1 kron H_2 kron A_bs) x + n,  H_2 = X^T conj(A_ms),  H_1 = the first R columns of Omega^T (A_a^T . A_d^H)^T,
 * with steering matrices A on R angles, . the product of columns. The user and the departure have one angle each, the arrivals at the
 * surface and at the base station a block of three: x is a Kronecker product with neighbouring non-zeros. */
#include "estimate/kro_sbl.h"

#include "adze/method.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 3 };

typedef struct irs_options {
    int64_t bs, ms, irs, grid, pilots, patterns, trials;
    const char *snr, *methods;
} irs_options;

static const az_option irs_table[] = {
    {"bs", AZ_FIELD(AZ_INT, irs_options, bs), "16", 1, 1024, NULL, "antennas of the base station"},
    {"ms", AZ_FIELD(AZ_INT, irs_options, ms), "6", 1, 1024, NULL, "antennas of the user"},
    {"irs", AZ_FIELD(AZ_INT, irs_options, irs), "256", 1, 65536, NULL, "elements of the surface"},
    {"grid", AZ_FIELD(AZ_INT, irs_options, grid), "18", 4, 1024, NULL, "angles"},
    {"pilots", AZ_FIELD(AZ_INT, irs_options, pilots), "3", 1, 1024, NULL, "sent for each pattern"},
    {"patterns", AZ_FIELD(AZ_INT, irs_options, patterns), "6", 1, 1024, NULL, "of the surface"},
    {"trials", AZ_FIELD(AZ_INT, irs_options, trials), "50", 1, 1e6, NULL, "scenes drawn for each ratio"},
    {"snr", AZ_FIELD(AZ_TEXT, irs_options, snr), "4,8,12,16,20", 0, 0, NULL, "signal to noise ratios in dB"},
    {"methods", AZ_FIELD(AZ_TEXT, irs_options, methods), "svd+am+am-block+ksbl+komp", 0, 0, NULL, "of krosbl, joined by +"},
    {0},
};

/* ---- the scene ---- */

typedef struct scene {
    az_kron a, channel; /* channel: H_1 kron conj(A_ms) kron A_bs */
    az_complex *x, *y;
    double noise;
} scene;

static az_complex *draw_normal(az_ctx *az, az_rng *rng, int64_t n)
{
    az_complex *z = az_alloc_array(az, (size_t)n, sizeof *z);
    for (int64_t i = 0; z && i < n; i++) {
        const double real = az_normal(rng);
        z[i] = (real + az_normal(rng) * I) / sqrt(2);
    }
    return z;
}

/* [m, grid]: m^-1/2 exp(i pi row angle), angle = 2 column / grid - 1. */
static az_complex *steering(az_ctx *az, int64_t m, int64_t grid, bool conjugate)
{
    const double pi = acos(-1);
    az_complex *a = az_alloc_array(az, (size_t)(m * grid), sizeof *a);
    for (int64_t r = 0; a && r < m; r++)
        for (int64_t g = 0; g < grid; g++)
            a[r * grid + g] = cexp((conjugate ? -1 : 1) * I * pi * (double)r * (2 * (double)g / (double)grid - 1)) / sqrt((double)m);
    return a;
}

/* X^T conj(A_ms) [pilots, grid] for QPSK pilots. */
static az_complex *user_side(az_ctx *az, const irs_options *o, az_rng *rng, const az_complex *antennas)
{
    az_complex *h = az_alloc_array(az, (size_t)(o->pilots * o->grid), sizeof *h);
    for (int64_t k = 0; h && k < o->pilots; k++) {
        for (int64_t m = 0; m < o->ms; m++) {
            const uint64_t symbol = az_below(rng, 4);
            const az_complex pilot = ((symbol & 1 ? 1 : -1) + (symbol & 2 ? 1 : -1) * I) / sqrt(2 * (double)o->ms);
            for (int64_t g = 0; g < o->grid; g++) h[k * o->grid + g] += pilot * antennas[m * o->grid + g];
        }
    }
    return h;
}

/* Patterns of +-1 / sqrt(L), and the first columns of the product of both steering matrices: arrival at the first angle. */
static az_complex *surface_side(az_ctx *az, const irs_options *o, az_rng *rng)
{
    const az_complex *arrival = steering(az, o->irs, o->grid, false), *departure = steering(az, o->irs, o->grid, true);
    az_complex *h = az_alloc_array(az, (size_t)(o->patterns * o->grid), sizeof *h);
    for (int64_t k = 0; arrival && departure && h && k < o->patterns; k++) {
        for (int64_t l = 0; l < o->irs; l++) {
            const double sign = (az_random_bits(rng) & 1 ? 1 : -1) / sqrt((double)o->irs);
            for (int64_t g = 0; g < o->grid; g++) h[k * o->grid + g] += sign * arrival[l * o->grid] * departure[l * o->grid + g];
        }
    }
    return h;
}

/* `count` neighbouring angles with complex normal gains. */
static az_complex *angles(az_ctx *az, az_rng *rng, int64_t grid, int64_t count)
{
    az_complex *x = az_alloc_array(az, (size_t)grid, sizeof *x);
    const int64_t first = (int64_t)az_below(rng, (uint64_t)(grid - count + 1));
    const az_complex *gain = draw_normal(az, rng, count);
    for (int64_t i = 0; x && gain && i < count; i++) x[first + i] = gain[i];
    return x;
}

static bool draw_scene(az_ctx *az, const irs_options *o, uint64_t trial, double snr, scene *s)
{
    az_rng rng = az_rng_at(az_seed(az), az_stream("surface scene", trial));
    const az_complex *surface = surface_side(az, o, &rng), *antennas = steering(az, o->ms, o->grid, true);
    const az_complex *base = steering(az, o->bs, o->grid, false), *user = antennas ? user_side(az, o, &rng, antennas) : NULL;
    const az_complex *part[3] = {angles(az, &rng, o->grid, BLOCK), angles(az, &rng, o->grid, 1), angles(az, &rng, o->grid, BLOCK)};
    if (!az_ok(az)) return false;
    const az_kron_factor h1 = {o->patterns, o->grid, surface}, bs = {o->bs, o->grid, base};
    s->a = (az_kron){.factors = 3, .factor = {h1, {o->pilots, o->grid, user}, bs}};
    s->channel = (az_kron){.factors = 3, .factor = {h1, {o->ms, o->grid, antennas}, bs}};
    const int64_t n = o->grid, m = az_kron_rows(&s->a);
    s->x = az_alloc_array(az, (size_t)(n * n * n), sizeof *s->x);
    for (int64_t j = 0; s->x && j < n * n * n; j++) s->x[j] = part[0][j / (n * n)] * part[1][j / n % n] * part[2][j % n];
    s->y = s->x ? az_kron_times(az, &s->a, s->x) : NULL;
    const az_complex *noise = draw_normal(az, &rng, m);
    if (!s->y || !noise) return false;
    s->noise = 0;
    for (int64_t i = 0; i < m; i++) s->noise += creal(s->y[i] * conj(s->y[i])) / (double)m;
    s->noise /= pow(10, snr / 10);
    for (int64_t i = 0; i < m; i++) s->y[i] += sqrt(s->noise) * noise[i];
    return true;
}

/* Mean over the patterns of |channel' - channel|^2 / |channel|^2. */
static double channel_error(az_ctx *az, const irs_options *o, const scene *s, const az_complex *x)
{
    double mean = 0;
    az_scope_push(az);
    const az_complex *own = az_kron_times(az, &s->channel, x), *real = az_kron_times(az, &s->channel, s->x);
    const int64_t each = o->ms * o->bs;
    for (int64_t k = 0; own && real && k < o->patterns; k++) {
        double off = 0, size = 0;
        for (int64_t i = k * each; i < (k + 1) * each; i++) {
            off += creal((own[i] - real[i]) * conj(own[i] - real[i]));
            size += creal(real[i] * conj(real[i]));
        }
        mean += off / size / (double)o->patterns;
    }
    az_scope_pop(az);
    return mean;
}

static double support_rate(const scene *s, const az_complex *x)
{
    double largest = 0;
    int64_t both = 0, either = 0;
    const int64_t n = az_kron_columns(&s->a);
    for (int64_t j = 0; j < n; j++) largest = fmax(largest, cabs(x[j]));
    for (int64_t j = 0; j < n; j++) {
        const bool own = cabs(x[j]) > 1e-4 * largest, real = s->x[j] != 0;
        both += own && real, either += own || real;
    }
    return either > 0 ? (double)both / (double)either : 0;
}

/* ---- the study ---- */

static az_sbl_how how_of(az_sbl_kind kind, const scene *s)
{
    const bool block = kind == AZ_SBL_BLOCK, slow = block || kind == AZ_SBL_AM || kind == AZ_SBL_KSBL;
    const double prune = slow ? 1e-2 : 1e-3;
    return (az_sbl_how){.kind = kind,
                        .noise = s->noise,
                        .iterations = 150,
                        .sweeps = block ? 9 : 100,
                        .tolerance = 1e-4,
                        .inner_tolerance = 1e-5,
                        .prune = {prune, block ? 0.1 : prune, prune},
                        .alpha = 0.8,
                        .beta = 0.8,
                        .truth = s->x};
}

typedef struct outcome {
    double error, support, seconds;
} outcome;

static bool try_method(az_ctx *az, const irs_options *o, az_sbl_kind kind, double snr, outcome *out)
{
    *out = (outcome){0};
    for (int64_t trial = 0; trial < o->trials; trial++) {
        scene s;
        az_scope_push(az);
        const az_sbl_fit *fit = NULL;
        if (draw_scene(az, o, (uint64_t)trial, snr, &s)) {
            const az_sbl_how how = how_of(kind, &s);
            const double began = az_seconds();
            fit = az_sbl_solve(az, &s.a, s.y, &how);
            if (fit) {
                out->seconds += (az_seconds() - began) / (double)o->trials;
                out->error += channel_error(az, o, &s, fit->x) / (double)o->trials;
                out->support += support_rate(&s, fit->x) / (double)o->trials;
            }
        }
        az_scope_pop(az);
        if (!fit) return false;
        if (!az_progress(az, az_sbl_names[kind], trial + 1, o->trials, NULL)) return az_fail(az, AZ_INTERRUPTED, "interrupted");
    }
    return true;
}

static bool read_methods(az_ctx *az, const char *text, bool wanted[AZ_SBL_KINDS])
{
    for (const char *at = text; *at;) {
        const size_t length = strcspn(at, "+");
        int found = 0;
        while (found < AZ_SBL_KINDS && (strncmp(az_sbl_names[found], at, length) != 0 || az_sbl_names[found][length])) found++;
        if (found == AZ_SBL_KINDS) return az_fail(az, AZ_BAD_INPUT, "methods=%s: krosbl has no '%.*s'", text, (int)length, at);
        wanted[found] = true;
        at += length + (at[length] == '+');
    }
    return true;
}

static int read_ratios(az_ctx *az, const char *text, double *ratio, int most)
{
    int n = 0;
    for (const char *at = text; *at && n < most;) {
        char *end;
        ratio[n++] = strtod(at, &end);
        if (end == at || (*end && *end != ',')) {
            az_fail(az, AZ_BAD_INPUT, "snr=%s: numbers are wanted, joined by commas", text);
            return 0;
        }
        at = *end ? end + 1 : end;
    }
    return n;
}

static bool irs_study(az_ctx *az, const void *options, az_estimate_job *job)
{
    enum { MOST_RATIOS = 64 };
    const irs_options *o = options;
    double ratio[MOST_RATIOS], error[MOST_RATIOS];
    bool wanted[AZ_SBL_KINDS] = {false};
    const int n = read_ratios(az, o->snr, ratio, MOST_RATIOS);
    if (n == 0 || !read_methods(az, o->methods, wanted)) return false;
    for (az_sbl_kind kind = AZ_SBL_SVD; kind < AZ_SBL_KINDS; kind++) {
        for (int i = 0; wanted[kind] && i < n; i++) {
            outcome out;
            if (!try_method(az, o, kind, ratio[i], &out)) return false;
            error[i] = 10 * log10(out.error);
            az_report_row(job->report, "channel");
            az_report_text(job->report, "method", az_sbl_names[kind]);
            az_report_number(job->report, "snr", ratio[i], "dB");
            az_report_number(job->report, "nmse", error[i], "dB");
            az_report_number(job->report, "support_rate", out.support, "");
            az_report_number(job->report, "seconds", out.seconds, "s");
        }
        if (wanted[kind]) az_report_curve(job->report, az_sbl_names[kind], "SNR (dB)", "NMSE (dB)", n, ratio, error);
    }
    return az_ok(az);
}

const az_method az_irs_channel = {
    .name = "irs-channel",
    .family = AZ_ESTIMATE,
    .summary = "study: the channel by way of a reflecting surface, estimated by the methods of krosbl",
    .paper = "He, Joseph: Bayesian algorithms for Kronecker-structured sparse vector recovery with application to IRS-MIMO channel "
             "estimation, arXiv 2307.14719 (section V)",
    .details = "Draws scenes by --seed and tells, for each ratio of signal to noise and each method, the mean error of the channel, the "
               "share of its angles that were found, and the time. Reads no files. --plot draws the errors.",
    .example = "adze estimate 'irs-channel:trials=2,snr=\"5,15\"'",
    .options = irs_table,
    .options_size = sizeof(irs_options),
    .estimate = irs_study,
};
