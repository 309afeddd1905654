/* tensor.h - n-dimensional arrays and the operations on them.
 *
 * An operation is written once, in src/tensor/op_*.c: its shape rule, its forward computation and its derivative side by side. While a
 * tape is open (grad.h) operations on tracked tensors are recorded; without a tape the same code is plain inference.
 *
 * Real operations work in f32 and f64; both operands have the same type. Shapes broadcast as in NumPy: aligned at the last axis, extent
 * 1 stretches. Results are new, contiguous tensors of the current scope; views (reshape, permute, slice, broadcast) share data and
 * cost nothing. Operands are never changed, except by the functions whose names end in _into. */
#ifndef ADZE_TENSOR_H
#define ADZE_TENSOR_H

#include "adze/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum az_dtype { AZ_F32, AZ_F64, AZ_F16, AZ_BF16, AZ_I8, AZ_U8, AZ_I16, AZ_I32, AZ_I64, AZ_DTYPES } az_dtype;

enum { AZ_MAX_RANK = 6 };

typedef struct az_node az_node;

typedef struct az_tensor {
    az_dtype dtype;
    int rank; /* 0 (a scalar) .. AZ_MAX_RANK */
    int64_t shape[AZ_MAX_RANK];
    int64_t stride[AZ_MAX_RANK]; /* in elements; 0 on a broadcast axis */
    void *data;                  /* first element */
    az_buffer *buffer;           /* what keeps data alive */
    az_node *node;               /* how it was computed; NULL = a constant */
    uint64_t tape;               /* number of the tape that node is on; once that tape is closed the tensor is a constant */
} az_tensor;

/* ---- making and reading ------------------------------------------------------------------------------------------------------ */

size_t az_dtype_size(az_dtype dtype);
const char *az_dtype_name(az_dtype dtype);

/* Contiguous, not initialised. */
az_tensor *az_tensor_new(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape);
az_tensor *az_zeros(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape);
az_tensor *az_full(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape, double value);
/* Shorthands for the common ranks: az_new1(az, AZ_F32, n), az_new2(az, AZ_F32, rows, cols) ... */
az_tensor *az_new1(az_ctx *az, az_dtype dtype, int64_t n);
az_tensor *az_new2(az_ctx *az, az_dtype dtype, int64_t rows, int64_t cols);
az_tensor *az_new3(az_ctx *az, az_dtype dtype, int64_t a, int64_t b, int64_t c);
az_tensor *az_scalar(az_ctx *az, az_dtype dtype, double value);
/* Copies contiguous data in. */
az_tensor *az_from(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape, const void *data);
/* A tensor over memory that the buffer keeps alive (a mapped file); takes a reference. */
az_tensor *az_wrap(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape, void *data, az_buffer *buffer);
/* Standard normal times scale; uniform on [low, high). Element i depends on (seed, stream, i) only. */
az_tensor *az_randn(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape, double scale, uint64_t seed, uint64_t stream);
az_tensor *az_rand(az_ctx *az, az_dtype dtype, int rank, const int64_t *shape, double low, double high, uint64_t seed, uint64_t stream);

int64_t az_count(const az_tensor *x); /* number of elements */
bool az_is_contiguous(const az_tensor *x);
bool az_same_shape(const az_tensor *a, const az_tensor *b);
/* The element at a multi-index, or at a row-major position, converted to double; NaN when x is NULL. For tests and scalars, not for loops.
 */
double az_item(const az_tensor *x, int64_t position);
double az_to_double(const az_tensor *scalar);
const float *az_f32(const az_tensor *x); /* data of a contiguous f32 tensor, NULL otherwise */
const double *az_f64(const az_tensor *x);
float *az_f32_mut(az_tensor *x);
double *az_f64_mut(az_tensor *x);
const char *az_shape_text(az_ctx *az, const az_tensor *x); /* "[3, 4]" */
/* Position of the first element that is NaN or infinite, -1 when there is none. */
int64_t az_first_nonfinite(const az_tensor *x);

