/* rows.h - kernels over one row for the type REAL, on top of NAME(exp), NAME(sigmoid) and NAME(tanh) of one element. The loops are plain C
 * for the compiler to vectorise; sums keep several partial sums in a fixed order. */

static void NAME(row_exp)(int64_t n, const REAL *x, REAL *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = NAME(exp)(x[i]);
}

static void NAME(row_sigmoid)(int64_t n, const REAL *x, REAL *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = NAME(sigmoid)(x[i]);
}

static void NAME(row_tanh)(int64_t n, const REAL *x, REAL *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = NAME(tanh)(x[i]);
}

static void NAME(row_silu)(int64_t n, const REAL *x, REAL *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * NAME(sigmoid)(x[i]);
}

static void NAME(row_swiglu)(int64_t n, const REAL *gate, const REAL *up, REAL *y)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = gate[i] * NAME(sigmoid)(gate[i]) * up[i];
}

static void NAME(row_swiglu_gradient)(int64_t n, const REAL *gate, const REAL *up, REAL *g_gate, REAL *g_up)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        REAL gy = g_up[i], g = gate[i], s = NAME(sigmoid)(g), silu = g * s;
        g_up[i] = gy * silu;
        g_gate[i] = gy * up[i] * (s + silu * (1 - s));
    }
}

/* The quarters of the row run side by side, which hides the latency of the comparison. */
static REAL NAME(row_max)(int64_t n, const REAL *x)
{
    const int64_t quarter = n / 4;
    const REAL *y = x + quarter, *z = y + quarter, *w = z + quarter;
    REAL a = -INFINITY, b = -INFINITY, c = -INFINITY, d = -INFINITY;
#pragma omp simd reduction(max : a, b, c, d)
    for (int64_t i = 0; i < quarter; i++) {
        a = x[i] > a ? x[i] : a;
        b = y[i] > b ? y[i] : b;
        c = z[i] > c ? z[i] : c;
        d = w[i] > d ? w[i] : d;
    }
    a = a > b ? a : b;
    c = c > d ? c : d;
    a = a > c ? a : c;
    for (int64_t i = 4 * quarter; i < n; i++) a = x[i] > a ? x[i] : a;
    return a;
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
    for (int64_t i = 0; i < n; i++) sum += NAME(exp)(x[i] - shift);
    return sum;
}

static REAL NAME(row_exp_shift)(int64_t n, const REAL *x, REAL shift, REAL *y)
{
    REAL sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        REAL e = NAME(exp)(x[i] - shift);
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
    for (int64_t i = 0; i < n; i++) y[i] = scale * NAME(exp)(x[i] - shift);
}

static REAL NAME(row_sum_squares)(int64_t n, const REAL *x, REAL shift)
{
    REAL sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (x[i] - shift) * (x[i] - shift);
    return sum;
}

static void NAME(row_norm)(int64_t n, const NAME(az_norm_row) * row, REAL *y)
{
    const NAME(az_norm_row) r = *row;
    if (!r.bias) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) y[i] = (r.x[i] - r.shift) * r.scale * r.weight[i];
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = (r.x[i] - r.shift) * r.scale * r.weight[i] + r.bias[i];
}

static void NAME(row_norm_sums)(int64_t n, const NAME(az_norm_row) * row, const REAL *gy, REAL sums[2])
{
    const NAME(az_norm_row) r = *row;
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

static void NAME(row_norm_gradient)(int64_t n, const NAME(az_norm_row) * row, const REAL *gy, const REAL mean[2], REAL *gx, REAL *g_weight)
{
    const NAME(az_norm_row) r = *row;
    const REAL mean_g = mean[0], mean_gz = mean[1];
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        REAL z = (r.x[i] - r.shift) * r.scale;
        gx[i] = r.scale * (r.weight[i] * gy[i] - mean_g - mean_gz * z);
        g_weight[i] += gy[i] * z;
    }
}
