/* kernels.c - the products of every weight format with 1 .. 32 vectors of activations, beside dense f32 and f16 in the same rounds.
 *   bench_kernels [rows=N,cols=N,threads=N,rounds=N,resident]
 *
 * Products are checked before they are timed. Copies of a weight take turns, so that weights stream from memory (resident: one copy,
 * whatever the caches hold). Rounds go through all formats, one product each, so that a slow moment of the machine meets all alike. Prints
 * the limits, then one JSON object for each format and number of vectors. */
#include "limits.h"
#include "subjects.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_VECTORS = 32, COUNTS = 6, MOST_ROUNDS = 101, CHECKED_ROWS = 32 };
static const int counts[COUNTS] = {1, 2, 4, 8, 16, 32};

typedef struct bench_settings {
    int64_t rows, cols, threads, rounds;
    bool resident;
} bench_settings;

static const az_option options[] = {
    {"rows", AZ_FIELD(AZ_INT, bench_settings, rows), "1024", CHECKED_ROWS, 1 << 20, NULL, "outputs"},
    {"cols", AZ_FIELD(AZ_INT, bench_settings, cols), "4096", 256, 1 << 20, NULL, "inputs"},
    {"threads", AZ_FIELD(AZ_INT, bench_settings, threads), "0", 0, 1024, NULL, "threads; 0 = all processors"},
    {"rounds", AZ_FIELD(AZ_INT, bench_settings, rounds), "15", 3, MOST_ROUNDS, NULL, "timed rounds"},
    {"resident", AZ_FIELD(AZ_BOOL, bench_settings, resident), "false", 0, 0, NULL, "time weights that caches hold"},
    {0},
};

typedef struct bench {
    bench_settings settings;
    bench_limits limits;
    bench_subject *subject;
    int subjects;
    az_tensor *x[COUNTS], *signs[COUNTS]; /* [counts[i], cols] normal, and 1 or -1 */
} bench;

/* Wall seconds and processor seconds of each round. */
typedef struct bench_timing {
    double wall[MOST_ROUNDS], processor[MOST_ROUNDS];
} bench_timing;

/* ---- checking --------------------------------------------------------------------------------------------------------------------- */

/* Root of the mean square error of some rows' products with n vectors, relative to the products, against sums in double over the decoded
 * rows. */
static double relative_error(az_ctx *az, const bench *b, const az_weight *w, const az_tensor *x)
{
    const int64_t rows = b->settings.rows, cols = b->settings.cols;
    double error = 0, size = 0;
    az_scope_push(az);
    float *row = az_alloc_array(az, (size_t)cols, sizeof *row);
    const float *y = az_f32(az_weight_apply(az, w, x)), *xs = az_f32(x);
    for (int64_t i = 0; row && y && i < CHECKED_ROWS; i++) {
        const int64_t r = i * rows / CHECKED_ROWS;
        w->format->decode(w, r, 1, row);
        for (int64_t j = 0; j < x->shape[0]; j++) {
            double sum = 0;
            for (int64_t k = 0; k < cols; k++) sum += (double)row[k] * (double)xs[j * cols + k];
            const double off = sum - (double)y[j * rows + r];
            error += off * off, size += sum * sum;
        }
    }
    az_scope_pop(az);
    return sqrt(error / size); /* NaN where nothing was computed */
}

/* Rounded activations are off by less than 1 %; a wrong product is off by far more. */
static bool check(az_ctx *az, const bench *b)
{
    for (int i = 0; i < b->subjects; i++)
        for (int c = 0; c < COUNTS; c++) {
            const bench_subject *s = &b->subject[i];
            const double error = relative_error(az, b, s->copy[s->copies - 1], s->coarse ? b->signs[c] : b->x[c]);
            if (!(error < 0.02)) {
                fprintf(stderr, "bench_kernels: %s (%s) with %d vectors is off by %g\n", s->format->name, s->matrix, counts[c], error);
                return false;
            }
        }
    return true;
}

/* ---- timing ----------------------------------------------------------------------------------------------------------------------- */

