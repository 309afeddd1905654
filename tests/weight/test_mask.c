/* Masks by brute force: every selection is compared with one that sorts. */
#include "adze/weight.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Scores with many ties (few distinct values) or none. */
static az_tensor *scores(az_ctx *az, int64_t rows, int64_t cols, bool ties)
{
    az_tensor *x = az_randn(az, AZ_F32, 2, (const int64_t[]){rows, cols}, 1, 3, az_stream("scores", (uint64_t)ties));
    for (int64_t i = 0; ties && i < rows * cols; i++) az_f32_mut(x)[i] = roundf(az_f32(x)[i]);
    return x;
}

typedef struct entry {
    float score;
    int position;
} entry;

static int by_score(const void *left, const void *right)
{
    const entry *a = left, *b = right;
    return a->score != b->score ? (a->score < b->score ? -1 : 1) : a->position - b->position;
}

/* keep = 0 at the first `drop` entries in the order of (score, position). */
static void sorted_drop(const float *score, int n, int drop, unsigned char *keep)
{
    entry *order = malloc((size_t)n * sizeof *order);
    for (int i = 0; i < n; i++) order[i] = (entry){score[i], i};
    qsort(order, (size_t)n, sizeof *order, by_score);
    memset(keep, 1, (size_t)n);
    for (int i = 0; i < drop; i++) keep[order[i].position] = 0;
    free(order);
}

Test(mask, rows_drop_their_lowest)
{
    az_ctx *az = az_open(NULL);
    const double shares[] = {0, 0.1, 0.5, 0.77, 1};
    for (int s = 0; s < 5; s++)
        for (int64_t cols = 1; cols < 200; cols = cols * 3 + 1)
            for (int ties = 0; ties < 2; ties++) {
                az_tensor *x = scores(az, 5, cols, ties);
                az_tensor *mask = az_mask_lowest(az, x, (az_mask_how){.share = shares[s], .scope = AZ_PER_ROW});
                cr_assert(az_ok(az), "%s", az_error(az));
                unsigned char want[200];
                for (int r = 0; r < 5; r++) {
                    sorted_drop(az_f32(x) + r * cols, (int)cols, (int)floor((double)cols * shares[s]), want);
                    cr_assert_arr_eq((unsigned char *)mask->data + r * cols, want, (size_t)cols, "share %g of %d", shares[s], (int)cols);
                }
            }
    az_close(az);
}

Test(mask, a_matrix_drops_up_to_its_threshold)
{
    az_ctx *az = az_open(NULL);
    for (int ties = 0; ties < 2; ties++)
        for (int step = 0; step <= 10; step++) {
            az_tensor *x = scores(az, 13, 37, ties);
            const int n = 13 * 37, at = (int)floor(n * (step / 10.0)), drop = step == 0 ? 0 : at < n ? at + 1 : n;
            az_tensor *mask = az_mask_lowest(az, x, (az_mask_how){.share = step / 10.0, .scope = AZ_PER_MATRIX});
            unsigned char want[13 * 37];
            sorted_drop(az_f32(x), n, drop, want);
            cr_assert_arr_eq(mask->data, want, sizeof want, "share %g, ties %d", step / 10.0, ties);
        }
    az_close(az);
}

/* A matrix of equal scores must not lose everything. */
Test(mask, ties_do_not_run_away)
{
    az_ctx *az = az_open(NULL);
    az_tensor *mask =
        az_mask_lowest(az, az_zeros(az, AZ_F32, 2, (const int64_t[]){8, 10}), (az_mask_how){.share = 0.5, .scope = AZ_PER_MATRIX});
    int kept = 0;
    for (int i = 0; i < 80; i++) kept += ((unsigned char *)mask->data)[i];
    cr_assert_eq(kept, 80 - 41);
    az_close(az);
}

Test(mask, signs_and_zeros_are_ordered_as_numbers)
{
    az_ctx *az = az_open(NULL);
    float row[40];
    for (int i = 0; i < 40; i++) row[i] = i % 2 ? 0.0f : -0.0f;
    row[7] = -INFINITY, row[9] = INFINITY, row[11] = -1e-40f, row[13] = 1e-40f, row[15] = -3;
    az_tensor *x = az_from(az, AZ_F32, 2, (const int64_t[]){1, 40}, row);
    az_tensor *mask = az_mask_lowest(az, x, (az_mask_how){.share = 5 / 40.0, .scope = AZ_PER_ROW});
    for (int i = 0; i < 40; i++)
        cr_assert_eq(((unsigned char *)mask->data)[i], !(i == 7 || i == 11 || i == 15 || i == 0 || i == 1), "at %d", i);
    az_close(az);
}