/* Leaves the current scope but keeps the tensor: it moves to the enclosing scope, still tracked. az_keep(az, NULL) only leaves. */
az_tensor *az_keep(az_ctx *az, az_tensor *x);
void az_keep_all(az_ctx *az, az_tensor **tensors, int n);
/* A header of the current scope for the same data; how a result moves into an arena that has been entered. Not tracked, as az_detach. */
az_tensor *az_share(az_ctx *az, const az_tensor *x);
/* The same values (shared data), cut off from the tape. */
az_tensor *az_detach(az_ctx *az, const az_tensor *x);
az_tensor *az_copy(az_ctx *az, const az_tensor *x);                /* contiguous copy, tracked */
void az_copy_into(az_ctx *az, az_tensor *out, const az_tensor *x); /* same shape; converts the type; not tracked */
/* Between any two types, rounding to nearest even; tracked between f32 and f64. */
az_tensor *az_cast(az_ctx *az, const az_tensor *x, az_dtype dtype);

/* ---- views ------------------------------------------------------------------------------------------------------------------- */

az_tensor *az_reshape(az_ctx *az, const az_tensor *x, int rank, const int64_t *shape); /* one extent may be -1; copies if it must */
az_tensor *az_permute(az_ctx *az, const az_tensor *x, const int *axes);
az_tensor *az_transpose(az_ctx *az, const az_tensor *x); /* swaps the last two axes */
az_tensor *az_slice(az_ctx *az, const az_tensor *x, int axis, int64_t start, int64_t count);
az_tensor *az_broadcast(az_ctx *az, const az_tensor *x, int rank, const int64_t *shape);
az_tensor *az_contiguous(az_ctx *az, const az_tensor *x); /* x itself if it is */
az_tensor *az_concat(az_ctx *az, az_tensor *const *parts, int n, int axis);
/* Zeros added around `axis`: the adjoint of az_slice. */
az_tensor *az_pad(az_ctx *az, const az_tensor *x, int axis, int64_t before, int64_t after);
/* rows of x [n, ...] named by index (i32, any shape): result shape = index shape + x shape without its first axis. */
az_tensor *az_gather(az_ctx *az, const az_tensor *x, const az_tensor *index);
/* The adjoint of az_gather: adds the rows of y at index into zeros of n rows. */
az_tensor *az_scatter_add(az_ctx *az, const az_tensor *y, const az_tensor *index, int64_t n);
/* The same for the last axis: x [..., width] -> its columns named by index (i32 [n]) [..., n]; y [..., n] added there into zeros [...,
 * width]. */
az_tensor *az_gather_columns(az_ctx *az, const az_tensor *x, const az_tensor *index);
az_tensor *az_scatter_columns(az_ctx *az, const az_tensor *y, const az_tensor *index, int64_t width);

/* ---- elementwise ------------------------------------------------------------------------------------------------------------- */