static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* timing [subjects]; the first round warms up. */
static void run_rounds(az_ctx *az, const bench *b, const az_tensor *x, bench_timing *timing)
{
    for (int64_t round = -1; round < b->settings.rounds; round++)
        for (int i = 0; i < b->subjects; i++) {
            const bench_subject *s = &b->subject[i];
            const az_weight *w = s->copy[(round + 1) % s->copies];
            az_scope_push(az);
            const double processor = processor_seconds(), wall = az_seconds();
            az_weight_apply(az, w, x);
            if (round >= 0) {
                timing[i].wall[round] = az_seconds() - wall;
                timing[i].processor[round] = processor_seconds() - processor;
            }
            az_scope_pop(az);
        }
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct summary {
    double least, median;
    bool shared; /* something else used the processors */
} summary;

/* With one thread a processor's own clock tells what a disturbed round would have taken. */
static summary summarize(const bench *b, bench_timing *t)
{
    const size_t n = (size_t)b->settings.rounds;
    double processor = 0, wall = 0;
    for (size_t i = 0; i < n; i++) processor += t->processor[i], wall += t->wall[i];
    summary s = {.shared = processor < 0.9 * wall * b->limits.threads};
    double *series = s.shared && b->limits.threads == 1 ? t->processor : t->wall;
    qsort(series, n, sizeof *series, ascending);
    s.least = series[0], s.median = series[n / 2];
    return s;
}

/* ---- report ----------------------------------------------------------------------------------------------------------------------- */

/* What the limits allow: each byte is read once, and each weight meets each vector. */
static double least_seconds(const bench *b, const bench_subject *s, int vectors)
{
    const double weights = (double)(b->settings.rows * b->settings.cols),
                 moved = 4.0 * vectors * (double)(b->settings.rows + b->settings.cols);
    const double reading = ((double)s->bytes + moved) / b->limits.read, computing = 2 * weights * vectors / b->limits.f32;
    return reading > computing ? reading : computing;
}

static int find(const bench *b, const char *format)
{
    for (int i = 0; i < b->subjects; i++)
        if (strcmp(b->subject[i].format->name, format) == 0) return i;
    return 0;
}

static void report(const bench *b, int count, bench_timing *timing)
{
    const int f32 = find(b, "f32"), f16 = find(b, "f16"), n = counts[count];
    const double weights = (double)(b->settings.rows * b->settings.cols);
    summary all[MOST_SUBJECTS];
    for (int i = 0; i < b->subjects; i++) all[i] = summarize(b, &timing[i]);
    for (int i = 0; i < b->subjects; i++) {
        const bench_subject *s = &b->subject[i];
        const double rate = (double)s->bytes / all[i].least, flops = 2 * weights * n / all[i].least;
        printf(
            "{\"format\": \"%s\", \"matrix\": \"%s\", \"vectors\": %d, \"bytes_per_weight\": %.4f, \"total_bytes\": %zu, \"flops\": %.0f, "
            "\"ms_min\": %.4f, \"ms_median\": %.4f, \"gb_s\": %.2f, \"of_read\": %.3f, \"gflop_s\": %.1f, \"of_f32\": %.3f, "
            "\"to_f32\": %.2f, \"to_f16\": %.2f, \"predicted_to_f16\": %.2f, \"shared_machine\": %s}\n",
            s->format->name, s->matrix, n, (double)s->bytes / weights, s->bytes * (size_t)s->copies, 2 * weights * n, all[i].least * 1e3,
            all[i].median * 1e3, rate / 1e9, rate / b->limits.read, flops / 1e9, flops / b->limits.f32, all[f32].least / all[i].least,
            all[f16].least / all[i].least, least_seconds(b, &b->subject[f16], n) / least_seconds(b, s, n),
            all[i].shared ? "true" : "false");
    }
}

/* Four times the last cache, or 128 MiB where that is less, but never under 64 MiB. */
static size_t working_set(const bench *b)
{
    const int64_t least = 64 << 20, most = 128 << 20, wanted = 4 * b->limits.cache[2];
    if (b->settings.resident) return 0;
    return (size_t)(wanted < least ? least : wanted > most ? most : wanted);
}

static bool run(az_ctx *az, bench *b)
{
    b->limits = bench_measure_limits(az, 2);
    b->subject = az_alloc_array(az, MOST_SUBJECTS, sizeof *b->subject);
    bench_timing *timing = az_alloc_array(az, MOST_SUBJECTS, sizeof *timing);
    if (!b->subject || !timing) return false;
    b->subjects = bench_subjects(az, b->settings.rows, b->settings.cols, working_set(b), b->subject);
    for (int c = 0; c < COUNTS; c++) {
        b->x[c] = az_randn(az, AZ_F32, 2, (const int64_t[]){counts[c], b->settings.cols}, 1, 2, (uint64_t)c);
        b->signs[c] = az_sign(az, b->x[c]);
    }
    if (!az_ok(az) || !check(az, b)) return false;
    printf(
        "{\"threads\": %d, \"rows\": %lld, \"cols\": %lld, \"rounds\": %lld, \"resident\": %s, \"read_gb_s\": %.2f, \"f32_gflop_s\": %.1f, "
        "\"int8_gop_s\": %.1f}\n",
        b->limits.threads, (long long)b->settings.rows, (long long)b->settings.cols, (long long)b->settings.rounds,
        b->settings.resident ? "true" : "false", b->limits.read / 1e9, b->limits.f32 / 1e9, b->limits.int8 / 1e9);
    for (int c = 0; c < COUNTS; c++) {
        run_rounds(az, b, b->x[c], timing);
        report(b, c, timing);
    }
    return az_ok(az);
}

int main(int argc, char **argv)
{
    bench b = {0};
    az_ctx *az = az_open(NULL);
    if (argc > 2 || !az_options_parse(az, options, "bench_kernels", argc == 2 ? argv[1] : "", &b.settings)) {
        fprintf(stderr, "bench_kernels: %s\n",
                argc > 2 ? "usage: bench_kernels [rows=N,cols=N,threads=N,rounds=N,resident]" : az_error(az));
        az_close(az);
        return 2;
    }
    az_close(az);
    az = az_open(&(az_settings){.threads = (int)b.settings.threads});
    const bool ok = run(az, &b);
    if (!az_ok(az)) fprintf(stderr, "bench_kernels: %s\n", az_error(az));
    az_close(az);
    return ok ? 0 : 2;
}
