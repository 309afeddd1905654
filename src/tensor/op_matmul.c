/* op_matmul.c - matrix products and the inner product. The last two axes are the matrix; leading axes broadcast, and vanish into the rows
 * of one large product where the layout allows it. */
#include "tensor/gemm.h"
#include "tensor/kernels/kernels.h"
#include "tensor/layer.h"

#include <cblas.h>
#include <limits.h>
#include <omp.h>
#include <string.h>

/* How the last two axes lie in memory: rows `ld` apart, or (transposed) columns. */
typedef struct layout {
    int64_t ld;
    bool transposed;
} layout;

/* c [m, n], rows ldc apart, = op(a) [m, k] op(b) [k, n]; `add`, only for matrices: added to what is there */
typedef struct product {
    int64_t m, n, k, ldc;
    layout a, b;
    bool add;
    int threads;
} product;

#include "tensor/kernels/real_f32.h"
#include "tensor/kernels/product.h"
#include "tensor/kernels/real_f64.h"
#include "tensor/kernels/product.h"

static void one_product(az_dtype dtype, const product *p, const void *a, const void *b, void *c)
{
    if (dtype == AZ_F32)
        product_f32(p, a, b, c);
    else
        product_f64(p, a, b, c);
}

/* ---- layouts ---- */

static int64_t extent(const az_tensor *x, int from_end)
{
    return x->shape[x->rank - from_end];
}

static int64_t stride(const az_tensor *x, int from_end)
{
    return x->stride[x->rank - from_end];
}

/* False when BLAS cannot read x in place. The stride of an axis with fewer than two elements does not matter. */
static bool find_layout(const az_tensor *x, layout *out)
{
    const int64_t rows = extent(x, 2), columns = extent(x, 1), down = stride(x, 2), right = stride(x, 1);
    const int64_t row_length = columns > 1 ? columns : 1, column_length = rows > 1 ? rows : 1;
    const bool empty = rows == 0 || columns == 0;
    if (empty || ((right == 1 || columns == 1) && (down >= row_length || rows == 1)))
        *out = (layout){.ld = rows > 1 && !empty ? down : row_length};
    else if ((down == 1 || rows == 1) && (right >= column_length || columns == 1))
        *out = (layout){.ld = columns > 1 ? right : column_length, .transposed = true};
    else
        return false;
    return out->ld <= INT_MAX;
}

/* x itself when BLAS can read it, otherwise a contiguous copy off the tape. */
static const az_tensor *readable(az_ctx *az, const az_tensor *x, layout *out)
{
    if (find_layout(x, out)) return x;
    const az_tensor *copy = az_contiguous(az, az_share(az, x));
    return copy && find_layout(copy, out) ? copy : NULL;
}

/* Can the leading axes of x be read as more rows of one matrix with the same distance between rows? */
static bool rows_run_on(const az_tensor *x, layout how)
{
    int64_t expected = how.ld * extent(x, 2);
    if (how.transposed) return false;
    for (int axis = x->rank - 3; axis >= 0; axis--) {
        if (x->shape[axis] != 1 && x->stride[axis] != expected) return false;
        expected *= x->shape[axis];
    }
    return true;
}

/* ---- batches ---- */

/* Offset of matrix number `index` of the batch in x, whose leading axes broadcast to those of y. */
static int64_t batch_offset(const az_tensor *x, const az_tensor *y, int64_t index)
{
    int64_t offset = 0;
    for (int axis = y->rank - 3; axis >= 0; axis--) {
        int own = axis - (y->rank - x->rank);
        int64_t at = index % y->shape[axis];
        index /= y->shape[axis];
        if (own >= 0 && x->shape[own] > 1) offset += at * x->stride[own];
    }
    return offset;
}

/* Into how many pieces a product is cut, along its rows or its columns. The cut depends on the shape alone and each piece is computed by
 * one thread, so results do not depend on the threads; BLAS left to itself would cut by their number. */
