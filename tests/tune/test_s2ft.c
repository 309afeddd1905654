/* S2FT: reordering changes nothing, gradients are slices of the full ones, ways of training agree, the export is exact, memory is saved. */
#include "support/folder.h"
#include "support/matrix.h"
#include "support/small_lm.h"
#include "support/small_tune.h"
#include "support/tiny_lm.h"
#include "tune/s2ft.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* ---- orders ---- */

static int32_t *random_order(az_ctx *az, int64_t n, uint64_t seed)
{
    int64_t *wide = az_alloc_array(az, (size_t)n, sizeof *wide);
    int32_t *order = az_alloc_array(az, (size_t)n, sizeof *order);
    for (int64_t i = 0; i < n; i++) wide[i] = i;
    az_rng rng = az_rng_at(seed, 1);
    az_shuffle(&rng, wide, n);
    for (int64_t i = 0; i < n; i++) order[i] = (int32_t)wide[i];
    return order;
}

Test(s2ft, heads_and_channels_may_change_places)
{
    static const char *const architecture[] = {"llama", "qwen2", "gpt2"};
    for (int i = 0; i < 3; i++) {
        az_ctx *az = az_open(NULL);
        az_lm_config config = tiny_config();
        az_lm *lm = tiny_lm(az, az_lm_arch_by_name(architecture[i]), &config, 4), *moved = az_lm_copy(az, lm);
        for (int b = 0; b < config.blocks; b++)
            cr_assert(az_lm_permute_channels(az, moved, b, random_order(az, config.hidden, 5)) &&
                          az_lm_permute_heads(az, moved, b, random_order(az, config.kv_heads, 6 + (uint64_t)b)),
                      "%s", az_error(az));
        const az_lm_batch batch = {.sequences = 1, .token = tiny_tokens(az, 12, 40, 2), .start = (int64_t[]){0, 12}};
        cr_assert_lt(matrix_difference(az_lm_forward(az, moved, &batch, NULL), az_lm_forward(az, lm, &batch, NULL)), 2e-5, "%s",
                     architecture[i]);
        cr_assert_not(az_lm_permute_channels(az, moved, 0, (int32_t[24]){1, 1}), "an order has every channel once");
        az_close(az);
    }
}

/* ---- gradients ---- */

Test(s2ft, gradients_are_slices_of_those_of_full_tuning)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    cr_assert(az_lm_make_trainable(az, lm, AZ_F32));
    az_adapter *adapter = az_adapter_empty(az, "s2", "LORA");
    const int32_t columns[] = {3, 17, 40}, rows[] = {0, 9};
    az_adapter_layer *down = az_adapter_add_layer(az, lm, adapter, "blocks.1.mlp.down", 3, 3);
    down->from = az_from(az, AZ_I32, 1, (int64_t[]){3}, columns);
    down->a = NULL;
    az_adapter_layer *v = az_adapter_add_layer(az, lm, adapter, "blocks.0.attn.v", 2, 2);
    v->to = az_from(az, AZ_I32, 1, (int64_t[]){2}, rows);
    v->b = NULL;
    down = az_adapter_find(adapter, "blocks.1.mlp.down");
    const az_lm_parameter parts[2] = {{.name = "down", .slot = &down->b}, {.name = "v", .slot = &v->a}};
    const az_lm_parameter whole[2] = {{.name = "down", .slot = &lm->block[1].down.weight->part[0]},
                                      {.name = "v", .slot = &lm->block[0].v.weight->part[0]}};
    const az_lm_sequences text = {.count = 2, .length = 6, .token = (int32_t[]){3, 270, 5, 9, 130, 2, 11, 97, 98, 99, 4, 8}};
    az_lm_objective objective = {.lm = lm, .lesson = az_lm_lesson_of(az, &text, 0, 2), .scale = 0.1};
    az_tensor *full[2], *part[2];
    cr_assert(az_lm_gradient(az, &objective, whole, 2, full, NULL));
    for (int twice = 0; twice < 2; twice++) {
        objective.run = (az_lm_run){.adapter = (const az_adapter *const *)&adapter, .adapters = 1, .checkpoint = twice};
        cr_assert(az_lm_gradient(az, &objective, parts, 2, part, NULL), "%s", az_error(az));
        cr_assert_lt(matrix_difference(part[0], az_gather_columns(az, full[0], down->from)), 1e-6);
        cr_assert_lt(matrix_difference(part[1], az_gather(az, full[1], v->to)), 1e-6);
    }
    az_close(az);
}

