/* Every plain operation: derivatives of first and second order, fast and recorded, f32 against f64; operands that broadcast, and views. */
#include "support/grad_cases.h"

#include <criterion/criterion.h>

/* An operation as a segment: the function itself is the user data. */
typedef struct one {
    az_tensor *(*f)(az_ctx *az, const az_tensor *x);
} one;
typedef struct two {
    az_tensor *(*f)(az_ctx *az, const az_tensor *a, const az_tensor *b);
} two;

static az_tensor *unary(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    return ((const one *)user)->f(az, x[0]);
}

/* The same on a view that is not contiguous, of a slice of the transposed input. */
static az_tensor *unary_on_view(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    return ((const one *)user)->f(az, az_slice(az, az_transpose(az, x[0]), 1, 1, 2));
}

static az_tensor *binary(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    return ((const two *)user)->f(az, x[0], x[1]);
}

static az_tensor *binary_on_views(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    return ((const two *)user)->f(az, az_transpose(az, x[0]), az_slice(az, x[1], -1, 1, 3));
}

static az_tensor *binary_with_itself(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    return ((const two *)user)->f(az, x[0], x[0]);
}

/* low and high keep inputs away from where a function has no derivative. */
static void check_unary(const char *name, az_tensor *(*f)(az_ctx *az, const az_tensor *x), double low, double high)
{
    one user = {f};
    check_grad_cases((const grad_case[]){
        {.name = name, .f = unary, .inputs = {{2, {3, 5}}}, .low = low, .high = high, .user = &user},
        {.name = name, .f = unary, .inputs = {{0, {0}, true}}, .low = low, .high = high, .user = &user},
        {.name = name, .f = unary_on_view, .inputs = {{3, {2, 3, 4}}}, .low = low, .high = high, .user = &user},
        {0},
    });
}

static void check_binary(const char *name, az_tensor *(*f)(az_ctx *az, const az_tensor *a, const az_tensor *b), double low, double high)
{
    two user = {f};
    check_grad_cases((const grad_case[]){
        {.name = name, .f = binary, .inputs = {{2, {3, 4}}, {2, {3, 4}}}, .low = low, .high = high, .user = &user},
        {.name = name, .f = binary, .inputs = {{2, {3, 4}}, {1, {4}}}, .low = low, .high = high, .user = &user},
        {.name = name, .f = binary, .inputs = {{2, {3, 1}}, {3, {2, 1, 4}}}, .low = low, .high = high, .user = &user},
        {.name = name, .f = binary, .inputs = {{0, {0}, true}, {2, {2, 3}}}, .low = low, .high = high, .user = &user},
        {.name = name, .f = binary_on_views, .inputs = {{2, {3, 4}}, {2, {4, 5}}}, .low = low, .high = high, .user = &user},
        {.name = name, .f = binary_with_itself, .inputs = {{2, {2, 3}}}, .low = low, .high = high, .user = &user},
        {0},
    });
}

Test(operations, functions_of_one_number)
{
    check_unary("neg", az_neg, 0, 0);
    check_unary("exp", az_exp, 0, 0);
    check_unary("log", az_log, 0.3, 3);
    check_unary("sqrt", az_sqrt, 0.3, 3);
    check_unary("square", az_square, 0, 0);
    check_unary("abs", az_abs, 0.1, 2);
    check_unary("abs of negatives", az_abs, -2, -0.1);
    check_unary("sin", az_sin, 0, 0);
    check_unary("cos", az_cos, 0, 0);
    check_unary("erf", az_erf, 0, 0);
    check_unary("tanh", az_tanh, 0, 0);
    check_unary("sigmoid", az_sigmoid, 0, 0);
    check_unary("softplus", az_softplus, 0, 0);
    check_unary("relu", az_relu, 0.1, 2);
    check_unary("relu of negatives", az_relu, -2, -0.1);
    check_unary("silu", az_silu, 0, 0);
    check_unary("gelu", az_gelu, 0, 0);
    check_unary("gelu_tanh", az_gelu_tanh, 0, 0);
}

static az_tensor *powers(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    (void)user;
    az_tensor *sum = az_pow(az, x[0], 1.7);
    const double exponents[] = {-1, -0.5, 0, 0.5, 1, 2, 3};
    for (int i = 0; i < 7; i++) sum = az_add(az, sum, az_pow(az, x[0], exponents[i]));
    return sum;
}

static az_tensor *bounds(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    (void)user;
    return az_add(az, az_clip(az, az_square(az, x[0]), 0.2, 0.9), az_affine(az, x[0], -2.5, 1));
}

Test(operations, functions_with_parameters)
{
    check_grad_cases((const grad_case[]){
        {.name = "pow", .f = powers, .inputs = {{2, {2, 5}}}, .low = 0.4, .high = 2},
        {.name = "clip and affine", .f = bounds, .inputs = {{2, {4, 5}}}},
        {0},
    });
}

Test(operations, functions_of_two_numbers)
{
    check_binary("add", az_add, 0, 0);
    check_binary("sub", az_sub, 0, 0);
    check_binary("mul", az_mul, 0, 0);
    check_binary("div", az_div, 0.5, 2);
    check_binary("maximum", az_maximum, 0, 0);
    check_binary("minimum", az_minimum, 0, 0);
}

