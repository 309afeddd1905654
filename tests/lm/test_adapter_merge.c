/* Adapters put into weights of every kind, taken out again, and added up. */
#include "support/tiny_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { TOKENS = 12 };

static az_lm *base(az_ctx *az)
{
    az_lm_config config = tiny_config();
    config.width = 32, config.heads = 4, config.kv_heads = 2, config.head_dim = 8, config.hidden = 64;
    config.tied = false;
    return tiny_lm(az, az_lm_arch_by_name("llama"), &config, 3);
}

static void fill(az_ctx *az, az_adapter *adapter, double scale, uint64_t seed)
{
    az_lm_parameter *p;
    const int n = az_adapter_parameters(az, adapter, &p);
    for (int i = 0; i < n; i++) {
        const az_tensor *old = *p[i].slot;
        const double shift = strstr(p[i].name, "magnitude") ? 1 : 0;
        az_copy_into(az, *p[i].slot, az_affine(az, az_randn(az, AZ_F32, old->rank, old->shape, scale, seed, (uint64_t)i), 1, shift));
    }
}

static az_adapter *adapter_of(az_ctx *az, const az_lm *lm, const char *targets, int64_t rank, bool dora, uint64_t seed)
{
    const az_adapter_how how = {.rank = rank, .alpha = 4, .dora = dora, .targets = targets};
    az_adapter *adapter = az_adapter_new(az, lm, &how);
    cr_assert_not_null(adapter, "%s", az_error(az));
    fill(az, adapter, 0.1, seed);
    return adapter;
}

static az_tensor *logits(az_ctx *az, const az_lm *lm, const az_adapter *adapter)
{
    const az_lm_batch batch = {.sequences = 1, .token = tiny_tokens(az, TOKENS, 40, 4), .start = (int64_t[]){0, TOKENS}};
    az_tensor *y = az_lm_forward(az, lm, &batch, &(az_lm_run){.adapter = &adapter, .adapters = adapter ? 1 : 0});
    cr_assert_not_null(y, "%s", az_error(az));
    return y;
}

static double distance(const az_tensor *a, const az_tensor *b)
{
    double most = 0, scale = 0;
    cr_assert(az_same_shape(a, b));
    for (int64_t i = 0; i < az_count(a); i++) {
        most = fmax(most, fabs(az_item(a, i) - az_item(b, i)));
        scale = fmax(scale, fabs(az_item(b, i)));
    }
    return most / scale;
}

Test(adapter_merge, gives_what_the_adapter_gave)
{
    for (int dora = 0; dora < 2; dora++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = base(az), *merged = az_lm_copy(az, lm);
        const az_adapter *adapter = adapter_of(az, lm, "all-linear,lm_head,embed_tokens", 3, dora, 5);
        cr_assert(az_adapter_merge(az, merged, adapter, NULL), "%s", az_error(az));
        cr_assert_lt(distance(logits(az, merged, NULL), logits(az, lm, adapter)), 1e-5);
        az_close(az);
    }
}

/* f32 weights come back up to rounding. */
Test(adapter_merge, and_unmerge_restore_the_weights)
{
    for (int dora = 0; dora < 2; dora++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = base(az), *merged = az_lm_copy(az, lm);
        az_adapter *adapter = adapter_of(az, lm, "all-linear", 3, dora, 5);
        for (int i = 0; i < adapter->layers; i++) { /* as they are when the adapter is read beside the base */
            az_adapter_layer *l = &adapter->layer[i];
            az_lm_linear **linear;
            const int n = az_lm_linears(az, lm, &linear);
            for (int k = 0; k < n; k++) {
                if (!l->magnitude || strcmp(linear[k]->name, l->name) != 0) continue;
                az_tensor *v = az_add(az, linear[k]->weight->part[0], az_adapter_delta(az, l));
                l->row_norm = az_sqrt(az, az_sum(az, az_square(az, v), -1, false));
            }
        }
        cr_assert(az_adapter_merge(az, merged, adapter, NULL), "%s", az_error(az));
        cr_assert(az_adapter_unmerge(az, merged, adapter, NULL), "%s", az_error(az));
        az_lm_parameter *p, *q;
        const int n = az_lm_parameters(az, lm, &p);
        az_lm_parameters(az, merged, &q);
        for (int i = 0; i < n; i++)
            for (int64_t j = 0; j < az_count(*p[i].slot); j++)
                cr_assert_float_eq(az_item(*q[i].slot, j), az_item(*p[i].slot, j), 1e-6, "%s", p[i].name);
        az_close(az);
    }
}