/* ---- ways of training ---- */

static const char *const ratios = "v_ratio=0.5,o_ratio=0.25,u_ratio=0.1,d_ratio=0.2";

static az_lm *tuned_model(az_ctx *az, az_lm *lm, const char *options, const char *settings)
{
    const claim_tuning what = {
        .lm = lm, .method = "s2ft", .options = options, .settings = settings, .train = claim_strings(az, CLAIM_NEW, 1, 4, 40, 1)};
    const az_method *method = az_method_by_name("s2ft");
    void *o = az_alloc(az, method->options_size);
    az_tune_settings s = {0};
    cr_assert(az_options_parse(az, method->options, "s2ft", options, o) && az_options_parse(az, az_tune_options, "tune", settings, &s));
    az_lm *copy = az_lm_copy(az, lm);
    az_tune_job job = {.lm = copy, .train = what.train, .settings = &s, .model = "m", .report = az_report_new(az, NULL)};
    cr_assert(method->tune(az, o, &job), "%s", az_error(az));
    if (job.adapter) cr_assert(az_adapter_merge(az, copy, job.adapter, NULL), "%s", az_error(az));
    return copy;
}

Test(s2ft, changes_beside_and_in_place_and_permuted_agree)
{
    static const char *const optimizers[] = {"optimizer=sgd,lr=0.3", "optimizer=adamw,lr=3e-3"};
    for (int i = 0; i < 2; i++) {
        az_ctx *az = az_open(NULL);
        az_lm *lm = small_lm(az);
        const char *settings = az_format_text(az, "steps=6,batch=4,%s", optimizers[i]);
        az_lm *beside = tuned_model(az, lm, ratios, settings);
        az_lm *inplace = tuned_model(az, lm, az_format_text(az, "%s,mode=inplace", ratios), settings);
        az_lm *permuted = tuned_model(az, lm, az_format_text(az, "%s,layout=permute", ratios), settings);
        cr_assert_gt(small_difference(az, beside, lm), 5e-3);
        cr_assert_lt(small_difference(az, beside, inplace), 5e-4, "%s", optimizers[i]);
        cr_assert_lt(small_difference(az, beside, permuted), 5e-4, "%s", optimizers[i]);
        az_close(az);
    }
}

Test(s2ft, touches_only_what_was_chosen)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az),
          *after = tuned_model(az, lm, "d_ratio=0.25,scope=layer,mode=inplace", "steps=3,batch=4,lr=1e-2,weight_decay=0.5");
    az_lm_linear **x, **y;
    const int n = az_lm_linears(az, lm, &x);
    az_lm_linears(az, after, &y);
    for (int i = 0; i < n; i++) {
        const az_tensor *a = az_weight_decode(az, x[i]->weight), *b = az_weight_decode(az, y[i]->weight);
        const int64_t rows = a->shape[0], cols = a->shape[1];
        int64_t changed = 0;
        for (int64_t c = 0; c < cols; c++) {
            bool any = false;
            for (int64_t r = 0; r < rows; r++) any = any || az_item(a, r * cols + c) != az_item(b, r * cols + c);
            changed += any;
        }
        cr_assert_eq(changed, strstr(x[i]->name, "down") ? cols / 4 : 0, "%s", x[i]->name);
    }
    az_close(az);
}

