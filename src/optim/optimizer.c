/* optimizer.c - AdamW and SGD: every parameter moves in one fused, threaded pass over fixed-size blocks, so that no result depends on the
 * number of threads. */
#include "optim/galore.h"
#include "optim/m_fac.h"

#include <math.h>
#include <string.h>

enum {
    BLOCK = 16384,     /* elements; all four arrays of a block stay in the second-level cache */
    PARALLEL = 1 << 15 /* below so many parameters a step is not worth waking other threads for */
};

typedef struct adamw_rates {
    double beta1, beta2, eps;
    double rate; /* lr / (1 - beta1^t) */
    double root; /* 1 / sqrt(1 - beta2^t) */
    double keep; /* 1 - lr * decay */
} adamw_rates;

typedef struct sgd_rates {
    double lr, decay, momentum;
    bool nesterov;
} sgd_rates;

#define REAL        float
#define SQUARE_ROOT sqrtf
#define ADAMW_BLOCK adamw_block_f32
#define SGD_BLOCK   sgd_block_f32
#include "optim/step_kernel.h"
#undef REAL
#undef SQUARE_ROOT
#undef ADAMW_BLOCK
#undef SGD_BLOCK
#define REAL        double
#define SQUARE_ROOT sqrt
#define ADAMW_BLOCK adamw_block_f64
#define SGD_BLOCK   sgd_block_f64
#include "optim/step_kernel.h"

typedef struct slot {
    az_tensor *parameter;
    az_tensor *first;  /* AdamW's m, or SGD's velocity (NULL without momentum) */
    az_tensor *second; /* AdamW's v */
    bool decay;
} slot;

typedef struct block {
    int slot;
    int64_t start, count; /* elements of the slot's parameter */
} block;

struct az_optimizer {
    az_optimizer_options options;
    int64_t steps;
    int n;
    slot *slot;     /* [n] */
    int64_t values; /* of all parameters */
    int64_t n_blocks;
    block *block;          /* [n_blocks] */
    az_m_fac_state *m_fac; /* of that kind */
    az_galore_state *galore;
};

static bool check_options(az_ctx *az, const az_optimizer_options *options)
{
    const bool adam = options->kind == AZ_ADAMW || options->kind == AZ_GALORE;
    if (!(options->beta1 >= 0 && options->beta1 < 1))
        return az_fail(az, AZ_BAD_INPUT, "optimizer: beta1 is %g, not in [0, 1)", options->beta1);
    if (adam && !(options->beta2 >= 0 && options->beta2 < 1))
        return az_fail(az, AZ_BAD_INPUT, "optimizer: beta2 is %g, not in [0, 1)", options->beta2);
    if (adam && !(options->eps > 0)) return az_fail(az, AZ_BAD_INPUT, "optimizer: eps is %g, not above 0", options->eps);
    if (options->kind == AZ_MFAC && options->window < 1)
        return az_fail(az, AZ_BAD_INPUT, "optimizer: a window of %lld gradients", (long long)options->window);
    if (options->kind == AZ_GALORE && (options->rank < 1 || options->refresh < 1 || !isfinite(options->scale)))
        return az_fail(az, AZ_BAD_INPUT, "optimizer: subspaces of rank %lld, for %lld steps, scale %g: must be positive",
                       (long long)options->rank, (long long)options->refresh, options->scale);
    if (!(options->weight_decay >= 0)) return az_fail(az, AZ_BAD_INPUT, "optimizer: weight decay is %g, below 0", options->weight_decay);
    return true;
}

static bool fill_slot(az_ctx *az, const az_optimizer_options *options, const az_tensor *parameter, slot *out)
{
    if (!parameter) return az_fail(az, AZ_BAD_CALL, "optimizer: a parameter is missing");
    if ((parameter->dtype != AZ_F32 && parameter->dtype != AZ_F64) || !az_is_contiguous(parameter))
        return az_fail(az, AZ_BAD_CALL, "optimizer: a parameter %s of type %s is not contiguous f32 or f64", az_shape_text(az, parameter),
                       az_dtype_name(parameter->dtype));
    out->parameter = az_share(az, parameter);
    if (options->kind == AZ_ADAMW || (options->kind == AZ_SGD && options->beta1 > 0))
        out->first = az_zeros(az, parameter->dtype, parameter->rank, parameter->shape);
    if (options->kind == AZ_ADAMW) out->second = az_zeros(az, parameter->dtype, parameter->rank, parameter->shape);
    return az_ok(az);
}

