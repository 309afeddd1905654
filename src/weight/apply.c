/* apply.c - products with a weight as recorded operations: y = x W^T, its adjoint g W, and rows by number.
 *
 * The two products are each other's derivative with respect to their operand, so derivatives of every order exist for every format.
 * A trainable matrix takes part as an ordinary tensor while a tape is listening, and so gets its own gradient. */
#include "base/parallel.h"
#include "weight/weight_internal.h"

/* What the tape keeps: the weight with parts that live as long as the tape. */
typedef struct product_saved {
    az_weight weight;
} product_saved;

static void apply_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const product_saved *saved = node->saved;
    gx[0] = az_weight_apply_t(az, &saved->weight, gy);
}

static void apply_t_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const product_saved *saved = node->saved;
    gx[0] = az_weight_apply(az, &saved->weight, gy);
}

/* Their gradients read the weight and nothing else: the tape keeps neither operand nor product. */
static const az_op apply_op = {.name = "weight_apply", .gradient = apply_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};
static const az_op apply_t_op = {.name = "weight_apply_t", .gradient = apply_t_gradient, .forgets = AZ_FORGETS_INPUTS | AZ_FORGETS_OUTPUT};

static az_tensor *record_product(az_ctx *az, const az_op *op, az_tensor *y, const az_tensor *x, const az_weight *w)
{
    const az_tensor *inputs[] = {x};
    if (!y || !az_tracked(az, inputs, 1)) return y;
    product_saved saved = {.weight = {.format = w->format, .rows = w->rows, .cols = w->cols}};
    for (int i = 0; i < AZ_WEIGHT_PARTS; i++)
        if (w->part[i]) saved.weight.part[i] = (az_tensor *)az_save(az, w->part[i]);
    return az_record(az, op, y, inputs, 1, &saved, sizeof saved);
}

/* The operand must end in `width` and be f32 (f64 for a matrix in f64). */
static bool operand_fits(az_ctx *az, const char *what, const az_weight *w, const az_tensor *x, int64_t width)
{
    const az_dtype needed = w->part[0]->dtype == AZ_F64 ? AZ_F64 : AZ_F32;
    if (x->rank < 1 || x->shape[x->rank - 1] != width) {
        az_fail(az, AZ_BAD_CALL, "%s with a weight [%lld, %lld]: the last extent of the operand must be %lld, its shape is %s", what,
                (long long)w->rows, (long long)w->cols, (long long)width, az_shape_text(az, x));
        return false;
    }
    if (x->dtype != needed) {
        az_fail(az, AZ_BAD_CALL, "%s with a weight of format %s: the operand must be %s, it is %s", what, w->format->name,
                az_dtype_name(needed), az_dtype_name(x->dtype));
        return false;
    }
    return true;
}

/* A new f32 tensor shaped like x but for its last extent. */
static az_tensor *like_with_width(az_ctx *az, const az_tensor *x, int64_t width)
{
    int64_t shape[AZ_MAX_RANK];
    for (int i = 0; i < x->rank; i++) shape[i] = x->shape[i];
    shape[x->rank - 1] = width;
    return az_tensor_new(az, AZ_F32, x->rank, shape);
}

static bool needs_tape(az_ctx *az, const az_weight *w, const az_tensor *x)
{
    const az_tensor *operands[] = {x, w->part[0]};
    return w->format == &az_format_f64 || (az_weight_is_trainable(w) && az_tracked(az, operands, 2));
}

/* A product of its own, by whatever the format has for it. */
static az_tensor *apply_alone(az_ctx *az, const az_weight *w, const az_tensor *x)
{
    if (w->format->apply) return w->format->apply(az, w, x);
    if (needs_tape(az, w, x)) return az_matmul_nt(az, x, w->part[0]);
    const az_tensor *flat = az_contiguous(az, x);
    az_tensor *y = like_with_width(az, x, w->rows);
    if (!flat || !y) return NULL;
    const int64_t n = az_count(x) / w->cols;
    void (*matmul)(az_ctx *, const az_weight *, const float *, int64_t, float *) = w->format->matmul ? w->format->matmul : az_tiles_matmul;
    if (n > 0) matmul(az, w, az_f32(flat), n, az_f32_mut(y));
    return az_ok(az) ? record_product(az, &apply_op, y, x, w) : NULL;
}

/* The product of the rows of w with x by a kernel; NULL where it goes another way. */
static az_row_product rows_product_of(az_ctx *az, const az_weight *w, const az_tensor *x)
{
    az_row_product product = {.w = w};
    const int64_t n = az_count(x) / w->cols;
    if (!w->format->rows_kernel || n < 1 || needs_tape(az, w, x)) return product;
    product.kernel = w->format->rows_kernel(w->format, n, false);
    if (w->arranged) product.arranged = w->format->rows_kernel(w->format, n, true);
    return product;
}

