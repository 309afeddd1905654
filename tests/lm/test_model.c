/* Configurations, the places of a model's tensors, copies and counts. */
#include "support/tiny_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static az_lm_config valid(void)
{
    az_lm_config config = tiny_config();
    az_lm_config_defaults(az_lm_arch_by_name("llama"), &config);
    return config;
}

/* The error's text must name the field. */
static void assert_refused(const az_lm_config *config, const char *field)
{
    az_ctx *az = az_open(NULL);
    cr_assert_not(az_lm_validate(az, az_lm_arch_by_name("llama"), config), "%s", field);
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert(strstr(az_error(az), field), "'%s' does not name %s", az_error(az), field);
    az_close(az);
}

Test(model, an_impossible_configuration_is_refused_by_the_name_of_its_field)
{
    az_lm_config c;
    c = valid(), c.vocabulary = 0, assert_refused(&c, "vocabulary");
    c = valid(), c.width = -1, assert_refused(&c, "width");
    c = valid(), c.blocks = 1 << 20, assert_refused(&c, "blocks");
    c = valid(), c.kv_heads = 3, assert_refused(&c, "kv_heads");
    c = valid(), c.head_dim = INT64_MAX, assert_refused(&c, "head_dim");
    c = valid(), c.rope_dims = 5, assert_refused(&c, "rope_dims");
    c = valid(), c.rope_dims = 8, assert_refused(&c, "rope_dims");
    c = valid(), c.window = -1, assert_refused(&c, "window");
    c = valid(), c.norm_eps = 2, assert_refused(&c, "norm_eps");
    c = valid(), c.norm_eps = 1e-320, assert_refused(&c, "norm_eps");
    c = valid(), c.rope_theta = -1, assert_refused(&c, "rope_theta");
    c = valid(), c.rope_theta = 1e300, assert_refused(&c, "rope_theta"); /* files keep reals in single precision */
    c = valid(), c.attention_scale = 1e-320, assert_refused(&c, "attention_scale");
    c = valid(), c.logit_softcap = 1e-320, assert_refused(&c, "soft caps");
    c = valid(), c.context = (int64_t)1 << 40, assert_refused(&c, "context");
}

Test(model, zero_fields_take_their_defaults)
{
    az_ctx *az = az_open(NULL);
    const az_lm_config config = {.vocabulary = 10, .width = 8, .blocks = 1, .heads = 2, .hidden = 12, .context = 16};
    az_lm *lm = az_lm_new(az, "llama", &config, NULL, 1);
    cr_assert_not_null(lm, "%s", az_error(az));
    cr_assert_eq(lm->config.kv_heads, 2);
    cr_assert_eq(lm->config.head_dim, 4);
    cr_assert_eq(lm->config.rope_dims, 4);
    cr_assert_eq(lm->config.norm_eps, 1e-5);
    cr_assert_eq(lm->config.rope_theta, 10000);
    cr_assert_not(lm->config.tied);
    cr_assert_neq(lm->head.weight, lm->embedding);
    az_close(az);
}

Test(model, an_unknown_architecture_is_an_error_that_lists_the_known_ones)
{
    az_ctx *az = az_open(NULL);
    const az_lm_config config = tiny_config();
    cr_assert_null(az_lm_new(az, "lama", &config, NULL, 0));
    cr_assert(strstr(az_error(az), "'lama'") && strstr(az_error(az), "llama"));
    az_close(az);
}

Test(model, places_carry_names_shapes_and_files_names)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1);
    az_lm_slot *slots;
    const int n = az_lm_slots(az, lm, &slots);
    /* embedding, 2 blocks of 2 norms and 7 matrices with an optional bias each, final norm, head */
    cr_assert_eq(n, 1 + 2 * (2 + 14) + 1 + 1);
    bool seen = false;
    for (int i = 0; i < n; i++) {
        if (strcmp(slots[i].name, "blocks.1.attn.k.weight") != 0) continue;
        seen = true;
        cr_assert_str_eq(slots[i].gguf, "blk.1.attn_k.weight");
        cr_assert_str_eq(slots[i].huggingface, "model.layers.1.self_attn.k_proj.weight");
        cr_assert_eq(slots[i].rows, 2 * 6);
        cr_assert_eq(slots[i].cols, 16);
        cr_assert_eq(slots[i].block, 1);
        cr_assert(slots[i].required);
        cr_assert_eq(slots[i].weight, &lm->block[1].k.weight);
    }
    cr_assert(seen);
    cr_assert_str_eq(slots[0].gguf, "token_embd.weight");
    cr_assert_str_eq(slots[n - 1].gguf, "output.weight");
    az_close(az);
}

