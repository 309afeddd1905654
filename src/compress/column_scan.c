/* column_scan.c - a pass over calibration text that looks at single features of the layers' inputs. */
#include "compress/column_scan.h"

#include <math.h>

/* One hook's view: the scan, and the sequences of the present pass. */
typedef struct watched {
    az_column_scan *scan;
    int64_t length; /* tokens of a sequence, where all tokens pass through the layer */
} watched;

static int bin_of(double value, double magnitude)
{
    const int bin = (int)(AZ_SCAN_BINS_PER_OCTAVE * log2(value / magnitude));
    return bin < 0 ? 0 : bin >= AZ_SCAN_BINS ? AZ_SCAN_BINS - 1 : bin;
}

/* Column c of the rows first .. first + n - 1: one sequence. */
static void scan_sequence(az_column_scan *scan, const float *x, int64_t first, int64_t n, int64_t c)
{
    float low = INFINITY, high = -INFINITY;
    for (int64_t r = first; r < first + n; r++) {
        const float value = x[r * scan->cols + c], size = fabsf(value);
        low = fminf(low, value);
        high = fmaxf(high, value);
        if (!(size >= scan->magnitude) || scan->magnitude == 0) continue;
        scan->large[c]++;
        scan->positive[c] += value > 0;
        scan->histogram[c * AZ_SCAN_BINS + bin_of(size, scan->magnitude)]++;
    }
    scan->most[c] = fmaxf(scan->most[c], fmaxf(-low, high));
    scan->middle[c] += 0.5 * ((double)low + high);
}

static az_tensor *scan_input(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    const watched *w = user;
    az_column_scan *scan = w->scan;
    const az_tensor *rows = az_watched_rows(az, site, x);
    const float *value = rows ? az_f32(rows) : NULL;
    if (!value) return NULL;
    const int64_t n = rows->shape[0], length = n % w->length == 0 ? w->length : n;
#pragma omp parallel for schedule(static) num_threads(az_threads(az))
    for (int64_t c = 0; c < scan->cols; c++)
        for (int64_t first = 0; first < n; first += length) scan_sequence(scan, value, first, length, c);
    scan->tokens += n;
    scan->sequences += n / length;
    return x;
}

static bool scan_new(az_ctx *az, int64_t cols, double magnitude, az_column_scan *out)
{
    *out = (az_column_scan){.cols = cols,
                            .magnitude = magnitude,
                            .most = az_alloc_array(az, (size_t)cols, sizeof *out->most),
                            .large = az_alloc_array(az, (size_t)cols, sizeof *out->large),
                            .positive = az_alloc_array(az, (size_t)cols, sizeof *out->positive),
                            .histogram = az_alloc_array(az, magnitude > 0 ? (size_t)cols * AZ_SCAN_BINS : 1, sizeof *out->histogram),
                            .middle = az_alloc_array(az, (size_t)cols, sizeof *out->middle)};
    return az_ok(az);
}

bool az_watch_inputs(az_ctx *az, az_lm *lm, const az_lm_sequences *sequences, az_watcher *see, void *const *user)
{
    az_lm_linear **linear;
    if (!sequences) return false;
    const int n = az_lm_linears(az, lm, &linear);
    az_lm_run run = {.output = AZ_HIDDEN};
    az_lm_hook *hooks = az_alloc_array(az, (size_t)n, sizeof *hooks);
    for (int i = 0; hooks && i < n; i++)
        if (user[i]) hooks[run.n_hooks++] = (az_lm_hook){.site = az_format_text(az, "%s.in", linear[i]->name), .see = see, .user = user[i]};
    run.hooks = hooks;
    for (int64_t s = 0; s < sequences->count && az_ok(az); s++) {
        const az_lm_batch batch = {
            .sequences = 1, .token = sequences->token + s * sequences->length, .start = (const int64_t[]){0, sequences->length}};
        az_scope_push(az);
        az_lm_forward(az, lm, &batch, &run);
        az_scope_pop(az);
        if (!az_progress(az, "looking at activations", s + 1, sequences->count, NULL))
            return az_fail(az, AZ_INTERRUPTED, "interrupted after %lld of %lld sequences", (long long)s + 1, (long long)sequences->count);
    }
    return az_ok(az);
}

az_tensor *az_watched_rows(az_ctx *az, const char *site, az_tensor *x)
{
    az_tensor *rows = az_cast(az, az_contiguous(az, x), AZ_F32);
    const int64_t bad = rows ? az_first_nonfinite(rows) : -1;
    if (bad < 0) return rows;
    return az_fail(az, AZ_NUMERIC, "%s: feature %lld is not finite on the calibration text", site,
                   (long long)(bad % rows->shape[rows->rank - 1]));
}

bool az_scan_columns(az_ctx *az, az_lm *lm, const az_lm_sequences *sequences, double magnitude, az_column_scan **scan)
{
    az_lm_linear **linear;
    if (!sequences) return false;
    const int n = az_lm_linears(az, lm, &linear);
    *scan = az_alloc_array(az, (size_t)n, sizeof **scan);
    watched *watch = az_alloc_array(az, (size_t)n, sizeof *watch);
    void **user = az_alloc_array(az, (size_t)n, sizeof *user);
    if (!*scan || !watch || !user) return false;
    for (int i = 0; i < n; i++) {
        if (!scan_new(az, linear[i]->weight->cols, magnitude, &(*scan)[i])) return false;
        watch[i] = (watched){.scan = &(*scan)[i], .length = sequences->length};
        user[i] = &watch[i];
    }
    return az_watch_inputs(az, lm, sequences, scan_input, user);
}

double az_scan_quantile(const az_column_scan *scan, int64_t column, double q)
{
    const uint32_t *count = scan->histogram + column * AZ_SCAN_BINS;
    int64_t seen = 0;
    for (int bin = 0; bin < AZ_SCAN_BINS; bin++)
        if ((double)(seen += count[bin]) > q * (double)scan->large[column])
            return scan->magnitude * exp2((bin + 0.5) / AZ_SCAN_BINS_PER_OCTAVE);
    return NAN;
}
