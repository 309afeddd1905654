/* higher.c - products with second derivatives and with Jacobians, by differentiating a recorded gradient. */
#include "adze/grad.h"

/* sum_i <a_i, b_i> */
static az_tensor *inner_product(az_ctx *az, az_tensor *const *a, const az_tensor *const *b, int n)
{
    az_tensor *sum = NULL;
    for (int i = 0; i < n; i++) {
        if (a[i] && b[i] && !az_same_shape(a[i], b[i]))
            return az_fail(az, AZ_BAD_CALL, "direction %d has shape %s; its tensor has %s", i, az_shape_text(az, b[i]),
                           az_shape_text(az, a[i]));
        az_tensor *term = az_sum(az, az_mul(az, a[i], b[i]), AZ_ALL_AXES, false);
        sum = sum ? az_add(az, sum, term) : term;
    }
    return sum;
}

bool az_hessian_vector(az_ctx *az, const az_tensor *y, const az_tensor *const *x, const az_tensor *const *v, int n, az_tensor **hv)
{
    for (int i = 0; i < n; i++) hv[i] = NULL;
    if (n < 1) return az_ok(az);
    az_scope_push(az);
    az_tensor **g = az_alloc_array(az, (size_t)n, sizeof *g);
    if (g && az_grad(az, y, NULL, x, n, g, AZ_GRAD_RECORD)) az_grad(az, inner_product(az, g, v, n), NULL, x, n, hv, 0);
    az_keep_all(az, hv, n);
    return az_ok(az);
}

/* The pullback u -> u^T J is linear in u; its derivative by u in the direction v is J v. */
az_tensor *az_jvp(az_ctx *az, const az_tensor *y, const az_tensor *const *x, const az_tensor *const *v, int n)
{
    if (!y || n < 1) return az_fail(az, AZ_BAD_CALL, "az_jvp: nothing to differentiate");
    az_scope_push(az);
    az_tensor *jv = NULL, **g = az_alloc_array(az, (size_t)n, sizeof *g);
    const az_tensor *u = az_watch(az, az_zeros(az, y->dtype, y->rank, y->shape));
    if (g && u && az_grad(az, y, u, x, n, g, AZ_GRAD_RECORD)) az_grad(az, inner_product(az, g, v, n), NULL, &u, 1, &jv, 0);
    return az_keep(az, jv);
}
