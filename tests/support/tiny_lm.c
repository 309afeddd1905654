#include "tiny_lm.h"

#include <math.h>
#include <stdlib.h>

az_lm_config tiny_config(void)
{
    return (az_lm_config){.vocabulary = 40,
                          .width = 16,
                          .blocks = 2,
                          .heads = 4,
                          .kv_heads = 2,
                          .head_dim = 6,
                          .hidden = 24,
                          .context = 64,
                          .norm_eps = 1e-5,
                          .tied = true};
}

/* Draws every tensor again, wider than a fresh model's, so that no part hides behind small numbers. */
static void shake(az_ctx *az, az_lm *lm, uint64_t seed)
{
    az_lm_parameter *parameter;
    const int n = az_lm_parameters(az, lm, &parameter);
    for (int i = 0; i < n; i++) {
        az_tensor *x = *parameter[i].slot;
        const double base = x->rank == 1 && az_item(x, 0) == 1 ? 1 : 0;
        az_tensor *noise = az_randn(az, AZ_F32, x->rank, x->shape, 0.3, seed, az_stream(parameter[i].name, 1));
        for (int64_t j = 0; j < az_count(x); j++) az_f32_mut(x)[j] = (float)base + az_f32(noise)[j];
    }
}

az_lm *tiny_lm(az_ctx *az, const az_lm_arch *arch, const az_lm_config *config, uint64_t seed)
{
    az_lm *lm = az_lm_initialised(az, arch, config, NULL, seed);
    if (lm) shake(az, lm, seed);
    return lm;
}

az_lm *tiny_llama(az_ctx *az, uint64_t seed)
{
    const az_lm_config config = tiny_config();
    return tiny_lm(az, az_lm_arch_by_name("llama"), &config, seed);
}

int32_t *tiny_tokens(az_ctx *az, int64_t n, int64_t vocabulary, uint64_t seed)
{
    int32_t *token = az_alloc_array(az, (size_t)n, sizeof *token);
    az_rng rng = az_rng_at(seed, az_stream("tiny tokens", 0));
    for (int64_t i = 0; token && i < n; i++) token[i] = (int32_t)az_below(&rng, (uint64_t)vocabulary);
    return token;
}

double distance_to_numbers(const az_tensor *a, const double *b, int64_t n)
{
    if (!a || az_count(a) != n) return INFINITY;
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        const double difference = fabs(az_item(a, i) - b[i]);
        if (!(difference <= worst)) worst = difference;
    }
    return worst;
}

/* ---- the plain forward pass ---- */

static double *numbers(int64_t n)
{
    return calloc((size_t)n, sizeof(double));
}

static void apply(const az_lm_linear *linear, const double *x, double *y)
{
    const az_weight *w = linear->weight;
    for (int64_t r = 0; r < w->rows; r++) {
        y[r] = linear->bias ? az_item(linear->bias, r) : 0;
        for (int64_t c = 0; c < w->cols; c++) y[r] += az_item(w->part[0], r * w->cols + c) * x[c];
    }
}

