/* Ranks by explained variance against all ways to share a budget. */
#include "tune/eva.h"

#include "adze/base.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { LAYERS = 4, MOST = 5 };

static void shares(double share[LAYERS][MOST], uint64_t seed)
{
    az_rng rng = az_rng_at(seed, 1);
    for (int i = 0; i < LAYERS; i++) {
        double s = 1;
        for (int k = 0; k < MOST; k++) share[i][k] = s *= az_uniform(&rng);
    }
}

static double explained(const double share[LAYERS][MOST], const int64_t *rank)
{
    double sum = 0;
    for (int i = 0; i < LAYERS; i++)
        for (int64_t k = 0; k < rank[i]; k++) sum += share[i][k];
    return sum;
}

static double best_of_all(const double share[LAYERS][MOST], int64_t budget)
{
    double best = 0;
    int64_t rank[LAYERS];
    for (int code = 0; code < (MOST + 1) * (MOST + 1) * (MOST + 1) * (MOST + 1); code++) {
        int64_t sum = 0;
        for (int i = 0, left = code; i < LAYERS; i++, left /= MOST + 1) sum += rank[i] = left % (MOST + 1);
        if (sum == budget) best = fmax(best, explained(share, rank));
    }
    return best;
}

Test(eva_ranks, no_other_ranks_explain_more)
{
    az_ctx *az = az_open(NULL);
    for (uint64_t seed = 0; seed < 20; seed++) {
        double share[LAYERS][MOST];
        az_eva_layer layer[LAYERS];
        int64_t rank[LAYERS], sum = 0;
        shares(share, seed);
        for (int i = 0; i < LAYERS; i++) layer[i] = (az_eva_layer){MOST, share[i]};
        cr_assert(az_eva_ranks(az, layer, LAYERS, 10, rank));
        for (int i = 0; i < LAYERS; i++) sum += rank[i];
        cr_assert_eq(sum, 10);
        cr_assert_float_eq(explained((const double(*)[MOST])share, rank), best_of_all((const double(*)[MOST])share, 10), 1e-15);
    }
    az_close(az);
}

Test(eva_ranks, equal_shares_go_to_earlier_layers)
{
    az_ctx *az = az_open(NULL);
    const double same[] = {0.5, 0.25, 0.125}, less[] = {0.5, 0.2, 0.1};
    const az_eva_layer layer[] = {{3, less}, {3, same}, {3, same}};
    int64_t rank[3];
    cr_assert(az_eva_ranks(az, layer, 3, 4, rank));
    cr_assert_arr_eq(rank, ((int64_t[]){1, 2, 1}), sizeof rank);
    cr_assert(az_eva_ranks(az, layer, 3, 100, rank));
    cr_assert_arr_eq(rank, ((int64_t[]){3, 3, 3}), sizeof rank);
    az_close(az);
}
