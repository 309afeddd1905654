/* DSnoT: the swaps of a row against a plain implementation with sorted lists, what must hold for any layer, and chains of methods. */
#include "compress/dsnot.h"
#include "compress/start_mask.h"
#include "support/folder.h"
#include "support/matrix.h"
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- a plain implementation ---- */

enum { MOST = 12 };

typedef struct plain_row {
    int cols;
    double c[MOST], v[MOST];
    float score[MOST];
    int keep[MOST], touched[MOST];
} plain_row;

static double plain_error(const plain_row *r)
{
    double e = 0;
    for (int j = 0; j < r->cols; j++) e += r->keep[j] ? 0 : r->c[j];
    return e;
}

/* Indices in ascending order of `key`, equal ones by index. */
static void sorted(const double *key, int n, int *order)
{
    for (int i = 0; i < n; i++) {
        int at = i;
        for (; at > 0 && key[order[at - 1]] > key[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
}

/* The outermost untouched dropped weight of the growing list on the side of e. */
static int plain_grow(const plain_row *r, double e, double power)
{
    double key[MOST];
    int order[MOST];
    for (int j = 0; j < r->cols; j++) key[j] = r->c[j] / pow(r->v[j], power);
    sorted(key, r->cols, order);
    for (int k = 0; k < r->cols; k++) {
        const int j = order[e > 0 ? r->cols - 1 - k : k];
        if (!r->keep[j] && !r->touched[j]) return e > 0 ? (key[j] > 0 ? j : -1) : (key[j] < 0 ? j : -1);
    }
    return -1;
}

static int plain_prune(const plain_row *r, double e, int first, int end)
{
    double key[MOST];
    int order[MOST];
    for (int j = 0; j < r->cols; j++) key[j] = r->score[j];
    sorted(key, r->cols, order);
    for (int k = 0; k < r->cols; k++) {
        const int j = order[k];
        const int fits = j >= first && j < end && r->keep[j] && !r->touched[j];
        if (fits && (e == 0 || (e > 0 ? r->c[j] < 0 : r->c[j] > 0))) return j;
    }
    return -1;
}

/* Every error is summed afresh from the mask. */
static void plain_repair(plain_row *r, const az_dsnot_settings *how)
{
    const int m = how->pattern.m;
    const double start = plain_error(r);
    for (int swaps = 0; swaps < how->cycles;) {
        const double e = plain_error(r);
        if (fabs(e) <= how->threshold) return;
        const int g = plain_grow(r, e, how->var_power);
        if (g < 0) return;
        const int p = m ? plain_prune(r, 0, g / m * m, g / m * m + m) : plain_prune(r, e, 0, r->cols);
        if (!m && p < 0) return;
        if (m && (p < 0 || fabs(e + r->c[p] - r->c[g]) >= fabs(e))) {
            r->touched[g] = 1;
            continue;
        }
        if ((m || how->same_sign) && (e + r->c[p] - r->c[g] > 0) != (start > 0)) return;
        r->keep[g] = r->touched[g] = r->touched[p] = 1;
        r->keep[p] = 0;
        swaps++;
    }
}

/* ---- layers of random numbers ---- */

typedef struct layer_case {
    az_tensor *w, *keep, *score;
    double *mean, *variance;
} layer_case;

static layer_case random_layer(az_ctx *az, int64_t rows, int64_t cols, az_mask_how how, uint64_t seed)
{
    layer_case l = {.w = matrix_normal(az, AZ_F32, rows, cols, seed)};
    az_rng rng = az_rng_at(seed, 7);
    double *square = az_alloc_array(az, (size_t)cols, sizeof *square);
    l.mean = az_alloc_array(az, (size_t)cols, sizeof *l.mean);
    l.variance = az_alloc_array(az, (size_t)cols, sizeof *l.variance);
    for (int64_t j = 0; j < cols; j++) {
        l.mean[j] = az_normal(&rng);
        l.variance[j] = exp(az_normal(&rng));
        square[j] = 100 * (l.mean[j] * l.mean[j] + l.variance[j]);
    }
    l.score = az_wanda_scores(az, l.w, square);
    l.keep = az_mask_lowest(az, l.score, how);
    return l;
}

static az_tensor *repair(az_ctx *az, const layer_case *l, const az_dsnot_settings *how, az_dsnot_change *change)
{
    const az_dsnot_layer layer = {.values = l->w, .keep = l->keep, .score = l->score, .mean = l->mean, .variance = l->variance};
    az_tensor *keep = az_dsnot_repair(az, &layer, how, change);
    cr_assert_not_null(keep, "%s", az_error(az));
    return keep;
}

static plain_row plain_of(const layer_case *l, int64_t row, int cols)
{
    plain_row r = {.cols = cols};
    for (int j = 0; j < cols; j++) {
        r.c[j] = az_item(l->w, row * cols + j) * l->mean[j];
        r.v[j] = l->variance[j];
        r.score[j] = (float)az_item(l->score, row * cols + j);
        r.keep[j] = az_item(l->keep, row * cols + j) != 0;
    }
    return r;
}

Test(dsnot, short_rows_swap_as_sorted_lists_and_errors_summed_afresh_say)
{
    const az_mask_how starts[] = {
        {.share = 0.5, .scope = AZ_PER_ROW}, {.share = 0.7, .scope = AZ_PER_ROW}, {.pattern = {2, 4}}, {.pattern = {1, 4}}};
    enum { ROWS = 200, COLS = 12 };
    int64_t swapped = 0;
    for (int kind = 0; kind < 16; kind++) {
        az_ctx *az = az_open(NULL);
        const az_mask_how start = starts[kind % 4];
        const layer_case l = random_layer(az, ROWS, COLS, start, 10 + (uint64_t)kind);
        const az_dsnot_settings how = {
            .cycles = 1 + kind, .threshold = 0.05, .var_power = kind & 8 ? 0 : 1, .same_sign = kind & 4, .pattern = start.pattern};
        az_dsnot_change change;
        const az_tensor *keep = repair(az, &l, &how, &change);
        for (int64_t r = 0; r < ROWS; r++) {
            plain_row row = plain_of(&l, r, COLS);
            plain_repair(&row, &how);
            for (int j = 0; j < COLS; j++)
                cr_assert_eq(az_item(keep, r * COLS + j), row.keep[j], "case %d, row %d, weight %d", kind, (int)r, j);
        }
        swapped += change.swaps > 0.1;
        az_close(az);
    }
    cr_assert_eq(swapped, 16);
}

static double expected_error(const layer_case *l, const az_tensor *keep, int64_t row)
{
    const int64_t cols = keep->shape[1];
    double e = 0;
    for (int64_t j = 0; j < cols; j++) e += az_item(keep, row * cols + j) != 0 ? 0 : az_item(l->w, row * cols + j) * l->mean[j];
    return e;
}

static int64_t kept_of(const az_tensor *keep, int64_t from, int64_t count)
{
    int64_t kept = 0;
    for (int64_t i = from; i < from + count; i++) kept += az_item(keep, i) != 0;
    return kept;
}

Test(dsnot, rows_keep_their_number_groups_their_pattern_and_errors_fall)
{
    enum { ROWS = 30, COLS = 64 };
    for (int kind = 0; kind < 4; kind++) {
        az_ctx *az = az_open(NULL);
        const az_pattern pattern = kind & 1 ? (az_pattern){2, 4} : (az_pattern){0};
        const layer_case l = random_layer(az, ROWS, COLS, (az_mask_how){.share = 0.6, .pattern = pattern, .scope = AZ_PER_ROW}, 3);
        const az_dsnot_settings how = {.cycles = 40, .threshold = 0.01, .var_power = 1, .same_sign = kind & 2, .pattern = pattern};
        az_dsnot_change change;
        const az_tensor *keep = repair(az, &l, &how, &change);
        double before = 0, after = 0;
        for (int64_t r = 0; r < ROWS; r++) {
            cr_assert_eq(kept_of(keep, r * COLS, COLS), kept_of(l.keep, r * COLS, COLS));
            const double old = fabs(expected_error(&l, l.keep, r)), new = fabs(expected_error(&l, keep, r));
            if (how.same_sign || pattern.m) cr_assert_leq(new, old + 1e-9);
            before += old / ROWS;
            after += new / ROWS;
        }
        cr_assert(!pattern.m || az_mask_check(az, keep, pattern), "%s", az_error(az));
        cr_assert_float_eq(change.before, before, 1e-5 * before);
        cr_assert_float_eq(change.after, after, 1e-5 * before);
        cr_assert_lt(after, 0.5 * before);
        az_close(az);
    }
}

Test(dsnot, without_cycles_or_with_a_large_threshold_the_start_mask_stays)
{
    az_ctx *az = az_open(NULL);
    const layer_case l = random_layer(az, 20, 32, (az_mask_how){.share = 0.5, .scope = AZ_PER_ROW}, 4);
    az_dsnot_change change;
    const az_dsnot_settings none = {.cycles = 0, .threshold = 0.1, .var_power = 1},
                            loose = {.cycles = 50, .threshold = INFINITY, .var_power = 1};
    cr_assert_eq(matrix_difference(repair(az, &l, &none, &change), l.keep), 0);
    cr_assert_eq(matrix_difference(repair(az, &l, &loose, &change), l.keep), 0);
    cr_assert_eq(change.swaps, 0);
    az_close(az);
}

/* A constant input has no variance: growing it is very attractive, but the order among such inputs is still by c_j; an input that never
 * fires adds nothing and is never grown. */
Test(dsnot, constant_and_dead_inputs_have_finite_keys)
{
    az_ctx *az = az_open(NULL);
    const float w[6] = {1, 2, 3, 5, -4, 6};
    const unsigned char keep[6] = {0, 0, 0, 0, 1, 1};
    double mean[6] = {1, 1, 0, 1, 1, 1}, variance[6] = {0, 0, 0, 1, 1, 1};
    const az_dsnot_layer layer = {.values = az_from(az, AZ_F32, 2, (int64_t[]){1, 6}, w),
                                  .keep = az_from(az, AZ_U8, 2, (int64_t[]){1, 6}, keep),
                                  .score = az_from(az, AZ_F32, 2, (int64_t[]){1, 6}, w),
                                  .mean = mean,
                                  .variance = variance};
    az_dsnot_change change;
    const az_dsnot_settings how = {.cycles = 1, .threshold = 0.1, .var_power = 1};
    const az_tensor *repaired = az_dsnot_repair(az, &layer, &how, &change);
    for (int j = 0; j < 6; j++) cr_assert_eq(az_item(repaired, j), j == 1 || j == 5, "%d", j);
    cr_assert_eq(change.before, 8);
    cr_assert_eq(change.after, 2);
    az_close(az);
}

Test(dsnot, swaps_scale_with_the_length_of_rows)
{
    const az_dsnot_settings automatic = {.cycles = -1}, given = {.cycles = 7};
    cr_assert_eq(az_dsnot_cycles(&automatic, 16), 1);
    cr_assert_eq(az_dsnot_cycles(&automatic, 96), 1);
    cr_assert_eq(az_dsnot_cycles(&automatic, 512), 6);
    cr_assert_eq(az_dsnot_cycles(&automatic, 4096), 50);
    cr_assert_eq(az_dsnot_cycles(&automatic, 11008), 50);
    cr_assert_eq(az_dsnot_cycles(&given, 4096), 7);
}

/* ---- whole models ---- */

static const char *const calibration = "nsamples=8,seqlen=32";

/* A chain of methods as the command runs it. */
static az_lm *chain(az_ctx *az, const az_lm *original, const char *const (*steps)[2], int n)
{
    az_lm *lm = az_lm_copy(az, original);
    const az_documents *text = small_stories(az, 50, 40);
    for (int i = 0; i < n; i++) {
        const az_method *method = az_method_by_name(steps[i][0]);
        void *settings = az_alloc(az, method->options_size);
        az_compress_job job = {.lm = lm, .original = original, .calibration = text};
        const bool parsed = az_options_parse(az, method->options, steps[i][0], steps[i][1], settings);
        if (!parsed || !method->compress(az, settings, &job)) return NULL;
    }
    return lm;
}

static az_weight *query(az_lm *lm, int block)
{
    return lm->block[block].q.weight;
}

Test(dsnot, as_a_step_behind_wanda_it_repairs_wandas_mask)
{
    az_ctx *az = az_open(NULL);
    const az_lm *original = small_lm(az);
    const char *own = az_format_text(az, "pattern=2:4,skip=none,%s", calibration);
    const char *wanda[] = {"wanda", az_format_text(az, "pattern=2:4,%s", calibration)};
    const char *dsnot[] = {"dsnot", az_format_text(az, "skip=none,%s", calibration)};
    az_lm *alone = chain(az, original, (const char *const[][2]){{"dsnot", own}}, 1);
    az_lm *pruned = chain(az, original, (const char *const[][2]){{wanda[0], wanda[1]}}, 1);
    az_lm *behind = chain(az, original, (const char *const[][2]){{wanda[0], wanda[1]}, {dsnot[0], dsnot[1]}}, 2);
    cr_assert(alone && behind, "%s", az_error(az));
    /* in the first block both see the same inputs; later blocks differ by what wanda saw */
    cr_assert_eq(matrix_difference(az_weight_decode(az, query(alone, 0)), az_weight_decode(az, query(behind, 0))), 0);
    az_lm_linear **linear, **before;
    const int n = az_lm_linears(az, behind, &linear);
    cr_assert_gt(small_difference(az, pruned, behind), 0);
    az_lm_linears(az, (az_lm *)original, &before);
    for (int i = 0; i < n; i++) {
        const az_tensor *w = az_weight_decode(az, linear[i]->weight), *dense = az_weight_decode(az, before[i]->weight);
        for (int64_t group = 0; group < az_count(w); group += 4) {
            int kept = 0;
            for (int64_t j = group; j < group + 4; j++) {
                kept += az_item(w, j) != 0;
                cr_assert(az_item(w, j) == 0 || az_item(w, j) == az_item(dense, j));
            }
            cr_assert_eq(kept, 2);
        }
    }
    az_close(az);
}

Test(dsnot, behind_sparsegpt_kept_weights_stay_as_they_were_changed)
{
    az_ctx *az = az_open(NULL);
    az_lm *original = small_lm(az);
    const char *sparsegpt = az_format_text(az, "sparsity=0.6,%s", calibration),
               *own = az_format_text(az, "skip=none,cycles=3,%s", calibration);
    az_lm *pruned = chain(az, original, (const char *const[][2]){{"sparsegpt", sparsegpt}}, 1);
    az_lm *behind = chain(az, original, (const char *const[][2]){{"sparsegpt", sparsegpt}, {"dsnot", own}}, 2);
    cr_assert(pruned && behind, "%s", az_error(az));
    const az_tensor *was = az_weight_decode(az, query(pruned, 1)), *is = az_weight_decode(az, query(behind, 1));
    const az_tensor *dense = az_weight_decode(az, query(original, 1));
    int grown = 0, dropped = 0;
    for (int64_t i = 0; i < az_count(is); i++) {
        grown += az_item(was, i) == 0 && az_item(is, i) != 0;
        dropped += az_item(was, i) != 0 && az_item(is, i) == 0;
        if (az_item(is, i) != 0) cr_assert_eq(az_item(is, i), az_item(was, i) != 0 ? az_item(was, i) : az_item(dense, i));
    }
    cr_assert_eq(grown, dropped);
    cr_assert_gt(grown, 0);
    az_close(az);
}

Test(dsnot, skipped_layers_keep_the_start_mask_and_the_report_tells_what_was_done)
{
    az_ctx *az = az_open(NULL);
    az_lm *original = small_lm(az), *lm = az_lm_copy(az, original), *wanda = az_lm_copy(az, original);
    az_report *report = az_report_new(az, "dsnot");
    const az_documents *text = small_stories(az, 50, 40);
    cr_assert(small_compress(az, lm, "dsnot", "sparsity=0.5,nsamples=8,seqlen=32,threshold=0", text, report), "%s", az_error(az));
    cr_assert(small_compress(az, wanda, "wanda", "sparsity=0.5,nsamples=8,seqlen=32", text, NULL));
    const az_weight *gate[] = {lm->block[0].gate.weight, lm->block[0].q.weight};
    for (int i = 0; i < 2; i++) cr_assert_eq(az_weight_sparsity(az, gate[i]), 0.5);
    cr_assert_gt(matrix_difference(az_weight_decode(az, query(lm, 0)), az_weight_decode(az, query(wanda, 0))), 0);
    cr_assert_eq(az_report_value(report, "repair", "swaps"), 0); /* of the last layer, an mlp */
    cr_assert_gt(az_report_value(report, "repair", "error_before"), 0);
    cr_assert_gt(az_report_value(report, "layers", "error"), 0);
    az_close(az);
}

Test(dsnot, in_a_single_sequence_the_variance_within_is_the_whole_variance)
{
    az_ctx *az = az_open(NULL);
    az_lm *original = small_lm(az), *lm[3];
    for (int i = 0; i < 3; i++) {
        lm[i] = az_lm_copy(az, original);
        const char *kind =
            az_format_text(az, "skip=none,threshold=0,cycles=4,nsamples=1,seqlen=32,variance=%s,var_power=%d", i ? "within" : "all", i < 2);
        cr_assert(small_compress(az, lm[i], "dsnot", kind, small_stories(az, 50, 40), NULL), "%s", az_error(az));
    }
    cr_assert_eq(small_difference(az, lm[0], lm[1]), 0);
    cr_assert_gt(small_difference(az, lm[0], lm[2]), 0); /* the variance does matter */
    az_close(az);
}

Test(dsnot, masks_travel_in_files)
{
    az_ctx *az = az_open(NULL);
    az_lm *original = small_lm(az);
    const char *file = test_path(az, test_folder(az), "m.safetensors"), *model = test_path(az, test_folder(az), "sparse.gguf");
    const az_documents *text = small_stories(az, 50, 40);
    az_lm *lm[3];
    for (int i = 0; i < 3; i++) lm[i] = az_lm_copy(az, original);
    const char *first = az_format_text(az, "init=magnitude,sparsity=0.5,skip=none,%s,save_mask=%s", calibration, file);
    cr_assert(small_compress(az, lm[0], "dsnot", first, text, NULL), "%s", az_error(az));
    cr_assert(az_lm_save(az, lm[0], model, NULL), "%s", az_error(az));
    for (int i = 1; i < 3; i++) {
        const char *again = az_format_text(az, "mask=%s,cycles=0,%s", i == 1 ? file : model, calibration);
        cr_assert(small_compress(az, lm[i], "dsnot", again, text, NULL), "%s", az_error(az));
        cr_assert_eq(small_difference(az, lm[0], lm[i]), 0);
    }
    az_close(az);
}

/* Each with the words that its error must contain. */
Test(dsnot, what_cannot_be_done_is_told)
{
    static const char *const cases[][2] = {{"pattern=3:5", "3:5"},
                                           {"sparsity=1", "sparsity"},
                                           {"skip=(", "regular expression"},
                                           {"init=model", "no zeros"},
                                           {"mask=nowhere.safetensors", "nowhere"},
                                           {"init=sparsegpt,damp=0,nsamples=1,seqlen=4", "larger damp"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_not(small_compress(az, small_lm(az), "dsnot", cases[i][0], small_stories(az, 50, 40), NULL), "%s", cases[i][0]);
        cr_assert_not_null(strstr(az_error(az), cases[i][1]), "%s: %s", cases[i][0], az_error(az));
        az_close(az);
    }
}

Test(dsnot, zeros_whose_former_values_are_unknown_are_refused)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const az_documents *text = small_stories(az, 50, 40);
    cr_assert(small_compress(az, lm, "magnitude", "sparsity=0.5", text, NULL));
    cr_assert_not(small_compress(az, lm, "dsnot", calibration, text, NULL));
    cr_assert(strstr(az_error(az), "mask=FILE") && az_status_of(az) == AZ_BAD_INPUT, "%s", az_error(az));
    az_close(az);
}