az_tensor *az_add(az_ctx *az, const az_tensor *a, const az_tensor *b);
az_tensor *az_sub(az_ctx *az, const az_tensor *a, const az_tensor *b);
az_tensor *az_mul(az_ctx *az, const az_tensor *a, const az_tensor *b);
az_tensor *az_div(az_ctx *az, const az_tensor *a, const az_tensor *b);
az_tensor *az_maximum(az_ctx *az, const az_tensor *a, const az_tensor *b); /* at a tie the derivative goes to a */
az_tensor *az_minimum(az_ctx *az, const az_tensor *a, const az_tensor *b);
az_tensor *az_affine(az_ctx *az, const az_tensor *x, double scale, double shift); /* scale * x + shift */
az_tensor *az_neg(az_ctx *az, const az_tensor *x);
az_tensor *az_pow(az_ctx *az, const az_tensor *x, double exponent);
az_tensor *az_exp(az_ctx *az, const az_tensor *x);
az_tensor *az_log(az_ctx *az, const az_tensor *x);
az_tensor *az_sqrt(az_ctx *az, const az_tensor *x);
az_tensor *az_square(az_ctx *az, const az_tensor *x);
az_tensor *az_abs(az_ctx *az, const az_tensor *x);  /* derivative 0 at 0 */
az_tensor *az_sign(az_ctx *az, const az_tensor *x); /* derivative 0 */
az_tensor *az_sin(az_ctx *az, const az_tensor *x);
az_tensor *az_cos(az_ctx *az, const az_tensor *x);
az_tensor *az_erf(az_ctx *az, const az_tensor *x);
az_tensor *az_tanh(az_ctx *az, const az_tensor *x);
az_tensor *az_sigmoid(az_ctx *az, const az_tensor *x);
az_tensor *az_softplus(az_ctx *az, const az_tensor *x); /* log(1 + e^x) */
az_tensor *az_relu(az_ctx *az, const az_tensor *x);
az_tensor *az_silu(az_ctx *az, const az_tensor *x);      /* x sigmoid(x) */
az_tensor *az_gelu(az_ctx *az, const az_tensor *x);      /* x Phi(x), exact */
az_tensor *az_gelu_tanh(az_ctx *az, const az_tensor *x); /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
/* log Gamma(x), and psi^(order)(x), its derivative order + 1: digamma is order 0. NaN where x <= 0. */
az_tensor *az_lgamma(az_ctx *az, const az_tensor *x);
az_tensor *az_polygamma(az_ctx *az, int order, const az_tensor *x);
az_tensor *az_clip(az_ctx *az, const az_tensor *x, double low, double high);
/* mask != 0 ? a : b ; mask of any type, broadcast */
az_tensor *az_where(az_ctx *az, const az_tensor *mask, const az_tensor *a, const az_tensor *b);

/* out += scale * x; x broadcasts to out. Not tracked; out and x must not overlap. */
void az_add_into(az_ctx *az, az_tensor *out, const az_tensor *x, double scale);

/* ---- reductions -------------------------------------------------------------------------------------------------------------- */

enum { AZ_ALL_AXES = -100 };
/* Over one axis (negative counts from the end) or all of them; keep = the axis stays with extent 1. Sums of f32 are pairwise. */
az_tensor *az_sum(az_ctx *az, const az_tensor *x, int axis, bool keep);
az_tensor *az_mean(az_ctx *az, const az_tensor *x, int axis, bool keep);
az_tensor *az_max(az_ctx *az, const az_tensor *x, int axis, bool keep); /* the derivative goes to the first maximum */
az_tensor *az_logsumexp(az_ctx *az, const az_tensor *x, int axis, bool keep);
az_tensor *az_softmax(az_ctx *az, const az_tensor *x); /* over the last axis */
az_tensor *az_log_softmax(az_ctx *az, const az_tensor *x);
az_tensor *az_cumsum(az_ctx *az, const az_tensor *x, int axis);
az_tensor *az_argmax(az_ctx *az, const az_tensor *x); /* i32, over the last axis; not tracked */
/* Adds over broadcast axes until x has the given shape: the adjoint of az_broadcast. */
az_tensor *az_sum_to(az_ctx *az, const az_tensor *x, int rank, const int64_t *shape);

/* ---- products ---------------------------------------------------------------------------------------------------------------- */

/* [..., m, k] x [..., k, n] -> [..., m, n]; leading axes broadcast. Views with swapped axes go to BLAS without a copy. */
az_tensor *az_matmul(az_ctx *az, const az_tensor *a, const az_tensor *b);
/* x [..., in] W [out, in] -> x W^T [..., out]: a linear layer without its bias. */
az_tensor *az_matmul_nt(az_ctx *az, const az_tensor *x, const az_tensor *w);
az_tensor *az_dot(az_ctx *az, const az_tensor *a, const az_tensor *b); /* sum of products of equal shapes: a scalar */
/* x [batch, in_channels, height, width] * w [out_channels, in_channels, kh, kw]; zero padding. */
typedef struct az_conv {
    int stride[2], padding[2];
} az_conv;
az_tensor *az_conv2d(az_ctx *az, const az_tensor *x, const az_tensor *w, az_conv how);
/* Square windows without padding; what does not fill a window at the right and lower edge is left out. At a tie the first maximum counts.
 */
az_tensor *az_max_pool2d(az_ctx *az, const az_tensor *x, int size, int stride);
az_tensor *az_mean_pool2d(az_ctx *az, const az_tensor *x, int size, int stride);

