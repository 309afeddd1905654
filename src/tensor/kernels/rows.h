/* rows.h - kernels over one row, for the real type REAL; NAME(x) gives each function its suffix and REAL_EXP, REAL_SIGMOID, REAL_TANH name
 * the functions of one element. The loops are plain C for the compiler to vectorise; sums keep several partial sums in a fixed order. */

static void NAME(row_exp)(int64_t n, const REAL *x, REAL *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = REAL_EXP(x[i]);
}

static void NAME(row_sigmoid)(int64_t n, const REAL *x, REAL *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = REAL_SIGMOID(x[i]);
}

static void NAME(row_tanh)(int64_t n, const REAL *x, REAL *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = REAL_TANH(x[i]);
}

static void NAME(row_silu)(int64_t n, const REAL *x, REAL *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * REAL_SIGMOID(x[i]);
}

static void NAME(row_swiglu)(int64_t n, const REAL *gate, const REAL *up, REAL *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = gate[i] * REAL_SIGMOID(gate[i]) * up[i];
}

static void NAME(row_swiglu_gradient)(int64_t n, const REAL *gate, const REAL *up, REAL *g_gate, REAL *g_up)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        REAL gy = g_up[i], g = gate[i], s = REAL_SIGMOID(g), silu = g * s;
        g_up[i] = gy * silu;
        g_gate[i] = gy * up[i] * (s + silu * (1 - s));
    }
}

static REAL NAME(row_max)(int64_t n, const REAL *x)
{
    REAL most = -INFINITY;
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
    return most;
}

static REAL NAME(row_sum)(int64_t n, const REAL *x)
{
    REAL sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

static REAL NAME(row_sum_exp)(int64_t n, const REAL *x, REAL shift)
{
    REAL sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += REAL_EXP(x[i] - shift);
    return sum;
}

static REAL NAME(row_exp_shift)(int64_t n, const REAL *x, REAL shift, REAL *y)
{
    REAL sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        REAL e = REAL_EXP(x[i] - shift);
        y[i] = e;
        sum += e;
    }
    return sum;
}

static void NAME(row_axpy)(int64_t n, REAL a, const REAL *x, REAL *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

static void NAME(row_scale)(int64_t n, REAL a, const REAL *x, REAL *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = a * x[i];
}

static void NAME(row_softmax)(int64_t n, const REAL *x, REAL *y)
{
    REAL sum = NAME(row_exp_shift)(n, x, NAME(row_max)(n, x), y);
    NAME(row_scale)(n, 1 / sum, y, y);
}

static void NAME(row_softmax_gradient)(int64_t n, const REAL *p, REAL inner, REAL *gp)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) gp[i] = p[i] * (gp[i] - inner);
}

static void NAME(row_exp_scaled)(int64_t n, const REAL *x, REAL shift, REAL scale, REAL *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = scale * REAL_EXP(x[i] - shift);
}

static REAL NAME(row_sum_squares)(int64_t n, const REAL *x, REAL shift)
{
    REAL sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (x[i] - shift) * (x[i] - shift);
    return sum;
}

static void NAME(row_norm)(int64_t n, const AZ_NORM_ROW *row, REAL *y)
{
    const AZ_NORM_ROW r = *row;
    if (!r.bias) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = (r.x[i] - r.shift) * r.scale * r.weight[i];
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = (r.x[i] - r.shift) * r.scale * r.weight[i] + r.bias[i];
}

static void NAME(row_norm_sums)(int64_t n, const AZ_NORM_ROW *row, const REAL *gy, REAL sums[2])
{
    const AZ_NORM_ROW r = *row;
    REAL plain = 0, with_z = 0;
#pragma omp simd reduction(+ : plain, with_z)
    for (int64_t i = 0; i < n; i++) {
        REAL g = r.weight[i] * gy[i];
        plain += g;
        with_z += g * ((r.x[i] - r.shift) * r.scale);
    }
    sums[0] = plain;
    sums[1] = with_z;
}

static void NAME(row_norm_gradient)(int64_t n, const AZ_NORM_ROW *row, const REAL *gy, const REAL mean[2], REAL *gx, REAL *g_weight)
{
    const AZ_NORM_ROW r = *row;
    const REAL mean_g = mean[0], mean_gz = mean[1];
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        REAL z = (r.x[i] - r.shift) * r.scale;
        gx[i] = r.scale * (r.weight[i] * gy[i] - mean_g - mean_gz * z);
        g_weight[i] += gy[i] * z;
    }
}
