/* claim_bipolar_int.c - what bipolar integers (arXiv 2409.17870) promise: products of integers of any widths from products of bits, faster
 * than wider formats by what they save. Products of several widths are timed beside f32, bf16 and int8 in the same rounds; a large model
 * decodes; and models lose little in eight and four bits, and less when the codes come from a method that chose them well. */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "claims/timing.h"

#include <math.h>

enum { SIDE = 4096 };

/* ---- products ---- */

typedef struct width_pair {
    int weights, activations;
    double to_bf16, to_f32, to_int8; /* how many times faster with one vector; 0 = only told */
} width_pair;
static const width_pair pairs[] = {{1, 1, 6, 0, 1}, {2, 2, 4, 0, 1},     {2, 4, 0, 0, 0}, {2, 8, 1.3, 2.3, 0},
                                   {3, 8, 0, 0, 0}, {4, 4, 1.3, 2.3, 0}, {4, 8, 0, 0, 0}, {8, 8, 0, 0, 0}};
enum { PAIRS = sizeof pairs / sizeof *pairs, F32 = PAIRS, BF16, INT8, ALL };

static az_weight *planes(az_ctx *az, const az_weight *dense, int weights, int activations, az_bipolar_kernel kernel)
{
    return az_weight_bipolar(az, dense, &(az_bipolar_settings){.weight_bits = weights, .activation_bits = activations, .kernel = kernel});
}

static bool make_contenders(az_ctx *az, claim_contender *c)
{
    az_weight *dense = az_weight_dense(az, az_randn(az, AZ_F32, 2, (const int64_t[]){SIDE, SIDE}, 0.02, 1, 1));
    bool made = dense != NULL;
    for (int i = 0; made && i < PAIRS; i++) {
        const char *name = az_format_text(az, "W%dA%d", pairs[i].weights, pairs[i].activations);
        made = claim_contend(az, &c[i], name, planes(az, dense, pairs[i].weights, pairs[i].activations, AZ_BIPOLAR_AUTO));
    }
    return made && claim_contend(az, &c[F32], "f32", dense) &&
           claim_contend(az, &c[BF16], "bf16", az_weight_encode(az, dense, az_format_by_name("bf16"), NULL)) &&
           claim_contend(az, &c[INT8], "int8", az_weight_int8(az, dense, &(az_int8_settings){.threshold = 0}));
}

static void report_products(az_report *report, const claim_contender *c, int threads, int64_t n)
{
    for (int i = 0; i < ALL; i++) {
        const double products = (double)SIDE * SIDE * (double)n, pair = i < PAIRS ? pairs[i].weights * pairs[i].activations : 0;
        az_report_row(report, "products");
        az_report_count(report, "threads", threads);
        az_report_count(report, "vectors", n);
        az_report_text(report, "weights", c[i].name);
        az_report_number(report, "bytes_per_weight", c[i].bytes / ((double)SIDE * SIDE), "");
        az_report_number(report, "time", c[i].seconds * 1e3, "ms");
        az_report_number(report, "gb_s", c[i].bytes / c[i].seconds / 1e9, "");
        az_report_number(report, "gbit_op_s", i < PAIRS ? pair * products / c[i].seconds / 1e9 : NAN, "");
        az_report_number(report, "f32_beside_it", c[F32].seconds / c[i].seconds, "");
        az_report_number(report, "bf16_beside_it", c[BF16].seconds / c[i].seconds, "");
        az_report_number(report, "int8_beside_it", c[INT8].seconds / c[i].seconds, "");
    }
}

static void check_one(az_report *report, claim_ratios *v, const char *what, double ratio, double bound)
{
    if (bound > 0) claim_ratio(report, v, what, ratio, bound);
}

static void check_products(az_ctx *az, az_report *report, const claim_contender *c, int threads, int64_t n, claim_ratios *v)
{
    const char *where = az_format_text(az, "%d thread%s, %lld vector%s", threads, threads == 1 ? "" : "s", (long long)n, n == 1 ? "" : "s");
    for (int i = 0; n == 1 && i < PAIRS; i++) {
        check_one(report, v, az_format_text(az, "%s: %s beside bf16", where, c[i].name), c[BF16].seconds / c[i].seconds, pairs[i].to_bf16);
        check_one(report, v, az_format_text(az, "%s: %s beside f32", where, c[i].name), c[F32].seconds / c[i].seconds, pairs[i].to_f32);
        check_one(report, v, az_format_text(az, "%s: %s beside int8", where, c[i].name), c[INT8].seconds / c[i].seconds, pairs[i].to_int8);
    }
    if (n == 16) claim_ratio(report, v, az_format_text(az, "%s: W1A1 beside f32", where), c[F32].seconds / c[0].seconds, 3);
}

static bool products(az_ctx *az, az_report *report, int threads, claim_ratios *v)
{
    static const int64_t vectors[] = {1, 4, 16};
    az_ctx *own = az_open(&(az_settings){.threads = threads});
    claim_contender *c = az_alloc_array(own, ALL, sizeof *c);
    const bool made = c && make_contenders(own, c);
    for (int i = 0; made && i < 3; i++) {
        const az_tensor *x = az_randn(own, AZ_F32, 2, (const int64_t[]){vectors[i], SIDE}, 1, 2, (uint64_t)i);
        if (!claim_time_products(own, c, ALL, x)) break;
        report_products(report, c, threads, vectors[i]);
        check_products(az, report, c, threads, vectors[i], v);
    }
    if (!az_ok(own)) az_fail(az, az_status_of(own), "%s", az_error(own));
    az_close(own);
    return az_ok(az);
}