/* A tied head stays what it was when the embedding changes. */
Test(adapter_merge, parts_a_tied_head_from_the_embedding)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = tiny_llama(az, 1), *merged = az_lm_copy(az, lm);
    const az_adapter *adapter = adapter_of(az, lm, "embed_tokens", 2, false, 5);
    cr_assert(az_adapter_merge(az, merged, adapter, NULL), "%s", az_error(az));
    cr_assert_not(merged->config.tied);
    cr_assert_lt(distance(logits(az, merged, NULL), logits(az, lm, adapter)), 1e-5);
    az_close(az);
}

/* ---- other formats ---- */

/* Every matrix inside the blocks in a format; n:m formats prune first. */
static void encode(az_ctx *az, az_lm *lm, const char *format)
{
    az_lm_linear **linear;
    const int n = az_lm_linears(az, lm, &linear);
    for (int i = 0; i < n; i++) {
        az_weight *w = linear[i]->weight;
        if (strncmp(format, "nm_", 3) == 0) {
            const az_tensor *score = az_abs(az, w->part[0]);
            w = az_mask_apply(az, w, az_mask_lowest(az, score, (az_mask_how){.pattern = {2, 4}}));
        }
        az_weight *made;
        if (strcmp(format, "lowrank") == 0) {
            az_tensor *u = az_randn(az, AZ_F32, 2, (int64_t[]){w->rows, 6}, 0.2, 1, (uint64_t)i);
            az_tensor *v = az_randn(az, AZ_F32, 2, (int64_t[]){6, w->cols}, 0.2, 2, (uint64_t)i);
            made = az_weight_lowrank(az, az_weight_dense(az, u), az_weight_dense(az, v));
        } else {
            made = az_weight_encode(az, w, az_format_by_name(format), NULL);
        }
        cr_assert_not_null(made, "%s", az_error(az));
        az_arena_enter(az, lm->arena);
        linear[i]->weight = az_weight_share(az, made);
        az_arena_leave(az);
    }
}

static const struct {
    const char *format;
    double near; /* merged against beside, relative: what rounding to the format again costs */
    double kept; /* of the change, at least */
} bases[] = {{"f16", 1e-2, 0.999}, {"bf16", 5e-2, 0.999},       {"q8_0", 5e-2, 0.99}, {"q4_0", 0.5, 0.2},
             {"int8", 0.1, 0.98},  {"lowrank", 1e-5, 0.999999}, {"nm_f16", 1, 0.35},  {"bitmap_f32", 1, 0.999999}};

/* Beside a base of any format, W x of the format itself plus the exact low-rank term. */
Test(adapter_merge, adapters_sit_beside_any_format)
{
    for (size_t b = 0; b < sizeof bases / sizeof *bases; b++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = base(az);
        encode(az, lm, bases[b].format);
        const az_adapter *adapter = adapter_of(az, lm, "all-linear", 3, false, 5);
        az_lm *dense = az_lm_copy(az, lm);
        az_lm_linear **linear;
        const int n = az_lm_linears(az, dense, &linear);
        for (int i = 0; i < n; i++) {
            const az_adapter_layer *layer = az_adapter_find(adapter, linear[i]->name);
            az_tensor *sum = az_add(az, az_weight_decode(az, linear[i]->weight), az_adapter_delta(az, layer));
            linear[i]->weight = az_weight_dense(az, sum); /* in full, also where the base has zeros */
        }
        const double far = distance(logits(az, lm, adapter), logits(az, dense, NULL));
        cr_assert_lt(far, 0.1, "%s: %g (products of quantized weights round the activations to bytes)", bases[b].format, far);
        az_close(az);
    }
}

