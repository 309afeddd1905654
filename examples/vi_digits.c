/* vi_digits.c - a variational autoencoder of digits: vi_digits FILE [STEPS].
 *
 * FILE has a line for each image of 8 x 8 pixels, as the optical digits of UCI have: 64 numbers, and a label that is not read. The last
 * tenth is held out. Prints the bound before and after training, how well held-out images are reconstructed, and draws some of them beside
 * what the decoder makes of their codes, and of codes drawn from the prior. */
#include "vi_autoencoder.h"

#include <stdio.h>
#include <stdlib.h>

enum { SIDE = 8, SHOWN = 6 };

/* The first 64 columns, divided by the largest entry: [n, VAE_PIXELS]. */
static az_tensor *read_images(az_ctx *az, const char *path)
{
    const az_table *table = az_table_read(az, path, NULL);
    if (!table) return NULL;
    if (table->columns < VAE_PIXELS || table->rows < 20)
        return az_fail(az, AZ_BAD_INPUT, "'%s' has %lld rows of %d columns; at least 20 images of %d pixels, please", path,
                       (long long)table->rows, table->columns, VAE_PIXELS);
    const az_column *column[VAE_PIXELS];
    for (int j = 0; j < VAE_PIXELS; j++) column[j] = &table->column[j];
    az_tensor *images = az_table_matrix(az, table, column, VAE_PIXELS);
    if (!images) return NULL;
    double largest = 0;
    for (int64_t i = 0; i < az_count(images); i++) {
        const double value = az_f64(images)[i];
        if (!(value >= 0))
            return az_fail(az, AZ_BAD_INPUT, "'%s', row %lld: pixels are numbers from 0 on", path, (long long)(i / VAE_PIXELS) + 1);
        largest = fmax(largest, value);
    }
    return az_affine(az, images, largest > 0 ? 1 / largest : 1, 0);
}

/* Decoded means of the codes of images. */
static az_tensor *reconstruct(az_ctx *az, const vae *v, const az_tensor *images)
{
    az_tensor *w[4];
    for (int i = 0; i < 4; i++) w[i] = v->variable[DECODER_W1 + i].value;
    const az_tensor *code = vae_encode(az, images, v->variable[ENCODER_W].value, v->variable[ENCODER_B].value);
    return vae_decode(az, az_slice(az, code, 1, 0, VAE_LATENT), w);
}

static az_tensor *dream(az_ctx *az, const vae *v, uint64_t seed)
{
    az_tensor *w[4];
    for (int i = 0; i < 4; i++) w[i] = v->variable[DECODER_W1 + i].value;
    return vae_decode(az, az_randn(az, AZ_F64, 2, (int64_t[]){SHOWN, VAE_LATENT}, 1, seed, az_stream("dream", 0)), w);
}

/* Images side by side, a character a pixel. */
static void draw(const char *title, const az_tensor *images)
{
    static const char shades[] = " .:-=+*#%@";
    printf("%s\n", title);
    for (int row = 0; row < SIDE; row++) {
        for (int k = 0; k < SHOWN; k++) {
            for (int column = 0; column < SIDE; column++) {
                const double value = az_item(images, k * VAE_PIXELS + row * SIDE + column);
                putchar(shades[(int)fmin(9, fmax(0, value * 9.999))]);
            }
            fputs("   ", stdout);
        }
        putchar('\n');
    }
}

/* Root of the mean square per pixel. */
static double distance(const az_tensor *a, const az_tensor *b)
{
    double sum = 0;
    for (int64_t i = 0; i < az_count(a); i++) sum += pow(az_item(a, i) - az_item(b, i), 2);
    return sqrt(sum / (double)az_count(a));
}

static bool train(az_ctx *az, const az_tensor *images, int64_t steps)
{
    const int64_t n = images->shape[0], kept = n - n / 10;
    vae v;
    if (!vae_new(az, az_contiguous(az, az_slice(az, images, 0, 0, kept)), 1, &v)) return false;
    const az_tensor *held = az_contiguous(az, az_slice(az, images, 0, kept, n - kept));
    const az_tensor *mean = az_broadcast(az, az_mean(az, v.images, 0, true), 2, held->shape);
    const az_vi_problem problem = {.objective = vae_elbo, .user = &v, .variable = v.variable, .variables = VAE_VARIABLES, .copies = 64};
    az_vi_value before;
    if (!az_vi_gradient(az, &problem, 0, &before, NULL)) return false;
    az_report *report = az_report_new(az, NULL);
    az_vi_fit_settings settings = {.steps = steps, .lr = 3e-3, .optimizer = AZ_ADAMW, .draws = 4096};
    if (!az_vi_fit(az, &problem, 1, &settings, report)) return false;
    printf("bound before training %.2f nat an image, after it %.2f\n", before.mean, az_report_value(report, "fit", "objective"));
    printf("error of a pixel of held-out images %.4f (of their mean %.4f)\n", distance(held, reconstruct(az, &v, held)),
           distance(held, az_contiguous(az, mean)));
    if (held->shape[0] < SHOWN) return az_ok(az);
    draw("held out", held);
    draw("reconstructed", reconstruct(az, &v, az_slice(az, held, 0, 0, SHOWN)));
    draw("drawn from the prior", dream(az, &v, 3));
    return az_ok(az);
}

int main(int argc, char **argv)
{
    const long steps = argc == 3 ? strtol(argv[2], NULL, 10) : 2000;
    if (argc < 2 || argc > 3 || steps < 1) {
        fprintf(stderr, "usage: %s FILE [STEPS]\n", argv[0]);
        return 2;
    }
    az_ctx *az = az_open(NULL);
    const az_tensor *images = read_images(az, argv[1]);
    const bool good = images && train(az, images, steps);
    if (!good) fprintf(stderr, "%s\n", az_error(az));
    az_close(az);
    return good ? 0 : 2;
}
