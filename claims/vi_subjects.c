/* vi_subjects.c - blobs on a canvas, and the gradient of an autoencoder by hand. */
#include "claims/vi_subjects.h"
#include "adze/grad.h"

#include <math.h>

/* ---- blobs ---- */

enum { PLACES = 2, BLOB_HIDDEN = 64, EACH = 5 /* of a place: presence, two means, two log deviations */ };
static const double pixel_sd = 0.3, blob_width = 1.5;

/* One blob for each copy: exp(-|pixel - position|^2 / (2 width^2)), [copies, BLOB_PIXELS]; position [copies, 2] in pixels from the middle.
 */
static az_tensor *paint(az_ctx *az, const az_tensor *position)
{
    double axis[2][BLOB_PIXELS];
    for (int i = 0; i < BLOB_PIXELS; i++) {
        axis[0][i] = i % BLOB_SIDE - (BLOB_SIDE - 1) / 2.0;
        axis[1][i] = i / BLOB_SIDE - (BLOB_SIDE - 1) / 2.0;
    }
    az_tensor *distance = NULL;
    for (int k = 0; k < 2; k++) {
        az_tensor *grid = az_from(az, AZ_F64, 2, (int64_t[]){1, BLOB_PIXELS}, axis[k]);
        az_tensor *square = az_square(az, az_sub(az, grid, az_slice(az, position, 1, k, 1)));
        distance = distance ? az_add(az, distance, square) : square;
    }
    return az_exp(az, az_affine(az, distance, -0.5 / (blob_width * blob_width), 0));
}

static az_tensor *column(az_ctx *az, const az_tensor *x)
{
    return az_reshape(az, x, 2, (int64_t[]){-1, 1});
}

static const char *const presence_names[PLACES] = {"presence1", "presence2"};
static const char *const position_names[PLACES] = {"position1", "position2"};

static az_tensor *canvas(az_vi *vi, void *user)
{
    const blobs *b = user;
    az_ctx *az = az_vi_context(vi);
    az_tensor *image = az_zeros(az, AZ_F64, 2, (int64_t[]){az_vi_copies(vi), BLOB_PIXELS});
    for (int i = 0; i < PLACES; i++) {
        az_tensor *there = az_vi_sample(vi, presence_names[i], az_vi_flip(az_vi_number(vi, 0.5)), b->presence);
        az_tensor *where =
            az_vi_sample(vi, position_names[i], az_vi_vector(az_vi_normal(az_vi_number(vi, 0), az_vi_number(vi, 3)), 2), AZ_VI_AUTO);
        if (!there || !where) return NULL;
        image = az_add(az, image, az_mul(az, column(az, there), paint(az, where)));
    }
    return az_vi_sample(vi, "image", az_vi_vector(az_vi_normal(image, az_vi_number(vi, pixel_sd)), BLOB_PIXELS), AZ_VI_AUTO);
}

/* A guide's view: the blobs and the canvases that this run explains. */
typedef struct view {
    const blobs *blobs;
    const az_tensor *image;
} view;

static az_tensor *reader(az_vi *vi, void *user)
{
    const view *v = user;
    az_ctx *az = az_vi_context(vi);
    az_tensor *w[BLOB_VARIABLES], *last = NULL;
    for (int i = 0; i < BLOB_VARIABLES; i++) w[i] = az_vi_parameter(vi, v->blobs->variable[i].name);
    az_tensor *out = vae_network(az, v->image, w); /* [copies, PLACES * EACH] */
    for (int i = 0; i < PLACES; i++) {
        az_tensor *p = az_affine(az, az_sigmoid(az, az_sum(az, az_slice(az, out, 1, i * EACH, 1), 1, false)), 0.998, 0.001);
        az_tensor *mean = az_affine(az, az_slice(az, out, 1, i * EACH + 1, 2), 3, 0);
        az_tensor *sd = az_softplus(az, az_affine(az, az_slice(az, out, 1, i * EACH + 3, 2), 1, 0));
        az_vi_sample(vi, presence_names[i], az_vi_flip(p), v->blobs->presence);
        last = az_vi_sample(vi, position_names[i], az_vi_vector(az_vi_normal(mean, az_affine(az, sd, 1, 0.01)), 2), AZ_VI_AUTO);
    }
    return last;
}

az_tensor *blobs_elbo(az_vi *vi, void *user)
{
    blobs *b = user;
    az_ctx *az = az_vi_context(vi);
    az_tensor *image = az_gather(az, b->images, az_vi_subset(vi, "images", BLOB_IMAGES));
    az_vi_trace *data = az_vi_trace_new(az);
    if (!az_vi_trace_set(data, "image", image)) return NULL;
    view v = {b, image};
    const az_vi_law model = {.program = canvas, .user = b}, guide = {.program = reader, .user = &v};
    return az_vi_elbo(vi, &(az_vi_inference){.model = &model, .guide = &guide, .data = data});
}

