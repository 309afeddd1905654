/* flash-llm: what it packs and leaves, equal numbers, reports, files, refusals. */
#include "compress/compress_internal.h"
#include "support/folder.h"
#include "support/matrix.h"
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static az_lm *pruned_lm(az_ctx *az, const char *options)
{
    az_lm *lm = small_lm(az);
    cr_assert(small_compress(az, lm, "magnitude", options, NULL, NULL), "%s", az_error(az));
    return lm;
}

static az_tensor *logits(az_ctx *az, const az_lm *lm, int64_t tokens)
{
    int32_t token[64];
    for (int i = 0; i < 64; i++) token[i] = i * 7 % 300;
    return az_lm_forward(az, lm, &(az_lm_batch){.sequences = 1, .token = token, .start = (int64_t[]){0, tokens}}, NULL);
}

static const char *format_of(const az_lm *lm)
{
    return lm->block[1].down.weight->format->name;
}

Test(flash_llm, a_pruned_model_is_packed_and_computes_the_same)
{
    static const char *const options[] = {"type=f32", "format=bitmap,type=f16", "format=tiled-csl,type=f16", "format=tiled-csl"};
    static const char *const formats[] = {"bitmap_f32", "bitmap_f16", "csl_f16", "csl_bf16"};
    static const double tolerances[] = {0, 2e-3, 2e-3, 2e-2};
    az_ctx *az = az_open(NULL);
    for (int i = 0; i < 4; i++) {
        az_lm *lm = pruned_lm(az, "sparsity=0.8"), *packed = az_lm_copy(az, lm);
        cr_assert(small_compress(az, packed, "flash-llm", options[i], NULL, NULL), "%s", az_error(az));
        cr_assert_str_eq(format_of(packed), formats[i]);
        cr_assert_leq(small_difference(az, lm, packed), tolerances[i]);
        az_lm *dense = az_lm_copy(az, packed); /* the same numbers, stored dense */
        cr_assert(small_compress(az, dense, "quantize", "type=f32", NULL, NULL), "%s", az_error(az));
        cr_assert_eq(small_difference(az, dense, packed), 0);
        for (int64_t n = 1; n <= 40; n += 13) cr_assert_lt(matrix_difference(logits(az, dense, n), logits(az, packed, n)), 1e-3);
    }
    az_close(az);
}

Test(flash_llm, the_faster_format_and_the_given_type)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = pruned_lm(az, "sparsity=0.5"), *sparse = pruned_lm(az, "sparsity=0.9");
    cr_assert(small_compress(az, lm, "flash-llm", "", NULL, NULL), "%s", az_error(az));
    cr_assert_str_eq(format_of(lm), "bitmap_bf16");
    cr_assert(small_compress(az, sparse, "flash-llm", "", NULL, NULL), "%s", az_error(az));
    cr_assert_str_eq(format_of(sparse), "csl_bf16");
    az_lm *half = pruned_lm(az, "sparsity=0.7");
    cr_assert(small_compress(az, half, "quantize", "type=f16", NULL, NULL));
    az_lm *packed = az_lm_copy(az, half);
    cr_assert(small_compress(az, packed, "flash-llm", "", NULL, NULL), "%s", az_error(az));
    cr_assert_str_eq(format_of(packed), "bitmap_f16");
    cr_assert_eq(small_difference(az, half, packed), 0);                         /* bit for bit */
    cr_assert_str_eq(az_flash_llm_format(64, 0.99, AZ_F32)->name, "bitmap_f32"); /* words have no room for f32, or for so many columns */
    cr_assert_str_eq(az_flash_llm_format(1 << 17, 0.99, AZ_F16)->name, "bitmap_f16");
    az_close(az);
}

Test(flash_llm, matrices_with_few_zeros_stay_as_they_are)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = pruned_lm(az, "sparsity=0.8");
    az_arena_enter(az, lm->arena);
    lm->block[0].q.weight = az_weight_dense(az, matrix_normal(az, AZ_F32, lm->block[0].q.weight->rows, lm->block[0].q.weight->cols, 1));
    az_arena_leave(az);
    az_report *report = az_report_new(az, "flash-llm");
    cr_assert(small_compress(az, lm, "flash-llm", "type=f32", NULL, report), "%s", az_error(az));
    cr_assert_str_eq(lm->block[0].q.weight->format->name, "f32");
    cr_assert_eq(az_report_value(report, "packed", "left"), 1);
    cr_assert_eq(az_report_value(report, "packed", "packed"), 13);
    cr_assert_eq(az_report_value(report, "packed", "rounded"), 0);
    cr_assert_lt(az_report_value(report, "packed", "bytes_after"), az_report_value(report, "packed", "bytes_before"));
    az_close(az);
}

