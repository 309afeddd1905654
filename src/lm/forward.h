/* forward.h - what the files of the forward pass share: the pass, its sites and its smallest layers. */
#ifndef ADZE_LM_FORWARD_H
#define ADZE_LM_FORWARD_H

#include "lm/adapter.h"

/* What the blocks of one pass share. */
typedef struct az_pass {
    const az_lm *lm;
    az_lm_run run;
    int64_t tokens;
    const az_lm_batch *batch;  /* NULL in a pass that a tape keeps */
    const az_tensor *position; /* [tokens] i32 */
    az_attention_how attention;
    az_kv *kv;                        /* the cache as attention sees it; NULL without one */
    bool far;                         /* a sequence may grow beyond config.rope_original tokens */
    const az_pass_adapters *adapters; /* NULL without */
} az_pass;

/* Shows x to the hooks that match the site's name; the tensor to go on with. */
az_tensor *az_pass_site(az_ctx *az, const az_pass *pass, az_tensor *x, const char *format, ...) AZ_PRINTF(4, 5);
/* The norm of the last axis. */
az_tensor *az_pass_norm(az_ctx *az, const az_pass *pass, const az_lm_norm *norm, az_tensor *x);
az_tensor *az_pass_linear(az_ctx *az, const az_pass *pass, const az_lm_linear *linear, az_tensor *x);
/* Up to three layers that read the same x, into y. */
bool az_pass_linears(az_ctx *az, const az_pass *pass, const az_lm_linear *const *linear, int n, az_tensor *x, az_tensor **y);

/* The two halves of block b, from their normalised input to what they add to the residual stream. */
az_tensor *az_pass_attend(az_ctx *az, const az_pass *pass, int b, az_tensor *x);
az_tensor *az_pass_feed_forward(az_ctx *az, const az_pass *pass, int b, az_tensor *x);

/* The slopes of ALiBi, [heads], in the current scope. */
float *az_alibi_slopes(az_ctx *az, int64_t heads);

#endif
