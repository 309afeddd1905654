/* EVA as a method: its directions against one decomposition of all inputs, groups of layers, ranks, starts, bad input. */
#include "support/folder.h"
#include "support/matrix.h"
#include "support/small_lm.h"
#include "support/small_tune.h"
#include "tune/eva.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { EXAMPLES = 24 };

static az_lm_examples *letters(az_ctx *az, az_lm *lm)
{
    return az_lm_examples_of(az, lm, claim_strings(az, CLAIM_NEW, 1, 4, EXAMPLES, 5), &(az_lm_example_options){0});
}

/* Every linear layer with rank r, following at most `most` directions. */
static az_eva_place *places(az_ctx *az, az_lm *lm, int64_t rank, int64_t most, int *n)
{
    az_lm_linear **linear;
    *n = az_lm_linears(az, lm, &linear);
    az_eva_place *place = az_alloc_array(az, (size_t)*n, sizeof *place);
    for (int i = 0; i < *n; i++)
        place[i] = (az_eva_place){.name = linear[i]->name, .in = linear[i]->weight->cols, .rank = rank, .directions = most};
    return place;
}

/* Rows that were seen so far. */
typedef struct seen_rows {
    az_tensor *x; /* [most, width] */
    int64_t n;
} seen_rows;

static az_tensor *gather(az_ctx *az, const char *site, az_tensor *x, void *user)
{
    (void)site;
    seen_rows *seen = user;
    az_copy_into(az, az_slice(az, seen->x, 0, seen->n, x->shape[0]), x);
    seen->n += x->shape[0];
    return x;
}

/* Inputs of block 1's MLP over all examples, one after the other, centred. */
static az_tensor *all_inputs(az_ctx *az, az_lm *lm, const az_lm_examples *examples)
{
    seen_rows seen = {.x = az_new2(az, AZ_F32, 40 * EXAMPLES, lm->config.width)};
    for (int64_t i = 0; i < examples->count; i++) {
        const az_lm_lesson lesson = az_lm_lesson_of_examples(az, examples, &i, 1);
        const az_lm_hook hook = {.site = "blocks.1.mlp.gate.in", .see = gather, .user = &seen};
        az_lm_forward(az, lm, &lesson.batch, &(az_lm_run){.hooks = &hook, .n_hooks = 1, .output = AZ_HIDDEN});
    }
    const az_tensor *x = az_slice(az, seen.x, 0, 0, seen.n);
    return az_sub(az, x, az_mean(az, x, 0, true));
}

Test(eva, one_round_is_the_decomposition_of_all_inputs)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const az_lm_examples *examples = letters(az, lm);
    int n;
    az_eva_place *place = places(az, lm, 32, 48, &n);
    const az_eva_how how = {.batch = 8, .max_batches = EXAMPLES / 8, .min_batches = 1, .tau = 1};
    az_eva eva;
    cr_assert(az_eva_directions(az, lm, examples, &how, place, n, &eva), "%s", az_error(az));
    const az_eva_place *gate = NULL;
    for (int i = 0; i < n; i++)
        if (strcmp(place[i].name, "blocks.1.mlp.gate") == 0) gate = &place[i];
    const az_pca *pca = eva.input[gate->input].pca;
    az_tensor *s, *x = all_inputs(az, lm, examples);
    az_svd(az, x, NULL, &s, NULL);
    cr_assert_eq(pca->components, 32, "no more directions than features");
    cr_assert_eq(pca->rows, x->shape[0]);
    cr_assert_leq(matrix_difference(pca->values, az_cast(az, s, AZ_F64)), 1e-4 * az_item(s, 0));
    az_close(az);
}

Test(eva, layers_that_read_the_same_share_directions)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    int n;
    az_eva_place *place = places(az, lm, 3, 6, &n);
    const az_eva_how how = {.batch = 8, .max_batches = 40, .min_batches = 1, .tau = 0.9};
    az_eva eva;
    cr_assert(az_eva_directions(az, lm, letters(az, lm), &how, place, n, &eva), "%s", az_error(az));
    cr_assert_eq(n, 14);
    cr_assert_eq(eva.inputs, 8);
    static const int input[7] = {0, 0, 0, 1, 2, 2, 3};
    int64_t sum = 0;
    for (int i = 0; i < n; i++) {
        cr_assert_eq(place[i].input, 4 * (i / 7) + input[i % 7]);
        cr_assert_leq(place[i].rank, 6);
        sum += place[i].rank;
        for (int j = 0; j < i; j++)
            if (place[j].input == place[i].input) cr_assert_geq(place[j].rank, place[i].rank, "the first has most");
    }
    cr_assert_eq(sum, 3 * n);
    place = places(az, lm, 3, 3, &n);
    cr_assert(az_eva_directions(az, lm, letters(az, lm), &how, place, n, &eva), "%s", az_error(az));
    for (int i = 0; i < n; i++) cr_assert_eq(place[i].rank, 3, "no room to share");
    az_close(az);
}

/* A feature of what q, k and v read that is far larger than all others leaves them one direction, and others their ranks. */
Test(eva, ranks_leave_layers_that_one_direction_explains)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    az_f32_mut(lm->block[1].attn_norm.weight)[3] *= 100;
    int n;
    az_eva_place *place = places(az, lm, 3, 6, &n);
    const az_eva_how how = {.batch = 8, .max_batches = 40, .min_batches = 1, .tau = 0.99};
    az_eva eva;
    cr_assert(az_eva_directions(az, lm, letters(az, lm), &how, place, n, &eva), "%s", az_error(az));
    int64_t rest = 0;
    for (int i = 0; i < n; i++) {
        if (i >= 7 && i < 10)
            cr_assert_eq(place[i].rank, 1, "%s", place[i].name);
        else
            rest += place[i].rank;
    }
    cr_assert_eq(rest, 3 * n - 3);
    az_close(az);
}

