/* digits.h - the optical digits of UCI and a small network for them: what claims about pruning and optimizers outside language models use.
 */
#ifndef ADZE_CLAIMS_DIGITS_H
#define ADZE_CLAIMS_DIGITS_H

#include "adze/tensor.h"

typedef struct claim_digits {
    az_tensor *image; /* [n, 64] f32, 0 .. 1 */
    az_tensor *label; /* [n] i32 */
} claim_digits;
/* A file of lines of 64 pixels (0 .. 16) and a label. */
bool claim_digits_read(az_ctx *az, const char *path, claim_digits *digits);

/* The perceptron 64-40-40-10 with ReLU: three matrices [out, in] and three biases. */
enum { DIGIT_LAYERS = 3 };
typedef struct claim_mlp {
    az_tensor *weight[DIGIT_LAYERS], *bias[DIGIT_LAYERS];
} claim_mlp;
claim_mlp claim_mlp_new(az_ctx *az, uint64_t seed);
claim_mlp claim_mlp_copy(az_ctx *az, const claim_mlp *mlp);
/* Mean loss of `count` images, a function of (seed, draw), and its gradients: of the matrices, then of the biases. */
bool claim_mlp_gradient(az_ctx *az, const claim_mlp *mlp, const claim_digits *on, int64_t count, uint64_t seed, uint64_t draw,
                        az_tensor *gradient[2 * DIGIT_LAYERS], double *loss);
double claim_mlp_accuracy(az_ctx *az, const claim_mlp *mlp, const claim_digits *on);

#endif