/* Canvases drawn from the model, positions within the canvas. */
static az_tensor *draw_images(az_ctx *az, uint64_t seed)
{
    const int64_t n = BLOB_IMAGES;
    az_tensor *images = az_randn(az, AZ_F64, 2, (int64_t[]){n, BLOB_PIXELS}, pixel_sd, seed, az_stream("pixels", 0));
    az_tensor *position = az_rand(az, AZ_F64, 2, (int64_t[]){n * PLACES, 2}, -4, 4, seed, az_stream("positions", 0));
    az_tensor *there = az_rand(az, AZ_F64, 1, (int64_t[]){n * PLACES}, 0, 1, seed, az_stream("presence", 0)), *blob = paint(az, position);
    for (int64_t i = 0; blob && images && there && i < n * PLACES; i++)
        for (int64_t k = 0; k < BLOB_PIXELS && az_f64(there)[i] < 0.5; k++)
            az_f64_mut(images)[i / PLACES * BLOB_PIXELS + k] += az_f64(blob)[i * BLOB_PIXELS + k];
    return images;
}

bool blobs_new(az_ctx *az, uint64_t seed, az_vi_strategy presence, blobs *out)
{
    *out = (blobs){.images = draw_images(az, seed),
                   .presence = presence,
                   .variable = {{"w1", vae_start(az, "w1", BLOB_HIDDEN, BLOB_PIXELS, seed)},
                                {"b1", vae_start(az, "b1", 0, BLOB_HIDDEN, seed)},
                                {"w2", vae_start(az, "w2", PLACES * EACH, BLOB_HIDDEN, seed)},
                                {"b2", vae_start(az, "b2", 0, PLACES * EACH, seed)}}};
    return az_ok(az);
}

/* ---- the autoencoder's gradient by hand ---- */

/* sum over the entries of -((x - m) / s)^2 / 2 - log s, without the constant */
static az_tensor *log_normal(az_ctx *az, const az_tensor *x, const az_tensor *m, const az_tensor *s)
{
    return az_sum(az, az_sub(az, az_affine(az, az_square(az, az_div(az, az_sub(az, x, m), s)), -0.5, 0), az_log(az, s)), 1, false);
}

static az_tensor *hand_written_elbo(az_ctx *az, az_tensor *const *w, const az_tensor *image, const az_tensor *noise)
{
    az_tensor *one = az_scalar(az, AZ_F64, 1), *zero = az_scalar(az, AZ_F64, 0);
    az_tensor *out = vae_encode(az, image, w[ENCODER_W], w[ENCODER_B]);
    az_tensor *mean = az_slice(az, out, 1, 0, VAE_LATENT), *sd = az_exp(az, az_slice(az, out, 1, VAE_LATENT, VAE_LATENT));
    az_tensor *z = az_add(az, mean, az_mul(az, noise, sd)), *picture = vae_decode(az, z, w + DECODER_W1);
    az_tensor *q = log_normal(az, z, mean, sd), *p = log_normal(az, z, zero, one);
    az_tensor *likelihood = log_normal(az, image, picture, az_scalar(az, AZ_F64, 0.2));
    return az_mean(az, az_sub(az, az_add(az, p, likelihood), q), 0, false);
}

bool vae_by_hand(az_ctx *az, const vae *v, int64_t batch, uint64_t seed, az_tensor **gradient)
{
    az_tensor *w[VAE_VARIABLES];
    az_rng rng = az_rng_at(seed, 0);
    az_tensor *index = az_tensor_new(az, AZ_I32, 1, &batch), *noise = az_new2(az, AZ_F64, batch, VAE_LATENT);
    for (int64_t i = 0; index && i < batch; i++) ((int32_t *)index->data)[i] = (int32_t)az_below(&rng, (uint64_t)v->images->shape[0]);
    for (int64_t i = 0; noise && i < az_count(noise); i++) az_f64_mut(noise)[i] = az_normal(&rng);
    az_tensor *image = az_gather(az, v->images, index);
    az_tape_open(az);
    for (int i = 0; i < VAE_VARIABLES; i++) w[i] = az_watch(az, v->variable[i].value);
    const bool good = az_grad(az, hand_written_elbo(az, w, image, noise), NULL, (const az_tensor *const *)w, VAE_VARIABLES, gradient, 0);
    az_tape_close(az);
    return good;
}