/* ---- fused layers ------------------------------------------------------------------------------------------------------------ */

/* Each has a fast forward and a fast derivative; when a derivative itself is being differentiated they are replaced by the same formula
 * in plain operations, so every derivative of every order exists. */

/* x / sqrt(mean(x^2, last axis) + eps) * weight */
az_tensor *az_rms_norm(az_ctx *az, const az_tensor *x, const az_tensor *weight, double eps);
/* (x - mean) / sqrt(var + eps) * weight + bias, biased variance over the last axis; bias may be NULL */
az_tensor *az_layer_norm(az_ctx *az, const az_tensor *x, const az_tensor *weight, const az_tensor *bias, double eps);
/* silu(gate) * up */
az_tensor *az_swiglu(az_ctx *az, const az_tensor *gate, const az_tensor *up);

/* Rotary embedding of x [tokens, heads, head_dim]; position[token] (i32), frequency[dims / 2] in radians per position.
 * Interleaved pairs (2i, 2i+1), or halves (i, i + dims/2). Only the first `dims` of each head turn. */
typedef struct az_rope_how {
    bool interleaved;
    int64_t dims;
    double magnitude; /* the turned dimensions are also multiplied by this; 0 = 1 */
} az_rope_how;
az_tensor *az_rope(az_ctx *az, const az_tensor *x, const az_tensor *position, const az_tensor *frequency, az_rope_how how);

/* Causal attention over sequences that lie one after the other ("ragged batch").
 *   q [tokens, heads, head_dim]; k, v [rows, kv_heads, head_dim]; heads is a multiple of kv_heads: query head h reads h * kv_heads / heads.
 *   Sequence s has the queries query_start[s] .. query_start[s+1] - 1 and the keys in rows key_start[s] .. key_start[s] + key_count[s] - 1.
 *   Its last query sees its last key, the one before sees all but the last, and so on: with a KV cache there are more keys than queries.
 *   A sequence with queries has at least as many keys (one, when bidirectional). Sequences may share rows of keys.
 *   window > 0: a query sees at most the `window` latest keys; causal only. slope[heads] (ALiBi, may be NULL): adds -slope * distance to
 *   the scores. softcap > 0: before that, a score s becomes softcap * tanh(s / softcap).
 * Result [tokens, heads, head_dim]. */
typedef struct az_attention_how {
    int sequences;
    const int64_t *query_start;           /* [sequences + 1] */
    const int64_t *key_start, *key_count; /* [sequences] */
    double scale;                         /* usually 1/sqrt(head_dim) */
    double softcap;                       /* 0 = none */
    int64_t window;                       /* 0 = all */
    const float *slope;
    bool bidirectional; /* no causal mask */
} az_attention_how;
az_tensor *az_attention(az_ctx *az, const az_tensor *q, const az_tensor *k, const az_tensor *v, const az_attention_how *how);

/* How a cache holds keys and values: rounded to f16 (11 bits, up to 65504), as they are (f32, or f64 for f64 models), or as q8_0: bytes
 * with an f16 scale for every 32 values of a head (what is left over at the end of a head has its own). */
typedef enum az_kv_type { AZ_KV_F16, AZ_KV_F32, AZ_KV_Q8_0, AZ_KV_F64 } az_kv_type;
enum { AZ_KV_PAGE = 64 }; /* tokens in a page */
/* The keys and values of one layer, in pages that sequences may share. */
typedef struct az_kv {
    az_kv_type type;
    int64_t kv_heads, dim;
    char *const *page;         /* token t of sequence s lies in page[first_page[s] + t / AZ_KV_PAGE] */
    const int64_t *first_page; /* [sequences] */
    size_t keys, values;       /* bytes from a page's beginning to [kv_heads, AZ_KV_PAGE] rows of az_kv_row_bytes */
} az_kv;
size_t az_kv_row_bytes(az_kv_type type, int64_t dim); /* of one head of one token */
/* Stores k and v [tokens, kv_heads, dim], contiguous, which belong to the queries of `how`: the last keys of each sequence. Fails with
 * AZ_NUMERIC when f16 or q8_0 cannot hold a value. */
