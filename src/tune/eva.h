/* eva.h - principal directions of what layers read, and ranks by what they explain. */
#ifndef ADZE_TUNE_EVA_H
#define ADZE_TUNE_EVA_H

#include "adze/linalg.h"
#include "adze/lm.h"

/* The directions of one layer's input, most explained first. */
typedef struct az_eva_layer {
    int64_t directions;
    const double *share; /* [directions] what each explains, comparable between layers */
} az_eva_layer;
/* rank[i] = how many of the `budget` largest shares of all layers are layer i's; of equal ones those of earlier layers and earlier
 * directions count first. Their sum is the budget, or all directions where there are fewer. */
bool az_eva_ranks(az_ctx *az, const az_eva_layer *layer, int n, int64_t budget, int64_t *rank);

/* What makes directions of different layers comparable: their share in the variance of the layer's whole input; their variance; their
 * share in the variance of the directions that are followed; or their variance over that of the first. */
typedef enum az_eva_metric { AZ_EVA_RATIO, AZ_EVA_RAW, AZ_EVA_SUM, AZ_EVA_MAX } az_eva_metric;

typedef struct az_eva_how {
    int64_t batch, max_batches, min_batches; /* examples in a batch; batches at most, and at least */
    double tau;                              /* cosine at which a direction counts as converged; its sign does not matter */
    bool answers_only;                       /* only tokens of answers count (otherwise all) */
    bool skip_bos;                           /* the first token of an example does not count where it is BOS */
    const az_range_finder *fast;             /* as in az_pca_add */
    az_eva_metric metric;
    uint64_t seed; /* of the order of examples */
} az_eva_how;

/* A layer, and the input that it reads: the first layer that reads it stands for all of them. */
typedef struct az_eva_place {
    const char *name; /* "blocks.3.attn.q" */
    int64_t in;
    int64_t rank;       /* wanted before ranks are shared; then: its own */
    int64_t directions; /* followed at most; then: at most `in`, and alike for all layers of an input */
    int input;          /* result */
} az_eva_place;
typedef struct az_eva_input {
    const char *leader; /* of its layers the first */
    az_pca *pca;
    double *cosine;  /* [directions] between each direction and what it was before the last batch */
    int64_t batches; /* merged */
    bool finished;   /* all directions that its layers want have converged */
} az_eva_input;
typedef struct az_eva {
    az_eva_input *input; /* [inputs] */
    int inputs;
    int64_t batches, skipped; /* batches run; merges left out for want of rows */
} az_eva;
/* Runs the examples through the model, batch by batch, until the directions that the ranks want have converged (or max_batches), following
 * the principal directions of the input of each of the n places, and shares their ranks anew after each batch. In the current scope.
 * Fails on places that no linear layer has, and when an input never has as many rows in a batch as directions. */
bool az_eva_directions(az_ctx *az, const az_lm *lm, const az_lm_examples *examples, const az_eva_how *how, az_eva_place *place, int n,
                       az_eva *out);

/* ---- starts in files ---- */

/* The rows with which a layer's A begins. */
typedef struct az_eva_start {
    const char *layer; /* "blocks.3.attn.q" */
    int64_t in, rank;
    az_tensor *a; /* [rank, in], or NULL: as LoRA starts it */
} az_eva_start;
/* A safetensors file as PEFT's get_eva_state_dict gives it: a tensor [rank, in] by module path for each layer, of rank 0 where a layer has
 * no share. Reading finds the n layers there, with or without "base_model.model." in front; those that are missing keep their rank and have
 * no a. Fails on other shapes, on values that are not finite, and when no layer is found. */
bool az_eva_write(az_ctx *az, const az_lm *lm, const char *path, const az_eva_start *start, int n);
bool az_eva_read(az_ctx *az, const az_lm *lm, const char *path, az_eva_start *start, int n);

#endif