Test(eva, training_starts_at_the_model_itself)
{
    static const char *const ways[] = {"rank=3,alpha=6", "rank=3,alpha=6,rho=1,svd=fast",
                                       "rank=3,alpha=6,scale=whiten,no-label_mask,skip_bos", "rank=3,scale=singular,metric=max",
                                       "rank=3,dora"};
    az_ctx *az = az_open(NULL);
    for (int which = 0; which < SMALL_BASES; which++) {
        az_lm *lm = small_base(az, which);
        const az_adapter *adapter = small_tune(az, lm, "eva", ways[which], "steps=1,lr=0");
        cr_assert_not_null(adapter, "%s: %s", ways[which], az_error(az));
        const double change = matrix_difference(small_logits(az, lm, adapter), small_logits(az, lm, NULL));
        cr_assert_leq(change, which == 4 ? 1e-5 : 0, "%s", small_bases[which]); /* magnitudes divide and multiply again */
        int64_t ranks = 0;
        for (int i = 0; i < adapter->layers; i++) {
            const az_adapter_layer *layer = &adapter->layer[i];
            ranks += layer->rank;
            cr_assert_float_eq(layer->scale, which < 3 ? 2 : 1 / 3.0, 1e-12);
            if (which < 2) cr_assert_leq(matrix_orthonormality(az, az_transpose(az, layer->a)), 1e-5);
        }
        cr_assert_eq(ranks, 3 * 14);
        cr_assert_not_null(small_tune(az, lm, "eva", ways[which], "steps=3,batch=4"), "%s", az_error(az));
    }
    az_close(az);
}

/* By plain variance one block's large inputs take all ranks; the other layers get no adapter. */
Test(eva, layers_without_a_rank_are_left_alone)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    for (int i = 0; i < 32; i++) az_f32_mut(lm->block[1].attn_norm.weight)[i] *= 100;
    const az_adapter *adapter = small_tune(az, lm, "eva", "rank=1,rho=4,metric=raw,alpha=3", "steps=2,batch=4");
    cr_assert_not_null(adapter, "%s", az_error(az));
    cr_assert_lt(adapter->layers, 14);
    int64_t ranks = 0;
    for (int i = 0; i < adapter->layers; i++) {
        ranks += adapter->layer[i].rank;
        cr_assert_float_eq(adapter->layer[i].scale, 3, 1e-12);
    }
    cr_assert_eq(ranks, 14);
    cr_assert_eq(az_adapter_find(adapter, "blocks.1.attn.q")->rank, 4);
    cr_assert_null(az_adapter_find(adapter, "blocks.0.attn.q"));
    az_close(az);
}

/* Rows that were kept start the same training; layers without any in the file start as LoRA does. */
Test(eva, starts_are_read_as_they_were_written)
{
    az_ctx *az = az_open(NULL);
    const char *path = test_path(az, test_folder(az), "eva.safetensors"), *settings = "steps=4,batch=4,lr=1e-2";
    az_lm *lm = small_lm(az);
    lm->block[1].attn_norm.weight = az_copy(az, lm->block[1].attn_norm.weight);
    az_f32_mut(lm->block[1].attn_norm.weight)[3] *= 100; /* ranks differ */
    const az_adapter *found = small_tune(az, lm, "eva", az_format_text(az, "rank=2,targets=attn.q,keep=%s", path), settings);
    const az_adapter *read = small_tune(az, lm, "eva", az_format_text(az, "rank=2,targets=attn.q,state=%s", path), settings);
    cr_assert(found && read, "%s", az_error(az));
    cr_assert_eq(matrix_difference(small_logits(az, lm, found), small_logits(az, lm, read)), 0);
    cr_assert_eq(found->layer[0].rank, 3);
    const az_adapter *more = small_tune(az, lm, "eva", az_format_text(az, "rank=2,state=%s", path), settings);
    cr_assert_not_null(more, "%s", az_error(az));
    cr_assert_eq(more->layers, 14);
    cr_assert_eq(az_adapter_find(more, "blocks.0.attn.q")->rank, 3);
    cr_assert_eq(az_adapter_find(more, "blocks.0.attn.k")->rank, 2);
    cr_assert_null(small_tune(az, lm, "eva", az_format_text(az, "targets=attn.k,state=%s", path), settings));
    cr_assert_not_null(strstr(az_error(az), "no tensor belongs to a layer"), "%s", az_error(az));
    az_clear(az);
    cr_assert_null(
        small_tune(az, lm, "eva", az_format_text(az, "targets=attn.q,state=%s", test_path(az, test_folder(az), "none")), settings));
    az_close(az);
}

Test(eva, refuses_what_leaves_too_few_rows)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    cr_assert_null(small_tune(az, lm, "eva", "rank=16,svd_batch=1,max_batches=3", "steps=1"));
    cr_assert_not_null(strstr(az_error(az), "never had 32 rows in a batch"), "%s", az_error(az));
    cr_assert_not_null(strstr(az_error(az), "no-label_mask"), "%s", az_error(az));
    az_clear(az);
    cr_assert_null(small_tune(az, lm, "eva", "rank=2,targets=embed_tokens", "steps=1"));
    cr_assert_not_null(strstr(az_error(az), "not the embedding"), "%s", az_error(az));
    az_close(az);
}