bool az_kv_store(az_ctx *az, const az_kv *kv, const az_tensor *k, const az_tensor *v, const az_attention_how *how);
/* az_attention over what is stored (how->key_start is not read). Derivatives do not pass through a cache. */
az_tensor *az_attention_kv(az_ctx *az, const az_tensor *q, const az_kv *kv, const az_attention_how *how);

/* Per-row negative log-likelihood: -log softmax(logits [rows, classes])[target[row]]; rows with target < 0 give 0. Result [rows]. */
az_tensor *az_cross_entropy(az_ctx *az, const az_tensor *logits, const az_tensor *target);

/* ---- recording (the part of a tape that operations see) ----------------------------------------------------------------------- */

/* What an operation is to a tape. gradient: given the gradient of the output, set gx[i] for every tracked input i (others stay NULL); it is
 * written in tensor operations and thus differentiable itself, unless `compose` says how to express the operation by others, which is
 * then used instead when a derivative is being recorded. */
enum {                          /* what `gradient` does without, so that the tape need not keep the data (shapes are always kept) */
       AZ_FORGETS_INPUTS = 1,   /* reads no input: sums, exp, views */
       AZ_FORGETS_OUTPUT = 2,   /* does not read the output */
       AZ_FORGETS_OWN_INPUT = 4 /* the gradient of an input reads only the other inputs: products */
};

typedef struct az_op {
    const char *name;
    void (*gradient)(az_ctx *az, const az_node *node, const az_tensor *gy, az_tensor **gx);
    az_tensor *(*compose)(az_ctx *az, const az_node *node, az_tensor *const *inputs); /* NULL = gradient is differentiable */
    unsigned forgets;                                                                 /* AZ_FORGETS_...; 0 keeps everything */
} az_op;

struct az_node {
    const az_op *op; /* NULL for a watched tensor (a variable) */
    int64_t order;   /* position on the tape */
    int inputs;
    const az_tensor **input; /* [inputs] */
    const az_tensor *output;
    const void *saved; /* what the operation needs again: its own struct */
    /* private to the tape and az_grad */
    bool wanted;         /* leads to a tensor whose gradient is being asked for */
    bool last;           /* AZ_GRAD_FREE gives its data back after this visit */
    bool released;       /* they were given back */
    int readers;         /* operations whose gradients read the data of its output */
    az_tensor *gradient; /* collected so far */
    struct az_save_list *saves;
};

/* Opening and closing tapes is the user's; see grad.h. Tapes nest (checkpointing opens an inner one); operations are recorded on the
 * innermost. */
void az_tape_open(az_ctx *az);
void az_tape_close(az_ctx *az);
bool az_tape_is_open(const az_ctx *az);
/* Stops recording until the matching resume: a constant part of a computation. */
void az_tape_pause(az_ctx *az);
void az_tape_resume(az_ctx *az);
/* A tracked header for the same data, which lives as long as the tape: derivatives with respect to it can be asked for. */
az_tensor *az_watch(az_ctx *az, const az_tensor *x);

/* In a gradient function: does input i need its gradient? */
bool az_needs_gradient(const az_node *node, int i);
/* True while a tape is open and not paused. A gradient function that sees this must use recorded operations only. */
bool az_recording(const az_ctx *az);

/* True while a tape is open and at least one of the inputs is tracked: worth calling az_record. */
bool az_tracked(az_ctx *az, const az_tensor *const *inputs, int n);
/* Puts an operation on the tape and returns y, now tracked; y is a header of its own, of the current scope (not an input itself). saved
 * (size bytes) is copied; tensors in it must be shared by az_save first so that they outlive the scope. No effect when nothing is tracked.
 */
az_tensor *az_record(az_ctx *az, const az_op *op, az_tensor *y, const az_tensor *const *inputs, int n, const void *saved, size_t size);
/* A header of x that lives as long as the tape, for the operation that is recorded next. */
const az_tensor *az_save(az_ctx *az, const az_tensor *x);
/* Memory that lives as long as the tape (offset tables and the like). */
void *az_save_memory(az_ctx *az, const void *data, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