Test(s2ft, is_exported_as_an_exact_adapter)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const az_adapter *made = small_tune(az, lm, "s2ft", ratios, "steps=6,batch=4,lr=1e-2");
    cr_assert_not_null(made, "%s", az_error(az));
    const char *folder = test_folder(az);
    cr_assert(az_adapter_write(az, lm, made, folder, NULL, AZ_F32), "%s", az_error(az));
    const az_adapter *read = az_adapter_read(az, lm, folder);
    cr_assert_not_null(read, "%s", az_error(az));
    const az_adapter_layer *down = az_adapter_find(read, "blocks.0.mlp.down");
    const az_adapter_layer *up = az_adapter_find(read, "blocks.0.mlp.up");
    cr_assert(down && down->from, "one-hot rows are known again as an index");
    cr_assert(up && up->to && !up->from, "and so are one-hot columns");
    cr_assert_lt(matrix_difference(small_logits(az, lm, read), small_logits(az, lm, made)), 1e-5);
    az_lm *merged = az_lm_copy(az, lm);
    cr_assert(az_adapter_merge(az, merged, read, NULL));
    cr_assert_lt(matrix_difference(small_logits(az, merged, NULL), small_logits(az, lm, read)), 1e-5);
    az_close(az);
}

/* Adapters that read or write a few numbers each, and one of LoRA, in one batch. */
Test(s2ft, requests_of_a_batch_have_their_own)
{
    enum { EACH = 5, ADAPTERS = 3 };
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const az_adapter *adapter[ADAPTERS] = {small_tune(az, lm, "s2ft", ratios, "steps=6,batch=4,lr=1e-2"), NULL,
                                           small_tune(az, lm, "lora", "rank=2", "steps=6,batch=4,lr=1e-2")};
    const char *folder = test_folder(az);
    cr_assert(adapter[0] && az_adapter_write(az, lm, adapter[0], folder, NULL, AZ_F32), "%s", az_error(az));
    adapter[1] = az_adapter_read(az, lm, folder);
    static const int which[] = {1, 2, -1, 0};
    const az_lm_batch batch = {.sequences = 4, .token = tiny_tokens(az, 4 * EACH, 40, 2), .start = (int64_t[]){0, 5, 10, 15, 20}};
    const az_tensor *mixed = az_lm_forward(az, lm, &batch, &(az_lm_run){.adapter = adapter, .adapters = ADAPTERS, .adapter_of = which});
    cr_assert_not_null(mixed, "%s", az_error(az));
    for (int s = 0; s < 4; s++) {
        const az_lm_batch one = {.sequences = 1, .token = batch.token + s * EACH, .start = (int64_t[]){0, EACH}};
        const az_lm_run alone = {.adapter = which[s] < 0 ? NULL : &adapter[which[s]], .adapters = which[s] >= 0};
        const az_tensor *own = az_contiguous(az, az_slice(az, mixed, 0, s * EACH, EACH));
        cr_assert_lt(matrix_difference(own, az_lm_forward(az, lm, &one, &alone)), 2e-5, "%d", s);
    }
    az_close(az);
}

/* From one adapter to another and back, in the weights where they stand. */
Test(s2ft, adapters_change_places_in_the_weights)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az), *own = az_lm_copy(az, lm);
    cr_assert(az_lm_make_trainable(az, own, AZ_F32));
    const char *folder = test_folder(az);
    const az_adapter *made = small_tune(az, lm, "s2ft", ratios, "steps=6,batch=4,lr=1e-2");
    cr_assert(az_adapter_write(az, lm, made, folder, NULL, AZ_F32), "%s", az_error(az));
    const az_adapter *first = az_adapter_read(az, lm, folder), *second = small_tune(az, lm, "lora", "rank=2", "steps=6,batch=4,lr=1e-2");
    cr_assert(first && second, "%s", az_error(az));
    cr_assert(az_adapter_switch(az, own, NULL, first), "%s", az_error(az));
    cr_assert_lt(matrix_difference(small_logits(az, own, NULL), small_logits(az, lm, first)), 1e-5);
    cr_assert(az_adapter_switch(az, own, first, second));
    cr_assert_lt(matrix_difference(small_logits(az, own, NULL), small_logits(az, lm, second)), 1e-5);
    cr_assert(az_adapter_switch(az, own, second, NULL));
    cr_assert_lt(small_difference(az, own, lm), 1e-6);
    const az_adapter *dora = small_tune(az, lm, "lora", "rank=2,dora", "steps=1");
    cr_assert_not(az_adapter_switch(az, own, NULL, dora));
    cr_assert(strstr(az_error(az), "magnitudes"), "%s", az_error(az));
    az_close(az);
}