/* Counting bits takes time by the product of the widths: bit operations per second of four pairs lie within 25 % of their middle, and above
 * 150 G on one processor. */
static bool counting(az_ctx *az, az_report *report, claim_ratios *v)
{
    static const int widths[][2] = {{1, 1}, {2, 2}, {2, 4}, {4, 4}};
    enum { COUNTED = 4, VECTORS = 4 };
    az_ctx *own = az_open(&(az_settings){.threads = 1});
    az_weight *dense = az_weight_dense(own, az_randn(own, AZ_F32, 2, (const int64_t[]){SIDE, SIDE}, 0.02, 1, 1));
    claim_contender *c = az_alloc_array(own, COUNTED, sizeof *c);
    const az_tensor *x = az_randn(own, AZ_F32, 2, (const int64_t[]){VECTORS, SIDE}, 1, 2, 1);
    bool made = dense && c && x;
    for (int i = 0; made && i < COUNTED; i++)
        made = claim_contend(own, &c[i], "popcount", planes(own, dense, widths[i][0], widths[i][1], AZ_BIPOLAR_POPCOUNT));
    double least = INFINITY, most = 0;
    made = made && claim_time_products(own, c, COUNTED, x);
    for (int i = 0; made && i < COUNTED; i++) {
        const double rate = (double)SIDE * SIDE * VECTORS * widths[i][0] * widths[i][1] / c[i].seconds / 1e9;
        az_report_row(report, "counting");
        az_report_text(report, "widths", az_format_text(az, "W%dA%d", widths[i][0], widths[i][1]));
        az_report_number(report, "time", c[i].seconds * 1e3, "ms");
        az_report_number(report, "gbit_op_s", rate, "");
        least = fmin(least, rate), most = fmax(most, rate);
    }
    if (made) claim_ratio(report, v, "counting: slowest rate beside fastest", least / most, 0.6);
    if (made) claim_ratio(report, v, "counting: billions of bit operations a second", most, 150);
    if (!az_ok(own)) az_fail(az, az_status_of(own), "%s", az_error(own));
    az_close(own);
    return az_ok(az);
}

static bool decoding(az_ctx *az, az_report *report, claim_ratios *v)
{
    static const char *const names[] = {"bf16", "W2A8"};
    az_lm *dense = claim_large_lm(az), *small = NULL;
    if (!dense || !claim_change_model(az, dense, "quantize:type=bf16")) return false;
    small = az_lm_copy(az, dense);
    if (!small || !claim_change_model(az, small, "bipolar-int:wbits=2,abits=8")) return false;
    double rates[2];
    claim_decode(az, report, (const az_lm *const[]){dense, small}, names, rates);
    claim_ratio(report, v, "decoding: W2A8 beside bf16", rates[1] / rates[0], 1.3);
    az_lm_free(az, small);
    az_lm_free(az, dense);
    return az_ok(az);
}

/* ---- models ---- */

/* Eight bits lose at most 0.005 nats; at three bits codes that GPTQ chose lose less than the nearest ones. */
static bool model_rows(az_ctx *az, az_report *report, const claim_subject *on)
{
    static const char *const chains[] = {"",
                                         "bipolar-int:wbits=8,abits=8",
                                         "bipolar-int:wbits=4,abits=8",
                                         "bipolar-int:wbits=3,abits=8",
                                         "bipolar-int:wbits=2,abits=8",
                                         "outliertune:activations=token,wbits=4 bipolar-int:wbits=0,abits=8",
                                         "outliertune:activations=token,wbits=3 bipolar-int:wbits=0,abits=8"};
    enum { CHAINS = sizeof chains / sizeof *chains, EIGHT = 1, NEAREST3 = 3, CHOSEN3 = 6 };
    const claim_runs *run[CHAINS];
    double lost[CHAINS] = {0};
    for (int i = 0; i < CHAINS; i++) {
        run[i] = claim_run_chain(az, on, chains[i], i > 4 ? 3 : 1);
        if (!run[i]) return false;
        if (i > 0) lost[i] = claim_compare(az, report, on, run[i], run[0]).documents.value;
    }
    const claim_difference better = claim_compare(az, report, on, run[CHOSEN3], run[NEAREST3]);
    return lost[EIGHT] <= 0.005 && claim_is_better(&better);
}

static bool run(az_ctx *az, az_report *report)
{
    claim_subject subjects[CLAIM_MOST_SUBJECTS];
    claim_ratios v = {0};
    const int n = claim_subjects(az, subjects);
    int models = 0;
    if (!products(az, report, 1, &v) || (az_threads(az) > 1 && !products(az, report, az_threads(az), &v))) return false;
    if (!counting(az, report, &v) || !decoding(az, report, &v)) return false;
    for (int i = 0; i < n && az_ok(az); i++) models += model_rows(az, report, &subjects[i]);
    if (!az_ok(az)) return false;
    const bool fast = claim_ratios_held(report, &v);
    az_report_count(report, "models", n);
    az_report_count(report, "models_good", models);
    return fast && models == n;
}

const az_claim az_claim_bipolar_int = {
    .name = "bipolar-int",
    .statement =
        "with one vector products of planes of bits are faster than bf16, W1A1 six times, W2A2 four times and W2A8 and W4A4 1.3 times, "
        "and W2A2 than int8; a model of two-bit weights decodes 1.3 times as fast as in bf16; eight bits lose at most 0.005 nats, and "
        "three-bit codes that another method chose lose less than the nearest ones",
    .run = run,
};