static void normalise(const az_lm *lm, const az_lm_norm *norm, const double *x, double *y)
{
    const int64_t n = lm->config.width;
    const bool centred = lm->arch->norm == AZ_NORM_LAYER;
    double mean = 0, square = 0;
    for (int64_t i = 0; i < n; i++) mean += centred ? x[i] / (double)n : 0;
    for (int64_t i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (int64_t i = 0; i < n; i++) {
        y[i] = (x[i] - mean) / sqrt(square + lm->config.norm_eps) * az_item(norm->weight, i);
        if (norm->bias) y[i] += az_item(norm->bias, i);
    }
}

static void rotate(const az_lm *lm, double *x, int64_t heads, int64_t position)
{
    const int64_t dims = lm->config.rope_dims;
    const bool pairs = lm->arch->position == AZ_POSITION_ROPE_PAIRS;
    if (!az_lm_has_rope(lm->arch)) return;
    for (int64_t h = 0; h < heads; h++) {
        for (int64_t i = 0; i < dims / 2; i++) {
            double *a = &x[h * lm->config.head_dim + (pairs ? 2 * i : i)], *b = a + (pairs ? 1 : dims / 2);
            const double angle = (double)position * pow(lm->config.rope_theta, -2.0 * (double)i / (double)dims);
            const double was = *a;
            *a = was * cos(angle) - *b * sin(angle);
            *b = *b * cos(angle) + was * sin(angle);
        }
    }
}

/* Slope of head h among `heads`, a power of two here. */
static double slope(const az_lm *lm, int64_t h)
{
    return lm->arch->position == AZ_POSITION_ALIBI ? pow(2, -8.0 * (double)(h + 1) / (double)lm->config.heads) : 0;
}

/* Head h of the query at position t over keys and values 0 .. t. */
static void attend(const az_lm *lm, int64_t h, int64_t t, const double *q, const double *k, const double *v, double *out)
{
    const az_lm_config *c = &lm->config;
    const int64_t row = c->kv_heads * c->head_dim, shared = h * c->kv_heads / c->heads * c->head_dim;
    double *p = numbers(t + 1), top = -INFINITY, sum = 0;
    const int64_t first = c->window && t + 1 > c->window ? t + 1 - c->window : 0;
    for (int64_t j = first; j <= t; j++) {
        for (int64_t d = 0; d < c->head_dim; d++) p[j] += q[h * c->head_dim + d] * k[j * row + shared + d];
        p[j] = p[j] / sqrt((double)c->head_dim) - slope(lm, h) * (double)(t - j);
        top = fmax(top, p[j]);
    }
    for (int64_t j = first; j <= t; j++) sum += p[j] = exp(p[j] - top);
    for (int64_t d = 0; d < c->head_dim; d++) {
        out[h * c->head_dim + d] = 0;
        for (int64_t j = first; j <= t; j++) out[h * c->head_dim + d] += p[j] / sum * v[j * row + shared + d];
    }
    free(p);
}

static double activation(az_mlp_kind kind, double x)
{
    switch (kind) {
    case AZ_MLP_SWIGLU: return x / (1 + exp(-x));
    case AZ_MLP_GELU: return x * 0.5 * (1 + erf(x / sqrt(2)));
    case AZ_MLP_RELU: return x > 0 ? x : 0;
    default: return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    }
}

static void feed_forward(const az_lm *lm, const az_lm_block *block, const double *x, double *y)
{
    const int64_t hidden = lm->config.hidden;
    double *gate = numbers(hidden), *up = numbers(hidden);
    const bool gated = az_lm_is_gated(lm->arch);
    if (gated) apply(&block->gate, x, gate);
    apply(&block->up, x, up);
    for (int64_t i = 0; i < hidden; i++) up[i] = gated ? activation(lm->arch->mlp, gate[i]) * up[i] : activation(lm->arch->mlp, up[i]);
    apply(&block->down, up, y);
    free(gate);
    free(up);
}

/* One block at position t; k and v [position, kv_heads * head_dim] receive its row. */
static void block_step(const az_lm *lm, const az_lm_block *block, int64_t t, double *x, double *k, double *v)
{
    const az_lm_config *c = &lm->config;
    const int64_t width = c->width, row = c->kv_heads * c->head_dim;
    double *h = numbers(width), *q = numbers(c->heads * c->head_dim), *z = numbers(c->heads * c->head_dim), *y = numbers(width);
    double *before = numbers(width);
    for (int64_t i = 0; i < width; i++) before[i] = x[i];
    normalise(lm, &block->attn_norm, x, h);
    apply(&block->q, h, q);
    apply(&block->k, h, k + t * row);
    apply(&block->v, h, v + t * row);
    rotate(lm, q, c->heads, t);
    rotate(lm, k + t * row, c->kv_heads, t);
    for (int64_t head = 0; head < c->heads; head++) attend(lm, head, t, q, k, v, z);
    apply(&block->o, z, y);
    for (int64_t i = 0; i < width; i++) x[i] += y[i];
    normalise(lm, &block->mlp_norm, lm->arch->parallel ? before : x, h);
    feed_forward(lm, block, h, y);
    for (int64_t i = 0; i < width; i++) x[i] += y[i];
    free(h), free(q), free(z), free(y), free(before);
}

double *plain_logits(const az_lm *lm, const int32_t *token, int64_t n)
{
    const az_lm_config *c = &lm->config;
    const int64_t row = c->kv_heads * c->head_dim;
    double *logits = numbers(n * c->vocabulary), *x = numbers(c->width), *h = numbers(c->width);
    double *k = numbers(c->blocks * n * row), *v = numbers(c->blocks * n * row);
    for (int64_t t = 0; t < n; t++) {
        for (int64_t i = 0; i < c->width; i++) {
            x[i] = az_item(lm->embedding->part[0], token[t] * c->width + i) * pow((double)c->width, lm->arch->embedding_scale_power);
            if (lm->position) x[i] += az_item(lm->position->part[0], (t + lm->arch->position_offset) * c->width + i);
        }
        for (int64_t b = 0; b < c->blocks; b++) block_step(lm, &lm->block[b], t, x, k + b * n * row, v + b * n * row);
        normalise(lm, &lm->final_norm, x, h);
        apply(&lm->head, h, logits + t * c->vocabulary);
    }
    free(x), free(h), free(k), free(v);
    return logits;
}