static int64_t pieces_of(const product *p)
{
    enum { SMALLEST = 256, MOST = 16 };
    int64_t longer = p->m > p->n ? p->m : p->n, pieces = longer / SMALLEST;
    if (p->m * p->n * p->k <= (int64_t)1 << 18 || p->m == 1 || p->n == 1) return 1;
    return pieces < 2 ? 2 : pieces > MOST ? MOST : pieces;
}

/* Moves the operands a, b, c to piece `index` of `pieces`; false when nothing is left for it. */
static bool cut(product *p, int64_t index, int64_t pieces, size_t size, const char **a, const char **b, char **c)
{
    if (pieces == 1) return true;
    int64_t *longer = p->m > p->n ? &p->m : &p->n;
    int64_t step = ((*longer + pieces - 1) / pieces + 31) / 32 * 32, first = index * step;
    if (first >= *longer) return false;
    if (longer == &p->m) {
        *a += (size_t)(p->a.transposed ? first : first * p->a.ld) * size;
        *c += (size_t)(first * p->ldc) * size;
    } else {
        *b += (size_t)(p->b.transposed ? first * p->b.ld : first) * size;
        *c += (size_t)first * size;
    }
    *longer = *longer - first < step ? *longer - first : step;
    return true;
}

/* Multiplications below which the products of a batch are shared among the threads whole. */
enum { SMALL_IN_BATCH = 1 << 22 };

/* All products of a batch, `left` and `right` being readable and `p` describing one of them. */
static void run_batch(const product *p, int64_t batch, const az_tensor *left, const az_tensor *right, az_tensor *y, int threads)
{
    const size_t size = az_dtype_size(y->dtype);
    const int64_t work = p->m * p->n * p->k, pieces = batch > 1 && work < SMALL_IN_BATCH ? 1 : pieces_of(p);
#pragma omp parallel for schedule(dynamic) if (batch * pieces > 1 && batch * work > AZ_PARALLEL_WORK) num_threads(threads)
    for (int64_t job = 0; job < batch * pieces; job++) {
        const int64_t i = job / pieces;
        const char *a = (const char *)left->data + (size_t)batch_offset(left, y, i) * size;
        const char *b = (const char *)right->data + (size_t)batch_offset(right, y, i) * size;
        char *c = (char *)y->data + (size_t)(i * p->m * p->n) * size;
        product piece = *p;
        if (cut(&piece, job % pieces, pieces, size, &a, &b, &c)) one_product(y->dtype, &piece, a, b, c);
    }
}

static az_matrix_f32 matrix_of(const az_tensor *x, layout how, int64_t offset)
{
    return (az_matrix_f32){
        .data = (const float *)x->data + offset, .row = how.transposed ? 1 : how.ld, .column = how.transposed ? how.ld : 1};
}

/* The same for large matrices of f32, one after the other by all threads. */
static bool run_panels(az_ctx *az, const product *p, int64_t batch, const az_tensor *left, const az_tensor *right, az_tensor *y)
{
    az_gemm one = {.m = p->m, .n = p->n, .k = p->k, .ldc = p->ldc, .add = p->add};
    bool done = true;
    for (int64_t i = 0; i < batch && done; i++) {
        one.a = matrix_of(left, p->a, batch_offset(left, y, i));
        one.b = matrix_of(right, p->b, batch_offset(right, y, i));
        one.c = (float *)y->data + i * p->m * p->n;
        done = az_gemm_run(az, &one);
    }
    return done;
}

static bool batch_product(az_ctx *az, const az_tensor *a, const az_tensor *b, az_tensor *y, bool add)
{
    product p = {.m = extent(a, 2), .k = extent(a, 1), .n = extent(b, 1), .ldc = extent(b, 1), .add = add, .threads = az_threads(az)};
    const az_tensor *left = readable(az, a, &p.a), *right = readable(az, b, &p.b);
    if (!left || !right) return false;
    int64_t batch = 1;
    for (int axis = 0; axis < y->rank - 2; axis++) batch *= y->shape[axis];
    if (batch > 1 && right->rank == 2 && rows_run_on(left, p.a)) {
        p.m *= batch;
        batch = 1;
    }
    if (batch == 0 || p.m == 0 || p.n == 0) return true;
    if (p.m > INT_MAX || p.n > INT_MAX || p.k > INT_MAX) return az_fail(az, AZ_BAD_CALL, "az_matmul: an extent is beyond %d", INT_MAX);
    const bool large = batch == 1 || p.m * p.n * p.k >= SMALL_IN_BATCH;
    if (large && y->dtype == AZ_F32 && az_gemm_pays(p.m, p.n, p.k)) return run_panels(az, &p, batch, left, right, y);
    run_batch(&p, batch, left, right, y, az_threads(az));
    return true;
}