/* ---- the choice ---- */

static double norm_of_column(const az_tensor *w, int64_t c)
{
    double sum = 0;
    for (int64_t r = 0; r < w->shape[0]; r++) sum += pow(az_item(w, r * w->shape[1] + c), 2);
    return sqrt(sum);
}

Test(s2ft, chooses_by_score)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const az_tune_settings settings = {0};
    az_tune_job job = {
        .lm = lm, .settings = &settings, .report = az_report_new(az, NULL), .train = claim_strings(az, CLAIM_NEW, 1, 4, 8, 1)};
    az_tuning tuning = {.job = &job, .train = az_lm_examples_of(az, lm, job.train, NULL)};
    for (int select = AZ_S2_RANDOM; select <= AZ_S2_GRADIENT; select++) {
        for (int largest = 0; largest < 2; largest++) {
            const az_s2_how how = {
                .ratio = {0.5, 0.25, 0.1, 0.125}, .select = (az_s2_select)select, .largest = largest, .per_layer = true, .examples = 3};
            az_s2_choice *c;
            const int n = az_s2_choose(az, &tuning, &how, &c);
            cr_assert_eq(n, 8, "%s", az_error(az));
            static const int64_t expected[] = {8, 8, 4, 6}; /* heads of 8; 4 of 48 and 6 of 48 channels */
            for (int i = 0; i < n; i++) cr_assert_eq(c[i].index->shape[0], expected[c[i].kind]);
            if (select != AZ_S2_WEIGHT) continue;
            const az_tensor *w = az_weight_decode(az, lm->block[0].down.weight);
            double border = largest ? INFINITY : 0;
            bool in[48] = {false};
            for (int64_t k = 0; k < 6; k++) {
                const int32_t at = ((const int32_t *)c[6].index->data)[k];
                in[at] = true;
                border = largest ? fmin(border, norm_of_column(w, at)) : fmax(border, norm_of_column(w, at));
            }
            for (int64_t k = 0; k < 48; k++)
                cr_assert(in[k] || (largest ? norm_of_column(w, k) <= border : norm_of_column(w, k) >= border));
        }
    }
    az_close(az);
}

/* ---- memory, bases, bad input ---- */

static size_t peak_of(const char *method, const char *options, int64_t *trained)
{
    az_ctx *az = az_open(NULL);
    const az_lm *small = small_lm(az);
    const az_lm_config config = {
        .vocabulary = az_vocabulary(small->tokenizer), .width = 128, .blocks = 4, .heads = 4, .hidden = 512, .context = 64, .tied = true};
    az_lm *lm = az_lm_new(az, "llama", &config, small->tokenizer, 1);
    az_memory_reset_peak(az);
    const az_adapter *adapter = small_tune(az, lm, method, options, "steps=2,batch=16,lr=1e-3");
    cr_assert_not_null(adapter, "%s", az_error(az));
    *trained = az_adapter_parameter_count(adapter);
    const size_t peak = az_memory_peak(az);
    az_close(az);
    return peak;
}

/* LoRA of rank 4 on q, k, v, o trains 4 * 4 * (128 + 128) = 4096 numbers a block, as do 32 of 512 channels of down. */
Test(s2ft, needs_less_memory_than_lora_with_as_many_trained_numbers)
{
    int64_t trained, ours;
    const size_t lora = peak_of("lora", "rank=4,targets=/.*self_attn.*/", &trained),
                 s2 = peak_of("s2ft", "d_ratio=0.0625,scope=layer", &ours);
    cr_assert_eq(trained, 4 * 4096);
    cr_assert_lt(s2, lora, "%zu and %zu bytes", s2, lora);
}