/* Cuts all parameters into blocks of at most BLOCK elements. */
static bool make_blocks(az_ctx *az, az_optimizer *optimizer)
{
    for (int i = 0; i < optimizer->n; i++) {
        optimizer->values += az_count(optimizer->slot[i].parameter);
        optimizer->n_blocks += (az_count(optimizer->slot[i].parameter) + BLOCK - 1) / BLOCK;
    }
    block *next = optimizer->block = az_alloc_array(az, (size_t)optimizer->n_blocks, sizeof *optimizer->block);
    if (!next) return false;
    for (int i = 0; i < optimizer->n; i++) {
        const int64_t count = az_count(optimizer->slot[i].parameter);
        for (int64_t start = 0; start < count; start += BLOCK)
            *next++ = (block){.slot = i, .start = start, .count = count - start < BLOCK ? count - start : BLOCK};
    }
    return true;
}

az_optimizer *az_optimizer_new(az_ctx *az, const az_optimizer_options *options, az_tensor *const *parameters, int n, const bool *decay)
{
    if (!az_ok(az) || !check_options(az, options)) return NULL;
    az_optimizer *optimizer = az_alloc(az, sizeof *optimizer);
    slot *slots = az_alloc_array(az, (size_t)n, sizeof *slots);
    if (!optimizer || !slots) return NULL;
    *optimizer = (az_optimizer){.options = *options, .n = n, .slot = slots};
    for (int i = 0; i < n; i++) {
        if (!fill_slot(az, options, parameters[i], &slots[i])) return NULL;
        slots[i].decay = decay ? decay[i] : parameters[i]->rank >= 2;
    }
    if (options->kind == AZ_SGD || options->kind == AZ_ADAMW) return make_blocks(az, optimizer) ? optimizer : NULL;
    bool *decays = az_alloc_array(az, (size_t)n, sizeof *decays);
    for (int i = 0; decays && i < n; i++) decays[i] = slots[i].decay;
    if (decays && options->kind == AZ_MFAC) optimizer->m_fac = az_m_fac_new(az, options, parameters, n, decays);
    if (decays && options->kind == AZ_GALORE) optimizer->galore = az_galore_new(az, options, parameters, n, decays);
    return optimizer->m_fac || optimizer->galore ? optimizer : NULL;
}

/* The data of each gradient, contiguous and of its parameter's type and shape; NULL and an error when one does not fit. */
static const void **gradient_data(az_ctx *az, const az_optimizer *optimizer, az_tensor *const *gradients)
{
    const void **data = az_alloc_array(az, (size_t)optimizer->n, sizeof *data);
    for (int i = 0; data && i < optimizer->n; i++) {
        const az_tensor *parameter = optimizer->slot[i].parameter, *g = gradients[i];
        if (!g) return az_fail(az, AZ_BAD_CALL, "optimizer: gradient %d is missing", i);
        if (g->dtype != parameter->dtype || !az_same_shape(g, parameter))
            return az_fail(az, AZ_BAD_CALL, "optimizer: gradient %d is %s %s, its parameter %s %s", i, az_dtype_name(g->dtype),
                           az_shape_text(az, g), az_dtype_name(parameter->dtype), az_shape_text(az, parameter));
        az_tensor *flat = az_is_contiguous(g) ? az_share(az, g) : az_tensor_new(az, g->dtype, g->rank, g->shape);
        if (!flat) return NULL;
        if (flat->data != g->data) az_copy_into(az, flat, g);
        data[i] = flat->data;
    }
    return data;
}

static void adamw_block(const adamw_rates *how, const slot *s, const block *b, const void *gradient)
{
    const int64_t at = b->start;
    if (s->parameter->dtype == AZ_F32)
        adamw_block_f32(how, b->count, (const float *)gradient + at, (float *)s->parameter->data + at, (float *)s->first->data + at,
                        (float *)s->second->data + at);
    else
        adamw_block_f64(how, b->count, (const double *)gradient + at, (double *)s->parameter->data + at, (double *)s->first->data + at,
                        (double *)s->second->data + at);
}