Test(adapter_merge, keeps_the_format_and_the_mask)
{
    for (size_t b = 0; b < sizeof bases / sizeof *bases; b++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = base(az);
        encode(az, lm, bases[b].format);
        const az_adapter *adapter = adapter_of(az, lm, "all-linear", 3, false, 5);
        az_lm *merged = az_lm_copy(az, lm);
        az_report *report = az_report_new(az, NULL);
        cr_assert(az_adapter_merge(az, merged, adapter, report), "%s: %s", bases[b].format, az_error(az));
        az_lm_linear **before, **after;
        const int n = az_lm_linears(az, lm, &before);
        az_lm_linears(az, merged, &after);
        for (int i = 0; i < n; i++) {
            const az_weight *w = before[i]->weight, *v = after[i]->weight;
            cr_assert_str_eq(v->format->name, w->format->name);
            if (az_weight_rank(w) > 0) cr_assert_eq(az_weight_rank(v), az_weight_rank(w) + 3);
            if (az_weight_sparsity(az, w) < 0.25) continue;
            const az_tensor *x = az_weight_decode(az, w), *y = az_weight_decode(az, v);
            for (int64_t j = 0; j < az_count(x); j++) cr_assert(az_item(x, j) != 0 || az_item(y, j) == 0, "%s", w->format->name);
        }
        const double far = distance(logits(az, merged, NULL), logits(az, lm, adapter));
        cr_assert_lt(far, bases[b].near, "%s: %g", bases[b].format, far);
        const double kept = az_report_value(report, "merge", "kept");
        cr_assert(kept >= bases[b].kept && kept <= bases[b].kept + 0.35, "%s: %g", bases[b].format, kept);
        az_close(az);
    }
}

Test(adapter_merge, changes_nothing_where_it_cannot)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = base(az), *copy = az_lm_copy(az, lm);
    az_adapter *adapter = adapter_of(az, lm, "all-linear", 3, false, 5);
    az_f32_mut(adapter->layer[adapter->layers - 1].b)[0] = 1e30f; /* with an entry of A below, an infinity */
    az_f32_mut(adapter->layer[adapter->layers - 1].a)[0] = 1e30f;
    cr_assert_not(az_adapter_merge(az, lm, adapter, NULL));
    cr_assert_eq(az_status_of(az), AZ_NUMERIC);
    az_clear(az);
    cr_assert_eq(distance(logits(az, lm, NULL), logits(az, copy, NULL)), 0);
    az_close(az);
}

/* A change that is smaller than the steps of a format does not survive in it, which the table and a note say. */
Test(adapter_merge, tells_what_a_coarse_format_rounds_away)
{
    static const struct {
        const char *format;
        double least, most;
    } cases[] = {{"f32", 1 - 1e-6, 1}, {"q8_0", 0.9, 1}, {"q4_0", 0, 0.45}, {"nf4", 0, 0.45}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = base(az);
        encode(az, lm, cases[c].format);
        const az_adapter *adapter = adapter_of(az, lm, "q_proj", 2, false, 5);
        az_adapter_layer *last = &adapter->layer[adapter->layers - 1];
        last->scale *= 0.2;
        az_lm *merged = az_lm_copy(az, lm);
        az_report *report = az_report_new(az, NULL);
        cr_assert(az_adapter_merge(az, merged, adapter, report), "%s", az_error(az));
        az_lm_linear **before, **after;
        const int n = az_lm_linears(az, lm, &before);
        az_lm_linears(az, merged, &after);
        int i = 0;
        while (i < n && strcmp(before[i]->name, last->name) != 0) i++;
        const az_tensor *wanted = az_adapter_delta(az, last),
                        *came = az_sub(az, az_weight_decode(az, after[i]->weight), az_weight_decode(az, before[i]->weight));
        double off = 0, size = 0, got = 0, both = 0;
        for (int64_t k = 0; k < az_count(wanted); k++) {
            const double d = az_item(wanted, k), x = az_item(came, k);
            off += (x - d) * (x - d), size += d * d, got += x * x, both += x * d;
        }
        const double kept = az_report_value(report, "merge", "kept");
        cr_assert_float_eq(az_report_value(report, "merge", "error"), sqrt(off / size), 1e-4, "%s", cases[c].format);
        cr_assert_float_eq(az_report_value(report, "merge", "cosine"), got > 0 ? both / sqrt(got * size) : 0, 1e-4, "%s", cases[c].format);
        cr_assert_float_eq(kept, fmax(0, 1 - off / size), 1e-4, "%s", cases[c].format);
        cr_assert(kept >= cases[c].least && kept <= cases[c].most, "%s keeps %g", cases[c].format, kept);
        az_close(az);
    }
}