Test(s2ft, works_beside_any_base)
{
    az_ctx *az = az_open(NULL);
    for (int base = 0; base < SMALL_BASES; base++) {
        az_lm *lm = small_base(az, base);
        const az_adapter *adapter = small_tune(az, lm, "s2ft", ratios, "steps=4,batch=4,lr=1e-2");
        cr_assert_not_null(adapter, "%s: %s", small_bases[base], az_error(az));
        cr_assert_gt(matrix_difference(small_logits(az, lm, adapter), small_logits(az, lm, NULL)), 1e-3, "%s", small_bases[base]);
    }
    az_close(az);
}

static const char *selection_of(az_ctx *az, const char *text)
{
    const char *path = test_path(az, test_folder(az), "selection.json");
    FILE *file = fopen(path, "w");
    cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
    return path;
}

/* What was chosen, kept and taken again trains the same numbers; so does a list in another order. */
Test(s2ft, a_selection_is_kept_and_taken_again)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const char *path = test_path(az, test_folder(az), "kept.json"), *settings = "steps=3,batch=4,lr=1e-2";
    az_lm *chosen = tuned_model(az, lm, az_format_text(az, "%s,select=weight,keep=%s", ratios, path), settings);
    az_lm *again = tuned_model(az, lm, az_format_text(az, "selection=%s", path), settings);
    cr_assert_eq(small_difference(az, chosen, again), 0);
    path = selection_of(az, "{\"blocks.1.mlp.down\": [17, 3], \"blocks.0.attn.v\": [5]}");
    const az_adapter *adapter = small_tune(az, lm, "s2ft", az_format_text(az, "selection=%s", path), settings);
    cr_assert_not_null(adapter, "%s", az_error(az));
    const az_tensor *a = az_adapter_find(adapter, "blocks.1.mlp.down")->a; /* [2, channels] one-hot */
    cr_assert_eq(az_item(a, 3) + az_item(a, a->shape[1] + 17), 2);
    cr_assert_eq(az_adapter_find(adapter, "blocks.0.attn.v")->b->shape[1], 1);
    cr_assert_null(az_adapter_find(adapter, "blocks.0.mlp.down"));
    az_close(az);
}

Test(s2ft, wrong_selections_are_named)
{
    static const char *const wrong[][2] = {{"[1]", "no JSON object"},
                                           {"{", "no JSON object"},
                                           {"{}", "names no layer"},
                                           {"{\"blocks.0.mlp.down\": []}", "blocks.0.mlp.down has no list"},
                                           {"{\"blocks.0.mlp.down\": [1, 2, 1]}", "blocks.0.mlp.down names 1 twice"},
                                           {"{\"blocks.0.mlp.down\": [1, 100000]}", "blocks.0.mlp.down: entry 2"},
                                           {"{\"blocks.0.mlp.down\": [-1]}", "entry 1 is no number from 0"},
                                           {"{\"blocks.0.mlp.down\": [1.5]}", "entry 1 is no number from 0"},
                                           {"{\"blocks.0.mlp.gate\": [1]}", "'blocks.0.mlp.gate' is no attn.v"},
                                           {"{\"blocks.9.mlp.down\": [1]}", "'blocks.9.mlp.down' is no attn.v"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        az_ctx *az = az_open(NULL);
        const char *path = selection_of(az, wrong[i][0]);
        cr_assert_null(small_tune(az, small_lm(az), "s2ft", az_format_text(az, "selection=%s", path), "steps=1"));
        cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
        cr_assert(strstr(az_error(az), wrong[i][1]) && strstr(az_error(az), path), "%s", az_error(az));
        az_close(az);
    }
}

Test(s2ft, says_what_is_wrong)
{
    static const char *const wrong[][2] = {
        {"d_ratio=0.001", "no head and no channel"}, {"d_ratio=1.5", "d_ratio"}, {"mode=inplace,layout=permute", "layout=gather"}};
    for (int i = 0; i < 3; i++) {
        az_ctx *az = az_open(NULL);
        cr_assert_null(small_tune(az, small_lm(az), "s2ft", wrong[i][0], "steps=1"));
        cr_assert(strstr(az_error(az), wrong[i][1]), "%s", az_error(az));
        az_close(az);
    }
}
