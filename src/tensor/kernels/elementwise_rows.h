/* elementwise_rows.h - row kernels of elementwise operations; included once with REAL = float and once with REAL = double. NAME(f) adds the
 * type's suffix to a name. Each switch is over a constant once the loops are inlined, so every function gets a loop of its own. */

/* The inner argument of gelu_tanh, sqrt(2/pi) (x + 0.044715 x^3). */
static inline REAL NAME(gelu_inner)(REAL x)
{
    return (REAL)0.79788456080286535588 * x * (1 + (REAL)0.044715 * x * x);
}

static inline REAL NAME(gelu_tanh)(REAL x)
{
    return x * NAME(sigmoid)(2 * NAME(gelu_inner)(x));
} /* (1 + tanh u) / 2 = sigmoid(2u) */

static inline __attribute__((always_inline)) REAL NAME(function)(int op, const double *param, REAL x)
{
    switch ((az_unary)op) {
    case AZ_UNARY_AFFINE: return (REAL)param[0] * x + (REAL)param[1];
    case AZ_UNARY_POW: return NAME(pow)(x, param[0]);
    case AZ_UNARY_CLIP: return x < (REAL)param[0] ? (REAL)param[0] : x > (REAL)param[1] ? (REAL)param[1] : x;
    case AZ_UNARY_EXP: return NAME(exp)(x);
    case AZ_UNARY_LOG: return NAME(log)(x);
    case AZ_UNARY_SQRT: return NAME(sqrt)(x);
    case AZ_UNARY_SQUARE: return x * x;
    case AZ_UNARY_ABS: return x < 0 ? -x : x + 0; /* + 0 turns -0 into 0 */
    case AZ_UNARY_SIGN: return x > 0 ? 1 : x < 0 ? -1 : x;
    case AZ_UNARY_SIN: return NAME(sin)(x);
    case AZ_UNARY_COS: return NAME(cos)(x);
    case AZ_UNARY_ERF: return NAME(erf)(x);
    case AZ_UNARY_TANH: return NAME(tanh)(x);
    case AZ_UNARY_SIGMOID: return NAME(sigmoid)(x);
    case AZ_UNARY_SOFTPLUS: return NAME(softplus)(x);
    case AZ_UNARY_RELU: return x < 0 ? 0 : x;
    case AZ_UNARY_SILU: return x * NAME(sigmoid)(x);
    case AZ_UNARY_GELU: return NAME(gelu)(x);
    case AZ_UNARY_GELU_TANH: return NAME(gelu_tanh)(x);
    case AZ_UNARY_STEP: return x > 0 ? 1 : 0;
    case AZ_UNARY_INSIDE: return x >= (REAL)param[0] && x <= (REAL)param[1] ? 1 : 0;
    case AZ_UNARY_KINDS: break;
    }
    return 0;
}

/* f'(x), from v = y for exp, sqrt, tanh and sigmoid, from v = x for the others. */
static inline __attribute__((always_inline)) REAL NAME(function_slope)(int op, const double *param, REAL v)
{
    REAL s, u;
    switch ((az_unary)op) {
    case AZ_UNARY_AFFINE: return (REAL)param[0];
    case AZ_UNARY_POW: return (REAL)param[0] * NAME(pow)(v, param[0] - 1);
    case AZ_UNARY_CLIP: return v >= (REAL)param[0] && v <= (REAL)param[1] ? 1 : 0;
    case AZ_UNARY_EXP: return v;
    case AZ_UNARY_LOG: return 1 / v;
    case AZ_UNARY_SQRT: return (REAL)0.5 / v;
    case AZ_UNARY_SQUARE: return 2 * v;
    case AZ_UNARY_ABS: return v > 0 ? 1 : v < 0 ? -1 : v;
    case AZ_UNARY_SIN: return NAME(cos)(v);
    case AZ_UNARY_COS: return -NAME(sin)(v);
    case AZ_UNARY_ERF: return (REAL)1.12837916709551257390 * NAME(exp)(-v * v);
    case AZ_UNARY_TANH: return 1 - v * v;
    case AZ_UNARY_SIGMOID: return v * (1 - v);
    case AZ_UNARY_SOFTPLUS: return NAME(sigmoid)(v);
    case AZ_UNARY_RELU: return v > 0 ? 1 : 0;
    case AZ_UNARY_SILU: s = NAME(sigmoid)(v); return s * (1 + v * (1 - s));
    case AZ_UNARY_GELU: return NAME(gelu_slope)(v);
    case AZ_UNARY_GELU_TANH:
        s = NAME(sigmoid)(2 * NAME(gelu_inner)(v));
        u = (REAL)0.79788456080286535588 * (1 + 3 * (REAL)0.044715 * v * v); /* derivative of gelu_inner */
        return s + 2 * v * s * (1 - s) * u;
    case AZ_UNARY_SIGN:
    case AZ_UNARY_STEP:
    case AZ_UNARY_INSIDE:
    case AZ_UNARY_KINDS: break;
    }
    return 0;
}

