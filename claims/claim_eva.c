/* claim_eva.c - the headlines of EVA (Paischer et al. 2024): at equal total rank, learning rate and batches it learns faster than LoRA, and
 * ranks leave the layers whose input one direction explains. */
#include "claims/claims.h"
#include "claims/comparisons.h"
#include "claims/tuning.h"
#include "tune/eva.h"

#include <string.h>

static bool compare_starts(az_ctx *az, claim_checks *checks, az_lm *lm)
{
    static const char *const ways[] = {"rank=4,alpha=4,rho=1", "rank=4,alpha=4,rho=2", "rank=4,alpha=4,rho=2,scale=whiten"};
    claim_losses lora, eva[3];
    if (!claim_learn(az, checks->report, lm, "lora", "rank=4,alpha=4,targets=all-linear", 2e-3, &lora)) return false;
    for (int i = 0; i < 3; i++)
        if (!claim_learn(az, checks->report, lm, "eva", ways[i], 2e-3, &eva[i])) return false;
    claim_check(checks, "rho=1: half-time loss below LoRA's for 4 of 5 seeds", claim_wins(eva[0].half, lora.half) >= CLAIM_TUNED_SEEDS - 1);
    claim_check(checks, "rho=1: last loss no higher than LoRA's", claim_mean(eva[0].end) <= claim_mean(lora.end));
    claim_check(checks, "rho=2: half-time loss below LoRA's for 4 of 5 seeds", claim_wins(eva[1].half, lora.half) >= CLAIM_TUNED_SEEDS - 1);
    return true;
}

/* ---- ranks ---- */

/* One feature of what q, k and v of a block read becomes a hundred times as large, and their weights for it a hundredth: the model
 * computes the same. */
static void swell(az_ctx *az, az_lm *lm, int block)
{
    enum { FEATURE = 3 };
    const float factor = 100;
    az_lm_block *b = &lm->block[block];
    az_lm_linear *const reader[] = {&b->q, &b->k, &b->v};
    az_arena_enter(az, lm->arena);
    b->attn_norm.weight = az_copy(az, az_cast(az, b->attn_norm.weight, AZ_F32));
    if (b->attn_norm.weight) az_f32_mut(b->attn_norm.weight)[FEATURE] *= factor;
    for (int i = 0; i < 3 && az_ok(az); i++) {
        az_tensor *w = az_weight_decode(az, reader[i]->weight);
        for (int64_t r = 0; w && r < w->shape[0]; r++) az_f32_mut(w)[r * w->shape[1] + FEATURE] /= factor;
        reader[i]->weight = az_weight_dense(az, w);
    }
    az_arena_leave(az);
}

/* Ranks of all linear layers after sharing 4 each, at most 8; places [n] in the order of the forward pass. */
static az_eva_place *ranks_of(az_ctx *az, az_lm *lm, int *n)
{
    az_lm_linear **linear;
    *n = az_lm_linears(az, lm, &linear);
    az_eva_place *place = az_alloc_array(az, (size_t)*n, sizeof *place);
    for (int i = 0; place && i < *n; i++)
        place[i] = (az_eva_place){.name = linear[i]->name, .in = linear[i]->weight->cols, .rank = 4, .directions = 8};
    const az_examples *letters = claim_strings(az, CLAIM_NEW, 1, 6, 2000, 7);
    const az_lm_examples *examples = letters ? az_lm_examples_of(az, lm, letters, &(az_lm_example_options){0}) : NULL;
    const az_eva_how how = {.batch = 8, .max_batches = 500, .min_batches = 1, .tau = 0.99, .answers_only = true};
    az_eva eva;
    if (!place || !az_eva_directions(az, lm, examples, &how, place, *n, &eva)) return NULL;
    return place;
}

static bool compare_ranks(az_ctx *az, claim_checks *checks, az_lm *lm)
{
    enum { SWOLLEN = 1 };
    int n;
    az_lm *swollen = az_lm_copy(az, lm);
    if (!swollen) return false;
    swell(az, swollen, SWOLLEN);
    const az_eva_place *before = ranks_of(az, lm, &n), *after = before ? ranks_of(az, swollen, &n) : NULL;
    if (!after) return false;
    int64_t most = 0, sums[2] = {0}, freed = 0;
    for (int i = 0; i < n; i++) {
        const bool reads =
            strncmp(before[i].name, az_format_text(az, "blocks.%d.attn.", SWOLLEN), 14) == 0 && strchr("qkv", before[i].name[14]) != NULL;
        if (reads && after[i].rank > most) most = after[i].rank;
        if (!reads) freed += after[i].rank - before[i].rank;
        sums[0] += before[i].rank, sums[1] += after[i].rank;
        az_report_row(checks->report, "ranks");
        az_report_text(checks->report, "layer", before[i].name);
        az_report_count(checks->report, "rank", before[i].rank);
        az_report_count(checks->report, "rank_swollen", after[i].rank);
    }
    claim_check(checks, "one direction swollen: q, k and v of that block keep rank 1", most == 1);
    claim_check(checks, "one direction swollen: the ranks go elsewhere", freed > 0 && sums[0] == sums[1]);
    return az_ok(az);
}

static bool run(az_ctx *az, az_report *report)
{
    claim_checks checks = {.report = report};
    az_lm *lm = claim_string_model(az);
    if (!lm || !compare_starts(az, &checks, lm) || !compare_ranks(az, &checks, lm)) return false;
    return claim_decide(az, report, checks.asked, checks.held);
}

const az_claim az_claim_eva = {
    .name = "eva",
    .statement = "at equal total rank, learning rate and batches, EVA's loss at half-time is below LoRA's, and a layer whose input one "
                 "direction explains gives its ranks to others",
    .run = run,
};