static void sgd_block(const sgd_rates *how, const slot *s, const block *b, const void *gradient)
{
    const int64_t at = b->start;
    if (s->parameter->dtype == AZ_F32)
        sgd_block_f32(how, b->count, (const float *)gradient + at, (float *)s->parameter->data + at,
                      s->first ? (float *)s->first->data + at : NULL);
    else
        sgd_block_f64(how, b->count, (const double *)gradient + at, (double *)s->parameter->data + at,
                      s->first ? (double *)s->first->data + at : NULL);
}

static void adamw_step(az_ctx *az, const az_optimizer *optimizer, const void *const *gradient, double lr)
{
    const az_optimizer_options *o = &optimizer->options;
    const double t = (double)optimizer->steps;
    const adamw_rates plain = {.beta1 = o->beta1,
                               .beta2 = o->beta2,
                               .eps = o->eps,
                               .rate = lr / (1 - pow(o->beta1, t)),
                               .root = 1 / sqrt(1 - pow(o->beta2, t)),
                               .keep = 1};
    adamw_rates decayed = plain;
    decayed.keep = 1 - lr * o->weight_decay;
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (optimizer->values > PARALLEL)
    for (int64_t i = 0; i < optimizer->n_blocks; i++) {
        const block *b = &optimizer->block[i];
        const slot *s = &optimizer->slot[b->slot];
        adamw_block(s->decay ? &decayed : &plain, s, b, gradient[b->slot]);
    }
}

static void sgd_step(az_ctx *az, const az_optimizer *optimizer, const void *const *gradient, double lr)
{
    const az_optimizer_options *o = &optimizer->options;
    const sgd_rates plain = {.lr = lr, .momentum = o->beta1, .nesterov = o->nesterov};
    sgd_rates decayed = plain;
    decayed.decay = o->weight_decay;
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (optimizer->values > PARALLEL)
    for (int64_t i = 0; i < optimizer->n_blocks; i++) {
        const block *b = &optimizer->block[i];
        const slot *s = &optimizer->slot[b->slot];
        sgd_block(s->decay ? &decayed : &plain, s, b, gradient[b->slot]);
    }
}

bool az_optimizer_step(az_ctx *az, az_optimizer *optimizer, az_tensor *const *gradients, double lr)
{
    if (!optimizer || !gradients || !az_ok(az)) return false;
    az_scope_push(az);
    const void **gradient = gradient_data(az, optimizer, gradients);
    bool good = gradient != NULL;
    if (good && optimizer->galore) good = az_galore_step(az, optimizer->galore, gradients, lr, optimizer->steps);
    if (good && optimizer->m_fac) good = az_m_fac_step(az, optimizer->m_fac, gradient, lr, optimizer->steps);
    if (good) {
        optimizer->steps++;
        if (optimizer->options.kind == AZ_ADAMW)
            adamw_step(az, optimizer, gradient, lr);
        else if (optimizer->options.kind == AZ_SGD)
            sgd_step(az, optimizer, gradient, lr);
    }
    az_scope_pop(az);
    return good;
}

int64_t az_optimizer_steps(const az_optimizer *optimizer)
{
    return optimizer ? optimizer->steps : 0;
}

void az_optimizer_set_steps(az_optimizer *optimizer, int64_t steps)
{
    if (optimizer) optimizer->steps = steps;
}

int az_optimizer_state(az_ctx *az, az_optimizer *optimizer, az_tensor ***tensors, const char ***names)
{
    if (!optimizer) return 0;
    if (optimizer->galore) return az_galore_tensors(az, optimizer->galore, tensors, names);
    const bool adam = optimizer->options.kind == AZ_ADAMW;
    const size_t most = 2 * (size_t)optimizer->n + AZ_M_FAC_TENSORS;
    *tensors = az_alloc_array(az, most, sizeof(void *));
    *names = az_alloc_array(az, most, sizeof **names);
    if (!*tensors || !*names) return 0;
    if (optimizer->m_fac) return az_m_fac_tensors(optimizer->m_fac, *tensors, *names);
    int count = 0;
    for (int i = 0; i < optimizer->n; i++) {
        az_tensor *const part[2] = {optimizer->slot[i].first, optimizer->slot[i].second};
        const char *const kind[2] = {adam ? "adamw.m" : "sgd.velocity", "adamw.v"};
        for (int k = 0; k < 2; k++) {
            if (!part[k]) continue;
            (*tensors)[count] = part[k];
            (*names)[count++] = az_format_text(az, "%s.%d", kind[k], i);
        }
    }
    return az_ok(az) ? count : 0;
}