static inline __attribute__((always_inline)) REAL NAME(combine)(int op, REAL a, REAL b)
{
    switch ((az_binary)op) {
    case AZ_BINARY_ADD: return a + b;
    case AZ_BINARY_SUB: return a - b;
    case AZ_BINARY_MUL: return a * b;
    case AZ_BINARY_DIV: return a / b;
    case AZ_BINARY_MAX: return a >= b || a != a ? a : b; /* NaN wins, on either side */
    case AZ_BINARY_MIN: return a <= b || a != a ? a : b;
    case AZ_BINARY_FIRST_IS_MAX: return a >= b || a != a ? 1 : 0;
    case AZ_BINARY_FIRST_IS_MIN: return a <= b || a != a ? 1 : 0;
    case AZ_BINARY_KINDS: break;
    }
    return 0;
}

static inline __attribute__((always_inline)) void NAME(map)(int op, const double *param, const az_lane *lane, int64_t n)
{
    REAL *restrict y = lane[0].data;
    const REAL *restrict x = lane[1].data;
    int64_t sy = lane[0].stride, sx = lane[1].stride;
    if (sy == 1 && sx == 1) {
        for (int64_t i = 0; i < n; i++) y[i] = NAME(function)(op, param, x[i]);
    } else {
        for (int64_t i = 0; i < n; i++) y[i * sy] = NAME(function)(op, param, x[i * sx]);
    }
}

static inline __attribute__((always_inline)) void NAME(map_slope)(int op, const double *param, const az_lane *lane, int64_t n)
{
    REAL *restrict gx = lane[0].data;
    const REAL *restrict gy = lane[1].data, *restrict v = lane[2].data;
    int64_t s0 = lane[0].stride, s1 = lane[1].stride, s2 = lane[2].stride;
    if (s0 == 1 && s1 == 1 && s2 == 1) {
        for (int64_t i = 0; i < n; i++) gx[i] = gy[i] * NAME(function_slope)(op, param, v[i]);
    } else {
        for (int64_t i = 0; i < n; i++) gx[i * s0] = gy[i * s1] * NAME(function_slope)(op, param, v[i * s2]);
    }
}

static inline __attribute__((always_inline)) void NAME(map_two)(int op, const az_lane *lane, int64_t n)
{
    REAL *restrict y = lane[0].data;
    const REAL *restrict a = lane[1].data, *restrict b = lane[2].data;
    int64_t s0 = lane[0].stride, s1 = lane[1].stride, s2 = lane[2].stride;
    if (s0 == 1 && s1 == 1 && s2 == 1) {
        for (int64_t i = 0; i < n; i++) y[i] = NAME(combine)(op, a[i], b[i]);
    } else if (s0 == 1 && s1 == 1 && s2 == 0) {
        REAL fixed = *b;
        for (int64_t i = 0; i < n; i++) y[i] = NAME(combine)(op, a[i], fixed);
    } else if (s0 == 1 && s1 == 0 && s2 == 1) {
        REAL fixed = *a;
        for (int64_t i = 0; i < n; i++) y[i] = NAME(combine)(op, fixed, b[i]);
    } else {
        for (int64_t i = 0; i < n; i++) y[i * s0] = NAME(combine)(op, a[i * s1], b[i * s2]);
    }
}