Test(model, a_model_without_all_its_tensors_names_those_that_are_missing)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1);
    lm->block[1].attn_norm.weight = NULL;
    lm->block[0].v.weight = NULL;
    cr_assert_not(az_lm_complete(az, lm));
    cr_assert(strstr(az_error(az), "blk.0.attn_v.weight") && strstr(az_error(az), "blk.1.attn_norm.weight"), "%s", az_error(az));
    az_close(az);
}

Test(model, a_tensor_of_the_wrong_shape_is_refused)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1);
    az_lm_slot *slots;
    az_lm_slots(az, lm, &slots);
    cr_assert_not(az_lm_attach_weight(az, lm, &slots[0], az_weight_dense(az, az_zeros(az, AZ_F32, 2, (int64_t[]){40, 15}))));
    cr_assert(strstr(az_error(az), "embed.weight"));
    az_clear(az);
    cr_assert_not(az_lm_attach_vector(az, lm, &slots[1], az_zeros(az, AZ_F32, 1, (int64_t[]){17})));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    az_close(az);
}

/* Parameters of the tiny model by hand: 40 x 16 + 2 (2 x 16 + 24 x 16 + 2 x 12 x 16 + 16 x 24 + 3 x 24 x 16) + 16. */
Test(model, parameters_are_counted_once)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1);
    const int64_t expected = 640 + 2 * (32 + 384 + 384 + 384 + 1152) + 16;
    cr_assert_eq(az_lm_parameter_count(lm), expected);
    cr_assert_eq(az_lm_bytes(lm), 4 * (size_t)expected);
    az_lm_parameter *parameter;
    int64_t sum = 0;
    const int n = az_lm_parameters(az, lm, &parameter);
    for (int i = 0; i < n; i++) sum += az_count(*parameter[i].slot);
    cr_assert_eq(sum, expected);
    az_lm_linear **linears;
    cr_assert_eq(az_lm_linears(az, lm, &linears), 14);
    cr_assert_str_eq(linears[0]->name, "blocks.0.attn.q");
    cr_assert_str_eq(linears[13]->name, "blocks.1.mlp.down");
    az_close(az);
}

Test(model, a_copy_shares_data_but_not_places)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1), *copy = az_lm_copy(az, lm);
    cr_assert_not_null(copy);
    cr_assert_eq(copy->block[0].q.weight->part[0]->data, lm->block[0].q.weight->part[0]->data);
    cr_assert_eq(copy->head.weight, copy->embedding);
    az_weight *before = lm->block[0].q.weight;
    copy->block[0].q.weight = copy->block[1].q.weight;
    cr_assert_eq(lm->block[0].q.weight, before);
    az_lm_free(az, lm);
    cr_assert_eq(az_lm_parameter_count(copy), 5328);
    cr_assert(az_ok(az));
    az_close(az);
}

Test(model, training_copies_are_the_models_own_and_exact)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1), *copy = az_lm_copy(az, lm);
    cr_assert(az_lm_make_trainable(az, copy, AZ_F64));
    cr_assert_eq(copy->head.weight, copy->embedding, "the tie is kept");
    const az_tensor *wide = copy->block[1].down.weight->part[0], *narrow = lm->block[1].down.weight->part[0];
    cr_assert_eq(wide->dtype, AZ_F64);
    cr_assert_eq(copy->final_norm.weight->dtype, AZ_F64);
    for (int64_t i = 0; i < az_count(wide); i++) cr_assert_eq(az_item(wide, i), az_item(narrow, i));
    cr_assert(az_lm_make_trainable(az, lm, AZ_F32));
    cr_assert_neq(lm->block[1].down.weight->part[0]->data, narrow->data);
    az_close(az);
}

Test(model, initial_matrices_have_their_deviation)
{
    az_ctx *az = az_open(NULL);
    const az_lm_config config = {.vocabulary = 512, .width = 64, .blocks = 8, .heads = 4, .hidden = 192, .context = 16};
    az_lm *lm = az_lm_new(az, "llama", &config, NULL, 3);
    const az_tensor *x[2] = {lm->embedding->part[0], lm->block[5].down.weight->part[0]};
    const double deviation[2] = {0.02, 0.02 / 4};
    for (int t = 0; t < 2; t++) {
        const double n = (double)az_count(x[t]);
        double sum = 0, square = 0;
        for (int64_t i = 0; i < az_count(x[t]); i++) sum += az_item(x[t], i), square += az_item(x[t], i) * az_item(x[t], i);
        cr_assert_float_eq(sqrt(square / n), deviation[t], 5 * deviation[t] / sqrt(2 * n));
        cr_assert_float_eq(sum / n, 0, 5 * deviation[t] / sqrt(n));
    }
    az_close(az);
}
