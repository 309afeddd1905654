/* op_unary.c - functions of one number, element by element, with their derivatives.
 *
 * Each function has one entry in `rules`: the kernel that computes it and its slope in one pass, and the slope in plain operations, which
 * takes over when the gradient itself is being recorded. */
#include "tensor/kernels/elementwise.h"
#include "tensor/tensor_internal.h"

/* f'(x) in plain operations; v is x, or y where the rule says so. */
typedef az_tensor *(*slope_formula)(az_ctx *az, const az_tensor *v, const double param[2]);

typedef struct unary_rule {
    az_op op; /* first, so that a node's op leads here */
    az_unary kind;
    bool from_output; /* the slope is a function of y */
    int cost;         /* of one element, in additions */
    slope_formula slope;
} unary_rule;

/* ---- slopes in plain operations ---- */

static az_tensor *pow_slope(az_ctx *az, const az_tensor *x, const double param[2])
{
    return param[0] == 0 ? az_affine(az, x, 0, 0) : az_affine(az, az_pow(az, x, param[0] - 1), param[0], 0);
}

static az_tensor *same_slope(az_ctx *az, const az_tensor *y, const double param[2])
{
    (void)param;
    (void)az;
    return (az_tensor *)y; /* only read from here on */
}

static az_tensor *log_slope(az_ctx *az, const az_tensor *x, const double param[2])
{
    (void)param;
    return az_pow(az, x, -1);
}

static az_tensor *sqrt_slope(az_ctx *az, const az_tensor *y, const double param[2])
{
    (void)param;
    return az_affine(az, az_pow(az, y, -1), 0.5, 0);
}

static az_tensor *square_slope(az_ctx *az, const az_tensor *x, const double param[2])
{
    (void)param;
    return az_affine(az, x, 2, 0);
}

static az_tensor *abs_slope(az_ctx *az, const az_tensor *x, const double param[2])
{
    (void)param;
    return az_sign(az, x);
}

static az_tensor *sin_slope(az_ctx *az, const az_tensor *x, const double param[2])
{
    (void)param;
    return az_cos(az, x);
}

static az_tensor *cos_slope(az_ctx *az, const az_tensor *x, const double param[2])
{
    (void)param;
    return az_neg(az, az_sin(az, x));
}

/* scale * exp(-rate x^2) */
static az_tensor *bell(az_ctx *az, const az_tensor *x, double scale, double rate)
{
    return az_affine(az, az_exp(az, az_affine(az, az_square(az, x), -rate, 0)), scale, 0);
}

static az_tensor *erf_slope(az_ctx *az, const az_tensor *x, const double param[2])
{
    (void)param;
    return bell(az, x, 1.12837916709551257390, 1);
}

static az_tensor *tanh_slope(az_ctx *az, const az_tensor *y, const double param[2])
{
    (void)param;
    return az_affine(az, az_square(az, y), -1, 1);
}

static az_tensor *sigmoid_slope(az_ctx *az, const az_tensor *y, const double param[2])
{
    (void)param;
    return az_mul(az, y, az_affine(az, y, -1, 1));
}

static az_tensor *softplus_slope(az_ctx *az, const az_tensor *x, const double param[2])
{
    (void)param;
    return az_sigmoid(az, x);
}

static az_tensor *silu_slope(az_ctx *az, const az_tensor *x, const double param[2])
{
    (void)param;
    az_tensor *s = az_sigmoid(az, x);
    return az_mul(az, s, az_affine(az, az_mul(az, x, az_affine(az, s, -1, 1)), 1, 1));
}

static az_tensor *gelu_slope(az_ctx *az, const az_tensor *x, const double param[2])
{
    (void)param;
    az_tensor *cdf = az_affine(az, az_erf(az, az_affine(az, x, 0.70710678118654752440, 0)), 0.5, 0.5);
    return az_add(az, cdf, az_mul(az, x, bell(az, x, 0.39894228040143267794, 0.5)));
}

/* y = x s(2u), u = k (x + c x^3): y' = s + 2 x s (1 - s) k (1 + 3 c x^2) */
static az_tensor *gelu_tanh_slope(az_ctx *az, const az_tensor *x, const double param[2])
{
    (void)param;
    const double k = 0.79788456080286535588, c = 0.044715;
    az_tensor *square = az_square(az, x);
    az_tensor *s = az_sigmoid(az, az_mul(az, x, az_affine(az, square, 2 * k * c, 2 * k)));
    az_tensor *inner = az_mul(az, x, az_affine(az, square, 6 * k * c, 2 * k));
    return az_add(az, s, az_mul(az, inner, az_mul(az, s, az_affine(az, s, -1, 1))));
}

/* ---- applying a rule ---- */