static void NAME(unary)(int op, const double *param, const az_lane *lane, int64_t n)
{
    switch ((az_unary)op) {
    case AZ_UNARY_AFFINE: NAME(map)(AZ_UNARY_AFFINE, param, lane, n); break;
    case AZ_UNARY_POW: NAME(map)(AZ_UNARY_POW, param, lane, n); break;
    case AZ_UNARY_CLIP: NAME(map)(AZ_UNARY_CLIP, param, lane, n); break;
    case AZ_UNARY_EXP: NAME(map)(AZ_UNARY_EXP, param, lane, n); break;
    case AZ_UNARY_LOG: NAME(map)(AZ_UNARY_LOG, param, lane, n); break;
    case AZ_UNARY_SQRT: NAME(map)(AZ_UNARY_SQRT, param, lane, n); break;
    case AZ_UNARY_SQUARE: NAME(map)(AZ_UNARY_SQUARE, param, lane, n); break;
    case AZ_UNARY_ABS: NAME(map)(AZ_UNARY_ABS, param, lane, n); break;
    case AZ_UNARY_SIGN: NAME(map)(AZ_UNARY_SIGN, param, lane, n); break;
    case AZ_UNARY_SIN: NAME(map)(AZ_UNARY_SIN, param, lane, n); break;
    case AZ_UNARY_COS: NAME(map)(AZ_UNARY_COS, param, lane, n); break;
    case AZ_UNARY_ERF: NAME(map)(AZ_UNARY_ERF, param, lane, n); break;
    case AZ_UNARY_TANH: NAME(map)(AZ_UNARY_TANH, param, lane, n); break;
    case AZ_UNARY_SIGMOID: NAME(map)(AZ_UNARY_SIGMOID, param, lane, n); break;
    case AZ_UNARY_SOFTPLUS: NAME(map)(AZ_UNARY_SOFTPLUS, param, lane, n); break;
    case AZ_UNARY_RELU: NAME(map)(AZ_UNARY_RELU, param, lane, n); break;
    case AZ_UNARY_SILU: NAME(map)(AZ_UNARY_SILU, param, lane, n); break;
    case AZ_UNARY_GELU: NAME(map)(AZ_UNARY_GELU, param, lane, n); break;
    case AZ_UNARY_GELU_TANH: NAME(map)(AZ_UNARY_GELU_TANH, param, lane, n); break;
    case AZ_UNARY_STEP: NAME(map)(AZ_UNARY_STEP, param, lane, n); break;
    case AZ_UNARY_INSIDE: NAME(map)(AZ_UNARY_INSIDE, param, lane, n); break;
    case AZ_UNARY_KINDS: break;
    }
}

