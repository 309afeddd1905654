/* pca.c - principal components of rows that come in batches.
 *
 * The centred rows seen so far have the decomposition U diag(s) V^T, of which s and V^T are kept. With n rows of mean mu, and m new ones of
 * mean nu, all n + m rows, centred, have the Gram matrix of
 *     Y = [ diag(s) V^T ; X - nu ; sqrt(n m / (n + m)) (mu - nu) ],
 * so that the right singular vectors of Y are the new V. */
#include "linalg/linalg_internal.h"

#include <math.h>

az_pca *az_pca_new(az_ctx *az, az_dtype dtype, int64_t features, int64_t components)
{
    if (!az_ok(az)) return NULL;
    if ((dtype != AZ_F32 && dtype != AZ_F64) || components < 1 || components > features)
        return az_fail(az, AZ_BAD_CALL, "principal components: %lld of %lld features as %s", (long long)components, (long long)features,
                       az_dtype_name(dtype));
    az_pca *pca = az_alloc(az, sizeof *pca);
    if (!pca) return NULL;
    *pca = (az_pca){
        .features = features,
        .components = components,
        .mean = az_zeros(az, AZ_F64, 1, (const int64_t[]){features}),
        .variance = az_zeros(az, AZ_F64, 1, (const int64_t[]){features}),
        .values = az_zeros(az, AZ_F64, 1, (const int64_t[]){components}),
        .vectors = az_zeros(az, dtype, 2, (const int64_t[]){components, features}),
    };
    return az_ok(az) ? pca : NULL;
}

static bool check_rows(az_ctx *az, const az_pca *pca, const az_tensor *rows)
{
    if (rows->rank != 2 || rows->dtype != pca->vectors->dtype || rows->shape[1] != pca->features)
        return az_fail(az, AZ_BAD_CALL, "principal components: rows %s %s, wanted %s with %lld features", az_dtype_name(rows->dtype),
                       az_shape_text(az, rows), az_dtype_name(pca->vectors->dtype), (long long)pca->features);
    const int64_t least = pca->rows > 0 ? 1 : pca->components;
    if (rows->shape[0] < least)
        return az_fail(az, AZ_BAD_CALL, "principal components: %lld rows for %lld directions", (long long)rows->shape[0],
                       (long long)pca->components);
    return true;
}

/* Rows (f64) made positive at their entry of largest size. */
static void fix_signs(az_tensor *rows)
{
    const int64_t n = rows->shape[1];
    for (int64_t r = 0; r < rows->shape[0]; r++) {
        double *row = az_f64_mut(rows) + r * n, largest = 0;
        for (int64_t j = 0; j < n; j++)
            if (fabs(row[j]) > fabs(largest)) largest = row[j];
        for (int64_t j = 0; largest < 0 && j < n; j++) row[j] = -row[j];
    }
}

/* Leading singular values and right vectors of Y, found in the type of the vectors and given as f64. */
static bool decompose(az_ctx *az, const az_pca *pca, const az_tensor *y, const az_range_finder *fast, az_tensor **s, az_tensor **vt)
{
    const az_tensor *matrix = az_cast(az, y, pca->vectors->dtype);
    az_range_finder how = fast ? *fast : (az_range_finder){0};
    how.rank = pca->components;
    if (!(fast ? az_svd_range(az, matrix, &how, NULL, s, vt) : az_svd(az, matrix, NULL, s, vt))) return false;
    *s = az_cast(az, az_slice(az, *s, 0, 0, pca->components), AZ_F64);
    *vt = az_contiguous(az, az_cast(az, az_slice(az, *vt, 0, 0, pca->components), AZ_F64));
    if (*vt) fix_signs(*vt);
    return az_ok(az);
}

bool az_pca_add(az_ctx *az, az_pca *pca, const az_tensor *rows, const az_range_finder *fast, double *cosine)
{
    if (!pca || !rows || !az_ok(az) || !check_rows(az, pca, rows)) return false;
    const double n = (double)pca->rows, m = (double)rows->shape[0], all = n + m;
    az_scope_push(az);
    const az_tensor *x = az_cast(az, rows, AZ_F64), *mean = az_mean(az, x, 0, true);
    az_tensor *centred = az_sub(az, x, mean), *y = centred, *s = NULL, *vt = NULL;
    const az_tensor *gap = az_sub(az, az_reshape(az, pca->mean, 2, (int64_t[]){1, -1}), mean);
    if (pca->rows > 0) {
        const az_tensor *values = az_reshape(az, pca->values, 2, (int64_t[]){-1, 1});
        az_tensor *kept = az_mul(az, az_cast(az, pca->vectors, AZ_F64), values);
        y = az_concat(az, (az_tensor *[]){kept, y, az_affine(az, gap, sqrt(n * m / all), 0)}, 3, 0);
    }
    /* sums of squares about the mean: of the rows before, of these, and of what lies between their means */
    const az_tensor *square = az_sum(az, az_square(az, centred), 0, false);
    const az_tensor *between = az_affine(az, az_square(az, az_reshape(az, gap, 1, (int64_t[]){-1})), n * m / all, 0);
    const az_tensor *spread = az_add(az, az_affine(az, pca->variance, n, 0), az_add(az, square, between));
    if (decompose(az, pca, y, fast, &s, &vt)) {
        const az_tensor *angle = az_sum(az, az_mul(az, vt, az_cast(az, pca->vectors, AZ_F64)), 1, false);
        for (int64_t i = 0; cosine && i < pca->components; i++) cosine[i] = az_item(angle, i);
        az_copy_into(az, pca->values, s);
        az_copy_into(az, pca->vectors, vt);
        az_copy_into(az, pca->variance, az_affine(az, spread, 1 / all, 0));
        az_add_into(az, pca->mean, az_reshape(az, gap, 1, (int64_t[]){-1}), -m / all);
        pca->rows += rows->shape[0];
    }
    az_scope_pop(az);
    return az_ok(az);
}

double az_pca_ratio(const az_pca *pca, int64_t i)
{
    double total = 0;
    for (int64_t j = 0; j < pca->features; j++) total += az_f64(pca->variance)[j];
    const double value = az_f64(pca->values)[i];
    return total > 0 ? value * value / ((double)pca->rows * total) : 0;
}