static az_tensor *apply(az_ctx *az, const az_tensor *x, az_unary kind, int cost, const double param[2])
{
    az_tensor *y = az_tensor_new(az, x->dtype, x->rank, x->shape);
    if (!y) return NULL;
    az_walk walk = az_walk_over(az, (const az_tensor *[]){y, x}, 2);
    az_walk_run(&walk, az_elementwise_for(x->dtype)->unary, (int)kind, param, cost);
    return y;
}

/* Functions that are constant almost everywhere: 1 where x is positive; where it lies inside bounds. */
static az_tensor *relu_slope(az_ctx *az, const az_tensor *x, const double param[2])
{
    return apply(az, x, AZ_UNARY_STEP, 1, param);
}

static az_tensor *clip_slope(az_ctx *az, const az_tensor *x, const double param[2])
{
    return apply(az, x, AZ_UNARY_INSIDE, 1, param);
}

static void unary_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const unary_rule *rule = (const unary_rule *)node->op;
    const double *param = node->saved;
    const az_tensor *v = rule->from_output ? node->output : node->input[0];
    if (az_recording(az)) {
        gx[0] = az_mul(az, gy, rule->slope(az, v, param));
        return;
    }
    gx[0] = az_tensor_new(az, gy->dtype, gy->rank, gy->shape);
    if (!gx[0]) return;
    az_walk walk = az_walk_over(az, (const az_tensor *[]){gx[0], gy, v}, 3);
    az_walk_run(&walk, az_elementwise_for(gy->dtype)->slope, (int)rule->kind, param, rule->cost);
}

static void affine_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    gx[0] = az_affine(az, gy, ((const double *)node->saved)[0], 0);
}

enum { OF_INPUT = AZ_FORGETS_OUTPUT, OF_OUTPUT = AZ_FORGETS_INPUTS, OF_NONE = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT };
enum { CHEAP = 1, MEDIUM = 8, DEAR = 32 };

static const unary_rule rules[AZ_UNARY_KINDS] = {
    [AZ_UNARY_AFFINE] = {{"az_affine", affine_gradient, NULL, OF_NONE}, AZ_UNARY_AFFINE, false, CHEAP, NULL},
    [AZ_UNARY_POW] = {{"az_pow", unary_gradient, NULL, OF_INPUT}, AZ_UNARY_POW, false, DEAR, pow_slope},
    [AZ_UNARY_CLIP] = {{"az_clip", unary_gradient, NULL, OF_INPUT}, AZ_UNARY_CLIP, false, CHEAP, clip_slope},
    [AZ_UNARY_EXP] = {{"az_exp", unary_gradient, NULL, OF_OUTPUT}, AZ_UNARY_EXP, true, MEDIUM, same_slope},
    [AZ_UNARY_LOG] = {{"az_log", unary_gradient, NULL, OF_INPUT}, AZ_UNARY_LOG, false, MEDIUM, log_slope},
    [AZ_UNARY_SQRT] = {{"az_sqrt", unary_gradient, NULL, OF_OUTPUT}, AZ_UNARY_SQRT, true, CHEAP, sqrt_slope},
    [AZ_UNARY_SQUARE] = {{"az_square", unary_gradient, NULL, OF_INPUT}, AZ_UNARY_SQUARE, false, CHEAP, square_slope},
    [AZ_UNARY_ABS] = {{"az_abs", unary_gradient, NULL, OF_INPUT}, AZ_UNARY_ABS, false, CHEAP, abs_slope},
    [AZ_UNARY_SIN] = {{"az_sin", unary_gradient, NULL, OF_INPUT}, AZ_UNARY_SIN, false, DEAR, sin_slope},
    [AZ_UNARY_COS] = {{"az_cos", unary_gradient, NULL, OF_INPUT}, AZ_UNARY_COS, false, DEAR, cos_slope},
    [AZ_UNARY_ERF] = {{"az_erf", unary_gradient, NULL, OF_INPUT}, AZ_UNARY_ERF, false, MEDIUM, erf_slope},
    [AZ_UNARY_TANH] = {{"az_tanh", unary_gradient, NULL, OF_OUTPUT}, AZ_UNARY_TANH, true, MEDIUM, tanh_slope},
    [AZ_UNARY_SIGMOID] = {{"az_sigmoid", unary_gradient, NULL, OF_OUTPUT}, AZ_UNARY_SIGMOID, true, MEDIUM, sigmoid_slope},
    [AZ_UNARY_SOFTPLUS] = {{"az_softplus", unary_gradient, NULL, OF_INPUT}, AZ_UNARY_SOFTPLUS, false, MEDIUM, softplus_slope},
    [AZ_UNARY_RELU] = {{"az_relu", unary_gradient, NULL, OF_INPUT}, AZ_UNARY_RELU, false, CHEAP, relu_slope},
    [AZ_UNARY_SILU] = {{"az_silu", unary_gradient, NULL, OF_INPUT}, AZ_UNARY_SILU, false, MEDIUM, silu_slope},
    [AZ_UNARY_GELU] = {{"az_gelu", unary_gradient, NULL, OF_INPUT}, AZ_UNARY_GELU, false, MEDIUM, gelu_slope},
    [AZ_UNARY_GELU_TANH] = {{"az_gelu_tanh", unary_gradient, NULL, OF_INPUT}, AZ_UNARY_GELU_TANH, false, MEDIUM, gelu_tanh_slope},
};