/* ---- several ---- */

Test(adapter_merge, cat_is_the_sum_of_the_changes)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = base(az);
    const az_adapter *const two[] = {adapter_of(az, lm, "all-linear,lm_head", 2, false, 5),
                                     adapter_of(az, lm, "q_proj,lm_head", 3, false, 6)};
    static const double weight[] = {0.7, -1.5};
    const az_adapter *sum = az_adapter_combine(az, lm, two, weight, 2, AZ_MIX_CAT, 0);
    const az_adapter *svd = az_adapter_combine(az, lm, two, weight, 2, AZ_MIX_SVD, 5);
    cr_assert(sum && svd, "%s", az_error(az));
    for (int i = 0; i < sum->layers; i++) {
        const char *name = sum->layer[i].name;
        az_tensor *expected = NULL;
        for (int k = 0; k < 2; k++) {
            const az_adapter_layer *l = az_adapter_find(two[k], name);
            if (!l) continue;
            az_tensor *d = az_affine(az, az_adapter_delta(az, l), weight[k], 0);
            expected = expected ? az_add(az, expected, d) : d;
        }
        cr_assert_lt(distance(az_adapter_delta(az, &sum->layer[i]), expected), 1e-5, "%s", name);
        cr_assert_lt(distance(az_adapter_delta(az, az_adapter_find(svd, name)), expected), 1e-5, "%s: rank 5 holds all of it", name);
    }
    az_close(az);
}

Test(adapter_merge, linear_adds_the_factors)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = base(az);
    const az_adapter *const two[] = {adapter_of(az, lm, "q_proj", 2, false, 5), adapter_of(az, lm, "q_proj", 2, false, 6)};
    static const double weight[] = {0.5, 2};
    const az_adapter *sum = az_adapter_combine(az, lm, two, weight, 2, AZ_MIX_LINEAR, 0);
    cr_assert_not_null(sum, "%s", az_error(az));
    const az_adapter_layer *x = &two[0]->layer[0], *y = &two[1]->layer[0];
    const double c = sqrt(0.5 * x->scale), d = sqrt(2 * y->scale);
    az_tensor *a = az_add(az, az_affine(az, x->a, c, 0), az_affine(az, y->a, d, 0));
    az_tensor *b = az_add(az, az_affine(az, x->b, c, 0), az_affine(az, y->b, d, 0));
    cr_assert_lt(distance(az_adapter_delta(az, &sum->layer[0]), az_matmul(az, b, a)), 1e-6);
    const az_adapter *const uneven[] = {two[0], adapter_of(az, lm, "q_proj", 3, false, 6)};
    cr_assert_null(az_adapter_combine(az, lm, uneven, weight, 2, AZ_MIX_LINEAR, 0));
    cr_assert(strstr(az_error(az), "equal ranks"), "%s", az_error(az));
    az_close(az);
}