Test(flash_llm, values_that_round_to_zero_are_counted)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = pruned_lm(az, "sparsity=0.8");
    float *w = az_f32_mut(lm->block[0].up.weight->part[0]);
    for (int i = 0; i < 10; i++) w[i] = 1e-9f; /* below the smallest f16 */
    az_report *report = az_report_new(az, "flash-llm");
    cr_assert(small_compress(az, lm, "flash-llm", "type=f16", NULL, report), "%s", az_error(az));
    cr_assert_eq(az_report_value(report, "packed", "vanished"), 10);
    cr_assert_gt(az_report_value(report, "packed", "rounded"), 10);
    az_close(az);
}

Test(flash_llm, packed_models_are_saved_and_read_back)
{
    static const char *const options[] = {"", "format=tiled-csl", "type=f32"};
    static const char *const names[] = {"a.gguf", "folder"};
    az_ctx *az = az_open(NULL);
    const char *folder = test_folder(az);
    for (int i = 0; i < 6; i++) {
        az_lm *lm = pruned_lm(az, "sparsity=0.7");
        cr_assert(small_compress(az, lm, "flash-llm", options[i % 3], NULL, NULL), "%s", az_error(az));
        const char *path = test_path(az, folder, az_format_text(az, "%d%s", i, names[i / 3]));
        cr_assert(az_lm_save(az, lm, path, NULL), "%s", az_error(az));
        az_lm *again = az_lm_load(az, path);
        cr_assert_not_null(again, "%s", az_error(az));
        cr_assert_str_eq(format_of(again), format_of(lm));
        cr_assert_eq(matrix_difference(logits(az, lm, 20), logits(az, again, 20)), 0);
    }
    az_close(az);
}

/* Low rank has no zeros to pack, pruning after packing keeps them, quantizing as well. */
Test(flash_llm, works_in_chains)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    const az_documents *text = small_stories(az, 0, 20);
    cr_assert(small_compress(az, lm, "wanda", "sparsity=0.6,nsamples=4,seqlen=16", text, NULL), "%s", az_error(az));
    cr_assert(small_compress(az, lm, "flash-llm", "", text, NULL), "%s", az_error(az));
    cr_assert(small_compress(az, lm, "magnitude", "sparsity=0.9", text, NULL), "%s", az_error(az));
    cr_assert_geq(az_weight_sparsity(az, lm->block[0].q.weight), 0.85);
    cr_assert(small_compress(az, lm, "flash-llm", "min_sparsity=0.7", text, NULL), "%s", az_error(az));
    cr_assert_str_eq(format_of(lm), "csl_bf16");
    cr_assert(small_compress(az, lm, "quantize", "type=q4_0", text, NULL), "%s", az_error(az));
    cr_assert_geq(az_weight_sparsity(az, lm->block[0].up.weight), 0.85);
    az_close(az);
}

Test(flash_llm, what_cannot_be_packed_is_refused)
{
    az_ctx *az = az_open(NULL);
    az_lm *lm = small_lm(az);
    cr_assert(!small_compress(az, lm, "flash-llm", "", NULL, NULL));
    cr_assert_eq(az_status_of(az), AZ_BAD_INPUT);
    cr_assert_not_null(strstr(az_error(az), "Prune first"), "%s", az_error(az));
    az_clear(az);
    cr_assert(!small_compress(az, lm, "flash-llm", "format=tiled-csl,type=f32", NULL, NULL));
    cr_assert_not_null(strstr(az_error(az), "16 bits"), "%s", az_error(az));
    az_clear(az);
    cr_assert(!small_compress(az, lm, "flash-llm", "min_sparsity=1.5", NULL, NULL));
    az_clear(az);
    lm = pruned_lm(az, "sparsity=0.8");
    az_f32_mut(lm->block[1].gate.weight->part[0])[3] = NAN;
    cr_assert(!small_compress(az, lm, "flash-llm", "", NULL, NULL));
    cr_assert_not_null(strstr(az_error(az), "gate"), "%s", az_error(az));
    az_clear(az);
    lm = pruned_lm(az, "sparsity=0.8");
    az_f32_mut(lm->block[1].gate.weight->part[0])[3] = 1e6f;
    cr_assert(!small_compress(az, lm, "flash-llm", "type=f16", NULL, NULL));
    cr_assert_not_null(strstr(az_error(az), "65504"), "%s", az_error(az));
    az_close(az);
}
