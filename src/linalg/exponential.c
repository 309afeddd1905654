/* exponential.c - exp(A) by the [13/13] Pade approximant with scaling and squaring (Higham, SIAM J. Matrix Anal. Appl. 26, 2005). */
#include "linalg/linalg_internal.h"

#include <math.h>

/* c0 I + c2 A^2 + c4 A^4 + c6 A^6 */
typedef struct even_powers {
    const az_tensor *identity, *a2, *a4, *a6;
} even_powers;

static az_tensor *combine(az_ctx *az, const even_powers *p, double c0, double c2, double c4, double c6)
{
    az_tensor *sum = az_affine(az, p->a2, c2, 0);
    if (!sum) return NULL;
    if (c0 != 0) az_add_into(az, sum, p->identity, c0);
    az_add_into(az, sum, p->a4, c4);
    az_add_into(az, sum, p->a6, c6);
    return sum;
}

/* Valid for |A|_1 <= 5.37. The even part V and the odd part U of the numerator give exp(A) = (V - U)^-1 (V + U). */
static az_tensor *pade13(az_ctx *az, const az_tensor *a)
{
    even_powers p = {.identity = az_identity(az, a->dtype, a->shape[0]), .a2 = az_matmul(az, a, a)};
    p.a4 = az_matmul(az, p.a2, p.a2);
    p.a6 = az_matmul(az, p.a2, p.a4);
    az_tensor *high_u = az_matmul(az, p.a6, combine(az, &p, 0, 40840800, 16380, 1));
    az_tensor *low_u = combine(az, &p, 32382376266240000, 1187353796428800, 10559470521600, 33522128640);
    az_tensor *high_v = az_matmul(az, p.a6, combine(az, &p, 0, 1323241920, 960960, 182));
    az_tensor *low_v = combine(az, &p, 64764752532480000, 7771770303897600, 129060195264000, 670442572800);
    const az_tensor *u = az_matmul(az, a, az_add(az, high_u, low_u)), *v = az_add(az, high_v, low_v);
    return az_solve(az, az_sub(az, v, u), az_add(az, v, u));
}

static double one_norm(const az_tensor *a)
{
    const int64_t n = a->shape[0];
    double norm = 0;
    for (int64_t j = 0; j < n; j++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += fabs(az_item(a, i * n + j));
        norm = fmax(norm, sum);
    }
    return norm;
}

az_tensor *az_exponential(az_ctx *az, const az_tensor *a)
{
    const double theta = 5.371920351148152;
    az_scope_push(az);
    az_tensor *copy = az_linalg_square(az, "exponential", a), *e = NULL;
    if (copy) {
        const double norm = one_norm(copy);
        const int squarings = norm > theta ? (int)ceil(log2(norm / theta)) : 0;
        e = pade13(az, az_affine(az, copy, ldexp(1, -squarings), 0));
        for (int i = 0; i < squarings; i++) e = az_matmul(az, e, e);
    }
    return az_keep(az, e);
}