Test(mask, patterns_keep_n_of_every_m)
{
    az_ctx *az = az_open(NULL);
    const az_pattern patterns[] = {{2, 4}, {1, 4}, {4, 8}, {4, 4}, {1, 3}, {16, 48}};
    for (int p = 0; p < 6; p++)
        for (int ties = 0; ties < 2; ties++) {
            const int n = patterns[p].n, m = patterns[p].m;
            az_tensor *x = scores(az, 6, 3 * m, ties);
            az_tensor *mask = az_mask_lowest(az, x, (az_mask_how){.pattern = patterns[p]});
            cr_assert(az_mask_check(az, mask, patterns[p]), "%s", az_error(az));
            for (int g = 0; g < 6 * 3; g++) {
                unsigned char want[48];
                sorted_drop(az_f32(x) + g * m, m, m - n, want);
                cr_assert_arr_eq((unsigned char *)mask->data + g * m, want, (size_t)m, "%d:%d group %d", n, m, g);
            }
        }
    az_close(az);
}

Test(mask, the_first_broken_group_is_named)
{
    az_ctx *az = az_open(NULL);
    az_tensor *mask = az_zeros(az, AZ_U8, 2, (const int64_t[]){4, 12});
    unsigned char *keep = mask->data;
    cr_assert(az_mask_check(az, mask, (az_pattern){2, 4}));
    keep[2 * 12 + 4] = keep[2 * 12 + 6] = keep[2 * 12 + 7] = 1;
    cr_assert(!az_mask_check(az, mask, (az_pattern){2, 4}));
    cr_assert_not_null(strstr(az_error(az), "row 2"), "%s", az_error(az));
    cr_assert_not_null(strstr(az_error(az), "group 1"), "%s", az_error(az));
    az_close(az);
}

static void refused(az_ctx *az, const az_tensor *x, az_mask_how how, const char *why)
{
    cr_assert_null(az_mask_lowest(az, x, how));
    cr_assert_not_null(strstr(az_error(az), why), "%s", az_error(az));
    az_clear(az);
}

Test(mask, what_cannot_be_masked_is_refused)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = scores(az, 3, 10, false);
    refused(az, x, (az_mask_how){.pattern = {2, 4}}, "[3, 10]");
    refused(az, x, (az_mask_how){.pattern = {5, 4}}, "5:4");
    refused(az, x, (az_mask_how){.pattern = {0, 5}}, "0:5");
    refused(az, x, (az_mask_how){.share = 1.5}, "1.5");
    refused(az, x, (az_mask_how){.share = NAN}, "nan");
    az_f32_mut(x)[25] = NAN;
    refused(az, x, (az_mask_how){.share = 0.5}, "row 2, column 5");
    az_close(az);
}

Test(mask, a_masked_weight_has_zeros_where_the_mask_has)
{
    az_ctx *az = az_open(NULL);
    az_tensor *x = scores(az, 4, 64, false);
    az_weight *q = az_weight_encode(az, az_weight_dense(az, x), az_format_by_name("q8_0"), NULL);
    az_tensor *mask = az_mask_lowest(az, x, (az_mask_how){.share = 0.25});
    az_weight *masked = az_mask_apply(az, q, mask);
    cr_assert(az_weight_is_trainable(masked));
    const float *y = az_f32(masked->part[0]), *full = az_f32(az_weight_decode(az, q));
    for (int i = 0; i < 4 * 64; i++) cr_assert_eq(y[i], ((unsigned char *)mask->data)[i] ? full[i] : 0);
    cr_assert_null(az_mask_apply(az, q, az_zeros(az, AZ_U8, 2, (const int64_t[]){4, 32})));
    cr_assert_not_null(strstr(az_error(az), "[4, 64]"), "%s", az_error(az));
    az_close(az);
}

Test(mask, a_pattern_is_found_in_a_mask_that_holds_to_it)
{
    az_ctx *az = az_open(NULL);
    const az_tensor *score = az_rand(az, AZ_F32, 2, (int64_t[]){40, 48}, 0, 1, 3, 0);
    const az_pattern patterns[] = {{1, 2}, {2, 4}, {1, 4}, {3, 4}, {4, 8}, {8, 16}};
    for (int i = 0; i < 6; i++) {
        const az_pattern found = az_mask_pattern(az_mask_lowest(az, score, (az_mask_how){.pattern = patterns[i]}));
        cr_assert(found.n == patterns[i].n && found.m == patterns[i].m, "%d:%d", found.n, found.m);
    }
    const az_mask_how plain = {.share = 0.5, .scope = AZ_PER_ROW}, none = {.share = 0, .scope = AZ_PER_ROW};
    cr_assert_eq(az_mask_pattern(az_mask_lowest(az, score, plain)).m, 0);
    cr_assert_eq(az_mask_pattern(az_mask_lowest(az, score, none)).m, 0);
    az_close(az);
}
