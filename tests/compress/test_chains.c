/* Chains of methods as they stand on a command line: each result runs, is saved and read again, predicts, becomes plain, and can be
 * trained on. docs/compose.md tells what chains cost on a model that has learnt something. */
#include "lm/lm_internal.h"
#include "support/folder.h"
#include "support/matrix.h"
#include "support/small_lm.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

typedef struct chain {
    struct {
        const char *method, *options;
    } step[3];
    const char *format; /* of blocks.0.mlp.up in the end */
    double sparsity;    /* at least that of it; 0 = whatever it is */
} chain;

static const chain chains[] = {
    {{{"wanda", "pattern=2:4,nsamples=8"}, {"dsnot", "nsamples=8"}, {"quantize", "type=q8_0"}}, "q8_0", 0.5},
    {{{"welore", "reduction=0.5"}, {"quantize", "type=q8_0"}}, "lowrank", 0},
    {{{"maskpro", "pattern=2:4,init=wanda,steps=20,samples=16,batch=4,seqlen=32"}, {"quantize", "type=nm_f16"}}, "nm_f16", 0.5},
    {{{"m-fac", "sparsity=0.6,grads=8,recompute=2,seqlen=32"}, {"quantize", "type=q4_0"}}, "q4_0", 0},
    {{{"sparsegpt", "pattern=2:4,nsamples=8"}, {"quantize", "type=nm_bf16"}, {"quantize", "type=q4_0"}}, "q4_0", 0.5},
    {{{"magnitude", "sparsity=0.3"}, {"sparsegpt", "sparsity=0.5,nsamples=8"}, {"wanda", "sparsity=0.7,nsamples=8"}}, "f32", 0.6875},
    {{{"maskpro", "pattern=2:4,init=wanda,steps=20,samples=16,batch=4,seqlen=32"},
      {"outliertune", "nsamples=8,sym_samples=8,range_samples=4"}},
     "int8_static",
     0.5},
    {{{"wanda", "pattern=2:4,nsamples=8"}, {"bipolar-int", "wbits=6,offset"}}, "bipolar", 0.5},
    {{{"quantize", "type=q4_0"}, {"wanda", "pattern=1:4,nsamples=8"}, {"quantize", "type=nm_f16"}}, "nm_f16", 0.75},
};
enum { CHAINS = sizeof chains / sizeof *chains };

static const char *name_of(az_ctx *az, const chain *c)
{
    const char *name = "";
    for (int i = 0; i < 3 && c->step[i].method; i++) name = az_format_text(az, "%s %s:%s", name, c->step[i].method, c->step[i].options);
    return name;
}

static az_lm *compressed(az_ctx *az, const az_lm *given, const chain *c, const az_documents *text)
{
    az_lm *lm = az_lm_copy(az, given);
    for (int i = 0; i < 3 && c->step[i].method; i++) {
        const az_method *method = az_method_by_name(c->step[i].method);
        void *settings = az_alloc(az, method->options_size);
        cr_assert(az_options_parse(az, method->options, method->name, c->step[i].options, settings), "%s", az_error(az));
        az_compress_job job = {.lm = lm, .original = given, .calibration = text};
        cr_assert(method->compress(az, settings, &job), "%s: %s", name_of(az, c), az_error(az));
    }
    return lm;
}

static double loss(az_ctx *az, const az_lm *lm, const az_documents *text)
{
    const az_lm_score *score = az_lm_score_documents(az, lm, text, NULL);
    cr_assert_not_null(score, "%s", az_error(az));
    return score->mean.value;
}

static void check_chain(az_ctx *az, const az_lm *given, const chain *c, const az_documents *text)
{
    const char *name = name_of(az, c), *folder = test_folder(az), *gguf = test_path(az, folder, "m.gguf");
    az_lm *lm = compressed(az, given, c, text);
    const az_weight *up = lm->block[0].up.weight;
    cr_assert_str_eq(up->format->name, c->format, "%s", name);
    cr_assert(az_weight_sparsity(az, up) >= c->sparsity, "%s: %g", name, az_weight_sparsity(az, up));
    const double before = loss(az, lm, text);
    cr_assert(az_lm_save(az, lm, gguf, NULL), "%s: %s", name, az_error(az));
    az_lm *again = az_lm_load(az, gguf);
    cr_assert_not_null(again, "%s: %s", name, az_error(az));
    cr_assert_eq(loss(az, again, text), before, "%s", name);
    int32_t token[] = {1, 2, 3};
    const az_tokens prompt = {.id = token, .n = 3};
    cr_assert_gt(az_lm_generate(az, again, &prompt, &(az_lm_generate_options){.max_tokens = 4})->n, 3, "%s", az_error(az));
    cr_assert(az_lm_make_dense(az, again, az_format_by_name("f32")), "%s: %s", name, az_error(az));
    cr_assert_eq(small_difference(az, lm, again), 0, "%s", name);
    cr_assert_float_eq(loss(az, again, text), before, 0.01, "%s", name); /* kernels of blocks round the activations */
    cr_assert(az_lm_make_trainable(az, again, AZ_F32), "%s: %s", name, az_error(az));
}

Test(chains, run_are_saved_predict_and_become_plain)
{
    az_ctx *az = az_open(NULL);
    const az_documents *text = small_stories(az, 50, 20);
    const az_lm *given = small_lm(az);
    for (int i = 0; i < CHAINS; i++) {
        az_scope_push(az);
        check_chain(az, given, &chains[i], text);
        az_scope_pop(az);
    }
    az_close(az);
}