/* The shape [..., m, n]; NULL with an error when a and b do not fit. */
static az_tensor *new_product(az_ctx *az, const char *name, const az_tensor *a, const az_tensor *b)
{
    int rank = a->rank > b->rank ? a->rank : b->rank;
    bool fits = a->rank >= 2 && b->rank >= 2 && extent(a, 1) == extent(b, 2);
    int64_t shape[AZ_MAX_RANK];
    for (int i = 3; i <= rank && fits; i++) {
        int64_t na = i <= a->rank ? extent(a, i) : 1, nb = i <= b->rank ? extent(b, i) : 1;
        fits = na == nb || na == 1 || nb == 1;
        shape[rank - i] = na == 1 ? nb : na;
    }
    if (!fits) return az_fail(az, AZ_BAD_CALL, "%s: %s x %s do not fit", name, az_shape_text(az, a), az_shape_text(az, b));
    shape[rank - 2] = extent(a, 2);
    shape[rank - 1] = extent(b, 1);
    return az_tensor_new(az, a->dtype, rank, shape);
}

static az_tensor *multiply(az_ctx *az, const char *name, const az_tensor *a, const az_tensor *b)
{
    if (!az_same_real(az, name, a, b)) return NULL;
    az_tensor *y = new_product(az, name, a, b);
    if (!y) return NULL;
    az_scope_push(az); /* copies of operands that BLAS cannot read */
    bool done = batch_product(az, a, b, y, false);
    az_scope_pop(az);
    return done ? y : NULL;
}

/* ---- az_matmul ---- */

static az_tensor *as_matrix(az_ctx *az, const az_tensor *x)
{
    return az_reshape(az, x, 2, (int64_t[]){-1, extent(x, 1)});
}

/* The gradient of input i, the product of matrices a b, goes to gx[i], or where it can at once to what has been collected. */
static void product_gradient(az_ctx *az, const az_node *node, int i, const az_tensor *a, const az_tensor *b, az_tensor **gx)
{
    az_tensor *sum = az_gradient_so_far(az, node, i);
    const bool matrices = a && b && a->rank == 2 && b->rank == 2 && extent(a, 2) > 1 && extent(b, 1) > 1 && extent(a, 1) > 0;
    if (!sum || !matrices) {
        gx[i] = az_matmul(az, a, b);
        return;
    }
    az_scope_push(az); /* copies of operands that BLAS cannot read */
    batch_product(az, a, b, sum, true);
    az_scope_pop(az);
}

/* dA = G B^T, dB = A^T G, added over the axes that were broadcast. */
static void matmul_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const az_tensor *a = node->input[0], *b = node->input[1];
    if (az_needs_gradient(node, 0)) gx[0] = az_sum_to(az, az_matmul(az, gy, az_transpose(az, b)), a->rank, a->shape);
    if (!az_needs_gradient(node, 1)) return;
    if (b->rank == 2 && a->rank > 2 && extent(a, 1) > 0 && extent(gy, 1) > 0)
        gx[1] = az_matmul(az, az_transpose(az, as_matrix(az, a)), as_matrix(az, gy));
    else
        gx[1] = az_sum_to(az, az_matmul(az, az_transpose(az, a), gy), b->rank, b->shape);
}

static const az_op matmul_op = {.name = "matmul", .gradient = matmul_gradient, .forgets = AZ_FORGETS_OUTPUT | AZ_FORGETS_OWN_INPUT};

az_tensor *az_matmul(az_ctx *az, const az_tensor *a, const az_tensor *b)
{
    return az_record(az, &matmul_op, multiply(az, "az_matmul", a, b), (const az_tensor *[]){a, b}, 2, NULL, 0);
}

