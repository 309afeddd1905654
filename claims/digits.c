/* digits.c - reading the digits, and the perceptron's loss. */
#include "claims/digits.h"

#include "adze/grad.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PIXELS = 64, BRIGHTEST = 16 };
static const int64_t widths[DIGIT_LAYERS + 1] = {PIXELS, 40, 40, 10};

/* One line: 64 pixels and the label. */
static bool read_line(char **text, float *pixel, int32_t *label)
{
    for (int i = 0; i <= PIXELS; i++) {
        char *end;
        const long value = strtol(*text, &end, 10);
        if (end == *text || value < 0 || value > BRIGHTEST) return false;
        if (i < PIXELS)
            pixel[i] = (float)value / BRIGHTEST;
        else
            *label = (int32_t)value;
        *text = end + (*end == ',');
    }
    while (**text == '\r' || **text == '\n') ++*text;
    return *label < widths[DIGIT_LAYERS];
}

bool claim_digits_read(az_ctx *az, const char *path, claim_digits *digits)
{
    char *text = az_read_file(az, path, NULL);
    if (!text) return false;
    int64_t n = 0;
    for (const char *line = text; (line = strchr(line, '\n')); line++) n += line[1] != '\n';
    *digits = (claim_digits){.image = az_new2(az, AZ_F32, n, PIXELS), .label = az_new1(az, AZ_I32, n)};
    if (!digits->image || !digits->label) return false;
    int64_t read = 0;
    while (*text && read < n) {
        if (!read_line(&text, az_f32_mut(digits->image) + read * PIXELS, (int32_t *)digits->label->data + read))
            return az_fail(az, AZ_BAD_INPUT, "%s: line %lld is not 64 pixels (0 .. 16) and a label", path, (long long)read + 1);
        read++;
    }
    digits->image = az_contiguous(az, az_slice(az, digits->image, 0, 0, read));
    digits->label = az_contiguous(az, az_slice(az, digits->label, 0, 0, read));
    return az_ok(az);
}

claim_mlp claim_mlp_new(az_ctx *az, uint64_t seed)
{
    claim_mlp mlp;
    for (int l = 0; l < DIGIT_LAYERS; l++) {
        const int64_t shape[] = {widths[l + 1], widths[l]};
        mlp.weight[l] = az_randn(az, AZ_F32, 2, shape, sqrt(2.0 / (double)widths[l]), seed, az_stream("layer", (uint64_t)l));
        mlp.bias[l] = az_zeros(az, AZ_F32, 1, shape);
    }
    return mlp;
}

claim_mlp claim_mlp_copy(az_ctx *az, const claim_mlp *mlp)
{
    claim_mlp copy;
    for (int l = 0; l < DIGIT_LAYERS; l++) {
        copy.weight[l] = az_copy(az, mlp->weight[l]);
        copy.bias[l] = az_copy(az, mlp->bias[l]);
    }
    return copy;
}

static az_tensor *logits_of(az_ctx *az, az_tensor *const *weight, az_tensor *const *bias, az_tensor *x)
{
    for (int l = 0; l < DIGIT_LAYERS; l++) {
        x = az_add(az, az_matmul_nt(az, x, weight[l]), bias[l]);
        if (l + 1 < DIGIT_LAYERS) x = az_relu(az, x);
    }
    return x;
}

bool claim_mlp_gradient(az_ctx *az, const claim_mlp *mlp, const claim_digits *on, int64_t count, uint64_t seed, uint64_t draw,
                        az_tensor *gradient[2 * DIGIT_LAYERS], double *loss)
{
    az_tensor *which = az_new1(az, AZ_I32, count);
    az_rng rng = az_rng_at(seed, az_stream("images", draw));
    for (int64_t i = 0; which && i < count; i++) ((int32_t *)which->data)[i] = (int32_t)az_below(&rng, (uint64_t)on->image->shape[0]);
    az_tensor *label = az_reshape(az, az_gather(az, az_reshape(az, on->label, 2, (int64_t[]){-1, 1}), which), 1, &count);
    az_tensor *watched[2 * DIGIT_LAYERS];
    az_tape_open(az);
    for (int l = 0; l < DIGIT_LAYERS; l++) {
        watched[l] = az_watch(az, mlp->weight[l]);
        watched[DIGIT_LAYERS + l] = az_watch(az, mlp->bias[l]);
    }
    az_tensor *logits = logits_of(az, watched, watched + DIGIT_LAYERS, az_gather(az, on->image, which));
    az_tensor *mean = az_mean(az, az_cross_entropy(az, logits, label), AZ_ALL_AXES, false);
    *loss = az_to_double(mean);
    const bool good = az_grad(az, mean, NULL, (const az_tensor *const *)watched, 2 * DIGIT_LAYERS, gradient, AZ_GRAD_FREE);
    az_tape_close(az);
    return good;
}

double claim_mlp_accuracy(az_ctx *az, const claim_mlp *mlp, const claim_digits *on)
{
    az_scope_push(az);
    const az_tensor *guess = az_argmax(az, logits_of(az, mlp->weight, mlp->bias, on->image));
    int64_t right = 0;
    for (int64_t i = 0; guess && i < on->label->shape[0]; i++) right += az_item(guess, i) == az_item(on->label, i);
    az_scope_pop(az);
    return (double)right / (double)on->label->shape[0];
}