/* mask [3, 1] chooses between a [3, 4] and b [4]. */
static az_tensor *choice(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    (void)user;
    const az_tensor *mask = az_from(az, AZ_I32, 2, (int64_t[]){3, 1}, (int32_t[]){0, 1, -7});
    return az_where(az, mask, az_square(az, x[0]), az_sin(az, x[1]));
}

static az_tensor *choice_by_sign(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    (void)user;
    return az_where(az, az_relu(az, az_detach(az, x[0])), az_exp(az, x[0]), az_scalar(az, x[0]->dtype, 2));
}

Test(operations, choice_by_a_mask)
{
    check_grad_cases((const grad_case[]){
        {.name = "where", .f = choice, .inputs = {{2, {3, 4}}, {1, {4}}}},
        {.name = "where, mask of f64", .f = choice_by_sign, .inputs = {{2, {3, 4}}}},
        {0},
    });
}

/* ---- views and rows by index ---- */

static az_tensor *views(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    (void)user;
    az_tensor *y = az_permute(az, x[0], (int[]){2, 0, 1});            /* [4, 2, 3] */
    y = az_reshape(az, y, 2, (int64_t[]){-1, 6});                     /* copies */
    y = az_pad(az, az_slice(az, az_square(az, y), 1, 2, 3), 0, 1, 2); /* [7, 3] */
    y = az_broadcast(az, az_slice(az, y, -2, 1, 4), 3, (int64_t[]){2, 4, 3});
    return az_mul(az, y, az_reshape(az, x[0], 3, (int64_t[]){2, 4, 3}));
}

static az_tensor *joined(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    (void)user;
    az_tensor *y = az_concat(az, (az_tensor *[]){x[0], az_square(az, x[1]), x[0]}, 3, 1); /* [2, 7] */
    return az_mul(az, y, az_concat(az, (az_tensor *[]){az_slice(az, y, 1, 3, 4), az_slice(az, y, 1, 0, 3)}, 2, -1));
}

static az_tensor *rows(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    (void)user;
    const az_tensor *index = az_from(az, AZ_I32, 2, (int64_t[]){2, 3}, (int32_t[]){3, 0, 3, 1, 1, 3});
    az_tensor *picked = az_gather(az, az_square(az, x[0]), index); /* [2, 3, 5] */
    return az_mul(az, az_scatter_add(az, picked, index, 4), x[0]);
}

static az_tensor *copies(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    (void)user;
    az_tensor *y = az_contiguous(az, az_transpose(az, x[0]));
    return az_mul(az, az_copy(az, y), az_cast(az, az_cast(az, az_transpose(az, x[0]), AZ_F64), x[0]->dtype));
}

Test(operations, views_and_rows)
{
    check_grad_cases((const grad_case[]){
        {.name = "views", .f = views, .inputs = {{3, {2, 3, 4}}}},
        {.name = "concat", .f = joined, .inputs = {{2, {2, 2}}, {2, {2, 3}}}},
        {.name = "gather and scatter_add", .f = rows, .inputs = {{2, {4, 5}}}},
        {.name = "copies", .f = copies, .inputs = {{2, {3, 4}}}},
        {0},
    });
}

/* ---- reductions ---- */

typedef az_tensor *(*reduction)(az_ctx *az, const az_tensor *x, int axis, bool keep);
typedef struct along {
    reduction f;
    int axis;
    bool keep;
} along;

static az_tensor *reduced(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    const along *how = user;
    az_tensor *y = how->f(az, x[0], how->axis, how->keep);
    return how->keep ? az_mul(az, y, x[0]) : az_square(az, y);
}

static az_tensor *of_rows(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    az_tensor *y = ((const one *)user)->f(az, az_transpose(az, x[0]));
    return az_mul(az, y, az_transpose(az, x[0]));
}

static az_tensor *running(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    (void)user;
    return az_mul(az, az_cumsum(az, az_square(az, x[0]), 1), az_cumsum(az, x[0], 0));
}

static az_tensor *summed_to(az_ctx *az, az_tensor *const *x, int n, void *user)
{
    (void)n;
    (void)user;
    az_tensor *row = az_sum_to(az, az_square(az, x[0]), 2, (int64_t[]){1, 4}), *middle = az_sum_to(az, x[0], 3, (int64_t[]){2, 1, 4});
    return az_mul(az, az_mul(az, middle, row), x[0]);
}

Test(operations, reductions)
{
    const reduction all[] = {az_sum, az_mean, az_max, az_logsumexp};
    const int axes[] = {0, 1, -1, AZ_ALL_AXES};
    for (int f = 0; f < 4; f++) {
        for (int i = 0; i < 8; i++) {
            along user = {all[f], axes[i % 4], i >= 4};
            check_grad_case(&(grad_case){.name = "reduction", .f = reduced, .inputs = {{3, {2, 3, 4}}}, .user = &user});
        }
    }
    check_grad_cases((const grad_case[]){
        {.name = "softmax", .f = of_rows, .inputs = {{2, {5, 3}}}, .user = &(one){az_softmax}},
        {.name = "log_softmax", .f = of_rows, .inputs = {{2, {5, 3}}}, .user = &(one){az_log_softmax}},
        {.name = "cumsum", .f = running, .inputs = {{3, {2, 4, 3}}}},
        {.name = "sum_to", .f = summed_to, .inputs = {{3, {2, 3, 4}}}},
        {0},
    });
}