/* ---- az_matmul_nt ---- */

/* y = x W^T: dX = G W, dW = G^T X over all leading axes at once. */
static void matmul_nt_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    const az_tensor *x = node->input[0], *w = node->input[1];
    if (az_needs_gradient(node, 0)) product_gradient(az, node, 0, gy, w, gx);
    if (!az_needs_gradient(node, 1)) return;
    if (az_count(x) == 0 || az_count(gy) == 0)
        gx[1] = az_zeros(az, w->dtype, w->rank, w->shape);
    else
        product_gradient(az, node, 1, az_transpose(az, as_matrix(az, gy)), as_matrix(az, x), gx);
}

static const az_op matmul_nt_op = {
    .name = "matmul_nt", .gradient = matmul_nt_gradient, .forgets = AZ_FORGETS_OUTPUT | AZ_FORGETS_OWN_INPUT};

/* x seen as a matrix of one row when it is a vector. */
static az_tensor *vector_times_transpose(az_ctx *az, const az_tensor *x, const az_tensor *w)
{
    az_tensor *y = az_matmul_nt(az, az_reshape(az, x, 2, (int64_t[]){1, x->shape[0]}), w);
    return y ? az_reshape(az, y, 1, (int64_t[]){y->shape[1]}) : NULL;
}

az_tensor *az_matmul_nt(az_ctx *az, const az_tensor *x, const az_tensor *w)
{
    if (!az_same_real(az, "az_matmul_nt", x, w)) return NULL;
    if (w->rank != 2 || x->rank < 1 || extent(x, 1) != w->shape[1])
        return az_fail(az, AZ_BAD_CALL, "az_matmul_nt: input %s does not fit the weight %s", az_shape_text(az, x), az_shape_text(az, w));
    if (x->rank == 1) return vector_times_transpose(az, x, w);
    az_tensor turned = *w; /* a view for the moment of the product */
    turned.shape[0] = w->shape[1], turned.shape[1] = w->shape[0];
    turned.stride[0] = w->stride[1], turned.stride[1] = w->stride[0];
    return az_record(az, &matmul_nt_op, multiply(az, "az_matmul_nt", x, &turned), (const az_tensor *[]){x, w}, 2, NULL, 0);
}

/* ---- az_dot ---- */

static void dot_gradient(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx)
{
    if (az_needs_gradient(node, 0)) gx[0] = az_mul(az, gy, node->input[1]);
    if (az_needs_gradient(node, 1)) gx[1] = az_mul(az, gy, node->input[0]);
}

static const az_op dot_op = {.name = "dot", .gradient = dot_gradient, .forgets = AZ_FORGETS_OUTPUT | AZ_FORGETS_OWN_INPUT};

/* Blocks of fixed size are summed by the kernels, their sums in double. */
static double dot_of(const az_tensor *a, const az_tensor *b)
{
    enum { BLOCK = 4096 };
    const az_kernels *kernels = az_kernels_best();
    double sum = 0;
    for (int64_t i = 0, n = az_count(a); i < n; i += BLOCK) {
        int64_t count = n - i < BLOCK ? n - i : BLOCK;
        if (a->dtype == AZ_F32)
            sum += kernels->f32.dot(count, az_f32(a) + i, az_f32(b) + i);
        else
            sum += kernels->f64.dot(count, az_f64(a) + i, az_f64(b) + i);
    }
    return sum;
}

az_tensor *az_dot(az_ctx *az, const az_tensor *a, const az_tensor *b)
{
    if (!az_same_real(az, "az_dot", a, b)) return NULL;
    if (!az_same_shape(a, b))
        return az_fail(az, AZ_BAD_CALL, "az_dot: shapes %s and %s differ", az_shape_text(az, a), az_shape_text(az, b));
    az_scope_push(az);
    const az_tensor *left = az_operand(az, a), *right = az_operand(az, b);
    az_tensor *y = az_keep(az, left && right ? az_scalar(az, a->dtype, dot_of(left, right)) : NULL);
    return az_record(az, &dot_op, y, (const az_tensor *[]){a, b}, 2, NULL, 0);
}