static void NAME(slope)(int op, const double *param, const az_lane *lane, int64_t n)
{
    switch ((az_unary)op) {
    case AZ_UNARY_AFFINE: NAME(map_slope)(AZ_UNARY_AFFINE, param, lane, n); break;
    case AZ_UNARY_POW: NAME(map_slope)(AZ_UNARY_POW, param, lane, n); break;
    case AZ_UNARY_CLIP: NAME(map_slope)(AZ_UNARY_CLIP, param, lane, n); break;
    case AZ_UNARY_EXP: NAME(map_slope)(AZ_UNARY_EXP, param, lane, n); break;
    case AZ_UNARY_LOG: NAME(map_slope)(AZ_UNARY_LOG, param, lane, n); break;
    case AZ_UNARY_SQRT: NAME(map_slope)(AZ_UNARY_SQRT, param, lane, n); break;
    case AZ_UNARY_SQUARE: NAME(map_slope)(AZ_UNARY_SQUARE, param, lane, n); break;
    case AZ_UNARY_ABS: NAME(map_slope)(AZ_UNARY_ABS, param, lane, n); break;
    case AZ_UNARY_SIN: NAME(map_slope)(AZ_UNARY_SIN, param, lane, n); break;
    case AZ_UNARY_COS: NAME(map_slope)(AZ_UNARY_COS, param, lane, n); break;
    case AZ_UNARY_ERF: NAME(map_slope)(AZ_UNARY_ERF, param, lane, n); break;
    case AZ_UNARY_TANH: NAME(map_slope)(AZ_UNARY_TANH, param, lane, n); break;
    case AZ_UNARY_SIGMOID: NAME(map_slope)(AZ_UNARY_SIGMOID, param, lane, n); break;
    case AZ_UNARY_SOFTPLUS: NAME(map_slope)(AZ_UNARY_SOFTPLUS, param, lane, n); break;
    case AZ_UNARY_RELU: NAME(map_slope)(AZ_UNARY_RELU, param, lane, n); break;
    case AZ_UNARY_SILU: NAME(map_slope)(AZ_UNARY_SILU, param, lane, n); break;
    case AZ_UNARY_GELU: NAME(map_slope)(AZ_UNARY_GELU, param, lane, n); break;
    case AZ_UNARY_GELU_TANH: NAME(map_slope)(AZ_UNARY_GELU_TANH, param, lane, n); break;
    case AZ_UNARY_SIGN:
    case AZ_UNARY_STEP:
    case AZ_UNARY_INSIDE:
    case AZ_UNARY_KINDS: NAME(map_slope)(AZ_UNARY_KINDS, param, lane, n); break;
    }
}

static void NAME(binary)(int op, const double *param, const az_lane *lane, int64_t n)
{
    (void)param;
    switch ((az_binary)op) {
    case AZ_BINARY_ADD: NAME(map_two)(AZ_BINARY_ADD, lane, n); break;
    case AZ_BINARY_SUB: NAME(map_two)(AZ_BINARY_SUB, lane, n); break;
    case AZ_BINARY_MUL: NAME(map_two)(AZ_BINARY_MUL, lane, n); break;
    case AZ_BINARY_DIV: NAME(map_two)(AZ_BINARY_DIV, lane, n); break;
    case AZ_BINARY_MAX: NAME(map_two)(AZ_BINARY_MAX, lane, n); break;
    case AZ_BINARY_MIN: NAME(map_two)(AZ_BINARY_MIN, lane, n); break;
    case AZ_BINARY_FIRST_IS_MAX: NAME(map_two)(AZ_BINARY_FIRST_IS_MAX, lane, n); break;
    case AZ_BINARY_FIRST_IS_MIN: NAME(map_two)(AZ_BINARY_FIRST_IS_MIN, lane, n); break;
    case AZ_BINARY_KINDS: break;
    }
}

static void NAME(select)(int op, const double *param, const az_lane *lane, int64_t n)
{
    (void)op;
    (void)param;
    REAL *restrict y = lane[0].data;
    const uint8_t *restrict mask = lane[1].data;
    const REAL *restrict a = lane[2].data, *restrict b = lane[3].data;
    int64_t sy = lane[0].stride, sm = lane[1].stride, sa = lane[2].stride, sb = lane[3].stride;
    for (int64_t i = 0; i < n; i++) y[i * sy] = mask[i * sm] ? a[i * sa] : b[i * sb];
}

static void NAME(add_scaled)(int op, const double *param, const az_lane *lane, int64_t n)
{
    (void)op;
    REAL *restrict y = lane[0].data;
    const REAL *restrict x = lane[1].data;
    int64_t sy = lane[0].stride, sx = lane[1].stride;
    REAL scale = (REAL)param[0];
    if (sy == 1 && sx == 1) {
        for (int64_t i = 0; i < n; i++) y[i] += scale * x[i];
    } else {
        for (int64_t i = 0; i < n; i++) y[i * sy] += scale * x[i * sx];
    }
}