static az_tensor *unary(az_ctx *az, const az_tensor *x, az_unary kind, double first, double second)
{
    const unary_rule *rule = &rules[kind];
    if (!az_real(az, rule->op.name, x)) return NULL;
    const double param[2] = {first, second};
    az_tensor *y = apply(az, x, kind, rule->cost, param);
    return az_record(az, &rule->op, y, &x, 1, param, sizeof param);
}

/* ---- the functions ---- */

az_tensor *az_affine(az_ctx *az, const az_tensor *x, double scale, double shift)
{
    return unary(az, x, AZ_UNARY_AFFINE, scale, shift);
}

az_tensor *az_neg(az_ctx *az, const az_tensor *x)
{
    return az_affine(az, x, -1, 0);
}

az_tensor *az_pow(az_ctx *az, const az_tensor *x, double exponent)
{
    if (exponent == 2) return az_square(az, x);
    if (exponent == 0.5) return az_sqrt(az, x);
    return unary(az, x, AZ_UNARY_POW, exponent, 0);
}

az_tensor *az_clip(az_ctx *az, const az_tensor *x, double low, double high)
{
    if (!(low <= high)) return az_fail(az, AZ_BAD_CALL, "az_clip: bounds %g and %g", low, high);
    return unary(az, x, AZ_UNARY_CLIP, low, high);
}

az_tensor *az_exp(az_ctx *az, const az_tensor *x)
{
    return unary(az, x, AZ_UNARY_EXP, 0, 0);
}

az_tensor *az_log(az_ctx *az, const az_tensor *x)
{
    return unary(az, x, AZ_UNARY_LOG, 0, 0);
}

az_tensor *az_sqrt(az_ctx *az, const az_tensor *x)
{
    return unary(az, x, AZ_UNARY_SQRT, 0, 0);
}

az_tensor *az_square(az_ctx *az, const az_tensor *x)
{
    return unary(az, x, AZ_UNARY_SQUARE, 0, 0);
}

az_tensor *az_abs(az_ctx *az, const az_tensor *x)
{
    return unary(az, x, AZ_UNARY_ABS, 0, 0);
}

az_tensor *az_sign(az_ctx *az, const az_tensor *x)
{
    return az_real(az, "az_sign", x) ? apply(az, x, AZ_UNARY_SIGN, CHEAP, (double[2]){0, 0}) : NULL;
}

az_tensor *az_sin(az_ctx *az, const az_tensor *x)
{
    return unary(az, x, AZ_UNARY_SIN, 0, 0);
}

az_tensor *az_cos(az_ctx *az, const az_tensor *x)
{
    return unary(az, x, AZ_UNARY_COS, 0, 0);
}

az_tensor *az_erf(az_ctx *az, const az_tensor *x)
{
    return unary(az, x, AZ_UNARY_ERF, 0, 0);
}

az_tensor *az_tanh(az_ctx *az, const az_tensor *x)
{
    return unary(az, x, AZ_UNARY_TANH, 0, 0);
}

az_tensor *az_sigmoid(az_ctx *az, const az_tensor *x)
{
    return unary(az, x, AZ_UNARY_SIGMOID, 0, 0);
}

az_tensor *az_softplus(az_ctx *az, const az_tensor *x)
{
    return unary(az, x, AZ_UNARY_SOFTPLUS, 0, 0);
}

az_tensor *az_relu(az_ctx *az, const az_tensor *x)
{
    return unary(az, x, AZ_UNARY_RELU, 0, 0);
}

az_tensor *az_silu(az_ctx *az, const az_tensor *x)
{
    return unary(az, x, AZ_UNARY_SILU, 0, 0);
}

az_tensor *az_gelu(az_ctx *az, const az_tensor *x)
{
    return unary(az, x, AZ_UNARY_GELU, 0, 0);
}

az_tensor *az_gelu_tanh(az_ctx *az, const az_tensor *x)
{
    return unary(az, x, AZ_UNARY_GELU_TANH, 0, 0);
}