bool az_weight_apply_many(az_ctx *az, const az_weight *const *w, int n, const az_tensor *x, az_tensor **y)
{
    const az_tensor *flat = NULL;
    az_row_product *product = az_alloc_array(az, (size_t)n, sizeof *product);
    int together = 0;
    for (int i = 0; i < n && product; i++) {
        if (!w[i] || !x || !operand_fits(az, "product", w[i], x, w[i]->cols)) return false;
        az_row_product by_rows = rows_product_of(az, w[i], x);
        y[i] = by_rows.kernel ? like_with_width(az, x, w[i]->rows) : apply_alone(az, w[i], x);
        if (!y[i]) return false;
        if (!by_rows.kernel) continue;
        if (!flat) flat = az_contiguous(az, x);
        by_rows.y = az_f32_mut(y[i]);
        product[together++] = by_rows;
    }
    if (together > 0 && flat) az_rows_matmul(az, product, together, az_f32(flat), az_count(x) / w[0]->cols);
    for (int i = 0; i < n && az_ok(az); i++)
        if (rows_product_of(az, w[i], x).kernel) y[i] = record_product(az, &apply_op, y[i], x, w[i]);
    return az_ok(az);
}

az_tensor *az_weight_apply(az_ctx *az, const az_weight *w, const az_tensor *x)
{
    az_tensor *y;
    return az_weight_apply_many(az, &w, 1, x, &y) ? y : NULL;
}

/* g W for a matrix that takes part as a tensor; a vector g is a matrix of one row meanwhile. */
static az_tensor *apply_t_tensor(az_ctx *az, const az_weight *w, const az_tensor *g)
{
    if (g->rank > 1) return az_matmul(az, g, w->part[0]);
    az_tensor *row = az_matmul(az, az_reshape(az, g, 2, (const int64_t[]){1, w->rows}), w->part[0]);
    return az_reshape(az, row, 1, (const int64_t[]){w->cols});
}

az_tensor *az_weight_apply_t(az_ctx *az, const az_weight *w, const az_tensor *g)
{
    if (!w || !g || !operand_fits(az, "transposed product", w, g, w->rows)) return NULL;
    if (w->format->apply_t) return w->format->apply_t(az, w, g);
    if (needs_tape(az, w, g)) return apply_t_tensor(az, w, g);
    const az_tensor *flat = az_contiguous(az, g);
    az_tensor *gx = like_with_width(az, g, w->cols);
    if (!flat || !gx) return NULL;
    const int64_t n = az_count(g) / w->rows;
    void (*matmul_t)(az_ctx *, const az_weight *, const float *, int64_t, float *) =
        w->format->matmul_t ? w->format->matmul_t : az_tiles_matmul_t;
    if (n > 0) matmul_t(az, w, az_f32(flat), n, az_f32_mut(gx));
    return az_ok(az) ? record_product(az, &apply_t_op, gx, g, w) : NULL;
}

typedef struct gather_job {
    const az_weight *w;
    const int32_t *row;
    float *out; /* [n, w->cols] */
} gather_job;

static void gather_row(const void *rows, int64_t i)
{
    const gather_job *job = rows;
    job->w->format->decode(job->w, job->row[i], 1, job->out + i * job->w->cols);
}

az_tensor *az_weight_gather(az_ctx *az, const az_weight *w, const az_tensor *index)
{
    if (!w || !index) return NULL;
    if (index->dtype != AZ_I32 || index->rank != 1)
        return az_fail(az, AZ_BAD_CALL, "rows of a weight: the index must be i32 [n], it is %s %s", az_dtype_name(index->dtype),
                       az_shape_text(az, index));
    if (az_weight_is_trainable(w)) return az_gather(az, w->part[0], index);
    const int64_t n = index->shape[0], cols = w->cols;
    const az_tensor *flat = az_contiguous(az, index);
    az_tensor *y = az_new2(az, AZ_F32, n, cols);
    if (!flat || !y) return NULL;
    const int32_t *row = flat->data;
    for (int64_t i = 0; i < n; i++)
        if (row[i] < 0 || row[i] >= w->rows)
            return az_fail(az, AZ_BAD_CALL, "rows of a weight [%lld, %lld]: index %d at position %lld is out of range", (long long)w->rows,
                           (long long)cols, row[i], (long long)i);
    const gather_job job = {.w = w, .row = row, .out = az_f32_mut(y)};
    az_each(n > 16 ? az_threads(az) : 1, n, gather_row, &job);
    return y;
}
