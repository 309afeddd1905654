/* fft.c - real discrete Fourier transforms over the last axis, through FFTW in double precision. */
#include "adze/linalg.h"

#include <fftw3.h>
#include <limits.h>
#include <pthread.h>

/* FFTW's planner (not its execution) is shared by the whole process and must not run twice at once. */
static pthread_mutex_t planner = PTHREAD_MUTEX_INITIALIZER;

static void destroy_plan(void *plan)
{
    pthread_mutex_lock(&planner);
    fftw_destroy_plan(plan);
    pthread_mutex_unlock(&planner);
}

/* A plan for one row of n reals, destroyed with the current scope. */
static fftw_plan make_plan(az_ctx *az, int64_t n, bool forward)
{
    double *real = az_alloc_array(az, (size_t)n, sizeof *real);
    fftw_complex *spectrum = az_alloc_array(az, (size_t)(n / 2 + 1), sizeof *spectrum);
    if (!real || !spectrum) return NULL;
    const unsigned flags = FFTW_ESTIMATE | FFTW_UNALIGNED | FFTW_PRESERVE_INPUT;
    pthread_mutex_lock(&planner);
    fftw_plan plan = forward ? fftw_plan_dft_r2c_1d((int)n, real, spectrum, flags) : fftw_plan_dft_c2r_1d((int)n, spectrum, real, flags);
    pthread_mutex_unlock(&planner);
    if (!plan) return az_fail(az, AZ_NO_MEMORY, "fft: no plan for length %lld", (long long)n);
    return az_on_leave(az, destroy_plan, plan) ? plan : NULL;
}

/* Contiguous f64 values of an f32 or f64 operand. */
static const az_tensor *as_double(az_ctx *az, const az_tensor *x)
{
    const az_tensor *plain = az_detach(az, x);
    return az_contiguous(az, x->dtype == AZ_F64 ? plain : az_cast(az, plain, AZ_F64));
}

az_tensor *az_rfft(az_ctx *az, const az_tensor *x)
{
    if (!x) return NULL;
    if ((x->dtype != AZ_F32 && x->dtype != AZ_F64) || x->rank < 1 || x->rank >= AZ_MAX_RANK || x->shape[x->rank - 1] < 1 ||
        x->shape[x->rank - 1] > INT_MAX)
        return az_fail(az, AZ_BAD_CALL, "rfft: wants f32 or f64 [..., n] with n >= 1 and at most %d axes, got %s %s", AZ_MAX_RANK - 1,
                       az_dtype_name(x->dtype), az_shape_text(az, x));
    const int64_t n = x->shape[x->rank - 1], bins = n / 2 + 1, rows = az_count(x) / n;
    int64_t shape[AZ_MAX_RANK];
    for (int i = 0; i < x->rank; i++) shape[i] = x->shape[i];
    shape[x->rank - 1] = bins;
    shape[x->rank] = 2;
    az_scope_push(az);
    const az_tensor *in = as_double(az, x);
    az_tensor *y = az_tensor_new(az, AZ_F64, x->rank + 1, shape);
    fftw_plan plan = make_plan(az, n, true);
    if (in && y && plan) {
        double *from = in->data, *to = y->data;
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (rows > 1 && rows * n > 16384)
        for (int64_t i = 0; i < rows; i++) fftw_execute_dft_r2c(plan, from + i * n, (fftw_complex *)(void *)(to + i * bins * 2));
    } else {
        y = NULL;
    }
    return az_keep(az, x->dtype == AZ_F64 ? y : az_cast(az, y, AZ_F32));
}

az_tensor *az_irfft(az_ctx *az, const az_tensor *x, int64_t n)
{
    if (!x) return NULL;
    if ((x->dtype != AZ_F32 && x->dtype != AZ_F64) || x->rank < 2 || n < 1 || n > INT_MAX || x->shape[x->rank - 1] != 2 ||
        x->shape[x->rank - 2] != n / 2 + 1)
        return az_fail(az, AZ_BAD_CALL, "irfft: wants f32 or f64 [..., n/2 + 1, 2] with n = %lld, got %s %s", (long long)n,
                       az_dtype_name(x->dtype), az_shape_text(az, x));
    const int64_t bins = n / 2 + 1, rows = az_count(x) / (2 * bins);
    int64_t shape[AZ_MAX_RANK];
    for (int i = 0; i < x->rank - 2; i++) shape[i] = x->shape[i];
    shape[x->rank - 2] = n;
    az_scope_push(az);
    const az_tensor *in = as_double(az, x);
    az_tensor *y = az_tensor_new(az, AZ_F64, x->rank - 1, shape);
    fftw_plan plan = make_plan(az, n, false);
    if (in && y && plan) {
        double *from = in->data, *to = y->data;
#pragma omp parallel for schedule(static) num_threads(az_threads(az)) if (rows > 1 && rows * n > 16384)
        for (int64_t i = 0; i < rows; i++) {
            fftw_execute_dft_c2r(plan, (fftw_complex *)(void *)(from + i * bins * 2), to + i * n);
            for (int64_t k = 0; k < n; k++) to[i * n + k] /= (double)n;
        }
    } else {
        y = NULL;
    }
    return az_keep(az, x->dtype == AZ_F64 ? y : az_cast(az, y, AZ_F32));
}
