/* vi_autoencoder.h - a variational autoencoder of 8 x 8 images as two programs, which vi_digits.c trains and the claim about
 * programmable-vi times.
 *
 * Decoder: z ~ N(0, 1), image ~ N(sigmoid(W2 tanh(W1 z + b1) + b2), 0.2). Encoder: q(z | image) = N(mean, e^s), (mean, s) = W image + b. */
#ifndef ADZE_EXAMPLES_VI_AUTOENCODER_H
#define ADZE_EXAMPLES_VI_AUTOENCODER_H

#include <adze/adze.h>
#include <adze/vi.h>

#include <math.h>

enum { VAE_PIXELS = 64, VAE_LATENT = 8, VAE_HIDDEN = 128, VAE_VARIABLES = 6 };
enum { ENCODER_W, ENCODER_B, DECODER_W1, DECODER_B1, DECODER_W2, DECODER_B2 };
typedef struct vae {
    az_tensor *images; /* [n, VAE_PIXELS] f64, 0 .. 1 */
    az_vi_variable variable[VAE_VARIABLES];
} vae;

/* Weights [rows, cols] that keep the size of what they multiply; a bias of zeros [cols] for rows = 0. */
static inline az_tensor *vae_start(az_ctx *az, const char *name, int64_t rows, int64_t cols, uint64_t seed)
{
    const int64_t shape[] = {rows, cols};
    if (rows == 0) return az_zeros(az, AZ_F64, 1, &cols);
    return az_randn(az, AZ_F64, 2, shape, 1 / sqrt((double)cols), seed, az_stream(name, 0));
}

/* tanh(x W^T + b) W2^T + b2 */
static inline az_tensor *vae_network(az_ctx *az, const az_tensor *x, az_tensor *const w[4])
{
    az_tensor *hidden = az_tanh(az, az_add(az, az_matmul_nt(az, x, w[0]), w[1]));
    return az_add(az, az_matmul_nt(az, hidden, w[2]), w[3]);
}

static inline bool vae_new(az_ctx *az, az_tensor *images, uint64_t seed, vae *out)
{
    *out = (vae){.images = images,
                 .variable = {[ENCODER_W] = {"encoder.w", vae_start(az, "encoder.w", 2 * VAE_LATENT, VAE_PIXELS, seed)},
                              [ENCODER_B] = {"encoder.b", vae_start(az, "encoder.b", 0, 2 * VAE_LATENT, seed)},
                              [DECODER_W1] = {"decoder.w1", vae_start(az, "decoder.w1", VAE_HIDDEN, VAE_LATENT, seed)},
                              [DECODER_B1] = {"decoder.b1", vae_start(az, "decoder.b1", 0, VAE_HIDDEN, seed)},
                              [DECODER_W2] = {"decoder.w2", vae_start(az, "decoder.w2", VAE_PIXELS, VAE_HIDDEN, seed)},
                              [DECODER_B2] = {"decoder.b2", vae_start(az, "decoder.b2", 0, VAE_PIXELS, seed)}}};
    return az_ok(az);
}

/* Means and log deviations [n, 2 VAE_LATENT] of images [n, VAE_PIXELS]. */
static inline az_tensor *vae_encode(az_ctx *az, const az_tensor *image, const az_tensor *w, const az_tensor *b)
{
    return az_add(az, az_matmul_nt(az, image, w), b);
}

/* The images that latent numbers [n, VAE_LATENT] stand for; w: the decoder's four tensors. */
static inline az_tensor *vae_decode(az_ctx *az, const az_tensor *z, az_tensor *const w[4])
{
    return az_sigmoid(az, vae_network(az, z, w));
}

static inline az_tensor *vae_decoder_program(az_vi *vi, void *user)
{
    const vae *v = user;
    az_ctx *az = az_vi_context(vi);
    az_tensor *w[4];
    for (int i = 0; i < 4; i++) w[i] = az_vi_parameter(vi, v->variable[DECODER_W1 + i].name);
    az_tensor *z = az_vi_sample(vi, "z", az_vi_vector(az_vi_normal(az_vi_number(vi, 0), az_vi_number(vi, 1)), VAE_LATENT), AZ_VI_AUTO);
    return az_vi_sample(vi, "image", az_vi_vector(az_vi_normal(vae_decode(az, z, w), az_vi_number(vi, 0.2)), VAE_PIXELS), AZ_VI_AUTO);
}

/* user: the images that this run explains */
static inline az_tensor *vae_encoder_program(az_vi *vi, void *user)
{
    az_ctx *az = az_vi_context(vi);
    az_tensor *out = vae_encode(az, user, az_vi_parameter(vi, "encoder.w"), az_vi_parameter(vi, "encoder.b"));
    az_tensor *mean = az_slice(az, out, 1, 0, VAE_LATENT), *sd = az_exp(az, az_slice(az, out, 1, VAE_LATENT, VAE_LATENT));
    return az_vi_sample(vi, "z", az_vi_vector(az_vi_normal(mean, sd), VAE_LATENT), AZ_VI_AUTO);
}

/* The objective: the ELBO of images drawn at random, one for each copy. user: the vae */
static inline az_tensor *vae_elbo(az_vi *vi, void *user)
{
    vae *v = user;
    az_ctx *az = az_vi_context(vi);
    az_tensor *image = az_gather(az, v->images, az_vi_subset(vi, "images", v->images->shape[0]));
    az_vi_trace *data = az_vi_trace_new(az);
    if (!az_vi_trace_set(data, "image", image)) return NULL;
    const az_vi_law model = {.program = vae_decoder_program, .user = v}, guide = {.program = vae_encoder_program, .user = image};
    return az_vi_elbo(vi, &(az_vi_inference){.model = &model, .guide = &guide, .data = data});
}

#endif
