/* start_mask.h - the mask that a method which learns or repairs masks starts from: by scores, from a file, or as the methods before it in
 * the chain left it. */
#ifndef ADZE_COMPRESS_START_MASK_H
#define ADZE_COMPRESS_START_MASK_H

#include "compress/compress_internal.h"

typedef enum az_start { AZ_START_AUTO, AZ_START_WANDA, AZ_START_MAGNITUDE, AZ_START_SPARSEGPT, AZ_START_RANDOM, AZ_START_MODEL } az_start;
extern const char *const az_start_names[]; /* NULL-terminated, for an option's choices */

typedef struct az_start_settings {
    int init;              /* az_start; AUTO: the zeros that the chain left if there are any, otherwise wanda's choice */
    const char *file;      /* a mask file, or a sparse model whose zeros count; goes before init; NULL or "" = none */
    double sparsity, damp; /* as in az_sparsegpt_settings */
    az_pattern pattern;
    int64_t seed;
} az_start_settings;

typedef struct az_start_layer {
    az_lm_linear *linear;
    az_weight *dense;  /* every weight as it was before it was dropped */
    az_weight *sparse; /* as the methods before left it; NULL when nothing was dropped before */
    az_tensor *keep;   /* u8 [rows, cols]; NULL = to be chosen by scores */
} az_start_layer;
typedef struct az_starts {
    int n;
    az_start_layer *layer; /* [n], the linear layers of job->lm */
    bool taken;            /* every layer has its mask already; otherwise none has */
} az_starts;

/* Finds where each layer starts, in the current scope, and puts the dense weights into job->lm. Fails when there are zeros whose former
 * values nobody knows, when a mask does not fit the model, or (with a pattern) when it does not hold to the pattern. */
az_starts *az_starts_find(az_ctx *az, const az_compress_job *job, const az_start_settings *settings);
/* With masks that are there already: fails, naming layer, row and group, when one does not hold to the pattern. */
bool az_starts_check(az_ctx *az, const az_starts *starts, az_pattern pattern);
az_start_layer *az_start_of(const az_starts *starts, const az_lm_linear *linear);
/* True when az_start_scores reads statistics->gram. */
bool az_start_needs_gram(const az_start_settings *settings);
/* What dropping each weight of a layer costs, as settings->init has it (wanda's scores for AUTO and MODEL): f32 [rows, cols]. */
az_tensor *az_start_scores(az_ctx *az, const az_start_settings *settings, const az_lm_linear *linear, const az_lm_statistics *statistics,
                           az_factor_memo *memo);
/* The mask that drops the lowest scores of each row or group. */
az_tensor *az_start_choose(az_ctx *az, const az_start_settings *settings, const az_tensor *scores);
/* The present values where the mask keeps, the former ones elsewhere: f32 [rows, cols]. */
az_tensor *az_start_values(az_ctx *az, const az_start_layer *layer);

/* A mask file is a safetensors file with a tensor "<layer>.mask" per layer, e.g. "blocks.0.attn.q.mask": u8 [ceil(rows cols / 8)], bit j
 * of byte b = element 8 b + j of the matrix, row by row; 1 = kept. */
typedef struct az_named_mask {
    const char *layer;
    const az_tensor *keep; /* u8 [rows, cols] */
} az_named_mask;
bool az_mask_file_write(az_ctx *az, const char *path, const az_named_mask *masks, int n);
/* The mask of a layer of this shape; fails, naming the layer, when the file has none that fits. */
az_tensor *az_mask_file_find(az_ctx *az, const az_safetensors *file, const az_lm_linear *linear);

#endif
