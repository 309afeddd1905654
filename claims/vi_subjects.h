/* vi_subjects.h - images made and explained by programs, for the claim of programmable-vi. */
#ifndef ADZE_CLAIMS_VI_SUBJECTS_H
#define ADZE_CLAIMS_VI_SUBJECTS_H

#include "adze/vi.h"

#include "examples/vi_autoencoder.h"

/* Attend, infer, repeat: canvases of 12 x 12 pixels with up to two blobs; a small network reads a canvas and says which of two places hold
 * a blob, and where. `presence` is how gradients follow whether a blob is there. */
enum { BLOB_SIDE = 12, BLOB_PIXELS = BLOB_SIDE * BLOB_SIDE, BLOB_IMAGES = 512, BLOB_VARIABLES = 4 };
typedef struct blobs {
    az_tensor *images; /* [BLOB_IMAGES, BLOB_PIXELS] f64 */
    az_vi_strategy presence;
    az_vi_variable variable[BLOB_VARIABLES];
} blobs;
bool blobs_new(az_ctx *az, uint64_t seed, az_vi_strategy presence, blobs *out);
az_tensor *blobs_elbo(az_vi *vi, void *blobs);

/* Gradients of the mean ELBO of a batch of images, by plain differentiation of a hand-written estimator of what vae_elbo
 * estimates. */
bool vae_by_hand(az_ctx *az, const vae *v, int64_t batch, uint64_t seed, az_tensor **gradient);

#endif
